//! Runs outside linters over the doors' descriptions: OpenAPI and protobuf of the clinic, and of a folder with every type.
//!
//! They need Node, so they are a separate task; a test also checks their demands (`descriptions.rs` of the integration tests).

use crate::{Outcome, cargo, npm, run};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

pub(crate) fn lint() -> Outcome {
    let work = npm::prepare("descriptions", &["spectral.yaml", "buf.yaml", "redocly.yaml"])?;
    run(Command::new(cargo()).args(["build", "--package", "haechi", "--bin", "haechi"]))?;
    for (name, folder) in [("clinic", "examples/clinic"), ("types", "crates/haechi/tests/folders/types")] {
        let openapi = generated(folder, "openapi", &work.join(format!("{name}.json")))?;
        let tool = |program: &str| npm::tool(&work, program);
        run(tool("spectral")
            .args(["lint", "--fail-severity", "hint", "--ruleset", "spectral.yaml"])
            .arg(openapi.file_name().unwrap_or_default())
            .current_dir(&work))?;
        run(tool("redocly")
            .args(["lint", "--max-problems", "20"])
            .arg(openapi.file_name().unwrap_or_default())
            .current_dir(&work)
            .env("REDOCLY_TELEMETRY", "off"))?;
        // A package stands in folders of its name.
        let module = work.join(format!("proto-{name}"));
        std::fs::create_dir_all(module.join("haechi/v1")).map_err(|error| error.to_string())?;
        std::fs::copy(work.join("buf.yaml"), module.join("buf.yaml")).map_err(|error| error.to_string())?;
        generated(folder, "proto", &module.join("haechi/v1/app.proto"))?;
        run(tool("buf").args(["lint"]).current_dir(&module))?;
        println!("{name}: spectral, redocly and buf have nothing to say");
    }
    Ok(())
}

/// What `haechi generate` prints, in a file.
fn generated(folder: &str, what: &str, file: &Path) -> Result<PathBuf, String> {
    let output = Command::new("target/debug/haechi").args(["generate", what, "-C", folder]).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("haechi generate {what} of {folder}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    std::fs::write(file, output.stdout).map_err(|error| format!("{} cannot be written: {error}", file.display()))?;
    Ok(file.to_owned())
}
