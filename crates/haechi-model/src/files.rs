//! The files of a folder: read whole, with bounds, and never skipped silently.

use crate::{
    finding::{Findings, Source},
    section::Section,
};
use std::{
    cell::RefCell,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The largest file of a folder.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Reads a file's text as TOML.
pub(crate) fn with_table(source: &Arc<Source>, findings: &RefCell<Findings>, read: impl FnOnce(Section<'_>)) {
    match toml_edit::Document::parse(source.text.as_str()) {
        Ok(document) => read(Section::new(source, document.as_table(), None, source.path.display().to_string(), findings)),
        Err(error) => {
            let message = error.message().lines().next().unwrap_or("not TOML").to_owned();
            let help = if message.contains("duplicate key") { "this key stands above already: remove one" } else { "mend the syntax" };
            findings.borrow_mut().error(source, error.span(), "not-toml", message, help.to_owned());
        }
    }
}

/// Folders that later versions read: an app must not rely on what is not done.
const NOT_BUILT: [(&str, &str); 4] =
    [("events", "webhooks and topics"), ("sagas", "sagas"), ("projections", "projections"), ("flags", "feature flags")];

/// Reports the folders that are kept for what is not built yet.
pub(crate) fn refuse_later(root: &Path, findings: &RefCell<Findings>) {
    for (folder, what) in NOT_BUILT.into_iter().filter(|(folder, _)| root.join(folder).is_dir()) {
        let source = Arc::new(Source { path: folder.into(), text: String::new() });
        let message = format!("the folder `{folder}` is kept for {what}, which are not built yet");
        findings.borrow_mut().error(&source, None, "not-built", message, "rename or remove it; it is refused so that nobody relies on it".to_owned());
    }
}

/// A file's text; `None` when it is not there, or cannot be read, which is then a finding.
pub(crate) fn read_file(root: &Path, path: &Path, findings: &RefCell<Findings>) -> Option<Arc<Source>> {
    let text = match std::fs::metadata(root.join(path)) {
        // A broken link exists, but its target is missing.
        Err(error) if error.kind() == ErrorKind::NotFound && std::fs::symlink_metadata(root.join(path)).is_ok() => {
            Err("the file is a link to something that is not there".to_owned())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => Err(format!("the file cannot be read: {}", why(error.kind()))),
        Ok(meta) if meta.is_dir() => Err("this is a folder; it must be a file".to_owned()),
        Ok(meta) if meta.len() > MAX_FILE_BYTES => Err(format!("the file has {} bytes; at most {MAX_FILE_BYTES} are read", meta.len())),
        Ok(_) => std::fs::read(root.join(path))
            .map_err(|error| format!("the file cannot be read: {}", why(error.kind())))
            .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "the file is not UTF-8".to_owned())),
    };
    match text {
        Ok(text) => Some(Arc::new(Source { path: path.to_owned(), text: text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned) })),
        Err(why) => {
            unreadable(path, why, "mend or remove it", findings);
            None
        }
    }
}

/// Files of a sub-folder with an ending, sorted by path. One that is not there has none.
pub(crate) fn files(root: &Path, folder: &str, ending: &str, findings: &RefCell<Findings>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(root.join(folder)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return found,
        Err(error) => {
            unreadable(Path::new(folder), format!("the folder cannot be read: {}", why(error.kind())), "mend or remove it", findings);
            return found;
        }
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let relative = Path::new(folder).join(&name);
        let hidden = name.to_string_lossy().starts_with('.') || name.to_string_lossy().ends_with('~');
        if hidden || relative == Path::new("policies/tests") {
            continue;
        }
        if entry.path().is_dir() {
            let help = format!("move its files up to {folder}/");
            unreadable(&relative, format!("a folder in {folder}/ is not looked into, so that nothing in it would count"), &help, findings);
        } else if relative.extension().is_some_and(|found| found == ending) {
            found.push(relative);
        } else {
            let source = Arc::new(Source { path: relative, text: String::new() });
            let message = format!("only .{ending} files belong in {folder}/");
            findings.borrow_mut().error(&source, None, "unknown-file", message, "move or remove the file".to_owned());
        }
    }
    found.sort();
    found
}

fn unreadable(path: &Path, what: String, help: &str, findings: &RefCell<Findings>) {
    let source = Arc::new(Source { path: path.to_owned(), text: String::new() });
    findings.borrow_mut().error(&source, None, "unreadable", what, help.to_owned());
}

/// Why the operating system refuses, in words.
#[must_use]
pub fn why(kind: ErrorKind) -> String {
    match kind {
        ErrorKind::NotFound => "it is not there".to_owned(),
        ErrorKind::PermissionDenied => "this user may not".to_owned(),
        ErrorKind::AlreadyExists => "something of this name is there already".to_owned(),
        ErrorKind::NotADirectory => "a part of its path is a file, not a folder".to_owned(),
        ErrorKind::IsADirectory => "it is a folder, not a file".to_owned(),
        ErrorKind::StorageFull => "the disk is full".to_owned(),
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only".to_owned(),
        ErrorKind::AddrInUse => "another process listens there".to_owned(),
        ErrorKind::AddrNotAvailable => "this host has no such address".to_owned(),
        ErrorKind::ConnectionRefused => "nothing listens there".to_owned(),
        ErrorKind::TimedOut => "it took too long".to_owned(),
        other => other.to_string(),
    }
}
