//! The result of a search for limits or capacity, without phases. The search adds the limits or the capacity.

use std::time::Duration;

use crate::plan::Plan;
use crate::report::format;
use crate::report::stored::{
    Generator, RunResult, SCHEMA_VERSION, StoredProfile, StoredValidity, StoredVerdict, Tool, ValidityStatus,
};
use crate::verdict::SearchVerdict;

/// The input for the head of a search's result.
#[derive(Clone, Debug)]
pub struct Searched<'a> {
    /// The plan of the search.
    pub plan: &'a Plan,
    /// The profile's file, if there is one.
    pub profile_path: Option<String>,
    /// SHA-256 of the resolved profile, in hexadecimal.
    pub profile_sha256: String,
    /// When the search started, since the Unix epoch.
    pub started_at: Duration,
    /// How long the search took.
    pub took: Duration,
    /// The verdict.
    pub verdict: SearchVerdict,
    /// The embedded listener's own counts.
    pub ledger: Option<serde_json::Value>,
}

impl RunResult {
    /// Returns the result of a search, still without limits and capacity.
    pub fn searched(input: Searched<'_>) -> RunResult {
        let plan = input.plan;
        let SearchVerdict { status, exit_code, reason } = input.verdict;
        let (reasons, explanations) = reason.into_iter().map(|reason| (reason.code, reason.sentence)).unzip();
        RunResult {
            validity: validity(reasons, explanations),
            verdict: StoredVerdict { status: status.into(), exit_code: exit_code.number(), aborted_by: None },
            generator: Generator { threads: 1, ..Generator::default() },
            ledger: input.ledger,
            ..empty(plan, input.profile_path, input.profile_sha256, [input.started_at, input.took])
        }
    }
}

/// Returns an empty result of this plan. `times`: the start since the Unix epoch, and the length of the search.
pub(super) fn empty(plan: &Plan, path: Option<String>, sha256: String, times: [Duration; 2]) -> RunResult {
    RunResult {
        schema_version: SCHEMA_VERSION,
        tool: Tool { name: env!("CARGO_PKG_NAME").to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
        run_id: plan.run_id.clone(),
        directory: None,
        shard: None,
        load_began_at: None,
        started_at: format::timestamp(times[0]),
        took_s: times[1].as_secs_f64(),
        target: plan.target.to_string(),
        profile: StoredProfile {
            name: plan.name.clone(),
            path,
            sha256,
            load_sha256: None,
            seed: plan.seed,
            schedule_sha256: String::new(),
        },
        validity: validity(Vec::new(), Vec::new()),
        verdict: StoredVerdict::default(),
        warnings: Vec::new(),
        phases: Vec::new(),
        metrics: Vec::new(),
        conditions: Vec::new(),
        assertions: Vec::new(),
        events: Vec::new(),
        agents: Vec::new(),
        generator: Generator::default(),
        delivery: None,
        ledger: None,
        limits: Vec::new(),
        capacity: None,
    }
}

pub(super) fn validity(reasons: Vec<String>, explanations: Vec<String>) -> StoredValidity {
    let status = if reasons.is_empty() { ValidityStatus::Valid } else { ValidityStatus::Invalid };
    StoredValidity { status, reasons, explanations }
}
