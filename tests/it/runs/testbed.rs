//! The testbed of whole runs: short functions for plans, a listener, and the checks of every run.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use smtpress::collector::histogram::{Hist, Quantile, Status};
use smtpress::collector::snapshot::{Interval, Measured};
use smtpress::collector::summary::{Code, PhaseInfo, Summary};
use smtpress::collector::tally::{Counts, Tally};
use smtpress::collector::{Metric, Outcome};
use smtpress::generator::{Control, Local, Observer, RunStart, Runner, Stop};
use smtpress::listener::ledger::LedgerSnapshot;
use smtpress::listener::limits::{Limits, ReplyDelays};
use smtpress::load::{Curve, LoadModel, Shard, Spacing, Think};
use smtpress::mail::{MessageSize, Spec};
use smtpress::net::address::Target;
use smtpress::net::address::bind::Bind;
use smtpress::plan::{Messages, OnSaturation, Phase, Plan, Unit};
use smtpress::smtp::Script;
use smtpress::smtp::script::{Pipelining, Timeouts};
use smtpress::verdict::{Assertion, AssertionStatus, Verdict, Windows};
use tokio::sync::watch;

use super::resolvers::Answers;

pub const SECOND: Duration = Duration::from_secs(1);

/// The list of upper bounds that were not checked because the machine was busy.
const UNCHECKED: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/unchecked-bounds.txt");

/// A plan with these phases and plain settings, which a test can change.
pub fn plan(phases: Vec<Phase>) -> Plan {
    Plan {
        lists_transactions: false,
        part: smtpress::plan::PlanPart::Run,
        name: "test".into(),
        seed: 42,
        run_id: "test-run".into(),
        target: Target::embedded(),
        origin: Default::default(),
        allow: Vec::new(),
        tls: Default::default(),
        script: Script {
            pipelining: Pipelining::Off,
            timeouts: Timeouts {
                greeting: 3 * SECOND,
                command: 3 * SECOND,
                data: 3 * SECOND,
                body: 3 * SECOND,
                ..Timeouts::default()
            },
            ..Script::default()
        },
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
        phases,
        expects: Vec::new(),
        classify: Vec::new(),
        threads: 2,
        shard: Shard { index: 0, of: 1 },
        events: Vec::new(),
    }
}

/// A phase of this load.
pub fn phase(load: LoadModel, length: Option<Duration>, unit: Unit) -> Phase {
    Phase {
        name: "steady".into(),
        model: "test".into(),
        load: smtpress::load::PhaseLoad { model: load, length },
        unit,
        warmup: false,
        max_sessions: 400,
        connect_rate: None,
        on_saturation: OnSaturation::Queue,
        open_first: false,
        graceful_stop: 10 * SECOND,
    }
}

pub fn rate(per_second: f64) -> LoadModel {
    LoadModel::Rate { curve: Curve { points: vec![(Duration::ZERO, per_second)] }, spacing: Spacing::Uniform }
}

pub fn shared(total: u64, sessions: u64) -> LoadModel {
    LoadModel::Shared { total, sessions, think: Think::default() }
}

/// A load of sessions whose number follows these points.
pub fn sessions(points: &[(Duration, f64)], think: Duration) -> LoadModel {
    LoadModel::Sessions { curve: Curve { points: points.to_vec() }, think: Think { min: think, max: think } }
}

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Runs the cases of a test at the same time, because they spend most of their time waiting.
pub fn side_by_side<C: Send>(cases: impl IntoIterator<Item = C>, test: impl Fn(C) + Sync) {
    std::thread::scope(|scope| {
        for case in cases {
            scope.spawn(|| test(case));
        }
    });
}

/// The messages of a session: one if the session is the arrival, which needs a number, else any number.
pub fn messages(unit: Unit) -> Messages {
    if unit == Unit::Session { Messages::Fixed(1) } else { Messages::Unlimited }
}

/// Both units.
pub const UNITS: [Unit; 2] = [Unit::Message, Unit::Session];

/// The limits of a listener with these delays.
pub fn delayed(change: impl FnOnce(&mut ReplyDelays)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits.delays);
    limits
}

/// The measurement, the report and the ledger of a run.
pub struct Told {
    pub measured: Measured,
    pub summary: Summary,
    pub verdict: Verdict,
    pub ledger: LedgerSnapshot,
}

impl Told {
    fn new(plan: &Plan, measured: Measured, ledger: LedgerSnapshot) -> Told {
        let infos: Vec<PhaseInfo> = plan.phases.iter().map(info).collect();
        let summary = Summary::new(&measured, &infos);
        let assertions = Assertion::builtin();
        let windows = Windows::new(&assertions, &infos, &plan.expects);
        let verdict = Verdict::judge(&measured, &summary, &plan.expects, &assertions, &windows);
        Told { measured, summary, verdict, ledger }
    }

    pub fn counts(&self) -> &Counts {
        &self.measured.tally.phases[0].counts
    }

    pub fn of(&self, outcome: Outcome) -> u64 {
        self.counts().arrivals.of(outcome)
    }

    /// Returns the count of a condition over all phases.
    pub fn met(&self, name: &str) -> u64 {
        let rows = self.measured.tally.phases.iter().flat_map(|phase| &phase.conditions);
        rows.filter(|(key, _)| key.condition.as_str() == name).map(|(_, row)| row.count).sum()
    }

    /// Returns a distribution of the first phase; empty if there is none.
    pub fn hist(&self, metric: Metric, outcome: Outcome) -> Hist {
        self.measured.tally.phases[0].hists.get(&(metric, outcome)).cloned().unwrap_or_default()
    }

    /// Returns the reported percentile of the accepted arrivals of the first phase, in seconds.
    pub fn quantile(&self, metric: Metric, q: f64) -> f64 {
        let quantile = self.reported(metric, q);
        assert_eq!(quantile.status, Status::Exact, "{metric} {q}");
        quantile.value_ns as f64 / 1e9
    }

    /// Returns this percentile with its status.
    pub fn reported(&self, metric: Metric, q: f64) -> Quantile {
        let rows = &self.summary.phases[0].metrics;
        let row = rows.iter().find(|row| (row.metric, row.outcome) == (metric, Outcome::Accepted));
        *row.unwrap().quantiles.iter().find(|quantile| quantile.q == q).unwrap()
    }

    /// Whether this built-in assertion failed, and with it the run, unless the run was invalid.
    pub fn fails_by(&self, expr: &str) -> bool {
        let result = self.verdict.results.iter().find(|result| result.expr == expr).unwrap();
        let code = if self.summary.validity.is_valid() { 99 } else { 98 };
        result.status == AssertionStatus::Fail && self.verdict.exit_code.number() == code
    }

    /// Returns the status of this assertion about the whole run.
    pub fn verdict_of(&self, expr: &str) -> AssertionStatus {
        let infos: Vec<PhaseInfo> = self.summary.phases.iter().map(|phase| phase.info.clone()).collect();
        let assertions = [Assertion::parse(expr).unwrap()];
        let windows = Windows::new(&assertions, &infos, &[]);
        Verdict::judge(&self.measured, &self.summary, &[], &assertions, &windows).results[0].status
    }

    /// Whether the run was invalid for this reason.
    pub fn is_invalid_by(&self, code: Code) -> bool {
        self.summary.validity.reasons.iter().any(|reason| reason.code == code)
    }

    /// Asserts that `value` is below `bound`. If the generator itself was late, the bound is not checked but listed in
    /// `UNCHECKED`, and `.ci/run` prints the number of unchecked bounds.
    #[track_caller]
    pub fn below(&self, what: &str, value: f64, bound: f64) {
        let lag = Duration::from_nanos(self.summary.lag_p99_ns);
        if lag <= ms(20) {
            assert!(value < bound, "{what}: {value} is not below {bound}");
            return;
        }
        let line = format!("{what}: {value} is not held to {bound}: the generator was {lag:?} late\n");
        let mut unchecked = OpenOptions::new().create(true).append(true).open(UNCHECKED).unwrap();
        unchecked.write_all(line.as_bytes()).unwrap();
        // Written directly, because the test harness captures the output of `eprintln!`.
        io::stderr().lock().write_all(line.as_bytes()).unwrap();
    }
}

fn info(phase: &Phase) -> PhaseInfo {
    PhaseInfo {
        name: phase.name.clone(),
        warmup: phase.warmup,
        unit: phase.unit.as_str(),
        steady: false,
        sheds: phase.on_saturation == OnSaturation::Drop,
        paced: phase.connect_rate.is_some(),
        max_sessions: phase.max_sessions,
        length: phase.load.length,
        total: phase.load.model.total(),
    }
}

/// The environment of a run, and the events during it.
#[derive(Clone, Debug, Default)]
pub struct Testbed {
    pub limits: Limits,
    /// The resolver of the listener's name; `None`: the target is an address.
    pub resolver: Option<Arc<Answers>>,
    /// The times at which the run is stopped, and how.
    pub stops: Vec<(Duration, Stop)>,
    /// The time at which the listener dies.
    pub dies: Option<Duration>,
}

impl Testbed {
    /// Runs `plan` and checks the rules of every run (M10, M10b).
    pub fn run(self, plan: &Plan) -> Told {
        let place = Bind::Tcp("127.0.0.1:0".parse().unwrap());
        let listener = smtpress::listener::start_before_load(&place, self.limits, 7, 1, None).unwrap();
        let addr = listener.addr();
        let mut plan = plan.clone();
        let (ask, stop) = watch::channel(Stop::Run);
        let mut local = Local::new(stop, "Mon, 23 Nov 2026 12:00:00 +0000".into())
            .with_listener(addr)
            .with_certificate(listener.certificate().cloned());
        if let Some(resolver) = self.resolver {
            plan.target = Target::smtp("mx.recipient.example", addr.port());
            local = local.with_resolver(resolver);
        }
        let stops = self.stops;
        let stopper = std::thread::spawn(move || {
            let mut slept = Duration::ZERO;
            for (at, stop) in stops {
                std::thread::sleep(at - slept);
                slept = at;
                ask.send_replace(stop);
            }
            ask
        });
        let dies = self.dies;
        let (begin, begins) = std::sync::mpsc::channel();
        let (over, is_over) = std::sync::mpsc::channel::<()>();
        let keeper = std::thread::spawn(move || {
            if let Ok(epoch) = begins.recv() {
                listener.count_from(epoch);
            }
            match dies {
                Some(at) => drop(is_over.recv_timeout(at)),
                None => drop(is_over.recv()),
            }
            listener.stop()
        });
        let measured = local.run(&plan, &mut Begins(begin)).unwrap();
        drop(over);
        drop(stopper.join().unwrap());
        let told = Told::new(&plan, measured, keeper.join().unwrap());
        hold_laws(&told.measured, Some(told.ledger.messages));
        told
    }
}

/// Sends the epoch of the run: the listener's stall and outage count from it.
struct Begins(std::sync::mpsc::Sender<std::time::Instant>);

impl Observer for Begins {
    fn begins(&mut self, start: &RunStart) {
        self.0.send(start.clock.epoch()).unwrap();
    }

    fn interval(&mut self, _: &Interval, _: &Tally) -> Control {
        Control::Continue
    }
}

/// Runs `plan` against a listener with `limits`.
pub fn run(plan: &Plan, limits: Limits) -> Told {
    Testbed { limits, ..Testbed::default() }.run(plan)
}

/// Runs `plan` against the listener at `addr`. At the end `delivered` returns the number of messages that the listener
/// took; `None`: it is unknown.
pub fn run_against(plan: &Plan, addr: SocketAddr, delivered: impl FnOnce() -> Option<u64>) -> Told {
    let (_keep, stop) = watch::channel(Stop::Run);
    let mut local = Local::new(stop, "Mon, 23 Nov 2026 12:00:00 +0000".into()).with_listener(addr);
    let measured = local.run(plan, &mut ()).unwrap();
    let delivered = delivered();
    let ledger = LedgerSnapshot { messages: delivered.unwrap_or_default(), ..LedgerSnapshot::default() };
    let told = Told::new(plan, measured, ledger);
    hold_laws(&told.measured, delivered);
    told
}

/// Checks conservation (M10) and the ledger (M10b).
fn hold_laws(measured: &Measured, delivered: Option<u64>) {
    let (mut accepted, mut in_doubt) = (0, 0);
    for phase in &measured.tally.phases {
        let counts = &phase.counts;
        assert_eq!(counts.scheduled, counts.started + counts.arrivals.of(Outcome::Shed), "{counts:?}");
        assert_eq!(counts.started, counts.arrivals.ended(), "{counts:?}");
        assert_eq!(counts.attempted, counts.transactions.ended(), "{counts:?}");
        let is_retried = counts.retry.attempts.ended() > 0;
        if is_retried {
            let messages: u64 = phase.attempts.values().map(|ends| ends.ended()).sum();
            let attempts: u64 = phase.attempts.iter().map(|(k, ends)| u64::from(*k) * ends.ended()).sum();
            assert_eq!(messages, counts.started, "each message ends once: {:?}", phase.attempts);
            assert_eq!(attempts, counts.started + counts.retry.retries, "attempts = first ones + retries");
            assert_eq!(attempts, counts.retry.attempts.ended(), "each attempt ends once: {counts:?}");
        }
        for outcome in Outcome::ALL {
            let timed = |metric| phase.hists.get(&(metric, outcome)).map_or(0, Hist::count);
            // A shed arrival never started. Each other one has each of its times once (M11). Times are of attempts.
            let of_arrivals = if outcome == Outcome::Shed { 0 } else { counts.arrivals.of(outcome) };
            let ended = if is_retried { counts.retry.attempts.of(outcome) } else { of_arrivals };
            let accepting = if is_retried { of_arrivals } else { 0 };
            assert_eq!(timed(Metric::TimeToAccept), accepting, "{outcome}");
            assert_eq!([Metric::Response, Metric::Service, Metric::Lag].map(timed), [ended; 3], "{outcome}");
        }
        accepted += counts.transactions.of(Outcome::Accepted);
        in_doubt += counts.transactions.of(Outcome::InDoubt);
    }
    let delivered = delivered.unwrap_or(accepted);
    assert!(accepted <= delivered, "accepted {accepted}, delivered {delivered}");
    assert!(
        delivered <= accepted + in_doubt,
        "delivered {delivered}, accepted {accepted}, in doubt {in_doubt}"
    );
    let gauges = measured.gauges;
    let left = [gauges.sessions, gauges.in_flight, gauges.waiting, gauges.retrying];
    assert_eq!(left, [0; 4], "something is left behind");
    assert_eq!(measured.health.lost_workers, 0);
}
