//! Who is there, and what they come up with.

use std::net::SocketAddr;
use std::time::Duration;

use b2bua::{
    CodecPolicy, Countries, Country, Pattern, Rewrite, RouteConfig, RouteFrom, RouteTo, Secret, SignalIn,
    SwitchConfig, Treatment, TrunkConfig, TrunkProfile, TrunkRegistration, TrunkTarget, UserConfig,
};
use media_bridge::control::{CallEvent, Codec, Event as MediaEvent, LegStats, Srtp};
use media_bridge::quality::{Cause, Moment};
use media_bridge::sound::SoundId;
use sip_ua::{Target, Transport};
use types::{Advertised, CallId, LegId, SessionId, UserName};
use webrtc_peer::signalling::FromBrowser;

use crate::browser::Browser;
use crate::party::{Manners, Party, Role, trunk_credentials};
use crate::plane::Rules;
use crate::rng::Rng;
use crate::room::Level;
use crate::world::{What, World};

const CARRIER: ([u8; 4], u16) = ([203, 0, 113, 5], 5060);
const BACKUP: ([u8; 4], u16) = ([203, 0, 113, 6], 5060);
/// It demands encryption, and that nothing is transcoded.
const SECURE: ([u8; 4], u16) = ([203, 0, 113, 7], 5060);
/// It may encrypt, and likes Opus.
const MODERN: ([u8; 4], u16) = ([203, 0, 113, 8], 5060);
/// Nobody is there: over TCP an error says so, over UDP nothing does.
const NOBODY: ([u8; 4], u16) = ([203, 0, 113, 9], 5060);

fn target(address: ([u8; 4], u16)) -> TrunkTarget {
    target_over(Transport::Udp, address)
}

fn target_over(transport: Transport, address: ([u8; 4], u16)) -> TrunkTarget {
    TrunkTarget::only(Target::Address { transport, remote: SocketAddr::from(address), local: None })
}

/// The same target, tried after those of a lower number.
fn later(priority: u32, target: TrunkTarget) -> TrunkTarget {
    TrunkTarget { priority, ..target }
}

/// Where a proxy behind this target may send requests as well.
pub(crate) fn fork_of(target: &Target) -> Option<Target> {
    (target.remote() == SocketAddr::from(CARRIER)).then(|| self::target(BACKUP).target)
}

fn user(name: &str, extension: &str, caller_id: &str, max_calls: Option<u32>) -> UserConfig {
    UserConfig {
        name: UserName::new(name),
        secret: Secret::Password(format!("{name}-secret")),
        extension: Some(extension.into()),
        caller_id: Some(caller_id.into()),
        max_calls,
        country: Country::parse("US").ok(),
    }
}

fn trunk(name: &str, address: ([u8; 4], u16), max_calls: Option<u32>) -> TrunkConfig {
    TrunkConfig {
        name: name.into(),
        targets: vec![target(address)],
        host: format!("{name}.example"),
        registration: None,
        credentials: Some(trunk_credentials()),
        contact_user: format!("wt-{name}"),
        inbound_from: Vec::new(),
        profile: TrunkProfile::default(),
        max_calls,
        refer: false,
        calls_per_second: None,
        country: Country::parse("US").ok(),
        dids: Vec::new(),
        hold_music: Some(SoundId(0)),
        advertise: Advertised::default(),
    }
}

/// The switch's configuration: three people, four trunks of which one is registered.
pub(crate) fn config() -> SwitchConfig {
    let mut backup = trunk("backup", BACKUP, Some(4));
    backup.refer = true;
    backup.registration = Some(TrunkRegistration {
        registrar: "sip:backup.example".into(),
        aor: "sip:4930@backup.example".into(),
        expires: 90,
        instance: None,
    });
    let mut secure = trunk("secure", SECURE, None);
    secure.profile.srtp = Srtp::Required;
    secure.profile.codecs = vec![Codec::Pcmu, Codec::G722, Codec::Pcma];
    secure.profile.codec_policy = CodecPolicy::Passthrough;
    let mut modern = trunk("modern", MODERN, None);
    modern.profile.srtp = Srtp::Optional;
    modern.profile.codecs = vec![Codec::Pcmu, Codec::Opus, Codec::Pcma];
    modern.profile.codec_policy = CodecPolicy::Opus;
    let to = |name: &str| vec![RouteTo::Trunk(name.into())];
    let trunks = ["carrier", "backup"].map(|name| RouteTo::Trunk(name.into())).to_vec();
    let route = |pattern: &str, from: &[RouteFrom], to: Vec<RouteTo>, rewrite: Option<&str>| RouteConfig {
        pattern: Pattern::parse(pattern).expect("a pattern"),
        from: from.to_vec(),
        to,
        rewrite: rewrite.map(|text| Rewrite::parse(text).expect("a rewrite")),
        countries: Countries::All,
        premium: false,
        // Who dials like this is recorded.
        treatment: Treatment {
            record: pattern == "0*",
            announce: (pattern == "+1900*").then_some(SoundId(2)),
            ..Treatment::default()
        },
    };
    SwitchConfig {
        deny: Vec::new(),
        domain: "sim.example".into(),
        digest: Vec::new(),
        local_hosts: vec!["192.0.2.1".into()],
        local_ports: vec![5060],
        users: vec![
            user("alice", "100", "+12025550110", None),
            user("bob", "101", "+12025550111", None),
            user("carol", "102", "+12025550112", Some(2)),
        ]
        .into(),
        trunks: vec![trunk("carrier", CARRIER, Some(12)), backup, secure, modern],
        routes: vec![
            route("+1303*", &[], to("secure"), None),
            route("+1404*", &[], to("modern"), None),
            route("+1900*", &[RouteFrom::User(UserName::new("bob"))], trunks.clone(), None),
            route("+1202555019x", &[], vec![RouteTo::User(UserName::new("carol"))], None),
            route("0*", &[], trunks.clone(), Some("+1*")),
            route("+1*", &[], trunks, None),
        ],
        hold_music: None,
        record_notice: Some(SoundId(1)),
        record_by_page: true,
        workers: 2,
        turn: None,
    }
}

/// What each trunk wants, by its address.
pub(crate) fn rules(config: &SwitchConfig) -> Rules {
    let of = |t: &TrunkConfig| (t.targets[0].target.remote().ip(), (t.profile.srtp, t.profile.codec_policy));
    config.trunks.iter().map(of).collect()
}

/// Four carriers, four phones, of which one is on a stream and one on a WebSocket.
pub(crate) fn parties(rng: &mut Rng) -> Vec<Party> {
    let phone = |user| Role::Phone { user };
    let plain = (&["pcmu,pcma", "pcma,pcmu", "pcmu"][..], &[Srtp::Off][..]);
    let secure: (&[_], &[_]) = (
        &["pcmu,pcma", "g722,pcmu", "pcma,pcmu"],
        &[Srtp::Required, Srtp::Required, Srtp::Optional, Srtp::IfOffered],
    );
    let modern: (&[_], &[_]) =
        (&["opus,pcmu", "pcma,opus", "pcmu"], &[Srtp::Required, Srtp::Optional, Srtp::IfOffered, Srtp::Off]);
    let any: (&[_], &[_]) = (
        &["opus,pcmu,pcma", "g722,pcma,pcmu", "pcma,pcmu", "pcmu"],
        &[Srtp::Off, Srtp::Off, Srtp::IfOffered, Srtp::Optional, Srtp::Required],
    );
    // Over a WebSocket come browsers, which agree on keys elsewhere.
    let browser = (any.0, &[Srtp::Off][..]);
    [
        (Role::Carrier, CARRIER, Transport::Udp, plain),
        (Role::Carrier, BACKUP, Transport::Udp, plain),
        (Role::Carrier, SECURE, Transport::Udp, secure),
        (Role::Carrier, MODERN, Transport::Udp, modern),
        (phone("alice"), ([192, 0, 2, 50], 5070), Transport::Udp, any),
        (phone("bob"), ([192, 0, 2, 51], 5071), Transport::Udp, any),
        (phone("bob"), ([192, 0, 2, 52], 5072), Transport::Tcp, any),
        (phone("carol"), ([192, 0, 2, 53], 5073), Transport::Ws, browser),
    ]
    .into_iter()
    .map(|(role, address, transport, (codecs, srtp))| {
        let manners = Manners { codecs: rng.pick::<&'static str>(codecs), srtp: *rng.pick(srtp) };
        Party::new(role, SocketAddr::from(address), transport, manners, rng.split())
    })
    .collect()
}

/// Five browsers of three people.
pub(crate) fn browsers(rng: &mut Rng) -> Vec<Browser> {
    ["alice", "alice", "bob", "carol", "carol"]
        .into_iter()
        .map(|user| Browser::new(SessionId(0), user, rng.split()))
        .collect()
}

/// Phones register, browsers connect. In some runs the second carrier hears nothing at first.
pub(crate) fn begin(world: &mut World) {
    world.silence = world.rng.chance(300);
    if world.silence {
        world.network.dark.push(SocketAddr::from(BACKUP));
    }
    let now = world.now;
    world.parties.iter_mut().for_each(|p| p.register(now));
    (0..world.browsers.len()).for_each(|index| connect(world, index));
    // Every run has its rush.
    let rush = world.rng.millis(3_000, 15_000);
    world.later(rush, What::Load(Level::AllFull));
}

fn connect(world: &mut World, index: usize) {
    world.next_session += 1;
    let session = SessionId(world.next_session);
    let source = SocketAddr::from(([198, 51, 100, index as u8], 0)).ip();
    world.browsers[index].connect(session);
    world.later(Duration::from_millis(1), What::Signal(session, SignalIn::Opened { source }));
}

fn disconnect(world: &mut World, index: usize) {
    let session = world.browsers[index].session;
    world.browsers[index].disconnect();
    world.later(Duration::from_millis(5), What::Signal(session, SignalIn::Closed));
}

const OURS: &[&str] =
    &["alice", "bob", "carol", "100", "101", "102", "100", "101", "999", "sip:bob@sim.example", "a b"];
const OUTSIDE: &[&str] = &[
    "+12025550100",
    "+1 202 555-0101",
    "02025550102",
    "+19005550100",
    "+442079460000",
    "+13035550100",
    "+13035550101",
    "+14045550100",
];
const INBOUND: &[&str] =
    &["+12025550110", "+12025550111", "12025550112", "100", "+12025550195", "+12025550100"];

/// Somebody does something.
pub(crate) fn intent(world: &mut World) {
    match world.rng.below(1000) {
        0..330 => browser_calls(world),
        330..650 => party_calls(world),
        650..720 => {
            let index = world.rng.below(world.browsers.len() as u64) as usize;
            if world.browsers[index].connected {
                disconnect(world, index);
            } else {
                connect(world, index);
            }
        }
        720..760 => {
            let index = world.rng.below(world.browsers.len() as u64) as usize;
            let session = world.browsers[index].session;
            world.later(Duration::from_millis(5), What::Says(index, session, FromBrowser::Ping {}));
        }
        760..910 => media_noise(world),
        910..930 => {
            let level = *world.rng.pick(&[
                Level::Quiet,
                Level::Brink,
                Level::OneFull,
                Level::AllFull,
                Level::AllFull,
            ]);
            let level = if world.rng.chance(30) { Level::OneGone } else { level };
            load(world, level);
        }
        930..942 => cut(world),
        942..957 => move_trunk(world),
        957..960 => turn_dark(world),
        960..985 => {
            let (index, now) = (world.rng.below(world.parties.len() as u64) as usize, world.now);
            world.parties[index].register(now);
        }
        _ => strangers(world),
    }
}

fn browser_calls(world: &mut World) {
    let index = world.rng.below(world.browsers.len() as u64) as usize;
    let to = if world.rng.chance(500) { *world.rng.pick(OURS) } else { *world.rng.pick(OUTSIDE) };
    let session = world.browsers[index].session;
    if world.browsers[index].connected
        && let Some(message) = world.browsers[index].call(to)
    {
        world.later(Duration::from_millis(5), What::Signal(session, SignalIn::Message(message)));
    }
}

fn party_calls(world: &mut World) {
    let (index, now) = (world.rng.below(world.parties.len() as u64) as usize, world.now);
    let to = match world.parties[index].role {
        Role::Carrier => *world.rng.pick(INBOUND),
        Role::Phone { .. } if world.rng.chance(600) => *world.rng.pick(OURS),
        Role::Phone { .. } => *world.rng.pick(OUTSIDE),
    };
    world.parties[index].call(to, now);
}

/// Of a leg that loses every tenth packet.
fn told_stats() -> LegStats {
    let cause = Some(Cause::LostFrom(0.1));
    let moment = Moment { mos: 3.5, cause, loss_in: Some(0.1), loss_out: None };
    LegStats { packets_in: 50, moment: Some(moment), ..LegStats::default() }
}

fn media_noise(world: &mut World) {
    let Some((call, leg)) = world.plane.any_leg() else { return };
    let event = match world.rng.below(100) {
        0..40 => MediaEvent::Dtmf { leg, digit: '5', duration: Duration::from_millis(100) },
        40..60 => MediaEvent::Stats { leg, stats: told_stats() },
        60..75 => MediaEvent::Silent { leg, expected: "192.0.2.99:4000".into() },
        75..80 => MediaEvent::PathLost { leg },
        80..85 => MediaEvent::PathRestored { leg },
        85..93 => MediaEvent::Lost { leg, why: "noise".to_owned() },
        93..97 => {
            world.plane.crash(call);
            MediaEvent::Crashed
        }
        _ => {
            world.note("in:media-overloaded");
            let (now, wall) = (world.now, world.wall());
            return world.switch.media_overloaded(call, now, wall);
        }
    };
    world.later(Duration::from_millis(1), What::Media(CallEvent { call, event }));
}

/// The workers have more or less to do; what is much passes.
pub(crate) fn load(world: &mut World, level: Level) {
    world.tell_loads(level);
    if level != Level::Quiet {
        let pause = world.rng.millis(2_000, 6_000);
        world.later(pause, What::Load(Level::Quiet));
    }
}

/// Every connection is lost, as behind a NAT that restarts; most phones come back soon (RFC 5626 §4.5).
fn cut(world: &mut World) {
    for index in 0..world.parties.len() {
        world.cut(index);
        if world.rng.chance(700) {
            let pause = world.rng.millis(100, 4_000);
            world.later(pause, What::Register(index));
        }
    }
}

/// Other targets for one of the trunks: dead ones before, behind or instead of those that answer.
fn move_trunk(world: &mut World) {
    world.note("in:trunk-targets");
    let dead = if world.silence && world.rng.chance(500) { Transport::Udp } else { Transport::Tcp };
    let dead = target_over(dead, NOBODY);
    let (name, own) = *world.rng.pick(&[("carrier", CARRIER), ("backup", BACKUP), ("backup", BACKUP)]);
    let targets = match world.rng.below(7) {
        0 => vec![target(CARRIER)],
        1 if name == "backup" => Vec::new(),
        2 => vec![target(BACKUP), target(CARRIER)],
        3 => vec![dead, later(1, target(own))],
        4 => vec![dead, target(own)],
        5 if name == "backup" => vec![dead],
        _ => vec![target(own)],
    };
    world.switch.set_trunk_targets(name, targets);
}

/// The second carrier goes dark, or is there again.
fn turn_dark(world: &mut World) {
    let backup = SocketAddr::from(BACKUP);
    if !world.silence {
        return;
    }
    world.note("net:dark");
    match world.network.dark.pop() {
        Some(_) => {}
        None => world.network.dark.push(backup),
    }
}

/// Things that concern nobody: they must change nothing.
fn strangers(world: &mut World) {
    let (now, wall) = (world.now, world.wall());
    let leg = sip_ua::SipLeg::incoming(1 << 40);
    world.switch.handle_sip(sip_ua::Event::Acked { leg, body: None }, now, wall);
    let event = MediaEvent::Lost { leg: LegId::CALLER, why: "nobody".to_owned() };
    world.switch.handle_media(CallEvent { call: CallId(1 << 40), event }, now, wall);
    let session = SessionId(1 << 40);
    world.switch.handle_signal(session, SignalIn::Message(FromBrowser::Ping {}), now, wall);
    world.switch.handle_signal(session, SignalIn::Closed, now, wall);
}

/// More calls, which only our own clock ends; the network may lose one or the other.
pub(crate) fn calls_to_nobody(world: &mut World) {
    let now = world.now;
    let phone = world.parties.iter_mut().find(|p| p.role == Role::Phone { user: "alice" });
    if let Some(phone) = phone {
        (0..3).for_each(|_| phone.call_nobody(now));
    }
}

/// Everybody ends their calls.
pub(crate) fn everyone_leaves(world: &mut World) {
    let now = world.now;
    world.parties.iter_mut().for_each(|p| p.leave(now));
    for index in 0..world.browsers.len() {
        let session = world.browsers[index].session;
        for message in world.browsers[index].leave() {
            world.later(Duration::from_millis(5), What::Signal(session, SignalIn::Message(message)));
        }
    }
}

/// Phones unregister and browsers close.
pub(crate) fn everyone_goes_home(world: &mut World) {
    let now = world.now;
    world.parties.iter_mut().for_each(|p| p.unregister(now));
    for index in 0..world.browsers.len() {
        if world.browsers[index].connected {
            disconnect(world, index);
        }
    }
}
