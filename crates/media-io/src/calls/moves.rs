//! Legs that change calls, within a worker or between two: sockets and state go along whole. A browser's leg keeps the
//! socket that its browser knows, which stays with its worker; that worker hands the datagrams on (`post.rs`).

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};

use media_bridge::call::GivenLeg;
use media_bridge::control::{CallEvent, Event};
use types::{CallId, LegId, limits};

use super::{Calls, LegKey, NO_ROOM, Owner, RtpPlace};
use crate::counters::bump;
use crate::post::{Handed, Letter, Lodging, Order, Parcel, Place};

/// Most datagrams of other workers taken before others get their turn.
const PARCELS_AT_ONCE: usize = 256;

/// A leg that comes, and what its call was told meanwhile. An order never waits for one given later, so that no two
/// calls wait for each other.
pub(super) struct Expected {
    to: (CallId, LegId),
    from: Receiver<Handed>,
    deferred: VecDeque<Order>,
}

impl Expected {
    pub(super) fn is_of(&self, call: CallId) -> bool {
        self.to.0 == call
    }
}

impl Calls {
    /// Does what it is told, or keeps it until the call has the leg that comes to it.
    pub(crate) fn order(&mut self, order: Order) {
        let call = order.call();
        if let Some(index) = self.expected.iter().position(|e| e.is_of(call)) {
            self.expected[index].deferred.push_back(order);
            if self.expected[index].deferred.len() > limits::COMMANDS_BEHIND_A_LEG {
                let Expected { to, deferred, .. } = self.expected.swap_remove(index);
                self.never_came(to, deferred);
            }
            return;
        }
        match order {
            Order::Call(command) => self.command(command),
            Order::Give { from, to, into } => self.give(from, to, &into),
            Order::Take { to, from } => {
                self.expected.push(Expected { to, from, deferred: VecDeque::new() });
                self.take_arrivals();
            }
        }
    }

    /// Whether calls wait for legs.
    pub(crate) fn has_expected(&self) -> bool {
        !self.expected.is_empty()
    }

    /// Takes in the legs that have come.
    pub(crate) fn take_arrivals(&mut self) {
        let mut index = 0;
        while let Some(expected) = self.expected.get(index) {
            let came = match expected.from.try_recv() {
                Ok(handed) => Some(handed),
                Err(TryRecvError::Empty) => {
                    index += 1;
                    continue;
                }
                Err(TryRecvError::Disconnected) => None,
            };
            let Expected { to, deferred, .. } = self.expected.swap_remove(index);
            match came {
                Some(handed) => {
                    self.arrived(to, handed);
                    deferred.into_iter().for_each(|order| self.order(order));
                }
                None => self.never_came(to, deferred),
            }
            index = 0;
        }
    }

    /// What other workers have sent; true if there may be more.
    pub(crate) fn read_mail(&mut self, more: bool) -> bool {
        if !self.post.was_called(self.worker) && !more {
            return false;
        }
        self.read_letters();
        self.send_departures();
        for _ in 0..PARCELS_AT_ONCE {
            let Some(parcel) = self.post.parcel(self.worker) else { return false };
            // A leg was sent before its datagrams.
            self.take_arrivals();
            self.deliver(parcel);
        }
        true
    }

    /// Notes about legs that use our socket and are elsewhere.
    fn read_letters(&mut self) {
        while let Some(letter) = self.post.letter(self.worker) {
            match letter {
                Letter::Accept { place, ufrag, password } => {
                    if !self.demux.insert_ufrag(&ufrag, &password, Owner::Away(place)) {
                        let event = Event::Lost { leg: place.leg, why: NO_ROOM.to_owned() };
                        self.emit(CallEvent { call: place.call, event });
                    }
                }
                Letter::Moved { from, to } => self.demux.rename(Owner::Away(from), Owner::Away(to)),
                Letter::Gone(place) => self.demux.remove(Owner::Away(place)),
            }
        }
    }

    fn deliver(&mut self, parcel: Parcel) {
        let Parcel { call, leg, route, mut data } = parcel;
        match self.by_id.get(&call).copied() {
            Some(slot) => self.with_datagram(slot, &mut data, |call, data, now, wall| {
                call.handle_browser(leg, route, data, now, wall);
            }),
            None => bump(&self.shared.tally.browser_unknown),
        }
        self.post.give_back(self.worker, data);
    }

    fn never_came(&mut self, (call, leg): (CallId, LegId), deferred: VecDeque<Order>) {
        let event = Event::Lost { leg, why: "its media did not come along".to_owned() };
        self.emit(CallEvent { call, event });
        deferred.into_iter().for_each(|order| self.order(order));
    }

    fn give(&mut self, (call, leg): (CallId, LegId), to: Place, into: &SyncSender<Handed>) {
        let slot = self.by_id.get(&call).copied();
        let mut given = None;
        if let Some(slot) = slot {
            self.with_call(slot, |call, now, _| given = call.give(leg, now));
        }
        let handed = slot.zip(given).and_then(|(slot, given)| self.pack(LegKey { slot, leg }, given, to));
        if let Some(handed) = handed {
            // What was said of it under its old name comes before what is said under the new one.
            self.send_events();
            // Nobody waits for it any more: its ports and its place are returned by dropping it.
            let _ = into.try_send(handed);
        }
        // Also if it does not come; the channel tells.
        self.post.call(to.worker);
    }

    /// Takes the leg's sockets and its place in a demultiplexer out of our hands.
    fn pack(&mut self, key: LegKey, leg: GivenLeg, to: Place) -> Option<Handed> {
        let entry = self.slots.get_mut(key.slot)?.as_mut()?;
        let places: Vec<RtpPlace> = entry.rtp.iter().copied().filter(|place| place.leg == key.leg).collect();
        entry.rtp.retain(|place| place.leg != key.leg);
        let browser = entry.browsers.iter().position(|(l, _)| *l == key.leg);
        let browser = browser.map(|at| entry.browsers.swap_remove(at).1);
        let rtp = places.into_iter().filter_map(|place| self.unwatch(place.index)).collect();
        let browser = browser.map(|lodging| match lodging {
            Some(mut lodging) => {
                lodging.go_to(to);
                lodging
            }
            None => {
                self.demux.rename(Owner::Here(key), Owner::Away(to));
                Lodging::new(self.post.clone(), self.worker, to)
            }
        });
        Some(Handed { leg, rtp, browser })
    }

    fn arrived(&mut self, (call, leg): (CallId, LegId), handed: Handed) {
        let slot = self.by_id.get(&call).copied().unwrap_or_else(|| self.open_call(call));
        let key = LegKey { slot, leg };
        let Handed { leg: given, rtp, browser } = handed;
        for sockets in rtp {
            if let Err(words) = self.watch(key, sockets) {
                tracing::error!("{call} {leg}: {words}");
                self.emit(CallEvent { call, event: Event::Lost { leg, why: words } });
            }
        }
        if let Some(mut lodging) = browser {
            // Its last note to us, which names it.
            self.read_letters();
            let lodging = match lodging.comes_home(self.worker) {
                Some(place) => {
                    self.demux.rename(Owner::Away(place), Owner::Here(key));
                    None
                }
                None => Some(lodging),
            };
            if let Some(Some(entry)) = self.slots.get_mut(slot) {
                entry.browsers.push((leg, lodging));
            }
        }
        self.with_call(slot, |call, now, _| call.adopt(given, leg, now));
    }
}
