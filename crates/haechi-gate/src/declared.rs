//! Actions that a collection declares: policy decides who may run them and on which rows; a program's own code does the work.

use crate::{
    ask::Ask,
    grant,
    refusal::{ReadError, Refusal},
    work::{Meaning, Work, WriteError},
};
use haechi_model::{Claim, Collection, CollectionId, DeclaredAction, Failure, FieldId, Predicate, Step, Value};
use std::borrow::Cow;

/// Proof that policy said yes to a declared action, for some rows of its collection.
///
/// As with grants to write, it is used up by its statement.
pub struct ActionGrant {
    ask: Ask,
    collection: CollectionId,
    /// Position among the actions that the collection declares.
    action: usize,
    rows: Predicate,
}

impl Ask {
    /// The policy's answer to a declared action; `None` when the collection declares no action of this name.
    ///
    /// # Errors
    /// When policy denies it for every row.
    pub fn act(&self, collection: CollectionId, name: &str) -> Option<Result<ActionGrant, Refusal>> {
        let action = self.collection(collection).actions.iter().position(|action| action.name == name)?;
        let id = self.revision.policies.action(name)?;
        // Callers without credentials may do what `[anonymous] reach` names; it cannot name declared actions.
        let rows = if self.caller.is_anonymous() { Predicate::False } else { self.bind(id, collection) };
        if rows == Predicate::False {
            return Some(Err(self.refuse(name.to_owned(), Some(collection), None)));
        }
        let rows = Predicate::all([rows, self.readable(collection)]);
        Some(Ok(ActionGrant { ask: self.clone(), collection, action, rows }))
    }

    /// What an earlier request with this idempotency key did, as `collection/id`. Called before code runs that cannot be undone.
    ///
    /// # Errors
    /// When the key was used for another request, or the database cannot be reached.
    pub async fn claimed(&self, claim: &Claim) -> Result<Option<Box<str>>, WriteError> {
        self.shared.store.claimed(claim).await.map_err(|failure| match failure {
            Failure::KeyReused => WriteError::KeyReused,
            other => WriteError::Store(other),
        })
    }
}

impl ActionGrant {
    /// The collection it is for.
    #[must_use]
    pub fn collection(&self) -> &Collection {
        self.ask.collection(self.collection)
    }

    /// What is declared.
    #[must_use]
    pub fn action(&self) -> &DeclaredAction {
        &self.collection().actions[self.action]
    }

    /// The version of a row on which the action may be done; `None` when the caller may not read the row.
    ///
    /// The change checks again, under a lock: this check refuses before work is done.
    ///
    /// # Errors
    /// When the caller may read the row but not do this, or the database cannot be reached.
    pub async fn version_of(&self, id: &str) -> Result<Option<i64>, ReadError> {
        if let Some(version) = self.ask.version_where(self.collection, id, self.rows.clone()).await.map_err(ReadError::Store)? {
            return Ok(Some(version));
        }
        let readable = self.ask.readable(self.collection);
        if self.ask.version_where(self.collection, id, readable).await.map_err(ReadError::Store)?.is_none() {
            return Ok(None);
        }
        Err(ReadError::Refused(self.ask.refuse(self.action().name.clone(), Some(self.collection), Some(id))))
    }

    /// Does the action on a row: sets these fields, and leaves an entry with the action's name.
    ///
    /// Fields of guarded classes need `write_<class>`, as everywhere. Policy is not asked about the row after the change, only the code
    /// decides that: an approval ends the state in which it was allowed. `version`: the change needs the row to have it.
    ///
    /// # Errors
    /// When policy denies the fields for every row, or a reference names a row that the caller may not read.
    pub fn change(self, work: &mut Work, id: &str, values: &[(FieldId, Value)], version: Option<i64>) -> Result<(), WriteError> {
        let name: Cow<'static, str> = self.action().name.clone().into();
        let named: Vec<FieldId> = values.iter().map(|(field, _)| *field).collect();
        let filter = Predicate::all([self.rows.clone(), grant::class_condition(&self.ask, self.collection, &named)?]);
        let miss = work.meaning(Meaning::Row { action: name.clone(), collection: self.collection, id: id.into(), version });
        let before = work.slot();
        work.step(Step::Lock { table: self.collection, id: id.into(), filter, version, miss });
        let collection = self.ask.collection(self.collection);
        let set = grant::columns_set(collection, values, &self.ask);
        let changed: Vec<usize> = set.iter().map(|(column, _)| *column).collect();
        let after = work.slot();
        work.step(Step::Update { table: self.collection, id: id.into(), set, miss });
        grant::checks_of_a_change(collection, id, &changed, &named, work);
        grant::of_a_change(collection, id, values, work);
        grant::references(&self.ask, collection, Some(id), values, work)?;
        work.entry(&name, self.collection, id, Some(before), Some(after));
        Ok(())
    }
}
