//! The tables of this crate, made by the same planner as all others.

use haechi_gate::{Gate, Identity, System, SystemTable};
use haechi_model::{Column, Comparison, Index, Operand, Predicate, Storage, Table, Value};

macro_rules! columns {
    ($($table:ident { $($name:ident $at:literal),* $(,)? })*) => {$(
        /// Positions of the columns.
        pub(crate) mod $table {
            $(pub(crate) const $name: usize = $at;)*
        }
    )*};
}

columns! {
    sessions { USER 1, NAME 2, CREATED 3, SEEN 4, EXPIRES 5, AUTH_TIME 6, COOKIE 7, ADDRESS 8, AGENT 9 }
    passwords { HASH 1, CHANGED 2 }
    keys { KIND 1, OWNER 2, NAME 3, LABEL 4, HINT 5, SCOPES 6, ROLES 7, CREATED 8, EXPIRES 9 }
    once { PURPOSE 1, SUBJECT 2, EXPIRES 3 }
    buckets { UNTIL 1 }
}

/// Tables of issued credentials, which may have been revoked since a backup: a restore leaves them empty.
pub const ISSUED: &[&str] = &["_sessions", "_keys", "_once", "_buckets"];

/// The tables, as the planner and the gate need them.
#[must_use]
pub fn tables() -> Vec<Table> {
    let text = |name: &str| Column::required(name, Storage::Text);
    let int = |name: &str| Column::required(name, Storage::Int);
    let table = |name: &str, columns: Vec<Column>, indexes: &[(usize, bool)]| {
        let index = |(column, unique): &(usize, bool)| Index {
            name: format!("{name}_{}_idx", columns[*column].name),
            columns: vec![*column],
            unique: *unique,
        };
        Table {
            name: name.to_owned(),
            was: None,
            key: 1,
            indexes: indexes.iter().map(index).collect(),
            references: Vec::new(),
            checks: Vec::new(),
            lists: None,
            columns,
        }
    };
    vec![
        table(
            "_sessions",
            vec![
                text("id"),
                text("user"),
                text("name"),
                int("created"),
                int("seen"),
                int("expires"),
                int("auth_time"),
                int("cookie"),
                text("address"),
                text("agent"),
            ],
            &[(sessions::USER, false), (sessions::NAME, true), (sessions::EXPIRES, false)],
        ),
        table("_passwords", vec![text("id"), text("hash"), int("changed")], &[]),
        table(
            "_keys",
            vec![
                text("id"),
                text("kind"),
                text("owner"),
                text("name"),
                text("label"),
                text("hint"),
                text("scopes"),
                text("roles"),
                int("created"),
                int("expires"),
            ],
            &[(keys::OWNER, false), (keys::NAME, true)],
        ),
        table("_once", vec![text("id"), text("purpose"), text("subject"), int("expires")], &[(once::EXPIRES, false)]),
        table("_buckets", vec![text("id"), int("until")], &[(buckets::UNTIL, false)]),
    ]
}

/// The tables that this area's key opens.
#[derive(Clone, Copy)]
pub(crate) struct Tables {
    pub(crate) users: SystemTable<Identity>,
    pub(crate) sessions: SystemTable<Identity>,
    pub(crate) passwords: SystemTable<Identity>,
    pub(crate) keys: SystemTable<Identity>,
    pub(crate) once: SystemTable<Identity>,
    pub(crate) buckets: SystemTable<Identity>,
}

impl Tables {
    pub(crate) fn of(gate: &Gate, key: &System<Identity>) -> Option<Self> {
        let table = |name: &str| gate.system_table(key, name);
        Some(Self {
            users: table("users")?,
            sessions: table("_sessions")?,
            passwords: table("_passwords")?,
            keys: table("_keys")?,
            once: table("_once")?,
            buckets: table("_buckets")?,
        })
    }
}

/// `column = value`.
pub(crate) fn is(column: usize, value: impl Into<Cell>) -> Predicate {
    compare(column, Comparison::Equal, value)
}

/// `column > value`.
pub(crate) fn above(column: usize, value: i64) -> Predicate {
    compare(column, Comparison::Greater, value)
}

/// `column <= value`.
pub(crate) fn at_most(column: usize, value: i64) -> Predicate {
    compare(column, Comparison::LessOrEqual, value)
}

/// `column <> value`.
pub(crate) fn is_not(column: usize, value: impl Into<Cell>) -> Predicate {
    compare(column, Comparison::NotEqual, value)
}

fn compare(column: usize, comparison: Comparison, value: impl Into<Cell>) -> Predicate {
    Predicate::Compare(Operand::Column(column), comparison, Operand::Constant(value.into().0))
}

/// A stored value, from what Rust has.
pub(crate) struct Cell(pub(crate) Value);

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self(Value::text(text))
    }
}

impl From<i64> for Cell {
    fn from(int: i64) -> Self {
        Self(Value::Int(int))
    }
}

/// A text of a stored row.
pub(crate) fn text(row: &[Value], column: usize) -> &str {
    row.get(column).and_then(Value::as_text).unwrap_or_default()
}

/// A number of a stored row.
pub(crate) fn int(row: &[Value], column: usize) -> i64 {
    row.get(column).and_then(Value::as_int).unwrap_or_default()
}
