//! Fields that a request brings and no table stores: the body of an action, the input of a job.

use crate::{
    class::Class,
    collection::Collection,
    draft::{Draft, MAX_FIELDS},
    section::Section,
};

impl Draft {
    /// Reads `[input]` as fields; `of` is whose input it is, in words, and `row` says who looks for rows that it names.
    pub(crate) fn input(section: &Section<'_>, (name, of): (&str, &str), classes: &[Class], row: &str) -> Collection {
        let mut input = Self::new(name);
        if let Some(fields) = section.section("input") {
            for (name, span, item) in fields.entries() {
                let known = input.collection.fields.len();
                input.read_field(&fields, name, span.clone(), item, classes);
                let Some(field) = input.collection.fields.get(known) else { continue };
                // Settings of stored fields have no meaning here.
                let stored = [("unique", field.unique), ("was", field.was.is_some()), ("class", field.class != Class::INTERNAL)];
                if let Some((key, _)) = stored.iter().find(|(_, there)| *there) {
                    let message = format!("`{key}` of `{name}` has no meaning in {of}");
                    fields.error(span.clone(), "unknown-key", message, format!("remove `{key}`"));
                }
                if field.ty.refers().is_some() {
                    fields.error(span, "wrong-type", format!("`{name}` cannot be a reference"), format!("write type = \"uuid\"; {row}"));
                }
            }
        }
        if input.collection.declared().count() > MAX_FIELDS {
            let message = format!("{of} has more than {MAX_FIELDS} fields");
            section.error(None, "too-many-fields", message, "take a json field for what belongs together");
        }
        input.collection
    }
}
