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
    show::{View, with_followed},
};
use aws_lc_rs::digest;
use haechi_model::{CollectionId, FieldId, Lookup, Mask, Output, Predicate, Row, RowPage, Shape, Value};
use std::{
    cell::RefCell,
    collections::HashMap,
    sync::{Arc, OnceLock},
};

/// How often other rows are fetched before a condition is given up: references are followed three deep.
const MAX_ROUNDS: usize = 8;

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
    /// Other collections that affect what is seen.
    pub(crate) looks_into: Vec<usize>,
    /// Whether what is seen depends on the time.
    pub(crate) timed: bool,
    /// Two sights with the same key see the same.
    pub(crate) key: [u8; 32],
}

/// A row as the stream shows it, with the shown fields; `None` when it is gone.
type Shown = Option<(RowPage, Vec<FieldId>)>;

/// Rows of other tables that one change needed.
pub(crate) type Met = HashMap<(usize, String), Option<Row>>;

impl Sight {
    /// Binds a query for the caller, now.
    pub(crate) fn of(ask: &Ask, collection: CollectionId, query: &WatchQuery) -> Result<Self, ReadError> {
        let (_, _, rows) = ask.on::<Watch>(collection).map_err(ReadError::Refused)?.into_rows();
        Self::new(ask, collection, rows, query)
    }

    /// Whether a change of a collection changes what is seen.
    pub(crate) fn concerned_by(&self, collection: CollectionId) -> bool {
        self.collection == collection || self.looks_into.contains(&collection)
    }

    /// Binds a query to the rows of a grant.
    fn new(ask: &Ask, collection: CollectionId, rows: Predicate, query: &WatchQuery) -> Result<Self, ReadError> {
        if !query.filter.is_local() {
            return Err(ReadError::NotLocal);
        }
        let masks = ask.masks(collection, &rows);
        let (rows, used) = ask.usable((collection, &rows, Watch::NAME), query.filter.clone(), |_| false)?;
        let fields = query.fields.as_deref().map(|fields| with_followed(fields, &query.follow));
        let outputs = ask.outputs(collection, &masks, fields.as_deref());
        ask.sight(Watch::NAME, collection, &used, &[], !used.is_empty())?;
        let mut looks_into = Vec::new();
        rows.looks_into(&mut looks_into);
        for output in &outputs {
            if let Mask::When(condition) = &output.mask {
                condition.looks_into(&mut looks_into);
            }
        }
        looks_into.sort_unstable();
        looks_into.dedup();
        let timed = ask.depends_on_time(collection);
        let text = format!("{collection}\0{rows:?}\0{outputs:?}\0{:?}\0{:?}", query.shape, query.follow);
        let mut key = [0; 32];
        key.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
        Ok(Self { collection, rows, outputs, shape: query.shape.clone(), follow: query.follow.clone(), looks_into, timed, key })
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
                let lookup = Looked { met, missing: RefCell::default() };
                let judged = self.decide(shared, event, &lookup);
                let missing = lookup.missing.into_inner();
                if missing.is_empty() {
                    return Ok(judged.map(|(kind, shown)| self.told(kind, event, position, shown)));
                }
                missing
            };
            for (table, id) in missing {
                let row = shared.store.row(table, &id).await?;
                met.insert((table, id), row);
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

/// The known rows, and a note of unknown ones.
struct Looked<'a> {
    met: &'a Met,
    missing: RefCell<Vec<(usize, String)>>,
}

impl Lookup for Looked<'_> {
    fn row(&self, table: usize, id: &str) -> Option<Vec<Value>> {
        if let Some(found) = self.met.get(&(table, id.to_owned())) {
            return found.clone();
        }
        let mut missing = self.missing.borrow_mut();
        let key = (table, id.to_owned());
        if !missing.contains(&key) {
            missing.push(key);
        }
        None
    }
}
