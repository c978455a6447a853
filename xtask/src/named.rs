//! Checks that files named in documents exist.

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn documents_name_files_that_there_are() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut seen = 0;
        for document in ["GLOSSARY.md", "docs/where-to-change.md", "docs/adding-a-feature.md"] {
            let text = std::fs::read_to_string(root.join(document)).unwrap();
            for name in text.split('`').skip(1).step_by(2) {
                let path = name.split("::").next().unwrap_or_default();
                let folder = ["haechi/", "haechi-", "libs/", "crates/", "deploy/", "xtask/"].iter().any(|start| path.starts_with(start));
                if !folder
                    || !path.contains("/src") && !path.contains("/tests") && !path.starts_with("deploy/")
                    || path.contains([' ', '…', '*', '{'])
                {
                    continue;
                }
                let below = if path.starts_with("haechi") { root.join("crates").join(path) } else { root.join(path) };
                assert!(below.exists(), "{document} names {path}, which is not there");
                seen += 1;
            }
        }
        assert!(seen > 60, "{seen}");
    }
}
