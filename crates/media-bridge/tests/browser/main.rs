//! Browser legs of a `MediaCall` in virtual time: SRTP and RTCP of ours on the keys of DTLS, against str0m's.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, missing_docs)]

#[allow(dead_code, reason = "no test here lasts as long as a check does")]
#[path = "../allocations/browser.rs"]
mod browser;
mod early;
mod garbage;
#[allow(dead_code, reason = "nobody's voice is needed here")]
#[path = "../allocations/line.rs"]
mod line;
mod rtc;

use std::time::Duration;

use browser::Browser;
use line::{A, B, FRAME, Line, Phone};
use media_bridge::call::Output;
use media_bridge::control::{Codec, Command, Event, LegStats};
use media_bridge::rtp::rtcp::{self, RtcpPacket};
use rtc::{THEIR_SSRC, World};
use str0m::config::DtlsVersion;
use types::Datagram;
use webrtc_peer::PeerFactory;

const SECOND: Duration = Duration::from_secs(1);

/// A browser on `A` and a phone on `B`, who hear each other.
fn bridged(version: DtlsVersion) -> (World, Phone) {
    let mut line = Line::new(PeerFactory::new().unwrap());
    let phone = line.phone(B, Codec::Opus);
    let mut world = World::connected(line, A, version);
    world.line.hear(A, B);
    world.line.hear(B, A);
    (world, phone)
}

/// The leg's last counters: it is removed.
fn stats(world: &mut World) -> LegStats {
    let (mut found, leg) = (None, world.leg);
    world.line.command(Command::Remove { leg }, &mut |output, _| {
        if let Output::Event(Event::Stats { leg: of, stats }) = output
            && of == leg
        {
            found = Some(stats);
        }
    });
    found.unwrap()
}

#[test]
fn audio_flows_both_ways_between_a_browser_and_a_phone() {
    for version in [DtlsVersion::Dtls12, DtlsVersion::Auto] {
        let (mut w, mut phone) = bridged(version);
        for n in 1..=50 {
            w.say(&[n; 40]);
            let arrival = phone.say(&[0x80 | n; 30], w.line.now);
            w.phone_arrives(&arrival);
        }
        let relayed: Vec<u8> = w.relayed.iter().filter(|p| p.len() == 40).map(|p| p[0]).collect();
        assert_eq!(relayed, (1..=50).collect::<Vec<u8>>());
        let heard: Vec<u8> = w.heard.iter().map(|(_, p)| p[0]).collect();
        assert_eq!(heard, (1..=50).map(|n| 0x80 | n).collect::<Vec<u8>>());
        assert!(w.heard.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1), "one sequence of ours");
        let stats = stats(&mut w);
        assert_eq!((stats.packets_in, stats.packets_out, stats.lost, stats.rejected), (50, 50, 0, 0));
    }
}

#[test]
fn a_packet_of_a_browser_and_one_for_it_leave_in_the_memory_in_which_they_came() {
    let mut line = Line::new(PeerFactory::new().unwrap());
    let mut phone = line.phone(B, Codec::Opus);
    let mut browser = Browser::dial(&mut line, A, Codec::Opus);
    line.hear(A, B);
    line.hear(B, A);
    for n in 0..20 {
        let at = line.now + FRAME;
        for arrival in [browser.say(&[n; 60], at), phone.say(&[n; 60], at)] {
            let mut data = Datagram::from(&arrival.data[..]);
            let (place, mut sent) = (data.as_ptr(), Vec::new());
            line.arrive_in(&mut data, &arrival, &mut |output, data| match output {
                Output::Rtp { leg: B, .. } => sent.push((phone.hear(data).unwrap(), data.as_ptr())),
                Output::Browser { leg: A, .. } => {
                    sent.extend(browser.hear(data).map(|heard| (heard, data.as_ptr())));
                }
                _ => {}
            });
            // Silence of ours, before there is anything to relay, is no packet of theirs.
            sent.retain(|(payload, _)| payload.len() == 60);
            assert_eq!(sent, [(vec![n; 60], place)], "from {}, packet {n}", arrival.leg);
        }
    }
}

#[test]
fn a_browser_may_change_its_ssrc_and_forgeries_count_and_change_nothing() {
    let (mut w, _) = bridged(DtlsVersion::Dtls12);
    w.speak(b"one");
    let genuine = w.newest.clone();
    for forged in 0..500_u32 {
        let mut packet = vec![0x80, 111, 0, 1, 0, 0, 0, 1];
        packet.extend_from_slice(&(forged + 77).to_be_bytes());
        packet.extend_from_slice(&[0xaa; 60]);
        w.arrive(packet);
        // Of the stream that there is: damaged, cut short, as RTCP.
        let mut damaged = genuine.clone();
        damaged[3] = damaged[3].wrapping_add(1 + (forged % 100) as u8);
        w.arrive(damaged);
        w.arrive(genuine[..forged as usize % genuine.len()].to_vec());
        let mut report = genuine.clone();
        report[1] = 200;
        w.arrive(report);
    }
    w.change_ssrc(0x3333_3333);
    w.speak(b"two");
    w.change_ssrc(THEIR_SSRC);
    w.speak(b"three");
    w.run(FRAME);
    assert_eq!(w.relayed, [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
    let stats = stats(&mut w);
    assert_eq!(stats.packets_in, 3);
    assert!(stats.rejected >= 2_000 - 500 / genuine.len() as u64 - 1, "{} counted", stats.rejected);
}

#[test]
fn a_replayed_packet_is_heard_once_and_counted() {
    // RFC 3711 §3.3.2.
    let (mut w, _) = bridged(DtlsVersion::Dtls12);
    w.copies = |_| 3;
    w.speak(b"once");
    w.speak(b"more");
    assert_eq!(w.relayed, [b"once".to_vec(), b"more".to_vec()]);
    let stats = stats(&mut w);
    // Two more of each, and of each report of the browser's.
    assert_eq!(stats.packets_in, 2);
    assert!(stats.rejected >= 4 && stats.rejected.is_multiple_of(2), "{}", stats.rejected);
}

#[test]
fn media_before_the_keys_is_dropped_and_counted() {
    let mut line = Line::new(PeerFactory::new().unwrap());
    let phone = line.phone(B, Codec::Opus);
    line.hear(B, A);
    let mut early = 0;
    let browser = Browser::dial_after(&mut line, A, Codec::Opus, &mut |line, browser| {
        for kind in [111, 200] {
            let mut data = vec![0x80, kind, 0, 7, 0, 0, 0, 1, 0, 0, 0, 9];
            data.extend_from_slice(&[0x55; 60]);
            let arrival = line::Arrival { at: line.now, leg: A, from: browser, browser: true, data };
            line.arrive(&arrival, &mut |output, _| {
                early += usize::from(matches!(output, Output::Rtp { .. }))
            });
        }
    });
    assert_eq!(early, 0);
    let mut rejected = None;
    line.command(Command::Remove { leg: A }, &mut |output, _| {
        if let Output::Event(Event::Stats { stats, .. }) = output {
            rejected = Some(stats.rejected);
        }
    });
    assert_eq!(rejected, Some(2));
    drop((browser, phone));
}

#[test]
fn the_browsers_loss_reports_are_in_the_statistics() {
    let (mut w, mut phone) = bridged(DtlsVersion::Dtls12);
    w.copies = |n| usize::from(n % 4 != 0);
    for _ in 0..600 {
        let arrival = phone.say(&[1; 40], w.line.now);
        w.phone_arrives(&arrival);
    }
    let stats = stats(&mut w);
    let reported = stats.remote_fraction_lost;
    assert!((50..=80).contains(&reported), "a quarter was lost, reported as {reported} of 256");
    assert!(stats.rtt_us.is_some_and(|rtt| rtt < 50_000), "{:?}", stats.rtt_us);
}

#[test]
fn our_reports_tell_the_browser_its_true_loss_every_second() {
    // Browsers add FEC by what we report.
    let (mut w, _) = bridged(DtlsVersion::Dtls12);
    w.copies = |n| usize::from(n % 4 != 0);
    for _ in 0..500 {
        w.speak(&[1; 40]);
    }
    let losses: Vec<f32> = w.told.iter().filter_map(|(loss, _)| *loss).collect();
    assert!(losses.len() >= 6, "{} reports in 10 s", losses.len());
    let settled = &losses[2..];
    assert!(settled.iter().all(|loss| (0.2..=0.3).contains(loss)), "a quarter was lost: {losses:?}");
    w.copies = |_| 1;
    for _ in 0..200 {
        w.speak(&[1; 40]);
    }
    assert_eq!(w.told.iter().rev().find_map(|(loss, _)| *loss), Some(0.0), "and it is over");
    assert!(w.told.iter().any(|(_, rtt)| rtt.is_some_and(|rtt| rtt < Duration::from_millis(50))));
}

/// The compound packets among a browser's datagrams, in the clear.
fn reports(browser: &mut Browser, datagrams: &[Vec<u8>]) -> Vec<Vec<u8>> {
    datagrams.iter().filter_map(|data| browser.hear_rtcp(data)).collect()
}

#[test]
fn reports_carry_the_cname_of_the_description_and_a_leg_that_leaves_says_bye() {
    // RFC 3550 §6.1, §6.6.
    let mut line = Line::new(PeerFactory::new().unwrap());
    let mut browser = Browser::dial(&mut line, A, Codec::Opus);
    let mut phone = line.phone(B, Codec::Opus);
    line.hear(A, B);
    let mut datagrams = Vec::new();
    let mut take = |output: Output, data: &[u8]| {
        if matches!(output, Output::Browser { .. }) {
            datagrams.push(data.to_vec());
        }
    };
    for _ in 0..160 {
        let arrival = phone.say(&[7; 40], line.now + FRAME);
        line.arrive(&arrival, &mut take);
    }
    line.command(Command::Remove { leg: A }, &mut take);
    let compounds = reports(&mut browser, &datagrams);
    assert!((3..=5).contains(&compounds.len()), "{} reports in 3.2 s", compounds.len());
    let (ssrc, cname) = browser.described();
    for (n, compound) in compounds.iter().enumerate() {
        let packets: Vec<RtcpPacket<'_>> = rtcp::parse(compound).collect();
        assert!(matches!(packets[0], RtcpPacket::SenderReport { ssrc: of, .. } if of == ssrc), "{packets:?}");
        assert_eq!(packets[1], RtcpPacket::Cname { ssrc, name: cname.as_bytes() });
        let last = n + 1 == compounds.len();
        assert_eq!(packets.get(2), last.then_some(&RtcpPacket::Bye { ssrc }));
    }
}

#[test]
fn a_new_association_has_new_keys_and_those_before_open_nothing() {
    // RFC 8842 §4: another fingerprint is another association.
    let mut line = Line::new(PeerFactory::new().unwrap());
    let mut first = Browser::dial(&mut line, A, Codec::Opus);
    let _phone = line.phone(B, Codec::Opus);
    line.hear(B, A);
    let mut relayed = Vec::new();
    let mut say = |line: &mut Line, browser: &mut Browser, word: &[u8]| {
        let arrival = browser.say(word, line.now + FRAME);
        line.arrive(&arrival, &mut |output, data| {
            if matches!(output, Output::Rtp { .. }) && data.len() < 20 {
                relayed.push(data[12..].to_vec());
            }
        });
    };
    say(&mut line, &mut first, b"one");
    let mut second = Browser::dial(&mut line, A, Codec::Opus);
    say(&mut line, &mut first, b"old");
    say(&mut line, &mut second, b"two");
    assert_eq!(relayed, [b"one".to_vec(), b"two".to_vec()]);
}

#[test]
fn a_browser_may_change_its_codec_within_a_session() {
    // RFC 3264 §8.3.2: keys, SSRC and sequence stay.
    let mut line = Line::new(PeerFactory::new().unwrap());
    let mut browser = Browser::dial(&mut line, A, Codec::Opus);
    let mut phone = line.phone(B, Codec::Pcmu);
    line.hear(A, B);
    line.hear(B, A);
    let (mut relayed, mut heard) = (0, 0);
    for codec in [Codec::Opus, Codec::Pcmu] {
        if codec == Codec::Pcmu {
            browser.change_codec(&mut line, codec);
            (relayed, heard) = (0, 0);
        }
        for n in 0..50 {
            let at = line.now + FRAME;
            let said = phone.say(&[0x55; 160], at);
            line.arrive(&said, &mut |output, data| {
                let opened = matches!(output, Output::Browser { .. }).then(|| browser.hear(data)).flatten();
                heard += usize::from(opened.is_some());
            });
            let payload: &[u8] = if codec == Codec::Opus { &[0x48, n] } else { &[0x55; 160] };
            let said = browser.say(payload, at);
            line.arrive(&said, &mut |output, _| relayed += usize::from(matches!(output, Output::Rtp { .. })));
        }
        assert!(relayed >= 48 && heard >= 48, "{codec:?}: {relayed} and {heard} of 50");
    }
}

#[test]
fn nothing_leaves_before_the_keys_are_there() {
    let mut line = Line::new(PeerFactory::new().unwrap());
    let mut phone = line.phone(B, Codec::Opus);
    line.hear(A, B);
    let mut media = 0;
    let mut browser = Browser::dial_after(&mut line, A, Codec::Opus, &mut |line, _| {
        for _ in 0..5 {
            let arrival = phone.say(&[3; 40], line.now + FRAME);
            line.arrive(&arrival, &mut |output, data| {
                media += usize::from(matches!(output, Output::Browser { .. }) && data[0] >> 6 == 2);
            });
        }
    });
    assert_eq!(media, 0);
    line.hear(A, B);
    let arrival = phone.say(&[3; 40], line.now + FRAME);
    let mut heard = Vec::new();
    line.arrive(&arrival, &mut |output, data| {
        if matches!(output, Output::Browser { .. }) {
            heard.extend(browser.hear(data));
        }
    });
    line.pass(line.now + SECOND, &mut |_, _| {});
    assert_eq!(heard, [vec![3; 40]]);
}
