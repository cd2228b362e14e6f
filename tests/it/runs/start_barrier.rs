//! `open_first`: all sessions are open before the first message, on every thread. Also the report if they never are.

use smtpress::collector::{Metric, Outcome};
use smtpress::listener::limits::Limits;
use smtpress::plan::{Phase, Plan, Unit};

use super::testbed::{SECOND, Told, ms, phase, plan, run, shared};

/// A plan with as many messages as sessions, and a connect rate. Without the barrier the first sessions could send all
/// messages before the others are open.
fn gated(sessions: u64) -> Plan {
    let phase = phase(shared(sessions, sessions), None, Unit::Message);
    plan(vec![Phase { open_first: true, connect_rate: Some(100.0), max_sessions: 1000, ..phase }])
}

#[test]
fn all_sessions_are_open_when_the_first_message_starts() {
    let told = run(&gated(60), Limits::default());
    assert_eq!((told.of(Outcome::Accepted), told.counts().opened, told.ledger.sessions_peak), (60, 60, 60));
    // Sixty connections at 100 a second, of which each thread may open those of 100 ms at once.
    let start = told.measured.starts[0];
    assert!(start >= ms(350), "the load began at {start:?}");
    assert!(told.measured.windows[0] <= told.measured.took.saturating_sub(start));
    // The opening is in no response time, because the messages are scheduled from the barrier on.
    let longest = told.hist(Metric::Response, Outcome::Accepted).max_ns();
    assert!(u128::from(longest) <= told.measured.windows[0].as_nanos() * 1001 / 1000, "{longest}");
    assert!(told.summary.warnings.is_empty(), "{:?}", told.summary.warnings);

    let mut ungated = gated(60);
    ungated.phases[0].open_first = false;
    let told = run(&ungated, Limits::default());
    assert!(told.ledger.sessions_peak < 60 && told.measured.starts[0].is_zero(), "the test can tell");
}

#[test]
fn a_listener_that_never_lets_all_in_ends_the_run_and_the_report_says_why() {
    let held_back = |told: &Told| {
        assert_eq!((told.counts().scheduled, told.ledger.messages), (0, 0));
        assert!(
            told.counts().refused > 0 && told.met("too-many-connections-from-host") > 0,
            "{:?}",
            told.counts()
        );
        let warning = &told.summary.warnings[0];
        assert!(warning.contains("its 20 sessions were to be open first"), "{warning}");
        assert_eq!(
            told.verdict.exit_code.number(),
            4,
            "nothing was measured: {:?} {:?}",
            told.verdict.results,
            told.summary.validity.reasons
        );
    };
    let limits = || Limits { max_connections_per_host: Some(10), ..Limits::default() };
    let mut plan = gated(20);
    plan.phases[0].max_sessions = 20;
    plan.phases[0].connect_rate = None;
    plan.phases[0].graceful_stop = SECOND;
    let told = run(&plan, limits());
    held_back(&told);
    assert!(told.measured.took < 10 * SECOND, "{:?}", told.measured.took);

    plan.phases[0].graceful_stop = 60 * SECOND;
    plan.phases[0].load.length = Some(SECOND);
    let told = run(&plan, limits());
    held_back(&told);
    assert!(told.measured.took < 10 * SECOND, "its own length ends it: {:?}", told.measured.took);
}
