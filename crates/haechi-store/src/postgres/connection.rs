//! Connections, bound values and what errors mean.

use super::tls::Tls;
use crate::Unopened;
use bytes::BytesMut;
use haechi_model::Cells;
use haechi_model::{Failure, Row, Value};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio_postgres::{
    Client, Config, RowStream, Statement,
    error::SqlState,
    types::{IsNull, ToSql, Type, to_sql_checked},
};

/// What one read may take. The memory lets the ids of about a million referenced rows be hashed; a set that does not fit is searched for each row.
const LIMITS: &str = "SET statement_timeout = '10s'; SET default_transaction_read_only = on; SET work_mem = '64MB'; SET jit = off";
/// Statements that one connection keeps prepared.
const STATEMENT_CACHE: usize = 512;

/// A connection that many reads share: they are pipelined, and it is made anew when it was lost.
pub(super) struct Shared {
    config: Config,
    tls: Tls,
    current: tokio::sync::Mutex<Option<Arc<Connection>>>,
}

/// A live connection with its prepared statements.
pub(super) struct Connection {
    pub(super) client: Client,
    statements: Mutex<HashMap<String, Statement>>,
}

impl Shared {
    pub(super) fn new(config: Config, tls: Tls) -> Self {
        Self { config, tls, current: tokio::sync::Mutex::default() }
    }

    pub(super) async fn get(&self) -> Result<Arc<Connection>, Failure> {
        let mut current = self.current.lock().await;
        if let Some(connection) = current.as_ref().filter(|connection| !connection.client.is_closed()) {
            return Ok(connection.clone());
        }
        let (client, driver) = self.config.connect(self.tls.clone()).await.map_err(|error| failure(&error))?;
        tokio::spawn(async move {
            let _ = driver.await;
        });
        client.batch_execute(LIMITS).await.map_err(|error| failure(&error))?;
        let connection = Arc::new(Connection { client, statements: Mutex::default() });
        *current = Some(connection.clone());
        Ok(connection)
    }
}

/// Connects once, and looks whether the database can hold what it is given.
pub(super) async fn usable(config: &Config, tls: Tls) -> Result<(), Unopened> {
    let unopened = |error| Unopened(words(&error));
    let (client, driver) = config.connect(tls).await.map_err(unopened)?;
    let driver = tokio::spawn(driver);
    let encoding: String = client.query_one("SELECT current_setting('server_encoding')", &[]).await.map_err(unopened)?.get(0);
    driver.abort();
    if encoding == "UTF8" {
        return Ok(());
    }
    Err(Unopened(format!(
        "the database has the encoding {encoding}, which cannot hold every text: make one with `CREATE DATABASE … ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE template0`"
    )))
}

impl Connection {
    pub(super) async fn query(&self, sql: &str, values: &[Value]) -> Result<Vec<tokio_postgres::Row>, Failure> {
        let statement = self.prepared(sql).await?;
        let bound = bound(values);
        self.client.query(&statement, &references(&bound)).await.map_err(|error| failure(&error))
    }

    /// The rows one after the other: they need not be in memory together. With `once` the statement's plan is made for these values;
    /// a kept statement soon has one plan for all values.
    pub(super) async fn stream(&self, sql: &str, values: &[Value], once: bool) -> Result<RowStream, Failure> {
        let bound = bound(values);
        let found = if once {
            let typed = bound.iter().map(|value| (value as &(dyn ToSql + Sync), value.ty()));
            self.client.query_typed_raw(sql, typed).await
        } else {
            self.client.query_raw(&self.prepared(sql).await?, references(&bound)).await
        };
        found.map_err(|error| failure(&error))
    }

    async fn prepared(&self, sql: &str) -> Result<Statement, Failure> {
        let known = self.statements().get(sql).cloned();
        Ok(match known {
            Some(statement) => statement,
            None => {
                let statement = self.client.prepare(sql).await.map_err(|error| failure(&error))?;
                let mut statements = self.statements();
                if statements.len() >= STATEMENT_CACHE {
                    statements.clear();
                }
                statements.insert(sql.to_owned(), statement.clone());
                statement
            }
        })
    }

    /// Runs a statement without keeping it: its plan is made for these values. A kept statement soon has one plan for all values.
    pub(super) async fn query_once(&self, sql: &str, values: &[Value]) -> Result<Vec<tokio_postgres::Row>, Failure> {
        let bound = bound(values);
        let typed: Vec<(&(dyn ToSql + Sync), Type)> = bound.iter().map(|value| (value as &(dyn ToSql + Sync), value.ty())).collect();
        self.client.query_typed(sql, &typed).await.map_err(|error| failure(&error))
    }

    fn statements(&self) -> std::sync::MutexGuard<'_, HashMap<String, Statement>> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A value as a parameter; statements cast each to the type of its kind.
#[derive(Debug)]
pub(super) struct Bound<'a>(pub(super) &'a Value);

pub(super) fn bound(values: &[Value]) -> Vec<Bound<'_>> {
    values.iter().map(Bound).collect()
}

pub(super) fn references<'a>(bound: &'a [Bound<'a>]) -> Vec<&'a (dyn ToSql + Sync)> {
    bound.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

impl Bound<'_> {
    /// The type that statements cast it to.
    fn ty(&self) -> Type {
        match self.0 {
            Value::Int(_) => Type::INT8,
            Value::Real(_) => Type::FLOAT8,
            Value::Null | Value::Text(_) => Type::TEXT,
        }
    }
}

impl ToSql for Bound<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self.0 {
            Value::Null => Ok(IsNull::Yes),
            Value::Int(int) => int.to_sql(ty, out),
            Value::Real(real) => real.to_sql(ty, out),
            Value::Text(text) => (&**text).to_sql(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A whole stored row.
pub(super) fn row_values(row: &tokio_postgres::Row) -> Row {
    let value = |(at, column): (usize, &tokio_postgres::Column)| match *column.type_() {
        Type::INT8 => row.get::<_, Option<i64>>(at).map_or(Value::Null, Value::Int),
        Type::FLOAT8 => row.get::<_, Option<f64>>(at).map_or(Value::Null, Value::Real),
        _ => row.get::<_, Option<&str>>(at).map_or(Value::Null, Value::text),
    };
    row.columns().iter().enumerate().map(value).collect()
}

pub(super) struct Reader<'a>(pub(super) &'a tokio_postgres::Row);

impl Cells for Reader<'_> {
    fn int(&self, at: usize) -> Option<i64> {
        self.0.try_get::<_, Option<i64>>(at).ok().flatten()
    }

    fn real(&self, at: usize) -> Option<f64> {
        self.0.try_get::<_, Option<f64>>(at).ok().flatten()
    }

    fn text(&self, at: usize) -> Option<&str> {
        self.0.try_get::<_, Option<&str>>(at).ok().flatten()
    }
}

/// A driver's error with its cause, in words for an operator.
pub(crate) fn words(error: &tokio_postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        return said.message().to_owned();
    }
    let cause = std::error::Error::source(error).map(|cause| match cause.downcast_ref::<std::io::Error>() {
        Some(cause) if cause.raw_os_error().is_some() => haechi_model::why(cause.kind()),
        _ => cause.to_string(),
    });
    match cause {
        Some(cause) if cause.contains("server does not support TLS") => {
            "the server does no TLS: let it, or write sslmode=disable for a database on this host".to_owned()
        }
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// What a driver's error means. Its text goes to the log of the operator only.
pub(crate) fn failure(error: &tokio_postgres::Error) -> Failure {
    let Some(code) = error.code() else {
        if !error.is_closed() {
            tracing::warn!(target: "haechi::store", error = words(error), "the database cannot be reached");
        }
        return Failure::Unavailable;
    };
    let class = code.code().get(..2).unwrap_or_default();
    if *code == SqlState::DISK_FULL {
        return Failure::Full;
    }
    if *code == SqlState::QUERY_CANCELED || *code == SqlState::TOO_MANY_CONNECTIONS || *code == SqlState::LOCK_NOT_AVAILABLE {
        return Failure::Busy;
    }
    if matches!(class, "08" | "57" | "53" | "28" | "3D" | "58") {
        tracing::warn!(target: "haechi::store", error = words(error), code = code.code(), "the database cannot be used");
        return Failure::Unavailable;
    }
    let message = error.as_db_error().map(tokio_postgres::error::DbError::message).unwrap_or_default();
    tracing::error!(target: "haechi::store", code = code.code(), message, "the database refused a statement");
    Failure::Broken
}
