//! What Cedar itself says, row by row; and partial evaluation (`tpe`) as a second voice.

use super::world::{NOW_MS, World};
use crate::{Policies, Principal, PrincipalKind};
use cedar_policy::{Authorizer, Context, Decision, Effect, Entities, EntityUid, Request, RestrictedExpression};
use haechi_model::{App, FieldType, Value, format_datetime};
use serde_json::{Value as Json, json};
use std::cell::RefCell;

/// Ids of the things that the caller may read. A forbid that errors denies.
pub(super) fn readable(policies: &Policies, world: &World, principal: &Principal<'_>, strict: bool) -> Vec<String> {
    let (set, schema) = policies.cedar();
    let entities = entities(world);
    let kind = if principal.kind == PrincipalKind::User { "users" } else { "Anonymous" };
    let uid = |kind: &str, id: &str| -> EntityUid { format!("{kind}::\"{id}\"").parse().unwrap() };
    let context = || Context::from_pairs([("now".to_owned(), RestrictedExpression::new_datetime(format_datetime(NOW_MS)))]).unwrap();
    let mut allowed = Vec::new();
    for row in &world.things {
        let id = row[0].as_text().unwrap();
        let request = Request::new(uid(kind, principal.id), uid("Action", "read"), uid("things", id), context(), None).unwrap();
        let response = Authorizer::new().is_authorized(&request, set, &entities);
        let forbid_erred = response.diagnostics().errors().any(|error| {
            let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
            set.policy(error.policy_id()).is_some_and(|policy| policy.effect() == Effect::Forbid)
        });
        if response.decision() == Decision::Allow && !forbid_erred {
            allowed.push(id.to_owned());
        }
    }
    let _ = (strict, schema);
    allowed
}

thread_local! {
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
