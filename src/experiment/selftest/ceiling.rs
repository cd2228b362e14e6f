//! Measures the ceilings of this machine: the highest rate at which the generator is on time, and the number of sessions
//! that it can hold open.

use std::time::Duration;

use super::scenarios::{plan, rate};
use super::{ListenerSetting, ScenarioResult, Testbed, all, quantile_ms};
use crate::collector::{Metric, Outcome};
use crate::experiment::bracket::{Bracket, SearchSteps};
use crate::generator::runner::RunError;
use crate::load::LoadModel;
use crate::plan::Unit;

/// The bound of the lag p99, in milliseconds: below it the generator counts as on time (M25).
pub const LAG_LIMIT: f64 = 1.0;
/// The rates that are tried, in messages a second. The first rate is doubled up to the largest rate, or halved down to the
/// smallest rate if the generator is late at it. Then the gap is halved three times on a logarithmic scale.
const STEPS: SearchSteps<f64> =
    SearchSteps { first: 2000.0, most: 256_000.0, least: 62.5, down: 2, width: 0.083, round: |rate| rate };
/// The length of a trial.
const TRIAL: Duration = Duration::from_millis(1500);
/// The largest number of trials at a rate. A second trial is made because one disturbance must not set the ceiling.
const TRIES: u32 = 2;
/// The rate at which the sessions of the second ceiling are opened, in sessions a second.
const OPENING: f64 = 4000.0;

/// The ceilings of this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ceiling {
    /// The highest tried rate at which the generator was on time, in messages a second; 0: there was none.
    pub rate_per_s: f64,
    /// The lag p99 at that rate, in milliseconds.
    pub lag_p99_ms: f64,
    /// The number of sessions that were open at once.
    pub sessions: u64,
    /// The number of sessions that were requested.
    pub sessions_asked: u64,
    /// The resident memory of a session, in bytes; 0: unknown.
    pub bytes_per_session: u64,
}

/// Measures both ceilings. `descriptors` is the number of sessions that are requested.
///
/// # Errors
/// smtpress itself cannot continue.
pub fn ceilings(testbed: &mut dyn Testbed, descriptors: u64) -> Result<Ceiling, RunError> {
    let mut ceiling = rate_ceiling(testbed, f64::INFINITY)?;
    let before = testbed.resident_bytes();
    let mut held = plan(
        LoadModel::Held { sessions: descriptors, rate: OPENING },
        Some(Duration::from_secs_f64(descriptors as f64 / OPENING + 1.0)),
        u32::try_from(descriptors).unwrap_or(u32::MAX),
    );
    held.phases[0].unit = Unit::Session;
    let observed = testbed.measure(&held, &ListenerSetting::default())?;
    ceiling.sessions_asked = descriptors;
    ceiling.sessions = observed.measured.tally.phases[0].counts.arrivals.of(Outcome::Accepted);
    ceiling.bytes_per_session =
        observed.measured.health.peak_rss_bytes.saturating_sub(before) / ceiling.sessions.max(1);
    Ok(ceiling)
}

/// Measures only the ceiling of the rate. The search ends when a rate of at least `most` is on time.
///
/// # Errors
/// smtpress itself cannot continue.
pub fn rate_ceiling(testbed: &mut dyn Testbed, most: f64) -> Result<Ceiling, RunError> {
    let mut ceiling = Ceiling::default();
    let mut on_time = |per_second: f64, ceiling: &mut Ceiling| -> Result<bool, RunError> {
        for _ in 0..TRIES {
            let observed =
                testbed.measure(&plan(rate(per_second), Some(TRIAL), 200), &ListenerSetting::default())?;
            let lag = quantile_ms(&all(&observed.measured, Metric::Lag), 0.99);
            if lag < LAG_LIMIT && kept_up(&observed) {
                (ceiling.rate_per_s, ceiling.lag_p99_ms) = (per_second, lag);
                return Ok(true);
            }
        }
        Ok(false)
    };
    let mut bracket = Bracket::EMPTY;
    while ceiling.rate_per_s < most
        && let Some(rate) = bracket.next(&STEPS)
    {
        let end = if on_time(rate, &mut ceiling)? { &mut bracket.good } else { &mut bracket.bad };
        *end = Some(rate);
    }
    Ok(ceiling)
}

/// Whether at least 99 % of the scheduled arrivals were accepted, so that the rate was really offered.
fn kept_up(observed: &ScenarioResult) -> bool {
    let counts = &observed.measured.tally.phases[0].counts;
    counts.arrivals.of(Outcome::Accepted) * 100 >= counts.scheduled * 99
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collector::histogram::Hist;
    use crate::collector::snapshot::{Gauges, Health, Measured};
    use crate::collector::tally::Tally;
    use crate::plan::Plan;

    /// A machine that is on time up to the rate `in_time`, starts nearly all arrivals up to the rate `keeps_up`, and holds
    /// `holds` sessions of 2 KiB each.
    struct SimulatedMachine {
        in_time: f64,
        keeps_up: f64,
        holds: u64,
        /// The trials with a disturbance, counted from 1.
        hiccups: Vec<u32>,
        played: u32,
    }

    impl Testbed for SimulatedMachine {
        fn measure(&mut self, plan: &Plan, _: &ListenerSetting) -> Result<ScenarioResult, RunError> {
            self.played += 1;
            let mut tally = Tally::new(1);
            let (asked, done) = match &plan.phases[0].load.model {
                LoadModel::Rate { curve, .. } => {
                    let rate = curve.points[0].1;
                    let late = rate > self.in_time || self.hiccups.contains(&self.played);
                    let mut lag = Hist::default();
                    (0..100).for_each(|_| lag.record(if late { 1_100_000 } else { 900_000 }));
                    tally.phases[0].hists.insert((Metric::Lag, Outcome::Accepted), lag);
                    (100, if rate > self.keeps_up { 98 } else { 99 })
                }
                LoadModel::Held { sessions, .. } => (*sessions, self.holds.min(*sessions)),
                other => panic!("{other:?}"),
            };
            tally.phases[0].counts.scheduled = asked;
            (0..done).for_each(|_| tally.phases[0].counts.arrivals.add(Outcome::Accepted));
            let health = Health { peak_rss_bytes: self.resident_bytes() + done * 2048, ..Health::default() };
            let measured = Measured {
                delivered: None,
                tally,
                health,
                windows: vec![TRIAL],
                starts: vec![Duration::ZERO],
                held_back: vec![false],
                work: Vec::new(),
                drained_for: vec![Duration::ZERO],
                began_at: Duration::ZERO,
                gauges: Gauges::default(),
                peak_sessions: vec![0],
                interrupted: false,
                aborted_by: None,
                took: TRIAL,
                ..Measured::default()
            };
            Ok(ScenarioResult { measured, delivered: done })
        }

        fn resident_bytes(&self) -> u64 {
            10 << 20
        }
    }

    fn found(in_time: f64, keeps_up: f64, hiccups: &[u32]) -> Ceiling {
        let hiccups = hiccups.to_vec();
        ceilings(&mut SimulatedMachine { in_time, keeps_up, holds: 3000, hiccups, played: 0 }, 9000).unwrap()
    }

    #[test]
    fn m25_the_highest_rate_in_time_is_found_from_below_and_never_above() {
        for (in_time, keeps_up) in
            [(150.0_f64, 1e9), (2000.0, 1e9), (5300.0, 1e9), (70_000.0, 1e9), (1e9, 9000.0), (256_000.0, 1e9)]
        {
            let (able, found) = (in_time.min(keeps_up), found(in_time, keeps_up, &[]));
            // The gap is a factor of two that was halved three times on a logarithmic scale.
            let width = 2.0_f64.powf(1.0 / 8.0) * 1.001;
            let rate = found.rate_per_s;
            assert!(rate <= able && (rate * width >= able || able < 250.0), "{able}: {rate}");
            assert!((found.lag_p99_ms - 0.9).abs() < 0.01, "{found:?}");
        }
        assert_eq!(found(1e9, 1e9, &[]).rate_per_s, STEPS.most, "no more is tried");
        let mut machine =
            SimulatedMachine { in_time: 1e9, keeps_up: 1e9, holds: 0, hiccups: vec![], played: 0 };
        assert_eq!(rate_ceiling(&mut machine, 5000.0).unwrap().rate_per_s, 8000.0);
        assert_eq!(machine.played, 3, "2,000, 4,000 and 8,000 a second");
        assert_eq!(found(0.0, 0.0, &[]).rate_per_s, 0.0, "a machine that is never in time");
    }

    #[test]
    fn m25_one_hiccup_is_no_ceiling() {
        assert_eq!(found(5300.0, 1e9, &[1, 3]), found(5300.0, 1e9, &[]));
        assert_ne!(found(5300.0, 1e9, &[1, 2]), found(5300.0, 1e9, &[]), "two are");
    }

    #[test]
    fn sessions_are_those_that_were_open_and_their_memory_is_above_the_empty_process() {
        let found = found(2000.0, 1e9, &[]);
        assert_eq!((found.sessions, found.sessions_asked, found.bytes_per_session), (3000, 9000, 2048));
    }
}
