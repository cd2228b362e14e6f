//! The directory of a run: a name that exists already, what may be overwritten, and what is left of a run that was
//! killed or could not be stored.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;
use smtpress::generator::clock;

use super::stage::{FEW, Listening, Stage};

/// Returns the id of the run in a directory.
fn run_id(stage: &Stage, name: &str) -> String {
    stage.json(&format!("{name}/result.json"))["run_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_name_that_is_taken_is_refused_before_anything_is_sent() {
    let stage = Stage::new();
    let listener = Listening::with(&stage, &[]);
    let url = listener.url();
    stage.run(&["run", "few.toml", "-q", "-o", "r"]).ended(0);
    fs::create_dir(stage.path("mine")).unwrap();
    stage.put("mine/letter.txt", "dear");
    stage.put("file", "");
    symlink("gone", stage.path("nowhere")).unwrap();
    let before = stage.read("r/result.json");
    let few = ["run", "--target", &url, "-n", "5", "-c", "1", "-o"];
    let limit = ["limit", "--target", &url, "--find", "too-many-recipients", "-o"];
    let capacity = ["capacity", "--target", &url, "--goal", "p99 < 1s", "-o"];
    let series =
        ["compare", "--interleave", "1", "few.toml", "--target", &url, "--candidate", &url, "--runs"];
    for command in [&few[..], &limit, &capacity, &series] {
        for (place, more, code, why) in [
            ("r", &[][..], 2, "--overwrite"),
            ("r/", &[], 2, "--overwrite"),
            ("./r", &[], 2, "--overwrite"),
            ("mine", &[], 2, "not empty"),
            ("mine", &["--overwrite"], 2, "letter.txt"),
            // These names cannot be directories.
            ("file", &[], 3, "a file of that name"),
            ("file", &["--overwrite"], 3, "a file of that name"),
            ("nowhere", &[], 3, "leads nowhere"),
            ("nowhere", &["--overwrite"], 3, "leads nowhere"),
        ] {
            let said = stage.run(&[command, &[place], more].concat()).ended(code);
            assert!(said.err.contains(why), "{command:?} {place}: {}", said.err);
            assert_eq!(said.out, "", "{command:?} {place}");
        }
    }
    // It is the same whether a variable or a flag names the directory.
    let said = stage.run_with(&[("SMTPRESS_OUT", "r")], &["run", "few.toml"]).ended(2);
    assert!(said.err.contains("--overwrite"), "{}", said.err);
    stage.run(&["run", "few.toml", "--overwrite"]).ended(2);
    assert_eq!(stage.read("r/result.json"), before);
    let names = stage.list("");
    assert_eq!(names, ["few.toml", "file", "mine", "nowhere", "r", "small.toml"], "nothing of another name");
    let ledger = listener.ledger();
    // The reachability check is a connection without any command.
    assert_eq!((&ledger["messages"], &ledger["commands"]["mail"]), (&0.into(), &Value::Null), "{ledger}");
}

#[test]
fn the_commands_of_the_guide_work_twice_in_one_folder() {
    let guide = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ci.md"));
    let stage = Stage::new();
    stage.put("mx.toml", FEW);
    stage.put(
        "limits.toml",
        format!("{FEW}\n[limits]\ntoo-many-recipients = 5\n[listener]\nmax_recipients = 5\n"),
    );
    let block = guide.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let commands: Vec<&str> = block
        .lines()
        .map(|line| line.split('#').next().unwrap().trim())
        // A search takes minutes, and its directory has another name.
        .filter(|line| !line.starts_with("smtpress capacity"))
        .collect();
    assert!(commands.iter().any(|line| line.contains("run mx.toml -o run")), "{commands:?}");
    let mut ids = Vec::new();
    for _ in 0..2 {
        for command in &commands {
            let (command, into) = command.split_once(" > ").map_or((*command, None), |(c, i)| (c, Some(i)));
            let words: Vec<&str> = command.split_whitespace().skip(1).collect();
            let said = stage.run(&words).ended(0);
            if let Some(into) = into {
                stage.put(into, said.out);
            }
        }
        let id = run_id(&stage, "run");
        // The files and the report are of this run.
        assert!(stage.read("smtpress.xml").contains(&id));
        assert_eq!(stage.run(&["report", "run", "--format", "json"]).ended(0).json()["run_id"], *id);
        ids.push(id);
    }
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn the_result_names_its_directory() {
    let stage = Stage::new();
    for (arguments, name) in [
        (&["run", "few.toml", "-o", "deep/r/", "--json", "-"][..], "deep/r"),
        (&["run", "few.toml", "-o", "deep/r", "--overwrite", "--json", "-"], "deep/r"),
        (&["limit", "--target", "embedded", "--find", "too-many-recipients", "-o", "l", "--json", "-"], "l"),
    ] {
        let result = stage.run(arguments).json();
        assert_eq!(result["directory"], name, "{arguments:?}");
        assert_eq!(stage.json(&format!("{name}/result.json")), result);
    }
    let drawn = stage.run(&["run", "few.toml", "--json", "-"]).ended(0).json()["directory"].clone();
    let drawn = drawn.as_str().unwrap();
    assert!(stage.path(drawn).join("result.json").is_file(), "{drawn}");
    // After a move, the report names the new directory.
    fs::rename(stage.path("deep/r"), stage.path("moved")).unwrap();
    let again = stage.run(&["report", "moved", "--format", "json"]).ended(0).json();
    assert_eq!(again["directory"], "moved");
}

#[test]
fn what_is_overwritten_is_replaced_as_a_whole_or_not_at_all() {
    let stage = Stage::new();
    stage.run(&["run", "few.toml", "-q", "-o", "r", "--assert", "p50 < 1ns"]).ended(99);
    let first = run_id(&stage, "r");
    fs::write(stage.path("r/transcripts.txt"), "").unwrap();
    stage.run(&["run", "few.toml", "-q", "-o", "r", "--overwrite"]).ended(2);
    fs::remove_file(stage.path("r/transcripts.txt")).unwrap();
    // A run that cannot start does not change the earlier one, and leaves no files beside it.
    stage.run(&["run", "--target", "smtp://127.0.0.1:1", "-n", "1", "-q", "-o", "r", "--overwrite"]).ended(3);
    assert_eq!(run_id(&stage, "r"), first);
    let mut running = stage.start(&["run", "small.toml", "--for", "60s", "-o", "r", "--overwrite"]);
    running.hear(" 1 s ");
    assert_eq!(run_id(&stage, "r"), first, "it stays until the new one is stored");
    let said = stage.run(&["run", "few.toml", "-o", "r", "--overwrite"]).ended(2);
    assert!(said.err.contains("another smtpress"), "{}", said.err);
    running.signal(Signal::SIGINT);
    running.end().ended(105);
    assert_ne!(run_id(&stage, "r"), first);
    assert_eq!(stage.list(""), ["few.toml", "r", "small.toml"]);
    // A run that is killed does not change the earlier one, but `report` mentions it.
    let second = run_id(&stage, "r");
    let mut running = stage.start(&["run", "small.toml", "--for", "60s", "-o", "r", "--overwrite"]);
    running.hear(" 1 s ");
    running.signal(Signal::SIGKILL);
    drop(running);
    assert_eq!(run_id(&stage, "r"), second);
    let said = stage.run(&["report", "r"]).ended(0);
    assert!(said.err.contains("r.unfinished") && said.err.contains("older run"), "{}", said.err);
    let said = stage.run(&["report", "r.unfinished"]).ended(105);
    assert!(said.out.contains("cut-off"), "{}", said.out);
    stage.run(&["run", "few.toml", "-q", "-o", "r", "--overwrite"]).ended(0);
    assert_eq!(stage.list(""), ["few.toml", "r", "small.toml"]);
    assert_eq!(stage.run(&["report", "r"]).ended(0).err, "");
}

#[test]
fn of_two_runs_into_one_name_one_is_refused() {
    let stage = Stage::new();
    for prepare in [&[][..], &["made"]] {
        let name = prepare.first().copied().unwrap_or("new");
        if !prepare.is_empty() {
            fs::create_dir(stage.path(name)).unwrap();
        }
        let run =
            || stage.command(&["run", "few.toml", "-q", "-o", name]).stderr(Stdio::null()).spawn().unwrap();
        let mut both = [run(), run(), run()];
        let mut codes = both.each_mut().map(|child| child.wait().unwrap().code().unwrap());
        codes.sort_unstable();
        assert_eq!(codes, [0, 2, 2], "{name}");
        assert!(stage.path(name).join("result.json").is_file());
    }
    assert_eq!(stage.list(""), ["few.toml", "made", "new", "small.toml"]);
}

/// Returns the result that `report` gives for a command that was killed.
fn cut_off(stage: &Stage, directory: &str) -> Value {
    let said = stage.run(&["report", directory]).ended(105);
    assert!(said.out.starts_with("INVALID") && said.out.contains("cut off"), "{}", said.out);
    let markdown = stage.run(&["report", directory, "--format", "markdown"]).ended(105).out;
    assert!(markdown.contains("cut-off"), "{markdown}");
    let junit = stage.run(&["report", directory, "--format", "junit"]).ended(105).out;
    assert!(!junit.contains("time=\"0\"></testcase>"), "no case passes: {junit}");
    let html = stage.run(&["report", directory, "--format", "html"]).ended(105).out;
    assert!(html.contains("cut-off") && !html.contains("PASS"));
    let result = stage.run(&["report", directory, "--format", "json"]).ended(105).json();
    assert_eq!(
        result["verdict"],
        serde_json::json!({"status": "invalid", "exit_code": 105, "aborted_by": null})
    );
    assert_eq!(result["validity"]["reasons"], serde_json::json!(["cut-off"]));
    assert!(!stage.path(directory).join("result.json").exists());
    let schema = stage.run(&["schema", "result"]).ended(0).json();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(validator.is_valid(&result));
    result
}

#[test]
fn what_a_killed_run_had_counted_is_there() {
    let stage = Stage::new();
    let listener = Listening::with(
        &stage,
        &[r#"listener.replies=[{ step = "rcpt", reply = "451 4.7.1 Greylisted", probability = "30%" }]"#],
    );
    let url = listener.url();
    let arguments =
        ["run", "--target", &url, "-r", "100/s", "-z", "60s", "-o", "r", "--shard", "0/2", "--seed", "3"];
    let began = clock::now();
    let mut running = stage.start(&arguments);
    running.hear(" 5 s ");
    let said = stage.run(&["report", "r"]).ended(105);
    assert!(said.out.contains("in-progress"), "{}", said.out);
    running.signal(Signal::SIGKILL);
    assert_eq!(running.end().code, None);
    let lived = began.elapsed().as_secs_f64();
    let result = cut_off(&stage, "r");
    let took = result["took_s"].as_f64().unwrap();
    assert!((5.0..=lived).contains(&took), "{took} of {lived}");
    let phase = &result["phases"][0];
    let count = |name: &str| phase[name].as_u64().unwrap();
    // The shard has half of 100/s, up to the last whole second.
    assert!(count("scheduled").abs_diff((took * 50.0) as u64) <= 50, "{phase}");
    assert!((phase["offered_per_s"].as_f64().unwrap() - 50.0).abs() < 5.0, "{phase}");
    assert!(count("accepted") > 100 && count("deferred") > 20, "{phase}");
    assert_eq!(phase["transactions"]["accepted"], phase["accepted"], "what no other file has is there too");
    let response = result["metrics"].as_array().unwrap().iter();
    let response: Vec<&Value> =
        response.filter(|own| own["name"] == "response" && own["outcome"] == "accepted").collect();
    assert_eq!(response[0]["count"], phase["accepted"], "times and counts are of the same seconds");
    assert_eq!(response[0]["percentiles"][0]["status"], "exact");
    let greylisted = &result["conditions"][0];
    assert_eq!((&greylisted["condition"], &greylisted["count"]), (&"greylisted".into(), &phase["deferred"]));
    assert!(greylisted["sample"].as_str().unwrap().contains("Greylisted"));
    // The transcripts of sessions that had ended are stored too.
    let kept = stage.list("r/transcripts");
    let of_condition = kept.iter().find(|name| name.starts_with("greylisted"));
    let text = stage.read(&format!("r/transcripts/{}", of_condition.unwrap_or_else(|| panic!("{kept:?}"))));
    assert!(text.contains("451 4.7.1 Greylisted"), "{text}");
    assert_eq!(result["shard"], serde_json::json!({"index": 0, "of": 2}));
    for (form, holds) in [("csv", "t_s,"), ("hlog", "response/accepted")] {
        assert!(stage.run(&["report", "r", "--format", form]).ended(105).out.contains(holds));
    }
    // A shard that was cut off makes the merged run invalid, whatever the results of the others.
    let other =
        ["run", "--target", &url, "-r", "100/s", "-z", "60s", "-o", "s", "--shard", "1/2", "--seed", "3"];
    let mut running = stage.start(&[&other[..], &["--progress", "log"]].concat());
    running.hear(" 1 s ");
    running.signal(Signal::SIGINT);
    running.end();
    let said = stage.run(&["report", "s", "r", "--format", "json"]);
    let merged = said.json();
    assert_eq!(merged["validity"]["status"], "invalid", "{}", said.err);
    assert!(merged["validity"]["reasons"].as_array().unwrap().contains(&"cut-off".into()));
    assert_ne!(merged["verdict"]["exit_code"], 0);
    // Without --force a cut-off run is not compared.
    let said = stage.run(&["compare", "r", "--against", "s"]).ended(2);
    assert!(said.err.contains("cut-off"), "{}", said.err);
}

#[test]
fn a_search_that_was_killed_is_reported_with_what_it_had_found() {
    let stage = Stage::new();
    let goal = [
        "--goal",
        "p50 < 10s",
        "--set",
        "capacity.trial=1s",
        "--set",
        "capacity.warmup=0s",
        "--set",
        "capacity.max=1000/s",
    ];
    let start = ["capacity", "--target", "embedded", "--progress", "log", "-o", "c"];
    let mut running = stage.start(&[&start[..], &goal].concat());
    running.hear("trial 2:");
    running.signal(Signal::SIGKILL);
    drop(running);
    let result = cut_off(&stage, "c");
    assert_eq!(result["capacity"]["trials"].as_array().unwrap().len(), 1, "{result}");
    // The search can be resumed. Until it has ended it has no result.
    let mut running = stage.start(&["capacity", "--resume", "c", "--progress", "log"]);
    running.hear("trial 2:");
    let said = stage.run(&["capacity", "--resume", "c"]).ended(2);
    assert!(said.err.contains("another smtpress"), "{}", said.err);
    running.signal(Signal::SIGINT);
    running.end().ended(105);
    assert_eq!(stage.json("c/result.json")["verdict"]["status"], "interrupted");
    assert!(!stage.path("c/unfinished.json").exists());
    let mut running = stage.start(&["capacity", "--resume", "c", "--progress", "log"]);
    running.hear("trial 3:");
    running.signal(Signal::SIGKILL);
    drop(running);
    assert_eq!(cut_off(&stage, "c")["capacity"]["trials"].as_array().unwrap().len(), 2);

    let slow = Listening::with(&stage, &["listener.delays.rcpt=\"200ms\""]);
    let mut running =
        stage.start(&["limit", "--target", &slow.url(), "--find", "too-many-recipients", "-o", "l"]);
    running.hear("[1/1]");
    running.signal(Signal::SIGKILL);
    drop(running);
    cut_off(&stage, "l");
}

#[test]
fn what_an_earlier_run_wrote_elsewhere_is_no_result_of_one_that_was_killed() {
    let stage = Stage::new();
    let copies = ["--json", "x.json", "--junit", "x.xml", "--html", "x.html"];
    stage.run(&[&["run", "few.toml", "-q"][..], &copies].concat()).ended(0);
    let mut running = stage.start(&[&["run", "small.toml", "--for", "60s", "-o", "r"][..], &copies].concat());
    running.hear(" 1 s ");
    running.signal(Signal::SIGKILL);
    drop(running);
    assert_eq!(stage.list(""), ["few.toml", "r", "small.toml", "smtpress-runs"]);
    // A run that reached no listener leaves no copies either. A refused command does not remove existing files.
    stage.run(&[&["run", "few.toml", "-q"][..], &copies].concat()).ended(0);
    stage.run(&[&["run", "few.toml", "-o", "r"][..], &copies].concat()).ended(2);
    assert!(stage.path("x.xml").is_file());
    stage.run(&[&["run", "--target", "smtp://127.0.0.1:1", "-n", "1"][..], &copies].concat()).ended(3);
    assert!(!stage.path("x.xml").exists());
}

/// Limits the size of files that a process can write from now on, as if the disk were nearly full.
fn forbid_files_above(most: u64, process: u32) {
    let status = Command::new("prlimit")
        .args([format!("--pid={process}"), format!("--fsize={most}:{most}")])
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn a_result_is_stored_where_its_page_cannot_be() {
    let stage = Stage::new();
    let run = ["run", "small.toml", "--for", "4s", "--assert", "p50 > 1ns", "-o"];
    stage.run(&[&run[..], &["a"]].concat()).measured();
    let size = |name: &str| fs::metadata(stage.path(name)).unwrap().len();
    let (result, page) = (size("a/result.json"), size("a/report.html"));
    // After the first second there is no more room for files that grow with the run.
    for most in [result + (page - result) / 2, result / 8] {
        let mut running = stage.start(&[&run[..], &["b", "--overwrite", "--json", "b.json"]].concat());
        running.hear(" 1 s ");
        forbid_files_above(most, running.id());
        let said = running.end();
        if most > result {
            assert!(said.err.contains("report.html") && said.err.contains("failed to write"), "{}", said.err);
            assert!(said.out.starts_with("PASS") || said.out.starts_with("INVALID"), "{}", said.out);
            let stored = stage.json("b/result.json");
            assert_eq!(stored, stage.json("b.json"));
            // A run without its page does not end with 0, but a worse exit code of its verdict is kept.
            let code = stored["verdict"]["exit_code"].as_i64();
            assert_eq!(said.code.map(i64::from), code.map(|code| if code == 0 { 1 } else { code }));
            assert!(!stage.path("b/unfinished.json").exists() && !stage.path("b/report.html").exists());
            assert_eq!(stage.run(&["report", "b"]).code, Some(0));
        } else {
            assert!(said.err.contains("result.json") && said.err.contains("failed to write"), "{}", said.err);
            assert!(matches!(said.code, Some(1 | 98)), "{:?}", said.code);
            // The earlier run is still there, and the unfinished files of this one are not reported as a verdict.
            assert!(stage.path("b/result.json").is_file());
            assert!(stage.run(&["report", "b"]).ended(0).err.contains("older run"));
            stage.run(&["report", "b.unfinished"]).ended(105);
        }
    }
    // If there is no room for a result, nothing is sent.
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -f 16; exec \"$0\" run few.toml -o c", env!("CARGO_BIN_EXE_smtpress")]);
    let output = shell.current_dir(stage.path("")).env_remove("SMTPRESS_OUT").output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!stage.path("c").exists());
}
