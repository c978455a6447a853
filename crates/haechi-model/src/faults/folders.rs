//! Folders with faults in them, and what is found there.

use crate::App;
use std::path::{Path, PathBuf};

/// A folder without faults.
pub(crate) fn folder() -> PathBuf {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let root = std::env::temp_dir().join(format!("haechi-faults-{}-{number}", std::process::id()));
    write(&root, "haechi.toml", b"");
    write(&root, "collections/notes.toml", b"[fields]\ntitle = { type = \"text\" }\n");
    root
}

pub(crate) fn write(root: &Path, path: &str, text: &[u8]) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// The findings of a folder, which is removed: file, code, message and help.
pub(crate) fn found(root: &Path, environment: &[(&str, &str)]) -> Vec<(String, &'static str, String)> {
    let environment: Vec<(String, String)> = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let findings = App::load(root, &environment).map_or_else(|findings| findings, |(_, warnings)| warnings);
    drop(std::fs::remove_dir_all(root));
    let file = |finding: &crate::Finding| finding.source.as_ref().map_or_else(String::new, |source| source.path.display().to_string());
    findings.list().iter().map(|finding| (file(finding), finding.code, format!("{}; {}", finding.message, finding.help))).collect()
}

pub(crate) fn first(found: &[(String, &'static str, String)], what: &str, code: &str, words: &str) {
    let first = found.first().unwrap_or_else(|| panic!("{what} is accepted"));
    assert!(first.1 == code && first.2.contains(words), "{what}: {found:?}");
}
