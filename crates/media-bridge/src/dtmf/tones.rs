//! Digits as tones in the audio (ITU-T Q.23), for peers that understand nothing else: frames of 20 ms, paced by the
//! caller's clock.

use std::collections::VecDeque;
use std::f32::consts::TAU;
use std::time::{Duration, Instant};

use types::limits::DTMF_QUEUE;

use super::event;
use super::sender::{DtmfError, LONGEST, PAUSE, SHORTEST};

const RATE: f32 = 8_000.0;
/// Samples of one frame.
const FRAME: usize = 160;
const FRAME_TIME: Duration = Duration::from_millis(20);
/// A timer that is later than this has been asleep: it does not make up for it.
const CATCH_UP: Duration = Duration::from_millis(100);
/// About -10 dBm0 for each of the two (ITU-T Q.23, Q.24: -3 to -25).
const LEVEL: f32 = 7_000.0;
/// Short ramps keep the edges from clicking.
const RAMP: u32 = 16;
pub(super) const ROWS: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
pub(super) const COLUMNS: [f32; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
pub(super) const KEYS: [&str; 4] = ["123A", "456B", "789C", "*0#D"];

/// The two frequencies of a key, Hz.
fn frequencies(digit: char) -> Option<(f32, f32)> {
    let row = KEYS.iter().position(|keys| keys.contains(digit))?;
    Some((ROWS[row], COLUMNS[KEYS[row].find(digit)?]))
}

#[derive(Clone, Copy, Debug)]
struct Playing {
    pair: (f32, f32),
    /// Samples done and wanted.
    at: u32,
    length: u32,
    next: Instant,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The next digit may begin from here on.
    Idle {
        from: Option<Instant>,
    },
    Sounding(Playing),
}

/// Digits to one peer.
#[derive(Debug)]
pub struct Tones {
    queue: VecDeque<(char, Duration)>,
    state: State,
    /// Timestamp of the next frame, 8 kHz.
    timestamp: u32,
    begun: u32,
}

impl Default for Tones {
    fn default() -> Tones {
        Tones { queue: VecDeque::new(), state: State::Idle { from: None }, timestamp: 0, begun: 0 }
    }
}

impl Tones {
    /// Queues a digit; its length is brought into 70-6000 ms.
    ///
    /// # Errors
    /// `QueueFull`, `NotADigit`.
    pub fn push(&mut self, digit: char, duration: Duration) -> Result<(), DtmfError> {
        event(digit).ok_or(DtmfError::NotADigit)?;
        if self.queue.len() >= DTMF_QUEUE {
            return Err(DtmfError::QueueFull);
        }
        self.queue.push_back((digit.to_ascii_uppercase(), duration.clamp(SHORTEST, LONGEST)));
        Ok(())
    }

    /// Whether a tone sounds: other audio is left out meanwhile.
    pub fn is_sounding(&self) -> bool {
        matches!(self.state, State::Sounding(_))
    }

    /// Digits begun so far. Timestamps say nothing of the time between two of them.
    pub fn begun(&self) -> u32 {
        self.begun
    }

    /// When `next_frame` has one; a moment in the past means now.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Idle { from } => (!self.queue.is_empty()).then(|| from.unwrap_or(now)),
            State::Sounding(playing) => Some(playing.next),
        }
    }

    /// The frame that is due, with its timestamp. Call until none.
    pub fn next_frame(&mut self, now: Instant) -> Option<(u32, [i16; FRAME])> {
        if let State::Idle { from } = self.state {
            if from.is_some_and(|from| now < from) {
                return None;
            }
            let (digit, duration) = self.queue.pop_front()?;
            let pair = frequencies(digit)?;
            let length = (duration.as_secs_f32() * RATE) as u32;
            self.state = State::Sounding(Playing { pair, at: 0, length, next: now });
            self.begun = self.begun.wrapping_add(1);
        }
        let State::Sounding(playing) = &mut self.state else { return None };
        if now < playing.next {
            return None;
        }
        if now.saturating_duration_since(playing.next) > CATCH_UP {
            playing.next = now;
        }
        let mut frame = [0; FRAME];
        frame.iter_mut().for_each(|sample| *sample = playing.sample());
        playing.next += FRAME_TIME;
        if playing.at >= playing.length {
            self.state = State::Idle { from: Some(playing.next + PAUSE) };
        }
        let timestamp = self.timestamp;
        self.timestamp = timestamp.wrapping_add(FRAME as u32);
        Some((timestamp, frame))
    }
}

impl Playing {
    fn sample(&mut self) -> i16 {
        let at = self.at;
        self.at += 1;
        if at >= self.length {
            return 0;
        }
        let edge = at.min(self.length - 1 - at).min(RAMP) as f32 / RAMP as f32;
        let wave = |frequency: f32| (TAU * (frequency * at as f32 / RATE).fract()).sin();
        ((wave(self.pair.0) + wave(self.pair.1)) * LEVEL * edge) as i16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Share of the power at one frequency.
    fn share(x: &[i16], frequency: f64) -> f64 {
        let (mut re, mut im, mut all) = (0.0, 0.0, 0.0);
        for (n, &s) in x.iter().enumerate() {
            let turn = std::f64::consts::TAU * frequency * n as f64 / 8_000.0;
            re += f64::from(s) * turn.cos();
            im += f64::from(s) * turn.sin();
            all += f64::from(s).powi(2);
        }
        2.0 * (re * re + im * im) / all / x.len() as f64
    }

    #[test]
    fn each_key_is_its_two_frequencies_of_itu_t_q_23_at_equal_level() {
        for (row, keys) in KEYS.iter().enumerate() {
            for (column, key) in keys.chars().enumerate() {
                let (mut tones, now) = (Tones::default(), Instant::now());
                tones.push(key, Duration::from_millis(200)).unwrap();
                let mut audio = Vec::new();
                for n in 0..10 {
                    let (timestamp, frame) = tones.next_frame(now + FRAME_TIME * n).unwrap();
                    assert_eq!(timestamp, n * FRAME as u32);
                    audio.extend(frame);
                }
                let low = share(&audio, ROWS[row].into());
                let high = share(&audio, COLUMNS[column].into());
                assert!((0.45..0.55).contains(&low) && (0.45..0.55).contains(&high), "{key}: {low} {high}");
            }
        }
    }

    #[test]
    fn a_tone_has_its_length_and_a_pause_before_the_next() {
        let (mut tones, now) = (Tones::default(), Instant::now());
        tones.push('5', Duration::from_millis(90)).unwrap();
        tones.push('6', Duration::from_millis(10)).unwrap();
        let mut last = Vec::new();
        for n in 0..5 {
            assert_eq!(tones.poll_timeout(now + FRAME_TIME * n), Some(now + FRAME_TIME * n));
            last = tones.next_frame(now + FRAME_TIME * n).unwrap().1.to_vec();
        }
        assert!(last[80..].iter().all(|&s| s == 0), "90 ms end in the middle of the fifth frame");
        assert!(!tones.is_sounding());
        let next = now + Duration::from_millis(170);
        assert_eq!(tones.poll_timeout(now), Some(next));
        assert!(tones.next_frame(next - Duration::from_millis(1)).is_none());
        assert!(tones.next_frame(next).is_some());
    }

    #[test]
    fn what_is_no_key_is_refused_and_the_queue_is_bounded() {
        let mut tones = Tones::default();
        assert_eq!(tones.push('x', SHORTEST), Err(DtmfError::NotADigit));
        for _ in 0..DTMF_QUEUE {
            tones.push('1', SHORTEST).unwrap();
        }
        assert_eq!(tones.push('1', SHORTEST), Err(DtmfError::QueueFull));
    }
}
