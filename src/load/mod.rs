//! When: which arrival is due at which moment. Pure arithmetic, without clock, threads or protocol.
//!
//! [`Schedule`] answers for a shard of a run: its next [`Arrival`], and how many sessions it may have. [`fingerprint`]
//! names a whole schedule, [`expected_arrivals`] counts a phase without walking it.
//!
//! # Decisions
//! - Every open model is one step in event space and one inverse: the place of an arrival follows from its number (or, for
//!   a Poisson process, from the sum of the exponentials up to it), never from the arrival before. Nothing drifts.
//! - Only `+ - * /` and `sqrt` of IEEE 754 are used, and a logarithm of our own made of them: the same seed gives the same
//!   nanoseconds on any machine.
//! - Times are whole nanoseconds in 64 bits: 584 years, which also stands for "never".

mod arrival;
mod curve;
mod fingerprint;
mod random;
mod schedule;
mod shard;

use std::time::Duration;

pub use arrival::{Arrival, Due, PHASE_STRIDE, arrivals, expected_arrivals};
pub use curve::Curve;
pub use fingerprint::{FINGERPRINTED_ARRIVALS, fingerprint};
pub use schedule::Schedule;
pub use shard::Shard;

/// How the events of a rate are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// Evenly: event k stands where the area under the rate curve is k.
    Uniform,
    /// As a Poisson process: the areas between events are exponential with mean 1.
    Poisson,
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
pub enum LoadModel {
    /// Open: arrivals at a rate (per second) over time. Constant, ramping and staircase rates are this.
    Rate {
        /// Arrivals a second.
        curve: Curve,
        /// How they are spaced.
        spacing: Spacing,
    },
    /// Open: `size` arrivals at once, at 0, `every`, 2 `every`, ... If `every` is zero, one burst.
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
pub struct PhaseLoad {
    /// The load model.
    pub model: LoadModel,
    /// How long it lasts. `None`: until its arrivals are used up (only `Shared`, and only as the last phase).
    pub length: Option<Duration>,
}

/// A length in whole nanoseconds; what does not fit in 64 bits is as good as never (`u64::MAX`).
fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}
