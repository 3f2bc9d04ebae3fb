//! What must hold of all that a leg sends.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use media_bridge::control::{LegKind, Srtp};
use media_bridge::rtp::RtpPacket;
use media_bridge::rtp::rtcp::{RtcpPacket, parse};
use media_bridge::sdp::{Crypto, MediaLine, Remote, agree_crypto};
use media_bridge::srtp::{Keys, Receiver};

use super::phone::OUTSIDER;

/// How far a timestamp may leave the clock: what the stream takes for a jump of its source, and the longest digit.
const STRAYS: i64 = 9 * 48_000;
/// The largest gap that a source's loss makes in our numbers, and what an event adds.
const GAP: u16 = 3_100;

/// One leg, from its first description to its release.
pub(super) struct Watch {
    pub(super) kind: LegKind,
    pub(super) srtp: Srtp,
    /// Keys of our newest offer.
    pub(super) offered: Vec<Crypto>,
    /// Something was agreed on: whether we may send, and with which key.
    agreed: Option<(bool, Option<Keys>)>,
    pub(super) ssrc: Option<u32>,
    /// Numbers that were sent.
    sent: BTreeSet<u64>,
    /// Timestamp and time of the newest audio.
    newest: Option<(u32, Instant)>,
    /// What opens our packets, for each key that ever served.
    receivers: Vec<(Keys, Receiver)>,
}

impl Watch {
    pub(super) fn new(kind: LegKind, srtp: Srtp) -> Watch {
        let (offered, receivers) = (Vec::new(), Vec::new());
        Watch {
            kind,
            srtp,
            offered,
            agreed: None,
            ssrc: None,
            sent: BTreeSet::new(),
            newest: None,
            receivers,
        }
    }

    /// Their offer was answered by our description. Returns their key.
    pub(super) fn answered(&mut self, theirs: &[u8], ours: &[u8]) -> Option<Keys> {
        let (line, our_keys) = (self.line(theirs), keys(ours));
        let taken = our_keys.first();
        let used = taken.and_then(|ours| {
            line.crypto.iter().flatten().find(|theirs| theirs.tag == ours.tag).map(|t| t.keys.clone())
        });
        assert_eq!(taken.is_some(), used.is_some(), "a key for a line that they have");
        self.agree(&line, taken.map(|crypto| crypto.keys.clone()));
        used
    }

    /// Our offer was answered by theirs. Returns their key.
    pub(super) fn negotiated(&mut self, theirs: &[u8]) -> Option<Keys> {
        let line = self.line(theirs);
        let (ours, theirs) = match self.kind {
            LegKind::Rtp => match agree_crypto(&line, &self.offered, self.srtp) {
                Ok(pair) => pair.unzip(),
                Err(why) => panic!("taken, and yet {why:?}"),
            },
            LegKind::WebRtc => (None, None),
        };
        self.agree(&line, ours.map(|crypto| crypto.keys));
        theirs.map(|crypto| crypto.keys)
    }

    /// Packets are protected with the key of an association instead of one of a description.
    pub(super) fn use_keys(&mut self, ours: &Keys) {
        if let Some((_, keys)) = &mut self.agreed {
            *keys = Some(ours.clone());
        }
    }

    pub(super) fn is_agreed(&self) -> bool {
        self.agreed.is_some()
    }

    fn agree(&mut self, line: &MediaLine, keys: Option<Keys>) {
        assert!(keys.is_some() || self.srtp != Srtp::Required || self.kind == LegKind::WebRtc, "plain");
        self.agreed = Some((line.wanted(self.kind).receives(), keys));
    }

    fn line(&self, theirs: &[u8]) -> MediaLine {
        let found = Remote::parse(theirs).and_then(|remote| {
            let index = remote.usable_audio(self.kind, self.srtp)?;
            Ok(remote.lines[index].clone())
        });
        found.unwrap_or_else(|why| panic!("taken, and yet {why:?}"))
    }

    /// A packet of ours. True if it was encrypted.
    pub(super) fn rtp(&mut self, to: SocketAddr, packet: &[u8], now: Instant) -> bool {
        let Some((sends, keys)) = self.agreed.clone() else { panic!("media before anything is agreed on") };
        assert!(sends, "media for a peer that wants none");
        assert_ne!(to.ip(), OUTSIDER);
        let opened = self.open(packet, keys.as_ref(), false);
        let Ok(packet) = RtpPacket::parse(&opened) else { panic!("no packet: {opened:?}") };
        assert_eq!(*self.ssrc.get_or_insert(packet.ssrc), packet.ssrc, "another SSRC");
        // A telephone-event has the time of its begin.
        let timestamp = (packet.payload.len() != 4).then_some(packet.timestamp);
        self.place(packet.sequence, timestamp, now);
        keys.is_some()
    }

    fn place(&mut self, sequence: u16, timestamp: Option<u32>, now: Instant) {
        let Some(newest) = self.sent.last().copied() else {
            self.sent.insert(u64::from(sequence));
            self.newest = timestamp.map(|timestamp| (timestamp, now));
            return;
        };
        let ahead = sequence.wrapping_sub(newest as u16);
        if ahead == 0 || ahead > u16::MAX - 64 {
            let number = newest.checked_sub(u64::from(ahead.wrapping_neg()));
            assert!(number.is_some_and(|n| self.sent.insert(n)), "number {number:?} was sent already");
            return;
        }
        assert!(ahead <= GAP, "a gap of {ahead}");
        self.sent.insert(newest + u64::from(ahead));
        let Some(timestamp) = timestamp else { return };
        let Some((before, at)) = self.newest.replace((timestamp, now)) else { return };
        let passed = i64::try_from(now.saturating_duration_since(at).as_micros()).unwrap_or(i64::MAX);
        let step = i64::from(timestamp.wrapping_sub(before) as i32);
        let most = passed * 48 / 1_000 + STRAYS;
        // Beyond half its range a timestamp means nothing.
        assert!(most > 1 << 31 || (-STRAYS..=most).contains(&step), "timestamp {step} after {passed} us");
    }

    pub(super) fn rtcp(&mut self, to: SocketAddr, packet: &[u8]) {
        let Some((_, keys)) = self.agreed.clone() else { panic!("a report before anything is agreed on") };
        assert_ne!(to.ip(), OUTSIDER);
        let opened = self.open(packet, keys.as_ref(), true);
        let by = match parse(&opened).next() {
            Some(RtcpPacket::SenderReport { ssrc, .. } | RtcpPacket::ReceiverReport { ssrc, .. }) => ssrc,
            other => panic!("{other:?} begins a report"),
        };
        assert_eq!(*self.ssrc.get_or_insert(by), by, "another SSRC");
    }

    /// Each index opens once: the receiver of a key refuses the second (RFC 3711 §3.3.2).
    fn open(&mut self, packet: &[u8], keys: Option<&Keys>, rtcp: bool) -> Vec<u8> {
        let mut opened = packet.to_vec();
        let Some(keys) = keys else { return opened };
        let known = self.receivers.iter().position(|(known, _)| known == keys);
        let place = known.unwrap_or_else(|| {
            self.receivers.push((keys.clone(), Receiver::new(keys, 0)));
            self.receivers.len() - 1
        });
        let receiver = &mut self.receivers[place].1;
        let length =
            if rtcp { receiver.unprotect_rtcp(&mut opened) } else { receiver.unprotect_rtp(&mut opened) };
        match length {
            Ok(length) => opened.truncate(length),
            Err(why) => panic!("{why:?} is what the peer finds, rtcp: {rtcp}"),
        }
        opened
    }
}

/// The key lines of a description of ours. It is read for nothing else: that costs more than a hundred packets.
pub(super) fn keys(ours: &[u8]) -> Vec<Crypto> {
    let has = |text: &[u8]| ours.windows(text.len()).any(|part| part == text);
    assert!(has(b"m=audio "), "no audio in {:?}", String::from_utf8_lossy(ours));
    if !has(b"a=crypto:") {
        return Vec::new();
    }
    let lines = Remote::parse(ours).map(|remote| remote.lines).unwrap_or_default();
    match lines.into_iter().find(|line| line.media == "audio" && line.port != 0) {
        Some(line) => line.crypto.into_iter().flatten().collect(),
        None => panic!("no audio in {:?}", String::from_utf8_lossy(ours)),
    }
}
