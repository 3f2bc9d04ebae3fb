//! TLS under SIP: who must be at the other end (RFC 5922), and in words why not.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::crypto::{
    WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError,
    RootCertStore, ServerConfig, SignatureScheme,
};
use types::Wall;

use crate::message::Uri;

/// What TLS connections need: what we show to those who call us, and who must answer where we call.
#[derive(Clone, Default, Debug)]
pub struct TlsSetup {
    /// Our certificate and key; needed by a TLS listener.
    pub server: Option<Arc<ServerConfig>>,
    /// `TlsPeer` n is the n-th of these.
    pub peers: Vec<TlsClient>,
}

/// A peer that must prove its name.
#[derive(Clone)]
pub struct TlsClient {
    pub(super) connector: TlsConnector,
    pub(super) name: ServerName<'static>,
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsClient({:?})", self.name)
    }
}

impl TlsClient {
    /// A server that was configured as `host`, a name or an address. Its certificate must name `identity` (RFC 5922 §7.2: letter
    /// for letter, so a wildcard is accepted only where the identity is that wildcard) and be signed by one of
    /// `authorities`, or be one of them itself. `own`: certificate chain and key that we show where it asks who we are.
    ///
    /// # Errors
    /// One sentence on the name or on an authority that cannot be read.
    pub fn new(
        host: &str,
        identity: &str,
        authorities: &[CertificateDer<'static>],
        own: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> Result<TlsClient, String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("{host:?} is no host name"))?;
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots
                .add(authority.clone())
                .map_err(|e| format!("a certificate authority cannot be read: {e}"))?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Verifier {
            identity: identity.trim_end_matches('.').to_ascii_lowercase(),
            roots,
            authorities: authorities.to_vec(),
            algorithms: provider.signature_verification_algorithms,
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| format!("TLS could not be set up: {e}"))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match own {
            Some((chain, key)) => config
                .with_client_auth_cert(chain, key)
                .map_err(|e| format!("tls_key is not the key of the certificate in tls_cert: {e}"))?,
            None => config.with_no_client_auth(),
        };
        Ok(TlsClient { connector: TlsConnector::from(Arc::new(config)), name })
    }
}

/// The chain is checked as anywhere, the name as RFC 5922 has it.
#[derive(Debug)]
struct Verifier {
    identity: String,
    roots: RootCertStore,
    authorities: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let cert = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.algorithms.all;
        let chain =
            verify_server_cert_signed_by_trust_anchor(&cert, &self.roots, intermediates, now, algorithms);
        match chain {
            Ok(()) => {}
            // A PBX's self-signed certificate usually claims to be an authority; named as one it stands for itself. Its
            // dates were checked before this was noticed.
            Err(e) if is_authority(&e) && self.authorities.contains(end_entity) => {}
            Err(e) => return Err(e),
        }
        self.check_name(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn is_authority(error: &Error) -> bool {
    inner::<webpki::Error>(error).is_some_and(|e| *e == webpki::Error::CaUsedAsEndEntity)
}

/// What hides in an error that rustls has no word for.
fn inner<T: StdError + 'static>(error: &Error) -> Option<&T> {
    let Error::InvalidCertificate(CertificateError::Other(OtherError(other))) = error else { return None };
    other.downcast_ref()
}

impl Verifier {
    /// RFC 5922 §7.1 and §7.2: a `sip:` URI without a user, or a DNS name, equal in full; wildcards match nothing but themselves.
    /// For a server configured by its address, that address.
    fn check_name(&self, end_entity: &CertificateDer<'_>) -> Result<(), Error> {
        let cert = webpki::EndEntityCert::try_from(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        if let Ok(ip) = self.identity.parse::<IpAddr>()
            && cert.verify_is_valid_for_subject_name(&ServerName::from(ip)).is_ok()
        {
            return Ok(());
        }
        let uris = cert.valid_uri_names().filter_map(domain_of);
        let names: Vec<String> = uris.chain(cert.valid_dns_names().map(str::to_ascii_lowercase)).collect();
        if names.contains(&self.identity) {
            return Ok(());
        }
        let wrong = WrongName { wanted: self.identity.clone(), named: names };
        Err(CertificateError::Other(OtherError(Arc::new(wrong))).into())
    }
}

/// The domain that a URI in a certificate stands for (RFC 5922 §7.1): `sip:` only, without a user.
fn domain_of(uri: &str) -> Option<String> {
    let uri = Uri::parse(uri).ok()?;
    let plain = uri.as_str().get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sip:"));
    (plain && uri.user().is_none()).then(|| uri.host().to_ascii_lowercase())
}

/// The certificate is somebody else's.
#[derive(Debug)]
struct WrongName {
    wanted: String,
    named: Vec<String>,
}

impl fmt::Display for WrongName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WrongName { wanted, named } = self;
        if named.is_empty() {
            return write!(f, "its certificate names no SIP domain at all, {wanted} is wanted");
        }
        write!(f, "its certificate is for {}, not for {wanted}", named.join(", "))?;
        let covers = |name: &&String| {
            name.strip_prefix('*').is_some_and(|rest| {
                wanted.strip_suffix(rest).is_some_and(|label| !label.is_empty() && !label.contains('.'))
            })
        };
        match named.iter().find(covers) {
            Some(name) => {
                write!(f, "; RFC 5922 forbids wildcards: set tls_name = \"{name}\" to trust this one")
            }
            None => Ok(()),
        }
    }
}

impl StdError for WrongName {}

/// Why a handshake with a server failed, for a person who can do something about it.
pub(super) fn words(error: &io::Error) -> String {
    let Some(error) = error.get_ref().and_then(|e| e.downcast_ref::<Error>()) else {
        return if error.kind() == io::ErrorKind::UnexpectedEof {
            "it closed the connection during the TLS handshake".to_owned()
        } else {
            format!("the TLS handshake failed: {error}")
        };
    };
    if let Some(wrong) = inner::<WrongName>(error) {
        return wrong.to_string();
    }
    if is_authority(error) {
        return UNKNOWN.to_owned();
    }
    let day = |t: &UnixTime| Wall(t.as_secs().saturating_mul(1_000_000)).rfc3339()[..10].to_owned();
    if let Error::InvalidCertificate(certificate) = error {
        if let CertificateError::ExpiredContext { not_after, .. } = certificate {
            return format!("its certificate expired on {}", day(not_after));
        }
        if let CertificateError::NotValidYetContext { not_before, .. } = certificate {
            return format!("its certificate is valid from {} on only; is our clock right?", day(not_before));
        }
        if *certificate == CertificateError::Expired {
            return "its certificate expired before it became valid".to_owned();
        }
        // A bad signature: an authority of the same name as one we know.
        if matches!(certificate, CertificateError::UnknownIssuer | CertificateError::BadSignature) {
            return UNKNOWN.to_owned();
        }
        return format!("its certificate is not acceptable: {certificate}");
    }
    if let Error::AlertReceived(alert) = error {
        return refused_by_alert(*alert);
    }
    if let Error::InvalidMessage(_) = error {
        return "it does not speak TLS on this port".to_owned();
    }
    format!("the TLS handshake failed: {error}")
}

/// Why nothing more can be read. Under TLS 1.3 a server looks at our certificate after we have begun to speak.
pub(super) fn reading_failed(error: &io::Error) -> String {
    let Some(Error::AlertReceived(alert)) = error.get_ref().and_then(|e| e.downcast_ref::<Error>()) else {
        return format!("reading failed: {error}");
    };
    refused_by_alert(*alert)
}

/// What a peer's fatal alert means (RFC 8446 §6.2).
fn refused_by_alert(alert: AlertDescription) -> String {
    use AlertDescription as Alert;
    // Older servers have no word of its own for it (RFC 5246 §7.4.6).
    if [Alert::CertificateRequired, Alert::HandshakeFailure].contains(&alert) {
        return "it refused the TLS handshake; if it wants a certificate of ours, set tls_cert and tls_key"
            .to_owned();
    }
    let ours =
        [Alert::UnknownCA, Alert::BadCertificate, Alert::CertificateUnknown, Alert::CertificateExpired];
    if ours.contains(&alert) {
        return format!("it does not accept our certificate ({alert:?}): look at tls_cert");
    }
    format!("it refused the TLS handshake ({alert:?})")
}

const UNKNOWN: &str = "its certificate is signed by itself or by an authority that we do not know; if it is the right one, name that authority's \
     certificate, or this one, in the trunk's ca";
