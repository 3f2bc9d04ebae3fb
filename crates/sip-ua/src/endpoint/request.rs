use crate::endpoint::path::Path;
use crate::message::{MessageWriter, Method};
use crate::transaction::Wire;
use crate::{Body, Headers};

/// A request of ours in parts, so that it can be sent again with credentials, and its ACK and CANCEL be made.
#[derive(Clone, Debug)]
pub(crate) struct OutRequest {
    pub method: Method,
    pub uri: String,
    pub path: Path,
    pub routes: Vec<String>,
    pub from: String,
    pub to: String,
    pub call_id: String,
    pub cseq: u32,
    /// The whole Contact value; none for requests that make or refresh no dialog.
    pub contact: Option<String>,
    pub headers: Headers,
    pub body: Option<Body>,
    /// Authorization and Proxy-Authorization.
    pub auth: Headers,
}

const MAX_FORWARDS: &str = "Max-Forwards";

impl OutRequest {
    /// 70 (RFC 3261 §8.1.1.6), unless it continues somebody's call.
    fn max_forwards(&self) -> &str {
        self.headers.iter().find(|(name, _)| *name == MAX_FORWARDS).map_or("70", |(_, hops)| hops)
    }

    fn start(&self, method: &Method, branch: &str, to: &str) -> MessageWriter {
        let mut out = MessageWriter::request(method, &self.uri)
            .with("Via", &self.path.via(branch))
            .with("Max-Forwards", self.max_forwards())
            .with("From", &self.from)
            .with("To", to)
            .with("Call-ID", &self.call_id)
            .with("CSeq", &format!("{} {method}", self.cseq));
        for route in &self.routes {
            out.push("Route", route);
        }
        out
    }

    /// The request itself.
    pub fn write(&self, branch: &str, user_agent: &str) -> Wire {
        let mut out = self.start(&self.method, branch, &self.to);
        if let Some(contact) = &self.contact {
            out.push("Contact", contact);
        }
        let further = self.headers.iter().filter(|(name, _)| *name != MAX_FORWARDS);
        for (name, value) in self.auth.iter().chain(further) {
            out.push(name, value);
        }
        if matches!(self.method, Method::Invite) {
            out.push("Allow", super::ALLOW);
            out.push("Accept", "application/sdp");
        }
        out.push("User-Agent", user_agent);
        out.finish_with(self.body.as_ref()).into()
    }

    /// ACK to a 300-699: same branch, To of the response (RFC 3261 §17.1.1.3).
    pub fn ack_failure(&self, branch: &str, to: &str) -> Wire {
        self.start(&Method::Ack, branch, to).finish().into()
    }

    /// CANCEL: same branch, same everything (RFC 3261 §9.1).
    pub fn cancel(&self, reason: Option<&str>) -> OutRequest {
        let headers = reason.map(|r| ("Reason", r.to_owned())).into_iter().collect();
        OutRequest {
            method: Method::Cancel,
            contact: None,
            headers,
            body: None,
            auth: Vec::new(),
            ..self.clone()
        }
    }
}
