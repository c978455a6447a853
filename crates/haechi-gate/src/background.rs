//! Work behind the requests: positions, seals, access entries, housekeeping. At the end, everything that waits is written.

use crate::{
    clock::CLOCK_BEHIND_MS,
    gate::Gate,
    ledger::{
        access::{Key, Tally},
        keeping::Writer,
        sealing::{Arrivals, LAG_EVERY, SEAL_EVERY, SEQUENCE_EVERY},
    },
    shared::Shared,
};
use futures_util::future::BoxFuture;
use haechi_model::{Actor, EntryDraft, EntryKind, Failure};
use haechi_store::Analyse;
use std::{fmt::Write, sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle};

/// How often access and refusal entries are written.
const SIGHTINGS_EVERY: Duration = Duration::from_secs(1);
/// How often, and how far apart, the check for unsealed entries runs: in all twice as long as a lease lasts.
const SETTLE_LOOKS: usize = 80;
const SETTLE_EVERY: Duration = Duration::from_millis(100);
/// How long an idempotency key is remembered.
const CLAIM_MS: i64 = 24 * 3_600_000;
/// How often the size of the database is measured.
const DATABASE_EVERY: Duration = Duration::from_secs(30);
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(600);
/// The wait before failed work is tried again.
const AGAIN: Duration = Duration::from_secs(2);

impl Gate {
    /// Starts sequencing, sealing, access entries and housekeeping. They end after `stop` turns true, with all that waits written.
    pub fn start(&self, stop: watch::Receiver<bool>) -> JoinHandle<()> {
        let gate = self.clone();
        tokio::spawn(async move { gate.background(stop).await })
    }

    async fn background(&self, mut stop: watch::Receiver<bool>) {
        if let Err(failure) = self.finish_taking_out().await {
            tracing::warn!(target: "haechi::ledger", %failure, "what an interrupted archive has left could not be deleted");
        }
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING_EVERY);
        let mut sequence = tokio::time::interval(SEQUENCE_EVERY);
        let mut seal = tokio::time::interval(SEAL_EVERY);
        for timer in [&mut housekeeping, &mut sequence, &mut seal] {
            timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        let feed = tokio::spawn(crate::live::feed::run(self.shared.clone(), self.hub.clone()));
        // On a separate task: it must not wait for the other work here.
        let sightings = tokio::spawn(self.shared.clone().keep_sightings(stop.clone()));
        let database = tokio::spawn(watch_database(self.shared.clone()));
        let later = !self.shared.store.positions_at_commit();
        let lag = later.then(|| tokio::spawn(watch_lag(self.clone())));
        self.shared.store.listen();
        let mut behind = false;
        loop {
            tokio::select! {
                _ = stop.changed() => break,
                _ = sequence.tick(), if later => self.sequenced().await,
                () = self.shared.committed.notified(), if later => self.sequenced().await,
                _ = seal.tick() => {
                    self.shared.seal().await;
                    behind = self.shared.tell_clock(behind);
                }
                _ = housekeeping.tick() => {
                    let _ = self.shared.store.forget_claims(self.shared.clock.now_ms() - CLAIM_MS).await;
                    if !self.forget_images().await {
                        // The node is not ready until that is done.
                        housekeeping.reset_after(AGAIN);
                    }
                    self.analyse(Analyse::Outgrown).await;
                }
            }
        }
        feed.abort();
        database.abort();
        lag.inspect(JoinHandle::abort);
        self.hub.close();
        // The task ends by the same signal, after it has written what it holds.
        let _ = sightings.await;
        self.shared.write_sightings().await;
        self.shared.seal().await;
        self.shared.store.release().await;
    }

    /// Updates the statistics of the database's planner; when that fails, the planner uses the old ones.
    pub(crate) async fn analyse(&self, what: Analyse) {
        if let Err(failure) = self.shared.store.analyse(what).await {
            tracing::warn!(target: "haechi::store", %failure, "the statistics of the tables could not be gathered");
        }
    }

    async fn sequenced(&self) {
        self.shared.sequence().await;
        self.shared.told.notify_one();
    }

    /// Writes what waits and sees that all entries of this moment are sealed, while others may come: for tests and for the end of commands. Where another node gives the positions, waits
    /// for that node; if that node is gone, waits for the end of its lease.
    pub fn settle(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.shared.write_sightings().await;
            let Some(last) = self.shared.last_entry().await else { return };
            for _ in 0..SETTLE_LOOKS {
                self.shared.seal().await;
                if self.shared.is_sealed(last).await {
                    return;
                }
                tokio::time::sleep(SETTLE_EVERY).await;
            }
            tracing::warn!(target: "haechi::ledger", "entries wait for their seal: the node that gives positions does not do it");
        })
    }

    /// Gives back what this node holds for all nodes: the last step.
    pub fn release(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.shared.store.release().await;
        })
    }
}

/// Watches the size of the database and what other nodes did with it.
async fn watch_database(shared: Arc<Shared>) {
    let mut look = tokio::time::interval(DATABASE_EVERY);
    loop {
        look.tick().await;
        shared.look_at_database().await;
    }
}

/// On a separate task, so that it reports the lag also while nothing can be sealed.
async fn watch_lag(gate: Gate) {
    let mut arrivals = Arrivals::default();
    let mut look = tokio::time::interval(LAG_EVERY);
    loop {
        look.tick().await;
        if let Some(migrations) = gate.shared.measure_lag(&mut arrivals).await {
            gate.follow(migrations).await;
        }
    }
}

impl Shared {
    /// The time of the last entry of the ledger, or of its last seal where the entries have left.
    pub(crate) async fn ledger_ms(&self) -> Result<Option<i64>, Failure> {
        let (_, next) = self.store.log_bounds().await?;
        let last = self.store.leaves_from(next - 1, 1).await?;
        if let Some(entry) = last.first().and_then(|(_, entry)| haechi_ledger::Entry::from_bytes(entry).ok()) {
            return Ok(Some(entry.time_ms));
        }
        Ok(self.store.last_seal().await?.map(|seal| seal.time_ms))
    }

    /// Logs when the system's clock falls behind, and when it has caught up. Returns whether it is behind.
    fn tell_clock(&self, before: bool) -> bool {
        let ahead_ms = self.clock.ahead_ms();
        let behind = ahead_ms > CLOCK_BEHIND_MS;
        match (before, behind) {
            (false, true) => tracing::warn!(
                target: "haechi::clock",
                behind_s = ahead_ms / 1000,
                "the system's clock is behind what was said before: time goes on from there. Set the clock right, or run `haechi clock accept`"
            ),
            (true, false) => tracing::info!(target: "haechi::clock", "the system's clock is followed again"),
            _ => {}
        }
        behind
    }

    async fn keep_sightings(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut timer = tokio::time::interval(SIGHTINGS_EVERY);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = stop.changed() => return,
                _ = timer.tick() => {}
            }
            self.write_sightings().await;
        }
    }

    /// Writes the merged access and refusal entries.
    async fn write_sightings(self: &Arc<Self>) {
        let _turn = self.writing.lock().await;
        let (waiting, mut unwritten) = (self.sightings.drain(), Vec::new());
        for chunk in chunks(waiting) {
            let mut failed = Vec::new();
            for (actor, entries) in self.sighting_entries(&chunk) {
                if self.store.commit_in_the_end(self.change_of(actor.clone(), entries)).await.is_err() {
                    failed.push(actor);
                }
            }
            unwritten.extend(chunk.into_iter().filter(|(_, actor, _)| failed.contains(actor)));
        }
        self.keeping.fares(Writer::Access, unwritten.is_empty());
        self.sightings.written(unwritten);
    }

    /// Groups entries by actor, because a change has one actor.
    fn sighting_entries(&self, waiting: &[(Key, Arc<Actor>, Tally)]) -> Vec<(Arc<Actor>, Vec<EntryDraft>)> {
        let mut by_actor: Vec<(Arc<Actor>, Vec<EntryDraft>)> = Vec::new();
        let revision = self.revision.load();
        for (key, actor, tally) in waiting {
            let mut extra = String::new();
            let (kind, action, collection, outcome) = match key {
                Key::Seen(_, sighting) => {
                    let fields = &revision.app.collections[sighting.collection].fields;
                    let names: Vec<String> = fields
                        .iter()
                        .enumerate()
                        .filter(|(at, _)| sighting.fields >> at & 1 == 1)
                        .map(|(_, field)| format!("\"{}\"", field.name))
                        .collect();
                    let ids: Vec<String> = tally.ids.iter().map(|id| format!("\"{id}\"")).collect();
                    let _ = write!(extra, "\"fields\":[{}],\"count\":{},\"ids\":[{}]", names.join(","), tally.count, ids.join(","));
                    (EntryKind::Access, sighting.action.into(), Some(sighting.collection), "allowed")
                }
                Key::Refused(_, action, collection) => {
                    let requests: Vec<String> = tally.ids.iter().map(|id| format!("\"{id}\"")).collect();
                    let _ = write!(extra, "\"count\":{},\"requests\":[{}]", tally.count, requests.join(","));
                    (EntryKind::Refusal, action.clone(), *collection, "refused")
                }
            };
            let one_row = kind == EntryKind::Access && tally.count == 1;
            let record = one_row.then(|| tally.ids.first().cloned()).flatten();
            let entry = EntryDraft { kind, outcome, record, ..self.system_entry(&action, collection, extra) };
            match by_actor.iter_mut().find(|(known, _)| known == actor) {
                Some((_, entries)) => entries.push(entry),
                None => by_actor.push((actor.clone(), vec![entry])),
            }
        }
        by_actor
    }
}

/// At most a hundred entries at a time, so that no change grows without bound.
fn chunks(mut waiting: Vec<(Key, Arc<Actor>, Tally)>) -> Vec<Vec<(Key, Arc<Actor>, Tally)>> {
    const CHUNK: usize = 100;
    let mut chunks = Vec::new();
    while !waiting.is_empty() {
        let rest = waiting.split_off(waiting.len().min(CHUNK));
        chunks.push(std::mem::replace(&mut waiting, rest));
    }
    chunks
}
