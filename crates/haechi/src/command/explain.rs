//! `haechi explain`: which policies decide, and how.

use super::{Done, Failed, collection, live::say};
use clap::Args;
use haechi::people;
use haechi_model::{Collection, Lookup, Row, USERS, Value};
use haechi_policy::{Principal, PrincipalKind};
use std::{collections::HashMap, process::ExitCode};

#[derive(Args)]
pub(crate) struct Explain {
    /// One of the people, or anonymous.
    #[arg(long = "as", value_name = "PERSON", required_unless_present = "request")]
    who: Option<String>,
    /// What a refused request asked for, by its `request_id`.
    #[arg(long, value_name = "ID", conflicts_with_all = ["who", "action", "on"])]
    request: Option<String>,
    /// The action, e.g. read.
    #[arg(required_unless_present = "request")]
    action: Option<String>,
    /// COLLECTION or COLLECTION/ID.
    #[arg(required_unless_present = "request")]
    on: Option<String>,
}

/// What is to be explained.
struct Question {
    who: String,
    action: String,
    on: String,
}

/// Rows that were fetched beforehand.
struct Fetched(HashMap<(usize, String), Row>);

impl Lookup for Fetched {
    fn row(&self, table: usize, id: &str) -> Option<Row> {
        self.0.get(&(table, id.to_owned())).cloned()
    }
}

impl Explain {
    pub(crate) async fn on(self, house: &haechi::House) -> Done {
        let asked = match &self.request {
            Some(request) => refused(house, request).await?,
            None => {
                let text = |text: &Option<String>| text.clone().unwrap_or_default();
                Some(Question { who: text(&self.who), action: text(&self.action), on: text(&self.on) })
            }
        };
        if let Some(asked) = asked {
            asked.answer(house).await?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The question that a refused request was, when policies answer it.
async fn refused(house: &haechi::House, request: &str) -> Result<Option<Question>, Failed> {
    let found = house.gate.refused_request(&house.keys.audit, request).await;
    let found = found
        .map_err(|failure| format!("the ledger cannot be read: {failure:?}"))?
        .ok_or_else(|| format!("no refusal in the ledger names {request}; an entry names the first 20 requests of its second, caller and action"))?;
    let on = found.record.map_or_else(|| found.collection.clone(), |record| format!("{}/{record}", found.collection));
    say!(
        "{}: {} {} was refused {} on {on}, by policies {}",
        haechi_model::format_datetime(found.time_ms),
        found.actor_kind,
        found.actor_id,
        found.action,
        found.policy_version
    );
    if *house.gate.revision().version != *found.policy_version {
        say!("the policies have changed since; what follows is what they say now");
    }
    let revision = house.gate.revision();
    if revision.policies.action(&found.action).is_none() || found.actor_kind == "service" {
        // Not decided by policies, or by those of a key's roles and scopes, which are not kept here.
        return Ok(None);
    }
    Ok(Some(Question { who: found.actor_id, action: found.action, on }))
}

impl Question {
    async fn answer(&self, house: &haechi::House) -> Result<(), Failed> {
        let revision = house.gate.revision();
        let (name, id) = self.on.split_once('/').map_or((self.on.as_str(), None), |(name, id)| (name, Some(id)));
        let declared = collection(&revision.app, name)?;
        let action = revision
            .policies
            .action(&self.action)
            .ok_or_else(|| format!("no action is named `{}`; actions: {}", self.action, haechi_policy::actions(&revision.app).join(", ")))?;
        let noted = house.gate.note_explanation(&house.keys.import, &self.who, declared.id, id).await;
        noted.map_err(|failure| format!("the ledger cannot be written, so no row is read: {failure:?}"))?;
        let (kind, user, row) = self.principal(house).await?;
        let roles: Vec<Box<str>> = revision.app.collections[USERS]
            .field("roles")
            .and_then(|field| row.get(field))
            .and_then(Value::as_text)
            .and_then(|text| serde_json::from_str::<Vec<String>>(text).ok())
            .unwrap_or_default()
            .into_iter()
            .map(Into::into)
            .collect();
        let principal = Principal { kind, id: &user, roles: &roles, row: &row };
        let now = house.gate.clock().now_ms();
        let line = |id: &str, path: &str, line: usize, forbids: bool, says: &str| {
            say!("  {} {id} ({path}:{line}): {says}", if forbids { "forbid" } else { "permit" })
        };
        let allowed = match id {
            None => {
                let bound = revision.policies.bind(&principal, action, declared.id, now);
                for reason in revision.policies.outlook(&principal, action, declared.id, now) {
                    let says = match reason.applies {
                        Some(true) => "applies to every row",
                        Some(false) => "applies to no row",
                        None => "depends on the row",
                    };
                    line(&reason.policy.id, &reason.policy.path, reason.policy.line, reason.policy.forbids, says);
                }
                match bound {
                    haechi_model::Predicate::False => "no row",
                    haechi_model::Predicate::True => "every row",
                    _ => "the rows of which the conditions hold",
                }
            }
            Some(id) => {
                let target = house
                    .gate
                    .stored_row(&house.keys.import, declared.id, id)
                    .await
                    .map_err(|failure| format!("the row cannot be read: {failure:?}"))?;
                let target = target.ok_or_else(|| format!("{name}/{id} is not there"))?;
                let mut fetched = Fetched(HashMap::new());
                follow(house, &revision.app, declared.id, &target, 3, &mut fetched).await?;
                follow(house, &revision.app, USERS, &row, 3, &mut fetched).await?;
                let (mut permitted, mut denied) = (false, false);
                for reason in revision.policies.reasons(&principal, action, declared.id, now, &target, &fetched) {
                    let says = match reason.applies {
                        Some(true) => "applies",
                        Some(false) => "does not apply",
                        None => "raises an error, so it does not permit, and denies if it forbids",
                    };
                    permitted |= !reason.policy.forbids && reason.applies == Some(true);
                    denied |= reason.policy.forbids && reason.applies != Some(false);
                    line(&reason.policy.id, &reason.policy.path, reason.policy.line, reason.policy.forbids, says);
                }
                if permitted && !denied { "yes" } else { "no" }
            }
        };
        say!("{} may {} on {}: {allowed}", self.who, self.action, self.on);
        Ok(())
    }

    async fn principal(&self, house: &haechi::House) -> Result<(PrincipalKind, String, Row), Failed> {
        if self.who == "anonymous" {
            return Ok((PrincipalKind::Anonymous, "anonymous".to_owned(), Row::new()));
        }
        let people = people::list(house).await.map_err(|failure| format!("the people cannot be read: {failure:?}"))?;
        let person = people
            .iter()
            .find(|person| [&person.name, &person.email, &person.id].contains(&&self.who))
            .ok_or_else(|| format!("nobody is named `{}`", self.who))?;
        let row = house
            .gate
            .stored_row(&house.keys.import, USERS, &person.id)
            .await
            .map_err(|failure| format!("{} cannot be read: {failure:?}", person.name))?;
        Ok((PrincipalKind::User, person.id.clone(), row.unwrap_or_default()))
    }
}

/// Fetches what a row refers to, some steps deep.
async fn follow(house: &haechi::House, app: &haechi_model::App, table: usize, row: &Row, depth: usize, fetched: &mut Fetched) -> Result<(), Failed> {
    let mut todo = vec![(table, row.clone(), depth)];
    while let Some((table, row, depth)) = todo.pop() {
        if depth == 0 || row.is_empty() {
            continue;
        }
        for (at, field) in app.collections[table].fields.iter().enumerate().skip(Collection::FIRST_DECLARED) {
            let (haechi_model::FieldType::Ref { to, .. }, Some(id)) = (&field.ty, row[at].as_text()) else { continue };
            let found = house.gate.stored_row(&house.keys.import, *to, id).await.map_err(|failure| format!("{id} cannot be read: {failure:?}"))?;
            if let Some(found) = found {
                todo.push((*to, found.clone(), depth - 1));
                fetched.0.insert((*to, id.to_owned()), found);
            }
        }
    }
    Ok(())
}
