//! The far ends of a call: their descriptions, their packets.

use std::net::{IpAddr, SocketAddr};

use media_bridge::rtp::RtpHeader;
use media_bridge::rtp::rtcp::{ReportBlock, write_bye, write_report};
use media_bridge::srtp::{Keys, Sender, Suite};
use types::LegId;

use crate::choices::Choices;

const BROWSER: &[u8] = include_bytes!("../../../media-bridge/src/sdp/fixtures/chromium_audio_video.sdp");
/// Where nobody is who is named anywhere.
pub(super) const OUTSIDER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 66));
/// A frame of Opus: silence, narrowband.
const OPUS: &[u8] = &[0x08, 0x0b, 0xe4, 0xc1, 0x36, 0xec, 0xc5, 0x80];

/// Where a leg's peer is by its descriptions; it has two ports and a place in each address family.
fn address(leg: LegId, place: u8) -> SocketAddr {
    let leg = (leg.0 % 8) as u8;
    let ip = match place {
        0 | 1 => IpAddr::from([198, 51, 100, leg]),
        2 => IpAddr::from([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, leg]),
        _ => OUTSIDER,
    };
    SocketAddr::new(ip, 6_000 + 2 * u16::from(place))
}

/// What a peer says of itself, well or badly.
pub(super) fn description(choices: &mut Choices<'_>, leg: LegId) -> Vec<u8> {
    let kind = choices.byte() % 16;
    let text = match kind {
        0..=8 => audio(choices, leg, kind),
        9 => return BROWSER.to_vec(),
        10 => return said_badly(BROWSER.to_vec(), choices),
        11 | 12 => return said_badly(audio(choices, leg, kind).into_bytes(), choices),
        13 => audio(choices, leg, 0).replace("c=IN IP4 198.51.100.", "c=IN IP4 0.0.0.0\r\ns=198.51.100."),
        14 => audio(choices, leg, 0).replace("m=audio 600", "m=audio 0"),
        _ => {
            let length = usize::from(choices.byte());
            return choices.bytes(length).to_vec();
        }
    };
    text.into_bytes()
}

fn audio(choices: &mut Choices<'_>, leg: LegId, kind: u8) -> String {
    let (place, shape) = (choices.byte() % 3, choices.byte());
    let codec = ["0", "8", "111", "0 8", "111 0"][usize::from(shape % 5)];
    let events = if shape & 0x80 != 0 { "" } else { " 101" };
    let direction = choices.of(&["sendrecv", "sendrecv", "sendrecv", "recvonly", "sendonly", "inactive"]);
    let at = address(leg, place);
    let family = if at.is_ipv4() { "IP4" } else { "IP6" };
    let proto = if kind == 6 || kind == 7 { "RTP/SAVP" } else { "RTP/AVP" };
    let (ip, port) = (at.ip(), at.port());
    let mut text = format!(
        "v=0\r\no=- {kind} {shape} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
         m=audio {port} {proto} {codec}{events}\r\na=rtpmap:111 opus/48000/2\r\na={direction}\r\n"
    );
    if !events.is_empty() {
        text.push_str("a=rtpmap:101 telephone-event/8000\r\n");
    }
    if (6..=8).contains(&kind) {
        let (tag, which) = (1 + choices.byte() % 4, choices.byte());
        let suite = Suite::ALL[usize::from(tag) - 1];
        // Key and salt in base64; only the first letter differs, so the last need not be looked at.
        let length = (suite.key_len() + suite.salt_len()) * 4 / 3 + usize::from(tag <= 2);
        let first = char::from(b'B' + (which & 3));
        let mki = if which & 0x40 == 0 { "" } else { "|2^20|1:4" };
        let key = format!("{first}{}", "A".repeat(length - 1));
        text.push_str(&format!("a=crypto:{tag} {} inline:{key}{mki}\r\n", suite.name()));
    }
    text
}

/// With one byte changed and the end cut off.
fn said_badly(mut text: Vec<u8>, choices: &mut Choices<'_>) -> Vec<u8> {
    let (at, byte, cut) = (choices.word(), choices.byte(), choices.word());
    let length = text.len();
    if let Some(place) = text.get_mut(usize::from(at) % length) {
        *place = byte;
    }
    if cut & 1 == 1 {
        text.truncate(usize::from(cut >> 1) % length);
    }
    text
}

/// Who speaks on a leg.
pub(super) struct Phone {
    leg: LegId,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    /// What it has said that it encrypts with.
    sender: Option<(Keys, Sender)>,
}

impl Phone {
    pub(super) fn new(leg: LegId) -> Phone {
        let ssrc = 0x1000 + u32::from(leg.0);
        Phone { leg, ssrc, sequence: 65_530, timestamp: u32::MAX - 1_000, sender: None }
    }

    pub(super) fn use_keys(&mut self, keys: Option<&Keys>) {
        if self.sender.as_ref().map(|(known, _)| known) != keys {
            self.sender = keys.map(|keys| (keys.clone(), Sender::new(keys)));
        }
    }

    /// Where the next packet comes from; nearly always from its own place.
    pub(super) fn source(&self, choices: &mut Choices<'_>) -> SocketAddr {
        address(self.leg, choices.of(&[0, 0, 0, 0, 1, 2, 3, 0]))
    }

    /// A packet of audio, of a digit, or of nothing known.
    pub(super) fn rtp(&mut self, choices: &mut Choices<'_>) -> Vec<u8> {
        let how = choices.byte();
        let payload_type = choices.of(&[0, 0, 0, 8, 8, 111, 111, 101, 101, 13, 127]);
        self.sequence = self.sequence.wrapping_add(match how & 0x0f {
            0..=9 => 1,
            10 => 2,
            11 => 0,
            12 => 0xfffe,
            13 => 2_900,
            14 => 3_100,
            _ => 30_000,
        });
        self.timestamp = self.timestamp.wrapping_add(match how >> 4 {
            0..=9 => 160,
            10 => 960,
            11 => 0,
            12 => 0xffff_f000,
            13 => 80,
            14 => 20_000,
            _ => 0x8000_0000,
        });
        let shape = choices.byte();
        if shape & 0xc0 == 0xc0 {
            self.ssrc = self.ssrc.wrapping_add(1);
        }
        let payload = self.payload(payload_type, shape);
        let mut packet = Vec::new();
        RtpHeader {
            payload_type,
            marker: shape & 1 == 1,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
        }
        .write(&mut packet);
        packet.extend_from_slice(&payload);
        self.seal(&mut packet, shape & 0x20 != 0, false);
        packet
    }

    /// A packet whose header and payload are anything, as its keys make it; none that they refuse.
    pub(super) fn odd_rtp(&mut self, choices: &mut Choices<'_>) -> Option<Vec<u8>> {
        let (first, second, length) = (choices.byte(), choices.byte(), choices.byte());
        self.sequence = self.sequence.wrapping_add(u16::from(choices.byte()) + 1);
        self.timestamp = self.timestamp.wrapping_add(u32::from(choices.word()));
        let mut packet = vec![0x80 | first & 0x3f, second];
        packet.extend_from_slice(&self.sequence.to_be_bytes());
        packet.extend_from_slice(&self.timestamp.to_be_bytes());
        packet.extend_from_slice(&self.ssrc.to_be_bytes());
        packet.extend_from_slice(choices.bytes(usize::from(length)));
        let (_, sender) = self.sender.as_mut()?;
        sender.protect_rtp(&mut packet).ok()?;
        Some(packet)
    }

    /// A compound packet of anything.
    pub(super) fn odd_rtcp(&mut self, choices: &mut Choices<'_>) -> Option<Vec<u8>> {
        let (first, second, length) = (choices.byte(), choices.byte(), choices.byte());
        let mut packet = vec![0x80 | first & 0x3f, 192 + second % 32, 0, second & 0x0f];
        packet.extend_from_slice(&self.ssrc.to_be_bytes());
        packet.extend_from_slice(choices.bytes(usize::from(length)));
        let (_, sender) = self.sender.as_mut()?;
        sender.protect_rtcp(&mut packet).ok()?;
        Some(packet)
    }

    fn payload(&self, payload_type: u8, shape: u8) -> Vec<u8> {
        match (shape >> 1 & 7, payload_type) {
            (6, _) => Vec::new(),
            (7, _) => vec![shape; 1_400],
            (_, 101) => vec![shape % 18, shape & 0x80, shape, 0xff],
            (_, 111) => OPUS.to_vec(),
            (0..=3, _) => vec![0x7f; 160],
            _ => vec![shape; 80],
        }
    }

    /// A report of what it hears of `ours`, or the end of its stream.
    pub(super) fn rtcp(&mut self, ours: u32, choices: &mut Choices<'_>) -> Vec<u8> {
        let how = choices.byte();
        let block =
            ReportBlock { ssrc: ours, fraction_lost: how, lsr: u32::from(how) << 8, ..Default::default() };
        let mut packet = Vec::new();
        write_report(&mut packet, self.ssrc, None, Some(block), "phone");
        if how & 1 == 1 {
            write_bye(&mut packet, self.ssrc);
        }
        self.seal(&mut packet, how & 0x20 != 0, true);
        packet
    }

    /// As it has agreed to, or in the clear.
    fn seal(&mut self, packet: &mut Vec<u8>, in_the_clear: bool, rtcp: bool) {
        let Some((_, sender)) = self.sender.as_mut().filter(|_| !in_the_clear) else { return };
        // A repeated one is left as it is.
        let _ = if rtcp { sender.protect_rtcp(packet) } else { sender.protect_rtp(packet) };
    }
}
