use super::*;
use crate::codec::{Law, Resampler};
use crate::control::DtmfMode;
use crate::dtmf::{Detector, Digit, Tones};

/// Packets of a press that lasts `ms`, as a well-behaved sender makes them, the end three times.
fn press(peer: &mut Peer, world: &mut World, event: u8, ms: u32, clock: u32) {
    let start = peer.ts;
    let ticks = clock / 1_000;
    for at in (20..ms).step_by(20) {
        let packet = peer.event(event, false, (at * ticks) as u16, start);
        world.rtp(peer.leg, peer.address, &packet);
        world.pass(FRAME);
    }
    for _ in 0..3 {
        let packet = peer.event(event, true, (ms * ticks) as u16, start);
        world.rtp(peer.leg, peer.address, &packet);
    }
    peer.ts = start.wrapping_add(ms * ticks);
}

/// Says this, 20 ms at a time.
fn utter(peer: &mut Peer, world: &mut World, pcm: &[i16]) {
    let packet = peer.of(160, pcm);
    world.rtp(peer.leg, peer.address, &packet);
    world.pass(FRAME);
}

/// The frames of a press in the audio.
pub(super) fn tone(digit: char, ms: u64, rate: u32) -> Vec<Vec<i16>> {
    let (mut tones, mut resampler, start) = (Tones::default(), Resampler::default(), Instant::now());
    tones.push(digit, Duration::from_millis(ms)).unwrap();
    let frames = (0..).map_while(|n| tones.next_frame(start + FRAME * n));
    frames.map(|(_, pcm)| resampler.convert(&pcm, NARROW, rate).to_vec()).collect()
}

fn sing(peer: &mut Peer, world: &mut World, digit: char, ms: u64) {
    for frame in tone(digit, ms, peer.rate) {
        utter(peer, world, &frame);
    }
}

fn be_quiet(peer: &mut Peer, world: &mut World, frames: usize) {
    for _ in 0..frames {
        utter(peer, world, &vec![0; peer.rate as usize / 50]);
    }
}

/// An offer without telephone-event.
pub(super) fn plain_offer(from: &str, codec: Codec) -> String {
    let offer = offer(from, codec).replace(" 101\r\n", "\r\n");
    offer.lines().filter(|line| !line.contains("telephone-event")).map(|line| format!("{line}\r\n")).collect()
}

/// Two legs that hear each other; A agrees on no telephone-event, B on one if it is to.
fn from_tones(a: Codec, b: Codec, events: bool) -> (World, Peer, Peer) {
    let mut world = World::new();
    world.answer(A, &[a], &plain_offer(PEER_A, a));
    world.answer(B, &[b], &if events { offer(PEER_B, b) } else { plain_offer(PEER_B, b) });
    world.hear(A, Source::Leg(B));
    world.hear(B, Source::Leg(A));
    (world, Peer::new(A, PEER_A, a), Peer::new(B, PEER_B, b))
}

/// Digits as tones in what a leg was sent.
pub(super) fn sung(world: &World, leg: LegId, codec: Codec) -> Vec<Digit> {
    let audio: Vec<Sent> = world.sent_to(leg).into_iter().filter(|s| s.pt != 101).collect();
    let (mut detector, rate) = (Detector::new(NARROW), own_rate(codec).unwrap_or(NARROW));
    let (mut resampler, mut heard) = (Resampler::default(), Vec::new());
    for frame in decoded(&audio, codec).chunks(rate as usize / 50) {
        detector.hear(resampler.convert(frame, rate, NARROW), world.begun);
        heard.extend(std::iter::from_fn(|| detector.poll_digit()));
    }
    detector.handle_timeout(world.begun + Duration::from_secs(1));
    heard.extend(std::iter::from_fn(|| detector.poll_digit()));
    heard
}

fn keys(digits: &[Digit]) -> String {
    digits.iter().map(|d| d.digit).collect()
}

pub(super) fn reported(world: &World) -> Vec<(char, u128)> {
    let of = |e: &Event| match e {
        Event::Dtmf { leg: A, digit, duration } => Some((*digit, duration.as_millis())),
        _ => None,
    };
    world.events.iter().filter_map(of).collect()
}

/// Digit and milliseconds of each event sent to a leg.
pub(super) fn made_anew(world: &World, leg: LegId, clock: u32) -> Vec<(u8, u32)> {
    let mut all: Vec<(u32, u8, u32)> = Vec::new();
    for s in world.sent_to(leg).iter().filter(|s| s.payload.len() == 4) {
        let ms = u32::from(u16::from_be_bytes([s.payload[2], s.payload[3]])) * 1_000 / clock;
        match all.last_mut() {
            Some((ts, _, longest)) if *ts == s.ts => *longest = (*longest).max(ms),
            _ => all.push((s.ts, s.payload[0], ms)),
        }
    }
    all.into_iter().map(|(_, event, ms)| (event, ms)).collect()
}

#[test]
fn digits_cross_from_48_to_8_khz_with_their_full_length() {
    // Field problem 16.
    let (mut world, mut a, _) = World::bridged(Codec::Opus, Codec::Pcmu);
    a.say_frames(&mut world, 20);
    for event in 0..16 {
        press(&mut a, &mut world, event, 100 + 20 * u32::from(event % 3), 48_000);
        world.pass(Duration::from_millis(250));
        a.ts = a.ts.wrapping_add(12_000);
        a.say_frames(&mut world, 5);
    }
    world.pass(Duration::from_millis(500));
    let digits: String = reported(&world).iter().map(|(d, _)| *d).collect();
    assert_eq!(digits, "0123456789*#ABCD");
    let expected: Vec<(u8, u32)> = (0..16).map(|e| (e, 100 + 20 * u32::from(e % 3))).collect();
    assert_eq!(made_anew(&world, B, 8_000), expected);
    let sent = world.sent_to(B);
    assert_continuous(&sent);
    assert!(sent.iter().filter(|s| s.payload.len() == 4).all(|s| s.pt == 101));
}

#[test]
fn digits_cross_in_pass_through_without_a_gap_in_the_sequence() {
    let (mut world, mut a, _) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    a.say_frames(&mut world, 20);
    press(&mut a, &mut world, 7, 200, 8_000);
    for _ in 0..30 {
        a.say(&mut world);
    }
    assert_eq!(made_anew(&world, B, 8_000), [(7, 200)]);
    assert_continuous(&world.sent_to(B));
    assert_eq!(reported(&world), [('7', 200)]);
}

#[test]
fn a_digit_pressed_towards_an_echo_leaves_no_gap_in_what_comes_back() {
    let (mut world, mut a, _) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    world.hear(A, Source::Echo);
    a.say_frames(&mut world, 20);
    press(&mut a, &mut world, 7, 200, 8_000);
    a.say_frames(&mut world, 20);
    assert_continuous(&world.sent_to(A));
}

#[test]
fn a_digit_whose_end_is_lost_is_reported_once_and_duplicates_never() {
    let (mut world, mut a, _) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    a.say_frames(&mut world, 5);
    let start = a.ts;
    let packet = a.event(5, false, 800, start);
    for _ in 0..3 {
        world.rtp(A, a.address, &packet);
    }
    world.pass(Duration::from_secs(1));
    assert_eq!(reported(&world), [('5', 100)]);
}

#[test]
fn a_leg_that_hears_something_else_gets_no_digits() {
    let (mut world, mut a, _) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    world.hear(B, Source::Nothing);
    a.say_frames(&mut world, 5);
    press(&mut a, &mut world, 3, 100, 8_000);
    world.pass(Duration::from_millis(500));
    assert_eq!(reported(&world), [('3', 100)]);
    assert_eq!(made_anew(&world, B, 8_000), []);
}

#[test]
fn commanded_digits_queue_and_are_at_least_70_ms() {
    let (mut world, _, mut b) = World::bridged(Codec::Opus, Codec::Pcmu);
    b.say(&mut world);
    for digit in "42#".chars() {
        world.command(Command::SendDtmf { leg: B, digit, duration: Duration::from_millis(10) });
    }
    world.pass(Duration::from_secs(1));
    assert_eq!(made_anew(&world, B, 8_000), [(4, 70), (2, 70), (11, 70)]);
    let ends = world.sent_to(B).iter().filter(|s| s.payload.len() == 4 && s.payload[1] & 0x80 != 0).count();
    assert_eq!(ends, 9, "the end of each three times");
    assert_continuous(&world.sent_to(B));
}

/// The world's B without telephone-event, after this digit of its own way.
fn without_events(dtmf: DtmfMode) -> World {
    let mut world = World::new();
    let offer = "v=0\r\nc=IN IP4 203.0.113.9\r\nm=audio 7000 RTP/AVP 0\r\n".into();
    let params = LegParams { dtmf, ..params(&[Codec::Pcmu]) };
    world.command(Command::Answer { leg: B, params, offer });
    world.command(Command::SendDtmf { leg: B, digit: '1', duration: Duration::from_millis(100) });
    world.pass(Duration::from_secs(1));
    world
}

#[test]
fn digits_for_a_peer_without_telephone_event_are_tones_unless_it_is_to_have_events_or_info() {
    let world = without_events(DtmfMode::Auto);
    let tone: Vec<u8> = world.sent_to(B).iter().take(5).flat_map(|s| s.payload.clone()).collect();
    assert_eq!(tone.len(), 800, "100 ms of audio");
    let loud = tone.iter().filter(|c| Law::Mu.decode_sample(**c).unsigned_abs() > 4_000).count();
    assert!(loud > 300, "{loud}");
    assert_continuous(&world.sent_to(B));
    assert!(!without_events(DtmfMode::Inband).sent.is_empty());
    assert!(without_events(DtmfMode::Rfc4733).sent.is_empty());
    assert!(without_events(DtmfMode::Info).sent.is_empty());
}

#[test]
fn a_digit_that_comes_by_event_and_by_signalling_is_one_press() {
    let (mut world, mut a, mut b) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    b.say(&mut world);
    press(&mut a, &mut world, 3, 100, 8_000);
    world.command(Command::Pressed { leg: A, digit: '3', duration: Duration::from_millis(160) });
    world.command(Command::Pressed { leg: A, digit: '4', duration: Duration::from_millis(160) });
    world.pass(Duration::from_secs(1));
    assert_eq!(reported(&world), [('3', 100), ('4', 160)]);
    assert_eq!(made_anew(&world, B, 8_000), [(3, 100), (4, 160)]);
}

#[test]
fn a_peer_that_gets_tones_is_offered_no_telephone_event() {
    for (dtmf, offered) in [(DtmfMode::Inband, false), (DtmfMode::Info, true), (DtmfMode::Auto, true)] {
        let mut world = World::new();
        world.command(Command::Offer { leg: B, params: LegParams { dtmf, ..params(&[Codec::Pcmu]) } });
        let has = |e: &Event| matches!(e, Event::LocalSdp { sdp, .. } if String::from_utf8_lossy(sdp).contains("telephone-event"));
        assert_eq!(world.events.iter().any(has), offered, "{dtmf:?}");
    }
}

/// RFC 4733 §2.5.2.2 leaves it open: some gateways send events from a source of their own beside the audio.
#[test]
fn a_digit_with_an_ssrc_of_its_own_is_heard_and_disturbs_no_audio() {
    let (mut world, mut a, _) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    a.say_frames(&mut world, 20);
    let mut events = Peer::new(A, PEER_A, Codec::Pcmu);
    (events.ssrc, events.ts) = (0x0eee_eeee, a.ts);
    press(&mut events, &mut world, 7, 200, 8_000);
    a.say_frames(&mut world, 20);
    assert_eq!(reported(&world), [('7', 200)]);
    assert_eq!(made_anew(&world, B, 8_000), [(7, 200)]);
    assert_continuous(&world.sent_to(B));
    assert_eq!(world.stats(A).rejected, 0);
}

#[test]
fn audio_goes_on_when_telephone_event_is_negotiated_away_in_the_middle_of_a_digit() {
    let (mut world, mut a, _) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    a.say_frames(&mut world, 20);
    let digit = Command::SendDtmf { leg: B, digit: '5', duration: Duration::from_secs(2) };
    world.command(digit);
    a.say_frames(&mut world, 5);
    let plain = offer(PEER_B, Codec::Pcmu).replace(" 101\r\n", "\r\n");
    let plain = plain.replace("a=rtpmap:101 telephone-event/8000\r\n", "");
    world.answer(B, &[Codec::Pcmu], &plain);
    let before = world.sent_to(B).len();
    a.say_frames(&mut world, 50);
    assert!(world.sent_to(B).len() >= before + 50, "{} of 50", world.sent_to(B).len() - before);
}

/// Field problem 17.
#[test]
fn tones_of_a_peer_without_events_come_as_events_and_are_not_heard_besides() {
    for a in [Codec::Pcmu, Codec::G722, Codec::Opus] {
        for b in [Codec::Pcmu, Codec::Opus] {
            let (mut world, mut a_peer, _) = from_tones(a, b, true);
            be_quiet(&mut a_peer, &mut world, 10);
            for (digit, ms) in [('5', 100), ('D', 250), ('5', 70)] {
                sing(&mut a_peer, &mut world, digit, ms);
                be_quiet(&mut a_peer, &mut world, 20);
            }
            let reported = reported(&world);
            assert_eq!(reported.iter().map(|d| d.0).collect::<String>(), "5D5", "{a:?} to {b:?}");
            for ((_, heard), pressed) in reported.iter().zip([100, 250, 70]) {
                assert!(heard.abs_diff(pressed) <= 10, "{heard} ms of {pressed}, {a:?} to {b:?}");
            }
            let clock = if b == Codec::Opus { 48_000 } else { 8_000 };
            let anew: Vec<u8> = made_anew(&world, B, clock).iter().map(|e| e.0).collect();
            assert_eq!(anew, [5, 15, 5], "{a:?} to {b:?}");
            assert_eq!(keys(&sung(&world, B, b)), "", "{a:?} to {b:?}");
            assert_continuous(&world.sent_to(B));
        }
    }
}

#[test]
fn tones_pass_as_they_are_to_a_listener_that_gets_tones() {
    let (mut world, mut a, _) = from_tones(Codec::Pcmu, Codec::Pcmu, false);
    be_quiet(&mut a, &mut world, 10);
    sing(&mut a, &mut world, '7', 100);
    be_quiet(&mut a, &mut world, 40);
    assert_eq!(keys(&sung(&world, B, Codec::Pcmu)), "7");
    assert_eq!(reported(&world).len(), 1);
    assert_eq!(world.sent_to(B).len(), 55, "passed on at once, nothing beside it");
    assert_continuous(&world.sent_to(B));
}

#[test]
fn who_can_send_events_is_not_listened_to_for_tones() {
    let (mut world, mut a, _) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    sing(&mut a, &mut world, '7', 100);
    be_quiet(&mut a, &mut world, 20);
    assert_eq!(reported(&world), []);
    assert_eq!(keys(&sung(&world, B, Codec::Pcmu)), "7");
}

#[test]
fn a_tone_and_an_info_of_one_press_are_one_digit() {
    let (mut world, mut a, _) = from_tones(Codec::Pcmu, Codec::Pcmu, true);
    be_quiet(&mut a, &mut world, 10);
    world.command(Command::Pressed { leg: A, digit: '3', duration: Duration::from_millis(160) });
    sing(&mut a, &mut world, '3', 160);
    be_quiet(&mut a, &mut world, 20);
    assert_eq!(reported(&world), [('3', 160)]);
    assert_eq!(made_anew(&world, B, 8_000), [(3, 160)]);
    assert_eq!(keys(&sung(&world, B, Codec::Pcmu)), "");
}

/// Some gateways send the event and leave the tone in the audio beside it.
#[test]
fn an_event_that_sounds_in_the_audio_too_is_one_digit() {
    for b in [Codec::Pcmu, Codec::G722] {
        let mut world = World::new();
        world.answer(A, &[Codec::Pcmu], &offer(PEER_A, Codec::Pcmu));
        world.answer(B, &[b], &plain_offer(PEER_B, b));
        world.hear(B, Source::Leg(A));
        let mut a = Peer::new(A, PEER_A, Codec::Pcmu);
        be_quiet(&mut a, &mut world, 10);
        let (start, frames) = (a.ts, tone('9', 200, NARROW));
        let count = frames.len();
        for (n, frame) in frames.iter().enumerate() {
            let packet = a.event(9, n + 1 == count, (n as u16 + 1) * 160, start);
            world.rtp(A, a.address, &packet);
            utter(&mut a, &mut world, frame);
        }
        be_quiet(&mut a, &mut world, 40);
        assert_eq!(reported(&world), [('9', 200)]);
        assert_eq!(keys(&sung(&world, B, b)), "9", "{b:?}");
    }
}

/// A sender that falls silent after the tone.
#[test]
fn a_tone_at_the_end_of_a_stream_is_a_digit() {
    let (mut world, mut a, _) = from_tones(Codec::Pcmu, Codec::Pcmu, true);
    sing(&mut a, &mut world, '#', 100);
    world.pass(Duration::from_secs(1));
    assert_eq!(reported(&world).iter().map(|d| d.0).collect::<String>(), "#");
}

/// Field problem 16: events under a payload type that nobody agreed to, beside the audio of the same source.
#[test]
fn events_of_a_wrong_payload_type_are_digits_all_the_same() {
    let (mut world, mut a, _) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    a.say_frames(&mut world, 10);
    let start = a.ts;
    for (end, duration) in [(false, 160), (false, 480), (true, 800), (true, 800), (true, 800)] {
        let [high, low] = u16::to_be_bytes(duration);
        let packet = a.raw(96, false, start, &[6, if end { 0x8a } else { 10 }, high, low]);
        world.rtp(A, a.address, &packet);
        world.pass(FRAME);
    }
    // No event at all, no digit, and a stranger's.
    for (pt, payload) in [(97, &[6, 10, 1][..]), (97, &[77, 10, 3, 32]), (13, &[6, 10, 3, 32])] {
        let packet = a.raw(pt, false, start, payload);
        world.rtp(A, a.address, &packet);
    }
    world.pass(Duration::from_secs(1));
    assert_eq!(reported(&world), [('6', 100)]);
    assert_eq!(made_anew(&world, B, 8_000), [(6, 100)]);
}
