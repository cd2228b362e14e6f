//! Merges the parts of a result field by field: counts, conditions, the generator, the listener's ledger.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use std::time::Duration;

use crate::collector::Outcome;
use crate::collector::histogram::Hist;
use crate::collector::summary::per_second;
use crate::collector::tally::{Covered, PhaseTally};
use crate::collector::work::{Work, WorkUnit};
use crate::condition::expect::Expect;
use crate::report::stored::convert;
use crate::report::stored::{
    self, Address, Generator, Handshakes, Percentile, PercentileStatus, RunResult, StoredCondition,
    StoredDrained, StoredMetric, StoredPhase, StoredTls, StoredValidity, ValidityStatus,
};

/// Returns the phases of all shards. The window of a phase is the longest window of its shards.
pub fn phases(results: &[RunResult]) -> Vec<StoredPhase> {
    let mut whole = results[0].phases.clone();
    let mut together = work(results).into_iter();
    for result in &results[1..] {
        for (sum, part) in whole.iter_mut().zip(&result.phases) {
            add(sum, part);
        }
    }
    for phase in &mut whole {
        let window = Duration::try_from_secs_f64(phase.window_s).unwrap_or_default();
        phase.offered_per_s = per_second(phase.scheduled, window);
        phase.work = together.next().map(|work| convert::work(&work));
        let (started, accepted) =
            phase.drained.as_ref().map_or((0, 0), |drained| (drained.started, drained.accepted));
        phase.started_per_s = per_second(phase.started.saturating_sub(started), window);
        phase.accepted_per_s = per_second(phase.accepted.saturating_sub(accepted), window);
    }
    whole
}

/// Adds the fields of the same names.
macro_rules! add_fields {
    ($sum:expr, $part:expr; $($field:ident)*) => { $($sum.$field += $part.$field;)* };
}

fn add(sum: &mut StoredPhase, part: &StoredPhase) {
    add_fields!(sum, part; scheduled shed started accepted expected deferred rejected refused dropped timed_out in_doubt
        malformed interrupted);
    add_fields!(sum.transactions, part.transactions; attempted accepted expected deferred rejected dropped timed_out
        in_doubt malformed interrupted);
    // A value that is unknown in one part is unknown in the whole.
    sum.drained = sum.drained.take().zip(part.drained.as_ref()).map(|(sum, part)| drained(sum, part));
    add_fields!(sum.sessions, part.sessions; opened established refused closed_by_peer peak backoffs);
    add_fields!(sum.recipients, part.recipients; accepted refused);
    add_fields!(sum.bytes, part.bytes; sent received);
    sum.window_s = sum.window_s.max(part.window_s);
    add_named(&mut sum.expects, &part.expects);
    add_addresses(&mut sum.addresses, &part.addresses);
    if let Some(part) = &part.retry {
        sum.retry.get_or_insert_with(Default::default).add(part);
    }
    if let Some(part) = &part.tls {
        let sum = sum.tls.get_or_insert_with(StoredTls::default);
        add_fields!(sum, part; full resumed untrusted truncated);
        handshakes(&mut sum.versions, &part.versions);
        handshakes(&mut sum.groups, &part.groups);
    }
}

/// Adds the addresses of one shard's phase to those of the others.
fn add_addresses(sum: &mut Vec<Address>, part: &[Address]) {
    for part in part {
        let Some(own) = sum.iter_mut().find(|own| own.address == part.address) else {
            sum.push(part.clone());
            continue;
        };
        own.sessions += part.sessions;
        own.failures += part.failures;
        let times = |address: &Address| address.hdr_base64.as_deref().map(Hist::decode);
        let merged = match (times(own), times(part)) {
            (None, None) => Some(Hist::default()),
            (Some(Ok(one)), None) | (None, Some(Ok(one))) => Some(one),
            (Some(Ok(mut one)), Some(Ok(other))) => {
                one.merge(&other);
                Some(one)
            }
            // Without a readable distribution the median is unknown: medians are not averaged (M17).
            _ => None,
        };
        *own = convert::with_times(own.clone(), &merged.unwrap_or_default());
    }
}

/// Returns the work of a shard's phase; `None` if this version does not know the unit.
fn stored_work(own: &stored::StoredWork) -> Option<Work> {
    Some(Work {
        unit: WorkUnit::ALL.into_iter().find(|unit| unit.as_str() == own.unit)?,
        asked: own.asked,
        done: own.done,
        short_since: own.short_since_ns.map(Duration::from_nanos),
        why: own.why.clone(),
    })
}

/// Returns the work of all shards, by phase. Results of an older version have none.
pub fn work(results: &[RunResult]) -> Vec<Work> {
    let of_phase = |index: usize| {
        Work::together(
            results.iter().map(|result| result.phases.get(index)?.work.as_ref().and_then(stored_work)),
        )
    };
    (0..results[0].phases.len()).map_while(of_phase).collect()
}

fn handshakes(sum: &mut BTreeMap<String, Handshakes>, part: &BTreeMap<String, Handshakes>) {
    for (name, part) in part {
        add_fields!(sum.entry(name.clone()).or_default(), part; full resumed);
    }
}

fn drained(mut sum: StoredDrained, part: &StoredDrained) -> StoredDrained {
    sum.s = sum.s.max(part.s);
    add_fields!(sum, part; started accepted expected deferred rejected refused dropped timed_out in_doubt malformed
        interrupted);
    add_fields!(sum.transactions, part.transactions; attempted accepted expected deferred rejected dropped timed_out
        in_doubt malformed interrupted);
    sum.expects = sum.expects.take().zip(part.expects.as_ref()).map(|(mut sum, part)| {
        add_named(&mut sum, part);
        sum
    });
    sum
}

fn add_named(sum: &mut BTreeMap<String, u64>, part: &BTreeMap<String, u64>) {
    for (name, count) in part {
        *sum.entry(name.clone()).or_default() += count;
    }
}

/// Adds the counts of a stored phase to a tally.
pub fn count(tally: &mut PhaseTally, phase: &StoredPhase, expects: &[Expect]) {
    let counts = &mut tally.counts;
    counts.scheduled += phase.scheduled;
    counts.started += phase.started;
    counts.attempted += phase.transactions.attempted;
    let late = phase.drained.clone().unwrap_or_default();
    counts.drained.started += late.started;
    counts.drained.attempted += late.transactions.attempted;
    // A phase and its drained part have fields of the same names.
    macro_rules! by_outcome {
        ($arrivals:expr, $transactions:expr, $from:expr; $($outcome:ident $field:ident)*) => { $(
            $arrivals.add_many(Outcome::$outcome, $from.$field);
            $transactions.add_many(Outcome::$outcome, $from.transactions.$field);
        )* };
    }
    by_outcome!(counts.arrivals, counts.transactions, phase; Accepted accepted Expected expected Deferred deferred
        Rejected rejected Dropped dropped TimedOut timed_out InDoubt in_doubt Malformed malformed Interrupted interrupted);
    let drained = &mut counts.drained;
    by_outcome!(drained.arrivals, drained.transactions, late; Accepted accepted Expected expected Deferred deferred
        Rejected rejected Dropped dropped TimedOut timed_out InDoubt in_doubt Malformed malformed Interrupted interrupted);
    drained.arrivals.add_many(Outcome::Refused, late.refused);
    counts.arrivals.add_many(Outcome::Refused, phase.refused);
    counts.arrivals.add_many(Outcome::Shed, phase.shed);
    if let Some(retry) = &phase.retry {
        retry.count(tally);
    }
    for (index, expect) in (0_u32..).zip(expects) {
        let covered = |by_name: Option<&BTreeMap<String, u64>>| {
            expect.name.as_ref().and_then(|name| by_name?.get(name)).copied().unwrap_or(0)
        };
        *tally.expects.entry(index).or_default() +=
            Covered { count: covered(Some(&phase.expects)), drained: covered(late.expects.as_ref()) };
    }
}

/// Merges metrics without stored distributions: counts are added, extremes and means are exact, percentiles are unknown.
pub fn rough<'a>(metrics: impl Iterator<Item = &'a StoredMetric>) -> Vec<StoredMetric> {
    let mut whole: Vec<StoredMetric> = Vec::new();
    for part in metrics {
        let Some(sum) = whole.iter_mut().find(|sum| sum.name == part.name && sum.outcome == part.outcome)
        else {
            let unknown = |own: &Percentile| Percentile {
                value_ns: None,
                low_ns: None,
                high_ns: None,
                status: PercentileStatus::NotAvailable,
                ..*own
            };
            let percentiles = part.percentiles.iter().map(unknown).collect();
            whole.push(StoredMetric { percentiles, hdr_base64: None, ..part.clone() });
            continue;
        };
        let count = sum.count + part.count;
        if count > 0 {
            sum.mean_ns = (sum.mean_ns * sum.count as f64 + part.mean_ns * part.count as f64) / count as f64;
        }
        sum.count = count;
        sum.censored += part.censored;
        sum.min_ns = sum.min_ns.min(part.min_ns);
        sum.max_ns = sum.max_ns.max(part.max_ns);
    }
    whole
}

/// Returns the conditions of all shards, by phase, the most frequent first. Times are shifted as if each phase had
/// started in all shards when it started in the first shard.
pub fn conditions(results: &[RunResult]) -> Vec<StoredCondition> {
    let mut whole: Vec<StoredCondition> = Vec::new();
    let mut known = BTreeMap::new();
    for result in results {
        for row in &result.conditions {
            let start =
                |of: &RunResult| of.phases.iter().find(|p| p.name == row.phase).map_or(0.0, |p| p.start_s);
            let shift = start(result) - start(&results[0]);
            let (first_s, last_s) = (row.first_s - shift, row.last_s - shift);
            let StoredCondition { phase, step, condition, code, enhanced, outcome, .. } = row;
            match known.entry((phase, step, condition, code, enhanced, outcome)) {
                Entry::Occupied(at) => {
                    let own: &mut StoredCondition = &mut whole[*at.get()];
                    if first_s < own.first_s {
                        own.first_s = first_s;
                        own.sample.clone_from(&row.sample);
                    }
                    own.last_s = own.last_s.max(last_s);
                    own.count += row.count;
                    own.drained = own.drained.zip(row.drained).map(|(own, more)| own + more);
                }
                Entry::Vacant(new) => {
                    new.insert(whole.len());
                    whole.push(StoredCondition { first_s, last_s, ..row.clone() });
                }
            }
        }
    }
    let place = |row: &StoredCondition| results[0].phases.iter().position(|phase| phase.name == row.phase);
    whole.sort_by_key(|row| (place(row), std::cmp::Reverse(row.count)));
    whole
}

/// The start of a phase of a shard, since the Unix epoch.
struct PhaseBegin<'a> {
    at: Duration,
    /// Whether the start of the load is not stored. `at` then counts from the start of the run, and the phase started at
    /// that time or later.
    or_later: bool,
    shard: &'a RunResult,
}

impl PhaseBegin<'_> {
    /// Returns the start of a phase; `None` if it is not stored.
    fn of<'a>(shard: &'a RunResult, phase: &str) -> Option<PhaseBegin<'a>> {
        let phase = shard.phases.iter().find(|own| own.name == phase)?;
        let load = load_began(shard);
        let at = load.or_else(|| since_epoch(&shard.started_at))?;
        let at = at.checked_add(Duration::try_from_secs_f64(phase.start_s).ok()?)?;
        Some(PhaseBegin { at, or_later: load.is_none(), shard })
    }
}

/// Returns the start of a shard's load, since the Unix epoch; `None` if it is not stored.
fn load_began(shard: &RunResult) -> Option<Duration> {
    since_epoch(shard.load_began_at.as_deref()?)
}

fn since_epoch(stamp: &str) -> Option<Duration> {
    humantime::parse_rfc3339(stamp).ok()?.duration_since(std::time::UNIX_EPOCH).ok()
}

/// Returns the reason for invalidity, by name and in words, if the shards did not start a phase together.
fn apart(results: &[RunResult], max_skew: Duration) -> Option<(String, String)> {
    let phases = results[0].phases.iter().filter(|phase| !phase.warmup);
    let gap = |phase: &StoredPhase| {
        let began = || results.iter().filter_map(|shard| PhaseBegin::of(shard, &phase.name));
        // A start that is only known as "at some time or later" can be the latest, but never the earliest.
        let earliest = began().filter(|own| !own.or_later).min_by_key(|own| own.at)?;
        let latest = began().max_by_key(|own| own.at)?;
        Some((latest.at.saturating_sub(earliest.at), phase.name.clone(), earliest.shard, latest))
    };
    let (skew, phase, earliest, latest) = phases.filter_map(gap).max_by_key(|(skew, ..)| *skew)?;
    (skew > max_skew).then(|| {
        let length = |time: Duration| crate::report::format::duration(time.as_nanos() as f64);
        let sentence = format!(
            "{}phase {phase} began {}{} later than in {}{} are allowed (--max-skew): the shards were not one load; start them \
             all with the same --start-at, on machines whose clocks are set",
            of(latest.shard),
            if latest.or_later { "at least " } else { "" },
            length(skew),
            of(earliest).replace(": ", ", "),
            length(max_skew)
        );
        ("shards-apart".to_owned(), sentence)
    })
}

/// Returns the reasons of all shards, and a further reason if the shards did not start together.
pub fn validity(results: &[RunResult], max_skew: Duration) -> StoredValidity {
    let mut whole =
        StoredValidity { status: ValidityStatus::Valid, reasons: Vec::new(), explanations: Vec::new() };
    for result in results.iter().filter(|shard| shard.validity.status == ValidityStatus::Invalid) {
        whole.status = ValidityStatus::Invalid;
        for (i, reason) in result.validity.reasons.iter().enumerate() {
            let words = result.validity.explanations.get(i).cloned().unwrap_or_default();
            whole.reasons.push(reason.clone());
            whole.explanations.push(format!("{}{words}", of(result)));
        }
    }
    if let Some((reason, explanation)) = apart(results, max_skew) {
        whole.status = ValidityStatus::Invalid;
        whole.reasons.push(reason);
        whole.explanations.push(explanation);
    }
    whole
}

/// Returns the warnings of all shards, and warnings about values that are unknown after a merge.
pub fn warnings(results: &[RunResult]) -> Vec<String> {
    let tell = |result: &RunResult| {
        let of = of(result);
        let own = result.warnings.iter().filter(|warning| !warning.starts_with(convert::ALONE));
        own.map(move |warning| format!("{of}{warning}")).collect::<Vec<_>>()
    };
    let mut whole: Vec<String> = results.iter().flat_map(tell).collect();
    whole.push(format!(
        "merged from {} shards: the most sessions at once is the sum of theirs, which may not have been at the same time",
        results.len()
    ));
    let silent: Vec<String> = results
        .iter()
        .filter(|shard| load_began(shard).is_none())
        .map(|shard| of(shard).replace(": ", ""))
        .collect();
    if !silent.is_empty() {
        whole.push(format!(
            "whether the shards ran at the same time is not known: when the load began is not stored of {}",
            silent.join(", ")
        ));
    }
    whole
}

fn of(result: &RunResult) -> String {
    result.shard.map(|shard| format!("shard {}/{}: ", shard.index, shard.of)).unwrap_or_default()
}

/// Merges the health of the generators: CPU times, throttled times and counts are added; of peaks, shares, delays and waits
/// the largest is kept.
pub fn generator(results: &[RunResult], lag_p99_ns: u64) -> Generator {
    let mut whole = Generator::default();
    for part in results.iter().map(|shard| &shard.generator) {
        add_fields!(whole, part; cpu_user_s cpu_system_s ports_used threads own_failures allowed_cores throttled_periods
            throttled_s stolen_s);
        whole.loop_delay_p99_ns = whole.loop_delay_p99_ns.max(part.loop_delay_p99_ns);
        whole.loop_delay_max_ns = whole.loop_delay_max_ns.max(part.loop_delay_max_ns);
        whole.stalled_s = whole.stalled_s.max(part.stalled_s);
        whole.cpu_wait_s = whole.cpu_wait_s.max(part.cpu_wait_s);
        whole.cpu_share = whole.cpu_share.max(part.cpu_share);
        whole.peak_descriptors = whole.peak_descriptors.max(part.peak_descriptors);
        whole.peak_rss_bytes = whole.peak_rss_bytes.max(part.peak_rss_bytes);
        whole.clock_drift_ns = whole.clock_drift_ns.max(part.clock_drift_ns);
    }
    let measured = results.iter().any(|shard| shard.generator.lag_p99_ns.is_some());
    Generator { lag_p99_ns: measured.then_some(lag_p99_ns), ..whole }
}

/// Merges the ledgers of the embedded listeners, one for each shard; `None` if a shard has no ledger.
pub fn ledger(results: &[RunResult]) -> Option<serde_json::Value> {
    let ledgers: Option<Vec<serde_json::Value>> = results.iter().map(|shard| shard.ledger.clone()).collect();
    let mut whole = ledgers?.into_iter().reduce(|sum, part| sum_of(sum, part, false))?;
    leave_out_nulls(&mut whole);
    Some(whole)
}

/// Removes the fields without a value.
fn leave_out_nulls(value: &mut serde_json::Value) {
    if let serde_json::Value::Object(fields) = value {
        fields.retain(|_, field| !field.is_null());
        fields.values_mut().for_each(leave_out_nulls);
    }
}

/// Merges two values: numbers are added and the larger of two peaks is kept. Texts that differ become `null`, and stay so
/// whatever a further ledger has.
fn sum_of(sum: serde_json::Value, part: serde_json::Value, peak: bool) -> serde_json::Value {
    use serde_json::Value;
    match (sum, part) {
        (Value::Object(mut sum), Value::Object(part)) => {
            for (name, part) in part {
                let peak = peak || name.contains("peak");
                let own = sum.remove(&name);
                let both = match own {
                    Some(own) => sum_of(own, part, peak),
                    None => part,
                };
                sum.insert(name, both);
            }
            Value::Object(sum)
        }
        (Value::Number(a), Value::Number(b)) => match (a.as_u64(), b.as_u64()) {
            (Some(a), Some(b)) if peak => a.max(b).into(),
            (Some(a), Some(b)) => a.saturating_add(b).into(),
            _ => Value::Null,
        },
        (a, b) if a == b => a,
        _ => Value::Null,
    }
}
