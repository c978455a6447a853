//! The load: 64 connections on a few threads, one request in flight on each, blocking I/O over poll-free round robin.

use super::{
    client::{SIGNERS, post, reply, sign_in},
    servers::{Haechi, Server},
};
use std::{
    io::Write,
    net::TcpStream,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

const CONNECTIONS: usize = 64;
/// Callers who scan without pause; none of them is a measured caller.
const SCANNERS: usize = 8;
const TICK_US: f64 = 10_000.0;

pub(crate) struct Load {
    tokens: Vec<String>,
    once: Vec<String>,
    devices: Vec<String>,
    ids: Vec<String>,
}

/// One measurement.
#[derive(Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) rate: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) cpu_us: f64,
}

impl Measured {
    /// The median by CPU.
    pub(crate) fn median(mut all: Vec<Self>) -> Self {
        all.sort_by(|left, right| left.cpu_us.total_cmp(&right.cpu_us));
        all[all.len() / 2]
    }
}

impl Load {
    pub(crate) fn new(haechi: &Haechi) -> Result<Self, String> {
        if haechi.tokens.iter().any(String::is_empty) {
            return Err("a token could not be made".to_owned());
        }
        Ok(Self { tokens: haechi.tokens.clone(), once: haechi.once.clone(), devices: haechi.devices.clone(), ids: haechi.ids.clone() })
    }

    /// For servers of files, which know nobody.
    pub(crate) fn of_files() -> Self {
        Self { tokens: vec![String::new(); 16], once: Vec::new(), devices: Vec::new(), ids: vec![String::new()] }
    }

    /// Sends requests of a scenario for a while.
    pub(crate) fn measure(&self, scenario: &str, server: &dyn Server, time: Duration) -> Result<Measured, String> {
        let address = server.address().to_owned();
        let before = server.cpu_ticks();
        let started = Instant::now();
        let counter = AtomicUsize::new(0);
        let latencies: Result<Vec<Vec<u32>>, String> = thread::scope(|scope| {
            let connections = if matches!(scenario, "sign-in" | "hash") { SIGNERS } else { CONNECTIONS };
            let workers: Vec<_> = (0..connections)
                .map(|worker| {
                    let (address, counter) = (&address, &counter);
                    scope.spawn(move || self.worker(scenario, worker, address, counter, started + time))
                })
                .collect();
            // Unmeasured load beside it: people who sign in without pause.
            let beside = if scenario == "get-beside-sign-ins" { SIGNERS } else { 0 };
            for worker in 0..beside {
                let (address, counter) = (&address, &counter);
                scope.spawn(move || self.worker("sign-in", worker, address, counter, started + time));
            }
            let scanners = if scenario == "get-beside-scans" { SCANNERS } else { 0 };
            for worker in 0..scanners {
                let (address, counter) = (&address, &counter);
                scope.spawn(move || self.worker("scan", 8 + worker, address, counter, started + time));
            }
            workers.into_iter().map(|worker| worker.join().map_err(|_| "a worker failed".to_owned())?).collect()
        });
        let elapsed = started.elapsed().as_secs_f64();
        let mut all: Vec<u32> = latencies?.concat();
        all.sort_unstable();
        let requests = all.len().max(1);
        let cpu = (server.cpu_ticks() - before) as f64 * TICK_US;
        let at = |part: f64| f64::from(all[((requests - 1) as f64 * part) as usize]) / 1000.0;
        Ok(Measured { rate: requests as f64 / elapsed, p50_ms: at(0.5), p99_ms: at(0.99), cpu_us: cpu / requests as f64 })
    }

    fn worker(&self, scenario: &str, worker: usize, address: &str, counter: &AtomicUsize, until: Instant) -> Result<Vec<u32>, String> {
        let fail = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect(address).map_err(fail)?;
        stream.set_nodelay(true).map_err(fail)?;
        let mut latencies = Vec::with_capacity(100_000);
        let mut buffer = vec![0; 64 * 1024];
        while Instant::now() < until {
            let number = counter.fetch_add(1, Ordering::Relaxed);
            let (request, expected) = self.request(scenario, worker, number);
            let started = Instant::now();
            stream.write_all(&request).map_err(fail)?;
            let status = reply(&mut stream, &mut buffer).map_err(fail)?;
            latencies.push(u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX));
            if status != expected {
                return Err(format!("{scenario}: expected {expected}, found {status}: {}", String::from_utf8_lossy(&buffer[..600])));
            }
        }
        Ok(latencies)
    }

    fn request(&self, scenario: &str, worker: usize, number: usize) -> (Vec<u8>, u16) {
        let id = &self.ids[number.wrapping_mul(7919) % self.ids.len()];
        let token = match scenario {
            "get-pii" => &self.tokens[0],
            "get-other-credential" => &self.once[number % self.once.len()],
            "scan" => &self.tokens[1 + worker],
            _ => &self.tokens[1 + worker % 8],
        };
        let kind = match (scenario, number % 20) {
            ("mixed", 0) => "create",
            ("mixed", 1..=3) => "list",
            ("mixed", _) => "get",
            (other, _) => other,
        };
        match kind {
            "list" => (format!("GET /api/v1/notes?filter=rank%20%3C%20500&order_by=create_time%20desc&page_size=20 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n").into_bytes(), 200),
            "create" => {
                let author = "01920000-0000-7000-8000-000000000001";
                let body = format!("{{\"title\":\"Note {number}\",\"body\":\"Some words that a note may hold.\",\"rank\":{},\"author\":\"{author}\"}}", number % 1000);
                (format!("POST /api/v1/notes HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", self.tokens[1], body.len()).into_bytes(), 201)
            }
            "scan" => (format!("GET /api/v1/notes?filter=title%20%3D%20%22sought%22&order_by=body&page_size=20 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n").into_bytes(), 200),
            "graphql-get" => {
                let body = format!("{{\"query\":\"query($id: ID!) {{ note(id: $id) {{ id title body rank author_id phone create_time update_time version _masked }} }}\",\"variables\":{{\"id\":\"{id}\"}}}}");
                (post("/graphql", token, &body), 200)
            }
            "graphql-list" => {
                let query = "query($rank: SafeInt) { notes(filter: {rank: {lt: $rank}}, order_by: [{field: create_time, direction: DESC}], first: 20) { nodes { id title body rank author_id phone create_time update_time version _masked } page_info { end_cursor } } }";
                (post("/graphql", token, &format!("{{\"query\":\"{query}\",\"variables\":{{\"rank\":500}}}}")), 200)
            }
            "grpc-get" => {
                let mut message = vec![0, 0, 0, 0, 38, 0x0a, 36];
                message.extend_from_slice(id.as_bytes());
                let head = format!("POST /haechi.v1.Notes/GetNote HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Type: application/grpc\r\nTE: trailers\r\nContent-Length: {}\r\n\r\n", message.len());
                (head.into_bytes().into_iter().chain(message).collect(), 200)
            }
            "sign-in" => (sign_in(worker % SIGNERS, &self.devices[worker % SIGNERS]), 200),
            "file" => (b"GET /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), 200),
            "hash" => (b"GET /hash HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), 200),
            "refused" => (format!("GET /api/v1/notes/{id} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes(), 401),
            _ => (format!("GET /api/v1/notes/{id} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n").into_bytes(), 200),
        }
    }
}
