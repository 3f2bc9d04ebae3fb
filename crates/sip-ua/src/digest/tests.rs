use std::time::Duration;

use types::{Entropy, Wall};

use super::hash::{self, Covered};
use super::*;
use crate::Credentials;
use crate::message::{Message, MessageWriter, Method};

/// A small deterministic generator.
struct Seeded(u64);

impl Entropy for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        for b in out {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            *b = (self.0 >> 33) as u8;
        }
    }
}

const URI: &str = "sip:example.com";
const NOW: Wall = Wall(1_700_000_000_000_000);

fn credentials(password: &str) -> Credentials {
    Credentials { username: "alice".into(), password: password.into(), realm: None }
}

fn register(authorization: &[(&'static str, String)]) -> Message {
    let mut writer = MessageWriter::request(&Method::Register, URI);
    for (name, value) in authorization {
        writer.push(name, value);
    }
    Message::parse(writer.finish()).expect("our own request is readable")
}

fn response(status: u16, fields: &[(&'static str, String)]) -> Message {
    let mut writer = MessageWriter::response(&register(&[]), status, "", None);
    for (name, value) in fields {
        writer.push(name, value);
    }
    Message::parse(writer.finish()).expect("our own response is readable")
}

fn both() -> Vec<Algorithm> {
    vec![Algorithm::SHA256, Algorithm::MD5]
}

/// A challenger and a client that has heard its challenge.
fn challenged(password: &str, algorithms: Vec<Algorithm>) -> (Challenger, DigestClient, Seeded) {
    let mut entropy = Seeded(1);
    let challenger = Challenger::new("example.com", algorithms, &mut entropy);
    let mut client = DigestClient::new(credentials(password));
    client.challenged(&response(401, &challenger.challenge(Asks::Www, false, NOW, &mut entropy))).unwrap();
    (challenger, client, entropy)
}

fn password_of(user: &str) -> Option<Secret> {
    (user == "alice").then(|| Secret::Password("secret".into()))
}

fn ok() -> Check {
    Check::Ok { user: "alice".into() }
}

#[test]
fn the_examples_of_rfc7616_come_out_as_printed() {
    // RFC 7616 §3.9.1.
    let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
    let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
    for (algorithm, expected) in [
        (Algorithm::MD5, "8ca523f5e9506fed4657c9700eebdbec"),
        (Algorithm::SHA256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ] {
        let ha1 = ha1(algorithm.hash, "Mufasa", "http-auth@example.org", "Circle of Life");
        let covered = Covered {
            algorithm,
            nonce,
            cnonce,
            nc: "00000001",
            qop: "auth",
            method: "GET",
            uri: "/dir/index.html",
            body: b"",
        };
        assert_eq!(hash::response(&ha1, &covered), expected);
    }
}

#[test]
fn the_example_of_rfc2617_comes_out_as_printed() {
    // RFC 2617 §3.5.
    let ha1 = ha1(Hash::Md5, "Mufasa", "testrealm@host.com", "Circle Of Life");
    let covered = Covered {
        algorithm: Algorithm::MD5,
        nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093",
        cnonce: "0a4f113b",
        nc: "00000001",
        qop: "auth",
        method: "GET",
        uri: "/dir/index.html",
        body: b"",
    };
    assert_eq!(hash::response(&ha1, &covered), "6629fae49393a05397450978507c4ef1");
}

#[test]
fn the_client_takes_the_strongest_algorithm_whatever_the_order() {
    // RFC 8760 §2.4.
    for algorithms in [both(), vec![Algorithm::MD5, Algorithm::SHA256]] {
        let (mut challenger, mut client, mut entropy) = challenged("secret", algorithms);
        let answer = client.answer(&Method::Register, URI, b"", &mut entropy);
        assert!(answer[0].1.contains("algorithm=SHA-256"), "{}", answer[0].1);
        assert_eq!(challenger.check(Asks::Www, &register(&answer), password_of, NOW), ok());
    }
}

#[test]
fn every_algorithm_and_its_session_form_is_answered_and_accepted() {
    for name in ["MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256", "SHA-512-256-sess"] {
        let algorithm = Algorithm::parse(name).unwrap();
        assert_eq!(algorithm.name(), name);
        let (mut challenger, mut client, mut entropy) = challenged("secret", vec![algorithm]);
        let answer = client.answer(&Method::Register, URI, b"", &mut entropy);
        assert_eq!(challenger.check(Asks::Www, &register(&answer), password_of, NOW), ok(), "{name}");
    }
}

#[test]
fn stored_hashes_serve_instead_of_the_password() {
    let md5 = Some(ha1(Hash::Md5, "alice", "example.com", "secret"));
    for (algorithm, fits) in [(Algorithm::MD5, true), (Algorithm::SHA256, false)] {
        let (mut challenger, mut client, mut entropy) = challenged("secret", vec![algorithm]);
        let answer = client.answer(&Method::Register, URI, b"", &mut entropy);
        let stored = Secret::Hashed { md5: md5.clone(), sha256: None };
        let check = challenger.check(Asks::Www, &register(&answer), |_| Some(stored), NOW);
        assert_eq!(check == ok(), fits);
    }
}

#[test]
fn sha256_is_offered_only_where_a_user_needs_it() {
    let password = Secret::Password("x".into());
    let both = Secret::Hashed { md5: Some("x".into()), sha256: Some("x".into()) };
    let sha256 = Secret::Hashed { md5: None, sha256: Some("x".into()) };
    assert_eq!(offered_for([]), [Algorithm::MD5]);
    assert_eq!(offered_for([&password, &both]), [Algorithm::MD5]);
    assert_eq!(offered_for([&sha256]), [Algorithm::SHA256]);
    assert_eq!(offered_for([&password, &sha256]), [Algorithm::SHA256, Algorithm::MD5]);
}

#[test]
fn a_wrong_password_and_an_unknown_user_are_refused_alike() {
    let (mut challenger, mut client, mut entropy) = challenged("guess", both());
    let answer = register(&client.answer(&Method::Register, URI, b"", &mut entropy));
    let wrong = Check::Wrong { user: "alice".into() };
    assert_eq!(challenger.check(Asks::Www, &answer, password_of, NOW), wrong);
    assert_eq!(challenger.check(Asks::Www, &answer, |_| None, NOW), wrong);
}

#[test]
fn a_count_is_good_once_and_requests_may_overtake_each_other() {
    // RFC 7616 §5.5.
    let (mut challenger, mut client, mut entropy) = challenged("secret", both());
    let mut answer = || register(&client.answer(&Method::Register, URI, b"", &mut entropy));
    let (first, second, third) = (answer(), answer(), answer());
    for (request, expected) in [
        (&first, ok()),
        (&first, Check::Stale),
        (&third, ok()),
        (&second, ok()),
        (&second, Check::Stale),
        (&third, Check::Stale),
    ] {
        assert_eq!(challenger.check(Asks::Www, request, password_of, NOW), expected);
    }
}

#[test]
fn the_body_counts_where_an_answer_covers_it() {
    // RFC 7616 §3.4.3: qop=auth-int.
    let mut client = DigestClient::new(credentials("secret"));
    let mut challenger = Challenger::new("example.com", vec![Algorithm::SHA256], &mut Seeded(1));
    let fields = challenger.challenge(Asks::Www, false, NOW, &mut Seeded(2));
    let insists =
        fields.into_iter().map(|(n, v)| (n, v.replace("\"auth\"", "\"auth-int\""))).collect::<Vec<_>>();
    client.challenged(&response(401, &insists)).unwrap();
    let mut request = |body: &[u8], sent: &[u8]| {
        let answer = client.answer(&Method::Register, URI, body, &mut Seeded(3));
        assert!(answer[0].1.contains("qop=auth-int"), "{}", answer[0].1);
        let mut writer = MessageWriter::request(&Method::Register, URI);
        writer.push(answer[0].0, &answer[0].1);
        let sent = crate::Body { content_type: "text/plain".into(), bytes: sent.to_vec() };
        Message::parse(writer.finish_with(Some(&sent))).unwrap()
    };
    let (right, changed) = (request(b"v=0", b"v=0"), request(b"v=0", b"v=1"));
    assert_eq!(challenger.check(Asks::Www, &right, password_of, NOW), ok());
    let wrong = Check::Wrong { user: "alice".into() };
    assert_eq!(challenger.check(Asks::Www, &changed, password_of, NOW), wrong);
}

#[test]
fn a_session_algorithm_keeps_its_first_cnonce() {
    // RFC 7616 §3.4.2: HA1 covers the first cnonce; the later requests must show the same one to whoever takes theirs.
    let (mut challenger, mut client, mut entropy) =
        challenged("secret", vec![Algorithm::parse("SHA-256-sess").unwrap()]);
    let mut cnonce = || {
        let answer = client.answer(&Method::Register, URI, b"", &mut entropy);
        assert_eq!(challenger.check(Asks::Www, &register(&answer), password_of, NOW), ok());
        answer[0].1.split_once("cnonce=").unwrap().1.to_owned()
    };
    assert_eq!(cnonce(), cnonce());
}

#[test]
fn the_same_nonce_again_goes_on_counting_and_is_no_second_chance() {
    let challenge = |more: &str| {
        let value = format!(r#"Digest realm="r", nonce="n", qop="auth"{more}"#);
        response(401, &[("WWW-Authenticate", value)])
    };
    let mut client = DigestClient::new(credentials("secret"));
    client.challenged(&challenge("")).unwrap();
    client.answer(&Method::Register, URI, b"", &mut Seeded(3));
    for stale in ["", ", stale=true"] {
        assert_eq!(
            client.clone().challenged(&challenge(stale)),
            Err(AnswerError::WrongCredentials),
            "{stale}"
        );
    }
    client.accepted();
    client.challenged(&challenge("")).unwrap();
    let again = client.answer(&Method::Register, URI, b"", &mut Seeded(4));
    assert!(again[0].1.contains("nc=00000002"), "{}", again[0].1);
}

#[test]
fn a_challenge_is_read_however_it_is_quoted() {
    for challenge in [
        r#"Digest realm="r", nonce="n", algorithm=MD5, qop="auth,auth-int", stale=FALSE, opaque="""#,
        r#"digest   realm = "r" ,nonce="n",algorithm="md5",qop="auth-int , AUTH",charset=UTF-8,userhash=true"#,
        r#"DIGEST nonce=n, qop=auth, realm=r, domain="sip:example.com", algorithm=md5,"#,
    ] {
        let mut client = DigestClient::new(credentials("secret"));
        client.challenged(&response(401, &[("WWW-Authenticate", challenge.into())])).expect(challenge);
        let answer = client.answer(&Method::Register, URI, b"", &mut Seeded(3)).remove(0).1;
        for part in [r#"realm="r""#, r#"nonce="n""#, "algorithm=MD5", "qop=auth,", "nc=00000001"] {
            assert!(answer.contains(part), "{part} in {answer} to {challenge}");
        }
    }
}

#[test]
fn challenges_of_two_proxies_are_both_answered_and_a_second_realm_later_joins_them() {
    // RFC 3261 §22.3.
    let line = |realm: &str, nonce: &str| {
        ("Proxy-Authenticate", format!(r#"Digest realm="{realm}", nonce="{nonce}", qop="auth""#))
    };
    let mut client = DigestClient::new(credentials("secret"));
    client.challenged(&response(407, &[line("one", "1"), line("two", "2")])).unwrap();
    assert_eq!(client.answer(&Method::Invite, URI, b"", &mut Seeded(3)).len(), 2);
    // The first two are content, and a third stands behind them.
    client.challenged(&response(407, &[line("three", "3")])).unwrap();
    let answer = client.answer(&Method::Invite, URI, b"", &mut Seeded(3));
    let realms: Vec<_> = answer.iter().map(|(_, v)| v.split('"').nth(3).unwrap()).collect();
    assert_eq!(realms, ["one", "two", "three"]);
}

#[test]
fn an_algorithm_that_is_not_offered_any_more_is_challenged_anew() {
    let (_, mut client, mut entropy) = challenged("secret", vec![Algorithm::SHA256]);
    let mut restarted = Challenger::new("example.com", vec![Algorithm::MD5], &mut Seeded(9));
    let answer = client.answer(&Method::Register, URI, b"", &mut entropy);
    assert_eq!(restarted.check(Asks::Www, &register(&answer), password_of, NOW), Check::Missing);
}

#[test]
fn an_answer_for_another_method_is_wrong() {
    let (mut challenger, mut client, mut entropy) = challenged("secret", both());
    let answer = client.answer(&Method::Invite, URI, b"", &mut entropy);
    let check = challenger.check(Asks::Www, &register(&answer), password_of, NOW);
    assert_eq!(check, Check::Wrong { user: "alice".into() });
}

#[test]
fn an_old_or_foreign_nonce_is_stale_and_a_stale_challenge_is_answered_again() {
    let (mut challenger, mut client, mut entropy) = challenged("secret", both());
    let late = NOW.plus(Duration::from_secs(3600));
    let answer = register(&client.answer(&Method::Register, URI, b"", &mut entropy));
    assert_eq!(challenger.check(Asks::Www, &answer, password_of, late), Check::Stale);
    let mut stranger = Challenger::new("example.com", both(), &mut Seeded(9));
    assert_eq!(stranger.check(Asks::Www, &answer, password_of, NOW), Check::Stale);

    let again = challenger.challenge(Asks::Www, true, late, &mut entropy);
    assert_eq!(client.challenged(&response(401, &again)), Ok(()));
    let answer = register(&client.answer(&Method::Register, URI, b"", &mut entropy));
    assert_eq!(challenger.check(Asks::Www, &answer, password_of, late), ok());
}

#[test]
fn a_second_challenge_after_our_answer_means_wrong_credentials_until_one_was_accepted() {
    let (challenger, mut client, mut entropy) = challenged("secret", both());
    client.answer(&Method::Register, URI, b"", &mut entropy);
    let mut fresh = || response(401, &challenger.challenge(Asks::Www, false, NOW, &mut entropy));
    let (one, two, three) = (fresh(), fresh(), fresh());
    assert_eq!(client.clone().challenged(&one), Err(AnswerError::WrongCredentials));
    client.accepted();
    // Hours later a registrar that never says stale asks anew: one more answer is due, and only one.
    assert_eq!(client.challenged(&two), Ok(()));
    client.answer(&Method::Register, URI, b"", &mut entropy);
    assert_eq!(client.challenged(&three), Err(AnswerError::WrongCredentials));
}

#[test]
fn proxy_and_registrar_are_answered_each_in_its_own_field() {
    let (challenger, mut client, mut entropy) = challenged("secret", both());
    let mut other = Challenger::new("proxy.example.net", vec![Algorithm::MD5], &mut entropy);
    client.challenged(&response(407, &other.challenge(Asks::Proxy, false, NOW, &mut entropy))).unwrap();
    let answer = client.answer(&Method::Register, URI, b"", &mut entropy);
    let names: Vec<_> = answer.iter().map(|(n, _)| *n).collect();
    assert_eq!(names, ["Authorization", "Proxy-Authorization"]);
    assert_eq!(other.check(Asks::Proxy, &register(&answer), password_of, NOW), ok());
    drop(challenger);
}

#[test]
fn what_is_no_digest_answer_for_us_is_missing_or_malformed() {
    let mut challenger = Challenger::new("example.com", both(), &mut Seeded(1));
    let mut check = |value: &str| {
        challenger.check(Asks::Www, &register(&[("Authorization", value.into())]), password_of, NOW)
    };
    // RFC 4475 §3.3.7.
    assert_eq!(check("NoOneKnowsThisScheme opaque-data=here"), Check::Missing);
    assert_eq!(check(r#"Digest username="alice", realm="elsewhere", response="x""#), Check::Missing);
    for value in [
        r#"Digest realm="example.com""#,
        r#"Digest username="alice", realm="example.com", nonce="n", uri="u", response="r""#,
        r#"Digest username="alice", realm="example.com", nonce="n", uri="u", response="r", qop=auth, nc=1, cnonce="c""#,
        r#"Digest username="alice", realm="example.com", algorithm=MD6"#,
    ] {
        assert!(matches!(check(value), Check::Malformed(_)), "{value}");
    }
}

#[test]
fn names_with_quotes_and_several_challenges_on_one_line_are_understood() {
    let mut client =
        DigestClient::new(Credentials { username: r#"a"b"#.into(), password: "secret".into(), realm: None });
    let challenge = r#"Basic realm="x", Digest realm="r, 1", nonce="a", algorithm=MD5, qop="auth-int,auth", Digest realm="r, 1", nonce="b", algorithm=SHA-256, opaque="o\"q""#;
    client.challenged(&response(401, &[("WWW-Authenticate", challenge.into())])).unwrap();
    let answer = client.answer(&Method::Register, URI, b"", &mut Seeded(3));
    let value = &answer[0].1;
    for part in [r#"username="a\"b""#, r#"realm="r, 1""#, r#"nonce="b""#, r#"opaque="o\"q""#] {
        assert!(value.contains(part), "{part} in {value}");
    }
    assert!(!value.contains("qop"), "the SHA-256 challenge offered none: {value}");
}

#[test]
fn the_table_of_used_nonces_is_bounded_and_what_it_forgot_is_stale() {
    let (mut challenger, mut client, mut entropy) = challenged("secret", vec![Algorithm::MD5]);
    let first = register(&client.answer(&Method::Register, URI, b"", &mut entropy));
    assert_eq!(challenger.check(Asks::Www, &first, password_of, NOW), ok());
    let later = NOW.plus(Duration::from_secs(1));
    for _ in 0..types::limits::NONCES {
        let nonce = challenger.issue(later, &mut entropy);
        assert!(challenger.use_nonce(&nonce, 1, later));
    }
    assert_eq!(challenger.remembered(), types::limits::NONCES);
    let second = register(&client.answer(&Method::Register, URI, b"", &mut entropy));
    assert_eq!(challenger.check(Asks::Www, &second, password_of, later), Check::Stale);
}
