//! What one stream sees: a condition and masks, bound once, evaluated in memory for each change.

use super::{
    log::Event,
    told::{Told, ToldKind},
};
use crate::{
    ask::Ask,
    grant::{Verb, Watch},
    refusal::ReadError,
    shared::Shared,
    show::{Asked, View, with_followed},
};
use aws_lc_rs::digest;
use haechi_model::{CollectionId, FieldId, Group, Lookup, MAX_ANCESTORS, Mask, Output, Predicate, Row, RowPage, Shape, Value};
use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    sync::{Arc, OnceLock},
};

/// How often other rows are fetched before a condition is given up: references are followed three deep, then the ancestors of a group.
const MAX_ROUNDS: usize = 8 + MAX_ANCESTORS;

/// A query for changes of a collection.
#[derive(Clone, Debug)]
pub struct WatchQuery {
    /// Fields of each row; all when `None`.
    pub fields: Option<Vec<FieldId>>,
    /// A condition on the row's own columns.
    pub filter: Predicate,
    /// How each row is written.
    pub shape: Shape,
    /// References whose ids are wanted beside the bytes.
    pub follow: Vec<FieldId>,
}

/// A bound query: the same for all streams that see the same.
pub(crate) struct Sight {
    pub(crate) collection: CollectionId,
    rows: Predicate,
    outputs: Vec<Output>,
    shape: Shape,
    follow: Vec<FieldId>,
    /// Other collections of which each change affects what is seen.
    looks_into: Vec<usize>,
    /// Joining collections of groups: changes of rows that name the person affect what is seen.
    joinings: Vec<Joining>,
    /// References that groups inherit through: a change of one affects what is seen.
    inherits: Vec<(CollectionId, FieldId)>,
    groups: Vec<Arc<Group>>,
    /// Whether what is seen depends on the time.
    pub(crate) timed: bool,
    /// Two sights with the same key see the same.
    pub(crate) key: [u8; 32],
}

/// A row as the stream shows it, with the shown fields; `None` when it is gone.
type Shown = Option<(RowPage, Vec<FieldId>)>;

/// What one change needed beyond its own row; all streams that are told of it share it.
#[derive(Default)]
pub(crate) struct Met {
    rows: HashMap<(usize, String), Option<Row>>,
    /// Who is in the group of a row, by the group's place in memory: the sights of a change hold their groups.
    members: HashMap<(usize, String), HashSet<Box<str>>>,
}

/// A question that one change needs and that was not asked yet.
#[derive(PartialEq)]
enum Missing {
    Row(usize, String),
    Members(Arc<Group>, String),
}

/// Whose group a sight looks into.
struct Joining {
    collection: CollectionId,
    who: FieldId,
    /// The person, where the sight is of one.
    person: Option<Box<str>>,
}

impl Sight {
    /// Binds a query for the caller, now.
    pub(crate) fn of(ask: &Ask, collection: CollectionId, query: &WatchQuery) -> Result<Self, ReadError> {
        let (_, _, rows) = ask.on::<Watch>(collection).map_err(ReadError::Refused)?.into_rows();
        Self::new(ask, collection, rows, query)
    }

    /// Whether a change of a collection changes what is seen.
    pub(crate) fn concerned_by(&self, collection: CollectionId) -> bool {
        self.collection == collection
            || self.looks_into.contains(&collection)
            || self.joinings.iter().any(|joining| joining.collection == collection)
            || self.inherits.iter().any(|(of, _)| *of == collection)
    }

    /// Whether a change of another row, or of a row that others inherit from, changes which rows are seen.
    pub(crate) fn upset_by(&self, event: &Event) -> bool {
        let value = |row: &Option<Row>, column: FieldId| row.as_ref().map_or(Value::Null, |row| row[column].clone());
        let names = |joining: &Joining| match &joining.person {
            None => true,
            Some(person) => [&event.before, &event.after].into_iter().any(|row| value(row, joining.who).as_text() == Some(person)),
        };
        self.looks_into.contains(&event.collection)
            || self.joinings.iter().any(|joining| joining.collection == event.collection && names(joining))
            || self.inherits.iter().any(|(of, column)| *of == event.collection && value(&event.before, *column) != value(&event.after, *column))
    }

    /// Binds a query to the rows of a grant.
    fn new(ask: &Ask, collection: CollectionId, rows: Predicate, query: &WatchQuery) -> Result<Self, ReadError> {
        if !query.filter.is_local() {
            return Err(ReadError::NotLocal);
        }
        let masks = ask.masks(collection, &rows);
        let Asked { rows, used, .. } = ask.usable((collection, &rows, Watch::NAME), query.filter.clone(), |_| false)?;
        let fields = query.fields.as_deref().map(|fields| with_followed(fields, &query.follow));
        let outputs = ask.outputs(collection, &masks, fields.as_deref());
        ask.sight(Watch::NAME, collection, &used, &[], !used.is_empty())?;
        let (mut looks_into, mut joinings, mut inherits, mut groups) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let masks = outputs.iter().filter_map(|output| if let Mask::When(condition) = &output.mask { Some(condition) } else { None });
        for condition in std::iter::once(&rows).chain(masks) {
            condition.looks_into(&mut looks_into);
            condition.each_group(&mut |group, person| {
                joinings.push(Joining { collection: group.joining, who: group.who, person: person.map(Into::into) });
                inherits.extend(group.inherits.map(|column| (group.of, column)));
                groups.push(group.clone());
            });
        }
        looks_into.sort_unstable();
        looks_into.dedup();
        let timed = ask.depends_on_time(collection);
        let text = format!("{collection}\0{rows:?}\0{outputs:?}\0{:?}\0{:?}", query.shape, query.follow);
        let mut key = [0; 32];
        key.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
        Ok(Self {
            collection,
            rows,
            outputs,
            shape: query.shape.clone(),
            follow: query.follow.clone(),
            looks_into,
            joinings,
            inherits,
            groups,
            timed,
            key,
        })
    }

    /// What a change looks like to this caller; `None` when neither the old nor the new row is visible.
    pub(crate) async fn judge(
        &self,
        shared: &Arc<Shared>,
        event: &Event,
        position: &Arc<str>,
        met: &mut Met,
    ) -> Result<Option<Told>, haechi_model::Failure> {
        for _ in 0..MAX_ROUNDS {
            let missing = {
                let lookup = Looked { met, groups: &self.groups, missing: RefCell::default() };
                let judged = self.decide(shared, event, &lookup);
                let missing = lookup.missing.into_inner();
                if missing.is_empty() {
                    return Ok(judged.map(|(kind, shown)| self.told(kind, event, position, shown)));
                }
                missing
            };
            for missing in missing {
                match missing {
                    Missing::Row(table, id) => {
                        let row = shared.store.row(table, &id).await?;
                        met.rows.insert((table, id), row);
                    }
                    Missing::Members(group, of) => {
                        let members = shared.store.members(&group, &of).await?;
                        met.members.insert((place(&group), of), members);
                    }
                }
            }
        }
        // Deeper than policies reach: a row that cannot be decided is not shown.
        Ok(None)
    }

    fn decide(&self, shared: &Shared, event: &Event, rows: &dyn Lookup) -> Option<(ToldKind, Shown)> {
        #[cfg(haechi_unsafe_lab)]
        if crate::lab::planted(crate::lab::Hole::UnguardedStreams) {
            return Some((ToldKind::Update, None));
        }
        let holds = |row: &Option<Row>| row.as_ref().is_some_and(|row| self.rows.holds(row, rows));
        let (before, after) = (holds(&event.before), holds(&event.after));
        let row = match (before, after, &event.after) {
            (_, true, Some(row)) => row,
            // A deleted row and a row that the caller may no longer see look the same.
            (true, _, _) => return Some((ToldKind::Delete, None)),
            _ => return None,
        };
        let revision = shared.revision.load();
        let view = View { collection: &revision.app.collections[self.collection], outputs: &self.outputs, shape: &self.shape };
        let kind = if before { ToldKind::Update } else { ToldKind::Create };
        Some((kind, Some(view.page(row, &self.follow, rows))))
    }

    fn told(&self, kind: ToldKind, event: &Event, position: &Arc<str>, shown: Shown) -> Told {
        let (page, shown) = shown.map_or((None, Vec::new()), |(page, shown)| (Some(page), shown));
        Told {
            kind,
            position: position.clone(),
            id: event.id.clone(),
            page,
            rendered: OnceLock::new(),
            collection: self.collection,
            shown,
            _kept: None,
        }
    }
}

/// What is known, and a note of what is not.
struct Looked<'a> {
    met: &'a Met,
    groups: &'a [Arc<Group>],
    missing: RefCell<Vec<Missing>>,
}

impl Looked<'_> {
    fn misses(&self, missing: Missing) {
        let mut all = self.missing.borrow_mut();
        if !all.contains(&missing) {
            all.push(missing);
        }
    }
}

impl Lookup for Looked<'_> {
    fn row(&self, table: usize, id: &str) -> Option<Vec<Value>> {
        let key = (table, id.to_owned());
        if let Some(found) = self.met.rows.get(&key) {
            return found.clone();
        }
        self.misses(Missing::Row(table, key.1));
        None
    }

    fn joined(&self, group: &Group, of: &str, who: &str) -> bool {
        let key = (place(group), of.to_owned());
        if let Some(members) = self.met.members.get(&key) {
            return members.contains(who);
        }
        if let Some(group) = self.groups.iter().find(|known| place(known) == key.0) {
            self.misses(Missing::Members(group.clone(), key.1));
        }
        false
    }
}

fn place(group: &Group) -> usize {
    std::ptr::from_ref(group) as usize
}
