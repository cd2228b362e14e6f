//! The schedule of a shard: its arrivals from phase to phase, and how many sessions it may have. Reads no clock: every
//! question says what time it is, as an offset from the run's epoch.

use std::time::Duration;

use super::arrival::{Arrival, Walk};
use super::{LoadModel, PhaseLoad, Shard, nanos, spans};

/// The arrivals of one shard of a run, in order.
///
/// Phases run one after the other: each starts where the one before ends. The arrivals of an open phase are all given,
/// however late they are asked for; those of a closed phase only until its end.
#[derive(Clone, Debug)]
pub struct Schedule {
    stretches: Vec<Stretch>,
    shard: Shard,
    /// The stretch that the next arrival comes from.
    current: usize,
    /// The next arrival, once it is known.
    ahead: Option<Arrival>,
}

/// A phase in its place.
#[derive(Clone, Debug)]
struct Stretch {
    /// Since the run's epoch.
    start: Duration,
    /// Since the run's epoch; `Duration::MAX`: it does not end by time.
    end: Duration,
    model: LoadModel,
    walk: Walk,
}

impl Schedule {
    /// The part of the load that belongs to `shard`. The same phases and seed give the same arrivals, whatever the sharding.
    pub fn new(phases: &[PhaseLoad], seed: u64, shard: Shard) -> Schedule {
        let stretches = (0..).zip(phases).zip(spans(phases)).map(|((index, phase), (start, end))| {
            let walk = Walk::new(phase, index, nanos(start), seed, shard);
            Stretch { start, end, model: phase.model.clone(), walk }
        });
        Schedule { stretches: stretches.collect(), shard, current: 0, ahead: None }
    }

    /// The next arrival, without taking it.
    ///
    /// A closed phase that has a length ends when `now` reaches its end: then the next phase's arrival is given.
    pub fn peek(&mut self, now: Duration) -> Option<Arrival> {
        loop {
            let stretch = self.stretches.get_mut(self.current)?;
            if !(stretch.model.is_closed() && now >= stretch.end) {
                self.ahead = self.ahead.or_else(|| stretch.walk.next());
                if self.ahead.is_some() {
                    return self.ahead;
                }
            }
            self.ahead = None;
            self.current += 1;
        }
    }

    /// The next arrival; it is not given again.
    pub fn take(&mut self, now: Duration) -> Option<Arrival> {
        let arrival = self.peek(now);
        self.ahead = None;
        arrival
    }

    /// How many arrivals of this shard the current phase still has, if that is known before it is over: [`LoadModel::Shared`].
    pub fn remaining(&self) -> Option<u64> {
        let stretch = self.stretches.get(self.current)?;
        stretch.model.total().map(|_| stretch.walk.remaining() + u64::from(self.ahead.is_some()))
    }

    /// Whether any arrival of a phase is still to come to this shard.
    ///
    /// # Panics
    /// If there is no such phase.
    pub fn has_part(&self, phase: u32) -> bool {
        self.stretches[phase as usize].walk.remaining() > 0
    }

    /// How many sessions this shard may have at `now`: in a closed phase those of its numbers, in an open phase any number
    /// (`u64::MAX`), after the last phase none. A ramp counts as soon as it reaches a whole number.
    pub fn slots(&self, now: Duration) -> u64 {
        let Some(stretch) = self.at(now) else { return 0 };
        stretch.model.sessions_at(now - stretch.start).map_or(u64::MAX, |sessions| self.shard.share(sessions))
    }

    /// The next moment after `now` at which [`slots`](Schedule::slots) changes, or a phase begins or ends.
    pub fn next_change(&self, now: Duration) -> Option<Duration> {
        let stretch = self.at(now)?;
        let within = if let LoadModel::Sessions { curve, .. } = &stretch.model {
            let (offset, end) = (now - stretch.start, stretch.end - stretch.start);
            curve.next_change(offset, end, |count| self.shard.share(count)).map(|at| stretch.start + at)
        } else {
            None
        };
        within.or(Some(stretch.end).filter(|&end| end < Duration::MAX))
    }

    /// When a phase starts; `Duration::MAX` after one that does not end by time.
    ///
    /// # Panics
    /// If there is no such phase.
    pub fn phase_start(&self, phase: u32) -> Duration {
        self.stretches[phase as usize].start
    }

    /// When a phase ends; `None` if not by time.
    ///
    /// # Panics
    /// If there is no such phase.
    pub fn phase_end(&self, phase: u32) -> Option<Duration> {
        Some(self.stretches[phase as usize].end).filter(|&end| end < Duration::MAX)
    }

    /// The stretch that `now` lies in.
    fn at(&self, now: Duration) -> Option<&Stretch> {
        self.stretches.get(self.stretches.partition_point(|stretch| stretch.end <= now))
    }
}

#[cfg(test)]
mod tests {
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

    /// The arrivals of a shard, at most `most`, asked for at the very start.
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
        assert_eq!(
            schedule.take(at(5000)).map(|arrival| arrival.due),
            Some(Due::At(at(500))),
            "late, yet given"
        );
        assert_eq!((schedule.peek(at(0)), schedule.take(at(0)), schedule.peek(at(0))), (None, None, None));
    }

    #[test]
    fn a_closed_phase_ends_by_time_and_an_arrival_not_taken_ends_with_it() {
        let mut schedule =
            Schedule::new(&[sessions(&[(0, 3.0)], 1000), constant(1.0, 2000)], 1, Shard::WHOLE);
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
            let phases = [
                constant(1.0, 500),
                sessions(&[(0, 0.0), (4000, 4.0), (5000, 4.0)], 6000),
                shared(9, 4, None),
            ];
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
        let phases =
            [constant(9.0, 0), sessions(&[(0, 3.0)], 0), shared(5, 5, Some(at(0))), constant(1.0, 1000)];
        let found = arrivals(&phases, 1, Shard::WHOLE, 10);
        assert_eq!(found, [Arrival { seq: 3 * PHASE_STRIDE, phase: 3, due: Due::At(at(0)) }]);
        assert_eq!(Schedule::new(&phases, 1, Shard::WHOLE).slots(at(0)), u64::MAX);
        assert_eq!(arrivals(&[], 1, Shard::WHOLE, 10), []);
    }

    /// The arrivals of a shard, in phases that only time ends those below `most`: then time passes to the phase's end.
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
}
