//! Tests of `arrival`.

use super::*;
use proptest::prelude::*;

const SECOND: f64 = 1e9;

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn rate(points: &[(f64, f64)], spacing: Spacing, length: f64) -> PhaseLoad {
    let curve = Curve { points: points.iter().map(|&(at, value)| (seconds(at), value)).collect() };
    PhaseLoad { model: LoadModel::Rate { curve, spacing }, length: Some(seconds(length)) }
}

/// Returns the offsets of a phase's arrivals in nanoseconds.
fn offsets(phase: &PhaseLoad, seed: u64) -> Vec<u64> {
    Walk::new(phase, 0, 0, seed, Shard::WHOLE)
        .map(|arrival| match arrival.due {
            Due::At(at) => nanos(at),
            Due::WhenIdle { .. } => panic!("a closed arrival in an open phase"),
        })
        .collect()
}

#[test]
fn m6_a_constant_rate_does_not_drift() {
    let phase = rate(&[(0.0, 333.33)], Spacing::Uniform, 60.0);
    let offsets = offsets(&phase, 1);
    for (k, &at) in offsets.iter().enumerate() {
        assert!((at as f64 - k as f64 / 333.33 * SECOND).abs() <= 1.0, "arrival {k} at {at}");
    }
    let started = |t: u64| offsets.iter().filter(|&&at| at < t * 1_000_000_000).count() as f64;
    assert!((1..=60).all(|t| (started(t) - (333.33 * t as f64).floor()).abs() <= 1.0));
    assert_eq!(offsets.len(), 20_000);
    assert_eq!(expected_arrivals(&phase), Some(20_000));
}

#[test]
fn a_constant_rate_starts_at_once_and_ends_before_the_end() {
    let tenths: Vec<u64> = (0..100).map(|k| k * 100_000_000).collect();
    assert_eq!(offsets(&rate(&[(0.0, 10.0)], Spacing::Uniform, 10.0), 1), tenths);
    assert_eq!(offsets(&rate(&[(0.0, 3.0)], Spacing::Uniform, 1.0), 1), [0, 333_333_333, 666_666_667]);
}

#[test]
fn m7_a_ramp_has_its_area_of_arrivals_where_the_closed_form_puts_them() {
    for (r0, r1, d) in
        [(10.0_f64, 200.0_f64, 30.0), (200.0, 10.0, 30.0), (0.0, 100.0, 7.0), (100.0, 0.0, 7.0)]
    {
        let offsets = offsets(&rate(&[(0.0, r0), (d, r1)], Spacing::Uniform, d), 1);
        assert!((offsets.len() as f64 - d * (r0 + r1) / 2.0).abs() <= 1.0, "{r0} to {r1}: {}", offsets.len());
        let a = (r1 - r0) / d;
        for (k, &at) in offsets.iter().enumerate() {
            let expected = (-r0 + (r0 * r0 + 2.0 * a * k as f64).sqrt()) / a * SECOND;
            assert!(
                (at as f64 - expected).abs() <= 100.0,
                "{r0} to {r1}: arrival {k} at {at}, not {expected}"
            );
        }
    }
}

#[test]
fn m8_poisson_gaps_are_exponential() {
    for seed in [1, 2, 3, 42, 1234, u64::MAX] {
        let offsets = offsets(&rate(&[(0.0, 500.0)], Spacing::Poisson, 20.0), seed);
        let mut gaps: Vec<f64> = std::iter::once(0)
            .chain(offsets.iter().copied())
            .zip(&offsets)
            .map(|(a, b)| (b - a) as f64)
            .collect();
        let n = gaps.len() as f64;
        assert!(n >= 5000.0);
        let mean = gaps.iter().sum::<f64>() / n;
        let deviation = (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        assert!((mean / (SECOND / 500.0) - 1.0).abs() < 0.03, "seed {seed}: mean {mean}");
        assert!((0.95..=1.05).contains(&(deviation / mean)), "seed {seed}: CV {}", deviation / mean);
        gaps.sort_by(f64::total_cmp);
        let distance = gaps.iter().zip(0..).fold(0.0_f64, |worst, (gap, i)| {
            let expected = 1.0 - (-gap / (SECOND / 500.0)).exp();
            let (below, above) = (f64::from(i) / n, f64::from(i + 1) / n);
            worst.max((expected - below).abs()).max((above - expected).abs())
        });
        // Kolmogorov: sqrt(n) D exceeds 1.95 with probability 0.001.
        assert!(n.sqrt() * distance < 1.95, "seed {seed}: KS {}", n.sqrt() * distance);
    }
}

#[test]
fn poisson_arrivals_never_change() {
    let offsets = offsets(&rate(&[(0.0, 100.0), (10.0, 300.0)], Spacing::Poisson, 10.0), 42);
    assert_eq!(
        offsets[..4],
        [5107909, 10707720, 11787605, 16258420],
        "a change here changes every seeded schedule ever published"
    );
    assert_eq!(offsets.len(), 1935);
}

#[test]
fn a_poisson_process_follows_its_curve() {
    let phase = rate(&[(0.0, 0.0), (100.0, 200.0)], Spacing::Poisson, 100.0);
    let (offsets, mean) = (offsets(&phase, 9), 10_000.0_f64);
    assert_eq!(expected_arrivals(&phase), Some(10_000));
    assert!((offsets.len() as f64 - mean).abs() < 4.0 * mean.sqrt(), "{}", offsets.len());
    let first_half = offsets.iter().filter(|&&at| at < 50_000_000_000).count() as f64;
    assert!((first_half - 2500.0).abs() < 4.0 * 50.0, "{first_half}");
}

#[test]
fn bursts_come_together_and_the_last_begins_before_the_end() {
    let burst = |size, every, length| PhaseLoad {
        model: LoadModel::Burst { size, every: seconds(every) },
        length: Some(seconds(length)),
    };
    assert_eq!(
        offsets(&burst(2, 1.0, 2.5), 1),
        [0, 0, 1_000_000_000, 1_000_000_000, 2_000_000_000, 2_000_000_000]
    );
    assert_eq!(offsets(&burst(1, 1.0, 2.0), 1), [0, 1_000_000_000]);
    assert_eq!(offsets(&burst(3, 0.0, 2.0), 1), [0, 0, 0]);
    assert_eq!(offsets(&burst(0, 1.0, 2.0), 1), [0; 0]);
    assert_eq!(offsets(&burst(3, 1.0, 0.0), 1), [0; 0]);
    assert_eq!(expected_arrivals(&burst(7, 0.5, 2.0)), Some(28));
}

#[test]
fn held_sessions_open_at_their_rate_or_at_once() {
    let held = |sessions, rate, length| PhaseLoad {
        model: LoadModel::Held { sessions, rate },
        length: Some(seconds(length)),
    };
    assert_eq!(offsets(&held(3, 2.0, 60.0), 1), [0, 500_000_000, 1_000_000_000]);
    assert_eq!(offsets(&held(3, f64::INFINITY, 60.0), 1), [0; 3]);
    assert_eq!(offsets(&held(100, 2.0, 1.0), 1), [0, 500_000_000]);
    assert_eq!(offsets(&held(3, 0.0, 60.0), 1), [0; 0]);
    assert_eq!(expected_arrivals(&held(100, 2.0, 1.0)), Some(2));
    assert_eq!(expected_arrivals(&held(100, f64::INFINITY, 0.0)), Some(0));
}

#[test]
fn closed_loads_are_counted_only_when_they_share() {
    let think = Think::default();
    let shared = PhaseLoad { model: LoadModel::Shared { total: 10, sessions: 3, think }, length: None };
    assert_eq!(expected_arrivals(&shared), Some(10));
    assert_eq!(
        Walk::new(&shared, 0, 0, 0, Shard { index: 1, of: 4 }).map(|a| a.seq).collect::<Vec<_>>(),
        [1, 5, 9]
    );
    let load = LoadModel::Sessions { curve: Curve::constant(5.0), think };
    assert_eq!(expected_arrivals(&PhaseLoad { model: load, length: Some(seconds(5.0)) }), None);
}

#[test]
fn a_load_of_nothing_and_a_load_beyond_measure() {
    let phases = |rate: f64, length| {
        [Spacing::Uniform, Spacing::Poisson].map(|spacing| self::rate(&[(0.0, rate)], spacing, length))
    };
    for phase in phases(0.0, 60.0).into_iter().chain(phases(100.0, 0.0)) {
        assert_eq!((offsets(&phase, 1).len(), expected_arrivals(&phase)), (0, Some(0)), "{phase:?}");
    }
    assert_eq!(offsets(&phases(1e-9, 60.0)[0], 1), [0], "the first arrival stands at the start");
    for rate in [1e12, 1e300] {
        for phase in phases(rate, 60.0) {
            let walk = Walk::new(&phase, 0, 0, 1, Shard::WHOLE).take(1000);
            assert!(walk.map(|arrival| arrival.due).is_sorted_by_key(|due| match due {
                Due::At(at) => at,
                Due::WhenIdle { .. } => Duration::MAX,
            }));
        }
    }
    assert_eq!(expected_arrivals(&phases(1e300, 60.0)[0]), Some(PHASE_STRIDE));
}

proptest! {
    #[test]
    fn arrivals_are_in_order_within_the_phase_and_as_many_as_expected(
        points in prop::collection::vec((0_u32..20_000, prop_oneof![Just(0.0), 0.0..500.0]), 1..6),
        poisson: bool,
        length in 0_u32..20_000,
        seed: u64,
    ) {
        let mut points: Vec<(f64, f64)> =
            points.into_iter().map(|(at, value)| (f64::from(at) / 1e3, value)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let spacing = if poisson { Spacing::Poisson } else { Spacing::Uniform };
        let phase = rate(&points, spacing, f64::from(length) / 1e3);
        let offsets = offsets(&phase, seed);
        prop_assert!(offsets.is_sorted());
        prop_assert!(offsets.iter().all(|&at| at < u64::from(length) * 1_000_000));
        if !poisson {
            prop_assert_eq!(Some(offsets.len() as u64), expected_arrivals(&phase));
        }
    }
}
