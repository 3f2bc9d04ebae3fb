//! What every call shares: configuration, the output queue, indexes of ids, and permits.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use media_bridge::control::{CallCommand, Command as Media};
use sip_ua::{Command as Sip, SipLeg, Target};
use types::{CallId, EndReason, LegId, SessionId, UserName, Wall, WorkerId};
use webrtc_peer::signalling::ToBrowser;

use crate::config::SwitchConfig;
use crate::output::{Level, Output};
use crate::registrar::Registrar;
use crate::session::Sessions;
use crate::targets::{News, Targets, shown};
use crate::transfer::Effect;
use crate::workers::{Seat, Workers};

/// Both clocks at the moment of one input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub now: Instant,
    pub wall: Wall,
}

/// The right to one of a limited number of calls; given back in one place, `Usage::release`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Permit {
    User(UserName),
    Trunk(usize),
}

/// How many permits are out. All are zero when there are no calls.
#[derive(Debug)]
pub(crate) struct Usage {
    users: BTreeMap<UserName, UserUse>,
    trunks: Vec<u32>,
    /// Calls that may be started on each trunk at once: at most those of one second.
    buckets: Vec<Option<Bucket>>,
    pub workers: Workers,
}

/// What one user uses.
#[derive(Debug, Default)]
struct UserUse {
    calls: u32,
    /// Where the media of their calls is, so that joining two of them moves no leg.
    worker: Option<WorkerId>,
}

/// Calls that may still be started: a second's worth at most, filling up as time passes.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// In billionths of a call: one nanosecond adds the rate.
    left: u64,
    at: Instant,
}

const ONE_CALL: u64 = 1_000_000_000;

impl Usage {
    pub fn new(config: &SwitchConfig) -> Self {
        Usage {
            users: BTreeMap::new(),
            trunks: vec![0; config.trunks.len()],
            buckets: vec![None; config.trunks.len()],
            workers: Workers::new(config.workers),
        }
    }

    /// One more call for a user, unless their limit is reached.
    pub fn take_user(&mut self, config: &SwitchConfig, name: &UserName) -> Option<Permit> {
        let limit = config.user(name.as_str()).and_then(|u| u.max_calls).unwrap_or(u32::MAX);
        let used = self.users.get(name).map_or(0, |u| u.calls);
        if used >= limit {
            return None;
        }
        self.users.entry(name.clone()).or_default().calls += 1;
        Some(Permit::User(name.clone()))
    }

    /// One more call on a trunk, unless its limit is reached.
    pub fn take_trunk(&mut self, config: &SwitchConfig, trunk: usize) -> Option<Permit> {
        let used = self.trunks.get_mut(trunk)?;
        if *used >= config.trunks[trunk].max_calls.unwrap_or(u32::MAX) {
            return None;
        }
        *used += 1;
        Some(Permit::Trunk(trunk))
    }

    /// One more call for a user who asks for help.
    pub fn force_user(&mut self, name: &UserName) -> Permit {
        self.users.entry(name.clone()).or_default().calls += 1;
        Permit::User(name.clone())
    }

    /// One more call on a trunk for someone who asks for help.
    pub fn force_trunk(&mut self, trunk: usize) -> Permit {
        self.trunks[trunk] += 1;
        Permit::Trunk(trunk)
    }

    /// One more call that we start on a trunk.
    pub fn start_on_trunk(
        &mut self,
        config: &SwitchConfig,
        trunk: usize,
        now: Instant,
    ) -> Result<Permit, EndReason> {
        if self.trunks[trunk] >= config.trunks[trunk].max_calls.unwrap_or(u32::MAX) {
            return Err(EndReason::TooManyCalls);
        }
        if let Some(rate) = config.trunks[trunk].calls_per_second.map(u64::from) {
            let full = rate * ONE_CALL;
            let bucket = self.buckets[trunk].get_or_insert(Bucket { left: full, at: now });
            let passed =
                u64::try_from(now.saturating_duration_since(bucket.at).as_nanos()).unwrap_or(u64::MAX);
            bucket.left = bucket.left.saturating_add(passed.saturating_mul(rate)).min(full);
            bucket.at = now;
            bucket.left = bucket.left.checked_sub(ONE_CALL).ok_or(EndReason::RateLimited)?;
        }
        self.trunks[trunk] += 1;
        Ok(Permit::Trunk(trunk))
    }

    /// Where a call's media is to be: on the wanted worker, or where a permit's user has calls already, or where there is
    /// most room.
    pub fn take_worker(
        &mut self,
        wanted: Option<WorkerId>,
        permits: [Option<&Permit>; 2],
    ) -> (WorkerId, Seat) {
        let users = permits.map(|p| match p {
            Some(Permit::User(name)) => Some(name.clone()),
            Some(Permit::Trunk(_)) | None => None,
        });
        let users: Vec<UserName> = users.into_iter().flatten().collect();
        let usual = users.iter().find_map(|name| self.users.get(name)?.worker);
        let (id, seat) = self.workers.take(wanted, usual);
        for name in &users {
            let used = &mut self.users.entry(name.clone()).or_default().worker;
            *used = used.filter(|w| self.workers.is_quiet(*w)).or(Some(id));
        }
        (id, seat)
    }

    pub fn release(&mut self, permit: Permit) {
        match permit {
            Permit::User(name) => {
                if let Some(used) = self.users.get_mut(&name) {
                    used.calls -= 1;
                    if used.calls == 0 {
                        self.users.remove(&name);
                    }
                }
            }
            Permit::Trunk(trunk) => self.trunks[trunk] -= 1,
        }
    }

    /// Permits out, of every kind.
    pub fn total(&self) -> u32 {
        self.users.values().map(|u| u.calls).sum::<u32>()
            + self.trunks.iter().sum::<u32>()
            + self.workers.total()
    }

    pub fn on_trunk(&self, trunk: usize) -> u32 {
        self.trunks.get(trunk).copied().unwrap_or(0)
    }
}

pub(crate) struct Shared {
    pub config: SwitchConfig,
    /// Where each trunk's requests go, and what is known of it.
    pub targets: Targets,
    pub out: VecDeque<Output>,
    pub sip_legs: HashMap<SipLeg, (CallId, LegId)>,
    pub sessions: Sessions,
    pub registrar: Registrar,
    pub usage: Usage,
    /// What calls have left for each other.
    pub effects: VecDeque<Effect>,
    next_sip: u64,
}

impl Shared {
    pub fn new(config: SwitchConfig) -> Self {
        Shared {
            targets: Targets::new(&config),
            out: VecDeque::new(),
            sip_legs: HashMap::new(),
            sessions: Sessions::default(),
            registrar: Registrar::default(),
            usage: Usage::new(&config),
            effects: VecDeque::new(),
            next_sip: 0,
            config,
        }
    }

    /// A name for a leg that we start, known to belong to a call from now on.
    pub fn new_sip_leg(&mut self, call: CallId, leg: LegId) -> SipLeg {
        let sip = SipLeg::outgoing(self.next_sip);
        self.next_sip += 1;
        self.sip_legs.insert(sip, (call, leg));
        sip
    }

    pub fn sip(&mut self, command: Sip) {
        self.out.push_back(Output::Sip(command));
    }

    pub fn browser(&mut self, session: SessionId, message: ToBrowser) {
        self.out.push_back(Output::Browser(session, message));
    }

    pub fn media(&mut self, worker: WorkerId, call: CallId, command: Media) {
        self.out.push_back(Output::Media(worker, CallCommand { call, command }));
    }

    pub fn log(&mut self, level: Level, call: Option<CallId>, text: impl Into<String>) {
        self.out.push_back(Output::Log(level, call, text.into()));
    }

    /// Says that a target of a trunk failed or is back; its address belongs below info.
    pub fn tell_target(&mut self, trunk: usize, target: &Target, news: Option<News>) {
        let Some(news) = news else { return };
        let name = &self.config.trunks[trunk].name;
        let (level, text) = match news {
            News::Back => (Level::Info, format!("trunk {name}: a server that failed answers again")),
            News::Gone => {
                (Level::Warn, format!("trunk {name}: a server failed; others are tried first for a while"))
            }
        };
        let detail = format!("trunk {name}: that was {}", shown(target));
        self.log(level, None, text);
        self.log(Level::Debug, None, detail);
    }

    pub fn error(&mut self, session: SessionId, code: &str, message: impl Into<String>, call: Option<&str>) {
        let error =
            ToBrowser::Error { code: code.into(), message: message.into(), call: call.map(str::to_owned) };
        self.browser(session, error);
    }
}
