//! Every section of `haechi.toml` and its keys: name, type, default, values, and what it means. A key is declared here and nowhere
//! else; docs/configuration.md is compared with it.

use super::{
    settings::{Declared, Declares, Setting, Shape, section},
    site,
    values::{
        ADDRESS, COLLECTOR, DATABASE, DatabaseUrl, NAME, NETWORK, ORIGIN, OWN_ORIGIN, PEM_FILE, ROLE, ReadsLogged, SecretRef, SignUp, WITNESS,
        Witness,
    },
};
use std::path::PathBuf;

/// Minutes of a year.
const YEAR: i64 = 365 * 24 * 60;

section! {
    /// `[server]`
    ServerConfig, "server" {
        /// Where the API is served. `serve` needs TLS for any address that is not loopback; `dev` takes loopback only.
        listen: String = "127.0.0.1:8080".to_owned(), Shape::Text(&ADDRESS);
        /// The origin that the world uses. It stands in `Location` and in problem types. `serve` needs it.
        public_url: Option<String> = None, Shape::Text(&OWN_ORIGIN);
        /// The certificate chain, the server's own certificate first: TLS 1.2 and 1.3, HTTP/2. It is read again when it changes; a file
        /// that cannot be used is not taken over, and the log says so. `dev` serves plain text. Needs `key_file`.
        cert_file: Option<PathBuf> = None, Shape::Text(&PEM_FILE);
        /// The certificate's private key. Needs `cert_file`.
        key_file: Option<PathBuf> = None, Shape::Text(&PEM_FILE);
        /// `/healthz`, `/readyz` and `/metrics` (OpenMetrics) of `serve`, without credentials. Keep it private.
        ops_listen: String = "127.0.0.1:9464".to_owned(), Shape::Text(&ADDRESS);
        /// Networks of your own proxies: their `X-Forwarded-For` is trusted, that of other addresses is ignored.
        trusted_proxies: Vec<String> = Vec::new(), Shape::Texts(&NETWORK);
        /// Origins whose pages may call the API with bearer tokens. Cookies are never sent along.
        cors_origins: Vec<String> = Vec::new(), Shape::Texts(&ORIGIN);
    }
}

section! {
    /// `[database]`
    DatabaseConfig, "database" {
        /// The database.
        url: DatabaseUrl = DatabaseUrl::Sqlite(PathBuf::from("haechi.db")), Shape::TextOrSecret(&DATABASE);
        /// The authorities that may sign PostgreSQL's certificate.
        ca_file: Option<PathBuf> = None, Shape::Text(&PEM_FILE), default "those of the operating system";
        /// PostgreSQL: connections of a node that short reads share.
        shared_connections: usize = 2, Shape::Number(1..=64, "connections");
        /// PostgreSQL: connections of a node for reads that take long, one for each.
        read_connections: usize = 8, Shape::Number(2..=256, "connections");
        /// PostgreSQL: connections of a node for changes.
        change_connections: usize = 16, Shape::Number(2..=256, "connections");
    }
}

section! {
    /// `[ledger]`
    LedgerConfig, "ledger" {
        /// Which replies leave an access entry: those that show a field that is neither public nor internal, all, none.
        reads: ReadsLogged = ReadsLogged::Classed, Shape::Choice(&["classed", "all", "none"]);
        /// Where signed checkpoints are sent.
        witness: Vec<Witness> = Vec::new(), Shape::Texts(&WITNESS);
    }
}

section! {
    /// `[limits]`
    LimitsConfig, "limits" {
        /// Largest request body.
        body_bytes: usize = 1 << 20, Shape::Number(1024..=1 << 30, "bytes");
        /// Longest time for a reply.
        request_ms: u64 = 10_000, Shape::Number(100..=600_000, "milliseconds");
        /// Longest time for a request head to arrive.
        head_ms: u64 = 10_000, Shape::Number(100..=60_000, "milliseconds");
        /// Longest time for a request body to arrive; later ones are answered 408. Keep it below `request_ms`, which otherwise ends them
        /// first.
        body_ms: u64 = 8_000, Shape::Number(100..=600_000, "milliseconds");
        /// Most requests in work at once, of one caller or network an eighth; more are answered 503.
        concurrency: usize = 1024, Shape::Number(1..=1_000_000, "requests");
        /// Most open connections; more are closed.
        connections: usize = 10_000, Shape::Number(1..=1_000_000, "connections");
        /// Most open connections of one network (IPv4 address, IPv6 /64); more are closed. Loopback and `trusted_proxies` have no such
        /// bound.
        connections_per_address: usize = 1_000, Shape::Number(1..=1_000_000, "connections");
        /// Largest page of a list.
        page_size: u32 = 200, Shape::Number(1..=1000, "rows");
        /// A page ends with the row that reaches so many bytes, with its token. A reply that cannot be cut, such as a page with `expand`,
        /// is refused beyond it.
        page_bytes: usize = 4 << 20, Shape::Number(65_536..=1 << 28, "bytes");
        /// Bytes of replies that may wait for clients to read them; of one caller or network a quarter, of one connection an eighth.
        /// Without room, requests are answered 503.
        unread_bytes: usize = 64 << 20, Shape::Number(1 << 20..=1 << 36, "bytes");
        /// Requests of one known caller; more are answered 429.
        caller_per_minute: i64 = 60_000, Shape::Number(1..=10_000_000, "requests a minute");
        /// Requests of one network (IPv4 address, IPv6 /64) without a good credential; more are answered 429.
        anonymous_per_minute: i64 = 3_000, Shape::Number(1..=10_000_000, "requests a minute");
        /// Pages and files of `[site]` for one network; more are answered 429.
        site_per_minute: i64 = 30_000, Shape::Number(1..=10_000_000, "requests a minute");
    }
}

section! {
    /// `[auth]`
    AuthConfig, "auth" {
        /// Who may sign up by themselves: nobody, people with an invitation, anybody.
        sign_up: SignUp = SignUp::Closed, Shape::Choice(&["closed", "invite", "open"]);
        /// Fields of `users` that people who sign up may set; not Haechi's own fields.
        sign_up_fields: Vec<String> = Vec::new(), Shape::Texts(&NAME);
        /// The role of the first administrator.
        administrator: Option<String> = None, Shape::Text(&ROLE), default "`administrator`, else `admin`, when it is one of `roles`; else none";
        /// Longest time that a session lives without use.
        session_idle_minutes: i64 = 12 * 60, Shape::Number(5..=YEAR, "minutes");
        /// Longest time that a session lives.
        session_minutes: i64 = 7 * 24 * 60, Shape::Number(1..=YEAR, "minutes");
        /// How long ago a sign-in may be for making a key.
        fresh_minutes: i64 = 10, Shape::Number(1..=24 * 60, "minutes");
        /// Most sessions of one person; the oldest ends when there would be more.
        sessions: i64 = 20, Shape::Number(1..=1000, "sessions");
    }
}

section! {
    /// `[log]`
    LogConfig, "log" {
        /// A line in the log for each request: method, route, status, milliseconds, who asked, request id; no query, no body, no header.
        requests: bool = false, Shape::Flag;
        /// A line for each read of records that took as long or longer: its text with placeholders, milliseconds, rows that were found,
        /// the policies in its condition, the request; and one for each such change. 0 is for none.
        slow_ms: i64 = 0, Shape::Number(0..=60_000, "milliseconds");
    }
}

section! {
    /// `[telemetry]`
    TelemetryConfig, "telemetry" {
        /// Where spans are sent: an OpenTelemetry collector (OTLP over HTTP, protobuf), as `"http://127.0.0.1:4318/v1/traces"`.
        traces: Option<String> = None, Shape::Text(&COLLECTOR), default "none: there are no spans";
        /// Of a hundred requests, how many leave spans.
        traces_percent: i64 = 100, Shape::Number(1..=100, "of a hundred");
        /// Where metrics are sent, every 15 seconds, as `"http://127.0.0.1:4318/v1/metrics"`. `/metrics` of `ops_listen` has them as well.
        metrics: Option<String> = None, Shape::Text(&COLLECTOR), default "none: they are not sent";
        /// Where log lines are sent, as `"http://127.0.0.1:4318/v1/logs"`. Standard error gets them as well.
        logs: Option<String> = None, Shape::Text(&COLLECTOR), default "none: they are not sent";
        /// The `Authorization` header that the collector wants, as `Bearer …`.
        authorization: Option<SecretRef> = None, Shape::Secret;
    }
}

section! {
    /// `[graphql]`
    GraphqlConfig, "graphql" {
        /// Whether known callers may look at the schema where this is served; `dev` always shows it.
        introspection: bool = false, Shape::Flag;
        /// Whether only the documents in `graphql/` of the folder are executed.
        only_known: bool = false, Shape::Flag;
        /// Most tokens of a document.
        tokens: usize = 4_000, Shape::Number(100..=50_000, "tokens");
        /// Deepest selection.
        depth: usize = 12, Shape::Number(1..=50, "levels");
        /// Most aliases of an operation.
        aliases: usize = 30, Shape::Number(0..=1_000, "aliases");
        /// Most records that an operation may ask for, by its page sizes.
        cost: u64 = 5_000, Shape::Number(1..=10_000_000, "records");
        /// Most operations of one request.
        batch: usize = 10, Shape::Number(1..=100, "operations");
    }
}

section! {
    /// `[grpc]`
    GrpcConfig, "grpc" {
        /// Whether known callers may look at the services where this is served; `dev` always shows them.
        reflection: bool = false, Shape::Flag;
    }
}

section! {
    /// `[site]`
    SiteConfig, "site" {
        /// The folder of pages and files that is served at `/`, to everybody.
        folder: Option<String> = None, Shape::Text(&site::FOLDER), default "none: no pages are served";
        /// The page that browsers get for paths without a file, for apps that read the path themselves.
        fallback: Option<String> = None, Shape::Text(&site::PAGE), default "none: such paths are 404";
        /// What pages may load and run. What it does not say is as in the default.
        content_security_policy: Option<String> = None, Shape::Text(&site::POLICY), default "`default-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'; object-src 'none'`";
        /// Whether scripts must use Trusted Types where they could make markup or code of text.
        trusted_types: bool = false, Shape::Flag;
    }
}

section! {
    /// `[live]`
    LiveConfig, "live" {
        /// Most open streams.
        streams: usize = 20_000, Shape::Number(1..=1_000_000, "streams");
        /// Most open streams of one caller, or of one network without credentials.
        streams_per_caller: usize = 100, Shape::Number(1..=1_000_000, "streams");
        /// How long changes are kept for streams that go on where they ended.
        keep_hours: i64 = 24, Shape::Number(1..=24 * 30, "hours");
        /// How many bytes of changes are kept at most.
        keep_bytes: i64 = 1 << 30, Shape::Number(1 << 20..=1 << 40, "bytes");
    }
}
