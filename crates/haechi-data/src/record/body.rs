//! A JSON body to validated values: all field errors at once.

use super::error::{RecordError, field_problem};
use haechi_model::{Collection, FieldError, FieldId, Json, Value, suggest};
use haechi_problem::{FieldProblem, pointer};

/// What a body is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Every required field must be there.
    Create,
    /// RFC 7396: absent is unchanged, null clears.
    Merge,
}

/// Reads the fields of an object. `base` is the JSON Pointer of the object.
pub(crate) fn read_values(json: &Json, collection: &Collection, purpose: Purpose, base: &str) -> Result<Vec<(FieldId, Value)>, RecordError> {
    let Json::Object(members) = json else { return Err(RecordError::Shape("The body must be a JSON object.")) };
    let mut errors: Vec<FieldProblem> = Vec::new();
    let mut values: Vec<(FieldId, Value)> = Vec::with_capacity(members.len());
    for (name, json) in members {
        let found = collection.field(name).filter(|field| !collection.fields[*field].read_only);
        let Some(id) = found else {
            errors.push(unknown(collection, name, base));
            continue;
        };
        let field = &collection.fields[id];
        match field.read(json) {
            Ok(Value::Null) if field.required => {
                errors.push(FieldProblem { pointer: pointer(base, name), code: "required", detail: "a value is required".to_owned() });
            }
            Ok(Value::Null) if purpose == Purpose::Create => {}
            Ok(value) => values.push((id, value)),
            Err(error) => errors.push(field_problem(base, name, error)),
        }
    }
    if purpose == Purpose::Create {
        let named = |name: &str| members.iter().any(|(member, _)| **member == *name);
        for (id, field) in collection.declared() {
            let missing = field.required && field.default.is_none() && collection.owner != Some(id) && !field.read_only && !named(&field.name);
            if missing {
                errors.push(FieldProblem { pointer: pointer(base, &field.name), code: "required", detail: "a value is required".to_owned() });
            }
        }
    }
    // The first error does not depend on the order of the body or on the door.
    values.sort_unstable_by_key(|(field, _)| *field);
    if errors.is_empty() { Ok(values) } else { Err(RecordError::Fields(errors)) }
}

fn unknown(collection: &Collection, name: &str, base: &str) -> FieldProblem {
    let (code, detail) = match collection.field(name) {
        Some(_) => ("read_only", "is set by the server and cannot be written".to_owned()),
        None => {
            let writable = collection.fields.iter().filter(|field| !field.read_only).map(|field| field.name.as_str());
            (
                "unknown_field",
                suggest(name, writable)
                    .map_or_else(|| "there is no such field".to_owned(), |near| format!("there is no such field; did you mean `{near}`?")),
            )
        }
    };
    field_problem(base, name, FieldError { code, detail })
}
