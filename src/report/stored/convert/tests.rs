//! Tests that a measured run becomes a result that fits its schema.

use super::*;
use crate::collector::Metric;
use crate::collector::histogram::Hist;
use crate::collector::snapshot::{Gauges, Health};
use crate::collector::summary::PhaseInfo;
use crate::collector::tally::{ConditionCount, ConditionKey, Tally};
use crate::condition::Condition;
use crate::load::{self, Curve, LoadModel, Shard, Spacing};
use crate::mail;
use crate::plan::{self, Messages, OnSaturation, Unit};
use crate::report::stored::json;
use crate::smtp::{Enhanced, Script, Step};

fn plan() -> Plan {
    let phase = |name: &str, warmup| plan::Phase {
        name: name.to_owned(),
        load: load::PhaseLoad {
            model: LoadModel::Rate {
                curve: Curve { points: vec![(Duration::ZERO, 10.0)] },
                spacing: Spacing::Uniform,
            },
            length: Some(Duration::from_secs(10)),
        },
        model: "constant-rate".to_owned(),
        unit: Unit::Message,
        warmup,
        max_sessions: 10,
        connect_rate: None,
        on_saturation: OnSaturation::Queue,
        open_first: false,
        graceful_stop: Duration::from_secs(30),
    };
    Plan {
        lists_transactions: false,
        part: plan::PlanPart::Run,
        name: "mx".to_owned(),
        seed: 42,
        run_id: "r1".to_owned(),
        target: "smtp://127.0.0.1:2525".parse().unwrap(),
        origin: Default::default(),
        allow: vec![],
        tls: Default::default(),
        script: Script::default(),
        logins: Default::default(),
        messages: Messages::Fixed(1),
        mail: mail::Spec {
            from: "a@sender.example".into(),
            to: "b@recipient.example".into(),
            recipients: 1,
            size: mail::MessageSize::Fixed(1024),
            ..mail::Spec::default()
        },
        reconnect: Default::default(),
        retry: None,
        phases: vec![phase("warm", true), phase("steady", false)],
        expects: vec![],
        classify: vec![],
        threads: 2,
        shard: Shard { index: 0, of: 1 },
        events: Vec::new(),
    }
}

fn measured() -> Measured {
    let mut tally = Tally::new(2);
    for phase in &mut tally.phases {
        phase.counts.scheduled = 100;
        phase.counts.started = 100;
        let hist = phase.hists.entry((Metric::Response, Outcome::Accepted)).or_default();
        for i in 1..=98 {
            hist.record(i * 1_000_000);
            phase.counts.arrivals.add(Outcome::Accepted);
        }
        for _ in 0..2 {
            phase.counts.arrivals.add(Outcome::Deferred);
        }
    }
    tally.phases[1].conditions.insert(
        ConditionKey {
            step: Step::Mail,
            condition: Condition::ResourceLow,
            code: Some(452),
            enhanced: Enhanced::parse("4.3.1"),
            outcome: Outcome::Deferred,
        },
        ConditionCount {
            count: 2,
            drained: 0,
            first: Duration::from_millis(12_500),
            last: Duration::from_secs(19),
            sample: "452 4.3.1 Insufficient system resources".to_owned(),
        },
    );
    Measured {
        delivered: None,
        tally,
        windows: vec![Duration::from_secs(10); 2],
        held_back: vec![false; 2],
        work: Vec::new(),
        drained_for: vec![Duration::ZERO; 2],
        starts: vec![Duration::ZERO, Duration::from_secs(10)],
        gauges: Gauges::default(),
        peak_sessions: vec![3, 7],
        health: Health { cpu_share: f64::NAN, ..Health::default() },
        interrupted: false,
        aborted_by: None,
        began_at: Duration::ZERO,
        took: Duration::from_secs(21),
        ..Measured::default()
    }
}

fn info(name: &str, warmup: bool) -> PhaseInfo {
    PhaseInfo {
        name: name.to_owned(),
        warmup,
        unit: "message",
        steady: false,
        sheds: false,
        paced: false,
        max_sessions: 10,
        length: Some(Duration::from_secs(10)),
        total: None,
    }
}

#[test]
fn a_measured_run_becomes_a_result_that_fits_the_schema() {
    let measured = measured();
    let summary = Summary::new(&measured, &[info("warm", true), info("steady", false)]);
    let verdict = verdict::Verdict {
        status: verdict::VerdictStatus::Fail,
        exit_code: verdict::ExitCode::Failed,
        results: vec![verdict::AssertionResult {
            expr: "unexpected rate < 1%".to_owned(),
            phase: None,
            observed: "2 %".to_owned(),
            status: verdict::AssertionStatus::Fail,
            builtin: false,
            abort: false,
            window: None,
            grace: Duration::ZERO,
        }],
    };
    let result = RunResult::build(BuildInput {
        plan: &plan(),
        measured: &measured,
        summary: &summary,
        verdict: &verdict,
        profile_path: None,
        profile_sha256: "p".to_owned(),
        load_sha256: "l".to_owned(),
        schedule_sha256: "s".to_owned(),
        started_at: Duration::from_secs(1_795_437_000),
        ledger: None,
    });

    let value: serde_json::Value = serde_json::from_str(&json::write(&result)).unwrap();
    let validator = jsonschema::validator_for(&json::schema()).unwrap();
    let errors: Vec<String> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");

    let steady = &result.phases[1];
    assert_eq!(
        (steady.name.as_str(), steady.model.as_str(), steady.start_s),
        ("steady", "constant-rate", 10.0)
    );
    assert_eq!((steady.scheduled, steady.accepted, steady.deferred), (100, 98, 2));
    assert_eq!((steady.offered_per_s, steady.accepted_per_s), (10.0, 9.8));
    let of = |phase: &str| result.metrics.iter().find(|m| m.phase == phase && m.name == "response").unwrap();
    assert_eq!(of("warm").hdr_base64, None, "a warm-up is not measured");
    let stored = of("steady").hdr_base64.as_deref().unwrap();
    assert_eq!(Hist::decode(stored).unwrap().count(), 98);
    let p = |q: f64| *of("steady").percentiles.iter().find(|p| p.q == q).unwrap();
    assert_eq!((p(0.5).status, p(0.5).needs), (PercentileStatus::Exact, 7));
    assert_eq!(
        (p(0.99).status, p(0.99).value_ns, p(0.99).needs),
        (PercentileStatus::NotAvailable, None, 459)
    );
    let row = &result.conditions[0];
    assert_eq!((row.phase.as_str(), row.step.as_str(), row.first_s), ("steady", "mail", 12.5));
    assert_eq!((row.code, row.enhanced.as_deref(), row.expected), (Some(452), Some("4.3.1"), false));
    assert_eq!(result.generator.cpu_share, 0.0, "JSON has no NaN");
    assert_eq!((result.verdict.status, result.verdict.exit_code), (StoredStatus::Fail, 99));
    assert_eq!(result.started_at, "2026-11-23T12:30:00Z");
}
