//! The same beside PostgreSQL: CPU of the server and of the database together, and reads by id beside callers of slow scans.

use super::{
    load::{Load, Measured},
    servers::{Haechi, Process, Server},
};
use crate::{Outcome, services::Postgres};
use std::{path::PathBuf, time::Duration};

/// A server, and the database that works for it.
struct WithDatabase<'a> {
    server: &'a dyn Server,
    database: u32,
}

impl Server for WithDatabase<'_> {
    fn address(&self) -> &str {
        self.server.address()
    }
    fn pid(&self) -> u32 {
        self.server.pid()
    }
    fn cpu_ticks(&self) -> u64 {
        self.server.cpu_ticks() + of_database(self.database)
    }
}

/// User and system time of the database's processes, those that have ended as well, in ticks.
fn of_database(pid: u32) -> u64 {
    let fields = |path: PathBuf| -> Vec<u64> {
        let stat = std::fs::read_to_string(path).unwrap_or_default();
        stat.rsplit(") ").next().unwrap_or_default().split(' ').map(|field| field.parse().unwrap_or_default()).collect()
    };
    let sum = |fields: &[u64], places: std::ops::Range<usize>| fields.get(places).unwrap_or_default().iter().sum::<u64>();
    // Its own time, and that of children that it has waited for.
    let own = sum(&fields(format!("/proc/{pid}/stat").into()), 11..15);
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| fields(entry.path().join("stat")));
    own + processes.filter(|fields| fields.get(1) == Some(&u64::from(pid))).map(|fields| sum(&fields, 11..13)).sum::<u64>()
}

/// What is measured, and what it may take beside the reference.
const SCENARIOS: [(&str, f64); 3] = [("get", 1.5), ("list", 1.5), ("create", 2.5)];
/// A read by id beside slow scans: its p99 at most, milliseconds.
const BESIDE_SLOW: f64 = 40.0;

pub(super) fn run(binary: PathBuf, rounds: u64, time: Duration) -> Outcome {
    let postgres = Postgres::start()?;
    let database = postgres.pid()?;
    let haechi = Haechi::start_on(binary, false, Some(&format!("{}?sslmode=disable", postgres.url())))?;
    // Seeds have one time of creation; a list is in the order of that.
    let apart = "UPDATE notes SET create_time = create_time + n.at FROM (SELECT id, row_number() OVER (ORDER BY id) AS at FROM notes) n WHERE notes.id = n.id";
    postgres.run_sql(apart)?;
    postgres.run_sql("VACUUM ANALYZE notes")?;
    let raw = Process::raw_on_postgres(&postgres.url())?;
    let (ours, theirs) = (WithDatabase { server: &haechi, database }, WithDatabase { server: &raw, database });
    let load = Load::new(&haechi)?;
    println!(
        "{:<22} {:>10} {:>9} {:>9} {:>9}   {:>10} {:>9}   {:>6} {:>6}",
        "64 connections", "haechi/s", "p50 ms", "p99 ms", "CPU µs", "raw/s", "CPU µs", "ratio", "most"
    );
    let mut above = Vec::new();
    for (name, most) in SCENARIOS {
        let (mut one, mut other): (Vec<Measured>, Vec<Measured>) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            one.push(load.measure(name, &ours, time)?);
            other.push(load.measure(name, &theirs, time)?);
        }
        let (one, other) = (Measured::median(one), Measured::median(other));
        let ratio = one.cpu_us / other.cpu_us;
        println!(
            "{name:<22} {:>10.0} {:>9.2} {:>9.2} {:>9.1}   {:>10.0} {:>9.1}   {ratio:>6.2} {most:>6.2}",
            one.rate, one.p50_ms, one.p99_ms, one.cpu_us, other.rate, other.cpu_us
        );
        if ratio > most {
            above.push(format!("{name} {ratio:.2}"));
        }
    }
    let beside = load.measure("get-beside-scans", &ours, time * 2)?;
    println!(
        "{:<22} {:>10.0} {:>9.2} {:>9.2}   8 callers scan without pause; p99 at most {BESIDE_SLOW} ms",
        "get-beside-scans", beside.rate, beside.p50_ms, beside.p99_ms
    );
    if beside.p99_ms > BESIDE_SLOW {
        above.push(format!("get-beside-scans {:.1} ms", beside.p99_ms));
    }
    println!("(CPU of the server and of PostgreSQL together, per request)");
    if above.is_empty() { Ok(()) } else { Err(format!("above the bound: {}", above.join(", "))) }
}
