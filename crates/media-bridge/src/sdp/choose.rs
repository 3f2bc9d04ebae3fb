//! Which format of theirs is which codec of ours.

use super::remote::{Format, MediaLine};
use super::{clock_rate, encoding_name};
use crate::control::{Codec, Refusal};

/// A telephone-event format (RFC 4733).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventFormat {
    /// Payload type.
    pub pt: u8,
    /// Clock in which durations count, Hz.
    pub clock: u32,
}

/// What both sides agreed for sending to the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Agreed {
    /// The codec.
    pub codec: Codec,
    /// Payload type that the peer gave it.
    pub pt: u8,
    /// Its telephone-event, if any.
    pub events: Option<EventFormat>,
    /// Payload type of comfort noise that the peer understands (RFC 3389), if any.
    pub noise: Option<u8>,
    /// Length of the packets that the peer wants, milliseconds; none: it said nothing.
    pub ptime: Option<u8>,
}

impl Agreed {
    /// Length of packets that we make, milliseconds: as asked, in what the codec has frames for; 20 unasked.
    pub fn packet_ms(self) -> u8 {
        let asked = self.ptime.unwrap_or(20).clamp(10, 60) / 10 * 10;
        match (self.codec, asked) {
            // RFC 6716 §2.1.4.
            (Codec::Opus, 30) => 20,
            (Codec::Opus, 50) => 40,
            (Codec::Opus | Codec::Pcmu | Codec::Pcma | Codec::G722, asked) => asked,
        }
    }
}

/// The first of `ours` that the offer has (`LegParams::codecs`), with its telephone-event.
pub fn choose_for_answer(line: &MediaLine, ours: &[Codec]) -> Result<Agreed, Refusal> {
    let found = ours.iter().find_map(|codec| find(line, *codec).map(|format| (*codec, format)));
    found.map(|(codec, format)| agreed(line, codec, format.pt)).ok_or_else(|| no_common(line, ours))
}

/// What an answer to our offer chose: the answerer's first format that we offered (RFC 3264 §6.1).
pub fn agree(line: &MediaLine, ours: &[Codec]) -> Result<Agreed, Refusal> {
    let found = line.formats.iter().find_map(|f| codec_of(f).filter(|c| ours.contains(c)).map(|c| (c, f.pt)));
    // Comfort noise is not ours to send: we offered none.
    let agreed = |(codec, pt)| Agreed { noise: None, ..agreed(line, codec, pt) };
    found.map(agreed).ok_or_else(|| no_common(line, ours))
}

fn agreed(line: &MediaLine, codec: Codec, pt: u8) -> Agreed {
    let noise = line.formats.iter().find(|f| is_noise(f) && f.clock == clock_rate(codec));
    // Who names a longest packet only has no wish below it.
    let ptime = line.ptime.or(line.maxptime.map(|_| 20));
    let ptime = ptime.map(|wanted| wanted.min(line.maxptime.unwrap_or(u8::MAX)));
    Agreed { codec, pt, events: events_for(line, codec), noise: noise.map(|f| f.pt), ptime }
}

/// RFC 3389 §4: `CN`, of the clock of the codec that it goes with.
fn is_noise(format: &Format) -> bool {
    format.encoding.eq_ignore_ascii_case("CN")
}

/// The telephone-event of the codec's own clock, else the one of 8 kHz (all that Firefox offers beside Opus), else what there
/// is (16 kHz beside G.722, of those who take that for its clock).
fn events_for(line: &MediaLine, codec: Codec) -> Option<EventFormat> {
    let is_event = |f: &&Format| f.encoding.eq_ignore_ascii_case("telephone-event") && f.clock >= 8_000;
    let of = |f: &Format| EventFormat { pt: f.pt, clock: f.clock };
    let with_clock = |clock: u32| line.formats.iter().filter(is_event).find(|f| f.clock == clock).map(of);
    let any = || line.formats.iter().find(is_event).map(of);
    with_clock(clock_rate(codec)).or_else(|| with_clock(8_000)).or_else(any)
}

fn find(line: &MediaLine, codec: Codec) -> Option<&Format> {
    line.formats.iter().find(|f| codec_of(f) == Some(codec))
}

fn codec_of(format: &Format) -> Option<Codec> {
    Codec::ALL.into_iter().find(|codec| {
        format.encoding.eq_ignore_ascii_case(encoding_name(*codec)) && format.clock == clock_rate(*codec) && {
            // RFC 7587 §7 demands two channels in the rtpmap; some write none.
            match codec {
                Codec::Opus => true,
                Codec::Pcmu | Codec::Pcma | Codec::G722 => format.channels == 1,
            }
        }
    })
}

fn no_common(line: &MediaLine, ours: &[Codec]) -> Refusal {
    let ours: Vec<String> =
        ours.iter().map(|c| format!("{}/{}", encoding_name(*c), clock_rate(*c))).collect();
    // Where a trunk passes audio on as it is, nothing may be left.
    let ours = if ours.is_empty() { "none of the trunk's codecs".to_owned() } else { ours.join(" ") };
    Refusal::NoCommonCodec { theirs: line.formats_in_words(), ours }
}
