//! Conditions, evaluated in memory.

use crate::{
    group::Group,
    list::items,
    lookup::{Alone, Lookup},
    predicate::{LikePart, Predicate},
    value::Value,
};

impl Predicate {
    /// Evaluates it over a row.
    #[must_use]
    pub fn holds(&self, row: &[Value], rows: &dyn Lookup) -> bool {
        match self {
            Self::True => true,
            Self::False => false,
            Self::All(parts) => parts.iter().all(|part| part.holds(row, rows)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(row, rows)),
            Self::NotTrue(inner) => !inner.holds(row, rows),
            Self::Compare(left, comparison, right) => {
                let (left, right) = (left.value(row, rows), right.value(row, rows));
                left.compare(&right).is_some_and(|order| comparison.holds(order))
            }
            Self::OneOf(operand, values) => {
                let value = operand.value(row, rows);
                !value.is_null() && values.contains(&value)
            }
            Self::NoneOf(operand, values) => {
                let value = operand.value(row, rows);
                !value.is_null() && !values.contains(&value)
            }
            Self::IsNull(operand) => operand.value(row, rows).is_null(),
            Self::NotNull(operand) => !operand.value(row, rows).is_null(),
            Self::Like(operand, parts, expected) => match operand.value(row, rows) {
                Value::Text(text) => like(&text, parts) == *expected,
                _ => false,
            },
            Self::Reference { from, table, inner } => match from.value(row, rows) {
                Value::Text(id) => rows.row(*table, &id).is_some_and(|row| inner.holds(&row, rows)),
                _ => false,
            },
            Self::Contains { list, element, expected } => {
                let (list, element) = (list.value(row, rows), element.value(row, rows));
                match (items(&list), element.is_null()) {
                    (Some(items), false) => items.contains(&element) == *expected,
                    _ => false,
                }
            }
            Self::Empty(list, expected) => items(&list.value(row, rows)).is_some_and(|items| items.is_empty() == *expected),
            Self::Related { list, relation, elements, expected } => match (items(&list.value(row, rows)), elements.values(row, rows)) {
                (Some(items), Some(elements)) => relation.holds(&items, &elements) == *expected,
                _ => false,
            },
            Self::Member { of, group, who } => match (of.value(row, rows), who.value(row, rows)) {
                (Value::Text(of), Value::Text(who)) => chain(group, &of, rows).0.iter().any(|of| rows.joined(group, of, &who)),
                _ => false,
            },
            Self::Shallow { of, group } => match of.value(row, rows) {
                Value::Text(of) => chain(group, &of, rows).1,
                _ => false,
            },
        }
    }
}

impl Group {
    /// Whether a row of the joining collection puts the person into the group of that very row.
    #[must_use]
    pub fn joins(&self, joining: &[Value], of: &str, who: &str) -> bool {
        joining[self.by].as_text() == Some(of) && joining[self.who].as_text() == Some(who) && self.filter.holds(joining, &Alone)
    }
}

/// The row and its ancestors, as far as an inherited group looks at them, and whether they are all of them.
fn chain(group: &Group, of: &str, rows: &dyn Lookup) -> (Vec<Box<str>>, bool) {
    group.chain(&of.into(), |id| {
        let row = rows.row(group.of, id)?;
        row.get(group.inherits?)?.as_text().map(Into::into)
    })
}

/// Matches without backtracking over more than one wildcard at a time.
fn like(text: &str, parts: &[LikePart]) -> bool {
    let mut rest = text;
    let mut floating = false;
    for (at, part) in parts.iter().enumerate() {
        match part {
            LikePart::Any => floating = true,
            LikePart::Literal(literal) => {
                let last = at + 1 == parts.len();
                if !floating {
                    match rest.strip_prefix(&**literal) {
                        Some(after) => rest = after,
                        None => return false,
                    }
                } else if last {
                    return rest.ends_with(&**literal);
                } else {
                    match rest.find(&**literal) {
                        Some(found) => rest = &rest[found + literal.len()..],
                        None => return false,
                    }
                }
                floating = false;
            }
        }
    }
    floating || rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_matches_as_cedar_does() {
        let lit = |text: &str| LikePart::Literal(text.into());
        let pattern = [lit("a"), LikePart::Any, lit("b"), LikePart::Any, lit("c")];
        assert!(like("axxbyyc", &pattern));
        assert!(like("abc", &pattern));
        assert!(!like("axxc", &pattern));
        assert!(!like("abcx", &pattern));
        assert!(like("", &[]));
        assert!(like("anything", &[LikePart::Any]));
        assert!(like("aab", &[LikePart::Any, lit("ab")]));
        assert!(!like("x", &[]));
    }
}
