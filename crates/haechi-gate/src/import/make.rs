//! Makes stored rows of what was read: finds what references name, finds the rows that are changed, and says all that is wrong with a row.

use super::{
    keys::{Errors, Keys},
    row::{ImportError, Named, ReadRow},
};
use crate::{gate::Gate, revision::Revision};
use haechi_model::{Collection, CollectionId, Field, FieldId, FieldType, Json, Row, Value, references, stored_references};
use haechi_store::{LoadRow, LookUp, Made, Making};
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Makes the rows of one source, a part after the other.
pub(super) struct Maker {
    gate: Gate,
    revision: Arc<Revision>,
    /// Which of the load's tables.
    pub(super) at: usize,
    collection: CollectionId,
    upsert: Option<Key>,
    now_ms: i64,
    keys: Mutex<Keys>,
    errors: Errors,
    unchanged: AtomicUsize,
}

/// The unique key by which stored rows are found.
struct Key {
    fields: Vec<FieldId>,
    columns: Arc<[usize]>,
}

/// Rows of which one entry tells.
struct Part {
    rows: Vec<ReadRow>,
    /// The ids that they have, or get if they are new.
    ids: Vec<Box<str>>,
    /// Whether some of them name others by what is unique.
    names_itself: bool,
}

/// What a name in a reference asks for.
enum Name {
    Id(Box<str>),
    /// The row of a look-up, by its number.
    Found(usize),
}

/// A reference, or a list of them, whose names are being looked up.
struct Sought {
    /// The row's number in its part.
    row: usize,
    field: FieldId,
    names: Vec<(Box<str>, Name)>,
}

impl Maker {
    pub(super) fn new(
        gate: Gate,
        revision: Arc<Revision>,
        at: usize,
        collection: CollectionId,
        upsert: Option<Vec<FieldId>>,
        now_ms: i64,
        errors: Errors,
    ) -> Self {
        let declared = &revision.app.collections[collection];
        let keys = Mutex::new(Keys::of(declared));
        let upsert = upsert.and_then(|fields| Some(Key { columns: columns_of_key(declared, &fields)?.into(), fields }));
        Self { gate, revision, at, collection, upsert, now_ms, keys, errors, unchanged: AtomicUsize::new(0) }
    }

    pub(super) fn unchanged(&self) -> usize {
        self.unchanged.load(Ordering::Relaxed)
    }

    fn declared(&self) -> &Collection {
        &self.revision.app.collections[self.collection]
    }

    /// A part's rows in the making.
    pub(super) fn make(maker: &Arc<Self>, rows: Vec<ReadRow>) -> Making {
        let id = |row: &ReadRow| row.row.id.clone().unwrap_or_else(|| uuid::Uuid::now_v7().hyphenated().to_string().into());
        let mut part = Part { ids: rows.iter().map(id).collect(), rows, names_itself: false };
        let (sought, look_ups) = maker.seek(&mut part.rows);
        if sought.is_empty() {
            return Self::with_references(maker, part);
        }
        let maker = maker.clone();
        Making::Named(
            look_ups.clone(),
            Box::new(move |mut ids| {
                part.names_itself = maker.find_in(&part, &look_ups, &mut ids);
                for sought in sought {
                    maker.fill(&mut part.rows[sought.row], sought.field, &sought.names, &ids);
                }
                Self::with_references(&maker, part)
            }),
        )
    }

    /// Rows of the part itself that the database did not find. Whether there are any.
    fn find_in(&self, part: &Part, look_ups: &[LookUp], ids: &mut [Option<Box<str>>]) -> bool {
        let declared = self.declared();
        let missing = ids.iter().zip(look_ups).filter(|(id, look_up)| id.is_none() && look_up.table == self.collection);
        let keys: HashSet<&Arc<[usize]>> = missing.map(|(_, look_up)| &look_up.key).collect();
        let mut rows: HashMap<(Arc<[usize]>, Vec<u8>), usize> = HashMap::new();
        for key in keys {
            for (at, row) in part.rows.iter().enumerate() {
                let values: Vec<Value> = key.iter().map(|column| key_value(declared, *column, &|field| value_of(row, field))).collect();
                rows.entry((key.clone(), canonical(&values))).or_insert(at);
            }
        }
        for (id, look_up) in ids.iter_mut().zip(look_ups).filter(|(id, look_up)| id.is_none() && look_up.table == self.collection) {
            *id = rows.get(&(look_up.key.clone(), canonical(&look_up.values))).map(|at| part.ids[*at].clone());
        }
        !rows.is_empty()
    }

    /// What the names in the part's references ask for.
    fn seek(&self, rows: &mut [ReadRow]) -> (Vec<Sought>, Vec<LookUp>) {
        let (mut sought, mut look_ups, mut numbers) = (Vec::new(), Vec::new(), HashMap::new());
        for (at, row) in rows.iter_mut().enumerate() {
            for Named { field, names } in std::mem::take(&mut row.named) {
                let mut read = Vec::with_capacity(names.len());
                for name in names {
                    match self.look_up(field, &name) {
                        Ok(None) => read.push((name.clone(), Name::Id(name))),
                        Ok(Some(look_up)) => {
                            let known = (look_up.table, look_up.key.clone(), canonical(&look_up.values));
                            let number = *numbers.entry(known).or_insert_with(|| {
                                look_ups.push(look_up);
                                look_ups.len() - 1
                            });
                            read.push((name, Name::Found(number)));
                        }
                        Err(what) => row.faults.push(ImportError { line: row.row.line, field: Some(field), what }),
                    }
                }
                sought.push(Sought { row: at, field, names: read });
            }
        }
        (sought, look_ups)
    }

    /// What a name asks for; `None` for an id.
    fn look_up(&self, field: FieldId, name: &str) -> Result<Option<LookUp>, String> {
        let ty = &self.declared().fields[field].ty;
        let Some((to, _)) = ty.refers() else { return Ok(None) };
        let Some(said) = name.strip_prefix('@') else { return Ok(None) };
        let target = &self.revision.app.collections[to];
        let unique = || {
            let names: Vec<&str> =
                target.declared().filter(|(at, _)| columns_of_key(target, &[*at]).is_some()).map(|(_, field)| field.name.as_str()).collect();
            if names.is_empty() {
                format!("no field of `{}` is unique", target.name)
            } else {
                format!("unique in `{}`: {}", target.name, names.join(", "))
            }
        };
        let (by, value) = said.split_once(':').ok_or_else(|| format!("write @FIELD:VALUE, e.g. @code:P-7; {}", unique()))?;
        let found = target.field(by).and_then(|at| Some((at, columns_of_key(target, &[at])?)));
        let (at, columns) = found.ok_or_else(|| format!("no row is found by `{by}`; {}", unique()))?;
        let value = target.fields[at].ty.read_text(value).map_err(|error| format!("`{by}`: {}", error.detail))?;
        let values = columns.iter().map(|column| key_value(target, *column, &|_| value.clone())).collect();
        Ok(Some(LookUp { table: to, key: columns.into(), values }))
    }

    /// Puts the ids that were found into a row.
    fn fill(&self, row: &mut ReadRow, field: FieldId, names: &[(Box<str>, Name)], ids: &[Option<Box<str>>]) {
        let declared = &self.declared().fields[field];
        let before = row.faults.len();
        let mut found = Vec::with_capacity(names.len());
        for (said, name) in names {
            match name {
                Name::Id(id) => found.push(Json::Text(id.clone())),
                Name::Found(number) => match &ids[*number] {
                    Some(id) => found.push(Json::Text(id.clone())),
                    None => {
                        let to = declared.ty.refers().map_or("", |(to, _)| &self.revision.app.collections[to].name);
                        let what = format!("{said} is no row of `{to}`");
                        row.faults.push(ImportError { line: row.row.line, field: Some(field), what });
                    }
                },
            }
        }
        if row.faults.len() > before {
            return;
        }
        let list = matches!(declared.ty, FieldType::List { .. });
        let json = if list { Json::List(found) } else { found.pop().unwrap_or(Json::Null) };
        match declared.read(&json) {
            Ok(value) => row.row.values.push((field, value)),
            Err(error) => row.faults.push(ImportError { line: row.row.line, field: Some(field), what: error.detail }),
        }
    }

    /// Rows whose references are known.
    fn with_references(maker: &Arc<Self>, mut part: Part) -> Making {
        let Some(key) = &maker.upsert else { return Making::Made(maker.finish(part, None)) };
        let values = part.rows.iter_mut().map(|row| maker.key_of(key, row)).collect();
        let (columns, maker) = (key.columns.clone(), maker.clone());
        Making::Keyed(columns, values, Box::new(move |stored| Making::Made(maker.finish(part, Some(stored)))))
    }

    /// The values of the key. A row that lacks one finds nothing, and is a fault.
    fn key_of(&self, key: &Key, row: &mut ReadRow) -> Vec<Value> {
        let declared = self.declared();
        for field in &key.fields {
            if value_of(row, *field).is_null() && !has_fault(row, *field) {
                let what = "a value is required: stored rows are found by it".to_owned();
                row.faults.push(ImportError { line: row.row.line, field: Some(*field), what });
            }
        }
        key.columns.iter().map(|column| key_value(declared, *column, &|field| value_of(row, field))).collect()
    }

    /// The rows as they are stored. `stored`: for each the row that has its key.
    fn finish(&self, mut part: Part, stored: Option<Vec<Option<Row>>>) -> Made {
        if let Some(stored) = stored.as_ref().filter(|_| part.names_itself) {
            self.rename(&mut part, stored);
        }
        let mut stored = stored.map(Vec::into_iter);
        let mut made = Vec::with_capacity(part.rows.len());
        for (mut read, id) in part.rows.into_iter().zip(part.ids) {
            let there = stored.as_mut().and_then(Iterator::next).flatten();
            let changes = there.is_some();
            let (row, same) = match there {
                Some(there) => self.changed(&mut read, there),
                None => (self.new_row(&mut read, &id), false),
            };
            if !same {
                self.broken(&mut read, &row);
            }
            let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner).take(&row, read.row.line);
            for (column, first) in keys {
                let what = format!("line {first} has the same value");
                read.faults.push(ImportError { line: read.row.line, field: self.declared().field_of(column), what });
            }
            let faulty = !read.faults.is_empty();
            if same && !faulty {
                self.unchanged.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            read.faults.drain(..).for_each(|fault| self.errors.push(self.at, fault));
            made.push(LoadRow { line: read.row.line as u64, row, changes, faulty });
        }
        let stated = made.iter().map(|row| &row.row);
        let entry = (!made.is_empty()).then(|| Box::new(self.gate.part_entry("import", self.declared(), stated)));
        Made { rows: made, entry }
    }

    /// Rows that were named by others of the part, and that turned out to be stored, have the ids of those.
    fn rename(&self, part: &mut Part, stored: &[Option<Row>]) {
        let stored = stored.iter().map(|row| row.as_ref()?[Collection::ID].as_text());
        let ids: HashMap<Box<str>, Box<str>> = part.ids.iter().zip(stored).filter_map(|(id, row)| Some((id.clone(), row?.into()))).collect();
        let declared = self.declared();
        for (field, value) in part.rows.iter_mut().flat_map(|row| &mut row.row.values) {
            let ty = &declared.fields[*field].ty;
            if ty.refers().is_none_or(|(to, _)| to != self.collection) {
                continue;
            }
            if ty.lists().is_some() {
                let renamed: Vec<Box<str>> = references(value).into_iter().map(|id| ids.get(&id).cloned().unwrap_or(id)).collect();
                *value = if value.is_null() { Value::Null } else { stored_references(&renamed) };
            } else if let Some(id) = value.as_text().and_then(|id| ids.get(id)) {
                *value = Value::Text(id.clone());
            }
        }
    }

    fn new_row(&self, read: &mut ReadRow, id: &str) -> Row {
        let declared = self.declared();
        for (at, field) in declared.declared().filter(|(_, field)| field.required) {
            let value = read.row.values.iter().find(|(named, _)| *named == at).map(|(_, value)| value);
            let defaulted = value.is_none() && field.default_at(self.now_ms, None).is_some();
            if value.is_none_or(Value::is_null) && !defaulted && !has_fault(read, at) {
                read.faults.push(ImportError { line: read.row.line, field: Some(at), what: "a value is required".to_owned() });
            }
        }
        declared.new_row(id, &read.row.values, self.now_ms, None)
    }

    /// A stored row with the values that the source names, and whether it had them already.
    fn changed(&self, read: &mut ReadRow, there: Row) -> (Row, bool) {
        let declared = self.declared();
        let line = read.row.line;
        if read.row.id.as_deref().is_some_and(|id| there[Collection::ID].as_text() != Some(id)) {
            let what = "the row that has this key has another id".to_owned();
            read.faults.push(ImportError { line, field: Some(Collection::ID), what });
        }
        let mut row = there.clone();
        for (at, value) in &read.row.values {
            let field = &declared.fields[*at];
            if *value != there[*at]
                && let Some(what) = forbidden(field, &there[*at], value)
            {
                read.faults.push(ImportError { line, field: Some(*at), what });
            }
            row[*at] = value.clone();
            if let Some(shadow) = field.shadow {
                row[shadow] = field.ty.folded(value.clone());
            }
        }
        if row == there {
            return (row, true);
        }
        let named = |at: FieldId| read.row.values.iter().any(|(field, _)| *field == at);
        for at in declared.set_on_update.iter().filter(|at| !named(**at)) {
            if let Some(value) = declared.fields[*at].set_at(self.now_ms, None) {
                row[*at] = value;
            }
        }
        row[Collection::UPDATE_TIME] = Value::Int(self.now_ms);
        row[Collection::VERSION] = Value::Int(row[Collection::VERSION].as_int().unwrap_or_default() + 1);
        (row, false)
    }

    /// The checks that a row breaks, as far as the values that they look at could be read.
    fn broken(&self, read: &mut ReadRow, row: &Row) {
        for check in self.declared().checks_broken_by(row) {
            if !check.fields.iter().any(|field| has_fault(read, *field)) {
                read.faults.push(ImportError { line: read.row.line, field: check.fields.first().copied(), what: check.words() });
            }
        }
    }
}

/// The value of a column of a key: of its field, folded where the key is, or that of every row.
fn key_value(declared: &Collection, column: usize, value: &dyn Fn(FieldId) -> Value) -> Value {
    match declared.field_of(column) {
        Some(field) if field == column => value(field),
        Some(field) => declared.fields[field].ty.folded(value(field)),
        None => declared.table.columns[column].default.clone().unwrap_or(Value::Null),
    }
}

fn canonical(values: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    values.iter().for_each(|value| value.write_canonical(&mut bytes));
    bytes
}

/// What a row says of a field; NULL when it says nothing.
fn value_of(read: &ReadRow, field: FieldId) -> Value {
    if field == Collection::ID {
        return read.row.id.clone().map_or(Value::Null, Value::Text);
    }
    read.row.values.iter().find(|(named, _)| *named == field).map_or(Value::Null, |(_, value)| value.clone())
}

fn has_fault(read: &ReadRow, field: FieldId) -> bool {
    read.faults.iter().any(|fault| fault.field == Some(field))
}

/// Why a stored value does not become another one.
fn forbidden(field: &Field, there: &Value, value: &Value) -> Option<String> {
    if field.required && value.is_null() {
        return Some("a value is required".to_owned());
    }
    if field.rules.write_once {
        return Some("is written once, and the stored row has another value".to_owned());
    }
    field.rules.transitions.as_ref()?;
    let follows = match (there.as_text(), value.as_text()) {
        (Some(from), Some(to)) => field.rules.after(from).iter().any(|word| word == to),
        (None, Some(to)) => field.rules.begins_with(to),
        _ => false,
    };
    let word = |value: &Value| value.as_text().map_or_else(|| "no value".to_owned(), |word| format!("`{word}`"));
    (!follows).then(|| format!("{} does not follow {}", word(value), word(there)))
}

/// The columns of the unique key that has exactly these fields; the id is a key, too.
pub(crate) fn columns_of_key(declared: &Collection, fields: &[FieldId]) -> Option<Vec<usize>> {
    if *fields == [Collection::ID] { Some(vec![Collection::ID]) } else { declared.unique_key(fields).map(|index| index.columns.clone()) }
}
