//! Rate limits of callers, and authentication on long connections.

use crate::{
    http::replies::{Reader, Unread, Wire},
    observe::metrics::Metrics,
};
use haechi_gate::{Allowance, Caller, Doorkeeper, Known, Waiting};
use haechi_identity::Identity;
use haechi_layers::{Decision, Rate, RateLimit};
use haechi_model::LimitsConfig;
use std::{net::IpAddr, pin::Pin, sync::Arc};

/// Most callers, and networks, that are counted.
const COUNTED: usize = 65_536;
const MINUTE_MS: u64 = 60_000;

/// The rate limits of known callers, and of networks without credentials.
pub struct Rates {
    pub(crate) callers: RateLimit,
    pub(crate) networks: RateLimit,
    /// Of networks that ask for pages and files.
    pub(crate) site: RateLimit,
    /// Bytes that wait for callers to read them.
    pub(crate) unread: Arc<Unread>,
    metrics: Arc<Metrics>,
}

impl Rates {
    /// As the folder says.
    #[must_use]
    pub fn new(limits: &LimitsConfig, metrics: Arc<Metrics>) -> Self {
        let limit = |per_minute: i64| RateLimit::new(Rate { burst: u32::try_from(per_minute).unwrap_or(u32::MAX), per_ms: MINUTE_MS }, COUNTED);
        let unread = Arc::new(Unread::new(limits.unread_bytes));
        metrics.watch_unread(&unread);
        let (callers, networks, site) = (limit(limits.caller_per_minute), limit(limits.anonymous_per_minute), limit(limits.site_per_minute));
        Self { callers, networks, site, unread, metrics }
    }

    /// The reader of a reply: a caller, or the network of callers without credentials.
    pub(crate) fn reader(&self, caller: &Caller, network: IpAddr, wire: Option<Arc<Wire>>) -> Reader {
        if caller.is_anonymous() { self.unread.reader(network, wire) } else { self.unread.reader(caller.id(), wire) }
    }
}

impl Allowance for Rates {
    fn take(&self, caller: &Caller, network: IpAddr, items: u32) -> Result<(), u32> {
        let decision = if caller.is_anonymous() { self.networks.take_many(network, items) } else { self.callers.take_many(caller.id(), items) };
        if decision.allowed {
            return Ok(());
        }
        self.metrics.limited();
        Err(seconds(decision))
    }

    fn wait(&self, caller: &Caller, network: IpAddr, bytes: usize) -> Option<Waiting> {
        let reader = self.reader(caller, network, None);
        self.unread.has_room(&reader, bytes).then(|| Box::new(self.unread.count(reader, bytes)) as Waiting)
    }
}

/// The seconds until there is room again.
pub(crate) fn seconds(decision: Decision) -> u32 {
    u32::try_from(decision.reset_ms.div_ceil(1000)).unwrap_or(60).max(1)
}

/// Authenticates credentials on long connections.
pub(crate) struct Keeper {
    pub(crate) identity: Identity,
    pub(crate) rates: Arc<Rates>,
}

impl Doorkeeper for Keeper {
    fn caller<'a>(&'a self, token: &'a str, in_cookie: bool, network: IpAddr) -> Pin<Box<dyn Future<Output = Option<Caller>> + Send + 'a>> {
        Box::pin(async move {
            let found = match self.identity.known(token) {
                Known::Caller(caller) => Some(caller),
                // A guess at a credential counts for its network, before anything is looked up.
                Known::Unknown(_) if !self.rates.networks.take(network).allowed => None,
                Known::Unknown(pending) => self.identity.verify(token, pending).await.ok(),
            };
            // A cookie's credential works in a cookie only.
            found.filter(|caller| Identity::in_place(caller, in_cookie))
        })
    }

    fn proven(&self, caller: &Caller, token: &str) -> bool {
        let mut headers = http::HeaderMap::new();
        let Ok(token) = http::HeaderValue::from_str(token) else { return false };
        headers.insert("x-csrf-token", token);
        self.identity.proven(caller, &headers)
    }
}
