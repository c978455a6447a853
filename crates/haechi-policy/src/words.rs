//! A part of a plan as Cedar's text, for explanations.

use crate::node::{EntityTy, Function, Node, Val};
use haechi_model::{App, Comparison, LikePart};
use std::fmt::Write;

/// Writes plans with the names of an app.
pub(crate) struct Words<'a> {
    pub(crate) app: &'a App,
}

impl Words<'_> {
    pub(crate) fn of(&self, node: &Node) -> String {
        match node {
            Node::Literal(value) => self.value(value),
            Node::Principal => "principal".to_owned(),
            Node::Resource => "resource".to_owned(),
            Node::Now => "context.now".to_owned(),
            Node::Fields => "context.fields".to_owned(),
            Node::Attribute { base, table, column, .. } => format!("{}.{}", self.part(base), self.field(*table, Some(*column))),
            Node::Group { base, group } => format!("{}.{}", self.part(base), group.name),
            Node::Has { base, table, column, .. } => format!("{} has {}", self.part(base), self.field(*table, *column)),
            Node::And(a, b) => format!("{} && {}", self.part(a), self.part(b)),
            Node::Or(a, b) => format!("{} || {}", self.part(a), self.part(b)),
            Node::Not(a) => match &**a {
                Node::Compare(a, Comparison::Equal, b) => format!("{} != {}", self.part(a), self.part(b)),
                a => format!("!({})", self.of(a)),
            },
            Node::If(a, b, c) => format!("if {} then {} else {}", self.of(a), self.of(b), self.of(c)),
            Node::Compare(a, comparison, b) => format!("{} {} {}", self.part(a), sign(*comparison), self.part(b)),
            Node::Add(a, b, subtract) => format!("{} {} {}", self.part(a), if *subtract { "-" } else { "+" }, self.part(b)),
            Node::Multiply(a, b) => format!("{} * {}", self.part(a), self.part(b)),
            Node::Since(a, b) => format!("{}.durationSince({})", self.part(a), self.of(b)),
            Node::Apply(Function::Negate, a) => format!("-{}", self.part(a)),
            Node::Apply(function, a) => format!("{}.{}()", self.part(a), function_name(*function)),
            Node::Like(a, parts) => format!("{} like \"{}\"", self.part(a), pattern(parts)),
            Node::Is(a, ty) => format!("{} is {}", self.part(a), self.entity(ty)),
            Node::In(a, b) => format!("{} in {}", self.part(a), self.part(b)),
            Node::Set(items) => format!("[{}]", items.iter().map(|item| self.of(item)).collect::<Vec<_>>().join(", ")),
            Node::Contains(a, b) => format!("{}.contains({})", self.part(a), self.of(b)),
            Node::ContainsAll(a, b) => format!("{}.containsAll({})", self.part(a), self.of(b)),
            Node::ContainsAny(a, b) => format!("{}.containsAny({})", self.part(a), self.of(b)),
            Node::IsEmpty(a) => format!("{}.isEmpty()", self.part(a)),
        }
    }

    /// Adds brackets around a part that joins others.
    fn part(&self, node: &Node) -> String {
        let joined = matches!(
            node,
            Node::And(..) | Node::Or(..) | Node::If(..) | Node::Compare(..) | Node::Like(..) | Node::Is(..) | Node::In(..) | Node::Has { .. }
        ) || matches!(node, Node::Not(inner) if matches!(**inner, Node::Compare(_, Comparison::Equal, _)))
            || matches!(node, Node::Add(..) | Node::Multiply(..));
        if joined { format!("({})", self.of(node)) } else { self.of(node) }
    }

    fn field(&self, table: usize, column: Option<usize>) -> &str {
        // The plan marks a `has` of an unknown field as such.
        column.map_or("(no such field)", |column| &self.app.collections[table].fields[column].name)
    }

    fn entity<'s>(&'s self, ty: &EntityTy) -> std::borrow::Cow<'s, str> {
        let name = match ty {
            EntityTy::Collection(id) => &self.app.collections[*id].name,
            EntityTy::Thing(kind) => return kind.type_name().into(),
            EntityTy::Role => "Role",
            EntityTy::Service => "services",
            EntityTy::Anonymous => "Anonymous",
            EntityTy::Action => "Action",
            EntityTy::Caller => "caller",
        };
        name.into()
    }

    pub(crate) fn value(&self, value: &Val) -> String {
        match value {
            Val::Bool(flag) => flag.to_string(),
            Val::Long(long) => long.to_string(),
            Val::Text(text) => quoted(text),
            Val::Decimal(scaled) => format!("decimal(\"{}\")", decimal(*scaled)),
            Val::Datetime(ms) => format!("datetime(\"{}\")", haechi_model::format_datetime(*ms)),
            Val::Duration(ms) => format!("duration(\"{ms}ms\")"),
            Val::Entity(ty, id) => format!("{}::{}", self.entity(ty), quoted(id)),
            Val::Set(items) => format!("[{}]", items.iter().map(|item| self.value(item)).collect::<Vec<_>>().join(", ")),
        }
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}

/// Four digits, without trailing zeros.
fn decimal(scaled: i64) -> String {
    let (sign, scaled) = (if scaled < 0 { "-" } else { "" }, scaled.unsigned_abs());
    let fraction = format!("{:04}", scaled % 10_000);
    let fraction = fraction.trim_end_matches('0');
    format!("{sign}{}.{}", scaled / 10_000, if fraction.is_empty() { "0" } else { fraction })
}

pub(crate) fn sign(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => "==",
        Comparison::NotEqual => "!=",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    }
}

fn function_name(function: Function) -> &'static str {
    match function {
        Function::Negate => "-",
        Function::ToDate => "toDate",
        Function::ToTime => "toTime",
        Function::ToMilliseconds => "toMilliseconds",
        Function::ToSeconds => "toSeconds",
        Function::ToMinutes => "toMinutes",
        Function::ToHours => "toHours",
        Function::ToDays => "toDays",
    }
}

fn pattern(parts: &[LikePart]) -> String {
    parts.iter().fold(String::new(), |mut out, part| {
        match part {
            LikePart::Any => out.push('*'),
            LikePart::Literal(text) => {
                let _ = write!(out, "{}", text.escape_debug().to_string().replace('*', "\\*"));
            }
        }
        out
    })
}
