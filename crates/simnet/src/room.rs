//! What the switch was told of its workers and of the gateway's end, and whether it keeps to that.

use b2bua::{Switch, WorkerLoad};
use types::{CallId, EndReason, WorkerId};

use crate::plane::Plane;
use crate::rng::Rng;

/// From this load on a worker gets no calls; it is the switch's limit, and a bit for sums of fractions.
const FULL: f32 = 0.851;
/// With this and what calls of a simulation add, a worker has room, whatever was before.
const QUIET: f32 = 0.5;

/// What the workers have to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Level {
    /// Room on every worker.
    Quiet,
    /// Near the limit: either is right.
    Brink,
    /// Room on one of two.
    OneFull,
    /// No room.
    AllFull,
    /// The second worker ends by a defect, and its calls with it.
    OneGone,
}

impl Level {
    /// A name for the summary.
    pub fn name(self) -> &'static str {
        match self {
            Level::Quiet => "in:loads-quiet",
            Level::Brink => "in:loads-brink",
            Level::OneFull => "in:loads-one-full",
            Level::AllFull => "in:loads-full",
            Level::OneGone => "in:worker-gone",
        }
    }
}

/// Which calls may begin, and what has become of them so far.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// By worker; nothing: never measured.
    loads: Vec<WorkerLoad>,
    gone: bool,
    /// Calls that run go on, none begins.
    pub draining: bool,
    /// All calls are being ended.
    pub stopping: bool,
    calls: usize,
    overloaded: u64,
    stopped: u64,
}

fn is_full(load: WorkerLoad) -> bool {
    match load {
        WorkerLoad::Busy(load) => load >= FULL,
        WorkerLoad::Gone => true,
    }
}

impl Room {
    /// Loads of this level.
    pub fn draw(&mut self, level: Level, rng: &mut Rng) -> Vec<WorkerLoad> {
        let mut between =
            |low: u64, high: u64| WorkerLoad::Busy((low + rng.below(high - low)) as f32 / 1000.0);
        let mut loads = match level {
            Level::Quiet | Level::OneGone => [between(0, 500), between(0, 500)],
            Level::Brink => [between(700, 900), between(700, 900)],
            Level::OneFull => [between(860, 1000), between(0, 500)],
            Level::AllFull => [between(860, 1000), between(860, 1000)],
        };
        self.gone |= level == Level::OneGone;
        if self.gone {
            loads[1] = WorkerLoad::Gone;
        } else if rng.chance(500) {
            loads.reverse();
        }
        self.loads = loads.to_vec();
        self.loads.clone()
    }

    /// Nobody new is to be taken.
    pub fn is_full(&self) -> bool {
        !self.loads.is_empty() && self.loads.iter().copied().all(is_full)
    }

    /// Nobody is to be turned away.
    pub fn is_ample(&self) -> bool {
        let quiet = |load: &WorkerLoad| matches!(load, WorkerLoad::Busy(load) if *load <= QUIET);
        self.loads.is_empty() || self.loads.iter().any(quiet)
    }

    /// After every step; `calls` is how many there ever were. `asked`: somebody wanted a new call. Those of transfers are for
    /// calls that run: they may begin always, and where the legs are that they join.
    pub fn check(&mut self, switch: &Switch, plane: &Plane, calls: usize, asked: bool) -> Result<(), String> {
        let refused = |reason| switch.refused().find(|(r, _)| *r == reason).map_or(0, |(_, count)| count);
        let (overloaded, stopped) =
            (refused(EndReason::GatewayOverloaded), refused(EndReason::GatewayStopping));
        let first = std::mem::replace(&mut self.calls, calls) + 1;
        let turned_away = std::mem::replace(&mut self.overloaded, overloaded) != overloaded;
        let shut_out = std::mem::replace(&mut self.stopped, stopped) != stopped;
        if turned_away && self.is_ample() {
            return Err(format!("a call is turned away with loads of {:?}", self.loads));
        }
        if shut_out && !self.draining && !self.stopping {
            return Err("a call is turned away as if the gateway stopped".into());
        }
        for call in (first..=calls).filter(|_| asked).map(|n| CallId(n as u64)) {
            if self.draining || self.stopping {
                return Err(format!("{call} begins while the gateway drains"));
            }
            if self.is_full() {
                return Err(format!("{call} begins while no worker has room"));
            }
            let full = |w: WorkerId| self.loads.get(usize::from(w.0)).is_some_and(|load| is_full(*load));
            if let Some(worker) = plane.worker_of(call).filter(|w| full(*w)) {
                return Err(format!("{call} begins on {worker:?}, which is full, and another is not"));
            }
        }
        Ok(())
    }

    /// What was turned away so far, by name.
    pub fn turned_away(&self) -> impl Iterator<Item = &'static str> {
        let names = [("turned-away:overloaded", self.overloaded), ("turned-away:stopping", self.stopped)];
        names.into_iter().filter(|(_, count)| *count != 0).map(|(name, _)| name)
    }
}
