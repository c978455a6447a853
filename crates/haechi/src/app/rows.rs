//! Imports files of rows into collections: `import`, and the seed rows of `dev`.

use crate::House;
use futures_util::future::BoxFuture;
use haechi_data::transfer::{Format, Options, Reader};
use haechi_gate::{Examples, ImportError, Rows};
use haechi_model::{App, Collection, Failure, FieldId, why};
use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};
use thiserror::Error;

/// Most bad rows that are listed; the others are counted.
const MAX_SHOWN: usize = 200;

/// A file of rows was not imported; nothing of it was.
#[derive(Debug, Error)]
pub enum RowsError {
    /// The file cannot be read.
    #[error("{} cannot be read: {}", .0.display(), why(*.1))]
    Unreadable(PathBuf, std::io::ErrorKind),
    /// The file's name does not say its format.
    #[error("{}: the name must end in .csv, .json or .jsonl", .0.display())]
    Format(PathBuf),
    /// Rows are wrong.
    #[error("{0}")]
    Rows(BadRows),
    /// A collection is named twice.
    #[error("{0} is named twice: a collection has one file")]
    Twice(String),
    /// The database cannot be reached.
    #[error("{0} cannot be read: {1}")]
    Store(String, Failure),
}

/// Rows that are wrong, by file.
#[derive(Debug)]
pub struct BadRows(Vec<BadFile>);

/// The rows of a file that are wrong, each with its line.
#[derive(Debug)]
struct BadFile {
    path: PathBuf,
    fields: Vec<String>,
    errors: Vec<ImportError>,
}

impl BadFile {
    fn new(path: &Path, declared: &Collection, errors: Vec<ImportError>) -> Self {
        Self { path: path.to_owned(), fields: declared.fields.iter().map(|field| field.name.clone()).collect(), errors }
    }
}

impl fmt::Display for BadRows {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Errors without a line come last, and do not count as errors of a row.
        let all = self.0.iter().enumerate().flat_map(|(file, bad)| bad.errors.iter().map(move |error| (file, error)));
        let (whole, errors): (Vec<_>, Vec<_>) = all.partition(|(_, error)| error.line == 0);
        let rows: BTreeSet<(usize, usize)> = errors.iter().map(|(file, error)| (*file, error.line)).collect();
        let many = |count: usize, word: &str| if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") };
        match errors.is_empty() {
            true => write!(out, "nothing was imported")?,
            false => write!(out, "nothing was imported; {} in {}", many(errors.len(), "error"), many(rows.len(), "row"))?,
        }
        for (file, error) in errors.into_iter().take(MAX_SHOWN).chain(whole) {
            let BadFile { path, fields, .. } = &self.0[file];
            let field = error.field.map_or_else(String::new, |field| format!("{}: ", fields[field]));
            let line = if error.line == 0 { String::new() } else { format!("{}:", error.line) };
            write!(out, "\n{}:{line} {field}{}", path.display(), error.what)?;
        }
        Ok(())
    }
}

/// Imports a file: all of it or nothing.
///
/// # Errors
/// Why nothing was imported.
pub fn import_file<'a>(house: &'a House, declared: &'a Collection, path: &'a Path, options: Options) -> BoxFuture<'a, Result<Imported, RowsError>> {
    Box::pin(async move { import_files(house, &[(declared, path)], &options, None).await.map(|imported| imported[0]) })
}

/// Imports files, each into one collection: all or nothing. Rows may refer to each other across the files. `upsert`: the fields of a unique
/// key, for one file; stored rows with the same values are changed.
///
/// # Errors
/// Why nothing was imported.
pub fn import_files<'a, At: AsRef<Path> + Sync>(
    house: &'a House,
    files: &'a [(&'a Collection, At)],
    options: &'a Options,
    upsert: Option<Vec<FieldId>>,
) -> BoxFuture<'a, Result<Vec<Imported>, RowsError>> {
    Box::pin(async move {
        let (mut sources, mut left_out) = (Vec::with_capacity(files.len()), Vec::with_capacity(files.len()));
        for (declared, path) in files {
            let path = path.as_ref();
            if sources.iter().any(|source: &Rows<Reader>| source.collection == declared.id) {
                return Err(RowsError::Twice(declared.name.clone()));
            }
            let format = Format::of(path).ok_or_else(|| RowsError::Format(path.to_owned()))?;
            let file = std::fs::File::open(path).map_err(|error| RowsError::Unreadable(path.to_owned(), error.kind()))?;
            let bad = |errors| RowsError::Rows(BadRows(vec![BadFile::new(path, declared, errors)]));
            let rows = Reader::new(file, format, declared, options.clone()).map_err(bad)?;
            left_out.push(rows.left_out());
            sources.push(Rows { collection: declared.id, upsert: upsert.clone(), rows });
        }
        let bad = |errors: Vec<Vec<ImportError>>| {
            let files = files.iter().zip(errors).map(|((declared, path), errors)| BadFile::new(path.as_ref(), declared, errors));
            RowsError::Rows(BadRows(files.collect()))
        };
        let rows = house.gate.import_from(&house.keys.import, sources).await.map_err(bad)?;
        Ok(rows.into_iter().zip(left_out).map(|(rows, left_out)| Imported { rows, left_out: left_out.load(Ordering::Relaxed) }).collect())
    })
}

/// What an import has done.
#[derive(Clone, Copy, Debug)]
pub struct Imported {
    /// What became of its rows.
    pub rows: haechi_gate::Imported,
    /// Whether `create_time`, `update_time` or `version` of the file was left out.
    pub left_out: bool,
}

/// Imports `seed/` into collections that have no rows, all of it or nothing. Returns which, and how many rows.
///
/// # Errors
/// Why nothing was imported.
pub fn seed<'a>(house: &'a House, root: &'a Path) -> BoxFuture<'a, Result<Vec<(String, usize)>, RowsError>> {
    Box::pin(async move {
        let revision = house.gate.revision();
        let mut files = Vec::new();
        for declared in &revision.app.collections {
            let Some(file) = seed_file(root, declared) else { continue };
            let empty = house.gate.is_empty(&house.keys.import, declared.id).await;
            if empty.map_err(|failure| RowsError::Store(declared.name.clone(), failure))? {
                files.push((declared, file));
            }
        }
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let imported = import_files(house, &files, &Options::default(), None).await?;
        Ok(files.iter().zip(imported).map(|((declared, _), imported)| (declared.name.clone(), imported.rows.count())).collect())
    })
}

fn seed_file(root: &Path, declared: &Collection) -> Option<PathBuf> {
    ["csv", "json", "jsonl"].iter().map(|ending| root.join("seed").join(format!("{}.{ending}", declared.name))).find(|path| path.exists())
}

/// The rows of `seed/`, to show differences of access on. Unreadable files are skipped: seeding reports their errors.
#[must_use]
pub fn examples(app: &App, root: &Path) -> Examples {
    /// Rows beyond this are not read.
    const MAX_READ: usize = 10_000;
    let mut examples = Examples::of(app);
    for declared in &app.collections {
        let file = seed_file(root, declared).and_then(|path| Some((Format::of(&path)?, std::fs::File::open(path).ok()?)));
        let Some((format, file)) = file else { continue };
        let Ok(rows) = Reader::new(file, format, declared, Options::default()) else { continue };
        rows.take(MAX_READ).flatten().filter(|row| row.faults.is_empty()).for_each(|row| examples.add(declared, &row.row));
    }
    examples
}
