//! Reads what a job does: `do = { … }`.

use super::{
    Effect, Member, Slot,
    known::Known,
    literal::{json, pointed, written},
};
use crate::{
    collection::Collection,
    field::FieldType,
    name::suggest,
    positions::FieldId,
    section::{Section, Span},
};
use toml_edit::Item;

/// What a job can do.
const EFFECTS: [&str; 5] = ["create", "update", "delete", "call", "handler"];
/// What it will be able to do.
const LATER: [(&str, &str); 2] = [("act", "declared actions"), ("mail", "mail")];

pub(super) fn effect(section: &Section<'_>, app: &Known<'_>, input: &Collection) -> Option<Effect> {
    let does = section.section("do");
    let Some(does) = does else {
        if section.span_of("do").is_none() {
            section.error(
                None,
                "missing-key",
                "the job does nothing".to_owned(),
                "write do = { update = \"COLLECTION\", id = { from = \"/input/ID\" }, data = { … } }",
            );
        }
        return None;
    };
    let later = LATER.iter().find(|(key, _)| does.span_of(key).is_some());
    if let Some((key, what)) = later {
        does.error(does.span_of(key), "not-built", format!("`{key}` is kept for {what}, which jobs do not do yet"), format!("remove `{key}`"));
        return None;
    }
    let named: Vec<&str> = EFFECTS.into_iter().filter(|key| does.span_of(key).is_some()).collect();
    let [one] = named[..] else {
        let message = if named.is_empty() { "`do` names nothing to do".to_owned() } else { format!("`do` names {}", named.join(" and ")) };
        does.error(None, "wrong-value", message, format!("write exactly one of {}", EFFECTS.join(", ")));
        return None;
    };
    let found = match one {
        "handler" => match does.bool("handler") {
            Some(false) => {
                does.error(does.span_of("handler"), "wrong-value", "`handler` is false, so the job does nothing".to_owned(), "write handler = true");
                None
            }
            found => found.map(|_| Effect::Handler),
        },
        "call" => call(&does, app, input),
        kind => row_effect(&does, kind, app, input),
    };
    does.finish();
    found
}

fn row_effect(does: &Section<'_>, kind: &str, app: &Known<'_>, input: &Collection) -> Option<Effect> {
    let key = EFFECTS.into_iter().find(|key| *key == kind)?;
    let name = does.text(key)?;
    let Some(collection) = app.collections.iter().find(|collection| collection.name == name) else {
        let help = suggest(name, app.collections.iter().map(|collection| collection.name.as_str()))
            .map_or_else(|| "name a collection".to_owned(), |near| format!("did you mean `{near}`?"));
        does.error(does.span_of(key), "unknown-collection", format!("no collection is named `{name}`"), help);
        return None;
    };
    if collection.id == crate::USERS && key != "update" {
        does.error(does.span_of(key), "wrong-value", format!("a job cannot {key} people"), "people sign up, or are added and removed by an operator");
        return None;
    }
    let id = (key != "create").then(|| {
        let id = does.item("id");
        let slot = id.and_then(|item| slot(does, "id", item, &FieldType::Uuid, input));
        if id.is_none() {
            does.error(None, "missing-key", format!("`{key}` needs `id`"), "write id = { from = \"/input/NAME\" }");
        }
        slot
    });
    let data = if key == "delete" { Vec::new() } else { data(does, collection, input) };
    Some(match (key, id.flatten()) {
        ("create", _) => Effect::Create { collection: collection.id, data },
        ("update", Some(id)) => Effect::Update { collection: collection.id, id, data },
        (_, Some(id)) => Effect::Delete { collection: collection.id, id },
        (_, None) => return None,
    })
}

fn data(does: &Section<'_>, collection: &Collection, input: &Collection) -> Vec<(FieldId, Slot)> {
    let Some(data) = does.section("data") else { return Vec::new() };
    let mut found = Vec::new();
    for (name, span, item) in data.entries() {
        let writable = collection.field(name).filter(|at| !collection.fields[*at].read_only);
        let Some(at) = writable else {
            let known = collection.fields.iter().filter(|field| !field.read_only).map(|field| field.name.as_str());
            let help = suggest(name, known).map_or_else(|| "name a field that can be written".to_owned(), |near| format!("did you mean `{near}`?"));
            data.error(span, "unknown-field", format!("`{name}` is no field of {} that can be written", collection.name), help);
            continue;
        };
        found.extend(slot(&data, name, item, &collection.fields[at].ty, input).map(|slot| (at, slot)));
    }
    found
}

/// A value, or where it comes from.
fn slot(section: &Section<'_>, name: &str, item: &Item, ty: &FieldType, input: &Collection) -> Option<Slot> {
    if let Some(table) = item.as_table_like() {
        let from = table.get("from").and_then(Item::as_str).filter(|_| table.len() == 1);
        let Some(pointer) = from else {
            section.error(item.span(), "wrong-value", format!("`{name}` is a table"), "write { from = \"/input/NAME\" } for a value of the input");
            return None;
        };
        return pointed(section, item.span(), pointer, input).map(Slot::Input);
    }
    if matches!(ty, FieldType::Datetime(_)) && item.as_str() == Some("now") {
        return Some(Slot::Now);
    }
    written(section, name, item, ty).map(Slot::Fixed)
}

/// A request to another service.
fn call(does: &Section<'_>, app: &Known<'_>, input: &Collection) -> Option<Effect> {
    let name = does.text("call")?;
    let Some(egress) = app.egress.iter().position(|known| known.name == name) else {
        let help = suggest(name, app.egress.iter().map(|known| known.name.as_str()))
            .map_or_else(|| format!("declare it in haechi.toml: [egress.{name}]"), |near| format!("did you mean `{near}`?"));
        does.error(does.span_of("call"), "unknown-name", format!("no egress is declared as `{name}`"), help);
        return None;
    };
    let path = does.text("path").unwrap_or("/");
    let good = path.starts_with('/') && !path.starts_with("//") && path.bytes().all(|byte| byte.is_ascii_graphic()) && !path.contains('#');
    if !good {
        does.error(does.span_of("path"), "wrong-value", format!("`{path}` is no path"), "write path = \"/remind\"");
        return None;
    }
    let mut body = Vec::new();
    if let Some(members) = does.section("body") {
        for (name, span, item) in members.entries() {
            body.extend(member(&members, name, span, item, input).map(|slot| (name.to_owned(), slot)));
        }
    }
    Some(Effect::Call { egress, path: path.to_owned(), body })
}

/// A member of a request's body.
fn member(section: &Section<'_>, name: &str, span: Span, item: &Item, input: &Collection) -> Option<Member> {
    if item.as_str() == Some("now") {
        return Some(Member::Now);
    }
    if let Some(table) = item.as_table_like() {
        let from = table.get("from").and_then(Item::as_str).filter(|_| table.len() == 1);
        let Some(pointer) = from else {
            section.error(item.span(), "wrong-value", format!("`{name}` is a table"), "write { from = \"/input/NAME\" } for a value of the input");
            return None;
        };
        return pointed(section, item.span(), pointer, input).map(Member::Input);
    }
    let found = item.as_value().and_then(json);
    if found.is_none() {
        section.error(span, "wrong-type", format!("`{name}` cannot be {}", item.type_name()), "write dates and times as texts");
    }
    found.map(Member::Fixed)
}
