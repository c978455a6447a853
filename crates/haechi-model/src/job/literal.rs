//! Values that stand in a folder as TOML.

use crate::{field::FieldType, json::Json, section::Section, value::Value};
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

fn json(value: &toml_edit::Value) -> Option<Json> {
    Some(match value {
        toml_edit::Value::String(text) => Json::Text(text.value().as_str().into()),
        toml_edit::Value::Integer(int) => Json::Number(int.value().to_string().into()),
        toml_edit::Value::Float(float) => Json::Number(float.value().to_string().into()),
        toml_edit::Value::Boolean(flag) => Json::Bool(*flag.value()),
        toml_edit::Value::Array(items) => Json::List(items.iter().map(json).collect::<Option<_>>()?),
        _ => return None,
    })
}
