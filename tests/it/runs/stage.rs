//! A stage for whole runs: a plan with short names, a listener, and the laws that hold for every run.

use std::time::Duration;

use smtpress::collector::Outcome;
use smtpress::collector::snapshot::Measured;
use smtpress::collector::tally::Counts;
use smtpress::generator::{Local, Runner, Stop};
use smtpress::listener::ledger::LedgerSnapshot;
use smtpress::listener::limits::Limits;
use smtpress::load::{Curve, Load, Shard, Spacing, Think};
use smtpress::mail::{Size, Spec};
use smtpress::net::target::Target;
use smtpress::plan::{Messages, OnSaturation, Phase, Plan, Unit};
use smtpress::smtp::Script;
use smtpress::smtp::script::{Hello, Pipelining, Quit, Timeouts};
use tokio::sync::watch;

pub const SECOND: Duration = Duration::from_secs(1);

/// A plan of one phase that can be changed where it matters.
pub fn plan(phases: Vec<Phase>) -> Plan {
    Plan {
        name: "test".into(),
        seed: 42,
        run_id: "test-run".into(),
        target: Target::Embedded,
        allow: Vec::new(),
        script: Script {
            hello: Hello::Ehlo,
            name: "load.example".into(),
            pipelining: Pipelining::Off,
            quit: Quit::Clean,
            timeouts: Timeouts {
                greeting: 3 * SECOND,
                command: 3 * SECOND,
                data: 3 * SECOND,
                body: 3 * SECOND,
                ..Timeouts::default()
            },
        },
        messages: Messages::Unlimited,
        mail: Spec {
            from: "load@sender.example".into(),
            to: "user{n}@recipient.example".into(),
            recipients: 1,
            size: Size::Fixed(1024),
        },
        phases,
        expects: Vec::new(),
        classify: Vec::new(),
        threads: 2,
        shard: Shard { index: 0, of: 1 },
    }
}

/// A phase of messages; `load` and `unit` are the caller's.
pub fn phase(load: Load, length: Option<Duration>, unit: Unit) -> Phase {
    Phase {
        name: "steady".into(),
        model: "test".into(),
        load: smtpress::load::Phase { load, length },
        unit,
        warmup: false,
        max_sessions: 400,
        connect_rate: None,
        on_saturation: OnSaturation::Queue,
        graceful_stop: 10 * SECOND,
    }
}

pub fn rate(per_second: f64) -> Load {
    Load::Rate { curve: Curve { points: vec![(Duration::ZERO, per_second)] }, spacing: Spacing::Uniform }
}

pub fn shared(total: u64, sessions: u64) -> Load {
    Load::Shared { total, sessions, think: Think::default() }
}

/// What a run and its listener say.
pub struct Told {
    pub measured: Measured,
    pub ledger: LedgerSnapshot,
}

impl Told {
    pub fn counts(&self) -> &Counts {
        &self.measured.tally.phases[0].counts
    }

    pub fn of(&self, outcome: Outcome) -> u64 {
        self.counts().arrivals.of(outcome)
    }

    /// How often a condition was met, over all phases.
    pub fn met(&self, name: &str) -> u64 {
        let rows = self.measured.tally.phases.iter().flat_map(|phase| &phase.conditions);
        rows.filter(|(key, _)| key.condition.as_str() == name).map(|(_, row)| row.count).sum()
    }
}

/// Runs `plan` against a listener with `limits` and holds the laws of every run (M10, M10b) to it.
pub fn run(plan: &Plan, limits: Limits) -> Told {
    let listener = smtpress::listener::start("127.0.0.1:0".parse().unwrap(), limits, 7, 1).unwrap();
    let (_keep, stop) = watch::channel(Stop::Run);
    let mut local = Local::new(stop, "Mon, 23 Nov 2026 12:00:00 +0000".into()).with_listener(listener.addr());
    let measured = local.run(plan, &mut ()).unwrap();
    let told = Told { measured, ledger: listener.stop() };
    hold_laws(&told);
    told
}

/// Conservation (M10) and the ledger (M10b).
pub fn hold_laws(told: &Told) {
    let (mut accepted, mut in_doubt) = (0, 0);
    for phase in &told.measured.tally.phases {
        let counts = &phase.counts;
        assert_eq!(counts.scheduled, counts.started + counts.arrivals.of(Outcome::Shed), "{counts:?}");
        assert_eq!(counts.started, counts.arrivals.ended(), "{counts:?}");
        assert_eq!(counts.attempted, counts.transactions.ended(), "{counts:?}");
        accepted += counts.transactions.of(Outcome::Accepted);
        in_doubt += counts.transactions.of(Outcome::InDoubt);
    }
    let delivered = told.ledger.messages;
    assert!(accepted <= delivered, "accepted {accepted}, delivered {delivered}");
    assert!(
        delivered <= accepted + in_doubt,
        "delivered {delivered}, accepted {accepted}, in doubt {in_doubt}"
    );
}
