//! `bench-raw --ask TARGET`: runs each statement that comes on a line, reads all its rows, and answers with the milliseconds.

use std::{io::BufRead, time::Instant};

pub(crate) async fn run(target: &str) {
    if target.starts_with("postgres://") { postgres(target).await } else { sqlite(target) }
}

fn statements() -> impl Iterator<Item = String> {
    std::io::stdin().lock().lines().map_while(Result::ok)
}

fn answer(started: Instant) {
    println!("{:.4}", started.elapsed().as_secs_f64() * 1000.0);
}

fn sqlite(path: &str) {
    let connection = crate::open(path);
    for sql in statements() {
        let mut statement = connection.prepare_cached(&sql).unwrap();
        let started = Instant::now();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            std::hint::black_box(row);
        }
        answer(started);
    }
}

async fn postgres(url: &str) {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("SET jit = off; SET work_mem = '64MB'; SET statement_timeout = '3s'").await.unwrap();
    for sql in statements() {
        let statement = client.prepare(&sql).await.unwrap();
        let started = Instant::now();
        match client.query(&statement, &[]).await {
            Ok(rows) => drop(std::hint::black_box(rows)),
            // Cancelled: it counts as what it took.
            Err(error) => assert!(error.code() == Some(&tokio_postgres::error::SqlState::QUERY_CANCELED), "{error}"),
        }
        answer(started);
    }
}
