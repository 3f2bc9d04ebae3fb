//! Recording: what two parties of a call say, on one clock, each on its own channel.
//!
//! Every 20 ms a frame of both goes out, whatever comes in: packets are put where their timestamps say, as late after their
//! arrival as [`DELAY`] allows for jitter, gaps are made up or silent. What nobody hears (of a party that holds, or that the
//! other has put on hold) is not recorded.

use std::time::{Duration, Instant};

use types::{Datagram, LegId, RecordingId};

use super::ear::ticks;
use super::{MediaCall, Output};
use crate::codec::{Decoder, MAX_SAMPLES, Resampler, WIDE, own_rate};
use crate::control::Codec;
use crate::rtp::{Playout, RtpPacket, Step};
use crate::sdp::clock_rate;

/// Samples a second of each channel of a recording, Hz.
pub const RATE: u32 = WIDE;
/// Samples of each channel in one frame, 20 ms.
pub const SAMPLES: usize = RATE as usize / 50;
/// Bytes of one frame: 16-bit little-endian samples, left and right in turn.
pub const FRAME_BYTES: usize = SAMPLES * 4;
/// Between a packet that comes as soon as it can and its place in a frame: jitter below it loses nothing, and both channels
/// have the same, so that they stay together within a frame. More jitter raises it.
const DELAY: Duration = Duration::from_millis(200);
/// It is raised to this at most.
const MOST_DELAY: Duration = Duration::from_millis(600);
const FRAME_TIME: Duration = Duration::from_millis(20);
/// A timer that is later than so many frames makes up for no more; those before are left out.
const CATCH_UP: u32 = 50;
/// Samples below this on average count as silence.
const QUIET: u32 = 60;

/// Both sides of a recording.
pub(super) struct Recorder {
    id: RecordingId,
    sides: [Side; 2],
    /// The frame that comes next.
    number: u32,
    next_at: Instant,
}

struct Side {
    leg: LegId,
    playout: Option<Playout>,
    decoder: Option<(Codec, Decoder)>,
    resampler: Resampler,
    pcm: Box<[i16; MAX_SAMPLES]>,
    /// Decoded and not yet played, at `RATE`.
    ready: Vec<i16>,
    quiet: bool,
}

impl Recorder {
    fn new(id: RecordingId, sides: [LegId; 2], now: Instant) -> Recorder {
        Recorder { id, sides: sides.map(Side::new), number: 0, next_at: now + FRAME_TIME }
    }

    pub fn next_at(&self) -> Instant {
        self.next_at
    }

    /// The frame that is due, and its number.
    fn frame(&mut self, out: &mut Datagram) -> u32 {
        let at = self.next_at;
        let mut bytes = [0; FRAME_BYTES];
        for (channel, side) in self.sides.iter_mut().enumerate() {
            side.ready(at);
            for (pair, sample) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(side.ready.drain(..SAMPLES)) {
                pair[2 * channel..][..2].copy_from_slice(&sample.to_le_bytes());
            }
        }
        out.extend_from_slice(&bytes);
        self.next_at += FRAME_TIME;
        self.number += 1;
        self.number - 1
    }
}

impl Side {
    fn new(leg: LegId) -> Side {
        Side {
            leg,
            playout: None,
            decoder: None,
            resampler: Resampler::default(),
            pcm: Box::new([0; MAX_SAMPLES]),
            ready: Vec::with_capacity(2 * MAX_SAMPLES + SAMPLES),
            quiet: true,
        }
    }

    fn put(&mut self, codec: Codec, packet: &RtpPacket<'_>, now: Instant) {
        if self.playout.as_ref().is_none_or(|p| p.codec() != codec) {
            self.playout = Some(Playout::new(codec, DELAY, MOST_DELAY, now));
        }
        if let Some(playout) = &mut self.playout {
            playout.put(packet.timestamp, packet.payload, now);
        }
    }

    /// Makes at least one frame ready; its first sample is heard `at`.
    fn ready(&mut self, at: Instant) {
        while self.ready.len() < SAMPLES {
            let ahead = Duration::from_micros(self.ready.len() as u64 * 1_000_000 / u64::from(RATE));
            self.next(at + ahead);
        }
        let sum: u32 = self.ready[..SAMPLES].iter().map(|s| u32::from(s.unsigned_abs())).sum();
        self.quiet = sum < QUIET * SAMPLES as u32;
    }

    fn next(&mut self, at: Instant) {
        let Side { playout: Some(playout), decoder, pcm, quiet, .. } = self else { return self.silence() };
        let codec = playout.codec();
        let clock = clock_rate(codec);
        if decoder.as_ref().is_none_or(|(of, _)| *of != codec) {
            *decoder = Decoder::new(codec, own_rate(codec).unwrap_or(RATE)).ok().map(|d| (codec, d));
        }
        let Some((_, decoder)) = decoder else { return self.silence() };
        let rate = own_rate(codec).unwrap_or(RATE);
        let samples =
            |ticks: u32| ((u64::from(ticks) * u64::from(rate) / u64::from(clock)) as usize).min(MAX_SAMPLES);
        let frame = (rate / 50) as usize;
        let (made, heard, packet) = match playout.pull(at, *quiet) {
            Step::Silence => return self.silence(),
            Step::Stretch => {
                decoder.conceal(&mut pcm[..frame]);
                (frame, true, false)
            }
            Step::Conceal(ticks, None) => {
                decoder.conceal(&mut pcm[..samples(ticks)]);
                (samples(ticks), true, false)
            }
            Step::Conceal(ticks, Some(next)) => {
                decoder.recover(next, &mut pcm[..samples(ticks)]);
                (samples(ticks), true, false)
            }
            Step::Play(_, payload) => (decode(decoder, payload, pcm, frame), true, true),
            Step::Skip(_, payload) => (decode(decoder, payload, pcm, frame), false, true),
        };
        if packet {
            playout.played(ticks(made, clock, rate));
        }
        if heard {
            let converted = self.resampler.convert(&self.pcm[..made], rate, RATE);
            self.ready.extend_from_slice(converted);
        }
    }

    fn silence(&mut self) {
        self.ready.resize(self.ready.len() + SAMPLES, 0);
    }
}

/// A packet, or a frame made up where it is damaged; how many samples.
fn decode(decoder: &mut Decoder, payload: &[u8], pcm: &mut [i16; MAX_SAMPLES], frame: usize) -> usize {
    decoder.decode(payload, pcm).unwrap_or_else(|_| {
        decoder.conceal(&mut pcm[..frame]);
        frame
    })
}

impl MediaCall {
    /// Records these two from now on, or these instead of those before.
    pub(super) fn start_recording(&mut self, id: RecordingId, sides: [LegId; 2], now: Instant) {
        if self.recorder.as_ref().is_some_and(|running| running.id != id) {
            self.end_recording();
        }
        let recorder = self.recorder.get_or_insert_with(|| Box::new(Recorder::new(id, sides, now)));
        for (side, leg) in recorder.sides.iter_mut().zip(sides) {
            if side.leg != leg {
                *side = Side::new(leg);
            }
        }
    }

    pub(super) fn end_recording(&mut self) {
        if let Some(recorder) = self.recorder.take() {
            self.outbox.push(Output::RecordingOver(recorder.id));
        }
    }

    /// A packet that others hear.
    pub(super) fn record(&mut self, a: usize, codec: Codec, packet: &RtpPacket<'_>, now: Instant) {
        let Some(recorder) = &mut self.recorder else { return };
        let from = self.legs[a].id;
        let heard = self.legs.iter().any(|listener| super::flow::hears(listener, from));
        if let Some(side) = recorder.sides.iter_mut().find(|side| side.leg == from).filter(|_| heard) {
            side.put(codec, packet, now);
        }
    }

    /// Gives out the frames that are due.
    pub(super) fn record_timeout(&mut self, now: Instant) {
        let MediaCall { recorder: Some(recorder), outbox, .. } = self else { return };
        let late = now.saturating_duration_since(recorder.next_at);
        let left_out = (late.as_millis() / FRAME_TIME.as_millis()).saturating_sub(u128::from(CATCH_UP));
        if left_out > 0 {
            let left_out = u32::try_from(left_out).unwrap_or(u32::MAX);
            recorder.number = recorder.number.saturating_add(left_out);
            recorder.next_at += FRAME_TIME * left_out;
        }
        while recorder.next_at <= now {
            let mut buffer = outbox.buffer();
            let number = recorder.frame(&mut buffer);
            outbox.datagram(Output::Recorded { recording: recorder.id, number }, buffer);
        }
    }
}
