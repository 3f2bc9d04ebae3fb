//! Our descriptions. Written straight: their whole vocabulary is below.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use super::choose::EventFormat;
use super::crypto::Crypto;
use super::remote::{IceCredentials, MediaLine, Remote, Setup};
use super::{Direction, RtcpTerms, clock_rate, encoding_name};
use crate::control::{Bandwidth, Codec};

/// Who speaks (RFC 8866 §5.2). The version grows only when the description changes (RFC 3264 §8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// Session id.
    pub id: u64,
    /// Version.
    pub version: u64,
    /// Our address.
    pub address: IpAddr,
}

/// The audio line, same for offer and answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalAudio {
    /// Codecs with payload types, best first.
    pub codecs: Vec<(u8, Codec)>,
    /// Telephone-events.
    pub events: Vec<EventFormat>,
    /// Comfort noise (RFC 3389), where the peer offered it.
    pub noise: Option<u8>,
    /// Direction as we say it.
    pub direction: Direction,
    /// Ask an Opus sender for no more than this, at a bitrate where it still sends FEC (design §1).
    pub bandwidth: Bandwidth,
    /// How RTCP travels, and what it tells.
    pub rtcp: RtcpTerms,
    /// How media travels.
    pub transport: LocalTransport,
}

/// Our side of the transport.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LocalTransport {
    /// RTP on a port of its own.
    Rtp {
        /// RTP port; RTCP is one above.
        port: u16,
        /// A first offer is made as RTP/SAVP; later descriptions keep the profile that they find.
        secure: bool,
        /// Keys that are offered, or the one taken.
        crypto: Vec<Crypto>,
    },
    /// ICE-lite and DTLS-SRTP.
    WebRtc(WebRtcLocal),
}

/// What a browser needs to know of us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebRtcLocal {
    /// Our ICE credentials.
    pub ice: IceCredentials,
    /// SHA-256 of our certificate, colon-separated upper-case hex.
    pub fingerprint: String,
    /// DTLS role.
    pub setup: Setup,
    /// Our addresses, best first.
    pub candidates: Vec<SocketAddr>,
    /// Addresses where we take connections, for browsers that can not send UDP (RFC 6544).
    pub tcp: Vec<SocketAddr>,
    /// Tag of the line.
    pub mid: String,
    /// Whether the line goes into a BUNDLE group.
    pub bundle: bool,
    /// SSRC that we send.
    pub ssrc: u32,
    /// Canonical name of it.
    pub cname: String,
}

/// Which lines the description has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body<'a> {
    /// One audio line of ours: the session's first offer.
    Offer,
    /// Every line of the peer's latest description, all but `audio` rejected: an answer (RFC 3264 §6) or a later offer (§8).
    Like {
        /// Their description.
        theirs: &'a Remote,
        /// Index of the line taken.
        audio: usize,
    },
}

/// Payload type under which we offer a codec.
pub fn offer_pt(codec: Codec) -> u8 {
    match codec {
        Codec::Opus => 111,
        Codec::Pcmu => 0,
        Codec::Pcma => 8,
        Codec::G722 => 9,
    }
}

/// The telephone-events that belong to an offer of these codecs: one for each clock (RFC 4733 §2.1).
pub fn offer_events(codecs: &[Codec]) -> Vec<EventFormat> {
    let has = |clock| codecs.iter().any(|c| clock_rate(*c) == clock);
    let events = [EventFormat { pt: 110, clock: 48_000 }, EventFormat { pt: 101, clock: 8_000 }];
    events.into_iter().filter(|e| has(e.clock)).collect()
}

/// Writes the description.
pub fn write(origin: Origin, body: Body<'_>, audio: &LocalAudio) -> Vec<u8> {
    let mut out = String::with_capacity(1_200);
    // Writing to a String can not fail.
    let _ = write_all(&mut out, origin, body, audio);
    out.into_bytes()
}

fn write_all(out: &mut String, origin: Origin, body: Body<'_>, audio: &LocalAudio) -> std::fmt::Result {
    let family = family(origin.address);
    write!(out, "v=0\r\no=- {} {} IN {family} {}\r\n", origin.id, origin.version, origin.address)?;
    write!(out, "s=-\r\nc=IN {family} {}\r\nt=0 0\r\n", origin.address)?;
    if let LocalTransport::WebRtc(rtc) = &audio.transport {
        out.push_str("a=ice-lite\r\n");
        if rtc.bundle {
            write!(out, "a=group:BUNDLE {}\r\n", rtc.mid)?;
        }
    }
    match body {
        Body::Offer => {
            let proto = match audio.transport {
                LocalTransport::Rtp { secure: true, .. } => "RTP/SAVP",
                LocalTransport::Rtp { secure: false, .. } => "RTP/AVP",
                LocalTransport::WebRtc(_) => "UDP/TLS/RTP/SAVPF",
            };
            audio_line(out, proto, audio)
        }
        Body::Like { theirs, audio: taken } => {
            for (index, line) in theirs.lines.iter().enumerate() {
                if index == taken { audio_line(out, &line.proto, audio)? } else { rejected_line(out, line)? }
            }
            Ok(())
        }
    }
}

fn family(ip: IpAddr) -> &'static str {
    match ip {
        IpAddr::V4(_) => "IP4",
        IpAddr::V6(_) => "IP6",
    }
}

fn rejected_line(out: &mut String, line: &MediaLine) -> std::fmt::Result {
    write!(out, "m={} 0 {} {}\r\n", line.media, line.proto, line.fmt)?;
    if let Some(mid) = &line.mid {
        write!(out, "a=mid:{mid}\r\n")?;
    }
    out.write_str("a=inactive\r\n")
}

fn audio_line(out: &mut String, proto: &str, audio: &LocalAudio) -> std::fmt::Result {
    let port = match &audio.transport {
        LocalTransport::Rtp { port, .. } => *port,
        // RFC 9429 §5.3.1: 9 where candidates say it.
        LocalTransport::WebRtc(rtc) => rtc.candidates.first().map_or(9, SocketAddr::port),
    };
    write!(out, "m=audio {port} {proto}")?;
    let codecs = audio.codecs.iter().map(|(pt, _)| *pt);
    for pt in codecs.chain(audio.noise).chain(audio.events.iter().map(|e| e.pt)) {
        write!(out, " {pt}")?;
    }
    out.push_str("\r\n");
    match &audio.transport {
        LocalTransport::WebRtc(rtc) => webrtc_lines(out, rtc)?,
        LocalTransport::Rtp { crypto, .. } => {
            crypto.iter().try_for_each(|line| line.write(out))?;
            audio.rtcp.write(out)?;
        }
    }
    if audio.rtcp.reduced {
        out.push_str("a=rtcp-rsize\r\n");
    }
    for (pt, codec) in &audio.codecs {
        let channels = match codec {
            Codec::Opus => "/2",
            Codec::Pcmu | Codec::Pcma | Codec::G722 => "",
        };
        write!(out, "a=rtpmap:{pt} {}/{}{channels}\r\n", encoding_name(*codec), clock_rate(*codec))?;
        if *codec == Codec::Opus {
            // `maxplaybackrate` alone drops browsers below the rate at which they send FEC: both belong together.
            let most = match audio.bandwidth {
                Bandwidth::Narrow => ";maxplaybackrate=8000;maxaveragebitrate=20000",
                Bandwidth::Wide => ";maxplaybackrate=16000;maxaveragebitrate=32000",
                Bandwidth::Full => "",
            };
            write!(out, "a=fmtp:{pt} minptime=10;useinbandfec=1{most}\r\n")?;
        }
    }
    if let Some(pt) = audio.noise {
        write!(out, "a=rtpmap:{pt} CN/8000\r\n")?;
    }
    for event in &audio.events {
        write!(out, "a=rtpmap:{} telephone-event/{}\r\na=fmtp:{} 0-15\r\n", event.pt, event.clock, event.pt)?;
    }
    write!(out, "a=ptime:20\r\na={}\r\n", audio.direction.as_str())
}

fn webrtc_lines(out: &mut String, rtc: &WebRtcLocal) -> std::fmt::Result {
    // RFC 8445 §5.1.2.1: host preference 126, then our order, component 1.
    let priority = |preference: u32, order: usize, most: u32| {
        let local_preference = most - u32::try_from(order).unwrap_or(u32::MAX).min(most);
        (preference << 24) | (local_preference << 8) | 255
    };
    for (order, candidate) in rtc.candidates.iter().enumerate() {
        let (number, priority) = (order + 1, priority(126, order, 65_535));
        let (ip, port) = (candidate.ip(), candidate.port());
        write!(out, "a=candidate:{number} 1 udp {priority} {ip} {port} typ host\r\n")?;
    }
    for (order, candidate) in rtc.tcp.iter().enumerate() {
        // Below all of UDP; RFC 6544 §4.2: direction preference 4 of a passive one in the upper three bits.
        let (number, priority) = (rtc.candidates.len() + order + 1, priority(90, order, (4 << 13) | 0x1fff));
        let (ip, port) = (candidate.ip(), candidate.port());
        write!(out, "a=candidate:{number} 1 tcp {priority} {ip} {port} typ host tcptype passive\r\n")?;
    }
    let setup = match rtc.setup {
        Setup::Active => "active",
        Setup::Passive => "passive",
        Setup::ActPass => "actpass",
    };
    write!(out, "a=end-of-candidates\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", rtc.ice.ufrag, rtc.ice.pwd)?;
    write!(out, "a=fingerprint:sha-256 {}\r\na=setup:{setup}\r\na=rtcp-mux\r\n", rtc.fingerprint)?;
    if !rtc.mid.is_empty() {
        write!(out, "a=mid:{}\r\n", rtc.mid)?;
    }
    // No header extensions: one stream on one line needs none, and each would be bytes of every packet.
    write!(out, "a=msid:webtrunk audio\r\na=ssrc:{} cname:{}\r\n", rtc.ssrc, rtc.cname)
}
