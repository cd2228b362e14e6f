//! Tests with generated shards whose sum is known.

use proptest::prelude::*;

use super::*;
use crate::collector::Outcome;
use crate::collector::summary;
use crate::report::fixtures;
use crate::report::stored::delivery::{
    StoredBounce, StoredClock, StoredDelivery, StoredGrowth, StoredMissing, StoredPhaseDelivery,
};
use crate::report::stored::{Percentile, PercentileStatus, StoredShard};

fn hist(values: &[u64]) -> Hist {
    let mut hist = Hist::default();
    values.iter().for_each(|ns| hist.record(*ns));
    hist
}

/// Returns a shard with accepted arrivals of the times `accepted`, and with arrivals that timed out after the times `lost`.
fn shard(index: u32, of: u32, accepted: &[u64], lost: &[u64]) -> RunResult {
    let mut result = fixtures::accepted();
    result.shard = Some(StoredShard { index, of });
    result.run_id = format!("run{index}");
    let phase = &mut result.phases[0];
    let (n, timed_out) = (accepted.len() as u64, lost.len() as u64);
    (phase.scheduled, phase.started) = (n + timed_out, n + timed_out);
    (phase.accepted, phase.timed_out) = (n, timed_out);
    let stored = |name: &str, outcome: &str, values: &[u64]| {
        let hist = hist(values);
        StoredMetric {
            phase: "steady".into(),
            name: name.into(),
            outcome: outcome.into(),
            count: hist.count(),
            censored: 0,
            min_ns: hist.min_ns(),
            max_ns: hist.max_ns(),
            mean_ns: hist.mean_ns(),
            percentiles: vec![],
            hdr_base64: Some(hist.encode()),
        }
    };
    result.metrics = vec![stored("response", "accepted", accepted)];
    if !lost.is_empty() {
        result.metrics.push(stored("response", "timed-out", lost));
    }
    result.assertions.retain(|assertion| assertion.builtin);
    result
}

fn named(results: Vec<RunResult>) -> Vec<(String, RunResult)> {
    (0..).zip(results).map(|(i, result): (u32, _)| (format!("dir{i}"), result)).collect()
}

fn merged(results: Vec<RunResult>) -> RunResult {
    Shards::of(named(results)).unwrap().merge(None).unwrap()
}

/// Returns a shard with a receiver behind the relay. `accepted` recipients were accepted, and `missing` of them are
/// missing.
fn relayed(index: u32, accepted: u64, missing: u64, growth: f64) -> RunResult {
    let mut result = shard(index, 2, &[1_000, 2_000], &[]);
    result.phases[0].delivery = Some(StoredPhaseDelivery {
        accepted_recipients: accepted,
        delivered: accepted - missing,
        missing,
        queued_max: Some(3),
        queued_growth_per_s: Some(StoredGrowth { value: growth, low: growth - 0.5, high: growth + 0.5 }),
        drain_s: Some(f64::from(index) + 0.25),
        ..StoredPhaseDelivery::default()
    });
    let missing = StoredMissing { phase: "steady".into(), seq: u64::from(index), ..StoredMissing::default() };
    let bounce = StoredBounce { status: "5.1.1".into(), count: 2, ..StoredBounce::default() };
    result.delivery = Some(StoredDelivery {
        foreign: 1,
        missing: vec![missing],
        bounces: vec![bounce],
        ..StoredDelivery::default()
    });
    let asserted = StoredAssertion {
        expr: "missing == 0".to_owned(),
        phase: None,
        status: StoredAssertionStatus::Pass,
        observed: "0".to_owned(),
        builtin: true,
        abort: false,
        window_s: None,
        grace_s: None,
    };
    result.assertions.push(asserted);
    result
}

#[test]
fn what_came_out_of_the_relay_is_added_and_judged_anew() {
    let whole = merged(vec![relayed(0, 10, 0, 1.0), relayed(1, 20, 3, 2.0)]);
    let phase = whole.phases[0].delivery.as_ref().unwrap();
    assert_eq!((phase.accepted_recipients, phase.delivered, phase.missing), (30, 27, 3));
    assert_eq!((phase.queued_max, phase.drain_s), (Some(6), Some(1.25)));
    assert_eq!(phase.queued_growth_per_s, Some(StoredGrowth { value: 3.0, low: 2.0, high: 4.0 }));
    let delivery = whole.delivery.as_ref().unwrap();
    assert_eq!((delivery.foreign, delivery.missing.len(), delivery.bounces.len()), (2, 2, 1));
    assert_eq!(delivery.bounces[0].count, 4);
    let missing = whole.assertions.iter().find(|own| own.expr == "missing == 0").unwrap();
    assert_eq!((missing.status, missing.observed.as_str()), (StoredAssertionStatus::Fail, "3"));
}

#[test]
fn the_least_certain_clock_of_the_receivers_is_that_of_the_whole() {
    let whole = |clocks: [Option<StoredClock>; 2]| {
        let mut shards = vec![relayed(0, 10, 0, 1.0), relayed(1, 10, 0, 1.0)];
        for (one, clock) in shards.iter_mut().zip(clocks) {
            one.delivery.as_mut().unwrap().clock = clock;
            let transit = hist(&[4_000_000; 100]);
            one.metrics.push(StoredMetric {
                name: "transit".into(),
                count: transit.count(),
                min_ns: transit.min_ns(),
                max_ns: transit.max_ns(),
                mean_ns: transit.mean_ns(),
                hdr_base64: Some(transit.encode()),
                ..one.metrics[0].clone()
            });
            one.assertions[0].expr = "transit p50 < 5ms".into();
        }
        merged(shards)
    };
    let offset = |bound_s: f64| Some(StoredClock::Offset { ahead_s: -0.5, bound_s });
    for (clocks, clock, status) in [
        ([None, None], None, StoredAssertionStatus::Pass),
        ([None, Some(StoredClock::Same)], Some(StoredClock::Same), StoredAssertionStatus::Pass),
        ([offset(0.000_25), Some(StoredClock::Same)], offset(0.000_25), StoredAssertionStatus::Pass),
        // 4 ms +- 2 ms may be more than 5 ms.
        ([offset(0.002), offset(0.000_25)], offset(0.002), StoredAssertionStatus::NoData),
        (
            [Some(StoredClock::Unknown), offset(0.002)],
            Some(StoredClock::Unknown),
            StoredAssertionStatus::NoData,
        ),
    ] {
        let whole = whole(clocks);
        assert_eq!(whole.delivery.as_ref().unwrap().clock, clock);
        assert_eq!(whole.assertions[0].status, status, "{clocks:?}: {}", whole.assertions[0].observed);
        let is_timed = clock != Some(StoredClock::Unknown);
        assert_eq!(whole.metrics.iter().any(|metric| metric.name == "transit"), is_timed);
        assert_eq!(whole.phases[0].delivery.as_ref().unwrap().drain_s.is_some(), is_timed);
    }
}

fn refusal(results: Vec<RunResult>) -> String {
    Shards::of(named(results)).unwrap_err().to_string()
}

proptest! {
    #[test]
    fn m17_the_merged_distribution_is_that_of_the_union(
        values in proptest::collection::vec((1_u64..100_000_000_000, 0_usize..3), 3..300),
    ) {
        let mut parts = vec![Vec::new(); 3];
        values.iter().for_each(|(value, part)| parts[*part].push(*value));
        prop_assume!(parts.iter().all(|part| !part.is_empty()));
        let shards = (0..).zip(&parts).map(|(i, part)| shard(i, 3, part, &[])).collect();
        let union = hist(&values.iter().map(|(value, _)| *value).collect::<Vec<_>>());
        let whole = merged(shards);
        let metric = &whole.metrics[0];
        prop_assert_eq!(metric.hdr_base64.as_ref().unwrap(), &union.encode());
        prop_assert_eq!((metric.count, metric.min_ns, metric.max_ns), (union.count(), union.min_ns(), union.max_ns()));
        prop_assert!((metric.mean_ns - union.mean_ns()).abs() <= union.mean_ns() * 1e-9 + 1.0);
        for (found, expected) in metric.percentiles.iter().zip(union.quantiles(&summary::QUANTILES)) {
            let Percentile { value_ns, low_ns, high_ns, .. } = convert::percentile(&expected);
            prop_assert_eq!((found.value_ns, found.low_ns, found.high_ns), (value_ns, low_ns, high_ns));
        }
    }
}

#[test]
fn counts_are_added_rates_taken_anew_and_assertions_judged_anew() {
    let mut shards = vec![shard(0, 2, &[5_000_000; 400], &[]), shard(1, 2, &[9_000_000; 200], &[])];
    for one in &mut shards {
        one.assertions.push(StoredAssertion {
            expr: "response p99 < 8ms".into(),
            phase: Some("steady".into()),
            // A single shard has too few values for a result.
            observed: "n/a (needs 459, has 200)".into(),
            status: StoredAssertionStatus::NoData,
            builtin: false,
            abort: false,
            window_s: None,
            grace_s: None,
        });
        one.verdict = StoredVerdict { status: StoredStatus::Fail, exit_code: 99, aborted_by: None };
    }
    let whole = merged(shards);
    assert_eq!((whole.phases[0].accepted, whole.phases[0].offered_per_s), (600, 10.0));
    assert_eq!(whole.assertions[0].observed, "600");
    assert_eq!(
        (whole.assertions[2].observed.as_str(), whole.assertions[2].status),
        ("9 ms", StoredAssertionStatus::Fail)
    );
    assert_eq!((whole.verdict.exit_code, whole.shard), (99, None));
    assert_eq!((whole.run_id.as_str(), whole.generator.threads), ("run0+run1", 4));
    assert!(whole.warnings[0].contains("merged from 2 shards"), "{:?}", whole.warnings);
}

#[test]
fn m12_what_never_ended_in_one_shard_is_censored_in_the_whole() {
    let whole =
        merged(vec![shard(0, 2, &[1_000_000; 60], &[]), shard(1, 2, &[1_000_000; 30], &[30_000_000; 10])]);
    let response = &whole.metrics[0];
    assert_eq!((response.count, response.censored), (90, 10));
    let p95 = response.percentiles.iter().find(|own| own.q == 0.95).unwrap();
    assert_eq!(p95.status, PercentileStatus::AtLeast);
    assert_eq!(
        p95.value_ns,
        Some(hist(&[30_000_000]).quantiles_censored(&hist(&[30_000_000; 99]), &[0.95])[0].value_ns)
    );
}

#[test]
fn shards_that_began_apart_are_no_valid_run_and_are_named() {
    let began = |second: &str| {
        let mut shards = vec![shard(0, 2, &[1; 10], &[]), shard(1, 2, &[1; 10], &[])];
        shards[0].load_began_at = Some("2026-11-28T16:00:00.000000000Z".into());
        shards[1].load_began_at = Some(format!("2026-11-28T16:00:{second}Z"));
        shards
    };
    assert_eq!(merged(began("00.099000000")).verdict.exit_code, 0);
    let whole = merged(began("08.000000000"));
    assert_eq!(
        (whole.verdict.exit_code, whole.validity.reasons.as_slice()),
        (98, &["shards-apart".to_owned()][..])
    );
    let words = &whole.validity.explanations[0];
    assert!(
        words.starts_with("shard 1/2: phase steady began 8.00 s later than in shard 0/2, 100 ms"),
        "{words}"
    );
    let wide = Shards::of(named(began("08.000000000"))).unwrap().with_max_skew(Duration::from_secs(9));
    assert_eq!(wide.merge(None).unwrap().verdict.exit_code, 0);
    // The start of the load of a phase decides. A start barrier may delay it in one shard.
    let mut gated = began("00.000000000");
    gated[0].phases[0].start_s = 0.5;
    assert!(merged(gated).validity.explanations[0].starts_with("shard 0/2: "));
    let mut unknown = began("00.000000000");
    unknown[1].load_began_at = None;
    let whole = merged(unknown);
    assert_eq!(whole.verdict.exit_code, 0);
    assert!(whole.warnings.iter().any(|warning| warning.contains("not known")), "{:?}", whole.warnings);
}

#[test]
fn a_shard_whose_start_is_not_stored_began_no_earlier_than_its_run() {
    let began = |started: [&str; 3], load: [Option<&str>; 3]| {
        let mut shards: Vec<RunResult> = (0..3).map(|index| shard(index, 3, &[1; 10], &[])).collect();
        for (one, (started, load)) in shards.iter_mut().zip(started.iter().zip(load)) {
            one.started_at = format!("2026-11-28T16:00:{started}Z");
            one.load_began_at = load.map(|load| format!("2026-11-28T16:00:{load}Z"));
        }
        merged(shards)
    };
    let whole = began(["00", "00", "09"], [Some("00.5"), Some("00.5"), None]);
    assert_eq!(whole.verdict.exit_code, 98);
    let words = &whole.validity.explanations[0];
    assert!(
        words.starts_with("shard 2/3: phase steady began at least 8.50 s later than in shard 0/3"),
        "{words}"
    );
    // A shard without a stored start of its load may have started at any later time, so the difference is unknown.
    for (started, load) in [
        (["00", "00", "09"], [None, Some("09.5"), Some("09.5")]),
        (["00", "00", "09"], [None, None, None]),
        (["00", "00", "00"], [Some("00.5"), Some("junk"), Some("00.5")]),
    ] {
        let whole = began(started, load);
        assert_eq!(whole.verdict.exit_code, 0, "{:?}", whole.validity);
        assert!(whole.warnings.iter().any(|said| said.contains("not known")), "{:?}", whole.warnings);
    }
    // Two shards that started apart are found although another one has no stored time.
    let whole = began(["00", "00", "00"], [Some("00.5"), None, Some("08.5")]);
    assert_eq!(whole.verdict.exit_code, 98);
    assert!(whole.validity.explanations[0].starts_with("shard 2/3: phase steady began 8.00 s later"));
    let said = whole.warnings.iter().find(|said| said.contains("not known")).unwrap();
    assert!(said.ends_with("is not stored of shard 1/3"), "{said}");
}

#[test]
fn conditions_are_one_row_and_their_times_those_of_the_first_shards_phases() {
    let mut shards = vec![fixtures::limit_enforced(), fixtures::limit_enforced()];
    for (index, one) in (0..).zip(&mut shards) {
        one.shard = Some(StoredShard { index, of: 2 });
        one.metrics.clear();
    }
    shards[1].phases[0].start_s = 5.0;
    shards[1].conditions[0].first_s = 5.1;
    shards[1].conditions[0].sample = "421 earlier".into();
    let whole = merged(shards);
    let row = &whole.conditions[0];
    assert_eq!((row.count, row.sample.as_str()), (1080, "421 earlier"));
    assert!((row.first_s - 0.1).abs() < 1e-9 && (row.last_s - 9.9).abs() < 1e-9, "{row:?}");
    assert_eq!(whole.conditions.len(), 4);
    let ledger = whole.ledger.unwrap();
    assert_eq!((&ledger["messages"], &ledger["sessions_peak"]), (&2824.into(), &50.into()));
}

#[test]
fn texts_of_ledgers_that_differ_are_left_out_whatever_follows() {
    for digests in [["a", "b", "a"], ["a", "b", "b"], ["b", "a", "c"]] {
        let shards = digests.map(|digest| {
            let ledger = serde_json::json!({"messages": 2, "digest": digest, "kind": "smtp"});
            RunResult { ledger: Some(ledger), ..fixtures::limit_enforced() }
        });
        let whole = parts::ledger(&shards).unwrap();
        assert_eq!(whole, serde_json::json!({"messages": 6, "kind": "smtp"}), "{digests:?}");
    }
}

#[test]
fn what_is_not_the_whole_is_refused_and_the_sentence_says_what_to_do() {
    let of = |index, of| shard(index, of, &[1], &[]);
    let text = refusal(vec![of(0, 3), of(2, 3)]);
    assert!(text.starts_with("shard 1 of 3 is missing") && text.contains("give all shards"), "{text}");
    let text = refusal(vec![of(3, 4), of(3, 4)]);
    assert!(text.starts_with("dir1 and dir0 are both shard 3 of 4"), "{text}");
    assert!(refusal(vec![of(0, 2), of(1, 3)]).contains("number of shards"));
    let text = refusal(vec![fixtures::accepted(), fixtures::accepted()]);
    assert!(text.starts_with("dir0 is a whole run and no shard"), "{text}");
    let mut other = of(1, 2);
    other.profile.seed = 7;
    let text = refusal(vec![of(0, 2), other]);
    assert!(text.contains("its seed is another") && text.contains("--seed"), "{text}");
    // The user states the number of shards.
    let expected = |results: Vec<RunResult>, n| Shards::expect(&named(results), n);
    expected(vec![of(0, 3), of(2, 3)], 3).unwrap();
    let text = expected(vec![of(0, 3), of(2, 4)], 3).unwrap_err().to_string();
    assert!(text.starts_with("dir1 is shard 2 of 4, and --expect-shards says 3"), "{text}");
    let text = expected(vec![fixtures::accepted()], 3).unwrap_err().to_string();
    assert!(text.starts_with("dir0 is a whole run and no shard"), "{text}");
    // A huge number of shards in a file costs no memory.
    let text = refusal(vec![of(0, u32::MAX), of(1, u32::MAX)]);
    assert!(text.starts_with("shards 2, 3"), "{text}");
}

#[test]
fn the_worst_of_any_shard_is_reported_of_the_whole() {
    let mut late = shard(1, 2, &[1; 10], &[]);
    late.validity = fixtures::invalid().validity;
    let whole = merged(vec![shard(0, 2, &[1; 10], &[]), late]);
    assert_eq!((whole.verdict.exit_code, whole.validity.reasons.len()), (98, 2));
    assert!(whole.validity.explanations[0].starts_with("shard 1/2: arrivals of phase steady"));
    let mut stopped = shard(1, 2, &[1; 10], &[]);
    stopped.verdict.status = StoredStatus::Interrupted;
    assert_eq!(merged(vec![shard(0, 2, &[1; 10], &[]), stopped]).verdict.exit_code, 105);
}

#[test]
fn a_window_is_judged_from_the_seconds_of_the_whole() {
    let mut shards = vec![shard(0, 2, &[1; 10], &[]), shard(1, 2, &[1; 10], &[])];
    for one in &mut shards {
        one.assertions = vec![StoredAssertion {
            expr: "accepted >= 2".into(),
            phase: None,
            observed: "1 between 0 s and 1 s of the run".into(),
            status: StoredAssertionStatus::Fail,
            builtin: false,
            abort: false,
            window_s: Some(1.0),
            grace_s: None,
        }];
    }
    let shards = Shards::of(named(shards)).unwrap();
    assert_eq!(shards.merge(None).unwrap().assertions[0].observed, "its windows were not watched");
    let mut seconds = (0..5).map(|t| {
        let mut tally = Tally::new(1);
        tally.phases[0].counts.scheduled = 2;
        tally.phases[0].counts.arrivals.add_many(Outcome::Accepted, 2);
        let (start, length) = (Duration::from_secs(t), Duration::from_secs(1));
        Interval { transactions: Vec::new(), start, length, tally, gauges: Gauges::default() }
    });
    let whole = shards.merge(Some(&mut seconds)).unwrap();
    assert_eq!(whole.assertions[0].observed, "held in each of 5 windows of 1 s");
}

#[test]
fn the_whole_is_checked_no_earlier_than_its_shards_were() {
    let judged = |expr: &str, abort: bool, window_s: Option<f64>, grace_s: Option<f64>| {
        let mut shards = vec![shard(0, 2, &[1; 10], &[]), shard(1, 2, &[1; 10], &[])];
        for one in &mut shards {
            one.assertions = vec![StoredAssertion {
                expr: expr.into(),
                phase: None,
                observed: String::new(),
                status: StoredAssertionStatus::Pass,
                builtin: false,
                abort,
                window_s,
                grace_s,
            }];
        }
        // Nothing is accepted in the first second.
        let mut seconds = (0..5).map(|t| {
            let mut tally = Tally::new(1);
            let outcome = if t == 0 { Outcome::Deferred } else { Outcome::Accepted };
            (tally.phases[0].counts.scheduled, tally.phases[0].counts.started) = (2, 2);
            tally.phases[0].counts.arrivals.add_many(outcome, 2);
            let (start, length) = (Duration::from_secs(t), Duration::from_secs(1));
            Interval { transactions: Vec::new(), start, length, tally, gauges: Gauges::default() }
        });
        let whole = Shards::of(named(shards)).unwrap().merge(Some(&mut seconds)).unwrap();
        whole.assertions[0].clone()
    };
    let (pass, fail) = (StoredAssertionStatus::Pass, StoredAssertionStatus::Fail);
    assert_eq!(judged("accepted >= 2", false, Some(1.0), Some(0.0)).status, fail);
    let later = judged("accepted >= 2", false, Some(1.0), Some(2.0));
    assert_eq!((later.status, later.grace_s), (pass, Some(2.0)), "{later:?}");
    assert_eq!(judged("unexpected rate < 60%", true, None, Some(0.0)).status, fail);
    let later = judged("unexpected rate < 60%", true, None, Some(2.0));
    assert_eq!((later.status, later.abort), (pass, true), "{later:?}");
    // The totals decide if an older result does not say when the assertion was first checked, and if the seconds do not
    // hold what it is about.
    assert_eq!(judged("unexpected rate < 60%", true, None, None).status, pass);
    assert_eq!(judged("transactions.accepted > 0", true, None, Some(0.0)).status, pass);
}

#[test]
fn a_distribution_that_is_not_there_is_no_reason_to_guess() {
    let mut without = shard(1, 2, &[1; 10], &[]);
    without.metrics[0].hdr_base64 = None;
    let error = Shards::of(named(vec![shard(0, 2, &[1], &[]), without]))
        .unwrap()
        .merge(None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("run1: the histogram of steady/response/accepted is not in it"), "{error}");
}
