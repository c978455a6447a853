//! Forms of values in JSON Schema, each with its bounds: all doors' descriptions are built from them.

use serde_json::{Value, json};

/// The largest whole number that JavaScript holds exactly.
const SAFE: i64 = 9_007_199_254_740_991;

/// Any text of so many characters.
#[must_use]
pub fn text(max: u64) -> Value {
    json!({ "type": "string", "maxLength": max, "pattern": "^[^\\u0000]*$" })
}

/// A text of a form.
#[must_use]
pub fn matching(max: u64, pattern: &str) -> Value {
    json!({ "type": "string", "maxLength": max, "pattern": pattern })
}

/// A text of visible ASCII characters: a token, an id.
#[must_use]
pub fn visible(max: u64) -> Value {
    matching(max, "^[!-~]+$")
}

/// The name of a field, a role, a collection.
#[must_use]
pub fn name() -> Value {
    matching(crate::name::MAX_NAME_LENGTH as u64, "^_?[a-z][a-z0-9_]*$")
}

/// An id.
#[must_use]
pub fn uuid() -> Value {
    json!({ "type": "string", "format": "uuid", "maxLength": 36 })
}

/// A time.
#[must_use]
pub fn time() -> Value {
    json!({ "type": "string", "format": "date-time", "maxLength": 35 })
}

/// A whole number.
#[must_use]
pub fn integer(min: i64, max: i64) -> Value {
    let (min, max) = (min.max(-SAFE), max.min(SAFE));
    let format = if i32::try_from(min).is_ok() && i32::try_from(max).is_ok() { "int32" } else { "int64" };
    json!({ "type": "integer", "format": format, "minimum": min, "maximum": max })
}

/// A list.
#[must_use]
pub fn list(of: &Value, max: u64) -> Value {
    json!({ "type": "array", "maxItems": max, "items": of })
}

/// The same form with a description.
#[must_use]
pub fn described(mut form: Value, what: &str) -> Value {
    form["description"] = json!(what);
    form
}
