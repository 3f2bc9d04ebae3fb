//! A `Peer` and a browser (str0m with full ICE) with a network of ours between them, in virtual time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::config::{DtlsVersion, Fingerprint};
use str0m::media::MediaKind;
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, IceCreds, Input, Output, Rtc, RtcConfig};
use webrtc_peer::{Demux, Peer, PeerFactory, PeerOutput, PeerParams, Route, SrtpKeys};

const DELAY: Duration = Duration::from_millis(5);

pub struct Flight {
    at: Instant,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub data: Vec<u8>,
}

/// What becomes of a datagram from the browser: usually itself, in a list.
pub type Tamper = fn(Vec<u8>) -> Vec<Vec<u8>>;

pub struct World {
    pub now: Instant,
    pub peer: Peer,
    pub browser: Rtc,
    pub demux: Demux<u8>,
    pub ours: SocketAddr,
    pub theirs: SocketAddr,
    pub heard: Vec<PeerOutput>,
    pub browser_connected: bool,
    pub browser_silent: bool,
    /// DTLS datagrams of ours.
    pub dtls_sent: Vec<Vec<u8>>,
    pub tamper: Tamper,
    /// Most datagrams that one datagram was made into.
    pub most_parts: usize,
    wire: VecDeque<Flight>,
}

/// RFC 7983 §7.
pub fn is_dtls(data: &[u8]) -> bool {
    data.first().is_some_and(|first| (20..64).contains(first))
}

pub fn creds(who: &str) -> (String, String) {
    (format!("{who}ufrag"), format!("{who}-password-of-enough-length"))
}

pub fn ice(creds: (String, String)) -> IceCreds {
    IceCreds { ufrag: creds.0, pass: creds.1 }
}

pub fn params(remote_fingerprint: (String, Vec<u8>), ours: SocketAddr) -> PeerParams {
    let (local_ufrag, local_pwd) = creds("ours");
    let (remote_ufrag, remote_pwd) = creds("theirs");
    PeerParams {
        candidates: vec![ours],
        local_ufrag,
        local_pwd,
        remote_ufrag,
        remote_pwd,
        remote_fingerprint,
        active: false,
    }
}

impl World {
    pub fn new() -> World {
        World::with(|_| {}, DtlsVersion::Dtls12)
    }

    pub fn with(change: impl FnOnce(&mut PeerParams), version: DtlsVersion) -> World {
        let now = Instant::now();
        let factory = PeerFactory::new().unwrap();
        let ours: SocketAddr = "192.0.2.1:5000".parse().unwrap();
        let theirs: SocketAddr = "198.51.100.7:6000".parse().unwrap();
        let mut browser = browser_config(version).build(now);
        let fingerprint = browser.direct_api().local_dtls_fingerprint().clone();
        let mut params = params((fingerprint.hash_func, fingerprint.bytes), ours);
        change(&mut params);
        let active = params.active;
        let mut demux = Demux::default();
        assert!(demux.insert_ufrag(&params.local_ufrag, &params.local_pwd, 7));
        let peer = Peer::new(&factory, params, now).unwrap();
        set_up_browser(&mut browser, &factory, ours, theirs, active);
        World {
            now,
            peer,
            browser,
            demux,
            ours,
            theirs,
            heard: Vec::new(),
            browser_connected: false,
            browser_silent: false,
            dtls_sent: Vec::new(),
            tamper: |data| vec![data],
            most_parts: 0,
            wire: VecDeque::new(),
        }
    }

    /// Runs for `span`, waking both ends when they asked for it, at least every 20 ms.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        self.drain();
        while self.now < end {
            let next_arrival = self.wire.front().map(|f| f.at);
            let next = [self.peer.poll_timeout(), next_arrival, Some(self.now + Duration::from_millis(20))];
            let floor = self.now + Duration::from_micros(100);
            self.now = next.into_iter().flatten().min().unwrap().max(floor).min(end);
            self.deliver();
            self.peer.handle_timeout(self.now);
            self.browser.handle_input(Input::Timeout(self.now)).unwrap();
            self.drain();
        }
    }

    pub fn connect(&mut self) {
        self.run(Duration::from_secs(2));
        assert!(self.peer.is_connected(), "not connected: {:?}", self.heard);
        assert!(self.browser_connected);
    }

    pub fn disconnected(&self) -> Option<&str> {
        self.heard.iter().find_map(|o| match o {
            PeerOutput::Disconnected { why } => Some(why.as_str()),
            PeerOutput::Transmit(_)
            | PeerOutput::Connected { .. }
            | PeerOutput::PathLost
            | PeerOutput::PathRestored => None,
        })
    }

    /// The keys that the session gave out.
    pub fn keys(&self) -> Option<&SrtpKeys> {
        self.heard.iter().find_map(|o| match o {
            PeerOutput::Connected { keys } => Some(keys),
            PeerOutput::Transmit(_)
            | PeerOutput::Disconnected { .. }
            | PeerOutput::PathLost
            | PeerOutput::PathRestored => None,
        })
    }

    /// A datagram from anyone to our socket, through the demultiplexer as the worker does it.
    pub fn arrive(&mut self, from: SocketAddr, to: SocketAddr, data: &[u8]) -> bool {
        let known = self.demux.lookup(from, data).is_some();
        if known {
            self.peer.handle_datagram((to, from), data, self.now);
            self.drain_peer();
        }
        known
    }

    fn deliver(&mut self) {
        while self.wire.front().is_some_and(|f| f.at <= self.now) {
            let flight = self.wire.pop_front().unwrap();
            if flight.to == self.ours {
                self.arrive(flight.from, flight.to, &flight.data);
            } else if flight.to == self.theirs {
                let input = Receive::new(Protocol::Udp, flight.from, flight.to, &flight.data).unwrap();
                self.browser.handle_input(Input::Receive(self.now, input)).unwrap();
                self.drain_browser();
            }
        }
    }

    fn drain(&mut self) {
        self.drain_peer();
        self.drain_browser();
    }

    fn drain_peer(&mut self) {
        let mut buf = Vec::new();
        while let Some(output) = self.peer.poll_output(&mut buf) {
            if let PeerOutput::Transmit(Route { local, remote, .. }) = output {
                if is_dtls(&buf) {
                    self.dtls_sent.push(buf.clone());
                }
                self.wire.push_back(Flight {
                    at: self.now + DELAY,
                    from: local,
                    to: remote,
                    data: buf.clone(),
                });
                continue;
            }
            self.heard.push(output);
        }
    }

    fn drain_browser(&mut self) {
        loop {
            match self.browser.poll_output().unwrap() {
                Output::Timeout(_) => return,
                Output::Transmit(send) => {
                    if self.browser_silent {
                        continue;
                    }
                    let parts = (self.tamper)(send.contents.to_vec());
                    self.most_parts = self.most_parts.max(parts.len());
                    for data in parts {
                        let (from, to) = (self.theirs, send.destination);
                        self.wire.push_back(Flight { at: self.now + DELAY, from, to, data });
                    }
                }
                Output::Event(Event::Connected) => self.browser_connected = true,
                Output::Event(_) => {}
            }
        }
    }
}

fn browser_config(version: DtlsVersion) -> RtcConfig {
    RtcConfig::new()
        .set_rtp_mode(true)
        .set_dtls_version(version)
        .set_local_ice_credentials(ice(creds("theirs")))
        .clear_codecs()
        .enable_opus(true, false)
}

fn set_up_browser(
    browser: &mut Rtc,
    factory: &PeerFactory,
    ours: SocketAddr,
    theirs: SocketAddr,
    active: bool,
) {
    browser.add_local_candidate(Candidate::host(theirs, "udp").unwrap());
    browser.add_remote_candidate(Candidate::host(ours, "udp").unwrap());
    let digest = factory.fingerprint().split(':').map(|b| u8::from_str_radix(b, 16).unwrap()).collect();
    let mut api = browser.direct_api();
    api.set_ice_controlling(true);
    api.set_remote_ice_credentials(ice(creds("ours")));
    api.set_remote_fingerprint(Fingerprint { hash_func: "sha-256".to_owned(), bytes: digest });
    api.start_dtls(!active).unwrap();
    api.declare_media("0".into(), MediaKind::Audio);
}
