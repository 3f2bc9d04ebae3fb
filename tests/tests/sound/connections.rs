//! Ways between a browser and the gateway: every browser by UDP, TCP and relay, over IPv4 and IPv6, under DTLS 1.2 and 1.3.
//! Each cell is a call that hears its own microphone back from a carrier. RFC 6544, RFC 4571, RFC 8656, RFC 9147.

use std::net::IpAddr;
use std::time::Duration;

use e2e::document::Section;
use e2e::gateway::{Gateway, PASSWORD, Setup, WORKERS};
use e2e::phone::Phone;
use e2e::ports::addresses;
use e2e::process::wait_for;
use e2e::relay::Relay;
use e2e::sipp::Sipp;
use e2e::turn::Turn;
use serde_json::{Value, json};

/// Calls at once in one page, and the statistics of each when it has heard something.
const CONNECT: &str = include_str!("fixtures/connect.js");
const LIMIT: Duration = Duration::from_secs(60);
const TABLE: Section = Section {
    heading: "## Connections",
    words: "Each line is a call from the page that hears its own microphone back from a carrier, by that way alone; the call's \
            record\nsays what the session ran over. The relay is coturn. As the client, Chromium always offers DTLS 1.3, which \
            nothing on its\ncommand line takes away: its rows of 1.2 are calls in which it is the server (`a=setup:passive`) \
            and the gateway the client.",
    columns: "| browser | way | over | DTLS | SRTP |\n|---|---|---|---|---|",
    key: 4,
    exact: true,
};

/// A browser under one version of DTLS.
struct Browser {
    name: &'static str,
    dtls: &'static str,
    /// It is the DTLS server.
    passive: bool,
    start: fn() -> Phone,
}

/// The gateway as the client speaks 1.2, as which alone it has Chromium speak that: no field trial, feature or policy of
/// Chromium 156 knows of the version.
fn browsers() -> [Browser; 4] {
    let chromium =
        |dtls, passive| Browser { name: "Chromium", dtls, passive, start: || Phone::chromium_with(&[]) };
    let firefox = |dtls, start| Browser { name: "Firefox", dtls, passive: false, start };
    [
        chromium("1.3", false),
        chromium("1.2", true),
        firefox("1.3", || Phone::firefox_with(&json!({}))),
        firefox("1.2", || Phone::firefox_with(&json!({ "media.peerconnection.dtls.version.max": 771 }))),
    ]
}

/// One cell: how the call is to travel.
struct Way {
    family: &'static str,
    ip: IpAddr,
    by: &'static str,
}

impl Way {
    /// What the page is told.
    fn order(&self, passive: bool) -> Value {
        let transport = if self.by == "TCP" { "tcp" } else { "udp" };
        let ip = self.ip.to_string().replace('.', "\\.");
        json!({ "candidates": format!(" {transport} \\d+ {ip} "), "relay": self.by == "relay", "passive": passive })
    }

    /// Whether the statistics tell of this way and no other.
    fn was_taken(&self, seen: &Value) -> bool {
        let (ours, theirs) = (&seen["ours"], &seen["theirs"]);
        let transport = if self.by == "TCP" { "tcp" } else { "udp" };
        let relayed = ours["candidateType"] == "relay";
        theirs["protocol"] == transport && relayed == (self.by == "relay")
    }
}

fn ways() -> Vec<Way> {
    let by = ["UDP", "TCP", "relay"];
    let all = addresses().into_iter();
    all.flat_map(|(family, ip)| by.map(|by| Way { family, ip, by })).collect()
}

/// Connects one browser by all ways at once; the rows of the table.
fn connect(browser: &Browser, gateway: &Gateway, ways: &[Way]) -> Vec<String> {
    let mut phone = (browser.start)();
    phone.open(&gateway.url());
    let orders = json!(ways.iter().map(|way| way.order(browser.passive)).collect::<Vec<_>>());
    let script = format!("globalThis.WAYS = {orders}; globalThis.PASSWORD = {PASSWORD:?};\n{CONNECT}");
    let before = gateway.cdrs().len();
    let said = phone.ask("evaluate", json!({ "expression": script }), LIMIT);
    let seen: Vec<Value> = serde_json::from_str(said.as_str().expect("text")).expect("JSON");
    let records = gateway.wait_cdrs(before + ways.len());
    let mut rows = Vec::new();
    for (way, seen) in ways.iter().zip(&seen) {
        let name = format!("{} by {} over {}, DTLS {}", browser.name, way.by, way.family, browser.dtls);
        assert!(seen["packets"].as_u64() > Some(25), "{name}: nothing is heard: {seen}");
        assert!(way.was_taken(seen), "{name}: another way was taken: {seen}");
        let transport = if way.by == "TCP" { "tcp" } else { "udp" };
        let wanted = format!("{transport} over {}, DTLS {}, ", way.family, browser.dtls);
        let all = records[before..].iter().filter_map(|record| record["caller_media"]["connection"].as_str());
        let profile = all.clone().find_map(|one| one.strip_prefix(wanted.as_str()));
        let profile =
            profile.unwrap_or_else(|| panic!("{name}: none is {wanted:?}: {:?}", all.collect::<Vec<_>>()));
        let Way { by, family, .. } = way;
        rows.push(format!("| {} | {by} | {family} | {} | {profile} |", browser.name, browser.dtls));
    }
    rows
}

#[test]
fn every_browser_connects_by_every_way() {
    let ways = ways();
    let turn = Turn::start();
    let relays: Vec<IpAddr> = addresses().into_iter().map(|(_, ip)| ip).collect();
    let mut sipp = Sipp::scenario("outbound_answer_echo").echo();
    (sipp.timeout, sipp.count) = (180, (ways.len() * browsers().len()) as u32);
    let gateway = Gateway::run(&Setup { toml: turn.toml(&relays), ..Setup::with_trunk(sipp.port) });
    let sipp = sipp.start();
    let rows: Vec<String> = browsers().iter().flat_map(|browser| connect(browser, &gateway, &ways)).collect();
    sipp.finish().must_pass();
    TABLE.put(&rows);
}

/// Packets that the page has heard so far.
fn packets(phone: &mut Phone) -> u64 {
    let heard = |report: &Value| {
        (report["type"] == "inbound-rtp").then(|| report["packetsReceived"].as_u64()).flatten()
    };
    let all = phone.stats();
    all.last().and_then(|pc| pc["reports"].as_array()?.iter().find_map(heard)).unwrap_or_default()
}

/// Field problems 9 and 24: the network between fails for a while. The page looks for another way by itself (a new offer
/// with new credentials), and the call goes on with the same streams.
#[test]
fn a_way_that_breaks_is_replaced_by_the_page_while_the_call_goes_on() {
    let mut sipp = Sipp::scenario("outbound_answer_echo").echo();
    sipp.timeout = 60;
    let gateway = Gateway::run(&Setup::with_trunk(sipp.port));
    let sipp = sipp.start();
    let ports = (0..WORKERS).map(|worker| gateway.webrtc + worker);
    let relays: Vec<(u16, Relay)> = ports.map(|port| (port, Relay::start(port, 7))).collect();
    let way: Vec<(u16, u16)> = relays.iter().map(|(port, relay)| (*port, relay.port)).collect();
    let mut phone = Phone::chromium_with(&[]);
    phone.open_through(&gateway.url(), &way);
    phone.sign_in("alice");
    phone.dial("+12025550100");
    phone.wait_status("^In call$", LIMIT);
    wait_for(LIMIT, "audio", || (packets(&mut phone) > 50).then_some(()));
    let notice = "The audio connection broke. Trying to restore it.";
    let ssrc = phone.report("inbound-rtp")["ssrc"].clone();
    relays.iter().for_each(|(_, relay)| relay.lose(100));
    wait_for(LIMIT, "that the page says so", || phone.text().contains(notice).then_some(()));
    relays.iter().for_each(|(_, relay)| relay.lose(0));
    wait_for(LIMIT, "that the page says no more so", || (!phone.text().contains(notice)).then_some(()));
    let before = packets(&mut phone);
    wait_for(LIMIT, "audio again", || (packets(&mut phone) > before + 50).then_some(()));
    assert_eq!(phone.report("inbound-rtp")["ssrc"], ssrc, "the same stream");
    let answers = "new Set(window.__e2e.messages.filter((m) => m.type === 'sdp').map((m) => /ice-ufrag:.*/.exec(m.sdp)[0])).size";
    assert!(phone.evaluate(answers).as_u64() >= Some(2), "credentials of ours were new");
    phone.press("Hang up");
    phone.wait_status("^Call ended: ", LIMIT);
    sipp.finish().must_pass();
    assert_eq!(gateway.wait_cdrs(1)[0]["reason"], "hung-up");
}
