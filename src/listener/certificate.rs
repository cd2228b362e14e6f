//! The listener's certificate: a certificate from the profile, or a self-signed certificate that is made at the start
//! and that clients must be configured to trust.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use nix::fcntl::OFlag;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};

use super::ListenError;
use super::limits::Limits;
use crate::net::address::tls::{self, Credential, ServerTls};
use crate::net::tls::{Security, TlsError, server};

/// The largest file in bytes that is read to see whether it is a certificate.
const LARGEST: u64 = 1 << 20;

/// Returns the listener's TLS settings and its certificate, which is written to a file if the limits ask for it.
pub(super) fn security(limits: &Limits) -> Result<(Security, CertificateDer<'static>), ListenError> {
    let credential = match &limits.credential {
        Some(given) => given.clone(),
        None => made(&limits.hostname)?,
    };
    let certificate = credential.chain.first().cloned().ok_or_else(|| making("the chain is empty"))?;
    if let Some(path) = &limits.certificate_out {
        write_out(path, &pem(&certificate)).map_err(|source| {
            let path = path.display().to_string();
            ListenError::CertificateOut { path, source }
        })?;
    }
    let settings = ServerTls {
        credential,
        client_authorities: limits.client_authorities.clone(),
        max_version: limits.max_tls_version,
    };
    Ok((server::security(&settings)?, certificate))
}

/// Writes a certificate to a file that does not exist, or in the place of one that is empty, or that holds certificates and
/// nothing secret. A mistyped path, or a link that another user made, costs no other file.
///
/// # Errors
/// The file cannot be written, or it exists and is something else.
fn write_out(path: &Path, pem: &str) -> io::Result<()> {
    let before = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return fs::File::create_new(path)?.write_all(pem.as_bytes());
        }
        before => before?,
    };
    if !before.is_file() || before.len() > LARGEST || !may_be_replaced(&fs::read(path)?) {
        return Err(not_replaced());
    }
    replace(path, pem).or_else(|error| match error.kind() {
        // In a container the file may be all that can be written to: it is mounted, or its folder is read-only.
        io::ErrorKind::ResourceBusy
        | io::ErrorKind::CrossesDevices
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem => overwrite(path, pem),
        _ => Err(error),
    })
}

/// Puts a new file in the place of a file, so that nobody reads half a certificate.
fn replace(path: &Path, pem: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let written = fs::File::create_new(&new)
        .and_then(|mut file| file.write_all(pem.as_bytes()))
        .and_then(|()| fs::rename(&new, path));
    if written.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::AlreadyExists) {
        fs::remove_file(&new).ok();
    }
    written
}

/// Writes over the content of a file, which is checked once it is open: another user may have put something else there.
fn overwrite(path: &Path, pem: &str) -> io::Result<()> {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let mut file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
    let mut text = Vec::new();
    let is_file = file.metadata()?.is_file();
    if !is_file
        || (&file).take(LARGEST + 1).read_to_end(&mut text)? as u64 > LARGEST
        || !may_be_replaced(&text)
    {
        return Err(not_replaced());
    }
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(pem.as_bytes())
}

fn not_replaced() -> io::Error {
    io::Error::new(
        io::ErrorKind::AlreadyExists,
        "it exists and is not a regular file with a certificate alone, so it is not replaced",
    )
}

/// Whether a file is empty, as `mktemp` makes it, or holds certificates in PEM and no key.
fn may_be_replaced(text: &[u8]) -> bool {
    text.is_empty() || (tls::certificates(text).is_ok() && tls::key(text).is_err())
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
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use tls::certificates;

    #[test]
    fn what_is_written_out_can_be_read_back() {
        let credential = made("mx.example").unwrap();
        let pem = pem(&credential.chain[0]);
        assert_eq!(certificates(pem.as_bytes()).unwrap(), credential.chain);
        assert!(pem.lines().all(|line| line.len() <= 64));
        assert_eq!(fingerprint(&credential.chain[0]).len(), 95);
        assert!(matches!(made("no name \u{e9}"), Err(TlsError::Making(_))));
    }

    #[test]
    fn only_a_new_or_empty_file_or_a_certificate_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let [first, second] = [(); 2].map(|()| pem(&made("mx.example").unwrap().chain[0]));
        write_out(&path("new.pem"), &first).unwrap();
        write_out(&path("new.pem"), &second).unwrap();
        assert_eq!(fs::read_to_string(path("new.pem")).unwrap(), second);
        // mktemp makes an empty file, in which nothing is lost.
        fs::write(path("empty"), "").unwrap();
        write_out(&path("empty"), &second).unwrap();
        assert_eq!(fs::read_to_string(path("empty")).unwrap(), second);
        let key = KeyPair::generate().unwrap().serialize_pem();
        for (name, text) in [("notes", "my notes\n"), ("both.pem", &format!("{first}{key}"))] {
            fs::write(path(name), text).unwrap();
            for write in [write_out, overwrite] {
                let error = write(&path(name), &second).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{name}");
            }
            assert_eq!(fs::read_to_string(path(name)).unwrap(), text);
        }
        std::os::unix::fs::symlink(path("new.pem"), path("link.pem")).unwrap();
        std::os::unix::fs::symlink(path("nowhere"), path("dangling.pem")).unwrap();
        for name in ["link.pem", "dangling.pem", "."] {
            assert!(write_out(&path(name), &first).is_err(), "{name}");
            assert!(overwrite(&path(name), &first).is_err(), "{name}");
        }
        assert_eq!(fs::read_to_string(path("new.pem")).unwrap(), second);
        assert!(!path("nowhere").exists());
        let left = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 6, "no file is left beside them");
    }

    #[test]
    fn a_certificate_in_a_folder_that_cannot_be_written_to_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mounted.pem");
        let [first, second] = [(); 2].map(|()| pem(&made("mx.example").unwrap().chain[0]));
        fs::write(&path, first.repeat(3)).unwrap();
        let set_mode = |mode| fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
        set_mode(0o500);
        let written = write_out(&path, &second);
        set_mode(0o700);
        written.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), second);
        // Root may write to every folder.
        overwrite(&path, &first).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), first);
    }
}
