//! Where requests of one kind may go.

use crate::{
    address::{Network, is_never, is_public},
    error::Error,
};
use std::{net::IpAddr, sync::Arc, time::Duration};
use url::{Host, Url};

/// Bounds of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time to connect, TLS included.
    pub connect: Duration,
    /// Time for everything, redirects and the reply's body included.
    pub total: Duration,
    /// Bytes of the reply's head; at least 8 KiB.
    pub head: usize,
    /// Bytes of the reply's body.
    pub reply: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), total: Duration::from_secs(15), head: 16 << 10, reply: 64 << 10 }
    }
}

/// Where requests of one kind may go. Connections are shared within one destination alone.
#[derive(Clone, Debug)]
pub struct Destination {
    pub(crate) name: Arc<str>,
    reach: Reach,
    ports: Arc<[u16]>,
    plain: bool,
    pub(crate) redirects: u8,
    pub(crate) limits: Limits,
}

#[derive(Clone, Debug)]
enum Reach {
    /// Public addresses.
    Public,
    /// One host, whose addresses are in these networks.
    Private { host: Box<str>, networks: Arc<[Network]> },
    /// Every address that is reached at all.
    Declared,
}

impl Destination {
    /// Most redirects that are followed.
    pub const MAX_REDIRECTS: u8 = 3;

    /// Any public address, over TLS, at port 443. This is for addresses that others choose.
    #[must_use]
    pub fn public(name: &str) -> Self {
        Self { name: name.into(), reach: Reach::Public, ports: [443].into(), plain: false, redirects: 0, limits: Limits::default() }
    }

    /// One host at one port, whose addresses are all in the networks, which may be private. Plain HTTP is allowed there.
    #[must_use]
    pub fn private(name: &str, host: &str, port: u16, networks: &[Network]) -> Self {
        let reach = Reach::Private { host: host.to_ascii_lowercase().into(), networks: networks.into() };
        Self { reach, ports: [port].into(), plain: true, ..Self::public(name) }
    }

    /// An address that stands in a configuration, written by those who run the program: any address but the few that are never reached,
    /// any port, plain HTTP too. Never use it for an address that came from a request.
    #[must_use]
    pub fn declared(name: &str) -> Self {
        Self { reach: Reach::Declared, ports: [].into(), plain: true, ..Self::public(name) }
    }

    /// At these ports instead of 443.
    #[must_use]
    pub fn ports(self, ports: &[u16]) -> Self {
        Self { ports: ports.into(), ..self }
    }

    /// Follows so many redirects of reading requests, at most three; each is checked like the first address.
    #[must_use]
    pub fn redirects(self, redirects: u8) -> Self {
        Self { redirects: redirects.min(Self::MAX_REDIRECTS), ..self }
    }

    /// With other bounds.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a URL may be asked at all, before its name is looked up; its host and port.
    ///
    /// # Errors
    /// When scheme, user, host or port are not allowed, or the host is an address that is not.
    pub fn check(&self, url: &Url) -> Result<Place, Error> {
        let tls = match url.scheme() {
            "https" => true,
            "http" if self.plain => false,
            "http" => return Err(Error::Url("it must begin with https://")),
            _ => return Err(Error::Url("it must begin with http:// or https://")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::Url("it holds a user or a password"));
        }
        let host = url.host().ok_or(Error::Url("it names no host"))?;
        let (name, literal) = match host {
            Host::Domain(name) => (name.trim_end_matches('.').to_owned(), None),
            Host::Ipv4(address) => (address.to_string(), Some(IpAddr::V4(address))),
            Host::Ipv6(address) => (address.to_string(), Some(IpAddr::V6(address))),
        };
        if name.is_empty() {
            return Err(Error::Url("it names no host"));
        }
        if let Reach::Private { host, .. } = &self.reach
            && **host != name
        {
            return Err(Error::Host(name));
        }
        let port = url.port_or_known_default().ok_or(Error::Url("it names no port"))?;
        if !self.ports.is_empty() && !self.ports.contains(&port) {
            return Err(Error::Port(port));
        }
        let place = Place { host: name, literal, port, tls };
        match place.literal {
            Some(address) if !self.allows(address) => Err(Error::Address(place.host)),
            _ => Ok(place),
        }
    }

    /// Whether an address may be connected to.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        !is_never(address)
            && match &self.reach {
                Reach::Public => is_public(address),
                Reach::Private { networks, .. } => networks.iter().any(|network| network.holds(address)),
                Reach::Declared => true,
            }
    }
}

/// Host and port of a URL that may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The name, in lower case and without a dot at its end, or the address.
    pub(crate) host: String,
    pub(crate) literal: Option<IpAddr>,
    pub(crate) port: u16,
    pub(crate) tls: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(destination: &Destination, url: &str) -> Result<Place, String> {
        let url = Url::parse(url).map_err(|_| "not a URL".to_owned())?;
        destination.check(&url).map_err(|error| error.to_string())
    }

    /// SSRF-01, SSRF-05: spellings of one address, other schemes, users, and ports of other services.
    #[test]
    fn a_public_destination_refuses_what_is_none() {
        let public = Destination::public("webhooks");
        for (url, why) in [
            ("https://127.0.0.1/", "not allowed"),
            ("https://127.1/", "not allowed"),
            ("https://0x7f.1/", "not allowed"),
            ("https://0x7f000001/", "not allowed"),
            ("https://017700000001/", "not allowed"),
            ("https://2130706433/", "not allowed"),
            ("https://[::1]/", "not allowed"),
            ("https://[::ffff:7f00:1]/", "not allowed"),
            ("https://[64:ff9b::7f00:1]/", "not allowed"),
            ("https://[2002:7f00:1::]/", "not allowed"),
            ("https://0.0.0.0/", "not allowed"),
            ("https://１２７.０.０.１/", "not allowed"),
            ("https://169.254.169.254/latest/meta-data", "not allowed"),
            ("https://[fd00:ec2::254]/", "not allowed"),
            ("http://example.com/", "must begin with https"),
            ("file:///etc/passwd", "must begin with http"),
            ("gopher://example.com/", "must begin with http"),
            ("ftp://example.com/", "must begin with http"),
            ("unix:/run/x.sock", "must begin with http"),
            ("https://kim@example.com/", "a user or a password"),
            ("https://kim:secret@example.com/", "a user or a password"),
            ("https://example.com:22/", "port 22"),
            ("https://example.com:25/", "port 25"),
            ("https://example.com:6379/", "port 6379"),
            ("https://example.com:80/", "port 80"),
        ] {
            let found = check(&public, url);
            assert!(found.as_ref().is_err_and(|found| found.contains(why)), "{url}: {found:?}");
        }
        for url in
            ["https://example.com/", "https://example.com:443/x?y", "https://93.184.216.34/", "https://[2606:4700::1111]/", "https://EXAMPLE.com./"]
        {
            assert!(check(&public, url).is_ok(), "{url}");
        }
        assert!(check(&public.clone().ports(&[443, 8443]), "https://example.com:8443/").is_ok());
        assert_eq!(check(&public, "https://EXAMPLE.com./").unwrap().host, "example.com");
    }

    /// SSRF-07: a private destination is one host, one port and its networks.
    #[test]
    fn a_private_destination_is_one_place() {
        let networks: Vec<Network> = ["10.20.0.0/16", "169.254.0.0/16"].iter().map(|text| text.parse().unwrap()).collect();
        let private = Destination::private("mailer", "Mail.internal", 8080, &networks);
        assert!(check(&private, "http://mail.internal:8080/send").is_ok() && check(&private, "https://mail.internal:8080/").is_ok());
        for (url, why) in [
            ("http://mail.internal/", "port 80"),
            ("http://other.internal:8080/", "not the host"),
            ("http://10.20.0.1:8080/", "not the host"),
            ("http://mail.internal.evil.example:8080/", "not the host"),
        ] {
            let found = check(&private, url);
            assert!(found.as_ref().is_err_and(|found| found.contains(why)), "{url}: {found:?}");
        }
        let ip = |text: &str| text.parse().unwrap();
        assert!(private.allows(ip("10.20.1.1")) && !private.allows(ip("10.21.1.1")) && !private.allows(ip("1.1.1.1")));
        assert!(!private.allows(ip("169.254.169.254")), "a network that holds metadata services does not open them");
        let declared = Destination::declared("witness");
        assert!(declared.allows(ip("127.0.0.1")) && declared.allows(ip("1.1.1.1")) && !declared.allows(ip("169.254.169.254")));
    }
}
