//! Challenges answered by the caller's side (RFC 3261 §22, RFC 7616), against the server side of the same crate.

use crate::kit;
use crate::kit::{Script, answer, field, invite, starts};
use sip_ua::digest::{Algorithm, Asks, Challenger, Check, Secret};
use sip_ua::message::Message;
use sip_ua::{Command, Credentials, Event, LegEnd, SipLeg};
use types::Wall;

const CONTACT: &str = "Contact: <sip:bob@192.0.2.2:5060>";

struct Carrier {
    challenger: Challenger,
    entropy: kit::Seeded,
    asks: Asks,
}

impl Carrier {
    fn new(realm: &str, asks: Asks) -> Carrier {
        let mut entropy = kit::Seeded(3);
        let challenger = Challenger::new(realm, vec![Algorithm::SHA256, Algorithm::MD5], &mut entropy);
        Carrier { challenger, entropy, asks }
    }

    fn challenge(&mut self, request: &str, stale: bool) -> String {
        let fields = self.challenger.challenge(self.asks, stale, Wall(1_000_000), &mut self.entropy);
        let lines: Vec<String> = fields.iter().map(|(n, v)| format!("{n}: {v}")).collect();
        answer(request, &format!("{} Challenge", self.asks.status()), "ch", &lines.join("\n"))
    }

    fn check(&mut self, request: &str) -> Check {
        let message = Message::parse(request.as_bytes().to_vec()).unwrap();
        let secret = |user: &str| (user == "trunk").then(|| Secret::Password("secret".into()));
        self.challenger.check(self.asks, &message, secret, Wall(1_000_000))
    }
}

fn calling(password: &str) -> (Script, SipLeg, String) {
    let mut script = Script::new();
    let leg = SipLeg::outgoing(1);
    let mut call = invite(kit::BOB);
    call.credentials = Some(Credentials { username: "trunk".into(), password: password.into(), realm: None });
    let mut sent = script.command(Command::Invite(leg, call));
    (script, leg, sent.remove(0))
}

#[test]
fn a_challenged_invite_is_sent_again_with_credentials() {
    // RFC 3261 §22.2: same Call-ID and From, next CSeq, no To-tag.
    for asks in [Asks::Www, Asks::Proxy] {
        let mut carrier = Carrier::new("example.net", asks);
        let (mut script, _, first) = calling("secret");
        assert_eq!(carrier.check(&first), Check::Missing);
        let sent = script.receive(&carrier.challenge(&first, false));
        assert_eq!(starts(&sent)[0], "ACK sip:bob@192.0.2.2:5060 SIP/2.0");
        let second = &sent[1];
        assert_eq!(carrier.check(second), Check::Ok { user: "trunk".into() });
        assert_eq!(field(second, "CSeq"), "2 INVITE");
        assert_eq!(field(second, "Call-ID"), field(&first, "Call-ID"));
        assert_eq!(field(second, "From"), field(&first, "From"));
        assert!(!field(second, "To").contains("tag"));
        assert_ne!(field(second, "Via"), field(&first, "Via"));
        assert!(second.ends_with("offer"));
        script.receive(&answer(second, "200 OK", "b1", CONTACT));
        // A challenge too says that the peer is there.
        assert!(matches!(script.events()[..], [Event::Trying { .. }, Event::Answered { .. }]));
    }
}

#[test]
fn a_wrong_password_is_tried_once() {
    let mut carrier = Carrier::new("example.net", Asks::Www);
    let (mut script, leg, first) = calling("wrong");
    let sent = script.receive(&carrier.challenge(&first, false));
    assert_eq!(carrier.check(&sent[1]), Check::Wrong { user: "trunk".into() });
    let sent = script.receive(&carrier.challenge(&sent[1], false));
    assert_eq!(sent.len(), 1);
    assert!(sent[0].starts_with("ACK "));
    let ends = script.party.ends();
    assert!(matches!(&ends[..], [(l, LegEnd::Refused { status: 401, .. })] if *l == leg), "{ends:?}");
    script.assert_drained();
}

#[test]
fn a_stale_nonce_is_answered_again_but_not_for_ever() {
    let mut carrier = Carrier::new("example.net", Asks::Proxy);
    let (mut script, leg, first) = calling("secret");
    let sent = script.receive(&carrier.challenge(&first, false));
    let sent = script.receive(&carrier.challenge(&sent[1], true));
    assert_eq!(carrier.check(&sent[1]), Check::Ok { user: "trunk".into() });
    let mut latest = sent[1].clone();
    for _ in 0..10 {
        let sent = script.receive(&carrier.challenge(&latest, true));
        let Some(next) = sent.get(1) else { break };
        latest = next.clone();
    }
    assert!(matches!(&script.party.ends()[..], [(l, LegEnd::Refused { status: 407, .. })] if *l == leg));
    script.assert_drained();
}

#[test]
fn a_proxy_and_the_callee_may_both_challenge() {
    let mut proxy = Carrier::new("proxy.example", Asks::Proxy);
    let mut callee = Carrier::new("callee.example", Asks::Www);
    let (mut script, _, first) = calling("secret");
    let sent = script.receive(&proxy.challenge(&first, false));
    let sent = script.receive(&callee.challenge(&sent[1], false));
    assert_eq!(callee.check(&sent[1]), Check::Ok { user: "trunk".into() });
    assert_eq!(proxy.check(&sent[1]), Check::Ok { user: "trunk".into() });
}

#[test]
fn a_challenge_without_credentials_is_a_refusal() {
    let mut carrier = Carrier::new("example.net", Asks::Www);
    let mut script = Script::new();
    let sent = script.command(Command::Invite(SipLeg::outgoing(1), invite(kit::BOB)));
    let sent = script.receive(&carrier.challenge(&sent[0], false));
    assert_eq!(sent.len(), 1);
    assert!(matches!(&script.party.ends()[..], [(_, LegEnd::Refused { status: 401, .. })]));
}

#[test]
fn later_requests_of_the_call_answer_at_once_and_ack_carries_the_invites_credentials() {
    // RFC 3261 §22.1 and §22.2.
    let mut carrier = Carrier::new("example.net", Asks::Proxy);
    let (mut script, leg, first) = calling("secret");
    let sent = script.receive(&carrier.challenge(&first, false));
    let ack = script.receive(&answer(&sent[1], "200 OK", "b1", CONTACT));
    assert_eq!(field(&ack[0], "Proxy-Authorization"), field(&sent[1], "Proxy-Authorization"));
    assert_eq!(carrier.check(&sent[1]), Check::Ok { user: "trunk".into() });
    let bye = script.command(Command::HangUp { leg, reason: None });
    assert_eq!(carrier.check(&bye[0]), Check::Ok { user: "trunk".into() });
    assert!(field(&bye[0], "Proxy-Authorization").contains("nc=00000002"));
    // The nonce has aged: once more, in order.
    let sent = script.receive(&carrier.challenge(&bye[0], true));
    assert_eq!(starts(&sent), ["BYE sip:bob@192.0.2.2:5060 SIP/2.0"]);
    assert_eq!(field(&sent[0], "CSeq"), "4 BYE");
    assert_eq!(carrier.check(&sent[0]), Check::Ok { user: "trunk".into() });
    assert!(script.party.ends().is_empty());
    script.receive(&answer(&sent[0], "200 OK", "", ""));
    assert_eq!(script.party.ends(), vec![(leg, LegEnd::Local)]);
    script.assert_drained();
}

#[test]
fn a_nonce_good_for_one_request_is_asked_for_anew_without_stale() {
    // The 200 says that the password is right: a later challenge is a new question.
    let mut carrier = Carrier::new("example.net", Asks::Proxy);
    let (mut script, leg, first) = calling("secret");
    let sent = script.receive(&carrier.challenge(&first, false));
    script.receive(&answer(&sent[1], "200 OK", "b1", CONTACT));
    let bye = script.command(Command::HangUp { leg, reason: None });
    let sent = script.receive(&carrier.challenge(&bye[0], false));
    assert_eq!(starts(&sent), ["BYE sip:bob@192.0.2.2:5060 SIP/2.0"]);
    assert_eq!(carrier.check(&sent[0]), Check::Ok { user: "trunk".into() });
}

#[test]
fn what_stays_unanswered_says_why() {
    let refused = |script: &mut Script| match script.party.ends().remove(0) {
        (_, LegEnd::Refused { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    let mut carrier = Carrier::new("example.net", Asks::Www);
    let (mut script, _, first) = calling("wrong");
    let sent = script.receive(&carrier.challenge(&first, false));
    script.receive(&carrier.challenge(&sent[1], false));
    assert_eq!(refused(&mut script), "Challenge: it refuses our user name or password");
    let (mut script, _, first) = calling("secret");
    let unknown = r#"WWW-Authenticate: Digest realm="r", nonce="n", algorithm=SHA3-512, qop="auth""#;
    script.receive(&answer(&first, "401 Challenge", "ch", unknown));
    assert_eq!(refused(&mut script), "Challenge: it offers no digest algorithm and realm that we can answer");
    let mut script = Script::new();
    let sent = script.command(Command::Invite(SipLeg::outgoing(1), invite(kit::BOB)));
    script.receive(&carrier.challenge(&sent[0], false));
    assert_eq!(
        refused(&mut script),
        "Challenge: it wants a user name and a password, and none is configured"
    );
}

#[test]
fn a_challenged_reinvite_is_sent_again() {
    let mut carrier = Carrier::new("example.net", Asks::Www);
    let (mut script, leg, first) = calling("secret");
    script.receive(&answer(&first, "200 OK", "b1", CONTACT));
    let sent = script.command(Command::Reinvite { leg, body: kit::sdp("hold") });
    let sent = script.receive(&carrier.challenge(&sent[0], false));
    assert_eq!(field(&sent[1], "CSeq"), "3 INVITE");
    assert_eq!(carrier.check(&sent[1]), Check::Ok { user: "trunk".into() });
    script.receive(&answer(&sent[1], "200 OK", "", CONTACT));
    let events = script.events();
    assert!(matches!(events[..], [Event::Answered { .. }, Event::ReinviteDone { result: Ok(None), .. }]));
}

#[test]
fn a_call_hung_up_before_the_challenge_is_not_tried_again() {
    let mut carrier = Carrier::new("example.net", Asks::Www);
    let (mut script, leg, first) = calling("secret");
    script.command(Command::HangUp { leg, reason: None });
    let sent = script.receive(&carrier.challenge(&first, false));
    assert_eq!(sent.len(), 1);
    assert_eq!(script.party.ends(), vec![(leg, LegEnd::Local)]);
    script.assert_drained();
}
