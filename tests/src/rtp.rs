//! An RTP endpoint of the tests' own (RFC 3550, 3551, 4733): plays, records, sends and hears digits, loses packets.

use crate::ports::free_ports;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Samples of 20 ms at 8 kHz.
const FRAME: usize = 160;

/// A packet that arrived.
#[derive(Clone, Debug)]
pub struct Heard {
    /// When.
    pub at: Instant,
    /// From where.
    pub from: SocketAddr,
    /// Payload type.
    pub pt: u8,
    /// Marker bit.
    pub marker: bool,
    /// Sequence number.
    pub seq: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Payload.
    pub payload: Vec<u8>,
}

/// A PRNG that a seed repeats (splitmix64).
pub struct Seeded(pub u64);

impl Seeded {
    /// Next value.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// True for `percent` of 100 calls.
    pub fn loses(&mut self, percent: u32) -> bool {
        self.draw() % 100 < u64::from(percent)
    }
}

/// An RTP party on 127.0.0.1 that records everything from its start.
pub struct RtpParty {
    /// Its port.
    pub port: u16,
    socket: UdpSocket,
    heard: Arc<Mutex<Vec<Heard>>>,
    stop: Arc<AtomicBool>,
    receiver: Option<JoinHandle<()>>,
    /// Percentage of sent packets that get lost, with the seed of the choice.
    pub loss: (u32, Seeded),
    seq: u16,
    timestamp: u32,
    ssrc: u32,
    /// Where to send; none: to where the last packet came from (symmetric RTP).
    pub peer: Option<SocketAddr>,
}

fn parse(packet: &[u8], from: SocketAddr) -> Option<Heard> {
    let (head, rest) = packet.split_at_checked(12)?;
    if head[0] >> 6 != 2 || (192..=223).contains(&head[1]) {
        return None;
    }
    let payload = rest.get(usize::from(head[0] & 15) * 4..)?.to_vec();
    let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let seq = u16::from_be_bytes([head[2], head[3]]);
    let (pt, marker) = (head[1] & 127, head[1] > 127);
    Some(Heard { at: Instant::now(), from, pt, marker, seq, timestamp: word(4), ssrc: word(8), payload })
}

impl RtpParty {
    /// Listens on a free port of 127.0.0.1.
    pub fn start() -> RtpParty {
        RtpParty::start_on(Ipv4Addr::LOCALHOST)
    }

    /// Listens on a free port of this address.
    pub fn start_on(address: impl Into<IpAddr>) -> RtpParty {
        let address: IpAddr = address.into();
        let port = free_ports(2);
        let socket = UdpSocket::bind((address, port)).expect("free port");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("timeout");
        let (heard, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (reading, into, until) = (socket.try_clone().expect("clone"), heard.clone(), stop.clone());
        let receiver = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !until.load(Ordering::Relaxed) {
                if let Ok((size, from)) = reading.recv_from(&mut buffer)
                    && let Some(one) = parse(&buffer[..size], from)
                {
                    into.lock().expect("recorder").push(one);
                }
            }
        });
        RtpParty {
            port,
            socket,
            heard,
            stop,
            receiver: Some(receiver),
            loss: (0, Seeded(1)),
            seq: 1000,
            timestamp: 160_000,
            ssrc: 0x5e1f_0000 | u32::from(port),
            peer: None,
        }
    }

    /// Everything heard so far, in order of arrival.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().expect("recorder").clone()
    }

    fn send(&mut self, pt: u8, marker: bool, timestamp: u32, payload: &[u8]) {
        let seq = self.seq;
        self.seq = seq.wrapping_add(1);
        if self.loss.1.loses(self.loss.0) {
            return;
        }
        let last = self.heard.lock().expect("recorder").last().map(|one| one.from);
        let Some(to) = self.peer.or(last) else { return };
        let mut packet = vec![0x80, pt | u8::from(marker) << 7];
        packet.extend(seq.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        packet.extend(payload);
        // Loopback: an error means that nobody listens there any more.
        drop(self.socket.send_to(&packet, to));
    }

    /// Sends the bytes as 20 ms frames of an 8 kHz codec in real time, and returns when they are sent; how late the latest
    /// was, for this machine had something else to do.
    pub fn play(&mut self, pt: u8, audio: &[u8]) -> Duration {
        let start = Instant::now();
        let mut late = Duration::ZERO;
        for (index, frame) in audio.chunks(FRAME).enumerate() {
            let due = start + Duration::from_millis(20) * index as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            late = late.max(due.elapsed());
            self.send(pt, index == 0, self.timestamp, frame);
            self.timestamp = self.timestamp.wrapping_add(FRAME as u32);
        }
        late
    }

    /// Sends one digit as RFC 4733 does: a packet each 20 ms, the end three times.
    pub fn digit(&mut self, pt: u8, digit: char, ms: u32) {
        let event = "0123456789*#ABCD".find(digit).expect("a DTMF digit") as u8;
        let frames = (ms / 20).max(2);
        let begin = self.timestamp;
        for frame in 1..=frames {
            std::thread::sleep(Duration::from_millis(20));
            let duration = (frame * FRAME as u32) as u16;
            let [high, low] = duration.to_be_bytes();
            let copies = if frame == frames { 3 } else { 1 };
            for _ in 0..copies {
                let end = if frame == frames { 0x80 } else { 0 };
                self.send(pt, frame == 1, begin, &[event, end | 10, high, low]);
            }
        }
        self.timestamp = begin.wrapping_add((frames + 4) * FRAME as u32);
        std::thread::sleep(Duration::from_millis(80));
    }

    /// Digits heard as events of payload type `pt`, in order, each once by (SSRC, timestamp), with its milliseconds.
    pub fn digits(&self, pt: u8) -> Vec<(char, u32)> {
        let mut digits: Vec<(u32, u32, char, u32)> = Vec::new();
        for one in self.heard().iter().filter(|one| one.pt == pt && one.payload.len() >= 4) {
            let digit = "0123456789*#ABCD".chars().nth(one.payload[0].into()).unwrap_or('?');
            let ms = u32::from(u16::from_be_bytes([one.payload[2], one.payload[3]])) / 8;
            match digits.iter_mut().find(|known| (known.0, known.1) == (one.ssrc, one.timestamp)) {
                Some(known) => known.3 = known.3.max(ms),
                None => digits.push((one.ssrc, one.timestamp, digit, ms)),
            }
        }
        digits.into_iter().map(|(_, _, digit, ms)| (digit, ms)).collect()
    }

    /// What was heard of payload type 0 (PCMU), placed by timestamp, gaps silent: 8 kHz samples.
    pub fn pcmu(&self) -> Vec<i16> {
        let packets: Vec<Heard> = self.heard().into_iter().filter(|one| one.pt == 0).collect();
        let Some(first) = packets.first() else { return Vec::new() };
        let mut samples = Vec::new();
        for one in &packets {
            let at = one.timestamp.wrapping_sub(first.timestamp) as usize;
            // A jump of more than ten minutes is a packet from before the first one.
            if at < 4_800_000 {
                samples.resize(samples.len().max(at + one.payload.len()), 0);
                for (index, byte) in one.payload.iter().enumerate() {
                    samples[at + index] = mulaw(*byte);
                }
            }
        }
        samples
    }
}

impl Drop for RtpParty {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(receiver) = self.receiver.take() {
            drop(receiver.join());
        }
    }
}

/// One mu-law byte as a 16-bit sample (ITU-T G.711 table 2a).
pub fn mulaw(byte: u8) -> i16 {
    let byte = !byte;
    let magnitude = ((i16::from(byte & 15) << 3) + 0x84) << ((byte >> 4) & 7);
    if byte & 0x80 == 0 { magnitude - 0x84 } else { 0x84 - magnitude }
}
