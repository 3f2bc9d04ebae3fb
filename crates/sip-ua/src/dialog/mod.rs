//! What RFC 3261 §12 makes a dialog of: identity, route set, remote target, sequence numbers, and the next hop.

use std::net::{IpAddr, SocketAddr};

use crate::endpoint::OutRequest;
use crate::endpoint::Path;
use crate::message::{Message, Method, Uri};
use crate::{Body, Flow, Headers, Target, Transport};

/// One dialog, early or confirmed.
#[derive(Clone, Debug)]
pub(crate) struct Dialog {
    pub call_id: String,
    pub local_tag: String,
    pub remote_tag: String,
    /// Our From or To value with our tag.
    local: String,
    /// Theirs with their tag.
    remote: String,
    remote_target: String,
    routes: Vec<String>,
    local_seq: u32,
    remote_seq: Option<u32>,
    pub path: Path,
    /// Our Contact value.
    pub contact: String,
    /// The peer is reached by the way it came, whatever its Contact says.
    nat: bool,
    /// We made the Call-ID.
    pub caller: bool,
}

impl Dialog {
    /// The dialog that a response with a To-tag makes at the caller (RFC 3261 §12.1.2).
    pub fn by_response(invite: &OutRequest, response: &Message, flow: &Flow) -> Dialog {
        let to = response.header("To").unwrap_or_default();
        let mut routes: Vec<String> = response.list("Record-Route").map(str::to_owned).collect();
        routes.reverse();
        let contact = response.contact_uri();
        // A registered contact behind NAT: only the flow leads there.
        let flow_only = matches!(invite.path.target, Target::Flow(_)) && routes.is_empty();
        let mut dialog = Dialog {
            call_id: invite.call_id.clone(),
            local_tag: response.from().and_then(|f| f.tag()).unwrap_or_default().to_owned(),
            remote_tag: response.to().and_then(|t| t.tag()).unwrap_or_default().to_owned(),
            local: invite.from.clone(),
            remote: to.to_owned(),
            remote_target: contact.map_or_else(|| invite.uri.clone(), |c| c.as_str().to_owned()),
            routes,
            local_seq: invite.cseq,
            remote_seq: None,
            path: invite.path.clone(),
            contact: invite.contact.clone().unwrap_or_default(),
            nat: flow_only,
            caller: true,
        };
        dialog.aim(flow);
        dialog
    }

    /// The dialog that an INVITE makes at the callee (RFC 3261 §12.1.1).
    pub fn by_request(request: &Message, flow: &Flow, local_tag: &str, path: Path) -> Dialog {
        let routes: Vec<String> = request.list("Record-Route").map(str::to_owned).collect();
        let target = request.contact_uri().or_else(|| request.from()?.uri().ok());
        let user = request.request_uri().and_then(|u| u.user().map(str::to_owned)).unwrap_or_default();
        let mut dialog = Dialog {
            call_id: request.call_id().unwrap_or_default().to_owned(),
            local_tag: local_tag.to_owned(),
            remote_tag: request.from().and_then(|f| f.tag()).unwrap_or_default().to_owned(),
            local: format!("{};tag={local_tag}", request.header("To").unwrap_or_default()),
            remote: request.header("From").unwrap_or_default().to_owned(),
            remote_target: target.map(|uri| uri.as_str().to_owned()).unwrap_or_default(),
            nat: routes.is_empty() && behind_nat(request, flow),
            caller: false,
            routes,
            local_seq: 0,
            remote_seq: request.cseq().map(|c| c.seq),
            contact: path.contact(&user),
            path,
        };
        dialog.aim(flow);
        dialog
    }

    /// A request inside the dialog (RFC 3261 §12.2.1.1). ACK keeps the number given, others take the next.
    pub fn request(&mut self, method: Method, headers: Headers, body: Option<Body>) -> OutRequest {
        let cseq = self.next_seq();
        let contact =
            matches!(method, Method::Invite | Method::Refer | Method::Notify).then(|| self.contact.clone());
        let (uri, routes) = self.uri_and_routes();
        OutRequest {
            method,
            uri,
            path: self.path.clone(),
            routes,
            from: self.local.clone(),
            to: self.remote.clone(),
            call_id: self.call_id.clone(),
            cseq,
            contact,
            headers,
            body,
            auth: Vec::new(),
        }
    }

    /// ACK to a 2xx: the INVITE's number and credentials (RFC 3261 §13.2.2.4).
    pub fn ack(&self, cseq: u32, auth: &Headers) -> OutRequest {
        let mut next = self.clone();
        next.local_seq = cseq.saturating_sub(1);
        OutRequest { auth: auth.clone(), ..next.request(Method::Ack, Vec::new(), None) }
    }

    /// The number of our next request.
    pub fn next_seq(&mut self) -> u32 {
        self.local_seq += 1;
        self.local_seq
    }

    /// Early requests have used the numbers up to this one.
    pub fn advance_seq(&mut self, seq: u32) {
        self.local_seq = self.local_seq.max(seq);
    }

    /// Whether a request of the peer is in order; its number is remembered if so (RFC 3261 §12.2.2).
    pub fn accept_seq(&mut self, seq: u32) -> bool {
        let in_order = self.remote_seq.is_none_or(|last| seq > last);
        if in_order {
            self.remote_seq = Some(seq);
        }
        in_order
    }

    /// Target refresh by INVITE or its 2xx (RFC 3261 §12.2): the route set stays.
    pub fn refresh_target(&mut self, message: &Message, flow: &Flow) {
        if let Some(contact) = message.contact_uri() {
            self.remote_target = contact.as_str().to_owned();
            self.aim(flow);
        }
    }

    /// A stream that we opened ourselves can be opened again when the peer has closed it while the call was idle.
    fn reopened(&self, flow: &Flow) -> Option<Target> {
        let ours = self.path.target;
        let same = ours.transport() == flow.transport && ours.remote() == flow.remote;
        let named = !matches!(ours, Target::Flow(_));
        (named && same && !flow.transport.is_datagram()).then_some(ours)
    }

    fn uri_and_routes(&self) -> (String, Vec<String>) {
        let Some(first) = self.routes.first() else {
            return (self.remote_target.clone(), Vec::new());
        };
        let Some(uri) = route_uri(first).filter(|uri| !uri.is_loose_route()) else {
            return (self.remote_target.clone(), self.routes.clone());
        };
        // A strict router wants its own address in the Request-URI and ours at the end.
        let mut routes = self.routes[1..].to_vec();
        routes.push(format!("<{}>", self.remote_target));
        (uri.as_str().to_owned(), routes)
    }

    /// Chooses the next hop: the first route or the remote target where that is an address we can reach,
    /// else the way that the last message came (names are not resolved here; NAT hides addresses).
    fn aim(&mut self, flow: &Flow) {
        let by_flow = self.reopened(flow).unwrap_or(Target::Flow(*flow));
        let first = match self.routes.first() {
            Some(route) => route_uri(route),
            None => Uri::parse(&self.remote_target).ok(),
        };
        let addr = first.as_ref().and_then(Uri::socket_addr);
        let target = match (flow.transport, addr) {
            (Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss, _) | (_, None) => by_flow,
            (Transport::Udp, Some(addr)) if self.nat || unreachable(addr, flow.remote) => by_flow,
            (Transport::Udp, Some(addr)) if addr == flow.remote => by_flow,
            (Transport::Udp, Some(remote)) => {
                let tcp = first.and_then(|u| u.transport().map(|t| t.eq_ignore_ascii_case("tcp")));
                let transport = if tcp == Some(true) { Transport::Tcp } else { Transport::Udp };
                Target::Address { transport, remote, local: Some(flow.local.ip()) }
            }
        };
        self.path = self.path.retarget(target);
    }
}

fn route_uri(route: &str) -> Option<Uri> {
    crate::message::NameAddr::parse(route).ok()?.uri().ok()
}

/// The sender names another address than its messages come from.
fn behind_nat(request: &Message, flow: &Flow) -> bool {
    let claimed = request.top_via().and_then(|v| v.host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
    claimed.is_some_and(|ip| ip != flow.remote.ip())
}

/// A private, unspecified or loopback address named by a peer that is not there itself.
fn unreachable(named: SocketAddr, source: SocketAddr) -> bool {
    let inner = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    };
    let (a, b) = (named.ip(), source.ip());
    named.port() == 0 || a.is_unspecified() || a.is_ipv4() != b.is_ipv4() || (a != b && inner(a) && !inner(b))
}
