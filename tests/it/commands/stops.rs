//! Commands that the user ends: Ctrl-C once and twice, before the start, and readers of the output that close it.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use smtpress::generator::clock;

use super::stage::{Listening, Running, Said, Stage};

/// Checks a stopped run: exit code 105, reported as interrupted, and complete on disk. Returns its result.
fn interrupted(stage: &Stage, said: Said) -> serde_json::Value {
    let said = said.ended(105);
    assert!(said.out.starts_with("INTERRUPTED"), "{}", said.out);
    let result = stage.json("r/result.json");
    assert_eq!(result["verdict"]["status"], "interrupted");
    // Arrivals that waited at the stop are shed, and the work is not done. This is no fault, so nothing is judged.
    assert!(!said.out.contains("FAIL") && said.out.contains("not-judged"), "{}", said.out);
    for assertion in result["assertions"].as_array().unwrap() {
        assert_eq!(assertion["status"], "not-judged", "{assertion}");
    }
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
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
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
}

#[test]
fn ctrl_c_twice_does_not_wait_for_anybody() {
    let stage = Stage::new();
    let listener = Listening::with(&stage, &["listener.delays.body=20s"]);
    for [first, second] in [
        [Signal::SIGINT, Signal::SIGINT],
        [Signal::SIGHUP, Signal::SIGQUIT],
        [Signal::SIGTERM, Signal::SIGHUP],
    ] {
        let stage = Stage::new();
        let url = listener.url();
        let mut running = stage.start(&["run", "--target", &url, "-c", "3", "-z", "60s", "-o", "r"]);
        running.hear(" 1 s ");
        running.signal(first);
        running.hear("stopping");
        running.signal(second);
        let result = interrupted(&stage, running.end());
        // Without the second signal the run would wait twenty seconds for the replies of the listener.
        assert!(result["took_s"].as_f64() < Some(15.0), "{}", result["took_s"]);
        let phase = &result["phases"][0];
        assert_eq!((&phase["started"], &phase["accepted"]), (&3.into(), &0.into()));
    }
}

#[test]
fn a_load_that_is_waiting_when_it_is_stopped_has_failed_nothing() {
    let stage = Stage::new();
    let listener = Listening::with(&stage, &["listener.delays.body=300ms"]);
    let url = listener.url();
    // The rate is far above the capacity of one session, so most arrivals wait.
    let load = ["run", "--target", &url, "-r", "100/s", "-c", "1", "-z", "60s", "-o", "r"];
    let mut running =
        stage.start(&[&load[..], &["--assert", "unexpected rate <= 1%", "--junit", "x.xml"]].concat());
    running.hear(" 1 s ");
    running.signal(Signal::SIGINT);
    let result = interrupted(&stage, running.end());
    let shed = result["phases"][0]["shed"].as_u64().unwrap();
    assert!(shed > 10, "{}", result["phases"][0]);
    let told =
        result["assertions"].as_array().unwrap().iter().find(|own| own["expr"] == "shed == 0").unwrap();
    assert_eq!(told["observed"], format!("{shed} until the run was stopped"));
    let junit = stage.read("x.xml");
    assert!(!junit.contains("<failure") && junit.contains("<skipped"), "{junit}");
}

/// At a signal, every long command ends with its report so far: with exit code 105, or with its ledger.
#[test]
fn no_signal_ends_a_command_without_its_report() {
    for signal in [Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGTERM] {
        let stage = Stage::new();
        let slow = Listening::with(&stage, &["listener.delays.rcpt=\"100ms\""]);
        let url = slow.url();
        let series = ["compare", "--interleave", "1", "long.toml", "--target", &url, "--candidate", &url];
        stage.put("long.toml", super::stage::SMALL.replace("\"1s\"", "\"60s\"").replace("embedded", &url));
        for (command, began, files) in [
            (
                &["limit", "--target", &url, "--find", "too-many-recipients", "-o", "l"][..],
                "[1/1]",
                "l/result.json",
            ),
            (
                &[
                    "capacity",
                    "--target",
                    &url,
                    "--goal",
                    "p50 < 10s",
                    "--set",
                    "capacity.warmup=0s",
                    "-o",
                    "c",
                    "--progress",
                    "log",
                ],
                "trial 1:",
                "c/result.json",
            ),
            (&[&series[..], &["--runs", "s", "--progress", "log"]].concat(), " 1 s ", "s/base-1/result.json"),
        ] {
            let mut running = stage.start(command);
            running.hear(began);
            running.signal(signal);
            running.end().ended(105);
            assert_eq!(stage.json(files)["verdict"]["exit_code"], 105, "{files}");
        }
        let mut running = stage.start(&["selftest", "--proofs-only"]);
        running.hear("...");
        running.signal(signal);
        running.end().ended(105);
        slow.running.signal(signal);
        assert!(slow.running.end().ended(0).json()["connections"].as_u64() > Some(0));
        let mute = Listening::with(&stage, &["listener.delays.body=\"20s\""]);
        let running = stage.start(&["trace", &mute.url()]);
        running.wait_for_out(" 354 ");
        running.signal(signal);
        let said = running.end().ended(105);
        assert!(said.out.contains("interrupted"), "{}", said.out);
    }
}

#[test]
fn ctrl_c_while_a_message_is_awaited_behind_the_relay_is_no_loss() {
    let stage = Stage::new();
    let listening = Listening::with(&stage, &[]);
    let running = stage.start(&["trace", &listening.url(), "--receive", "127.0.0.1:0", "--drain", "100s"]);
    running.wait_for_out("221");
    running.signal(Signal::SIGINT);
    let said = running.end().ended(105);
    assert!(said.out.contains("before the wait was given up"), "{}", said.out);
}

#[test]
fn under_nohup_a_closed_terminal_is_nothing() {
    let stage = Stage::new();
    let mut command = std::process::Command::new("nohup");
    let run = stage.command(&["run", "small.toml", "--for", "3s", "-o", "r"]);
    command.arg(run.get_program()).args(run.get_args()).current_dir(stage.path("")).stdin(Stdio::null());
    let mut running = Running::new(command);
    running.hear(" 1 s ");
    running.signal(Signal::SIGHUP);
    running.end().measured();
    assert_ne!(stage.json("r/result.json")["verdict"]["status"], "interrupted");
}

#[test]
fn a_terminal_that_is_closed_is_the_first_ctrl_c() {
    let cases = [
        "run small.toml --for 60s -o r",
        "run small.toml --for 60s -o r --progress log",
        "run small.toml --for 60s -o r --json - --progress bar",
    ];
    let closed = |arguments: &str| {
        let stage = Stage::new();
        // The command has its own terminal, whose other side closes after six seconds. The start may take some of them.
        let script = concat!(
            "import os, pty, sys, time, select\n",
            "child, terminal = pty.fork()\n",
            "if child == 0: os.execv(sys.argv[1], sys.argv[1:])\n",
            "end = time.time() + 6\n",
            "while time.time() < end:\n",
            "    if select.select([terminal], [], [], 0.1)[0]: os.read(terminal, 65536)\n",
            "os.close(terminal)\n",
            "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n",
        );
        let mut command = std::process::Command::new("python3");
        let run = stage.command(&arguments.split(' ').collect::<Vec<_>>());
        command.args(["-c", script]).arg(run.get_program()).args(run.get_args()).current_dir(stage.path(""));
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(105),
            "{arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let result = stage.json("r/result.json");
        assert_eq!(result["verdict"]["status"], "interrupted", "{arguments}");
        let phase = &result["phases"][0];
        assert_eq!(phase["interrupted"], 0, "{phase}");
        assert!(phase["accepted"].as_u64() > Some(50) && stage.path("r/report.html").is_file());
    };
    std::thread::scope(|scope| {
        for arguments in cases {
            scope.spawn(move || closed(arguments));
        }
    });
}

#[test]
fn a_start_in_the_future_is_waited_for_and_can_be_given_up() {
    let stage = Stage::new();
    let at = humantime::format_rfc3339_millis(clock::wall() + Duration::from_secs(4)).to_string();
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
fn a_start_is_a_moment_in_any_zone_and_never_one_without() {
    let stage = Stage::new();
    let at = clock::wall() + Duration::from_secs(3600);
    let utc = humantime::format_rfc3339_seconds(at).to_string();
    // The same digits in a zone two hours to the east are a time an hour ago.
    let east = utc.replace('Z', "+02:00");
    let said = stage.run(&["run", "few.toml", "--start-at", &east, "-o", "a"]).ended(0);
    assert!(said.err.contains("warning") && said.err.contains("the load starts now"), "{}", said.err);
    // In a zone to the west they are in the future.
    let west = humantime::format_rfc3339_seconds(clock::wall()).to_string().replace('Z', "-02:00");
    let mut running = stage.start(&["run", "small.toml", "--start-at", &west, "-o", "r"]);
    let line = running.hear("the load starts at");
    assert!(line.contains("in 1 h 59 min") || line.contains("in 2 h"), "{line}");
    running.signal(Signal::SIGINT);
    interrupted(&stage, running.end());
    for wrong in
        [utc.trim_end_matches('Z'), "noon", "2026-01-31", "12:00:00+02:00", "2026-01-31T12:00:00 CET"]
    {
        let said = stage.run(&["run", "few.toml", "--start-at", wrong, "-o", "w"]).ended(2);
        assert!(said.err.contains("with its zone"), "{}", said.err);
    }
    assert!(!stage.path("w").exists());
}

#[test]
fn a_start_in_the_past_is_reported() {
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
