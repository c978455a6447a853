//! Writing by a grant: each verb puts its steps into a change in the making.

use super::{Create, Delete, Found, Grant, Update, Verb, rules};
use crate::{
    ask::Ask,
    work::{HandOver, Meaning, Work, WriteError},
};
use haechi_model::{Alone, Collection, CollectionId, Field, FieldId, FieldType, Miss, OnDelete, Predicate, Series, Step, USERS, Value};
use haechi_policy::ChangeParts;

impl Grant<Create> {
    /// Adds a row with these values; returns its id.
    ///
    /// # Errors
    /// When policy denies the row as it would be, or a reference names a row that the caller may not read.
    pub fn insert(self, work: &mut Work, values: Vec<(FieldId, Value)>) -> Result<Box<str>, WriteError> {
        let id: Box<str> = uuid::Uuid::now_v7().hyphenated().to_string().into();
        let collection = self.collection();
        let row = collection.new_row(&id, &values, self.ask.now_ms, self.ask.person());
        let missing = |(at, field): &(usize, &Field)| field.required && row[*at].is_null() && field.numbering().is_none();
        if let Some((missing, _)) = collection.fields.iter().enumerate().find(missing) {
            return Err(WriteError::Required(missing));
        }
        let named: Vec<FieldId> = values.iter().map(|(field, _)| *field).collect();
        rules::of_a_new_row(collection, &row, &named)?;
        let allowed = self.with_classes(&named)?;
        let numbers = self.numbers();
        let columns: Vec<usize> = numbers.iter().map(|(column, _)| *column).collect();
        let (local, looks) = (allowed.is_local(), allowed.reads_any(&columns));
        if local && !looks && !allowed.holds(&row, &Alone) {
            self.ask.refuse(Create::NAME, Some(self.collection), None);
            return Err(WriteError::Forbidden);
        }
        // Before the row is written, so that a refusal never depends on what unique values others have.
        let mut denied = || work.meaning(Meaning::Denied { action: Create::NAME.into(), collection: self.collection });
        let insert = if numbers.is_empty() {
            if !local {
                let miss = denied();
                work.step(Step::Holds { filter: allowed.of_row(&row), miss });
            }
            Step::Insert { table: self.collection, row: row.clone() }
        } else {
            let filter = if local && !looks { Predicate::True } else { allowed };
            let miss = denied();
            Step::Numbered { table: self.collection, row: row.clone(), numbers, filter, miss }
        };
        let after = work.slot();
        work.step(insert);
        let collection = self.ask.collection(self.collection);
        rules::checks_of_a_change(collection, &id, &columns, &named, work);
        let set: Vec<(FieldId, Value)> = named.iter().map(|field| (*field, row[*field].clone())).collect();
        references(&self.ask, collection, None, &set, work)?;
        work.entry(Create::NAME, self.collection, &id, None, Some(after));
        Ok(id)
    }

    /// The series of the columns that get numbers.
    fn numbers(&self) -> Vec<(usize, Series)> {
        let number = |(at, field): (usize, &Field)| Some((at, field.numbering()?.series(self.ask.now_ms)));
        self.collection().declared().filter_map(number).collect()
    }
}

impl Grant<Update> {
    /// Changes fields of a row. With `version`, only if the row has that version.
    ///
    /// # Errors
    /// When policy denies the fields for every row, or a reference names a row that the caller may not read.
    pub fn update(self, work: &mut Work, id: &str, values: Vec<(FieldId, Value)>, version: Option<i64>) -> Result<(), WriteError> {
        self.change(work, id, values, version, None)
    }

    /// As [`Grant::update`], if the row is still among those that were found.
    ///
    /// # Errors
    /// As there.
    pub fn update_found(self, work: &mut Work, id: &str, found: &Found, values: Vec<(FieldId, Value)>) -> Result<(), WriteError> {
        self.change(work, id, values, None, Some(found))
    }

    fn change(self, work: &mut Work, id: &str, values: Vec<(FieldId, Value)>, version: Option<i64>, found: Option<&Found>) -> Result<(), WriteError> {
        let named: Vec<FieldId> = values.iter().map(|(field, _)| *field).collect();
        let allowed = self.with_classes(&named)?;
        let id: Box<str> = id.into();
        let miss = work.meaning(Meaning::Row { action: Update::NAME.into(), collection: self.collection, id: id.clone(), version });
        let before = work.slot();
        work.step(Step::Lock { table: self.collection, id: id.clone(), filter: allowed.clone(), version, miss });
        still(work, self.collection, &id, found);
        let collection = self.ask.collection(self.collection);
        let set = columns_set(collection, &values, &self.ask);
        let changed: Vec<usize> = set.iter().map(|(column, _)| *column).chain([Collection::VERSION]).collect();
        let after = work.slot();
        work.step(Step::Update { table: self.collection, id: id.clone(), set, miss });
        match self.ask.change_parts(self.collection, &named) {
            Some(parts) => self.hand_over(work, (&id, miss), &named, parts)?,
            None => {
                let after_image = self.after_image(&named)?;
                if after_image != Predicate::True && Predicate::all([after_image.clone(), allowed]).reads_any(&changed) {
                    let miss = work.meaning(Meaning::Denied { action: Update::NAME.into(), collection: self.collection });
                    work.step(Step::Check { table: self.collection, id: id.clone(), filter: after_image, miss });
                }
            }
        }
        rules::checks_of_a_change(collection, &id, &changed, &named, work);
        rules::of_a_change(collection, &id, &values, work);
        references(&self.ask, collection, Some(&id), &values, work)?;
        work.entry(Update::NAME, self.collection, &id, Some(before), Some(after));
        Ok(())
    }

    /// A permit may be asked of the row as it was. Which of the two ways the change goes is looked up when it commits, and checked under
    /// the row's lock.
    fn hand_over(&self, work: &mut Work, (id, lock): (&str, Miss), named: &[FieldId], parts: ChangeParts) -> Result<(), WriteError> {
        let classes = class_condition(&self.ask, self.collection, named)?;
        let check = work.meaning(Meaning::Denied { action: Update::NAME.into(), collection: self.collection });
        let after = Predicate::all([parts.after, parts.unforbidden.clone(), classes.clone()]);
        work.step(Step::Check { table: self.collection, id: id.into(), filter: after, miss: check });
        work.hands_over(HandOver {
            collection: self.collection,
            id: id.into(),
            lock,
            check,
            before: parts.before,
            after: Predicate::all([parts.unforbidden, classes]),
        });
        Ok(())
    }

    /// What must hold of the row as it becomes: `update` and the classes written, not `read`.
    fn after_image(&self, named: &[FieldId]) -> Result<Predicate, WriteError> {
        let update = self.ask.bind_writing(self.ask.revision.verbs.update, self.collection, named);
        Ok(Predicate::all([update, class_condition(&self.ask, self.collection, named)?]))
    }
}

impl Grant<Delete> {
    /// Deletes a row, and what refers to it as the folder declares.
    pub fn delete(self, work: &mut Work, id: &str, version: Option<i64>) {
        let id: Box<str> = id.into();
        let miss = work.meaning(Meaning::Row { action: Delete::NAME.into(), collection: self.collection, id: id.clone(), version });
        let before = work.slot();
        work.step(Step::Lock { table: self.collection, id: id.clone(), filter: self.rows.clone(), version, miss });
        if takes_more(self.ask.app(), self.collection) {
            let miss = work.meaning(Meaning::TooManyChildren);
            work.step(Step::Cascade { table: self.collection, id: id.clone(), miss });
        }
        work.step(Step::Delete { table: self.collection, id: id.clone(), miss });
        work.entry(Delete::NAME, self.collection, &id, Some(before), None);
    }
}

/// Under the row's lock: it is still what was looked for.
fn still(work: &mut Work, collection: CollectionId, id: &str, found: Option<&Found>) {
    if let Some(found) = found {
        let miss = work.meaning(Meaning::Moved);
        work.step(Step::Check { table: collection, id: id.into(), filter: found.rows.clone(), miss });
    }
}

impl Found {
    /// All of them must still be what was looked for when the change begins: each is locked, in the order of their ids, if it still is. What
    /// the change does to one of them is no reason to leave out another, so this comes before all other steps.
    pub fn expected(&self, work: &mut Work) {
        let miss = work.meaning(Meaning::Moved);
        for id in &self.ids {
            // The row as it was is told by the step that changes it.
            work.slot();
            work.step(Step::Lock { table: self.collection, id: id.clone(), filter: self.rows.clone(), version: None, miss });
        }
    }
}

impl<A: Verb> Grant<A> {
    /// The grant's rows, narrowed to those in which these fields, and their classes, may be written.
    fn with_classes(&self, named: &[FieldId]) -> Result<Predicate, WriteError> {
        let rows = match self.ask.revision.policies.action(A::NAME) {
            // The grant was given before the fields were known.
            Some(action) if self.ask.revision.policies.looks_at_the_fields(action, self.collection) => {
                let written = self.ask.bind_writing(action, self.collection, named);
                if written == Predicate::False {
                    self.ask.refuse(A::NAME, Some(self.collection), None);
                    return Err(WriteError::Forbidden);
                }
                Predicate::all([self.rows.clone(), written])
            }
            _ => self.rows.clone(),
        };
        Ok(Predicate::all([rows, class_condition(&self.ask, self.collection, named)?]))
    }
}

/// The columns that a change of these fields sets, always in the same order: equal changes are equal statements.
pub(crate) fn columns_set(collection: &Collection, values: &[(FieldId, Value)], ask: &Ask) -> Vec<(usize, Value)> {
    let mut set: Vec<(usize, Value)> = Vec::with_capacity(values.len() + 2);
    set.extend(collection.set_on_update.iter().filter_map(|at| Some((*at, collection.fields[*at].set_at(ask.now_ms, ask.person())?))));
    for (field, value) in values {
        if let Some(shadow) = collection.fields[*field].shadow {
            set.push((shadow, collection.fields[*field].ty.folded(value.clone())));
        }
    }
    set.extend(values.iter().cloned());
    set.sort_by_key(|(column, _)| *column);
    set.push((Collection::UPDATE_TIME, Value::Int(ask.now_ms)));
    set
}

/// Where the classes of the named fields may be written.
pub(crate) fn class_condition(ask: &Ask, collection: CollectionId, named: &[FieldId]) -> Result<Predicate, WriteError> {
    let mut parts = Vec::new();
    for field in named {
        // Nobody may write fields that the server sets, and neither may code that holds a grant.
        if ask.collection(collection).fields[*field].read_only {
            return Err(WriteError::FieldForbidden(*field));
        }
        let Some(write) = ask.revision.classes[ask.collection(collection).fields[*field].class].write else { continue };
        let condition = if ask.caller.is_anonymous() { Predicate::False } else { ask.bind_writing(write, collection, named) };
        if condition == Predicate::False {
            let class = &ask.app().classes[ask.collection(collection).fields[*field].class];
            ask.refuse(format!("write_{}", class.name), Some(collection), None);
            return Err(WriteError::FieldForbidden(*field));
        }
        parts.push(condition);
    }
    Ok(Predicate::all(parts))
}

/// Writing a reference needs `read` on its target; hidden and missing give the same error. `row` is the row that changes.
pub(crate) fn references(
    ask: &Ask,
    collection: &Collection,
    row: Option<&str>,
    values: &[(FieldId, Value)],
    work: &mut Work,
) -> Result<(), WriteError> {
    for (field, value) in values {
        let ty = &collection.fields[*field].ty;
        if let Some((to, _)) = ty.lists() {
            listed(ask, (collection, row), (*field, to), value, work)?;
        }
        let (FieldType::Ref { to, .. }, Value::Text(id)) = (ty, value) else { continue };
        if may_name(ask, *to, id, work) {
            continue;
        }
        let readable = ask.readable(*to);
        if readable == Predicate::False {
            return Err(WriteError::Reference(*field));
        }
        let miss = work.meaning(Meaning::Reference(*field));
        // Comes before the statement that writes, so that a missing row gives this miss and not the database's own error.
        work.step_before_write(Step::Check { table: *to, id: id.clone(), filter: readable, miss });
    }
    Ok(())
}

/// Whether an id needs no look: the caller's own, or one of a row that the same change makes.
fn may_name(ask: &Ask, to: CollectionId, id: &str, work: &Work) -> bool {
    (to == USERS && !ask.caller.is_anonymous() && *id == *ask.caller.id()) || work.makes(to, id)
}

/// As for a reference, for each id of a list. A list is written whole, so ids that stand in it already need no `read`: who adds themselves
/// need not read the others. That holds for fields which everybody sees who reads the row; otherwise it would tell what is in the list.
fn listed(
    ask: &Ask,
    (collection, row): (&Collection, Option<&str>),
    (field, to): (FieldId, CollectionId),
    value: &Value,
    work: &mut Work,
) -> Result<(), WriteError> {
    let mut ids = haechi_model::references(value);
    ids.retain(|id| !may_name(ask, to, id, work));
    let Some(first) = ids.first() else { return Ok(()) };
    let seen = !ask.app().classes[collection.fields[field].class].guarded();
    let known: Option<(usize, usize, Box<str>)> = row.filter(|_| seen).map(|row| (collection.id, field, row.into()));
    let readable = ask.readable(to);
    if readable == Predicate::False && known.is_none() {
        return Err(WriteError::Listed { field, id: first.clone() });
    }
    let list = haechi_model::stored_references(&ids);
    let miss = work.meaning(Meaning::Listed { field, to, ids, known: known.clone() });
    work.step_before_write(Step::Each { table: to, ids: list, filter: readable, known, miss });
    Ok(())
}

/// Whether deleting a row of the collection may delete or detach other rows.
fn takes_more(app: &haechi_model::App, collection: CollectionId) -> bool {
    app.referring(collection).any(|(_, _, on_delete)| on_delete != OnDelete::Restrict)
}
