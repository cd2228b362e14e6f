//! The goal that a load must meet: which arrivals of a trial are bad, and how many may be bad.
//!
//! # Decisions
//! - An arrival is bad if it was not accepted (refused, failed, shed, interrupted), or if it took longer than the
//!   objective allows. `failures`, by default 0, is the share of the scheduled arrivals that need not be accepted.
//!   `response p99 < 500ms` allows 1 % of the scheduled arrivals to be bad, in addition to `failures`.
//! - The histogram knows a time to its bucket of 0.1 % only. An arrival in the bucket of the limit is not slow, unless the
//!   exact minimum or maximum shows that it is.
//! - A closed load of messages goes on with the sessions that it has when another one is refused, and no message fails. So a
//!   refused session is bad there, too, and the share of the opened sessions that were refused may be `failures` at most: else
//!   a listener that serves 50 sessions would carry a load of 800.
//! - No percentile is estimated. Bad arrivals are counted, so that a trial of any length has a result.

use serde::{Deserialize, Serialize};

use super::classify::TrialVerdict;
use crate::collector::tally::PhaseTally;
use crate::collector::{Metric, Outcome};
use crate::verdict::grammar::{Aggregate, Expr, Operator, Subject};

/// An objective that a load must meet.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    /// The name.
    pub name: String,
    /// The objective as it was written.
    pub objective: String,
    /// The share of arrivals that need not be accepted, 0 to 1.
    pub failures: f64,
    /// The time that the objective limits: response or service.
    metric: Metric,
    /// The limit of this time, in nanoseconds.
    limit_ns: u64,
    /// The longest allowed time, in nanoseconds.
    allowed_ns: u64,
    /// The share of arrivals that may be bad, 0 to 1.
    bad: f64,
    /// Whether a refused session is bad although no arrival failed with it (closed loads of messages).
    judges_sessions: bool,
}

/// Why an expression is not a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GoalError {
    /// The expression is not about a response or service time.
    #[error("a goal is about the response or service times of accepted arrivals")]
    Subject,
    /// The expression does not say which arrivals are bad.
    #[error("a goal limits a percentile or the maximum: a mean does not say which arrivals are bad")]
    Aggregate,
    /// The expression is not an upper limit.
    #[error("a goal is an upper limit")]
    Operator,
}

/// The result of a trial for a goal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoalVerdict {
    /// Whether the goal was met, the load was sustained, and the relay delivered everything.
    pub good: bool,
    /// Arrivals that were bad: not accepted, or too slow. In a trial that was ended early, arrivals after its end do not
    /// count.
    pub bad: u64,
    /// Bad arrivals that were not accepted, and sessions that were refused in a closed load of messages.
    pub failed: u64,
    /// The share of the scheduled arrivals (and refused sessions) that were bad.
    pub bad_share: f64,
    /// Whether the goal was met, but the trial is bad because its backlog, the relay's queue, or the difference between
    /// the offered and the accepted recipients grew.
    #[serde(default)]
    pub unsustained: bool,
    /// Whether the goal was met, but the trial is bad because an assertion about the deliveries failed.
    #[serde(default)]
    pub undelivered: bool,
}

impl From<GoalVerdict> for TrialVerdict {
    fn from(verdict: GoalVerdict) -> TrialVerdict {
        TrialVerdict { good: verdict.good, ratio: verdict.bad_share, doubtful: false }
    }
}

impl Goal {
    /// Creates a goal from an expression such as `response p99 < 500ms`. `failures` is a share from 0 to 1.
    ///
    /// # Errors
    /// The expression is not an upper limit of a percentile or maximum of response or service times.
    pub fn new(name: &str, expr: &Expr, failures: f64) -> Result<Goal, GoalError> {
        let metric = match &expr.subject {
            Subject::Latency(metric @ (Metric::Response | Metric::Service), Some(Outcome::Accepted)) => {
                *metric
            }
            _ => return Err(GoalError::Subject),
        };
        let slow = match expr.aggregate {
            Aggregate::Quantile(q) => 1.0 - q,
            Aggregate::Max => 0.0,
            _ => return Err(GoalError::Aggregate),
        };
        let limit_ns = expr.value as u64;
        let allowed_ns = match expr.operator {
            Operator::Less => limit_ns.saturating_sub(1),
            Operator::AtMost => limit_ns,
            _ => return Err(GoalError::Operator),
        };
        Ok(Goal {
            name: name.to_owned(),
            objective: expr.text.clone(),
            failures,
            metric,
            limit_ns,
            allowed_ns,
            bad: slow + failures,
            judges_sessions: false,
        })
    }

    /// Sets whether a refused session is bad although no arrival failed with it: for closed loads of messages.
    #[must_use]
    pub fn with_sessions(self, judges_sessions: bool) -> Goal {
        Goal { judges_sessions, ..self }
    }

    /// Returns the limit of the time, as it was written.
    pub fn limit(&self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.limit_ns)
    }

    /// Judges a complete trial.
    pub fn judge(&self, tally: &PhaseTally) -> GoalVerdict {
        let scheduled = tally.counts.scheduled;
        let accepted = tally.counts.arrivals.of(Outcome::Accepted);
        let bad = scheduled.saturating_sub(accepted - self.slow(tally).min(accepted));
        let failed = scheduled.saturating_sub(accepted);
        let are_sessions_served = within(self.refused_sessions(tally), self.failures, tally.counts.opened);
        let good = scheduled > 0 && are_sessions_served && self.allows(bad, failed, scheduled);
        self.verdict(good, (bad, failed, scheduled), tally)
    }

    /// Judges a trial in progress: returns a verdict only if the trial can no longer become good. `scheduled`: the total
    /// number of arrivals that the trial will have.
    pub fn is_lost(&self, tally: &PhaseTally, scheduled: u64) -> Option<GoalVerdict> {
        let arrivals = &tally.counts.arrivals;
        let accepted = arrivals.of(Outcome::Accepted);
        let failed = (arrivals.ended() + arrivals.of(Outcome::Shed)).saturating_sub(accepted);
        let bad = failed + self.slow(tally);
        let lost = scheduled > 0 && !self.allows(bad, failed, scheduled);
        lost.then(|| self.verdict(false, (bad, failed, scheduled), tally))
    }

    fn verdict(
        &self,
        good: bool,
        (bad, failed, scheduled): (u64, u64, u64),
        tally: &PhaseTally,
    ) -> GoalVerdict {
        let sessions = self.refused_sessions(tally);
        GoalVerdict {
            good,
            bad: bad + sessions,
            failed: failed + sessions,
            bad_share: share(bad + sessions, scheduled + sessions),
            unsustained: false,
            undelivered: false,
        }
    }

    fn allows(&self, bad: u64, failed: u64, scheduled: u64) -> bool {
        within(bad, self.bad, scheduled) && within(failed, self.failures, scheduled)
    }

    /// Returns the number of refused sessions, if they are bad.
    fn refused_sessions(&self, tally: &PhaseTally) -> u64 {
        if self.judges_sessions { tally.counts.refused } else { 0 }
    }

    /// Returns the number of accepted arrivals that certainly took too long.
    fn slow(&self, tally: &PhaseTally) -> u64 {
        tally.hists.get(&(self.metric, Outcome::Accepted)).map_or(0, |hist| hist.above(self.allowed_ns))
    }
}

/// Whether `count` is at most this share of the whole.
fn within(count: u64, share: f64, whole: u64) -> bool {
    // A share such as 1 - 0.99 has a rounding error.
    count as f64 <= share * whole as f64 * (1.0 + 1e-9)
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { (part as f64 / whole as f64).min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Assertion;

    fn goal(text: &str, failures: f64) -> Result<Goal, GoalError> {
        Goal::new("goal", &Assertion::parse(text).unwrap().expr, failures)
    }

    /// Returns a trial with these numbers of arrivals accepted quickly, accepted slowly (1 s), rejected, shed, and
    /// scheduled.
    fn tally(quick: u64, slow: u64, rejected: u64, shed: u64, scheduled: u64) -> PhaseTally {
        let mut tally = PhaseTally::default();
        tally.counts.scheduled = scheduled;
        for (count, outcome) in
            [(quick + slow, Outcome::Accepted), (rejected, Outcome::Rejected), (shed, Outcome::Shed)]
        {
            (0..count).for_each(|_| tally.counts.arrivals.add(outcome));
        }
        let hist = tally.hists.entry((Metric::Response, Outcome::Accepted)).or_default();
        (0..quick).for_each(|_| hist.record(1_000_000));
        (0..slow).for_each(|_| hist.record(1_000_000_000));
        tally
    }

    #[test]
    fn a_bad_arrival_was_not_accepted_or_was_too_slow() {
        let p99 = goal("response p99 < 500ms", 0.0).unwrap();
        let good = |quick, slow, rejected, shed| p99.judge(&tally(quick, slow, rejected, shed, 1000)).good;
        assert!(good(1000, 0, 0, 0) && good(990, 10, 0, 0), "1 % may be slow");
        assert!(!good(989, 11, 0, 0));
        assert!(!good(999, 0, 1, 0) && !good(999, 0, 0, 1), "none may fail, or be shed");
        assert!(!good(999, 0, 0, 0), "or be without an end");
        let lax = goal("response p99 < 500ms", 0.02).unwrap();
        assert!(lax.judge(&tally(970, 10, 15, 5, 1000)).good);
        assert!(!lax.judge(&tally(969, 10, 15, 6, 1000)).good, "2.1 % failed");
        let max = goal("service max <= 2s", 0.0).unwrap();
        assert!(max.judge(&tally(0, 10, 0, 0, 10)).good);
        assert!(!p99.judge(&tally(0, 0, 0, 0, 0)).good, "nothing is no proof");
        assert_eq!(
            p99.judge(&tally(900, 50, 30, 20, 1000)),
            GoalVerdict {
                good: false,
                bad: 100,
                failed: 50,
                bad_share: 0.1,
                unsustained: false,
                undelivered: false
            }
        );
    }

    #[test]
    fn a_closed_load_of_messages_is_not_good_without_its_sessions() {
        let judge = |failures: f64, refused: u64, opened: u64| {
            let mut tally = tally(1000, 0, 0, 0, 1000);
            (tally.counts.opened, tally.counts.refused) = (opened, refused);
            let verdict = |goal: Goal| goal.judge(&tally);
            let goal = || goal("response p99 < 500ms", failures).unwrap();
            assert!(verdict(goal()).good, "in an open load each refused session fails an arrival");
            let verdict = verdict(goal().with_sessions(true));
            (verdict.good, verdict.bad, verdict.failed)
        };
        assert_eq!(judge(0.0, 0, 50), (true, 0, 0));
        assert_eq!(judge(0.0, 1, 51), (false, 1, 1));
        assert_eq!(judge(0.02, 2, 100), (true, 2, 2));
        assert_eq!(judge(0.02, 3, 100), (false, 3, 3), "3 % of the sessions, and 0.3 % of the messages");
    }

    #[test]
    fn an_arrival_that_takes_just_the_limit_is_good_and_one_that_surely_takes_longer_is_not() {
        const TWO: u64 = 2_000_000_000;
        let bad = |text: &str, times: &[u64]| {
            let mut tally = tally(0, 0, 0, 0, times.len() as u64);
            (0..times.len()).for_each(|_| tally.counts.arrivals.add(Outcome::Accepted));
            let hist = tally.hists.get_mut(&(Metric::Response, Outcome::Accepted)).unwrap();
            times.iter().for_each(|ns| hist.record(*ns));
            goal(text, 0.0).unwrap().judge(&tally).bad
        };
        assert_eq!(bad("response max <= 2s", &[TWO; 10]), 0);
        assert_eq!(bad("response max < 2s", &[TWO; 10]), 10);
        assert_eq!(bad("response p99 < 2s", &[TWO, 5]), 1);
        // All these times are in the bucket of the limit, and only the least and the greatest one are known.
        assert_eq!(bad("response max <= 2s", &[TWO, TWO + 100_000]), 1, "the greatest time is exact");
        assert_eq!(bad("response max <= 2s", &[TWO + 1, TWO + 100_000]), 2, "as is the least one");
        assert_eq!(bad("response max <= 2s", &[TWO, TWO + 3_000_000]), 1);
        assert_eq!(goal("response max < 2s", 0.0).unwrap().limit().as_secs(), 2, "as it was written");
    }

    #[test]
    fn a_trial_is_lost_when_nothing_that_comes_can_make_it_good() {
        let p99 = goal("response p99 < 500ms", 0.0).unwrap();
        assert_eq!(p99.is_lost(&tally(300, 10, 0, 0, 310), 1000), None, "10 of 1,000 are allowed");
        let lost = p99.is_lost(&tally(300, 11, 0, 0, 311), 1000).unwrap();
        assert_eq!((lost.bad, lost.failed, lost.bad_share), (11, 0, 0.011));
        assert!(p99.is_lost(&tally(300, 0, 1, 0, 301), 1000).is_some(), "no failure is allowed");
    }

    #[test]
    fn what_is_no_upper_limit_of_a_time_is_no_goal() {
        for (text, expected) in [
            ("response p99 > 500ms", GoalError::Operator),
            ("response mean < 500ms", GoalError::Aggregate),
            ("step.body p99 < 1s", GoalError::Subject),
            ("response[rejected] p99 < 1s", GoalError::Subject),
            ("unexpected rate < 1%", GoalError::Subject),
        ] {
            assert_eq!(goal(text, 0.0).unwrap_err(), expected, "{text}");
        }
        assert_eq!(goal("p95 < 2s", 0.0).unwrap().limit().as_secs(), 2);
    }
}
