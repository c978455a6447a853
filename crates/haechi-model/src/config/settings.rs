//! What a setting is: its key, its form, its default and a sentence, declared once. Reading it, `config print`, the JSON Schema and
//! the reference page all come from that declaration.

use crate::section::Section;
use serde_json::{Value as Json, json};
use std::{collections::BTreeMap, ops::RangeInclusive};

/// Name of the pseudo file that holds what environment variables say.
pub(crate) const ENVIRONMENT: &str = "environment";

/// Where each value that is not a default came from: key to place.
pub(super) type Origins = BTreeMap<&'static str, String>;

/// What values a setting takes.
pub(super) enum Shape {
    /// `true` or `false`.
    Flag,
    /// A whole number within bounds, of a unit.
    Number(RangeInclusive<i64>, &'static str),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A text.
    Text(&'static Form),
    /// A list of texts.
    Texts(&'static Form),
    /// A secret by reference.
    Secret,
    /// A text, or a secret by reference.
    TextOrSecret(&'static Form),
}

/// Which texts a setting takes.
pub(super) struct Form {
    /// In words, for the reference page.
    pub(super) words: &'static str,
    /// For the JSON Schema: `pattern` or `format`, and its value.
    pub(super) schema: Option<(&'static str, &'static str)>,
    /// Why a text is not of this form.
    pub(super) fault: fn(key: &str, text: &str) -> Option<Fault>,
}

/// Why a text is refused.
pub(super) struct Fault {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) help: String,
}

impl Form {
    /// Reports a text that is not of this form.
    pub(super) fn check(&self, section: &Section<'_>, key: &str, text: &str, span: crate::section::Span) {
        if let Some(fault) = (self.fault)(key, text) {
            section.error(span, fault.code, fault.message, fault.help);
        }
    }
}

/// A value that a setting can have.
pub(super) trait Setting: Sized {
    /// Reads it, when it is there; what is wrong is reported.
    fn read(section: &Section<'_>, key: &'static str, shape: &Shape) -> Option<Self>;
    /// As `config print` shows it.
    fn shown(&self) -> String;
}

/// A declared setting of a section.
pub(super) struct Declared<S> {
    /// Section and key.
    pub(super) key: &'static str,
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) shape: Shape,
    /// What the default means, where its value does not say it.
    pub(super) default: Option<&'static str>,
    pub(super) read: fn(&mut S, &Section<'_>, &Shape) -> bool,
    pub(super) shown: fn(&S) -> String,
}

/// A section of `haechi.toml`, whichever it is.
pub(super) trait Settings {
    fn read(&mut self, section: &Section<'_>, origins: &mut Origins);
    fn effective(&self) -> Vec<(&'static str, String)>;
    fn schema(&self) -> Json;
    fn reference(&self) -> Vec<[String; 4]>;
}

/// A section that was declared with [`section!`].
pub(super) trait Declares: Sized + Default + 'static {
    const DECLARED: &'static [Declared<Self>];
}

impl<S: Declares> Settings for S {
    fn read(&mut self, section: &Section<'_>, origins: &mut Origins) {
        for setting in S::DECLARED {
            if (setting.read)(self, section, &setting.shape) {
                origins.insert(setting.key, origin(setting.key, section));
            }
        }
    }

    fn effective(&self) -> Vec<(&'static str, String)> {
        S::DECLARED.iter().map(|setting| (setting.key, (setting.shown)(self))).collect()
    }

    fn schema(&self) -> Json {
        let property = |setting: &Declared<S>| (setting.name.to_owned(), setting.shape.schema(setting.about.trim()));
        let properties: serde_json::Map<_, _> = S::DECLARED.iter().map(property).collect();
        json!({ "type": "object", "additionalProperties": false, "properties": properties })
    }

    fn reference(&self) -> Vec<[String; 4]> {
        let row = |setting: &Declared<S>| {
            let default = setting.default.map_or_else(|| setting.shape.default(&(setting.shown)(self)), str::to_owned);
            [format!("`{}`", setting.name), setting.about.trim().trim_end_matches('.').to_owned(), setting.shape.words(), default]
        };
        S::DECLARED.iter().map(row).collect()
    }
}

/// File and line of a key, or the variable that sets it.
pub(super) fn origin(key: &str, section: &Section<'_>) -> String {
    let name = key.rsplit('.').next().unwrap_or(key);
    let before = section.span_of(name).and_then(|span| section.source.text.get(..span.start).map(|text| text.matches('\n').count() + 1));
    let path = section.source.path.display();
    match before {
        Some(line) if path.to_string() != ENVIRONMENT => format!("{path}:{line}"),
        _ => format!("HAECHI__{}", key.to_uppercase().replace('.', "__")),
    }
}

/// The schema of a secret by reference.
pub(crate) fn secret_schema() -> Json {
    json!({
        "type": "object", "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
        "properties": { "env": { "type": "string", "description": "Name of the environment variable that holds the secret." }, "file": { "type": "string", "description": "Path of the file that holds the secret." } }
    })
}

impl Form {
    fn schema(&self) -> Json {
        let mut schema = json!({ "type": "string" });
        if let Some((key, value)) = self.schema {
            schema[key] = value.into();
        }
        schema
    }
}

impl Shape {
    fn schema(&self, about: &str) -> Json {
        let mut schema = match self {
            Self::Flag => json!({ "type": "boolean" }),
            Self::Number(bounds, unit) => {
                return json!({ "type": "integer", "minimum": bounds.start(), "maximum": bounds.end(), "description": format!("{about} Unit: {unit}.") });
            }
            Self::Choice(words) => json!({ "enum": words }),
            Self::Text(form) => form.schema(),
            Self::Texts(form) => json!({ "type": "array", "items": form.schema() }),
            Self::Secret => secret_schema(),
            Self::TextOrSecret(form) => json!({ "oneOf": [form.schema(), secret_schema()] }),
        };
        schema["description"] = about.into();
        schema
    }

    fn words(&self) -> String {
        match self {
            Self::Flag => "`true`, `false`".to_owned(),
            Self::Number(bounds, unit) => format!("{} – {} {unit}", grouped(*bounds.start()), grouped(*bounds.end())),
            Self::Choice(words) => words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", "),
            Self::Text(form) => form.words.to_owned(),
            Self::Texts(form) => format!("list of {}", form.words),
            Self::Secret => "a secret reference".to_owned(),
            Self::TextOrSecret(form) => format!("{}; or a secret reference", form.words),
        }
    }

    fn default(&self, shown: &str) -> String {
        match self {
            Self::Texts(_) if shown.is_empty() => "`[]`".to_owned(),
            _ if shown.is_empty() => "none".to_owned(),
            Self::Number(..) => shown.parse().map_or_else(|_| shown.to_owned(), grouped),
            Self::Flag => format!("`{shown}`"),
            _ => format!("`\"{shown}\"`"),
        }
    }
}

/// A number with a space before each three digits.
fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Declares a section: its struct, its defaults, and all that is known of its keys. A setting is
/// `key: type = default, shape;`, with words for its default where the value does not say what it means.
macro_rules! section {
    ($(#[doc = $title:literal])+ $name:ident, $section:literal {
        $( $(#[doc = $line:literal])+ $key:ident: $type:ty = $default:expr, $shape:expr $(, default $words:literal)?; )+
    }) => {
        $(#[doc = $title])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $( $(#[doc = $line])+ pub $key: $type, )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $key: $default, )+ }
            }
        }

        impl Declares for $name {
            const DECLARED: &'static [Declared<Self>] = &[ $( Declared {
                key: concat!($section, ".", stringify!($key)),
                name: stringify!($key),
                about: concat!($($line),+),
                shape: $shape,
                default: section!(@words $($words)?),
                read: |settings, section, shape| match <$type as Setting>::read(section, stringify!($key), shape) {
                    Some(found) => {
                        settings.$key = found;
                        true
                    }
                    None => false,
                },
                shown: |settings| settings.$key.shown(),
            }, )+ ];
        }
    };
    (@words $words:literal) => { Some($words) };
    (@words) => { None };
}

pub(super) use section;
