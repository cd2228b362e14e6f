//! The page of a long run: an hour at two thousand messages a second.

use std::path::Path;
use std::time::Duration;

use smtpress::collector::snapshot::{Gauges, Interval};
use smtpress::collector::tally::{ConditionKey, Tally};
use smtpress::collector::{Metric, Outcome};
use smtpress::condition::Condition;
use smtpress::report::RunDir;
use smtpress::smtp::Step;

use crate::browser::{Browser, DESKTOP, installed};
use crate::stage::{GOLDEN, Stage, result};

const HOUR: u64 = 3600;
/// The number of values that are recorded in a second; each is recorded ten times.
const FILED: u64 = 200;
/// The number of conditions in every second.
const KINDS: usize = 20;

/// A second whose times spread over two powers of ten, like those of a busy listener.
fn second(t: u64) -> Interval {
    let mut tally = Tally::new(1);
    let phase = &mut tally.phases[0];
    phase.counts.scheduled = 2000;
    phase.counts.started = 2000;
    phase.counts.arrivals.add_many(Outcome::Accepted, 2000);
    phase.counts.bytes_sent = 9_000_000;
    phase.counts.bytes_received = 400_000;
    // Only some of the metrics, because to read a log is slow in a debug build.
    let metrics = [Metric::Response, Metric::Service, Metric::Step(Step::Greeting), Metric::Step(Step::Body)];
    for (nth, metric) in (1..).zip(metrics) {
        let hist = phase.hists.entry((metric, Outcome::Accepted)).or_default();
        for i in 0..FILED {
            // The values cover the whole range, without randomness.
            let ns = 1_000_000 * nth + (t * 7919 + i * i * 104_729) % 100_000_000;
            (0..10).for_each(|repeat| hist.record(ns + repeat * 1000));
        }
    }
    // Twenty conditions, each in every second.
    for (nth, condition) in (1..).zip(&Condition::ALL[..KINDS]) {
        let (step, outcome) = (Step::Mail, Outcome::Deferred);
        let key = ConditionKey { step, condition: *condition, code: Some(452), enhanced: None, outcome };
        let count = nth + (t * 31 + nth) % 17;
        (0..count).for_each(|_| phase.condition(key.clone(), Duration::from_secs(t), false, String::new));
    }
    let gauges = Gauges {
        queued: None,
        retrying: 0,
        sessions: 180 + t % 40,
        in_flight: 150 + t % 60,
        waiting: t % 7,
        peak_sessions: 220,
    };
    Interval {
        transactions: Vec::new(),
        start: Duration::from_secs(t),
        length: Duration::from_secs(1),
        tally,
        gauges,
    }
}

#[test]
fn an_hour_at_two_thousand_a_second_is_a_small_page() {
    let Some(program) = installed() else { return };
    let stage = Stage::new();
    let run = stage.path("hour");
    let directory = RunDir::create(Some(&run), false, "hour", Duration::ZERO).unwrap();
    let mut recording = directory.record(&["steady".to_owned()], false, Duration::ZERO).unwrap();
    (0..HOUR).for_each(|t| recording.add(&second(t)));
    recording.finish().unwrap();
    let mut long = result(Path::new(GOLDEN));
    let metrics: Vec<_> = long["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|metric| metric["phase"] == "steady")
        .cloned()
        .collect();
    long["metrics"] = metrics.into();
    let mut steady = long["phases"][1].clone();
    for (field, count) in [("scheduled", 7_200_000), ("started", 7_200_000), ("accepted", 7_200_000)] {
        steady[field] = count.into();
    }
    (steady["start_s"], steady["window_s"]) = (0.into(), HOUR.into());
    long["phases"] = serde_json::json!([steady]);
    let (mut counts, mut row) = (vec![0; KINDS], long["conditions"][0].clone());
    for t in 0..HOUR {
        let met = second(t).tally;
        counts.iter_mut().zip(met.phases[0].conditions.values()).for_each(|(sum, own)| *sum += own.count);
    }
    let conditions = counts.iter().zip(&Condition::ALL[..KINDS]).map(|(count, condition)| {
        row["phase"] = "steady".into();
        (row["condition"], row["count"]) = (condition.as_str().into(), (*count).into());
        row.clone()
    });
    long["conditions"] = conditions.collect();
    long["took_s"] = HOUR.into();
    std::fs::write(run.join("result.json"), long.to_string()).unwrap();
    let url = stage.page(&run);
    let size = std::fs::metadata(stage.path("page.html")).unwrap().len();
    assert!(size < 5_000_000, "{size}");
    let mut browser = Browser::start(&program);
    browser.open(&url, DESKTOP);
    assert_eq!(browser.complaints(), [] as [serde_json::Value; 0]);
    // The time depends on the machine, so it is printed but not checked.
    let drawn = browser.value("Math.round(performance.now())");
    let points =
        browser.value("JSON.parse(document.getElementById('data').textContent).timeline.steps.t.length");
    assert_eq!(points, HOUR);
    let met = browser.value(
        "JSON.parse(document.getElementById('data').textContent).timeline.conditions.most.flatMap((own) => own.counts)\
         .reduce((sum, own) => sum + own)",
    );
    assert_eq!(met, counts.iter().sum::<u64>());
    let rows = std::fs::read_to_string(run.join("conditions.csv")).unwrap().lines().count();
    assert_eq!(rows, 72_001);
    println!("{size} bytes, drawn {drawn} ms after it was asked for");
    browser.picture("hour");
}
