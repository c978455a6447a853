//! The supply chain: the allowed dependencies.

use crate::{Outcome, cargo, run};
use std::process::Command;

/// Bans, licences and sources by `deny.toml`, with cargo-deny installed when it is missing.
pub(crate) fn deny() -> Outcome {
    let there = Command::new(cargo()).args(["deny", "--version"]).output().is_ok_and(|output| output.status.success());
    if !there {
        run(Command::new(cargo()).args(["install", "--locked", "cargo-deny"]))?;
    }
    // Dependencies of other systems are checked, too, so they must be fetched.
    run(Command::new(cargo()).args(["fetch", "--locked"]))?;
    run(Command::new(cargo()).args(["deny", "--offline", "check", "bans", "licenses", "sources"]))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use std::process::Command;

    const BANNED: &[&str] = &["openssl-sys", "native-tls", "ring", "bindgen", "prost-build"];
    const LICENCES: &[&str] = &[
        "MIT",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "Unicode-3.0",
        "Zlib",
        "CC0-1.0",
        "Unlicense",
        "BSL-1.0",
        "0BSD",
        "OpenSSL",
        "MIT-0",
        "CDLA-Permissive-2.0",
    ];

    /// The part of the supply-chain check that needs no tool: it runs with the tests on a bare machine.
    #[test]
    fn nothing_banned_or_of_unknown_licence_is_depended_on() {
        let output = Command::new(crate::cargo())
            .args(["metadata", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"])
            .output()
            .unwrap();
        let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
        // What is really built: the metadata also lists optional dependencies that are off.
        let tree = Command::new(crate::cargo())
            .args(["tree", "--workspace", "--locked", "--edges", "all", "--prefix", "none", "--format", "{p}"])
            .output()
            .unwrap();
        let built: std::collections::HashSet<String> = String::from_utf8(tree.stdout)
            .unwrap()
            .lines()
            .filter_map(|line| line.split_once(" v").map(|(name, version)| format!("{name} {}", version.split(' ').next().unwrap())))
            .collect();
        assert!(built.len() > 100);
        for package in metadata["packages"].as_array().unwrap() {
            let name = package["name"].as_str().unwrap();
            if !built.contains(&format!("{name} {}", package["version"].as_str().unwrap())) {
                continue;
            }
            assert!(!BANNED.contains(&name), "{name} is banned");
            let from_registry = package["source"].as_str().is_none_or(|source| source.starts_with("registry+"));
            assert!(from_registry, "{name} does not come from the registry");
            let licence = package["license"].as_str().unwrap_or("");
            let acceptable = licence.replace('/', " OR ").split(" OR ").any(|choice| {
                choice
                    .trim_matches(['(', ')', ' '])
                    .split(" AND ")
                    .all(|part| LICENCES.contains(&part.trim_matches(['(', ')', ' ']).split(" WITH ").next().unwrap()))
            });
            assert!(acceptable, "{name} has the licence {licence:?}");
        }
    }
}
