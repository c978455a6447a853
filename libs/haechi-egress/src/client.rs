//! The client: one request, checked, bounded, and perhaps led on.

use crate::{
    connect::{self, Connection},
    destination::{Destination, Place},
    error::{Error, Stage},
    pool::Pool,
    resolve::{Resolve, System},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use std::{net::IpAddr, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};
use url::{Position, Url};

/// Headers that speak about the connection or that the client sets itself.
const OWN: [HeaderName; 8] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::ACCEPT_ENCODING,
];
/// A body in chunks of one byte is six times as long on the wire.
const FRAMING: u64 = 8;
/// How long the rest of a reply is read that nobody wants, so that its connection can be used again.
const DRAIN: Duration = Duration::from_millis(500);

/// What of a reply's body is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// All of it; one that is longer than the limit is an error.
    Body,
    /// Nothing: status and headers are enough, and a long body is no error.
    Head,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where.
    pub url: String,
    /// Headers of one's own.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// What of the reply is wanted.
    pub read: Read,
}

impl Request {
    /// A GET.
    #[must_use]
    pub fn get(url: &str) -> Self {
        Self { method: Method::GET, url: url.to_owned(), headers: HeaderMap::new(), body: Bytes::new(), read: Read::Body }
    }

    /// A POST.
    #[must_use]
    pub fn post(url: &str, body: impl Into<Bytes>) -> Self {
        Self { method: Method::POST, body: body.into(), ..Self::get(url) }
    }

    /// With a header. A value cannot hold a line break: its type has none.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// With these headers as well.
    #[must_use]
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers.extend(headers);
        self
    }

    /// Without reading the reply's body.
    #[must_use]
    pub fn head_only(self) -> Self {
        Self { read: Read::Head, ..self }
    }
}

/// A reply.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came: nothing is decompressed. Empty for [`Read::Head`].
    pub body: Bytes,
    /// The address that answered.
    pub address: IpAddr,
}

/// Makes a client.
pub struct Builder {
    resolver: Arc<dyn Resolve>,
    roots: RootCertStore,
    agent: HeaderValue,
}

impl Builder {
    /// With another resolver.
    #[must_use]
    pub fn resolver(self, resolver: impl Resolve) -> Self {
        Self { resolver: Arc::new(resolver), ..self }
    }

    /// Trusts another authority, beside those of the operating system. `None` when it is no certificate.
    #[must_use]
    pub fn authority(mut self, certificate: &CertificateDer<'_>) -> Option<Self> {
        self.roots.add(certificate.clone().into_owned()).ok()?;
        Some(self)
    }

    /// With this `User-Agent`.
    #[must_use]
    pub fn agent(self, agent: HeaderValue) -> Self {
        Self { agent, ..self }
    }

    /// The client.
    #[must_use]
    pub fn build(self) -> Client {
        let mut tls = ClientConfig::builder().with_root_certificates(self.roots).with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let inner = Inner { resolver: self.resolver, tls: Arc::new(tls), agent: self.agent, pool: Pool::default() };
        Client(Arc::new(inner))
    }
}

struct Inner {
    resolver: Arc<dyn Resolve>,
    tls: Arc<ClientConfig>,
    agent: HeaderValue,
    pool: Pool,
}

/// Sends requests. Copies share their connections.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

impl std::fmt::Debug for Client {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Client")
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// With the resolver and the authorities of the operating system.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// To change something.
    #[must_use]
    pub fn builder() -> Builder {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Builder { resolver: Arc::new(System::default()), roots, agent: HeaderValue::from_static("haechi-egress") }
    }

    /// Sends a request to where the destination allows.
    ///
    /// # Errors
    /// When it is not allowed, not answered in time, or answered with more than is read. A status that says no is a reply.
    pub async fn send(&self, destination: &Destination, request: Request) -> Result<Reply, Error> {
        if let Some(own) = request.headers.keys().find(|name| OWN.contains(name)) {
            return Err(Error::Header(own.to_string()));
        }
        let until = Instant::now() + destination.limits.total;
        let mut url = Url::parse(&request.url).map_err(|_| Error::Url("it is no URL"))?;
        let mut headers = request.headers.clone();
        for _ in 0..=destination.redirects {
            let place = destination.check(&url)?;
            let (reply, next) = self.one(destination, &place, &url, (&request, &headers), until).await?;
            let Some(next) = next else { return Ok(reply) };
            if next.origin() != url.origin() {
                // Another server gets no credential.
                for name in [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION] {
                    headers.remove(name);
                }
            }
            url = next;
        }
        Err(Error::Redirect("more often than is followed"))
    }

    /// One request; and the URL to which it leads, when that is followed.
    async fn one(
        &self,
        destination: &Destination,
        place: &Place,
        url: &Url,
        (request, headers): (&Request, &HeaderMap),
        until: Instant,
    ) -> Result<(Reply, Option<Url>), Error> {
        let addresses = connect::addresses(&*self.0.resolver, destination, place, until).await?;
        let mut message = self.message(url, request, headers)?;
        let answering = || Error::Timeout(Stage::Answering);
        // A connection that waited may have ended meanwhile: what it did not take is sent over another one.
        let (mut connection, response) = loop {
            let waited = self.0.pool.take(destination, place, &addresses);
            let had_waited = waited.is_some();
            let mut connection = match waited {
                Some(connection) => connection,
                None => connect::connect(&self.0.tls, destination, place, &addresses, until).await?,
            };
            let limits = &destination.limits;
            connection.allowance.set(limits.head as u64 + FRAMING * limits.reply as u64 + 4096);
            if timeout_at(until, connection.sender.ready()).await.map_err(|_| answering())?.is_err() && had_waited {
                continue;
            }
            match timeout_at(until, connection.sender.try_send_request(message)).await.map_err(|_| answering())? {
                Ok(response) => break (connection, response),
                Err(mut failed) => match failed.take_message() {
                    Some(back) if had_waited => message = back,
                    _ => return Err(broken(&connection, failed.into_error())),
                },
            }
        };
        let (head, body) = response.into_parts();
        let mut reply = Reply { status: head.status, headers: head.headers, body: Bytes::new(), address: connection.address };
        let next = led_on(destination, url, request, &reply)?;
        let whole = if next.is_none() && request.read == Read::Body {
            reply.body = timeout_at(until, collect(body, destination.limits.reply, &connection)).await.map_err(|_| answering())??;
            true
        } else {
            let until = until.min(Instant::now() + DRAIN);
            matches!(timeout_at(until, collect(body, destination.limits.reply, &connection)).await, Ok(Ok(_)))
        };
        if whole && timeout_at(until, connection.sender.ready()).await.is_ok_and(|ready| ready.is_ok()) {
            self.0.pool.put(destination, place, connection);
        }
        Ok((reply, next))
    }

    fn message(&self, url: &Url, request: &Request, headers: &HeaderMap) -> Result<http::Request<Full<Bytes>>, Error> {
        let mut message = http::Request::builder()
            .method(request.method.clone())
            .uri(&url[Position::BeforePath..Position::AfterQuery])
            .header(header::HOST, &url[Position::BeforeHost..Position::AfterPort])
            .body(Full::new(request.body.clone()))
            .map_err(|_| Error::Url("its path or query cannot be sent"))?;
        message.headers_mut().insert(header::USER_AGENT, self.0.agent.clone());
        message.headers_mut().extend(headers.clone());
        Ok(message)
    }
}

/// The whole body, when it is not too long.
async fn collect(mut body: Incoming, most: usize, connection: &Connection) -> Result<Bytes, Error> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(connection, error))?;
        if let Ok(data) = frame.into_data() {
            if whole.len() + data.len() > most {
                return Err(Error::TooLarge);
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
}

/// A reply that did not come whole: it was too long, or the connection ended.
fn broken(connection: &Connection, error: hyper::Error) -> Error {
    let long_head = error.is_parse() && connection.allowance.used() >= connection.head;
    if connection.allowance.is_used_up() || long_head { Error::TooLarge } else { Error::Broken(error) }
}

/// Where a redirect leads, when redirects of this request are followed.
fn led_on(destination: &Destination, url: &Url, request: &Request, reply: &Reply) -> Result<Option<Url>, Error> {
    let reads = matches!(request.method, Method::GET | Method::HEAD);
    if destination.redirects == 0 || !reads || !matches!(reply.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = reply.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
    let next = location.and_then(|location| url.join(location).ok()).ok_or(Error::Redirect("and does not say where"))?;
    if url.scheme() == "https" && next.scheme() != "https" {
        return Err(Error::Redirect("to an address without TLS"));
    }
    Ok(Some(next))
}
