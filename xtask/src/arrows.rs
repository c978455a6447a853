//! Compares the table of allowed dependencies between crates with `cargo metadata`.

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use std::process::Command;

    /// The crates of this workspace that each crate may depend on. All other dependencies are forbidden.
    const ALLOWED: &[(&str, &[&str])] = &[
        ("haechi-problem", &[]),
        ("haechi-layers", &[]),
        ("haechi-ledger", &[]),
        ("haechi-egress", &[]),
        ("haechi-model", &[]),
        ("haechi-store", &["haechi-model"]),
        ("haechi-policy", &["haechi-model"]),
        ("haechi-gate", &["haechi-model", "haechi-policy", "haechi-store", "haechi-ledger", "haechi-egress"]),
        ("haechi-jobs", &["haechi-egress", "haechi-gate", "haechi-model"]),
        ("haechi-data", &["haechi-jobs", "haechi-gate", "haechi-model", "haechi-problem"]),
        ("haechi-identity", &["haechi-gate", "haechi-model", "haechi-problem"]),
        ("haechi-graphql", &["haechi-data", "haechi-gate", "haechi-model", "haechi-problem"]),
        ("haechi-clients", &["haechi-model", "haechi-problem"]),
        ("haechi-grpc", &["haechi-data", "haechi-gate", "haechi-model", "haechi-problem"]),
        (
            "haechi",
            &[
                "haechi-layers",
                "haechi-clients",
                "haechi-data",
                "haechi-graphql",
                "haechi-grpc",
                "haechi-identity",
                "haechi-jobs",
                "haechi-gate",
                "haechi-model",
                "haechi-policy",
                "haechi-store",
                "haechi-ledger",
                "haechi-egress",
                "haechi-problem",
            ],
        ),
        ("haechi-testkit", &["haechi", "haechi-layers", "haechi-gate", "haechi-jobs", "haechi-model", "haechi-problem"]),
        ("example-embedded", &["haechi"]),
        ("xtask", &[]),
        ("bench-raw", &[]),
    ];

    /// Outside crates that only one of our crates may use.
    const ALONE: &[(&str, &str)] = &[
        ("cedar-policy", "haechi-policy"),
        ("rusqlite", "haechi-store bench-raw"),
        ("tokio-postgres", "haechi-store haechi-testkit bench-raw"),
        ("deadpool-postgres", "haechi-store"),
    ];

    #[test]
    fn crates_import_only_what_the_table_allows() {
        let output = Command::new(crate::cargo()).args(["metadata", "--no-deps", "--format-version", "1"]).output().unwrap();
        let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
        let packages = metadata["packages"].as_array().unwrap();
        let mut seen = 0;
        for package in packages {
            let name = package["name"].as_str().unwrap();
            let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == name) else { panic!("{name} is not in the table of arrows") };
            seen += 1;
            for dependency in package["dependencies"].as_array().unwrap() {
                let (to, kind) = (dependency["name"].as_str().unwrap(), dependency["kind"].as_str());
                let ours = ALLOWED.iter().any(|(known, _)| *known == to);
                if ours && kind != Some("dev") {
                    assert!(allowed.contains(&to), "{name} must not import {to}");
                }
                if let Some((_, only)) = ALONE.iter().find(|(known, _)| *known == to) {
                    assert!(kind == Some("dev") || only.split(' ').any(|only| only == name), "only {only} may name {to}, not {name}");
                }
            }
        }
        assert_eq!(seen, ALLOWED.len(), "the table names a crate that there is not");
    }
}
