//! What waits because of a wrong password: attempts for their turn, answers for their time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use sip_ua::message::Message;
use sip_ua::{Flow, RequestToken, SipLeg};
use types::{SessionId, limits};

use crate::output::Output;

/// Something put off.
#[derive(Debug)]
pub(crate) enum Item {
    Invite { leg: SipLeg, request: Arc<Message>, flow: Flow, user: String },
    Register { token: RequestToken, request: Arc<Message>, flow: Flow, user: String },
    Hello { session: SessionId, source: IpAddr, user: String, password: String },
    Say(Box<Output>),
}

/// Ordered by time, then by arrival.
#[derive(Debug, Default)]
pub(crate) struct Later {
    items: BTreeMap<(Instant, u64), Item>,
    next: u64,
}

impl Later {
    /// Puts something off; gives it back when the table is full: then it is to be refused at once.
    pub fn put(&mut self, at: Instant, item: Item) -> Result<(), Box<Item>> {
        if self.items.len() >= limits::FAILURE_TABLE {
            return Err(Box::new(item));
        }
        self.items.insert((at, self.next), item);
        self.next += 1;
        Ok(())
    }

    /// The next item whose time has come.
    pub fn due(&mut self, now: Instant) -> Option<Item> {
        let key = *self.items.first_key_value()?.0;
        if key.0 > now { None } else { self.items.remove(&key) }
    }

    /// When the next item is due.
    pub fn next(&self) -> Option<Instant> {
        self.items.first_key_value().map(|((at, _), _)| *at)
    }

    /// An INVITE is gone (cancelled while it waited). Gives whose turn is no longer needed.
    pub fn forget_leg(&mut self, leg: SipLeg) -> Vec<(IpAddr, String)> {
        let mut gone = Vec::new();
        if self.items.is_empty() {
            return gone;
        }
        self.items.retain(|_, item| match item {
            Item::Invite { leg: waiting, flow, user, .. } if *waiting == leg => {
                gone.push((flow.remote.ip(), std::mem::take(user)));
                false
            }
            Item::Invite { .. } | Item::Register { .. } | Item::Hello { .. } | Item::Say(_) => true,
        });
        gone
    }
}
