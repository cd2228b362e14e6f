//! Converts the results of searches to their stored form.

use crate::experiment::capacity::describe::{Latency, Onset};
use crate::experiment::capacity::goal::GoalVerdict;
use crate::experiment::capacity::record::{TrialCondition, TrialFault, TrialRecord};
use crate::experiment::capacity::relayed::TrialDelivery;
use crate::experiment::capacity::sustained::{BacklogGrowth, Sustained};
use crate::experiment::limit::result::{LimitResult, LimitVerdict, ShownBy};
use crate::report::stored::{
    StoredBacklogGrowth, StoredGoalVerdict, StoredLatency, StoredLimit, StoredLimitVerdict, StoredOnset,
    StoredShownBy, StoredSustained, StoredTrial, StoredTrialCondition, StoredTrialDelivery, StoredTrialFault,
};

/// Copies the fields of the same names. Fields in braces are converted first.
macro_rules! carry {
    ($from:ident => $to:ident, $own:ident { $($inner:ident: $value:expr),* } $($field:ident)*) => {
        impl From<$from> for $to {
            fn from($own: $from) -> $to {
                $to { $($inner: $value,)* $($field: $own.$field,)* }
            }
        }
    };
}

/// Converts between two enums whose variants have the same names, both ways.
macro_rules! same_variants {
    ($one:ident, $other:ident: $($variant:ident)*) => {
        same_variants!(from $one $other $($variant)*);
        same_variants!(from $other $one $($variant)*);
    };
    (from $from:ident $to:ident $($variant:ident)*) => {
        impl From<$from> for $to {
            fn from(from: $from) -> $to {
                match from { $($from::$variant => $to::$variant,)* }
            }
        }
    };
}

carry!(LimitResult => StoredLimit, own { verdict: own.verdict.into(), shown_by: own.shown_by.map(Into::into) }
    name value at_least at_most unit expected reply code enhanced condition step closed inside_alive release_ms
    trials repeats looked inexact window_ms delay_ms remarks);

same_variants!(LimitVerdict, StoredLimitVerdict: AsExpected Differs NotReached Unstable NotEnforced Unsafe Found Obstructed);

same_variants!(ShownBy, StoredShownBy: Reply Reset Close NoGreeting NoConnect);

impl StoredLimit {
    /// Whether the limit fails the run: see [`LimitVerdict::fails`].
    pub fn fails(&self) -> bool {
        LimitVerdict::from(self.verdict).fails(self.expected.is_some())
    }
}

carry!(TrialRecord => StoredTrial, own { invalid: own.invalid.into_iter().map(Into::into).collect(), goals: own.goals.into_iter().map(Into::into).collect(), conditions: own.conditions.into_iter().map(Into::into).collect(), backlog: own.backlog.map(Into::into), delivery: own.delivery.map(Into::into) }
    number load length_s why began_s ended_early scheduled started accepted shed offered_per_s accepted_per_s
    concurrency peak_sessions p50_ns p90_ns p99_ns max_ns cooldown_s backlog_left);

carry!(TrialDelivery => StoredTrialDelivery, own { queue_growth: own.queue.map(Into::into), shortfall: own.shortfall.map(Into::into) }
    accepted delivered bounced missing duplicated altered unexpected foreign queued_at_end queued_max drain_s is_queue_left failed);

carry!(TrialFault => StoredTrialFault, own {}
    code sentence);

carry!(TrialCondition => StoredTrialCondition, own {}
    condition step code count expected sample);

carry!(GoalVerdict => StoredGoalVerdict, own {}
    good bad failed bad_share unsustained undelivered);

carry!(BacklogGrowth => StoredBacklogGrowth, own { verdict: own.verdict.into() }
    per_s low_per_s high_per_s needed_s);

same_variants!(Sustained, StoredSustained: Sustained Unsustained Undecided);

carry!(Latency => StoredLatency, own {}
    share load p50_ns p99_ns);

carry!(Onset => StoredOnset, own { met: own.met.into() }
    from not_at);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_limit_fails_where_the_found_one_does_and_is_named_as_stored() {
        for verdict in [
            LimitVerdict::AsExpected,
            LimitVerdict::Differs,
            LimitVerdict::NotReached,
            LimitVerdict::Unstable,
            LimitVerdict::NotEnforced,
            LimitVerdict::Unsafe,
            LimitVerdict::Found,
            LimitVerdict::Obstructed,
        ] {
            for expected in [None, Some(50)] {
                let found = LimitResult { verdict, expected, ..LimitResult::default() };
                let stored = StoredLimit::from(found.clone());
                assert_eq!(stored.fails(), found.fails(), "{found:?}");
                assert_eq!(LimitVerdict::from(stored.verdict), verdict);
                assert_eq!(serde_json::to_value(stored.verdict).unwrap(), stored.verdict.as_str());
            }
        }
    }
}
