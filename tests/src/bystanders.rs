//! Those who must notice nothing of what others do: a call that goes on, and new calls that come about.

use crate::browser::{RustBrowser, Voice};
use crate::rtp::RtpParty;
use crate::trunk::{Call, Trunk};
use crate::ws::Ws;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Longest time for what should come at once.
const SOON: Duration = Duration::from_secs(30);
/// Longest time that a call may take to come about, answered at once, on a machine that is busy with other tests.
const SET_UP: Duration = Duration::from_secs(5);
const FRAME: usize = 160;
/// Of a second's packets. Between two seconds the clocks of these parties stand still, and the first packet is late for its
/// place, which comfort noise has taken; the next shows that it is no straggler, if this machine sends it in time.
const MOST: usize = 47;
/// What is said later than that may come out behind the noise that has taken its place: it is said again.
const PUNCTUAL: Duration = Duration::from_millis(20);
const TRIES: u32 = 5;
/// For the last packets of a second to come out.
const AFTER: Duration = Duration::from_secs(2);

/// A call from alice to the carrier `+1…`, and bob who may call too.
pub struct Bystanders {
    trunk: Trunk,
    alice: Ws,
    browser: RustBrowser,
    party: RtpParty,
    call: Call,
    bob: Ws,
    calls: u32,
    seconds: u32,
}

impl Bystanders {
    /// Begins the call; the gateway's page is at this port of 127.0.0.1, and `trunk` is its carrier.
    pub fn talking(http: u16, mut trunk: Trunk) -> Bystanders {
        let http = SocketAddr::new(HOST, http);
        let mut alice = Ws::signed_in(http, "alice");
        let bob = Ws::signed_in(http, "bob");
        let browser = RustBrowser::new(Voice::Pcmu, HOST);
        alice.call(&browser, "talk", "+12025550100");
        let call = trunk.wait_call(SOON);
        let mut party = RtpParty::start();
        call.answer(&mut party);
        alice.wait_state("in-call");
        browser.wait_connected();
        Bystanders { trunk, alice, browser, party, call, bob, calls: 0, seconds: 0 }
    }

    /// Both speak for a second in real time, and the packets must come through; meanwhile nothing may be missing. Then
    /// somebody else calls, is answered and hangs up.
    pub fn must_notice_nothing(&mut self) {
        let mut tries = 1;
        while let Some(late) = self.misses_audio() {
            assert!(
                late > PUNCTUAL && tries < TRIES,
                "the audio of a call that others must not disturb ({late:?})"
            );
            tries += 1;
        }
        self.another_call();
    }

    /// Whether any of a second's audio is missing; then, how late these parties themselves were to say it.
    fn misses_audio(&mut self) -> Option<Duration> {
        self.seconds += 1;
        let mark = 0x20 + (self.seconds % 64) as u8;
        let (heard_before, party_before) = (self.browser.heard().len(), self.party.heard().len());
        let late = std::thread::scope(|scope| {
            let party = &mut self.party;
            let plays = scope.spawn(move || party.play(0, &[mark; 50 * FRAME]));
            let late = self.browser.speak_for(Duration::from_secs(1), &[mark; FRAME]);
            late.max(plays.join().expect("the party speaks"))
        });
        let is_said = |payload: &[u8]| payload == [mark; FRAME];
        let until = Instant::now() + AFTER;
        loop {
            let to_browser =
                self.browser.heard()[heard_before..].iter().filter(|one| is_said(&one.payload)).count();
            let to_carrier =
                self.party.heard()[party_before..].iter().filter(|one| is_said(&one.payload)).count();
            if to_browser >= MOST && to_carrier >= MOST {
                return None;
            }
            if Instant::now() > until {
                eprintln!(
                    "{to_browser} packets to the browser, {to_carrier} to the carrier, said {late:?} late"
                );
                return Some(late);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn another_call(&mut self) {
        self.calls += 1;
        let id = format!("other{}", self.calls);
        let browser = RustBrowser::new(Voice::Pcmu, HOST);
        let begun = Instant::now();
        self.bob.call(&browser, &id, "+12025550177");
        let call = self.trunk.wait_call(SET_UP);
        call.answer(&mut RtpParty::start());
        self.bob.wait("in-call", SET_UP, |m| m["state"] == "in-call" && m["call"] == id.as_str());
        assert!(begun.elapsed() < SET_UP, "a call took {:?} to come about", begun.elapsed());
        self.bob.bye(&id);
        assert_eq!(self.bob.wait_ended(&id), "hung-up");
    }

    /// Ends the call, which must still be there.
    pub fn hang_up(mut self) {
        self.call.hang_up();
        assert_eq!(self.alice.wait_ended("talk"), "hung-up");
    }
}
