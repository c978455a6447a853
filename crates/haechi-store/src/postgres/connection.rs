//! Connections, bound values and the meaning of errors.

use super::{outage, shapes::Shape, tls::Tls};
use crate::Unopened;
use arc_swap::ArcSwapOption;
use bytes::BytesMut;
use futures_util::TryStreamExt;
use haechi_model::{Cells, Failure, Row, Value};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio_postgres::{
    Client, Config, RowStream, Socket, Statement,
    error::SqlState,
    tls::MakeTlsConnect,
    types::{IsNull, ToSql, Type, to_sql_checked},
};

/// Statements that one connection keeps prepared.
const STATEMENT_CACHE: usize = 512;
/// The pause after a connection could not be made.
const REST: Duration = Duration::from_millis(200);
/// The time limit of the check that sessions are kept.
const PROBE: Duration = Duration::from_secs(2);

/// Opens connections of one kind.
#[derive(Clone)]
pub(super) struct Opener {
    config: Config,
    tls: Tls,
    settings: &'static str,
}

impl Opener {
    pub(super) fn new(config: Config, tls: Tls) -> Self {
        Self { config, tls, settings: "" }
    }

    pub(super) fn set_to(&self, settings: &'static str) -> Self {
        Self { settings, ..self.clone() }
    }

    pub(super) async fn open(&self) -> Result<Connection, Failure> {
        let (client, driver) = self.config.connect(self.tls.clone()).await.map_err(|error| failure(&error))?;
        tokio::spawn(async move {
            let _ = driver.await;
        });
        client.batch_execute(self.settings).await.map_err(|error| failure(&error))?;
        outage::over();
        Ok(Connection { client, statements: Mutex::default() })
    }

    /// A connection whose messages the caller reads.
    pub(super) async fn connect(
        &self,
    ) -> Result<(Client, tokio_postgres::Connection<Socket, <Tls as MakeTlsConnect<Socket>>::Stream>), tokio_postgres::Error> {
        self.config.connect(self.tls.clone()).await
    }

    /// Cancels the statement that runs on a connection.
    pub(super) async fn cancel(&self, connection: &Connection) {
        let _ = connection.client.cancel_token().cancel_query(self.tls.clone()).await;
    }
}

/// A connection that many reads share: they are pipelined. A lost connection is replaced.
pub(super) struct Shared {
    opener: Opener,
    current: ArcSwapOption<Connection>,
    /// When a connection could not be made.
    failed: tokio::sync::Mutex<Option<Instant>>,
    /// Whether something delays everything that is sent.
    late: Arc<AtomicBool>,
}

/// A live connection with its prepared statements, by the number of their shape.
pub(super) struct Connection {
    pub(super) client: Client,
    statements: Mutex<HashMap<usize, Statement>>,
}

impl Shared {
    pub(super) fn new(opener: Opener) -> Self {
        Self { opener, current: ArcSwapOption::empty(), failed: tokio::sync::Mutex::default(), late: Arc::default() }
    }

    pub(super) async fn get(&self) -> Result<Arc<Connection>, Failure> {
        if let Some(connection) = self.alive() {
            return Ok(connection);
        }
        let mut failed = self.failed.lock().await;
        if let Some(connection) = self.alive() {
            return Ok(connection);
        }
        if failed.is_some_and(|at| at.elapsed() < REST) {
            return Err(Failure::Unavailable);
        }
        match self.opener.open().await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                self.current.store(Some(connection.clone()));
                Ok(connection)
            }
            Err(failure) => {
                *failed = Some(Instant::now());
                Err(failure)
            }
        }
    }

    fn alive(&self) -> Option<Arc<Connection>> {
        self.current.load_full().filter(|connection| !connection.client.is_closed())
    }

    pub(super) fn late(&self) -> bool {
        self.late.load(Ordering::Relaxed)
    }

    /// Sends nothing more on it until it answers again.
    pub(super) fn is_late(&self, connection: &Arc<Connection>) {
        if !self.late.swap(true, Ordering::Relaxed) {
            let (late, connection) = (self.late.clone(), connection.clone());
            tokio::spawn(async move {
                let _ = connection.client.simple_query("").await;
                late.store(false, Ordering::Relaxed);
            });
        }
    }
}

/// Connects, and checks whether the database can store the data and whether sessions are kept.
pub(super) async fn usable(config: &Config, tls: Tls) -> Result<(), Unopened> {
    let unopened = |error: tokio_postgres::Error| if may_come(&error) { Unopened::Away(words(&error)) } else { Unopened::Unusable(words(&error)) };
    let (client, driver) = config.connect(tls.clone()).await.map_err(unopened)?;
    let driver = tokio::spawn(driver);
    let encoding: String = client.query_one("SELECT current_setting('server_encoding')", &[]).await.map_err(unopened)?.get(0);
    if encoding != "UTF8" {
        return Err(Unopened::Unusable(format!(
            "the database has the encoding {encoding}, which cannot hold every text: make one with `CREATE DATABASE … ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE template0`"
        )));
    }
    let kept = sessions_are_kept(&client, config, tls).await.map_err(unopened)?;
    driver.abort();
    if kept { Ok(()) } else { Err(Unopened::Unusable(POOLED.to_owned())) }
}

const POOLED: &str = "a pooler that gives each transaction another session stands before it: set pool_mode = session, or connect past it";

/// Whether this client has its own session: another client must not see its settings, and they must last.
async fn sessions_are_kept(client: &Client, config: &Config, tls: Tls) -> Result<bool, tokio_postgres::Error> {
    const SET: &str = "SELECT set_config('haechi.session', 'mine', false)";
    const SEEN: &str = "SELECT COALESCE(current_setting('haechi.session', true), '') = 'mine'";
    client.execute(SET, &[]).await?;
    let (other, driver) = config.connect(tls).await?;
    let driver = tokio::spawn(driver);
    // The other client holds its session in a transaction while this one checks its own.
    if other.batch_execute("BEGIN").await.is_err() {
        return Ok(false);
    }
    let seen: bool = other.query_one(SEEN, &[]).await?.get(0);
    let looked = tokio::time::timeout(PROBE, client.query_one(SEEN, &[])).await;
    let _ = other.batch_execute("ROLLBACK").await;
    driver.abort();
    // No answer: the other client has the only session.
    let kept = looked.is_ok_and(|found| found.is_ok_and(|row| row.get(0)));
    client.batch_execute("RESET haechi.session").await?;
    Ok(kept && !seen)
}

/// Whether a retry may help: no server answers, or the server starts, stops, is full, or is a standby.
fn may_come(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        Some(code) => matches!(code.code().get(..2), Some("57" | "53" | "08")),
        None if error.is_closed() => true,
        None => std::error::Error::source(error).is_some_and(|cause| {
            let system = cause.downcast_ref::<std::io::Error>().is_some_and(|cause| cause.get_ref().is_none());
            system || [STANDBY, NO_NAME].iter().any(|said| cause.to_string().contains(said))
        }),
    }
}

/// The system's message for a host without an address.
const NO_NAME: &str = "failed to lookup address information";
/// The driver's message for a server that accepts no changes.
const STANDBY: &str = "database does not allow writes";

impl Connection {
    /// Streams the rows: they need not be in memory together. With `once` the statement is planned for these values; otherwise a kept
    /// statement soon has one plan for all values.
    pub(super) async fn stream(&self, shape: &Shape, values: &[Value], once: bool) -> Result<RowStream, Failure> {
        let bound = bound(values);
        let sent = if once {
            let typed = bound.iter().map(|value| (value as &(dyn ToSql + Sync), value.ty()));
            self.client.query_typed_raw(&shape.sql, typed).await
        } else {
            let sent = self.client.query_raw(&self.prepared(shape).await?, references(&bound)).await;
            match sent {
                // A migration has changed the tables of a kept statement.
                Err(error) if error.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED) => {
                    self.statements().remove(&shape.id);
                    self.client.query_raw(&self.prepared(shape).await?, references(&bound)).await
                }
                sent => sent,
            }
        };
        sent.map_err(|error| failure(&error))
    }

    async fn prepared(&self, shape: &Shape) -> Result<Statement, Failure> {
        let known = self.statements().get(&shape.id).cloned();
        Ok(match known {
            Some(statement) => statement,
            None => {
                let statement = self.client.prepare(&shape.sql).await.map_err(|error| failure(&error))?;
                let mut statements = self.statements();
                if statements.len() >= STATEMENT_CACHE {
                    statements.clear();
                }
                statements.insert(shape.id, statement.clone());
                statement
            }
        })
    }

    fn statements(&self) -> std::sync::MutexGuard<'_, HashMap<usize, Statement>> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) async fn bound_rows(connection: &Connection, shape: &Shape, values: &[Value], once: bool) -> Result<Vec<tokio_postgres::Row>, Failure> {
    connection.stream(shape, values, once).await?.try_collect().await.map_err(|error| failure(&error))
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
        Some(cause) if cause.contains(STANDBY) => {
            "the server is a standby, which takes no changes: name the primary, or all hosts one after the other".to_owned()
        }
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// The meaning of a driver's error. Its text goes to the operator's log only.
pub(crate) fn failure(error: &tokio_postgres::Error) -> Failure {
    let Some(code) = error.code() else {
        if !error.is_closed() {
            outage::met(&words(error), None);
        }
        return Failure::Unavailable;
    };
    let class = code.code().get(..2).unwrap_or_default();
    if *code == SqlState::DISK_FULL {
        return Failure::Full;
    }
    if *code == SqlState::QUERY_CANCELED {
        return Failure::Costly;
    }
    if *code == SqlState::TOO_MANY_CONNECTIONS || *code == SqlState::LOCK_NOT_AVAILABLE {
        return Failure::Busy;
    }
    if matches!(class, "08" | "57" | "53" | "28" | "3D" | "58") {
        outage::met(&words(error), Some(code.code()));
        return Failure::Unavailable;
    }
    let message = error.as_db_error().map(tokio_postgres::error::DbError::message).unwrap_or_default();
    tracing::error!(target: "haechi::store", code = code.code(), message, "the database refused a statement");
    Failure::Broken
}
