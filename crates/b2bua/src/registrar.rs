//! Where users' SIP devices are (RFC 3261 §10.3): contacts, bound to the flow they came by (RFC 5626 in spirit).

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sip_ua::message::Uri;
use sip_ua::{ConnectionId, Flow, Transport};
use types::{UserName, limits};

/// Shortest registration granted, in seconds; shorter ones get 423.
pub const MIN_EXPIRES: u32 = 60;
/// Longest registration granted, in seconds.
pub const MAX_EXPIRES: u32 = 3600;
/// Granted where the device asks for nothing, in seconds.
pub const DEFAULT_EXPIRES: u32 = 3600;

/// One device of a user.
#[derive(Clone, Debug)]
pub struct Binding {
    /// Contact URI as the device wrote it: the Request-URI of calls to it.
    pub uri: Uri,
    /// `+sip.instance`: the same device after a restart (RFC 5626 §4.1).
    pub instance: Option<String>,
    /// How the REGISTER came: calls go back the same way, through whatever NAT there is.
    pub flow: Flow,
    /// When it is over.
    pub expires: Instant,
    call_id: String,
    cseq: u32,
}

/// One contact of a REGISTER, checked.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub uri: Uri,
    pub instance: Option<String>,
    /// 0 removes it.
    pub expires: u32,
}

/// A REGISTER's identity, to refuse what comes out of order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender<'a> {
    pub flow: Flow,
    pub call_id: &'a str,
    pub cseq: u32,
}

/// Why a REGISTER changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RegistrarError {
    /// An older request than one already handled (RFC 3261 §10.3 step 7).
    OutOfOrder,
    /// `limits::CONTACTS_PER_USER`.
    TooManyContacts,
}

/// A flow without our own side.
type Hop = (Transport, SocketAddr, Option<ConnectionId>);

fn hop(flow: &Flow) -> Hop {
    (flow.transport, flow.remote, flow.connection)
}

/// All users' devices.
#[derive(Debug, Default)]
pub struct Registrar {
    users: BTreeMap<UserName, Vec<Binding>>,
    /// How many bindings came by each flow.
    hops: HashMap<Hop, usize>,
    /// Earliest end of a binding at or before which nothing expires.
    next: Option<Instant>,
}

impl Registrar {
    /// A user's devices, in order of registration.
    pub fn bindings(&self, user: &UserName) -> &[Binding] {
        self.users.get(user).map_or(&[], Vec::as_slice)
    }

    /// Whether a device registered on this very flow.
    pub(crate) fn knows(&self, flow: &Flow) -> bool {
        self.hops.contains_key(&hop(flow))
    }

    /// All bindings.
    pub fn iter(&self) -> impl Iterator<Item = (&UserName, &Binding)> {
        self.users.iter().flat_map(|(user, bindings)| bindings.iter().map(move |b| (user, b)))
    }

    /// Adds, refreshes and removes contacts: all of them or, on an error, none (RFC 3261 §10.3 step 7).
    pub(crate) fn update(
        &mut self,
        user: &UserName,
        wanted: Vec<Wanted>,
        from: Sender<'_>,
        now: Instant,
    ) -> Result<(), RegistrarError> {
        let mut bindings = self.bindings(user).to_vec();
        for want in wanted {
            let same = |b: &Binding| {
                (want.instance.is_some() && b.instance == want.instance) || b.uri.equivalent(&want.uri)
            };
            if bindings.iter().any(|b| same(b) && b.call_id == from.call_id && b.cseq >= from.cseq) {
                return Err(RegistrarError::OutOfOrder);
            }
            let at = bindings.iter().position(same);
            bindings.retain(|b| !same(b));
            if want.expires == 0 {
                continue;
            }
            let binding = Binding {
                uri: want.uri,
                instance: want.instance,
                flow: from.flow,
                expires: now + Duration::from_secs(want.expires.into()),
                call_id: from.call_id.into(),
                cseq: from.cseq,
            };
            bindings.insert(at.unwrap_or(bindings.len()).min(bindings.len()), binding);
        }
        if bindings.len() > limits::CONTACTS_PER_USER {
            return Err(RegistrarError::TooManyContacts);
        }
        self.put(user, bindings);
        Ok(())
    }

    /// `Contact: *` with `Expires: 0`: all of them (RFC 3261 §10.2.2).
    pub(crate) fn clear(&mut self, user: &UserName, from: Sender<'_>) -> Result<(), RegistrarError> {
        let newer = |b: &Binding| b.call_id == from.call_id && b.cseq >= from.cseq;
        if self.bindings(user).iter().any(newer) {
            return Err(RegistrarError::OutOfOrder);
        }
        self.put(user, Vec::new());
        Ok(())
    }

    /// A stream connection is gone, and with it every device behind it.
    pub(crate) fn flow_closed(&mut self, flow: &Flow) {
        if flow.connection.is_some() {
            self.retain(|b| b.flow.connection != flow.connection);
        }
    }

    /// Forgets what has expired.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.next.is_some_and(|at| at <= now) {
            self.retain(|b| b.expires > now);
        }
    }

    /// When `handle_timeout` is wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    fn put(&mut self, user: &UserName, bindings: Vec<Binding>) {
        for binding in &bindings {
            *self.hops.entry(hop(&binding.flow)).or_default() += 1;
        }
        for old in self.users.get(user).into_iter().flatten() {
            let key = hop(&old.flow);
            if let Some(count) = self.hops.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.hops.remove(&key);
                }
            }
        }
        if bindings.is_empty() {
            self.users.remove(user);
        } else {
            let first = bindings.iter().map(|b| b.expires).min();
            self.next = [self.next, first].into_iter().flatten().min();
            self.users.insert(user.clone(), bindings);
        }
        if self.users.is_empty() {
            self.next = None;
        }
    }

    fn retain(&mut self, keep: impl Fn(&Binding) -> bool) {
        self.users.retain(|_, bindings| {
            bindings.retain(&keep);
            !bindings.is_empty()
        });
        self.next = self.iter().map(|(_, b)| b.expires).min();
        let mut hops = HashMap::new();
        for (_, binding) in self.iter() {
            *hops.entry(hop(&binding.flow)).or_default() += 1;
        }
        self.hops = hops;
    }
}
