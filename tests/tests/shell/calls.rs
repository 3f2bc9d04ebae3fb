//! Calls as their record, metrics and trace tell of them: why each ended, what bad input and a stop do to them.

use e2e::browser::{RustBrowser, Voice};
use e2e::dialled::{NUMBER, dial};
use e2e::gateway::{Gateway, PASSWORD, Setup};
use e2e::ports::{free_ports, root};
use e2e::process::wait_for;
use e2e::rawsip::RawSip;
use e2e::rtp::RtpParty;
use e2e::tool::Tool;
use e2e::trunk::Trunk;
use e2e::ws::Ws;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LIMIT: Duration = Duration::from_secs(30);
/// 20 ms of Opus silence: what matters is that it decodes.
const OPUS_FRAME: [u8; 3] = [0x08, 0xff, 0xfe];

fn http(gateway: &Gateway) -> SocketAddr {
    SocketAddr::new(LOOPBACK, gateway.http)
}

/// The one record of a call, checked for what all records have.
fn record(gateway: &Gateway, reason: &str) -> Value {
    let cdr = gateway.wait_cdrs(1).remove(0);
    assert_eq!(cdr["reason"], reason, "{cdr}");
    assert!(cdr["text"].as_str().is_some_and(|text| text.ends_with('.')), "{cdr}");
    for time in ["started", "ended"] {
        assert!(cdr[time].as_str().is_some_and(|at| at.len() >= 20 && at.ends_with('Z')), "{time}: {cdr}");
    }
    let metrics = gateway.get("/metrics").expect("metrics").1;
    let line = format!("webtrunk_calls_ended_total{{reason=\"{reason}\"}} 1");
    assert!(metrics.lines().any(|one| one == line), "{line} is not in\n{metrics}");
    cdr
}

#[test]
fn a_refusal_of_the_carrier_is_told_to_the_browser_and_recorded_in_the_same_word() {
    for (status, reason, q850) in [
        ("486 Busy Here", "busy", 17),
        ("603 Decline", "declined", 21),
        ("404 Not Found", "number-not-in-service", 1),
        ("480 Temporarily Unavailable", "no-answer", 19),
        ("403 Forbidden", "trunk-forbade", 21),
        ("503 Service Unavailable", "trunk-failed", 41),
        ("484 Address Incomplete", "invalid-number", 28),
    ] {
        let mut trunk = Trunk::start();
        let gateway = Gateway::run(&Setup::with_trunk(trunk.port));
        let mut alice = dial(&gateway, &mut trunk, Voice::Pcmu);
        alice.call.refuse(status);
        assert_eq!(alice.ws.wait_ended("c1"), reason);
        let cdr = record(&gateway, reason);
        let code: u64 = status[..3].parse().expect("a status");
        assert_eq!(
            (&cdr["sip_status"], &cdr["q850"], &cdr["ended_by"]),
            (&json!(code), &json!(q850), &json!("callee"))
        );
        assert_eq!((&cdr["answered"], &cdr["duration_ms"]), (&Value::Null, &json!(0)));
        assert_eq!(cdr["caller"], json!({ "kind": "browser", "user": "alice" }));
        assert_eq!(cdr["callee"], json!({ "kind": "trunk", "trunk": "carrier" }));
        assert_eq!((&cdr["from"], &cdr["to"]), (&json!("100"), &json!(NUMBER)));
    }
}

#[test]
fn an_answered_call_is_recorded_with_its_length_its_codecs_and_who_hung_up() {
    for hangs_up in ["caller", "callee"] {
        let mut trunk = Trunk::start();
        let gateway = Gateway::run(&Setup::with_trunk(trunk.port));
        let mut alice = dial(&gateway, &mut trunk, Voice::Opus);
        alice.call.ring();
        alice.ws.wait_state("ringing");
        let mut party = RtpParty::start();
        alice.call.answer(&mut party);
        alice.ws.wait_state("in-call");
        alice.browser.wait_connected();
        alice.browser.speak_for(Duration::from_millis(1200), &OPUS_FRAME);
        party.play(0, &[0x55; 1_600]);
        if hangs_up == "caller" {
            alice.ws.bye("c1");
            let bye = alice.call.wait("BYE", LIMIT);
            assert!(bye.header("reason").contains("Q.850;cause=16"), "{:?}", bye.headers);
        } else {
            alice.call.hang_up();
        }
        assert_eq!(alice.ws.wait_ended("c1"), "hung-up");
        let cdr = record(&gateway, "hung-up");
        let length = cdr["duration_ms"].as_u64().expect("a number");
        assert!((1000..8000).contains(&length), "{length} ms");
        assert_eq!(cdr["ended_by"], hangs_up);
        assert_eq!(
            (&cdr["caller_media"]["codec"], &cdr["callee_media"]["codec"]),
            (&json!("opus"), &json!("pcmu"))
        );
        assert!(cdr["caller_media"]["packets_in"].as_u64() >= Some(40), "{cdr}");
        assert!(cdr["callee_media"]["packets_out"].as_u64() >= Some(40), "{cdr}");
        // Field problems 4 and 10: how long it took until there was audio.
        let browser = &cdr["caller_media"];
        for key in ["ice_ms", "dtls_ms", "first_audio_ms"] {
            assert!(browser[key].as_u64().is_some_and(|ms| ms < 3_000), "{key} in {cdr}");
        }
        assert!(cdr["callee_media"]["first_audio_ms"].as_u64().is_some_and(|ms| ms < 3_000), "{cdr}");
        assert!(cdr["callee_media"].get("dtls_ms").is_none(), "a trunk has none: {cdr}");
        let metrics = gateway.get("/metrics").expect("metrics").1;
        let counted = |name: &str| -> u64 {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in\n{metrics}")).trim().parse().expect("a number")
        };
        assert!(counted("webtrunk_media_packets_total{side=\"browser\",direction=\"in\"}") >= 40);
        assert!(counted("webtrunk_media_packets_total{side=\"rtp\",direction=\"out\"}") >= 40);
        assert_eq!(counted("webtrunk_rtp_port_pairs_free"), 20, "the port is back");
        assert_eq!(counted("webtrunk_media_calls"), 0);
        let spoke = counted("webtrunk_leg_mos_count{party=\"browser\"}");
        assert!(spoke >= 1, "the browser spoke for more than a second");
        for name in ["webtrunk_browser_ice_seconds_count", "webtrunk_browser_dtls_seconds_count"] {
            assert_eq!(counted(name), 1);
        }
        for party in ["browser", "trunk"] {
            assert_eq!(counted(&format!("webtrunk_first_audio_seconds_count{{party=\"{party}\"}}")), 1);
        }
        assert!(metrics.contains("# TYPE webtrunk_leg_loss_ratio histogram"), "{metrics}");
        assert_eq!(counted("webtrunk_media_dropped_total{cause=\"tcp-refused\"}"), 0);
        let page = gateway.dir.join("metrics.txt");
        std::fs::write(&page, &metrics).expect("a file");
        assert_eq!(Tool::start("metrics").ask(&page.display().to_string()), "ok", "{metrics}");
    }
}

/// Field problem 4: the step that failed is in the record. RFC 8122 §5: the certificate has to be the promised one.
#[test]
fn audio_that_never_comes_up_is_recorded_with_the_step_that_failed() {
    let mut trunk = Trunk::start();
    let gateway = Gateway::run(&Setup::with_trunk(trunk.port));
    let mut ws = Ws::signed_in(http(&gateway), "alice");
    // It hears no answer, so it checks nothing.
    let deaf = RustBrowser::new(Voice::Pcmu, LOOPBACK);
    ws.send(&json!({ "type": "call", "call": "c1", "to": NUMBER, "sdp": deaf.offer() }));
    let call = trunk.wait_call(LIMIT);
    let mut party = RtpParty::start();
    call.answer(&mut party);
    ws.wait_state("in-call");
    ws.bye("c1");
    assert_eq!(ws.wait_ended("c1"), "hung-up");
    let cdr = record(&gateway, "hung-up");
    let words = "the browser's audio did not come up: no connectivity check of it arrived (ICE)";
    assert_eq!(cdr["caller_media"]["remarks"], json!([words]), "{cdr}");
    assert!(cdr["caller_media"].get("ice_ms").is_none(), "{cdr}");
    let other = RustBrowser::new(Voice::Pcmu, LOOPBACK);
    let promised = |line: &str| {
        let digest = line.strip_prefix("a=fingerprint:sha-256 ")?;
        let first = if digest.starts_with('0') { '1' } else { '0' };
        Some(format!("a=fingerprint:sha-256 {first}{}", &digest[1..]))
    };
    let offer: String = other.offer().lines().map(|l| promised(l).unwrap_or(l.to_owned()) + "\r\n").collect();
    ws.send(&json!({ "type": "call", "call": "c2", "to": NUMBER, "sdp": offer }));
    let answer = ws.wait("an answer", LIMIT, |m| m["type"] == "sdp" && m["call"] == "c2");
    other.set_answer(answer["sdp"].as_str().expect("text"));
    trunk.wait_call(LIMIT).wait("CANCEL", LIMIT);
    assert_eq!(ws.wait_ended("c2"), "media-lost");
    let cdr = gateway.wait_cdrs(2).remove(1);
    let words = "the audio of the caller's browser ended: the browser's certificate has not the fingerprint of its description";
    assert_eq!(cdr["notes"], json!([words]), "{cdr}");
}

#[test]
fn a_caller_who_gives_up_is_recorded_as_cancelled() {
    let mut trunk = Trunk::start();
    let gateway = Gateway::run(&Setup::with_trunk(trunk.port));
    let mut alice = dial(&gateway, &mut trunk, Voice::Pcmu);
    alice.call.ring();
    alice.ws.wait_state("ringing");
    alice.ws.bye("c1");
    alice.call.wait("CANCEL", LIMIT);
    assert_eq!(alice.ws.wait_ended("c1"), "cancelled");
    let cdr = record(&gateway, "cancelled");
    assert_eq!((&cdr["ended_by"], &cdr["answered"]), (&json!("caller"), &Value::Null));
}

#[test]
fn a_page_that_is_closed_while_it_calls_is_recorded_as_lost() {
    let mut trunk = Trunk::start();
    let gateway = Gateway::run(&Setup::with_trunk(trunk.port));
    let alice = dial(&gateway, &mut trunk, Voice::Pcmu);
    alice.call.ring();
    drop(alice.ws);
    alice.call.wait("CANCEL", LIMIT);
    record(&gateway, "signalling-lost");
}

#[test]
fn numbers_that_lead_nowhere_say_why() {
    for (number, reason) in
        [("4711", "unknown-number"), ("not a number!", "invalid-number"), ("101", "not-registered")]
    {
        let gateway = Gateway::run(&Setup::with_trunk(free_ports(2)));
        let mut ws = Ws::signed_in(http(&gateway), "alice");
        let browser = RustBrowser::new(Voice::Pcmu, LOOPBACK);
        ws.send(&json!({ "type": "call", "call": "c1", "to": number, "sdp": browser.offer() }));
        assert_eq!(ws.wait_ended("c1"), reason, "{number}");
        assert_eq!(record(&gateway, reason)["to"], number);
    }
}

#[test]
fn a_carrier_that_refuses_connections_is_recorded_as_unreachable() {
    let gateway = Gateway::run(&Setup { trunk_tcp: true, ..Setup::with_trunk(free_ports(2)) });
    let mut ws = Ws::signed_in(http(&gateway), "alice");
    let browser = RustBrowser::new(Voice::Pcmu, LOOPBACK);
    ws.call(&browser, "c1", NUMBER);
    assert_eq!(ws.wait_ended("c1"), "trunk-unreachable");
    record(&gateway, "trunk-unreachable");
}

#[test]
fn a_declined_browser_call_is_recorded_as_declined() {
    let gateway = Gateway::run(&Setup::default());
    let mut bob = Ws::signed_in(http(&gateway), "bob");
    let mut alice = Ws::signed_in(http(&gateway), "alice");
    let browser = RustBrowser::new(Voice::Opus, LOOPBACK);
    alice.call(&browser, "c1", "101");
    let incoming = bob.wait_type("incoming");
    assert_eq!((&incoming["from"], &incoming["name"]), (&json!("100"), &json!("alice")));
    bob.send(&json!({ "type": "decline", "call": incoming["call"] }));
    assert_eq!(alice.wait_ended("c1"), "declined");
    bob.wait_ended(incoming["call"].as_str().expect("an id"));
    let cdr = record(&gateway, "declined");
    assert_eq!(cdr["callee"], json!({ "kind": "browser", "user": "bob" }));
}

#[test]
fn a_call_of_the_carrier_to_a_browser_is_recorded_from_its_side() {
    let trunk = Trunk::start();
    let gateway = Gateway::run(&Setup::with_trunk(trunk.port));
    let mut alice = Ws::signed_in(http(&gateway), "alice");
    let mut party = RtpParty::start();
    let mut call = trunk.call(gateway.sip, "+12025550110", ("Carol", "+12025550177"), party.port);
    let incoming = alice.wait_type("incoming");
    assert_eq!((&incoming["from"], &incoming["name"]), (&json!("+12025550177"), &json!("Carol")));
    let id = incoming["call"].as_str().expect("an id").to_owned();
    let browser = RustBrowser::new(Voice::Pcmu, LOOPBACK);
    alice.send(&json!({ "type": "offer", "call": id, "sdp": browser.offer() }));
    let answer = alice.wait_type("sdp");
    browser.set_answer(answer["sdp"].as_str().expect("text"));
    browser.wait_connected();
    call.wait(180, LIMIT);
    alice.send(&json!({ "type": "answer", "call": id }));
    call.wait_answer(&mut party, LIMIT);
    alice.wait_state("in-call");
    party.play(0, &[0x55; 8000]);
    assert!(browser.wait_heard(0, 40, LIMIT), "{} packets heard", browser.heard().len());
    call.hang_up();
    assert_eq!(alice.wait_ended(&id), "hung-up");
    let cdr = record(&gateway, "hung-up");
    assert_eq!(
        (&cdr["caller"], &cdr["ended_by"]),
        (&json!({ "kind": "trunk", "trunk": "carrier" }), &json!("caller"))
    );
    assert_eq!((&cdr["from"], &cdr["to"]), (&json!("+12025550177"), &json!("+12025550110")));
}

/// The address of a candidate line of SDP; none for another line.
/// The address of a UDP candidate; of one of TCP nothing (RFC 8839 §5.1).
fn candidate(line: &str) -> Option<Option<&str>> {
    let fields: Vec<&str> = line.strip_prefix("a=candidate:")?.split(' ').collect();
    Some(fields.get(4).copied().filter(|_| fields[2].eq_ignore_ascii_case("udp")))
}

/// Firefox never connects to 127.0.0.1, a machine on the same network never can: each address must do alone.
#[test]
fn every_address_offered_to_a_browser_connects_alone() {
    let trunk = Trunk::start();
    let gateway = Gateway::run(&Setup::with_trunk(trunk.port));
    let mut ws = Ws::signed_in(http(&gateway), "alice");
    let mut call = |browser: &RustBrowser, only: Option<&str>| -> Vec<String> {
        ws.send(&json!({ "type": "call", "call": "c1", "to": NUMBER, "sdp": browser.offer() }));
        let answer = ws.wait_type("sdp")["sdp"].as_str().expect("text").to_owned();
        if let Some(only) = only {
            let kept = answer.lines().filter(|line| candidate(line).is_none_or(|ip| ip == Some(only)));
            browser.set_answer(&kept.flat_map(|line| [line, "\r\n"]).collect::<String>());
            browser.wait_connected();
        }
        ws.bye("c1");
        assert_eq!(ws.wait_ended("c1"), "cancelled");
        answer.lines().filter_map(candidate).flatten().map(str::to_owned).collect()
    };
    let offered = call(&RustBrowser::new(Voice::Pcmu, LOOPBACK), None);
    assert!(
        offered.len() >= 2 && offered.ends_with(&["127.0.0.1".to_owned(), "::1".to_owned()]),
        "{offered:?}"
    );
    for address in &offered {
        let own: IpAddr = address.parse().expect("an address of this machine");
        call(&RustBrowser::new(Voice::Pcmu, own), Some(address));
    }
}

/// Bytes that are no SIP, or not quite.
fn garbage() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for folder in ["rfc4475", "rfc5118"] {
        let dir = root().join("crates/sip-ua/tests/vectors").join(folder);
        for entry in std::fs::read_dir(dir).expect("the torture messages") {
            all.push(std::fs::read(entry.expect("entry").path()).expect("readable"));
        }
    }
    assert!(all.len() >= 60, "{} torture messages", all.len());
    all.extend([
        b"\0".to_vec(),
        b"INVITE".to_vec(),
        b"INVITE sip:100@x SIP/2.0\r\n\r\n".to_vec(),
        b"SIP/2.0 200 OK\r\n\r\n".to_vec(),
        b"SIP/2.0 999999 \r\nVia: \r\n\r\n".to_vec(),
        vec![0xff; 1400],
        vec![b'\r'; 60_000],
        [b"INVITE sip:a@b SIP/2.0\r\n".as_slice(), &b"X: y\r\n".repeat(5000), b"\r\n"].concat(),
        [b"INVITE sip:".as_slice(), &[b'a'; 60_000], b" SIP/2.0\r\n\r\n"].concat(),
    ]);
    let mut seeded = e2e::rtp::Seeded(7);
    let whole = all.clone();
    // Each torture message once cut and once with bytes turned over.
    for mut message in whole {
        if message.len() > 2 {
            all.push(message[..(seeded.draw() as usize % message.len()).max(1)].to_vec());
            for _ in 0..4 {
                let at = seeded.draw() as usize % message.len();
                message[at] ^= 1 << (seeded.draw() % 8);
            }
            all.push(message);
        }
    }
    all
}

/// Sends garbage to the SIP port by UDP and by TCP, also from the carrier's own address.
fn attack(gateway: &Gateway) {
    let to = SocketAddr::new(LOOPBACK, gateway.sip);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let all = garbage();
    for message in &all {
        socket.send_to(message, to).expect("a datagram");
    }
    for message in all.iter().step_by(3) {
        let mut stream = TcpStream::connect(to).expect("the SIP port");
        // The gateway may close in the middle: that is its right.
        drop(stream.write_all(message));
    }
    let mut endless = TcpStream::connect(to).expect("the SIP port");
    endless.set_write_timeout(Some(Duration::from_secs(2))).expect("timeout");
    endless.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
    let line = b"X-Filler: 0123456789abcdef0123456789abcdef\r\n".repeat(2000);
    let begun = endless.write_all(b"OPTIONS sip:x SIP/2.0\r\n");
    begun.and_then(|()| endless.write_all(&line)).and_then(|()| endless.write_all(&line)).ok();
    let mut rest = Vec::new();
    // Closed by the gateway, with or without an answer: a reset counts as closed.
    let closed = endless.read_to_end(&mut rest);
    assert!(
        closed.is_ok() || closed.is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock),
        "a header without end"
    );
}

/// RFC 4475, field problem 36: what one peer sends wrong is nobody else's trouble.
#[test]
fn malformed_sip_by_udp_and_tcp_does_a_running_call_no_harm() {
    let mut trunk = Trunk::start();
    let gateway = Gateway::run(&Setup::with_trunk(trunk.port));
    let mut alice = dial(&gateway, &mut trunk, Voice::Pcmu);
    let mut party = RtpParty::start();
    alice.call.answer(&mut party);
    alice.ws.wait_state("in-call");
    alice.browser.wait_connected();
    std::thread::scope(|scope| {
        let attack = scope.spawn(|| attack(&gateway));
        while !attack.is_finished() {
            alice.browser.speak_for(Duration::from_millis(500), &[0x31; 160]);
        }
        attack.join().expect("the attack goes through");
    });
    alice.browser.speak_for(Duration::from_secs(1), &[0x32; 160]);
    let heard = party.heard();
    let voice: Vec<_> = heard.iter().filter(|one| one.pt == 0 && one.payload[0] & 0xf0 == 0x30).collect();
    assert!(voice.len() >= 70, "{} packets", voice.len());
    let lost = voice.windows(2).filter(|two| two[1].seq != two[0].seq.wrapping_add(1)).count();
    assert_eq!(lost, 0, "of {} packets", voice.len());
    assert!(voice.iter().any(|one| one.payload[0] == 0x32), "audio goes on after it");
    let answer = RawSip::at(LOOPBACK, SocketAddr::new(LOOPBACK, gateway.sip)).register("bob", PASSWORD).0;
    assert_eq!(answer.status(), Some(200), "the registrar works: {}", answer.start);
    alice.ws.bye("c1");
    alice.call.wait("BYE", LIMIT);
    assert_eq!(alice.ws.wait_ended("c1"), "hung-up");
    // What was sent malformed may have made records of its own; this call's is written a moment after its end.
    let ours = || gateway.cdrs().into_iter().filter(|cdr| cdr["to"] == NUMBER).collect::<Vec<_>>();
    let ours = wait_for(LIMIT, "the call's record", || Some(ours()).filter(|all| !all.is_empty()));
    assert_eq!((ours.len(), &ours[0]["reason"]), (1, &json!("hung-up")));
    let lines = gateway.process.lines();
    assert!(lines.iter().all(|line| !line.contains("panicked")), "{}", gateway.process.tail(60));
}

/// RFC 3261 §8.2, §21.4.1: what can be answered is.
#[test]
fn a_malformed_request_gets_400_with_a_reason() {
    let gateway = Gateway::run(&Setup::default());
    let to = SocketAddr::new(LOOPBACK, gateway.sip);
    let mut raw = RawSip::at(LOOPBACK, to);
    let good = raw.register_text("alice", "bad-1", 1, "");
    let bad = good.replace("CSeq: 1 REGISTER", "CSeq: 1 INVITE");
    raw.send(bad.as_bytes());
    let answer = raw.wait("an answer", LIMIT, |m| m.header("call-id") == "bad-1");
    assert_eq!(answer.status(), Some(400), "{}", answer.start);
    assert!(answer.start.len() > "SIP/2.0 400 Bad Request".len(), "it says what is wrong: {}", answer.start);
}

const TRUNK_SECRET: &str = "trunk secret 4711";

#[test]
fn the_trace_shows_both_legs_and_no_secret() {
    let carrier = RawSip::at(LOOPBACK, SocketAddr::new(LOOPBACK, 9));
    let setup = Setup {
        trunk_keys: format!("username = \"trunkuser\"\npassword = \"{TRUNK_SECRET}\"\nregister = true"),
        ..Setup::with_trunk(carrier.local.port())
    };
    let gateway = Gateway::run(&setup);
    let to = SocketAddr::new(LOOPBACK, gateway.sip);
    let mut carrier = carrier.towards(to);
    let first = carrier.wait_request("REGISTER");
    let challenge =
        "WWW-Authenticate: Digest realm=\"c\", nonce=\"carriernonce\", qop=\"auth\", algorithm=MD5\r\n";
    carrier.reply(&first, "401 Unauthorized", challenge, "");
    let second = carrier
        .wait("REGISTER with digest", LIMIT, |m| m.is("REGISTER") && !m.header("authorization").is_empty());
    carrier.reply(&second, "200 OK", &format!("Contact: {};expires=600\r\n", second.header("contact")), "");
    let mut softphone = RawSip::at(LOOPBACK, to);
    assert_eq!(softphone.register("alice", PASSWORD).0.status(), Some(200));
    let registered = || {
        gateway.get("/metrics").filter(|(_, text)| {
            text.contains("webtrunk_trunk_registration{trunk=\"carrier\",state=\"registered\"} 1")
        })
    };
    wait_for(LIMIT, "the trunk's registration in the metrics", registered);
    for seen in [
        format!("--> udp {}", carrier.local),
        format!("<-- udp {}", carrier.local),
        format!("--> udp {}", softphone.local),
        format!("<-- udp {}", softphone.local),
        "REGISTER sip:".into(),
        "SIP/2.0 200 OK".into(),
        "SIP/2.0 401 Unauthorized".into(),
        "response=***".into(),
        "nonce=***".into(),
        "username=\"trunkuser\"".into(),
    ] {
        // What was written is read by another thread.
        let printed = || gateway.process.lines().iter().any(|line| line.contains(&seen)).then_some(());
        wait_for(LIMIT, &format!("{seen} in the trace"), printed);
    }
    let text = gateway.process.lines().join("\n");
    let answer = second.header("authorization");
    let response =
        answer.split("response=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a response");
    for secret in [PASSWORD, TRUNK_SECRET, response, "carriernonce", "c0ffee"] {
        assert!(!text.contains(secret), "{secret} is in\n{text}");
    }
    // Stopping takes the registration back (RFC 3261 §10.2.2).
    gateway.process.signal("TERM");
    let last = carrier.wait("a REGISTER that removes", LIMIT, |m| {
        m.is("REGISTER") && (m.header("expires") == "0" || m.header("contact").contains("expires=0"))
    });
    carrier.reply(&last, "200 OK", "", "");
    let mut gateway = gateway;
    assert_eq!(gateway.process.wait(Duration::from_secs(8)).code(), Some(0));
}

#[test]
fn without_the_flag_no_message_and_no_number_is_printed() {
    let gateway = Gateway::demo();
    let mut ws = Ws::signed_in(http(&gateway), "alice");
    let browser = RustBrowser::new(Voice::Pcmu, LOOPBACK);
    ws.call(&browser, "c1", "+12025550102");
    assert_eq!(ws.wait_ended("c1"), "busy");
    let logged = || {
        gateway
            .process
            .lines()
            .iter()
            .any(|line| line.contains("call ended") && line.contains("busy"))
            .then_some(())
    };
    wait_for(LIMIT, "a line about the call in the log", logged);
    let lines = gateway.process.lines();
    let started = lines.iter().position(|line| line.starts_with("Phone: ")).expect("the greeting");
    let said = lines[started..].join("\n");
    for private in ["SIP/2.0", "2025550102", PASSWORD] {
        assert!(!said.contains(private), "{private} in\n{said}");
    }
}

/// A carrier whose voice menu is silent until it has something to say in digits.
#[test]
fn digits_reach_the_browser_before_any_audio_has_come() {
    let mut trunk = Trunk::start();
    let gateway = Gateway::run(&Setup::with_trunk(trunk.port));
    let mut alice = dial(&gateway, &mut trunk, Voice::Pcmu);
    let mut party = RtpParty::start();
    alice.call.answer(&mut party);
    alice.ws.wait_state("in-call");
    alice.browser.wait_connected();
    alice.browser.speak_for(Duration::from_millis(300), &[0x31; 160]);
    for digit in ['7', '7', '#'] {
        party.digit(101, digit, 160);
        assert_eq!(alice.ws.wait_type("dtmf")["digit"], digit.to_string());
    }
    let heard = || (alice.browser.digits() == [('7', 1280), ('7', 1280), ('#', 1280)]).then_some(());
    wait_for(LIMIT, "the digits as events in the browser's stream", heard);
}
