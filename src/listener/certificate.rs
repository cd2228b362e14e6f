//! The listener's certificate: a certificate from the profile, or a self-signed certificate that is made at the start
//! and that clients must be configured to trust.

use std::fs;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};

use super::ListenError;
use super::limits::Limits;
use crate::net::address::tls::{Credential, ServerTls};
use crate::net::tls::{Security, TlsError, server};

/// Returns the listener's TLS settings and its certificate, which is written to a file if the limits ask for it.
pub(super) fn security(limits: &Limits) -> Result<(Security, CertificateDer<'static>), ListenError> {
    let credential = match &limits.credential {
        Some(given) => given.clone(),
        None => made(&limits.hostname)?,
    };
    let certificate = credential.chain.first().cloned().ok_or_else(|| making("the chain is empty"))?;
    if let Some(path) = &limits.certificate_out {
        fs::write(path, pem(&certificate)).map_err(|source| {
            let path = path.display().to_string();
            ListenError::CertificateOut { path, source }
        })?;
    }
    let tls = ServerTls {
        credential,
        client_authorities: limits.client_authorities.clone(),
        max_version: limits.max_tls_version,
    };
    Ok((server::security(&tls)?, certificate))
}

/// Makes a self-signed certificate (ECDSA, P-256) for this name, `localhost`, 127.0.0.1 and ::1.
///
/// # Errors
/// A certificate cannot have this name.
pub fn made(name: &str) -> Result<Credential, TlsError> {
    let names = [name, "localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    let mut params = CertificateParams::new(names).map_err(making)?;
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().map_err(making)?;
    let certificate = params.self_signed(&key).map_err(making)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok(Credential { chain: vec![certificate.der().clone()], key: Arc::new(key) })
}

fn making(why: impl ToString) -> TlsError {
    TlsError::Making(why.to_string())
}

/// Returns the SHA-256 of a certificate in the usual form: `AB:CD:...`.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let bytes: Vec<String> = Sha256::digest(certificate).iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    let line_ending = pem::LineEnding::LF;
    let one = pem::Pem::new("CERTIFICATE", certificate.to_vec());
    pem::encode_config(&one, pem::EncodeConfig::new().set_line_ending(line_ending))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::address::tls::certificates;

    #[test]
    fn what_is_written_out_can_be_read_back() {
        let credential = made("mx.example").unwrap();
        let pem = pem(&credential.chain[0]);
        assert_eq!(certificates(pem.as_bytes()).unwrap(), credential.chain);
        assert!(pem.lines().all(|line| line.len() <= 64));
        assert_eq!(fingerprint(&credential.chain[0]).len(), 95);
        assert!(matches!(made("no name \u{e9}"), Err(TlsError::Making(_))));
    }
}
