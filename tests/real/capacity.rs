//! The capacity of a Postfix with a known number of processes and a known delay: one session at once for each process.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;

use crate::postfix::Postfix;

/// A Postfix with this number of smtpd processes, each of which sleeps one second at RCPT.
fn postfix(processes: u64) -> Option<Postfix> {
    Postfix::plain()
        .set("default_process_limit", processes)
        .set("smtpd_recipient_restrictions", "sleep 1, permit_mynetworks, reject")
        .start()
}

/// Searches the bounds of the number of sessions that are served without a wait for another session's process. `None`
/// if a trial is invalid because the machine is busy.
fn searched(port: u16, processes: u64, folder: &Path) -> Option<(u64, u64)> {
    let settings = [
        format!("capacity.start={}", processes.div_ceil(2)),
        format!("capacity.max={}", processes * 3),
        "capacity.width=1%".to_owned(),
        "capacity.trial=2s".to_owned(),
        "capacity.confirm=4s".to_owned(),
        "capacity.warmup=2s".to_owned(),
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_smtpress"));
    command.args(["capacity", "--target", &format!("smtp://127.0.0.1:{port}"), "--by", "sessions"]);
    // A session that waits for a process waits for one second.
    command.args(["--goal", "response p99 < 1700ms", "--progress", "log", "--json", "-", "-o", "out"]);
    command.args(settings.iter().flat_map(|setting| ["--set", setting]));
    let output = command.current_dir(folder).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let result: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    let trials = result["capacity"]["trials"].as_array().unwrap();
    if trials.iter().any(|trial| !trial["invalid"].as_array().unwrap().is_empty()) {
        use std::io::Write;
        // `eprintln!` is not used, because the test harness captures it.
        writeln!(std::io::stderr().lock(), "a trial could not be trusted on this busy machine: {said}")
            .unwrap();
        return None;
    }
    let goal = &result["capacity"]["goals"][0];
    assert_eq!((goal["status"].as_str(), output.status.code()), (Some("found"), Some(0)), "{said}");
    Some((goal["lower"].as_f64().unwrap() as u64, goal["upper"].as_f64().unwrap() as u64))
}

/// Repeats the search until it is valid; `None` after four searches, and then nothing is checked.
fn trusted(port: u16, processes: u64) -> Option<(u64, u64)> {
    let search = |_| {
        let folder = tempfile::tempdir().unwrap();
        searched(port, processes, folder.path())
    };
    (0..4).find_map(search)
}

// Table: Postfix: capacity
#[test]
fn capacity_grows_with_the_processes() {
    let searches: Vec<_> = [5, 10, 20]
        .map(|processes| {
            thread::spawn(move || {
                let postfix = postfix(processes)?;
                Some((processes, trusted(postfix.port, processes)?))
            })
        })
        .into_iter()
        .collect();
    for search in searches {
        let Some((processes, (lower, upper))) = search.join().unwrap() else { continue };
        // A busy machine makes waits longer, so the capacity found can be lower, but never higher.
        assert!(lower <= processes && upper > lower, "{lower} to {upper} of {processes} processes");
        assert!(lower * 10 >= processes * 8, "{lower} to {upper} of {processes} processes");
    }
}

// Table: Postfix: capacity
#[test]
#[ignore = "takes minutes"]
fn five_searches_give_the_same_answer_at_full_length() {
    let Some(postfix) = postfix(5) else { return };
    for search in 0..5 {
        assert_eq!(trusted(postfix.port, 5), Some((5, 6)), "search {search}");
    }
}
