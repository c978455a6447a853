//! The tables of this crate, made by the same planner as all others.

use haechi_gate::{Gate, Identity, System, SystemTable};
use haechi_model::{Column, Index, Storage, Table};

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
        let index = |(column, unique): &(usize, bool)| Index::new(&format!("{name}_{}_idx", columns[*column].name), &[*column], *unique);
        let indexes = indexes.iter().map(index).collect();
        Table::system(name, 1, columns, indexes)
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
