//! Which addresses are public, and which are never connected to.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};
use thiserror::Error;

/// IPv4 ranges that are not public: the IANA special-purpose registry, multicast, and what is reserved.
const SPECIAL_V4: [(Ipv4Addr, u8); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// What of 2000::/3 is not public. Nothing outside of 2000::/3 is.
const SPECIAL_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    // 6to4: it holds an IPv4 address.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Whether an address is public: reachable by everybody, and in no range with a meaning of its own.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match plain(address) {
        IpAddr::V4(v4) => !SPECIAL_V4.iter().any(|(network, bits)| same_bits(v4.to_bits().into(), network.to_bits().into(), 32, *bits)),
        IpAddr::V6(v6) => {
            let global = same_bits(v6.to_bits(), Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0).to_bits(), 128, 3);
            global && !SPECIAL_V6.iter().any(|(network, bits)| same_bits(v6.to_bits(), network.to_bits(), 128, *bits))
        }
    }
}

/// Whether an address is never connected to, whatever a destination allows: metadata services of clouds, link-local addresses, multicast,
/// broadcast, and the address that stands for none.
#[must_use]
pub fn is_never(address: IpAddr) -> bool {
    match plain(address) {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => {
            let [first, second, ..] = v6.segments();
            v6.is_multicast() || v6.is_unspecified() || v6.is_unicast_link_local() || (first, second) == (0xfd00, 0x0ec2)
        }
    }
}

/// An IPv4 address that is written as IPv6 is that IPv4 address.
pub(crate) fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

fn same_bits(left: u128, right: u128, width: u32, bits: u8) -> bool {
    let shift = width - u32::from(bits);
    shift >= 128 || left >> shift == right >> shift
}

/// A network: `10.20.0.0/16`, `fd12::/16`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// A text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is not a network such as 10.20.0.0/16")]
pub struct NotANetwork(String);

impl Network {
    /// Whether the network holds an address.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        match (self.address, plain(address)) {
            (IpAddr::V4(network), IpAddr::V4(v4)) => same_bits(v4.to_bits().into(), network.to_bits().into(), 32, self.bits),
            (IpAddr::V6(network), IpAddr::V6(v6)) => same_bits(v6.to_bits(), network.to_bits(), 128, self.bits),
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let wrong = || NotANetwork(text.to_owned());
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => width,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= width).ok_or_else(wrong)?,
        };
        Ok(Self { address, bits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    const SPECIAL: &str = "0.0.0.0 0.255.255.255 10.0.0.1 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1 \
        172.31.255.255 192.0.0.8 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.7 \
        224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 :: ::1 ::ffff:7f00:1 ::ffff:10.0.0.1 ::127.0.0.1 \
        64:ff9b::7f00:1 64:ff9b:1::1 100::1 2001::1 2001:1ff::1 2001:db8::1 2002:7f00:1:: 2002:5db8:d822::1 3fff::1 \
        3fff:fff::1 fc00::1 fd00:ec2::254 fe80::1 fec0::1 ff02::1 4000::1 1fff::1";
    const COMMON: &str = "1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 169.253.0.1 172.15.0.1 \
        172.32.0.1 192.0.1.1 192.167.0.1 198.17.0.1 198.20.0.1 223.255.255.255 ::ffff:93.184.216.34 2001:200::1 \
        2606:4700::1111 2a00::1 3ffe::1 3fff:1000::1";

    /// SSRF-01, SSRF-02: loopback, private, link-local, documentation, multicast, and every spelling of them as IPv6.
    #[test]
    fn special_ranges_are_not_public_and_their_neighbours_are() {
        for text in SPECIAL.split_whitespace() {
            assert!(!is_public(ip(text)), "{text}");
        }
        for text in COMMON.split_whitespace() {
            assert!(is_public(ip(text)), "{text}");
        }
    }

    #[test]
    fn metadata_services_are_never_reached() {
        for text in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fd00:ec2::254",
            "fe80::1",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "0.0.0.0",
            "::",
            "::ffff:0:0",
        ] {
            assert!(is_never(ip(text)), "{text}");
        }
        for text in ["127.0.0.1", "10.0.0.1", "fd00:ec3::1", "::1", "1.1.1.1"] {
            assert!(!is_never(ip(text)), "{text}");
        }
    }

    #[test]
    fn networks_hold_their_addresses() {
        for (network, inside, outside) in [
            ("10.20.0.0/16", "10.20.255.1", "10.21.0.0"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("0.0.0.0/0", "8.8.8.8", "::1"),
            ("fd12::/16", "fd12:1::", "fd13::"),
            ("10.20.0.0/16", "::ffff:10.20.0.1", "::ffff:10.21.0.1"),
            ("::/0", "fd12::", "10.0.0.1"),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(network.holds(ip(inside)) && !network.holds(ip(outside)), "{network:?}");
        }
        for wrong in ["10.20.0.0/33", "10.20", "x", "", "10.0.0.0/", "::/129", "10.0.0.0/-1"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
