//! `compare`: comparisons of runs, refused runs, and the exit codes.

use serde_json::Value;

use super::stage::Stage;

/// Enough messages for a p90; no schedule, so that a busy machine cannot make the run invalid by being late.
const BASE: &str = r#"schema = 1
name = "nightly"
seed = 7
[target]
address = "embedded"
[[phase]]
name = "few"
load = "shared-messages"
messages = 200
sessions = 20
"#;

/// Runs the profile this many times, and stores the runs as `<name>-1`, `<name>-2` and so on.
fn ran(stage: &Stage, name: &str, profile: &str, runs: usize) {
    stage.put(&format!("{name}.toml"), profile);
    for i in 1..=runs {
        stage.run(&["run", &format!("{name}.toml"), "-o", &format!("{name}-{i}"), "-q"]).ended(0);
    }
}

fn metric<'a>(compared: &'a Value, name: &str) -> &'a Value {
    compared["metrics"].as_array().unwrap().iter().find(|row| row["metric"] == name).unwrap()
}

#[test]
fn runs_are_compared_and_what_cannot_be_is_refused() {
    let stage = Stage::new();
    ran(&stage, "base", BASE, 4);
    ran(&stage, "slow", &format!("{BASE}[listener]\ndelays = {{ body = \"100ms\" }}\n"), 4);
    ran(&stage, "seeded", &BASE.replace("seed = 7", "seed = 8"), 1);

    // One run is compared with itself, and then four runs.
    let same = stage.run(&["compare", "base-1", "--against", "base-1"]).ended(0);
    assert!(same.out.starts_with("EQUIVALENT  all "), "{}", same.out);
    assert!(same.out.contains("run-to-run variation unknown"), "{}", same.out);
    // The warning is given even if the run has another name.
    let told = "are the same run (";
    assert!(same.out.contains(told) && same.err.contains(told), "{}{}", same.out, same.err);
    std::os::unix::fs::symlink("base-1", stage.path("link")).unwrap();
    let copied =
        std::process::Command::new("cp").arg("-r").arg(stage.path("base-1")).arg(stage.path("copy")).status();
    assert!(copied.unwrap().success());
    for other in ["link", "copy", "./base-1/", "link/../base-1"] {
        let same = stage.run(&["compare", "base-1", "--against", other, "--json"]).ended(0);
        let notes = same.json()["notes"].as_array().unwrap().clone();
        assert!(notes.iter().any(|note| note.as_str().unwrap().contains(told)), "{other}: {notes:?}");
        assert!(same.err.contains(told), "{other}: {}", same.err);
    }
    let two = stage.run(&["compare", "base-1", "--against", "base-2"]);
    assert!(!two.out.contains(told) && two.err.is_empty(), "{}", two.err);
    let four = ["compare", "base-1", "base-2", "base-3", "base-4", "--against"];
    let itself = ["base-4", "base-3", "base-2", "base-1"];
    let compared = stage.run(&[&four[..], &itself[..], &["--json"]].concat()).ended(0).json();
    assert_eq!((&compared["verdict"], &compared["run_to_run"]), (&"equivalent".into(), &"tested".into()));
    let p50 = metric(&compared, "response p50");
    let ratio = &p50["ratio"];
    assert_eq!([&ratio["middle"], &ratio["low"], &ratio["high"]], [&Value::from(1.0); 3]);
    let schema = stage.run(&["schema", "compare"]).ended(0).json();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(validator.is_valid(&compared), "{compared}");
    for (place, wrong) in
        [("/verdict", "splendid".into()), ("/exit_code", 7.into()), ("/metrics/0/p", "no".into())]
    {
        let mut broken = compared.clone();
        *broken.pointer_mut(place).unwrap() = wrong;
        assert!(!validator.is_valid(&broken), "{place}");
    }
    // The reported values are those of the runs.
    let stored = stage.json("base-2/result.json");
    let metrics = stored["metrics"].as_array().unwrap();
    let response =
        metrics.iter().find(|row| row["name"] == "response" && row["outcome"] == "accepted").unwrap();
    assert_eq!(p50["values_ns"]["base"][1], response["percentiles"][0]["value_ns"].as_f64().unwrap());
    let rate = metric(&compared, "accepted rate")["values_per_s"]["base"][1].as_f64().unwrap();
    let told = stored["phases"][0]["accepted_per_s"].as_f64().unwrap();
    assert!((rate / told - 1.0).abs() < 1e-6, "{rate} {told}");

    // Runs of another profile are refused, with both sentences. So are runs of another seed, and a run that is given
    // twice.
    let slow = ["slow-1", "slow-2", "slow-3", "slow-4", "--metric", "p50"];
    let refused = stage.run(&[&four[..], &slow[..]].concat()).ended(2);
    assert!(refused.err.contains("slow-1 has another profile than base-1"), "{}", refused.err);
    assert!(refused.err.contains("--force") && refused.out.is_empty(), "{}", refused.err);
    let refused = stage.run(&["compare", "base-1", "--against", "seeded-1"]).ended(2);
    assert!(refused.err.contains("another seed"), "{}", refused.err);
    let refused = stage.run(&["compare", "base-1", "base-1", "--against", "base-2", "--force"]).ended(2);
    assert!(refused.err.contains("are the same run"), "{}", refused.err);
    let refused = stage.run(&["compare", "base-1", "--against", "base-2", "--metric", "p42"]).ended(2);
    assert!(refused.err.contains("'response p99'"), "{}", refused.err);
    let refused = stage.run(&["compare", "base-1", "--against", "nowhere"]).ended(2);
    assert!(refused.err.contains("nowhere"), "{}", refused.err);

    // With --force the runs are compared: a tenth of a second more for each message is a regression, and a tenth less
    // an improvement.
    let forced = stage.run(&[&four[..], &slow[..], &["--force"]].concat()).ended(99);
    assert!(forced.out.starts_with("REGRESSED  1 of 1 metrics are worse"), "{}", forced.out);
    assert!(forced.out.contains("forced: slow-1 has another profile"), "{}", forced.out);
    assert!(!forced.out.contains("run-to-run variation unknown"));
    let back =
        [&["compare"][..], &slow[..4], &["--against"], &itself[..], &["--metric", "p50", "--force"]].concat();
    let markdown = stage.run(&[&back[..], &["--markdown"]].concat()).ended(0).out;
    assert!(markdown.starts_with("### smtpress compare: IMPROVED"), "{markdown}");
    // One short run on each side decides nothing.
    let alone = ["compare", "base-1", "--against", "slow-1", "--metric", "p50", "--force"];
    let alone = stage.run(&alone).ended(5).out;
    let one_line = alone.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(one_line.contains("too short with fewer than 4 runs a side"), "{alone}");

    // An invalid run is refused.
    let invalid =
        stage.read("base-1/result.json").replacen("\"status\": \"valid\"", "\"status\": \"invalid\"", 1);
    stage.put("base-1/result.json", invalid);
    let refused = stage.run(&["compare", "base-1", "--against", "base-2"]).ended(2);
    assert!(refused.err.contains("base-1 is invalid"), "{}", refused.err);
}
