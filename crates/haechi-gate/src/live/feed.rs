//! The task that tells the hub about changes as they happen.

use super::hub::Hub;
use crate::shared::Shared;
use haechi_model::Failure;
use std::{sync::Arc, time::Duration};

/// How long to wait for a commit of another node that was not announced.
const POLL: Duration = Duration::from_secs(1);
/// How often idle streams get their position.
const BEAT: Duration = Duration::from_secs(20);
/// How often conditions that depend on the time are checked again.
const TICK: Duration = Duration::from_secs(1);

/// Tells the hub about changes, while somebody watches. Ends with the gate's background work.
pub(crate) async fn run(shared: Arc<Shared>, hub: Arc<Hub>) {
    let (mut beat, mut tick, mut poll) = (tokio::time::interval(BEAT), tokio::time::interval(TICK), tokio::time::interval(POLL));
    for timer in [&mut beat, &mut tick, &mut poll] {
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    }
    let several = shared.store.is_shared();
    loop {
        tokio::select! {
            () = shared.told.notified() => {}
            () = hub.woken() => {}
            _ = poll.tick(), if several && hub.watched() => {}
            _ = tick.tick(), if hub.watched() => hub.tick(&shared).await,
            _ = beat.tick(), if hub.watched() => hub.beat(),
        }
        if hub.watched()
            && let Err(failure) = drain(&shared, &hub).await
        {
            tracing::warn!(target: "haechi::live", %failure, "changes could not be read; streams wait");
            tokio::time::sleep(TICK).await;
        }
    }
}

/// Tells everything that the log has.
async fn drain(shared: &Arc<Shared>, hub: &Arc<Hub>) -> Result<(), Failure> {
    loop {
        let Some(from) = hub.position() else { return Ok(()) };
        let part = shared.events(from).await?;
        let Some(next) = part.next else { return Ok(()) };
        hub.dispatch(shared, part.found, (from, next)).await;
    }
}
