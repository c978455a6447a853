//! A plan and a caller to conditions on rows: *surely true* and *surely false*. An error is neither.

use crate::{
    About,
    mutation::{Mutation, mutated},
    node::{EntityTy, Node, Ty, Val},
    scalar::{Scalar, Truth, against, apply, equal_scalars, follow, known, known_compare, lift, lifted, present, there},
};
use haechi_model::{Alone, Comparison, Group, LikePart, Operand, Predicate, USERS, Value};
use std::sync::Arc;

/// The caller, as policies see them.
#[derive(Clone, Copy, Debug)]
pub struct Principal<'a> {
    /// What kind of caller.
    pub kind: PrincipalKind,
    /// Id within the kind.
    pub id: &'a str,
    /// Names of the caller's roles.
    pub roles: &'a [Box<str>],
    /// The caller's row in `users`; empty for other kinds. A user without a row stands for any user, whose attributes are then looked up.
    pub row: &'a [Value],
}

/// Kinds of callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    /// A person.
    User,
    /// A program.
    Service,
    /// An unknown caller.
    Anonymous,
}

/// The fields that a request writes: `context.fields`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written<'a> {
    /// These, by their names.
    These(&'a [&'a str]),
    /// Not known yet: what some set of names could allow.
    Some,
    /// Not known yet: what every set of names allows.
    Every,
}

/// What binding needs to know about the app: where users keep their roles.
pub(crate) struct Binder<'a> {
    pub(crate) principal: &'a Principal<'a>,
    pub(crate) now_ms: i64,
    pub(crate) users_roles_column: usize,
    pub(crate) about: About<'a>,
    /// Whether a reference always leads to a row, as foreign keys guarantee.
    pub(crate) intact: bool,
    pub(crate) written: Written<'a>,
}

impl Binder<'_> {
    pub(crate) fn truth(&self, node: &Node) -> Truth {
        if let Some(truth) = self.unknown(node) {
            return truth;
        }
        match node {
            Node::And(a, b) => self.and(a, b),
            Node::Or(a, b) => self.or(a, b),
            Node::Not(a) => {
                let Truth { t, f } = self.truth(a);
                Truth { t: f, f: t }
            }
            Node::If(c, a, b) => self.choose(c, a, b),
            Node::Compare(a, comparison, b) => self.compare(a, *comparison, b),
            Node::Has { base, table, column, nullable } => self.has(base, *table, *column, *nullable),
            Node::Like(a, parts) => self.like(a, parts),
            Node::Is(a, ty) => self.is(a, ty),
            Node::In(a, b) => self.within(a, b),
            Node::Contains(set, element) => self.contains(set, element),
            Node::ContainsAll(set, other) => self.contains_all(set, other),
            Node::ContainsAny(set, other) => self.contains_any(set, other),
            Node::IsEmpty(set) => self.is_empty(set),
            _ => match self.scalar(node) {
                Scalar::Known(Val::Bool(flag)) => Truth::known(flag),
                Scalar::Row { operand, nullable, .. } => {
                    let is = |flag| move |operand| Predicate::Compare(operand, Comparison::Equal, Operand::Constant(Value::Int(flag)));
                    lifted(&operand, nullable, is(1), is(0))
                }
                _ => Truth::error(),
            },
        }
    }

    /// What is said of a condition on the written fields while they are not known. Conditions are joined without their opposites, so
    /// what is joined from bounds is a bound.
    fn unknown(&self, node: &Node) -> Option<Truth> {
        let bound = match self.written {
            Written::These(_) => return None,
            Written::Some if mutated(Mutation::UnknownFieldsAreNone) => Predicate::False,
            Written::Some => Predicate::True,
            Written::Every => Predicate::False,
        };
        let joins = matches!(node, Node::And(..) | Node::Or(..) | Node::Not(_) | Node::If(..));
        (!joins && node.looks_at_the_fields()).then(|| Truth { t: bound.clone(), f: bound })
    }

    fn and(&self, a: &Node, b: &Node) -> Truth {
        let left = self.truth(a);
        if left.t == Predicate::False {
            return left;
        }
        let right = self.truth(b);
        let unguarded = self.cannot_err(a) || mutated(Mutation::FalseAndWithoutTrue);
        let second = if unguarded { right.f } else { Predicate::all([left.t.clone(), right.f]) };
        Truth { t: Predicate::all([left.t, right.t]), f: Predicate::any([left.f, second]) }
    }

    fn or(&self, a: &Node, b: &Node) -> Truth {
        let left = self.truth(a);
        if left.f == Predicate::False {
            return left;
        }
        let right = self.truth(b);
        let second = if self.cannot_err(a) { right.t } else { Predicate::all([left.f.clone(), right.t]) };
        Truth { t: Predicate::any([left.t, second]), f: Predicate::all([left.f, right.f]) }
    }

    fn choose(&self, condition: &Node, a: &Node, b: &Node) -> Truth {
        let condition = self.truth(condition);
        let branch = |when: Predicate, node: &Node| {
            if when == Predicate::False {
                return Truth::error();
            }
            let inner = self.truth(node);
            Truth { t: Predicate::all([when.clone(), inner.t]), f: Predicate::all([when, inner.f]) }
        };
        let (then, other) = (branch(condition.t, a), branch(condition.f, b));
        Truth { t: Predicate::any([then.t, other.t]), f: Predicate::any([then.f, other.f]) }
    }

    /// Whether a condition can never raise an error, for any row.
    fn cannot_err(&self, node: &Node) -> bool {
        self.cannot_err_where(node, &mut Vec::new())
    }

    /// The same where these `has` are known to hold.
    fn cannot_err_where<'n>(&self, node: &'n Node, held: &mut Vec<&'n Node>) -> bool {
        match node {
            Node::Literal(_) | Node::Principal | Node::Resource | Node::Now | Node::Fields => true,
            Node::Attribute { base, table, column, nullable, .. } => {
                let has = |held: &&Node| matches!(held, Node::Has { base: of, column: Some(found), table: at, .. } if of == base && found == column && at == table);
                match **base {
                    _ if held.iter().any(has) => true,
                    Node::Resource => !nullable,
                    Node::Principal => matches!(self.scalar(node), Scalar::Known(_)) && !self.any_user(),
                    _ => self.intact && !nullable && of_the_row(base) && self.cannot_err_where(base, held),
                }
            }
            Node::And(a, b) => {
                if !self.cannot_err_where(a, held) {
                    return false;
                }
                let before = held.len();
                collect_held(a, held);
                let second = self.cannot_err_where(b, held);
                held.truncate(before);
                second
            }
            // Of a chain that is too long nobody knows who is outside.
            Node::Group { base, group } => {
                let there = match **base {
                    Node::Resource => true,
                    Node::Principal => self.principal.kind == PrincipalKind::User,
                    _ => self.intact && of_the_row(base),
                };
                there && group.inherits.is_none() && self.cannot_err_where(base, held)
            }
            Node::Has { base, .. } | Node::Not(base) | Node::Like(base, _) | Node::Is(base, _) | Node::IsEmpty(base) => {
                self.cannot_err_where(base, held)
            }
            Node::Or(a, b) | Node::Compare(a, _, b) | Node::In(a, b) | Node::Contains(a, b) | Node::ContainsAll(a, b) | Node::ContainsAny(a, b) => {
                self.cannot_err_where(a, held) && self.cannot_err_where(b, held)
            }
            Node::If(a, b, c) => [a, b, c].into_iter().all(|part| self.cannot_err_where(part, held)),
            Node::Set(items) => items.iter().all(|item| self.cannot_err_where(item, held)),
            Node::Add(..) | Node::Multiply(..) | Node::Since(..) | Node::Apply(..) => false,
        }
    }

    pub(crate) fn scalar(&self, node: &Node) -> Scalar {
        match node {
            Node::Literal(value) => Scalar::Known(value.clone()),
            Node::Principal => Scalar::Known(Val::Entity(self.principal_ty(), self.principal.id.into())),
            Node::Now => Scalar::Known(Val::Datetime(self.now_ms)),
            Node::Fields => {
                let Written::These(names) = self.written else { return Scalar::Error };
                let names = if mutated(Mutation::FieldsAreForgotten) { &[] } else { names };
                let mut names: Vec<Val> = names.iter().map(|name| Val::Text((*name).into())).collect();
                names.sort();
                names.dedup();
                Scalar::Known(Val::Set(names))
            }
            Node::Resource => match self.about {
                About::Rows(collection) => {
                    Scalar::Row { operand: Operand::Column(0), ty: Ty::Entity(EntityTy::Collection(collection)), nullable: false }
                }
                About::Thing(kind, name) => Scalar::Known(Val::Entity(EntityTy::Thing(kind), name.into())),
            },
            Node::Attribute { base, table, column, ty, nullable } => self.attribute(base, *table, *column, ty, *nullable),
            Node::Add(a, b, subtract) => self.add(a, b, *subtract),
            Node::Multiply(a, b) => match (self.scalar(a), self.scalar(b)) {
                (Scalar::Known(Val::Long(a)), Scalar::Known(Val::Long(b))) => {
                    a.checked_mul(b).map_or(Scalar::Error, |long| Scalar::Known(Val::Long(long)))
                }
                _ => Scalar::Error,
            },
            Node::Since(a, b) => match (self.scalar(a), self.scalar(b)) {
                (Scalar::Known(Val::Datetime(a)), Scalar::Known(Val::Datetime(b))) => {
                    a.checked_sub(b).map_or(Scalar::Error, |ms| Scalar::Known(Val::Duration(ms)))
                }
                _ => Scalar::Error,
            },
            Node::Apply(function, a) => match self.scalar(a) {
                Scalar::Known(value) => apply(*function, value).map_or(Scalar::Error, Scalar::Known),
                _ => Scalar::Error,
            },
            Node::Set(items) => self.set(items),
            _ => {
                let truth = self.truth(node);
                if truth.certain() {
                    return Scalar::Known(Val::Bool(truth.t == Predicate::True));
                }
                let arm = |condition: Predicate, flag: i64| (condition, Operand::Constant(Value::Int(flag)));
                Scalar::Row { operand: Operand::Choose(vec![arm(truth.t, 1), arm(truth.f, 0)]), ty: Ty::Bool, nullable: true }
            }
        }
    }

    fn any_user(&self) -> bool {
        self.principal.kind == PrincipalKind::User && self.principal.row.is_empty()
    }

    fn caller(&self) -> Operand {
        Operand::Constant(Value::text(self.principal.id))
    }

    fn principal_ty(&self) -> EntityTy {
        match self.principal.kind {
            PrincipalKind::User => EntityTy::Collection(USERS),
            PrincipalKind::Service => EntityTy::Service,
            PrincipalKind::Anonymous => EntityTy::Anonymous,
        }
    }

    fn attribute(&self, base: &Node, table: usize, column: usize, ty: &Ty, nullable: bool) -> Scalar {
        match base {
            Node::Resource => Scalar::Row { operand: Operand::Column(column), ty: ty.clone(), nullable },
            Node::Principal if self.any_user() => Scalar::Row { operand: follow(self.caller(), table, column), ty: ty.clone(), nullable: true },
            Node::Principal => self.principal.row.get(column).and_then(|value| known(value, ty)).map_or(Scalar::Error, Scalar::Known),
            base => {
                let (from, may_lack) = match self.scalar(base) {
                    Scalar::Row { operand, nullable, .. } => (operand, nullable || !self.intact),
                    Scalar::Known(Val::Entity(_, id)) => (Operand::Constant(Value::Text(id)), true),
                    _ => return Scalar::Error,
                };
                Scalar::Row { operand: follow(from, table, column), ty: ty.clone(), nullable: nullable || may_lack }
            }
        }
    }

    fn add(&self, a: &Node, b: &Node, subtract: bool) -> Scalar {
        let number = |value: &Val| match value {
            Val::Long(int) | Val::Datetime(int) | Val::Duration(int) => Some(*int),
            _ => None,
        };
        match (self.scalar(a), self.scalar(b)) {
            (Scalar::Known(a), Scalar::Known(b)) => {
                let (Some(left), Some(right)) = (number(&a), number(&b)) else { return Scalar::Error };
                let sum = if subtract { left.checked_sub(right) } else { left.checked_add(right) };
                match (sum, a) {
                    (Some(sum), Val::Datetime(_)) => Scalar::Known(Val::Datetime(sum)),
                    (Some(sum), _) => Scalar::Known(Val::Long(sum)),
                    (None, _) => Scalar::Error,
                }
            }
            (Scalar::Row { operand, ty, .. }, Scalar::Known(k)) | (Scalar::Known(k), Scalar::Row { operand, ty, .. }) => {
                let plus = |operand, k| Operand::Plus(Box::new(operand), k);
                let operand = match number(&k) {
                    None => return Scalar::Error,
                    Some(k) if !subtract => plus(operand, k),
                    // The smallest number has no opposite: it is subtracted in two steps, which overflow in exactly the same cases.
                    Some(i64::MIN) if !mutated(Mutation::NoSmallestNumber) => plus(plus(operand, i64::MAX), 1),
                    Some(i64::MIN) => return Scalar::Error,
                    Some(k) => plus(operand, -k),
                };
                Scalar::Row { operand, ty, nullable: true }
            }
            _ => Scalar::Error,
        }
    }

    fn compare(&self, a: &Node, comparison: Comparison, b: &Node) -> Truth {
        if a.ty() == Ty::Bool && b.ty() == Ty::Bool {
            return self.same_bool(a, b);
        }
        match (self.scalar(a), self.scalar(b)) {
            // Sets with values of rows are compared by what they contain; see `compile`.
            (Scalar::Error | Scalar::Set(_), _) | (_, Scalar::Error | Scalar::Set(_)) => Truth::error(),
            (Scalar::Known(a), Scalar::Known(b)) => known_compare(&a, comparison, &b),
            (Scalar::Row { operand, ty, nullable }, Scalar::Known(value)) => against(&operand, &ty, nullable, comparison, &value),
            (Scalar::Known(value), Scalar::Row { operand, ty, nullable }) => against(&operand, &ty, nullable, comparison.mirrored(), &value),
            (Scalar::Row { operand: a, ty: a_ty, nullable: a_null }, Scalar::Row { operand: b, ty: b_ty, nullable: b_null }) => {
                if a_ty != b_ty && a_ty != Ty::Unknown && b_ty != Ty::Unknown {
                    return Truth { t: Predicate::False, f: Predicate::all([present(&a, a_null), present(&b, b_null)]) };
                }
                Truth { t: Predicate::Compare(a.clone(), comparison, b.clone()), f: Predicate::Compare(a, comparison.inverse(), b) }
            }
        }
    }

    fn same_bool(&self, a: &Node, b: &Node) -> Truth {
        let (a, b) = (self.truth(a), self.truth(b));
        let both = |x: &Predicate, y: &Predicate| Predicate::all([x.clone(), y.clone()]);
        Truth { t: Predicate::any([both(&a.t, &b.t), both(&a.f, &b.f)]), f: Predicate::any([both(&a.t, &b.f), both(&a.f, &b.t)]) }
    }

    fn has(&self, base: &Node, table: usize, column: Option<usize>, nullable: bool) -> Truth {
        match base {
            Node::Principal if self.any_user() => {
                let t =
                    column.map_or(Predicate::False, |column| Predicate::reference(self.caller(), table, Predicate::NotNull(Operand::Column(column))));
                Truth { f: t.clone().not_true(), t }
            }
            Node::Principal => Truth::known(column.and_then(|column| self.principal.row.get(column)).is_some_and(|value| !value.is_null())),
            Node::Resource => match column {
                None => Truth::known(false),
                Some(_) if !nullable => Truth::known(true),
                Some(column) => Truth { t: Predicate::NotNull(Operand::Column(column)), f: Predicate::IsNull(Operand::Column(column)) },
            },
            base => {
                let (from, from_nullable) = match self.scalar(base) {
                    Scalar::Row { operand, nullable, .. } => (operand, nullable),
                    Scalar::Known(Val::Entity(_, id)) => (Operand::Constant(Value::Text(id)), false),
                    _ => return Truth::error(),
                };
                let there = present(&from, from_nullable);
                let t = column.map_or(Predicate::False, |column| {
                    lift(&from, |from| Predicate::reference(from, table, Predicate::NotNull(Operand::Column(column))))
                });
                Truth { f: Predicate::all([there, t.clone().not_true()]), t }
            }
        }
    }

    fn like(&self, a: &Node, parts: &[LikePart]) -> Truth {
        match self.scalar(a) {
            Scalar::Known(Val::Text(text)) => {
                let row = [Value::Text(text)];
                Truth::known(Predicate::Like(Operand::Column(0), parts.to_vec(), true).holds(&row, &Alone))
            }
            Scalar::Row { operand, nullable, .. } => {
                let like = |expected| move |operand| Predicate::Like(operand, parts.to_vec(), expected);
                lifted(&operand, nullable, like(true), like(false))
            }
            _ => Truth::error(),
        }
    }

    fn is(&self, a: &Node, wanted: &EntityTy) -> Truth {
        match self.scalar(a) {
            Scalar::Known(Val::Entity(ty, _)) => Truth::known(ty == *wanted),
            Scalar::Row { operand, ty, nullable } => {
                let there = present(&operand, nullable);
                if ty == Ty::Entity(wanted.clone()) { Truth { t: there, f: Predicate::False } } else { Truth { t: Predicate::False, f: there } }
            }
            _ => Truth::error(),
        }
    }

    /// Whether somebody is in a group. What is not there has no groups, so it is neither true nor false then.
    fn member(&self, a: &Node, base: &Node, group: &Arc<Group>) -> Truth {
        let (of, of_nullable) = match self.scalar(base) {
            Scalar::Row { operand, nullable, .. } => (operand, nullable),
            // Only people have rows, so a service or an unknown caller has no groups.
            Scalar::Known(Val::Entity(EntityTy::Collection(ty), id)) if ty == group.of => (Operand::Constant(Value::Text(id)), false),
            _ => return Truth::error(),
        };
        let there = if self.intact || matches!(base, Node::Resource) {
            present(&of, of_nullable)
        } else {
            lift(&of, |of| Predicate::reference(of, group.of, Predicate::True))
        };
        let shallow = match group.inherits {
            Some(_) if !mutated(Mutation::DeepIsOutside) => lift(&of, |of| Predicate::Shallow { of, group: group.clone() }),
            _ => Predicate::True,
        };
        let (who, who_nullable) = match self.scalar(a) {
            Scalar::Known(Val::Entity(EntityTy::Collection(USERS), id)) => (Operand::Constant(Value::Text(id)), false),
            Scalar::Row { operand, ty: Ty::Entity(EntityTy::Collection(USERS)), nullable } => (operand, nullable),
            // Services and unknown callers are in no group.
            Scalar::Known(Val::Entity(..)) => return Truth { t: Predicate::False, f: Predicate::all([there, shallow]) },
            _ => return Truth::error(),
        };
        let known = matches!(who, Operand::Constant(_));
        let ask = |of| Predicate::Member { of, group: group.clone(), who: who.clone() };
        // A person of the row is named from the row, so the question stays there.
        let is = if known { lift(&of, ask) } else { ask(of.clone()) };
        let t = if self.intact { is.clone() } else { Predicate::all([there.clone(), is.clone()]) };
        let absent = if mutated(Mutation::NobodyIsOutside) { Predicate::True } else { Predicate::all([there, present(&who, who_nullable)]) };
        Truth { t, f: Predicate::all([absent, shallow, is.not_true()]) }
    }

    fn within(&self, a: &Node, b: &Node) -> Truth {
        if let Node::Group { base, group } = b {
            return self.member(a, base, group);
        }
        let scalar = self.scalar(a);
        let parents: Vec<Scalar> = match b {
            Node::Set(items) => items.iter().map(|item| self.scalar(item)).collect(),
            other => match self.scalar(other) {
                Scalar::Known(Val::Set(values)) => values.into_iter().map(Scalar::Known).collect(),
                single => vec![single],
            },
        };
        if matches!(scalar, Scalar::Error) || parents.iter().any(|parent| matches!(parent, Scalar::Error)) {
            return Truth::error();
        }
        let there = Predicate::all(std::iter::once(&scalar).chain(&parents).map(there));
        let is_caller = *a == Node::Principal;
        let t = Predicate::any(parents.iter().map(|parent| self.within_one(&scalar, parent, is_caller)));
        let t = Predicate::all([there.clone(), t]);
        Truth { f: Predicate::all([there, t.clone().not_true()]), t }
    }

    fn within_one(&self, child: &Scalar, parent: &Scalar, is_caller: bool) -> Predicate {
        let role = match parent {
            Scalar::Known(Val::Entity(EntityTy::Role, role)) => Some(role),
            _ => None,
        };
        match (child, role) {
            (Scalar::Known(Val::Entity(..)), Some(role)) if is_caller => {
                if self.principal.roles.contains(role) {
                    Predicate::True
                } else {
                    Predicate::False
                }
            }
            (Scalar::Known(Val::Entity(EntityTy::Collection(USERS), id)), Some(role)) => {
                self.user_has_role(&Operand::Constant(Value::Text(id.clone())), role)
            }
            (Scalar::Row { operand, ty: Ty::Entity(EntityTy::Collection(USERS)), .. }, Some(role)) => self.user_has_role(operand, role),
            (child, _) => equal_scalars(child, parent),
        }
    }

    fn user_has_role(&self, user: &Operand, role: &str) -> Predicate {
        let list = Operand::Column(self.users_roles_column);
        let inner = Predicate::Contains { list, element: Operand::Constant(Value::text(role)), expected: true };
        lift(user, |user| Predicate::reference(user, USERS, inner.clone()))
    }
}

/// Whether it is an attribute of the row, or of a row that it refers to.
fn of_the_row(node: &Node) -> bool {
    match node {
        Node::Attribute { base, .. } => **base == Node::Resource || of_the_row(base),
        _ => false,
    }
}

/// The `has` that hold in every row in which the condition holds.
fn collect_held<'n>(node: &'n Node, held: &mut Vec<&'n Node>) {
    match node {
        Node::And(a, b) => {
            collect_held(a, held);
            collect_held(b, held);
        }
        Node::Or(a, b) if mutated(Mutation::OrHoldsBoth) => {
            collect_held(a, held);
            collect_held(b, held);
        }
        Node::Has { .. } => held.push(node),
        _ => {}
    }
}
