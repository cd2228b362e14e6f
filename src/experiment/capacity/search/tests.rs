//! Tests of searches in virtual time, against a simulated listener: a queue with a known capacity.

use super::super::classify::GoalWeights;
use super::super::controller::{Controller, GoalEnd, SearchRules};
use super::super::search_plan::Knob;
use super::*;
use crate::collector::backlog::{BacklogSample, BacklogSeries, EVERY};
use crate::collector::snapshot::{Gauges, Health};
use crate::collector::tally::PhaseTally;
use crate::event::ShellCommand;
use crate::experiment::selftest::scenarios;
use crate::load::{Curve, Schedule, Shard, Think};
use crate::mail::MessageSize;
use crate::plan::{Messages, Unit};
use crate::verdict::Assertion;

mod relays;
use relays::VirtualRelay;

/// An M/D/c listener with its own clock. Its backlog is kept from one trial to the next.
struct Virtual {
    now: Duration,
    workers: Vec<Duration>,
    service: Duration,
    /// The additional service time for each byte of a message, in nanoseconds.
    by_size: u64,
    /// The numbers of the trials that a failure of this machine makes invalid.
    spoilt: Vec<usize>,
    /// The number of the trial before which the user's command fails.
    hook_fails: Option<usize>,
    /// The time at which the user stops.
    stops: Option<Duration>,
    /// The queue of the relay, if the listener is a relay with a receiver behind it.
    relay: Option<VirtualRelay>,
    said: Vec<String>,
    kept: usize,
    runs: usize,
    /// The run identifiers of the probes.
    probed: Vec<String>,
}

impl Virtual {
    fn new(workers: usize, service_ms: u64) -> Virtual {
        Virtual {
            now: Duration::ZERO,
            workers: vec![Duration::ZERO; workers],
            service: Duration::from_millis(service_ms),
            by_size: 0,
            spoilt: Vec::new(),
            hook_fails: None,
            stops: None,
            relay: None,
            said: Vec::new(),
            kept: 0,
            runs: 0,
            probed: Vec::new(),
        }
    }

    /// Serves an arrival of this time and size. Returns its response time.
    fn serve(&mut self, at: Duration, size: u64) -> Duration {
        let service = self.service + Duration::from_nanos(self.by_size * size);
        let worker = self.workers.iter_mut().min().unwrap();
        *worker = (*worker).max(at) + service;
        *worker - at
    }
}

impl Runner for Virtual {
    fn run(&mut self, plan: &Plan, observer: &mut dyn Observer) -> Result<Measured, RunError> {
        self.runs += 1;
        let phase = &plan.phases[0];
        if phase.name == "probe" {
            self.probed.push(plan.run_id.clone());
        }
        let length = phase.load.length.unwrap();
        let size = if let MessageSize::Fixed(size) = plan.mail.size { size } else { 0 };
        // In an open model the schedule gives the time of each arrival. In a closed model an arrival starts as soon as its
        // session is free.
        let mut tally = Tally::new(1);
        let (mut end, mut aborted_by, mut in_flight_ns) = (Duration::ZERO, None, 0u128);
        let mut idle = match &phase.load.model {
            LoadModel::Sessions { curve, .. } => vec![Duration::ZERO; curve.points[0].1 as usize],
            LoadModel::Shared { .. } => vec![Duration::ZERO],
            _ => Vec::new(),
        };
        let mut schedule = Schedule::new(std::slice::from_ref(&phase.load), plan.seed, Shard::WHOLE);
        let mut second = Duration::from_secs(1);
        let (mut offered, mut finished) = (Vec::new(), Vec::new());
        loop {
            let due = if let LoadModel::Rate { .. } = phase.load.model {
                let Some(arrival) = schedule.take(Duration::ZERO) else { break };
                let crate::load::Due::At(due) = arrival.due else { panic!("{arrival:?}") };
                due
            } else {
                let Some(due) = idle.iter().copied().min().filter(|due| *due < length) else { break };
                due
            };
            while due >= second && aborted_by.is_none() {
                let interval = Interval {
                    transactions: Vec::new(),
                    start: second - Duration::from_secs(1),
                    length: Duration::from_secs(1),
                    tally: Tally::new(1),
                    gauges: Gauges::default(),
                };
                if let Control::Stop(why) = observer.interval(&interval, &tally) {
                    aborted_by = Some(why);
                }
                second += Duration::from_secs(1);
            }
            if aborted_by.is_some() {
                break;
            }
            let took = self.serve(self.now + due, size);
            offered.push(due);
            finished.push(due + took);
            file(&mut tally.phases[0], took);
            in_flight_ns += took.as_nanos();
            end = end.max(due + took);
            match idle.iter_mut().min() {
                Some(_) if phase.load.model.total().is_some() => idle.clear(),
                Some(session) => *session = due + took,
                None => {}
            }
        }
        tally.phases[0].counts.in_flight_ns = in_flight_ns;
        let number = phase.name.strip_prefix("trial-").and_then(|number| number.parse().ok());
        if number.is_some_and(|number| self.spoilt.contains(&number)) {
            tally.phases[0].counts.own_failures = 1;
        }
        // A client that stops waiting closes its session, but the listener finishes the work.
        let over = if aborted_by.is_some() { second } else { length };
        let loaded =
            self.now + if phase.name == "probe" { end } else { end.clamp(over, over + phase.graceful_stop) };
        let backlog = backlog(&offered, finished.clone(), length);
        let began = std::mem::replace(&mut self.now, loaded);
        let delivered = self.relay.as_mut().map(|relay| relay.hand_on(finished, length, &mut tally, began));
        self.now = self.now.max(delivered.as_ref().map_or(began, |delivered| began + delivered.ended));
        Ok(Measured {
            delivered: delivered.map(Box::new),
            tally,
            backlog,
            windows: vec![length],
            starts: vec![Duration::ZERO],
            held_back: vec![false],
            work: Vec::new(),
            drained_for: vec![Duration::ZERO],
            began_at: Duration::ZERO,
            gauges: Gauges::default(),
            peak_sessions: vec![1],
            health: Health::default(),
            interrupted: self.stops.is_some_and(|at| self.now >= at),
            aborted_by,
            took: end,
            ..Measured::default()
        })
    }
}

/// Returns the samples of a trial's backlog.
fn backlog(offered: &[Duration], mut finished: Vec<Duration>, length: Duration) -> BacklogSeries {
    finished.sort_unstable();
    let mut series = BacklogSeries::default();
    let until = |times: &[Duration], now| times.partition_point(|time| *time <= now) as u64;
    for tenth in 0..=(length.as_millis() / EVERY.as_millis()) as u32 {
        let now = EVERY * tenth;
        series.take(now, BacklogSample { offered: until(offered, now), finished: until(&finished, now) });
    }
    series
}

fn file(tally: &mut PhaseTally, took: Duration) {
    tally.counts.scheduled += 1;
    tally.counts.started += 1;
    tally.counts.arrivals.add(Outcome::Accepted);
    let ns = took.as_nanos() as u64;
    for metric in [Metric::Response, Metric::Service] {
        tally.hists.entry((metric, Outcome::Accepted)).or_default().record(ns);
    }
}

impl SearchHost for Virtual {
    fn elapsed(&self) -> Duration {
        self.now
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    fn stopped(&self) -> bool {
        self.stops.is_some_and(|at| self.now >= at)
    }

    fn between(&mut self, command: &ShellCommand, number: usize) -> Result<(), String> {
        self.said.push(format!("{} {number}", command.text));
        if self.hook_fails == Some(number) { Err("it failed".to_owned()) } else { Ok(()) }
    }

    fn keep(&mut self, state: &SearchState) {
        self.kept = state.records.len();
    }

    fn notify(&mut self, event: SearchEvent<'_>, _: &SearchState) {
        self.said.push(match event {
            SearchEvent::WarmUp => "warm-up".to_owned(),
            SearchEvent::Started(ask) => format!("started {}", ask.load),
            SearchEvent::Ended(record) => format!("ended {}", record.load),
            SearchEvent::CoolDown => "cool-down".to_owned(),
        });
    }
}

/// Returns a search of the rate for one objective.
fn capacity(objective: &str) -> (CapacityPlan, Plan) {
    let plan = scenarios().remove(0).plan;
    let expr = Assertion::parse(objective).unwrap().expr;
    let capacity = CapacityPlan {
        knob: Knob::Rate,
        rules: SearchRules {
            start: 20.0,
            max: 5000.0,
            width: 0.05,
            whole: false,
            ceiling: None,
            weights: GoalWeights { full_s: 20.0, sum_s: 60.0, exceed: 0.5 },
            confirm_s: 60.0,
            goals: 1,
        },
        sustained: true,
        deliveries: Assertion::builtin_behind_relay(),
        goals: vec![Goal::new("goal", &expr, 0.0).unwrap()],
        phase: plan.phases[0].clone(),
        of_phase: None,
        messages: Messages::Unlimited,
        warmup: Duration::from_secs(10),
        cooldown_max: Duration::from_secs(60),
        deadline: Duration::from_secs(20 * 60),
        between_trials: None,
    };
    (capacity, plan)
}

fn new_state(capacity: &CapacityPlan) -> SearchState {
    SearchState::new(Controller::new(capacity.rules.clone()), "sha".to_owned(), "run".to_owned())
}

#[test]
fn eight_workers_of_20_ms_carry_400_a_second() {
    let (capacity, plan) = capacity("response p99 < 200ms");
    let (mut host, mut state) = (Virtual::new(8, 20), new_state(&capacity));
    assert_eq!(search(&capacity, &plan, &mut host, &mut state).unwrap(), SearchEnd::Complete);
    let found = state.controller.bounds(0);
    assert_eq!(found.ending, GoalEnd::Found);
    // With an overload of 1 % the last arrival of 20 s waits for 200 ms.
    let (lower, upper) = (found.lower.unwrap(), found.upper.unwrap());
    assert!((380.0..=404.5).contains(&lower) && upper > 400.0 && found.confirmed, "{found:?}");
    assert_eq!((host.kept, state.base_ns), (state.records.len(), Some(20_000_000)));
    assert_eq!(&host.said[..3], ["warm-up", "started 20", "ended 20"]);
    // A load that is far too high is stopped early.
    let lost = state.records.iter().find(|record| record.load == 640.0).unwrap();
    assert!(lost.ended_early && !lost.goals[0].good && lost.goals[0].bad_share > 0.01, "{lost:?}");
}

#[test]
fn the_backlog_of_a_trial_is_waited_for_and_not_taken_into_the_next() {
    let (mut capacity, plan) = capacity("response p99 < 200ms");
    capacity.rules.start = 4000.0;
    let (mut host, mut state) = (Virtual::new(8, 20), new_state(&capacity));
    search(&capacity, &plan, &mut host, &mut state).unwrap();
    assert!(host.said.contains(&"cool-down".to_owned()), "{:?}", host.said);
    // After one second at ten times its capacity the listener has work for nine more seconds.
    let first = &state.records[0];
    assert!(first.cooldown_s > Some(3.0) && !first.backlog_left, "{first:?}");
    assert!(state.controller.bounds(0).lower >= Some(380.0), "the next trials do not suffer of it");
    capacity.cooldown_max = Duration::from_secs(2);
    let (mut host, mut state) = (Virtual::new(8, 20), new_state(&capacity));
    search(&capacity, &plan, &mut host, &mut state).unwrap();
    assert!(state.records[0].backlog_left, "and where that takes too long, it is reported");
}

#[test]
fn by_sessions_the_time_of_a_full_house_decides() {
    let (mut capacity, plan) = capacity("response p99 < 65ms");
    capacity.knob = Knob::Sessions;
    capacity.rules = SearchRules { start: 1.0, max: 1000.0, whole: true, ..capacity.rules };
    capacity.phase.load.model = LoadModel::Sessions { curve: Curve::constant(1.0), think: Think::default() };
    capacity.phase.unit = Unit::Session;
    let (mut host, mut state) = (Virtual::new(8, 20), new_state(&capacity));
    search(&capacity, &plan, &mut host, &mut state).unwrap();
    let found = state.controller.bounds(0);
    // Eight workers serve 24 sessions in three times 20 ms, which is within the limit. The 25th session waits for 60 ms.
    assert_eq!((found.lower, found.upper), (Some(24.0), Some(25.0)), "{:?}", state.records);
}

#[test]
fn by_size_the_time_of_a_byte_decides() {
    let (mut capacity, plan) = capacity("response p99 < 100ms");
    capacity.knob = Knob::Size;
    capacity.rules = SearchRules { start: 1024.0, max: 1e7, whole: true, ..capacity.rules };
    capacity.phase.load.model = LoadModel::Rate { curve: Curve::constant(5.0), spacing: Spacing::Uniform };
    let mut host = Virtual { by_size: 100, ..Virtual::new(8, 20) };
    let mut state = new_state(&capacity);
    search(&capacity, &plan, &mut host, &mut state).unwrap();
    let found = state.controller.bounds(0);
    // 80 ms correspond to 800,000 bytes.
    let (lower, upper) = (found.lower.unwrap(), found.upper.unwrap());
    assert!(lower <= 800_000.0 && upper > 799_000.0 && lower >= upper * 0.95, "{found:?}");
}

#[test]
fn the_warm_up_is_no_more_than_the_generator_is_trusted_with() {
    let (mut capacity, plan) = capacity("response p99 < 200ms");
    let warm_up = |capacity: &CapacityPlan| {
        let mut warm_up = capacity.warm_up(&plan, Duration::from_secs(10));
        warm_up.phases[0].load.model.curve_mut().unwrap().peak()
    };
    assert_eq!(warm_up(&capacity), 20.0);
    capacity.rules.ceiling = Some(7.5);
    assert_eq!(warm_up(&capacity), 7.5);
}

#[test]
fn the_pauses_of_refused_sessions_are_those_of_the_profile() {
    let (capacity, mut plan) = capacity("response p99 < 200ms");
    plan.reconnect.first *= 3;
    assert_eq!(capacity.trial(&plan, 1, 20.0, Duration::from_secs(20)).reconnect, plan.reconnect);
}

#[test]
fn what_the_generator_spoilt_is_never_the_listeners() {
    let (capacity, plan) = capacity("response p99 < 200ms");
    let mut host =
        Virtual { spoilt: (1..).skip_while(|n| *n < 4).take(100).collect(), ..Virtual::new(8, 20) };
    let mut state = new_state(&capacity);
    search(&capacity, &plan, &mut host, &mut state).unwrap();
    let found = state.controller.bounds(0);
    assert_eq!(found.upper, None, "not one of them made an upper bound: {found:?}");
    assert!(state.records[3].goals.is_empty() && state.records[3].invalid[0].code == "own-resource");
}

#[test]
fn a_failing_command_a_deadline_and_the_user_end_it_with_what_is_known() {
    let (mut capacity, plan) = capacity("response p99 < 200ms");
    capacity.between_trials = Some(ShellCommand { text: "flush".to_owned(), folder: "".into() });
    let mut host = Virtual { hook_fails: Some(3), ..Virtual::new(8, 20) };
    let mut state = new_state(&capacity);
    assert_eq!(
        search(&capacity, &plan, &mut host, &mut state).unwrap(),
        SearchEnd::Hook("it failed".to_owned())
    );
    assert_eq!(state.records.len(), 2);
    capacity.between_trials = None;
    capacity.deadline = Duration::from_secs(100);
    let (mut host, mut state) = (Virtual::new(8, 20), new_state(&capacity));
    assert_eq!(search(&capacity, &plan, &mut host, &mut state).unwrap(), SearchEnd::Deadline);
    assert!(!state.records.is_empty() && host.now <= Duration::from_secs(101), "{:?}", host.now);
    let mut host = Virtual { stops: Some(Duration::from_secs(70)), ..Virtual::new(8, 20) };
    let mut state = new_state(&capacity);
    assert_eq!(search(&capacity, &plan, &mut host, &mut state).unwrap(), SearchEnd::Interrupted);
    assert_eq!(host.kept, state.records.len());
}

#[test]
fn a_search_that_goes_on_finds_what_it_would_have_found() {
    let (capacity, plan) = capacity("response p99 < 200ms");
    let (mut host, mut whole) = (Virtual::new(8, 20), new_state(&capacity));
    search(&capacity, &plan, &mut host, &mut whole).unwrap();
    let hurried = CapacityPlan { deadline: Duration::from_secs(150), ..capacity.clone() };
    let (mut host, mut state) = (Virtual::new(8, 20), new_state(&hurried));
    assert_eq!(search(&hurried, &plan, &mut host, &mut state).unwrap(), SearchEnd::Deadline);
    let known = state.records.len();
    assert!(known > 0 && known < whole.records.len());
    let mut state: SearchState = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
    search(&capacity, &plan, &mut host, &mut state).unwrap();
    assert_eq!(state.controller, whole.controller);
    // The messages of all probes differ: a relay may still have those from before the interruption.
    let different: std::collections::BTreeSet<&String> = host.probed.iter().collect();
    assert_eq!(different.len(), host.probed.len(), "{:?}", host.probed);
}

/// The listener carries 400/s. For a minute, a load that is a third higher still meets a goal of 20 s.
#[test]
fn a_load_whose_backlog_grows_is_no_capacity_though_the_goal_is_met() {
    let (mut capacity, plan) = capacity("response p99 < 20s");
    let found = |capacity: &CapacityPlan| {
        let (mut host, mut state) = (Virtual::new(8, 20), new_state(capacity));
        search(capacity, &plan, &mut host, &mut state).unwrap();
        state
    };
    let state = found(&capacity);
    let bounds = state.controller.bounds(0);
    assert!(bounds.lower >= Some(380.0) && bounds.lower <= Some(404.0) && bounds.confirmed, "{bounds:?}");
    let missed = state.records.iter().find(|record| Some(record.load) == bounds.upper).unwrap();
    assert!(missed.goals[0].unsustained && !missed.goals[0].good, "{missed:?}");
    let growth = missed.backlog.unwrap();
    assert!(
        (growth.per_s - (missed.load - 400.0)).abs() < 0.05 * growth.per_s,
        "{growth:?} at {}",
        missed.load
    );
    let why = super::super::describe::bound_by(&capacity, &state, 0).unwrap();
    assert!(why.starts_with("unsustained: at ") && why.contains("response p99 < 20s was met"), "{why}");
    // Without the rule the goal alone decides.
    capacity.sustained = false;
    let state = found(&capacity);
    assert!(state.controller.bounds(0).lower > Some(404.0), "{:?}", state.controller.bounds(0));
    assert!(state.records.iter().all(|record| record.backlog.is_none()));
}
