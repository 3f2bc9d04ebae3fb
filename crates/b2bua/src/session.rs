//! Browsers' connections: who is signed in, and which calls they know by which name.

use std::collections::BTreeMap;
use std::net::IpAddr;

use types::{CallId, LegId, SessionId, UserName};

#[derive(Debug)]
pub(crate) struct Session {
    pub source: IpAddr,
    /// None until signed in.
    pub user: Option<UserName>,
    /// A sign-in waits for its turn.
    pub checking: bool,
    /// Names of calls on this connection.
    pub calls: BTreeMap<String, (CallId, LegId)>,
}

#[derive(Debug, Default)]
pub(crate) struct Sessions {
    all: BTreeMap<SessionId, Session>,
    by_user: BTreeMap<UserName, Vec<SessionId>>,
}

impl Sessions {
    pub fn open(&mut self, id: SessionId, source: IpAddr) {
        self.close(id);
        let session = Session { source, user: None, checking: false, calls: BTreeMap::new() };
        self.all.insert(id, session);
    }

    /// The session is gone; gives its calls.
    pub fn close(&mut self, id: SessionId) -> Vec<(CallId, LegId)> {
        let Some(session) = self.all.remove(&id) else { return Vec::new() };
        if let Some(user) = &session.user
            && let Some(list) = self.by_user.get_mut(user)
        {
            list.retain(|s| *s != id);
            if list.is_empty() {
                self.by_user.remove(user);
            }
        }
        session.calls.into_values().collect()
    }

    pub fn get(&self, id: SessionId) -> Option<&Session> {
        self.all.get(&id)
    }

    pub fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.all.get_mut(&id)
    }

    pub fn sign_in(&mut self, id: SessionId, user: UserName) {
        if let Some(session) = self.all.get_mut(&id)
            && session.user.is_none()
        {
            session.user = Some(user.clone());
            self.by_user.entry(user).or_default().push(id);
        }
    }

    /// The browsers where a user is signed in.
    pub fn of_user(&self, user: &UserName) -> &[SessionId] {
        self.by_user.get(user).map_or(&[], Vec::as_slice)
    }

    /// From now on the browser knows this leg by this name.
    pub fn remember_call(&mut self, id: SessionId, name: &str, leg: (CallId, LegId)) {
        if let Some(session) = self.all.get_mut(&id) {
            session.calls.insert(name.to_owned(), leg);
        }
    }

    pub fn forget_call(&mut self, id: SessionId, name: &str) {
        if let Some(session) = self.all.get_mut(&id) {
            session.calls.remove(name);
        }
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn ids(&self) -> impl Iterator<Item = SessionId> {
        self.all.keys().copied()
    }

    /// Names of calls known to browsers, all together.
    pub fn calls(&self) -> usize {
        self.all.values().map(|s| s.calls.len()).sum()
    }
}
