//! Field problem 37: scanners, guessers and floods from an address that nobody here knows, against the built binary
//! between two network namespaces; sipvicious 0.3.8 is the scanner.

use e2e::bystanders::Bystanders;
use e2e::gateway::{PASSWORD, binary};
use e2e::launch::{Launched, fresh_dir};
use e2e::netns::{self, Netns};
use e2e::ports::tools_dir;
use e2e::process::wait_for;
use e2e::rawsip::{RawSip, unique};
use e2e::trunk::{Message, Trunk};
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);
const HTTP: u16 = 8080;
const SIP: u16 = 5060;

/// The gateway's machine and the stranger's.
struct Street {
    ours: Netns,
    theirs: Netns,
    trunk: Option<Trunk>,
    _gateway: Launched,
}

impl Street {
    fn open() -> Street {
        let [ours, theirs] = netns::pair();
        let trunk = ours.inside(Trunk::start);
        let dir = fresh_dir("strangers");
        let mut toml = format!(
            "[http]\nlisten = \"127.0.0.1:{HTTP}\"\n\
             [sip]\ncountry = \"US\"\ndomain = \"{}\"\nlisten = [\"udp:0.0.0.0:{SIP}\", \"tcp:0.0.0.0:{SIP}\"]\n\
             [media]\nwebrtc_port = 8443\nrtp_ports = \"20000-20039\"\nworkers = 2\n\
             [[trunks]]\nname = \"carrier\"\nserver = \"127.0.0.1:{}\"\n\
             [[routes]]\nmatch = \"+*\"\nto = [\"trunk:carrier\"]\n",
            ours.address, trunk.port
        );
        for (name, extension) in [("alice", 100), ("bob", 101), ("1001", 1001)] {
            toml += &format!(
                "[[users]]\nname = \"{name}\"\npassword = \"{PASSWORD}\"\nextension = \"{extension}\"\n\
                 caller_id = \"+1202555{extension:04}\"\n"
            );
        }
        std::fs::write(dir.join("webtrunk.toml"), toml).expect("configuration written");
        let mut command = ours.command(&binary());
        command.args(["run", "--config"]).arg(dir.join("webtrunk.toml")).current_dir(dir);
        let gateway = Launched::spawn(&mut command);
        let street = Street { ours, theirs, trunk: Some(trunk), _gateway: gateway };
        wait_for(LIMIT, "the gateway listens", || street.metrics());
        street
    }

    fn sip(&self) -> SocketAddr {
        SocketAddr::from((self.ours.address, SIP))
    }

    fn stranger(&self) -> RawSip {
        self.theirs.inside(|| RawSip::at(self.theirs.address.into(), self.sip()))
    }

    fn metrics(&self) -> Option<String> {
        self.ours.inside(|| {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, HTTP)).ok()?;
            let request =
                format!("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{HTTP}\r\nConnection: close\r\n\r\n");
            std::io::Write::write_all(&mut stream, request.as_bytes()).ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            Some(answer)
        })
    }

    /// Value of one line of /metrics.
    fn metric(&self, name: &str) -> u64 {
        let metrics = self.metrics().expect("/metrics");
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        value.unwrap_or(0.0) as u64
    }

    fn dropped(&self, reason: &str) -> u64 {
        self.metric(&format!("webtrunk_sip_dropped_total{{reason=\"{reason}\"}}"))
    }

    /// One of sipvicious' tools on the stranger's machine, in a directory of its own, ended after `limit`.
    fn tool(&self, dir: &Path, name: &str, args: &[&str], limit: Duration) -> Output {
        let program = tools_dir().join(format!("venv/bin/sipvicious_{name}"));
        assert!(program.exists(), "{} is missing; `make setup-test` gets it", program.display());
        let mut command = self.theirs.command(Path::new("timeout"));
        command.args(["-s", "INT", &limit.as_secs().to_string()]).arg(program);
        command.args(args).current_dir(dir).env("HOME", dir).stdin(Stdio::null());
        command.output().expect("the tool runs")
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A request of a stranger in the words of `method`.
fn request(from: &RawSip, to: SocketAddr, method: &str, user: &str, more: &str) -> (String, String) {
    let (local, call_id) = (from.local, unique("stranger"));
    let text = format!(
        "{method} sip:{user}@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch={};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:{user}@{to}>;tag=s\r\nTo: <sip:{user}@{to}>\r\nCall-ID: {call_id}\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:{user}@{local}>\r\n{more}Content-Length: 0\r\n\r\n",
        unique("z9hG4bK")
    );
    (text, call_id)
}

/// Everything of an answer that may not tell one user from another.
fn shape(answer: &Message, user: &str) -> Vec<String> {
    let nonce = |value: &str| match value.split_once("nonce=\"") {
        Some((before, rest)) => format!("{before}{}", rest.split_once('"').expect("its end").1),
        None => value.to_owned(),
    };
    let fields = answer.headers.iter().filter(|(name, _)| !["call-id", "via"].contains(&name.as_str()));
    let tagless = |value: String| match value.split_once(";tag=") {
        Some((before, tag)) => format!("{before};tag={}", tag.len().min(1)),
        None => value,
    };
    let fields = fields.map(|(n, v)| format!("{n}: {}", tagless(nonce(v)).replace(user, "USER")));
    [answer.start.clone()].into_iter().chain(fields).chain([answer.body.clone()]).collect()
}

#[test]
fn an_unknown_user_and_an_existing_one_get_the_same_401_in_the_same_time() {
    let street = Street::open();
    let mut raw = street.stranger();
    for method in ["REGISTER", "INVITE"] {
        let mut seen = Vec::new();
        for user in ["alice", "1001", "100", "nobody", "9999"] {
            let mut ask = || {
                let (text, call_id) = request(&raw, street.sip(), method, user, "");
                let begun = Instant::now();
                raw.send(text.as_bytes());
                let answer = raw.wait("an answer", LIMIT, |m| m.header("call-id") == call_id);
                assert_eq!(answer.status(), Some(401), "{}", answer.start);
                (begun.elapsed(), shape(&answer, user))
            };
            // The quickest of five: the others say how busy the machine is.
            let quickest = (0..5).map(|_| ask()).min_by_key(|one| one.0).expect("five");
            seen.push((quickest.1, quickest.0));
        }
        assert!(seen.iter().all(|one| one.0 == seen[0].0), "{seen:?}");
        // No user is slower by anything that guessing could measure beside the network's noise.
        assert!(seen.iter().all(|one| one.1 < Duration::from_millis(180)), "{seen:?}");
    }
    assert_eq!(street.metric("webtrunk_sip_transactions"), 0, "a challenge leaves nothing behind");
}

#[test]
fn what_strangers_ask_beside_register_and_invite_gets_no_answer_and_is_counted() {
    let street = Street::open();
    let mut raw = street.stranger();
    let elsewhere = "203.0.113.9:5060".parse().expect("an address");
    for (method, to, reason) in [
        ("OPTIONS", street.sip(), "method"),
        ("SUBSCRIBE", street.sip(), "method"),
        ("MESSAGE", street.sip(), "method"),
        ("BYE", street.sip(), "method"),
        ("INVITE", elsewhere, "domain"),
        ("REGISTER", elsewhere, "domain"),
    ] {
        raw.send(request(&raw, to, method, "100", "").0.as_bytes());
        wait_for(LIMIT, reason, || (street.dropped(reason) > 0).then_some(()));
    }
    raw.send(b"GET / HTTP/1.0\r\n\r\n");
    let (text, _) = request(&raw, street.sip(), "INVITE", "100", "");
    raw.send(text.replace("CSeq: 1 INVITE", "CSeq: INVITE").as_bytes());
    let counted = || {
        let counts = ["not-sip", "malformed", "method", "domain"].map(|reason| street.dropped(reason));
        (counts == [1, 1, 4, 2]).then_some(())
    };
    wait_for(LIMIT, "all of it counted", counted);
    // The only answer is the one to what is answered.
    let (text, call_id) = request(&raw, street.sip(), "REGISTER", "100", "");
    raw.send(text.as_bytes());
    let first = raw.wait("the first answer", LIMIT, |m| m.status().is_some());
    assert_eq!((first.status(), first.header("call-id")), (Some(401), call_id.as_str()));
}

#[test]
fn a_phone_from_anywhere_registers_and_is_answered_from_then_on() {
    let street = Street::open();
    let mut raw = street.stranger();
    let answer = raw.register("alice", PASSWORD).0;
    assert_eq!(answer.status(), Some(200), "{}", answer.start);
    let (text, call_id) = request(&raw, street.sip(), "OPTIONS", "100", "");
    raw.send(text.as_bytes());
    let answer = raw.wait("an answer", LIMIT, |m| m.header("call-id") == call_id);
    assert_eq!(answer.status(), Some(200), "{}", answer.start);
}

#[test]
fn svmap_finds_nothing() {
    let street = Street::open();
    let dir = fresh_dir("svmap");
    let host = street.ours.address.to_string();
    let output = street.tool(&dir, "svmap", &["-v", &host], LIMIT);
    let text = said(&output);
    assert!(!text.contains(&format!("{host}:5060 |")) && text.contains("found nothing"), "{text}");
    assert!(street.dropped("method") >= 1, "it did ask:\n{text}");
}

#[test]
fn svwar_enumerates_nobody_by_register_or_invite_even_when_forced() {
    let street = Street::open();
    let dir = fresh_dir("svwar");
    let host = street.ours.address.to_string();
    for method in ["REGISTER", "INVITE", "OPTIONS"] {
        for force in [&[][..], &["--force"]] {
            let mut args = vec!["-m", method, "-e", "95-105,995-1005", &host];
            args.extend(force);
            let text = said(&street.tool(&dir, "svwar", &args, LIMIT));
            for user in ["100", "101", "1001"] {
                let row = text.lines().find(|line| line.starts_with(&format!("| {user} ")));
                assert_eq!(row, None, "{method} {force:?}:\n{text}");
            }
        }
    }
}

#[test]
fn svcrack_finds_a_password_that_it_is_given_and_is_slowed_when_it_must_guess() {
    let street = Street::open();
    let dir = fresh_dir("svcrack");
    let host = street.ours.address.to_string();
    let crack = |words: &str, limit: u64| {
        std::fs::write(dir.join("words"), words).expect("a dictionary");
        let args = ["-u", "1001", "-d", "words", &host];
        said(&street.tool(&dir, "svcrack", &args, Duration::from_secs(limit)))
    };
    // It can speak to us: what is slow is the guessing.
    let known = crack(&format!("{PASSWORD}\n"), 20);
    assert!(known.contains(PASSWORD), "{known}");
    let guesses: String = (0..200).map(|n| format!("guess{n}\n")).collect();
    let text = crack(&format!("{guesses}{PASSWORD}\n"), 15);
    assert!(!text.contains(PASSWORD), "found among 200 within 15 s:\n{text}");
}

/// Ends what runs beside a test, also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// INVITEs as fast as they can be sent, with credentials for a challenge of ours where `digest` says so.
fn flood(street: &Street, from: Ipv4Addr, stop: &AtomicBool, digest: bool) -> u64 {
    let mut raw = street.theirs.inside(|| RawSip::at(from.into(), street.sip()));
    let (text, call_id) = request(&raw, street.sip(), "INVITE", "alice", "");
    raw.send(text.as_bytes());
    let challenge = raw.wait("a challenge", LIMIT, |m| m.header("call-id") == call_id);
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..50 {
            let user = unique("victim");
            let more = if digest { raw.authorization(&challenge, &user, "wrong") } else { String::new() };
            raw.send(request(&raw, street.sip(), "INVITE", &user, &more).0.as_bytes());
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    sent
}

#[test]
fn a_dialog_flood_from_one_address_is_cut_off_and_nobody_else_notices() {
    let mut street = Street::open();
    let trunk = street.trunk.take().expect("the carrier");
    // Another address for the second flood: the first one's is spent.
    let second = Ipv4Addr::new(10, 79, 1, 3);
    street.theirs.add_address(second, "cable");
    street.ours.inside(|| {
        let mut others = Bystanders::talking(HTTP, trunk);
        for (from, digest) in [(street.theirs.address, false), (second, true)] {
            let stop = AtomicBool::new(false);
            // Whoever guesses so fast is banned soon.
            let all = || street.dropped("flood") + street.dropped("banned");
            let before = all();
            let cut = || all().saturating_sub(before);
            std::thread::scope(|scope| {
                let flood = scope.spawn(|| flood(&street, from, &stop, digest));
                let flooding = Stop(&stop);
                wait_for(LIMIT, "the flood is cut off", || (cut() > 1000).then_some(()));
                others.must_notice_nothing();
                others.must_notice_nothing();
                let dialogs = street.metric("webtrunk_sip_dialogs");
                let transactions = street.metric("webtrunk_sip_transactions");
                assert!(
                    dialogs < 600 && transactions < 2_000,
                    "{dialogs} dialogs, {transactions} transactions"
                );
                drop(flooding);
                let sent = flood.join().expect("the flood");
                wait_for(LIMIT, "most of it was dropped", || (cut() > sent / 2).then_some(()));
            });
        }
        others.hang_up();
    });
}
