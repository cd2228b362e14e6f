//! Whole searches by the binary against the embedded listener, whose capacity is known.

use serde_json::Value;

use crate::commands::stage::{Listening, Said, Stage};

/// A testbed with a stored ceiling of the generator, so that it is not measured first.
fn stage(rate_per_s: f64) -> Stage {
    let stage = Stage::new();
    std::fs::create_dir_all(stage.path("state/smtpress")).unwrap();
    stage.put("state/smtpress/selftest.json", format!("{{\"ceiling\": {{\"rate_per_s\": {rate_per_s}}}}}"));
    stage
}

/// The common part of every profile. Trials are short, because the limit that is searched is sharp.
fn profile(listener: &str, capacity: &str) -> String {
    format!(
        "schema = 1\nname = \"cap\"\nseed = 7\n[target]\naddress = \"embedded\"\n[message]\nsize = \"1KiB\"\n\
         [listener]\n{listener}\n[capacity]\ntrial = \"1s\"\nconfirm = \"2s\"\nwarmup = \"0s\"\n{capacity}\n"
    )
}

/// Runs a search. If no trial is valid because the machine is busy, the search is repeated a few times.
fn searched(stage: &Stage, arguments: &[&str]) -> Option<(Said, Value)> {
    let state = stage.path("state").display().to_string();
    for attempt in 0..4 {
        let out = format!("out-{attempt}");
        let mut words = vec!["capacity"];
        words.extend(arguments);
        words.extend(["-o", &out]);
        let said = stage.run_with(&[("XDG_STATE_HOME", &state)], &words);
        let path = format!("{out}/result.json");
        if !stage.path(&path).exists() {
            return Some((said, Value::Null));
        }
        let result = stage.json(&path);
        let trials = result["capacity"]["trials"].as_array().unwrap();
        if trials.iter().all(|trial| trial["invalid"].as_array().unwrap().is_empty()) {
            return Some((said, result));
        }
        aloud(&format!("a trial was invalid on this busy machine, try {attempt}"));
    }
    aloud("this machine is too busy: in four searches no trial could be trusted, and nothing is held");
    None
}

/// Prints on standard error why something is not tested. `eprintln!` is not used, because the test harness captures it.
fn aloud(what: &str) {
    use std::io::Write;
    writeln!(std::io::stderr().lock(), "{what}").unwrap();
}

fn goal(result: &Value, index: usize) -> (Option<f64>, Option<f64>, &str) {
    let goal = &result["capacity"]["goals"][index];
    (goal["lower"].as_f64(), goal["upper"].as_f64(), goal["status"].as_str().unwrap())
}

#[test]
fn by_sessions_a_limit_of_twelve_is_found_as_twelve() {
    let stage = stage(1e6);
    // The greeting is slow, so that the lateness of a busy machine is small compared with a session.
    stage.put("p.toml", profile(
        "max_connections_per_host = 12\ndelays = { greeting = \"250ms\" }",
        "by = \"sessions\"\nstart = 5\nmax = 40\ngoals = [{ name = \"none-fails\", slo = \"response p99 < 20s\" }]",
    ));
    let Some((said, result)) = searched(&stage, &["p.toml", "--expect", ">= 20", "--progress", "log"]) else {
        return;
    };
    assert_eq!(goal(&result, 0), (Some(12.0), Some(13.0), "found"), "{}", said.err);
    let said = said.ended(99);
    assert_eq!(result["verdict"]["status"], "fail");
    assert_eq!(result["assertions"][0]["status"], "fail");
    assert!(said.out.starts_with("FAIL  the capacity is not as expected"), "{}", said.out);
    assert!(
        said.err.contains("none-fails between 5 sessions and ?") && said.err.contains("left"),
        "{}",
        said.err
    );
    let first = &result["capacity"]["onsets"][0];
    assert_eq!((first["from"].as_f64(), first["not_at"].as_f64()), (Some(13.0), Some(12.0)), "{first}");
    assert_eq!(first["met"]["condition"], "too-many-connections-from-host");
    let bound_by = result["capacity"]["goals"][0]["bound_by"].as_str().unwrap();
    assert!(bound_by.contains("421 too-many-connections-from-host"), "{bound_by}");
    let schema: Value = serde_json::from_str(&stage.run(&["schema", "result"]).out).unwrap();
    let faults: Vec<String> = jsonschema::validator_for(&schema)
        .unwrap()
        .iter_errors(&result)
        .map(|fault| fault.to_string())
        .collect();
    assert!(faults.is_empty(), "{faults:?}");
    let again = stage.run(&["report", "out-0"]).out;
    assert!(again.contains("none-fails  12.0 to 13.0 sessions"), "{again}");
}

#[test]
fn by_rate_sixteen_workers_of_400_ms_carry_forty_a_second() {
    let stage = stage(1e6);
    // At 45.3/s the last arrival of two seconds waits 260 ms, and at 38.1/s none waits. The goal is about 150 ms from
    // either.
    stage.put(
        "p.toml",
        profile(
            "workers = 16\ndelays = { body = \"400ms\" }",
            "start = \"32/s\"\nmax = \"128/s\"\nwidth = \"17%\"\ngoals = [{ slo = \"response p99 < 550ms\" }]",
        )
        .replacen("trial = \"1s\"", "trial = \"2s\"", 1),
    );
    let Some((said, result)) = searched(&stage, &["p.toml", "--expect", ">= 38/s"]) else { return };
    let told = format!("{}\n{}", said.out, said.err);
    assert_eq!(goal(&result, 0), (Some(38.05), Some(45.25), "found"), "{told}");
    said.ended(0);
    let trials = result["capacity"]["trials"].as_array().unwrap();
    assert!(trials.iter().any(|trial| trial["load"] == 64.0));
}

/// Four workers of 38 ms carry 105/s. At 113/s the queue grows, but the goal of one second is still met at the end of
/// each trial.
#[test]
fn m33_a_load_whose_backlog_grows_is_no_capacity() {
    let stage = stage(1e6);
    stage.put(
        "p.toml",
        profile(
            "workers = 4\ndelays = { body = \"38ms\" }",
            "start = \"95/s\"\nmax = \"190/s\"\nwidth = \"17%\"\nduration_sum = \"3s\"\n\
             goals = [{ slo = \"response p99 < 1s\" }]",
        )
        .replacen("trial = \"1s\"", "trial = \"3s\"", 1)
        .replacen("confirm = \"2s\"", "confirm = \"3s\"", 1),
    );
    let Some((said, result)) = searched(&stage, &["p.toml", "--progress", "log"]) else { return };
    let told = format!("{}\n{}", said.out, said.err);
    assert_eq!(goal(&result, 0), (Some(95.0), Some(113.0), "found"), "{told}");
    let bound_by = result["capacity"]["goals"][0]["bound_by"].as_str().unwrap();
    assert!(bound_by.starts_with("unsustained: at 113/s the backlog grew by "), "{bound_by}");
    let trials = result["capacity"]["trials"].as_array().unwrap();
    let above = trials.iter().find(|trial| trial["load"] == 113.0).unwrap();
    assert_eq!(above["goals"][0]["unsustained"], true, "{above}");
    assert_eq!(above["backlog"]["verdict"], "unsustained", "{above}");
    let growth = above["backlog"]["per_s"].as_f64().unwrap();
    assert!((5.0..15.0).contains(&growth), "{above}");
    assert!(said.out.contains("UNSUSTAINED") && said.err.contains("MISSED (unsustained)"), "{told}");
    // Without the rule that the backlog must not grow, only the goal decides.
    for attempt in 0..4 {
        std::fs::remove_dir_all(stage.path(&format!("out-{attempt}"))).ok();
    }
    let without = ["p.toml", "--set", "capacity.sustained=false"];
    let Some((said, result)) = searched(&stage, &without) else { return };
    assert!(goal(&result, 0).0 >= Some(113.0), "{}\n{}", said.out, said.err);
    let trials = result["capacity"]["trials"].as_array().unwrap();
    assert!(trials.iter().all(|trial| trial["backlog"].is_null()));
}

#[test]
fn two_goals_at_once_and_the_onset_of_resource_low() {
    let stage = stage(1e6);
    // Each transaction takes 400 ms and ten may be in progress, so 25/s are served at any load.
    stage.put("p.toml", profile(
        "resource_low_above = 10\ndelays = { body = \"400ms\" }",
        "start = \"12/s\"\nmax = \"120/s\"\nwidth = \"20%\"\n\
         goals = [{ name = \"all\", slo = \"response p99 < 30s\" }, { name = \"some\", slo = \"response p99 < 30s\", failures = \"30%\" }]",
    ));
    let Some((said, result)) = searched(&stage, &["p.toml"]) else { return };
    let (all, some) = (goal(&result, 0), goal(&result, 1));
    // In a trial of one second the first ten transactions start without any before them, so a little more than 25/s are
    // served.
    assert!(all.2 == "found" && some.2 == "found", "{}\n{}", said.out, said.err);
    assert!(all.0.unwrap() >= 12.0 && all.0.unwrap() <= 29.0, "{all:?}\n{}", said.out);
    assert!(some.0.unwrap() > all.0.unwrap(), "{all:?} {some:?}\n{}", said.out);
    let first = &result["capacity"]["onsets"][0];
    assert_eq!(first["met"]["condition"], "resource-low");
    assert_eq!(first["met"]["code"], 452);
    // On a busy machine arrivals come in bunches, so ten are in progress at a slightly lower load.
    assert!(first["from"].as_f64() <= all.1, "it sets in where the goal is missed first: {}", said.out);
    assert!(said.out.contains("452 resource-low"), "{}", said.out);
    said.ended(0);
}

#[test]
fn by_sessions_three_workers_carry_six_and_a_search_that_is_killed_goes_on() {
    let stage = stage(1e6);
    // Three workers of 300 ms: six sessions are served in two rounds, and the seventh needs a third round.
    let settings = ["listener.workers=3", "listener.delays.body=300ms"];
    let listener = Listening::with(&stage, &settings);
    stage.put(
        "p.toml",
        profile("", "by = \"sessions\"\nstart = 2\nmax = 40\ngoals = [{ slo = \"response p99 < 750ms\" }]")
            .replace("\"embedded\"", &format!("{:?}", listener.url())),
    );
    let state = stage.path("state").display().to_string();
    let mut killed = stage.command(&["capacity", "p.toml", "-o", "out", "--progress", "log"]);
    killed.env("XDG_STATE_HOME", &state);
    let mut running = crate::commands::stage::Running::new(killed);
    running.hear("trial 4:");
    running.signal(nix::sys::signal::Signal::SIGKILL);
    drop(running);
    let before = stage.json("out/search.json");
    let known = before["records"].as_array().unwrap();
    assert_eq!(known.len(), 3);
    let wrong = stage.run(&["capacity", "p.toml", "--resume", "out"]).ended(2);
    assert!(wrong.err.contains("--resume"), "{}", wrong.err);
    let login = ["--auth", "plain", "--user", "load", "--password-env", "PASSWORD"];
    for flags in
        [&["--tls", "none"][..], &["--target", "embedded"], &["--seed", "5"], &["--out", "new"], &login]
    {
        let wrong = stage.run(&[&["capacity", "--resume", "out"], flags].concat()).ended(2);
        assert!(wrong.err.contains("--resume") && wrong.err.contains(flags[0]), "{}", wrong.err);
    }
    // Values of the environment are for new searches.
    let variables = [
        ("XDG_STATE_HOME", state.as_str()),
        ("SMTPRESS_TARGET", "smtp://127.0.0.1:1"),
        ("SMTPRESS_TLS", "starttls"),
        ("SMTPRESS_SEED", "5"),
        ("SMTPRESS_OUT", "new"),
    ];
    let said = stage.run_with(&variables, &["capacity", "--resume", "out"]);
    let result = stage.json("out/result.json");
    let trials = result["capacity"]["trials"].as_array().unwrap();
    for (kept, trial) in known.iter().zip(trials) {
        // Fields that are set after a trial may not have been known yet.
        for field in ["number", "load", "why", "began_s", "scheduled", "accepted", "goals"] {
            assert_eq!(kept[field], trial[field], "{field}");
        }
    }
    assert!(trials.iter().zip(1..).all(|(trial, number)| trial["number"] == number));
    assert!(trials[3]["began_s"].as_f64() > known[2]["began_s"].as_f64());
    let invalid = trials.iter().any(|trial| !trial["invalid"].as_array().unwrap().is_empty());
    if invalid {
        aloud("a trial was invalid on this busy machine: the answer is not held");
        return;
    }
    assert_eq!(goal(&result, 0), (Some(6.0), Some(7.0), "found"), "{}", said.err);
    said.ended(0);
}

#[test]
fn ctrl_c_ends_a_search_with_what_is_known() {
    let stage = stage(1e6);
    stage.put("p.toml", profile("", "start = \"5/s\"\ngoals = [{ slo = \"response p99 < 30s\" }]"));
    let mut command = stage.command(&["capacity", "p.toml", "-o", "out", "--progress", "log"]);
    command.env("XDG_STATE_HOME", stage.path("state"));
    let mut running = crate::commands::stage::Running::new(command);
    running.hear("trial 3:");
    running.signal(nix::sys::signal::Signal::SIGINT);
    let said = running.end().ended(105);
    assert!(said.out.starts_with("INTERRUPTED  stopped by the user"), "{}", said.out);
    let result = stage.json("out/result.json");
    assert_eq!(result["capacity"]["ended"], "interrupted");
    assert_eq!(result["capacity"]["trials"].as_array().unwrap().len(), 2, "a trial that was stopped is none");
    assert_eq!(stage.json("out/search.json")["records"].as_array().unwrap().len(), 2);
}

#[test]
fn a_listener_faster_than_the_generator_is_at_least_what_the_generator_can_do() {
    // A share of it is no load of four digits: the loads are rounded.
    let stage = stage(50.001);
    stage.put("p.toml", profile("", "start = \"25/s\"\ngoals = [{ slo = \"response p99 < 30s\" }]"));
    for (expect, code) in [(None, 5), (Some(">= 30/s"), 0), (Some(">= 60/s"), 5)] {
        let mut words = vec!["p.toml"];
        words.extend(expect.iter().flat_map(|expect| ["--expect", expect]));
        let Some((said, result)) = searched(&stage, &words) else { return };
        // 80 % of the rate at which the generator was in time.
        assert_eq!(goal(&result, 0), (Some(40.0), None, "generator-limited"), "{}", said.err);
        let said = said.ended(code);
        assert!(
            said.out.contains(">= 40.0 messages/s") && said.out.contains("generator-limited"),
            "{}",
            said.out
        );
        assert!(said.out.contains("generator-limited: beyond 40/s"), "{}", said.out);
        assert!(
            result["capacity"]["trials"]
                .as_array()
                .unwrap()
                .iter()
                .all(|trial| trial["load"].as_f64() <= Some(40.0))
        );
        for attempt in 0..4 {
            std::fs::remove_dir_all(stage.path(&format!("out-{attempt}"))).ok();
        }
    }
}

#[test]
fn a_command_between_the_trials_that_fails_ends_the_search_with_what_is_known() {
    let stage = stage(1e6);
    stage.put(
        "p.toml",
        profile(
            "",
            "start = \"5/s\"\ngoals = [{ slo = \"response p99 < 30s\" }]\n\
         between_trials = \"echo flushed before $SMTPRESS_TRIAL; test $SMTPRESS_TRIAL -lt 3 || exit 7\"",
        ),
    );
    let Some((said, result)) = searched(&stage, &["p.toml"]) else { return };
    let said = said.ended(3);
    assert_eq!(result["capacity"]["trials"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&result["capacity"]["ended"], &result["verdict"]["exit_code"]),
        (&"hook-failed".into(), &3.into())
    );
    assert!(said.err.contains("exit code 7") && said.err.contains("between_trials.log"), "{}", said.err);
    let log = stage.read("out-0/between_trials.log");
    assert!(log.contains("flushed before 2") && log.contains("flushed before 3"), "{log}");
}

#[test]
fn what_cannot_be_searched_is_reported_before_anything_is_sent() {
    let stage = stage(1e6);
    stage.put("p.toml", profile("", "goals = [{ slo = \"response p99 < 30s\" }]"));
    let target = ["--target", "embedded"];
    for (arguments, told) in [
        (vec![], "no target"),
        (vec!["--target", "embedded"], "--goal 'response p99 < 500ms'"),
        ([&target[..], &["--goal", "response p99 > 1s"]].concat(), "a goal is an upper limit"),
        ([&target[..], &["--goal", "p99 < 1s", "--by", "weight"]].concat(), "weight"),
        ([&target[..], &["--goal", "p99 < 1s", "--by", "size"]].concat(), "searched under a load"),
        (vec!["p.toml", "--by", "sessions", "--set", "capacity.start=20/s"], "20/s is no number of sessions"),
        (vec!["p.toml", "--expect", ">= 400"], "--expect"),
        (vec!["p.toml", "--expect", "lax: >= 400/s"], "no goal is called \"lax\""),
        (vec!["--resume", "nowhere"], "nowhere"),
        (vec!["p.toml", "--set", "target.address=smtp://192.0.2.1:25"], "allow"),
    ] {
        let said = stage.run(&[&["capacity"], &arguments[..]].concat());
        assert!(matches!(said.code, Some(2 | 3)), "{arguments:?}: {:?}", said.code);
        assert!(said.err.contains(told), "{arguments:?}: {}", said.err);
    }
    assert!(!stage.path("smtpress-runs").exists());
}

/// The greylist defers the probes of the idle listener, but not the trials after it.
#[test]
fn m33_a_search_that_cannot_judge_a_backlog_finds_no_capacity() {
    let stage = stage(1e6);
    stage.put(
        "p.toml",
        profile(
            "workers = 4\ndelays = { body = \"38ms\" }\ngreylist = \"1500ms\"",
            "start = \"80/s\"\nmax = \"400/s\"\nwidth = \"50%\"\nduration_sum = \"2s\"\n\
             goals = [{ slo = \"response p99 < 400ms\" }]",
        )
        .replacen("size = \"1KiB\"", "size = \"1KiB\"\nfrom = \"a@one.example\"\nto = \"b@two.example\"", 1)
        .replacen("warmup = \"0s\"", "warmup = \"3s\"", 1),
    );
    let Some((said, result)) = searched(&stage, &["p.toml", "--expect", ">= 80/s", "--overwrite"]) else {
        return;
    };
    let told = format!("{}\n{}", said.out, said.err);
    let (lower, _, status) = goal(&result, 0);
    assert!(lower >= Some(80.0) && status == "inconclusive", "{told}");
    assert_eq!(result["assertions"][0]["status"], "no-data", "{told}");
    let goal = &result["capacity"]["goals"][0];
    assert_eq!(
        (&goal["confirmed"], &goal["sustained"]),
        (&Value::from(false), &"undecided".into()),
        "{told}"
    );
    let notes = goal["notes"].to_string();
    assert!(notes.contains("no message that was sent to the idle listener was accepted"), "{notes}");
    assert!(notes.contains("`sustained = false`") && !notes.contains("`confirm`"), "{notes}");
    said.ended(5);
    // If the backlog may grow, the search needs no idle listener for its result.
    let sustained = |toml: String| toml.replacen("[capacity]", "[capacity]\nsustained = false", 1);
    stage.put("p.toml", sustained(stage.read("p.toml")));
    let Some((said, result)) = searched(&stage, &["p.toml", "--expect", ">= 80/s", "--overwrite"]) else {
        return;
    };
    let notes = result["capacity"]["goals"][0]["notes"].to_string();
    assert!(notes.contains("no trial waited until the listener had worked off"), "{notes}");
    said.ended(0);
}
