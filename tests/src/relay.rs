//! A UDP relay between two parties that loses packets by a seed: a bad line without root rights or kernel support.

use crate::ports::free_ports;
use crate::rtp::Seeded;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Forwards between whoever sends to `port` and `target`, both ways.
pub struct Relay {
    /// Where the near party sends to.
    pub port: u16,
    shared: Arc<Shared>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

struct Shared {
    stop: AtomicBool,
    percent: AtomicU32,
    lost: AtomicU64,
    passed: AtomicU64,
    near: std::sync::Mutex<Option<SocketAddr>>,
}

impl Shared {
    fn drops(&self, seeded: &mut Seeded) -> bool {
        let lose = seeded.loses(self.percent.load(Ordering::Relaxed));
        let count = if lose { &self.lost } else { &self.passed };
        count.fetch_add(1, Ordering::Relaxed);
        lose
    }
}

fn bound(port: u16) -> UdpSocket {
    // On every address: some browsers never connect to 127.0.0.1.
    let socket = UdpSocket::bind(("0.0.0.0", port)).expect("free port");
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("timeout");
    socket
}

impl Relay {
    /// A relay in front of `target` on 127.0.0.1 that loses nothing yet.
    pub fn start(target: u16, seed: u64) -> Relay {
        Relay::start_to(SocketAddr::from(([127, 0, 0, 1], target)), seed)
    }

    /// A relay in front of `target` that loses nothing yet.
    pub fn start_to(target: SocketAddr, seed: u64) -> Relay {
        let port = free_ports(2);
        let (near, far) = (bound(port), bound(port + 1));
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            percent: AtomicU32::new(0),
            lost: AtomicU64::new(0),
            passed: AtomicU64::new(0),
            near: std::sync::Mutex::new(None),
        });
        let (out_near, out_far) = (near.try_clone().expect("clone"), far.try_clone().expect("clone"));
        let (going, coming) = (shared.clone(), shared.clone());
        let there = std::thread::spawn(move || {
            let (mut buffer, mut seeded) = ([0; 2048], Seeded(seed));
            while !going.stop.load(Ordering::Relaxed) {
                let Ok((size, from)) = near.recv_from(&mut buffer) else { continue };
                *going.near.lock().expect("relay") = Some(from);
                if !going.drops(&mut seeded) {
                    drop(out_far.send_to(&buffer[..size], target));
                }
            }
        });
        let back = std::thread::spawn(move || {
            let (mut buffer, mut seeded) = ([0; 2048], Seeded(seed ^ 0xffff));
            while !coming.stop.load(Ordering::Relaxed) {
                let Ok((size, _)) = far.recv_from(&mut buffer) else { continue };
                let to = *coming.near.lock().expect("relay");
                if let Some(to) = to
                    && !coming.drops(&mut seeded)
                {
                    drop(out_near.send_to(&buffer[..size], to));
                }
            }
        });
        Relay { port, shared, threads: vec![there, back] }
    }

    /// From now on loses this percentage, both ways.
    pub fn lose(&self, percent: u32) {
        self.shared.percent.store(percent, Ordering::Relaxed);
    }

    /// Packets lost and passed on.
    pub fn counts(&self) -> (u64, u64) {
        (self.shared.lost.load(Ordering::Relaxed), self.shared.passed.load(Ordering::Relaxed))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}
