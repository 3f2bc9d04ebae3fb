//! How much work Opus encoders may take, by the load of the worker that runs them: first new calls give way, then running
//! ones, from libopus's complexity 5 to 2 to 0; and back when the load falls.

use std::time::{Duration, Instant};

/// From this load on encoders give way: well below the one at which calls are refused.
pub const HIGH_LOAD: f32 = 0.70;
/// Below this one they come back. The dearest step, from complexity 0 to 2, costs half as much again (measured: 258 narrowband
/// calls per core at complexity 5, 327 at 2, 504 at 0), so it ends well below [`HIGH_LOAD`].
pub const LOW_LOAD: f32 = 0.40;
/// So long a step takes to show in the load: no next one before.
const REACTION: Duration = Duration::from_secs(3);
/// So long the load must have been low before each step back.
const CALM: Duration = Duration::from_secs(10);

/// The complexities of libopus between which encoders are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Effort {
    /// What a new encoder begins with, and the least of a running one.
    pub least: u8,
    /// The most of a running one.
    pub most: u8,
}

impl Default for Effort {
    fn default() -> Effort {
        STEPS[0]
    }
}

impl Effort {
    /// What an encoder goes on with that has had `complexity` so far; none: that is new.
    pub fn of_encoder(self, complexity: Option<u8>) -> u8 {
        complexity.unwrap_or(self.least).clamp(self.least, self.most)
    }
}

/// Least work last.
const STEPS: [Effort; 5] = [
    Effort { least: 5, most: 5 },
    Effort { least: 2, most: 5 },
    Effort { least: 0, most: 5 },
    Effort { least: 0, most: 2 },
    Effort { least: 0, most: 0 },
];

/// Decides the effort of one worker.
#[derive(Debug, Default)]
pub struct EffortControl {
    step: usize,
    changed: Option<Instant>,
    /// The load has been low since.
    calm: Option<Instant>,
}

impl EffortControl {
    /// A new measurement of the load, 0 to 1. The effort, if it changes.
    pub fn handle_load(&mut self, load: f32, now: Instant) -> Option<Effort> {
        self.calm = if load < LOW_LOAD { self.calm.or(Some(now)) } else { None };
        if self.changed.is_some_and(|at| now < at + REACTION) {
            return None;
        }
        if load >= HIGH_LOAD && self.step + 1 < STEPS.len() {
            return Some(self.go(self.step + 1, now));
        }
        if self.step > 0 && self.calm.is_some_and(|since| since + CALM <= now) {
            self.calm = Some(now);
            return Some(self.go(self.step - 1, now));
        }
        None
    }

    /// What holds now.
    pub fn effort(&self) -> Effort {
        STEPS[self.step]
    }

    /// Whether something is still to come back: the load wants to be measured on, though nothing happens.
    pub fn is_reduced(&self) -> bool {
        self.step > 0
    }

    fn go(&mut self, step: usize, now: Instant) -> Effort {
        (self.step, self.changed) = (step, Some(now));
        STEPS[step]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(500);

    /// A worker with encoders: what each complexity costs is what was measured.
    struct Worker {
        control: EffortControl,
        now: Instant,
        encoders: Vec<u8>,
        load: f32,
        steps: Vec<usize>,
    }

    impl Worker {
        fn new() -> Worker {
            let (control, now) = (EffortControl::default(), Instant::now());
            Worker { control, now, encoders: Vec::new(), load: 0.0, steps: Vec::new() }
        }

        fn cost(complexity: u8) -> f32 {
            match complexity {
                0 => 1.0 / 504.0,
                2 => 1.0 / 327.0,
                5 => 1.0 / 258.0,
                other => panic!("complexity {other}"),
            }
        }

        fn set_calls(&mut self, calls: usize) {
            let new = self.control.effort().of_encoder(None);
            self.encoders.resize(calls, new);
        }

        fn run(&mut self, time: Duration) {
            let end = self.now + time;
            while self.now < end {
                self.now += TICK;
                let busy: f32 = self.encoders.iter().map(|c| Worker::cost(*c)).sum();
                self.load = (self.load + busy.min(1.0)) / 2.0;
                if let Some(effort) = self.control.handle_load(self.load, self.now) {
                    self.steps.push(self.control.step);
                    for encoder in &mut self.encoders {
                        *encoder = effort.of_encoder(Some(*encoder));
                    }
                }
            }
        }

        fn run_until(&mut self, step: usize) {
            while self.control.step != step {
                self.run(TICK);
            }
        }
    }

    #[test]
    fn new_calls_give_way_first_then_running_ones_one_step_at_a_time() {
        let mut worker = Worker::new();
        worker.set_calls(170);
        worker.run(Duration::from_secs(30));
        assert_eq!(worker.control.effort(), Effort { least: 5, most: 5 }, "66 % is not high");
        worker.set_calls(182);
        worker.run_until(1);
        assert_eq!(worker.control.effort(), Effort { least: 2, most: 5 });
        assert!(worker.encoders.iter().all(|c| *c == 5), "who runs is left alone");
        worker.set_calls(183);
        assert_eq!(worker.encoders[182], 2);
        worker.run_until(2);
        worker.set_calls(184);
        assert_eq!(worker.encoders[183], 0);
        worker.set_calls(240);
        worker.run(Duration::from_secs(60));
        assert_eq!(worker.steps, [1, 2, 3], "at complexity 2 they fit");
        worker.set_calls(400);
        worker.run(Duration::from_secs(60));
        assert_eq!(worker.steps, [1, 2, 3, 4]);
        assert!(worker.encoders.iter().all(|c| *c == 0));
    }

    #[test]
    fn when_the_load_falls_everything_comes_back_step_by_step() {
        let mut worker = Worker::new();
        worker.set_calls(450);
        worker.run(Duration::from_secs(60));
        worker.set_calls(40);
        worker.run(Duration::from_secs(9));
        assert_eq!(worker.steps, [1, 2, 3, 4], "not at once");
        worker.run(Duration::from_secs(60));
        assert_eq!(worker.steps, [1, 2, 3, 4, 3, 2, 1, 0]);
        assert!(worker.encoders.iter().all(|c| *c == 5));
    }

    #[test]
    fn no_number_of_calls_makes_it_go_to_and_fro() {
        for calls in 1..700 {
            let mut up = Worker::new();
            up.set_calls(calls);
            up.run(Duration::from_secs(300));
            assert!(up.steps.is_sorted(), "{calls} calls: {:?}", up.steps);
            let mut down = Worker::new();
            down.set_calls(700);
            down.run(Duration::from_secs(60));
            down.steps.clear();
            down.set_calls(calls);
            down.run(Duration::from_secs(300));
            assert!(down.steps.is_sorted_by(|a, b| a > b), "{calls} calls: {:?}", down.steps);
        }
    }

    #[test]
    fn a_short_peak_changes_one_step_at_most_and_a_short_lull_none() {
        let now = Instant::now();
        let mut control = EffortControl::default();
        let at = |ms| now + Duration::from_millis(ms);
        assert!(control.handle_load(0.9, at(0)).is_some());
        assert!(control.handle_load(0.9, at(500)).is_none());
        assert!(control.handle_load(0.5, at(3_500)).is_none());
        for second in 0..100 {
            let load = if second % 9 == 8 { 0.5 } else { 0.1 };
            assert!(control.handle_load(load, at(4_000 + second * 1_000)).is_none());
        }
    }
}
