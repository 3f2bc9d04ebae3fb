//! Design §3: no allocation per packet. Everything is counted that the thread allocates while packets come in, timers
//! run and datagrams go out, after the first second of a call, which makes codecs and buffers.
#![allow(clippy::unwrap_used, missing_docs)]

mod line;
mod srtp;

use std::time::Duration;

use line::{A, Arrival, B, FRAME, Line, Phone, Voice};
use media_bridge::call::Output;
use media_bridge::control::Codec;
use webrtc_peer::PeerFactory;

/// Frames after which a call is warm: 1 s.
const WARM: u64 = 50;
/// Frames measured: 40 s.
const MEASURED: u64 = 2_000;

/// What a network does to the packet of frame `n`: none for lost, else how late it comes.
type Network = fn(u64) -> Option<Duration>;

fn perfect(_: u64) -> Option<Duration> {
    Some(Duration::ZERO)
}

/// 4 % lost, 4 % overtaken by the next two.
fn bad(n: u64) -> Option<Duration> {
    match n % 25 {
        7 => None,
        19 => Some(Duration::from_millis(45)),
        _ => Some(Duration::from_millis(n % 4)),
    }
}

/// Allocations of 2,000 packets each way, and how many packets went out for them.
fn steady_call(a: Codec, b: Codec, network: Network) -> (u64, usize) {
    let mut line = Line::new(PeerFactory::new().unwrap());
    let phones = [(line.phone(A, a), Voice::new(a)), (line.phone(B, b), Voice::new(b))];
    steady(line, phones, network)
}

fn steady(mut line: Line, mut phones: [(Phone, Voice); 2], network: Network) -> (u64, usize) {
    line.hear(A, B);
    line.hear(B, A);
    let begin = line.now;
    let mut arrivals: Vec<(u64, Arrival)> = Vec::new();
    for n in 0..WARM + MEASURED {
        for (phone, voice) in &mut phones {
            let packet = phone.say(&voice.next(), begin + FRAME * n as u32);
            if let Some(late) = network(n) {
                arrivals.push((n, Arrival { at: packet.at + late, ..packet }));
            }
        }
    }
    arrivals.sort_by_key(|(_, arrival)| arrival.at);
    let cold = arrivals.iter().position(|(n, _)| *n >= WARM).unwrap();
    let (cold, warm) = arrivals.split_at(cold);
    for (_, arrival) in cold {
        line.arrive(arrival, &mut |_, _| {});
    }
    let mut sent = 0;
    let counted = allocation_counter::measure(|| {
        for (_, arrival) in warm {
            line.arrive(arrival, &mut |output, _| sent += usize::from(matches!(output, Output::Rtp { .. })));
        }
    });
    (counted.count_total, sent)
}

#[test]
fn a_relayed_packet_allocates_nothing_after_warm_up() {
    for codec in [Codec::Pcmu, Codec::Opus] {
        assert_eq!(steady_call(codec, codec, perfect), (0, 4_000), "{codec:?}");
    }
    assert_eq!(steady_call(Codec::Pcmu, Codec::Pcma, perfect), (0, 4_000), "from one law to the other");
}

#[test]
fn a_transcoded_packet_allocates_nothing_after_warm_up() {
    for law in [Codec::Pcmu, Codec::Pcma] {
        assert_eq!(steady_call(Codec::Opus, law, perfect), (0, 4_000), "Opus and {law:?}");
    }
}

#[test]
fn loss_and_reordering_allocate_nothing_after_warm_up() {
    for (a, b) in [(Codec::Pcmu, Codec::Pcmu), (Codec::Opus, Codec::Pcmu)] {
        let (allocations, sent) = steady_call(a, b, bad);
        assert_eq!(allocations, 0, "{a:?} and {b:?}");
        assert!(sent > 3_500, "{sent} packets of {a:?} and {b:?}");
    }
}

#[test]
fn encrypted_packets_allocate_nothing_after_warm_up() {
    for (a, b) in [(Codec::Pcmu, Codec::Pcmu), (Codec::Opus, Codec::Pcma)] {
        let mut line = Line::new(PeerFactory::new().unwrap());
        let phones =
            [(line.encrypted_phone(A, a), Voice::new(a)), (line.encrypted_phone(B, b), Voice::new(b))];
        assert_eq!(steady(line, phones, perfect), (0, 4_000), "{a:?} and {b:?}");
    }
}

#[test]
fn the_counter_counts() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(vec![1_u8; 3])));
    assert_eq!(counted.count_total, 1);
}
