//! Sets in conditions: known ones, a row's lists, and set literals with values of rows.

use crate::{
    bind::Binder,
    mutation::{Mutation, mutated},
    node::{Node, Ty, Val},
    scalar::{Scalar, Truth, equal_scalars, lift, lifted, present, stored, there},
};
use haechi_model::{Elements, Operand, Predicate, Relation};

impl Binder<'_> {
    /// A set literal. An error in one item is an error of the whole.
    pub(crate) fn set(&self, items: &[Node]) -> Scalar {
        let items: Vec<Scalar> = items.iter().map(|item| self.scalar(item)).collect();
        if items.iter().any(|item| matches!(item, Scalar::Error)) {
            return Scalar::Error;
        }
        if items.iter().any(|item| !matches!(item, Scalar::Known(_))) {
            return Scalar::Set(items);
        }
        let mut values: Vec<Val> = items.into_iter().filter_map(|item| if let Scalar::Known(value) = item { Some(value) } else { None }).collect();
        values.sort();
        values.dedup();
        Scalar::Known(Val::Set(values))
    }

    pub(crate) fn contains(&self, set: &Node, element: &Node) -> Truth {
        match (self.scalar(set), self.scalar(element)) {
            (Scalar::Error, _) | (_, Scalar::Error) => Truth::error(),
            (set, element) => has(&set, &element),
        }
    }

    pub(crate) fn contains_all(&self, set: &Node, other: &Node) -> Truth {
        match (self.scalar(set), self.scalar(other)) {
            (Scalar::Error, _) | (_, Scalar::Error) => Truth::error(),
            (set, Scalar::Row { operand, ty: Ty::Set(item), nullable }) => {
                let relation = if mutated(Mutation::WithinIsOverlap) { Relation::Overlaps } else { Relation::Within };
                related(&List { operand: &operand, item: &item, nullable }, relation, &set)
            }
            (set, other) => {
                let there = Predicate::all([there(&set), there(&other)]);
                let each = Predicate::all(members(&other).iter().map(|wanted| has(&set, wanted).t));
                judged(there, each)
            }
        }
    }

    pub(crate) fn contains_any(&self, set: &Node, other: &Node) -> Truth {
        match (self.scalar(set), self.scalar(other)) {
            (Scalar::Error, _) | (_, Scalar::Error) => Truth::error(),
            (Scalar::Row { operand, ty: Ty::Set(item), nullable }, other) | (other, Scalar::Row { operand, ty: Ty::Set(item), nullable }) => {
                related(&List { operand: &operand, item: &item, nullable }, Relation::Overlaps, &other)
            }
            (set, other) => {
                let there = Predicate::all([there(&set), there(&other)]);
                let one = Predicate::any(members(&other).iter().map(|wanted| has(&set, wanted).t));
                judged(there, one)
            }
        }
    }

    pub(crate) fn is_empty(&self, set: &Node) -> Truth {
        match self.scalar(set) {
            Scalar::Known(Val::Set(values)) => Truth::known(values.is_empty()),
            Scalar::Row { operand, .. } => {
                Truth { t: lift(&operand, |list| Predicate::Empty(list, true)), f: lift(&operand, |list| Predicate::Empty(list, false)) }
            }
            set @ Scalar::Set(_) => Truth { t: Predicate::False, f: there(&set) },
            _ => Truth::error(),
        }
    }
}

/// A row's list.
struct List<'a> {
    operand: &'a Operand,
    item: &'a Ty,
    nullable: bool,
}

/// True where `holds`, false elsewhere, where nothing raises an error.
fn judged(there: Predicate, holds: Predicate) -> Truth {
    let t = Predicate::all([there.clone(), holds]);
    let there = if mutated(Mutation::NoItemGuard) { Predicate::True } else { there };
    Truth { f: Predicate::all([there, t.clone().not_true()]), t }
}

/// The members of a set that is no row's list.
fn members(set: &Scalar) -> Vec<Scalar> {
    match set {
        Scalar::Known(Val::Set(values)) => values.iter().cloned().map(Scalar::Known).collect(),
        Scalar::Set(items) if mutated(Mutation::KnownItemsOnly) => items.iter().filter(|item| matches!(item, Scalar::Known(_))).cloned().collect(),
        Scalar::Set(items) => items.clone(),
        _ => Vec::new(),
    }
}

/// Whether a set holds an element; neither is an error.
fn has(set: &Scalar, element: &Scalar) -> Truth {
    match (set, element) {
        (Scalar::Known(Val::Set(values)), Scalar::Known(element)) => Truth::known(values.contains(element)),
        (Scalar::Known(Val::Set(values)), Scalar::Row { operand, ty, nullable }) => {
            let values: Vec<_> = values.iter().filter_map(|value| stored(value, ty)).collect();
            if values.is_empty() && !mutated(Mutation::NoNullGuard) {
                return Truth { t: Predicate::False, f: present(operand, *nullable) };
            }
            let nullable = *nullable && !mutated(Mutation::NoNullGuard);
            let none = |operand| {
                if mutated(Mutation::NoNullGuard) {
                    Predicate::OneOf(operand, values.clone()).not_true()
                } else {
                    Predicate::NoneOf(operand, values.clone())
                }
            };
            lifted(operand, nullable, |operand| Predicate::OneOf(operand, values.clone()), none)
        }
        (Scalar::Row { operand, ty: Ty::Set(item), nullable }, element) => list_has(&List { operand, item, nullable: *nullable }, element),
        (set @ Scalar::Set(_), element) => {
            let one = Predicate::any(members(set).iter().map(|item| equal_scalars(item, element)));
            judged(Predicate::all([there(element), there(set)]), one)
        }
        _ => Truth::error(),
    }
}

fn list_has(list: &List<'_>, element: &Scalar) -> Truth {
    let List { operand, item, nullable } = list;
    let never = || Truth { t: Predicate::False, f: Predicate::all([present(operand, *nullable), there(element)]) };
    let element = match element {
        Scalar::Known(value) => match stored(value, item) {
            Some(stored) => Operand::Constant(stored),
            None => return never(),
        },
        Scalar::Row { operand, ty, .. } if ty == *item => operand.clone(),
        _ => return never(),
    };
    let side = |expected| match &element {
        Operand::Constant(_) => lift(operand, |list| Predicate::Contains { list, element: element.clone(), expected }),
        _ => Predicate::Contains { list: (*operand).clone(), element: element.clone(), expected },
    };
    Truth { t: side(true), f: side(false) }
}

/// A row's list against another set: whether they overlap, or the list is within the other.
fn related(list: &List<'_>, relation: Relation, other: &Scalar) -> Truth {
    let List { operand, item, nullable } = list;
    let all_there = Predicate::all([present(operand, *nullable), there(other)]);
    let elements = match other {
        Scalar::Row { operand, ty, .. } if *ty == Ty::Set(Box::new((*item).clone())) => Elements::Of(operand.clone()),
        other => Elements::These(
            members(other)
                .into_iter()
                .filter_map(|member| match member {
                    Scalar::Known(value) => stored(&value, item).map(Operand::Constant),
                    Scalar::Row { operand, ty, .. } if ty == **item => Some(operand),
                    _ => None,
                })
                .collect(),
        ),
    };
    let constant = matches!(&elements, Elements::These(these) if these.iter().all(|element| matches!(element, Operand::Constant(_))));
    let side = |expected| {
        let related = |list| Predicate::related(list, relation, elements.clone(), expected);
        if constant { lift(operand, related) } else { related((*operand).clone()) }
    };
    Truth { t: Predicate::all([all_there.clone(), side(true)]), f: Predicate::all([all_there, side(false)]) }
}
