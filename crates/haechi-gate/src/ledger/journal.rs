//! Encodes ledger entries from what the store did: values of plain fields, names only of classed ones.

use crate::{
    clock::GateClock,
    keys::{MasterKey, Purpose, hex, random},
    live::image::Images,
    revision::Revision,
};
use arc_swap::ArcSwap;
use aws_lc_rs::hmac;
use haechi_ledger::{Entry, commitment, event_hash, leaf_hash};
use haechi_model::{App, Change, Collection, Column, EntryDraft, EntryKind, Row, Table, Value, write_json_text};
use haechi_store::{Journal, LogRow};
use std::sync::Arc;

const ROW_DIGEST_BYTES: usize = 16;
/// System tables whose entries carry a digest for each row that is made, changed or ended. Throttling counters are not among them.
const STATED: &[&str] = &["_sessions", "_passwords", "_keys", "_once"];
/// The column that changes by use alone.
pub(crate) const CHANGED_BY_USE: &str = "seen";

/// Columns, each with where whole rows have it.
type Placed = Vec<(Column, usize)>;

/// The gate's side of the store's journal.
pub(crate) struct GateJournal {
    app: Arc<App>,
    row_key: hmac::Key,
    /// All tables, by number.
    tables: Vec<Table>,
    images: Arc<Images>,
    /// The collections that somebody may watch: no images are kept for the others.
    watched: ArcSwap<Vec<bool>>,
    /// By collection, where the database has another model: its columns.
    newer: ArcSwap<Vec<Option<Placed>>>,
    clock: Arc<GateClock>,
}

impl GateJournal {
    pub(crate) fn new(revision: &Revision, tables: Vec<Table>, master: &MasterKey, images: Arc<Images>, clock: Arc<GateClock>) -> Self {
        let watched = ArcSwap::from_pointee(revision.watched());
        Self { app: revision.app.clone(), tables, row_key: master.hmac(Purpose::RowDigest), images, watched, newer: ArcSwap::default(), clock }
    }

    /// The system tables whose rows are stated: number and table.
    pub(crate) fn stated_tables(&self) -> impl Iterator<Item = (usize, &Table)> {
        self.tables.iter().enumerate().filter(|(_, table)| STATED.contains(&table.name.as_str()))
    }

    /// The name of a system table's row in the ledger; it does not reveal the row's id.
    pub(crate) fn system_target(&self, table: &Table, id: &str) -> String {
        let tag = self.tag(format!("{}\0{id}", table.name).as_bytes());
        format!("{}/{}", table.name, hex(&tag))
    }

    /// Keyed digest of a row of a system table, without the column that changes by use alone.
    pub(crate) fn system_digest(&self, table: &Table, row: &Row) -> [u8; ROW_DIGEST_BYTES] {
        let mut canonical = table.name.as_bytes().to_vec();
        for (column, value) in table.columns.iter().zip(row).filter(|(column, _)| column.name != CHANGED_BY_USE) {
            canonical.push(0);
            canonical.extend_from_slice(column.name.as_bytes());
            canonical.push(0);
            value.write_canonical(&mut canonical);
        }
        self.tag(&canonical)
    }

    fn tag(&self, text: &[u8]) -> [u8; ROW_DIGEST_BYTES] {
        let mut digest = [0; ROW_DIGEST_BYTES];
        digest.copy_from_slice(&hmac::sign(&self.row_key, text).as_ref()[..ROW_DIGEST_BYTES]);
        digest
    }

    /// Sets the collections that may be watched.
    pub(crate) fn watch(&self, watched: Vec<bool>) {
        self.watched.store(Arc::new(watched));
    }

    /// Keyed digest of a row's canonical form: every column that differs from its default, by name.
    pub(crate) fn row_digest(&self, collection: &Collection, row: &Row) -> [u8; ROW_DIGEST_BYTES] {
        let mut canonical = Vec::with_capacity(512);
        canonical.extend_from_slice(collection.name.as_bytes());
        match self.newer.load().get(collection.id) {
            Some(Some(columns)) => columns.iter().for_each(|(column, at)| write_column(column, row.get(*at), &mut canonical)),
            _ => collection.table.columns.iter().zip(row).for_each(|(column, value)| write_column(column, Some(value), &mut canonical)),
        }
        self.tag(&canonical)
    }

    /// Learns the tables of a newer model: whole rows end with the columns unknown here, and digests follow the newer model.
    pub(crate) fn meet(&self, there: &[Table], newer: &[Vec<Column>]) {
        let of = |collection: &Collection| {
            let table = there.iter().find(|table| table.name == collection.name)?;
            let unknown = newer.get(collection.id)?;
            let place = |column: &Column| {
                let known = collection.table.column(&column.name);
                known.or_else(|| Some(collection.table.columns.len() + unknown.iter().position(|new| new.name == column.name)?))
            };
            Some(table.columns.iter().filter_map(|column| Some((column.clone(), place(column)?))).collect())
        };
        self.newer.store(Arc::new(self.app.collections.iter().map(of).collect()));
    }

    fn detail(&self, draft: &EntryDraft, before: Option<&Row>, after: Option<&Row>) -> String {
        let mut out = Vec::with_capacity(256);
        out.push(b'{');
        let mut classed: Vec<&str> = Vec::new();
        if let Some(collection) = draft.collection.map(|at| &self.app.collections[at]) {
            for (key, row, other) in [("old", before, after), ("new", after, before)] {
                let Some(row) = row else { continue };
                self.fields(collection, key, row, other, &mut classed, &mut out);
            }
        }
        if !classed.is_empty() {
            classed.sort_unstable();
            classed.dedup();
            separate(&mut out);
            out.extend_from_slice(b"\"classed\":[");
            for (at, name) in classed.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_json_text(name, &mut out);
            }
            out.push(b']');
        }
        if !draft.extra.is_empty() {
            separate(&mut out);
            out.extend_from_slice(draft.extra.as_bytes());
        }
        out.push(b'}');
        String::from_utf8(out).unwrap_or_default()
    }

    /// The declared fields of a row that differ from the other row.
    fn fields<'a>(&self, collection: &'a Collection, key: &str, row: &Row, other: Option<&Row>, classed: &mut Vec<&'a str>, out: &mut Vec<u8>) {
        separate(out);
        write_json_text(key, out);
        out.extend_from_slice(b":{");
        let mut first = true;
        for (at, field) in collection.declared() {
            let same = other.map_or(row[at].is_null(), |other| other[at] == row[at]);
            if same {
                continue;
            }
            if self.app.classes[field.class].guarded() {
                classed.push(&field.name);
                continue;
            }
            if !first {
                out.push(b',');
            }
            first = false;
            write_json_text(&field.name, out);
            out.push(b':');
            field.ty.write(&row[at], out);
        }
        out.push(b'}');
    }
}

fn separate(out: &mut Vec<u8>) {
    if out.len() > 1 {
        out.push(b',');
    }
}

/// Writes a column of a row's canonical form. A value equal to the column's default, or NULL without one, is left out: then the digests of
/// rows that are older than the column, or were written by nodes that do not know it yet, stay the same.
fn write_column(column: &Column, value: Option<&Value>, canonical: &mut Vec<u8>) {
    let Some(value) = value else { return };
    if column.default.as_ref().map_or(value.is_null(), |default| default == value) {
        return;
    }
    canonical.push(0);
    canonical.extend_from_slice(column.name.as_bytes());
    canonical.push(0);
    value.write_canonical(canonical);
}

impl Journal for GateJournal {
    fn state(&self, table: usize, id: &str, after: Option<&Row>, set: &[(usize, Value)]) -> Option<String> {
        let table = self.tables.get(table).filter(|table| STATED.contains(&table.name.as_str()))?;
        if !set.is_empty() && set.iter().all(|(column, _)| table.columns[*column].name == CHANGED_BY_USE) {
            return None;
        }
        let target = self.system_target(table, id);
        Some(match after {
            Some(row) => format!("[\"{target}\",\"{}\"]", hex(&self.system_digest(table, row))),
            None => format!("[\"{target}\",null]"),
        })
    }

    fn encode(&self, change: &Change, draft: &EntryDraft, before: Option<&Row>, after: Option<&Row>) -> LogRow {
        let detail = self.detail(draft, before, after);
        let salt: [u8; 32] = random();
        let collection = draft.collection.map(|at| &self.app.collections[at]);
        let row_digest = match (collection, after) {
            (Some(collection), Some(row)) if draft.kind == EntryKind::Change => self.row_digest(collection, row).to_vec(),
            _ => Vec::new(),
        };
        let target = match (collection, &draft.record) {
            (Some(collection), Some(record)) => format!("{}/{record}", collection.name),
            (Some(collection), None) => collection.name.clone(),
            (None, Some(record)) => record.to_string(),
            (None, None) => String::new(),
        };
        let event = event(draft, collection, before, after);
        let image = collection
            .filter(|collection| draft.kind == EntryKind::Change && (before.is_some() || after.is_some()) && self.watched.load()[collection.id])
            .map(|collection| self.images.seal(&draft.id, collection, before, after));
        let entry = Entry {
            id: draft.id.to_string(),
            time_ms: self.clock.entry_ms(change.time_ms),
            organisation: String::new(),
            actor_kind: change.actor.kind.to_owned(),
            actor_id: change.actor.id.to_string(),
            action: draft.action.to_string(),
            target,
            outcome: draft.outcome.to_owned(),
            request_id: change.request_id.to_string(),
            policy_version: change.policy_version.to_string(),
            cause: if draft.extra.starts_with("\"cause\"") { "cascade".to_owned() } else { change.cause.to_string() },
            row_digest,
            commitment: commitment(&salt, detail.as_bytes()),
            event: Some(event_hash(event.as_deref())),
        };
        let entry = entry.to_bytes();
        LogRow { id: draft.id.clone(), hash: leaf_hash(&entry), entry, salt, detail, event, image }
    }
}

/// The event for subscribers: which row, and what happened to it; or that many rows have changed at once.
fn event(draft: &EntryDraft, collection: Option<&Collection>, before: Option<&Row>, after: Option<&Row>) -> Option<String> {
    // A key of a service and the like: streams check their callers again.
    let Some(collection) = collection else { return (draft.kind == EntryKind::System).then(|| "{\"doubt\":true}".to_owned()) };
    let name = &collection.name;
    if draft.kind == EntryKind::System {
        return Some(format!("{{\"kind\":\"{}\",\"collection\":\"{name}\",\"upset\":true}}", draft.action));
    }
    let record = draft.record.as_ref()?;
    if draft.kind != EntryKind::Change {
        return None;
    }
    let version = after.and_then(|row| row.get(Collection::VERSION)?.as_int()).unwrap_or_default();
    let row = before.is_some() || after.is_some();
    Some(format!("{{\"kind\":\"{}\",\"collection\":\"{name}\",\"id\":\"{record}\",\"version\":{version},\"row\":{row}}}", draft.action))
}
