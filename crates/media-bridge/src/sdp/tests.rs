use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::control::{Bandwidth, LegKind, Refusal, Srtp};

const CHROMIUM: &str = include_str!("fixtures/chromium_audio_video.sdp");
const FIREFOX: &str = include_str!("fixtures/firefox.sdp");
const LINPHONE: &str = include_str!("fixtures/linphone.sdp");
const BARESIP: &str = include_str!("fixtures/baresip.sdp");
const SIPP: &str = include_str!("fixtures/sipp.sdp");
const CARRIER: &str = include_str!("fixtures/carrier.sdp");
const ALL: [&str; 6] = [CHROMIUM, FIREFOX, LINPHONE, BARESIP, SIPP, CARRIER];

fn parse(text: &str) -> Remote {
    Remote::parse(text.as_bytes()).unwrap()
}

fn audio(text: &str, kind: LegKind) -> MediaLine {
    let remote = parse(text);
    let index = remote.usable_audio(kind, Srtp::Off).unwrap();
    remote.lines[index].clone()
}

fn origin() -> Origin {
    Origin { id: 7, version: 1, address: "192.0.2.2".parse::<IpAddr>().unwrap() }
}

fn rtp_audio(codecs: &[Codec]) -> LocalAudio {
    LocalAudio {
        codecs: codecs.iter().map(|c| (offer_pt(*c), *c)).collect(),
        events: offer_events(codecs),
        noise: None,
        direction: Direction::SendRecv,
        bandwidth: Bandwidth::Full,
        rtcp: RtcpTerms::default(),
        transport: LocalTransport::Rtp { port: 20_000, secure: false, crypto: Vec::new() },
    }
}

fn webrtc_audio(agreed: Agreed, line: &MediaLine) -> LocalAudio {
    let rtc = WebRtcLocal {
        ice: IceCredentials { ufrag: "uuuuuuuu".into(), pwd: "pppppppppppppppppppppppp".into() },
        fingerprint: "AB:CD".into(),
        setup: Setup::Passive,
        candidates: vec!["192.0.2.2:4000".parse().unwrap(), "127.0.0.1:4000".parse().unwrap()],
        tcp: vec!["192.0.2.2:4000".parse().unwrap(), "[2001:db8::1]:4000".parse().unwrap()],
        mid: line.mid.clone().unwrap(),
        bundle: true,
        ssrc: 99,
        cname: "cname99".into(),
    };
    LocalAudio {
        codecs: vec![(agreed.pt, agreed.codec)],
        events: agreed.events.into_iter().collect(),
        noise: agreed.noise,
        direction: line.direction.reversed(),
        bandwidth: Bandwidth::Narrow,
        rtcp: RtcpTerms::default(),
        transport: LocalTransport::WebRtc(rtc),
    }
}

#[test]
fn chromium_gets_opus_and_its_48_khz_telephone_event() {
    let line = audio(CHROMIUM, LegKind::WebRtc);
    let agreed = choose_for_answer(&line, &[Codec::Opus, Codec::Pcmu]).unwrap();
    let events = Some(EventFormat { pt: 110, clock: 48_000 });
    assert_eq!(agreed, Agreed { codec: Codec::Opus, pt: 111, events, noise: None, ptime: None });
    let narrow = choose_for_answer(&line, &[Codec::Pcmu]).unwrap();
    assert_eq!(narrow.events, Some(EventFormat { pt: 126, clock: 8_000 }));
    assert_eq!(line.setup, Some(Setup::ActPass));
}

#[test]
fn firefox_gets_opus_with_the_only_telephone_event_it_has_and_a_session_level_fingerprint_counts() {
    let line = audio(FIREFOX, LegKind::WebRtc);
    let agreed = choose_for_answer(&line, &[Codec::Opus]).unwrap();
    assert_eq!((agreed.pt, agreed.events), (109, Some(EventFormat { pt: 101, clock: 8_000 })));
    assert_eq!(line.fingerprints[0].bytes[31], 2);
    assert_eq!(line.ice.unwrap().ufrag, "d6d06b5e");
}

#[test]
fn the_answer_to_a_browser_has_one_codec_and_rejects_video_in_place() {
    let remote = parse(CHROMIUM);
    let line = &remote.lines[0];
    let agreed = choose_for_answer(line, &[Codec::Opus]).unwrap();
    let body = Body::Like { theirs: &remote, audio: 0 };
    let text = String::from_utf8(write(origin(), body, &webrtc_audio(agreed, line))).unwrap();
    for expected in [
        "a=ice-lite\r\n",
        "a=group:BUNDLE 0\r\n",
        "m=audio 4000 UDP/TLS/RTP/SAVPF 111 110\r\n",
        "a=candidate:1 1 udp 2130706431 192.0.2.2 4000 typ host\r\n",
        "a=candidate:2 1 udp 2130706175 127.0.0.1 4000 typ host\r\n",
        "a=candidate:3 1 tcp 1520435199 192.0.2.2 4000 typ host tcptype passive\r\n",
        "a=candidate:4 1 tcp 1520434943 2001:db8::1 4000 typ host tcptype passive\r\n",
        "a=end-of-candidates\r\n",
        "a=setup:passive\r\n",
        "a=fmtp:111 minptime=10;useinbandfec=1;maxplaybackrate=8000;maxaveragebitrate=20000\r\n",
        "a=rtpmap:110 telephone-event/48000\r\n",
        "m=video 0 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:1\r\na=inactive\r\n",
    ] {
        assert!(text.contains(expected), "{expected} is missing in\n{text}");
    }
    assert!(!text.contains("telephone-event/8000") && !text.contains("a=extmap"));
    assert!(text.find("m=audio") < text.find("m=video"));
}

#[test]
fn an_offer_to_a_trunk_stays_below_1200_bytes() {
    let text = write(origin(), Body::Offer, &rtp_audio(&[Codec::Pcmu, Codec::Pcma, Codec::Opus]));
    assert!(text.len() < 600, "{} bytes", text.len());
    let line = audio(std::str::from_utf8(&text).unwrap(), LegKind::Rtp);
    assert_eq!(line.fmt, "0 8 111 110 101");
    assert_eq!((line.ptime, line.direction), (Some(20), Direction::SendRecv));
}

#[test]
fn softphones_and_carriers_are_understood() {
    let line = audio(LINPHONE, LegKind::Rtp);
    assert_eq!(choose_for_answer(&line, &[Codec::Opus]).unwrap().events.unwrap().pt, 101);
    assert_eq!(choose_for_answer(&line, &[Codec::Pcma]).unwrap().events.unwrap().pt, 100);
    let line = audio(BARESIP, LegKind::Rtp);
    assert_eq!(line.rtcp_address(), Some("127.0.0.1:31067".parse().unwrap()));
    let line = audio(SIPP, LegKind::Rtp);
    assert_eq!(
        choose_for_answer(&line, &[Codec::Pcmu]).unwrap(),
        Agreed { codec: Codec::Pcmu, pt: 0, events: None, noise: None, ptime: None }
    );
    assert_eq!(line.rtcp_address(), Some("127.0.0.1:6001".parse().unwrap()));
}

#[test]
fn a_media_level_connection_wins_and_origin_numbers_above_64_bits_do_no_harm() {
    let line = audio(CARRIER, LegKind::Rtp);
    assert_eq!(line.rtp_address(), Some("198.51.100.22:26310".parse().unwrap()));
    assert_eq!(line.ptime, Some(30));
    assert!(parse(CARRIER).origin.contains("18446744073709551617"));
}

#[test]
fn an_answer_chooses_in_its_own_order_and_with_its_own_payload_types() {
    let line = audio(CARRIER, LegKind::Rtp);
    assert_eq!(agree(&line, &[Codec::Pcmu, Codec::Pcma]).unwrap().codec, Codec::Pcma);
    assert_eq!(choose_for_answer(&line, &[Codec::Pcmu, Codec::Pcma]).unwrap().codec, Codec::Pcmu);
}

#[test]
fn no_common_codec_names_both_lists() {
    let line = audio(SIPP, LegKind::Rtp);
    let refusal = choose_for_answer(&line, &[Codec::Opus]).unwrap_err();
    assert_eq!(refusal, Refusal::NoCommonCodec { theirs: "PCMU/8000".into(), ours: "opus/48000".into() });
}

#[test]
fn hold_by_direction_or_by_a_zero_address_leaves_nowhere_to_send() {
    let held = SIPP.replace("c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0");
    assert_eq!(audio(&held, LegKind::Rtp).rtp_address(), None);
    let line = audio(&format!("{SIPP}a=sendonly\n"), LegKind::Rtp);
    assert_eq!(line.direction.reversed(), Direction::RecvOnly);
    let inactive = audio(&SIPP.replace("t=0 0", "t=0 0\na=inactive"), LegKind::Rtp);
    assert_eq!(inactive.direction, Direction::Inactive);
}

#[test]
fn the_first_audio_line_that_the_leg_can_speak_is_taken() {
    let text = SIPP.replace("m=audio", "m=audio 5998 RTP/SAVP 0\nm=audio");
    let remote = parse(&text);
    assert_eq!(remote.usable_audio(LegKind::Rtp, Srtp::Off), Ok(1));
    let body = Body::Like { theirs: &remote, audio: 1 };
    let answer = String::from_utf8(write(origin(), body, &rtp_audio(&[Codec::Pcmu]))).unwrap();
    assert!(
        answer.contains("m=audio 0 RTP/SAVP 0\r\n") && answer.contains("m=audio 20000 RTP/AVP 0 101\r\n")
    );
    assert!(matches!(remote.usable_audio(LegKind::WebRtc, Srtp::Off), Err(Refusal::Unusable(_))));
}

#[test]
fn line_ends_order_and_foreign_bytes_are_tolerated() {
    let mut bytes = b"\r\nv=0\r\ns=caf\xe9\r\no=x 1 1 IN IP4 1.2.3.4\r\n".to_vec();
    bytes.extend_from_slice(
        b"a=tool:\xff\xfe\r\nc=IN IP4  127.0.0.1 \r\nz=nonsense\r\nb=TIAS:99999999999999999999999\r\n",
    );
    bytes.extend_from_slice(
        b"m=audio  6000  RTP/AVP 8 0\r\na=rtpmap:8 pcma/8000\r\nb=x\r\nc=IN IP4 192.0.2.9\r\n",
    );
    let remote = Remote::parse(&bytes).unwrap();
    let line = &remote.lines[remote.usable_audio(LegKind::Rtp, Srtp::Off).unwrap()];
    assert_eq!(line.rtp_address(), Some("192.0.2.9:6000".parse().unwrap()));
    assert_eq!(choose_for_answer(line, &[Codec::Pcma]).unwrap().pt, 8);
}

#[test]
fn nonsense_is_refused_in_words() {
    assert!(matches!(Remote::parse(b""), Err(Refusal::Unparsable(_))));
    assert!(matches!(Remote::parse(b"hello"), Err(Refusal::Unparsable(_))));
    assert!(matches!(Remote::parse(b"v=0\r\nm=audio x RTP/AVP 0\r\n"), Err(Refusal::Unparsable(_))));
    let no_audio = Remote::parse(b"v=0\r\n").unwrap().usable_audio(LegKind::Rtp, Srtp::Off);
    assert!(matches!(no_audio, Err(Refusal::Unusable(_))));
    let no_print = CHROMIUM.replace("a=fingerprint", "a=fp");
    assert!(matches!(parse(&no_print).usable_audio(LegKind::WebRtc, Srtp::Off), Err(Refusal::Unusable(_))));
}

#[test]
fn only_a_bundle_group_names_bundled_lines() {
    assert_eq!(parse(CHROMIUM).bundle, ["0", "1"]);
    assert!(parse(SIPP).bundle.is_empty());
}

fn mangled() -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 0..40);
    (0..ALL.len(), edits).prop_map(|(which, edits)| {
        let mut bytes = ALL[which].as_bytes().to_vec();
        for (at, byte, kind) in edits {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => bytes.truncate(at.max(1)),
            }
        }
        bytes
    })
}

proptest! {
    #[test]
    fn whatever_comes_is_answered_or_refused_and_our_answer_can_be_read(bytes in mangled()) {
        let Ok(remote) = Remote::parse(&bytes) else { return Ok(()) };
        for kind in [LegKind::Rtp, LegKind::WebRtc] {
            let Ok(index) = remote.usable_audio(kind, Srtp::Off) else { continue };
            let line = &remote.lines[index];
            let _ = (line.rtp_address(), line.rtcp_address(), line.formats_in_words());
            let Ok(agreed) = choose_for_answer(line, &[Codec::Opus, Codec::Pcmu, Codec::Pcma]) else { continue };
            let mut local = rtp_audio(&[agreed.codec]);
            local.codecs = vec![(agreed.pt, agreed.codec)];
            let answer = write(origin(), Body::Like { theirs: &remote, audio: index }, &local);
            let read = Remote::parse(&answer).unwrap();
            prop_assert_eq!(read.lines.len(), remote.lines.len());
            prop_assert_eq!(agree(&read.lines[index], &[agreed.codec]).unwrap().pt, agreed.pt);
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut text = b"v=0\n".to_vec();
        text.extend(bytes);
        let _ = Remote::parse(&text);
    }
}
