//! Gives positions, adds entries to the Merkle tree, signs checkpoints and sends them to witnesses; measures how long entries wait.

use super::{
    keeping::Writer,
    seal::{pack, unpack},
};
use crate::shared::Shared;
use haechi_ledger::{Frontier, Hash};
use haechi_store::Seal;
use std::{
    collections::VecDeque,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// How often new entries are sealed.
pub(crate) const SEAL_EVERY: Duration = Duration::from_millis(500);
/// How often a node with the lease gives positions even when nothing woke it.
pub(crate) const SEQUENCE_EVERY: Duration = Duration::from_secs(1);
/// Entries read at a time, and the most that one seal covers.
const PAGE: u32 = 4_000;
/// Lag that is shown while an entry is missing: far beyond what readiness allows.
const MISSING_LAG_MS: i64 = 60_000;

/// How often the waiting time of entries is measured where nodes share a database.
pub(crate) const LAG_EVERY: Duration = Duration::from_secs(1);
/// Looks that are remembered: ten minutes of them.
const LOOKS: usize = 600;

/// When entries arrived, by their arrival numbers: their age needs no clock of another node.
#[derive(Default)]
pub(crate) struct Arrivals(VecDeque<(Instant, i64)>);

impl Arrivals {
    /// Notes that the last entry had this number at a moment.
    fn look(&mut self, now: Instant, last: i64) {
        if self.0.len() == LOOKS {
            self.0.pop_front();
        }
        self.0.push_back((now, last));
    }

    /// The least time since an entry was there.
    fn age(&self, now: Instant, number: i64) -> Duration {
        self.0.iter().find(|(_, last)| *last >= number).map_or(Duration::ZERO, |(seen, _)| now - *seen)
    }
}

/// Names the last entry of a moment.
#[derive(Clone, Copy)]
pub(crate) enum LastEntry {
    /// Where nodes share a database, by the number of its arrival.
    Arrival(i64),
    /// By the position behind it.
    Position(i64),
}

impl Shared {
    /// Gives positions where the database does not give them at commit; `false` when another node does.
    pub(crate) async fn sequence(&self) -> bool {
        match self.store.sequence(self.clock.now_ms()).await {
            Ok(mine) => mine,
            Err(failure) => {
                tracing::warn!(target: "haechi::ledger", %failure, "entries could not be given their positions");
                false
            }
        }
    }

    /// Seals everything that has a position and no seal.
    pub(crate) async fn seal(&self) {
        let mut tree = self.seals.tree.lock().await;
        if !self.sequence().await {
            *tree = None;
            // Another node seals: its clock is at least that late.
            if let Ok(Some(seal)) = self.store.last_seal().await {
                self.clock.is_at_least(seal.time_ms);
            }
            return;
        }
        loop {
            match self.seal_page(&mut tree).await {
                Ok(true) => {}
                Ok(false) => {
                    self.keeping.fares(Writer::Seals, true);
                    break;
                }
                // Another node sealed the same entries: read the tree again and go on from there.
                Err(haechi_model::Failure::Busy) => {
                    *tree = None;
                    break;
                }
                Err(failure) => {
                    *tree = None;
                    tracing::debug!(target: "haechi::ledger", %failure, "entries could not be sealed");
                    self.keeping.fares(Writer::Seals, false);
                    break;
                }
            }
        }
    }

    /// The last entry that there is; `None` when the database cannot be asked.
    pub(crate) async fn last_entry(&self) -> Option<LastEntry> {
        match self.store.unsealed().await.ok()? {
            Some(unsealed) => Some(LastEntry::Arrival(unsealed.last)),
            None => Some(LastEntry::Position(self.store.log_bounds().await.ok()?.1)),
        }
    }

    /// Whether this entry and those before it have their positions and their seal; others may come meanwhile. When the database cannot be
    /// asked, the answer is yes: nobody waits.
    pub(crate) async fn is_sealed(&self, last: LastEntry) -> bool {
        let sealed = match last {
            LastEntry::Arrival(last) => match self.store.unsealed().await {
                Ok(Some(unsealed)) => unsealed.oldest.is_none_or(|oldest| oldest > last),
                _ => true,
            },
            LastEntry::Position(end) => self.store.last_seal().await.map_or(true, |seal| seal.map_or(0, |seal| seal.size) >= end),
        };
        // Nothing is sealed behind a missing entry: verification names it.
        sealed || self.seal_lag_ms.load(Ordering::Relaxed) >= MISSING_LAG_MS
    }

    /// Where nodes share a database: how long the oldest entry without a seal has waited, whichever node seals. Returns the number
    /// of the last migration.
    pub(crate) async fn measure_lag(&self, arrivals: &mut Arrivals) -> Option<i64> {
        let Ok(Some(unsealed)) = self.store.unsealed().await else { return None };
        let now = Instant::now();
        arrivals.look(now, unsealed.last);
        let age = unsealed.oldest.map_or(Duration::ZERO, |oldest| arrivals.age(now, oldest));
        let lag = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let holed = self.seals.holed.load(Ordering::Relaxed) && unsealed.oldest.is_some();
        self.seal_lag_ms.store(if holed { lag.max(MISSING_LAG_MS) } else { lag }, Ordering::Relaxed);
        self.unplaced.store(unsealed.waiting, Ordering::Relaxed);
        Some(unsealed.migrations)
    }

    /// Sets the lag on a database of its own, where this node knows how long entries have waited.
    fn lag_is(&self, lag_ms: i64) {
        self.seals.holed.store(false, Ordering::Relaxed);
        if self.store.positions_at_commit() {
            self.seal_lag_ms.store(lag_ms.max(0), Ordering::Relaxed);
        }
    }

    /// Seals one page; `true` when there may be more.
    async fn seal_page(&self, tree: &mut Option<Frontier>) -> Result<bool, haechi_model::Failure> {
        if tree.is_none() {
            let last = self.store.last_seal().await?;
            let known = last.as_ref().and_then(|seal| unpack(&seal.frontier)).map(|(frontier, _)| frontier);
            *tree = Some(known.unwrap_or_default());
        }
        let Some(frontier) = tree else { return Ok(false) };
        let from = i64::try_from(frontier.size()).unwrap_or(i64::MAX);
        let records = self.store.leaves_from(from, PAGE).await?;
        let contiguous = records.iter().zip(from..).take_while(|((found, _), position)| found == position).count();
        let now = self.clock.now_ms();
        if contiguous == 0
            && let Some((_, entry)) = records.first()
        {
            // A seal past a missing entry would hide it. Readiness fails until an operator looks: `audit verify` names the place.
            let age = haechi_ledger::Entry::from_bytes(entry).map_or(i64::MAX, |entry| now - entry.time_ms);
            self.seal_lag_ms.store(age.max(MISSING_LAG_MS), Ordering::Relaxed);
            self.seals.holed.store(true, Ordering::Relaxed);
            tracing::error!(target: "haechi::ledger", position = from, "an entry is missing: nothing is sealed any more");
            return Ok(false);
        }
        let records = &records[..contiguous];
        if let Some(last) = records.last().and_then(|(_, entry)| haechi_ledger::Entry::from_bytes(entry).ok()) {
            self.clock.is_at_least(last.time_ms);
        }
        let Some((_, first)) = records.first() else {
            self.lag_is(0);
            return Ok(false);
        };
        let lag = haechi_ledger::Entry::from_bytes(first).map_or(0, |entry| now - entry.time_ms);
        self.lag_is(lag);
        let mut next = frontier.clone();
        let leaves: Vec<Hash> = records.iter().map(|(_, entry)| haechi_ledger::leaf_hash(entry)).collect();
        leaves.iter().for_each(|leaf| next.push(*leaf));
        let note = self.seals.signer.sign(next.size(), &next.root(), now);
        let seal = Seal { size: i64::try_from(next.size()).unwrap_or(i64::MAX), note, frontier: pack(&next, &leaves), time_ms: now };
        let note = seal.note.clone();
        self.store.save_seal(seal).await?;
        *frontier = next;
        self.lag_is(0);
        self.seals.witnesses.tell(&note);
        Ok(contiguous == PAGE as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_an_entry_is_since_it_was_first_there() {
        let (mut arrivals, begun) = (Arrivals::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        for second in 0..20 {
            arrivals.look(at(second), 100 + second as i64 / 10);
        }
        assert_eq!(arrivals.age(at(19), 100), Duration::from_secs(19));
        assert_eq!(arrivals.age(at(19), 101), Duration::from_secs(9));
        assert_eq!(arrivals.age(at(19), 102), Duration::ZERO);
        for second in 20..2_000 {
            arrivals.look(at(second), 200);
        }
        assert_eq!(arrivals.age(at(1_999), 100), Duration::from_secs(LOOKS as u64 - 1));
    }
}
