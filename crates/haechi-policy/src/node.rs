//! The plan of a policy: a small typed tree, made once from Cedar's syntax tree.

use haechi_model::{CollectionId, Comparison, Group, LikePart, ThingKind};
use std::{collections::BTreeSet, sync::Arc};

/// The types that a plan distinguishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ty {
    Bool,
    Long,
    Text,
    /// A decimal; columns store it scaled by 10 to this power, Cedar by 10⁴.
    Decimal(u32),
    Datetime,
    Duration,
    Entity(EntityTy),
    Set(Box<Ty>),
    Unknown,
}

/// Types of entities.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EntityTy {
    Collection(CollectionId),
    Role,
    Service,
    Anonymous,
    Action,
    Thing(ThingKind),
    /// The principal's, known per request.
    Caller,
}

/// A value of a closed expression.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Val {
    Bool(bool),
    Long(i64),
    Text(Box<str>),
    /// Scaled by 10⁴, as Cedar holds it.
    Decimal(i64),
    /// Milliseconds since 1970.
    Datetime(i64),
    /// Milliseconds.
    Duration(i64),
    Entity(EntityTy, Box<str>),
    Set(Vec<Val>),
}

/// Functions from one closed value to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Negate,
    ToDate,
    ToTime,
    ToMilliseconds,
    ToSeconds,
    ToMinutes,
    ToHours,
    ToDays,
}

/// A node of a plan.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Literal(Val),
    Principal,
    Resource,
    Now,
    /// The names of the fields that the request writes.
    Fields,
    /// An attribute of a row: of the resource, of the principal, or of what a reference names.
    Attribute {
        base: Box<Node>,
        table: CollectionId,
        column: usize,
        ty: Ty,
        nullable: bool,
    },
    Has {
        base: Box<Node>,
        table: CollectionId,
        column: Option<usize>,
        nullable: bool,
    },
    /// A group of a row. It stands on the right of `in` alone.
    Group {
        base: Box<Node>,
        group: Arc<Group>,
    },
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Not(Box<Node>),
    If(Box<Node>, Box<Node>, Box<Node>),
    Compare(Box<Node>, Comparison, Box<Node>),
    /// Integers, or a datetime and a duration (`offset`); the flag says subtract.
    Add(Box<Node>, Box<Node>, bool),
    Multiply(Box<Node>, Box<Node>),
    Since(Box<Node>, Box<Node>),
    Apply(Function, Box<Node>),
    Like(Box<Node>, Vec<LikePart>),
    Is(Box<Node>, EntityTy),
    In(Box<Node>, Box<Node>),
    Set(Vec<Node>),
    Contains(Box<Node>, Box<Node>),
    ContainsAll(Box<Node>, Box<Node>),
    ContainsAny(Box<Node>, Box<Node>),
    IsEmpty(Box<Node>),
}

impl Node {
    /// Whether it can be decided without any row except the caller's own.
    pub(crate) fn closed(&self) -> bool {
        match self {
            Self::Resource | Self::Group { .. } => false,
            Self::Attribute { base, .. } | Self::Has { base, .. } => **base == Self::Principal,
            other => !other.any_part(|part| !part.closed()),
        }
    }

    pub(crate) fn looks_at_the_fields(&self) -> bool {
        *self == Self::Fields || self.any_part(Self::looks_at_the_fields)
    }

    /// The names with which it compares the written fields.
    pub(crate) fn names_of_fields(&self) -> BTreeSet<Box<str>> {
        let mut names = BTreeSet::new();
        self.each(&mut |node| {
            if let Self::Contains(a, b) | Self::ContainsAll(a, b) | Self::ContainsAny(a, b) | Self::Compare(a, _, b) | Self::In(a, b) = node
                && (**a == Self::Fields || **b == Self::Fields)
            {
                for side in [a, b] {
                    side.each(&mut |part| match part {
                        Self::Literal(Val::Text(text)) => drop(names.insert(text.clone())),
                        Self::Literal(Val::Set(items)) => names.extend(items.iter().filter_map(|item| match item {
                            Val::Text(text) => Some(text.clone()),
                            _ => None,
                        })),
                        _ => {}
                    });
                }
            }
        });
        names
    }

    pub(crate) fn looks_at_the_time(&self) -> bool {
        *self == Self::Now || self.any_part(Self::looks_at_the_time)
    }

    /// Every part of it, itself first.
    pub(crate) fn each(&self, see: &mut dyn FnMut(&Self)) {
        see(self);
        let see = std::cell::RefCell::new(see);
        self.any_part(|part| {
            part.each(&mut **see.borrow_mut());
            false
        });
    }

    /// The values that it uses: fields, the caller, the row, the time. The references that lead to a field are not reported.
    pub(crate) fn each_value(&self, see: &mut dyn FnMut(&Self)) {
        if matches!(self, Self::Attribute { .. } | Self::Principal | Self::Resource | Self::Now | Self::Fields) {
            return see(self);
        }
        if matches!(self, Self::Has { base, .. } if matches!(**base, Self::Principal | Self::Resource)) {
            return;
        }
        let see = std::cell::RefCell::new(see);
        self.any_part(|part| {
            part.each_value(&mut **see.borrow_mut());
            false
        });
    }

    fn any_part(&self, test: impl Fn(&Self) -> bool) -> bool {
        match self {
            Self::Literal(_) | Self::Principal | Self::Resource | Self::Now | Self::Fields => false,
            Self::And(a, b)
            | Self::Or(a, b)
            | Self::Compare(a, _, b)
            | Self::Add(a, b, _)
            | Self::Multiply(a, b)
            | Self::Since(a, b)
            | Self::In(a, b)
            | Self::Contains(a, b)
            | Self::ContainsAll(a, b)
            | Self::ContainsAny(a, b) => test(a) || test(b),
            Self::Attribute { base: a, .. }
            | Self::Group { base: a, .. }
            | Self::Has { base: a, .. }
            | Self::Not(a)
            | Self::Apply(_, a)
            | Self::Like(a, _)
            | Self::Is(a, _)
            | Self::IsEmpty(a) => test(a),
            Self::If(a, b, c) => test(a) || test(b) || test(c),
            Self::Set(items) => items.iter().any(test),
        }
    }

    pub(crate) fn ty(&self) -> Ty {
        match self {
            Self::Literal(value) => value.ty(),
            Self::Principal => Ty::Entity(EntityTy::Caller),
            Self::Now => Ty::Datetime,
            Self::Fields => Ty::Set(Box::new(Ty::Text)),
            Self::Attribute { ty, .. } => ty.clone(),
            Self::If(_, a, b) => {
                if a.ty() == Ty::Unknown {
                    b.ty()
                } else {
                    a.ty()
                }
            }
            Self::Add(a, ..) => a.ty(),
            Self::Multiply(..) => Ty::Long,
            Self::Since(..) => Ty::Duration,
            Self::Apply(function, _) => match function {
                Function::ToDate => Ty::Datetime,
                Function::ToTime => Ty::Duration,
                _ => Ty::Long,
            },
            Self::Set(items) => Ty::Set(Box::new(items.first().map_or(Ty::Unknown, Self::ty))),
            Self::Resource | Self::Group { .. } => Ty::Unknown,
            _ => Ty::Bool,
        }
    }
}

impl Val {
    pub(crate) fn ty(&self) -> Ty {
        match self {
            Self::Bool(_) => Ty::Bool,
            Self::Long(_) => Ty::Long,
            Self::Text(_) => Ty::Text,
            Self::Decimal(_) => Ty::Decimal(4),
            Self::Datetime(_) => Ty::Datetime,
            Self::Duration(_) => Ty::Duration,
            Self::Entity(ty, _) => Ty::Entity(ty.clone()),
            Self::Set(items) => Ty::Set(Box::new(items.first().map_or(Ty::Unknown, Self::ty))),
        }
    }
}
