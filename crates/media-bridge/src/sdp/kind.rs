use crate::control::LegKind;

/// What kind of leg can answer an offer, by the transport of its first audio line that any of ours speaks (RFC 8866 §5.14,
/// RFC 8842 §5): browsers and their SIP libraries ask for DTLS-SRTP, whatever brought their signalling. What nobody of us
/// speaks, or cannot be read, is refused by the one for plain RTP, in words.
pub fn offered_kind(offer: &[u8]) -> LegKind {
    let mut kinds = offer.split(|b| *b == b'\n').filter_map(|line| {
        let line = std::str::from_utf8(line).ok()?.trim_end();
        let mut words = line.strip_prefix("m=audio ")?.split_ascii_whitespace();
        let (port, proto) = (words.next()?, words.next()?.to_ascii_uppercase());
        if port == "0" {
            return None;
        }
        match proto.as_str() {
            "RTP/AVP" | "RTP/AVPF" => Some(LegKind::Rtp),
            // Libraries of the early days wrote RTP/SAVPF for DTLS too; the fingerprint tells it from SDES.
            "RTP/SAVP" | "RTP/SAVPF" if of_a_browser(offer) => Some(LegKind::WebRtc),
            "RTP/SAVP" | "RTP/SAVPF" => Some(LegKind::Rtp),
            "UDP/TLS/RTP/SAVPF" | "UDP/TLS/RTP/SAVP" | "TCP/DTLS/RTP/SAVPF" => Some(LegKind::WebRtc),
            _ => None,
        }
    });
    kinds.next().unwrap_or(LegKind::Rtp)
}

fn of_a_browser(offer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(offer);
    text.contains("a=fingerprint:") && text.contains("a=ice-ufrag:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transport_of_the_first_audio_line_we_speak_says_what_the_leg_is() {
        let head = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n";
        let keys = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 00\r\n";
        for (lines, kind) in [
            ("m=audio 4000 RTP/AVP 0\r\n", LegKind::Rtp),
            ("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n", LegKind::WebRtc),
            ("m=audio 9 udp/tls/rtp/savp 111\r\n", LegKind::WebRtc),
            // SDES (RFC 4568), and alternatives (janus#214): a leg of RTP speaks both.
            ("m=audio 4000 RTP/SAVP 0\r\nm=audio 4002 RTP/AVP 0\r\n", LegKind::Rtp),
            ("m=audio 0 UDP/TLS/RTP/SAVPF 111\r\nm=audio 4002 RTP/AVP 0\r\n", LegKind::Rtp),
            ("m=video 9 UDP/TLS/RTP/SAVPF 96\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n", LegKind::WebRtc),
            ("m=audio 4000 RTP/SAVPF 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\r\n", LegKind::Rtp),
            ("m=image 4000 udptl t38\r\n", LegKind::Rtp),
        ] {
            assert_eq!(offered_kind(format!("{head}{lines}").as_bytes()), kind, "{lines}");
        }
        let old = format!("{head}m=audio 9 RTP/SAVPF 111\r\n{keys}");
        assert_eq!(offered_kind(old.as_bytes()), LegKind::WebRtc, "an old library");
        assert_eq!(offered_kind(b"\xff\xfe"), LegKind::Rtp);
    }
}
