//! The store's own tables, made by the same planner as all others.

use crate::{catalog::Catalog, render::Dialect};
use haechi_model::{Column, Index, Storage, Table, Value};

/// The tables of the log, its seals, idempotency keys, number series, images and leases.
#[must_use]
pub(crate) fn system_tables(dialect: Dialect) -> Vec<Table> {
    let organisation = || Column { default: Some(Value::text("")), ..Column::required("organisation", Storage::Text) };
    let entry = [
        Column::required("entry", Storage::Bytes),
        Column::required("hash", Storage::Bytes),
        Column::optional("salt", Storage::Bytes),
        Column::optional("detail", Storage::Text),
        Column::optional("event", Storage::Text),
        organisation(),
    ];
    let log = match dialect {
        Dialect::Sqlite => Table::system(
            "_log",
            1,
            [Column::required("position", Storage::Int), Column::required("id", Storage::Text)].into_iter().chain(entry).collect(),
            Vec::new(),
        ),
        Dialect::Postgres => Table::system(
            "_log",
            1,
            [Column::required("id", Storage::Text), Column::optional("position", Storage::Int)]
                .into_iter()
                .chain(entry)
                .chain([Column::required("arrival", Storage::Int)])
                .collect(),
            vec![Index::new("_log_position_key", &[1], true)],
        ),
    };
    vec![
        log,
        Table::system(
            "_seals",
            1,
            vec![
                Column::required("size", Storage::Int),
                Column::required("time", Storage::Int),
                Column::required("note", Storage::Text),
                Column::required("frontier", Storage::Bytes),
            ],
            Vec::new(),
        ),
        Table::system(
            "_idempotency",
            1,
            vec![
                Column::required("key", Storage::Text),
                Column::required("digest", Storage::Text),
                Column::required("result", Storage::Text),
                Column::required("time", Storage::Int),
                organisation(),
            ],
            vec![Index::new("_idempotency_time_idx", &[3], false)],
        ),
        numbers(),
        // Rows before and after a change, for live changes: by the id of the entry, which contains its time.
        Table::system("_images", 1, vec![Column::required("id", Storage::Text), Column::required("image", Storage::Bytes)], Vec::new()),
        Table::system(
            "_leases",
            1,
            vec![
                Column::required("name", Storage::Text),
                Column::required("holder", Storage::Text),
                Column::required("expires", Storage::Int),
                Column::required("fence", Storage::Int),
            ],
            Vec::new(),
        ),
    ]
}

/// The last number of each series. Where `known` is 0, rows were imported since: the next number is looked for among the rows.
fn numbers() -> Table {
    Table::system(
        "_numbers",
        3,
        vec![
            Column::required("collection", Storage::Text),
            Column::required("field", Storage::Text),
            Column::required("series", Storage::Text),
            Column::required("last", Storage::Int),
            Column::required("known", Storage::Int),
        ],
        Vec::new(),
    )
}

/// The tables that a version needs: its own and the collections'.
pub(crate) fn wanted_tables(dialect: Dialect, catalog: &Catalog) -> Vec<Table> {
    system_tables(dialect).into_iter().chain(catalog.tables()).collect()
}
