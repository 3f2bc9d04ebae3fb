//! Which session a datagram on a worker's shared browser sockets belongs to.

use std::collections::HashMap;
use std::hash::Hash;

use types::limits;

use crate::Far;
use crate::stun::{CheckKey, binding_request, is_stun};

/// Demultiplexer of what one worker's browsers share, generic over what names a session.
///
/// A datagram is someone's if its source address is bound to a session. An address is bound by a STUN binding request
/// whose USERNAME begins with a known ufrag of ours and whose MESSAGE-INTEGRITY was made with that ufrag's password
/// (RFC 8445 §7.3, RFC 8489 §9.1). Everything else belongs to nobody and is counted.
#[derive(Debug)]
pub struct Demux<K> {
    ufrags: HashMap<String, (K, CheckKey)>,
    sessions: HashMap<K, Session>,
    addresses: HashMap<Far, K>,
    unknown: u64,
}

#[derive(Debug)]
struct Session {
    ufrag: String,
    /// Bound addresses, the one checked last at the end.
    addresses: Vec<Far>,
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

    /// A session goes on under another name, which is free.
    pub fn rename(&mut self, session: K, to: K) {
        let Some(entry) = self.sessions.remove(&session) else { return };
        if let Some((owner, _)) = self.ufrags.get_mut(&entry.ufrag) {
            *owner = to;
        }
        for address in &entry.addresses {
            self.addresses.insert(*address, to);
        }
        self.sessions.insert(to, entry);
    }

    /// Whose datagram this is, binding the source address if the datagram proves it.
    pub fn lookup(&mut self, source: impl Into<Far>, packet: &[u8]) -> Option<K> {
        let source = source.into();
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

    /// Whether the address is bound to a session.
    pub fn knows(&self, source: Far) -> bool {
        self.addresses.contains_key(&source)
    }

    /// Datagrams that belonged to nobody.
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// Sessions known.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Addresses bound to sessions.
    pub fn addresses(&self) -> usize {
        self.addresses.len()
    }

    /// Whether no session is known.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    fn lookup_stun(&mut self, source: Far, packet: &[u8]) -> Option<K> {
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

    fn bind(&mut self, source: Far, session: K) {
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use is::Sha1HmacProvider;
    use is::stun::{StunMessage, TransId};

    use super::*;
    use crate::Transport;

    fn check(ufrag: &str, password: &str) -> Vec<u8> {
        let username = format!("{ufrag}:theirs");
        let message = StunMessage::binding_request(&username, TransId::new(), true, 1, 100, true);
        let mut buf = vec![0; 1500];
        let hmac = |key: &[u8], parts: &[&[u8]]| is::DefaultSha1HmacProvider.sha1_hmac(key, parts);
        let len = message.to_bytes(Some(password.as_bytes()), &mut buf, hmac).unwrap();
        buf.truncate(len);
        buf
    }

    fn from(port: u16) -> SocketAddr {
        SocketAddr::from(([198, 51, 100, 7], port))
    }

    #[test]
    fn a_renamed_session_is_found_by_its_ufrag_and_its_addresses() {
        let mut demux = Demux::default();
        assert!(demux.insert_ufrag("one", "password-of-session-one", 1));
        assert_eq!(demux.lookup(from(1000), &check("one", "password-of-session-one")), Some(1));
        demux.rename(1, 9);
        assert_eq!(demux.lookup(from(1000), &[0x80]), Some(9));
        assert_eq!(demux.lookup(from(2000), &check("one", "password-of-session-one")), Some(9));
        demux.remove(9);
        assert_eq!(demux.lookup(from(1000), &[0x80]), None);
        assert!(demux.is_empty());
    }

    fn demux() -> Demux<u32> {
        let mut demux = Demux::default();
        assert!(demux.insert_ufrag("aaaa", "password-a", 1));
        assert!(demux.insert_ufrag("bbbb", "password-b", 2));
        demux
    }

    #[test]
    fn only_a_check_with_known_ufrag_and_its_password_binds_an_address() {
        let mut demux = demux();
        let media = [0x80; 40];
        assert_eq!(demux.lookup(from(1), &media), None, "no check came from there");
        assert_eq!(demux.lookup(from(1), &check("cccc", "password-a")), None);
        assert_eq!(demux.lookup(from(1), &check("aaaa", "password-b")), None);
        let mut damaged = check("aaaa", "password-a");
        damaged[30] ^= 1;
        assert_eq!(demux.lookup(from(1), &damaged), None);
        assert_eq!(demux.lookup(from(1), &media), None);
        assert_eq!(demux.unknown(), 5);
        assert_eq!(demux.lookup(from(1), &check("aaaa", "password-a")), Some(1));
        assert_eq!(demux.lookup(from(1), &media), Some(1));
        assert_eq!(demux.lookup(from(2), &media), None);
    }

    #[test]
    fn an_address_goes_to_the_session_that_proved_it_last() {
        // A browser may reuse a socket for its next call before the gateway has forgotten the last one.
        let mut demux = demux();
        demux.lookup(from(1), &check("aaaa", "password-a"));
        assert_eq!(demux.lookup(from(1), &check("bbbb", "password-b")), Some(2));
        assert_eq!(demux.lookup(from(1), &[0x80; 40]), Some(2));
        demux.remove(1);
        assert_eq!(demux.lookup(from(1), &[0x80; 40]), Some(2), "the address was not session 1's any more");
    }

    #[test]
    fn the_same_numbers_by_udp_and_tcp_are_two_addresses() {
        let mut demux = demux();
        let tcp = Far { transport: Transport::Tcp, address: from(1) };
        demux.lookup(from(1), &check("aaaa", "password-a"));
        assert!(demux.knows(from(1).into()) && !demux.knows(tcp));
        assert_eq!(demux.lookup(tcp, &check("bbbb", "password-b")), Some(2));
        assert_eq!(demux.lookup(from(1), &[0x80; 40]), Some(1));
        assert_eq!(demux.lookup(tcp, &[0x80; 40]), Some(2));
        demux.remove(2);
        assert!(!demux.knows(tcp));
    }

    #[test]
    fn an_ice_restart_keeps_the_address_and_retires_the_ufrag() {
        let mut demux = demux();
        demux.lookup(from(1), &check("aaaa", "password-a"));
        assert!(demux.insert_ufrag("anew", "password-c", 1));
        assert_eq!(demux.lookup(from(1), &[0x80; 40]), Some(1), "media goes on meanwhile");
        assert_eq!(demux.lookup(from(9), &check("aaaa", "password-a")), None);
        assert_eq!(demux.lookup(from(9), &check("anew", "password-c")), Some(1));
        assert_eq!(demux.len(), 2);
    }

    #[test]
    fn a_ufrag_of_another_session_is_refused() {
        let mut demux = demux();
        assert!(!demux.insert_ufrag("aaaa", "password-z", 2));
        assert_eq!(demux.lookup(from(1), &check("aaaa", "password-a")), Some(1));
        assert_eq!(demux.lookup(from(2), &check("bbbb", "password-b")), Some(2), "its own still works");
    }

    #[test]
    fn a_removed_session_leaves_nothing() {
        let mut demux = demux();
        demux.lookup(from(1), &check("aaaa", "password-a"));
        demux.remove(1);
        demux.remove(2);
        assert!(demux.is_empty() && demux.ufrags.is_empty() && demux.addresses.is_empty());
        assert_eq!(demux.lookup(from(1), &[0x80; 40]), None);
    }

    #[test]
    fn with_too_many_addresses_the_one_checked_longest_ago_goes() {
        let mut demux = demux();
        let bound = limits::PEER_ADDRESSES as u16;
        for port in 0..bound {
            demux.lookup(from(port), &check("aaaa", "password-a"));
        }
        demux.lookup(from(0), &check("aaaa", "password-a"));
        demux.lookup(from(bound), &check("aaaa", "password-a"));
        assert_eq!(demux.lookup(from(0), &[0x80; 40]), Some(1), "checked just before");
        assert_eq!(demux.lookup(from(1), &[0x80; 40]), None, "checked longest ago");
        assert_eq!(demux.addresses.len(), limits::PEER_ADDRESSES);
    }

    #[test]
    fn any_bytes_are_nobodys_without_a_panic() {
        let mut demux = demux();
        let good = check("aaaa", "password-a");
        for len in 0..good.len() {
            assert_eq!(demux.lookup(from(1), &good[..len]), None);
        }
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                if bad != good {
                    demux.lookup(from(3), &bad);
                }
            }
        }
        assert!(demux.unknown() > 100);
    }
}
