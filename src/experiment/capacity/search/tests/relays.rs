//! Tests of searches with a relay as the listener: accepted messages wait in a queue that is emptied at a known rate.
//!
//! The suite uses a few seeds. A thousand seeds take minutes: `cargo test --release m33_a_thousand_relays -- --ignored`.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::collector::delivery::{Delivered, DeliveryCounts, PhaseDelivery};
use crate::collector::flow::Flow;
use crate::experiment::capacity::describe;
use crate::experiment::capacity::sustained::{BacklogGrowth, Sustained};

/// The queue of a relay, which delivers one message after the other.
#[derive(Clone, Debug)]
pub struct VirtualRelay {
    /// The time at which the relay becomes idle.
    free: Duration,
    /// The mean time that one message takes.
    service: Duration,
    /// Whether these times have an exponential distribution; otherwise all are equal.
    is_random: bool,
    random: ChaCha8Rng,
    /// One message in this many is lost; 0: no message.
    loses: u64,
    /// One message in this many is delivered twice; 0: no message.
    doubles: u64,
    /// The number of messages so far.
    seen: u64,
    /// The longest wait for deliveries after the load.
    drain: Duration,
}

impl VirtualRelay {
    fn new(rate: f64, seed: u64) -> VirtualRelay {
        VirtualRelay {
            free: Duration::ZERO,
            service: Duration::from_secs_f64(1.0 / rate),
            is_random: false,
            random: ChaCha8Rng::seed_from_u64(seed),
            loses: 0,
            doubles: 0,
            seen: 0,
            drain: Duration::from_secs(120),
        }
    }

    /// Delivers the messages that were accepted at these times since the start `began` of a run.
    pub fn hand_on(
        &mut self,
        mut accepted: Vec<Duration>,
        length: Duration,
        tally: &mut Tally,
        began: Duration,
    ) -> Delivered {
        accepted.sort_unstable();
        let until = accepted.last().copied().unwrap_or_default().max(length) + self.drain;
        let mut counts = DeliveryCounts { accepted: accepted.len() as u64, ..DeliveryCounts::default() };
        let (mut settled, mut is_queue_left) = (Vec::new(), false);
        for at in &accepted {
            self.seen += 1;
            if self.loses > 0 && self.seen.is_multiple_of(self.loses) {
                continue;
            }
            counts.duplicated += u64::from(self.doubles > 0 && self.seen.is_multiple_of(self.doubles));
            let drawn = if self.is_random { -(1.0 - self.random.random::<f64>()).ln() } else { 1.0 };
            self.free = self.free.max(began + *at) + self.service.mul_f64(drawn);
            let out = self.free - began;
            if out > until {
                is_queue_left = true;
                continue;
            }
            settled.push(out);
            let hist = tally.phases[0].hists.entry((Metric::Delivery, Outcome::Accepted)).or_default();
            hist.record((out - *at).as_nanos() as u64);
        }
        counts.delivered = settled.len() as u64;
        counts.missing = counts.accepted - counts.delivered;
        let last = settled.last().copied();
        let mut flow = Flow::default();
        accepted.iter().for_each(|at| flow.accepted(*at));
        settled.iter().for_each(|at| flow.settled(*at));
        let drain = last.zip(accepted.last()).map(|(out, at)| out.saturating_sub(*at));
        Delivered {
            phases: vec![PhaseDelivery { counts, drain, ..PhaseDelivery::default() }],
            ended: if counts.missing > 0 { until } else { last.unwrap_or_default() },
            is_queue_left,
            flow,
            ..Delivered::default()
        }
    }
}

/// Runs a search against a relay to its end. Returns the state and the settings of the search.
fn found(relay: VirtualRelay, workers: usize, is_poisson: bool, seed: u64) -> (SearchState, CapacityPlan) {
    let (mut asked, mut plan) = capacity("response p99 < 1s");
    plan.seed = seed;
    asked.deadline = Duration::from_secs(100_000);
    if is_poisson {
        *asked.phase.load.model.curve_mut().unwrap() = Curve::constant(1.0);
        asked.phase.load.model = LoadModel::Rate { curve: Curve::constant(1.0), spacing: Spacing::Poisson };
    }
    let mut host = Virtual { relay: Some(relay), ..Virtual::new(workers, 20) };
    let mut state = new_state(&asked);
    assert_eq!(search(&asked, &plan, &mut host, &mut state).unwrap(), SearchEnd::Complete);
    (state, asked)
}

/// Searches with this many seeds. The relay accepts messages at once and empties its queue at a rate from 30 to 300/s. The
/// lower bound must never be more than 5 % above that rate, and in 95 of 100 cases it must be at least 0.93 times that
/// rate. It must not be more than 2 % above that rate, with two exceptions: with random arrivals 1 of 100 searches may end
/// higher, and with random service the searches whose result is reported as undecided.
fn hold(name: &str, seeds: u64, is_poisson: bool, is_random: bool) {
    let (mut above, mut undecided, mut near, mut within, mut shares) = (0, 0, 0, 0, Vec::new());
    for seed in 0..seeds {
        let rate = ChaCha8Rng::seed_from_u64(2_000_000 + seed).random_range(30.0..300.0);
        let relay = VirtualRelay { is_random, ..VirtualRelay::new(rate, seed) };
        // Forty workers accept 2,000/s.
        let (state, asked) = found(relay, 40, is_poisson, 1_000 * seed);
        let bounds = state.controller.bounds(0);
        let share = bounds.lower.unwrap_or_default() / rate;
        let longest = describe::longest_at(&state, bounds.lower.unwrap()).unwrap();
        let is_decided = |growth: Option<BacklogGrowth>| {
            growth.is_some_and(|growth| growth.verdict == Sustained::Sustained)
        };
        let is_decided = longest.growths().all(|(_, growth, _)| is_decided(growth));
        above += u64::from(share > 1.02 && (is_decided || !is_random));
        undecided += u64::from(!is_decided);
        near += u64::from(share >= 0.93);
        within += u64::from((0.95..=1.05).contains(&share));
        shares.push(share);
        let why = describe::bound_by(&asked, &state, 0).unwrap();
        assert!(why.contains("the relay's queue grew by"), "{why}");
    }
    shares.sort_by(f64::total_cmp);
    let at = |share: f64| shares[((seeds - 1) as f64 * share) as usize];
    let figures = format!(
        "{name}, {seeds} seeds: lower bound over rate {:.3} to {:.3}, 5 % below {:.3}, median {:.3}; {above} above 1.02, {undecided} \
         undecided, {near} at least \
         0.93, {within} within 5 %",
        at(0.0),
        at(1.0),
        at(0.05),
        at(0.5)
    );
    println!("{figures}");
    let allowed = if is_poisson { seeds / 100 } else { 0 };
    assert!(above <= allowed && at(1.0) <= 1.05, "{figures}");
    assert!(near * 100 >= seeds * 95, "{figures}");
}

fn even(seeds: u64) {
    hold("even arrivals, even service", seeds, false, false);
}

fn random_arrivals(seeds: u64) {
    hold("random arrivals, even service", seeds, true, false);
}

fn random_service(seeds: u64) {
    hold("even arrivals, random service", seeds, false, true);
}

#[test]
fn m33_a_relay_is_put_at_the_rate_at_which_it_hands_on() {
    even(3);
    random_arrivals(1);
    random_service(1);
}

#[test]
#[ignore = "a thousand seeds of each take minutes in a release build"]
fn m33_a_thousand_relays_of_each_kind() {
    even(1000);
    random_arrivals(1000);
}

#[test]
fn a_trial_says_what_the_relay_did_and_the_next_one_finds_it_empty() {
    let (state, asked) = found(VirtualRelay::new(100.0, 1), 40, false, 7);
    let above = state.records.iter().find(|record| record.load == 160.0).unwrap();
    let delivery = above.delivery.as_ref().unwrap();
    assert!(above.goals[0].unsustained && !above.goals[0].undelivered, "{above:?}");
    assert_eq!((delivery.missing, delivery.accepted), (0, 3_200), "{delivery:?}");
    // The queue grows by 60/s for 20 s, and is empty 12 s after the end of the load.
    let growth = delivery.queue.unwrap();
    assert!(
        (growth.per_s - 60.0).abs() < 1.0 && (1_170..=1_230).contains(&delivery.queued_at_end),
        "{delivery:?}"
    );
    assert!((delivery.drain_s.unwrap() - 12.0).abs() < 0.5, "{delivery:?}");
    let next = &state.records[above.number];
    assert!(next.began_s >= above.began_s + 32.0, "{} after {}", next.began_s, above.began_s);
    assert_eq!(above.backlog.unwrap().verdict, Sustained::Sustained, "it was all accepted");
    let why = describe::bound_by(&asked, &state, 0).unwrap();
    assert!(why.starts_with("unsustained: at ") && why.contains("the relay's queue grew by"), "{why}");
    // Without the rule the queue of the same relay may grow.
    let (mut asked, plan) = capacity("response p99 < 1s");
    (asked.sustained, asked.deadline) = (false, Duration::from_secs(100_000));
    let mut host = Virtual {
        relay: Some(VirtualRelay { drain: Duration::MAX / 4, ..VirtualRelay::new(100.0, 1) }),
        ..Virtual::new(40, 20)
    };
    let mut state = new_state(&asked);
    search(&asked, &plan, &mut host, &mut state).unwrap();
    assert!(state.controller.bounds(0).lower > Some(1_900.0), "{:?}", state.controller.bounds(0));
}

/// If the relay delivers faster than it accepts, a receiver changes neither the result nor the trial time.
#[test]
fn a_relay_that_keeps_up_is_put_where_it_is_without_a_receiver() {
    let (asked, plan) = capacity("response p99 < 200ms");
    let with = |relay: Option<VirtualRelay>| {
        let mut host = Virtual { relay, ..Virtual::new(8, 20) };
        let mut state = new_state(&asked);
        search(&asked, &plan, &mut host, &mut state).unwrap();
        let trials: f64 = state.records.iter().map(|record| record.length_s).sum();
        (state.controller.bounds(0), trials)
    };
    let (alone, behind) = (with(None), with(Some(VirtualRelay::new(2_000.0, 3))));
    assert_eq!(alone, behind);
}

#[test]
fn a_load_under_which_messages_are_lost_or_doubled_is_not_carried() {
    let (asked, plan) = capacity("response p99 < 200ms");
    for (relay, expected) in [
        (
            VirtualRelay { loses: 500, drain: Duration::from_secs(5), ..VirtualRelay::new(2_000.0, 1) },
            "missing == 0: ",
        ),
        (VirtualRelay { doubles: 500, ..VirtualRelay::new(2_000.0, 1) }, "duplicated == 0: "),
    ] {
        let mut host = Virtual { relay: Some(relay.clone()), ..Virtual::new(8, 20) };
        let mut state = new_state(&asked);
        search(&asked, &plan, &mut host, &mut state).unwrap();
        let bad = state.records.iter().find(|record| !record.goals[0].good).unwrap();
        assert!(bad.goals[0].undelivered && !bad.goals[0].unsustained, "{bad:?}");
        let failed = &bad.delivery.as_ref().unwrap().failed;
        assert!(failed[0].starts_with(expected), "{failed:?}");
        let why = describe::bound_by(&asked, &state, 0).unwrap();
        assert!(why.starts_with("deliveries: at ") && why.contains(expected), "{why}");
        // Without the assertions the trials are good.
        let lax = CapacityPlan { deliveries: Vec::new(), ..asked.clone() };
        let mut host = Virtual { relay: Some(relay), ..Virtual::new(8, 20) };
        let mut state = new_state(&lax);
        search(&lax, &plan, &mut host, &mut state).unwrap();
        assert!(state.records.iter().all(|record| !record.goals.iter().any(|goal| goal.undelivered)));
    }
}

#[test]
fn a_relay_that_delivers_nothing_or_keeps_a_queue_ends_the_search() {
    let (mut asked, plan) = capacity("response p99 < 200ms");
    let mut end_of = |relay: VirtualRelay, start: f64, warmup: u64| {
        (asked.rules.start, asked.warmup) = (start, Duration::from_secs(warmup));
        let mut host = Virtual { relay: Some(relay), ..Virtual::new(80, 20) };
        let mut state = new_state(&asked);
        (search(&asked, &plan, &mut host, &mut state).unwrap(), state.records)
    };
    let (end, records) = end_of(VirtualRelay { loses: 1, ..VirtualRelay::new(100.0, 1) }, 20.0, 10);
    let SearchEnd::Undelivered(why) = end else { panic!("{end:?}") };
    assert!(why.contains("did not come out") && why.contains("[receive]") && records.is_empty(), "{why}");
    let (end, records) = end_of(VirtualRelay::new(100.0, 1), 2_000.0, 0);
    let SearchEnd::Undelivered(why) = end else { panic!("{end:?}") };
    assert!(why.starts_with("after trial 1 the relay's queue did not become empty"), "{why}");
    let [only] = records.as_slice() else { panic!("{records:?}") };
    let delivery = only.delivery.as_ref().unwrap();
    assert!(delivery.is_queue_left && delivery.failed.is_empty() && only.goals[0].unsustained, "{only:?}");
    let (end, _) = end_of(VirtualRelay::new(100.0, 1), 2_000.0, 10);
    assert!(matches!(&end, SearchEnd::Undelivered(why) if why.starts_with("after the warm-up")), "{end:?}");
}
