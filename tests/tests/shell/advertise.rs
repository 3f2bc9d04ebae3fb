//! `[sip] advertise` and `[media] advertise` between two machines (network namespaces): what a peer reads is the
//! advertised address, and what it sends there arrives (field problem 1).

use e2e::browser::{RustBrowser, Voice};
use e2e::gateway::{PASSWORD, binary};
use e2e::launch::{Launched, fresh_dir};
use e2e::netns::{self, Netns};
use e2e::process::wait_for;
use e2e::rawsip::RawSip;
use e2e::rtp::RtpParty;
use e2e::trunk::Message;
use e2e::ws::Ws;
use serde_json::json;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
const HTTP: u16 = 8080;
const SIP: u16 = 5060;
const TRUNK: u16 = 5080;
const WEBRTC: u16 = 8443;
const RTP: std::ops::Range<u16> = 20_000..20_010;
const NUMBER: &str = "+12025550100";

fn start(gateway: &Netns, peer: Ipv4Addr, advertise: Ipv4Addr) -> Launched {
    let dir = fresh_dir("netns");
    let toml = format!(
        "[http]\nlisten = \"0.0.0.0:{HTTP}\"\n\
         [sip]\ncountry = \"US\"\ndomain = \"example.com\"\nlisten = [\"udp:0.0.0.0:{SIP}\", \"tcp:0.0.0.0:{SIP}\"]\nadvertise = \"{advertise}\"\n\
         [media]\nwebrtc_port = {WEBRTC}\nrtp_ports = \"{}-{}\"\nworkers = 2\nadvertise = \"{advertise}\"\n\
         [[users]]\nname = \"alice\"\npassword = \"{PASSWORD}\"\nextension = \"100\"\ncaller_id = \"+12025550110\"\n\
         [[trunks]]\nname = \"carrier\"\nserver = \"{peer}:{TRUNK}\"\n\
         [[routes]]\nmatch = \"+*\"\nto = [\"trunk:carrier\"]\n",
        RTP.start,
        RTP.end - 1
    );
    std::fs::write(dir.join("webtrunk.toml"), toml).expect("configuration written");
    let mut command = gateway.command(&binary());
    command.args(["run", "--sip-trace", "--config"]).arg(dir.join("webtrunk.toml")).current_dir(dir);
    Launched::spawn(&mut command)
}

/// The two parties of a call on the peer's machine.
struct Parties {
    carrier: RawSip,
    rtp: RtpParty,
    ws: Ws,
    browser: RustBrowser,
}

impl Parties {
    fn new(address: Ipv4Addr, gateway: Ipv4Addr) -> Parties {
        let http = SocketAddr::from((gateway, HTTP));
        wait_for(LIMIT, "the gateway listens", || TcpStream::connect(http).ok());
        let carrier = RawSip::bind((address, TRUNK).into(), (gateway, SIP).into());
        let ws = Ws::signed_in(http, "alice");
        let browser = RustBrowser::new(Voice::Pcmu, IpAddr::V4(address));
        Parties { carrier, rtp: RtpParty::start_on(address), ws, browser }
    }

    fn sdp(&self) -> String {
        let ip = self.carrier.local.ip();
        format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {} RTP/AVP 0\r\n",
            self.rtp.port
        )
    }

    /// The browser calls the carrier, which answers. The browser's candidates and the INVITE.
    fn call(&mut self) -> (Vec<String>, Message) {
        self.ws.send(&json!({ "type": "call", "call": "c1", "to": NUMBER, "sdp": self.browser.offer() }));
        let answer = self.ws.wait_type("sdp");
        let answer = answer["sdp"].as_str().expect("text").to_owned();
        self.browser.set_answer(&answer);
        let candidates = answer.lines().filter(|line| line.starts_with("a=candidate:"));
        let candidates =
            candidates.map(|line| line.split(' ').nth(4).expect("an address").to_owned()).collect();
        let invite = self.carrier.wait_request("INVITE");
        let contact = format!("Contact: <sip:carrier@{}>\r\n", self.carrier.local);
        self.carrier.reply(&invite, "200 OK", &contact, &self.sdp());
        self.carrier.wait_request("ACK");
        self.ws.wait_state("in-call");
        self.browser.wait_connected();
        (candidates, invite)
    }

    /// Both must hear each other, the carrier's audio going where the INVITE said.
    fn talk(&mut self, invite: &Message) {
        self.rtp.peer = Some(invite.audio());
        std::thread::scope(|scope| {
            let rtp = &mut self.rtp;
            scope.spawn(move || rtp.play(0, &[0x55; 16_000]));
            self.browser.speak_for(Duration::from_secs(2), &[0x31; 160]);
        });
        let to_browser = self.browser.heard().iter().filter(|one| one.payload == [0x55; 160]).count();
        let to_carrier = self.rtp.heard().iter().filter(|one| one.payload == [0x31; 160]).count();
        assert!(to_browser >= 80, "{to_browser} of 100 packets reached the browser");
        assert!(to_carrier >= 80, "{to_carrier} of 100 packets reached the carrier");
    }

    /// The carrier hangs up: a BYE to the Contact of the INVITE.
    fn hang_up(&mut self, invite: &Message) {
        let contact = invite.header("contact").split(['<', '>']).nth(1).expect("a Contact");
        let local = self.carrier.local;
        let bye = format!(
            "BYE {contact} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKbye\r\nMax-Forwards: 70\r\n\
             From: {};tag=raw{}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n",
            invite.header("to"),
            local.port(),
            invite.header("from"),
            invite.header("call-id")
        );
        self.carrier.send_to(bye.as_bytes(), authority(contact));
        self.carrier.wait("200 for BYE", LIMIT, |m| m.status() == Some(200) && m.header("cseq") == "1 BYE");
        assert_eq!(self.ws.wait_ended("c1"), "hung-up");
    }
}

/// Host and port of a SIP URI.
fn authority(uri: &str) -> SocketAddr {
    let host = uri.split('@').next_back().and_then(|rest| rest.split(';').next()).expect("a host");
    host.parse().unwrap_or_else(|_| SocketAddr::new(host.parse().expect("an address"), SIP))
}

/// What the carrier reads must be the advertised address, everywhere.
fn must_show_only(invite: &Message, candidates: &[String], advertised: Ipv4Addr) {
    let shown = advertised.to_string();
    assert_eq!(
        authority(invite.header("contact").split(['<', '>']).nth(1).expect("a Contact")).ip(),
        advertised
    );
    assert!(invite.header("via").contains(&format!("SIP/2.0/UDP {shown}")), "{}", invite.header("via"));
    assert_eq!(invite.audio().ip(), advertised);
    assert!(RTP.contains(&invite.audio().port()));
    assert!(!candidates.is_empty() && candidates.iter().all(|ip| *ip == shown), "{candidates:?}");
}

#[test]
fn a_second_address_of_the_machine_is_shown_to_peers_and_carries_the_call() {
    let [near, far] = netns::pair();
    let advertised = Ipv4Addr::new(10, 79, 1, 9);
    near.add_address(advertised, "cable");
    let gateway = start(&near, far.address, advertised);
    far.inside(|| {
        let mut parties = Parties::new(far.address, near.address);
        let (candidates, invite) = parties.call();
        must_show_only(&invite, &candidates, advertised);
        parties.talk(&invite);
        assert!(
            parties.rtp.heard().iter().all(|one| one.from == invite.audio()),
            "audio comes from where it goes"
        );
        parties.hang_up(&invite);
        // A socket on every address answers from the one that was asked.
        for asked in [advertised, near.address] {
            let mut softphone = RawSip::at(IpAddr::V4(far.address), (asked, SIP).into());
            let (answer, _) = softphone.register("alice", PASSWORD);
            assert_eq!((answer.status(), answer.from), (Some(200), (asked, SIP).into()));
        }
    });
    gateway.signal("TERM");
    assert_eq!(gateway.finish(Duration::from_secs(8)).code, Some(0));
}

/// A router's outside: takes what comes for these ports of `public` to the same ports of `inside`, and what comes back.
struct Nat {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Nat {
    fn start(public: Ipv4Addr, inside: Ipv4Addr, ports: impl Iterator<Item = u16>) -> Nat {
        let stop = Arc::new(AtomicBool::new(false));
        let forward = |port| {
            let outer = UdpSocket::bind((public, port)).expect("the router's own address");
            let stop = stop.clone();
            std::thread::spawn(move || translate(&outer, (inside, port).into(), &stop))
        };
        let threads = ports.map(forward).collect();
        Nat { stop, threads }
    }
}

fn translate(outer: &UdpSocket, inside: SocketAddr, stop: &AtomicBool) {
    let mut mappings: HashMap<SocketAddr, UdpSocket> = HashMap::new();
    let mut buffer = [0; 4096];
    let pause = Some(Duration::from_millis(1));
    outer.set_read_timeout(pause).expect("timeout");
    while !stop.load(Ordering::Relaxed) {
        if let Ok((size, from)) = outer.recv_from(&mut buffer) {
            let mapping = mappings.entry(from).or_insert_with(|| {
                let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
                socket.set_read_timeout(pause).expect("timeout");
                socket
            });
            mapping.send_to(&buffer[..size], inside).expect("a datagram");
        }
        for (client, mapping) in &mappings {
            while let Ok(size) = mapping.recv(&mut buffer) {
                outer.send_to(&buffer[..size], client).expect("a datagram");
            }
        }
    }
}

impl Drop for Nat {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

#[test]
fn a_routers_address_in_front_of_the_machine_is_shown_to_peers_and_carries_the_call() {
    let [near, far] = netns::pair();
    let advertised = Ipv4Addr::new(203, 0, 113, 5);
    // The gateway does not have this address: the router in front of it does, here on the peers' machine.
    far.add_address(advertised, "lo");
    let gateway = start(&near, far.address, advertised);
    far.inside(|| {
        let ports = [SIP, WEBRTC, WEBRTC + 1].into_iter().chain(RTP);
        let _nat = Nat::start(advertised, near.address, ports);
        let mut parties = Parties::new(far.address, near.address);
        let (candidates, invite) = parties.call();
        must_show_only(&invite, &candidates, advertised);
        parties.talk(&invite);
        parties.hang_up(&invite);
    });
    gateway.signal("TERM");
    assert_eq!(gateway.finish(Duration::from_secs(8)).code, Some(0));
}
