//! What Cedar itself says, row by row; and partial evaluation (`tpe`) as a second voice.

use super::world::{NOW_MS, World};
use crate::{Policies, Principal, PrincipalKind};
use cedar_policy::{
    Authorizer, Context, Decision, Effect, Entities, EntityUid, PartialEntities, PartialEntityUid, PartialRequest, Request, RestrictedExpression,
};
use haechi_model::{App, FieldType, Group, Lookup, Value, format_datetime};
use serde_json::{Value as Json, json};
use std::{cell::RefCell, rc::Rc};

/// Ids of the things of which the caller may write these fields. A forbid that errors denies.
pub(super) fn allowed(policies: &Policies, world: &World, principal: &Principal<'_>, written: &[&str]) -> Vec<String> {
    let (set, _) = policies.cedar();
    COMPARED.set(COMPARED.get() + 1);
    let entities = entities(world, false);
    let mut allowed = Vec::new();
    for row in world.asked() {
        let id = row[0].as_text().unwrap();
        let request = request(principal, id, written);
        let response = Authorizer::new().is_authorized(&request, set, &entities);
        let forbid_erred = response.diagnostics().errors().any(|error| {
            let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
            set.policy(error.policy_id()).is_some_and(|policy| policy.effect() == Effect::Forbid)
        });
        if response.decision() == Decision::Allow && !forbid_erred {
            allowed.push(id.to_owned());
        }
    }
    allowed
}

fn uid(kind: &str, id: &str) -> EntityUid {
    format!("{kind}::\"{id}\"").parse().unwrap()
}

fn caller(principal: &Principal<'_>) -> EntityUid {
    uid(if principal.kind == PrincipalKind::User { "users" } else { "Anonymous" }, principal.id)
}

fn context(written: &[&str]) -> Context {
    let fields = RestrictedExpression::new_set(written.iter().map(|name| RestrictedExpression::new_string((*name).to_owned())));
    let now = RestrictedExpression::new_datetime(format_datetime(NOW_MS));
    Context::from_pairs([("now".to_owned(), now), ("fields".to_owned(), fields)]).unwrap()
}

fn request(principal: &Principal<'_>, id: &str, written: &[&str]) -> Request {
    Request::new(caller(principal), uid("Action", "update"), uid("things", id), context(written), None).unwrap()
}

/// Cedar's partial evaluation as a second voice: nothing is known but the caller's name, and the rest is decided per row.
/// Validated policies only; the row on which it disagrees with Cedar's own authorizer.
pub(super) fn second_voice(policies: &Policies, world: &World, principal: &Principal<'_>, written: &[&str]) -> Option<String> {
    let (set, schema) = policies.cedar();
    let partial = PartialRequest::new(
        PartialEntityUid::from_concrete(caller(principal)),
        uid("Action", "update"),
        PartialEntityUid::new("things".parse().unwrap(), None),
        Some(context(written)),
        schema,
    )
    .unwrap();
    let nothing = PartialEntities::empty();
    let response = set.tpe(&partial, &nothing, schema).unwrap();
    // It demands what the schema demands, so rows that lack a group are left out.
    let entities = entities(world, true);
    for row in world.asked() {
        let id = row[0].as_text().unwrap();
        let request = request(principal, id, written);
        let Ok(again) = response.reauthorize(&request, &entities) else { continue };
        HEARD.with(|heard| heard.set(heard.get() + 1));
        if again.decision() != Authorizer::new().is_authorized(&request, set, &entities).decision() {
            return Some(id.to_owned());
        }
    }
    None
}

thread_local! {
    /// Policy sets that were compared; the others were refused.
    pub(super) static COMPARED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    /// Rows on which the second voice was heard.
    pub(super) static HEARD: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    /// All rows of each world as Cedar's entities, and those alone that have all of their groups.
    static ENTITIES: RefCell<Vec<(usize, [Rc<Entities>; 2])>> = const { RefCell::new(Vec::new()) };
}

fn entities(world: &World, whole_alone: bool) -> Rc<Entities> {
    let key = std::ptr::from_ref(world) as usize;
    ENTITIES.with_borrow_mut(|kept| {
        let at = kept.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
            kept.push((key, entities_of(world)));
            kept.len() - 1
        });
        kept[at].1[usize::from(whole_alone)].clone()
    })
}

fn entities_of(world: &World) -> [Rc<Entities>; 2] {
    let app = world.app("");
    let users = world.users.iter().map(|row| entity(world, &app, 0, row));
    let things = world.things.iter().map(|row| entity(world, &app, world.things_id, row));
    let list: Vec<Json> = users.chain(things).collect();
    let things = &app.collections[world.things_id];
    let is_whole = |json: &&Json| json["uid"]["type"] != "things" || things.groups.iter().all(|group| json["attrs"].get(&group.name).is_some());
    let whole: Vec<Json> = list.iter().filter(is_whole).cloned().collect();
    [list, whole].map(|list| Rc::new(Entities::from_json_value(Json::from(list), None).unwrap()))
}

/// The ids of the rows whose group it looks at for a row; `None` when they are too many. Cedar knows no depth and no circles, so
/// membership is flattened for it, and a group of which nobody can say who is outside is not there at all.
fn chain(world: &World, group: &Group, id: &str) -> Option<Vec<String>> {
    let parent = |id: &String| world.row(group.of, id)?[group.inherits?].as_text().map(str::to_owned);
    let (chain, whole) = group.chain(&id.to_owned(), parent);
    whole.then_some(chain)
}

/// The groups that a person is in.
fn groups_of(world: &World, app: &App, who: &str) -> Vec<Json> {
    let mut found = Vec::new();
    for (id, rows) in [(0, &world.users), (world.things_id, &world.things)] {
        for group in &app.collections[id].groups {
            for of in rows.iter().filter_map(|row| row[0].as_text()) {
                if chain(world, group, of).is_some_and(|chain| chain.iter().any(|id| world.joined(group, id, who))) {
                    found.push(json!({ "type": crate::schema::group_type(&app.collections[id], group), "id": of }));
                }
            }
        }
    }
    found
}

fn entity(world: &World, app: &App, collection: usize, row: &[Value]) -> Json {
    let declared = &app.collections[collection];
    let mut attributes = serde_json::Map::new();
    for (at, field) in declared.fields.iter().enumerate().skip(1) {
        if crate::visible(app, declared, at) && !row[at].is_null() {
            attributes.insert(field.name.clone(), value(app, &field.ty, &row[at]));
        }
    }
    let roles: Vec<String> =
        if collection == 0 { serde_json::from_str(row[declared.field("roles").unwrap()].as_text().unwrap()).unwrap() } else { Vec::new() };
    let id = row[0].as_text().unwrap();
    for group in declared.groups.iter().filter(|group| chain(world, group, id).is_some()) {
        let ty = crate::schema::group_type(declared, group);
        attributes.insert(group.name.clone(), json!({ "__entity": { "type": ty, "id": id } }));
    }
    let mut parents: Vec<Json> = roles.iter().map(|role| json!({ "type": "Role", "id": role })).collect();
    if collection == 0 {
        parents.extend(groups_of(world, app, id));
    }
    json!({ "uid": { "type": declared.name, "id": row[0].as_text() }, "attrs": attributes, "parents": parents })
}

fn value(app: &App, ty: &FieldType, value: &Value) -> Json {
    match (ty, value) {
        (FieldType::Bool, Value::Int(int)) => json!(*int != 0),
        (FieldType::Datetime(_) | FieldType::Date(_), Value::Int(ms)) => json!({ "__extn": { "fn": "datetime", "arg": format_datetime(*ms) } }),
        (FieldType::Decimal { scale, .. }, Value::Int(int)) => {
            let text = format!(
                "{}{}.{:0width$}",
                if *int < 0 { "-" } else { "" },
                int.abs() / 10_i64.pow(*scale),
                int.abs() % 10_i64.pow(*scale),
                width = *scale as usize
            );
            json!({ "__extn": { "fn": "decimal", "arg": text } })
        }
        (_, Value::Int(int)) => json!(int),
        (FieldType::Ref { to, .. }, Value::Text(id)) => json!({ "__entity": { "type": app.collections[*to].name, "id": id } }),
        (FieldType::List { of, .. }, Value::Text(_)) if ty.lists().is_some() => {
            haechi_model::items(value).unwrap().iter().map(|item| self::value(app, of, item)).collect()
        }
        (FieldType::List { .. }, Value::Text(text)) => serde_json::from_str(text).unwrap(),
        (_, Value::Text(text)) => json!(text),
        (_, other) => panic!("{other:?} is not visible to policies"),
    }
}
