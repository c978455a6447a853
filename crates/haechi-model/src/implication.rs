//! Whether one condition implies another on every row: proven from their forms, without any row.

use crate::{
    operand::Operand,
    predicate::{Comparison, Predicate},
    value::Value,
};
use std::cell::Cell;

/// Most steps of one proof: the cases of nested alternatives multiply.
const MAX_STEPS: u32 = 10_000;

impl Predicate {
    /// Whether this condition implies `other`. Only compares conjuncts for equality or inclusion: cheap enough for each request.
    #[must_use]
    pub fn implies(&self, other: &Self) -> bool {
        if self == other || *other == Self::True || *self == Self::False {
            return true;
        }
        match (self, other) {
            (_, Self::All(wanted)) => wanted.iter().all(|part| self.implies(part)),
            (Self::All(parts), _) => parts.contains(other),
            _ => false,
        }
    }

    /// The same with everything that the forms show: alternatives, ranges, lists of values, references.
    ///
    /// `true` is a proof; `false` only says that none was found. It takes too long for a request.
    #[must_use]
    pub fn proves(&self, other: &Self) -> bool {
        self.proven(other, &Cell::new(MAX_STEPS))
    }

    fn proven(&self, other: &Self, steps: &Cell<u32>) -> bool {
        // Cheap checks come before those that try cases.
        let among = |other: &Self| matches!(other, Self::Any(alternatives) if alternatives.iter().any(|each| self.implies(each)));
        if self.implies(other) || among(other) {
            return true;
        }
        if steps.get() == 0 {
            return false;
        }
        steps.set(steps.get() - 1);
        match (self, other) {
            (Self::Any(alternatives), _) => return alternatives.iter().all(|each| each.proven(other, steps)),
            (_, Self::All(wanted)) => return wanted.iter().all(|part| self.proven(part, steps)),
            (Self::All(parts), _) if Self::all_prove(parts, other, steps) => return true,
            _ => {}
        }
        match other {
            Self::Any(alternatives) => alternatives.iter().any(|each| self.proven(each, steps)),
            Self::NotTrue(inner) => self.excludes(inner, steps),
            _ => self.atom_proves(other, steps),
        }
    }

    fn all_prove(parts: &[Self], other: &Self, steps: &Cell<u32>) -> bool {
        if parts.iter().any(|part| part.proven(other, steps)) {
            return true;
        }
        if parts.iter().enumerate().any(|(at, one)| parts[..at].iter().any(|two| one.excludes(two, steps))) {
            return true;
        }
        // Each alternative among the parts is a separate case.
        let found = parts.iter().enumerate().find_map(|(at, part)| if let Self::Any(alternatives) = part { Some((at, alternatives)) } else { None });
        let Some((at, alternatives)) = found else { return false };
        let rest = || parts[..at].iter().chain(&parts[at + 1..]).cloned();
        alternatives.iter().all(|each| Self::all(rest().chain([each.clone()])).proven(other, steps))
    }

    /// Whether the two can never hold for the same row.
    fn excludes(&self, other: &Self, steps: &Cell<u32>) -> bool {
        if steps.get() == 0 {
            return false;
        }
        steps.set(steps.get() - 1);
        match (self, other) {
            (Self::False, _) | (_, Self::False) => true,
            (Self::Any(parts), _) => parts.iter().all(|part| part.excludes(other, steps)),
            (_, Self::Any(parts)) => parts.iter().all(|part| self.excludes(part, steps)),
            (Self::All(parts), _) => parts.iter().any(|part| part.excludes(other, steps)),
            (_, Self::All(parts)) => parts.iter().any(|part| self.excludes(part, steps)),
            (Self::NotTrue(inner), _) => other.proven(inner, steps),
            (_, Self::NotTrue(inner)) => self.proven(inner, steps),
            (Self::IsNull(operand), _) => other.needs(operand),
            (_, Self::IsNull(operand)) => self.needs(operand),
            (Self::Reference { from, table, inner }, Self::Reference { from: other_from, table: other_table, inner: other_inner }) => {
                from == other_from && table == other_table && inner.excludes(other_inner, steps)
            }
            (Self::Contains { list, element, expected }, Self::Contains { list: other_list, element: other_element, expected: other_expected }) => {
                list == other_list && element == other_element && expected != other_expected
            }
            (Self::Empty(list, expected), Self::Empty(other_list, other_expected)) => list == other_list && expected != other_expected,
            (Self::Like(text, pattern, expected), Self::Like(other_text, other_pattern, other_expected)) => {
                text == other_text && pattern == other_pattern && expected != other_expected
            }
            _ => match (self.values(), other.values()) {
                (Some((operand, these)), Some((other_operand, those))) => operand == other_operand && these.apart(&those),
                _ => false,
            },
        }
    }

    fn atom_proves(&self, other: &Self, steps: &Cell<u32>) -> bool {
        match (self, other) {
            (_, Self::NotNull(operand)) => self.needs(operand),
            (Self::Reference { from, table, inner }, Self::Reference { from: other_from, table: other_table, inner: other_inner }) => {
                from == other_from && table == other_table && inner.proven(other_inner, steps)
            }
            _ => match (self.values(), other.values()) {
                (Some((operand, these)), Some((other_operand, those))) => operand == other_operand && these.within(&those),
                _ => false,
            },
        }
    }

    /// Whether it holds only where the operand is not NULL.
    fn needs(&self, operand: &Operand) -> bool {
        match self {
            Self::False => true,
            Self::All(parts) => parts.iter().any(|part| part.needs(operand)),
            Self::Any(parts) => parts.iter().all(|part| part.needs(operand)),
            Self::Compare(left, _, right) => left == operand || right == operand,
            Self::OneOf(of, _) | Self::NoneOf(of, _) | Self::NotNull(of) | Self::Like(of, ..) | Self::Empty(of, _) => of == operand,
            Self::Reference { from, .. } => from == operand,
            Self::Member { of, who, .. } => of == operand || who == operand,
            Self::Shallow { of, .. } => of == operand,
            Self::Contains { list, element, .. } => list == operand || element == operand,
            Self::Related { list, .. } => list == operand,
            Self::True | Self::NotTrue(_) | Self::IsNull(_) => false,
        }
    }

    /// The values that it allows for one operand, if it compares one operand with known values.
    fn values(&self) -> Option<(&Operand, Values<'_>)> {
        match self {
            // A comparison with NULL never holds.
            Self::Compare(operand, comparison, Operand::Constant(value)) if !value.is_null() => Some((operand, Values::Beside(*comparison, value))),
            Self::OneOf(operand, values) => Some((operand, Values::Among(values))),
            Self::NoneOf(operand, values) => Some((operand, Values::Outside(values))),
            _ => None,
        }
    }
}

/// Values that are not NULL.
enum Values<'a> {
    Beside(Comparison, &'a Value),
    Among(&'a [Value]),
    Outside(&'a [Value]),
}

impl Values<'_> {
    fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Beside(comparison, bound) => value.compare(bound).is_some_and(|order| comparison.holds(order)),
            Self::Among(values) => values.contains(value),
            Self::Outside(values) => !value.is_null() && !values.contains(value),
        }
    }

    /// The values one by one, when they are few.
    fn listed(&self) -> Option<&[Value]> {
        match self {
            Self::Among(values) => Some(values),
            Self::Beside(Comparison::Equal, value) => Some(std::slice::from_ref(value)),
            _ => None,
        }
    }

    /// The excluded values, when only those are excluded.
    fn left_out(&self) -> Option<&[Value]> {
        match self {
            Self::Outside(values) => Some(values),
            Self::Beside(Comparison::NotEqual, value) => Some(std::slice::from_ref(value)),
            _ => None,
        }
    }

    /// Whether each of these is one of those.
    fn within(&self, those: &Self) -> bool {
        if let Some(values) = self.listed() {
            return values.iter().all(|value| those.holds(value));
        }
        if let Some(outside) = those.left_out() {
            return match self.left_out() {
                Some(mine) => outside.iter().all(|value| mine.contains(value)),
                None => outside.iter().all(|value| !self.holds(value)),
            };
        }
        let (Self::Beside(mine, low), Self::Beside(theirs, high)) = (self, those) else { return false };
        let Some(order) = low.compare(high) else { return false };
        match (mine, theirs) {
            (Comparison::Less, Comparison::Less | Comparison::LessOrEqual) => order.is_le(),
            (Comparison::LessOrEqual, Comparison::LessOrEqual) => order.is_le(),
            (Comparison::LessOrEqual, Comparison::Less) => order.is_lt(),
            (Comparison::Greater, Comparison::Greater | Comparison::GreaterOrEqual) => order.is_ge(),
            (Comparison::GreaterOrEqual, Comparison::GreaterOrEqual) => order.is_ge(),
            (Comparison::GreaterOrEqual, Comparison::Greater) => order.is_gt(),
            _ => false,
        }
    }

    /// Whether no value is in both.
    fn apart(&self, those: &Self) -> bool {
        match (self.listed(), those.listed()) {
            (Some(values), _) => return values.iter().all(|value| !those.holds(value)),
            (_, Some(values)) => return values.iter().all(|value| !self.holds(value)),
            _ => {}
        }
        let (Self::Beside(mine, low), Self::Beside(theirs, high)) = (self, those) else { return false };
        let Some(order) = low.compare(high) else { return false };
        match (mine, theirs) {
            (Comparison::Less, Comparison::Greater | Comparison::GreaterOrEqual) | (Comparison::LessOrEqual, Comparison::Greater) => order.is_le(),
            (Comparison::LessOrEqual, Comparison::GreaterOrEqual) => order.is_lt(),
            (Comparison::Greater, Comparison::Less | Comparison::LessOrEqual) | (Comparison::GreaterOrEqual, Comparison::Less) => order.is_ge(),
            (Comparison::GreaterOrEqual, Comparison::LessOrEqual) => order.is_gt(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(comparison: Comparison, bound: i64) -> Predicate {
        Predicate::Compare(Operand::Column(1), comparison, Operand::Constant(Value::Int(bound)))
    }

    fn is(column: usize, text: &str) -> Predicate {
        Predicate::Compare(Operand::Column(column), Comparison::Equal, Operand::Constant(Value::text(text)))
    }

    #[test]
    fn what_follows_is_proven_and_what_does_not_is_not() {
        let one_of = |words: &[&str]| Predicate::OneOf(Operand::Column(2), words.iter().map(|word| Value::text(*word)).collect());
        let (less, more) = (beside(Comparison::Less, 5), beside(Comparison::LessOrEqual, 5));
        let deep = |inner: Predicate| Predicate::reference(Operand::Column(3), 0, inner);
        let follows = [
            (less.clone(), more.clone()),
            (beside(Comparison::Equal, 3), less.clone()),
            (is(2, "open"), one_of(&["open", "done"])),
            (one_of(&["open"]), Predicate::NotNull(Operand::Column(2))),
            (Predicate::all([less.clone(), is(2, "open")]), more.clone()),
            (less.clone(), Predicate::any([is(2, "open"), more.clone()])),
            (Predicate::any([less.clone(), beside(Comparison::Equal, 5)]), more.clone()),
            (Predicate::all([Predicate::any([less.clone(), beside(Comparison::Equal, 5)]), is(2, "a")]), Predicate::all([is(2, "a"), more.clone()])),
            (deep(Predicate::all([less.clone(), is(2, "a")])), deep(more.clone())),
            (Predicate::IsNull(Operand::Column(1)), more.clone().not_true()),
            (more.clone().not_true(), less.clone().not_true()),
            (beside(Comparison::Greater, 7), less.clone().not_true()),
            (Predicate::all([less.clone(), beside(Comparison::Greater, 7)]), is(2, "anything")),
        ];
        for (one, two) in follows {
            assert!(one.proves(&two), "{one:?} makes {two:?} hold");
        }
        let not = [
            (more.clone(), less.clone()),
            (one_of(&["open", "done"]), is(2, "open")),
            (is(2, "open"), is(3, "open")),
            (Predicate::any([less.clone(), is(2, "a")]), less.clone()),
            (less.clone().not_true(), beside(Comparison::GreaterOrEqual, 5)),
            (deep(more.clone()), deep(less.clone())),
            (Predicate::True, less.clone()),
            (Predicate::NotNull(Operand::Column(2)), is(2, "a")),
        ];
        for (one, two) in not {
            assert!(!one.proves(&two), "{one:?} does not make {two:?} hold");
        }
    }
}
