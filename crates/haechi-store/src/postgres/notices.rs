//! Notices between nodes through the database, so that they need not poll: entries wait for their position, or have it. A node that misses
//! a notice, because a connection was lost, finds out by polling once a second.

use super::{
    Inner,
    connection::{Opener, failure, words},
    migrate::SERVING,
};
use haechi_model::Failure;
use std::{future::poll_fn, sync::Weak, time::Duration};
use tokio_postgres::AsyncMessage;

const CHANNEL: &str = "haechi_log";
/// The pause before a lost connection is made again.
const REST: Duration = Duration::from_secs(1);
/// The server ends a connection without answers, so that a node that is cut off does not count as running.
const SETTINGS: &str = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3; LISTEN haechi_log";

/// Listens until the database is closed.
pub(super) async fn listen(opener: Opener, inner: Weak<Inner>) {
    while inner.strong_count() > 0 {
        if let Err(error) = hear(&opener, &inner).await {
            tracing::debug!(target: "haechi::store", error, "other nodes are not heard");
        }
        tokio::time::sleep(REST).await;
    }
}

async fn hear(opener: &Opener, inner: &Weak<Inner>) -> Result<(), String> {
    let (client, mut connection) = opener.connect().await.map_err(|error| words(&error))?;
    // While this connection is open, other nodes know that a node serves this model.
    let settings = format!("{SETTINGS}; SELECT pg_advisory_lock_shared({SERVING}, {})", inner.upgrade().map_or(0, |inner| inner.model));
    let said = client.batch_execute(&settings);
    let mut said = std::pin::pin!(said);
    let mut listens = false;
    loop {
        let message = tokio::select! {
            done = &mut said, if !listens => {
                done.map_err(|error| words(&error))?;
                listens = true;
                continue;
            }
            message = poll_fn(|context| connection.poll_message(context)) => message,
            // The database may have been closed meanwhile.
            () = tokio::time::sleep(REST) => None,
        };
        let Some(inner) = inner.upgrade() else { return Ok(()) };
        match message {
            Some(Ok(AsyncMessage::Notification(_))) => inner.committed.notify_one(),
            Some(Err(error)) => return Err(words(&error)),
            Some(Ok(_)) => {}
            None if client.is_closed() => return Err("the connection was closed".to_owned()),
            None => {}
        }
    }
}

impl Inner {
    /// Wakes the other nodes.
    pub(super) async fn notify(&self) -> Result<(), Failure> {
        let client = self.ledger.get().await.map_err(|_| Failure::Unavailable)?;
        client.batch_execute(&format!("NOTIFY {CHANNEL}")).await.map_err(|error| failure(&error))
    }
}
