//! Files of rows into collections: `import`, and the seed rows of developing.

use crate::House;
use futures_util::future::BoxFuture;
use haechi_data::transfer::{Format, Options, Reader};
use haechi_gate::{Examples, ImportError};
use haechi_model::{App, Collection, Failure, FieldType, why};
use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};
use thiserror::Error;

/// Most bad rows that are told of; the count goes on.
const MAX_SHOWN: usize = 200;

/// A file of rows was not imported; nothing of it was.
#[derive(Debug, Error)]
pub enum RowsError {
    /// The file cannot be read.
    #[error("{} cannot be read: {}", .0.display(), why(*.1))]
    Unreadable(PathBuf, std::io::ErrorKind),
    /// The name says nothing of the format.
    #[error("{}: the name must end in .csv, .json or .jsonl", .0.display())]
    Format(PathBuf),
    /// Rows are wrong.
    #[error("{0}")]
    Rows(BadRows),
    /// The database cannot be reached.
    #[error("{0} cannot be read: {1}")]
    Store(String, Failure),
}

/// Rows that are wrong, each with its line.
#[derive(Debug)]
pub struct BadRows {
    path: PathBuf,
    fields: Vec<String>,
    errors: Vec<ImportError>,
}

impl fmt::Display for BadRows {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What concerns no line is said last, and counts as no error of a row.
        let (whole, errors): (Vec<&ImportError>, Vec<&ImportError>) = self.errors.iter().partition(|error| error.line == 0);
        let rows: BTreeSet<usize> = errors.iter().map(|error| error.line).collect();
        let many = |count: usize, word: &str| if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") };
        match errors.is_empty() {
            true => write!(out, "nothing was imported")?,
            false => write!(out, "nothing was imported; {} in {}", many(errors.len(), "error"), many(rows.len(), "row"))?,
        }
        for error in errors.into_iter().take(MAX_SHOWN).chain(whole) {
            let field = error.field.map_or_else(String::new, |field| format!("{}: ", self.fields[field]));
            let line = if error.line == 0 { String::new() } else { format!("{}:", error.line) };
            write!(out, "\n{}:{line} {field}{}", self.path.display(), error.what)?;
        }
        Ok(())
    }
}

/// Imports a file: all of it or nothing. Returns how many rows.
///
/// # Errors
/// Why nothing was imported.
pub fn import_file<'a>(house: &'a House, declared: &'a Collection, path: &'a Path, options: Options) -> BoxFuture<'a, Result<Imported, RowsError>> {
    Box::pin(async move {
        let format = Format::of(path).ok_or_else(|| RowsError::Format(path.to_owned()))?;
        let file = std::fs::File::open(path).map_err(|error| RowsError::Unreadable(path.to_owned(), error.kind()))?;
        let bad = |errors| {
            RowsError::Rows(BadRows { path: path.to_owned(), fields: declared.fields.iter().map(|field| field.name.clone()).collect(), errors })
        };
        let rows = Reader::new(file, format, declared, options).map_err(bad)?;
        let left_out = rows.left_out();
        let count = house.gate.import_from(&house.keys.import, declared.id, rows).await.map_err(bad)?;
        Ok(Imported { count, left_out: left_out.load(Ordering::Relaxed) })
    })
}

/// What an import has done.
#[derive(Clone, Copy, Debug)]
pub struct Imported {
    /// How many rows there were.
    pub count: usize,
    /// Whether `create_time`, `update_time` or `version` of the file was left out.
    pub left_out: bool,
}

/// Imports `seed/` into collections that have no rows, in the order of their references. Returns which, and how many rows.
///
/// # Errors
/// Why a file was not imported; those before it were.
pub fn seed<'a>(house: &'a House, root: &'a Path) -> BoxFuture<'a, Result<Vec<(String, usize)>, RowsError>> {
    Box::pin(async move {
        let revision = house.gate.revision();
        let mut seeded = Vec::new();
        for declared in by_reference(&revision.app) {
            let Some(file) = seed_file(root, declared) else { continue };
            let empty = house.gate.is_empty(&house.keys.import, declared.id).await;
            if empty.map_err(|failure| RowsError::Store(declared.name.clone(), failure))? {
                seeded.push((declared.name.clone(), import_file(house, declared, &file, Options::default()).await?.count));
            }
        }
        Ok(seeded)
    })
}

fn seed_file(root: &Path, declared: &Collection) -> Option<PathBuf> {
    ["csv", "json", "jsonl"].iter().map(|ending| root.join("seed").join(format!("{}.{ending}", declared.name))).find(|path| path.exists())
}

/// The rows of `seed/`, to show differences of access on. What cannot be read is left out: seeding tells what is wrong with it.
#[must_use]
pub fn examples(app: &App, root: &Path) -> Examples {
    /// More rows are not looked at.
    const MAX_READ: usize = 10_000;
    let mut examples = Examples::of(app);
    for declared in &app.collections {
        let file = seed_file(root, declared).and_then(|path| Some((Format::of(&path)?, std::fs::File::open(path).ok()?)));
        let Some((format, file)) = file else { continue };
        let Ok(rows) = Reader::new(file, format, declared, Options::default()) else { continue };
        rows.take(MAX_READ).flatten().for_each(|row| examples.add(declared, &row));
    }
    examples
}

/// Collections so that what is referred to comes first, as far as there is such an order.
fn by_reference(app: &App) -> Vec<&Collection> {
    let mut left: Vec<&Collection> = app.collections.iter().collect();
    let mut ordered: Vec<&Collection> = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let ready = |collection: &&Collection| {
            collection.fields.iter().all(|field| match field.ty {
                FieldType::Ref { to, .. } => to == collection.id || ordered.iter().any(|done| done.id == to),
                _ => true,
            })
        };
        let at = left.iter().position(ready).unwrap_or(0);
        ordered.push(left.remove(at));
    }
    ordered
}
