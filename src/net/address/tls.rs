//! The TLS settings of both sides, decided before any connection: the trusted authorities, the certificate of each
//! side, and the versions.
//!
//! Plain data that holds the certificates and keys. This module performs no TLS, and `Debug` never prints a key.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;

/// The TLS settings of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    /// The trusted authorities; `None` for those of the system.
    pub authorities: Option<Vec<CertificateDer<'static>>>,
    /// Whether the session fails if the listener's certificate is not trusted or is for another name. If false, such a
    /// fault is only reported.
    pub verify: bool,
    /// The name that the client asks for (SNI) and expects in the certificate; `None` for the target's host.
    pub name: Option<ServerName<'static>>,
    /// The client's certificate, which is sent if the listener asks for one.
    pub credential: Option<Credential>,
    /// The oldest allowed version.
    pub min_version: Version,
    /// Whether sessions resume earlier ones.
    pub resumption: bool,
}

impl Default for ClientTls {
    /// Returns the system's authorities, TLS 1.2 and later, and resumption.
    fn default() -> Self {
        ClientTls {
            authorities: None,
            verify: true,
            name: None,
            credential: None,
            min_version: Version::Tls12,
            resumption: true,
        }
    }
}

/// The TLS settings of the listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// The listener's own certificate.
    pub credential: Credential,
    /// The authorities of client certificates. If they are set, a client must show a certificate of one of them.
    pub client_authorities: Option<Vec<CertificateDer<'static>>>,
    /// The latest allowed version.
    pub max_version: Version,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// A certificate with its chain, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The certificate, followed by the intermediate certificates up to its authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key, which `Debug` never prints.
    pub key: Arc<PrivateKeyDer<'static>>,
}

impl Credential {
    /// Checks that key and certificate can be used, and belong together.
    ///
    /// # Errors
    /// The reason in words.
    pub fn check(&self) -> Result<(), String> {
        let provider = aws_lc_rs::default_provider();
        match CertifiedKey::from_der(self.chain.clone(), self.key.clone_key(), &provider) {
            Ok(_) => Ok(()),
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err("the key does not belong to the certificate".to_owned())
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Checks that these certificates can be trusted as authorities.
///
/// # Errors
/// The reason in words.
pub fn check_authorities(certificates: &[CertificateDer<'static>]) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    certificates.iter().try_for_each(|one| roots.add(one.clone())).map_err(|error| error.to_string())
}

/// Why a text in PEM (RFC 7468) cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// The text has no item of this kind.
    #[error("there is no {0} in it")]
    Lacking(&'static str),
    /// The text is damaged.
    #[error("it is no valid PEM: {0}")]
    Broken(String),
}

/// Returns all certificates of a text in PEM, at least one.
///
/// # Errors
/// See [`PemError`].
pub fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(PemError::Lacking("certificate")),
        Ok(found) => Ok(found),
        Err(error) => Err(broken(error, "certificate")),
    }
}

/// Returns the first private key of a text in PEM: PKCS #8, PKCS #1 or SEC1, not encrypted.
///
/// # Errors
/// See [`PemError`].
pub fn key(text: &[u8]) -> Result<Arc<PrivateKeyDer<'static>>, PemError> {
    PrivateKeyDer::from_pem_slice(text).map(Arc::new).map_err(|error| broken(error, "private key"))
}

fn broken(error: pem::Error, what: &'static str) -> PemError {
    match error {
        pem::Error::NoItemsFound => PemError::Lacking(what),
        // The content of the file must not be shown, because it may be the key.
        pem::Error::MissingSectionEnd { .. } => PemError::Broken("a section has no end".to_owned()),
        pem::Error::IllegalSectionStart { .. } => {
            PemError::Broken("a section has an invalid BEGIN line".to_owned())
        }
        pem::Error::Base64Decode(_) => PemError::Broken("a section is not in base64".to_owned()),
        _ => PemError::Broken("it cannot be read".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_shows_itself_nowhere() {
        let made = rcgen::generate_simple_self_signed(["mx.example".to_owned()]).unwrap();
        let pem = made.signing_key.serialize_pem();
        let credential =
            Credential { chain: vec![made.cert.der().clone()], key: key(pem.as_bytes()).unwrap() };
        let bytes = made.signing_key.serialized_der();
        let shown = format!("{credential:?}");
        let numbers = format!("{bytes:?}");
        assert!(!shown.contains(numbers.trim_matches(['[', ']'])), "{shown}");
        let broken = pem.replace("-----END", "-----AND");
        let error = key(broken.as_bytes()).unwrap_err().to_string();
        assert!(!error.contains(&pem[30..60]), "{error}");
    }

    #[test]
    fn what_is_not_there_is_named() {
        let made = rcgen::generate_simple_self_signed(["mx.example".to_owned()]).unwrap();
        let (certificate, secret) = (made.cert.pem(), made.signing_key.serialize_pem());
        assert_eq!(certificates(format!("{certificate}{secret}{certificate}").as_bytes()).unwrap().len(), 2);
        assert_eq!(certificates(secret.as_bytes()), Err(PemError::Lacking("certificate")));
        assert_eq!(key(certificate.as_bytes()), Err(PemError::Lacking("private key")));
        assert_eq!(key(b""), Err(PemError::Lacking("private key")));
        let half = &certificate[..certificate.len() / 2];
        assert!(matches!(certificates(half.as_bytes()), Err(PemError::Broken(_))));
    }
}
