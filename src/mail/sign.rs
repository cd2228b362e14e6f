//! DKIM signatures (RFC 6376), computed by mail-auth. Signing needs a build with the feature `dkim`.
//!
//! # Decisions
//! - A message is signed when a session takes it, before its MAIL. So the time for signing counts as `lag` of the
//!   generator, and never as time of the listener.
//! - The signature covers what the signatures of real senders cover: the whole body and the fields From, To, Subject,
//!   Date, Message-ID and those about the content (relaxed/relaxed).
//! - The worker's thread renders the whole message once more, hashes and signs it. Ed25519 (RFC 8463) costs a small
//!   part of what RSA costs.

#[cfg(feature = "dkim")]
pub use with::Signer;
#[cfg(not(feature = "dkim"))]
pub use without::Signer;

/// Why messages cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSigner {
    /// This build has no DKIM.
    #[error("this smtpress was built without DKIM: build it with `--features dkim`")]
    Missing,
    /// The file holds no usable key.
    #[error("holds no private key: write it in PEM: PKCS#8 or PKCS#1 (RSA), PKCS#8 (Ed25519)")]
    Key,
    /// The domain or the selector is invalid.
    #[error("{0:?} is no domain")]
    Domain(String),
}

/// Checks that a text can be the value of `d=` or `s=`: labels with dots between them.
#[cfg_attr(not(feature = "dkim"), expect(dead_code, reason = "only what signs asks"))]
fn check_domain(domain: &str) -> Result<(), InvalidSigner> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let valid = domain.len() <= 253 && domain.split('.').all(label);
    if valid { Ok(()) } else { Err(InvalidSigner::Domain(domain.to_owned())) }
}

#[cfg(not(feature = "dkim"))]
mod without {
    use super::InvalidSigner;

    /// A type without values, because this build cannot sign.
    #[derive(Debug, PartialEq, Eq)]
    pub enum Signer {}

    impl Signer {
        /// Creates a signer with a key in PEM.
        ///
        /// # Errors
        /// Always: this build cannot sign.
        pub fn new(_pem: &[u8], _domain: &str, _selector: &str) -> Result<Signer, InvalidSigner> {
            Err(InvalidSigner::Missing)
        }

        /// Returns the size of the DKIM-Signature field in bytes.
        pub fn length(&self) -> u64 {
            match *self {}
        }

        pub(in crate::mail) fn sign(&self, _message: &[u8]) -> Vec<u8> {
            match *self {}
        }
    }
}

#[cfg(feature = "dkim")]
mod with {
    use mail_auth::common::crypto::{DkimKey, Ed25519Key, RsaKey};
    use mail_auth::common::headers::HeaderWriter;
    use mail_auth::dkim::{DkimSigner, Done};
    use rustls_pki_types::PrivateKeyDer;
    use rustls_pki_types::pem::PemObject;
    use sha2::{Digest, Sha256};

    use super::{InvalidSigner, check_domain};

    /// The signed fields. Fields that a message does not have are omitted.
    const SIGNED: [&str; 8] = [
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "MIME-Version",
        "Content-Type",
        "Content-Transfer-Encoding",
    ];

    /// Signs messages for a domain.
    pub struct Signer {
        signer: DkimSigner<DkimKey, Done>,
        length: u64,
        /// The digest of key, domain and selector.
        digest: [u8; 32],
    }

    impl std::fmt::Debug for Signer {
        /// Shows the signer without its key.
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("Signer").finish_non_exhaustive()
        }
    }

    impl PartialEq for Signer {
        fn eq(&self, other: &Self) -> bool {
            self.digest == other.digest
        }
    }

    impl Signer {
        /// Creates a signer with a key in PEM: RSA (PKCS#1 or PKCS#8) or Ed25519 (PKCS#8).
        ///
        /// # Errors
        /// The key or the domain is invalid.
        pub fn new(pem: &[u8], domain: &str, selector: &str) -> Result<Signer, InvalidSigner> {
            check_domain(domain)?;
            check_domain(selector)?;
            let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| InvalidSigner::Key)?;
            let key = match &der {
                PrivateKeyDer::Pkcs8(ed25519)
                    if let Ok(key) = Ed25519Key::from_pkcs8_der(ed25519.secret_pkcs8_der()) =>
                {
                    DkimKey::from(key)
                }
                _ => DkimKey::from(RsaKey::from_key_der(der.clone_key()).map_err(|_| InvalidSigner::Key)?),
            };
            let signer = DkimSigner::from_key(key).domain(domain).selector(selector).headers(SIGNED);
            let mut digest = Sha256::new();
            for part in [der.secret_der(), domain.as_bytes(), selector.as_bytes()] {
                digest.update((part.len() as u64).to_le_bytes());
                digest.update(part);
            }
            let mut signer = Signer { signer, length: 0, digest: digest.finalize().into() };
            // Signs one message with all signed fields, to learn the length of the field. Its length depends on nothing
            // else.
            let probe: String = SIGNED.iter().map(|name| format!("{name}: x\r\n")).collect();
            let signed = signer.try_sign(format!("{probe}\r\nx\r\n").as_bytes()).ok_or(InvalidSigner::Key)?;
            signer.length = signed.len() as u64;
            Ok(signer)
        }

        /// Returns the size of the DKIM-Signature field in bytes.
        pub fn length(&self) -> u64 {
            self.length
        }

        /// Returns the DKIM-Signature field of a message, with its CRLF.
        pub(in crate::mail) fn sign(&self, message: &[u8]) -> Vec<u8> {
            self.try_sign(message).expect("a key that has signed once signs again")
        }

        fn try_sign(&self, message: &[u8]) -> Option<Vec<u8>> {
            let header = self.signer.sign(message).ok()?.to_header();
            Some(header.into_bytes())
        }
    }
}
