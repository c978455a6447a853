//! `haechi.toml`: every section, its defaults and where each effective value came from.

use crate::section::Section;
use std::{collections::BTreeMap, path::PathBuf};

/// A secret by reference: never a literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// In an environment variable.
    Env(String),
    /// In a file.
    File(PathBuf),
}

/// `[server]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Address and port of the API.
    pub listen: String,
    /// The origin that the world uses, e.g. `https://api.example.com`.
    pub public_url: Option<String>,
}

/// `[database]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseConfig {
    /// `url = "sqlite:PATH"`, relative to the data directory.
    Sqlite(PathBuf),
    /// `url = "postgres://…"` without a password.
    Postgres(String),
    /// `url = { env = … }` or `{ file = … }`: either kind.
    Secret(SecretRef),
}

/// Whom a TLS connection to a server of ours trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// No TLS: on this host alone.
    Plain,
    /// The certificate authorities of the operating system.
    System,
    /// The authorities in a PEM file.
    Authorities(PathBuf),
}

/// Which reads leave an access entry: `[ledger] reads`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadsLogged {
    /// Those that show a pii or secret field.
    Classed,
    /// All.
    All,
    /// None.
    None,
}

/// Where signed checkpoints are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Witness {
    /// Appended to a file.
    File(PathBuf),
    /// Posted to an `http://` or `https://` address.
    Http(String),
    /// Sent to a syslog collector (RFC 5424): a socket's path, or host and port for UDP.
    Syslog(String),
}

/// `[ledger]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerConfig {
    /// Which reads leave an access entry.
    pub reads: ReadsLogged,
    /// Where checkpoints go.
    pub witness: Vec<Witness>,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Largest request body.
    pub body_bytes: usize,
    /// Longest time from the last byte of the request head to the reply.
    pub request_ms: u64,
    /// Longest time for the request head to arrive.
    pub head_ms: u64,
    /// Most requests in work at once; more are answered 503.
    pub concurrency: usize,
    /// Most open connections.
    pub connections: usize,
    /// Largest page.
    pub page_size: u32,
}

/// Who may sign up by himself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignUp {
    /// Nobody: an operator adds people.
    Closed,
    /// Who has an invitation.
    Invite,
    /// Anybody.
    Open,
}

/// `[auth]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// Who may sign up by himself.
    pub sign_up: SignUp,
    /// Fields of `users` that somebody who signs up may set.
    pub sign_up_fields: Vec<String>,
    /// The role of the first administrator.
    pub administrator: Option<String>,
    /// How long a session lives without use.
    pub session_idle_minutes: i64,
    /// How long a session lives at most.
    pub session_minutes: i64,
    /// How long ago the password may have been shown for what is sensitive.
    pub fresh_minutes: i64,
    /// Sessions of one person; the oldest ends when there would be more.
    pub sessions: i64,
}

/// The whole of `haechi.toml` apart from roles, classes and anonymous reach, which belong to the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[database]`
    pub database: DatabaseConfig,
    /// `[database] ca_file`: who may sign PostgreSQL's certificate, instead of the system's authorities.
    pub database_ca: Option<PathBuf>,
    /// `[ledger]`
    pub ledger: LedgerConfig,
    /// `[limits]`
    pub limits: LimitsConfig,
    /// `[auth]`
    pub auth: AuthConfig,
    /// `master_key`: all other keys are derived from it.
    pub master_key: Option<SecretRef>,
    /// Where each value that is not a default came from: key to place.
    pub origins: BTreeMap<&'static str, String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: ServerConfig { listen: "127.0.0.1:8080".to_owned(), public_url: None },
            database: DatabaseConfig::Sqlite(PathBuf::from("haechi.db")),
            database_ca: None,
            ledger: LedgerConfig { reads: ReadsLogged::Classed, witness: Vec::new() },
            limits: LimitsConfig { body_bytes: 1 << 20, request_ms: 10_000, head_ms: 10_000, concurrency: 1024, connections: 10_000, page_size: 200 },
            auth: AuthConfig {
                sign_up: SignUp::Closed,
                sign_up_fields: Vec::new(),
                administrator: None,
                session_idle_minutes: 12 * 60,
                session_minutes: 7 * 24 * 60,
                fresh_minutes: 10,
                sessions: 20,
            },
            master_key: None,
            origins: BTreeMap::new(),
        }
    }
}

impl Config {
    /// Takes over every key that the section has.
    pub(crate) fn apply(&mut self, top: &Section<'_>) {
        if let Some(server) = top.section("server") {
            self.apply_server(&server);
            server.finish();
        }
        if let Some(database) = top.section("database") {
            self.apply_database(&database);
            database.finish();
        }
        if let Some(ledger) = top.section("ledger") {
            self.apply_ledger(&ledger);
            ledger.finish();
        }
        if let Some(limits) = top.section("limits") {
            self.apply_limits(&limits);
            limits.finish();
        }
        if let Some(auth) = top.section("auth") {
            self.apply_auth(&auth);
            auth.finish();
        }
        if let Some(found) = secret(top, "master_key") {
            self.origin("master_key", top);
            self.master_key = Some(found);
        }
    }

    fn origin(&mut self, key: &'static str, section: &Section<'_>) {
        let name = key.rsplit('.').next().unwrap_or(key);
        let before = section.span_of(name).and_then(|span| section.source.text.get(..span.start).map(|text| text.matches('\n').count() + 1));
        let path = section.source.path.display();
        let place = match before {
            Some(line) if path.to_string() != ENVIRONMENT => format!("{path}:{line}"),
            _ => format!("HAECHI__{}", key.to_uppercase().replace('.', "__")),
        };
        self.origins.insert(key, place);
    }

    fn apply_server(&mut self, section: &Section<'_>) {
        if let Some(listen) = section.text("listen") {
            if listen.parse::<std::net::SocketAddr>().is_err() {
                section.error(
                    section.span_of("listen"),
                    "not-an-address",
                    format!("`{listen}` is not an address with a port"),
                    "write an IP address and a port, e.g. \"127.0.0.1:8080\"",
                );
            }
            self.server.listen = listen.to_owned();
            self.origin("server.listen", section);
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

    fn apply_database(&mut self, section: &Section<'_>) {
        if let Some(path) = section.text("ca_file") {
            self.database_ca = Some(PathBuf::from(path));
            self.origin("database.ca_file", section);
        }
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
                "write \"sqlite:NAME.db\", or url = { env = \"DATABASE_URL\" } for a URL with a password",
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
        match url::Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "postgres" | "postgresql") && url.password().is_some() => {
                Err("the URL holds a password: a secret never stands in the folder".to_owned())
            }
            Ok(url) if matches!(url.scheme(), "postgres" | "postgresql") => Ok(DatabaseConfig::Postgres(text.to_owned())),
            Ok(url) if matches!(url.scheme(), "mysql" | "mariadb") => Err("MySQL and MariaDB are documented, but not built yet".to_owned()),
            _ => Err(format!("`{text}` is not a database URL")),
        }
    }

    fn apply_ledger(&mut self, section: &Section<'_>) {
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

    fn apply_auth(&mut self, section: &Section<'_>) {
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
            ("session_idle_minutes", "auth.session_idle_minutes", 1..=year, &mut auth.session_idle_minutes),
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

    fn apply_limits(&mut self, section: &Section<'_>) {
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
        if let Some(found) = section.bounded("concurrency", 1..=1_000_000) {
            limits.concurrency = usize::try_from(found).unwrap_or(limits.concurrency);
            set.push("limits.concurrency");
        }
        if let Some(found) = section.bounded("connections", 1..=1_000_000) {
            limits.connections = usize::try_from(found).unwrap_or(limits.connections);
            set.push("limits.connections");
        }
        if let Some(found) = section.bounded("page_size", 1..=1000) {
            limits.page_size = u32::try_from(found).unwrap_or(limits.page_size);
            set.push("limits.page_size");
        }
        for key in set {
            self.origin(key, section);
        }
    }

    /// Every key with its effective value and where it came from; secrets are not shown.
    #[must_use]
    pub fn effective(&self) -> Vec<(&'static str, String, String)> {
        let secret = |found: &SecretRef| match found {
            SecretRef::Env(name) => format!("*** (environment variable {name})"),
            SecretRef::File(path) => format!("*** (file {})", path.display()),
        };
        let witness = |witness: &Witness| match witness {
            Witness::File(path) => format!("file:{}", path.display()),
            Witness::Http(address) => address.clone(),
            Witness::Syslog(to) => format!("syslog:{to}"),
        };
        let reads = match self.ledger.reads {
            ReadsLogged::Classed => "classed",
            ReadsLogged::All => "all",
            ReadsLogged::None => "none",
        };
        let database = match &self.database {
            DatabaseConfig::Sqlite(path) => format!("sqlite:{}", path.display()),
            DatabaseConfig::Postgres(url) => url.clone(),
            DatabaseConfig::Secret(found) => secret(found),
        };
        let sign_up = match self.auth.sign_up {
            SignUp::Closed => "closed",
            SignUp::Invite => "invite",
            SignUp::Open => "open",
        };
        let (limits, auth) = (&self.limits, &self.auth);
        [
            ("server.listen", self.server.listen.clone()),
            ("server.public_url", self.server.public_url.clone().unwrap_or_default()),
            ("database.url", database),
            ("database.ca_file", self.database_ca.as_ref().map(|path| path.display().to_string()).unwrap_or_default()),
            ("master_key", self.master_key.as_ref().map(secret).unwrap_or_default()),
            ("ledger.reads", reads.to_owned()),
            ("ledger.witness", self.ledger.witness.iter().map(witness).collect::<Vec<_>>().join(", ")),
            ("limits.body_bytes", limits.body_bytes.to_string()),
            ("limits.request_ms", limits.request_ms.to_string()),
            ("limits.head_ms", limits.head_ms.to_string()),
            ("limits.concurrency", limits.concurrency.to_string()),
            ("limits.connections", limits.connections.to_string()),
            ("limits.page_size", limits.page_size.to_string()),
            ("auth.sign_up", sign_up.to_owned()),
            ("auth.sign_up_fields", auth.sign_up_fields.join(", ")),
            ("auth.administrator", auth.administrator.clone().unwrap_or_default()),
            ("auth.session_idle_minutes", auth.session_idle_minutes.to_string()),
            ("auth.session_minutes", auth.session_minutes.to_string()),
            ("auth.fresh_minutes", auth.fresh_minutes.to_string()),
            ("auth.sessions", auth.sessions.to_string()),
        ]
        .into_iter()
        .map(|(key, value)| (key, value, self.origins.get(key).cloned().unwrap_or_else(|| "default".to_owned())))
        .collect()
    }
}

/// Name of the pseudo file that holds what environment variables say.
pub(crate) const ENVIRONMENT: &str = "environment";

fn secret(section: &Section<'_>, key: &'static str) -> Option<SecretRef> {
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
