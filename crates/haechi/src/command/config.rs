//! `haechi config print`: each key's effective value and where it came from.

use super::{Done, Place, words::say};
use clap::Subcommand;
use std::process::ExitCode;

#[derive(Subcommand)]
pub(crate) enum Config {
    /// Print the effective settings.
    Print,
}

impl Config {
    pub(crate) fn run(&self, place: &Place) -> Done {
        let (revision, _) = place.load()?;
        for (key, value, origin) in revision.app.config.effective() {
            if place.json {
                say!("{}", serde_json::json!({ "key": key, "value": value, "origin": origin }))
            } else {
                say!("{key:<31} {value:<40} {origin}")
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
