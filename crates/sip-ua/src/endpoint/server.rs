use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use types::{Wall, limits};

use crate::endpoint::{ALLOW, Endpoint, Owner, Path, SUPPORTED, TxnId};
use crate::message::{Message, MessageWriter, Method, Verdict, validate_request};
use crate::transaction::{InviteServer, OtherServer, Reaction, Wire};
use crate::{Body, Event, Flow, RequestToken, SipLeg, Target, Transport};

/// A request that came, while it or its repetitions may still matter.
#[derive(Debug)]
pub(super) struct ServerTxn {
    machine: Machine,
    /// None once a final response was given: what comes again is answered or absorbed without it.
    pub request: Option<Arc<Message>>,
    pub flow: Flow,
    /// The port of the sender to answer to.
    reply_port: u16,
    pub to_tag: String,
    index: Arc<str>,
    merge: Option<Arc<str>>,
    /// Whom a CANCEL concerns.
    pub leg: Option<SipLeg>,
}

#[derive(Debug)]
enum Machine {
    Invite(InviteServer),
    Other(OtherServer),
}

impl Machine {
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

impl ServerTxn {
    fn reply_path(&self) -> Path {
        let mut flow = self.flow;
        flow.remote.set_port(self.reply_port);
        Path { target: Target::Flow(flow), local: Some(flow.local), sent_by: String::new(), keep: false }
    }
}

/// A response in the making.
pub(super) struct Reply<'a> {
    pub status: u16,
    /// Empty for the standard phrase.
    pub reason: &'a str,
    pub headers: Vec<(&'a str, &'a str)>,
    pub body: Option<&'a Body>,
}

impl<'a> Reply<'a> {
    pub fn new(status: u16) -> Reply<'a> {
        Reply { status, reason: "", headers: Vec::new(), body: None }
    }

    pub fn with(mut self, name: &'a str, value: &'a str) -> Reply<'a> {
        self.headers.push((name, value));
        self
    }
}

/// RFC 3261 §17.2.3. An ACK matches its INVITE's transaction. Without the branch of RFC 3261 the parts of the request
/// stand for it; the To-tag must not count, since the ACK has the one of our response.
pub(super) fn match_key(request: &Message, method: &Method) -> Option<Arc<str>> {
    let via = request.top_via()?;
    let method = if matches!(method, Method::Ack) { &Method::Invite } else { method };
    if let Some(branch) = via.branch().filter(|_| via.has_rfc3261_branch()) {
        let mut key = String::with_capacity(branch.len() + via.host.len() + 20);
        key.push_str(via.host);
        key.make_ascii_lowercase();
        // Writing to a string cannot fail.
        let _ = write!(key, ":{}|{branch}|{method}", via.port.unwrap_or_default());
        return Some(key.into());
    }
    let from = request.from()?.tag().unwrap_or_default();
    let seq = request.cseq()?.seq;
    let top = request.list("Via").next()?;
    let uri = request.request_uri()?;
    Some(format!("{}|{from}|{}|{seq}|{top}|{method}", uri.as_str(), request.call_id()?).into())
}

fn merge_key(request: &Message) -> Option<Arc<str>> {
    if request.to()?.tag().is_some() {
        return None;
    }
    let from = request.from()?.tag().unwrap_or_default();
    let cseq = request.cseq()?;
    Some(format!("{from}|{}|{}|{}", request.call_id()?, cseq.seq, cseq.method).into())
}

/// The port that responses go to (RFC 3261 §18.2.2, RFC 3581 §4).
fn reply_port(request: &Message, flow: &Flow) -> u16 {
    match (flow.transport, request.top_via()) {
        (Transport::Udp, Some(via)) if via.rport().is_none() => via.port.unwrap_or(5060),
        (Transport::Udp | Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss, _) => {
            flow.remote.port()
        }
    }
}

/// The top Via with what we saw: `received` where it differs or rport is asked for, and the port (RFC 3581 §4). None: it
/// stays as it is.
fn stamped_via(request: &Message, flow: &Flow) -> Option<String> {
    let via = request.top_via()?;
    let source = flow.remote.ip();
    let same = via.host.trim_matches(['[', ']']).parse() == Ok(source);
    let rport = via.rport().is_some();
    if same && !rport {
        return None;
    }
    let mut out = String::with_capacity(160);
    // Writing to a string cannot fail.
    let _ = write!(out, "SIP/2.0/{} {}", via.transport, via.sent_by());
    for (name, value) in via.params.iter() {
        let ours = ["received", "rport"].iter().any(|n| name.eq_ignore_ascii_case(n));
        if !ours {
            out.push(';');
            out.push_str(name);
            if let Some(value) = value {
                out.push('=');
                out.push_str(value);
            }
        }
    }
    let _ = write!(out, ";received={source}");
    if rport {
        let _ = write!(out, ";rport={}", flow.remote.port());
    }
    Some(out)
}

/// RFC 3261 §20.17: `Sat, 13 Nov 2010 23:29:00 GMT`.
fn sip_date(wall: Wall) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = wall.rfc3339();
    let day = DAYS[(wall.seconds() / 86_400 % 7) as usize];
    let month = text[5..7].parse::<usize>().map_or("Jan", |m| MONTHS[(m - 1) % 12]);
    format!("{day}, {} {month} {} {} GMT", &text[8..10], &text[..4], &text[11..19])
}

impl Endpoint {
    pub(super) fn on_request(&mut self, flow: Flow, request: Message, now: Instant) {
        let Some(method) = request.method().cloned() else { return };
        if let Err(verdict) = validate_request(&request, SUPPORTED) {
            self.refuse(&flow, &request, &verdict);
            return;
        }
        let Some(key) = match_key(&request, &method) else { return };
        if let Some(&id) = self.server_index.get(&key) {
            self.repeated(id, &method, &request, &flow, now);
            return;
        }
        let request = Arc::new(request);
        if matches!(method, Method::Ack) {
            self.on_ack(&request, &flow, now);
            return;
        }
        if self.transactions() >= limits::SIP_TRANSACTIONS {
            self.overloaded(&flow, &request);
            return;
        }
        let merge = merge_key(&request);
        if merge.as_ref().is_some_and(|k| self.merge_index.contains_key(k)) {
            self.refuse(
                &flow,
                &request,
                &Verdict::new(482, "Merged Request: It Came Twice By Different Ways"),
            );
            return;
        }
        let id = self.open_server(flow, request.clone(), key, merge, now);
        if self.too_brief(id, &request, now) {
            return;
        }
        match &method {
            Method::Cancel => self.on_cancel(id, &request, now),
            Method::Register => {
                self.tell(Event::Register { token: RequestToken(id.0), request, flow });
            }
            _ if request.to().is_some_and(|to| to.tag().is_some()) => {
                self.in_dialog(id, &method, &request, &flow, now);
            }
            Method::Invite => self.on_invite(id, request, flow, now),
            Method::Options => self.reply_options(id, now),
            Method::Bye | Method::Info | Method::Prack | Method::Update | Method::Notify => {
                self.reply(id, Reply::new(481), now)
            }
            // Nobody outside a call may make us call (RFC 3515 §5.2).
            Method::Refer => {
                self.reply(id, Reply { reason: "REFER Only Inside A Call", ..Reply::new(403) }, now)
            }
            Method::Subscribe => self.bad_event(id, now),
            Method::Ack | Method::Message | Method::Publish | Method::Other(_) => {
                self.refuse_method(id, &method, now);
            }
        }
    }

    fn repeated(&mut self, id: TxnId, method: &Method, request: &Message, flow: &Flow, now: Instant) {
        let Some(txn) = self.servers.get_mut(&id) else { return };
        let ack = matches!(method, Method::Ack);
        let reaction = match &mut txn.machine {
            Machine::Invite(machine) if ack => machine.on_ack(now),
            Machine::Invite(machine) => machine.on_request(),
            Machine::Other(machine) => machine.on_request(),
        };
        match reaction {
            Reaction::Send(wire) => {
                let path = txn.reply_path();
                self.transmit(&path, wire);
            }
            Reaction::Deliver => self.on_ack(request, flow, now),
            Reaction::Absorb | Reaction::SendAndDeliver(_) | Reaction::TimedOut => {}
        }
        self.settle_server(id);
    }

    fn open_server(
        &mut self,
        flow: Flow,
        request: Arc<Message>,
        index: Arc<str>,
        merge: Option<Arc<str>>,
        now: Instant,
    ) -> TxnId {
        let id = self.next_txn();
        let reliable = !flow.transport.is_datagram();
        let to_tag = self.entropy.token(12);
        let machine = if request.method() == Some(&Method::Invite) {
            // At once, since the application may take longer than 200 ms (RFC 3261 §17.2.1).
            let trying: Wire = self.render(&request, &flow, None, &Reply::new(100)).into();
            self.answer_to(&request, &flow, trying.clone());
            Machine::Invite(InviteServer::new(trying, reliable))
        } else {
            Machine::Other(OtherServer::new(reliable, now))
        };
        self.server_index.insert(index.clone(), id);
        if let Some(merge) = &merge {
            self.merge_index.insert(merge.clone(), id);
        }
        let reply_port = reply_port(&request, &flow);
        let request = Some(request);
        let txn = ServerTxn { machine, request, flow, reply_port, to_tag, index, merge, leg: None };
        self.servers.insert(id, Box::new(txn));
        self.settle_server(id);
        id
    }

    pub(super) fn render(
        &self,
        request: &Message,
        flow: &Flow,
        to_tag: Option<&str>,
        reply: &Reply<'_>,
    ) -> Vec<u8> {
        let via = stamped_via(request, flow);
        let line = (reply.status, reply.reason);
        let mut out = MessageWriter::response_via(request, via.as_deref(), line, to_tag);
        for (name, value) in &reply.headers {
            out.push(name, value);
        }
        if reply.status > 100 {
            out.push("Server", &self.config.user_agent);
        }
        out.finish_with(reply.body)
    }

    /// Answers through the transaction. Nothing happens once a final response was sent.
    pub(super) fn reply(&mut self, id: TxnId, reply: Reply<'_>, now: Instant) {
        let _ = self.reply_with_wire(id, reply, now);
    }

    /// The same; returns what was sent and the way, for 2xx that the user agent repeats itself.
    pub(super) fn reply_with_wire(
        &mut self,
        id: TxnId,
        reply: Reply<'_>,
        now: Instant,
    ) -> Option<(Wire, Path)> {
        let timer = self.timer_of_reply(id, &reply, now);
        let mut reply: Reply<'_> = reply;
        reply.headers.extend(timer.iter().map(|(n, v)| (*n, v.as_str())));
        let txn = self.servers.get(&id)?;
        let wire = self.render(txn.request.as_ref()?, &txn.flow, Some(&txn.to_tag), &reply).into();
        let txn = self.servers.get_mut(&id)?;
        let reaction = match &mut txn.machine {
            Machine::Invite(machine) => machine.respond(reply.status, wire, now),
            Machine::Other(machine) => machine.respond(wire, now),
        };
        // A challenged request comes again; careless clients keep its CSeq, and that is no merged request.
        if matches!(reply.status, 401 | 407)
            && let Some(merge) = txn.merge.take()
        {
            self.merge_index.remove(&merge);
        }
        if reply.status >= 200 {
            txn.request = None;
        }
        let path = txn.reply_path();
        self.settle_server(id);
        match reaction {
            Reaction::Send(wire) => {
                self.transmit(&path, wire.clone());
                Some((wire, path))
            }
            Reaction::Absorb | Reaction::Deliver | Reaction::SendAndDeliver(_) | Reaction::TimedOut => None,
        }
    }

    pub(super) fn respond_to(
        &mut self,
        token: RequestToken,
        (status, reason): (u16, &str),
        headers: crate::Headers,
        now: Instant,
        wall: Wall,
    ) {
        let date = sip_date(wall);
        let mut headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        // A phone without a clock learns the time from its registrar (RFC 3261 §10.3 step 8).
        if (200..300).contains(&status) {
            headers.push(("Date", &date));
        }
        self.reply(TxnId(token.0), Reply { status, reason, headers, body: None }, now);
    }

    /// A method that we know and do not do is 405, one that nobody here has heard of 501 (RFC 3261 §21.4.6, §21.5.2).
    pub(super) fn refuse_method(&mut self, id: TxnId, method: &Method, now: Instant) {
        let status = if matches!(method, Method::Other(_)) { 501 } else { 405 };
        self.reply(id, Reply::new(status).with("Allow", ALLOW), now);
    }

    pub(super) fn reply_options(&mut self, id: TxnId, now: Instant) {
        let supported = SUPPORTED.join(", ");
        let reply = Reply::new(200)
            .with("Allow", ALLOW)
            .with("Accept", "application/sdp")
            .with("Accept-Encoding", "identity")
            .with("Accept-Language", "en")
            .with("Supported", &supported);
        self.reply(id, reply, now);
    }

    /// CANCEL: 200 if there is something to cancel, and 487 to that (RFC 3261 §9.2).
    fn on_cancel(&mut self, id: TxnId, cancel: &Message, now: Instant) {
        let invite = match_key(cancel, &Method::Invite).and_then(|k| self.server_index.get(&k).copied());
        let Some((invite_id, invite)) = invite.and_then(|i| Some((i, self.servers.get(&i)?))) else {
            self.reply(id, Reply::new(481), now);
            return;
        };
        // Both answers carry the same To-tag.
        let (tag, leg) = (invite.to_tag.clone(), invite.leg);
        if let Some(txn) = self.servers.get_mut(&id) {
            txn.to_tag = tag;
        }
        self.reply(id, Reply::new(200), now);
        if let Some(leg) = leg {
            let reason = cancel.reason_values();
            self.cancelled(leg, invite_id, reason, now);
        }
    }

    pub(super) fn answer_to(&mut self, request: &Message, flow: &Flow, wire: Wire) {
        let mut flow = *flow;
        flow.remote.set_port(reply_port(request, &flow));
        let target = Target::Flow(flow);
        self.transmit(&Path { target, local: Some(flow.local), sent_by: String::new(), keep: false }, wire);
    }

    pub(super) fn server_timeout(&mut self, id: TxnId, now: Instant) {
        let Some(txn) = self.servers.get_mut(&id) else { return };
        let reaction = match &mut txn.machine {
            Machine::Invite(machine) => machine.on_timeout(now),
            Machine::Other(machine) => machine.on_timeout(now),
        };
        if let Reaction::Send(wire) = reaction {
            let path = txn.reply_path();
            self.transmit(&path, wire);
        }
        self.settle_server(id);
    }

    fn settle_server(&mut self, id: TxnId) {
        let Some(txn) = self.servers.get(&id) else { return };
        if !txn.machine.is_terminated() {
            self.schedule.set(Owner::Server(id), txn.machine.next_timeout());
            return;
        }
        self.schedule.set(Owner::Server(id), None);
        if let Some(txn) = self.servers.remove(&id) {
            self.server_index.remove(&txn.index);
            if let Some(merge) = txn.merge {
                self.merge_index.remove(&merge);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_that_of_rfc_3261_section_20_17() {
        assert_eq!(sip_date(Wall(1_289_690_940_000_000)), "Sat, 13 Nov 2010 23:29:00 GMT");
    }
}
