//! Ways of receiving a packet on one socket and sending it out of another.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};

use crate::load::{self, Parties, index_of};

/// Most packets in one batch.
const BATCH: usize = 32;
/// How long a way may wait before it looks whether it shall stop.
const WAIT: Duration = Duration::from_millis(100);

/// The sockets of the relay and where what arrives on them goes.
pub struct Bed {
    pub trunks: Vec<UdpSocket>,
    pub shared: UdpSocket,
    pub phones: Vec<SocketAddr>,
    pub browsers: Vec<SocketAddr>,
}

impl Bed {
    pub fn new(parties: &Parties, calls: usize) -> io::Result<Bed> {
        Ok(Bed {
            trunks: (0..calls).map(|_| load::socket()).collect::<io::Result<_>>()?,
            shared: load::socket()?,
            phones: (0..calls).map(|call| parties.phone(call)).collect(),
            browsers: (0..calls).map(|call| parties.browser(call)).collect(),
        })
    }
}

/// How a way differs from the next.
#[derive(Clone, Copy, Default)]
pub struct How {
    /// Edge-triggered, so each trunk socket is read until it is empty; else it is read once.
    pub edge: bool,
    /// A turn begins no sooner than this after the one before.
    pub pace: Duration,
    /// What leaves the shared socket leaves at the end of the turn, several packets at once.
    pub batches: bool,
    /// The trunk sockets are connected to their phones.
    pub connected: bool,
}

/// Waits with epoll.
pub fn relay(bed: &Bed, stop: &AtomicBool, how: How) -> io::Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let edge = if how.edge { EpollFlags::EPOLLET } else { EpollFlags::empty() };
    let interest = EpollFlags::EPOLLIN | edge;
    for (index, socket) in bed.trunks.iter().chain([&bed.shared]).enumerate() {
        epoll.add(socket, EpollEvent::new(interest, index as u64))?;
        if how.connected && index < bed.trunks.len() {
            socket.connect(bed.phones[index])?;
        }
    }
    let wait = EpollTimeout::try_from(WAIT).map_err(io::Error::other)?;
    let (mut events, mut buf) = ([EpollEvent::empty(); 256], [0; 2048]);
    let state = quinn_udp::UdpSocketState::new((&bed.shared).into())?;
    let mut batch = Batch::new(&state);
    let mut outgoing = Outgoing::new();
    let mut begun = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        if let Some(left) = how.pace.checked_sub(begun.elapsed()) {
            std::thread::sleep(left);
        }
        let ready = epoll.wait(&mut events, wait)?;
        begun = Instant::now();
        for event in &events[..ready] {
            let index = event.data() as usize;
            if index < bed.trunks.len() {
                while let Ok((len, _)) = bed.trunks[index].recv_from(&mut buf) {
                    if how.batches {
                        outgoing.push(&bed.shared, bed.browsers[index], &buf[..len]);
                    } else {
                        let _ = bed.shared.send_to(&buf[..len], bed.browsers[index]);
                    }
                    if !how.edge {
                        break;
                    }
                }
                continue;
            }
            while batch.receive(&state, &bed.shared) {
                for packet in batch.packets() {
                    let call = index_of(packet);
                    let _ = if how.connected {
                        bed.trunks[call].send(packet)
                    } else {
                        bed.trunks[call].send_to(packet, bed.phones[call])
                    };
                }
            }
        }
        outgoing.flush(&bed.shared);
    }
    Ok(())
}

/// One batched receive.
struct Batch {
    storage: Vec<u8>,
    room: usize,
    metas: Vec<quinn_udp::RecvMeta>,
    filled: usize,
}

impl Batch {
    fn new(state: &quinn_udp::UdpSocketState) -> Batch {
        let room = 1500 * state.gro_segments();
        Batch {
            storage: vec![0; room * BATCH],
            room,
            metas: vec![quinn_udp::RecvMeta::default(); BATCH],
            filled: 0,
        }
    }

    fn receive(&mut self, state: &quinn_udp::UdpSocketState, socket: &UdpSocket) -> bool {
        let mut chunks = self.storage.chunks_exact_mut(self.room);
        let mut slices: [io::IoSliceMut<'_>; BATCH] =
            std::array::from_fn(|_| io::IoSliceMut::new(chunks.next().unwrap_or_default()));
        self.filled = state.recv(socket.into(), &mut slices, &mut self.metas).unwrap_or(0);
        self.filled > 0
    }

    fn packets(&self) -> impl Iterator<Item = &[u8]> {
        let filled = self.metas[..self.filled].iter().zip(self.storage.chunks_exact(self.room));
        filled.flat_map(|(meta, room)| room[..meta.len].chunks(meta.stride.max(1)))
    }
}

/// What waits to be sent from the shared socket.
struct Outgoing {
    headers: MultiHeaders<SockaddrIn>,
    to: Vec<Option<SockaddrIn>>,
    packets: Vec<Vec<u8>>,
}

impl Outgoing {
    fn new() -> Outgoing {
        let packets = (0..BATCH).map(|_| Vec::with_capacity(1500)).collect();
        Outgoing { headers: MultiHeaders::preallocate(BATCH, None), to: Vec::with_capacity(BATCH), packets }
    }

    fn push(&mut self, socket: &UdpSocket, to: SocketAddr, packet: &[u8]) {
        let SocketAddr::V4(to) = to else { return };
        let place = &mut self.packets[self.to.len()];
        place.clear();
        place.extend_from_slice(packet);
        self.to.push(Some(SockaddrIn::from(SocketAddrV4::new(*to.ip(), to.port()))));
        if self.to.len() == BATCH {
            self.flush(socket);
        }
    }

    fn flush(&mut self, socket: &UdpSocket) {
        if self.to.is_empty() {
            return;
        }
        let slices: [[IoSlice<'_>; 1]; BATCH] = std::array::from_fn(|n| [IoSlice::new(&self.packets[n])]);
        let fd = socket.as_raw_fd();
        let _ = sendmmsg(fd, &mut self.headers, &slices, &self.to, [], MsgFlags::empty());
        self.to.clear();
    }
}
