//! `haechi health`: asks the running `serve` whether it is ready, for containers and scripts.

use super::{Done, Failed, Place, words::say};
use clap::Args;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    process::ExitCode,
    time::Duration,
};

/// How long an answer is waited for.
const WAIT: Duration = Duration::from_secs(3);

#[derive(Args)]
pub(crate) struct Health {
    /// Only ask whether it lives, not whether requests should be sent to it.
    #[arg(long)]
    live: bool,
}

impl Health {
    pub(crate) fn run(&self, place: &Place) -> Done {
        let (revision, _) = place.load()?;
        let listen = &revision.app.config.server.ops_listen;
        let silent = |why: &str| Failed::Said(format!("nobody answers on {listen} (server.ops_listen): {why}"));
        let address = reachable(listen).ok_or_else(|| silent("it is no address of this host"))?;
        let path = if self.live { "/healthz" } else { "/readyz" };
        let reply = ask(address, path).map_err(|error| silent(&haechi_model::why(error.kind())))?;
        let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
        let good = head.split(' ').nth(1) == Some("200");
        if place.json {
            say!("{}", serde_json::json!({ "healthy": good, "says": body.lines().collect::<Vec<_>>() }));
        } else {
            say!("{}", body.trim_end());
        }
        Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Where one's own listener is reached: what listens on all addresses does on the loopback.
fn reachable(listen: &str) -> Option<SocketAddr> {
    let mut address = listen.to_socket_addrs().ok()?.next()?;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { std::net::Ipv4Addr::LOCALHOST.into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    Some(address)
}

fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, WAIT)?;
    stream.set_read_timeout(Some(WAIT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut reply = String::new();
    stream.take(64 * 1024).read_to_string(&mut reply)?;
    Ok(reply)
}
