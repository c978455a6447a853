//! Whose read comes next. Callers take turns, weighted by what their reads have cost; within a caller, first come, first served.
//!
//! Each caller has a clock that goes on by what their reads take; whose clock is furthest behind is next. Who begins to wait begins with
//! the clock of those who are being served, so nobody saves up turns.
//!
//! Ordinary threads take whatever is next. When all of them have been in long reads for a while, a spare thread takes a read of somebody
//! who holds no thread: one caller's long reads keep the ordinary threads, and the next caller does not wait for their end.

use haechi_model::Failure;
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Reads that wait, of all; one caller has at most half of that.
const QUEUE: usize = 4096;
/// From when on a read is long, and how often the spare threads look.
const LONG: Duration = Duration::from_millis(2);
/// How often a thread looks before it sleeps: first spinning, twice as long each time, then letting others run.
const SPINS: u32 = 6;
const ROUNDS: u32 = 10;
/// Clocks of callers that are kept for when they come again.
const REMEMBERED: usize = 4096;

/// A queue of work of a kind, and the threads that take from it.
pub(super) struct Turns<W> {
    state: Mutex<State<W>>,
    /// Whether work waits, to look at without the lock.
    waits: AtomicBool,
    /// Ordinary threads wait here.
    ordinary: Condvar,
    /// The spare thread that looks out waits here.
    lookout: Condvar,
    /// The other spare threads wait here.
    spare: Condvar,
}

struct State<W> {
    lines: HashMap<u64, Line<W>>,
    /// Callers of whom work waits, by their clocks.
    due: BTreeSet<(u64, u64)>,
    /// The clock of who was served last.
    now: u64,
    waiting: usize,
    /// Ordinary threads that wait for work.
    idle: usize,
    /// Since when each ordinary thread is at work.
    started: Vec<Option<Instant>>,
    /// Whether a spare thread looks out, and whether it must be woken.
    watched: bool,
    asleep: bool,
    closed: bool,
}

/// A caller's work.
struct Line<W> {
    waiting: VecDeque<W>,
    /// Nanoseconds that their work took.
    clock: u64,
    /// Threads that are at their work.
    held: usize,
    /// What the next one is taken to cost: what the last one did.
    expected: u64,
}

/// What a thread was given, and what was put on the caller's clock for it.
pub(super) struct Turn<W> {
    pub(super) work: W,
    pub(super) done: Done,
}

/// A turn that is to be given back.
pub(super) struct Done {
    caller: u64,
    charged: u64,
    started: Instant,
}

impl<W> Turns<W> {
    /// For so many ordinary threads.
    pub(super) fn new(ordinary: usize) -> Self {
        Self {
            state: Mutex::new(State {
                lines: HashMap::new(),
                due: BTreeSet::new(),
                now: 0,
                waiting: 0,
                idle: 0,
                started: vec![None; ordinary],
                watched: false,
                asleep: false,
                closed: false,
            }),
            waits: AtomicBool::new(false),
            ordinary: Condvar::new(),
            lookout: Condvar::new(),
            spare: Condvar::new(),
        }
    }

    /// Puts work into its caller's line.
    pub(super) fn push(&self, caller: u64, work: W) -> Result<(), Failure> {
        let mut state = self.lock();
        if state.closed {
            return Err(Failure::Unavailable);
        }
        state.push(caller, work)?;
        self.waits.store(true, Ordering::Release);
        // Who is woken counts as woken at once: a second piece of work wakes another thread, or nobody.
        let wakes = state.idle > 0;
        state.idle -= usize::from(wakes);
        let calls = !wakes && std::mem::take(&mut state.asleep);
        drop(state);
        if wakes {
            self.ordinary.notify_one();
        }
        if calls {
            self.lookout.notify_one();
        }
        Ok(())
    }

    /// What is next for an ordinary thread, if something waits. It gives back what it has done.
    pub(super) fn next(&self, thread: usize, done: Option<Done>) -> Option<(Turn<W>, bool)> {
        let mut state = self.lock();
        state.give_back(done);
        let turn = state.serve(thread);
        self.tell(&state);
        turn
    }

    /// The same, when there is something; nothing once it is closed. `true` beside it: more waits.
    pub(super) fn wait(&self, thread: usize) -> Option<(Turn<W>, bool)> {
        // The next work is most often a few microseconds away: to sleep and to be woken takes longer.
        for round in 0..ROUNDS {
            if self.waits.load(Ordering::Acquire) {
                break;
            }
            if round < SPINS { (0..1 << round).for_each(|_| std::hint::spin_loop()) } else { std::thread::yield_now() }
        }
        let mut state = self.lock();
        loop {
            if let Some(turn) = state.serve(thread) {
                self.tell(&state);
                return Some(turn);
            }
            if state.closed {
                return None;
            }
            state.idle += 1;
            state = self.ordinary.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What a spare thread is to do, when there is something; nothing once it is closed.
    pub(super) fn wait_spare(&self, done: Option<Done>) -> Option<Turn<W>> {
        let mut state = self.lock();
        state.give_back(done);
        while state.watched && !state.closed {
            state = self.spare.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.watched = true;
        while !state.closed {
            if let Some(turn) = state.relieve() {
                state.watched = false;
                self.tell(&state);
                self.spare.notify_one();
                return Some(turn);
            }
            if state.waiting == 0 {
                state.asleep = true;
                state = self.lookout.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.asleep = false;
            }
            // Most often an ordinary thread takes it meanwhile.
            if !state.closed {
                state = self.lookout.wait_timeout(state, LONG).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        None
    }

    /// Ends it: threads do what waits and end.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.ordinary.notify_all();
        self.lookout.notify_all();
        self.spare.notify_all();
    }

    fn tell(&self, state: &State<W>) {
        if state.waiting == 0 {
            self.waits.store(false, Ordering::Release);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W> State<W> {
    fn push(&mut self, caller: u64, work: W) -> Result<(), Failure> {
        if self.waiting >= QUEUE {
            return Err(Failure::Busy);
        }
        if self.lines.len() >= REMEMBERED && !self.lines.contains_key(&caller) {
            self.lines.retain(|_, line| line.held > 0 || !line.waiting.is_empty());
        }
        let now = self.now;
        let line = self.lines.entry(caller).or_insert_with(|| Line { waiting: VecDeque::new(), clock: now, held: 0, expected: 0 });
        if line.waiting.len() >= QUEUE / 2 {
            return Err(Failure::Busy);
        }
        if line.waiting.is_empty() {
            line.clock = line.clock.max(now);
            self.due.insert((line.clock, caller));
        }
        line.waiting.push_back(work);
        self.waiting += 1;
        Ok(())
    }

    /// The next turn of an ordinary thread; without one it is no longer at work.
    fn serve(&mut self, thread: usize) -> Option<(Turn<W>, bool)> {
        let turn = self.due.first().copied().and_then(|next| self.take(next));
        self.started[thread] = turn.as_ref().map(|turn| turn.done.started);
        turn.map(|turn| (turn, self.waiting > 0))
    }

    /// The next turn of somebody who holds no thread, once all ordinary ones are in long work.
    fn relieve(&mut self) -> Option<Turn<W>> {
        let long = |started: &Option<Instant>| started.is_some_and(|started| started.elapsed() >= LONG);
        if self.waiting == 0 || !self.started.iter().all(long) {
            return None;
        }
        let next = self.due.iter().copied().find(|(_, caller)| self.lines.get(caller).is_some_and(|line| line.held == 0))?;
        self.take(next)
    }

    fn take(&mut self, next: (u64, u64)) -> Option<Turn<W>> {
        self.due.remove(&next);
        let (clock, caller) = next;
        let line = self.lines.get_mut(&caller)?;
        let work = line.waiting.pop_front()?;
        self.waiting -= 1;
        self.now = self.now.max(clock);
        line.held += 1;
        line.clock += line.expected;
        if !line.waiting.is_empty() {
            self.due.insert((line.clock, caller));
        }
        Some(Turn { work, done: Done { caller, charged: line.expected, started: Instant::now() } })
    }

    /// What it took in place of what it was taken to.
    fn give_back(&mut self, done: Option<Done>) {
        let Some(done) = done else { return };
        let Some(line) = self.lines.get_mut(&done.caller) else { return };
        let took = u64::try_from(done.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        line.held -= 1;
        line.expected = took;
        let clock = line.clock.saturating_sub(done.charged).saturating_add(took);
        if !line.waiting.is_empty() {
            self.due.remove(&(line.clock, done.caller));
            self.due.insert((clock, done.caller));
        }
        line.clock = clock;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(state: &mut State<&'static str>, thread: usize) -> &'static str {
        state.serve(thread).map_or("", |(turn, _)| {
            let took = if turn.work == "heavy" { Duration::from_millis(60) } else { Duration::from_millis(1) };
            let started = Instant::now().checked_sub(took).unwrap();
            state.give_back(Some(Done { started, ..turn.done }));
            turn.work
        })
    }

    #[test]
    fn callers_take_turns_by_what_they_cost() {
        let turns = Turns::new(1);
        for _ in 0..100 {
            turns.push(1, "heavy").unwrap();
        }
        let mut state = turns.lock();
        assert_eq!(served(&mut state, 0), "heavy");
        for _ in 0..100 {
            state.push(2, "light").unwrap();
        }
        // Sixty light ones cost what a heavy one does.
        let order: Vec<&str> = (0..120).map(|_| served(&mut state, 0)).collect();
        let light = order[..65].iter().filter(|work| **work == "light").count();
        assert!((55..=64).contains(&light), "{light} light ones before the second heavy one");
        let heavy = order.iter().filter(|work| **work == "heavy").count();
        assert!(heavy >= 20, "the heavy ones go on where nobody else waits: {heavy}");
    }

    #[test]
    fn nobody_saves_up_turns() {
        let turns = Turns::new(1);
        turns.push(2, "light").unwrap();
        let mut state = turns.lock();
        served(&mut state, 0);
        for _ in 0..10 {
            state.push(1, "heavy").unwrap();
            served(&mut state, 0);
        }
        for _ in 0..200 {
            state.push(2, "light").unwrap();
            state.push(1, "heavy").unwrap();
        }
        let order: Vec<&str> = (0..130).map(|_| served(&mut state, 0)).collect();
        assert!(order.iter().filter(|work| **work == "heavy").count() >= 2, "having been away gives no turns: {order:?}");
    }

    #[test]
    fn a_spare_thread_serves_who_holds_none() {
        let turns = Turns::new(2);
        for _ in 0..4 {
            turns.push(1, "heavy").unwrap();
        }
        let mut state = turns.lock();
        let held = [state.serve(0).unwrap().0, state.serve(1).unwrap().0];
        state.push(2, "light").unwrap();
        assert!(state.relieve().is_none(), "nothing is long yet");
        let long_ago = Instant::now().checked_sub(LONG).unwrap();
        state.started = vec![Some(long_ago); 2];
        assert_eq!(state.relieve().map(|turn| turn.work), Some("light"));
        assert!(state.relieve().is_none(), "who holds a thread waits for an ordinary one");
        for turn in held {
            state.give_back(Some(turn.done));
        }
        assert_eq!(state.serve(0).map(|(turn, more)| (turn.work, more)), Some(("heavy", true)));
    }

    #[test]
    fn a_caller_has_half_of_the_queue() {
        let turns = Turns::new(1);
        let taken = (0..QUEUE).filter(|_| turns.push(1, ()).is_ok()).count();
        assert_eq!(taken, QUEUE / 2);
        assert_eq!((turns.push(1, ()), turns.push(2, ())), (Err(Failure::Busy), Ok(())));
        turns.close();
        assert_eq!(turns.push(2, ()), Err(Failure::Unavailable));
        assert!(turns.wait(0).is_some(), "what waits is done");
        while turns.next(0, None).is_some() {}
        assert!(turns.wait(0).is_none() && turns.wait_spare(None).is_none());
    }
}
