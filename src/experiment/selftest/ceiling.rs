//! How far this machine goes: the highest rate at which we are still on time, and the most sessions open at once.

use std::time::Duration;

use super::scenes::{plan, rate};
use super::{Part, Stage, Told, all, quantile_ms};
use crate::collector::{Metric, Outcome};
use crate::generator::runner::RunError;
use crate::load::Load;
use crate::plan::Unit;

/// On time: 99 % of arrivals start within this, in milliseconds (M25).
pub const LAG_LIMIT: f64 = 1.0;
/// Rates tried, messages a second: from the first upwards, or downwards if even that is too fast.
const FIRST_RATE: f64 = 2000.0;
const LAST_RATE: f64 = 256_000.0;
const LEAST_RATE: f64 = 100.0;
/// How long a rate is tried, and how often: one hiccup of the machine is not the generator's ceiling.
const TRIAL: Duration = Duration::from_millis(1500);
const TRIES: u32 = 2;
/// How often the bracket is halved, in log space.
const HALVINGS: u32 = 3;
/// Sessions opened a second when they are counted.
const OPENING: f64 = 4000.0;

/// What this machine can do.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ceiling {
    /// The highest rate tried at which p99 of lag was below [`LAG_LIMIT`], messages a second; 0 if none was.
    pub rate_per_s: f64,
    /// The lag p99 at that rate, in milliseconds.
    pub lag_p99_ms: f64,
    /// Sessions that were open at once.
    pub sessions: u64,
    /// Sessions that were asked for.
    pub sessions_asked: u64,
    /// Resident memory a session, in octets, above the process before; 0 if unknown.
    pub bytes_per_session: u64,
}

/// Finds both; `descriptors`: how many sessions may be asked for.
///
/// # Errors
/// smtpress itself cannot go on.
pub fn ceilings(stage: &mut dyn Stage, descriptors: u64) -> Result<Ceiling, RunError> {
    let mut ceiling = Ceiling::default();
    let mut on_time = |per_second: f64, ceiling: &mut Ceiling| -> Result<bool, RunError> {
        for _ in 0..TRIES {
            let told = stage.play(&plan(rate(per_second), Some(TRIAL), 200), &Part::default())?;
            let lag = quantile_ms(&all(&told.measured, Metric::Lag), 0.99);
            if lag < LAG_LIMIT && kept_up(&told) {
                (ceiling.rate_per_s, ceiling.lag_p99_ms) = (per_second, lag);
                return Ok(true);
            }
        }
        Ok(false)
    };
    let mut upper = FIRST_RATE;
    while upper <= LAST_RATE && on_time(upper, &mut ceiling)? {
        upper *= 2.0;
    }
    while ceiling.rate_per_s == 0.0 && upper > LEAST_RATE && !on_time(upper / 2.0, &mut ceiling)? {
        upper /= 2.0;
    }
    if ceiling.rate_per_s > 0.0 && upper <= LAST_RATE {
        for _ in 0..HALVINGS {
            let middle = (ceiling.rate_per_s * upper).sqrt();
            if !on_time(middle, &mut ceiling)? {
                upper = middle;
            }
        }
    }
    let before = stage.resident_bytes();
    let mut held = plan(
        Load::Held { sessions: descriptors, rate: OPENING },
        Some(Duration::from_secs_f64(descriptors as f64 / OPENING + 1.0)),
        u32::try_from(descriptors).unwrap_or(u32::MAX),
    );
    held.phases[0].unit = Unit::Session;
    let told = stage.play(&held, &Part::default())?;
    ceiling.sessions_asked = descriptors;
    ceiling.sessions = told.measured.tally.phases[0].counts.arrivals.of(Outcome::Accepted);
    ceiling.bytes_per_session =
        told.measured.health.peak_rss_bytes.saturating_sub(before) / ceiling.sessions.max(1);
    Ok(ceiling)
}

/// Whether nearly all that was due was done, so that the rate was truly offered.
fn kept_up(told: &Told) -> bool {
    let counts = &told.measured.tally.phases[0].counts;
    counts.arrivals.of(Outcome::Accepted) * 100 >= counts.scheduled * 99
}
