//! Results of runs, for the tests of renderers.

mod others;

pub use others::{encrypted, searched};

use super::stored::*;

const MS: f64 = 1e6;

/// Returns every fixture.
pub fn all() -> Vec<RunResult> {
    vec![
        accepted(),
        encrypted(),
        limit_enforced(),
        invalid(),
        no_data(),
        interrupted(),
        several_phases(),
        searched(),
        empty(),
    ]
}

/// Returns a run of 400 messages a second for a minute, all accepted.
pub fn accepted() -> RunResult {
    let n = 24_000;
    let mut metrics = vec![
        metric("steady", "response", "accepted", n, [1.12, 2.04, 3.91, 4.77, 12.4, 48.1, 55.0, 61.2]),
        metric("steady", "service", "accepted", n, [1.02, 1.91, 3.62, 4.31, 9.87, 31.0, 39.4, 44.0]),
        metric("steady", "lag", "accepted", n, [0.01, 0.08, 0.13, 0.15, 0.212, 0.9, 1.2, 1.4]),
        metric(
            "steady",
            "session",
            "accepted",
            200,
            [59_000., 60_010., 60_020., 60_021., 60_030., 0., 0., 60_031.],
        ),
    ];
    metrics.extend(steps("steady", n, 200));
    RunResult {
        schema_version: SCHEMA_VERSION,
        tool: Tool { name: "smtpress".into(), version: "0.1.0".into() },
        run_id: "8c1f7a3e".into(),
        directory: None,
        load_began_at: None,
        started_at: "2026-11-23T12:30:00Z".into(),
        took_s: 70.2,
        target: "smtp://127.0.0.1:2525".into(),
        profile: StoredProfile {
            name: "mx-rollout".into(),
            path: Some("mx-rollout.toml".into()),
            sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".into(),
            load_sha256: Some("2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae".into()),
            seed: 42,
            schedule_sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
        },
        shard: None,
        validity: StoredValidity { status: ValidityStatus::Valid, reasons: vec![], explanations: vec![] },
        verdict: StoredVerdict { status: StoredStatus::Pass, exit_code: 0, aborted_by: None },
        warnings: vec![],
        phases: vec![phase("steady", n, 60.0)],
        metrics,
        conditions: vec![],
        assertions: vec![
            assertion("response p99 < 800ms", Some("steady"), "12.4 ms", StoredAssertionStatus::Pass, false),
            assertion("accepted > 0", None, "24,000", StoredAssertionStatus::Pass, true),
            assertion("shed == 0", None, "0", StoredAssertionStatus::Pass, true),
        ],
        generator: Generator {
            cpu_share: 0.31,
            cpu_user_s: 14.2,
            cpu_system_s: 23.1,
            lag_p99_ns: Some(212_000),
            peak_descriptors: 212,
            peak_rss_bytes: 50_541_000,
            ports_used: 200,
            threads: 2,
            clock_drift_ns: 12_000,
            own_failures: 0,
            allowed_cores: 2.0,
            loop_delay_p99_ns: Some(640_000),
            loop_delay_max_ns: Some(3_100_000),
            ..Generator::default()
        },
        events: vec![],
        agents: vec![],
        delivery: None,
        ledger: None,
        limits: vec![],
        capacity: None,
    }
}

/// Returns a run in which the limit of 50 connections a host is enforced, with the embedded listener's ledger.
pub fn limit_enforced() -> RunResult {
    let mut result = accepted();
    result.target = "embedded".into();
    result.profile.name = "storm".into();
    result.verdict = StoredVerdict { status: StoredStatus::Fail, exit_code: 99, aborted_by: None };
    let storm = &mut result.phases[0];
    storm.name = "storm".into();
    storm.model = "burst".into();
    storm.unit = "session".into();
    storm.window_s = 10.0;
    (storm.scheduled, storm.started, storm.shed) = (2_000, 1_980, 20);
    (storm.accepted, storm.expected, storm.refused, storm.dropped, storm.timed_out) = (1_412, 540, 21, 4, 3);
    (storm.offered_per_s, storm.started_per_s, storm.accepted_per_s) = (200.0, 198.0, 141.2);
    storm.sessions = StoredSessions {
        opened: 1_980,
        established: 1_415,
        refused: 561,
        closed_by_peer: 4,
        peak: 71,
        backoffs: 0,
    };
    storm.transactions = StoredTransactions {
        attempted: 1_419,
        accepted: 1_412,
        dropped: 4,
        timed_out: 3,
        ..StoredTransactions::default()
    };
    storm.bytes = Bytes { sent: 6_243_600, received: 412_000 };
    storm.recipients = Recipients { accepted: 1_419, refused: 0 };
    result.metrics = vec![
        metric("storm", "response", "accepted", 1_412, [3.1, 5.2, 12.4, 18.8, 61.2, 0., 0., 5_010.]),
        metric("storm", "service", "accepted", 1_412, [3.0, 5.1, 12.1, 18.5, 60.9, 0., 0., 5_000.]),
        metric("storm", "response", "expected", 540, [0.4, 0.812, 1.31, 1.52, 3.1, 0., 0., 4.2]),
        metric("storm", "service", "expected", 540, [0.3, 0.71, 1.2, 1.4, 2.9, 0., 0., 4.1]),
        metric("storm", "response", "refused", 21, [0.5, 0.9, 0., 0., 0., 0., 0., 4.2]),
        metric("storm", "service", "refused", 21, [0.5, 0.8, 0., 0., 0., 0., 0., 4.1]),
        metric("storm", "step.connect", "accepted", 1_980, [0.02, 0.04, 0.09, 0.11, 0.31, 0., 0., 1.2]),
        metric("storm", "step.greeting", "accepted", 1_415, [2.0, 2.2, 2.4, 2.5, 4.4, 0., 0., 9.9]),
        metric("storm", "step.greeting", "refused", 561, [0.2, 0.4, 0.6, 0.7, 1.2, 0., 0., 2.2]),
        metric("storm", "step.hello", "accepted", 1_415, [0.1, 0.2, 0.3, 0.4, 0.8, 0., 0., 2.2]),
        metric("storm", "step.body", "accepted", 1_412, [1.1, 2.2, 4.4, 5.5, 40.1, 0., 0., 4_990.]),
    ];
    result.metrics[0].percentiles[3].status = PercentileStatus::AtLeast;
    result.metrics[0].censored = 3;
    result.conditions = vec![
        condition(
            "storm",
            "greeting",
            "too-many-connections-from-host",
            Some((421, "4.4.5")),
            "expected",
            540,
            (0.31, 9.9),
            "421 #4.4.5 Too many connections from your host.",
        ),
        condition(
            "storm",
            "greeting",
            "resource-low",
            Some((421, "4.3.2")),
            "refused",
            21,
            (2.31, 2.9),
            "421-mx.example\n421 4.3.2 Try \u{1b}[31magain\u{202e} later",
        ),
        condition(
            "storm",
            "body",
            "connection-reset",
            None,
            "dropped",
            4,
            (3.2, 7.7),
            "reset by the listener after 1,024 bytes of the content",
        ),
        condition("storm", "body", "reply-timeout", None, "timed-out", 3, (9.01, 9.2), "no reply within 5 s"),
    ];
    result.assertions = vec![
        assertion("unexpected rate < 0.1%", Some("storm"), "2.4 %", StoredAssertionStatus::Fail, false),
        assertion(
            "response p99.99 < 2s",
            None,
            "n/a (needs 46050, has 1412)",
            StoredAssertionStatus::NoData,
            false,
        ),
        assertion("accepted > 0", None, "1,412", StoredAssertionStatus::Pass, true),
        assertion("shed == 0", None, "20", StoredAssertionStatus::Fail, true),
    ];
    result.ledger = Some(serde_json::json!({
        "connections": 1_980, "refused_connections": 561, "messages": 1_412, "recipients": 1_412, "sessions": 0,
        "sessions_peak": 50, "accept_errors": 0, "content_bytes": 5_783_552, "digest": "00c0ffee",
        "refused": {"too-many-connections-from-host": 540, "resource-low": 21},
    }));
    result
}

/// Returns a run whose generator could not keep up.
pub fn invalid() -> RunResult {
    let mut result = accepted();
    result.verdict = StoredVerdict { status: StoredStatus::Invalid, exit_code: 98, aborted_by: None };
    result.validity = StoredValidity {
        status: ValidityStatus::Invalid,
        reasons: vec!["generator-lag".into(), "generator-cpu".into()],
        explanations: vec![
            "arrivals of phase steady started late: lag p99 48.2 ms, above 5 ms; lower the rate or use more threads".into(),
            "the generator used more than 85 % of its CPU in 34 % of phase steady; give it more cores".into(),
        ],
    };
    result.generator.lag_p99_ns = Some(48_200_000);
    result.generator.cpu_share = 0.97;
    result.warnings = vec![
        "steady: Little's law does not hold: 41.2 arrivals in flight, 38.0 accounted for by service times"
            .into(),
    ];
    result
}

/// Returns a run that is so short that no arrival was scheduled.
pub fn no_data() -> RunResult {
    let mut result = empty();
    result.verdict = StoredVerdict { status: StoredStatus::NoData, exit_code: 4, aborted_by: None };
    result.took_s = 2.01;
    result.phases[0].window_s = 2.0;
    result.ledger = None;
    result.assertions = vec![
        assertion(
            "response p99 < 800ms",
            Some("steady"),
            "n/a (needs 459, has 0)",
            StoredAssertionStatus::NoData,
            false,
        ),
        assertion("accepted > 0", None, "0", StoredAssertionStatus::Fail, true),
        assertion("shed == 0", None, "0", StoredAssertionStatus::Pass, true),
    ];
    result
}

/// Returns a run without a listener at the target.
pub fn refused() -> RunResult {
    let mut result = accepted();
    result.verdict = StoredVerdict { status: StoredStatus::Fail, exit_code: 99, aborted_by: None };
    let phase = &mut result.phases[0];
    *phase = StoredPhase { accepted: 0, refused: 24_000, accepted_per_s: 0.0, ..phase.clone() };
    phase.sessions = StoredSessions {
        opened: 24_000,
        refused: 24_000,
        peak: 3,
        backoffs: 300,
        ..StoredSessions::default()
    };
    phase.transactions = StoredTransactions::default();
    phase.bytes = Bytes::default();
    result.metrics = vec![
        metric("steady", "response", "refused", 24_000, [0.02, 0.05, 0.09, 0.12, 0.4, 1.2, 1.9, 2.1]),
        metric("steady", "service", "refused", 24_000, [0.01, 0.04, 0.08, 0.10, 0.3, 0.9, 1.8, 1.9]),
        metric("steady", "step.connect", "refused", 24_000, [0.01, 0.04, 0.08, 0.10, 0.3, 0.9, 1.8, 1.9]),
    ];
    result.conditions = vec![condition(
        "steady",
        "connect",
        "connect-refused",
        None,
        "refused",
        24_000,
        (0.0, 59.99),
        "connection refused by 127.0.0.1:2525",
    )];
    result.assertions = vec![
        assertion(
            "response p99 < 800ms",
            Some("steady"),
            "no arrival was accepted",
            StoredAssertionStatus::NoData,
            false,
        ),
        assertion("accepted > 0", None, "0", StoredAssertionStatus::Fail, true),
        assertion("shed == 0", None, "0", StoredAssertionStatus::Pass, true),
    ];
    result
}

/// Returns a run that the user stopped with Ctrl-C after 12 s.
pub fn interrupted() -> RunResult {
    let mut result = accepted();
    result.took_s = 12.34;
    result.verdict = StoredVerdict { status: StoredStatus::Interrupted, exit_code: 105, aborted_by: None };
    result.phases[0] = phase("steady", 4_936, 12.34);
    result.phases[0].accepted = 4_900;
    result.phases[0].interrupted = 36;
    result.metrics = vec![
        metric("steady", "response", "accepted", 4_900, [1.1, 2.0, 3.9, 4.7, 212., 1_020., 0., 61.2]),
        metric("steady", "service", "accepted", 4_900, [1.0, 1.9, 3.6, 4.3, 198., 990., 0., 44.0]),
    ];
    for metric in &mut result.metrics {
        metric.censored = 36;
        metric.percentiles[3].status = PercentileStatus::AtLeast;
        metric.percentiles[4].status = PercentileStatus::AtLeast;
    }
    result.metrics.extend(steps("steady", 4_900, 200));
    result.conditions = vec![condition(
        "steady",
        "body",
        "run-ended",
        None,
        "interrupted",
        36,
        (12.3, 12.34),
        "still under way when the run ended",
    )];
    result.assertions[0].observed = "at least 212 ms".into();
    result.assertions[1].observed = "4,900".into();
    result
}

/// Returns a run of a warm-up and three measured phases.
pub fn several_phases() -> RunResult {
    let mut result = accepted();
    let mut warm = phase("warm", 500, 10.0);
    warm.warmup = true;
    let mut steady = phase("steady", 24_000, 60.0);
    steady.start_s = 10.0;
    let mut peak = phase("peak", 30_000, 30.0);
    (peak.start_s, peak.model, peak.shed, peak.started) = (70.0, "ramping-rate".into(), 1_200, 28_800);
    (peak.accepted, peak.deferred, peak.started_per_s, peak.accepted_per_s) = (27_900, 900, 960.0, 930.0);
    let mut after = phase("after", 6_000, 30.0);
    after.start_s = 100.0;
    result.phases = vec![warm, steady, peak, after];
    result.took_s = 131.9;
    result.metrics = vec![];
    for (name, n, slow) in [("steady", 24_000, 1.0), ("peak", 27_900, 31.0), ("after", 6_000, 1.1)] {
        let times = [1.12, 2.04, 3.91, 4.77, 12.4, 48.1, 55.0, 61.2].map(|ms| ms * slow);
        result.metrics.push(metric(name, "response", "accepted", n, times));
        result.metrics.push(metric(name, "service", "accepted", n, times.map(|ms| ms / slow.sqrt())));
        if name == "peak" {
            result.metrics.push(metric(name, "response", "deferred", 900, times.map(|ms| ms / 9.0)));
            result.metrics.push(metric(name, "service", "deferred", 900, times.map(|ms| ms / 12.0)));
        }
        result.metrics.extend(steps(name, n, 200));
    }
    result.conditions = vec![condition(
        "peak",
        "mail",
        "resource-low",
        Some((452, "4.3.1")),
        "deferred",
        900,
        (81.2, 99.8),
        "452 4.3.1 Insufficient system resources",
    )];
    result.verdict = StoredVerdict { status: StoredStatus::Fail, exit_code: 99, aborted_by: None };
    result.assertions = vec![
        assertion("response p99 < 800ms", Some("steady"), "12.4 ms", StoredAssertionStatus::Pass, false),
        assertion("response p99 < 200ms", Some("peak"), "384 ms", StoredAssertionStatus::Fail, false),
        assertion("accepted > 0", None, "57,900", StoredAssertionStatus::Pass, true),
        assertion("shed == 0", None, "1,200", StoredAssertionStatus::Fail, true),
    ];
    result
}

/// Returns a run that was stopped before the first scheduled arrival.
pub fn empty() -> RunResult {
    let mut result = interrupted();
    result.took_s = 0.0;
    result.phases = vec![phase("steady", 0, 0.0)];
    result.phases[0].offered_per_s = 0.0;
    result.phases[0].started_per_s = 0.0;
    result.phases[0].accepted_per_s = 0.0;
    result.phases[0].sessions = StoredSessions::default();
    result.metrics.clear();
    result.conditions.clear();
    result.assertions.clear();
    result.generator = Generator::default();
    result.ledger = Some(serde_json::json!({"messages": 0}));
    result
}

fn phase(name: &str, n: u64, window_s: f64) -> StoredPhase {
    let rate = n as f64 / window_s;
    StoredPhase {
        name: name.into(),
        warmup: false,
        model: "constant-rate".into(),
        start_s: 0.0,
        window_s,
        unit: "message".into(),
        scheduled: n,
        shed: 0,
        started: n,
        accepted: n,
        expected: 0,
        deferred: 0,
        rejected: 0,
        refused: 0,
        dropped: 0,
        timed_out: 0,
        in_doubt: 0,
        malformed: 0,
        interrupted: 0,
        drained: Some(StoredDrained { expects: Some(Default::default()), ..StoredDrained::default() }),
        offered_per_s: rate,
        started_per_s: rate,
        accepted_per_s: rate,
        work: None,
        transactions: StoredTransactions { attempted: n, accepted: n, ..StoredTransactions::default() },
        sessions: StoredSessions { opened: 200, established: 200, peak: 200, ..StoredSessions::default() },
        recipients: Recipients { accepted: n, refused: 0 },
        delivery: None,
        bytes: Bytes { sent: n * 4_400, received: n * 210 },
        tls: None,
        expects: Default::default(),
        addresses: Vec::new(),
        retry: None,
    }
}

/// Returns a distribution. `ms`: min, p50, p90, p95, p99, p99.9, p99.99 and max in milliseconds.
fn metric(phase: &str, name: &str, outcome: &str, count: u64, ms: [f64; 8]) -> StoredMetric {
    let needs = [7, 44, 90, 459, 4_603, 46_050];
    let percentiles = [0.5, 0.9, 0.95, 0.99, 0.999, 0.9999]
        .into_iter()
        .zip(needs)
        .zip(&ms[1..7])
        .map(|((q, needs), value)| {
            let ns = |factor: f64| (count >= needs).then_some((value * MS * factor) as u64);
            let status =
                if count >= needs { PercentileStatus::Exact } else { PercentileStatus::NotAvailable };
            Percentile { q, value_ns: ns(1.0), low_ns: ns(0.96), high_ns: ns(1.07), status, needs }
        })
        .collect();
    StoredMetric {
        phase: phase.into(),
        name: name.into(),
        outcome: outcome.into(),
        count,
        censored: 0,
        min_ns: (ms[0] * MS) as u64,
        max_ns: (ms[7] * MS) as u64,
        mean_ns: ms[1] * MS * 1.2,
        percentiles,
        hdr_base64: None,
    }
}

fn steps(phase: &str, n: u64, sessions: u64) -> Vec<StoredMetric> {
    [
        ("step.connect", sessions, [0.02, 0.04, 0.09, 0.11, 0.31, 0., 0., 1.2]),
        ("step.greeting", sessions, [2.0, 2.2, 2.4, 2.5, 4.4, 0., 0., 9.9]),
        ("step.hello", sessions, [0.1, 0.2, 0.3, 0.4, 0.8, 0., 0., 2.2]),
        ("step.mail", n, [0.05, 0.11, 0.21, 0.24, 0.44, 0.9, 1.1, 2.0]),
        ("step.rcpt", n, [0.05, 0.12, 0.22, 0.25, 0.45, 0.9, 1.1, 2.0]),
        ("step.data", n, [0.05, 0.10, 0.20, 0.23, 0.40, 0.9, 1.1, 2.0]),
        ("step.body", n, [0.7, 1.41, 3.0, 3.6, 8.8, 28., 36., 40.]),
        ("step.quit", sessions, [0.05, 0.10, 0.20, 0.23, 0.40, 0.0, 0.0, 2.0]),
    ]
    .into_iter()
    .map(|(name, count, ms)| metric(phase, name, "accepted", count, ms))
    .collect()
}

#[expect(clippy::too_many_arguments, reason = "a row of a table")]
fn condition(
    phase: &str,
    step: &str,
    name: &str,
    code: Option<(u16, &str)>,
    outcome: &str,
    count: u64,
    (first_s, last_s): (f64, f64),
    sample: &str,
) -> StoredCondition {
    StoredCondition {
        phase: phase.into(),
        step: step.into(),
        condition: name.into(),
        code: code.map(|(code, _)| code),
        enhanced: code.map(|(_, enhanced)| enhanced.into()),
        outcome: outcome.into(),
        expected: outcome == "expected",
        count,
        drained: Some(0),
        first_s,
        last_s,
        sample: sample.into(),
    }
}

fn assertion(
    expr: &str,
    phase: Option<&str>,
    observed: &str,
    status: StoredAssertionStatus,
    builtin: bool,
) -> StoredAssertion {
    StoredAssertion {
        expr: expr.into(),
        phase: phase.map(Into::into),
        observed: observed.into(),
        status,
        builtin,
        abort: false,
        window_s: None,
        grace_s: None,
    }
}
