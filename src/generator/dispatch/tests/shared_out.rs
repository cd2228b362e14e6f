//! Tests of a load that is shared out over processes: all shards together take from the target what one process would
//! take (M34).

use std::fs;
use std::ops::Range;
use std::path::Path;

use proptest::prelude::*;

use super::world::{SimulatedTarget, World, ms};
use super::*;

/// The combined events of all shards of a plan.
struct Union {
    /// The times at which sessions were opened, in order.
    opened: Vec<Duration>,
    /// The times at which the number of open sessions changed, with the change. At the same time, ends come before
    /// openings.
    changes: Vec<(Duration, i64)>,
    /// The numbers of the arrivals that were started, in order.
    started: Vec<u64>,
    accepted: u64,
}

/// Runs each shard of a plan by itself against a target of its own.
fn union(plan: &Plan, of: u32, target: SimulatedTarget) -> Union {
    union_of(plan, 0..of, of, target)
}

/// Runs some of the shards of a plan.
fn union_of(plan: &Plan, shards: Range<u32>, of: u32, target: SimulatedTarget) -> Union {
    let mut union = Union { opened: Vec::new(), changes: Vec::new(), started: Vec::new(), accepted: 0 };
    for index in shards {
        let shard = Plan { shard: Shard { index, of }, ..plan.clone() };
        let mut world = World::new(shard, target, u64::from(index));
        world.run();
        union.opened.extend(&world.opened);
        union
            .changes
            .extend(world.opened.iter().map(|at| (*at, 1)).chain(world.closed.iter().map(|at| (*at, -1))));
        union.started.extend(world.started.iter().map(|(arrival, _)| arrival.seq));
        union.accepted += world.of(Outcome::Accepted);
    }
    union.opened.sort_unstable();
    union.changes.sort_unstable();
    union.started.sort_unstable();
    union
}

impl Union {
    /// Returns the largest number of sessions open at once, from `from` until just before `until`.
    fn peak(&self, from: Duration, until: Duration) -> i64 {
        let (mut open, mut most) = (0, 0);
        for (at, change) in self.changes.iter().filter(|(at, _)| *at < until) {
            open += change;
            most = if *at < from { open } else { most.max(open) };
        }
        most
    }

    /// Returns the number of sessions open at a time at which none of them begins or ends.
    fn open_at(&self, at: Duration) -> i64 {
        self.changes.iter().take_while(|(time, _)| *time <= at).map(|(_, change)| change).sum()
    }

    /// Checks that the connections of a phase obey its rate, between any two of them.
    fn keeps_rate(&self, rate: f64, from: Duration, until: Duration) {
        let opened: Vec<&Duration> = self.opened.iter().filter(|at| (from..until).contains(*at)).collect();
        for (i, from) in opened.iter().enumerate() {
            for (j, to) in opened.iter().enumerate().skip(i) {
                // A delay of up to a tenth of a second may be caught up.
                let most = ((**to - **from + ms(100)).as_secs_f64() * rate + 1e-6).floor() + 1.0;
                let found = (j - i + 1) as f64;
                assert!(found <= most, "{found} from {from:?} to {to:?}, {most} allowed at {rate}/s");
            }
        }
    }
}

/// Checks that the shards of a plan together take from the target at most what one process would take. The target
/// refuses and loses nothing.
fn holds_together(plan: &Plan, target: SimulatedTarget, of: u32) {
    let all = union(plan, of, target);
    let spans: Vec<(Duration, Duration)> = load::spans(plan.loads().iter()).collect();
    let mut most = 0;
    for (phase, (start, end)) in plan.phases.iter().zip(spans) {
        // Sessions of the previous phase may stay open.
        most = most.max(i64::from(phase.max_sessions));
        assert!(
            all.peak(start, end) <= most,
            "{} of {of}: {} sessions at once",
            phase.name,
            all.peak(start, end)
        );
        if let Some(rate) = phase.connect_rate {
            all.keeps_rate(rate, start, end);
        }
    }
    // No arrival is started by two shards.
    assert!(all.started.windows(2).all(|pair| pair[0] != pair[1]), "an arrival was started twice");
    // The number of arrivals of a closed phase with a length depends on the target.
    let by_time = |phase: &Phase| phase.load.model.is_closed() && phase.load.length.is_some();
    if !plan.phases.iter().any(by_time) {
        let whole = union(plan, 1, target);
        assert_eq!(all.started, whole.started, "{of} shards");
        assert_eq!(all.accepted, whole.accepted, "{of} shards");
    }
}

#[test]
fn threads_have_arrivals_in_proportion_to_their_sessions() {
    let of = |load: LoadModel, length: Option<u64>, sessions: u32, threads: u32| {
        let plan = Arc::new(plan(vec![phase(load, length, Unit::Message, sessions)]));
        let arrivals = |index| {
            let mut dispatch = Dispatch::new(plan.clone(), Shard { index, of: threads });
            let mut recorder = Recorder::new(1, index);
            dispatch.admit(ms(900), &mut recorder);
            recorder.counts(0).scheduled
        };
        (0..threads).map(arrivals).collect::<Vec<_>>()
    };
    assert_eq!(of(rate(100.0), Some(900), 3, 2), [60, 30]);
    assert_eq!(of(rate(100.0), Some(900), 4, 2), [45, 45]);
    let shares = |index| {
        let plan = Arc::new(plan(vec![phase(shared(10_000, 10), None, Unit::Message, 10)]));
        Dispatch::new(plan, Shard { index, of: 8 }).schedule.remaining()
    };
    assert_eq!([0, 1, 2, 7].map(shares), [2000, 2000, 1000, 1000].map(Some));
}

/// Returns the plans of the shipped profiles, with phases of at most a second and a half.
fn shipped() -> Vec<Plan> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles");
    let mut plans = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let mut plan = compiled(&fs::read_to_string(&path).unwrap());
        plan.retry = None;
        plan.messages = Messages::Unlimited;
        for phase in &mut plan.phases {
            phase.load.length = phase.load.length.map(|length| length.min(ms(1500)));
            phase.graceful_stop = ms(60_000);
        }
        plans.push(plan);
    }
    assert!(plans.len() >= 17, "only {} profiles were found", plans.len());
    plans
}

#[test]
fn m34_the_shards_of_each_shipped_profile_take_what_one_process_does() {
    let target = SimulatedTarget::default();
    for plan in shipped() {
        for of in 1..=7 {
            holds_together(&plan, target, of);
            let mut paced = plan.clone();
            for phase in &mut paced.phases {
                phase.connect_rate = Some(60.0);
            }
            holds_together(&paced, target, of);
        }
    }
}

#[test]
fn m34_sessions_of_closed_loads_are_shared_out_at_each_moment() {
    // The load rises, drops and falls; none of the checked times is near a change.
    let ramp = sessions(&[(0, 1.0), (1000, 20.0), (1000, 9.0), (2000, 9.0), (3000, 2.0)], 0);
    let target = SimulatedTarget { serves_in: 3, ..SimulatedTarget::default() };
    for unit in [Unit::Message, Unit::Session] {
        for of in 1..=7 {
            let all = union(&plan(vec![phase(ramp.clone(), Some(3000), unit, 100)]), of, target);
            let asked = |at: u64| i64::try_from(ramp.sessions_at(ms(at)).unwrap()).unwrap();
            for at in [300, 700, 990, 1500, 1900, 2500, 2900] {
                // A surplus session may still end its message while another session is being opened.
                let peak = all.peak(ms(at), ms(at + 1));
                assert!(
                    peak <= asked(at) + 1,
                    "{unit:?}, {of} shards: {peak} at {at} ms, {} asked",
                    asked(at)
                );
            }
            assert_eq!(all.peak(ms(0), ms(1000)), 19, "{unit:?}, {of} shards");
            assert_eq!(all.peak(ms(1100), ms(2000)), 9, "{unit:?}, {of} shards");
        }
    }
}

#[test]
fn m34_held_sessions_bursts_and_shared_messages_are_shared_out() {
    let held = LoadModel::Held { sessions: 23, rate: f64::INFINITY };
    let burst = LoadModel::Burst { size: 31, every: ms(200) };
    for of in 1..=7 {
        let target = SimulatedTarget::default();
        let all = union(&plan(vec![phase(held.clone(), Some(500), Unit::Session, 100)]), of, target);
        assert_eq!((all.opened.len(), all.peak(ms(0), ms(500))), (23, 23), "{of} shards");
        let all = union(&plan(vec![phase(burst.clone(), Some(500), Unit::Session, 100)]), of, target);
        assert_eq!((all.opened.len(), all.peak(ms(0), ms(200))), (93, 31), "{of} shards");
        let all = union(&plan(vec![phase(shared(50, 11), None, Unit::Message, 100)]), of, target);
        assert_eq!((all.accepted, all.peak(ms(0), ms(60_000))), (50, 11), "{of} shards");
    }
}

#[test]
fn m34_connections_of_all_shards_follow_one_rate() {
    for (load, unit) in [
        (LoadModel::Held { sessions: 60, rate: f64::INFINITY }, Unit::Session),
        (shared(400, 60), Unit::Message),
        (rate(500.0), Unit::Session),
    ] {
        for of in 1..=7 {
            let mut phase = phase(load.clone(), Some(1000), unit, 60);
            phase.connect_rate = Some(40.0);
            let all =
                union(&plan(vec![phase]), of, SimulatedTarget { serves_in: 5000, ..Default::default() });
            let within: Vec<Duration> = all.opened.iter().copied().filter(|at| *at < ms(1000)).collect();
            // One connection each 25 ms from the start on: the demand is higher than the rate, so all of the rate is
            // used.
            assert_eq!(within.len(), 40, "{of} shards: {within:?}");
            for (k, at) in (0..).zip(&within) {
                assert!(at.abs_diff(ms(k * 25)) < ms(1), "{of} shards: number {k} at {at:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// The number of sessions that a phase of messages leaves in the pool differs between shards and one process, and
    /// from shard to shard. In a phase of held sessions, each shard must have its part of the held sessions and no
    /// other session: `when = "sessions > n"` depends on that.
    #[test]
    fn m34_held_sessions_of_shards_are_those_of_one_process_after_drawn_phases(
        before in prop::collection::vec(histories::any_phase(), 1..3),
        held in 10_u64..40,
        every in 10_u64..30,
        opens_in in 0_u64..5,
        serves_in in 0_u64..60,
        messages in prop_oneof![Just(Messages::Unlimited), (1_u32..6).prop_map(Messages::Fixed)],
    ) {
        let mut phases = before;
        for phase in &mut phases {
            // No session of these phases may last into the phase of held sessions.
            phase.max_sessions = 40;
            phase.connect_rate = None;
            phase.open_first = false;
            phase.graceful_stop = ms(0);
        }
        let start: Duration = phases.iter().filter_map(|phase| phase.load.length).sum();
        let (rate, length) = (1e3 / every as f64, (held + 20) * every);
        let load = LoadModel::Held { sessions: held, rate };
        phases.push(phase(load, Some(length), Unit::Session, 100));
        let mut plan = plan(phases);
        plan.messages = messages;
        let target = SimulatedTarget { opens_in, serves_in, ..Default::default() };
        for of in 1..=7 {
            let shards: Vec<Union> =
                (0..of).map(|index| union_of(&plan, index..index + 1, of, target)).collect();
            for k in 0..held {
                // The time lies between two openings. It is not checked until the sessions of the phases before have
                // ended.
                let at = start + ms(k * every) + ms(every / 2);
                if at < start + ms(opens_in + serves_in + 10) {
                    continue;
                }
                let open: Vec<i64> = shards.iter().map(|shard| shard.open_at(at)).collect();
                let asked: Vec<i64> =
                    (0..of).map(|index| Shard { index, of }.share(k + 1).cast_signed()).collect();
                prop_assert_eq!(open, asked, "{} of {} sessions, {} shards", k + 1, held, of);
            }
        }
    }

    #[test]
    fn m34_drawn_loads_are_shared_out(
        phases in prop::collection::vec(histories::any_phase(), 1..3),
        most in 7_u32..40,
        opens_in in 0_u64..30,
        serves_in in 0_u64..60,
        of in 2_u32..8,
    ) {
        let mut phases = phases;
        for phase in &mut phases {
            // Shedding, and the open sessions that a phase finds, depend on the target, so both are excluded.
            phase.max_sessions = most;
            phase.on_saturation = OnSaturation::Queue;
            phase.graceful_stop = ms(600_000);
            phase.open_first = false;
        }
        if let Some(last) = phases.last_mut().filter(|phase| phase.load.model.total().is_some()) {
            last.load.length = None;
        }
        let plan = plan(phases);
        // A plan with fewer sessions than shards is refused.
        prop_assume!(u64::from(of) <= plan.sessions_to_share());
        holds_together(&plan, SimulatedTarget { opens_in, serves_in, ..Default::default() }, of);
    }
}
