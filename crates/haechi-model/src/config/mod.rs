//! `haechi.toml`: every section, its defaults and where each effective value came from.

mod doors;
mod read;

pub use read::{database_hosts, database_url_of_one_host};

pub use doors::{GraphqlConfig, GrpcConfig, LiveConfig};

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
    /// Certificate chain and key, PEM: with them TLS is served.
    pub tls: Option<TlsFiles>,
    /// Address and port of health, readiness and metrics.
    pub ops_listen: String,
    /// Networks of the proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<String>,
    /// Origins whose pages may call the API from a browser.
    pub cors_origins: Vec<String>,
}

/// Certificate chain and key, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
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

/// `[database]`: how many connections a node has to PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// Shared by short reads.
    pub shared: usize,
    /// For reads that take long, one for each.
    pub reads: usize,
    /// For changes.
    pub changes: usize,
}

impl Default for Connections {
    fn default() -> Self {
        Self { shared: 2, reads: 8, changes: 16 }
    }
}

/// The authorities that a TLS connection to a server trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// No TLS: on this host only.
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

impl Witness {
    /// In the notation of the configuration.
    fn address(&self) -> String {
        match self {
            Self::File(path) => format!("file:{}", path.display()),
            Self::Http(address) => address.clone(),
            Self::Syslog(to) => format!("syslog:{to}"),
        }
    }
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
    /// Longest time for the request body to arrive.
    pub body_ms: u64,
    /// Most open connections.
    pub connections: usize,
    /// Most open connections of one address; of declared proxies and of this host there is no such bound.
    pub connections_per_address: usize,
    /// Largest page.
    pub page_size: u32,
    /// A page ends with the row that reaches so many bytes.
    pub page_bytes: usize,
    /// Bytes of replies that may wait for clients to read them, of all.
    pub unread_bytes: usize,
    /// Requests that one network without credentials may send a minute.
    pub anonymous_per_minute: i64,
    /// Requests that one caller may send a minute.
    pub caller_per_minute: i64,
}

/// `[telemetry]`
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TelemetryConfig {
    /// Where spans are sent (OTLP over HTTP).
    pub traces: Option<String>,
    /// Of a hundred requests, how many leave spans.
    pub traces_percent: i64,
    /// The `Authorization` header that the collector wants.
    pub authorization: Option<SecretRef>,
}

/// `[log]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LogConfig {
    /// Whether each request leaves a line.
    pub requests: bool,
    /// From how many milliseconds on a statement of the database leaves a line; none do when it is 0.
    pub slow_ms: i64,
}

/// Who may sign up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignUp {
    /// Nobody: an operator adds people.
    Closed,
    /// People with an invitation.
    Invite,
    /// Anybody.
    Open,
}

/// `[auth]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// Who may sign up.
    pub sign_up: SignUp,
    /// Fields of `users` that a person may set when they sign up.
    pub sign_up_fields: Vec<String>,
    /// The role of the first administrator.
    pub administrator: Option<String>,
    /// How long a session lives without use.
    pub session_idle_minutes: i64,
    /// How long a session lives at most.
    pub session_minutes: i64,
    /// How long ago the password may have been entered for sensitive actions.
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
    /// `[database] shared_connections`, `read_connections` and `change_connections`.
    pub connections: Connections,
    /// `[ledger]`
    pub ledger: LedgerConfig,
    /// `[limits]`
    pub limits: LimitsConfig,
    /// `[auth]`
    pub auth: AuthConfig,
    /// `[telemetry]`
    pub telemetry: TelemetryConfig,
    /// `[log]`
    pub log: LogConfig,
    /// `[graphql]`
    pub graphql: GraphqlConfig,
    /// `[grpc]`
    pub grpc: GrpcConfig,
    /// `[live]`
    pub live: LiveConfig,
    /// `master_key`: all other keys are derived from it.
    pub master_key: Option<SecretRef>,
    /// The files of TLS while they are read, one by one.
    tls: (Option<PathBuf>, Option<PathBuf>),
    /// Where each value that is not a default came from: key to place.
    pub origins: BTreeMap<&'static str, String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: ServerConfig {
                listen: "127.0.0.1:8080".to_owned(),
                public_url: None,
                tls: None,
                ops_listen: "127.0.0.1:9464".to_owned(),
                trusted_proxies: Vec::new(),
                cors_origins: Vec::new(),
            },
            database: DatabaseConfig::Sqlite(PathBuf::from("haechi.db")),
            database_ca: None,
            connections: Connections::default(),
            ledger: LedgerConfig { reads: ReadsLogged::Classed, witness: Vec::new() },
            limits: LimitsConfig {
                body_bytes: 1 << 20,
                request_ms: 10_000,
                head_ms: 10_000,
                concurrency: 1024,
                body_ms: 8_000,
                connections: 10_000,
                connections_per_address: 1_000,
                page_size: 200,
                page_bytes: 4 << 20,
                unread_bytes: 64 << 20,
                anonymous_per_minute: 3_000,
                caller_per_minute: 60_000,
            },
            auth: AuthConfig {
                sign_up: SignUp::Closed,
                sign_up_fields: Vec::new(),
                administrator: None,
                session_idle_minutes: 12 * 60,
                session_minutes: 7 * 24 * 60,
                fresh_minutes: 10,
                sessions: 20,
            },
            telemetry: TelemetryConfig { traces_percent: 100, ..TelemetryConfig::default() },
            log: LogConfig::default(),
            graphql: GraphqlConfig::default(),
            grpc: GrpcConfig::default(),
            live: LiveConfig::default(),
            master_key: None,
            tls: (None, None),
            origins: BTreeMap::new(),
        }
    }
}

/// Where a key of `haechi.toml` belongs, in words.
pub(crate) fn section_of(key: &str) -> Option<String> {
    if matches!(key, "master_key" | "roles" | "classes") {
        return Some("at the top of the file, before the first [section]".to_owned());
    }
    let keys = Config::default().effective();
    let found = keys.iter().find_map(|(known, ..)| known.rsplit_once('.').filter(|(_, last)| *last == key))?;
    Some(format!("under [{}]", found.0))
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
        if let Some(log) = top.section("log") {
            self.apply_log(&log);
            log.finish();
        }
        if let Some(telemetry) = top.section("telemetry") {
            self.apply_telemetry(&telemetry);
            telemetry.finish();
        }
        if let Some(graphql) = top.section("graphql") {
            self.apply_graphql(&graphql);
            graphql.finish();
        }
        if let Some(grpc) = top.section("grpc") {
            self.apply_grpc(&grpc);
            grpc.finish();
        }
        if let Some(live) = top.section("live") {
            self.apply_live(&live);
            live.finish();
        }
        if let Some(found) = read::secret(top, "master_key") {
            self.origin("master_key", top);
            self.master_key = Some(found);
        }
    }

    /// Every key with its effective value and where it came from; secrets are not shown.
    #[must_use]
    pub fn effective(&self) -> Vec<(&'static str, String, String)> {
        let secret = |found: &SecretRef| match found {
            SecretRef::Env(name) => format!("*** (environment variable {name})"),
            SecretRef::File(path) => format!("*** (file {})", path.display()),
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
        let file = |which: fn(&TlsFiles) -> &PathBuf| self.server.tls.as_ref().map(|tls| which(tls).display().to_string()).unwrap_or_default();
        [
            ("server.listen", self.server.listen.clone()),
            ("server.public_url", self.server.public_url.clone().unwrap_or_default()),
            ("server.cert_file", file(|tls| &tls.cert_file)),
            ("server.key_file", file(|tls| &tls.key_file)),
            ("server.ops_listen", self.server.ops_listen.clone()),
            ("server.trusted_proxies", self.server.trusted_proxies.join(", ")),
            ("server.cors_origins", self.server.cors_origins.join(", ")),
            ("database.url", database),
            ("database.ca_file", self.database_ca.as_ref().map(|path| path.display().to_string()).unwrap_or_default()),
            ("database.shared_connections", self.connections.shared.to_string()),
            ("database.read_connections", self.connections.reads.to_string()),
            ("database.change_connections", self.connections.changes.to_string()),
            ("master_key", self.master_key.as_ref().map(secret).unwrap_or_default()),
            ("ledger.reads", reads.to_owned()),
            ("ledger.witness", self.ledger.witness.iter().map(Witness::address).collect::<Vec<_>>().join(", ")),
            ("limits.body_bytes", limits.body_bytes.to_string()),
            ("limits.request_ms", limits.request_ms.to_string()),
            ("limits.head_ms", limits.head_ms.to_string()),
            ("limits.concurrency", limits.concurrency.to_string()),
            ("limits.body_ms", limits.body_ms.to_string()),
            ("limits.connections", limits.connections.to_string()),
            ("limits.connections_per_address", limits.connections_per_address.to_string()),
            ("limits.page_size", limits.page_size.to_string()),
            ("limits.page_bytes", limits.page_bytes.to_string()),
            ("limits.unread_bytes", limits.unread_bytes.to_string()),
            ("limits.anonymous_per_minute", limits.anonymous_per_minute.to_string()),
            ("limits.caller_per_minute", limits.caller_per_minute.to_string()),
            ("auth.sign_up", sign_up.to_owned()),
            ("auth.sign_up_fields", auth.sign_up_fields.join(", ")),
            ("auth.administrator", auth.administrator.clone().unwrap_or_default()),
            ("auth.session_idle_minutes", auth.session_idle_minutes.to_string()),
            ("auth.session_minutes", auth.session_minutes.to_string()),
            ("auth.fresh_minutes", auth.fresh_minutes.to_string()),
            ("auth.sessions", auth.sessions.to_string()),
            ("log.requests", self.log.requests.to_string()),
            ("log.slow_ms", self.log.slow_ms.to_string()),
            ("telemetry.traces", self.telemetry.traces.clone().unwrap_or_default()),
            ("telemetry.traces_percent", self.telemetry.traces_percent.to_string()),
            ("telemetry.authorization", self.telemetry.authorization.as_ref().map(secret).unwrap_or_default()),
        ]
        .into_iter()
        .chain(self.graphql.effective())
        .chain([("grpc.reflection", self.grpc.reflection.to_string())])
        .chain(self.live.effective())
        .map(|(key, value)| (key, value, self.origins.get(key).cloned().unwrap_or_else(|| "default".to_owned())))
        .collect()
    }
}

/// Name of the pseudo file that holds what environment variables say.
pub(crate) const ENVIRONMENT: &str = "environment";
