//! The same rows in SQLite and PostgreSQL, foreign keys off so that references may dangle.

use super::world::World;
use haechi_model::{Change, EntryDraft, Operand, Order, Predicate, Row, Select, Value};
use haechi_store::{Catalog, Journal, LogRow, Store, Target};
use std::collections::HashSet;
use tokio::runtime::Runtime;

pub(super) struct Databases {
    runtime: Runtime,
    stores: Vec<(&'static str, Store)>,
}

struct Silent;

impl Journal for Silent {
    fn encode(&self, _: &Change, draft: &EntryDraft, _: Option<&Row>, _: Option<&Row>) -> LogRow {
        LogRow { id: draft.id.clone(), entry: Vec::new(), hash: [0; 32], salt: [0; 32], detail: String::new(), event: None, image: None }
    }
}

impl Databases {
    pub(super) fn open(world: &World) -> Self {
        let runtime = Runtime::new().unwrap();
        let file = world.root.join("rows.db");
        let server = std::env::var("HAECHI_TEST_POSTGRES").expect("HAECHI_TEST_POSTGRES is not set: run the tests with `cargo xtask test`");
        let stores = runtime.block_on(async {
            let sqlite = store(world, &Target::Sqlite(file.clone())).await;
            let url = database(&server).await;
            let postgres = store(
                world,
                &Target::Postgres(haechi_store::Server {
                    url: url.clone(),
                    trust: haechi_model::Trust::Plain,
                    connections: haechi_model::Connections::default(),
                }),
            )
            .await;
            fill_postgres(world, &url).await;
            vec![("SQLite", sqlite), ("PostgreSQL", postgres)]
        });
        fill_sqlite(world, &file);
        Self { runtime, stores }
    }

    /// Ids of the rows of which the condition holds, per database. Where the rows are named, references are looked up otherwise.
    pub(super) fn select(&self, world: &World, predicate: &Predicate, named: bool) -> Vec<(&'static str, Vec<String>)> {
        let ids = Predicate::OneOf(Operand::Column(0), world.asked().map(|row| row[0].clone()).collect());
        let predicate = Predicate::all(std::iter::once(predicate.clone()).chain(named.then_some(ids)));
        let order = vec![Order::new(0, false)];
        let select = Select { order, ..Select::new(world.things_id, predicate, 1000) };
        let asked: HashSet<&str> = world.asked().filter_map(|row| row[0].as_text()).collect();
        let found = |store: &Store| {
            self.runtime
                .block_on(store.select(select.clone(), haechi_store::Reads::SYSTEM))
                .map(|page| page.ids.into_iter().map(String::from).filter(|id| asked.contains(id.as_str())).collect())
        };
        self.stores.iter().map(|(name, store)| (*name, found(store).unwrap_or_else(|failure| vec![format!("{failure}")]))).collect()
    }
}

async fn store(world: &World, target: &Target) -> Store {
    let store = Store::open(target, Catalog::new(&world.app(""), Vec::new()), std::sync::Arc::new(Silent)).await.unwrap();
    let plan = store.plan().await.unwrap();
    store.migrate(plan, false, 0).await.unwrap();
    store
}

async fn database(server: &str) -> String {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let name = format!("haechi_property_{}_{}", std::process::id(), NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    let (client, connection) = tokio_postgres::connect(server, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    format!("{}/{name}", server.rsplit_once('/').unwrap().0)
}

/// Copies of each person of the world that no row refers to. With them the store finds that a condition on people matches few rows or many,
/// and writes it in either way.
const ALIKE: usize = 100;

fn rows(world: &World) -> impl Iterator<Item = (String, Vec<Value>)> {
    let alike = |(at, row): (usize, &Vec<Value>)| {
        let row = row.clone();
        (0..ALIKE).map(move |number| {
            let mut row = row.clone();
            row[0] = Value::text(format!("01920000-0000-7000-8000-0000{:08x}", 0x0100_0000 + at * ALIKE + number));
            row
        })
    };
    let people = world.users.iter().cloned().chain(world.users.iter().enumerate().flat_map(alike));
    let of = |name: &'static str, rows: &Vec<Vec<Value>>| rows.clone().into_iter().map(move |row| (name.to_owned(), row));
    let rows = people.map(|row| ("users".to_owned(), row)).chain(of("things", &world.things)).chain(of("bonds", &world.bonds));
    let app = world.app("");
    rows.flat_map(move |(table, row)| {
        let lists = app.collection(&table).map(|collection| collection.lists.clone()).unwrap_or_default();
        let targets = |list: &haechi_model::ListTable| haechi_model::references(&row[list.field]);
        let listed: Vec<(String, Vec<Value>)> = lists
            .iter()
            .flat_map(|list| targets(list).into_iter().map(|target| (list.table.name.clone(), vec![row[0].clone(), Value::Text(target)])))
            .collect();
        std::iter::once((table, row)).chain(listed)
    })
}

fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(i64::MIN) => "(-9223372036854775807 - 1)".to_owned(),
        Value::Int(int) => int.to_string(),
        Value::Real(real) => real.to_string(),
        Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
    }
}

fn insert(table: &str, row: &[Value]) -> String {
    format!("INSERT INTO \"{table}\" VALUES ({})", row.iter().map(literal).collect::<Vec<_>>().join(", "))
}

fn fill_sqlite(world: &World, file: &std::path::Path) {
    let connection = rusqlite::Connection::open(file).unwrap();
    connection.pragma_update(None, "foreign_keys", false).unwrap();
    for (table, row) in rows(world) {
        connection.execute_batch(&insert(&table, &row)).unwrap();
    }
}

async fn fill_postgres(world: &World, url: &str) {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("SET session_replication_role = replica").await.unwrap();
    for (table, row) in rows(world) {
        client.batch_execute(&insert(&table, &row)).await.unwrap();
    }
}
