//! `compare --interleave`: the order of the runs as the targets see it, the verdicts, and the failures that end it
//! early.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::stage::{Listening, Said, Stage};

/// Enough messages for a p90, and no schedule, so that a busy machine cannot make a run invalid by being late.
const PROFILE: &str = r#"schema = 1
name = "nightly"
seed = 7
[[phase]]
name = "few"
load = "shared-messages"
messages = 200
sessions = 20
"#;

fn stage() -> Stage {
    let stage = Stage::new();
    stage.put("nightly.toml", PROFILE);
    stage
}

/// The command line without pauses.
fn series<'a>(n: &'a str, base: &'a str, candidate: &'a str) -> Vec<&'a str> {
    let mut all =
        vec!["compare", "--interleave", n, "nightly.toml", "--target", base, "--candidate", candidate];
    all.extend(["--cooldown", "0s", "--runs", "series"]);
    all
}

/// Forwards connections to a listener, and records to which run each session belongs, in their order.
fn noted(name: &'static str, to: std::net::SocketAddr, notes: Sender<(&'static str, String)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("smtp://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), Ok(server)) = (client, TcpStream::connect(to)) else { return };
            let (mut back_from, mut back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut back_from, &mut back_to));
            let notes = notes.clone();
            thread::spawn(move || pass(name, client, server, &notes));
        }
    });
    url
}

/// Forwards one session. Its first message names the run.
fn pass(
    name: &'static str,
    mut client: TcpStream,
    mut server: TcpStream,
    notes: &Sender<(&'static str, String)>,
) {
    const HEADER: &str = "X-Smtpress-Run: ";
    let (mut said, mut buffer, mut known) = (String::new(), [0; 4096], false);
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        if !known {
            said.push_str(&String::from_utf8_lossy(&buffer[..read]));
            let id = said.split_once(HEADER).and_then(|(_, rest)| rest.split_once("\r\n"));
            if let Some((id, _)) = id {
                notes.send((name, id.to_owned())).ok();
                known = true;
            }
        }
        if server.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    server.shutdown(std::net::Shutdown::Both).ok();
}

#[test]
fn the_targets_are_loaded_in_the_order_a_b_b_a() {
    let stage = stage();
    let listening = Listening::with(&stage, &[]);
    let (notes, noticed) = channel();
    let base = noted("A", listening.address, notes.clone());
    let candidate = noted("B", listening.address, notes);
    // A run that is invalid because the machine is busy is left out. Then the series is run again.
    let whole = |said: &Said| {
        let Ok(json) = serde_json::from_str::<Value>(&said.out) else { return false };
        ["base", "candidate"].iter().all(|side| json[side].as_array().is_some_and(|runs| runs.len() == 2))
    };
    let arguments = [&series("2", &base, &candidate)[..], &["--json"]].concat();
    let mut said = stage.run(&arguments);
    for _ in 0..5 {
        if whole(&said) {
            break;
        }
        std::fs::remove_dir_all(stage.path("series")).unwrap();
        while noticed.try_recv().is_ok() {}
        said = stage.run(&arguments);
    }
    assert!(matches!(said.code, Some(0 | 5 | 99)), "{}", said.err);
    let mut order: Vec<(&str, String)> = Vec::new();
    for note in noticed.try_iter() {
        if !order.contains(&note) {
            order.push(note);
        }
    }
    let letters: Vec<&str> = order.iter().map(|(name, _)| *name).collect();
    assert_eq!(letters, ["A", "B", "B", "A"]);
    // Each run is compared on the side to which it belongs.
    let compared = said.json();
    for (side, at, url) in [("base", [0, 3], &base), ("candidate", [1, 2], &candidate)] {
        let ids: Vec<&Value> = compared[side].as_array().unwrap().iter().map(|run| &run["run_id"]).collect();
        assert_eq!(ids, at.map(|at| &order[at].1), "{side}");
        assert!(compared[side].as_array().unwrap().iter().all(|run| run["target"] == **url));
    }
    assert_eq!(stage.list("series"), ["base-1", "base-2", "candidate-1", "candidate-2"]);
    assert!(compared["forced"].as_array().unwrap().is_empty(), "{compared}");
    // The stored runs are like any others: they can be compared again without --force.
    let again = ["series/base-1", "series/base-2", "--against", "series/candidate-1", "series/candidate-2"];
    let again = stage.run(&[&["compare"], &again[..], &["--json"]].concat());
    assert_eq!((again.code, again.json()["metrics"].clone()), (said.code, compared["metrics"].clone()));
    listening.ledger();
}

/// A comparison without that run would show only the better runs of its side.
#[test]
fn a_run_that_an_assertion_ends_early_ends_the_series() {
    let stage = stage();
    stage.put("nightly.toml", format!("{PROFILE}[[assert]]\nexpr = \"response p50 < 1s\"\nabort = true\n"));
    let (fast, slow) =
        (Listening::with(&stage, &[]), Listening::with(&stage, &["listener.delays.body=\"1200ms\""]));
    let said = stage.run(&series("2", &fast.url(), &slow.url())).ended(2);
    assert!(
        said.err.contains("candidate-1 was ended early by an assertion (response p50 < 1s)"),
        "{}",
        said.err
    );
    assert_eq!(stage.list("series"), ["base-1", "candidate-1"]);
    let kept = ["compare", "series/base-1", "--against", "series/candidate-1"];
    let said = stage.run(&kept).ended(2);
    assert!(said.err.contains("series/candidate-1 was ended early by an assertion"), "{}", said.err);
    let forced = stage.run(&[&kept[..], &["--force"]].concat());
    assert!(forced.out.contains("forced: series/candidate-1 was ended early"), "{}", forced.out);
}

#[test]
fn a_slower_target_is_found_and_swapped_sides_swap_the_verdict() {
    let stage = stage();
    let (fast, slow) =
        (Listening::with(&stage, &[]), Listening::with(&stage, &["listener.delays.body=\"100ms\""]));
    let mut tries = 0;
    let mut judged = |base: &Listening, candidate: &Listening, runs: &str, code: i32| {
        let (base, candidate) = (base.url(), candidate.url());
        // A run that is invalid because the machine is busy is left out. Then the series is run again.
        loop {
            tries += 1;
            let runs = format!("{runs}-{tries}");
            let arguments =
                [&series("4", &base, &candidate)[..10], &["--runs", &runs, "--metric", "p50"]].concat();
            let said = stage.run(&arguments);
            if tries == 6 || !said.out.contains("left out: it is invalid") {
                return said.ended(code);
            }
        }
    };
    let there = judged(&fast, &slow, "there", 99);
    assert!(there.out.starts_with("REGRESSED  1 of 1 metrics are worse"), "{}", there.out);
    let words = there.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(&format!("{} against {}", slow.url(), fast.url())), "{}", there.out);
    let back = judged(&slow, &fast, "back", 0);
    assert!(back.out.starts_with("IMPROVED"), "{}", back.out);
    // Every run was complete: 200 messages each, and 4 runs on each listener in each series.
    for listening in [fast, slow] {
        assert_eq!(listening.ledger()["messages"], 800 * tries);
    }
}

#[test]
fn the_same_target_twice_is_no_regression() {
    let stage = stage();
    // Each reply takes a tenth of a second, and the time that the machine adds is small compared with the margin.
    let listening = Listening::with(&stage, &["listener.delays.body=\"100ms\""]);
    let url = listening.url();
    let said = stage.run(&[&series("4", &url, &url)[..], &["--metric", "p50"]].concat());
    assert!(matches!(said.code, Some(0 | 5)), "{}\n{}", said.out, said.err);
    assert!(!said.out.contains("forced"), "{}", said.out);
}

#[test]
fn what_cannot_be_done_is_said_before_anything_is_sent() {
    let stage = stage();
    let listening = Listening::with(&stage, &[]);
    let url = listening.url();
    // A port on which nothing listens.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let down = format!("smtp://{}", closed.local_addr().unwrap());
    drop(closed);
    for sides in [series("2", &url, &down), series("2", &down, &url)] {
        let said = stage.run(&sides).ended(3);
        assert!(
            said.err.contains(&down["smtp://".len()..]) && said.err.contains("start the listener"),
            "{}",
            said.err
        );
        assert!(said.out.is_empty());
    }
    let other = stage.run(&series("2", &url, "embedded")).ended(2);
    assert!(other.err.contains("would not get the same load"), "{}", other.err);
    for (n, words) in [("0", "1 to 100"), ("101", "1 to 100")] {
        let said = stage.run(&series(n, &url, &url)).ended(2);
        assert!(said.err.contains(words), "{}", said.err);
    }
    let said = stage.run(&["compare", "--interleave", "2", "nightly.toml", "--target", &url]).ended(2);
    assert!(said.err.contains("--candidate"), "{}", said.err);
    let said = stage.run(&["compare", "nightly.toml"]).ended(2);
    assert!(said.err.contains("--against"), "{}", said.err);
    assert!(!stage.path("series").exists(), "nothing was started");
    assert_eq!(listening.ledger()["messages"], 0);
}

#[test]
fn an_interruption_keeps_what_is_there_and_names_it() {
    let stage = stage();
    let listening = Listening::with(&stage, &[]);
    let url = listening.url();
    let long = ["--set", "phase.few.messages=20000000", "--progress", "log"];
    // The signal comes in the first run: the run is drained, stored and named.
    let mut running = stage.start(&[&series("2", &url, &url)[..], &long].concat());
    running.hear(" 1 s ");
    running.signal(Signal::SIGINT);
    let said = running.end().ended(105);
    assert!(said.err.contains("series/base-1 was interrupted; its files are kept"), "{}", said.err);
    assert!(said.err.contains("interrupted after 0 of 4 runs"), "{}", said.err);
    assert_eq!(stage.json("series/base-1/result.json")["verdict"]["status"], "interrupted");
    assert_eq!(stage.list("series"), ["base-1"]);
    // The signal comes in the pause: the run before it is complete.
    let mut pausing = series("2", &url, &url);
    pausing.splice(8..12, ["--cooldown", "1h", "--runs", "pause"]);
    let pause = || {
        let mut running = stage.start(&pausing);
        running.hear("run 1 of 4");
        running.hear("resting");
        running.signal(Signal::SIGINT);
        running.end().ended(105)
    };
    let mut said = pause();
    for _ in 0..5 {
        // A run that is invalid because the machine is busy is left out.
        if !said.err.contains("left out: it is invalid") {
            break;
        }
        std::fs::remove_dir_all(stage.path("pause")).unwrap();
        said = pause();
    }
    assert!(said.err.contains("interrupted after 1 of 4 runs"), "{}", said.err);
    assert!(said.err.contains("pause/base-1"), "{}", said.err);
    assert_eq!(stage.json("pause/base-1/result.json")["verdict"]["status"], "pass");
}

#[test]
fn a_run_that_is_invalid_is_no_evidence() {
    let stage = stage();
    let listening = Listening::with(&stage, &[]);
    let url = listening.url();
    stage.put("nightly.toml", super::stage::SMALL.replace("1s", "3s"));
    // The generator stands still in the first run.
    let mut running = stage.start(&[&series("1", &url, &url)[..], &["--progress", "log"]].concat());
    running.hear(" 1 s ");
    running.signal(Signal::SIGSTOP);
    thread::sleep(std::time::Duration::from_millis(600));
    running.signal(Signal::SIGCONT);
    let said = running.end().ended(98);
    assert!(said.err.contains("series/base-1 left out: it is invalid"), "{}", said.err);
    assert!(said.err.contains("no run of the base is valid"), "{}", said.err);
    assert!(stage.path("series/candidate-1/result.json").is_file(), "it went on");
}
