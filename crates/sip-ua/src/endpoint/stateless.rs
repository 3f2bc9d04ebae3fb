//! What happens before there is a transaction: judging what came, and answers that leave no state behind.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

use crate::Flow;
use crate::endpoint::Endpoint;
use crate::endpoint::server::{Reply, match_key};
use crate::message::{Message, Method, ParseError, Verdict, validate_response};

/// Seconds in the Retry-After of our 503.
const OVERLOAD_RETRY: &str = "10";

impl Endpoint {
    /// One message that has been read already, or could not be: whoever stands in front may have judged it.
    pub fn handle_parsed(&mut self, flow: Flow, parsed: Result<Message, ParseError>, now: Instant) {
        match parsed {
            Ok(message) if message.is_request() => self.on_request(flow, message, now),
            // A response that cannot be read is dropped (RFC 3261 §18.1.2).
            Ok(message) => {
                if validate_response(&message).is_ok() {
                    self.on_response(flow, &message, now);
                }
            }
            Err(ParseError::BadRequest { verdict, message }) => self.refuse(&flow, &message, &verdict),
            Err(ParseError::NotSip(_) | ParseError::BadResponse(_)) => {}
        }
    }

    /// Whether a request belongs to something that is known here: a repetition, the ACK or CANCEL of an INVITE, or a
    /// request inside a dialog, whose tag of ours nobody can guess.
    pub fn recognises(&self, request: &Message) -> bool {
        let Some(method) = request.method() else { return false };
        let ours = request.to().and_then(|to| to.tag()).is_some_and(|tag| self.tags.contains_key(tag));
        let known = |method| match_key(request, method).is_some_and(|k| self.server_index.contains_key(&k));
        ours || known(method) || (matches!(method, Method::Cancel) && known(&Method::Invite))
    }

    /// Answers without a transaction (RFC 3261 §8.2.7): malformed, merged, unauthenticated or too many. ACK is never
    /// answered, and without a usable Via there is no way back.
    pub fn refuse(&mut self, flow: &Flow, request: &Message, verdict: &Verdict) {
        if request.method() == Some(&Method::Ack) || request.top_via().is_none() {
            return;
        }
        // The same tag for each repetition.
        let mut hasher = DefaultHasher::new();
        request.list("Via").next().hash(&mut hasher);
        let tag = format!("{:x}", hasher.finish());
        let headers = verdict.headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let reply = Reply { status: verdict.status, reason: verdict.reason, headers, body: None };
        let wire = self.render(request, flow, Some(&tag), &reply).into();
        self.answer_to(request, flow, wire);
    }

    pub(super) fn overloaded(&mut self, flow: &Flow, request: &Message) {
        self.refuse(flow, request, &overload());
    }
}

/// The refusal of what is too much: 503 with Retry-After (RFC 3261 §21.5.4).
pub fn overload() -> Verdict {
    let headers = vec![("Retry-After", OVERLOAD_RETRY.to_owned())];
    Verdict { status: 503, reason: "Service Unavailable", headers }
}
