//! The client's side of TLS: trusted authorities, client certificate, and resumable sessions.
//!
//! # Decisions
//! - Each worker stores its own resumable sessions, and more of them than the store of rustls keeps for one server (8).
//!   With many sessions at once, a store of 8 tickets would run out, and some handshakes would be full ones by chance.
//! - A certificate is checked even if verification is off, and its faults are reported: a run without verification
//!   should not hide that the listener's certificate has expired.
//! - The listener always has to prove that it has the certificate's key, unless the library refuses the key itself (RSA
//!   of 1024 bits, Ed448, RSASSA-PSS). Without verification such a listener is accepted and reported: an attacker who
//!   could forge this proof could show any other certificate too.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue, WebPkiServerVerifier,
    verify_server_name,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, NamedGroup, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};

use super::certificate::{self, Facts, Obstacle};
use super::{Security, TlsError};
use crate::net::address::tls::{ClientTls, Version};

/// The most sessions that a worker can resume. Each takes about 1 KiB.
const RESUMABLE: usize = 1024;

/// Signatures that the library cannot verify (RFC 8446 4.2.3): Ed448, and RSASSA-PSS by a key that is limited to
/// RSASSA-PSS. They are offered when verification is off, so that a listener with such a certificate can be loaded.
const UNPROVED: [SignatureScheme; 4] = [
    SignatureScheme::ED448,
    SignatureScheme::Unknown(0x0809),
    SignatureScheme::Unknown(0x080a),
    SignatureScheme::Unknown(0x080b),
];

/// Signatures that TLS 1.3 allows in certificates, but not in its handshake (RFC 8446 4.2.3).
const FOR_CERTIFICATES: [SignatureScheme; 5] = [
    SignatureScheme::RSA_PKCS1_SHA1,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
    SignatureScheme::ECDSA_SHA1_Legacy,
];

/// The settings that the clients of all workers share.
#[derive(Clone, Debug)]
pub struct TlsClient {
    tls: ClientTls,
    roots: Arc<RootCertStore>,
    name: ServerName<'static>,
    provider: Arc<CryptoProvider>,
}

impl TlsClient {
    /// Creates a client for a listener at `host`, a name or an address literal.
    ///
    /// # Errors
    /// See [`TlsError`]. Nothing is sent.
    pub fn new(tls: &ClientTls, host: &str) -> Result<TlsClient, TlsError> {
        let name = match &tls.name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))?,
        };
        let roots = match &tls.authorities {
            Some(authorities) => trusted(authorities)?,
            None => of_the_system(tls.verify)?,
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let client = TlsClient { tls: tls.clone(), roots: Arc::new(roots), name, provider };
        client.config().map(|_| client)
    }

    /// Returns the TLS settings for the sessions of one worker. A session can resume the TLS session of an earlier one.
    /// Must be called on the worker's own thread: the call performs the library's initialization of the thread, which
    /// would otherwise be part of the first handshake.
    ///
    /// # Errors
    /// The same as for [`TlsClient::new`], which has built the same configuration already.
    pub fn security(&self) -> Result<Security, TlsError> {
        let (config, doubts) = self.config()?;
        super::warm_up();
        Ok(Security::Client { config: Arc::new(config), name: self.name.clone(), doubts })
    }

    /// Returns the offer to a listener, in words.
    pub fn offered(&self) -> String {
        let versions = match self.tls.min_version {
            Version::Tls12 => "TLSv1.2 and TLSv1.3",
            Version::Tls13 => "TLSv1.3",
        };
        let groups: Vec<String> =
            self.provider.kx_groups.iter().map(|group| format!("{:?}", group.name())).collect();
        format!("{versions}, key exchange by {}", groups.join(", "))
    }

    fn config(&self) -> Result<(ClientConfig, Option<Arc<Doubts>>), TlsError> {
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(versions(self.tls.min_version, Version::Tls13))
            .map_err(|error| TlsError::Credential(error.to_string()))?;
        let doubts = (!self.tls.verify).then(|| Arc::new(Doubts::default()));
        let webpki = WebPkiServerVerifier::builder_with_provider(self.roots.clone(), self.provider.clone());
        let verifier = CertificateVerifier {
            // Without authorities the library has no verifier, and every certificate has an unknown issuer.
            webpki: webpki.build().ok(),
            named: self.tls.authorities.clone().unwrap_or_default(),
            doubts: doubts.clone(),
            provider: self.provider.clone(),
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &self.tls.credential {
            Some(credential) => builder
                .with_client_auth_cert(credential.chain.clone(), credential.key.clone_key())
                .map_err(|error| TlsError::Credential(error.to_string()))?,
            None => builder.with_no_client_auth(),
        };
        config.resumption = if self.tls.resumption {
            Resumption::store(Arc::new(Sessions::default()))
        } else {
            Resumption::disabled()
        };
        Ok((config, doubts))
    }
}

/// Returns the versions between the two, both included.
pub(super) fn versions(min: Version, max: Version) -> &'static [&'static SupportedProtocolVersion] {
    static OLD: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
    static NEW: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
    match (min, max) {
        (_, Version::Tls12) => &OLD,
        (Version::Tls12, Version::Tls13) => rustls::ALL_VERSIONS,
        (Version::Tls13, Version::Tls13) => &NEW,
    }
}

pub(super) fn trusted(authorities: &[CertificateDer<'static>]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone()).map_err(|error| TlsError::Authority(error.to_string()))?;
    }
    Ok(roots)
}

fn of_the_system(needed: bool) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    // Some certificates of a system may be too old to parse. They are skipped.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() && needed { Err(TlsError::NoAuthorities) } else { Ok(roots) }
}

/// Returns why a certificate is not trusted, in words.
pub(super) fn in_words(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => "none of the trusted authorities issued it".to_owned(),
        CertificateError::Other(other) if other.0.is::<Obstacle>() => format!("it {}", other.0),
        CertificateError::BadSignature => "its signature is wrong".to_owned(),
        CertificateError::BadEncoding => "it is not encoded as a certificate is (RFC 5280)".to_owned(),
        CertificateError::Expired => "it has expired".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => {
            format!("it expired {} ago", ago(time.as_secs().saturating_sub(not_after.as_secs())))
        }
        CertificateError::NotValidYet => "it is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { time, not_before } => {
            format!(
                "it is not valid for another {}",
                ago(not_before.as_secs().saturating_sub(time.as_secs()))
            )
        }
        CertificateError::Revoked => "it was revoked".to_owned(),
        CertificateError::NotValidForName => "it is for another name".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented = if presented.is_empty() { "none".to_owned() } else { presented.join(", ") };
            format!("it is not for {}: its names are {presented}", expected.to_str())
        }
        why if is_authority(why) => {
            "it is a certificate authority's certificate, not a server's, and is not itself listed as trusted"
                .to_owned()
        }
        // The texts of the library's other errors are identifiers in its source.
        CertificateError::Other(other) => spaced(&other.0.to_string()),
        other => spaced(&other.to_string()),
    }
}

/// Returns `PathLenConstraintViolated` in words: `path len constraint violated`.
fn spaced(name: &str) -> String {
    if !name.chars().all(|c| c.is_ascii_alphanumeric()) {
        return name.to_owned();
    }
    let mut words = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

fn ago(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} seconds"),
        120..=7_199 => format!("{} minutes", seconds / 60),
        7_200..=172_799 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// The faults of the listener's certificate, noted by a verifier that accepts every certificate.
#[derive(Debug, Default)]
pub struct Doubts(Mutex<Option<String>>);

impl Doubts {
    /// Returns the faults since the last call.
    pub(super) fn take(&self) -> Option<String> {
        lock(&self.0).take()
    }

    fn add(&self, doubt: String) {
        let mut doubts = lock(&self.0);
        *doubts = Some(doubts.take().map_or_else(|| doubt.clone(), |before| format!("{before}; {doubt}")));
    }
}

/// Checks the listener's certificate. With `doubts` it accepts every certificate and notes its faults. In both cases
/// the listener must prove that it has the certificate's key, unless the library cannot use the key and `doubts` notes
/// that.
#[derive(Debug)]
struct CertificateVerifier {
    webpki: Option<Arc<WebPkiServerVerifier>>,
    /// The trusted certificates that the user named.
    named: Vec<CertificateDer<'static>>,
    doubts: Option<Arc<Doubts>>,
    provider: Arc<CryptoProvider>,
}

impl CertificateVerifier {
    /// Checks that the listener signed with its certificate's key. `verified` is the library's own result.
    fn proved(
        &self,
        verified: Result<HandshakeSignatureValid, Error>,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let Err(error) = verified else { return verified };
        let Some(Facts { key, .. }) = Facts::read(certificate) else { return Err(error) };
        let mapping = self.provider.signature_verification_algorithms.mapping;
        let of_scheme = mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
        let of_key: Vec<_> = of_scheme
            .into_iter()
            .flat_map(|(_, algorithms)| *algorithms)
            .filter(|algorithm| algorithm.public_key_alg_id().as_ref() == key.algorithm)
            .collect();
        // The key can be used even if the library refuses the form of the certificate.
        let proves = |algorithm: &&&dyn SignatureVerificationAlgorithm| {
            algorithm.verify_signature(key.bytes, message, signed.signature()).is_ok()
        };
        if of_key.iter().any(proves) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let obstacle = match key.of_size() {
            Some(size) => format!("has an {size}"),
            None if of_key.is_empty() => {
                format!("has a key of a kind that the TLS library does not know ({})", key.name())
            }
            None => return Err(error),
        };
        let Some(doubts) = &self.doubts else { return Err(Obstacle(obstacle).into()) };
        doubts.add(format!("it {obstacle}, so that nothing proves that the listener has it"));
        Ok(HandshakeSignatureValid::assertion())
    }

    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<(), Error> {
        let Some(webpki) = &self.webpki else {
            return Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
        };
        match webpki.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // A certificate of `openssl req -x509` is marked as an authority. If the user named the listener's own
            // certificate as trusted, only its name is checked, not its dates.
            Err(Error::InvalidCertificate(why))
                if is_authority(&why) && self.named.iter().any(|named| named == certificate) =>
            {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)
            }
            judged => judged.map(drop).map_err(|error| {
                let named = self.named.iter().map(AsRef::as_ref);
                let others: Vec<&[u8]> = intermediates.iter().map(AsRef::as_ref).chain(named).collect();
                certificate::named(error, certificate, &others)
            }),
        }
    }
}

fn is_authority(why: &CertificateError) -> bool {
    matches!(why, CertificateError::Other(other) if other.0.to_string() == "CaUsedAsEndEntity")
}

impl ServerCertVerifier for CertificateVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = self.judge(certificate, intermediates, name, ocsp, now);
        let Some(doubts) = &self.doubts else {
            return judged.map(|()| ServerCertVerified::assertion());
        };
        match judged {
            Ok(()) => {}
            Err(Error::InvalidCertificate(why)) => doubts.add(in_words(&why)),
            Err(other) => doubts.add(other.to_string()),
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let verified = rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms);
        self.proved(verified, message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let verified = rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms);
        if FOR_CERTIFICATES.contains(&signed.scheme) {
            return verified;
        }
        self.proved(verified, message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.provider.signature_verification_algorithms.supported_schemes();
        if self.doubts.is_some() {
            schemes.extend(UNPROVED);
        }
        schemes
    }
}

/// The resumable sessions of one worker, all with one server.
#[derive(Debug, Default)]
struct Sessions(Mutex<ResumableSessions>);

#[derive(Debug, Default)]
struct ResumableSessions {
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    /// The oldest ticket comes first. Each can be used once.
    tickets: VecDeque<Tls13ClientSessionValue>,
}

/// Locks a mutex. The data stays valid after a panic of another thread.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, _server: ServerName<'static>, group: NamedGroup) {
        lock(&self.0).group = Some(group);
    }

    fn kx_hint(&self, _server: &ServerName<'_>) -> Option<NamedGroup> {
        lock(&self.0).group
    }

    fn set_tls12_session(&self, _server: ServerName<'static>, session: Tls12ClientSessionValue) {
        lock(&self.0).tls12 = Some(session);
    }

    fn tls12_session(&self, _server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        lock(&self.0).tls12.clone()
    }

    fn remove_tls12_session(&self, _server: &ServerName<'static>) {
        lock(&self.0).tls12 = None;
    }

    fn insert_tls13_ticket(&self, _server: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let tickets = &mut lock(&self.0).tickets;
        if tickets.len() >= RESUMABLE {
            tickets.pop_front();
        }
        tickets.push_back(ticket);
    }

    fn take_tls13_ticket(&self, _server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        // The latest ticket has the longest lifetime left.
        lock(&self.0).tickets.pop_back()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::SigningKey;
    use rustls::internal::msgs::codec::{Codec, Reader};

    use super::*;

    #[test]
    fn a_signature_that_is_only_for_certificates_proves_nothing_in_tls_1_3() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        let params = rcgen::CertificateParams::new(["mx.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let message = b"the dialogue so far";
        let signature = key.sign(message).unwrap();
        // The form of RFC 8446 4.4.3, with rsa_pkcs1_sha256.
        let bytes =
            [&[4, 1][..], &u16::try_from(signature.len()).unwrap().to_be_bytes(), &signature].concat();
        let signed = DigitallySignedStruct::read(&mut Reader::init(&bytes)).unwrap();
        for doubts in [None, Some(Arc::default())] {
            let provider = Arc::new(aws_lc_rs::default_provider());
            let verifier = CertificateVerifier { webpki: None, named: Vec::new(), doubts, provider };
            assert!(verifier.verify_tls12_signature(message, certificate.der(), &signed).is_ok());
            assert!(verifier.verify_tls13_signature(message, certificate.der(), &signed).is_err());
        }
    }
}
