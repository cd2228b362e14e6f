//! The timeline of a run in progress. It can be shown at any second, and is made coarser so that its size stays small.
//!
//! # Decisions
//! - The length of a run may be unknown, so parts that reach their bound are made coarser. Counts are added, and columns
//!   of the heat map are merged two by two. Quantiles cannot be added, and written rows of the series are not changed;
//!   instead, the next stretches and rows are longer, so that their number grows with the logarithm of the time.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::collector::Outcome;
use crate::collector::snapshot::Interval;
use crate::report::csv::TimeSeries;
use crate::report::html::timeline::{
    Bands, ConditionRates, ENOUGH, FEWEST, Heat, LEVELS, ROWS_A_DECADE, STRETCHES, StepTimes, Timeline,
};

/// The number of rows after which the next rows are longer: as many as a screen can show.
const ROWS: f64 = 300.0;
/// The number of columns of the heat map.
const COLUMNS: f64 = 150.0;

/// The timeline of a run in progress.
#[derive(Debug)]
pub struct GrowingTimeline {
    timeline: Timeline,
    /// The planned duration of the run in seconds; 0 if it is unknown.
    planned: f64,
    /// The number of arrivals so far with the outcome that the quantiles show.
    values: u64,
}

impl GrowingTimeline {
    /// Creates the timeline of a run with these phases and this planned duration, if it is known. `has_retries`: messages
    /// are tried again.
    pub fn new(phases: Vec<String>, planned: Option<Duration>, has_retries: bool) -> GrowingTimeline {
        let planned = planned.map_or(0.0, |planned| planned.as_secs_f64());
        let wide = |most: f64| (planned / most).ceil().max(1.0);
        let timeline = Timeline {
            step_s: wide(ROWS),
            outcome: Outcome::Accepted.as_str(),
            bands: Bands { step_s: wide(ROWS), ..Bands::default() },
            heat: Heat { step_s: wide(COLUMNS), rows_a_decade: ROWS_A_DECADE, ..Heat::default() },
            steps: StepTimes::default(),
            conditions: ConditionRates::default(),
            levels: BTreeMap::new(),
            shown: Outcome::Accepted,
            level_width: 1,
            open: None,
            series: TimeSeries::new(Vec::new(), phases, has_retries).ok(),
        };
        GrowingTimeline { timeline, planned, values: 0 }
    }

    /// Adds a second.
    pub fn add(&mut self, second: &Interval) {
        let at = second.start.as_secs_f64();
        self.thin_out(at, second.gauges.sessions);
        self.timeline.add(second.clone());
        let own = second.tally.phases.iter().map(|phase| phase.counts.arrivals.of(self.timeline.shown));
        self.values += own.sum::<u64>();
    }

    /// Returns the timeline so far, and its time series.
    pub fn so_far(&mut self) -> (Timeline, String) {
        let own = &mut self.timeline;
        let mut timeline = Timeline {
            step_s: own.step_s,
            outcome: own.outcome,
            bands: own.bands.clone(),
            heat: own.heat.clone(),
            steps: own.steps.clone(),
            conditions: own.conditions.clone(),
            levels: own.levels.clone(),
            shown: own.shown,
            level_width: own.level_width,
            open: own.open.clone(),
            series: own.series.as_mut().and_then(|series| series.copy().ok()),
        };
        let series = timeline.finish();
        (timeline, series)
    }

    fn thin_out(&mut self, at: f64, sessions: u64) {
        let timeline = &mut self.timeline;
        while at >= timeline.step_s * ROWS {
            timeline.step_s *= 2.0;
        }
        while at >= timeline.heat.step_s * COLUMNS {
            timeline.heat.step_s *= 2.0;
            for ((column, row), count) in std::mem::take(&mut timeline.heat.open) {
                *timeline.heat.open.entry((column / 2, row)).or_default() += count;
            }
        }
        while sessions / timeline.level_width > LEVELS {
            timeline.level_width *= 2;
            for (level, (ended, refused)) in std::mem::take(&mut timeline.levels) {
                let wide = level / timeline.level_width * timeline.level_width;
                let own = timeline.levels.entry(wide).or_default();
                *own = (own.0 + ended, own.1 + refused);
            }
        }
        // Between two stretches the length may change: a stretch is as long as its quantiles need (M18).
        let point = (at / timeline.bands.step_s) as u64;
        if timeline.bands.open.as_ref().is_none_or(|open| open.point != point) && at > 0.0 {
            let (rate, took) = (self.values as f64 / at, at.max(self.planned));
            let good = |stretch: &&f64| rate * **stretch >= ENOUGH && took / **stretch >= FEWEST;
            let stretch = STRETCHES.iter().find(good).copied().unwrap_or(1.0);
            timeline.bands.close();
            timeline.bands.step_s = stretch.max(timeline.step_s);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::html::timeline::tests::second;

    fn run(seconds: u64, planned: Option<u64>) -> GrowingTimeline {
        let mut growing =
            GrowingTimeline::new(vec!["steady".to_owned()], planned.map(Duration::from_secs), false);
        (0..seconds).for_each(|t| growing.add(&second(t, 11)));
        growing
    }

    #[test]
    fn every_second_is_shown_at_once_and_none_is_lost() {
        for (seconds, planned) in [(1, None), (60, None), (61, Some(60)), (7, Some(3600)), (7200, None)] {
            let mut growing = run(seconds, planned);
            // An earlier call must not change the result of the next call.
            growing.so_far();
            let (timeline, series) = growing.so_far();
            let offered: u64 = series
                .lines()
                .skip(1)
                .map(|row| row.split(',').nth(3).unwrap().parse::<u64>().unwrap())
                .sum();
            let heat: u64 = timeline.heat.cells.iter().map(|(_, _, count)| count).sum();
            let bands: u64 = timeline.bands.response.n.iter().sum();
            let levels = timeline.levels.values().map(|(ended, _)| ended).sum::<u64>();
            assert_eq!(
                (offered, heat, bands, levels),
                (seconds * 11, seconds * 10, seconds * 10, seconds * 11)
            );
            assert!(timeline.bands.t.is_sorted_by(|a, b| a < b), "{:?}", timeline.bands.t);
        }
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let size = |growing: &mut GrowingTimeline| {
            let (timeline, series) = growing.so_far();
            serde_json::to_string(&timeline).unwrap().len() + series.len()
        };
        let short = size(&mut run(600, None));
        let long = size(&mut run(36_000, None));
        assert!(long < 6 * short, "{short} bytes after ten minutes, {long} after ten hours");
        let (timeline, series) = run(36_000, None).so_far();
        assert!(series.lines().count() < 1500, "{}", series.lines().count());
        assert!(timeline.heat.cells.iter().all(|(column, _, _)| *column < 150));
        // A run with a known end has rows of one width.
        let (_, series) = run(3600, Some(3600)).so_far();
        assert_eq!(series.lines().count() - 1, 300);
    }

    #[test]
    fn m18_stretches_become_as_long_as_their_quantiles_need() {
        let (timeline, _) = run(4000, Some(4000)).so_far();
        assert_eq!(timeline.bands.step_s, 60.0);
        let known: Vec<bool> = timeline.bands.response.p99.iter().map(Option::is_some).collect();
        // The last stretch is not complete: 400 values are too few for a 99th percentile.
        assert_eq!(known[known.len() - 2..], [true, false]);
    }
}
