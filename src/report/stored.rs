//! The result of a run. `result.json` stores it, and every report and comparison is made from it.
//!
//! `convert` makes the result from a measured run, and renderers show it. Units are in the names: `_ns`, `_ms`, `_s`,
//! `_bytes`, `_per_s`. Shares are from 0 to 1.
//!
//! # Decisions
//! - Names of the shared vocabulary (outcomes, steps, metrics, conditions) are text here, so that this version can read
//!   and show a run that a later version stored.
//! - Unknown fields are tolerated when reading; the version is checked before anything else.

pub mod agent;
pub mod convert;
pub mod delivery;
pub mod event;
pub mod json;
pub mod retry;
pub mod search;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use agent::StoredAgent;
use delivery::{StoredDelivery, StoredPhaseDelivery};
use event::StoredEvent;
pub use retry::{StoredAttempts, StoredRetry};
use search::named;
pub use search::{
    Capacity, CapacityEnd, CapacityGoal, CapacityStatus, StoredBacklogGrowth, StoredGoalVerdict,
    StoredLatency, StoredLimit, StoredLimitVerdict, StoredOnset, StoredShownBy, StoredSustained, StoredTrial,
    StoredTrialCondition, StoredTrialDelivery, StoredTrialFault,
};

/// The version of the format that is written, and the latest version that is read.
pub const SCHEMA_VERSION: u32 = 1;

/// The result of one run, with its verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunResult {
    /// The version of this format: 1.
    pub schema_version: u32,
    /// The program that wrote the result.
    pub tool: Tool,
    /// The identifier of the run, as in the header `X-Smtpress-Run` of its messages.
    pub run_id: String,
    /// The run directory, as it was named when the run was stored or is read. `null` for merged shards, and for runs
    /// stored before this field existed.
    #[serde(default)]
    pub directory: Option<String>,
    /// When the run started, in UTC (RFC 3339).
    pub started_at: String,
    /// When the load started by the clock of the machine, in UTC with nanoseconds (RFC 3339). The times of the run count
    /// from this time. `null` if it was not stored.
    #[serde(default)]
    pub load_began_at: Option<String>,
    /// The length of the whole run in seconds.
    pub took_s: f64,
    /// The target as a URL, or `embedded`.
    pub target: String,
    /// The profile.
    pub profile: StoredProfile,
    /// The part of the load that this run carried; `null` for all of it.
    #[serde(default)]
    pub shard: Option<StoredShard>,
    /// Whether the measurement is valid.
    pub validity: StoredValidity,
    /// The verdict.
    pub verdict: StoredVerdict,
    /// Remarks that do not make the run invalid, in sentences.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The counts, by phase, in the order of the profile.
    pub phases: Vec<StoredPhase>,
    /// The distributions that hold values, by phase.
    pub metrics: Vec<StoredMetric>,
    /// The conditions of failures and expected refusals, by phase.
    pub conditions: Vec<StoredCondition>,
    /// The assertions, with their observed values.
    pub assertions: Vec<StoredAssertion>,
    /// The events of the run, in the order of the profile.
    #[serde(default)]
    pub events: Vec<StoredEvent>,
    /// The agents of a fleet; empty for a single machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<StoredAgent>,
    /// The health of the generator.
    pub generator: Generator,
    /// The deliveries of the relay; `null` without a receiver behind it. The counts are in the phases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<StoredDelivery>,
    /// The embedded listener's own counts; `null` for any other target.
    pub ledger: Option<serde_json::Value>,
    /// The limits that were measured.
    pub limits: Vec<StoredLimit>,
    /// The capacity that was measured.
    pub capacity: Option<Capacity>,
}

impl RunResult {
    /// Whether messages were tried again.
    pub fn has_retries(&self) -> bool {
        self.phases.iter().any(|phase| phase.retry.is_some())
    }
}

/// The program that measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tool {
    /// The name: `smtpress`.
    pub name: String,
    /// The version.
    pub version: String,
}

/// The profile of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Profile")]
pub struct StoredProfile {
    /// The name.
    pub name: String,
    /// The file of the profile; `null` for a run that was defined by flags.
    #[serde(default)]
    pub path: Option<String>,
    /// SHA-256 of the resolved profile, in hexadecimal.
    pub sha256: String,
    /// SHA-256 of the resolved profile without the address of its target, in hexadecimal. Two runs with the same value
    /// can be compared, whatever their targets. `null` for a search, and for runs stored before this field existed.
    #[serde(default)]
    pub load_sha256: Option<String>,
    /// The seed of all randomness.
    pub seed: u64,
    /// SHA-256 of the whole schedule, in hexadecimal. Two runs with the same value offered the same load to their
    /// targets.
    pub schedule_sha256: String,
}

/// One of the equal parts of a load that were run separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Shard")]
pub struct StoredShard {
    /// The number of the part, from 0.
    pub index: u32,
    /// The number of all parts.
    pub of: u32,
}

/// Whether the measurement is valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Validity")]
pub struct StoredValidity {
    /// Valid or invalid.
    pub status: ValidityStatus,
    /// The reasons why it is invalid, by name: `generator-lag`, `clock-jumped`, ...
    pub reasons: Vec<String>,
    /// The reasons in words: one sentence for each, in the same order.
    #[serde(default)]
    pub explanations: Vec<String>,
}

/// Whether the measurement is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ValidityStatus {
    /// The generator kept up, so the numbers describe the target.
    Valid,
    /// The numbers do not describe the target.
    Invalid,
}

/// The verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RunVerdict")]
pub struct StoredVerdict {
    /// The verdict in one word.
    pub status: StoredStatus,
    /// The exit code of the process.
    pub exit_code: u8,
    /// The assertion that stopped the run; `null` if none did.
    #[serde(default)]
    pub aborted_by: Option<String>,
}

/// The verdict in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "VerdictStatus")]
pub enum StoredStatus {
    /// The measurement is valid, and every assertion held.
    Pass,
    /// An assertion failed.
    Fail,
    /// Nothing was measured.
    #[default]
    NoData,
    /// The measurement is invalid.
    Invalid,
    /// The user stopped the run.
    Interrupted,
}

named!(StoredStatus {
    Pass => "pass", Fail => "fail", NoData => "no-data", Invalid => "invalid", Interrupted => "interrupted",
});

/// The counts of a phase. The outcomes count arrivals in the phase's unit: scheduled = shed + started, and started =
/// the sum of the other outcomes (M10).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Phase")]
pub struct StoredPhase {
    /// The name of the phase.
    pub name: String,
    /// Whether the phase is a warm-up, which is not measured.
    pub warmup: bool,
    /// The load model, as the profile names it.
    #[serde(default)]
    pub model: String,
    /// When the load of the phase started, since the start of the run. With `open_first` this is the time when all its
    /// sessions were open.
    #[serde(default)]
    pub start_s: f64,
    /// The length of the phase, the denominator of its rates.
    pub window_s: f64,
    /// The unit of an arrival: `session` or `message`.
    pub unit: String,
    /// Arrivals that were scheduled.
    pub scheduled: u64,
    /// Arrivals that never started.
    pub shed: u64,
    /// Arrivals that started.
    pub started: u64,
    /// Arrivals that were accepted.
    pub accepted: u64,
    /// Arrivals with a refusal that the profile expects.
    pub expected: u64,
    /// Arrivals that ended with a 4yz reply.
    pub deferred: u64,
    /// Arrivals that ended with a 5yz reply.
    pub rejected: u64,
    /// Arrivals that got no session.
    pub refused: u64,
    /// Arrivals whose connection was lost.
    pub dropped: u64,
    /// Arrivals that reached a time-out.
    pub timed_out: u64,
    /// Arrivals whose connection was lost between the final dot and its reply.
    pub in_doubt: u64,
    /// Arrivals for which the listener broke the protocol.
    pub malformed: u64,
    /// Arrivals that were in flight when the run ended.
    pub interrupted: u64,
    /// Scheduled arrivals for each second of the window.
    pub offered_per_s: f64,
    /// Arrivals that started within the window, for each second of it.
    pub started_per_s: f64,
    /// Arrivals that were accepted within the window, for each second of it.
    pub accepted_per_s: f64,
    /// The work that was asked for and done; `null` in results stored before this field existed.
    #[serde(default)]
    pub work: Option<StoredWork>,
    /// The part of these counts that came after the window and is in no rate; `null` in results stored before this
    /// field existed.
    #[serde(default)]
    pub drained: Option<StoredDrained>,
    /// The transactions, counted separately from the arrivals.
    pub transactions: StoredTransactions,
    /// The sessions.
    pub sessions: StoredSessions,
    /// The recipients.
    pub recipients: Recipients,
    /// The deliveries of the accepted recipients; `null` without a receiver behind the relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<StoredPhaseDelivery>,
    /// The bytes, without the overhead of TLS.
    pub bytes: Bytes,
    /// The TLS handshakes; `null` in clear text.
    #[serde(default)]
    pub tls: Option<StoredTls>,
    /// How many refusals each `[[expect]]` of the profile covered, by its name, or by its number from 1 if it has none.
    #[serde(default)]
    pub expects: BTreeMap<String, u64>,
    /// The addresses of the target that were tried, and the counts of each; empty for a unix socket. A session uses the
    /// first address that answers.
    #[serde(default)]
    pub addresses: Vec<Address>,
    /// The attempts of its messages if they are tried again; absent without `[session.retry]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<StoredRetry>,
}

/// The counts of one address of the target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Address {
    /// The address with its port, or `others` for all addresses after the hundredth.
    pub address: String,
    /// Successful connections to the address.
    pub sessions: u64,
    /// Failed connections to the address, for any reason. The session went on to the next address.
    pub failures: u64,
    /// The median time of a successful connection, without the time for addresses that were tried before; `null` if
    /// there are too few connections.
    pub connect_p50_ns: Option<u64>,
    /// All these times: HdrHistogram V2, compressed, in base64.
    #[serde(default)]
    pub hdr_base64: Option<String>,
}

/// The work of a phase: how much was asked for, and how much was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Work")]
pub struct StoredWork {
    /// The unit: `messages`, `sessions`, or `ns`, the nanoseconds in which the sessions of a closed load should have
    /// been busy.
    pub unit: String,
    /// The work that was asked for.
    pub asked: u64,
    /// The work that was done, whatever its outcome.
    pub done: u64,
    /// The time from which on the rest was not done, in nanoseconds since the start of the run; `null` if everything was
    /// done.
    #[serde(default)]
    pub short_since_ns: Option<u64>,
    /// Why the rest was not done; `null` if everything was done.
    #[serde(default)]
    pub why: Option<String>,
}

/// The counts after the window of a phase: arrivals that were scheduled in it and started or ended later.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Drained")]
pub struct StoredDrained {
    /// How long after the window the last of them ended, in seconds.
    pub s: f64,
    /// Arrivals that started.
    pub started: u64,
    /// Arrivals that were accepted.
    pub accepted: u64,
    /// Arrivals with a refusal that the profile expects.
    pub expected: u64,
    /// Arrivals that ended with a 4yz reply.
    pub deferred: u64,
    /// Arrivals that ended with a 5yz reply.
    pub rejected: u64,
    /// Arrivals that got no session.
    pub refused: u64,
    /// Arrivals whose connection was lost.
    pub dropped: u64,
    /// Arrivals that reached a time-out.
    pub timed_out: u64,
    /// Arrivals whose connection was lost between the final dot and its reply.
    pub in_doubt: u64,
    /// Arrivals for which the listener broke the protocol.
    pub malformed: u64,
    /// Arrivals that were in flight when the run ended.
    pub interrupted: u64,
    /// The transactions.
    pub transactions: StoredTransactions,
    /// How many refusals each `[[expect]]` of the profile covered, by its name, or by its number from 1 if it has none;
    /// `null` in results stored before this field existed.
    #[serde(default)]
    pub expects: Option<BTreeMap<String, u64>>,
}

/// How the transactions of a phase ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Transactions")]
pub struct StoredTransactions {
    /// Transactions that started: MAIL was written.
    pub attempted: u64,
    /// Transactions with a positive reply after the final dot.
    pub accepted: u64,
    /// Transactions with a refusal that the profile expects.
    pub expected: u64,
    /// Transactions that ended with a 4yz reply.
    pub deferred: u64,
    /// Transactions that ended with a 5yz reply.
    pub rejected: u64,
    /// Transactions whose connection was lost.
    pub dropped: u64,
    /// Transactions that reached a time-out.
    pub timed_out: u64,
    /// Transactions whose connection was lost between the final dot and its reply.
    pub in_doubt: u64,
    /// Transactions in which the listener broke the protocol.
    pub malformed: u64,
    /// Transactions that were in flight when the run ended.
    pub interrupted: u64,
}

/// The sessions of a phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Sessions")]
pub struct StoredSessions {
    /// Attempted connections.
    pub opened: u64,
    /// Sessions that became able to send mail.
    pub established: u64,
    /// Sessions that did not become able to send mail, without a failure of the generator.
    pub refused: u64,
    /// Established sessions that the listener ended.
    pub closed_by_peer: u64,
    /// The most sessions open at once.
    pub peak: u64,
    /// Pauses before another connection because the last one failed.
    #[serde(default)]
    pub backoffs: u64,
}

/// The recipients of a phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recipients {
    /// Recipients that were answered 2yz.
    pub accepted: u64,
    /// Recipients that got another reply.
    pub refused: u64,
}

/// The bytes of a phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bytes {
    /// Bytes written.
    pub sent: u64,
    /// Bytes read.
    pub received: u64,
}

/// The completed TLS handshakes of a phase. Their times are in `step.tls` (full) and `step.tls-resumed`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Tls")]
pub struct StoredTls {
    /// Full handshakes.
    pub full: u64,
    /// Handshakes that resumed an earlier session.
    pub resumed: u64,
    /// Full handshakes with a certificate that was not verified, and would not have been trusted.
    pub untrusted: u64,
    /// Secure streams that the listener ended without close_notify.
    pub truncated: u64,
    /// The handshakes by version, as in `TLSv1.3`.
    pub versions: BTreeMap<String, Handshakes>,
    /// The handshakes by key-exchange group, as in `X25519MLKEM768`; `none` for a resumption without a key exchange.
    pub groups: BTreeMap<String, Handshakes>,
}

/// Handshakes of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Handshakes {
    /// Full handshakes.
    pub full: u64,
    /// Handshakes that resumed an earlier session.
    pub resumed: u64,
}

/// One distribution of durations: a metric of one phase, for one outcome. Outcomes never share a distribution (M22).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Metric")]
pub struct StoredMetric {
    /// The phase.
    pub phase: String,
    /// The name: `response`, `service`, `lag`, `wait`, `setup`, `session`, `time_to_accept`, `step.connect`, ...,
    /// `step.tls-resumed`, `transit` or `delivery`.
    pub name: String,
    /// The outcome of the timed arrivals, transactions, sessions or steps.
    pub outcome: String,
    /// The number of values.
    pub count: u64,
    /// Values of which only a lower bound is known (M12). They count only in the percentiles.
    #[serde(default)]
    pub censored: u64,
    /// The exact smallest value.
    pub min_ns: u64,
    /// The exact largest value.
    pub max_ns: u64,
    /// The mean.
    pub mean_ns: f64,
    /// The quantiles.
    pub percentiles: Vec<Percentile>,
    /// The whole histogram: HdrHistogram V2, compressed, in base64.
    pub hdr_base64: Option<String>,
}

/// One quantile of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Percentile {
    /// The quantile: 0.5 is the median.
    pub q: f64,
    /// The value; `null` if there are too few values.
    pub value_ns: Option<u64>,
    /// The lower end of its 99 % interval.
    pub low_ns: Option<u64>,
    /// The upper end of its 99 % interval. If there are too few values above the quantile, it is the largest value.
    pub high_ns: Option<u64>,
    /// How reliable the value is.
    pub status: PercentileStatus,
    /// The number of values that this quantile needs (M18).
    #[serde(default)]
    pub needs: u64,
}

/// How reliable a quantile is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PercentileStatus {
    /// Measured.
    Exact,
    /// A lower bound: the quantile falls among arrivals that timed out, are in doubt or were interrupted (M12).
    AtLeast,
    /// There are not enough values (M18).
    #[serde(rename = "n/a")]
    NotAvailable,
}

/// One row of the conditions of failures and expected refusals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ConditionRow")]
pub struct StoredCondition {
    /// The phase.
    pub phase: String,
    /// The step at which it occurred.
    pub step: String,
    /// The condition.
    pub condition: String,
    /// The reply's code; `null` without a reply.
    pub code: Option<u16>,
    /// The reply's enhanced code.
    pub enhanced: Option<String>,
    /// The outcome of the arrival, transaction or session.
    pub outcome: String,
    /// Whether the profile expects it.
    pub expected: bool,
    /// How often it occurred.
    pub count: u64,
    /// How often it occurred after the window of the phase, which is in no rate; `null` in results stored before this
    /// field existed.
    #[serde(default)]
    pub drained: Option<u64>,
    /// When it first occurred, since the start of the run.
    pub first_s: f64,
    /// When it last occurred, since the start of the run.
    pub last_s: f64,
    /// The first reply of this kind (lines separated by `\n`), or a description of what happened.
    pub sample: String,
}

impl StoredCondition {
    /// Whether the condition is about the end of a session or the form of a reply, so that no arrival failed.
    pub fn is_manner(&self) -> bool {
        self.outcome == "accepted"
    }
}

/// One assertion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Assertion")]
pub struct StoredAssertion {
    /// The expression as the user wrote it.
    pub expr: String,
    /// The phase of the assertion; `null` for all measured phases.
    pub phase: Option<String>,
    /// The observed value with its unit, or why there is none.
    pub observed: String,
    /// Whether it held.
    pub status: StoredAssertionStatus,
    /// Whether it is a built-in assertion of smtpress.
    #[serde(default)]
    pub builtin: bool,
    /// Whether the run ends as soon as the assertion fails.
    #[serde(default)]
    pub abort: bool,
    /// The length of the windows, in each of which the assertion had to hold; `null` if it is about the whole run or
    /// phase.
    #[serde(default)]
    pub window_s: Option<f64>,
    /// How long after the start of its first phase the assertion was checked for the first time during the run; `null` in
    /// results stored before this field existed.
    #[serde(default)]
    pub grace_s: Option<f64>,
}

/// Whether an assertion held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "AssertionStatus")]
pub enum StoredAssertionStatus {
    /// It held.
    Pass,
    /// It failed.
    Fail,
    /// There were no data for the assertion, which counts as a failure.
    NoData,
    /// The run did not reach its end. The observed value says nothing about the whole run.
    NotJudged,
}

named!(StoredAssertionStatus { Pass => "pass", Fail => "fail", NoData => "no-data", NotJudged => "not-judged" });

/// The health of the generator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Generator {
    /// The mean share of its CPU allowance that the generator used.
    pub cpu_share: f64,
    /// CPU seconds in user mode.
    pub cpu_user_s: f64,
    /// CPU seconds in the kernel.
    pub cpu_system_s: f64,
    /// The 99th percentile of the lag over the measured phases; `null` if nothing was measured.
    pub lag_p99_ns: Option<u64>,
    /// The most descriptors open at once.
    pub peak_descriptors: u64,
    /// The most resident memory.
    pub peak_rss_bytes: u64,
    /// The most local ports that can have been used.
    pub ports_used: u64,
    /// Generator threads.
    #[serde(default)]
    pub threads: u32,
    /// By how much the wall clock and the monotonic clock drifted apart.
    #[serde(default)]
    pub clock_drift_ns: u64,
    /// Failures of the generator's machine (descriptors, ports, buffers, memory).
    #[serde(default)]
    pub own_failures: u64,
    /// The cores that the load threads could use: one for each thread, at most those of the process and of the CPU
    /// quota of its control group; 0 if unknown.
    #[serde(default)]
    pub allowed_cores: f64,
    /// The lateness of a load thread's loop, measured by a timer every 10 ms: the 99th percentile in the worst thread
    /// and measured phase; `null` if it was not measured.
    #[serde(default)]
    pub loop_delay_p99_ns: Option<u64>,
    /// The longest of these delays.
    #[serde(default)]
    pub loop_delay_max_ns: Option<u64>,
    /// The sum of the delays above 10 ms except the longest, without the time in which the thread itself worked; for
    /// the worst thread.
    #[serde(default)]
    pub stalled_s: f64,
    /// How long a load thread had work and no core; for the worst thread.
    #[serde(default)]
    pub cpu_wait_s: f64,
    /// The periods of the control group in which its CPU quota was used up.
    #[serde(default)]
    pub throttled_periods: u64,
    /// How long the group was throttled by its CPU quota, summed over the cores.
    #[serde(default)]
    pub throttled_s: f64,
    /// The time that the hypervisor took from this virtual machine, summed over its cores.
    #[serde(default)]
    pub stolen_s: f64,
}
