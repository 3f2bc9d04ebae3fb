//! Many streams under one key and the next, with losses, repetitions, forgeries and rollovers, beside a plain account of
//! which index is whose (RFC 3711 §3.3).

use std::collections::{BTreeMap, BTreeSet};

use media_bridge::srtp::{Receiver, Refused, Sender};
use types::limits::SRTP_SOURCES;

use super::{keys, open};
use crate::choices::Choices;

const OPERATIONS: usize = 400;
/// Packets under way.
const UNDER_WAY: usize = 64;
/// RFC 3711 §3.3.2 asks for 64 at least; ours is twice that.
const WINDOW: u64 = 128;
const ROUND: u64 = 1 << 16;

/// What is known of one stream at one end.
#[derive(Default)]
struct Account {
    newest: Option<u64>,
    seen: BTreeSet<u64>,
    /// The newest index under the key before.
    before: Option<u64>,
}

impl Account {
    fn may_pass(&self, index: u64) -> bool {
        let Some(newest) = self.newest else { return true };
        index + WINDOW > newest && !self.seen.contains(&index)
    }

    fn pass(&mut self, index: u64) {
        self.seen.insert(index);
        self.newest = self.newest.max(Some(index));
    }

    /// Whether a receiver can know which index a packet has; none: just where rounds meet, where either may be meant.
    fn knows(&self, index: u64) -> Option<bool> {
        let near = |newest: u64| match newest.abs_diff(index).cmp(&(ROUND / 2)) {
            std::cmp::Ordering::Less => Some(true),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(false),
        };
        match (self.newest, self.before) {
            (Some(newest), _) => near(newest),
            (None, _) if index < ROUND => Some(true),
            // Packets around the first rollover may have been lost.
            (None, _) if (ROUND..ROUND + ROUND / 2).contains(&index) => Some(true),
            (None, Some(before)) => near(before),
            (None, None) => Some(false),
        }
    }
}

/// A packet under way.
struct Packet {
    data: Vec<u8>,
    plain: Vec<u8>,
    ssrc: u32,
    index: u64,
    key: u8,
    rtcp: bool,
}

struct World<'a> {
    how: u8,
    choices: Choices<'a>,
    sender: Sender,
    receiver: Receiver,
    key: u8,
    sent: BTreeMap<u32, Account>,
    heard: BTreeMap<u32, Account>,
    heard_rtcp: BTreeMap<u32, Account>,
    /// The next SRTCP index of each stream.
    reports: BTreeMap<u32, u64>,
    under_way: Vec<Packet>,
}

pub(super) fn run(how: u8, data: &[u8]) {
    let first = keys(how, 0);
    let mut world = World {
        how,
        choices: Choices::new(data),
        sender: Sender::new(&first),
        receiver: Receiver::new(&first, 0),
        key: 0,
        sent: BTreeMap::new(),
        heard: BTreeMap::new(),
        heard_rtcp: BTreeMap::new(),
        reports: BTreeMap::new(),
        under_way: Vec::new(),
    };
    let mut operations = 0;
    while !world.choices.is_over() && operations < OPERATIONS {
        operations += 1;
        match world.choices.byte() % 16 {
            0..=5 => world.send(),
            6 => world.report(),
            7..=12 => world.arrive(),
            13 => world.forge(),
            14 => world.send_many(),
            _ => world.change_key(),
        }
    }
}

impl World<'_> {
    /// Mostly one of four, now and then one of more than there may be.
    fn ssrc(&mut self) -> u32 {
        let which = u32::from(self.choices.byte());
        if which < 0xe0 { which % 4 } else { which % (SRTP_SOURCES as u32 + 8) }
    }

    fn send(&mut self) {
        let ssrc = self.ssrc();
        let steps = [1, 1, 1, 2, 0, -1, -127, -128, 100, 3_000, 32_767, -32_767];
        let step = self.choices.of(&steps);
        let first = self.choices.word();
        self.send_one(ssrc, step, first);
    }

    /// Round after round of one stream: its receiver hears the newest only if it is let.
    fn send_many(&mut self) {
        let (ssrc, count, first) = (self.ssrc(), self.choices.byte() % 6, self.choices.word());
        for _ in 0..count {
            self.send_one(ssrc, 32_000, first);
        }
    }

    fn send_one(&mut self, ssrc: u32, step: i64, first: u16) {
        let full = self.sent.len() >= SRTP_SOURCES || self.reports.len() >= SRTP_SOURCES;
        let account = self.sent.get(&ssrc);
        let newest = account.and_then(|account| account.newest);
        let index = match newest {
            Some(newest) => newest.checked_add_signed(step),
            None => Some(u64::from(first)),
        };
        let Some(index) = index else { return };
        let mut plain = vec![0x80, 111, (index >> 8) as u8, index as u8, 0, 0, 0, 1];
        plain.extend_from_slice(&ssrc.to_be_bytes());
        plain.extend_from_slice(&index.to_be_bytes());
        let mut data = plain.clone();
        let sealed = self.sender.protect_rtp(&mut data);
        let known = account.is_some() || self.reports.contains_key(&ssrc);
        if full && !known && self.streams_sent() >= SRTP_SOURCES {
            assert_eq!(sealed, Err(Refused::TooManySources));
            return;
        }
        let account = self.sent.entry(ssrc).or_default();
        if account.may_pass(index) {
            assert_eq!(sealed, Ok(()), "index {index} after {newest:?}");
            account.pass(index);
            self.put(Packet { data, plain, ssrc, index, key: self.key, rtcp: false });
        } else {
            assert_eq!(sealed, Err(Refused::Repeated), "index {index} after {newest:?}");
        }
    }

    fn streams_sent(&self) -> usize {
        self.sent.keys().chain(self.reports.keys()).collect::<BTreeSet<_>>().len()
    }

    fn report(&mut self) {
        let ssrc = self.ssrc();
        let mut plain = vec![0x80, 201, 0, 1];
        plain.extend_from_slice(&ssrc.to_be_bytes());
        let mut data = plain.clone();
        let sealed = self.sender.protect_rtcp(&mut data);
        let known = self.sent.contains_key(&ssrc) || self.reports.contains_key(&ssrc);
        if !known && self.streams_sent() >= SRTP_SOURCES {
            assert_eq!(sealed, Err(Refused::TooManySources));
            return;
        }
        assert_eq!(sealed, Ok(()));
        let next = self.reports.entry(ssrc).or_default();
        let index = *next;
        *next += 1;
        self.put(Packet { data, plain, ssrc, index, key: self.key, rtcp: true });
    }

    fn put(&mut self, packet: Packet) {
        if self.under_way.len() >= UNDER_WAY {
            self.under_way.remove(0);
        }
        self.under_way.push(packet);
    }

    /// Any of those under way: nothing says that it has not come before, or in order.
    fn arrive(&mut self) {
        let which = usize::from(self.choices.byte());
        if self.under_way.is_empty() {
            return;
        }
        let Packet { data, plain, ssrc, index, key, rtcp } =
            &self.under_way[self.under_way.len() - 1 - which % self.under_way.len()];
        let mut data = data.clone();
        let result = open(&mut self.receiver, &mut data, *rtcp);
        let streams: BTreeSet<&u32> = self.heard.keys().chain(self.heard_rtcp.keys()).collect();
        let room = streams.contains(ssrc) || streams.len() < SRTP_SOURCES;
        let accounts = if *rtcp { &mut self.heard_rtcp } else { &mut self.heard };
        let nobody = Account::default();
        let account = accounts.get(ssrc).unwrap_or(&nobody);
        let known = if *rtcp { Some(true) } else { account.knows(*index) };
        let expected = known.map(|known| known && room && *key == self.key && account.may_pass(*index));
        assert!(expected.is_none_or(|expected| expected == result.is_ok()), "index {index}: {result:?}");
        if let Ok(length) = result {
            assert_eq!(&data[..length], plain, "what was sent");
            accounts.entry(*ssrc).or_default().pass(*index);
        }
    }

    fn forge(&mut self) {
        let (which, at, change) = (self.choices.byte(), self.choices.byte(), self.choices.byte());
        let Some(packet) = self.under_way.get(usize::from(which) % self.under_way.len().max(1)) else {
            return;
        };
        let mut data = packet.data.clone();
        let at = usize::from(at) % data.len();
        data[at] ^= change | 1;
        let result = open(&mut self.receiver, &mut data, packet.rtcp);
        assert!(result.is_err(), "byte {at} of {} is not authentic", data.len());
    }

    /// The receiver follows (RFC 4568 §7.1.4); the sender's counters begin anew.
    fn change_key(&mut self) {
        let Some(key) = self.key.checked_add(1) else { return };
        self.key = key;
        let keys = keys(self.how, key);
        (self.sender, self.receiver) = (Sender::new(&keys), self.receiver.successor(&keys, 0));
        (self.sent, self.reports) = (BTreeMap::new(), BTreeMap::new());
        for account in self.heard.values_mut() {
            let before = account.newest.or(account.before);
            *account = Account { before, ..Account::default() };
        }
        for account in self.heard_rtcp.values_mut() {
            *account = Account::default();
        }
    }
}
