//! What an action needs to know about its request.

use std::net::IpAddr;

/// Longest name of a program that is kept.
const MAX_AGENT: usize = 200;

/// Where a request came from; the stack puts it into the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// The part of the address that one customer has: IPv6 hands out /64s.
    #[must_use]
    pub fn network(self) -> IpAddr {
        match self.0.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
            address => address,
        }
    }
}

/// What an action needs to know about its request.
#[derive(Clone, Debug)]
pub struct Context {
    /// Id of the request.
    pub request_id: Box<str>,
    /// Where it came from.
    pub address: ClientAddress,
    /// The program that sent it, as it names itself.
    pub agent: Box<str>,
}

impl Context {
    /// From a request's parts.
    #[must_use]
    pub fn new(request_id: &str, address: ClientAddress, agent: &str) -> Self {
        let agent: String = agent.chars().filter(|char| !char.is_control()).take(MAX_AGENT).collect();
        Self { request_id: request_id.into(), address, agent: agent.into() }
    }

    /// The network as it is written down.
    pub(crate) fn network(&self) -> String {
        match self.address.network() {
            IpAddr::V4(network) => network.to_string(),
            IpAddr::V6(network) => format!("{network}/64"),
        }
    }
}
