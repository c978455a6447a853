//! Which database a folder means, and how private the way to it is.

use crate::folder::{FolderError, secret};
use haechi_gate::Database;
use haechi_model::{Config, DatabaseConfig, Trust};
use std::path::Path;
use url::Url;

/// Where the folder's data is.
///
/// # Errors
/// When a secret cannot be had or the URL cannot be used.
pub fn database(config: &Config, data: &Path) -> Result<Database, FolderError> {
    let url = match &config.database {
        DatabaseConfig::Sqlite(path) => return Ok(Database::Sqlite(data.join(path))),
        DatabaseConfig::Postgres(url) => url.clone(),
        DatabaseConfig::Secret(reference) => secret(reference, "database.url")?,
    };
    if let Some(path) = url.strip_prefix("sqlite:") {
        return Ok(Database::Sqlite(data.join(path)));
    }
    let url = Url::parse(&url).map_err(|_| refused("the database URL cannot be read"))?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(refused("the database URL must start with sqlite: or postgres://"));
    }
    let authorities = config.database_ca.as_ref().map_or(Trust::System, |path| Trust::Authorities(path.clone()));
    postgres(url, authorities)
}

/// TLS whenever the server is on another host or the URL asks for it; there is no "if it can be had".
fn postgres(mut url: Url, authorities: Trust) -> Result<Database, FolderError> {
    let local = matches!(url.host_str(), None | Some("" | "localhost" | "127.0.0.1" | "[::1]"));
    let mut asked = matches!(authorities, Trust::Authorities(_));
    for (key, value) in url.query_pairs() {
        match (&*key, &*value) {
            ("sslmode", "require" | "verify-ca" | "verify-full") => asked = true,
            ("sslmode", "disable" | "allow" | "prefer") if local => {}
            ("sslmode", _) => return Err(refused("sslmode in the database URL must be verify-full, or disable for a database on this host")),
            ("sslrootcert", _) => return Err(refused("name the certificate authority as ca_file under [database], not as sslrootcert in the URL")),
            // A socket's folder, where the URL names no host: the driver adds this to the URL's own and takes lists.
            ("host", path) if path.starts_with('/') && !path.contains(',') && url.host_str().is_none_or(str::is_empty) => {}
            ("host" | "hostaddr", _) => return Err(refused("name the database's host before the path of the URL, not as a parameter")),
            _ => {}
        }
    }
    // The driver knows other names for it; what it shall do is said by `Trust`.
    let kept: Vec<&str> = url.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("sslmode=")).collect();
    let kept = kept.join("&");
    url.set_query((!kept.is_empty()).then_some(&kept));
    let trust = if local && !asked { Trust::Plain } else { authorities };
    Ok(Database::Postgres(url.into(), trust))
}

fn refused(why: &str) -> FolderError {
    FolderError::Database(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust(url: &str) -> Result<Trust, String> {
        match postgres(Url::parse(url).unwrap(), Trust::System) {
            Ok(Database::Postgres(_, trust)) => Ok(trust),
            Ok(Database::Sqlite(_)) => unreachable!(),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_way_off_this_host_is_private() {
        for plain in
            ["postgres://me@127.0.0.1/app", "postgres://me@localhost:5433/app", "postgres:///app?host=/run/postgresql", "postgres://me@[::1]/app"]
        {
            assert_eq!(trust(plain), Ok(Trust::Plain), "{plain}");
        }
        for private in [
            "postgres://me@db.example.com/app",
            "postgres://me@localhost,db.example.com/app",
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
            "postgres:///app?host=/run/postgresql,db.example.com",
            "postgres://me:secret@db.example.com/app?host=/run/postgresql",
        ] {
            assert!(trust(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn other_parameters_stay() {
        let Ok(Database::Postgres(url, trust)) =
            postgres(Url::parse("postgres://me@db/app?sslmode=verify-full&options=-c%20geqo%3Doff").unwrap(), Trust::System)
        else {
            unreachable!()
        };
        assert_eq!((url.as_str(), trust), ("postgres://me@db/app?options=-c%20geqo%3Doff", Trust::System));
    }
}
