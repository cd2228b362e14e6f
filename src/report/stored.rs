//! The one result type: what `result.json` holds, and the only thing that text, files and comparisons are made from.
//!
//! It defines a stored run. `convert` makes it from a measured run; renderers show it. Units are in the names: `_ns`,
//! `_ms`, `_s`, `_bytes`, `_per_s`; shares are from 0 to 1.
//!
//! # Decisions
//! - Names of the shared vocabulary (outcomes, steps, metrics, conditions) are text here, so that a run stored by a later
//!   version can still be read and shown by this one.
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

/// The version of the format that is written, and the latest that is read.
pub const SCHEMA_VERSION: u32 = 1;

/// One run, measured and judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunResult {
    /// The version of this format: 1.
    pub schema_version: u32,
    /// What made it.
    pub tool: Tool,
    /// Identifies the run, as in the header `X-Smtpress-Run` of its messages.
    pub run_id: String,
    /// The run directory, as it was named when the run was stored or is read; `null` for shards that were merged, and for
    /// runs stored before it was kept.
    #[serde(default)]
    pub directory: Option<String>,
    /// When the run began, in UTC (RFC 3339).
    pub started_at: String,
    /// When its load began by the clock of this machine, in UTC with nanoseconds (RFC 3339): times of the run count from then.
    /// `null` if it was not stored.
    #[serde(default)]
    pub load_began_at: Option<String>,
    /// How long the run took in all, in seconds.
    pub took_s: f64,
    /// Where the load went, as a URL, or `embedded`.
    pub target: String,
    /// What was asked.
    pub profile: StoredProfile,
    /// Which part of the load this run carried; `null`: all of it.
    #[serde(default)]
    pub shard: Option<StoredShard>,
    /// Whether the measurement may be believed.
    pub validity: StoredValidity,
    /// The judgement.
    pub verdict: StoredVerdict,
    /// What is odd and does not make the numbers wrong, in sentences.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The counts, by phase, in the order of the profile.
    pub phases: Vec<StoredPhase>,
    /// The distributions that hold values, by phase.
    pub metrics: Vec<StoredMetric>,
    /// What the failures and expected refusals meant, by phase.
    pub conditions: Vec<StoredCondition>,
    /// What was asserted, and what was observed.
    pub assertions: Vec<StoredAssertion>,
    /// What was done to the listener during the run, in the order of the profile.
    #[serde(default)]
    pub events: Vec<StoredEvent>,
    /// The agents of a fleet; empty: it was one machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<StoredAgent>,
    /// The health of the generator.
    pub generator: Generator,
    /// What came out of the relay, beside the counts of the phases; `null` without a receiver behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<StoredDelivery>,
    /// What the embedded listener counted by itself; `null` with any other target.
    pub ledger: Option<serde_json::Value>,
    /// The limits that were looked for.
    pub limits: Vec<StoredLimit>,
    /// The capacity that was looked for.
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
    /// Its name: `smtpress`.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Profile")]
pub struct StoredProfile {
    /// The profile's name.
    pub name: String,
    /// The file it was read from; `null` for a run asked for by flags.
    #[serde(default)]
    pub path: Option<String>,
    /// SHA-256 of the resolved profile, in hexadecimal.
    pub sha256: String,
    /// SHA-256 of the resolved profile without the address of its target, in hexadecimal: two runs with the same one may be
    /// compared, whatever their targets. `null` for a search, and for runs stored before there was one.
    #[serde(default)]
    pub load_sha256: Option<String>,
    /// The seed of all randomness.
    pub seed: u64,
    /// SHA-256 of the whole schedule, in hexadecimal: two runs with the same one asked the same of their targets.
    pub schedule_sha256: String,
}

/// One of the equal parts of a load that were run each by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Shard")]
pub struct StoredShard {
    /// Which, from 0.
    pub index: u32,
    /// Of how many.
    pub of: u32,
}

/// Whether the measurement may be believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Validity")]
pub struct StoredValidity {
    /// Valid or not.
    pub status: ValidityStatus,
    /// Why not, by name: `generator-lag`, `clock-jumped`, ...
    pub reasons: Vec<String>,
    /// Why not, in words; one sentence a reason, in the same order.
    #[serde(default)]
    pub explanations: Vec<String>,
}

/// Whether the measurement may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ValidityStatus {
    /// The generator kept up: the numbers are the target's.
    Valid,
    /// They are not.
    Invalid,
}

/// The judgement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RunVerdict")]
pub struct StoredVerdict {
    /// In a word.
    pub status: StoredStatus,
    /// The exit code of the process.
    pub exit_code: u8,
    /// The assertion that stopped the run, if one did.
    #[serde(default)]
    pub aborted_by: Option<String>,
}

/// The judgement in a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "VerdictStatus")]
pub enum StoredStatus {
    /// Measured, valid, every assertion held.
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

/// The counts of a phase. The outcomes are of arrivals, of the phase's unit:
/// scheduled = shed + started, and started = the sum of the other outcomes (M10).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Phase")]
pub struct StoredPhase {
    /// Its name.
    pub name: String,
    /// Whether it is a warm-up, and so not measured.
    pub warmup: bool,
    /// The load model, as the profile names it.
    #[serde(default)]
    pub model: String,
    /// When its load began, since the start of the run: with `open_first` when all its sessions were open.
    #[serde(default)]
    pub start_s: f64,
    /// Its length, the denominator of its rates.
    pub window_s: f64,
    /// What an arrival is: `session` or `message`.
    pub unit: String,
    /// Arrivals that were scheduled.
    pub scheduled: u64,
    /// Arrivals that never started.
    pub shed: u64,
    /// Arrivals that started.
    pub started: u64,
    /// Arrivals that ended well.
    pub accepted: u64,
    /// Refusals that the profile expects.
    pub expected: u64,
    /// Ended by a 4yz reply.
    pub deferred: u64,
    /// Ended by a 5yz reply.
    pub rejected: u64,
    /// There was no session.
    pub refused: u64,
    /// The connection was lost.
    pub dropped: u64,
    /// A time-out passed.
    pub timed_out: u64,
    /// Lost between the final dot and its reply.
    pub in_doubt: u64,
    /// The listener broke the protocol.
    pub malformed: u64,
    /// Still in flight when the run ended.
    pub interrupted: u64,
    /// Arrivals that were scheduled, a second of the window.
    pub offered_per_s: f64,
    /// Arrivals that started within the window, a second of it.
    pub started_per_s: f64,
    /// Arrivals that were accepted within the window, a second of it.
    pub accepted_per_s: f64,
    /// What was asked for and done; `null` in results stored before it was known.
    #[serde(default)]
    pub work: Option<StoredWork>,
    /// What of all that was counted here came after the window, and is in no rate; `null` in results stored before it was
    /// known.
    #[serde(default)]
    pub drained: Option<StoredDrained>,
    /// The transactions, each by itself.
    pub transactions: StoredTransactions,
    /// The sessions.
    pub sessions: StoredSessions,
    /// The recipients.
    pub recipients: Recipients,
    /// What became of the accepted recipients; `null` without a receiver behind the relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<StoredPhaseDelivery>,
    /// The bytes, after TLS where it is spoken.
    pub bytes: Bytes,
    /// The TLS handshakes; `null` in clear text.
    #[serde(default)]
    pub tls: Option<StoredTls>,
    /// How many refusals each `[[expect]]` of the profile covered, by its name, or its place from 1 if it has none.
    #[serde(default)]
    pub expects: BTreeMap<String, u64>,
    /// The addresses of the target that were tried, and what each got; none of a unix socket. A session goes to the first
    /// that answers.
    #[serde(default)]
    pub addresses: Vec<Address>,
    /// The attempts of its messages, where they are tried again; absent without `[session.retry]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<StoredRetry>,
}

/// What one address of the target got.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Address {
    /// The address with its port, or `others` for all that came after a hundred.
    pub address: String,
    /// Successful connections to it.
    pub sessions: u64,
    /// Connections to it that did not, whatever the cause; the session went on to the next address.
    pub failures: u64,
    /// The median time of a successful connection, without the addresses tried before it; `null`: there are too few.
    pub connect_p50_ns: Option<u64>,
    /// All those times: HdrHistogram V2, compressed, in base64.
    #[serde(default)]
    pub hdr_base64: Option<String>,
}

/// What a phase was to do, and how much of it was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Work")]
pub struct StoredWork {
    /// What is counted: `messages`, `sessions`, or `ns`: nanoseconds in which the sessions of a closed load were to be busy.
    pub unit: String,
    /// So much was asked for.
    pub asked: u64,
    /// So much was done, whatever came of it.
    pub done: u64,
    /// From when on the rest was not done, in nanoseconds since the start of the run; `null` if all was.
    #[serde(default)]
    pub short_since_ns: Option<u64>,
    /// Why the rest was not done; `null` if all was.
    #[serde(default)]
    pub why: Option<String>,
}

/// What came after the window of a phase: the arrivals that were scheduled in it and started or ended later.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Drained")]
pub struct StoredDrained {
    /// How long after the window the last of them ended.
    pub s: f64,
    /// Arrivals that started.
    pub started: u64,
    /// Arrivals that ended well.
    pub accepted: u64,
    /// Refusals that the profile expects.
    pub expected: u64,
    /// Ended by a 4yz reply.
    pub deferred: u64,
    /// Ended by a 5yz reply.
    pub rejected: u64,
    /// There was no session.
    pub refused: u64,
    /// The connection was lost.
    pub dropped: u64,
    /// A time-out passed.
    pub timed_out: u64,
    /// Lost between the final dot and its reply.
    pub in_doubt: u64,
    /// The listener broke the protocol.
    pub malformed: u64,
    /// Still in flight when the run ended.
    pub interrupted: u64,
    /// Transactions.
    pub transactions: StoredTransactions,
    /// Refusals that each `[[expect]]` of the profile covered, by its name, or its place from 1 if it has none; `null` in
    /// results stored before it was known.
    #[serde(default)]
    pub expects: Option<BTreeMap<String, u64>>,
}

/// How the transactions of a phase ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Transactions")]
pub struct StoredTransactions {
    /// Started: MAIL was written.
    pub attempted: u64,
    /// The positive reply after the final dot was read.
    pub accepted: u64,
    /// Refusals that the profile expects.
    pub expected: u64,
    /// Ended by a 4yz reply.
    pub deferred: u64,
    /// Ended by a 5yz reply.
    pub rejected: u64,
    /// The connection was lost.
    pub dropped: u64,
    /// A time-out passed.
    pub timed_out: u64,
    /// Lost between the final dot and its reply.
    pub in_doubt: u64,
    /// The listener broke the protocol.
    pub malformed: u64,
    /// Still in flight when the run ended.
    pub interrupted: u64,
}

/// The sessions of a phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Sessions")]
pub struct StoredSessions {
    /// Connections tried.
    pub opened: u64,
    /// Got as far as being able to send.
    pub established: u64,
    /// Did not get so far, through no failure of ours.
    pub refused: u64,
    /// Established, then ended by the listener.
    pub closed_by_peer: u64,
    /// The most open at once.
    pub peak: u64,
    /// Waits before another connection because the last one failed.
    #[serde(default)]
    pub backoffs: u64,
}

/// The recipients of a phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recipients {
    /// Answered 2yz.
    pub accepted: u64,
    /// Answered otherwise.
    pub refused: u64,
}

/// The bytes of a phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bytes {
    /// Written.
    pub sent: u64,
    /// Read.
    pub received: u64,
}

/// The TLS handshakes of a phase that were completed. Their times are in `step.tls` (full) and `step.tls-resumed`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Tls")]
pub struct StoredTls {
    /// Full handshakes.
    pub full: u64,
    /// Those that resumed an earlier session.
    pub resumed: u64,
    /// Full handshakes with a certificate that was not verified and would not have been trusted.
    pub untrusted: u64,
    /// Secure streams that the listener ended without close_notify.
    pub truncated: u64,
    /// By version, as in `TLSv1.3`.
    pub versions: BTreeMap<String, Handshakes>,
    /// By key-exchange group, as in `X25519MLKEM768`; `none` for a resumption without one.
    pub groups: BTreeMap<String, Handshakes>,
}

/// Handshakes of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Handshakes {
    /// Full handshakes.
    pub full: u64,
    /// Those that resumed an earlier session.
    pub resumed: u64,
}

/// One distribution of durations: a metric of one phase, for one outcome (outcomes never share one, M22).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Metric")]
pub struct StoredMetric {
    /// The phase.
    pub phase: String,
    /// `response`, `service`, `lag`, `wait`, `setup`, `session`, `step.connect`, ..., `step.tls-resumed`
    pub name: String,
    /// How what was timed ended.
    pub outcome: String,
    /// The number of values.
    pub count: u64,
    /// Values of which only a lower bound is known: counted in the percentiles and nowhere else (M12).
    #[serde(default)]
    pub censored: u64,
    /// The smallest value, exactly.
    pub min_ns: u64,
    /// The largest value, exactly.
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
    /// Which: 0.5 is the median.
    pub q: f64,
    /// Its value; `null` if there are too few values to say.
    pub value_ns: Option<u64>,
    /// The lower end of its 99 % interval.
    pub low_ns: Option<u64>,
    /// The upper end of its 99 % interval; the largest value stands in where no rank is high enough.
    pub high_ns: Option<u64>,
    /// How far it can be relied on.
    pub status: PercentileStatus,
    /// How many values it takes to say this quantile at all (M18).
    #[serde(default)]
    pub needs: u64,
}

/// How far a quantile can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PercentileStatus {
    /// Measured.
    Exact,
    /// A lower bound: it falls among arrivals that were still in flight at the end (M12).
    AtLeast,
    /// Not enough values (M18).
    #[serde(rename = "n/a")]
    NotAvailable,
}

/// One row of what failures and expected refusals meant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ConditionRow")]
pub struct StoredCondition {
    /// The phase.
    pub phase: String,
    /// Where it showed.
    pub step: String,
    /// What it means.
    pub condition: String,
    /// The reply's code; `null` if it was no reply.
    pub code: Option<u16>,
    /// The reply's enhanced code.
    pub enhanced: Option<String>,
    /// How the arrival, transaction or session ended by it.
    pub outcome: String,
    /// Whether the profile expects it.
    pub expected: bool,
    /// How often.
    pub count: u64,
    /// How often of that after the window of the phase, which is in no rate; `null` in results stored before it was known.
    #[serde(default)]
    pub drained: Option<u64>,
    /// When first, since the start of the run.
    pub first_s: f64,
    /// When last, since the start of the run.
    pub last_s: f64,
    /// The first reply of this kind as it came (lines separated by `\n`), or what happened in words.
    pub sample: String,
}

impl StoredCondition {
    /// Whether it failed nothing: how a session ended beside its messages, or the form of a reply.
    pub fn is_manner(&self) -> bool {
        self.outcome == "accepted"
    }
}

/// One assertion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Assertion")]
pub struct StoredAssertion {
    /// As the user wrote it.
    pub expr: String,
    /// The phase it is about; `null`: all measured phases.
    pub phase: Option<String>,
    /// What was observed, with its unit, or why nothing was.
    pub observed: String,
    /// Whether it held.
    pub status: StoredAssertionStatus,
    /// Whether smtpress asserts it by itself.
    #[serde(default)]
    pub builtin: bool,
    /// Whether it ends the run as soon as it does not hold.
    #[serde(default)]
    pub abort: bool,
    /// The stretch of time over which it had to hold wherever that lay; `null`: the whole.
    #[serde(default)]
    pub window_s: Option<f64>,
}

/// Whether an assertion held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "AssertionStatus")]
pub enum StoredAssertionStatus {
    /// It held.
    Pass,
    /// It did not.
    Fail,
    /// There was nothing to judge it by, which is a failure.
    NoData,
    /// The run did not come to its end: what it was until then says nothing of the whole.
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
    /// Local ports used, at most.
    pub ports_used: u64,
    /// Generator threads.
    #[serde(default)]
    pub threads: u32,
    /// By how much the wall clock and the monotonic clock parted.
    #[serde(default)]
    pub clock_drift_ns: u64,
    /// Failures of our own machine (descriptors, ports, buffers, memory).
    #[serde(default)]
    pub own_failures: u64,
    /// The cores that the load threads could use: one each, at most those of the process and the CPU quota of its control
    /// group; 0 if it was not looked at.
    #[serde(default)]
    pub allowed_cores: f64,
    /// The lateness of a load thread's loop, by a timer every 10 ms: the 99th percentile in the worst thread and
    /// measured phase; `null` if it was not looked at.
    #[serde(default)]
    pub loop_delay_p99_ns: Option<u64>,
    /// The longest of these delays.
    #[serde(default)]
    pub loop_delay_max_ns: Option<u64>,
    /// The sum of those above 10 ms but the longest, less what the thread worked itself meanwhile, in the worst of them.
    #[serde(default)]
    pub stalled_s: f64,
    /// How long a load thread had work and no core, in the worst of them.
    #[serde(default)]
    pub cpu_wait_s: f64,
    /// Periods of the CPU quota of the control group in which it was used up.
    #[serde(default)]
    pub throttled_periods: u64,
    /// How long the group was held up by it, summed over its cores.
    #[serde(default)]
    pub throttled_s: f64,
    /// What the hypervisor took from this virtual machine, summed over its cores.
    #[serde(default)]
    pub stolen_s: f64,
}
