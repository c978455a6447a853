//! Work: jobs that change one row each, on both databases; the same beside a hundred thousand that are stuck.

use super::{
    client,
    servers::{self, Served, Server},
};
use crate::{Outcome, run as run_command, services::Postgres};
use std::{
    io::Write,
    net::TcpStream,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

const JOBS: usize = 60_000;
const STUCK: usize = 100_000;
const TASKS: usize = 1_000;
/// Connections that enqueue.
const SENDERS: usize = 32;
/// The longest time for all of it.
const AT_MOST: Duration = Duration::from_secs(300);

const CONFIG: &str = "roles = [\"member\"]\n[services.robot]\nroles = [\"member\"]\n[limits]\ncaller_per_minute = 10_000_000\n";
const JOB: &str = "[queues.fast]\nconcurrency = 64\n\
    [jobs.count]\nas = \"service:robot\"\nqueue = \"fast\"\ninput = { task = { type = \"uuid\", required = true }, hours = { type = \"int\" } }\n\
    do = { update = \"tasks\", id = { from = \"/input/task\" }, data = { hours = { from = \"/input/hours\" } } }\n";
const POLICY: &str = "permit (principal in Role::\"member\", action in [Action::\"list\", Action::\"read\", Action::\"update\"], resource);\n\
    permit (principal in Role::\"member\", action == Work::Action::\"enqueue\", resource);\n";

fn task(at: usize) -> String {
    format!("0192dddd-0000-7000-8000-{at:012x}")
}

fn write_app(folder: &Path, database: &str) -> Outcome {
    let write = |path: &str, text: &str| servers::put(folder, path, text);
    write("haechi.toml", &format!("{CONFIG}{database}"))?;
    write("collections/tasks.toml", "[fields]\ntitle = { type = \"text\" }\nhours = { type = \"int\" }\n")?;
    write("jobs/all.toml", JOB)?;
    write("policies/main.cedar", POLICY)?;
    write("seed/users.csv", "email,roles\nkim@example.test,\"[\"\"member\"\"]\"\n")?;
    write("seed/tasks.csv", &(0..TASKS).fold("id,title\n".to_owned(), |text, at| text + &format!("{},Task {at}\n", task(at))))
}

/// Enqueues so many jobs; how many were taken in a second.
fn enqueue(served: &Served, token: &str, count: usize, query: &str) -> Result<f64, String> {
    let begun = Instant::now();
    let sender = |first: usize| -> Outcome {
        let fail = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect(served.address()).map_err(fail)?;
        let mut buffer = vec![0; 64 * 1024];
        for at in (first..count).step_by(SENDERS) {
            let body = format!("{{\"task\":\"{}\",\"hours\":{}}}", task(at % TASKS), at % 40);
            stream.write_all(&client::post(&format!("/jobs/v1/count{query}"), token, &body)).map_err(fail)?;
            let status = client::reply(&mut stream, &mut buffer).map_err(fail)?;
            if status != 202 {
                return Err(format!("a job was answered {status}"));
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS).map(|first| scope.spawn(move || sender(first))).collect();
        senders.into_iter().try_for_each(|sender| sender.join().map_err(|_| "a sender ended".to_owned())?)
    })?;
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}

/// Lets the work go on; jobs in a second until none is due, and the server's CPU for each in µs.
fn done(served: &Served, left: usize) -> Result<(f64, f64), String> {
    let ticks = served.cpu_ticks();
    let begun = Instant::now();
    served.command(&["job", "resume", "job/count"])?;
    loop {
        let said = served.command(&["--json", "job", "list", "--limit", "1"])?;
        let state = |state: &str| {
            let part = said.split('{').find(|part| part.contains(&format!("\"state\":\"{state}\"")) && part.contains("\"count\":"));
            part.and_then(|part| part.split("\"count\":").nth(1)?.split([',', '}']).next()?.parse::<usize>().ok()).unwrap_or(0)
        };
        if state("waiting") <= left && state("running") == 0 {
            let took = begun.elapsed().as_secs_f64();
            return Ok((JOBS as f64 / took, (served.cpu_ticks() - ticks) as f64 * 10_000.0 / JOBS as f64));
        }
        if begun.elapsed() > AT_MOST {
            return Err(format!("the jobs are not done in time: {said}"));
        }
        // Counting is work, too.
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn on(name: &str, database: &str) -> Outcome {
    let served = Served::start(&format!("work-{name}"), |folder| write_app(folder, database))?;
    let token = served.command(&["token", "kim"])?.trim().to_owned();
    let round = |left: usize| -> Result<(f64, f64, f64), String> {
        served.command(&["job", "pause", "job/count"])?;
        std::thread::sleep(Duration::from_millis(300));
        let taken = enqueue(&served, &token, JOBS, "")?;
        let (rate, cpu) = done(&served, left)?;
        Ok((taken, rate, cpu))
    };
    println!("{:<34} {:>10} {:>10} {:>9}", name, "taken/s", "done/s", "CPU µs");
    let mut alone = 0.0;
    for (what, stuck) in [("jobs that change a row", 0), ("… once more", 0), ("beside stuck ones", STUCK)] {
        if stuck > 0 {
            let in_a_month = "?run_at=".to_owned() + &later()?;
            enqueue(&served, &token, stuck, &in_a_month)?;
        }
        let (taken, rate, cpu) = round(stuck)?;
        println!("{what:<34} {taken:>10.0} {rate:>10.0} {cpu:>9.1}");
        if stuck == 0 {
            alone = rate;
        } else {
            println!("the rate beside {stuck} stuck jobs is {:.2} of that without", rate / alone);
        }
    }
    Ok(())
}

/// A time within a year that is not soon.
fn later() -> Result<String, String> {
    let output = Command::new("date").args(["-u", "-d", "+30 days", "+%Y-%m-%dT%H:%M:%SZ"]).output();
    let output = output.map_err(|error| format!("`date` cannot be run: {error}"))?;
    if !output.status.success() {
        return Err("`date` does not know -d: the benchmark needs that of coreutils".to_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

pub(super) fn run() -> Outcome {
    run_command(Command::new(crate::cargo()).args(["build", "--release", "--package", "haechi"]))?;
    on("sqlite", "")?;
    let postgres = Postgres::start()?;
    on("postgres", &format!("[database]\nurl = \"{}?sslmode=disable\"\n", postgres.url()))
}
