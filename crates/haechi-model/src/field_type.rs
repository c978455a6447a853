//! Types, defaults and rules of fields, read from a collection's file.

use crate::{
    bounds::Bounds,
    class::Class,
    field::{DEFAULT_JSON_BYTES, DEFAULT_LIST_ITEMS, DEFAULT_TEXT_LENGTH, DefaultValue, Field, FieldType, OnDelete},
    name::suggest,
    numbering::Numbering,
    pattern::Pattern,
    rules::{OnUpdate, Rules},
    section::{Section, Span},
};
use toml_edit::{TableLike, Value as Toml};

const MAX_ENUM_VALUES: usize = 200;
/// Most items of a list, and of a list of references, each of which is looked up when it is written.
const MAX_ITEMS: i64 = 10_000;
const MAX_REFERENCES: i64 = 1_000;
const TYPES: &[&str] =
    &["text", "email", "url", "uuid", "enum", "int", "int64", "decimal", "float", "bool", "datetime", "date", "json", "list", "ref"];

pub(crate) fn read_type(section: &Section<'_>, key: &'static str) -> Option<FieldType> {
    let Some(name) = section.text(key) else {
        if section.span_of(key).is_none() {
            section.error(None, "missing-key", format!("`{key}` is missing"), format!("add {key} = \"text\" or another type: {}", TYPES.join(", ")));
        }
        return None;
    };
    let bound = |key, default| section.bounded(key, i64::MIN..=i64::MAX).unwrap_or(default);
    Some(match name {
        "text" => read_text_type(section),
        "email" => FieldType::Email,
        "url" => FieldType::Url,
        "uuid" => FieldType::Uuid,
        "enum" => FieldType::Enum { values: read_enum(section), ordered: section.bool("ordered").unwrap_or(false) },
        "int" | "int64" => {
            let (min, max) = (bound("min", i64::MIN), bound("max", i64::MAX));
            in_order(section, min <= max);
            if name == "int" { FieldType::Int { min, max } } else { FieldType::Int64 { min, max } }
        }
        "decimal" => return read_decimal_type(section),
        "float" => {
            let (min, max) = (read_float(section, "min").unwrap_or(f64::MIN), read_float(section, "max").unwrap_or(f64::MAX));
            in_order(section, min <= max);
            FieldType::Float { min, max }
        }
        "bool" => FieldType::Bool,
        "datetime" => FieldType::Datetime(read_bounds(section, &FieldType::Datetime(Bounds::NONE))),
        "date" => FieldType::Date(read_bounds(section, &FieldType::Date(Bounds::NONE))),
        "json" => FieldType::Json { max_bytes: size(section, "max_bytes", 2..=1 << 20, DEFAULT_JSON_BYTES) },
        "list" => {
            let of = read_item_type(section)?;
            let most = if matches!(of, FieldType::Ref { .. }) { MAX_REFERENCES } else { MAX_ITEMS };
            FieldType::List { of: Box::new(of), max_items: size(section, "max_items", 1..=most, DEFAULT_LIST_ITEMS) }
        }
        "ref" => read_ref_type(section, key == "of"),
        "file" | "html" => {
            section.error(section.span_of(key), "not-built", format!("the type `{name}` is not built yet"), "leave the field out for now");
            return None;
        }
        other => {
            let near = suggest(other, TYPES.iter().copied());
            let help = near.map_or_else(|| format!("types: {}", TYPES.join(", ")), |near| format!("did you mean `{near}`?"));
            section.error(section.span_of(key), "unknown-type", format!("no type is named `{other}`"), help);
            return None;
        }
    })
}

fn read_text_type(section: &Section<'_>) -> FieldType {
    let fold = match section.text("case") {
        None => false,
        Some("fold") => true,
        Some(other) => {
            section.error(section.span_of("case"), "wrong-value", format!("`case` is `{other}`"), "write case = \"fold\", or leave it out");
            false
        }
    };
    let min_length = size(section, "min_length", 0..=1_000_000, 0);
    let max_length = size(section, "max_length", 1..=1_000_000, DEFAULT_TEXT_LENGTH);
    if min_length > max_length {
        section.error(section.span_of("min_length"), "out-of-range", "`min_length` is larger than `max_length`".to_owned(), "make it smaller");
    }
    FieldType::Text { min_length, max_length, pattern: read_pattern(section), fold }
}

fn read_item_type(section: &Section<'_>) -> Option<FieldType> {
    let of = read_type(section, "of")?;
    let scalar = matches!(
        of,
        FieldType::Text { fold: false, .. }
            | FieldType::Email
            | FieldType::Url
            | FieldType::Uuid
            | FieldType::Enum { ordered: false, .. }
            | FieldType::Int { .. }
            | FieldType::Bool
            | FieldType::Ref { .. }
    );
    if scalar {
        return Some(of);
    }
    if matches!(of, FieldType::Enum { .. }) {
        let message = "the items of a list have no order of their own".to_owned();
        section.error(section.span_of("ordered"), "bad-item-type", message, "remove `ordered`");
        return None;
    }
    if matches!(of, FieldType::Text { .. }) {
        let help = "remove `case`, or keep the texts in a collection of their own";
        section.error(section.span_of("case"), "bad-item-type", "the items of a list are not folded".to_owned(), help);
        return None;
    }
    section.error(
        section.span_of("of"),
        "bad-item-type",
        format!("a list cannot hold {}", of.name()),
        "lists hold text, email, url, uuid, enum, int, bool or ref",
    );
    None
}

fn read_pattern(section: &Section<'_>) -> Option<Pattern> {
    match Pattern::compile(section.text("pattern")?) {
        Ok(pattern) => Some(pattern),
        Err(why) => {
            section.error(
                section.span_of("pattern"),
                "bad-pattern",
                format!("the pattern cannot be used: {why}"),
                "write an ECMA-262 pattern without look-around and back-references, whose brackets are closed and whose repetitions are few",
            );
            None
        }
    }
}

fn size(section: &Section<'_>, key: &'static str, bounds: std::ops::RangeInclusive<i64>, default: u32) -> u32 {
    section.bounded(key, bounds).and_then(|found| u32::try_from(found).ok()).unwrap_or(default)
}

fn read_decimal_type(section: &Section<'_>) -> Option<FieldType> {
    let (precision, scale) = (size(section, "precision", 1..=18, 18), size(section, "scale", 0..=9, 2));
    if scale > precision {
        let message = format!("`scale` {scale} is larger than `precision` {precision}");
        section.error(section.span_of("scale"), "out-of-range", message, "give more digits in all than after the point");
        return None;
    }
    let bounds = read_bounds(section, &FieldType::Decimal { precision, scale, bounds: Bounds::NONE });
    Some(FieldType::Decimal { precision, scale, bounds })
}

fn in_order(section: &Section<'_>, they_are: bool) {
    if !they_are {
        section.error(section.span_of("min"), "out-of-range", "`min` is larger than `max`: no value fits".to_owned(), "make it smaller");
    }
}

/// `min` and `max`, written as values of the type; a decimal may be written as a number too.
fn read_bounds(section: &Section<'_>, ty: &FieldType) -> Bounds {
    let read = |key: &'static str| {
        let item = section.item(key)?;
        let text = match item.as_value() {
            Some(Toml::String(text)) => Some(text.value().clone()),
            Some(Toml::Integer(int)) if matches!(ty, FieldType::Decimal { .. }) => Some(int.value().to_string()),
            Some(Toml::Float(float)) if matches!(ty, FieldType::Decimal { .. }) => Some(float.value().to_string()),
            _ => None,
        };
        let why = match text.map(|text| ty.read_text(&text)) {
            Some(Ok(value)) => return value.as_int(),
            Some(Err(error)) => error.detail,
            None => format!("must be {} in quotes", if matches!(ty, FieldType::Decimal { .. }) { "a decimal number" } else { "a time" }),
        };
        section.error(section.span_of(key), "wrong-value", format!("`{key}` {why}"), format!("write a value of the type {}", ty.name()));
        None
    };
    let (min, max) = (read("min").unwrap_or(i64::MIN), read("max").unwrap_or(i64::MAX));
    in_order(section, min <= max);
    Bounds { min, max }
}

fn read_ref_type(section: &Section<'_>, in_list: bool) -> FieldType {
    if section.text("to").is_none() {
        section.error(None, "missing-key", "a reference needs `to`".to_owned(), "add to = \"COLLECTION\"");
    }
    let on_delete = match section.text("on_delete") {
        None | Some("restrict") => OnDelete::Restrict,
        Some("cascade") if !in_list => OnDelete::Cascade,
        Some("set_null") if !in_list => OnDelete::SetNull,
        Some("remove") if in_list => OnDelete::Remove,
        Some("cascade-later") => {
            let message = "`on_delete = \"cascade-later\"` waits for background jobs, which are not built yet".to_owned();
            section.error(section.span_of("on_delete"), "not-built", message, "choose another word; \"cascade\" deletes at most 1 000 rows at once");
            OnDelete::Restrict
        }
        Some(other) => {
            let help = if in_list { "choose \"restrict\" or \"remove\"" } else { "choose \"restrict\", \"cascade\" or \"set_null\"" };
            section.error(section.span_of("on_delete"), "wrong-value", format!("`on_delete` is `{other}`"), help);
            OnDelete::Restrict
        }
    };
    FieldType::Ref { to: usize::MAX, on_delete }
}

fn read_enum(section: &Section<'_>) -> Vec<String> {
    let listed = section.texts("values");
    // What is no list was told already.
    let told = listed.is_none() && section.span_of("values").is_some();
    let values: Vec<String> = listed.unwrap_or_default().iter().map(|(text, _)| (*text).to_owned()).collect();
    let mut sorted = values.clone();
    sorted.sort_unstable();
    sorted.dedup();
    if told {
        return values;
    }
    if values.is_empty() || values.len() > MAX_ENUM_VALUES {
        section.error(section.span_of("values"), "bad-enum", format!("an enum needs 1 to {MAX_ENUM_VALUES} `values`"), "add values = [\"…\"]");
    } else if sorted.len() != values.len() || values.iter().any(|value| value.is_empty() || value.contains('\0')) {
        section.error(
            section.span_of("values"),
            "bad-enum",
            "the values of an enum must differ and not be empty".to_owned(),
            "remove the repeated or empty value",
        );
    }
    values
}

fn read_float(section: &Section<'_>, key: &'static str) -> Option<f64> {
    let item = section.item(key)?;
    let found = item.as_float().or_else(|| item.as_integer().map(|int| int as f64)).filter(|float| float.is_finite());
    if found.is_none() {
        section.error(section.span_of(key), "wrong-type", format!("`{key}` must be a number"), "write a finite number");
    }
    found
}

pub(crate) fn read_default(section: &Section<'_>, ty: &FieldType) -> Option<DefaultValue> {
    let item = section.item("default")?;
    if item.as_str().is_some_and(|word| Some(word) == word_of_now(ty)) {
        now_is_in_bounds(section, "default", ty);
        return Some(DefaultValue::Now);
    }
    if item.as_str() == Some("me") && refers_to_people(section, ty) {
        return Some(DefaultValue::Me);
    }
    if let Some(table) = item.as_table_like() {
        return read_numbering(section, table, ty).map(DefaultValue::Number);
    }
    let json = item.as_value().and_then(toml_to_json);
    if ty.lists().is_some() && !matches!(&json, Some(crate::json::Json::List(items)) if items.is_empty()) {
        let help = "write default = [], or leave it out";
        section.error(section.span_of("default"), "bad-default", "ids of rows stand in the folder".to_owned(), help);
        return None;
    }
    let read = json.map(|json| ty.read(&json));
    match read {
        Some(Ok(value)) if !value.is_null() => Some(DefaultValue::Fixed(value)),
        other => {
            let why = match other {
                Some(Err(error)) => error.detail,
                _ if item.as_datetime().is_some() => "is a date of TOML, which is no value here".to_owned(),
                _ => "cannot be used here".to_owned(),
            };
            let own = match ty {
                FieldType::Date(_) => ", in quotes, or \"today\"",
                FieldType::Datetime(_) => ", in quotes, or \"now\"",
                FieldType::Ref { .. } if refers_to_people(section, ty) => ", or \"me\"",
                _ => "",
            };
            section.error(
                section.span_of("default"),
                "bad-default",
                format!("the default {why}"),
                format!("write a value of the type {}{own}", ty.name()),
            );
            None
        }
    }
}

fn read_numbering(section: &Section<'_>, table: &dyn TableLike, ty: &FieldType) -> Option<Numbering> {
    let wrong = |message: String, help: &str| section.error(section.span_of("default"), "bad-default", message, help);
    let template = table.get("number").and_then(toml_edit::Item::as_str).filter(|_| table.len() == 1);
    let Some(template) = template else {
        wrong("the default is a table, which is no value here".to_owned(), "write a value, or default = { number = \"INV-{year}-{n:5}\" }");
        return None;
    };
    let FieldType::Text { max_length, pattern: None, fold: false, .. } = ty else {
        wrong(format!("numbers in a field of the type {}", ty.name()), "write them on a text without `pattern` and `case`");
        return None;
    };
    let numbering = match Numbering::read(template) {
        Ok(numbering) => numbering,
        Err(why) => {
            wrong(format!("the number cannot be used: {why}"), "write e.g. default = { number = \"INV-{year}-{n:5}\" }");
            return None;
        }
    };
    if usize::try_from(*max_length).is_ok_and(|most| most < numbering.longest()) {
        let message = format!("the numbers may have {} characters, and `max_length` is {max_length}", numbering.longest());
        wrong(message, "make `max_length` larger, or leave it out");
    }
    Some(numbering)
}

/// The word for the time of a write.
fn word_of_now(ty: &FieldType) -> Option<&'static str> {
    match ty {
        FieldType::Date(_) => Some("today"),
        FieldType::Datetime(_) => Some("now"),
        _ => None,
    }
}

fn refers_to_people(section: &Section<'_>, ty: &FieldType) -> bool {
    matches!(ty, FieldType::Ref { .. }) && section.text("to") == Some("users")
}

/// The time goes on, past every `max`.
fn now_is_in_bounds(section: &Section<'_>, key: &'static str, ty: &FieldType) {
    if let FieldType::Date(bounds) | FieldType::Datetime(bounds) = ty
        && !bounds.is_none()
    {
        let word = word_of_now(ty).unwrap_or_default();
        let message = format!("`{key} = \"{word}\"` beside `min` or `max`: the time of a write may be outside");
        section.error(section.span_of(key), "wrong-value", message, format!("remove `min` and `max`, or `{key}`"));
    }
}

fn read_on_update(section: &Section<'_>, field: &Field, write_once: bool) -> Option<OnUpdate> {
    let word = section.text("on_update")?;
    let wrong = |message: String, help: &str| section.error(section.span_of("on_update"), "wrong-value", message, help);
    let set = if Some(word) == word_of_now(&field.ty) {
        now_is_in_bounds(section, "on_update", &field.ty);
        OnUpdate::Now
    } else if word == "me" && refers_to_people(section, &field.ty) {
        OnUpdate::Me
    } else {
        let message = format!("`on_update` is `{word}` on a {}", field.ty.name());
        wrong(message, "write \"now\" on a datetime, \"today\" on a date, or \"me\" on a reference to users");
        return None;
    };
    if write_once {
        wrong("`on_update` beside `write_once`: each change would set what never changes".to_owned(), "remove one of the two");
    }
    if set == OnUpdate::Me && field.required {
        wrong("`on_update = \"me\"` on a required field: services change rows too, and are nobody".to_owned(), "remove `required`");
    }
    Some(set)
}

/// How a field's value may change.
pub(crate) fn read_rules(section: &Section<'_>, field: &Field, classes: &[Class]) -> Rules {
    let write_once = section.bool("write_once").unwrap_or(false);
    let on_update = read_on_update(section, field, write_once);
    let simple = || Rules { write_once, on_update, ..Rules::default() };
    let written = section.texts("initial").map(|words| words.into_iter().map(|(word, span)| (word.to_owned(), span)).collect::<Vec<_>>());
    let transitions = section.section("transitions").map(|table| read_transitions(&table));
    if written.is_none() && transitions.is_none() {
        return simple();
    }
    let key = if transitions.is_some() { "transitions" } else { "initial" };
    let FieldType::Enum { values, .. } = &field.ty else {
        let message = format!("`{key}` on a {}: only the words of an enum follow each other", field.ty.name());
        section.error(section.span_of(key), "wrong-value", message, format!("remove `{key}`, or write type = \"enum\""));
        return simple();
    };
    if written.as_ref().is_some_and(Vec::is_empty) {
        let message = format!("`initial` of `{}` has no word: no row could be created", field.name);
        section.error(section.span_of("initial"), "wrong-value", message, format!("write e.g. initial = [\"{}\"]", values.join("\", \"")));
    }
    if classes[field.class].guarded() {
        let message = format!("`{key}` on a field of the class `{}`: a refusal would tell its value", classes[field.class].name);
        section.error(section.span_of(key), "guarded-transitions", message, "choose the class public or internal");
    }
    let known = |word: &str, span: &Span| {
        if !values.iter().any(|value| value == word) {
            let help = suggest(word, values.iter().map(String::as_str))
                .map_or_else(|| format!("words: {}", values.join(", ")), |near| format!("did you mean `{near}`?"));
            section.error(span.clone(), "unknown-word", format!("`{word}` is not among the `values` of `{}`", field.name), help);
        }
    };
    for (word, span) in written.iter().flatten().chain(transitions.iter().flatten().flat_map(|(from, next)| std::iter::once(from).chain(next))) {
        known(word, span);
    }
    let words = |list: Vec<(String, Span)>| list.into_iter().map(|(word, _)| word).collect::<Vec<_>>();
    let default = match &field.default {
        Some(DefaultValue::Fixed(value)) => value.as_text().map(|word| vec![word.to_owned()]),
        _ => None,
    };
    let initial = written.map(words).or_else(|| default.clone());
    if let (Some(initial), Some(default)) = (&initial, default.as_ref().and_then(|words| words.first()))
        && !initial.contains(default)
    {
        let message = format!("the default `{default}` is not among the `initial` words");
        section.error(section.span_of("default"), "bad-default", message, format!("write one of {}", initial.join(", ")));
    }
    let transitions = transitions.map(|all| all.into_iter().map(|((from, _), next)| (from, words(next))).collect());
    Rules { initial, transitions, ..simple() }
}

type Transitions = Vec<((String, Span), Vec<(String, Span)>)>;

fn read_transitions(table: &Section<'_>) -> Transitions {
    let mut found = Vec::new();
    for (from, span, item) in table.entries() {
        let words = item.as_value().and_then(Toml::as_array).map(|array| array.iter().map(|word| Some((word.as_str()?.to_owned(), word.span()))));
        match words.and_then(Iterator::collect) {
            Some(next) => found.push(((from.to_owned(), span), next)),
            None => {
                let message = format!("what may follow `{from}` must be a list of words");
                table.error(span, "wrong-type", message, format!("write {from} = [\"…\"]"));
            }
        }
    }
    found
}

fn toml_to_json(value: &Toml) -> Option<crate::json::Json> {
    use crate::json::Json;
    Some(match value {
        Toml::String(text) => Json::Text(text.value().as_str().into()),
        Toml::Integer(int) => Json::Number(int.value().to_string().into()),
        Toml::Float(float) => Json::Number(float.value().to_string().into()),
        Toml::Boolean(flag) => Json::Bool(*flag.value()),
        Toml::Array(items) => Json::List(items.iter().map(toml_to_json).collect::<Option<_>>()?),
        Toml::InlineTable(table) => Json::Object(table.iter().map(|(key, value)| Some((key.into(), toml_to_json(value)?))).collect::<Option<_>>()?),
        Toml::Datetime(_) => return None,
    })
}
