//! Which session a datagram on the shared browser socket belongs to.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::SocketAddr;

use types::limits;

use crate::stun::{CheckKey, binding_request, is_stun};

/// Demultiplexer of one UDP socket, generic over what names a session.
///
/// A datagram is someone's if its source address is bound to a session. An address is bound by a STUN binding request
/// whose USERNAME begins with a known ufrag of ours and whose MESSAGE-INTEGRITY was made with that ufrag's password
/// (RFC 8445 §7.3, RFC 8489 §9.1). Everything else belongs to nobody and is counted.
#[derive(Debug)]
pub struct Demux<K> {
    ufrags: HashMap<String, (K, CheckKey)>,
    sessions: HashMap<K, Session>,
    addresses: HashMap<SocketAddr, K>,
    unknown: u64,
}

#[derive(Debug)]
struct Session {
    ufrag: String,
    /// Bound addresses, the one checked last at the end.
    addresses: Vec<SocketAddr>,
}

impl<K> Default for Demux<K> {
    fn default() -> Self {
        Demux { ufrags: HashMap::new(), sessions: HashMap::new(), addresses: HashMap::new(), unknown: 0 }
    }
}

impl<K: Copy + Eq + Hash> Demux<K> {
    /// Accepts checks for `ufrag` from now on. A former ufrag of the same session is forgotten (ICE restart), its
    /// addresses stay. False, and nothing changes, when the ufrag is another session's or the table is full.
    pub fn insert_ufrag(&mut self, ufrag: &str, password: &str, session: K) -> bool {
        let taken = self.ufrags.get(ufrag).is_some_and(|(owner, _)| *owner != session);
        if taken || (!self.sessions.contains_key(&session) && self.sessions.len() >= limits::DEMUX_SESSIONS) {
            return false;
        }
        let entry = self
            .sessions
            .entry(session)
            .or_insert_with(|| Session { ufrag: String::new(), addresses: Vec::new() });
        let former = std::mem::replace(&mut entry.ufrag, ufrag.to_owned());
        self.ufrags.remove(&former);
        self.ufrags.insert(ufrag.to_owned(), (session, CheckKey::new(password)));
        true
    }

    /// Forgets a session, its ufrag and its addresses.
    pub fn remove(&mut self, session: K) {
        let Some(entry) = self.sessions.remove(&session) else { return };
        self.ufrags.remove(&entry.ufrag);
        for address in entry.addresses {
            self.addresses.remove(&address);
        }
    }

    /// Whose datagram this is, binding the source address if the datagram proves it.
    pub fn lookup(&mut self, source: SocketAddr, packet: &[u8]) -> Option<K> {
        let found = if is_stun(packet) {
            self.lookup_stun(source, packet)
        } else {
            self.addresses.get(&source).copied()
        };
        if found.is_none() {
            self.unknown += 1;
        }
        found
    }

    /// Datagrams that belonged to nobody.
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// Sessions known.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether no session is known.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    fn lookup_stun(&mut self, source: SocketAddr, packet: &[u8]) -> Option<K> {
        let check = binding_request(packet)?;
        let (ufrag, _) = check.split_username()?;
        let (session, key) = self.ufrags.get(ufrag)?;
        if !key.verifies(&check) {
            return None;
        }
        let session = *session;
        self.bind(source, session);
        Some(session)
    }

    fn bind(&mut self, source: SocketAddr, session: K) {
        let former = self.addresses.insert(source, session).filter(|former| *former != session);
        if let Some(entry) = former.and_then(|former| self.sessions.get_mut(&former)) {
            entry.addresses.retain(|a| *a != source);
        }
        let Some(entry) = self.sessions.get_mut(&session) else { return };
        entry.addresses.retain(|a| *a != source);
        if entry.addresses.len() >= limits::PEER_ADDRESSES {
            let stale = entry.addresses.remove(0);
            self.addresses.remove(&stale);
        }
        entry.addresses.push(source);
    }
}
