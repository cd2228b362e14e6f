//! Tests with backlogs of queues whose growth is known.

use super::*;

const IDLE: Duration = Duration::from_millis(38);

/// Returns a series of this many seconds. `offered` and `finished` return the counts at a time in seconds.
fn series(seconds: u32, offered: impl Fn(f64) -> f64, finished: impl Fn(f64) -> f64) -> BacklogSeries {
    let mut series = BacklogSeries::default();
    for tenth in 0..=10 * seconds {
        let at = f64::from(tenth) / 10.0;
        let sample = BacklogSample { offered: offered(at) as u64, finished: finished(at) as u64 };
        series.take(Duration::from_secs_f64(at), sample);
    }
    series
}

fn judged(series: &BacklogSeries, load: f64, seconds: u64, idle: Duration) -> Option<Sustained> {
    judge(series, load, Duration::from_secs(seconds), idle).map(|growth| growth.verdict)
}

#[test]
fn a_listener_that_finishes_less_than_is_offered_does_not_sustain_it() {
    let overload = |load: f64| series(20, |at| load * at, |at| 100.0 * at);
    assert_eq!(judged(&overload(100.0), 100.0, 20, IDLE), Some(Sustained::Sustained));
    assert_eq!(judged(&overload(103.0), 103.0, 20, IDLE), Some(Sustained::Unsustained));
    let growth = judge(&overload(120.0), 120.0, Duration::from_secs(20), IDLE).unwrap();
    assert!((growth.per_s - 20.0).abs() < 0.2, "{growth:?}");
    assert_eq!(growth.needed_s, None);
}

#[test]
fn the_first_arrivals_may_take_their_time() {
    // Each arrival takes 400 ms, and any number is served at once.
    let slow = series(20, |at| 100.0 * at, |at| 100.0 * (at - 0.4).max(0.0));
    let idle = Duration::from_millis(400);
    assert_eq!(judged(&slow, 100.0, 20, idle), Some(Sustained::Sustained));
    assert_ne!(judged(&slow, 100.0, 3, idle), Some(Sustained::Unsustained));
    assert_eq!(judged(&slow, 100.0, 2, idle), None, "shorter than twice 1.2 s");
    let slower = series(3, |at| 100.0 * at, |at| 100.0 * (at - 2.0).max(0.0));
    assert_eq!(judged(&slower, 100.0, 3, Duration::ZERO), Some(Sustained::Unsustained), "what this prevents");
}

#[test]
fn what_wanders_is_undecided_and_says_which_length_decides() {
    let wandering = series(4, |at| 100.0 * at + 20.0, |at| 100.0 * at + 15.0 * (at * 2.0).sin());
    let growth = judge(&wandering, 100.0, Duration::from_secs(4), IDLE).unwrap();
    assert_eq!(growth.verdict, Sustained::Undecided, "{growth:?}");
    assert!(growth.needed_s > Some(4.0), "{growth:?}");
}

#[test]
fn a_load_that_is_only_met_on_average_is_counted_against_what_was_intended() {
    // Arrivals come in waves around their average. The listener finishes 95 per second without a pause.
    let waves = series(20, |at| 100.0 * at + 25.0 * (at * 0.9).sin(), |at| 95.0 * at);
    assert_eq!(judged(&waves, 100.0, 20, IDLE), Some(Sustained::Unsustained));
    // This listener keeps up with the waves.
    let kept = series(
        20,
        |at| 100.0 * at + 25.0 * (at * 0.9).sin(),
        |at| 100.0 * at + 25.0 * (at * 0.9).sin() - 3.0,
    );
    assert_eq!(judged(&kept, 100.0, 20, IDLE), Some(Sustained::Sustained));
}

/// Returns a function that counts the times up to a moment.
fn come(times: &[f64]) -> impl Fn(f64) -> f64 + '_ {
    |at| times.iter().filter(|time| **time <= at).count() as f64
}

/// If the idle listener was slow, for example on a busy machine, a long start is left out and little of the trial is
/// judged.
#[test]
fn a_few_arrivals_that_are_all_finished_are_sustained() {
    for (load, seconds, service) in
        [(0.3125, 8, 0.12), (0.3125, 24, 0.12), (0.2, 8, 0.4), (0.5, 4, 0.3), (1.25, 8, 0.5), (5.0, 8, 0.05)]
    {
        for (phase, idle_ms) in
            (0..10).flat_map(|phase| (50..1_400).step_by(150).map(move |idle| (phase, idle)))
        {
            let arrivals: Vec<f64> =
                (0..200).map(|n| (f64::from(n) + f64::from(phase) / 10.0) / load).collect();
            let ends: Vec<f64> = arrivals.iter().map(|at| at + service).collect();
            let series = series(seconds, come(&arrivals), come(&ends));
            let verdict = judged(&series, load, u64::from(seconds), Duration::from_millis(idle_ms));
            let case = format!("{load}/s, {seconds} s, {service} s, {phase}, idle {idle_ms} ms");
            assert_ne!(verdict, Some(Sustained::Unsustained), "{case}");
        }
    }
    // Two arrivals per second are offered, and one is finished every two seconds.
    let arrivals: Vec<f64> = (0..200).map(|n| f64::from(n) / 2.0).collect();
    let ends: Vec<f64> = (0..200).map(|n| f64::from(n) * 2.0 + 0.5).collect();
    let series = series(24, come(&arrivals), come(&ends));
    assert_eq!(judged(&series, 2.0, 24, IDLE), Some(Sustained::Unsustained));
}
