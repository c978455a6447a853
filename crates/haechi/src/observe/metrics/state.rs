//! Metrics of the node's state: its ledger, its writers, its clock, and its versions.

use super::sometimes::Sometimes;
use haechi_gate::{Signs, Writer};
use prometheus_client::{
    metrics::{family::Family, gauge::Gauge, info::Info},
    registry::{Registry, Unit},
};
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicI64, AtomicU64},
};

type Labels = [(&'static str, &'static str); 1];
type Version = [(&'static str, String); 1];

/// All metrics of the node's state.
pub(super) struct State {
    seal_lag: Gauge<i64, AtomicI64>,
    unplaced: Gauge,
    gives_positions: Gauge,
    /// By writer: 1 while it fails.
    failing: [Gauge; Writer::ALL.len()],
    clock_ahead: Gauge<f64, AtomicU64>,
    migration: Gauge,
    policies: Family<Version, Gauge>,
    /// The policy version that is shown now.
    told: Mutex<Box<str>>,
    certificate: Sometimes,
}

impl State {
    pub(super) fn new(registry: &mut Registry) -> Self {
        registry.register("build", "The version of this program", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let failing = Family::<Labels, Gauge>::default();
        registry.register("records_failing", "Whether what must be kept cannot be written, by writer", failing.clone());
        let (clock_ahead, policies) = (Gauge::<f64, AtomicU64>::default(), Family::default());
        let help = "How far time here is ahead of the system's clock, which was set back or is wrong";
        registry.register_with_unit("clock_ahead", help, Unit::Seconds, clock_ahead.clone());
        registry.register("policies", "The version of the policies, as the ledger names it", policies.clone());
        let help = "When the certificate ends, seconds since 1970";
        let certificate = Sometimes::register(registry, "tls_certificate_expiry_timestamp", help, Unit::Seconds);
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        Self {
            seal_lag: gauge("ledger_seal_lag_milliseconds", "Age of the oldest ledger entry without a seal"),
            unplaced: gauge("ledger_entries_waiting", "Entries of the ledger that wait for their position"),
            gives_positions: gauge("ledger_gives_positions", "Whether this node gives entries their positions"),
            migration: gauge("migration", "The number of the database's last migration"),
            failing: Writer::ALL.map(|writer| failing.get_or_create(&[("writer", writer.name())]).clone()),
            clock_ahead,
            policies,
            told: Mutex::default(),
            certificate,
        }
    }

    pub(super) fn tell(&self, signs: &Signs) {
        self.seal_lag.set(signs.seal_lag_ms);
        self.unplaced.set(i64::try_from(signs.unplaced).unwrap_or(i64::MAX));
        self.gives_positions.set(i64::from(signs.gives_positions));
        for writer in Writer::ALL {
            self.failing[writer as usize].set(i64::from(signs.failing.contains(&writer)));
        }
        self.clock_ahead.set(signs.clock_ahead_ms as f64 / 1000.0);
        self.migration.set(signs.migration);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != signs.policies {
            self.policies.clear();
            self.policies.get_or_create(&[("version", signs.policies.to_string())]).set(1);
            told.clone_from(&signs.policies);
        }
    }

    /// Sets the end of the current certificate, in seconds since 1970.
    pub(super) fn certificate(&self, ends: i64) {
        self.certificate.set(ends as f64);
    }
}
