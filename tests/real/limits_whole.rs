//! `limit` with its defaults against every listener with its default limits: half an hour, each night
//! (`SMTPRESS_REAL=all bash .ci/run`). The results are kept in `target/limits`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::aiosmtpd::Aiosmtpd;
use crate::courier::Courier;
use crate::dovecot::Dovecot;
use crate::exim::Exim;
use crate::haraka::Haraka;
use crate::opensmtpd::Opensmtpd;
use crate::postfix::Postfix;
use crate::qpsmtpd::Qpsmtpd;
use crate::sendmail::Sendmail;
use crate::sink::Sink;
use crate::smtp_server::SmtpServer;

/// The time bound of a search.
const MAX_TIME: Duration = Duration::from_mins(15);
/// How long the program may need to end after it.
const END: Duration = Duration::from_secs(15);

/// Looks for every limit of the listener at `target`: it ends in time, without a fault of ours, and what it says of each of these is
/// so: a number, or a verdict.
#[track_caller]
fn whole(name: &str, target: &str, flags: &[&str], known: &[(&str, Value)]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/limits");
    fs::create_dir_all(&folder).unwrap();
    let at = |extension: &str| folder.join(format!("{name}.{extension}"));
    let text = fs::File::create(at("txt")).unwrap();
    let runs = tempfile::tempdir().unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_smtpress"))
        .args(["limit", "--target", target, "--progress", "none", "--out", "run", "--color", "never"])
        .args(["--max-time", &format!("{}s", MAX_TIME.as_secs()), "--json"])
        .arg(at("json"))
        .args(flags)
        .current_dir(runs.path())
        .env_remove("SMTPRESS_REAL")
        .stdin(Stdio::null())
        .stdout(text.try_clone().unwrap())
        .stderr(text)
        .spawn()
        .unwrap();
    let ended = (0..(MAX_TIME + END).as_secs()).find_map(|_| {
        thread::sleep(Duration::from_secs(1));
        program.try_wait().unwrap()
    });
    if ended.is_none() {
        program.kill().unwrap();
        program.wait().unwrap();
    }
    let said = fs::read_to_string(at("txt")).unwrap();
    let status = ended.unwrap_or_else(|| panic!("{name} does not end within {MAX_TIME:?}: {said}"));
    let result: Value = serde_json::from_str(&fs::read_to_string(at("json")).unwrap()).unwrap();
    let limits = result["limits"].as_array().unwrap();
    assert!(!limits.is_empty(), "{name}: no finding");
    // Without expected values, only a broken rule or an unsafe behaviour makes the search fail.
    let failed = |limit: &Value| ["differs", "unsafe"].iter().any(|verdict| limit["verdict"] == *verdict);
    let code = status.code().unwrap_or_else(|| panic!("{name} ended by {status}"));
    let spent = result["validity"]["reasons"].as_array().unwrap().iter().any(|reason| reason == "spent");
    let right = if spent {
        98
    } else if limits.iter().any(failed) {
        99
    } else {
        0
    };
    assert_eq!(code, right, "{name}: {said}");
    for (limit, value) in known {
        let finding = limits.iter().find(|finding| finding["name"] == *limit);
        let finding = finding.unwrap_or_else(|| panic!("{name}: no {limit}"));
        let is = if value.is_string() { &finding["verdict"] } else { &finding["value"] };
        assert_eq!(is, value, "{name}: {finding:#}");
    }
}

fn smtp(port: u16) -> String {
    format!("smtp://127.0.0.1:{port}")
}

// Table: Postfix: all limits
#[test]
#[ignore = "takes minutes"]
fn all_of_postfix() {
    let Some(postfix) = Postfix::plain().start() else { return };
    whole("postfix", &smtp(postfix.port), &[], &[("too-many-connections-from-host", json!(50))]);
}

// Table: smtp-sink: all limits
#[test]
#[ignore = "takes minutes"]
fn all_of_smtp_sink() {
    let Some(sink) = Sink::start() else { return };
    whole("smtp-sink", &smtp(sink.port), &[], &[]);
}

// Table: Exim: all limits
#[test]
#[ignore = "takes minutes"]
fn all_of_exim() {
    let Some(exim) = Exim::plain().start() else { return };
    whole("exim", &smtp(exim.port), &[], &[]);
}

// Table: OpenSMTPD: all limits
#[test]
#[ignore = "takes minutes"]
fn all_of_opensmtpd() {
    let Some(opensmtpd) = Opensmtpd::start("") else { return };
    whole("opensmtpd", &smtp(opensmtpd.plain), &[], &[]);
}

// Table: Dovecot LMTP: all limits
#[test]
#[ignore = "takes minutes"]
fn all_of_dovecot() {
    let Some(dovecot) = Dovecot::start(1) else { return };
    let target = format!("lmtp://127.0.0.1:{}", dovecot.lmtp);
    whole("dovecot-lmtp", &target, &["--to", "user{n:0..4}@dovecot.test"], &[]);
}

// Table: aiosmtpd: all limits
#[test]
#[ignore = "takes minutes"]
fn all_of_aiosmtpd() {
    let Some(aiosmtpd) = Aiosmtpd::start() else { return };
    whole("aiosmtpd", &smtp(aiosmtpd.starttls), &[], &[]);
}

// Table: Sendmail: all limits
#[test]
#[ignore = "takes minutes"]
fn all_of_sendmail() {
    let Some(sendmail) = Sendmail::plain().start() else { return };
    whole("sendmail", &smtp(sendmail.port), &[], &[]);
}

// Table: Courier: all limits
#[test]
#[ignore = "takes minutes"]
fn all_of_courier() {
    let Some(courier) = Courier::packaged().start() else { return };
    whole("courier", &smtp(courier.port), &[], &[("too-many-connections-from-host", json!(5))]);
}

// Table: qpsmtpd: all limits
#[test]
#[ignore = "takes minutes"]
fn all_of_qpsmtpd() {
    let settings = || Qpsmtpd::packaged().plugin("count_unrecognized_commands 4");
    let Some(qpsmtpd) = settings().start() else { return };
    whole("qpsmtpd", &smtp(qpsmtpd.port), &[], &[("too-many-connections-from-host", json!(5))]);
}

// Table: Haraka: all limits
#[test]
#[ignore = "takes minutes"]
fn all_of_haraka() {
    let Some(haraka) = Haraka::plain().start() else { return };
    whole("haraka", &smtp(haraka.port), &[], &[]);
}

// Table: smtp-server: all limits
#[test]
#[ignore = "takes minutes"]
fn all_of_smtp_server() {
    let Some(server) = SmtpServer::start(&json!({})) else { return };
    whole("smtp-server", &smtp(server.port), &[], &[]);
}
