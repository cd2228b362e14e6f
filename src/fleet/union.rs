//! Adds up the measurements of all agents: each second as it comes, and at the end the rest.
//!
//! # Decisions
//! - Counts and distributions are added, bucket by bucket: a percentile is never averaged (M17). The last report does
//!   not repeat the counts of the seconds, so that nothing is counted twice.
//! - A second is complete when every shard that is not lost has reported it or was over before. Later reports of a lost
//!   shard are added to the total, but not to a second that was already shown.
//! - The most sessions at once is the sum of the values of all agents. It is an upper bound: the peaks of the agents
//!   need not coincide.

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::collector::histogram::Hist;
use crate::collector::snapshot::{Gauges, Health, Hindrance, Interval, Measured};
use crate::collector::tally::Tally;
use crate::collector::work::Work;
use crate::collector::{Metric, Outcome};

/// The digest of a shard's seconds: of the bytes of all their reports in order.
#[derive(Clone, Debug, Default)]
pub struct SecondsDigest(Sha256);

impl SecondsDigest {
    /// Adds the bytes of the next report.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// Returns the digest.
    pub fn finish(&self) -> [u8; 32] {
        self.0.clone().finalize().into()
    }
}

/// The seconds of one shard.
#[derive(Debug, Default)]
struct SecondsOfShard {
    /// Seconds that arrived while an earlier second is missing.
    early: BTreeMap<u64, (Interval, Vec<u8>)>,
    /// Seconds that wait for the other shards.
    ready: BTreeMap<u64, Interval>,
    /// The number of seconds that arrived without a gap.
    next: u64,
    digest: SecondsDigest,
    /// The sum of the seconds that arrived without a gap.
    tally: Tally,
    /// The generator's lateness in the first second in which an arrival ended.
    first: Option<Hist>,
    /// The number of all seconds; `None`: not known yet.
    total: Option<u64>,
    lost: bool,
    /// The values of the shard that were returned with the seconds of the whole run.
    shown: ShownOfShard,
    /// The state at the end of the last second that arrived without a gap.
    gauges: Gauges,
}

/// The values of a shard that were returned with the seconds of the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShownOfShard {
    /// The number of scheduled arrivals.
    pub scheduled: u64,
    /// The number of started arrivals.
    pub started: u64,
    /// The number of accepted arrivals.
    pub accepted: u64,
    /// The number of sessions at the end of the last second.
    pub sessions: u64,
    /// The greatest lateness of the shard's generator in the last second.
    pub lag: Duration,
}

impl ShownOfShard {
    /// Adds the next second; `None`: the shard has no such second.
    fn add(&mut self, second: Option<&Interval>) {
        (self.sessions, self.lag) = (0, Duration::ZERO);
        let Some(second) = second else { return };
        for phase in &second.tally.phases {
            self.scheduled += phase.counts.scheduled;
            self.started += phase.counts.started;
            self.accepted += phase.counts.arrivals.of(Outcome::Accepted);
        }
        self.sessions = second.gauges.sessions;
        let hists = second.tally.phases.iter().flat_map(|phase| &phase.hists);
        let latest =
            hists.filter(|((metric, _), _)| *metric == Metric::Lag).map(|(_, own)| own.max_ns()).max();
        self.lag = Duration::from_nanos(latest.unwrap_or(0));
    }
}

/// The seconds of all shards.
#[derive(Debug)]
pub struct ShardsInStep {
    shards: Vec<SecondsOfShard>,
    /// The second that is returned next.
    second: u64,
    /// The sum of the reports that came after their second was returned.
    late: Tally,
}

impl ShardsInStep {
    /// Creates a union of this many shards and phases.
    pub fn new(shards: usize, phases: usize) -> ShardsInStep {
        ShardsInStep {
            shards: (0..shards)
                .map(|_| SecondsOfShard { tally: Tally::new(phases), ..SecondsOfShard::default() })
                .collect(),
            second: 0,
            late: Tally::new(phases),
        }
    }

    /// Takes a second of a shard, with the bytes of its report. A second that comes twice counts once.
    pub fn add(&mut self, shard: u32, number: u64, interval: Interval, bytes: Vec<u8>) {
        let Some(own) = self.shards.get_mut(shard as usize) else { return };
        // The second is a repetition: the first report with this number counts.
        if number < own.next || own.early.contains_key(&number) {
            return;
        }
        own.early.insert(number, (interval, bytes));
        while let Some((interval, bytes)) = own.early.remove(&own.next) {
            own.digest.add(&bytes);
            own.tally += &interval.tally;
            // The lateness is unknown until the first arrivals have ended.
            if own.first.is_none() {
                own.first = Some(lag(&interval.tally)).filter(|lag| lag.count() > 0);
            }
            own.gauges = interval.gauges;
            if own.next < self.second {
                self.late += &interval.tally;
            } else {
                own.ready.insert(own.next, interval);
            }
            own.next += 1;
        }
    }

    /// Whether this second of the shard came already.
    pub fn has(&self, shard: u32, number: u64) -> bool {
        self.shards
            .get(shard as usize)
            .is_some_and(|own| number < own.next || own.early.contains_key(&number))
    }

    /// Returns the sum of all seconds of a shard that came without a gap.
    pub fn tally(&self, shard: u32) -> Option<&Tally> {
        self.shards.get(shard as usize).map(|own| &own.tally)
    }

    /// Returns the generator's lateness in the shard's first second in which an arrival ended.
    pub fn first_lag(&self, shard: u32) -> Option<&Hist> {
        self.shards.get(shard as usize)?.first.as_ref()
    }

    /// Sets the number of all seconds of a shard.
    pub fn end(&mut self, shard: u32, total: u64) {
        if let Some(own) = self.shards.get_mut(shard as usize) {
            own.total = Some(total);
        }
    }

    /// Stops waiting for a shard.
    pub fn lose(&mut self, shard: u32) {
        if let Some(own) = self.shards.get_mut(shard as usize) {
            own.lost = true;
        }
    }

    /// Whether all seconds of the shard came, and their digest is this one.
    pub fn is_whole(&self, shard: u32, digest: &[u8; 32]) -> bool {
        self.shards
            .get(shard as usize)
            .is_some_and(|own| own.total == Some(own.next) && own.digest.finish() == *digest)
    }

    /// Whether all seconds of the shard came; `false` while their number is unknown.
    pub fn has_all(&self, shard: u32) -> bool {
        self.shards.get(shard as usize).is_some_and(|own| own.total.is_some_and(|total| own.next >= total))
    }

    /// Returns the next second of the whole run, once every shard has reported it, is lost, or was over before.
    pub fn next_second(&mut self) -> Option<Interval> {
        let second = self.second;
        let has_come = |own: &SecondsOfShard| {
            own.next > second || own.lost || own.total.is_some_and(|total| total <= second)
        };
        if !self.shards.iter().all(has_come) {
            return None;
        }
        let mut whole: Option<Interval> = None;
        for own in &mut self.shards {
            let part = own.ready.remove(&second);
            own.shown.add(part.as_ref());
            let Some(part) = part else { continue };
            match &mut whole {
                None => whole = Some(part),
                Some(whole) => add(whole, part),
            }
        }
        let whole = whole?;
        self.second += 1;
        Some(whole)
    }

    /// Returns the values of a shard that were returned with the seconds of the whole run.
    pub fn shown(&self, shard: u32) -> ShownOfShard {
        self.shards.get(shard as usize).map(|own| own.shown).unwrap_or_default()
    }

    /// Returns the sum of the reports that came after their second was returned.
    pub fn late(&self) -> &Tally {
        &self.late
    }

    /// Returns the sum of the states at the end of each shard's last second.
    pub fn gauges(&self) -> Gauges {
        let mut gauges = Gauges::default();
        self.shards.iter().for_each(|own| add_gauges(&mut gauges, own.gauges));
        gauges
    }
}

/// Returns the generator's lateness, of all phases and outcomes.
fn lag(tally: &Tally) -> Hist {
    let mut lag = Hist::default();
    let hists = tally.phases.iter().flat_map(|phase| &phase.hists);
    hists.filter(|((metric, _), _)| *metric == Metric::Lag).for_each(|(_, own)| lag.merge(own));
    lag
}

fn add(whole: &mut Interval, mut part: Interval) {
    whole.length = whole.length.max(part.length);
    whole.tally += &part.tally;
    whole.transactions.append(&mut part.transactions);
    add_gauges(&mut whole.gauges, part.gauges);
}

fn add_gauges(own: &mut Gauges, other: Gauges) {
    own.sessions += other.sessions;
    own.peak_sessions += other.peak_sessions;
    own.in_flight += other.in_flight;
    own.waiting += other.waiting;
    own.retrying += other.retrying;
    own.queued = match (own.queued, other.queued) {
        (None, None) => None,
        (one, two) => Some(one.unwrap_or(0) + two.unwrap_or(0)),
    };
}

/// Returns the measurement of all agents together. `tally`: the sum of all seconds. Each part carries the name of its
/// agent.
pub fn measured(parts: Vec<(String, Measured)>, tally: Tally) -> Measured {
    let phases = tally.phases.len();
    let mut whole = Measured { tally, ..Measured::default() };
    let of = |get: fn(&Measured) -> &Vec<Duration>, phase: usize| {
        parts.iter().filter_map(move |(_, part)| get(part).get(phase).copied())
    };
    for phase in 0..phases {
        let held_back = |part: &Measured| part.held_back.get(phase).copied().unwrap_or(false);
        // If one shard was held back, the load was not the planned one.
        whole.held_back.push(parts.iter().any(|(_, part)| held_back(part)));
        let start = of(|part| &part.starts, phase).min().unwrap_or_default();
        let window = of(|part| &part.windows, phase).max().unwrap_or_default();
        whole.starts.push(start);
        whole.windows.push(window);
        let last_end = |part: &Measured| {
            let at = |times: &Vec<Duration>| times.get(phase).copied().unwrap_or_default();
            at(&part.starts) + at(&part.windows) + at(&part.drained_for)
        };
        let last = parts.iter().map(|(_, part)| last_end(part)).max().unwrap_or_default();
        let latest = of(|part| &part.starts, phase).max().unwrap_or_default();
        whole.starts_apart.push(latest.saturating_sub(start));
        whole.drained_for.push(last.saturating_sub(start + window));
        let peak = |part: &Measured| part.peak_sessions.get(phase).copied().unwrap_or(0);
        whole.peak_sessions.push(parts.iter().map(|(_, part)| peak(part)).sum());
    }
    let work = |phase: usize| Work::together(parts.iter().map(|(_, part)| part.work.get(phase).cloned()));
    whole.work = (0..phases).map_while(work).collect();
    whole.began_at =
        parts.iter().map(|(_, part)| part.began_at).filter(|at| !at.is_zero()).min().unwrap_or_default();
    whole.took = parts.iter().map(|(_, part)| part.took).max().unwrap_or_default();
    whole.interrupted = parts.iter().any(|(_, part)| part.interrupted);
    whole.health = health(parts.iter().map(|(_, part)| &part.health), phases);
    for (agent, part) in parts {
        whole.backlog.add(part.backlog);
        whole.slices += &part.slices;
        let named = |(stem, text): (String, String)| (format!("{stem}-{agent}"), text);
        whole.transcripts.extend(part.transcripts.into_iter().map(named));
    }
    whole
}

/// Returns the health of all generators: the sums of cores, CPU seconds and lost workers, and the worst of every other
/// value.
fn health<'a>(parts: impl Iterator<Item = &'a Health> + Clone, phases: usize) -> Health {
    let most = |get: fn(&Health) -> f64| parts.clone().map(get).fold(0.0, f64::max);
    let hindrance = |phase: usize| {
        let own = parts.clone().filter_map(move |part| part.hindrances.get(phase).copied());
        own.reduce(Hindrance::worst).unwrap_or_default()
    };
    let saturated = |phase: usize| {
        parts.clone().filter_map(|part| part.cpu_saturated.get(phase).copied()).fold(0.0, f64::max)
    };
    Health {
        allowed_cores: parts.clone().map(|part| part.allowed_cores).sum(),
        hindrances: (0..phases).map(hindrance).collect(),
        cpu_share: most(|part| part.cpu_share),
        cpu_saturated: (0..phases).map(saturated).collect(),
        cpu_user_s: parts.clone().map(|part| part.cpu_user_s).sum(),
        cpu_system_s: parts.clone().map(|part| part.cpu_system_s).sum(),
        peak_descriptors: parts.clone().map(|part| part.peak_descriptors).max().unwrap_or(0),
        peak_rss_bytes: parts.clone().map(|part| part.peak_rss_bytes).max().unwrap_or(0),
        ports_used: parts.clone().map(|part| part.ports_used).max().unwrap_or(0),
        clock_drift_ns: parts.clone().map(|part| part.clock_drift_ns).max().unwrap_or(0),
        lost_workers: parts.map(|part| part.lost_workers).sum(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fleet::message::{SecondReport, decode, encode};

    fn second(number: u64, accepted: u64) -> Interval {
        let mut tally = Tally::new(1);
        tally.phases[0].counts.arrivals.add_many(Outcome::Accepted, accepted);
        let hist = tally.phases[0].hists.entry((Metric::Response, Outcome::Accepted)).or_default();
        (0..accepted).for_each(|n| hist.record(1000 + n));
        Interval {
            start: Duration::from_secs(number),
            length: Duration::from_secs(1),
            tally,
            transactions: Vec::new(),
            gauges: Gauges { sessions: 1, peak_sessions: 2, ..Gauges::default() },
        }
    }

    fn accepted(tally: &Tally) -> u64 {
        tally.phases[0].counts.arrivals.of(Outcome::Accepted)
    }

    #[test]
    fn a_second_is_whole_when_all_have_come_that_far() {
        let mut all = ShardsInStep::new(2, 1);
        all.add(0, 0, second(0, 3), vec![1]);
        assert!(all.next_second().is_none());
        // The seconds arrive out of order, one arrives twice, and one arrives with other contents under the same
        // number.
        all.add(1, 1, second(1, 7), vec![3]);
        all.add(1, 1, second(1, 9), vec![9]);
        assert!(all.next_second().is_none());
        all.add(1, 0, second(0, 4), vec![2]);
        all.add(1, 0, second(0, 4), vec![2]);
        let first = all.next_second().unwrap();
        assert_eq!((accepted(&first.tally), first.gauges.peak_sessions), (7, 4));
        let shown =
            |all: &ShardsInStep| [0, 1].map(|shard| (all.shown(shard).accepted, all.shown(shard).sessions));
        assert_eq!(shown(&all), [(3, 1), (4, 1)]);
        assert!(all.next_second().is_none());
        all.end(0, 1);
        assert_eq!(accepted(&all.next_second().unwrap().tally), 7);
        // The seconds of the shards match those of the whole, also for a shard that is over.
        assert_eq!(shown(&all), [(3, 0), (11, 1)]);
        all.end(1, 2);
        assert!(all.next_second().is_none() && all.has_all(0) && all.has_all(1));
        let mut digest = SecondsDigest::default();
        digest.add(&[2]);
        digest.add(&[3]);
        assert!(all.is_whole(1, &digest.finish()) && !all.is_whole(0, &digest.finish()));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

        /// For any values of any agents in any seconds: the sum of the seconds has the buckets, bounds and percentiles
        /// of one distribution of all values.
        #[test]
        fn m17_the_seconds_of_agents_add_up_to_the_histogram_of_the_union(
            values in prop::collection::vec((1_u64..u64::MAX / 1024, 0_usize..7, 0_usize..4), 1..200),
            agents in 1_usize..8,
        ) {
            let of = |hists: &Tally| hists.phases[0].hists[&(Metric::Response, Outcome::Accepted)].clone();
            let mut union = Hist::default();
            let mut seconds: Vec<Vec<Interval>> =
                (0..agents).map(|_| (0..4).map(|number| second(number, 0)).collect()).collect();
            for (value, agent, number) in values {
                union.record(value);
                let own = &mut seconds[agent % agents][number].tally.phases[0].hists;
                own.entry((Metric::Response, Outcome::Accepted)).or_default().record(value);
            }
            let (mut all, mut total) = (ShardsInStep::new(agents, 1), Tally::new(1));
            for (shard, own) in seconds.into_iter().enumerate() {
                for (number, interval) in own.into_iter().enumerate().rev() {
                    let report = SecondReport { number: number as u64, interval, transcripts: Vec::new() };
                    let bytes = encode(&report);
                    let SecondReport { number, interval, .. } = decode(&bytes).unwrap();
                    all.add(u32::try_from(shard).unwrap(), number, interval, bytes);
                }
            }
            while let Some(second) = all.next_second() {
                total += &second.tally;
            }
            let merged = of(&measured(Vec::new(), total).tally);
            prop_assert!(merged.buckets().eq(union.buckets()));
            prop_assert_eq!((merged.min_ns(), merged.max_ns()), (union.min_ns(), union.max_ns()));
            let qs = [0.5, 0.9, 0.95, 0.99, 0.999];
            for (one, other) in merged.quantiles(&qs).iter().zip(union.quantiles(&qs)) {
                prop_assert_eq!((one.value_ns, one.low_ns, one.high_ns), (other.value_ns, other.low_ns, other.high_ns));
            }
            prop_assert_eq!(merged, union);
        }
    }

    #[test]
    fn what_a_lost_shard_reports_late_is_counted_once() {
        let mut all = ShardsInStep::new(2, 1);
        all.add(0, 0, second(0, 3), vec![1]);
        all.lose(1);
        assert_eq!(accepted(&all.next_second().unwrap().tally), 3);
        all.add(1, 0, second(0, 4), vec![2]);
        all.add(1, 0, second(0, 4), vec![2]);
        assert_eq!(accepted(all.late()), 4);
        // The table of agents shows what was added to the whole; each part counts once.
        assert_eq!((accepted(all.tally(0).unwrap()), accepted(all.tally(1).unwrap())), (3, 4));
        assert!(all.has(1, 0) && !all.has(1, 1));
        all.end(1, 3);
        assert!(!all.has_all(1), "seconds are missing");
    }

    #[test]
    fn how_late_a_start_was_is_unknown_until_an_arrival_has_ended() {
        let mut all = ShardsInStep::new(1, 1);
        all.add(0, 0, second(0, 0), vec![1]);
        assert!(all.first_lag(0).is_none());
        for (number, late) in [(1, 316_000_000), (2, 1_000)] {
            let mut second = second(number, 1);
            second.tally.phases[0].hists.entry((Metric::Lag, Outcome::Accepted)).or_default().record(late);
            all.add(0, number, second, vec![2]);
        }
        assert!(all.first_lag(0).is_some_and(|lag| lag.max_ns() >= 316_000_000));
    }

    #[test]
    fn windows_are_the_longest_and_health_the_worst() {
        let s = Duration::from_secs;
        let part = |window: u64, drained: u64, share: f64| Measured {
            windows: vec![s(window)],
            starts: vec![s(0)],
            drained_for: vec![s(drained)],
            held_back: vec![false],
            peak_sessions: vec![5],
            health: Health { cpu_share: share, lost_workers: 1, ..Health::default() },
            transcripts: vec![("refused-1".into(), "S: 421".into())],
            ..Measured::default()
        };
        let whole =
            measured(vec![("a".into(), part(9, 4, 0.9)), ("b".into(), part(10, 1, 0.2))], Tally::new(1));
        assert_eq!((whole.windows[0], whole.drained_for[0], whole.peak_sessions[0]), (s(10), s(3), 10));
        assert_eq!((whole.health.cpu_share, whole.health.lost_workers), (0.9, 2));
        let stems: Vec<&str> = whole.transcripts.iter().map(|(stem, _)| stem.as_str()).collect();
        assert_eq!(stems, ["refused-1-a", "refused-1-b"]);
    }
}
