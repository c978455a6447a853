//! Typed conditions over rows. The store renders them to SQL; here they are evaluated in memory.
//!
//! A condition holds or does not hold; a comparison with a NULL operand does not hold. There is no plain NOT:
//! [`Predicate::NotTrue`] is `IS NOT TRUE`, which is safe over NULL.

use crate::{
    group::Group,
    list::{Elements, Relation},
    operand::Operand,
    value::Value,
};
use std::{cmp::Ordering, sync::Arc};

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// =
    Equal,
    /// <>
    NotEqual,
    /// <
    Less,
    /// <=
    LessOrEqual,
    /// >
    Greater,
    /// >=
    GreaterOrEqual,
}

impl Comparison {
    /// The comparison that holds exactly when this one does not, for non-NULL operands.
    #[must_use]
    pub fn inverse(self) -> Self {
        match self {
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
            Self::Less => Self::GreaterOrEqual,
            Self::LessOrEqual => Self::Greater,
            Self::Greater => Self::LessOrEqual,
            Self::GreaterOrEqual => Self::Less,
        }
    }

    /// The same with its operands swapped.
    #[must_use]
    pub fn mirrored(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            same => same,
        }
    }

    pub(crate) fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// A part of a `like` pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LikePart {
    /// These characters, exactly.
    Literal(Box<str>),
    /// Any characters, or none.
    Any,
}

/// A condition.
#[derive(Clone, Debug, PartialEq)]
pub enum Predicate {
    /// Always.
    True,
    /// Never.
    False,
    /// All of them.
    All(Vec<Predicate>),
    /// At least one.
    Any(Vec<Predicate>),
    /// The inner one does not hold.
    NotTrue(Box<Predicate>),
    /// A comparison.
    Compare(Operand, Comparison, Operand),
    /// The operand equals one of the values.
    OneOf(Operand, Vec<Value>),
    /// The operand is not NULL and equals none of the values.
    NoneOf(Operand, Vec<Value>),
    /// The operand is NULL.
    IsNull(Operand),
    /// The operand is not NULL.
    NotNull(Operand),
    /// The text matches (`true`) or does not match (`false`) the pattern.
    Like(Operand, Vec<LikePart>, bool),
    /// The id names a row for which the inner condition holds.
    Reference {
        /// The id.
        from: Operand,
        /// Index of the table it refers to.
        table: usize,
        /// The condition there.
        inner: Box<Predicate>,
    },
    /// The list holds (`true`) or does not hold (`false`) the element.
    Contains {
        /// A list.
        list: Operand,
        /// The element sought.
        element: Operand,
        /// Which of the two.
        expected: bool,
    },
    /// The list is empty (`true`) or not (`false`).
    Empty(Operand, bool),
    /// The list stands in the relation to the elements (`true`) or does not (`false`).
    Related {
        /// A list.
        list: Operand,
        /// Which relation.
        relation: Relation,
        /// The elements.
        elements: Elements,
        /// Which of the two.
        expected: bool,
    },
    /// The person is in the group of the row that the id names, or of one of its ancestors.
    Member {
        /// The id of the row.
        of: Operand,
        /// Which of its groups.
        group: Arc<Group>,
        /// The person's id.
        who: Operand,
    },
    /// The row's ancestors are few enough to say who is not in an inherited group.
    Shallow {
        /// The id of the row.
        of: Operand,
        /// Which of its groups.
        group: Arc<Group>,
    },
}

/// Adds a part to a conjunction. Of two bounds on the same side of a value only the narrower stays: databases use only one.
fn narrow(kept: &mut Vec<Predicate>, part: Predicate) {
    if kept.contains(&part) {
        return;
    }
    if let Some((value, upper, bound)) = int_bound(&part) {
        let same = kept.iter_mut().find_map(|other| match int_bound(other) {
            Some((of, side, at)) if of == value && side == upper => Some((at, other)),
            _ => None,
        });
        if let Some((at, other)) = same {
            if if upper { bound < at } else { bound > at } {
                *other = part;
            }
            return;
        }
    }
    kept.push(part);
}

/// A bound of a whole number: the value, whether it is below, and the limit. Halves tell `>` from `>=`.
fn int_bound(part: &Predicate) -> Option<(&Operand, bool, i128)> {
    let Predicate::Compare(value, comparison, Operand::Constant(Value::Int(bound))) = part else { return None };
    let bound = 2 * i128::from(*bound);
    match comparison {
        Comparison::Less => Some((value, true, bound - 1)),
        Comparison::LessOrEqual => Some((value, true, bound)),
        Comparison::Greater => Some((value, false, bound + 1)),
        Comparison::GreaterOrEqual => Some((value, false, bound)),
        Comparison::Equal | Comparison::NotEqual => None,
    }
}

impl Predicate {
    /// Whether checking one row is cheap: it searches no text and walks no list of the row.
    #[must_use]
    pub fn is_light(&self) -> bool {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().all(Self::is_light),
            Self::NotTrue(inner) | Self::Reference { inner, .. } => inner.is_light(),
            Self::Like(..) | Self::Contains { .. } | Self::Empty(..) | Self::Related { .. } => false,
            Self::True
            | Self::False
            | Self::Compare(..)
            | Self::OneOf(..)
            | Self::NoneOf(..)
            | Self::IsNull(_)
            | Self::NotNull(_)
            | Self::Member { .. }
            | Self::Shallow { .. } => true,
        }
    }

    /// All of them, simplified.
    #[must_use]
    pub fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut kept: Vec<Self> = Vec::new();
        for part in parts {
            match part {
                Self::True => {}
                Self::False => return Self::False,
                Self::All(inner) => inner.into_iter().for_each(|part| narrow(&mut kept, part)),
                part => narrow(&mut kept, part),
            }
        }
        match kept.len() {
            0 => Self::True,
            1 => kept.remove(0),
            _ => Self::All(kept),
        }
    }

    /// At least one of them, simplified.
    #[must_use]
    pub fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut kept: Vec<Self> = Vec::new();
        for part in parts {
            match part {
                Self::False => {}
                Self::True => return Self::True,
                Self::Any(inner) => inner.into_iter().for_each(|part| {
                    if !kept.contains(&part) {
                        kept.push(part)
                    }
                }),
                part => {
                    if !kept.contains(&part) {
                        kept.push(part)
                    }
                }
            }
        }
        match kept.len() {
            0 => Self::False,
            1 => kept.remove(0),
            _ => Self::Any(kept),
        }
    }

    /// Does not hold, simplified.
    #[must_use]
    pub fn not_true(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            inner => Self::NotTrue(Box::new(inner)),
        }
    }

    /// A reference's condition, simplified.
    #[must_use]
    pub fn reference(from: Operand, table: usize, inner: Self) -> Self {
        if inner == Self::False { Self::False } else { Self::Reference { from, table, inner: Box::new(inner) } }
    }

    /// A list's relation to elements, simplified.
    #[must_use]
    pub fn related(list: Operand, relation: Relation, elements: Elements, expected: bool) -> Self {
        match (relation, &elements) {
            (Relation::Overlaps, Elements::These(these)) if these.is_empty() => {
                if expected {
                    Self::False
                } else {
                    Self::NotNull(list)
                }
            }
            (Relation::Within, Elements::These(these)) if these.is_empty() => Self::Empty(list, expected),
            _ => Self::Related { list, relation, elements, expected },
        }
    }

    /// A comparison, folded when both sides are known.
    #[must_use]
    pub fn compare(left: Operand, comparison: Comparison, right: Operand) -> Self {
        if let (Operand::Constant(left), Operand::Constant(right)) = (&left, &right) {
            return if left.compare(right).is_some_and(|order| comparison.holds(order)) { Self::True } else { Self::False };
        }
        Self::Compare(left, comparison, right)
    }

    /// Whether the row alone decides the condition.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::True | Self::False => true,
            Self::All(parts) | Self::Any(parts) => parts.iter().all(Self::is_local),
            Self::NotTrue(inner) => inner.is_local(),
            Self::Compare(left, _, right) => left.is_local() && right.is_local(),
            Self::OneOf(operand, _)
            | Self::NoneOf(operand, _)
            | Self::IsNull(operand)
            | Self::NotNull(operand)
            | Self::Like(operand, ..)
            | Self::Empty(operand, _) => operand.is_local(),
            Self::Reference { .. } | Self::Member { .. } | Self::Shallow { .. } => false,
            Self::Contains { list, element, .. } => list.is_local() && element.is_local(),
            Self::Related { list, elements, .. } => list.is_local() && elements.operands().iter().all(Operand::is_local),
        }
    }

    /// Whether it reads any of these columns of the current row.
    #[must_use]
    pub fn reads_any(&self, columns: &[usize]) -> bool {
        match self {
            Self::True | Self::False => false,
            Self::All(parts) | Self::Any(parts) => parts.iter().any(|part| part.reads_any(columns)),
            Self::NotTrue(inner) => inner.reads_any(columns),
            Self::Compare(left, _, right) => left.reads_any(columns) || right.reads_any(columns),
            Self::OneOf(operand, _)
            | Self::NoneOf(operand, _)
            | Self::IsNull(operand)
            | Self::NotNull(operand)
            | Self::Like(operand, ..)
            | Self::Empty(operand, _) => operand.reads_any(columns),
            Self::Reference { from, .. } => from.reads_any(columns),
            Self::Member { of, who, .. } => of.reads_any(columns) || who.reads_any(columns),
            Self::Shallow { of, .. } => of.reads_any(columns),
            Self::Contains { list, element, .. } => list.reads_any(columns) || element.reads_any(columns),
            Self::Related { list, elements, .. } => list.reads_any(columns) || elements.operands().iter().any(|element| element.reads_any(columns)),
        }
    }

    /// The same condition with a row's values in place of its columns: it no longer needs the row.
    #[must_use]
    pub fn of_row(&self, row: &[Value]) -> Self {
        self.with_columns(&|column| Operand::Constant(row[column].clone()))
    }

    /// The same condition with other operands in place of the current row's columns.
    #[must_use]
    pub fn with_columns(&self, column: &dyn Fn(usize) -> Operand) -> Self {
        let all = |parts: &[Self]| parts.iter().map(|part| part.with_columns(column)).collect::<Vec<_>>();
        match self {
            Self::True | Self::False => self.clone(),
            Self::All(parts) => Self::all(all(parts)),
            Self::Any(parts) => Self::any(all(parts)),
            Self::NotTrue(inner) => inner.with_columns(column).not_true(),
            Self::Compare(left, comparison, right) => Self::Compare(left.with_columns(column), *comparison, right.with_columns(column)),
            Self::OneOf(operand, values) => Self::OneOf(operand.with_columns(column), values.clone()),
            Self::NoneOf(operand, values) => Self::NoneOf(operand.with_columns(column), values.clone()),
            Self::IsNull(operand) => Self::IsNull(operand.with_columns(column)),
            Self::NotNull(operand) => Self::NotNull(operand.with_columns(column)),
            Self::Like(operand, parts, expected) => Self::Like(operand.with_columns(column), parts.clone(), *expected),
            Self::Reference { from, table, inner } => Self::Reference { from: from.with_columns(column), table: *table, inner: inner.clone() },
            Self::Member { of, group, who } => Self::Member { of: of.with_columns(column), group: group.clone(), who: who.with_columns(column) },
            Self::Shallow { of, group } => Self::Shallow { of: of.with_columns(column), group: group.clone() },
            Self::Contains { list, element, expected } => {
                Self::Contains { list: list.with_columns(column), element: element.with_columns(column), expected: *expected }
            }
            Self::Empty(operand, expected) => Self::Empty(operand.with_columns(column), *expected),
            Self::Related { list, relation, elements, expected } => {
                Self::related(list.with_columns(column), *relation, elements.with_columns(column), *expected)
            }
        }
    }

    /// Collects the tables, other than the row's own, that it reads.
    pub fn looks_into(&self, tables: &mut Vec<usize>) {
        match self {
            Self::True | Self::False => {}
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.looks_into(tables)),
            Self::NotTrue(inner) => inner.looks_into(tables),
            Self::Compare(left, _, right) => {
                left.looks_into(tables);
                right.looks_into(tables);
            }
            Self::OneOf(operand, _)
            | Self::NoneOf(operand, _)
            | Self::IsNull(operand)
            | Self::NotNull(operand)
            | Self::Like(operand, ..)
            | Self::Empty(operand, _) => operand.looks_into(tables),
            Self::Reference { from, table, inner } => {
                tables.push(*table);
                from.looks_into(tables);
                inner.looks_into(tables);
            }
            // A group's rows concern only those whom they name: see `each_group`.
            Self::Member { of, who, .. } => {
                of.looks_into(tables);
                who.looks_into(tables);
            }
            Self::Shallow { of, .. } => of.looks_into(tables),
            Self::Contains { list, element, .. } => {
                list.looks_into(tables);
                element.looks_into(tables);
            }
            Self::Related { list, elements, .. } => {
                list.looks_into(tables);
                elements.operands().iter().for_each(|element| element.looks_into(tables));
            }
        }
    }

    /// Reports each group that it asks, and who the person is, where it is known.
    pub fn each_group(&self, see: &mut dyn FnMut(&Arc<Group>, Option<&str>)) {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.each_group(see)),
            Self::NotTrue(inner) | Self::Reference { inner, .. } => inner.each_group(see),
            Self::Member { group, who: Operand::Constant(who), .. } => see(group, who.as_text()),
            Self::Member { group, .. } | Self::Shallow { group, .. } => see(group, None),
            Self::Compare(left, _, right) => {
                left.each_group(see);
                right.each_group(see);
            }
            Self::OneOf(operand, _)
            | Self::NoneOf(operand, _)
            | Self::IsNull(operand)
            | Self::NotNull(operand)
            | Self::Like(operand, ..)
            | Self::Empty(operand, _) => operand.each_group(see),
            Self::Contains { list, element, .. } => {
                list.each_group(see);
                element.each_group(see);
            }
            Self::Related { list, elements, .. } => {
                list.each_group(see);
                elements.operands().iter().for_each(|element| element.each_group(see));
            }
            Self::True | Self::False => {}
        }
    }

    /// How many nodes it has.
    #[must_use]
    pub fn size(&self) -> usize {
        1 + match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().map(Self::size).sum(),
            Self::NotTrue(inner) | Self::Reference { inner, .. } => inner.size(),
            Self::OneOf(_, values) | Self::NoneOf(_, values) => values.len(),
            Self::Related { elements, .. } => elements.operands().len(),
            _ => 1,
        }
    }
}

/// Unicode full case folding: what `case = "fold"` compares.
#[must_use]
pub fn fold_case(text: &str) -> String {
    caseless::default_case_fold_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_simplifies_without_changing_meaning() {
        let column = Predicate::Compare(Operand::Column(0), Comparison::Equal, Operand::Constant(Value::Int(1)));
        assert_eq!(Predicate::all([Predicate::True, column.clone(), column.clone()]), column);
        assert_eq!(Predicate::any([column.clone(), Predicate::True]), Predicate::True);
        assert_eq!(Predicate::all([]), Predicate::True);
        assert_eq!(Predicate::any([]), Predicate::False);
    }

    #[test]
    fn the_narrower_of_two_bounds_stays() {
        let bound = |comparison, at| Predicate::Compare(Operand::Column(0), comparison, Operand::Constant(Value::Int(at)));
        let (low, high) = (bound(Comparison::GreaterOrEqual, 10), bound(Comparison::Less, 20));
        let wider = [bound(Comparison::Greater, 8), low.clone(), bound(Comparison::LessOrEqual, 20), high.clone()];
        assert_eq!(Predicate::all(wider.clone()), Predicate::All(vec![low.clone(), high.clone()]));
        assert_eq!(Predicate::all(wider.into_iter().rev()), Predicate::All(vec![high, low.clone()]));
        // The end of the range has no next number.
        let none = bound(Comparison::Greater, i64::MAX);
        assert_eq!(Predicate::all([low.clone(), none.clone()]), none);
        let other = Predicate::Compare(Operand::Column(1), Comparison::GreaterOrEqual, Operand::Constant(Value::Int(1)));
        assert_eq!(Predicate::all([low.clone(), other.clone()]), Predicate::All(vec![low, other]));
    }
}
