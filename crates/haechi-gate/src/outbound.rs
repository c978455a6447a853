//! Outgoing requests to addresses that stand in the folder: witnesses, and the collector of traces.

use bytes::Bytes;
use haechi_egress::{Client, Destination, Error, Limits, Request};
use hyper::HeaderMap;
use std::{io, time::Duration};
use url::Url;

/// Longest time for one request.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// Sends requests, over TLS with the authorities of the operating system where the address says `https`.
#[derive(Clone, Debug)]
pub struct Outbound {
    client: Client,
    destination: Destination,
}

impl Outbound {
    /// Reads the authorities of the operating system. Connections are shared within one kind of target, by its name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let limits = Limits { total: TIMEOUT, ..Limits::default() };
        Self { client: Client::new(), destination: Destination::declared(name).limits(limits) }
    }

    /// One POST. Redirects are not followed, and only the reply's status is looked at.
    ///
    /// # Errors
    /// When the address cannot be reached in time, or answers anything but success.
    pub async fn post(&self, url: &Url, headers: HeaderMap, body: Bytes) -> io::Result<()> {
        let request = Request::post(url.as_str(), body).headers(headers).head_only();
        let status = self.client.send(&self.destination, request).await.map_err(|error: Error| io::Error::from(error))?.status;
        if status.is_success() { Ok(()) } else { Err(io::Error::other(format!("it answered {}", status.as_u16()))) }
    }
}
