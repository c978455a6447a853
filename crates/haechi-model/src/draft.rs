//! A collection's file, read into a collection: names, fields, indexes, checks and groups.

use crate::{
    bounds::Bounds,
    checks::{WantedCheck, read_checks},
    class::{Class, ClassId},
    collection::Collection,
    field::{DEFAULT_TEXT_LENGTH, DefaultValue, Field, FieldType, INDEX_BYTES, OnDelete},
    field_type::{read_default, read_rules, read_type},
    finding::Source,
    groups::{WantedGroup, read_groups},
    layout::{WantedIndex, lay_out},
    name::{name_problem, reserved_field, suggest},
    positions::{CollectionId, FieldId},
    rules::Rules,
    section::{Section, Span},
    table::Table,
    value::Value,
};
use std::{ops::Range, sync::Arc};
use toml_edit::Item;

pub(crate) const MAX_FIELDS: usize = 60;
const MAX_INDEXES: usize = 32;

/// Takes an error: file, place, message and remedy.
pub(crate) type Report<'a> = &'a mut dyn FnMut(&Arc<Source>, Span, String, String);

/// A collection as written, before references are resolved.
pub(crate) struct Draft {
    pub(crate) name: String,
    pub(crate) collection: Collection,
    pub(crate) groups: Vec<WantedGroup>,
    pub(crate) checks: Vec<WantedCheck>,
    targets: Vec<Target>,
    indexes: Vec<WantedIndex>,
}

struct Target {
    field: FieldId,
    to: String,
    span: Option<Range<usize>>,
}

fn plain_field(name: &str, ty: FieldType, class: ClassId) -> Field {
    Field {
        name: name.to_owned(),
        ty,
        class,
        required: false,
        unique: false,
        default: None,
        was: None,
        by: None,
        read_only: false,
        shadow: None,
        index_bytes: None,
        rules: Rules::default(),
    }
}

fn system_field(name: &str, ty: FieldType) -> Field {
    Field { required: true, read_only: true, ..plain_field(name, ty, Class::PUBLIC) }
}

fn system_fields() -> Vec<Field> {
    vec![
        Field { unique: true, ..system_field("id", FieldType::Uuid) },
        system_field("create_time", FieldType::Datetime(Bounds::NONE)),
        system_field("update_time", FieldType::Datetime(Bounds::NONE)),
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
        let table = Table {
            name: name.to_owned(),
            was: None,
            columns: Vec::new(),
            key: 1,
            indexes: Vec::new(),
            references: Vec::new(),
            checks: Vec::new(),
            lists: None,
        };
        let collection = Collection {
            id: 0,
            name: name.to_owned(),
            singular: singular.to_owned(),
            was: None,
            owner: None,
            set_on_update: Vec::new(),
            order: Vec::new(),
            page_size: None,
            fields,
            table,
            layout: 0,
            actions: Vec::new(),
            groups: Vec::new(),
            checks: Vec::new(),
            lists: Vec::new(),
            source: None,
        };
        Self { name: name.to_owned(), collection, groups: Vec::new(), checks: Vec::new(), targets: Vec::new(), indexes: Vec::new() }
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
        let Head { owner, order } = top.section("collection").map(|section| self.read_head(section)).unwrap_or_default();
        if let Some(fields) = top.section("fields") {
            for (name, span, item) in fields.entries() {
                self.read_field(&fields, name, span, item, classes);
            }
            if self.collection.fields.len() > MAX_FIELDS {
                fields.error(
                    None,
                    "too-many-fields",
                    format!(
                        "{} fields are declared; at most {} may be, beside those that every row has",
                        fields.entries().len(),
                        MAX_FIELDS + fields.entries().len() - self.collection.fields.len()
                    ),
                    "split the collection",
                );
            }
        }
        for section in top.sections("indexes") {
            self.read_index(section);
        }
        self.checks = read_checks(top);
        if let Some(groups) = top.section("groups") {
            self.groups = read_groups(&groups, &self.collection);
        }
        if let Some((name, span)) = owner {
            self.read_owner(top, &name, span);
        }
        if let Some((text, span)) = order {
            self.read_order(top, &text, span, classes);
        }
    }

    /// The order of lists: fields that everybody sees who sees the row.
    fn read_order(&mut self, top: &Section<'_>, text: &str, span: Option<Range<usize>>, classes: &[Class]) {
        match crate::filter::read_order(text, &self.collection) {
            Err(error) => top.error(span, "bad-order", format!("`order` cannot be read: {error}"), "write fields, e.g. order = \"due, title desc\""),
            Ok(order) => {
                let guarded = |part: &&crate::sort::Order| classes[self.collection.fields[part.column].class].guarded();
                if let Some(part) = order.iter().find(guarded) {
                    let name = &self.collection.fields[part.column].name;
                    let message = format!("`order` names `{name}`, which not everybody who lists may read: their lists would be refused");
                    top.error(span, "guarded-order", message, "order by a field that is public or internal");
                }
                self.collection.order = order;
            }
        }
    }

    fn read_head(&mut self, section: Section<'_>) -> Head {
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
        let named = |key: &'static str| section.text(key).map(|text| (text.to_owned(), section.span_of(key)));
        let head = Head { owner: named("owner"), order: named("order") };
        self.collection.page_size = section.bounded("page_size", 1..=1_000).and_then(|size| u32::try_from(size).ok());
        section.finish();
        head
    }

    fn read_owner(&mut self, top: &Section<'_>, name: &str, span: Option<Range<usize>>) {
        let target = self.collection.field(name).and_then(|field| self.targets.iter().find(|target| target.field == field));
        match target {
            Some(target) if target.to == "users" && self.collection.fields[target.field].ty.lists().is_none() => {
                self.collection.owner = Some(target.field)
            }
            None if reserved_field(name).is_some() => top.error(
                span,
                "bad-owner",
                format!("`owner` names `{name}`, which is a field of every row"),
                "name a field of your own that refers to users, e.g. owner = \"author\"".to_owned(),
            ),
            _ => top.error(
                span,
                "bad-owner",
                format!("`owner` names `{name}`, which is not a reference to users"),
                format!("declare {name} = {{ type = \"ref\", to = \"users\" }} under [fields]"),
            ),
        }
    }

    pub(crate) fn read_field(&mut self, fields: &Section<'_>, name: &str, span: Option<Range<usize>>, item: &Item, classes: &[Class]) {
        if let Some(problem) = name_problem(name) {
            return fields.error(span, "bad-name", problem, "choose another name");
        }
        let reserved = reserved_field(name).or_else(|| self.collection.field(name).map(|_| "every person has it"));
        if let Some(why) = reserved {
            return fields.error(span, "reserved-name", format!("no field can be named `{name}`: {why}"), "choose another name");
        }
        let Some(table) = item.as_table_like() else {
            return fields.error(
                span,
                "wrong-type",
                format!("`{name}` must be a table, not {}", item.type_name()),
                format!("write {name} = {{ type = \"text\" }}"),
            );
        };
        let section = Section::new(fields.source, table, item.span().or_else(|| span.clone()), format!("the field `{name}`"), fields.findings());
        let Some(ty) = read_type(&section, "type") else { return section.finish() };
        // In the body of an action it is a name like any other.
        if name == "owner" && fields.is_of_rows() && !(matches!(ty, FieldType::Ref { .. }) && section.text("to") == Some("users")) {
            let message = "a field named `owner` must be a reference to users: the name says to whom a row belongs".to_owned();
            section.error(span, "reserved-name", message, "write owner = { type = \"ref\", to = \"users\" }, or choose another name");
        }
        let mut field = plain_field(name, ty, read_class(&section, classes));
        field.required = section.bool("required").unwrap_or(false);
        field.unique = section.bool("unique").unwrap_or(false);
        if field.unique {
            warn_of_length(&section, section.span_of("max_length"), &field);
        }
        if let Some(was) = section.text("was") {
            if let Some(problem) = name_problem(was) {
                section.error(section.span_of("was"), "bad-name", problem, "write the former name of the field");
            }
            field.was = Some(was.to_owned());
        }
        self.read_by(&section, &mut field);
        if field.unique && !field.ty.comparable() {
            section.error(section.span_of("unique"), "not-comparable", format!("a {} cannot be unique", field.ty.name()), "remove `unique`");
        }
        field.default = read_default(&section, &field.ty);
        self.read_number(fields, &section, &mut field);
        if fields.is_of_rows() {
            field.rules = read_rules(&section, &field, classes);
            field.read_only = field.rules.on_update.is_some() || field.numbering().is_some();
        }
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
        if let FieldType::Ref { on_delete: OnDelete::Cascade, .. } = field.ty
            && self.name == "users"
        {
            let message = "deleting a record must not delete people".to_owned();
            section.error(section.span_of("on_delete"), "cascade-to-people", message, "choose \"restrict\" or \"set_null\"");
        }
        if field.ty.refers().is_some() {
            let to = section.text("to").unwrap_or_default().to_owned();
            self.targets.push(Target { field: self.collection.fields.len(), to, span: section.span_of("to") });
        }
        section.finish();
        self.collection.fields.push(field);
    }

    fn read_number(&self, fields: &Section<'_>, section: &Section<'_>, field: &mut Field) {
        if field.numbering().is_none() {
            return;
        }
        // Two series that write the same number must not both give it.
        field.unique = true;
        let wrong = |message: &str, help: &str| section.error(section.span_of("default"), "bad-default", message.to_owned(), help);
        if self.name == "users" {
            wrong("numbers of people", "keep them in a collection of their own");
        } else if !fields.is_of_rows() {
            wrong("numbers in the body of an action", "leave the field out: the row has its number");
        }
    }

    /// The field by which former values, which are no ids, find the target row.
    fn read_by(&self, section: &Section<'_>, field: &mut Field) {
        let Some(by) = section.text("by") else { return };
        if field.ty.refers().is_none() || field.was.is_none() {
            let message = "`by` says how former values find the row that a reference is to be".to_owned();
            return section.error(section.span_of("by"), "wrong-value", message, "write it beside a reference and `was`, or leave it out");
        }
        field.by = Some(by.to_owned());
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
        let told = section.span_of("fields").is_some();
        if fields.is_empty() && told {
            // Its error was reported already.
        } else if self.indexes.iter().any(|known| (&known.fields, known.unique) == (&fields, unique))
            || unique && matches!(fields[..], [one] if self.collection.fields[one].unique)
        {
            let message = "there is an index over these fields already".to_owned();
            section.error(section.span_of("fields"), "clash", message, "remove one of the two");
        } else if fields.is_empty() {
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
            let declared = |field: &&Field| !matches!(field.ty, FieldType::Text { max_length: DEFAULT_TEXT_LENGTH, .. });
            for field in fields.iter().map(|field| &self.collection.fields[*field]).filter(|field| !field.unique).filter(declared) {
                warn_of_length(&section, section.span_of("fields"), field);
            }
            self.indexes.push(WantedIndex { fields, unique });
        }
        section.finish();
    }

    /// Resolves references by name and lays out the table.
    pub(crate) fn finish(mut self, id: CollectionId, names: &[String], error: Report<'_>) -> Collection {
        self.collection.id = id;
        for target in &self.targets {
            match names.iter().position(|name| *name == target.to) {
                Some(found) => {
                    if let Some(to) = self.collection.fields[target.field].ty.reference_mut() {
                        *to = found;
                    }
                }
                None => {
                    if let (Some(source), false) = (&self.collection.source, target.to.is_empty()) {
                        let help = suggest(&target.to, names.iter().map(String::as_str))
                            .map_or_else(|| "create its file under collections/".to_owned(), |near| format!("did you mean `{near}`?"));
                        error(source, target.span.clone(), format!("no collection is named `{}`", target.to), help);
                    }
                    if let Some(to) = self.collection.fields[target.field].ty.reference_mut() {
                        *to = 0;
                    }
                }
            }
        }
        let set = |field: &Field| field.rules.on_update.is_some();
        self.collection.set_on_update = self.collection.declared().filter(|(_, field)| set(field)).map(|(at, _)| at).collect();
        lay_out(&mut self.collection, &self.indexes, names);
        self.collection
    }
}

/// What stands under `[collection]` and names fields.
#[derive(Default)]
struct Head {
    owner: Option<(String, Option<Range<usize>>)>,
    order: Option<(String, Option<Range<usize>>)>,
}

/// Reports that an index bounds a text more than its `max_length` does.
fn warn_of_length(section: &Section<'_>, declared: Option<Range<usize>>, field: &Field) {
    if let Some(span) = declared
        && let FieldType::Text { max_length, .. } = field.ty
        && usize::try_from(max_length).is_ok_and(|most| most > INDEX_BYTES)
    {
        section.warning(
            Some(span),
            "long-index",
            format!("`{}` is unique or indexed: values of more than {INDEX_BYTES} bytes are refused", field.name),
            format!("declare max_length = {INDEX_BYTES} or less, or take it out of the index"),
        );
    }
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn read_class(section: &Section<'_>, classes: &[Class]) -> usize {
    match section.text("class") {
        None => Class::INTERNAL,
        Some(class) => classes.iter().position(|known| known.name == class).unwrap_or_else(|| {
            let help = match suggest(class, classes.iter().map(|class| class.name.as_str())) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "declare it under [classes] in haechi.toml".to_owned(),
            };
            section.error(section.span_of("class"), "unknown-class", format!("no class is named `{class}`"), help);
            Class::INTERNAL
        }),
    }
}

#[cfg(test)]
mod tests {
    use crate::App;

    fn load(things: &str) -> Result<App, Vec<(&'static str, String)>> {
        let root = std::env::temp_dir().join(format!("haechi-draft-{}-{:?}", std::process::id(), std::thread::current().id()));
        std::fs::create_dir_all(root.join("collections")).unwrap();
        std::fs::write(root.join("haechi.toml"), "").unwrap();
        std::fs::write(root.join("collections/things.toml"), things).unwrap();
        let app = App::load(&root, &[]);
        std::fs::remove_dir_all(root).unwrap();
        app.map(|(app, _)| app).map_err(|findings| findings.list().iter().map(|finding| (finding.code, finding.message.clone())).collect())
    }

    #[test]
    fn fields_of_people_stand_where_they_are_looked_for() {
        use crate::collection::person;
        let app = load("").unwrap();
        let name = |at: usize| app.collections[0].fields[at].name.as_str();
        assert_eq!(
            [person::EMAIL, person::ROLES, person::DISABLED, person::EMAIL_VERIFIED].map(name),
            ["email", "roles", "disabled", "email_verified"]
        );
    }

    #[test]
    fn a_field_named_owner_says_to_whom_a_row_belongs() {
        let app = load("[collection]\nowner = \"owner\"\n[fields]\nowner = { type = \"ref\", to = \"users\", required = true }").unwrap();
        let things = &app.collections[1];
        assert_eq!(things.owner, things.field("owner"));
        for field in ["{ type = \"text\" }", "{ type = \"ref\", to = \"things\" }"] {
            let found = load(&format!("[fields]\nowner = {field}")).unwrap_err();
            assert_eq!(found[0].0, "reserved-name", "{found:?}");
        }
        let found = load("[fields]\ndeleted = { type = \"bool\" }").unwrap_err();
        assert!(found[0].1.contains("kept for rows that are deleted"), "{found:?}");
    }
}
