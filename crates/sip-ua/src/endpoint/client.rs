use std::time::{Duration, Instant};

use types::limits;

use crate::endpoint::reliable::Early;
use crate::endpoint::{Endpoint, Hop, OutRequest, Owner, Path, TxnId};
use crate::message::{Message, Method};
use crate::registration::Registration;
use crate::transaction::{GIVE_UP, InviteClient, OtherClient, Reaction, Wire};
use crate::{Event, Flow, PingId, ReferId, RegistrationId, SipLeg};

/// A request of ours that waits for its answer, or for repeated answers to die out.
#[derive(Debug)]
pub(super) struct ClientTxn {
    pub branch: String,
    machine: Machine,
    pub request: OutRequest,
    pub purpose: Purpose,
    /// How long the peer may say nothing.
    patience: Duration,
    /// The way of a request that goes over TCP for its size only.
    pub datagrams: Option<Path>,
    /// Challenges answered on the way to this request.
    pub challenges: u8,
    /// The ACKs to each 2xx of a forked INVITE, by To-tag.
    pub acks: Vec<(String, Wire, Path)>,
    /// What provisional responses to our INVITE were acknowledged.
    pub early: Early,
}

#[derive(Debug)]
enum Machine {
    Invite(InviteClient),
    Other(OtherClient),
}

/// What the answer is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    Invite(SipLeg),
    Reinvite(SipLeg),
    Bye(SipLeg),
    InDialog(SipLeg),
    /// About the peer's REFER.
    Notify(ReferId, SipLeg),
    Refer(SipLeg),
    /// The session timer's.
    Update(SipLeg),
    /// UPDATE with an offer of the application's, before the answer.
    Offer(SipLeg),
    /// Whatever its answer, the INVITE's final response decides.
    Prack(SipLeg),
    /// BYE to a fork that answered second.
    Fork(SipLeg),
    Register(RegistrationId),
    Ping(PingId),
    /// CANCEL: nobody waits for its answer.
    Nobody,
}

impl Purpose {
    /// The leg whose credentials answer challenges.
    pub fn leg(self) -> Option<SipLeg> {
        match self {
            Purpose::Invite(leg)
            | Purpose::Reinvite(leg)
            | Purpose::Bye(leg)
            | Purpose::InDialog(leg)
            | Purpose::Notify(_, leg)
            | Purpose::Refer(leg)
            | Purpose::Update(leg)
            | Purpose::Offer(leg)
            | Purpose::Prack(leg)
            | Purpose::Fork(leg) => Some(leg),
            Purpose::Register(_) | Purpose::Ping(_) | Purpose::Nobody => None,
        }
    }
}

impl ClientTxn {
    /// Starts over: the request has just been sent by another way.
    pub fn begin(&mut self, wire: Wire, now: Instant) {
        self.machine = Machine::begin(&self.request, wire, self.patience, now);
    }
}

impl Machine {
    /// For a request that has just been sent.
    fn begin(request: &OutRequest, wire: Wire, patience: Duration, now: Instant) -> Machine {
        let reliable = !request.path.target.transport().is_datagram();
        if request.method == Method::Invite {
            Machine::Invite(InviteClient::new(wire, reliable, now))
        } else {
            Machine::Other(OtherClient::new(wire, reliable, patience, now))
        }
    }

    fn is_terminated(&self) -> bool {
        match self {
            Machine::Invite(m) => m.is_terminated(),
            Machine::Other(m) => m.is_terminated(),
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        match self {
            Machine::Invite(m) => m.next_timeout(),
            Machine::Other(m) => m.next_timeout(),
        }
    }
}

fn index_key(branch: &str, method: &Method) -> String {
    format!("{branch} {method}")
}

impl Endpoint {
    /// A branch that nobody else uses (RFC 3261 §8.1.1.7).
    pub(super) fn new_branch(&mut self) -> String {
        format!("z9hG4bK{}", self.entropy.token(16))
    }

    /// Sends a request and starts its transaction.
    pub(super) fn send_request(&mut self, request: OutRequest, purpose: Purpose, now: Instant) -> TxnId {
        let branch = self.new_branch();
        self.send_with_branch(request, branch, purpose, 0, now)
    }

    pub(super) fn send_with_branch(
        &mut self,
        mut request: OutRequest,
        branch: String,
        purpose: Purpose,
        challenges: u8,
        now: Instant,
    ) -> TxnId {
        let id = self.next_txn();
        self.ask_for_timer(&mut request, purpose);
        self.authenticate(&mut request, purpose);
        let mut wire = request.write(&branch, &self.config.user_agent);
        let larger = self.larger_path(&request.path, wire.len(), now);
        let datagrams = larger.map(|path| std::mem::replace(&mut request.path, path));
        if datagrams.is_some() {
            wire = request.write(&branch, &self.config.user_agent);
        }
        self.transmit(&request.path, wire.clone());
        let patience = self.patience(purpose);
        let machine = Machine::begin(&request, wire, patience, now);
        self.client_index.insert(index_key(&branch, &request.method), id);
        self.client_hops.entry(Hop::of(&request.path.target)).or_default().insert(id);
        let (acks, early) = (Vec::new(), Early::default());
        let txn =
            ClientTxn { branch, machine, request, purpose, patience, datagrams, challenges, acks, early };
        self.clients.insert(id, Box::new(txn));
        self.settle_client(id);
        id
    }

    /// How long the peer may say nothing: where others can be asked, or nobody waits, not as long as timer F.
    fn patience(&self, purpose: Purpose) -> Duration {
        match purpose {
            Purpose::Register(id) => self.registrations.get(&id).map_or(GIVE_UP, Registration::patience),
            Purpose::Ping(_) => limits::TRUNK_SILENCE,
            Purpose::Invite(_)
            | Purpose::Reinvite(_)
            | Purpose::Bye(_)
            | Purpose::InDialog(_)
            | Purpose::Notify(..)
            | Purpose::Refer(_)
            | Purpose::Update(_)
            | Purpose::Offer(_)
            | Purpose::Prack(_)
            | Purpose::Fork(_)
            | Purpose::Nobody => GIVE_UP,
        }
    }

    /// Sends CANCEL for an INVITE of ours if its state allows; says whether.
    pub(super) fn send_cancel(&mut self, id: TxnId, reason: Option<&str>, now: Instant) -> bool {
        let Some(txn) = self.clients.get(&id) else { return false };
        let Machine::Invite(machine) = &txn.machine else { return false };
        if !machine.may_cancel() {
            return false;
        }
        let (cancel, branch) = (txn.request.cancel(reason), txn.branch.clone());
        self.send_with_branch(cancel, branch, Purpose::Nobody, 0, now);
        true
    }

    /// Forgets an INVITE whose final response nobody waits for any more.
    pub(super) fn abandon_invite(&mut self, id: TxnId) {
        if let Some(Machine::Invite(machine)) = self.clients.get_mut(&id).map(|t| &mut t.machine) {
            machine.abandon();
            self.settle_client(id);
        }
    }

    pub(super) fn on_response(&mut self, flow: Flow, response: &Message, now: Instant) {
        let (Some(via), Some(cseq), Some(status)) = (response.top_via(), response.cseq(), response.status())
        else {
            return;
        };
        let key = index_key(via.branch().unwrap_or_default(), &cseq.method);
        let Some(&id) = self.client_index.get(&key) else { return };
        let Some(txn) = self.clients.get_mut(&id) else { return };
        let reaction = match &mut txn.machine {
            Machine::Invite(machine) => {
                let (request, branch) = (&txn.request, &txn.branch);
                let to = response.header("To").unwrap_or_default();
                machine.on_response(status, || request.ack_failure(branch, to), now)
            }
            Machine::Other(machine) => machine.on_response(status, now),
        };
        match reaction {
            Reaction::Absorb | Reaction::TimedOut => {}
            Reaction::Send(wire) => self.send_again(id, wire),
            Reaction::Deliver => self.client_answered(id, &flow, response, now),
            Reaction::SendAndDeliver(wire) => {
                self.send_again(id, wire);
                self.client_answered(id, &flow, response, now);
            }
        }
        if status >= 200
            && let Some(txn) = self.clients.get_mut(&id)
        {
            // Half a minute of repetitions to come needs the dialog's part of the request only.
            txn.request.body = None;
            txn.request.headers = Vec::new();
        }
        self.settle_client(id);
    }

    fn send_again(&mut self, id: TxnId, wire: Wire) {
        if let Some(txn) = self.clients.get(&id) {
            let path = txn.request.path.clone();
            self.transmit(&path, wire);
        }
    }

    fn client_answered(&mut self, id: TxnId, flow: &Flow, response: &Message, now: Instant) {
        let Some(purpose) = self.clients.get(&id).map(|t| t.purpose) else { return };
        let status = response.status().unwrap_or_default();
        if let (Purpose::Invite(leg), 401 | 407) = (purpose, status) {
            self.invite_heard(leg, id);
        }
        if matches!(status, 401 | 407) && self.answer_challenge(id, response, now) {
            return;
        }
        if (200..300).contains(&status) {
            self.credentials_accepted(purpose);
        }
        if status == 422 && self.ask_for_longer(id, response, now) {
            return;
        }
        match purpose {
            Purpose::Invite(leg) => self.invite_answered(leg, id, flow, response, now),
            Purpose::Reinvite(leg) => self.reinvite_answered(leg, id, flow, response, now),
            Purpose::Bye(leg) if status >= 200 => self.bye_answered(leg),
            Purpose::InDialog(leg) if status >= 200 => self.in_dialog_answered(leg, status, now),
            Purpose::Notify(id, _) if status >= 200 => self.notify_answered(id, status, now),
            Purpose::Refer(leg) if status >= 200 => self.refer_answered(leg, Some(response)),
            Purpose::Update(leg) if status >= 200 => self.update_answered(leg, Some((response, flow)), now),
            Purpose::Offer(leg) if status >= 200 => self.offer_done(leg, id, Some((response, flow))),
            Purpose::Register(reg) if status >= 200 => self.register_answered(reg, id, Ok(response), now),
            Purpose::Ping(ping) if status >= 200 => self.tell(Event::Pong { ping, status: Some(status) }),
            Purpose::Bye(_)
            | Purpose::InDialog(_)
            | Purpose::Notify(..)
            | Purpose::Refer(_)
            | Purpose::Update(_)
            | Purpose::Offer(_)
            | Purpose::Prack(_)
            | Purpose::Fork(_)
            | Purpose::Register(_)
            | Purpose::Ping(_)
            | Purpose::Nobody => {}
        }
        if let Purpose::Invite(leg) | Purpose::Reinvite(leg) | Purpose::Update(leg) = purpose
            && (200..300).contains(&status)
        {
            self.timer_of_answer(leg, id, response, now);
        }
    }

    /// `why`: what the transport said; none: there was silence.
    fn client_failed(&mut self, id: TxnId, why: Option<&str>, now: Instant) {
        let Some(purpose) = self.clients.get(&id).map(|t| t.purpose) else { return };
        match purpose {
            Purpose::Invite(leg) => self.invite_failed(leg, id, why, now),
            Purpose::Reinvite(leg) => self.reinvite_failed(leg, now),
            Purpose::Bye(leg) => self.bye_answered(leg),
            Purpose::InDialog(leg) => self.in_dialog_answered(leg, 408, now),
            Purpose::Notify(id, _) => self.notify_answered(id, 408, now),
            Purpose::Refer(leg) => self.refer_answered(leg, None),
            Purpose::Update(leg) => self.update_answered(leg, None, now),
            Purpose::Offer(leg) => self.offer_done(leg, id, None),
            Purpose::Register(reg) => {
                self.register_answered(reg, id, Err(why.unwrap_or("no answer")), now);
            }
            Purpose::Ping(ping) => self.tell(Event::Pong { ping, status: None }),
            Purpose::Prack(_) | Purpose::Fork(_) | Purpose::Nobody => {}
        }
    }

    pub(super) fn client_timeout(&mut self, id: TxnId, now: Instant) {
        let Some(txn) = self.clients.get_mut(&id) else { return };
        let reaction = match &mut txn.machine {
            Machine::Invite(machine) => machine.on_timeout(now),
            Machine::Other(machine) => machine.on_timeout(now),
        };
        self.client_react(id, reaction, None, now);
    }

    pub(super) fn client_transport_error(&mut self, id: TxnId, why: &str, now: Instant) {
        let Some(txn) = self.clients.get_mut(&id) else { return };
        let datagrams = txn.request.path.target.transport().is_datagram();
        let reaction = match &mut txn.machine {
            // The peer has the INVITE: what could not be delivered was something else.
            Machine::Invite(machine) if machine.may_cancel() && datagrams => return,
            Machine::Invite(machine) => machine.on_transport_error(),
            Machine::Other(machine) => machine.on_transport_error(),
        };
        self.client_react(id, reaction, Some(why), now);
    }

    fn client_react(&mut self, id: TxnId, reaction: Reaction, why: Option<&str>, now: Instant) {
        match reaction {
            Reaction::Send(wire) => self.send_again(id, wire),
            Reaction::TimedOut => self.client_failed(id, why, now),
            Reaction::Absorb | Reaction::Deliver | Reaction::SendAndDeliver(_) => {}
        }
        self.settle_client(id);
    }

    /// After every input to a client transaction: forget it, or note when it wants to be woken.
    pub(super) fn settle_client(&mut self, id: TxnId) {
        let Some(txn) = self.clients.get(&id) else { return };
        if !txn.machine.is_terminated() {
            self.schedule.set(Owner::Client(id), txn.machine.next_timeout());
            return;
        }
        self.schedule.set(Owner::Client(id), None);
        let Some(txn) = self.clients.remove(&id) else { return };
        self.client_index.remove(&index_key(&txn.branch, &txn.request.method));
        self.forget_hop(Hop::of(&txn.request.path.target), id);
    }
}
