//! The reader threads' turns; `lines.rs` decides whose work comes next.
//!
//! Ordinary threads take the next work of any caller. When all of them have been in long reads for a while, a spare thread takes a read of
//! a caller who holds no thread. So one caller's long reads do not delay the next caller.

use crate::lines::{Done, Fill, Lines, Turn};
use haechi_model::Failure;
use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// A read is long from this time on; the spare threads check as often.
const LONG: Duration = Duration::from_millis(2);
/// How a thread checks for work before it sleeps: it spins, twice as long each time, then yields.
const SPINS: u32 = 6;
const ROUNDS: u32 = 10;

/// A queue of one kind of work, and the threads that take from it.
pub(super) struct Turns<W> {
    state: Mutex<State<W>>,
    /// Whether work waits, readable without the lock.
    waits: AtomicBool,
    /// Ordinary threads wait here.
    ordinary: Condvar,
    /// The spare thread that watches the ordinary ones waits here.
    lookout: Condvar,
    /// The other spare threads wait here.
    spare: Condvar,
}

struct State<W> {
    lines: Lines<W>,
    /// Ordinary threads that wait for work.
    idle: usize,
    /// The time since when each ordinary thread is at work.
    started: Vec<Option<Instant>>,
    /// Whether a spare thread watches, and whether it must be woken.
    watched: bool,
    asleep: bool,
    closed: bool,
}

impl<W> Turns<W> {
    /// For this number of ordinary threads.
    pub(super) fn new(ordinary: usize) -> Self {
        Self {
            state: Mutex::new(State {
                lines: Lines::default(),
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

    /// The number of ordinary threads, how many of them work, and how much work waits.
    pub(super) fn fill(&self) -> Fill {
        let state = self.lock();
        let used = state.started.iter().flatten().count();
        Fill { size: state.started.len(), open: state.started.len(), used, waiting: state.lines.waiting(), ..Fill::default() }
    }

    /// Puts work into its caller's line.
    pub(super) fn push(&self, caller: u64, work: W) -> Result<(), Failure> {
        let mut state = self.lock();
        if state.closed {
            return Err(Failure::Unavailable);
        }
        state.lines.push(caller, work)?;
        self.waits.store(true, Ordering::Release);
        // A woken thread counts as busy at once: a second piece of work wakes another thread, or none.
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

    /// The next work for an ordinary thread, if any waits. The thread gives back its finished turn.
    pub(super) fn next(&self, thread: usize, done: Option<Done>) -> Option<(Turn<W>, bool)> {
        let mut state = self.lock();
        state.lines.give_back(done);
        let turn = state.serve(thread);
        self.tell(&state);
        turn
    }

    /// The same, but waits for work; `None` once it is closed. The flag says that more work waits.
    pub(super) fn wait(&self, thread: usize) -> Option<(Turn<W>, bool)> {
        // The next work often comes within microseconds: sleeping and waking takes longer.
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

    /// Waits for a spare thread's work; `None` once it is closed.
    pub(super) fn wait_spare(&self, done: Option<Done>) -> Option<Turn<W>> {
        let mut state = self.lock();
        state.lines.give_back(done);
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
            if state.lines.waiting() == 0 {
                state.asleep = true;
                state = self.lookout.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.asleep = false;
            }
            // Usually an ordinary thread takes it meanwhile.
            if !state.closed {
                state = self.lookout.wait_timeout(state, LONG).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        None
    }

    /// Closes it: threads finish the waiting work and end.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.ordinary.notify_all();
        self.lookout.notify_all();
        self.spare.notify_all();
    }

    fn tell(&self, state: &State<W>) {
        if state.lines.waiting() == 0 {
            self.waits.store(false, Ordering::Release);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W> State<W> {
    /// The next turn of an ordinary thread; without one, the thread is idle.
    fn serve(&mut self, thread: usize) -> Option<(Turn<W>, bool)> {
        let turn = self.lines.next();
        self.started[thread] = turn.as_ref().map(|turn| turn.done.started);
        turn.map(|turn| (turn, self.lines.waiting() > 0))
    }

    /// The next turn of a caller who holds no thread, once all ordinary threads are in long work.
    fn relieve(&mut self) -> Option<Turn<W>> {
        let long = |started: &Option<Instant>| started.is_some_and(|started| started.elapsed() >= LONG);
        if self.lines.waiting() == 0 || !self.started.iter().all(long) {
            return None;
        }
        self.lines.next_where(|held, _| held == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spare_thread_serves_who_holds_none() {
        let turns = Turns::new(2);
        for _ in 0..4 {
            turns.push(1, "heavy").unwrap();
        }
        let mut state = turns.lock();
        let held = [state.serve(0).unwrap().0, state.serve(1).unwrap().0];
        state.lines.push(2, "light").unwrap();
        assert!(state.relieve().is_none(), "nothing is long yet");
        let long_ago = Instant::now().checked_sub(LONG).unwrap();
        state.started = vec![Some(long_ago); 2];
        assert_eq!(state.relieve().map(|turn| turn.work), Some("light"));
        assert!(state.relieve().is_none(), "who holds a thread waits for an ordinary one");
        for turn in held {
            state.lines.give_back(Some(turn.done));
        }
        assert_eq!(state.serve(0).map(|(turn, more)| (turn.work, more)), Some(("heavy", true)));
    }

    #[test]
    fn a_closed_queue_does_what_waits() {
        let turns = Turns::new(1);
        turns.push(1, ()).unwrap();
        turns.push(1, ()).unwrap();
        turns.close();
        assert_eq!(turns.push(2, ()), Err(Failure::Unavailable));
        assert!(turns.wait(0).is_some(), "what waits is done");
        while turns.next(0, None).is_some() {}
        assert!(turns.wait(0).is_none() && turns.wait_spare(None).is_none());
    }
}
