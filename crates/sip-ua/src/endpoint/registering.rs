use std::time::Instant;

use crate::endpoint::client::Purpose;
use crate::endpoint::{Endpoint, Output, Owner, Path, TxnId};
use crate::keep_alive::Act;
use crate::message::{Message, Method};
use crate::registration::{Next, Registration};
use crate::{Event, Flow, PingId, Register, RegistrationId, RegistrationState, Target};

impl Endpoint {
    /// Registrations that are kept alive.
    pub fn registrations(&self) -> usize {
        self.registrations.len()
    }

    pub(super) fn start_registration(&mut self, id: RegistrationId, config: Register, now: Instant) {
        let path = Path::to(config.target, &self.config.listeners);
        let registration = Registration::new(config, path, self.entropy.as_mut());
        self.registrations.insert(id, registration);
        self.send_register(id, false, now);
    }

    pub(super) fn unregister(&mut self, id: RegistrationId, now: Instant) {
        if !self.registrations.get(&id).is_some_and(Registration::has_failed) {
            return self.send_register(id, true, now);
        }
        self.registrations.remove(&id);
        self.tell_registration(id, Some(RegistrationState::Unregistered));
        self.settle_registration(id);
    }

    fn send_register(&mut self, id: RegistrationId, removing: bool, now: Instant) {
        let Some(registration) = self.registrations.get_mut(&id) else { return };
        let expires = if removing { 0 } else { registration.wanted() };
        let request = registration.request(expires);
        let txn = self.send_request(request, Purpose::Register(id), now);
        let Some(registration) = self.registrations.get_mut(&id) else { return };
        let news = registration.sent(txn, removing);
        self.tell_registration(id, news);
        self.settle_registration(id);
    }

    pub(super) fn register_answered(
        &mut self,
        id: RegistrationId,
        txn: TxnId,
        response: Result<&Message, &str>,
        now: Instant,
    ) {
        let Some(registration) = self.registrations.get_mut(&id) else { return };
        match registration.answered(txn, response, self.entropy.as_mut(), now) {
            Next::Tell(news) => self.tell_registration(id, news),
            Next::Again => self.send_register(id, false, now),
            Next::Forget => {
                self.registrations.remove(&id);
                self.tell_registration(id, Some(RegistrationState::Unregistered));
            }
        }
        self.settle_registration(id);
    }

    pub(super) fn registration_timeout(&mut self, id: RegistrationId, now: Instant) {
        self.send_register(id, false, now);
    }

    /// A closed connection takes the bindings made over it along.
    pub(super) fn registrations_lost(&mut self, flow: &Flow, now: Instant) {
        let over = |r: &Registration| {
            let target = r.path.target;
            !target.transport().is_datagram() && target.remote() == flow.remote
        };
        let mut lost: Vec<_> =
            self.registrations.iter().filter(|(_, r)| over(r)).map(|(id, _)| *id).collect();
        // The same order in every run of a simulation.
        lost.sort_by_key(|id| id.0);
        for id in lost {
            if let Some(registration) = self.registrations.get_mut(&id) {
                registration.flow_lost(now);
            }
            self.settle_registration(id);
        }
    }

    /// A line end or a datagram of STUN: it may answer what keeps the way to a registrar open.
    pub fn handle_keep_alive(&mut self, flow: Flow, bytes: &[u8], now: Instant) {
        let over = |r: &Registration| {
            let target = r.path.target;
            target.transport() == flow.transport && target.remote() == flow.remote
        };
        let mut ids: Vec<_> = self.registrations.iter().filter(|(_, r)| over(r)).map(|(id, _)| *id).collect();
        ids.sort_by_key(|id| id.0);
        for id in ids {
            let Some(registration) = self.registrations.get_mut(&id) else { continue };
            let act = registration.keep_alive_answered(bytes, self.entropy.as_mut(), now);
            self.keep_open(id, act, now);
        }
    }

    pub(super) fn keep_alive_timeout(&mut self, id: RegistrationId, now: Instant) {
        let Some(registration) = self.registrations.get_mut(&id) else { return };
        let act = registration.keep_alive_due(self.entropy.as_mut(), now);
        self.keep_open(id, act, now);
    }

    fn keep_open(&mut self, id: RegistrationId, act: Act, now: Instant) {
        let Some(registration) = self.registrations.get_mut(&id) else { return };
        let path = registration.path.clone();
        match act {
            Act::Nothing => {}
            Act::Send(bytes) => self.transmit(&path, bytes),
            Act::Lost if path.target.transport().is_datagram() => registration.flow_lost(now),
            // Once it is closed the registration is renewed over a new one.
            Act::Lost => self.outputs.push_back(Output::Close { target: path.target }),
        }
        self.settle_registration(id);
    }

    fn tell_registration(&mut self, id: RegistrationId, news: Option<RegistrationState>) {
        if let Some(state) = news {
            self.tell(Event::Registration { id, state });
        }
    }

    fn settle_registration(&mut self, id: RegistrationId) {
        let at = self.registrations.get(&id).and_then(Registration::next_timeout);
        self.schedule.set(Owner::Registration(id.0), at);
        let at = self.registrations.get(&id).and_then(Registration::keep_alive_timeout);
        self.schedule.set(Owner::KeepAlive(id.0), at);
    }

    /// OPTIONS outside dialogs: is the peer there (RFC 3261 §11).
    pub(super) fn send_ping(&mut self, ping: PingId, target: Target, uri: String, now: Instant) {
        let path = Path::to(target, &self.config.listeners);
        let tag = self.entropy.token(12);
        let request = crate::endpoint::OutRequest {
            method: Method::Options,
            from: format!("<sip:{}>;tag={tag}", path.sent_by),
            to: format!("<{uri}>"),
            uri,
            contact: Some(path.contact("")),
            path,
            routes: Vec::new(),
            call_id: self.entropy.token(24),
            cseq: 1,
            headers: vec![("Accept", "application/sdp".to_owned())],
            body: None,
            auth: Vec::new(),
        };
        self.send_request(request, Purpose::Ping(ping), now);
    }
}
