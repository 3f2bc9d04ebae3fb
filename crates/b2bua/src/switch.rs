//! The switch: owns every call and what calls share, takes inputs one by one, is polled for what to do.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use media_bridge::control::CallEvent;
use sip_ua::digest::{Challenger, offered_for};
use sip_ua::{
    Command as Sip, Event as SipEvent, PingId, Register, RegistrationId, RegistrationState, SipLeg, Target,
};
use types::{CallId, EndReason, EndedBy, Entropy, LegId, Wall, limits};

use crate::access::Access;
use crate::call::{Call, Failure, NewCall, State};
use crate::config::SwitchConfig;
use crate::guard::Guard;
use crate::health::Health;
use crate::later::Later;
use crate::output::{CloseWhy, Level, Output};
use crate::registrar::Registrar;
use crate::shared::{Clock, Shared};

/// The state of one trunk, for metrics and people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrunkStatus<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its registration; none where it needs none or has no address yet.
    pub registration: Option<&'a RegistrationState>,
    /// Whether it answered the last OPTIONS; none where it was not asked yet, or where we register.
    pub reachable: Option<bool>,
    /// Addresses known.
    pub targets: usize,
    /// Calls on it now.
    pub calls: u32,
}

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
    pub(crate) guard: Guard,
    /// Inputs and outputs that wait for a slowed-down password.
    pub(crate) later: Later,
    pub(crate) entropy: Box<dyn Entropy>,
    /// Registrations at trunks; a trunk's latest is the one that counts.
    registrations: HashMap<RegistrationId, usize>,
    trunk_states: Vec<Option<RegistrationState>>,
    current: Vec<Option<RegistrationId>>,
    next_registration: u32,
    health: Health,
    pub(crate) stopping: bool,
}

impl Switch {
    /// A switch with nothing going on; it starts to register at trunks whose addresses are known.
    pub fn new(config: SwitchConfig, mut entropy: Box<dyn Entropy>) -> Self {
        let algorithms = offered_for(config.users.iter().map(|u| &u.secret));
        let challenger = Challenger::new(&config.domain, algorithms, &mut *entropy);
        let trunks = config.trunks.len();
        let mut switch = Switch {
            shared: Shared::new(config),
            calls: BTreeMap::new(),
            wake: BTreeSet::new(),
            next_call: 1,
            challenger,
            access: Access::default(),
            guard: Guard::default(),
            later: Later::default(),
            entropy,
            registrations: HashMap::new(),
            trunk_states: vec![None; trunks],
            current: vec![None; trunks],
            next_registration: 0,
            health: Health::new(trunks),
            stopping: false,
        };
        for trunk in 0..trunks {
            switch.register_at(trunk);
        }
        switch
    }

    /// Something from the SIP endpoint. Unknown legs are ignored.
    pub fn handle_sip(&mut self, event: SipEvent, now: Instant, wall: Wall) {
        let t = Clock { now, wall };
        match event {
            SipEvent::Invite { leg, request, flow } => self.on_invite(leg, request, flow, false, t),
            SipEvent::Register { token, request, flow } => self.on_register(token, request, flow, false, t),
            SipEvent::Registration { id, state } => self.on_registration(id, state),
            SipEvent::FlowClosed { flow } => self.shared.registrar.flow_closed(&flow),
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
            // We send none so far: hold and transfer from our side come later.
            SipEvent::ReinviteDone { .. } => {}
            SipEvent::Pong { ping, status } => self.on_pong(ping, status),
            SipEvent::Info { leg, body } => self.on_leg(leg, |call, id, sh| call.on_info(id, &body, sh)),
            SipEvent::Ended { leg, end } => {
                for (source, user) in self.later.forget_leg(leg) {
                    self.guard.waited(source, &user);
                }
                self.on_leg(leg, |call, id, sh| call.on_ended(id, end, sh, t));
            }
        }
    }

    /// Something from a call's media. Unknown calls and legs are ignored.
    pub fn handle_media(&mut self, event: CallEvent, now: Instant, wall: Wall) {
        let t = Clock { now, wall };
        self.with_call(event.call, |call, sh| call.handle_media(event.event, sh, t));
    }

    /// A media worker's queue was full when this call wanted something of it.
    pub fn media_overloaded(&mut self, call: CallId, now: Instant, wall: Wall) {
        let t = Clock { now, wall };
        self.with_call(call, |call, sh| {
            call.end(Failure::of(EndReason::GatewayOverloaded), EndedBy::Gateway, sh, t);
        });
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
        if !self.stopping {
            for ping in self.health.due(&self.shared.config.trunks, &self.shared.targets, now) {
                self.shared.sip(ping);
            }
        }
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.shared.out.pop_front()
    }

    /// When `handle_timeout` is wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let call = self.wake.first().map(|(at, _)| *at);
        let others = [self.shared.registrar.poll_timeout(), self.later.next(), self.health.poll_timeout()];
        others.into_iter().chain([call]).flatten().min()
    }

    /// The addresses of a trunk, tried in order; as DNS or configuration says. Registers there where configured.
    pub fn set_trunk_targets(&mut self, name: &str, targets: Vec<Target>) {
        let Some(trunk) = self.shared.config.trunk(name) else { return };
        let moved = self.shared.targets[trunk].first() != targets.first();
        self.shared.targets[trunk] = targets;
        if moved {
            self.register_at(trunk);
        }
    }

    /// Ends all calls, removes our registrations and refuses what comes from now on.
    pub fn shut_down(&mut self, now: Instant, wall: Wall) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        let t = Clock { now, wall };
        for id in self.calls.keys().copied().collect::<Vec<_>>() {
            self.with_call(id, |call, sh| {
                call.end(Failure::of(EndReason::GatewayStopping), EndedBy::Gateway, sh, t);
            });
        }
        for id in self.current.iter_mut().filter_map(Option::take) {
            self.shared.sip(Sip::Unregister(id));
        }
        self.health.stop();
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
    pub(crate) fn admit(&self) -> Result<(), EndReason> {
        if self.stopping {
            Err(EndReason::GatewayStopping)
        } else if self.calls.len() >= limits::CALLS {
            Err(EndReason::GatewayOverloaded)
        } else {
            Ok(())
        }
    }

    pub(crate) fn start_call(&mut self, new: NewCall, t: Clock) {
        let id = new.id;
        let call = Call::start(new, &mut self.shared, t);
        self.calls.insert(id, call);
        self.settle(id);
    }

    fn register_at(&mut self, trunk: usize) {
        if let Some(old) = self.current[trunk].take() {
            self.registrations.remove(&old);
            self.shared.sip(Sip::Unregister(old));
        }
        self.trunk_states[trunk] = None;
        let config = &self.shared.config.trunks[trunk];
        let target = self.shared.targets[trunk].first().copied();
        let (Some(registration), Some(target), false) = (&config.registration, target, self.stopping) else {
            return;
        };
        let register = Register {
            target,
            registrar: registration.registrar.clone(),
            aor: registration.aor.clone(),
            contact_user: config.contact_user.clone(),
            credentials: config.credentials.clone(),
            expires: registration.expires,
        };
        let id = RegistrationId(self.next_registration);
        self.next_registration += 1;
        self.registrations.insert(id, trunk);
        self.current[trunk] = Some(id);
        self.shared.sip(Sip::Register(id, Box::new(register)));
    }

    fn on_pong(&mut self, ping: PingId, status: Option<u16>) {
        let Some((trunk, there)) = self.health.answered(ping, status) else { return };
        let name = &self.shared.config.trunks[trunk].name;
        let (level, text) = match there {
            true => (Level::Info, format!("trunk {name}: answers OPTIONS")),
            false => (
                Level::Warn,
                format!("trunk {name}: does not answer OPTIONS; calls to it will probably fail"),
            ),
        };
        self.shared.log(level, None, text);
    }

    fn on_registration(&mut self, id: RegistrationId, state: RegistrationState) {
        let Some(trunk) = self.registrations.get(&id).copied() else { return };
        let name = &self.shared.config.trunks[trunk].name;
        let line = match &state {
            RegistrationState::Trying => None,
            RegistrationState::Registered { expires } => {
                Some((Level::Info, format!("trunk {name}: registered for {expires} s")))
            }
            RegistrationState::Failed { why, retry_in, .. } => {
                let text = format!("trunk {name}: registration failed: {why}; next try in {retry_in} s");
                Some((Level::Warn, text))
            }
            RegistrationState::Unregistered => Some((Level::Info, format!("trunk {name}: unregistered"))),
        };
        if let Some((level, text)) = line {
            self.shared.log(level, None, text);
        }
        self.trunk_states[trunk] = Some(state);
    }

    /// Calls that are not over, with their stage.
    pub fn calls(&self) -> impl Iterator<Item = (CallId, CallStage)> {
        self.calls.values().map(|call| {
            let stage = match call.state {
                State::Preparing { .. } | State::Trying { .. } | State::Connecting { .. } => CallStage::Setup,
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

    /// Every trunk's state.
    pub fn trunks(&self) -> impl Iterator<Item = TrunkStatus<'_>> {
        self.shared.config.trunks.iter().enumerate().map(|(i, trunk)| TrunkStatus {
            name: &trunk.name,
            registration: self.trunk_states[i].as_ref(),
            reachable: self.health.reachable(i),
            targets: self.shared.targets[i].len(),
            calls: self.shared.usage.on_trunk(i),
        })
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
