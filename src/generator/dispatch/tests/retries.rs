//! Tests of messages that are tried again: the times and the number of their attempts, their end, and the effect on
//! first attempts.

use proptest::prelude::*;

use super::histories::{any_phase, any_target};
use super::world::{SimulatedTarget, World, ms};
use super::*;
use crate::plan::retry::{Retry, RetrySchedule};

fn pauses(millis: &[u64]) -> Retry {
    Retry { schedule: RetrySchedule::listed(millis.iter().map(|at| ms(*at)).collect()), wait: None }
}

fn retrying(phases: Vec<Phase>, retry: Retry) -> Plan {
    Plan { retry: Some(retry), ..plan(phases) }
}

/// Returns how long after its intended time each attempt started.
fn lateness(world: &World) -> Vec<Duration> {
    world.started.iter().map(|(arrival, at)| *at - arrival.intended).collect()
}

#[test]
fn a_deferred_message_is_tried_again_after_each_pause_and_then_given_up() {
    let open = phase(rate(50.0), Some(200), Unit::Message, 1000);
    let target = SimulatedTarget { defers: 100, ..SimulatedTarget::default() };
    let mut world = World::new(retrying(vec![open], pauses(&[40, 90, 160])), target, 7);
    world.run();
    assert_eq!((world.of(Outcome::Deferred), world.started.len()), (10, 40));
    assert_eq!(world.outcomes.len(), 1, "{:?}", world.outcomes);
    for seq in 0..10 {
        let starts: Vec<Duration> =
            world.started.iter().filter(|(one, _)| one.seq == seq).map(|(_, at)| *at).collect();
        let gaps: Vec<u128> = starts.windows(2).map(|two| (two[1] - two[0]).as_millis()).collect();
        // The service takes 10 ms to 11 ms and opening a session 1 ms; then the message waits.
        let about = |gap: u128, pause: u128| (pause + 9..=pause + 14).contains(&gap);
        assert!(about(gaps[0], 40) && about(gaps[1], 90) && about(gaps[2], 160), "{gaps:?}");
        assert!(
            world
                .started
                .iter()
                .filter(|(one, _)| one.seq == seq)
                .all(|(one, _)| { one.first_intended() == ms(seq * 20) })
        );
    }
}

#[test]
fn a_message_that_some_recipients_accepted_is_tried_again_for_the_others_and_ends_once() {
    let open = phase(rate(50.0), Some(200), Unit::Message, 1000);
    let target = SimulatedTarget { leaves: 50, ..SimulatedTarget::default() };
    let mut plan = retrying(vec![open], pauses(&[20; 20]));
    plan.mail.recipients = 4;
    let mut world = World::new(plan, target, 7);
    world.run();
    assert_eq!((world.of(Outcome::Accepted), world.outcomes.len()), (10, 1));
    assert!(world.started.len() > 15, "about two attempts more for each: {}", world.started.len());
    assert!(world.left.values().all(|(left, accepted)| left.is_empty() && *accepted));

    // The last attempt leaves some recipients, but the message counts as accepted because others accepted it.
    let open = phase(rate(50.0), Some(200), Unit::Message, 1000);
    let mut plan = retrying(vec![open], pauses(&[20]));
    plan.mail.recipients = 4;
    let mut world = World::new(plan, SimulatedTarget { leaves: 100, ..SimulatedTarget::default() }, 7);
    world.run();
    assert_eq!((world.of(Outcome::Accepted), world.started.len()), (10, 20));
}

#[test]
fn what_is_rejected_is_not_tried_again() {
    let open = phase(rate(50.0), Some(200), Unit::Message, 1000);
    let target = SimulatedTarget { rejects: 100, ..SimulatedTarget::default() };
    let mut world = World::new(retrying(vec![open], pauses(&[10, 10])), target, 7);
    world.run();
    assert_eq!((world.of(Outcome::Rejected), world.started.len()), (10, 10));
}

#[test]
fn a_message_that_the_run_does_not_reach_again_has_its_end_at_once_and_the_run_waits_for_none() {
    let open = phase(rate(50.0), Some(200), Unit::Message, 1000);
    let target = SimulatedTarget { defers: 100, ..SimulatedTarget::default() };
    let mut world = World::new(retrying(vec![open.clone()], pauses(&[3_600_000])), target, 7);
    assert!(world.run() < ms(250));
    assert_eq!((world.of(Outcome::Interrupted), world.started.len()), (10, 10));

    // The grace of the last phase is 500 ms: retries start until 700 ms, or until the end of `wait`.
    let until = |wait: Option<u64>, pause: u64| {
        let retry = Retry { wait: wait.map(ms), ..pauses(&[pause]) };
        let mut world = World::new(retrying(vec![open.clone()], retry), target, 7);
        world.run();
        world.started.len() - 10
    };
    assert_eq!(until(None, 400), 10);
    assert!((4..=6).contains(&until(None, 600)), "those of the first 100 ms");
    assert_eq!(until(Some(0), 250), 0);
    assert_eq!(until(Some(10_000), 9_000), 10);
}

#[test]
fn a_load_without_an_end_in_time_is_over_with_its_first_attempts() {
    let shared = LoadModel::Shared { total: 20, sessions: 2, think: Think::default() };
    let closed = phase(shared, None, Unit::Message, 2);
    let target = SimulatedTarget { defers: 100, ..SimulatedTarget::default() };
    let run = |millis: &[u64]| {
        let mut world = World::new(retrying(vec![closed.clone()], pauses(millis)), target, 7);
        world.run();
        (world.started.len(), world.of(Outcome::Deferred), world.of(Outcome::Interrupted))
    };
    assert_eq!(run(&[50, 50]), (60, 20, 0));
    assert_eq!(run(&[60_000]), (20, 0, 20), "beyond the grace of 500 ms after the last first attempt");
}

#[test]
fn a_closed_load_keeps_its_sessions_and_its_total() {
    let shared = LoadModel::Shared { total: 200, sessions: 4, think: Think::default() };
    let closed = phase(shared, None, Unit::Message, 4);
    let target = SimulatedTarget { defers: 40, ..SimulatedTarget::default() };
    let mut world = World::new(retrying(vec![closed], pauses(&[20; 50])), target, 7);
    world.run();
    assert_eq!(world.peak, 4);
    assert_eq!(world.of(Outcome::Accepted), 200);
    assert_eq!(world.counts(0).scheduled, 200);
    let retries = world.started.iter().filter(|(one, _)| one.earlier.is_some()).count();
    assert_eq!(world.started.len(), 200 + retries);
    assert!((100..180).contains(&retries), "{retries}: two for each three that are accepted");
    assert!(world.started.iter().all(|(arrival, at)| *at == arrival.intended), "no wait is part of a time");
}

#[test]
fn retries_do_not_make_first_attempts_late() {
    let firsts = |retry: Option<Retry>| {
        let open = phase(rate(200.0), Some(1000), Unit::Message, 1000);
        let target = SimulatedTarget { defers: 100, ..SimulatedTarget::default() };
        let mut world = World::new(Plan { retry, ..plan(vec![open]) }, target, 7);
        world.run();
        let first: Vec<_> = world.started.iter().filter(|(one, _)| one.earlier.is_none()).collect();
        let times: Vec<(Duration, Duration)> =
            first.iter().map(|(one, _)| (one.intended, one.noticed)).collect();
        (times, world.started.len())
    };
    let (alone, started) = firsts(None);
    let (among, more) = firsts(Some(pauses(&[50; 5])));
    assert_eq!(alone, among);
    assert_eq!((started, more), (200, 1200));
}

#[test]
fn when_sessions_are_few_retries_and_first_attempts_are_served_in_the_order_of_their_times() {
    let open = phase(rate(200.0), Some(1000), Unit::Message, 1);
    let target = SimulatedTarget { defers: 30, ..SimulatedTarget::default() };
    let retry = Retry { wait: Some(ms(60_000)), ..pauses(&[100; 20]) };
    let mut world = World::new(retrying(vec![Phase { graceful_stop: ms(60_000), ..open }], retry), target, 7);
    world.run();
    assert_eq!(world.of(Outcome::Accepted), 200);
    let intended: Vec<Duration> = world.started.iter().map(|(arrival, _)| arrival.intended).collect();
    assert!(intended.is_sorted(), "neither starves the other");
    assert!(lateness(&world).iter().max() > Some(&ms(500)), "one session is too few");
}

#[test]
fn a_retry_is_never_shed_and_hides_no_arrival_that_is() {
    let mut open = phase(rate(200.0), Some(1000), Unit::Message, 1);
    open.on_saturation = OnSaturation::Drop;
    let target = SimulatedTarget { defers: 50, ..SimulatedTarget::default() };
    let mut world = World::new(retrying(vec![open], pauses(&[30; 10])), target, 7);
    world.run();
    let counts = world.counts(0);
    let shed = counts.arrivals.of(Outcome::Shed);
    assert!(shed > 50, "{shed}");
    let firsts = world.started.iter().filter(|(one, _)| one.earlier.is_none()).count() as u64;
    assert_eq!(counts.scheduled, shed + firsts);
    let waited = world.started.iter().filter(|(one, _)| one.earlier.is_none());
    assert!(waited.map(|(one, at)| *at - one.intended).max() < Some(ms(20)), "no first attempt waits");
}

#[test]
fn a_stop_leaves_what_waits_without_an_end() {
    let open = phase(rate(100.0), Some(10_000), Unit::Message, 100);
    let target = SimulatedTarget { defers: 100, ..SimulatedTarget::default() };
    let mut world = World::new(retrying(vec![open], pauses(&[5_000])), target, 7);
    world.stop = Some((ms(1000), ms(1100)));
    assert!(world.run() < ms(1200));
    assert_eq!(world.of(Outcome::Interrupted), world.started.len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// For any load and any target: each message ends once, after at most as many attempts as the schedule has, no
    /// attempt starts before its time, and the run ends in time.
    #[test]
    fn every_message_ends_once_and_its_attempts_reconcile(
        phases in prop::collection::vec(any_phase(), 1..4),
        endless: bool,
        target in any_target(),
        defers in prop_oneof![Just(0_u64), 1_u64..90, Just(100)],
        rejects in prop_oneof![Just(0_u64), 1_u64..50],
        recipients in prop_oneof![Just(1_u32), 2_u32..5],
        leaves in 0_u64..90,
        millis in prop::collection::vec(0_u64..400, 0..5),
        wait in prop::option::of(0_u64..1500),
        messages in prop_oneof![Just(Messages::Unlimited), (1_u32..4).prop_map(Messages::Fixed)],
        stop in prop::option::of((0_u64..900, 0_u64..300)),
        seed: u64,
    ) {
        let mut phases: Vec<Phase> =
            phases.into_iter().filter(|phase| !phase.load.model.holds()).collect();
        prop_assume!(!phases.is_empty());
        phases.iter_mut().for_each(|phase| phase.unit = Unit::Message);
        if let Some(last) = phases.last_mut().filter(|phase| endless && phase.load.model.total().is_some()) {
            last.load.length = None;
        }
        let ends: Option<Duration> = phases.iter().map(|phase| phase.load.length).sum();
        let grace = phases.iter().map(|phase| phase.graceful_stop).max().unwrap_or_default();
        let retry = Retry { wait: wait.map(ms), ..pauses(&millis) };
        let attempts = retry.schedule.attempts();
        let mut plan = retrying(phases, retry);
        plan.messages = messages;
        plan.mail.recipients = recipients;
        let target = SimulatedTarget { defers, rejects, leaves, ..target };
        let mut world = World::new(plan, target, seed);
        // A session that is never greeted holds an endless load until its time-outs, which this simulation does not
        // have.
        if ends.is_none() && target.mute_every > 0 || stop.is_some() {
            let (at, grace) = stop.unwrap_or((900, 300));
            world.stop = Some((ms(at), ms(at + grace)));
        }
        let end = world.run();
        if let Some(ends) = ends {
            let wait = wait.map_or(grace, ms);
            let most = ends + grace.max(wait) + grace + LEAVING + ms(10);
            prop_assert!(end <= most, "ended at {end:?}, {most:?} allowed");
        }
        let tried: u64 = world.attempts.values().map(|(count, _)| u64::from(*count)).sum();
        prop_assert_eq!(tried, world.attempts.len() as u64 + world.retries, "attempts = first ones + retries");
        prop_assert!(world.attempts.values().all(|(count, _)| *count as usize <= attempts));
    }
}
