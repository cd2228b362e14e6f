//! Start barriers: when a barrier opens, and what happens if it never does.

use super::*;

fn with_barrier(load: LoadModel, millis: Option<u64>, max_sessions: u32) -> Phase {
    Phase { open_first: true, ..phase(load, millis, Unit::Message, max_sessions) }
}

/// Limits the rate of connections, so that the first sessions could finish long before the last session is open.
fn slowly(mut phase: Phase) -> Phase {
    phase.connect_rate = Some(100.0);
    phase
}

#[test]
fn no_message_starts_before_all_sessions_are_open_and_all_then_start_at_once() {
    for (load, length) in
        [(shared(200, 40), None), (shared(200, 40), Some(2000)), (sessions(&[(0, 40.0)], 0), Some(2000))]
    {
        let mut world =
            World::new(plan(vec![slowly(with_barrier(load, length, 40))]), SimulatedTarget::default(), 1);
        world.run_until(ms(200));
        assert!(world.started.is_empty() && world.gauges().sessions > 10, "{:?}", world.gauges());
        assert_eq!(world.counts(0).scheduled, 0, "what waits for the barrier is not scheduled");
        world.run();
        let opened = world.barrier_opened[0].unwrap();
        assert!(opened >= ms(290), "{opened:?}: 40 sessions at 100 a second");
        assert_eq!((world.opened.len(), world.peak), (40, 40));
        let first: Vec<_> = world.started[..40].iter().map(|(arrival, at)| (arrival.intended, *at)).collect();
        assert_eq!(first, vec![(opened, opened); 40]);
        assert!(world.started[40..].iter().all(|(arrival, _)| arrival.intended > opened));
    }
}

#[test]
fn fewer_messages_than_sessions_need_no_more_sessions() {
    let mut world =
        World::new(plan(vec![slowly(with_barrier(shared(7, 40), None, 40))]), SimulatedTarget::default(), 1);
    world.run();
    assert_eq!((world.opened.len(), world.of(Outcome::Accepted)), (7, 7));
}

#[test]
fn sessions_of_the_phase_before_need_not_be_opened_again() {
    let phases = vec![
        phase(sessions(&[(0, 10.0)], 0), Some(300), Unit::Message, 10),
        slowly(with_barrier(shared(100, 30), None, 30)),
    ];
    let mut world = World::new(plan(phases), SimulatedTarget::default(), 1);
    world.run();
    assert_eq!((world.opened.len(), world.counts(1).scheduled), (30, 100));
    // Twenty sessions at 100 a second; the rate allows those of the first 100 ms at once.
    assert!(world.barrier_opened[1].unwrap() >= ms(380), "{:?}", world.barrier_opened);
}

#[test]
fn a_barrier_that_never_opens_ends_with_its_phase_and_charges_nobody() {
    let target = SimulatedTarget { limit: 20, ..SimulatedTarget::default() };
    let phases = vec![
        with_barrier(sessions(&[(0, 30.0)], 0), Some(700), 30),
        phase(rate(100.0), Some(300), Unit::Message, 20),
    ];
    let mut world = World::new(plan(phases), target, 1);
    world.run_until(ms(699));
    assert_eq!((world.gauges().sessions, world.counts(0).scheduled), (20, 0));
    world.run();
    assert_eq!((world.counts(0).scheduled, world.of(Outcome::Accepted)), (0, 30));
    assert_eq!((world.barrier_opened[0], world.abandoned), (None, None), "time ended it");
}

#[test]
fn without_a_length_a_barrier_is_abandoned_when_no_session_opened_for_the_grace() {
    for target in [
        SimulatedTarget { limit: 20, ..SimulatedTarget::default() },
        SimulatedTarget { refuses: 100, ..SimulatedTarget::default() },
        SimulatedTarget { closes_idle: 100, ..SimulatedTarget::default() },
    ] {
        let mut world = World::new(plan(vec![slowly(with_barrier(shared(1000, 30), None, 30))]), target, 1);
        let end = world.run();
        // The last of twenty sessions opens at about 200 ms; the grace is 500 ms.
        assert!((ms(500)..ms(500 + 300 + 100)).contains(&end), "{target:?} ended at {end:?}");
        assert_eq!((world.barrier_opened[0], world.abandoned), (None, Some(0)), "{target:?}");
        assert_eq!((world.counts(0).scheduled, world.outcomes.len()), (0, 0), "{target:?}");
    }
}

#[test]
fn a_slow_listener_is_waited_for() {
    // The sessions open in ten times the grace, and none is refused.
    let target = SimulatedTarget { opens_in: 5000, ..SimulatedTarget::default() };
    let mut world = World::new(plan(vec![with_barrier(shared(100, 30), None, 30)]), target, 1);
    world.run();
    assert_eq!(world.of(Outcome::Accepted), 100);
}

#[test]
fn a_stop_ends_the_wait() {
    let target = SimulatedTarget { mute_every: 3, ..SimulatedTarget::default() };
    let mut world = World::new(plan(vec![with_barrier(shared(100, 30), None, 30)]), target, 1);
    world.stop = Some((ms(400), ms(500)));
    let end = world.run();
    assert!((ms(400)..=ms(510)).contains(&end), "{end:?}");
    assert_eq!(world.counts(0).scheduled, 0);
}

#[test]
fn the_parts_of_all_workers_begin_when_the_last_is_ready() {
    let mut plan = plan(vec![with_barrier(shared(3, 4), None, 4)]);
    plan.phases.push(with_barrier(shared(1, 4), None, 4));
    plan.phases[0].load.length = Some(ms(1000));
    let plan = Arc::new(plan);
    let mut recorder = Recorder::new(2, 0);
    let open = |dispatch: &mut Dispatch, recorder: &mut Recorder, at| {
        dispatch.advance(at, recorder);
        let mut told = Vec::new();
        while let Some(action) = dispatch.action() {
            match action {
                Action::Open { slot, .. } => {
                    dispatch.established(slot);
                    assert_eq!(
                        dispatch.next_message(at, slot, false, recorder),
                        None,
                        "the barrier is closed"
                    );
                    assert!(dispatch.rest(at, slot), "the barrier may be ready by it");
                }
                other => told.push(other),
            }
        }
        told
    };
    let [mut first, mut second] = [0, 1].map(|index| Dispatch::new(plan.clone(), Shard { index, of: 2 }));
    assert_eq!(open(&mut first, &mut recorder, ms(3)), []);
    assert_eq!(open(&mut first, &mut recorder, ms(4)), [Action::Ready(0)]);
    assert_eq!(open(&mut first, &mut recorder, ms(5)), [], "it is ready once, and waits for the other");
    // The only message of the second phase belongs to the first worker, so the second worker opens nothing for that
    // phase.
    assert_eq!(open(&mut second, &mut recorder, ms(6)), [Action::Ready(1)]);
    assert_eq!(open(&mut second, &mut recorder, ms(7)), [Action::Ready(0)]);
    first.open_barrier(0, ms(7));
    // The worker learns late that the barrier opened; its arrivals are scheduled at the time of the opening.
    let told = open(&mut first, &mut recorder, ms(9));
    let times: Vec<_> = told
        .iter()
        .map(|action| match action {
            Action::Serve { arrival, .. } => (arrival.intended, arrival.noticed),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(times, [(ms(7), ms(9)); 2]);
    // Phase 0 has a length: it ends when its length is over, even if its barrier was abandoned before.
    second.abandon(0);
    assert!(!second.is_done(ms(9)), "a phase with a length ends by it");
}
