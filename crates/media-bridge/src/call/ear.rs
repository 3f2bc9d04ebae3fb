//! A leg's received audio as samples, for listeners with another codec: decoded on arrival, in order, gaps filled.

use std::time::{Duration, Instant};

use crate::codec::{Decoder, Filled, MAX_SAMPLES, PCM_RATE};
use crate::control::Codec;
use crate::rtp::{Admit, Head, Reorder};
use crate::sdp::clock_rate;

/// Samples of one concealed frame, 20 ms.
const FRAME: usize = 160;
/// Longest gap filled with made-up sound (samples, 100 ms); a longer one is silence.
const LONGEST_FILLING: usize = 5 * FRAME;
/// Frames concealed without a packet before the source counts as paused.
const CONCEALED_IN_A_ROW: u8 = 5;
/// Packets too old in a row after which the sender has set its timestamps back.
const OLD_IN_A_ROW: u8 = 10;
/// One frame for FEC to come with the next packet, and half a frame of lateness.
const OVERDUE: Duration = Duration::from_millis(30);
/// Never wait longer than this for a jittery network.
const LONGEST_WAIT: Duration = Duration::from_millis(60);

/// A stretch of samples on the sender's own timeline.
pub(super) struct Chunk<'a> {
    /// Timestamp of the first sample, in units of `clock`.
    pub timestamp: u32,
    /// The sender's clock, Hz.
    pub clock: u32,
    /// Changes when the sender's timestamps begin anew.
    pub timeline: u64,
    /// 8 kHz mono.
    pub pcm: &'a [i16],
}

/// What was filled and dropped, cumulative.
#[derive(Clone, Copy, Default)]
pub(super) struct Tally {
    pub fec: u64,
    pub concealed: u64,
    pub late: u64,
    pub damaged: u64,
}

pub(super) struct Ear {
    reorder: Reorder,
    voice: Voice,
}

struct Voice {
    codec: Codec,
    clock: u32,
    decoder: Decoder,
    /// Timestamp that would follow what was played.
    next: Option<u32>,
    /// Samples of the newest packet.
    frame: usize,
    timeline: u64,
    in_a_row: u8,
    old_in_a_row: u8,
    /// The next packet begins a new timeline.
    paused: bool,
    overdue_at: Option<Instant>,
    wait: Duration,
    tally: Tally,
    pcm: Box<[i16; MAX_SAMPLES]>,
}

impl Ear {
    /// None if libopus has no memory.
    pub fn new(codec: Codec) -> Option<Box<Ear>> {
        let decoder = Decoder::new(codec).ok()?;
        let voice = Voice {
            codec,
            clock: clock_rate(codec),
            decoder,
            next: None,
            frame: FRAME,
            timeline: 0,
            in_a_row: 0,
            old_in_a_row: 0,
            paused: false,
            overdue_at: None,
            wait: OVERDUE,
            tally: Tally::default(),
            pcm: Box::new([0; MAX_SAMPLES]),
        };
        Some(Box::new(Ear { reorder: Reorder::new(), voice }))
    }

    pub fn codec(&self) -> Codec {
        self.voice.codec
    }

    /// The stream began anew.
    pub fn reset(&mut self) {
        self.reorder.reset();
        self.voice.pause();
    }

    /// The sender is expected to be quiet now (it sends a digit): what is missing is not to be concealed.
    pub fn pause(&mut self) {
        self.voice.pause();
    }

    /// Counts since the last time asked.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.voice.tally)
    }

    /// A packet; one with an empty payload only holds its place in the order (a telephone-event).
    pub fn accept(
        &mut self,
        head: Head,
        payload: &[u8],
        jitter: Duration,
        now: Instant,
        sink: &mut dyn FnMut(Chunk<'_>),
    ) {
        self.voice.wait = OVERDUE + (jitter * 3).min(LONGEST_WAIT);
        match self.reorder.push(head, payload, now) {
            Admit::Deliver => self.voice.play(0, head.timestamp, payload, now, sink),
            Admit::Held => {}
            Admit::Late => self.voice.tally.late += 1,
        }
        self.release(now, sink);
    }

    /// Plays what has waited long enough.
    pub fn release(&mut self, now: Instant, sink: &mut dyn FnMut(Chunk<'_>)) {
        let Ear { reorder, voice } = self;
        while let Some(next) = reorder.poll(now) {
            voice.play(next.lost, next.head.timestamp, next.payload, now, sink);
        }
    }

    /// Conceals a frame that is overdue. True: the source has paused, nothing more is concealed.
    pub fn conceal_overdue(&mut self, now: Instant, sink: &mut dyn FnMut(Chunk<'_>)) -> bool {
        // Packets held back bring FEC: wait for them.
        if self.reorder.poll_timeout().is_some() || self.voice.overdue_at.is_none_or(|at| now < at) {
            return false;
        }
        self.voice.conceal_next(now, sink)
    }

    /// When held packets are let go.
    pub fn release_at(&self) -> Option<Instant> {
        self.reorder.poll_timeout()
    }

    /// When a missing frame is to be concealed.
    pub fn overdue_at(&self) -> Option<Instant> {
        self.voice.overdue_at.filter(|_| self.reorder.poll_timeout().is_none())
    }
}

impl Voice {
    fn pause(&mut self) {
        self.paused = true;
        self.overdue_at = None;
    }

    fn play(
        &mut self,
        lost: u64,
        timestamp: u32,
        payload: &[u8],
        now: Instant,
        sink: &mut dyn FnMut(Chunk<'_>),
    ) {
        if payload.is_empty() {
            return;
        }
        let Some(samples) = self.decoder.samples(payload).filter(|n| (1..=MAX_SAMPLES).contains(n)) else {
            self.tally.damaged += 1;
            return;
        };
        if self.paused {
            self.begin_timeline();
        }
        let ticks = self.clock / PCM_RATE;
        let gap = self.next.map_or(0, |next| timestamp.wrapping_sub(next) as i32);
        if gap > 0 && lost > 0 {
            self.fill(gap as usize / ticks as usize, timestamp, payload, sink);
        }
        let Ok(decoded) = self.decoder.decode(payload, &mut self.pcm[..]) else {
            self.tally.damaged += 1;
            return;
        };
        if gap < 0 && self.is_old() {
            return;
        }
        let pcm = &self.pcm[..decoded];
        sink(Chunk { timestamp, clock: self.clock, timeline: self.timeline, pcm });
        self.next = Some(timestamp.wrapping_add(decoded as u32 * ticks));
        self.frame = samples;
        self.in_a_row = 0;
        self.old_in_a_row = 0;
        let length = Duration::from_micros(samples as u64 * 1_000_000 / u64::from(PCM_RATE));
        self.overdue_at = Some(now + length + self.wait);
    }

    /// Its place is filled already: dropped, unless that happens so often that the sender must have begun anew.
    fn is_old(&mut self) -> bool {
        self.old_in_a_row += 1;
        if self.old_in_a_row < OLD_IN_A_ROW {
            self.tally.late += 1;
            return true;
        }
        self.begin_timeline();
        false
    }

    fn begin_timeline(&mut self) {
        self.paused = false;
        self.timeline += 1;
        self.next = None;
        self.in_a_row = 0;
        self.old_in_a_row = 0;
    }

    /// Fills `missing` samples before the packet at `timestamp`: its last frame from the packet's FEC if it has any.
    fn fill(&mut self, missing: usize, timestamp: u32, payload: &[u8], sink: &mut dyn FnMut(Chunk<'_>)) {
        if missing > LONGEST_FILLING {
            return;
        }
        // libopus conceals in steps of 2.5 ms.
        let mut missing = missing - missing % 20;
        let ticks = self.clock / PCM_RATE;
        while missing > 0 {
            let length =
                if missing > self.frame { self.frame.min(missing - self.frame).max(20) } else { missing };
            let out = &mut self.pcm[..length];
            let filled = if length == missing {
                self.decoder.recover(payload, out)
            } else {
                self.decoder.conceal(out);
                Filled::Concealed
            };
            match filled {
                Filled::Fec => self.tally.fec += 1,
                Filled::Concealed => self.tally.concealed += 1,
            }
            let at = timestamp.wrapping_sub(missing as u32 * ticks);
            let pcm = &self.pcm[..length];
            sink(Chunk { timestamp: at, clock: self.clock, timeline: self.timeline, pcm });
            missing -= length;
        }
    }

    fn conceal_next(&mut self, now: Instant, sink: &mut dyn FnMut(Chunk<'_>)) -> bool {
        let Some(timestamp) = self.next.filter(|_| self.in_a_row < CONCEALED_IN_A_ROW && !self.paused) else {
            self.pause();
            return true;
        };
        self.decoder.conceal(&mut self.pcm[..FRAME]);
        self.tally.concealed += 1;
        self.in_a_row += 1;
        let pcm = &self.pcm[..FRAME];
        sink(Chunk { timestamp, clock: self.clock, timeline: self.timeline, pcm });
        self.next = Some(timestamp.wrapping_add(FRAME as u32 * self.clock / PCM_RATE));
        self.overdue_at = Some(now + Duration::from_millis(20));
        false
    }
}
