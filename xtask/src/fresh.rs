//! Runs the README's two commands in a bare Debian with only the Rust toolchain and a C compiler. It notices packages that the tests need
//! and do not install themselves.

use crate::{Outcome, run, services};
use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const SUITE: &str = "bookworm";
const MIRROR: &str = "http://deb.debian.org/debian";
/// Where the example is served.
const ADDRESS: &str = "127.0.0.1:8080";
/// A cold build of the example on a slow machine.
const PATIENCE: Duration = Duration::from_secs(3_600);

pub(crate) fn both_commands() -> Outcome {
    if !services::root() {
        return Err("a bare Debian needs root: it mounts and changes its root".to_owned());
    }
    if TcpStream::connect(ADDRESS).is_ok() {
        return Err(format!("something listens on {ADDRESS}, where the example would be served: end it first"));
    }
    let root = bare()?;
    println!("fresh: cargo run --release -- dev examples/clinic");
    let mut example = Ended(inside(&root, "exec cargo run --release -- dev examples/clinic").spawn().map_err(|error| error.to_string())?);
    served(&mut example.0)?;
    drop(example);
    println!("fresh: cargo xtask test");
    run(&mut inside(&root, "exec cargo xtask test"))?;
    println!("fresh: both commands of the README work in a bare Debian");
    Ok(())
}

/// A process that is killed, with its children, when this is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It is the first process of its own space: the others end with it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A bare Debian with this commit in it.
fn bare() -> Result<PathBuf, String> {
    let root = std::env::current_dir().map_err(|error| error.to_string())?.join("target/fresh");
    let _ = std::fs::remove_dir_all(&root);
    std::fs::create_dir_all(&root).map_err(|error| format!("{} cannot be made: {error}", root.display()))?;
    if !services::on_path("debootstrap") {
        services::debian("debootstrap")?;
    }
    let mirror = std::env::var("HAECHI_DEBIAN_MIRROR").unwrap_or_else(|_| MIRROR.to_owned());
    run(Command::new("debootstrap")
        .args(["--variant=minbase", "--include=ca-certificates,gcc,libc6-dev", SUITE])
        .arg(&root)
        .arg(mirror)
        .stdout(Stdio::null()))?;
    // The machine's network settings for the registries: names, and certificate authorities.
    for file in ["/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt"] {
        std::fs::copy(file, root.join(&file[1..])).map_err(|error| format!("{file} cannot be copied: {error}"))?;
    }
    let project = root.join("project");
    std::fs::create_dir_all(&project).map_err(|error| error.to_string())?;
    for folder in ["opt/rustup", "opt/cargo"] {
        std::fs::create_dir_all(root.join(folder)).map_err(|error| error.to_string())?;
    }
    // Committed files only.
    let mut archive = Command::new("git").args(["archive", "HEAD"]).stdout(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
    let files = archive.stdout.take().ok_or("git archive has no output")?;
    run(Command::new("tar").arg("-x").arg("-C").arg(&project).stdin(files))?;
    archive.wait().map_err(|error| error.to_string())?;
    Ok(root)
}

/// A command in it. The mounts are in a space of its own and end with it.
fn inside(root: &Path, command: &str) -> Command {
    let home = std::env::var("HOME").unwrap_or_else(|_| "/root".to_owned());
    let from = |name: &str, folder: &str| std::env::var(name).unwrap_or_else(|_| format!("{home}/{folder}"));
    let (rustup, cargo) = (from("RUSTUP_HOME", ".rustup"), from("CARGO_HOME", ".cargo"));
    let toolchain = std::env::var("RUSTUP_TOOLCHAIN").unwrap_or_default();
    let script = format!(
        "set -e; cd '{root}'; mount --bind '{rustup}' opt/rustup; mkdir -p opt/cargo/bin; mount --bind '{cargo}/bin' opt/cargo/bin; \
         mount -t proc proc proc; mount --rbind /dev dev; \
         exec chroot . /usr/bin/env -i HOME=/root TERM=dumb LANG=C.UTF-8 RUSTUP_HOME=/opt/rustup RUSTUP_TOOLCHAIN='{toolchain}' CARGO_HOME=/root/.cargo \
         PATH=/opt/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /bin/sh -c 'cd /project && {command}'",
        root = root.display()
    );
    let mut unshared = Command::new("unshare");
    unshared.args(["--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", &script]).stdin(Stdio::null());
    unshared
}

/// Waits until the example answers.
fn served(example: &mut Child) -> Outcome {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(status) = example.try_wait().map_err(|error| error.to_string())? {
            return Err(format!("the example has ended ({status}) before it was served"));
        }
        if healthy() {
            println!("fresh: served after {} s", begun.elapsed().as_secs());
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    Err(format!("the example is not served after {} s", PATIENCE.as_secs()))
}

fn healthy() -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(ADDRESS)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        Ok(reply)
    };
    ask().is_ok_and(|reply| reply.starts_with("HTTP/1.1 200"))
}
