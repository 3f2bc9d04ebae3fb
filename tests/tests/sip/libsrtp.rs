//! Our SRTP contexts against libsrtp2, the implementation that most phones and browsers carry: both directions of every
//! suite, over rollovers, with header extensions, CSRCs, master key identifiers and RTCP in the clear.

use e2e::tool::{Tool, bytes, hex};
use media_bridge::srtp::{Keys, Receiver, Reject, Sender, Suite};

const SSRC: u32 = 0x5501_a0b2;
/// Of a stream that passes three rollovers, with steps small and large, and packets that overtake others.
const SEQUENCES: [u16; 19] = [
    65_533, 65_534, 65_535, 0, 1, 3, 2, 20_000, 50_000, 49_999, 65_530, 10, 65_529, 32_000, 64_000, 30_000,
    60_000, 5, 65_535,
];

/// tests/tools/libsrtp.py
struct LibSrtp(Tool);

impl LibSrtp {
    fn start() -> LibSrtp {
        LibSrtp(Tool::start("libsrtp"))
    }

    fn session(&mut self, name: &str, suite: &str, keys: &Keys, mki: &[u8]) {
        let made = self.0.ask(&format!("new {name} {suite} {} {}", hex(keys.secret()), hex(mki)));
        assert_eq!(made, "made", "{suite}");
    }

    /// The packet, or libsrtp's error.
    fn packet(&mut self, operation: &str, name: &str, packet: &[u8]) -> Result<Vec<u8>, String> {
        let answer = self.0.ask(&format!("{operation} {name} {}", hex(packet)));
        if answer.starts_with("error") { Err(answer) } else { Ok(bytes(&answer)) }
    }
}

fn keys(suite: Suite) -> Keys {
    let secret: Vec<u8> = (0..suite.key_len() + suite.salt_len()).map(|n| (n * 37 + 11) as u8).collect();
    Keys::new(suite, &secret).expect("the suite's length")
}

/// Every third packet has CSRCs, every second a header extension.
fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let (csrcs, extended) = (sequence % 3, sequence % 2);
    let mut packet = vec![0x80 | (extended as u8) << 4 | csrcs as u8, 8];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    (0..csrcs).for_each(|n| packet.extend_from_slice(&[1, 2, 3, n as u8]));
    if extended == 1 {
        packet.extend_from_slice(&[0xbe, 0xde, 0, 2, 0x10, 1, 0x22, 7, 8, 9, 0, 0]);
    }
    packet.extend((0..sequence % 200).map(|n| n as u8));
    packet
}

fn rtcp(ssrc: u32, n: u8) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(&[0x81, 202, 0, 3]);
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(&[1, 4, b'n', b'a', b'm', n, 0, 0]);
    packet
}

fn opened(packet: &mut Vec<u8>, length: Result<usize, Reject>) -> Result<Vec<u8>, Reject> {
    packet.truncate(length?);
    Ok(packet.clone())
}

#[test]
fn libsrtp_opens_what_we_protect_in_every_suite_over_rollovers() {
    let mut lib = LibSrtp::start();
    for suite in Suite::ALL {
        let name = suite.name();
        lib.session(name, name, &keys(suite), &[]);
        let mut sender = Sender::new(&keys(suite));
        for (n, sequence) in SEQUENCES.into_iter().enumerate() {
            let plain = rtp(SSRC, sequence);
            let mut sealed = plain.clone();
            sender.protect_rtp(&mut sealed).expect("protected");
            assert_eq!(lib.packet("unprotect_rtp", name, &sealed), Ok(plain), "{name} packet {n}");
            assert!(lib.packet("unprotect_rtp", name, &sealed).is_err(), "{name}: twice");
            let report = rtcp(SSRC, n as u8);
            let mut sealed = report.clone();
            sender.protect_rtcp(&mut sealed).expect("protected");
            assert_eq!(lib.packet("unprotect_rtcp", name, &sealed), Ok(report), "{name} report {n}");
        }
        let mut other = rtp(SSRC + 1, 7);
        sender.protect_rtp(&mut other).expect("protected");
        assert_eq!(
            lib.packet("unprotect_rtp", name, &other),
            Ok(rtp(SSRC + 1, 7)),
            "{name}: a second stream"
        );
    }
}

#[test]
fn we_open_what_libsrtp_protects_in_every_suite_over_rollovers() {
    let mut lib = LibSrtp::start();
    for suite in Suite::ALL {
        for (name, mki) in [("plain", &[][..]), ("identified", &[0xca, 0xfe, 0xba, 0xbe])] {
            lib.session(name, suite.name(), &keys(suite), mki);
            let mut receiver = Receiver::new(&keys(suite), mki.len());
            for (n, sequence) in SEQUENCES.into_iter().enumerate() {
                let what = format!("{} {name} packet {n}", suite.name());
                let plain = rtp(SSRC, sequence);
                let mut sealed = lib.packet("protect_rtp", name, &plain).expect("protected");
                let mut again = sealed.clone();
                let length = receiver.unprotect_rtp(&mut sealed);
                assert_eq!(opened(&mut sealed, length), Ok(plain), "{what}");
                assert_eq!(receiver.unprotect_rtp(&mut again), Err(Reject::Replayed), "{what}");
                let report = rtcp(SSRC, n as u8);
                let mut sealed = lib.packet("protect_rtcp", name, &report).expect("protected");
                let length = receiver.unprotect_rtcp(&mut sealed);
                assert_eq!(opened(&mut sealed, length), Ok(report), "{what}: its report");
            }
        }
    }
}

#[test]
fn we_open_what_libsrtp_sends_as_rtcp_in_the_clear() {
    // RFC 3711 §3.4, RFC 7714 §9.3: the encryption flag is not set, the tag is there.
    let mut lib = LibSrtp::start();
    for suite in Suite::ALL {
        let name = suite.name();
        lib.session(name, &format!("{name}+clear"), &keys(suite), &[]);
        let mut receiver = Receiver::new(&keys(suite), 0);
        for n in 0..3 {
            let report = rtcp(SSRC, n);
            let mut tagged = lib.packet("protect_rtcp", name, &report).expect("protected");
            assert!(tagged.starts_with(&report), "{name}: it is in the clear");
            let mut damaged = tagged.clone();
            damaged[9] ^= 1;
            assert_eq!(receiver.unprotect_rtcp(&mut damaged), Err(Reject::NotAuthentic), "{name}");
            let length = receiver.unprotect_rtcp(&mut tagged);
            assert_eq!(opened(&mut tagged, length), Ok(report), "{name} report {n}");
        }
    }
}
