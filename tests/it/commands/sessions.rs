//! `trace` and `listen`: one session, line by line, as both sides see it.

use std::net::{SocketAddr, TcpListener};

use super::stage::{Listening, Stage};

/// Whether these texts stand in this order.
#[track_caller]
fn in_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let at = rest.find(part).unwrap_or_else(|| panic!("no {part:?} where it belongs in:\n{text}"));
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn the_helo_flow_is_shown_line_by_line_with_times_and_meanings() {
    let stage = Stage::new();
    let listener = Listening::with(&stage, &[]);
    let said = stage.run(&["trace", &listener.url(), "--helo", "--name", "me.example"]).ended(0);
    let flow = [
        "connect took",
        "S: 220 ",
        "220 service ready",
        "C: HELO me.example\n",
        "S: 250 ",
        "250 done",
        "C: MAIL FROM:<load@sender.example>\n",
        "S: 250 ",
        "C: RCPT TO:<user0@recipient.example>\n",
        "S: 250 ",
        "C: DATA\n",
        "S: 354 ",
        "354 start the message",
        "C: From: ",
        "C: .\n",
        "S: 250 ",
        "body took",
        "C: QUIT\n",
        "S: 221 ",
        "221 goodbye",
        "accepted after",
    ];
    in_order(&said.out, &flow);
    for line in said.out.lines().skip(2).filter(|line| line.contains(" S: ") || line.ends_with("C: .")) {
        assert!(line.trim_start().split(' ').nth(1) == Some("ms"), "without a time: {line}");
    }
    assert!(!said.out.contains("1970"), "the message is of today");
    let ledger = listener.ledger();
    assert_eq!((&ledger["messages"], &ledger["connections"]), (&1.into(), &1.into()), "no knock before it");
}

#[test]
fn a_trace_in_json_says_the_same() {
    let stage = Stage::new();
    let said = stage.run(&["trace", "embedded", "--json", "--recipients", "2"]).ended(0);
    let trace = said.json();
    assert_eq!((&trace["accepted"], &trace["reached"]), (&true.into(), &true.into()));
    let steps: Vec<(&str, Option<u64>)> = trace["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| (step["step"].as_str().unwrap(), step["code"].as_u64()))
        .collect();
    let expected = [
        ("connect", None),
        ("greeting", Some(220)),
        ("hello", Some(250)),
        ("mail", Some(250)),
        ("rcpt", Some(250)),
        ("rcpt", Some(250)),
        ("data", Some(354)),
        ("body", Some(250)),
        ("quit", Some(221)),
    ];
    assert_eq!(steps, expected);
}

#[test]
fn a_trace_without_a_message_and_one_with_groups() {
    let stage = Stage::new();
    let said = stage.run(&["trace", "embedded", "--no-message"]).ended(0);
    assert!(!said.out.contains("MAIL FROM") && said.out.contains("C: QUIT"), "{}", said.out);
    let said = stage.run(&["trace", "embedded", "--pipelining", "full"]).ended(0);
    in_order(&said.out, &["C: EHLO", "C: MAIL", "C: RCPT", "C: DATA", "S: 250", "mail took", "354 start"]);
    let said = stage.run(&["trace", "embedded", "--pipelining", "full", "--helo"]).ended(2);
    assert!(said.err.contains("cannot be used with"), "{}", said.err);
}

#[test]
fn a_refusal_is_named_explained_and_harmless() {
    let stage = Stage::new();
    let forced =
        r#"listener.replies=[{ step = "rcpt", reply = "452 4.5.3 \u001b[2JToo many recipients\u0007" }]"#;
    let listener = Listening::with(&stage, &[forced]);
    let said = stage.run(&["trace", &listener.url(), "--helo"]).ended(99);
    in_order(
        &said.out,
        &["S: 452 4.5.3", "rcpt failed after", "452 not enough storage", "too-many-recipients:"],
    );
    assert!(said.out.contains("not accepted"), "{}", said.out);
    assert!(said.out.chars().all(|c| c == '\n' || !c.is_control()), "{:?}", said.out);
    let refused = Listening::with(&stage, &["listener.max_connections=0"]);
    let said = stage.run(&["trace", &refused.url()]);
    assert!(matches!(said.code, Some(2 | 99)), "{said:?}");
}

#[test]
fn a_listener_that_is_not_there_or_says_nothing() {
    let stage = Stage::new();
    let silent = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let url = format!("smtp://{}", silent.local_addr().unwrap());
    let said = stage.run(&["trace", &url, "--timeout", "300ms"]).ended(99);
    in_order(&said.out, &["greeting failed after 3", "no-greeting"]);
    drop(silent);
    let said = stage.run(&["trace", &url]).ended(3);
    in_order(&said.out, &["connect failed", "connect-refused", "not reached"]);
    let said = stage.run(&["trace", &url, "--json"]).ended(3);
    assert_eq!(said.json()["reached"], false);
}

#[test]
fn an_address_that_is_taken_is_told_with_a_remedy() {
    let stage = Stage::new();
    let taken = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = stage.run(&["listen", "--bind", &address, "-z", "1s"]).ended(3);
    assert!(said.err.contains(&address) && said.err.contains("--bind"), "{}", said.err);
    assert_eq!(said.out, "");
    let said = stage.run(&["listen", "--bind", "0.0.0.0:0", "-z", "1s"]).ended(3);
    assert!(said.err.contains("loopback") && said.err.contains("allow_remote"), "{}", said.err);
}
