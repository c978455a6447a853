//! Metrics of the database: its pools, its work, its size.

use super::sometimes::Sometimes;
use haechi_gate::{Fill, Signs, Sizes, Usage};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use std::{sync::atomic::AtomicU64, time::Duration};

type Labels = [(&'static str, &'static str); 1];
type TwoLabels = [(&'static str, &'static str); 2];
type UsageLabels = [(&'static str, String); 2];

/// All metrics of the database.
pub(super) struct Database {
    pools: Pools,
    usage: Used,
    failures: Family<Labels, Counter>,
    size: Gauge,
    wal: Sometimes,
    tables: Family<[(&'static str, String); 1], Gauge>,
    backed_up: Sometimes,
}

impl Database {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let (pools, usage, failures, size, tables) =
            (Pools::new(registry), Used::new(registry), Family::default(), Gauge::default(), Family::default());
        registry.register("db_client_failures", "What the database did not do, by the reason", Family::clone(&failures));
        registry.register_with_unit("db_size", "How large the database is", Unit::Bytes, Gauge::clone(&size));
        registry.register_with_unit("db_table_size", "How large a table is with its indexes", Unit::Bytes, Family::clone(&tables));
        let help = "How large its write-ahead log is, where that is a file here";
        let wal = Sometimes::register(registry, "db_wal_size", help, Unit::Bytes);
        let help = "When everything was copied last, seconds since 1970";
        let backed_up = Sometimes::register(registry, "backup_last_timestamp", help, Unit::Seconds);
        Self { pools, usage, failures, size, wal, tables, backed_up }
    }

    pub(super) fn tell(&self, signs: &Signs) {
        self.pools.tell(&signs.pools);
        self.usage.tell(&signs.usage);
        for (reason, count) in &signs.failures {
            bring(&self.failures.get_or_create(&[("reason", reason)]), *count);
        }
        let Sizes { database, wal, tables } = &*signs.sizes;
        self.size.set(number(*database));
        if let Some(wal) = wal {
            self.wal.set(*wal as f64);
        }
        for (table, bytes) in tables {
            self.tables.get_or_create(&[("table", table.clone())]).set(number(*bytes));
        }
        if let Some(ms) = signs.backed_up_ms {
            self.backed_up.set(ms as f64 / 1000.0);
        }
    }
}

/// What tables were used for.
struct Used {
    count: Family<UsageLabels, Counter>,
    time: Family<UsageLabels, Counter<f64, AtomicU64>>,
    rows: Family<UsageLabels, Counter>,
}

impl Used {
    fn new(registry: &mut Registry) -> Self {
        let used = Self { count: Family::default(), time: Family::default(), rows: Family::default() };
        registry.register("db_client_operations", "What the database was asked for, by table and operation", used.count.clone());
        let help = "How long that took, in all, waits for a connection or a turn included";
        registry.register_with_unit("db_client_operation_duration", help, Unit::Seconds, used.time.clone());
        registry.register("db_client_rows", "Rows that were found or written", used.rows.clone());
        used
    }

    fn tell(&self, usage: &[Usage]) {
        for used in usage {
            let labels = [("table", used.table.clone()), ("operation", used.operation.to_owned())];
            bring(&self.count.get_or_create(&labels), used.count);
            bring_time(&self.time.get_or_create(&labels), used.took);
            bring(&self.rows.get_or_create(&labels), used.rows);
        }
    }
}

/// The database's pools, by name.
pub(super) struct Pools {
    connections: Family<TwoLabels, Gauge>,
    most: Family<Labels, Gauge>,
    waiting: Family<Labels, Gauge>,
    given: Family<Labels, Counter>,
    waited: Family<Labels, Counter<f64, AtomicU64>>,
}

impl Pools {
    pub(super) fn new(registry: &mut Registry) -> Self {
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

    pub(super) fn tell(&self, pools: &[(&'static str, Fill)]) {
        for (name, fill) in pools {
            let pool = [("pool", *name)];
            self.connections.get_or_create(&[("pool", name), ("state", "used")]).set(number(fill.used));
            self.connections.get_or_create(&[("pool", name), ("state", "idle")]).set(number(fill.open.saturating_sub(fill.used)));
            self.most.get_or_create(&pool).set(number(fill.size));
            self.waiting.get_or_create(&pool).set(number(fill.waiting));
            bring(&self.given.get_or_create(&pool), fill.given);
            bring_time(&self.waited.get_or_create(&pool), fill.waited);
        }
    }
}

fn number<N: TryInto<i64>>(count: N) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

/// Raises a counter to a count that is kept elsewhere.
fn bring(counter: &Counter, count: u64) {
    counter.inc_by(count.saturating_sub(counter.get()));
}

fn bring_time(counter: &Counter<f64, AtomicU64>, time: Duration) {
    counter.inc_by((time.as_secs_f64() - counter.get()).max(0.0));
}
