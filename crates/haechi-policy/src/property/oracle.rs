//! What Cedar itself says, row by row; and partial evaluation (`tpe`) as a second voice.

use super::world::{NOW_MS, World};
use crate::{Policies, Principal, PrincipalKind};
use cedar_policy::{
    Authorizer, Context, Decision, Effect, Entities, EntityUid, PartialEntities, PartialEntityUid, PartialRequest, Request, RestrictedExpression,
};
use haechi_model::{App, FieldType, Value, format_datetime};
use serde_json::{Value as Json, json};
use std::cell::RefCell;

/// Ids of the things that the caller may read. A forbid that errors denies.
pub(super) fn readable(policies: &Policies, world: &World, principal: &Principal<'_>) -> Vec<String> {
    let (set, _) = policies.cedar();
    COMPARED.set(COMPARED.get() + 1);
    let entities = entities(world);
    let mut allowed = Vec::new();
    for row in &world.things {
        let id = row[0].as_text().unwrap();
        let request = request(principal, id);
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

fn context() -> Context {
    Context::from_pairs([("now".to_owned(), RestrictedExpression::new_datetime(format_datetime(NOW_MS)))]).unwrap()
}

fn request(principal: &Principal<'_>, id: &str) -> Request {
    Request::new(caller(principal), uid("Action", "read"), uid("things", id), context(), None).unwrap()
}

/// Cedar's partial evaluation as a second voice: nothing is known but the caller's name, and the rest is decided per row.
/// Validated policies only; the row on which it disagrees with Cedar's own authorizer.
pub(super) fn second_voice(policies: &Policies, world: &World, principal: &Principal<'_>) -> Option<String> {
    let (set, schema) = policies.cedar();
    let partial = PartialRequest::new(
        PartialEntityUid::from_concrete(caller(principal)),
        uid("Action", "read"),
        PartialEntityUid::new("things".parse().unwrap(), None),
        Some(context()),
        schema,
    )
    .unwrap();
    let nothing = PartialEntities::empty();
    let response = set.tpe(&partial, &nothing, schema).unwrap();
    let entities = entities(world);
    for row in &world.things {
        let id = row[0].as_text().unwrap();
        let request = request(principal, id);
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
    static ENTITIES: RefCell<Option<(usize, Entities)>> = const { RefCell::new(None) };
}

/// All rows as Cedar's entities.
fn entities(world: &World) -> Entities {
    let key = std::ptr::from_ref(world) as usize;
    ENTITIES.with_borrow_mut(|kept| match kept {
        Some((known, entities)) if *known == key => entities.clone(),
        _ => {
            let app = world.app("");
            let users = world.users.iter().map(|row| entity(&app, 0, row));
            let things = world.things.iter().map(|row| entity(&app, world.things_id, row));
            let list: Vec<Json> = users.chain(things).collect();
            let entities = Entities::from_json_value(Json::from(list), None).unwrap();
            *kept = Some((key, entities.clone()));
            entities
        }
    })
}

fn entity(app: &App, collection: usize, row: &[Value]) -> Json {
    let declared = &app.collections[collection];
    let mut attributes = serde_json::Map::new();
    for (at, field) in declared.fields.iter().enumerate().skip(1) {
        if crate::visible(app, declared, at) && !row[at].is_null() {
            attributes.insert(field.name.clone(), value(app, &field.ty, &row[at]));
        }
    }
    let roles: Vec<String> =
        if collection == 0 { serde_json::from_str(row[declared.field("roles").unwrap()].as_text().unwrap()).unwrap() } else { Vec::new() };
    let parents: Vec<Json> = roles.iter().map(|role| json!({ "type": "Role", "id": role })).collect();
    json!({ "uid": { "type": declared.name, "id": row[0].as_text() }, "attrs": attributes, "parents": parents })
}

fn value(app: &App, ty: &FieldType, value: &Value) -> Json {
    match (ty, value) {
        (FieldType::Bool, Value::Int(int)) => json!(*int != 0),
        (FieldType::Datetime | FieldType::Date, Value::Int(ms)) => json!({ "__extn": { "fn": "datetime", "arg": format_datetime(*ms) } }),
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
        (FieldType::List { .. }, Value::Text(text)) => serde_json::from_str(text).unwrap(),
        (_, Value::Text(text)) => json!(text),
        (_, other) => panic!("{other:?} is not visible to policies"),
    }
}
