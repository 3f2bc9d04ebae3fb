//! Certificates for the page: from PEM files, or made at start.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::{self, ServerConfig};

use super::Acceptor;
use crate::config::Tls;

/// Makes what the configuration asks for.
///
/// # Errors
/// One sentence that names the file and what is wrong with it.
pub fn acceptor(tls: &Tls, domain: &str, addresses: &[IpAddr]) -> Result<Acceptor, String> {
    let (chain, key) = match tls {
        Tls::Off => return Ok(Acceptor::Plain),
        Tls::Files { cert, key } => (read_chain(cert)?, read_key(key)?),
        Tls::SelfSigned => self_signed(domain, addresses)?,
    };
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS could not be set up: {e}"))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| unfit(tls, &e))?;
    Ok(Acceptor::Tls(TlsAcceptor::from(Arc::new(config))))
}

/// One sentence for a certificate and a key that TLS can not use together.
fn unfit(tls: &Tls, error: &rustls::Error) -> String {
    match tls {
        Tls::Files { cert, key } => format!(
            "[http] tls_key {} is not the key of the certificate in [http] tls_cert {}: {error}",
            key.display(),
            cert.display()
        ),
        Tls::Off | Tls::SelfSigned => format!("TLS could not be set up: {error}"),
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let name = path.display();
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|e| format!("[http] tls_cert {name} cannot be read: {e}"))?
        .collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(format!("[http] tls_cert {name} holds no certificate; it must be a PEM file")),
        Err(e) => Err(format!("[http] tls_cert {name} is not a PEM file: {e}")),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|e| format!("[http] tls_key {} cannot be read as a PEM private key: {e}", path.display()))
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
