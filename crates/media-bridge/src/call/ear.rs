//! A leg's received audio as samples, for listeners with another codec: decoded on arrival, in order, gaps filled.

use std::time::{Duration, Instant};

use crate::codec::{Decoder, Filled, MAX_SAMPLES, NARROW, own_rate};
use crate::control::Codec;
use crate::rtp::{Admit, Head, Lateness, Reorder};
use crate::sdp::clock_rate;

/// Concealed frames a second.
const FRAMES: u32 = 50;
/// Longest gap filled with made-up sound (frames, 100 ms); a longer one is silence.
const LONGEST_FILLING: usize = 5;
/// The same in G.711 or G.722 where only browsers have waited. Of a longer gap the first frame is filled: the rest they conceal
/// better than we do.
const LONGEST_FILLING_FOR_BROWSERS: usize = 2;
/// libopus conceals in steps of 2.5 ms: so many a second.
const STEPS: u32 = 400;
/// Frames concealed without a packet before the source counts as paused: as long as concealment can be heard.
const CONCEALED_IN_A_ROW: u8 = 3;
const CONCEALED_IN_A_ROW_OF_OPUS: u8 = 5;
/// The same after a packet that announces a pause: libopus goes on with its own comfort noise. Its encoder speaks up every
/// 400 ms; whoever does not for a second is gone.
const CONCEALED_IN_A_ROW_OF_DTX: u8 = 50;
/// Nothing in a network is later than this: the sender has set its timestamps back.
const TOO_OLD: i32 = 2;
/// An Opus packet of no more bytes carries no sound (RFC 6716 §3.2.1): DTX.
const DTX_BYTES: usize = 2;
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
    /// Sample rate, Hz.
    pub rate: u32,
    /// A sound of ours: it comes at whatever rate the listener's codec has already.
    pub own: bool,
    /// Changes when the sender's timestamps begin anew.
    pub timeline: u64,
    /// Made up for what did not come.
    pub concealed: bool,
    /// Mono.
    pub pcm: &'a [i16],
}

impl<'a> Chunk<'a> {
    /// A sound of ours: `NARROW` samples a second on a clock of that rate.
    pub fn own(timestamp: u32, pcm: &'a [i16]) -> Chunk<'a> {
        Chunk::own_at(NARROW, timestamp, pcm)
    }

    /// The same with `rate` samples a second.
    pub fn own_at(rate: u32, timestamp: u32, pcm: &'a [i16]) -> Chunk<'a> {
        Chunk { timestamp, clock: NARROW, rate, own: true, timeline: 0, concealed: false, pcm }
    }
}

/// Ticks of a clock that pass during samples.
pub(super) fn ticks(samples: usize, clock: u32, rate: u32) -> u32 {
    (samples as u64 * u64::from(clock) / u64::from(rate)) as u32
}

/// How much later than the one before a packet may come until something is made up in its place.
pub(super) fn late_after(jitter: Duration) -> Duration {
    OVERDUE + (jitter * 3).min(LONGEST_WAIT)
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
    /// Of the decoder's samples, Hz.
    rate: u32,
    decoder: Decoder,
    /// Timestamp that would follow what was played.
    next: Option<u32>,
    /// Samples of the newest packet.
    frame: usize,
    timeline: u64,
    in_a_row: u8,
    late: Lateness,
    /// The newest packet said that nothing is said for a while (RFC 7587 §3.1.3).
    dtx: bool,
    /// The next packet begins a new timeline.
    begins: bool,
    /// What is missing now was overdue when only browsers listened.
    left_to_browsers: bool,
    overdue_at: Option<Instant>,
    wait: Duration,
    tally: Tally,
    pcm: Box<[i16; MAX_SAMPLES]>,
}

impl Ear {
    /// Opus is decoded to `rate` Hz. None if libopus has no memory.
    pub fn new(codec: Codec, rate: u32) -> Option<Box<Ear>> {
        let rate = own_rate(codec).unwrap_or(rate);
        let decoder = Decoder::new(codec, rate).ok()?;
        let voice = Voice {
            codec,
            clock: clock_rate(codec),
            rate,
            decoder,
            next: None,
            frame: (rate / FRAMES) as usize,
            timeline: 0,
            in_a_row: 0,
            late: Lateness::default(),
            dtx: false,
            begins: false,
            left_to_browsers: false,
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

    /// Whether it gives samples of `rate` Hz, as far as its codec leaves the choice.
    pub fn is_for(&self, codec: Codec, rate: u32) -> bool {
        self.voice.codec == codec && self.voice.rate == own_rate(codec).unwrap_or(rate)
    }

    /// The stream began anew.
    pub fn reset(&mut self) {
        self.reorder.reset();
        self.voice.begins = true;
        self.voice.overdue_at = None;
    }

    /// The sender is expected to be quiet now (it sends a digit or comfort noise): what is missing is not to be concealed.
    pub fn expect_nothing(&mut self) {
        self.voice.overdue_at = None;
    }

    /// Something is overdue, and nobody listens but browsers, which can wait: what of it never comes is filled later.
    pub fn leave_to_browsers(&mut self) {
        self.voice.overdue_at = None;
        self.voice.left_to_browsers = true;
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
        self.voice.wait = late_after(jitter);
        match self.reorder.push(head, payload, now) {
            Admit::Deliver => self.voice.play(0, head, payload, now, sink),
            Admit::Held => {}
            Admit::Late => self.voice.tally.late += 1,
        }
        self.release(now, sink);
    }

    /// Plays what has waited long enough.
    pub fn release(&mut self, now: Instant, sink: &mut dyn FnMut(Chunk<'_>)) {
        let Ear { reorder, voice } = self;
        while let Some(next) = reorder.poll(now) {
            voice.play(next.lost, next.head, next.payload, now, sink);
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
    fn play(&mut self, lost: u64, head: Head, payload: &[u8], now: Instant, sink: &mut dyn FnMut(Chunk<'_>)) {
        let timestamp = head.timestamp;
        if payload.is_empty() {
            return;
        }
        let Some(samples) = self.decoder.samples(payload).filter(|n| (1..=MAX_SAMPLES).contains(n)) else {
            self.tally.damaged += 1;
            return;
        };
        if self.begins {
            self.begin_timeline();
        }
        let gap = self.next.map_or(0, |next| timestamp.wrapping_sub(next) as i32);
        // What was concealed for longer has been filled by the listeners themselves.
        let left = std::mem::take(&mut self.left_to_browsers);
        if gap > 0 && (lost > 0 || self.dtx) && self.in_a_row < self.patience() {
            let missing = (gap as u64 * u64::from(self.rate) / u64::from(self.clock)) as usize;
            let left = left && self.codec != Codec::Opus;
            let long = left && missing > LONGEST_FILLING_FOR_BROWSERS * self.filling();
            let most = if long { self.filling() } else { missing };
            self.fill((missing, most), timestamp, payload, sink);
        }
        let Ok(decoded) = self.decoder.decode(payload, &mut self.pcm[..]) else {
            self.tally.damaged += 1;
            return;
        };
        if gap < 0 && self.is_old(gap, head, now) {
            return;
        }
        self.dtx = self.codec == Codec::Opus && payload.len() <= DTX_BYTES;
        sink(self.chunk(timestamp, decoded, false));
        self.next = Some(timestamp.wrapping_add(self.ticks(decoded)));
        self.frame = samples;
        self.in_a_row = 0;
        self.late.end();
        let length = Duration::from_micros(samples as u64 * 1_000_000 / u64::from(self.rate));
        self.overdue_at = Some(now + length + self.wait);
    }

    /// The newest samples.
    fn chunk(&self, timestamp: u32, samples: usize, concealed: bool) -> Chunk<'_> {
        let Voice { clock, rate, timeline, .. } = *self;
        Chunk { timestamp, clock, rate, own: false, timeline, concealed, pcm: &self.pcm[..samples] }
    }

    fn ticks(&self, samples: usize) -> u32 {
        ticks(samples, self.clock, self.rate)
    }

    /// Samples of a concealed frame.
    fn filling(&self) -> usize {
        (self.rate / FRAMES) as usize
    }

    /// Its place is filled already: dropped, unless the sender must have begun anew.
    fn is_old(&mut self, gap: i32, head: Head, now: Instant) -> bool {
        let is_back = gap < -TOO_OLD * self.clock as i32;
        let paused = self.in_a_row >= self.patience();
        // It begins a talkspurt where the one before ended: its clock stood still.
        let concealed = self.ticks(usize::from(self.in_a_row) * self.filling());
        let resumes = paused && head.marker && gap.unsigned_abs() == concealed;
        if !is_back && !resumes && !self.late.is_for_good(head.timestamp, self.clock, paused, now) {
            self.tally.late += 1;
            return true;
        }
        self.begin_timeline();
        false
    }

    fn begin_timeline(&mut self) {
        self.begins = false;
        self.timeline += 1;
        self.next = None;
        self.in_a_row = 0;
        self.late.end();
    }

    /// How many frames are concealed before the source counts as paused.
    fn patience(&self) -> u8 {
        match self.codec {
            Codec::Opus if self.dtx => CONCEALED_IN_A_ROW_OF_DTX,
            Codec::Opus => CONCEALED_IN_A_ROW_OF_OPUS,
            Codec::Pcmu | Codec::Pcma | Codec::G722 => CONCEALED_IN_A_ROW,
        }
    }

    /// Fills `missing` samples before the packet at `timestamp`: its last frame from the packet's FEC if it has any. Listeners
    /// get the first `most` samples; the others are made all the same, so that the packet is blended with their end.
    fn fill(
        &mut self,
        (missing, most): (usize, usize),
        timestamp: u32,
        payload: &[u8],
        sink: &mut dyn FnMut(Chunk<'_>),
    ) {
        if missing > LONGEST_FILLING * self.filling() {
            return;
        }
        let step = (self.rate / STEPS) as usize;
        let whole = missing - missing % step;
        let mut missing = whole;
        while missing > 0 {
            let length =
                if missing > self.frame { self.frame.min(missing - self.frame).max(step) } else { missing };
            let out = &mut self.pcm[..length];
            let filled = if length == missing && !self.dtx {
                self.decoder.recover(payload, out)
            } else {
                self.decoder.conceal(out);
                Filled::Concealed
            };
            if whole - missing >= most {
                missing -= length;
                continue;
            }
            match filled {
                Filled::Fec => self.tally.fec += 1,
                // What a pause sounds like is no loss.
                Filled::Concealed => self.tally.concealed += u64::from(!self.dtx),
            }
            let concealed = filled == Filled::Concealed && !self.dtx;
            sink(self.chunk(timestamp.wrapping_sub(self.ticks(missing)), length, concealed));
            missing -= length;
        }
    }

    fn conceal_next(&mut self, now: Instant, sink: &mut dyn FnMut(Chunk<'_>)) -> bool {
        let Some(timestamp) = self.next.filter(|_| self.in_a_row < self.patience() && !self.begins) else {
            self.overdue_at = None;
            return true;
        };
        let length = self.filling();
        self.decoder.conceal(&mut self.pcm[..length]);
        self.tally.concealed += u64::from(!self.dtx);
        self.in_a_row += 1;
        sink(self.chunk(timestamp, length, !self.dtx));
        self.next = Some(timestamp.wrapping_add(self.ticks(length)));
        self.overdue_at = Some(now + Duration::from_millis(20));
        false
    }
}
