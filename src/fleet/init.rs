//! Makes the files of a permanent fleet: a configuration of nats-server with TLS, and credentials for the coordinator
//! and each agent.
//!
//! # Decisions
//! - Users are nkeys: the server's configuration holds only their public keys, and needs no operator, resolver or other
//!   tool.
//! - The coordinator has one key to log in and another key to sign commands: at a login the server chooses the text to
//!   sign, and that text could be a command.
//! - Each user has its own inbox (`_INBOX.NAME`), so that no agent can read the answers to another user.
//! - The key of the authority that signed the server's certificate is not stored: nothing needs it later.
//! - Paths in the configuration are relative to the folder in which nats-server is started, so that the folder can be
//!   moved to another machine.

use std::fmt::Write;

use nkeys::KeyPair;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose,
};

use super::subject;

/// The name of the coordinator on the bus, and of its inbox.
pub const COORDINATOR: &str = "coordinator";

/// Why the files cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// A certificate cannot be made for these names.
    #[error(
        "failed to make a certificate for {names}: {source}; write names and addresses of the NATS server's machine"
    )]
    Certificate {
        /// The names of the server's machine.
        names: String,
        /// The cause.
        source: rcgen::Error,
    },
    /// A key cannot be made.
    #[error("failed to make a key: {0}")]
    Key(#[from] nkeys::error::Error),
}

/// The settings of a new fleet.
#[derive(Clone, Debug)]
pub struct FleetSettings {
    /// The number of agents.
    pub agents: usize,
    /// Names and addresses of the NATS server's machine; the commands in the README use the first.
    pub hosts: Vec<String>,
    /// The port of the NATS server.
    pub port: u16,
}

/// A file of the fleet.
#[derive(Clone, Debug)]
pub struct FleetFile {
    /// The file name.
    pub name: String,
    /// Whether it is secret: only its owner may read it.
    pub is_secret: bool,
    /// The contents.
    pub text: String,
}

/// The files of a fleet, and what agents need to join it.
#[derive(Clone, Debug)]
pub struct FleetFiles {
    /// The files.
    pub files: Vec<FleetFile>,
    /// The public key that belongs to the signatures of commands.
    pub coordinator: String,
    /// The URL of the NATS server.
    pub url: String,
}

/// Makes the files of a fleet with new keys. Writes nothing.
///
/// # Errors
/// A host name is invalid.
pub fn files(settings: &FleetSettings) -> Result<FleetFiles, InitError> {
    let names: Vec<String> = (1..=settings.agents).map(|number| format!("agent-{number}")).collect();
    let signing = KeyPair::new_user();
    let (authority, certificate, key) = certificates(&settings.hosts)?;
    let first = settings.hosts.first().map_or("localhost", String::as_str);
    let host = if first.contains(':') { format!("[{first}]") } else { first.to_owned() };
    let url = format!("tls://{host}:{}", settings.port);
    let mut files = Vec::new();
    let mut add = |name: &str, is_secret: bool, text: String| {
        files.push(FleetFile { name: name.to_owned(), is_secret, text });
    };
    let mut users = String::new();
    let coordinator = KeyPair::new_user();
    users.push_str(&user(&coordinator, COORDINATOR, &of_coordinator()));
    add("coordinator.creds", true, secret(&coordinator, "the login of the coordinator at the NATS server")?);
    add("coordinator.key", true, secret(&signing, "signs the coordinator's commands")?);
    add("coordinator.pub", false, signing.public_key() + "\n");
    for name in &names {
        let agent = KeyPair::new_user();
        users.push_str(&user(&agent, name, &of_agent(name)));
        add(
            &format!("{name}.creds"),
            true,
            secret(&agent, &format!("the login of {name} at the NATS server"))?,
        );
    }
    add("ca.pem", false, authority);
    add("server.pem", false, certificate);
    add("server.key", true, key);
    add("nats-server.conf", false, configuration(settings.port, &users));
    let public = signing.public_key();
    add("README.txt", false, readme(&url, &public));
    Ok(FleetFiles { files, coordinator: public, url })
}

/// Returns the authority's certificate, the server's certificate and the server's key, in PEM.
fn certificates(hosts: &[String]) -> Result<(String, String, String), InitError> {
    let failed = |source| InitError::Certificate { names: hosts.join(", "), source };
    let mut authority = CertificateParams::new(Vec::new()).map_err(failed)?;
    authority.distinguished_name.push(DnType::CommonName, "smtpress fleet");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority_key = rcgen::KeyPair::generate().map_err(failed)?;
    let authority_certificate = authority.self_signed(&authority_key).map_err(failed)?;
    let issuer = Issuer::new(authority, authority_key);
    let mut server = CertificateParams::new(hosts.to_vec()).map_err(failed)?;
    server.distinguished_name.push(DnType::CommonName, "smtpress fleet nats-server");
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let server_key = rcgen::KeyPair::generate().map_err(failed)?;
    let certificate = server.signed_by(&server_key, &issuer).map_err(failed)?;
    Ok((authority_certificate.pem(), certificate.pem(), server_key.serialize_pem()))
}

/// Returns the file of a key: a comment with its purpose, and its seed.
fn secret(key: &KeyPair, what: &str) -> Result<String, InitError> {
    Ok(format!("# smtpress fleet: {what}. Secret.\n{}\n", key.seed()?))
}

/// The permissions of a user.
struct Permissions {
    publish: Vec<String>,
    subscribe: Vec<String>,
    answers: bool,
}

fn of_agent(name: &str) -> Permissions {
    Permissions {
        publish: vec![
            subject::heartbeat(name),
            subject::reports_of(name),
            // Needed to see whether the stream exists.
            format!("$JS.API.STREAM.INFO.{}", subject::STREAM),
        ],
        subscribe: vec![subject::command(name), subject::control("*"), format!("_INBOX.{name}.>")],
        answers: true,
    }
}

fn of_coordinator() -> Permissions {
    Permissions {
        publish: vec![
            subject::command("*"),
            subject::control("*"),
            subject::RECORDS.to_owned(),
            "$JS.API.>".to_owned(),
            "$JS.ACK.>".to_owned(),
            "$KV.>".to_owned(),
        ],
        subscribe: vec![
            subject::HEARTBEATS.to_owned(),
            // Needed to see whether another coordinator has taken the run over.
            subject::control("*"),
            format!("_INBOX.{COORDINATOR}.>"),
        ],
        answers: false,
    }
}

fn user(key: &KeyPair, name: &str, permissions: &Permissions) -> String {
    format!(
        "      # {name}\n      {{\n        nkey: {}\n        permissions: {{\n{}        }}\n      }}\n",
        key.public_key(),
        rights(permissions),
    )
}

/// Returns the users of a private server, with names and passwords, for its configuration. The coordinator and the
/// agents have the permissions of a permanent fleet.
pub(super) fn passwords(users: &[(String, String)]) -> String {
    let user = |(name, password): &(String, String)| {
        let permissions = if name == COORDINATOR { of_coordinator() } else { of_agent(name) };
        format!(
            "  {{\n    user: \"{name}\"\n    password: \"{password}\"\n    permissions: {{\n{}    }}\n  }}\n",
            rights(&permissions)
        )
    };
    users.iter().map(user).collect()
}

fn rights(permissions: &Permissions) -> String {
    let list = |subjects: &[String]| {
        let quoted: Vec<String> = subjects.iter().map(|subject| format!("\"{subject}\"")).collect();
        quoted.join(", ")
    };
    let answers =
        if permissions.answers { "\n          allow_responses: { max: 1, expires: \"5m\" }" } else { "" };
    format!(
        "          publish: {{ allow: [{}] }}\n          subscribe: {{ allow: [{}] }}{answers}\n",
        list(&permissions.publish),
        list(&permissions.subscribe),
    )
}

fn configuration(port: u16, users: &str) -> String {
    format!(
        "# nats-server 2.9.10 or later, for a fleet of smtpress. Paths are relative: start it in this folder.\n\
         server_name: smtpress-fleet\n\
         port: {port}\n\
         max_payload: 4MB\n\
         tls {{\n  cert_file: \"server.pem\"\n  key_file: \"server.key\"\n  timeout: 10\n}}\n\
         jetstream {{\n  store_dir: \"jetstream\"\n}}\n\
         # Users by their public keys. An agent may send its own heartbeats, reports and answers, and reads its\n\
         # own commands and the coordinator's word to a run.\n\
         accounts {{\n  FLEET {{\n    jetstream: enabled\n    users: [\n{users}    ]\n  }}\n}}\n"
    )
}

fn readme(url: &str, public: &str) -> String {
    let mut text = String::from(
        "A fleet of smtpress\n===================\n\nFiles. Those marked * are secret: copy each only to where it is used.\n\n",
    );
    for (name, what) in [
        (
            "nats-server.conf",
            "configuration of nats-server 2.9.10 or later (Debian: apt install nats-server)",
        ),
        ("server.pem", "the NATS server's certificate"),
        ("server.key *", "its key"),
        ("ca.pem", "trusts that certificate: for the coordinator and every agent"),
        (
            "agent-N.creds *",
            "the login of agent N at the NATS server; it gives the agent its name: one machine each",
        ),
        ("coordinator.creds *", "the login of the coordinator at the NATS server"),
        ("coordinator.key *", "signs the coordinator's commands: agents obey only commands that it signed"),
        ("coordinator.pub", "the coordinator's public key: for every agent"),
    ] {
        writeln!(text, "  {name:<20} {what}").ok();
    }
    write!(
        text,
        "\n1. The NATS server, on its machine, with nats-server.conf, server.pem and server.key in one folder:\n\n\
         \x20  cd FOLDER && nats-server -c nats-server.conf\n\n\
         2. Each agent, on its machine, with ca.pem and its own agent-N.creds; it loads no host beyond loopback\n\
         \x20  but those that it is allowed to:\n\n\
         \x20  smtpress agent --nats {url} --nats-ca ca.pem --creds agent-1.creds \\\n\
         \x20    --coordinator {public} \\\n\
         \x20    --allow-target mx.example\n\n\
         3. The coordinator, with ca.pem, coordinator.creds and coordinator.key:\n\n\
         \x20  smtpress fleet status --nats {url} --nats-ca ca.pem --creds coordinator.creds\n\
         \x20  smtpress fleet run PROFILE --nats {url} --nats-ca ca.pem \\\n\
         \x20    --creds coordinator.creds --key coordinator.key\n\n\
         To add agents, make another folder with more of them (`smtpress fleet init more --agents 5`), copy the blocks of the\n\
         new ones from its nats-server.conf into this one, and use their credentials. To shut an agent out, remove its block.\n\
         `nats-server --signal reload=PID` makes the server read its file again.\n\
         The authority's key was not kept: for another host name make a new folder.\n"
    )
    .ok();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> FleetFiles {
        files(&FleetSettings { agents: 2, hosts: vec!["bus.example".into(), "::1".into()], port: 4333 })
            .unwrap()
    }

    #[test]
    fn no_secret_stands_in_a_file_that_others_may_read() {
        let made = made();
        let seeds: Vec<&str> = made
            .files
            .iter()
            .filter(|file| file.name.ends_with(".creds") || file.name == "coordinator.key")
            .map(|file| file.text.lines().last().unwrap())
            .collect();
        assert_eq!(seeds.len(), 4);
        assert!(seeds.iter().all(|seed| seed.starts_with("SU") && KeyPair::from_seed(seed).is_ok()));
        for file in made.files.iter().filter(|file| !file.is_secret) {
            assert!(!seeds.iter().any(|seed| file.text.contains(seed)), "{}", file.name);
            assert!(!file.text.contains("PRIVATE KEY"), "{}", file.name);
        }
    }

    #[test]
    fn the_key_that_signs_opens_no_server() {
        let made = made();
        let text = |name: &str| &made.files.iter().find(|file| file.name == name).unwrap().text;
        assert_eq!(text("coordinator.pub").trim(), made.coordinator);
        assert!(!text("nats-server.conf").contains(&made.coordinator));
        assert!(
            text("README.txt").contains(&made.coordinator)
                && text("README.txt").contains("tls://bus.example:4333")
        );
    }

    #[test]
    fn a_name_that_no_certificate_can_hold_is_named() {
        let wrong = FleetSettings { agents: 1, hosts: vec!["b\u{fc}s".into()], port: 1 };
        assert!(files(&wrong).unwrap_err().to_string().contains("b\u{fc}s"));
    }
}
