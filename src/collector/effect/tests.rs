//! Outages and recoveries of random listeners with a known truth.

use proptest::prelude::*;

use super::*;
use crate::collector::Outcome;
use crate::collector::slices::ArrivalSpan;
use crate::event::CommandEnd;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn event(name: &str, started: u64, ended: u64) -> EventRun {
    EventRun {
        name: name.to_owned(),
        command: "true".to_owned(),
        due: Some(ms(started)),
        started: Some(ms(started)),
        ended: Some(ms(ended)),
        end: Some(CommandEnd::Exited(0)),
        output: String::new(),
    }
}

/// A listener with outages, and the load on it.
#[derive(Clone, Debug)]
struct World {
    /// The time between two arrivals, and the time that an accepted arrival takes. All times are in milliseconds.
    every: u64,
    service: u64,
    length: u64,
    /// The outages: start and end of each.
    gone: Vec<(u64, u64)>,
    /// How long an arrival that starts in an outage takes to fail: 0, or a time-out. Arrivals in flight fail at its start.
    fails_after: u64,
    /// Whether the listener is only stopped in an outage: what is in flight or starts in it is accepted at its end.
    delays: bool,
    /// One in this many arrivals is hit by an outage.
    hits: u64,
    /// How long arrivals are slower after each outage, and the time that is added to each of them.
    slow: (u64, u64),
    /// One in this many arrivals fails at any time, also before the events; 0: no arrival.
    strays: u64,
}

impl World {
    fn is_gone(&self, at: u64) -> bool {
        self.gone.iter().any(|(from, to)| (*from..*to).contains(&at))
    }

    fn slices(&self) -> Slices {
        let mut slices = Slices::default();
        for (number, at) in (0..self.length).step_by(usize::try_from(self.every).unwrap()).enumerate() {
            let slowed = self.gone.iter().any(|(_, to)| (*to..to + self.slow.0).contains(&at));
            let service = self.service + if slowed { self.slow.1 } else { 0 };
            let killed =
                self.gone.iter().map(|(from, _)| *from).find(|from| (at..at + service).contains(from));
            let is_hit = (number as u64).is_multiple_of(self.hits);
            let killed = killed.filter(|_| is_hit);
            let stopped = self.gone.iter().find(|(from, to)| (*from < at + service) && at < *to);
            let (ended, outcome) = match killed {
                _ if self.delays && stopped.is_some() => {
                    (stopped.map_or(at, |(_, to)| *to) + service, Outcome::Accepted)
                }
                _ if is_hit && self.is_gone(at) => (at + self.fails_after, Outcome::Refused),
                Some(from) => (from.max(at), Outcome::Dropped),
                _ if self.strays > 0 && number as u64 % self.strays == self.strays - 1 => {
                    (at + service, Outcome::Deferred)
                }
                None => (at + service, Outcome::Accepted),
            };
            let [intended, started, ended] = [at, at, ended].map(ms);
            slices.ended(&ArrivalSpan { intended, started, ended, outcome });
        }
        slices
    }

    fn effects(&self, events: &[EventRun]) -> Vec<EventEffect> {
        let found = effects(&self.slices(), None, events, (Duration::ZERO, ms(self.length)));
        found.into_iter().map(|one| one.expect("it started")).collect()
    }
}

const CALM: World = World {
    every: 5,
    service: 20,
    length: 60_000,
    gone: vec![],
    fails_after: 0,
    delays: false,
    hits: 1,
    slow: (0, 0),
    strays: 0,
};

/// The allowed error of a difference of two times: one slice for each time, and half a slice more.
const OFF: Duration = Duration::from_millis(250);

fn near(found: Duration, truth: u64) -> bool {
    found.abs_diff(ms(truth)) <= OFF
}

#[track_caller]
fn assert_recovers_in(recovery: &EventRecovery, truth: u64) {
    assert!(matches!(recovery, EventRecovery::After(length) if near(*length, truth)), "{recovery:?}");
}

#[test]
fn an_event_without_effect_has_no_outage_and_is_recovered_at_once() {
    let found = &CALM.effects(&[event("calm", 20_000, 20_100)])[0];
    assert_eq!((&found.outage, &found.recovery), (&None, &EventRecovery::After(Duration::ZERO)));
    assert_eq!((found.before.arrivals.offered(), found.after.arrivals.offered()), (4000, 8000));
}

#[test]
fn what_never_comes_back_is_never_recovered() {
    let world = World { gone: vec![(21_000, u64::MAX)], ..CALM };
    let found = &world.effects(&[event("crash", 20_000, 21_500)])[0];
    assert_eq!(found.recovery, EventRecovery::NotWithin(ms(35_000)));
    let outage = found.outage.unwrap();
    assert!(near(outage.from, 21_000) && near(outage.to, 59_995) && outage.at_most.is_none(), "{outage:?}");
}

#[test]
fn a_listener_that_never_answers_again_is_an_outage_though_nothing_failed_before_the_end() {
    // Every arrival was still in flight when the run ended.
    let world = World { gone: vec![(21_000, u64::MAX)], fails_after: 100_000, ..CALM };
    let outage = world.effects(&[event("freeze", 20_000, 20_500)])[0].outage.unwrap();
    assert!(near(outage.from, 21_000) && outage.at_most.is_none(), "{outage:?}");
}

#[test]
fn a_command_that_begins_late_is_not_taken_for_one_without_effect() {
    // The command kills the listener after eight seconds, so the five seconds after the event are good.
    let world = World { gone: vec![(28_000, 31_000)], ..CALM };
    let found = &world.effects(&[event("late", 20_000, 31_500)])[0];
    let outage = found.outage.unwrap();
    assert!(near(outage.length(), 3000) && near(outage.from, 28_000), "{outage:?}");
    assert_recovers_in(&found.recovery, 11_000);
}

#[test]
fn stop_and_start_may_be_two_events() {
    let world = World { gone: vec![(20_000, 30_000)], ..CALM };
    let found = world.effects(&[event("stop", 20_000, 20_050), event("start", 29_900, 30_000)]);
    for (effect, truth) in found.iter().zip([10_000, 100]) {
        assert_recovers_in(&effect.recovery, truth);
        assert!(near(effect.outage.unwrap().length(), truth), "{effect:?}");
    }
    let offered = [&found[0].before, &found[0].after, &found[1].after].map(|side| side.arrivals.offered());
    assert_eq!(offered.iter().sum::<u64>(), 12_000, "each arrival is on one side");
    assert_eq!(found[0].after, found[1].before);
}

#[test]
fn nothing_accepted_before_is_nothing_to_compare_with() {
    let world = World { gone: vec![(0, 30_000)], ..CALM };
    let found = &world.effects(&[event("start", 29_000, 30_000)])[0];
    assert!(matches!(&found.recovery, EventRecovery::Unknown(why) if why.contains("nothing was accepted")));
    let mostly = World { strays: 20, ..CALM };
    let found = &mostly.effects(&[event("calm", 29_000, 30_000)])[0];
    assert!(matches!(&found.recovery, EventRecovery::Unknown(why) if why.contains("of 5796")), "{found:?}");
    assert_eq!(found.outage, None, "one in twenty failed before it too");
}

#[test]
fn an_arrival_that_a_stopped_listener_accepts_late_does_not_make_it_slow_before() {
    // One arrival is in flight when the listener stops for eight seconds. The 222 before it have no 99th percentile.
    let world = World { every: 90, service: 50, gone: vec![(20_000, 28_000)], delays: true, ..CALM };
    let found = &world.effects(&[event("freeze", 20_000, 28_000)])[0];
    assert_eq!(found.outage, None, "none failed");
    assert_recovers_in(&found.recovery, 8000);
}

#[test]
fn arrivals_in_flight_at_a_kill_did_not_fail_before_it() {
    // The listener is back so soon that in no slice most arrivals fail.
    let world = World { gone: vec![(20_000, 20_030)], ..CALM };
    let found = &world.effects(&[event("crash", 20_000, 20_030)])[0];
    let outage = found.outage.expect("arrivals failed");
    assert_eq!((outage.failed, outage.length()), (9, Duration::ZERO));
    assert!(outage.at_most.is_some_and(|most| most <= ms(300)), "{outage:?}");
}

#[test]
fn what_failed_at_one_event_did_not_fail_before_the_next() {
    let world = World { gone: vec![(20_000, 20_030), (40_000, 40_030)], ..CALM };
    let found = world.effects(&[event("one", 20_000, 20_030), event("two", 40_000, 40_030)]);
    let failed = |effect: &EventEffect| effect.outage.map(|outage| outage.failed);
    assert_eq!(found.iter().map(failed).collect::<Vec<_>>(), [Some(9), Some(9)]);
}

#[test]
fn an_event_before_anything_was_accepted_leaves_the_next_one_its_time_before() {
    let world = World { gone: vec![(10_000, 12_000), (30_000, 31_000)], ..CALM };
    // The phases before the load, in which nothing is counted, are a warm-up.
    let warm_ups = [(2000, 2100, 5000), (9900, 12_000, 9900)];
    for (started, ended, load) in warm_ups {
        let mut slices = world.slices();
        slices.due.retain(|slice, _| slice_start(*slice) >= ms(load));
        slices.ends.retain(|(start, _), _| slice_start(*start) >= ms(load));
        let events = [event("first", started, ended), event("crash", 30_000, 31_000)];
        let found = effects(&slices, None, &events, (ms(load), ms(60_000)));
        let [first, crash] = [0, 1].map(|index| found[index].clone().expect("it started"));
        assert!(
            matches!(&first.recovery, EventRecovery::Unknown(why) if why.contains("nothing was accepted")),
            "{first:?}"
        );
        assert!(first.outage.is_none_or(|outage| outage.to <= ms(12_000)), "{first:?}");
        assert_recovers_in(&crash.recovery, 1000);
        assert!(near(crash.outage.expect("arrivals failed").length(), 1000), "{crash:?}");
    }
}

#[test]
fn what_was_served_before_an_arrival_in_flight_failed_does_not_bound_the_outage() {
    let mut slices = World { length: 19_000, ..CALM }.slices();
    // The last one that is served before the event starts later than the one that fails after it.
    for (at, ended, outcome) in [
        (19_500, 20_900, Outcome::Dropped),
        (19_800, 19_850, Outcome::Accepted),
        (21_200, 21_250, Outcome::Accepted),
    ] {
        slices.ended(&ArrivalSpan { intended: ms(at), started: ms(at), ended: ms(ended), outcome });
    }
    let found = effects(&slices, None, &[event("crash", 20_000, 20_100)], (Duration::ZERO, ms(60_000)));
    let outage = found[0].as_ref().and_then(|effect| effect.outage).expect("one failed");
    assert_eq!((outage.from, outage.length(), outage.at_most), (ms(20_900), Duration::ZERO, Some(ms(1300))));
}

#[test]
fn arrivals_in_flight_that_time_out_long_after_the_event_do_not_delay_the_recovery() {
    let mut slices = CALM.slices();
    for at in [19_950, 19_960, 19_970] {
        let [intended, started, ended] = [at, at, at + 60_000].map(ms);
        slices.ended(&ArrivalSpan { intended, started, ended, outcome: Outcome::TimedOut });
    }
    let found = effects(&slices, None, &[event("crash", 20_000, 20_100)], (Duration::ZERO, ms(60_000)));
    let found = found[0].as_ref().expect("it started");
    assert_eq!(found.recovery, EventRecovery::After(Duration::ZERO));
    let outage = found.outage.expect("arrivals failed");
    assert_eq!((outage.failed, outage.length(), outage.at_most), (3, Duration::ZERO, Some(Duration::ZERO)));
}

#[test]
fn an_event_soon_after_another_is_compared_with_the_time_before_both() {
    // No arrival starts and ends between the two.
    let world = World { service: 400, ..CALM };
    let found = world.effects(&[event("one", 20_000, 20_050), event("two", 20_200, 20_250)]);
    for effect in found {
        assert_eq!((effect.outage, effect.recovery), (None, EventRecovery::After(Duration::ZERO)));
    }
}

#[test]
fn an_event_that_did_not_start_has_no_effect() {
    let waiting = EventRun { started: None, ended: None, ..event("never", 20_000, 20_000) };
    assert_eq!(effects(&CALM.slices(), None, &[waiting], (Duration::ZERO, ms(60_000))), [None]);
}

proptest! {
    #[test]
    fn outage_and_recovery_are_those_of_the_listener(
        every in 2_u64..40,
        service in 1_u64..400,
        // The first stray ends before it.
        at in 10_500_u64..25_000,
        kill in 0_u64..3000,
        down in 200_u64..9000,
        waits in 0_u64..2,
        fails_after in prop_oneof![Just(0), Just(5), Just(2000), Just(12_000)],
        strays in prop_oneof![Just(0), 210_u64..250],
    ) {
        let gone = (at + kill, at + kill + down);
        let world = World { every, service, gone: vec![gone], fails_after, strays, ..CALM };
        // The command ends when it has killed the listener, or when the listener is back.
        let ended = if waits == 1 { gone.1 } else { gone.0 };
        let found = &world.effects(&[event("crash", at, ended)])[0];
        let outage = found.outage.expect("arrivals failed");
        prop_assert!(near(outage.from, gone.0), "{:?} of {:?}", outage, world);
        prop_assert!(near(outage.to, gone.1), "{:?} of {:?}", outage, world);
        prop_assert!(outage.at_most.is_some_and(|most| most + OFF >= ms(down) && most <= ms(down) + OFF * 2), "{outage:?}");
        let EventRecovery::After(length) = found.recovery else { panic!("{:?}", found.recovery) };
        prop_assert!(near(length, gone.1 - at), "{:?} of {:?}", length, world);
        // Each arrival is on exactly one side of the event.
        let sum = found.before.arrivals.offered() + found.after.arrivals.offered();
        prop_assert_eq!(sum, world.length.div_ceil(every));
    }

    #[test]
    fn a_listener_that_is_slow_after_it_came_back_has_not_recovered(
        service in 20_u64..200,
        down in 500_u64..5000,
        slow in 2000_u64..15_000,
        times in 2_u64..10,
    ) {
        let slowed = (slow, service * times);
        let world = World { service, gone: vec![(20_000, 20_000 + down)], slow: slowed, ..CALM };
        let found = &world.effects(&[event("crash", 20_000, 20_000 + down)])[0];
        let EventRecovery::After(length) = found.recovery else { panic!("{:?}", found.recovery) };
        prop_assert!(near(length, down + slow), "{:?} of {:?}", length, world);
        prop_assert!(near(found.outage.unwrap().length(), down), "{:?}", found.outage);
    }

    #[test]
    fn an_outage_that_hits_some_arrivals_is_found(
        every in 2_u64..20,
        service in 1_u64..400,
        at in 10_000_u64..25_000,
        down in 500_u64..9000,
        hits in 2_u64..5,
    ) {
        let world = World { every, service, gone: vec![(at, at + down)], hits, ..CALM };
        let found = &world.effects(&[event("half", at, at + down)])[0];
        let outage = found.outage.expect("arrivals failed");
        prop_assert!(near(outage.from, at) && near(outage.to, at + down), "{:?} of {:?}", outage, world);
        let EventRecovery::After(length) = found.recovery else { panic!("{:?}", found.recovery) };
        prop_assert!(near(length, down), "{:?} of {:?}", length, world);
    }

    #[test]
    fn a_listener_that_stops_has_recovered_when_it_goes_on(
        every in 20_u64..200,
        service in 30_u64..150,
        at in 10_000_u64..25_000,
        stopped in 500_u64..8000,
    ) {
        let world = World { every, service, gone: vec![(at, at + stopped)], delays: true, ..CALM };
        let found = &world.effects(&[event("freeze", at, at + stopped)])[0];
        prop_assert_eq!(found.outage, None);
        let EventRecovery::After(length) = found.recovery else { panic!("{:?}", found.recovery) };
        prop_assert!(near(length, stopped), "{:?} of {:?}", length, world);
    }
}
