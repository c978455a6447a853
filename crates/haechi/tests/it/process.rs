//! The binary as a process of its own.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Output, Stdio},
    time::Duration,
};

/// `haechi dev` on a folder.
pub(crate) struct Dev {
    child: Child,
    pub(crate) address: String,
    root: PathBuf,
}

impl Dev {
    pub(crate) fn start(root: &Path) -> Self {
        Self::start_with(root, &[], Stdio::null())
    }

    /// With these environment variables, and its log to somewhere.
    pub(crate) fn start_with(root: &Path, environment: &[(&str, &str)], log: Stdio) -> Self {
        let address = format!("127.0.0.1:{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
        let mut command = Command::new(env!("CARGO_BIN_EXE_haechi"));
        command.arg("dev").arg(root).args(["--listen", &address]).envs(environment.iter().copied());
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let dev = Self { child, address, root: root.to_owned() };
        for _ in 0..2_000 {
            if dev.root.join(".haechi/control.sock").exists() && dev.try_ask("GET", "/healthz", "", "").is_some_and(|reply| reply.contains(" 200 ")) {
                return dev;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not start");
    }

    pub(crate) fn try_ask(&self, method: &str, path: &str, token: &str, body: &str) -> Option<String> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        let credential = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{credential}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).ok()?;
        Some(reply)
    }

    pub(crate) fn ask(&self, method: &str, path: &str, token: &str, body: &str) -> (u16, serde_json::Value) {
        let reply = self.try_ask(method, path, token, body).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
    }

    /// The end of its log, when that is a pipe.
    pub(crate) fn log(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Asks it to end, and waits.
    pub(crate) fn end(mut self) {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Also when the test fails: nothing of it goes on.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn haechi(root: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_haechi")).args(arguments).arg("-C").arg(root).output().unwrap()
}

pub(crate) fn done(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    text
}

pub(crate) fn refused(output: &Output, why: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains(why), "{text}");
}
