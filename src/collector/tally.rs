//! The counts and distributions of one phase, and of all phases.
//!
//! Tallies can be added: those of workers to that of a run, those of seconds to a total, those of shards to the whole.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::ops::AddAssign;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::histogram::Hist;
use super::{Metric, Outcome};
use crate::condition::Condition;
use crate::smtp::{Enhanced, Step};

/// A count by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByOutcome([u64; Outcome::ALL.len()]);

impl ByOutcome {
    /// Adds 1 to the count of an outcome.
    pub fn add(&mut self, outcome: Outcome) {
        self.0[outcome.index()] += 1;
    }

    /// Adds a number to the count of an outcome.
    pub fn add_many(&mut self, outcome: Outcome, count: u64) {
        self.0[outcome.index()] += count;
    }

    /// Returns the count of one outcome.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.0[outcome.index()]
    }

    /// Returns the sum over all outcomes that are neither accepted nor expected.
    pub fn unexpected(&self) -> u64 {
        Outcome::ALL.into_iter().filter(|o| o.is_unexpected()).map(|o| self.of(o)).sum()
    }

    /// Returns the sum over the outcomes of messages that were given up: neither accepted nor expected, nor interrupted or
    /// shed.
    pub fn gave_up(&self) -> u64 {
        Outcome::ALL.into_iter().filter(|o| o.is_failure()).map(|o| self.of(o)).sum()
    }

    /// Returns the sum over all outcomes except `shed`.
    pub fn ended(&self) -> u64 {
        Outcome::ALL.into_iter().filter(|o| *o != Outcome::Shed).map(|o| self.of(o)).sum()
    }
}

/// The counts after the window of the phase, for the arrivals that were scheduled in it and for their transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// Arrivals started.
    pub started: u64,
    /// The outcomes of arrivals.
    pub arrivals: ByOutcome,
    /// Transactions started.
    pub attempted: u64,
    /// The outcomes of transactions.
    pub transactions: ByOutcome,
    /// Attempts that started and were not the first of their message.
    pub retries: u64,
    /// Messages that were accepted after an attempt in doubt.
    pub possibly_doubled: u64,
}

/// The attempts of messages that are tried again (`[session.retry]`); all counts are 0 if none are. An attempt is counted in
/// the phase of its message. [`Counts::arrivals`] are messages then. Each message ends once: by its last attempt, or as
/// interrupted if the run ended before its next attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryCounts {
    /// Attempts that started and were not the first of their message: attempts = [`Counts::started`] + retries.
    pub retries: u64,
    /// The outcomes of all attempts, first attempts included; their sum is the number of attempts.
    pub attempts: ByOutcome,
    /// Messages that were accepted after an attempt in doubt: the listener may have such a message twice.
    pub possibly_doubled: u64,
    /// Messages that were not kept for their next attempt, because too many waited.
    pub unkept: u64,
}

impl AddAssign<&RetryCounts> for RetryCounts {
    fn add_assign(&mut self, other: &RetryCounts) {
        self.retries += other.retries;
        Outcome::ALL
            .into_iter()
            .for_each(|outcome| self.attempts.add_many(outcome, other.attempts.of(outcome)));
        self.possibly_doubled += other.possibly_doubled;
        self.unkept += other.unkept;
    }
}

/// The counts of one phase. Arrivals are sessions or messages, by the unit of the phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Arrivals scheduled.
    pub scheduled: u64,
    /// Arrivals that started.
    pub started: u64,
    /// The outcomes of arrivals, `shed` included: scheduled = shed + started, and started = the sum of all other outcomes
    /// (M10).
    pub arrivals: ByOutcome,
    /// Transactions started (MAIL written).
    pub attempted: u64,
    /// The outcomes of transactions.
    pub transactions: ByOutcome,
    /// The part of `started`, `arrivals`, `attempted`, `transactions` and `retry` after the phase's window, which is in no
    /// rate (M21).
    pub drained: Drained,
    /// The attempts of messages that are tried again.
    pub retry: RetryCounts,
    /// Connections tried.
    pub opened: u64,
    /// Sessions that became ready to send.
    pub established: u64,
    /// Sessions that did not become ready, except by a failure of this machine.
    pub refused: u64,
    /// Ready sessions that the listener ended.
    pub closed_by_peer: u64,
    /// Pauses before a connection because the previous session failed.
    pub backoffs: u64,
    /// Failures of this machine (descriptors, ports, buffers, memory).
    pub own_failures: u64,
    /// Recipients that a 2yz reply accepted: the reply to RCPT, or with LMTP the reply to the content.
    pub recipients_accepted: u64,
    /// Recipients that another reply refused: a reply to RCPT, or with LMTP to the content.
    pub recipients_refused: u64,
    /// Accepted recipients whose delivery a receiver behind the relay awaits.
    pub awaited: u64,
    /// Recipients that were delivered for the first time.
    pub delivered: u64,
    /// Full TLS handshakes with a certificate that was not verified, and that a verification would not have trusted.
    pub untrusted: u64,
    /// TLS streams that the listener ended without close_notify (RFC 8446 6.1).
    pub truncated: u64,
    /// Sessions that sent HELO because EHLO was refused.
    pub helo_for_ehlo: u64,
    /// Connections without TCP_NODELAY, because this machine refused the option.
    pub without_no_delay: u64,
    /// Connections whose source address took a port for all targets at once, because this machine lacks
    /// IP_BIND_ADDRESS_NO_PORT.
    pub without_late_port: u64,
    /// Held sessions that this machine cannot watch, because it refuses TCP keepalive or TCP_USER_TIMEOUT.
    pub unwatched: u64,
    /// Bytes written.
    pub bytes_sent: u64,
    /// Bytes read.
    pub bytes_received: u64,
    /// The number of arrivals in flight, integrated over the phase's window, in nanoseconds (M20).
    pub in_flight_ns: u128,
    /// The sum of the setup and service times of ended arrivals, which Little's law compares with [`Counts::in_flight_ns`].
    pub service_ns: u128,
}

impl AddAssign<&Counts> for Counts {
    fn add_assign(&mut self, other: &Counts) {
        for outcome in Outcome::ALL {
            self.arrivals.0[outcome.index()] += other.arrivals.0[outcome.index()];
            self.transactions.0[outcome.index()] += other.transactions.0[outcome.index()];
            let (own, other) = (&mut self.drained, &other.drained);
            own.arrivals.0[outcome.index()] += other.arrivals.0[outcome.index()];
            own.transactions.0[outcome.index()] += other.transactions.0[outcome.index()];
        }
        self.retry += &other.retry;
        self.drained.started += other.drained.started;
        self.drained.attempted += other.drained.attempted;
        self.drained.retries += other.drained.retries;
        self.drained.possibly_doubled += other.drained.possibly_doubled;
        self.scheduled += other.scheduled;
        self.started += other.started;
        self.attempted += other.attempted;
        self.opened += other.opened;
        self.established += other.established;
        self.refused += other.refused;
        self.closed_by_peer += other.closed_by_peer;
        self.backoffs += other.backoffs;
        self.own_failures += other.own_failures;
        self.recipients_accepted += other.recipients_accepted;
        self.recipients_refused += other.recipients_refused;
        self.awaited += other.awaited;
        self.delivered += other.delivered;
        self.untrusted += other.untrusted;
        self.truncated += other.truncated;
        self.helo_for_ehlo += other.helo_for_ehlo;
        self.without_no_delay += other.without_no_delay;
        self.without_late_port += other.without_late_port;
        self.unwatched += other.unwatched;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.in_flight_ns += other.in_flight_ns;
        self.service_ns += other.service_ns;
    }
}

/// Once a phase has this many rows of conditions, new rows are counted without their reply codes. A listener that always
/// sends new codes must not fill the memory.
const MOST_ROWS: usize = 1000;
/// The length to which a sample is cut, in bytes.
const SAMPLE: usize = 4096;

/// The key of a row of the conditions table, within a phase.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConditionKey {
    /// The step.
    pub step: Step,
    /// The condition.
    pub condition: Condition,
    /// The reply's code, if the condition was a reply. The codes of a thousand rows of a phase are kept.
    pub code: Option<u16>,
    /// The reply's enhanced code, if the reply had one and its code is kept.
    pub enhanced: Option<Enhanced>,
    /// The outcome of the arrival or session.
    pub outcome: Outcome,
}

impl ConditionKey {
    /// Parses names from a file; `None`: a name is unknown, because the file is of another version.
    pub fn named(
        [step, condition, outcome]: [&str; 3],
        code: Option<u16>,
        enhanced: Option<&str>,
    ) -> Option<ConditionKey> {
        Some(ConditionKey {
            step: step.parse().ok()?,
            condition: condition.parse().ok()?,
            code,
            enhanced: enhanced.and_then(Enhanced::parse),
            outcome: outcome.parse().ok()?,
        })
    }
}

/// The counts of a condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionCount {
    /// The number of occurrences.
    pub count: u64,
    /// The number of occurrences after the window of the phase.
    pub drained: u64,
    /// The first occurrence, since the run's epoch.
    pub first: Duration,
    /// The last occurrence, since the run's epoch.
    pub last: Duration,
    /// The first reply of this kind as received (lines separated by `\n`), or a description; cut after 4 KiB.
    pub sample: String,
}

impl ConditionCount {
    fn new(at: Duration, late: bool, mut sample: String) -> ConditionCount {
        let kept = sample.floor_char_boundary(SAMPLE);
        if kept < sample.len() {
            let rest = sample.len() - kept;
            sample.truncate(kept);
            sample.push_str(&format!(" [{rest} more bytes]"));
            sample.shrink_to_fit();
        }
        ConditionCount { count: 1, drained: u64::from(late), first: at, last: at, sample }
    }

    fn merge(&mut self, other: &ConditionCount) {
        if other.first < self.first {
            self.first = other.first;
            self.sample.clone_from(&other.sample);
        }
        self.count += other.count;
        self.drained += other.drained;
        self.last = self.last.max(other.last);
    }
}

/// The refusals that an `[[expect]]` covered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covered {
    /// The number of refusals.
    pub count: u64,
    /// The number of refusals after the window of the phase.
    pub drained: u64,
}

impl AddAssign for Covered {
    fn add_assign(&mut self, other: Covered) {
        self.count += other.count;
        self.drained += other.drained;
    }
}

/// The largest number of target addresses that a phase counts separately. A name that always resolves to new addresses must
/// not fill the memory.
const MOST_ADDRESSES: usize = 100;

/// The connections to one address of the target.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AddressCount {
    /// Successful connections.
    pub sessions: u64,
    /// Failed connections, for any cause.
    pub failures: u64,
    /// The connect times of successful connections.
    pub connect: Hist,
}

/// The properties by which completed TLS handshakes are counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HandshakeKey {
    /// The version, as in `TLSv1.3`.
    pub version: String,
    /// The key-exchange group by its registered name; `None`: a resumption without a key exchange.
    pub group: Option<String>,
    /// Whether the handshake resumed an earlier session.
    pub resumed: bool,
}

/// All counts and distributions of one phase.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PhaseTally {
    /// The counts.
    pub counts: Counts,
    /// The distributions that hold at least one value. Outcomes never share a distribution (M22).
    pub hists: BTreeMap<(Metric, Outcome), Hist>,
    /// The conditions that occurred.
    pub conditions: BTreeMap<ConditionKey, ConditionCount>,
    /// The refusals that each `[[expect]]` of the profile covered, by its index.
    pub expects: BTreeMap<u32, Covered>,
    /// Completed TLS handshakes.
    pub handshakes: BTreeMap<HandshakeKey, u64>,
    /// The outcomes of messages that may be tried again, by the number of their attempts.
    pub attempts: BTreeMap<u32, ByOutcome>,
    /// Connections by address of the target; `None`: all addresses after the first hundred.
    pub addresses: BTreeMap<Option<SocketAddr>, AddressCount>,
}

impl PhaseTally {
    /// Counts a condition that occurred `at` this time since the run's epoch; `late`: after the window of the phase. `sample`
    /// is called only for the first condition with this key.
    pub fn condition(
        &mut self,
        key: ConditionKey,
        at: Duration,
        late: bool,
        sample: impl FnOnce() -> String,
    ) {
        match self.row(&key) {
            Entry::Occupied(entry) => {
                let row = entry.into_mut();
                row.count += 1;
                row.drained += u64::from(late);
                row.last = row.last.max(at);
            }
            Entry::Vacant(entry) => {
                entry.insert(ConditionCount::new(at, late, sample()));
            }
        }
    }

    /// Returns the entry for the connections to `address`.
    pub(super) fn address(
        &mut self,
        address: Option<SocketAddr>,
    ) -> Entry<'_, Option<SocketAddr>, AddressCount> {
        let full = self.addresses.len() >= MOST_ADDRESSES && !self.addresses.contains_key(&address);
        self.addresses.entry(if full { None } else { address })
    }

    /// Returns the entry of a condition.
    fn row(&mut self, key: &ConditionKey) -> Entry<'_, ConditionKey, ConditionCount> {
        let full = self.conditions.len() >= MOST_ROWS && !self.conditions.contains_key(key);
        let codes = if full { (None, None) } else { (key.code, key.enhanced) };
        self.conditions.entry(ConditionKey { code: codes.0, enhanced: codes.1, ..key.clone() })
    }
}

impl PhaseTally {
    /// Adds everything except `hists`.
    fn add_counts(&mut self, other: &PhaseTally) {
        self.counts += &other.counts;
        for (key, count) in &other.conditions {
            match self.row(key) {
                Entry::Occupied(entry) => entry.into_mut().merge(count),
                Entry::Vacant(entry) => drop(entry.insert(count.clone())),
            }
        }
        for (index, count) in &other.expects {
            *self.expects.entry(*index).or_default() += *count;
        }
        for (attempts, ends) in &other.attempts {
            let own = self.attempts.entry(*attempts).or_default();
            Outcome::ALL.into_iter().for_each(|outcome| own.add_many(outcome, ends.of(outcome)));
        }
        for (address, count) in &other.addresses {
            let own = self.address(*address).or_default();
            own.sessions += count.sessions;
            own.failures += count.failures;
            own.connect.merge(&count.connect);
        }
        for (key, count) in &other.handshakes {
            match self.handshakes.get_mut(key) {
                Some(own) => *own += count,
                None => drop(self.handshakes.insert(key.clone(), *count)),
            }
        }
    }
}

/// All counts and distributions of a second, a worker, a shard or a run, with one entry for each phase of the plan.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// The phases, in the order of the plan.
    pub phases: Vec<PhaseTally>,
}

impl AddAssign<&PhaseTally> for PhaseTally {
    fn add_assign(&mut self, other: &PhaseTally) {
        self.add_counts(other);
        for (key, hist) in &other.hists {
            self.hists.entry(*key).or_default().merge(hist);
        }
    }
}

impl Tally {
    /// Returns an empty tally for this many phases.
    pub fn new(phases: usize) -> Tally {
        Tally { phases: (0..phases).map(|_| PhaseTally::default()).collect() }
    }

    /// Adds everything except the distributions by metric, which take most of the time.
    pub fn add_counts(&mut self, other: &Tally) {
        for (own, other) in self.phases.iter_mut().zip(&other.phases) {
            own.add_counts(other);
        }
    }
}

impl AddAssign<&Tally> for Tally {
    fn add_assign(&mut self, other: &Tally) {
        for (own, other) in self.phases.iter_mut().zip(&other.phases) {
            *own += other;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_that_never_says_the_same_twice_fills_no_memory() {
        let key = |n: u16| ConditionKey {
            step: Step::Mail,
            condition: Condition::RejectedUnspecified,
            code: Some(500 + n % 100),
            enhanced: Some(Enhanced { class: 5, subject: Some(n / 100), detail: Some(n) }),
            outcome: Outcome::Rejected,
        };
        let at = Duration::from_secs;
        let (mut total, mut met) = (PhaseTally::default(), 0);
        for second in 0..50 {
            let mut tally = PhaseTally::default();
            for n in 0..1200 {
                tally.condition(key((second * 200 + n) % 10_000), at(second.into()), false, || {
                    "x".repeat(64 * 1024)
                });
                met += 1;
            }
            assert!(tally.conditions.len() <= MOST_ROWS + 1);
            total += &tally;
        }
        assert!(total.conditions.len() <= MOST_ROWS + 1);
        let rows = total.conditions.values();
        assert_eq!(rows.clone().map(|row| row.count).sum::<u64>(), met, "none is lost");
        assert!(rows.map(|row| row.sample.len()).all(|length| length < SAMPLE + 30));
        assert_eq!(total.conditions[&key(0)].first, at(0));
    }

    #[test]
    fn a_sample_is_cut_between_characters() {
        let row = ConditionCount::new(Duration::ZERO, false, ["x", &"é".repeat(3000)].concat());
        assert!(row.sample.ends_with("é [1906 more bytes]"), "{}", &row.sample[4000..]);
    }
}
