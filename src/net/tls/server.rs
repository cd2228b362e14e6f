//! The listener's side of TLS.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;

use super::client::{trusted, versions};
use super::{Security, TlsError};
use crate::net::address::tls::{ServerTls, Version};

/// Returns what the sessions of a listener need. Sessions are resumed by tickets (RFC 8446 2.2), so that the listener
/// stores no sessions.
///
/// # Errors
/// See [`TlsError`].
pub fn security(tls: &ServerTls) -> Result<Security, TlsError> {
    let credential = |error: rustls::Error| TlsError::Credential(error.to_string());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions(Version::Tls12, tls.max_version))
        .map_err(credential)?;
    let builder = match &tls.client_authorities {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let roots = Arc::new(trusted(authorities)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                .build()
                .map_err(|error| TlsError::Authority(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(tls.credential.chain.clone(), tls.credential.key.clone_key())
        .map_err(credential)?;
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(credential)?;
    Ok(Security::Server(Arc::new(config)))
}
