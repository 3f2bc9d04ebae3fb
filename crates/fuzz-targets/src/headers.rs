use sip_ua::message::{CSeq, Contact, Message, NameAddr, Reason, Scheme, Uri, Via};

/// The values of header fields: everything that can be asked of one that can be read.
pub fn fuzz_headers(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(via) = Via::parse(&text) {
        let again = format!("SIP/2.0/{} {}{}", via.transport, via.sent_by(), via.params.as_str());
        let second = Via::parse(&again).unwrap_or_else(|e| panic!("{e}: {again:?} of {text:?}"));
        assert_eq!((via.host, via.port, via.branch()), (second.host, second.port, second.branch()));
        let _ = (via.has_rfc3261_branch(), via.received(), via.rport());
    }
    if let Ok(address) = NameAddr::parse(&text) {
        let _ = (address.display_name(), address.tag());
        if let Ok(uri) = address.uri() {
            round_trip(&uri);
        }
    }
    if let Ok(contact) = Contact::parse(&text)
        && let Some(address) = contact.address()
    {
        assert!(address.q() <= 1000);
        let _ = (address.expires(), address.instance());
    }
    if let Ok(cseq) = CSeq::parse(&text) {
        assert!(cseq.seq < 1 << 31, "RFC 3261 §8.1.1.5");
        let written = format!("{} {}", cseq.seq, cseq.method);
        assert_eq!(CSeq::parse(&written).ok(), Some(cseq));
    }
    let reason = Reason::parse(&text);
    let _ = reason.cause();
    whole(&text);
}

/// The same text as the value of every field that has accessors.
fn whole(text: &str) {
    let head = "OPTIONS sip:a@b SIP/2.0\r\n";
    for name in
        ["Contact", "Expires", "Retry-After", "Reason", "Max-Forwards", "Require", "Content-Type", "Date"]
    {
        let bytes = format!("{head}{name}: {text}\r\nContent-Length: 0\r\n\r\n").into_bytes();
        let Ok(message) = Message::parse(bytes) else { continue };
        for contact in message.contacts().flatten() {
            let _ = contact.address().map(|a| a.uri());
        }
        let _ = (message.contact_uri(), message.expires(), message.retry_after(), message.q850_cause());
        let _ = (message.max_forwards(), message.content_type(), message.typed_body());
        assert!(message.list("Require").all(|token| !token.is_empty()));
    }
}

/// A URI: what can be read is equivalent to itself and to what is written of it (RFC 3261 §19.1.4).
pub fn fuzz_uri(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(uri) = Uri::parse(&text) {
        round_trip(&uri);
        // Other schemes are not taken apart.
        if let (Ok(more), false) = (uri.with_param("x-fuzz", Some("tcp")), uri.scheme() == Scheme::Other) {
            assert_eq!(more.param("x-fuzz"), Some(uri.param("x-fuzz").unwrap_or("tcp")));
        }
    }
}

fn round_trip(uri: &Uri) {
    let again = Uri::parse(uri.as_str()).unwrap_or_else(|e| panic!("{e}: {uri:?}"));
    assert!(uri.equivalent(uri) && uri.equivalent(&again) && again.equivalent(uri), "{uri:?}");
    assert_eq!(
        (uri.host(), uri.port(), uri.user_unescaped()),
        (again.host(), again.port(), again.user_unescaped())
    );
    if let Some(address) = uri.socket_addr() {
        assert_eq!(Some(address.ip()), uri.ip());
    }
    let _ = (uri.password(), uri.param("x"), uri.is_loose_route(), uri.headers(), uri.transport());
}
