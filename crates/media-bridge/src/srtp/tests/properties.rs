//! What holds for any network and any bytes.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const SSRC: u32 = 0x0bad_cafe;

fn any_suite() -> impl Strategy<Value = Suite> {
    prop_oneof![
        Just(Suite::AeadAes256Gcm),
        Just(Suite::AeadAes128Gcm),
        Just(Suite::AesCm128HmacSha1_80),
        Just(Suite::AesCm128HmacSha1_32),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Packets lost, overtaken and repeated, over a rollover: each passes at most once, and as it was sent; one that is
    /// neither a repetition nor far behind passes.
    #[test]
    fn any_order_of_arrival_opens_each_packet_once(
        suite in any_suite(),
        begin in prop_oneof![65_300..=65_535_u16, any::<u16>()],
        late in proptest::collection::vec(0..200_usize, 400),
        lost in proptest::collection::vec(any::<bool>(), 400),
    ) {
        let (mut sender, mut receiver) = (Sender::new(&keys(suite, 3)), Receiver::new(&keys(suite, 3), 0));
        let packets: Vec<Vec<u8>> = (0..400_u16).map(|n| rtp(SSRC, begin.wrapping_add(n))).collect();
        let sealed: Vec<Vec<u8>> = packets.iter().map(|packet| protect_rtp(&mut sender, packet)).collect();
        // The first comes first: the receiver learns the counter by it.
        let mut arrivals: Vec<(usize, usize)> = (1..400).map(|n| (n + late[n], n)).collect();
        arrivals.extend((0..400).step_by(7).map(|n| (n + 250, n)));
        arrivals.retain(|(_, n)| !lost[*n] || n % 3 == 0);
        arrivals.sort_unstable();
        let mut opened = BTreeSet::from([0]);
        prop_assert_eq!(open_rtp(&mut receiver, &sealed[0]), Ok(packets[0].clone()));
        for (_, n) in arrivals {
            let newest = *opened.last().unwrap();
            let result = open_rtp(&mut receiver, &sealed[n]);
            let expected = if n + 128 <= newest {
                Err(Reject::TooOld)
            } else if opened.contains(&n) {
                Err(Reject::Replayed)
            } else {
                Ok(packets[n].clone())
            };
            prop_assert_eq!(result, expected, "{} after {}", n, newest);
            if n + 128 > newest {
                opened.insert(n);
            }
        }
    }

    /// Steps of up to half a round are followed through many rounds.
    #[test]
    fn long_silences_do_not_lose_the_counter(
        suite in any_suite(),
        steps in proptest::collection::vec(1..32_768_u16, 1..60),
    ) {
        let (mut sender, mut receiver) = (Sender::new(&keys(suite, 3)), Receiver::new(&keys(suite, 3), 0));
        let mut sequence = 100_u16;
        for step in steps {
            let packet = rtp(SSRC, sequence);
            let sealed = protect_rtp(&mut sender, &packet);
            prop_assert_eq!(open_rtp(&mut receiver, &sealed), Ok(packet));
            sequence = sequence.wrapping_add(step);
        }
    }

    /// RFC 3711 §3.3 step 5: no state before the tag was right.
    #[test]
    fn a_flipped_bit_anywhere_is_refused_and_changes_nothing(
        suite in any_suite(),
        at in any::<proptest::sample::Index>(),
        bit in 0..8_u8,
        running in any::<bool>(),
    ) {
        let (mut sender, mut receiver) = (Sender::new(&keys(suite, 3)), Receiver::new(&keys(suite, 3), 0));
        if running {
            open_rtp(&mut receiver, &protect_rtp(&mut sender, &rtp(SSRC, 40_000))).unwrap();
            open_rtcp(&mut receiver, &protect_rtcp(&mut sender, &rtcp(SSRC))).unwrap();
        }
        let packet = rtp(SSRC, 40_001);
        let sealed = protect_rtp(&mut sender, &packet);
        let mut damaged = sealed.clone();
        damaged[at.index(sealed.len())] ^= 1 << bit;
        prop_assert!(open_rtp(&mut receiver, &damaged).is_err());
        prop_assert_eq!(open_rtp(&mut receiver, &sealed), Ok(packet));

        let report = rtcp(SSRC);
        let sealed = protect_rtcp(&mut sender, &report);
        let mut damaged = sealed.clone();
        damaged[at.index(sealed.len())] ^= 1 << bit;
        prop_assert!(open_rtcp(&mut receiver, &damaged).is_err());
        prop_assert_eq!(open_rtcp(&mut receiver, &sealed), Ok(report));
    }

    #[test]
    fn a_shortened_or_lengthened_packet_is_refused(
        suite in any_suite(),
        cut in 1..30_usize,
        more in proptest::collection::vec(any::<u8>(), 1..30),
    ) {
        let (mut sender, mut receiver) = (Sender::new(&keys(suite, 3)), Receiver::new(&keys(suite, 3), 0));
        for (sealed, rtcp) in [
            (protect_rtp(&mut sender, &rtp(SSRC, 1)), false),
            (protect_rtcp(&mut sender, &rtcp(SSRC)), true),
        ] {
            let open = if rtcp { open_rtcp } else { open_rtp };
            prop_assert!(open(&mut receiver, &sealed[..sealed.len() - cut]).is_err());
            prop_assert!(open(&mut receiver, &[&sealed[..], &more[..]].concat()).is_err());
            prop_assert!(open(&mut receiver, &sealed).is_ok());
        }
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(
        suite in any_suite(),
        mki in prop_oneof![Just(0), 1..=128_usize],
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        first in prop_oneof![Just(0x80_u8), any::<u8>()],
    ) {
        let (mut sender, mut receiver) = (Sender::new(&keys(suite, 3)), Receiver::new(&keys(suite, 3), mki));
        let mut bytes = bytes;
        if let Some(byte) = bytes.first_mut() {
            *byte = first;
        }
        prop_assert!(open_rtp(&mut receiver, &bytes).is_err());
        prop_assert!(open_rtcp(&mut receiver, &bytes).is_err());
        let _ = sender.protect_rtp(&mut bytes.clone());
        let _ = sender.protect_rtcp(&mut bytes);
    }
}
