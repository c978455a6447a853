//! Outgoing requests: only to addresses in the folder, never to one from a request.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{HeaderMap, Request, header};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use url::Url;

/// Longest time for one request.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// Sends requests, over TLS with the authorities of the operating system where the address says `https`.
#[derive(Clone)]
pub struct Outbound {
    tls: TlsConnector,
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Outbound")
    }
}

impl Outbound {
    /// Reads the authorities of the operating system.
    #[must_use]
    pub fn new() -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Self { tls: TlsConnector::from(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())) }
    }

    /// One POST over a new connection. Redirects are not followed, and only the reply's status is read.
    ///
    /// # Errors
    /// When the address cannot be reached in time, or answers anything but success.
    pub async fn post(&self, url: &Url, headers: HeaderMap, body: Bytes) -> io::Result<()> {
        tokio::time::timeout(TIMEOUT, self.send(url, headers, body)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn send(&self, url: &Url, headers: HeaderMap, body: Bytes) -> io::Result<()> {
        let host = url.host_str().ok_or(io::ErrorKind::InvalidInput)?.trim_matches(['[', ']']).to_owned();
        let stream = TcpStream::connect((host.as_str(), url.port_or_known_default().unwrap_or(80))).await?;
        if url.scheme() != "https" {
            return request(url, headers, body, stream).await;
        }
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        request(url, headers, body, self.tls.connect(name, stream).await?).await
    }
}

impl Default for Outbound {
    fn default() -> Self {
        Self::new()
    }
}

async fn request(url: &Url, headers: HeaderMap, body: Bytes, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> io::Result<()> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let driver = tokio::spawn(connection);
    let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let mut request = Request::post(&url[url::Position::BeforePath..url::Position::AfterQuery])
        .header(header::HOST, authority)
        .body(Full::new(body))
        .map_err(io::Error::other)?;
    request.headers_mut().extend(headers);
    let reply = sender.send_request(request).await.map_err(io::Error::other);
    driver.abort();
    let status = reply?.status();
    if status.is_success() { Ok(()) } else { Err(io::Error::other(format!("it answered {}", status.as_u16()))) }
}
