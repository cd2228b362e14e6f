//! Detects a listener that is silent at first: the connection is open, and neither a greeting nor a TLS handshake
//! follows. The likely causes are reported while the run is still in progress.
//!
//! # Decisions
//! - No connection is opened to find the cause: the listener would count this connection, and might have no room for it.

use std::time::Duration;

use super::Plan;
use crate::collector::snapshot::Interval;
use crate::collector::tally::Tally;
use crate::collector::{Metric, Outcome};
use crate::net::address::{Target, Transport};
use crate::smtp::Step;
use crate::smtp::script::TlsMode;

/// How long a first session may stay without an answer.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Watches for a first session that gets no answer.
#[derive(Debug)]
pub struct Lookout {
    step: Step,
    /// The start of the second in which the first connection was established, since the run's epoch.
    since: Option<Duration>,
    sentence: Option<String>,
}

impl Lookout {
    /// Creates a lookout for a run of `plan`.
    pub fn new(plan: &Plan) -> Lookout {
        let step = first_step(plan);
        Lookout { step, since: None, sentence: Some(sentence(&plan.target, step)) }
    }

    /// Processes the end of a second. `total` counts everything up to that time. Returns the sentence to report, at most
    /// once.
    pub fn second(&mut self, interval: &Interval, total: &Tally) -> Option<String> {
        if self.sentence.is_none() || !is_connected(total) {
            return None;
        }
        if is_answered(total, self.step) {
            self.sentence = None;
            return None;
        }
        let end = interval.start + interval.length;
        let since = *self.since.get_or_insert(interval.start);
        if end.saturating_sub(since) < PATIENCE { None } else { self.sentence.take() }
    }
}

/// Returns the remark for the report; `None` if an answer came in time, or if no connection was established.
pub fn remark(plan: &Plan, total: &Tally, took: Duration) -> Option<String> {
    let step = first_step(plan);
    let first = values(total, step).map(|hist| hist.min_ns()).min();
    let is_silent = first.map_or(took >= PATIENCE, |first| u128::from(first) >= PATIENCE.as_nanos());
    (is_connected(total) && is_silent).then(|| sentence(&plan.target, step))
}

/// Returns the first step after the connect for which a session waits.
pub fn first_step(plan: &Plan) -> Step {
    if plan.script.tls == TlsMode::Implicit { Step::Tls } else { Step::Greeting }
}

fn values(total: &Tally, step: Step) -> impl Iterator<Item = &crate::collector::histogram::Hist> {
    let of_step = move |metric: Metric| {
        metric == Metric::Step(step) || step == Step::Tls && metric == Metric::TlsResumed
    };
    let hists = total.phases.iter().flat_map(|phase| &phase.hists);
    hists.filter(move |((metric, _), hist)| of_step(*metric) && !hist.is_empty()).map(|(_, hist)| hist)
}

fn is_connected(total: &Tally) -> bool {
    let connect = (Metric::Step(Step::Connect), Outcome::Accepted);
    total.phases.iter().any(|phase| phase.hists.contains_key(&connect))
}

/// Whether the step ended in any session, with any outcome.
fn is_answered(total: &Tally, step: Step) -> bool {
    values(total, step).next().is_some()
}

/// Returns a sentence with the probable cause of the silence, and what to do.
pub fn sentence(target: &Target, step: Step) -> String {
    let silence = |what: &str| format!("connected, and no {what} came within {} s", PATIENCE.as_secs());
    let others = "other causes: the listener holds its greeting back, is full and lets connections wait, or expects a PROXY \
                  header (proxy in [target])";
    match (step, &target.transport) {
        (Step::Tls, _) => format!(
            "{}: if this port speaks in clear text first, use smtp:// with tls = \"starttls\"; {others}",
            silence("TLS handshake")
        ),
        (_, Transport::Tcp { host, port }) => {
            let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            let known = if *port == 465 { " (as port 465 does, RFC 8314)" } else { "" };
            format!(
                "{}: if this port speaks TLS from the first byte{known}, use smtps://{host}:{port}; {others}",
                silence("greeting")
            )
        }
        _ => format!("{}: {others}", silence("greeting")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collector::snapshot::Gauges;

    fn tally(values: &[(Step, Outcome, u64)]) -> Tally {
        let mut tally = Tally::new(1);
        for (step, outcome, ms) in values {
            let hist = tally.phases[0].hists.entry((Metric::Step(*step), *outcome)).or_default();
            hist.record(ms * 1_000_000);
        }
        tally
    }

    fn interval(second: u64) -> Interval {
        Interval {
            transactions: Vec::new(),
            start: Duration::from_secs(second),
            length: Duration::from_secs(1),
            tally: Tally::new(1),
            gauges: Gauges::default(),
        }
    }

    fn lookout(url: &str, step: Step) -> Lookout {
        Lookout { step, since: None, sentence: Some(sentence(&url.parse().unwrap(), step)) }
    }

    #[test]
    fn silence_is_reported_once_and_five_seconds_after_the_first_connection() {
        let mut lookout = lookout("smtp://127.0.0.1:465", Step::Greeting);
        let nothing = tally(&[]);
        let connected = tally(&[(Step::Connect, Outcome::Accepted, 1)]);
        let reported: Vec<bool> = (0..12)
            .map(|second| lookout.second(&interval(second), if second < 3 { &nothing } else { &connected }))
            .map(|sentence| sentence.is_some())
            .collect();
        assert_eq!(reported.iter().position(|reported| *reported), Some(7), "{reported:?}");
        assert_eq!(reported.iter().filter(|reported| **reported).count(), 1);
    }

    #[test]
    fn a_session_that_got_any_answer_is_not_reported() {
        for answer in [(Step::Greeting, Outcome::Accepted, 4900), (Step::Greeting, Outcome::Refused, 1)] {
            let mut lookout = lookout("smtp://127.0.0.1:25", Step::Greeting);
            let answered = tally(&[(Step::Connect, Outcome::Accepted, 1), answer]);
            assert!((0..20).all(|second| lookout.second(&interval(second), &answered).is_none()));
        }
    }

    #[test]
    fn the_cause_that_is_named_fits_the_target() {
        let of = |url: &str, step| sentence(&url.parse().unwrap(), step);
        assert!(of("smtp://mx.example:465", Step::Greeting).contains("smtps://mx.example:465"));
        assert!(of("smtp://[::1]:2525", Step::Greeting).contains("smtps://[::1]:2525"));
        assert!(of("smtps://mx.example:25", Step::Tls).contains("starttls"));
        assert!(!of("smtp+unix:/x", Step::Greeting).contains("smtps"));
    }
}
