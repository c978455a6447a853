//! Who watches what. Streams that see the same share one decision and one message for each change.

use super::{
    log::{Event, Read},
    told::{EndReason, Told, WatchError},
    view::{Met, Sight, WatchQuery},
};
use crate::{
    ask::Ask,
    caller::{Caller, CallerKind},
    grant::{Verb, Watch},
    keys::{MasterKey, Purpose, Sealer},
    memory::Revocation,
    refusal::{ReadError, Refusal},
    shared::Shared,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use haechi_model::LiveConfig;
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};
use tokio::sync::{Notify, mpsc};

/// Most messages that may wait for one stream.
const QUEUE: usize = 256;
/// Bytes of rows that may wait for one stream; a single row always may.
const QUEUE_BYTES: usize = 1 << 20;
/// Bytes of rows that may wait for all streams. Beyond that, streams with waiting rows are ended.
const ALL_BYTES: usize = 64 << 20;
const CONTEXT: &[u8] = b"live position";

/// What is queued for a stream.
#[derive(Clone)]
pub(crate) enum Queued {
    Told(Arc<Told>),
    Resync(Arc<str>),
    Beat(Arc<str>),
    End(EndReason),
}

/// A stream, as the hub knows it.
pub(crate) struct Member {
    number: u64,
    state: Mutex<(Ask, Arc<Sight>)>,
    query: WatchQuery,
    /// The first position that is queued for it; a stream reads earlier ones itself.
    pub(crate) attached: i64,
    cut: Mutex<Option<EndReason>>,
    /// Bytes of rows that wait for it.
    waiting: AtomicUsize,
}

impl Member {
    pub(crate) fn ask(&self) -> Ask {
        lock(&self.state).0.clone()
    }

    pub(crate) fn sight(&self) -> Arc<Sight> {
        lock(&self.state).1.clone()
    }

    /// Why it was cut off; `None` when it was not.
    pub(crate) fn reason(&self) -> Option<EndReason> {
        *lock(&self.cut)
    }

    /// A waiting message was taken.
    pub(crate) fn took(&self, told: &Told) {
        self.waiting.fetch_sub(told.bytes(), Ordering::Relaxed);
    }

    fn cut(&self, reason: EndReason) {
        *lock(&self.cut) = Some(reason);
    }
}

struct Attached {
    member: Arc<Member>,
    sender: mpsc::Sender<Queued>,
}

struct Group {
    sight: Arc<Sight>,
    members: Vec<Attached>,
}

#[derive(Default)]
struct State {
    /// The next position to tell; `None` while nobody watches.
    position: Option<i64>,
    groups: HashMap<[u8; 32], Group>,
    /// All streams until they are dropped, also streams that were cut off and still have something to read.
    members: HashMap<u64, Arc<Member>>,
    by_caller: HashMap<(CallerKind, Box<str>), usize>,
    /// Credentials of streams opened since the last check.
    fresh: Vec<(Arc<str>, Caller)>,
    closed: bool,
}

/// All streams of this node.
pub(crate) struct Hub {
    state: Mutex<State>,
    positions: Sealer,
    limits: LiveConfig,
    woken: Notify,
    numbers: AtomicU64,
    /// Bytes of rows that are kept for streams.
    kept: Arc<AtomicUsize>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The key that counts streams: a caller, or a network for callers without credentials.
fn counted(ask: &Ask) -> (CallerKind, Box<str>) {
    let caller = ask.caller();
    let name = if caller.is_anonymous() { ask.network().to_string().into() } else { caller.id().into() };
    (caller.kind(), name)
}

impl Hub {
    pub(crate) fn new(master: &MasterKey, limits: LiveConfig) -> Option<Self> {
        Some(Self {
            state: Mutex::default(),
            positions: Sealer::new(master, Purpose::LivePosition)?,
            limits,
            woken: Notify::new(),
            numbers: AtomicU64::new(0),
            kept: Arc::default(),
        })
    }

    /// A position as clients see it: sealed, because it counts everybody's changes.
    pub(crate) fn token(&self, position: i64) -> Arc<str> {
        URL_SAFE_NO_PAD.encode(self.positions.seal(&position.to_be_bytes(), CONTEXT)).into()
    }

    pub(crate) fn open(&self, token: &str) -> Option<i64> {
        let plain = self.positions.open(&URL_SAFE_NO_PAD.decode(token).ok()?, CONTEXT)?;
        plain.try_into().ok().map(i64::from_be_bytes)
    }

    pub(crate) fn watched(&self) -> bool {
        !lock(&self.state).members.is_empty()
    }

    pub(crate) fn position(&self) -> Option<i64> {
        lock(&self.state).position
    }

    pub(crate) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// Adds a stream. `next`: the position that the log had a moment ago.
    pub(crate) fn attach(
        &self,
        ask: &Ask,
        query: WatchQuery,
        sight: Sight,
        next: i64,
    ) -> Result<(Arc<Member>, mpsc::Receiver<Queued>, i64), WatchError> {
        // A stream without a credential to check again could outlive its caller.
        if !ask.caller().is_anonymous() && ask.credential().is_none() {
            return Err(WatchError::Read(ReadError::Refused(Refusal::Unauthenticated)));
        }
        let caller = counted(ask);
        let mut state = lock(&self.state);
        let of_caller = state.by_caller.get(&caller).copied().unwrap_or_default();
        if state.closed || state.members.len() >= self.limits.streams || of_caller >= self.limits.streams_per_caller {
            return Err(WatchError::TooMany);
        }
        *state.by_caller.entry(caller).or_default() += 1;
        let attached = *state.position.get_or_insert(next);
        let (sender, receiver) = mpsc::channel(QUEUE);
        let group = state.groups.entry(sight.key).or_insert_with(|| Group { sight: Arc::new(sight), members: Vec::new() });
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let member = Member {
            number,
            state: Mutex::new((ask.clone(), group.sight.clone())),
            query,
            attached,
            cut: Mutex::default(),
            waiting: AtomicUsize::new(0),
        };
        let member = Arc::new(member);
        group.members.push(Attached { member: member.clone(), sender });
        state.members.insert(number, member.clone());
        if let Some(credential) = ask.credential() {
            // The credential was good when the request began, but may have been revoked since.
            state.fresh.push((credential.clone(), ask.caller.clone()));
        }
        drop(state);
        self.woken.notify_one();
        Ok((member, receiver, attached))
    }

    /// Forgets a stream that was dropped. One that was cut off keeps its place until then.
    pub(crate) fn detach(&self, member: &Arc<Member>) {
        let mut state = lock(&self.state);
        remove(&mut state, member);
        state.members.remove(&member.number);
        let key = counted(&member.ask());
        if let Some(count) = state.by_caller.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                state.by_caller.remove(&key);
            }
        }
        if state.members.is_empty() {
            state.position = None;
        }
    }

    /// Tells a part of the log, from one position to the next.
    pub(crate) async fn dispatch(&self, shared: &Arc<Shared>, found: Vec<Read>, (from, next): (i64, i64)) {
        let sights: Vec<Arc<Sight>> = {
            let mut state = lock(&self.state);
            // All streams have left meanwhile and a new one has come, which begins at another position.
            if state.position != Some(from) {
                return;
            }
            // A stream that comes from now on reads these entries itself.
            state.position = Some(next);
            state.groups.values().map(|group| group.sight.clone()).collect()
        };
        let mut upset: HashSet<[u8; 32]> = HashSet::new();
        for read in found {
            match read {
                Read::Event(event) => {
                    self.tell(shared, &sights, &event).await;
                    upset.extend(sights.iter().filter(|sight| sight.upset_by(&event)).map(|sight| sight.key));
                }
                Read::Upset { collection, .. } | Read::Lost { collection, .. } => {
                    let concerned = sights.iter().filter(|sight| sight.concerned_by(collection));
                    concerned.for_each(|sight| self.send(sight, &Queued::Resync(self.token(next))));
                }
                Read::Caller(user) => {
                    // Another node may have done it: what this node remembers is looked up again.
                    match user {
                        _ if !shared.store.is_shared() => {}
                        Some(user) => shared.memory.forget(&Revocation::User(user)),
                        None => shared.memory.forget(&Revocation::All),
                    }
                    shared.doubt.fetch_add(1, Ordering::AcqRel);
                }
            }
        }
        if upset.is_empty() {
            return;
        }
        let position = self.token(next);
        for sight in sights.iter().filter(|sight| upset.contains(&sight.key)) {
            self.send(sight, &Queued::Resync(position.clone()));
        }
    }

    async fn tell(&self, shared: &Arc<Shared>, sights: &[Arc<Sight>], event: &Event) {
        let position = self.token(event.position + 1);
        let mut met = Met::default();
        for (at, sight) in sights.iter().filter(|sight| sight.collection == event.collection).enumerate() {
            match sight.judge(shared, event, &position, &mut met).await {
                Ok(Some(told)) => self.send_told(sight, event.position, &Arc::new(told.kept(&self.kept))),
                Ok(None) => {}
                // When a change cannot be decided, the client is told to read its list again.
                Err(_) => self.send(sight, &Queued::Resync(position.clone())),
            }
            if at % 64 == 63 {
                // Readers get their turn while there is much to decide.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Queues something for all who see the same.
    fn send(&self, sight: &Sight, queued: &Queued) {
        self.each(sight, |attached| offer(attached, queued.clone()));
    }

    /// Queues a change; what it shows is recorded first.
    fn send_told(&self, sight: &Sight, at: i64, told: &Arc<Told>) {
        let ids = std::slice::from_ref(&told.id);
        self.each(sight, |attached| {
            // A stream that came meanwhile has read it itself.
            if at < attached.member.attached {
                return true;
            }
            let seen = attached.member.ask().sight(Watch::NAME, told.collection, &told.shown, ids, false);
            if seen.is_err() {
                attached.member.cut(EndReason::Busy);
                return false;
            }
            let (bytes, before) = (told.bytes(), attached.member.waiting.load(Ordering::Relaxed));
            if before > 0 && (before + bytes > QUEUE_BYTES || self.kept.load(Ordering::Relaxed) > ALL_BYTES) {
                attached.member.cut(EndReason::Slow);
                return false;
            }
            attached.member.waiting.fetch_add(bytes, Ordering::Relaxed);
            offer(attached, Queued::Told(told.clone()))
        });
    }

    /// Calls `keep` for each stream with this sight; streams for which it fails are cut off.
    fn each(&self, sight: &Sight, mut keep: impl FnMut(&Attached) -> bool) {
        let mut state = lock(&self.state);
        if let Some(group) = state.groups.get_mut(&sight.key) {
            group.members.retain(|attached| keep(attached));
            if group.members.is_empty() {
                state.groups.remove(&sight.key);
            }
        }
    }

    /// Sends idle streams their position. A full queue needs none: its messages carry positions.
    pub(crate) fn beat(&self) {
        let state = lock(&self.state);
        let Some(position) = state.position else { return };
        let token = self.token(position);
        for attached in state.groups.values().flat_map(|group| &group.members) {
            let _ = attached.sender.try_send(Queued::Beat(token.clone()));
        }
    }

    /// Binds sights that depend on the time again.
    pub(crate) async fn tick(&self, shared: &Arc<Shared>) {
        let timed: Vec<Arc<Member>> = {
            let state = lock(&self.state);
            state
                .groups
                .values()
                .filter(|group| group.sight.timed)
                .flat_map(|group| group.members.iter().map(|attached| attached.member.clone()))
                .collect()
        };
        for (at, member) in timed.iter().enumerate() {
            self.rebind(shared, member, false);
            if at % 64 == 63 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Binds everything again: policies have changed.
    pub(crate) fn rebind_all(&self, shared: &Arc<Shared>) {
        let members: Vec<Arc<Member>> = {
            let state = lock(&self.state);
            state.groups.values().flat_map(|group| group.members.iter().map(|attached| attached.member.clone())).collect()
        };
        for member in members {
            self.rebind(shared, &member, true);
        }
    }

    /// Checks again what a stream may see; when that has changed, the stream is told to read its list again.
    fn rebind(&self, shared: &Arc<Shared>, member: &Arc<Member>, always: bool) {
        let (before, sight) = (member.ask(), member.sight());
        let ask = Ask { revision: shared.revision.load_full(), now_ms: shared.clock.now_ms(), ..before };
        match Sight::of(&ask, sight.collection, &member.query) {
            Ok(found) if found.key == sight.key && !always => {}
            Ok(found) => {
                let mut state = lock(&self.state);
                let Some(attached) = remove(&mut state, member) else { return };
                let group = state.groups.entry(found.key).or_insert_with(|| Group { sight: Arc::new(found), members: Vec::new() });
                *lock(&member.state) = (ask, group.sight.clone());
                let position = state.position.map(|position| self.token(position));
                if position.is_none_or(|position| offer(&attached, Queued::Resync(position)))
                    && let Some(group) = state.groups.get_mut(&member.sight().key)
                {
                    group.members.push(attached);
                }
            }
            Err(error) => {
                let refused = matches!(error, ReadError::Refused(_) | ReadError::FieldRefused(..));
                self.end(member, if refused { EndReason::Refused } else { EndReason::Busy });
            }
        }
    }

    /// The credentials of streams that were opened since the last call.
    pub(crate) fn fresh(&self) -> Vec<(Arc<str>, Caller)> {
        std::mem::take(&mut lock(&self.state).fresh)
    }

    /// The credentials that streams were opened with, each once.
    pub(crate) fn credentials(&self) -> Vec<(Arc<str>, Caller)> {
        let state = lock(&self.state);
        let mut found: HashMap<Arc<str>, Caller> = HashMap::new();
        for member in state.members.values() {
            let ask = member.ask();
            if let Some(credential) = ask.credential() {
                found.entry(credential.clone()).or_insert_with(|| ask.caller.clone());
            }
        }
        found.into_iter().collect()
    }

    /// Ends the streams of a credential.
    pub(crate) fn end_credential(&self, credential: &str, reason: EndReason) {
        let members: Vec<Arc<Member>> = {
            let state = lock(&self.state);
            let of = |member: &&Arc<Member>| member.ask().credential().is_some_and(|own| **own == *credential);
            state.members.values().filter(of).cloned().collect()
        };
        for member in members {
            self.end(&member, reason);
        }
    }

    /// Whether no stream is opened any more.
    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    /// Ends all streams, and opens none any more.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        for attached in state.groups.drain().flat_map(|(_, group)| group.members) {
            attached.member.cut(EndReason::Closing);
            let _ = attached.sender.try_send(Queued::End(EndReason::Closing));
        }
    }

    fn end(&self, member: &Arc<Member>, reason: EndReason) {
        let mut state = lock(&self.state);
        member.cut(reason);
        if let Some(attached) = remove(&mut state, member) {
            let _ = attached.sender.try_send(Queued::End(reason));
        }
    }
}

/// Whether there was room for it.
fn offer(attached: &Attached, queued: Queued) -> bool {
    let kept = attached.sender.try_send(queued).is_ok();
    if !kept {
        attached.member.cut(EndReason::Slow);
    }
    kept
}

fn remove(state: &mut State, member: &Arc<Member>) -> Option<Attached> {
    let key = member.sight().key;
    let group = state.groups.get_mut(&key)?;
    let at = group.members.iter().position(|attached| attached.member.number == member.number)?;
    let attached = group.members.swap_remove(at);
    if group.members.is_empty() {
        state.groups.remove(&key);
    }
    Some(attached)
}
