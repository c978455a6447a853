//! Commits a change: in one statement where that is enough, else in a transaction; and finds out what became of a commit that was cut off.

use super::{
    Inner,
    once::Once,
    steps::{Runner, Step_, Stop},
};
use deadpool_postgres::Object;
use haechi_model::{Change, Failure, Outcome};
use std::time::Duration;
use tokio_postgres::error::SqlState;

/// Statements that one connection keeps prepared for changes.
const STATEMENTS: usize = 512;
/// How often, and how far apart, a commit of unknown outcome is looked for.
const LOOKS: usize = 5;
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl Inner {
    /// Waits for rows that others hold at most for so long; at its first run for as long as its connection is set to.
    pub(super) async fn run(&self, change: &Change, patience: Option<Duration>) -> Step_<Outcome> {
        let (_places, mut client) = self.change_connection(change).await?;
        if client.statement_cache.size() > STATEMENTS {
            client.statement_cache.clear();
        }
        if patience.is_none()
            && let Some(once) = Once::of(self, change)
        {
            match self.once(client, change, &once).await? {
                Ok(outcome) => return Ok(outcome),
                Err(back) => client = back,
            }
        }
        let runner = Runner { inner: self, client: &client, change };
        let ended = match runner.transaction(patience).await {
            Ok((outcome, quoted)) => runner.log_and_commit(&quoted).await.map(|committed| (outcome, committed)),
            Err(stop) => Err(stop),
        };
        match ended {
            Ok((outcome, (entries, committed))) => self.committed(client, outcome, &entries, committed).await,
            Err(stop) => {
                // A connection whose rollback failed is in doubt: it is closed, not pooled.
                if client.batch_execute("ROLLBACK").await.is_err() {
                    drop(Object::take(client));
                }
                Err(stop)
            }
        }
    }

    pub(super) async fn commit_transaction(&self, client: Object, outcome: Outcome, entries: &[Box<str>]) -> Step_<Outcome> {
        let committed = client.batch_execute("COMMIT").await;
        self.committed(client, outcome, entries, committed).await
    }

    /// What an answer to COMMIT means.
    async fn committed(
        &self,
        client: Object,
        outcome: Outcome,
        entries: &[Box<str>],
        committed: Result<(), tokio_postgres::Error>,
    ) -> Step_<Outcome> {
        match committed {
            Ok(()) => Ok(outcome),
            Err(error) => {
                drop(Object::take(client));
                if error.code().is_some_and(|code| [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(code)) {
                    return Err(Stop::Again);
                }
                self.settle(outcome, entries.first().map(|entry| &**entry)).await
            }
        }
    }

    /// A commit of unknown outcome is settled by looking for its entry.
    pub(super) async fn settle(&self, outcome: Outcome, entry: Option<&str>) -> Step_<Outcome> {
        let Some(entry) = entry else { return Err(Stop::Failed(Failure::Unknown)) };
        for _ in 0..LOOKS {
            tokio::time::sleep(LOOK_EVERY).await;
            let Ok(client) = self.changes.get().await else { continue };
            let found = client.query_opt("SELECT 1 FROM \"_log\" WHERE \"id\" = $1", &[&entry]).await;
            if matches!(found, Ok(Some(_))) {
                return Ok(outcome);
            }
        }
        // Not there yet does not say that it never will be: the server may still be committing.
        Err(Stop::Failed(Failure::Unknown))
    }
}
