//! Legs that go from a call on one worker to a call on the other (calls with even numbers are on worker 0).

use super::*;

/// Its name in the call that it comes to.
const NEW: LegId = LegId(7);

fn adopt(bench: &Bench, call: u64, from: u64) {
    let worker = WorkerId((from % 2) as u8);
    bench.tell(call, Command::Adopt { leg: NEW, from: CallId(from), worker, their: LEG });
}

/// Two phones and the leg of each, in calls 0 and 1: two workers.
fn two_calls(bench: &Bench) -> [(UdpSocket, SocketAddr); 2] {
    [0, 1].map(|call| {
        let phone = phone();
        let gateway = bench.echo(call, phone.local_addr().unwrap()).unwrap();
        (phone, gateway)
    })
}

/// Both legs in call 0, each hearing the other.
fn join(bench: &Bench) {
    adopt(bench, 0, 1);
    bench.tell(1, Command::Close);
    bench.tell(0, Command::SetSource { leg: LEG, source: Source::Leg(NEW) });
    bench.tell(0, Command::SetSource { leg: NEW, source: Source::Leg(LEG) });
    assert_eq!(bench.event(1), Event::Closed);
}

/// Speaks on one side until the other hears it; sequence numbers and SSRCs that it has heard.
fn hears(from: &(UdpSocket, SocketAddr), to: &(UdpSocket, SocketAddr), first: u16) -> Vec<(u16, [u8; 4])> {
    let voice = 0x31;
    let mut buf = [0; 2000];
    let mut heard = Vec::new();
    to.0.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    for seq in first..first + 500 {
        from.0.send_to(&rtp(seq, voice), from.1).unwrap();
        while let Ok((n, source)) = to.0.recv_from(&mut buf) {
            assert_eq!(source, to.1, "the port that this phone knows");
            let number = u16::from_be_bytes([buf[2], buf[3]]);
            if n == 172 {
                heard.push((number, buf[8..12].try_into().unwrap()));
            }
            if n == 172 && buf[12] == voice {
                return heard;
            }
        }
    }
    panic!("nothing of it was heard");
}

#[test]
fn two_phones_on_two_workers_are_joined_and_keep_their_ports_and_streams() {
    let bench = Bench::start(18_400..=18_419);
    let phones = two_calls(&bench);
    // Both streams have begun.
    assert!(hears_itself(&phones[0].0, phones[0].1, 0x31) && hears_itself(&phones[1].0, phones[1].1, 0x32));
    let before = hears(&phones[1], &phones[1], 2_000).pop().unwrap();
    join(&bench);
    assert_eq!(
        bench.plane.free_rtp_ports(),
        8,
        "the leg that moved keeps its port, though its call is closed"
    );
    assert_eq!(bench.plane.counters().calls, 1);
    let heard = hears(&phones[0], &phones[1], 3_000);
    hears(&phones[1], &phones[0], 4_000);
    let all: Vec<_> = [before].into_iter().chain(heard).collect();
    assert!(all.windows(2).all(|w| w[0].1 == w[1].1), "one SSRC (field problem 2): {all:?}");
    assert!(all.windows(2).all(|w| w[1].0.wrapping_sub(w[0].0) == 1), "one sequence: {all:?}");
    bench.tell(0, Command::Close);
    assert_eq!(bench.event(0), Event::Closed);
    assert_eq!(bench.plane.free_rtp_ports(), 10);
}

#[test]
fn a_leg_goes_to_and_fro_and_into_calls_that_have_no_media_yet() {
    let bench = Bench::start(18_420..=18_429);
    let phone = phone();
    let gateway = bench.echo(1, phone.local_addr().unwrap()).unwrap();
    let steps = [(1, LEG, 4), (4, NEW, 7), (7, NEW, 9), (9, NEW, 2)];
    for (from, their, to) in steps {
        let worker = WorkerId((from % 2) as u8);
        bench.tell(to, Command::Adopt { leg: NEW, from: CallId(from), worker, their });
        bench.tell(to, Command::SetSource { leg: NEW, source: Source::Echo });
        bench.tell(from, Command::Close);
    }
    assert!(hears_itself(&phone, gateway, 0x21));
    let deadline = Instant::now() + DEADLINE;
    while bench.plane.counters().calls > 1 && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!((bench.plane.counters().calls, bench.plane.free_rtp_ports()), (1, 4));
}

#[test]
fn a_leg_that_is_not_there_is_lost_and_the_call_goes_on() {
    let bench = Bench::start(18_430..=18_439);
    let here = phone();
    let gateway = bench.echo(0, here.local_addr().unwrap()).unwrap();
    for from in [1, 2] {
        adopt(&bench, 0, from);
        assert!(matches!(bench.event(0), Event::Lost { leg: NEW, .. }));
    }
    assert!(hears_itself(&here, gateway, 0x21));
    bench.tell(0, Command::Close);
    assert_eq!(bench.event(0), Event::Closed);
}

#[test]
fn a_leg_stays_where_it_is_when_there_is_no_such_worker() {
    let bench = Bench::start(18_440..=18_449);
    let phone = phone();
    let gateway = bench.echo(1, phone.local_addr().unwrap()).unwrap();
    let command = Command::Adopt { leg: NEW, from: CallId(1), worker: WorkerId(1), their: LEG };
    bench.plane.send(WorkerId(2), CallCommand { call: CallId(8), command }).unwrap_err();
    assert!(hears_itself(&phone, gateway, 0x21));
}

#[test]
fn stopping_while_legs_are_on_their_way_returns_every_port() {
    for _ in 0..20 {
        let bench = Bench::start(18_450..=18_459);
        let [first, second] = two_calls(&bench).map(|(_, gateway)| gateway);
        for round in 0..4_u64 {
            let (from, to) = (round % 2, (round + 1) % 2);
            let worker = WorkerId(from as u8);
            bench.tell(to, Command::Adopt { leg: NEW, from: CallId(from), worker, their: LEG });
        }
        bench.plane.stop();
        assert!(UdpSocket::bind(first).is_ok() && UdpSocket::bind(second).is_ok());
    }
}
