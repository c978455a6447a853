//! Fields: their types, and how a value of each is read from JSON or text and written back.

use crate::{
    bounds::Bounds,
    class::ClassId,
    json::{Json, parse_json},
    list::references,
    numbering::Numbering,
    pattern::Pattern,
    positions::CollectionId,
    predicate::fold_case,
    read::{FieldError, decimal, email, float, in_range, json_value, plain_text, url_value, whole, wrong},
    rules::{OnUpdate, Rules},
    time::{parse_date, parse_datetime},
    value::{Storage, Value},
};
use std::borrow::Cow;

/// The largest whole number that every JSON reader keeps exactly.
pub(crate) const MAX_SAFE_INT: i64 = (1 << 53) - 1;
/// Length of a text whose field names no `max_length`, in Unicode scalar values.
pub(crate) const DEFAULT_TEXT_LENGTH: u32 = 10_000;
/// Length of a list whose field names no `max_items`.
pub(crate) const DEFAULT_LIST_ITEMS: u32 = 100;
/// Size of a json value whose field names no `max_bytes`.
pub(crate) const DEFAULT_JSON_BYTES: u32 = 64 * 1024;

/// What happens to a row when the row it refers to is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDelete {
    /// The delete is refused.
    Restrict,
    /// The row is deleted too, with its own entry.
    Cascade,
    /// The reference becomes null, with its own entry.
    SetNull,
    /// The id is taken out of the list, with an entry for the row.
    Remove,
}

/// The type of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldType {
    /// Text kept byte for byte; lengths in Unicode scalar values.
    Text {
        /// Fewest characters.
        min_length: u32,
        /// Most characters.
        max_length: u32,
        /// What the whole value must match.
        pattern: Option<Pattern>,
        /// Whether uniqueness, filter and order ignore case.
        fold: bool,
    },
    /// An address, stored folded.
    Email,
    /// An absolute http or https URL in canonical form.
    Url,
    /// A UUID in lower case.
    Uuid,
    /// One of the listed words.
    Enum {
        /// The words.
        values: Vec<String>,
        /// Whether filters, orders and extremes go by the order of the words.
        ordered: bool,
    },
    /// ±(2⁵³−1), a JSON number.
    Int {
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
    },
    /// Any 64-bit integer, a JSON string.
    Int64 {
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
    },
    /// A scaled integer, a JSON string.
    Decimal {
        /// Digits in all.
        precision: u32,
        /// Digits after the point.
        scale: u32,
        /// Smallest and largest value, scaled.
        bounds: Bounds,
    },
    /// A finite number.
    Float {
        /// Smallest value.
        min: f64,
        /// Largest value.
        max: f64,
    },
    /// true or false.
    Bool,
    /// UTC milliseconds.
    Datetime(Bounds),
    /// A day, stored as midnight UTC.
    Date(Bounds),
    /// Any JSON, opaque to filter, order and policies.
    Json {
        /// Most bytes of its compact form.
        max_bytes: u32,
    },
    /// A list of scalars. Of references it is a set: each id once, in their order.
    List {
        /// Type of each item.
        of: Box<FieldType>,
        /// Most items.
        max_items: u32,
    },
    /// The id of a row of another collection.
    Ref {
        /// The collection.
        to: CollectionId,
        /// What deleting that row does.
        on_delete: OnDelete,
    },
}

/// A value for rows that are created without one.
#[derive(Clone, Debug, PartialEq)]
pub enum DefaultValue {
    /// A fixed value.
    Fixed(Value),
    /// The time of the write (datetime), or its day (date).
    Now,
    /// The caller, when they are a person.
    Me,
    /// The next number of a series.
    Number(Numbering),
}

/// A field.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Name in JSON, filters and policies, and of the column.
    pub name: String,
    /// Type.
    pub ty: FieldType,
    /// Class.
    pub class: ClassId,
    /// Whether a row must have a value.
    pub required: bool,
    /// Whether no two rows may share a value.
    pub unique: bool,
    /// Value of rows created without one.
    pub default: Option<DefaultValue>,
    /// Former name; its own, when the values are to be converted to another type.
    pub was: Option<String>,
    /// The unique field in the target collection by which former values find their row.
    pub by: Option<String>,
    /// Set by Haechi, never by a request.
    pub read_only: bool,
    /// Position of the folded shadow column, for `case = "fold"`.
    pub shadow: Option<usize>,
    /// Most bytes of a text that an index holds, of those indexes that hold the field.
    pub index_bytes: Option<usize>,
    /// How its value may change.
    pub rules: Rules,
}

/// Most bytes of texts in one index entry: PostgreSQL's limit, which applies to every database here.
pub const INDEX_BYTES: usize = 2_600;

impl Field {
    /// Reads a value from JSON; an indexed value must fit its indexes.
    ///
    /// # Errors
    /// As [`FieldType::read`], and when an index cannot hold it.
    pub fn read(&self, json: &Json) -> Result<Value, FieldError> {
        self.ty.read(json).and_then(|value| self.admit(value))
    }

    /// Checks that the indexes can hold a value.
    ///
    /// # Errors
    /// When it is too long.
    pub fn admit(&self, value: Value) -> Result<Value, FieldError> {
        let Some(most) = self.index_bytes else { return Ok(value) };
        let bytes = |value: &Value| value.as_text().map_or(0, str::len);
        let longest = if self.shadow.is_some() { bytes(&self.ty.folded(value.clone())).max(bytes(&value)) } else { bytes(&value) };
        if longest <= most {
            return Ok(value);
        }
        wrong("too_long", format!("must have at most {most} bytes: it is unique or indexed"))
    }

    /// The default value for a row or a body that leaves the field out; `me` is the caller, when they are a person.
    pub fn default_at(&self, now_ms: i64, me: Option<&str>) -> Option<Value> {
        match self.default.as_ref()? {
            DefaultValue::Fixed(value) => Some(value.clone()),
            DefaultValue::Now => Some(self.now(now_ms)),
            DefaultValue::Me => me.map(Value::text),
            DefaultValue::Number(_) => None,
        }
    }

    /// The numbers that new rows get.
    #[must_use]
    pub fn numbering(&self) -> Option<&Numbering> {
        if let Some(DefaultValue::Number(numbering)) = &self.default { Some(numbering) } else { None }
    }

    /// The value that a change sets by itself; `me` is the caller, when they are a person.
    pub fn set_at(&self, now_ms: i64, me: Option<&str>) -> Option<Value> {
        match self.rules.on_update? {
            OnUpdate::Now => Some(self.now(now_ms)),
            OnUpdate::Me => Some(me.map_or(Value::Null, Value::text)),
        }
    }

    fn now(&self, now_ms: i64) -> Value {
        match self.ty {
            FieldType::Date(_) => Value::Int(now_ms.div_euclid(86_400_000) * 86_400_000),
            _ => Value::Int(now_ms),
        }
    }
}

impl FieldType {
    /// How values are stored.
    #[must_use]
    pub fn storage(&self) -> Storage {
        match self {
            Self::Int { .. } | Self::Int64 { .. } | Self::Decimal { .. } | Self::Bool | Self::Datetime(_) | Self::Date(_) => Storage::Int,
            Self::Float { .. } => Storage::Real,
            Self::Text { .. }
            | Self::Email
            | Self::Url
            | Self::Uuid
            | Self::Enum { .. }
            | Self::Json { .. }
            | Self::List { .. }
            | Self::Ref { .. } => Storage::Text,
        }
    }

    /// The name in `type = "…"`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Text { .. } => "text",
            Self::Email => "email",
            Self::Url => "url",
            Self::Uuid => "uuid",
            Self::Enum { .. } => "enum",
            Self::Int { .. } => "int",
            Self::Int64 { .. } => "int64",
            Self::Decimal { .. } => "decimal",
            Self::Float { .. } => "float",
            Self::Bool => "bool",
            Self::Datetime(_) => "datetime",
            Self::Date(_) => "date",
            Self::Json { .. } => "json",
            Self::List { .. } => "list",
            Self::Ref { .. } => "ref",
        }
    }

    /// The collection to which it refers, by one id or by a list of them, and what deleting a row there does.
    #[must_use]
    pub fn refers(&self) -> Option<(CollectionId, OnDelete)> {
        match self {
            Self::Ref { to, on_delete } => Some((*to, *on_delete)),
            list => list.lists(),
        }
    }

    /// The collection to which a list of references refers, and what deleting a row there does.
    #[must_use]
    pub fn lists(&self) -> Option<(CollectionId, OnDelete)> {
        match self {
            Self::List { of, .. } => match **of {
                Self::Ref { to, on_delete } => Some((to, on_delete)),
                _ => None,
            },
            _ => None,
        }
    }

    /// The ids in a stored reference or list of references.
    #[must_use]
    pub fn ids(&self, stored: &str) -> Vec<Box<str>> {
        match self {
            Self::Ref { .. } => vec![stored.into()],
            _ => references(&Value::text(stored)),
        }
    }

    /// The reference, also that of a list.
    pub(crate) fn reference_mut(&mut self) -> Option<&mut CollectionId> {
        match self {
            Self::Ref { to, .. } => Some(to),
            Self::List { of, .. } => of.reference_mut(),
            _ => None,
        }
    }

    /// Whether values can be compared and ordered in a filter.
    #[must_use]
    pub fn comparable(&self) -> bool {
        !matches!(self, Self::Json { .. } | Self::List { .. })
    }

    /// Reads a value from a JSON body. The caller handles `null`.
    ///
    /// # Errors
    /// When the JSON is of another kind or breaks a constraint.
    pub fn read(&self, json: &Json) -> Result<Value, FieldError> {
        match (self, json) {
            (_, Json::Null) => Ok(Value::Null),
            (Self::Int { min, max }, Json::Number(digits)) => in_range(whole(digits)?, (*min).max(-MAX_SAFE_INT), (*max).min(MAX_SAFE_INT)),
            (Self::Float { min, max }, Json::Number(digits)) => float(digits, *min, *max),
            (Self::Bool, Json::Bool(flag)) => Ok(Value::Int(i64::from(*flag))),
            (Self::Json { max_bytes }, json) => json_value(json, *max_bytes),
            (Self::List { of, max_items }, Json::List(items)) => list(of, items, *max_items),
            (
                Self::Text { .. }
                | Self::Email
                | Self::Url
                | Self::Uuid
                | Self::Enum { .. }
                | Self::Int64 { .. }
                | Self::Decimal { .. }
                | Self::Datetime(_)
                | Self::Date(_)
                | Self::Ref { .. },
                Json::Text(text),
            ) => self.read_text(text),
            (_, found) => wrong("wrong_type", format!("must be {}, not {}", self.json_kind(), found.kind())),
        }
    }

    /// Reads a value from text: a query parameter, a filter or a CSV cell.
    ///
    /// # Errors
    /// When the text does not read as this type or breaks a constraint.
    pub fn read_text(&self, text: &str) -> Result<Value, FieldError> {
        match self {
            Self::Text { min_length, max_length, pattern, .. } => plain_text(text, *min_length, *max_length, pattern.as_ref()),
            Self::Email => email(text),
            Self::Url => url_value(text),
            Self::Uuid | Self::Ref { .. } => match uuid::Uuid::try_parse(text) {
                Ok(id) if text.len() == 36 => Ok(Value::text(id.hyphenated().to_string())),
                _ => wrong("not_a_uuid", "must be a UUID such as 0192f3a0-7c4e-7d11-a1b2-c3d4e5f60718"),
            },
            Self::Enum { values, .. } if values.iter().any(|known| known == text) => Ok(Value::text(text)),
            Self::Enum { values, .. } => wrong("not_in_enum", format!("must be one of: {}", values.join(", "))),
            Self::Int { min, max } => in_range(whole(text)?, (*min).max(-MAX_SAFE_INT), (*max).min(MAX_SAFE_INT)),
            Self::Int64 { min, max } => in_range(whole(text)?, *min, *max),
            Self::Decimal { precision, scale, bounds } => self.within(decimal(text, *precision, *scale)?, *bounds),
            Self::Float { min, max } => float(text, *min, *max),
            Self::Bool => match text {
                "true" => Ok(Value::Int(1)),
                "false" => Ok(Value::Int(0)),
                _ => wrong("wrong_type", "must be true or false"),
            },
            Self::Datetime(bounds) => match parse_datetime(text) {
                Some(ms) => self.within(Value::Int(ms), *bounds),
                None => wrong("not_a_datetime", "must be an RFC 3339 time with offset, such as 2026-11-22T09:30:00Z"),
            },
            Self::Date(bounds) => match parse_date(text) {
                Some(ms) => self.within(Value::Int(ms), *bounds),
                None => wrong("not_a_date", "must be a day such as 2026-11-22"),
            },
            Self::Json { .. } | Self::List { .. } => match parse_json(text.as_bytes()) {
                Ok(json) => self.read(&json),
                Err(error) => wrong("not_json", error.to_string()),
            },
        }
    }

    /// A value that is read must be within the type's bounds.
    pub(crate) fn within(&self, value: Value, bounds: Bounds) -> Result<Value, FieldError> {
        match value {
            Value::Int(int) if !bounds.hold(int) => wrong("out_of_range", format!("must be{}", bounds.words(|int| self.plain_int(int)))),
            value => Ok(value),
        }
    }

    /// A stored integer as it is written in text.
    pub(crate) fn plain_int(&self, int: i64) -> String {
        let mut json = Vec::new();
        self.write_int(int, &mut json);
        String::from_utf8_lossy(&json).trim_matches('"').to_owned()
    }

    /// The type without its bounds, for values that are compared and not stored.
    #[must_use]
    pub fn unbounded(&self) -> Cow<'_, Self> {
        Cow::Owned(match self {
            Self::Int { .. } => Self::Int { min: i64::MIN, max: i64::MAX },
            Self::Int64 { .. } => Self::Int64 { min: i64::MIN, max: i64::MAX },
            Self::Float { .. } => Self::Float { min: f64::MIN, max: f64::MAX },
            Self::Decimal { precision, scale, .. } => Self::Decimal { precision: *precision, scale: *scale, bounds: Bounds::NONE },
            Self::Datetime(_) => Self::Datetime(Bounds::NONE),
            Self::Date(_) => Self::Date(Bounds::NONE),
            other => return Cow::Borrowed(other),
        })
    }

    /// The stored list of items of this type.
    fn list_of<'a>(&self, items: impl Iterator<Item = &'a Value>) -> Value {
        let mut out = vec![b'['];
        for item in items {
            if out.len() > 1 {
                out.push(b',');
            }
            self.write(item, &mut out);
        }
        out.push(b']');
        Value::text(String::from_utf8_lossy(&out))
    }

    /// How the form that filters, orders and unique keys compare is stored, where it is not the value itself.
    #[must_use]
    pub fn shadow(&self) -> Option<Storage> {
        match self {
            Self::Text { fold: true, .. } => Some(Storage::Text),
            Self::Enum { ordered: true, .. } => Some(Storage::Int),
            _ => None,
        }
    }

    /// The form that filters, orders and unique keys compare: the folded text, the place of a word.
    #[must_use]
    pub fn folded(&self, value: Value) -> Value {
        match (self, &value) {
            (Self::Enum { values, ordered: true }, Value::Text(word)) => {
                let place = values.iter().position(|known| **known == **word).and_then(|place| i64::try_from(place).ok());
                place.map_or(Value::Null, Value::Int)
            }
            (Self::Text { fold: true, .. }, Value::Text(text)) => Value::text(fold_case(text)),
            _ => value,
        }
    }

    /// The word at a place of an ordered enum.
    #[must_use]
    pub fn word_at(&self, place: &Value) -> Value {
        let Self::Enum { values, .. } = self else { return Value::Null };
        let place = place.as_int().and_then(|place| usize::try_from(place).ok());
        place.and_then(|place| values.get(place)).map_or(Value::Null, |word| Value::text(word.as_str()))
    }

    fn json_kind(&self) -> &'static str {
        match self {
            Self::Int { .. } => "a whole number",
            Self::Float { .. } => "a number",
            Self::Bool => "true or false",
            Self::List { .. } => "a list",
            Self::Int64 { .. } => "a whole number in a string",
            Self::Decimal { .. } => "a decimal number in a string",
            _ => "a string",
        }
    }
}

/// Reads the items of a list.
pub(crate) fn list(of: &FieldType, items: &[Json], max_items: u32) -> Result<Value, FieldError> {
    let too_many = |items: usize| match items > max_items as usize {
        true => wrong("too_many_items", format!("has {items} items; at most {max_items} are allowed")),
        false => Ok(()),
    };
    let is_set = matches!(of, FieldType::Ref { .. });
    if !is_set {
        too_many(items.len())?;
    }
    let mut values = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        if *item == Json::Null {
            return wrong("null_in_list", format!("item {at} is null"));
        }
        values.push(of.read(item).map_err(|error| FieldError { code: error.code, detail: format!("item {at} {}", error.detail) })?);
    }
    if is_set {
        // Equal sets are the same text.
        values.sort_by(|one, other| one.as_text().cmp(&other.as_text()));
        values.dedup();
        too_many(values.len())?;
    }
    Ok(of.list_of(values.iter()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::without_references;

    fn read(ty: &FieldType, text: &str) -> Result<Value, &'static str> {
        ty.read(&parse_json(text.as_bytes()).unwrap()).map_err(|error| error.code)
    }

    #[test]
    fn numbers_keep_their_bounds() {
        let int = FieldType::Int { min: i64::MIN, max: i64::MAX };
        assert_eq!(read(&int, "9007199254740991"), Ok(Value::Int(MAX_SAFE_INT)));
        assert_eq!(read(&int, "9007199254740992"), Err("out_of_range"));
        assert_eq!(read(&int, "1e3"), Ok(Value::Int(1000)));
        assert_eq!(read(&int, "1.5"), Err("not_a_whole_number"));
        assert_eq!(read(&int, "\"1\""), Err("wrong_type"));
        let float = FieldType::Float { min: f64::MIN, max: f64::MAX };
        assert_eq!(read(&float, "-0.0").map(|v| format!("{v:?}")), Ok("Real(0.0)".into()));
        assert_eq!(read(&float, "1e400"), Err("out_of_range"));
        let int64 = FieldType::Int64 { min: i64::MIN, max: i64::MAX };
        assert_eq!(read(&int64, "\"-9223372036854775808\""), Ok(Value::Int(i64::MIN)));
        assert_eq!(read(&int64, "1"), Err("wrong_type"));
    }

    #[test]
    fn decimals_are_exact_both_ways() {
        let price = FieldType::Decimal { precision: 6, scale: 2, bounds: Bounds::NONE };
        for (text, stored, out) in
            [("\"12.5\"", 1250, "\"12.50\""), ("\"-0.05\"", -5, "\"-0.05\""), ("\"9999.99\"", 999_999, "\"9999.99\""), ("\"1.500\"", 150, "\"1.50\"")]
        {
            assert_eq!(read(&price, text), Ok(Value::Int(stored)), "{text}");
            let mut bytes = Vec::new();
            price.write(&Value::Int(stored), &mut bytes);
            assert_eq!(String::from_utf8(bytes).unwrap(), out);
        }
        for (text, code) in [
            ("\"12.345\"", "too_precise"),
            ("\"10000\"", "out_of_range"),
            ("\"1.\"", "not_a_decimal"),
            ("\".5\"", "not_a_decimal"),
            ("\"1e2\"", "not_a_decimal"),
        ] {
            assert_eq!(read(&price, text), Err(code), "{text}");
        }
    }

    #[test]
    fn text_types_have_one_canonical_form() {
        assert_eq!(read(&FieldType::Email, "\"Kim@Example.COM\""), Ok(Value::text("kim@example.com")));
        for bad in ["\"a@b\"", "\"a b@c.d\"", "\"a@b.c\\r\\nBcc:x@y.z\"", "\"@b.c\"", "\"a@-b.c\""] {
            assert_eq!(read(&FieldType::Email, bad), Err("not_an_email"), "{bad}");
        }
        assert_eq!(read(&FieldType::Url, "\"HTTPS://Example.com\""), Ok(Value::text("https://example.com/")));
        for bad in ["\"javascript:alert(1)\"", "\"/x\"", "\"http://u:p@h/\"", "\"ht\\ttp://h/\""] {
            assert_eq!(read(&FieldType::Url, bad), Err("not_a_url"), "{bad}");
        }
        let list = FieldType::List { of: Box::new(FieldType::Int { min: 0, max: 9 }), max_items: 3 };
        assert_eq!(read(&list, "[1, 2 ,3]"), Ok(Value::text("[1,2,3]")));
        assert_eq!(read(&list, "[1,null]"), Err("null_in_list"));
        assert_eq!(read(&list, "[1,2,3,4]"), Err("too_many_items"));
        let set = FieldType::List { of: Box::new(FieldType::Ref { to: 0, on_delete: OnDelete::Restrict }), max_items: 3 };
        let [one, other] = ["00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000b"];
        let sorted = Value::text(format!("[\"{one}\",\"{other}\"]"));
        assert_eq!(read(&set, &format!("[\"{other}\",\"{}\",\"{other}\"]", one.to_uppercase())), Ok(sorted.clone()));
        assert_eq!(references(&sorted), [one.into(), other.into()]);
        assert_eq!(without_references(&sorted, &[one.into()]), Value::text(format!("[\"{other}\"]")));
        assert_eq!(without_references(&Value::Null, &[one.into()]), Value::Null);
        assert_eq!(read(&set, &format!("[{}]", vec![format!("\"{one}\""); 9].join(","))), Ok(Value::text(format!("[\"{one}\"]"))));
        assert_eq!(read(&set, "[\"x\"]"), Err("not_a_uuid"));
        let text = FieldType::Text { min_length: 0, max_length: 2, pattern: None, fold: false };
        assert_eq!(read(&text, "\"\\u0000\""), Err("has_nul"));
        assert_eq!(read(&text, "\"é😀\""), Ok(Value::text("é😀")));
    }
}
