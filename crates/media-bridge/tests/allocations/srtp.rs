//! SRTP contexts: nothing is allocated for a packet, be it good or bad.

use media_bridge::srtp::{Keys, OVERHEAD, Receiver, Sender, Suite};

#[test]
fn a_packet_protected_opened_or_refused_allocates_nothing_after_the_first() {
    for suite in Suite::ALL {
        let keys = Keys::new(suite, &vec![7; suite.key_len() + suite.salt_len()]).unwrap();
        let (mut sender, mut receiver) = (Sender::new(&keys), Receiver::new(&keys, 0));
        let mut buffer = Vec::with_capacity(172 + OVERHEAD);
        let mut turn = |sequence: u16| {
            buffer.clear();
            buffer.extend_from_slice(&[0x80, 0]);
            buffer.extend_from_slice(&sequence.to_be_bytes());
            buffer.resize(172, 9);
            sender.protect_rtp(&mut buffer).unwrap();
            let mut forged = [0; 172 + OVERHEAD];
            forged[..12].copy_from_slice(&buffer[..12]);
            assert!(receiver.unprotect_rtp(&mut forged).is_err());
            forged[11] ^= 1;
            assert!(receiver.unprotect_rtp(&mut forged).is_err(), "of an unknown stream");
            assert_eq!(receiver.unprotect_rtp(&mut buffer), Ok(172));
            buffer.clear();
            buffer.extend_from_slice(&[0x80, 201, 0, 7]);
            buffer.resize(32, 9);
            sender.protect_rtcp(&mut buffer).unwrap();
            assert_eq!(receiver.unprotect_rtcp(&mut buffer), Ok(32));
        };
        turn(1);
        let counted = allocation_counter::measure(|| (2..500).for_each(&mut turn));
        assert_eq!(counted.count_total, 0, "{suite:?}");
    }
}
