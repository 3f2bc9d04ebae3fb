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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn toc(config: u8, stereo: bool, code: u8) -> u8 {
        config << 3 | (stereo as u8) << 2 | code
    }

    /// RFC 6716 §3.1, table 2: frame lengths of all 32 configurations, in units of 2.5 ms.
    #[test]
    fn every_configuration_has_its_length() {
        let silk = [4, 8, 16, 24].repeat(3);
        let hybrid = [4, 8].repeat(2);
        let celt = [1, 2, 4, 8].repeat(4);
        let lengths: Vec<usize> = silk.into_iter().chain(hybrid).chain(celt).collect();
        for (config, units) in (0..32).zip(lengths) {
            let packet = [toc(config, false, 0), 0];
            assert_eq!(samples(&packet, 8000), Some(units * 20), "config {config}");
            assert_eq!(frame_samples(&packet, 48_000), Some(units * 120));
            assert_eq!(is_celt(&packet), config >= 16);
        }
    }

    /// RFC 6716 §3.2: code 0 one frame, 1 and 2 two, 3 a count; §3.2.5 R5: 120 ms at most.
    #[test]
    fn frame_count_multiplies_the_length() {
        assert_eq!(samples(&[toc(1, false, 1), 0, 0], 8000), Some(320));
        assert_eq!(samples(&[toc(1, false, 2), 1, 0, 0], 8000), Some(320));
        assert_eq!(samples(&[toc(1, false, 3), 6, 0], 8000), Some(960));
        assert_eq!(samples(&[toc(1, false, 3), 7, 0], 8000), None, "140 ms");
        assert_eq!(samples(&[toc(1, false, 3), 0], 8000), None, "no frame");
        assert_eq!(samples(&[toc(1, false, 3)], 8000), None);
        assert_eq!(samples(&[], 8000), None);
    }

    /// RFC 6716 §4.2.3: VAD flags come first, one per 20 ms, then the LBRR flag; the side channel's follow the mid's.
    #[test]
    fn the_flag_is_found_behind_the_vad_flags_of_each_length() {
        for (config, bit) in [(0, 6), (1, 6), (2, 5), (3, 4), (12, 6), (15, 6)] {
            assert!(has_fec(&[toc(config, false, 0), 1 << bit]), "config {config}");
            assert!(!has_fec(&[toc(config, false, 0), !(1 << bit)]), "config {config}");
        }
        for (config, mid, side) in [(1, 6, 4), (2, 5, 2), (3, 4, 0)] {
            assert!(has_fec(&[toc(config, true, 0), 1 << mid]));
            assert!(has_fec(&[toc(config, true, 0), 1 << side]));
            assert!(!has_fec(&[toc(config, true, 0), !(1 << mid | 1 << side)]));
            assert!(!has_fec(&[toc(config, false, 0), 1 << side]));
        }
        assert!(!has_fec(&[toc(16, false, 0), 0xff]), "no SILK layer, no LBRR");
        assert!(!has_fec(&[toc(1, false, 0)]), "an empty frame is DTX");
    }

    /// RFC 6716 §3.2.4 and §3.2.5: lengths and padding in front of the first frame.
    #[test]
    fn the_first_frame_is_found_behind_lengths_and_padding() {
        let fec = 0x40;
        assert!(has_fec(&[toc(1, false, 1), fec, 0]));
        assert!(has_fec(&[toc(1, false, 2), 1, fec, 0]));
        assert!(!has_fec(&[toc(1, false, 2), 0, fec]), "the first of the two is empty");
        assert!(has_fec(&[&[toc(1, false, 2), 252, 1, fec][..], &[0; 300]].concat()), "two bytes of length");
        assert!(has_fec(&[toc(1, false, 3), 2, fec, 0]), "CBR");
        assert!(has_fec(&[toc(1, false, 3), 0x80 | 3, 1, 1, fec, 0, 0]), "VBR");
        assert!(!has_fec(&[toc(1, false, 3), 0x80 | 3, 0, 1, fec, 0]), "VBR, first empty");
        assert!(has_fec(&[toc(1, false, 3), 0x40 | 1, 2, fec, 0, 0]), "padded");
        assert!(!has_fec(&[toc(1, false, 3), 0x40 | 1, 2, 0, fec]), "padding is no frame");
        assert!(
            has_fec(&[&[toc(1, false, 3), 0x41, 255, 1, fec][..], &[0; 255]].concat()),
            "254 + 1 bytes of padding"
        );
        assert!(!has_fec(&[toc(1, false, 3), 0x41, 9, fec]), "more padding than packet");
    }

    proptest! {
        #[test]
        fn no_packet_makes_the_reader_panic(packet in prop::collection::vec(any::<u8>(), 0..60)) {
            has_fec(&packet);
            if let Some(n) = samples(&packet, 48_000) {
                prop_assert!((120..=5760).contains(&n));
            }
        }

        /// libopus agrees about lengths wherever it decodes.
        #[test]
        fn libopus_decodes_as_many_samples_as_announced(packet in prop::collection::vec(any::<u8>(), 1..60)) {
            let mut decoder = ::opus::Decoder::new(8000, ::opus::Channels::Mono).unwrap();
            let mut out = [0; 960];
            if let Ok(n) = decoder.decode(&packet, &mut out, false) {
                prop_assert_eq!(samples(&packet, 8000), Some(n));
            }
        }
    }
}
