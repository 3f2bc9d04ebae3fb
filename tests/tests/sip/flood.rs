//! Floods at the media ports of a call that runs: no packet of it is lost, nobody is answered, and `/metrics` says why
//! what came was dropped.

use e2e::browser::Voice;
use e2e::dialled::{Dialled, dial};
use e2e::gateway::{Gateway, Setup};
use e2e::process::wait_for;
use e2e::rtp::RtpParty;
use e2e::trunk::Trunk;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
const CARRIER: [u8; 160] = [0x22; 160];
const BROWSER: [u8; 160] = [0x33; 160];
/// Frames that each side says while the flood runs.
const FRAMES: usize = 100;
/// Sent at once, each 2 ms: the sockets' buffers hold it, so that what is lost was not lost by the kernel.
const BURST: usize = 10;

/// Not RTP, RTP of nobody, a report, STUN without a password, the begin of a DTLS handshake, more than fits.
fn packets() -> Vec<Vec<u8>> {
    let mut voice = vec![0x80, 0, 0, 7, 0, 0, 0, 160, 9, 9, 9, 9];
    voice.extend([0x11; 160]);
    let mut check = vec![0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42];
    check.extend([7; 12]);
    check.extend([0, 6, 0, 4, b'a', b':', b'b', b'c']);
    vec![
        vec![0xff; 40],
        vec![0x80; 11],
        voice,
        vec![0x81, 203, 0, 1, 9, 9, 9, 9],
        check,
        vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 38],
        vec![0x80; 4_000],
    ]
}

/// Until told to stop; whether anything came back.
fn flood(to: &[SocketAddr], over: &AtomicBool) -> bool {
    let socket = UdpSocket::bind("127.0.0.2:0").expect("another loopback address");
    let packets = packets();
    let mut sent = 0;
    while !over.load(Ordering::Relaxed) {
        for _ in 0..BURST {
            let target = to[sent / packets.len() % to.len()];
            socket.send_to(&packets[sent % packets.len()], target).expect("loopback takes it");
            sent += 1;
        }
        thread::sleep(Duration::from_millis(2));
    }
    socket.set_nonblocking(true).expect("nonblocking");
    socket.recv(&mut [0; 2048]).is_ok()
}

fn dropped(gateway: &Gateway, cause: &str) -> u64 {
    let metrics = gateway.get("/metrics").expect("metrics").1;
    let name = format!("webtrunk_media_dropped_total{{cause=\"{cause}\"}} ");
    let count = metrics.lines().find_map(|line| line.strip_prefix(&name));
    count.unwrap_or_else(|| panic!("{cause} in {metrics}")).parse().expect("a number")
}

#[test]
fn a_flood_at_every_media_port_of_a_call_takes_no_packet_from_it_and_is_counted_by_cause() {
    let mut trunk = Trunk::start();
    let gateway = Gateway::run(&Setup::with_trunk(trunk.port));
    let Dialled { mut ws, mut browser, call } = dial(&gateway, &mut trunk, Voice::Pcmu);
    let mut party = RtpParty::start();
    let rtp = call.invite.audio();
    let ports = [rtp, SocketAddr::new(rtp.ip(), rtp.port() + 1), SocketAddr::new(rtp.ip(), gateway.webrtc)];
    call.answer(&mut party);
    ws.wait_state("in-call");
    browser.wait_connected();
    let over = AtomicBool::new(false);
    let answered = thread::scope(|scope| {
        let flood = scope.spawn(|| flood(&ports, &over));
        let party = scope.spawn(|| party.play(0, &CARRIER.repeat(FRAMES)));
        for _ in 0..FRAMES {
            browser.speak_for(Duration::from_millis(20), &BROWSER);
        }
        party.join().expect("the carrier speaks");
        over.store(true, Ordering::Relaxed);
        flood.join().expect("the flood is sent")
    });
    assert!(!answered, "nobody who floods gets an answer");
    // All that either said, counted: nothing is lost, nothing comes twice.
    wait_for(LIMIT, "the browser hears all that the carrier said", || {
        let heard = browser.heard().iter().filter(|one| one.payload == CARRIER).count();
        (heard == FRAMES).then_some(())
    });
    wait_for(LIMIT, "the carrier hears all that the browser said", || {
        let heard = party.heard().iter().filter(|one| one.payload == BROWSER).count();
        (heard == FRAMES).then_some(())
    });
    ws.bye("c1");
    gateway.wait_cdrs(1);
    for cause in ["wrong-source", "damaged", "unknown-sender", "wrong-size"] {
        assert!(dropped(&gateway, cause) > 50, "{cause}: {}", dropped(&gateway, cause));
    }
    assert_eq!(dropped(&gateway, "crashed"), 0);
}
