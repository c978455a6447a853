//! What a delete takes with it: planned here for every database, asked and carried out by each.
//!
//! First all rows are found that go or are detached; only then anything is written. So a row that refers twice, a circle and a chain of
//! any depth are the same work. A row is deleted when nothing refers to it any more; a circle is opened where a reference may be empty.

use crate::{catalog::Catalog, referrers::Referrer};
use haechi_model::{Collection, EntryDraft, EntryKind, OnDelete, Row, Value};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// The most rows that one delete may take with it, detached ones included.
pub(crate) const MAX_ROWS: usize = 1000;

/// A row, by its table and id.
type Name = (usize, Box<str>);

/// Rows that refer to a row by a column are wanted, in the order of their ids.
pub(crate) struct Question {
    pub(crate) table: usize,
    pub(crate) column: usize,
    pub(crate) parent: Box<str>,
    /// One more than there may be.
    pub(crate) limit: usize,
}

/// What is to be written, in this order.
pub(crate) enum Write {
    /// Columns become empty, which is a change of the row.
    Detach { table: usize, id: Box<str>, set: Vec<(usize, Value)>, before: Row },
    /// A reference of a row that goes becomes empty, so that what it refers to can go first. That is no change of its own.
    Open { table: usize, id: Box<str>, column: usize },
    /// The row goes.
    Delete { table: usize, id: Box<str>, before: Row },
}

/// Why nothing is deleted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// There are more rows than may go.
    TooMany,
    /// A row that stays refers to one that would go.
    Referenced,
}

/// The plan of one delete.
pub(crate) struct Cascade<'a> {
    catalog: &'a Catalog,
    root: Name,
    todo: VecDeque<(Name, &'a Referrer)>,
    /// Rows that go, but for the root: where each stands, and what it is.
    going: HashMap<Name, usize>,
    rows: Vec<(Name, Row)>,
    /// Rows that refer by `restrict`.
    restricting: HashSet<Name>,
    /// Rows that stay, whose columns become empty.
    detached: BTreeMap<Name, (Vec<usize>, Row)>,
    /// Rows that refer to others that go: who, by what, to whom.
    references: Vec<(Name, &'a Referrer, Name)>,
    asked: Option<(Name, &'a Referrer)>,
}

impl<'a> Cascade<'a> {
    /// Of a row that is deleted.
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

    /// What is to be asked next; nothing when all is known.
    pub(crate) fn next(&mut self) -> Option<Question> {
        let (parent, referrer) = self.todo.pop_front()?;
        // All that may be known already, the root among them, and one more: whatever refers by a second column is asked for again.
        let question = Question { table: referrer.table, column: referrer.column, parent: parent.1.clone(), limit: MAX_ROWS + 2 };
        self.asked = Some((parent, referrer));
        Some(question)
    }

    /// The answer to what was asked.
    pub(crate) fn found(&mut self, rows: Vec<Row>) -> Result<(), Kept> {
        let Some((parent, referrer)) = self.asked.take() else { return Ok(()) };
        for row in rows {
            let name: Name = (referrer.table, row[0].as_text().unwrap_or_default().into());
            self.references.push((name.clone(), referrer, parent.clone()));
            match referrer.on_delete {
                OnDelete::Restrict => drop(self.restricting.insert(name)),
                _ if self.goes(&name) => {}
                OnDelete::SetNull => self.detached.entry(name).or_insert_with(|| (Vec::new(), row)).0.push(referrer.column),
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
        // More than may go: one of them stays.
        if self.restricting.len() > MAX_ROWS + 1 { Err(Kept::Referenced) } else { Ok(()) }
    }

    fn goes(&self, name: &Name) -> bool {
        *name == self.root || self.going.contains_key(name)
    }

    /// What is to be written before the row itself is deleted.
    pub(crate) fn writes(mut self, now_ms: i64) -> Result<Vec<Write>, Kept> {
        if self.restricting.iter().any(|child| !self.goes(child)) {
            return Err(Kept::Referenced);
        }
        let order = self.order();
        let place = |name: &Name| order.get(name).copied().unwrap_or(usize::MAX);
        // The root goes last. Who goes later than what they refer to lets it go first.
        let mut opened: Vec<Write> = Vec::new();
        for (child, referrer, parent) in self.references.iter().filter(|(child, _, _)| self.goes(child)) {
            if child != parent && place(child) > place(parent) {
                if referrer.required {
                    return Err(Kept::Referenced);
                }
                opened.push(Write::Open { table: child.0, id: child.1.clone(), column: referrer.column });
            }
        }
        let mut writes: Vec<Write> = std::mem::take(&mut self.detached)
            .into_iter()
            .map(|((table, id), (columns, before))| {
                let empty = columns.into_iter().map(|column| (column, Value::Null));
                let set = empty.chain([(Collection::UPDATE_TIME, Value::Int(now_ms))]).collect();
                Write::Detach { table, id, set, before }
            })
            .collect();
        writes.append(&mut opened);
        self.rows.sort_by_key(|(name, _)| place(name));
        writes.extend(self.rows.into_iter().map(|((table, id), before)| Write::Delete { table, id, before }));
        Ok(writes)
    }

    /// When each row goes: a row after those that refer to it, wherever there is such an order. Where there is none, a required reference
    /// counts before one that may be empty.
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
            // A circle: the first row that no required reference holds, else any.
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

/// The entry of a row that was deleted or detached because of another.
pub(crate) fn entry(table: usize, id: &str, action: &'static str) -> EntryDraft {
    let extra = "\"cause\":\"cascade\"".to_owned();
    EntryDraft { extra, ..EntryDraft::new(EntryKind::Change, action, Some(table), Some(id)) }
}
