//! Quantities: accepted texts, refused texts with their errors, and texts that are read again after they are written.

use super::*;
use proptest::prelude::*;

fn message<Q: Quantity + fmt::Debug>(text: &str) -> String {
    Q::read(text).unwrap_err().to_string()
}

#[test]
fn durations() {
    let millis = |text| Time::read(text).unwrap().0.as_millis();
    assert_eq!(
        [millis("10s"), millis("1m30s"), millis("2ms"), millis("0"), millis("1.5s"), millis("1h 5m")],
        [10_000, 90_000, 2, 0, 1500, 3_900_000]
    );
    assert!(message::<Time>("10").starts_with("\"10\" has no unit; write a duration such as \"10s\""));
    assert!(message::<Time>("-3s").starts_with("\"-3s\" is negative"));
    assert!(message::<Time>("4KiB").starts_with("\"4KiB\" has an unknown unit of time: \"KiB\""));
    assert!(message::<Time>("1M").contains("unit of time: \"M\""), "a month is not meant");
    assert!(message::<Time>("").contains("is no duration"));
    assert!(message::<Time>("400d").contains("longer than 365 days"));
    assert_eq!(Time::from_integer(0).unwrap(), Time::default());
    assert!(Time::from_integer(10).unwrap_err().to_string().starts_with("10 has no unit; write a duration"));
}

#[test]
fn ranges_of_time() {
    assert_eq!(
        TimeRange::read("5ms..40ms").unwrap(),
        TimeRange { min: Duration::from_millis(5), max: Duration::from_millis(40) }
    );
    assert_eq!(TimeRange::read("2ms").unwrap().to_string(), "2ms");
    assert!(message::<TimeRange>("40ms..5ms").contains("begins after its end"));
    assert!(message::<TimeRange>("5..40ms").contains("\"5\" has no unit"));
}

#[test]
fn rates() {
    let hertz = |text| Rate::read(text).unwrap().hertz();
    assert_eq!(
        [hertz("50/s"), hertz("600/min"), hertz("1k/s"), hertz("0.5/s"), hertz("7200/h")],
        [50.0, 10.0, 1000.0, 0.5, 2.0]
    );
    assert!(message::<Rate>("50").contains("has no unit of time; write a rate such as \"50/s\""));
    assert!(message::<Rate>("50/day").contains("per \"day\""));
    assert!(message::<Rate>("fast/s").contains("does not begin with a number"));
    assert!(message::<Rate>("inf/s").contains("does not begin with a number"));
    assert!(message::<Rate>("-1/s").contains("negative"));
}

#[test]
fn sizes_counts_percentages_levels_and_seeds() {
    let size = |text| Size::read(text).unwrap().0;
    assert_eq!([size("4KiB"), size("20MiB"), size("10MB"), size("77")], [4096, 20 << 20, 10_000_000, 77]);
    assert!(message::<Size>("4 parsecs").contains("is no size; write a size such as \"4KiB\""));
    let count = |text| Count::read(text).unwrap().0;
    assert_eq!([count("20k"), count("1m"), count("1.5k"), count("7")], [20_000, 1_000_000, 1500, 7]);
    assert!(message::<Count>("1.5").contains("no whole number"));
    assert!(message::<Count>("5/s").contains("is a rate, not a number"));
    assert_eq!(Percent::read("0.5%").unwrap(), Percent(0.5));
    assert!(message::<Percent>("5").contains("has no % sign"));
    assert!(matches!(Level::read("10/s"), Ok(Level::Rate(_))));
    assert!(matches!(Level::from_integer(10), Ok(Level::Sessions(Count(10)))));
    assert_eq!(Seed::read("18446744073709551615").unwrap(), Seed(u64::MAX));
    assert!(message::<Seed>("-1").contains("is no seed"));
}

fn written_again<Q: Quantity + PartialEq + fmt::Debug>(quantity: &Q) {
    assert_eq!(&Q::read(&quantity.to_string()).unwrap(), quantity);
    let pattern = regex::Regex::new(Q::PATTERN).unwrap();
    assert!(pattern.is_match(&quantity.to_string()), "{quantity} does not match {}", Q::PATTERN);
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(nanos in 0u64..10_000_000_000_000_000, n in 0u64..1 << 40, x in 0.0..1e6f64) {
        let time = Duration::from_nanos(nanos);
        written_again(&Time(time));
        written_again(&TimeRange { min: time / 2, max: time });
        written_again(&Size(n));
        written_again(&Size(n >> 20 << 20));
        written_again(&Count(n));
        written_again(&Seed(n));
        written_again(&Percent(x));
        for per in [Per::Second, Per::Minute, Per::Hour] {
            written_again(&Rate { amount: x, per });
            written_again(&Level::Rate(Rate { amount: x, per }));
        }
    }

    #[test]
    fn no_text_is_too_odd(text in "\\PC*", digits in "[0-9.kms/%-]{0,30}") {
        for text in [text, digits] {
            let _ = (Time::read(&text), TimeRange::read(&text), Rate::read(&text), Count::read(&text));
            let _ = (Size::read(&text), Percent::read(&text), Level::read(&text), Seed::read(&text));
        }
    }
}
