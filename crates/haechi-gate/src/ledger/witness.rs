//! Witnesses: outside places that keep each checkpoint as it is made. A slow or failed witness holds up nothing.

use super::keeping::{Keeping, Writer};
use crate::outbound::{Outbound, TIMEOUT};
use bytes::Bytes;
use haechi_model::{Witness, write_json_text};
use hyper::{header, header::HeaderValue};
use std::{
    io::{self, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::net::UdpSocket;
use url::Url;

/// Facility 13 (log audit), severity 5 (notice): RFC 5424 §6.2.1.
const PRIORITY: u8 = 13 * 8 + 5;

pub(crate) struct Witnesses {
    all: Vec<Arc<Witness>>,
    outbound: Option<Outbound>,
    heard: Arc<Heard>,
}

/// The witnesses that could not be told of the last checkpoint.
struct Heard {
    failed: Vec<AtomicBool>,
    keeping: Arc<Keeping>,
}

impl Heard {
    fn told(&self, at: usize, witness: &Witness, told: &io::Result<()>) {
        if let Err(error) = told {
            tracing::warn!(target: "haechi::ledger", %error, ?witness, "a witness could not be told of a checkpoint");
        }
        self.failed[at].store(told.is_err(), Ordering::Release);
        self.keeping.fares(Writer::Witnesses, !self.failed.iter().any(|failed| failed.load(Ordering::Acquire)));
    }
}

impl Witnesses {
    pub(crate) fn new(all: Vec<Witness>, keeping: Arc<Keeping>) -> Self {
        let outbound = all.iter().any(|witness| matches!(witness, Witness::Http(_))).then(|| Outbound::new("witness"));
        let heard = Arc::new(Heard { failed: all.iter().map(|_| AtomicBool::new(false)).collect(), keeping });
        Self { all: all.into_iter().map(Arc::new).collect(), outbound, heard }
    }

    /// Sends a checkpoint to all of them.
    pub(crate) fn tell(&self, note: &str) {
        for (at, witness) in self.all.iter().enumerate() {
            let (witness, outbound, note, heard) = (witness.clone(), self.outbound.clone(), note.to_owned(), self.heard.clone());
            if let Witness::File(path) = &*witness {
                // At once and in order: a file is what `audit verify --checkpoint` reads.
                heard.told(at, &witness, &append(path, &note));
                continue;
            }
            tokio::spawn(async move {
                let told = tokio::time::timeout(TIMEOUT, send(&witness, outbound.as_ref(), &note)).await;
                heard.told(at, &witness, &told.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())));
            });
        }
    }
}

async fn send(witness: &Witness, outbound: Option<&Outbound>, note: &str) -> io::Result<()> {
    match witness {
        Witness::File(path) => append(path, note),
        Witness::Http(address) => {
            let url = Url::parse(address).map_err(io::Error::other)?;
            let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))].into_iter().collect();
            outbound.ok_or(io::ErrorKind::InvalidInput)?.post(&url, headers, Bytes::copy_from_slice(note.as_bytes())).await
        }
        Witness::Syslog(to) => syslog(to, note).await,
    }
}

/// Checkpoints stand one after the other, separated by an empty line.
fn append(path: &Path, note: &str) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(format!("{note}\n").as_bytes())?;
    file.sync_data()
}

/// One RFC 5424 datagram; the note is a JSON string in it, because collectors break lines.
async fn syslog(to: &str, note: &str) -> io::Result<()> {
    let mut message = format!("<{PRIORITY}>1 - - haechi {} checkpoint - ", std::process::id()).into_bytes();
    message.extend_from_slice(b"{\"checkpoint\":");
    write_json_text(note, &mut message);
    message.push(b'}');
    if to.starts_with('/') {
        #[cfg(unix)]
        {
            let socket = tokio::net::UnixDatagram::unbound()?;
            return socket.send_to(&message, to).await.map(|_| ());
        }
        #[cfg(not(unix))]
        return Err(io::ErrorKind::Unsupported.into());
    }
    let address = tokio::net::lookup_host(to).await?.next().ok_or(io::ErrorKind::NotFound)?;
    let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).await?;
    socket.send_to(&message, address).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const NOTE: &str = "haechi-ledger/0\n7\nroot=\n\n— haechi-ledger/0 signature\n";

    #[tokio::test]
    async fn a_checkpoint_arrives_by_http() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !String::from_utf8_lossy(&seen).ends_with(NOTE) {
                assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0);
            }
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            String::from_utf8(seen).unwrap()
        });
        send(&Witness::Http(format!("http://{address}/keep?from=haechi")), Some(&Outbound::new("witness")), NOTE).await.unwrap();
        let seen = server.await.unwrap();
        assert!(seen.starts_with("POST /keep?from=haechi HTTP/1.1\r\n") && seen.contains(&format!("host: {address}\r\n")), "{seen}");
    }

    #[tokio::test]
    async fn a_refusing_witness_is_an_error() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            stream.write_all(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        });
        assert!(send(&Witness::Http(format!("http://{address}/")), Some(&Outbound::new("witness")), NOTE).await.is_err());
    }

    #[tokio::test]
    async fn a_checkpoint_arrives_by_syslog() {
        let collector = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        send(&Witness::Syslog(collector.local_addr().unwrap().to_string()), None, NOTE).await.unwrap();
        let mut buffer = [0; 2048];
        let length = collector.recv(&mut buffer).await.unwrap();
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        let (head, body) = text.split_once(" - {").unwrap();
        assert!(head.starts_with("<109>1 - - haechi ") && head.ends_with(" checkpoint"), "{head}");
        let body: serde_json::Value = serde_json::from_str(&format!("{{{body}")).unwrap();
        assert_eq!(body["checkpoint"], NOTE);
    }
}
