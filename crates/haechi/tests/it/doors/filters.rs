//! Filters of the questions: each in the language of REST and gRPC, and as an object of GraphQL.

use haechi_model::{App, Collection, FieldType};
use serde_json::{Value, json};

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum How {
    Is,
    In,
    NotIn,
    Null,
    Begins,
}

/// A condition on a field: of the record itself, or of one that it leads to.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    /// The references that lead there.
    pub(super) through: Vec<String>,
    pub(super) field: String,
    pub(super) how: How,
    pub(super) value: Value,
}

impl Filter {
    fn of(field: &str, how: How, value: Value) -> Self {
        Self { through: Vec::new(), field: field.to_owned(), how, value }
    }

    fn beyond(mut self, reference: &str) -> Self {
        self.through.insert(0, reference.to_owned());
        self
    }

    fn is_list(&self, collection: &Collection) -> bool {
        let at = collection.field(&self.field).filter(|_| self.through.is_empty());
        at.is_some_and(|at| matches!(collection.fields[at].ty, FieldType::List { .. }))
    }

    /// As text.
    pub(super) fn text(&self, collection: &Collection) -> String {
        let path: Vec<&str> = self.through.iter().chain([&self.field]).map(String::as_str).collect();
        let (path, value) = (path.join("."), literal(&self.value));
        match self.how {
            How::Is if self.is_list(collection) => format!("{path} : {value}"),
            How::Is => format!("{path} = {value}"),
            How::In => format!("{path} IN ({value}, {value})"),
            How::NotIn => format!("{path} NOT IN ({value})"),
            How::Null => format!("{path} IS NULL"),
            How::Begins => format!("starts_with({path}, {value})"),
        }
    }

    /// As an object.
    pub(super) fn object(&self, collection: &Collection) -> Value {
        let comparison = match self.how {
            How::Is if self.is_list(collection) => json!({ "has": self.value }),
            How::Is => json!({ "eq": self.value }),
            How::In | How::NotIn => json!({ "in": [self.value] }),
            How::Null => json!({ "is_null": true }),
            How::Begins => json!({ "starts_with": self.value }),
        };
        // A member beside a reference asks about a record that is there; REST asks whether the value is null, also where there is no record.
        let of_record = json!({ &self.field: comparison });
        let through = |inner| self.through.iter().rev().fold(inner, |inner, name| json!({ format!("{name}_where"): inner }));
        match self.how {
            How::NotIn => json!({ "not": through(of_record) }),
            How::Null if !self.through.is_empty() => json!({ "not": through(json!({ &self.field: { "is_null": false } })) }),
            _ => through(of_record),
        }
    }
}

/// Filters by the fields of a collection, and by those of the records that it leads to.
pub(super) fn filters(app: &App, collection: &Collection) -> Vec<Filter> {
    let mut found = Vec::new();
    for (at, field) in collection.fields.iter().enumerate().filter(|(_, field)| field.ty.comparable()) {
        let Some(value) = super::value(&field.ty, 1) else { continue };
        found.push(Filter::of(&field.name, How::Is, value.clone()));
        let text = matches!(field.ty, FieldType::Text { .. } | FieldType::Email | FieldType::Url);
        let how = [How::In, How::NotIn, How::Null, if text { How::Begins } else { How::NotIn }][at % 4];
        found.push(Filter::of(&field.name, how, value));
    }
    for reference in &collection.fields {
        let FieldType::Ref { to, .. } = reference.ty else { continue };
        let target = &app.collections[to];
        let mut plain = 0;
        for (at, field) in target.declared().filter(|(_, field)| field.ty.comparable()) {
            plain += usize::from(!app.classes[field.class].guarded());
            let Some(value) = super::value(&field.ty, 1).filter(|_| app.classes[field.class].guarded() || plain < 3) else { continue };
            let how = [How::Is, How::NotIn, How::Null][at % 3];
            found.push(Filter::of(&field.name, how, value).beyond(&reference.name));
        }
        for next in &target.fields {
            let FieldType::Ref { to, .. } = next.ty else { continue };
            let field = app.collections[to].fields.iter().rev().find_map(|field| Some((field, super::value(&field.ty, 1)?)));
            let Some((field, value)) = field.filter(|(field, _)| field.ty.comparable()) else { continue };
            found.push(Filter::of(&field.name, How::Is, value).beyond(&next.name).beyond(&reference.name));
        }
    }
    found
}

pub(super) fn literal(value: &Value) -> String {
    match value {
        Value::String(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        other => other.to_string(),
    }
}
