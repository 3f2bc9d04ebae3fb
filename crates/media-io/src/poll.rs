//! Waiting for sockets with epoll, level-triggered: what is left in a socket is named again, so one read of each socket
//! that is named is enough, and none needs a second read to find out that it is empty.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Most sockets named at once; the others are named next time, those named longest ago first.
pub(crate) const READY_AT_ONCE: usize = 256;

/// What a socket is called when it is readable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Token {
    /// The worker was woken.
    Wake,
    /// The socket that its browsers share.
    Browsers,
    /// The listener of browsers that come by TCP.
    TcpDoor,
    /// A connection of such a browser, by number.
    Tcp(usize),
    /// A socket of a leg, by number.
    Leg(usize),
}

/// Numbers of connections are above all numbers of legs' sockets.
const FIRST_TCP: u64 = 1 << 32;

/// The sockets that a worker waits for. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Poller {
    epoll: Arc<Epoll>,
}

/// Ends a worker's wait from any thread.
#[derive(Debug)]
pub(crate) struct Waker(EventFd);

/// What one wait found.
#[derive(Debug)]
pub(crate) struct Ready {
    events: [EpollEvent; READY_AT_ONCE],
    len: usize,
}

impl Token {
    fn number(self) -> u64 {
        match self {
            Token::Wake => u64::MAX,
            Token::Browsers => u64::MAX - 1,
            Token::TcpDoor => u64::MAX - 2,
            Token::Tcp(connection) => FIRST_TCP + connection as u64,
            Token::Leg(socket) => socket as u64,
        }
    }

    fn of(number: u64) -> Token {
        match number {
            u64::MAX => Token::Wake,
            n if n == u64::MAX - 1 => Token::Browsers,
            n if n == u64::MAX - 2 => Token::TcpDoor,
            n if n >= FIRST_TCP => Token::Tcp((n - FIRST_TCP) as usize),
            socket => Token::Leg(socket as usize),
        }
    }
}

impl Poller {
    pub(crate) fn new() -> io::Result<Poller> {
        Ok(Poller { epoll: Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?) })
    }

    /// Names `socket` from now on while there is something in it to read.
    pub(crate) fn add(&self, socket: impl AsFd, token: Token) -> io::Result<()> {
        Ok(self.epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, token.number()))?)
    }

    /// Names it also while it has room to write, or no more.
    pub(crate) fn change(&self, socket: impl AsFd, token: Token, writes: bool) -> io::Result<()> {
        let room = if writes { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
        let mut event = EpollEvent::new(EpollFlags::EPOLLIN | room, token.number());
        Ok(self.epoll.modify(socket, &mut event)?)
    }

    /// Names it no more. What a wait before this has named may still name it.
    pub(crate) fn remove(&self, socket: impl AsFd) -> io::Result<()> {
        Ok(self.epoll.delete(socket)?)
    }

    /// What ends this poller's waits.
    pub(crate) fn waker(&self) -> io::Result<Waker> {
        let waker = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        // Named at each wake-up, so that nobody has to read it.
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        self.epoll.add(&waker, EpollEvent::new(interest, Token::Wake.number()))?;
        Ok(Waker(waker))
    }

    /// Waits until a socket is readable, a waker is used or the time is over; none: for ever. A signal ends it with nothing.
    pub(crate) fn wait(&self, ready: &mut Ready, time: Option<Duration>) -> io::Result<()> {
        let time = time.map_or(EpollTimeout::NONE, |time| {
            // Rounded up: a timer that was too early would be waited for again and again.
            let milliseconds = time.as_nanos().div_ceil(1_000_000);
            EpollTimeout::try_from(milliseconds).unwrap_or(EpollTimeout::MAX)
        });
        ready.len = match self.epoll.wait(&mut ready.events, time) {
            Ok(named) => named,
            Err(Errno::EINTR) => 0,
            Err(e) => return Err(e.into()),
        };
        Ok(())
    }
}

impl Waker {
    pub(crate) fn wake(&self) -> io::Result<()> {
        self.0.write(1)?;
        Ok(())
    }
}

impl Ready {
    pub(crate) fn new() -> Ready {
        Ready { events: [EpollEvent::empty(); READY_AT_ONCE], len: 0 }
    }

    /// Each once.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = Token> + '_ {
        self.events[..self.len].iter().map(|event| Token::of(event.data()))
    }

    /// There may be more of them.
    pub(crate) fn is_full(&self) -> bool {
        self.len == READY_AT_ONCE
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Instant;

    use super::*;

    const LONG: Option<Duration> = Some(Duration::from_secs(10));
    const NOT_AT_ALL: Option<Duration> = Some(Duration::ZERO);

    fn wait(poller: &Poller, time: Option<Duration>) -> Vec<Token> {
        let mut ready = Ready::new();
        poller.wait(&mut ready, time).unwrap();
        ready.tokens().collect()
    }

    #[test]
    fn a_socket_is_named_until_it_is_empty_or_removed() {
        let poller = Poller::new().unwrap();
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        poller.add(&socket, Token::Leg(7)).unwrap();
        assert_eq!(wait(&poller, NOT_AT_ALL), []);
        for _ in 0..2 {
            socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        }
        for _ in 0..2 {
            assert_eq!(wait(&poller, LONG), [Token::Leg(7)]);
            socket.recv(&mut [0; 8]).unwrap();
        }
        assert_eq!(wait(&poller, NOT_AT_ALL), []);
        socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        poller.remove(&socket).unwrap();
        assert_eq!(wait(&poller, NOT_AT_ALL), []);
    }

    #[test]
    fn a_waker_ends_one_wait_for_all_its_wakes() {
        let poller = Poller::new().unwrap();
        let waker = poller.waker().unwrap();
        for _ in 0..3 {
            waker.wake().unwrap();
        }
        assert_eq!(wait(&poller, LONG), [Token::Wake]);
        assert_eq!(wait(&poller, NOT_AT_ALL), []);
        waker.wake().unwrap();
        assert_eq!(wait(&poller, LONG), [Token::Wake]);
    }

    #[test]
    fn a_wait_is_never_shorter_than_asked() {
        let poller = Poller::new().unwrap();
        let start = Instant::now();
        assert_eq!(wait(&poller, Some(Duration::from_micros(1_100))), []);
        assert!(start.elapsed() >= Duration::from_micros(1_100));
    }

    #[test]
    fn more_sockets_than_fit_are_all_named_in_the_end() {
        let poller = Poller::new().unwrap();
        let sockets: Vec<UdpSocket> =
            (0..READY_AT_ONCE + 5).map(|_| UdpSocket::bind(("127.0.0.1", 0)).unwrap()).collect();
        for (n, socket) in sockets.iter().enumerate() {
            poller.add(socket, Token::Leg(n)).unwrap();
            socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        }
        let mut ready = Ready::new();
        let mut named: Vec<Token> = Vec::new();
        for _ in 0..2 {
            poller.wait(&mut ready, LONG).unwrap();
            named.extend(ready.tokens());
        }
        for n in 0..sockets.len() {
            assert!(named.contains(&Token::Leg(n)), "socket {n} starved");
        }
    }
}
