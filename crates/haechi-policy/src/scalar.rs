//! What binding computes with: truths, scalars, and how values of policies and of columns become each other.

use crate::node::{Function, Ty, Val};
use haechi_model::{Alone, Comparison, Operand, Predicate, Value};

/// When a condition is surely true and when it is surely false.
#[derive(Clone, Debug)]
pub(crate) struct Truth {
    pub(crate) t: Predicate,
    pub(crate) f: Predicate,
}

impl Truth {
    pub(crate) fn known(flag: bool) -> Self {
        if flag { Self { t: Predicate::True, f: Predicate::False } } else { Self { t: Predicate::False, f: Predicate::True } }
    }

    pub(crate) fn error() -> Self {
        Self { t: Predicate::False, f: Predicate::False }
    }

    /// Neither error nor unknown: false exactly when not true.
    pub(crate) fn certain(&self) -> bool {
        matches!((&self.t, &self.f), (Predicate::True, Predicate::False) | (Predicate::False, Predicate::True))
    }
}

/// What an expression comes to: an error, a value, something of a row, or a set of such.
#[derive(Clone, Debug)]
pub(crate) enum Scalar {
    Error,
    Known(Val),
    Row {
        operand: Operand,
        ty: Ty,
        nullable: bool,
    },
    /// A set literal with at least one value of a row. None of them is an error or a set.
    Set(Vec<Scalar>),
}

/// An attribute of what `from` names; an inner `Follow` is descended, so that chains read outside in.
pub(crate) fn follow(from: Operand, table: usize, column: usize) -> Operand {
    match from {
        Operand::Follow { from: outer, table: between, then } => {
            Operand::Follow { from: outer, table: between, then: Box::new(follow(*then, table, column)) }
        }
        from => Operand::Follow { from: Box::new(from), table, then: Box::new(Operand::Column(column)) },
    }
}

/// A condition on one operand, written on the row that a reference leads to: `fk IN (SELECT …)`. It must be false for NULL, because a
/// reference that leads nowhere finds no row.
pub(crate) fn lift(operand: &Operand, condition: impl Fn(Operand) -> Predicate) -> Predicate {
    fn inner(operand: &Operand, condition: &dyn Fn(Operand) -> Predicate) -> Predicate {
        match operand {
            Operand::Follow { from, table, then } => Predicate::reference((**from).clone(), *table, inner(then, condition)),
            operand => condition(operand.clone()),
        }
    }
    inner(operand, &condition)
}

/// A condition and its opposite on one operand. Where references always lead to a value, the opposite is written as `NOT` of the condition
/// rather than as a search of its own: the rows that match are often few, and the others many.
pub(crate) fn lifted(operand: &Operand, nullable: bool, holds: impl Fn(Operand) -> Predicate, opposite: impl Fn(Operand) -> Predicate) -> Truth {
    let t = lift(operand, holds);
    let f = if !nullable && matches!(operand, Operand::Follow { .. }) { t.clone().not_true() } else { lift(operand, opposite) };
    Truth { t, f }
}

pub(crate) fn present(operand: &Operand, nullable: bool) -> Predicate {
    if nullable { lift(operand, Predicate::NotNull) } else { Predicate::True }
}

/// When a scalar has a value: reading it then raises no error.
pub(crate) fn there(scalar: &Scalar) -> Predicate {
    match scalar {
        Scalar::Row { operand, nullable, .. } => present(operand, *nullable),
        Scalar::Set(items) => Predicate::all(items.iter().map(there)),
        _ => Predicate::True,
    }
}

/// A stored value as policies see it.
pub(crate) fn known(value: &Value, ty: &Ty) -> Option<Val> {
    Some(match (value, ty) {
        (Value::Int(int), Ty::Bool) => Val::Bool(*int != 0),
        (Value::Int(int), Ty::Long) => Val::Long(*int),
        (Value::Int(int), Ty::Datetime) => Val::Datetime(*int),
        (Value::Int(int), Ty::Decimal(scale)) => Val::Decimal(int.checked_mul(10_i64.pow(4 - scale))?),
        (Value::Text(text), Ty::Text) => Val::Text(text.clone()),
        (Value::Text(text), Ty::Entity(entity)) => Val::Entity(entity.clone(), text.clone()),
        (Value::Text(text), Ty::Set(item)) => {
            let items: Vec<serde_json::Value> = serde_json::from_str(text).ok()?;
            let item = |json: serde_json::Value| match (json, &**item) {
                (serde_json::Value::String(id), Ty::Entity(entity)) => Some(Val::Entity(entity.clone(), id.into())),
                (serde_json::Value::String(text), _) => Some(Val::Text(text.into())),
                (serde_json::Value::Bool(flag), _) => Some(Val::Bool(flag)),
                (serde_json::Value::Number(number), _) => number.as_i64().map(Val::Long),
                _ => None,
            };
            let mut items: Vec<Val> = items.into_iter().map(item).collect::<Option<_>>()?;
            items.sort();
            items.dedup();
            Val::Set(items)
        }
        _ => return None,
    })
}

/// A value as a column of this type stores it; `None` when no stored value can equal it.
pub(crate) fn stored(value: &Val, ty: &Ty) -> Option<Value> {
    Some(match (value, ty) {
        (Val::Bool(flag), Ty::Bool) => Value::Int(i64::from(*flag)),
        (Val::Long(int), Ty::Long) | (Val::Datetime(int), Ty::Datetime) | (Val::Duration(int), Ty::Duration) => Value::Int(*int),
        (Val::Decimal(int), Ty::Decimal(scale)) => {
            let unit = 10_i64.pow(4 - scale);
            if int % unit != 0 {
                return None;
            }
            Value::Int(int / unit)
        }
        (Val::Text(text), Ty::Text) if !text.contains('\0') => Value::Text(text.clone()),
        (Val::Entity(found, id), Ty::Entity(wanted)) if found == wanted && !id.contains('\0') => Value::Text(id.clone()),
        _ => return None,
    })
}

pub(crate) fn known_compare(a: &Val, comparison: Comparison, b: &Val) -> Truth {
    let order = match (a, b) {
        (Val::Long(a), Val::Long(b))
        | (Val::Datetime(a), Val::Datetime(b))
        | (Val::Duration(a), Val::Duration(b))
        | (Val::Decimal(a), Val::Decimal(b)) => a.cmp(b),
        _ if a == b => std::cmp::Ordering::Equal,
        _ => std::cmp::Ordering::Less,
    };
    let row = |order: std::cmp::Ordering| [Value::Int(order as i64)];
    Truth::known(Predicate::Compare(Operand::Column(0), comparison, Operand::Constant(Value::Int(0))).holds(&row(order), &Alone))
}

/// A row's operand against a value.
pub(crate) fn against(operand: &Operand, ty: &Ty, nullable: bool, comparison: Comparison, value: &Val) -> Truth {
    let sides = |comparison: Comparison, value: Value| {
        let side = |comparison: Comparison| {
            let value = value.clone();
            move |operand| Predicate::Compare(operand, comparison, Operand::Constant(value.clone()))
        };
        lifted(operand, nullable, side(comparison), side(comparison.inverse()))
    };
    if let (Val::Decimal(int), Ty::Decimal(scale)) = (value, ty) {
        let unit = 10_i64.pow(4 - scale);
        let floor = int.div_euclid(unit);
        let exact = int % unit == 0;
        let there = || present(operand, nullable);
        let pair = |comparison: Comparison, value: i64| sides(comparison, Value::Int(value));
        return match comparison {
            Comparison::Equal if !exact => Truth { t: Predicate::False, f: there() },
            Comparison::NotEqual if !exact => Truth { t: there(), f: Predicate::False },
            Comparison::Less | Comparison::GreaterOrEqual if !exact => floor.checked_add(1).map_or_else(Truth::error, |next| pair(comparison, next)),
            comparison => pair(comparison, floor),
        };
    }
    match stored(value, ty) {
        Some(value) => sides(comparison, value),
        None if comparison == Comparison::NotEqual => Truth { t: present(operand, nullable), f: Predicate::False },
        None => Truth { t: Predicate::False, f: present(operand, nullable) },
    }
}

pub(crate) fn equal_scalars(a: &Scalar, b: &Scalar) -> Predicate {
    match (a, b) {
        (Scalar::Known(a), Scalar::Known(b)) => {
            if a == b {
                Predicate::True
            } else {
                Predicate::False
            }
        }
        (Scalar::Row { operand, ty, nullable }, Scalar::Known(value)) | (Scalar::Known(value), Scalar::Row { operand, ty, nullable }) => {
            against(operand, ty, *nullable, Comparison::Equal, value).t
        }
        (Scalar::Row { operand: a, ty: a_ty, .. }, Scalar::Row { operand: b, ty: b_ty, .. }) => {
            if a_ty == b_ty {
                Predicate::Compare(a.clone(), Comparison::Equal, b.clone())
            } else {
                Predicate::False
            }
        }
        _ => Predicate::False,
    }
}

pub(crate) fn apply(function: Function, value: Val) -> Option<Val> {
    const DAY_MS: i64 = 86_400_000;
    Some(match (function, value) {
        (Function::Negate, Val::Long(long)) => Val::Long(long.checked_neg()?),
        (Function::ToDate, Val::Datetime(ms)) => Val::Datetime(ms.div_euclid(DAY_MS).checked_mul(DAY_MS)?),
        (Function::ToTime, Val::Datetime(ms)) => Val::Duration(ms.rem_euclid(DAY_MS)),
        (Function::ToMilliseconds, Val::Duration(ms)) => Val::Long(ms),
        (Function::ToSeconds, Val::Duration(ms)) => Val::Long(ms / 1000),
        (Function::ToMinutes, Val::Duration(ms)) => Val::Long(ms / 60_000),
        (Function::ToHours, Val::Duration(ms)) => Val::Long(ms / 3_600_000),
        (Function::ToDays, Val::Duration(ms)) => Val::Long(ms / DAY_MS),
        _ => return None,
    })
}
