//! Field problem 36: an off-path sender who has guessed SSRC, sequence number, timestamp and payload type.

use e2e::browser::Voice;
use e2e::dialled::{Dialled, dial};
use e2e::gateway::{Gateway, Setup};
use e2e::rtp::RtpParty;
use e2e::trunk::Trunk;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
/// A frame of the outsider, of the carrier and of the browser: told apart in what arrives.
const OUTSIDER: [u8; 160] = [0x11; 160];
const CARRIER: [u8; 160] = [0x22; 160];
const BROWSER: [u8; 160] = [0x33; 160];

/// Packets as the carrier's party sends them, from another address than its own.
struct Outsider {
    socket: UdpSocket,
    target: SocketAddr,
    ssrc: u32,
    sequence: u16,
}

impl Outsider {
    fn flood(&mut self, packets: u16) {
        for _ in 0..packets {
            self.sequence = self.sequence.wrapping_add(1);
            let mut packet = vec![0x80, 0];
            packet.extend(self.sequence.to_be_bytes());
            packet.extend((160_000 + 160 * u32::from(self.sequence.wrapping_sub(1000))).to_be_bytes());
            packet.extend(self.ssrc.to_be_bytes());
            packet.extend(OUTSIDER);
            self.socket.send_to(&packet, self.target).expect("loopback takes it");
        }
    }

    /// Whether anything was sent to the outsider.
    fn got_something(&self) -> bool {
        self.socket.set_nonblocking(true).expect("nonblocking");
        self.socket.recv(&mut [0; 2048]).is_ok()
    }
}

#[test]
fn an_outsider_with_guessed_numbers_is_neither_heard_nor_sent_to_before_during_and_after_latching() {
    let mut trunk = Trunk::start();
    let gateway = Gateway::run(&Setup::with_trunk(trunk.port));
    let Dialled { mut ws, mut browser, call } = dial(&gateway, &mut trunk, Voice::Pcmu);
    let mut party = RtpParty::start();
    let mut outsider = Outsider {
        socket: UdpSocket::bind("127.0.0.2:0").expect("another loopback address"),
        target: call.invite.audio(),
        ssrc: 0x5e1f_0000 | u32::from(party.port),
        sequence: 999,
    };

    outsider.flood(20);
    call.answer(&mut party);
    ws.wait_state("in-call");
    browser.wait_connected();
    outsider.flood(20);
    for _ in 0..25 {
        party.play(0, &CARRIER);
        outsider.flood(2);
        browser.speak_for(Duration::from_millis(20), &BROWSER);
    }
    outsider.flood(100);
    party.play(0, &CARRIER.repeat(25));
    browser.speak_for(Duration::from_millis(200), &BROWSER);

    assert!(browser.wait_heard(0, 40, LIMIT), "the carrier is heard");
    let heard: Vec<_> = browser.heard().into_iter().map(|one| one.payload).collect();
    assert!(heard.iter().any(|payload| *payload == CARRIER), "the carrier's own audio");
    assert!(!heard.iter().any(|payload| *payload == OUTSIDER), "not the outsider's");
    assert!(party.heard().iter().any(|one| one.payload == BROWSER), "the carrier hears the browser");
    assert!(!outsider.got_something(), "nothing is sent to the outsider");
    ws.bye("c1");
    let cdr = gateway.wait_cdrs(1).remove(0);
    assert!(cdr["callee_media"]["rejected"].as_u64() >= Some(100), "what was refused is counted: {cdr}");
}
