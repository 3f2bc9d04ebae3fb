use media_bridge::control::{Codec, LegKind, Srtp};
use media_bridge::sdp::{Remote, choose_crypto, choose_for_answer, media_address};

/// A session description: what can be read can be used or refused in words.
pub fn fuzz_sdp(data: &[u8]) {
    assert!(media_address(data).is_none_or(|ip| !ip.is_unspecified()));
    let remote = match Remote::parse(data) {
        Ok(remote) => remote,
        Err(refusal) => {
            assert!(!format!("{refusal:?}").is_empty());
            return;
        }
    };
    assert_eq!(Remote::parse(data).as_ref(), Ok(&remote), "reading is the same every time");
    for kind in [LegKind::Rtp, LegKind::WebRtc] {
        let Ok(index) = remote.usable_audio(kind, Srtp::Optional) else { continue };
        let line = &remote.lines[index];
        assert_eq!(line.media, "audio");
        if let Ok(agreed) = choose_for_answer(line, &Codec::ALL) {
            assert!(line.formats.iter().any(|format| format.pt == agreed.pt), "{agreed:?} of {line:?}");
        }
        let taken = choose_crypto(line, Srtp::Optional);
        assert!(kind == LegKind::WebRtc || taken.is_some() || !line.is_secure(), "no key for {line:?}");
        let _ = (line.rtp_address(), line.rtcp_address(), line.formats_in_words());
    }
}
