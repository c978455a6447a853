//! The cascade of a delete: planned here for every database, queried and carried out by each.
//!
//! First all rows are found that are deleted or detached; only then is anything written. So rows with two references, cycles and chains of
//! any depth are handled alike. A row is deleted when no row refers to it any more; a cycle is opened at a reference that may be empty.

use crate::{catalog::Catalog, referrers::Referrer};
use haechi_model::{Collection, EntryDraft, EntryKind, OnDelete, Row, Value, without_references};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// The most rows that one delete may delete or detach.
pub(crate) const MAX_ROWS: usize = 1000;

/// A row, by its table and id.
type Name = (usize, Box<str>);

/// Asks for rows that refer to a row by a column, in the order of their ids.
pub(crate) struct Question {
    pub(crate) table: usize,
    pub(crate) column: usize,
    /// The hidden table, when the column has lists.
    pub(crate) hidden: Option<usize>,
    pub(crate) parent: Box<str>,
    /// One more than allowed.
    pub(crate) limit: usize,
}

/// The writes, in this order.
pub(crate) enum Write {
    /// References become empty, or lists shorter, which counts as a change of the row.
    Detach { table: usize, id: Box<str>, set: Vec<(usize, Value)>, before: Row },
    /// A reference of a deleted row becomes empty, so that its target can be deleted first. This does not count as a change. Of a list, only
    /// the row of the hidden table goes.
    Open { table: usize, id: Box<str>, column: usize, listed: Option<(usize, Box<str>)> },
    /// The row is deleted.
    Delete { table: usize, id: Box<str>, before: Row },
}

/// Why nothing is deleted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// There are more rows than allowed.
    TooMany,
    /// A row that stays refers to a row that would be deleted.
    Referenced,
}

/// A column that becomes empty, or whose list loses an id.
type LetGo = (usize, Option<Box<str>>);

/// The plan of one delete.
pub(crate) struct Cascade<'a> {
    catalog: &'a Catalog,
    root: Name,
    todo: VecDeque<(Name, &'a Referrer)>,
    /// Rows to be deleted, except the root: the position and the row.
    going: HashMap<Name, usize>,
    rows: Vec<(Name, Row)>,
    /// Rows that refer by `restrict`.
    restricting: HashSet<Name>,
    /// Rows that stay, with the columns that become empty, or whose lists lose an id.
    detached: BTreeMap<Name, (Vec<LetGo>, Row)>,
    /// References between rows to be deleted: from, by, to.
    references: Vec<(Name, &'a Referrer, Name)>,
    asked: Option<(Name, &'a Referrer)>,
}

impl<'a> Cascade<'a> {
    /// A plan for a deleted row.
    pub(crate) fn new(catalog: &'a Catalog, table: usize, id: &str) -> Self {
        let root: Name = (table, id.into());
        let mut cascade = Self {
            catalog,
            root: root.clone(),
            todo: VecDeque::new(),
            going: HashMap::new(),
            rows: Vec::new(),
            restricting: HashSet::new(),
            detached: BTreeMap::new(),
            references: Vec::new(),
            asked: None,
        };
        cascade.follow(&root);
        cascade
    }

    fn follow(&mut self, name: &Name) {
        self.todo.extend(self.catalog.referrers(name.0).iter().map(|referrer| (name.clone(), referrer)));
    }

    /// The next question; `None` when everything is known.
    pub(crate) fn next(&mut self) -> Option<Question> {
        let (parent, referrer) = self.todo.pop_front()?;
        // The limit covers all rows that may be known already, the root, and one more: rows with a second reference are found again.
        let (column, hidden) = (referrer.column, referrer.hidden);
        let question = Question { table: referrer.table, column, hidden, parent: parent.1.clone(), limit: MAX_ROWS + 2 };
        self.asked = Some((parent, referrer));
        Some(question)
    }

    /// Takes the answer to the last question.
    pub(crate) fn found(&mut self, rows: Vec<Row>) -> Result<(), Kept> {
        let Some((parent, referrer)) = self.asked.take() else { return Ok(()) };
        for row in rows {
            let name: Name = (referrer.table, row[0].as_text().unwrap_or_default().into());
            self.references.push((name.clone(), referrer, parent.clone()));
            match referrer.on_delete {
                OnDelete::Restrict => drop(self.restricting.insert(name)),
                _ if self.goes(&name) => {}
                OnDelete::SetNull | OnDelete::Remove => {
                    let gone = referrer.hidden.map(|_| parent.1.clone());
                    self.detached.entry(name).or_insert_with(|| (Vec::new(), row)).0.push((referrer.column, gone));
                }
                OnDelete::Cascade => {
                    self.detached.remove(&name);
                    self.going.insert(name.clone(), self.rows.len());
                    self.rows.push((name.clone(), row));
                    self.follow(&name);
                }
            }
            if self.rows.len() + self.detached.len() > MAX_ROWS {
                return Err(Kept::TooMany);
            }
        }
        // More rows than can be deleted: so one of them stays.
        if self.restricting.len() > MAX_ROWS + 1 { Err(Kept::Referenced) } else { Ok(()) }
    }

    fn goes(&self, name: &Name) -> bool {
        *name == self.root || self.going.contains_key(name)
    }

    /// The writes before the row itself is deleted.
    pub(crate) fn writes(mut self, now_ms: i64) -> Result<Vec<Write>, Kept> {
        if self.restricting.iter().any(|child| !self.goes(child)) {
            return Err(Kept::Referenced);
        }
        let order = self.order();
        let place = |name: &Name| order.get(name).copied().unwrap_or(usize::MAX);
        // The root is deleted last. A row that is deleted after its target lets go of it first.
        let mut opened: Vec<Write> = Vec::new();
        for (child, referrer, parent) in self.references.iter().filter(|(child, _, _)| self.goes(child)) {
            if child != parent && place(child) > place(parent) {
                if referrer.required {
                    return Err(Kept::Referenced);
                }
                let listed = referrer.hidden.map(|hidden| (hidden, parent.1.clone()));
                opened.push(Write::Open { table: child.0, id: child.1.clone(), column: referrer.column, listed });
            }
        }
        let mut writes: Vec<Write> = std::mem::take(&mut self.detached)
            .into_iter()
            .map(|((table, id), (columns, before))| {
                let mut set: Vec<(usize, Value)> = Vec::with_capacity(columns.len() + 1);
                for (column, gone) in columns {
                    let rest = |list: &Value| gone.as_ref().map_or(Value::Null, |id| without_references(list, std::slice::from_ref(id)));
                    match set.iter_mut().find(|(known, _)| *known == column) {
                        Some((_, list)) => *list = rest(list),
                        None => set.push((column, rest(&before[column]))),
                    }
                }
                set.push((Collection::UPDATE_TIME, Value::Int(now_ms)));
                Write::Detach { table, id, set, before }
            })
            .collect();
        writes.append(&mut opened);
        self.rows.sort_by_key(|(name, _)| place(name));
        writes.extend(self.rows.into_iter().map(|((table, id), before)| Write::Delete { table, id, before }));
        Ok(writes)
    }

    /// The order of deletion: a row comes after the rows that refer to it, where such an order exists. In a cycle, required references
    /// count before optional ones.
    fn order(&self) -> HashMap<Name, usize> {
        let mut waits = vec![0usize; self.rows.len()];
        let mut lets: Vec<Vec<(usize, bool)>> = vec![Vec::new(); self.rows.len()];
        let mut required = vec![0usize; self.rows.len()];
        for (child, referrer, parent) in &self.references {
            let (Some(child), Some(parent)) = (self.going.get(child), self.going.get(parent)) else { continue };
            if child != parent {
                waits[*parent] += 1;
                required[*parent] += usize::from(referrer.required);
                lets[*child].push((*parent, referrer.required));
            }
        }
        let mut ready: VecDeque<usize> = (0..waits.len()).filter(|at| waits[*at] == 0).collect();
        let (mut done, mut order) = (vec![false; waits.len()], HashMap::new());
        while order.len() < waits.len() {
            // A cycle: the first row without a required reference to it, or else any row.
            let held = || (0..waits.len()).filter(|at| !done[*at]);
            let Some(at) = ready.pop_front().or_else(|| held().find(|at| required[*at] == 0)).or_else(|| held().next()) else { break };
            if std::mem::replace(&mut done[at], true) {
                continue;
            }
            order.insert(self.rows[at].0.clone(), order.len());
            for (parent, is_required) in &lets[at] {
                waits[*parent] -= 1;
                required[*parent] -= usize::from(*is_required);
                if waits[*parent] == 0 {
                    ready.push_back(*parent);
                }
            }
        }
        order
    }
}

/// An entry with the rows that it quotes.
pub(crate) type Quoted = (EntryDraft, Option<Row>, Option<Row>);

/// What went with deleted rows: its entries, by the slot of the deleted row.
pub(crate) type Caused = Vec<(usize, Quoted)>;

/// All entries of a change in the order in which things were done: what went with a deleted row stands before that row's own entry, and
/// behind those of the operations before it. The last entry about a row must say how the row is.
pub(crate) fn in_order(drafts: &[EntryDraft], slots: &[Row], caused: Caused) -> Vec<Quoted> {
    let slot = |slot: Option<usize>| slot.and_then(|slot| slots.get(slot)).cloned();
    let mut caused = caused.into_iter().peekable();
    let mut entries = Vec::with_capacity(drafts.len() + caused.len());
    for draft in drafts {
        // Slots are filled in the order of the steps, and so are entries written.
        let last = draft.before.max(draft.after);
        while let Some((_, entry)) = caused.next_if(|(of, _)| last.is_some_and(|last| *of <= last)) {
            entries.push(entry);
        }
        entries.push((draft.clone(), slot(draft.before), slot(draft.after)));
    }
    entries.extend(caused.map(|(_, entry)| entry));
    entries
}

/// The entry of a row that was deleted or detached by the cascade.
pub(crate) fn entry(table: usize, id: &str, action: &'static str) -> EntryDraft {
    let extra = "\"cause\":\"cascade\"".to_owned();
    EntryDraft { extra, ..EntryDraft::new(EntryKind::Change, action, Some(table), Some(id)) }
}
