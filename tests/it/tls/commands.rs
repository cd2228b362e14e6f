//! TLS through the binary: flags, files, exit codes, and what is reported.

use std::path::Path;

use serde_json::Value;

use super::super::commands::stage::{Listening, Stage};

/// A profile of twenty messages over TLS, one in each session, on one thread. `more` is added to the target.
fn profile(more: &str, listener: &str) -> String {
    format!(
        r#"schema = 1
seed = 7
threads = 1
[target]
address = "embedded"
{more}
[[phase]]
name = "few"
load = "shared-messages"
messages = 20
sessions = 1
{listener}
"#
    )
}

fn result(stage: &Stage, arguments: &[&str], code: i32) -> Value {
    stage.run(&[&["run", "--json", "-", "-q", "-o", "out"], arguments].concat()).ended(code).json()
}

/// Runs the binary and returns its result. The run may be invalid on a busy machine.
fn measured(stage: &Stage, out: &str, arguments: &[&str]) -> Value {
    stage.run(&[&["run", "--json", "-", "-q", "-o", out], arguments].concat()).measured().json()
}

#[test]
fn full_and_resumed_handshakes_are_counted_apart() {
    let stage = Stage::new();
    stage.put("p.toml", profile("tls = \"implicit\"", ""));
    let told = measured(&stage, "out", &["p.toml"]);
    let tls = &told["phases"][0]["tls"];
    assert_eq!((tls["full"].as_u64(), tls["resumed"].as_u64()), (Some(1), Some(19)), "{tls}");
    assert_eq!(tls["groups"]["X25519MLKEM768"]["resumed"], 19);
    assert_eq!(tls["versions"]["TLSv1.3"]["full"], 1);
    let count = |name: &str| {
        let metrics = told["metrics"].as_array().unwrap();
        metrics.iter().find(|m| m["name"] == name).map_or(0, |m| m["count"].as_u64().unwrap())
    };
    assert_eq!((count("step.tls"), count("step.tls-resumed")), (1, 19));
    let text = stage.run(&["report", "out"]).ended(0).out;
    assert!(text.contains("1 full TLS handshake, 19 resumed, TLSv1.3, X25519MLKEM768"), "{text}");

    let off = measured(&stage, "off", &["p.toml", "--set", "target.tls_options.resumption=false"]);
    assert_eq!(off["phases"][0]["tls"]["full"], 20);
    let clear = measured(&stage, "clear", &["p.toml", "--tls", "none"]);
    assert!(clear["phases"][0]["tls"].is_null());
}

#[test]
fn a_stripped_starttls_sends_nothing_and_fails() {
    let stage = Stage::new();
    stage.put("p.toml", profile("tls = \"starttls\"", "[listener]\ntls = \"none\""));
    let told = result(&stage, &["p.toml"], 99);
    assert_eq!(told["conditions"][0]["condition"], "tls-unavailable");
    assert_eq!((&told["ledger"]["messages"], &told["ledger"]["content_bytes"]), (&0.into(), &0.into()));
    let failed = &told["assertions"][0];
    assert_eq!((failed["expr"].as_str(), failed["status"].as_str()), (Some("accepted > 0"), Some("fail")));
}

#[test]
fn a_certificate_that_is_not_verified_is_reported_loudly() {
    let stage = Stage::new();
    stage.put(
        "p.toml",
        profile("tls = \"starttls\"\ntls_options = { verify = false, sni = \"mx.other.example\" }", ""),
    );
    let loud = "CERTIFICATE WAS NOT VERIFIED (verify = false): 1 full handshake would have been refused";
    let told = measured(&stage, "out", &["p.toml"]);
    assert!(told["warnings"][0].as_str().unwrap().contains(loud), "{}", told["warnings"]);
    let checked = stage.run(&["check", "p.toml"]).ended(0).out;
    assert!(checked.contains("CERTIFICATE WILL NOT BE VERIFIED"), "{checked}");
    assert!(
        checked.contains("tls       STARTTLS, TLS 1.2 or later, certificates are not verified, name"),
        "{checked}"
    );
}

#[test]
fn a_listener_of_its_own_and_its_certificate() {
    let stage = Stage::new();
    let file = stage.path("listener.pem");
    let setting = format!("listener.cert_out={:?}", file.display().to_string());
    let mut running = stage.start(&[
        "listen",
        "--bind",
        "127.0.0.1:0",
        "-z",
        "20s",
        "--set",
        "listener.tls=implicit",
        "--set",
        &setting,
    ]);
    let fingerprint = running.hear("SHA-256 fingerprint");
    let der = smtpress::net::address::tls::certificates(&std::fs::read(&file).unwrap()).unwrap();
    assert!(
        fingerprint.trim_end().ends_with(&smtpress::listener::certificate::fingerprint(&der[0])),
        "{fingerprint}"
    );
    let line = running.hear("listening on");
    let address = line.split("listening on ").nth(1).unwrap().split(';').next().unwrap();
    let url = format!("smtps://{address}");
    let ca = file.display().to_string();

    let said = stage.run(&["trace", &url, "--ca", &ca]).ended(0).out;
    assert!(said.contains("TLSv1.3, ") && said.contains("X25519MLKEM768, full handshake"), "{said}");
    let said = stage.run(&["trace", &url, "--ca", &ca, "--json"]).ended(0).json();
    assert_eq!(said["tls"]["version"], "TLSv1.3");
    assert_eq!(said["steps"][1]["code"], Value::Null, "a handshake has no code: {}", said["steps"]);
    assert_eq!(said["steps"][2]["code"], 220);

    // The system does not trust the certificate.
    let said = stage.run(&["trace", &url]);
    assert!(matches!(said.code, Some(99 | 2)), "{}{}", said.out, said.err);
    if said.code == Some(99) {
        assert!(said.out.contains("none of the trusted authorities issued it"), "{}", said.out);
    }
    let said = stage.run(&["trace", &url, "--no-verify"]).ended(0).out;
    assert!(said.contains("would not be trusted"), "{said}");

    let told = measured(
        &stage,
        "out",
        &["--target", &url, "-n", "20", "-c", "2", "--set", &format!("target.tls_options.ca={ca:?}")],
    );
    assert_eq!(told["phases"][0]["accepted"], 20);
    running.signal(nix::sys::signal::Signal::SIGINT);
    let ledger = running.end().ended(0).json();
    assert_eq!(ledger["messages"], 23, "{ledger}");
}

#[test]
fn no_secret_is_shown_anywhere() {
    let stage = Stage::new();
    let ours = rcgen::generate_simple_self_signed(["load.example".to_owned()]).unwrap();
    let (certificate, key) = (ours.cert.pem(), ours.signing_key.serialize_pem());
    stage.put("c.pem", &certificate);
    stage.put("k.pem", &key);
    let options = "tls = \"starttls\"\ntls_options = { client_cert = \"c.pem\", client_key = \"k.pem\" }";
    stage.put("p.toml", profile(options, "[listener]\nclient_ca = \"c.pem\""));
    let told = measured(&stage, "out", &["p.toml"]);
    assert_eq!(told["phases"][0]["accepted"], 20, "{}", told["conditions"]);
    let secret = &key.lines().nth(1).unwrap()[..40];
    let in_files = |path: &Path| std::fs::read_to_string(path).is_ok_and(|text| text.contains(secret));
    for name in stage.list("out") {
        assert!(!in_files(&stage.path("out").join(&name)), "{name}");
    }
    // The key is given in place of the certificate.
    let swapped = profile(&options.replace("c.pem", "k.pem"), "");
    stage.put("s.toml", swapped);
    let said = stage.run(&["run", "s.toml"]).ended(2);
    assert!(said.err.contains("k.pem cannot be used: there is no certificate in it"), "{}", said.err);
    assert!(!said.err.contains(secret));
    // The certificate and the key do not belong together.
    let other = rcgen::generate_simple_self_signed(["load.example".to_owned()]).unwrap();
    stage.put("k.pem", other.signing_key.serialize_pem());
    let said = stage.run(&["run", "p.toml"]).ended(2);
    assert!(said.err.contains("the key does not belong to the certificate"), "{}", said.err);
}

#[test]
fn a_listener_that_speaks_starttls_serves_both() {
    let stage = Stage::new();
    let listening = Listening::with(&stage, &["listener.tls=starttls"]);
    stage.run(&["trace", &listening.url()]).ended(0);
    let said = stage.run(&["trace", &listening.url(), "--tls", "starttls", "--no-verify"]).ended(0).out;
    assert!(said.contains("C: STARTTLS") && said.contains("= tls took"), "{said}");
    let ledger = listening.ledger();
    assert_eq!((&ledger["messages"], &ledger["tls_handshakes"]), (&2.into(), &1.into()));
}

/// The most resident memory that a TLS session at rest may take, in bytes.
const MOST_EACH: u64 = 30 << 10;

#[test]
fn a_tls_session_at_rest_takes_little_memory() {
    let stage = Stage::new();
    let out = format!("listener.cert_out={:?}", stage.path("listener.pem").display().to_string());
    // The listener is another process, so only the memory of the generator is measured.
    let listener = Listening::with(&stage, &["listener.tls=implicit", &out]);
    for resumption in [true, false] {
        let peak = |sessions: u64| {
            let text = format!(
                r#"schema = 1
threads = 1
[target]
address = "{}"
tls_options = {{ ca = "listener.pem", resumption = {resumption} }}
[session]
messages = 0
[[phase]]
load = "held-sessions"
sessions = {sessions}
rate = "200/s"
for = "{}s"
[[assert]]
expr = "accepted > 0"
remove = true
"#,
                listener.url().replace("smtp://", "smtps://"),
                1 + sessions / 200,
            );
            let (file, out) = (format!("{sessions}.toml"), format!("{resumption}-{sessions}"));
            stage.put(&file, text);
            let told = measured(&stage, &out, &[&file]);
            let open = told["phases"][0]["sessions"]["peak"].as_u64().unwrap();
            (open, told["generator"]["peak_rss_bytes"].as_u64().unwrap())
        };
        // A busy machine may not open all of them in time.
        let ((few, less), (many, more)) = (peak(100), peak(800));
        assert!(many > few + 200, "{few} and {many} sessions at once");
        let each = more.saturating_sub(less) / (many - few);
        assert!((1..MOST_EACH).contains(&each), "{each} bytes each, resumption {resumption}");
    }
}
