//! `haechi key`: API keys, for operators.

use super::{
    Done, Failed,
    words::{note, operator, say},
};
use clap::Subcommand;
use haechi::House;
use haechi_identity::{IdentityError, NewKey};
use haechi_model::{format_datetime, parse_datetime};
use serde_json::json;
use std::process::ExitCode;

#[derive(Subcommand)]
pub(crate) enum Key {
    /// Make a key for a service; prints it this once.
    Create {
        /// The service's name; policies see it as services::"NAME".
        service: String,
        /// A role of the service; may be given again.
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// What the key is limited to, as COLLECTION:ACTION; may be given again. Without it, policies alone decide.
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
        /// When it ends, e.g. 2027-01-31T00:00:00Z; 90 days from now when not given.
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
        /// What to call it.
        #[arg(long, default_value = "key")]
        label: String,
    },
    /// List all keys that are alive.
    List,
    /// Revoke a key.
    #[command(aliases = ["delete", "remove", "rm"])]
    Revoke {
        /// Its id, as `list` shows it.
        id: String,
    },
}

impl Key {
    pub(crate) async fn on(self, house: &House, as_json: bool) -> Done {
        super::migrated(house).await?;
        let identity = house.identity.operator(&operator());
        match self {
            Self::Create { service, roles, scopes, expires, label } => {
                let expires_ms = match expires {
                    Some(text) => {
                        Some(parse_datetime(&text).ok_or_else(|| Failed::Said(format!("`{text}` is no time; write it as 2027-01-31T00:00:00Z")))?)
                    }
                    None => None,
                };
                let new = NewKey { label, scopes, expires_ms };
                let (key, shown) = identity.create_service_key(&service, &roles, &new).await?;
                if as_json {
                    say!("{}", json!({ "id": shown.name, "key": key, "expire_time": format_datetime(shown.expires_ms) }));
                } else {
                    say!("{key}");
                    note!("the key {} of {service} ends {}; it is not shown again", shown.name, format_datetime(shown.expires_ms));
                }
            }
            Self::List => {
                for key in identity.keys().await? {
                    let ends = format_datetime(key.expires_ms);
                    if as_json {
                        say!(
                            "{}",
                            json!({ "id": key.name, "owner": key.owner, "label": key.label, "hint": key.hint, "scopes": key.scopes, "expire_time": ends })
                        );
                    } else {
                        say!("{}  {:<36}  {}…  {:<20}  until {ends}  {}", key.name, key.owner, key.hint, key.label, key.scopes.join(" "));
                    }
                }
            }
            Self::Revoke { id } => {
                identity.revoke_key(&id).await.map_err(|error| match error {
                    IdentityError::NotFound => Failed::Said(format!("no key has the id `{id}`; see `haechi key list`")),
                    other => other.into(),
                })?;
                say!("the key {id} is revoked");
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
