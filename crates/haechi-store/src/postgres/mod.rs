//! PostgreSQL.

use crate::{
    catalog::Catalog,
    journal::{Journal, LogRecord, Seal},
    migrate::{Applied, MigrateError, Migration},
};
use haechi_model::{Change, Failure, Outcome, Row, RowPage, Select};
use std::sync::Arc;
use tokio::sync::Notify;

pub(crate) struct Postgres {}

#[expect(clippy::unused_async, reason = "filled in next")]
impl Postgres {
    pub(crate) async fn open(_: &str, _: Arc<Catalog>, _: Arc<dyn Journal>, _: Arc<Notify>) -> Result<Self, Failure> {
        Err(Failure::Unavailable)
    }
    pub(crate) async fn select(&self, _: Select) -> Result<RowPage, Failure> {
        Err(Failure::Unavailable)
    }
    pub(crate) async fn row(&self, _: usize, _: &str) -> Result<Option<Row>, Failure> {
        Err(Failure::Unavailable)
    }
    pub(crate) async fn rows_after(&self, _: usize, _: &str, _: u32) -> Result<Vec<Row>, Failure> {
        Err(Failure::Unavailable)
    }
    pub(crate) async fn commit(&self, _: Change) -> Result<Outcome, Failure> {
        Err(Failure::Unavailable)
    }
    pub(crate) async fn applied(&self) -> Result<Vec<Applied>, Failure> {
        Err(Failure::Unavailable)
    }
    pub(crate) async fn migrate(&self, _: Migration, _: i64) -> Result<(), MigrateError> {
        Err(MigrateError::Database)
    }
    pub(crate) async fn log_from(&self, _: i64, _: u32) -> Result<Vec<LogRecord>, Failure> {
        Err(Failure::Unavailable)
    }
    pub(crate) async fn seals_from(&self, _: i64, _: u32) -> Result<Vec<Seal>, Failure> {
        Err(Failure::Unavailable)
    }
    pub(crate) async fn last_seal(&self) -> Result<Option<Seal>, Failure> {
        Err(Failure::Unavailable)
    }
    pub(crate) async fn save_seal(&self, _: &Seal) -> Result<(), Failure> {
        Err(Failure::Unavailable)
    }
    pub(crate) async fn forget_claims(&self, _: i64) -> Result<(), Failure> {
        Err(Failure::Unavailable)
    }
    pub(crate) async fn sequence(&self, _: i64) -> Result<bool, Failure> {
        Err(Failure::Unavailable)
    }
}
