//! The few numbers that one assertion needs, gathered from the books, and its answer from them.
//!
//! Evidence adds up: over phases for an assertion about the whole run, over seconds for one about a window.
//!
//! # Decisions
//! - The share of an outcome is its part of the arrivals that have an outcome, shed ones included. Over a whole run these
//!   are the scheduled ones (M10); in a window they are those that ended in it.
//! - A number a second is of what fell into the window: what ended, or was met, later is in no rate (M21).
//! - The share of an `[[expect]]` is its part of the refusals that it covered or that nothing covered.
//! - What is only known to lie between two bounds (M12) holds or fails if it does so wherever it lies between them; else there
//!   is no data. Mostly there is no upper one: it can break an upper limit and keep a lower one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::grammar::{Aggregate, Expr, Operator, Subject};
use super::judge::AssertionStatus;
use crate::collector::histogram::{Hist, Status, needed};
use crate::collector::summary::{censored, per_second};
use crate::collector::tally::{Counts, PhaseTally};
use crate::collector::work::Work;
use crate::collector::{Metric, Outcome};
use crate::condition::expect::Expect;

/// What there is to judge one expression by.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    counts: Counts,
    /// How often the condition or the `[[expect]]` was met that the expression names.
    named: u64,
    /// How often of that after the window.
    named_late: u64,
    own: Option<Box<Hist>>,
    censored: Option<Box<Hist>>,
    window: Duration,
}

/// What an expression comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: AssertionStatus,
    /// What was found, with its unit, or why nothing was.
    pub(super) observed: String,
}

impl Answer {
    pub(super) fn no_data(why: impl Into<String>) -> Answer {
        Answer { status: AssertionStatus::NoData, observed: why.into() }
    }

    /// The same of a run that did not come to its end.
    pub(super) fn until_stopped(self) -> Answer {
        let observed = format!("{} until the run was stopped", self.observed);
        Answer { status: AssertionStatus::NotJudged, observed }
    }
}

impl Evidence {
    /// From the books of one phase over this stretch of time.
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
            }
            _ => {}
        }
        found
    }

    /// Adds what another phase found.
    pub(super) fn add(&mut self, other: &Evidence) {
        self.counts += &other.counts;
        self.named += other.named;
        self.named_late += other.named_late;
        add(&mut self.own, other.own.as_deref());
        add(&mut self.censored, other.censored.as_deref());
        self.window += other.window;
    }

    /// The stretch of time it stands for.
    pub(super) fn window(&self) -> Duration {
        self.window
    }

    /// Sets the stretch of time, where phases were open at the same time.
    pub(super) fn over(self, window: Duration) -> Evidence {
        Evidence { window, ..self }
    }

    /// Judges the expression.
    pub(super) fn answer(&self, expr: &Expr) -> Answer {
        match expr.subject {
            Subject::Latency(..) if expr.aggregate.is_duration() => self.timed(expr),
            _ => self.counted(expr),
        }
    }

    fn timed(&self, expr: &Expr) -> Answer {
        let none = Hist::default();
        let own = self.own.as_deref().unwrap_or(&none);
        let censored = self.censored.as_deref().unwrap_or(&none);
        let n = own.count() + censored.count();
        if n == 0 {
            return Answer::no_data("no values");
        }
        let without_end = !censored.is_empty();
        let bound = |least: f64, at_least: bool| (least, if at_least { f64::INFINITY } else { least });
        let (least, most) = match expr.aggregate {
            Aggregate::Quantile(q) => {
                let found = own.quantiles_censored(censored, &[q])[0];
                if found.status == Status::NotAvailable {
                    return Answer::no_data(format!("n/a (needs {}, has {n})", needed(q)));
                }
                let most = if found.at_most_ns == u64::MAX { f64::INFINITY } else { found.at_most_ns as f64 };
                (found.value_ns as f64, most)
            }
            // What has no end yet may turn out greater than all, but never less than it is.
            Aggregate::Min if own.is_empty() => bound(censored.min_ns() as f64, true),
            Aggregate::Min if without_end => {
                (own.min_ns().min(censored.min_ns()) as f64, own.min_ns() as f64)
            }
            Aggregate::Min => bound(own.min_ns() as f64, false),
            Aggregate::Max => bound(own.max_ns().max(censored.max_ns()) as f64, without_end),
            _ => bound((own.sum_ns() + censored.sum_ns()) as f64 / n as f64, without_end),
        };
        compare(expr, least, most, duration_text)
    }

    /// What of the subject came after the window.
    fn drained(&self, subject: &Subject) -> u64 {
        let drained = &self.counts.drained;
        match subject {
            Subject::Started => drained.started,
            Subject::Arrivals(outcome) => drained.arrivals.of(*outcome),
            Subject::Unexpected => drained.arrivals.unexpected(),
            Subject::Attempted => drained.attempted,
            Subject::Transactions(outcome) => drained.transactions.of(*outcome),
            Subject::Condition(_) | Subject::Expect(_) => self.named_late,
            Subject::Latency(..) | Subject::Scheduled | Subject::Done => 0,
        }
    }

    fn counted(&self, expr: &Expr) -> Answer {
        if expr.subject == Subject::Done {
            return Answer::no_data("known only of a whole run");
        }
        let arrivals = &self.counts.arrivals;
        let ends = arrivals.ended() + arrivals.of(Outcome::Shed);
        let (scheduled, started) = (self.counts.scheduled, self.counts.started);
        let unexpected = || arrivals.unexpected();
        let (count, all) = match &expr.subject {
            Subject::Scheduled => (scheduled, scheduled),
            Subject::Started => (started, scheduled),
            Subject::Arrivals(outcome) => (arrivals.of(*outcome), ends),
            Subject::Unexpected => (unexpected(), ends),
            Subject::Done => (0, 0),
            Subject::Attempted => (self.counts.attempted, self.counts.attempted),
            Subject::Transactions(outcome) => {
                let transactions = &self.counts.transactions;
                (transactions.of(*outcome), transactions.ended())
            }
            Subject::Condition(_) => (self.named, ends),
            Subject::Expect(_) => (self.named, self.named + unexpected() - arrivals.of(Outcome::Shed)),
            Subject::Latency(..) => (self.own.as_ref().map_or(0, |hist| hist.count()), ends),
        };
        match expr.aggregate {
            Aggregate::Share if all == 0 => Answer::no_data("nothing to have a share of"),
            Aggregate::Share => {
                let share = count as f64 / all as f64;
                compare(expr, share, share, |share| format!("{} %", decimals(share * 100.0, 4)))
            }
            Aggregate::PerSecond if self.window.is_zero() => Answer::no_data("no time passed"),
            Aggregate::PerSecond => {
                let rate = per_second(count.saturating_sub(self.drained(&expr.subject)), self.window);
                compare(expr, rate, rate, |rate| format!("{}/s", decimals(rate, 3)))
            }
            _ if scheduled + started + ends == 0 => Answer::no_data("no arrivals"),
            _ => compare(expr, count as f64, count as f64, |count| format!("{count:.0}")),
        }
    }
}

/// Judges what was done of what was asked, over these phases: each counts as much as the others.
pub(super) fn done(expr: &Expr, phases: &[&Work]) -> Answer {
    if phases.is_empty() {
        return Answer::no_data("known at the end of the run");
    }
    let share = phases.iter().map(|work| work.share()).sum::<f64>() / phases.len() as f64;
    let share = if phases.iter().all(|work| work.is_done()) { 1.0 } else { share };
    // What is not all must not be rounded to it.
    let percent = if share < 1.0 { (share * 100.0).min(99.9999) } else { 100.0 };
    let short = phases.iter().filter(|work| !work.is_done()).map(|work| work.to_string());
    let told: Vec<String> = std::iter::once(format!("{} %", decimals(percent, 4))).chain(short).collect();
    compare(expr, share, share, |_| told.join(": "))
}

/// The index of the `[[expect]]` of this name; one without a name goes by its place in the profile, from 1.
pub(super) fn expect_index(expects: &[Expect], name: &str) -> Option<u32> {
    let named = |(i, expect): (usize, &Expect)| match &expect.name {
        Some(own) => own == name,
        None => (i + 1).to_string() == name,
    };
    expects.iter().enumerate().position(named).map(|i| i as u32)
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

/// Holds what was found, which lies between `least` and `most`, against what was asked.
fn compare(expr: &Expr, least: f64, most: f64, text: impl Fn(f64) -> String) -> Answer {
    use AssertionStatus::{Fail, NoData, Pass};
    let (at_least, at_most) = (expr.operator.holds(least, expr.value), expr.operator.holds(most, expr.value));
    let between = least < expr.value && expr.value < most;
    let status = match expr.operator {
        // The bounds may both differ from what was asked, and the truth be the same.
        Operator::Equal | Operator::Unequal if between => NoData,
        _ if at_least != at_most => NoData,
        _ if at_least => Pass,
        _ => Fail,
    };
    let observed = match (text(least), text(most)) {
        (least, _) if most.is_infinite() => format!(">= {least}"),
        (least, most) if least == most => least,
        (least, most) => format!("{least} to {most}"),
    };
    Answer { status, observed }
}

/// A time in nanoseconds, in the unit in which it is easily read.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collector::tally::{ConditionCount, ConditionKey, Covered};
    use crate::condition::Condition;
    use crate::condition::expect::When;
    use crate::smtp::Step;
    use crate::verdict::Assertion;
    use AssertionStatus::{Fail, NoData, Pass};

    fn answer(text: &str, tally: &PhaseTally) -> (AssertionStatus, String) {
        let unnamed =
            Expect { name: None, phase: None, step: None, condition: None, code: None, when: When::Always };
        let expects = [unnamed.clone(), Expect { name: Some("per-host".to_owned()), ..unnamed }];
        let expr = Assertion::parse(text).unwrap().expr;
        let found = Evidence::gather(&expr, &expects, tally, Duration::from_secs(10)).answer(&expr);
        (found.status, found.observed)
    }

    fn end(tally: &mut PhaseTally, outcome: Outcome, times: impl IntoIterator<Item = u64>) {
        for ns in times {
            tally.counts.scheduled += 1;
            tally.counts.arrivals.add(outcome);
            if outcome != Outcome::Shed {
                tally.counts.started += 1;
                tally.hists.entry((Metric::Response, outcome)).or_default().record(ns);
                tally.hists.entry((Metric::Lag, outcome)).or_default().record(ns);
            }
        }
    }

    fn judged(status: AssertionStatus, observed: &str) -> (AssertionStatus, String) {
        (status, observed.to_owned())
    }

    #[test]
    fn percentiles_are_of_the_accepted_unless_said_otherwise() {
        let mut tally = PhaseTally::default();
        end(&mut tally, Outcome::Accepted, 1..=1000);
        end(&mut tally, Outcome::Deferred, [5_000_000; 500]);
        assert_eq!(answer("response p99 < 991ns", &tally), judged(Pass, "990 ns"));
        assert_eq!(answer("response p99 < 990ns", &tally), judged(Fail, "990 ns"));
        assert_eq!(answer("p99.9 < 1s", &tally), judged(NoData, "n/a (needs 4603, has 1000)"));
        assert_eq!(answer("response[deferred] max <= 5ms", &tally), judged(Pass, "5 ms"));
        assert_eq!(answer("response[rejected] max < 5s", &tally), judged(NoData, "no values"));
        assert_eq!(answer("response mean == 500.5ns", &tally), judged(Pass, "500.5 ns"));
        assert_eq!(answer("response min == 1ns", &tally), judged(Pass, "1 ns"));
        assert_eq!(answer("response count == 1k", &tally), judged(Pass, "1000"));
        assert_eq!(answer("lag max < 6ms", &tally), judged(Pass, "5 ms"), "lag is of all outcomes");
        assert_eq!(answer("lag count == 1500", &tally).0, Pass);
    }

    #[test]
    fn m12_lower_bounds_break_upper_limits_and_keep_lower_ones_only() {
        let mut tally = PhaseTally::default();
        end(&mut tally, Outcome::Accepted, [10; 900]);
        end(&mut tally, Outcome::TimedOut, [3_000_000; 100]);
        let bound = |status| judged(status, ">= 3 ms");
        assert_eq!(answer("p90 < 1ms", &tally), judged(Pass, "10 ns"), "below all that has no end");
        let table = [
            ("p99 < 2ms", Fail),
            ("p99 <= 2ms", Fail),
            ("p99 == 2ms", Fail),
            ("p99 != 2ms", Pass),
            ("p99 > 2ms", Pass),
            ("p99 >= 2ms", Pass),
            ("max < 3ms", Fail),
            ("max >= 3ms", Pass),
            ("max <= 3ms", NoData),
            ("max > 3ms", NoData),
            ("max == 3ms", NoData),
            ("p99 < 4ms", NoData),
            ("p99 > 4ms", NoData),
            ("p99 != 4ms", NoData),
        ];
        for (text, status) in table {
            assert_eq!(answer(text, &tally), bound(status), "{text}");
        }
        assert_eq!(answer("min == 10ns", &tally), judged(Pass, "10 ns"));
        // Lost at once: by so many ranks the percentile may be higher, and no more.
        let mut lost = PhaseTally::default();
        end(&mut lost, Outcome::Accepted, 1..=1000);
        end(&mut lost, Outcome::InDoubt, [1; 20]);
        let between = |status| judged(status, "898 ns to 918 ns");
        assert_eq!(answer("p90 <= 918ns", &lost), between(Pass));
        assert_eq!(answer("p90 < 917ns", &lost), between(NoData));
        assert_eq!(answer("p90 > 897ns", &lost), between(Pass));
        assert_eq!(answer("p90 == 900ns", &lost), between(NoData));
        assert_eq!(answer("p90 != 800ns", &lost), between(Pass));
        assert_eq!(answer("p90 < 898ns", &lost), between(Fail));
        assert_eq!(
            answer("p99 < 1s", &lost),
            judged(NoData, ">= 990 ns"),
            "it is among those that were lost"
        );
        assert_eq!(answer("mean < 1us", &tally), judged(Fail, ">= 300.009 us"));
        assert_eq!(answer("response count == 900", &tally).0, Pass);
        assert_eq!(answer("response[timed-out] p90 < 4ms", &tally), judged(Pass, "3 ms"));
        let mut hung = PhaseTally::default();
        end(&mut hung, Outcome::Interrupted, [7; 50]);
        assert_eq!(answer("min > 9ns", &hung), judged(NoData, ">= 7 ns"));
        assert_eq!(answer("p90 < 5ns", &hung), judged(Fail, ">= 7 ns"));
    }

    /// 452 at this step.
    fn busy(step: Step) -> ConditionKey {
        ConditionKey {
            step,
            condition: Condition::ResourceLow,
            code: Some(452),
            enhanced: None,
            outcome: Outcome::Deferred,
        }
    }

    #[test]
    fn counts_shares_and_rates() {
        let mut tally = PhaseTally::default();
        end(&mut tally, Outcome::Accepted, [1; 960]);
        end(&mut tally, Outcome::Expected, [1; 20]);
        end(&mut tally, Outcome::Deferred, [1; 15]);
        end(&mut tally, Outcome::Shed, [1; 5]);
        tally.counts.attempted = 970;
        (0..960).for_each(|_| tally.counts.transactions.add(Outcome::Accepted));
        (0..10).for_each(|_| tally.counts.transactions.add(Outcome::Deferred));
        tally.expects.insert(1, Covered { count: 45, drained: 0 });
        let row = ConditionCount {
            count: 14,
            drained: 0,
            first: Duration::ZERO,
            last: Duration::ZERO,
            sample: String::new(),
        };
        tally.conditions.insert(busy(Step::Rcpt), row.clone());
        tally.conditions.insert(busy(Step::Mail), row);
        let table = [
            ("accepted > 0", Pass, "960"),
            ("shed == 0", Fail, "5"),
            ("unexpected rate <= 2%", Pass, "2 %"),
            ("unexpected rate < 2%", Fail, "2 %"),
            ("unexpected == 20", Pass, "20"),
            ("accepted rate >= 96/s", Pass, "96/s"),
            ("accepted rate > 5760/m", Fail, "96/s"),
            ("scheduled == 1k", Pass, "1000"),
            ("scheduled rate == 100/s", Pass, "100/s"),
            ("started rate >= 99.5%", Pass, "99.5 %"),
            ("transactions.attempted == 970", Pass, "970"),
            ("transactions.accepted rate > 98.9%", Pass, "98.9691 %"),
            ("condition.resource-low == 28", Pass, "28"),
            ("condition.queue-full == 0", Pass, "0"),
            ("expect.per-host == 45", Pass, "45"),
            ("expect.per-host rate >= 75%", Pass, "75 %"),
            ("expect.1 == 0", Pass, "0"),
        ];
        for (text, status, observed) in table {
            assert_eq!(answer(text, &tally), judged(status, observed), "{text}");
        }
    }

    #[test]
    fn m21_what_was_met_after_the_window_is_in_no_rate() {
        let mut tally = PhaseTally::default();
        end(&mut tally, Outcome::Accepted, [1; 100]);
        tally.expects.insert(1, Covered { count: 45, drained: 25 });
        for (step, at) in [(Step::Mail, 1), (Step::Mail, 9), (Step::Rcpt, 11), (Step::Rcpt, 12)] {
            tally.condition(busy(step), Duration::from_secs(at), at > 10, String::new);
        }
        for (text, status, observed) in [
            ("condition.resource-low rate == 0.2/s", Pass, "0.2/s"),
            ("condition.resource-low rate >= 0.4/s", Fail, "0.2/s"),
            ("condition.resource-low == 4", Pass, "4"),
            ("condition.resource-low rate == 4%", Pass, "4 %"),
            ("expect.per-host rate == 2/s", Pass, "2/s"),
            ("expect.per-host == 45", Pass, "45"),
        ] {
            assert_eq!(answer(text, &tally), judged(status, observed), "{text}");
        }
        // Over two phases, and over two workers of one.
        let expr = Assertion::parse("condition.resource-low rate == 0.2/s").unwrap().expr;
        let mut both = Evidence::gather(&expr, &[], &tally, Duration::from_secs(10));
        both.add(&Evidence::gather(&expr, &[], &tally, Duration::from_secs(10)));
        assert_eq!(both.answer(&expr).observed, "0.2/s");
        let mut sum = tally.clone();
        sum += &tally;
        assert_eq!(
            Evidence::gather(&expr, &[], &sum, Duration::from_secs(20)).answer(&expr).observed,
            "0.2/s"
        );
    }

    #[test]
    fn nothing_is_no_data() {
        let none = PhaseTally::default();
        assert_eq!(answer("accepted > 0", &none), judged(NoData, "no arrivals"));
        assert_eq!(answer("shed == 0", &none), judged(NoData, "no arrivals"));
        assert_eq!(answer("unexpected rate < 1%", &none).0, NoData);
        assert_eq!(answer("accepted rate > 1/s", &none), judged(Fail, "0/s"));
        let expr = Assertion::parse("accepted rate > 1/s").unwrap().expr;
        assert_eq!(Evidence::default().answer(&expr).status, NoData);
    }

    #[test]
    fn times_are_written_readably() {
        let texts = [0.0, 999.0, 1500.0, 812_345_678.0, 1e9, 90e9].map(duration_text);
        assert_eq!(texts, ["0 ns", "999 ns", "1.5 us", "812.346 ms", "1 s", "90 s"]);
    }
}
