//! Moves old parts of the ledger from the database to files; the proof stays whole.
//!
//! A file holds entries as JSON lines, with the signed checkpoints between them. The database keeps the checkpoint at which the file ends,
//! marked with a code that needs the master key. So entries that were deleted without an archive are found.

use super::Lines;
use crate::{
    gate::Gate,
    import::PART,
    keys::Mac,
    ledger::audit::{LastEntries, MAX_WAITING, PAGE, Report, Walk},
    ledger::seal::{pack, unpack},
    shared::Shared,
    system::{Audit, System},
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use futures_util::future::BoxFuture;
use haechi_ledger::{Checkpoint, Frontier, Hash, Verifier};
use haechi_model::{Actor, Collection, Failure, Predicate, Row, Step};
use haechi_store::{LogRecord, Seal};
use serde_json::{Value, json};
use std::{collections::BTreeSet, io::BufRead, sync::Arc, time::Duration};

/// Rows that are stated anew in one change, each under its lock.
const ROWS: usize = 200;
/// How often rows that change meanwhile are read again.
const ROUNDS: usize = 5;
/// How long, and how often, the archive's own entry is looked for among those with a position.
const NUMBERED_LOOKS: u32 = 100;
const NUMBERED_EVERY: Duration = Duration::from_millis(200);
/// Most bytes of a line of a file.
const MAX_LINE: u64 = 64 << 20;

/// A part of the ledger that can leave: all of it is under a checkpoint.
pub struct Part {
    /// First position.
    pub from: i64,
    /// The position after the last one.
    pub size: i64,
    start: Frontier,
    /// The checkpoint where it begins, unless that is the beginning of the ledger.
    start_note: Option<String>,
    end: Frontier,
    /// Rows whose last entry is in the part, with the digest in that entry.
    rows: Vec<LastSaid>,
    /// The same of rows of system tables.
    system: LastEntries,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct LastSaid {
    collection: usize,
    id: Box<str>,
    digest: Vec<u8>,
}

/// Why nothing was archived.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The ledger does not verify: a file would keep what is wrong.
    #[error("the ledger does not verify: {0} findings; run `haechi audit verify --rows`")]
    Findings(u64),
    /// Rows changed each time they were looked at.
    #[error("rows kept changing; try again when less is written")]
    Busy,
    /// The database cannot be reached.
    #[error("the database cannot be reached: {0:?}")]
    Store(Failure),
}

impl From<Failure> for ArchiveError {
    fn from(failure: Failure) -> Self {
        Self::Store(failure)
    }
}

impl Gate {
    /// The part that was sealed before a time and is still in the database. The whole ledger is verified first.
    ///
    /// # Errors
    /// When the ledger does not verify, or the database cannot be reached.
    pub fn archivable<'a>(&'a self, key: &'a System<Audit>, before_ms: i64) -> BoxFuture<'a, Result<Option<Part>, ArchiveError>> {
        Box::pin(async move {
            self.finish_taking_out().await?;
            let (report, last_entries) = self.verify_with_rows(key).await?;
            if report.count > 0 {
                return Err(ArchiveError::Findings(report.count));
            }
            let mut part = Part {
                from: report.archived,
                size: report.archived,
                start: Frontier::default(),
                start_note: None,
                end: Frontier::default(),
                rows: Vec::new(),
                system: LastEntries::new(),
            };
            let mut from = 1;
            'seals: loop {
                let seals = self.shared.store.seals_from(from, PAGE).await?;
                for seal in &seals {
                    from = seal.size + 1;
                    let Some((frontier, _)) = unpack(&seal.frontier) else { break 'seals };
                    if seal.size == part.from {
                        part.start_note = Some(seal.note.clone());
                        part.start = frontier.clone();
                        part.end = frontier;
                    } else if seal.time_ms < before_ms && seal.size <= report.sealed {
                        // Never beyond the verified entries: newer ones stay.
                        part.size = seal.size;
                        part.end = frontier;
                    } else {
                        break 'seals;
                    }
                }
                if seals.len() < PAGE as usize {
                    break;
                }
            }
            if part.size == part.from {
                return Ok(None);
            }
            let revision = self.revision();
            let old = last_entries.iter().filter(|(target, (position, _))| target.starts_with('_') && *position < part.size);
            part.system = old.map(|(target, last)| (target.clone(), last.clone())).collect();
            part.rows = last_entries
                .into_iter()
                .filter(|(_, (position, _))| *position < part.size)
                .filter_map(|(target, (_, digest))| {
                    let (collection, id) = target.split_once('/')?;
                    Some(LastSaid { collection: revision.app.collection(collection)?.id, id: id.into(), digest })
                })
                .collect();
            part.rows.sort_unstable();
            Ok(Some(part))
        })
    }

    /// Lines of a part's file from a position on, and the next position; the first lines say what the file is.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn archive_lines<'a>(&'a self, _: &'a System<Audit>, part: &'a Part, position: i64) -> BoxFuture<'a, Result<Lines, Failure>> {
        Box::pin(async move {
            let mut out = Vec::new();
            let mut line = |value: Value| {
                out.extend_from_slice(value.to_string().as_bytes());
                out.push(b'\n');
            };
            let want = u32::try_from(part.size - position).unwrap_or(PAGE).min(PAGE);
            let next = position + i64::from(want);
            let seals = self.shared.store.seals_from(position + 1, want).await?;
            let note = |size: i64| seals.binary_search_by_key(&size, |seal| seal.size).ok().map(|at| &seals[at].note);
            if position == part.from {
                let start = crate::keys::hex(&part.start.to_bytes());
                line(
                    json!({ "archive": 1, "from": part.from, "size": part.size, "start": start, "start_note": part.start_note, "key": self.ledger_key() }),
                );
            }
            for record in self.shared.store.log_from(position, want).await? {
                line(json!({
                    "position": record.position, "id": record.id, "entry": BASE64.encode(&record.entry),
                    "salt": BASE64.encode(&record.salt), "detail": record.detail
                }));
                if let Some(note) = note(record.position + 1) {
                    line(json!({ "size": record.position + 1, "note": note }));
                }
            }
            if next >= part.size {
                line(json!({ "end": part.size }));
            }
            Ok((out, (next < part.size).then_some(next)))
        })
    }

    /// Takes a part out of the database, once its file is safe. `operator` stands in the ledger.
    ///
    /// # Errors
    /// When the database cannot be reached. The part is then still there, or the next call takes out the rest.
    pub fn take_out<'a>(&'a self, key: &'a System<Audit>, part: Part, operator: &'a str) -> BoxFuture<'a, Result<(), ArchiveError>> {
        Box::pin(async move {
            // New entries repeat what the part's last entries say about live rows, so that the rows stay provable without the file.
            let mut changed = Vec::new();
            for rows in part.rows.chunks(ROWS) {
                changed.extend(self.state_anew(key, rows).await?);
            }
            self.state_system(key, Some(&part.system)).await?;
            self.provable_without(&part, changed).await?;
            let extra = format!("\"from\":{},\"size\":{},\"root\":\"{}\"", part.from, part.size, crate::keys::hex(&part.end.root()));
            let entry = self.shared.system_entry("archive", None, extra);
            let id = entry.id.clone();
            self.shared.commit(self.shared.change_of(Arc::new(Actor { kind: "operator", id: operator.into() }), vec![entry])).await?;
            self.numbered(&id).await?;
            let frontier = pack(&part.end, &[self.shared.archive_code(&part.end)]);
            Ok(self.shared.store.take_out_log(part.size, frontier).await?)
        })
    }

    /// Waits until the entry has a position: one node gives positions to the entries of all nodes.
    async fn numbered(&self, entry: &str) -> Result<(), ArchiveError> {
        for _ in 0..NUMBERED_LOOKS {
            self.settle().await;
            if !self.shared.store.log_waiting(MAX_WAITING).await?.iter().any(|record| record.id == entry) {
                return Ok(());
            }
            tokio::time::sleep(NUMBERED_EVERY).await;
        }
        Err(ArchiveError::Busy)
    }

    /// Verifies the rest: every row has an entry that stays, and every row deleted meanwhile has an entry for its deletion.
    async fn provable_without(&self, part: &Part, changed: Vec<String>) -> Result<(), ArchiveError> {
        let mut walk = Walk::new(true);
        walk.start_at(part.end.clone());
        let gone = self.walk_rest(&mut walk, changed).await?;
        let count = walk.report.count + gone;
        if count == 0 { Ok(()) } else { Err(ArchiveError::Findings(count)) }
    }

    /// Deletes the entries that an interrupted archive has left.
    pub(crate) async fn finish_taking_out(&self) -> Result<(), Failure> {
        let Some(seal) = self.shared.store.seals_from(1, 1).await?.pop() else { return Ok(()) };
        if self.shared.archived_start(&seal).is_none()
            || self.shared.store.log_from(0, 1).await?.first().is_none_or(|record| record.position >= seal.size)
        {
            return Ok(());
        }
        self.shared.store.take_out_log(seal.size, seal.frontier).await
    }

    /// Writes new entries with the digests of rows that are as their last entries say; returns the rows that are not.
    async fn state_anew(&self, key: &System<Audit>, wanted: &[LastSaid]) -> Result<Vec<String>, ArchiveError> {
        let revision = self.revision();
        for _ in 0..ROUNDS {
            let (mut found, mut changed): (Vec<(usize, Row)>, Vec<String>) = (Vec::with_capacity(wanted.len()), Vec::new());
            for said in wanted {
                let declared = &revision.app.collections[said.collection];
                match self.shared.store.row(said.collection, &said.id).await? {
                    Some(row) if self.shared.journal.row_digest(declared, &row) == said.digest.as_slice() => found.push((said.collection, row)),
                    _ => changed.push(format!("{}/{}", declared.name, said.id)),
                }
            }
            let mut change = self.shared.system_change(key, Vec::new());
            for same in found.chunk_by(|left, right| left.0 == right.0) {
                let declared = &revision.app.collections[same[0].0];
                change.entries.extend(same.chunks(PART).map(|part| self.part_entry("rebase", declared, part.iter().map(|(_, row)| row))));
            }
            let lock = |(table, row): &(usize, Row)| Step::Lock {
                table: *table,
                id: row[Collection::ID].as_text().unwrap_or_default().into(),
                filter: Predicate::True,
                version: row[Collection::VERSION].as_int(),
                miss: 0,
            };
            change.steps = found.iter().map(lock).collect();
            if change.entries.is_empty() {
                return Ok(changed);
            }
            match self.shared.commit(change).await {
                // A row was changed since it was read: try again.
                Err(Failure::Missed(_)) => {}
                other => return Ok(other.map(|_| changed)?),
            }
        }
        Err(ArchiveError::Busy)
    }

    /// Checks a file on its own: its entries, its checkpoints, and where it begins and ends.
    #[must_use]
    pub fn verify_archive(&self, file: impl BufRead, outside: &[Checkpoint]) -> ArchiveReport {
        let mut check = Check {
            walk: Walk::new(false),
            verifier: self.shared.seals.verifier(),
            outside: outside.iter().map(|kept| (kept.size, kept.root)).collect(),
            report: ArchiveReport::default(),
            proven: 0,
            ended: false,
        };
        let mut file = file;
        for number in 1.. {
            let mut line = String::new();
            match std::io::Read::take(&mut file, MAX_LINE).read_line(&mut line) {
                Ok(0) => break,
                Ok(_) if check.line(number, line.trim_end()).is_some() => {}
                _ => {
                    check.walk.report.find(None, format!("line {number} of the file cannot be read"));
                    break;
                }
            }
        }
        if !check.ended {
            check.walk.report.find(None, "the file was cut off: its last line is missing");
        }
        ArchiveReport { findings: check.walk.report, ..check.report }
    }
}

impl Shared {
    fn archive_code(&self, end: &Frontier) -> Hash {
        let mut code = [0; 32];
        let text = format!("{}\0{}", end.size(), crate::keys::hex(&end.root()));
        code.copy_from_slice(&self.archive_mac().bytes(text.as_bytes()));
        code
    }

    fn archive_mac(&self) -> &Mac {
        self.seals.archive_mac()
    }

    /// Where the ledger in the database begins, when its older part was archived: the tree at that place.
    pub(crate) fn archived_start(&self, seal: &Seal) -> Option<Frontier> {
        let (frontier, marks) = unpack(&seal.frontier)?;
        let checkpoint = self.seals.verifier().verify(&seal.note).ok()?;
        let fits = i64::try_from(checkpoint.size) == Ok(seal.size) && checkpoint.size == frontier.size() && checkpoint.root == frontier.root();
        let ours =
            matches!(marks.as_slice(), [mark] if aws_lc_rs::constant_time::verify_slices_are_equal(mark, &self.archive_code(&frontier)).is_ok());
        (fits && ours).then_some(frontier)
    }
}

/// What was found of a file.
#[derive(Default)]
pub struct ArchiveReport {
    /// First position.
    pub from: i64,
    /// The position after the last one.
    pub size: i64,
    /// Root of the tree where it begins and ends.
    pub roots: (Hash, Hash),
    /// Checkpoints kept elsewhere that it confirms, by their size.
    pub confirmed: Vec<u64>,
    /// What is wrong with it.
    pub findings: Report,
}

struct Check {
    walk: Walk,
    verifier: Verifier,
    /// Checkpoints kept elsewhere, by size.
    outside: BTreeSet<(u64, Hash)>,
    report: ArchiveReport,
    /// Size of the last checkpoint: what comes after it is not proven.
    proven: u64,
    ended: bool,
}

impl Check {
    /// Takes one line; `None` when the file is malformed there.
    fn line(&mut self, number: usize, line: &str) -> Option<()> {
        if self.ended {
            // Nothing proves what comes after the end.
            return None;
        }
        let value: Value = serde_json::from_str(line).ok()?;
        let int = |key: &str| value[key].as_i64();
        let text = |key: &str| value[key].as_str();
        if number == 1 {
            int("archive").filter(|version| *version == 1)?;
            let start = Frontier::from_bytes(&crate::keys::unhex(text("start")?)?)?;
            (self.report.from, self.report.size) = (int("from")?, int("size")?);
            if i64::try_from(start.size()) != Ok(self.report.from) {
                self.walk.report.find(None, "the file does not say where it begins");
            }
            self.report.roots.0 = start.root();
            if self.report.from > 0 {
                self.note(start.size(), &start.root(), text("start_note")?);
            }
            self.walk.start_at(start);
        } else if let Some(position) = int("position") {
            let record = LogRecord {
                beside: None,
                position,
                id: text("id")?.to_owned(),
                entry: BASE64.decode(text("entry")?).ok()?,
                hash: Vec::new(),
                salt: BASE64.decode(text("salt")?).ok()?,
                detail: text("detail")?.to_owned(),
            };
            let record = LogRecord { hash: haechi_ledger::leaf_hash(&record.entry).to_vec(), ..record };
            if u64::try_from(position) != Ok(self.walk.tree_as_read().size()) {
                self.walk.report.find(Some(position), "an entry stands in another place than it says, or entries before it were dropped");
            }
            self.walk.position = i64::try_from(self.walk.tree_as_read().size()).unwrap_or(position);
            self.walk.check(&record);
            self.walk.forget_leaves();
            let (size, root) = (self.walk.tree_as_read().size(), self.walk.tree_as_read().root());
            for (_, kept) in self.outside.range((size, [0; 32])..=(size, [0xff; 32])) {
                if *kept == root {
                    self.report.confirmed.push(size);
                } else {
                    self.walk.report.find(None, format!("a checkpoint kept elsewhere over {size} entries is not of this file's entries"));
                }
            }
        } else if let Some(size) = int("size") {
            let tree = self.walk.tree_as_read();
            let (found, root) = (tree.size(), tree.root());
            if i64::try_from(found) != Ok(size) {
                self.walk.report.find(Some(size), "a checkpoint stands in another place");
            }
            self.note(found, &root, text("note")?);
        } else {
            let (found, root) = (self.walk.tree_as_read().size(), self.walk.tree_as_read().root());
            self.report.roots.1 = root;
            if self.proven != found {
                self.walk.report.find(None, "no checkpoint is over the last entries of the file");
            }
            if int("end")? != self.report.size || i64::try_from(found) != Ok(self.report.size) {
                self.walk.report.find(None, "the file does not hold what it says");
            }
            self.ended = true;
        }
        Some(())
    }

    fn note(&mut self, size: u64, root: &Hash, note: &str) {
        self.proven = size;
        let good = self.verifier.verify(note).is_ok_and(|checkpoint| checkpoint.size == size && checkpoint.root == *root);
        if !good {
            let what = format!("the checkpoint over {size} entries is not genuine, or entries before it were altered");
            self.walk.report.find(i64::try_from(size).ok(), what);
        }
    }
}
