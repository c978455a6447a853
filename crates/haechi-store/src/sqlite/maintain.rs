//! Work that runs alone on the writing connection: seals and statistics.

use crate::{Analyse, journal::Seal};
use rusqlite::Connection;

/// Keeps a seal; `false` when there is one of this size already.
pub(crate) fn save_seal(connection: &Connection, seal: &Seal) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached("INSERT OR IGNORE INTO \"_seals\" VALUES (?, ?, ?, ?)")?;
    Ok(statement.execute((seal.size, seal.time_ms, &seal.note, &seal.frontier))? == 1)
}

/// How many rows of an index are looked at for its statistics.
const ANALYSED_ROWS: i64 = 1_000;
/// Lists what `PRAGMA optimize` would do, over all tables: those never analysed, and those that have grown or shrunk tenfold.
const WHAT_TO_ANALYSE: &str = "PRAGMA optimize(0x10003)";

/// Gathers statistics of what has none or outgrew them, or of everything. Without them the planner guesses which index serves.
pub(crate) fn analyse(connection: &mut Connection, what: Analyse, table: Option<&str>) -> rusqlite::Result<()> {
    connection.pragma_update(None, "analysis_limit", ANALYSED_ROWS)?;
    let wanted: Vec<String> = match (what, table) {
        (Analyse::Outgrown, _) => connection.prepare(WHAT_TO_ANALYSE)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?,
        (_, Some(table)) => vec![format!("ANALYZE \"{table}\"")],
        (_, None) => vec!["ANALYZE".to_owned()],
    };
    if wanted.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for sql in wanted {
        transaction.execute_batch(&sql)?;
    }
    // Other connections read statistics with the schema: one that changed makes them read it anew, and plan their statements anew.
    transaction.execute_batch("CREATE VIEW \"_analysed\" AS SELECT 1; DROP VIEW \"_analysed\"")?;
    transaction.commit()
}
