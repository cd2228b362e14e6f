//! The formats of a stored run: of one run, of all shards of one, and of runs that earlier versions stored.

use serde_json::Value;

use crate::commands::stage::{FEW, Stage};

/// A run directory that the first version wrote, with a limit that was reached.
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/reports/golden/schema-1");

const FORMS: [&str; 7] = ["text", "json", "junit", "csv", "hlog", "hgrm", "markdown"];

/// Reports one run, or shards that ran one after the other.
fn report(stage: &Stage, runs: &[&str], form: &str) -> String {
    let mut arguments = vec!["report", "--format", form];
    arguments.extend(runs);
    match runs.len() {
        1 => stage.run(&arguments).ended(0).out,
        _ => stage.run(&[&arguments[..], &["--max-skew", "1h"]].concat()).measured().out,
    }
}

#[test]
fn a_run_that_an_earlier_version_stored_is_reported_in_every_form() {
    let stage = Stage::new();
    for form in FORMS {
        let text = report(&stage, &[GOLDEN], form);
        let text = text.replace(GOLDEN, "GOLDEN");
        match form {
            "csv" | "hlog" => {
                let file = if form == "csv" { "timeseries.csv" } else { "metrics.hlog" };
                assert_eq!(text, std::fs::read_to_string(format!("{GOLDEN}/{file}")).unwrap());
            }
            // The stored fields are unchanged, and new ones are empty.
            "json" => {
                let old: Value =
                    serde_json::from_str(&std::fs::read_to_string(format!("{GOLDEN}/result.json")).unwrap())
                        .unwrap();
                let new: Value = serde_json::from_str(&text).unwrap();
                assert!(holds(&new, &old) && new["shard"].is_null());
            }
            _ => insta::assert_snapshot!(format!("golden_{form}"), text),
        }
    }
}

/// Whether `new` contains everything of `old`.
fn holds(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            old.iter().all(|(key, old)| new.get(key).is_some_and(|new| holds(new, old)))
        }
        (Value::Array(new), Value::Array(old)) => {
            new.len() == old.len() && new.iter().zip(old).all(|(new, old)| holds(new, old))
        }
        (new, old) => new == old,
    }
}

/// Two shards of fifty messages, in `s0` and `s1`.
fn shards(stage: &Stage) {
    stage.put("two.toml", FEW.replace("sessions = 2", "sessions = 4"));
    for (shard, out) in [("0/2", "s0"), ("1/2", "s1")] {
        stage.run(&["run", "two.toml", "-q", "--shard", shard, "-o", out]).measured();
    }
}

#[test]
fn shards_are_reported_as_the_run_that_they_are() {
    let stage = Stage::new();
    shards(&stage);
    let whole: Value = serde_json::from_str(&report(&stage, &["s0", "s1"], "json")).unwrap();
    let parts = [stage.json("s0/result.json"), stage.json("s1/result.json")];
    assert_eq!(whole["phases"][0]["accepted"], 50);
    assert_eq!(whole["ledger"]["messages"], 50);
    let metric = |result: &Value| {
        let metrics = result["metrics"].as_array().unwrap().clone();
        metrics.into_iter().find(|m| m["name"] == "response" && m["outcome"] == "accepted").unwrap()
    };
    let count = |result: &Value| metric(result)["count"].as_u64().unwrap();
    assert_eq!(count(&whole), count(&parts[0]) + count(&parts[1]));
    let max = parts.iter().map(|part| metric(part)["max_ns"].as_u64().unwrap()).max();
    assert_eq!(metric(&whole)["max_ns"].as_u64(), max);
    for form in FORMS {
        assert_eq!(
            report(&stage, &["s1", "s0"], form).replace("s1, s0", "s0, s1"),
            report(&stage, &["s0", "s1"], form)
        );
    }
    let schema = stage.run(&["schema", "result"]).ended(0).json();
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&whole));
    // The sums of the time series are the counts.
    let series = report(&stage, &["s0", "s1"], "csv");
    let mut rows = series.lines();
    let titles: Vec<&str> = rows.next().unwrap().split(',').collect();
    let at = titles.iter().position(|title| *title == "accepted").unwrap();
    assert_eq!(rows.map(|row| row.split(',').nth(at).unwrap().parse::<u64>().unwrap()).sum::<u64>(), 50);
    // The merged result can be stored and reported again.
    stage.put("whole.json", whole.to_string());
    assert_eq!(report(&stage, &["whole.json"], "json"), report(&stage, &["s0", "s1"], "json"));
}

#[test]
fn shards_that_did_not_start_together_are_an_invalid_run() {
    let stage = Stage::new();
    shards(&stage);
    // The second shard starts long after the first, by the clock of its machine.
    let set = |name: &str, started: &str, load: Option<&str>| {
        let mut result = stage.json(name);
        result["started_at"] = started.into();
        result["load_began_at"] = load.map_or(Value::Null, Value::from);
        stage.put(name, result.to_string());
    };
    let (first, last) = ("s0/result.json", "s1/result.json");
    set(first, "2026-11-28T16:00:00Z", Some("2026-11-28T16:00:01.5Z"));
    for (load, words) in [
        (Some("2026-11-28T16:00:09.5Z"), "shard 1/2: phase few began 8.00 s later than in shard 0/2"),
        (None, "shard 1/2: phase few began at least 7.50 s later than in shard 0/2"),
    ] {
        set(last, "2026-11-28T16:00:09Z", load);
        let said = stage.run(&["report", "s0", "s1", "--expect-shards", "2", "--format", "json"]).ended(98);
        let whole = said.json();
        assert_eq!(whole["verdict"]["status"], "invalid");
        let reasons = whole["validity"]["reasons"].as_array().unwrap();
        let at = reasons.iter().position(|reason| reason == "shards-apart").unwrap();
        assert!(whole["validity"]["explanations"][at].as_str().unwrap().starts_with(words), "{whole}");
        let text = stage.run(&["report", "s1", "s0"]).ended(98).out;
        assert!(text.contains("INVALID") && text.contains("shards-apart"), "{text}");
        stage.run(&["report", "s0", "s1", "--max-skew", "9s"]).measured();
    }
    // Without the stored start of either, the skew is not checked, and a warning says so.
    set(first, "2026-11-28T16:00:00Z", None);
    let whole = stage.run(&["report", "s0", "s1", "--format", "json"]).measured().json();
    let warnings = whole["warnings"].to_string();
    assert!(warnings.contains("is not stored of shard 0/2, shard 1/2"), "{warnings}");
}

/// The verdict of the merged run is known only after the merge, and gives the exit code of `report`.
#[test]
fn the_merged_run_ends_with_its_own_verdict() {
    let stage = Stage::new();
    stage.put("two.toml", FEW.replace("sessions = 2", "sessions = 4"));
    // Each shard meets the assertion, but the merged run does not.
    for (shard, out) in [("0/2", "s0"), ("1/2", "s1")] {
        let arguments = ["run", "two.toml", "-q", "--shard", shard, "-o", out, "--assert", "accepted < 30"];
        stage.run(&arguments).measured();
    }
    let said = stage.run(&["report", "s0", "s1", "--max-skew", "1h", "--format", "json"]);
    let (whole, code) = (said.json(), i64::from(said.code.unwrap()));
    assert_eq!(whole["verdict"]["exit_code"], code);
    assert!(matches!(code, 98 | 99), "{whole}");
    stage.run(&["report", "s0"]).ended(0);
}

/// The chart of conditions on the page of these runs: each condition with its total over all seconds.
fn drawn(stage: &Stage, runs: &[&str]) -> Vec<(String, u64)> {
    let page = report(stage, runs, "html");
    let (_, data) = page.split_once("id=\"data\">").unwrap();
    let data: Value = serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap();
    let most = data["timeline"]["conditions"]["most"].as_array().unwrap().clone();
    let sum = |kind: &Value| {
        kind["counts"].as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).sum::<u64>()
    };
    most.iter().map(|kind| (kind["name"].as_str().unwrap().to_owned(), sum(kind))).collect()
}

#[test]
fn conditions_over_time_are_merged_and_may_be_missing() {
    let stage = Stage::new();
    let profile = FEW.replace("sessions = 2", "sessions = 4");
    stage.put(
        "two.toml",
        format!("{profile}\n[session]\nmessages = 0\n[listener]\nmax_messages_per_session = 3\n[[assert]]\nexpr = \"unexpected rate <= 1%\"\nremove = true\n"),
    );
    for (shard, out) in [("0/2", "s0"), ("1/2", "s1")] {
        stage.run(&["run", "two.toml", "-q", "--shard", shard, "-o", out]).measured();
    }
    let whole: Value = serde_json::from_str(&report(&stage, &["s0", "s1"], "json")).unwrap();
    let met: u64 =
        whole["conditions"].as_array().unwrap().iter().map(|row| row["count"].as_u64().unwrap()).sum();
    assert!(met > 4, "{whole}");
    assert_eq!(drawn(&stage, &["s0", "s1"]), [("too-many-messages-per-session".to_owned(), met)]);
    // An earlier version did not write this file.
    std::fs::remove_file(stage.path("s1/conditions.csv")).unwrap();
    assert!(drawn(&stage, &["s0", "s1"])[0].1 < met);
    assert_eq!(drawn(&stage, &["s1"]), []);
    stage.put("s0/conditions.csv", stage.read("s0/conditions.csv").replace(",deferred,", ",deferred,many"));
    let said = stage.run(&["report", "s0", "s1", "--format", "html"]).ended(2);
    assert!(said.err.contains("s0/conditions.csv: line") && said.err.contains("has \"many"), "{}", said.err);
}

#[test]
fn what_cannot_be_merged_is_refused() {
    let stage = Stage::new();
    shards(&stage);
    stage.run(&["run", "two.toml", "-q", "-o", "whole"]).measured();
    stage.run(&["run", "two.toml", "-q", "--shard", "1/2", "--seed", "8", "-o", "other"]).measured();
    for (runs, part) in [
        (&["s0", "s0"][..], "s0 and s0 are both shard 0 of 2"),
        (&["s0", "whole"], "whole is a whole run and no shard"),
        (&["s0", "other"], "its seed is another"),
        (&["s0", "s1", "s1"], "both shard 1 of 2"),
        (&["s0", "missing"], "failed to read missing"),
        (&["s0", "--expect-shards", "2"], "shard 1 of 2 is missing"),
        (&["s0", "s1", "--expect-shards", "3"], "s0 is shard 0 of 2, and --expect-shards says 3"),
        (&["s0", "s1", "--expect-shards", "1"], "s0 is shard 0 of 2, and --expect-shards says 1"),
        (&["s0", "s1", "s1", "--expect-shards", "2"], "both shard 1 of 2"),
        (&["s0", "s1", "whole", "--expect-shards", "2"], "whole is a whole run and no shard"),
        (&["whole", "--expect-shards", "2"], "whole is a whole run and no shard"),
        (&["s0", "other", "--expect-shards", "2"], "its seed is another"),
        (&["s0", "--expect-shards", "0"], "--expect-shards"),
    ] {
        let mut arguments = vec!["report"];
        arguments.extend(runs);
        let said = stage.run(&arguments).ended(2);
        assert!(said.err.contains(part), "{runs:?}: {}", said.err);
    }
    stage.run(&["report", "whole", "--expect-shards", "1"]).ended(0);
    for (form, part) in [("csv", "no time series"), ("hlog", "no time series")] {
        let said = stage.run(&["report", "s0/result.json", "--format", form]).ended(2);
        assert!(said.err.contains(part), "{}", said.err);
    }
    let said = stage.run(&["report", "s0", "--format", "hgrm", "--of", "few/response/shed"]).ended(2);
    assert!(said.err.contains("it has few/response/accepted") && said.err.contains("--of"), "{}", said.err);
    stage.put("s1/timeseries.csv", stage.read("s1/timeseries.csv").replace(",few,", ",fwe,"));
    let said = stage.run(&["report", "s0", "s1", "--format", "csv"]).ended(2);
    assert!(said.err.contains("s1/timeseries.csv: line 2 is of a phase \"fwe\""), "{}", said.err);
}
