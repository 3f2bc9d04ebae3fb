//! Calls between the address families, and a phone of another make over IPv6 (RFC 6157, RFC 5118). What SIPp can say stands
//! in `sipp-scenarios/cases/ipv6_*.toml`.

use e2e::baresip::{Account, Baresip};
use e2e::gateway::{Gateway, PASSWORD, Setup, binary};
use e2e::launch::{Launched, fresh_dir};
use e2e::netns;
use e2e::process::wait_for;
use e2e::rawsip::{RawSip, unique};
use e2e::rtp::RtpParty;
use e2e::sipp::Sipp;
use e2e::speech::{read_wav, speech};
use e2e::tls::Authority;
use e2e::trunk::{Message, Trunk};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
/// Frames of either side, told apart in what arrives.
const CARRIER: [u8; 160] = [0x22; 160];
const PHONE: [u8; 160] = [0x33; 160];

/// Whether the party hears frames like this one, while both speak.
fn hears(party: &RtpParty, frame: &[u8; 160]) -> bool {
    party.heard().iter().filter(|one| one.payload == frame).count() >= 5
}

#[test]
fn an_ipv4_carrier_and_an_ipv6_softphone_hear_each_other() {
    let trunk = Trunk::start();
    let gateway = Gateway::run(&Setup { ipv6: true, ..Setup::with_trunk(trunk.port) });
    let mut phone = RawSip::at(V6, SocketAddr::new(V6, gateway.sip));
    assert_eq!(phone.register("alice", PASSWORD).0.status(), Some(200));
    let (mut carrier, mut ear) = (RtpParty::start(), RtpParty::start_on(V6));
    let mut call = trunk.call(gateway.sip, "+12025550110", ("Carol", "+12025550177"), carrier.port);
    let invite = phone.wait_request("INVITE");
    let own = format!("@[::1]:{}", gateway.sip);
    assert!(invite.header("contact").contains(&own), "RFC 5952 §6: {}", invite.header("contact"));
    assert!(invite.header("via").starts_with(&format!("SIP/2.0/UDP [::1]:{};", gateway.sip)));
    assert_eq!(invite.audio().ip(), V6, "RFC 8866 §5.7");
    let contact = format!("Contact: <sip:alice@{}>\r\n", phone.local);
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP6 ::1\r\ns=-\r\nc=IN IP6 ::1\r\nt=0 0\r\nm=audio {} RTP/AVP 0\r\n",
        ear.port
    );
    phone.reply(&invite, "200 OK", &contact, &sdp);
    ear.peer = Some(invite.audio());
    let answer = call.wait_answer(&mut carrier, LIMIT);
    assert!(answer.audio().is_ipv4());
    let until = Instant::now() + LIMIT;
    while !(hears(&carrier, &PHONE) && hears(&ear, &CARRIER)) {
        assert!(Instant::now() < until, "carrier {:?}, phone {:?}", carrier.heard().len(), ear.heard().len());
        carrier.play(0, &CARRIER);
        ear.play(0, &PHONE);
    }
    assert!(ear.heard().iter().all(|one| one.from == invite.audio()), "sound comes from where we said");
    call.hang_up();
    let bye = phone.wait_request("BYE");
    phone.reply(&bye, "200 OK", "", "");
    assert_eq!(gateway.wait_cdrs(1)[0]["reason"], "hung-up");
}

#[test]
fn baresip_registers_by_tls_over_ipv6_and_hears_an_ipv4_trunk() {
    let authority = Authority::new();
    let mut sipp = Sipp::scenario("outbound_answer_echo").echo();
    sipp.timeout = 60;
    let tls = Some(authority.sign("gateway", "IP:::1,DNS:localhost", 30));
    let gateway = Gateway::run(&Setup { tls, ipv6: true, ..Setup::with_trunk(sipp.port) });
    let sipp = sipp.start();
    let account = Account {
        host: V6,
        transport: "tls",
        ca: Some(&authority.identity.cert),
        ..Account::new("alice", gateway.sip + 1, &speech().reference)
    };
    let mut phone = Baresip::start(&account);
    phone.wait_registered(LIMIT);
    phone.command("dial", &format!("sip:+12025550100@[::1]:{};transport=tls", gateway.sip + 1));
    phone.wait_event("CALL_ESTABLISHED", LIMIT);
    phone.wait_event("CALL_CLOSED", LIMIT);
    sipp.finish().must_pass();
    let heard = read_wav(&phone.heard());
    assert!(heard.iter().any(|sample| sample.unsigned_abs() > 3000), "the echo of its own speech");
    let cdr = gateway.wait_cdrs(1).remove(0);
    assert_eq!(cdr["reason"], "hung-up");
}

#[test]
fn media_at_an_ipv6_address_that_this_machine_has_no_way_to_is_refused_in_words() {
    const SIP: u16 = 5060;
    const CARRIER_PORT: u16 = 5080;
    let [machine, _other] = netns::pair();
    let dir = fresh_dir("ipv6");
    let toml = format!(
        "[http]\nlisten = \"127.0.0.1:8080\"\n\
         [sip]\ndomain = \"example.com\"\ncountry = \"US\"\nlisten = [\"udp:127.0.0.1:{SIP}\", \"tcp:127.0.0.1:{SIP}\"]\n\
         [media]\nwebrtc_port = 8443\nrtp_ports = \"20000-20039\"\nworkers = 1\n\
         [[users]]\nname = \"alice\"\npassword = \"{PASSWORD}\"\nextension = \"100\"\ncaller_id = \"+12025550110\"\n\
         [[trunks]]\nname = \"carrier\"\nserver = \"127.0.0.1:{CARRIER_PORT}\"\n"
    );
    std::fs::write(dir.join("webtrunk.toml"), toml).expect("configuration written");
    let mut command = machine.command(&binary());
    command.args(["run", "--config"]).arg(dir.join("webtrunk.toml")).current_dir(&dir);
    let _gateway = Launched::spawn(&mut command);
    let refusal: Message = machine.inside(|| {
        let gateway = SocketAddr::from((Ipv4Addr::LOCALHOST, SIP));
        wait_for(LIMIT, "the gateway listens", || TcpStream::connect(gateway).ok());
        let mut alice = RawSip::at(Ipv4Addr::LOCALHOST.into(), gateway);
        assert_eq!(alice.register("alice", PASSWORD).0.status(), Some(200));
        let mut carrier = RawSip::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, CARRIER_PORT)), gateway);
        let sdp = "v=0\r\no=- 1 1 IN IP6 2001:db8::7\r\ns=-\r\nc=IN IP6 2001:db8::7\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
        let (local, call_id, length) = (carrier.local, unique("v6"), sdp.len());
        carrier.send(
            format!(
                "INVITE sip:+12025550110@{gateway} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch={}\r\nMax-Forwards: 70\r\n\
                 From: <sip:+12025550177@{local}>;tag=1\r\nTo: <sip:+12025550110@{gateway}>\r\nCall-ID: {call_id}\r\n\
                 CSeq: 1 INVITE\r\nContact: <sip:{local}>\r\nContent-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{sdp}",
                unique("z9hG4bK")
            )
            .as_bytes(),
        );
        carrier.wait("a final response", LIMIT, |one| one.status().is_some_and(|s| s >= 200))
    });
    assert_eq!(refusal.status(), Some(488), "{refusal:?}");
    let warning = refusal.header("warning");
    assert!(warning.contains("IPv6 address") && warning.contains("no way there"), "{warning}");
}

#[test]
fn this_machine_has_the_ipv6_loopback_address_that_tests_need() {
    let bound = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0));
    assert!(bound.is_ok(), "no ::1 here ({bound:?}): enable IPv6, `sysctl net.ipv6.conf.lo.disable_ipv6=0`");
}
