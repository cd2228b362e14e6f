//! Tests of `evidence`.

use super::*;
use crate::collector::effect::{EventSide, Outage};
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
    // Arrivals that are lost at once raise the percentile by at most this many ranks.
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
    assert_eq!(answer("p99 < 1s", &lost), judged(NoData, ">= 990 ns"), "it is among those that were lost");
    assert_eq!(answer("mean < 1us", &tally), judged(Fail, ">= 300.009 us"));
    assert_eq!(answer("response count == 900", &tally).0, Pass);
    assert_eq!(answer("response[timed-out] p90 < 4ms", &tally), judged(Pass, "3 ms"));
    let mut hung = PhaseTally::default();
    end(&mut hung, Outcome::Interrupted, [7; 50]);
    assert_eq!(answer("min > 9ns", &hung), judged(NoData, ">= 7 ns"));
    assert_eq!(answer("p90 < 5ns", &hung), judged(Fail, ">= 7 ns"));
}

/// The histogram knows a percentile to its bucket only, so a percentile misses a bound only if its whole bucket does.
#[test]
fn m16_a_percentile_on_the_bound_keeps_it() {
    const TWO: u64 = 2_000_000_000;
    let mut on = PhaseTally::default();
    end(&mut on, Outcome::Accepted, [TWO; 1000]);
    end(&mut on, Outcome::Accepted, [3_000_000_000]);
    let at = "2 s within 0.1 %";
    for (text, status, observed) in [
        ("p99 <= 2s", Pass, at),
        ("p99 >= 2s", Pass, at),
        ("p99 == 2s", Pass, at),
        ("p99 <= 1998ms", Fail, "2.001 s"),
        ("p99 >= 2002ms", Fail, "2.001 s"),
        ("p99 == 2002ms", Fail, "2.001 s"),
        ("p99 != 2002ms", Pass, "2.001 s"),
        ("p99 <= 2002ms", Pass, "2.001 s"),
        ("max <= 3s", Pass, "3 s"),
        ("max < 3s", Fail, "3 s"),
        ("min == 2s", Pass, "2 s"),
        ("min > 2s", Fail, "2 s"),
    ] {
        assert_eq!(answer(text, &on), judged(status, observed), "{text}");
    }
    // A percentile that is the greatest value is exact.
    let mut above = PhaseTally::default();
    end(&mut above, Outcome::Accepted, [TWO + 100_000; 1000]);
    assert_eq!(answer("p99 <= 2s", &above).0, Fail);
    assert_eq!(answer("p99 > 2s", &above).0, Pass);
    // Both bounds of a percentile among arrivals without an end are known to their buckets.
    let mut lost = PhaseTally::default();
    end(&mut lost, Outcome::Accepted, [TWO; 880]);
    end(&mut lost, Outcome::Accepted, [3_000_000_000; 80]);
    end(&mut lost, Outcome::TimedOut, [1; 40]);
    assert_eq!(answer("p90 >= 2s", &lost).0, Pass);
    assert_eq!(answer("p90 <= 2s", &lost).0, NoData, "the upper bound is 3 s");
}

/// Returns the condition of a 452 at this step.
fn busy(step: Step) -> ConditionKey {
    ConditionKey {
        step,
        condition: Condition::ResourceLow,
        code: Some(452),
        enhanced: None,
        outcome: Outcome::Deferred,
    }
}

fn row(count: u64) -> ConditionCount {
    ConditionCount { count, drained: 0, first: Duration::ZERO, last: Duration::ZERO, sample: String::new() }
}

#[test]
fn the_share_of_what_was_expected_is_a_share_of_refusals() {
    let mut tally = PhaseTally::default();
    // Messages of a closed load that were all accepted, while sessions were refused; some of them as expected.
    end(&mut tally, Outcome::Accepted, [1; 100]);
    tally.expects.insert(1, Covered { count: 45, drained: 0 });
    tally.conditions.insert(busy(Step::Greeting), row(15));
    let expected = ConditionKey { outcome: Outcome::Expected, ..busy(Step::Greeting) };
    tally.conditions.insert(expected, row(45));
    assert_eq!(answer("expect.per-host rate >= 80%", &tally), judged(Fail, "75 %"));
    // Arrivals that the end of the run cut off are no refusals.
    end(&mut tally, Outcome::Interrupted, [1; 15]);
    assert_eq!(answer("expect.per-host rate >= 75%", &tally), judged(Pass, "75 %"));
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
    tally.conditions.insert(busy(Step::Rcpt), row(8));
    tally.conditions.insert(busy(Step::Mail), row(7));
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
        ("condition.resource-low == 15", Pass, "15"),
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
    (tally.counts.retry.retries, tally.counts.retry.possibly_doubled) = (60, 3);
    (tally.counts.drained.started, tally.counts.drained.retries) = (20, 20);
    tally.counts.drained.possibly_doubled = 2;
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
        ("attempts rate == 12/s", Pass, "12/s"),
        ("attempts == 160", Pass, "160"),
        ("retries rate < 4.1/s", Pass, "4/s"),
        ("retries == 60", Pass, "60"),
        ("possibly_doubled rate == 0.1/s", Pass, "0.1/s"),
        ("possibly_doubled == 3", Pass, "3"),
    ] {
        assert_eq!(answer(text, &tally), judged(status, observed), "{text}");
    }
    // Over two phases, and over two workers of one phase.
    let expr = Assertion::parse("condition.resource-low rate == 0.2/s").unwrap().expr;
    let mut both = Evidence::gather(&expr, &[], &tally, Duration::from_secs(10));
    both.add(&Evidence::gather(&expr, &[], &tally, Duration::from_secs(10)));
    assert_eq!(both.answer(&expr).observed, "0.2/s");
    let mut sum = tally.clone();
    sum += &tally;
    assert_eq!(Evidence::gather(&expr, &[], &sum, Duration::from_secs(20)).answer(&expr).observed, "0.2/s");
}

#[test]
fn a_small_rate_is_not_shown_as_none() {
    let mut tally = PhaseTally::default();
    end(&mut tally, Outcome::Accepted, [1; 2]);
    let expr = Assertion::parse("accepted rate >= 1/h").unwrap().expr;
    let observed = |s| {
        let found = Evidence::gather(&expr, &[], &tally, Duration::from_secs(s)).answer(&expr);
        (found.status, found.observed)
    };
    assert_eq!(observed(7000), judged(Pass, "0.000286/s"));
    assert_eq!(observed(9600), judged(Fail, "0.000208/s"));
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

#[test]
fn a_time_of_an_event_holds_only_if_it_does_wherever_between_its_bounds_it_lies() {
    let s = Duration::from_secs;
    let status = |text: &str, outage: Option<(u64, Option<u64>)>, recovery: EventRecovery| {
        let outage = outage.map(|(length, most)| Outage {
            from: s(20),
            to: s(20 + length),
            at_most: most.map(s),
            failed: 7,
        });
        let effect =
            EventEffect { before: EventSide::default(), after: EventSide::default(), outage, recovery };
        let expr = Assertion::parse(text).unwrap().expr;
        let Subject::Event(_, measure) = &expr.subject else { panic!("{text}") };
        of_event(&expr, *measure, &effect).status
    };
    let after = || EventRecovery::After(s(3));
    for (text, outage, expected) in [
        ("event.a.outage < 5s", None, Pass),
        ("event.a.outage < 5s", Some((3, Some(3))), Pass),
        ("event.a.outage < 5s", Some((6, Some(6))), Fail),
        // There was no attempt in between, or no arrival was accepted any more.
        ("event.a.outage < 5s", Some((3, Some(30))), NoData),
        ("event.a.outage < 5s", Some((3, None)), NoData),
        ("event.a.outage < 5s", Some((6, None)), Fail),
        ("event.a.outage > 1s", Some((3, None)), Pass),
    ] {
        assert_eq!(status(text, outage, after()), expected, "{text}: {outage:?}");
    }
    for (recovery, expected) in [
        (after(), Pass),
        (EventRecovery::After(s(11)), Fail),
        (EventRecovery::NotWithin(s(12)), Fail),
        // The recovery may have come just after the end of the run.
        (EventRecovery::NotWithin(s(4)), NoData),
        (EventRecovery::Unknown("nothing was accepted before the event".to_owned()), NoData),
    ] {
        assert_eq!(status("event.a.recovery < 10s", None, recovery.clone()), expected, "{recovery:?}");
    }
}

#[test]
fn a_time_of_another_machines_clock_holds_only_if_it_does_wherever_within_the_bound_it_lies() {
    let mut tally = PhaseTally::default();
    for metric in [Metric::Transit, Metric::Response] {
        let hist: &mut Hist = tally.hists.entry((metric, Outcome::Accepted)).or_default();
        (0..100).for_each(|_| hist.record(100_000_000));
    }
    let phase = PhaseDelivery { drain: Some(Duration::from_millis(100)), ..PhaseDelivery::default() };
    let bound = Duration::from_millis(2);
    let judge = |text: &str, clock: ClockRelation| {
        let expr = Assertion::parse(text).unwrap().expr;
        if expr.subject.is_behind_relay() {
            let delivered = Delivered { clock, ..Delivered::default() };
            return behind_relay(&expr, &delivered, &[(&phase, Duration::from_secs(10))]);
        }
        Evidence::gather(&expr, &[], &tally, Duration::from_secs(10)).answer_by(&expr, clock)
    };
    let other = ClockRelation::Offset { ahead_ns: 40, bound };
    for subject in ["transit max", "drain"] {
        for (limit, by_ours, by_other) in [
            ("< 101ms", Pass, NoData),
            ("< 103ms", Pass, Pass),
            ("< 99ms", Fail, NoData),
            ("< 97ms", Fail, Fail),
        ] {
            let text = format!("{subject} {limit}");
            assert_eq!(judge(&text, ClockRelation::Same).status, by_ours, "{text}");
            assert_eq!(judge(&text, other).status, by_other, "{text}");
        }
        assert_eq!(judge(&format!("{subject} < 103ms"), other).observed, "98 ms to 102 ms");
    }
    assert_eq!(judge("response max < 101ms", other).status, Pass, "of one clock alone");
}
