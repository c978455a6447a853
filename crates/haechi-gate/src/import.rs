//! Importing rows as an operator: past policies, not past types, references and the ledger.

use crate::{
    gate::Gate,
    grant::fresh_row,
    system::{Import, System},
};
use haechi_model::{Collection, CollectionId, EntryDraft, Failure, FieldId, FieldType, Row, Step, USERS, Value};
use std::{
    collections::{HashMap, HashSet},
    fmt::Write,
};

/// Rows per ledger entry.
const PART: usize = 1_000;
/// How many rows that break a unique index are looked for before giving up.
const MAX_UNIQUE_ROUNDS: usize = 20;

/// A row to import.
#[derive(Clone, Debug)]
pub struct ImportRow {
    /// Line of the file.
    pub line: usize,
    /// Its id; a new one when `None`.
    pub id: Option<Box<str>>,
    /// Fields, system ones of `users` included.
    pub values: Vec<(FieldId, Value)>,
}

/// A row that cannot be imported. Nothing was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportError {
    /// Line of the file; 0 when it concerns the whole file.
    pub line: usize,
    /// The field, when it concerns one.
    pub field: Option<FieldId>,
    /// What is wrong.
    pub what: String,
}

impl Gate {
    /// Imports rows into a collection: all or none.
    ///
    /// # Errors
    /// Every row that cannot be imported, by line and field.
    pub async fn import(&self, key: &System<Import>, collection: CollectionId, rows: Vec<ImportRow>) -> Result<usize, Vec<ImportError>> {
        let revision = self.revision();
        let declared = &revision.app.collections[collection];
        let now = self.clock().now_ms();
        let lines: Vec<usize> = rows.iter().map(|row| row.line).collect();
        let ids: Vec<Box<str>> =
            rows.iter().map(|row| row.id.clone().unwrap_or_else(|| uuid::Uuid::now_v7().hyphenated().to_string().into())).collect();
        let mut errors = required(declared, &rows);
        let stored: Vec<Row> = rows.iter().zip(&ids).map(|(row, id)| fresh_row(declared, id, &row.values, now, None)).collect();
        errors.extend(duplicates(declared, &stored, &lines));
        errors.extend(self.dangling(declared, &stored, &lines).await);
        if !errors.is_empty() {
            errors.sort_by_key(|error| (error.line, error.field));
            return Err(errors);
        }
        let (stored, lines) = parents_first(declared, stored, lines);
        self.publish(key, declared, stored, &lines).await
    }

    /// Stored rows of a collection in the order of their ids, for export; recorded when the first page is read.
    ///
    /// # Errors
    /// When the database cannot be had.
    pub async fn stored_rows(&self, key: &System<Import>, collection: CollectionId, after: &str) -> Result<Vec<Row>, Failure> {
        if after.is_empty() {
            let entry = self.0.system_entry("export", Some(collection), String::new());
            self.0.commit(self.0.system_change(key, vec![entry])).await?;
        }
        self.0.store.rows_after(collection, after, PART as u32).await
    }

    /// People who may sign in: the first hundred rows of `users` that are not disabled.
    ///
    /// # Errors
    /// When the database cannot be had.
    pub async fn people(&self, _: &System<Import>) -> Result<Vec<Row>, Failure> {
        const MOST: u32 = 100;
        let revision = self.revision();
        let disabled = revision.app.collections[USERS].field("disabled").unwrap_or_default();
        let rows = self.0.store.rows_after(USERS, "", MOST).await?;
        Ok(rows.into_iter().filter(|row| row[disabled].as_int() == Some(0)).collect())
    }

    /// Whether a collection has no rows.
    ///
    /// # Errors
    /// When the database cannot be had.
    pub async fn is_empty(&self, _: &System<Import>, collection: CollectionId) -> Result<bool, Failure> {
        Ok(self.0.store.rows_after(collection, "", 1).await?.is_empty())
    }

    /// One stored row, for explanations to an operator.
    ///
    /// # Errors
    /// When the database cannot be had.
    pub async fn stored_row(&self, _: &System<Import>, collection: CollectionId, id: &str) -> Result<Option<Row>, Failure> {
        self.0.store.row(collection, id).await
    }

    /// States every row of altered collections anew: a migration changes what their canonical form is.
    pub(crate) async fn rebase<A: crate::Area>(&self, key: &System<A>, altered: &[String]) -> Result<(), Failure> {
        let revision = self.revision();
        for declared in revision.app.collections.iter().filter(|collection| altered.contains(&collection.name)) {
            let mut after = String::new();
            loop {
                let rows = self.0.store.rows_after(declared.id, &after, PART as u32).await?;
                let Some(last) = rows.last() else { break };
                after = last[Collection::ID].as_text().unwrap_or_default().to_owned();
                let rows: Vec<(usize, Row)> = rows.into_iter().map(|row| (0, row)).collect();
                self.0.commit(self.0.system_change(key, self.part_entries("rebase", declared, &rows))).await?;
            }
        }
        Ok(())
    }

    async fn publish(&self, key: &System<Import>, declared: &Collection, stored: Vec<Row>, lines: &[usize]) -> Result<usize, Vec<ImportError>> {
        let mut errors = Vec::new();
        let mut left: Vec<(usize, Row)> = lines.iter().copied().zip(stored).collect();
        for _ in 0..MAX_UNIQUE_ROUNDS {
            // After the first bad row the rest is only tried, to find the other bad ones: the last check always fails.
            let mut steps: Vec<Step> = left.iter().map(|(_, row)| Step::Insert { table: declared.id, row: row.clone() }).collect();
            if !errors.is_empty() {
                steps.push(Step::Check { table: declared.id, id: "".into(), filter: haechi_model::Predicate::False, miss: 0 });
            }
            let mut change = self.0.system_change(key, self.part_entries("import", declared, &left));
            change.steps = steps;
            match self.0.commit(change).await {
                Ok(_) => return Ok(left.len()),
                Err(Failure::NotUnique { index, step }) if step < left.len() => {
                    let field = declared.table.indexes.iter().find(|found| found.name == *index).and_then(|found| found.columns.last().copied());
                    let field = field
                        .and_then(|column| declared.fields.iter().enumerate().position(|(at, field)| at == column || field.shadow == Some(column)));
                    errors.push(ImportError {
                        line: left[step].0,
                        field: field.or(Some(Collection::ID)),
                        what: "another row has the same value".to_owned(),
                    });
                    left.remove(step);
                }
                Err(Failure::Missed(_)) => return Err(errors),
                Err(failure) => {
                    return Err(vec![ImportError { line: 0, field: None, what: format!("the database could not take the rows: {failure:?}") }]);
                }
            }
        }
        errors.push(ImportError { line: 0, field: None, what: "there may be more rows that are not unique".to_owned() });
        Err(errors)
    }

    /// One entry per part, with the digest of every row.
    pub(crate) fn part_entries(&self, action: &str, declared: &Collection, rows: &[(usize, Row)]) -> Vec<EntryDraft> {
        let part = |rows: &[(usize, Row)]| {
            let mut extra = format!("\"count\":{},\"rows\":[", rows.len());
            for (at, (_, row)) in rows.iter().enumerate() {
                let _ = write!(extra, "{}[\"{}\",\"", if at > 0 { "," } else { "" }, row[0].as_text().unwrap_or_default());
                for byte in self.0.journal.row_digest(declared, row) {
                    let _ = write!(extra, "{byte:02x}");
                }
                extra.push_str("\"]");
            }
            extra.push(']');
            self.0.system_entry(action, Some(declared.id), extra)
        };
        rows.chunks(PART).map(part).collect()
    }

    /// References that name no row, neither stored nor imported.
    async fn dangling(&self, declared: &Collection, rows: &[Row], lines: &[usize]) -> Vec<ImportError> {
        let mut errors = Vec::new();
        let own: HashSet<&str> = rows.iter().filter_map(|row| row[0].as_text()).collect();
        for (at, field) in declared.declared() {
            let FieldType::Ref { to, .. } = field.ty else { continue };
            let mut known: HashMap<&str, bool> = HashMap::new();
            for (row, line) in rows.iter().zip(lines) {
                let Some(id) = row[at].as_text() else { continue };
                if to == declared.id && own.contains(id) {
                    continue;
                }
                let there = match known.get(id) {
                    Some(there) => *there,
                    None => {
                        let there = matches!(self.0.store.row(to, id).await, Ok(Some(_)));
                        known.insert(id, there);
                        there
                    }
                };
                if !there {
                    errors.push(ImportError { line: *line, field: Some(at), what: format!("refers to {id}, which is not there") });
                }
            }
        }
        errors
    }
}

/// Rows in an order in which each row of the same collection that it refers to comes before it.
fn parents_first(declared: &Collection, rows: Vec<Row>, lines: Vec<usize>) -> (Vec<Row>, Vec<usize>) {
    let own: Vec<FieldId> =
        declared.declared().filter(|(_, field)| matches!(field.ty, FieldType::Ref { to, .. } if to == declared.id)).map(|(at, _)| at).collect();
    if own.is_empty() {
        return (rows, lines);
    }
    let mut waiting: HashSet<String> = rows.iter().filter_map(|row| row[0].as_text().map(str::to_owned)).collect();
    let mut left: Vec<(Row, usize)> = rows.into_iter().zip(lines).collect();
    let mut ordered: Vec<(Row, usize)> = Vec::new();
    loop {
        let ready = |(row, _): &(Row, usize)| {
            own.iter().all(|field| row[*field].as_text().is_none_or(|id| !waiting.contains(id) || row[0].as_text() == Some(id)))
        };
        let (now, later): (Vec<_>, Vec<_>) = left.into_iter().partition(ready);
        // Rows in a circle stay in their order; the database then says which.
        let done = now.is_empty();
        now.iter().filter_map(|(row, _)| row[0].as_text()).for_each(|id| {
            waiting.remove(id);
        });
        ordered.extend(now);
        left = later;
        if done || left.is_empty() {
            ordered.append(&mut left);
            return ordered.into_iter().unzip();
        }
    }
}

fn required(declared: &Collection, rows: &[ImportRow]) -> Vec<ImportError> {
    let mut errors = Vec::new();
    for row in rows {
        for (at, field) in declared.declared() {
            let value = row.values.iter().find(|(named, _)| *named == at).map(|(_, value)| value);
            let empty = value.is_none_or(Value::is_null);
            let defaulted = field.default.is_some() && value.is_none();
            if field.required && empty && !defaulted {
                errors.push(ImportError { line: row.line, field: Some(at), what: "a value is required".to_owned() });
            }
        }
    }
    errors
}

/// Rows of the file that break a unique index among themselves, or share an id.
fn duplicates(declared: &Collection, rows: &[Row], lines: &[usize]) -> Vec<ImportError> {
    let mut errors = Vec::new();
    let keys =
        std::iter::once(vec![Collection::ID]).chain(declared.table.indexes.iter().filter(|index| index.unique).map(|index| index.columns.clone()));
    for columns in keys {
        let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
        for (row, line) in rows.iter().zip(lines) {
            if columns.iter().any(|column| row[*column].is_null()) {
                continue;
            }
            let mut key = Vec::new();
            columns.iter().for_each(|column| row[*column].write_canonical(&mut key));
            if let Some(first) = seen.insert(key, *line) {
                let column = columns.last().copied().unwrap_or_default();
                let field = declared.fields.iter().enumerate().position(|(at, field)| at == column || field.shadow == Some(column));
                errors.push(ImportError { line: *line, field, what: format!("line {first} has the same value") });
            }
        }
    }
    errors
}
