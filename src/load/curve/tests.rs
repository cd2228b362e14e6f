//! Tests of `curve`.

use super::*;

fn curve(points: &[(f64, f64)]) -> Curve {
    Curve { points: points.iter().map(|&(at, value)| (Duration::from_secs_f64(at), value)).collect() }
}

fn inverse(points: &[(f64, f64)], seconds: f64) -> Inverse {
    Inverse::new(&curve(points), nanos(Duration::from_secs_f64(seconds)))
}

#[test]
fn values_between_before_after_and_at_a_step() {
    let curve = curve(&[(1.0, 2.0), (3.0, 6.0), (3.0, 1.0), (4.0, 1.0)]);
    let at = |seconds| curve.at(Duration::from_secs_f64(seconds));
    assert_eq!([at(0.0), at(1.0), at(2.0), at(2.5), at(3.0), at(9.0)], [2.0, 2.0, 4.0, 5.0, 1.0, 1.0]);
    assert_eq!(Curve { points: Vec::new() }.at(Duration::ZERO), 0.0);
}

#[test]
fn the_next_change_is_the_first_nanosecond_of_another_count() {
    let curve = curve(&[(0.0, 0.0), (10.0, 10.0), (12.0, 10.0), (12.0, 4.0), (20.0, 4.0), (24.0, 0.0)]);
    let end = Duration::from_secs(30);
    let (mut at, mut changes) = (Duration::ZERO, Vec::new());
    while let Some(next) = curve.next_change(at, end, |count| count) {
        assert_ne!(curve.count_at(next), curve.count_at(at));
        assert_eq!(curve.count_at(next - Duration::from_nanos(1)), curve.count_at(at));
        changes.push((next.as_secs_f64().round() as u64, curve.count_at(next)));
        at = next;
    }
    let up = (1..=10).map(|n| (n, n));
    let expected: Vec<_> = up.chain([(12, 4), (20, 3), (21, 2), (22, 1), (23, 0)]).collect();
    assert_eq!(changes, expected);
    assert_eq!(curve.next_change(Duration::ZERO, Duration::from_millis(500), |count| count), None);
}

#[test]
fn rounding_alone_takes_no_session() {
    // 100 x 0.29 is 28.999999999999996 in binary.
    let curve = curve(&[(0.0, 0.0), (10.0, 100.0)]);
    assert_eq!(curve.count_at(Duration::from_millis(2900)), 29);
    assert_eq!(curve.count_at(Duration::from_millis(2899)), 28);
}

#[test]
fn rounding_alone_adds_no_event() {
    // 50 x 1.1 is 55.00000000000001 in binary.
    let mut inverse = inverse(&[(0.0, 1.1), (50.0, 1.1), (50.0, 0.0), (60.0, 0.0), (60.0, 1.0)], 70.0);
    assert_eq!(inverse.at(54.0), Some(49_090_909_091));
    assert_eq!(inverse.at(55.0), Some(60_000_000_000), "the event after the pause");
    assert_eq!(inverse.area(), 65.0);
}

#[test]
fn a_ramp_up_follows_its_closed_form() {
    let (r0, r1, d): (f64, f64, f64) = (10.0, 50.0, 20.0);
    let a = (r1 - r0) / d;
    let mut inverse = inverse(&[(0.0, r0), (d, r1)], d);
    assert_eq!(inverse.area(), 600.0);
    for k in 0..600 {
        let expected = (-r0 + (r0 * r0 + 2.0 * a * f64::from(k)).sqrt()) / a;
        let at = inverse.at(f64::from(k)).unwrap() as f64 / NANOS;
        assert!((at - expected).abs() <= 1e-9, "event {k} at {at}, not {expected}");
    }
    assert_eq!(inverse.at(600.0), None);
}

#[test]
fn an_imperceptible_slope_is_no_slope() {
    let mut flat = inverse(&[(0.0, 1000.0)], 60.0);
    for slope in [1e-12, 1e-9, -1e-9] {
        let mut tilted = inverse(&[(0.0, 1000.0), (60.0, 1000.0 + slope)], 60.0);
        for k in [0.0, 1.0, 29_999.0, 59_999.0] {
            assert!(tilted.at(k).unwrap().abs_diff(flat.at(k).unwrap()) <= 2, "slope {slope}, event {k}");
        }
        flat.cursor = 0;
    }
}

#[test]
fn an_event_at_the_start_of_a_pause_waits_for_its_end() {
    let mut inverse = inverse(&[(0.0, 10.0), (10.0, 10.0), (10.0, 0.0), (20.0, 0.0), (20.0, 0.1)], 40.0);
    assert_eq!(inverse.at(99.0), Some(9_900_000_000));
    assert_eq!(inverse.at(100.0), Some(20_000_000_000));
    assert_eq!(inverse.at(101.0), Some(30_000_000_000));
    assert_eq!(inverse.at(102.0), None);
}

#[test]
fn a_curve_is_cut_at_the_length_in_the_midst_of_a_ramp() {
    assert_eq!(inverse(&[(0.0, 0.0), (10.0, 10.0)], 5.0).area(), 12.5);
    assert_eq!(inverse(&[(0.0, 7.0)], 0.0).area(), 0.0);
    assert_eq!(inverse(&[(5.0, 7.0)], 2.0).area(), 14.0);
    assert_eq!(Inverse::new(&Curve { points: Vec::new() }, 5).area(), 0.0);
}

#[test]
fn extreme_rates_stay_within_the_phase() {
    for rate in [1e-12, 1e-3, 1e9, 1e15, 1e200, f64::MAX] {
        let mut inverse = inverse(&[(0.0, rate), (10.0, 0.0)], 10.0);
        for part in [0.0, 0.25, 0.5, 0.999] {
            let at = inverse.at(inverse.area() * part);
            assert!(at.is_none_or(|at| at < 10_000_000_000), "rate {rate}: {at:?}");
        }
    }
}
