//! What an Opus packet says of itself without being decoded (RFC 6716 §3).

/// The layers a packet's frames are coded with (RFC 6716 §3.1, table 2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Silk,
    Hybrid,
    Celt,
}

/// The TOC byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Toc {
    mode: Mode,
    /// Length of one frame in units of 2.5 ms.
    units: u32,
    stereo: bool,
    code: u8,
}

impl Toc {
    fn read(byte: u8) -> Toc {
        let config = byte >> 3;
        let low = u32::from(config & 3);
        let (mode, units) = match config {
            0..=11 => (Mode::Silk, [4, 8, 16, 24][low as usize]),
            12..=15 => (Mode::Hybrid, 4 << (low & 1)),
            16.. => (Mode::Celt, 1 << low),
        };
        Toc { mode, units, stereo: byte & 4 != 0, code: byte & 3 }
    }
}

/// Samples that the packet decodes to at `rate` Hz; none if it is longer than 120 ms or damaged (RFC 6716 §3.2.5, R5).
pub fn samples(packet: &[u8], rate: u32) -> Option<usize> {
    let (&first, rest) = packet.split_first()?;
    let toc = Toc::read(first);
    let frames = match toc.code {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(rest.first()? & 0x3f),
    };
    let units = frames * toc.units;
    (1..=48).contains(&units).then(|| (units * (rate / 400)) as usize)
}

/// Samples of one frame of the packet at `rate` Hz.
pub fn frame_samples(packet: &[u8], rate: u32) -> Option<usize> {
    Some(Toc::read(*packet.first()?).units as usize * (rate / 400) as usize)
}

/// Whether the packet has no SILK layer: a decoder in that mode uses no FEC.
pub fn is_celt(packet: &[u8]) -> bool {
    packet.first().is_some_and(|&first| Toc::read(first).mode == Mode::Celt)
}

/// Whether the packet carries in-band FEC for the frame before it: the LBRR flag of its first SILK frame
/// (RFC 6716 §4.2.3; the flags are the first bits of the range-coded data, each of probability one half).
pub fn has_fec(packet: &[u8]) -> bool {
    let Some(&first) = packet.first() else { return false };
    let toc = Toc::read(first);
    if toc.mode == Mode::Celt {
        return false;
    }
    let Some(flags) = first_frame_byte(packet, toc.code) else { return false };
    // VAD flags of each 20 ms, then one LBRR flag; for stereo the side channel's follow.
    let silk_frames = toc.units.div_ceil(8);
    let mid = flags >> (7 - silk_frames) & 1;
    let side = if toc.stereo { flags >> (6 - 2 * silk_frames) & 1 } else { 0 };
    mid | side == 1
}

/// The first byte of the first frame, behind the lengths of RFC 6716 §3.2; none if that frame is empty (DTX).
fn first_frame_byte(packet: &[u8], code: u8) -> Option<u8> {
    let mut rest = packet.get(1..)?;
    let mut empty = false;
    match code {
        0 | 1 => {}
        2 => (empty, rest) = length(rest)?,
        _ => {
            let count = *rest.first()?;
            rest = &rest[1..];
            if count & 0x40 != 0 {
                rest = skip_padding(rest)?;
            }
            if count & 0x80 != 0 {
                for n in 1..count & 0x3f {
                    let (zero, after) = length(rest)?;
                    empty |= zero && n == 1;
                    rest = after;
                }
            }
        }
    }
    rest.first().copied().filter(|_| !empty)
}

/// A frame length of one or two bytes (RFC 6716 §3.2.1): whether it is zero, and what follows.
fn length(rest: &[u8]) -> Option<(bool, &[u8])> {
    match *rest.first()? {
        252.. => rest.get(2..).map(|after| (false, after)),
        n => Some((n == 0, &rest[1..])),
    }
}

/// Skips the padding's length and takes the padding off the end (RFC 6716 §3.2.5).
fn skip_padding(mut rest: &[u8]) -> Option<&[u8]> {
    let mut padding = 0;
    loop {
        let (&n, after) = rest.split_first()?;
        rest = after;
        if n < 255 {
            padding += usize::from(n);
            break;
        }
        padding += 254;
    }
    rest.get(..rest.len().checked_sub(padding)?)
}
