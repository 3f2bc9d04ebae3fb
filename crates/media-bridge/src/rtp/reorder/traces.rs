//! Traces of jitter through the window: what it gives up although it comes, and for how long it holds what is there.

use super::*;

/// When each packet of 20 ms comes, ms; `x`: never. The traces are those of the playout buffer, what they are is written there.
fn arrivals(text: &str) -> Vec<(f64, u64)> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let late = |(n, line): (usize, &str)| Some((line.parse::<f64>().ok()? + n as f64 * 20.0, n as u64));
    in_order_of_arrival(lines.enumerate().filter_map(late).collect())
}

fn in_order_of_arrival(mut arrivals: Vec<(f64, u64)>) -> Vec<(f64, u64)> {
    arrivals.sort_by(|a, b| a.0.total_cmp(&b.0));
    arrivals
}

#[derive(Debug, Default)]
struct Outcome {
    /// Came after they were given up.
    late: usize,
    /// Came out, by when they came and when they went (ms).
    held: Vec<f64>,
    order: Vec<u64>,
}

impl Outcome {
    fn mean(&self) -> f64 {
        self.held.iter().sum::<f64>() / self.held.len() as f64
    }

    fn longest(&self) -> f64 {
        self.held.iter().copied().fold(0.0, f64::max)
    }
}

fn run(arrivals: &[(f64, u64)]) -> Outcome {
    let begun = Instant::now();
    let at = |ms: f64| begun + Duration::from_nanos((ms * 1e6) as u64);
    let (mut reorder, mut outcome) = (Reorder::new(), Outcome::default());
    let came = |n: u64| arrivals.iter().find(|(_, number)| *number == n).map_or(0.0, |(time, _)| *time);
    let drain = |reorder: &mut Reorder, outcome: &mut Outcome, now: Instant| {
        while let Some(next) = reorder.poll(now) {
            let n = next.head.extended;
            outcome.held.push((now - at(came(n))).as_secs_f64() * 1e3);
            outcome.order.push(n);
        }
    };
    let head = |n: u64| Head { extended: n, timestamp: n as u32 * 160, payload_type: 0, marker: false };
    for (time, n) in arrivals {
        while let Some(due) = reorder.poll_timeout().filter(|due| *due <= at(*time)) {
            drain(&mut reorder, &mut outcome, due);
        }
        match reorder.push(head(*n), &[0; 160], at(*time)) {
            Admit::Deliver => {
                outcome.held.push(0.0);
                outcome.order.push(*n);
            }
            Admit::Held => {}
            Admit::Late => outcome.late += 1,
        }
        drain(&mut reorder, &mut outcome, at(*time));
    }
    while let Some(due) = reorder.poll_timeout() {
        drain(&mut reorder, &mut outcome, due);
    }
    assert!(outcome.order.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(outcome.order.len() + outcome.late, arrivals.len(), "each comes out or is late");
    outcome
}

/// How many would be late if every gap were waited for so long (ms).
fn late_after(arrivals: &[(f64, u64)], hold: f64) -> usize {
    let mut by_number: Vec<(u64, f64)> = arrivals.iter().map(|(time, n)| (*n, *time)).collect();
    by_number.sort_by_key(|(n, _)| *n);
    let mut newer = f64::MAX;
    let mut late = 0;
    for (_, time) in by_number.into_iter().rev() {
        late += usize::from(newer + hold <= time);
        newer = newer.min(time);
    }
    late
}

#[test]
fn little_is_given_up_and_nothing_held_for_long_on_every_trace() {
    for (name, text, most_late, most_held) in [
        ("quiet", include_str!("../playout/traces/quiet.txt"), 0, 0.01),
        ("wireless", include_str!("../playout/traces/wireless.txt"), 15, 1.0),
        ("mobile", include_str!("../playout/traces/mobile.txt"), 8, 1.0),
        ("loopback", include_str!("../playout/traces/loopback.txt"), 0, 0.01),
    ] {
        let arrivals = arrivals(text);
        let outcome = run(&arrivals);
        let constant = [0.0, 10.0, 40.0].map(|hold| late_after(&arrivals, hold));
        println!(
            "{name}: {} late (if 0, 10, 40 ms were waited: {constant:?}), held {:.2} ms, at most {:.0}",
            outcome.late,
            outcome.mean(),
            outcome.longest()
        );
        assert!(outcome.late <= most_late, "{name}: {}", outcome.late);
        assert!(outcome.mean() <= most_held, "{name}: {}", outcome.mean());
        assert!(outcome.longest() <= 40.1, "{name}: {}", outcome.longest());
    }
}

/// Two ways of which one, a fifth of the packets', is longer: how much longer is learned from its first packet. What is
/// learned fades, and is learned anew: at most one in thirty is given up.
#[test]
fn a_longer_second_way_costs_few_packets() {
    for longer in [22.0, 30.0, 38.0] {
        let late = |n: u64| if n.is_multiple_of(5) { longer } else { 0.0 };
        let two_ways = in_order_of_arrival((0..2_000).map(|n| (n as f64 * 20.0 + late(n), n)).collect());
        let outcome = run(&two_ways);
        println!("{longer} ms: {} late, held {:.2} ms", outcome.late, outcome.mean());
        assert!(outcome.late <= 400 / 30, "{longer} ms: {}", outcome.late);
        let one_way: Vec<_> = (0..2_000).map(|n| (n as f64 * 20.0, n)).collect();
        assert_eq!((run(&one_way).late, run(&one_way).mean()), (0, 0.0));
    }
}
