//! The outcomes of arrivals that fail, and the percentiles that are reported then (M11 to M13, M15, M18, M22).

use smtpress::collector::histogram::Status;
use smtpress::collector::{Metric, Outcome};
use smtpress::listener::limits::{Delay, Forced, Limits, Stall};
use smtpress::load::Shard;
use smtpress::plan::{OnSaturation, Unit};
use smtpress::profile::{Context, Document, Purpose, compile};
use smtpress::smtp::Step;
use smtpress::verdict::AssertionStatus;

use super::testbed::{SECOND, delayed, ms, phase, plan, rate, run, sessions};

#[test]
fn m11_time_outs_are_data() {
    let mut plan = plan(vec![phase(rate(50.0), Some(SECOND), Unit::Message)]);
    plan.script.timeouts.command = ms(400);
    let told = run(&plan, delayed(|delays| delays.mail = Delay::fixed(5 * SECOND)));
    assert_eq!((told.of(Outcome::TimedOut), told.met("reply-timeout")), (50, 50));
    let response = told.hist(Metric::Response, Outcome::TimedOut);
    assert!(response.count() == 50 && response.min_ns() >= 400_000_000, "{}", response.min_ns());
    assert!(told.hist(Metric::Step(Step::Mail), Outcome::TimedOut).min_ns() >= 400_000_000);
}

/// A listener that is slow to answer QUIT occupies a session, but does not change the outcome of its messages.
#[test]
fn quit_has_a_time_out_of_its_own() {
    let text = "[target]\naddress = \"embedded\"\n[timeouts]\nquit = \"200ms\"\n[listener]\ndelays = { quit = \"5s\" }\n\
                [[phase]]\nload = \"shared-messages\"\nmessages = 6\nsessions = 3\n";
    let context =
        Context { purpose: Purpose::Run, seed: 7, run_id: "quit".into(), threads: 1, shard: Shard::WHOLE };
    let compiled = compile(&Document::parse("p.toml", text).unwrap(), &context).unwrap();
    let told = run(&compiled.plan, compiled.listener);
    assert_eq!((told.of(Outcome::Accepted), told.met("reply-timeout")), (6, 6));
    let quit = told.hist(Metric::Step(Step::Quit), Outcome::TimedOut);
    assert!(quit.count() == 6 && (200_000_000..2_000_000_000).contains(&quit.min_ns()), "{}", quit.min_ns());
}

#[test]
fn m12_what_is_under_way_at_the_end_counts_as_at_least() {
    let mut plan = plan(vec![phase(rate(100.0), Some(2 * SECOND), Unit::Message)]);
    plan.phases[0].graceful_stop = ms(300);
    let stall = Some(Stall { from: SECOND, length: 20 * SECOND });
    let told = run(&plan, Limits { stall, ..Limits::default() });
    let (accepted, interrupted) = (told.of(Outcome::Accepted), told.of(Outcome::Interrupted));
    assert!(accepted > 40 && interrupted > 60, "{:?}", told.counts());
    // A message that started before the stall may have sent its final dot, and is then in doubt.
    assert_eq!(accepted + interrupted + told.of(Outcome::InDoubt), 200);
    assert_eq!(told.hist(Metric::Response, Outcome::Interrupted).count(), interrupted);
    assert!(told.hist(Metric::Response, Outcome::Interrupted).min_ns() >= 300_000_000);
    let p90 = told.reported(Metric::Response, 0.9);
    assert_eq!(p90.status, Status::AtLeast, "{p90:?}");
    assert!(p90.value_ns >= 1_000_000_000, "{p90:?}");
    assert!(told.measured.took < 6 * SECOND, "{:?}", told.measured.took);
}

#[test]
fn m13_shed_arrivals_are_shown_and_fail_the_run() {
    for unit in [Unit::Message, Unit::Session] {
        let mut plan = plan(vec![phase(rate(50.0), Some(SECOND), unit)]);
        plan.phases[0].max_sessions = 2;
        plan.phases[0].on_saturation = OnSaturation::Drop;
        plan.messages = smtpress::plan::Messages::Fixed(1);
        let told = run(&plan, delayed(|delays| delays.body = Delay::fixed(ms(200))));
        let shed = told.of(Outcome::Shed);
        assert!(shed >= 30, "{unit:?}: {:?}", told.counts());
        assert_eq!(told.of(Outcome::Accepted) + shed, 50);
        let result = told.verdict.results.iter().find(|result| result.expr == "shed == 0").unwrap();
        assert_eq!((result.status, &result.observed), (AssertionStatus::Fail, &shed.to_string()));
    }
}

#[test]
fn m15_each_phase_has_its_own_arrivals_and_nobody_elses() {
    let mut warm = phase(rate(50.0), Some(SECOND), Unit::Message);
    (warm.name, warm.warmup) = ("warm".into(), true);
    let steady = phase(rate(40.0), Some(SECOND), Unit::Message);
    let mut down = phase(sessions(&[(ms(0), 8.0), (ms(500), 0.0)], ms(10)), Some(ms(500)), Unit::Message);
    down.name = "down".into();
    let plan = plan(vec![warm, steady, down]);
    // The stall delays the arrivals of the warm-up until the next phase has started.
    let stall = Some(Stall { from: ms(600), length: SECOND });
    let told = run(&plan, Limits { stall, ..Limits::default() });
    let phases = &told.measured.tally.phases;
    let accepted = |n: usize| phases[n].counts.arrivals.of(Outcome::Accepted);
    assert_eq!((phases[0].counts.scheduled, accepted(0)), (50, 50));
    assert_eq!((phases[1].counts.scheduled, accepted(1)), (40, 40));
    for (n, phase) in phases.iter().enumerate() {
        let response = &phase.hists[&(Metric::Response, Outcome::Accepted)];
        assert_eq!(response.count(), accepted(n));
    }
    // The arrivals of the warm-up took nearly a second. Their times are in no other phase.
    let longest = [0, 1].map(|phase| phases[phase].hists[&(Metric::Response, Outcome::Accepted)].max_ns());
    assert!(longest[0] >= 700_000_000 && longest[1] < longest[0], "{longest:?}");
    told.below("M16: response max of the phase behind", longest[1] as f64 / 1e9, 0.85);
    assert_eq!(told.summary.measured_phases().count(), 2);
    assert_eq!(told.measured.windows, [SECOND, SECOND, ms(500)]);
}

#[test]
fn m18_a_percentile_needs_its_sample() {
    let told = run(&plan(vec![phase(rate(40.0), Some(SECOND), Unit::Message)]), Limits::default());
    let status = |q| told.reported(Metric::Response, q).status;
    assert_eq!(
        (status(0.5), status(0.9), status(0.99)),
        (Status::Exact, Status::NotAvailable, Status::NotAvailable)
    );
}

#[test]
fn m22_refusing_fast_makes_nothing_faster() {
    let plan = plan(vec![phase(rate(100.0), Some(SECOND), Unit::Message)]);
    let mut limits = delayed(|delays| delays.body = Delay::fixed(ms(100)));
    limits.replies = vec![Forced { step: Step::Mail, reply: "550 no".into(), probability: 0.7 }];
    let told = run(&plan, limits);
    let (accepted, rejected) = (told.of(Outcome::Accepted), told.of(Outcome::Rejected));
    assert!(accepted > 10 && rejected > accepted, "{:?}", told.counts());
    assert_eq!(accepted + rejected, 100);
    assert!(told.quantile(Metric::Response, 0.5) >= 0.1);
    assert!(told.hist(Metric::Response, Outcome::Accepted).min_ns() >= 100_000_000);
    assert!(told.hist(Metric::Response, Outcome::Rejected).min_ns() < 100_000_000);
}
