//! TLS in a profile: `tls` and `tls_options` of `[target]`, and the keys of `[listener]` about it. Certificates and keys are
//! read here, so that a wrong one is an error with its place, before anything is sent.
//!
//! Files are named from the directory in which smtpress is started.

use std::path::Path;

use rustls::pki_types::{CertificateDer, ServerName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::{Document, Key, keys};
use super::error::ProfileError;
use super::input;
use super::listener::Listener;
use super::schema::{self, Profile, tables, words};
use super::units::Percent;
use crate::listener::limits;
use crate::net::address::Target;
use crate::net::address::tls::{self, ClientTls, Credential, PemError, Version};
use crate::plan::Plan;
use crate::smtp::script;

words! {
    /// Whether and how TLS is used.
    Tls {
        /// Clear text.
        None = "none",
        /// STARTTLS (RFC 3207).
        Starttls = "starttls",
        /// TLS from the first byte (RFC 8314).
        Implicit = "implicit",
    }
    /// A version of TLS.
    TlsVersion {
        /// TLS 1.2 (RFC 5246).
        Tls12 = "1.2",
        /// TLS 1.3 (RFC 8446).
        Tls13 = "1.3",
    }
}

tables! {
    /// Details of TLS. Files are in PEM, named from the directory in which smtpress is started.
    TlsOptions {
        /// A file of certificates to trust. Absent: the authorities that the system trusts; for the embedded listener its
        /// own certificate.
        ca: String,
        /// Whether a certificate that is not trusted, or has another name, ends the session. Default true; if false, what
        /// speaks against it is told all the same.
        verify: bool,
        /// The server name to ask for and to find in the certificate. Default: the target's host.
        sni: String,
        /// A file with our certificate, and with those that lead to its authority.
        client_cert: String,
        /// A file with its key, not encrypted.
        client_key: String,
        /// The oldest version that is spoken. Default 1.2.
        min_version: TlsVersion,
        /// Whether the sessions of a thread resume those before them. Default true.
        resumption: bool,
    }
}

impl From<TlsVersion> for Version {
    fn from(version: TlsVersion) -> Version {
        match version {
            TlsVersion::Tls12 => Version::Tls12,
            TlsVersion::Tls13 => Version::Tls13,
        }
    }
}

/// Whether and how sessions are encrypted: as `tls` says, or as the address does. `written`: without defaults.
///
/// # Errors
/// The two contradict each other, or TLS has details and is not asked for.
pub(super) fn mode(
    document: &Document,
    written: &schema::Target,
    target: &Target,
) -> Result<script::Tls, ProfileError> {
    let tls = written.tls;
    if target.implicit_tls() {
        return match tls {
            None | Some(Tls::Implicit) => Ok(script::Tls::Implicit),
            Some(other) => Err(document.error_at(
                &keys!["target", "tls"],
                format!("`tls = \"{}\"` with an address that begins with smtps://", other.as_str()),
                "remove the key, or write smtp:// in the address",
            )),
        };
    }
    if tls.is_none() && written.tls_options.is_some() {
        return Err(document.error_at_key(
            &keys!["target", "tls_options"],
            "TLS has details here and is not asked for",
            "write `tls = \"starttls\"` or `tls = \"implicit\"` in [target]",
        ));
    }
    Ok(match tls {
        None | Some(Tls::None) => script::Tls::None,
        Some(Tls::Starttls) => script::Tls::Starttls,
        Some(Tls::Implicit) => script::Tls::Implicit,
    })
}

/// The client's side.
///
/// # Errors
/// A file that cannot be used, or a name that no certificate can have.
pub(super) fn client(
    document: &Document,
    profile: &Profile,
    target: &Target,
    mode: script::Tls,
) -> Result<ClientTls, ProfileError> {
    if mode == script::Tls::None {
        return Ok(ClientTls::default());
    }
    let options = profile.target.as_ref().and_then(|target| target.tls_options.clone()).unwrap_or_default();
    let at = |key: &'static str| keys!["target", "tls_options", key];
    let name = match (&options.sni, target.host()) {
        (Some(sni), _) => Some(ServerName::try_from(sni.clone()).map_err(|_| {
            document.error_at(
                &at("sni"),
                format!("{sni:?} is no name that a certificate could have"),
                "write a host name such as \"mx.example\", or an address",
            )
        })?),
        (None, Some(host)) if ServerName::try_from(host).is_err() => {
            return Err(document.error_at(
                &keys!["target", "address"],
                format!("{host:?} is no name that a certificate could have"),
                "add [target.tls_options] with `sni = \"...\"`, the name in the listener's certificate",
            ));
        }
        (None, None) if !target.is_embedded() => {
            return Err(document.error_at(
                &keys!["target", "address"],
                "a unix socket has no name to be found in a certificate",
                "add [target.tls_options] with `sni = \"...\"`, the name in the listener's certificate",
            ));
        }
        (None, _) => None,
    };
    Ok(ClientTls {
        authorities: options.ca.map(|path| authorities(document, &at("ca"), &path)).transpose()?,
        verify: options.verify.unwrap_or(true),
        name,
        credential: credential(
            document,
            (&at("client_cert"), options.client_cert.as_deref()),
            (&at("client_key"), options.client_key.as_deref()),
        )?,
        min_version: options.min_version.map_or(Version::Tls12, Version::from),
        resumption: options.resumption.unwrap_or(true),
    })
}

/// What `check` says of a plan's TLS.
pub(super) fn told(plan: &Plan) -> String {
    let tls = &plan.tls;
    let mode = match plan.script.tls {
        script::Tls::None => "none",
        script::Tls::Starttls => "STARTTLS",
        script::Tls::Implicit => "from the first octet",
    };
    let trust = match (tls.verify, &tls.authorities) {
        (false, _) => "certificates are not verified".to_owned(),
        (true, Some(authorities)) => {
            format!("{} trusted", counted(authorities.len(), "authority", "authorities"))
        }
        (true, None) if plan.target.is_embedded() => "the listener's own certificate is trusted".to_owned(),
        (true, None) => "the system's authorities are trusted".to_owned(),
    };
    let name = tls.name.as_ref().map(|name| format!(", name {}", name.to_str())).unwrap_or_default();
    let version = match tls.min_version {
        Version::Tls12 => "TLS 1.2 or later",
        Version::Tls13 => "TLS 1.3",
    };
    let ours = if tls.credential.is_some() { ", with our certificate" } else { "" };
    let resumption = if tls.resumption { "sessions are resumed" } else { "every handshake is full" };
    format!("{mode}, {version}, {trust}{name}{ours}, {resumption}")
}

fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// The keys of `[listener]` about TLS.
pub(super) struct OfListener {
    pub tls: limits::Tls,
    pub credential: Option<Credential>,
    pub client_authorities: Option<Vec<CertificateDer<'static>>>,
    pub max_version: Version,
    pub error_rate: f64,
}

/// The listener's side. The embedded listener speaks TLS as its clients do, unless it is told otherwise.
///
/// # Errors
/// A file that cannot be used, or keys without TLS.
pub(super) fn listener(
    document: &Document,
    listener: &Listener,
    clients: script::Tls,
) -> Result<OfListener, ProfileError> {
    let at = |key: &'static str| keys!["listener", key];
    let tls = match listener.tls {
        Some(Tls::None) => limits::Tls::None,
        Some(Tls::Starttls) => limits::Tls::Starttls,
        Some(Tls::Implicit) => limits::Tls::Implicit,
        None => match clients {
            script::Tls::None => limits::Tls::None,
            script::Tls::Starttls => limits::Tls::Starttls,
            script::Tls::Implicit => limits::Tls::Implicit,
        },
    };
    let idle = [
        ("cert", listener.cert.is_some(), tls != limits::Tls::None),
        ("key", listener.key.is_some(), tls != limits::Tls::None),
        ("cert_out", listener.cert_out.is_some(), tls != limits::Tls::None),
        ("client_ca", listener.client_ca.is_some(), tls != limits::Tls::None),
        ("max_tls_version", listener.max_tls_version.is_some(), tls != limits::Tls::None),
        ("tls_error_rate", listener.tls_error_rate.is_some(), tls == limits::Tls::Starttls),
        ("refuse_before_tls", listener.refuse_before_tls.is_some(), tls == limits::Tls::Implicit),
    ];
    if let Some((key, ..)) = idle.into_iter().find(|(_, given, used)| *given && !used) {
        let wanted = if key == "refuse_before_tls" { "implicit" } else { "starttls" };
        return Err(document.error_at_key(
            &at(key),
            format!("`{key}` has no use here: the listener's TLS is another"),
            format!("write `tls = \"{wanted}\"` in [listener], or remove the key"),
        ));
    }
    let Percent(percent) = listener.tls_error_rate.unwrap_or(Percent(0.0));
    if percent > 100.0 {
        return Err(document.error_at(
            &at("tls_error_rate"),
            format!("{percent}% is more than always"),
            "write at most 100%",
        ));
    }
    Ok(OfListener {
        tls,
        credential: credential(
            document,
            (&at("cert"), listener.cert.as_deref()),
            (&at("key"), listener.key.as_deref()),
        )?,
        client_authorities: listener
            .client_ca
            .as_deref()
            .map(|path| authorities(document, &at("client_ca"), path))
            .transpose()?,
        max_version: listener.max_tls_version.map_or(Version::Tls13, Version::from),
        error_rate: percent / 100.0,
    })
}

/// A certificate and its key, which come together.
fn credential(
    document: &Document,
    (cert_at, cert): (&[Key], Option<&str>),
    (key_at, key): (&[Key], Option<&str>),
) -> Result<Option<Credential>, ProfileError> {
    let (cert, key) = match (cert, key) {
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => (cert, key),
        (Some(_), None) => {
            return Err(document.error_at(
                cert_at,
                "a certificate without its key",
                "name the key's file too",
            ));
        }
        (None, Some(_)) => {
            return Err(document.error_at(key_at, "a key without its certificate", "name its file too"));
        }
    };
    let chain = read(document, cert_at, cert, tls::certificates)?;
    let key = read(document, key_at, key, tls::key)?;
    let credential = Credential { chain, key };
    credential.check().map_err(|error| {
        document.error_at(
            cert_at,
            format!("{cert} and its key cannot be used: {error}"),
            "name a pair that belongs together",
        )
    })?;
    Ok(Some(credential))
}

fn authorities(
    document: &Document,
    at: &[Key],
    path: &str,
) -> Result<Vec<CertificateDer<'static>>, ProfileError> {
    let certificates = read(document, at, path, tls::certificates)?;
    tls::check_authorities(&certificates).map_err(|error| {
        document.error_at(
            at,
            format!("a certificate in {path} cannot be trusted: {error}"),
            "name a file of X.509 certificates in PEM",
        )
    })?;
    Ok(certificates)
}

fn read<T>(
    document: &Document,
    at: &[Key],
    path: &str,
    parse: impl Fn(&[u8]) -> Result<T, PemError>,
) -> Result<T, ProfileError> {
    let text = input::read(Path::new(path)).map(input::pem).map_err(|error| {
        document.error_at(
            at,
            format!("failed to read {path}: {error}"),
            "files are named from the directory in which smtpress is started",
        )
    })?;
    parse(&text).map_err(|error| {
        document.error_at(
            at,
            format!("{path} cannot be used: {error}"),
            "name a file in PEM (-----BEGIN ...)",
        )
    })
}
