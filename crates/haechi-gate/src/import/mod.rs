//! Imports rows as an operator. Policies are bypassed; types, references and rules about change are checked, and the ledger records it.

mod keys;
mod make;
mod row;

use crate::{
    gate::Gate,
    memory::Revocation,
    system::{Import, System},
};
use futures_util::future::BoxFuture;
use haechi_model::{App, Circle, Collection, CollectionId, Failure, FieldId, USERS};
use haechi_store::{Analyse, Load, LoadError, Misfit, Part, Taken, Unfit};
use keys::Errors;
use make::Maker;
use row::MAX_ERRORS;
pub use row::{ImportError, ImportRow, Imported, Named, ReadRow, Rows};
use std::sync::{Arc, atomic::Ordering};

/// Rows per ledger entry.
pub(crate) const PART: usize = 1_000;
/// Parts that wait for the database.
const PARTS_WAITING: usize = 2;

impl Gate {
    /// Imports rows into a collection: all or none. Returns how many.
    ///
    /// # Errors
    /// Every row that cannot be imported, by line and field.
    pub fn import<'a>(
        &'a self,
        key: &'a System<Import>,
        collection: CollectionId,
        rows: Vec<ImportRow>,
    ) -> BoxFuture<'a, Result<usize, Vec<ImportError>>> {
        Box::pin(async move {
            let rows = Rows { collection, upsert: None, rows: rows.into_iter().map(|row| Ok(row.into())) };
            let imported = self.import_from(key, vec![rows]).await;
            imported.map(|imported| imported[0].count()).map_err(|mut errors| errors.remove(0))
        })
    }

    /// Imports rows as they are read, into one collection or several: all or none. Rows may refer to each other across the collections in
    /// any order. Only a part of the rows is in memory at a time.
    ///
    /// # Errors
    /// What is wrong with the rows of each collection, by line and field; after some hundred errors the rest is not read.
    ///
    /// # Panics
    /// When a collection is named twice.
    pub async fn import_from<I: Iterator<Item = Result<ReadRow, Vec<ImportError>>> + Send + 'static>(
        &self,
        key: &System<Import>,
        sources: Vec<Rows<I>>,
    ) -> Result<Vec<Imported>, Vec<Vec<ImportError>>> {
        let revision = self.revision();
        let named: Vec<CollectionId> = sources.iter().map(|source| source.collection).collect();
        let tables = revision.app.in_order_of_references(&named).map_err(|circle| unordered(&circle, &revision.app, named.len()))?;
        let no_key = |source: &Rows<I>| source.upsert.as_ref().is_some_and(|key| !is_key(&revision.app.collections[source.collection], key));
        if let Some(at) = sources.iter().position(no_key) {
            let mut errors = vec![Vec::new(); named.len()];
            errors[at].push(whole("stored rows are found by the fields of a unique key, and these are none"));
            return Err(errors);
        }
        let place = |collection: &CollectionId| named.iter().position(|named| named == collection).unwrap_or_default();
        let places: Vec<usize> = tables.iter().map(place).collect();
        assert!((0..named.len()).all(|place| places.contains(&place)), "each collection is named once");
        let errors = Errors::of(named.len());
        let (send, parts) = tokio::sync::mpsc::channel(PARTS_WAITING);
        let load = Load { tables, change: self.shared.system_change(key, Vec::new()), parts };
        let mut sources: Vec<_> = sources.into_iter().map(Some).collect();
        let in_order: Vec<(Arc<Maker>, I)> = places
            .iter()
            .enumerate()
            .filter_map(|(at, place)| {
                let Rows { collection, upsert, rows } = sources[*place].take()?;
                let maker = Maker::new(self.clone(), revision.clone(), at, collection, upsert, load.change.time_ms, errors.clone());
                Some((Arc::new(maker), rows))
            })
            .collect();
        let makers: Vec<Arc<Maker>> = in_order.iter().map(|(maker, _)| maker.clone()).collect();
        let reading = {
            let errors = errors.clone();
            tokio::task::spawn_blocking(move || read_all(in_order, &send, &errors))
        };
        let loaded = self.loaded(load, named.contains(&USERS)).await;
        if reading.await.is_err() {
            errors.push(0, whole("the file could not be read to its end"));
        }
        match loaded {
            Ok(taken) if errors.count() == 0 => {
                for collection in &named {
                    self.analyse(Analyse::Table(*collection)).await;
                }
                let imported = |place: usize| {
                    let Taken { new, changed } = taken[at_of(&places, place)];
                    Imported { new, changed, unchanged: makers[at_of(&places, place)].unchanged() }
                };
                return Ok((0..named.len()).map(imported).collect());
            }
            Ok(_) | Err(LoadError::Stopped) => {}
            Err(LoadError::Unfit(unfit)) => {
                let more = unfit.len() >= MAX_ERRORS;
                for unfit in unfit {
                    let at = unfit.at;
                    errors.push_new(at, misfit(&revision.app.collections[named[places[at]]], unfit));
                }
                if more {
                    errors.push(0, whole("there may be more rows that do not fit"));
                }
            }
            Err(LoadError::Failed(failure)) => errors.push(0, whole(&format!("the database could not take the rows: {failure}"))),
        }
        Err((0..named.len()).map(|place| errors.sorted(at_of(&places, place))).collect())
    }
}

impl Gate {
    /// Loads rows, and forgets remembered callers when people are among them. On a separate task, which finishes even if nobody waits.
    async fn loaded(&self, load: Load, people: bool) -> Result<Vec<Taken>, LoadError> {
        let shared = self.shared.clone();
        let task = tokio::spawn(async move {
            let loaded = shared.store.load(load).await;
            if people {
                shared.memory.forget(&Revocation::All);
                shared.doubt.fetch_add(1, Ordering::AcqRel);
            }
            loaded
        });
        task.await.unwrap_or(Err(LoadError::Failed(Failure::Unknown)))
    }
}

/// Whether these are the fields of a unique key, all of them: rows can be found by them.
#[must_use]
pub fn is_key(declared: &Collection, fields: &[FieldId]) -> bool {
    make::columns_of_key(declared, fields).is_some()
}

/// The position in the load's order of the source at `place`.
fn at_of(places: &[usize], place: usize) -> usize {
    places.iter().position(|named| *named == place).unwrap_or_default()
}

fn unordered(circle: &Circle, app: &App, sources: usize) -> Vec<Vec<ImportError>> {
    let mut errors = vec![Vec::new(); sources];
    errors[0].push(whole(&format!(
        "{} are required and refer to each other in a circle, so no row can come first: make one of them optional, import, and require it again",
        circle.in_words(app)
    )));
    errors
}

/// Reads one source after the other, and sends their rows in parts.
fn read_all<I: Iterator<Item = Result<ReadRow, Vec<ImportError>>>>(
    sources: Vec<(Arc<Maker>, I)>,
    send: &tokio::sync::mpsc::Sender<Part>,
    errors: &Errors,
) {
    for (maker, rows) in sources {
        let mut part = Vec::with_capacity(PART);
        let flush = |part: &mut Vec<ReadRow>| {
            let rows = std::mem::replace(part, Vec::with_capacity(PART));
            rows.is_empty() || send.blocking_send(Part::Rows(maker.at, Maker::make(&maker, rows))).is_ok()
        };
        for row in rows {
            match row {
                Ok(row) => part.push(row),
                Err(found) => found.into_iter().for_each(|error| errors.push(maker.at, error)),
            }
            // Where the receiver takes no more parts, its own error says why.
            if part.len() == PART && !flush(&mut part) {
                return;
            }
            if errors.enough() {
                break;
            }
        }
        if !flush(&mut part) {
            return;
        }
        if errors.enough() {
            errors.push(maker.at, whole("there may be more rows that are wrong: the rest was not read"));
            break;
        }
    }
    let _ = send.blocking_send(Part::End { good: errors.count() == 0 });
}

fn whole(what: &str) -> ImportError {
    ImportError { line: 0, field: None, what: what.to_owned() }
}

fn misfit(declared: &Collection, unfit: Unfit) -> ImportError {
    let what = match unfit.why {
        Misfit::NotUnique => "another row has the same value".to_owned(),
        Misfit::Dangling(id) => format!("refers to {id}, which is not there"),
    };
    ImportError { line: usize::try_from(unfit.line).unwrap_or(usize::MAX), field: declared.field_of(unfit.column), what }
}
