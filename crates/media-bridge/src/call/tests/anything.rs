//! Any order of commands, packets and time: the promises that hold always.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::control::Tone;

#[derive(Clone, Debug)]
enum Step {
    Answer { leg: u16, codec: usize, held: bool },
    Offer { leg: u16 },
    SetAnswer { leg: u16, codec: usize },
    Hear { leg: u16, what: usize, other: u16 },
    Digit { leg: u16, digit: char },
    Remove { leg: u16 },
    Speak { leg: u16, samples: usize, frames: u8, lost: u8 },
    Press { leg: u16, event: u8, end: bool },
    Garbage { leg: u16, bytes: Vec<u8> },
    Pass { ms: u16 },
}

const CODECS: [Codec; 4] = Codec::ALL;

fn step() -> impl Strategy<Value = Step> {
    let leg = || 0..4_u16;
    prop_oneof![
        2 => (leg(), 0..3_usize, any::<bool>()).prop_map(|(leg, codec, held)| Step::Answer { leg, codec, held }),
        1 => leg().prop_map(|leg| Step::Offer { leg }),
        2 => (leg(), 0..3_usize).prop_map(|(leg, codec)| Step::SetAnswer { leg, codec }),
        3 => (leg(), 0..6_usize, leg()).prop_map(|(leg, what, other)| Step::Hear { leg, what, other }),
        1 => (leg(), prop::sample::select("0159*#Dx".chars().collect::<Vec<_>>()))
            .prop_map(|(leg, digit)| Step::Digit { leg, digit }),
        1 => leg().prop_map(|leg| Step::Remove { leg }),
        6 => (leg(), prop::sample::select(vec![80, 160, 320, 480]), 1..6_u8, any::<u8>())
            .prop_map(|(leg, samples, frames, lost)| Step::Speak { leg, samples, frames, lost }),
        1 => (leg(), 0..20_u8, any::<bool>()).prop_map(|(leg, event, end)| Step::Press { leg, event, end }),
        1 => (leg(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(leg, bytes)| Step::Garbage { leg, bytes }),
        4 => (0..400_u16).prop_map(|ms| Step::Pass { ms }),
    ]
}

fn source(what: usize, other: u16) -> Source {
    match what {
        0 => Source::Nothing,
        1 => Source::Echo,
        2 => Source::Tone(Tone::Music),
        _ => Source::Leg(LegId(other)),
    }
}

fn take(world: &mut World, peers: &mut HashMap<u16, Peer>, step: Step) {
    let from = |leg: u16| format!("198.51.100.{}:6000", leg + 1);
    match step {
        Step::Answer { leg, codec, held } => {
            let text = offer(&from(leg), CODECS[codec]);
            let text = if held { text.replace("sendrecv", "inactive") } else { text };
            world.command(Command::Answer { leg: LegId(leg), params: params(&CODECS), offer: text.into() });
            peers.insert(leg, Peer::new(LegId(leg), &from(leg), CODECS[codec]));
        }
        Step::Offer { leg } => {
            let params = LegParams { called: true, ..params(&CODECS) };
            world.command(Command::Offer { leg: LegId(leg), params });
        }
        Step::SetAnswer { leg, codec } => {
            let answer = offer(&from(leg), CODECS[codec]).into();
            world.command(Command::SetAnswer { leg: LegId(leg), answer });
            peers.insert(leg, Peer::new(LegId(leg), &from(leg), CODECS[codec]));
        }
        Step::Hear { leg, what, other } => world.hear(LegId(leg), source(what, other)),
        Step::Digit { leg, digit } => {
            let duration = Duration::from_millis(100);
            world.command(Command::SendDtmf { leg: LegId(leg), digit, duration });
        }
        Step::Remove { leg } => world.command(Command::Remove { leg: LegId(leg) }),
        Step::Speak { leg, samples, frames, lost } => {
            let Some(peer) = peers.get_mut(&leg) else { return };
            for n in 0..frames {
                let packet = peer.packet(samples);
                if lost >> n & 1 == 0 {
                    world.rtp(peer.leg, peer.address, &packet);
                }
                world.pass(Duration::from_micros(samples as u64 * 125));
            }
        }
        Step::Press { leg, event, end } => {
            let Some(peer) = peers.get_mut(&leg) else { return };
            let packet = peer.event(event, end, 800, peer.ts);
            world.rtp(peer.leg, peer.address, &packet);
        }
        Step::Garbage { leg, bytes } => world.rtp(LegId(leg), from(leg).parse().unwrap(), &bytes),
        Step::Pass { ms } => world.pass(Duration::from_millis(u64::from(ms))),
    }
}

/// Each leg has one stream, known by its SSRC, from its first packet to its release.
fn assert_streams(world: &World) {
    let mut streams: HashMap<u32, Vec<u16>> = HashMap::new();
    for sent in &world.sent {
        streams.entry(sent.ssrc).or_default().push(sent.seq);
    }
    for seqs in streams.values() {
        for pair in seqs.windows(2) {
            let step = pair[1].wrapping_sub(pair[0]) as i16;
            assert!((1..200).contains(&step), "sequence step {step}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_streams_go_on_and_everything_is_given_back(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new();
        let mut peers = HashMap::new();
        let mut asked = 0;
        for step in steps {
            asked += usize::from(matches!(step, Step::Answer { .. } | Step::Offer { .. } | Step::SetAnswer { .. }));
            take(&mut world, &mut peers, step);
        }
        world.command(Command::Close);
        let answered = |e: &&Event| matches!(e, Event::LocalSdp { .. } | Event::Negotiated { .. } | Event::Refused { .. });
        prop_assert_eq!(world.events.iter().filter(answered).count(), asked, "one event for each");
        prop_assert_eq!(world.events.last(), Some(&Event::Closed));
        let last_stats = world.events.iter().filter(|e| matches!(e, Event::Stats { .. })).count();
        let released = world.others.iter().filter(|o| matches!(o, Output::ReleaseLeg { .. })).count();
        prop_assert!(last_stats >= released, "every released leg had its last counters told");
        prop_assert!(world.call.poll_timeout().is_none());
        assert_streams(&world);
    }
}
