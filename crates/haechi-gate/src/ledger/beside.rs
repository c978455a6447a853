//! Verifies what is stored beside the entries: events, migrations, entries without seal, duplicate entries.

use super::audit::{MAX_WAITING, PAGE, Walk};
use crate::{gate::Gate, keys::unhex};
use haechi_ledger::{Entry, event_hash};
use haechi_model::Failure;
use haechi_store::{Applied, LogRecord};

/// How old an entry may be that has no seal yet, milliseconds. Sealing takes half a second, and the lease of a node that died three.
const SEALING_BOUND_MS: i64 = 30_000;

impl Gate {
    /// The newest migration that an entry states; none where no entry states any.
    pub(crate) async fn last_stated_migration(&self) -> Result<Option<i64>, Failure> {
        let mut stated = Walk::new(false);
        let mut position = 0;
        loop {
            let records = self.shared.store.log_from(position, PAGE).await?;
            let Some(last) = records.last() else { break };
            position = last.position + 1;
            for record in &records {
                if let Ok(entry) = Entry::from_bytes(&record.entry) {
                    stated.remember_migrations(&entry, &record.detail);
                }
            }
        }
        let waiting = self.shared.store.log_waiting(MAX_WAITING).await?;
        for record in &waiting {
            if let Ok(entry) = Entry::from_bytes(&record.entry) {
                stated.remember_migrations(&entry, &record.detail);
            }
        }
        let last = stated.migrations.last_key_value().map(|(version, _)| *version);
        Ok(last.or_else(|| (position == 0 && waiting.is_empty()).then_some(0)))
    }

    /// What was committed long ago must have its position and its seal.
    ///
    /// Ages count from the beginning of the verification, so that a long verification does not make new entries look old.
    pub(super) async fn unsealed(&self, walk: &mut Walk, now: i64) -> Result<(), Failure> {
        let late = |record: &LogRecord| Entry::from_bytes(&record.entry).is_ok_and(|entry| now - entry.time_ms > SEALING_BOUND_MS);
        let waiting = self.shared.store.log_waiting(MAX_WAITING).await?;
        walk.report.waiting = i64::try_from(waiting.len()).unwrap_or(i64::MAX);
        for record in waiting.iter().filter(|record| late(record)) {
            let what =
                format!("the entry {} has no position, though it was committed long ago: no node gives positions, or it was put there", record.id);
            walk.report.find(None, what);
        }
        if let Some(record) = self.shared.store.log_from(walk.report.sealed, 1).await?.first().filter(|record| late(record)) {
            walk.report.find(Some(record.position), "this entry and those after it were committed long ago and are not sealed");
        }
        Ok(())
    }
}

impl Walk {
    /// Data stored beside an entry must match its hash in the entry; entries of the first format have none.
    pub(super) fn check_beside(&mut self, position: i64, entry: &Entry, record: &LogRecord) {
        let (Some(hash), Some(beside)) = (entry.event, &record.beside) else { return };
        self.report.covered_from.get_or_insert(position);
        if hash != event_hash(beside.event.as_deref()) {
            self.report.find(Some(position), "the entry's event was altered");
        }
        if entry.organisation != beside.organisation {
            self.report.find(Some(position), "the entry's organisation was altered");
        }
    }

    /// Follows which migrations were stated.
    pub(super) fn remember_migrations(&mut self, entry: &Entry, detail: &str) {
        if entry.action != "migrate" {
            return;
        }
        let parsed: serde_json::Value = serde_json::from_str(detail).unwrap_or_default();
        for pair in parsed["migrations"].as_array().into_iter().flatten() {
            if let (Some(version), Some(digest)) = (pair[0].as_i64(), pair[1].as_str()) {
                self.migrations.insert(version, digest.to_owned());
            }
        }
    }

    /// Remembers what entries state about rows of system tables. `*` means all rows of a table.
    pub(super) fn remember_stated(&mut self, position: i64, detail: &str) {
        if self.rows.is_none() || !detail.contains("\"stated\":[") {
            return;
        }
        let parsed: serde_json::Value = serde_json::from_str(detail).unwrap_or_default();
        for pair in parsed["stated"].as_array().into_iter().flatten() {
            let Some(target) = pair[0].as_str() else { continue };
            self.states_system = true;
            let Some(rows) = &mut self.rows else { return };
            match (target.strip_suffix('*'), pair[1].as_str().and_then(unhex)) {
                (Some(table), _) => rows.retain(|target, _| !target.starts_with(table)),
                (None, Some(digest)) => drop(rows.insert(target.to_owned(), (position, digest))),
                (None, None) => drop(rows.remove(target)),
            }
            self.hear(target);
        }
    }

    /// Compares migrations with what was stated of them.
    pub(crate) fn check_migrations(&mut self, applied: &[Applied]) {
        let stated = std::mem::take(&mut self.migrations);
        // Older databases have entries that state no migration; one without any entry was interrupted at its first migration.
        let empty = self.report.entries + self.report.waiting + self.report.archived == 0;
        let first = match stated.first_key_value() {
            Some((first, _)) => *first,
            None if empty => 0,
            None => return,
        };
        for (at, migration) in applied.iter().enumerate().filter(|(_, migration)| migration.version >= first) {
            // Restoring a backup to another database creates the same tables there again.
            let same_tables = || at > 0 && haechi_store::same_tables(&applied[at - 1], migration);
            match stated.get(&migration.version) {
                Some(digest) if *digest == migration_digest(migration) => {}
                Some(_) => self.report.find(None, format!("migration {} was altered after it was applied", migration.version)),
                None if same_tables() => {}
                None => {
                    let what = "is stated by no entry: it was put there, or `migrate apply` was interrupted, which another run completes";
                    self.report.find(None, format!("migration {} {what}", migration.version));
                }
            }
        }
        for version in stated.keys().filter(|version| applied.iter().all(|migration| migration.version != **version)) {
            self.report.find(None, format!("migration {version} was applied and is gone"));
        }
    }

    /// Each entry is written once: an entry that appears twice was copied.
    pub(super) fn ids_that_stand_twice(&mut self) {
        let mut ids = std::mem::take(&mut self.ids);
        ids.sort_unstable();
        ids.windows(2).filter(|pair| pair[0] == pair[1]).for_each(|pair| {
            let what = format!("the entry {} stands in the ledger twice: one of them was copied over another", uuid::Uuid::from_u128(pair[0]));
            self.report.find(None, what);
        });
    }
}

/// A migration, as an entry states it.
pub(crate) fn migration_digest(applied: &Applied) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in [&applied.version.to_string(), &applied.time_ms.to_string(), &applied.checksum, &applied.sql, &applied.tables] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    crate::keys::hex(context.finish().as_ref())
}
