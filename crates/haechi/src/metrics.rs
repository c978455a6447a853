//! What is counted, in Prometheus' text format. Counting is one atomic addition; names are made at start-up.

use crate::{replies::Unread, requests::Told};
use haechi_gate::{Fill, Writer};
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

type Labels = [(&'static str, &'static str); 1];
type TwoLabels = [(&'static str, &'static str); 2];

/// Upper bounds of the histogram's buckets, seconds.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// All that is counted.
pub struct Metrics {
    registry: Registry,
    by_class: [Counter; 5],
    routes: Routes,
    duration: Histogram,
    in_work: Gauge,
    connections: Gauge,
    opened: Counter,
    refused_connections: Counter,
    shed: Counter,
    limited: Counter,
    refused_credentials: Counter,
    seal_lag: Gauge<i64, AtomicI64>,
    unread_bytes: Gauge<i64, AtomicI64>,
    stalled: Counter,
    unread: OnceLock<Arc<Unread>>,
    /// By writer: 1 while what it must keep is not kept.
    failing: [Gauge; Writer::ALL.len()],
    clock_ahead: Gauge<f64, AtomicU64>,
    unplaced: Gauge,
    pools: Pools,
    ready: Gauge,
    draining: AtomicBool,
}

/// Requests by the pattern of their route. Patterns, methods and statuses are few, whatever somebody sends.
struct Routes {
    requests: Family<RouteLabels, Counter>,
    time: Family<RouteLabels, Counter<f64, AtomicU64>>,
    /// What was counted before, by route: to count it again makes nothing.
    known: RwLock<HashMap<Box<str>, Vec<Known>>>,
}

type RouteLabels = [(&'static str, String); 3];

/// The counters of a method and a status of a route.
struct Known {
    method: &'static str,
    status: u16,
    requests: Counter,
    time: Counter<f64, AtomicU64>,
}

impl Known {
    fn count(&self, told: &Told) {
        self.requests.inc();
        self.time.inc_by(told.took.as_secs_f64());
    }
}

impl Routes {
    fn new(registry: &mut Registry) -> Self {
        let routes = Self { requests: Family::default(), time: Family::default(), known: RwLock::default() };
        registry.register("http_route_requests", "Requests that were answered, by route, method and status", routes.requests.clone());
        registry.register_with_unit("http_route_duration", "Time from their heads to their replies, in all", Unit::Seconds, routes.time.clone());
        routes
    }

    fn answered(&self, told: &Told) {
        let same = |known: &&Known| known.method == told.method && known.status == told.status;
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = known.get(told.route()).and_then(|all| all.iter().find(same)) {
                return known.count(told);
            }
        }
        let labels = [("route", told.route().to_owned()), ("method", told.method.to_owned()), ("status", told.status.to_string())];
        let (requests, time) = (self.requests.get_or_create(&labels).clone(), self.time.get_or_create(&labels).clone());
        let new = Known { method: told.method, status: told.status, requests, time };
        new.count(told);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let all = known.entry(told.route().into()).or_default();
        if !all.iter().any(|known| same(&known)) {
            all.push(new);
        }
    }
}

/// The database's pools, by name.
struct Pools {
    connections: Family<TwoLabels, Gauge>,
    most: Family<Labels, Gauge>,
    waiting: Family<Labels, Gauge>,
    given: Family<Labels, Counter>,
    waited: Family<Labels, Counter<f64, AtomicU64>>,
}

impl Pools {
    fn new(registry: &mut Registry) -> Self {
        let pools = Self {
            connections: Family::default(),
            most: Family::default(),
            waiting: Family::default(),
            given: Family::default(),
            waited: Family::default(),
        };
        registry.register("db_client_connection_count", "Connections to the database, by pool and state", pools.connections.clone());
        registry.register("db_client_connection_max", "Connections that a pool may have", pools.most.clone());
        registry.register("db_client_connection_pending_requests", "Work that waits for a connection", pools.waiting.clone());
        registry.register("db_client_connection_uses", "How often a connection was given", pools.given.clone());
        let help = "How long was waited for connections, in all";
        registry.register_with_unit("db_client_connection_wait_time", help, Unit::Seconds, pools.waited.clone());
        pools
    }

    fn tell(&self, pools: &[(&'static str, Fill)]) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for (name, fill) in pools {
            let pool = [("pool", *name)];
            self.connections.get_or_create(&[("pool", name), ("state", "used")]).set(number(fill.used));
            self.connections.get_or_create(&[("pool", name), ("state", "idle")]).set(number(fill.open.saturating_sub(fill.used)));
            self.most.get_or_create(&pool).set(number(fill.size));
            self.waiting.get_or_create(&pool).set(number(fill.waiting));
            // They are counted where they happen; here they are brought up to that.
            let given = self.given.get_or_create(&pool);
            given.inc_by(fill.given.saturating_sub(given.get()));
            let waited = self.waited.get_or_create(&pool);
            waited.inc_by((fill.waited.as_secs_f64() - waited.get()).max(0.0));
        }
    }
}

/// A request in work.
pub(crate) struct InWork(Arc<Metrics>);

impl Drop for InWork {
    fn drop(&mut self) {
        self.0.in_work.dec();
    }
}

impl Metrics {
    /// Everything at zero.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::with_prefix("haechi");
        let requests = Family::<Labels, Counter>::default();
        registry.register("http_requests", "Requests that were answered, by class of status", requests.clone());
        let by_class = CLASSES.map(|class| requests.get_or_create(&[("class", class)]).clone());
        let failing = Family::<Labels, Gauge>::default();
        registry.register("records_failing", "Whether what must be kept cannot be written, by writer", failing.clone());
        let failing = Writer::ALL.map(|writer| failing.get_or_create(&[("writer", writer.name())]).clone());
        let clock_ahead = Gauge::<f64, AtomicU64>::default();
        registry.register_with_unit(
            "clock_ahead",
            "How far time here is ahead of the system's clock, which was set back or is wrong",
            Unit::Seconds,
            clock_ahead.clone(),
        );
        let duration = Histogram::new(BUCKETS);
        registry.register_with_unit("http_request_duration", "Time from a request's head to its reply", Unit::Seconds, duration.clone());
        let pools = Pools::new(&mut registry);
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let in_work = gauge("http_requests_in_work", "Requests in work");
        let connections = gauge("connections", "Open connections");
        let seal_lag = gauge("ledger_seal_lag_milliseconds", "Age of the oldest ledger entry without a seal");
        let unplaced = gauge("ledger_entries_waiting", "Entries of the ledger that wait for their position");
        let unread_bytes = gauge("http_unread_bytes", "Bytes of replies that wait for clients to read them");
        let ready = gauge("ready", "Whether requests should be sent here");
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let opened = counter("connections_opened", "Connections that were opened");
        let refused_connections = counter("connections_refused", "Connections that were refused because there were too many");
        let shed = counter("http_requests_shed", "Requests that were refused because too many were in work");
        let stalled = counter("connections_stalled", "Connections that were closed because a reply was not read");
        let limited = counter("http_requests_limited", "Requests that were refused because their sender sent too many");
        let refused_credentials = counter("credentials_refused", "Requests whose credential was not good");
        Arc::new(Self {
            routes: Routes::new(&mut registry),
            registry,
            by_class,
            duration,
            in_work,
            connections,
            opened,
            refused_connections,
            shed,
            limited,
            refused_credentials,
            seal_lag,
            unread_bytes,
            stalled,
            unread: OnceLock::new(),
            failing,
            clock_ahead,
            unplaced,
            pools,
            ready,
            draining: AtomicBool::new(false),
        })
    }

    /// A request is in work until the guard is dropped, also when its client goes away.
    pub(crate) fn begin(self: &Arc<Self>) -> InWork {
        self.in_work.inc();
        InWork(self.clone())
    }

    pub(crate) fn answered(&self, told: &Told) {
        let class = usize::from(told.status / 100).clamp(1, 5) - 1;
        self.by_class[class].inc();
        self.duration.observe(told.took.as_secs_f64());
        self.routes.answered(told);
    }

    /// The process is asked to end: no more requests should be sent here.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn shed(&self) {
        self.shed.inc();
    }

    pub(crate) fn limited(&self) {
        self.limited.inc();
    }

    pub(crate) fn refused_credential(&self) {
        self.refused_credentials.inc();
    }

    pub(crate) fn connection_opened(&self) {
        self.opened.inc();
        self.connections.inc();
    }

    /// To be told with the rest: what waits to be read.
    pub(crate) fn watch_unread(&self, unread: &Arc<Unread>) {
        let _ = self.unread.set(unread.clone());
    }

    /// How far the gate's clock is ahead of the system's.
    pub(crate) fn clock_ahead(&self, ms: i64) {
        self.clock_ahead.set(ms as f64 / 1000.0);
    }

    /// What is not kept as it must be.
    pub(crate) fn fail(&self, failing: &[Writer]) {
        for writer in Writer::ALL {
            self.failing[writer as usize].set(i64::from(failing.contains(&writer)));
        }
    }

    /// How full the database's pools are, and how many entries wait for their position.
    pub(crate) fn database(&self, pools: &[(&'static str, Fill)], unplaced: u64) {
        self.pools.tell(pools);
        self.unplaced.set(i64::try_from(unplaced).unwrap_or(i64::MAX));
    }

    pub(crate) fn connection_stalled(&self) {
        self.stalled.inc();
    }

    pub(crate) fn connection_refused(&self) {
        self.refused_connections.inc();
    }

    pub(crate) fn connection_closed(&self) {
        self.connections.dec();
    }

    /// As text (OpenMetrics 1.0).
    #[must_use]
    pub fn text(&self, seal_lag_ms: i64, ready: bool) -> String {
        self.seal_lag.set(seal_lag_ms);
        self.unread_bytes.set(self.unread.get().map_or(0, |unread| i64::try_from(unread.bytes()).unwrap_or(i64::MAX)));
        self.ready.set(i64::from(ready));
        let mut out = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut out, &self.registry);
        out
    }
}
