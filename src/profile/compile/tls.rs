//! TLS in a profile: `tls` and `tls_options` of `[target]`, and the keys of `[listener]` about it. Certificates and
//! keys are read here, before anything is sent, so that a wrong one is an error with its place.
//!
//! Paths are relative to the directory in which smtpress is started.

use std::path::Path;

use rustls::pki_types::{CertificateDer, ServerName};

use crate::net::address::Target;
use crate::net::address::tls::{self, ClientTls, Credential, PemError, Version};
use crate::plan::Plan;
use crate::profile::document::{Document, Key, keys};
use crate::profile::error::ProfileFault;
use crate::profile::input;
use crate::profile::schema::Profile;
use crate::profile::schema::listener::Listener;
use crate::profile::schema::target;
use crate::profile::table::{KeyTable, Keyword, Word};
use crate::smtp::script::TlsMode;

/// Returns whether and how sessions are encrypted, by the key `tls` or the scheme of the address. `written` is the
/// table without defaults.
///
/// # Errors
/// `tls` and the address contradict each other, or `tls_options` is given without TLS.
pub(super) fn mode(
    document: &Document,
    written: &target::Target,
    target: &Target,
) -> Result<TlsMode, ProfileFault> {
    let tls = written.tls.map(|Word(tls)| tls);
    if target.implicit_tls() {
        return match tls {
            None | Some(TlsMode::Implicit) => Ok(TlsMode::Implicit),
            Some(other) => Err(document.error_at(
                &keys!["target", "tls"],
                format!("`tls = \"{}\"` with an address that begins with smtps://", other.word()),
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
    Ok(tls.unwrap_or(TlsMode::None))
}

/// Compiles the client's side.
///
/// # Errors
/// A file that cannot be used, or a name that cannot stand in a certificate.
pub(super) fn client(
    document: &Document,
    profile: &Profile,
    target: &Target,
    mode: TlsMode,
) -> Result<ClientTls, ProfileFault> {
    if mode == TlsMode::None {
        return Ok(ClientTls::default());
    }
    let options = profile.target().tls_options();
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
        authorities: options.ca.as_ref().map(|path| authorities(document, &at("ca"), path)).transpose()?,
        verify: options.verify(),
        name,
        credential: credential(
            document,
            (&at("client_cert"), options.client_cert.as_deref()),
            (&at("client_key"), options.client_key.as_deref()),
        )?,
        min_version: options.min_version().0,
        resumption: options.resumption(),
    })
}

/// Returns what `check` reports about a plan's TLS.
pub fn describe(plan: &Plan) -> String {
    let tls = &plan.tls;
    let mode = match plan.script.tls {
        TlsMode::None => "none",
        TlsMode::Starttls => "STARTTLS",
        TlsMode::Implicit => "from the first byte",
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
    pub tls: TlsMode,
    pub credential: Option<Credential>,
    pub client_authorities: Option<Vec<CertificateDer<'static>>>,
}

/// Compiles the listener's side. The embedded listener uses TLS as its clients do, unless `tls` says otherwise.
///
/// # Errors
/// A file that cannot be used, or keys about TLS without TLS.
pub(super) fn listener(
    document: &Document,
    listener: &Listener,
    clients: Option<TlsMode>,
) -> Result<OfListener, ProfileFault> {
    let at = |key: &'static str| keys!["listener", key];
    let tls = listener.tls.map(|Word(tls)| tls).or(clients).unwrap_or(TlsMode::None);
    let needs = [
        ("cert", tls != TlsMode::None),
        ("key", tls != TlsMode::None),
        ("cert_out", tls != TlsMode::None),
        ("client_ca", tls != TlsMode::None),
        ("max_tls_version", tls != TlsMode::None),
        ("tls_error_rate", tls == TlsMode::Starttls),
        ("refuse_before_tls", tls == TlsMode::Implicit),
    ];
    let given = listener.given();
    if let Some((key, _)) = needs.into_iter().find(|(key, used)| !used && given.contains(key)) {
        let wanted = if key == "refuse_before_tls" { "implicit" } else { "starttls" };
        return Err(document.error_at_key(
            &at(key),
            format!("`{key}` has no use here: the listener's TLS is another"),
            format!("write `tls = \"{wanted}\"` in [listener], or remove the key"),
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
    })
}

/// Reads a certificate and its key, which must be given together.
fn credential(
    document: &Document,
    (cert_at, cert): (&[Key], Option<&str>),
    (key_at, key): (&[Key], Option<&str>),
) -> Result<Option<Credential>, ProfileFault> {
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
) -> Result<Vec<CertificateDer<'static>>, ProfileFault> {
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
) -> Result<T, ProfileFault> {
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
