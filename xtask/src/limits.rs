//! A file answers one question: at most 500 lines without its tests.

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    const MAX_LINES: usize = 500;

    fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
                rust_files(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn files_stay_short_and_say_their_job() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut files = Vec::new();
        rust_files(root, &mut files);
        assert!(files.len() > 50);
        let mut wrong = Vec::new();
        for path in files.iter().filter(|path| !path.to_string_lossy().contains("/tests/") && !path.ends_with("tests.rs")) {
            let text = std::fs::read_to_string(path).unwrap();
            let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
            if lines > MAX_LINES {
                wrong.push(format!("{} has {lines} lines", path.display()));
            }
            if !text.starts_with("//!") {
                wrong.push(format!("{} does not say its job in its first line", path.display()));
            }
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            if ["util", "utils", "common", "helpers", "core", "types"].contains(&stem.as_str()) {
                wrong.push(format!("{}: a thing with no home has no name yet", path.display()));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
