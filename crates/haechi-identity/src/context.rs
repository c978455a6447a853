//! What an action needs to know of its request.

use std::net::IpAddr;

/// Longest name of a program that is kept.
const MAX_AGENT: usize = 200;

/// What an action needs to know of its request.
#[derive(Clone, Debug)]
pub struct Context {
    /// Id of the request.
    pub request_id: Box<str>,
    /// Where it came from.
    pub address: IpAddr,
    /// The program that sent it, by its own word.
    pub agent: Box<str>,
}

impl Context {
    /// From a request's parts.
    #[must_use]
    pub fn new(request_id: &str, address: IpAddr, agent: &str) -> Self {
        let agent: String = agent.chars().filter(|char| !char.is_control()).take(MAX_AGENT).collect();
        Self { request_id: request_id.into(), address, agent: agent.into() }
    }

    /// The part of the address that one customer has: IPv6 hands out /64s.
    pub(crate) fn network(&self) -> String {
        match self.address.to_canonical() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
            }
        }
    }
}
