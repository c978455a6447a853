//! Limits open connections: in all, and for each address.

use haechi_identity::ClientAddress;
use haechi_layers::Proxies;
use haechi_model::Config;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Counts open connections.
pub struct Admission {
    slots: Arc<Semaphore>,
    most: u32,
    of_one: usize,
    /// Many clients are behind these: limiting them is up to the proxies.
    proxies: Proxies,
    by_network: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// An open connection's place, until it is dropped.
pub(crate) struct Place {
    network: Option<IpAddr>,
    by_network: Arc<Mutex<HashMap<IpAddr, usize>>>,
    _slot: OwnedSemaphorePermit,
}

impl Admission {
    /// As the folder says.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let limits = &config.limits;
        let proxies = Proxies::parse(config.server.trusted_proxies.iter().map(String::as_str)).unwrap_or_default();
        Self::bounded(limits.connections, limits.connections_per_address, proxies)
    }

    /// With these bounds.
    #[must_use]
    pub fn bounded(connections: usize, of_one: usize, proxies: Proxies) -> Self {
        let most = u32::try_from(connections).unwrap_or(u32::MAX).max(1);
        Self { slots: Arc::new(Semaphore::new(most as usize)), most, of_one, proxies, by_network: Arc::default() }
    }

    /// A place for a connection from an address, if there is one. This host and declared proxies have no limit per address.
    pub(crate) fn admit(&self, address: IpAddr) -> Option<Place> {
        let slot = self.slots.clone().try_acquire_owned().ok()?;
        let address = address.to_canonical();
        let network = (!address.is_loopback() && !self.proxies.trusts(address)).then(|| ClientAddress(address).network());
        if let Some(network) = network {
            let mut counts = locked(&self.by_network);
            let count = counts.entry(network).or_default();
            if *count >= self.of_one {
                return None;
            }
            *count += 1;
        }
        Some(Place { network, by_network: self.by_network.clone(), _slot: slot })
    }

    /// Waits until all places are given back.
    pub(crate) async fn emptied(&self) {
        let _ = self.slots.acquire_many(self.most).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(network) = self.network else { return };
        let mut counts = locked(&self.by_network);
        if let Some(count) = counts.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&network);
            }
        }
    }
}

fn locked(counts: &Mutex<HashMap<IpAddr, usize>>) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DOS-01 [V13.1.2]: one address takes its part of the connections, and gives it back.
    #[test]
    fn one_address_has_a_part() {
        let admission = Admission::bounded(10, 2, Proxies::parse(["10.0.0.0/8"]).unwrap());
        let admit = |address: &str| admission.admit(address.parse().unwrap());
        let held: Vec<_> = ["203.0.113.9", "::ffff:203.0.113.9"].map(admit).into_iter().flatten().collect();
        assert_eq!(held.len(), 2);
        assert!(admit("203.0.113.9").is_none(), "however the address is written");
        assert!(admit("203.0.113.8").is_some());
        let six: Vec<_> = ["2001:db8::1", "2001:db8::2", "2001:db8::3"].map(admit).into_iter().flatten().collect();
        assert_eq!(six.len(), 2, "a /64 is one customer");
        drop(held);
        assert!(admit("203.0.113.9").is_some() && locked(&admission.by_network).len() == 1);
        let proxied: Vec<_> = (0..5).filter_map(|_| admit("10.1.2.3")).collect();
        let local: Vec<_> = (0..5).filter_map(|_| admit("127.0.0.1")).collect();
        assert_eq!((proxied.len(), local.len()), (5, 3), "proxies and this host: only the bound of all");
        assert!(admit("203.0.113.9").is_none(), "all places are taken");
    }
}
