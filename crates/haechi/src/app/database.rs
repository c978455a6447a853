//! Finds the database of a folder, and checks that the connection to it is private.

use crate::app::folder::{FolderError, secret};
use haechi_gate::{Database, Server};
use haechi_model::{Config, Connections, DatabaseUrl, Trust, database_hosts as hosts, database_url_of_one_host as one_host};
use std::path::Path;

/// Where the folder's data is.
///
/// # Errors
/// When a secret cannot be read or the URL cannot be used.
pub fn database(config: &Config, data: &Path) -> Result<Database, FolderError> {
    let url = match &config.database.url {
        DatabaseUrl::Sqlite(path) => return Ok(Database::Sqlite(data.join(path))),
        DatabaseUrl::Postgres(url) => url.clone(),
        DatabaseUrl::Secret(reference) => secret(reference, "database.url")?,
    };
    if let Some(path) = url.strip_prefix("sqlite:") {
        return Ok(Database::Sqlite(data.join(path)));
    }
    let authorities = config.database.ca_file.as_ref().map_or(Trust::System, |path| Trust::Authorities(path.clone()));
    postgres(&url, authorities, config.database.connections())
}

/// Whether a host, perhaps with its port, is this one.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "" | "localhost" | "127.0.0.1" | "[::1]")
}

/// TLS is required when the server is on another host or the URL asks for it; there is no opportunistic mode.
fn postgres(text: &str, authorities: Trust, connections: Connections) -> Result<Database, FolderError> {
    let all = &text[hosts(text)];
    let mut url = one_host(text).ok_or_else(|| refused("the database URL cannot be read"))?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(refused("the database URL must start with sqlite: or postgres://"));
    }
    let local = all.split(',').all(is_local);
    let mut asked = matches!(authorities, Trust::Authorities(_));
    for (key, value) in url.query_pairs() {
        match (&*key, &*value) {
            ("sslmode", "require" | "verify-ca" | "verify-full") => asked = true,
            ("sslmode", "disable" | "allow" | "prefer") if local => {}
            ("sslmode", _) => return Err(refused("sslmode in the database URL must be verify-full, or disable for a database on this host")),
            ("sslrootcert", _) => return Err(refused("name the certificate authority as ca_file under [database], not as sslrootcert in the URL")),
            // A socket's folder, where the URL names no host: the driver adds this to the URL's own and takes lists.
            ("host", path) if path.starts_with('/') && !path.contains(',') && url.host_str().is_none_or(str::is_empty) => {}
            ("target_session_attrs", "read-write") => {}
            ("target_session_attrs", _) => {
                return Err(refused("target_session_attrs in the database URL must be read-write: a standby takes no changes"));
            }
            ("host" | "hostaddr", _) => return Err(refused("name the database's host before the path of the URL, not as a parameter")),
            _ => {}
        }
    }
    // The driver has other names for it; `Trust` says what it must do.
    let kept: Vec<&str> = url.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("sslmode=")).collect();
    let kept = kept.join("&");
    url.set_query((!kept.is_empty()).then_some(&kept));
    let trust = if local && !asked { Trust::Plain } else { authorities };
    let mut url = String::from(url);
    url.replace_range(hosts(&url), all);
    Ok(Database::Postgres(Server { url, trust, connections }))
}

fn refused(why: &str) -> FolderError {
    FolderError::Database(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust(url: &str) -> Result<Trust, String> {
        match postgres(url, Trust::System, Connections::default()) {
            Ok(Database::Postgres(server)) => Ok(server.trust),
            Ok(Database::Sqlite(_)) => unreachable!(),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_way_off_this_host_is_private() {
        for plain in [
            "postgres://me@127.0.0.1/app",
            "postgres://me@localhost:5433/app",
            "postgres:///app?host=/run/postgresql",
            "postgres://me@[::1]/app",
            "postgres://me:p@127.0.0.1:5432,localhost:5433/app?target_session_attrs=read-write",
        ] {
            assert_eq!(trust(plain), Ok(Trust::Plain), "{plain}");
        }
        for private in [
            "postgres://me@db.example.com/app",
            "postgres://me@localhost,db.example.com/app",
            "postgres://me@localhost:5432,db.example.com:5433/app",
            "postgres://me@10.0.0.7/app",
            "postgres://me@localhost/app?sslmode=require",
        ] {
            assert_eq!(trust(private), Ok(Trust::System), "{private}");
        }
    }

    #[test]
    fn a_url_cannot_ask_for_less() {
        for refused in [
            "postgres://me@db.example.com/app?sslmode=disable",
            "postgres://me@db.example.com/app?sslmode=prefer",
            "postgres://me@localhost/app?host=db.example.com",
            "postgres://me@localhost/app?hostaddr=10.0.0.7",
            "postgres:///app?host=db.example.com",
            "postgres://me@localhost/app?target_session_attrs=any",
            "postgres://me@localhost:5432,db.example.com:5433/app?sslmode=disable",
            "postgres:///app?host=/run/postgresql,db.example.com",
            "postgres://me:secret@db.example.com/app?host=/run/postgresql",
        ] {
            assert!(trust(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn other_parameters_stay() {
        let Ok(Database::Postgres(Server { url, trust, .. })) =
            postgres("postgres://me@db/app?sslmode=verify-full&options=-c%20geqo%3Doff", Trust::System, Connections::default())
        else {
            unreachable!()
        };
        assert_eq!((url.as_str(), trust), ("postgres://me@db/app?options=-c%20geqo%3Doff", Trust::System));
    }

    #[test]
    fn hosts_stay_with_their_ports() {
        let Ok(Database::Postgres(server)) =
            postgres("postgres://me:a%40b@one:5432,two:5433,[::1]:5434/app?sslmode=verify-full", Trust::System, Connections::default())
        else {
            unreachable!()
        };
        assert_eq!(server.url, "postgres://me:a%40b@one:5432,two:5433,[::1]:5434/app");
    }
}
