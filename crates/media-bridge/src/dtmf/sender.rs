//! Makes telephone-events (RFC 4733 §2.5.1), paced by the caller's clock: an update every 20 ms, the end three times,
//! a pause before the next digit. Longer events than 16 bits of duration can say are split into segments.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use types::limits::DTMF_QUEUE;

use super::event;

/// Between packets of one event.
const INTERVAL: Duration = Duration::from_millis(20);
/// Shortest tone that every receiver detects.
const SHORTEST: Duration = Duration::from_millis(70);
/// Longest tone that a user may ask for.
const LONGEST: Duration = Duration::from_secs(6);
/// Between the end of a tone and the next (ITU-T Q.24 wants up to 70 ms).
const PAUSE: Duration = Duration::from_millis(70);
/// The end is sent this often (RFC 4733 §2.5.1.4).
const ENDS: u8 = 3;
/// Level of the tone, -dBm0.
const VOLUME: u8 = 10;

/// Why a digit was not queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DtmfError {
    /// Too many digits are waiting (`limits::DTMF_QUEUE`).
    QueueFull,
    /// Not `0-9`, `*`, `#`, `A-D`.
    NotADigit,
}

impl fmt::Display for DtmfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DtmfError::QueueFull => "too many digits are waiting to be sent",
            DtmfError::NotADigit => "not a DTMF digit",
        })
    }
}

impl std::error::Error for DtmfError {}

/// A packet to send now, with the numbers of `OutStream::event(first, offset, marker, now)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventPacket {
    /// The payload.
    pub payload: [u8; 4],
    /// The first packet of an event: its timestamp is that of now.
    pub first: bool,
    /// Samples after the event's start at which this segment of it starts.
    pub offset: u32,
    /// Marker bit: on the first packet only.
    pub marker: bool,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    event: u8,
    duration: Duration,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing under way; the next digit may begin from here on.
    Idle { from: Option<Instant> },
    /// The tone sounds.
    Sounding { tone: Waiting, start: Instant, next: Instant, segment: u32 },
    /// The tone is over; the end is being repeated.
    Ending { tone: Waiting, over: Instant, next: Instant, segment: u32, left: u8 },
}

/// Digits to one peer.
#[derive(Debug)]
pub struct Sender {
    clock: u32,
    queue: VecDeque<Waiting>,
    state: State,
}

impl Sender {
    /// `clock`: of the telephone-event rtpmap, Hz.
    pub fn new(clock: u32) -> Sender {
        Sender { clock, queue: VecDeque::with_capacity(DTMF_QUEUE), state: State::Idle { from: None } }
    }

    /// Another clock was negotiated; a tone under way goes on in the new one.
    pub fn set_clock(&mut self, clock: u32) {
        self.clock = clock;
    }

    /// Queues a digit; its length is brought into 70-6000 ms.
    ///
    /// # Errors
    /// `QueueFull`, `NotADigit`.
    pub fn push(&mut self, digit: char, duration: Duration) -> Result<(), DtmfError> {
        let event = event(digit).ok_or(DtmfError::NotADigit)?;
        if self.queue.len() >= DTMF_QUEUE {
            return Err(DtmfError::QueueFull);
        }
        self.queue.push_back(Waiting { event, duration: duration.clamp(SHORTEST, LONGEST) });
        Ok(())
    }

    /// Whether a tone sounds: audio is left out meanwhile, so that no receiver hears the digit twice.
    pub fn is_sounding(&self) -> bool {
        matches!(self.state, State::Sounding { .. })
    }

    /// Whether nothing is queued or under way.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && matches!(self.state, State::Idle { .. })
    }

    /// When `next_packet` has one; a moment in the past means now.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Idle { from } if !self.queue.is_empty() => Some(from.unwrap_or(now)),
            State::Idle { .. } => None,
            State::Sounding { next, .. } | State::Ending { next, .. } => Some(next),
        }
    }

    /// The packet that is due. Call until none.
    pub fn next_packet(&mut self, now: Instant) -> Option<EventPacket> {
        match self.state {
            State::Idle { from } => {
                if from.is_some_and(|from| now < from) {
                    return None;
                }
                let tone = self.queue.pop_front()?;
                self.state = State::Sounding { tone, start: now, next: now + INTERVAL, segment: 0 };
                let packet = self.packet(tone, 0, INTERVAL, false);
                Some(EventPacket { first: true, marker: true, ..packet })
            }
            State::Sounding { tone, start, next, segment } if now >= next => {
                Some(self.update(tone, start, segment, now))
            }
            State::Ending { tone, over, next, segment, left } if now >= next => {
                self.state = match left - 1 {
                    0 => State::Idle { from: Some(over + PAUSE) },
                    left => State::Ending { tone, over, next: now + INTERVAL, segment, left },
                };
                Some(self.packet(tone, segment, tone.duration, true))
            }
            State::Sounding { .. } | State::Ending { .. } => None,
        }
    }

    /// An update, the last of a full segment, or the first end.
    fn update(&mut self, tone: Waiting, start: Instant, segment: u32, now: Instant) -> EventPacket {
        let sounded = now.saturating_duration_since(start) + INTERVAL;
        let reached = sounded.min(tone.duration);
        if self.samples(reached).saturating_sub(segment) > u32::from(u16::MAX) {
            let last = self.packet(tone, segment, reached, false);
            // The next segment begins where this one is full, with its first packet due at once.
            self.state = State::Sounding { tone, start, next: now, segment: segment + u32::from(u16::MAX) };
            return last;
        }
        if sounded < tone.duration {
            self.state = State::Sounding { tone, start, next: now + INTERVAL, segment };
            return self.packet(tone, segment, sounded, false);
        }
        let over = start + tone.duration;
        self.state = State::Ending { tone, over, next: now + INTERVAL, segment, left: ENDS - 1 };
        self.packet(tone, segment, tone.duration, true)
    }

    fn packet(&self, tone: Waiting, segment: u32, reached: Duration, end: bool) -> EventPacket {
        let samples = self.samples(reached).saturating_sub(segment).min(u32::from(u16::MAX)) as u16;
        let [high, low] = samples.to_be_bytes();
        let flags = VOLUME | if end { 0x80 } else { 0 };
        EventPacket { payload: [tone.event, flags, high, low], first: false, offset: segment, marker: false }
    }

    fn samples(&self, d: Duration) -> u32 {
        (d.as_micros() as u64 * u64::from(self.clock) / 1_000_000) as u32
    }
}
