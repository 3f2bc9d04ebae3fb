//! Transfers by re-bridging: blind and attended, by the page and by REFER, and what the others see of them
//! (RFC 3515, 5589, 3891; field problems 2, 3, 22).

use std::time::Duration;

use crate::rig::*;
use b2bua::{CdrParty, RouteTo};
use media_bridge::control::{Command as Media, Source, Tone};
use sip_ua::{Command as Sip, Event, LegEnd, ReferId, ReferOutcome, Referral, ReplacedDialog, SipLeg};
use types::{CallId, EndReason, LegId, UserName, WorkerId};
use webrtc_peer::signalling::{FromBrowser, ToBrowser, TransferState};

const FIRST: CallId = CallId(1);
const SECOND: CallId = CallId(2);
const CALLEE: LegId = LegId(1);
const REFER: ReferId = ReferId(77);

fn transfer(bench: &mut Bench, to: Option<&str>, with: Option<&str>) {
    let (to, with) = (to.map(str::to_owned), with.map(str::to_owned));
    bench.browser(ALICE, FromBrowser::Transfer { call: "c1".into(), to, with });
}

fn shows(state: TransferState, why: Option<EndReason>) -> ToBrowser {
    let (reason, text) = (why.map(|w| w.word().into()), why.map(|w| w.sentence().into()));
    ToBrowser::Transfer { call: "c1".into(), state, reason, text }
}

fn ended(call: &str, why: EndReason) -> ToBrowser {
    ToBrowser::Ended { call: call.into(), reason: why.word().into(), text: why.sentence().into() }
}

fn refer(to: &str, replaces: Option<ReplacedDialog>) -> Referral {
    Referral { to: to.into(), replaces, private: false }
}

#[test]
fn a_blind_transfer_joins_the_trunk_with_the_new_party_and_both_calls_have_records() {
    let mut bench = Bench::new();
    let trunk = talking(&mut bench);
    bench.sign_in(BOB, "bob");
    transfer(&mut bench, Some("101"), None);
    assert_eq!(hears(&bench, FIRST, CALLEE), Source::Tone(Tone::Ringback), "it rings at Bob's");
    assert_eq!(hears(&bench, FIRST, CALLER), Source::Nothing);
    let said = bench.take_said(ALICE);
    assert_eq!(said, [shows(TransferState::Trying, None), shows(TransferState::Ringing, None)]);
    let said = bench.take_said(BOB);
    let [ToBrowser::Incoming { call, from, .. }] = &said[..] else { panic!("{said:?}") };
    assert_eq!(from, "+12025550100", "Bob sees whom he will talk to");
    let call = call.clone();
    bench.browser(BOB, FromBrowser::Offer { call: call.clone(), sdp: "opus".into() });
    bench.browser(BOB, FromBrowser::Answer { call: call.clone() });
    bench.media(SECOND, media_bridge::control::Event::Connected { leg: CALLEE });
    let adopted = Media::Adopt { leg: LegId(2), from: SECOND, worker: WorkerId(0), their: CALLEE };
    assert_eq!(bench.media_count(|m| *m == adopted), 1);
    assert_eq!(hears(&bench, FIRST, CALLEE), Source::Leg(LegId(2)));
    assert_eq!(hears(&bench, FIRST, LegId(2)), Source::Leg(CALLEE));
    assert_eq!(bench.take_said(ALICE), [ended("c1", EndReason::Transferred)]);
    let party = ToBrowser::Party { call: call.clone(), number: "+12025550100".into() };
    assert!(bench.take_said(BOB).contains(&party));
    let [second] = &bench.cdrs[..] else { panic!("{:?}", bench.cdrs) };
    assert_eq!((second.call, second.reason), (SECOND, EndReason::Transferred));
    assert_eq!(second.caller, CdrParty::Browser(UserName::new("alice")));
    assert_eq!(second.callee, Some(CdrParty::Browser(UserName::new("bob"))));
    assert_eq!(second.continued_in, Some(FIRST));
    bench.browser(BOB, FromBrowser::Bye { call });
    assert!(matches!(bench.sip_command(), Sip::HangUp { leg, .. } if leg == trunk));
    bench.heard(Event::Ended { leg: trunk, end: LegEnd::Local });
    let first = &bench.cdrs[1];
    assert_eq!((first.call, first.reason), (FIRST, EndReason::HungUp));
    let [moved] = &first.transfers[..] else { panic!("{first:?}") };
    assert_eq!((moved.to.as_str(), moved.with), ("101", Some(SECOND)));
    assert_eq!(moved.by, CdrParty::Browser(UserName::new("alice")));
    bench.assert_over(2);
}

#[test]
fn a_blind_transfer_that_fails_gives_the_transferor_its_call_back_with_a_sentence() {
    let mut bench = Bench::new();
    talking(&mut bench);
    transfer(&mut bench, Some("+12025550102"), None);
    let (leg, invite) = bench.invite();
    assert!(invite.from.contains("+12025550110"), "the trunk sees the transferor's number: {}", invite.from);
    let end = LegEnd::Refused { status: 486, reason: String::new(), q850: None, retry_after: None };
    bench.heard(Event::Ended { leg, end });
    let said = bench.take_said(ALICE);
    assert_eq!(said.last(), Some(&shows(TransferState::Failed, Some(EndReason::Busy))));
    assert_eq!(hears(&bench, FIRST, CALLER), Source::Leg(CALLEE));
    assert_eq!(hears(&bench, FIRST, CALLEE), Source::Leg(CALLER));
    assert_eq!(bench.cdrs.len(), 1);
    assert_eq!(bench.cdrs[0].reason, EndReason::Busy);
}

fn alice_may_have_one_call() -> Bench {
    let mut limited = config();
    let mut users = limited.users.to_vec();
    users[0].max_calls = Some(1);
    limited.users = users.into();
    Bench::with(limited)
}

#[test]
fn the_call_made_for_a_transfer_is_no_second_call_of_the_transferor() {
    let mut bench = alice_may_have_one_call();
    let trunk = talking(&mut bench);
    transfer(&mut bench, Some("+12025550103"), None);
    let (target, _) = bench.invite();
    bench.heard(Event::Answered { leg: target, body: sdp("pcmu") });
    assert_eq!(bench.take_said(ALICE).last(), Some(&ended("c1", EndReason::Transferred)));
    assert_eq!(hears(&bench, FIRST, CALLEE), Source::Leg(LegId(2)));
    bench.heard(Event::Ended { leg: trunk, end: LegEnd::Bye { q850: None } });
    bench.heard(Event::Ended { leg: target, end: LegEnd::Local });
    bench.assert_over(2);
}

#[test]
fn asking_first_takes_two_calls_and_counts_as_two() {
    let mut bench = alice_may_have_one_call();
    talking(&mut bench);
    bench.browser(ALICE, FromBrowser::Hold { call: "c1".into() });
    let (call, to, sdp_text) = ("c2".into(), "+12025550101".into(), "opus,pcmu,pcma".into());
    bench.browser(ALICE, FromBrowser::Call { call, to, sdp: sdp_text });
    assert_eq!(bench.take_said(ALICE).last(), Some(&ended("c2", EndReason::TooManyCalls)));
}

#[test]
fn routes_hold_for_a_transfer_as_for_a_call_of_the_transferor() {
    let mut bench = Bench::new();
    talking(&mut bench);
    transfer(&mut bench, Some("+49301234567"), None);
    let failed = shows(TransferState::Failed, Some(EndReason::UnknownNumber));
    assert_eq!(bench.take_said(ALICE).last(), Some(&failed));
    // A trunk that refers to a trunk's number: no route allows that.
    let mut bench = Bench::new();
    let trunk = talking(&mut bench);
    let referral = refer("sip:+12025550102@carrier.example", None);
    bench.heard(Event::Refer { leg: trunk, refer: REFER, referral });
    assert!(matches!(bench.sip_command(), Sip::AcceptRefer { .. }));
    assert!(matches!(bench.sip_command(), Sip::ReferStatus { status: 403, .. }));
}

#[test]
fn the_waiting_party_hears_what_the_new_party_sends_before_it_answers() {
    let mut bench = Bench::new();
    let trunk = talking(&mut bench);
    transfer(&mut bench, Some("+12025550103"), None);
    let (target, _) = bench.invite();
    bench.heard(Event::Provisional { leg: target, status: 180, body: None });
    assert_eq!(hears(&bench, FIRST, CALLEE), Source::Tone(Tone::Ringback));
    bench.heard(Event::Provisional { leg: target, status: 183, body: sdp("pcmu") });
    let early = LegId(2);
    assert_eq!(hears(&bench, FIRST, CALLEE), Source::Leg(early));
    assert_eq!(hears(&bench, FIRST, early), Source::Leg(CALLEE), "a menu may ask for digits");
    assert_eq!(hears(&bench, FIRST, CALLER), Source::Nothing, "Alice has handed over");
    // The answer repeats the description, and another one comes: both reach the leg where it is.
    bench.heard(Event::Answered { leg: target, body: sdp("pcma") });
    let answered = Media::SetAnswer { leg: early, answer: "pcma".into() };
    assert!(bench.plane.commands.iter().any(|(_, c)| c.call == FIRST && c.command == answered));
    assert_eq!(bench.take_said(ALICE).last(), Some(&ended("c1", EndReason::Transferred)));
    assert_eq!(bench.media_count(|m| matches!(m, Media::Adopt { .. })), 1, "its media moved once");
    assert_eq!(hears(&bench, FIRST, CALLEE), Source::Leg(early));
    bench.heard(Event::Ended { leg: trunk, end: LegEnd::Bye { q850: None } });
    bench.heard(Event::Ended { leg: target, end: LegEnd::Local });
    bench.assert_over(2);
}

#[test]
fn after_an_announcement_the_next_trunk_rings_and_the_waiting_party_hears_that() {
    let mut bench = Bench::new();
    let trunk = talking(&mut bench);
    transfer(&mut bench, Some("+12025550103"), None);
    let (target, _) = bench.invite();
    bench.heard(Event::Provisional { leg: target, status: 183, body: sdp("pcmu") });
    let end = LegEnd::Refused { status: 503, reason: String::new(), q850: None, retry_after: None };
    bench.heard(Event::Ended { leg: target, end });
    let removed = Media::Remove { leg: LegId(2) };
    assert!(bench.plane.commands.iter().any(|(_, c)| c.call == FIRST && c.command == removed));
    assert_eq!(hears(&bench, FIRST, CALLEE), Source::Tone(Tone::Ringback));
    let (backup, _) = bench.invite();
    bench.heard(Event::Provisional { leg: backup, status: 183, body: sdp("pcmu") });
    assert_eq!(hears(&bench, FIRST, CALLEE), Source::Leg(LegId(3)));
    // The waiting party has enough: nobody is rung any more, and nothing is said to media that is gone.
    bench.heard(Event::Ended { leg: trunk, end: LegEnd::Bye { q850: None } });
    assert!(matches!(bench.sip_command(), Sip::HangUp { leg, .. } if leg == backup));
    bench.heard(Event::Ended { leg: backup, end: LegEnd::Local });
    let mut of_first = bench.plane.commands.iter().rev().filter(|(_, c)| c.call == FIRST);
    assert_eq!(of_first.next().map(|(_, c)| &c.command), Some(&Media::Close));
    bench.assert_over(2);
}

#[test]
fn a_failed_transfer_with_early_media_gives_the_transferor_its_call_back() {
    let mut bench = Bench::new();
    talking(&mut bench);
    transfer(&mut bench, Some("+12025550103"), None);
    let (target, _) = bench.invite();
    bench.heard(Event::Provisional { leg: target, status: 183, body: sdp("pcmu") });
    let end = LegEnd::Refused { status: 486, reason: String::new(), q850: None, retry_after: None };
    bench.heard(Event::Ended { leg: target, end });
    assert_eq!(hears(&bench, FIRST, CALLER), Source::Leg(CALLEE));
    assert_eq!(hears(&bench, FIRST, CALLEE), Source::Leg(CALLER));
    assert_eq!(bench.take_said(ALICE).last(), Some(&shows(TransferState::Failed, Some(EndReason::Busy))));
}

#[test]
fn what_was_heard_while_consulting_goes_over_to_the_waiting_party() {
    // RFC 5589 §7.6: the consultation is still ringing, with the network's announcement.
    let mut bench = Bench::new();
    let (first, second) = consulting(&mut bench, false);
    bench.heard(Event::Provisional { leg: second, status: 183, body: sdp("pcmu") });
    assert_eq!(hears(&bench, SECOND, CALLER), Source::Leg(CALLEE));
    transfer(&mut bench, None, Some("c2"));
    assert_eq!(hears(&bench, FIRST, CALLEE), Source::Leg(LegId(2)));
    bench.heard(Event::Answered { leg: second, body: sdp("pcmu") });
    assert_eq!(hears(&bench, FIRST, LegId(2)), Source::Leg(CALLEE));
    bench.heard(Event::Ended { leg: first, end: LegEnd::Bye { q850: None } });
    bench.heard(Event::Ended { leg: second, end: LegEnd::Local });
    bench.assert_over(2);
}

/// Alice's phone talks to the carrier and refers it somewhere; what the INVITE that follows says of her.
fn referred_by(config: b2bua::SwitchConfig, to: &str, private: bool) -> Option<String> {
    let mut bench = Bench::with(config);
    bench.phone("alice", "192.0.2.40:5060");
    bench.phone("bob", "192.0.2.50:5060");
    let alice = bench.phone_calls("alice", "+12025550100", "192.0.2.40:5060", "pcmu");
    let (leg, _) = bench.invite();
    bench.heard(Event::Answered { leg, body: sdp("pcmu") });
    assert!(matches!(bench.sip_command(), Sip::Answer { .. }));
    let referral = Referral { private, ..refer(&format!("sip:{to}@example.com"), None) };
    bench.heard(Event::Refer { leg: alice, refer: REFER, referral });
    assert!(matches!(bench.sip_command(), Sip::AcceptRefer { .. }));
    let (_, invite) = bench.invite();
    invite.headers.into_iter().find(|(name, _)| *name == "Referred-By").map(|(_, value)| value)
}

#[test]
fn a_phone_and_a_trunk_that_wants_it_hear_who_transfers_unless_that_is_private() {
    // RFC 3892 §2.2 and §3; what the REFER claims is not repeated: we know who sent it.
    let in_our_words = Some("<sip:alice@example.com>".to_owned());
    assert_eq!(referred_by(config(), "101", false), in_our_words);
    assert_eq!(referred_by(config(), "101", true), None);
    assert_eq!(referred_by(config(), "+12025550103", false), None, "carriers need not know");
    let mut curious = config();
    curious.trunks[0].profile.referred_by = true;
    let by_number = Some("<sip:+12025550110@carrier.example>".to_owned());
    assert_eq!(referred_by(curious.clone(), "+12025550103", false), by_number);
    assert_eq!(referred_by(curious.clone(), "+12025550103", true), None);
    let mut users = curious.users.to_vec();
    users[0].caller_id = None;
    curious.users = users.into();
    assert_eq!(referred_by(curious, "+12025550103", false), None, "no name of ours leaves by a trunk");
}

#[test]
fn a_party_that_hides_its_number_stays_hidden_when_it_is_handed_over() {
    let mut bench = Bench::new();
    bench.sign_in(ALICE, "alice");
    bench.sign_in(BOB, "bob");
    let hidden = vec![("Privacy", "id".to_owned())];
    let to = "sip:+12025550110@192.0.2.1";
    let trunk = bench.invited("sip:+12025550177@carrier.example", to, TRUNK, hidden, "pcmu");
    let call = bench.incoming(ALICE);
    bench.browser(ALICE, FromBrowser::Offer { call: call.clone(), sdp: "opus".into() });
    bench.browser(ALICE, FromBrowser::Answer { call: call.clone() });
    bench.media(FIRST, media_bridge::control::Event::Connected { leg: CALLEE });
    bench.browser(ALICE, FromBrowser::Transfer { call, to: Some("101".into()), with: None });
    let said = bench.take_said(BOB);
    let [ToBrowser::Incoming { from, name, .. }] = &said[..] else { panic!("{said:?}") };
    assert_eq!((from.as_str(), name.as_str()), ("anonymous", "Anonymous"));
    bench.heard(Event::Ended { leg: trunk, end: LegEnd::Cancelled { reason: None } });
}

#[test]
fn a_transferor_may_hang_up_before_the_new_party_answers() {
    // RFC 5589 §6.1.
    let mut bench = Bench::new();
    let trunk = talking(&mut bench);
    transfer(&mut bench, Some("+12025550103"), None);
    let (target, _) = bench.invite();
    bench.browser(ALICE, FromBrowser::Bye { call: "c1".into() });
    assert_eq!(bench.take_said(ALICE).last(), Some(&ended("c1", EndReason::HungUp)));
    assert!(bench.sip.is_empty(), "the trunk waits for the outcome");
    bench.heard(Event::Answered { leg: target, body: sdp("pcmu") });
    assert_eq!(hears(&bench, FIRST, CALLEE), Source::Leg(LegId(2)));
    bench.heard(Event::Ended { leg: trunk, end: LegEnd::Bye { q850: None } });
    assert!(matches!(bench.sip_command(), Sip::HangUp { leg, .. } if leg == target));
    bench.heard(Event::Ended { leg: target, end: LegEnd::Local });
    bench.assert_over(2);
}

#[test]
fn the_waiting_party_hears_of_a_failed_transfer_whose_transferor_has_left() {
    let mut bench = Bench::new();
    let trunk = talking(&mut bench);
    transfer(&mut bench, Some("+12025550103"), None);
    let (target, _) = bench.invite();
    bench.browser(ALICE, FromBrowser::Bye { call: "c1".into() });
    let end = LegEnd::Refused { status: 486, reason: String::new(), q850: None, retry_after: None };
    bench.heard(Event::Ended { leg: target, end });
    match bench.sip_command() {
        Sip::HangUp { leg, reason: Some(reason) } if leg == trunk => {
            assert!(reason.contains("busy"), "{reason}")
        }
        other => panic!("{other:?}"),
    }
    bench.heard(Event::Ended { leg: trunk, end: LegEnd::Local });
    bench.assert_over(2);
}

#[test]
fn the_waiting_party_may_give_up_and_nobody_is_rung_any_more() {
    let mut bench = Bench::new();
    let trunk = talking(&mut bench);
    transfer(&mut bench, Some("+12025550103"), None);
    let (target, _) = bench.invite();
    bench.heard(Event::Ended { leg: trunk, end: LegEnd::Bye { q850: None } });
    assert!(matches!(bench.sip_command(), Sip::HangUp { leg, .. } if leg == target));
    bench.heard(Event::Ended { leg: target, end: LegEnd::Local });
    bench.assert_over(2);
}

/// Alice talks to the carrier in `c1` and to a second number in `c2`, answered or not.
fn consulting(bench: &mut Bench, answered: bool) -> (SipLeg, SipLeg) {
    let first = talking(bench);
    bench.browser(ALICE, FromBrowser::Hold { call: "c1".into() });
    let (call, to, sdp_text) = ("c2".into(), "+12025550101".into(), "opus,pcmu,pcma".into());
    bench.browser(ALICE, FromBrowser::Call { call, to, sdp: sdp_text });
    let (second, _) = bench.invite();
    if answered {
        bench.heard(Event::Answered { leg: second, body: sdp("pcmu") });
    } else {
        bench.heard(Event::Provisional { leg: second, status: 180, body: None });
    }
    bench.take_said(ALICE);
    (first, second)
}

#[test]
fn an_attended_transfer_joins_the_far_ends_of_two_calls_and_takes_hold_away() {
    // RFC 5589 §7.
    let mut bench = Bench::new();
    let (first, second) = consulting(&mut bench, true);
    transfer(&mut bench, None, Some("c2"));
    assert_eq!(hears(&bench, FIRST, CALLEE), Source::Leg(LegId(2)));
    assert_eq!(hears(&bench, FIRST, LegId(2)), Source::Leg(CALLEE));
    let said = bench.take_said(ALICE);
    assert!(said.contains(&ended("c1", EndReason::Transferred)), "{said:?}");
    assert!(said.contains(&ended("c2", EndReason::Transferred)), "{said:?}");
    assert_eq!(bench.cdrs.len(), 1);
    // Whatever comes for the moved leg comes to the call that has it now.
    let lost = media_bridge::control::Event::Stats { leg: CALLEE, stats: Default::default() };
    bench.media(SECOND, lost);
    bench.heard(Event::Ended { leg: second, end: LegEnd::Bye { q850: None } });
    assert!(matches!(bench.sip_command(), Sip::HangUp { leg, .. } if leg == first));
    bench.heard(Event::Ended { leg: first, end: LegEnd::Local });
    bench.assert_over(2);
    assert_eq!(bench.cdrs[0].continued_in, Some(FIRST));
    assert_eq!(bench.cdrs[1].transfers.len(), 1);
}

#[test]
fn an_attended_transfer_may_be_completed_while_it_still_rings() {
    // RFC 5589 §7.6: semi-attended.
    let mut bench = Bench::new();
    let (first, second) = consulting(&mut bench, false);
    transfer(&mut bench, None, Some("c2"));
    assert_eq!(hears(&bench, FIRST, CALLEE), Source::Tone(Tone::Ringback));
    assert!(bench.take_said(ALICE).contains(&ended("c2", EndReason::Transferred)));
    bench.heard(Event::Answered { leg: second, body: sdp("pcmu") });
    assert_eq!(bench.take_said(ALICE), [ended("c1", EndReason::Transferred)]);
    assert_eq!(hears(&bench, FIRST, CALLEE), Source::Leg(LegId(2)));
    bench.heard(Event::Ended { leg: first, end: LegEnd::Bye { q850: None } });
    assert!(matches!(bench.sip_command(), Sip::HangUp { leg, .. } if leg == second));
    bench.heard(Event::Ended { leg: second, end: LegEnd::Local });
    bench.assert_over(2);
}

#[test]
fn a_transfer_that_makes_no_sense_is_refused_with_a_sentence() {
    let mut bench = Bench::new();
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550100");
    let (leg, _) = bench.invite();
    bench.take_said(ALICE);
    let code = |bench: &mut Bench| match &bench.take_said(ALICE)[..] {
        [ToBrowser::Error { code, .. }] => code.clone(),
        other => panic!("{other:?}"),
    };
    transfer(&mut bench, Some("101"), None);
    assert_eq!(code(&mut bench), "not-connected");
    bench.heard(Event::Answered { leg, body: sdp("pcmu") });
    bench.take_said(ALICE);
    transfer(&mut bench, None, Some("c7"));
    assert_eq!(code(&mut bench), "unknown-call");
    transfer(&mut bench, None, Some("c1"));
    assert_eq!(code(&mut bench), "unknown-call");
    transfer(&mut bench, Some("+12025550103"), None);
    bench.take_said(ALICE);
    transfer(&mut bench, Some("101"), None);
    assert_eq!(code(&mut bench), "transfer-busy");
}

/// Alice's phone calls Bob's browser; both talk.
fn phone_talks(bench: &mut Bench) -> (SipLeg, String) {
    bench.sign_in(BOB, "bob");
    let phone = bench.phone_calls("alice", "101", "192.0.2.50:5070", "pcmu");
    let call = bench.incoming(BOB);
    bench.browser(BOB, FromBrowser::Offer { call: call.clone(), sdp: "opus".into() });
    bench.browser(BOB, FromBrowser::Answer { call: call.clone() });
    bench.media(FIRST, media_bridge::control::Event::Connected { leg: CALLEE });
    bench.heard(Event::Acked { leg: phone, body: None });
    bench.sip.clear();
    bench.take_said(BOB);
    (phone, call)
}

#[test]
fn a_phone_that_refers_is_told_how_it_goes_and_hung_up_on_at_the_end() {
    let mut bench = Bench::new();
    let (phone, call) = phone_talks(&mut bench);
    let referral = refer("sip:+12025550100@example.com", None);
    bench.heard(Event::Refer { leg: phone, refer: REFER, referral });
    assert!(matches!(bench.sip_command(), Sip::AcceptRefer { refer: REFER }));
    let (target, invite) = bench.invite();
    assert_eq!(invite.uri, "sip:+12025550100@carrier.example");
    bench.heard(Event::Provisional { leg: target, status: 180, body: None });
    assert!(matches!(bench.sip_command(), Sip::ReferStatus { refer: REFER, status: 180 }));
    bench.heard(Event::Answered { leg: target, body: sdp("pcmu") });
    assert!(matches!(bench.sip_command(), Sip::ReferStatus { refer: REFER, status: 200 }));
    assert!(matches!(bench.sip_command(), Sip::HangUp { leg, .. } if leg == phone));
    let party = ToBrowser::Party { call, number: "+12025550100".into() };
    assert!(bench.take_said(BOB).contains(&party));
    bench.heard(Event::Ended { leg: phone, end: LegEnd::Bye { q850: None } });
    bench.heard(Event::Ended { leg: target, end: LegEnd::Bye { q850: None } });
    bench.assert_over(2);
}

#[test]
fn a_refer_to_somewhere_else_is_404_and_one_with_a_strange_replaces_481() {
    let mut bench = Bench::new();
    let (phone, _) = phone_talks(&mut bench);
    let cases = [
        (refer("sip:carol@elsewhere.example", None), 404),
        (refer("sip:100@example.com", Some(ReplacedDialog::Unknown)), 481),
        (refer("sip:100@example.com", Some(ReplacedDialog::Leg(phone))), 481),
    ];
    for (referral, expected) in cases {
        bench.heard(Event::Refer { leg: phone, refer: REFER, referral });
        match bench.sip_command() {
            Sip::RejectRefer { status, reason, .. } => assert!(status == expected && !reason.is_empty()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(hears(&bench, FIRST, CALLER), Source::Leg(CALLEE), "the call stays");
}

#[test]
fn a_phone_joins_its_two_calls_by_refer_with_replaces() {
    // RFC 5589 §7.1, by a phone with two dialogs here.
    let mut bench = Bench::new();
    let (phone, call) = phone_talks(&mut bench);
    let other = bench.phone_calls("alice", "+12025550101", "192.0.2.50:5070", "pcmu");
    let (target, _) = bench.invite();
    bench.heard(Event::Answered { leg: target, body: sdp("pcmu") });
    bench.sip.clear();
    let referral = refer("sip:+12025550101@example.com", Some(ReplacedDialog::Leg(other)));
    bench.heard(Event::Refer { leg: phone, refer: REFER, referral });
    assert!(matches!(bench.sip_command(), Sip::AcceptRefer { refer: REFER }));
    assert!(matches!(bench.sip_command(), Sip::ReferStatus { refer: REFER, status: 200 }));
    let ends: Vec<SipLeg> = std::iter::from_fn(|| match bench.sip.pop_front()? {
        Sip::HangUp { leg, .. } => Some(leg),
        other => panic!("{other:?}"),
    })
    .collect();
    assert_eq!(ends, [phone, other]);
    for leg in ends {
        bench.heard(Event::Ended { leg, end: LegEnd::Local });
    }
    bench.browser(BOB, FromBrowser::Bye { call });
    bench.heard(Event::Ended { leg: target, end: LegEnd::Local });
    bench.assert_over(2);
}

#[test]
fn an_invite_with_replaces_of_the_same_user_takes_the_call_over() {
    // RFC 3891 §3.
    let mut bench = Bench::new();
    let (phone, _) = phone_talks(&mut bench);
    let taken = bench.replacing("alice", "192.0.2.51:5071", phone);
    assert!(matches!(bench.sip_command(), Sip::Answer { leg, .. } if leg == taken));
    assert!(matches!(bench.sip_command(), Sip::HangUp { leg, .. } if leg == phone));
    assert_eq!(hears(&bench, FIRST, CALLEE), Source::Leg(LegId(2)));
    bench.heard(Event::Ended { leg: phone, end: LegEnd::Local });
    bench.heard(Event::Acked { leg: taken, body: None });
    bench.heard(Event::Ended { leg: taken, end: LegEnd::Bye { q850: None } });
    bench.assert_over(2);
}

#[test]
fn an_invite_with_replaces_of_someone_else_is_403() {
    let mut bench = Bench::new();
    let (phone, _) = phone_talks(&mut bench);
    bench.replacing("bob", "192.0.2.52:5072", phone);
    assert!(matches!(bench.sip_command(), Sip::Reject { status: 403, .. }));
    assert_eq!(hears(&bench, FIRST, CALLER), Source::Leg(CALLEE));
}

/// Alice talks to a carrier that transfers by itself.
fn upstream() -> (Bench, SipLeg) {
    let mut config = config();
    config.trunks[0].refer = true;
    let mut bench = Bench::with(config);
    let trunk = talking(&mut bench);
    transfer(&mut bench, Some("+12025550101"), None);
    match bench.sip_command() {
        Sip::Refer { leg, to, referred_by } => {
            assert_eq!((leg, to.as_str()), (trunk, "sip:+12025550101@carrier.example"));
            assert_eq!(referred_by, "sip:alice@example.com");
        }
        other => panic!("{other:?}"),
    }
    (bench, trunk)
}

#[test]
fn a_trunk_that_transfers_by_itself_is_referred_and_the_call_ends_when_it_has() {
    let (mut bench, trunk) = upstream();
    bench.heard(Event::Referred { leg: trunk, outcome: ReferOutcome::Progress(180) });
    bench.heard(Event::Referred { leg: trunk, outcome: ReferOutcome::Done(Some(200)) });
    assert!(matches!(bench.sip_command(), Sip::HangUp { leg, .. } if leg == trunk));
    assert_eq!(bench.take_said(ALICE).last(), Some(&ended("c1", EndReason::Transferred)));
    bench.heard(Event::Ended { leg: trunk, end: LegEnd::Local });
    bench.assert_over(1);
    assert_eq!(bench.cdrs[0].transfers[0].with, None);
}

#[test]
fn a_trunk_whose_transfer_fails_gives_the_call_back() {
    let (mut bench, trunk) = upstream();
    bench.heard(Event::Referred { leg: trunk, outcome: ReferOutcome::Done(Some(486)) });
    let failed = shows(TransferState::Failed, Some(EndReason::Busy));
    assert_eq!(bench.take_said(ALICE).last(), Some(&failed));
    assert_eq!(hears(&bench, FIRST, CALLER), Source::Leg(CALLEE));
}

#[test]
fn what_a_trunk_refuses_to_transfer_is_transferred_here() {
    let (mut bench, trunk) = upstream();
    bench.heard(Event::Referred { leg: trunk, outcome: ReferOutcome::Refused(Some(405)) });
    let (target, invite) = bench.invite();
    assert_eq!(invite.uri, "sip:+12025550101@carrier.example");
    bench.heard(Event::Answered { leg: target, body: sdp("pcmu") });
    assert_eq!(bench.take_said(ALICE).last(), Some(&ended("c1", EndReason::Transferred)));
}

#[test]
fn calls_of_one_user_share_a_worker_so_that_they_can_be_joined() {
    let mut config = config();
    config.workers = 4;
    config.routes = vec![route("+1*", &[RouteTo::Trunk("carrier".into())])];
    let mut bench = Bench::with(config);
    bench.sign_in(BOB, "bob");
    let (call, to) = ("b1".into(), "+12025550105".into());
    bench.browser(BOB, FromBrowser::Call { call, to, sdp: "opus,pcmu".into() });
    bench.invite();
    consulting(&mut bench, true);
    bench.trunk_calls("+12025550110", "pcmu");
    let worker = |call: u64| {
        let of = |c: &&(WorkerId, media_bridge::control::CallCommand)| c.1.call == CallId(call);
        bench.plane.commands.iter().find(of).unwrap().0
    };
    assert_ne!(worker(1), worker(2), "calls of others are spread");
    assert_eq!(worker(2), worker(3));
    assert_eq!(worker(2), worker(4));
}

#[test]
fn a_transfer_that_nobody_answers_ends_by_the_clock_and_returns() {
    let mut bench = Bench::new();
    talking(&mut bench);
    transfer(&mut bench, Some("+12025550103"), None);
    let (target, _) = bench.invite();
    bench.heard(Event::Provisional { leg: target, status: 180, body: None });
    bench.pass(types::limits::RING_DURATION + Duration::from_secs(1));
    let failed = shows(TransferState::Failed, Some(EndReason::NoAnswer));
    assert_eq!(bench.take_said(ALICE).last(), Some(&failed));
}

/// The worker of a call, as its first command was addressed.
fn worker_of(bench: &Bench, call: CallId) -> WorkerId {
    bench.plane.commands.iter().find(|(_, c)| c.call == call).unwrap().0
}

/// A transferor on two workers: Bob is in a call of his own when he calls Alice, who talks already.
fn alice_and_bob_on_two_workers(bench: &mut Bench) -> [SipLeg; 2] {
    let first = talking(bench);
    bench.sign_in(BOB, "bob");
    bench.call(BOB, "+12025550101");
    let (second, _) = bench.invite();
    bench.heard(Event::Answered { leg: second, body: sdp("pcmu") });
    assert_ne!(worker_of(bench, FIRST), worker_of(bench, SECOND));
    bench.take_said(BOB);
    bench.take_said(ALICE);
    [first, second]
}

#[test]
fn the_far_ends_of_calls_on_two_workers_are_joined_all_the_same() {
    let mut bench = Bench::new();
    let [first, second] = alice_and_bob_on_two_workers(&mut bench);
    let call = (BOB, "b2");
    bench.browser(call.0, FromBrowser::Call { call: call.1.into(), to: "100".into(), sdp: "opus".into() });
    let third = CallId(3);
    let incoming = bench.incoming(ALICE);
    bench.browser(ALICE, FromBrowser::Offer { call: incoming.clone(), sdp: "opus".into() });
    bench.browser(ALICE, FromBrowser::Answer { call: incoming.clone() });
    bench.media(third, media_bridge::control::Event::Connected { leg: CALLEE });
    bench.take_said(ALICE);
    assert_eq!(worker_of(&bench, third), worker_of(&bench, SECOND), "where Bob's other call is");
    bench.sip.clear();
    transfer(&mut bench, None, Some(&incoming));
    let adopted = |m: &Media| matches!(m, Media::Adopt { from, worker, their: CALLER, .. } if *from == third && *worker == WorkerId(1));
    assert_eq!(bench.media_count(adopted), 1, "the worker that has the leg is named");
    assert_eq!(hears(&bench, FIRST, CALLEE), Source::Leg(LegId(2)));
    assert_eq!(hears(&bench, FIRST, LegId(2)), Source::Leg(CALLEE));
    let to_first = |m: &&(WorkerId, media_bridge::control::CallCommand)| m.1.call == FIRST;
    let workers: Vec<u8> = bench.plane.commands.iter().filter(to_first).map(|m| m.0.0).collect();
    assert!(workers.iter().all(|w| *w == 0), "a call stays on its worker: {workers:?}");
    let said = bench.take_said(ALICE);
    assert!(said.contains(&ended("c1", EndReason::Transferred)), "{said:?}");
    bench.heard(Event::Ended { leg: first, end: LegEnd::Bye { q850: None } });
    bench.heard(Event::Ended { leg: second, end: LegEnd::Bye { q850: None } });
    bench.assert_over(3);
}

/// Alice calls Bob, who holds her and rings a third party, on the worker where Bob's first call is.
fn bob_consults_on_the_other_worker(bench: &mut Bench) -> (String, SipLeg) {
    alice_and_bob_on_two_workers(bench);
    bench.browser(ALICE, FromBrowser::Call { call: "c2".into(), to: "101".into(), sdp: "opus".into() });
    let incoming = bench.incoming(BOB);
    bench.browser(BOB, FromBrowser::Offer { call: incoming.clone(), sdp: "opus".into() });
    bench.browser(BOB, FromBrowser::Answer { call: incoming.clone() });
    bench.media(CallId(3), media_bridge::control::Event::Connected { leg: CALLEE });
    bench.browser(BOB, FromBrowser::Hold { call: incoming.clone() });
    bench.sip.clear();
    bench
        .browser(BOB, FromBrowser::Call { call: "b3".into(), to: "+12025550103".into(), sdp: "opus".into() });
    let (target, _) = bench.invite();
    bench.heard(Event::Provisional { leg: target, status: 180, body: None });
    assert_eq!((worker_of(bench, CallId(3)), worker_of(bench, CallId(4))), (WorkerId(0), WorkerId(1)));
    (incoming, target)
}

#[test]
fn who_rings_on_another_worker_is_handed_over_though_the_transferor_holds_or_leaves() {
    // RFC 5589 §6.1, §7.6.
    for leaves in [false, true] {
        let mut bench = Bench::new();
        let (incoming, target) = bob_consults_on_the_other_worker(&mut bench);
        let (call, with) = (incoming.clone(), Some("b3".into()));
        bench.browser(BOB, FromBrowser::Transfer { call, to: None, with });
        assert_eq!(hears(&bench, CallId(3), CALLER), Source::Tone(Tone::Ringback));
        if leaves {
            bench.browser(BOB, FromBrowser::Bye { call: incoming.clone() });
        }
        bench.heard(Event::Answered { leg: target, body: sdp("pcmu") });
        let adopted = Media::Adopt { leg: LegId(2), from: CallId(4), worker: WorkerId(1), their: CALLEE };
        assert_eq!(bench.media_count(|m| *m == adopted), 1);
        assert_eq!(hears(&bench, CallId(3), CALLER), Source::Leg(LegId(2)));
        assert_eq!(hears(&bench, CallId(3), LegId(2)), Source::Leg(CALLER), "nobody is on hold any more");
        let why = if leaves { EndReason::HungUp } else { EndReason::Transferred };
        assert!(bench.take_said(BOB).contains(&ended(&incoming, why)));
        bench.browser(ALICE, FromBrowser::Bye { call: "c2".into() });
        assert!(matches!(bench.sip_command(), Sip::HangUp { leg, .. } if leg == target));
    }
}

#[test]
fn who_gives_up_while_it_rings_on_another_worker_leaves_nothing_behind() {
    let mut bench = Bench::new();
    let (incoming, target) = bob_consults_on_the_other_worker(&mut bench);
    bench.browser(BOB, FromBrowser::Transfer { call: incoming, to: None, with: Some("b3".into()) });
    bench.browser(ALICE, FromBrowser::Bye { call: "c2".into() });
    assert!(matches!(bench.sip_command(), Sip::HangUp { leg, .. } if leg == target));
    // It was answered meanwhile.
    bench.heard(Event::Answered { leg: target, body: sdp("pcmu") });
    bench.heard(Event::Ended { leg: target, end: LegEnd::Local });
    assert_eq!(bench.media_count(|m| matches!(m, Media::Adopt { .. })), 0);
    let over: Vec<CallId> = bench.cdrs.iter().map(|c| c.call).collect();
    assert!(over.contains(&CallId(3)) && over.contains(&CallId(4)), "{over:?}");
}
