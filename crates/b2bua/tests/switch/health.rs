//! Trunks are asked by OPTIONS whether they are there (RFC 3261 §11).

use std::time::Duration;

use crate::rig::{Bench, config};
use b2bua::{PING_EVERY, TrunkRegistration};
use sip_ua::{Command as Sip, Event, PingId};

fn pings(bench: &mut Bench) -> Vec<(PingId, String)> {
    let all = std::mem::take(&mut bench.sip);
    let of = |command: Sip| {
        let Sip::Ping { ping, uri, .. } = command else { return None };
        Some((ping, uri))
    };
    all.into_iter().filter_map(of).collect()
}

fn start(bench: &mut Bench) {
    bench.switch.handle_timeout(bench.now, bench.wall);
    bench.drain();
}

#[test]
fn a_trunk_is_asked_every_minute_and_its_silence_is_told_once() {
    let mut bench = Bench::new();
    start(&mut bench);
    bench.pass(PING_EVERY);
    let asked = pings(&mut bench);
    assert_eq!(asked.len(), bench.switch.trunks().count(), "every trunk once");
    let (ping, uri) = asked[0].clone();
    assert!(uri.starts_with("sip:") && !uri.contains('@'), "{uri}");
    bench.heard(Event::Pong { ping, status: Some(404) });
    assert_eq!(
        bench.switch.trunks().next().unwrap().reachable,
        Some(true),
        "any status shows that it is there"
    );
    for round in 0..3 {
        bench.pass(PING_EVERY);
        let again = pings(&mut bench);
        let again = again.iter().find(|(_, at)| *at == uri).unwrap_or_else(|| panic!("round {round}"));
        bench.heard(Event::Pong { ping: again.0, status: None });
    }
    assert_eq!(bench.switch.trunks().next().unwrap().reachable, Some(false));
    let told = bench.logs.iter().filter(|(_, _, text)| text.contains("does not answer OPTIONS")).count();
    assert_eq!(told, 1);
}

#[test]
fn a_trunk_that_still_owes_an_answer_is_not_asked_again() {
    let mut bench = Bench::new();
    start(&mut bench);
    bench.pass(PING_EVERY);
    assert!(!pings(&mut bench).is_empty());
    bench.pass(PING_EVERY * 3);
    assert!(pings(&mut bench).is_empty());
}

#[test]
fn a_trunk_that_we_register_at_is_not_asked() {
    let mut config = config();
    for trunk in &mut config.trunks {
        trunk.registration = Some(TrunkRegistration {
            registrar: "sip:carrier.example".into(),
            aor: "sip:us@carrier.example".into(),
            expires: 600,
            instance: None,
        });
    }
    let mut bench = Bench::with(config);
    start(&mut bench);
    bench.pass(Duration::from_secs(600));
    assert!(pings(&mut bench).is_empty());
}

#[test]
fn a_stopping_gateway_asks_nobody() {
    let mut bench = Bench::new();
    start(&mut bench);
    bench.switch.shut_down(bench.now, bench.wall);
    bench.pass(PING_EVERY * 2);
    assert!(pings(&mut bench).is_empty());
}
