//! Compares the deliveries of both sides. Every message that is lost, duplicated or altered is a fault: there is no
//! margin, and no test.
//!
//! # Decisions
//! - A fault that only the candidate has is a regression. A fault of both sides is undecided, whichever has more,
//!   because single losses do not show a rate. A fault that only the base has does not count as an improvement.
//! - A bounce is no fault by itself: the relay reported it, and the recipient may not exist. More bounces are judged by
//!   their share of the accepted recipients, with the margin of unexpected outcomes. The unit is the run, because the
//!   recipients of a run share one relay: each run of the candidate must have more than each run of the base.

use super::{Comparison, Judgement, Measure};

/// The faults of the deliveries of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryFaults {
    /// The accepted recipients.
    pub recipients: u64,
    /// The missing recipients.
    pub missing: u64,
    /// Deliveries beyond the first.
    pub duplicated: u64,
    /// Recipients whose message was altered.
    pub altered: u64,
    /// Recipients that were delivered although they were refused.
    pub unexpected: u64,
    /// Recipients that a notification reported as failed, and that were not delivered.
    pub bounced: u64,
}

impl DeliveryFaults {
    /// Returns the ends of the 95 % interval of the share of accepted recipients that bounce (A. Agresti, B. A. Coull
    /// 1998).
    fn bounced_share(&self) -> (f64, f64) {
        let recipients = self.recipients as f64 + 4.0;
        let share = (self.bounced as f64 + 2.0) / recipients;
        let half = 2.0 * (share * (1.0 - share).max(0.0) / recipients).sqrt();
        (share - half, share + half)
    }
}

/// Returns the sum over the runs of a side.
fn sum(runs: &[DeliveryFaults], count: fn(&DeliveryFaults) -> u64) -> u64 {
    runs.iter().map(count).sum()
}

/// Returns one of the counts of a run.
type FaultCount = fn(&DeliveryFaults) -> u64;

impl Comparison {
    /// Adds the deliveries of the runs of both sides. `None` means that a run of this side had no receiver.
    pub fn add_deliveries(&mut self, base: Option<&[DeliveryFaults]>, candidate: Option<&[DeliveryFaults]>) {
        let (base, candidate) = match (base, candidate) {
            (Some(base), Some(candidate)) => (base, candidate),
            (None, None) => return,
            (Some(_), None) | (None, Some(_)) => {
                self.notes.push("the deliveries of the relay are known for one side only".to_owned());
                return;
            }
        };
        let faults: [(&str, FaultCount); 4] = [
            ("missing", |run| run.missing),
            ("duplicated", |run| run.duplicated),
            ("altered", |run| run.altered),
            ("unexpected", |run| run.unexpected),
        ];
        for (name, count) in faults {
            let judgement = match (sum(base, count), sum(candidate, count)) {
                (0, 0) => continue,
                (0, _) => Some(Judgement::Regressed),
                (_, 0) => None,
                _ => Some(Judgement::Inconclusive),
            };
            self.add_fault(name, (base, candidate), count, judgement);
        }
        if sum(base, |run| run.bounced) + sum(candidate, |run| run.bounced) > 0 {
            self.add_fault("bounced", (base, candidate), |run| run.bounced, bounces(base, candidate));
        }
    }

    /// Adds the note on a kind of fault, and its judgement, if it has one.
    fn add_fault(
        &mut self,
        name: &str,
        (base, candidate): (&[DeliveryFaults], &[DeliveryFaults]),
        count: FaultCount,
        judgement: Option<Judgement>,
    ) {
        let of = |runs| (sum(runs, count), sum(runs, |run| run.recipients));
        let ((before, all_before), (now, all)) = (of(base), of(candidate));
        self.notes.push(format!(
            "{name}: {now} of {all} recipients of the candidate, {before} of {all_before} of the base"
        ));
        if self.judgement != Judgement::Regressed {
            self.judgement = judgement.unwrap_or(self.judgement);
        }
    }
}

/// Judges the bounces of the candidate; `None` if it does not have more than the base, or not by more than the margin.
fn bounces(base: &[DeliveryFaults], candidate: &[DeliveryFaults]) -> Option<Judgement> {
    let margin = Measure::UnexpectedRate.margin();
    let share = |runs| sum(runs, |run| run.bounced) as f64 / sum(runs, |run| run.recipients).max(1) as f64;
    if share(candidate) - share(base) <= margin {
        return None;
    }
    let most = base.iter().map(|run| run.bounced_share().1).fold(0.0, f64::max);
    let is_more = |run: &DeliveryFaults| run.bounced_share().0 - most > margin;
    Some(if candidate.iter().all(is_more) { Judgement::Regressed } else { Judgement::Inconclusive })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equivalent() -> Comparison {
        Comparison { runs: (4, 4), rows: Vec::new(), notes: Vec::new(), judgement: Judgement::Equivalent }
    }

    fn judged_runs(base: &[DeliveryFaults], candidate: &[DeliveryFaults]) -> (Judgement, usize) {
        let mut comparison = equivalent();
        comparison.add_deliveries(Some(base), Some(candidate));
        (comparison.judgement, comparison.notes.len())
    }

    fn judged(base: DeliveryFaults, candidate: DeliveryFaults) -> (Judgement, usize) {
        judged_runs(&[base], &[candidate])
    }

    #[test]
    fn a_loss_that_only_the_candidate_has_is_a_regression() {
        let whole = DeliveryFaults { recipients: 100_000, ..DeliveryFaults::default() };
        let lost = DeliveryFaults { missing: 1, ..whole };
        let doubled = DeliveryFaults { duplicated: 3, ..whole };
        assert_eq!(judged(whole, whole), (Judgement::Equivalent, 0));
        assert_eq!(judged(whole, lost), (Judgement::Regressed, 1));
        assert_eq!(judged(lost, whole), (Judgement::Equivalent, 1));
        assert_eq!(judged(lost, lost), (Judgement::Inconclusive, 1));
        assert_eq!(judged(lost, doubled), (Judgement::Regressed, 2));
        let both = DeliveryFaults { missing: 2, altered: 1, ..whole };
        assert_eq!(judged(lost, both), (Judgement::Regressed, 2));
        assert_eq!(
            judged(doubled, DeliveryFaults { duplicated: 1, unexpected: 1, ..whole }).0,
            Judgement::Regressed
        );
    }

    #[test]
    fn a_receiver_on_one_side_alone_decides_nothing_and_is_said() {
        let mut comparison = equivalent();
        comparison.add_deliveries(None, None);
        assert_eq!(comparison.notes.len(), 0);
        comparison.add_deliveries(Some(&[DeliveryFaults::default()]), None);
        assert_eq!((comparison.notes.len(), comparison.judgement), (1, Judgement::Equivalent));
    }

    #[test]
    fn more_bounces_of_the_candidate_are_no_equivalence() {
        let of = |bounced| DeliveryFaults { recipients: 100_000, bounced, ..DeliveryFaults::default() };
        assert_eq!(judged(of(0), of(90)), (Judgement::Equivalent, 1), "0.09 percentage points");
        assert_eq!(
            judged(of(30_000), of(30_050)),
            (Judgement::Equivalent, 1),
            "recipients that do not exist"
        );
        assert_eq!(judged(of(0), of(30_000)), (Judgement::Regressed, 1));
        assert_eq!(judged(of(1_000), of(30_000)), (Judgement::Regressed, 1), "both sides have some");
        assert_eq!(judged(of(30_000), of(0)), (Judgement::Equivalent, 1), "no improvement");
        // 0.12 percentage points are beyond the margin, and may be chance.
        assert_eq!(judged(of(1_000), of(1_120)), (Judgement::Inconclusive, 1));
        let few = |bounced| DeliveryFaults { recipients: 100, bounced, ..DeliveryFaults::default() };
        assert_eq!(judged(few(0), few(1)), (Judgement::Inconclusive, 1));
        // One run with an outage decides nothing.
        let outage = [of(0), of(0), of(0), of(30_000)];
        assert_eq!(judged_runs(&[of(0); 4], &outage), (Judgement::Inconclusive, 1));
        assert_eq!(judged_runs(&outage, &[of(500); 4]), (Judgement::Equivalent, 1));
        assert_eq!(judged_runs(&[of(0); 4], &[of(500); 4]), (Judgement::Regressed, 1));
    }
}
