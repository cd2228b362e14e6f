//! The timeline of a run, small enough for a page: if there are too many rows, consecutive rows are added up. No row is
//! left out.
//!
//! The seconds of the run are added one by one. Quantiles are computed from the merged distributions of a stretch of
//! time, never from other quantiles, and only if there are enough values (M18).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::collector::histogram::{Hist, Status};
use crate::collector::snapshot::{Gauges, Interval};
use crate::collector::tally::{PhaseTally, Tally};
use crate::collector::{Metric, Outcome};
use crate::condition::Condition;
use crate::report::csv::TimeSeries;
use crate::report::stored::RunResult;

/// The approximate largest number of points on a chart.
const POINTS: f64 = 3600.0;
/// The number of columns of the heat map.
const COLUMNS: f64 = 240.0;
/// The number of rows of the heat map for each power of ten.
pub(crate) const ROWS_A_DECADE: f64 = 10.0;
/// The possible lengths of a stretch for quantiles, in seconds.
pub(crate) const STRETCHES: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0];
/// The number of values that a stretch should have: the 459 that a 99th percentile needs (M18), and a reserve.
pub(crate) const ENOUGH: f64 = 600.0;
/// The least number of stretches in a run if a stretch is longer than a second.
pub(crate) const FEWEST: f64 = 40.0;
/// The number of classes of open sessions for the chart of refusals.
pub(crate) const LEVELS: u64 = 60;
/// The number of conditions that are drawn separately; the others are added up.
const NAMED: usize = 8;

/// The timeline of a run.
#[derive(Debug, Serialize)]
pub struct Timeline {
    /// The length of a row of the time series, in seconds.
    pub(crate) step_s: f64,
    /// The outcome whose times are shown: `accepted`, or the most frequent outcome if no arrival was accepted.
    pub(crate) outcome: &'static str,
    pub(crate) bands: Bands,
    pub(crate) heat: Heat,
    pub(crate) steps: StepTimes,
    pub(crate) conditions: ConditionRates,
    /// The arrivals that ended, and how many of them were refused, by the number of open sessions (the least of a class).
    pub(crate) levels: BTreeMap<u64, (u64, u64)>,
    #[serde(skip)]
    pub(crate) shown: Outcome,
    #[serde(skip)]
    pub(crate) level_width: u64,
    #[serde(skip)]
    pub(crate) open: Option<Interval>,
    #[serde(skip)]
    pub(crate) series: Option<TimeSeries<Vec<u8>>>,
}

/// Quantiles over time, in milliseconds; `null`: there are too few values.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Bands {
    /// The length of a stretch, in seconds.
    pub(crate) step_s: f64,
    pub(crate) t: Vec<f64>,
    pub(crate) response: Quantiles,
    pub(crate) service: Quantiles,
    /// The transit times.
    pub(crate) transit: Quantiles,
    #[serde(skip)]
    pub(crate) open: Option<TimeStretch>,
}

/// A stretch of time for quantiles.
#[derive(Clone, Debug)]
pub(crate) struct TimeStretch {
    pub(crate) point: u64,
    /// The start, in seconds.
    pub(crate) from: f64,
    pub(crate) response: Hist,
    pub(crate) service: Hist,
    pub(crate) transit: Hist,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) n: Vec<u64>,
    pub(crate) p50: Vec<Option<f64>>,
    pub(crate) p90: Vec<Option<f64>>,
    pub(crate) p99: Vec<Option<f64>>,
    pub(crate) max: Vec<Option<f64>>,
}

/// The number of response times by column (a part of the run) and row (a range of response times).
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Heat {
    pub(crate) step_s: f64,
    pub(crate) rows_a_decade: f64,
    /// `[column, row, count]`; row r holds times from 10^(r / rows_a_decade) nanoseconds on.
    pub(crate) cells: Vec<(u64, u64, u64)>,
    #[serde(skip)]
    pub(crate) open: BTreeMap<(u64, u64), u64>,
}

/// The time spent in each step, in milliseconds for each arrival that ended.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct StepTimes {
    pub(crate) t: Vec<f64>,
    pub(crate) by_name: BTreeMap<&'static str, Vec<f64>>,
}

/// The counts of conditions by row of the series; the most frequent first.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct ConditionRates {
    /// The length of a row, in seconds.
    pub(crate) length: Vec<f64>,
    pub(crate) most: Vec<ConditionRate>,
    /// The number of conditions that the last entry of `most` sums up; 0 if the last entry is a single condition.
    pub(crate) others: usize,
    #[serde(skip)]
    pub(crate) open: BTreeMap<(Condition, bool), BTreeMap<usize, u64>>,
}

/// A condition, and whether the profile expects it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ConditionRate {
    name: &'static str,
    expected: bool,
    counts: Vec<u64>,
}

impl Timeline {
    fn new(result: &RunResult) -> Timeline {
        let of = |count: fn(&crate::report::stored::StoredPhase) -> u64| {
            result.phases.iter().map(count).sum::<u64>()
        };
        let counts = [
            (Outcome::Accepted, of(|p| p.accepted)),
            (Outcome::Expected, of(|p| p.expected)),
            (Outcome::Deferred, of(|p| p.deferred)),
            (Outcome::Rejected, of(|p| p.rejected)),
            (Outcome::Refused, of(|p| p.refused)),
            (Outcome::Dropped, of(|p| p.dropped)),
            (Outcome::TimedOut, of(|p| p.timed_out)),
        ];
        let most = counts.iter().rev().max_by_key(|(_, count)| *count);
        let shown =
            if counts[0].1 > 0 { Outcome::Accepted } else { most.map_or(Outcome::Accepted, |(own, _)| *own) };
        let took = result.took_s.max(1.0);
        let step_s = (took / POINTS).ceil();
        let rate =
            counts.iter().find(|(own, _)| *own == shown).map_or(0.0, |(_, count)| *count as f64 / took);
        let good = |stretch: &&f64| rate * **stretch >= ENOUGH && took / **stretch >= FEWEST;
        let stretch = STRETCHES.iter().find(good).copied().unwrap_or(1.0).max(step_s);
        let peak = result.phases.iter().map(|phase| phase.sessions.peak).max().unwrap_or(0);
        let names: Vec<String> = result.phases.iter().map(|phase| phase.name.clone()).collect();
        Timeline {
            step_s,
            outcome: shown.as_str(),
            bands: Bands { step_s: stretch, ..Bands::default() },
            heat: Heat { step_s: (took / COLUMNS).ceil(), rows_a_decade: ROWS_A_DECADE, ..Heat::default() },
            steps: StepTimes::default(),
            conditions: ConditionRates::default(),
            levels: BTreeMap::new(),
            shown,
            level_width: peak.div_ceil(LEVELS).max(1),
            open: None,
            series: TimeSeries::new(Vec::new(), names, result.has_retries()).ok(),
        }
    }

    /// Reads the timeline of a run with this result and these seconds, with its time series.
    ///
    /// # Errors
    /// The first error of `seconds`.
    pub fn of<E>(
        result: &RunResult,
        seconds: impl IntoIterator<Item = Result<Interval, E>>,
    ) -> Result<(Timeline, String), E> {
        let mut timeline = Timeline::new(result);
        for second in seconds {
            timeline.add(second?);
        }
        let series = timeline.finish();
        Ok((timeline, series))
    }

    /// Whether the times of conditions are known.
    pub fn has_conditions(&self) -> bool {
        !self.conditions.most.is_empty()
    }

    /// Whether its series has a row for every second.
    pub fn is_whole(&self) -> bool {
        self.step_s <= 1.0
    }

    /// Adds a second.
    pub(crate) fn add(&mut self, second: Interval) {
        self.times(&second);
        self.level(&second);
        let row = |interval: &Interval| (interval.start.as_secs_f64() / self.step_s) as u64;
        match &mut self.open {
            Some(open) if row(open) == row(&second) => add(open, &second),
            _ => {
                let full = self.open.replace(second);
                self.close(full);
            }
        }
    }

    /// Ends the timeline and returns its time series, in the form of `timeseries.csv`.
    pub(crate) fn finish(&mut self) -> String {
        let full = self.open.take();
        self.close(full);
        self.bands.close();
        self.conditions.close();
        self.heat.cells =
            std::mem::take(&mut self.heat.open).into_iter().map(|((x, y), n)| (x, y, n)).collect();
        let series = self.series.take().and_then(|series| series.into_inner().ok()).unwrap_or_default();
        String::from_utf8(series).unwrap_or_default()
    }

    fn close(&mut self, interval: Option<Interval>) {
        let Some(interval) = interval else { return };
        self.steps.add(&interval);
        self.conditions.add(&interval);
        if let Some(series) = &mut self.series {
            // Writing into memory cannot fail.
            series.add(&interval).ok();
        }
    }

    fn times(&mut self, second: &Interval) {
        let start = second.start.as_secs_f64();
        let point = (start / self.bands.step_s) as u64;
        if self.bands.open.as_ref().is_none_or(|open| open.point != point) {
            self.bands.close();
            let [response, service, transit] = std::array::from_fn(|_| Hist::default());
            self.bands.open = Some(TimeStretch { point, from: start, response, service, transit });
        }
        let column = (start / self.heat.step_s) as u64;
        for tally in &second.tally.phases {
            let of = |metric| tally.hists.get(&(metric, self.shown));
            if let Some(TimeStretch { response, service, transit, .. }) = &mut self.bands.open {
                let came_out = tally.hists.get(&(Metric::Transit, Outcome::Accepted));
                came_out.into_iter().for_each(|own| transit.merge(own));
                of(Metric::Service).into_iter().for_each(|own| service.merge(own));
                of(Metric::Response).into_iter().for_each(|own| response.merge(own));
            }
            for (ns, count) in of(Metric::Response).into_iter().flat_map(Hist::buckets) {
                let row = (ns.max(1) as f64).log10() * ROWS_A_DECADE;
                *self.heat.open.entry((column, row as u64)).or_default() += count;
            }
        }
    }

    fn level(&mut self, second: &Interval) {
        let level = second.gauges.sessions / self.level_width * self.level_width;
        let (mut ended, mut refused) = (0, 0);
        for PhaseTally { counts, .. } in &second.tally.phases {
            let of = |outcomes: &[Outcome]| outcomes.iter().map(|o| counts.arrivals.of(*o)).sum::<u64>();
            ended += counts.arrivals.ended();
            refused += of(&[Outcome::Expected, Outcome::Deferred, Outcome::Rejected, Outcome::Refused]);
        }
        if ended > 0 {
            let own = self.levels.entry(level).or_default();
            *own = (own.0 + ended, own.1 + refused);
        }
    }
}

/// Adds the next interval to an open one. Each gauge keeps the larger value.
fn add(open: &mut Interval, second: &Interval) {
    open.tally += &second.tally;
    open.length = second.start + second.length - open.start.min(second.start);
    let gauges = &mut open.gauges;
    *gauges = Gauges {
        queued: gauges.queued.max(second.gauges.queued),
        sessions: gauges.sessions.max(second.gauges.sessions),
        in_flight: gauges.in_flight.max(second.gauges.in_flight),
        waiting: gauges.waiting.max(second.gauges.waiting),
        retrying: gauges.retrying.max(second.gauges.retrying),
        peak_sessions: gauges.peak_sessions.max(second.gauges.peak_sessions),
    };
}

impl Bands {
    pub(crate) fn close(&mut self) {
        if let Some(TimeStretch { from, response, service, transit, .. }) = self.open.take() {
            self.t.push(from);
            self.response.push(&response);
            self.service.push(&service);
            self.transit.push(&transit);
        }
    }
}

impl Quantiles {
    fn push(&mut self, hist: &Hist) {
        let found = hist.quantiles(&[0.5, 0.9, 0.99]);
        let known = |i: usize| (found[i].status != Status::NotAvailable).then(|| ms(found[i].value_ns));
        self.n.push(hist.count());
        self.p50.push(known(0));
        self.p90.push(known(1));
        self.p99.push(known(2));
        self.max.push((!hist.is_empty()).then(|| ms(hist.max_ns())));
    }
}

impl StepTimes {
    fn add(&mut self, interval: &Interval) {
        let Tally { phases } = &interval.tally;
        let ended: u64 = phases.iter().map(|tally| tally.counts.arrivals.ended()).sum();
        let at = self.t.len();
        self.t.push(interval.start.as_secs_f64());
        let hists = phases.iter().flat_map(|tally| &tally.hists);
        for ((metric, _), hist) in hists {
            let Some(name) = metric.as_str().strip_prefix("step.") else { continue };
            let of_step = self.by_name.entry(name).or_default();
            of_step.resize(at + 1, 0.0);
            if ended > 0 {
                of_step[at] += hist.sum_ns() as f64 / 1e6 / ended as f64;
            }
        }
        for of_step in self.by_name.values_mut() {
            of_step.resize(at + 1, 0.0);
            of_step[at] = (of_step[at] * 1e4).round() / 1e4;
        }
    }
}

impl ConditionRates {
    fn add(&mut self, interval: &Interval) {
        let row = self.length.len();
        self.length.push(interval.length.as_secs_f64());
        for (key, met) in interval.tally.phases.iter().flat_map(|tally| &tally.conditions) {
            let kind = (key.condition, key.outcome == Outcome::Expected);
            *self.open.entry(kind).or_default().entry(row).or_default() += met.count;
        }
    }

    fn close(&mut self) {
        let mut kinds: Vec<_> = std::mem::take(&mut self.open).into_iter().collect();
        kinds.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.values().sum::<u64>()));
        let dense = |name, expected, rows: &[BTreeMap<usize, u64>]| {
            let of = |row| rows.iter().filter_map(|counts| counts.get(&row)).sum();
            ConditionRate { name, expected, counts: (0..self.length.len()).map(of).collect() }
        };
        // A single remaining condition keeps its own name.
        let named = if kinds.len() <= NAMED + 1 { kinds.len() } else { NAMED };
        let others: Vec<_> = kinds.split_off(named).into_iter().map(|(_, counts)| counts).collect();
        let named = kinds.iter().map(|((condition, expected), counts)| {
            dense(condition.as_str(), *expected, std::slice::from_ref(counts))
        });
        self.most = named.collect();
        self.others = others.len();
        if !others.is_empty() {
            self.most.push(dense("others", false, &others));
        }
    }
}

/// Returns a time in milliseconds, to the tenth of a microsecond.
fn ms(ns: u64) -> f64 {
    (Duration::from_nanos(ns).as_secs_f64() * 1e7).round() / 1e4
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::collector::tally::ConditionKey;
    use crate::report::fixtures;
    use crate::smtp::Step;

    pub(crate) fn second(t: u64, n: u64) -> Interval {
        let mut tally = Tally::new(1);
        let phase = &mut tally.phases[0];
        (phase.counts.scheduled, phase.counts.started) = (n, n);
        phase.counts.arrivals.add_many(Outcome::Accepted, n - 1);
        phase.counts.arrivals.add_many(Outcome::Refused, 1);
        for i in 0..n - 1 {
            phase.hists.entry((Metric::Response, Outcome::Accepted)).or_default().record((i + 1) * 1_000_000);
        }
        let (start, length) = (Duration::from_secs(t), Duration::from_secs(1));
        let gauges = Gauges { sessions: t % 50, ..Gauges::default() };
        Interval { transactions: Vec::new(), start, length, tally, gauges }
    }

    fn timeline(took: u64, n: u64) -> (Timeline, String) {
        let mut result = fixtures::accepted();
        result.took_s = took as f64;
        result.phases[0].accepted = took * (n - 1);
        result.phases[0].sessions.peak = 50;
        Timeline::of::<()>(&result, (0..took).map(|t| Ok(second(t, n)))).unwrap()
    }

    #[test]
    fn what_is_added_up_is_not_lost() {
        for (took, rows) in [(60, 60), (3600, 3600), (4 * 3600, 3600)] {
            let (timeline, series) = timeline(took, 11);
            assert_eq!(series.lines().count() - 1, rows, "{took}");
            assert_eq!(timeline.is_whole(), took <= 3600);
            let offered: u64 = series
                .lines()
                .skip(1)
                .map(|line| line.split(',').nth(3).unwrap().parse::<u64>().unwrap())
                .sum();
            let heat: u64 = timeline.heat.cells.iter().map(|(_, _, count)| count).sum();
            let bands: u64 = timeline.bands.response.n.iter().sum();
            let levels = timeline.levels.values().fold((0, 0), |sum, own| (sum.0 + own.0, sum.1 + own.1));
            assert_eq!((offered, heat, bands, levels), (took * 11, took * 10, took * 10, (took * 11, took)));
            assert!(timeline.heat.cells.iter().all(|(column, _, _)| *column < 240), "{took}");
            assert_eq!(timeline.bands.t.len(), timeline.bands.service.n.len());
        }
    }

    #[test]
    fn conditions_are_counted_where_they_were_met_and_the_rare_ones_together() {
        let met = |tally: &mut Tally, condition, outcome, count: u64| {
            let key = ConditionKey { step: Step::Mail, condition, code: Some(452), enhanced: None, outcome };
            (0..count)
                .for_each(|_| tally.phases[0].condition(key.clone(), Duration::ZERO, false, String::new));
        };
        let seconds = |kinds: usize| {
            (0..20).map(move |t| {
                let mut second = second(t, 3);
                for (n, condition) in (1..).zip(&Condition::ALL[..kinds]) {
                    met(&mut second.tally, *condition, Outcome::Deferred, n * (t % 2));
                }
                met(&mut second.tally, Condition::ALL[0], Outcome::Expected, 100);
                Ok(second)
            })
        };
        let mut result = fixtures::accepted();
        result.took_s = 20.0;
        let (few, _) = Timeline::of::<()>(&result, seconds(2)).unwrap();
        let told: Vec<_> = few.conditions.most.iter().map(|own| (own.name, own.expected)).collect();
        let (one, two) = (Condition::ALL[0].as_str(), Condition::ALL[1].as_str());
        assert_eq!((told, few.conditions.others), (vec![(one, true), (two, false), (one, false)], 0));
        assert_eq!(few.conditions.most[1].counts[..4], [0, 2, 0, 2]);
        let (many, _) = Timeline::of::<()>(&result, seconds(20)).unwrap();
        let sum: u64 = many.conditions.most.iter().flat_map(|own| &own.counts).sum();
        assert_eq!((sum, many.conditions.most.len()), (10 * (20 * 21 / 2) + 20 * 100, NAMED + 1));
        assert_eq!((many.conditions.most[NAMED].name, many.conditions.others), ("others", 13));
        result.took_s = 8000.0;
        let long = (0..8000).map(|t| {
            let mut second = second(t, 3);
            met(&mut second.tally, Condition::ResourceLow, Outcome::Deferred, 1);
            Ok::<_, ()>(second)
        });
        let (long, _) = Timeline::of(&result, long).unwrap();
        assert_eq!(long.conditions.most[0].counts[..3], [3, 3, 3]);
        assert_eq!(long.conditions.length[..3], [3.0, 3.0, 3.0]);
    }

    #[test]
    fn m18_a_stretch_is_as_long_as_its_quantiles_need_and_no_longer() {
        let (slow, _) = timeline(4000, 21);
        assert_eq!(slow.bands.step_s, 30.0);
        assert!(slow.bands.response.p99[0].is_some());
        let (short, _) = timeline(30, 21);
        assert_eq!(short.bands.step_s, 1.0);
        let median = short.bands.response.p50[0].unwrap();
        assert!((10.0..=10.01).contains(&median) && short.bands.response.p99[0].is_none(), "{median}");
        assert_eq!(short.bands.response.max[0], Some(20.0));
    }

    #[test]
    fn where_nothing_was_accepted_the_most_frequent_outcome_is_shown() {
        let mut result = fixtures::refused();
        result.took_s = 1.0;
        let mut refused = second(0, 3);
        let hist = refused.tally.phases[0].hists.remove(&(Metric::Response, Outcome::Accepted)).unwrap();
        refused.tally.phases[0].hists.insert((Metric::Response, Outcome::Refused), hist);
        let (timeline, _) = Timeline::of::<()>(&result, [Ok(refused)]).unwrap();
        assert_eq!((timeline.outcome, timeline.bands.response.n.as_slice()), ("refused", &[2][..]));
    }
}
