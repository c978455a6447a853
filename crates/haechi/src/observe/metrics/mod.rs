//! Metrics in Prometheus' text format. Counting is one atomic addition; names are made at start-up.

mod database;
pub(super) mod otlp;
mod routes;
mod sometimes;
mod state;
mod work;

use crate::{http::replies::Unread, observe::requests::Told};
use database::Database;
use haechi_gate::Signs;
use haechi_problem::Kind;
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use routes::Routes;
use state::State;
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::SystemTime,
};
use work::Work;

type Labels = [(&'static str, &'static str); 1];

/// Upper bounds of the histogram's buckets, seconds.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// All that is counted.
pub struct Metrics {
    registry: Registry,
    /// Since when it is counted.
    since: SystemTime,
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
    problems: Family<Labels, Counter>,
    unread_bytes: Gauge<i64, AtomicI64>,
    stalled: Counter,
    unread: OnceLock<Arc<Unread>>,
    database: Database,
    state: State,
    work: Work,
    work_stands: AtomicBool,
    work_paused: AtomicBool,
    ready: Gauge,
    draining: AtomicBool,
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
    #[expect(clippy::disallowed_methods, reason = "collectors compare it with their own clocks")]
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::with_prefix("haechi");
        let requests = Family::<Labels, Counter>::default();
        registry.register("http_requests", "Requests that were answered, by class of status", requests.clone());
        let by_class = CLASSES.map(|class| requests.get_or_create(&[("class", class)]).clone());
        let problems = Family::<Labels, Counter>::default();
        registry.register("http_problems", "Problems that were answered, by their type", problems.clone());
        let duration = Histogram::new(BUCKETS);
        registry.register_with_unit("http_request_duration", "Time from a request's head to its reply", Unit::Seconds, duration.clone());
        let (database, state, work) = (Database::new(&mut registry), State::new(&mut registry), Work::new(&mut registry));
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let in_work = gauge("http_requests_in_work", "Requests in work");
        let connections = gauge("connections", "Open connections");
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
            since: SystemTime::now(),
            by_class,
            duration,
            in_work,
            connections,
            opened,
            refused_connections,
            shed,
            limited,
            refused_credentials,
            problems,
            unread_bytes,
            stalled,
            unread: OnceLock::new(),
            database,
            state,
            work,
            work_stands: AtomicBool::new(false),
            work_paused: AtomicBool::new(false),
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

    /// What was counted of work.
    pub(crate) fn work(&self, depths: &[haechi_jobs::Depth], counts: [u64; 3], at: (usize, i64)) {
        self.work.tell(depths, counts, at);
    }

    /// Whether work that is due is not begun, and whether some of it is paused.
    pub(crate) fn work_stands(&self, stands: bool, paused: bool) {
        self.work_stands.store(stands, Ordering::Relaxed);
        self.work_paused.store(paused, Ordering::Relaxed);
    }

    /// What is wrong with work, in words.
    pub(crate) fn work_says(&self) -> Option<&'static str> {
        match (self.work_stands.load(Ordering::Relaxed), self.work_paused.load(Ordering::Relaxed)) {
            (true, true) => Some("work that is due is not begun, and some of it is paused: `haechi job list` says which"),
            (true, false) => Some("work has been due for more than 5 minutes and is not begun: `haechi job list` says which"),
            (false, true) => Some("work is paused: `haechi job list` says which"),
            (false, false) => None,
        }
    }

    /// Shutdown was requested: the node is no longer ready.
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

    /// Adds the bytes that wait to be read to the metrics.
    pub(crate) fn watch_unread(&self, unread: &Arc<Unread>) {
        let _ = self.unread.set(unread.clone());
    }

    /// Sets the end of the current certificate, in seconds since 1970.
    pub(crate) fn certificate_ends(&self, seconds: i64) {
        self.state.certificate(seconds);
    }

    /// A request was answered with a problem.
    pub(crate) fn problem(&self, kind: Kind) {
        self.problems.get_or_create(&[("type", kind.slug)]).inc();
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
    pub fn text(&self, signs: &Signs, ready: bool) -> String {
        self.state.tell(signs);
        self.database.tell(signs);
        self.unread_bytes.set(self.unread.get().map_or(0, |unread| i64::try_from(unread.bytes()).unwrap_or(i64::MAX)));
        self.ready.set(i64::from(ready));
        let mut out = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut out, &self.registry);
        out
    }
}
