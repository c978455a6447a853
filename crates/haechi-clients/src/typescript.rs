//! A module and its types: `client.js` and `client.d.ts`.

use crate::{
    File, MARK,
    shape::{Kind, Shape, capital, free, shapes},
};
use haechi_model::{App, Field};
use std::fmt::Write;

const CLIENT: &str = include_str!("typescript/client.js");
const TYPES: &str = include_str!("typescript/client.d.ts");

/// Names that the client, and a collection of it, have themselves.
const OF_CLIENT: &[&str] = &["auth", "batch", "cookie", "request", "send", "silence", "token", "constructor"];
const OF_COLLECTION: &[&str] =
    &["get", "list", "pages", "all", "aggregate", "create", "update", "delete", "upsert", "change", "remove", "watch", "live", "constructor"];

pub(crate) fn files(app: &App) -> Vec<File> {
    let first = format!("// {MARK} typescript`. Do not change it: run that again.\n");
    vec![
        File { name: "client.js", text: format!("{first}{CLIENT}{}", collections(app)) },
        File { name: "client.d.ts", text: format!("{first}{}\n{TYPES}", types(app)) },
    ]
}

fn text(of: &str) -> String {
    serde_json::Value::from(of).to_string()
}

/// What the module knows of the app: names of collections and of their actions.
fn collections(app: &App) -> String {
    let mut out = String::from("// Names of this app: each collection with its actions.\nconst COLLECTIONS = {\n");
    for collection in &app.collections {
        let actions: Vec<String> =
            collection.actions.iter().map(|action| format!("{}: {}", free(&action.name, OF_COLLECTION), text(&action.name))).collect();
        let actions = if actions.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", actions.join(", ")) };
        let _ = writeln!(out, "  {}: [{}, {actions}],", free(&collection.name, OF_CLIENT), text(&collection.name));
    }
    out.push_str("};\n");
    out
}

fn types(app: &App) -> String {
    let all = shapes(app, &taken());
    let mut out = String::new();
    for shape in &all {
        row(&mut out, shape);
        written(&mut out, shape);
        filter(&mut out, shape, &all);
    }
    let mut table = |name: &str, what: &str, of: &dyn Fn(&Shape<'_>) -> String| {
        let _ = writeln!(out, "/** {what} */\nexport interface {name} {{");
        for shape in &all {
            let _ = writeln!(out, "  {}: {};", shape.name(), of(shape));
        }
        out.push_str("}\n");
    };
    table("Rows", "The rows of each collection.", &|shape| shape.row.clone());
    table("Creates", "What creates one.", &|shape| format!("{}Create", shape.row));
    table("Patches", "What changes one.", &|shape| format!("{}Patch", shape.row));
    table("Wheres", "What finds some.", &|shape| format!("{}Where", shape.row));
    table("Orders", "Fields that have an order.", &|shape| union(&shape.ordered()));
    table("Sums", "Fields that can be summed up.", &|shape| union(&shape.summed()));
    table("Keys", "The fields of each unique key.", &|shape| {
        let keys: Vec<String> =
            shape.keys().iter().map(|key| format!("[{}]", key.iter().map(|name| text(name)).collect::<Vec<_>>().join(", "))).collect();
        if keys.is_empty() { "never".to_owned() } else { keys.join(" | ") }
    });
    let named = |pairs: &mut dyn Iterator<Item = (String, usize)>| {
        let pairs: Vec<String> = pairs.map(|(name, to)| format!("{name}: {}", text(&app.collections[to].name))).collect();
        if pairs.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", pairs.join("; ")) }
    };
    let owned = |(name, to): (&str, usize)| (name.to_owned(), to);
    table("Refers", "References to one row.", &|shape| named(&mut shape.refers().into_iter().map(owned)));
    table("Lists", "Lists of references.", &|shape| named(&mut shape.lists().into_iter().map(owned)));
    table("Referring", "Rows that refer to one.", &|shape| named(&mut shape.referring().into_iter()));
    let kinds: Vec<&str> = haechi_problem::kinds::kinds().into_iter().map(|(kind, _)| kind.slug).collect();
    let _ = writeln!(out, "/** Kinds of problems: the last part of `type`. */\nexport type ProblemKind = {};\n", union(&kinds));
    client(&mut out, &all);
    out
}

/// Names of types that the client has itself, or that it uses.
fn taken() -> Vec<&'static str> {
    const USED: [&str; 14] = [
        "AbortSignal",
        "AsyncGenerator",
        "Client",
        "Error",
        "Exclude",
        "Extract",
        "Haechi",
        "Omit",
        "Partial",
        "Pick",
        "ProblemKind",
        "Promise",
        "Record",
        "Array",
    ];
    let declared = TYPES.lines().filter_map(|line| {
        let of = ["export interface ", "export type ", "export declare class ", "type ", "declare class "]
            .iter()
            .find_map(|before| line.strip_prefix(before))?;
        of.split(|c: char| !c.is_ascii_alphanumeric()).next()
    });
    let tables = ["Rows", "Creates", "Patches", "Wheres", "Orders", "Sums", "Keys", "Refers", "Lists", "Referring"];
    declared.chain(USED).chain(tables).collect()
}

fn union(names: &[&str]) -> String {
    if names.is_empty() { "never".to_owned() } else { names.iter().map(|name| text(name)).collect::<Vec<_>>().join(" | ") }
}

/// A value as it stands in JSON.
fn value(kind: &Kind) -> String {
    match kind {
        Kind::Text | Kind::Ordered | Kind::Id | Kind::Refers(_) => "string".to_owned(),
        Kind::Number => "number".to_owned(),
        Kind::Bool => "boolean".to_owned(),
        Kind::Json => "unknown".to_owned(),
        Kind::Enum(words) => union(&words.iter().map(String::as_str).collect::<Vec<_>>()),
        Kind::List(of) if matches!(**of, Kind::Enum(_)) => format!("({})[]", value(of)),
        Kind::List(of) => format!("{}[]", value(of)),
    }
}

fn nullable(field: &Field) -> String {
    let of = value(&Kind::of(&field.ty));
    if field.required || of == "unknown" { of } else { format!("{of} | null") }
}

fn row(out: &mut String, shape: &Shape<'_>) {
    let _ = writeln!(out, "/** A row of {}. */\nexport interface {} {{", shape.name(), shape.row);
    let mut masked = Vec::new();
    for field in shape.fields() {
        let only = if field.read_only { "readonly " } else { "" };
        if shape.may_be_masked(field) {
            masked.push(field.name.as_str());
            let _ = writeln!(out, "  {only}{}?: Masked<{}>;", field.name, nullable(field));
        } else {
            let _ = writeln!(out, "  {only}{}: {};", field.name, nullable(field));
        }
    }
    if !masked.is_empty() {
        let _ = writeln!(out, "  /** Fields that are absent because you may not read them. */\n  readonly _masked?: ({})[];", union(&masked));
    }
    out.push_str("}\n");
}

fn body<'a>(out: &mut String, name: &str, fields: impl Iterator<Item = (&'a Field, bool)>) {
    let _ = writeln!(out, "export interface {name} {{");
    for (field, needed) in fields {
        let _ = writeln!(out, "  {}{}: {};", field.name, if needed { "" } else { "?" }, nullable(field));
    }
    out.push_str("}\n");
}

fn written(out: &mut String, shape: &Shape<'_>) {
    let _ = writeln!(out, "/** What creates one. */");
    body(out, &format!("{}Create", shape.row), shape.written());
    let _ = writeln!(
        out,
        "/** What changes one: what is absent stays, `null` takes a value away. */\nexport type {0}Patch = Partial<{0}Create>;",
        shape.row
    );
    for action in &shape.collection.actions {
        if action.input.declared().next().is_some() {
            let _ = writeln!(out, "/** What {} takes. */", action.name);
            let fields = action.input.declared().map(|(_, field)| (field, field.required && field.default.is_none()));
            body(out, &input(shape, &action.name), fields);
        }
    }
}

/// `approve` of an `Invoice` takes an `InvoiceApprove`.
fn input(shape: &Shape<'_>, action: &str) -> String {
    format!("{}{}", shape.row, capital(action))
}

fn filter(out: &mut String, shape: &Shape<'_>, all: &[Shape<'_>]) {
    let _ = writeln!(out, "/** What finds some of them. */\nexport interface {0}Where extends Joined<{0}Where> {{", shape.row);
    for field in shape.fields() {
        if let Some(test) = test(all, &Kind::of(&field.ty)) {
            let _ = writeln!(out, "  {}?: {test};", field.name);
        }
    }
    out.push_str("}\n");
}

fn test(all: &[Shape<'_>], kind: &Kind) -> Option<String> {
    let of = value(kind);
    let person = |to: usize| if to == haechi_model::USERS { " | Me" } else { "" };
    let test = match kind {
        Kind::Json => return None,
        Kind::Text => format!("{of} | Textual"),
        Kind::Id | Kind::Bool => format!("{of} | Equal<{of}>"),
        Kind::Ordered | Kind::Number | Kind::Enum(_) => format!("{of} | Compared<{of}>"),
        Kind::Refers(to) => format!("{of}{0} | Reference<{of}{0}, {1}Where>", person(*to), all[*to].row),
        Kind::List(inner) => {
            let me = if let Kind::Refers(to) = **inner { person(to) } else { "" };
            format!("Listing<{}{me}>", value(inner))
        }
    };
    Some(format!("{test} | null"))
}

fn client(out: &mut String, all: &[Shape<'_>]) {
    out.push_str("export declare class Haechi extends Client {\n");
    for shape in all {
        let mut missing = Vec::new();
        if !shape.creates() {
            missing.extend(["create", "upsert"]);
        } else if shape.keys().is_empty() {
            missing.push("upsert");
        }
        let of = format!("Collection<{}>", text(shape.name()));
        let mut of = if missing.is_empty() { of } else { format!("Omit<{of}, {}>", union(&missing)) };
        if !shape.collection.actions.is_empty() {
            of.push_str(" & {");
            for action in &shape.collection.actions {
                let input = if action.input.declared().next().is_none() {
                    "input?: undefined".to_owned()
                } else {
                    let optional = action.input.declared().all(|(_, field)| !field.required || field.default.is_some());
                    format!("input{}: {}", if optional { "?" } else { "" }, input(shape, &action.name))
                };
                let _ = write!(
                    of,
                    "\n    {}(id: string, {input}, options?: Versioned): Promise<Written<{}>>;",
                    free(&action.name, OF_COLLECTION),
                    text(shape.name())
                );
            }
            of.push_str("\n  }");
        }
        let _ = writeln!(out, "  readonly {}: {of};", free(shape.name(), OF_CLIENT));
    }
    out.push_str("}\n");
}
