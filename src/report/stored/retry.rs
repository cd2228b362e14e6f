//! The attempts of messages that are tried again, in their stored form.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::collector::Outcome;
use crate::collector::summary::PhaseSummary;
use crate::collector::tally::{ByOutcome, PhaseTally};

/// The attempts of the messages of a phase that are tried again. When all attempts have ended, `attempts` = the started
/// messages + `retries` = the sum of `outcomes`. Each started message ends once: accepted, expected, given up or
/// pending.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Retry")]
pub struct StoredRetry {
    /// Attempts that started.
    pub attempts: u64,
    /// Attempts that were not the first of their message.
    pub retries: u64,
    /// Attempts for each started message; 0 if none started.
    pub amplification: f64,
    /// Messages that were given up: after their last attempt, or a 5yz reply.
    pub gave_up: u64,
    /// Messages without an end when the run ended: during an attempt, or before the next one. Equal to `interrupted`.
    pub pending: u64,
    /// Messages that were accepted after an attempt in doubt: the listener may have them twice.
    pub possibly_doubled: u64,
    /// The part of `retries` after the window of the phase, which is in no rate; `null` in results stored before this field
    /// existed.
    #[serde(default)]
    pub drained_retries: Option<u64>,
    /// The part of `possibly_doubled` after the window of the phase; `null` in results stored before this field existed.
    #[serde(default)]
    pub drained_possibly_doubled: Option<u64>,
    /// How the attempts ended.
    pub outcomes: StoredAttemptOutcomes,
    /// The messages by the number of their attempts.
    pub messages: Vec<StoredAttempts>,
}

/// How attempts ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AttemptOutcomes")]
pub struct StoredAttemptOutcomes {
    /// Attempts with a positive reply after the final dot.
    pub accepted: u64,
    /// Attempts with a refusal that the profile expects.
    pub expected: u64,
    /// Attempts that ended with a 4yz reply.
    pub deferred: u64,
    /// Attempts that ended with a 5yz reply.
    pub rejected: u64,
    /// Attempts that got no session.
    pub refused: u64,
    /// Attempts whose connection was lost.
    pub dropped: u64,
    /// Attempts that reached a time-out.
    pub timed_out: u64,
    /// Attempts whose connection was lost between the final dot and its reply.
    pub in_doubt: u64,
    /// Attempts in which the listener broke the protocol.
    pub malformed: u64,
    /// Attempts that were in flight when the run ended.
    pub interrupted: u64,
}

/// The messages that were tried this number of times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Attempts")]
pub struct StoredAttempts {
    /// The number of attempts.
    pub attempts: u32,
    /// Messages whose last attempt was accepted.
    pub accepted: u64,
    /// Messages whose last attempt got a refusal that the profile expects.
    pub expected: u64,
    /// Messages that were given up after these attempts.
    pub gave_up: u64,
    /// Messages without an end when the run ended.
    pub pending: u64,
}

/// Defines one table of fields and outcomes for the functions below.
macro_rules! outcomes {
    ($($field:ident $outcome:ident,)*) => {
        impl StoredAttemptOutcomes {
            fn of(ends: &ByOutcome) -> StoredAttemptOutcomes {
                StoredAttemptOutcomes { $($field: ends.of(Outcome::$outcome),)* }
            }

            fn count(&self, into: &mut ByOutcome) {
                $(into.add_many(Outcome::$outcome, self.$field);)*
            }

            fn add(&mut self, other: &StoredAttemptOutcomes) {
                $(self.$field += other.$field;)*
            }
        }
    };
}

outcomes! {
    accepted Accepted,
    expected Expected,
    deferred Deferred,
    rejected Rejected,
    refused Refused,
    dropped Dropped,
    timed_out TimedOut,
    in_doubt InDoubt,
    malformed Malformed,
    interrupted Interrupted,
}

impl StoredRetry {
    /// Returns the attempts of a phase whose messages are tried again.
    pub fn of(phase: &PhaseSummary) -> StoredRetry {
        let counts = &phase.counts;
        let row = |(attempts, ends): &(u32, ByOutcome)| StoredAttempts {
            attempts: *attempts,
            accepted: ends.of(Outcome::Accepted),
            expected: ends.of(Outcome::Expected),
            gave_up: ends.gave_up(),
            pending: ends.of(Outcome::Interrupted),
        };
        let attempts = counts.started + counts.retry.retries;
        StoredRetry {
            attempts,
            retries: counts.retry.retries,
            amplification: amplification(attempts, counts.retry.retries),
            gave_up: counts.arrivals.gave_up(),
            pending: counts.arrivals.of(Outcome::Interrupted),
            possibly_doubled: counts.retry.possibly_doubled,
            drained_retries: Some(counts.drained.retries),
            drained_possibly_doubled: Some(counts.drained.possibly_doubled),
            outcomes: StoredAttemptOutcomes::of(&counts.retry.attempts),
            messages: phase.attempts.iter().map(row).collect(),
        }
    }

    /// Adds the attempts of the same phase on another shard.
    pub fn add(&mut self, other: &StoredRetry) {
        self.attempts += other.attempts;
        self.retries += other.retries;
        self.amplification = amplification(self.attempts, self.retries);
        self.gave_up += other.gave_up;
        self.pending += other.pending;
        self.possibly_doubled += other.possibly_doubled;
        let sum = |one: Option<u64>, other: Option<u64>| one.zip(other).map(|(one, other)| one + other);
        self.drained_retries = sum(self.drained_retries, other.drained_retries);
        self.drained_possibly_doubled = sum(self.drained_possibly_doubled, other.drained_possibly_doubled);
        self.outcomes.add(&other.outcomes);
        for row in &other.messages {
            let at = self.messages.partition_point(|own| own.attempts < row.attempts);
            match self.messages.get_mut(at).filter(|own| own.attempts == row.attempts) {
                None => self.messages.insert(at, *row),
                Some(own) => {
                    own.accepted += row.accepted;
                    own.expected += row.expected;
                    own.gave_up += row.gave_up;
                    own.pending += row.pending;
                }
            }
        }
    }

    /// Adds the attempts to a tally, as far as assertions need them.
    pub fn count(&self, tally: &mut PhaseTally) {
        let retry = &mut tally.counts.retry;
        retry.retries += self.retries;
        retry.possibly_doubled += self.possibly_doubled;
        let drained = &mut tally.counts.drained;
        drained.retries += self.drained_retries.unwrap_or_default();
        drained.possibly_doubled += self.drained_possibly_doubled.unwrap_or_default();
        self.outcomes.count(&mut retry.attempts);
    }
}

fn amplification(attempts: u64, retries: u64) -> f64 {
    let messages = attempts.saturating_sub(retries);
    if messages == 0 { 0.0 } else { attempts as f64 / messages as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_add_up_by_the_number_of_attempts() {
        let shard = |attempts: u64, rows: &[(u32, u64)]| StoredRetry {
            attempts,
            retries: attempts - 10,
            messages: rows
                .iter()
                .map(|(attempts, accepted)| StoredAttempts {
                    attempts: *attempts,
                    accepted: *accepted,
                    ..StoredAttempts::default()
                })
                .collect(),
            ..StoredRetry::default()
        };
        let mut whole = shard(12, &[(1, 8), (2, 2)]);
        whole.add(&shard(38, &[(2, 4), (5, 6)]));
        assert_eq!((whole.attempts, whole.retries, whole.amplification), (50, 30, 2.5));
        let rows: Vec<_> = whole.messages.iter().map(|row| (row.attempts, row.accepted)).collect();
        assert_eq!(rows, [(1, 8), (2, 6), (5, 6)]);
    }
}
