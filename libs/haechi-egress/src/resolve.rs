//! Names to addresses.

use futures_util::future::BoxFuture;
use std::{
    io,
    net::{IpAddr, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Semaphore;

/// Looks names up.
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of a name.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The resolver of the operating system: at most 16 names at once, 5 seconds each.
pub struct System {
    slots: Arc<Semaphore>,
}

impl System {
    const AT_ONCE: usize = 16;
    const TIME: Duration = Duration::from_secs(5);
}

impl Default for System {
    fn default() -> Self {
        Self { slots: Arc::new(Semaphore::new(Self::AT_ONCE)) }
    }
}

impl Resolve for System {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let look = async {
                let slot = self.slots.clone().acquire_owned().await.map_err(io::Error::other)?;
                let host = host.to_owned();
                let found = tokio::task::spawn_blocking(move || {
                    // The thread keeps its slot, also when nobody waits for it any more.
                    let _slot = slot;
                    (host.as_str(), 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect())
                });
                found.await.map_err(io::Error::other)?
            };
            tokio::time::timeout(Self::TIME, look).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        })
    }
}
