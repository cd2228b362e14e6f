//! The rules whose figures are given for a minute of load, at full length: M1 to M4 and M6. `.ci/run` runs them all at
//! once. `anchor` tests the same rules at a tenth of the length in every run of the tests.
//!
//! Lower bounds and ratios hold on any machine. Upper bounds are checked only if the generator's lag is small enough.

use smtpress::collector::{Metric, Outcome};
use smtpress::listener::limits::{Delay, Limits, Stall};
use smtpress::plan::{Phase, Unit};
use smtpress::smtp::script::Timeouts;

use super::testbed::{SECOND, delayed, ms, phase, plan, rate, run};

/// The tolerance for a time in seconds: 0.1 % of it and 5 ms.
fn e(seconds: f64) -> f64 {
    seconds * 0.001 + 0.005
}

/// The least response time at quantile q with a stall of S in a load of T: S - (1 - q) T, minus the tolerance. On a
/// busy machine the listener's thread may start its stall late, and is then silent for less time. So a tenth of a
/// second more is allowed, which does not weaken the tests.
fn stalled(stall: f64, length: f64, q: f64) -> f64 {
    let bound = stall - (1.0 - q) * length;
    bound - e(bound) - 0.1
}

fn constant(per_second: f64, seconds: u32) -> Phase {
    phase(rate(per_second), Some(seconds * SECOND), Unit::Message)
}

#[test]
#[ignore = "takes a minute: cargo test --test it -- --ignored at_full_length"]
fn m1_to_m4_and_m6_at_full_length() {
    std::thread::scope(|scope| {
        for rule in [m1, m2, m3, m4, m6] {
            scope.spawn(rule);
        }
    });
}

fn m1() {
    let stall = Some(Stall { from: 20 * SECOND, length: SECOND });
    let told = run(&plan(vec![constant(200.0, 60)]), Limits { stall, ..Limits::default() });
    assert_eq!(told.of(Outcome::Accepted), 12_000);
    for q in [0.99, 0.999] {
        let found = told.quantile(Metric::Response, q);
        assert!(found >= stalled(1.0, 60.0, q), "M1: p{q} is {found}");
    }
    let max = told.hist(Metric::Response, Outcome::Accepted).max_ns();
    assert!(max >= 895_000_000, "M1: max is {max}");
    let p95 = told.quantile(Metric::Response, 0.95);
    // Only one message in sixty was in the stall.
    assert!(p95 * 4.0 < max as f64 / 1e9, "M1: p95 is {p95}, max {max} ns");
    told.below("M1: response p95", p95, 0.1);
}

fn m2() {
    let stall = Some(Stall { from: 10 * SECOND, length: 30 * SECOND });
    // So few that listener and generator carry what the stall held up in a small part of a second, also on a slow
    // machine: that time is in the percentile too.
    let mut plan = plan(vec![constant(20.0, 60)]);
    // The time-outs are those of RFC 5321 4.5.3.2, so a listener that stalls for half a minute is slow, but does not
    // fail.
    plan.script.timeouts = Timeouts::default();
    let told = run(&plan, Limits { stall, ..Limits::default() });
    assert_eq!(told.of(Outcome::Accepted), 1_200, "{:?}", told.counts());
    let p90 = told.quantile(Metric::Response, 0.9);
    assert!(p90 >= 24.0 * 0.98, "M2: p90 is {p90}");
    let max = told.hist(Metric::Response, Outcome::Accepted).max_ns() as f64 / 1e9;
    assert!(p90 < max * 0.85, "M2: p90 is {p90}, max {max}");
    told.below("M2: response p90", p90, 24.0 * 1.02);
}

fn m3() {
    let mut plan = plan(vec![constant(200.0, 60)]);
    plan.phases[0].max_sessions = 20;
    let mut limits = delayed(|delays| delays.body = Delay::fixed(ms(5)));
    limits.stall = Some(Stall { from: 20 * SECOND, length: SECOND });
    let told = run(&plan, limits);
    assert_eq!(told.of(Outcome::Accepted), 12_000);
    let (response, service) = (told.quantile(Metric::Response, 0.99), told.quantile(Metric::Service, 0.99));
    assert!(response >= stalled(1.0, 60.0, 0.99), "M3: response p99 {response}");
    assert!(service * 3.0 < response, "M3: service p99 {service}, response p99 {response}");
    told.below("M3: service p99", service, 0.1);
}

fn m4() {
    let mut plan = plan(vec![constant(20.0, 10)]);
    plan.phases[0].max_sessions = 1;
    plan.phases[0].graceful_stop = 60 * SECOND;
    let told = run(&plan, delayed(|delays| delays.body = Delay::fixed(ms(100))));
    assert_eq!((told.of(Outcome::Accepted), told.ledger.sessions_peak), (200, 1));
    let p50 = told.quantile(Metric::Response, 0.5);
    let max = told.hist(Metric::Response, Outcome::Accepted).max_ns() as f64 / 1e9;
    let service = told.quantile(Metric::Service, 0.5);
    assert!(p50 >= 5.05 * 0.98 && max >= 10.05 * 0.99 && service >= 0.1, "M4: {p50}, {max}, {service}");
    assert!(p50 < max * 0.65 && service * 200.0 < (max + 199.0 * 0.05) * 1.3, "M4: {p50}, {max}, {service}");
    told.below("M4: response p50", p50, 5.05 * 1.3);
    told.below("M4: service p50", service, 0.13);
}

fn m6() {
    let told = run(&plan(vec![constant(333.33, 60)]), Limits::default());
    assert!(told.counts().scheduled.abs_diff(20_000) <= 1, "M6: {:?}", told.counts());
    assert_eq!(told.of(Outcome::Accepted), told.counts().scheduled, "M6");
    told.below("M6: the run's length", told.measured.took.as_secs_f64(), 62.0);
}
