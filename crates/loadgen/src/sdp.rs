//! The descriptions that browsers and SIP parties send here, and what is read from the answers.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::stun::Credentials;

/// A codec of the bench.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Codec {
    /// Opus.
    Opus,
    /// G.711 mu-law.
    Pcmu,
    /// G.722.
    G722,
}

impl Codec {
    /// The payload type that Chromium gives it.
    pub fn pt(self) -> u8 {
        match self {
            Codec::Opus => 111,
            Codec::Pcmu => 0,
            Codec::G722 => 9,
        }
    }

    /// Timestamp units of 20 ms. G.722 counts in 8 kHz (RFC 3551 §4.5.2).
    pub fn frame(self) -> u32 {
        match self {
            Codec::Opus => 960,
            Codec::Pcmu | Codec::G722 => 160,
        }
    }

    /// Its name as SDP and rtpengine write it.
    pub fn name(self) -> &'static str {
        match self {
            Codec::Opus => "opus",
            Codec::Pcmu => "PCMU",
            Codec::G722 => "G722",
        }
    }

    /// Its lines in a browser's offer, with the telephone-event of the same clock.
    fn lines(self) -> (&'static str, &'static str) {
        match self {
            Codec::Opus => (
                "111 110",
                "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
                 a=rtpmap:110 telephone-event/48000\r\n",
            ),
            Codec::Pcmu => ("0 126", "a=rtpmap:0 PCMU/8000\r\na=rtpmap:126 telephone-event/8000\r\n"),
            Codec::G722 => ("9 126", "a=rtpmap:9 G722/8000\r\na=rtpmap:126 telephone-event/8000\r\n"),
        }
    }
}

/// What a browser's offer holds.
pub struct Browser<'a> {
    /// Where its media comes from.
    pub address: SocketAddrV4,
    /// Its ICE credentials.
    pub ice: &'a Credentials,
    /// Of its certificate.
    pub fingerprint: &'a str,
    /// The one codec.
    pub codec: Codec,
    /// Whether Opus is offered with one channel, which no browser does.
    pub mono: bool,
    /// Its SSRC.
    pub ssrc: u32,
}

/// A browser's offer, in Chromium's form.
pub fn offer(browser: &Browser<'_>) -> String {
    let (formats, rtpmaps) = browser.codec.lines();
    let rtpmaps = if browser.mono { rtpmaps.replace("48000/2", "48000/1") } else { rtpmaps.to_owned() };
    let (ip, port) = (browser.address.ip(), browser.address.port());
    let Credentials { ufrag, password } = browser.ice;
    format!(
        "v=0\r\no=- {ssrc} 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\na=msid-semantic: WMS\r\n\
         m=audio {port} UDP/TLS/RTP/SAVPF {formats}\r\nc=IN IP4 {ip}\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
         a=candidate:1 1 udp 2122260223 {ip} {port} typ host generation 0\r\n\
         a=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\na=ice-options:trickle\r\n\
         a=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\n\
         {rtpmaps}a=ssrc:{ssrc} cname:bench\r\n",
        ssrc = browser.ssrc,
        fingerprint = browser.fingerprint,
    )
}

/// A SIP party's description.
pub fn party(address: SocketAddrV4, codec: Codec) -> String {
    let (ip, port, pt, name) = (address.ip(), address.port(), codec.pt(), codec.name());
    let clock = if codec == Codec::Opus { "48000/2" } else { "8000" };
    format!(
        "v=0\r\no=party 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP {pt} 101\r\n\
         a=rtpmap:{pt} {name}/{clock}\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\n\
         a=sendrecv\r\n"
    )
}

/// What a browser needs of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The other side's ICE credentials.
    pub ice: Credentials,
    /// Its address.
    pub address: SocketAddrV4,
    /// Its first payload type.
    pub pt: u8,
}

fn value<'a>(sdp: &'a str, name: &str) -> Option<&'a str> {
    sdp.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// Reads an answer to a browser; of several candidates one on loopback is taken.
pub fn read_answer(sdp: &str) -> Option<Answer> {
    let ice = Credentials {
        ufrag: value(sdp, "a=ice-ufrag:")?.to_owned(),
        password: value(sdp, "a=ice-pwd:")?.to_owned(),
    };
    let candidate = |line: &str| {
        let words: Vec<&str> = line.strip_prefix("a=candidate:")?.split(' ').collect();
        let [_, "1", transport, _, ip, port, ..] = words[..] else { return None };
        let udp = transport.eq_ignore_ascii_case("udp");
        udp.then_some(SocketAddrV4::new(ip.parse().ok()?, port.parse().ok()?))
    };
    let found: Vec<SocketAddrV4> = sdp.lines().filter_map(candidate).collect();
    let address = found.iter().find(|address| address.ip().is_loopback()).or(found.first())?;
    let pt = audio(sdp)?.1;
    Some(Answer { ice, address: *address, pt })
}

/// The port and first payload type of the audio section.
fn audio(sdp: &str) -> Option<(u16, u8)> {
    let words: Vec<&str> = value(sdp, "m=audio ")?.split(' ').collect();
    let [port, _, pt, ..] = words[..] else { return None };
    Some((port.parse().ok()?, pt.parse().ok()?))
}

/// Where a SIP party is to send, and with which payload type: address of `c=`, port of `m=`.
pub fn read_party(sdp: &str) -> Option<(SocketAddrV4, u8)> {
    let ip: Ipv4Addr = value(sdp, "c=IN IP4 ")?.parse().ok()?;
    let (port, pt) = audio(sdp)?;
    Some((SocketAddrV4::new(ip, port), pt))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_gives_credentials_the_loopback_candidate_and_the_payload_type() {
        let sdp = "v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 110\r\na=ice-ufrag:abcd\r\n\
                   a=ice-pwd:0123456789012345678901\r\na=candidate:1 1 udp 5 10.0.0.1 8443 typ host\r\n\
                   a=candidate:2 1 UDP 4 127.0.0.1 8443 typ host\r\na=candidate:3 2 udp 4 127.0.0.1 8444 typ host\r\n";
        let answer = read_answer(sdp).expect("an answer");
        assert_eq!(answer.address, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8443));
        assert_eq!((answer.ice.ufrag.as_str(), answer.pt), ("abcd", 111));
        assert_eq!(read_answer("v=0\r\n"), None);
    }

    #[test]
    fn a_partys_own_description_is_read_back() {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 4000);
        assert_eq!(read_party(&party(address, Codec::G722)), Some((address, 9)));
    }
}
