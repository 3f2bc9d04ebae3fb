//! Legs that change calls: what each far end hears and is told of it (RFC 3550, field problems 2, 3, 22).

use super::*;
use crate::control::{Direction, Tone};
use crate::rtp::rtcp::{self, RtcpPacket};

/// The moved leg's name in the call that it comes to.
const C: LegId = LegId(5);

/// Call 1 of a transferor (leg B) with `a`, and its call 2 (leg A there) with `b`.
struct Transfer {
    first: World,
    second: World,
    a: Peer,
    b: Peer,
}

impl Transfer {
    /// Both talk for a second, then the first is on hold while the transferor consults the second.
    fn new(a: Codec, b: Codec) -> Transfer {
        let (mut first, mut a, mut own) = World::bridged(a, Codec::Pcmu);
        let (second, mut other, b) = World::bridged_with(8, Codec::Pcmu, b);
        talk(&mut first, [&mut a, &mut own], 50);
        first.hear(A, Source::Tone(Tone::Music));
        let mut transfer = Transfer { first, second, a, b };
        transfer.catch_up();
        talk(&mut transfer.second, [&mut other, &mut transfer.b], 50);
        transfer.catch_up();
        transfer
    }

    /// One clock for both.
    fn catch_up(&mut self) {
        let now = self.first.now.max(self.second.now);
        for world in [&mut self.first, &mut self.second] {
            let behind = now - world.now;
            world.pass(behind);
            world.now = now;
        }
    }

    /// As the switch does it: the second call's far end takes the transferor's place in the first.
    fn join(&mut self) {
        self.catch_up();
        let now = self.first.now;
        let given = self.second.call.give(B, now).unwrap();
        self.second.drain();
        self.first.call.adopt(given, C, now);
        self.first.drain();
        self.first.command(Command::Remove { leg: B });
        self.second.command(Command::Close);
        self.first.hear(A, Source::Leg(C));
        self.first.hear(C, Source::Leg(A));
        self.b.leg = C;
    }

    fn talk(&mut self, frames: usize) {
        talk(&mut self.first, [&mut self.a, &mut self.b], frames);
    }

    /// All that the second far end ever got.
    fn sent_to_b(&self) -> Vec<Sent> {
        [self.second.sent_to(B), self.first.sent_to(C)].concat()
    }
}

fn talk(world: &mut World, peers: [&mut Peer; 2], frames: usize) {
    let [a, b] = peers;
    for _ in 0..frames {
        let packet = a.packet(160);
        world.rtp(a.leg, a.address, &packet);
        b.say(world);
    }
}

fn keeps_time(sent: &[Sent], clock: f64) {
    let (first, last) = (&sent[0], sent.last().unwrap());
    let claimed = f64::from(last.ts.wrapping_sub(first.ts)) / clock;
    let real = (last.at - first.at).as_secs_f64();
    assert!((claimed - real).abs() < 0.1, "{claimed} s claimed in {real} s");
}

#[test]
fn both_far_ends_hear_one_stream_through_the_transfer_and_each_other_after_it() {
    let clock = |c| if c == Codec::Opus { 48_000.0 } else { 8_000.0 };
    let all = [Codec::Opus, Codec::Pcmu, Codec::Pcma];
    for (a, b) in all.iter().flat_map(|a| all.map(|b| (*a, b))) {
        let mut transfer = Transfer::new(a, b);
        transfer.join();
        let joined = transfer.first.now;
        transfer.talk(50);
        let (to_a, to_b) = (transfer.first.sent_to(A), transfer.sent_to_b());
        for (sent, codec, from) in [(&to_a, a, b), (&to_b, b, a)] {
            assert_continuous(sent);
            keeps_time(sent, clock(codec));
            let after: Vec<Sent> = sent.iter().filter(|s| s.at >= joined).cloned().collect();
            assert!(after.len() >= 48, "{} frames of {from:?} as {codec:?}", after.len());
            assert!(
                after[..3].iter().any(|s| s.marker),
                "another source begins with the marker bit (RFC 3551 §4.1)"
            );
            let loud = loudness(&decoded(&after, codec)[1_600..]);
            assert!(loud > 2_000.0, "{from:?} is heard as {codec:?}: {loud}");
        }
        assert_ne!(to_a[0].ssrc, to_b[0].ssrc);
        assert_eq!(transfer.second.events.last(), Some(&Event::Closed));
        let released = |w: &World| w.others.contains(&Output::ReleaseLeg { leg: B });
        assert!(released(&transfer.first) && !released(&transfer.second), "the port went along");
    }
}

#[test]
fn a_far_end_that_said_nothing_yet_is_latched_in_its_new_call() {
    let mut transfer = Transfer::new(Codec::Pcmu, Codec::Pcmu);
    transfer.b.ssrc = 0x7777;
    transfer.join();
    transfer.talk(10);
    let stranger = address("198.51.100.99:7000");
    let packet = transfer.b.packet(160);
    let before = transfer.first.sent_to(A).len();
    transfer.first.rtp(C, stranger, &packet);
    assert_eq!(transfer.first.sent_to(A).len(), before, "nobody else speaks for it (field problem 36)");
}

#[test]
fn a_digit_that_is_being_sent_is_sent_to_its_end() {
    let mut transfer = Transfer::new(Codec::Pcmu, Codec::Opus);
    let duration = Duration::from_millis(600);
    transfer.second.command(Command::SendDtmf { leg: B, digit: '5', duration });
    transfer.second.pass(Duration::from_millis(200));
    transfer.join();
    transfer.talk(50);
    let to_b = transfer.sent_to_b();
    assert_continuous(&to_b);
    let events: Vec<&Sent> = to_b.iter().filter(|s| s.pt == 101).collect();
    assert!(events.iter().all(|s| s.ts == events[0].ts && s.payload[0] == 5), "one event (RFC 4733 §2.5.1)");
    let longest = events.iter().map(|s| u16::from_be_bytes([s.payload[2], s.payload[3]])).max();
    assert_eq!(longest, Some(600 * 48));
    assert!(events.last().is_some_and(|s| s.payload[1] & 0x80 != 0), "its end is told");
}

#[test]
fn a_digit_that_is_being_pressed_reaches_the_new_listener_once_with_its_full_length() {
    let mut transfer = Transfer::new(Codec::Pcmu, Codec::Pcmu);
    let start = transfer.b.ts;
    let say = |b: &mut Peer, world: &mut World, ms: u16, end: bool| {
        let packet = b.event(7, end, ms * 8, start);
        world.rtp(b.leg, b.address, &packet);
        world.pass(FRAME);
    };
    for ms in [20, 40, 60] {
        say(&mut transfer.b, &mut transfer.second, ms, false);
    }
    transfer.join();
    for (ms, end) in [(80, false), (100, false), (120, true), (120, true), (120, true)] {
        say(&mut transfer.b, &mut transfer.first, ms, end);
    }
    transfer.first.pass(Duration::from_millis(400));
    let pressed: Vec<_> = transfer.first.events.iter().filter(|e| matches!(e, Event::Dtmf { .. })).collect();
    let duration = Duration::from_millis(120);
    assert_eq!(pressed, [&Event::Dtmf { leg: C, digit: '7', duration }]);
    assert!(!transfer.second.events.iter().any(|e| matches!(e, Event::Dtmf { .. })));
    let to_a = transfer.first.sent_to(A);
    assert_continuous(&to_a);
    assert!(to_a.iter().any(|s| s.pt == 101 && s.payload[0] == 7));
}

#[test]
fn a_far_end_on_hold_stays_on_hold_and_resumes_in_its_new_call() {
    let mut transfer = Transfer::new(Codec::Pcmu, Codec::Pcmu);
    let held = offer(PEER_B, Codec::Pcmu).replace("a=sendrecv", "a=inactive");
    let first = transfer.second.answer(B, &[Codec::Pcmu], &held);
    assert_eq!(
        transfer.second.events.pop(),
        Some(Event::Direction { leg: B, direction: Direction::Inactive })
    );
    transfer.join();
    let before = transfer.first.sent_to(C).len();
    for _ in 0..50 {
        transfer.a.say(&mut transfer.first);
    }
    assert_eq!(transfer.first.sent_to(C).len(), before, "it wants to hear nothing (RFC 3264 §8.4)");
    let resumed = transfer.first.answer(C, &[Codec::Pcmu], &offer(PEER_B, Codec::Pcmu));
    let news = Event::Direction { leg: C, direction: Direction::SendRecv };
    assert_eq!(transfer.first.events.pop(), Some(news));
    let origin = |sdp: &str| {
        let line = sdp.lines().find(|l| l.starts_with("o=")).unwrap();
        let words: Vec<u64> = line.split(' ').skip(1).take(2).map(|w| w.parse().unwrap()).collect();
        (words[0], words[1])
    };
    let ((id, version), (same, next)) = (origin(&first), origin(&resumed));
    assert_eq!((id, version + 1), (same, next), "the session goes on (RFC 3264 §8)");
    transfer.talk(50);
    assert!(transfer.first.sent_to(C).len() >= 45);
    assert_continuous(&transfer.sent_to_b());
}

#[test]
fn its_reports_go_on_and_what_its_peer_reports_is_taken() {
    // RFC 3550 §6.4: counts are of the SSRC's whole life.
    let mut transfer = Transfer::new(Codec::Pcmu, Codec::Pcmu);
    transfer.join();
    transfer.talk(300);
    let (_, to, report) = transfer.first.rtcp.iter().rev().find(|(leg, ..)| *leg == C).unwrap();
    assert_eq!(*to, address("203.0.113.9:7001"));
    let ours = transfer.sent_to_b();
    let packets = rtcp::parse(report).find_map(|p| match p {
        RtcpPacket::SenderReport { ssrc, info, .. } if ssrc == ours[0].ssrc => Some(info.packets),
        _ => None,
    });
    let before = transfer.second.sent_to(B).len() as u32;
    assert!(packets.is_some_and(|n| n > before && n <= ours.len() as u32), "{packets:?} of {}", ours.len());
    let mut feedback = Vec::new();
    let block = rtcp::ReportBlock { ssrc: ours[0].ssrc, fraction_lost: 64, ..Default::default() };
    rtcp::write_report(&mut feedback, transfer.b.ssrc, None, Some(block), "peer");
    transfer.first.rtcp_in(C, address("203.0.113.9:7001"), &feedback);
    let stats = transfer.first.stats(C);
    assert_eq!(stats.remote_fraction_lost, 64);
    assert!(stats.packets_in > 300, "counted in both calls: {}", stats.packets_in);
}

#[test]
fn who_heard_a_leg_that_left_hears_silence() {
    let mut transfer = Transfer::new(Codec::Pcmu, Codec::Pcmu);
    let now = transfer.second.now;
    assert!(transfer.second.call.give(B, now).is_some());
    assert!(transfer.second.call.give(B, now).is_none(), "once");
    transfer.second.drain();
    let before = transfer.second.sent_to(A).len();
    transfer.second.pass(Duration::from_secs(1));
    let sent = transfer.second.sent_to(A);
    assert!(sent.len() > before + 40, "a trunk's stream never stops (field problem 35)");
    assert_continuous(&sent);
    assert!(loudness(&decoded(&sent[before + 5..], Codec::Pcmu)) < 50.0);
}

#[test]
fn a_browser_keeps_the_candidates_of_the_worker_that_it_began_on() {
    let mut params = params(&[Codec::Opus]);
    params.kind = LegKind::WebRtc;
    let mut old = World::new();
    old.command(Command::Answer { leg: A, params: params.clone(), offer: negotiation::CHROMIUM.into() });
    let first = old.local_sdp(A);
    let setup = MediaSetup {
        peers: FACTORY.clone(),
        candidates: vec!["192.0.2.2:4001".parse().unwrap()],
        sounds: sounds(),
        tcp: Vec::new(),
    };
    let mut new = MediaCall::new(CallId(2), Arc::new(setup), Box::new(Seed(9)));
    new.adopt(old.call.give(A, old.now).unwrap(), C, old.now);
    let offer = negotiation::CHROMIUM.replace("Vq9t", "Zz9t").into();
    new.handle_command(Command::Answer { leg: C, params, offer }, None, old.now, old.wall());
    let mut buf = Datagram::default();
    let outputs: Vec<Output> = std::iter::from_fn(|| new.poll_output(&mut buf)).collect();
    let sdp = outputs.iter().find_map(|o| match o {
        Output::Event(Event::LocalSdp { sdp, .. }) => Some(String::from_utf8(sdp.clone()).unwrap()),
        _ => None,
    });
    let sdp = sdp.unwrap();
    assert!(first.contains(" 192.0.2.2 4000 typ host") && sdp.contains(" 192.0.2.2 4000 typ host"), "{sdp}");
    assert!(!sdp.contains("4001"), "{sdp}");
    assert!(outputs.iter().any(|o| matches!(o, Output::AcceptUfrag { leg: C, .. })), "the restart's ufrag");
}
