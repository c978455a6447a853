//! Runs each attack for a while beside an honest caller: its cost for them, and for the server.

use super::{at, descriptors, memory_mb, wal_mb};
use crate::{
    Outcome,
    bench::{
        client::{post, reply, sign_in},
        servers::{Haechi, Server, built},
    },
    cargo, run as run_command,
};
use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How long the honest caller rests between two requests.
const HONEST_EVERY: Duration = Duration::from_millis(5);
/// Requests to people who do not answer are given up after this.
const GIVEN_UP: Duration = Duration::from_secs(10);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

type Attack = fn(&Target<'_>, usize);

/// Each attack: its name, how many attackers, and what each of them does until it is told to stop.
const ATTACKS: &[(&str, usize, Attack)] = &[
    ("replies of HTTP/2 that are not read", 10, unread_http2),
    ("replies of HTTP/1.1 that are not read", 40, unread_http1),
    ("125 long reads of one caller", 125, |target, _| requests(target, |target, _| target.scan())),
    ("aggregates over all rows of one caller", 32, |target, _| requests(target, |target, _| target.aggregate())),
    ("changes of one record", 64, |target, _| requests(target, |target, number| target.change(number))),
    ("changes without pause", 32, |target, _| requests(target, |target, number| target.create(number))),
    ("batches of a hundred", 16, |target, _| requests(target, |target, number| target.batch(number))),
    ("wrong passwords", 32, |target, _| requests(target, |_, number| sign_in(number % 16, "haechi_d_00.00"))),
    ("tokens by chance", 64, |target, _| requests(target, |_, number| by_chance(number))),
    ("connections that say nothing", 200, silent),
    ("heads that come a byte at a time", 200, slow_heads),
];

struct Target<'a> {
    haechi: &'a Haechi,
    /// The attacker's credential.
    token: &'a str,
    stop: &'a AtomicBool,
    answered: &'a AtomicUsize,
}

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let given = |name: &str| arguments.iter().position(|found| found == name).and_then(|at| arguments.get(at + 1));
    let seconds = given("--seconds").and_then(|text| text.parse().ok()).unwrap_or(20);
    crate::services::program("kill", "procps")?;
    run_command(Command::new(cargo()).args(["build", "--release", "--package", "haechi"]))?;
    let haechi = Haechi::start(built("haechi"), false)?;
    let time = Duration::from_secs(seconds);
    println!(
        "{:<42} {:>8} {:>8} {:>8} {:>7} {:>7} {:>6} {:>9}",
        format!("honest caller, {seconds} s each"),
        "p50 ms",
        "p99 ms",
        "most ms",
        "errors",
        "RSS MB",
        "WAL MB",
        "answered"
    );
    beside(&haechi, "nobody", 0, |_, _| {}, time)?;
    for (name, count, attack) in ATTACKS.iter().filter(|(name, _, _)| given("--only").is_none_or(|only| name.contains(only.as_str()))) {
        beside(&haechi, name, *count, *attack, time)?;
    }
    beside(&haechi, "nobody, afterwards", 0, |_, _| {}, time)?;
    println!("open descriptors at the end: {}", descriptors(haechi.pid()));
    Ok(())
}

/// Runs an attack beside the honest caller, and prints a line.
fn beside(haechi: &Haechi, name: &str, count: usize, attack: Attack, time: Duration) -> Outcome {
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let target = Target { haechi, token: &haechi.tokens[7], stop: &stop, answered: &answered };
    let (mut taken, mut memory, mut wal) = ((Vec::new(), 0), 0, 0);
    thread::scope(|scope| {
        for attacker in 0..count {
            let target = &target;
            scope.spawn(move || attack(target, attacker));
        }
        let honest = scope.spawn(|| honest(haechi, &stop));
        let until = Instant::now() + time;
        while Instant::now() < until {
            thread::sleep(Duration::from_millis(100));
            memory = memory.max(memory_mb(haechi.pid()));
            wal = wal.max(wal_mb(&haechi.folder.join(".haechi")));
        }
        stop.store(true, Ordering::Release);
        taken = honest.join().unwrap_or_default();
    });
    let (mut latencies, errors) = taken;
    latencies.sort_unstable();
    if latencies.is_empty() {
        return Err(format!("{name}: the honest caller got no answer"));
    }
    println!(
        "{name:<42} {:>8.2} {:>8.2} {:>8.1} {errors:>7} {memory:>7} {wal:>6} {:>9}",
        at(&latencies, 0.5),
        at(&latencies, 0.99),
        at(&latencies, 1.0),
        answered.load(Ordering::Relaxed)
    );
    Ok(())
}

/// Reads a record now and then on a connection of their own; microseconds of each, and how many were not answered with it.
fn honest(haechi: &Haechi, stop: &AtomicBool) -> (Vec<u32>, usize) {
    let (mut latencies, mut errors) = (Vec::new(), 0);
    let mut stream = None;
    let mut buffer = vec![0; 64 * 1024];
    let mut number = 0usize;
    while !stop.load(Ordering::Acquire) {
        number += 1;
        let id = &haechi.ids[number.wrapping_mul(7919) % haechi.ids.len()];
        let request = format!("GET /api/v1/notes/{id} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n", haechi.tokens[1]);
        let begun = Instant::now();
        let asked = (|| {
            let open = match &mut stream {
                Some(open) => open,
                None => stream.insert(connect(haechi)?),
            };
            open.write_all(request.as_bytes()).and_then(|()| reply(open, &mut buffer))
        })();
        latencies.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
        if !matches!(asked, Ok(200)) {
            errors += 1;
            stream = None;
        }
        thread::sleep(HONEST_EVERY);
    }
    (latencies, errors)
}

fn connect(haechi: &Haechi) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(haechi.address())?;
    stream.set_read_timeout(Some(GIVEN_UP))?;
    stream.set_write_timeout(Some(GIVEN_UP))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends one request after the other on one connection, no matter what is answered.
fn requests(target: &Target<'_>, request: impl Fn(&Target<'_>, usize) -> Vec<u8>) {
    let mut buffer = vec![0; 256 * 1024];
    let mut stream = None;
    while !target.stop.load(Ordering::Acquire) {
        let number = target.answered.fetch_add(1, Ordering::Relaxed);
        let open = match stream.take() {
            Some(open) => Ok(open),
            None => connect(target.haechi),
        };
        let Ok(mut open) = open else {
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        if open.write_all(&request(target, number)).and_then(|()| reply(&mut open, &mut buffer)).is_ok() {
            stream = Some(open);
        }
    }
}

impl Target<'_> {
    fn get(&self, path: &str) -> Vec<u8> {
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n", self.token).into_bytes()
    }

    /// All rows are searched, and none is found.
    fn scan(&self) -> Vec<u8> {
        self.get("/api/v1/notes?filter=body:%22nothing%20like%20this%22")
    }

    fn aggregate(&self) -> Vec<u8> {
        post("/graphql", self.token, "{\"query\":\"{ notes_aggregate(filter: {body: {has: \\\"may hold\\\"}}) { count } }\"}")
    }

    fn change(&self, number: usize) -> Vec<u8> {
        let body = format!("{{\"body\":\"changed {number}\"}}");
        format!(
            "PATCH /api/v1/notes/{} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.haechi.ids[7], self.token, body.len()
        )
        .into_bytes()
    }

    fn note(&self, number: usize) -> String {
        format!("{{\"title\":\"Note {number}\",\"body\":\"{}\",\"author\":\"01920000-0000-7000-8000-000000000007\"}}", "Some words. ".repeat(80))
    }

    fn create(&self, number: usize) -> Vec<u8> {
        post("/api/v1/notes", self.token, &self.note(number))
    }

    fn batch(&self, number: usize) -> Vec<u8> {
        let operations: Vec<String> = (0..100).map(|at| format!("{{\"create\":\"notes\",\"data\":{}}}", self.note(number * 100 + at))).collect();
        post("/api/v1:batch", self.token, &format!("{{\"operations\":[{}]}}", operations.join(",")))
    }
}

fn by_chance(number: usize) -> Vec<u8> {
    format!("GET /api/v1/notes HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer haechi_s_{number:064x}\r\n\r\n").into_bytes()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A literal header, not indexed, by the number of its name in the static table.
fn header(name: u8, value: &str) -> Vec<u8> {
    // Lengths above 126 go on in a second byte and more, as RFC 7541 section 5.1 has it.
    let mut out = if name < 15 { vec![name] } else { vec![15, name - 15] };
    match value.len() {
        short @ ..127 => out.push(short as u8),
        mut long => {
            out.push(127);
            long -= 127;
            while long >= 128 {
                out.push((long % 128) as u8 | 128);
                long /= 128;
            }
            out.push(long as u8);
        }
    }
    out.extend_from_slice(value.as_bytes());
    out
}

/// Connections whose window is closed: lists are requested and never read. A small frame now and then keeps them open.
fn unread_http2(target: &Target<'_>, _: usize) {
    while !target.stop.load(Ordering::Acquire) {
        let Ok(mut stream) = connect(target.haechi) else { continue };
        let shut = [0, 4, 0, 0, 0, 0];
        let mut begin = PREFACE.to_vec();
        begin.extend(frame(4, 0, 0, &shut));
        for at in 0..100u32 {
            let mut block = vec![0x82, 0x86];
            block.extend(header(4, "/api/v1/notes?page_size=200"));
            block.extend(header(1, "localhost"));
            block.extend(header(23, &format!("Bearer {}", target.token)));
            begin.extend(frame(1, 5, 2 * at + 1, &block));
        }
        if stream.write_all(&begin).is_err() {
            continue;
        }
        target.answered.fetch_add(100, Ordering::Relaxed);
        while !target.stop.load(Ordering::Acquire) && stream.write_all(&frame(6, 0, 0, &[0; 8])).is_ok() {
            thread::sleep(Duration::from_millis(500));
        }
    }
}

/// Lists are asked for, one behind the other, and nothing is read.
fn unread_http1(target: &Target<'_>, _: usize) {
    while !target.stop.load(Ordering::Acquire) {
        let Ok(mut stream) = connect(target.haechi) else { continue };
        let request = target.get("/api/v1/notes?page_size=200");
        let _ = stream.set_write_timeout(Some(Duration::from_millis(500)));
        while !target.stop.load(Ordering::Acquire) && stream.write_all(&request).is_ok() {
            target.answered.fetch_add(1, Ordering::Relaxed);
        }
        while !target.stop.load(Ordering::Acquire) && stream.peek(&mut [0]).is_ok_and(|found| found > 0) {
            thread::sleep(Duration::from_millis(200));
        }
    }
}

fn silent(target: &Target<'_>, _: usize) {
    while !target.stop.load(Ordering::Acquire) {
        let Ok(mut stream) = connect(target.haechi) else { continue };
        let _ = stream.set_read_timeout(Some(Duration::from_millis(500)));
        while !target.stop.load(Ordering::Acquire) {
            match stream.read(&mut [0; 64]) {
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
                _ => break,
            }
        }
    }
}

fn slow_heads(target: &Target<'_>, _: usize) {
    while !target.stop.load(Ordering::Acquire) {
        let Ok(mut stream) = connect(target.haechi) else { continue };
        for byte in b"GET /api/v1/notes HTTP/1.1\r\nHost: localhost\r\nX-Slow: ".iter().chain([b'a'].iter().cycle()) {
            if target.stop.load(Ordering::Acquire) || stream.write_all(&[*byte]).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}
