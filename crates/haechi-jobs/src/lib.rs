//! Work outside a request: jobs that a folder declares, their workers and their schedules.
//!
//! A job is a row that is added in the change that wants it, and deleted in the change that does it: what it does to rows happens once. All
//! code here asks the gate with the key of its area, and does what a job does as the caller as whom it runs.

mod call;
mod effect;
mod enqueue;
mod handler;
mod held;
mod input;
mod keep;
mod queue;
mod run;
mod schedule;
mod show;
mod tables;
mod told;
mod worker;

pub use enqueue::{EnqueueError, Wanted};
pub use handler::{Finished, Handlers, Job, JobError};
pub use show::{Depth, Operator, RunError, Scheduled, Shown, State};
pub use tables::tables;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use haechi_egress::Client;
use haechi_gate::{Caller, Gate, Jobs as Area, Mac, MasterKey, Purpose, Sealer, System};
use haechi_model::{Egress, Failure};
use std::sync::{Arc, Mutex, OnceLock};
use tables::Tables;
use tokio::{sync::watch, task::JoinHandle};
use told::Told;

/// By whom a job was enqueued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// `user`, `service` or `schedule`.
    pub kind: Box<str>,
    /// Their id.
    pub id: Box<str>,
    /// The name of the key that they used, when they used one.
    pub credential: Option<Box<str>>,
}

/// What jobs need of the program around them.
pub trait Around: Send + Sync {
    /// The caller with the rights of now; `None` when they are disabled or gone, or when their key is.
    fn now<'a>(&'a self, who: &'a Who) -> BoxFuture<'a, Result<Option<Caller>, Failure>>;

    /// A service with the roles that the folder declares.
    fn service(&self, name: &str, roles: &[String]) -> Caller;

    /// The credential for another service, when the folder names one.
    ///
    /// # Errors
    /// When it cannot be read; why stands in the log.
    #[expect(clippy::result_unit_err, reason = "the reason names places of secrets, and is logged where it is known")]
    fn bearer(&self, egress: &Egress) -> Result<Option<String>, ()>;
}

/// Jobs. Cheap to clone.
#[derive(Clone)]
pub struct Jobs(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) gate: Gate,
    pub(crate) key: System<Area>,
    pub(crate) tables: Tables,
    pub(crate) sealer: Sealer,
    pub(crate) keys: Mac,
    pub(crate) around: Box<dyn Around>,
    /// Made when the first request is sent: it reads the authorities of the operating system.
    pub(crate) client: OnceLock<Client>,
    pub(crate) handlers: ArcSwap<Handlers>,
    /// What the workers are told.
    pub(crate) told: Arc<Told>,
    /// This node, from its start to its end.
    pub(crate) holder: Box<str>,
    pub(crate) counts: keep::Counts,
    pub(crate) held: held::Held,
    running: Mutex<Option<(watch::Sender<bool>, JoinHandle<()>)>>,
}

impl Jobs {
    /// Takes the key of its area from a gate that was opened with [`tables()`]; `None` when it was taken before.
    #[must_use]
    pub fn open(gate: &Gate, keys: &mut haechi_gate::SystemKeys, master: &MasterKey, around: Box<dyn Around>) -> Option<Self> {
        let key = keys.jobs.take()?;
        let tables = Tables::of(gate, &key)?;
        let told = Arc::new(Told::default());
        let inserted = told.clone();
        gate.on_insert(tables.jobs, Arc::new(move |row| inserted.row(row)));
        Some(Self(Arc::new(Inner {
            sealer: master.sealer(Purpose::JobInput)?,
            keys: master.mac(Purpose::JobKey),
            handlers: ArcSwap::default(),
            holder: haechi_gate::random_hex::<16>().into(),
            counts: keep::Counts::default(),
            held: held::Held::default(),
            running: Mutex::default(),
            gate: gate.clone(),
            key,
            tables,
            around,
            client: OnceLock::new(),
            told,
        })))
    }

    /// Sets the program's own code for jobs.
    pub fn handle(&self, handlers: Handlers) {
        self.0.handlers.store(Arc::new(handlers));
    }

    /// The program's own code for jobs.
    #[must_use]
    pub fn handlers(&self) -> Arc<Handlers> {
        self.0.handlers.load_full()
    }

    /// Starts the workers. The tables must be there.
    pub fn start(&self) {
        let (stop, stopped) = watch::channel(false);
        let worker = tokio::spawn(worker::run(self.0.clone(), stopped));
        if let Ok(mut running) = self.0.running.lock() {
            *running = Some((stop, worker));
        }
    }

    /// Begins no more work, waits a while for what is under way, and gives the rest back.
    pub fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let running = self.0.running.lock().ok().and_then(|mut running| running.take());
            if let Some((stop, worker)) = running {
                let _ = stop.send(true);
                let _ = worker.await;
            }
        })
    }

    /// Stops at once, like after a power failure: for tests.
    pub fn abandon(&self) {
        let running = self.0.running.lock().ok().and_then(|mut running| running.take());
        if let Some((_, worker)) = running {
            worker.abort();
        }
    }
}

impl Inner {
    /// Now, UTC milliseconds.
    pub(crate) fn now_ms(&self) -> i64 {
        self.gate.clock().now_ms()
    }
}
