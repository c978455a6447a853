//! Verifying and exporting the ledger: what was altered, dropped, inserted or moved, and where.

use super::Lines;
use crate::{
    gate::Gate,
    keys::unhex,
    ledger::seal::unpack,
    system::{Audit, System},
};
use futures_util::future::BoxFuture;
use haechi_ledger::{Checkpoint, Entry, Frontier, Hash, Verifier, commitment, leaf_hash};
use haechi_model::{Failure, write_json_text};
use haechi_store::{LogRecord, MigrateError, Seal};
use std::collections::{BTreeMap, HashMap};

/// Entries, seals or rows read at a time.
pub(crate) const PAGE: u32 = 1_000;
/// Most entries without position that are looked at.
pub(crate) const MAX_WAITING: u32 = 100_000;
/// Most missing entries in one gap that are counted one by one.
const MAX_GAP: i64 = 1_000_000;
/// Most findings that a report lists; the count goes on.
const MAX_FINDINGS: usize = 1_000;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Position in the ledger, when it concerns one entry.
    pub position: Option<i64>,
    /// What is wrong.
    pub what: String,
}

/// What a verification found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Entries read.
    pub entries: i64,
    /// Entries that a verified checkpoint covers.
    pub sealed: i64,
    /// Entries that were committed and have no position yet.
    pub waiting: i64,
    /// Rows compared with the ledger.
    pub rows: i64,
    /// The position from which entries also cover events and organisations; older entries do not.
    pub covered_from: Option<i64>,
    /// Entries whose detail was erased.
    pub erased: i64,
    /// Entries that were archived: they are in files.
    pub archived: i64,
    /// Root of the tree over them.
    pub archived_root: Option<Hash>,
    /// What is wrong, at most a thousand.
    pub findings: Vec<Finding>,
    /// How many findings there are in all.
    pub count: u64,
}

impl Report {
    /// Adds something that is wrong.
    pub fn find(&mut self, position: Option<i64>, what: impl Into<String>) {
        self.count += 1;
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(Finding { position, what: what.into() });
        }
    }
}

/// Newest digest of each live row: collection/id to position and digest.
pub(crate) type LastEntries = HashMap<String, (i64, Vec<u8>)>;

/// The state of a walk over the ledger.
pub(crate) struct Walk {
    pub(crate) report: Report,
    tree: Frontier,
    /// Migrations as entries state them: version and digest.
    pub(super) migrations: BTreeMap<i64, String>,
    /// Ids of the entries.
    pub(super) ids: Vec<u128>,
    /// Leaves since the last seal, computed from the stored entries.
    leaves: Vec<Hash>,
    pub(crate) position: i64,
    outside: Vec<Checkpoint>,
    /// The tree over the entries as stored, for checkpoints kept elsewhere, which may end at any entry.
    as_read: Frontier,
    pub(crate) rows: Option<LastEntries>,
    /// Whether an entry has stated rows of system tables: from then on all are.
    pub(super) states_system: bool,
    /// For rows that are checked again: what the ledger said about them after each entry since then; `None` where it said nothing.
    pub(crate) heard: HashMap<String, Vec<Option<Vec<u8>>>>,
}

impl Gate {
    /// Verifies the whole ledger, also against checkpoints kept elsewhere; `rows`: also every row against its last entry.
    ///
    /// # Errors
    /// When the database cannot be reached, or a checkpoint kept elsewhere is not signed by this ledger's key.
    pub fn verify<'a>(&'a self, _: &'a System<Audit>, outside: &'a [String], rows: bool) -> BoxFuture<'a, Result<Report, Failure>> {
        Box::pin(async move {
            let mut walk = self.walk(outside, rows).await?;
            self.check_rows(&mut walk).await?;
            match self.shared.store.strange().await {
                Ok(strange) => strange
                    .wrong
                    .into_iter()
                    .for_each(|what| walk.report.find(None, format!("the database was changed beside its migrations: {what}"))),
                Err(MigrateError::Altered(version)) => {
                    walk.report.find(None, format!("the SQL of migration {version} was altered after it was applied"))
                }
                Err(_) => return Err(Failure::Unavailable),
            }
            Ok(walk.report)
        })
    }

    /// As [`Gate::verify`] with rows, and the newest entry of each live row.
    pub(crate) async fn verify_with_rows(&self, _: &System<Audit>) -> Result<(Report, LastEntries), Failure> {
        let mut walk = self.walk(&[], true).await?;
        self.check_rows(&mut walk).await?;
        Ok((walk.report, walk.rows.unwrap_or_default()))
    }

    /// A checkpoint kept elsewhere, when this ledger's key has signed it.
    #[must_use]
    pub fn kept_checkpoint(&self, note: &str) -> Option<Checkpoint> {
        self.shared.seals.verifier().verify(note).ok()
    }

    async fn walk(&self, outside: &[String], rows: bool) -> Result<Walk, Failure> {
        let (verifier, begun_ms) = (self.shared.seals.verifier(), self.shared.clock.now_ms());
        let mut walk = Walk::new(rows);
        for note in outside {
            match verifier.verify(note) {
                Ok(checkpoint) => walk.outside.push(checkpoint),
                Err(error) => walk.report.find(None, format!("a checkpoint kept elsewhere is not this ledger's: {error}")),
            }
        }
        let mut seal_size = 1;
        if let Some(start) = self.shared.store.seals_from(1, 1).await?.first().and_then(|seal| self.shared.archived_start(seal)) {
            walk.report.archived = i64::try_from(start.size()).unwrap_or_default();
            seal_size = walk.report.archived + 1;
            walk.report.archived_root = Some(start.root());
            walk.start_at(start);
            if self.shared.store.log_from(0, 1).await?.first().is_some_and(|record| record.position < walk.position) {
                let what = "entries that were archived are in the database: what an interrupted archive has left is deleted when the house \
                            is opened, anything else was put there";
                walk.report.find(Some(0), what);
            }
        }
        loop {
            let seals = self.shared.store.seals_from(seal_size, PAGE).await?;
            for seal in &seals {
                self.walk_to(&mut walk, Some(seal.size)).await?;
                walk.check_seal(seal, &verifier);
                seal_size = seal.size + 1;
            }
            if seals.len() < PAGE as usize {
                break;
            }
        }
        self.walk_to(&mut walk, None).await?;
        for checkpoint in std::mem::take(&mut walk.outside) {
            walk.report.find(
                None,
                format!("a checkpoint kept elsewhere covers {} entries, but the ledger has {}: the end was cut off", checkpoint.size, walk.position),
            );
        }
        walk.ids_that_stand_twice();
        self.hear_waiting(&mut walk).await?;
        walk.check_migrations(&self.shared.store.applied().await?);
        self.unsealed(&mut walk, begun_ms).await?;
        Ok(walk)
    }

    /// Takes entries that have no position yet into account for the rows that are checked again.
    pub(crate) async fn hear_waiting(&self, walk: &mut Walk) -> Result<(), Failure> {
        for record in self.shared.store.log_waiting(MAX_WAITING).await? {
            if let Ok(entry) = Entry::from_bytes(&record.entry) {
                walk.remember_migrations(&entry, &record.detail);
                walk.remember_row(walk.position, &entry, &record.detail);
            }
        }
        Ok(())
    }

    /// Reads entries up to a position, or all.
    pub(crate) async fn walk_to(&self, walk: &mut Walk, end: Option<i64>) -> Result<(), Failure> {
        while end.is_none_or(|end| walk.position < end) {
            let want = end.map_or(PAGE, |end| u32::try_from(end - walk.position).unwrap_or(PAGE).min(PAGE));
            let records = self.shared.store.log_from(walk.position, want).await?;
            if records.is_empty() {
                break;
            }
            for record in &records {
                if end.is_some_and(|end| record.position >= end) {
                    walk.missing_until(end.unwrap_or(record.position));
                    return Ok(());
                }
                walk.missing_until(record.position);
                walk.check(record);
            }
        }
        if let Some(end) = end {
            walk.missing_until(end);
        }
        Ok(())
    }

    /// Entries as JSON lines from a position on, at most a page: the lines and the next position.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn export_entries<'a>(&'a self, _: &'a System<Audit>, from: i64) -> BoxFuture<'a, Result<Lines, Failure>> {
        Box::pin(async move {
            // Entries that an unfinished archive has left are in its file already.
            let start = self.shared.store.seals_from(1, 1).await?.first().and_then(|seal| self.shared.archived_start(seal));
            let start = start.and_then(|start| i64::try_from(start.size()).ok()).unwrap_or_default();
            let records = self.shared.store.log_from(from.max(start), PAGE).await?;
            let mut out = Vec::new();
            for record in &records {
                write_record(record, &mut out);
            }
            let out = visible(out);
            Ok((out, records.last().map(|record| record.position + 1)))
        })
    }

    /// The newest signed checkpoint.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn checkpoint<'a>(&'a self, _: &'a System<Audit>) -> BoxFuture<'a, Result<Option<String>, Failure>> {
        Box::pin(async move { Ok(self.shared.store.last_seal().await?.map(|seal| seal.note)) })
    }
}

/// Writes characters that break or reorder lines in viewers as JSON escapes; all others stay.
fn visible(lines: Vec<u8>) -> Vec<u8> {
    let hides = |c: char| matches!(c, '\u{7f}'..='\u{9f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}');
    let text = match String::from_utf8(lines) {
        Ok(text) if text.chars().any(hides) => text,
        Ok(text) => return text.into_bytes(),
        Err(error) => return error.into_bytes(),
    };
    let mut out = String::with_capacity(text.len() + 64);
    for c in text.chars() {
        if hides(c) { out.push_str(&format!("\\u{:04x}", u32::from(c))) } else { out.push(c) }
    }
    out.into_bytes()
}

impl Walk {
    pub(crate) fn new(rows: bool) -> Self {
        Self {
            report: Report::default(),
            tree: Frontier::default(),
            migrations: BTreeMap::new(),
            ids: Vec::new(),
            leaves: Vec::new(),
            position: 0,
            outside: Vec::new(),
            as_read: Frontier::default(),
            rows: rows.then(HashMap::new),
            states_system: false,
            heard: HashMap::new(),
        }
    }

    /// What the newest entry says of a row.
    pub(crate) fn known(&self, target: &str) -> Option<&[u8]> {
        self.rows.as_ref()?.get(target).map(|(_, digest)| digest.as_slice())
    }

    pub(super) fn hear(&mut self, target: &str) {
        if let Some(digest) = self.heard.contains_key(target).then(|| self.known(target).map(<[u8]>::to_vec)) {
            self.heard.entry(target.to_owned()).or_default().push(digest);
        }
    }

    /// Begins where an archive ended.
    pub(crate) fn start_at(&mut self, tree: Frontier) {
        self.position = i64::try_from(tree.size()).unwrap_or_default();
        // Checkpoints of archived entries are checked with the files.
        let (size, root) = (tree.size(), tree.root());
        if self.outside.iter().any(|checkpoint| checkpoint.size == size && checkpoint.root != root) {
            self.report.find(Some(self.position), "what was archived is not what a checkpoint kept elsewhere says");
        }
        self.outside.retain(|checkpoint| checkpoint.size > size);
        self.as_read = tree.clone();
        self.tree = tree;
    }

    /// Where no seal is compared with them, the leaves are not kept.
    pub(crate) fn forget_leaves(&mut self) {
        self.leaves.clear();
    }

    /// The tree over the entries as they are.
    pub(crate) fn tree_as_read(&self) -> &Frontier {
        &self.as_read
    }

    /// Positions that are not there.
    pub(crate) fn missing_until(&mut self, position: i64) {
        if self.position < position {
            let (from, to) = (self.position, position - 1);
            let what = if from == to { "the entry was dropped".to_owned() } else { format!("the entries {from} to {to} were dropped") };
            self.report.find(Some(from), what);
            self.position = position;
            // A bound: a forged position must not fill the memory, and the tree is wrong beyond it in any case.
            for _ in from..=to.min(from + MAX_GAP) {
                self.leaves.push([0; 32]);
                self.read_leaf([0; 32]);
            }
        }
    }

    pub(crate) fn check(&mut self, record: &LogRecord) {
        let position = record.position;
        let hash = leaf_hash(&record.entry);
        self.position += 1;
        self.report.entries += 1;
        self.leaves.push(hash);
        self.read_leaf(hash);
        if record.hash != hash {
            return self.report.find(Some(position), "the entry was altered: it does not fit its hash");
        }
        let entry = match Entry::from_bytes(&record.entry) {
            Ok(entry) => entry,
            Err(error) => return self.report.find(Some(position), format!("the entry was altered: {error}")),
        };
        if entry.id != record.id {
            self.report.find(Some(position), "the entry's id was altered");
        }
        self.ids.extend(uuid::Uuid::try_parse(&entry.id).map(|id| id.as_u128()));
        if record.salt.is_empty() && record.detail.is_empty() {
            self.report.erased += 1;
            self.report.find(Some(position), "the entry's detail is gone, and nothing erases details");
        } else if commitment(&record.salt, record.detail.as_bytes()) != entry.commitment {
            self.report.find(Some(position), "the entry's detail was altered: it does not fit its commitment");
        }
        self.check_beside(position, &entry, record);
        self.remember_migrations(&entry, &record.detail);
        self.remember_row(position, &entry, &record.detail);
    }

    /// Remembers what the last entry of each row says.
    fn remember_row(&mut self, position: i64, entry: &Entry, detail: &str) {
        self.remember_stated(position, detail);
        let Some(rows) = &mut self.rows else { return };
        match entry.action.as_str() {
            "delete" if entry.outcome == "allowed" => {
                rows.remove(&entry.target);
                self.hear(&entry.target);
            }
            "import" | "rebase" => {
                let parsed: serde_json::Value = serde_json::from_str(detail).unwrap_or_default();
                for pair in parsed["rows"].as_array().into_iter().flatten() {
                    if let (Some(id), Some(digest)) = (pair[0].as_str(), pair[1].as_str()) {
                        let target = format!("{}/{id}", entry.target);
                        self.rows.iter_mut().for_each(|rows| drop(rows.insert(target.clone(), (position, unhex(digest).unwrap_or_default()))));
                        self.hear(&target);
                    }
                }
            }
            // Create, update, and declared actions.
            _ if !entry.row_digest.is_empty() => {
                rows.insert(entry.target.clone(), (position, entry.row_digest.clone()));
                self.hear(&entry.target);
            }
            _ => {}
        }
    }

    /// A seal must be signed, and its tree must be the one of the entries.
    fn check_seal(&mut self, seal: &Seal, verifier: &Verifier) {
        let from = i64::try_from(self.tree.size()).unwrap_or_default();
        let rows = std::mem::take(&mut self.leaves);
        let checkpoint = verifier.verify(&seal.note);
        let sealed = unpack(&seal.frontier).map(|(_, leaves)| leaves).unwrap_or_default();
        let mut by_seal = self.tree.clone();
        sealed.iter().for_each(|leaf| by_seal.push(*leaf));
        match &checkpoint {
            Err(error) => self.report.find(Some(from), format!("the checkpoint over {} entries is not genuine: {error}", seal.size)),
            Ok(checkpoint) if i64::try_from(checkpoint.size) != Ok(seal.size) => self.report.find(Some(from), "a checkpoint was moved"),
            Ok(checkpoint) if checkpoint.time_ms.is_some_and(|time| time != seal.time_ms) => {
                self.report.find(Some(from), format!("the time of the checkpoint over {} entries was altered", seal.size));
            }
            Ok(checkpoint) if by_seal.root() == checkpoint.root => {
                // The signature proves the seal's own leaves: they show which entry differs.
                for (at, (row, leaf)) in rows.iter().zip(&sealed).enumerate() {
                    if row != leaf && *row != [0; 32] {
                        let moved = sealed.contains(row);
                        let what = if moved {
                            "the entry was moved: its place belongs to another"
                        } else {
                            "the entry was altered or inserted: another was sealed in its place"
                        };
                        self.report.find(Some(from + i64::try_from(at).unwrap_or_default()), what);
                    }
                }
                self.report.sealed = seal.size;
                self.tree = by_seal;
                return;
            }
            Ok(checkpoint) => {
                let mut by_rows = self.tree.clone();
                rows.iter().for_each(|leaf| by_rows.push(*leaf));
                if by_rows.root() == checkpoint.root {
                    self.report.find(Some(from), format!("the leaves kept with the checkpoint over {} entries were altered", seal.size));
                } else {
                    self.report.find(Some(from), format!("entries {from} to {} are not those that were sealed", seal.size - 1));
                }
            }
        }
        rows.iter().for_each(|leaf| self.tree.push(*leaf));
    }

    /// Follows the entries as they are, and compares checkpoints kept elsewhere that end here.
    fn read_leaf(&mut self, leaf: Hash) {
        self.as_read.push(leaf);
        let size = self.as_read.size();
        if !self.outside.iter().any(|checkpoint| checkpoint.size == size) {
            return;
        }
        let root = self.as_read.root();
        if self.outside.iter().any(|checkpoint| checkpoint.size == size && checkpoint.root != root) {
            self.report.find(None, format!("a checkpoint kept elsewhere says that the first {size} entries were others"));
        }
        self.outside.retain(|checkpoint| checkpoint.size != size);
    }
}

fn write_record(record: &LogRecord, out: &mut Vec<u8>) {
    let Ok(entry) = Entry::from_bytes(&record.entry) else { return };
    out.extend_from_slice(format!("{{\"position\":{},\"time\":\"{}\"", record.position, haechi_model::format_datetime(entry.time_ms)).as_bytes());
    for (name, text) in [
        ("id", &entry.id),
        ("actor_kind", &entry.actor_kind),
        ("actor", &entry.actor_id),
        ("action", &entry.action),
        ("target", &entry.target),
        ("outcome", &entry.outcome),
        ("request_id", &entry.request_id),
        ("policy_version", &entry.policy_version),
        ("cause", &entry.cause),
    ] {
        if !text.is_empty() {
            out.extend_from_slice(format!(",\"{name}\":").as_bytes());
            write_json_text(text, out);
        }
    }
    if !record.detail.is_empty() {
        out.extend_from_slice(b",\"detail\":");
        out.extend_from_slice(record.detail.as_bytes());
    }
    out.extend_from_slice(b"}\n");
}
