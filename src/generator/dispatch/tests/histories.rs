//! Tests with random loads and targets: every arrival is accounted for, and every run ends.

use proptest::prelude::*;

use super::world::{SimulatedTarget, World, ms};
use super::*;

pub(super) fn any_phase() -> impl Strategy<Value = Phase> {
    let think = (0_u64..30, 0_u64..60).prop_map(|(a, b)| Think { min: ms(a.min(b)), max: ms(a.max(b)) });
    let values = prop::collection::vec((0_u64..600, 0.0..12.0), 1..4).prop_map(|mut points| {
        points.sort_by_key(|point| point.0);
        Curve { points: points.into_iter().map(|(at, value)| (ms(at), value)).collect() }
    });
    let load = prop_oneof![
        (1.0..600.0).prop_map(rate),
        (1_u64..40, 1_u64..200).prop_map(|(size, every)| LoadModel::Burst { size, every: ms(every) }),
        (1_u64..30, 10.0..500.0).prop_map(|(sessions, rate)| LoadModel::Held { sessions, rate }),
        (values, think.clone()).prop_map(|(curve, think)| LoadModel::Sessions { curve, think }),
        (1_u64..200, 1_u64..12, think).prop_map(|(total, sessions, think)| LoadModel::Shared {
            total,
            sessions,
            think
        }),
    ];
    let either = || any::<bool>();
    let length = 50_u64..600;
    (load, length, either(), 1_u32..15, either(), 1_u64..700, prop::option::of(20.0..900.0), either())
        .prop_map(|(load, length, message, max, drops, grace, connect_rate, open_first)| {
            let unit = if message && !matches!(load, LoadModel::Held { .. }) {
                Unit::Message
            } else {
                Unit::Session
            };
            let mut phase = phase(load, Some(length), unit, max);
            phase.on_saturation = if drops { OnSaturation::Drop } else { OnSaturation::Queue };
            phase.graceful_stop = ms(grace);
            phase.connect_rate = connect_rate;
            let closed = phase.load.model.is_closed();
            phase.open_first = open_first && closed && unit == Unit::Message;
            phase
        })
}

pub(super) fn any_target() -> impl Strategy<Value = SimulatedTarget> {
    let chance = || prop_oneof![3 => Just(0_u64), 2 => 1_u64..60, 1 => Just(100_u64)];
    (0_u64..30, 0_u64..60, chance(), chance(), chance(), 0_u64..5, 1_usize..20, 0_u64..3000).prop_map(
        |(opens_in, serves_in, refuses, drops, closes_idle, mute_every, limit, jitter)| SimulatedTarget {
            opens_in,
            serves_in,
            refuses,
            drops,
            closes_idle,
            mute_every,
            limit,
            jitter,
            ..SimulatedTarget::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// For any load and any target: every arrival ends once, no wake-up is lost, no loop spins, the number of open
    /// sessions stays within its limit, and the run ends in time.
    #[test]
    fn every_history_is_accounted_for_and_ends(
        phases in prop::collection::vec(any_phase(), 1..4),
        endless: bool,
        target in any_target(),
        messages in prop_oneof![Just(Messages::Unlimited), (1_u32..4).prop_map(Messages::Fixed)],
        stop in prop::option::of((0_u64..900, 0_u64..300)),
        seed: u64,
    ) {
        let mut phases = phases;
        if let Some(last) = phases.last_mut().filter(|phase| endless && phase.load.model.total().is_some()) {
            last.load.length = None;
        }
        let over = |phases: &[Phase]| phases.iter().map(|phase| phase.load.length).sum::<Option<Duration>>();
        let ends = |i: usize| Some(over(&phases[..=i])? + phases[i].graceful_stop);
        let ends: Option<Duration> = (0..phases.len()).map(ends).collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().max());
        let mut plan = plan(phases);
        plan.messages = messages;
        let mut world = World::new(plan, target, seed);
        // A session that is never greeted holds an endless load until its time-outs, which this simulation does not
        // have.
        if ends.is_none() && target.mute_every > 0 || stop.is_some() {
            let (at, grace) = stop.unwrap_or((900, 300));
            world.stop = Some((ms(at), ms(at + grace)));
        }
        let end = world.run();
        if let Some(ends) = ends {
            let most = ends + LEAVING + ms(10);
            prop_assert!(end <= most, "ended at {end:?}, {most:?} allowed");
        }
    }
}
