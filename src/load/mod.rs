//! When: which arrival is due at which moment. Pure arithmetic, without clock, threads or protocol.

use std::time::Duration;

/// How the events of a rate are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// Evenly: event k stands where the area under the rate curve is k.
    Uniform,
    /// As a Poisson process: the areas between events are exponential with mean 1.
    Poisson,
}

/// A quantity over time: straight lines between points, constant before the first and after the last.
/// Two points at the same time make a step. Times are offsets from the phase's start.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// (offset, value), offsets not decreasing, values finite and not negative; at least one.
    pub points: Vec<(Duration, f64)>,
}

/// How long a closed session thinks before its next arrival: uniformly between the two, drawn by seed and sequence number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Think {
    /// At least.
    pub min: Duration,
    /// At most.
    pub max: Duration,
}

/// The load model of a phase.
#[derive(Clone, Debug, PartialEq)]
pub enum Load {
    /// Open: arrivals at a rate (per second) over time. Constant, ramping and staircase rates are this.
    Rate {
        /// Arrivals a second.
        curve: Curve,
        /// How they are spaced.
        spacing: Spacing,
    },
    /// Open: `size` arrivals at once, at 0, `every`, 2 `every`, ...
    Burst {
        /// Arrivals in a burst.
        size: u64,
        /// From burst to burst.
        every: Duration,
    },
    /// Open: this many sessions, opened at `rate` a second (all at once if infinite), and held to the phase's end.
    Held {
        /// Sessions.
        sessions: u64,
        /// Sessions opened a second; may be infinite.
        rate: f64,
    },
    /// Closed: so many sessions at a time, each with its next arrival when it has finished and thought.
    Sessions {
        /// Sessions over time; between integers the lower counts.
        curve: Curve,
        /// Between two arrivals of a session.
        think: Think,
    },
    /// Closed: `total` arrivals shared by `sessions` sessions.
    Shared {
        /// Arrivals in all.
        total: u64,
        /// Sessions.
        sessions: u64,
        /// Between two arrivals of a session.
        think: Think,
    },
}

/// A phase as the schedule sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// The load model.
    pub load: Load,
    /// How long it lasts. `None`: until its arrivals are used up (only `Shared`, and only as the last phase).
    pub length: Option<Duration>,
}

/// Part `index` of `of` equal parts of a load: arrival n belongs to shard n mod `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    pub index: u32,
    /// At least 1.
    pub of: u32,
}
