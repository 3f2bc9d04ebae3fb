//! What nobody can do without: libopus decodes what the browsers say and encodes what the SIP parties say, in this process.
//! As many decoders and encoders take turns as there are calls, so that caches are no warmer than in a gateway.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use opus::{Application, Bitrate, Channels, Decoder, Encoder};

use crate::Fallible;
use crate::delay::{Ear, lag};
use crate::engine::Speech;
use crate::process::{MEASURED, OWN, keep_to};
use crate::sdp::Codec;

/// Sample rate and bitrate of an encoder.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Hz, of the decoder and of the encoder.
    pub rate: u32,
    /// Bits a second.
    pub bitrate: i32,
}

/// The gateway's towards an 8 kHz party.
pub const NARROW: Settings = Settings { rate: 8_000, bitrate: 24_000 };

/// The gateway's towards a 16 kHz party.
pub const WIDE: Settings = Settings { rate: 16_000, bitrate: 28_000 };

/// What it came to.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    /// Processor milliseconds for each second of each call.
    pub cpu_ms_per_call_s: f64,
    /// How late libopus makes audio by itself, milliseconds.
    pub audio_delay_ms: f64,
}

struct Voice {
    decoder: Decoder,
    encoder: Encoder,
}

impl Voice {
    fn new(settings: Settings) -> Fallible<Voice> {
        let decoder = Decoder::new(settings.rate, Channels::Mono)?;
        let mut encoder = Encoder::new(settings.rate, Channels::Mono, Application::Voip)?;
        encoder.set_bitrate(Bitrate::Bits(settings.bitrate))?;
        encoder.set_complexity(5)?;
        encoder.set_inband_fec(true)?;
        encoder.set_packet_loss_perc(10)?;
        Ok(Voice { decoder, encoder })
    }
}

/// One second of so many calls on the measured core.
///
/// # Errors
/// When libopus fails.
pub fn floor(calls: usize, browser: &Speech, party_pcm: &[Vec<i16>], settings: Settings) -> Fallible<Floor> {
    let mut voices = (0..calls).map(|_| Voice::new(settings)).collect::<Fallible<Vec<Voice>>>()?;
    let (mut pcm, mut payload) = (vec![0; settings.rate as usize / 50], [0; 1_500]);
    keep_to(MEASURED);
    let mut turn = |frame: usize| -> Fallible<()> {
        for (n, voice) in voices.iter_mut().enumerate() {
            let at = n * 37 + frame;
            voice.decoder.decode(&browser.frames[at % browser.frames.len()], &mut pcm, false)?;
            voice.encoder.encode(&party_pcm[at % party_pcm.len()], &mut payload)?;
        }
        Ok(())
    };
    (0..5).try_for_each(&mut turn)?;
    let start = own_cpu()?;
    (5..55).try_for_each(&mut turn)?;
    let used = own_cpu()?.saturating_sub(start);
    keep_to(OWN);
    let audio_delay_ms = own_delay(party_pcm, settings)?;
    Ok(Floor { cpu_ms_per_call_s: used.as_secs_f64() * 1e3 / calls as f64, audio_delay_ms })
}

fn own_cpu() -> Fallible<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

fn own_delay(pcm: &[Vec<i16>], settings: Settings) -> Fallible<f64> {
    let (mut voice, mut ear) = (Voice::new(settings)?, Ear::new(Codec::Opus, settings.rate)?);
    let (mut said, mut heard, mut payload) = (Vec::new(), Vec::new(), [0; 1_500]);
    for frame in pcm.iter().take(150) {
        let size = voice.encoder.encode(frame, &mut payload)?;
        said.extend(frame);
        heard.extend(ear.hear(&payload[..size]));
    }
    Ok(lag(&said, &heard).map_or(f64::NAN, |samples| samples as f64 * 1e3 / f64::from(settings.rate)))
}
