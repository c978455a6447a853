//! Types as remembered with their columns, and the effect of a changed type on stored values.

use crate::{
    bounds::Bounds,
    field::{FieldType, MAX_SAFE_INT, OnDelete},
    json::{Json, parse_json},
    pattern::Pattern,
    read::{FieldError, wrong},
    value::Value,
};
use serde::{Deserialize, Serialize};

const DAY_MS: i64 = 86_400_000;

/// The type of a field, as it is remembered with a migration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the same as in `FieldType`")]
pub enum Declared {
    Text {
        min_length: u32,
        max_length: u32,
        pattern: Option<String>,
        fold: bool,
    },
    Email,
    Url,
    Uuid,
    Enum {
        values: Vec<String>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ordered: bool,
    },
    Int {
        min: i64,
        max: i64,
    },
    Int64 {
        min: i64,
        max: i64,
    },
    Decimal {
        precision: u32,
        scale: u32,
        #[serde(default, skip_serializing_if = "Bounds::is_none")]
        bounds: Bounds,
    },
    Float {
        min: f64,
        max: f64,
    },
    Bool,
    Datetime {
        #[serde(default, skip_serializing_if = "Bounds::is_none")]
        bounds: Bounds,
    },
    Date {
        #[serde(default, skip_serializing_if = "Bounds::is_none")]
        bounds: Bounds,
    },
    Json {
        max_bytes: u32,
    },
    List {
        of: Box<Declared>,
        max_items: u32,
    },
    Ref {
        to: String,
    },
}

/// The effect of another type on stored values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeChange {
    /// Each value is valid for the new type, with the same meaning.
    Wider,
    /// Values keep their meaning, but the new type may not accept all: each is checked.
    Narrower,
    /// Each value is converted.
    Converted,
    /// The folder does not ask to convert them.
    Unsaid,
    /// There is no conversion.
    Impossible,
}

impl Declared {
    /// The type of a field; `names` are the collections'.
    #[must_use]
    pub fn of(ty: &FieldType, names: &[String]) -> Self {
        match ty {
            FieldType::Text { min_length, max_length, pattern, fold } => Self::Text {
                min_length: *min_length,
                max_length: *max_length,
                pattern: pattern.as_ref().map(|pattern| pattern.as_str().to_owned()),
                fold: *fold,
            },
            FieldType::Email => Self::Email,
            FieldType::Url => Self::Url,
            FieldType::Uuid => Self::Uuid,
            FieldType::Enum { values, ordered } => Self::Enum { values: values.clone(), ordered: *ordered },
            FieldType::Int { min, max } => Self::Int { min: (*min).max(-MAX_SAFE_INT), max: (*max).min(MAX_SAFE_INT) },
            FieldType::Int64 { min, max } => Self::Int64 { min: *min, max: *max },
            FieldType::Decimal { precision, scale, bounds } => Self::Decimal { precision: *precision, scale: *scale, bounds: *bounds },
            FieldType::Float { min, max } => Self::Float { min: *min, max: *max },
            FieldType::Bool => Self::Bool,
            FieldType::Datetime(bounds) => Self::Datetime { bounds: *bounds },
            FieldType::Date(bounds) => Self::Date { bounds: *bounds },
            FieldType::Json { max_bytes } => Self::Json { max_bytes: *max_bytes },
            FieldType::List { of, max_items } => Self::List { of: Box::new(Self::of(of, names)), max_items: *max_items },
            FieldType::Ref { to, .. } => Self::Ref { to: names.get(*to).cloned().unwrap_or_default() },
        }
    }

    /// The type again, to read and write values. A reference has lost its collection.
    #[must_use]
    pub fn field_type(&self) -> FieldType {
        match self {
            Self::Text { min_length, max_length, pattern, fold } => FieldType::Text {
                min_length: *min_length,
                max_length: *max_length,
                pattern: pattern.as_ref().and_then(|text| Pattern::compile(text).ok()),
                fold: *fold,
            },
            Self::Email => FieldType::Email,
            Self::Url => FieldType::Url,
            Self::Uuid => FieldType::Uuid,
            Self::Enum { values, ordered } => FieldType::Enum { values: values.clone(), ordered: *ordered },
            Self::Int { min, max } => FieldType::Int { min: *min, max: *max },
            Self::Int64 { min, max } => FieldType::Int64 { min: *min, max: *max },
            Self::Decimal { precision, scale, bounds } => FieldType::Decimal { precision: *precision, scale: *scale, bounds: *bounds },
            Self::Float { min, max } => FieldType::Float { min: *min, max: *max },
            Self::Bool => FieldType::Bool,
            Self::Datetime { bounds } => FieldType::Datetime(*bounds),
            Self::Date { bounds } => FieldType::Date(*bounds),
            Self::Json { max_bytes } => FieldType::Json { max_bytes: *max_bytes },
            Self::List { of, max_items } => FieldType::List { of: Box::new(of.field_type()), max_items: *max_items },
            Self::Ref { .. } => FieldType::Ref { to: 0, on_delete: OnDelete::Restrict },
        }
    }

    /// The collection to which it refers, by one id or by a list of them.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::Ref { to } => Some(to),
            Self::List { of, .. } => of.target(),
            _ => None,
        }
    }

    /// In words: `decimal(10, 2)`.
    #[must_use]
    pub fn words(&self) -> String {
        let bounds = |low: Option<String>, high: Option<String>| match (low, high) {
            (None, None) => String::new(),
            (low, high) => format!(" from {} to {}", low.unwrap_or_else(|| "any".to_owned()), high.unwrap_or_else(|| "any".to_owned())),
        };
        let int = |min: i64, max: i64, least: i64, most: i64| bounds((min > least).then(|| min.to_string()), (max < most).then(|| max.to_string()));
        match self {
            Self::Text { min_length, max_length, pattern, fold } => {
                let pattern = pattern.as_ref().map_or_else(String::new, |pattern| format!(" matching {pattern}"));
                let least = if *min_length > 0 { format!("{min_length} to ") } else { "at most ".to_owned() };
                format!("text of {least}{max_length} characters{pattern}{}", if *fold { ", case = \"fold\"" } else { "" })
            }
            Self::Enum { values, ordered } => format!("enum ({}){}", values.join(", "), if *ordered { ", ordered" } else { "" }),
            Self::Int { min, max } => format!("int{}", int(*min, *max, -MAX_SAFE_INT, MAX_SAFE_INT)),
            Self::Int64 { min, max } => format!("int64{}", int(*min, *max, i64::MIN, i64::MAX)),
            Self::Decimal { precision, scale, bounds } => {
                format!("decimal({precision}, {scale}){}", bounds.words(|int| self.field_type().plain_int(int)))
            }
            Self::Datetime { bounds } => format!("datetime{}", bounds.words(|int| self.field_type().plain_int(int))),
            Self::Date { bounds } => format!("date{}", bounds.words(|int| self.field_type().plain_int(int))),
            Self::Float { min, max } => {
                format!("float{}", bounds((*min > f64::MIN).then(|| min.to_string()), (*max < f64::MAX).then(|| max.to_string())))
            }
            Self::Json { max_bytes } => format!("json of at most {max_bytes} bytes"),
            Self::List { of, max_items } => format!("list of at most {max_items}: {}", of.words()),
            Self::Ref { to } => format!("ref to {to}"),
            plain => plain.field_type().name().to_owned(),
        }
    }

    /// The effect when this type becomes another; `said`: the folder asks for a conversion.
    #[must_use]
    pub fn change(&self, to: &Self, said: bool) -> TypeChange {
        let fits = |fits: bool| if fits { TypeChange::Wider } else { TypeChange::Narrower };
        match (self, to) {
            (Self::Text { min_length, max_length, pattern, .. }, Self::Text { min_length: min, max_length: max, pattern: wanted, .. }) => {
                fits(min <= min_length && max >= max_length && (wanted.is_none() || wanted == pattern))
            }
            (Self::Enum { values, .. }, Self::Enum { values: wanted, .. }) => fits(values.iter().all(|value| wanted.contains(value))),
            (Self::Int { min, max }, Self::Int { min: low, max: high } | Self::Int64 { min: low, max: high })
            | (Self::Int64 { min, max }, Self::Int64 { min: low, max: high }) => fits(low <= min && high >= max),
            (Self::Float { min, max }, Self::Float { min: low, max: high }) => fits(low <= min && high >= max),
            (Self::Decimal { precision, scale, bounds }, Self::Decimal { precision: digits, scale: after, bounds: wanted }) if scale == after => {
                fits(digits >= precision && wanted.contain(bounds))
            }
            (Self::Datetime { bounds }, Self::Datetime { bounds: wanted }) | (Self::Date { bounds }, Self::Date { bounds: wanted }) => {
                fits(wanted.contain(bounds))
            }
            (Self::Decimal { scale, .. }, Self::Decimal { scale: after, .. }) if after > scale => TypeChange::Converted,
            (Self::Json { max_bytes }, Self::Json { max_bytes: most }) => fits(most >= max_bytes),
            (Self::List { of, max_items }, Self::List { of: item, max_items: most }) => match of.change(item, said) {
                TypeChange::Wider => fits(most >= max_items),
                other => other,
            },
            (Self::Ref { to: old }, Self::Ref { to: new }) if old == new => TypeChange::Wider,
            (same, other) if same == other => TypeChange::Wider,
            (from, to) if !from.converts(to) => TypeChange::Impossible,
            _ if said => TypeChange::Converted,
            _ => TypeChange::Unsaid,
        }
    }

    /// Whether the places of words differ between two ordered enums.
    #[must_use]
    pub fn moves_words(&self, to: &Self) -> bool {
        match (self, to) {
            (Self::Enum { values, ordered: true }, Self::Enum { values: wanted, ordered: true }) => {
                values.iter().enumerate().any(|(place, word)| wanted.get(place) != Some(word))
            }
            _ => false,
        }
    }

    /// Whether values of one type can be expressed in another.
    fn converts(&self, to: &Self) -> bool {
        let number = |ty: &Self| matches!(ty, Self::Int { .. } | Self::Int64 { .. } | Self::Decimal { .. } | Self::Float { .. });
        let written = |ty: &Self| matches!(ty, Self::Text { .. } | Self::Enum { .. } | Self::Email | Self::Url | Self::Uuid);
        match (self, to) {
            (Self::List { of, .. }, Self::List { of: item, .. }) => of.converts(item),
            (_, Self::Text { .. } | Self::Json { .. }) | (Self::Json { .. }, _) => true,
            (from, Self::List { of, .. }) => from == &**of || from.converts(of),
            (Self::List { .. }, _) => false,
            (from, Self::Ref { .. }) => written(from) || number(from) || matches!(from, Self::Ref { .. }),
            (Self::Ref { .. }, Self::Uuid) | (Self::Date { .. }, Self::Datetime { .. }) | (Self::Datetime { .. }, Self::Date { .. }) => true,
            (from, to) => written(from) || number(from) && number(to),
        }
    }
}

impl FieldType {
    /// Whether this type would accept a stored value from a request, with the same meaning.
    ///
    /// # Errors
    /// Why it would not.
    pub fn fits(&self, value: &Value) -> Result<(), FieldError> {
        if value.is_null() {
            return Ok(());
        }
        match self.read(&self.json_of(value)?)? {
            read if read == *value => Ok(()),
            _ => wrong("not_canonical", "is not in the form that the new type has"),
        }
    }

    /// Converts a stored value of this type to another type.
    ///
    /// # Errors
    /// Why the other type cannot express it.
    pub fn convert(&self, to: &Self, value: &Value) -> Result<Value, FieldError> {
        match (self, to, value) {
            (_, _, Value::Null) => Ok(Value::Null),
            (Self::Date(_), Self::Datetime(bounds), day) => to.within(day.clone(), *bounds),
            (Self::Datetime(_), Self::Date(bounds), Value::Int(ms)) if ms.rem_euclid(DAY_MS) == 0 => to.within(value.clone(), *bounds),
            (Self::Datetime(_), Self::Date(_), _) => wrong("not_a_date", "has a time of day, which a date cannot keep"),
            (Self::List { of, .. }, Self::List { of: item, max_items }, _) => {
                self.each(value, |json| of.convert(item, &of.read(json)?), item, *max_items)
            }
            (Self::Json { .. } | Self::List { .. }, Self::Text { .. }, _) | (Self::Text { .. }, Self::Json { .. } | Self::List { .. }, _) => {
                to.read_text(value.as_text().unwrap_or_default())
            }
            (from, Self::Json { .. } | Self::List { .. }, _) | (from @ Self::Json { .. }, _, _) => match (from.json_of(value)?, to) {
                (Json::List(_), Self::List { .. }) | (_, Self::Json { .. }) => to.read(&from.json_of(value)?),
                (_, Self::List { of, .. }) => {
                    let item = from.convert(of, value)?;
                    to.read(&Json::List(vec![of.json_of(&item)?]))
                }
                (json, _) => to.read(&json),
            },
            (from, to, _) => {
                let read = to.read_text(&from.plain(value)?)?;
                // A number that the other type rounds would be a different number.
                if matches!(to, Self::Float { .. })
                    && !matches!(from, Self::Text { .. })
                    && from.read_text(&to.plain(&read)?).ok().as_ref() != Some(value)
                {
                    return wrong("not_exact", "cannot be kept exactly as a float");
                }
                Ok(read)
            }
        }
    }

    fn each(&self, list: &Value, convert: impl Fn(&Json) -> Result<Value, FieldError>, item: &Self, max_items: u32) -> Result<Value, FieldError> {
        let Json::List(items) = self.json_of(list)? else { return wrong("not_json", "is not a list") };
        let items = items.iter().map(|json| item.json_of(&convert(json)?)).collect::<Result<Vec<_>, _>>()?;
        crate::field::list(item, &items, max_items)
    }

    fn json_of(&self, value: &Value) -> Result<Json, FieldError> {
        let mut text = Vec::new();
        self.write(value, &mut text);
        parse_json(&text).or_else(|error| wrong("not_json", error.to_string()))
    }

    /// As it stands in a CSV cell: text without quotation marks, everything else as its JSON.
    fn plain(&self, value: &Value) -> Result<String, FieldError> {
        let mut json = Vec::new();
        self.write(value, &mut json);
        Ok(match self.json_of(value)? {
            Json::Text(text) => text.to_string(),
            _ => String::from_utf8_lossy(&json).into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(max: u32) -> FieldType {
        FieldType::Text { min_length: 0, max_length: max, pattern: None, fold: false }
    }

    fn decimal(precision: u32, scale: u32) -> FieldType {
        FieldType::Decimal { precision, scale, bounds: Bounds::NONE }
    }

    const INT: FieldType = FieldType::Int { min: i64::MIN, max: i64::MAX };
    const INT64: FieldType = FieldType::Int64 { min: i64::MIN, max: i64::MAX };
    const FLOAT: FieldType = FieldType::Float { min: f64::MIN, max: f64::MAX };

    fn list(of: FieldType) -> FieldType {
        FieldType::List { of: Box::new(of), max_items: 3 }
    }

    fn words(values: &[&str]) -> FieldType {
        FieldType::Enum { values: values.iter().map(|&value| value.to_owned()).collect(), ordered: false }
    }

    fn change(from: &FieldType, to: &FieldType, said: bool) -> TypeChange {
        Declared::of(from, &[]).change(&Declared::of(to, &[]), said)
    }

    #[test]
    fn a_changed_type_is_harmless_checked_converted_or_refused() {
        use TypeChange::{Converted, Impossible, Narrower, Unsaid, Wider};
        let cases = [
            (decimal(10, 2), decimal(10, 4), Converted, Converted),
            (decimal(10, 4), decimal(10, 2), Unsaid, Converted),
            (decimal(10, 2), decimal(12, 2), Wider, Wider),
            (decimal(10, 2), decimal(8, 2), Narrower, Narrower),
            (INT, INT64, Wider, Wider),
            (INT64, INT, Unsaid, Converted),
            (INT, decimal(10, 2), Unsaid, Converted),
            (INT, FieldType::Bool, Impossible, Impossible),
            (INT, FieldType::Datetime(Bounds::NONE), Impossible, Impossible),
            (FieldType::Date(Bounds::NONE), FieldType::Datetime(Bounds::NONE), Unsaid, Converted),
            (text(10), text(20), Wider, Wider),
            (FieldType::Date(Bounds::NONE), FieldType::Date(Bounds { min: 0, max: i64::MAX }), Narrower, Narrower),
            (FieldType::Datetime(Bounds { min: 5, max: 9 }), FieldType::Datetime(Bounds { min: 0, max: 9 }), Wider, Wider),
            (decimal(10, 2), FieldType::Decimal { precision: 10, scale: 2, bounds: Bounds { min: 0, max: 100 } }, Narrower, Narrower),
            (text(20), text(10), Narrower, Narrower),
            (text(20), words(&["a"]), Unsaid, Converted),
            (words(&["a"]), words(&["b", "a"]), Wider, Wider),
            (words(&["a", "b"]), words(&["b"]), Narrower, Narrower),
            (words(&["a"]), text(10), Unsaid, Converted),
            (list(text(9)), list(text(9)), Wider, Wider),
            (list(text(9)), list(INT), Unsaid, Converted),
            (list(text(9)), FieldType::Bool, Impossible, Impossible),
        ];
        for (from, to, unsaid, said) in cases {
            assert_eq!(change(&from, &to, false), unsaid, "{from:?} {to:?}");
            assert_eq!(change(&from, &to, true), said, "{from:?} {to:?}");
        }
    }

    #[test]
    fn a_conversion_says_the_same_or_says_why_not() {
        let int = Value::Int;
        let cases: Vec<(FieldType, FieldType, Value, Result<Value, &str>)> = vec![
            (decimal(10, 2), decimal(10, 4), int(1250), Ok(int(125_000))),
            (decimal(10, 2), decimal(4, 4), int(1250), Err("out_of_range")),
            (decimal(10, 4), decimal(10, 2), int(125_000), Ok(int(1250))),
            (decimal(10, 4), decimal(10, 2), int(125_001), Err("too_precise")),
            (INT, decimal(10, 2), int(7), Ok(int(700))),
            (INT64, INT, int(i64::MAX), Err("out_of_range")),
            (decimal(10, 2), INT, int(700), Ok(int(7))),
            (decimal(10, 2), INT, int(750), Err("not_a_whole_number")),
            (INT64, FLOAT, int(3), Ok(Value::Real(3.0))),
            (INT64, FLOAT, int((1 << 53) + 1), Err("not_exact")),
            (FLOAT, INT, Value::Real(3.0), Ok(int(3))),
            (FLOAT, INT, Value::Real(3.5), Err("not_a_whole_number")),
            (text(9), words(&["open"]), Value::text("open"), Ok(Value::text("open"))),
            (text(9), words(&["open"]), Value::text("Open"), Err("not_in_enum")),
            (text(9), INT, Value::text("12"), Ok(int(12))),
            (text(9), FieldType::Bool, Value::text("true"), Ok(int(1))),
            (text(20), FieldType::Date(Bounds::NONE), Value::text("2026-11-22"), Ok(int(1_795_305_600_000))),
            (FieldType::Date(Bounds::NONE), FieldType::Datetime(Bounds::NONE), int(DAY_MS), Ok(int(DAY_MS))),
            (FieldType::Date(Bounds::NONE), FieldType::Datetime(Bounds { min: DAY_MS + 1, max: i64::MAX }), int(DAY_MS), Err("out_of_range")),
            (FieldType::Datetime(Bounds::NONE), FieldType::Date(Bounds::NONE), int(DAY_MS + 1), Err("not_a_date")),
            (FieldType::Bool, text(9), int(0), Ok(Value::text("false"))),
            (text(9), list(text(9)), Value::text("[\"a\"]"), Ok(Value::text("[\"a\"]"))),
            (INT, list(INT), int(3), Ok(Value::text("[3]"))),
            (list(text(9)), list(INT), Value::text("[\"3\",\"4\"]"), Ok(Value::text("[3,4]"))),
            (list(text(9)), list(INT), Value::text("[\"x\"]"), Err("not_a_whole_number")),
            (list(INT), FieldType::Json { max_bytes: 99 }, Value::text("[1]"), Ok(Value::text("[1]"))),
            (INT, text(2), int(100), Err("too_long")),
            (INT, text(9), Value::Null, Ok(Value::Null)),
        ];
        for (from, to, value, expected) in cases {
            let found = from.convert(&to, &value).map_err(|error| error.code);
            assert_eq!(found, expected, "{from:?} {to:?} {value:?}");
        }
    }

    #[test]
    fn remembered_types_are_read_back() {
        let pattern = Pattern::compile("[a-z]+").ok();
        let types = [
            FieldType::Text { min_length: 1, max_length: 9, pattern, fold: true },
            words(&["a", "b"]),
            decimal(10, 2),
            FLOAT,
            INT64,
            list(FieldType::Email),
            FieldType::Json { max_bytes: 7 },
            FieldType::Datetime(Bounds::NONE),
            FieldType::Date(Bounds { min: 0, max: i64::MAX }),
            FieldType::Decimal { precision: 9, scale: 2, bounds: Bounds { min: -5, max: 700 } },
        ];
        for ty in types {
            let declared = Declared::of(&ty, &[]);
            let read: Declared = serde_json::from_str(&serde_json::to_string(&declared).unwrap()).unwrap();
            assert_eq!(read, declared);
            assert_eq!(read.field_type(), ty);
        }
    }

    /// A type without bounds is remembered as it was before types had bounds.
    #[test]
    fn types_without_bounds_are_remembered_as_before() {
        let of = |text: &str| serde_json::from_str::<Declared>(text).unwrap();
        for text in ["{\"type\":\"datetime\"}", "{\"type\":\"date\"}", "{\"type\":\"decimal\",\"precision\":9,\"scale\":2}"] {
            assert_eq!(serde_json::to_string(&of(text)).unwrap(), text);
        }
        assert_eq!(Declared::of(&FieldType::Date(Bounds { min: 0, max: i64::MAX }), &[]).words(), "date from 1970-01-01 to any");
    }

    #[test]
    fn values_fit_as_a_request_would() {
        assert!(text(3).fits(&Value::text("abc")).is_ok());
        assert_eq!(text(2).fits(&Value::text("abc")).unwrap_err().code, "too_long");
        assert_eq!(FieldType::Email.fits(&Value::text("A@b.cd")).unwrap_err().code, "not_canonical");
        assert_eq!(FieldType::Int { min: 0, max: 5 }.fits(&Value::Int(6)).unwrap_err().code, "out_of_range");
        assert!(list(INT).fits(&Value::text("[1,2]")).is_ok());
    }
}
