//! Turns protobuf requests into input of the actions. An unknown field is an error, as everywhere.

use bytes::Bytes;
use haechi_model::{Collection, FieldType, Json, format_datetime};
use haechi_problem::{FieldProblem, Problem, kinds};
use prost_reflect::{DynamicMessage, MessageDescriptor, Value};

/// The years 0001 to 9999, UTC milliseconds.
const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

/// A request that was read.
pub(crate) struct Incoming(DynamicMessage);

fn malformed(what: &str) -> Problem {
    Problem::new(kinds::MALFORMED, what.to_owned())
}

impl Incoming {
    /// Reads a message and everything in it.
    pub(crate) fn read(descriptor: &MessageDescriptor, bytes: Bytes) -> Result<Self, Problem> {
        let message = DynamicMessage::decode(descriptor.clone(), bytes).map_err(|_| malformed("The message is not well formed."))?;
        known(&message)?;
        Ok(Self(message))
    }

    /// The whole message in one form.
    pub(crate) fn canonical(&self) -> Vec<u8> {
        prost::Message::encode_to_vec(&self.0)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        text(&self.0, name)
    }

    /// An idempotency key, when there is one.
    pub(crate) fn request_id(&self) -> Option<String> {
        Some(self.text("request_id")).filter(|id| !id.is_empty())
    }

    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        number(&self.0, name)
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.0.get_field_by_name(name).as_deref(), Some(Value::Bool(true)))
    }

    /// The paths of a field mask; `None` when there is none.
    pub(crate) fn mask(&self, name: &str) -> Option<Vec<String>> {
        mask(&self.0, name)
    }

    pub(crate) fn texts(&self, name: &str) -> Vec<Box<str>> {
        let Some(value) = self.0.get_field_by_name(name) else { return Vec::new() };
        value.as_list().unwrap_or_default().iter().filter_map(|item| item.as_str().map(Into::into)).collect()
    }

    /// The requests of a batch.
    pub(crate) fn requests(&self) -> Vec<Self> {
        let Some(value) = self.0.get_field_by_name("requests") else { return Vec::new() };
        value.as_list().unwrap_or_default().iter().filter_map(|item| item.as_message().cloned().map(Self)).collect()
    }

    /// The present fields of a nested message, as JSON; empty when the message is absent.
    pub(crate) fn object(&self, name: &str, collection: &Collection) -> Result<Vec<(Box<str>, Json)>, Problem> {
        if !self.0.has_field_by_name(name) {
            return Ok(Vec::new());
        }
        match self.0.get_field_by_name(name).as_deref() {
            Some(Value::Message(message)) => fields(message, collection),
            _ => Ok(Vec::new()),
        }
    }

    /// The fields of an update: with a mask, its fields, and absent ones are cleared; without a mask, the present fields.
    pub(crate) fn update(&self, name: &str, collection: &Collection) -> Result<(String, Json), Problem> {
        let given = self.object(name, collection)?;
        let Some((_, Json::Text(id))) = given.iter().find(|(name, _)| **name == *"id") else {
            return Err(malformed("The record's `id` is required."));
        };
        Ok((id.to_string(), self.changed(name, collection)?))
    }

    /// The same, without the record's own id.
    pub(crate) fn changed(&self, name: &str, collection: &Collection) -> Result<Json, Problem> {
        let mut given = self.object(name, collection)?;
        given.retain(|(name, _)| **name != *"id");
        let Some(paths) = self.mask("update_mask") else { return Ok(Json::Object(given)) };
        let all = paths.iter().any(|path| path == "*");
        let declared = collection.fields.iter().filter(|field| all && !field.read_only).map(|field| field.name.clone());
        let named = paths.into_iter().filter(|path| path != "*").chain(declared);
        let mut members = Vec::new();
        for path in named {
            let value = given.iter().find(|(name, _)| **name == *path).map(|(_, json)| json.clone());
            // In protobuf, an empty list and an absent list are the same.
            let list = collection.field(&path).is_some_and(|at| matches!(collection.fields[at].ty, FieldType::List { .. }));
            let absent = if list { Json::List(Vec::new()) } else { Json::Null };
            members.push((path.into(), value.unwrap_or(absent)));
        }
        Ok(Json::Object(members))
    }
}

fn text(message: &DynamicMessage, name: &str) -> String {
    message.get_field_by_name(name).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn number(message: &DynamicMessage, name: &str) -> Option<i64> {
    if !message.has_field_by_name(name) {
        return None;
    }
    match message.get_field_by_name(name).as_deref() {
        Some(Value::I64(int)) => Some(*int),
        Some(Value::I32(int)) => Some((*int).into()),
        _ => None,
    }
}

fn mask(message: &DynamicMessage, name: &str) -> Option<Vec<String>> {
    if !message.has_field_by_name(name) {
        return None;
    }
    let value = message.get_field_by_name(name)?;
    let paths = value.as_message()?.get_field_by_name("paths")?;
    let paths: Vec<String> = paths.as_list()?.iter().filter_map(|path| path.as_str().map(str::to_owned)).collect();
    (!paths.is_empty()).then_some(paths)
}

/// Refuses fields that are not part of a message.
fn known(message: &DynamicMessage) -> Result<(), Problem> {
    if let Some(unknown) = message.unknown_fields().next() {
        let error = FieldProblem { pointer: format!("/{}", unknown.number()), code: "unknown_field", detail: "there is no such field".to_owned() };
        return Err(Problem::new(kinds::INVALID_FIELDS, "1 field is not valid.").with_errors(vec![error]));
    }
    for (_, value) in message.fields() {
        match value {
            Value::Message(inner) => known(inner)?,
            Value::List(items) => items.iter().filter_map(Value::as_message).try_for_each(known)?,
            _ => {}
        }
    }
    Ok(())
}

fn fields(message: &DynamicMessage, collection: &Collection) -> Result<Vec<(Box<str>, Json)>, Problem> {
    let mut members = Vec::new();
    for (descriptor, value) in message.fields() {
        let name = descriptor.name();
        let ty = collection.field(name).map(|at| &collection.fields[at].ty);
        members.push((name.into(), json(value, ty)?));
    }
    Ok(members)
}

fn json(value: &Value, ty: Option<&FieldType>) -> Result<Json, Problem> {
    Ok(match (value, ty) {
        // Written as text at every door, so that no reader loses digits.
        (Value::I64(int), Some(FieldType::Int64 { .. })) => Json::Text(int.to_string().into()),
        (Value::I64(int), _) => Json::Number(int.to_string().into()),
        (Value::F64(real), _) if real.is_finite() => Json::Number(format!("{real:?}").into()),
        (Value::Bool(flag), _) => Json::Bool(*flag),
        (Value::String(text), Some(FieldType::Json { .. })) => {
            haechi_model::parse_json(text.as_bytes()).map_err(|_| malformed("A field of JSON does not hold JSON."))?
        }
        (Value::String(text), _) => Json::Text(text.as_str().into()),
        (Value::List(items), ty) => {
            let of = if let Some(FieldType::List { of, .. }) = ty { Some(&**of) } else { None };
            Json::List(items.iter().map(|item| json(item, of)).collect::<Result<_, _>>()?)
        }
        (Value::Message(message), _) => Json::Text(timestamp(message).into()),
        _ => return Err(malformed("A number is not finite.")),
    })
}

/// `google.protobuf.Timestamp` as JSON text; the field refuses values out of range.
fn timestamp(message: &DynamicMessage) -> String {
    let part = |name: &str| match message.get_field_by_name(name).as_deref() {
        Some(Value::I64(int)) => *int,
        Some(Value::I32(int)) => i64::from(*int),
        _ => 0,
    };
    let ms = part("seconds").checked_mul(1000).and_then(|ms| ms.checked_add(part("nanos").div_euclid(1_000_000)));
    ms.filter(|ms| YEARS.contains(ms)).map_or_else(|| "out of range".to_owned(), format_datetime)
}
