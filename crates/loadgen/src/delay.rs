//! How late audio is that was decoded, beside the audio that it came of.

use media_bridge::codec::{g711, g722};
use opus::{Channels, Decoder};

use crate::Fallible;
use crate::engine::{Speech, Taped};
use crate::sdp::Codec;

/// The longest delay that is looked for, samples: 150 ms at 8 kHz.
const LONGEST: usize = 1_200;

/// Decodes payloads one by one.
pub enum Ear {
    /// libopus, to this rate.
    Opus(Decoder, u32),
    /// G.711, to 8 kHz.
    Mu,
    /// G.722, to 16 kHz.
    G722(Box<g722::Decoder>),
}

impl Ear {
    /// For this codec, to this rate.
    ///
    /// # Errors
    /// When there is no such decoder.
    pub fn new(codec: Codec, rate: u32) -> Fallible<Ear> {
        match codec {
            Codec::Opus => Ok(Ear::Opus(Decoder::new(rate, Channels::Mono)?, rate)),
            Codec::Pcmu => Ok(Ear::Mu),
            Codec::G722 => Ok(Ear::G722(Box::default())),
        }
    }

    /// One frame of 20 ms; what is damaged is silence.
    pub fn hear(&mut self, payload: &[u8]) -> Vec<i16> {
        match self {
            Ear::Opus(decoder, rate) => {
                let mut pcm = vec![0; *rate as usize / 50];
                if !payload.is_empty() && decoder.decode(payload, &mut pcm, false).is_err() {
                    pcm.fill(0);
                }
                pcm
            }
            Ear::Mu => {
                let mut pcm = vec![0; 160];
                g711::Law::Mu.decode(payload, &mut pcm);
                pcm
            }
            Ear::G722(decoder) => {
                let mut pcm = vec![0; 320];
                decoder.decode(payload, &mut pcm);
                pcm
            }
        }
    }
}

/// How late the audio of a taped direction is within its packets, milliseconds: 0 where each packet that came out holds
/// the audio of the one that went in. Compared at `rate`. None if too little was taped or it is not alike.
pub fn within_packets(said: &Speech, tape: &(Vec<Taped>, usize), heard_as: Codec, rate: u32) -> Option<f64> {
    let (tape, first_frame) = tape;
    let frame = rate as usize / 50;
    let (first, last) = (usize::from(tape.first()?.0), usize::from(tape.last()?.0));
    let (mut mouth, mut ear) = (Ear::new(said.codec, rate).ok()?, Ear::new(heard_as, rate).ok()?);
    let mut reference = Vec::new();
    for number in first..=last {
        reference.extend(mouth.hear(&said.frames[(first_frame + number) % said.frames.len()]));
    }
    let mut heard = vec![0; reference.len()];
    for (number, payload) in tape {
        let at = usize::from(*number).checked_sub(first)? * frame;
        heard.get_mut(at..at + frame)?.copy_from_slice(&ear.hear(payload));
    }
    lag(&reference, &heard).map(|samples| samples as f64 * 1e3 / f64::from(rate))
}

/// By how many samples `heard` is behind `said`; none where they are not alike.
pub fn lag(said: &[i16], heard: &[i16]) -> Option<usize> {
    let span = said.len().min(heard.len()).checked_sub(LONGEST)?;
    let said: Vec<f64> = said.iter().map(|sample| f64::from(*sample)).collect();
    let heard: Vec<f64> = heard.iter().map(|sample| f64::from(*sample)).collect();
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let energy = product(&said[..span], &said[..span]);
    let alike = |lag: usize| {
        let behind = &heard[lag..lag + span];
        product(&said[..span], behind) / (energy * product(behind, behind)).sqrt().max(1.0)
    };
    let all: Vec<f64> = (0..LONGEST).map(alike).collect();
    let best = (0..LONGEST).max_by(|a, b| all[*a].total_cmp(&all[*b]))?;
    (all[best] > 0.5).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(samples: usize) -> Vec<i16> {
        let mut state = 1_u32;
        let mut last = 0.0;
        (0..samples)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                last = 0.9 * last + f64::from(state >> 16) - 32_768.0;
                (last / 10.0) as i16
            })
            .collect()
    }

    #[test]
    fn the_lag_of_delayed_and_quieter_audio_is_found_to_the_sample() {
        let said = noise(8_000);
        for delay in [0, 52, 160, 713] {
            let mut heard = vec![0; delay];
            heard.extend(said.iter().map(|sample| sample / 3));
            heard.truncate(said.len());
            assert_eq!(lag(&said, &heard), Some(delay));
        }
    }

    #[test]
    fn audio_that_is_something_else_has_no_lag() {
        let mut other = noise(16_000);
        assert_eq!(lag(&noise(8_000), &other.split_off(8_000)), None);
        assert_eq!(lag(&noise(8_000), &[0; 8_000]), None);
        assert_eq!(lag(&noise(100), &noise(100)), None);
    }
}
