//! Every task of the project: `cargo xtask TASK`.

mod arrows;
mod bench;
mod circles;
mod clients;
mod descriptions;
mod endure;
mod features;
mod fresh;
mod limits;
mod named;
mod npm;
mod pages;
mod services;
mod supply;
mod trace;

use std::process::{Command, ExitCode};

const TASKS: &[(&str, &str)] = &[
    ("test", "start what the tests need, then run all of them"),
    ("ci", "format, lints, test, supply chain, documents"),
    ("services", "start PostgreSQL and print its URL; ends with this process"),
    (
        "bench",
        "measure against the hand-written reference; --layers: what the layers cost; --live: streams; --tables: conditions over large tables; --postgres: beside PostgreSQL; --site: pages; --against BINARY: two builds",
    ),
    ("attack", "each attack for a while beside an honest caller; --seconds N, --only PART OF A NAME"),
    ("soak", "a mixed load for 20 minutes, with backups and reloads; --minutes N, --postgres: two nodes"),
    ("features", "each feature of each library alone, without warnings"),
    ("circles", "files of a crate that import each other in a circle, and why those that there are stay"),
    ("trace", "which rows of OWASP ASVS are named by which test; with a test log, by which passing test"),
    ("descriptions", "outside linters over OpenAPI and protobuf: Spectral with its OpenAPI and OWASP rules, Redocly, buf; needs Node"),
    ("clients", "outside tools over the generated clients, and other generators over the description; needs Node and Python"),
    ("pages", "a walk through the pages of the templates in Chromium, with axe and pictures; needs Node"),
    ("fresh", "both commands of the README in a bare Debian; needs root and a Debian mirror (HAECHI_DEBIAN_MIRROR)"),
    ("holes", "build with planted holes, and look whether the tests find them"),
    ("doors", "the long comparison of the doors: two hundred folders by chance"),
    ("properties", "the long property test of the policies (a million cases)"),
];

type Outcome = Result<(), String>;

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    let rest: Vec<String> = std::env::args().skip(2).collect();
    let outcome = match task.as_str() {
        "test" => test(&rest),
        "ci" => ci(),
        "services" => services::run(),
        "bench" => bench::run(&rest),
        "attack" => endure::attack::run(&rest),
        "soak" => endure::soak::run(&rest),
        "trace" => trace::run(&rest),
        "circles" => circles::run(),
        "features" => features::run(),
        "doors" => doors(),
        "clients" => clients::look(),
        "descriptions" => descriptions::lint(),
        "pages" => pages::look(&["team", "shop"]),
        "fresh" => fresh::both_commands(),
        "holes" => holes(),
        "properties" => properties(),
        _ => {
            for (name, what) in TASKS {
                println!("cargo xtask {name:<12} {what}");
            }
            return if task.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("xtask: {what}");
            ExitCode::FAILURE
        }
    }
}

fn test(rest: &[String]) -> Outcome {
    services::tools()?;
    let postgres = services::Postgres::start()?;
    let url = postgres.url();
    // What the tests drive as a process of its own.
    run(Command::new(cargo()).args(["build", "--package", "haechi", "--bin", "haechi"]))?;
    no_lab("target/debug/haechi")?;
    run(Command::new(cargo()).args(["test", "--workspace", "--no-fail-fast"]).args(rest).env("HAECHI_TEST_POSTGRES", url))
}

/// A binary in which controls can be switched off carries this mark (`crates/haechi/src/lab.rs`).
const LAB: &[u8] = b"HAECHI-UNSAFE-LAB";

fn has_lab(binary: &str) -> Result<bool, String> {
    let bytes = std::fs::read(binary).map_err(|error| format!("{binary} cannot be read: {error}"))?;
    Ok(bytes.windows(LAB.len()).any(|part| part == LAB))
}

fn no_lab(binary: &str) -> Outcome {
    if has_lab(binary)? { Err(format!("{binary} is a build in which controls can be switched off")) } else { Ok(()) }
}

/// Checks that the tests for holes find them, on a build with planted holes.
fn holes() -> Outcome {
    let mut command = Command::new(cargo());
    command.args(["test", "--package", "haechi", "--test", "it", "--target-dir", "target/holes", "--", "oracle::planted_holes_are_found", "--exact"]);
    run(command.env("RUSTFLAGS", "--cfg haechi_unsafe_lab"))
}

fn doors() -> Outcome {
    let mut command = Command::new(cargo());
    command.args(["test", "--release", "--package", "haechi", "--test", "it", "--", "any_folder_", "--nocapture"]);
    run(command.env("HAECHI_DOORS_CASES", "200"))
}

fn properties() -> Outcome {
    let postgres = services::Postgres::start()?;
    let mut command = Command::new(cargo());
    command.args(["test", "--release", "--package", "haechi-policy", "--lib", "property::policies_agree", "--", "--exact", "--nocapture"]);
    run(command.env("HAECHI_TEST_POSTGRES", postgres.url()).env("HAECHI_PROPERTY_CASES", "1000000"))
}

fn ci() -> Outcome {
    run(Command::new(cargo()).args(["fmt", "--all", "--check"]))?;
    run(Command::new(cargo()).args(["clippy", "--workspace", "--all-targets", "--all-features", "--", "--deny", "warnings"]))?;
    features::run()?;
    circles::run()?;
    supply::deny()?;
    test(&[])?;
    run(Command::new(cargo()).args(["doc", "--workspace", "--all-features", "--no-deps"]).env("RUSTDOCFLAGS", "--deny warnings"))
}

/// The cargo that runs this.
fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

fn run(command: &mut Command) -> Outcome {
    let status = command.status().map_err(|error| format!("{command:?} cannot be started: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed")) }
}
