//! What a caller sees of a row: masks by class, the fields a query may use, and the access entry.

use crate::{ask::Ask, ledger::access::Sighting, refusal::ReadError};
use haechi_model::{Collection, CollectionId, FieldId, Lookup, Mask, Operand, Output, Predicate, Row, RowForm, RowPage, Shape, Written};
use haechi_policy::ClassActions;

/// What a query asks for, as far as its caller may.
pub(crate) struct Asked {
    /// The rows.
    pub(crate) rows: Predicate,
    /// Guarded fields that it uses.
    pub(crate) used: Vec<FieldId>,
    /// Guarded fields that it uses in rows which it looks at through references.
    pub(crate) elsewhere: Vec<(CollectionId, FieldId)>,
}

impl Ask {
    /// The mask of each class in the rows for which `rows` holds.
    pub(crate) fn masks(&self, collection: CollectionId, rows: &Predicate) -> Vec<Mask> {
        let used = self.collection(collection).guarded_classes(&self.app().classes);
        let mask = |(class, actions): (usize, &ClassActions)| match actions.read {
            Some(read) if used.contains(&class) && !self.caller.is_anonymous() => match self.bind(read, collection) {
                Predicate::False => Mask::Hidden,
                condition if rows.implies(&condition) => Mask::Shown,
                condition => Mask::When(condition),
            },
            Some(_) => Mask::Hidden,
            None => Mask::Shown,
        };
        self.revision.classes.iter().enumerate().map(mask).collect()
    }

    /// The rows that a query is about, and the guarded fields that it uses in them: fields of its filter, and other fields that it names.
    pub(crate) fn usable(
        &self,
        (collection, rows, action): (CollectionId, &Predicate, &'static str),
        filter: Predicate,
        names: impl Fn(FieldId) -> bool,
    ) -> Result<Asked, ReadError> {
        #[cfg(haechi_unsafe_lab)]
        if crate::lab::planted(crate::lab::Hole::UnreadableIsUsed) {
            return Ok(Asked { rows: Predicate::all([rows.clone(), filter]), used: Vec::new(), elsewhere: Vec::new() });
        }
        let mut elsewhere = Vec::new();
        let filter = self.looking_through(filter, action, &mut elsewhere)?;
        let (rows, used) = self.narrowed((collection, rows, action), filter, names)?;
        Ok(Asked { rows, used, elsewhere })
    }

    /// The same filter, with what the caller may read in each row that it refers to. A reference to a row that they may not read is as if it
    /// were null, and so is a field that they may not read there.
    fn looking_through(&self, filter: Predicate, action: &'static str, elsewhere: &mut Vec<(CollectionId, FieldId)>) -> Result<Predicate, ReadError> {
        let each = |parts: Vec<Predicate>, elsewhere: &mut Vec<(CollectionId, FieldId)>| {
            parts.into_iter().map(|part| self.looking_through(part, action, elsewhere)).collect::<Result<Vec<_>, _>>()
        };
        Ok(match filter {
            Predicate::All(parts) => Predicate::all(each(parts, elsewhere)?),
            Predicate::Any(parts) => Predicate::any(each(parts, elsewhere)?),
            Predicate::NotTrue(inner) => self.looking_through(*inner, action, elsewhere)?.not_true(),
            Predicate::Reference { from, table, inner } => {
                let readable = if self.reachable(table, "read") { self.readable(table) } else { Predicate::False };
                if readable == Predicate::False {
                    return Ok(Predicate::False);
                }
                let inner = self.looking_through(*inner, action, elsewhere)?;
                let (inner, used) = self.narrowed((table, &readable, action), inner, |_| false)?;
                elsewhere.extend(used.into_iter().map(|field| (table, field)));
                Predicate::reference(from, table, inner)
            }
            other => other,
        })
    }

    fn narrowed(
        &self,
        (collection, rows, action): (CollectionId, &Predicate, &'static str),
        filter: Predicate,
        names: impl Fn(FieldId) -> bool,
    ) -> Result<(Predicate, Vec<FieldId>), ReadError> {
        let mut masks: Option<Vec<Mask>> = None;
        let (mut parts, mut guards, mut found) = (vec![rows.clone()], Vec::new(), Vec::new());
        for (at, field) in self.collection(collection).fields.iter().enumerate() {
            let columns = [at, field.shadow.unwrap_or(at)];
            if self.revision.classes[field.class].read.is_none() || !(names(at) || filter.reads_any(&columns)) {
                continue;
            }
            found.push(at);
            match &masks.get_or_insert_with(|| self.masks(collection, rows))[field.class] {
                Mask::Shown => {}
                Mask::Hidden => {
                    self.refuse(action, Some(collection), None);
                    return Err(ReadError::FieldRefused(collection, at));
                }
                Mask::When(condition) => {
                    parts.push(condition.clone());
                    guards.push((columns, condition.clone()));
                }
            }
        }
        // Where the caller may not read a value, the database does not read it either: the time would reveal something about it.
        let seen = |column: usize| match guards.iter().find(|(columns, _)| columns.contains(&column)) {
            Some((_, condition)) => Operand::Choose(vec![(condition.clone(), Operand::Column(column))]),
            None => Operand::Column(column),
        };
        parts.push(if guards.is_empty() { filter } else { filter.with_columns(&seen) });
        Ok((Predicate::all(parts), found))
    }

    /// Leaves access entries when a query used guarded fields of rows that others refer to: also when no row was found.
    pub(crate) fn sight_elsewhere(&self, action: &'static str, elsewhere: &[(CollectionId, FieldId)]) -> Result<(), ReadError> {
        let mut collections: Vec<CollectionId> = elsewhere.iter().map(|(collection, _)| *collection).collect();
        collections.dedup();
        for collection in collections {
            let fields: Vec<FieldId> = elsewhere.iter().filter(|(of, _)| *of == collection).map(|(_, field)| *field).collect();
            self.sight(action, collection, &fields, &[], true)?;
        }
        Ok(())
    }

    /// Fields with their masks; in the order of a reply when no fields are named.
    pub(crate) fn outputs(&self, collection: CollectionId, masks: &[Mask], fields: Option<&[FieldId]>) -> Vec<Output> {
        let collection = self.collection(collection);
        let output = |field: FieldId| Output { field, mask: masks[collection.fields[field].class].clone() };
        match fields {
            None => reply_order(collection).map(output).collect(),
            Some(fields) => fields.iter().copied().map(output).collect(),
        }
    }

    /// Leaves an access entry when a reply shows guarded fields.
    pub(crate) fn sight(
        &self,
        action: &'static str,
        collection: CollectionId,
        shown: &[usize],
        ids: &[Box<str>],
        used: bool,
    ) -> Result<(), ReadError> {
        if ids.is_empty() && !used || !self.shared.logs_read(&self.revision.app, collection, shown) {
            return Ok(());
        }
        let classes = &self.revision.app.classes;
        let fields = &self.collection(collection).fields;
        let guarded = shown.iter().filter(|field| classes[fields[**field].class].guarded()).fold(0u64, |set, field| set | 1 << field);
        let sighting = Sighting { action, collection, fields: guarded };
        self.shared.sightings.seen(self.caller.actor(), sighting, ids).map_err(|_| ReadError::AccessFull)
    }
}

/// A row in memory, as outputs and a shape show it.
pub(crate) struct View<'a> {
    pub(crate) collection: &'a Collection,
    pub(crate) outputs: &'a [Output],
    pub(crate) shape: &'a Shape,
}

impl View<'_> {
    /// The row as a one-row page, and the fields that it shows.
    pub(crate) fn page(&self, row: &Row, follow: &[FieldId], rows: &dyn Lookup) -> (RowPage, Vec<FieldId>) {
        let mut written = Written::default();
        let shows = |output: &Output| match &output.mask {
            Mask::Shown => true,
            Mask::Hidden => false,
            Mask::When(condition) => condition.holds(row, rows),
        };
        let cell = |output: usize| shows(&self.outputs[output]).then_some(self.outputs[output].field);
        RowForm::new(self.collection, self.outputs, self.shape).write(row.as_slice(), cell, &mut written);
        // An expanded reference counts as shown, also where the reply leaves its id out.
        for (at, output) in self.outputs.iter().enumerate().filter(|(_, output)| follow.contains(&output.field)) {
            if shows(output) && !row[output.field].is_null() {
                written.shown |= 1 << at;
            }
        }
        let shown = self.outputs.iter().enumerate().filter(|(at, _)| written.shown >> at & 1 == 1).map(|(_, output)| output.field).collect();
        let followed = |field: &FieldId| {
            let output = self.outputs.iter().find(|output| output.field == *field).filter(|output| shows(output))?;
            row[output.field].as_text().map(Into::into)
        };
        let page = RowPage {
            ends: vec![written.bytes.len()],
            bytes: written.bytes,
            ids: row[Collection::ID].as_text().map(Into::into).into_iter().collect(),
            versions: row[Collection::VERSION].as_int().into_iter().collect(),
            followed: vec![follow.iter().map(followed).collect()],
            holes: written.holes,
            shown: written.shown,
            ..RowPage::default()
        };
        (page, shown)
    }
}

/// Adds the expanded references to the shown fields.
pub(crate) fn with_followed(fields: &[FieldId], follow: &[FieldId]) -> Vec<FieldId> {
    fields.iter().chain(follow.iter().filter(|field| !fields.contains(field))).copied().collect()
}

/// Fields in the order of a reply: id, declared fields, then times and version.
pub fn reply_order(collection: &Collection) -> impl Iterator<Item = usize> {
    let declared = Collection::FIRST_DECLARED..collection.fields.len();
    std::iter::once(Collection::ID).chain(declared).chain([Collection::CREATE_TIME, Collection::UPDATE_TIME, Collection::VERSION])
}
