//! Tests of `quantile`.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};

use super::*;

fn hist(values: impl IntoIterator<Item = u64>) -> Hist {
    let mut hist = Hist::default();
    values.into_iter().for_each(|ns| hist.record(ns));
    hist
}

#[test]
fn m18_names_how_many_values_a_percentile_needs() {
    let table = [(0.5, 7), (0.9, 44), (0.95, 90), (0.99, 459), (0.999, 4603), (0.9999, 46050)];
    for (q, n) in table {
        assert_eq!(needed(q), n);
        let status = |n: u64| hist(1..=n).quantiles(&[q])[0].status;
        assert_eq!(status(n - 1), Status::NotAvailable, "p{q} of {}", n - 1);
        assert_eq!(status(n), Status::Exact, "p{q} of {n}");
    }
    assert_eq!(Hist::default().quantiles(&[0.5])[0].status, Status::NotAvailable);
}

#[test]
fn a_percentile_is_the_value_of_its_rank() {
    // Each value below 2048 has its own bucket, so the percentiles are exact.
    let one_to_thousand = hist(1..=1000);
    let found: Vec<u64> =
        one_to_thousand.quantiles(&[0.5, 0.9, 0.95, 0.99]).iter().map(|q| q.value_ns).collect();
    assert_eq!(found, [500, 900, 950, 990]);
    assert_eq!(rank(0.07, 100), 7);
    assert_eq!(rank(0.999, 1_000_000), 999_000);
    assert_eq!((rank(0.5, 1), rank(0.0001, 3), rank(0.5, 0)), (1, 1, 1));
}

#[test]
fn m19_interval_ranks_are_those_of_the_tables() {
    // Exact binomial: P(B <= 36) = 0.0033, P(B <= 37) = 0.0060 for n = 100, q = 0.5.
    assert_eq!(interval(100, 0.5), (37, 64));
    assert_eq!(interval(7, 0.5), (1, 7));
    // The exact sum and the normal approximation agree at the number of values at which the approximation takes over.
    let (low, high) = interval(39_999, 0.5);
    let (approximate_low, approximate_high) = interval(40_001, 0.5);
    assert!(low.abs_diff(approximate_low) <= 3 && high.abs_diff(approximate_high) <= 3);
    assert!(interval(459, 0.99).0 < rank(0.99, 459));
    assert_eq!(interval(459, 0.99).1, 459);
}

#[test]
fn m19_intervals_hold_the_true_percentile_99_times_in_100() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(19);
    let (trials, mut held) = (1000, 0);
    for _ in 0..trials {
        let sample = hist((0..500).map(|_| rng.random_range(1_u64..=2000)));
        let p90 = sample.quantiles(&[0.9])[0];
        held += u32::from(p90.low_ns <= 1800 && 1800 <= p90.high_ns);
    }
    assert!(held >= 985, "{held} of {trials}");
}

#[test]
fn m12_a_percentile_among_censored_values_is_at_least() {
    // 90 values are 1..=90, and 10 are censored at 1000: p90 is the last known value, and p95 is among the censored ones.
    let accepted = hist(1..=90);
    let waiting = hist([1000; 10]);
    let found = accepted.quantiles_censored(&waiting, &[0.5, 0.9, 0.95]);
    assert_eq!((found[0].value_ns, found[0].status), (50, Status::Exact));
    assert_eq!((found[1].value_ns, found[1].status), (90, Status::Exact));
    assert_eq!((found[2].value_ns, found[2].status), (1000, Status::AtLeast));
    // Ten censored values in the middle move each percentile above them by at most ten ranks.
    let found = accepted.quantiles_censored(&hist([20; 10]), &[0.1, 0.5, 0.9, 0.95]);
    assert_eq!((found[0].value_ns, found[0].status), (10, Status::Exact));
    assert_eq!((found[1].value_ns, found[1].at_most_ns, found[1].status), (40, 50, Status::AtLeast));
    assert_eq!((found[2].value_ns, found[2].at_most_ns), (80, 90));
    assert_eq!((found[3].value_ns, found[3].at_most_ns), (85, u64::MAX), "ten of a hundred may be anywhere");
    let found = accepted.quantiles_censored(&Hist::default(), &[0.5]);
    assert_eq!((found[0].value_ns, found[0].status), (45, Status::Exact));
}

proptest! {
    #[test]
    fn m16_error_is_at_most_a_thousandth_and_all_is_in_order(
        mut values in proptest::collection::vec(1_u64..600_000_000_000, 50..400),
    ) {
        let hist = hist(values.iter().copied());
        values.sort_unstable();
        prop_assert_eq!(hist.min_ns(), values[0]);
        prop_assert_eq!(hist.max_ns(), values[values.len() - 1]);
        let sum: u128 = values.iter().map(|v| u128::from(*v)).sum();
        prop_assert_eq!(hist.sum_ns(), sum);
        let mut before = hist.min_ns();
        for found in hist.quantiles(&[0.1, 0.5, 0.75, 0.9]) {
            prop_assume!(found.status == Status::Exact);
            let exact = values[rank(found.q, values.len() as u64) as usize - 1];
            prop_assert!(found.value_ns >= exact);
            prop_assert!((found.value_ns - exact) as f64 <= exact as f64 * 0.001);
            prop_assert!(before <= found.value_ns && found.value_ns <= hist.max_ns());
            prop_assert!(found.low_ns <= found.value_ns && found.value_ns <= found.high_ns);
            before = found.value_ns;
        }
    }

    #[test]
    fn m12_the_true_percentile_lies_between_its_bounds(
        values in proptest::collection::vec((1_u64..2000, 0_u64..2000, any::<bool>()), 50..300),
    ) {
        // Of the lost arrivals only a time is known that is shorter than the true time.
        let (mut known, mut censored, mut truth) = (Hist::default(), Hist::default(), Hist::default());
        for (time, seen, lost) in values {
            truth.record(time);
            if lost { censored.record(seen.min(time - 1)) } else { known.record(time) }
        }
        let qs = [0.1, 0.5, 0.75, 0.9];
        for (found, exact) in known.quantiles_censored(&censored, &qs).iter().zip(truth.quantiles(&qs)) {
            prop_assert!(found.value_ns <= exact.value_ns && exact.value_ns <= found.at_most_ns);
            prop_assert!(found.status != Status::Exact || found.value_ns == exact.value_ns);
        }
    }

    #[test]
    fn m17_merged_parts_are_the_union(
        values in proptest::collection::vec((0_u64..u64::MAX / 1024, 0_usize..5), 0..300),
    ) {
        let mut parts = vec![Hist::default(); 5];
        let mut union = Hist::default();
        for (value, part) in &values {
            parts[*part].record(*value);
            union.record(*value);
        }
        let mut merged = Hist::default();
        parts.iter().for_each(|part| merged.merge(part));
        prop_assert!(merged.buckets().eq(union.buckets()));
        prop_assert_eq!(merged.count(), values.len() as u64);
        prop_assert_eq!(
            (merged.min_ns(), merged.max_ns(), merged.sum_ns()),
            (union.min_ns(), union.max_ns(), union.sum_ns())
        );
        prop_assert_eq!(merged, union);
    }
}
