//! Each feature of a library builds alone, and none at all builds, without warnings.

use crate::{Outcome, cargo, run as run_command};
use serde_json::Value;
use std::process::Command;

pub(crate) fn run() -> Outcome {
    let output = Command::new(cargo()).args(["metadata", "--no-deps", "--format-version", "1"]).output().map_err(|error| error.to_string())?;
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))?;
    let libraries = metadata["packages"].as_array().into_iter().flatten().filter(|package| {
        let path = package["manifest_path"].as_str().unwrap_or_default();
        path.split('/').rev().nth(2) == Some("libs")
    });
    let mut seen = 0;
    for package in libraries {
        let name = package["name"].as_str().unwrap_or_default();
        let features = package["features"].as_object().into_iter().flatten().map(|(feature, _)| feature.as_str());
        for feature in [""].into_iter().chain(features.filter(|feature| *feature != "default")) {
            let mut command = Command::new(cargo());
            command.args(["clippy", "--quiet", "--package", name, "--no-default-features", "--features", feature, "--", "--deny", "warnings"]);
            run_command(&mut command)?;
            seen += 1;
        }
    }
    if seen == 0 { Err("no library was found under libs/".to_owned()) } else { Ok(()) }
}
