//! From a dialled number to what is to be tried.

use std::collections::VecDeque;
use std::time::Instant;

use media_bridge::control::Codec;
use sip_ua::message::Uri;
use sip_ua::{Flow, Target};
use types::{CallId, EndReason, Entropy, LegId, SessionId, UserName};

use crate::call::{Device, Failure, Party};
use crate::config::{RouteFrom, RouteTo, SwitchConfig};
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
    /// Trunks in turn.
    Dial(VecDeque<Hop>),
}

impl Plan {
    /// What the first trunk can do; none where devices ring, whose codecs are not known yet.
    pub fn codecs<'a>(&self, config: &'a SwitchConfig) -> Option<&'a [Codec]> {
        match self {
            Plan::Ring { .. } | Plan::TakeOver(..) => None,
            Plan::Dial(hops) => hops.front().map(|hop| config.trunks[hop.trunk].profile.codecs.as_slice()),
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
}

/// Where a cleaned number leads, before looking who is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Destination {
    User(UserName),
    /// Trunk index and the number for it, in order.
    Trunks(Vec<(usize, String)>),
}

/// One rule that was looked at on the way to a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step<'a> {
    /// The name or extension of this user.
    User(&'a UserName),
    /// A trunk calls the caller id or extension of this user.
    InboundNumber(&'a UserName),
    /// The route's pattern does not take the number.
    OtherNumber(usize),
    /// The route takes the number, but not from this caller.
    OtherCaller(usize),
    /// The route leads to a trunk and does not name this one, from which the call comes.
    TrunkToTrunk(usize),
    /// The route takes the call.
    Taken(usize),
}

/// Looks a number up: users first, then inbound numbers, then routes in order.
pub(crate) fn look_up(config: &SwitchConfig, number: &str, from: &Party) -> Result<Destination, EndReason> {
    look_up_aloud(config, number, from, |_| {})
}

/// The same, telling each step.
pub(crate) fn look_up_aloud<'c>(
    config: &'c SwitchConfig,
    number: &str,
    from: &Party,
    mut tell: impl FnMut(Step<'c>),
) -> Result<Destination, EndReason> {
    if let Some(user) = config.users.dialled(number) {
        tell(Step::User(&user.name));
        return Ok(Destination::User(user.name.clone()));
    }
    if let Party::Trunk(_) = from
        && let Some(user) = config.users.with_inbound_number(number)
    {
        tell(Step::InboundNumber(&user.name));
        return Ok(Destination::User(user.name.clone()));
    }
    let mut refused = EndReason::UnknownNumber;
    for (index, route) in config.routes.iter().enumerate() {
        let Some(tail) = route.pattern.matches(number) else {
            tell(Step::OtherNumber(index));
            continue;
        };
        let allowed = route.from.is_empty()
            || route.from.iter().any(|f| match (f, from) {
                (RouteFrom::User(name), Party::User(user)) => name == user,
                (RouteFrom::Trunk(name), Party::Trunk(index)) => *name == config.trunks[*index].name,
                (RouteFrom::User(_), Party::Trunk(_)) | (RouteFrom::Trunk(_), Party::User(_)) => false,
            });
        if !allowed {
            tell(Step::OtherCaller(index));
            refused = EndReason::Forbidden;
            continue;
        }
        let rewritten = route.rewrite.as_ref().map_or_else(|| number.to_owned(), |r| r.apply(tail));
        let found = destination(config, &route.to, &rewritten);
        // From a trunk back to a trunk: toll fraud's favourite, so never by accident, only where the route names whom.
        let loops =
            matches!((from, &found), (Party::Trunk(_), Destination::Trunks(_))) && route.from.is_empty();
        if !loops {
            tell(Step::Taken(index));
            return Ok(found);
        }
        tell(Step::TrunkToTrunk(index));
        refused = EndReason::Forbidden;
    }
    Err(refused)
}

fn destination(config: &SwitchConfig, to: &[RouteTo], number: &str) -> Destination {
    let mut trunks = Vec::new();
    for to in to {
        match to {
            RouteTo::User(user) if trunks.is_empty() => return Destination::User(user.clone()),
            RouteTo::User(_) => {}
            RouteTo::Trunk(name) => trunks.extend(config.trunk(name).map(|t| (t, number.to_owned()))),
        }
    }
    Destination::Trunks(trunks)
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
        Destination::Trunks(trunks) => {
            let mut hops = VecDeque::new();
            let mut wait = None;
            for (trunk, number) in trunks {
                let targets = sh.targets.order(trunk, false, entropy, now);
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
