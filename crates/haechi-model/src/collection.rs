//! Collections: what one file of `collections/` declares, and the table it becomes.

use crate::{
    class::{Class, ClassId},
    field::{DEFAULT_JSON_BYTES, DEFAULT_LIST_ITEMS, DEFAULT_TEXT_LENGTH, DefaultValue, Field, FieldId, FieldType, OnDelete},
    finding::Source,
    name::{name_problem, reserved_field, suggest},
    pattern::Pattern,
    section::Section,
    table::{Column, Index, Reference, Storage, Table},
    value::Value,
};
use std::{ops::Range, sync::Arc};
use toml_edit::{Item, Value as Toml};

/// Position of a collection in [`crate::App::collections`].
pub type CollectionId = usize;

/// The built-in collection of people.
pub const USERS: CollectionId = 0;

const MAX_FIELDS: usize = 60;
const MAX_INDEXES: usize = 32;
const MAX_ENUM_VALUES: usize = 200;

/// A collection.
#[derive(Clone, Debug)]
pub struct Collection {
    /// Position among the app's collections.
    pub id: CollectionId,
    /// Name in paths and policies, and of the table.
    pub name: String,
    /// Name of one row's type in generated code.
    pub singular: String,
    /// Former name.
    pub was: Option<String>,
    /// Set to the caller at create when a request names nobody.
    pub owner: Option<FieldId>,
    /// `id`, `create_time`, `update_time`, `version`, then the declared fields.
    pub fields: Vec<Field>,
    /// The table; columns start with the fields in the same positions.
    pub table: Table,
    /// Where it was declared.
    pub source: Option<Arc<Source>>,
}

impl Collection {
    /// Position of `id`.
    pub const ID: FieldId = 0;
    /// Position of `create_time`.
    pub const CREATE_TIME: FieldId = 1;
    /// Position of `update_time`.
    pub const UPDATE_TIME: FieldId = 2;
    /// Position of `version`.
    pub const VERSION: FieldId = 3;
    /// Position of the first declared field.
    pub const FIRST_DECLARED: FieldId = 4;

    /// The field of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<FieldId> {
        self.fields.iter().position(|field| field.name == name)
    }

    /// Declared fields with their positions.
    pub fn declared(&self) -> impl Iterator<Item = (FieldId, &Field)> {
        self.fields.iter().enumerate().skip(Self::FIRST_DECLARED)
    }

    /// Classes with actions of their own that some field has.
    #[must_use]
    pub fn guarded_classes(&self, classes: &[Class]) -> Vec<ClassId> {
        let mut found: Vec<ClassId> = self.fields.iter().map(|field| field.class).filter(|class| classes[*class].guarded()).collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// A collection as written, before references are resolved.
pub(crate) struct Draft {
    pub(crate) name: String,
    pub(crate) collection: Collection,
    targets: Vec<Target>,
    indexes: Vec<Wanted>,
}

struct Target {
    field: FieldId,
    to: String,
    span: Option<Range<usize>>,
}

struct Wanted {
    fields: Vec<FieldId>,
    unique: bool,
}

fn system_field(name: &str, ty: FieldType) -> Field {
    Field { name: name.to_owned(), ty, class: Class::PUBLIC, required: true, unique: false, default: None, was: None, read_only: true, shadow: None }
}

fn system_fields() -> Vec<Field> {
    vec![
        Field { unique: true, ..system_field("id", FieldType::Uuid) },
        system_field("create_time", FieldType::Datetime),
        system_field("update_time", FieldType::Datetime),
        system_field("version", FieldType::Int { min: 1, max: i64::MAX }),
    ]
}

impl Draft {
    /// The built-in collection before `collections/users.toml` adds its profile fields.
    pub(crate) fn users() -> Self {
        let mut fields = system_fields();
        let text = || FieldType::Text { min_length: 1, max_length: 48, pattern: None, fold: false };
        let flag =
            |name: &str| Field { default: Some(DefaultValue::Fixed(Value::Int(0))), class: Class::INTERNAL, ..system_field(name, FieldType::Bool) };
        fields.push(Field { class: Class::PII, required: false, unique: true, ..system_field("email", FieldType::Email) });
        fields.push(Field {
            class: Class::INTERNAL,
            default: Some(DefaultValue::Fixed(Value::text("[]"))),
            ..system_field("roles", FieldType::List { of: Box::new(text()), max_items: 32 })
        });
        fields.push(flag("disabled"));
        fields.push(flag("email_verified"));
        Self::of("users", "User", fields)
    }

    fn of(name: &str, singular: &str, fields: Vec<Field>) -> Self {
        let table = Table { name: name.to_owned(), was: None, columns: Vec::new(), key: 1, indexes: Vec::new(), references: Vec::new() };
        let collection =
            Collection { id: 0, name: name.to_owned(), singular: singular.to_owned(), was: None, owner: None, fields, table, source: None };
        Self { name: name.to_owned(), collection, targets: Vec::new(), indexes: Vec::new() }
    }

    pub(crate) fn new(name: &str) -> Self {
        let mut singular: String = name.strip_suffix('s').unwrap_or(name).split('_').map(capital).collect();
        if singular.is_empty() {
            singular = capital(name);
        }
        Self::of(name, &singular, system_fields())
    }

    /// Reads a file of `collections/`.
    pub(crate) fn read(&mut self, top: &Section<'_>, classes: &[Class]) {
        self.collection.source = Some(top.source.clone());
        let owner = top.section("collection").and_then(|section| self.read_head(section));
        if let Some(fields) = top.section("fields") {
            for (name, span, item) in fields.entries() {
                self.read_field(&fields, name, span, item, classes);
            }
            if self.collection.fields.len() > MAX_FIELDS {
                fields.error(
                    None,
                    "too-many-fields",
                    format!("{} fields; at most {MAX_FIELDS} are allowed", self.collection.fields.len()),
                    "split the collection",
                );
            }
        }
        for section in top.sections("indexes") {
            self.read_index(section);
        }
        if let Some((name, span)) = owner {
            self.read_owner(top, &name, span);
        }
    }

    fn read_head(&mut self, section: Section<'_>) -> Option<(String, Option<Range<usize>>)> {
        if let Some(singular) = section.text("singular") {
            let shape = singular.chars().all(|c| c.is_ascii_alphanumeric()) && singular.starts_with(|c: char| c.is_ascii_uppercase());
            if !shape {
                section.error(
                    section.span_of("singular"),
                    "bad-name",
                    format!("`{singular}` is not a type name"),
                    "write letters and digits with a capital first, e.g. \"Patient\"",
                );
            }
            self.collection.singular = singular.to_owned();
        }
        if let Some(was) = section.text("was") {
            if let Some(problem) = name_problem(was) {
                section.error(section.span_of("was"), "bad-name", problem, "write the former name of the collection");
            }
            self.collection.was = Some(was.to_owned());
        }
        let owner = section.text("owner").map(|name| (name.to_owned(), section.span_of("owner")));
        section.finish();
        owner
    }

    fn read_owner(&mut self, top: &Section<'_>, name: &str, span: Option<Range<usize>>) {
        let target = self.collection.field(name).and_then(|field| self.targets.iter().find(|target| target.field == field));
        match target {
            Some(target) if target.to == "users" => self.collection.owner = Some(target.field),
            _ => top.error(
                span,
                "bad-owner",
                format!("`owner` names `{name}`, which is not a reference to users"),
                format!("declare {name} = {{ type = \"ref\", to = \"users\" }} under [fields]"),
            ),
        }
    }

    fn read_field(&mut self, fields: &Section<'_>, name: &str, span: Option<Range<usize>>, item: &Item, classes: &[Class]) {
        if let Some(problem) = name_problem(name) {
            return fields.error(span, "bad-name", problem, "choose another name");
        }
        if reserved_field(name) || self.collection.field(name).is_some() {
            return fields.error(span, "reserved-name", format!("`{name}` is a name that Haechi uses itself"), "choose another name");
        }
        let Some(table) = item.as_table_like() else {
            return fields.error(
                span,
                "wrong-type",
                format!("`{name}` must be a table, not {}", item.type_name()),
                format!("write {name} = {{ type = \"text\" }}"),
            );
        };
        let section = Section::new(fields.source, table, item.span().or(span), format!("the field `{name}`"), fields.findings());
        let Some(ty) = self.read_type(&section, "type") else { return section.finish() };
        let class = match section.text("class") {
            None => Class::INTERNAL,
            Some(class) => classes.iter().position(|known| known.name == class).unwrap_or_else(|| {
                let help = match suggest(class, classes.iter().map(|class| class.name.as_str())) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "declare it under [classes] in haechi.toml".to_owned(),
                };
                section.error(section.span_of("class"), "unknown-class", format!("no class is named `{class}`"), help);
                Class::INTERNAL
            }),
        };
        let mut field = Field {
            name: name.to_owned(),
            ty,
            class,
            required: section.bool("required").unwrap_or(false),
            unique: section.bool("unique").unwrap_or(false),
            default: None,
            was: None,
            read_only: false,
            shadow: None,
        };
        if let Some(was) = section.text("was") {
            if let Some(problem) = name_problem(was) {
                section.error(section.span_of("was"), "bad-name", problem, "write the former name of the field");
            }
            field.was = Some(was.to_owned());
        }
        if field.unique && !field.ty.comparable() {
            section.error(section.span_of("unique"), "not-comparable", format!("a {} cannot be unique", field.ty.name()), "remove `unique`");
        }
        field.default = read_default(&section, &field.ty);
        if let FieldType::Ref { on_delete: OnDelete::SetNull, .. } = field.ty
            && field.required
        {
            section.error(
                section.span_of("on_delete"),
                "set-null-required",
                "`on_delete = \"set_null\"` on a required field".to_owned(),
                "remove `required`, or choose \"restrict\" or \"cascade\"",
            );
        }
        if let FieldType::Ref { .. } = field.ty {
            let to = section.text("to").unwrap_or_default().to_owned();
            self.targets.push(Target { field: self.collection.fields.len(), to, span: section.span_of("to") });
        }
        section.finish();
        self.collection.fields.push(field);
    }

    fn read_type(&self, section: &Section<'_>, key: &'static str) -> Option<FieldType> {
        let Some(name) = section.text(key) else {
            if section.span_of(key).is_none() {
                section.error(
                    None,
                    "missing-key",
                    format!("`{key}` is missing"),
                    format!("add {key} = \"text\" or another type: {}", TYPES.join(", ")),
                );
            }
            return None;
        };
        let bound = |key, default| section.bounded(key, i64::MIN..=i64::MAX).unwrap_or(default);
        Some(match name {
            "text" => self.read_text_type(section),
            "email" => FieldType::Email,
            "url" => FieldType::Url,
            "uuid" => FieldType::Uuid,
            "enum" => FieldType::Enum { values: read_enum(section) },
            "int" => FieldType::Int { min: bound("min", i64::MIN), max: bound("max", i64::MAX) },
            "int64" => FieldType::Int64 { min: bound("min", i64::MIN), max: bound("max", i64::MAX) },
            "decimal" => return read_decimal_type(section),
            "float" => FieldType::Float { min: read_float(section, "min").unwrap_or(f64::MIN), max: read_float(section, "max").unwrap_or(f64::MAX) },
            "bool" => FieldType::Bool,
            "datetime" => FieldType::Datetime,
            "date" => FieldType::Date,
            "json" => FieldType::Json { max_bytes: size(section, "max_bytes", 2..=1 << 20, DEFAULT_JSON_BYTES) },
            "list" => {
                let of = self.read_item_type(section)?;
                FieldType::List { of: Box::new(of), max_items: size(section, "max_items", 1..=10_000, DEFAULT_LIST_ITEMS) }
            }
            "ref" => read_ref_type(section),
            "file" | "html" => {
                section.error(
                    section.span_of(key),
                    "not-built",
                    format!("the type `{name}` is documented, but not built yet"),
                    "leave the field out for now",
                );
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

    fn read_text_type(&self, section: &Section<'_>) -> FieldType {
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
        FieldType::Text { min_length, max_length, pattern: self.read_pattern(section), fold }
    }

    fn read_item_type(&self, section: &Section<'_>) -> Option<FieldType> {
        let of = self.read_type(section, "of")?;
        let scalar = matches!(
            of,
            FieldType::Text { fold: false, .. }
                | FieldType::Email
                | FieldType::Url
                | FieldType::Uuid
                | FieldType::Enum { .. }
                | FieldType::Int { .. }
                | FieldType::Bool
        );
        if scalar {
            return Some(of);
        }
        section.error(
            section.span_of("of"),
            "bad-item-type",
            format!("a list cannot hold {}", of.name()),
            "lists hold text, email, url, uuid, enum, int or bool",
        );
        None
    }

    fn read_pattern(&self, section: &Section<'_>) -> Option<Pattern> {
        match Pattern::compile(section.text("pattern")?) {
            Ok(pattern) => Some(pattern),
            Err(why) => {
                section.error(
                    section.span_of("pattern"),
                    "bad-pattern",
                    format!("the pattern cannot be used: {why}"),
                    "write an ECMA-262 pattern without look-around and back-references",
                );
                None
            }
        }
    }

    fn read_index(&mut self, section: Section<'_>) {
        let mut fields = Vec::new();
        for (name, span) in section.texts("fields").unwrap_or_default() {
            match self.collection.field(name) {
                Some(field) if self.collection.fields[field].ty.comparable() => fields.push(field),
                Some(_) => section.error(span, "not-comparable", format!("`{name}` cannot be indexed"), "json and list fields have no order"),
                None => section.error(
                    span,
                    "unknown-field",
                    format!("no field is named `{name}`"),
                    suggest(name, self.collection.fields.iter().map(|field| field.name.as_str()))
                        .map_or_else(|| "declare it under [fields]".to_owned(), |near| format!("did you mean `{near}`?")),
                ),
            }
        }
        let unique = section.bool("unique").unwrap_or(false);
        if fields.is_empty() {
            section.error(None, "missing-key", "an index needs `fields`".to_owned(), "add fields = [\"…\"]");
        } else if self.indexes.len() >= MAX_INDEXES {
            section.error(None, "too-many-indexes", format!("more than {MAX_INDEXES} indexes"), "remove the indexes that no query uses");
        } else {
            if unique && fields.iter().any(|field| !self.collection.fields[*field].required) {
                section.warning(
                    section.span_of("unique"),
                    "unique-null",
                    "a unique index with a field that may be null: rows with null in it do not collide".to_owned(),
                    "make the field `required` if that is not meant",
                );
            }
            self.indexes.push(Wanted { fields, unique });
        }
        section.finish();
    }

    /// Resolves references by name and lays out the table.
    pub(crate) fn finish(
        mut self,
        id: CollectionId,
        names: &[String],
        error: &mut dyn FnMut(&Arc<Source>, Option<Range<usize>>, String, String),
    ) -> Collection {
        self.collection.id = id;
        for target in &self.targets {
            match names.iter().position(|name| *name == target.to) {
                Some(found) => {
                    if let FieldType::Ref { to, .. } = &mut self.collection.fields[target.field].ty {
                        *to = found;
                    }
                }
                None => {
                    if let Some(source) = &self.collection.source {
                        let help = suggest(&target.to, names.iter().map(String::as_str))
                            .map_or_else(|| "create its file under collections/".to_owned(), |near| format!("did you mean `{near}`?"));
                        error(source, target.span.clone(), format!("no collection is named `{}`", target.to), help);
                    }
                    if let FieldType::Ref { to, .. } = &mut self.collection.fields[target.field].ty {
                        *to = 0;
                    }
                }
            }
        }
        self.lay_out(names);
        self.collection
    }

    fn lay_out(&mut self, names: &[String]) {
        let collection = &mut self.collection;
        let fixed = |default: &Option<DefaultValue>| match default {
            Some(DefaultValue::Fixed(value)) => Some(value.clone()),
            _ => None,
        };
        let mut columns: Vec<Column> = collection
            .fields
            .iter()
            .map(|field| Column {
                name: field.name.clone(),
                storage: field.ty.storage(),
                nullable: !field.required,
                default: fixed(&field.default),
                was: field.was.clone(),
            })
            .collect();
        let organisation = columns.len();
        columns.push(Column { default: Some(Value::text("")), ..Column::required("_organisation", Storage::Text) });
        for field in &mut collection.fields {
            if let FieldType::Text { fold: true, .. } = field.ty {
                field.shadow = Some(columns.len());
                let default = fixed(&field.default).map(|value| field.ty.folded(value));
                columns.push(Column {
                    name: format!("_fold_{}", field.name),
                    storage: Storage::Text,
                    nullable: !field.required,
                    default,
                    was: field.was.as_ref().map(|was| format!("_fold_{was}")),
                });
            }
        }
        let column_of = |field: FieldId| collection.fields[field].shadow.unwrap_or(field);
        let mut indexes = Vec::new();
        for (at, field) in collection.fields.iter().enumerate().skip(1) {
            if field.unique {
                indexes.push(Index {
                    name: format!("{}_{}_key", collection.name, field.name),
                    columns: vec![organisation, column_of(at)],
                    unique: true,
                });
            }
        }
        for wanted in &self.indexes {
            let name: Vec<&str> = wanted.fields.iter().map(|field| collection.fields[*field].name.as_str()).collect();
            let suffix = if wanted.unique { "key" } else { "idx" };
            let mut columns: Vec<usize> = wanted.fields.iter().map(|field| column_of(*field)).collect();
            if wanted.unique {
                columns.insert(0, organisation);
            }
            indexes.push(Index { name: format!("{}_{}_{suffix}", collection.name, name.join("_")), columns, unique: wanted.unique });
        }
        let mut references = Vec::new();
        for (at, field) in collection.fields.iter().enumerate() {
            if let FieldType::Ref { to, .. } = field.ty {
                references.push(Reference { column: at, table: names.get(to).cloned().unwrap_or_default() });
                let led = indexes.iter().any(|index| index.columns.first() == Some(&at));
                if !led {
                    indexes.push(Index { name: format!("{}_{}_ref", collection.name, field.name), columns: vec![at], unique: false });
                }
            }
        }
        collection.table = Table { name: collection.name.clone(), was: collection.was.clone(), columns, key: 1, indexes, references };
    }
}

const TYPES: &[&str] =
    &["text", "email", "url", "uuid", "enum", "int", "int64", "decimal", "float", "bool", "datetime", "date", "json", "list", "ref"];

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
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
    Some(FieldType::Decimal { precision, scale })
}

fn read_ref_type(section: &Section<'_>) -> FieldType {
    if section.text("to").is_none() {
        section.error(None, "missing-key", "a reference needs `to`".to_owned(), "add to = \"COLLECTION\"");
    }
    let on_delete = match section.text("on_delete") {
        None | Some("restrict") => OnDelete::Restrict,
        Some("cascade") => OnDelete::Cascade,
        Some("set_null") => OnDelete::SetNull,
        Some(other) => {
            let help = "choose \"restrict\", \"cascade\" or \"set_null\"";
            section.error(section.span_of("on_delete"), "wrong-value", format!("`on_delete` is `{other}`"), help);
            OnDelete::Restrict
        }
    };
    FieldType::Ref { to: usize::MAX, on_delete }
}

fn read_enum(section: &Section<'_>) -> Vec<String> {
    let values: Vec<String> = section.texts("values").unwrap_or_default().iter().map(|(text, _)| (*text).to_owned()).collect();
    let mut sorted = values.clone();
    sorted.sort_unstable();
    sorted.dedup();
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

fn read_default(section: &Section<'_>, ty: &FieldType) -> Option<DefaultValue> {
    let item = section.item("default")?;
    let word = if matches!(ty, FieldType::Date) { "today" } else { "now" };
    if matches!(ty, FieldType::Datetime | FieldType::Date) && item.as_str() == Some(word) {
        return Some(DefaultValue::Now);
    }
    let json = item.as_value().and_then(toml_to_json);
    let read = json.map(|json| ty.read(&json));
    match read {
        Some(Ok(value)) if !value.is_null() => Some(DefaultValue::Fixed(value)),
        other => {
            let why = match other {
                Some(Err(error)) => error.detail,
                _ => "cannot be used here".to_owned(),
            };
            section.error(
                section.span_of("default"),
                "bad-default",
                format!("the default {why}"),
                format!("write a value that a {} field accepts", ty.name()),
            );
            None
        }
    }
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
