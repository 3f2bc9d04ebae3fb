//! SIP over TLS against OpenSSL and baresip: certificates good and bad, in both roles (RFC 5922).

use e2e::baresip::{Account, Baresip};
use e2e::gateway::{Gateway, Setup};
use e2e::launch::fresh_dir;
use e2e::rtp::RtpParty;
use e2e::sipp::Sipp;
use e2e::speech::speech;
use e2e::tls::{Authority, Identity, Party, self_signed};
use e2e::trunk::Message;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

fn sdp(port: u16) -> String {
    format!(
        "v=0\r\no=carrier 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
    )
}

#[test]
fn softphone_registers_and_calls_over_tls() {
    let authority = Authority::new();
    let mut sipp = Sipp::scenario("outbound_answer_echo").echo();
    sipp.timeout = 60;
    let tls = Some(authority.sign("gateway", "IP:127.0.0.1,DNS:localhost", 30));
    let gateway = Gateway::run(&Setup { tls, ..Setup::with_trunk(sipp.port) });
    let sipp = sipp.start();
    let account = Account {
        transport: "tls",
        ca: Some(&authority.identity.cert),
        ..Account::new("alice", gateway.sip + 1, &speech().reference)
    };
    let mut phone = Baresip::start(&account);
    phone.wait_registered(LIMIT);
    phone.command("dial", &format!("sip:+12025550100@127.0.0.1:{};transport=tls", gateway.sip + 1));
    phone.wait_event("CALL_ESTABLISHED", LIMIT);
    phone.wait_event("CALL_CLOSED", LIMIT);
    sipp.finish().must_pass();
    assert_eq!(gateway.wait_cdrs(1)[0]["reason"], "hung-up");
}

/// A gateway that registers at each of these servers; the keys stand in the trunk's table.
fn registering(trunks: &[(&str, String)]) -> Gateway {
    let table = |(name, keys): &(&str, String)| {
        format!(
            "[[trunks]]\nname = \"{name}\"\nusername = \"u\"\npassword = \"p\"\nregister = true\n{keys}\n"
        )
    };
    Gateway::run(&Setup { toml: trunks.iter().map(table).collect(), ..Setup::default() })
}

#[test]
fn each_certificate_that_is_not_good_is_refused_with_its_sentence() {
    let authority = Authority::new();
    let ca = authority.identity.cert.display();
    let alone = self_signed(&fresh_dir("tls"), "alone", "DNS:localhost");
    let server = |identity: &Identity| Party::serve(identity);
    let wrong = server(&authority.sign("wrong", "DNS:other.example.net", 30));
    let wild = server(&authority.sign("wild", "DNS:*.example.net,DNS:example.net", 30));
    let expired = server(&authority.sign("expired", "DNS:localhost", -1));
    let lonely = server(&alone);
    let own = server(&alone);
    let good = server(&authority.sign("good", "URI:sip:localhost", 30));
    let mut gateway = registering(&[
        ("wrong", format!("server = \"tls:localhost:{}\"\nca = \"{ca}\"", wrong.port)),
        (
            "wild",
            format!("server = \"tls:localhost:{}\"\nca = \"{ca}\"\ntls_name = \"a.example.net\"", wild.port),
        ),
        ("expired", format!("server = \"tls:localhost:{}\"\nca = \"{ca}\"", expired.port)),
        ("lonely", format!("server = \"tls:localhost:{}\"\nca = \"{ca}\"", lonely.port)),
        ("own", format!("server = \"tls:localhost:{}\"\nca = \"{}\"", own.port, alone.cert.display())),
        ("good", format!("server = \"tls:localhost:{}\"\nca = \"{ca}\"", good.port)),
    ]);
    for (trunk, words) in [
        ("wrong", "its certificate is for other.example.net, not for localhost"),
        ("wild", "RFC 5922 forbids wildcards: set tls_name = \"*.example.net\""),
        ("expired", "its certificate expired"),
        ("lonely", "signed by itself or by an authority that we do not know"),
    ] {
        let said = |line: &str| line.contains(&format!("trunk {trunk}")) && line.contains(words);
        gateway.process.wait_line(LIMIT, words, said);
    }
    for party in [&own, &good] {
        let register = party.wait("REGISTER", |m| m.is("REGISTER"));
        assert!(register.header("via").starts_with("SIP/2.0/TLS "), "{register:?}");
        assert!(register.header("contact").contains(";transport=tls"), "{register:?}");
    }
    for party in [&wrong, &wild, &expired, &lonely] {
        assert_eq!(party.raw(), b"", "nothing is said to whom is not who it should be");
    }
}

#[test]
fn a_trunk_over_tls_is_called_and_hangs_up_along_the_connection_we_opened() {
    // RFC 3261 §18.1.1 and §18.2.2, RFC 5923 §5.
    let authority = Authority::new();
    let mut trunk = Party::serve(&authority.sign("trunk", "DNS:localhost", 30));
    let rtp = RtpParty::start();
    let toml = format!(
        "[[trunks]]\nname = \"secure\"\nserver = \"tls:localhost:{}\"\nca = \"{}\"\n\
         [[routes]]\nmatch = \"+1*\"\nto = [\"trunk:secure\"]\n",
        trunk.port,
        authority.identity.cert.display()
    );
    let gateway = Gateway::run(&Setup { toml, ..Setup::default() });
    let mut phone = Baresip::start(&Account::new("alice", gateway.sip, &speech().reference));
    phone.wait_registered(LIMIT);
    phone.command("dial", &format!("sip:+12025550100@127.0.0.1:{}", gateway.sip));
    let invite = trunk.wait("INVITE", |m| m.is("INVITE"));
    assert!(invite.header("via").starts_with("SIP/2.0/TLS "), "{invite:?}");
    assert!(invite.start.contains(";transport=tls"), "{invite:?}");
    let contact = format!("Contact: <sip:t@127.0.0.1:{};transport=tls>\r\n", trunk.port);
    trunk.reply(&invite, "200 OK", &contact, &sdp(rtp.port));
    phone.wait_event("CALL_ESTABLISHED", LIMIT);
    trunk.wait("ACK", |m| m.is("ACK"));
    let target = invite.header("contact").split(['<', '>']).nth(1).expect("a URI").to_owned();
    trunk.send(&format!(
        "BYE {target} SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:{};branch=z9hG4bKtls1\r\nMax-Forwards: 70\r\nFrom: {};tag=tls\r\n\
         To: {}\r\nCall-ID: {}\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n",
        trunk.port,
        invite.header("to"),
        invite.header("from"),
        invite.header("call-id"),
    ));
    trunk.wait("200 for the BYE", |m| m.status() == Some(200) && m.header("cseq").ends_with("BYE"));
    phone.wait_event("CALL_CLOSED", LIMIT);
    assert_eq!(gateway.wait_cdrs(1)[0]["reason"], "hung-up");
}

#[test]
fn a_server_that_wants_our_certificate_gets_it_and_refuses_another() {
    // RFC 5922 §7.4: mutual TLS. OpenSSL checks the chain.
    let authority = Authority::new();
    let strangers = Authority::new();
    let ca = authority.identity.cert.display();
    let server =
        || Party::serve_to_known(&authority.sign("server", "DNS:localhost", 30), &authority.identity);
    let (mut known, unknown, none) = (server(), server(), server());
    let keys = |party: &Party, more: &str| {
        format!("server = \"tls:localhost:{}\"\nca = \"{ca}\"\n{more}", party.port)
    };
    let shown = |own: &Identity| {
        format!("outbound = true\ntls_cert = \"{}\"\ntls_key = \"{}\"", own.cert.display(), own.key.display())
    };
    let mut gateway = registering(&[
        ("known", keys(&known, &shown(&authority.sign("us", "DNS:gateway.example", 30)))),
        ("unknown", keys(&unknown, &shown(&strangers.sign("us", "DNS:gateway.example", 30)))),
        ("none", keys(&none, "")),
    ]);
    let register = known.wait("REGISTER", |m| m.is("REGISTER"));
    for (trunk, words) in
        [("unknown", "does not accept our certificate"), ("none", "set tls_cert and tls_key")]
    {
        let said = |line: &str| line.contains(&format!("trunk {trunk}")) && line.contains(words);
        gateway.process.wait_line(LIMIT, words, said);
    }
    assert!(unknown.seen().is_empty() && none.seen().is_empty());
    // RFC 5626 §4.4.1, inside TLS: pinged as often as Flow-Timer says.
    assert!(register.header("contact").contains(";reg-id=1;+sip.instance=\"<urn:uuid:"), "{register:?}");
    known.reply(&register, "200 OK", "Require: outbound\r\nFlow-Timer: 2\r\nExpires: 600\r\n", "");
    let pinged = || known.raw().ends_with(b"\r\n\r\n\r\n\r\n").then_some(());
    e2e::process::wait_for(LIMIT, "a ping", pinged);
}

#[test]
fn openssl_finds_the_name_in_our_certificate_and_pings_are_answered() {
    // RFC 5626 §3.5.1: CRLF CRLF is answered by CRLF.
    let authority = Authority::new();
    let tls = Some(authority.sign("gateway", "DNS:sip.example.net", 30));
    let gateway = Gateway::run(&Setup { tls, ..Setup::default() });
    let mut client = Party::connect(gateway.sip + 1, "sip.example.net", &authority.identity);
    client.send("\r\n\r\n");
    e2e::process::wait_for(LIMIT, "a pong", || (client.raw() == b"\r\n").then_some(()));
    client.send(
        "OPTIONS sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:9;branch=z9hG4bKo\r\nMax-Forwards: 70\r\n\
         From: <sip:a@b>;tag=1\r\nTo: <sip:127.0.0.1>\r\nCall-ID: o\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
    );
    client.wait("200 for OPTIONS", |m: &Message| m.status() == Some(200));
}

#[test]
fn a_tls_listener_without_a_certificate_names_the_keys_to_set() {
    let dir = fresh_dir("tls");
    let port = e2e::ports::free_ports(2);
    let toml = format!(
        "[http]\nlisten = \"127.0.0.1:{port}\"\n[sip]\ndomain = \"example.com\"\nlisten = [\"tls:127.0.0.1:{}\"]\n",
        port + 1
    );
    std::fs::write(dir.join("webtrunk.toml"), toml).expect("configuration");
    let outcome = e2e::launch::webtrunk(&dir, &["run", "--config", "webtrunk.toml"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    for word in ["[sip] listen tls:", "[sip] tls_cert and tls_key", "[http]", "--tls self-signed"] {
        assert!(outcome.stderr.contains(word), "{word}: {}", outcome.stderr);
    }
}
