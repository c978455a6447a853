//! Tools from npm, in a folder of their own below `target`, with the versions that stand in a folder of `xtask`.

use crate::run;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Puts the files of `xtask/NAME` into `target/NAME`, and beside them the packages that they name.
pub(crate) fn prepare(name: &str, more: &[&str]) -> Result<PathBuf, String> {
    let configured = Path::new("xtask").join(name);
    let work = std::env::current_dir().map_err(|error| error.to_string())?.join("target").join(name);
    std::fs::create_dir_all(&work).map_err(|error| format!("{} cannot be made: {error}", work.display()))?;
    for file in ["package.json", "package-lock.json"].iter().chain(more) {
        std::fs::copy(configured.join(file), work.join(file)).map_err(|error| format!("{file} cannot be copied: {error}"))?;
    }
    if Command::new("npm").arg("--version").output().is_err() {
        return Err("npm is not on the path: install Node.js (Debian: apt install nodejs npm)".to_owned());
    }
    run(Command::new("npm").args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&work))?;
    Ok(work)
}

/// One of the programs of its packages.
pub(crate) fn tool(work: &Path, program: &str) -> Command {
    Command::new(work.join("node_modules/.bin").join(program))
}
