//! Repeats the measurement of a limit, and sets the verdict of its result.

use std::time::Duration;

use super::kind::LimitKind;
use super::prober::{Probed, Prober};
use super::result::{LimitResult, LimitVerdict};
use crate::condition::{Condition, Group};

/// The number of measurements of a limit.
const REPEATS: u64 = 3;
/// A measurement that takes longer is not repeated.
const LONG: Duration = Duration::from_secs(8);

/// The largest number of messages, recipients or errors in a search, whatever value is expected.
pub(super) const MOST: u64 = 100_000;

/// The result of one repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Repeat {
    /// The largest number that was served.
    pub(super) served: u64,
    /// Whether the next one was refused.
    pub(super) refused: bool,
}

/// Measures a limit, and repeats the measurement if it does not take longer than [`LONG`]. The first call of `measure`
/// writes to the result how the listener showed the limit.
pub(super) fn repeat(
    prober: &mut Prober<'_>,
    kind: LimitKind,
    result: &mut LimitResult,
    mut measure: impl FnMut(&mut Prober<'_>, &mut LimitResult, bool) -> Probed<Repeat>,
) -> Probed<()> {
    let start = prober.probes.now();
    let first = measure(prober, result, true)?;
    let took = prober.probes.now().saturating_sub(start);
    result.trials += 1;
    (result.looked, result.repeats) = (1, 1);
    if !first.refused {
        result.not_reached(first.served);
        result.judge(0);
        return Ok(());
    }
    result.exactly(first.served);
    let (mut low, mut high) = (first.served, first.served);
    if took > LONG {
        result.remark(format!("measured once only: it takes {} s", took.as_secs()));
    }
    while result.looked < REPEATS && took <= LONG {
        let again = measure(prober, result, false)?;
        result.trials += 1;
        result.looked += 1;
        if again == first {
            result.repeats += 1;
        }
        (low, high) = (low.min(again.served), high.max(again.served));
    }
    if result.repeats < result.looked {
        result.between(low, high, "the repeats differ");
        result.verdict = LimitVerdict::Unstable;
    }
    settle(kind, result, 0);
    Ok(())
}

/// Sets the verdict, unless there is one already. If the reply names another limit, that limit may be enforced first.
pub(super) fn settle(kind: LimitKind, result: &mut LimitResult, slack: u64) {
    let at = result.at_least;
    let other = other_limit(kind, result);
    // If all repeats are refused at the same count, this is the searched limit, whatever name the reply gives it.
    let repeated = result.looked >= REPEATS && result.repeats == result.looked;
    if let Some(other) = other.filter(|_| repeated) {
        result.remark(format!(
            "the reply names it {other}; it came at the same count in {0} of {0} repeats",
            result.repeats
        ));
    }
    if let (Some(other), Some(at)) = (other.filter(|_| !repeated), at) {
        result.hidden(at, format!("{other} is enforced first, at {at}"));
    } else if result.verdict == LimitVerdict::Obstructed {
        result.judge(slack);
    }
}

/// Returns the condition of another limit than the searched one, if the reply names such a limit.
pub(super) fn other_limit(kind: LimitKind, result: &LimitResult) -> Option<Condition> {
    let shown: Condition = result.condition.as_deref()?.parse().ok()?;
    let wanted = kind.condition()?;
    let general = matches!(
        shown,
        Condition::DeferredUnspecified
            | Condition::RejectedUnspecified
            | Condition::ConnectionDropped
            | Condition::TooManyConnections
    );
    let other = match shown.group() {
        // There was never more than one session, so this is a rate limit, whatever the reply says.
        Group::ConnectionLimit if wanted == Condition::ConnectionRateLimited => false,
        Group::Transport | Group::Protocol | Group::Generator => false,
        Group::Recipient | Group::Auth | Group::Tls => wanted.group() != shown.group(),
        _ => shown != wanted && !general,
    };
    other.then_some(shown)
}

/// Returns the upper end of a search: about twice the expected value, or `most` if no value is expected, but at most the
/// larger of `cap` and `most`.
pub(super) fn bound(expected: Option<u64>, most: u64, cap: u64) -> u64 {
    expected.map_or(most, |expected| expected.saturating_mul(2).saturating_add(10)).min(cap.max(most))
}
