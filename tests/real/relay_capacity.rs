//! The capacity of a relay with a drawn rate: it accepts at once, and delivers from its queue at this rate.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::faulty_relay::FaultyRelay;
use crate::listener;

/// The result of a search through a relay to the receiver of `smtpress capacity`.
struct Found {
    code: Option<i32>,
    result: Value,
    said: String,
    took: Duration,
}

impl Found {
    fn trials(&self) -> &[Value] {
        self.result["capacity"]["trials"].as_array().map(Vec::as_slice).unwrap_or_default()
    }

    fn bound(&self, which: &str) -> Option<f64> {
        self.result["capacity"]["goals"][0][which].as_f64()
    }

    /// Whether both bounds are known, from valid trials.
    fn is_found(&self) -> bool {
        self.result["capacity"]["goals"][0]["status"] == "found"
    }
}

/// Searches the capacity of a relay with these flags, with a wait for deliveries of at most `drain`; `None` without
/// Python.
fn searched(relay: &str, drain: &str, settings: &[&str]) -> Option<Found> {
    let next = listener::free_port();
    let relay = FaultyRelay::start(next, relay)?;
    let folder = tempfile::tempdir().unwrap();
    // With a stored ceiling the generator is not measured first.
    let state = folder.path().join("state/smtpress");
    fs::create_dir_all(&state).unwrap();
    fs::write(state.join("selftest.json"), "{\"ceiling\": {\"rate_per_s\": 1e6}}").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_smtpress"));
    command.args(["capacity", "--target", &format!("smtp://127.0.0.1:{}", relay.port)]);
    command.args(["--receive", &format!("127.0.0.1:{next}"), "--drain", drain]);
    command.args(["--goal", "response p95 < 1s", "--json", "-", "--progress", "log", "-o", "out"]);
    command.args(settings.iter().flat_map(|setting| ["--set", setting]));
    command.env("XDG_STATE_HOME", folder.path().join("state")).current_dir(folder.path());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let result: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let took = Duration::from_secs_f64(result["took_s"].as_f64().unwrap_or_default());
    relay.ledgers();
    Some(Found { code: output.status.code(), result, said, took })
}

/// Searches until one has found bounds; `None`: twice a busy machine spoilt the trials at a bound, or time was up, and nothing is held.
fn found(relay: &str, settings: &[&str]) -> Option<Found> {
    for _ in 0..2 {
        let found = searched(relay, "60s", settings)?;
        if found.is_found() {
            return Some(found);
        }
        let is_late = found.result["capacity"]["ended"] == "deadline";
        assert!(is_late || found.trials().iter().any(is_spoilt), "{}", found.said);
        aloud(&format!("trials were spoilt on this busy machine: {}", found.said));
    }
    None
}

fn is_spoilt(trial: &Value) -> bool {
    !trial["invalid"].as_array().unwrap().is_empty()
}

/// Prints on standard error. `eprintln!` is not used, because the test harness captures it.
fn aloud(what: &str) {
    use std::io::Write;
    writeln!(std::io::stderr().lock(), "{what}").unwrap();
}

/// The lower bound of a search, divided by the rate at which the relay delivers.
fn share(found: &Found, rate: f64) -> f64 {
    assert_eq!(found.code, Some(0), "{}", found.said);
    found.bound("lower").unwrap() / rate
}

fn drawn_rates(count: usize) -> Vec<f64> {
    let mut random = rand::rngs::StdRng::seed_from_u64(14);
    (0..count).map(|_| f64::round(random.random_range(30.0..300.0) * 10.0) / 10.0).collect()
}

#[test]
fn a_relay_is_put_at_the_rate_at_which_it_hands_on() {
    let settings = [
        "capacity.trial=2s",
        "capacity.duration_sum=4s",
        "capacity.confirm=6s",
        "capacity.warmup=1s",
        "capacity.max=1000/s",
        "capacity.deadline=70s",
    ];
    let search = |rate: f64| {
        let start = format!("capacity.start={:.0}/s", rate * 0.8);
        let settings = [&settings[..], &[&start]].concat();
        Some((rate, found(&format!("--rate {rate}"), &settings)?))
    };
    let rates = [41.7, 233.1];
    let found: Vec<_> = thread::scope(|scope| {
        let searches = rates.map(|rate| scope.spawn(move || search(rate)));
        searches.into_iter().filter_map(|search| search.join().unwrap()).collect()
    });
    for (rate, found) in &found {
        let share = share(found, *rate);
        assert!((0.95..=1.05).contains(&share), "{share} of {rate}: {}", found.said);
        let bound_by = found.result["capacity"]["goals"][0]["bound_by"].as_str().unwrap();
        assert!(
            bound_by.starts_with("unsustained: at ") && bound_by.contains("the relay's queue grew by"),
            "{bound_by}"
        );
        let above = found.trials().iter().find(|trial| trial["goals"][0]["unsustained"] == true).unwrap();
        assert_eq!(above["delivery"]["queue_growth"]["verdict"], "unsustained", "{above:#}");
        assert_eq!(
            (&above["delivery"]["missing"], &above["delivery"]["foreign"]),
            (&0.into(), &0.into()),
            "{above:#}"
        );
        // The queue at the end of a trial has the messages that were offered above the rate.
        let (load, queued) =
            (above["load"].as_f64().unwrap(), above["delivery"]["queued_at_end"].as_f64().unwrap());
        let expected = (load - rate) * above["length_s"].as_f64().unwrap();
        assert!((queued - expected).abs() <= 3.0 + 0.05 * expected, "{queued} of {expected}: {above:#}");
        let drained = above["delivery"]["drain_s"].as_f64().unwrap();
        assert!((drained - queued / rate).abs() < 0.3 + 0.1 * drained, "{drained}: {above:#}");
    }
}

#[test]
#[ignore = "twenty searches of minutes; CI runs them each night"]
fn twenty_relays_are_put_at_the_rates_at_which_they_hand_on() {
    let settings = [
        "capacity.start=20/s",
        "capacity.max=2000/s",
        "capacity.trial=8s",
        "capacity.confirm=24s",
        "capacity.warmup=2s",
        "capacity.deadline=40m",
    ];
    let rates = drawn_rates(20);
    let mut lines = Vec::new();
    // Four searches run at once, each with at most a few hundred messages a second.
    for four in rates.chunks(4) {
        let found: Vec<_> = thread::scope(|scope| {
            let searches: Vec<_> = four
                .iter()
                .map(|rate| scope.spawn(move || Some((*rate, found(&format!("--rate {rate}"), &settings)?))))
                .collect();
            searches.into_iter().filter_map(|search| search.join().unwrap()).collect()
        });
        for (rate, found) in found {
            let share = share(&found, rate);
            lines.push(format!(
                "{rate}/s: {:?} to {:?}, {share:.3} of it, {} trials, {:.0} s",
                found.bound("lower"),
                found.bound("upper"),
                found.trials().len(),
                found.took.as_secs_f64()
            ));
            aloud(lines.last().unwrap());
            assert!((0.95..=1.05).contains(&share), "{lines:#?}\n{}", found.said);
        }
    }
    // Searches that are invalid because the machine is busy check nothing. This line says how many were valid.
    aloud(&format!("{} of {} relays were found", lines.len(), rates.len()));
}

#[test]
fn a_relay_that_loses_or_doubles_messages_does_not_carry_the_load() {
    for (fault, expected) in [("drop=40", "missing == 0: "), ("duplicate=40", "duplicated == 0: ")] {
        let settings = [
            "capacity.start=50/s",
            "capacity.max=50/s",
            "capacity.trial=2s",
            "capacity.confirm=0s",
            "capacity.warmup=0s",
            "receive.quiet=1s",
            "capacity.deadline=15s",
        ];
        // The fault concerns one message in forty. One trial of a hundred messages may have none, but not three trials.
        let Some(found) = searched(&format!("--fault {fault} --seed 3"), "2s", &settings) else { return };
        let trials = found.trials();
        if trials.is_empty() {
            // The fault concerned the very first message.
            assert!(found.said.contains("did not come out"), "{}", found.said);
            continue;
        }
        let valid = trials.iter().filter(|trial| !is_spoilt(trial)).count();
        if valid < 2 {
            aloud(&format!("trials were spoilt on this busy machine: {}", found.said));
            continue;
        }
        let bad = trials.iter().find(|trial| trial["goals"][0]["undelivered"] == true);
        let bad = bad.unwrap_or_else(|| panic!("{fault}: {}", found.said));
        let failed = bad["delivery"]["failed"][0].as_str().unwrap();
        assert!(failed.starts_with(expected), "{failed}");
        assert!(found.said.contains("MISSED (undelivered)"), "{}", found.said);
    }
}

#[test]
fn a_relay_that_never_delivers_ends_the_search_before_its_first_trial() {
    let Some(found) = searched("--fault never=1", "1s", &["capacity.warmup=0s"]) else { return };
    assert_eq!(found.code, Some(5), "{}", found.said);
    let capacity = &found.result["capacity"];
    assert_eq!((capacity["ended"].as_str(), found.trials().len()), (Some("undelivered"), 0), "{capacity:#}");
    assert!(capacity["ended_by"].as_str().unwrap().contains("did not come out in 1 s"), "{capacity:#}");
}

#[test]
fn a_queue_that_does_not_become_empty_ends_the_search() {
    let settings = [
        "capacity.start=400/s",
        "capacity.trial=3s",
        "capacity.confirm=0s",
        "capacity.warmup=0s",
        "capacity.max=400/s",
    ];
    let Some(found) = searched("--rate 100", "2s", &settings) else { return };
    let capacity = &found.result["capacity"];
    assert_eq!(capacity["ended"], "undelivered", "{}", found.said);
    let [only] = found.trials() else { panic!("{}", found.said) };
    // Without a valid trial the search itself is invalid.
    assert_eq!(found.code, Some(if is_spoilt(only) { 98 } else { 5 }), "{}", found.said);
    assert_eq!(only["delivery"]["is_queue_left"], true, "{only:#}");
    assert!(only["delivery"]["failed"].as_array().unwrap().is_empty(), "a queue is no loss: {only:#}");
}

/// Two relays deliver to the same receiver, one after the other. The runs do not mix their counts.
#[test]
fn runs_in_turn_each_await_what_their_relay_hands_on() {
    let next = listener::free_port();
    let Some(quick) = FaultyRelay::start(next, "--hold fixed:0.05") else { return };
    let Some(slow) = FaultyRelay::start(next, "--hold fixed:0.4") else { return };
    let folder = tempfile::tempdir().unwrap();
    let profile = "schema = 1\nname = \"p\"\n[[phase]]\nname = \"load\"\nload = \"constant-rate\"\nrate = \"40/s\"\nfor = \"3s\"\n";
    fs::write(folder.path().join("p.toml"), profile).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_smtpress"));
    command.args([
        "compare",
        "--interleave",
        "2",
        "p.toml",
        "--runs",
        "runs",
        "--cooldown",
        "0s",
        "--force",
        "-q",
    ]);
    command.args(["--target", &format!("smtp://127.0.0.1:{}", quick.port)]);
    command.args(["--candidate", &format!("smtp://127.0.0.1:{}", slow.port)]);
    command.args(["--receive", &format!("127.0.0.1:{next}"), "--drain", "20s", "--json"]);
    let output = command.current_dir(folder.path()).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let compared: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    let rows = compared["metrics"].as_array().unwrap();
    let transit =
        rows.iter().find(|row| row["metric"] == "transit p50").unwrap_or_else(|| panic!("{rows:#?}"));
    for (side, held) in [("base_median", 0.05e9), ("candidate_median", 0.4e9)] {
        assert!(transit["values_ns"][side].as_f64() >= Some(held * 0.999), "{transit:#}");
    }
    for (run, held) in [("base-1", 0.05), ("base-2", 0.05), ("candidate-1", 0.4), ("candidate-2", 0.4)] {
        let path = folder.path().join("runs").join(run).join("result.json");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{run}: {error}: {said}"));
        let result: Value = serde_json::from_str(&text).unwrap();
        let delivery = &result["phases"][0]["delivery"];
        assert_eq!(delivery["delivered"], delivery["accepted_recipients"], "{run}: {delivery:#}");
        assert!(delivery["delivered"].as_u64() >= Some(100), "{run}: {delivery:#}");
        assert_eq!((&delivery["missing"], &result["delivery"]["foreign"]), (&0.into(), &0.into()), "{run}");
        // No message came out before its relay delivered it.
        let metrics = result["metrics"].as_array().unwrap();
        let delivery = metrics.iter().find(|row| row["name"] == "delivery" && row["outcome"] == "accepted");
        let least = delivery.and_then(|row| row["min_ns"].as_f64());
        assert!(least.is_some_and(|least| least >= held * 1e9), "{run}: {least:?}");
    }
    quick.ledgers();
    slow.ledgers();
}
