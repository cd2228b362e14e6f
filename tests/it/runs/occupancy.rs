//! Rates and concurrency: Little's law in a real run (M20), the three rates over one window (M21), and arrivals that
//! did not start although the profile does not allow it (M23).

use smtpress::collector::Outcome;
use smtpress::collector::summary::{Code, PhaseInfo, Summary};
use smtpress::condition::expect::{Expect, When};
use smtpress::listener::limits::{Delay, Forced, Limits};
use smtpress::plan::{Messages, OnSaturation, Plan, Unit};
use smtpress::smtp::Step;
use smtpress::verdict::{Assertion, AssertionStatus, Verdict, Windows};

use super::testbed::{
    SECOND, Told, UNITS, delayed, messages, ms, phase, plan, rate, run, sessions, side_by_side,
};

/// The warnings of a run whose only phase is checked by Little's law.
fn warnings(plan: &Plan, told: &Told) -> Vec<String> {
    let phase = &plan.phases[0];
    let info = PhaseInfo {
        name: phase.name.clone(),
        warmup: false,
        unit: phase.unit.as_str(),
        steady: true,
        sheds: false,
        paced: false,
        max_sessions: phase.max_sessions,
        length: phase.load.length,
        total: phase.load.model.total(),
    };
    Summary::new(&told.measured, &[info]).warnings
}

/// Returns the status of this assertion about the whole run.
fn judged_with(told: &Told, expects: &[Expect], expr: &str) -> AssertionStatus {
    let infos: Vec<PhaseInfo> = told.summary.phases.iter().map(|phase| phase.info.clone()).collect();
    let assertions = [Assertion::parse(expr).unwrap()];
    let windows = Windows::new(&assertions, &infos, &[]);
    Verdict::judge(&told.measured, &told.summary, expects, &assertions, &windows).results[0].status
}

#[test]
fn m20_a_steady_load_obeys_littles_law() {
    for unit in UNITS {
        let mut plan = plan(vec![phase(sessions(&[(ms(0), 10.0)], ms(0)), Some(3 * SECOND), unit)]);
        plan.messages = messages(unit);
        let told = run(&plan, delayed(|delays| delays.body = Delay::fixed(ms(10))));
        assert_eq!(warnings(&plan, &told), [""; 0], "{unit:?}");
        // Ten sessions without a pause: nearly ten arrivals are in flight all the time.
        let counts = told.counts();
        let mean = counts.in_flight_ns as f64 / told.measured.windows[0].as_nanos() as f64;
        assert!(mean <= 10.0, "{unit:?}: {mean} under way");
        assert!(counts.in_flight_ns > 0 && counts.service_ns > 0);
    }
}

#[test]
fn m20_a_phase_that_ends_before_its_load_has_settled_is_named() {
    // Replies take twice as long as the phase, so all arrivals end after it, and most of their service time is outside.
    let plan = plan(vec![phase(rate(50.0), Some(SECOND), Unit::Message)]);
    let told = run(&plan, delayed(|delays| delays.body = Delay::fixed(2 * SECOND)));
    assert_eq!(told.of(Outcome::Accepted), 50);
    let warnings = warnings(&plan, &told);
    assert!(warnings[0].contains("phase `steady` was not steady") && warnings.len() == 1, "{warnings:?}");
}

#[test]
fn m21_offered_started_and_accepted_are_three_rates_over_the_phases_window() {
    let mut plan = plan(vec![phase(rate(80.0), Some(2 * SECOND), Unit::Message)]);
    plan.phases[0].max_sessions = 2;
    plan.phases[0].on_saturation = OnSaturation::Drop;
    let mut limits = delayed(|delays| delays.mail = Delay::fixed(ms(100)));
    limits.replies = vec![Forced { step: Step::Rcpt, reply: "550 no".into(), probability: 0.5 }];
    let told = run(&plan, limits);
    let (counts, phase) = (told.counts(), &told.summary.phases[0]);
    let rates = [phase.offered_per_s, phase.started_per_s, phase.accepted_per_s];
    assert_eq!(phase.window, 2 * SECOND);
    let late = counts.drained;
    let (started, accepted) =
        (counts.started - late.started, told.of(Outcome::Accepted) - late.arrivals.of(Outcome::Accepted));
    let expected = [counts.scheduled, started, accepted].map(|count| count as f64 / 2.0);
    assert_eq!(rates, expected);
    assert!(rates[0] == 80.0 && rates[0] > rates[1] && rates[1] > rates[2] && rates[2] > 0.0, "{rates:?}");
}

#[test]
fn m21_what_is_accepted_after_the_window_is_in_no_rate() {
    side_by_side(UNITS, |unit| {
        let mut plan = plan(vec![phase(rate(400.0), Some(2 * SECOND), unit)]);
        plan.messages = messages(unit);
        plan.phases[0].max_sessions = 50;
        plan.phases[0].graceful_stop = 60 * SECOND;
        plan.script.timeouts.body = 60 * SECOND;
        // Four contents at a time, 20 ms each: at most 200 a second.
        let mut limits = delayed(|delays| delays.body = Delay::fixed(ms(20)));
        limits.workers = Some(4);
        let told = run(&plan, limits);
        let (counts, phase) = (told.counts(), &told.summary.phases[0]);
        let (accepted, late) = (told.of(Outcome::Accepted), counts.drained.arrivals.of(Outcome::Accepted));
        assert_eq!((counts.scheduled, accepted), (800, 800), "{unit:?}: {counts:?}");
        let within = accepted - late;
        assert!(0 < within && within <= 4 * (2000 / 20 + 1), "{unit:?}: {within} within the window");
        assert_eq!(phase.accepted_per_s, within as f64 / 2.0);
        assert_eq!(phase.started_per_s, (counts.started - counts.drained.started) as f64 / 2.0);
        // At 200 a second the remaining messages need two more seconds.
        assert!(phase.drained_for >= ms(1900), "{unit:?}: {:?}", phase.drained_for);
        assert_eq!(counts.drained.transactions.of(Outcome::Accepted), late, "a message each");
        for (expr, status) in [
            ("accepted rate >= 390/s", AssertionStatus::Fail),
            ("transactions.accepted rate >= 390/s", AssertionStatus::Fail),
            ("accepted rate <= 202/s", AssertionStatus::Pass),
            ("scheduled rate == 400/s", AssertionStatus::Pass),
            ("accepted == 800", AssertionStatus::Pass),
        ] {
            assert_eq!(told.verdict_of(expr), status, "{unit:?}: {expr}");
        }
    });
}

/// The same rule for refusals, as a condition and as an expected one.
#[test]
fn m21_what_is_refused_after_the_window_is_in_no_rate() {
    side_by_side([false, true], |is_expected| {
        let mut plan = plan(vec![phase(rate(400.0), Some(2 * SECOND), Unit::Message)]);
        plan.phases[0].max_sessions = 50;
        plan.phases[0].graceful_stop = 60 * SECOND;
        plan.script.timeouts.body = 60 * SECOND;
        if is_expected {
            let all = Expect {
                name: Some("all".into()),
                phase: None,
                step: None,
                condition: None,
                code: None,
                when: When::Always,
            };
            plan.expects = vec![all];
        }
        let mut limits = delayed(|delays| delays.body = Delay::fixed(ms(20)));
        limits.workers = Some(4);
        limits.replies = vec![Forced {
            step: Step::Body,
            reply: "452 4.3.1 Insufficient system storage".into(),
            probability: 1.0,
        }];
        let told = run(&plan, limits);
        let row = &told.summary.conditions[0];
        let (counts, within) = (told.counts(), row.count - row.drained);
        let outcome = if is_expected { Outcome::Expected } else { Outcome::Deferred };
        assert_eq!(
            (row.count, row.key.outcome, row.drained),
            (800, outcome, counts.drained.arrivals.of(outcome))
        );
        assert!(0 < within && within <= 4 * (2000 / 20 + 1), "{within} within the window");
        let condition = format!("condition.{}", row.key.condition);
        let names: &[&str] = if is_expected { &[&condition, "expect.all"] } else { &[&condition] };
        for name in names {
            assert_eq!(
                judged_with(&told, &plan.expects, &format!("{name} rate >= 390/s")),
                AssertionStatus::Fail,
                "{name}"
            );
            assert_eq!(
                judged_with(&told, &plan.expects, &format!("{name} rate <= 202/s")),
                AssertionStatus::Pass,
                "{name}"
            );
            assert_eq!(
                judged_with(&told, &plan.expects, &format!("{name} == 800")),
                AssertionStatus::Pass,
                "{name}"
            );
        }
    });
}

#[test]
fn m23_arrivals_that_we_do_not_start_make_the_run_invalid() {
    let mut plan = plan(vec![phase(rate(100.0), Some(SECOND), Unit::Session)]);
    plan.messages = Messages::Fixed(1);
    // The connect rate is too low for the load, and the profile does not allow arrivals to be shed.
    plan.phases[0].connect_rate = Some(20.0);
    plan.phases[0].graceful_stop = ms(100);
    let told = run(&plan, Limits::default());
    assert!(told.counts().started < told.counts().scheduled, "{:?}", told.counts());
    assert!(told.is_invalid_by(Code::NotStarted), "{:?}", told.summary.validity);
    assert_eq!(told.verdict.exit_code.number(), 98);
}
