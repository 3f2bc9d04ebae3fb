//! Traces of jitter played through the buffer: how much delay it takes, and how much it has to make up for that, against
//! the best that any constant delay could do knowing the whole trace.

use super::*;

const MS: Duration = Duration::from_millis(1);

/// A trace: one line for each packet of 20 ms, how late it comes (ms, with fraction), or `x`: never. `#`: a comment.
fn trace(text: &str) -> Vec<Option<f64>> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| (line != "x").then(|| line.parse().unwrap())).collect()
}

#[derive(Debug)]
struct Outcome {
    /// Mean time between when a packet could have come at best and when it was played (ms).
    delay: f64,
    /// Of the packets that came, those not played.
    concealed: f64,
    tally: PlayoutTally,
}

/// Speech and pauses take turns: a second of each, so that the buffer has its chances.
fn play(trace: &[Option<f64>], least: u64, most: u64, drift_ppm: f64) -> Outcome {
    let begun = Instant::now();
    let mut playout = Playout::new(Codec::Pcmu, MS * least as u32, MS * most as u32, begun);
    let at = |ms: f64| begun + Duration::from_nanos((ms * 1e6) as u64);
    let sent = |n: usize| n as f64 * 20.0 * (1.0 + drift_ppm / 1e6);
    let mut arrivals: Vec<(f64, usize)> =
        trace.iter().enumerate().filter_map(|(n, late)| Some((sent(n) + (*late)?, n))).collect();
    arrivals.sort_by(|a, b| a.0.total_cmp(&b.0));
    let came = arrivals.len();
    let mut arrivals = arrivals.into_iter().peekable();
    let (mut delays, mut skipped) = (Vec::new(), 0);
    let fastest = trace.iter().flatten().copied().fold(f64::MAX, f64::min);
    for tick in 0..trace.len() + 100 {
        let now = tick as f64 * 20.0;
        while let Some((time, n)) = arrivals.next_if(|(time, _)| *time <= now) {
            playout.put(n as u32 * 160, &(n as u32).to_be_bytes(), at(time));
        }
        let quiet = tick / 50 % 2 == 1;
        loop {
            match playout.pull(at(now), quiet) {
                Step::Skip(..) => {
                    skipped += 1;
                    playout.played(160);
                    continue;
                }
                Step::Play(_, payload) => {
                    let n = u32::from_be_bytes(payload.try_into().unwrap()) as usize;
                    delays.push(now - sent(n) - fastest);
                    playout.played(160);
                }
                Step::Conceal(..) | Step::Stretch | Step::Silence => {}
            }
            break;
        }
    }
    let delay = delays.iter().sum::<f64>() / delays.len() as f64;
    let concealed = (came - delays.len() - skipped) as f64 / came as f64;
    Outcome { delay, concealed, tally: playout.tally() }
}

/// The least constant delay (ms) with which no larger share of the trace's packets is late.
fn ideal(trace: &[Option<f64>], concealed: f64) -> f64 {
    let mut late: Vec<f64> = trace.iter().flatten().copied().collect();
    late.sort_by(f64::total_cmp);
    let in_time = ((1.0 - concealed) * late.len() as f64).ceil() as usize;
    late[in_time.clamp(1, late.len()) - 1] - late[0]
}

/// Traces in `traces/`, what they are is written in each. Delay and share made up, against the ideal.
#[test]
fn delay_and_what_is_made_up_stay_near_the_best_constant_delay_on_every_trace() {
    for (name, text, beyond, most_concealed) in [
        ("quiet", include_str!("traces/quiet.txt"), 35.0, 0.002),
        ("wireless", include_str!("traces/wireless.txt"), 45.0, 0.03),
        ("mobile", include_str!("traces/mobile.txt"), 60.0, 0.04),
        ("loopback", include_str!("traces/loopback.txt"), 45.0, 0.02),
    ] {
        let trace = trace(text);
        let outcome = play(&trace, 20, 500, 0.0);
        let best = ideal(&trace, outcome.concealed);
        println!(
            "{name}: {} packets, delay {:.1} ms, {:.2} % made up; a constant delay needs {best:.1} ms for that; {:?}",
            trace.len(),
            outcome.delay,
            outcome.concealed * 100.0,
            outcome.tally
        );
        assert!(outcome.delay < best + beyond, "{name}: {outcome:?}, ideal {best}");
        assert!(outcome.concealed < most_concealed, "{name}: {outcome:?}");
    }
}

#[test]
fn a_steady_stream_is_played_whole_at_the_least_delay() {
    let outcome = play(&[Some(3.0); 1_000], 20, 500, 0.0);
    assert_eq!((outcome.concealed, outcome.tally.late, outcome.tally.skipped), (0.0, 0, 0), "{outcome:?}");
    assert!((15.0..45.0).contains(&outcome.delay), "{outcome:?}");
}

#[test]
fn one_bound_is_a_constant_delay_whatever_the_network_does() {
    for jitter in [0.0, 40.0, 150.0] {
        let late = |n: usize| Some(if n.is_multiple_of(3) { jitter } else { 0.0 });
        let outcome = play(&(0..1_000).map(late).collect::<Vec<_>>(), 200, 200, 0.0);
        assert_eq!(outcome.concealed, 0.0, "{jitter}: {outcome:?}");
        assert!((outcome.delay - 200.0).abs() <= 20.0, "{jitter}: {outcome:?}");
    }
}

#[test]
fn a_sender_whose_clock_drifts_is_followed_frame_by_frame_within_the_bounds() {
    for ppm in [-200.0, 200.0] {
        // Ten minutes: 120 ms, six frames.
        let outcome = play(&vec![Some(0.0); 30_000], 60, 60, ppm);
        let changes = outcome.tally.stretched + outcome.tally.skipped;
        assert!((3..=10).contains(&changes), "{ppm}: {outcome:?}");
        assert!((40.0..100.0).contains(&outcome.delay), "{ppm}: {outcome:?}");
    }
}

#[test]
fn lost_packets_leave_exactly_their_place_and_the_next_one_brings_fec() {
    let begun = Instant::now();
    let mut playout = Playout::new(Codec::Pcmu, 60 * MS, 60 * MS, begun);
    let mut heard = String::new();
    for n in 0..40u32 {
        let now = begun + 20 * n * MS;
        if !(10..13).contains(&n) && n < 30 {
            playout.put(n * 160, &[n as u8], now);
        }
        let (step, ticks) = match playout.pull(now, false) {
            Step::Play(..) => ('p', 160),
            Step::Conceal(160, Some(next)) => (if next == [13] { 'f' } else { '?' }, 0),
            Step::Conceal(160, None) => ('c', 0),
            Step::Silence => ('s', 0),
            Step::Conceal(..) | Step::Stretch | Step::Skip(..) => ('?', 0),
        };
        heard.push(step);
        if ticks > 0 {
            playout.played(ticks);
        }
    }
    assert_eq!(heard, "sssppppppppppccfpppppppppppppppppcccccss");
}

#[test]
fn timestamps_that_begin_anew_are_played_on() {
    let begun = Instant::now();
    let mut playout = Playout::new(Codec::Pcmu, 40 * MS, 40 * MS, begun);
    let mut played = 0;
    for n in 0..300u32 {
        let now = begun + 20 * n * MS;
        // A jump far ahead, then one back by a second, which comes late a few times.
        let timestamp = match n {
            0..100 => n * 160,
            100..200 => n * 160 + 1_000_000,
            _ => n * 160 + 1_000_000 - 8_000,
        };
        playout.put(timestamp, &[0], now);
        if let Step::Play(..) = playout.pull(now, false) {
            played += 1;
            playout.played(160);
        }
    }
    assert!(played > 280, "{played}");
    assert_eq!(playout.tally().late, u64::from(LATE_IN_A_ROW));
}
