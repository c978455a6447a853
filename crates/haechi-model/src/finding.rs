//! What is wrong with a folder: place, message and remedy. All of a folder's findings are collected before any is shown.

use std::{ops::Range, path::PathBuf, sync::Arc};

/// A file of the folder as it was read.
#[derive(Debug)]
pub struct Source {
    /// Path as the user would write it, relative to the folder.
    pub path: PathBuf,
    /// The whole text.
    pub text: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth a look; the folder is accepted.
    Warning,
    /// The folder is refused.
    Error,
}

/// One error, its place, and how to fix it.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Error or warning.
    pub severity: Severity,
    /// A stable name for the kind of finding, e.g. `unknown-key`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// How to fix it.
    pub help: String,
    /// The file, when there is one.
    pub source: Option<Arc<Source>>,
    /// Byte range in the file.
    pub span: Option<Range<usize>>,
}

impl Finding {
    /// Line and column (from 1) of the place, when there is one.
    #[must_use]
    pub fn line_column(&self) -> Option<(usize, usize)> {
        let (source, span) = (self.source.as_ref()?, self.span.as_ref()?);
        let before = source.text.get(..span.start)?;
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
        Some((line, column))
    }
}

/// The findings of one folder.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    list: Vec<Finding>,
}

impl Findings {
    /// Adds a finding.
    #[track_caller]
    pub fn push(&mut self, finding: Finding) {
        #[cfg(test)]
        crate::faults::seen(std::panic::Location::caller());
        self.list.push(finding);
    }

    /// Adds an error at a place.
    #[track_caller]
    pub fn error(&mut self, source: &Arc<Source>, span: Option<Range<usize>>, code: &'static str, message: String, help: String) {
        self.push(Finding { severity: Severity::Error, code, message, help, source: Some(source.clone()), span });
    }

    /// Adds a warning at a place.
    #[track_caller]
    pub fn warning(&mut self, source: &Arc<Source>, span: Option<Range<usize>>, code: &'static str, message: String, help: String) {
        self.push(Finding { severity: Severity::Warning, code, message, help, source: Some(source.clone()), span });
    }

    /// Whether the folder is refused.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// All findings, in the order in which they were met.
    #[must_use]
    pub fn list(&self) -> &[Finding] {
        &self.list
    }

    /// Adds all of another set.
    pub fn append(&mut self, other: Findings) {
        self.list.extend(other.list);
    }
}
