//! Example rows in memory: on which of them two states of the policies differ, and for whom.

use super::reach::ANYBODY;
use crate::{import::ImportRow, revision::Revision};
use haechi_model::{App, Collection, CollectionId, Group, Lookup, Predicate, Row, USERS, Value, person};
use haechi_policy::{ActionId, Principal, PrincipalKind, Written};
use std::collections::{BTreeSet, HashMap};

/// At most so many people, and so many rows of a collection, are looked at.
const MAX_PEOPLE: usize = 100;
const MAX_ROWS: usize = 1_000;

/// Rows of a folder, e.g. those of `seed/`.
pub struct Examples {
    rows: Vec<Vec<Row>>,
    /// By collection and id: the place in `rows`.
    places: HashMap<(CollectionId, String), usize>,
}

/// A caller and a row on which the new policies decide differently than the old. Both by id, never by value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// `anonymous`, or the id of one of the people.
    pub who: String,
    /// The collection.
    pub collection: String,
    /// The row's id, or `line N` of its file.
    pub row: String,
}

/// Pairs of somebody and a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs {
    /// Pairs that are allowed now and were not before.
    pub gained: BTreeSet<Pair>,
    /// Pairs that were allowed before and are not now.
    pub lost: BTreeSet<Pair>,
}

impl Lookup for Examples {
    fn row(&self, table: usize, id: &str) -> Option<Row> {
        self.places.get(&(table, id.to_owned())).map(|at| self.rows[table][*at].clone())
    }

    fn joined(&self, group: &Group, of: &str, who: &str) -> bool {
        self.rows[group.joining].iter().any(|row| group.joins(row, of, who))
    }
}

impl Examples {
    /// No rows yet.
    #[must_use]
    pub fn of(app: &App) -> Self {
        Self { rows: vec![Vec::new(); app.collections.len()], places: HashMap::new() }
    }

    /// Adds a row. Values that it does not name are those of a new row.
    pub fn add(&mut self, collection: &Collection, row: &ImportRow) {
        let id = row.id.as_deref().map_or_else(|| format!("line {}", row.line), str::to_owned);
        let made = collection.new_row(&id, &row.values, 0, None);
        self.places.insert((collection.id, id), self.rows[collection.id].len());
        self.rows[collection.id].push(made);
    }

    /// How many people and rows of a collection are looked at; `None` when there are none to look at.
    #[must_use]
    pub fn size(&self, collection: CollectionId) -> Option<(usize, usize)> {
        let size = (self.people().count(), self.rows[collection].len().min(MAX_ROWS));
        (size.1 > 0).then_some(size)
    }

    fn people(&self) -> impl Iterator<Item = &Row> {
        self.rows[USERS].iter().filter(|row| row[person::DISABLED] != Value::Int(1)).take(MAX_PEOPLE)
    }

    /// The rows of a collection on which an action is allowed in one state and not in the other. Rows have the same layout in both states.
    pub(crate) fn compare(
        &self,
        old: &Revision,
        new: &Revision,
        (old_action, action): (ActionId, ActionId),
        collection: &Collection,
        now_ms: i64,
    ) -> Pairs {
        let mut pairs = Pairs::default();
        let anonymous: Row = Vec::new();
        for person in std::iter::once(&anonymous).chain(self.people()) {
            let id = person.first().and_then(Value::as_text);
            let roles: Vec<Box<str>> = person
                .get(person::ROLES)
                .and_then(Value::as_text)
                .and_then(|text| serde_json::from_str::<Vec<Box<str>>>(text).ok())
                .unwrap_or_default();
            let kind = if id.is_some() { PrincipalKind::User } else { PrincipalKind::Anonymous };
            let principal = Principal { kind, id: id.unwrap_or("anonymous"), roles: &roles, row: person };
            // With some of the fields, and with every field.
            for written in [Written::Some, Written::Every] {
                let before = with_read(old, &principal, old_action, collection.id, (now_ms, written));
                let after = with_read(new, &principal, action, collection.id, (now_ms, written));
                if before == after {
                    continue;
                }
                for row in self.rows[collection.id].iter().take(MAX_ROWS) {
                    let side = match (before.holds(row, self), after.holds(row, self)) {
                        (false, true) => &mut pairs.gained,
                        (true, false) => &mut pairs.lost,
                        _ => continue,
                    };
                    let row = row[Collection::ID].as_text().unwrap_or(ANYBODY).to_owned();
                    side.insert(Pair { who: principal.id.to_owned(), collection: collection.name.clone(), row });
                }
            }
        }
        pairs
    }
}

/// Whether the caller may do it, as a request would decide: a verb on existing rows implies `read`.
fn with_read(
    revision: &Revision,
    principal: &Principal<'_>,
    action: ActionId,
    collection: CollectionId,
    (now_ms, written): (i64, Written<'_>),
) -> Predicate {
    let rows = revision.effective(principal, action, collection, (now_ms, written));
    if rows == Predicate::False || action == revision.verbs.create || action == revision.verbs.read {
        return rows;
    }
    Predicate::all([rows, revision.effective(principal, revision.verbs.read, collection, (now_ms, written))])
}
