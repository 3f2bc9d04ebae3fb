//! A switch on a bench: virtual time, a media plane that answers at once, peers driven by hand.
//!
//! Descriptions are words here: an offer lists codecs (`opus,pcmu`), an answer names one.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "test helpers")]
#![allow(dead_code, missing_docs, reason = "each test binary uses its own part")]

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use b2bua::{
    Cdr, Countries, Country, Held, IpNet, Level, Output, Pattern, Recording, RouteConfig, RouteTo, Secret,
    SignalIn, Switch, SwitchConfig, Treatment, TrunkConfig, TrunkProfile, TrunkTarget, UserConfig,
};
use media_bridge::control::{
    CallCommand, CallEvent, Codec, Command as Media, Event as MediaEvent, LegParams, Refusal, Source,
};
use sip_ua::digest::DigestClient;
use sip_ua::message::{Message, Method};
use sip_ua::{
    Body, Command as Sip, Credentials, Event, Flow, Headers, Invite, LegEnd, RequestToken, SipLeg, Target,
    Transport,
};
use types::{Advertised, CallId, Entropy, LegId, SessionId, UserName, Wall, WorkerId};
use webrtc_peer::signalling::{FromBrowser, ToBrowser};

pub struct Numbers(pub u64);

impl Entropy for Numbers {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (self.0 >> 33) as u8;
        }
    }
}

pub const TRUNK: &str = "203.0.113.5:5060";
pub const TRUNK_B: &str = "203.0.113.6:5060";
pub const US: &str = "192.0.2.1:5060";
pub const ALICE: SessionId = SessionId(1);
pub const ALICE_TAB: SessionId = SessionId(2);
pub const BOB: SessionId = SessionId(3);

pub fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub fn country(code: &str) -> Country {
    Country::parse(code).unwrap()
}

pub fn udp(remote: &str) -> Target {
    Target::Address { transport: Transport::Udp, remote: addr(remote), local: None }
}

pub fn flow(remote: &str) -> Flow {
    Flow { transport: Transport::Udp, local: addr(US), remote: addr(remote), connection: None }
}

pub fn user(name: &str, extension: &str, caller_id: &str) -> UserConfig {
    UserConfig {
        name: UserName::new(name),
        secret: Secret::Password(format!("{name}-pw")),
        extension: Some(extension.into()),
        caller_id: Some(caller_id.into()),
        max_calls: None,
        country: Some(country("US")),
    }
}

pub fn trunk(name: &str, target: &str) -> TrunkConfig {
    TrunkConfig {
        name: name.into(),
        targets: vec![TrunkTarget::only(udp(target))],
        host: format!("{name}.example"),
        registration: None,
        credentials: None,
        contact_user: "webtrunk".into(),
        inbound_from: Vec::new(),
        profile: TrunkProfile::default(),
        max_calls: None,
        refer: false,
        calls_per_second: None,
        country: Some(country("US")),
        dids: Vec::new(),
        hold_music: None,
        advertise: Advertised::default(),
    }
}

pub fn route(pattern: &str, to: &[RouteTo]) -> RouteConfig {
    RouteConfig {
        pattern: Pattern::parse(pattern).unwrap(),
        from: Vec::new(),
        to: to.to_vec(),
        rewrite: None,
        countries: Countries::Named(Vec::new()),
        premium: false,
        treatment: Treatment::default(),
    }
}

pub fn config() -> SwitchConfig {
    let to = |names: &[&str]| names.iter().map(|n| RouteTo::Trunk((*n).into())).collect::<Vec<_>>();
    let mut pbx = trunk("pbx", "198.51.100.9:5060");
    pbx.inbound_from = vec![IpNet::parse("198.51.100.0/24").unwrap()];
    SwitchConfig {
        deny: Vec::new(),
        domain: "example.com".into(),
        digest: Vec::new(),
        local_hosts: vec!["192.0.2.1".into()],
        local_ports: vec![5060],
        users: vec![user("alice", "100", "+12025550110"), user("bob", "101", "+12025550111")].into(),
        trunks: vec![trunk("carrier", TRUNK), trunk("backup", TRUNK_B), pbx],
        routes: vec![
            route("+1202555019x", &[RouteTo::User(UserName::new("bob"))]),
            route("+1*", &to(&["carrier", "backup"])),
        ],
        hold_music: None,
        record_notice: None,
        record_by_page: false,
        workers: 2,
        turn: None,
    }
}

/// What the media plane was told and what it does of itself.
#[derive(Default)]
pub struct Plane {
    pub commands: Vec<(WorkerId, CallCommand)>,
    /// Answer nothing: the test does.
    pub mute: bool,
    /// Do not confirm `Close`.
    pub stuck: bool,
}

pub struct Bench {
    pub switch: Switch,
    pub now: Instant,
    pub wall: Wall,
    pub plane: Plane,
    pub sip: VecDeque<Sip>,
    pub said: Vec<(SessionId, ToBrowser)>,
    pub cdrs: Vec<Cdr>,
    pub recordings: Vec<Recording>,
    pub logs: Vec<(Level, Option<CallId>, String)>,
    pub closed: Vec<SessionId>,
    next_incoming: u64,
    cseq: u32,
    /// What INVITEs want to take over.
    replaces: Option<SipLeg>,
}

fn codec(word: &str) -> Option<Codec> {
    Codec::ALL.into_iter().find(|codec| codec.name() == word)
}

pub fn word(codec: Codec) -> &'static str {
    codec.name()
}

pub fn words(codecs: &[Codec]) -> String {
    codecs.iter().map(|c| word(*c)).collect::<Vec<_>>().join(",")
}

pub fn sdp(text: &str) -> Option<Body> {
    Some(Body::sdp(text.into()))
}

fn negotiate(params: &LegParams, offer: &[u8]) -> Result<Codec, Refusal> {
    let text = std::str::from_utf8(offer).unwrap();
    let theirs: Vec<Codec> = text.split(',').filter_map(codec).collect();
    if text == "garbage" {
        return Err(Refusal::Unparsable("line 1".into()));
    }
    let ours = params.codecs.iter().find(|c| theirs.contains(c));
    let none = || Refusal::NoCommonCodec { theirs: text.into(), ours: words(&params.codecs) };
    ours.copied().ok_or_else(none)
}

impl Bench {
    pub fn new() -> Bench {
        Bench::with(config())
    }

    pub fn with(config: SwitchConfig) -> Bench {
        let mut bench = Bench {
            switch: Switch::new(config, Box::new(Numbers(7))),
            now: Instant::now(),
            wall: Wall(1_800_000_000_000_000),
            plane: Plane::default(),
            sip: VecDeque::new(),
            said: Vec::new(),
            cdrs: Vec::new(),
            recordings: Vec::new(),
            logs: Vec::new(),
            closed: Vec::new(),
            next_incoming: 0,
            cseq: 0,
            replaces: None,
        };
        bench.drain();
        bench
    }

    /// Carries everything out that the switch says.
    pub fn drain(&mut self) {
        while let Some(output) = self.switch.poll_output() {
            match output {
                Output::Sip(command) => self.sip.push_back(command),
                Output::Browser(session, message) => self.said.push((session, message)),
                Output::CloseBrowser(session, _) => self.closed.push(session),
                Output::Record(recording) => self.recordings.push(recording),
                Output::Cdr(cdr) => self.cdrs.push(*cdr),
                Output::Log(level, call, text) => self.logs.push((level, call, text)),
                Output::Media(worker, command) => {
                    self.plane.commands.push((worker, command.clone()));
                    if let Some(event) = self.answer(&command) {
                        let event = CallEvent { call: command.call, event };
                        self.switch.handle_media(event, self.now, self.wall);
                    }
                }
            }
        }
    }

    fn answer(&mut self, command: &CallCommand) -> Option<MediaEvent> {
        if self.plane.mute {
            return None;
        }
        Some(match command.command.clone() {
            Media::Answer { leg, params, offer } => match negotiate(&params, &offer) {
                Ok(codec) => MediaEvent::LocalSdp { leg, sdp: word(codec).into(), codec: Some(codec) },
                Err(why) => MediaEvent::Refused { leg, why },
            },
            Media::Offer { leg, params } if params.codecs.is_empty() => {
                let why = Refusal::NoCommonCodec { theirs: "none".into(), ours: "none".into() };
                MediaEvent::Refused { leg, why }
            }
            Media::Offer { leg, params } => {
                MediaEvent::LocalSdp { leg, sdp: words(&params.codecs).into(), codec: None }
            }
            Media::SetAnswer { leg, answer } => match codec(std::str::from_utf8(&answer).unwrap()) {
                Some(codec) => MediaEvent::Negotiated { leg, codec },
                None => MediaEvent::Refused { leg, why: Refusal::Unparsable("line 1".into()) },
            },
            Media::Close if self.plane.stuck => return None,
            Media::Close => MediaEvent::Closed,
            Media::SetSource { .. }
            | Media::Play { .. }
            | Media::Record { .. }
            | Media::EndRecording
            | Media::SendDtmf { .. }
            | Media::Pressed { .. }
            | Media::Adopt { .. }
            | Media::Remove { .. } => return None,
        })
    }

    /// Lets time pass, in the steps that the switch asks for.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.switch.poll_timeout().filter(|at| *at <= end) {
            self.wall = self.wall.plus(at.saturating_duration_since(self.now));
            self.now = self.now.max(at);
            self.switch.handle_timeout(self.now, self.wall);
            self.drain();
        }
        self.wall = self.wall.plus(end - self.now);
        self.now = end;
    }

    pub fn media(&mut self, call: CallId, event: MediaEvent) {
        self.switch.handle_media(CallEvent { call, event }, self.now, self.wall);
        self.drain();
    }

    pub fn media_count(&self, wanted: impl Fn(&Media) -> bool) -> usize {
        self.plane.commands.iter().filter(|(_, c)| wanted(&c.command)).count()
    }

    pub fn heard(&mut self, event: Event) {
        self.switch.handle_sip(event, self.now, self.wall);
        self.drain();
    }

    pub fn sip_command(&mut self) -> Sip {
        self.sip.pop_front().expect("a SIP command")
    }

    // Browsers.

    pub fn signal(&mut self, session: SessionId, input: SignalIn) {
        self.switch.handle_signal(session, input, self.now, self.wall);
        self.drain();
    }

    pub fn browser(&mut self, session: SessionId, message: FromBrowser) {
        self.signal(session, SignalIn::Message(message));
    }

    pub fn open(&mut self, session: SessionId) {
        let source: IpAddr = "192.0.2.77".parse().unwrap();
        self.signal(session, SignalIn::Opened { source });
    }

    pub fn hello(&mut self, session: SessionId, name: &str, password: &str) {
        let (username, password) = (name.into(), password.into());
        self.browser(session, FromBrowser::Hello { version: 1, username, password });
    }

    pub fn sign_in(&mut self, session: SessionId, name: &str) {
        self.open(session);
        self.hello(session, name, &format!("{name}-pw"));
        let said = self.take_said(session);
        assert!(matches!(said.as_slice(), [ToBrowser::Welcome { .. }]), "{said:?}");
    }

    pub fn call(&mut self, session: SessionId, to: &str) {
        let (call, to, sdp) = ("c1".into(), to.into(), "opus,pcmu,pcma".into());
        self.browser(session, FromBrowser::Call { call, to, sdp });
    }

    pub fn take_said(&mut self, session: SessionId) -> Vec<ToBrowser> {
        let (mine, others) = std::mem::take(&mut self.said).into_iter().partition(|(s, _)| *s == session);
        self.said = others;
        mine.into_iter().map(|(_, message)| message).collect()
    }

    /// The name of the call that this browser was just told of.
    pub fn incoming(&mut self, session: SessionId) -> String {
        self.take_said(session)
            .into_iter()
            .find_map(|m| match m {
                ToBrowser::Incoming { call, .. } => Some(call),
                _ => None,
            })
            .expect("an incoming call")
    }

    // SIP peers.

    /// The INVITE that just went out.
    pub fn invite(&mut self) -> (SipLeg, Invite) {
        match self.sip_command() {
            Sip::Invite(leg, invite) => (leg, *invite),
            other => panic!("{other:?}"),
        }
    }

    pub fn request(&mut self, head: &str, fields: &Headers, body: &str) -> Arc<Message> {
        self.cseq += 1;
        let method = head.split(' ').next().unwrap();
        let mut text = format!(
            "{head} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK{}\r\nMax-Forwards: 70\r\nCall-ID: x\r\n\
             CSeq: {} {method}\r\n",
            self.cseq, self.cseq
        );
        for (name, value) in fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            text.push_str("Content-Type: application/sdp\r\n");
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        Arc::new(Message::parse(text.into_bytes()).unwrap())
    }

    /// An INVITE comes in.
    pub fn invited(&mut self, from: &str, to: &str, remote: &str, fields: Headers, body: &str) -> SipLeg {
        let mut all: Headers = vec![("From", format!("<{from}>;tag=t")), ("To", format!("<{to}>"))];
        all.push(("Contact", format!("<sip:{remote}>")));
        all.extend(fields);
        let request = self.request(&format!("INVITE {to}"), &all, body);
        let leg = SipLeg::incoming(self.next_incoming);
        self.next_incoming += 1;
        self.heard(Event::Invite { leg, request, flow: flow(remote), replaces: self.replaces });
        leg
    }

    /// A user's phone wants to take a leg over, authenticating when asked.
    pub fn replacing(&mut self, name: &str, remote: &str, replaced: SipLeg) -> SipLeg {
        self.replaces = Some(replaced);
        let leg = self.phone_calls(name, "100", remote, "pcmu");
        self.replaces = None;
        leg
    }

    /// The carrier calls one of our numbers.
    pub fn trunk_calls(&mut self, number: &str, body: &str) -> SipLeg {
        let to = format!("sip:{number}@192.0.2.1");
        self.invited("sip:+12025550177@carrier.example", &to, TRUNK, Vec::new(), body)
    }

    /// A user's phone calls, authenticating when asked.
    pub fn phone_calls(&mut self, name: &str, to: &str, remote: &str, body: &str) -> SipLeg {
        let (from, uri) = (format!("sip:{name}@example.com"), format!("sip:{to}@example.com"));
        let first = self.invited(&from, &uri, remote, Vec::new(), body);
        let challenge = match self.sip_command() {
            Sip::Reject { leg, status: 401, headers, .. } if leg == first => headers,
            other => panic!("{other:?}"),
        };
        self.heard(Event::Ended { leg: first, end: LegEnd::Local });
        let fields = self.credentials(name, &format!("{name}-pw"), &challenge, &Method::Invite, &uri);
        self.invited(&from, &uri, remote, fields, body)
    }

    pub fn credentials(
        &mut self,
        name: &str,
        password: &str,
        challenge: &Headers,
        method: &Method,
        uri: &str,
    ) -> Headers {
        let credentials = Credentials { username: name.into(), password: password.into(), realm: None };
        let mut client = DigestClient::new(credentials);
        let mut text =
            "SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKc\r\nCall-ID: x\r\n\
             From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCSeq: 1 INVITE\r\n"
                .to_owned();
        for (name, value) in challenge {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("Content-Length: 0\r\n\r\n");
        client.challenged(&Message::parse(text.into_bytes()).unwrap()).unwrap();
        client.answer(method, uri, &[], &mut Numbers(3))
    }

    /// A phone's REGISTER without authentication; gives the answer.
    pub fn register_raw(&mut self, name: &str, remote: &str, fields: Headers) -> (u16, Headers) {
        let aor = format!("<sip:{name}@example.com>");
        let mut all: Headers = vec![("From", format!("{aor};tag=r")), ("To", aor)];
        all.extend(fields);
        let request = self.request("REGISTER sip:example.com", &all, "");
        self.heard(Event::Register { token: RequestToken(9), request, flow: flow(remote) });
        match self.sip.pop_front() {
            Some(Sip::Respond { status, headers, .. }) => (status, headers),
            None => (0, Vec::new()),
            other => panic!("{other:?}"),
        }
    }

    /// A phone's REGISTER with the right password.
    pub fn register(&mut self, name: &str, remote: &str, fields: Headers) -> (u16, Headers) {
        let (status, challenge) = self.register_raw(name, remote, fields.clone());
        assert_eq!(status, 401);
        let mut all =
            self.credentials(name, &format!("{name}-pw"), &challenge, &Method::Register, "sip:example.com");
        all.extend(fields);
        self.register_raw(name, remote, all)
    }

    pub fn phone(&mut self, name: &str, remote: &str) {
        let contact = format!("<sip:{name}@{remote}>");
        let (status, _) = self.register(name, remote, vec![("Contact", contact)]);
        assert_eq!(status, 200);
    }

    /// All is over: exactly this many records, nothing held.
    pub fn assert_over(&mut self, records: usize) {
        assert_eq!(self.cdrs.len(), records, "{:?}", self.cdrs);
        assert_eq!(self.switch.calls().count(), 0);
        assert_eq!(self.switch.held(), Held::default());
    }
}

pub const CALLER: LegId = LegId::CALLER;

/// Alice's browser talks to the carrier.
pub fn talking(bench: &mut Bench) -> SipLeg {
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550100");
    let (leg, _) = bench.invite();
    bench.heard(Event::Answered { leg, body: sdp("pcmu") });
    bench.take_said(ALICE);
    leg
}

/// What a leg was told to hear last.
pub fn hears(bench: &Bench, call: CallId, leg: LegId) -> Source {
    let of = |m: &Media| match m {
        Media::SetSource { leg: of, source } if *of == leg => Some(*source),
        _ => None,
    };
    let mut commands = bench.plane.commands.iter().rev().filter(|(_, c)| c.call == call);
    commands.find_map(|(_, c)| of(&c.command)).unwrap_or(Source::Nothing)
}
