//! What nobody can do without: the codecs decode the packets of both sides and encode what they heard for the other, in this
//! process. As many of them take turns as there are calls, so that caches are no warmer than in a gateway.

use std::time::Duration;

use media_bridge::codec::{g711, g722};
use nix::time::{ClockId, clock_gettime};
use opus::{Application, Bitrate, Channels, Decoder, Encoder};

use crate::Fallible;
use crate::delay::{Ear, lag};
use crate::process::{MEASURED, OWN, keep_to};
use crate::sdp::Codec;
use crate::setup::Says;

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

/// Frames before the clock starts, and while it runs: as long as a load of the bench is measured.
const WARM_UP: usize = 5;
const FRAMES: usize = 300;

/// What it came to.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    /// Processor milliseconds for each second of each call.
    pub cpu_ms_per_call_s: f64,
    /// How late libopus makes audio by itself, milliseconds.
    pub audio_delay_ms: f64,
}

/// The codecs of one call.
struct Voice {
    decoder: Decoder,
    encoder: Encoder,
    party: Party,
}

/// Those of the SIP party's side.
enum Party {
    Pcmu,
    G722(Box<(g722::Decoder, g722::Encoder)>),
}

impl Voice {
    fn new(settings: Settings) -> Fallible<Voice> {
        let decoder = Decoder::new(settings.rate, Channels::Mono)?;
        let mut encoder = Encoder::new(settings.rate, Channels::Mono, Application::Voip)?;
        encoder.set_bitrate(Bitrate::Bits(settings.bitrate))?;
        encoder.set_complexity(5)?;
        encoder.set_inband_fec(true)?;
        encoder.set_packet_loss_perc(10)?;
        let party = match settings.rate {
            8_000 => Party::Pcmu,
            _ => Party::G722(Box::default()),
        };
        Ok(Voice { decoder, encoder, party })
    }

    /// One packet of each side; `pcm` has the length of a frame.
    fn pass(&mut self, said: [&[u8]; 2], pcm: &mut [i16], payload: &mut Vec<u8>) -> Fallible<()> {
        let [browser, party] = said;
        self.decoder.decode(browser, pcm, false)?;
        payload.clear();
        match &mut self.party {
            Party::Pcmu => {
                g711::Law::Mu.encode(pcm, payload);
                g711::Law::Mu.decode(party, pcm);
            }
            Party::G722(codec) => {
                codec.1.encode(pcm, payload);
                codec.0.decode(party, pcm);
            }
        }
        payload.resize(1_500, 0);
        self.encoder.encode(pcm, payload)?;
        Ok(())
    }
}

/// Some seconds of so many calls on the measured core; what they say is what was said in the run.
///
/// # Errors
/// When libopus fails.
pub fn floor(calls: usize, says: &Says, pcm: &[Vec<i16>], settings: Settings) -> Fallible<Floor> {
    let mut voices = (0..calls).map(|_| Voice::new(settings)).collect::<Fallible<Vec<Voice>>>()?;
    let (mut heard, mut payload) = (vec![0; settings.rate as usize / 50], Vec::new());
    let (browser, party) = (&says.browser.frames, &says.party.frames);
    keep_to(MEASURED);
    let mut turn = |frame: usize| -> Fallible<()> {
        for (n, voice) in voices.iter_mut().enumerate() {
            let at = n * 37 + frame;
            let said = [&browser[at % browser.len()][..], &party[at % party.len()]];
            voice.pass(said, &mut heard, &mut payload)?;
        }
        Ok(())
    };
    (0..WARM_UP).try_for_each(&mut turn)?;
    let start = own_cpu()?;
    (WARM_UP..WARM_UP + FRAMES).try_for_each(&mut turn)?;
    let used = own_cpu()?.saturating_sub(start);
    keep_to(OWN);
    let audio_delay_ms = own_delay(pcm, settings)?;
    Ok(Floor {
        cpu_ms_per_call_s: used.as_secs_f64() * 1e3 / calls as f64 / (FRAMES as f64 / 50.0),
        audio_delay_ms,
    })
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
