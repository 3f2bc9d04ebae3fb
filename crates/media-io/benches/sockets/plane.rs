//! The product in the place of the ways: calls between two phones through a media worker.

use std::collections::VecDeque;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use media_bridge::control::{CallCommand, CallEvent, Codec, Command, Event, LegKind, LegParams, Source};
use media_io::{MediaConfig, MediaPlane};
use types::{CallId, Entropy, LegId, WorkerId};

use crate::load::Parties;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LEGS: [LegId; 2] = [LegId(0), LegId(1)];

/// Not random: nothing here is secret.
struct Counting(u8);

impl Entropy for Counting {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill_with(|| {
            self.0 = self.0.wrapping_mul(5).wrapping_add(37);
            self.0
        });
    }
}

/// A worker with calls, each between a phone of either side.
pub struct Relay {
    /// Where the phones of either side send.
    pub left: Vec<SocketAddr>,
    pub right: Vec<SocketAddr>,
    thread: String,
    plane: MediaPlane,
}

impl Relay {
    /// The worker's thread stays on the core that the calling thread is on.
    pub fn start(parties: &Parties, calls: usize) -> Relay {
        let (sender, events) = sync_channel(1 << 16);
        let send = move |ready: &mut VecDeque<CallEvent>| {
            ready.drain(..).for_each(|event| drop(sender.try_send(event)));
        };
        let entropy = || -> Box<dyn Entropy> { Box::new(Counting(1)) };
        let config = MediaConfig { webrtc_bind: LOOPBACK, rtp_bind: LOOPBACK, ..MediaConfig::default() };
        let plane = MediaPlane::start(config, Arc::new(entropy), Arc::new(send)).expect("a free port");
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for call in 0..calls {
            left.push(answer(&plane, &events, (call, LEGS[0]), parties.phone(call)));
            right.push(answer(&plane, &events, (call, LEGS[1]), parties.browser(call)));
            for (leg, other) in [(LEGS[0], LEGS[1]), (LEGS[1], LEGS[0])] {
                tell(&plane, call, Command::SetSource { leg, source: Source::Leg(other) });
            }
        }
        Relay { left, right, thread: thread_named("media-0").expect("the worker has a thread"), plane }
    }

    /// Packets relayed: half of those that came and went. Where the parties are slow, some that go out are made up.
    pub fn packets(&self) -> f64 {
        let counted = self.plane.counters();
        (counted.rtp_in + counted.rtp_out) as f64 / 2.0
    }

    /// The worker's processor time in seconds, and how often it had to wait.
    pub fn usage(&self) -> (f64, f64) {
        let read = |file| fs::read_to_string(format!("{}/{file}", self.thread)).unwrap_or_default();
        let nanoseconds: f64 = first_number(&read("schedstat"));
        let status = read("status");
        let waits = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"));
        (nanoseconds / 1e9, waits.map_or(0.0, first_number))
    }
}

fn answer(
    plane: &MediaPlane,
    events: &Receiver<CallEvent>,
    (call, leg): (usize, LegId),
    peer: SocketAddr,
) -> SocketAddr {
    let params = LegParams { local: Some(LOOPBACK), ..LegParams::new(LegKind::Rtp, &[Codec::Pcmu]) };
    let (ip, port) = (peer.ip(), peer.port());
    let offer = format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
    );
    tell(plane, call, Command::Answer { leg, params, offer: offer.into_bytes() });
    let sdp = events.iter().find_map(|e| {
        let Event::LocalSdp { sdp, .. } = e.event else { return None };
        String::from_utf8(sdp).ok()
    });
    let port = sdp.and_then(|sdp| sdp.split("m=audio ").nth(1)?.split(' ').next()?.parse().ok());
    SocketAddr::new(LOOPBACK, port.expect("an answer names its port"))
}

fn tell(plane: &MediaPlane, call: usize, command: Command) {
    plane.send(WorkerId(0), CallCommand { call: CallId(call as u64), command }).expect("room for commands");
}

/// The directory of the thread of this process that has the name.
fn thread_named(name: &str) -> Option<String> {
    let tasks = fs::read_dir("/proc/self/task").ok()?;
    let paths = tasks.filter_map(|task| Some(task.ok()?.path().to_string_lossy().into_owned()));
    paths.into_iter().find(|path| fs::read_to_string(format!("{path}/comm")).is_ok_and(|c| c.trim() == name))
}

fn first_number(text: &str) -> f64 {
    text.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or_default()
}
