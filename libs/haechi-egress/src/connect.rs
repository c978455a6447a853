//! A connection to an address that was checked.

use crate::{
    bounded::{Allowance, Bounded},
    destination::{Destination, Place},
    error::{Error, Stage},
    resolve::Resolve,
};
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;

/// Most answers of a resolver that are looked at; a name with more of them is refused.
const MAX_ANSWERS: usize = 64;

/// An open connection. It ends when this is dropped.
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<Full<Bytes>>,
    pub(crate) address: IpAddr,
    pub(crate) allowance: Allowance,
    /// How long the head of a reply may be.
    pub(crate) head: u64,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The addresses of a place, all of which were checked.
pub(crate) async fn addresses(resolver: &dyn Resolve, destination: &Destination, place: &Place, until: Instant) -> Result<Vec<IpAddr>, Error> {
    if let Some(literal) = place.literal {
        return Ok(vec![literal]);
    }
    let found = timeout_at(until, resolver.resolve(&place.host)).await.map_err(|_| Error::Timeout(Stage::Resolving))?;
    let found = found.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => Error::Timeout(Stage::Resolving),
        _ => Error::Resolve(place.host.clone(), error),
    })?;
    if found.is_empty() {
        return Err(Error::Resolve(place.host.clone(), io::ErrorKind::NotFound.into()));
    }
    // One address that is not allowed refuses the name: the next answer could be that one.
    if found.len() > MAX_ANSWERS || !found.iter().all(|address| destination.allows(*address)) {
        return Err(Error::Address(place.host.clone()));
    }
    Ok(found)
}

/// Connects to the first of these addresses that answers.
pub(crate) async fn connect(
    tls: &Arc<ClientConfig>,
    destination: &Destination,
    place: &Place,
    addresses: &[IpAddr],
    until: Instant,
) -> Result<Connection, Error> {
    let until = until.min(Instant::now() + destination.limits.connect);
    let connecting = async {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses {
            match TcpStream::connect(SocketAddr::new(*address, place.port)).await {
                Ok(stream) => return Ok((stream, *address)),
                Err(error) => last = error,
            }
        }
        Err(Error::Connect(place.host.clone(), last))
    };
    let (stream, address) = timeout_at(until, connecting).await.map_err(|_| Error::Timeout(Stage::Connecting))??;
    // Small requests are sent at once.
    let _ = stream.set_nodelay(true);
    if !place.tls {
        return shaken(stream, destination, address).await;
    }
    let name = ServerName::try_from(place.host.clone()).map_err(|_| Error::Url("its host is no name"))?;
    let secured = timeout_at(until, TlsConnector::from(tls.clone()).connect(name, stream)).await;
    let secured = secured.map_err(|_| Error::Timeout(Stage::Connecting))?.map_err(|error| Error::Tls(place.host.clone(), error))?;
    shaken(secured, destination, address).await
}

async fn shaken(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    destination: &Destination,
    address: IpAddr,
) -> Result<Connection, Error> {
    let allowance = Allowance::default();
    allowance.set(destination.limits.head as u64);
    let stream = TokioIo::new(Bounded::new(stream, allowance.clone()));
    let mut builder = Builder::new();
    let head = destination.limits.head.max(8 << 10);
    builder.max_buf_size(head);
    let (sender, connection) = builder.handshake(stream).await.map_err(Error::Broken)?;
    let driver = tokio::spawn(async move {
        // What ends a connection is told to the request on it.
        let _ = connection.await;
    });
    Ok(Connection { sender, address, allowance, head: head as u64, driver })
}
