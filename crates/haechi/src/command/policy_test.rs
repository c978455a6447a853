//! `haechi test`: the cases of `policies/tests/`, decided as requests would be, without a database.

use super::{Done, Failed, Place, counted, words::say};
use clap::Args;
use haechi_gate::{Asker, Revision};
use haechi_model::{Collection, CollectionId, Group, Json, Lookup, Predicate, Row, ThingKind, USERS, Value};
use haechi_policy::{Principal, PrincipalKind, Written};
use serde_json::json;
use std::{collections::HashMap, path::PathBuf, process::ExitCode};
use toml_edit::{Item, TableLike};

#[derive(Args)]
pub(crate) struct Test {
    /// The app folder.
    folder: Option<PathBuf>,
}

/// Rows by name, with made-up ids.
#[derive(Default)]
struct World {
    ids: HashMap<(CollectionId, String), String>,
    rows: HashMap<(CollectionId, String), Row>,
}

impl Lookup for World {
    fn row(&self, table: usize, id: &str) -> Option<Row> {
        self.rows.get(&(table, id.to_owned())).cloned()
    }

    fn joined(&self, group: &Group, of: &str, who: &str) -> bool {
        self.rows.iter().any(|((collection, _), row)| *collection == group.joining && group.joins(row, of, who))
    }
}

impl Test {
    pub(crate) fn run(&self, place: &Place) -> Done {
        let (revision, _) = place.at(self.folder.as_ref())?.load()?;
        let (mut passed, mut failed) = (0_usize, 0_usize);
        for source in &revision.app.policy_tests {
            let document = toml_edit::Document::parse(source.text.as_str()).map_err(|error| format!("{}: {error}", source.path.display()))?;
            let world = World::read(&revision, document.as_table()).map_err(|what| format!("{}: {what}", source.path.display()))?;
            let cases = match document.get("case") {
                None => None,
                Some(item) => Some(item.as_array_of_tables().ok_or_else(|| format!("{}: write each case under [[case]]", source.path.display()))?),
            };
            for case in cases.into_iter().flatten() {
                let line = case.span().map_or(0, |span| source.text[..span.start].matches('\n').count() + 1);
                let found = world.case(&revision, case);
                if found.is_ok() {
                    passed += 1
                } else {
                    failed += 1
                }
                let because = text(case, "because");
                if place.json {
                    let file = source.path.display().to_string();
                    say!("{}", json!({ "file": file, "line": line, "passed": found.is_ok(), "what": found.err(), "because": because }));
                } else if let Err(what) = found {
                    let because = because.map_or_else(String::new, |because| format!(" ({because})"));
                    say!("{}:{line}: {what}{because}", source.path.display());
                }
            }
        }
        if place.json {
            say!("{}", json!({ "passed": passed, "failed": failed }));
        } else {
            say!("{} pass, {failed} fail", counted(passed, "case", "cases"));
        }
        if passed + failed == 0 {
            return Err(Failed::Said("no case stands in policies/tests/: nothing was tested; see \"Policy tests\" in docs/policies.md".to_owned()));
        }
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn known_keys(case: &toml_edit::Table) -> Result<(), String> {
    let known = ["as", "do", "on", "with", "expect", "hidden", "because"];
    let unknown = case.iter().map(|(key, _)| key).find(|key| !known.contains(key));
    unknown.map_or(Ok(()), |key| Err(format!("unknown key `{key}` in a case")))
}

fn text<'a>(table: &'a dyn TableLike, key: &str) -> Option<&'a str> {
    table.get(key).and_then(Item::as_str)
}

impl World {
    fn read(revision: &Revision, top: &toml_edit::Table) -> Result<Self, String> {
        let mut world = Self::default();
        let mut written: Vec<(CollectionId, String, &dyn TableLike)> = Vec::new();
        for (key, item) in top.iter() {
            match key {
                "people" => {
                    for (name, person) in item.as_table_like().ok_or("[people] must be a table")?.iter() {
                        written.push((USERS, name.to_owned(), person.as_table_like().ok_or_else(|| format!("{name} must be a table"))?));
                    }
                }
                "rows" => {
                    for (collection, rows) in item.as_table_like().ok_or("[rows] must be a table")?.iter() {
                        let id = revision.app.collection(collection).ok_or_else(|| format!("no collection is named `{collection}`"))?.id;
                        for (name, row) in rows.as_table_like().ok_or_else(|| format!("[rows.{collection}] must be a table"))?.iter() {
                            written.push((id, name.to_owned(), row.as_table_like().ok_or_else(|| format!("{name} must be a table"))?));
                        }
                    }
                }
                "case" => {}
                other => return Err(format!("unknown key `{other}`; known: people, rows, case")),
            }
        }
        for (at, (collection, name, _)) in written.iter().enumerate() {
            let id = format!("00000000-0000-7000-8000-{:012x}", at + 1);
            if world.ids.insert((*collection, name.clone()), id).is_some() {
                return Err(format!("`{name}` stands twice"));
            }
        }
        for (collection, name, table) in written {
            let id = world.ids[&(collection, name.clone())].clone();
            let row = world.row_of(revision, collection, &id, table).map_err(|what| format!("{name}: {what}"))?;
            world.rows.insert((collection, id), row);
        }
        Ok(world)
    }

    fn row_of(&self, revision: &Revision, collection: CollectionId, id: &str, table: &dyn TableLike) -> Result<Row, String> {
        let declared = &revision.app.collections[collection];
        let mut row: Row = declared.table.columns.iter().map(|column| column.default.clone().unwrap_or(Value::Null)).collect();
        row[Collection::ID] = Value::text(id);
        row[Collection::VERSION] = Value::Int(1);
        row[Collection::CREATE_TIME] = Value::Int(0);
        row[Collection::UPDATE_TIME] = Value::Int(0);
        self.changed(revision, collection, row, table)
    }

    /// A row with these values in it.
    fn changed(&self, revision: &Revision, collection: CollectionId, mut row: Row, table: &dyn TableLike) -> Result<Row, String> {
        let declared = &revision.app.collections[collection];
        for (key, item) in table.iter() {
            let field = declared.field(key).ok_or_else(|| format!("`{}` has no field `{key}`", declared.name))?;
            let ty = &declared.fields[field].ty;
            let named = match ty {
                haechi_model::FieldType::Ref { to, .. } => item.as_str().and_then(|name| self.ids.get(&(*to, name.to_owned()))),
                _ => None,
            };
            let listed = ty.lists().zip(item.as_array()).map(|((to, _), names)| self.listed(to, names));
            if collection == USERS && key == "roles" {
                let roles = item.as_array().into_iter().flatten().filter_map(toml_edit::Value::as_str);
                if let Some(unknown) = roles.into_iter().find(|role| !revision.app.roles.iter().any(|known| known == role)) {
                    let near = haechi_model::suggest(unknown, revision.app.roles.iter().map(String::as_str));
                    return Err(format!("no role is named `{unknown}`{}", near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"))));
                }
            }
            row[field] = match (named, listed) {
                (Some(id), _) => Value::text(id.as_str()),
                (_, Some(list)) => ty.read(&list).map_err(|error| format!("`{key}` {}", error.detail))?,
                _ => ty.read(&json(item)?).map_err(|error| format!("`{key}` {}", error.detail))?,
            };
            if let Some(shadow) = declared.fields[field].shadow {
                row[shadow] = ty.folded(row[field].clone());
            }
        }
        Ok(row)
    }

    /// A list of references, by the names of rows or by ids.
    fn listed(&self, to: CollectionId, names: &toml_edit::Array) -> Json {
        let item = |value: &toml_edit::Value| match value.as_str() {
            Some(name) => Json::Text(self.ids.get(&(to, name.to_owned())).map_or(name, String::as_str).into()),
            None => Json::Null,
        };
        Json::List(names.iter().map(item).collect())
    }

    fn case(&self, revision: &Revision, case: &toml_edit::Table) -> Result<(), String> {
        known_keys(case)?;
        let need = |key| text(case, key).ok_or_else(|| format!("the case needs `{key}`"));
        let (who, action, on, expect) = (need("as")?, need("do")?, need("on")?, need("expect")?);
        if !["allowed", "denied", "hidden"].contains(&expect) {
            return Err(format!("`expect` is `{expect}`; it must be allowed, denied or hidden"));
        }
        let with = match case.get("with") {
            None => None,
            Some(item) => Some(item.as_table_like().ok_or("`with` must be a table, e.g. with = { title = \"x\" }")?),
        };
        let asker = self.asker(who)?;
        let principal = asker.principal();
        if let Some(thing) = ThingKind::parse(on) {
            return about(revision, &principal, case, thing);
        }
        let (name, row_name) = on.split_once('/').map_or((on, None), |(name, row)| (name, Some(row)));
        let declared = revision.app.collection(name).ok_or_else(|| format!("no collection is named `{name}`"))?;
        // Without `with` nothing is said of the written fields, and what some of them allow counts.
        let names: Option<Vec<&str>> = with.map(|with| with.iter().map(|(name, _)| name).collect());
        let written = names.as_ref().map_or(Written::Some, |names| Written::These(names));
        let bind = |action: &str| {
            revision
                .policies
                .action(action)
                .map(|action| revision.policies.bind_writing(&principal, action, declared.id, 0, written))
                .ok_or_else(|| format!("no action is named `{action}`"))
        };
        let mut becomes = None;
        let target = match (row_name, with) {
            (Some(row), with) => {
                let id = self.ids.get(&(declared.id, row.to_owned())).ok_or_else(|| format!("no row of {name} is named `{row}`"))?;
                let row = self.rows[&(declared.id, id.clone())].clone();
                if let Some(with) = with {
                    if action != "update" {
                        return Err("`with` beside a row is for `update`: it says what is written".to_owned());
                    }
                    becomes = Some(self.changed(revision, declared.id, row.clone(), with)?);
                }
                Some(row)
            }
            (None, Some(with)) => Some(self.row_of(revision, declared.id, "00000000-0000-7000-8000-ffffffffffff", with)?),
            (None, None) => None,
        };
        let readable = bind("read")?;
        let predicate = if action == "create" { bind(action)? } else { Predicate::all([bind(action)?, readable.clone()]) };
        let fits = match (&becomes, &target) {
            (Some(after), Some(before)) => self.change(revision, &principal, declared, written, [before, after]),
            _ => true,
        };
        let found = match &target {
            Some(row) if fits && predicate.holds(row, self) => "allowed",
            Some(row) if predicate != Predicate::False && action != "create" && !readable.holds(row, self) => "hidden",
            None if predicate != Predicate::False => "allowed",
            _ => "denied",
        };
        if found != expect {
            return Err(format!("{who} {action} {on}: expected {expect}, found {found}"));
        }
        self.hidden(revision, declared, case, target.as_ref(), &|action| bind(action))
    }

    /// Somebody of the file, or a caller without credentials.
    fn asker(&self, who: &str) -> Result<Asker, String> {
        let person = self.ids.get(&(USERS, who.to_owned())).and_then(|id| self.rows.get(&(USERS, id.clone())));
        match person {
            Some(row) => Ok(Asker::person(row.clone())),
            None if who == "anonymous" => Ok(Asker::anonymous()),
            None => Err(format!("nobody is named `{who}`")),
        }
    }

    /// A change is asked of the row as it was, and of the row as it becomes.
    fn change(
        &self,
        revision: &Revision,
        principal: &Principal<'_>,
        declared: &Collection,
        written: Written<'_>,
        [before, after]: [&Row; 2],
    ) -> bool {
        let policies = &revision.policies;
        match policies.change(principal, declared.id, 0, written) {
            Some(parts) => parts.unforbidden.holds(after, self) && (parts.before.holds(before, self) || parts.after.holds(after, self)),
            None => {
                policies.action("update").is_some_and(|update| policies.bind_writing(principal, update, declared.id, 0, written).holds(after, self))
            }
        }
    }

    /// The fields that must be masked are, and no other guarded one is left out of the list.
    fn hidden(
        &self,
        revision: &Revision,
        declared: &Collection,
        case: &toml_edit::Table,
        target: Option<&Row>,
        bind: &dyn Fn(&str) -> Result<Predicate, String>,
    ) -> Result<(), String> {
        let Some(hidden) = case.get("hidden") else { return Ok(()) };
        let list = hidden.as_array().ok_or("`hidden` must be a list of fields, e.g. hidden = [\"ssn\"]")?;
        let row = target.ok_or("`hidden` needs a row: name one in `on`")?;
        let mut expected: Vec<&str> = list.iter().map(|item| item.as_str().unwrap_or("(no text)")).collect();
        if let Some(unknown) = expected.iter().find(|name| declared.field(name).is_none()) {
            return Err(format!("`hidden` names `{unknown}`, which is no field of {}", declared.name));
        }
        let mut found = Vec::new();
        for field in &declared.fields {
            let class = &revision.app.classes[field.class];
            if class.guarded() && !bind(&format!("read_{}", class.name))?.holds(row, self) {
                found.push(field.name.as_str());
            }
        }
        expected.sort_unstable();
        found.sort_unstable();
        if expected == found { Ok(()) } else { Err(format!("expected hidden fields {expected:?}, found {found:?}")) }
    }
}

/// A case about a thing that is no row.
fn about(revision: &Revision, principal: &Principal<'_>, case: &toml_edit::Table, (kind, name): (ThingKind, &str)) -> Result<(), String> {
    let need = |key| text(case, key).unwrap_or_default();
    let (action, expect) = (need("do"), need("expect"));
    if !kind.names(&revision.app).contains(&name) {
        return Err(format!("no {} is named `{name}`", kind.entity().to_lowercase()));
    }
    if kind.action(action).is_none() {
        return Err(format!("no action of {} is named `{action}`; actions: {}", kind.type_name(), kind.actions().join(", ")));
    }
    if let Some(key) = ["with", "hidden"].into_iter().find(|key| case.contains_key(key)) {
        return Err(format!("`{key}` is about rows; {}/{name} is none", kind.type_name()));
    }
    let allowed = principal.kind != PrincipalKind::Anonymous && revision.policies.decide(principal, (kind, name), action, 0);
    let found = if allowed { "allowed" } else { "denied" };
    if found == expect { Ok(()) } else { Err(format!("{} {action} {}: expected {expect}, found {found}", need("as"), need("on"))) }
}

fn json(item: &Item) -> Result<Json, String> {
    fn of(value: &toml_edit::Value) -> Option<Json> {
        Some(match value {
            toml_edit::Value::String(text) => Json::Text(text.value().as_str().into()),
            toml_edit::Value::Integer(int) => Json::Number(int.value().to_string().into()),
            toml_edit::Value::Float(float) => Json::Number(float.value().to_string().into()),
            toml_edit::Value::Boolean(flag) => Json::Bool(*flag.value()),
            toml_edit::Value::Array(items) => Json::List(items.iter().map(of).collect::<Option<_>>()?),
            _ => return None,
        })
    }
    item.as_value().and_then(of).ok_or_else(|| Failed::Said("a value of this kind cannot stand here".to_owned()).to_string())
}
