//! Sounds of ours on a leg: what it hears instead of anybody (tones, music), and what is played once over whatever it hears.

use std::time::{Duration, Instant};

use types::LegId;

use super::MediaCall;
use super::ear::Chunk;
use super::leg::{FRAME_TIME, Leg, Origin};
use super::mouth::LONGEST;
use crate::codec::NARROW;
use crate::control::{Event, Source};
use crate::sound::{Sound, SoundId, SoundPlayer};
use crate::tone::ToneGenerator;

/// A timer that is later than this many frames has been asleep: it does not make up for them.
pub(super) const CATCH_UP: u32 = 5;

/// A sound of ours being played.
pub(super) struct Playing {
    what: What,
    timestamp: u32,
    pub next_at: Instant,
}

enum What {
    Tone(ToneGenerator),
    Music(SoundId, SoundPlayer),
    /// Over everything else, once.
    Once(SoundPlayer),
}

impl Playing {
    fn new(what: What, now: Instant) -> Playing {
        Playing { what, timestamp: 0, next_at: now }
    }

    /// The next frame, for an encoder that works at `rate` Hz; the rate that it has, and whether it is the last.
    fn fill(&mut self, rate: u32, pcm: &mut [i16; LONGEST]) -> (u32, bool) {
        let samples = (rate / 50) as usize;
        match &mut self.what {
            What::Tone(generator) => {
                generator.fill(&mut pcm[..super::mouth::FRAME]);
                (NARROW, false)
            }
            What::Music(_, player) => {
                player.fill(rate, &mut pcm[..samples]);
                (rate, false)
            }
            What::Once(player) => {
                player.fill(rate, &mut pcm[..samples]);
                (rate, player.is_over())
            }
        }
    }

    /// Sends what is due; true once a sound that is played once is over.
    fn play(&mut self, leg: &mut Leg, origin: Origin, outbox: &mut super::Outbox, now: Instant) -> bool {
        let Some(agreed) = leg.sending() else { return false };
        let source = leg.source_id(origin);
        while self.next_at <= now {
            if now.saturating_duration_since(self.next_at) > FRAME_TIME * CATCH_UP {
                self.next_at = now;
            }
            let mut pcm = [0; LONGEST];
            let (rate, last) = self.fill(leg.mouth.rate_of_sounds(agreed.codec), &mut pcm);
            let chunk = Chunk::own_at(rate, self.timestamp, &pcm[..(rate / 50) as usize]);
            match self.what {
                What::Tone(_) | What::Music(..) => leg.speak(source, &chunk, outbox, now),
                What::Once(_) => leg.utter(source, &chunk, outbox, now),
            };
            self.timestamp = self.timestamp.wrapping_add(super::mouth::FRAME as u32);
            self.next_at += FRAME_TIME;
            if last {
                return true;
            }
        }
        false
    }
}

/// Music that waits for its leg to hear it again: it goes on where it was.
pub(super) type Paused = Option<(SoundId, SoundPlayer)>;

impl MediaCall {
    /// What a leg plays while this is its source. Music that it heard before goes on where it was.
    pub(super) fn start_playing(&mut self, index: usize, source: Source, now: Instant) {
        let leg = &mut self.legs[index];
        if let Some(Playing { what: What::Music(id, player), .. }) = leg.tone.take() {
            leg.paused = Some((id, player));
        }
        let what = match source {
            Source::Tone(tone) => Some(What::Tone(ToneGenerator::new(tone))),
            Source::Music(id) => match leg.paused.take_if(|(before, _)| *before == id) {
                Some((id, player)) => Some(What::Music(id, player)),
                None => {
                    let sound = self.setup.sounds.get(usize::from(id.0));
                    sound.map(|sound| What::Music(id, SoundPlayer::new(sound.clone(), true)))
                }
            },
            Source::Nothing | Source::Leg(_) | Source::Echo => None,
        };
        leg.tone = what.map(|what| Playing::new(what, now));
    }

    /// Plays a sound once over whatever a leg hears.
    pub(super) fn play_once(&mut self, leg: LegId, sound: SoundId, now: Instant) {
        let sound: Option<&Sound> = self.setup.sounds.get(usize::from(sound.0));
        match (self.find(leg), sound) {
            (Some(index), Some(sound)) => {
                let player = SoundPlayer::new(sound.clone(), false);
                self.legs[index].once = Some(Playing::new(What::Once(player), now));
                self.play(index, now);
            }
            // Nobody is to wait for what never ends.
            (_, _) => self.outbox.tell(Event::Played { leg }),
        }
    }

    /// Sends what is due of a leg's sounds.
    pub(super) fn play(&mut self, a: usize, now: Instant) {
        let MediaCall { legs, outbox, .. } = self;
        let leg = &mut legs[a];
        if let Some(mut playing) = leg.tone.take() {
            playing.play(leg, Origin::Own, outbox, now);
            leg.tone = Some(playing);
        }
        let Some(mut playing) = leg.once.take() else { return };
        // Taken out, it would let others through.
        if !playing.play(leg, Origin::Once, outbox, now) {
            leg.once = Some(playing);
            return;
        }
        outbox.tell(Event::Played { leg: leg.id });
        // Nothing else is due before the last frame has been heard.
        let after = now + Duration::from_millis(20);
        leg.fill_at = leg.fill_at.map(|at| at.max(after));
    }
}
