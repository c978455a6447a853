//! Work that runs alone on the writing connection: seals and statistics.

use crate::{Analyse, journal::Seal};
use rusqlite::Connection;

/// Keeps a seal; `false` when there is one of this size already.
pub(crate) fn save_seal(connection: &Connection, seal: &Seal) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached("INSERT OR IGNORE INTO \"_seals\" VALUES (?, ?, ?, ?)")?;
    Ok(statement.execute((seal.size, seal.time_ms, &seal.note, &seal.frontier))? == 1)
}

/// Rows of an index that are read for its statistics.
const ANALYSED_ROWS: i64 = 1_000;
/// Statistics of fewer rows are not kept. With statistics of one row, SQLite would read the whole table for each look-up, even when it has
/// grown. Without statistics the planner assumes a large table and uses its indexes.
const FEWEST_ROWS: i64 = 1_000;
/// Lists what `PRAGMA optimize` would do, over all tables: those never analysed, and those that have grown or shrunk tenfold.
const WHAT_TO_ANALYSE: &str = "PRAGMA optimize(0x10003)";

/// Gathers statistics of tables that have none or outgrew them, or of all. Without them the planner guesses which index helps.
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
    let before = kept(&transaction)?;
    for sql in wanted {
        transaction.execute_batch(&sql)?;
    }
    transaction.execute("DELETE FROM \"sqlite_stat1\" WHERE CAST(\"stat\" AS INTEGER) < ?", [FEWEST_ROWS])?;
    if kept(&transaction)? == before {
        return transaction.rollback();
    }
    // Other connections read statistics with the schema: a changed schema makes them read it again and plan their statements again.
    transaction.execute_batch("CREATE VIEW \"_analysed\" AS SELECT 1; DROP VIEW \"_analysed\"")?;
    transaction.commit()
}

/// The current statistics.
fn kept(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let there: bool = connection.query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_stat1')", [], |row| row.get(0))?;
    if !there {
        return Ok(Vec::new());
    }
    let sql = "SELECT \"tbl\" || ' ' || COALESCE(\"idx\", '') || ' ' || \"stat\" FROM \"sqlite_stat1\" ORDER BY 1";
    connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_was_small_is_not_read_whole_later() {
        let folder = std::env::temp_dir().join(format!("haechi-stat-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        let mut connection = crate::sqlite::connection::writer(&folder.join("t.db")).unwrap();
        let fill = |connection: &Connection, from: i64, to: i64| {
            let sql = "WITH RECURSIVE c(x) AS (SELECT ?1 UNION ALL SELECT x + 1 FROM c WHERE x < ?2) INSERT INTO t SELECT x, x FROM c";
            connection.execute(sql, [from, to]).unwrap();
        };
        let schema = |connection: &Connection| connection.query_row("PRAGMA schema_version", [], |row| row.get::<_, i64>(0)).unwrap();
        connection.execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY, v INTEGER); CREATE INDEX by_v ON t (v)").unwrap();
        fill(&connection, 1, 5);
        analyse(&mut connection, Analyse::Outgrown, None).unwrap();
        let plan = || {
            let mut statement = connection.prepare("EXPLAIN QUERY PLAN SELECT v FROM t WHERE n >= 3 ORDER BY n LIMIT 5").unwrap();
            let lines: Vec<String> = statement.query_map([], |row| row.get(3)).unwrap().collect::<Result<_, _>>().unwrap();
            lines.join("; ")
        };
        assert!(plan().starts_with("SEARCH"), "{}", plan());
        // A second run changes nothing: statements are not planned again.
        let before = schema(&connection);
        analyse(&mut connection, Analyse::Everything, None).unwrap();
        assert_eq!((schema(&connection), kept(&connection).unwrap().len()), (before, 0));
        fill(&connection, 6, 5_000);
        analyse(&mut connection, Analyse::Outgrown, None).unwrap();
        assert_eq!(kept(&connection).unwrap().len(), 1, "{:?}", kept(&connection).unwrap());
        assert!(schema(&connection) > before);
        drop(connection);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
