//! What a worker counts, readable by anyone at any time.

use media_bridge::effort::Effort;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use media_bridge::call::{DropCause, Drops};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        /// Counters since the start (`calls` is a level). Read them for `/metrics`.
        #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
        pub struct Counters { $($(#[$doc])* pub $name: u64,)* }

        /// The worker's side of [`Counters`].
        #[derive(Default, Debug)]
        pub(crate) struct Tally { $(pub(crate) $name: AtomicU64,)* pub(crate) level: Level }

        impl Tally {
            pub(crate) fn read(&self) -> Counters {
                Counters { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }

        impl std::ops::Add for Counters {
            type Output = Counters;

            fn add(self, other: Counters) -> Counters {
                Counters { $($name: self.$name + other.$name,)* }
            }
        }
    };
}

counters! {
    /// Calls alive now.
    calls;
    /// Datagrams received from browsers.
    browser_in;
    /// Datagrams sent to browsers.
    browser_out;
    /// Datagrams on the browser socket that were nobody's: no known ufrag, no valid integrity, unknown address.
    browser_unknown;
    /// Datagrams on the browser socket whose leg is with another worker, handed to that one.
    passed_on;
    /// Datagrams and notes from other workers that were dropped because too many waited.
    mail_lost;
    /// TCP connections of browsers closed at once because too many strangers held some.
    tcp_refused;
    /// Datagrams for a browser that reads too slowly from its TCP connection, or has closed it.
    tcp_dropped;
    /// Datagrams received on RTP and RTCP ports.
    rtp_in;
    /// Datagrams sent from RTP and RTCP ports.
    rtp_out;
    /// Datagrams that the system refused to send (a full buffer among the reasons), and errors in receiving.
    socket_errors;
    /// Received datagrams larger than any of ours, and empty ones on the browser socket.
    wrong_size;
    /// Packets dropped by a leg: [`DropCause::WrongSource`].
    wrong_source;
    /// [`DropCause::TooEarly`].
    too_early;
    /// [`DropCause::NotAuthentic`].
    not_authentic;
    /// [`DropCause::Replayed`].
    replayed;
    /// [`DropCause::Damaged`].
    damaged;
    /// [`DropCause::UnknownPayload`].
    unknown_payload;
    /// [`DropCause::OutOfSequence`].
    out_of_sequence;
    /// [`DropCause::Late`].
    late;
    /// RTP legs refused because no port could be leased.
    no_port;
    /// Events that found the event queue full and were given up.
    events_lost;
    /// Calls ended by a defect of ours.
    crashed;
}

/// How a worker is now.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct WorkerStatus {
    /// Its thread runs. Otherwise it takes no commands, and its calls have ended.
    pub alive: bool,
    /// The share of its time in which it does not wait, 0 to 1, over about a second.
    pub load: f32,
    /// Calls that it has.
    pub calls: u64,
    /// How much work its Opus encoders may take.
    pub effort: Effort,
}

/// The worker's side of [`WorkerStatus`].
#[derive(Debug)]
pub(crate) struct Level {
    pub(crate) gone: AtomicBool,
    /// In millionths.
    load: AtomicU32,
    /// The least in the low byte, the most above.
    effort: AtomicU32,
}

impl Default for Level {
    fn default() -> Level {
        let (gone, load, effort) = Default::default();
        let level = Level { gone, load, effort };
        level.set_effort(Effort::default());
        level
    }
}

impl Level {
    pub(crate) fn set_load(&self, load: f32) {
        self.load.store((load * 1e6) as u32, Ordering::Relaxed);
    }

    pub(crate) fn set_effort(&self, Effort { least, most }: Effort) {
        self.effort.store(u32::from_le_bytes([least, most, 0, 0]), Ordering::Relaxed);
    }

    fn effort(&self) -> Effort {
        let [least, most, ..] = self.effort.load(Ordering::Relaxed).to_le_bytes();
        Effort { least, most }
    }
}

impl Tally {
    /// What the legs of a call have dropped.
    pub(crate) fn dropped(&self, drops: &Drops) {
        for (cause, count) in drops.counts() {
            let counter = match cause {
                DropCause::WrongSource => &self.wrong_source,
                DropCause::TooEarly => &self.too_early,
                DropCause::NotAuthentic => &self.not_authentic,
                DropCause::Replayed => &self.replayed,
                DropCause::Damaged => &self.damaged,
                DropCause::UnknownPayload => &self.unknown_payload,
                DropCause::OutOfSequence => &self.out_of_sequence,
                DropCause::Late => &self.late,
            };
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    pub(crate) fn status(&self) -> WorkerStatus {
        WorkerStatus {
            alive: !self.level.gone.load(Ordering::Acquire),
            load: self.level.load.load(Ordering::Relaxed) as f32 / 1e6,
            calls: self.calls.load(Ordering::Relaxed),
            effort: self.level.effort(),
        }
    }
}

/// One more.
pub(crate) fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
