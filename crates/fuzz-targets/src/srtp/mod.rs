use media_bridge::srtp::{Keys, OVERHEAD, Receiver, Reject, Sender, Suite};

mod streams;

/// Sequence number of the packet that the receivers know already.
const KNOWN: u16 = 1_000;
/// From this first byte on there are streams.
const STREAMS: u8 = 0xf0;

/// The first byte says how, the rest is a packet as it comes from a network: RTP or RTCP, in a suite, to a receiver that has
/// heard nothing or something, with a master key identifier or none. What opens is what a sender with these keys makes
/// of the same plaintext; what does not changes nothing. A first byte with all of its upper half says instead that the
/// rest are operations on many streams under changing keys.
pub fn fuzz_srtp(data: &[u8]) {
    let Some((how, packet)) = data.split_first() else { return };
    if *how >= STREAMS {
        return streams::run(*how, packet);
    }
    let keys = keys(*how, 0x5a);
    let (rtcp, running, mki) = (how & 4 != 0, how & 8 != 0, usize::from(how >> 4));
    let (mut sender, mut receiver) = (Sender::new(&keys), Receiver::new(&keys, mki));
    let plain = if rtcp { report() } else { voice(KNOWN) };
    let known = protected(&mut sender, &plain, rtcp, mki);
    if running {
        assert_eq!(open(&mut receiver, &mut known.clone(), rtcp), Ok(plain.len()));
    }
    let mut opened = packet.to_vec();
    let result = open(&mut receiver, &mut opened, rtcp);
    if let Ok(length) = result {
        opened.truncate(length);
        let again = protected(&mut Sender::new(&keys), &opened, rtcp, 0);
        assert!(mki > 0 || again == packet, "{opened:?} is not what was sent");
    }
    let was_there = running || (result.is_ok() && opened == plain);
    let expected = if was_there { Err(Reject::Replayed) } else { Ok(plain.len()) };
    assert_eq!(open(&mut receiver, &mut known.clone(), rtcp), expected, "after {result:?}");
    let mut plain = packet.to_vec();
    let sealed = if rtcp { sender.protect_rtcp(&mut plain) } else { sender.protect_rtp(&mut plain) };
    match sealed {
        Ok(()) => assert!(plain.len() <= packet.len() + OVERHEAD),
        Err(_) => assert_eq!(plain, packet, "what is not protected is left alone"),
    }
}

/// Of one of the four suites.
fn keys(how: u8, byte: u8) -> Keys {
    let suite = Suite::ALL[usize::from(how & 3)];
    match Keys::new(suite, &vec![byte; suite.key_len() + suite.salt_len()]) {
        Some(keys) => keys,
        None => panic!("the length is the suite's"),
    }
}

fn open(receiver: &mut Receiver, packet: &mut [u8], rtcp: bool) -> Result<usize, Reject> {
    if rtcp { receiver.unprotect_rtcp(packet) } else { receiver.unprotect_rtp(packet) }
}

/// With `mki` bytes where an identifier belongs.
fn protected(sender: &mut Sender, plain: &[u8], rtcp: bool, mki: usize) -> Vec<u8> {
    let mut packet = plain.to_vec();
    let sealed = if rtcp { sender.protect_rtcp(&mut packet) } else { sender.protect_rtp(&mut packet) };
    assert_eq!(sealed, Ok(()), "{plain:?} opened");
    let end = packet.len();
    // The identifier stands before AES-CM's tag and behind all of AES-GCM's (RFC 3711 §3.1, RFC 7714 §8.2).
    let tag = match (end - plain.len(), rtcp) {
        (4 | 10, false) => end - plain.len(),
        (14, true) => 10,
        _ => 0,
    };
    packet.splice(end - tag..end - tag, vec![0xee; mki]);
    packet
}

fn voice(sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 160, 0xca, 0xfe, 0xba, 0xbe]);
    packet.extend_from_slice(&[0x7f; 40]);
    packet
}

fn report() -> Vec<u8> {
    vec![0x80, 201, 0, 1, 0xca, 0xfe, 0xba, 0xbe]
}
