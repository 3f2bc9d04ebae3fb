//! What the workers send each other. A browser's datagrams come to the socket that its leg began on; when the leg has gone to
//! a call of another worker, that worker hands them on, as they are, through a bounded queue without locks. The other way
//! needs none of this: any worker may send from any worker's socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};

use crossbeam_queue::ArrayQueue;
use media_bridge::call::GivenLeg;
use media_bridge::control::CallCommand;
use types::{CallId, Datagram, LegId, limits};
use webrtc_peer::Route;

use crate::browser::{Arrival, BrowserSocket};
use crate::counters::{Tally, bump};
use crate::poll::Waker;
use crate::ports::RtpSockets;

/// Where a leg is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Place {
    pub(crate) worker: usize,
    pub(crate) call: CallId,
    pub(crate) leg: LegId,
}

/// What a worker is told from outside, in order.
pub(crate) enum Order {
    /// A command of signalling, except `Adopt`, which is the other two.
    Call(CallCommand),
    /// The leg goes to another call.
    Give { from: (CallId, LegId), to: Place, into: SyncSender<Handed> },
    /// A leg comes from another call. The sender's end is dropped if it does not.
    Take { to: (CallId, LegId), from: Receiver<Handed> },
}

impl Order {
    /// Whose it is.
    pub(crate) fn call(&self) -> CallId {
        match self {
            Order::Call(command) => command.call,
            Order::Give { from: (call, _), .. } | Order::Take { to: (call, _), .. } => *call,
        }
    }
}

/// A leg between two workers, with all that it has. Dropping it returns its ports.
pub(crate) struct Handed {
    pub(crate) leg: GivenLeg,
    /// At most one pair of each address family.
    pub(crate) rtp: Vec<RtpSockets>,
    pub(crate) browser: Option<Lodging>,
}

/// The place of a browser leg in the demultiplexer of the worker whose socket its browser uses, while the leg is
/// elsewhere. Dropping it gives the place up.
pub(crate) struct Lodging {
    post: Arc<Post>,
    home: usize,
    place: Option<Place>,
}

impl Lodging {
    /// The demultiplexer of `home` names the leg `Away(place)`.
    pub(crate) fn new(post: Arc<Post>, home: usize, place: Place) -> Lodging {
        Lodging { post, home, place: Some(place) }
    }

    /// Another ICE restart of the leg: checks with this ufrag are its own from now on.
    pub(crate) fn accept(&self, ufrag: String, password: String) {
        if let Some(place) = self.place {
            self.post.write(self.home, Letter::Accept { place, ufrag, password });
        }
    }

    /// The leg goes on to `place`.
    pub(crate) fn go_to(&mut self, to: Place) {
        if let Some(from) = self.place.replace(to) {
            self.post.write(self.home, Letter::Moved { from, to });
        }
    }

    /// If `worker` is its home: what its demultiplexer calls it. That is the end of this lodging.
    pub(crate) fn comes_home(&mut self, worker: usize) -> Option<Place> {
        self.place.take_if(|_| self.home == worker)
    }
}

impl Drop for Lodging {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.post.write(self.home, Letter::Gone(place));
        }
    }
}

/// A note to the worker whose socket a leg uses.
#[derive(Debug)]
pub(crate) enum Letter {
    Accept { place: Place, ufrag: String, password: String },
    Moved { from: Place, to: Place },
    Gone(Place),
}

/// A browser's datagram on its way to the worker that has its leg.
pub(crate) struct Parcel {
    pub(crate) call: CallId,
    pub(crate) leg: LegId,
    pub(crate) route: Route,
    pub(crate) data: Datagram,
}

/// One worker, as the others see it.
struct Mailbox {
    socket: BrowserSocket,
    waker: Waker,
    /// It was woken and has not looked since.
    called: AtomicBool,
    letters: ArrayQueue<Letter>,
    parcels: ArrayQueue<Parcel>,
    /// Datagrams that leave by a TCP connection of this worker.
    departures: ArrayQueue<(Route, Datagram)>,
    /// Buffers go round, so nothing is allocated once there are enough.
    spare: ArrayQueue<Datagram>,
    tally: Arc<Tally>,
}

/// All workers.
pub(crate) struct Post {
    boxes: Vec<Mailbox>,
}

impl Post {
    /// By worker: its browser socket, how it is woken, what it counts.
    pub(crate) fn new(workers: Vec<(BrowserSocket, Waker, Arc<Tally>)>) -> Post {
        let mailbox = |(socket, waker, tally)| Mailbox {
            socket,
            waker,
            called: AtomicBool::new(false),
            letters: ArrayQueue::new(limits::WORKER_LETTERS),
            parcels: ArrayQueue::new(limits::WORKER_PARCELS),
            departures: ArrayQueue::new(limits::TCP_DEPARTURES),
            spare: ArrayQueue::new(limits::WORKER_PARCELS),
            tally,
        };
        Post { boxes: workers.into_iter().map(mailbox).collect() }
    }

    pub(crate) fn socket(&self, worker: usize) -> &BrowserSocket {
        &self.boxes[worker].socket
    }

    /// The socket that a browser reaches at `local`: `worker`'s own, unless the leg began elsewhere.
    pub(crate) fn socket_at(&self, local: SocketAddr, worker: usize) -> &BrowserSocket {
        self.socket(self.worker_at(local, worker))
    }

    /// The worker whose socket that is: `worker` itself, unless the leg began elsewhere.
    pub(crate) fn worker_at(&self, local: SocketAddr, worker: usize) -> usize {
        if self.socket(worker).port() == local.port() {
            return worker;
        }
        self.boxes.iter().position(|b| b.socket.port() == local.port()).unwrap_or(worker)
    }

    /// Ends a worker's wait for its sockets.
    pub(crate) fn wake(&self, worker: usize) {
        // Failing to wake means that the worker is gone or awake already; either way there is nothing to add.
        let _ = self.boxes[worker].waker.wake();
    }

    /// The same with a word that there is mail: one system call until the worker has looked.
    pub(crate) fn call(&self, worker: usize) {
        if !self.boxes[worker].called.swap(true, Ordering::AcqRel) {
            self.wake(worker);
        }
    }

    /// Whether `worker` was called since it last asked.
    pub(crate) fn was_called(&self, worker: usize) -> bool {
        self.boxes[worker].called.swap(false, Ordering::AcqRel)
    }

    /// Hands a datagram to the worker that has its leg, in its own memory; other memory takes its place.
    pub(crate) fn pass_on(&self, place: Place, arrival: Arrival<'_>) {
        let to = &self.boxes[place.worker];
        let data = std::mem::replace(arrival.data, to.spare.pop().unwrap_or_default());
        let Place { call, leg, .. } = place;
        let parcel = Parcel { call, leg, route: arrival.route, data };
        if let Some(oldest) = to.parcels.force_push(parcel) {
            bump(&to.tally.mail_lost);
            self.give_back(place.worker, oldest.data);
        }
        self.call(place.worker);
    }

    /// Lets `worker` send a datagram by a TCP connection that it has, in its own memory; other memory takes its place.
    pub(crate) fn depart(&self, worker: usize, route: Route, data: &mut Datagram) {
        let by = &self.boxes[worker];
        let data = std::mem::replace(data, by.spare.pop().unwrap_or_default());
        if let Some((_, oldest)) = by.departures.force_push((route, data)) {
            bump(&by.tally.mail_lost);
            self.give_back(worker, oldest);
        }
        self.call(worker);
    }

    /// The oldest datagram that `worker` is to send by a connection.
    pub(crate) fn departure(&self, worker: usize) -> Option<(Route, Datagram)> {
        self.boxes[worker].departures.pop()
    }

    /// The oldest datagram that `worker` was handed.
    pub(crate) fn parcel(&self, worker: usize) -> Option<Parcel> {
        self.boxes[worker].parcels.pop()
    }

    /// A parcel's buffer, emptied by `worker`.
    pub(crate) fn give_back(&self, worker: usize, buffer: Datagram) {
        // More than enough of them: it is freed.
        let _ = self.boxes[worker].spare.push(buffer);
    }

    /// The oldest note to `worker`.
    pub(crate) fn letter(&self, worker: usize) -> Option<Letter> {
        self.boxes[worker].letters.pop()
    }

    fn write(&self, to: usize, letter: Letter) {
        if let Err(lost) = self.boxes[to].letters.push(letter) {
            tracing::error!("media worker {to} does not read its notes; lost: {lost:?}");
            bump(&self.boxes[to].tally.mail_lost);
        }
        self.call(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post() -> Post {
        let workers = [0, 1].map(|_| {
            let socket = BrowserSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            let (_, waker) = crate::worker::listen(&socket).unwrap();
            (socket, waker, Arc::new(Tally::default()))
        });
        Post::new(workers.into())
    }

    fn place(leg: u16) -> Place {
        Place { worker: 1, call: CallId(7), leg: LegId(leg) }
    }

    #[test]
    fn a_worker_that_is_behind_loses_the_oldest_datagrams_and_they_are_counted() {
        let post = post();
        let local = SocketAddr::from(([127, 0, 0, 1], 9));
        for n in 0..limits::WORKER_PARCELS as u32 + 3 {
            let data = &mut Datagram::from(&n.to_be_bytes()[..]);
            post.pass_on(place(1), Arrival { route: (local, local).into(), data });
        }
        assert_eq!(post.boxes[1].tally.read().mail_lost, 3);
        assert!(post.was_called(1) && !post.was_called(1) && !post.was_called(0));
        let all: Vec<Parcel> = std::iter::from_fn(|| post.parcel(1)).collect();
        assert_eq!((all.len(), &all[0].data[..]), (limits::WORKER_PARCELS, &3_u32.to_be_bytes()[..]));
        all.into_iter().for_each(|parcel| post.give_back(1, parcel.data));
        let spare = post.boxes[1].spare.len();
        let data = &mut Datagram::from(&b"next"[..]);
        post.pass_on(place(1), Arrival { route: (local, local).into(), data });
        assert_eq!(post.boxes[1].spare.len(), spare - 1, "buffers go round");
    }

    #[test]
    fn a_lodging_tells_its_home_of_every_move_and_of_its_end() {
        let post = Arc::new(post());
        let mut lodging = Lodging::new(post.clone(), 0, place(1));
        assert_eq!(lodging.comes_home(1), None, "that is not its home");
        lodging.go_to(place(2));
        lodging.accept("ufrag".into(), "password".into());
        drop(lodging);
        let mut letters = std::iter::from_fn(|| post.letter(0));
        assert!(
            matches!(letters.next(), Some(Letter::Moved { from, to }) if from == place(1) && to == place(2))
        );
        assert!(matches!(letters.next(), Some(Letter::Accept { place: at, .. }) if at == place(2)));
        assert!(matches!(letters.next(), Some(Letter::Gone(at)) if at == place(2)));
        assert!(letters.next().is_none());
        let mut home = Lodging::new(post.clone(), 0, place(3));
        assert_eq!(home.comes_home(0), Some(place(3)));
        drop(home);
        assert!(post.letter(0).is_none(), "it is home: nothing to give up");
    }
}
