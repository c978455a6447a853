//! What is wrong with the rows of an import, and the lines of unique values so far.

use super::row::{ImportError, MAX_ERRORS};
use aws_lc_rs::digest;
use haechi_model::{Collection, Row};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many unique values are remembered: some 60 MB.
const MAX_KEYS: usize = 1_000_000;

/// What is wrong with the rows of each source; shared by who reads them and who makes them.
#[derive(Clone)]
pub(super) struct Errors(Arc<Mutex<Vec<Vec<ImportError>>>>);

impl Errors {
    pub(super) fn of(sources: usize) -> Self {
        Self(Arc::new(Mutex::new(vec![Vec::new(); sources])))
    }

    pub(super) fn push(&self, at: usize, error: ImportError) {
        self.lock()[at].push(error);
    }

    /// An error that the database found; none when the same place of the same row has one already.
    pub(super) fn push_new(&self, at: usize, error: ImportError) {
        let errors = &mut self.lock()[at];
        if !errors.iter().any(|known| (known.line, known.field) == (error.line, error.field)) {
            errors.push(error);
        }
    }

    pub(super) fn count(&self) -> usize {
        self.lock().iter().map(Vec::len).sum()
    }

    pub(super) fn enough(&self) -> bool {
        self.count() >= MAX_ERRORS
    }

    pub(super) fn sorted(&self, at: usize) -> Vec<ImportError> {
        let mut errors = std::mem::take(&mut self.lock()[at]);
        errors.sort_by_key(|error| (error.line == 0, error.line, error.field));
        errors.dedup();
        errors
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<ImportError>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lines of unique values so far, so that an error can name the other line. Beyond the bound only the database checks.
pub(super) struct Keys {
    columns: Vec<Vec<usize>>,
    seen: Vec<HashMap<[u8; 16], u32>>,
    left: usize,
}

impl Keys {
    pub(super) fn of(declared: &Collection) -> Self {
        let unique = declared.table.indexes.iter().filter(|index| index.unique).map(|index| index.columns.clone());
        let columns: Vec<Vec<usize>> = std::iter::once(vec![Collection::ID]).chain(unique).collect();
        Self { seen: vec![HashMap::new(); columns.len()], columns, left: MAX_KEYS }
    }

    /// Remembers a row's keys. The columns of which an earlier line has the same value, and that line.
    pub(super) fn take(&mut self, row: &Row, line: usize) -> Vec<(usize, u32)> {
        let mut collisions = Vec::new();
        for (columns, seen) in self.columns.iter().zip(&mut self.seen) {
            if self.left == 0 || columns.iter().any(|column| row[*column].is_null()) {
                continue;
            }
            let mut key = Vec::new();
            columns.iter().for_each(|column| row[*column].write_canonical(&mut key));
            let mut half = [0; 16];
            half.copy_from_slice(&digest::digest(&digest::SHA256, &key).as_ref()[..16]);
            self.left -= 1;
            if let Some(first) = seen.insert(half, u32::try_from(line).unwrap_or(u32::MAX)) {
                collisions.push((columns.last().copied().unwrap_or_default(), first));
            }
        }
        collisions
    }
}
