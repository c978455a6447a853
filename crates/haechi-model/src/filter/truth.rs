//! A filter's tree to the condition under which it is false for sure: for checks, which a value that is not there never breaks.

use super::{
    FilterError, MAX_BYTES,
    lex::lex,
    parse::{Tree, parse},
    resolve::Resolver,
};
use crate::{
    collection::Collection,
    positions::FieldId,
    predicate::{Comparison, Predicate},
};

/// What a check says.
pub(crate) struct Truth {
    /// When it is false for sure.
    pub(crate) broken: Predicate,
    /// The fields that it looks at.
    pub(crate) fields: Vec<FieldId>,
}

/// Reads a check: a filter in which a bare word may be another field of the row.
pub(crate) fn read_check(text: &str, collection: &Collection) -> Result<Truth, FilterError> {
    if text.trim().is_empty() || text.len() > MAX_BYTES {
        return Err(FilterError { column: 1, what: format!("a check has 1 to {MAX_BYTES} bytes") });
    }
    let mut resolver = Resolver::between_fields(collection);
    let tree = parse(&lex(text)?, text.chars().count() + 1)?;
    let broken = is(&mut resolver, &tree, false)?;
    let mut fields: Vec<FieldId> = Vec::new();
    for field in resolver.fields {
        if !fields.contains(&field) {
            fields.push(field);
        }
    }
    Ok(Truth { broken, fields })
}

/// When the tree is true for sure, or false for sure.
fn is(resolver: &mut Resolver<'_>, tree: &Tree, truth: bool) -> Result<Predicate, FilterError> {
    let mut each = |parts: &[Tree]| parts.iter().map(|part| is(resolver, part, truth)).collect::<Result<Vec<_>, _>>();
    Ok(match tree {
        Tree::And(parts) if truth => Predicate::all(each(parts)?),
        Tree::Or(parts) if !truth => Predicate::all(each(parts)?),
        Tree::And(parts) | Tree::Or(parts) => Predicate::any(each(parts)?),
        Tree::Not(inner) => is(resolver, inner, !truth)?,
        Tree::Restriction { field, column, operator, values } => {
            let (operator, wanted) = if *operator == "!=" { ("=", !truth) } else { (*operator, truth) };
            let said = resolver.restriction(field, *column, operator, values)?;
            if wanted { said } else { opposite(said) }
        }
    })
}

/// What is true where a comparison is false, and not where it says nothing.
fn opposite(said: Predicate) -> Predicate {
    match said {
        Predicate::Compare(left, comparison, right) => Predicate::Compare(left, Comparison::inverse(comparison), right),
        Predicate::IsNull(operand) => Predicate::NotNull(operand),
        Predicate::NotNull(operand) => Predicate::IsNull(operand),
        Predicate::Contains { list, element, expected } => Predicate::Contains { list, element, expected: !expected },
        Predicate::OneOf(operand, values) => Predicate::NoneOf(operand, values),
        Predicate::Like(operand, parts, expected) => Predicate::Like(operand, parts, !expected),
        other => other.not_true(),
    }
}
