//! Trunks as a whole: our registrations at them, moved to the next target when one fails, and OPTIONS to the others.

use std::time::{Duration, Instant};

use sip_ua::{Command as Sip, PingId, Register, RegistrationId, RegistrationState, Target};
use types::limits;

use crate::output::Level;
use crate::shared::Clock;
use crate::switch::{Service, Switch};
use crate::targets::{News, TargetStatus, TrunkTarget, shown};

/// How long a registrar without another beside it may take (RFC 3261 §17.1.2.2).
const TIMER_F: Duration = Duration::from_secs(32);

/// The state of one trunk, for metrics and people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrunkStatus<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its registration; none where it needs none or has no address yet.
    pub registration: Option<&'a RegistrationState>,
    /// Whether any of its targets answers; none where none was asked yet.
    pub reachable: Option<bool>,
    /// Where it takes requests.
    pub targets: Vec<TargetStatus>,
    /// Calls on it now.
    pub calls: u32,
}

/// Our registration at one trunk.
#[derive(Debug, Default)]
pub(crate) struct Registered {
    current: Option<(RegistrationId, Target)>,
    state: Option<RegistrationState>,
}

impl Switch {
    /// Every trunk's state.
    pub fn trunks(&self) -> impl Iterator<Item = TrunkStatus<'_>> {
        self.shared.config.trunks.iter().enumerate().map(|(i, trunk)| {
            let targets = self.shared.targets.status(i);
            let known = || targets.iter().filter_map(|t| t.reachable);
            TrunkStatus {
                name: &trunk.name,
                registration: self.registered[i].state.as_ref(),
                reachable: known().max(),
                targets,
                calls: self.shared.usage.on_trunk(i),
            }
        })
    }

    /// The addresses of a trunk, as DNS or configuration says. Registers there where configured; a registration whose
    /// target stays is left alone.
    pub fn set_trunk_targets(&mut self, name: &str, targets: Vec<TrunkTarget>) {
        let Some(trunk) = self.shared.config.trunk(name) else { return };
        self.shared.targets.set(trunk, targets);
        let stays = self.registered[trunk].current.is_some_and(|(_, t)| self.shared.targets.has(trunk, &t));
        if !stays {
            let target = self.shared.targets.first(trunk);
            self.register_at(trunk, target);
        }
    }

    /// Registers at a target instead of where we are registered now; none: nowhere.
    pub(crate) fn register_at(&mut self, trunk: usize, target: Option<Target>) {
        if let Some((old, _)) = self.registered[trunk].current.take() {
            self.registrations.remove(&old);
            self.shared.sip(Sip::Unregister(old));
        }
        self.registered[trunk].state = None;
        let config = &self.shared.config.trunks[trunk];
        let (Some(registration), Some(target), false) =
            (&config.registration, target, self.service == Service::Stopping)
        else {
            return;
        };
        let alone = !self.shared.targets.has_other(trunk, &target);
        let patience = if alone { TIMER_F } else { limits::TRUNK_SILENCE };
        let register = Register {
            target,
            registrar: registration.registrar.clone(),
            aor: registration.aor.clone(),
            contact_user: config.contact_user.clone(),
            routes: config.profile.route.clone().into_iter().collect(),
            credentials: config.credentials.clone(),
            expires: registration.expires,
            patience,
            keep_alive: config.profile.keep_alive.towards(&target),
            instance: registration.instance.clone(),
        };
        let id = RegistrationId(self.next_registration);
        self.next_registration += 1;
        self.registrations.insert(id, trunk);
        self.registered[trunk].current = Some((id, target));
        self.shared.sip(Sip::Register(id, Box::new(register)));
    }

    /// Removes every registration: we stop.
    pub(crate) fn unregister_all(&mut self) {
        for (id, _) in self.registered.iter_mut().filter_map(|r| r.current.take()) {
            self.shared.sip(Sip::Unregister(id));
        }
    }

    pub(crate) fn on_registration(&mut self, id: RegistrationId, state: RegistrationState, t: Clock) {
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
        let current = self.registered[trunk].current.filter(|(current, _)| *current == id);
        if let Some((_, target)) = current {
            self.learn_by_registration(trunk, target, &state, t);
        }
        // It may have moved on: the state of the new one counts then.
        if self.registered[trunk].current == current {
            self.registered[trunk].state = Some(state);
        }
    }

    /// Silence and 503 say that the target is not to be used (RFC 3263 §4.3); a refusal only says that it is there.
    fn learn_by_registration(&mut self, trunk: usize, target: Target, state: &RegistrationState, t: Clock) {
        match state {
            RegistrationState::Failed { status: None | Some(503), .. } => {
                let news = self.shared.targets.failed(trunk, &target, None, t.now);
                self.shared.tell_target(trunk, &target, news);
                if let Some(next) = self.shared.targets.better(trunk, &target, t.now) {
                    self.register_at(trunk, Some(next));
                }
            }
            RegistrationState::Failed { .. } | RegistrationState::Registered { .. } => {
                let news = self.shared.targets.answered(trunk, &target, t.now);
                self.shared.tell_target(trunk, &target, news);
            }
            RegistrationState::Trying | RegistrationState::Unregistered => {}
        }
    }

    /// Asks the targets whose turn it is.
    pub(crate) fn ask_targets(&mut self, now: Instant) {
        let registered = &self.registered;
        let watched = |trunk: usize| registered[trunk].current.map(|(_, target)| target);
        for question in self.shared.targets.due(watched, now) {
            let uri = format!("sip:{}", self.shared.config.trunks[question.trunk].host);
            self.shared.sip(Sip::Ping { ping: question.ping, target: question.target, uri });
        }
    }

    pub(crate) fn on_pong(&mut self, ping: PingId, status: Option<u16>, now: Instant) {
        let Some((trunk, target, news)) = self.shared.targets.pong(ping, status.is_some(), now) else {
            return;
        };
        let (name, at) = (&self.shared.config.trunks[trunk].name, shown(&target));
        let (level, text) = match news {
            News::Back => (Level::Info, format!("trunk {name}: answers OPTIONS")),
            News::Gone => (
                Level::Warn,
                format!("trunk {name}: does not answer OPTIONS; calls to it will probably fail"),
            ),
        };
        let detail = format!("trunk {name}: that was {at}");
        self.shared.log(level, None, text);
        self.shared.log(Level::Debug, None, detail);
    }
}
