//! Tests of `schedule`.

use super::*;
use crate::load::{Curve, Due, PHASE_STRIDE, Spacing, Think};
use proptest::prelude::*;

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn constant(rate: f64, millis: u64) -> PhaseLoad {
    PhaseLoad {
        model: LoadModel::Rate { curve: Curve::constant(rate), spacing: Spacing::Uniform },
        length: Some(at(millis)),
    }
}

fn sessions(points: &[(u64, f64)], millis: u64) -> PhaseLoad {
    let curve = Curve { points: points.iter().map(|&(offset, value)| (at(offset), value)).collect() };
    PhaseLoad { model: LoadModel::Sessions { curve, think: Think::default() }, length: Some(at(millis)) }
}

fn shared(total: u64, sessions: u64, length: Option<Duration>) -> PhaseLoad {
    PhaseLoad {
        model: LoadModel::Shared { total, sessions, think: Think { min: at(1), max: at(9) } },
        length,
    }
}

/// Returns the arrivals of a shard, at most `most`, all requested at time 0.
fn arrivals(phases: &[PhaseLoad], seed: u64, shard: Shard, most: usize) -> Vec<Arrival> {
    let mut schedule = Schedule::new(phases, seed, shard);
    std::iter::from_fn(|| schedule.take(Duration::ZERO)).take(most).collect()
}

#[test]
fn a_phase_begins_where_the_one_before_ends() {
    let phases = [constant(2.0, 1000), constant(4.0, 500), shared(1, 1, None)];
    let found = arrivals(&phases, 1, Shard::WHOLE, 100);
    let seqs: Vec<u64> = found.iter().map(|arrival| arrival.seq).collect();
    assert_eq!(seqs, [0, 1, PHASE_STRIDE, PHASE_STRIDE + 1, 2 * PHASE_STRIDE]);
    let dues: Vec<Due> = found[..4].iter().map(|arrival| arrival.due).collect();
    assert_eq!(dues, [0, 500, 1000, 1250].map(|due| Due::At(at(due))));
    assert!(matches!(found[4].due, Due::WhenIdle { not_before, .. } if not_before == at(1500)));
    let schedule = Schedule::new(&phases, 1, Shard::WHOLE);
    assert_eq!([0, 1, 2].map(|phase| schedule.phase_start(phase)), [at(0), at(1000), at(1500)]);
    assert_eq!([0, 1, 2].map(|phase| schedule.phase_end(phase)), [Some(at(1000)), Some(at(1500)), None]);
}

#[test]
fn to_peek_takes_nothing() {
    let mut schedule = Schedule::new(&[constant(2.0, 1000)], 1, Shard::WHOLE);
    let first = schedule.peek(at(0));
    assert_eq!(schedule.peek(at(700)), first);
    assert_eq!(schedule.take(at(0)), first);
    assert_eq!(schedule.take(at(5000)).map(|arrival| arrival.due), Some(Due::At(at(500))), "late, yet given");
    assert_eq!((schedule.peek(at(0)), schedule.take(at(0)), schedule.peek(at(0))), (None, None, None));
}

#[test]
fn a_closed_phase_ends_by_time_and_an_arrival_not_taken_ends_with_it() {
    let mut schedule = Schedule::new(&[sessions(&[(0, 3.0)], 1000), constant(1.0, 2000)], 1, Shard::WHOLE);
    assert_eq!(schedule.take(at(0)).map(|arrival| arrival.seq), Some(0));
    assert_eq!(schedule.peek(at(999)).map(|arrival| arrival.seq), Some(1));
    assert_eq!(schedule.peek(at(1000)).map(|arrival| arrival.seq), Some(PHASE_STRIDE));
    assert_eq!(schedule.take(at(1000)).map(|arrival| arrival.due), Some(Due::At(at(1000))));
}

#[test]
fn a_shared_phase_ends_when_its_arrivals_are_used_up_or_by_time() {
    let phases = [shared(2, 2, Some(at(1000))), constant(1.0, 1000)];
    let mut schedule = Schedule::new(&phases, 1, Shard::WHOLE);
    let phase_of = |arrival: Option<Arrival>| arrival.map(|arrival| arrival.phase);
    assert_eq!([0, 0, 0].map(|now| phase_of(schedule.take(at(now)))), [Some(0), Some(0), Some(1)]);
    let mut late = Schedule::new(&phases, 1, Shard::WHOLE);
    assert_eq!(phase_of(late.take(at(1000))), Some(1));
}

#[test]
fn slots_of_open_and_closed_phases() {
    let phases = [constant(1.0, 1000), sessions(&[(0, 5.0)], 1000), shared(9, 4, Some(at(1000)))];
    let slots = |shard| {
        let schedule = Schedule::new(&phases, 1, shard);
        [0, 999, 1000, 1999, 2000, 2999, 3000].map(|now| schedule.slots(at(now)))
    };
    assert_eq!(slots(Shard::WHOLE), [u64::MAX, u64::MAX, 5, 5, 4, 4, 0]);
    assert_eq!(slots(Shard { index: 0, of: 3 }), [u64::MAX, u64::MAX, 2, 2, 2, 2, 0]);
    assert_eq!(slots(Shard { index: 2, of: 3 }), [u64::MAX, u64::MAX, 1, 1, 1, 1, 0]);
}

#[test]
fn changes_are_phase_borders_and_the_crossings_that_concern_the_shard() {
    let changes = |shard| {
        let phases =
            [constant(1.0, 500), sessions(&[(0, 0.0), (4000, 4.0), (5000, 4.0)], 6000), shared(9, 4, None)];
        let schedule = Schedule::new(&phases, 1, shard);
        let next = |now: &Duration| schedule.next_change(*now);
        let moments = std::iter::successors(next(&Duration::ZERO), next);
        moments.map(|moment| (moment.as_secs_f64() * 1e3).round() as u64).collect::<Vec<_>>()
    };
    assert_eq!(changes(Shard::WHOLE), [500, 1500, 2500, 3500, 4500, 6500]);
    assert_eq!(changes(Shard { index: 1, of: 2 }), [500, 2500, 4500, 6500]);
    assert_eq!(changes(Shard { index: 7, of: 8 }), [500, 6500]);
}

#[test]
fn a_phase_without_length_is_passed_over() {
    let phases = [constant(9.0, 0), sessions(&[(0, 3.0)], 0), shared(5, 5, Some(at(0))), constant(1.0, 1000)];
    let found = arrivals(&phases, 1, Shard::WHOLE, 10);
    assert_eq!(found, [Arrival { seq: 3 * PHASE_STRIDE, phase: 3, due: Due::At(at(0)) }]);
    assert_eq!(Schedule::new(&phases, 1, Shard::WHOLE).slots(at(0)), u64::MAX);
    assert_eq!(arrivals(&[], 1, Shard::WHOLE, 10), []);
}

/// Returns the arrivals of a shard. For phases that only time ends, these are the arrivals below `most`; then the time
/// moves to the end of the phase.
fn arrivals_to(most: u64, phases: &[PhaseLoad], seed: u64, shard: Shard) -> Vec<Arrival> {
    let mut schedule = Schedule::new(phases, seed, shard);
    let (mut now, mut found) = (Duration::ZERO, Vec::new());
    while let Some(arrival) = schedule.take(now) {
        let endless = matches!(phases[arrival.phase as usize].model, LoadModel::Sessions { .. });
        if endless && arrival.seq % PHASE_STRIDE >= most {
            let end = schedule.phase_end(arrival.phase).unwrap();
            assert!(end > now, "phase {} goes on after its end", arrival.phase);
            now = end;
        } else {
            found.push(arrival);
        }
    }
    found
}

fn any_load() -> impl Strategy<Value = LoadModel> {
    let points = prop::collection::vec((0_u64..3000, 0.0..200.0), 1..5).prop_map(|mut points| {
        points.sort_by_key(|point| point.0);
        Curve { points: points.into_iter().map(|(offset, value)| (at(offset), value)).collect() }
    });
    let think = (0_u64..50, 0_u64..50).prop_map(|(a, b)| Think { min: at(a.min(b)), max: at(a.max(b)) });
    let spacing = prop_oneof![Just(Spacing::Uniform), Just(Spacing::Poisson)];
    prop_oneof![
        (points.clone(), spacing).prop_map(|(curve, spacing)| LoadModel::Rate { curve, spacing }),
        (0_u64..20, 1_u64..900).prop_map(|(size, every)| LoadModel::Burst { size, every: at(every) }),
        (0_u64..90, prop_oneof![Just(f64::INFINITY), 0.0..90.0])
            .prop_map(|(s, rate)| LoadModel::Held { sessions: s, rate }),
        (0_u64..300, 0_u64..20, think.clone()).prop_map(|(total, s, think)| LoadModel::Shared {
            total,
            sessions: s,
            think
        }),
        (points, think).prop_map(|(curve, think)| LoadModel::Sessions { curve, think }),
    ]
}

fn any_phases() -> impl Strategy<Value = Vec<PhaseLoad>> {
    let phase = (any_load(), 0_u64..4000)
        .prop_map(|(load, length)| PhaseLoad { model: load, length: Some(at(length)) });
    prop::collection::vec(phase, 0..5)
}

proptest! {
    #[test]
    fn the_union_of_the_shards_is_the_whole(phases in any_phases(), seed: u64, of in 1_u32..9) {
        let whole = arrivals_to(40, &phases, seed, Shard::WHOLE);
        let mut union: Vec<Arrival> =
            (0..of).flat_map(|index| arrivals_to(40, &phases, seed, Shard { index, of })).collect();
        union.sort_by_key(|arrival| arrival.seq);
        prop_assert_eq!(union, whole);
    }

    #[test]
    fn the_slots_of_the_shards_add_up(phases in any_phases(), of in 1_u32..9, now in 0_u64..9000) {
        let slots = |shard| Schedule::new(&phases, 1, shard).slots(at(now));
        let whole = slots(Shard::WHOLE);
        if whole < u64::MAX {
            prop_assert_eq!((0..of).map(|index| slots(Shard { index, of })).sum::<u64>(), whole);
        }
    }

    #[test]
    fn slots_stay_between_two_changes(phases in any_phases(), now in 0_u64..9000, part in 0.0..1.0) {
        let schedule = Schedule::new(&phases, 1, Shard { index: 0, of: 3 });
        let now = at(now);
        if let Some(next) = schedule.next_change(now) {
            prop_assert!(next > now);
            let between = now + (next - now - Duration::from_nanos(1)).mul_f64(part);
            prop_assert_eq!(schedule.slots(between), schedule.slots(now));
        }
    }
}
