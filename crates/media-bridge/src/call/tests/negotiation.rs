use super::*;
use crate::control::{Direction, Refusal, Tone};

pub(super) const CHROMIUM: &str = include_str!("../../sdp/fixtures/chromium_audio_video.sdp");

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
    params.advertise = IpAddr::from([198, 51, 100, 99]).into();
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
    assert_eq!(world.call.needs_port(&command), None);
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

#[test]
fn every_form_of_hold_is_answered_by_its_mirror_and_told_to_signalling_once() {
    // RFC 3264 §6.1 and §8.4, RFC 6337 §5.3; a null address at either level is hold as RFC 2543 knew it.
    let talk = offer(PEER_A, Codec::Pcmu);
    let null = talk.replace("c=IN IP4 198.51.100.1", "c=IN IP4 0.0.0.0");
    let media_level = talk.replace("a=rtpmap:0", "c=IN IP4 0.0.0.0\r\na=rtpmap:0");
    let session_level = talk.replace("a=sendrecv\r\n", "").replace("t=0 0\r\n", "t=0 0\r\na=sendonly\r\n");
    for (hold, mirror, told) in [
        (talk.replace("sendrecv", "sendonly"), "recvonly", Direction::SendOnly),
        (session_level, "recvonly", Direction::SendOnly),
        (talk.replace("sendrecv", "inactive"), "inactive", Direction::Inactive),
        (talk.replace("sendrecv", "recvonly"), "sendonly", Direction::RecvOnly),
        (null.clone(), "recvonly", Direction::SendOnly),
        (media_level, "recvonly", Direction::SendOnly),
        (null.replace("sendrecv", "inactive"), "inactive", Direction::Inactive),
    ] {
        let mut world = World::new();
        world.answer(A, &[Codec::Pcmu], &talk);
        assert_eq!(world.events, [], "both ways is what everyone assumes");
        let answer = world.answer(A, &[Codec::Pcmu], &hold);
        assert!(answer.contains(&format!("a={mirror}\r\n")), "{hold}{answer}");
        assert_eq!(
            std::mem::take(&mut world.events),
            [Event::Direction { leg: A, direction: told }],
            "{hold}"
        );
        let again = world.answer(A, &[Codec::Pcmu], &hold);
        assert_eq!((again, world.events.len()), (answer.clone(), 0), "a refresh is no news");
        let resumed = world.answer(A, &[Codec::Pcmu], &talk);
        assert_eq!(version(&resumed), version(&answer) + 1);
        assert!(resumed.contains("a=sendrecv\r\n"), "{resumed}");
        let direction = Direction::SendRecv;
        assert_eq!(std::mem::take(&mut world.events), [Event::Direction { leg: A, direction }]);
    }
}

#[test]
fn music_for_the_held_side_continues_its_stream_every_20_ms_and_so_does_the_talk_after_it() {
    // Field problems 2, 3, 21 and 35: one SSRC, no gap in numbers, no pause, whatever the source.
    for (a_codec, b_codec) in [(Codec::Pcmu, Codec::Pcmu), (Codec::Opus, Codec::Pcma)] {
        let (mut world, mut a, mut b) = World::bridged(a_codec, b_codec);
        a.say_frames(&mut world, 20);
        b.say_frames(&mut world, 20);
        for _ in 0..3 {
            let from = world.sent_to(B).len();
            world.answer(A, &[a_codec], &offer(PEER_A, a_codec).replace("sendrecv", "sendonly"));
            world.hear(A, Source::Nothing);
            world.hear(B, Source::Tone(Tone::Music));
            world.pass(Duration::from_secs(20));
            let music = world.sent_to(B).split_off(from);
            assert!((995..=1_010).contains(&music.len()), "{} packets in 20 s", music.len());
            assert!(loudness(&decoded(&music[50..], b_codec)) > 200.0);
            world.answer(A, &[a_codec], &offer(PEER_A, a_codec));
            world.hear(A, Source::Leg(B));
            world.hear(B, Source::Leg(A));
            a.say_frames(&mut world, 20);
            b.say_frames(&mut world, 20);
            assert_eq!(world.sent_to(A).last().unwrap().at + FRAME, world.now, "the holder hears again");
        }
        assert_continuous(&world.sent_to(A));
        let sent = world.sent_to(B);
        assert_continuous(&sent);
        let gap = sent.windows(2).map(|p| p[1].at - p[0].at).max().unwrap();
        // One pause of speech before filling takes over: 400 ms in which A said nothing.
        assert!(gap <= Duration::from_millis(60), "{gap:?} without a packet");
    }
}

#[test]
fn a_holder_that_is_told_to_send_nothing_raises_no_alarm_and_one_that_resumes_is_watched_again() {
    // Field problem 18.
    let (mut world, mut a, _) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    a.say_frames(&mut world, 5);
    let silent = |world: &World| {
        world.events.iter().filter(|e| matches!(e, Event::Silent { leg, .. } if *leg == A)).count()
    };
    world.answer(A, &[Codec::Pcmu], &offer(PEER_A, Codec::Pcmu).replace("sendrecv", "inactive"));
    world.pass(Duration::from_secs(60));
    assert_eq!(silent(&world), 0);
    world.answer(A, &[Codec::Pcmu], &offer(PEER_A, Codec::Pcmu));
    world.pass(Duration::from_secs(4));
    assert_eq!(silent(&world), 1);
}

#[test]
fn an_offer_of_ours_within_a_session_keeps_every_line_and_asks_for_both_ways() {
    // RFC 3264 §8, RFC 6337 §5.3; field problem 15: late-offer re-INVITEs, also of a side that holds.
    let mut world = World::new();
    let video = "m=video 6002 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n";
    let held = offer(PEER_A, Codec::Pcmu).replace("sendrecv", "sendonly") + video;
    world.answer(A, &[Codec::Pcmu, Codec::Pcma], &(offer(PEER_A, Codec::Pcmu) + video));
    let answer = world.answer(A, &[Codec::Pcmu, Codec::Pcma], &held);
    world.events.clear();
    world.command(Command::Offer { leg: A, params: params(&[Codec::Pcmu, Codec::Pcma]) });
    let ours = world.local_sdp(A);
    assert!(ours.contains("m=audio 20000 RTP/AVP 0 8 101\r\n") && ours.contains("a=sendrecv\r\n"), "{ours}");
    assert!(ours.contains("m=video 0 RTP/AVP 96\r\n"), "{ours}");
    assert_eq!(version(&ours), version(&answer) + 1);
    world.command(Command::SetAnswer { leg: A, answer: (offer(PEER_A, Codec::Pcma) + video).into() });
    let direction = Direction::SendRecv;
    assert_eq!(
        world.events,
        [Event::Direction { leg: A, direction }, Event::Negotiated { leg: A, codec: Codec::Pcma }]
    );
}

#[test]
fn a_further_offer_to_a_browser_names_what_its_connection_carries_under_the_same_numbers() {
    // RFC 3264 §8: no fewer lines; RFC 3261 §14.2: a re-INVITE without an offer gets this one.
    let mut world = World::new();
    let mut params = params(&[Codec::Opus, Codec::Pcmu]);
    params.kind = LegKind::WebRtc;
    // Numbers and a tag that are not ours.
    let theirs = CHROMIUM
        .replace("111", "109")
        .replace("a=mid:0", "a=mid:audio")
        .replace("BUNDLE 0 1", "BUNDLE audio 1");
    world.command(Command::Answer { leg: A, params: params.clone(), offer: theirs.clone().into() });
    let first = world.local_sdp(A);
    world.command(Command::Offer { leg: A, params });
    let further = world.local_sdp(A);
    for line in [
        "UDP/TLS/RTP/SAVPF 109 110\r\n",
        "a=mid:audio\r\n",
        "a=group:BUNDLE audio\r\n",
        "a=setup:actpass\r\n",
        "m=video 0 ",
    ] {
        assert!(further.contains(line), "{line} is missing in\n{further}");
    }
    let ufrag = |sdp: &str| sdp.lines().find(|l| l.starts_with("a=ice-ufrag:")).unwrap().to_owned();
    assert_eq!(ufrag(&first), ufrag(&further), "no ICE restart");
    let answer = theirs.replace("actpass", "active").replace("m=video 9", "m=video 0");
    world.command(Command::SetAnswer { leg: A, answer: answer.into() });
    assert_eq!(world.events.pop(), Some(Event::Negotiated { leg: A, codec: Codec::Opus }));
}
