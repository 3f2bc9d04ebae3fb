use sip_ua::message::{Kind, Message, MessageWriter, ParseError, validate_request, validate_response};

/// A message: what can be read can be written and read again as the same; what is refused can be answered.
pub fn fuzz_message(data: &[u8]) {
    let message = match Message::parse(data.to_vec()) {
        Ok(message) => message,
        Err(ParseError::BadRequest { verdict, message }) => {
            answer(&message, verdict.status, verdict.reason);
            return;
        }
        Err(ParseError::NotSip(_) | ParseError::BadResponse(_)) => return,
    };
    let verdict = match message.kind() {
        Kind::Request { .. } => validate_request(&message, &["100rel"]).map_err(|v| (v.status, v.reason)),
        Kind::Response { .. } => validate_response(&message).map_err(|_| (400, "")),
    };
    if message.is_request() {
        let (status, reason) = verdict.err().unwrap_or((200, ""));
        answer(&message, status, reason);
    }
    if verdict.is_ok() {
        reads_as_written(&message);
    }
}

/// A response to it can be read, and carries what it must (RFC 3261 §8.2.6.2).
fn answer(request: &Message, status: u16, reason: &str) {
    assert!((200..700).contains(&status), "status {status}");
    let bytes = MessageWriter::response(request, status, reason, Some("t")).finish();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let answer = Message::parse(bytes).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!(answer.status(), Some(status));
    for name in ["Via", "From", "Call-ID", "CSeq"] {
        // No value may add a line.
        let theirs = request.headers(name).map(|value| value.replace('\r', " "));
        assert!(answer.headers(name).eq(theirs), "{name}: {text}");
    }
}

fn reads_as_written(message: &Message) {
    let body = message.typed_body();
    let bytes = MessageWriter::copy_of(message).finish_with(body.as_ref());
    let again = Message::parse(bytes).unwrap_or_else(|e| panic!("{e}: {message:?}"));
    match (message.kind(), again.kind()) {
        (Kind::Request { method: a, uri: b }, Kind::Request { method: c, uri: d }) => {
            assert_eq!((a, b), (c, d));
        }
        (Kind::Response { status: a, .. }, Kind::Response { status: b, .. }) => assert_eq!(a, b),
        (a, b) => panic!("{a:?} became {b:?}"),
    }
    assert_eq!(message.body(), again.body());
    for name in ["Via", "From", "To", "Call-ID", "CSeq", "Contact", "Route", "Record-Route"] {
        assert!(message.headers(name).eq(again.headers(name)), "{name} of {message:?}");
    }
}
