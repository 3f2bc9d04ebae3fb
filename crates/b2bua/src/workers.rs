//! Which media worker gets a call, and whether any of them has room for one more.
//!
//! A worker measures its load; what it has been promised since is added to that: calls that ring carry hardly any audio
//! yet, and those answered a moment ago are not in the figure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use types::{WorkerId, limits};

/// From this load on a worker gets no more calls: what is left is for calls that run, and for those that ask for help.
pub const FULL_LOAD: f32 = 0.85;
/// Once all were full, one must be below this before calls are taken again: no turning to and fro at the brink.
pub const ROOM_AGAIN: f32 = 0.80;
/// Until this load a user's calls are kept together, so that joining two of them moves no leg.
const KEEP_TOGETHER: f32 = 0.5;
/// Loads this close count as equal; the number of calls decides.
const STEPS: f32 = 20.0;
/// How long an answered call takes to be in the measured load.
const SETTLED: Duration = Duration::from_secs(2);
/// From so many settled calls on, their mean load is what one more is expected to bring.
const KNOWN_FROM: u32 = 4;
/// What one more is expected to bring before that: a transcoded call at the encoder's lowest complexity.
const USUAL_COST: f32 = 0.002;
/// Nothing in a call costs more; a mean above counts what is not of calls.
const HIGHEST_COST: f32 = 0.01;

/// What the media plane says of one worker.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum WorkerLoad {
    /// The share of its time in which it works, 0 to 1.
    Busy(f32),
    /// Its thread has ended: it has no calls and gets none.
    Gone,
}

#[derive(Debug, Default)]
struct Worker {
    calls: u32,
    /// Of those, not answered yet.
    unanswered: u32,
    /// Of those, answered so lately that the load does not show them.
    unsettled: u32,
    /// None: never measured, and then nothing is refused for it.
    load: Option<f32>,
    gone: bool,
}

/// The right to be one of a worker's calls; given back to [`Workers::release`].
#[derive(Debug)]
pub(crate) struct Seat {
    worker: WorkerId,
    /// Its number among the answered.
    answered: Option<u64>,
}

/// All media workers.
#[derive(Debug)]
pub(crate) struct Workers {
    all: Vec<Worker>,
    /// When calls were answered, oldest first, and whose they are that still run; at most `limits::CALLS`.
    answered: VecDeque<(Instant, Option<WorkerId>)>,
    /// Answered calls that are in the measured load by now: the number of the oldest that is not.
    settled: u64,
    refusing: bool,
}

impl Worker {
    /// What one more call brings.
    fn cost(&self) -> f32 {
        let settled = self.calls.saturating_sub(self.unanswered + self.unsettled);
        match self.load {
            None => 0.0,
            Some(load) if settled >= KNOWN_FROM => (load / settled as f32).min(HIGHEST_COST),
            Some(_) => USUAL_COST,
        }
    }

    /// The load once all that was promised is there.
    fn expected(&self) -> f32 {
        self.load.unwrap_or(0.0) + (self.unanswered + self.unsettled) as f32 * self.cost()
    }

    fn rank(&self) -> (u32, u32) {
        ((self.expected() * STEPS) as u32, self.calls)
    }
}

impl Workers {
    pub fn new(count: u8) -> Workers {
        let all = (0..count.max(1)).map(|_| Worker::default()).collect();
        Workers { all, answered: VecDeque::new(), settled: 0, refusing: false }
    }

    /// News of all workers, in the order of their numbers; returns those that have gone since.
    pub fn measured(&mut self, loads: impl IntoIterator<Item = WorkerLoad>) -> Vec<WorkerId> {
        let mut gone = Vec::new();
        for ((id, worker), news) in (0..).map(WorkerId).zip(&mut self.all).zip(loads) {
            match news {
                WorkerLoad::Busy(load) => worker.load = Some(load),
                WorkerLoad::Gone => {
                    if !std::mem::replace(&mut worker.gone, true) {
                        gone.push(id);
                    }
                }
            }
        }
        gone
    }

    /// Whether some worker has room for one more call.
    pub fn have_room(&mut self, now: Instant) -> bool {
        self.settle(now);
        let limit = if self.refusing { ROOM_AGAIN } else { FULL_LOAD };
        let room = |w: &Worker| !w.gone && w.expected() + w.cost() < limit;
        self.refusing = !self.all.iter().any(room);
        !self.refusing
    }

    /// Whether any worker is left.
    pub fn any_alive(&self) -> bool {
        self.all.iter().any(|w| !w.gone)
    }

    /// A seat on the wanted worker; else on the usual one, unless that is busy; else on the one with least load.
    pub fn take(&mut self, wanted: Option<WorkerId>, usual: Option<WorkerId>) -> (WorkerId, Seat) {
        let wanted = wanted.filter(|id| self.alive(*id).is_some());
        let usual = usual.filter(|id| self.is_quiet(*id));
        let worker = wanted.or(usual).unwrap_or_else(|| self.idlest());
        if let Some(w) = self.at(worker) {
            w.calls += 1;
            w.unanswered += 1;
        }
        (worker, Seat { worker, answered: None })
    }

    /// Whether more of a user's calls may join those that are there.
    pub fn is_quiet(&self, id: WorkerId) -> bool {
        self.alive(id).is_some_and(|w| w.expected() < KEEP_TOGETHER)
    }

    /// A call was answered: its audio runs.
    pub fn answered(&mut self, seat: &mut Seat, now: Instant) {
        if seat.answered.is_some() {
            return;
        }
        self.settle(now);
        seat.answered = Some(self.settled + self.answered.len() as u64);
        if let Some(w) = self.at(seat.worker) {
            w.unanswered -= 1;
            w.unsettled += 1;
        }
        self.answered.push_back((now, Some(seat.worker)));
        if self.answered.len() > limits::CALLS {
            self.settle_oldest();
        }
    }

    /// A call is over. One that ended before it was settled brings nothing any more.
    pub fn release(&mut self, seat: Seat) {
        let unsettled = seat.answered.and_then(|number| number.checked_sub(self.settled));
        let place = unsettled.and_then(|at| self.answered.get_mut(usize::try_from(at).ok()?));
        let unsettled = place.and_then(|(_, worker)| worker.take()).is_some();
        if let Some(w) = self.at(seat.worker) {
            w.calls -= 1;
            w.unanswered -= u32::from(seat.answered.is_none());
            w.unsettled -= u32::from(unsettled);
        }
    }

    /// Seats taken.
    pub fn total(&self) -> u32 {
        self.all.iter().map(|w| w.calls).sum()
    }

    fn alive(&self, id: WorkerId) -> Option<&Worker> {
        self.all.get(usize::from(id.0)).filter(|w| !w.gone)
    }

    fn at(&mut self, worker: WorkerId) -> Option<&mut Worker> {
        self.all.get_mut(usize::from(worker.0))
    }

    fn settle(&mut self, now: Instant) {
        while self.answered.front().is_some_and(|(at, _)| *at + SETTLED <= now) {
            self.settle_oldest();
        }
    }

    fn settle_oldest(&mut self) {
        let Some((_, worker)) = self.answered.pop_front() else { return };
        self.settled += 1;
        if let Some(w) = worker.and_then(|worker| self.at(worker)) {
            w.unsettled -= 1;
        }
    }

    fn idlest(&self) -> WorkerId {
        let all = (0..).map(WorkerId).zip(&self.all);
        let (id, _) = all.min_by_key(|(id, w)| (w.gone, w.rank(), *id)).expect("at least one worker");
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(workers: &mut Workers, loads: &[f32]) {
        workers.measured(loads.iter().map(|load| WorkerLoad::Busy(*load)));
    }

    fn place(workers: &mut Workers, calls: u32) -> Vec<Seat> {
        (0..calls).map(|_| workers.take(None, None).1).collect()
    }

    fn counts(workers: &Workers) -> Vec<u32> {
        workers.all.iter().map(|w| w.calls).collect()
    }

    #[test]
    fn without_any_measurement_calls_are_spread_evenly_and_none_is_refused() {
        let mut workers = Workers::new(3);
        place(&mut workers, 3_000);
        assert_eq!(counts(&workers), [1_000; 3]);
        assert!(workers.have_room(Instant::now()));
    }

    #[test]
    fn the_least_loaded_worker_is_taken_and_small_differences_do_not_count() {
        let mut workers = Workers::new(3);
        busy(&mut workers, &[0.40, 0.31, 0.34]);
        place(&mut workers, 2);
        assert_eq!(counts(&workers), [0, 1, 1]);
        busy(&mut workers, &[0.10, 0.31, 0.34]);
        place(&mut workers, 4);
        assert_eq!(counts(&workers), [4, 1, 1]);
    }

    #[test]
    fn a_burst_between_two_measurements_is_spread() {
        let mut workers = Workers::new(2);
        busy(&mut workers, &[0.0, 0.3]);
        place(&mut workers, 300);
        let counts = counts(&workers);
        assert!(counts[0] > counts[1] && counts[1] > 50, "{counts:?}");
    }

    #[test]
    fn calls_that_ring_count_towards_the_limit_before_they_are_heard() {
        let now = Instant::now();
        let mut workers = Workers::new(1);
        busy(&mut workers, &[0.5]);
        let mut seats = Vec::new();
        while workers.have_room(now) {
            seats.push(workers.take(None, None).1);
            assert!(seats.len() < 1_000);
        }
        assert!((170..180).contains(&seats.len()), "0.35 at 0.002 each: {}", seats.len());
        seats.drain(..).for_each(|seat| workers.release(seat));
        assert!(workers.have_room(now));
    }

    #[test]
    fn an_answered_call_is_in_the_measured_load_after_two_seconds() {
        let mut now = Instant::now();
        let mut workers = Workers::new(1);
        busy(&mut workers, &[0.0]);
        let mut seats = place(&mut workers, 400);
        seats.iter_mut().for_each(|seat| workers.answered(seat, now));
        busy(&mut workers, &[0.75]);
        assert!(!workers.have_room(now), "not yet in the figure");
        now += SETTLED;
        assert!(workers.have_room(now), "0.75 is all of it");
        assert!((workers.all[0].cost() - 0.75 / 400.0).abs() < 1e-6, "their mean");
        seats.into_iter().for_each(|seat| workers.release(seat));
        assert_eq!((workers.total(), workers.all[0].unanswered, workers.all[0].unsettled), (0, 0, 0));
    }

    #[test]
    fn a_call_that_ends_right_after_its_answer_leaves_nothing_behind() {
        let now = Instant::now();
        let mut workers = Workers::new(1);
        busy(&mut workers, &[0.1]);
        let (_, mut seat) = workers.take(None, None);
        workers.answered(&mut seat, now);
        workers.answered(&mut seat, now);
        workers.release(seat);
        assert!(workers.have_room(now + SETTLED));
        assert_eq!((workers.all[0].unsettled, workers.answered.len()), (0, 0));
    }

    #[test]
    fn calls_that_end_right_after_their_answer_leave_room_for_as_many_more() {
        let mut now = Instant::now();
        let mut workers = Workers::new(2);
        busy(&mut workers, &[0.1, 0.1]);
        let mut lasting = place(&mut workers, 100);
        lasting.iter_mut().for_each(|seat| workers.answered(seat, now));
        for n in 0..20_000 {
            assert!(workers.have_room(now), "after {n}");
            let (_, mut seat) = workers.take(None, None);
            workers.answered(&mut seat, now);
            now += Duration::from_micros(500);
            workers.release(seat);
        }
        assert_eq!(workers.all.iter().map(|w| w.unsettled).sum::<u32>(), 0);
        lasting.into_iter().for_each(|seat| workers.release(seat));
        assert_eq!((workers.total(), workers.settled), (0, 20_100 - workers.answered.len() as u64));
    }

    #[test]
    fn refusing_ends_only_well_below_the_load_at_which_it_began() {
        let now = Instant::now();
        let mut workers = Workers::new(2);
        for (loads, room) in [
            ([0.84, 0.90], true),
            ([0.86, 0.90], false),
            ([0.82, 0.90], false),
            ([0.79, 0.90], true),
            ([0.84, 0.90], true),
        ] {
            busy(&mut workers, &loads);
            assert_eq!(workers.have_room(now), room, "{loads:?}");
        }
    }

    #[test]
    fn a_users_calls_stay_together_while_that_worker_is_quiet() {
        let (mut workers, usual) = (Workers::new(2), Some(WorkerId(1)));
        busy(&mut workers, &[0.1, 0.45]);
        assert_eq!(workers.take(None, usual).0, WorkerId(1));
        busy(&mut workers, &[0.1, 0.55]);
        assert_eq!(workers.take(None, usual).0, WorkerId(0));
        assert_eq!(workers.take(usual, None).0, WorkerId(1), "wanted is wanted");
    }

    #[test]
    fn a_worker_that_is_gone_gets_nothing_and_is_told_of_once() {
        let now = Instant::now();
        let mut workers = Workers::new(2);
        let news = [WorkerLoad::Gone, WorkerLoad::Busy(0.7)];
        assert_eq!(workers.measured(news), [WorkerId(0)]);
        assert_eq!(workers.measured(news), []);
        assert_eq!(workers.take(Some(WorkerId(0)), None).0, WorkerId(1));
        assert!(workers.have_room(now) && workers.any_alive());
        assert_eq!(workers.measured([WorkerLoad::Gone; 2]), [WorkerId(1)]);
        assert!(!workers.have_room(now) && !workers.any_alive());
    }
}
