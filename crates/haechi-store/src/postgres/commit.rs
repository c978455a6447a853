//! Commits a change: in one statement where that is enough, otherwise in a transaction. Finds out the outcome of an interrupted commit.

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
/// How often, and how far apart, the entry of a commit of unknown outcome is looked up.
const LOOKS: usize = 5;
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl Inner {
    /// Waits at most this long for rows that others hold; the first run waits as long as the connection's setting allows.
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
                // After a failed rollback the connection's state is unknown: it is closed, not reused.
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

    /// Settles a commit of unknown outcome by looking for its entry.
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
        // A missing entry proves nothing yet: the server may still be committing.
        Err(Stop::Failed(Failure::Unknown))
    }
}
