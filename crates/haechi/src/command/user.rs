//! `haechi user`: people, for operators.

use super::{
    Done, Failed,
    words::{note, operator, say},
};
use clap::Subcommand;
use haechi::House;
use haechi_identity::{IdentityError, Person};
use haechi_model::{Json, SignUp, format_datetime, parse_json};
use serde_json::json;
use std::process::ExitCode;

#[derive(Subcommand)]
pub(crate) enum User {
    /// Add somebody; prints a code with which to set the password.
    Add {
        /// The address.
        email: String,
        /// A role; may be given again.
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// A field of users, as NAME=VALUE; the value is JSON, or text. May be given again.
        #[arg(long = "set", value_name = "NAME=VALUE")]
        fields: Vec<String>,
    },
    /// Invite somebody to sign up; prints the invitation.
    Invite {
        /// The address.
        email: String,
    },
    /// List people.
    List,
    /// Give somebody these roles and no others.
    Role {
        /// Address or id.
        person: String,
        /// The roles.
        #[arg(required_unless_present = "none")]
        roles: Vec<String>,
        /// No role at all.
        #[arg(long, conflicts_with = "roles")]
        none: bool,
    },
    /// Let somebody in no more: sessions and keys end.
    Disable {
        /// Address or id.
        person: String,
    },
    /// Let somebody in again.
    Enable {
        /// Address or id.
        person: String,
    },
    /// Take somebody's password away; prints a code with which to set a new one. Sessions and keys end.
    Reset {
        /// Address or id.
        person: String,
    },
    /// There is no such command: said instead of offering another one that is not meant.
    #[command(hide = true, aliases = ["remove", "rm"])]
    Delete {
        /// Address or id.
        person: String,
    },
    /// List somebody's sessions, or end them.
    Sessions {
        /// Address or id.
        person: String,
        /// End all of them.
        #[arg(long)]
        end: bool,
    },
}

impl User {
    pub(crate) async fn on(self, house: &House, as_json: bool) -> Done {
        super::migrated(house).await?;
        let identity = house.identity.operator(&operator());
        match self {
            Self::Add { email, roles, fields } => {
                let mut profile = Vec::new();
                for field in &fields {
                    let (name, value) = field.split_once('=').ok_or_else(|| Failed::Said(format!("write NAME=VALUE, not `{field}`")))?;
                    profile.push((name.into(), parse_json(value.as_bytes()).unwrap_or_else(|_| Json::Text(value.into()))));
                }
                let added = identity.add_person(&email, &roles, &Json::Object(profile)).await;
                let (person, code) = added.map_err(|error| match error {
                    IdentityError::Fields(ref errors) if errors.iter().any(|error| !matches!(error.pointer.as_str(), "/roles" | "/email")) => {
                        Failed::Said(format!("{} (fields of users are given with --set NAME=VALUE)", error.problem().explained()))
                    }
                    other => other.into(),
                })?;
                print_code(as_json, "code", &code, &format!("{} was added as {}; within 24 hours, once:", person.email, person.id));
            }
            Self::Invite { email } => {
                let code = identity.invite(&email).await?;
                if house.gate.revision().app.config.auth.sign_up != SignUp::Invite {
                    note!("sign_up under [auth] is not \"invite\": the invitation is of no use until it is");
                }
                print_code(as_json, "invitation", &code, &format!("{email} may sign up within 7 days, once, with this invitation:"));
            }
            Self::List => {
                for person in identity.people().await? {
                    if as_json {
                        say!("{}", json!({ "id": person.id, "email": person.email, "roles": person.roles, "disabled": person.disabled }));
                    } else {
                        let disabled = if person.disabled { "  disabled" } else { "" };
                        say!("{}  {:<40} {}{disabled}", person.id, person.email, person.roles.join(" "));
                    }
                }
            }
            Self::Role { person, roles, .. } => {
                let person = identity.find_person(&person).await.map_err(|error| unknown(error, &person))?;
                identity.set_roles(&person.id, &roles).await?;
                say!("{} has {}", person.email, if roles.is_empty() { "no role".to_owned() } else { roles.join(", ") });
            }
            Self::Disable { person } => {
                let person = identity.find_person(&person).await.map_err(|error| unknown(error, &person))?;
                identity.set_disabled(&person.id, true).await?;
                say!("{} is disabled; sessions and keys have ended", person.email);
            }
            Self::Enable { person } => {
                let person = identity.find_person(&person).await.map_err(|error| unknown(error, &person))?;
                identity.set_disabled(&person.id, false).await?;
                say!("{} may sign in again", person.email);
            }
            Self::Reset { person } => {
                let person = identity.find_person(&person).await.map_err(|error| unknown(error, &person))?;
                let code = identity.reset(&person.id).await?;
                print_code(as_json, "code", &code, &format!("the password of {} is gone; within 24 hours, once:", person.email));
            }
            Self::Delete { person } => {
                return Err(Failed::Said(format!("people cannot be deleted yet; `haechi user disable {person}` lets them in no more")));
            }
            Self::Sessions { person, end } => {
                let person = identity.find_person(&person).await.map_err(|error| unknown(error, &person))?;
                sessions(house, &person, end, as_json).await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn sessions(house: &House, person: &Person, end: bool, as_json: bool) -> Result<(), Failed> {
    if end {
        house.identity.operator(&operator()).end_sessions(&person.id).await?;
        say!("all sessions of {} have ended", person.email);
        return Ok(());
    }
    for session in house.identity.operator(&operator()).sessions_of(&person.id).await? {
        let (created, seen) = (format_datetime(session.created_ms), format_datetime(session.seen_ms));
        if as_json {
            say!("{}", json!({ "id": session.name, "create_time": created, "seen_time": seen, "address": session.address, "agent": session.agent }));
        } else {
            say!("{}  since {created}  seen {seen}  {}  {}", session.name, session.address, session.agent);
        }
    }
    Ok(())
}

fn unknown(error: IdentityError, person: &str) -> Failed {
    match error {
        IdentityError::NotFound => Failed::Said(format!("nobody has the address or id `{person}`; see `haechi user list`")),
        other => other.into(),
    }
}

/// While there is nobody: how the first administrator is made. On standard output, never in a log.
pub(crate) async fn offer_setup(house: &House, base: &str) {
    match house.identity.operator("first start").setup_code().await {
        Ok(Some(code)) => {
            let role = house.identity.administrator_role();
            let role = role.map_or_else(
                || "without a role: add administrator = \"ROLE\" under [auth] in haechi.toml, or a role named admin".to_owned(),
                |role| format!("role {role}"),
            );
            say!("  administrator ({role}): {base}/setup#k={code}   (once, within 10 minutes)");
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(target: "haechi", %error, "the code for the first administrator could not be made"),
    }
}

fn print_code(as_json: bool, name: &str, code: &str, text: &str) {
    if as_json {
        say!("{}", json!({ name: code }));
    } else if name == "code" {
        say!("{text}\n  POST /auth/v1/password {{\"code\":\"{code}\",\"new_password\":\"…\"}}");
    } else {
        say!("{text}\n  {code}");
    }
}
