//! When: the moment at which each arrival is to start. Pure arithmetic, without clock, threads or protocol.
//!
//! [`LoadModel`] describes the load of a phase. [`Schedule`] yields the arrivals of a shard and says how many sessions it
//! may have. [`fingerprint`] identifies a whole schedule, [`expected_arrivals`] counts those of a phase without walking it.
//!
//! # Decisions
//! - Every open model is one step in event space and one inverse of the area under the rate curve: the time of an arrival
//!   follows from its number (for a Poisson process, from the sum of the exponentials up to it), never from the time of the
//!   arrival before it. Nothing drifts.
//! - Only `+ - * /` and `sqrt` of IEEE 754 are used, and a logarithm made of them: the same seed gives the same nanoseconds
//!   on any machine.
//! - Times are whole nanoseconds in 64 bits; the greatest (584 years) means "never".

mod arrival;
mod curve;
mod fingerprint;
mod model;
mod random;
mod schedule;
mod shard;

use std::time::Duration;

pub use arrival::{Arrival, Due, PHASE_STRIDE, arrivals, expected_arrivals};
pub use curve::Curve;
pub use fingerprint::{FINGERPRINTED_ARRIVALS, fingerprint};
pub use model::{LoadModel, PhaseLoad, Spacing, Think, spans};
pub use schedule::Schedule;
pub use shard::Shard;

/// A length in whole nanoseconds; `u64::MAX` (never) if it does not fit in 64 bits.
fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}
