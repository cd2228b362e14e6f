//! Tests of the dispatcher in virtual time: single decisions, and rules that every history must obey.

mod bounds;
mod histories;
mod retries;
mod shared_out;
mod start_barrier;
mod world;

use self::world::{SimulatedTarget, World, ms};
use super::*;
use crate::load::{Curve, LoadModel, Spacing, Think};
use crate::plan::OnSaturation;
use crate::plan::{Messages, Phase};
use crate::profile::{Context, Document, Purpose, compile};

pub fn plan(phases: Vec<Phase>) -> Plan {
    Plan {
        lists_transactions: false,
        part: crate::plan::PlanPart::Run,
        name: "test".into(),
        seed: 42,
        run_id: "run".into(),
        target: crate::net::address::Target::embedded(),
        origin: Default::default(),
        allow: Vec::new(),
        tls: Default::default(),
        script: crate::smtp::Script::default(),
        logins: Default::default(),
        messages: Messages::Unlimited,
        mail: crate::mail::Spec {
            from: "a@b.example".into(),
            to: "c@d.example".into(),
            recipients: 1,
            size: crate::mail::MessageSize::Fixed(1024),
            ..crate::mail::Spec::default()
        },
        reconnect: Default::default(),
        retry: None,
        phases,
        expects: Vec::new(),
        classify: Vec::new(),
        threads: 1,
        shard: Shard::WHOLE,
        events: Vec::new(),
    }
}

pub fn phase(load: LoadModel, millis: Option<u64>, unit: Unit, max_sessions: u32) -> Phase {
    Phase {
        name: "p".into(),
        model: "test".into(),
        load: load::PhaseLoad { model: load, length: millis.map(ms) },
        unit,
        warmup: false,
        max_sessions,
        connect_rate: None,
        on_saturation: OnSaturation::Queue,
        open_first: false,
        graceful_stop: ms(500),
    }
}

/// Returns the plan of a profile.
fn compiled(profile: &str) -> Plan {
    let context =
        Context { purpose: Purpose::Run, seed: 7, run_id: "run".into(), threads: 1, shard: Shard::WHOLE };
    let document = Document::parse("profile", profile).unwrap();
    compile(&document, &context).unwrap_or_else(|error| panic!("{error}")).plan
}

fn rate(per_second: f64) -> LoadModel {
    LoadModel::Rate { curve: Curve::constant(per_second), spacing: Spacing::Uniform }
}

fn sessions(points: &[(u64, f64)], think: u64) -> LoadModel {
    let curve = Curve { points: points.iter().map(|(at, value)| (ms(*at), *value)).collect() };
    LoadModel::Sessions { curve, think: Think { min: ms(think), max: ms(think) } }
}

fn shared(total: u64, sessions: u64) -> LoadModel {
    LoadModel::Shared { total, sessions, think: Think::default() }
}

#[test]
fn an_arrival_that_waits_keeps_its_time_and_its_turn() {
    let plan = plan(vec![phase(rate(100.0), Some(200), Unit::Message, 1)]);
    let mut world = World::new(plan, SimulatedTarget::default(), 1);
    world.run();
    assert_eq!((world.of(Outcome::Accepted), world.peak), (20, 1));
    let intended: Vec<u64> = world
        .started
        .iter()
        .map(|(arrival, _)| u64::try_from(arrival.intended.as_millis()).unwrap())
        .collect();
    assert_eq!(intended, (0..20).map(|k| k * 10).collect::<Vec<_>>());
}

/// A retry that finds no session in a phase that drops sheds the arrivals of that phase, and those of no other phase.
#[test]
fn a_phase_that_drops_sheds_no_arrivals_of_a_phase_that_queues() {
    let mut queues = phase(rate(100.0), Some(200), Unit::Message, 1);
    queues.graceful_stop = ms(60_000);
    let mut drops = phase(rate(100.0), Some(200), Unit::Message, 1);
    drops.on_saturation = OnSaturation::Drop;
    let mut plan = plan(vec![queues, drops]);
    let pauses = crate::plan::retry::RetrySchedule::listed(vec![ms(30); 3]);
    plan.retry = Some(crate::plan::retry::Retry { schedule: pauses, wait: Some(ms(60_000)) });
    let target = SimulatedTarget { serves_in: 20, defers: 30, ..SimulatedTarget::default() };
    let mut world = World::new(plan, target, 1);
    world.run();
    assert!(world.retries > 0);
    assert_eq!(world.counts(0).arrivals.of(Outcome::Shed), 0);
    // The arrivals of the first phase need the session until its schedule is long over.
    assert_eq!(world.counts(1).arrivals.of(Outcome::Shed), 20);
}

#[test]
fn drop_sheds_what_finds_no_session_and_queue_does_not() {
    for unit in [Unit::Message, Unit::Session] {
        let mut phase = phase(rate(1000.0), Some(300), unit, 2);
        phase.on_saturation = OnSaturation::Drop;
        let mut world = World::new(plan(vec![phase.clone()]), SimulatedTarget::default(), 1);
        world.run();
        let shed = world.counts(0).arrivals.of(Outcome::Shed);
        assert!(shed > 200 && world.of(Outcome::Accepted) > 20, "{unit:?}: {shed} {:?}", world.outcomes);
        phase.on_saturation = OnSaturation::Queue;
        phase.graceful_stop = ms(60_000);
        let mut world = World::new(plan(vec![phase]), SimulatedTarget::default(), 1);
        world.run();
        assert_eq!(world.of(Outcome::Accepted), 300);
    }
}

#[test]
fn an_arrival_that_came_due_since_the_last_call_is_not_passed_over() {
    let plan = Arc::new(plan(vec![phase(rate(100.0), Some(1000), Unit::Message, 1)]));
    let mut dispatch = Dispatch::new(plan, Shard::WHOLE);
    let mut recorder = Recorder::new(1, 0);
    dispatch.advance(ms(5), &mut recorder);
    // The answer does not depend on when `next_wake` is called: the arrival of 10 ms has not been noticed.
    assert_eq!(dispatch.next_wake(), Some(ms(10)));
    dispatch.advance(ms(25), &mut recorder);
    assert_eq!(dispatch.next_wake(), Some(ms(30)));
}

#[test]
fn a_target_that_refuses_everybody_is_charged_and_does_not_hold_the_run() {
    for (load, length) in [(rate(200.0), Some(1000)), (shared(1000, 10), None), (shared(1000, 10), Some(800))]
    {
        for unit in [Unit::Message, Unit::Session] {
            let plan = plan(vec![phase(load.clone(), length, unit, 10)]);
            let mut world =
                World::new(plan, SimulatedTarget { refuses: 100, ..SimulatedTarget::default() }, 1);
            let end = world.run();
            assert!(end <= ms(length.unwrap_or(0) + 2100), "{load:?} {unit:?} ended at {end:?}");
            let refused = world.of(Outcome::Refused);
            assert!(refused > 0 && world.outcomes.len() == 1, "{load:?} {unit:?}: {:?}", world.outcomes);
            assert_eq!(
                world.counts(0).arrivals.of(Outcome::Shed),
                0,
                "the target is to blame, and nobody else"
            );
        }
    }
}

#[test]
fn an_arrival_of_an_open_load_that_meets_no_session_opens_one_at_once() {
    for unit in [Unit::Message, Unit::Session] {
        for (refuses, some) in [(100, 200..=200), (30, 30..=90), (5, 3..=25)] {
            let mut plan = plan(vec![phase(rate(200.0), Some(1000), unit, 50)]);
            plan.messages = Messages::Fixed(1);
            let mut world =
                World::new(plan, SimulatedTarget { refuses, opens_in: 3, ..SimulatedTarget::default() }, 1);
            world.run();
            let (refused, all) = (world.of(Outcome::Refused), world.outcomes.values().sum::<u64>());
            assert_eq!((refused, all), (world.refusals, 200), "{unit:?}: each refusal is one connection");
            assert!(some.contains(&refused), "{refused}");
            let waits = world.opened_for.iter().map(|(arrival, at)| *at - arrival.intended);
            assert_eq!(waits.max(), Some(ms(0)), "{unit:?}: no arrival waits for a pause");
            assert_eq!(world.counts(0).backoffs, 0);
            // The slowest accepted arrival found no free session and was served by its own, which took 3 ms to open.
            let late = world.started.iter().map(|(arrival, at)| *at - arrival.intended).max();
            assert!(late <= Some(ms(5)), "{unit:?}: {late:?}");
        }
    }
}

#[test]
fn a_refused_arrival_gets_no_second_session_though_others_are_free() {
    // A session takes 30 ms for its message and an arrival comes every 10 ms, so arrivals find all sessions busy.
    for (most, drops) in [(1, false), (3, false), (3, true)] {
        let mut phase = phase(rate(100.0), Some(1000), Unit::Message, most);
        phase.graceful_stop = ms(20_000);
        phase.on_saturation = if drops { OnSaturation::Drop } else { OnSaturation::Queue };
        let mut plan = plan(vec![phase]);
        plan.messages = Messages::Fixed(1);
        let mut world =
            World::new(plan, SimulatedTarget { refuses: 40, serves_in: 30, ..SimulatedTarget::default() }, 1);
        world.run();
        let shed = world.counts(0).arrivals.of(Outcome::Shed);
        assert_eq!(world.opened.len() as u64, 100 - shed, "one session for each that was not shed");
        assert_eq!(world.of(Outcome::Refused), world.refusals);
        assert!(world.refusals > 20 && (shed > 0) == drops, "{:?} {shed}", world.outcomes);
    }
}

#[test]
fn as_many_may_be_opening_as_sessions_are_allowed() {
    let burst = LoadModel::Burst { size: 600, every: ms(1000) };
    for unit in [Unit::Message, Unit::Session] {
        let plan = plan(vec![phase(burst.clone(), Some(1000), unit, 500)]);
        let mut world = World::new(plan, SimulatedTarget { opens_in: 100, ..SimulatedTarget::default() }, 1);
        world.run_until(ms(50));
        assert_eq!((world.opened.len(), world.gauges().waiting), (500, 100), "{unit:?}");
        world.run();
        assert_eq!(world.of(Outcome::Accepted), 600);
    }
}

#[test]
fn a_closed_load_pauses_when_the_listener_ends_sessions_before_it_serves_anything() {
    for load in [sessions(&[(0, 10.0)], 0), sessions(&[(0, 10.0)], 5), shared(100_000, 10)] {
        for unit in [Unit::Message, Unit::Session] {
            let ends = |drops, serves_in, millis| {
                let plan = plan(vec![phase(load.clone(), Some(millis), unit, 10)]);
                let mut world =
                    World::new(plan, SimulatedTarget { drops, serves_in, ..SimulatedTarget::default() }, 1);
                world.run();
                (world.opened.len(), world.counts(0).backoffs)
            };
            // First 10 sessions are opened at once, then there are pauses of 50, 100, 200, 400, 800, 1000 ms ...
            let (opened, pauses) = ends(100, 0, 5000);
            assert!((16..40).contains(&opened), "{load:?} {unit:?}: {opened} sessions");
            assert!((7..=9).contains(&pauses), "{load:?} {unit:?}: {pauses} pauses");
            // If some messages are served, sessions go on being opened.
            let (opened, _) = ends(30, 10, 1000);
            assert!(opened > 60, "{load:?} {unit:?}: {opened} sessions");
        }
    }
}

#[test]
fn no_pause_is_part_of_the_times_of_a_closed_load() {
    for unit in [Unit::Message, Unit::Session] {
        for think in [0, 5] {
            let load = sessions(&[(0, 10.0)], think);
            let plan = plan(vec![phase(load, Some(5000), unit, 10)]);
            let mut world =
                World::new(plan, SimulatedTarget { drops: 60, refuses: 30, ..SimulatedTarget::default() }, 1);
            world.run();
            assert!(world.counts(0).backoffs > 5, "{:?}", world.counts(0));
            let late = world.started.iter().map(|(arrival, at)| *at - arrival.intended).max();
            assert!(late <= Some(ms(1)), "{unit:?} {think}: {late:?}");
        }
    }
}

#[test]
fn the_pauses_are_those_of_the_plan() {
    let pauses = |first, factor, max| {
        let mut plan = plan(vec![phase(shared(1000, 1), Some(2000), Unit::Message, 1)]);
        plan.reconnect = crate::plan::Reconnect { first: ms(first), factor, max: ms(max) };
        let mut world = World::new(plan, SimulatedTarget { refuses: 100, ..SimulatedTarget::default() }, 1);
        world.run();
        let gaps = world.opened.windows(2).map(|pair| pair[1] - pair[0]);
        gaps.map(|gap| u64::try_from(gap.as_millis()).unwrap()).collect::<Vec<_>>()
    };
    let near = |found: &[u64], asked: &[u64]| {
        assert_eq!(found.len(), asked.len(), "{found:?}");
        assert!(found.iter().zip(asked).all(|(a, b)| a.abs_diff(*b) <= 3), "{found:?}, not {asked:?}");
    };
    near(&pauses(100, 3.0, 600), &[100, 300, 600, 600]);
    near(&pauses(300, 1.0, 300), &[300; 6]);
    assert!(pauses(0, 2.0, 1000).len() > 500, "no pause");
}

#[test]
fn an_endless_load_is_given_up_when_no_session_serves_anything() {
    for unit in [Unit::Message, Unit::Session] {
        let plan = plan(vec![phase(shared(100_000, 10), None, unit, 10)]);
        let mut world =
            World::new(plan, SimulatedTarget { drops: 100, serves_in: 0, ..SimulatedTarget::default() }, 1);
        let end = world.run();
        assert!((ms(500)..ms(2000)).contains(&end), "{unit:?}: {end:?}");
        assert_eq!(world.given_up, Some(0));
        // A session that works for longer than the grace is no reason to give up.
        let slow = SimulatedTarget { serves_in: 3000, refuses: 30, ..SimulatedTarget::default() };
        let plan = self::plan(vec![phase(shared(20, 1), None, unit, 10)]);
        let mut world = World::new(plan, slow, 1);
        world.run();
        assert_eq!((world.given_up, world.outcomes.values().sum()), (None, 20), "{unit:?}");
    }
}

#[test]
fn a_target_that_never_greets_interrupts_what_waits_for_it() {
    let plan = plan(vec![phase(rate(100.0), Some(500), Unit::Message, 1000)]);
    let mut world = World::new(plan, SimulatedTarget { mute_every: 1, ..SimulatedTarget::default() }, 1);
    let end = world.run();
    assert!(end <= ms(1010), "{end:?}");
    assert_eq!((world.of(Outcome::Interrupted), world.counts(0).arrivals.of(Outcome::Shed)), (50, 0));
}

#[test]
fn a_stop_sheds_what_waits_and_begins_nothing_more() {
    let plan = plan(vec![phase(rate(1000.0), Some(10_000), Unit::Message, 3)]);
    let mut world = World::new(plan, SimulatedTarget::default(), 1);
    world.stop = Some((ms(500), ms(600)));
    let end = world.run();
    assert!(end <= ms(600), "{end:?}");
    assert!(world.started.iter().all(|(_, at)| *at <= ms(500)));
    assert!(world.counts(0).arrivals.of(Outcome::Shed) > 100);
}

#[test]
fn what_is_given_back_when_there_is_no_time_left_is_shed() {
    let plan = plan(vec![phase(rate(10.0), Some(100), Unit::Message, 3)]);
    let mut world = World::new(plan, SimulatedTarget::default(), 1);
    world.run_until(ms(3));
    let (arrival, _) = world.started[0];
    world.dispatch.stop(ms(5), &mut world.recorder);
    world.dispatch.give_back(0, arrival, &mut world.recorder);
    assert_eq!((world.gauges().waiting, world.counts(0).arrivals.of(Outcome::Shed)), (0, 1));
}

#[test]
fn a_ramp_downwards_ends_only_those_that_are_too_many() {
    for (unit, think) in [(Unit::Message, 0), (Unit::Message, 40), (Unit::Session, 0), (Unit::Session, 40)] {
        let load = sessions(&[(0, 20.0), (500, 20.0), (1000, 10.0), (2000, 10.0)], think);
        let mut world =
            World::new(plan(vec![phase(load, Some(2000), unit, 50)]), SimulatedTarget::default(), 1);
        world.run_until(ms(480));
        let opened = world.opened.len();
        assert!(world.peak <= 20, "{unit:?} {think}: {}", world.peak);
        world.run_until(ms(1990));
        if unit == Unit::Message {
            assert_eq!((opened, world.opened.len(), world.gauges().sessions), (20, 20, 10), "think {think}");
            assert_eq!(world.closings, 10);
        }
        let waited = world.started.iter().filter(|(arrival, at)| *at > arrival.intended + ms(25)).count();
        assert_eq!(waited, 0, "a closed load with think times has no queue: {unit:?} {think}");
        assert!(world.gauges().in_flight <= 10);
        world.run();
    }
}

#[test]
fn a_phase_that_allows_fewer_sessions_gets_fewer() {
    let phases = vec![
        phase(rate(2000.0), Some(300), Unit::Message, 40),
        phase(rate(500.0), Some(500), Unit::Message, 4),
    ];
    let mut world = World::new(plan(phases), SimulatedTarget::default(), 1);
    world.run_until(ms(299));
    assert!(world.gauges().sessions > 15);
    world.run_until(ms(400));
    assert!(world.gauges().sessions <= 4, "{:?}", world.gauges());
    world.run();
}

#[test]
fn sessions_as_arrivals_follow_a_pool_within_the_same_bound() {
    let phases = vec![
        phase(rate(1000.0), Some(300), Unit::Message, 20),
        phase(rate(500.0), Some(300), Unit::Session, 20),
        phase(sessions(&[(0, 20.0)], 0), Some(300), Unit::Session, 20),
        phase(sessions(&[(0, 20.0)], 0), Some(300), Unit::Message, 20),
    ];
    let mut world = World::new(plan(phases), SimulatedTarget::default(), 1);
    world.run();
    assert_eq!(world.of(Outcome::Accepted), (0..4).map(|n| world.counts(n).scheduled).sum::<u64>());
    assert!((0..4).all(|n| world.counts(n).scheduled > 100));
}

#[test]
fn held_sessions_that_come_late_leave_at_once() {
    let mut phase = phase(LoadModel::Held { sessions: 50, rate: 500.0 }, Some(200), Unit::Session, 100);
    phase.connect_rate = Some(100.0);
    phase.graceful_stop = ms(5000);
    let mut world = World::new(plan(vec![phase]), SimulatedTarget::default(), 1);
    let end = world.run();
    assert_eq!(world.of(Outcome::Accepted), 50);
    assert!(end < ms(600), "{end:?}: nobody is held when the phase is over");
}

#[test]
fn sessions_to_hold_are_opened_a_few_at_a_time() {
    let held =
        phase(LoadModel::Held { sessions: 1000, rate: f64::INFINITY }, Some(5000), Unit::Session, 2000);
    let mut world = World::new(
        plan(vec![held]),
        SimulatedTarget { opens_in: 100, limit: 2000, ..SimulatedTarget::default() },
        1,
    );
    world.run();
    assert_eq!(world.of(Outcome::Accepted), 1000);
    let first = world.opened[0];
    let at_once = world.opened.iter().filter(|at| **at < first + ms(50)).count();
    assert!((1..=256).contains(&at_once), "{at_once} connections at once");
}

#[test]
fn the_connect_rate_is_that_of_all_shards_together() {
    let mut phase = phase(rate(1000.0), Some(1000), Unit::Session, 1000);
    phase.connect_rate = Some(100.0);
    phase.graceful_stop = ms(1);
    let opened = |index| {
        let mut plan = plan(vec![phase.clone()]);
        plan.shard = Shard { index, of: 4 };
        let mut world = World::new(plan, SimulatedTarget::default(), 1);
        world.run();
        world.opened.len()
    };
    let sum: usize = (0..4).map(opened).sum();
    assert!((90..=125).contains(&sum), "{sum}");
}

#[test]
fn thinking_does_not_outlive_its_phase() {
    for unit in [Unit::Message, Unit::Session] {
        let phases = vec![
            phase(sessions(&[(0, 5.0)], 10_000), Some(200), unit, 5),
            phase(sessions(&[(0, 5.0)], 0), Some(200), unit, 5),
        ];
        let mut world = World::new(plan(phases), SimulatedTarget::default(), 1);
        let end = world.run();
        assert!(end < ms(420), "{end:?}");
        assert_eq!(world.counts(0).scheduled, 5);
        assert!(world.counts(1).scheduled > 50, "the next phase has all its sessions");
    }
}

#[test]
fn each_phase_has_its_own_grace() {
    let one = |grace| {
        let mut phase =
            phase(LoadModel::Burst { size: 1, every: Duration::ZERO }, Some(100), Unit::Message, 5);
        phase.graceful_stop = ms(grace);
        phase
    };
    let target = SimulatedTarget { serves_in: 500, ..SimulatedTarget::default() };
    let mut world = World::new(plan(vec![one(1000), one(10)]), target, 1);
    world.run();
    let ends = [Outcome::Accepted, Outcome::Interrupted].map(|outcome| world.of(outcome));
    assert_eq!(ends, [1, 1], "the second one has 10 ms, whatever the first one has");
}

#[test]
fn a_limit_is_probed_gently_while_the_others_go_on() {
    let load = sessions(&[(0, 30.0)], 0);
    let target = SimulatedTarget { limit: 20, ..SimulatedTarget::default() };
    let mut world = World::new(plan(vec![phase(load, Some(5000), Unit::Message, 30)]), target, 1);
    world.run();
    // 20 sessions serve one message per 10 ms each, except in the time before the limit was found.
    assert!(world.of(Outcome::Accepted) > 9000, "{:?}", world.outcomes);
    assert_eq!(world.outcomes.len(), 1, "a message is not charged while others can carry it");
    assert!((25..60).contains(&world.opened.len()), "{} attempts", world.opened.len());
}

#[test]
fn a_session_does_not_take_what_another_has_thought_about() {
    let plan = Arc::new(plan(vec![phase(sessions(&[(0, 2.0)], 20), Some(1000), Unit::Message, 2)]));
    let (mut dispatch, mut recorder) = (Dispatch::new(plan, Shard::WHOLE), Recorder::new(1, 0));
    dispatch.advance(ms(0), &mut recorder);
    let mut slots = Vec::new();
    while let Some(Action::Open { slot, .. }) = dispatch.action() {
        slots.push(slot);
        dispatch.established(slot);
        assert!(dispatch.next_message(ms(0), slot, false, &mut recorder).is_some());
    }
    let mut done = |dispatch: &mut Dispatch, at, slot| {
        dispatch.arrival_ended(slot);
        let next = dispatch.next_message(at, slot, false, &mut recorder);
        assert!(dispatch.rest(at, slot), "a closed load may have something for it");
        next
    };
    assert_eq!(done(&mut dispatch, ms(5), slots[0]), None, "it thinks until 25 ms");
    assert_eq!(done(&mut dispatch, ms(26), slots[1]), None, "it has to think, too, until 46 ms");
    dispatch.advance(ms(26), &mut recorder);
    let Some(Action::Serve { arrival, .. }) = dispatch.action() else {
        panic!("a scheduled arrival is served")
    };
    assert_eq!((arrival.intended, dispatch.action()), (ms(25), None));
    assert_eq!(dispatch.next_wake(), Some(ms(46)));
}

#[test]
fn a_session_that_rests_between_arrivals_is_no_reason_to_decide_anything() {
    let plan = Arc::new(plan(vec![phase(rate(100.0), Some(25), Unit::Message, 1)]));
    let (mut dispatch, mut recorder) = (Dispatch::new(plan, Shard::WHOLE), Recorder::new(1, 0));
    dispatch.advance(ms(0), &mut recorder);
    let Some(Action::Open { slot, .. }) = dispatch.action() else {
        panic!("the first arrival opens a session")
    };
    dispatch.established(slot);
    let mut next =
        |dispatch: &mut Dispatch, at| dispatch.next_message(at, slot, false, &mut recorder).is_some();
    // The session was opened for the first arrival, which has ended.
    dispatch.arrival_ended(slot);
    assert!(!next(&mut dispatch, ms(2)));
    assert!(!dispatch.rest(ms(2), slot), "the next is scheduled at 10 ms");
    assert_eq!(dispatch.next_wake(), Some(ms(10)));
    assert!(next(&mut dispatch, ms(21)), "two are arrival by now");
    dispatch.arrival_ended(slot);
    assert!(dispatch.rest(ms(22), slot), "the other waits");
    assert!(next(&mut dispatch, ms(23)));
    dispatch.arrival_ended(slot);
    assert!(!next(&mut dispatch, ms(24)));
    assert!(dispatch.rest(ms(24), slot), "nothing will come any more");
}
