//! Tests of the table and of the metrics, with intervals of a run.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::collector::agents::{AgentEnd, AgentProgress, AgentRun};
use crate::collector::snapshot::Interval;
use crate::collector::tally::{ConditionKey, HandshakeKey};
use crate::condition::Condition;
use crate::report::fixtures;
use crate::smtp::{Enhanced, Step};

/// A name with every character that needs escaping.
pub const HOSTILE: &str = "st\"ea\\dy\n{x=\"1\"} 7";

/// Returns a run with two phases and hostile names.
pub fn info() -> RunInfo {
    RunInfo {
        run_id: "8c1f7a3e".into(),
        profile: "mx \"rollout\"".into(),
        seed: 42,
        phases: vec!["warm".into(), HOSTILE.into()],
        started_at: Duration::from_secs(1_700_000_000),
    }
}

/// Returns a second that counts at least one of everything.
pub fn second(start: u64) -> RunEvent {
    let mut tally = Tally::new(2);
    let phase = &mut tally.phases[1];
    phase.counts.scheduled = 10;
    phase.counts.arrivals.add_many(Outcome::Accepted, 7);
    phase.counts.arrivals.add_many(Outcome::Shed, 2);
    phase.counts.bytes_sent = 4_096;
    for (metric, ns) in [
        (Metric::Response, 0),
        (Metric::Response, 1_500_000),
        (Metric::Response, 3_000_000_000),
        (Metric::Service, 1_400_000),
        (Metric::Lag, 20_000),
        (Metric::Wait, 7_000),
        (Metric::Setup, 9_000_000),
        (Metric::Session, 40_000_000),
        (Metric::TimeToAccept, 60_000_000_000),
        (Metric::Step(Step::Mail), 250_000),
        (Metric::TlsResumed, 900_000),
        (Metric::Transit, 12_000_000),
        (Metric::Delivery, 13_000_000),
    ] {
        phase.hists.entry((metric, Outcome::Accepted)).or_default().record(ns);
    }
    for (code, detail) in [(Some(421), 1), (Some(421), 2), (None, 0)] {
        let enhanced = code.map(|_| Enhanced { class: 4, subject: Some(7), detail: Some(detail) });
        let condition = Condition::ResourceLow;
        let key = ConditionKey { step: Step::Greeting, condition, code, enhanced, outcome: Outcome::Refused };
        phase.condition(key, Duration::ZERO, false, || "421 hostile text".into());
    }
    let key = HandshakeKey { version: "TLSv1.3".into(), group: None, resumed: true };
    *phase.handshakes.entry(key).or_default() += 3;
    let gauges = Gauges {
        sessions: 5 + start,
        peak_sessions: 9,
        in_flight: 3,
        waiting: 1,
        retrying: 2,
        queued: Some(4),
    };
    let (start, length) = (Duration::from_secs(start), Duration::from_secs(1));
    RunEvent::Second(Arc::new(Interval { transactions: Vec::new(), start, length, tally, gauges }))
}

/// Returns two agents, of which one is lost. The first has accepted this many arrivals.
pub fn agents(accepted: u64) -> RunEvent {
    let lost = AgentEnd::Lost {
        silent: Duration::from_secs(3),
        since: Duration::from_secs(1),
        has_heartbeats: false,
    };
    let of = |(name, end, accepted): (&str, AgentEnd, u64)| AgentProgress {
        run: AgentRun {
            end,
            scheduled: accepted + 2,
            started: accepted + 1,
            accepted,
            ..AgentRun::named(name, "host", "0.1.0", 0)
        },
        sessions: 4,
        lag: Duration::from_micros(1500),
    };
    let both = [("load1", AgentEnd::Running, accepted), ("load2", lost, 3)].into_iter().map(of).collect();
    RunEvent::Agents(Arc::new(both))
}

/// Returns the metrics after these events.
pub fn metrics(events: impl IntoIterator<Item = RunEvent>) -> RunMetrics {
    let mut metrics = RunMetrics::new(info());
    events.into_iter().for_each(|events| metrics.hear(&events));
    metrics
}

fn family(name: &str) -> &'static MetricFamily {
    TABLE.iter().find(|family| family.name == name).unwrap()
}

/// Returns a family's series as text: labels and value.
fn series(name: &str, metrics: &RunMetrics) -> Vec<String> {
    let of = |sample: MetricSample<'_>| {
        let value = match sample.value {
            SampleValue::Count(count) => count.to_string(),
            SampleValue::Number(number) => number.to_string(),
            SampleValue::Spread(hist) => format!("{} in {} ns", hist.count(), hist.sum_ns()),
        };
        format!("{} {value}", sample.labels.join(","))
    };
    family(name).samples(metrics).into_iter().map(of).collect()
}

#[test]
fn the_names_are_those_of_the_conventions_and_each_is_there_once() {
    let mut seen = BTreeSet::new();
    for family in TABLE {
        let name = family.name;
        assert!(seen.insert(name), "{name} twice");
        assert!(name.chars().all(|char| char.is_ascii_lowercase() || char == '_'), "{name}");
        assert!(name.starts_with("smtpress_") || name == "process_cpu", "{name}");
        // Names must not already hold the suffixes that the writers append.
        for suffix in ["_total", "_info", "_seconds", "_bytes", "_count", "_sum", "_bucket"] {
            assert!(!name.ends_with(suffix), "{name}");
        }
        assert!(family.help.ends_with('.'), "{name}: {}", family.help);
        assert_eq!(family.kind == MetricKind::Histogram, name_of_durations(name), "{name}");
    }
}

/// Whether a family is one of the recorded durations, or that of the steps.
fn name_of_durations(name: &str) -> bool {
    let own = name.strip_prefix("smtpress_").unwrap_or(name);
    own == "step" || Metric::all().any(|metric| metric.as_str() == own)
}

#[test]
fn every_duration_that_is_recorded_is_exported() {
    let mut tally = Tally::new(2);
    for metric in Metric::all() {
        tally.phases[0].hists.entry((metric, Outcome::Accepted)).or_default().record(1_000);
    }
    let interval = Interval {
        transactions: Vec::new(),
        start: Duration::ZERO,
        length: Duration::ZERO,
        tally,
        gauges: Gauges::default(),
    };
    let metrics = metrics([RunEvent::Second(Arc::new(interval))]);
    let histograms = TABLE.iter().filter(|family| family.kind == MetricKind::Histogram);
    let exported: usize = histograms.map(|family| family.samples(&metrics).len()).sum();
    assert_eq!(exported, Metric::all().count());
}

#[test]
fn every_series_has_the_labels_of_its_row_and_is_there_once() {
    let metrics = metrics([agents(7), second(0), RunEvent::Over(Arc::new(fixtures::accepted()))]);
    for family in TABLE {
        let samples = family.samples(&metrics);
        assert!(!samples.is_empty(), "{} has no series", family.name);
        let mut seen = BTreeSet::new();
        for sample in &samples {
            assert_eq!(sample.labels.len(), family.labels.len(), "{}", family.name);
            assert!(seen.insert(&sample.labels), "{}: {:?} twice", family.name, sample.labels);
            assert!(!sample.labels.iter().any(|label| label.contains("hostile")), "no text of a reply");
            assert_eq!(
                matches!(sample.value, SampleValue::Spread(_)),
                family.kind == MetricKind::Histogram,
                "{}",
                family.name
            );
        }
    }
}

/// No other family has a label for agents, so the sum over all series of a family is still the value of the run.
#[test]
fn agents_have_series_of_their_own() {
    let value = |metrics: &RunMetrics, name: &str| -> Vec<(String, f64)> {
        let values = family(name).samples(metrics).into_iter().map(|sample| {
            let value = match sample.value {
                SampleValue::Count(count) => count as f64,
                SampleValue::Number(number) => number,
                SampleValue::Spread(_) => panic!("{name}"),
            };
            (sample.labels.join(","), value)
        });
        values.collect()
    };
    let alone = metrics([second(0)]);
    assert!(TABLE.iter().filter(|own| own.labels == ["agent"]).all(|own| own.samples(&alone).is_empty()));
    let fleet = metrics([agents(5), second(0), agents(7), second(1)]);
    let both = |one: f64, two: f64| [("load1".to_owned(), one), ("load2".to_owned(), two)];
    assert_eq!(value(&fleet, "smtpress_agent_arrivals_accepted"), both(7.0, 3.0));
    assert_eq!(value(&fleet, "smtpress_agent_arrivals_scheduled"), both(9.0, 5.0));
    assert_eq!(value(&fleet, "smtpress_agent_lag_max"), both(0.0015, 0.0015));
    assert_eq!(value(&fleet, "smtpress_agent_lost"), both(0.0, 1.0));
    for own in TABLE.iter().filter(|own| own.labels != ["agent"]) {
        let merged = metrics([second(0), second(1)]);
        // The CPU time of this process still grows.
        if own.name != "process_cpu" {
            assert_eq!(format!("{:?}", own.samples(&fleet)), format!("{:?}", own.samples(&merged)));
        }
    }
}

#[test]
fn seconds_add_up_and_the_state_is_the_last() {
    let mut metrics = metrics([second(0), second(1)]);
    assert_eq!(series("smtpress_arrivals_scheduled", &metrics), ["warm 0".into(), format!("{HOSTILE} 20")]);
    let arrivals = series("smtpress_arrivals", &metrics);
    assert_eq!(arrivals.len(), 2 * Outcome::ALL.len(), "also those that did not happen");
    assert!(
        arrivals.contains(&format!("{HOSTILE},accepted 14"))
            && arrivals.contains(&format!("{HOSTILE},shed 4"))
    );
    assert!(
        !series("smtpress_transactions", &metrics).iter().any(|row| row.contains("shed")),
        "none is shed"
    );
    assert_eq!(series("smtpress_sessions", &metrics), [" 6"]);
    assert_eq!(
        series("smtpress_conditions", &metrics),
        [
            format!("{HOSTILE},greeting,resource-low,server-state,421,refused 4"),
            format!("{HOSTILE},greeting,resource-low,server-state,none,refused 2"),
        ],
        "enhanced codes are not told apart"
    );
    assert_eq!(series("smtpress_tls_handshakes", &metrics), [format!("{HOSTILE},TLSv1.3,none,true 6")]);
    assert_eq!(
        series("smtpress_step", &metrics),
        [
            format!("{HOSTILE},mail,accepted 2 in 500000 ns"),
            format!("{HOSTILE},tls-resumed,accepted 2 in 1800000 ns")
        ]
    );
    assert_eq!(series("smtpress_response", &metrics), [format!("{HOSTILE},accepted 6 in 6003000000 ns")]);
    assert_eq!(
        (series("smtpress_run_over", &metrics), metrics.time().as_secs()),
        (vec![" 0".into()], 1_700_000_002)
    );
    assert!(series("smtpress_run_exit_code", &metrics).is_empty());
    metrics.hear(&RunEvent::Over(Arc::new(fixtures::limit_enforced())));
    assert_eq!(series("smtpress_run_over", &metrics), [" 1"]);
    assert_eq!(series("smtpress_run_exit_code", &metrics), [" 99"]);
}
