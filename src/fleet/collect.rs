//! Reads what the NATS server holds of a run that lost its coordinator: counts by shard.
//!
//! # Decisions
//! - Nothing is judged: only the coordinator knew the number of shards and checked the objectives. The result is what
//!   the agents counted in each second, and which seconds are missing.
//! - Nothing is removed: agents that return deliver more reports, and the run can be collected again.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::bus::StoredReport;
use super::gathering::FleetError;
use super::message::{FinalReport, SecondReport, decode};
use super::union::SecondsDigest;
use super::{Bus, BusAccess};
use crate::collector::Outcome;
use crate::collector::tally::Tally;

/// The reports of one agent about one shard.
#[derive(Debug, Default)]
struct ReportedShard {
    seconds: BTreeSet<u64>,
    counts: ArrivalCounts,
    /// The next second of the digest, and the reports that arrived before that second.
    digested: u64,
    early: BTreeMap<u64, Vec<u8>>,
    digest: SecondsDigest,
    end: Option<FinalReport>,
    unreadable: u64,
}

/// Counts of arrivals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ArrivalCounts {
    /// Arrivals that were scheduled.
    pub scheduled: u64,
    /// Arrivals that started.
    pub started: u64,
    /// Arrivals whose message the listener accepted.
    pub accepted: u64,
}

impl ArrivalCounts {
    fn add(&mut self, tally: &Tally) {
        for counts in tally.phases.iter().map(|phase| &phase.counts) {
            self.scheduled += counts.scheduled;
            self.started += counts.started;
            self.accepted += counts.arrivals.of(Outcome::Accepted);
        }
    }
}

/// The reports of one shard.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct CollectedShard {
    /// The number of the shard, from 0.
    pub shard: u32,
    /// The agent that reported it.
    pub agent: String,
    /// The reported seconds: the first and the last second of each stretch without a gap.
    pub seconds: Vec<(u64, u64)>,
    /// The number of seconds that the agent reported in total; `None`: its last report is missing.
    pub seconds_in_all: Option<u64>,
    /// Whether all seconds are reported and unchanged, and the load ended as planned.
    pub is_complete: bool,
    /// What is missing if the shard is not complete.
    pub missing: Option<String>,
    /// The sum of the reported seconds.
    #[serde(flatten)]
    pub counts: ArrivalCounts,
}

/// The reports of a run.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct CollectedRun {
    /// The run id.
    pub run: String,
    /// The shards that have reports; there may have been others.
    pub shards: Vec<CollectedShard>,
    /// The sum of their counts.
    #[serde(flatten)]
    pub counts: ArrivalCounts,
}

impl ReportedShard {
    fn take(&mut self, report: &StoredReport) {
        if report.is_last {
            match decode(&report.bytes) {
                Ok(end) => self.end = Some(end),
                Err(_) => self.unreadable += 1,
            }
            return;
        }
        let Ok(SecondReport { number, interval, .. }) = decode(&report.bytes) else {
            self.unreadable += 1;
            return;
        };
        // A report that was sent twice counts once.
        if !self.seconds.insert(number) {
            return;
        }
        self.counts.add(&interval.tally);
        self.early.insert(number, report.bytes.clone());
        while let Some(bytes) = self.early.remove(&self.digested) {
            self.digest.add(&bytes);
            self.digested += 1;
        }
    }

    fn missing(&self) -> Option<String> {
        match self.unreadable {
            0 => {}
            1 => return Some("1 report cannot be read: it is of another version".to_owned()),
            n => return Some(format!("{n} reports cannot be read: they are of another version")),
        }
        let Some(end) = &self.end else { return Some("the agent's last report".to_owned()) };
        let there = self.seconds.len() as u64;
        if there < end.seconds {
            return Some(format!("{} of {} seconds", end.seconds - there, end.seconds));
        }
        match &end.measured {
            Err(why) => Some(format!("the result of the load: {why}")),
            Ok(_) if self.digest.finish() != end.digest => {
                Some("no second is missing, but the reports are not those that the agent sent".to_owned())
            }
            Ok(_) if end.lease_over => Some(
                "the rest of the load: the agent ended it because the coordinator sent no message".to_owned(),
            ),
            Ok(_) if end.is_ended_there => {
                Some("the rest of the load: the agent was stopped on its own machine".to_owned())
            }
            Ok(measured) if measured.interrupted => Some("the rest of the load: it was stopped".to_owned()),
            Ok(_) => None,
        }
    }
}

/// Returns the stretches of seconds without a gap.
fn rows(numbers: &BTreeSet<u64>) -> Vec<(u64, u64)> {
    let mut rows: Vec<(u64, u64)> = Vec::new();
    for &number in numbers {
        match rows.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => rows.push((number, number)),
        }
    }
    rows
}

/// Adds up reports, in any order.
fn collected(run: &str, reports: impl IntoIterator<Item = StoredReport>) -> CollectedRun {
    let mut shards: BTreeMap<(u32, String), ReportedShard> = BTreeMap::new();
    for report in reports {
        shards.entry((report.shard, report.agent.clone())).or_default().take(&report);
    }
    let mut counts = ArrivalCounts::default();
    let shards: Vec<CollectedShard> = shards
        .into_iter()
        .map(|((shard, agent), own)| {
            counts.scheduled += own.counts.scheduled;
            counts.started += own.counts.started;
            counts.accepted += own.counts.accepted;
            let missing = own.missing();
            CollectedShard {
                shard,
                agent,
                seconds: rows(&own.seconds),
                seconds_in_all: own.end.as_ref().map(|end| end.seconds),
                is_complete: missing.is_none(),
                missing,
                counts: own.counts,
            }
        })
        .collect();
    CollectedRun { run: run.to_owned(), shards, counts }
}

/// Reads all reports of a run from the server.
///
/// # Errors
/// The server cannot be used.
pub fn collect(access: &BusAccess, run: &str) -> Result<CollectedRun, FleetError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let reports = runtime.block_on(async { Bus::connect(access).await?.kept(run).await })?;
    Ok(collected(run, reports))
}

/// Returns the runs whose reports the server holds, each with the number of its messages.
///
/// # Errors
/// The server cannot be used.
pub fn runs(access: &BusAccess) -> Result<BTreeMap<String, usize>, FleetError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(async { Bus::connect(access).await?.kept_runs().await })?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::collector::snapshot::{Gauges, Interval};
    use crate::fleet::message::encode;

    fn second(number: u64, accepted: u64) -> Vec<u8> {
        let mut tally = Tally::new(1);
        let counts = &mut tally.phases[0].counts;
        counts.scheduled = accepted + 1;
        counts.started = accepted;
        counts.arrivals.add_many(Outcome::Accepted, accepted);
        let interval = Interval {
            start: Duration::from_secs(number),
            length: Duration::from_secs(1),
            tally,
            transactions: Vec::new(),
            gauges: Gauges::default(),
        };
        encode(&SecondReport { number, interval, transcripts: Vec::new() })
    }

    fn report(shard: u32, agent: &str, is_last: bool, bytes: &[u8]) -> StoredReport {
        StoredReport { shard, agent: agent.to_owned(), is_last, bytes: bytes.to_vec() }
    }

    fn end(seconds: &[Vec<u8>], lease_over: bool) -> Vec<u8> {
        let mut digest = SecondsDigest::default();
        seconds.iter().for_each(|bytes| digest.add(bytes));
        encode(&FinalReport {
            seconds: seconds.len() as u64,
            digest: digest.finish(),
            measured: Ok(Box::default()),
            threads: 1,
            lease_over,
            is_ended_there: false,
        })
    }

    #[test]
    fn what_came_twice_or_out_of_order_counts_once_and_what_is_missing_is_said() {
        let seconds = [second(0, 3), second(1, 4), second(2, 5)];
        let run = collected(
            "r",
            [
                report(0, "a", false, &seconds[1]),
                report(0, "a", false, &seconds[0]),
                report(0, "a", false, &seconds[1]),
                report(0, "a", true, &end(&seconds[..2], false)),
                report(1, "b", false, &seconds[0]),
                report(1, "b", false, &seconds[2]),
                report(2, "c", false, &seconds[0]),
                report(2, "c", true, &end(&seconds, false)),
                report(3, "d", true, &end(&[], true)),
                report(4, "e", false, b"\x02nonsense"),
                report(5, "f", false, &second(0, 9)),
                report(5, "f", true, &end(&seconds[..1], false)),
            ],
        );
        assert_eq!(run.counts, ArrivalCounts { scheduled: 33, started: 27, accepted: 27 });
        let of = |at: usize| (&run.shards[at].seconds[..], run.shards[at].missing.as_deref());
        assert_eq!(of(0), (&[(0, 1)][..], None));
        assert_eq!(of(1), (&[(0, 0), (2, 2)][..], Some("the agent's last report")));
        assert_eq!(of(2), (&[(0, 0)][..], Some("2 of 3 seconds")));
        assert!(of(3).1.unwrap().contains("the coordinator sent no message"));
        assert!(of(4).1.unwrap().contains("another version"));
        assert!(of(5).1.unwrap().contains("not those that the agent sent"));
        assert!(run.shards.iter().all(|shard| shard.is_complete == (shard.agent == "a")));
    }
}
