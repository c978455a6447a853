//! Grants: proof that policy said yes. Statements about collections are made here and nowhere else.

mod reading;
mod rules;
mod verbs;
mod writing;

pub use reading::{AggregateQuery, Found, ListQuery, Wanted};
pub(crate) use rules::{checks_of_a_change, of_a_change};
pub use verbs::{Create, Delete, Export, List, Read, Update, Verb, Watch};
pub(crate) use writing::{class_condition, columns_set, references};

use crate::{ask::Ask, refusal::Refusal};
use haechi_model::{Collection, CollectionId, Predicate, USERS};
use std::marker::PhantomData;

/// Proof that policy said yes to a verb on a collection, for some rows.
///
/// Grants to write are used up by their statement; they can neither be cloned nor made anywhere but in the gate.
pub struct Grant<A: Verb> {
    ask: Ask,
    collection: CollectionId,
    rows: Predicate,
    verb: PhantomData<fn() -> A>,
}

impl<A: Verb> Grant<A> {
    pub(crate) fn new(ask: Ask, collection: CollectionId, rows: Predicate) -> Self {
        Self { ask, collection, rows, verb: PhantomData }
    }

    /// The collection it is for.
    #[must_use]
    pub fn collection(&self) -> &Collection {
        self.ask.collection(self.collection)
    }

    pub(crate) fn into_parts(self) -> (Ask, CollectionId) {
        (self.ask, self.collection)
    }

    pub(crate) fn into_rows(self) -> (Ask, CollectionId, Predicate) {
        (self.ask, self.collection, self.rows)
    }
}

impl Ask {
    /// The policy's answer: a grant, or a refusal that is the same for every row.
    ///
    /// # Errors
    /// When policy denies it for every row.
    pub fn on<A: Verb>(&self, collection: CollectionId) -> Result<Grant<A>, Refusal> {
        let rows = self.rows_of::<A>(collection);
        if rows == Predicate::False {
            return Err(self.refuse(A::NAME, Some(collection), None));
        }
        Ok(Grant::new(self.clone(), collection, rows))
    }

    /// Whether there would be a grant. It was not asked for, so a no is no refusal.
    #[must_use]
    pub fn may<A: Verb>(&self, collection: CollectionId) -> bool {
        self.rows_of::<A>(collection) != Predicate::False
    }

    fn rows_of<A: Verb>(&self, collection: CollectionId) -> Predicate {
        // Only the identity feature creates and deletes people; policies cannot allow it.
        let reserved = collection == USERS && matches!(A::NAME, "create" | "delete");
        if !reserved && self.reachable(collection, A::NAME) { A::rows(self, collection) } else { Predicate::False }
    }
}
