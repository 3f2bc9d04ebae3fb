//! Offers of both sides in every interleaving (RFC 3261 §14.1 and §14.2, RFC 3311 §5.2; field problem 19).

use crate::kit;
use crate::kit::{Net, invite, sdp, text};
use proptest::prelude::*;
use sip_ua::{Command, Event, SipLeg};

/// One thing that one side does.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Offers anew, unless its last offer is open.
    Offer(usize),
    /// Answers what the other side offered, if anything.
    Answer(usize),
    /// Refuses it.
    Refuse(usize),
    /// Lets these milliseconds pass.
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let side = 0..2_usize;
    prop_oneof![
        3 => side.clone().prop_map(Step::Offer),
        3 => side.clone().prop_map(Step::Answer),
        1 => side.prop_map(Step::Refuse),
        4 => prop_oneof![Just(3), Just(40), Just(700), Just(2_500), Just(5_000)].prop_map(Step::Pass),
    ]
}

/// What one side knows of the call's offers.
#[derive(Default)]
struct Side {
    /// Number of the offer that waits for its outcome.
    open: Option<u32>,
    /// The other side's offer that waits for an answer.
    asked: Option<String>,
    /// An offer was refused with 491: it is made again.
    again: bool,
    sent: u32,
    settled: u32,
}

struct Call {
    net: Net,
    legs: [SipLeg; 2],
    sides: [Side; 2],
}

impl Call {
    fn new(seed: u64, loss: u64) -> Call {
        let mut net = Net::new(seed, 0);
        let leg = SipLeg::outgoing(1);
        net.command(0, Command::Invite(leg, invite(kit::BOB)));
        net.run_millis(500);
        let incoming = net.parties[1].events.iter().find_map(|e| match e {
            Event::Invite { leg, .. } => Some(*leg),
            _ => None,
        });
        let theirs = incoming.unwrap();
        net.command(1, Command::Answer { leg: theirs, body: sdp("answer") });
        net.run_millis(500);
        net.parties.iter_mut().for_each(|p| drop(p.take_events()));
        net.loss = loss;
        Call { net, legs: [leg, theirs], sides: Default::default() }
    }

    fn offer(&mut self, who: usize) {
        if self.sides[who].open.is_none() {
            self.sides[who].sent += 1;
            self.sides[who].again = false;
            let n = self.sides[who].sent;
            self.sides[who].open = Some(n);
            let body = sdp(&format!("offer {who} {n}"));
            self.net.command(who, Command::Reinvite { leg: self.legs[who], body });
        }
    }

    fn answer(&mut self, who: usize, take: bool) {
        let Some(offer) = self.sides[who].asked.take() else { return };
        let leg = self.legs[who];
        let command = match take {
            true => Command::AcceptReinvite { leg, body: sdp(&offer.replace("offer", "answer")) },
            false => Command::RejectReinvite { leg, status: 488, headers: Vec::new() },
        };
        self.net.command(who, command);
    }

    fn take_events(&mut self) -> Result<(), TestCaseError> {
        for who in 0..2 {
            for event in self.net.parties[who].take_events() {
                match event {
                    Event::Reinvite { body, .. } => {
                        prop_assert!(self.sides[who].asked.is_none(), "two offers at once for {who}");
                        self.sides[who].asked = Some(text(&body));
                    }
                    Event::ReinviteDone { result, .. } => {
                        let n = self.sides[who].open.take();
                        prop_assert!(n.is_some(), "an outcome of nothing for {who}");
                        match result {
                            Ok(body) => {
                                let mine = format!("answer {who} {}", n.unwrap());
                                prop_assert_eq!(text(&body), mine, "the answer to another offer");
                                self.sides[who].settled += 1;
                            }
                            Err(491) => self.sides[who].again = true,
                            Err(status) => prop_assert!(matches!(status, 488 | 500), "{}", status),
                        }
                    }
                    Event::Ended { end, .. } => prop_assert!(false, "the call ended: {end:?}"),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Both sides answer, and make again what met the other's, until nothing is open.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..60 {
            for who in 0..2 {
                self.answer(who, true);
                if self.sides[who].again {
                    self.offer(who);
                }
            }
            self.net.run_millis(1_000);
            self.take_events()?;
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn offers_of_both_sides_never_mix_and_all_come_to_an_end(
        seed in 0..10_000_u64,
        loss in prop_oneof![Just(0_u64), Just(10)],
        steps in prop::collection::vec(step(), 1..25),
    ) {
        let mut call = Call::new(seed, loss);
        for step in steps {
            match step {
                Step::Offer(who) => call.offer(who),
                Step::Answer(who) => call.answer(who, true),
                Step::Refuse(who) => call.answer(who, false),
                Step::Pass(ms) => call.net.run_millis(ms),
            }
            call.take_events()?;
        }
        call.settle()?;
        for side in &call.sides {
            prop_assert!(side.open.is_none() && side.asked.is_none() && !side.again, "an offer is left open");
        }
        // The way is free for both afterwards.
        for who in 0..2 {
            let before = call.sides[who].settled;
            call.offer(who);
            call.settle()?;
            prop_assert!(call.sides[who].settled > before);
        }
        call.net.command(0, Command::HangUp { leg: call.legs[0], reason: None });
        call.net.assert_drained();
    }

    #[test]
    fn two_offers_at_the_same_moment_both_get_through_after_their_pauses(seed in 0..10_000_u64, apart in 0..80_u64) {
        // RFC 3261 §14.1: the owner of the Call-ID waits 2.1 to 4 s, the other side up to 2 s.
        let mut call = Call::new(seed, 0);
        call.offer(0);
        call.net.run_millis(apart);
        call.take_events()?;
        call.offer(1);
        call.settle()?;
        prop_assert_eq!((call.sides[0].settled, call.sides[1].settled), (1, 1));
    }
}
