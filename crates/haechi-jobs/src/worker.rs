//! The worker of a node: claims jobs that are due, runs them beside each other, keeps its leases, and gives back what it does not do.

use crate::{
    Inner, held,
    keep::Pauses,
    queue::{CLAIMED_AT_ONCE, Claimed},
    run,
    schedule::Times,
};
use haechi_gate::SystemError;
use haechi_model::App;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::watch,
    task::{Id, JoinHandle, JoinSet},
    time::Instant,
};

/// Where several nodes share a database: how often it is looked for what others left.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often it is looked where one node has the database: what is told is enough there, unless something goes wrong.
const LOOK_ALONE_EVERY: Duration = Duration::from_secs(60);
/// How long what is under way may take when the node stops.
const STOP_WITHIN: Duration = Duration::from_secs(8);
/// How often what is over is deleted.
const KEEP_EVERY: Duration = Duration::from_secs(600);
/// The wait after the database could not be reached.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Jobs that are shorter than this on average are claimed many at once.
const SHORT_MS: u64 = 100;
/// So many of them were seen before.
const SEEN: u64 = 8;
/// Keys that are looked at in one round.
const KEYS_A_ROUND: usize = 64;
/// The wait when due jobs are held by others, in milliseconds.
const HELD_MS: i64 = 100;

/// A queue, as this node works on it.
#[derive(Default)]
struct Lane {
    waiting: VecDeque<Claimed>,
    running: usize,
    /// How long its jobs take, on average, and how many were seen.
    mean_ms: u64,
    seen: u64,
    /// When the next one may begin, where so many may begin in a minute.
    next: Option<Instant>,
    /// The kind at which the next round begins, so that each has its turn.
    turn: usize,
}

/// A job under way.
struct Run {
    queue: Box<str>,
    id: Box<str>,
    began: Instant,
}

struct Worker {
    inner: Arc<Inner>,
    shared: bool,
    due: HashMap<Box<str>, i64>,
    times: Times,
    lanes: HashMap<Box<str>, Lane>,
    runs: HashMap<Id, Run>,
    tasks: JoinSet<()>,
    pauses: Pauses,
    look: bool,
    /// The last key that was looked at, while there are more.
    after_key: Box<str>,
    /// The folder as it was at the last round.
    app: Option<Arc<App>>,
}

/// Works until `stop` turns true.
pub(crate) async fn run(inner: Arc<Inner>, stop: watch::Receiver<bool>) {
    let shared = inner.gate.is_shared();
    let mut worker = Worker {
        shared,
        inner,
        due: HashMap::new(),
        times: Times::new(),
        lanes: HashMap::new(),
        runs: HashMap::new(),
        tasks: JoinSet::new(),
        pauses: Pauses::default(),
        look: true,
        after_key: "".into(),
        app: None,
    };
    let _beat = Ending(tokio::spawn(held::beat(worker.inner.clone())));
    worker.work(stop).await;
    worker.stop().await;
}

/// A task that ends with this.
struct Ending(JoinHandle<()>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Worker {
    async fn work(&mut self, mut stop: watch::Receiver<bool>) {
        let mut look = tokio::time::interval(if self.shared { LOOK_EVERY } else { LOOK_ALONE_EVERY });
        let mut keep = tokio::time::interval(KEEP_EVERY);
        for timer in [&mut look, &mut keep] {
            timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        while !*stop.borrow() {
            let (app, inner) = (self.inner.gate.revision().app.clone(), self.inner.clone());
            if self.app.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &app)) {
                // Another folder was loaded.
                (self.look, self.app) = (true, Some(app.clone()));
            }
            if app.jobs.is_empty() {
                // Nothing is asked of the database; a folder with jobs may be loaded later.
                tokio::select! {
                    _ = stop.changed() => {}
                    () = inner.told.woken() => {}
                    _ = look.tick() => {}
                }
                continue;
            }
            if let Err(error) = self.round(&app).await {
                tracing::warn!(target: "haechi::jobs", ?error, "jobs wait: the database does not do what is asked");
                self.look = true;
                inner.held.doubt();
                tokio::select! {
                    _ = stop.changed() => {}
                    () = tokio::time::sleep(AFTER_FAILURE) => {}
                }
                continue;
            }
            let next = self.next(&app);
            tokio::select! {
                _ = stop.changed() => {}
                () = inner.told.woken() => {}
                Some(ended) = self.tasks.join_next_with_id(), if !self.runs.is_empty() => self.ended(ended.map_or_else(|error| error.id(), |(id, ())| id)),
                () = sleep_until(next) => {}
                _ = look.tick() => self.look = true,
                // On a separate task: it may take long.
                _ = keep.tick() => drop(tokio::spawn(async move { inner.keep().await })),
            }
        }
    }

    /// Everything that can be done without waiting for anything but the database.
    async fn round(&mut self, app: &App) -> Result<(), SystemError> {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.ended(ended.map_or_else(|error| error.id(), |(id, ())| id));
        }
        let news = self.inner.told.take();
        for (kind, from) in news.due {
            let known = self.due.entry(kind).or_insert(from);
            *known = from.min(*known);
        }
        let mut keys = news.keys.into_iter();
        for (kind, key) in keys.by_ref().take(KEYS_A_ROUND) {
            self.inner.unblock(&kind, &key).await?;
        }
        // The others in the next round: what is due comes first.
        keys.for_each(|(kind, key)| self.inner.told.key(kind, key));
        if self.look || news.all {
            self.look_around(app).await?;
        }
        self.fire(app).await?;
        self.fill(app).await
    }

    /// Fires the schedules whose time has come.
    async fn fire(&mut self, app: &App) -> Result<(), SystemError> {
        let now = self.inner.now_ms();
        for schedule in app.schedules.iter().filter(|schedule| !self.pauses.schedule(&schedule.name)) {
            let Some(at) = self.times.get(schedule.name.as_str()).copied().filter(|at| *at <= now) else { continue };
            match self.inner.fire(app, schedule, at).await? {
                Some(next) => self.times.insert(schedule.name.as_str().into(), next),
                None => self.times.remove(schedule.name.as_str()),
            };
        }
        Ok(())
    }

    /// Looks at what others, or an earlier process, have left.
    async fn look_around(&mut self, app: &App) -> Result<(), SystemError> {
        self.pauses = self.inner.pauses().await.map_err(SystemError::Store)?;
        self.inner.find_lost(self.shared).await?;
        let more = self.inner.find_unblocked(&self.after_key).await?;
        let looks_again = more.is_some();
        self.after_key = more.unwrap_or_default();
        self.give_back_paused(app).await?;
        self.times = self.inner.times(app).await?;
        for job in &app.jobs {
            if let Some(due) = self.inner.next_due(&job.name).await.map_err(SystemError::Store)? {
                let known = self.due.entry(job.name.as_str().into()).or_insert(due);
                *known = due.min(*known);
            }
        }
        self.look = looks_again;
        Ok(())
    }

    /// Gives back what was claimed and is paused now.
    async fn give_back_paused(&mut self, app: &App) -> Result<(), SystemError> {
        let mut paused = Vec::new();
        for queue in &app.queues {
            let Some(lane) = self.lanes.get_mut(queue.name.as_str()) else { continue };
            let is_paused = |job: &Claimed| self.pauses.queue(&queue.name) || self.pauses.job(&job.kind);
            paused.extend(lane.waiting.iter().filter(|job| is_paused(job)).map(|job| job.id.clone()));
            lane.waiting.retain(|job| !is_paused(job));
        }
        self.inner.hand_back(&paused).await?;
        paused.iter().for_each(|id| self.inner.held.ended(id));
        Ok(())
    }

    /// Claims and begins as much as the queues have room for.
    async fn fill(&mut self, app: &App) -> Result<(), SystemError> {
        for (at, queue) in app.queues.iter().enumerate() {
            let mut kinds: Vec<&haechi_model::Job> = app.jobs.iter().filter(|job| job.queue == at).collect();
            if kinds.is_empty() || self.pauses.queue(&queue.name) {
                continue;
            }
            let room = usize::try_from(queue.concurrency).unwrap_or(1);
            let lane = self.lanes.entry(queue.name.as_str().into()).or_default();
            // Kinds of one priority take turns; the sort keeps their order.
            let turn = lane.turn % kinds.len();
            kinds.rotate_left(turn);
            kinds.sort_by_key(|job| job.priority);
            lane.turn = lane.turn.wrapping_add(1);
            self.begin(&queue.name, room, queue.per_minute);
            for job in kinds {
                if self.pauses.job(&job.name) {
                    continue;
                }
                self.claim(&queue.name, &job.name, room, queue.per_minute).await?;
                self.begin(&queue.name, room, queue.per_minute);
            }
        }
        Ok(())
    }

    /// Claims jobs of a kind, when it is due and the queue has room.
    async fn claim(&mut self, queue: &str, kind: &str, room: usize, per_minute: Option<i64>) -> Result<(), SystemError> {
        let now = self.inner.now_ms();
        if self.due.get(kind).is_none_or(|due| *due > now) {
            return Ok(());
        }
        let Some(lane) = self.lanes.get(queue) else { return Ok(()) };
        let free = room.saturating_sub(lane.running + lane.waiting.len());
        let short = lane.seen >= SEEN && lane.mean_ms < SHORT_MS;
        let most = match per_minute {
            // What may not begin yet is left to other nodes.
            Some(_) => u32::from(free > 0 && lane.next.is_none_or(|next| next <= Instant::now())),
            None if short && lane.waiting.len() < room => CLAIMED_AT_ONCE,
            None => u32::try_from(free).unwrap_or(CLAIMED_AT_ONCE).min(CLAIMED_AT_ONCE),
        };
        if most == 0 {
            return Ok(());
        }
        let mut claimed = self.inner.claim(kind, most, false).await?;
        self.hold(queue, &claimed);
        if claimed.len() < most as usize {
            let suspect = if free > claimed.len() { self.inner.claim(kind, 1, true).await? } else { Vec::new() };
            self.hold(queue, &suspect);
            claimed.extend(suspect);
            // What was told meanwhile is looked at in the next round.
            self.due.remove(kind);
            if let Some(due) = self.inner.next_due(kind).await.map_err(SystemError::Store)? {
                // When others hold what is due, it is looked again after a moment.
                let soonest = if claimed.is_empty() { now + HELD_MS } else { 0 };
                self.due.insert(kind.into(), due.max(soonest));
            }
        }
        Ok(())
    }

    /// Puts claimed jobs into their lane, before anything else can fail.
    fn hold(&mut self, queue: &str, claimed: &[Claimed]) {
        claimed.iter().for_each(|job| self.inner.held.claimed(&job.id));
        if let Some(lane) = self.lanes.get_mut(queue) {
            lane.waiting.extend(claimed.iter().cloned());
        }
    }

    /// Begins claimed jobs while the queue has room.
    fn begin(&mut self, queue: &str, room: usize, per_minute: Option<i64>) {
        let Some(lane) = self.lanes.get_mut(queue) else { return };
        while lane.running < room {
            if lane.next.is_some_and(|next| next > Instant::now()) {
                return;
            }
            let Some(job) = lane.waiting.pop_front() else { return };
            if !self.inner.held.has(&job.id) {
                // It was lost or cancelled meanwhile.
                continue;
            }
            lane.next = per_minute.map(|most| Instant::now() + Duration::from_millis(60_000 / most.max(1).unsigned_abs()));
            lane.running += 1;
            let id = job.id.clone();
            let handle = self.tasks.spawn(run::run(self.inner.clone(), job));
            self.inner.held.begun(&id, handle.clone());
            self.runs.insert(handle.id(), Run { queue: queue.into(), id, began: Instant::now() });
        }
    }

    fn ended(&mut self, task: Id) {
        let Some(run) = self.runs.remove(&task) else { return };
        self.inner.held.ended(&run.id);
        if let Some(lane) = self.lanes.get_mut(&run.queue) {
            lane.running = lane.running.saturating_sub(1);
            let took = u64::try_from(run.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            lane.mean_ms = if lane.seen == 0 { took } else { lane.mean_ms - lane.mean_ms / 8 + took / 8 };
            lane.seen = lane.seen.saturating_add(1);
        }
    }

    /// When something is to be done that nobody tells.
    fn next(&self, app: &App) -> Option<Instant> {
        let now = self.inner.now_ms();
        let mut next: Option<Instant> = None;
        let mut sooner = |at: Instant| next = Some(next.map_or(at, |known| known.min(at)));
        // The clock of jobs may be another than that of this machine, so it is looked at again before long.
        let until = |due: i64| Instant::now() + Duration::from_millis((due - now).clamp(0, 1_000).unsigned_abs());
        for schedule in app.schedules.iter().filter(|schedule| !self.pauses.schedule(&schedule.name)) {
            self.times.get(schedule.name.as_str()).into_iter().for_each(|at| sooner(until(*at)));
        }
        for (queue, known) in app.queues.iter().filter_map(|queue| Some((queue, self.lanes.get(queue.name.as_str())?))) {
            if known.running >= usize::try_from(queue.concurrency).unwrap_or(1) || self.pauses.queue(&queue.name) {
                continue;
            }
            let begins = known.next.unwrap_or_else(Instant::now);
            if !known.waiting.is_empty() {
                sooner(begins);
            }
            for job in app.jobs.iter().filter(|job| app.queues[job.queue].name == queue.name && !self.pauses.job(&job.name)) {
                if let Some(due) = self.due.get(job.name.as_str()) {
                    sooner(begins.max(until(*due)));
                }
            }
        }
        next
    }

    /// Waits for what is under way, for a while, and gives back the rest.
    async fn stop(mut self) {
        let waiting: Vec<Box<str>> = self.lanes.values_mut().flat_map(|lane| lane.waiting.drain(..)).map(|job| job.id).collect();
        self.give_back(&waiting).await;
        let until = Instant::now() + STOP_WITHIN;
        while !self.tasks.is_empty() {
            match tokio::time::timeout_at(until, self.tasks.join_next_with_id()).await {
                Ok(Some(ended)) => self.ended(ended.map_or_else(|error| error.id(), |(id, ())| id)),
                _ => break,
            }
        }
        self.tasks.abort_all();
        let cut: Vec<Box<str>> = self.runs.values().map(|run| run.id.clone()).collect();
        self.give_back(&cut).await;
    }

    async fn give_back(&self, ids: &[Box<str>]) {
        if let Err(error) = self.inner.hand_back(ids).await {
            tracing::warn!(target: "haechi::jobs", ?error, "jobs could not be given back; they wait until their lease ends");
        }
    }
}

async fn sleep_until(next: Option<Instant>) {
    match next {
        Some(next) => tokio::time::sleep_until(next).await,
        None => std::future::pending().await,
    }
}
