//! `run`: verdicts and exit codes, the run directory, the formats of the result.

use nix::sys::signal::Signal;
use serde_json::Value;

use super::stage::{FEW, Listening, SMALL, Stage, list};

/// The files of every run.
const FILES: [&str; 8] = [
    "conditions.csv",
    "environment.json",
    "failures.jsonl",
    "metrics.hlog",
    "profile.toml",
    "report.html",
    "result.json",
    "timeseries.csv",
];

#[test]
fn a_good_run_passes_and_says_where_its_files_are() {
    let stage = Stage::new();
    let said = stage.run(&["run", "few.toml"]).ended(0);
    assert!(said.out.starts_with("PASS  "), "{}", said.out);
    let folder = list(&stage.path("smtpress-runs")).remove(0);
    assert!(folder.ends_with("-few"), "{folder}");
    let place = format!("smtpress-runs/{folder}");
    assert!(said.err.contains(&place) && said.out.contains(&place));
    assert!(!said.out.contains('\u{1b}') && !said.err.contains('\u{1b}'), "no colour into a pipe");
    let mut found = stage.list(&place);
    found.retain(|name| name != "transcripts");
    assert_eq!(found, FILES);
}

#[test]
fn json_on_stdout_is_pure_fits_the_schema_and_is_what_is_stored() {
    let stage = Stage::new();
    let said = stage.run(&["run", "few.toml", "-o", "r", "--json", "-", "--progress", "log"]).ended(0);
    let result = said.json();
    assert_eq!(result, stage.json("r/result.json"));
    assert_eq!(said.out, stage.read("r/result.json"), "to the byte");
    assert!(said.err.contains("accepted"), "progress goes to stderr: {}", said.err);
    let schema = stage.run(&["schema", "result"]).ended(0).json();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(&result).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(result["phases"][0]["accepted"], 50);
    assert_eq!(result["ledger"]["messages"], 50);
    assert_eq!((&result["verdict"]["status"], &result["verdict"]["exit_code"]), (&"pass".into(), &0.into()));
}

#[test]
fn a_report_of_the_stored_run_is_the_same_again() {
    let stage = Stage::new();
    let first = stage.run(&["run", "few.toml", "-o", "r", "--json", "x.json"]).ended(0);
    assert_eq!(stage.run(&["report", "r"]).ended(0).out, first.out);
    assert_eq!(stage.run(&["report", "r", "--format", "json"]).ended(0).out, stage.read("x.json"));
    assert_eq!(stage.read("x.json"), stage.read("r/result.json"));
    stage.run(&["report", "r/result.json", "-o", "again.txt"]).ended(0);
    assert_eq!(stage.read("again.txt"), first.out.split_once("Files ").unwrap().0);
    let narrow = stage.run_with(&[("COLUMNS", "50")], &["report", "r"]).ended(0).out;
    assert!(narrow.lines().all(|line| line.chars().count() <= 50), "{narrow}");
}

#[test]
fn a_run_can_be_repeated_from_its_stored_profile() {
    let stage = Stage::new();
    let profile = SMALL.replace("seed = 7\n", "").replace("\"50/s\"", "\"50/s\"\narrival = \"poisson\"");
    stage.put("drawn.toml", profile);
    stage.run(&["run", "drawn.toml", "-o", "a", "-q"]).measured();
    stage.run(&["run", "a/profile.toml", "-o", "b", "-q"]).measured();
    stage.run(&["run", "drawn.toml", "-o", "c", "-q"]).measured();
    let hash = |run: &str| stage.json(&format!("{run}/result.json"))["profile"]["schedule_sha256"].clone();
    assert_eq!(hash("a"), hash("b"));
    assert_ne!(hash("a"), hash("c"), "without a seed one is drawn");
    assert_eq!(stage.read("a/profile.toml"), stage.read("b/profile.toml"));
}

#[test]
fn the_files_of_a_run_tell_one_story() {
    let stage = Stage::new();
    stage.put(
        "limit.toml",
        format!(
            "{FEW}\n[session]\nmessages = 0\n[listener]\nmax_messages_per_session = 10\nstyle = \"cisco\"\n"
        ),
    );
    let said = stage.run(&["run", "limit.toml", "-o", "r"]);
    let result = stage.json("r/result.json");
    assert_eq!(said.code, result["verdict"]["exit_code"].as_i64().and_then(|code| i32::try_from(code).ok()));
    let failures: Vec<Value> =
        stage.read("r/failures.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let conditions = result["conditions"].as_array().unwrap();
    assert_eq!(failures.len(), conditions.len());
    assert!(!conditions.is_empty(), "{}", said.out);
    for condition in conditions {
        assert_eq!(condition["condition"], "too-many-messages-per-session");
        assert!(failures.iter().any(|failure| failure["count"] == condition["count"]));
    }
    // The sum over all seconds is the total.
    for condition in conditions {
        let text = |key: &str| condition[key].as_str().unwrap_or_default().to_owned();
        let code = condition["code"].as_u64().map(|code| code.to_string()).unwrap_or_default();
        let kind = [text("phase"), text("step"), text("condition"), code, text("enhanced"), text("outcome")]
            .join(",");
        let series = stage.read("r/conditions.csv");
        let own = series.lines().filter(|row| row.contains(&kind));
        let counts = own.map(|row| row.rsplit(',').next().unwrap().parse::<u64>().unwrap());
        assert_eq!(condition["count"], counts.sum::<u64>(), "{kind}: {series}");
    }
    let transcripts = stage.list("r/transcripts");
    assert!(!transcripts.is_empty());
    assert!(stage.read(&format!("r/transcripts/{}", transcripts[0])).contains("MAIL FROM"));
    let series = stage.read("r/timeseries.csv");
    let rows: Vec<&str> = series.lines().collect();
    assert!(
        rows.len() >= 2 && rows.iter().all(|row| row.matches(',').count() == rows[0].matches(',').count())
    );
    assert!(stage.read("r/metrics.hlog").contains("few/response/accepted"));
    let environment = stage.json("r/environment.json");
    assert_eq!(environment["command_line"][1], "run");
    assert!(!stage.read("r/result.json").contains(stage.path("").to_str().unwrap()));
}

#[test]
fn an_assertion_that_fails_is_99_and_is_reported() {
    let stage = Stage::new();
    let said = stage.run(&["run", "few.toml", "--assert", "p50 < 1ns", "-o", "r"]).ended(99);
    let assertions = stage.json("r/result.json")["assertions"].clone();
    let all = assertions.as_array().unwrap().len();
    assert!(said.out.starts_with(&format!("FAIL  1 of {all} assertions does not hold")), "{}", said.out);
    let failed: Vec<&Value> =
        assertions.as_array().unwrap().iter().filter(|one| one["status"] == "fail").collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["expr"], "p50 < 1ns");
}

#[test]
fn refusals_fail_a_run_only_by_its_assertions() {
    let stage = Stage::new();
    let listener = Listening::with(&stage, &["listener.max_messages_per_session=1"]);
    let url = listener.url();
    let arguments = ["run", "--target", &url, "-n", "20", "-c", "2", "--messages-per-session", "2", "-o"];
    let run = |name: &'static str| [&arguments[..], &[name, "--json", "-"]].concat();
    // More than 1 % was refused: the run fails unless the profile expects the refusals.
    let said = stage.run(&run("a")).ended(99).json();
    let failed: Vec<&Value> =
        said["assertions"].as_array().unwrap().iter().filter(|one| one["status"] == "fail").collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0]["expr"], "unexpected rate <= 1%");
    let lenient = format!(
        "[target]\naddress = \"{url}\"\n[session]\nmessages = 2\n[[phase]]\nname = \"few\"\nload = \"shared-messages\"\n\
         messages = 20\nsessions = 2\n[[assert]]\nexpr = \"unexpected rate <= 1%\"\nremove = true\n"
    );
    stage.put("lenient.toml", lenient);
    let lenient = |name: &'static str| ["run", "lenient.toml", "-o", name, "--json", "-"];
    let said = stage.run(&lenient("b")).ended(0);
    let phase = &said.json()["phases"][0];
    assert!(phase["accepted"].as_u64() < Some(20), "{phase}");
    let all = [&lenient("c")[..], &["--assert", "accepted == 20"]].concat();
    stage.run(&all).ended(99);
}

#[test]
fn nothing_accepted_is_a_failure_with_its_foremost_reason_on_top() {
    let stage = Stage::new();
    let forced =
        r#"listener.replies=[{ step = "greeting", reply = "554 5.7.1 \u001b[2Jgo away\u001b[31m" }]"#;
    let listener = Listening::with(&stage, &[forced]);
    let said = stage.run(&["run", "--target", &listener.url(), "-n", "4", "-c", "1", "-o", "r"]).ended(99);
    let head: String = said.out.lines().take(4).collect();
    assert!(head.starts_with("FAIL") && head.contains("at greeting, 554"), "{head}");
    for text in [&said.out, &said.err] {
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    }
    for name in stage.list("r/transcripts") {
        assert!(!stage.read(&format!("r/transcripts/{name}")).contains('\u{1b}'));
    }
}

#[test]
fn a_generator_that_stood_still_makes_the_measurement_invalid() {
    let stage = Stage::new();
    let mut running = stage.start(&["run", "small.toml", "--for", "3s", "--assert", "p50 < 1ns", "-o", "r"]);
    running.hear(" 1 s ");
    running.signal(Signal::SIGSTOP);
    std::thread::sleep(std::time::Duration::from_millis(600));
    running.signal(Signal::SIGCONT);
    // 98 outranks 99.
    let said = running.end().ended(98);
    assert!(said.out.starts_with("INVALID"), "{}", said.out);
    let result = stage.json("r/result.json");
    assert_eq!(result["validity"]["status"], "invalid");
    assert_eq!(result["validity"]["reasons"][0], "generator-lag");
}

#[test]
fn quiet_says_nothing_and_progress_can_be_chosen() {
    let stage = Stage::new();
    let said = stage.run(&["run", "few.toml", "-q", "-o", "a"]).ended(0);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("", ""));
    let said = stage.run(&["run", "few.toml", "-q", "--json", "-", "-o", "b"]).ended(0);
    assert_eq!((said.json()["phases"][0]["accepted"].as_u64(), said.err.as_str()), (Some(50), ""));
    let said = stage.run(&["run", "few.toml", "--progress", "none", "-o", "c"]).ended(0);
    assert_eq!(said.err.lines().count(), 1, "{}", said.err);
    let said = stage.run(&["run", "few.toml", "--progress", "log", "-o", "d"]).ended(0);
    assert!(said.err.contains("accepted"), "{}", said.err);
    // If bars are requested without a terminal, nothing is drawn and nothing fails.
    let said = stage.run(&["run", "few.toml", "--progress", "bar", "-o", "e"]).ended(0);
    assert!(!said.err.contains('\u{1b}'), "{:?}", said.err);
}

#[test]
fn colour_comes_when_it_is_asked_for() {
    let stage = Stage::new();
    stage.run(&["run", "few.toml", "-q", "-o", "r"]).ended(0);
    let coloured = |variables: &[(&str, &str)], arguments: &[&str]| {
        stage.run_with(variables, arguments).ended(0).out.contains('\u{1b}')
    };
    assert!(coloured(&[], &["report", "r", "--color", "always"]));
    assert!(coloured(&[("NO_COLOR", "1")], &["--color", "always", "report", "r"]), "a flag wins");
    assert!(coloured(&[("SMTPRESS_COLOR", "always")], &["report", "r"]));
    assert!(!coloured(&[("NO_COLOR", "1")], &["report", "r"]));
    assert!(!coloured(&[("SMTPRESS_COLOR", "always")], &["report", "r", "--color", "never"]));
    stage.run(&["report", "r", "--color", "always", "-o", "file.txt"]).ended(0);
    assert!(!stage.read("file.txt").contains('\u{1b}'), "never into a file");
}
