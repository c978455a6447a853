//! A PostgreSQL for tests: installed when it is missing, started on loopback, ended by its process id.

use crate::{Outcome, run as run_command};
use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

/// Where Prometheus' tool is, when it is not on the path.
const PROMTOOL: &str = "target/tools/usr/bin/promtool";

/// A running server; dropping this ends it.
pub(crate) struct Postgres {
    bin: PathBuf,
    data: PathBuf,
    port: u16,
}

/// Starts the services and waits until the input ends.
pub(crate) fn run() -> Outcome {
    let postgres = Postgres::start()?;
    println!("export HAECHI_TEST_POSTGRES={}", postgres.url());
    println!("press Enter to end");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(|error| error.to_string())?;
    Ok(())
}

impl Postgres {
    pub(crate) fn start() -> Result<Self, String> {
        let bin = find().map_or_else(install, Ok)?;
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map_err(|error| error.to_string())?.port();
        let data = std::env::temp_dir().join(format!("haechi-postgres-{}-{port}", std::process::id()));
        let _ = std::fs::remove_dir_all(&data);
        std::fs::create_dir_all(&data).map_err(|error| error.to_string())?;
        let server = Self { bin, data, port };
        if root() {
            // The server refuses to run as root.
            run_command(Command::new("chown").arg("postgres").arg(&server.data))?;
        }
        run_command(
            server
                .command("initdb")
                .args(["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--username=postgres", "--pgdata"])
                .arg(&server.data)
                .stdout(std::process::Stdio::null()),
        )?;
        let options =
            format!("-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=400 -c log_min_messages=panic");
        run_command(
            server
                .command("pg_ctl")
                .args(["start", "--wait", "--silent", "--pgdata"])
                .arg(&server.data)
                .arg("--log")
                .arg(server.data.join("log"))
                .args(["--options", &options])
                .stdout(std::process::Stdio::null()),
        )?;
        Ok(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// The process that began all others of the server.
    pub(crate) fn pid(&self) -> Result<u32, String> {
        let text = std::fs::read_to_string(self.data.join("postmaster.pid")).map_err(|error| format!("the server's pid cannot be read: {error}"))?;
        text.lines().next().and_then(|line| line.parse().ok()).ok_or_else(|| "the server has no pid".to_owned())
    }

    /// Runs SQL.
    pub(crate) fn run_sql(&self, sql: &str) -> Outcome {
        run_command(self.command("psql").args(["--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--command", sql]).arg(self.url()))
    }

    /// One of the server's programs, as a user that it accepts.
    fn command(&self, program: &str) -> Command {
        let program = self.bin.join(program);
        let mut command = if root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(std::env::temp_dir());
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = run_command(
            self.command("pg_ctl").args(["stop", "--silent", "--mode=immediate", "--pgdata"]).arg(&self.data).stdout(std::process::Stdio::null()),
        );
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// The folder with the newest server's programs.
fn find() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| bin.join("postgres").exists() && bin.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().or_else(|| {
        let on_path = std::env::var_os("PATH")?;
        std::env::split_paths(&on_path).find(|folder| folder.join("postgres").exists() && folder.join("initdb").exists())
    })
}

fn install() -> Result<PathBuf, String> {
    debian("postgresql")?;
    find().ok_or_else(|| "PostgreSQL was installed, and is not found".to_owned())
}

/// Whether a program is on the path.
pub(crate) fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).exists()))
}

/// What the tests drive beside a database: a browser, a proxy, a client of gRPC that is not ours, and small programs of Unix.
pub(crate) fn tools() -> Outcome {
    // `kill` for tests that end a process as an operator would, git for comparing with a commit.
    // Node runs the generated client, and `tsc` looks at its types.
    let programs = [
        ("chromium", "chromium"),
        ("nginx", "nginx-light"),
        ("kill", "procps"),
        // A network of its own for a test; who runs it; a date for the benchmark.
        ("unshare", "util-linux"),
        ("id", "coreutils"),
        ("date", "coreutils"),
        ("git", "git"),
        ("node", "nodejs"),
        ("tsc", "node-typescript"),
        ("caddy", "caddy"),
    ];
    for (program, package) in programs {
        self::program(program, package)?;
    }
    // A network of its own with a DNS server in it, for the client of outgoing requests.
    for (program, package) in [("ip", "iproute2"), ("dnsmasq", "dnsmasq-base")] {
        if !on_path(program) && !Path::new("/usr/sbin").join(program).exists() && !Path::new("/sbin").join(program).exists() {
            debian(package)?;
        }
    }
    let httpx = Command::new("/usr/bin/python3").args(["-c", "import httpx"]).stderr(std::process::Stdio::null()).status();
    if !httpx.is_ok_and(|status| status.success()) {
        debian("python3-httpx")?;
    }
    let python = Command::new("/usr/bin/python3").args(["-c", "import grpc, google.protobuf"]).stderr(std::process::Stdio::null()).status();
    if !python.is_ok_and(|status| status.success()) {
        debian("python3-grpcio")?;
        debian("python3-protobuf")?;
    }
    if !on_path("grpc_python_plugin") || !on_path("protoc") {
        debian("protobuf-compiler")?;
        debian("protobuf-compiler-grpc")?;
    }
    if !on_path("pgbouncer") && !Path::new("/usr/sbin/pgbouncer").exists() {
        debian("pgbouncer")?;
    }
    if !on_path("promtool") && !Path::new(PROMTOOL).exists() {
        unpacked("prometheus", "target/tools")?;
    }
    if !on_path("systemd-analyze") {
        debian("systemd")?;
    }
    // The types that come with protobuf, which the printed services use.
    if !Path::new("/usr/include/google/protobuf/empty.proto").exists() {
        debian("libprotobuf-dev")?;
    }
    Ok(())
}

/// Sees to one program.
pub(crate) fn program(name: &str, package: &str) -> Outcome {
    if on_path(name) { Ok(()) } else { debian(package) }
}

/// Installs a package where that can be done.
pub(crate) fn debian(package: &str) -> Outcome {
    if !root() || !Path::new("/usr/bin/apt-get").exists() {
        return Err(format!("the tests need {package}: install it (Debian: apt-get install {package})"));
    }
    eprintln!("xtask: installing {package}");
    let apt = |arguments: &[&str]| {
        run_command(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(std::process::Stdio::null()))
    };
    apt(&["update", "-qq"])?;
    apt(&["install", "-y", "-qq", "--no-install-recommends", package])
}

/// A package's files in a folder, without installing it: nothing of it is started.
fn unpacked(package: &str, folder: &str) -> Outcome {
    if !Path::new("/usr/bin/apt-get").exists() {
        return Err(format!("the tests need a program of {package}: put it on the path"));
    }
    eprintln!("xtask: fetching {package}");
    std::fs::create_dir_all(folder).map_err(|error| format!("{folder} cannot be made: {error}"))?;
    if root() {
        run_command(Command::new("apt-get").args(["update", "-qq"]).stdout(std::process::Stdio::null()))?;
    }
    run_command(Command::new("apt-get").args(["download", "-qq", package]).current_dir(folder))?;
    let script = format!("dpkg -x {package}_*.deb . && rm {package}_*.deb");
    run_command(Command::new("sh").args(["-c", &script]).current_dir(folder))
}

pub(crate) fn root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0\n") || output.stdout == b"0")
}
