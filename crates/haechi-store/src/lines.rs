//! Decides whose work comes next. Callers take turns, weighted by the cost of their work; within a caller, first come, first served.
//!
//! Each caller has a clock that advances by the time their work takes; the caller whose clock is furthest behind is next. A caller who
//! begins to wait starts with the clock of the callers being served, so nobody saves up turns.

use haechi_model::Failure;
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::{Duration, Instant},
};

/// Most work that waits in all; one caller has at most half of it.
pub(crate) const QUEUE: usize = 4096;
/// Clocks of absent callers that are kept.
const REMEMBERED: usize = 4096;

/// How full a pool is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Connections that it may have.
    pub size: usize,
    /// Connections that are open.
    pub open: usize,
    /// Those that are in use.
    pub used: usize,
    /// Work that waits for one.
    pub waiting: usize,
    /// How often a connection was given.
    pub given: u64,
    /// The total time of waiting for them.
    pub waited: Duration,
}

/// The lines of all callers.
pub(crate) struct Lines<W> {
    lines: HashMap<u64, Line<W>>,
    /// Callers with waiting work, by their clocks.
    due: BTreeSet<(u64, u64)>,
    /// The clock of the caller who was served last.
    now: u64,
    waiting: usize,
}

/// A caller's work.
struct Line<W> {
    waiting: VecDeque<W>,
    /// Nanoseconds that their work took.
    clock: u64,
    /// How much of the caller's work is running.
    held: usize,
    /// The expected cost of the next work: the cost of the last.
    expected: u64,
}

/// Work to be done, with the cost already put on the caller's clock.
pub(crate) struct Turn<W> {
    pub(crate) work: W,
    pub(crate) done: Done,
}

/// A finished turn, to be given back.
pub(crate) struct Done {
    caller: u64,
    charged: u64,
    pub(crate) started: Instant,
}

impl<W> Default for Lines<W> {
    fn default() -> Self {
        Self { lines: HashMap::new(), due: BTreeSet::new(), now: 0, waiting: 0 }
    }
}

impl<W> Lines<W> {
    /// How much work waits.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Puts work into its caller's line.
    pub(crate) fn push(&mut self, caller: u64, work: W) -> Result<(), Failure> {
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

    /// The next turn.
    pub(crate) fn next(&mut self) -> Option<Turn<W>> {
        self.due.first().copied().and_then(|next| self.take(next))
    }

    /// The next turn of a caller for whom `fits` holds; it gets the caller's running work and their first waiting work.
    pub(crate) fn next_where(&mut self, fits: impl Fn(usize, &W) -> bool) -> Option<Turn<W>> {
        let fits = |line: &Line<W>| line.waiting.front().is_some_and(|work| fits(line.held, work));
        let next = self.due.iter().copied().find(|(_, caller)| self.lines.get(caller).is_some_and(fits))?;
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

    /// Corrects the caller's clock: the expected cost is replaced by the real cost.
    pub(crate) fn give_back(&mut self, done: Option<Done>) {
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

    fn served(lines: &mut Lines<&'static str>) -> &'static str {
        lines.next().map_or("", |turn| {
            let took = if turn.work == "heavy" { Duration::from_millis(60) } else { Duration::from_millis(1) };
            let started = Instant::now().checked_sub(took).unwrap();
            lines.give_back(Some(Done { started, ..turn.done }));
            turn.work
        })
    }

    #[test]
    fn callers_take_turns_by_what_they_cost() {
        let mut lines = Lines::default();
        for _ in 0..100 {
            lines.push(1, "heavy").unwrap();
        }
        assert_eq!(served(&mut lines), "heavy");
        for _ in 0..100 {
            lines.push(2, "light").unwrap();
        }
        // Sixty light pieces of work cost the same as one heavy.
        let order: Vec<&str> = (0..120).map(|_| served(&mut lines)).collect();
        let light = order[..65].iter().filter(|work| **work == "light").count();
        assert!((55..=64).contains(&light), "{light} light ones before the second heavy one");
        let heavy = order.iter().filter(|work| **work == "heavy").count();
        assert!(heavy >= 20, "the heavy ones go on where nobody else waits: {heavy}");
    }

    #[test]
    fn nobody_saves_up_turns() {
        let mut lines = Lines::default();
        lines.push(2, "light").unwrap();
        served(&mut lines);
        for _ in 0..10 {
            lines.push(1, "heavy").unwrap();
            served(&mut lines);
        }
        for _ in 0..200 {
            lines.push(2, "light").unwrap();
            lines.push(1, "heavy").unwrap();
        }
        let order: Vec<&str> = (0..130).map(|_| served(&mut lines)).collect();
        assert!(order.iter().filter(|work| **work == "heavy").count() >= 2, "having been away gives no turns: {order:?}");
    }

    #[test]
    fn a_turn_can_be_for_those_who_hold_none() {
        let mut lines = Lines::default();
        lines.push(1, "first").unwrap();
        lines.push(1, "second").unwrap();
        let held = lines.next().unwrap();
        assert!(lines.next_where(|held, _| held == 0).is_none());
        lines.push(2, "other").unwrap();
        assert_eq!(lines.next_where(|held, _| held == 0).unwrap().work, "other");
        lines.give_back(Some(held.done));
        assert_eq!(lines.next_where(|held, _| held == 0).unwrap().work, "second");
    }

    #[test]
    fn a_caller_has_half_of_the_queue() {
        let mut lines = Lines::default();
        let taken = (0..QUEUE).filter(|_| lines.push(1, ()).is_ok()).count();
        assert_eq!(taken, QUEUE / 2);
        assert_eq!((lines.push(1, ()), lines.push(2, ())), (Err(Failure::Busy), Ok(())));
    }
}
