//! Looks at generated clients with tools from outside, and lets other generators work over the served description.
//!
//! They need Node, Python and their registries, so they are a separate task; that the clients do what they say is tested without it
//! (`generated.rs` of the integration tests).

use crate::{
    Outcome, cargo,
    npm::{self, tool},
    run,
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

const PYTHON_TOOLS: [&str; 3] = ["openapi-python-client==0.26.2", "ruff==0.13.3", "httpx==0.28.1"];
/// Scripts that use the clients of the template `team`.
const USES: &str = "crates/haechi/tests/clients";
/// What the client may weigh, minified and compressed.
const MOST_BYTES: usize = 8 * 1024;

pub(crate) fn look() -> Outcome {
    let work = npm::prepare("clients", &[])?;
    let python = work.join("python");
    if !python.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&python))?;
    }
    run(Command::new(python.join("bin/pip")).args(["install", "--quiet"]).args(PYTHON_TOOLS))?;
    run(Command::new(cargo()).args(["build", "--package", "haechi", "--bin", "haechi"]))?;
    for (name, folder) in [("team", "crates/haechi/templates/team"), ("clinic", "examples/clinic"), ("types", "crates/haechi/tests/folders/types")] {
        let out = work.join(name);
        let _ = std::fs::remove_dir_all(&out);
        std::fs::create_dir_all(&out).map_err(|error| error.to_string())?;
        own(&work, &out, folder)?;
        if name == "team" {
            uses(&work, &out)?;
        }
        others(&work, &out, folder)?;
        println!("{name}: nothing was found");
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Outcome {
    std::fs::write(path, text).map_err(|error| format!("{} cannot be written: {error}", path.display()))
}

/// Our own clients: strictly typed, and small.
fn own(work: &Path, out: &Path, folder: &str) -> Outcome {
    for language in ["typescript", "python"] {
        run(Command::new("target/debug/haechi").args(["generate", language, "-C", folder, "--out"]).arg(out))?;
    }
    write(&out.join("pyrightconfig.json"), r#"{"typeCheckingMode":"strict","pythonVersion":"3.11","include":["haechi_client.py"]}"#)?;
    let python = work.join("python/bin/python");
    run(tool(work, "pyright").arg("-p").arg(out).arg("--pythonpath").arg(&python))?;
    run(tool(work, "tsc")
        .args(["--strict", "--noEmit", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom"])
        .arg(out.join("client.d.ts")))?;
    let small = out.join("client.min.js");
    run(tool(work, "esbuild")
        .args(["--minify", "--format=esm", "--log-level=warning"])
        .arg(out.join("client.js"))
        .arg(format!("--outfile={}", small.display())))?;
    let packed = Command::new("gzip").args(["--best", "--stdout"]).arg(&small).output().map_err(|error| error.to_string())?;
    println!("client.js: {} bytes, minified and compressed", packed.stdout.len());
    if packed.stdout.len() > MOST_BYTES { Err(format!("that is more than {MOST_BYTES}")) } else { Ok(()) }
}

/// What is wrong in the use of a client is found by its types, at the lines that say so and nowhere else.
fn uses(work: &Path, out: &Path) -> Outcome {
    let text = std::fs::read_to_string(Path::new(USES).join("types_of_team.py")).map_err(|error| error.to_string())?;
    write(&out.join("types_of_team.py"), &text)?;
    write(&out.join("pyrightconfig.json"), r#"{"typeCheckingMode":"strict","pythonVersion":"3.11","include":["types_of_team.py"]}"#)?;
    let expected: BTreeSet<usize> = text.lines().enumerate().filter(|(_, line)| line.contains("# expect error")).map(|(at, _)| at + 1).collect();
    let mut pyright = tool(work, "pyright");
    let checked = pyright.arg("-p").arg(out).arg("--pythonpath").arg(work.join("python/bin/python")).output().map_err(|error| error.to_string())?;
    let told = String::from_utf8_lossy(&checked.stdout).into_owned();
    let line = |line: &str| line.split_once("types_of_team.py:").filter(|_| line.contains(" - error: "))?.1.split(':').next()?.parse().ok();
    let found: BTreeSet<usize> = told.lines().filter_map(line).collect();
    if found == expected { Ok(()) } else { Err(format!("errors are expected at {expected:?}:\n{told}")) }
}

/// Generators of others over the description.
fn others(work: &Path, out: &Path, folder: &str) -> Outcome {
    let described = Command::new("target/debug/haechi").args(["generate", "openapi", "-C", folder]).output().map_err(|error| error.to_string())?;
    let openapi: PathBuf = out.join("openapi.json");
    std::fs::write(&openapi, described.stdout).map_err(|error| error.to_string())?;
    let typed = out.join("openapi.ts");
    run(tool(work, "openapi-typescript").arg(&openapi).arg("--output").arg(&typed))?;
    run(tool(work, "tsc").args(["--strict", "--noEmit"]).arg(&typed))?;
    // The clinic has the words `O+` and `O-`, for which this generator makes one name.
    if folder.ends_with("clinic") {
        return Ok(());
    }
    let path = format!("{}:{}", work.join("python/bin").display(), std::env::var("PATH").unwrap_or_default());
    let mut generator = Command::new(work.join("python/bin/openapi-python-client"));
    generator
        .args(["generate", "--meta", "none", "--fail-on-warning", "--path"])
        .arg(&openapi)
        .arg("--output-path")
        .arg(out.join("other"))
        .env("PATH", path);
    run(&mut generator)?;
    run(Command::new(work.join("python/bin/python")).args(["-m", "compileall", "-q"]).arg(out.join("other")))
}
