//! The benchmark: Haechi beside the hand-written reference, interleaved, by server CPU per request.

pub(crate) mod client;
mod data;
mod fan_out;
pub(crate) mod load;
mod postgres;
pub(crate) mod servers;
mod site;
mod tables;
mod work;

use crate::{Outcome, cargo, run as run_command};
use load::{Load, Measured};
use servers::{Haechi, Process, Server};
use std::{process::Command, time::Duration};

/// What is measured: a name, and whether the reference has it too.
const SCENARIOS: &[(&str, &str)] = &[
    ("get", "get"),
    ("list", "list"),
    ("create", "create"),
    ("mixed", "mixed"),
    ("graphql-get", ""),
    ("graphql-list", ""),
    ("grpc-get", ""),
    ("refused", "get"),
    ("get-pii", "get"),
    ("get-other-credential", ""),
    ("sign-in", "hash"),
    ("get-beside-sign-ins", ""),
];

/// The cost of the layers: the same house without them, interleaved. Only this task makes that build.
fn layers(haechi: &Haechi, rounds: u64, time: Duration) -> Outcome {
    let mut build = Command::new(cargo());
    build.args(["build", "--release", "--package", "haechi", "--target-dir", "target/lab"]).env("RUSTFLAGS", "--cfg haechi_unsafe_lab");
    run_command(&mut build)?;
    let binary = "target/lab/release/haechi";
    if !crate::has_lab(binary)? {
        return Err(format!("{binary} does not carry the mark that the tests look for"));
    }
    crate::no_lab("target/release/haechi")?;
    let bare = haechi.without_layers(binary)?;
    println!("{:<10} {:>12} {:>12} {:>8}", "CPU µs", "with layers", "without", "ratio");
    side_by_side(&["get", "list", "create"], haechi, &bare, rounds, time)
}

/// Two builds, each with a folder of its own, interleaved.
fn side_by_side(names: &[&str], haechi: &Haechi, other: &Haechi, rounds: u64, time: Duration) -> Outcome {
    let (load, other_load) = (Load::new(haechi)?, Load::new(other)?);
    for name in names {
        let (mut ours, mut theirs): (Vec<Measured>, Vec<Measured>) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(load.measure(name, haechi, time)?);
            theirs.push(other_load.measure(name, other, time)?);
        }
        let (ours, theirs) = (Measured::median(ours).cpu_us, Measured::median(theirs).cpu_us);
        println!("{name:<10} {ours:>12.1} {theirs:>12.1} {:>8.2}", ours / theirs);
    }
    Ok(())
}

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let option = |name: &str, default: u64| {
        arguments.iter().position(|found| found == name).and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    let asked = |name: &str| arguments.iter().any(|found| found == name);
    if asked("--tables") {
        return tables::run();
    }
    if asked("--data") {
        return data::run();
    }
    if asked("--work") {
        return work::run();
    }
    crate::services::program("kill", "procps")?;
    let (rounds, seconds) = (option("--rounds", 3), option("--seconds", 2));
    run_command(Command::new(cargo()).args(["build", "--release", "--package", "haechi", "--package", "bench-raw"]))?;
    if asked("--site") {
        return site::run(rounds, Duration::from_secs(seconds));
    }
    let given = |name: &str| arguments.iter().position(|found| found == name).and_then(|at| arguments.get(at + 1));
    let only = given("--only");
    if asked("--postgres") {
        return postgres::run(servers::built("haechi"), rounds, Duration::from_secs(seconds));
    }
    let live = asked("--live");
    let haechi = Haechi::start(servers::built("haechi"), live)?;
    println!("start to first answer: {} ms with {} rows; idle memory {} MB", haechi.started_ms, servers::ROWS, haechi.idle_mb);
    if asked("--layers") {
        return layers(&haechi, rounds, Duration::from_secs(seconds));
    }
    if live {
        return fan_out::run(&haechi);
    }
    if let Some(binary) = given("--against") {
        let other = Haechi::start(binary.into(), false)?;
        println!("{:<10} {:>12} {:>12} {:>8}", "CPU µs", "this build", "the other", "ratio");
        let names: Vec<&str> = only.map_or_else(|| vec!["get", "list", "create", "mixed"], |only| only.split(',').collect());
        return side_by_side(&names, &haechi, &other, rounds, Duration::from_secs(seconds));
    }
    let raw = Process::raw(&haechi)?;
    beside_raw(&haechi, &raw, only, rounds, Duration::from_secs(seconds))
}

/// All scenarios, beside the reference where it has them.
fn beside_raw(haechi: &Haechi, raw: &Process, only: Option<&String>, rounds: u64, time: Duration) -> Outcome {
    let load = Load::new(haechi)?;
    println!(
        "{:<22} {:>10} {:>9} {:>9} {:>9}   {:>10} {:>9}   {:>6}",
        "64 connections", "haechi/s", "p50 ms", "p99 ms", "CPU µs", "raw/s", "CPU µs", "ratio"
    );
    // The cost of REST, for the scenarios that are compared with it.
    let (mut get, mut list) = (None, None);
    let wanted = |name: &str| only.is_none_or(|only| only.split(',').any(|one| one == name));
    for (name, reference) in SCENARIOS.iter().filter(|(name, _)| wanted(name)) {
        let (mut ours, mut theirs): (Vec<Measured>, Vec<Measured>) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(load.measure(name, haechi, time)?);
            if !reference.is_empty() {
                theirs.push(load.measure(reference, raw, time)?);
            }
        }
        let ours = Measured::median(ours);
        match *name {
            "get" => get = Some(ours.cpu_us),
            "list" => list = Some(ours.cpu_us),
            _ => {}
        }
        let (raw_rate, raw_cpu) = if theirs.is_empty() {
            (0.0, if *name == "graphql-list" { list } else { get }.unwrap_or(f64::NAN))
        } else {
            let theirs = Measured::median(theirs);
            (theirs.rate, theirs.cpu_us)
        };
        println!(
            "{name:<22} {:>10.0} {:>9.2} {:>9.2} {:>9.1}   {raw_rate:>10.0} {raw_cpu:>9.1}   {:>6.2}",
            ours.rate,
            ours.p50_ms,
            ours.p99_ms,
            ours.cpu_us,
            ours.cpu_us / raw_cpu
        );
    }
    println!("memory after the load {} MB", haechi.memory_mb());
    println!(
        "(ratio: server CPU per request; graphql-…, grpc-… and get-other-credential are beside REST's get or list, sign-in beside Argon2id alone; of get-beside-sign-ins the p99 counts, beside that of get)"
    );
    Ok(())
}
