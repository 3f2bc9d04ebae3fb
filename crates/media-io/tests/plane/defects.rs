//! Defects: of one call, and of a whole worker.

use super::*;

/// What a defect needs to strike: it counts down the calls made until one whose making panics outside of it.
fn dying_after(calls: u8) -> (MediaPlane, Receiver<CallEvent>) {
    let (sender, events) = sync_channel(1024);
    let made = std::sync::atomic::AtomicU8::new(0);
    let entropy = move || -> Box<dyn Entropy> {
        let n = made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        assert!(n != calls, "a defect outside of any call, for the test");
        Box::new(TestEntropy { next: n, fails: false })
    };
    let send = move |ready: &mut VecDeque<CallEvent>| {
        ready.drain(..).for_each(|event| drop(sender.try_send(event)));
    };
    let config = config(18_500..=18_519);
    (MediaPlane::start(config, Arc::new(entropy), Arc::new(send)).unwrap(), events)
}

#[test]
fn a_worker_that_dies_ends_its_calls_and_returns_their_ports_and_the_others_go_on() {
    let (plane, events) = dying_after(2);
    let bench = Bench { plane, events };
    let (here, there) = (phone(), phone());
    bench.echo(0, here.local_addr().unwrap()).unwrap();
    let other = bench.echo(1, there.local_addr().unwrap()).unwrap();
    assert!(bench.plane.status().all(|w| w.alive && w.calls == 1));
    bench.tell(2, Command::Offer { leg: LEG, params: params() });
    assert_eq!(bench.event(0), Event::Crashed);
    assert_eq!(bench.event(0), Event::Closed);
    let status: Vec<_> = bench.plane.status().map(|w| (w.alive, w.calls)).collect();
    assert_eq!(status, [(false, 0), (true, 1)]);
    assert_eq!(bench.plane.free_rtp_ports(), 9, "one port pair is in use, by the other worker's call");
    assert!(hears_itself(&there, other, 0x21));
    let close = || CallCommand { call: CallId(0), command: Command::Close };
    let deadline = Instant::now() + DEADLINE;
    while bench.plane.send(WorkerId(0), close()) != Err(NotTaken::Gone) {
        assert!(Instant::now() < deadline, "the sender is told");
    }
    bench.plane.stop();
}

/// Everything that a phone hears within a moment: sequence numbers.
fn numbers(phone: &UdpSocket) -> Vec<u16> {
    let mut buf = [0; 2000];
    let mut heard = Vec::new();
    while let Ok((n, _)) = phone.recv_from(&mut buf) {
        if n == 172 {
            heard.push(u16::from_be_bytes([buf[2], buf[3]]));
        }
    }
    heard
}

#[test]
fn while_calls_break_down_beside_it_a_call_loses_no_packet() {
    let one_worker = MediaConfig { workers: 1, ..config(18_520..=18_539) };
    let bench = Bench::with(one_worker, true);
    let good = phone();
    let gateway = bench.echo(0, good.local_addr().unwrap()).unwrap();
    assert!(hears_itself(&good, gateway, 0x33));
    numbers(&good);
    for seq in 200..250_u16 {
        good.send_to(&rtp(seq, 0x33), gateway).unwrap();
        if seq.is_multiple_of(10) {
            // Every second call made on the plane has a defect in it; those between are there to be made.
            let call = u64::from(seq) * 4;
            bench.tell(call, Command::Offer { leg: LEG, params: params() });
            assert_eq!((bench.event(call), bench.event(call)), (Event::Crashed, Event::Closed));
            bench.tell(call + 2, Command::Offer { leg: LEG, params: params() });
            assert!(matches!(bench.event(call + 2), Event::LocalSdp { .. }));
        }
    }
    let heard = numbers(&good);
    assert!(heard.len() >= 50, "{heard:?}");
    assert!(heard.windows(2).all(|w| w[1].wrapping_sub(w[0]) == 1), "{heard:?}");
    assert_eq!(bench.plane.counters().crashed, 5);
    assert_eq!(bench.plane.free_rtp_ports(), 10 - 6, "only those of calls that live are in use");
}
