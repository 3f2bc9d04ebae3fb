//! The browser's side of ICE: connectivity checks of a controlling agent and answers to the other side's (RFC 8445 §7).

use std::net::SocketAddr;
use std::sync::Arc;

use rtc_stun::attributes::{
    ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME, RawAttribute,
};
use rtc_stun::crypto::RTCCryptoProvider;
use rtc_stun::fingerprint::FingerprintAttr;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Message, Setter, TransactionId};
use rtc_stun::textattrs::TextAttribute;
use rtc_stun::xoraddr::XorMappedAddress;

use crate::Fallible;

/// One side's user fragment and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// `a=ice-ufrag`.
    pub ufrag: String,
    /// `a=ice-pwd`.
    pub password: String,
}

/// ICE of one browser with one peer.
pub struct Ice {
    provider: Arc<dyn RTCCryptoProvider>,
    local: Credentials,
    remote: Credentials,
}

/// What a STUN datagram means to us.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// A check of theirs; this is the answer to send back.
    Check(Vec<u8>),
    /// Our check was answered: the pair is nominated.
    Success,
    /// An error or something else.
    Other,
}

impl Ice {
    /// With both sides' credentials.
    pub fn new(provider: Arc<dyn RTCCryptoProvider>, local: Credentials, remote: Credentials) -> Ice {
        Ice { provider, local, remote }
    }

    /// A check that nominates at once (RFC 8445 §8.1.1: aggressive is gone, but a lone pair may be nominated).
    ///
    /// # Errors
    /// When the message can not be built.
    pub fn check(&self) -> Fallible<Vec<u8>> {
        let username = format!("{}:{}", self.remote.ufrag, self.local.ufrag);
        let plain =
            |typ, value: &[u8]| RawAttribute { typ, length: value.len() as u16, value: value.to_vec() };
        build(&[
            Box::new(BINDING_REQUEST),
            Box::new(TransactionId::new()),
            Box::new(TextAttribute::new(ATTR_USERNAME, username)),
            Box::new(plain(ATTR_USE_CANDIDATE, &[])),
            Box::new(plain(ATTR_PRIORITY, &0x6eff_ffff_u32.to_be_bytes())),
            Box::new(plain(ATTR_ICE_CONTROLLING, &[7; 8])),
            Box::new(self.integrity(&self.remote)),
            Box::new(FingerprintAttr),
        ])
    }

    /// Reads a datagram that came from `from`.
    pub fn hear(&self, datagram: &[u8], from: SocketAddr) -> Heard {
        let mut message = Message::new();
        message.raw = datagram.to_vec();
        if message.decode().is_err() {
            return Heard::Other;
        }
        if message.typ == BINDING_SUCCESS {
            return Heard::Success;
        }
        if message.typ != BINDING_REQUEST {
            return Heard::Other;
        }
        let answer = build(&[
            Box::new(BINDING_SUCCESS),
            Box::new(message.transaction_id),
            Box::new(XorMappedAddress { ip: from.ip(), port: from.port() }),
            Box::new(self.integrity(&self.local)),
            Box::new(FingerprintAttr),
        ]);
        answer.map_or(Heard::Other, Heard::Check)
    }

    fn integrity(&self, of: &Credentials) -> MessageIntegrity<'_> {
        MessageIntegrity::new_short_term_integrity_with_provider(of.password.clone(), self.provider.crypto())
    }
}

fn build(attributes: &[Box<dyn Setter + '_>]) -> Fallible<Vec<u8>> {
    let mut message = Message::new();
    message.build(attributes)?;
    Ok(message.raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Ice, Ice) {
        let provider = crate::dtls::provider().expect("a crypto provider");
        let of = |name: &str| Credentials { ufrag: name.repeat(4), password: name.repeat(22) };
        (Ice::new(provider.clone(), of("a"), of("b")), Ice::new(provider, of("b"), of("a")))
    }

    #[test]
    fn a_check_is_answered_with_success_and_nonsense_is_not() {
        let (ours, theirs) = pair();
        let from = SocketAddr::from(([127, 1, 0, 3], 7000));
        let Heard::Check(answer) = theirs.hear(&ours.check().expect("a check"), from) else {
            panic!("no check was heard");
        };
        assert_eq!(ours.hear(&answer, from), Heard::Success);
        assert_eq!(ours.hear(&[0, 1, 2], from), Heard::Other);
    }
}
