//! `haechi explain`: which policies decide, and how.

use super::{
    Done, Failed, collection,
    words::{operator, say},
};
use clap::Args;
use haechi::app::people;
use haechi_gate::{Asker, Explanation, Outcome, Plan, Scope};
use haechi_model::{Collection, Group, Lookup, MAX_ANCESTORS, Row, ThingKind, USERS};
use haechi_policy::{Account, Part, PolicyName, Verdict};
use serde_json::json;
use std::{
    collections::{HashMap, HashSet},
    process::ExitCode,
    sync::Arc,
};

#[derive(Args)]
pub(crate) struct Explain {
    /// One of the people, `anonymous`, or a service as services::"NAME".
    #[arg(long = "as", value_name = "WHO", required_unless_present_any = ["request", "key"])]
    who: Option<String>,
    /// The owner of an API key, with its roles and scopes: the id that `key list` shows.
    #[arg(long, value_name = "ID", conflicts_with = "who")]
    key: Option<String>,
    /// A role of the service that is named; may be given again.
    #[arg(long = "role", value_name = "ROLE", requires = "who")]
    roles: Vec<String>,
    /// Also the SQL by which the rows are found, how the database answers it, and which index it lacks.
    #[arg(long)]
    sql: bool,
    /// What a refused request asked for, by its `request_id`.
    #[arg(long, value_name = "ID", conflicts_with_all = ["who", "key", "roles", "action", "on"])]
    request: Option<String>,
    /// The action, e.g. read.
    #[arg(required_unless_present = "request")]
    action: Option<String>,
    /// COLLECTION, COLLECTION/ID, or Work::Job/NAME.
    #[arg(required_unless_present = "request")]
    on: Option<String>,
}

/// Whose question it is.
enum Who {
    /// A name, an address, an id, or `anonymous`.
    Person(String),
    /// A key's id.
    Key(String),
    /// A service by its name, with roles.
    Service(String, Vec<String>),
}

/// What is to be explained.
struct Question {
    who: Who,
    action: String,
    on: String,
    sql: bool,
}

/// Rows, and who is in their groups, that were fetched beforehand.
#[derive(Default)]
struct Fetched {
    rows: HashMap<(usize, String), Row>,
    members: HashMap<(usize, String, String), HashSet<Box<str>>>,
}

impl Lookup for Fetched {
    fn row(&self, table: usize, id: &str) -> Option<Row> {
        self.rows.get(&(table, id.to_owned())).cloned()
    }

    fn joined(&self, group: &Group, of: &str, who: &str) -> bool {
        self.members.get(&(group.of, group.name.clone(), of.to_owned())).is_some_and(|members| members.contains(who))
    }
}

impl Explain {
    pub(crate) async fn on(self, house: &haechi::House, as_json: bool) -> Done {
        let asked = match &self.request {
            Some(request) => refused(house, request, as_json).await?.map(|asked| Question { sql: self.sql, ..asked }),
            None => {
                let text = |text: &Option<String>| text.clone().unwrap_or_default();
                Some(Question { who: self.asked_for()?, action: text(&self.action), on: text(&self.on), sql: self.sql })
            }
        };
        if let Some(asked) = asked {
            asked.answer(house, as_json).await?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn asked_for(&self) -> Result<Who, Failed> {
        let Some(name) = &self.who else { return Ok(Who::Key(self.key.clone().unwrap_or_default())) };
        if let Some(service) = name.strip_prefix("services::") {
            return Ok(Who::Service(service.trim_matches('"').to_owned(), self.roles.clone()));
        }
        if !self.roles.is_empty() {
            return Err("--role is for a service; a person has the roles that stand in their row".to_owned().into());
        }
        Ok(Who::Person(name.clone()))
    }
}

/// The question that a refused request was, when policies answer it.
async fn refused(house: &haechi::House, request: &str, as_json: bool) -> Result<Option<Question>, Failed> {
    let found = house.gate.refused_request(&house.keys.audit, request).await;
    let found = found
        .map_err(|failure| format!("the ledger cannot be read: {failure}"))?
        .ok_or_else(|| format!("no refusal in the ledger names {request}; an entry names the first 20 requests of its second, caller and action"))?;
    // The action of a thing that is no row says which: `Work::Job/NAME:ACTION`.
    let thing = found.action.rsplit_once(':').filter(|(on, _)| ThingKind::parse(on).is_some());
    let is_thing = thing.is_some();
    let (on, action) = match thing {
        Some((on, action)) => (on.to_owned(), action.to_owned()),
        None => (found.record.map_or_else(|| found.collection.clone(), |record| format!("{}/{record}", found.collection)), found.action.clone()),
    };
    let time = haechi_model::format_datetime(found.time_ms);
    let revision = house.gate.revision();
    let same = *revision.version == *found.policy_version;
    if as_json {
        say!(
            "{}",
            json!({
                "time": time, "actor_kind": found.actor_kind, "actor": found.actor_id, "action": action, "on": on,
                "policy_version": found.policy_version, "policies_changed_since": !same,
            })
        );
    } else {
        say!("{time}: {} {} was refused {} on {on}, by policies {}", found.actor_kind, found.actor_id, action, found.policy_version);
        if !same {
            say!("the policies have changed since; what follows is what they say now");
        }
    }
    if !is_thing && revision.policies.action(&action).is_none() {
        // Policies did not decide it.
        return Ok(None);
    }
    let who = match found.actor_kind.as_str() {
        "service" => {
            let keys = house.identity.operator(&operator()).keys().await?;
            let mut theirs = keys.into_iter().filter(|key| key.service && key.owner == found.actor_id);
            // The entry does not name the key: with one alive it must have been that one, or one that is gone.
            match (theirs.next(), theirs.next()) {
                (Some(key), None) => Who::Key(key.name),
                _ => {
                    if !as_json {
                        say!("the service has no key that is alive, or several: name one with --key ID {action} {on}");
                    }
                    return Ok(None);
                }
            }
        }
        _ => Who::Person(found.actor_id),
    };
    Ok(Some(Question { who, action, on, sql: false }))
}

impl Question {
    async fn answer(&self, house: &haechi::House, as_json: bool) -> Result<(), Failed> {
        let revision = house.gate.revision();
        if let Some(thing) = ThingKind::parse(&self.on) {
            return self.about(house, thing, as_json).await;
        }
        let (name, id) = self.on.split_once('/').map_or((self.on.as_str(), None), |(name, id)| (name, Some(id)));
        let declared = collection(&revision.app, name)?;
        let action = revision
            .policies
            .action(&self.action)
            .ok_or_else(|| format!("no action is named `{}`; actions: {}", self.action, haechi_policy::actions(&revision.app).join(", ")))?;
        let noted = house.gate.note_explanation(&house.keys.import, &self.who.named(), Some(declared.id), id).await;
        noted.map_err(|failure| format!("the ledger cannot be written, so no row is read: {failure}"))?;
        let asker = self.who.asker(house).await?;
        let mut fetched = Fetched::default();
        let row = match id {
            None => None,
            Some(id) => {
                let row = house.gate.stored_row(&house.keys.import, declared.id, id).await;
                let row = row.map_err(|failure| format!("the row cannot be read: {failure}"))?;
                let row = row.ok_or_else(|| format!("{name}/{id} is not there"))?;
                follow(house, &revision.app, declared.id, &row, 3, &mut fetched).await?;
                follow(house, &revision.app, USERS, &asker.row, 3, &mut fetched).await?;
                fetched.rows.insert((declared.id, id.to_owned()), row.clone());
                Some(row)
            }
        };
        let target = row.as_ref().map(|row| (row, &fetched as &dyn Lookup));
        let explanation = revision.explain(&asker, (action, declared.id), target, house.gate.clock().now_ms());
        let plan = match self.sql && explanation.outcome != Outcome::No {
            true => house.gate.plan_of(&house.keys.import, &asker, (action, declared.id), id).await,
            false => Ok(None),
        };
        let plan = plan.map_err(|failure| format!("the database does not say how it answers: {failure}"))?;
        if as_json {
            let mut told = self.json(&explanation);
            if self.sql {
                told["sql"] =
                    plan.map_or(serde_json::Value::Null, |plan| json!({ "statement": plan.statement, "plan": plan.steps, "lacks": plan.lacks }));
            }
            say!("{told}")
        } else {
            self.say(&explanation);
            if self.sql {
                say_plan(plan.as_ref(), name);
            }
        }
        Ok(())
    }

    /// The answer about a thing that is no row.
    async fn about(&self, house: &haechi::House, (kind, name): (ThingKind, &str), as_json: bool) -> Result<(), Failed> {
        let revision = house.gate.revision();
        if !kind.names(&revision.app).contains(&name) {
            return Err(format!("no {} is named `{name}`", kind.entity().to_lowercase()).into());
        }
        if self.sql {
            return Err("--sql is about rows; what is no row is decided in memory".to_owned().into());
        }
        let noted = house.gate.note_explanation(&house.keys.import, &self.who.named(), None, Some(&self.on)).await;
        noted.map_err(|failure| format!("the ledger cannot be written, so no person is read: {failure}"))?;
        let asker = self.who.asker(house).await?;
        let explanation = revision.explain_thing(&asker, &self.action, (kind, name), house.gate.clock().now_ms());
        let explanation = explanation
            .ok_or_else(|| format!("no action of {} is named `{}`; actions: {}", kind.type_name(), self.action, kind.actions().join(", ")))?;
        if as_json {
            say!("{}", self.json(&explanation));
        } else {
            self.say(&explanation);
        }
        Ok(())
    }

    fn say(&self, explanation: &Explanation<'_>) {
        if let Some(before) = &explanation.before {
            say!("  {before}");
        }
        accounts(&explanation.policies);
        if let Some(read) = &explanation.read {
            say!("  {} is of rows that may be read, and read says:", self.action);
            accounts(read);
        }
        if explanation.policies.iter().all(|account| account.policy.forbids || account.lacks.is_some()) {
            say!("  no policy permits it to {}", self.who.named());
        }
        say!("{} may {} on {}: {}", self.who.named(), self.action, self.on, self.word(explanation.outcome));
    }

    fn word(&self, outcome: Outcome) -> &'static str {
        match (outcome, self.on.contains('/')) {
            (Outcome::Yes, true) => "yes",
            (Outcome::No, true) => "no",
            (Outcome::Yes, false) => "every row",
            (Outcome::No, false) => "no row",
            (Outcome::Some, true) => "it depends on the fields that are written",
            (Outcome::Some, false) => "the rows of which the conditions hold",
        }
    }

    fn json(&self, explanation: &Explanation<'_>) -> serde_json::Value {
        let word = match explanation.outcome {
            Outcome::Yes => "yes",
            Outcome::No => "no",
            Outcome::Some => "some",
        };
        let list = |accounts: &[Account<'_>]| accounts.iter().map(account_json).collect::<Vec<_>>();
        json!({
            "who": self.who.named(), "action": self.action, "on": self.on, "allowed": word, "before": explanation.before,
            "policies": list(&explanation.policies), "read": explanation.read.as_deref().map(list),
        })
    }
}

fn say_plan(plan: Option<&Plan>, collection: &str) {
    let Some(plan) = plan else { return say!("there is no statement: no row is asked for") };
    say!("\nstatement\n  {}\nplan", plan.statement);
    plan.steps.iter().for_each(|step| say!("  {step}"));
    for column in &plan.lacks {
        say!(
            "rows are read one after the other until the page is full, and no index begins with {column}: in collections/{collection}.toml write\n  [[indexes]]\n  fields = [\"{column}\"]"
        );
    }
}

fn word_of(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::True => "true",
        Verdict::False => "false",
        Verdict::Error => "error",
        Verdict::Depends => "depends",
        Verdict::Skipped => "skipped",
    }
}

fn accounts(accounts: &[Account<'_>]) {
    for account in accounts {
        let PolicyName { id, path, line, forbids } = account.policy;
        let says = match account.applies {
            Verdict::True => "applies",
            Verdict::False | Verdict::Skipped => "does not apply",
            Verdict::Error if *forbids => "raises an error, so it forbids",
            Verdict::Error => "raises an error, so it does not permit",
            Verdict::Depends => "depends on the row",
        };
        let effect = if *forbids { "forbid" } else { "permit" };
        match account.lacks {
            None => say!("  {effect} {id} ({path}:{line}): {says}"),
            Some(role) => say!("  {effect} {id} ({path}:{line}): is for the role {role}, which they do not have; with it, it {says}"),
        }
        for part in &account.parts {
            let values: Vec<String> = part
                .values
                .iter()
                .filter(|seen| seen.value.as_deref() != Some(&seen.of))
                .map(|seen| format!("{} is {}", seen.of, seen.value.as_deref().unwrap_or("not shown: its field is guarded")))
                .collect();
            let values = if values.is_empty() { String::new() } else { format!("   [{}]", values.join(", ")) };
            let wanted = match (part.wanted, account.lacks) {
                (Some(wanted), None) => format!("   <- would have to be {wanted}"),
                _ => String::new(),
            };
            say!("    {:<8}{}{}{values}{wanted}", word_of(part.verdict), "  ".repeat(part.depth), part.text);
        }
    }
}

fn account_json(account: &Account<'_>) -> serde_json::Value {
    let part = |part: &Part| {
        let values: Vec<serde_json::Value> = part.values.iter().map(|seen| json!({ "of": seen.of, "value": seen.value })).collect();
        json!({ "depth": part.depth, "text": part.text, "verdict": word_of(part.verdict), "would_have_to_be": part.wanted, "values": values })
    };
    json!({
        "id": account.policy.id, "file": account.policy.path, "line": account.policy.line,
        "effect": if account.policy.forbids { "forbid" } else { "permit" },
        "lacks_role": account.lacks, "verdict": word_of(account.applies), "parts": account.parts.iter().map(part).collect::<Vec<_>>(),
    })
}

impl Who {
    /// As messages and the ledger name them.
    fn named(&self) -> String {
        match self {
            Self::Person(name) => name.clone(),
            Self::Key(id) => format!("key {id}"),
            Self::Service(name, _) => format!("services::\"{name}\""),
        }
    }

    async fn asker(&self, house: &haechi::House) -> Result<Asker, Failed> {
        let revision = house.gate.revision();
        match self {
            Self::Person(name) if name == "anonymous" => Ok(Asker::anonymous()),
            Self::Person(name) => {
                let found = people::find(house, name).await.map_err(|failure| format!("the people cannot be read: {failure}"))?;
                let person = found.ok_or_else(|| format!("nobody is named `{name}`; services are named as services::\"NAME\", keys with --key"))?;
                Self::person(house, &person.id).await
            }
            Self::Service(name, roles) => {
                if let Some(unknown) = roles.iter().find(|role| !revision.app.roles.contains(role)) {
                    return Err(format!("no role is named `{unknown}`; roles: {}", revision.app.roles.join(", ")).into());
                }
                Ok(Asker::service(name, roles.iter().map(|role| role.as_str().into()).collect(), None))
            }
            Self::Key(id) => {
                let keys = house.identity.operator(&operator()).keys().await?;
                let key = keys.into_iter().find(|key| key.name == *id).ok_or_else(|| format!("no key has the id `{id}`; see `haechi key list`"))?;
                // A scope that the folder no longer has reaches nothing; a service's key without scopes is not limited.
                let limited = !(key.scopes.is_empty() && key.service);
                let scope = limited.then(|| Scope::stored(&revision.app, &key.scopes));
                if key.service {
                    return Ok(Asker::service(&key.owner, key.roles.into_iter().map(Into::into).collect(), scope));
                }
                Ok(Asker { scope, ..Self::person(house, &key.owner).await? })
            }
        }
    }

    async fn person(house: &haechi::House, id: &str) -> Result<Asker, Failed> {
        let row = house.gate.stored_row(&house.keys.import, USERS, id).await.map_err(|failure| format!("{id} cannot be read: {failure}"))?;
        Ok(Asker::person(row.unwrap_or_default()))
    }
}

/// Fetches who is in a group of a row, and of the rows that it inherits from.
async fn members(house: &haechi::House, group: &Arc<Group>, row: &Row, fetched: &mut Fetched) -> Result<(), Failed> {
    let failed = |what: &str, failure: haechi_model::Failure| format!("{what} cannot be read: {failure}");
    let mut next = row[Collection::ID].as_text().map(str::to_owned);
    let mut row = Some(row.clone());
    for _ in 0..=MAX_ANCESTORS + 1 {
        let Some(id) = next.take() else { break };
        let found = house.gate.members(&house.keys.import, group, &id).await.map_err(|failure| failed(&group.name, failure))?;
        fetched.members.insert((group.of, group.name.clone(), id.clone()), found);
        let at = match row.take() {
            Some(row) => Some(row),
            None => house.gate.stored_row(&house.keys.import, group.of, &id).await.map_err(|failure| failed(&id, failure))?,
        };
        let (Some(at), Some(inherits)) = (at, group.inherits) else { break };
        next = at[inherits].as_text().map(str::to_owned);
        fetched.rows.insert((group.of, id), at);
    }
    Ok(())
}

/// Fetches what a row refers to, some steps deep.
async fn follow(house: &haechi::House, app: &haechi_model::App, table: usize, row: &Row, depth: usize, fetched: &mut Fetched) -> Result<(), Failed> {
    let mut todo = vec![(table, row.clone(), depth)];
    while let Some((table, row, depth)) = todo.pop() {
        if row.is_empty() {
            continue;
        }
        for group in &app.collections[table].groups {
            members(house, group, &row, fetched).await?;
        }
        if depth == 0 {
            continue;
        }
        for (at, field) in app.collections[table].fields.iter().enumerate().skip(Collection::FIRST_DECLARED) {
            let (haechi_model::FieldType::Ref { to, .. }, Some(id)) = (&field.ty, row[at].as_text()) else { continue };
            // Lists are compared with ids; nothing is looked at in the rows that they name.
            let found = house.gate.stored_row(&house.keys.import, *to, id).await.map_err(|failure| format!("{id} cannot be read: {failure}"))?;
            if let Some(found) = found {
                todo.push((*to, found.clone(), depth - 1));
                fetched.rows.insert((*to, id.to_owned()), found);
            }
        }
    }
    Ok(())
}
