//! Arrivals: their numbers, when they are due, and the walk through the arrivals of one phase.
//! Which phase it is, and when a closed phase is over, `schedule` knows.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use super::curve::Inverse;
use super::random::{self, Purpose};
use super::{Curve, LoadModel, PhaseLoad, Shard, Spacing, Think, nanos};

/// By how much the numbers of a phase's arrivals lie above those of the phase before: arrival n of phase p has the number
/// p * 10^12 + n. A phase has at most so many arrivals (11 days at a million a second).
///
/// How many arrivals a closed phase has is not known before it is over, so numbers cannot go on from phase to phase without
/// depending on it. A decimal stride keeps them readable: 17 is an arrival of the first phase, 2000000000017 one of the third.
pub const PHASE_STRIDE: u64 = 1_000_000_000_000;

/// One arrival of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its number: unique in the run, the same for any sharding. See [`PHASE_STRIDE`].
    pub seq: u64,
    /// Its phase, from 0.
    pub phase: u32,
    /// When it is to start.
    pub due: Due,
}

/// When an arrival is to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Open: at this offset from the run's epoch, whatever the target does.
    At(Duration),
    /// Closed: when a session is free and has thought.
    WhenIdle {
        /// Not before this offset from the run's epoch: the phase's start.
        not_before: Duration,
        /// How long the session is to think before it.
        think: Duration,
    },
}

/// How many arrivals a phase has: exactly for open loads and [`LoadModel::Shared`], the mean for a Poisson process.
/// `None` if time decides ([`LoadModel::Sessions`]) or if it does not end.
pub fn expected_arrivals(phase: &PhaseLoad) -> Option<u64> {
    let whole = Walk::new(phase, 0, 0, 0, Shard::WHOLE);
    match &whole.steps {
        Steps::Uniform { .. } | Steps::Burst { .. } => phase.length.map(|_| whole.limit),
        Steps::Poisson { inverse, .. } => phase.length.map(|_| inverse.area().round() as u64),
        Steps::Closed { .. } => phase.model.total().map(|_| whole.limit),
    }
}

/// The arrivals of a phase by itself: number `index` of a run, beginning at this offset from its epoch.
pub fn arrivals(phase: &PhaseLoad, index: u32, start: Duration, seed: u64) -> impl Iterator<Item = Arrival> {
    Walk::new(phase, index, nanos(start), seed, Shard::WHOLE)
}

/// The arrivals of one phase that belong to one shard, in order.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    phase: u32,
    /// The phase's start, in nanoseconds since the run's epoch.
    start: u64,
    /// The place in the phase of the next arrival of this shard.
    next: u64,
    /// From place to place.
    stride: u64,
    /// Places are below this.
    limit: u64,
    steps: Steps,
}

/// How a phase steps from arrival to arrival.
#[derive(Clone, Debug)]
enum Steps {
    /// Arrival n stands where the area under the rate curve is n.
    Uniform { inverse: Inverse },
    /// Arrival n stands where the area is the sum of the first n + 1 exponentials.
    Poisson { inverse: Inverse, stream: Box<ChaCha8Rng>, drawn: u64, area: f64 },
    /// Arrival n belongs to burst n / size.
    Burst { size: u64, every: u64 },
    /// Arrival n is due when a session is free.
    Closed { think: Think, stream: Box<ChaCha8Rng> },
}

impl Walk {
    /// Through `phase`, which is number `index` of the run and starts at `start` nanoseconds.
    pub(super) fn new(phase: &PhaseLoad, index: u32, start: u64, seed: u64, shard: Shard) -> Walk {
        let length = phase.length.map_or(u64::MAX, nanos);
        let stream = |purpose| Box::new(random::stream(seed, index, purpose));
        let closed = |think| Steps::Closed { think, stream: stream(Purpose::Think) };
        let (limit, steps) = match &phase.model {
            LoadModel::Rate { curve, spacing: Spacing::Uniform } => uniform(curve, length),
            LoadModel::Rate { curve, spacing: Spacing::Poisson } => {
                let inverse = Inverse::new(curve, length);
                let stream = stream(Purpose::Spacing);
                (PHASE_STRIDE, Steps::Poisson { inverse, stream, drawn: 0, area: 0.0 })
            }
            LoadModel::Burst { size, every } => burst(*size, nanos(*every), length),
            LoadModel::Held { sessions, rate } if rate.is_infinite() => burst(*sessions, 0, length),
            LoadModel::Held { sessions, rate } => {
                let (limit, steps) = uniform(&Curve::constant(*rate), length);
                (limit.min(*sessions), steps)
            }
            LoadModel::Sessions { think, .. } => (if length == 0 { 0 } else { PHASE_STRIDE }, closed(*think)),
            LoadModel::Shared { total, think, .. } => (if length == 0 { 0 } else { *total }, closed(*think)),
        };
        Walk {
            phase: index,
            start,
            next: u64::from(shard.index),
            stride: u64::from(shard.of.max(1)),
            limit: limit.min(PHASE_STRIDE),
            steps,
        }
    }

    /// How many of the shard's places below the limit are left.
    pub(super) fn remaining(&self) -> u64 {
        self.limit.saturating_sub(self.next).div_ceil(self.stride)
    }
}

impl Iterator for Walk {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let n = self.next;
        if n >= self.limit {
            return None;
        }
        let at = |offset: u64| Due::At(Duration::from_nanos(self.start.saturating_add(offset)));
        let due = match &mut self.steps {
            Steps::Uniform { inverse } => at(inverse.at(n as f64)?),
            Steps::Poisson { inverse, stream, drawn, area } => {
                // The arrivals of the other shards are drawn too: the process is one.
                while *drawn <= n {
                    *area += random::exponential(stream);
                    *drawn += 1;
                }
                at(inverse.at(*area)?)
            }
            Steps::Burst { size, every } => at((n / *size).saturating_mul(*every)),
            Steps::Closed { think, stream } => Due::WhenIdle {
                not_before: Duration::from_nanos(self.start),
                think: random::think(stream, *think, n),
            },
        };
        self.next = n + self.stride;
        Some(Arrival {
            seq: u64::from(self.phase).wrapping_mul(PHASE_STRIDE).wrapping_add(n),
            phase: self.phase,
            due,
        })
    }
}

/// Evenly spaced under the curve, the first at the start of the area: as many as begin within it.
fn uniform(curve: &Curve, length: u64) -> (u64, Steps) {
    let inverse = Inverse::new(curve, length);
    (inverse.area().ceil() as u64, Steps::Uniform { inverse })
}

/// `size` at a time, as often as fits; once if they do not come again.
fn burst(size: u64, every: u64, length: u64) -> (u64, Steps) {
    let bursts = match every {
        0 => u64::from(length > 0),
        every => length.div_ceil(every),
    };
    (size.saturating_mul(bursts), Steps::Burst { size: size.max(1), every })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: f64 = 1e9;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn rate(points: &[(f64, f64)], spacing: Spacing, length: f64) -> PhaseLoad {
        let curve = Curve { points: points.iter().map(|&(at, value)| (seconds(at), value)).collect() };
        PhaseLoad { model: LoadModel::Rate { curve, spacing }, length: Some(seconds(length)) }
    }

    /// The offsets of a phase's arrivals in nanoseconds.
    fn offsets(phase: &PhaseLoad, seed: u64) -> Vec<u64> {
        Walk::new(phase, 0, 0, seed, Shard::WHOLE)
            .map(|arrival| match arrival.due {
                Due::At(at) => nanos(at),
                Due::WhenIdle { .. } => panic!("a closed arrival in an open phase"),
            })
            .collect()
    }

    #[test]
    fn m6_a_constant_rate_does_not_drift() {
        let phase = rate(&[(0.0, 333.33)], Spacing::Uniform, 60.0);
        let offsets = offsets(&phase, 1);
        for (k, &at) in offsets.iter().enumerate() {
            assert!((at as f64 - k as f64 / 333.33 * SECOND).abs() <= 1.0, "arrival {k} at {at}");
        }
        let started = |t: u64| offsets.iter().filter(|&&at| at < t * 1_000_000_000).count() as f64;
        assert!((1..=60).all(|t| (started(t) - (333.33 * t as f64).floor()).abs() <= 1.0));
        assert_eq!(offsets.len(), 20_000);
        assert_eq!(expected_arrivals(&phase), Some(20_000));
    }

    #[test]
    fn a_constant_rate_starts_at_once_and_ends_before_the_end() {
        let tenths: Vec<u64> = (0..100).map(|k| k * 100_000_000).collect();
        assert_eq!(offsets(&rate(&[(0.0, 10.0)], Spacing::Uniform, 10.0), 1), tenths);
        assert_eq!(offsets(&rate(&[(0.0, 3.0)], Spacing::Uniform, 1.0), 1), [0, 333_333_333, 666_666_667]);
    }

    #[test]
    fn m7_a_ramp_has_its_area_of_arrivals_where_the_closed_form_puts_them() {
        for (r0, r1, d) in
            [(10.0_f64, 200.0_f64, 30.0), (200.0, 10.0, 30.0), (0.0, 100.0, 7.0), (100.0, 0.0, 7.0)]
        {
            let offsets = offsets(&rate(&[(0.0, r0), (d, r1)], Spacing::Uniform, d), 1);
            assert!(
                (offsets.len() as f64 - d * (r0 + r1) / 2.0).abs() <= 1.0,
                "{r0} to {r1}: {}",
                offsets.len()
            );
            let a = (r1 - r0) / d;
            for (k, &at) in offsets.iter().enumerate() {
                let expected = (-r0 + (r0 * r0 + 2.0 * a * k as f64).sqrt()) / a * SECOND;
                assert!(
                    (at as f64 - expected).abs() <= 100.0,
                    "{r0} to {r1}: arrival {k} at {at}, not {expected}"
                );
            }
        }
    }

    #[test]
    fn m8_poisson_gaps_are_exponential() {
        for seed in [1, 2, 3, 42, 1234, u64::MAX] {
            let offsets = offsets(&rate(&[(0.0, 500.0)], Spacing::Poisson, 20.0), seed);
            let mut gaps: Vec<f64> = std::iter::once(0)
                .chain(offsets.iter().copied())
                .zip(&offsets)
                .map(|(a, b)| (b - a) as f64)
                .collect();
            let n = gaps.len() as f64;
            assert!(n >= 5000.0);
            let mean = gaps.iter().sum::<f64>() / n;
            let deviation = (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
            assert!((mean / (SECOND / 500.0) - 1.0).abs() < 0.03, "seed {seed}: mean {mean}");
            assert!((0.95..=1.05).contains(&(deviation / mean)), "seed {seed}: CV {}", deviation / mean);
            gaps.sort_by(f64::total_cmp);
            let distance = gaps.iter().zip(0..).fold(0.0_f64, |worst, (gap, i)| {
                let expected = 1.0 - (-gap / (SECOND / 500.0)).exp();
                let (below, above) = (f64::from(i) / n, f64::from(i + 1) / n);
                worst.max((expected - below).abs()).max((above - expected).abs())
            });
            // Kolmogorov: sqrt(n) D exceeds 1.95 with probability 0.001.
            assert!(n.sqrt() * distance < 1.95, "seed {seed}: KS {}", n.sqrt() * distance);
        }
    }

    #[test]
    fn poisson_arrivals_never_change() {
        let offsets = offsets(&rate(&[(0.0, 100.0), (10.0, 300.0)], Spacing::Poisson, 10.0), 42);
        assert_eq!(
            offsets[..4],
            [5107909, 10707720, 11787605, 16258420],
            "a change here changes every seeded schedule ever published"
        );
        assert_eq!(offsets.len(), 1935);
    }

    #[test]
    fn a_poisson_process_follows_its_curve() {
        let phase = rate(&[(0.0, 0.0), (100.0, 200.0)], Spacing::Poisson, 100.0);
        let (offsets, mean) = (offsets(&phase, 9), 10_000.0_f64);
        assert_eq!(expected_arrivals(&phase), Some(10_000));
        assert!((offsets.len() as f64 - mean).abs() < 4.0 * mean.sqrt(), "{}", offsets.len());
        let first_half = offsets.iter().filter(|&&at| at < 50_000_000_000).count() as f64;
        assert!((first_half - 2500.0).abs() < 4.0 * 50.0, "{first_half}");
    }

    #[test]
    fn bursts_come_together_and_the_last_begins_before_the_end() {
        let burst = |size, every, length| PhaseLoad {
            model: LoadModel::Burst { size, every: seconds(every) },
            length: Some(seconds(length)),
        };
        assert_eq!(
            offsets(&burst(2, 1.0, 2.5), 1),
            [0, 0, 1_000_000_000, 1_000_000_000, 2_000_000_000, 2_000_000_000]
        );
        assert_eq!(offsets(&burst(1, 1.0, 2.0), 1), [0, 1_000_000_000]);
        assert_eq!(offsets(&burst(3, 0.0, 2.0), 1), [0, 0, 0]);
        assert_eq!(offsets(&burst(0, 1.0, 2.0), 1), [0; 0]);
        assert_eq!(offsets(&burst(3, 1.0, 0.0), 1), [0; 0]);
        assert_eq!(expected_arrivals(&burst(7, 0.5, 2.0)), Some(28));
    }

    #[test]
    fn held_sessions_open_at_their_rate_or_at_once() {
        let held = |sessions, rate, length| PhaseLoad {
            model: LoadModel::Held { sessions, rate },
            length: Some(seconds(length)),
        };
        assert_eq!(offsets(&held(3, 2.0, 60.0), 1), [0, 500_000_000, 1_000_000_000]);
        assert_eq!(offsets(&held(3, f64::INFINITY, 60.0), 1), [0; 3]);
        assert_eq!(offsets(&held(100, 2.0, 1.0), 1), [0, 500_000_000]);
        assert_eq!(offsets(&held(3, 0.0, 60.0), 1), [0; 0]);
        assert_eq!(expected_arrivals(&held(100, 2.0, 1.0)), Some(2));
        assert_eq!(expected_arrivals(&held(100, f64::INFINITY, 0.0)), Some(0));
    }

    #[test]
    fn closed_loads_are_counted_only_when_they_share() {
        let think = Think::default();
        let shared = PhaseLoad { model: LoadModel::Shared { total: 10, sessions: 3, think }, length: None };
        assert_eq!(expected_arrivals(&shared), Some(10));
        assert_eq!(
            Walk::new(&shared, 0, 0, 0, Shard { index: 1, of: 4 }).map(|a| a.seq).collect::<Vec<_>>(),
            [1, 5, 9]
        );
        let load = LoadModel::Sessions { curve: Curve::constant(5.0), think };
        assert_eq!(expected_arrivals(&PhaseLoad { model: load, length: Some(seconds(5.0)) }), None);
    }

    #[test]
    fn a_load_of_nothing_and_a_load_beyond_measure() {
        let phases = |rate: f64, length| {
            [Spacing::Uniform, Spacing::Poisson].map(|spacing| self::rate(&[(0.0, rate)], spacing, length))
        };
        for phase in phases(0.0, 60.0).into_iter().chain(phases(100.0, 0.0)) {
            assert_eq!((offsets(&phase, 1).len(), expected_arrivals(&phase)), (0, Some(0)), "{phase:?}");
        }
        assert_eq!(offsets(&phases(1e-9, 60.0)[0], 1), [0], "the first arrival stands at the start");
        for rate in [1e12, 1e300] {
            for phase in phases(rate, 60.0) {
                let walk = Walk::new(&phase, 0, 0, 1, Shard::WHOLE).take(1000);
                assert!(walk.map(|arrival| arrival.due).is_sorted_by_key(|due| match due {
                    Due::At(at) => at,
                    Due::WhenIdle { .. } => Duration::MAX,
                }));
            }
        }
        assert_eq!(expected_arrivals(&phases(1e300, 60.0)[0]), Some(PHASE_STRIDE));
    }

    proptest! {
        #[test]
        fn arrivals_are_in_order_within_the_phase_and_as_many_as_expected(
            points in prop::collection::vec((0_u32..20_000, prop_oneof![Just(0.0), 0.0..500.0]), 1..6),
            poisson: bool,
            length in 0_u32..20_000,
            seed: u64,
        ) {
            let mut points: Vec<(f64, f64)> =
                points.into_iter().map(|(at, value)| (f64::from(at) / 1e3, value)).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            let spacing = if poisson { Spacing::Poisson } else { Spacing::Uniform };
            let phase = rate(&points, spacing, f64::from(length) / 1e3);
            let offsets = offsets(&phase, seed);
            prop_assert!(offsets.is_sorted());
            prop_assert!(offsets.iter().all(|&at| at < u64::from(length) * 1_000_000));
            if !poisson {
                prop_assert_eq!(Some(offsets.len() as u64), expected_arrivals(&phase));
            }
        }
    }
}
