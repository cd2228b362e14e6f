//! `[[event]]`: commands during a run, over sockets, such as a script that kills the listener and starts it again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::stage::{Said, Stage};

/// The listener that a script kills and starts again, by the id in `listener.pid`.
struct Victim<'a> {
    stage: &'a Stage,
    address: String,
}

fn put_script(stage: &Stage, name: &str, text: &str) {
    stage.put(name, format!("#!/bin/sh\n{text}"));
    fs::set_permissions(stage.path(name), PermissionsExt::from_mode(0o755)).unwrap();
}

impl<'a> Victim<'a> {
    /// Starts it on a port that was free a moment ago. A fixed port is needed, because it must be the same after the
    /// crash.
    fn start(stage: &'a Stage) -> Victim<'a> {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let (binary, folder) = (env!("CARGO_BIN_EXE_smtpress"), stage.path(""));
        // The log is emptied first, so that a line in it is of this process.
        let start = format!(
            "cd {}\n: > listener.log\n{binary} listen --bind {address} -z 2m --set listener.delays.body=40ms \
             > listener.out 2> listener.log < /dev/null &\necho $! > listener.pid\n\
             until grep -q 'listening on' listener.log; do sleep 0.01; done\n",
            folder.display()
        );
        put_script(stage, "start.sh", &start);
        // The script writes its times, in nanoseconds of the wall clock.
        let crash = "date +%s%N > killed\nkill -9 $(cat listener.pid)\nsleep $1\n./start.sh\ndate +%s%N > up\n\
                     echo killed and started again\n";
        put_script(stage, "crash.sh", crash);
        assert!(std::process::Command::new(stage.path("start.sh")).status().unwrap().success());
        Victim { stage, address }
    }

    fn profile(&self, length: u32, events: &str) -> String {
        format!(
            "schema = 1\nname = \"crash\"\nseed = 7\n[target]\naddress = \"smtp://{}\"\n[timeouts]\nconnect = \"2s\"\n\
             [[phase]]\nname = \"warm\"\nload = \"constant-rate\"\nrate = \"50/s\"\nfor = \"1s\"\nwarmup = true\n\
             [[phase]]\nname = \"steady\"\nload = \"constant-rate\"\nrate = \"100/s\"\nfor = \"{length}s\"\n\
             [[assert]]\nexpr = \"unexpected rate <= 1%\"\nremove = true\n{events}",
            self.address
        )
    }
}

impl Drop for Victim<'_> {
    fn drop(&mut self) {
        if let Ok(id) = self.stage.read("listener.pid").trim().parse() {
            kill(Pid::from_raw(id), Signal::SIGKILL).ok();
        }
    }
}

/// Returns the time that a script wrote to a file, in seconds since the start of the load by the result's clock.
fn seen(stage: &Stage, result: &Value, file: &str) -> f64 {
    let began = humantime::parse_rfc3339(result["load_began_at"].as_str().unwrap()).unwrap();
    let at = Duration::from_nanos(stage.read(file).trim().parse().unwrap());
    at.as_secs_f64() - began.duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// Runs `p.toml` and checks the exit code. The last value is whether the generator was too late for exact times.
fn run(stage: &Stage, code: i32) -> (Said, Value, bool) {
    let said = stage.run(&["run", "p.toml", "-o", "out", "--progress", "log", "--junit", "junit.xml"]);
    assert!(stage.path("out/result.json").exists(), "{}\n{}", said.out, said.err);
    let result = stage.json("out/result.json");
    let reasons = result["validity"]["reasons"].as_array().unwrap().iter();
    let was_late = reasons.clone().any(|reason| reason.as_str().unwrap().starts_with("generator-"));
    assert!(said.code == Some(code) || was_late, "{:?}\n{}\n{}", said.code, said.out, said.err);
    (said, result, was_late)
}

#[test]
fn outage_and_recovery_are_what_the_script_saw() {
    let stage = Stage::new();
    let victim = Victim::start(&stage);
    let events = "[[event]]\nname = \"crash\"\nat = { phase = \"steady\", after = \"5s\" }\nrun = \"crash.sh 2\"\n\
                  [[assert]]\nexpr = \"event.crash.outage < 5s\"\n[[assert]]\nexpr = \"event.crash.recovery < 6s\"\n\
                  [[assert]]\nexpr = \"event.crash.outage > 1s\"\n";
    stage.put("p.toml", victim.profile(16, events));
    let (said, result, was_late) = run(&stage, 0);
    let event = &result["events"][0];
    assert_eq!((&event["status"], &event["exit_code"]), (&"done".into(), &0.into()), "{event}");
    assert_eq!(event["output"], "killed and started again\n");
    assert!(said.err.contains("event crash: crash.sh 2") && said.err.contains("ended well"), "{}", said.err);
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{event}"));
    let started = number(&event["started_s"]);
    assert!(started >= 6.0, "the warm-up lasts one second: {event}");
    let (killed, up) = (seen(&stage, &result, "killed"), seen(&stage, &result, "up"));
    let effect = &event["effect"];
    let near = |what: &str, found: &Value, truth: f64| {
        println!("{what}: {found}, the script saw {truth:.3}");
        // A late generator did not observe the times exactly.
        let is_near = found.as_f64().is_some_and(|found| (found - truth).abs() < 1.0);
        assert!(is_near || was_late, "{what}: {found}, the script saw {truth}: {event}");
    };
    near("outage from", &effect["outage"]["from_s"], killed);
    near("outage to", &effect["outage"]["to_s"], up);
    near("outage", &effect["outage"]["s"], up - killed);
    near("outage at most", &effect["outage"]["at_most_s"], up - killed);
    // On a busy machine the listener is slow for longer after its start, so it recovers later. It never recovers before
    // its start.
    let (recovered, truth) = (number(&effect["recovery_s"]), up - started);
    println!("recovery: {recovered}, the script saw {truth:.3}");
    assert!(recovered > truth - 1.0 || was_late, "{recovered}, the script saw {truth}: {event}");
    // Each arrival of the measured phase is on one side.
    let phase = &result["phases"][1];
    for (of_side, of_phase) in
        [("offered", "scheduled"), ("accepted", "accepted"), ("refused", "refused"), ("dropped", "dropped")]
    {
        let of = |side: &str| effect[side][of_side].as_u64().unwrap();
        assert_eq!(Some(of("before") + of("after")), phase[of_phase].as_u64(), "{of_side}: {event}");
    }
    let page = stage.read("out/report.html");
    let markdown = stage.run(&["report", "out", "--format", "markdown"]).out;
    for (report, text) in [
        ("terminal", &said.out),
        ("page", &page),
        ("junit", &stage.read("junit.xml")),
        ("markdown", &markdown),
    ] {
        assert!(text.contains("crash.sh 2"), "{report}: {text}");
    }
    assert!(page.contains("\"events\":[{\"name\":\"crash\",\"from\":"), "the charts mark it");
    assert!(stage.read("out/event-crash.log").contains("killed and started again"));
}

/// Puts a run of two seconds against the embedded listener into `p.toml`.
fn small(stage: &Stage, events: &str) {
    let small = stage.read("small.toml").replace("\"1s\"", "\"2s\"");
    stage.put("p.toml", format!("{small}{events}"));
}

/// Returns the process ids in a file, one a line, whose processes still run.
fn alive(stage: &Stage, file: &str) -> Vec<String> {
    let ids = stage.read(file);
    let runs = |id: &&str| {
        let state = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        !state.is_empty() && !state.contains(") Z ")
    };
    ids.lines().filter(runs).map(str::to_owned).collect()
}

#[test]
fn a_command_that_fails_makes_the_run_invalid_and_its_output_can_do_nothing() {
    let stage = Stage::new();
    let event =
        "[[event]]\nname = \"bad\"\nat = \"500ms\"\nrun = '''printf 'a\\033[2Jb<script>\\n'; exit 7'''\n";
    small(&stage, &format!("{event}[[assert]]\nexpr = \"event.bad.outage < 1s\"\n"));
    let (said, result, _) = run(&stage, 98);
    let reasons = result["validity"]["reasons"].as_array().unwrap();
    assert!(reasons.contains(&"event-failed".into()), "{reasons:?}");
    let event = &result["events"][0];
    assert_eq!((&event["status"], &event["exit_code"]), (&"failed".into(), &7.into()));
    assert_eq!(event["output"], "a\u{1b}[2Jb<script>\n");
    assert!(said.out.contains("failed with exit code 7"), "{}", said.out);
    let (page, junit) = (stage.read("out/report.html"), stage.read("junit.xml"));
    for text in [&said.out, &said.err, &page, &junit] {
        assert!(!text.contains('\u{1b}'), "{text}");
    }
    assert!(!page.contains("b<script>") && !junit.contains("b<script>"));
    assert!(said.out.contains("\\u{1b}[2Jb"), "{}", said.out);
}

#[test]
fn at_its_time_out_a_command_is_killed_with_all_that_it_started() {
    let stage = Stage::new();
    small(
        &stage,
        "[[event]]\nname = \"long\"\nat = \"0s\"\ntimeout = \"600ms\"\n\
         run = \"trap '' TERM; sleep 100 & echo $! > ids; echo $$ >> ids; sleep 100\"\n",
    );
    let (said, result, _) = run(&stage, 98);
    assert_eq!(result["events"][0]["status"], "timed-out");
    assert!(said.out.contains("was still running after 600ms, and was killed"), "{}", said.out);
    assert_eq!(alive(&stage, "ids"), Vec::<String>::new());
}

#[test]
fn a_stop_ends_the_command_and_leaves_nothing_running() {
    let stage = Stage::new();
    small(
        &stage,
        "[[event]]\nname = \"long\"\nat = \"100ms\"\nrun = \"sleep 100 & echo $! > ids; echo $$ >> ids; sleep 100\"\n\
         [[event]]\nname = \"later\"\nat = \"1900ms\"\nrun = \"touch ran\"\n",
    );
    let longer = ["--set", "phase.0.for=20s", "--set", "event.1.at=15s"];
    let mut running =
        stage.start(&[&["run", "p.toml", "-o", "out", "--progress", "log"][..], &longer].concat());
    running.hear("event long");
    while !stage.path("ids").exists() || stage.read("ids").lines().count() < 2 {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(alive(&stage, "ids").len(), 2);
    running.signal(Signal::SIGINT);
    let said = running.end().ended(105);
    assert!(said.err.contains("stopping"), "{}", said.err);
    assert_eq!(alive(&stage, "ids"), Vec::<String>::new());
    let result = stage.json("out/result.json");
    let of = |i: usize| result["events"][i]["status"].as_str().unwrap().to_owned();
    assert_eq!((of(0), of(1)), ("stopped".to_owned(), "not-run".to_owned()));
    assert!(!stage.path("ran").exists());
}

#[test]
fn what_a_command_left_running_fills_no_disk_and_the_report_says_what_is_left_out() {
    let stage = Stage::new();
    let leaves = "(sleep 0.2; head -c 5000000 /dev/zero | tr '\\0' x; echo the end; exec sleep 100) & echo $! > id; echo started";
    small(&stage, &format!("[[event]]\nname = \"start\"\nat = \"0s\"\nrun = '''{leaves}'''\n"));
    let (_, result, _) = run(&stage, 0);
    let left = alive(&stage, "id");
    left.iter().for_each(|id| kill(Pid::from_raw(id.parse().unwrap()), Signal::SIGKILL).unwrap());
    assert_eq!(left.len(), 1, "a restarted listener stays");
    let event = &result["events"][0];
    assert_eq!(event["status"], "done");
    let log = fs::metadata(stage.path("out/event-start.log")).unwrap().len();
    assert!(log < 3 << 20, "{log} bytes");
    let output = event["output"].as_str().unwrap();
    assert!(output.starts_with("started\nxxx") && output.ends_with("xxxthe end\n"), "{output}");
    assert!(output.contains(" bytes left out: the log holds at most 1 MiB]"), "{output}");
}

/// The kernel keeps no exit codes for a program that ignores SIGCHLD, as its parent may have told it to.
#[test]
fn a_command_whose_exit_code_is_unknown_is_not_said_to_be_missing() {
    let stage = Stage::new();
    small(&stage, "[[event]]\nname = \"a\"\nat = \"0s\"\nrun = \"sleep 0.3; echo ran\"\n");
    let mut ignoring = std::process::Command::new("env");
    ignoring.args(["--ignore-signal=CHLD", env!("CARGO_BIN_EXE_smtpress")]);
    ignoring.args(["run", "p.toml", "-o", "out", "-q"]).current_dir(stage.path(""));
    assert_eq!(ignoring.output().unwrap().status.code(), Some(98));
    let event = &stage.json("out/result.json")["events"][0];
    assert_eq!((&event["status"], &event["output"]), (&"failed".into(), &"ran\n".into()), "{event}");
    let explanation = event["explanation"].as_str().unwrap();
    assert!(explanation.contains("its exit code is unknown"), "{explanation}");
}

#[test]
fn an_event_whose_time_comes_after_the_run_is_not_run_and_says_so() {
    let stage = Stage::new();
    let few = stage.read("few.toml");
    stage.put("p.toml", format!("{few}[[event]]\nname = \"late\"\nat = \"20s\"\nrun = \"touch ran\"\n"));
    let (said, result, _) = run(&stage, 98);
    assert_eq!(result["events"][0]["status"], "not-run");
    assert!(said.out.contains("the run was over before its time came"), "{}", said.out);
    assert!(!stage.path("ran").exists());
}

#[test]
fn check_prints_every_command_and_a_stored_profile_finds_its_scripts() {
    let stage = Stage::new();
    fs::create_dir(stage.path("inner")).unwrap();
    let small = stage.read("small.toml");
    let event = "[[event]]\nname = \"crash\"\nat = { phase = \"steady\", after = \"300ms\" }\nrun = \"./here.sh; true\"\n";
    let capacity = "[capacity]\nbetween_trials = \"flush.sh\"\ngoals = [{ slo = \"response p99 < 1s\" }]\n";
    stage.put("inner/p.toml", format!("{small}{event}{capacity}"));
    put_script(&stage, "inner/here.sh", "touch was-here\n");
    let said = stage.run(&["check", "inner/p.toml"]).ended(0);
    let folder = stage.path("inner").display().to_string();
    let when = "event crash: 300ms after the start of phase steady";
    for part in [when, "./here.sh; true", &folder, "timeout   1m", "flush.sh"] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    stage.run(&["run", "inner/p.toml", "-o", "out", "-q"]).measured();
    assert!(stage.path("inner/was-here").exists());
    let again = stage.run(&["check", "out/profile.toml"]).ended(0);
    assert!(again.out.contains(&format!("folder    {folder}")), "{}", again.out);
}

#[test]
fn every_fault_of_an_event_is_named_with_its_place() {
    let stage = Stage::new();
    small(
        &stage,
        "[[event]]\nname = \"a\"\nat = \"5s\"\nrun = \"true\"\n[[event]]\nname = \"a\"\nat = \"1s\"\nrun = \"true\"\n\
         [[event]]\nat = \"1s\"\n[[event]]\nrun = \"true\"\n[[event]]\nrun = \"true\"\nat = { phase = \"stedy\" }\n\
         [[assert]]\nexpr = \"event.b.outage < 1s\"\n[[assert]]\nexpr = \"event.a.recovery p99 < 1s\"\n\
         [[assert]]\nexpr = \"event.a.recovry < 1s\"\n[[assert]]\nexpr = \"event.a.outage < 1s\"\nphase = \"steady\"\n",
    );
    let said = stage.run(&["check", "p.toml"]).ended(2);
    for part in [
        "the load is over after 2s, before this event",
        "an event before this one is called `a` too",
        "this event does nothing",
        "this event has no time",
        "no phase is called `stedy`",
        "no [[event]] is called `b`",
        "`event.a.recovery` is one time and has no aggregate",
        "did you mean `event.a.recovery`?",
        "what an event did is known at the end of the run only",
    ] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    small(
        &stage,
        "[[event]]\nrun = \" \"\nat = \"1s\"\n[[event]]\nrun = \"true\"\nat = 3\ntimeout = \"0s\"\nwhen = \"now\"\n",
    );
    let said = stage.run(&["check", "p.toml"]).ended(2);
    for part in ["a command without words", "a time-out of 0", "when"] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    let event = "[[event]]\nat = \"0s\"\nrun = \"true\"\n";
    stage.put("p.toml", format!("{}{event}", stage.read("small.toml")));
    let said = stage.run(&["run", "p.toml", "--shard", "0/2"]).ended(2);
    assert!(said.err.contains("each shard would run the commands"), "{}", said.err);
}
