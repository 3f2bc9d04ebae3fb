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
}

/// The first of `ours` that the offer has (`LegParams::codecs`), with its telephone-event.
pub fn choose_for_answer(line: &MediaLine, ours: &[Codec]) -> Result<Agreed, Refusal> {
    let found = ours.iter().find_map(|codec| find(line, *codec).map(|format| (*codec, format)));
    found.map(|(codec, format)| agreed(line, codec, format.pt)).ok_or_else(|| no_common(line, ours))
}

/// What an answer to our offer chose: the answerer's first format that we offered (RFC 3264 §6.1).
pub fn agree(line: &MediaLine, ours: &[Codec]) -> Result<Agreed, Refusal> {
    let found = line.formats.iter().find_map(|f| codec_of(f).filter(|c| ours.contains(c)).map(|c| (c, f.pt)));
    found.map(|(codec, pt)| agreed(line, codec, pt)).ok_or_else(|| no_common(line, ours))
}

fn agreed(line: &MediaLine, codec: Codec, pt: u8) -> Agreed {
    Agreed { codec, pt, events: events_for(line, codec) }
}

/// The telephone-event of the codec's own clock, else the one of 8 kHz (all that Firefox offers beside Opus).
fn events_for(line: &MediaLine, codec: Codec) -> Option<EventFormat> {
    let with_clock = |clock: u32| {
        let is = |f: &&Format| f.encoding.eq_ignore_ascii_case("telephone-event") && f.clock == clock;
        line.formats.iter().find(is).map(|f| EventFormat { pt: f.pt, clock })
    };
    with_clock(clock_rate(codec)).or_else(|| with_clock(8_000))
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
