//! The opening of sessions with listeners that are old, silent or peculiar: exit codes, warnings and traces.

use std::net::TcpListener;

use serde_json::Value;

use super::rude::Rude;
use super::stage::{Said, Stage};

/// Runs four messages over two sessions at once with these flags. Returns the output and the result.
fn run(url: &str, flags: &[&str]) -> (Said, Value) {
    let stage = Stage::new();
    let fixed =
        ["run", "--target", url, "-n", "4", "-c", "2", "--messages-per-session", "1", "--json", "run.json"];
    let said = stage.run(&[&fixed[..], flags].concat());
    let result = stage.json("run.json");
    (said, result)
}

fn warnings(result: &Value) -> String {
    result["warnings"].to_string()
}

#[test]
fn a_listener_that_knows_no_ehlo_is_reported_helo_and_that_is_reported() {
    for code in ["500 5.5.1 unrecognized", "502 5.5.1 not implemented", "504 no", "501 no", "503 no"] {
        let rude = Rude::start(&[("EHLO", code)]);
        let (said, result) = run(&rude.url(), &[]);
        // The run is invalid on a busy machine.
        assert!(matches!(said.code, Some(0 | 98)), "{}", said.out);
        assert_eq!(result["phases"][0]["accepted"], 4, "{}", said.out);
        assert!(warnings(&result).contains("HELO was sent instead"), "{result}");
        let traced = Stage::new().run(&["trace", &rude.url()]).ended(0).out;
        assert!(traced.contains("HELO is sent instead") && traced.contains("C: HELO"), "{traced}");
        let (said, result) = run(&rude.url(), &["--hello", "ehlo-only"]);
        assert!(matches!(said.code, Some(99 | 98)), "{}", said.out);
        assert_eq!(result["phases"][0]["accepted"], 0, "{}", said.out);
        assert_eq!(result["phases"][0]["refused"], 4, "there was no session");
    }
}

#[test]
fn what_helo_cannot_have_is_named_with_its_cause() {
    let rude = Rude::start(&[("EHLO", "502 no")]);
    let traced = Stage::new().run(&["trace", &rude.url(), "--tls", "starttls", "--no-verify"]).ended(99).out;
    assert!(traced.contains("HELO is sent instead") && traced.contains("STARTTLS is asked for"), "{traced}");
}

#[test]
fn a_session_that_is_refused_before_it_can_send_counts_as_refused_wherever_that_is() {
    for (verb, reply) in [
        ("GREET", "554 5.7.1 go away"),
        ("GREET", "450 4.3.2 later"),
        ("EHLO", "550 5.7.1 your name is no good"),
        ("EHLO", "450 4.7.1 later"),
    ] {
        let (_, result) = run(&Rude::start(&[(verb, reply)]).url(), &[]);
        let phase = &result["phases"][0];
        let counts = ["refused", "rejected", "deferred"].map(|name| phase[name].as_u64().unwrap());
        assert_eq!(counts, [4, 0, 0], "{verb}: {reply}");
        assert_eq!(result["conditions"][0]["outcome"], "refused");
    }
}

/// Traces a login with this mechanism; `replies` are the listener's challenges and replies.
fn login(mechanism: &str, replies: &[(&str, &str)], code: i32) -> Said {
    let offer = format!("250-rude.example\r\n250 AUTH {}", mechanism.to_uppercase());
    let mut all = vec![("EHLO", offer.as_str())];
    all.extend(replies);
    let rude = Rude::start(&all);
    let secret = if mechanism == "xoauth2" { "--token-env" } else { "--password-env" };
    let flags =
        ["trace", &rude.url(), "--auth", mechanism, "--user", "u", secret, "PW", "--allow-clear-text"];
    Stage::new().run_with(&[("PW", "right")], &flags).ended(code)
}

#[test]
fn a_login_goes_on_where_mail_clients_do() {
    for (mechanism, replies) in [
        ("login", &[("AUTH", "334 Username:"), ("AUTH2", "334 Password:")][..]),
        ("login", &[("AUTH", "334 VXNlcm5hbWU6"), ("AUTH2", "334 UGFzc3dvcmQ")]),
        ("plain", &[("AUTH", "334 ")]),
        ("plain", &[("AUTH", "501 5.5.4 no initial response"), ("AUTH", "334 ")]),
        ("plain", &[("AUTH", "504 5.5.4 no initial response"), ("AUTH", "334 ")]),
        ("xoauth2", &[("AUTH", "334")]),
    ] {
        login(mechanism, replies, 0);
    }
}

#[test]
fn a_challenge_that_cannot_be_understood_is_no_wrong_password() {
    let traced =
        login("cram-md5", &[("AUTH", "334 <1.2@rude.example>"), ("AUTH2", "501 5.7.0 cancelled")], 99).out;
    assert!(traced.contains("auth-challenge-not-understood") && !traced.contains("auth-failed"), "{traced}");
    assert!(traced.contains("<1.2@rude.example>"), "{traced}");
}

#[test]
fn the_reason_to_refuse_a_token_is_reported() {
    // {"status":"400","scope":"mail"}
    let reason = ("AUTH", "334 eyJzdGF0dXMiOiI0MDAiLCJzY29wZSI6Im1haWwifQ==");
    let traced = login("xoauth2", &[reason, ("AUTH2", "535 5.7.8 no")], 99).out;
    assert!(
        traced.contains("auth-failed") && traced.contains(r#"{"status":"400","scope":"mail"}"#),
        "{traced}"
    );
    assert!(!traced.contains("right"), "{traced}");
}

#[test]
fn a_listener_that_says_nothing_is_reported_while_it_is_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("smtp://{}", silent.local_addr().unwrap());
    let hint = format!("use {}", url.replace("smtp://", "smtps://"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (said, result) = run(&url, &["--set", "timeouts.greeting=12s"]);
            assert!(said.err.contains(&hint), "{}", said.err);
            assert_eq!(said.err.matches("no greeting came").count(), 1, "once: {}", said.err);
            assert!(warnings(&result).contains(&hint), "{result}");
        });
        scope.spawn(|| {
            let said = Stage::new().run(&["trace", &url, "--timeout", "12s"]).ended(99);
            assert!(said.err.contains(&hint), "{}", said.err);
        });
        scope.spawn(|| {
            let said = Stage::new().run(&[
                "limit",
                "--target",
                &url,
                "--timeout",
                "12s",
                "--find",
                "rule.mail-twice",
            ]);
            assert!(said.err.contains(&hint), "{}{}", said.out, said.err);
        });
        scope.spawn(|| {
            let listening = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("smtps://{}", listening.local_addr().unwrap());
            let said = Stage::new().run(&["trace", &url, "--no-verify", "--timeout", "12s"]).ended(99);
            assert!(said.err.contains("no TLS handshake") && said.err.contains("starttls"), "{}", said.err);
        });
        scope.spawn(|| {
            // A slow listener is not reported as one without a greeting.
            let rude = Rude::start(&[("MAIL", "250 ok")]);
            let (said, result) = run(&rude.url(), &[]);
            assert!(
                !said.err.contains("no greeting") && !warnings(&result).contains("greeting"),
                "{}",
                said.err
            );
        });
    });
}
