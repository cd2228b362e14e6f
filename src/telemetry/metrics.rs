//! The metrics of a run for monitoring systems: the current values, and the only table of names, units and labels.
//!
//! `prometheus` and `otlp` write the metrics. Both use the table, so that their metrics cannot differ. `buckets` turns a
//! distribution into buckets.
//!
//! # Decisions
//! - Names follow Prometheus' conventions (base units, `_total`, `_info`). A metric that is not counted by phase has no
//!   label `phase`. The names of durations are those of [`Metric`]. All steps are one family with a label `step`.
//! - A condition belongs to a step and an outcome, not to a transaction: a session may be refused before it has one. So
//!   conditions have a family of their own, and the sum over a family counts nothing twice.
//! - The number of series is bounded. Outcomes, steps and conditions are closed sets. The collector merges codes after
//!   a thousand rows for each phase. The text of a reply is never a label.
//! - The agents of a fleet have families of their own, with the label `agent`. All other families are sums over the
//!   whole run. The number of values of the label is bounded (`agents`).
//! - The counts of a phase exist from the start as zeros, so that a rate includes the first event. Conditions and
//!   distributions appear with their first value.

mod agents;
pub mod buckets;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::RunEvent;
use crate::collector::histogram::Hist;
use crate::collector::snapshot::Gauges;
use crate::collector::tally::{ByOutcome, Counts, PhaseTally, Tally};
use crate::collector::{Metric, Outcome};
use crate::report::RunDescription;
use agents::AgentSeries;

/// The prefix of the names of the steps' metrics.
const STEP: &str = "step.";

/// The facts about a run that are known before the run starts.
#[derive(Clone, Debug)]
pub struct RunInfo {
    /// The identifier of the run, as in its messages.
    pub run_id: String,
    /// The profile's name.
    pub profile: String,
    /// The seed of all randomness.
    pub seed: u64,
    /// The names of the phases, in order.
    pub phases: Vec<String>,
    /// When the run started, since the Unix epoch.
    pub started_at: Duration,
}

impl RunInfo {
    /// Creates the facts from the description of a run.
    pub fn new(run: &RunDescription) -> RunInfo {
        let plan = &run.plan;
        RunInfo {
            run_id: plan.run_id.clone(),
            profile: plan.name.clone(),
            seed: plan.seed,
            phases: plan.phases.iter().map(|phase| phase.name.clone()).collect(),
            started_at: run.started_at,
        }
    }
}

/// The values of a run so far.
#[derive(Clone, Debug)]
pub struct RunMetrics {
    info: RunInfo,
    tally: Tally,
    gauges: Gauges,
    agents: Vec<AgentSeries>,
    /// The time of the values, since the run's epoch.
    at: Duration,
    /// The exit code; `None` while the run is in progress.
    over: Option<u8>,
}

impl RunMetrics {
    /// Creates the metrics with all values zero.
    pub fn new(info: RunInfo) -> RunMetrics {
        let tally = Tally::new(info.phases.len());
        RunMetrics {
            info,
            tally,
            gauges: Gauges::default(),
            agents: Vec::new(),
            at: Duration::ZERO,
            over: None,
        }
    }

    /// Adds an event of the run.
    pub fn hear(&mut self, events: &RunEvent) {
        match events {
            RunEvent::Second(interval) => {
                self.tally += &interval.tally;
                self.gauges = interval.gauges;
                self.at = interval.start + interval.length;
            }
            RunEvent::Agents(agents) => self.agents = AgentSeries::of(agents),
            // No metric is about the commands of events.
            RunEvent::Commands(_) => {}
            RunEvent::Over(result) => {
                self.at = self.at.max(Duration::try_from_secs_f64(result.took_s).unwrap_or_default());
                self.over = Some(result.verdict.exit_code);
                AgentSeries::end(&mut self.agents, &result.agents);
            }
        }
    }

    /// Whether the run is over, so that the values are final.
    pub fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// Returns the facts that were known before the run.
    pub fn info(&self) -> &RunInfo {
        &self.info
    }

    /// Returns the time of the values, since the Unix epoch.
    pub fn time(&self) -> Duration {
        self.info.started_at + self.at
    }

    /// Returns the distributions that hold values: phase, metric, outcome.
    fn spreads(&self) -> impl Iterator<Item = (&str, Metric, &'static str, &Hist)> {
        self.phases().flat_map(|(phase, tally)| {
            let spreads = tally.hists.iter().filter(|(_, hist)| !hist.is_empty());
            spreads.map(move |((metric, outcome), hist)| (phase, *metric, outcome.as_str(), hist))
        })
    }

    /// Returns the phases with their names.
    fn phases(&self) -> impl Iterator<Item = (&str, &PhaseTally)> {
        self.info.phases.iter().map(String::as_str).zip(&self.tally.phases)
    }
}

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A value that only grows.
    Counter,
    /// A value that rises and falls.
    Gauge,
    /// A distribution of durations.
    Histogram,
    /// A constant 1 whose labels describe the run.
    Info,
}

/// The unit of a family that has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricUnit {
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

impl MetricUnit {
    /// Returns the unit as part of a metric's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            MetricUnit::Seconds => "seconds",
            MetricUnit::Bytes => "bytes",
        }
    }
}

/// One row of the table.
#[derive(Debug)]
pub struct MetricFamily {
    /// The name, without unit and without `_total` or `_info`.
    pub name: &'static str,
    /// The unit.
    pub unit: Option<MetricUnit>,
    /// The type.
    pub kind: MetricKind,
    /// The meaning, in one sentence.
    pub help: &'static str,
    /// The names of the labels of its series.
    pub labels: &'static [&'static str],
    read: Read,
}

/// The source of the series of a family.
#[derive(Debug)]
enum Read {
    /// One series for each phase.
    ByPhase(fn(&Counts) -> u64),
    /// One series for each phase and outcome.
    ByOutcome(fn(&Counts) -> &ByOutcome, &'static [Outcome]),
    /// One series with the current state of the run.
    State(fn(&Gauges) -> u64),
    /// One series for each phase and outcome that holds values.
    Spread(Metric),
    /// A function that returns the series.
    Own(for<'a> fn(&'a RunMetrics) -> Vec<MetricSample<'a>>),
}

impl MetricFamily {
    const fn new(
        name: &'static str,
        unit: Option<MetricUnit>,
        kind: MetricKind,
        help: &'static str,
    ) -> MetricFamily {
        MetricFamily { name, unit, kind, help, labels: &[], read: Read::Own(|_| Vec::new()) }
    }

    /// Returns the name in Prometheus' own formats, with unit and `_total` or `_info`.
    pub fn exposed_name(&self) -> String {
        let unit = self.unit.map(|unit| format!("_{}", unit.as_str())).unwrap_or_default();
        let suffix = match self.kind {
            MetricKind::Counter => "_total",
            MetricKind::Info => "_info",
            MetricKind::Gauge | MetricKind::Histogram => "",
        };
        format!("{}{unit}{suffix}", self.name)
    }

    /// Creates a family that counts by phase.
    const fn count(name: &'static str, help: &'static str, pick: fn(&Counts) -> u64) -> MetricFamily {
        MetricFamily::new(name, None, MetricKind::Counter, help).labels(&["phase"], Read::ByPhase(pick))
    }

    /// Creates a family that counts bytes by phase.
    const fn bytes(name: &'static str, help: &'static str, pick: fn(&Counts) -> u64) -> MetricFamily {
        MetricFamily::new(name, Some(MetricUnit::Bytes), MetricKind::Counter, help)
            .labels(&["phase"], Read::ByPhase(pick))
    }

    /// Creates a family with the state of the run.
    const fn state(name: &'static str, help: &'static str, pick: fn(&Gauges) -> u64) -> MetricFamily {
        MetricFamily::new(name, None, MetricKind::Gauge, help).labels(&[], Read::State(pick))
    }

    /// Creates a family with the durations of a metric.
    const fn durations(name: &'static str, help: &'static str, metric: Metric) -> MetricFamily {
        let family = MetricFamily::new(name, Some(MetricUnit::Seconds), MetricKind::Histogram, help);
        family.labels(&["phase", "outcome"], Read::Spread(metric))
    }

    const fn labels(self, labels: &'static [&'static str], read: Read) -> MetricFamily {
        MetricFamily { labels, read, ..self }
    }

    /// Returns the current series.
    pub fn samples<'a>(&self, metrics: &'a RunMetrics) -> Vec<MetricSample<'a>> {
        match &self.read {
            Read::ByPhase(pick) => {
                let of = |(phase, tally): (&'a str, &PhaseTally)| {
                    MetricSample::count([phase], pick(&tally.counts))
                };
                metrics.phases().map(of).collect()
            }
            Read::ByOutcome(pick, outcomes) => {
                let of = |(phase, tally): (&'a str, &'a PhaseTally)| {
                    let counts = pick(&tally.counts);
                    outcomes.iter().map(move |outcome| {
                        MetricSample::count([phase, outcome.as_str()], counts.of(*outcome))
                    })
                };
                metrics.phases().flat_map(of).collect()
            }
            Read::State(pick) => vec![MetricSample::count([], pick(&metrics.gauges))],
            Read::Spread(metric) => {
                let spreads = metrics.spreads().filter(|(_, of, ..)| of == metric);
                spreads
                    .map(|(phase, _, outcome, hist)| MetricSample::spread([phase, outcome], hist))
                    .collect()
            }
            Read::Own(read) => read(metrics),
        }
    }
}

/// One series of a family.
#[derive(Clone, Debug)]
pub struct MetricSample<'a> {
    /// The values of the labels, in the order of the row.
    pub labels: Vec<Cow<'a, str>>,
    /// The value.
    pub value: SampleValue<'a>,
}

/// The value of a series.
#[derive(Clone, Copy, Debug)]
pub enum SampleValue<'a> {
    /// A whole number.
    Count(u64),
    /// A number in the family's unit.
    Number(f64),
    /// A distribution that is not empty.
    Spread(&'a Hist),
}

impl<'a> MetricSample<'a> {
    fn new<const N: usize>(labels: [Cow<'a, str>; N], value: SampleValue<'a>) -> MetricSample<'a> {
        MetricSample { labels: labels.into(), value }
    }

    fn count<const N: usize>(labels: [&'a str; N], count: u64) -> MetricSample<'a> {
        MetricSample::new(labels.map(Cow::Borrowed), SampleValue::Count(count))
    }

    fn number(number: f64) -> MetricSample<'a> {
        MetricSample::new([], SampleValue::Number(number))
    }

    fn spread<const N: usize>(labels: [&'a str; N], hist: &'a Hist) -> MetricSample<'a> {
        MetricSample::new(labels.map(Cow::Borrowed), SampleValue::Spread(hist))
    }
}

/// The outcomes of transactions: all except `shed`.
const ENDED: &[Outcome] = Outcome::ALL.split_at(Outcome::Shed as usize).0;

/// The table of the exported metrics.
pub static TABLE: &[MetricFamily] = &[
    MetricFamily::new("smtpress_run", None, MetricKind::Info, "The run that these metrics are of.")
        .labels(&["run_id", "profile", "seed", "version"], Read::Own(info)),
    MetricFamily::new(
        "smtpress_run_elapsed",
        Some(MetricUnit::Seconds),
        MetricKind::Gauge,
        "The time of the run at which these values were taken.",
    )
    .labels(&[], Read::Own(|metrics| vec![MetricSample::number(metrics.at.as_secs_f64())])),
    MetricFamily::new(
        "smtpress_run_over",
        None,
        MetricKind::Gauge,
        "1 if the run is over and these values are final.",
    )
    .labels(&[], Read::Own(|metrics| vec![MetricSample::count([], metrics.is_over().into())])),
    MetricFamily::new(
        "smtpress_run_exit_code",
        None,
        MetricKind::Gauge,
        "The run's exit code (0: valid, and every assertion held); absent while it goes on.",
    )
    .labels(
        &[],
        Read::Own(|metrics| {
            metrics.over.iter().map(|code| MetricSample::count([], (*code).into())).collect()
        }),
    ),
    MetricFamily::count(
        "smtpress_arrivals_scheduled",
        "Arrivals that were scheduled, of the phase's unit.",
        |counts| counts.scheduled,
    ),
    MetricFamily::count("smtpress_arrivals_started", "Arrivals that started.", |counts| counts.started),
    MetricFamily::new(
        "smtpress_arrivals",
        None,
        MetricKind::Counter,
        "Arrivals by how they ended; those that were shed never started.",
    )
    .labels(&["phase", "outcome"], Read::ByOutcome(|counts| &counts.arrivals, &Outcome::ALL)),
    MetricFamily::count(
        "smtpress_retries",
        "Attempts that started and were not the first of their message.",
        |counts| counts.retry.retries,
    ),
    MetricFamily::count(
        "smtpress_transactions_attempted",
        "Transactions started: MAIL was written.",
        |counts| counts.attempted,
    ),
    MetricFamily::new("smtpress_transactions", None, MetricKind::Counter, "Transactions by how they ended.")
        .labels(&["phase", "outcome"], Read::ByOutcome(|counts| &counts.transactions, ENDED)),
    MetricFamily::new(
        "smtpress_conditions",
        None,
        MetricKind::Counter,
        "Failures and expected refusals, by condition, step, reply code and outcome.",
    )
    .labels(&["phase", "step", "condition", "group", "code", "outcome"], Read::Own(conditions)),
    MetricFamily::count("smtpress_sessions_opened", "Connections tried.", |counts| counts.opened),
    MetricFamily::count(
        "smtpress_sessions_established",
        "Sessions that became ready to send a message.",
        |counts| counts.established,
    ),
    MetricFamily::count(
        "smtpress_sessions_refused",
        "Sessions that did not become ready to send, without a failure of the generator.",
        |counts| counts.refused,
    ),
    MetricFamily::count(
        "smtpress_sessions_closed_by_peer",
        "Established sessions that the listener ended.",
        |counts| counts.closed_by_peer,
    ),
    MetricFamily::count(
        "smtpress_backoffs",
        "Waits before the next connection because the last one failed.",
        |counts| counts.backoffs,
    ),
    MetricFamily::new(
        "smtpress_recipients",
        None,
        MetricKind::Counter,
        "Recipients by their reply: accepted is 2yz.",
    )
    .labels(&["phase", "answer"], Read::Own(recipients)),
    MetricFamily::bytes("smtpress_sent", "Bytes written, before TLS.", |counts| counts.bytes_sent),
    MetricFamily::bytes("smtpress_received", "Bytes read, after TLS.", |counts| counts.bytes_received),
    MetricFamily::new(
        "smtpress_tls_handshakes",
        None,
        MetricKind::Counter,
        "TLS handshakes that were completed.",
    )
    .labels(&["phase", "version", "key_exchange", "resumed"], Read::Own(handshakes)),
    MetricFamily::count(
        "smtpress_tls_untrusted",
        "Full TLS handshakes with a certificate that was not verified and would not have been trusted.",
        |counts| counts.untrusted,
    ),
    MetricFamily::count(
        "smtpress_tls_truncated",
        "Secure streams that the listener ended without close_notify.",
        |counts| counts.truncated,
    ),
    MetricFamily::state(
        "smtpress_sessions",
        "Sessions whose socket is open, connecting ones included.",
        |state| state.sessions,
    ),
    MetricFamily::state("smtpress_in_flight", "Arrivals that are started and not ended.", |state| {
        state.in_flight
    }),
    MetricFamily::state("smtpress_waiting", "Scheduled arrivals that wait for a session.", |state| {
        state.waiting
    }),
    MetricFamily::state("smtpress_retrying", "Messages that wait for their next attempt.", |state| {
        state.retrying
    }),
    MetricFamily::durations(
        "smtpress_time_to_accept",
        "From the intended start of the first attempt of a message to the end of the attempt that was accepted.",
        Metric::TimeToAccept,
    ),
    MetricFamily::new(
        "smtpress_queued",
        None,
        MetricKind::Gauge,
        "Accepted recipients that have not come out of the relay; absent without a receiver behind it.",
    )
    .labels(
        &[],
        Read::Own(|metrics| {
            metrics.gauges.queued.map(|queued| MetricSample::count([], queued)).into_iter().collect()
        }),
    ),
    MetricFamily::count(
        "smtpress_recipients_delivered",
        "Accepted recipients whose message came out behind the relay, for the first time.",
        |counts| counts.delivered,
    ),
    MetricFamily::durations(
        "smtpress_transit",
        "From the final reply to the end of the content at the receiver behind the relay.",
        Metric::Transit,
    ),
    MetricFamily::durations(
        "smtpress_delivery",
        "From the intended start to the end of the content at the receiver behind the relay.",
        Metric::Delivery,
    ),
    MetricFamily::durations(
        "smtpress_response",
        "From the intended start to the end of an arrival.",
        Metric::Response,
    ),
    MetricFamily::durations(
        "smtpress_service",
        "From the true start to the end of an arrival.",
        Metric::Service,
    ),
    MetricFamily::durations(
        "smtpress_lag",
        "The generator's own lateness: true minus intended start, without the wait for a session.",
        Metric::Lag,
    ),
    MetricFamily::durations(
        "smtpress_wait",
        "How long a scheduled arrival waited for a free session.",
        Metric::Wait,
    ),
    MetricFamily::durations(
        "smtpress_setup",
        "How long it took to open a session for an arrival; 0 if a session was open.",
        Metric::Setup,
    ),
    MetricFamily::durations(
        "smtpress_session",
        "A session, from the start of its connect to its end.",
        Metric::Session,
    ),
    MetricFamily::new(
        "smtpress_step",
        Some(MetricUnit::Seconds),
        MetricKind::Histogram,
        "One step of the dialogue, such as connect, greeting, mail, rcpt, data, body.",
    )
    .labels(&["phase", "step", "outcome"], Read::Own(steps)),
    MetricFamily::count(
        "smtpress_own_failures",
        "Failures of the generator's own machine (descriptors, ports, buffers, memory).",
        |counts| counts.own_failures,
    ),
    agents::SCHEDULED,
    agents::STARTED,
    agents::ACCEPTED,
    agents::SESSIONS,
    agents::LAG_MAX,
    agents::LOST,
    MetricFamily::new(
        "process_cpu",
        Some(MetricUnit::Seconds),
        MetricKind::Counter,
        "User and system CPU time of the whole process of smtpress.",
    )
    .labels(&[], Read::Own(|_| process_cpu().map(MetricSample::number).into_iter().collect())),
];

fn info(metrics: &RunMetrics) -> Vec<MetricSample<'_>> {
    let RunInfo { run_id, profile, seed, .. } = &metrics.info;
    let labels = [run_id.into(), profile.into(), seed.to_string().into(), env!("CARGO_PKG_VERSION").into()];
    vec![MetricSample::new(labels, SampleValue::Count(1))]
}

fn recipients(metrics: &RunMetrics) -> Vec<MetricSample<'_>> {
    let both = |(phase, tally): (_, &PhaseTally)| {
        let (accepted, refused) = (tally.counts.recipients_accepted, tally.counts.recipients_refused);
        [MetricSample::count([phase, "accepted"], accepted), MetricSample::count([phase, "refused"], refused)]
    };
    metrics.phases().flat_map(both).collect()
}

/// Returns the rows of the conditions without their enhanced codes, because a listener could invent millions of codes.
fn conditions(metrics: &RunMetrics) -> Vec<MetricSample<'_>> {
    let mut counts = BTreeMap::new();
    for (phase, tally) in metrics.phases() {
        for (key, met) in &tally.conditions {
            let code = key.code.map_or_else(|| "none".into(), |code| Cow::Owned(code.to_string()));
            let labels = [
                phase.into(),
                key.step.as_str().into(),
                key.condition.as_str().into(),
                key.condition.group().as_str().into(),
                code,
                key.outcome.as_str().into(),
            ];
            *counts.entry(labels).or_insert(0) += met.count;
        }
    }
    counts.into_iter().map(|(labels, count)| MetricSample::new(labels, SampleValue::Count(count))).collect()
}

fn handshakes(metrics: &RunMetrics) -> Vec<MetricSample<'_>> {
    let mut samples = Vec::new();
    for (phase, tally) in metrics.phases() {
        for (key, count) in &tally.handshakes {
            let group = key.group.as_deref().unwrap_or("none");
            let resumed = if key.resumed { "true" } else { "false" };
            samples.push(MetricSample::count([phase, &key.version, group, resumed], *count));
        }
    }
    samples
}

fn steps(metrics: &RunMetrics) -> Vec<MetricSample<'_>> {
    let of = |(phase, metric, outcome, hist): (_, Metric, _, _)| {
        let step = metric.as_str().strip_prefix(STEP)?;
        Some(MetricSample::spread([phase, step, outcome], hist))
    };
    metrics.spreads().filter_map(of).collect()
}

/// Returns the CPU time of this process in seconds; `None` if the kernel does not report it.
fn process_cpu() -> Option<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let used = usage.user_time() + usage.system_time();
    Some(used.num_microseconds() as f64 / 1e6)
}

#[cfg(test)]
pub mod tests;
