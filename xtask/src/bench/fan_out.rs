//! One writer, many watchers: how soon each gets a change, whether changes are lost, and the memory of idle streams.

use super::{
    client::{once, post},
    servers::{Haechi, Server, user_id},
};
use crate::Outcome;
use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How many clients watch while one writes, how many changes it makes, and the time between two.
const WATCHERS: usize = 1_000;
const CHANGES: usize = 200;
const EVERY: Duration = Duration::from_millis(50);
/// Streams that only wait.
const IDLE: usize = 10_000;
const STACK: usize = 128 * 1024;

/// The time when each change was sent.
type Asked = Arc<Vec<OnceLock<Instant>>>;

pub(super) fn run(haechi: &Haechi) -> Outcome {
    let asked: Asked = Arc::new((0..CHANGES).map(|_| OnceLock::new()).collect());
    let ready = Arc::new(AtomicUsize::new(0));
    let before = haechi.cpu_ticks();
    let watchers: Vec<_> = (0..WATCHERS).map(|at| watcher(haechi, at, asked.clone(), ready.clone())).collect::<Result<_, _>>()?;
    while ready.load(Ordering::Acquire) < WATCHERS {
        thread::sleep(Duration::from_millis(20));
    }
    for (number, place) in asked.iter().enumerate() {
        let _ = place.set(Instant::now());
        let body = format!("{{\"text\":\"change-{number}-\",\"author\":\"{}\"}}", user_id(0));
        once(haechi.address(), &post("/api/v1/board", &haechi.tokens[0], &body), 201)?;
        thread::sleep(EVERY);
    }
    let (mut all, mut lost) = (Vec::with_capacity(WATCHERS * CHANGES), 0);
    for watcher in watchers {
        let seen = watcher.join().map_err(|_| "a watcher failed".to_owned())??;
        lost += CHANGES - seen.len();
        all.extend(seen);
    }
    all.sort_unstable();
    let at = |part: f64| all.get(((all.len().max(1) - 1) as f64 * part) as usize).map_or(f64::NAN, |us| f64::from(*us) / 1000.0);
    let cpu = (haechi.cpu_ticks() - before) as f64 * 10_000.0 / (WATCHERS * CHANGES) as f64;
    println!(
        "{WATCHERS} watch, one writes {CHANGES} changes: p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms, lost {lost}, {cpu:.1} µs of CPU for each message",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    idle(haechi)
}

fn open(haechi: &Haechi, at: usize) -> Result<TcpStream, String> {
    let fail = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(haechi.address()).map_err(fail)?;
    let token = &haechi.tokens[at % haechi.tokens.len()];
    stream
        .write_all(format!("GET /api/v1/board:watch HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n").as_bytes())
        .map_err(fail)?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).map_err(fail)?;
    Ok(stream)
}

/// Reads until it has seen every change; microseconds for each.
fn watcher(haechi: &Haechi, at: usize, asked: Asked, ready: Arc<AtomicUsize>) -> Result<thread::JoinHandle<Result<Vec<u32>, String>>, String> {
    let mut stream = open(haechi, at)?;
    let read = move || {
        let (mut text, mut buffer, mut seen, mut begun) = (String::new(), [0; 16 * 1024], Vec::with_capacity(CHANGES), false);
        while seen.len() < CHANGES {
            let count = match stream.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(count) => count,
            };
            let now = Instant::now();
            text.push_str(&String::from_utf8_lossy(&buffer[..count]));
            if !begun && text.contains("event: ready") {
                begun = true;
                ready.fetch_add(1, Ordering::AcqRel);
            }
            while let Some(from) = text.find("change-") {
                let Some(end) = text[from + 7..].find('-') else { break };
                let number: usize = text[from + 7..from + 7 + end].parse().unwrap_or_default();
                if let Some(began) = asked.get(number).and_then(OnceLock::get) {
                    seen.push(u32::try_from(now.duration_since(*began).as_micros()).unwrap_or(u32::MAX));
                }
                text.drain(..from + 8 + end);
            }
        }
        Ok(seen)
    };
    thread::Builder::new().stack_size(STACK).spawn(read).map_err(|error| error.to_string())
}

fn idle(haechi: &Haechi) -> Outcome {
    let before = haechi.memory_mb();
    let mut streams = Vec::with_capacity(IDLE);
    for at in 0..IDLE {
        let mut stream = open(haechi, at)?;
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).map_err(|error| error.to_string())?;
        if !buffer[..count].starts_with(b"HTTP/1.1 200") {
            return Err(format!("stream {at}: {}", String::from_utf8_lossy(&buffer[..count])));
        }
        streams.push(stream);
    }
    thread::sleep(Duration::from_secs(2));
    println!("{IDLE} idle streams: {} MB, {before} MB before", haechi.memory_mb());
    Ok(())
}
