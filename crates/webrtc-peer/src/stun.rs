//! Checking connectivity checks (RFC 8445 §7.3): whose they are and whether they are authentic.

use aws_lc_rs::hmac;
use is::stun::StunMessage;

/// The password of one ufrag, ready for MESSAGE-INTEGRITY (RFC 8489 §14.5, short-term credentials).
#[derive(Clone, Debug)]
pub(crate) struct CheckKey(hmac::Key);

impl CheckKey {
    pub(crate) fn new(password: &str) -> CheckKey {
        CheckKey(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes()))
    }

    pub(crate) fn verifies(&self, check: &StunMessage<'_>) -> bool {
        check.verify(&[], |_, parts| {
            let mut context = hmac::Context::with_key(&self.0);
            for part in parts {
                context.update(part);
            }
            let mut out = [0; 20];
            out.copy_from_slice(context.sign().as_ref());
            out
        })
    }
}

/// Whether a datagram on a shared port is STUN (RFC 7983 §7).
pub(crate) fn is_stun(data: &[u8]) -> bool {
    data.first().is_some_and(|first| *first <= 3)
}

/// How every binding request begins, its length aside (RFC 8489 §5).
const BINDING_REQUEST: [u8; 2] = [0, 1];
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// The datagram as a binding request.
pub(crate) fn binding_request(data: &[u8]) -> Option<StunMessage<'_>> {
    // `is` says what is wrong in allocated words: most of what strangers send is not worth them.
    let begins = data.starts_with(&BINDING_REQUEST) && data.get(4..8) == Some(&MAGIC_COOKIE);
    let parsed = if begins { StunMessage::parse(data).ok() } else { None };
    parsed.filter(StunMessage::is_binding_request)
}
