//! How each section of `haechi.toml` is read.

use super::{Config, DatabaseConfig, ENVIRONMENT, ReadsLogged, SecretRef, SignUp, TlsFiles, Witness};
use crate::{
    finding::{Findings, Source},
    section::Section,
};
use std::{cell::RefCell, path::PathBuf, sync::Arc};

impl Config {
    pub(super) fn origin(&mut self, key: &'static str, section: &Section<'_>) {
        let name = key.rsplit('.').next().unwrap_or(key);
        let before = section.span_of(name).and_then(|span| section.source.text.get(..span.start).map(|text| text.matches('\n').count() + 1));
        let path = section.source.path.display();
        let place = match before {
            Some(line) if path.to_string() != ENVIRONMENT => format!("{path}:{line}"),
            _ => format!("HAECHI__{}", key.to_uppercase().replace('.', "__")),
        };
        self.origins.insert(key, place);
    }

    pub(super) fn apply_server(&mut self, section: &Section<'_>) {
        if let Some(listen) = section.text("listen") {
            address(section, "listen", listen);
            self.server.listen = listen.to_owned();
            self.origin("server.listen", section);
        }
        if let Some(listen) = section.text("ops_listen") {
            address(section, "ops_listen", listen);
            self.server.ops_listen = listen.to_owned();
            self.origin("server.ops_listen", section);
        }
        if let Some(list) = section.texts("trusted_proxies") {
            for (text, span) in &list {
                if !is_network(text) {
                    section.error(
                        span.clone(),
                        "not-a-network",
                        format!("`{text}` is not a network"),
                        "write an address or a network such as \"10.0.0.0/8\"",
                    );
                }
            }
            self.server.trusted_proxies = list.into_iter().map(|(text, _)| text.to_owned()).collect();
            self.origin("server.trusted_proxies", section);
        }
        if let Some(list) = section.texts("cors_origins") {
            for (text, span) in &list {
                let exact =
                    url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == *text);
                if !exact {
                    let help = "write scheme, host and port as a browser sends them, e.g. \"https://app.example.com\"; there is no wildcard";
                    section.error(span.clone(), "not-an-origin", format!("`{text}` is not an origin"), help);
                }
            }
            self.server.cors_origins = list.into_iter().map(|(text, _)| text.to_owned()).collect();
            self.origin("server.cors_origins", section);
        }
        if let Some(path) = section.text("cert_file") {
            self.tls.0 = Some(PathBuf::from(path));
            self.origin("server.cert_file", section);
        }
        if let Some(path) = section.text("key_file") {
            self.tls.1 = Some(PathBuf::from(path));
            self.origin("server.key_file", section);
        }
        if let Some(text) = section.text("public_url") {
            let good = url::Url::parse(text).is_ok_and(|url| {
                matches!(url.scheme(), "http" | "https")
                    && url.path() == "/"
                    && url.query().is_none()
                    && url.fragment().is_none()
                    && url.username().is_empty()
            });
            if !good || text.ends_with('/') {
                section.error(
                    section.span_of("public_url"),
                    "not-an-origin",
                    format!("`{text}` is not an origin"),
                    "write scheme and host without a path, e.g. \"https://api.example.com\"",
                );
            }
            self.server.public_url = Some(text.to_owned());
            self.origin("server.public_url", section);
        }
    }

    /// One of the two may be in the file and the other in the environment.
    pub(crate) fn check_tls(&mut self, source: &Arc<Source>, findings: &RefCell<Findings>) {
        match std::mem::take(&mut self.tls) {
            (None, None) => {}
            (Some(cert_file), Some(key_file)) => self.server.tls = Some(TlsFiles { cert_file, key_file }),
            _ => {
                let help = "name the PEM files of the certificate chain and of its key under [server]".to_owned();
                findings.borrow_mut().error(source, None, "missing-key", "TLS needs both `cert_file` and `key_file`".to_owned(), help);
            }
        }
    }

    pub(super) fn apply_database(&mut self, section: &Section<'_>) {
        if let Some(path) = section.text("ca_file") {
            self.database_ca = Some(PathBuf::from(path));
            self.origin("database.ca_file", section);
        }
        let connections = &mut self.connections;
        let keys: [(&'static str, &'static str, &mut usize, std::ops::RangeInclusive<i64>); 3] = [
            ("shared_connections", "database.shared_connections", &mut connections.shared, 1..=64),
            ("read_connections", "database.read_connections", &mut connections.reads, 2..=256),
            ("change_connections", "database.change_connections", &mut connections.changes, 2..=256),
        ];
        let mut set = Vec::new();
        for (key, origin, size, bounds) in keys {
            if let Some(found) = section.bounded(key, bounds) {
                *size = usize::try_from(found).unwrap_or(*size);
                set.push(origin);
            }
        }
        set.into_iter().for_each(|origin| self.origin(origin, section));
        let Some(item) = section.item("url") else { return };
        self.origin("database.url", section);
        if item.as_table_like().is_some() {
            if let Some(found) = secret(section, "url") {
                self.database = DatabaseConfig::Secret(found);
            }
            return;
        }
        let Some(text) = section.text("url") else { return };
        match Self::database_url(text) {
            Ok(database) => self.database = database,
            Err(message) => section.error(
                section.span_of("url"),
                "database-url",
                message,
                "write \"sqlite:NAME.db\", \"postgres://USER@HOST/NAME\", or url = { env = \"DATABASE_URL\" } for a URL with a password",
            ),
        }
    }

    /// Reads a database URL that stands in the folder.
    fn database_url(text: &str) -> Result<DatabaseConfig, String> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            return if path.is_empty() {
                Err("the path after `sqlite:` is empty".to_owned())
            } else {
                Ok(DatabaseConfig::Sqlite(PathBuf::from(path)))
            };
        }
        match database_url_of_one_host(text) {
            Some(url) if matches!(url.scheme(), "postgres" | "postgresql") && url.password().is_some() => {
                Err("the URL holds a password: a secret never stands in the folder".to_owned())
            }
            Some(url) if matches!(url.scheme(), "postgres" | "postgresql") => Ok(DatabaseConfig::Postgres(text.to_owned())),
            Some(url) if matches!(url.scheme(), "mysql" | "mariadb") => Err("MySQL and MariaDB are not built yet".to_owned()),
            // It may hold a password in a form that is not read.
            _ => Err("this is not a database URL".to_owned()),
        }
    }

    pub(super) fn apply_ledger(&mut self, section: &Section<'_>) {
        if let Some(reads) = section.text("reads") {
            self.origin("ledger.reads", section);
            match reads {
                "classed" => self.ledger.reads = ReadsLogged::Classed,
                "all" => self.ledger.reads = ReadsLogged::All,
                "none" => self.ledger.reads = ReadsLogged::None,
                other => {
                    section.error(section.span_of("reads"), "wrong-value", format!("`reads` is `{other}`"), "choose \"classed\", \"all\" or \"none\"")
                }
            }
        }
        if let Some(list) = section.texts("witness") {
            self.origin("ledger.witness", section);
            self.ledger.witness = list
                .iter()
                .filter_map(|(text, span)| match text.split_once(':') {
                    Some(("file", path)) if !path.is_empty() => Some(Witness::File(PathBuf::from(path))),
                    Some(("http" | "https", _)) if url::Url::parse(text).is_ok() => Some(Witness::Http((*text).to_owned())),
                    Some(("syslog", to)) if to.starts_with('/') || to.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) => {
                        Some(Witness::Syslog(to.to_owned()))
                    }
                    _ => {
                        section.error(
                            span.clone(),
                            "wrong-value",
                            format!("`{text}` is not a witness"),
                            "write \"file:PATH\", \"https://HOST/PATH\", \"syslog:/dev/log\" or \"syslog:HOST:PORT\"",
                        );
                        None
                    }
                })
                .collect();
        }
    }

    pub(super) fn apply_auth(&mut self, section: &Section<'_>) {
        if let Some(text) = section.text("sign_up") {
            self.origin("auth.sign_up", section);
            match text {
                "closed" => self.auth.sign_up = SignUp::Closed,
                "invite" => self.auth.sign_up = SignUp::Invite,
                "open" => self.auth.sign_up = SignUp::Open,
                other => section.error(
                    section.span_of("sign_up"),
                    "wrong-value",
                    format!("`sign_up` is `{other}`"),
                    "choose \"closed\", \"invite\" or \"open\"",
                ),
            }
        }
        if let Some(list) = section.texts("sign_up_fields") {
            self.origin("auth.sign_up_fields", section);
            self.auth.sign_up_fields = list.into_iter().map(|(text, _)| text.to_owned()).collect();
        }
        if let Some(text) = section.text("administrator") {
            self.origin("auth.administrator", section);
            self.auth.administrator = Some(text.to_owned());
        }
        let year = 365 * 24 * 60;
        let auth = &mut self.auth;
        let mut set = Vec::new();
        for (name, key, bounds, slot) in [
            ("session_idle_minutes", "auth.session_idle_minutes", 5..=year, &mut auth.session_idle_minutes),
            ("session_minutes", "auth.session_minutes", 1..=year, &mut auth.session_minutes),
            ("fresh_minutes", "auth.fresh_minutes", 1..=24 * 60, &mut auth.fresh_minutes),
            ("sessions", "auth.sessions", 1..=1000, &mut auth.sessions),
        ] {
            if let Some(found) = section.bounded(name, bounds) {
                *slot = found;
                set.push(key);
            }
        }
        for key in set {
            self.origin(key, section);
        }
    }

    pub(super) fn apply_log(&mut self, section: &Section<'_>) {
        if let Some(found) = section.bool("requests") {
            self.log.requests = found;
            self.origin("log.requests", section);
        }
        if let Some(found) = section.bounded("slow_ms", 0..=60_000) {
            self.log.slow_ms = found;
            self.origin("log.slow_ms", section);
        }
    }

    pub(super) fn apply_telemetry(&mut self, section: &Section<'_>) {
        if let Some(text) = section.text("traces") {
            let good = url::Url::parse(text)
                .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty() && url.password().is_none());
            if !good {
                let help = "write the collector's whole address without credentials, e.g. \"http://127.0.0.1:4318/v1/traces\"";
                section.error(section.span_of("traces"), "not-an-address", format!("`{text}` is not an address"), help);
            }
            self.telemetry.traces = Some(text.to_owned());
            self.origin("telemetry.traces", section);
        }
        if let Some(found) = section.bounded("traces_percent", 1..=100) {
            self.telemetry.traces_percent = found;
            self.origin("telemetry.traces_percent", section);
        }
        if let Some(found) = secret(section, "authorization") {
            if self.telemetry.traces.is_none() {
                let help = "add traces = \"http://HOST:4318/v1/traces\", or remove `authorization`";
                section.error(
                    section.span_of("authorization"),
                    "missing-key",
                    "`authorization` is for a collector, and none is named".to_owned(),
                    help,
                );
            }
            self.telemetry.authorization = Some(found);
            self.origin("telemetry.authorization", section);
        }
    }

    pub(super) fn apply_limits(&mut self, section: &Section<'_>) {
        let limits = &mut self.limits;
        let mut set = Vec::new();
        if let Some(found) = section.bounded("body_bytes", 1024..=1 << 30) {
            limits.body_bytes = usize::try_from(found).unwrap_or(limits.body_bytes);
            set.push("limits.body_bytes");
        }
        if let Some(found) = section.bounded("request_ms", 100..=600_000) {
            limits.request_ms = found.unsigned_abs();
            set.push("limits.request_ms");
        }
        if let Some(found) = section.bounded("head_ms", 100..=60_000) {
            limits.head_ms = found.unsigned_abs();
            set.push("limits.head_ms");
        }
        if let Some(found) = section.bounded("body_ms", 100..=600_000) {
            limits.body_ms = found.unsigned_abs();
            set.push("limits.body_ms");
        }
        if let Some(found) = section.bounded("connections_per_address", 1..=1_000_000) {
            limits.connections_per_address = usize::try_from(found).unwrap_or(limits.connections_per_address);
            set.push("limits.connections_per_address");
        }
        if let Some(found) = section.bounded("concurrency", 1..=1_000_000) {
            limits.concurrency = usize::try_from(found).unwrap_or(limits.concurrency);
            set.push("limits.concurrency");
        }
        if let Some(found) = section.bounded("connections", 1..=1_000_000) {
            limits.connections = usize::try_from(found).unwrap_or(limits.connections);
            set.push("limits.connections");
        }
        if let Some(found) = section.bounded("anonymous_per_minute", 1..=10_000_000) {
            limits.anonymous_per_minute = found;
            set.push("limits.anonymous_per_minute");
        }
        if let Some(found) = section.bounded("caller_per_minute", 1..=10_000_000) {
            limits.caller_per_minute = found;
            set.push("limits.caller_per_minute");
        }
        if let Some(found) = section.bounded("page_size", 1..=1000) {
            limits.page_size = u32::try_from(found).unwrap_or(limits.page_size);
            set.push("limits.page_size");
        }
        if let Some(found) = section.bounded("page_bytes", 65_536..=1 << 28) {
            limits.page_bytes = usize::try_from(found).unwrap_or(limits.page_bytes);
            set.push("limits.page_bytes");
        }
        if let Some(found) = section.bounded("unread_bytes", 1 << 20..=1 << 36) {
            limits.unread_bytes = usize::try_from(found).unwrap_or(limits.unread_bytes);
            set.push("limits.unread_bytes");
        }
        for key in set {
            self.origin(key, section);
        }
    }
}

fn address(section: &Section<'_>, key: &str, text: &str) {
    if text.parse::<std::net::SocketAddr>().is_err() {
        let port = text.strip_prefix("localhost:").unwrap_or("8080");
        section.error(
            section.span_of(key),
            "not-an-address",
            format!("`{text}` is not an address with a port"),
            format!("write an IP address and a port, e.g. \"127.0.0.1:{port}\""),
        );
    }
}

/// An address, or an address and the length of its prefix.
fn is_network(text: &str) -> bool {
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let bits = match address.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(_)) => 32,
        Ok(std::net::IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.is_none_or(|length| length.parse::<u8>().is_ok_and(|length| length <= bits))
}

/// Where the hosts stand in a database URL. There may be several, each with its port, which only PostgreSQL's URLs have.
#[must_use]
pub fn database_hosts(url: &str) -> std::ops::Range<usize> {
    let begin = url.find("://").map_or(0, |at| at + 3);
    let end = url[begin..].find(['/', '?', '#']).map_or(url.len(), |at| begin + at);
    url[begin..end].rfind('@').map_or(begin, |at| begin + at + 1)..end
}

/// A database URL with the first of its hosts alone.
#[must_use]
pub fn database_url_of_one_host(text: &str) -> Option<url::Url> {
    let (at, mut one) = (database_hosts(text), text.to_owned());
    let first = text[at.clone()].split(',').next().unwrap_or_default();
    one.replace_range(at, first);
    url::Url::parse(&one).ok()
}

pub(super) fn secret(section: &Section<'_>, key: &'static str) -> Option<SecretRef> {
    let item = section.item(key)?;
    if item.as_table_like().is_none() {
        section.error(
            section.span_of(key),
            "literal-secret",
            format!("`{key}` holds its secret as a literal"),
            format!("write {key} = {{ env = \"NAME\" }} or {key} = {{ file = \"PATH\" }}"),
        );
        return None;
    }
    let inner = section.section(key)?;
    let found = match (inner.text("env"), inner.text("file")) {
        (Some(name), None) => Some(SecretRef::Env(name.to_owned())),
        (None, Some(path)) => Some(SecretRef::File(PathBuf::from(path))),
        _ => {
            inner.error(None, "secret-reference", format!("`{key}` needs one of `env` and `file`"), format!("write {key} = {{ env = \"NAME\" }}"));
            None
        }
    };
    inner.finish();
    found
}
