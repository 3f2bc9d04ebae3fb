//! New calls: who sends this INVITE, or which browser asks, and where it is to go.

use std::sync::Arc;

use media_bridge::sdp::offered_kind;
use sip_ua::message::{Message, Scheme, Uri};
use sip_ua::{Command as Sip, Flow, SessionTimer, SipLeg};
use types::{EndReason, LegId, SessionId, UserName, WorkerId, limits};

use crate::auth::Asker;
use crate::call::{Device, Facts, Failure, Leg, NewCall, Party, Phase, quoted, usual_kind};
use crate::config::{Treatment, without_port};
use crate::dialplan::{Number, is_emergency, may_be_emergency};
use crate::identity::{CallerId, wants_privacy};
use crate::lookup::{self, Destination};
use crate::number::clean;
use crate::output::Level;
use crate::route::{self, Plan};
use crate::shared::{Clock, Permit};
use crate::switch::{Purpose, Switch};

impl Switch {
    /// A SIP peer calls. `resumed`: a slowed-down attempt has had its wait.
    pub(crate) fn on_invite(
        &mut self,
        sip: SipLeg,
        request: Arc<Message>,
        flow: Flow,
        resumed: bool,
        t: Clock,
    ) {
        let asker = Asker::Invite(sip);
        let replaces = self.replacing.contains_key(&sip);
        let purpose = |help: bool| match (help, replaces) {
            (true, _) => Purpose::Help,
            (false, true) => Purpose::Transfer,
            (false, false) => Purpose::Talk,
        };
        if let Err(reason) = self.admit(purpose(for_help_anywhere(&request)), t.now) {
            return self.turn_away(asker, reason);
        }
        let Some(uri) = request.request_uri() else {
            self.shared.sip(asker.refuse(416, "", Vec::new()));
            return;
        };
        let party = match self.trunk_of(&flow, &uri) {
            Some(trunk) => Party::Trunk(trunk),
            None => match self.authenticate(asker, &request, flow, resumed, t) {
                Some(user) => Party::User(user),
                None => return,
            },
        };
        let takes_over = match self.replacing.remove(&sip) {
            Some(replaced) => match self.may_replace(&party, replaced) {
                Some(plan) => Some(plan),
                None => {
                    self.shared.sip(asker.refuse(403, "Not Your Call", Vec::new()));
                    return;
                }
            },
            None => None,
        };
        let dialled = match &party {
            Party::Trunk(trunk) => self.inbound_number(*trunk, &uri, &request),
            Party::User(_) if self.is_ours(&uri, &flow) => uri.user_unescaped(),
            Party::User(_) => String::new(),
        };
        if let Err(reason) = self.admit(purpose(self.calls_for_help(&party, &dialled)), t.now) {
            return self.turn_away(asker, reason);
        }
        let mut leg = Leg::new(LegId::CALLER, party.clone(), Device::Sip(sip), Phase::Trying);
        leg.flow = Some(flow);
        leg.local = Some(flow.local.ip());
        leg.remote = Some(flow.remote.ip());
        leg.hops = request.max_forwards();
        leg.updatable = request.has_token("Require", "100rel") && request.has_token("Allow", "UPDATE");
        let from = match &party {
            Party::Trunk(trunk) => {
                let trunk = &self.shared.config.trunks[*trunk];
                leg.advertise = trunk.advertise;
                let timer = trunk.profile.session_timer;
                let from = CallerId::of_trunk(&request, trunk);
                if timer != SessionTimer::default() {
                    self.shared.sip(Sip::SetTimer { leg: sip, timer });
                }
                from
            }
            Party::User(_) if wants_privacy(&request) => CallerId::anonymous(),
            Party::User(user) => self.shown_as(user),
        };
        let id = self.new_call_id();
        self.shared.sip_legs.insert(sip, (id, LegId::CALLER));
        let offer = request.typed_body().map(|b| b.bytes);
        leg.kind = offer.as_deref().map_or(usual_kind(flow.transport), offered_kind);
        let asked = Asked { flow: Some(flow), takes_over, ..Asked::call(dialled, from, offer) };
        self.place(id, leg, asked, t);
    }

    /// A browser calls.
    pub(crate) fn on_browser_call(
        &mut self,
        session: SessionId,
        name: String,
        to: String,
        sdp: String,
        t: Clock,
    ) {
        let Some(known) = self.shared.sessions.get(session) else { return };
        let Some(user) = known.user.clone() else { return };
        let dialled = self.strip_domain(&to);
        let urgent = self.calls_for_help(&Party::User(user.clone()), &dialled);
        let problem =
            if name.is_empty() || name.chars().count() > limits::SIGNAL_CALL_ID || name.starts_with("in-") {
                Some(("bad-message", "A call's id has 1 to 32 characters and does not begin with `in-`."))
            } else if known.calls.contains_key(&name) {
                Some(("bad-message", "There is a call with this id already."))
            } else if known.calls.len() >= limits::CALLS_PER_SESSION && !urgent {
                Some(("too-many-calls", EndReason::TooManyCalls.sentence()))
            } else {
                None
            };
        if let Some((code, text)) = problem {
            return self.shared.error(session, code, text, Some(&name));
        }
        let purpose = if urgent { Purpose::Help } else { Purpose::Talk };
        if let Err(reason) = self.admit(purpose, t.now) {
            let code = if reason == EndReason::GatewayOverloaded { "busy-gateway" } else { reason.word() };
            return self.shared.error(session, code, sentence(reason), Some(&name));
        }
        let id = self.new_call_id();
        self.shared.sessions.remember_call(session, &name, (id, LegId::CALLER));
        let from = self.shown_as(&user);
        let leg =
            Leg::new(LegId::CALLER, Party::User(user), Device::Browser { session, name }, Phase::Trying);
        let offer = Some(sdp.into_bytes());
        self.place(id, leg, Asked::call(dialled, from, offer), t);
    }

    /// Routes a call and begins it; whatever is wrong with it, it gets its record.
    pub(crate) fn place(&mut self, id: types::CallId, mut leg: Leg, asked: Asked, t: Clock) {
        let mut routed = Routed::default();
        let mut worker = asked.worker;
        leg.shown.clone_from(&asked.from.number);
        let number = self.read(&leg, &asked);
        let plan = match (asked.takes_over, &number) {
            (Some((call, replaced)), _) => {
                worker = self.calls.get(&call).map(|c| c.worker);
                Ok(Plan::TakeOver(call, replaced))
            }
            (None, Ok(number)) => self.route(&mut leg, &asked, number, &mut routed, t),
            (None, Err(reason)) => Err(Failure::of(*reason)),
        };
        let number = number.ok().filter(|_| asked.takes_over.is_none());
        let emergency = number.as_ref().is_some_and(|n| n.emergency);
        if emergency {
            self.shared.log(Level::Warn, Some(id), "an emergency call");
        }
        let kind = match &leg.party {
            Party::User(_) => "user",
            Party::Trunk(_) => "trunk",
        };
        self.shared.log(Level::Info, Some(id), format!("call from a {kind}"));
        self.shared.log(Level::Debug, Some(id), format!("{} calls {}", asked.from.number, asked.dialled));
        let from_e164 = self.callers_number(&leg.party, &asked.from);
        let facts = Facts {
            from: asked.from.number,
            from_e164,
            from_name: asked.from.name,
            private: asked.from.private,
            asserted: asked.from.asserted,
            to: asked.dialled,
            to_e164: number.and_then(|n| n.e164),
            referred_by: asked.referred_by,
            emergency,
            caller: leg.cdr_party(&self.shared),
            started: t.wall,
            answered: None,
            digits: 0,
            transfers: Vec::new(),
            treatment: routed.treatment,
            recordings: 0,
            notes: Vec::new(),
        };
        let (offer, callee_permit) = (asked.offer, routed.callee_permit);
        self.start_call(NewCall { id, caller: leg, offer, plan, facts, callee_permit, worker }, t);
    }

    /// What a caller dialled, read once.
    fn read(&mut self, leg: &Leg, asked: &Asked) -> Result<Number, EndReason> {
        if asked.dialled.is_empty() {
            return Err(EndReason::UnknownNumber);
        }
        let cleaned = clean(&asked.dialled).ok_or(EndReason::InvalidNumber)?;
        let home = lookup::home(&self.shared.config, &leg.party);
        Ok(self.readings.read(&cleaned, home))
    }

    /// The caller's number in international form, unless they want not to be known.
    fn callers_number(&mut self, party: &Party, from: &CallerId) -> Option<String> {
        let config = &self.shared.config;
        let own = match party {
            Party::User(name) => config.user(name.as_str()).and_then(|u| u.caller_id.as_deref()),
            Party::Trunk(_) => Some(from.number.as_str()),
        };
        let cleaned = clean(own.filter(|_| !from.private)?)?;
        let home = lookup::home(config, party);
        self.readings.read(&cleaned, home).e164
    }

    /// Whether this caller asks for help by this number.
    pub(crate) fn calls_for_help(&self, party: &Party, dialled: &str) -> bool {
        let home = lookup::home(&self.shared.config, party);
        clean(dialled).is_some_and(|number| is_emergency(&number, home))
    }

    /// There is no room, or the gateway is being stopped.
    fn turn_away(&mut self, asker: Asker, reason: EndReason) {
        let headers = vec![("Retry-After", "5".to_owned())];
        self.shared.sip(asker.refuse(reason.sip_status(), sentence(reason), headers));
    }

    fn route(
        &mut self,
        leg: &mut Leg,
        asked: &Asked,
        number: &Number,
        routed: &mut Routed,
        t: Clock,
    ) -> Result<Plan, Failure> {
        let sh = &mut self.shared;
        // Whoever transfers a call leaves it: the one that is made for it is no second call of theirs.
        if !matches!(leg.device, Device::Proxy(_)) {
            let permit = match &leg.party {
                Party::User(user) if number.emergency => Some(sh.usage.force_user(user)),
                Party::Trunk(trunk) if number.emergency => Some(sh.usage.force_trunk(*trunk)),
                Party::User(user) => sh.usage.take_user(&sh.config, user),
                Party::Trunk(trunk) => sh.usage.take_trunk(&sh.config, *trunk),
            };
            leg.permit = Some(permit.ok_or(Failure::of(EndReason::TooManyCalls))?);
        }
        let mut taken = None;
        let found = lookup::look_up_aloud(&sh.config, number, &leg.party, |step| {
            if let lookup::Step::Taken(route) = step {
                taken = Some(route);
            }
        });
        routed.treatment = taken.map(|route| sh.config.routes[route].treatment).unwrap_or_default();
        let destination = match (found, &leg.party) {
            (Ok(destination), _) => destination,
            (Err(failure), Party::User(_)) => return Err(failure),
            (Err(failure), Party::Trunk(trunk)) => {
                let why = lookup::why_nobody(&sh.config, number, *trunk);
                let warning = format!("399 {} \"{}\"", sh.config.domain, quoted(&why));
                let name = &sh.config.trunks[*trunk].name;
                sh.log(Level::Warn, None, format!("a call from trunk {name}: {why}"));
                return Err(Failure { warning: Some(warning), ..failure });
            }
        };
        if let Destination::User(user) = &destination {
            routed.callee_permit =
                Some(sh.usage.take_user(&sh.config, user).ok_or(Failure::of(EndReason::Busy))?);
        }
        let urgent = number.emergency;
        let (flow, waiting) = (asked.flow.as_ref(), asked.waiting.as_ref());
        let from = route::From { device: &leg.device, flow, waiting, urgent };
        route::plan(sh, destination, from, &mut *self.entropy, t.now)
    }

    /// Only another device of the same user, or the same trunk, may take a leg's place (RFC 3891 §3).
    fn may_replace(&self, party: &Party, replaced: SipLeg) -> Option<(types::CallId, LegId)> {
        let (call, leg) = *self.shared.sip_legs.get(&replaced)?;
        let owner = self.calls.get(&call)?.legs.iter().find(|l| l.id == leg)?;
        (owner.party == *party).then_some((call, leg))
    }

    /// Which trunk sends from here: by its own addresses, by configured sources, by our registration's Contact.
    fn trunk_of(&self, flow: &Flow, uri: &Uri) -> Option<usize> {
        let config = &self.shared.config;
        let remote = flow.remote;
        let user = uri.user_unescaped();
        let by_address = |i: &usize| self.shared.targets.of(*i).any(|t| t.remote() == remote);
        let by_source = |i: &usize| config.trunks[*i].inbound_from.iter().any(|n| n.contains(remote.ip()));
        let by_registration = |i: &usize| {
            let trunk = &config.trunks[*i];
            trunk.registration.is_some()
                && trunk.contact_user == user
                && self.shared.targets.of(*i).any(|t| t.remote().ip() == remote.ip())
        };
        let all = 0..config.trunks.len();
        // Several trunks may share a source: the Contact that we registered tells them apart.
        all.clone()
            .find(|i| by_source(i) && by_registration(i))
            .or_else(|| all.clone().find(by_address))
            .or_else(|| all.clone().find(by_registration))
            .or_else(|| all.clone().find(by_source))
    }

    /// The number that a trunk wants: the Request-URI, or To where that only names our registration.
    fn inbound_number(&self, trunk: usize, uri: &Uri, request: &Message) -> String {
        let number = uri.user_unescaped();
        let trunk = &self.shared.config.trunks[trunk];
        let to = request.to().and_then(|to| to.uri().ok()).map(|to| to.user_unescaped());
        let wanted = match to {
            Some(to) if trunk.registration.is_some() && number == trunk.contact_user && !to.is_empty() => to,
            Some(_) | None => number,
        };
        trunk.read_number(&wanted)
    }

    /// Whether a URI names this gateway: our domain, or an address and port that we listen on.
    pub(crate) fn is_ours(&self, uri: &Uri, flow: &Flow) -> bool {
        if uri.scheme() == Scheme::Tel {
            return true;
        }
        let config = &self.shared.config;
        let named = config.is_own_host(uri.host()) || uri.ip() == Some(flow.local.ip());
        let port = uri.port().is_none_or(|p| p == flow.local.port() || config.local_ports.contains(&p));
        named && port
    }

    /// What a person dialled, without our own domain behind it.
    pub(crate) fn strip_domain(&self, dialled: &str) -> String {
        let config = &self.shared.config;
        let bare = |d: &str| {
            ["sip:", "sips:", "tel:"].iter().find_map(|p| d.strip_prefix(p)).unwrap_or(d).to_owned()
        };
        let text = bare(dialled.trim());
        match text.split_once('@') {
            Some((user, host)) => {
                let ours = [host, without_port(host)].iter().any(|h| config.is_own_host(h));
                if ours { user.to_owned() } else { text }
            }
            None => text,
        }
    }

    /// How a user of ours appears to other users: number and name.
    fn shown_as(&self, user: &UserName) -> CallerId {
        let number = self.shared.config.user(user.as_str()).map(|u| u.internal_number().to_owned());
        let number = number.unwrap_or_else(|| user.as_str().to_owned());
        CallerId { number, name: user.as_str().to_owned(), ..CallerId::default() }
    }
}

/// What routing a call has found besides where it leads.
#[derive(Default)]
struct Routed {
    /// Of the user who is called.
    callee_permit: Option<Permit>,
    treatment: Treatment,
}

/// What a new call wants.
pub(crate) struct Asked {
    pub dialled: String,
    pub from: CallerId,
    pub offer: Option<Vec<u8>>,
    pub flow: Option<Flow>,
    /// Where its media must be.
    pub worker: Option<WorkerId>,
    /// For whom it is, where someone else has asked for it.
    pub waiting: Option<(Device, Option<Flow>)>,
    /// The leg whose place it takes (RFC 3891).
    pub takes_over: Option<(types::CallId, LegId)>,
    /// Who has asked for it, where that is someone else and may be known.
    pub referred_by: Option<UserName>,
}

impl Asked {
    /// Somebody calls for themselves.
    fn call(dialled: String, from: CallerId, offer: Option<Vec<u8>>) -> Asked {
        let (flow, worker, waiting, takes_over, referred_by) = (None, None, None, None, None);
        Asked { dialled, from, offer, flow, worker, waiting, takes_over, referred_by }
    }
}

/// Whether the number may be one for help somewhere: so much is known before it is known who calls.
fn for_help_anywhere(request: &Message) -> bool {
    let to = request.to().and_then(|to| to.uri().ok());
    [request.request_uri(), to].into_iter().flatten().any(|uri| may_be_emergency(&uri.user_unescaped()))
}

/// A sentence as a reason phrase.
fn sentence(reason: EndReason) -> &'static str {
    reason.sentence().trim_end_matches('.')
}
