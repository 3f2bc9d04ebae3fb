//! Brings calls up: offer, answer, ICE, DTLS. Each call is a small state machine, all are driven from one loop.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};

use media_bridge::srtp::Suite;
use rtc_stun::crypto::RTCCryptoProvider;

use crate::Fallible;
use crate::dtls::{Handshake, Identity, Offered, SessionKeys, provider};
use crate::engine::{Engine, NewCall, Speech};
use crate::sdp::{self, Browser};
use crate::stun::{Credentials, Heard, Ice};
use crate::subject::{News, Subject};

/// Set-ups at once.
const AT_ONCE: usize = 16;
/// A check that is not answered is sent again after this.
const AGAIN: Duration = Duration::from_millis(100);
/// No new call for so long after one was refused: handshakes load the gateway more than calls do.
const PAUSE: Duration = Duration::from_millis(500);
/// Between two set-ups, for each call that is up: a handshake costs this process as much as a second of several calls.
const SPACING: Duration = Duration::from_micros(8);
/// The longest that a set-up may take.
const LIMIT: Duration = Duration::from_secs(30);

enum Stage {
    /// The offer is out.
    Offered,
    /// Answered, and held back so that only handshakes are measured later.
    Held { ice: Ice, peer: SocketAddrV4, pt: u8 },
    /// Checks are sent.
    Checking { ice: Ice, peer: SocketAddrV4, pt: u8, again: Instant },
    /// ICE is done.
    Shaking { ice: Ice, peer: SocketAddrV4, pt: u8, dtls: Box<Handshake> },
    /// All is known but where the party's media goes.
    Keyed { ice: Ice, peer: SocketAddrV4, pt: u8, keys: SessionKeys },
}

struct Rising {
    stage: Stage,
    since: Instant,
    party: Option<(SocketAddrV4, u8)>,
}

/// What the two sides of each call say.
#[derive(Clone)]
pub struct Says {
    /// The browser.
    pub browser: Speech,
    /// The SIP party.
    pub party: Speech,
    /// Whether browsers offer Opus with one channel.
    pub mono: bool,
}

/// Brings calls up.
pub struct Setup {
    provider: Arc<dyn RTCCryptoProvider>,
    identity: Identity,
    says: Vec<Says>,
    next: u32,
    rising: HashMap<u32, Rising>,
    wanted: usize,
    hold: bool,
    taped: u32,
    /// Calls that are up, oldest first.
    pub up: VecDeque<u32>,
    /// What they agreed on.
    pub suite: Option<Suite>,
    /// Calls that ended though nobody here hung up.
    pub lost: Vec<String>,
    leaving: Vec<u32>,
    not_before: Instant,
}

impl Setup {
    /// For calls in which these are said, one after the other and again, by browsers that offer such profiles; of the first
    /// `taped` what is heard is kept.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn new(says: Vec<Says>, offered: Offered, taped: u32) -> Fallible<Setup> {
        let provider = provider()?;
        let identity = Identity::new(&provider, offered)?;
        Ok(Setup {
            provider,
            identity,
            says,
            next: 0,
            rising: HashMap::new(),
            wanted: 0,
            hold: false,
            taped,
            up: VecDeque::new(),
            suite: None,
            lost: Vec::new(),
            leaving: Vec::new(),
            not_before: Instant::now(),
        })
    }

    /// Calls whose handshakes are held back are answered, so many more.
    pub fn want(&mut self, more: usize, hold: bool) {
        self.wanted += more;
        self.hold = hold;
    }

    /// Whether nothing is left to bring up.
    pub fn is_idle(&self) -> bool {
        self.wanted == 0 && self.rising.values().all(|call| matches!(call.stage, Stage::Held { .. }))
    }

    /// Whether nothing is under way at all.
    pub fn is_done(&self) -> bool {
        self.wanted == 0 && self.rising.is_empty()
    }

    /// Lets the held handshakes go.
    ///
    /// # Errors
    /// When a message can not be built.
    pub fn release(&mut self, engine: &Engine) -> Fallible<()> {
        for (n, call) in &mut self.rising {
            call.since = Instant::now();
            let stage = std::mem::replace(&mut call.stage, Stage::Offered);
            call.stage = match stage {
                Stage::Held { ice, peer, pt } => check(engine, *n, ice, peer, pt)?,
                Stage::Offered | Stage::Checking { .. } | Stage::Shaking { .. } | Stage::Keyed { .. } => {
                    stage
                }
            };
        }
        Ok(())
    }

    /// Hangs the oldest calls up, so many.
    ///
    /// # Errors
    /// The subject's.
    pub fn hang_up(&mut self, count: usize, engine: &mut Engine, subject: &mut Subject) -> Fallible<()> {
        for _ in 0..count {
            let Some(n) = self.up.pop_front() else { return Ok(()) };
            engine.remove(n);
            self.leaving.push(n);
            subject.hang_up(n)?;
        }
        Ok(())
    }

    /// Does what is due.
    ///
    /// # Errors
    /// When a call does not come up.
    pub fn turn(&mut self, engine: &mut Engine, subject: &mut Subject) -> Fallible<()> {
        let now = Instant::now();
        let busy = |call: &Rising| !matches!(call.stage, Stage::Held { .. });
        while self.wanted > 0
            && now >= self.not_before
            && self.rising.values().filter(|call| busy(call)).count() < AT_ONCE
        {
            self.begin(engine, subject)?;
        }
        for news in subject.turn(engine.party())? {
            self.learn(news, engine)?;
        }
        while let Some((n, _, datagram)) = engine.letters.pop_front() {
            self.hear(n, &datagram, engine, now)?;
        }
        let numbers: Vec<u32> = self.rising.keys().copied().collect();
        numbers.into_iter().try_for_each(|n| self.elapse(n, engine, now))
    }

    fn says(&self, n: u32) -> &Says {
        &self.says[n as usize % self.says.len()]
    }

    fn begin(&mut self, engine: &Engine, subject: &mut Subject) -> Fallible<()> {
        let n = self.next;
        self.next += 1;
        self.wanted -= 1;
        self.not_before = Instant::now() + SPACING * u32::try_from(self.up.len())?;
        let ice = credentials(n);
        let says = self.says(n);
        let offer = sdp::offer(&Browser {
            address: engine.browser(n),
            ice: &ice,
            fingerprint: &self.identity.fingerprint,
            codec: says.browser.codec,
            mono: says.mono,
            ssrc: Engine::browser_ssrc(n),
        });
        self.rising.insert(n, Rising { stage: Stage::Offered, since: Instant::now(), party: None });
        subject.call(n, &offer, engine.party())
    }

    fn learn(&mut self, news: News, engine: &Engine) -> Fallible<()> {
        match news {
            News::Answer { n, sdp } => {
                let answer =
                    sdp::read_answer(&sdp).ok_or_else(|| format!("an answer without its parts: {sdp}"))?;
                let Some(call) = self.rising.get_mut(&n) else { return Ok(()) };
                let ice = Ice::new(self.provider.clone(), credentials(n), answer.ice);
                call.stage = if self.hold {
                    Stage::Held { ice, peer: answer.address, pt: answer.pt }
                } else {
                    check(engine, n, ice, answer.address, answer.pt)?
                };
            }
            News::Party { n, peer, pt } => {
                if let Some(call) = self.rising.get_mut(&n) {
                    call.party = Some((peer, pt));
                }
            }
            News::Refused { n } => {
                self.rising.remove(&n);
                self.wanted += 1;
                self.not_before = Instant::now() + PAUSE;
            }
            News::Ended { n, why } => {
                if self.rising.contains_key(&n) {
                    return Err(format!("call {n} did not come up: {why}").into());
                }
                if let Some(at) = self.leaving.iter().position(|one| *one == n) {
                    self.leaving.swap_remove(at);
                } else {
                    self.lost.push(why);
                }
            }
        }
        Ok(())
    }

    fn hear(&mut self, n: u32, datagram: &[u8], engine: &Engine, now: Instant) -> Fallible<()> {
        let Some(call) = self.rising.get_mut(&n) else { return Ok(()) };
        let stage = std::mem::replace(&mut call.stage, Stage::Offered);
        call.stage = match stage {
            Stage::Checking { ice, peer, pt, again } => match ice.hear(datagram, peer.into()) {
                Heard::Check(answer) => {
                    engine.send(n, peer, &answer);
                    Stage::Checking { ice, peer, pt, again }
                }
                Heard::Success => {
                    let mut dtls = Box::new(Handshake::start(&self.identity, peer.into(), now)?);
                    flush(engine, n, peer, &mut dtls);
                    Stage::Shaking { ice, peer, pt, dtls }
                }
                Heard::Other => Stage::Checking { ice, peer, pt, again },
            },
            Stage::Shaking { ice, peer, pt, mut dtls } => match datagram.first() {
                Some(20..=63) => {
                    dtls.hear(datagram, now)?;
                    flush(engine, n, peer, &mut dtls);
                    match dtls.keys()? {
                        Some(keys) => Stage::Keyed { ice, peer, pt, keys },
                        None => Stage::Shaking { ice, peer, pt, dtls },
                    }
                }
                Some(_) | None => {
                    if let Heard::Check(answer) = ice.hear(datagram, peer.into()) {
                        engine.send(n, peer, &answer);
                    }
                    Stage::Shaking { ice, peer, pt, dtls }
                }
            },
            Stage::Offered | Stage::Held { .. } | Stage::Keyed { .. } => stage,
        };
        Ok(())
    }

    fn elapse(&mut self, n: u32, engine: &mut Engine, now: Instant) -> Fallible<()> {
        let Some(mut call) = self.rising.remove(&n) else { return Ok(()) };
        let held = matches!(call.stage, Stage::Held { .. });
        if !held && now.duration_since(call.since) > LIMIT {
            return Err(format!("call {n} is not up after {LIMIT:?}, it is {}", call.stage.word()).into());
        }
        call.stage = match call.stage {
            Stage::Checking { ice, peer, pt, again } if now >= again => check(engine, n, ice, peer, pt)?,
            Stage::Shaking { ice, peer, pt, mut dtls } => {
                dtls.elapse(now)?;
                flush(engine, n, peer, &mut dtls);
                Stage::Shaking { ice, peer, pt, dtls }
            }
            Stage::Keyed { ice, peer, pt, keys } => {
                let Some(party) = call.party else {
                    call.stage = Stage::Keyed { ice, peer, pt, keys };
                    self.rising.insert(n, call);
                    return Ok(());
                };
                self.suite = Some(keys.ours.suite());
                let both = self.says(n);
                let says = [(both.browser.clone(), pt), (both.party.clone(), party.1)];
                let taped = n < self.taped;
                engine.add(n, NewCall { peer, party_peer: party.0, keys, ice, says, taped });
                self.up.push_back(n);
                return Ok(());
            }
            other @ (Stage::Offered | Stage::Held { .. } | Stage::Checking { .. }) => other,
        };
        self.rising.insert(n, call);
        Ok(())
    }
}

impl Stage {
    fn word(&self) -> &'static str {
        match self {
            Stage::Offered => "not answered",
            Stage::Held { .. } => "held",
            Stage::Checking { .. } => "without an answer to its ICE checks",
            Stage::Shaking { .. } => "in the DTLS handshake",
            Stage::Keyed { .. } => "without a SIP party",
        }
    }
}

fn credentials(n: u32) -> Credentials {
    Credentials { ufrag: format!("b{n:05}"), password: format!("benchbenchbenchbench{n:05}") }
}

fn check(engine: &Engine, n: u32, ice: Ice, peer: SocketAddrV4, pt: u8) -> Fallible<Stage> {
    engine.send(n, peer, &ice.check()?);
    Ok(Stage::Checking { ice, peer, pt, again: Instant::now() + AGAIN })
}

fn flush(engine: &Engine, n: u32, peer: SocketAddrV4, dtls: &mut Handshake) {
    while let Some(datagram) = dtls.datagram() {
        engine.send(n, peer, &datagram);
    }
}
