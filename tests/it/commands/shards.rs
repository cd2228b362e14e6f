//! Shards: the shard that a scheduler's variables select, and the merge of several shards, which equals the run of one
//! process (M34).

use std::collections::BTreeMap;

use serde_json::Value;
use smtpress::collector::histogram::Hist;
use smtpress::collector::summary::QUANTILES;

use super::stage::{FEW, Listening, Running, Said, Stage};

#[test]
fn the_variables_of_a_scheduler_say_which_shard_a_run_is() {
    let stage = Stage::new();
    let slurm = [("SLURM_PROCID", "1"), ("SLURM_NTASKS", "2")];
    let job = [("JOB_COMPLETION_INDEX", "1"), ("JOB_COMPLETIONS", "2"), ("SMTPRESS_SHARD", "env")];
    for (variables, arguments, out, by) in [
        (&slurm[..], &["--shard", "env"][..], "s", "SLURM_PROCID and SLURM_NTASKS"),
        (&job, &[], "j", "JOB_COMPLETION_INDEX and JOB_COMPLETIONS"),
    ] {
        let arguments = [&["run", "few.toml", "-o", out, "--progress", "none"], arguments].concat();
        let said = stage.run_with(variables, &arguments).measured();
        assert!(said.err.contains(&format!("smtpress: shard 1/2 of the load, by {by}")), "{}", said.err);
        let result = stage.json(&format!("{out}/result.json"));
        assert_eq!(result["shard"], serde_json::json!({"index": 1, "of": 2}));
        assert_eq!(result["phases"][0]["accepted"], 25);
    }
    // The flag has precedence over its variable. The variables of a scheduler are read only with `env`.
    let said = stage.run_with(&job, &["run", "few.toml", "-o", "f", "--shard", "0/2"]).measured();
    assert!(!said.err.contains("of the load, by"), "{}", said.err);
    assert_eq!(stage.json("f/result.json")["shard"]["index"], 0);
    stage.run_with(&slurm, &["run", "few.toml", "-q", "-o", "w"]).measured();
    assert!(stage.json("w/result.json")["shard"].is_null());
}

#[test]
fn variables_that_leave_a_doubt_are_refused() {
    let stage = Stage::new();
    let before = stage.list("");
    for (variables, parts) in [
        (&[("SLURM_PROCID", "1")][..], &["SLURM_PROCID is set and SLURM_NTASKS is not", "--shard I/N"][..]),
        (&[("PMI_RANK", "x"), ("PMI_SIZE", "2")], &["PMI_RANK=\"x\" is no whole number"]),
        (&[("PMI_RANK", "2"), ("PMI_SIZE", "2")], &["PMI_RANK=2 is none of the 2 that PMI_SIZE says"]),
        (
            &[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "2"), ("PMI_RANK", "1"), ("PMI_SIZE", "2")],
            &["SLURM_PROCID and SLURM_NTASKS say 0/2", "PMI_RANK and PMI_SIZE say 1/2", "unset the pair"],
        ),
        (&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "7")], &["7 shards cannot share 2 sessions"]),
    ] {
        let said = stage.run_with(variables, &["run", "few.toml", "--shard", "env"]).ended(2);
        for part in parts {
            assert!(said.err.contains(part), "no {part:?} in {}", said.err);
        }
        assert_eq!((said.out.as_str(), stage.list("")), ("", before.clone()));
    }
}

/// The number of processes that share a load.
const OF: usize = 3;

/// A metric by phase, name and outcome.
type MetricKey = [String; 3];

/// Runs a shipped profile against a listener, once by one process and once by three at the same time. The listener took
/// the same messages to the byte, the counts are equal, and the merged distributions are those of the union. `settings`
/// shorten the profile and keep its load below every limit, so that no outcome depends on a busy machine.
fn union_is_the_whole(name: &str, settings: &[&str]) {
    let stage = Stage::new();
    let profile = format!("{}/profiles/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let free = ["listener.max_connections=10000", "listener.max_connections_per_host=10000"];
    let set: Vec<&str> = settings.iter().chain(&free).flat_map(|setting| ["--set", setting]).collect();
    let against = |shards: &[String]| -> Value {
        let listener = Listening::of(&stage, &[&[profile.as_str()], &set[..]].concat(), &[]);
        let url = listener.url();
        let start = |shard: &String| -> Running {
            let out = shard.replace('/', "-");
            let arguments = ["run", &profile, "--target", &url, "-q", "-o", &out, "--shard", shard];
            stage.start(&[&arguments[..], &set].concat())
        };
        let running: Vec<Running> = shards.iter().map(start).collect();
        running.into_iter().for_each(|run| judged(run.end()));
        listener.ledger()
    };
    let names: Vec<String> = (0..OF).map(|index| format!("{index}/{OF}")).collect();
    let (whole, together) = (against(&["0/1".to_owned()]), against(&names));
    assert!(whole["connections"].as_u64().unwrap() > 0, "{whole}");
    for count in ["messages", "recipients", "content_bytes", "digest"] {
        assert_eq!(whole[count], together[count], "{name}: {count}\n{whole}\n{together}");
    }

    let whole = stage.json("0-1/result.json");
    let parts: Vec<Value> = (0..OF).map(|index| stage.json(&format!("{index}-{OF}/result.json"))).collect();
    let expected = OF.to_string();
    let directories: Vec<String> = (0..OF).rev().map(|index| format!("{index}-{OF}")).collect();
    let mut arguments = vec!["report", "--format", "json", "--max-skew", "1h", "--expect-shards", &expected];
    arguments.extend(directories.iter().map(String::as_str));
    let said = stage.run(&arguments);
    let merged = said.json();
    assert_eq!(merged["verdict"]["exit_code"].as_i64(), said.code.map(i64::from));
    for (one, all) in phases(&whole).iter().zip(phases(&merged)) {
        for count in ["scheduled", "started", "accepted", "shed"] {
            assert_eq!(one[count], all[count], "{name}, {}: {count}", one["name"]);
        }
        assert_eq!(one["recipients"]["accepted"], all["recipients"]["accepted"]);
        // The number of sessions that a pool needs for the same messages depends on their speed.
        if one["unit"] == "session" {
            assert_eq!(one["sessions"]["established"], all["sessions"]["established"]);
        }
    }

    let mut union = BTreeMap::<MetricKey, Hist>::new();
    for part in &parts {
        for (key, metric) in metrics(part) {
            union.entry(key).or_default().merge(&hist(&metric));
        }
    }
    let merged = metrics(&merged);
    assert!(!merged.is_empty() && merged.len() == union.len(), "{name}");
    for (key, metric) in &merged {
        let (all, own) = (&union[key], hist(metric));
        assert!(own.buckets().eq(all.buckets()), "{name}, {key:?}: bucket by bucket");
        let ns = |field: &str| metric[field].as_u64().unwrap();
        assert_eq!((ns("count"), ns("min_ns"), ns("max_ns")), (all.count(), all.min_ns(), all.max_ns()));
        if metric["censored"] != 0 {
            continue;
        }
        for quantile in all.quantiles(&QUANTILES) {
            let rows = metric["percentiles"].as_array().unwrap();
            let row = rows.iter().find(|row| row["q"].as_f64() == Some(quantile.q)).unwrap();
            if row["status"] == "exact" {
                assert_eq!(row["value_ns"], quantile.value_ns, "{name}, {key:?}, {}", quantile.q);
            }
        }
    }
}

/// Checks that a run was measured. On a busy machine it may be invalid, or fail an assertion about times.
fn judged(said: Said) {
    assert!(matches!(said.code, Some(0 | 98 | 99)), "\n{}\n{}", said.out, said.err);
}

fn phases(result: &Value) -> Vec<Value> {
    result["phases"].as_array().unwrap().clone()
}

/// The metrics whose distribution is stored, each with its least and greatest value.
fn metrics(result: &Value) -> BTreeMap<MetricKey, Value> {
    let rows = result["metrics"].as_array().unwrap().iter().filter(|metric| metric["hdr_base64"].is_string());
    let text = |metric: &Value, field: &str| metric[field].as_str().unwrap().to_owned();
    rows.map(|metric| (["phase", "name", "outcome"].map(|field| text(metric, field)), metric.clone()))
        .collect()
}

fn hist(metric: &Value) -> Hist {
    let number = |field: &str| metric[field].as_u64().unwrap();
    let hist = Hist::decode(metric["hdr_base64"].as_str().unwrap()).unwrap();
    hist.with_exact(number("min_ns"), number("max_ns"), metric["mean_ns"].as_f64().unwrap()).unwrap()
}

/// One test for each profile, so that the tests run in parallel.
macro_rules! unions {
    ($($test:ident: $name:literal, $settings:expr;)*) => {
        $(
            #[test]
            fn $test() {
                union_is_the_whole($name, &$settings);
            }
        )*

        /// Every shipped profile is tested here, or is in a list that says why not.
        #[test]
        fn each_shipped_profile_is_shared_out_or_cannot_be() {
            let covered = [$($name),*];
            /// How many messages they send depends on the time that the listener takes. The tests of the dispatcher
            /// check how their load is divided.
            const BY_TIME: [&str; 2] = ["messages-per-session", "session-capacity"];
            /// Their events are commands, and are refused beside --shard.
            const EVENTS: [&str; 2] = ["outage-recovery", "relay-crash"];
            /// They wait for deliveries of a relay.
            const RELAYED: [&str; 2] = ["relay-capacity", "relay-delivery"];
            let folder = format!("{}/profiles", env!("CARGO_MANIFEST_DIR"));
            for file in super::stage::list(folder.as_ref()) {
                let Some(name) = file.strip_suffix(".toml") else { continue };
                let apart = BY_TIME.iter().chain(&EVENTS).chain(&RELAYED).any(|apart| *apart == name);
                assert!(covered.contains(&name) != apart, "{name}");
            }
        }
    };
}

unions! {
    union_of_capacity: "capacity", ["phase.load.for=2s"];
    union_of_cisco_listener: "cisco-listener", ["phase.below-limits.for=2s"];
    union_of_connection_storm: "connection-storm",
        ["phase.warm-up.for=500ms", "phase.storm.for=2s", "phase.storm.every=1s", "phase.storm.size=50"];
    union_of_greylisting: "greylisting", ["phase.mail.for=1s", "listener.greylist=200ms"];
    union_of_held_sessions: "held-sessions", ["phase.hold.for=2s", "phase.hold.sessions=90"];
    union_of_postfix_relay: "postfix-relay", ["phase.warm-up.for=1s", "phase.relay.for=2s"];
    union_of_quickstart: "quickstart",
        ["phase.warm-up.for=1s", "phase.steady.for=1s", "phase.storm.for=1s", "phase.storm.sessions=40"];
    union_of_soak: "soak", ["phase.warm-up.for=1s", "phase.soak.for=2s"];
    union_of_spike: "spike",
        [
            "phase.warm-up.for=500ms",
            "phase.before.for=1s",
            "phase.spike.stages=[{ for = \"1s\", rate = \"150/s\" }]",
            "phase.after.for=1s",
        ];
    union_of_staircase: "staircase",
        ["phase.warm-up.for=500ms", "phase.stairs.from=20/s", "phase.stairs.step=30/s", "phase.stairs.every=1s",
         "phase.stairs.steps=2"];
    union_of_steady: "steady", ["phase.warm-up.for=500ms", "phase.steady.for=2s"];
}

/// A profile with fewer sessions than shards is refused by each shard.
#[test]
fn a_shard_without_a_session_is_refused_before_anything_is_sent() {
    let stage = Stage::new();
    stage.put("three.toml", FEW.replace("sessions = 2", "sessions = 3"));
    for index in 0..7 {
        let shard = format!("{index}/7");
        let said = stage.run(&["run", "three.toml", "-o", "r", "--shard", &shard]).ended(2);
        assert!(said.err.contains("7 shards cannot share 3 sessions"), "{}", said.err);
        assert!(said.err.contains("use at most 3 shards, or allow more sessions"), "{}", said.err);
    }
    assert!(!stage.path("r").exists());
}

/// A shard knows only its own sessions. Where they are not opened in turn, it cannot judge `when`.
#[test]
fn a_shard_that_cannot_count_the_sessions_of_all_is_refused_before_anything_is_sent() {
    let stage = Stage::new();
    let profile = |load: &str| {
        format!(
            "schema = 1\nseed = 1\n[target]\naddress = \"embedded\"\n[session]\nmessages = 1\n[[phase]]\nname = \"storm\"\nfor = \"1s\"\n\
             {load}\n[[expect]]\nname = \"full\"\ncondition = \"too-many-connections\"\nwhen = \"sessions > 9\"\n"
        )
    };
    stage.put("burst.toml", profile("load = \"burst\"\nunit = \"session\"\nsize = 20"));
    stage.put("held.toml", profile("load = \"held-sessions\"\nsessions = 20\nrate = \"50/s\""));
    for index in 0..3 {
        let shard = format!("{index}/3");
        let said = stage.run(&["run", "burst.toml", "-o", "r", "--shard", &shard]).ended(2);
        for part in
            ["--shard: `when` of expect full", "in phase storm", "name such a `phase`, or remove `when`"]
        {
            assert!(said.err.contains(part), "no {part:?} in {}", said.err);
        }
    }
    assert!(!stage.path("r").exists());
    stage.run(&["run", "burst.toml", "-q", "-o", "whole"]).measured();
    stage.run(&["run", "held.toml", "-q", "-o", "held", "--shard", "0/3"]).measured();
}
