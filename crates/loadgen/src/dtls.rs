//! The browser's side of DTLS-SRTP: a handshake as the client, and the SRTP keys that come of it (RFC 5764 §4.2).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use media_bridge::srtp::{Keys, Suite};
use rtc_dtls::config::{ConfigBuilder, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile as Profile;
use rtc_shared::TransportProtocol;
use rtc_stun::crypto::{RTCCryptoProvider, default_provider};

use crate::Fallible;

/// Which SRTP profiles browsers offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offered {
    /// Chromium's, in its order. By DTLS 1.2 both the gateway and rtpengine choose AEAD_AES_256_GCM.
    Chromium,
    /// Chromium's first alone, AES128_CM_HMAC_SHA1_80: by DTLS 1.3 that is the gateway's choice.
    First,
}

impl Offered {
    fn profiles(self) -> Vec<Profile> {
        let all = [
            Profile::Srtp_Aes128_Cm_Hmac_Sha1_80,
            Profile::Srtp_Aead_Aes_256_Gcm,
            Profile::Srtp_Aead_Aes_128_Gcm,
        ];
        match self {
            Offered::Chromium => all.to_vec(),
            Offered::First => all[..1].to_vec(),
        }
    }
}

/// After so long without an answer a flight is sent again, seven times at most.
const FLIGHT: Duration = Duration::from_secs(1);

/// The cryptography that ICE and DTLS use.
///
/// # Errors
/// When none is built in.
pub fn provider() -> Fallible<Arc<dyn RTCCryptoProvider>> {
    Ok(default_provider()?)
}

/// What all browsers share: one certificate and its fingerprint.
pub struct Identity {
    config: Arc<HandshakeConfig>,
    /// As `a=fingerprint` has it, without the name of the hash.
    pub fingerprint: String,
}

impl Identity {
    /// Makes a certificate.
    ///
    /// # Errors
    /// When the library makes none.
    pub fn new(provider: &Arc<dyn RTCCryptoProvider>, offered: Offered) -> Fallible<Identity> {
        let certificate = Certificate::generate_self_signed(vec!["browser".to_owned()], provider.crypto())?;
        let der = certificate.certificate.first().ok_or("a certificate without a body")?;
        let digest = aws_digest(der.as_ref());
        let config = ConfigBuilder::default()
            .with_crypto_provider(provider.clone())
            .with_certificates(vec![certificate])
            .with_srtp_protection_profiles(offered.profiles())
            .with_insecure_skip_verify(true)
            .with_flight_interval(FLIGHT)
            .with_server_name("gateway".to_owned())
            .build(true, None)?;
        Ok(Identity { config: Arc::new(config), fingerprint: digest })
    }
}

fn aws_digest(der: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    let hex: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    hex.join(":")
}

/// The keys of one session.
pub struct SessionKeys {
    /// What the browser protects with.
    pub ours: Keys,
    /// What the peer protects with.
    pub theirs: Keys,
}

/// A handshake under way.
pub struct Handshake {
    endpoint: Endpoint,
    remote: SocketAddr,
    complete: bool,
}

impl Handshake {
    /// Begins it.
    ///
    /// # Errors
    /// When the library refuses.
    pub fn start(identity: &Identity, remote: SocketAddr, now: Instant) -> Fallible<Handshake> {
        let mut endpoint = Endpoint::new(SocketAddr::from(([127, 0, 0, 1], 1)), TransportProtocol::UDP, None);
        endpoint.connect(now, remote, identity.config.clone(), None)?;
        Ok(Handshake { endpoint, remote, complete: false })
    }

    /// A datagram of the peer.
    ///
    /// # Errors
    /// When the handshake has failed.
    pub fn hear(&mut self, datagram: &[u8], now: Instant) -> Fallible<()> {
        let events = self.endpoint.read(now, self.remote, None, BytesMut::from(datagram))?;
        self.complete |= events.iter().any(|event| matches!(event, EndpointEvent::HandshakeComplete));
        Ok(())
    }

    /// Time has passed.
    ///
    /// # Errors
    /// When the handshake has failed.
    pub fn elapse(&mut self, now: Instant) -> Fallible<()> {
        Ok(self.endpoint.handle_timeout(self.remote, now)?)
    }

    /// The next datagram to send.
    pub fn datagram(&mut self) -> Option<BytesMut> {
        self.endpoint.poll_transmit().map(|message| message.message)
    }

    /// The keys, once there are any.
    ///
    /// # Errors
    /// When the peers agreed on no SRTP profile that is known here.
    pub fn keys(&self) -> Fallible<Option<SessionKeys>> {
        if !self.complete {
            return Ok(None);
        }
        let state = self.endpoint.get_connection_state(self.remote).ok_or("the session is gone")?;
        let suite = suite(state.srtp_protection_profile()).ok_or("no SRTP profile was agreed on")?;
        let (key, salt) = (suite.key_len(), suite.salt_len());
        let material = state.export_keying_material("EXTRACTOR-dtls_srtp", &[], 2 * (key + salt))?;
        let material: &[u8] = material.as_ref();
        let at = |key_at: usize, salt_at: usize| {
            let secret = [&material[key_at..key_at + key], &material[salt_at..salt_at + salt]].concat();
            Keys::new(suite, &secret).ok_or("keys of a wrong length")
        };
        Ok(Some(SessionKeys { ours: at(0, 2 * key)?, theirs: at(key, 2 * key + salt)? }))
    }
}

#[allow(clippy::wildcard_enum_match_arm)] // the library's enum is non-exhaustive
fn suite(profile: Profile) -> Option<Suite> {
    match profile {
        Profile::Srtp_Aead_Aes_256_Gcm => Some(Suite::AeadAes256Gcm),
        Profile::Srtp_Aead_Aes_128_Gcm => Some(Suite::AeadAes128Gcm),
        Profile::Srtp_Aes128_Cm_Hmac_Sha1_80 => Some(Suite::AesCm128HmacSha1_80),
        Profile::Srtp_Aes128_Cm_Hmac_Sha1_32 => Some(Suite::AesCm128HmacSha1_32),
        _ => None,
    }
}
