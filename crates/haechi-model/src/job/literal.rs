//! Values that stand in a folder as TOML, and pointers to the input of a job.

use crate::{
    collection::Collection,
    field::FieldType,
    json::Json,
    name::suggest,
    positions::FieldId,
    section::{Section, Span},
    value::Value,
};
use toml_edit::Item;

/// A value that stands in the folder.
pub(super) fn written(section: &Section<'_>, name: &str, item: &Item, ty: &FieldType) -> Option<Value> {
    match item.as_value().and_then(json).map(|json| ty.read(&json)) {
        Some(Ok(value)) => Some(value),
        Some(Err(wrong)) => {
            section.error(item.span(), "wrong-value", format!("`{name}` {}", wrong.detail), "write a value that the field takes");
            None
        }
        None => {
            section.error(item.span(), "wrong-type", format!("`{name}` cannot be {}", item.type_name()), "write dates and times as texts");
            None
        }
    }
}

pub(super) fn json(value: &toml_edit::Value) -> Option<Json> {
    Some(match value {
        toml_edit::Value::String(text) => Json::Text(text.value().as_str().into()),
        toml_edit::Value::Integer(int) => Json::Number(int.value().to_string().into()),
        toml_edit::Value::Float(float) => Json::Number(float.value().to_string().into()),
        toml_edit::Value::Boolean(flag) => Json::Bool(*flag.value()),
        toml_edit::Value::Array(items) => Json::List(items.iter().map(json).collect::<Option<_>>()?),
        _ => return None,
    })
}

/// The field of the input that a pointer names.
pub(super) fn pointed(section: &Section<'_>, span: Span, pointer: &str, input: &Collection) -> Option<FieldId> {
    let name = pointer.strip_prefix("/input/").filter(|name| !name.is_empty() && !name.contains('/'));
    let found = name.and_then(|name| input.declared().find(|(_, field)| field.name == name).map(|(at, _)| at));
    if found.is_none() {
        let known: Vec<String> = input.declared().map(|(_, field)| format!("/input/{}", field.name)).collect();
        let help = match suggest(pointer, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None if known.is_empty() => "declare the field: input = { NAME = { type = \"uuid\", required = true } }".to_owned(),
            None => format!("write one of {}", known.join(", ")),
        };
        section.error(span, "unknown-field", format!("`{pointer}` names no field of the input"), help);
    }
    found
}
