//! Where users' SIP devices are (RFC 3261 §10.3): contacts, bound to the flow they came by (RFC 5626).

use std::collections::{BTreeMap, BTreeSet, HashMap};
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
/// How long a contact whose connection closed is remembered. It is not called meanwhile; its device usually comes back with
/// a new connection and takes its place.
pub const FLOW_GRACE: Duration = Duration::from_secs(60);

/// One device of a user.
#[derive(Clone, Debug)]
pub struct Binding {
    /// Contact URI as the device wrote it: the Request-URI of calls to it.
    pub uri: Uri,
    /// `+sip.instance`: the same device after a restart (RFC 5626 §4.1).
    pub instance: Option<String>,
    /// Which of the device's flows this is (RFC 5626 §4.2).
    pub reg_id: Option<u32>,
    /// How the REGISTER came: calls go back the same way, through whatever NAT there is.
    pub flow: Flow,
    /// Its connection has closed: nothing reaches the device this way any more.
    pub suspended: bool,
    /// When it is over.
    pub expires: Instant,
    /// When it was last registered.
    refreshed: Instant,
    call_id: String,
    cseq: u32,
}

/// One contact of a REGISTER, checked.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub uri: Uri,
    pub instance: Option<String>,
    pub reg_id: Option<u32>,
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
    /// Who has how many bindings by each flow.
    hops: HashMap<Hop, BTreeMap<UserName, usize>>,
    /// Each user's first end of a binding.
    ends: BTreeSet<(Instant, UserName)>,
}

impl Registrar {
    /// The contacts to call where a user is to ring: none whose connection has closed, and of a device with several flows
    /// the one refreshed last (RFC 5626 §5.3).
    pub fn callable(&self, user: &UserName) -> impl Iterator<Item = &Binding> {
        let live = self.bindings(user).iter().filter(|b| !b.suspended);
        live.clone().filter(move |b| {
            let newer = |other: &&Binding| {
                b.instance.is_some() && other.instance == b.instance && other.refreshed > b.refreshed
            };
            !live.clone().any(|other| newer(&other))
        })
    }

    /// A user's contacts, in order of registration.
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
                // Two flows of one device stand beside each other; everything else of it is replaced (RFC 5626 §6).
                let flows = want.reg_id.is_some() && b.reg_id.is_some();
                match want.instance.is_some() && b.instance == want.instance {
                    true if flows => b.reg_id == want.reg_id,
                    true => true,
                    false => b.uri.equivalent(&want.uri),
                }
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
                reg_id: want.reg_id,
                flow: from.flow,
                suspended: false,
                refreshed: now,
                expires: now + Duration::from_secs(want.expires.into()),
                call_id: from.call_id.into(),
                cseq: from.cseq,
            };
            bindings.insert(at.unwrap_or(bindings.len()).min(bindings.len()), binding);
        }
        // Pages that were reloaded must not keep a user from registering (field problem 25).
        while bindings.len() > limits::CONTACTS_PER_USER
            && let Some(gone) = bindings.iter().position(|b| b.suspended)
        {
            bindings.remove(gone);
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

    /// A stream connection is gone: what is bound to it is suspended at once.
    pub(crate) fn flow_closed(&mut self, flow: &Flow, now: Instant) {
        if flow.connection.is_none() {
            return;
        }
        let Some(users) = self.hops.get(&hop(flow)) else { return };
        for user in users.keys().cloned().collect::<Vec<_>>() {
            let mut bindings = self.bindings(&user).to_vec();
            for binding in bindings.iter_mut().filter(|b| hop(&b.flow) == hop(flow)) {
                binding.suspended = true;
                binding.expires = binding.expires.min(now + FLOW_GRACE);
            }
            self.put(&user, bindings);
        }
    }

    /// Forgets what has expired.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, user)) = self.ends.first().filter(|(at, _)| *at <= now).cloned() {
            self.retain(&user, |b| b.expires > now);
        }
    }

    /// When `handle_timeout` is wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.ends.first().map(|(at, _)| *at)
    }

    fn retain(&mut self, user: &UserName, keep: impl Fn(&Binding) -> bool) {
        let left = self.bindings(user).iter().filter(|b| keep(b)).cloned().collect();
        self.put(user, left);
    }

    /// The one place where bindings change: what it costs does not depend on how many other users there are.
    fn put(&mut self, user: &UserName, bindings: Vec<Binding>) {
        let old = self.users.remove(user).unwrap_or_default();
        for binding in &bindings {
            *self.hops.entry(hop(&binding.flow)).or_default().entry(user.clone()).or_default() += 1;
        }
        for binding in &old {
            self.leave(user, hop(&binding.flow));
        }
        if let Some(at) = first_end(&old) {
            self.ends.remove(&(at, user.clone()));
        }
        if let Some(at) = first_end(&bindings) {
            self.ends.insert((at, user.clone()));
            self.users.insert(user.clone(), bindings);
        }
    }

    fn leave(&mut self, user: &UserName, hop: Hop) {
        let Some(users) = self.hops.get_mut(&hop) else { return };
        if let Some(count) = users.get_mut(user) {
            *count -= 1;
            if *count == 0 {
                users.remove(user);
            }
        }
        if users.is_empty() {
            self.hops.remove(&hop);
        }
    }
}

fn first_end(bindings: &[Binding]) -> Option<Instant> {
    bindings.iter().map(|b| b.expires).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip_ua::Transport;

    const PHONES: u32 = 10_000;

    fn flow(connection: Option<u64>) -> Flow {
        let address = |text: &str| text.parse().unwrap();
        let connection = connection.map(ConnectionId);
        let transport = if connection.is_some() { Transport::Tcp } else { Transport::Udp };
        Flow { transport, local: address("192.0.2.1:5060"), remote: address("192.0.2.9:5062"), connection }
    }

    fn register(registrar: &mut Registrar, number: u32, cseq: u32, flow: Flow, now: Instant) {
        let user = UserName::new(&format!("user{number}"));
        let uri = Uri::parse(&format!("sip:user{number}@192.0.2.9:5062")).unwrap();
        let wanted = vec![Wanted { uri, instance: None, reg_id: None, expires: 600 }];
        registrar.update(&user, wanted, Sender { flow, call_id: "one", cseq }, now).unwrap();
    }

    #[test]
    fn ten_thousand_contacts_refresh_expire_and_lose_their_connection_each_for_itself() {
        let start = Instant::now();
        let at = |ms: u32| start + Duration::from_millis(ms.into());
        let mut registrar = Registrar::default();
        for n in 0..PHONES {
            register(&mut registrar, n, 1, flow(None), at(n));
        }
        // Every second one refreshes 300 s later, over a connection of its own.
        for n in (0..PHONES).step_by(2) {
            register(&mut registrar, n, 2, flow(Some(n.into())), at(300_000 + n));
        }
        assert_eq!(registrar.iter().count(), PHONES as usize);
        for n in (1..PHONES).step_by(2) {
            let end = registrar.poll_timeout();
            assert_eq!(end, Some(at(600_000 + n)), "the next to expire is the one that did not refresh");
            registrar.handle_timeout(at(600_000 + n));
        }
        assert_eq!(registrar.iter().count(), PHONES as usize / 2);
        assert!(!registrar.knows(&flow(None)));
        for n in (0..PHONES).step_by(2) {
            registrar.flow_closed(&flow(Some(n.into())), at(700_000));
            assert_eq!(registrar.callable(&UserName::new(&format!("user{n}"))).count(), 0);
        }
        assert_eq!(registrar.iter().count(), PHONES as usize / 2, "suspended, not yet forgotten");
        registrar.handle_timeout(at(700_000) + FLOW_GRACE);
        assert_eq!(registrar.iter().count(), 0);
        assert!(registrar.hops.is_empty() && registrar.poll_timeout().is_none());
    }
}
