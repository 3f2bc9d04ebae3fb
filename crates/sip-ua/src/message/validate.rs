use types::limits;

use super::name::Name;
use super::uri::Parts;
use super::{Kind, Message, Method, NameAddr, Scheme, Via, lex};

/// How to refuse a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// 400-699.
    pub status: u16,
    /// Reason phrase: says what is wrong.
    pub reason: &'static str,
    /// Fields that the response must carry, such as Unsupported.
    pub headers: Vec<(&'static str, String)>,
}

impl Verdict {
    /// A refusal without further fields.
    pub fn new(status: u16, reason: &'static str) -> Verdict {
        Verdict { status, reason, headers: Vec::new() }
    }
}

fn bad(reason: &'static str) -> Verdict {
    Verdict::new(400, reason)
}

/// Fields that may stand once only (RFC 3261 §7.3.1, RFC 4475 §3.3.8).
const SINGLE: [Name; 6] =
    [Name::From, Name::To, Name::CallId, Name::CSeq, Name::MaxForwards, Name::ContentType];

/// Checks what every request must have, whatever it asks for (RFC 3261 §8.1.1, §8.2). `supported` are the option
/// tags that we do. An ACK or CANCEL is judged too, but an ACK is never answered and Require does not apply to them.
///
/// # Errors
/// The verdict that RFC 3261 and RFC 4475 give: 400, 414, 416, 420 or 483.
pub fn validate_request(message: &Message, supported: &[&str]) -> Result<(), Verdict> {
    let Kind::Request { method, uri } = message.kind() else {
        return Err(bad("Not A Request"));
    };
    check_common(message).map_err(bad)?;
    let cseq = message.cseq().ok_or_else(|| bad("Missing CSeq"))?;
    if cseq.method != *method {
        return Err(bad("CSeq Method Does Not Match"));
    }
    check_request_uri(uri)?;
    check_addresses(message)?;
    check_max_forwards(message, method)?;
    check_require(message, method, supported)
}

/// Checks what every response must have.
///
/// # Errors
/// What is wrong, for the log: the response is dropped (RFC 3261 §18.1.2).
pub fn validate_response(message: &Message) -> Result<(), &'static str> {
    if message.is_request() {
        return Err("not a response");
    }
    check_common(message)
}

fn check_common(message: &Message) -> Result<(), &'static str> {
    if message.truncated {
        return Err("Content-Length Exceeds The Body");
    }
    if matches!(message.content_length(), Some(Err(_))) {
        return Err("Bad Content-Length");
    }
    if message.repeats(&SINGLE) {
        return Err("A Field That May Stand Once Stands Twice");
    }
    check_vias(message)?;
    let call_id = message.call_id().ok_or("Missing Call-ID")?;
    if call_id.is_empty() || call_id.contains(lex::is_lws) {
        return Err("Bad Call-ID");
    }
    for name in ["From", "To"] {
        let value = message.header(name).ok_or("Missing From Or To")?;
        NameAddr::parse(value).map_err(|_| "Bad From Or To")?;
    }
    let cseq = message.header("CSeq").ok_or("Missing CSeq")?;
    super::CSeq::parse(cseq).map(|_| ()).map_err(|_| "Bad CSeq")
}

fn check_vias(message: &Message) -> Result<(), &'static str> {
    let mut any = false;
    for value in message.headers("Via") {
        // Empty elements count here: nobody may guess how many hops there were (RFC 4475 §3.1.2.1).
        for element in lex::Split::list(value) {
            Via::parse(element).map_err(|_| "Bad Via")?;
            any = true;
        }
    }
    if any { Ok(()) } else { Err("Missing Via") }
}

fn check_request_uri(text: &str) -> Result<(), Verdict> {
    if text.len() > limits::SIP_URI_BYTES {
        return Err(Verdict::new(414, "Request-URI Too Long"));
    }
    let uri = Parts::parse(text).map_err(|_| bad("Bad Request-URI"))?;
    match uri.scheme {
        // RFC 3261 §19.1.1, table 1: no headers in a Request-URI.
        Scheme::Sip | Scheme::Sips if uri.headers.is_some() => Err(bad("Bad Request-URI")),
        Scheme::Sip | Scheme::Sips | Scheme::Tel => Ok(()),
        Scheme::Other => Err(Verdict::new(416, "Unsupported URI Scheme")),
    }
}

fn check_addresses(message: &Message) -> Result<(), Verdict> {
    let mut scheme = Scheme::Sip;
    for address in [message.from(), message.to()].into_iter().flatten() {
        scheme = Parts::parse(address.uri_text).map_err(|_| bad("Bad From Or To"))?.scheme;
    }
    let registers = message.method() == Some(&Method::Register);
    // RFC 4475 §3.3.4: a registrar cannot do anything with an address of record of an unknown scheme.
    if registers && scheme == Scheme::Other {
        return Err(bad("Unknown Scheme In To"));
    }
    if !uses_contact(message.method()) {
        return Ok(());
    }
    for contact in message.contacts() {
        let contact = contact.map_err(|_| bad("Bad Contact"))?;
        if let Some(address) = contact.address() {
            Parts::parse(address.uri_text).map_err(|_| bad("Bad Contact"))?;
        }
    }
    Ok(())
}

/// Whether the request's Contact matters; elsewhere a bad one harms nobody (RFC 3261 §20, table 2).
fn uses_contact(method: Option<&Method>) -> bool {
    use Method::{Invite, Refer, Register, Subscribe, Update};
    matches!(method, Some(Invite | Refer | Register | Subscribe | Update))
}

/// Zero stops what we would pass on (RFC 3261 §16.3); what ends here is answered: carriers ping with OPTIONS and 0.
fn check_max_forwards(message: &Message, method: &Method) -> Result<(), Verdict> {
    let Some(value) = message.header("Max-Forwards") else { return Ok(()) };
    let hops = lex::saturating_u32(value).ok_or_else(|| bad("Bad Max-Forwards"))?;
    let ends_here =
        matches!(method, Method::Options | Method::Register | Method::Ack | Method::Bye | Method::Cancel);
    if hops == 0 && !ends_here { Err(Verdict::new(483, "Too Many Hops")) } else { Ok(()) }
}

/// RFC 3261 §8.2.2.3. Proxy-Require is for proxies, which we are not.
fn check_require(message: &Message, method: &Method, supported: &[&str]) -> Result<(), Verdict> {
    if matches!(method, Method::Ack | Method::Cancel) {
        return Ok(());
    }
    let known = |tag: &&str| supported.iter().any(|s| s.eq_ignore_ascii_case(tag));
    let unknown: Vec<&str> = message.list("Require").filter(|tag| !known(tag)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let headers = vec![("Unsupported", unknown.join(", "))];
    Err(Verdict { status: 420, reason: "Bad Extension", headers })
}
