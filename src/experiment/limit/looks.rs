//! Looking more than once: what one look saw, whether the others saw the same, and what is to be made of it.

use std::time::Duration;

use super::field::{Field, Found};
use super::finding::{Finding, Verdict};
use super::is_foreign;
use super::kind::LimitKind;

/// How often a limit is looked for.
const LOOKS: u64 = 3;
/// A look that takes longer is not repeated.
const LONG: Duration = Duration::from_secs(8);

/// No more messages, recipients or errors than this are counted in a search, whatever is expected.
pub(super) const MOST: u64 = 100_000;

/// What one look saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// The largest that was served.
    pub(super) served: u64,
    /// The next one was not.
    pub(super) bit: bool,
}

/// Looks, enters what was seen, and looks again if that does not take too long. `look` shows the limit in the finding when
/// it is the first.
pub(super) fn look(
    field: &mut Field<'_>,
    kind: LimitKind,
    finding: &mut Finding,
    mut look: impl FnMut(&mut Field<'_>, &mut Finding, bool) -> Found<Look>,
) -> Found<()> {
    let begun = field.probes.now();
    let first = look(field, finding, true)?;
    let took = field.probes.now().saturating_sub(begun);
    finding.trials += 1;
    (finding.looked, finding.repeats) = (1, 1);
    if !first.bit {
        finding.unmet(first.served);
        finding.judge(0);
        return Ok(());
    }
    finding.exactly(first.served);
    let (mut low, mut high) = (first.served, first.served);
    if took > LONG {
        finding.remark(format!("looked for once only: it takes {} s", took.as_secs()));
    }
    while finding.looked < LOOKS && took <= LONG {
        let again = look(field, finding, false)?;
        finding.trials += 1;
        finding.looked += 1;
        if again == first {
            finding.repeats += 1;
        }
        (low, high) = (low.min(again.served), high.max(again.served));
    }
    if finding.repeats < finding.looked {
        finding.between(low, high, "it was not the same each time");
        finding.verdict = Verdict::Unstable;
    }
    settle(kind, finding, 0);
    Ok(())
}

/// Gives the verdict, unless it is given; what showed may be another limit than the one that was looked for.
pub(super) fn settle(kind: LimitKind, finding: &mut Finding, slack: u64) {
    let met = finding.at_least;
    let other = is_foreign(kind, finding);
    // What comes again at the same count each time is the limit that is looked for, whatever it is called.
    let repeated = finding.looked >= LOOKS && finding.repeats == finding.looked;
    if let Some(other) = other.filter(|_| repeated) {
        finding.remark(format!(
            "the reply names it {other}; it came {0} of {0} times at the same count",
            finding.repeats
        ));
    }
    if let (Some(other), Some(met)) = (other.filter(|_| !repeated), met) {
        finding.hidden(met, format!("{other} was met first, at {met}"));
    } else if finding.verdict == Verdict::Obstructed {
        finding.judge(slack);
    }
}

/// How far is gone: beyond what is expected, or as far as may be; never beyond `cap`, which is what can be spent or held.
pub(super) fn bound(expected: Option<u64>, most: u64, cap: u64) -> u64 {
    expected.map_or(most, |expected| expected.saturating_mul(2).saturating_add(10)).min(cap.max(most))
}
