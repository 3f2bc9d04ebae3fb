//! Who sends and who receives what is relayed: a few sockets, evenly spread packets, one-way times.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A packet of 20 ms G.711 with its RTP header.
const PACKET: usize = 172;
/// Sockets on either side; the packets of a side come from all of them.
const SOCKETS: usize = 4;
/// Packets each call sends a second, in each direction.
const RATE: u64 = 50;

/// In the packets of the parties alone.
const MARK: [u8; 2] = [0xa5, 0x5a];

/// Which call a packet belongs to; when it was sent comes after that.
pub fn index_of(packet: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([packet[12], packet[13]]))
}

/// The parties of `calls` calls.
pub struct Parties {
    phones: Vec<UdpSocket>,
    browsers: Vec<UdpSocket>,
}

/// What came back.
#[derive(Default)]
pub struct Received {
    pub sent: u64,
    pub received: u64,
    /// One-way times in microseconds, sorted.
    pub times: Vec<u32>,
}

impl Received {
    pub fn percentile(&self, share: f64) -> u32 {
        let last = self.times.len().saturating_sub(1);
        self.times.get((last as f64 * share) as usize).copied().unwrap_or_default()
    }
}

impl Parties {
    pub fn open() -> io::Result<Parties> {
        let open = || (0..SOCKETS).map(|_| socket()).collect::<io::Result<Vec<_>>>();
        Ok(Parties { phones: open()?, browsers: open()? })
    }

    pub fn phone(&self, call: usize) -> SocketAddr {
        address(&self.phones[call % SOCKETS])
    }

    pub fn browser(&self, call: usize) -> SocketAddr {
        address(&self.browsers[call % SOCKETS])
    }

    /// Both parties of every call send until stopped: phones to `left`, browsers to `right`.
    pub fn start(
        self,
        left: Vec<SocketAddr>,
        right: Vec<SocketAddr>,
        stop: Arc<AtomicBool>,
    ) -> JoinHandle<Received> {
        std::thread::spawn(move || {
            crate::pin(1);
            self.run(&left, &right, &stop)
        })
    }

    fn run(self, left: &[SocketAddr], right: &[SocketAddr], stop: &AtomicBool) -> Received {
        let start = Instant::now();
        let gap = Duration::from_secs(1) / (2 * RATE as u32 * left.len() as u32);
        let mut got = Received { times: Vec::with_capacity(1 << 21), ..Received::default() };
        let (mut next, mut turn) = (start, 0);
        let mut packet = [0; PACKET];
        packet[0] = 0x80;
        packet[14..16].copy_from_slice(&MARK);
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            if now >= next {
                next += gap;
                let n = got.sent as usize;
                let call = (n / 2) % left.len();
                let sequence = (n / 2 / left.len()) as u16;
                packet[2..4].copy_from_slice(&sequence.to_be_bytes());
                packet[4..8].copy_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
                packet[12..14].copy_from_slice(&(call as u16).to_be_bytes());
                packet[16..24].copy_from_slice(&(now - start).as_nanos().to_be_bytes()[8..]);
                let (from, to) = if n.is_multiple_of(2) {
                    (&self.phones, left[call])
                } else {
                    (&self.browsers, right[call])
                };
                if from[call % SOCKETS].send_to(&packet, to).is_ok() {
                    got.sent += 1;
                }
            }
            turn += 1;
            self.receive(turn, start, &mut got);
        }
        got.times.sort_unstable();
        got
    }

    /// One socket after the other, so that none waits long.
    fn receive(&self, turn: usize, start: Instant, got: &mut Received) {
        let side = if turn.is_multiple_of(2) { &self.phones } else { &self.browsers };
        let mut buf = [0; 2048];
        while let Ok(len) = side[(turn / 2) % SOCKETS].recv(&mut buf) {
            // The relay may make up packets of its own.
            if len == PACKET && buf[14..16] == MARK {
                got.received += 1;
                let sent = u64::from_be_bytes(buf[16..24].try_into().unwrap_or_default());
                let now = start.elapsed().as_nanos() as u64;
                got.times.push((now.saturating_sub(sent) / 1000) as u32);
            }
        }
    }
}

fn address(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().expect("a bound socket has an address")
}

/// Bound on loopback, never blocking.
pub fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(("127.0.0.1", 0))?;
    socket.set_nonblocking(true)?;
    let sized = socket2::SockRef::from(&socket);
    let _ = sized.set_recv_buffer_size(4 << 20);
    Ok(socket)
}
