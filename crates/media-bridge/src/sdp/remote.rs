use std::net::{IpAddr, SocketAddr};

use sdp_types::{Attribute, Media, Session};

use super::connection::address;
use super::crypto::Crypto;
use super::repair::{MAX_BYTES, repair};
use super::{Direction, RtcpTerms, secure};
use crate::control::{LegKind, Refusal, Srtp};

/// One payload format of a media line (RFC 8866 §6.6, §6.15).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Format {
    /// RTP payload type.
    pub pt: u8,
    /// Encoding name as written, e.g. `opus`; empty if unknown.
    pub encoding: String,
    /// RTP clock in Hz.
    pub clock: u32,
    /// Channels.
    pub channels: u8,
}

/// A certificate hash (RFC 8122).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fingerprint {
    /// Hash name in lower case, e.g. `sha-256`.
    pub algorithm: String,
    /// The hash.
    pub bytes: Vec<u8>,
}

/// ICE user fragment and password (RFC 8839 §5.4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IceCredentials {
    /// User fragment.
    pub ufrag: String,
    /// Password.
    pub pwd: String,
}

/// Who begins DTLS (RFC 8842 §5.2), as the speaker says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setup {
    /// The speaker begins.
    Active,
    /// The other begins.
    Passive,
    /// Whichever the other chooses.
    ActPass,
}

/// One `m=` line with what session level adds to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MediaLine {
    /// `audio`, `video`, …
    pub media: String,
    /// Port; 0 means rejected or disabled.
    pub port: u16,
    /// Transport as written.
    pub proto: String,
    /// Format list as written.
    pub fmt: String,
    /// Address from `c=`, media level first; the error says in words why there is none.
    pub address: Result<IpAddr, String>,
    /// Where RTCP goes (RFC 3605), if said.
    pub rtcp: Option<(u16, Option<IpAddr>)>,
    /// What it says of RTCP otherwise.
    pub rtcp_terms: RtcpTerms,
    /// Direction as the peer says it.
    pub direction: Direction,
    /// Packet duration that the peer wants to receive, milliseconds.
    pub ptime: Option<u8>,
    /// The longest that it takes, milliseconds.
    pub maxptime: Option<u8>,
    /// Payload formats in order of preference.
    pub formats: Vec<Format>,
    /// Identification tag (RFC 5888).
    pub mid: Option<String>,
    /// ICE credentials.
    pub ice: Option<IceCredentials>,
    /// Certificate hashes.
    pub fingerprints: Vec<Fingerprint>,
    /// DTLS role.
    pub setup: Option<Setup>,
    /// SRTP keys (RFC 4568), each with why not where it can not be used.
    pub crypto: Vec<Result<Crypto, String>>,
}

/// A peer's description, offer or answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remote {
    /// The `o=` line's value: an unchanged one means nothing changed (RFC 3264 §8).
    pub origin: String,
    /// All media lines, in order.
    pub lines: Vec<MediaLine>,
    /// Tags of the first BUNDLE group (RFC 9143).
    pub bundle: Vec<String>,
}

impl Remote {
    /// Reads a description. Candidates are ignored: a lite agent learns addresses from checks (field problem 7).
    pub fn parse(data: &[u8]) -> Result<Remote, Refusal> {
        if data.len() > MAX_BYTES {
            return Err(Refusal::Unparsable(format!("the description has more than {MAX_BYTES} bytes")));
        }
        let repaired = repair(data);
        let session =
            Session::parse(repaired.text.as_bytes()).map_err(|e| Refusal::Unparsable(e.to_string()))?;
        let bundle = values(&session.attributes, "group")
            .find_map(|v| v.strip_prefix("BUNDLE"))
            .map(|tags| tags.split_whitespace().map(str::to_owned).collect())
            .unwrap_or_default();
        let lines = session.medias.iter().map(|media| MediaLine::read(&session, media)).collect();
        Ok(Remote { origin: repaired.origin, lines, bundle })
    }

    /// The first audio line that a leg of this kind can use; where the choice is free, the first that encrypts.
    pub fn usable_audio(&self, kind: LegKind, srtp: Srtp) -> Result<usize, Refusal> {
        let best = match srtp {
            Srtp::IfOffered | Srtp::Optional => Srtp::Required,
            Srtp::Off | Srtp::Required => srtp,
        };
        self.first_audio(kind, best).or_else(|_| self.first_audio(kind, srtp))
    }

    fn first_audio(&self, kind: LegKind, srtp: Srtp) -> Result<usize, Refusal> {
        let mut problem = Refusal::Unusable("it has no m=audio line".to_owned());
        for (index, line) in self.lines.iter().enumerate().filter(|(_, l)| l.media == "audio") {
            match line.unusable_for(kind, srtp) {
                None => return Ok(index),
                Some(why) => problem = why,
            }
        }
        Err(problem)
    }
}

impl MediaLine {
    fn read(session: &Session, media: &Media) -> MediaLine {
        let own = &media.attributes;
        let both = || own.iter().chain(&session.attributes);
        let first =
            |name: &'static str| both().find(|a| a.attribute == name).and_then(|a| a.value.as_deref());
        let flag = |name: &'static str| both().any(|a| a.attribute == name);
        let connection = media.connections.first().or(session.connection.as_ref());
        MediaLine {
            media: media.media.to_ascii_lowercase(),
            port: media.port,
            proto: media.proto.clone(),
            fmt: media.fmt.clone(),
            address: match connection {
                Some(c) => address(&c.addrtype.to_string(), &c.connection_address),
                None => Err("it has no c= line".to_owned()),
            },
            rtcp: first("rtcp").and_then(rtcp),
            rtcp_terms: RtcpTerms {
                mux: flag("rtcp-mux") || flag("rtcp-mux-only"),
                reduced: flag("rtcp-rsize"),
                ..first("rtcp-xr").map(RtcpTerms::extended).unwrap_or_default()
            },
            direction: direction(own)
                .or_else(|| direction(&session.attributes))
                .unwrap_or(Direction::SendRecv),
            ptime: first("ptime").and_then(milliseconds),
            maxptime: first("maxptime").and_then(milliseconds),
            formats: formats(media),
            mid: values(own, "mid").next().map(str::to_owned),
            ice: ice(first("ice-ufrag"), first("ice-pwd")),
            fingerprints: fingerprints(own, &session.attributes),
            setup: first("setup").and_then(setup),
            // RFC 4568 §5: a media level attribute; keys at session level would serve two streams.
            crypto: values(own, "crypto").map(Crypto::read).collect(),
        }
    }

    /// Why this audio line can not be used, or none if it can.
    fn unusable_for(&self, kind: LegKind, srtp: Srtp) -> Option<Refusal> {
        let proto = self.proto.to_ascii_uppercase();
        let words = match kind {
            _ if self.port == 0 => "its m=audio line has port 0".to_owned(),
            LegKind::Rtp if !matches!(proto.as_str(), "RTP/AVP" | "RTP/AVPF" | "RTP/SAVP" | "RTP/SAVPF") => {
                format!("its m=audio line wants {proto}, this leg speaks RTP/AVP or RTP/SAVP")
            }
            LegKind::Rtp => match &self.address {
                Ok(_) => return secure::problem(self, srtp).map(Refusal::Srtp),
                Err(words) => words.clone(),
            },
            LegKind::WebRtc if !proto.ends_with("RTP/SAVPF") && !proto.ends_with("RTP/SAVP") => {
                format!("its m=audio line wants {proto}, this leg speaks UDP/TLS/RTP/SAVPF")
            }
            LegKind::WebRtc if self.fingerprints.is_empty() => "it has no usable a=fingerprint".to_owned(),
            LegKind::WebRtc if self.ice.is_none() => "it has no a=ice-ufrag and a=ice-pwd".to_owned(),
            LegKind::WebRtc => return None,
        };
        Some(Refusal::Unusable(words))
    }

    /// The line's transport is SRTP (RFC 3711 §12), by whatever way the keys come.
    pub fn is_secure(&self) -> bool {
        self.proto.to_ascii_uppercase().contains("RTP/SAVP")
    }

    /// Where the peer wants RTP; none while it is on hold by a null address (RFC 3264 §8.4) or rejected.
    pub fn rtp_address(&self) -> Option<SocketAddr> {
        let ip = self.address.as_ref().ok().copied().filter(|ip| !ip.is_unspecified())?;
        (self.port != 0).then_some(SocketAddr::new(ip, self.port))
    }

    /// Which way the peer lets media flow. `c=0.0.0.0` is hold as RFC 2543 knew it: nothing may be sent there, whatever
    /// the attribute says (RFC 3264 §8.4). Browsers write it always, their addresses are candidates.
    pub fn wanted(&self, kind: LegKind) -> Direction {
        let reachable = match kind {
            LegKind::Rtp => self.rtp_address().is_some(),
            LegKind::WebRtc => true,
        };
        match self.direction {
            direction if reachable => direction,
            Direction::SendRecv | Direction::SendOnly => Direction::SendOnly,
            Direction::RecvOnly | Direction::Inactive => Direction::Inactive,
        }
    }

    /// Where the peer wants RTCP: `a=rtcp`, else the port above (RFC 3550 §11).
    pub fn rtcp_address(&self) -> Option<SocketAddr> {
        let rtp = self.rtp_address()?;
        match self.rtcp {
            Some((port, ip)) => Some(SocketAddr::new(ip.unwrap_or(rtp.ip()), port)).filter(|a| a.port() != 0),
            None => rtp.port().checked_add(1).map(|port| SocketAddr::new(rtp.ip(), port)),
        }
    }

    /// Their formats in words, for `Warning`.
    pub fn formats_in_words(&self) -> String {
        let words: Vec<String> =
            self.formats
                .iter()
                .map(|f| {
                    if f.encoding.is_empty() {
                        f.pt.to_string()
                    } else {
                        format!("{}/{}", f.encoding, f.clock)
                    }
                })
                .collect();
        words.join(" ")
    }
}

fn values<'a>(attributes: &'a [Attribute], name: &'a str) -> impl Iterator<Item = &'a str> {
    attributes.iter().filter(move |a| a.attribute == name).filter_map(|a| a.value.as_deref())
}

/// A packet's length (RFC 8866 §6.4); longer than 255 is as good as any. Some write fractions.
fn milliseconds(value: &str) -> Option<u8> {
    let whole = value.trim().split('.').next()?.parse::<u32>().ok()?;
    (whole > 0).then(|| u8::try_from(whole).unwrap_or(u8::MAX))
}

fn rtcp(value: &str) -> Option<(u16, Option<IpAddr>)> {
    let mut words = value.split_whitespace();
    let port = words.next()?.parse().ok()?;
    let named = words.nth(1).zip(words.next());
    Some((port, named.and_then(|(kind, text)| address(kind, text).ok())))
}

fn direction(attributes: &[Attribute]) -> Option<Direction> {
    attributes.iter().rev().find_map(|a| match a.attribute.as_str() {
        "sendrecv" => Some(Direction::SendRecv),
        "sendonly" => Some(Direction::SendOnly),
        "recvonly" => Some(Direction::RecvOnly),
        "inactive" => Some(Direction::Inactive),
        _ => None,
    })
}

/// Formats of the `m=` line in its order, with their rtpmap or static meaning (RFC 3551 §6).
fn formats(media: &Media) -> Vec<Format> {
    let mut formats = Vec::new();
    for pt in media.fmt.split_whitespace().filter_map(|w| w.parse::<u8>().ok()).filter(|pt| *pt < 128) {
        let map = values(&media.attributes, "rtpmap").find_map(|v| {
            let (number, rest) = v.trim().split_once(char::is_whitespace)?;
            (number.parse() == Ok(pt)).then_some(rest.trim())
        });
        let format = match (map, pt) {
            (Some(map), _) => rtpmap(pt, map),
            (None, 0) => rtpmap(0, "PCMU/8000"),
            (None, 8) => rtpmap(8, "PCMA/8000"),
            (None, 9) => rtpmap(9, "G722/8000"),
            (None, 13) => rtpmap(13, "CN/8000"),
            (None, 18) => rtpmap(18, "G729/8000"),
            (None, _) => Format { pt, encoding: String::new(), clock: 0, channels: 1 },
        };
        formats.push(format);
    }
    formats
}

fn rtpmap(pt: u8, map: &str) -> Format {
    let mut parts = map.split('/');
    let encoding = parts.next().unwrap_or_default().trim().to_owned();
    let clock = parts.next().and_then(|c| c.trim().parse().ok()).unwrap_or(8_000);
    let channels = parts.next().and_then(|c| c.trim().parse().ok()).unwrap_or(1);
    Format { pt, encoding, clock, channels }
}

fn ice(ufrag: Option<&str>, pwd: Option<&str>) -> Option<IceCredentials> {
    let (ufrag, pwd) = (ufrag?.trim(), pwd?.trim());
    // RFC 8839 §5.4: 4 to 256 and 22 to 256 characters.
    let good = (4..=256).contains(&ufrag.len()) && (22..=256).contains(&pwd.len());
    good.then(|| IceCredentials { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() })
}

fn fingerprints(own: &[Attribute], session: &[Attribute]) -> Vec<Fingerprint> {
    let read = |attributes| -> Vec<Fingerprint> {
        values(attributes, "fingerprint").filter_map(fingerprint).collect()
    };
    let own = read(own);
    if own.is_empty() { read(session) } else { own }
}

fn fingerprint(value: &str) -> Option<Fingerprint> {
    let (algorithm, hash) = value.trim().split_once(char::is_whitespace)?;
    let algorithm = algorithm.to_ascii_lowercase();
    let bytes: Option<Vec<u8>> = hash
        .trim()
        .split(':')
        .map(|b| if b.len() == 2 { u8::from_str_radix(b, 16).ok() } else { None })
        .collect();
    let expected = match algorithm.as_str() {
        "sha-256" => 32,
        "sha-384" => 48,
        "sha-512" => 64,
        "sha-1" => 20,
        _ => return None,
    };
    let bytes = bytes.filter(|b| b.len() == expected)?;
    Some(Fingerprint { algorithm, bytes })
}

fn setup(value: &str) -> Option<Setup> {
    match value.trim() {
        "active" => Some(Setup::Active),
        "passive" => Some(Setup::Passive),
        "actpass" => Some(Setup::ActPass),
        _ => None,
    }
}
