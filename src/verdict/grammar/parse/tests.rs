//! Tests of every valid form, and of the error for every mistake.

use proptest::prelude::*;

use super::*;
use crate::smtp::Step;
use crate::verdict::Assertion;

fn read(text: &str) -> (Subject, Aggregate, Operator, f64) {
    let found = expr(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    (found.subject, found.aggregate, found.operator, found.value)
}

fn accepted(metric: Metric) -> Subject {
    Subject::Latency(metric, Some(Outcome::Accepted))
}

#[test]
fn latencies_are_read() {
    let response = accepted(Metric::Response);
    let p99 = Aggregate::Quantile(0.99);
    assert_eq!(read("response p99 < 800ms"), (response.clone(), p99, Operator::Less, 800e6));
    assert_eq!(read("p99<500ms"), (response.clone(), p99, Operator::Less, 500e6));
    assert_eq!(read(" max  <= 1.5 s "), (response.clone(), Aggregate::Max, Operator::AtMost, 1.5e9));
    assert_eq!(read("response mean != 3us"), (response.clone(), Aggregate::Mean, Operator::Unequal, 3e3));
    assert_eq!(read("response count >= 10k"), (response, Aggregate::Count, Operator::AtLeast, 10e3));
    let deferred = Subject::Latency(Metric::Response, Some(Outcome::Deferred));
    assert_eq!(read("response[deferred] p99 < 2m"), (deferred, p99, Operator::Less, 120e9));
    let timed_out = Subject::Latency(Metric::Service, Some(Outcome::TimedOut));
    assert_eq!(read("service[timed_out] min > 1h").0, timed_out);
    let body = accepted(Metric::Step(Step::Body));
    assert_eq!(read("step.body p99.9 < 7µs"), (body, Aggregate::Quantile(0.999), Operator::Less, 7e3));
    assert_eq!(read("lag p99 < 5ms").0, Subject::Latency(Metric::Lag, None));
    assert_eq!(read("wait[accepted] max == 5ns").0, accepted(Metric::Wait));
    for (name, q) in [("p50", 0.5), ("p99.99", 0.9999), ("p99.999", 0.99999), ("p7", 0.07)] {
        assert_eq!(read(&format!("{name} < 1s")).1, Aggregate::Quantile(q));
    }
}

#[test]
fn counts_and_rates_are_read() {
    use Aggregate::{Count, PerSecond, Share};
    assert_eq!(read("accepted > 0"), (Subject::Arrivals(Outcome::Accepted), Count, Operator::Greater, 0.0));
    assert_eq!(read("in-doubt == 0").0, Subject::Arrivals(Outcome::InDoubt));
    assert_eq!(
        read("timed_out count < 2m"),
        (Subject::Arrivals(Outcome::TimedOut), Count, Operator::Less, 2e6)
    );
    let (subject, aggregate, _, value) = read("unexpected rate < 0.1%");
    assert_eq!((subject, aggregate), (Subject::Unexpected, Share));
    assert_eq!(value, 0.001);
    assert_eq!(read("unexpected rate == 1.1%").3, 11.0 / 1000.0, "a share of just that is equal");
    let (_, aggregate, operator, value) = read("accepted rate >= 380/s");
    assert_eq!((aggregate, operator, value), (PerSecond, Operator::AtLeast, 380.0));
    assert_eq!(read("accepted rate >= 120/m").3, 2.0);
    assert_eq!(read("accepted >= 1.5k/s").1, PerSecond);
    assert_eq!(read("unexpected <= 1 %").1, Share);
    assert_eq!(read("scheduled == 12000").0, Subject::Scheduled);
    assert_eq!(read("started rate == 100%").0, Subject::Started);
    assert_eq!(read("transactions.accepted > 1").0, Subject::Transactions(Outcome::Accepted));
    assert_eq!(read("transactions.attempted > 1").0, Subject::Attempted);
    assert_eq!(read("condition.resource-low == 0").0, Subject::Condition(Condition::ResourceLow));
    assert_eq!(read("expect.per-host rate >= 99%").0, Subject::Expect("per-host".to_owned()));
}

#[test]
fn every_mistake_is_underlined_and_the_nearest_word_named() {
    // By column: the expression, the underlined piece (empty if something is missing there), a part of the message, and
    // the nearest word.
    let table = [
        ("", "", "empty", None),
        ("respnse p99 < 1s", "respnse", "unknown name", Some("response")),
        ("step.bdy p99 < 1s", "step.bdy", "unknown name", Some("step.body")),
        ("step.idle p99 < 1s", "step.idle", "unknown name", Some("step.tls")),
        (
            "condition.resource-lo > 1",
            "condition.resource-lo",
            "unknown name",
            Some("condition.resource-low"),
        ),
        ("transactions.acepted > 1", "transactions.acepted", "unknown name", Some("transactions.accepted")),
        ("expect. > 1", "expect.", "unknown name", Some("expected")),
        ("xyzzy > 1", "xyzzy", "unknown name `xyzzy`", None),
        ("response[defered] p99 < 1s", "defered", "unknown outcome", Some("deferred")),
        ("response[deferred p99 < 1s", "[deferred", "not closed", None),
        ("accepted[deferred] > 1", "[deferred]", "takes no outcome", None),
        ("response < 1s", "response", "needs an aggregate", None),
        ("response p99. < 1s", "p99.", "unknown aggregate", Some("p99.9")),
        ("response p100 < 1s", "p100", "unknown aggregate", Some("max")),
        ("response p0 < 1s", "p0", "unknown aggregate", Some("min")),
        ("response p99. < 1s", "p99.", "unknown aggregate", Some("p99.9")),
        ("response avg < 1s", "avg", "unknown aggregate", Some("mean")),
        ("response median < 1s", "median", "unknown aggregate", Some("p50")),
        ("response rate < 5/s", "rate", "only what is counted", Some("accepted rate 5/s")),
        ("accepted p99 < 1s", "p99", "counted, not timed", None),
        ("accepted cout > 1", "cout", "unknown aggregate", Some("count")),
        ("response p99 foo < 1s", "foo", "expected an operator before", None),
        ("response p99 800ms", "800ms", "expected an operator before", None),
        ("response p99", "", "operator is missing", None),
        ("< 800ms", "", "the subject is missing", None),
        ("response p99 = 1s", "=", "unknown operator", Some("==")),
        ("response p99 => 1s", "=>", "unknown operator", Some(">=")),
        ("response p99 =< 1s", "=<", "unknown operator", Some("<=")),
        ("accepted <> 1", "<>", "unknown operator", Some("!=")),
        ("accepted === 1", "===", "unknown operator", None),
        ("response p99 <", "", "value is missing", None),
        ("response p99 < fast", "fast", "expected a number", None),
        ("response p99 < -1s", "-1s", "expected a number", None),
        ("response p99 < 1.2.3s", "1.2.3", "no number", None),
        ("response p99 < 800", "", "expected a time", Some("800ms")),
        ("response p99 < 800msec", "msec", "expected a time", Some("800ms")),
        ("response p99 < 5%", "%", "expected a time", None),
        ("accepted > 5ms", "ms", "expected a plain number", Some("5m")),
        ("response count > 5s", "s", "expected a plain number", None),
        ("accepted rate > 380", "", "expected a rate", Some("380/s")),
        ("accepted rate > 380/sec", "/sec", "expected a rate", Some("380/s")),
        ("response p99 < 1s or so", "or", "expected nothing after", None),
        ("response p99 < 1 s x", "x", "expected nothing after", None),
        ("accepted > 1 < 2", "<", "expected nothing after", None),
    ];
    for (text, piece, message, near) in table {
        let error = expr(text).expect_err(text);
        assert_eq!(&text[error.span.clone()], piece, "{text}: {error}");
        assert!(error.message.contains(message), "{text}: {error}");
        assert_eq!(error.nearest.as_deref(), near, "{text}: {error}");
    }
    let error = expr("acepted > 1").unwrap_err();
    assert_eq!(error.to_string(), "unknown name `acepted`; did you mean `accepted`?");
    let endless = format!("accepted < {}", "9".repeat(400));
    assert!(expr(&endless).unwrap_err().message.contains("no number"));
    assert_eq!(expr("response p99 <").unwrap_err().span, 14..14);
    assert_eq!(expr("response p99 < 800").unwrap_err().span, 18..18);
}

#[test]
fn the_built_in_assertions_are_ours() {
    let texts: Vec<String> = Assertion::builtin().iter().map(|a| a.expr.to_string()).collect();
    assert_eq!(texts, ["accepted > 0", "shed == 0", "done rate == 100%", "unexpected rate <= 1%"]);
    assert!(Assertion::builtin().iter().all(|a| a.builtin));
    assert!(!Assertion::parse("accepted > 0").unwrap().builtin);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_with_a_place_inside_it(text in "[ a-z0-9.<>=!%/µ\\[\\]p-]{0,40}") {
        if let Err(error) = expr(&text) {
            prop_assert!(text.get(error.span.clone()).is_some(), "{:?} of {text:?}", error.span);
            prop_assert!(!error.message.is_empty());
        }
    }

    #[test]
    fn every_subject_with_an_aggregate_of_its_kind_is_read(index in 0_usize..200, number in 0_u32..100_000) {
        let names: Vec<String> = subjects("event.crash.").collect();
        let name = &names[index % names.len()];
        let timed = name.parse::<Metric>().is_ok();
        let (tail, factor) = match name.as_str() {
            // `done` takes only a share.
            "done" => (format!("rate < {number}%"), 0.01),
            // `amplification` takes only a plain number.
            "amplification" => (format!("< {number}"), 1.0),
            // The measure is part of the name, behind a space.
            "queued max" => (format!("< {number}"), 1.0),
            name if name == "drain" || name.starts_with("event.") => (format!("< {number}ms"), 1e6),
            _ if timed => (format!("p99 < {number}ms"), 1e6),
            _ => (format!("rate < {number}/s"), 1.0),
        };
        let found = expr(&format!("{name} {tail}")).unwrap();
        prop_assert!((found.value - f64::from(number) * factor).abs() <= 1e-9 * found.value);
    }
}
