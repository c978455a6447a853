//! The reasons for which `serve` refuses to start, each with the fix.

use crate::{
    app::{database, folder},
    http::tls::Tls,
};
use haechi_gate::Revision;

/// Why `serve` would refuse, each with the line that fixes it.
#[must_use]
pub fn obstacles(revision: &Revision, data: &std::path::Path) -> Vec<String> {
    let config = &revision.app.config;
    let mut found = Vec::new();
    let listen = config.server.listen.parse::<std::net::SocketAddr>();
    if config.server.public_url.is_none() {
        found.push("no public_url: add public_url = \"https://…\" under [server] in haechi.toml".to_owned());
    }
    match config.server.tls() {
        Some(files) => {
            if let Err(error) = Tls::open(&files) {
                found.push(format!("TLS: {error}: mend cert_file and key_file under [server]"));
            }
        }
        None if listen.is_ok_and(|address| !address.ip().is_loopback()) => found.push(
            "listen is not loopback and there is no TLS: add cert_file and key_file under [server], or listen on 127.0.0.1 behind a proxy".to_owned(),
        ),
        None => {}
    }
    if let Err(error) = folder::master_key(config, data, false) {
        found.push(error.to_string());
    }
    if let Err(error) = database::database(config, data) {
        found.push(error.to_string());
    }
    if let Some(reference) = &config.telemetry.authorization
        && let Err(error) = folder::secret(reference, "authorization")
    {
        found.push(error.to_string());
    }
    for egress in &revision.app.egress {
        if let Some(Err(error)) = egress.bearer.as_ref().map(|reference| folder::secret(reference, "bearer")) {
            found.push(error.to_string());
        }
    }
    let in_the_clear = |address: &str| {
        url::Url::parse(address).is_ok_and(|url| {
            let local = url.host_str().is_some_and(|host| {
                host == "localhost" || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
            });
            url.scheme() == "http" && !local
        })
    };
    for (key, _) in config.telemetry.addresses().filter(|(_, address)| config.telemetry.authorization.is_some() && in_the_clear(address)) {
        found.push(format!("the collector's credential would go in plain text: name an https:// address in {key} under [telemetry]"));
    }
    for (collection, action) in revision.undeclared_reach() {
        if !haechi_model::ANONYMOUS_VERBS.contains(&action.as_str()) {
            found.push(format!(
                "a policy lets anonymous callers {action} {collection}, which they never reach: say in the policy who may, e.g. principal is users"
            ));
            continue;
        }
        found.push(format!("a policy lets anonymous callers {action} {collection}: narrow the policy, or add \"{collection}:{action}\" to reach under [anonymous] in haechi.toml"));
    }
    found
}
