//! The client's address. `X-Forwarded-For` is trusted only from declared proxies.

use crate::service::{Finish, Guard, layers, refuse};
use http::{HeaderMap, Request, Response, StatusCode};
use std::{fmt, net::IpAddr, sync::Arc};

const FORWARDED_FOR: &str = "x-forwarded-for";
/// More hops than any honest request has.
const MAX_HOPS: usize = 32;

/// The client's address, among the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientIp(pub IpAddr);

/// The address of the connection. The code that accepts the connection puts it among the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// A trusted proxy sent an unreadable header: the request is refused rather than counted for the wrong client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// A text is no network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotANetwork(pub String);

impl fmt::Display for NotANetwork {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}` is not a network such as 10.0.0.0/8", self.0)
    }
}

impl std::error::Error for NotANetwork {}

/// The networks of the trusted proxies.
///
/// ```
/// use haechi_layers::Proxies;
/// use http::HeaderMap;
///
/// let proxies = Proxies::parse(["10.0.0.0/8"])?;
/// let mut headers = HeaderMap::new();
/// headers.insert("x-forwarded-for", "198.51.100.7".parse()?);
/// assert_eq!(proxies.client("10.1.2.3".parse()?, &headers).unwrap().to_string(), "198.51.100.7");
/// // A header of a stranger is ignored.
/// assert_eq!(proxies.client("203.0.113.9".parse()?, &headers).unwrap().to_string(), "203.0.113.9");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies(Vec<(IpAddr, u8)>);

impl Proxies {
    /// From addresses and networks in CIDR notation.
    ///
    /// # Errors
    /// The first text that is none.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, NotANetwork> {
        let network = |text: &str| {
            let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
            let address: IpAddr = address.parse().ok()?;
            let bits = if address.is_ipv4() { 32 } else { 128 };
            let length = length.map_or(Some(bits), |length| length.parse().ok())?;
            (length <= bits).then_some((address, length))
        };
        texts.into_iter().map(|text| network(text).ok_or_else(|| NotANetwork(text.to_owned()))).collect::<Result<_, _>>().map(Self)
    }

    /// The client of a request that came over a connection from `peer`.
    ///
    /// # Errors
    /// When a proxy of ours sent a header that cannot be read.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Result<IpAddr, Unreadable> {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            return Ok(client);
        }
        let mut hops: Vec<&str> = Vec::new();
        for value in headers.get_all(FORWARDED_FOR) {
            hops.extend(value.to_str().map_err(|_| Unreadable)?.split(',').map(str::trim));
        }
        if hops.len() > MAX_HOPS {
            return Err(Unreadable);
        }
        // Each proxy appends the address it heard from: read from the end, up to the first address that is no trusted proxy.
        for hop in hops.into_iter().rev() {
            client = hop.parse::<IpAddr>().map_err(|_| Unreadable)?.to_canonical();
            if !self.trusts(client) {
                break;
            }
        }
        Ok(client)
    }

    /// Whether an address is one of ours.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|(network, length)| match (network.to_canonical(), address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                shifted(u32::from(network).into(), 32, *length) == shifted(u32::from(address).into(), 32, *length)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => shifted(network.into(), 128, *length) == shifted(address.into(), 128, *length),
            _ => false,
        })
    }
}

fn shifted(bits: u128, width: u32, length: u8) -> u128 {
    bits.checked_shr(width.saturating_sub(length.into())).unwrap_or_default()
}

/// Puts a [`ClientIp`] among the extensions of each request; it needs a [`Peer`] there.
#[derive(Clone, Debug)]
pub struct ClientIpLayer {
    proxies: Arc<Proxies>,
}

impl ClientIpLayer {
    /// With the networks of the trusted proxies; none are trusted by default.
    #[must_use]
    pub fn new(proxies: Proxies) -> Self {
        Self { proxies: Arc::new(proxies) }
    }
}

layers!(ClientIpLayer);

impl<B, R: From<&'static str>> Guard<B, R> for ClientIpLayer {
    fn begin(&self, request: &mut Request<B>) -> Result<Finish<R>, Response<R>> {
        let Some(Peer(peer)) = request.extensions().get().copied() else {
            return Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, "the connection's address is not known"));
        };
        let client = self.proxies.client(peer, request.headers());
        let client = client.map_err(|Unreadable| refuse(StatusCode::BAD_REQUEST, "X-Forwarded-For cannot be read"))?;
        request.extensions_mut().insert(ClientIp(client));
        Ok(Box::new(|_| ()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(proxies: &[&str], peer: &str, forwarded: &[&str]) -> Result<String, Unreadable> {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, value.parse().unwrap());
        }
        let proxies = Proxies::parse(proxies.iter().copied()).unwrap();
        proxies.client(peer.parse().unwrap(), &headers).map(|address| address.to_string())
    }

    /// HDR [V4.1.3 V15.3.4]: strangers forge nothing.
    #[test]
    fn only_declared_proxies_are_believed() {
        let ours = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.1"];
        for (peer, forwarded, expected) in [
            ("203.0.113.9", &["198.51.100.7"][..], "203.0.113.9"),
            ("10.1.1.1", &["198.51.100.7"], "198.51.100.7"),
            ("10.1.1.1", &[], "10.1.1.1"),
            // Entries that the client wrote are to the left of the one that our proxy appended.
            ("10.1.1.1", &["6.6.6.6, 198.51.100.7"], "198.51.100.7"),
            ("10.1.1.1", &["6.6.6.6", "198.51.100.7, 10.2.2.2"], "198.51.100.7"),
            ("10.1.1.1", &["10.9.9.9, 10.2.2.2"], "10.9.9.9"),
            ("2001:db8::1", &["2001:db9::7"], "2001:db9::7"),
            ("::ffff:10.1.1.1", &["198.51.100.7"], "198.51.100.7"),
            ("192.0.2.2", &["198.51.100.7"], "192.0.2.2"),
        ] {
            assert_eq!(client(&ours, peer, forwarded).as_deref(), Ok(expected), "{peer} {forwarded:?}");
        }
        assert_eq!(client(&[], "127.0.0.1", &["1.2.3.4"]).as_deref(), Ok("127.0.0.1"));
    }

    /// An unreadable header of a trusted proxy fails closed.
    #[test]
    fn what_cannot_be_read_is_refused() {
        for broken in ["", "unknown", "1.2.3.4:80", "_hidden", "1.2.3.4,", "198.51.100.7, <script>"] {
            assert_eq!(client(&["10.0.0.0/8"], "10.1.1.1", &[broken]), Err(Unreadable), "{broken}");
        }
        let many = vec!["10.2.2.2"; 40].join(", ");
        assert_eq!(client(&["10.0.0.0/8"], "10.1.1.1", &[&many]), Err(Unreadable));
    }

    #[test]
    fn networks_are_parsed_strictly() {
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "localhost", "10.0.0.0/-1"] {
            assert!(Proxies::parse([wrong]).is_err(), "{wrong}");
        }
        assert_eq!(client(&["0.0.0.0/0"], "8.8.8.8", &["9.9.9.9"]).as_deref(), Ok("9.9.9.9"));
    }
}
