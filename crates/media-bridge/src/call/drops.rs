//! Received packets that go no further, by why.

use super::leg::{Leg, Path};
use crate::srtp::Reject;

/// Why a packet that came to a leg was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DropCause {
    /// From where neither the description nor the signalling says that the peer is, or more streams than are listened to.
    WrongSource,
    /// Before there is a description or a key that it could be judged by.
    TooEarly,
    /// Forged, changed on its way, or encrypted with another key.
    NotAuthentic,
    /// It was there already, or is too old to tell.
    Replayed,
    /// No RTP or RTCP, or audio that its codec can not read.
    Damaged,
    /// Of a payload type that was not negotiated.
    UnknownPayload,
    /// Its number is far from those before it (RFC 3550 A.1).
    OutOfSequence,
    /// After its place in the stream was filled, or twice.
    Late,
}

impl DropCause {
    /// All, in the order of their declaration.
    pub const ALL: [DropCause; 8] = [
        DropCause::WrongSource,
        DropCause::TooEarly,
        DropCause::NotAuthentic,
        DropCause::Replayed,
        DropCause::Damaged,
        DropCause::UnknownPayload,
        DropCause::OutOfSequence,
        DropCause::Late,
    ];

    /// As a metric's label.
    pub fn word(self) -> &'static str {
        match self {
            DropCause::WrongSource => "wrong-source",
            DropCause::TooEarly => "too-early",
            DropCause::NotAuthentic => "not-authentic",
            DropCause::Replayed => "replayed",
            DropCause::Damaged => "damaged",
            DropCause::UnknownPayload => "unknown-payload",
            DropCause::OutOfSequence => "out-of-sequence",
            DropCause::Late => "late",
        }
    }
}

impl From<Reject> for DropCause {
    fn from(reject: Reject) -> DropCause {
        match reject {
            Reject::Malformed => DropCause::Damaged,
            Reject::NotAuthentic | Reject::Expired => DropCause::NotAuthentic,
            Reject::Replayed | Reject::TooOld => DropCause::Replayed,
            Reject::TooManySources => DropCause::WrongSource,
        }
    }
}

/// How many of each.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Drops([u64; DropCause::ALL.len()]);

impl Drops {
    /// So many more.
    pub fn add(&mut self, cause: DropCause, count: u64) {
        self.0[cause as usize] += count;
    }

    /// How many of one.
    pub fn of(&self, cause: DropCause) -> u64 {
        self.0[cause as usize]
    }

    /// Each cause with its number.
    pub fn counts(&self) -> impl Iterator<Item = (DropCause, u64)> {
        DropCause::ALL.into_iter().zip(self.0)
    }

    /// What came since `told`, which is brought up to now.
    pub(super) fn since(self, told: &mut Drops) -> Drops {
        let mut fresh = self;
        fresh.0.iter_mut().zip(told.0).for_each(|(now, before)| *now -= before);
        *told = self;
        fresh
    }

    pub(super) fn merge(&mut self, more: Drops) {
        self.0.iter_mut().zip(more.0).for_each(|(sum, count)| *sum += count);
    }
}

impl Leg {
    /// All since the leg began.
    pub(super) fn drops(&self) -> Drops {
        let mut drops = self.counters.drops;
        drops.add(DropCause::Damaged, self.counters.tally.damaged);
        drops.add(DropCause::Late, self.counters.late + self.counters.tally.late);
        if let Path::WebRtc(rtc) = &self.path {
            drops.add(DropCause::NotAuthentic, rtc.peer.as_ref().map_or(0, webrtc_peer::Peer::dropped));
        }
        drops
    }

    pub(super) fn reject(&mut self, cause: DropCause) {
        self.counters.drops.add(cause, 1);
    }
}
