//! Adds deliveries to a stored run. The run then has the counts, times and verdict that it would have with a receiver.
//!
//! # Decisions
//! - Only assertions on deliveries are judged again, and only earlier counts and times of deliveries are replaced. The
//!   rest of the result stays as it was stored.
//! - The seconds are filled separately: see [`delivered_seconds`](super::delivered_seconds).

use std::time::Duration;

use super::merge::{info, seconds_of as seconds};
use super::stored::convert;
use super::stored::{
    RunResult, StoredAssertion, StoredAssertionStatus, StoredStatus, StoredVerdict, ValidityStatus,
};
use crate::collector::Metric;
use crate::collector::delivery::Delivered;
use crate::collector::snapshot::Measured;
use crate::collector::summary::{Code, PhaseInfo, Summary};
use crate::collector::tally::Tally;
use crate::verdict::grammar::Subject;
use crate::verdict::{Assertion, ExitCode, Verdict, Windows};

/// Returns the start and the end of each phase of a stored run, since the run's epoch.
pub fn windows(result: &RunResult) -> Vec<(Duration, Duration)> {
    let phase = |phase: &super::stored::StoredPhase| {
        let start = seconds(phase.start_s);
        (start, start + seconds(phase.window_s))
    };
    result.phases.iter().map(phase).collect()
}

/// Joins the run with its deliveries. `tally` holds the times of the deliveries, and `assertions` all assertions of the
/// profile.
pub fn join(result: &mut RunResult, delivered: Delivered, tally: Tally, assertions: &[Assertion]) {
    let infos: Vec<PhaseInfo> = result.phases.iter().map(info).collect();
    let windows = windows(result);
    let count = windows.len();
    let measured = Measured {
        tally,
        windows: windows.iter().map(|(from, to)| *to - *from).collect(),
        starts: windows.iter().map(|(from, _)| *from).collect(),
        held_back: vec![false; count],
        peak_sessions: vec![0; count],
        took: seconds(result.took_s),
        delivered: Some(Box::new(delivered)),
        ..Measured::default()
    };
    let summary = Summary::new(&measured, &infos);
    let delivered = measured.delivered.as_deref().expect("it was put there");
    for ((phase, of_phase), (from, to)) in result.phases.iter_mut().zip(&delivered.phases).zip(&windows) {
        phase.delivery = Some(convert::delivery::phase(of_phase, *to - *from));
    }
    result.delivery = Some(convert::delivery::of_run(delivered, &summary.phases));
    let of_relay =
        |name: &str| [Metric::Transit, Metric::Delivery].iter().any(|metric| metric.as_str() == name);
    result.metrics.retain(|metric| !of_relay(&metric.name));
    let rows = summary.phases.iter().enumerate().flat_map(|(i, phase)| convert::metrics(&measured, i, phase));
    result.metrics.extend(rows.filter(|metric| of_relay(&metric.name)));
    judge_validity(result, &summary);
    let remarks: Vec<String> =
        delivered.remarks.iter().filter(|remark| !result.warnings.contains(remark)).cloned().collect();
    result.warnings.extend(remarks);
    judge(result, &measured, &summary, assertions);
}

/// Replaces the reasons about an earlier receiver by those about this one.
fn judge_validity(result: &mut RunResult, summary: &Summary) {
    let own = [Code::ReceiverOverloaded, Code::DeliveriesIncomplete];
    let validity = &mut result.validity;
    let (codes, words) = (std::mem::take(&mut validity.reasons), std::mem::take(&mut validity.explanations));
    let is_own = |name: &str| own.iter().any(|code| code.as_str() == name);
    for (index, code) in codes.into_iter().enumerate().filter(|(_, code)| !is_own(code)) {
        validity.reasons.push(code);
        validity.explanations.extend(words.get(index).cloned());
    }
    for reason in summary.validity.reasons.iter().filter(|reason| own.contains(&reason.code)) {
        validity.reasons.push(reason.code.to_string());
        validity.explanations.push(reason.sentence.clone());
    }
    let is_valid = validity.reasons.is_empty();
    validity.status = if is_valid { ValidityStatus::Valid } else { ValidityStatus::Invalid };
}

/// Whether both are one assertion of the profile. One over windows, or one that aborts, is not the same one without.
fn is_same(known: &StoredAssertion, judged: &StoredAssertion) -> bool {
    let key = |own: &StoredAssertion| (own.builtin, own.abort, own.window_s);
    (&known.expr, &known.phase, key(known)) == (&judged.expr, &judged.phase, key(judged))
}

fn judge(result: &mut RunResult, measured: &Measured, summary: &Summary, assertions: &[Assertion]) {
    let is_about_relay = |assertion: &&Assertion| {
        let subject = &assertion.expr.subject;
        subject.is_behind_relay()
            || matches!(subject, Subject::Latency(Metric::Transit | Metric::Delivery, _))
    };
    let own: Vec<Assertion> = assertions.iter().filter(is_about_relay).cloned().collect();
    let judged = Verdict::judge(measured, summary, &[], &own, &Windows::default());
    for assertion in judged.results.iter().map(convert::assertion) {
        match result.assertions.iter_mut().find(|known| is_same(known, &assertion)) {
            Some(known) => *known = assertion,
            None => result.assertions.push(assertion),
        }
    }
    let holds = |status: &StoredAssertionStatus| *status == StoredAssertionStatus::Pass;
    let aborted_by = result.verdict.aborted_by.clone();
    let (status, code) = match result.verdict.status {
        known @ (StoredStatus::Interrupted | StoredStatus::NoData) => {
            (known, ExitCode::of(result.verdict.exit_code))
        }
        _ if result.validity.status == ValidityStatus::Invalid => (StoredStatus::Invalid, ExitCode::Invalid),
        _ if aborted_by.is_some() || !result.assertions.iter().all(|own| holds(&own.status)) => {
            (StoredStatus::Fail, ExitCode::Failed)
        }
        _ => (StoredStatus::Pass, ExitCode::Success),
    };
    result.verdict = StoredVerdict { status, exit_code: code.number(), aborted_by };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collector::Outcome;
    use crate::collector::delivery::PhaseDelivery;
    use crate::report::fixtures;

    #[test]
    fn times_of_a_changed_result_are_none_of_a_run() {
        let mut result = fixtures::accepted();
        (result.phases[0].start_s, result.phases[0].window_s) = (1e19, 1e19);
        assert_eq!(windows(&result), [(Duration::ZERO, Duration::ZERO)]);
    }

    #[test]
    fn an_assertion_over_windows_does_not_take_the_place_of_one_over_the_whole() {
        let whole = Assertion::parse("transit p50 < 1s").unwrap();
        let windowed = Assertion { window: Some(Duration::from_secs(10)), ..whole.clone() };
        let aborting = Assertion { abort: true, ..whole.clone() };
        let mut result = fixtures::accepted();
        let of_run = |assertion: &Assertion| StoredAssertion {
            expr: assertion.expr.text.clone(),
            phase: None,
            observed: "no values".to_owned(),
            status: StoredAssertionStatus::NoData,
            builtin: false,
            abort: assertion.abort,
            window_s: assertion.window.map(|window| window.as_secs_f64()),
            grace_s: None,
        };
        result.assertions = [&whole, &windowed, &aborting].map(of_run).to_vec();
        let mut tally = Tally::new(1);
        let times = tally.phases[0].hists.entry((Metric::Transit, Outcome::Accepted)).or_default();
        (0..100).for_each(|_| times.record(5_000_000));
        let delivered = Delivered { phases: vec![PhaseDelivery::default()], ..Delivered::default() };
        join(&mut result, delivered, tally, &[whole, windowed, aborting]);
        let judged: Vec<_> =
            result.assertions.iter().map(|own| (own.window_s, own.abort, own.status)).collect();
        let (pass, none) = (StoredAssertionStatus::Pass, StoredAssertionStatus::NoData);
        assert_eq!(judged, [(None, false, pass), (Some(10.0), false, none), (None, true, pass)]);
    }
}
