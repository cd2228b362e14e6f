//! The schedule of a load: the time at which each arrival is to start. This module only computes, without clock,
//! threads or protocol.
//!
//! [`LoadModel`] describes the load of a phase. [`Schedule`] returns the arrivals of a shard, and how many sessions the
//! shard may have. [`fingerprint`] identifies a whole schedule, and [`expected_arrivals`] counts the arrivals of a
//! phase without listing them.
//!
//! # Decisions
//! - For every open model the time of an arrival follows from its number alone, never from the time of the arrival
//!   before: it is the inverse of the area under the rate curve at that number. (For a Poisson process, it is the inverse
//!   at the sum of the exponential numbers up to the arrival.) So rounding errors of the times do not add up.
//! - Only `+ - * /` and `sqrt` of IEEE 754 are used, and a logarithm computed from them, so that the same seed gives the
//!   same nanoseconds on any machine.
//! - Times are whole nanoseconds in 64 bits. The largest value (584 years) means "never".

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

/// Returns a length in whole nanoseconds; `u64::MAX` (never) if it does not fit in 64 bits.
fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}
