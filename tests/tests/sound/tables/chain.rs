//! What codecs alone make of speech and of losses: what both ends of a call say, and what an end hears of what reaches it.

use e2e::rtp::mulaw;
use loadgen::engine::Report;
use loadgen::line::Line;
use media_bridge::codec::{Decoder, Encoder, Law, MAX_SAMPLES, NARROW, WIDE, g722};
use media_bridge::control::Codec;
use media_bridge::effort::Effort;

/// Of the speech, frames of 20 ms before and after a clip: jitter buffers and pairs settle, the last frame comes out.
pub const BEFORE: usize = 50;
pub const AFTER: usize = 25;
/// What a browser's decoder gives, Hz.
pub const BROWSER_RATE: u32 = 48_000;

/// Narrowband over G.711 or wideband over G.722.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Band {
    Narrow,
    Wide,
}

impl Band {
    pub fn rate(self) -> u32 {
        match self {
            Band::Narrow => NARROW,
            Band::Wide => WIDE,
        }
    }

    /// How many a debug build has time for on one core.
    pub fn calls_at_once(self) -> usize {
        match self {
            Band::Narrow => 100,
            Band::Wide => 49,
        }
    }

    /// As a heading.
    pub fn title(self) -> &'static str {
        match self {
            Band::Narrow => "Narrowband: Opus and PCMU",
            Band::Wide => "Wideband: Opus and G.722",
        }
    }

    fn codec(self) -> Codec {
        match self {
            Band::Narrow => Codec::Pcmu,
            Band::Wide => Codec::G722,
        }
    }

    fn frame(self) -> usize {
        self.rate() as usize / 50
    }
}

/// Packets in their places; none: it did not come.
pub type Packets<'a> = Vec<Option<&'a [u8]>>;

/// What comes through this line.
pub fn over<'a>(packets: &'a [Vec<u8>], line: &Line) -> Packets<'a> {
    let arrives = |n: usize| !line.loses(n as u64);
    packets.iter().enumerate().map(|(n, packet)| arrives(n).then_some(packet.as_slice())).collect()
}

/// With silence before and after, in whole frames.
fn padded(clip: &[i16], rate: u32) -> Vec<i16> {
    let frame = rate as usize / 50;
    let mut samples = vec![0; BEFORE * frame];
    samples.extend(clip);
    samples.resize(clip.len().div_ceil(frame) * frame + (BEFORE + AFTER) * frame, 0);
    samples
}

/// The clip at 16 kHz as a browser sends it that has heard from us of this loss: RFC 7587 with what our answers ask for.
pub fn browser_says(wide: &[i16], band: Band, loss_percent: i32) -> Vec<Vec<u8>> {
    let mut encoder =
        opus::Encoder::new(WIDE, opus::Channels::Mono, opus::Application::Voip).expect("encoder");
    let (rate, bandwidth) = match band {
        Band::Narrow => (20_000, opus::Bandwidth::Narrowband),
        Band::Wide => (32_000, opus::Bandwidth::Wideband),
    };
    encoder.set_bitrate(opus::Bitrate::Bits(rate)).expect("bitrate");
    encoder.set_max_bandwidth(bandwidth).expect("bandwidth");
    encoder.set_inband_fec(true).expect("FEC");
    encoder.set_packet_loss_perc(loss_percent).expect("loss");
    let samples = padded(wide, WIDE);
    samples
        .as_chunks::<320>()
        .0
        .iter()
        .map(|frame| encoder.encode_vec(frame, 1275).expect("encoded"))
        .collect()
}

/// The clip, of the band's own rate, as a phone sends it.
pub fn phone_says(clip: &[i16], band: Band) -> Vec<Vec<u8>> {
    let samples = padded(clip, band.rate());
    coded(&samples, band)
}

fn coded(samples: &[i16], band: Band) -> Vec<Vec<u8>> {
    let mut wide = g722::Encoder::default();
    let code = |frame: &[i16]| {
        let mut payload = Vec::new();
        match band {
            Band::Narrow => Law::Mu.encode(frame, &mut payload),
            Band::Wide => wide.encode(frame, &mut payload),
        }
        payload
    };
    samples.chunks_exact(band.frame()).map(code).collect()
}

/// What a phone hears that fills with what the lost frames may have been (ITU-T G.711 Appendix I).
pub fn phone_conceals(packets: &Packets<'_>, band: Band) -> Vec<i16> {
    let mut decoder = Decoder::new(band.codec(), band.rate()).expect("decoder");
    let hear = |packet: &Option<&[u8]>| {
        let mut samples = [0; MAX_SAMPLES];
        match packet {
            Some(payload) => drop(decoder.decode(payload, &mut samples).expect("decoded")),
            None => decoder.conceal(&mut samples[..band.frame()]),
        }
        samples[..band.frame()].to_vec()
    };
    packets.iter().flat_map(hear).collect()
}

/// What a phone hears; what does not come is silence.
pub fn phone_hears(packets: &Packets<'_>, band: Band) -> Vec<i16> {
    let mut wide = g722::Decoder::default();
    let hear = |packet: &Option<&[u8]>| {
        let mut samples = vec![0; band.frame()];
        match (packet, band) {
            (None, _) => {}
            (Some(payload), Band::Narrow) => samples = payload.iter().map(|byte| mulaw(*byte)).collect(),
            (Some(payload), Band::Wide) => wide.decode(payload, &mut samples),
        }
        samples
    };
    packets.iter().flat_map(hear).collect()
}

/// What libopus makes of these packets, lost ones recovered from the packet after them where that has redundancy.
pub fn opus_heard(packets: &Packets<'_>, rate: u32) -> Vec<i16> {
    let mut decoder = opus::Decoder::new(rate, opus::Channels::Mono).expect("decoder");
    let mut heard = Vec::new();
    for (n, packet) in packets.iter().enumerate() {
        let mut samples = vec![0; rate as usize / 50];
        let next = packets.get(n + 1).copied().flatten();
        let decoded = match (packet, next) {
            (Some(packet), _) => decoder.decode(packet, &mut samples, false),
            (None, Some(next)) => decoder.decode(next, &mut samples, true),
            (None, None) => decoder.decode(&[], &mut samples, false),
        };
        decoded.expect("decoded");
        heard.extend(samples);
    }
    heard
}

/// What the phone would be sent of what comes of a browser.
pub fn best_to_phone(packets: &Packets<'_>, band: Band) -> Vec<Vec<u8>> {
    coded(&opus_heard(packets, band.rate()), band)
}

/// What the browser would be sent of what comes of a phone, lost frames concealed, by encoders of this complexity that hear of
/// the same loss as the gateway's at the same packets.
pub fn best_to_browser(
    packets: &Packets<'_>,
    band: Band,
    complexity: u8,
    reports: &[Report],
) -> Vec<Vec<u8>> {
    let mut decoder = Decoder::new(band.codec(), band.rate()).expect("decoder");
    let mut encoder = Encoder::new(Codec::Opus, band.rate()).expect("encoder");
    encoder.set_effort(Effort { least: complexity, most: complexity }, true);
    let mut sent = Vec::new();
    let mut reports = reports.iter().peekable();
    for (n, packet) in packets.iter().enumerate() {
        while let Some(report) = reports.next_if(|report| report.sent <= n as u64) {
            encoder.set_loss((u16::from(report.fraction_lost) * 100 / 256) as u8);
        }
        let mut samples = [0; MAX_SAMPLES];
        let frame = &mut samples[..band.frame()];
        match packet {
            Some(payload) => {
                decoder.decode(payload, &mut samples).expect("decoded");
            }
            None => decoder.conceal(frame),
        }
        let mut payload = Vec::new();
        encoder.encode(&samples[..band.frame()], &mut payload).expect("encoded");
        sent.push(payload);
    }
    sent
}
