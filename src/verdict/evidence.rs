//! The evidence of one assertion: the numbers that it needs from the counts, and their evaluation.
//!
//! Evidence is summed: over the phases for an assertion about the whole run, over the seconds for an assertion with a
//! window.
//!
//! # Decisions
//! - The share of an outcome is its part of the arrivals that have an outcome, shed ones included. Over a whole run these
//!   are the scheduled ones (M10); in a window they are those that ended in it.
//! - A rate a second counts only the window: later events are in no rate (M21).
//! - Shares of attempts, retries and their outcomes are relative to the messages that started.
//! - The share of an `[[expect]]` is its part of the refusals that it covered or that nothing covered.
//! - A percentile is only known to its bucket (M16). It misses a bound only if every value of the bucket does, so that no
//!   listener is accused because of the precision of a histogram. Minimum and maximum are exact.
//! - If a value is only known to lie between two bounds (M12), the assertion holds or fails only if it does so for
//!   every value between the bounds. Otherwise there are no data. The same rule applies to times measured by the clock
//!   of another machine, within the bound of its offset. Often there is no upper bound: then the value can break an
//!   upper limit and keep a lower limit.

use std::collections::BTreeMap;
use std::time::Duration;

use super::grammar::{Aggregate, DeliveryCount, EventMeasure, Expr, Operator, QueueMeasure, Subject};
use super::outcome::AssertionStatus;
use crate::collector::delivery::{ClockRelation, Delivered, DeliveryCounts, PhaseDelivery};
use crate::collector::effect::{EventEffect, EventRecovery};
use crate::collector::growth::Growth;
use crate::collector::histogram::{Hist, Status, least_read_as, needed};
use crate::collector::slices::SLICE;
use crate::collector::summary::{censored, per_second};
use crate::collector::tally::{Counts, PhaseTally};
use crate::collector::work::Work;
use crate::collector::{Metric, Outcome};
use crate::condition::expect::Expect;

/// The evidence for one expression.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    counts: Counts,
    /// The count of the condition or the `[[expect]]` that the expression names.
    named: u64,
    /// How many of these occurrences came after the window.
    named_late: u64,
    /// The number of refusals that no `[[expect]]` covered, if the expression names one.
    uncovered: u64,
    own: Option<Box<Hist>>,
    censored: Option<Box<Hist>>,
    window: Duration,
}

/// The result of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: AssertionStatus,
    /// The observed value with its unit, or why there is none.
    pub(super) observed: String,
}

impl Answer {
    pub(super) fn no_data(why: impl Into<String>) -> Answer {
        Answer { status: AssertionStatus::NoData, observed: why.into() }
    }

    /// Returns the answer for a run that was stopped.
    pub(super) fn until_stopped(self) -> Answer {
        let observed = format!("{} until the run was stopped", self.observed);
        Answer { status: AssertionStatus::NotJudged, observed }
    }
}

impl Evidence {
    /// Returns the evidence of one phase from its counts over this stretch of time.
    pub(super) fn gather(expr: &Expr, expects: &[Expect], tally: &PhaseTally, window: Duration) -> Evidence {
        let mut found = Evidence { counts: tally.counts, window, ..Evidence::default() };
        match &expr.subject {
            Subject::Latency(metric, outcome) => {
                found.own = pooled(&tally.hists, *metric, *outcome);
                if let Some(outcome) = *outcome {
                    let censored = censored(tally, *metric, outcome);
                    found.censored = (!censored.is_empty()).then(|| Box::new(censored));
                }
            }
            Subject::Condition(condition) => {
                let met = tally.conditions.iter().filter(|(key, _)| key.condition == *condition);
                (found.named, found.named_late) =
                    met.fold((0, 0), |sum, (_, row)| (sum.0 + row.count, sum.1 + row.drained));
            }
            Subject::Expect(name) => {
                let index = expect_index(expects, name);
                let covered = index.and_then(|i| tally.expects.get(&i)).copied().unwrap_or_default();
                (found.named, found.named_late) = (covered.count, covered.drained);
                let uncovered = tally.conditions.iter().filter(|(key, _)| key.outcome.is_failure());
                found.uncovered = uncovered.map(|(_, row)| row.count).sum();
            }
            _ => {}
        }
        found
    }

    /// Adds the evidence of another phase.
    pub(super) fn add(&mut self, other: &Evidence) {
        self.counts += &other.counts;
        self.named += other.named;
        self.named_late += other.named_late;
        self.uncovered += other.uncovered;
        add(&mut self.own, other.own.as_deref());
        add(&mut self.censored, other.censored.as_deref());
        self.window += other.window;
    }

    /// Returns the stretch of time of this evidence.
    pub(super) fn window(&self) -> Duration {
        self.window
    }

    /// Sets the stretch of time, for phases that were open at the same time.
    pub(super) fn over(self, window: Duration) -> Evidence {
        Evidence { window, ..self }
    }

    /// Judges the expression.
    pub(super) fn answer(&self, expr: &Expr) -> Answer {
        self.answer_by(expr, ClockRelation::Own)
    }

    /// Judges the expression. `clock` is the relation of the clock that timed the deliveries to the clock of this
    /// machine.
    pub(super) fn answer_by(&self, expr: &Expr, clock: ClockRelation) -> Answer {
        match expr.subject {
            Subject::Latency(Metric::Transit | Metric::Delivery, _) if expr.aggregate.is_duration() => {
                self.timed(expr, clock_error(clock))
            }
            Subject::Latency(..) if expr.aggregate.is_duration() => self.timed(expr, 0.0),
            _ => self.counted(expr),
        }
    }

    /// Judges a time that may be wrong by `error` nanoseconds.
    fn timed(&self, expr: &Expr, error: f64) -> Answer {
        let none = Hist::default();
        let own = self.own.as_deref().unwrap_or(&none);
        let censored = self.censored.as_deref().unwrap_or(&none);
        let n = own.count() + censored.count();
        if n == 0 {
            return Answer::no_data("no values");
        }
        let without_end = !censored.is_empty();
        let bound = |least: f64, at_least: bool| {
            (BucketReading::exact(least), BucketReading::exact(if at_least { f64::INFINITY } else { least }))
        };
        let (least, most) = match expr.aggregate {
            Aggregate::Quantile(q) => {
                let found = own.quantiles_censored(censored, &[q])[0];
                if found.status == Status::NotAvailable {
                    return Answer::no_data(format!("n/a (needs {}, has {n})", needed(q)));
                }
                let most = match found.at_most_ns {
                    u64::MAX => BucketReading::exact(f64::INFINITY),
                    ns => BucketReading::of_bucket(ns),
                };
                (BucketReading::of_bucket(found.value_ns), most)
            }
            // An arrival without an end may be longer than all others, but never shorter than recorded.
            Aggregate::Min if own.is_empty() => bound(censored.min_ns() as f64, true),
            Aggregate::Min if without_end => {
                let least = own.min_ns().min(censored.min_ns());
                (BucketReading::exact(least as f64), BucketReading::exact(own.min_ns() as f64))
            }
            Aggregate::Min => bound(own.min_ns() as f64, false),
            Aggregate::Max => bound(own.max_ns().max(censored.max_ns()) as f64, without_end),
            _ => bound((own.sum_ns() + censored.sum_ns()) as f64 / n as f64, without_end),
        };
        let least = BucketReading {
            least: (least.least - error).max(0.0),
            greatest: (least.greatest - error).max(0.0),
        };
        let most = BucketReading { least: most.least + error, greatest: most.greatest + error };
        compare_bucket_readings(expr, least, most, duration_text)
    }

    /// Returns the part of the subject that came after the window.
    fn drained(&self, subject: &Subject) -> u64 {
        let drained = &self.counts.drained;
        match subject {
            Subject::Started => drained.started,
            Subject::Arrivals(outcome) => drained.arrivals.of(*outcome),
            Subject::Unexpected => drained.arrivals.unexpected(),
            Subject::Attempted => drained.attempted,
            Subject::Transactions(outcome) => drained.transactions.of(*outcome),
            Subject::Condition(_) | Subject::Expect(_) => self.named_late,
            Subject::Pending => drained.arrivals.of(Outcome::Interrupted),
            Subject::GaveUp => drained.arrivals.gave_up(),
            Subject::Attempts => drained.started + drained.retries,
            Subject::Retries => drained.retries,
            Subject::PossiblyDoubled => drained.possibly_doubled,
            Subject::Latency(..)
            | Subject::Scheduled
            | Subject::Done
            | Subject::Event(..)
            | Subject::Amplification
            | Subject::Delivery(_)
            | Subject::Queued(_)
            | Subject::Drain => 0,
        }
    }

    fn counted(&self, expr: &Expr) -> Answer {
        if matches!(expr.subject, Subject::Done | Subject::Event(..)) || expr.subject.is_behind_relay() {
            return Answer::no_data("known only of a whole run");
        }
        let arrivals = &self.counts.arrivals;
        let ends = arrivals.ended() + arrivals.of(Outcome::Shed);
        let (scheduled, started) = (self.counts.scheduled, self.counts.started);
        let unexpected = || arrivals.unexpected();
        let attempts = started + self.counts.retry.retries;
        if expr.subject == Subject::Amplification {
            return match started {
                0 => Answer::no_data("no message started"),
                _ => {
                    let amplification = attempts as f64 / started as f64;
                    compare(expr, amplification, amplification, |number| decimals(number, 3))
                }
            };
        }
        let (count, all) = match &expr.subject {
            Subject::Scheduled => (scheduled, scheduled),
            Subject::Started => (started, scheduled),
            Subject::Arrivals(outcome) => (arrivals.of(*outcome), ends),
            Subject::Unexpected => (unexpected(), ends),
            Subject::Attempts => (attempts, started),
            Subject::Retries => (self.counts.retry.retries, started),
            Subject::GaveUp => (arrivals.gave_up(), started),
            Subject::Pending => (arrivals.of(Outcome::Interrupted), started),
            Subject::PossiblyDoubled => (self.counts.retry.possibly_doubled, started),
            Subject::Done
            | Subject::Amplification
            | Subject::Event(..)
            | Subject::Delivery(_)
            | Subject::Queued(_)
            | Subject::Drain => (0, 0),
            Subject::Attempted => (self.counts.attempted, self.counts.attempted),
            Subject::Transactions(outcome) => {
                let transactions = &self.counts.transactions;
                (transactions.of(*outcome), transactions.ended())
            }
            Subject::Condition(_) => (self.named, ends),
            // An `[[expect]]` covers refused steps, of which an arrival may have several, or none: a closed load of messages
            // goes on with other sessions. So both sides count refused steps.
            Subject::Expect(_) => (self.named, self.named + self.uncovered),
            Subject::Latency(..) => (self.own.as_ref().map_or(0, |hist| hist.count()), ends),
        };
        match expr.aggregate {
            Aggregate::Share if all == 0 => Answer::no_data("no arrivals to take a share of"),
            Aggregate::Share => {
                let share = count as f64 / all as f64;
                compare(expr, share, share, |share| format!("{} %", decimals(share * 100.0, 4)))
            }
            Aggregate::PerSecond if self.window.is_zero() => Answer::no_data("no time passed"),
            Aggregate::PerSecond => {
                let rate = per_second(count.saturating_sub(self.drained(&expr.subject)), self.window);
                compare(expr, rate, rate, |rate| format!("{}/s", decimals(rate, places(rate))))
            }
            _ if scheduled + started + ends == 0 => Answer::no_data("no arrivals"),
            _ => compare(expr, count as f64, count as f64, |count| format!("{count:.0}")),
        }
    }
}

/// Returns by how many nanoseconds each time of the relay may be wrong.
fn clock_error(clock: ClockRelation) -> f64 {
    match clock {
        ClockRelation::Offset { bound, .. } => bound.as_nanos() as f64,
        // With an unknown clock there are no times.
        ClockRelation::Own | ClockRelation::Same | ClockRelation::Unknown => 0.0,
    }
}

/// Judges the deliveries of a relay over these phases with their windows.
pub(super) fn behind_relay(
    expr: &Expr,
    delivered: &Delivered,
    phases: &[(&PhaseDelivery, Duration)],
) -> Answer {
    let mut counts = DeliveryCounts::default();
    phases.iter().for_each(|(phase, _)| counts += phase.counts);
    let number = |count: f64| format!("{count:.0}");
    let unknown_times =
        || Answer::no_data("the clock of the receiver is unknown: give --clock-probe or --clock-offset");
    match expr.subject {
        Subject::Queued(QueueMeasure::Growth) | Subject::Drain
            if delivered.clock == ClockRelation::Unknown =>
        {
            unknown_times()
        }
        Subject::Delivery(what) => {
            let count = match what {
                DeliveryCount::Delivered => counts.delivered,
                DeliveryCount::Bounced => counts.bounced,
                DeliveryCount::Missing => counts.missing,
                DeliveryCount::Duplicated => counts.duplicated,
                DeliveryCount::Altered => counts.altered,
                DeliveryCount::Unexpected => counts.unexpected,
                DeliveryCount::Foreign => delivered.foreign,
            };
            match expr.aggregate {
                Aggregate::Share if counts.accepted == 0 => Answer::no_data("nothing was accepted"),
                Aggregate::Share => {
                    let share = count as f64 / counts.accepted as f64;
                    compare(expr, share, share, |share| format!("{} %", decimals(share * 100.0, 4)))
                }
                Aggregate::PerSecond if what != DeliveryCount::Delivered => {
                    Answer::no_data("of what came out only `delivered` has a rate")
                }
                Aggregate::PerSecond => {
                    let window = phases.iter().map(|(_, window)| *window).sum();
                    let came = phases.iter().map(|(phase, _)| phase.delivered_in_window).sum::<Option<u64>>();
                    came.map_or_else(unknown_times, |came| {
                        let rate = per_second(came, window);
                        compare(expr, rate, rate, |rate| format!("{}/s", decimals(rate, places(rate))))
                    })
                }
                _ => compare(expr, count as f64, count as f64, number),
            }
        }
        Subject::Queued(QueueMeasure::Max) => {
            let most = phases.iter().map(|(phase, _)| phase.queued_max).collect::<Option<Vec<u64>>>();
            most.map_or_else(unknown_times, |most| {
                let most = most.into_iter().max().unwrap_or_default() as f64;
                compare(expr, most, most, number)
            })
        }
        Subject::Queued(QueueMeasure::Growth) => {
            let grown = phases.iter().filter_map(|(phase, _)| phase.queued_growth);
            // The phase in which the queue grew fastest decides.
            match grown.max_by(|one, other| one.slope.total_cmp(&other.slope)) {
                None => Answer::no_data("the window is too short to say how the queue grew"),
                Some(Growth { slope, low, high }) => compare(expr, slope, slope, |_| {
                    format!(
                        "{}/s (95 % interval {} to {})",
                        decimals(slope, 2),
                        decimals(low, 2),
                        decimals(high, 2)
                    )
                }),
            }
        }
        _ => match phases.iter().filter_map(|(phase, _)| phase.drain).max() {
            None => Answer::no_data("nothing was delivered"),
            Some(drain) => {
                let (drain, error) = (drain.as_nanos() as f64, clock_error(delivered.clock));
                // Missing messages may still come.
                let most = if counts.missing > 0 { f64::INFINITY } else { drain + error };
                compare(expr, (drain - error).max(0.0), most, duration_text)
            }
        },
    }
}

/// Judges a time of an event.
pub(super) fn of_event(expr: &Expr, measure: EventMeasure, effect: &EventEffect) -> Answer {
    let ns = |time: Duration| time.as_nanos() as f64;
    match (measure, effect.outage, &effect.recovery) {
        (EventMeasure::Outage, None, _) => compare(expr, 0.0, 0.0, duration_text),
        (EventMeasure::Outage, Some(outage), _) => {
            let most = outage.at_most.map_or(f64::INFINITY, ns);
            // The times of an outage are rounded to slices, so bounds that are at most three slices apart count as
            // equal.
            let least = ns(outage.length());
            let most = if most - least <= 3.0 * ns(SLICE) { least } else { most };
            compare(expr, least, most, duration_text)
        }
        (EventMeasure::Recovery, _, EventRecovery::After(time)) => {
            compare(expr, ns(*time), ns(*time), duration_text)
        }
        (EventMeasure::Recovery, _, EventRecovery::NotWithin(time)) => {
            let answer = compare(expr, ns(*time), f64::INFINITY, duration_text);
            Answer { observed: format!("not recovered within {}", duration_text(ns(*time))), ..answer }
        }
        (EventMeasure::Recovery, _, EventRecovery::Unknown(why)) => Answer::no_data(why.clone()),
    }
}

/// Judges the share of the work that was done over these phases. Each phase has the same weight.
pub(super) fn done(expr: &Expr, phases: &[&Work]) -> Answer {
    if phases.is_empty() {
        return Answer::no_data("known at the end of the run");
    }
    let share = phases.iter().map(|work| work.share()).sum::<f64>() / phases.len() as f64;
    let share = if phases.iter().all(|work| work.is_done()) { 1.0 } else { share };
    // A share below 100 % must not be rounded to 100 %.
    let percent = if share < 1.0 { (share * 100.0).min(99.9999) } else { 100.0 };
    let short = phases.iter().filter(|work| !work.is_done()).map(|work| work.to_string());
    let told: Vec<String> = std::iter::once(format!("{} %", decimals(percent, 4))).chain(short).collect();
    compare(expr, share, share, |_| told.join(": "))
}

/// Returns the index of the `[[expect]]` with this name. An `[[expect]]` without a name has its number in the profile,
/// from 1.
pub(super) fn expect_index(expects: &[Expect], name: &str) -> Option<u32> {
    expects.iter().enumerate().position(|(i, expect)| expect.name_at(i) == name).map(|i| i as u32)
}

fn pooled(
    hists: &BTreeMap<(Metric, Outcome), Hist>,
    metric: Metric,
    outcome: Option<Outcome>,
) -> Option<Box<Hist>> {
    let mut found = None;
    let wanted = |key: &(Metric, Outcome)| key.0 == metric && outcome.is_none_or(|o| o == key.1);
    hists.iter().filter(|(key, _)| wanted(key)).for_each(|(_, hist)| add(&mut found, Some(hist)));
    found
}

fn add(to: &mut Option<Box<Hist>>, hist: Option<&Hist>) {
    match (to, hist) {
        (Some(to), Some(hist)) => to.merge(hist),
        (to, Some(hist)) => *to = Some(Box::new(hist.clone())),
        (_, None) => {}
    }
}

/// A value of which only the least and the greatest possible value are known.
#[derive(Clone, Copy, Debug)]
struct BucketReading {
    least: f64,
    greatest: f64,
}

impl BucketReading {
    fn exact(value: f64) -> BucketReading {
        BucketReading { least: value, greatest: value }
    }

    /// Returns the reading of a percentile of a histogram.
    fn of_bucket(ns: u64) -> BucketReading {
        BucketReading { least: least_read_as(ns) as f64, greatest: ns as f64 }
    }

    /// Whether the expression holds for one of the possible values.
    fn may_hold(self, expr: &Expr) -> bool {
        let holds = |value| expr.operator.holds(value, expr.value);
        match expr.operator {
            Operator::Equal => self.least <= expr.value && expr.value <= self.greatest,
            _ => holds(self.least) || holds(self.greatest),
        }
    }

    /// Returns the value as text. If the expected value is one of the possible values, it is shown.
    fn text(self, expr: &Expr, text: &impl Fn(f64) -> String) -> String {
        match self.least <= expr.value && expr.value < self.greatest {
            true => format!("{} within 0.1 %", text(expr.value)),
            false => text(self.greatest),
        }
    }
}

/// Compares an observed value between `least` and `most` with the expected one, and returns the result.
fn compare(expr: &Expr, least: f64, most: f64, text: impl Fn(f64) -> String) -> Answer {
    compare_bucket_readings(expr, BucketReading::exact(least), BucketReading::exact(most), text)
}

/// Compares as [`compare`] does. Where a bound of the observed value is not known exactly, it gets the benefit of the doubt.
fn compare_bucket_readings(
    expr: &Expr,
    least: BucketReading,
    most: BucketReading,
    text: impl Fn(f64) -> String,
) -> Answer {
    use AssertionStatus::{Fail, NoData, Pass};
    let (at_least, at_most) = (least.may_hold(expr), most.may_hold(expr));
    let between = least.greatest < expr.value && expr.value < most.least;
    let status = match expr.operator {
        // Both bounds differ from the expected value, but the true value may be equal to it.
        Operator::Equal | Operator::Unequal if between => NoData,
        _ if at_least != at_most => NoData,
        _ if at_least => Pass,
        _ => Fail,
    };
    let observed = match (least.text(expr, &text), most.text(expr, &text)) {
        (least, _) if most.greatest.is_infinite() => format!(">= {least}"),
        (least, most) if least == most => least,
        (least, most) => format!("{least} to {most}"),
    };
    Answer { status, observed }
}

/// Returns a time in nanoseconds as text, in a unit that is easy to read.
pub fn duration_text(ns: f64) -> String {
    let (unit, length) = match ns {
        _ if ns < 1e3 => ("ns", 1.0),
        _ if ns < 1e6 => ("us", 1e3),
        _ if ns < 1e9 => ("ms", 1e6),
        _ => ("s", 1e9),
    };
    format!("{} {unit}", decimals(ns / length, 3))
}

fn decimals(number: f64, most: usize) -> String {
    let text = format!("{number:.most$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Returns the number of decimals of a rate: three, or as many as a small one needs for three digits.
fn places(rate: f64) -> usize {
    if rate > 0.0 { decimals_for_three_digits(rate).max(3) } else { 3 }
}

/// Returns the number of decimals with which a positive number has three significant digits, at most 12.
pub fn decimals_for_three_digits(number: f64) -> usize {
    (2.0 - number.log10().floor()).clamp(0.0, 12.0) as usize
}

#[cfg(test)]
mod tests;
