//! The switch: owns every call and what calls share, takes inputs one by one, is polled for what to do.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use media_bridge::control::{CallEvent, Codec, Event as MediaEvent};
use sip_ua::digest::{Challenger, offered_for};
use sip_ua::{Event as SipEvent, RegistrationId, SipLeg};
use types::{CallId, EndReason, EndedBy, Entropy, LegId, Wall, limits};

use crate::access::Access;
use crate::ban::Bans;
use crate::call::{Call, Failure, NewCall, State};
use crate::config::SwitchConfig;
use crate::dialplan::Readings;
use crate::guard::Guard;
use crate::later::Later;
use crate::output::{CdrParty, CloseWhy, Output};
use crate::registrar::Registrar;
use crate::shared::{Clock, Shared};
use crate::trunks::Registered;
use crate::workers::WorkerLoad;

/// How far a call is, for metrics and people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallStage {
    /// Not yet answered.
    Setup,
    /// Answered.
    Talking,
    /// Ended, waiting for everyone to confirm.
    Closing,
}

/// Which calls are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Service {
    /// All there is room for.
    Open,
    /// Those for help, and what belongs to calls that run.
    Draining,
    /// None: all are being ended.
    Stopping,
}

/// What a new call is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// Somebody wants to talk.
    Talk,
    /// Somebody asks for help: room is kept for that, and no load is too high.
    Help,
    /// It takes a leg of a running call over, or is made for one by a transfer: it adds nothing for long.
    Transfer,
}

/// The sans-IO back-to-back user agent: every call, user, registration and trunk of one gateway.
pub struct Switch {
    pub(crate) shared: Shared,
    pub(crate) calls: BTreeMap<CallId, Call>,
    /// When which call wants `handle_timeout`.
    wake: BTreeSet<(Instant, CallId)>,
    next_call: u64,
    pub(crate) challenger: Challenger,
    /// Whose SIP requests are looked at at all.
    pub(crate) access: Access,
    /// Who hears nothing.
    pub(crate) bans: Bans,
    pub(crate) guard: Guard,
    /// Inputs and outputs that wait for a slowed-down password.
    pub(crate) later: Later,
    pub(crate) entropy: Box<dyn Entropy>,
    /// Registrations at trunks; a trunk's latest is the one that counts.
    pub(crate) registrations: HashMap<RegistrationId, usize>,
    pub(crate) registered: Vec<Registered>,
    pub(crate) next_registration: u32,
    /// INVITEs that want to take a leg of ours over.
    pub(crate) replacing: HashMap<SipLeg, SipLeg>,
    /// What was dialled lately.
    pub(crate) readings: Readings,
    pub(crate) service: Service,
    /// Calls that were turned away before they were calls.
    refused: HashMap<EndReason, u64>,
    /// When browsers are told new credentials for relays; none while nobody has any.
    pub(crate) relays_at: Option<Instant>,
}

impl Switch {
    /// A switch with nothing going on; it starts to register at trunks whose addresses are known.
    pub fn new(config: SwitchConfig, mut entropy: Box<dyn Entropy>) -> Self {
        let algorithms = match config.digest.as_slice() {
            [] => offered_for(config.users.iter().map(|u| &u.secret)),
            chosen => chosen.to_vec(),
        };
        let challenger = Challenger::new(&config.domain, algorithms, &mut *entropy);
        let trunks = config.trunks.len();
        let bans = Bans::new(config.deny.clone());
        let mut switch = Switch {
            shared: Shared::new(config),
            calls: BTreeMap::new(),
            wake: BTreeSet::new(),
            next_call: 1,
            challenger,
            access: Access::default(),
            bans,
            guard: Guard::default(),
            later: Later::default(),
            entropy,
            registrations: HashMap::new(),
            registered: (0..trunks).map(|_| Registered::default()).collect(),
            next_registration: 0,
            replacing: HashMap::new(),
            readings: Readings::default(),
            service: Service::Open,
            refused: HashMap::new(),
            relays_at: None,
        };
        for trunk in 0..trunks {
            let target = switch.shared.targets.first(trunk);
            switch.register_at(trunk, target);
        }
        switch
    }

    /// Something from the SIP endpoint. Unknown legs are ignored.
    pub fn handle_sip(&mut self, event: SipEvent, now: Instant, wall: Wall) {
        let t = Clock { now, wall };
        match event {
            SipEvent::Invite { leg, request, flow, replaces } => {
                self.replacing.extend(replaces.map(|replaced| (leg, replaced)));
                self.on_invite(leg, request, flow, false, t);
            }
            SipEvent::Refer { leg, refer, referral } => self.on_refer(leg, refer, &referral, t),
            SipEvent::Referred { leg, outcome } => {
                self.on_leg(leg, |call, id, sh| call.on_referred(id, outcome, sh, t));
            }
            SipEvent::Register { token, request, flow } => self.on_register(token, request, flow, false, t),
            SipEvent::Registration { id, state } => self.on_registration(id, state, t),
            SipEvent::FlowClosed { flow } => self.shared.registrar.flow_closed(&flow, now),
            SipEvent::Trying { leg } => self.on_leg(leg, |call, id, sh| call.on_heard(id, sh, t)),
            SipEvent::Provisional { leg, status, body } => {
                self.on_leg(leg, |call, id, sh| call.on_provisional(id, status, body, sh, t));
            }
            SipEvent::Answered { leg, body } => {
                self.on_leg(leg, |call, id, sh| call.on_answered(id, body, sh, t));
            }
            SipEvent::Acked { leg, body } => self.on_leg(leg, |call, id, sh| call.on_acked(id, body, sh, t)),
            SipEvent::Reinvite { leg, body } => {
                self.on_leg(leg, |call, id, sh| call.on_reinvite(id, body, sh));
            }
            SipEvent::ReinviteDone { leg, result } => {
                self.on_leg(leg, |call, id, sh| call.on_updated(id, result, sh, t));
            }
            SipEvent::Pong { ping, status } => self.on_pong(ping, status, now),
            SipEvent::Info { leg, body } => self.on_leg(leg, |call, id, sh| call.on_info(id, &body, sh)),
            SipEvent::Ended { leg, end } => {
                for (source, user) in self.later.forget_leg(leg) {
                    self.guard.waited(source, &user);
                }
                self.replacing.remove(&leg);
                self.on_leg(leg, |call, id, sh| call.on_ended(id, end, sh, t));
            }
        }
        self.run_effects(t);
    }

    /// Something from a call's media. Unknown calls and legs are ignored.
    pub fn handle_media(&mut self, event: CallEvent, now: Instant, wall: Wall) {
        let t = Clock { now, wall };
        let event = self.readdress(event);
        self.with_call(event.call, |call, sh| call.handle_media(event.event, sh, t));
        self.run_effects(t);
    }

    /// A leg that has moved to another call takes its events along.
    fn readdress(&self, mut event: CallEvent) -> CallEvent {
        while let Some(leg) = event.event.leg_mut()
            && let Some(elsewhere) = self.moved(event.call, *leg)
        {
            (event.call, *leg) = elsewhere;
        }
        event
    }

    fn moved(&self, call: CallId, leg: LegId) -> Option<(CallId, LegId)> {
        let call = self.calls.get(&call)?;
        let elsewhere = [call.given, call.borrowed].into_iter().flatten().find(|g| g.leg == leg)?;
        Some(elsewhere.to)
    }

    /// A media worker's queue was full when this call wanted something of it.
    pub fn media_overloaded(&mut self, call: CallId, now: Instant, wall: Wall) {
        let t = Clock { now, wall };
        self.with_call(call, |call, sh| {
            call.end(Failure::of(EndReason::GatewayOverloaded), EndedBy::Gateway, sh, t);
        });
        self.run_effects(t);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant, wall: Wall) {
        let t = Clock { now, wall };
        while let Some((_, id)) = self.wake.first().copied().filter(|(at, _)| *at <= now) {
            self.with_call(id, |call, sh| call.handle_timeout(sh, t));
        }
        self.shared.registrar.handle_timeout(now);
        while let Some(item) = self.later.due(now) {
            self.resume(item, t);
        }
        self.ask_targets(now);
        self.renew_relays(t);
        self.run_effects(t);
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.shared.out.pop_front()
    }

    /// When `handle_timeout` is wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let call = self.wake.first().map(|(at, _)| *at);
        let others =
            [self.shared.registrar.poll_timeout(), self.later.next(), self.shared.targets.poll_timeout()];
        others.into_iter().chain([call, self.relays_at]).flatten().min()
    }

    /// Takes no new calls from now on, except for help; those that run go on, with all that belongs to them. Registrations
    /// at trunks stay: what keeps the way to them open also brings the BYE of a running call.
    pub fn drain(&mut self) {
        if self.service == Service::Open {
            self.service = Service::Draining;
        }
    }

    /// What the media plane says of its workers, in the order of their numbers. Calls of one that has gone end.
    pub fn handle_loads(&mut self, loads: impl IntoIterator<Item = WorkerLoad>, now: Instant, wall: Wall) {
        let gone = self.shared.usage.workers.measured(loads);
        if gone.is_empty() {
            return;
        }
        let lost = |call: &&Call| gone.contains(&call.worker);
        for id in self.calls.values().filter(lost).map(|call| call.id).collect::<Vec<_>>() {
            self.media_gone(id, now, wall);
        }
    }

    /// The worker of this call has ended by a defect.
    pub fn media_gone(&mut self, call: CallId, now: Instant, wall: Wall) {
        self.handle_media(CallEvent { call, event: MediaEvent::Crashed }, now, wall);
    }

    /// Ends all calls, removes our registrations and refuses what comes from now on.
    pub fn shut_down(&mut self, now: Instant, wall: Wall) {
        if std::mem::replace(&mut self.service, Service::Stopping) == Service::Stopping {
            return;
        }
        let t = Clock { now, wall };
        for id in self.calls.keys().copied().collect::<Vec<_>>() {
            self.with_call(id, |call, sh| {
                call.end(Failure::of(EndReason::GatewayStopping), EndedBy::Gateway, sh, t);
            });
        }
        self.run_effects(t);
        self.unregister_all();
        self.shared.targets.stop();
        for session in self.shared.sessions.ids().collect::<Vec<_>>() {
            self.shared.out.push_back(Output::CloseBrowser(session, CloseWhy::Stopping));
        }
    }

    fn on_leg(&mut self, sip: SipLeg, f: impl FnOnce(&mut Call, LegId, &mut Shared)) {
        let Some((call, leg)) = self.shared.sip_legs.get(&sip).copied() else { return };
        self.with_call(call, |call, sh| f(call, leg, sh));
    }

    /// Runs one input through a call, and buries it if that was its end: the only place where calls go away.
    pub(crate) fn with_call(&mut self, id: CallId, f: impl FnOnce(&mut Call, &mut Shared)) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        f(call, &mut self.shared);
        self.settle(id);
    }

    fn settle(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if let Some(at) = call.wakes.take() {
            self.wake.remove(&(at, id));
        }
        if call.finished() {
            if let Some(call) = self.calls.remove(&id) {
                call.bury(&mut self.shared);
            }
            return;
        }
        let at = call.deadline();
        call.wakes = Some(at);
        self.wake.insert((at, id));
    }

    /// The next call's number.
    pub(crate) fn new_call_id(&mut self) -> CallId {
        let id = CallId(self.next_call);
        self.next_call += 1;
        id
    }

    /// Whether one more call may begin.
    pub(crate) fn admit(&mut self, purpose: Purpose, now: Instant) -> Result<(), EndReason> {
        let kept = if purpose == Purpose::Help { limits::EMERGENCY_CALLS } else { 0 };
        let workers = &mut self.shared.usage.workers;
        let refusal = match (self.service, purpose) {
            (Service::Stopping, _) | (Service::Draining, Purpose::Talk) => Some(EndReason::GatewayStopping),
            (Service::Open | Service::Draining, _) if self.calls.len() >= limits::CALLS + kept => {
                Some(EndReason::GatewayOverloaded)
            }
            (Service::Open, Purpose::Talk) if !workers.have_room(now) => Some(EndReason::GatewayOverloaded),
            (Service::Open | Service::Draining, _) if !workers.any_alive() => {
                Some(EndReason::GatewayOverloaded)
            }
            (Service::Open | Service::Draining, _) => None,
        };
        let Some(reason) = refusal else { return Ok(()) };
        *self.refused.entry(reason).or_default() += 1;
        Err(reason)
    }

    /// Calls that were turned away before they were calls, so that they have no record.
    pub fn refused(&self) -> impl Iterator<Item = (EndReason, u64)> {
        self.refused.iter().map(|(reason, count)| (*reason, *count))
    }

    /// Who is at a leg; none: it is no more.
    pub fn party(&self, mut call: CallId, mut leg: LegId) -> Option<CdrParty> {
        while let Some(elsewhere) = self.moved(call, leg) {
            (call, leg) = elsewhere;
        }
        self.calls.get(&call)?.party(leg, &self.shared)
    }

    /// What both sides of each answered call speak: the caller's codec first.
    pub fn codecs(&self) -> impl Iterator<Item = (Codec, Codec)> {
        self.calls.values().filter_map(Call::codecs)
    }

    pub(crate) fn start_call(&mut self, new: NewCall, t: Clock) {
        let id = new.id;
        let call = Call::start(new, &mut self.shared, t);
        self.calls.insert(id, call);
        self.settle(id);
    }

    /// Calls that are not over, with their stage.
    pub fn calls(&self) -> impl Iterator<Item = (CallId, CallStage)> {
        self.calls.values().map(|call| {
            let stage = match call.state {
                State::Preparing { .. }
                | State::Announcing { .. }
                | State::Trying { .. }
                | State::Connecting { .. } => CallStage::Setup,
                State::Talking { .. } => CallStage::Talking,
                State::Closing { .. } => CallStage::Closing,
            };
            (call.id, stage)
        })
    }

    /// Where SIP devices are.
    pub fn registrar(&self) -> &Registrar {
        &self.shared.registrar
    }

    /// Browser connections, signed in or not.
    pub fn sessions(&self) -> usize {
        self.shared.sessions.len()
    }

    /// What calls hold beside themselves: permits, SIP legs, names in browsers. All zero when there are no calls.
    pub fn held(&self) -> Held {
        Held {
            permits: self.shared.usage.total() as usize,
            sip_legs: self.shared.sip_legs.len(),
            browser_calls: self.shared.sessions.calls(),
        }
    }
}

/// Things that calls hold.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Held {
    /// Rights to calls of users, trunks and workers.
    pub permits: usize,
    /// SIP legs that events would reach.
    pub sip_legs: usize,
    /// Names under which browsers know calls.
    pub browser_calls: usize,
}
