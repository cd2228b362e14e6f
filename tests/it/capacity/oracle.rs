//! Random histories of trials, classified by smtpress and by the library of the RFC's authors.
//!
//! The test needs a Python with the package MLRsearch 1.2.1, which `SMTPRESS_MLRSEARCH` names. Without it, the test
//! prints a message and passes.

use std::io::Write;
use std::process::{Command, Stdio};

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use smtpress::experiment::capacity::classify::{GoalWeights, TrialVerdict};
use smtpress::experiment::capacity::controller::{Controller, SearchRules, TrialResult};

const HISTORIES: u64 = 5000;

/// The loads, lengths and losses of a possible search, in random order.
struct History {
    weights: GoalWeights,
    allowed: Vec<f64>,
    trials: Vec<(u32, f64, u32)>,
}

impl History {
    fn draw(seed: u64) -> History {
        let random = &mut ChaCha8Rng::seed_from_u64(seed);
        let mut one_of = |choices: &[f64]| choices[random.next_u32() as usize % choices.len()];
        let full_s = one_of(&[1.0, 20.0, 60.0]);
        let sum_s = full_s * one_of(&[1.0, 2.0, 3.0, 5.0]);
        let exceed = one_of(&[0.0, 0.2, 0.5, 0.5, 0.5, 0.75]);
        let allowed = vec![one_of(&[0.0, 0.001]), one_of(&[0.005, 0.01])];
        let lengths = [full_s, full_s, full_s, full_s / 2.0, full_s * 3.0];
        let losses = [0, 0, 0, 1, 5, 7, 10, 11, 400, 1000];
        let loads = 1 + random.next_u32() % 6;
        let count = random.next_u32() % 40;
        // Trials below the knee are good and those above are bad, except for a share of contrary results.
        let knee = random.next_u32() % (loads + 1);
        let trials = (0..count).map(|_| {
            let load = random.next_u32() % loads;
            let odd = random.random::<f64>() < 0.3;
            let pick = random.next_u32() as usize;
            let lost = match (odd, load < knee) {
                (true, _) => losses[pick % losses.len()],
                (false, true) => 0,
                (false, false) => 300,
            };
            (load, lengths[random.next_u32() as usize % lengths.len()], lost)
        });
        let trials = trials.collect();
        History { weights: GoalWeights { full_s, sum_s, exceed }, allowed, trials }
    }

    fn to_json(&self) -> Value {
        let GoalWeights { full_s, sum_s, exceed } = self.weights;
        json!({ "full_s": full_s, "sum_s": sum_s, "exceed": exceed, "allowed": self.allowed, "trials": self.trials })
    }

    /// The bounds by smtpress. Loads are counted from 1, because there is no load 0.
    fn ours(&self) -> Value {
        let mut controller = Controller::new(SearchRules {
            start: 1.0,
            max: 100.0,
            width: 0.05,
            whole: true,
            ceiling: None,
            weights: self.weights,
            confirm_s: 0.0,
            goals: self.allowed.len(),
        });
        for (load, seconds, lost) in &self.trials {
            let ratio = f64::from(*lost) / 1000.0;
            let judged = self
                .allowed
                .iter()
                .map(|allowed| TrialVerdict { good: ratio <= *allowed, ratio, doubtful: false })
                .collect();
            controller.tell(TrialResult {
                load: f64::from(load + 1),
                seconds: *seconds,
                judged: Some(judged),
            });
        }
        let goal = |goal| {
            let found = controller.bounds(goal);
            let index = |load: Option<f64>| load.map(|load| load as u32 - 1);
            let carried = found.throughput.zip(found.lower).map(|(carried, lower)| carried / lower);
            json!([index(found.lower), index(found.upper), carried])
        };
        (0..self.allowed.len()).map(goal).collect()
    }
}

/// Whether two values are equal, except for differences of rounding.
fn same(one: &Value, other: &Value) -> bool {
    match (one.as_array(), other.as_array()) {
        (Some(one), Some(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        _ => match (one.as_f64(), other.as_f64()) {
            (Some(one), Some(other)) => (one - other).abs() < 1e-9,
            (one_number, other_number) => one_number.is_none() && other_number.is_none(),
        },
    }
}

#[test]
fn the_authors_library_finds_the_same_bounds() {
    let Some(python) = std::env::var_os("SMTPRESS_MLRSEARCH") else {
        eprintln!("skipped: SMTPRESS_MLRSEARCH names no Python with the package MLRsearch 1.2.1");
        return;
    };
    let histories: Vec<History> = (0..HISTORIES).map(History::draw).collect();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/mlrsearch_bounds.py");
    let mut oracle = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the Python that SMTPRESS_MLRSEARCH names");
    let mut input = oracle.stdin.take().unwrap();
    let lines: Vec<String> = histories.iter().map(|history| history.to_json().to_string()).collect();
    let writer = std::thread::spawn(move || writeln!(input, "{}", lines.join("\n")));
    let said = oracle.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(said.status.success(), "the oracle failed: {}", said.status);
    let said = String::from_utf8(said.stdout).unwrap();
    assert_eq!(said.lines().count() as u64, HISTORIES);
    let mut kinds = std::collections::BTreeMap::<(bool, bool), u32>::new();
    for (seed, (history, theirs)) in histories.iter().zip(said.lines()).enumerate() {
        let (ours, theirs) = (history.ours(), serde_json::from_str::<Value>(theirs).unwrap());
        assert!(same(&ours, &theirs), "history {seed}: ours {ours}, theirs {theirs}\n{}", history.to_json());
        for goal in ours.as_array().unwrap() {
            *kinds.entry((goal[0].is_number(), goal[1].is_number())).or_default() += 1;
        }
    }
    // Bounds of every kind were compared, not only missing ones.
    assert!(kinds.len() == 4 && kinds.values().all(|count| *count > 300), "{kinds:?}");
}
