//! `haechi.toml` apart from the model: its sections, and where each effective value came from.

mod sections;
mod settings;
mod site;
mod values;

pub use sections::{
    AuthConfig, DatabaseConfig, GraphqlConfig, GrpcConfig, LedgerConfig, LimitsConfig, LiveConfig, LogConfig, ServerConfig, SiteConfig,
    TelemetryConfig,
};
pub(crate) use settings::{ENVIRONMENT, secret_schema};
pub use values::{DatabaseUrl, ReadsLogged, SecretRef, SignUp, Witness, database_hosts, database_url_of_one_host};

use crate::{
    finding::{Findings, Source},
    section::Section,
};
use settings::{Origins, Setting, Settings, Shape};
use std::{cell::RefCell, collections::BTreeMap, path::PathBuf, sync::Arc};

/// Certificate chain and key, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

impl ServerConfig {
    /// The files of TLS, when it is served.
    #[must_use]
    pub fn tls(&self) -> Option<TlsFiles> {
        Some(TlsFiles { cert_file: self.cert_file.clone()?, key_file: self.key_file.clone()? })
    }
}

impl SiteConfig {
    /// The content security policy of the pages, as a header.
    #[must_use]
    pub fn policy(&self) -> String {
        site::policy(self.content_security_policy.as_deref().unwrap_or_default(), self.trusted_types)
    }
}

impl TelemetryConfig {
    /// The addresses of collectors, each with its key.
    pub fn addresses(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let all = [("traces", &self.traces), ("metrics", &self.metrics), ("logs", &self.logs)];
        all.into_iter().filter_map(|(key, address)| Some((key, address.as_ref()?)))
    }
}

/// How many connections a node has to PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// Shared by short reads.
    pub shared: usize,
    /// For reads that take long, one for each.
    pub reads: usize,
    /// For changes.
    pub changes: usize,
}

impl DatabaseConfig {
    /// How many connections a node has to PostgreSQL.
    #[must_use]
    pub fn connections(&self) -> Connections {
        Connections { shared: self.shared_connections, reads: self.read_connections, changes: self.change_connections }
    }
}

impl Default for Connections {
    fn default() -> Self {
        DatabaseConfig::default().connections()
    }
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

/// The whole of `haechi.toml` apart from roles, classes and anonymous reach, which belong to the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[database]`
    pub database: DatabaseConfig,
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
    /// `[site]`
    pub site: SiteConfig,
    /// `[live]`
    pub live: LiveConfig,
    /// `master_key`: all other keys are derived from it.
    pub master_key: Option<SecretRef>,
    /// Where each value that is not a default came from: key to place.
    pub origins: BTreeMap<&'static str, String>,
}

const MASTER_KEY: &str = "master_key";

impl Config {
    fn sections(&self) -> [(&'static str, &dyn Settings); 11] {
        [
            ("server", &self.server),
            ("database", &self.database),
            ("ledger", &self.ledger),
            ("limits", &self.limits),
            ("auth", &self.auth),
            ("log", &self.log),
            ("telemetry", &self.telemetry),
            ("graphql", &self.graphql),
            ("grpc", &self.grpc),
            ("site", &self.site),
            ("live", &self.live),
        ]
    }

    fn sections_mut(&mut self) -> ([(&'static str, &mut dyn Settings); 11], &mut Origins) {
        let sections: [(&'static str, &mut dyn Settings); 11] = [
            ("server", &mut self.server),
            ("database", &mut self.database),
            ("ledger", &mut self.ledger),
            ("limits", &mut self.limits),
            ("auth", &mut self.auth),
            ("log", &mut self.log),
            ("telemetry", &mut self.telemetry),
            ("graphql", &mut self.graphql),
            ("grpc", &mut self.grpc),
            ("site", &mut self.site),
            ("live", &mut self.live),
        ];
        (sections, &mut self.origins)
    }

    /// Takes over every key that the file, or the environment, has.
    pub(crate) fn apply(&mut self, top: &Section<'_>) {
        let (sections, origins) = self.sections_mut();
        for (title, settings) in sections {
            if let Some(section) = top.section(title) {
                settings.read(&section, origins);
                section.finish_with(section_of);
            }
        }
        if let Some(found) = SecretRef::read(top, MASTER_KEY, &Shape::Secret) {
            self.origins.insert(MASTER_KEY, settings::origin(MASTER_KEY, top));
            self.master_key = Some(found);
        }
    }

    /// Looks at keys that need each other: one may stand in the file and the other in the environment.
    pub(crate) fn check(&self, source: &Arc<Source>, findings: &RefCell<Findings>) {
        let missing = |message: &str, help: &str| findings.borrow_mut().error(source, None, "missing-key", message.to_owned(), help.to_owned());
        if self.server.cert_file.is_some() != self.server.key_file.is_some() {
            let help = "name the PEM files of the certificate chain and of its key under [server]";
            missing("TLS needs both `cert_file` and `key_file`", help);
        }
        if self.telemetry.authorization.is_some() && self.telemetry.addresses().next().is_none() {
            let help = "add traces = \"http://HOST:4318/v1/traces\", metrics or logs, or remove `authorization`";
            missing("`authorization` under [telemetry] is for a collector, and none is named", help);
        }
        if self.site.fallback.is_some() && self.site.folder.is_none() {
            missing("`fallback` under [site] is a page of a folder, and none is named", "add folder = \"web\" under [site]");
        }
        if let Some((directive, from)) = site::opened(self.site.content_security_policy.as_deref().unwrap_or_default()) {
            let message = format!("`{directive} {from}` lets pages run scripts that this folder did not write");
            let help = "put scripts into files of the folder, and name other origins one by one";
            findings.borrow_mut().warning(source, None, "content-policy", message, help.to_owned());
        }
    }

    /// Every key with its effective value and where it came from; secrets are not shown.
    #[must_use]
    pub fn effective(&self) -> Vec<(&'static str, String, String)> {
        let mut all: Vec<_> = self.sections().into_iter().flat_map(|(_, settings)| settings.effective()).collect();
        let at = all.iter().position(|(key, _)| key.starts_with("ledger.")).unwrap_or(all.len());
        all.insert(at, (MASTER_KEY, self.master_key.shown()));
        all.into_iter().map(|(key, value)| (key, value, self.origins.get(key).cloned().unwrap_or_else(|| "default".to_owned()))).collect()
    }

    /// The JSON Schema of each section.
    pub(crate) fn schemas(&self) -> Vec<(&'static str, serde_json::Value)> {
        self.sections().into_iter().map(|(title, settings)| (title, settings.schema())).collect()
    }

    /// The rows of the reference page: of each section, key, meaning, values and default.
    #[must_use]
    pub fn reference() -> Vec<(&'static str, Vec<[String; 4]>)> {
        Self::default().sections().into_iter().map(|(title, settings)| (title, settings.reference())).collect()
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
