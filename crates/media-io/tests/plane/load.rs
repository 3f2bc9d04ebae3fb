//! Load as it is measured on real threads, and what it does to encoders.

use media_bridge::effort::{Effort, HIGH_LOAD, LOW_LOAD};

use super::*;

/// Each draw takes a while, like work of a call.
struct Slow(TestEntropy);

impl Entropy for Slow {
    fn fill(&mut self, out: &mut [u8]) {
        std::thread::sleep(Duration::from_millis(5));
        self.0.fill(out);
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_busy_worker_says_so_and_takes_effort_from_encoders_while_an_idle_one_does_not() {
    let (sender, events) = sync_channel(10_000);
    let entropy = || -> Box<dyn Entropy> { Box::new(Slow(TestEntropy { next: 1, fails: false })) };
    let send = move |ready: &mut VecDeque<CallEvent>| {
        ready.drain(..).for_each(|event| drop(sender.try_send(event)));
    };
    let plane = MediaPlane::start(config(18_600..=18_619), Arc::new(entropy), Arc::new(send)).unwrap();
    let bench = Bench { plane, events };
    let of = |worker: usize| bench.plane.status().nth(worker).unwrap();
    let usual = Effort::default();
    assert_eq!((of(0).effort, of(1).effort, of(0).load), (usual, usual, 0.0));
    let mut call = 0;
    wait_until("the load of the busy worker shows, and its effort falls", || {
        for _ in 0..2 {
            bench.tell(call, Command::Offer { leg: LEG, params: params() });
            bench.tell(call, Command::Close);
            while bench.event(call) != Event::Closed {}
            call += 2;
        }
        of(0).effort.least < usual.least
    });
    assert!(of(0).load >= HIGH_LOAD, "{}", of(0).load);
    assert_eq!(of(0).effort.most, usual.most, "who runs keeps what it has at first");
    assert!(of(1).load < LOW_LOAD && of(1).effort == usual, "{:?}", of(1));
    wait_until("the load falls though nothing happens", || of(0).load < LOW_LOAD);
}
