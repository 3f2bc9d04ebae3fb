//! What is odd about a peer's stream: put right where that is possible, and kept for the call's record.

use std::time::{Duration, Instant};

use super::filling::law_of;
use super::leg::FRAME_TIME;
use crate::codec::{Decoder, MAX_SAMPLES, NARROW};
use crate::control::{Codec, Oddities};
use crate::rtp::RtpPacket;
use crate::sdp::clock_rate;

/// Packets in a row after which something is how the peer does it.
const HABIT: u32 = 8;
/// A microphone that never moves by more than this, for as long as that, is silent: 54 dB below full scale. The smallest
/// steps of G.722 make up to 50 of next to nothing.
const SILENT_PEAK: u16 = 64;
const SILENT_FOR: Duration = Duration::from_secs(10);
/// Of G.711 so many packets are one whose level is looked at.
const LOOKED_AT: u64 = 4;
/// Of what nobody decodes so many packets in a row are decoded for their level, of as many as the second says; fewer once
/// they have been silent long enough. After the first sound none are.
const LISTENED_TO: u32 = 8;
const LISTENED_TO_OF: u32 = 16;
const LISTENED_TO_OF_SILENT: u32 = 64;
/// What our descriptions ask for, ms.
const ASKED: u32 = 20;

/// One peer's stream as it comes.
#[derive(Default)]
pub(super) struct Watch {
    found: Oddities,
    newest: Option<Newest>,
    /// Packets in a row of another length than asked for: that length, and how many.
    other_length: (u32, u32),
    /// Steps in a row by which timestamps were wrong: that step, how many, and since when.
    wrong: Option<(u32, u32, Instant)>,
    /// Steps in a row that were right.
    right: u32,
    straightening: bool,
    loudest: u16,
    looked_at: Duration,
    listening: Option<Box<Listening>>,
}

/// For the level of a stream that is passed on undecoded.
struct Listening {
    codec: Codec,
    decoder: Decoder,
    /// Packets since the last that were decoded in a row began.
    packets: u32,
}

#[derive(Clone, Copy)]
struct Newest {
    ssrc: u32,
    clock: u32,
    sequence: u16,
    /// As sent.
    timestamp: u32,
    /// As it should have been.
    straight: u32,
    /// Ticks that its sound lasts.
    length: u32,
}

impl Watch {
    /// A packet of audio that lasts `length` ticks; `agreed`: its codec was. Gives its timestamp, put right where the peer's
    /// clock runs at another speed than its codec's.
    pub fn packet(
        &mut self,
        packet: &RtpPacket<'_>,
        (codec, agreed): (Codec, bool),
        length: u32,
        now: Instant,
    ) -> u32 {
        if !agreed {
            self.found.unagreed = Some(codec);
        }
        let clock = clock_rate(codec);
        self.watch_length(length * 1_000 / clock);
        let RtpPacket { ssrc, sequence, timestamp, .. } = *packet;
        let here = Newest { ssrc, clock, sequence, timestamp, straight: timestamp, length };
        let Some(before) = self.newest.filter(|n| n.ssrc == ssrc && n.clock == clock) else {
            (self.wrong, self.right, self.straightening) = (None, 0, false);
            self.newest = Some(here);
            return timestamp;
        };
        let steps = i32::from(sequence.wrapping_sub(before.sequence) as i16);
        if steps <= 0 {
            let back = steps.unsigned_abs().wrapping_mul(length);
            return if self.straightening { before.straight.wrapping_sub(back) } else { timestamp };
        }
        if steps == 1 && !packet.marker {
            self.watch_clock(&before, timestamp.wrapping_sub(before.timestamp), now);
        }
        let skipped = (steps.unsigned_abs() - 1).wrapping_mul(length);
        let straight = match self.straightening {
            true => before.straight.wrapping_add(before.length).wrapping_add(skipped),
            false => timestamp,
        };
        self.newest = Some(Newest { straight, ..here });
        straight
    }

    fn watch_length(&mut self, ms: u32) {
        if ms == ASKED {
            self.other_length = (0, 0);
        } else {
            let count = if self.other_length.0 == ms { self.other_length.1 + 1 } else { 1 };
            self.other_length = (ms, count);
            if count == HABIT {
                self.found.packet_ms = u8::try_from(ms).ok();
            }
        }
    }

    fn watch_clock(&mut self, before: &Newest, claimed: u32, now: Instant) {
        if claimed == before.length {
            (self.wrong, self.right) = (None, self.right + 1);
            self.straightening &= self.right < HABIT;
            return;
        }
        self.right = 0;
        let (count, since) = match self.wrong {
            Some((step, count, since)) if step == claimed => (count + 1, since),
            Some(_) | None => (1, now),
        };
        self.wrong = Some((claimed, count, since));
        if count > HABIT {
            // One that pauses between its packets says so rightly.
            let spoken = u64::from((count - 1) * before.length) * 1_000_000 / u64::from(before.clock);
            let passed = now.saturating_duration_since(since).as_micros() as u64;
            if passed < spoken * 2 {
                (self.straightening, self.found.wrong_clock) = (true, true);
            }
        }
    }

    /// A packet of a payload type that means nothing.
    pub fn stray(&mut self, payload_type: u8) {
        let count = self.found.stray.map_or(0, |(_, count)| count);
        self.found.stray = Some((payload_type, count.saturating_add(1)));
    }

    /// G.711 is looked at as it comes, until it was loud once; `extended`: its number.
    pub fn look(&mut self, codec: Codec, payload: &[u8], extended: u64) {
        if self.loudest > SILENT_PEAK {
            return;
        }
        if let Some(law) = law_of(codec).filter(|_| extended.is_multiple_of(LOOKED_AT)) {
            let peak = payload.iter().map(|code| law.decode_sample(*code).unsigned_abs()).max();
            self.level(peak.unwrap_or(0), FRAME_TIME * LOOKED_AT as u32);
        }
    }

    /// A packet of `length` ticks that is passed on undecoded.
    pub fn passed_on(&mut self, codec: Codec, payload: &[u8], length: u32) {
        if self.loudest <= SILENT_PEAK && law_of(codec).is_none() {
            self.listen(codec, payload, length);
        }
    }

    #[cold]
    fn listen(&mut self, codec: Codec, payload: &[u8], length: u32) {
        if self.listening.as_ref().is_none_or(|listening| listening.codec != codec) {
            let Ok(decoder) = Decoder::new(codec, NARROW) else { return };
            self.listening = Some(Box::new(Listening { codec, decoder, packets: 0 }));
        }
        let every = if self.is_silent() { LISTENED_TO_OF_SILENT } else { LISTENED_TO_OF };
        let Some(listening) = &mut self.listening else { return };
        let number = listening.packets % every;
        listening.packets = number + 1;
        if number >= LISTENED_TO {
            return;
        }
        let mut pcm = [0; MAX_SAMPLES];
        let Ok(samples) = listening.decoder.decode(payload, &mut pcm) else { return };
        let peak = pcm[..samples].iter().map(|s| s.unsigned_abs()).max().unwrap_or(0);
        let us = u64::from(length) * 1_000_000 / u64::from(clock_rate(codec));
        self.level(peak, Duration::from_micros(us) * (every / LISTENED_TO));
        if peak > SILENT_PEAK {
            self.listening = None;
        }
    }

    /// Sound of the peer that lasts `time`.
    pub fn level(&mut self, peak: u16, time: Duration) {
        self.loudest = self.loudest.max(peak);
        self.looked_at += time;
    }

    /// What was found.
    pub fn found(&self) -> Oddities {
        Oddities { silent: self.is_silent(), ..self.found }
    }

    fn is_silent(&self) -> bool {
        self.looked_at >= SILENT_FOR && self.loudest <= SILENT_PEAK
    }
}
