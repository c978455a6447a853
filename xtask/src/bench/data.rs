//! Questions, and data in and out, over 100 000 tasks: times of one caller, an import beside writers, an export of a million rows.

use super::{
    client,
    servers::{self, Served, Server},
};
use crate::{Outcome, run as run_command, services::Postgres};
use std::{
    fmt::Write as _,
    io::{Read, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

const TASKS: usize = 100_000;
const PROJECTS: usize = 1_000;
/// Rows of the export.
const EXPORTED: usize = 1_000_000;
/// Callers that write beside an import.
const WRITERS: usize = 32;
/// How often each question is asked.
const TIMES: usize = 200;

const PROJECT: &str = "[fields]\nname = { type = \"text\", unique = true }\n";
const TASK: &str = "[fields]\ncode = { type = \"text\", unique = true }\ntitle = { type = \"text\" }\n\
    state = { type = \"enum\", values = [\"open\", \"doing\", \"done\"], required = true, default = \"open\" }\n\
    project = { type = \"ref\", to = \"projects\" }\nhours = { type = \"int\" }\n[[indexes]]\nfields = [\"state\"]\n";
const POLICY: &str = "permit (principal in Role::\"member\", action in [Action::\"list\", Action::\"read\", Action::\"create\", Action::\"update\", \
    Action::\"delete\", Action::\"export\"], resource);\n";
const CONFIG: &str = "roles = [\"member\"]\n[limits]\ncaller_per_minute = 10_000_000\n";

fn project(at: usize) -> String {
    format!("0192dddd-0000-7000-8000-{at:012x}")
}

fn tasks(prefix: &str, count: usize) -> String {
    (0..count).fold("code,title,state,project,hours\n".to_owned(), |mut text, at| {
        let state = if at % 10 == 0 { "done" } else { "open" };
        let _ = writeln!(text, "{prefix}-{at},Task number {at} of the great list,{state},{},{}", project(at % PROJECTS), at % 40);
        text
    })
}

fn write_app(folder: &Path, database: &str) -> Result<(), String> {
    let write = |path: &str, text: &str| servers::put(folder, path, text);
    write("haechi.toml", &format!("{CONFIG}{database}"))?;
    write("collections/projects.toml", PROJECT)?;
    write("collections/tasks.toml", TASK)?;
    write("policies/main.cedar", POLICY)?;
    write("seed/users.csv", "email,roles\nkim@example.test,\"[\"\"member\"\"]\"\n")?;
    write("seed/projects.csv", &(0..PROJECTS).fold("id,name\n".to_owned(), |text, at| text + &format!("{},P{at}\n", project(at))))?;
    write("tasks.csv", &tasks("C", TASKS))?;
    write("more.csv", &tasks("D", TASKS))?;
    write("many.csv", &tasks("E", EXPORTED - 2 * TASKS))
}

/// Haechi over the tasks.
struct House {
    served: Served,
    token: String,
}

impl House {
    fn start(name: &str, database: &str) -> Result<Self, String> {
        let served = Served::start(&format!("data-{name}"), |folder| write_app(folder, database))?;
        let token = served.command(&["token", "kim"])?.trim().to_owned();
        Ok(Self { served, token })
    }

    /// How long an import takes, in seconds.
    fn import(&self, file: &str) -> Result<f64, String> {
        let begun = Instant::now();
        let file = self.served.folder.join(file).display().to_string();
        self.served.command(&["import", "tasks", &file])?;
        Ok(begun.elapsed().as_secs_f64())
    }

    fn get(&self, path: &str) -> Vec<u8> {
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n", self.token).into_bytes()
    }

    /// The median time of a request, in milliseconds.
    fn median(&self, request: impl Fn(usize) -> Vec<u8>) -> Result<f64, String> {
        let mut stream = TcpStream::connect(self.served.address()).map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let mut buffer = vec![0; 256 * 1024];
        let mut times = Vec::with_capacity(TIMES);
        for at in 0..TIMES {
            let (request, begun) = (request(at), Instant::now());
            stream.write_all(&request).map_err(|error| error.to_string())?;
            let status = client::reply(&mut stream, &mut buffer).map_err(|error| error.to_string())?;
            if !(200..300).contains(&status) {
                return Err(String::from_utf8_lossy(&buffer).trim_end_matches('\0').to_owned());
            }
            times.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
        times.sort_by(f64::total_cmp);
        Ok(times[TIMES / 2])
    }
}

pub(super) fn run() -> Outcome {
    run_command(Command::new(crate::cargo()).args(["build", "--release", "--package", "haechi"]))?;
    measure("SQLite", "", 15.0)?;
    let postgres = Postgres::start()?;
    measure("PostgreSQL", &format!("[database]\nurl = \"{}\"\n", postgres.url()), 40.0)
}

/// `count_ms`: what a count by an index may take.
fn measure(name: &str, database: &str, count_ms: f64) -> Outcome {
    let house = House::start(name, database)?;
    let alone = house.import("tasks.csv")?;
    println!("{name}: {TASKS} tasks; milliseconds of one caller, the median of {TIMES}");
    questions(&house, count_ms)?;
    beside_writers(&house, alone)?;
    house.import("many.csv")?;
    for format in ["csv", "jsonl"] {
        export(&house, format)?;
    }
    Ok(())
}

fn questions(house: &House, count_ms: f64) -> Outcome {
    let list = house.median(|_| house.get("/api/v1/tasks?page_size=20"))?;
    let by_id = house.median(|at| house.get(&format!("/api/v1/tasks?page_size=20&project={}", project(at % PROJECTS))))?;
    let through = house.median(|at| house.get(&format!("/api/v1/tasks?page_size=20&filter=project.name%3D%22P{}%22", at % PROJECTS)))?;
    let all = house.median(|_| house.get("/api/v1/tasks?page_size=1&count=true"))?;
    let by_index = house.median(|_| house.get("/api/v1/tasks?page_size=1&count=true&state=open"))?;
    let groups = house.median(|_| house.get("/api/v1/tasks:aggregate?group_by=state&sum=hours"))?;
    let task = |code: String, title: &str| format!("{{\"code\":\"{code}\",\"title\":\"{title}\",\"project\":\"{}\"}}", project(1));
    let create = house.median(|at| client::post("/api/v1/tasks", &house.token, &task(format!("N-{at}"), "new")))?;
    let upsert = |prefix: &'static str, title: &'static str| {
        house.median(move |at| {
            let body = format!("{{\"on\":[\"code\"],\"data\":{}}}", task(format!("{prefix}-{at}"), title));
            client::post("/api/v1/tasks:upsert", &house.token, &body)
        })
    };
    let (made, changed) = (upsert("U", "new")?, upsert("C", "changed")?);
    println!("list {list:.2}; of one project by id {by_id:.2}, by its name {through:.2}: {:.2}× (2 at most)", through / by_id);
    println!("list with count of all {all:.2}, by index {by_index:.2} ({count_ms} at most); sums by state {groups:.2}");
    println!(
        "create {create:.2}; upsert that creates {made:.2}: {:.2}×, that changes {changed:.2}: {:.2}× (1.6 at most)",
        made / create,
        changed / create
    );
    Ok(())
}

/// What a writer met: the times of answers in milliseconds, and how many were told to wait.
type Met = (Vec<f64>, usize);

fn beside_writers(house: &House, alone: f64) -> Outcome {
    let ends = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| {
            let (ends, address, token) = (ends.clone(), house.served.address().to_owned(), house.token.clone());
            std::thread::spawn(move || writes(&address, &token, number, &ends))
        })
        .collect();
    std::thread::sleep(Duration::from_secs(1));
    let beside = house.import("more.csv");
    ends.store(true, Ordering::Relaxed);
    let (mut times, mut waits) = (Vec::new(), 0);
    for writer in writers {
        let (met, told) = writer.join().map_err(|_| "a writer failed".to_owned())??;
        times.extend(met);
        waits += told;
    }
    let beside = beside?;
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "import of {TASKS} rows: alone {alone:.1} s, beside {WRITERS} writers {beside:.1} s: {:.1}× (3 at most); the writers: {} answers, p50 {:.1}, p99 {:.0}, longest {:.0} ms (2000 at most), {waits} told to wait",
        beside / alone,
        times.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    Ok(())
}

fn writes(address: &str, token: &str, number: usize, ends: &AtomicBool) -> Result<Met, String> {
    let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let (mut buffer, mut times, mut waits) = (vec![0; 64 * 1024], Vec::new(), 0);
    while !ends.load(Ordering::Relaxed) {
        let body = format!("{{\"code\":\"W-{number}-{}\",\"title\":\"beside\"}}", times.len());
        let (request, begun) = (client::post("/api/v1/tasks", token, &body), Instant::now());
        stream.write_all(&request).map_err(|error| error.to_string())?;
        let status = client::reply(&mut stream, &mut buffer).map_err(|error| error.to_string())?;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
        match status {
            201 => {}
            503 => waits += 1,
            other => return Err(format!("{other}: {}", String::from_utf8_lossy(&buffer).trim_end_matches('\0'))),
        }
    }
    Ok((times, waits))
}

fn export(house: &House, format: &str) -> Outcome {
    let before = house.served.memory_mb();
    let mut most = before;
    let mut stream = TcpStream::connect(house.served.address()).map_err(|error| error.to_string())?;
    let begun = Instant::now();
    stream.write_all(&house.get(&format!("/api/v1/tasks:export?format={format}"))).map_err(|error| error.to_string())?;
    let (mut buffer, mut bytes, mut tail) = (vec![0; 256 * 1024], 0usize, Vec::new());
    while !tail.ends_with(b"\r\n0\r\n\r\n") {
        let count = stream.read(&mut buffer).map_err(|error| error.to_string())?;
        if count == 0 {
            return Err("the export broke off".to_owned());
        }
        if bytes / 10_000_000 < (bytes + count) / 10_000_000 {
            most = most.max(house.served.memory_mb());
        }
        bytes += count;
        tail.extend_from_slice(&buffer[..count]);
        tail.drain(..tail.len().saturating_sub(16));
    }
    let seconds = begun.elapsed().as_secs_f64();
    let megabytes = bytes as f64 / 1e6;
    println!(
        "export of some {EXPORTED} rows as {format}: {megabytes:.0} MB in {seconds:.1} s: {:.0} MB/s (CSV: 50 at least); memory {before} MB before, {most} MB at most",
        megabytes / seconds
    );
    Ok(())
}
