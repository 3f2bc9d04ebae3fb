use super::*;
use crate::control::Refusal;

const CHROMIUM: &str = include_str!("../../sdp/fixtures/chromium_audio_video.sdp");

fn version(sdp: &str) -> u64 {
    let origin = sdp.lines().find(|l| l.starts_with("o=")).unwrap();
    origin.split(' ').nth(2).unwrap().parse().unwrap()
}

fn refused(world: &mut World) -> Refusal {
    match world.events.pop() {
        Some(Event::Refused { why, .. }) => why,
        other => panic!("not refused but {other:?}"),
    }
}

#[test]
fn an_answer_names_the_leased_port_and_the_advertised_address() {
    let mut world = World::new();
    let mut params = params(&[Codec::Pcmu]);
    params.advertise = Some("198.51.100.99".parse().unwrap());
    world.command(Command::Answer { leg: A, params, offer: offer(PEER_A, Codec::Pcmu).into() });
    let sdp = world.local_sdp(A);
    assert!(
        sdp.contains("c=IN IP4 198.51.100.99\r\n") && sdp.contains("m=audio 20000 RTP/AVP 0 101\r\n"),
        "{sdp}"
    );
}

#[test]
fn a_refused_first_offer_gives_the_port_back() {
    let mut world = World::new();
    let opus_only = offer(PEER_A, Codec::Opus);
    world.command(Command::Answer { leg: A, params: params(&[Codec::Pcmu]), offer: opus_only.into() });
    assert!(matches!(refused(&mut world), Refusal::NoCommonCodec { .. }));
    world.command(Command::Answer { leg: A, params: params(&[Codec::Pcmu]), offer: b"hello".to_vec() });
    assert!(matches!(refused(&mut world), Refusal::Unparsable(_)));
    assert_eq!(world.others, [Output::ReleaseLeg { leg: A }, Output::ReleaseLeg { leg: A }]);
}

#[test]
fn a_reoffer_with_an_unknown_codec_is_refused_and_the_session_goes_on() {
    let (mut world, mut a, _) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    a.say_frames(&mut world, 5);
    let strange = "v=0\r\nc=IN IP4 198.51.100.1\r\nm=audio 9999 RTP/AVP 18\r\na=rtpmap:18 G729/8000\r\n";
    world.command(Command::Answer { leg: A, params: params(&[Codec::Pcmu]), offer: strange.into() });
    assert!(matches!(refused(&mut world), Refusal::NoCommonCodec { .. }));
    assert!(world.others.is_empty());
    let before = world.sent_to(B).len();
    a.say_frames(&mut world, 5);
    assert_eq!(world.sent_to(B).len(), before + 5);
    assert_continuous(&world.sent_to(B));
}

#[test]
fn hold_stops_our_media_and_resume_continues_the_same_stream() {
    let (mut world, mut a, mut b) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    for _ in 0..20 {
        b.say(&mut world);
    }
    for hold in [
        offer(PEER_A, Codec::Pcmu).replace("sendrecv", "inactive"),
        offer(PEER_A, Codec::Pcmu).replace("sendrecv", "sendonly"),
        offer(PEER_A, Codec::Pcmu).replace("c=IN IP4 198.51.100.1", "c=IN IP4 0.0.0.0"),
    ] {
        world.answer(A, &[Codec::Pcmu], &hold);
        let before = world.sent_to(A).len();
        b.say_frames(&mut world, 100);
        assert_eq!(world.sent_to(A).len(), before, "{hold}");
        world.answer(A, &[Codec::Pcmu], &offer(PEER_A, Codec::Pcmu));
        b.say_frames(&mut world, 10);
        assert!(world.sent_to(A).len() >= before + 10);
    }
    assert_continuous(&world.sent_to(A));
    a.say(&mut world);
    assert_eq!(world.sent_to(B).last().unwrap().to, address(PEER_B));
}

#[test]
fn the_direction_is_answered_and_the_version_grows_only_with_a_change() {
    // RFC 3264 §6.1 and §8.
    let mut world = World::new();
    let first = world.answer(A, &[Codec::Pcmu], &offer(PEER_A, Codec::Pcmu));
    let again = world.answer(A, &[Codec::Pcmu], &offer(PEER_A, Codec::Pcmu));
    assert_eq!(first, again);
    let held = world.answer(A, &[Codec::Pcmu], &offer(PEER_A, Codec::Pcmu).replace("sendrecv", "sendonly"));
    assert!(held.contains("a=recvonly"));
    assert_eq!(version(&held), version(&first) + 1);
    assert_eq!(held.split(' ').nth(1), first.split(' ').nth(1), "the session id stays");
}

#[test]
fn our_offer_is_answered_and_a_later_answer_may_choose_another_codec() {
    let mut world = World::new();
    world.answer(A, &[Codec::Opus], &offer(PEER_A, Codec::Opus));
    world.command(Command::Offer { leg: B, params: params(&[Codec::Pcmu, Codec::Pcma]) });
    let ours = world.local_sdp(B);
    assert!(ours.contains("m=audio 20002 RTP/AVP 0 8 101\r\n"), "{ours}");
    world.hear(A, Source::Leg(B));
    world.hear(B, Source::Leg(A));
    let early = offer(PEER_B, Codec::Pcmu);
    world.command(Command::SetAnswer { leg: B, answer: early.clone().into() });
    assert_eq!(world.events.pop(), Some(Event::Negotiated { leg: B, codec: Codec::Pcmu }));
    let (mut a, mut b) = (Peer::new(A, PEER_A, Codec::Opus), Peer::new(B, PEER_B, Codec::Pcmu));
    for _ in 0..10 {
        a.say(&mut world);
        b.say(&mut world);
    }
    // 200 OK from another place with A-law.
    let elsewhere = "203.0.113.10:7100";
    let last = offer(elsewhere, Codec::Pcma);
    world.command(Command::SetAnswer { leg: B, answer: last.into() });
    assert_eq!(world.events.pop(), Some(Event::Negotiated { leg: B, codec: Codec::Pcma }));
    let mut b = Peer::new(B, elsewhere, Codec::Pcma);
    b.ssrc = 9;
    for _ in 0..10 {
        a.say(&mut world);
        b.say(&mut world);
    }
    let sent = world.sent_to(B);
    assert_continuous(&sent);
    assert_continuous(&world.sent_to(A));
    let newest = sent.last().unwrap();
    assert_eq!((newest.pt, newest.to), (8, address(elsewhere)));
}

#[test]
fn the_same_answer_again_changes_nothing() {
    let mut world = World::new();
    world.command(Command::Offer { leg: B, params: params(&[Codec::Pcmu]) });
    world.local_sdp(B);
    for _ in 0..2 {
        world.command(Command::SetAnswer { leg: B, answer: offer(PEER_B, Codec::Pcmu).into() });
        assert_eq!(world.events.pop(), Some(Event::Negotiated { leg: B, codec: Codec::Pcmu }));
    }
}

#[test]
fn answers_that_fit_nothing_are_refused() {
    let mut world = World::new();
    let answer: Vec<u8> = offer(PEER_B, Codec::Pcmu).into();
    world.command(Command::SetAnswer { leg: B, answer: answer.clone() });
    assert_eq!(refused(&mut world), Refusal::Unknown);
    world.command(Command::Offer { leg: B, params: params(&[Codec::Pcmu]) });
    world.local_sdp(B);
    world.command(Command::SetAnswer { leg: B, answer: offer(PEER_B, Codec::Opus).into() });
    assert!(matches!(refused(&mut world), Refusal::NoCommonCodec { .. }));
    world.command(Command::SetAnswer { leg: B, answer });
    assert_eq!(world.events.pop(), Some(Event::Negotiated { leg: B, codec: Codec::Pcmu }));
}

#[test]
fn a_browser_offer_is_answered_at_once_and_nothing_is_sent_before_it_connects() {
    let mut world = World::new();
    let mut params = params(&[Codec::Opus]);
    params.kind = LegKind::WebRtc;
    let command = Command::Answer { leg: A, params, offer: CHROMIUM.into() };
    assert!(!world.call.needs_port(&command));
    world.command(command);
    let sdp = world.local_sdp(A);
    let Some(Output::AcceptUfrag { ufrag, password, .. }) = world.others.first() else { panic!("no ufrag") };
    assert!(
        sdp.contains(&format!("a=ice-ufrag:{ufrag}\r\n"))
            && sdp.contains(&format!("a=ice-pwd:{password}\r\n"))
    );
    assert!(sdp.contains(&format!("a=fingerprint:sha-256 {}\r\n", FACTORY.fingerprint())));
    world.answer(B, &[Codec::Pcmu], &offer(PEER_B, Codec::Pcmu));
    world.hear(A, Source::Leg(B));
    let mut b = Peer::new(B, PEER_B, Codec::Pcmu);
    b.say_frames(&mut world, 10);
    let stats = world.stats(A);
    assert_eq!(stats.packets_out, 0);
}

#[test]
fn an_ice_restart_gets_new_credentials_and_the_same_offer_keeps_them() {
    // RFC 8839 §4.4.1.1.1; the answer's version tells the change.
    let mut world = World::new();
    let mut params = params(&[Codec::Opus]);
    params.kind = LegKind::WebRtc;
    let again = |world: &mut World, offer: &str| {
        world.command(Command::Answer { leg: A, params: params.clone(), offer: offer.into() });
        world.local_sdp(A)
    };
    let first = again(&mut world, CHROMIUM);
    let same = again(&mut world, CHROMIUM);
    assert_eq!(first, same);
    let restarted = again(&mut world, &CHROMIUM.replace("Vq9t", "Zz9t"));
    assert_eq!(version(&restarted), version(&first) + 1);
    let ufrags = world.others.iter().filter(|o| matches!(o, Output::AcceptUfrag { .. })).count();
    assert_eq!(ufrags, 2);
}

#[test]
fn a_seventeenth_leg_is_refused() {
    let mut world = World::new();
    for leg in 0..16 {
        world.answer(LegId(leg), &[Codec::Pcmu], &offer(PEER_A, Codec::Pcmu));
    }
    let offer: Vec<u8> = offer(PEER_A, Codec::Pcmu).into();
    world.command(Command::Answer { leg: LegId(16), params: params(&[Codec::Pcmu]), offer });
    assert!(matches!(refused(&mut world), Refusal::Unusable(_)));
}

#[test]
fn a_browser_can_be_offered_to_and_answers_with_its_own_credentials() {
    let mut world = World::new();
    let mut params = params(&[Codec::Opus, Codec::Pcmu]);
    params.kind = LegKind::WebRtc;
    world.command(Command::Offer { leg: A, params });
    let ours = world.local_sdp(A);
    for line in [
        "m=audio 4000 UDP/TLS/RTP/SAVPF 111 0 110 101\r\n",
        "a=setup:actpass\r\n",
        "a=ice-lite\r\n",
        "a=mid:0\r\n",
    ] {
        assert!(ours.contains(line), "{line} is missing in\n{ours}");
    }
    assert!(matches!(world.others[..], [Output::AcceptUfrag { .. }]), "checks may come before the answer");
    let answer = CHROMIUM.replace("actpass", "active").replace("m=video 9", "m=video 0");
    world.command(Command::SetAnswer { leg: A, answer: answer.into() });
    assert_eq!(world.events.pop(), Some(Event::Negotiated { leg: A, codec: Codec::Opus }));
    world.command(Command::Close);
    assert_eq!(world.events.last(), Some(&Event::Closed));
}

#[test]
fn a_browser_with_a_new_certificate_gets_a_new_association_on_the_same_leg() {
    // Field problem 24: the page was loaded anew while the call went on.
    let mut world = World::new();
    let mut params = params(&[Codec::Opus]);
    params.kind = LegKind::WebRtc;
    for offer in [CHROMIUM.to_owned(), CHROMIUM.replace("9A:1F", "9B:1F").replace("Vq9t", "Aq9t")] {
        world.command(Command::Answer { leg: A, params: params.clone(), offer: offer.into() });
        world.local_sdp(A);
    }
    let ufrags: Vec<&Output> = world.others.iter().collect();
    assert_eq!(ufrags.len(), 2);
    assert_ne!(ufrags[0], ufrags[1]);
}
