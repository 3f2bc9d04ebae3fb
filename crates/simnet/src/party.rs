//! SIP phones and carriers: real endpoints with a person's or a network's behaviour drawn by lot.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use media_bridge::control::{Refusal, Srtp};
use sip_ua::digest::{Algorithm, Asks, Challenger, Check, Secret};
use sip_ua::message::Message;
use sip_ua::{
    Body, Command, ConnectionId, Credentials, Endpoint, EndpointConfig, Event, Headers, Invite, Listener,
    ReferId, ReferOutcome, Register, RegistrationId, Reliable100, SessionTimer, SipLeg, Target, Transport,
};
use types::Wall;

use crate::rng::Rng;
use crate::words::{Keys, Words};

/// Whose behaviour it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// A user's phone: registers, calls numbers and people.
    Phone { user: &'static str },
    /// A trunk: asks for credentials, takes registrations, calls our numbers.
    Carrier,
}

/// Something that a party does later.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Send 180, or 183 with a description.
    Ring { leg: SipLeg, early: bool },
    /// Send 200.
    Answer(SipLeg),
    /// Refuse with this status.
    Reject(SipLeg, u16),
    /// CANCEL, BYE or 480, as the leg's state asks for.
    HangUp(SipLeg),
    /// A re-INVITE; with what kind of description.
    Reinvite(SipLeg, &'static str),
    /// A digit by INFO.
    Digit(SipLeg),
    /// REFER to this number.
    Refer(SipLeg, &'static str),
    /// What became of the gateway's REFER.
    Outcome(SipLeg, ReferId, u16),
}

#[derive(Debug)]
struct Leg {
    /// What our answer is or was.
    answer: String,
    /// Another fork's, which answers in its place after early media.
    other: Option<String>,
    up: bool,
}

/// What a party has and wants of audio.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    pub codecs: &'static str,
    pub srtp: Srtp,
}

pub(crate) struct Party {
    pub role: Role,
    pub address: SocketAddr,
    pub transport: Transport,
    pub connection: Option<ConnectionId>,
    pub endpoint: Endpoint,
    /// Acts planned, taken by the world.
    pub plans: Vec<(Duration, Act)>,
    rng: Rng,
    manners: Manners,
    challenger: Option<Challenger>,
    legs: BTreeMap<SipLeg, Leg>,
    next_leg: u64,
    registered: bool,
}

/// Where the gateway is.
pub(crate) const GATEWAY: &str = "192.0.2.1:5060";

pub(crate) fn gateway() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 5060))
}

/// A number where it rings and nobody is.
const NOBODY: &str = "+12025550103";

/// What carriers ask us for.
pub(crate) fn trunk_credentials() -> Credentials {
    Credentials { username: "trunk-user".into(), password: "trunk-secret".into(), realm: None }
}

impl Party {
    pub fn new(
        role: Role,
        address: SocketAddr,
        transport: Transport,
        manners: Manners,
        mut rng: Rng,
    ) -> Self {
        let listener = Listener { transport, local: address, advertise: None };
        let config = EndpointConfig { user_agent: "simnet".into(), listeners: vec![listener] };
        let challenger = matches!(role, Role::Carrier)
            .then(|| Challenger::new("carrier", vec![Algorithm::SHA256, Algorithm::MD5], &mut rng));
        Party {
            role,
            address,
            transport,
            connection: None,
            endpoint: Endpoint::new(config, Box::new(rng.split())),
            plans: Vec::new(),
            rng,
            manners,
            challenger,
            legs: BTreeMap::new(),
            next_leg: 0,
            registered: false,
        }
    }

    pub fn legs(&self) -> usize {
        self.legs.len()
    }

    fn target(&self) -> Target {
        Target::Address { transport: self.transport, remote: gateway(), local: None }
    }

    /// A phone's; now and then mistyped.
    fn credentials(&mut self) -> Option<Credentials> {
        let mistyped = self.rng.chance(30);
        match self.role {
            Role::Phone { user } => {
                let password = format!("{user}-{}", if mistyped { "guess" } else { "secret" });
                Some(Credentials { username: user.into(), password, realm: None })
            }
            Role::Carrier => None,
        }
    }

    fn say(&mut self, command: Command, now: Instant) {
        self.endpoint.handle_command(command, now, Wall(0));
    }

    /// A phone registers; calling it again replaces the registration.
    pub fn register(&mut self, now: Instant) {
        let Role::Phone { user } = self.role else { return };
        let register = Register {
            target: self.target(),
            registrar: "sip:sim.example".into(),
            aor: format!("sip:{user}@sim.example"),
            contact_user: user.into(),
            routes: Vec::new(),
            credentials: self.credentials(),
            expires: *self.rng.pick(&[30, 90, 600, 5000]),
            patience: Duration::from_secs(32),
            keep_alive: None,
            instance: None,
        };
        self.registered = true;
        self.say(Command::Register(RegistrationId(1), Box::new(register)), now);
    }

    /// Calls somebody who never answers, and waits for ever.
    pub fn call_nobody(&mut self, now: Instant) {
        self.invite(NOBODY, Some(self.manners.codecs), now);
    }

    /// Calls a number. Sometimes without an offer, sometimes with one that is no good, sometimes impatiently.
    pub fn call(&mut self, number: &str, now: Instant) {
        let offer = match self.rng.below(40) {
            0 => Some("garbage"),
            1 => Some("g729"),
            2 => None,
            _ => Some(self.manners.codecs),
        };
        let leg = self.invite(number, offer, now);
        let patience = if self.rng.chance(250) { (50, 3_000) } else { (15_000, 40_000) };
        self.plan(patience, Act::HangUp(leg));
    }

    fn invite(&mut self, number: &str, offer: Option<&str>, now: Instant) -> SipLeg {
        let leg = SipLeg::outgoing(self.next_leg);
        self.next_leg += 1;
        let caller = match self.role {
            Role::Phone { user } => user,
            Role::Carrier => "+12025550177",
        };
        let reliable = if self.rng.chance(300) { Reliable100::Required } else { Reliable100::Supported };
        let host = if self.rng.chance(500) { "sim.example" } else { GATEWAY };
        let invite = Invite {
            target: self.target(),
            uri: format!("sip:{number}@{host}"),
            from: format!("\"Caller\" <sip:{caller}@sim.example>"),
            to: format!("<sip:{number}@sim.example>"),
            contact_user: caller.into(),
            routes: Vec::new(),
            reliable,
            timer: SessionTimer::default(),
            headers: Vec::new(),
            body: offer.map(|o| self.offered(o)),
            credentials: self.credentials(),
        };
        self.legs.insert(leg, Leg { answer: String::new(), other: None, up: false });
        self.say(Command::Invite(leg, Box::new(invite)), now);
        leg
    }

    /// An offer with the keys that it has here; the empty one wants an offer of the gateway.
    fn offered(&self, text: &str) -> Body {
        let keys = if text.is_empty() { Keys::None } else { Keys::offered(self.manners.srtp) };
        Body::sdp(keys.mark(text).into_bytes())
    }

    /// Our answer where there was no offer, or none that anybody looks at.
    pub fn late_answer(&self) -> String {
        Keys::offered(self.manners.srtp).mark("pcmu")
    }

    fn plan(&mut self, (low, high): (u64, u64), act: Act) {
        let at = self.rng.millis(low, high);
        self.plans.push((at, act));
    }

    /// Everything ends: hang up, unregister.
    pub fn leave(&mut self, now: Instant) {
        for leg in self.legs.keys().copied().collect::<Vec<_>>() {
            self.act(Act::HangUp(leg), now);
        }
    }

    pub fn unregister(&mut self, now: Instant) {
        if std::mem::take(&mut self.registered) {
            self.say(Command::Unregister(RegistrationId(1)), now);
        }
    }

    /// What was planned comes due. Legs that are over are ignored.
    pub fn act(&mut self, act: Act, now: Instant) {
        let (Act::Ring { leg, .. }
        | Act::Answer(leg)
        | Act::Reject(leg, _)
        | Act::HangUp(leg)
        | Act::Reinvite(leg, _)
        | Act::Digit(leg)
        | Act::Refer(leg, _)
        | Act::Outcome(leg, ..)) = act;
        let Some(known) = self.legs.get_mut(&leg) else { return };
        if let (Act::Answer(_), Some(other)) = (&act, known.other.take()) {
            known.answer = other;
        }
        let answer = Body::sdp(known.answer.clone().into_bytes());
        let command = match act {
            Act::Ring { early, .. } if !known.up => {
                let status = if early { 183 } else { 180 };
                Command::Provisional { leg, status, body: early.then_some(answer) }
            }
            Act::Answer(_) if !known.up => {
                known.up = true;
                Command::Answer { leg, body: answer }
            }
            Act::Reject(_, status) => {
                // RFC 3261 §21.5.4: some say when to come again.
                let wait = (status == 503 && self.rng.chance(500)).then(|| ("Retry-After", "7".to_owned()));
                Command::Reject { leg, status, reason: String::new(), headers: wait.into_iter().collect() }
            }
            Act::HangUp(_) => Command::HangUp { leg, reason: None },
            Act::Reinvite(_, text) if known.up => Command::Reinvite { leg, body: self.offered(text) },
            Act::Digit(_) if known.up => {
                let body =
                    Body { content_type: "application/dtmf-relay".into(), bytes: b"Signal=4\r\n".to_vec() };
                Command::Info { leg, body }
            }
            Act::Refer(_, number) if known.up => {
                let to = format!("sip:{number}@sim.example");
                Command::Refer { leg, to, referred_by: String::new() }
            }
            Act::Outcome(_, refer, status) => Command::ReferStatus { refer, status },
            Act::Ring { .. } | Act::Answer(_) | Act::Reinvite(..) | Act::Digit(_) | Act::Refer(..) => return,
        };
        let answered = matches!(command, Command::Answer { .. });
        self.say(command, now);
        if answered {
            self.plan_conversation(leg);
        }
    }

    fn plan_conversation(&mut self, leg: SipLeg) {
        self.plan((1_000, 25_000), Act::HangUp(leg));
        if self.rng.chance(250) {
            // The empty one wants an offer of the gateway.
            let text = *self.rng.pick(&["pcmu", "pcma,pcmu", "g729", "garbage", "", ""]);
            self.plan((500, 6_000), Act::Reinvite(leg, text));
        }
        if self.rng.chance(300) {
            let hold = *self.rng.pick(&["sendonly:pcmu,pcma", "inactive:pcmu,pcma"]);
            self.plan((200, 4_000), Act::Reinvite(leg, hold));
            self.plan((200, 9_000), Act::Reinvite(leg, "pcmu,pcma"));
        }
        if self.rng.chance(200) {
            self.plan((500, 6_000), Act::Digit(leg));
        }
        if self.rng.chance(200) {
            let to = *self.rng.pick(&[
                "100",
                "101",
                "102",
                "+12025550100",
                "+12025550199",
                "+13035550100",
                "nobody",
            ]);
            self.plan((300, 9_000), Act::Refer(leg, to));
        }
    }

    /// What the party's own endpoint tells it.
    pub fn on_event(&mut self, event: Event, now: Instant, wall: Wall) {
        match event {
            Event::Invite { leg, request, .. } => self.on_invite(leg, &request, now, wall),
            Event::Answered { leg, .. } => {
                if let Some(known) = self.legs.get_mut(&leg) {
                    known.up = true;
                    self.plan_conversation(leg);
                }
            }
            Event::Reinvite { leg, body } => {
                let answer =
                    body.map_or_else(|| Ok(self.offered(self.manners.codecs)), |offer| self.taken(offer));
                let command = match answer {
                    Ok(body) => Command::AcceptReinvite { leg, body },
                    Err(_) => Command::RejectReinvite { leg, status: 488, headers: Headers::new() },
                };
                self.say(command, now);
            }
            Event::Ended { leg, .. } => {
                self.legs.remove(&leg);
            }
            Event::Register { token, request, .. } => {
                let contact = request.header("Contact").unwrap_or_default().to_owned();
                let expires = request.expires().unwrap_or(120);
                let headers = match expires {
                    0 => Headers::new(),
                    n => vec![("Contact", format!("{contact};expires={n}"))],
                };
                self.say(Command::Respond { token, status: 200, reason: String::new(), headers }, now);
            }
            Event::Refer { leg, refer, .. } => {
                if self.rng.chance(300) {
                    return self.say(Command::RejectRefer { refer, status: 405, reason: String::new() }, now);
                }
                self.say(Command::AcceptRefer { refer }, now);
                let status = *self.rng.pick(&[200, 200, 486]);
                self.plan((50, 900), Act::Outcome(leg, refer, 180));
                self.plan((1_000, 6_000), Act::Outcome(leg, refer, status));
            }
            // A transferor that has heard of its success hangs up, mostly.
            Event::Referred { leg, outcome: ReferOutcome::Done(Some(200)) } if self.rng.chance(700) => {
                self.plan((1, 1_500), Act::HangUp(leg));
            }
            Event::Referred { .. }
            | Event::Trying { .. }
            | Event::Provisional { .. }
            | Event::Acked { .. }
            | Event::ReinviteDone { .. }
            | Event::Info { .. }
            | Event::Registration { .. }
            | Event::Pong { .. }
            | Event::FlowClosed { .. } => {}
        }
    }

    /// Our answer to an offer of the gateway: one word of it, or the whole where there is none for us.
    fn taken(&self, offer: Body) -> Result<Body, Refusal> {
        let words = Words::of(&offer.bytes);
        let keys = words.keys.answered(self.manners.srtp)?;
        let common = words.common(self.manners.codecs).next().map(|word| keys.mark(word));
        Ok(common.map_or(offer, |text| Body::sdp(text.into())))
    }

    fn on_invite(&mut self, leg: SipLeg, request: &Arc<Message>, now: Instant, wall: Wall) {
        if let Some(challenger) = &mut self.challenger {
            let known = trunk_credentials();
            // Now and then it has lost our account.
            let lost = self.rng.chance(30);
            let secret = |user: &str| {
                (user == known.username && !lost).then(|| Secret::Password(known.password.clone()))
            };
            if !matches!(challenger.check(Asks::Proxy, request, secret, wall), Check::Ok { .. }) {
                let headers = challenger.challenge(Asks::Proxy, false, wall, &mut self.rng);
                let (status, reason) = (Asks::Proxy.status(), String::new());
                return self.say(Command::Reject { leg, status, reason, headers }, now);
            }
        }
        let Some((answer, other)) = self.answers(&Words::of(request.body())) else {
            let (status, reason, headers) = (488, String::new(), Headers::new());
            return self.say(Command::Reject { leg, status, reason, headers }, now);
        };
        self.legs.insert(leg, Leg { answer, other, up: false });
        // A phone does not ring for ever, not even when the network is gone.
        self.plan((150_000, 160_000), Act::Reject(leg, 480));
        let silent = request.request_uri().is_some_and(|uri| uri.user_unescaped() == NOBODY);
        if silent {
            return self.plan((50, 900), Act::Ring { leg, early: false });
        }
        let early = self.rng.chance(250);
        let lot = self.rng.below(100);
        if lot < 90 {
            self.plan((50, 900), Act::Ring { leg, early });
        }
        match lot {
            0..60 => self.plan((100, 6_000), Act::Answer(leg)),
            60..92 => {
                let status = *self.rng.pick(&[486, 486, 480, 404, 603, 500, 503, 503, 488]);
                self.plan((100, 5_000), Act::Reject(leg, status));
            }
            // Rings, or not even that, and nobody comes.
            _ => {}
        }
    }

    /// What we answer to this offer, and what another fork answers; nothing where encryption is not agreed on. Some insist
    /// on RTP/SAVP and take keys beside RTP/AVP for none; some forget that they were to encrypt.
    fn answers(&mut self, offer: &Words) -> Option<(String, Option<String>)> {
        let insists = self.manners.srtp == Srtp::Required && offer.keys == Keys::Beside;
        if insists && self.rng.chance(500) {
            return None;
        }
        let keys = offer.keys.answered(self.manners.srtp).ok()?;
        let keys = if self.rng.chance(30) { Keys::None } else { keys };
        let mut common = offer.common(self.manners.codecs);
        let answer = common.next().filter(|_| !self.rng.chance(15)).unwrap_or("nonsense");
        let other = common.next().filter(|_| self.rng.chance(400)).map(|word| keys.mark(word));
        Some((keys.mark(answer), other))
    }
}
