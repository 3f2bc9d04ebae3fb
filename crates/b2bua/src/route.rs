//! From a destination to what is to be tried at this moment.

use std::collections::VecDeque;
use std::time::Instant;

use sip_ua::message::Uri;
use sip_ua::{Flow, Target};
use types::{CallId, EndReason, Entropy, LegId, SessionId, UserName};

use crate::call::{Device, Failure};
use crate::config::{SwitchConfig, TrunkConfig};
use crate::lookup::Destination;
use crate::shared::Shared;

/// One try at a trunk.
#[derive(Clone, Debug)]
pub(crate) struct Hop {
    pub trunk: usize,
    pub target: Target,
    pub number: String,
}

/// One device that is to ring.
#[derive(Clone, Debug)]
pub(crate) enum Ring {
    Browser(SessionId),
    Contact(Box<Contact>),
}

/// A registered SIP device.
#[derive(Clone, Debug)]
pub(crate) struct Contact {
    pub uri: Uri,
    pub flow: Flow,
}

/// What a call will try.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    /// Every device of one user at once.
    Ring { user: UserName, devices: Vec<Ring> },
    /// Nobody: the caller takes the place of this leg (RFC 3891).
    TakeOver(CallId, LegId),
    /// Nobody: the caller hears an announcement, and that is all.
    Announce,
    /// Trunks in turn.
    Dial(VecDeque<Hop>),
}

impl Plan {
    /// The first trunk; none where devices ring.
    pub fn trunk<'a>(&self, config: &'a SwitchConfig) -> Option<&'a TrunkConfig> {
        match self {
            Plan::Ring { .. } | Plan::TakeOver(..) | Plan::Announce => None,
            Plan::Dial(hops) => hops.front().map(|hop| &config.trunks[hop.trunk]),
        }
    }
}

/// The caller's side of a routing decision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct From<'a> {
    pub device: &'a Device,
    /// The flow that a SIP caller uses: its own device does not ring.
    pub flow: Option<&'a Flow>,
    /// The party of a transfer that is waiting does not ring either.
    pub waiting: Option<&'a (Device, Option<Flow>)>,
    /// It calls for help: nobody is spared.
    pub urgent: bool,
}

/// What to try for a destination, with who is there at this moment.
pub(crate) fn plan(
    sh: &Shared,
    destination: Destination,
    from: From<'_>,
    entropy: &mut dyn Entropy,
    now: Instant,
) -> Result<Plan, Failure> {
    match destination {
        Destination::User(user) => {
            let others = || {
                let own = |s: &SessionId| {
                    let is = |d: &Device| matches!(d, Device::Browser { session, .. } if session == s);
                    is(from.device) || from.waiting.is_some_and(|(device, _)| is(device))
                };
                sh.sessions.of_user(&user).iter().copied().filter(move |session| !own(session))
            };
            let browsers = others().filter(|session| {
                sh.sessions.get(*session).is_some_and(|s| s.calls.len() < types::limits::CALLS_PER_SESSION)
            });
            let contacts = sh.registrar.callable(&user).filter(|b| {
                let waiting = from.waiting.and_then(|(_, flow)| flow.as_ref());
                from.flow != Some(&b.flow) && waiting != Some(&b.flow)
            });
            let devices: Vec<Ring> = browsers
                .map(Ring::Browser)
                .chain(
                    contacts.map(|b| Ring::Contact(Box::new(Contact { uri: b.uri.clone(), flow: b.flow }))),
                )
                .take(types::limits::LEGS_PER_CALL - usize::from(LegId::CALLER.0) - 1)
                .collect();
            match (devices.is_empty(), others().next()) {
                (false, _) => Ok(Plan::Ring { user, devices }),
                (true, Some(_)) => Err(Failure::of(EndReason::Busy)),
                (true, None) => Err(Failure::of(EndReason::NotRegistered)),
            }
        }
        Destination::Announcement => Ok(Plan::Announce),
        Destination::Trunks(trunks) => {
            let mut hops = VecDeque::new();
            let mut wait = None;
            for (trunk, number) in trunks {
                let targets = sh.targets.order(trunk, from.urgent, entropy, now);
                hops.extend(targets.into_iter().map(|target| Hop { trunk, target, number: number.clone() }));
                wait = wait.or_else(|| sh.targets.asked_to_wait(trunk, now));
            }
            match (hops.is_empty(), wait) {
                (false, _) => Ok(Plan::Dial(hops)),
                (true, None) => Err(Failure::of(EndReason::TrunkUnreachable)),
                // RFC 3261 §21.5.4: nothing is sent there before the time that it named.
                (true, Some(wait)) => {
                    let seconds = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
                    Err(Failure { retry_after: Some(seconds), ..Failure::of(EndReason::TrunkFailed) })
                }
            }
        }
    }
}
