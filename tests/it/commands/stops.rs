//! The end that a user wants: Ctrl-C once and twice, before the start, and readers that go away.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use smtpress::generator::clock;

use super::stage::{Listening, Running, Said, Stage};

/// What every stopped run must be: 105, told as such, and complete on disk.
fn interrupted(stage: &Stage, said: Said) -> serde_json::Value {
    let said = said.ended(105);
    assert!(said.out.starts_with("INTERRUPTED"), "{}", said.out);
    let result = stage.json("r/result.json");
    assert_eq!(result["verdict"]["status"], "interrupted");
    for file in [
        "profile.toml",
        "timeseries.csv",
        "conditions.csv",
        "metrics.hlog",
        "failures.jsonl",
        "environment.json",
    ] {
        assert!(stage.path("r").join(file).is_file(), "{file}");
    }
    assert!(stage.list("r").iter().all(|name| !name.ends_with(".part")));
    let phase = &result["phases"][0];
    let sum: u64 = [
        "accepted",
        "expected",
        "deferred",
        "rejected",
        "refused",
        "dropped",
        "timed_out",
        "in_doubt",
        "malformed",
        "interrupted",
    ]
    .iter()
    .map(|outcome| phase[outcome].as_u64().unwrap())
    .sum();
    assert_eq!(phase["started"].as_u64(), Some(sum), "{phase}");
    result
}

#[test]
fn ctrl_c_once_drains_and_writes_the_whole_report() {
    let stage = Stage::new();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let stage = Stage::new();
        let mut running = stage.start(&["run", "small.toml", "--for", "60s", "-o", "r"]);
        running.hear(" 1 s ");
        running.signal(signal);
        let result = interrupted(&stage, running.end());
        let phase = &result["phases"][0];
        assert_eq!(phase["interrupted"], 0, "what was under way was let end: {phase}");
        assert!(phase["accepted"].as_u64() >= Some(45), "{phase}");
        assert_eq!(phase["accepted"], result["ledger"]["messages"]);
    }
    drop(stage);
}

#[test]
fn ctrl_c_twice_does_not_wait_for_anybody() {
    let stage = Stage::new();
    let listener = Listening::with(&stage, &["listener.delays.body=20s"]);
    let url = listener.url();
    let mut running = stage.start(&["run", "--target", &url, "-c", "3", "-z", "60s", "-o", "r"]);
    running.hear(" 1 s ");
    running.signal(Signal::SIGINT);
    running.hear("stopping");
    running.signal(Signal::SIGINT);
    let result = interrupted(&stage, running.end());
    // The listener would have ended the drain after twenty seconds by its own end.
    assert!(result["took_s"].as_f64() < Some(15.0), "{}", result["took_s"]);
    let phase = &result["phases"][0];
    assert_eq!((&phase["started"], &phase["accepted"]), (&3.into(), &0.into()));
}

#[test]
fn a_start_in_the_future_is_waited_for_and_can_be_given_up() {
    let stage = Stage::new();
    let at = humantime::format_rfc3339_millis(clock::wall() + Duration::from_millis(1500)).to_string();
    let said = stage.run(&["run", "few.toml", "--start-at", &at, "-o", "a"]).ended(0);
    assert!(said.err.contains("the load starts at"), "{}", said.err);
    let started = stage.json("a/result.json")["started_at"].as_str().unwrap().to_owned();
    assert_eq!(started[..19], at[..19], "the run is named by its start");
    assert!(humantime::parse_rfc3339(&at).unwrap() < clock::wall());

    let far = ["run", "small.toml", "--start-at", "2999-01-01T00:00:00Z", "-o", "r"];
    let mut running = stage.start(&far);
    running.hear("the load starts at");
    running.signal(Signal::SIGINT);
    let result = interrupted(&stage, running.end());
    assert_eq!(result["phases"][0]["started"], 0);
    assert_eq!(result["ledger"]["connections"], 0);
}

#[test]
fn a_start_in_the_past_is_told() {
    let stage = Stage::new();
    let said = stage.run(&["run", "few.toml", "--start-at", "2001-01-01T00:00:00Z", "-o", "a"]).ended(0);
    assert!(said.err.contains("warning") && said.err.contains("the load starts now"), "{}", said.err);
}

#[test]
fn a_reader_that_goes_away_changes_no_verdict() {
    let stage = Stage::new();
    stage.run(&["run", "few.toml", "-q", "-o", "stored"]).ended(0);
    for (arguments, code) in [
        (&["run", "few.toml", "-o", "a"][..], 0),
        (&["run", "few.toml", "-o", "b", "--json", "-"], 0),
        (&["run", "few.toml", "-o", "c", "--assert", "p50 < 1ns"], 99),
        (&["report", "stored"], 0),
        (&["codes"], 0),
        (&["man"], 0),
        (&["schema", "result"], 0),
        (&["completions", "bash"], 0),
        (&["trace", "embedded"], 0),
        (&["--help"], 0),
    ] {
        let mut child =
            stage.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(!err.contains("panicked") && !err.contains("error"), "{arguments:?}: {err}");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {err}");
    }
    assert_eq!(stage.json("c/result.json")["verdict"]["status"], "fail");
}

#[test]
fn a_lost_stderr_ends_nothing() {
    let stage = Stage::new();
    let mut child = stage
        .command(&["run", "few.toml", "-o", "a", "--progress", "log"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("PASS"), "{first}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn listen_ends_by_its_time_or_by_ctrl_c_with_its_ledger() {
    let stage = Stage::new();
    let ledger = stage.run(&["listen", "--bind", "127.0.0.1:0", "-z", "200ms"]).ended(0).json();
    assert_eq!(ledger["connections"], 0);
    let mut running = Running::new(stage.command(&["listen", "--bind", "127.0.0.1:0"]));
    running.hear("listening on 127.0.0.1:");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end().ended(0).json()["messages"], 0);
}
