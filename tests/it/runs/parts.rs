//! A response time is exactly the sum of lag, wait for a slot, setup of a session and service.

use smtpress::collector::{Metric, Outcome};
use smtpress::listener::limits::{Delay, Limits};
use smtpress::plan::{Messages, Unit};

use super::testbed::{SECOND, Told, delayed, ms, phase, plan, rate, run, side_by_side};

const GREETING_NS: u128 = 500_000_000;

/// The sum of a metric over all arrivals with this outcome. Each arrival must have the metric once.
fn sum(told: &Told, metric: Metric, outcome: Outcome) -> u128 {
    let hist = told.hist(metric, outcome);
    assert_eq!(hist.count(), told.of(outcome), "{metric} {outcome}");
    hist.sum_ns()
}

/// The sums of the four parts over these arrivals, which must equal the sum of the response times to the nanosecond.
fn parts(told: &Told, outcome: Outcome) -> [u128; 4] {
    let parts =
        [Metric::Lag, Metric::Wait, Metric::Setup, Metric::Service].map(|metric| sum(told, metric, outcome));
    assert_eq!(parts.iter().sum::<u128>(), sum(told, Metric::Response, outcome), "{outcome}: {parts:?}");
    parts
}

fn slow_to_greet() -> Limits {
    delayed(|delays| delays.greeting = Delay::fixed(ms(500)))
}

#[test]
fn a_slow_greeting_is_setup_and_no_wait() {
    // Each message needs its own session, and far more sessions are allowed than are needed.
    let mut plan = plan(vec![phase(rate(5.0), Some(2 * SECOND), Unit::Message)]);
    plan.messages = Messages::Fixed(1);
    let told = run(&plan, slow_to_greet());
    assert_eq!(told.of(Outcome::Accepted), 10);
    let [_, wait, setup, service] = parts(&told, Outcome::Accepted);
    assert!(told.hist(Metric::Setup, Outcome::Accepted).min_ns() >= GREETING_NS as u64, "{setup}");
    // If the greeting counted as wait, the wait would be half a second for each message.
    assert!(wait < 10 * GREETING_NS / 2, "{wait}");
    assert!(wait + service < setup, "{wait} {service} {setup}");
    told.below("wait, all of it", wait as f64, 10.0 * GREETING_NS as f64 / 20.0);
    told.below("service, all of it", service as f64, 10.0 * GREETING_NS as f64 / 2.0);
}

#[test]
fn sessions_that_stay_open_are_set_up_once_and_full_slots_are_wait() {
    // With one session at a time, only the first message has a setup; the next ones wait and have none.
    let mut one = plan(vec![phase(rate(10.0), Some(SECOND), Unit::Message)]);
    one.phases[0].max_sessions = 1;
    let told = run(&one, slow_to_greet());
    let [_, wait, setup, _] = parts(&told, Outcome::Accepted);
    assert_eq!(told.of(Outcome::Accepted), 10);
    assert!(setup >= GREETING_NS && told.counts().opened == 1, "{setup}");
    assert_eq!(told.hist(Metric::Setup, Outcome::Accepted).min_ns(), 0);
    // They are scheduled from 100 ms to 400 ms, and the session is not free before 500 ms.
    assert!(wait >= 900_000_000, "{wait}");
}

#[test]
fn who_is_never_served_has_setup_and_no_service_and_a_session_has_its_opening_in_its_service() {
    side_by_side([Unit::Message, Unit::Session], |unit| {
        let mut plan = plan(vec![phase(rate(5.0), Some(2 * SECOND), unit)]);
        plan.messages = Messages::Fixed(1);
        plan.script.timeouts.greeting = ms(300);
        let told = run(&plan, slow_to_greet());
        let outcome = Outcome::TimedOut;
        assert_eq!(told.of(outcome), 10, "{unit:?}: {:?}", told.counts());
        let [_, _, setup, service] = parts(&told, outcome);
        let (took, none) = if unit == Unit::Message { (setup, service) } else { (service, setup) };
        assert!(took >= 10 * 300_000_000, "{unit:?}: {took}");
        assert_eq!(none, 0, "{unit:?}");
    });
}
