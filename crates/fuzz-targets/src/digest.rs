use sip_ua::Credentials;
use sip_ua::digest::{Asks, Challenger, Check, DigestClient, Secret, offered_for};
use sip_ua::message::{Message, Method};
use types::Wall;

use crate::mutate::Random;

const WALL: Wall = Wall(1_800_000_000_000_000);

/// Digest: no made-up answer is right, no challenge confuses the client, and what the client says to our own challenge is
/// right once and never again.
pub fn fuzz_digest(data: &[u8]) {
    let text = String::from_utf8_lossy(data).replace(['\r', '\n'], " ");
    let secrets = [Secret::Password("pw".into()), Secret::Hashed { md5: None, sha256: Some("0".repeat(64)) }];
    let mut random = Random(1);
    let mut ours = Challenger::new("r", offered_for(&secrets), &mut random);
    let register = |field: &str| {
        let head = "REGISTER sip:r SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@r>;tag=1\r\n\
                    To: <sip:a@r>\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n";
        Message::parse(format!("{head}{field}Content-Length: 0\r\n\r\n").into_bytes())
    };
    if let Ok(request) = register(&format!("Authorization: {text}\r\n")) {
        let _ = ours.was_challenged(Asks::Www, &request);
        let check = ours.check(Asks::Www, &request, |_| Some(Secret::Password("pw".into())), WALL);
        assert!(!matches!(check, Check::Ok { .. }), "let in by {text:?}");
        assert!(ours.remembered() <= 1);
    }
    let mut client =
        DigestClient::new(Credentials { username: "a".into(), password: "pw".into(), realm: None });
    for name in ["WWW-Authenticate", "Proxy-Authenticate"] {
        if let Ok(response) = challenge(&format!("{name}: {text}\r\n"))
            && client.challenged(&response).is_ok()
        {
            let answers = client.answer(&Method::Register, "sip:r", b"body", &mut random);
            assert!(!answers.is_empty(), "a challenge taken is answered: {text:?}");
            for (_, value) in &answers {
                assert!(!value.contains(['\r', '\n']) && value.starts_with("Digest "), "{value:?}");
            }
        }
    }
    // Whatever it was told before, our own challenge is answered rightly: but only once.
    let fields = ours.challenge(Asks::Www, false, WALL, &mut random);
    let lines: String = fields.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    let Ok(response) = challenge(&lines) else { panic!("our own challenge") };
    let mut fresh =
        DigestClient::new(Credentials { username: "a".into(), password: "pw".into(), realm: None });
    assert!(fresh.challenged(&response).is_ok());
    let answers = fresh.answer(&Method::Register, "sip:r", b"", &mut random);
    let lines: String = answers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    let Ok(request) = register(&lines) else { panic!("our own answer") };
    let mut check = || ours.check(Asks::Www, &request, |_| Some(Secret::Password("pw".into())), WALL);
    assert!(matches!(check(), Check::Ok { .. }));
    assert_eq!(check(), Check::Stale, "a replay");
}

fn challenge(fields: &str) -> Result<Message, sip_ua::message::ParseError> {
    let head = "SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@r>;tag=1\r\n\
                To: <sip:a@r>;tag=2\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n";
    Message::parse(format!("{head}{fields}Content-Length: 0\r\n\r\n").into_bytes())
}
