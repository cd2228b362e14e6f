//! A certificate for a listener on loopback, and its authority. Both are made for each listener.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// The files of a listener's certificate, in PEM.
pub struct Certificate {
    pub chain: PathBuf,
    pub key: PathBuf,
    /// The certificate of the authority, which a client trusts.
    authority: PathBuf,
}

impl Certificate {
    /// Makes one for `localhost` and 127.0.0.1 in a new folder `tls` of `root`. Only `owner` can read its key.
    pub fn make(root: &Path, owner: &str) -> Certificate {
        let folder = root.join("tls");
        fs::create_dir(&folder).unwrap();
        let file = |name: &str, content: String| {
            let path = folder.join(name);
            fs::write(&path, content).unwrap();
            path
        };
        let mut of_authority = CertificateParams::default();
        of_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        of_authority.distinguished_name.push(DnType::CommonName, "authority of a test");
        let issuer = CertifiedIssuer::self_signed(of_authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let made = Certificate {
            chain: file("chain.pem", certificate.pem()),
            key: file("key.pem", key.serialize_pem()),
            authority: file("authority.pem", issuer.pem()),
        };
        let script = r#"chown "$0" "$1" && chmod 600 "$1""#;
        let status = Command::new("sh").args(["-c", script, owner]).arg(&made.key).status().unwrap();
        assert!(status.success(), "no user {owner}");
        made
    }

    /// The flags with which a run trusts only this authority.
    pub fn trusted(&self) -> String {
        format!("--set target.tls_options.ca={}", self.authority.display())
    }

    /// The flags with which a trace trusts only this authority.
    pub fn trusted_by_trace(&self) -> String {
        format!("--ca {}", self.authority.display())
    }
}
