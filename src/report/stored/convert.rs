//! Makes the result of a run from its plan, its measurement and its verdict.
//!
//! The conversion only copies values and computes names, units, dates and warnings.

mod capacity;
pub(in crate::report) mod delivery;
mod event;
mod found;
pub mod searched;

use std::collections::BTreeMap;
use std::time::Duration;

use super::json::MOST_INTEGER;
use super::{
    Address, Bytes, Generator, Percentile, PercentileStatus, Recipients, RunResult, StoredAssertion,
    StoredAssertionStatus, StoredCondition, StoredDrained, StoredMetric, StoredPhase, StoredProfile,
    StoredSessions, StoredStatus, StoredTls, StoredTransactions, StoredVerdict,
};
use crate::collector::Outcome;
use crate::collector::histogram::{self, Hist, Quantile, Status};
use crate::collector::snapshot::{Hindrance, Measured};
use crate::collector::summary::{self, Code, MetricRow, PhaseInfo, PhaseSummary, Summary};
use crate::collector::tally::Covered;
use crate::collector::work::Work;
use crate::condition::expect::Expect;
use crate::plan::{Plan, silence};
use crate::report::format;
use crate::verdict;

/// The first words of the warning about a shard that is shown alone.
pub const ALONE: &str = "this is one shard alone";

/// The input of a result.
#[derive(Clone, Debug)]
pub struct BuildInput<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The measurement. The distributions are taken from it.
    pub measured: &'a Measured,
    /// The summary, made from `measured`.
    pub summary: &'a Summary,
    /// The verdict.
    pub verdict: &'a verdict::Verdict,
    /// The profile's file, if there is one.
    pub profile_path: Option<String>,
    /// SHA-256 of the resolved profile, in hexadecimal.
    pub profile_sha256: String,
    /// SHA-256 of the resolved profile without the address of its target, in hexadecimal.
    pub load_sha256: String,
    /// SHA-256 of the whole schedule, in hexadecimal.
    pub schedule_sha256: String,
    /// When the run started, since the Unix epoch.
    pub started_at: Duration,
    /// The embedded listener's own counts.
    pub ledger: Option<serde_json::Value>,
}

/// The description of a run.
#[derive(Clone, Debug)]
pub struct RunDescription {
    /// The plan.
    pub plan: Plan,
    /// The phases, in the order of the plan.
    pub infos: Vec<PhaseInfo>,
    /// The assertions.
    pub assertions: Vec<verdict::grammar::Assertion>,
    /// The profile's file, if there is one.
    pub profile_path: Option<String>,
    /// SHA-256 of the resolved profile, in hexadecimal.
    pub profile_sha256: String,
    /// The resolved profile, as TOML.
    pub profile: String,
    /// When the run started, since the Unix epoch.
    pub started_at: Duration,
}

impl RunResult {
    /// Returns the result of a run in progress: the counts so far, without a verdict.
    pub fn so_far(run: &RunDescription, measured: &Measured) -> RunResult {
        let mut summary = Summary::new(measured, &run.infos);
        // Counts need not reconcile while arrivals are in flight, and a phase need not be steady before it is over.
        summary.validity.reasons.retain(|why| matches!(why.code, Code::GeneratorLag | Code::OwnResource));
        summary.warnings.clear();
        let windows = verdict::Windows::default();
        let verdict =
            verdict::Verdict::judge(measured, &summary, &run.plan.expects, &run.assertions, &windows);
        let mut result = RunResult::build(BuildInput {
            plan: &run.plan,
            measured,
            summary: &summary,
            verdict: &verdict,
            profile_path: run.profile_path.clone(),
            profile_sha256: run.profile_sha256.clone(),
            // The hash of the whole schedule takes time, and is only computed for the final result.
            schedule_sha256: String::new(),
            load_sha256: String::new(),
            started_at: run.started_at,
            ledger: None,
        });
        result.verdict.status = StoredStatus::NoData;
        result
    }

    /// Returns the result of one run.
    pub fn build(input: BuildInput<'_>) -> RunResult {
        let BuildInput { plan, measured, summary, verdict, .. } = input;
        let reasons = &summary.validity.reasons;
        let (codes, sentences) =
            reasons.iter().map(|reason| (reason.code.to_string(), reason.sentence.clone())).unzip();
        let times = [input.started_at, measured.took];
        let empty = searched::empty(plan, input.profile_path, input.profile_sha256, times);
        RunResult {
            load_began_at: (!measured.began_at.is_zero()).then(|| format::exact_timestamp(measured.began_at)),
            profile: StoredProfile {
                load_sha256: Some(input.load_sha256),
                schedule_sha256: input.schedule_sha256,
                ..empty.profile
            },
            shard: (plan.shard.of > 1)
                .then_some(super::StoredShard { index: plan.shard.index, of: plan.shard.of }),
            validity: searched::validity(codes, sentences),
            verdict: StoredVerdict {
                status: verdict.status.into(),
                exit_code: verdict.exit_code.number(),
                aborted_by: summary.aborted_by.clone(),
            },
            warnings: warnings(plan, measured, summary),
            phases: summary
                .phases
                .iter()
                .enumerate()
                .map(|(i, phase)| phase_counts(plan, measured, i, phase))
                .collect(),
            metrics: summary
                .phases
                .iter()
                .enumerate()
                .flat_map(|(i, phase)| metrics(measured, i, phase))
                .collect(),
            conditions: summary.conditions.iter().map(|row| condition(summary, row)).collect(),
            assertions: verdict.results.iter().map(assertion).collect(),
            events: summary.events.iter().map(event::event).collect(),
            agents: measured.agents.iter().map(super::agent::agent).collect(),
            generator: generator(plan, measured, summary),
            delivery: measured
                .delivered
                .as_ref()
                .map(|delivered| delivery::of_run(delivered, &summary.phases)),
            ledger: input.ledger,
            ..empty
        }
    }
}

/// Converts the work of a phase.
pub(in crate::report) fn work(work: &Work) -> super::StoredWork {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    super::StoredWork {
        unit: work.unit.as_str().to_owned(),
        asked: work.asked,
        done: work.done,
        short_since_ns: work.short_since.map(nanos),
        why: work.why.clone(),
    }
}

fn phase_counts(plan: &Plan, measured: &Measured, index: usize, phase: &PhaseSummary) -> StoredPhase {
    let counts = &phase.counts;
    let arrivals = |outcome| counts.arrivals.of(outcome);
    StoredPhase {
        name: phase.info.name.clone(),
        warmup: phase.info.warmup,
        model: plan.phases.get(index).map(|phase| phase.model.clone()).unwrap_or_default(),
        start_s: measured.starts.get(index).copied().unwrap_or_default().as_secs_f64(),
        window_s: phase.window.as_secs_f64(),
        unit: phase.info.unit.to_owned(),
        scheduled: counts.scheduled,
        shed: arrivals(Outcome::Shed),
        started: counts.started,
        accepted: arrivals(Outcome::Accepted),
        expected: arrivals(Outcome::Expected),
        deferred: arrivals(Outcome::Deferred),
        rejected: arrivals(Outcome::Rejected),
        refused: arrivals(Outcome::Refused),
        dropped: arrivals(Outcome::Dropped),
        timed_out: arrivals(Outcome::TimedOut),
        in_doubt: arrivals(Outcome::InDoubt),
        malformed: arrivals(Outcome::Malformed),
        interrupted: arrivals(Outcome::Interrupted),
        offered_per_s: finite(phase.offered_per_s),
        started_per_s: finite(phase.started_per_s),
        accepted_per_s: finite(phase.accepted_per_s),
        work: measured.work.get(index).map(work),
        drained: Some(drained(plan, phase)),
        transactions: transactions(counts.attempted, |outcome| counts.transactions.of(outcome)),
        sessions: StoredSessions {
            opened: counts.opened,
            established: counts.established,
            refused: counts.refused,
            closed_by_peer: counts.closed_by_peer,
            peak: phase.peak_sessions,
            backoffs: counts.backoffs,
        },
        recipients: Recipients { accepted: counts.recipients_accepted, refused: counts.recipients_refused },
        delivery: measured
            .delivered
            .as_ref()
            .and_then(|delivered| delivered.phases.get(index))
            .map(|of_phase| delivery::phase(of_phase, phase.window)),
        bytes: Bytes { sent: counts.bytes_sent, received: counts.bytes_received },
        tls: plan.speaks_tls().then(|| tls(measured, index)),
        expects: expects(plan, phase, |covered| covered.count),
        addresses: addresses(measured, index),
        retry: plan.retry.is_some().then(|| super::StoredRetry::of(phase)),
    }
}

/// The name that stands for all addresses after the hundredth.
const OTHERS: &str = "others";

/// Returns the addresses of a phase.
fn addresses(measured: &Measured, index: usize) -> Vec<Address> {
    let Some(tally) = measured.tally.phases.get(index) else { return Vec::new() };
    let row = |(address, count): (&Option<std::net::SocketAddr>, &_)| {
        let name = address.map_or_else(|| OTHERS.to_owned(), |address| address.to_string());
        let crate::collector::tally::AddressCount { sessions, failures, connect } = count;
        with_times(
            Address { address: name, sessions: *sessions, failures: *failures, ..Address::default() },
            connect,
        )
    };
    tally.addresses.iter().map(row).collect()
}

/// Returns the address with the distribution of its connect times.
pub(in crate::report) fn with_times(address: Address, connect: &Hist) -> Address {
    let median = connect.quantiles(&[0.5]).first().copied();
    Address {
        connect_p50_ns: median.filter(|p50| p50.status != Status::NotAvailable).map(|p50| p50.value_ns),
        hdr_base64: (!connect.is_empty()).then(|| connect.encode()),
        ..address
    }
}

/// Returns the counts after the phase's window.
fn drained(plan: &Plan, phase: &PhaseSummary) -> StoredDrained {
    let counts = &phase.counts.drained;
    let arrivals = |outcome| counts.arrivals.of(outcome);
    let ended = counts.arrivals.ended();
    StoredDrained {
        s: if ended > 0 { phase.drained_for.as_secs_f64() } else { 0.0 },
        started: counts.started,
        accepted: arrivals(Outcome::Accepted),
        expected: arrivals(Outcome::Expected),
        deferred: arrivals(Outcome::Deferred),
        rejected: arrivals(Outcome::Rejected),
        refused: arrivals(Outcome::Refused),
        dropped: arrivals(Outcome::Dropped),
        timed_out: arrivals(Outcome::TimedOut),
        in_doubt: arrivals(Outcome::InDoubt),
        malformed: arrivals(Outcome::Malformed),
        interrupted: arrivals(Outcome::Interrupted),
        transactions: transactions(counts.attempted, |outcome| counts.transactions.of(outcome)),
        expects: Some(expects(plan, phase, |covered| covered.drained)),
    }
}

/// Returns the transactions by outcome.
fn transactions(attempted: u64, of: impl Fn(Outcome) -> u64) -> StoredTransactions {
    StoredTransactions {
        attempted,
        accepted: of(Outcome::Accepted),
        expected: of(Outcome::Expected),
        deferred: of(Outcome::Deferred),
        rejected: of(Outcome::Rejected),
        dropped: of(Outcome::Dropped),
        timed_out: of(Outcome::TimedOut),
        in_doubt: of(Outcome::InDoubt),
        malformed: of(Outcome::Malformed),
        interrupted: of(Outcome::Interrupted),
    }
}

/// Returns how many refusals each `[[expect]]` covered, by the name that expressions use.
fn expects(plan: &Plan, phase: &PhaseSummary, of: fn(Covered) -> u64) -> BTreeMap<String, u64> {
    let covered = |index: usize| {
        let own = phase.expects.iter().find(|(own, _)| *own as usize == index);
        own.map_or(0, |(_, count)| of(*count))
    };
    let name = |(index, expect): (usize, &Expect)| (expect.name_at(index), covered(index));
    plan.expects.iter().enumerate().map(name).collect()
}

/// Returns the handshakes of a phase.
fn tls(measured: &Measured, index: usize) -> StoredTls {
    let mut tls = StoredTls::default();
    let Some(tally) = measured.tally.phases.get(index) else { return tls };
    tls.untrusted = tally.counts.untrusted;
    tls.truncated = tally.counts.truncated;
    for (key, count) in &tally.handshakes {
        let group = key.group.clone().unwrap_or_else(|| "none".to_owned());
        let version = tls.versions.entry(key.version.clone()).or_default();
        let group = tls.groups.entry(group).or_default();
        if key.resumed {
            tls.resumed += count;
            version.resumed += count;
            group.resumed += count;
        } else {
            tls.full += count;
            version.full += count;
            group.full += count;
        }
    }
    tls
}

/// Returns the warnings of a run.
fn warnings(plan: &Plan, measured: &Measured, summary: &Summary) -> Vec<String> {
    let mut warnings = summary.warnings.clone();
    warnings.extend(measured.delivered.iter().flat_map(|delivered| delivered.remarks.clone()));
    warnings.extend(plan.mail.passed_over());
    if plan.seed > MOST_INTEGER {
        warnings.push(format!(
            "the seed {} is above 2^53: jq, JavaScript and other readers of JSON round it; it is exact in profile.toml",
            plan.seed
        ));
    }
    warnings.extend(silence::remark(plan, &measured.tally, measured.took));
    if plan.shard.of > 1 {
        warnings.push(format!(
            "{ALONE} (--shard {}/{}): its counts and rates are a part of the run's; give the directories of all to `smtpress report`",
            plan.shard.index, plan.shard.of
        ));
    }
    if plan.speaks_tls() && !plan.tls.verify {
        let untrusted: u64 = summary.phases.iter().map(|phase| phase.counts.untrusted).sum();
        let found = match untrusted {
            0 => "none seen would have been refused".to_owned(),
            _ => format!("{} would have been refused", format::counted(untrusted, "full handshake")),
        };
        warnings.push(format!("THE LISTENER'S CERTIFICATE WAS NOT VERIFIED (verify = false): {found}"));
    }
    warnings.extend(summary.phases.iter().filter(|phase| phase.counts.backoffs > 0).map(|phase| {
        format!(
            "phase `{}` paused {} before it opened another session: {}; no pause is part of a response time",
            phase.info.name,
            format::counted(phase.counts.backoffs, "time"),
            plan.reconnect
        )
    }));
    warnings
}

/// Returns the distributions of a phase.
pub(in crate::report) fn metrics(
    measured: &Measured,
    index: usize,
    phase: &PhaseSummary,
) -> Vec<StoredMetric> {
    phase.metrics.iter().map(|row| metric(measured, index, phase, row)).collect()
}

fn metric(measured: &Measured, index: usize, phase: &PhaseSummary, row: &MetricRow) -> StoredMetric {
    let hist = measured.tally.phases.get(index).and_then(|tally| tally.hists.get(&(row.metric, row.outcome)));
    StoredMetric {
        phase: phase.info.name.clone(),
        name: row.metric.to_string(),
        outcome: row.outcome.to_string(),
        count: row.count,
        censored: row.censored,
        min_ns: row.min_ns,
        max_ns: row.max_ns,
        mean_ns: finite(row.mean_ns),
        percentiles: row.quantiles.iter().map(percentile).collect(),
        hdr_base64: hist.filter(|hist| !phase.info.warmup && !hist.is_empty()).map(|hist| hist.encode()),
    }
}

pub(in crate::report) fn percentile(quantile: &Quantile) -> Percentile {
    let status = match quantile.status {
        Status::Exact => PercentileStatus::Exact,
        Status::AtLeast => PercentileStatus::AtLeast,
        Status::NotAvailable => PercentileStatus::NotAvailable,
    };
    let known = |ns| (status != PercentileStatus::NotAvailable).then_some(ns);
    Percentile {
        q: quantile.q,
        value_ns: known(quantile.value_ns),
        low_ns: known(quantile.low_ns),
        high_ns: known(quantile.high_ns),
        status,
        needs: histogram::needed(quantile.q),
    }
}

fn condition(summary: &Summary, row: &summary::ConditionRow) -> StoredCondition {
    StoredCondition {
        phase: summary.phases.get(row.phase).map(|phase| phase.info.name.clone()).unwrap_or_default(),
        step: row.key.step.to_string(),
        condition: row.key.condition.to_string(),
        code: row.key.code,
        enhanced: row.key.enhanced.map(|enhanced| enhanced.to_string()),
        outcome: row.key.outcome.to_string(),
        expected: row.expected(),
        count: row.count,
        drained: Some(row.drained),
        first_s: row.first.as_secs_f64(),
        last_s: row.last.as_secs_f64(),
        sample: row.sample.clone(),
    }
}

/// Converts an assertion.
pub fn assertion(result: &verdict::AssertionResult) -> StoredAssertion {
    StoredAssertion {
        expr: result.expr.clone(),
        phase: result.phase.clone(),
        observed: result.observed.clone(),
        status: match result.status {
            verdict::AssertionStatus::Pass => StoredAssertionStatus::Pass,
            verdict::AssertionStatus::Fail => StoredAssertionStatus::Fail,
            verdict::AssertionStatus::NoData => StoredAssertionStatus::NoData,
            verdict::AssertionStatus::NotJudged => StoredAssertionStatus::NotJudged,
        },
        builtin: result.builtin,
        abort: result.abort,
        window_s: result.window.map(|window| window.as_secs_f64()),
        grace_s: Some(result.grace.as_secs_f64()),
    }
}

fn generator(plan: &Plan, measured: &Measured, summary: &Summary) -> Generator {
    let health = &summary.health;
    let started: u64 = summary.measured_phases().map(|phase| phase.counts.started).sum();
    Generator {
        cpu_share: finite(health.cpu_share),
        cpu_user_s: finite(health.cpu_user_s),
        cpu_system_s: finite(health.cpu_system_s),
        lag_p99_ns: (started > 0).then_some(summary.lag_p99_ns),
        peak_descriptors: health.peak_descriptors,
        peak_rss_bytes: health.peak_rss_bytes,
        ports_used: health.ports_used,
        threads: match measured.agents.iter().filter_map(|agent| agent.threads).sum() {
            0 => plan.threads,
            of_agents => of_agents,
        },
        // A change of the wall clock may be as large as months.
        clock_drift_ns: health.clock_drift_ns.min(MOST_INTEGER),
        own_failures: summary.phases.iter().map(|phase| phase.counts.own_failures).sum(),
        allowed_cores: finite(health.allowed_cores),
        ..Generator::default()
    }
    .with(summary.hindrance())
}

impl From<verdict::VerdictStatus> for StoredStatus {
    fn from(status: verdict::VerdictStatus) -> StoredStatus {
        match status {
            verdict::VerdictStatus::Pass => StoredStatus::Pass,
            verdict::VerdictStatus::Fail => StoredStatus::Fail,
            verdict::VerdictStatus::NoData => StoredStatus::NoData,
            verdict::VerdictStatus::Invalid => StoredStatus::Invalid,
            verdict::VerdictStatus::Interrupted => StoredStatus::Interrupted,
        }
    }
}

/// Returns the value, or 0 for infinity and NaN, which JSON does not have. So a rate over an empty window is 0.
pub(in crate::report) fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { 0.0 }
}

impl Generator {
    /// Adds the delays, stalls and waits of the load threads.
    #[must_use]
    pub fn with(self, hindrance: Option<Hindrance>) -> Generator {
        let Some(met) = hindrance else { return self };
        Generator {
            loop_delay_p99_ns: Some(met.loop_delay_p99_ns),
            loop_delay_max_ns: Some(met.loop_delay_max_ns),
            stalled_s: met.stalled.as_secs_f64(),
            cpu_wait_s: met.cpu_wait.as_secs_f64(),
            throttled_periods: met.throttled_periods,
            throttled_s: met.throttled.as_secs_f64(),
            stolen_s: met.stolen.as_secs_f64(),
            ..self
        }
    }
}

#[cfg(test)]
mod tests;
