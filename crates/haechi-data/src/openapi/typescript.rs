//! TypeScript types of the collections.

use haechi_model::{App, FieldType};
use std::fmt::Write;

/// Types of each collection: the record, and what creates and changes it.
#[must_use]
pub fn typescript(app: &App) -> String {
    let mut out = String::from("// Made by `haechi generate typescript`. Fields that you may not read are absent and named in `_masked`.\n");
    for collection in &app.collections {
        let _ = writeln!(out, "\nexport interface {} {{", collection.singular);
        for field in &collection.fields {
            let null = if field.required { "" } else { " | null" };
            let optional = if field.name == "id" { "" } else { "?" };
            let _ = writeln!(out, "  {}{optional}: {}{null};", field.name, ty(&field.ty));
        }
        out.push_str("  _masked?: string[];\n  _expanded?: Record<string, unknown>;\n}\n");
        let _ = writeln!(out, "\nexport interface {}Create {{", collection.singular);
        for (at, field) in collection.declared().filter(|(_, field)| !field.read_only) {
            let needed = field.required && field.default.is_none() && collection.owner != Some(at);
            let null = if field.required { "" } else { " | null" };
            let _ = writeln!(out, "  {}{}: {}{null};", field.name, if needed { "" } else { "?" }, ty(&field.ty));
        }
        out.push_str("}\n");
        let _ = writeln!(out, "\nexport type {0}Update = Partial<{0}Create>;", collection.singular);
        for action in collection.actions.iter().filter(|action| action.input.declared().next().is_some()) {
            // `approve` of an `Invoice` takes an `InvoiceApprove`.
            let name: String = action.name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
            let _ = writeln!(out, "\nexport interface {}{name} {{", collection.singular);
            for (_, field) in action.input.declared() {
                let needed = field.required && field.default.is_none();
                let null = if field.required { "" } else { " | null" };
                let _ = writeln!(out, "  {}{}: {}{null};", field.name, if needed { "" } else { "?" }, ty(&field.ty));
            }
            out.push_str("}\n");
        }
    }
    out
}

fn ty(ty: &FieldType) -> String {
    match ty {
        FieldType::Int { .. } | FieldType::Float { .. } => "number".to_owned(),
        FieldType::Bool => "boolean".to_owned(),
        FieldType::Json { .. } => "unknown".to_owned(),
        FieldType::List { of, .. } => format!("({})[]", self::ty(of)),
        FieldType::Enum { values, .. } => {
            values.iter().map(|value| serde_json::Value::from(value.as_str()).to_string()).collect::<Vec<_>>().join(" | ")
        }
        _ => "string".to_owned(),
    }
}
