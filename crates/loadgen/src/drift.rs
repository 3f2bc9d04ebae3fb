//! Calls in real time between clocks that differ: what comes out neither clicks nor falls silent nor grows late.

use std::f64::consts::TAU;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use media_bridge::codec::g711;
use opus::{Application, Bitrate, Channels, Encoder};

use crate::delay::Ear;
use crate::detector::{listen, loudness};
use crate::engine::{Heard, Speech, Way};
use crate::line::{Fate, Line};
use crate::quality::{Call, calls};
use crate::sdp::Codec;
use crate::setup::Says;
use crate::{Fallible, out};

const FRAME: Duration = Duration::from_millis(20);
/// Samples of a frame.
const SAMPLES: usize = 160;
/// Frames of the second that is said over and over.
const SECOND: usize = 50;
/// Frames that the lines last longer than what is judged.
const MORE: usize = 250;
/// Calls of each kind.
const EACH: usize = 2;
/// Frames that the middle one of five seconds may be later, or sooner, than that of the first five.
const LATE: u16 = 1;
/// Packets looked at together: five seconds.
const TOGETHER: usize = 250;
/// What is heard is at least so loud: root mean square.
const LOUD: f64 = 2_000.0;

/// Calls of this span between clocks that differ by `ppm`, of browsers with PCMU (relayed) and with Opus (transcoded);
/// either end has the faster clock.
///
/// # Errors
/// When the gateway does not start, a call does not last, or what comes out clicks, falls silent, is not steady or grows late.
pub fn drift(gateway: &Path, dir: &Path, span: Duration, ppm: u32) -> Fallible<()> {
    let frames = (span.as_millis() / FRAME.as_millis()) as usize;
    let lines = [false, true].map(|fast| Rc::new(line(frames + MORE, ppm, fast)));
    let mut says = Vec::new();
    for codec in [Codec::Pcmu, Codec::Opus] {
        let (browser, party) = (said(codec, frames)?, said(Codec::Pcmu, frames)?);
        for n in 0..2 * EACH {
            let over =
                |speech: &Speech, line: &Rc<Line>| Speech { line: Some(line.clone()), ..speech.clone() };
            let (browser, party) = (over(&browser, &lines[n % 2]), over(&party, &lines[(n + 1) % 2]));
            says.push(Says { browser, party, mono: false });
        }
    }
    let through = calls(gateway, dir, Codec::Pcmu, says.clone())?;
    for (n, (call, says)) in through.calls.iter().zip(&says).enumerate() {
        out(&format!("drift: call {n}, {:?}: {}", says.browser.codec, counted(call)));
        for (way, said, heard_as) in
            [(Way::ToParty, &says.browser, Codec::Pcmu), (Way::ToBrowser, &says.party, says.browser.codec)]
        {
            let heard = &call.heard[way as usize];
            judge(heard, said, heard_as, frames).map_err(|why| format!("call {n}, {way:?}: {why}"))?;
        }
    }
    Ok(())
}

/// The transit of packets that are sent by such a clock.
fn line(packets: usize, ppm: u32, fast: bool) -> Line {
    let gained = |n: usize| Fate::Late(Duration::from_nanos(n as u64 * u64::from(ppm) * 20));
    Line((0..packets).map(|n| gained(if fast { packets - n } else { n })).collect())
}

/// Harmonics of whole Hertz: what is said in one second fits before what is said in the next.
fn chord(n: usize) -> i16 {
    let t = n as f64 / (SAMPLES * SECOND) as f64;
    let wave = |hz: f64| (t * hz * TAU).sin();
    (4_000.0 * wave(210.0) + 2_500.0 * wave(430.0) + 1_500.0 * wave(655.0)) as i16
}

/// A second of it over and over: the second time round, so that its end fits its beginning.
fn said(codec: Codec, frames: usize) -> Fallible<Speech> {
    let mut encoder = Encoder::new(8_000, Channels::Mono, Application::Voip)?;
    encoder.set_bitrate(Bitrate::Bits(20_000))?;
    let mut encode = |n: usize| -> Fallible<Vec<u8>> {
        let pcm: Vec<i16> = (n * SAMPLES..(n + 1) * SAMPLES).map(chord).collect();
        if codec == Codec::Opus {
            return Ok(encoder.encode_vec(&pcm, 1_275)?);
        }
        let mut payload = Vec::new();
        g711::Law::Mu.encode(&pcm, &mut payload);
        Ok(payload)
    };
    let two: Vec<Vec<u8>> = (0..2 * SECOND).map(&mut encode).collect::<Fallible<_>>()?;
    let frames = (0..frames).map(|n| two[SECOND + n % SECOND].clone()).collect();
    Ok(Speech { codec, frames: Rc::new(frames), line: None })
}

/// What the record says of the packets that came.
fn counted(call: &Call) -> String {
    let of = |side: &str, key: &str| call.record[side][key].as_u64().unwrap_or_default();
    let side = |side: &str| {
        let [lost, concealed, late] = ["lost", "plc_frames", "late"].map(|key| of(side, key));
        format!("{lost} lost, {concealed} concealed, {late} late")
    };
    format!("of the browser {}; of the party {}", side("caller_media"), side("callee_media"))
}

/// All but the first second, in which a trunk may have got noise before anything came.
fn judge(heard: &[Heard], said: &Speech, heard_as: Codec, frames: usize) -> Fallible<()> {
    let line = said.line.as_deref().ok_or("no line")?;
    let heard = heard.get(SECOND..frames).ok_or_else(|| format!("{} packets of {frames}", heard.len()))?;
    let step = heard_as.frame();
    if let Some(at) = heard.windows(2).position(|two| two[1].timestamp.wrapping_sub(two[0].timestamp) != step)
    {
        return Err(format!("packet {at} is not followed by the next one").into());
    }
    let all: Vec<i16> = heard.iter().zip(SECOND..).map(|(one, n)| lateness(one, n, line)).collect();
    let late: Vec<i16> = all.chunks(TOGETHER).map(middle).collect();
    if let Some(at) = late.iter().position(|now| now.abs_diff(late[0]) > LATE) {
        return Err(format!("{} frames later than at first after {at} times 5 s", late[at] - late[0]).into());
    }
    let mut ear = Ear::new(heard_as, 8_000)?;
    let pcm: Vec<i16> = heard.iter().flat_map(|one| ear.hear(&one.payload)).skip(SAMPLES).collect();
    let found = listen(&pcm, 8_000);
    if !found.clicks.is_empty() || !found.gaps.is_empty() || loudness(&pcm) < LOUD {
        return Err(
            format!("clicks and gaps at these samples: {found:?}, loudness {:.0}", loudness(&pcm)).into()
        );
    }
    Ok(())
}

/// By how many frames a packet came later than its line made it, but for what was made up before the first one came.
fn lateness(one: &Heard, number: usize, line: &Line) -> i16 {
    let Fate::Late(transit) = line.fate(number as u64) else { return 0 };
    let frames = transit.as_nanos() / FRAME.as_nanos();
    one.newest.wrapping_sub(number as u16).wrapping_sub(frames as u16) as i16
}

fn middle(of: &[i16]) -> i16 {
    let mut all = of.to_vec();
    all.sort_unstable();
    all[all.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a gateway that adds nothing lets out.
    fn passed(said: &Speech, frames: usize, newest: impl Fn(usize) -> usize) -> Vec<Heard> {
        let one = |n: usize| {
            let timestamp = n as u32 * said.codec.frame();
            Heard { newest: newest(n) as u16, timestamp, payload: said.frames[n].clone() }
        };
        (0..frames).map(one).collect()
    }

    #[test]
    fn what_clicks_or_skips_or_grows_late_is_found_and_what_is_well_is_not() {
        for codec in [Codec::Pcmu, Codec::Opus] {
            let mut said = said(codec, 500).unwrap();
            said.line = Some(Rc::new(line(750, 4_000, false)));
            let slow = |n: usize| n + n * 4 / 1_000;
            let well = passed(&said, 500, slow);
            judge(&well, &said, codec, 500).unwrap();
            let mut broken = well.clone();
            // Opus glides into what comes next, whatever that is; what is damaged is silent.
            broken[217].payload = if codec == Codec::Opus { vec![0xff] } else { said.frames[8].clone() };
            assert!(judge(&broken, &said, codec, 500).is_err(), "{codec:?} clicks or falls silent");
            let mut skip = well.clone();
            skip.remove(300);
            assert!(judge(&skip, &said, codec, 499).is_err(), "{codec:?} skips");
            let late = passed(&said, 500, |n| slow(n) + n / 125);
            assert!(judge(&late, &said, codec, 500).is_err(), "{codec:?} is late");
            assert!(judge(&well[..499], &said, codec, 500).is_err(), "{codec:?} lacks one");
        }
    }

    #[test]
    fn packets_by_a_slow_clock_come_ever_later_and_by_a_fast_one_ever_less_late() {
        let [slow, fast] = [false, true].map(|fast| line(30_001, 200, fast));
        assert_eq!([slow.fate(0), fast.fate(30_001)], [Fate::Late(Duration::ZERO), Fate::Prompt]);
        assert_eq!(slow.fate(30_000), Fate::Late(Duration::from_millis(120)));
        assert_eq!(fast.fate(1), Fate::Late(Duration::from_millis(120)));
    }
}
