//! Trying callees: every device of a user at once, or trunks in turn; what happens when one fails.

use std::collections::VecDeque;

use media_bridge::control::{Bandwidth, Command as Media, LegKind, LegParams, Source, Srtp, Tone};
use sip_ua::message::Uri;
use sip_ua::{Flow, Invite, Reliable100, SessionTimer, Target, Transport};
use types::{EndReason, EndedBy, LegId, SessionId, UserName, limits};
use webrtc_peer::signalling::ToBrowser;

use super::end::{Failure, release};
use super::{Call, Device, Leg, MediaOp, Party, Phase, Progress, State};
use crate::config::SwitchConfig;
use crate::failover::{self, Next};
use crate::identity::{Outward, from_for_device, trunk_address};
use crate::output::Level;
use crate::route::{Hop, Plan, Ring};
use crate::shared::{Clock, Shared};

impl Call {
    /// The caller's media is made: now others may ring.
    pub(super) fn begin_trying(&mut self, sh: &mut Shared, t: Clock) {
        let State::Preparing { plan, .. } = &mut self.state else { return };
        let plan = std::mem::replace(plan, Plan::Dial(VecDeque::new()));
        let (devices, hops) = match plan {
            Plan::Ring { user, devices } => (Some((user, devices)), VecDeque::new()),
            Plan::Dial(hops) => (None, hops),
            // A transfer to an announcement: there is nobody to be joined with.
            Plan::Announce => (None, VecDeque::new()),
            Plan::TakeOver(call, leg) => return self.take_over(call, leg, sh, t),
        };
        let deadline = t.now + limits::RING_DURATION;
        self.state = State::Trying { hops, asked: None, progress: Progress::Silent, best: None, deadline };
        if let Some((user, devices)) = devices {
            for device in devices {
                match device {
                    Ring::Browser(session) => self.ring_browser(&user, session, sh),
                    Ring::Contact(contact) => self.ring_contact(&user, &contact.uri, contact.flow, None, sh),
                }
            }
        }
        self.go_on(sh, t);
    }

    fn add_leg(&mut self, party: Party, device: Device, phase: Phase) -> &mut Leg {
        let id = LegId(self.next_leg);
        self.next_leg = self.next_leg.saturating_add(1);
        let last = self.last_callee.replace(id);
        let caller = self.caller;
        let kept = |l: &Leg| l.id == LegId::CALLER || l.id == caller || Some(l.id) == last;
        self.legs.retain(|l| kept(l) || !matches!(l.phase, Phase::Over));
        let shown = self.facts.to.clone();
        self.legs.push(Leg { shown, ..Leg::new(id, party, device, phase) });
        let at = self.legs.len() - 1;
        &mut self.legs[at]
    }

    fn ring_browser(&mut self, user: &UserName, session: SessionId, sh: &mut Shared) {
        if sh.sessions.get(session).is_none() {
            return;
        }
        let name = format!("in-{}-{}", self.id.0, self.next_leg);
        let device = Device::Browser { session, name: name.clone() };
        let id = self.add_leg(Party::User(user.clone()), device, Phase::Ringing).id;
        sh.sessions.remember_call(session, &name, (self.id, id));
        let (from, display) = (self.facts.from.clone(), self.facts.from_name.clone());
        sh.browser(session, ToBrowser::Incoming { call: name, from, name: display });
        self.ringing(true, sh);
    }

    fn ring_contact(
        &mut self,
        user: &UserName,
        contact: &Uri,
        flow: Flow,
        srtp: Option<Srtp>,
        sh: &mut Shared,
    ) {
        let domain = sh.config.domain.clone();
        let referrer = self.facts.referred_by.as_ref();
        let referred_by = referrer.map(|by| referred_by(&address(by.as_str(), &domain)));
        let headers = self.hops_left().into_iter().chain(referred_by).collect();
        let invite = Invite {
            target: Target::Flow(flow),
            uri: contact.as_str().to_owned(),
            from: from_for_device(&self.facts.from, &self.facts.from_name, self.facts.private, &domain),
            to: format!("<{}>", address(user.as_str(), &domain)),
            contact_user: user_part(&self.facts.from),
            routes: Vec::new(),
            reliable: Reliable100::default(),
            timer: SessionTimer::default(),
            headers,
            body: None,
            credentials: None,
        };
        let sip = sh.new_sip_leg(self.id, LegId(self.next_leg));
        let phase = Phase::Preparing(Box::new(invite));
        let leg = self.add_leg(Party::User(user.clone()), Device::Sip(sip), phase);
        (leg.flow, leg.contact, leg.srtp) = (Some(flow), Some(contact.clone()), srtp);
        leg.local = Some(flow.local.ip());
        leg.remote = Some(flow.remote.ip());
        leg.kind = usual_kind(flow.transport);
        let id = leg.id;
        self.offer(id, sh);
    }

    /// A phone has refused our offer. Some insist on RTP/SAVP and take RTP/AVP with keys for none: asked once more, so.
    pub(super) fn ring_encrypted(&mut self, id: LegId, status: Option<u16>, sh: &mut Shared) -> bool {
        let Some(leg) = self.leg(id) else { return false };
        let (Party::User(user), Some(contact), Some(flow)) = (&leg.party, &leg.contact, leg.flow) else {
            return false;
        };
        if status != Some(488) || leg.kind != LegKind::Rtp || leg.srtp == Some(Srtp::Required) {
            return false;
        }
        let (user, contact) = (user.clone(), contact.clone());
        self.drop_media(id, sh);
        self.ring_contact(&user, &contact, flow, Some(Srtp::Required), sh);
        true
    }

    /// Lets the media plane make our offer for a callee; the caller's codec first, so that audio passes unchanged.
    fn offer(&mut self, id: LegId, sh: &mut Shared) {
        let callers = self.legs[0].codec;
        let Some(leg) = self.leg(id) else { return };
        let params = match leg.kind {
            LegKind::Rtp => leg.params(sh, callers, Bandwidth::Full),
            // Over the internet Opus, which repairs losses, whatever is at the other end.
            LegKind::WebRtc => leg.params(sh, None, callers.map(Bandwidth::of).unwrap_or_default()),
        };
        let params = LegParams { called: true, ..self.untouched(id, params, sh) };
        self.ask_media(id, MediaOp::Offer, Media::Offer { leg: id, params }, sh);
    }

    fn dial(&mut self, hop: Hop, sh: &mut Shared, t: Clock) -> Result<(), Failure> {
        let permit = if self.facts.emergency {
            sh.usage.force_trunk(hop.trunk)
        } else {
            sh.usage.start_on_trunk(&sh.config, hop.trunk, t.now).map_err(Failure::of)?
        };
        let trunk = &sh.config.trunks[hop.trunk];
        // Where a proxy stands between, its Route says the transport, not the Request-URI.
        let direct = trunk.profile.route.is_none();
        let param = if direct { hop.target.transport().param() } else { "" };
        let to = address(&trunk.write_number(&hop.number), &trunk.host);
        let caller = self.outward(&to, &sh.config);
        let who = caller.headers(trunk).into_iter().chain(self.referrer(hop.trunk, &sh.config));
        let headers = self.hops_left().into_iter().chain(who).collect();
        let invite = Invite {
            target: hop.target,
            uri: format!("{to}{param}"),
            from: caller.from(trunk),
            to: format!("<{to}>"),
            contact_user: trunk.contact_user.clone(),
            routes: trunk.profile.route.clone().into_iter().collect(),
            reliable: trunk.profile.reliable,
            timer: trunk.profile.session_timer,
            headers,
            body: None,
            credentials: trunk.credentials.clone(),
        };
        let advertise = trunk.advertise;
        let sip = sh.new_sip_leg(self.id, LegId(self.next_leg));
        let phase = Phase::Preparing(Box::new(invite));
        let leg = self.add_leg(Party::Trunk(hop.trunk), Device::Sip(sip), phase);
        leg.permit = Some(permit);
        leg.advertise = advertise;
        leg.target = Some(hop.target);
        (leg.local, leg.remote) = (hop.target.local_ip(), Some(hop.target.remote().ip()));
        let id = leg.id;
        self.offer(id, sh);
        Ok(())
    }

    /// One hop fewer than the caller's INVITE had, so that a call that runs in circles ends (RFC 7332 §4).
    fn hops_left(&self) -> Option<(&'static str, String)> {
        let hops = self.legs[0].hops?;
        Some(("Max-Forwards", hops.min(255).saturating_sub(1).to_string()))
    }

    /// What a trunk is told of the caller; `target`: the Request-URI.
    fn outward<'a>(&'a self, target: &'a str, config: &'a SwitchConfig) -> Outward<'a> {
        let facts = &self.facts;
        let shown = (!facts.private).then_some(facts.from.as_str());
        let (number, forwarder) = match &self.legs[0].party {
            Party::User(name) => {
                let own = config.user(name.as_str()).and_then(|u| u.caller_id.as_deref());
                (own.or(shown), None)
            }
            Party::Trunk(_) => (facts.asserted.as_deref().or(shown), Some(facts.to.as_str())),
        };
        // A transfer is dialled on the transferor's account: whoever waits stays unknown, and need not be hidden.
        let private = facts.private && !matches!(self.legs[0].device, Device::Proxy(_));
        Outward { number, private, forwarder, target }
    }

    /// Referred-By for a trunk that wants it (RFC 3892), by the number that others know of the user.
    fn referrer(&self, trunk: usize, config: &SwitchConfig) -> Option<(&'static str, String)> {
        let trunk = config.trunks.get(trunk).filter(|t| t.profile.referred_by)?;
        let user = config.user(self.facts.referred_by.as_ref()?.as_str())?;
        let number = trunk.write_number(user.caller_id.as_deref()?);
        Some(referred_by(&trunk_address(&number, trunk)))
    }

    /// A callee is out of the race; the reason counts for the caller once nobody is left.
    pub(super) fn callee_failed(&mut self, id: LegId, failure: Failure, sh: &mut Shared, t: Clock) {
        self.drop_media(id, sh);
        if let Some(leg) = self.leg(id) {
            release(leg, sh);
        }
        let global = failure.status.is_some_and(|s| s >= 600);
        self.note_failure(failure.clone());
        let State::Trying { progress, .. } = &mut self.state else { return };
        if matches!(*progress, Progress::Early(leg) | Progress::EarlyWanted(leg) if leg == id) {
            *progress = Progress::Ringing;
            let rings = self.legs.iter().any(|l| l.id != self.caller && matches!(l.phase, Phase::Ringing));
            let browser = matches!(self.legs[0].device, Device::Browser { .. });
            let source = if rings && browser { Source::Tone(Tone::Ringback) } else { Source::Nothing };
            self.set_source(self.caller, source, sh);
        }
        // A device says 6xx for the person: nobody else is to be asked (RFC 3261 §16.7 step 5).
        if global {
            return self.end(failure, EndedBy::Callee, sh, t);
        }
        self.go_on(sh, t);
    }

    fn note_failure(&mut self, failure: Failure) {
        if let State::Trying { best, .. } = &mut self.state
            && best.as_ref().is_none_or(|b| failure.rank() < b.rank())
        {
            *best = Some(failure);
        }
    }

    /// Tries the next trunk when nobody rings any more, and ends the call when there is none.
    fn go_on(&mut self, sh: &mut Shared, t: Clock) {
        loop {
            if self.legs.iter().any(|l| l.id != self.caller && l.alive()) {
                return;
            }
            let State::Trying { hops, asked, best, .. } = &mut self.state else { return };
            match best.as_ref().map_or(Next::Target, |failure| failover::after(failure, self.facts.emergency))
            {
                Next::Nobody => hops.clear(),
                Next::Target => {}
                Next::Trunk => {
                    while hops.front().is_some_and(|hop| Some(hop.trunk) == *asked) {
                        hops.pop_front();
                    }
                }
            }
            let Some(hop) = hops.pop_front() else {
                let failure = best.take().unwrap_or_else(|| Failure::of(EndReason::NotRegistered));
                return self.end(failure, EndedBy::Callee, sh, t);
            };
            *asked = Some(hop.trunk);
            // What an earlier trunk said about itself does not matter once the next one is asked.
            if let Some(failure) = best.take() {
                let name = &sh.config.trunks[hop.trunk].name;
                let status = failure.status.map_or(String::new(), |s| format!(" ({s})"));
                let note = format!("{}{status}, so trunk {name} was asked next", failure.sentence());
                sh.log(Level::Info, Some(self.id), note.clone());
                self.record(note);
            }
            if let Err(failure) = self.dial(hop, sh, t) {
                self.note_failure(failure);
            }
        }
    }
}

/// The media of a SIP device that has not said it yet: over WebSocket it is a browser's library (RFC 7118 §1).
pub(crate) fn usual_kind(transport: Transport) -> LegKind {
    match transport {
        Transport::Udp | Transport::Tcp | Transport::Tls => LegKind::Rtp,
        Transport::Ws | Transport::Wss => LegKind::WebRtc,
    }
}

/// `sip:user@host`, the user part escaped as needed.
pub(crate) fn address(user: &str, host: &str) -> String {
    match Uri::sip(user, host, None) {
        Ok(uri) => uri.as_str().to_owned(),
        Err(_) => format!("sip:{host}"),
    }
}

/// Who has transferred a call (RFC 3892 §2.1).
fn referred_by(address: &str) -> (&'static str, String) {
    ("Referred-By", format!("<{address}>"))
}

/// A user part for our Contact: only what needs no escaping.
fn user_part(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_alphanumeric() || "+-_.*".contains(*c)).collect()
}
