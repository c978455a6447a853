//! Typed clients of an app, made from its model: text alone, no I/O.
//!
//! `shape.rs` says what of a collection a client must know; `typescript/` and `python/` hold the client of each language as it is written by
//! hand, and the file beside each folder writes what is particular to the app.

mod python;
mod shape;
mod typescript;

use haechi_model::App;

/// The languages that clients are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// A module and its types, for browsers, Node and the like.
    TypeScript,
    /// A module for Python 3.11 and later, over httpx.
    Python,
}

/// A file of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub name: &'static str,
    /// Its text. The first line carries [`MARK`].
    pub text: String,
}

/// Stands in the first line of each file, so that a later run replaces no other files.
pub const MARK: &str = "Made by `haechi generate";

/// The files of a client.
#[must_use]
pub fn client(app: &App, language: Language) -> Vec<File> {
    match language {
        Language::TypeScript => typescript::files(app),
        Language::Python => python::files(app),
    }
}
