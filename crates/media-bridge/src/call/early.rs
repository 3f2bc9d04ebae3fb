//! What a callee says before anybody can hear it. Media takes another way than signalling and is often there first: the
//! first syllable of a prompt comes with the 200 OK, or ahead of it (RFC 3264 §5.1), or while the caller's DTLS is not up
//! (field problem 10). It is kept as it came, and judged as late as it is heard: by the description, keys and addresses that
//! are known then. Whoever hears it first gets it at once, in order, as if it had been heard when it came.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use types::limits::{EARLY_BYTES, EARLY_KEPT, EARLY_LEAD};

use super::flow::hears;
use super::leg::{Leg, Path};
use super::secured::Kind;
use super::{DropCause, MediaCall};
use crate::rtp::{LatchVerdict, RtpPacket};

/// Packets of a leg that nobody hears yet, oldest first.
#[derive(Default)]
pub(super) struct Early {
    kept: VecDeque<Kept>,
    bytes: usize,
    /// Until when it is waited for a listener, once the peer has answered.
    until: Option<Instant>,
}

struct Kept {
    at: Instant,
    source: SocketAddr,
    /// As it came, perhaps encrypted.
    packet: Box<[u8]>,
}

impl Kept {
    /// Bytes that it takes.
    fn room(&self) -> usize {
        size_of::<Kept>() + self.packet.len()
    }
}

impl Early {
    /// Drops the oldest while `unwanted` says so; how many.
    fn drop_while(&mut self, unwanted: impl Fn(&Early, &Kept) -> bool) -> u64 {
        let mut dropped = 0;
        while self.kept.front().is_some_and(|oldest| unwanted(self, oldest)) {
            self.bytes -= self.kept.pop_front().map_or(0, |kept| kept.room());
            dropped += 1;
        }
        dropped
    }

    /// What is ahead of the answer by too much is dropped; how many packets.
    fn drop_old(&mut self, now: Instant) -> u64 {
        if self.until.is_some() {
            return 0;
        }
        self.drop_while(|_, oldest| oldest.at + EARLY_LEAD < now)
    }
}

impl Leg {
    /// The peer has answered, or is taken for one who has: what it says from now on is for whoever hears it first.
    pub(super) fn answered(&mut self, now: Instant) {
        let Leg { early: Some(early), path, inbound, counters, .. } = self else { return };
        if early.until.is_some() || !path.is_ready() {
            return;
        }
        counters.drops.add(DropCause::TooEarly, early.drop_old(now));
        early.until = Some(now + EARLY_KEPT);
        // What can be judged without keys is: strangers' packets shall not take up the room.
        let Path::Rtp(rtp) = path else { return };
        let (Some(latch), None) = (&mut rtp.latch, &rtp.secured) else { return };
        let Early { kept, bytes, .. } = &mut **early;
        kept.retain(|kept| {
            let verdict = RtpPacket::parse(&kept.packet)
                .map(|packet| latch.check(kept.source, &packet, inbound.knows(packet.payload_type)));
            let stays = verdict.is_ok_and(|verdict| verdict != LatchVerdict::Refused);
            if !stays {
                *bytes -= kept.room();
                counters.drops.add(DropCause::WrongSource, 1);
            }
            stays
        });
    }

    /// One more.
    fn keep(&mut self, kept: Kept, now: Instant) {
        let Leg { early: Some(early), counters, .. } = self else { return };
        early.bytes += kept.room();
        early.kept.push_back(kept);
        let dropped = early.drop_old(now) + early.drop_while(|early, _| early.bytes > EARLY_BYTES);
        counters.drops.add(DropCause::TooEarly, dropped);
    }

    /// Whether what is kept can be told from what strangers sent.
    fn is_known(&self) -> bool {
        match &self.path {
            Path::Rtp(rtp) => {
                rtp.latch.as_ref().is_some_and(|latch| rtp.secured.is_some() || latch.is_latched())
            }
            Path::WebRtc(rtc) => rtc.contexts.is_some(),
        }
    }

    /// Whether a packet may be the peer's as far as can be said without its keys.
    fn may_be_ours(&mut self, source: SocketAddr, data: &[u8]) -> bool {
        let Path::Rtp(rtp) = &mut self.path else { return true };
        let (Some(latch), None) = (&mut rtp.latch, &rtp.secured) else { return true };
        let Ok(packet) = RtpPacket::parse(data) else { return true };
        latch.check(source, &packet, self.inbound.knows(packet.payload_type)) != LatchVerdict::Refused
    }

    /// Whether packets can be judged at all, or be so later.
    fn may_wait(&self) -> bool {
        match &self.path {
            Path::Rtp(_) => true,
            Path::WebRtc(rtc) => rtc.contexts.is_some(),
        }
    }
}

impl MediaCall {
    /// Keeps a packet that nobody can hear yet; false: it goes its way.
    pub(super) fn keep_early(&mut self, index: usize, source: SocketAddr, data: &[u8], now: Instant) -> bool {
        let leg = &mut self.legs[index];
        let Some(early) = &leg.early else { return false };
        if early.until.is_some_and(|until| until <= now) {
            self.replay(index, now);
            return false;
        }
        if !leg.may_wait() {
            return false;
        }
        if leg.may_be_ours(source, data) {
            leg.keep(Kept { at: now, source, packet: data.into() }, now);
        } else {
            leg.reject(DropCause::WrongSource);
        }
        self.hear_early(now);
        true
    }

    /// Whoever can hear by now what was kept hears it.
    pub(super) fn hear_early(&mut self, now: Instant) {
        for index in 0..self.legs.len() {
            let leg = &self.legs[index];
            let is_heard = || self.legs.iter().any(|l| hears(l, leg.id) && l.sending().is_some());
            if leg.early.is_some() && leg.is_known() && is_heard() {
                self.replay(index, now);
            }
        }
    }

    /// What was kept goes its way, and nothing is kept any more.
    fn replay(&mut self, index: usize, now: Instant) {
        let leg = &mut self.legs[index];
        let Some(mut early) = leg.early.take() else { return };
        let old = early.drop_old(now);
        leg.counters.drops.add(DropCause::TooEarly, old);
        let oldest = early.kept.front().map_or(now, |kept| kept.at);
        for Kept { at, source, packet } in early.kept {
            let mut data = self.outbox.buffer();
            data.extend_from_slice(&packet);
            if self.open(index, Kind::Rtp, &mut data, now) {
                self.on_rtp(index, source, &mut data, at);
            }
            self.outbox.give_back(data);
        }
        // It was said then and is heard now; so is what would have been due meanwhile.
        for index in 0..self.legs.len() {
            let first = &mut self.legs[index].first_heard;
            *first = first.map(|at| if at >= oldest { now } else { at });
            self.media_timeout(index, now);
        }
    }
}
