//! Certificates that OpenSSL accepts but another TLS library may not, at `openssl s_server`. Without verification each
//! session opens, and the fault of the certificate is reported. With verification the failure has the right name.

use std::io::Write;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// The arguments of `openssl req -x509`, and what is reported without and with verification.
const ODD: [(&[&str], &str, &str); 7] = [
    (
        &["-newkey", "rsa:1024"],
        "RSA key of 1024 bits: the TLS library refuses below 2048, so that nothing proves",
        // Its extensions are checked first.
        "authority's certificate",
    ),
    (
        &["-newkey", "rsa:2048", "-addext", "1.2.3.4=critical,ASN1:UTF8String:odd"],
        "critical extension",
        "it has a critical extension that the TLS library does not know",
    ),
    (&["-newkey", "rsa:2048", "-sha1"], "authority's certificate", "authority's certificate"),
    (&["-newkey", "rsa:2048", "-md5"], "authority's certificate", "authority's certificate"),
    (&["-newkey", "rsa:2048", "-set_serial", "-5"], "authority's certificate", "authority's certificate"),
    (&["-newkey", "rsa:2048", "-set_serial", "0x0102030405060708090a0b0c0d0e0f101112131415161718"], "", ""),
    (&["-newkey", "ed25519"], "authority's certificate", "authority's certificate"),
];

fn openssl(arguments: &[&str]) -> Option<Command> {
    let mut command = Command::new("openssl");
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    if Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_ok() {
        return Some(command);
    }
    assert!(std::env::var("SMTPRESS_REAL").as_deref() != Ok("required"), "openssl is not installed");
    None
}

/// A server with the certificate in `folder`, which greets.
struct Server(Child, u16);

impl Server {
    fn start(folder: &TempDir, version: &str) -> Server {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let accept = format!("127.0.0.1:{port}");
        let mut command = openssl(&["s_server", "-quiet", "-cipher", "ALL:@SECLEVEL=0", version]).unwrap();
        command.args(["-accept", &accept, "-cert", "certificate.pem", "-key", "key.pem"]);
        let mut child = command.current_dir(folder.path()).stdin(Stdio::piped()).spawn().unwrap();
        // The server reads this when a client is connected.
        child.stdin.as_mut().unwrap().write_all(b"220 odd.example\r\n").unwrap();
        std::thread::sleep(Duration::from_millis(500));
        Server(child, port)
    }

    /// Returns the condition of the TLS step of a session, and the handshake.
    fn traced(&self, flags: &[&str]) -> (Option<String>, Value) {
        let url = format!("smtps://127.0.0.1:{}", self.1);
        let mut command = Command::new(env!("CARGO_BIN_EXE_smtpress"));
        let said = command.args(["trace", &url, "--timeout", "2s", "--json"]).args(flags).output().unwrap();
        let traced: Value = serde_json::from_slice(&said.stdout).unwrap();
        let steps = traced["steps"].as_array().unwrap();
        let tls = steps.iter().find(|step| step["step"] == "tls").unwrap();
        (tls["condition"].as_str().map(str::to_owned), traced)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn holds(certificate: &[&str], unverified: &str, verified: &str) {
    let folder = tempfile::tempdir().unwrap();
    let made =
        openssl(&["req", "-x509", "-nodes", "-subj", "/CN=localhost", "-days", "30", "-keyout", "key.pem"])
            .map(|mut command| {
                command
                    .args(["-out", "certificate.pem"])
                    .args(certificate)
                    .current_dir(folder.path())
                    .status()
            });
    let Some(made) = made else { return };
    assert!(made.unwrap().success(), "{certificate:?}");
    for version in ["-tls1_2", "-tls1_3"] {
        let server = Server::start(&folder, version);
        let (condition, traced) = server.traced(&["--no-verify"]);
        assert_eq!(condition, None, "{certificate:?} {version}: {traced}");
        let untrusted = traced["tls"]["untrusted"].as_str().unwrap_or_default();
        assert!(untrusted.contains(unverified), "{certificate:?} {version}: {untrusted}");
        let (condition, traced) = server.traced(&[]);
        assert_eq!(condition.as_deref(), Some("tls-failure"), "{certificate:?} {version}: {traced}");
        let remarks = traced["remarks"].to_string();
        assert!(remarks.contains(verified), "{certificate:?} {version}: {remarks}");
        for text in [untrusted, &remarks] {
            assert!(
                !text.contains("signature is wrong") && !text.contains("Other("),
                "{certificate:?}: {text}"
            );
        }
    }
}

#[test]
fn what_openssl_takes_is_taken_without_verification_and_named_with_it() {
    std::thread::scope(|scope| {
        for (certificate, unverified, verified) in ODD {
            scope.spawn(move || holds(certificate, unverified, verified));
        }
    });
}

/// A certificate of version 1, which `openssl req -x509` does not make.
#[test]
fn a_certificate_of_version_1_is_taken_without_verification_and_named_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let steps: [&[&str]; 2] = [
        &[
            "req",
            "-new",
            "-nodes",
            "-newkey",
            "rsa:2048",
            "-subj",
            "/CN=localhost",
            "-keyout",
            "key.pem",
            "-out",
            "csr.pem",
        ],
        &["x509", "-req", "-in", "csr.pem", "-signkey", "key.pem", "-days", "30", "-out", "certificate.pem"],
    ];
    for step in steps {
        let Some(mut command) = openssl(step) else { return };
        assert!(command.current_dir(folder.path()).status().unwrap().success());
    }
    let server = Server::start(&folder, "-tls1_3");
    let (condition, traced) = server.traced(&["--no-verify"]);
    assert_eq!(condition, None, "{traced}");
    assert!(traced["tls"]["untrusted"].as_str().unwrap().contains("X.509 version 1"), "{traced}");
    let (condition, traced) = server.traced(&[]);
    assert_eq!(condition.as_deref(), Some("tls-failure"));
    assert!(traced["remarks"].to_string().contains("X.509 version 1"), "{traced}");
}

#[test]
fn a_handshake_that_fails_says_what_was_offered_and_what_came() {
    let folder = tempfile::tempdir().unwrap();
    let made =
        openssl(&["req", "-x509", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=localhost", "-days", "30"])
            .map(|mut command| {
                command
                    .args(["-keyout", "key.pem", "-out", "certificate.pem"])
                    .current_dir(folder.path())
                    .status()
            });
    let Some(made) = made else { return };
    assert!(made.unwrap().success());
    let server = Server::start(&folder, "-tls1_1");
    let (condition, traced) = server.traced(&["--no-verify"]);
    assert_eq!(condition.as_deref(), Some("tls-failure"), "{traced}");
    let remarks = traced["remarks"].to_string();
    for told in ["protocol_version", "offered were TLSv1.2 and TLSv1.3", "X25519", "record of TLSv1"] {
        assert!(remarks.contains(told), "{told}: {remarks}");
    }
}

/// If a certificate itself is trusted, only the signature is checked. The signature of a short key is right, but such a
/// key is refused.
#[test]
fn a_short_key_that_is_trusted_is_named_and_its_signature_not_called_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let made =
        openssl(&["req", "-x509", "-nodes", "-newkey", "rsa:1024", "-subj", "/CN=localhost", "-days", "30"])
            .map(|mut command| {
                command.args([
                    "-addext",
                    "subjectAltName=DNS:localhost",
                    "-keyout",
                    "key.pem",
                    "-out",
                    "certificate.pem",
                ]);
                command.current_dir(folder.path()).status()
            });
    let Some(made) = made else { return };
    assert!(made.unwrap().success());
    let authority = folder.path().join("certificate.pem");
    for version in ["-tls1_2", "-tls1_3"] {
        let server = Server::start(&folder, version);
        let (condition, traced) = server.traced(&["--ca", authority.to_str().unwrap(), "--sni", "localhost"]);
        assert_eq!(condition.as_deref(), Some("tls-failure"), "{traced}");
        let remarks = traced["remarks"].to_string();
        assert!(remarks.contains("RSA key of 1024 bits: the TLS library refuses below 2048"), "{remarks}");
        assert!(!remarks.contains("signature is wrong"), "{remarks}");
    }
}
