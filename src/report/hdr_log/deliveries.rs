//! Adds the transit and delivery times, which a delivery log reported after the run, to the interval log of the run.

use std::io::{self, BufRead, Write};
use std::time::Duration;

use super::IntervalLog;
use crate::collector::Outcome;
use crate::collector::delivery::Delivered;
use crate::collector::delivery_times::TIMES;
use crate::collector::snapshot::{Gauges, Interval};
use crate::collector::tally::Tally;
use crate::report::csv::seconds_of_row;

/// Copies an interval log and adds these times of deliveries; times of deliveries in `log` are not copied. `rows` are the
/// start and the length of each row of the time series. A second belongs to the row in which it starts.
///
/// # Errors
/// Those of both files.
pub fn with_times(
    log: impl BufRead,
    mut out: impl Write,
    phases: &[String],
    rows: &[(Duration, Duration)],
    delivered: &Delivered,
) -> io::Result<()> {
    let mut rows = rows.iter().peekable();
    for line in log.lines() {
        let line = line?;
        if is_of_delivery(&line) {
            continue;
        }
        let Some(at) = start(&line) else {
            writeln!(out, "{line}")?;
            continue;
        };
        while let Some((start, length)) = rows.next_if(|(start, _)| millis(*start) < at) {
            add(&mut out, phases, *start, *length, delivered)?;
        }
        writeln!(out, "{line}")?;
    }
    rows.try_for_each(|(start, length)| add(&mut out, phases, *start, *length, delivered))
}

/// Adds the times of one row.
fn add(
    out: &mut impl Write,
    phases: &[String],
    start: Duration,
    length: Duration,
    delivered: &Delivered,
) -> io::Result<()> {
    let mut tally = Tally::new(phases.len());
    for (own, phase) in tally.phases.iter_mut().zip(&delivered.phases) {
        for (_, packed) in phase.times.range(seconds_of_row(start, length)) {
            for (metric, hist) in TIMES.into_iter().zip(packed.hists()) {
                own.hists.entry((metric, Outcome::Accepted)).or_default().merge(&hist);
            }
        }
    }
    let interval = Interval { start, length, tally, transactions: Vec::new(), gauges: Gauges::default() };
    IntervalLog::resumed(out, phases).add(&interval)
}

/// Returns the tag of a line, and the rest of the line.
fn tagged(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("Tag=")?.split_once(',')
}

fn is_of_delivery(line: &str) -> bool {
    let metric = tagged(line).and_then(|(tag, _)| tag.rsplit('/').nth(1));
    TIMES.iter().any(|own| Some(own.as_str()) == metric)
}

/// Returns the start of the interval of a line, in milliseconds; `None` if the line belongs to the header.
fn start(line: &str) -> Option<u128> {
    let (_, rest) = tagged(line)?;
    let seconds: f64 = rest.split(',').next()?.parse().ok()?;
    Some(millis(Duration::try_from_secs_f64(seconds).ok()?))
}

fn millis(time: Duration) -> u128 {
    (time + Duration::from_micros(500)).as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collector::Metric;
    use crate::collector::delivery::PhaseDelivery;
    use crate::collector::delivery_times::TimesBySecond;

    #[test]
    fn times_stand_behind_the_others_of_their_second_and_replace_earlier_ones() {
        let phases = ["warm up".to_owned(), "main".to_owned()];
        let mut log = IntervalLog::new(Vec::new(), &phases, Duration::from_secs(9)).unwrap();
        for second in 0..3 {
            let mut tally = Tally::new(2);
            let hists = &mut tally.phases[1].hists;
            for metric in [Metric::Response, Metric::Transit, Metric::Delivery] {
                hists.entry((metric, Outcome::Accepted)).or_default().record(7);
            }
            let (start, length) = (Duration::from_secs(second), Duration::from_secs(1));
            let gauges = Gauges::default();
            log.add(&Interval { start, length, tally, transactions: Vec::new(), gauges }).unwrap();
        }
        let log = log.into_inner();
        let (mut first, mut second) = (TimesBySecond::default(), TimesBySecond::default());
        let time = Duration::from_millis;
        first.add(time(1_500), [time(40), time(50)]);
        second.add(time(2_100), [time(60), time(70)]);
        second.add(time(3_000), [time(80), time(90)]);
        let phase =
            |times: &TimesBySecond| PhaseDelivery { times: times.packed(), ..PhaseDelivery::default() };
        let delivered = Delivered { phases: vec![phase(&first), phase(&second)], ..Delivered::default() };
        let rows = [(0, 1_000), (1_000, 1_000), (2_000, 600), (2_600, 1_400)];
        let rows = rows.map(|(start, length)| (time(start), time(length)));
        let put = |log: &[u8]| {
            let mut out = Vec::new();
            with_times(log, &mut out, &phases, &rows, &delivered).unwrap();
            out
        };
        let filled = put(&log);
        assert_eq!(put(&filled), filled, "a second time changes nothing");
        let text = String::from_utf8(filled).unwrap();
        let lines: Vec<String> = text
            .lines()
            .filter(|line| line.starts_with("Tag="))
            .map(|line| line.split(',').take(4).collect::<Vec<_>>().join(" "))
            .collect();
        let heads: Vec<&str> = lines.iter().map(|line| line.rsplit_once(' ').unwrap().0).collect();
        assert_eq!(
            heads,
            [
                "Tag=main/response/accepted 0.000 1.000",
                "Tag=main/response/accepted 1.000 1.000",
                "Tag=warm_up/transit/accepted 1.000 1.000",
                "Tag=warm_up/delivery/accepted 1.000 1.000",
                "Tag=main/response/accepted 2.000 1.000",
                "Tag=main/transit/accepted 2.000 0.600",
                "Tag=main/delivery/accepted 2.000 0.600",
                "Tag=main/transit/accepted 2.600 1.400",
                "Tag=main/delivery/accepted 2.600 1.400",
            ],
            "{text}"
        );
        assert!(text.starts_with("#[Logged with smtpress"), "{text}");
    }
}
