//! The next number of a series, taken within a change: a row of `_numbers` is locked until the change ends, so numbers have no gaps.

use crate::render::{Dialect, Sql};
use haechi_model::{Series, Value};

/// After an import: the next number is looked for among the rows.
pub(crate) fn forget(sql: &mut Sql<'_>, table: usize) {
    let name = sql.table_name(table).to_owned();
    sql.push("UPDATE \"_numbers\" SET \"known\" = 0 WHERE \"collection\" = ");
    sql.bind(&Value::text(name));
}

/// A series of a column.
pub(crate) struct Of<'a> {
    pub(crate) table: usize,
    pub(crate) column: usize,
    pub(crate) series: &'a Series,
}

impl Of<'_> {
    /// Takes the next number, when the last is known.
    pub(crate) fn next(&self, sql: &mut Sql<'_>) {
        sql.push("UPDATE \"_numbers\" SET \"last\" = \"last\" + 1 WHERE \"collection\" = ");
        self.key(sql, [" AND \"field\" = ", " AND \"series\" = "]);
        sql.push(" AND \"known\" = 1 RETURNING \"last\"");
    }

    /// The highest number among the rows; NULL when there is none.
    pub(crate) fn highest(&self, sql: &mut Sql<'_>) {
        let (before, after) = (&self.series.before, &self.series.after);
        let (head, tail) = (before.chars().count(), after.chars().count());
        let column = format!("\"{}\"", sql.column_name(self.table, self.column));
        let digits = format!("SUBSTR({column}, {}, LENGTH({column}) - {})", head + 1, head + tail);
        sql.push(&format!("SELECT MAX(CAST({digits} AS BIGINT)) FROM "));
        let name = sql.table_name(self.table).to_owned();
        sql.name(&name);
        sql.push(&format!(" WHERE {column} >= "));
        sql.bind(&Value::text(&**before));
        sql.push(&format!(" AND SUBSTR({column}, 1, {head}) = "));
        sql.bind(&Value::text(&**before));
        sql.push(&format!(
            " AND LENGTH({column}) BETWEEN {} AND {} AND SUBSTR({column}, LENGTH({column}) - {tail} + 1) = ",
            head + tail + 1,
            head + tail + 18
        ));
        sql.bind(&Value::text(&**after));
        sql.push(&match sql.dialect() {
            Dialect::Sqlite => format!(" AND {digits} NOT GLOB '*[^0-9]*'"),
            Dialect::Postgres => format!(" AND {digits} ~ '^[0-9]+$'"),
        });
    }

    /// Takes the number after the highest; somebody else may have begun the series meanwhile.
    pub(crate) fn begin(&self, highest: i64, sql: &mut Sql<'_>) {
        sql.push("INSERT INTO \"_numbers\" VALUES (");
        self.key(sql, [", ", ", "]);
        sql.push(", ");
        sql.bind(&Value::Int(highest + 1));
        sql.push(
            ", 1) ON CONFLICT (\"collection\", \"field\", \"series\") DO UPDATE SET \"known\" = 1, \"last\" = CASE WHEN \"_numbers\".\"last\" >= \
             excluded.\"last\" THEN \"_numbers\".\"last\" + 1 ELSE excluded.\"last\" END RETURNING \"last\"",
        );
    }

    fn key(&self, sql: &mut Sql<'_>, between: [&str; 2]) {
        let (collection, field) = (sql.table_name(self.table).to_owned(), sql.column_name(self.table, self.column).to_owned());
        sql.bind(&Value::text(collection));
        sql.push(between[0]);
        sql.bind(&Value::text(field));
        sql.push(between[1]);
        sql.bind(&Value::text(self.series.name()));
    }
}
