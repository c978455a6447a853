//! Other services that a folder sends requests to: `[egress.NAME]`.

use crate::{config::SecretRef, section::Section};
use std::net::IpAddr;
use url::Url;

/// Another service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// Its name.
    pub name: String,
    /// Its origin: scheme, host and port.
    pub url: String,
    /// The networks in which its addresses are; without any it is public.
    pub networks: Vec<String>,
    /// What stands in `Authorization: Bearer`.
    pub bearer: Option<SecretRef>,
}

/// Reads them.
pub(crate) fn read_egress(top: &Section<'_>) -> Vec<Egress> {
    let mut found = Vec::new();
    let Some(all) = top.section("egress") else { return found };
    for (name, _, section) in all.named("the egress") {
        let networks = networks(&section);
        let url = origin(&section, networks.is_empty());
        let bearer = section.item("bearer").and_then(|_| SecretRef::of(&section, "bearer"));
        section.finish();
        if let Some(url) = url {
            found.push(Egress { name: name.to_owned(), url, networks, bearer });
        }
    }
    found
}

fn origin(section: &Section<'_>, public: bool) -> Option<String> {
    let Some(text) = section.text("url") else {
        if section.span_of("url").is_none() {
            section.error(None, "missing-key", "the egress has no `url`".to_owned(), "write url = \"https://mail.example.com\"");
        }
        return None;
    };
    let wrong = |message: String, help: &str| {
        section.error(section.span_of("url"), "bad-url", message, help);
        None
    };
    let Some(url) = Url::parse(text).ok().filter(|url| url.has_host() && matches!(url.scheme(), "http" | "https")) else {
        return wrong(format!("`{text}` is no address"), "write https://HOST or https://HOST:PORT");
    };
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("the address holds a user or a password".to_owned(), "write bearer = { env = \"NAME\" } for a token");
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return wrong(format!("`{text}` has a path"), "write the origin alone; paths stand in the job");
    }
    if public && (url.scheme() != "https" || url.port_or_known_default() != Some(443)) {
        return wrong(
            format!("`{text}` is not at port 443 over TLS"),
            "a service of your own network has networks = [\"10.20.0.0/16\"]; all others are asked over TLS at port 443",
        );
    }
    Some(url.origin().ascii_serialization())
}

fn networks(section: &Section<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for (text, span) in section.texts("networks").unwrap_or_default() {
        if is_network(text) {
            found.push(text.to_owned());
        } else {
            section.error(span, "bad-network", format!("`{text}` is no network"), "write one such as \"10.20.0.0/16\" or \"fd12::/16\"");
        }
    }
    found
}

fn is_network(text: &str) -> bool {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let width = if address.is_ipv4() { 32_u8 } else { 128 };
    bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= width))
}
