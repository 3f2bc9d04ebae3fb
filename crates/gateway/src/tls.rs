//! Certificates: ours, from PEM files or made at start, and those of the authorities we believe.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sip_ua::Transport;
use sip_ua::io::{TlsClient, TlsSetup};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::{self, ServerConfig};

use crate::config::{SipConfig, Tls, Trunk};

/// What we show as a server; none without TLS. `section` is where it was configured.
///
/// # Errors
/// One sentence that names the file and what is wrong with it.
pub fn server(
    tls: &Tls,
    section: &str,
    domain: &str,
    addresses: &[IpAddr],
) -> Result<Option<Arc<ServerConfig>>, String> {
    let (chain, key) = match tls {
        Tls::Off => return Ok(None),
        Tls::Files { cert, key } => {
            (read_chain(&format!("{section} tls_cert"), cert)?, read_key(section, key)?)
        }
        Tls::SelfSigned => self_signed(domain, addresses)?,
    };
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS could not be set up: {e}"))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| unfit(tls, section, &e))?;
    Ok(Some(Arc::new(config)))
}

/// What SIP over TLS needs; without a certificate of its own it shows that of the page.
///
/// # Errors
/// One sentence that names the key to set, or the file and what is wrong with it.
pub fn sip(
    sip: &SipConfig,
    trunks: &[Trunk],
    page: Option<Arc<ServerConfig>>,
    addresses: &[IpAddr],
) -> Result<TlsSetup, String> {
    let server = server(&sip.tls, "[sip]", &sip.domain, addresses)?.or(page);
    let listens = sip.listen.iter().find(|l| l.transport == Transport::Tls);
    if let (Some(listen), None) = (listens, &server) {
        return Err(format!(
            "[sip] listen tls:{} needs a certificate: set [sip] tls_cert and tls_key, or those of [http], or start with \
             --tls self-signed",
            listen.addr
        ));
    }
    Ok(TlsSetup { server, peers: peers(trunks)? })
}

/// Who the trunks' servers must be, in their order.
fn peers(trunks: &[Trunk]) -> Result<Vec<TlsClient>, String> {
    let public = if trunks.iter().any(|t| may_use_tls(t) && t.ca.is_none()) { public() } else { Vec::new() };
    let peer = |trunk: &Trunk| {
        let own = match &trunk.ca {
            Some(file) => Some(read_chain(&format!("trunk {}: ca", trunk.name), file)?),
            None => None,
        };
        let authorities = own.as_ref().unwrap_or(&public);
        if authorities.is_empty() && trunk.next_hop().transport == Some(Transport::Tls) {
            tracing::warn!(
                "trunk {}: this machine knows no certificate authorities, so no certificate can be good: install \
                 ca-certificates or name a file in ca",
                trunk.name
            );
        }
        let host = &trunk.next_hop().host;
        let own = match &trunk.certificate {
            Tls::Files { cert, key } => {
                let section = format!("trunk {}:", trunk.name);
                Some((read_chain(&format!("{section} tls_cert"), cert)?, read_key(&section, key)?))
            }
            Tls::Off | Tls::SelfSigned => None,
        };
        TlsClient::new(host, trunk.tls_name.as_ref().unwrap_or(host), authorities, own)
            .map_err(|e| format!("trunk {}: {e}", trunk.name))
    };
    trunks.iter().map(peer).collect()
}

/// A name alone may lead to TLS by DNS (RFC 3263 §4.1).
fn may_use_tls(trunk: &Trunk) -> bool {
    trunk.next_hops().iter().any(|s| s.server.transport.is_none_or(|t| t == Transport::Tls))
}

/// The authorities that this machine trusts; those that cannot be read are left out.
fn public() -> Vec<CertificateDer<'static>> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!("certificate authorities of this machine: {error}");
    }
    let usable = |cert: &CertificateDer<'static>| rustls::RootCertStore::empty().add(cert.clone()).is_ok();
    found.certs.into_iter().filter(usable).collect()
}

/// One sentence for a certificate and a key that TLS can not use together.
fn unfit(tls: &Tls, section: &str, error: &rustls::Error) -> String {
    match tls {
        Tls::Files { cert, key } => format!(
            "{section} tls_key {} is not the key of the certificate in {section} tls_cert {}: {error}",
            key.display(),
            cert.display()
        ),
        Tls::Off | Tls::SelfSigned => format!("TLS could not be set up: {error}"),
    }
}

fn read_chain(option: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let name = path.display();
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|e| format!("{option} {name} cannot be read: {e}"))?
        .collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(format!("{option} {name} holds no certificate; it must be a PEM file")),
        Err(e) => Err(format!("{option} {name} is not a PEM file: {e}")),
    }
}

fn read_key(section: &str, path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|e| format!("{section} tls_key {} cannot be read as a PEM private key: {e}", path.display()))
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn self_signed(domain: &str, addresses: &[IpAddr]) -> Result<Identity, String> {
    let mut names: Vec<String> = vec!["localhost".into()];
    if domain.parse::<IpAddr>().is_err() {
        names.push(domain.into());
    }
    names.extend(addresses.iter().map(ToString::to_string));
    let made = rcgen::generate_simple_self_signed(names)
        .map_err(|e| format!("a self-signed certificate could not be made: {e}"))?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    Ok((vec![made.cert.der().clone()], key.into()))
}
