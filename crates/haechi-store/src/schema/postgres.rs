//! Reads the schema of a PostgreSQL database.

use super::{Shape, Strange, compare, declared, expected, refers};
use crate::{postgres::failure, render::Dialect};
use haechi_model::{Failure, Table};
use tokio_postgres::{Client, Error, Row};

/// A table by the name that statements use; the search path decides its schema.
const TABLE: &str = "SELECT c.oid, c.relkind::text, c.relpersistence::text, c.relrowsecurity OR c.relforcerowsecurity, \
    EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhparent = c.oid OR i.inhrelid = c.oid) FROM pg_class c WHERE c.oid = to_regclass($1)";
const COLUMNS: &str = "SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, COALESCE(l.collname, ''), \
    a.atthasdef OR a.attidentity <> '' OR a.attgenerated <> '', a.attcollation <> 0, \
    CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END \
    FROM pg_attribute a LEFT JOIN pg_collation l ON l.oid = a.attcollation LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped";
const CONSTRAINTS: &str = "SELECT k.conname, k.contype::text, k.confdeltype::text IN ('r', 'c') AND k.confupdtype::text = 'a' AND NOT k.condeferrable AND k.convalidated, \
    ARRAY(SELECT a.attname FROM unnest(k.conkey) WITH ORDINALITY o(num, place) JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = o.num ORDER BY place)::text[], \
    COALESCE(f.relname, ''), ARRAY(SELECT a.attname FROM unnest(k.confkey) num JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = num)::text[], \
    pg_get_constraintdef(k.oid), k.confdeltype::text = 'c' FROM pg_constraint k LEFT JOIN pg_class f ON f.oid = k.confrelid WHERE k.conrelid = $1 AND k.contype <> 'n'";
const INDEXES: &str = "SELECT c.relname, i.indisunique, i.indisvalid AND i.indisready AND i.indexprs IS NULL \
    AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) ~ '^\\(*(COALESCE\\(octet_length\\(\"?[a-z_0-9]+\"?\\), 0\\)( \\+ |\\))*)+ <= 2600\\)$'), \
    ARRAY(SELECT COALESCE(a.attname, '(an expression)') FROM unnest(i.indkey::int2[]) WITH ORDINALITY o(num, place) \
          LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = o.num AND o.num > 0 ORDER BY place)::text[] \
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = $1 AND NOT i.indisprimary";
/// Triggers that somebody made, disabled triggers of constraints, rules, and policies.
const ACTING: &str = "SELECT CASE WHEN tgisinternal THEN 'the checks of a foreign key are switched off' ELSE 'the trigger ' || tgname || ' was added' END \
      FROM pg_trigger WHERE tgrelid = $1 AND (NOT tgisinternal OR tgenabled <> 'O') \
    UNION SELECT 'the rewrite rule ' || rulename || ' was added' FROM pg_rewrite WHERE ev_class = $1 AND rulename <> '_RETURN' \
    UNION SELECT 'the row-level policy ' || polname || ' was added' FROM pg_policy WHERE polrelid = $1 ORDER BY 1";
const BESIDE: &str = "SELECT CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'view' WHEN 'f' THEN 'foreign table' ELSE 'table' END, relname \
    FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY relname";

/// Compares the database with the tables that are remembered.
pub(crate) async fn found(client: &Client, tables: &[Table]) -> Result<Strange, Failure> {
    let run = async {
        let mut strange = Strange::default();
        for table in tables {
            match client.query_opt(TABLE, &[&format!("\"{}\"", table.name)]).await? {
                None => strange.wrong.push(format!("table {}: it is gone", table.name)),
                Some(row) if row.get::<_, &str>(1) != "r" => {
                    let kind = match row.get(1) {
                        "v" | "m" => "view",
                        "f" => "foreign table",
                        "p" => "partitioned table",
                        _ => "thing that is no table",
                    };
                    strange.wrong.push(format!("table {}: a {kind} stands in its place", table.name));
                }
                Some(row) => compare(&table.name, &expected(Dialect::Postgres, table), &shape(client, &row).await?, &mut strange),
            }
        }
        if client.query_one("SELECT to_regclass('\"_log_arrival\"') IS NULL", &[]).await?.get(0) {
            strange.wrong.push("the sequence _log_arrival is gone".to_owned());
        }
        let ours = |name: &str| name == "_migrations" || tables.iter().any(|table| table.name == name);
        for row in client.query(BESIDE, &[]).await? {
            let (kind, name): (&str, &str) = (row.get(0), row.get(1));
            if !ours(name) {
                strange.beside.push(format!("the {kind} {name} is none of this app's"));
            }
        }
        Ok(strange)
    };
    run.await.map_err(|error: Error| failure(&error))
}

async fn shape(client: &Client, row: &Row) -> Result<Shape, Error> {
    let (id, persistence, secured, inherits): (u32, &str, bool, bool) = (row.get(0), row.get(2), row.get(3), row.get(4));
    let mut shape = Shape::default();
    for row in client.query(COLUMNS, &[&id]).await? {
        let (name, kind, required, order, made, ordered): (String, String, bool, String, bool, bool) =
            (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4), row.get(5));
        let kind = if ordered { format!("{kind} collate {}", order.to_lowercase()) } else { kind };
        let made = match row.get::<_, Option<String>>(6) {
            Some(default) => format!(" with the default {default}"),
            None if made => " with a default".to_owned(),
            None => String::new(),
        };
        shape.columns.insert(name, declared(&kind, required) + &made);
    }
    for row in client.query(CONSTRAINTS, &[&id]).await? {
        let (name, kind, plain, columns, target, at, text): (String, &str, bool, Vec<String>, &str, Vec<String>, String) =
            (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4), row.get(5), row.get(6));
        match kind {
            "p" => shape.key = columns,
            "f" if plain && at == ["id"] && columns.len() == 1 => drop(shape.references.insert(refers(&columns[0], target, row.get(7)))),
            _ => shape.acting.push(format!("the constraint {name} ({text}) was added")),
        }
    }
    for row in client.query(INDEXES, &[&id]).await? {
        let (name, unique, plain, columns): (String, bool, bool, Vec<String>) = (row.get(0), row.get(1), row.get(2), row.get(3));
        shape.indexes.insert(name, (unique, columns.join(", ") + if plain { "" } else { " of some rows" }));
    }
    shape.acting.extend(client.query(ACTING, &[&id]).await?.iter().map(|row| row.get::<_, String>(0)));
    if secured {
        shape.acting.push("row-level security is on".to_owned());
    }
    if inherits {
        shape.acting.push("it inherits, or is inherited from".to_owned());
    }
    if persistence != "p" {
        shape.acting.push("it is not logged: a crash empties it".to_owned());
    }
    Ok(shape)
}
