//! The two servers, each a process of its own, ended by id.

use super::client::{self, PASSWORD, SIGNERS};
use std::{
    fmt::Write,
    io::{Read, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

/// Rows of the table.
pub(crate) const ROWS: usize = 100_000;
const PEOPLE: usize = 200;

/// A running server.
pub(crate) trait Server {
    fn address(&self) -> &str;
    fn pid(&self) -> u32;

    /// User and system time so far, in ticks of 10 ms.
    fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
        ticks(11) + ticks(12)
    }

    fn memory_mb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default() / 1024
    }
}

pub(crate) struct Haechi {
    binary: PathBuf,
    child: Child,
    address: String,
    pub(crate) folder: PathBuf,
    pub(crate) tokens: Vec<String>,
    /// Tokens of one person, each other bytes.
    pub(crate) once: Vec<String>,
    /// What proves that a device has signed in before, for each of those who sign in.
    pub(crate) devices: Vec<String>,
    pub(crate) ids: Vec<String>,
    pub(crate) started_ms: u128,
    pub(crate) idle_mb: u64,
}

/// A server that needs nothing else; it ends with this.
pub(crate) struct Process {
    child: Child,
    address: String,
}

impl Server for Haechi {
    fn address(&self) -> &str {
        &self.address
    }
    fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Server for Process {
    fn address(&self) -> &str {
        &self.address
    }
    fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Haechi {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const CONFIG: &str =
    "roles = [\"member\", \"reader\"]\n[limits]\ncaller_per_minute = 10_000_000\nanonymous_per_minute = 10_000_000\nconnections = 30_000\n";
const LIVE: &str = "[live]\nstreams_per_caller = 1_000\n";
/// The watched collection; it is separate, so that changes of others leave no images.
const BOARD: &str = "[fields]\ntext = { type = \"text\", required = true }\nauthor = { type = \"ref\", to = \"users\", required = true }\n";
/// Tokens that are each sent once: more than a server remembers.
const STRANGERS: usize = 200_000;
const NOTES: &str = r#"[collection]
owner = "author"
[fields]
title  = { type = "text", required = true, class = "public" }
body   = { type = "text" }
rank   = { type = "int" }
author = { type = "ref", to = "users", required = true }
phone  = { type = "text", class = "pii" }
[[indexes]]
fields = ["create_time"]
"#;
// Members see all notes and change their own; readers also see the personal field.
const POLICIES: &str = r#"
permit (principal in Role::"member", action in [Action::"list", Action::"read", Action::"create"], resource is notes);
permit (principal in Role::"member", action in [Action::"update", Action::"delete"], resource is notes) when { resource.author == principal };
permit (principal in Role::"reader", action == Action::"read_pii", resource is notes);
"#;
/// Each caller sees by a different condition: what is decided for one is not decided for the next.
const BOARD_POLICIES: &str = r#"
permit (principal in Role::"member", action in [Action::"read", Action::"watch"], resource is board) when { resource.text != "hidden" || resource.author == principal };
permit (principal in Role::"member", action == Action::"create", resource is board) when { resource.author == principal };
"#;

pub(crate) fn user_id(at: usize) -> String {
    format!("01920000-0000-7000-8000-{at:012x}")
}

pub(crate) fn note_id(at: usize) -> String {
    format!("01920001-0000-7000-8000-{at:012x}")
}

pub(crate) fn free_port() -> Result<u16, String> {
    Ok(TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map_err(|error| error.to_string())?.port())
}

/// A program of this build.
pub(crate) fn built(name: &str) -> PathBuf {
    PathBuf::from("target/release").join(name)
}

/// How long a server may take until it answers.
const START: Duration = Duration::from_secs(60);

pub(crate) fn wait(address: &str, path: &str, most: Duration) -> Result<(), String> {
    let started = Instant::now();
    while started.elapsed() < most {
        if let Ok(mut stream) = TcpStream::connect(address) {
            let asked = stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes());
            let mut text = String::new();
            if asked.is_ok() && stream.read_to_string(&mut text).is_ok() && text.starts_with("HTTP/1.1 ") {
                return Ok(());
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Err(format!("{address} does not answer"))
}

/// Writes a file of an app's folder.
pub(crate) fn put(folder: &Path, path: &str, text: &str) -> Result<(), String> {
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().unwrap_or(folder)).and_then(|()| std::fs::write(path, text)).map_err(|error| error.to_string())
}

/// The folder of an app, with its seeds.
fn write_app(folder: &Path, live: bool, database: Option<&str>) -> Result<(), String> {
    let write = |path: &str, text: &str| put(folder, path, text);
    let database = database.map_or_else(String::new, |url| format!("[database]\nurl = \"{url}\"\n"));
    write("haechi.toml", &[CONFIG, if live { LIVE } else { "" }, &database].concat())?;
    write("collections/notes.toml", NOTES)?;
    write("policies/main.cedar", POLICIES)?;
    if live {
        write("collections/board.toml", BOARD)?;
        write("policies/board.cedar", BOARD_POLICIES)?;
    }
    let mut users = String::from("id,email,roles\n");
    for at in 0..PEOPLE {
        let roles = if at == 0 { "[\"\"member\"\",\"\"reader\"\"]" } else { "[\"\"member\"\"]" };
        let _ = writeln!(users, "{},p{at}@example.test,\"{roles}\"", user_id(at));
    }
    write("seed/users.csv", &users)?;
    let mut notes = String::from("id,title,body,rank,author,phone\n");
    for at in 0..ROWS {
        let _ = writeln!(
            notes,
            "{},Note number {at},\"{}\",{},{},+82-10-{at:08}",
            note_id(at),
            "Some words that a note may hold. ".repeat(6),
            at * 7919 % 1000,
            user_id(at % PEOPLE)
        );
    }
    write("seed/notes.csv", &notes)
}

impl Haechi {
    /// Makes a folder with a hundred thousand notes and serves it; with something to watch when that is measured.
    pub(crate) fn start(binary: PathBuf, live: bool) -> Result<Self, String> {
        Self::start_on(binary, live, None)
    }

    /// The same on this database of PostgreSQL.
    pub(crate) fn start_on(binary: PathBuf, live: bool, database: Option<&str>) -> Result<Self, String> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("haechi-bench-{}-{number}", std::process::id()));
        write_app(&folder, live, database)?;
        let serve = |port: u16| {
            let mut command = Command::new(&binary);
            command.arg("dev").arg(&folder).args(["--listen", &format!("127.0.0.1:{port}")]).stdout(Stdio::null()).stderr(Stdio::inherit());
            command.spawn().map_err(|error| error.to_string())
        };
        let port = free_port()?;
        let mut seeding = serve(port)?;
        wait(&format!("127.0.0.1:{port}"), "/healthz", START)?;
        crate::run(Command::new("kill").args(["-TERM", &seeding.id().to_string()]))?;
        let _ = seeding.wait();
        let port = free_port()?;
        let address = format!("127.0.0.1:{port}");
        let started = Instant::now();
        let child = serve(port)?;
        wait(&address, "/healthz", START)?;
        let started_ms = started.elapsed().as_millis();
        let mut server = Self {
            binary: binary.clone(),
            child,
            address,
            folder,
            tokens: Vec::new(),
            once: Vec::new(),
            devices: Vec::new(),
            ids: (0..ROWS).map(note_id).collect(),
            started_ms,
            idle_mb: 0,
        };
        server.idle_mb = server.memory_mb();
        for at in 0..PEOPLE.min(100) {
            server.tokens.push(server.command(&["token", &format!("p{at}")])?.trim().to_owned());
        }
        let once = server.command(&["token", "p1", "--count", &STRANGERS.to_string()])?;
        server.once = once.lines().map(str::to_owned).collect();
        for at in 0..SIGNERS {
            let said = server.command(&["--json", "user", "add", &format!("signer{at}@example.test"), "--role", "member"])?;
            let code = said.split('"').nth(3).unwrap_or_default().to_owned();
            let set = format!("{{\"code\":\"{code}\",\"new_password\":\"{PASSWORD}\"}}");
            client::once(&server.address, &client::post("/auth/v1/password", "", &set), 204)?;
            let reply = client::once(&server.address, &client::sign_in(at, ""), 200)?;
            let device = reply.split("\"device\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
            server.devices.push(device.to_owned());
        }
        Ok(server)
    }

    /// Serves a copy of the same folder with the build in which the layers are switched off.
    pub(crate) fn without_layers(&self, binary: &str) -> Result<Self, String> {
        let folder = self.folder.with_extension("lab");
        crate::run(Command::new("cp").arg("-r").arg(&self.folder).arg(&folder))?;
        let _ = std::fs::remove_file(folder.join(".haechi/control.sock"));
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(binary);
        command.arg("dev").arg(&folder).args(["--listen", &address]).env("HAECHI_LAB", "layers-off").stdout(Stdio::null());
        let child = command.spawn().map_err(|error| error.to_string())?;
        let server = Self {
            binary: binary.into(),
            child,
            address,
            folder,
            tokens: self.tokens.clone(),
            once: self.once.clone(),
            devices: self.devices.clone(),
            ids: self.ids.clone(),
            started_ms: 0,
            idle_mb: 0,
        };
        wait(&server.address, "/healthz", START)?;
        Ok(server)
    }

    /// What a command prints about this folder.
    fn command(&self, arguments: &[&str]) -> Result<String, String> {
        command(&self.binary, &self.folder, arguments)
    }
}

impl Process {
    /// Starts it.
    pub(crate) fn start(command: &mut Command, address: String) -> Result<Self, String> {
        Ok(Self { child: command.spawn().map_err(|error| error.to_string())?, address })
    }

    /// Serves a copy of the same database.
    pub(crate) fn raw(haechi: &Haechi) -> Result<Self, String> {
        let copy = haechi.folder.join("raw.db");
        std::fs::copy(haechi.folder.join(".haechi/haechi.db"), &copy).map_err(|error| error.to_string())?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let server = Self::start(Command::new(built("bench-raw")).arg(&copy).arg(&address), address.clone())?;
        wait(&server.address, "/api/v1/notes/x", START)?;
        Ok(server)
    }

    /// Serves the same rows where Haechi keeps them.
    pub(crate) fn raw_on_postgres(url: &str) -> Result<Self, String> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let server = Self::start(Command::new(built("bench-raw")).arg(url).arg(&address), address.clone())?;
        wait(&server.address, "/api/v1/notes/x", START)?;
        Ok(server)
    }
}

/// Haechi over a folder of a benchmark's own.
pub(crate) struct Served {
    child: Child,
    address: String,
    pub(crate) folder: PathBuf,
}

impl Server for Served {
    fn address(&self) -> &str {
        &self.address
    }
    fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Served {
    /// Writes a folder and serves it; its seed may take up to five minutes.
    pub(crate) fn start(name: &str, write: impl FnOnce(&Path) -> Result<(), String>) -> Result<Self, String> {
        let folder = std::env::temp_dir().join(format!("haechi-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        write(&folder)?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(built("haechi"));
        command.arg("dev").arg(&folder).args(["--listen", &address]).stdout(Stdio::null()).stderr(Stdio::inherit());
        let served = Self { child: command.spawn().map_err(|error| error.to_string())?, address, folder };
        wait(&served.address, "/healthz", Duration::from_secs(300))?;
        Ok(served)
    }

    /// What a command prints about this folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Result<String, String> {
        command(&built("haechi"), &self.folder, arguments)
    }
}

fn command(binary: &Path, folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(binary).arg("-C").arg(folder).args(arguments).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
