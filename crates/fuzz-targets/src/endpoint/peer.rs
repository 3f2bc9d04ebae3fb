use std::collections::VecDeque;

use crate::choices::Choices;

/// A message that the endpoint sent, taken apart as text: no code of the endpoint reads it.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub text: String,
}

impl Heard {
    pub fn read(bytes: &[u8]) -> Option<Heard> {
        std::str::from_utf8(bytes).ok().map(|text| Heard { text: text.to_owned() })
    }

    fn is_request(&self) -> bool {
        !self.text.starts_with("SIP/2.0")
    }

    /// The name of what it shows.
    pub fn operation(&self) -> Option<&'static str> {
        let cseq = self.field("CSeq");
        match self.text.split(' ').next().unwrap_or_default() {
            "PRACK" => Some("reliable provisional of the peer"),
            "UPDATE" => Some("UPDATE of ours"),
            "NOTIFY" => Some("NOTIFY of ours"),
            "REFER" => Some("REFER of ours"),
            "SIP/2.0" if self.text.starts_with("SIP/2.0 200 ") && cseq.ends_with("PRACK") => {
                Some("PRACK of the peer")
            }
            "SIP/2.0" if self.text.starts_with("SIP/2.0 200 ") && cseq.ends_with("UPDATE") => {
                Some("UPDATE of the peer")
            }
            _ => None,
        }
    }

    /// A Replaces value that names its dialog, as the endpoint knows it (RFC 3891 §3).
    fn replaces(&self) -> String {
        let tag = |field| self.field(field).split_once(";tag=").map_or("t1", |(_, tag)| tag);
        let (ours, theirs) = if self.is_request() { ("From", "To") } else { ("To", "From") };
        format!("{};to-tag={};from-tag={}", self.field("Call-ID"), tag(ours), tag(theirs))
    }

    fn field(&self, name: &str) -> &str {
        let line = self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or("")
    }
}

const METHODS: &[&str] = &[
    "INVITE",
    "INVITE",
    "INVITE",
    "ACK",
    "ACK",
    "BYE",
    "CANCEL",
    "PRACK",
    "UPDATE",
    "INFO",
    "OPTIONS",
    "REGISTER",
    "MESSAGE",
    "REFER",
    "SUBSCRIBE",
    "NOTIFY",
    "PUBLISH",
    "FOO",
];

/// Stands for a Replaces that names a dialog of the endpoint.
const REPLACES: &str = "Replaces";

const REQUEST_FIELDS: &[&str] = &[
    "",
    "",
    REPLACES,
    "Require: 100rel\r\n",
    "Supported: 100rel, timer, replaces\r\n",
    "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n",
    "Session-Expires: 100;refresher=uas\r\nSupported: timer\r\n",
    "Supported: timer\r\nSession-Expires: 10\r\n",
    "RAck: 1 1 INVITE\r\n",
    "Record-Route: <sip:198.51.100.1;lr>\r\n",
    "Content-Type: text/plain\r\n",
    "Expires: 0\r\nContact: *\r\n",
    "Require: foo\r\n",
    "Max-Forwards: 0\r\n",
    "Reason: Q.850;cause=16\r\n",
    "Accept: text/plain\r\n",
    "Route: <sip:192.0.2.1;lr>\r\n",
    "Replaces: c1;to-tag=a;from-tag=b\r\n",
    "Event: refer\r\n",
    "Refer-To: <sip:x@y>\r\n",
];

/// A request of the peer: outside dialogs, or inside one that the endpoint's messages speak of; new or repeated.
pub(super) fn request(choices: &mut Choices<'_>, heard: &VecDeque<Heard>) -> String {
    let method = choices.of(METHODS);
    let about = match choices.byte() {
        0..=80 => None,
        which => heard.get(usize::from(which) % heard.len().max(1)),
    };
    let (from, to, call_id) = match about {
        // They called us: their words as we repeated them.
        Some(one) if !one.is_request() => {
            (one.field("From").to_owned(), one.field("To").to_owned(), one.field("Call-ID").to_owned())
        }
        // We called them: they answered with one of a few tags.
        Some(one) => {
            let tag =
                if one.field("To").contains(";tag=") { "" } else { choices.of(&["", ";tag=t1", ";tag=t2"]) };
            (
                format!("{}{tag}", one.field("To")),
                one.field("From").to_owned(),
                one.field("Call-ID").to_owned(),
            )
        }
        None => {
            let call = choices.byte() % 4;
            (format!("<sip:p@x>;tag=p{call}"), "<sip:us@192.0.2.1>".to_owned(), format!("c{call}"))
        }
    };
    let branch = choices.byte() % 12;
    let via = match about.filter(|one| !one.is_request() && branch > 8) {
        Some(one) => one.field("Via").to_owned(),
        None => format!("SIP/2.0/UDP 198.51.100.9;branch=z9hG4bK{branch};rport"),
    };
    let cseq = choices.byte() % 6;
    let rack = about.map(|one| (one.field("RSeq"), one.field("CSeq")));
    let rack = rack.filter(|(rseq, _)| method == "PRACK" && !rseq.is_empty());
    let (state, news) = if method == "NOTIFY" { choices.of(NEWS) } else { ("", "") };
    let fields = match rack {
        Some((rseq, invite)) => format!("RAck: {rseq} {invite}\r\n"),
        None if !state.is_empty() => {
            format!("Event: refer\r\nSubscription-State: {state}\r\nContent-Type: message/sipfrag\r\n")
        }
        None => match choices.of(REQUEST_FIELDS) {
            REPLACES => {
                let one = heard.get(usize::from(choices.byte()) % heard.len().max(1));
                one.map(|one| format!("Replaces: {}\r\n", one.replaces())).unwrap_or_default()
            }
            fields => fields.to_owned(),
        },
    };
    let contact = choices.of(&["Contact: <sip:p@198.51.100.9>\r\n", "Contact: <sip:p@198.51.100.9>\r\n", ""]);
    let body = if news.is_empty() { choices.of(&["v=0", ""]) } else { news };
    let kind = if body.is_empty() || fields.contains("Content-Type") {
        ""
    } else {
        "Content-Type: application/sdp\r\n"
    };
    format!(
        "{method} sip:us@192.0.2.1 SIP/2.0\r\nVia: {via}\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
         CSeq: {cseq} {method}\r\n{contact}{fields}{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// News of a call that the endpoint's REFER asked for (RFC 3515 §2.4.5).
const NEWS: &[(&str, &str)] = &[
    ("active", "SIP/2.0 100 Trying"),
    ("active;expires=60", "SIP/2.0 180 Ringing"),
    ("terminated;reason=noresource", "SIP/2.0 200 OK"),
    ("terminated", "SIP/2.0 486 Busy Here"),
    ("terminated", "no status line"),
];

const STATUSES: &[u16] = &[
    100, 180, 180, 183, 199, 200, 200, 200, 202, 302, 401, 407, 408, 422, 423, 481, 486, 487, 488, 491, 500,
    503, 603,
];

const RESPONSE_FIELDS: &[&str] = &[
    "",
    "",
    "Require: 100rel\r\nRSeq: 1\r\n",
    "Require: 100rel\r\nRSeq: 2\r\n",
    "Require: 100rel\r\nRSeq: 4294967295\r\n",
    "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\r\n",
    "Proxy-Authenticate: Digest realm=\"q\", nonce=\"m\", stale=true\r\n",
    "Min-SE: 200\r\n",
    "Min-Expires: 120\r\n",
    "Require: timer\r\nSession-Expires: 90;refresher=uac\r\n",
    "Require: timer\r\nSession-Expires: 90;refresher=uas\r\n",
    "Retry-After: 3\r\n",
    "Expires: 10\r\n",
    "Contact: <sip:us@192.0.2.1>;expires=7\r\n",
    "Reason: Q.850;cause=17\r\n",
    "Record-Route: <sip:198.51.100.1;lr>\r\n",
];

/// A response of the peer to something that the endpoint asked.
pub(super) fn response(choices: &mut Choices<'_>, heard: &VecDeque<Heard>) -> String {
    let asked: Vec<&Heard> = heard.iter().filter(|one| one.is_request()).collect();
    let which = usize::from(choices.byte());
    let (status, field) = (choices.of(STATUSES), choices.of(RESPONSE_FIELDS));
    let tag = choices.of(&["t1", "t1", "t2", "t3", ""]);
    let Some(request) = asked.get(which % asked.len().max(1)) else {
        return format!("SIP/2.0 {status} Nobody Asked\r\n\r\n");
    };
    let to = request.field("To");
    let tag = if tag.is_empty() || to.contains(";tag=") { String::new() } else { format!(";tag={tag}") };
    let body = choices.of(&["v=0", ""]);
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let contact = if field.starts_with("Contact") { "" } else { "Contact: <sip:p@198.51.100.9>\r\n" };
    format!(
        "SIP/2.0 {status} Word\r\nVia: {}\r\nFrom: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n{contact}{field}\
         {kind}Content-Length: {}\r\n\r\n{body}",
        request.field("Via"),
        request.field("From"),
        request.field("Call-ID"),
        request.field("CSeq"),
        body.len()
    )
}
