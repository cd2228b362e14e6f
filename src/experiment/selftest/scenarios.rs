//! The scenarios: a load, the listener's setting, and the required result.

use std::time::Duration;

use super::{Check, Figure, ListenerSetting, ScenarioResult, all, max_ms, quantile_ms, reconciliation};
use crate::collector::{Metric, Outcome};
use crate::load::{self, Curve, LoadModel, Shard, Spacing};
use crate::mail::{MessageSize, Spec};
use crate::net::address::Target;
use crate::plan::{Messages, OnSaturation, Phase, Plan, Unit};
use crate::smtp::Script;

/// The tolerance for the rounding in histograms and for scheduling: the sum of this share of the bound and of `E_MS`.
const E_SHARE: f64 = 0.001;
const E_MS: f64 = 5.0;

/// One scenario.
pub struct Scenario {
    /// The name.
    pub name: &'static str,
    /// The load.
    pub plan: Plan,
    /// The settings of the listener and the generator.
    pub setting: ListenerSetting,
    /// The rule that the scenario proves.
    pub shows: &'static str,
    judge: fn(&ScenarioResult) -> Vec<Figure>,
}

impl Scenario {
    /// Judges the result of the testbed.
    pub fn judge(&self, observed: &ScenarioResult) -> Check {
        let mut figures = (self.judge)(observed);
        figures.extend(reconciliation(observed));
        Check { name: self.name, shows: self.shows, figures }
    }
}

/// Returns a plan of one phase of messages.
pub(super) fn plan(load: LoadModel, length: Option<Duration>, max_sessions: u32) -> Plan {
    Plan {
        name: "selftest".into(),
        seed: 1,
        run_id: "selftest".into(),
        target: Target::embedded(),
        origin: Default::default(),
        allow: Vec::new(),
        tls: Default::default(),
        script: Script::default(),
        logins: Default::default(),
        messages: Messages::Unlimited,
        mail: Spec {
            from: "load@sender.example".into(),
            to: "user{n}@recipient.example".into(),
            recipients: 1,
            size: MessageSize::Fixed(1024),
            ..Spec::default()
        },
        reconnect: Default::default(),
        retry: None,
        phases: vec![Phase {
            name: "scenario".into(),
            model: "selftest".into(),
            load: load::PhaseLoad { model: load, length },
            unit: Unit::Message,
            warmup: false,
            max_sessions,
            connect_rate: None,
            on_saturation: OnSaturation::Queue,
            open_first: false,
            graceful_stop: Duration::from_secs(30),
        }],
        expects: Vec::new(),
        classify: Vec::new(),
        threads: 1,
        lists_transactions: false,
        part: crate::plan::PlanPart::Run,
        shard: Shard { index: 0, of: 1 },
        events: Vec::new(),
    }
}

pub(super) fn rate(per_second: f64) -> LoadModel {
    LoadModel::Rate { curve: Curve { points: vec![(Duration::ZERO, per_second)] }, spacing: Spacing::Uniform }
}

fn seconds(n: u64) -> Option<Duration> {
    Some(Duration::from_secs(n))
}

/// The length of the stall, and the length of the load around it.
const STALL_MS: f64 = 1000.0;
const STALL_RUN_MS: f64 = 20_000.0;
/// Returns the least response time at quantile q (M1), minus the tolerance, in milliseconds.
fn stalled(q: f64) -> f64 {
    let bound = STALL_MS - (1.0 - q) * STALL_RUN_MS;
    bound - bound * E_SHARE - E_MS
}

/// Returns all scenarios, in their order.
pub fn scenarios() -> Vec<Scenario> {
    let stall = ListenerSetting {
        stall: Some((Duration::from_secs(8), Duration::from_secs(1))),
        ..ListenerSetting::default()
    };
    vec![
        Scenario {
            name: "stall",
            shows: "a listener's stall of 1 s shows in every message that was scheduled during it (M1)",
            plan: plan(rate(200.0), seconds(20), 400),
            setting: stall,
            judge: |observed| {
                let response = all(&observed.measured, Metric::Response);
                vec![
                    Figure::new("response p99", quantile_ms(&response, 0.99), "ms").at_least(stalled(0.99)),
                    Figure::new("response max", max_ms(&response), "ms")
                        .at_least(STALL_MS * (1.0 - E_SHARE) - E_MS),
                ]
            },
        },
        Scenario {
            name: "capped stall",
            shows: "with 20 sessions only, the wait is in the response and not in the service time (M3)",
            plan: plan(rate(200.0), seconds(20), 20),
            setting: ListenerSetting { body: Duration::from_millis(5), ..stall },
            judge: |observed| {
                let response = all(&observed.measured, Metric::Response);
                let service = all(&observed.measured, Metric::Service);
                vec![
                    Figure::new("response p99", quantile_ms(&response, 0.99), "ms").at_least(stalled(0.99)),
                    // Only 20 of the 4,000 messages were in flight when the stall started.
                    Figure::new("service p99", quantile_ms(&service, 0.99), "ms").at_most(50.0),
                ]
            },
        },
        Scenario {
            name: "exact queue",
            shows: "20/s for 5 s on one session of 100 ms: the k-th waits k x 50 ms (M4)",
            plan: plan(rate(20.0), seconds(5), 1),
            setting: ListenerSetting { body: Duration::from_millis(100), ..ListenerSetting::default() },
            judge: |observed| {
                // Arrival k (0 to 99) is scheduled at 50k ms and ends at 100(k + 1) ms: its response time is 100 + 50k ms.
                let response = all(&observed.measured, Metric::Response);
                let service = all(&observed.measured, Metric::Service);
                vec![
                    Figure::new("arrivals", response.count() as f64, "").at_least(100.0).at_most(100.0),
                    Figure::new("response p50", quantile_ms(&response, 0.5), "ms")
                        .at_least(2550.0 * 0.98)
                        .at_most(2550.0 * 1.04),
                    Figure::new("response max", max_ms(&response), "ms")
                        .at_least(5050.0 * 0.99)
                        .at_most(5050.0 * 1.04),
                    Figure::new("service p50", quantile_ms(&service, 0.5), "ms")
                        .at_least(100.0)
                        .at_most(110.0),
                ]
            },
        },
        Scenario {
            name: "blocked generator",
            shows: "500 ms in which the generator's threads stand still show as lag, and in the response (M5)",
            plan: plan(rate(200.0), seconds(4), 50),
            setting: ListenerSetting {
                block: Some((Duration::from_secs(2), Duration::from_millis(500))),
                ..ListenerSetting::default()
            },
            judge: |observed| {
                vec![
                    Figure::new("lag max", max_ms(&all(&observed.measured, Metric::Lag)), "ms")
                        .at_least(495.0),
                    Figure::new("response max", max_ms(&all(&observed.measured, Metric::Response)), "ms")
                        .at_least(495.0),
                ]
            },
        },
        Scenario {
            name: "delay",
            shows: "a listener that waits 10 ms at the final dot is measured at 10 ms",
            plan: plan(rate(100.0), seconds(5), 50),
            setting: ListenerSetting { body: Duration::from_millis(10), ..ListenerSetting::default() },
            judge: |observed| {
                let body = all(&observed.measured, Metric::Step(crate::smtp::Step::Body));
                let p50 = quantile_ms(&body, 0.5);
                // The listener's timer may be late, but never early.
                vec![Figure::new("body p50", p50, "ms").at_least(10.0).at_most(10.0 * 1.01 + 0.2)]
            },
        },
        Scenario {
            name: "books",
            shows: "refused, failing and accepted messages are each counted once, and the listener agrees (M10, M10b)",
            plan: plan(rate(500.0), seconds(4), 30),
            setting: ListenerSetting { errors: 0.1, per_host: Some(20), ..ListenerSetting::default() },
            judge: |observed| {
                let counts = &observed.measured.tally.phases[0].counts;
                vec![
                    Figure::new("accepted", counts.arrivals.of(Outcome::Accepted) as f64, "").at_least(1.0),
                    Figure::new("deferred", counts.arrivals.of(Outcome::Deferred) as f64, "").at_least(1.0),
                    Figure::new("rejected", counts.arrivals.of(Outcome::Rejected) as f64, "").at_least(1.0),
                ]
            },
        },
    ]
}
