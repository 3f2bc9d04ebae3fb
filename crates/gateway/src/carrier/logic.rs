//! What the carrier does with each number. Sans-IO: events in, SIP and media commands out.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use media_bridge::control::{self as media, Codec, LegKind, LegParams, Source, Tone};
use sip_ua::{Body, Command, Event, Invite, Reliable100, SessionTimer, SipLeg, Target};
use types::{CallId, LegId};

/// Calls that the carrier takes at once, and call-backs that it remembers; further ones hear busy, or are not called back.
const CALLS: usize = 200;
const RING: Duration = Duration::from_millis(800);
const EARLY_MEDIA: Duration = Duration::from_secs(4);
const GREETING: Duration = Duration::from_secs(1);
const HANG_UP_AFTER: Duration = Duration::from_millis(700);
const CALL_BACK_AFTER: Duration = Duration::from_secs(2);
const LEG: LegId = LegId(0);

/// What a number is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Service {
    Echo,
    Music,
    Busy,
    NoAnswer,
    Digits,
    EarlyMedia,
    CallBack,
}

impl Service {
    fn of(number: &str) -> Option<Service> {
        match number.trim_start_matches('+') {
            "12025550100" => Some(Service::Echo),
            "12025550101" => Some(Service::Music),
            "12025550102" => Some(Service::Busy),
            "12025550103" => Some(Service::NoAnswer),
            "12025550104" => Some(Service::Digits),
            "12025550105" => Some(Service::EarlyMedia),
            "12025550199" => Some(Service::CallBack),
            _ => None,
        }
    }

    /// What the caller hears once answered.
    fn source(self) -> Source {
        match self {
            // The digits' number greets with a tune, so that its caller knows that the audio works.
            Service::Music | Service::EarlyMedia | Service::CallBack | Service::Digits => {
                Source::Tone(Tone::Music)
            }
            Service::Echo => Source::Echo,
            Service::Busy | Service::NoAnswer => Source::Nothing,
        }
    }
}

/// One call's progress.
#[derive(Debug)]
enum State {
    /// The media plane is making our answer.
    Preparing,
    /// Ringing or early media with this answer in hand.
    Ringing { answer: Vec<u8> },
    /// Rings for ever.
    Unanswered,
    /// The media plane is making our offer for a call of ours.
    Offering { number: String },
    /// A call of ours rings.
    Calling,
    /// Talking.
    Answered,
}

#[derive(Debug)]
struct Call {
    leg: SipLeg,
    service: Service,
    caller: String,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Alarm {
    Answer,
    HangUp,
    Hush,
}

/// What to do.
#[derive(Debug)]
pub enum Output {
    /// For the carrier's endpoint.
    Sip(Command),
    /// For the carrier's media plane.
    Media(media::CallCommand),
}

/// The carrier's calls.
pub struct Carrier {
    gateway: Target,
    gateway_host: String,
    own_host: String,
    calls: HashMap<CallId, Call>,
    by_leg: HashMap<SipLeg, CallId>,
    alarms: BTreeMap<(Instant, CallId), Alarm>,
    call_backs: BTreeMap<(Instant, u64), String>,
    next: u64,
    outputs: VecDeque<Output>,
}

impl Carrier {
    /// A carrier at `own_host` whose calls go to `gateway`, written as `gateway_host` in URIs.
    pub fn new(gateway: Target, gateway_host: String, own_host: String) -> Carrier {
        Carrier {
            gateway,
            gateway_host,
            own_host,
            calls: HashMap::new(),
            by_leg: HashMap::new(),
            alarms: BTreeMap::new(),
            call_backs: BTreeMap::new(),
            next: 0,
            outputs: VecDeque::new(),
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let alarm = self.alarms.keys().next().map(|(at, _)| *at);
        let call_back = self.call_backs.keys().next().map(|(at, _)| *at);
        alarm.into_iter().chain(call_back).min()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(entry) = self.alarms.first_entry().filter(|e| e.key().0 <= now) {
            let (_, call) = *entry.key();
            let alarm = entry.remove();
            match alarm {
                Alarm::Answer => self.answer(call, now),
                Alarm::HangUp => self.hang_up(call),
                Alarm::Hush => {
                    self.media(call, media::Command::SetSource { leg: LEG, source: Source::Nothing })
                }
            }
        }
        while let Some(entry) = self.call_backs.first_entry().filter(|e| e.key().0 <= now) {
            let number = entry.remove();
            self.call_back(number);
        }
    }

    pub fn handle_sip(&mut self, event: Event, now: Instant) {
        match event {
            Event::Invite { leg, request, .. } => {
                let number = request.request_uri().map(|u| u.user_unescaped()).unwrap_or_default();
                let caller =
                    request.from().and_then(|f| f.uri().ok()).map(|u| u.user_unescaped()).unwrap_or_default();
                self.incoming(leg, &number, caller, request.body().to_vec());
            }
            Event::Answered { leg, body } => self.answered(leg, body),
            Event::Reinvite { leg, body } => self.reinvite(leg, body),
            Event::Ended { leg, .. } => self.ended(leg, now),
            // It is a network, it hands nobody over.
            Event::Refer { refer, .. } => {
                self.sip(Command::RejectRefer { refer, status: 405, reason: String::new() });
            }
            Event::Referred { .. }
            | Event::Trying { .. }
            | Event::Provisional { .. }
            | Event::Acked { .. }
            | Event::ReinviteDone { .. }
            | Event::Info { .. }
            | Event::Register { .. }
            | Event::Registration { .. }
            | Event::Pong { .. }
            | Event::FlowClosed { .. } => {}
        }
    }

    pub fn handle_media(&mut self, event: media::CallEvent, now: Instant) {
        let Some(call) = self.calls.get_mut(&event.call) else { return };
        match event.event {
            media::Event::LocalSdp { sdp, .. } => self.local_sdp(event.call, sdp, now),
            media::Event::Refused { .. } | media::Event::Crashed => {
                let leg = call.leg;
                match call.state {
                    State::Preparing => self.reject(leg, 488),
                    State::Answered => self.outputs.push_back(Output::Sip(Command::RejectReinvite {
                        leg,
                        status: 488,
                        headers: Vec::new(),
                    })),
                    State::Ringing { .. } | State::Unanswered | State::Calling => self.hang_up(event.call),
                    State::Offering { .. } => self.forget(event.call),
                }
            }
            media::Event::Dtmf { digit, duration, .. } if call.service == Service::Digits => {
                self.media(event.call, media::Command::SendDtmf { leg: LEG, digit, duration });
            }
            media::Event::Dtmf { .. }
            | media::Event::Direction { .. }
            | media::Event::Negotiated { .. }
            | media::Event::Connected { .. }
            | media::Event::PathLost { .. }
            | media::Event::PathRestored { .. }
            | media::Event::Lost { .. }
            | media::Event::Silent { .. }
            | media::Event::Played { .. }
            | media::Event::Stats { .. }
            | media::Event::Closed => {}
        }
    }

    fn incoming(&mut self, leg: SipLeg, number: &str, caller: String, offer: Vec<u8>) {
        let Some(service) = Service::of(number) else { return self.reject(leg, 404) };
        if service == Service::Busy || self.calls.len() >= CALLS {
            return self.reject(leg, 486);
        }
        let id = CallId(self.next);
        self.next += 1;
        self.by_leg.insert(leg, id);
        if service == Service::NoAnswer {
            self.calls.insert(id, Call { leg, service, caller, state: State::Unanswered });
            return self.sip(Command::Provisional { leg, status: 180, body: None });
        }
        self.calls.insert(id, Call { leg, service, caller, state: State::Preparing });
        self.media(id, media::Command::Answer { leg: LEG, params: params(), offer });
    }

    fn local_sdp(&mut self, id: CallId, sdp: Vec<u8>, now: Instant) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let leg = call.leg;
        match &call.state {
            State::Preparing => {
                let early = call.service == Service::EarlyMedia;
                let body = early.then(|| Body::sdp(sdp.clone()));
                call.state = State::Ringing { answer: sdp };
                self.alarms.insert((now + if early { EARLY_MEDIA } else { RING }, id), Alarm::Answer);
                self.sip(Command::Provisional { leg, status: if early { 183 } else { 180 }, body });
                if early {
                    self.media(
                        id,
                        media::Command::SetSource { leg: LEG, source: Source::Tone(Tone::Ringback) },
                    );
                }
            }
            State::Offering { number } => {
                let invite = Invite {
                    target: self.gateway,
                    uri: format!("sip:{number}@{}", self.gateway_host),
                    from: format!("\"Demo carrier\" <sip:+12025550199@{}>", self.own_host),
                    to: format!("<sip:{number}@{}>", self.gateway_host),
                    contact_user: "carrier".into(),
                    routes: Vec::new(),
                    reliable: Reliable100::default(),
                    timer: SessionTimer::default(),
                    headers: Vec::new(),
                    body: Some(Body::sdp(sdp)),
                    credentials: None,
                };
                call.state = State::Calling;
                self.sip(Command::Invite(leg, Box::new(invite)));
            }
            State::Answered => self.sip(Command::AcceptReinvite { leg, body: Body::sdp(sdp) }),
            State::Ringing { .. } | State::Unanswered | State::Calling => {}
        }
    }

    fn answer(&mut self, id: CallId, now: Instant) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let State::Ringing { answer } = &mut call.state else { return };
        let body = Body::sdp(std::mem::take(answer));
        call.state = State::Answered;
        let (leg, service) = (call.leg, call.service);
        self.sip(Command::Answer { leg, body });
        self.media(id, media::Command::SetSource { leg: LEG, source: service.source() });
        match service {
            Service::CallBack => drop(self.alarms.insert((now + HANG_UP_AFTER, id), Alarm::HangUp)),
            Service::Digits => drop(self.alarms.insert((now + GREETING, id), Alarm::Hush)),
            Service::Echo | Service::Music | Service::Busy | Service::NoAnswer | Service::EarlyMedia => {}
        }
    }

    fn answered(&mut self, leg: SipLeg, body: Option<Body>) {
        let Some(id) = self.by_leg.get(&leg).copied() else { return };
        if let Some(call) = self.calls.get_mut(&id) {
            call.state = State::Answered;
        }
        if let Some(body) = body {
            self.media(id, media::Command::SetAnswer { leg: LEG, answer: body.bytes });
        }
        self.media(id, media::Command::SetSource { leg: LEG, source: Source::Tone(Tone::Music) });
    }

    fn reinvite(&mut self, leg: SipLeg, body: Option<Body>) {
        let Some(id) = self.by_leg.get(&leg).copied() else { return };
        match body {
            Some(offer) => {
                self.media(id, media::Command::Answer { leg: LEG, params: params(), offer: offer.bytes })
            }
            None => self.sip(Command::RejectReinvite { leg, status: 488, headers: Vec::new() }),
        }
    }

    fn ended(&mut self, leg: SipLeg, now: Instant) {
        let Some(id) = self.by_leg.get(&leg).copied() else { return };
        let call_back = self.calls.get(&id).filter(|c| {
            c.service == Service::CallBack && matches!(c.state, State::Answered) && !c.caller.is_empty()
        });
        if let Some(call) = call_back
            && self.call_backs.len() < CALLS
        {
            self.call_backs.insert((now + CALL_BACK_AFTER, self.next), call.caller.clone());
            self.next += 1;
        }
        self.forget(id);
    }

    fn call_back(&mut self, number: String) {
        if self.calls.len() >= CALLS {
            return;
        }
        let id = CallId(self.next);
        self.next += 1;
        let leg = SipLeg::outgoing(id.0);
        self.by_leg.insert(leg, id);
        // Music, not CallBack: a call back must not call back again.
        let call =
            Call { leg, service: Service::Music, caller: String::new(), state: State::Offering { number } };
        self.calls.insert(id, call);
        self.media(id, media::Command::Offer { leg: LEG, params: params() });
    }

    fn hang_up(&mut self, id: CallId) {
        if let Some(call) = self.calls.get(&id) {
            self.sip(Command::HangUp { leg: call.leg, reason: None });
        }
    }

    fn forget(&mut self, id: CallId) {
        if let Some(call) = self.calls.remove(&id) {
            self.by_leg.remove(&call.leg);
            self.alarms.retain(|(_, call), _| *call != id);
            self.media(id, media::Command::Close);
        }
    }

    fn reject(&mut self, leg: SipLeg, status: u16) {
        self.sip(Command::Reject { leg, status, reason: String::new(), headers: Vec::new() });
    }

    fn sip(&mut self, command: Command) {
        self.outputs.push_back(Output::Sip(command));
    }

    fn media(&mut self, call: CallId, command: media::Command) {
        self.outputs.push_back(Output::Media(media::CallCommand { call, command }));
    }
}

fn params() -> LegParams {
    LegParams::new(LegKind::Rtp, &[Codec::Pcmu, Codec::Pcma])
}
