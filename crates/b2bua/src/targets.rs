//! Where each trunk's requests go: targets by priority and weight, which of them failed lately and which answer
//! (RFC 3263 §4.3, RFC 3261 §21.5.4). Calls and registrations share what they learn here; OPTIONS now and then asks
//! every target that no registration watches (RFC 3261 §11).

use std::time::{Duration, Instant};

use sip_ua::{PingId, Target};
use types::Entropy;

use crate::config::SwitchConfig;

/// How often a target that answers is asked.
pub const PING_EVERY: Duration = Duration::from_secs(60);
/// How often a target that failed is asked, so that it comes back soon.
pub const PING_FAILED: Duration = Duration::from_secs(20);
/// For how long a target is tried after all others once it failed; doubled by each further failure in a row.
pub const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// Longest such pause of our own choosing.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Longest `Retry-After` of a trunk that is obeyed.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// One place where a trunk takes requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrunkTarget {
    /// Where.
    pub target: Target,
    /// The lowest number is tried first (RFC 2782).
    pub priority: u32,
    /// Share of the calls among targets of one priority.
    pub weight: u32,
}

impl TrunkTarget {
    /// A target without alternatives.
    pub fn only(target: Target) -> TrunkTarget {
        TrunkTarget { target, priority: 0, weight: 1 }
    }
}

/// What is known of one target, for metrics and people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TargetStatus {
    /// Where.
    pub target: Target,
    /// Whether it answered the last request that showed it; none: not asked yet.
    pub reachable: Option<bool>,
    /// It failed lately and is tried after the others.
    pub suspended: bool,
    /// Times that it failed: transport errors, silence, 503.
    pub failures: u64,
}

/// Why requests go elsewhere first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Pause {
    until: Instant,
    /// It named the time itself by Retry-After: until then it is to get nothing at all (RFC 3261 §21.5.4).
    asked: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asking {
    /// OPTIONS is due then.
    At(Instant),
    Waiting(PingId),
}

#[derive(Clone, Copy, Debug)]
struct Known {
    at: TrunkTarget,
    reachable: Option<bool>,
    pause: Option<Pause>,
    /// Failures since it last answered.
    in_a_row: u32,
    failures: u64,
    /// None: nobody has looked at a clock yet.
    asking: Option<Asking>,
}

impl Known {
    fn new(at: TrunkTarget) -> Known {
        Known { at, reachable: None, pause: None, in_a_row: 0, failures: 0, asking: None }
    }

    fn paused(&self, now: Instant) -> Option<Pause> {
        self.pause.filter(|p| p.until > now)
    }

    /// Tried after the others.
    fn late(&self, now: Instant) -> bool {
        self.paused(now).is_some() || self.reachable == Some(false)
    }
}

/// What became known of a target, if that is news.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum News {
    Back,
    Gone,
}

/// An OPTIONS to send.
pub(crate) struct Question {
    pub trunk: usize,
    pub ping: PingId,
    pub target: Target,
}

/// All targets of all trunks.
#[derive(Debug)]
pub(crate) struct Targets {
    trunks: Vec<Vec<Known>>,
    next_ping: u32,
    /// When the next OPTIONS is due.
    next: Option<Instant>,
    /// The clock when it was last looked at.
    seen: Option<Instant>,
    stopped: bool,
}

impl Targets {
    pub fn new(config: &SwitchConfig) -> Targets {
        let known = |list: &Vec<TrunkTarget>| list.iter().copied().map(Known::new).collect();
        let trunks = config.trunks.iter().map(|t| known(&t.targets)).collect();
        Targets { trunks, next_ping: 0, next: None, seen: None, stopped: false }
    }

    /// New addresses from DNS; what is known of those that stay is kept.
    pub fn set(&mut self, trunk: usize, targets: Vec<TrunkTarget>) {
        let old = std::mem::take(&mut self.trunks[trunk]);
        let keep = |at: TrunkTarget| match old.iter().find(|k| k.at.target == at.target) {
            Some(known) => Known { at, ..*known },
            None => Known { asking: self.seen.map(|now| Asking::At(now + PING_EVERY)), ..Known::new(at) },
        };
        self.trunks[trunk] = targets.into_iter().map(keep).collect();
        self.settle();
    }

    /// After every change of what is to be asked when.
    fn settle(&mut self) {
        let at = |k: &Known| match k.asking {
            Some(Asking::At(at)) => Some(at),
            Some(Asking::Waiting(_)) | None => None,
        };
        self.next = self.trunks.iter().flatten().filter_map(at).min().filter(|_| !self.stopped);
    }

    pub fn of(&self, trunk: usize) -> impl Iterator<Item = Target> {
        self.trunks[trunk].iter().map(|k| k.at.target)
    }

    pub fn has(&self, trunk: usize, target: &Target) -> bool {
        self.of(trunk).any(|t| t == *target)
    }

    /// The targets in the order to try for one call: those that answer before those that failed, then by priority,
    /// among equals drawn by weight (RFC 2782). Whoever asked to be left alone is left out, unless `urgent`.
    pub fn order(&self, trunk: usize, urgent: bool, entropy: &mut dyn Entropy, now: Instant) -> Vec<Target> {
        let asked = |k: &&Known| urgent || !k.paused(now).is_some_and(|p| p.asked);
        let mut left: Vec<&Known> = self.trunks[trunk].iter().filter(asked).collect();
        let group = |k: &Known| (k.late(now), k.at.priority);
        // Weight 0 first: drawn only when the draw is 0.
        left.sort_by_key(|k| (group(k), k.at.weight != 0));
        let mut out = Vec::with_capacity(left.len());
        while let Some(first) = left.first().map(|k| group(k)) {
            let equals = left.iter().take_while(|k| group(k) == first).count();
            let at = if equals == 1 { 0 } else { draw(&left[..equals], entropy) };
            out.push(left.remove(at).at.target);
        }
        out
    }

    /// Where to register: the same target every time while it does well.
    pub fn first(&self, trunk: usize) -> Option<Target> {
        let late = |k: &Known| self.seen.is_some_and(|now| k.late(now));
        self.trunks[trunk].iter().min_by_key(|k| (late(k), k.at.priority)).map(|k| k.at.target)
    }

    /// A target that does better than this one, for a registration that failed.
    pub fn better(&self, trunk: usize, than: &Target, now: Instant) -> Option<Target> {
        let usable = self.trunks[trunk].iter().filter(|k| k.at.target != *than && !k.late(now));
        usable.min_by_key(|k| k.at.priority).map(|k| k.at.target)
    }

    /// Whether a registration that fails there could go on elsewhere.
    pub fn has_other(&self, trunk: usize, than: &Target) -> bool {
        self.seen.map_or(self.trunks[trunk].len() > 1, |now| self.better(trunk, than, now).is_some())
    }

    /// How long it lasts until one of them may be asked again; none: one may be now, or there is none at all.
    pub fn asked_to_wait(&self, trunk: usize, now: Instant) -> Option<Duration> {
        let waits =
            self.trunks[trunk].iter().map(|k| k.paused(now).filter(|p| p.asked).map(|p| p.until - now));
        waits.collect::<Option<Vec<_>>>()?.into_iter().min()
    }

    fn find(&mut self, trunk: usize, target: &Target) -> Option<&mut Known> {
        self.trunks.get_mut(trunk)?.iter_mut().find(|k| k.at.target == *target)
    }

    /// A transport error, silence, or 503 with the seconds that it asked for.
    pub fn failed(
        &mut self,
        trunk: usize,
        target: &Target,
        retry_after: Option<u32>,
        now: Instant,
    ) -> Option<News> {
        let known = self.find(trunk, target)?;
        let news = known.paused(now).is_none().then_some(News::Gone);
        let pause = FIRST_PAUSE.saturating_mul(1 << known.in_a_row.min(8)).min(LONGEST_PAUSE);
        let asked =
            retry_after.filter(|s| *s > 0).map(|s| Duration::from_secs(s.into()).min(LONGEST_RETRY_AFTER));
        known.in_a_row += 1;
        known.failures += 1;
        known.pause = Some(Pause { until: now + asked.unwrap_or(pause), asked: asked.is_some() });
        if let Some(Asking::At(at)) = &mut known.asking {
            *at = (*at).min(now + PING_FAILED);
        }
        self.settle();
        news
    }

    /// It answered a request: whatever the answer, it is there. A time that it named itself stays.
    pub fn answered(&mut self, trunk: usize, target: &Target, now: Instant) -> Option<News> {
        let known = self.find(trunk, target)?;
        let news = known.late(now).then_some(News::Back);
        known.reachable = Some(true);
        known.in_a_row = 0;
        known.pause = known.paused(now).filter(|p| p.asked);
        news.filter(|_| known.pause.is_none())
    }

    /// The OPTIONS that are due; `watched`: the target that a registration of ours watches. A target is asked for the
    /// first time one interval after it became known.
    pub fn due(&mut self, watched: impl Fn(usize) -> Option<Target>, now: Instant) -> Vec<Question> {
        let mut questions = Vec::new();
        let first = self.seen.replace(now).is_none();
        if self.stopped || (!first && self.next.is_none_or(|at| at > now)) {
            return questions;
        }
        for (trunk, targets) in self.trunks.iter_mut().enumerate() {
            let watched = watched(trunk);
            for known in targets.iter_mut() {
                match known.asking {
                    None => known.asking = Some(Asking::At(now + PING_EVERY)),
                    Some(Asking::At(at)) if at <= now && watched == Some(known.at.target) => {
                        known.asking = Some(Asking::At(now + PING_EVERY));
                    }
                    Some(Asking::At(at)) if at <= now => {
                        let ping = PingId(self.next_ping);
                        self.next_ping = self.next_ping.wrapping_add(1);
                        known.asking = Some(Asking::Waiting(ping));
                        questions.push(Question { trunk, ping, target: known.at.target });
                    }
                    Some(Asking::At(_) | Asking::Waiting(_)) => {}
                }
            }
        }
        self.settle();
        questions
    }

    /// The answer to an OPTIONS, whatever its status, or none.
    pub fn pong(&mut self, ping: PingId, there: bool, now: Instant) -> Option<(usize, Target, News)> {
        let all =
            self.trunks.iter_mut().enumerate().flat_map(|(i, list)| list.iter_mut().map(move |k| (i, k)));
        let (trunk, known) = { all }.find(|(_, k)| k.asking == Some(Asking::Waiting(ping)))?;
        let target = known.at.target;
        known.asking = Some(Asking::At(now + if there { PING_EVERY } else { PING_FAILED }));
        if there {
            let first = known.reachable.is_none();
            self.settle();
            let news = self.answered(trunk, &target, now).or(first.then_some(News::Back))?;
            return Some((trunk, target, news));
        }
        let news = known.reachable.replace(false) != Some(false);
        self.failed(trunk, &target, None, now);
        news.then_some((trunk, target, News::Gone))
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// No more questions.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.settle();
    }

    /// As of the time that was last looked at.
    pub fn status(&self, trunk: usize) -> Vec<TargetStatus> {
        let status = |k: &Known| TargetStatus {
            target: k.at.target,
            reachable: k.reachable,
            suspended: self.seen.is_some_and(|now| k.paused(now).is_some()),
            failures: k.failures,
        };
        self.trunks[trunk].iter().map(status).collect()
    }
}

/// The place of one of them, drawn by weight.
fn draw(equals: &[&Known], entropy: &mut dyn Entropy) -> usize {
    // RFC 2782 draws from 0 to the sum: scaled, so that the one number more weighs nothing but lets weight 0 have a turn.
    let weight = |k: &Known| u64::from(k.at.weight) * 1000;
    let sum: u64 = equals.iter().map(|k| weight(k)).sum();
    let drawn = entropy.u64() % (sum + 1);
    let mut running = 0;
    let reached = |k: &&Known| {
        running += weight(k);
        running >= drawn
    };
    equals.iter().position(reached).unwrap_or(0)
}

/// For logs: how and where.
pub(crate) fn shown(target: &Target) -> String {
    format!("{} {}", target.transport().name(), target.remote())
}
