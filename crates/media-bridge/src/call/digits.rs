//! Digits between legs: who says them how, who is told of them how, and who does not hear them besides.

use std::time::Instant;

use super::MediaCall;
use super::ear::Chunk;
use super::leg::Leg;
use crate::codec::MAX_SAMPLES;
use crate::control::{DtmfMode, Source};
use crate::dtmf::Detector;

/// What is heard in place of a digit that comes otherwise.
static SILENCE: [i16; MAX_SAMPLES] = [0; MAX_SAMPLES];

/// How a leg's peer gets digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Telling {
    /// As telephone-events of ours.
    Events,
    /// By INFO, which is signalling's.
    Info,
    /// As tones in its audio.
    Tones,
    /// Not at all.
    Nothing,
}

impl Leg {
    pub fn telling(&self) -> Telling {
        let events = self.agreed.and_then(|agreed| agreed.events);
        match (self.params.dtmf, events) {
            (DtmfMode::Auto | DtmfMode::Rfc4733, Some(_)) => Telling::Events,
            (DtmfMode::Info, _) => Telling::Info,
            (DtmfMode::Inband, _) | (DtmfMode::Auto, None) => Telling::Tones,
            (DtmfMode::Rfc4733, None) => Telling::Nothing,
        }
    }

    /// Whether digits of its peer are looked for in its audio: it has no other way to say them there.
    pub fn speaks_tones(&self) -> bool {
        self.agreed.is_some() && self.telling() == Telling::Tones
    }

    /// Whether tones of `from` are kept from this listener, which is told of them otherwise.
    pub fn is_spared_tones_of(&self, from: &Leg) -> bool {
        self.source == Source::Leg(from.id)
            && from.speaks_tones()
            && matches!(self.telling(), Telling::Events | Telling::Info)
    }

    /// Whether `from` says a digit just now by telephone-event, which this listener gets made anew: what its audio has of it
    /// would be a second one.
    pub fn is_spared_audio_of(&self, from: &Leg) -> bool {
        from.events_in.is_pressed()
            && self.source == Source::Leg(from.id)
            && self.telling() != Telling::Nothing
    }

    /// Looks for digits in audio of the peer. Whether it may be one.
    pub fn detect(&mut self, chunk: &Chunk<'_>, now: Instant) -> bool {
        if !self.speaks_tones() {
            return false;
        }
        let detector = self.tones_in.take_if(|d| d.rate() == chunk.rate);
        let detector = self.tones_in.insert(detector.unwrap_or_else(|| Box::new(Detector::new(chunk.rate))));
        detector.hear(chunk.pcm, now)
    }
}

impl Chunk<'_> {
    /// As long, and silent.
    pub fn silent(&self) -> Chunk<'static> {
        let Chunk { timestamp, clock, rate, own, timeline, concealed, pcm } = *self;
        let pcm = &SILENCE[..pcm.len().min(MAX_SAMPLES)];
        Chunk { timestamp, clock, rate, own, timeline, concealed, pcm }
    }
}

impl MediaCall {
    /// Digits of a leg whose peer said nothing for long enough.
    pub(super) fn digits_timeout(&mut self, a: usize, now: Instant) {
        let leg = &mut self.legs[a];
        leg.events_in.handle_timeout(now);
        if let Some(tones) = &mut leg.tones_in {
            tones.handle_timeout(now);
        }
        self.take_digits(a, now);
    }
}
