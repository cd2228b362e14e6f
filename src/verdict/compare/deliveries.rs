//! Compares the deliveries of both sides. Every message that is lost, duplicated or altered is a fault: there is no
//! margin, and no test.
//!
//! # Decisions
//! - A fault that only the candidate has is a regression. A fault of both sides is undecided, whichever has more,
//!   because single losses do not show a rate. A fault that only the base has does not count as an improvement.

use super::{Comparison, Judgement};

/// The faults of the deliveries of one side, all runs together.
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
}

impl Comparison {
    /// Adds the deliveries of both sides. `None` means that a run of this side had no receiver.
    pub fn add_deliveries(&mut self, base: Option<DeliveryFaults>, candidate: Option<DeliveryFaults>) {
        let (base, candidate) = match (base, candidate) {
            (Some(base), Some(candidate)) => (base, candidate),
            (None, None) => return,
            (Some(_), None) | (None, Some(_)) => {
                self.notes.push("the deliveries of the relay are known for one side only".to_owned());
                return;
            }
        };
        let faults = [
            ("missing", base.missing, candidate.missing),
            ("duplicated", base.duplicated, candidate.duplicated),
            ("altered", base.altered, candidate.altered),
            ("unexpected", base.unexpected, candidate.unexpected),
        ];
        for (name, before, now) in faults {
            if before + now == 0 {
                continue;
            }
            self.notes.push(format!(
                "{name}: {now} of {} recipients of the candidate, {before} of {} of the base",
                candidate.recipients, base.recipients
            ));
            self.judgement = match (before, now) {
                (0, _) => Judgement::Regressed,
                (_, 0) => self.judgement,
                _ if self.judgement == Judgement::Regressed => Judgement::Regressed,
                _ => Judgement::Inconclusive,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(base: DeliveryFaults, candidate: DeliveryFaults) -> (Judgement, usize) {
        let mut comparison = Comparison {
            runs: (4, 4),
            rows: Vec::new(),
            notes: Vec::new(),
            judgement: Judgement::Equivalent,
        };
        comparison.add_deliveries(Some(base), Some(candidate));
        (comparison.judgement, comparison.notes.len())
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
        let mut comparison = Comparison {
            runs: (4, 4),
            rows: Vec::new(),
            notes: Vec::new(),
            judgement: Judgement::Equivalent,
        };
        comparison.add_deliveries(None, None);
        assert_eq!(comparison.notes.len(), 0);
        comparison.add_deliveries(Some(DeliveryFaults::default()), None);
        assert_eq!((comparison.notes.len(), comparison.judgement), (1, Judgement::Equivalent));
    }
}
