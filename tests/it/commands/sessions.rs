//! `trace` and `listen`: one session, line by line, on both sides.

use std::net::{SocketAddr, TcpListener};

use super::stage::{Listening, Stage};

/// Checks that these parts are in the text, in this order.
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
    assert_eq!(
        (&ledger["messages"], &ledger["connections"]),
        (&1.into(), &1.into()),
        "no other connection before it"
    );
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

/// The lines of the client on the screen, below title and legend.
fn said_by_us(screen: &str) -> Vec<&str> {
    screen
        .lines()
        .skip(2)
        .filter_map(|line| line.split_once(" C:").map(|(_, said)| said.strip_prefix(' ').unwrap_or(said)))
        .collect()
}

#[test]
fn a_trace_shows_every_command_and_with_full_every_line() {
    let stage = Stage::new();
    for pipelining in ["off", "full"] {
        let trace =
            ["trace", "embedded", "--size", "20KiB", "--recipients", "40", "--pipelining", pipelining];
        let short = stage.run(&trace).ended(0).out;
        let full = stage.run(&[&trace[..], &["--full"]].concat()).ended(0).out;
        // The whole content is shown.
        let content = |screen: &str| -> Vec<String> {
            let said = said_by_us(screen).into_iter().map(str::to_owned);
            said.skip_while(|line| line != "DATA").skip(1).take_while(|line| line != ".").collect()
        };
        let bytes = |line: &String| line.strip_prefix('.').unwrap_or(line).len() + 2;
        assert_eq!(content(&full).iter().map(bytes).sum::<usize>(), 20 * 1024, "{full}");
        assert!(!full.contains("more lines"), "{full}");
        for screen in [&short, &full] {
            let recipients = said_by_us(screen).iter().filter(|line| line.starts_with("RCPT TO:")).count();
            assert_eq!(recipients, 40, "commands are never shortened: {screen}");
            assert_eq!(screen.matches(" S: 250").count(), full.matches(" S: 250").count());
        }
        let note = short.lines().find(|line| line.contains("more lines of content")).unwrap();
        assert!(note.ends_with("--full shows them"), "{note}");
        let left_out: usize =
            note.split_whitespace().nth(1).unwrap().replace(',', "").parse().expect("a number of lines");
        // The two traces have different seeds, so the lengths of their lines differ.
        let all = content(&short).len() + left_out;
        assert!(all.abs_diff(content(&full).len()) < 30, "{all} lines: {short}");
    }
}

#[test]
fn a_transcript_shows_the_group_that_went_out_with_the_content() {
    let stage = Stage::new();
    let run = [
        "run",
        "--target",
        "embedded",
        "-n",
        "3",
        "-c",
        "1",
        "--messages-per-session",
        "3",
        "--size",
        "20KiB",
    ];
    let more = ["--pipelining", "full", "-o", "out"];
    stage.run(&[&run[..], &more].concat()).ended(0);
    let names = stage.list("out/transcripts");
    let transcript = stage.read(&format!("out/transcripts/{}", names[0]));
    let count = |part: &str| transcript.lines().filter(|line| line.contains(part)).count();
    for (part, times) in
        [("C: MAIL FROM:", 3), ("C: RCPT TO:", 3), ("C: DATA", 3), ("more lines of content, ", 3)]
    {
        assert_eq!(count(part), times, "{part}: {transcript}");
    }
    assert_eq!(transcript.lines().filter(|line| line.ends_with(" C: .")).count(), 3, "{transcript}");
    in_order(&transcript, &["S: 354", "more lines of content", "C: .", "C: MAIL FROM:", "C: DATA", "S: 250"]);
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
fn a_trace_is_of_every_kind_of_client() {
    let stage = Stage::new();
    // The client's source, and the client's address that the listener then sees.
    let peers = |sources: &str| stage.run(&["trace", "embedded", "--source", sources]).ended(0).out;
    assert!(!peers("127.0.0.9").contains("PROXY"));
    let refused = stage.run(&["trace", "embedded", "--source", "192.0.2.1"]).ended(3).out;
    in_order(&refused, &["connect failed", "not reached"]);

    let proxied = stage.run(&["trace", "embedded", "--proxy", "v1", "--source", "192.0.2.7"]).ended(0).out;
    in_order(
        &proxied,
        &["connect took", "C: PROXY TCP4 192.0.2.7 127.0.0.1 ", "S: 220", "C: EHLO", "accepted"],
    );
    let own = stage.run(&["trace", "embedded", "--proxy", "v1"]).ended(0).out;
    assert!(own.contains("C: PROXY TCP4 127.0.0.1 127.0.0.1 "), "{own}");
    let secure = stage
        .run(&["trace", "embedded", "--tls", "implicit", "--proxy", "v2", "--source", "192.0.2.7"])
        .ended(0)
        .out;
    in_order(&secure, &["bytes: from 192.0.2.7:", " to 127.0.0.1:", ", TLSv1.3]", "tls took", "S: 220"]);
    let told = stage.run(&["trace", "embedded", "--xclient", "--source", "192.0.2.7"]).ended(0).out;
    in_order(&told, &["C: EHLO", "C: XCLIENT ADDR=192.0.2.7 ", "S: 220", "C: EHLO", "C: MAIL"]);
    let json = stage.run(&["trace", "embedded", "--json", "--proxy", "v1", "--source", "192.0.2.7"]).ended(0);
    let first = &json.json()["lines"][0];
    assert_eq!(first["from"], "client");
    assert!(first["line"].as_str().unwrap().starts_with("PROXY TCP4 192.0.2.7"), "{first}");

    // The listener uses the announced address as the client's, so its limit for a host applies to that host only.
    let none = Listening::with(&stage, &["listener.proxy=true", "listener.max_connections_per_host=0"]);
    let said = stage.run(&["trace", &none.url(), "--proxy", "v2", "--source", "192.0.2.7"]).ended(99).out;
    in_order(&said, &["from 192.0.2.7:", "S: 4", "too-many-connections-from-host"]);

    for (flags, complaint) in [
        (&["--xclient"][..], "--source"),
        (&["--xclient", "--source", "192.0.2.7", "--proxy", "v1"], "cannot be used with"),
        (&["--proxy", "v3"], "v1"),
        (&["--source", "here"], "here"),
    ] {
        let said = stage.run(&[&["trace", "embedded"], flags].concat()).ended(2);
        assert!(said.err.contains(complaint), "{flags:?}: {}", said.err);
    }
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
fn an_address_that_is_taken_is_reported_with_a_remedy() {
    let stage = Stage::new();
    let taken = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = stage.run(&["listen", "--bind", &address, "-z", "1s"]).ended(3);
    assert!(said.err.contains(&address) && said.err.contains("--bind"), "{}", said.err);
    assert_eq!(said.out, "");
    let said = stage.run(&["listen", "--bind", "0.0.0.0:0", "-z", "1s"]).ended(3);
    assert!(said.err.contains("loopback") && said.err.contains("allow_remote"), "{}", said.err);
}
