//! The Cedar schema of an app, in the human syntax: generated, printable, never written by hand.

use haechi_model::{App, Collection, FieldType};
use std::fmt::Write;

/// The verbs that every collection has.
pub const VERBS: &[&str] = &["list", "read", "create", "update", "delete", "watch", "export"];

/// All actions of an app: verbs, then `read_<class>` and `write_<class>` of each guarded class.
#[must_use]
pub fn actions(app: &App) -> Vec<String> {
    let guarded =
        app.classes.iter().filter(|class| class.guarded()).flat_map(|class| [format!("read_{}", class.name), format!("write_{}", class.name)]);
    VERBS.iter().map(|verb| (*verb).to_owned()).chain(guarded).collect()
}

/// The schema as text.
#[must_use]
pub fn schema_text(app: &App) -> String {
    let mut out = String::from("entity Role;\nentity Anonymous;\nentity services in [Role];\n");
    for collection in &app.collections {
        let parents = if collection.id == haechi_model::USERS { " in [Role]" } else { "" };
        let _ = writeln!(out, "entity {}{parents} = {{", collection.name);
        for (_, field) in collection.fields.iter().enumerate().skip(1) {
            if let Some(ty) = cedar_type(app, &field.ty) {
                let _ = writeln!(out, "  \"{}\"{}: {ty},", field.name, if field.required { "" } else { "?" });
            }
        }
        out.push_str("};\n");
    }
    let resources: Vec<&str> = app.collections.iter().map(|collection| collection.name.as_str()).collect();
    let actions: Vec<String> = actions(app).iter().map(|action| format!("\"{action}\"")).collect();
    let _ = writeln!(
        out,
        "action {} appliesTo {{\n  principal: [users, services, Anonymous],\n  resource: [{}],\n  context: {{ now: datetime }},\n}};",
        actions.join(", "),
        resources.join(", ")
    );
    out
}

fn cedar_type(app: &App, ty: &FieldType) -> Option<String> {
    Some(match ty {
        FieldType::Text { .. } | FieldType::Email | FieldType::Url | FieldType::Uuid | FieldType::Enum { .. } => "String".to_owned(),
        FieldType::Int { .. } | FieldType::Int64 { .. } => "Long".to_owned(),
        FieldType::Decimal { .. } if decimal_scale(ty).is_some() => "decimal".to_owned(),
        FieldType::Bool => "Bool".to_owned(),
        FieldType::Datetime | FieldType::Date => "datetime".to_owned(),
        FieldType::List { of, .. } => format!("Set<{}>", cedar_type(app, of)?),
        FieldType::Ref { to, .. } => app.collections[*to].name.clone(),
        FieldType::Decimal { .. } | FieldType::Float { .. } | FieldType::Json { .. } => return None,
    })
}

/// The scale of a decimal that policies see: its every value fits Cedar's four digits.
pub(crate) fn decimal_scale(ty: &FieldType) -> Option<u32> {
    match ty {
        FieldType::Decimal { precision, scale } if *scale <= 4 && precision + (4 - scale) <= 18 => Some(*scale),
        _ => None,
    }
}

/// Whether policies see a field.
#[must_use]
pub fn visible(app: &App, collection: &Collection, field: usize) -> bool {
    field != Collection::ID && cedar_type(app, &collection.fields[field].ty).is_some()
}
