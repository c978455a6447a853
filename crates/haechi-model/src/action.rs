//! Actions of one's own that a collection declares: `[actions.approve]`.

use crate::{
    class::Class,
    collection::Collection,
    draft::Draft,
    field::FieldType,
    name::name_problem,
    section::{Section, Span},
};
use toml_edit::Item;

/// The verbs that every collection has.
pub const VERBS: &[&str] = &["list", "read", "create", "update", "delete", "watch", "export"];
/// What stands behind a colon in a path and is no action of a record, and what the ledger says of the house itself.
const RESERVED: &[&str] = &["query", "batch", "import", "rebase", "migrate", "backup", "restore"];

/// An action on one record. What it does is written in Rust; who may do it is policy's.
#[derive(Clone, Debug)]
pub struct DeclaredAction {
    /// Its name in policies and in the path: `POST /{id}:name`.
    pub name: String,
    /// The fields of its body.
    pub input: Collection,
}

impl DeclaredAction {
    /// Reads `[actions.NAME]`.
    pub(crate) fn read(actions: &Section<'_>, name: &str, span: Span, item: &Item, classes: &[Class]) -> Option<Self> {
        let guards = |name: &str| name.starts_with("read_") || name.starts_with("write_");
        if let Some(problem) = name_problem(name) {
            actions.error(span, "bad-name", problem, "choose another name");
            return None;
        }
        if VERBS.contains(&name) || RESERVED.contains(&name) || guards(name) {
            actions.error(span, "reserved-name", format!("`{name}` is a name that Haechi uses itself"), "choose another name");
            return None;
        }
        let Some(table) = item.as_table_like() else {
            actions.error(span, "wrong-type", format!("the action `{name}` must be a table"), format!("write [actions.{name}]"));
            return None;
        };
        let section = Section::new(actions.source, table, item.span().or(span), format!("the action `{name}`"), actions.findings());
        let mut input = Draft::new(name);
        if let Some(fields) = section.section("input") {
            for (name, span, item) in fields.entries() {
                let known = input.collection.fields.len();
                input.read_field(&fields, name, span.clone(), item, classes);
                let Some(field) = input.collection.fields.get(known) else { continue };
                // What concerns stored fields alone says nothing about a body.
                if field.unique || field.was.is_some() || field.class != Class::INTERNAL {
                    fields.error(span.clone(), "unknown-key", format!("`{name}` is a field of a body"), "remove `unique`, `was` and `class`");
                }
                if matches!(field.ty, FieldType::Ref { .. }) {
                    fields.error(
                        span,
                        "wrong-type",
                        format!("`{name}` cannot be a reference"),
                        "write type = \"uuid\"; the handler asks for the record",
                    );
                }
            }
        }
        section.finish();
        Some(Self { name: name.to_owned(), input: input.collection })
    }
}
