//! Contexts through a call's life: rollovers, new keys, many streams, used-up keys.

use types::limits::SRTP_SOURCES;

use super::*;

const SSRC: u32 = 0x1234_5678;

/// A pair of contexts for each suite.
fn pairs() -> impl Iterator<Item = (Suite, Sender, Receiver)> {
    Suite::ALL.into_iter().map(|suite| {
        let keys = keys(suite, 7);
        (suite, Sender::new(&keys), Receiver::new(&keys, 0))
    })
}

#[test]
fn tags_have_the_length_of_their_suite() {
    // RFC 4568 §6.2: the short tag is RTP's only. RFC 7714 §13.2. SRTCP adds flag and index.
    for (suite, mut sender, _) in pairs() {
        let (rtp_tag, rtcp_tag) = match suite {
            Suite::AeadAes256Gcm | Suite::AeadAes128Gcm => (16, 16),
            Suite::AesCm128HmacSha1_80 => (10, 10),
            Suite::AesCm128HmacSha1_32 => (4, 10),
        };
        let (plain, report) = (rtp(SSRC, 1), rtcp(SSRC));
        assert_eq!(protect_rtp(&mut sender, &plain).len(), plain.len() + rtp_tag, "{suite:?}");
        assert_eq!(protect_rtcp(&mut sender, &report).len(), report.len() + 4 + rtcp_tag, "{suite:?}");
        assert!(rtcp_tag + 4 <= OVERHEAD);
    }
}

#[test]
fn a_stream_passes_three_rollovers() {
    // RFC 3711 §3.3.1: the rollover counter is in cipher and tag.
    for (suite, mut sender, mut receiver) in pairs() {
        let mut heard = Vec::new();
        for step in 0..3 * 65_536_u32 / 1_000 {
            let plain = rtp(SSRC, (step * 1_000) as u16);
            let sealed = protect_rtp(&mut sender, &plain);
            assert_eq!(open_rtp(&mut receiver, &sealed), Ok(plain), "{suite:?} step {step}");
            heard.push(sealed);
        }
        let again = open_rtp(&mut receiver, heard.last().unwrap());
        assert_eq!(again, Err(Reject::Replayed), "{suite:?}");
        assert!(open_rtp(&mut receiver, &heard[0]).is_err(), "{suite:?}");
    }
}

#[test]
fn csrcs_and_header_extensions_stay_readable_and_are_authenticated() {
    // RFC 3711 §3.1: encrypted from the payload on, authenticated from the header on.
    for (suite, mut sender, mut receiver) in pairs() {
        let mut plain = rtp(SSRC, 9);
        plain[0] = 0x92;
        plain.splice(12..12, [1, 2, 3, 4, 5, 6, 7, 8, 0xbe, 0xde, 0, 1, 0x10, 0xaa, 0, 0]);
        let sealed = protect_rtp(&mut sender, &plain);
        assert_eq!(sealed[..28], plain[..28], "{suite:?}");
        assert_ne!(sealed[28..60], plain[28..60], "{suite:?}");
        for at in [13, 25] {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(open_rtp(&mut receiver, &changed), Err(Reject::NotAuthentic), "{suite:?}");
        }
        assert_eq!(open_rtp(&mut receiver, &sealed), Ok(plain), "{suite:?}");
    }
}

#[test]
fn an_empty_payload_and_a_report_without_blocks_pass() {
    for (suite, mut sender, mut receiver) in pairs() {
        let (plain, report) = (rtp(SSRC, 9)[..12].to_vec(), rtcp(SSRC)[..8].to_vec());
        assert_eq!(open_rtp(&mut receiver, &protect_rtp(&mut sender, &plain)), Ok(plain), "{suite:?}");
        assert_eq!(open_rtcp(&mut receiver, &protect_rtcp(&mut sender, &report)), Ok(report), "{suite:?}");
    }
}

#[test]
fn a_header_longer_than_the_packet_is_malformed() {
    for (suite, mut sender, mut receiver) in pairs() {
        let mut extended = rtp(SSRC, 1);
        extended[0] = 0x90;
        extended[14..16].copy_from_slice(&[0xff, 0xff]);
        let mut version = rtp(SSRC, 1);
        version[0] = 0x40;
        for bad in [&extended[..], &version[..], &rtp(SSRC, 1)[..11], &rtcp(SSRC)[..], &[]] {
            assert_eq!(open_rtp(&mut receiver, bad), Err(Reject::Malformed), "{suite:?}");
            assert_eq!(sender.protect_rtp(&mut bad.to_vec()), Err(Refused::Malformed), "{suite:?}");
        }
        for bad in [&rtcp(SSRC)[..7], &rtp(SSRC, 1)[..], &[]] {
            assert_eq!(open_rtcp(&mut receiver, bad), Err(Reject::Malformed), "{suite:?}");
            assert_eq!(sender.protect_rtcp(&mut bad.to_vec()), Err(Refused::Malformed), "{suite:?}");
        }
        // Long enough for the packet, not for a tag.
        assert_eq!(open_rtp(&mut receiver, &rtp(SSRC, 1)[..12]), Err(Reject::NotAuthentic), "{suite:?}");
        assert_eq!(open_rtcp(&mut receiver, &rtcp(SSRC)[..8]), Err(Reject::Malformed), "{suite:?}");
    }
}

#[test]
fn a_packet_is_never_protected_twice() {
    // RFC 3711 §9.1: one keystream for two plaintexts gives both away.
    for (suite, mut sender, _) in pairs() {
        protect_rtp(&mut sender, &rtp(SSRC, 500));
        protect_rtp(&mut sender, &rtp(SSRC, 498));
        for (sequence, refused) in [(500, true), (498, true), (499, false), (300, true), (501, false)] {
            let mut packet = rtp(SSRC, sequence);
            packet[20] ^= 0xff;
            let before = packet.clone();
            let result = sender.protect_rtp(&mut packet);
            assert_eq!(result, if refused { Err(Refused::Repeated) } else { Ok(()) }, "{suite:?} {sequence}");
            assert_eq!(packet == before, refused, "{suite:?} {sequence}");
        }
    }
}

#[test]
fn each_stream_has_its_own_indices() {
    // RFC 3711 §3.2.3: a context for each SSRC.
    for (suite, mut sender, mut receiver) in pairs() {
        for (ssrc, sequence) in [(1, 65_535), (2, 10), (1, 0), (2, 11), (2, 65_000), (1, 1)] {
            let result = sender.protect_rtp(&mut rtp(ssrc, sequence));
            let old = (ssrc, sequence) == (2, 65_000);
            assert_eq!(result, if old { Err(Refused::Repeated) } else { Ok(()) }, "{suite:?}");
        }
        for ssrc in [7, 8] {
            let sealed = protect_rtcp(&mut sender, &rtcp(ssrc));
            let index = sealed.windows(4).any(|word| word == [0x80, 0, 0, 0]);
            assert!(index, "{suite:?}: the first SRTCP index is 0 (RFC 3711 §3.4)");
            assert_eq!(open_rtcp(&mut receiver, &sealed), Ok(rtcp(ssrc)), "{suite:?}");
        }
    }
}

#[test]
fn streams_are_bounded_and_forged_ones_leave_no_state() {
    for (suite, mut sender, mut receiver) in pairs() {
        let mut forger = Sender::new(&keys(suite, 8));
        for ssrc in 0..SRTP_SOURCES as u32 {
            let forged = protect_rtp(&mut forger, &rtp(1_000 + ssrc, 1));
            assert_eq!(open_rtp(&mut receiver, &forged), Err(Reject::NotAuthentic), "{suite:?}");
        }
        for ssrc in 0..SRTP_SOURCES as u32 {
            let sealed = protect_rtp(&mut sender, &rtp(ssrc, 1));
            assert!(open_rtp(&mut receiver, &sealed).is_ok(), "{suite:?} {ssrc}");
        }
        assert_eq!(sender.protect_rtp(&mut rtp(999, 1)), Err(Refused::TooManySources));
        let further = protect_rtp(&mut Sender::new(&keys(suite, 7)), &rtp(999, 1));
        assert_eq!(open_rtp(&mut receiver, &further), Err(Reject::TooManySources), "{suite:?}");
        let known = protect_rtp(&mut sender, &rtp(0, 2));
        assert!(open_rtp(&mut receiver, &known).is_ok(), "{suite:?}");
    }
}

#[test]
fn a_receiver_that_comes_after_the_first_rollover_finds_the_counter() {
    for (suite, mut sender, mut receiver) in pairs() {
        protect_rtp(&mut sender, &rtp(SSRC, 65_535));
        let sealed = protect_rtp(&mut sender, &rtp(SSRC, 3));
        assert_eq!(open_rtp(&mut receiver, &sealed), Ok(rtp(SSRC, 3)), "{suite:?}");
        let next = protect_rtp(&mut sender, &rtp(SSRC, 4));
        assert_eq!(open_rtp(&mut receiver, &next), Ok(rtp(SSRC, 4)), "{suite:?}");
    }
}

#[test]
fn after_new_keys_the_counter_may_go_on_or_begin_anew() {
    // RFC 3711 §3.3.1 and RFC 4568 §7.1.4 differ, and so do peers.
    for goes_on in [true, false] {
        for (suite, mut sender, mut receiver) in pairs() {
            for sequence in [30_000, 60_000, 20_000, 50_000, 10_000] {
                let sealed = protect_rtp(&mut sender, &rtp(SSRC, sequence));
                assert!(open_rtp(&mut receiver, &sealed).is_ok());
            }
            let old = protect_rtp(&mut sender, &rtp(SSRC, 10_001));
            let new = keys(suite, 9);
            if goes_on {
                sender.rekey(&new);
            } else {
                sender = Sender::new(&new);
            }
            let mut before = receiver;
            let mut receiver = before.successor(&new, 0);
            assert_eq!(open_rtp(&mut receiver, &old), Err(Reject::NotAuthentic), "{suite:?}");
            assert_eq!(open_rtp(&mut before, &old), Ok(rtp(SSRC, 10_001)), "{suite:?}");
            for sequence in [10_002, 40_000, 65_000, 5_000] {
                let sealed = protect_rtp(&mut sender, &rtp(SSRC, sequence));
                let opened = open_rtp(&mut receiver, &sealed);
                assert_eq!(opened, Ok(rtp(SSRC, sequence)), "{suite:?} {goes_on} {sequence}");
                assert_eq!(open_rtp(&mut receiver, &sealed), Err(Reject::Replayed), "{suite:?}");
            }
            let report = protect_rtcp(&mut sender, &rtcp(SSRC));
            assert_eq!(open_rtcp(&mut receiver, &report), Ok(rtcp(SSRC)), "{suite:?}");
        }
    }
}

#[test]
fn an_agreed_master_key_identifier_is_passed_over() {
    // RFC 3711 §3.1: before the tag; RFC 7714 §8.2, §9.2: at the end.
    let mki = [0xab; 5];
    for (suite, mut sender, _) in pairs() {
        let mut receiver = Receiver::new(&keys(suite, 7), mki.len());
        let (rtp_end, rtcp_end) = match suite {
            Suite::AeadAes256Gcm | Suite::AeadAes128Gcm => (0, 0),
            Suite::AesCm128HmacSha1_80 => (10, 10),
            Suite::AesCm128HmacSha1_32 => (4, 10),
        };
        let mut sealed = protect_rtp(&mut sender, &rtp(SSRC, 1));
        let at = sealed.len() - rtp_end;
        sealed.splice(at..at, mki);
        assert_eq!(open_rtp(&mut receiver, &sealed), Ok(rtp(SSRC, 1)), "{suite:?}");
        let mut sealed = protect_rtcp(&mut sender, &rtcp(SSRC));
        let at = sealed.len() - rtcp_end;
        sealed.splice(at..at, mki);
        assert_eq!(open_rtcp(&mut receiver, &sealed), Ok(rtcp(SSRC)), "{suite:?}");
    }
}

#[test]
fn a_used_up_key_protects_nothing_more() {
    // RFC 3711 §9.2: 2^31 SRTCP packets. The last SRTP index is in `window`'s tests.
    for (suite, mut sender, mut receiver) in pairs() {
        sender.set_next_rtcp(SSRC, (1 << 31) - 1);
        let last = protect_rtcp(&mut sender, &rtcp(SSRC));
        assert_eq!(open_rtcp(&mut receiver, &last), Ok(rtcp(SSRC)), "{suite:?}");
        assert_eq!(sender.protect_rtcp(&mut rtcp(SSRC)), Err(Refused::Expired), "{suite:?}");
    }
}

#[test]
fn reports_in_the_clear_are_taken_if_they_are_authentic() {
    // RFC 3711 §3.4: the encryption flag is a matter of each packet.
    let keys = keys(Suite::AesCm128HmacSha1_80, 7);
    let authentication = kdf::derive(&keys, kdf::Label::RtcpAuthentication);
    let mut packet = rtcp(SSRC);
    packet.extend_from_slice(&5_u32.to_be_bytes());
    let tag = hmac::HmacSha1::new(&authentication).tag(&packet, None);
    packet.extend_from_slice(&tag[..10]);
    let mut receiver = Receiver::new(&keys, 0);
    assert_eq!(open_rtcp(&mut receiver, &packet), Ok(rtcp(SSRC)));
}
