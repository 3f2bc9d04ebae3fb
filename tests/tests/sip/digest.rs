//! Digest authentication in both roles (RFC 7616, RFC 8760, RFC 3261 §22) against a party whose responses Python computes.

use e2e::digest::{Account, answers, authorization, parameter};
use e2e::gateway::{Gateway, PASSWORD, Setup};
use e2e::ports::free_ports;
use e2e::process::wait_for;
use e2e::rawsip::{RawSip, unique};
use e2e::trunk::Message;
use std::net::SocketAddr;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
const ALICE: Account<'_> = Account { user: "alice", password: PASSWORD };
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                   m=audio 9 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n";

fn here(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Alice's phone, by hand.
struct Alice {
    raw: RawSip,
    gateway: SocketAddr,
    cseq: u32,
}

impl Alice {
    fn new(gateway: &Gateway) -> Alice {
        let gateway = here(gateway.sip);
        Alice { raw: RawSip::bind(here(0), gateway), gateway, cseq: 0 }
    }

    /// The final answer to a request with these credentials.
    fn ask(&mut self, (method, uri, body): (&str, &str, &str), credentials: &str) -> Message {
        self.cseq += 1;
        let (local, call_id, cseq, gateway) = (self.raw.local, unique("alice"), self.cseq, self.gateway);
        let to = if method == "REGISTER" { format!("sip:alice@{gateway}") } else { uri.to_owned() };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch={};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:alice@{gateway}>;tag=a{cseq}\r\nTo: <{to}>\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:alice@{local}>\r\n{credentials}{kind}Content-Length: {}\r\n\r\n{body}",
            unique("z9hG4bK"),
            body.len()
        );
        self.raw.send(text.as_bytes());
        let last = |m: &Message| m.status().is_some_and(|s| s >= 200) && m.header("call-id") == call_id;
        self.raw.wait("a final answer", LIMIT, last)
    }

    fn challenges(answer: &Message) -> Vec<String> {
        assert_eq!(answer.status(), Some(401), "{}", answer.start);
        let fields = answer.headers.iter().filter(|(name, _)| name == "www-authenticate");
        fields.map(|(_, value)| value.clone()).collect()
    }
}

#[test]
fn a_phone_proves_its_password_in_every_algorithm_offered_and_a_count_is_good_once() {
    // RFC 8760 §2.3: best first, however the file has them.
    let sip_keys = "digest = [\"MD5\", \"SHA-256\", \"SHA-512-256\"]".to_owned();
    let gateway = Gateway::run(&Setup { sip_keys, ..Setup::default() });
    let mut alice = Alice::new(&gateway);
    let registrar = format!("sip:127.0.0.1:{}", gateway.sip);
    let register = ("REGISTER", registrar.as_str(), "");
    for ask in [register, ("INVITE", &format!("sip:bob@127.0.0.1:{}", gateway.sip), SDP)] {
        let challenges = Alice::challenges(&alice.ask(ask, ""));
        let offered: Vec<_> = challenges.iter().map(|c| parameter(c, "algorithm")).collect();
        assert_eq!(offered, ["SHA-512-256", "SHA-256", "MD5"]);
        assert!(challenges.iter().all(|c| parameter(c, "qop") == "auth" && !c.contains("stale")));
        // RFC 7616 §3.4.3: what covers the body too is taken, asked for or not.
        for (challenge, qop) in challenges.iter().flat_map(|c| [(c, "auth"), (c, "auth-int")]) {
            let fresh = Alice::challenges(&alice.ask(ask, ""));
            let same = |c: &&String| parameter(c, "algorithm") == parameter(challenge, "algorithm");
            let credentials = authorization(fresh.iter().find(same).expect("it"), ALICE, ask, (qop, 1));
            let answer = alice.ask(ask, &credentials);
            // Bob has no phone.
            let expected = if ask.0 == "REGISTER" { 200 } else { 480 };
            assert_eq!(answer.status(), Some(expected), "{} to {credentials}", answer.start);
        }
    }
    // RFC 7616 §3.4 and §5.4: the same count again is a replay, the next one is not.
    let challenge = Alice::challenges(&alice.ask(register, "")).remove(1);
    let credentials = authorization(&challenge, ALICE, register, ("auth", 1));
    assert_eq!(alice.ask(register, &credentials).status(), Some(200));
    let again = Alice::challenges(&alice.ask(register, &credentials));
    assert!(again.iter().all(|c| parameter(c, "stale") == "true"), "{again:?}");
    assert_ne!(parameter(&again[1], "nonce"), parameter(&challenge, "nonce"));
    let next = authorization(&challenge, ALICE, register, ("auth", 2));
    assert_eq!(alice.ask(register, &next).status(), Some(200));
    let wrong = authorization(&again[1], Account { password: "wrong", ..ALICE }, register, ("auth", 1));
    let refused = Alice::challenges(&alice.ask(register, &wrong));
    assert!(refused.iter().all(|c| !c.contains("stale")), "{refused:?}");
}

/// Alice calls the trunk; what comes there.
fn call_the_trunk(gateway: &Gateway) -> (Alice, String) {
    let mut alice = Alice::new(gateway);
    let uri = format!("sip:+12025550100@127.0.0.1:{}", gateway.sip);
    let challenge = Alice::challenges(&alice.ask(("INVITE", &uri, SDP), "")).remove(0);
    let credentials = authorization(&challenge, ALICE, ("INVITE", &uri, SDP), ("auth", 1));
    (alice, credentials)
}

fn invite(trunk: &mut RawSip, cseq: u32) -> Message {
    let is_it = |m: &Message| m.is("INVITE") && m.header("cseq").split(' ').next() == Some(&cseq.to_string());
    trunk.wait(&format!("INVITE {cseq}"), LIMIT, is_it)
}

#[test]
fn a_trunk_of_several_proxies_gets_the_strongest_answer_for_each_realm() {
    // RFC 3261 §22.3, RFC 8760 §2.4.
    let port = free_ports(2);
    let mut setup = Setup::with_trunk(port);
    setup.trunk_keys = "username = \"trunk\"\npassword = \"s3cret\"".into();
    let gateway = Gateway::run(&setup);
    let mut trunk = RawSip::bind(here(port), here(gateway.sip));
    let (mut alice, credentials) = call_the_trunk(&gateway);
    let uri = format!("sip:+12025550100@127.0.0.1:{}", gateway.sip);
    let caller = std::thread::spawn(move || alice.ask(("INVITE", &uri, SDP), &credentials));

    let first = invite(&mut trunk, 1);
    let challenges = "Proxy-Authenticate: Digest realm=\"proxy\", nonce=\"p1\", algorithm=MD5, qop=\"auth\"\r\n\
         Proxy-Authenticate: Digest realm=\"proxy\", nonce=\"p2\", algorithm=SHA-256, qop=\"auth-int\"\r\n\
         Proxy-Authenticate: Digest realm=\"proxy\", nonce=\"p3\", algorithm=SHA3-512, qop=\"auth\"\r\n\
         Proxy-Authenticate: Bearer realm=\"proxy\"\r\n\
         Proxy-Authenticate: Digest realm=\"edge\", nonce=e1, algorithm=\"md5-sess\", qop=auth, opaque=\"o\"\r\n";
    trunk.reply(&first, "407 Proxy Authentication Required", challenges, "");

    let second = invite(&mut trunk, 2);
    let given = |request: &Message, header: &str, realm: &str, parts: &[&str]| {
        let answers = answers(request, header, realm, "s3cret");
        let [(value, right)] = answers.as_slice() else { panic!("one answer for {realm}: {answers:?}") };
        assert!(*right, "the response is wrong: {value}");
        assert!(parts.iter().all(|part| value.contains(part)), "{parts:?} in {value}");
    };
    let proxy = "proxy-authorization";
    given(&second, proxy, "proxy", &["nonce=\"p2\"", "algorithm=SHA-256,", "qop=auth-int,", "nc=00000001"]);
    given(&second, proxy, "edge", &["nonce=\"e1\"", "algorithm=MD5-sess", "qop=auth,", "opaque=\"o\""]);
    // Behind them a callee as RFC 2069 knew it: neither algorithm nor qop.
    let callee = "WWW-Authenticate: Digest realm=\"callee, 2\", nonce=\"c1\"\r\n";
    trunk.reply(&second, "401 Unauthorized", callee, "");

    let third = invite(&mut trunk, 3);
    given(&third, "authorization", "callee, 2", &["username=\"trunk\""]);
    given(&third, proxy, "proxy", &["nonce=\"p2\"", "nc=00000002"]);
    let stale = "Proxy-Authenticate: Digest realm=\"edge\", nonce=\"e2\", algorithm=SHA-512-256-sess, \
                 qop=\"auth,auth-int\", stale=TRUE\r\n";
    trunk.reply(&third, "407 Proxy Authentication Required", stale, "");

    let fourth = invite(&mut trunk, 4);
    given(
        &fourth,
        proxy,
        "edge",
        &["nonce=\"e2\"", "algorithm=SHA-512-256-sess", "nc=00000001", "qop=auth,"],
    );
    given(&fourth, proxy, "proxy", &["nc=00000003"]);
    trunk.reply(&fourth, "486 Busy Here", "", "");
    assert_eq!(caller.join().expect("alice").status(), Some(486));
}

#[test]
fn a_challenge_that_cannot_be_answered_ends_the_attempt_and_says_why() {
    let port = free_ports(2);
    let mut setup = Setup::with_trunk(port);
    setup.trunk_keys = "username = \"trunk\"\npassword = \"s3cret\"\nregister = true".into();
    let mut trunk = RawSip::bind(here(port), here(port));
    let gateway = Gateway::run(&setup);
    trunk = trunk.towards(here(gateway.sip));
    let said = |words: &str| {
        let heard = || gateway.process.lines().iter().any(|line| line.contains(words)).then_some(());
        wait_for(LIMIT, words, heard);
    };
    let register = trunk.wait_request("REGISTER");
    let unknown = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", algorithm=SHA3-512, qop=\"auth\"\r\n";
    trunk.reply(&register, "401 Unauthorized", unknown, "");
    said("registration failed: Unauthorized: it offers no digest algorithm and realm that we can answer");

    let (mut alice, credentials) = call_the_trunk(&gateway);
    let uri = format!("sip:+12025550100@127.0.0.1:{}", gateway.sip);
    let caller = std::thread::spawn(move || alice.ask(("INVITE", &uri, SDP), &credentials));
    // The same nonce twice, even if it is called stale.
    let same = "Proxy-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\", stale=true\r\n";
    for cseq in [1, 2] {
        let invite = invite(&mut trunk, cseq);
        trunk.reply(&invite, "407 Proxy Authentication Required", same, "");
    }
    let refused = caller.join().expect("alice");
    assert_eq!(refused.status(), Some(503), "{}", refused.start);
    said("trunk carrier: 407 Proxy Authentication Required: it refuses our user name or password");
    assert_eq!(gateway.wait_cdrs(1)[0]["reason"], "trunk-refused-credentials");
}
