//! Two endpoints over bad networks, by seed: whatever happens, each call ends exactly once and nothing stays behind.

use crate::kit;
use std::collections::HashMap;

use crate::kit::{Net, Seeded, invite, sdp};
use sip_ua::{Command, Event, LegEnd, SipLeg};

/// How many times each leg of a party ended, and that no event followed its end.
fn ends(events: &[Event]) -> HashMap<SipLeg, usize> {
    let mut ended = HashMap::new();
    for event in events {
        let leg = match event {
            Event::Invite { leg, .. }
            | Event::Trying { leg }
            | Event::Provisional { leg, .. }
            | Event::Answered { leg, .. }
            | Event::Acked { leg, .. }
            | Event::Reinvite { leg, .. }
            | Event::ReinviteDone { leg, .. }
            | Event::Info { leg, .. }
            | Event::Ended { leg, .. } => *leg,
            other => panic!("{other:?}"),
        };
        let count = ended.entry(leg).or_insert(0);
        assert_eq!(*count, 0, "after the end: {event:?}");
        *count += usize::from(matches!(event, Event::Ended { .. }));
    }
    ended
}

#[test]
fn calls_are_set_up_and_ended_through_twenty_per_cent_loss() {
    let mut connected = 0;
    for seed in 0..200 {
        let mut net = Net::new(seed, 20);
        let ours = SipLeg::outgoing(1);
        net.command(0, Command::Invite(ours, invite(kit::BOB)));
        net.run_millis(10_000);
        let Some(theirs) = net.parties[1].events.iter().find_map(|e| match e {
            Event::Invite { leg, .. } => Some(*leg),
            _ => None,
        }) else {
            continue;
        };
        net.command(1, Command::Provisional { leg: theirs, status: 180, body: None });
        net.run_millis(500);
        net.command(1, Command::Answer { leg: theirs, body: sdp("answer") });
        net.run_millis(12_000);
        let events = &net.parties[0].events;
        connected += usize::from(events.iter().any(|e| matches!(e, Event::Answered { .. })));
        net.command(0, Command::HangUp { leg: ours, reason: None });
        net.assert_drained();
        assert_eq!(net.parties[0].ends(), vec![(ours, LegEnd::Local)], "seed {seed}");
        assert_eq!(ends(&net.parties[1].events).get(&theirs), Some(&1), "seed {seed}");
    }
    assert!(connected >= 195, "{connected}");
}

/// One random thing that an application might do to one of its legs.
fn random_command(random: &mut Seeded, leg: SipLeg) -> Command {
    match random.next() % 10 {
        0 => Command::Provisional { leg, status: 183, body: Some(sdp("early")) },
        1..=3 => Command::Answer { leg, body: sdp("answer") },
        4 => Command::Reinvite { leg, body: sdp("again") },
        5 | 6 => Command::AcceptReinvite { leg, body: sdp("ok") },
        7 => Command::RejectReinvite { leg, status: 488, headers: Vec::new() },
        8 => Command::Info { leg, body: sdp("info") },
        _ => match random.next() % 4 {
            0 => Command::Reject { leg, status: 486, reason: String::new(), headers: Vec::new() },
            1 => Command::HangUp { leg, reason: Some("Q.850;cause=16".into()) },
            2 => Command::Probe { leg },
            _ => Command::Info { leg, body: sdp("info") },
        },
    }
}

#[test]
fn random_commands_on_a_lossy_network_end_every_leg_once_and_leave_nothing() {
    for seed in 0..256 {
        let mut random = Seeded(seed ^ 0x5eed);
        let mut net = Net::new(seed, seed % 25);
        net.corrupt = if seed % 4 == 3 { 30 } else { 0 };
        for n in 0..6 {
            let who = (random.next() % 2) as usize;
            let to = [kit::BOB, kit::ALICE][who];
            net.command(who, Command::Invite(SipLeg::outgoing(n), invite(to)));
        }
        for _ in 0..80 {
            net.run_millis(random.next() % 700);
            let who = (random.next() % 2) as usize;
            let legs: Vec<SipLeg> = {
                let mut legs: Vec<_> = ends(&net.parties[who].events).into_keys().collect();
                legs.sort();
                legs.extend((0..6).map(SipLeg::outgoing));
                legs
            };
            let leg = legs[(random.next() % legs.len() as u64) as usize];
            let command = random_command(&mut random, leg);
            net.command(who, command);
        }
        // Twice: a damaged copy of an INVITE may have become a call of its own meanwhile.
        for _ in 0..2 {
            for who in 0..2 {
                let mut legs: Vec<_> = ends(&net.parties[who].events).into_keys().collect();
                legs.extend((0..6).map(SipLeg::outgoing));
                // The same order in every run of a seed.
                legs.sort();
                for leg in legs {
                    net.command(who, Command::HangUp { leg, reason: None });
                }
            }
            net.run_millis(40_000);
        }
        net.assert_drained();
        for party in &net.parties {
            let ended = ends(&party.events);
            assert!(ended.values().all(|n| *n == 1), "seed {seed}: {ended:?}");
        }
        let outgoing = |p: &kit::Party| p.ends().iter().filter(|(l, _)| *l <= SipLeg::outgoing(5)).count();
        let total: usize = net.parties.iter().map(outgoing).sum();
        assert!(total >= 6, "seed {seed}: {total}");
    }
}

#[test]
fn calls_beyond_the_bound_are_503_with_retry_after() {
    let mut script = kit::Script::new();
    for n in 0..=50_000u32 {
        let text = kit::request("INVITE", 1, &format!("i{n}"), "", "").replace("call1", &format!("call{n}"));
        let sent = script.receive(&text);
        if n == 50_000 {
            assert_eq!(kit::starts(&sent), ["100 Trying", "503 Service Unavailable"]);
            assert_eq!(kit::field(&sent[1], "Retry-After"), "10");
        }
        script.party.sent.clear();
    }
    let calls = script.events().iter().filter(|e| matches!(e, Event::Invite { .. })).count();
    assert_eq!((calls, script.party.endpoint.dialogs()), (50_000, 50_000));
}

#[test]
fn fifty_thousand_calls_at_once_keep_their_timers_cheap() {
    let mut party = kit::Party::new(kit::ALICE, 1);
    let start = std::time::Instant::now();
    for n in 0..50_000 {
        let command = Command::Invite(SipLeg::outgoing(n), invite(kit::BOB));
        party.endpoint.handle_command(command, start, types::Wall(0));
        while party.endpoint.poll_output().is_some() {}
    }
    assert_eq!(party.endpoint.transactions(), 50_000);
    // One more is beyond the bound.
    let command = Command::Invite(SipLeg::outgoing(50_000), invite(kit::BOB));
    party.endpoint.handle_command(command, start, types::Wall(0));
    party.drain();
    assert!(matches!(party.ends()[..], [(_, LegEnd::Refused { status: 503, .. })]));
    let mut wakes = 0;
    let mut ended = 0;
    while let Some(at) = party.endpoint.poll_timeout() {
        party.endpoint.handle_timeout(at, types::Wall(0));
        wakes += 1;
        while let Some(output) = party.endpoint.poll_output() {
            ended += usize::from(matches!(output, sip_ua::Output::Event(Event::Ended { .. })));
        }
    }
    assert_eq!(ended, 50_000);
    assert_eq!(wakes, 7, "six repetitions and timer B, all at the same instants");
    assert_eq!(party.endpoint.transactions() + party.endpoint.dialogs(), 0);
}
