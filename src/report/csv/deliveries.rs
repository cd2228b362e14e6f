//! Adds the relay's deliveries, which a log reported after the run, to the time series of the run.
//!
//! # Decisions
//! - A recipient counts in the row of its phase. If a second has no row of that phase, the recipient counts in the last
//!   row of that second, so that the sum over the rows of a second is exact.

use std::io;
use std::ops::Range;
use std::time::Duration;

use super::{COLUMNS, plain, retries, row};
use crate::collector::delivery::Delivered;
use crate::collector::snapshot::{Gauges, Interval};
use crate::collector::tally::Tally;
use crate::report::seconds::LONGEST;

/// The columns that deliveries fill, in the order of the file.
const FILLED: [&str; 3] = ["accepted_recipients", "delivered", "queued"];

/// The start of a row, since the run's epoch, and its length.
type RowTime = (Duration, Duration);

/// Returns the time series `series` with the deliveries of each row, and with rows for the seconds of the drain. Also
/// returns the times of all its rows, each time once. `phases` are the names of the plan's phases, in order. If
/// recipients are missing, the rows last until `waited`. Deliveries with unknown times are not added.
///
/// # Errors
/// `series` is not a time series.
pub fn with_deliveries(
    series: &str,
    phases: &[String],
    delivered: &Delivered,
    waited: Duration,
) -> io::Result<(String, Vec<RowTime>)> {
    let mut rows = csv::Reader::from_reader(series.as_bytes());
    let titles = rows.headers().map_err(plain)?.clone();
    let place = |name: &str| {
        let found = titles.iter().position(|title| title == name);
        found.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("it has no column {name}")))
    };
    let [start_at, length_at, phase_at] = [place("t_s")?, place("length_s")?, place("phase")?];
    let filled = FILLED.map(place);
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record(&titles).map_err(plain)?;
    let (mut over, mut last) = (Duration::ZERO, 0);
    let records = rows.records().collect::<Result<Vec<_>, _>>().map_err(plain)?;
    let seconds = |record: &csv::StringRecord, at: usize| {
        let number = record.get(at).and_then(|cell| cell.parse::<f64>().ok());
        let time = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
        // A longer time is of a changed file.
        time.filter(|time| *time <= LONGEST).map(millis).unwrap_or_default()
    };
    let is_timed = delivered.phases.iter().any(|phase| !phase.seconds.is_empty());
    let phase_of = |record: &csv::StringRecord| {
        phases.iter().position(|name| Some(name.as_str()) == record.get(phase_at))
    };
    let queue = delivered.flow.levels();
    let mut times = Vec::new();
    for rows in records.chunk_by(|one, other| one.get(start_at) == other.get(start_at)) {
        let start = seconds(&rows[0], start_at);
        let length = rows.iter().map(|record| seconds(record, length_at)).max().unwrap_or_default();
        times.push((start, length));
        for (index, record) in rows.iter().enumerate() {
            let phase = phase_of(record).unwrap_or(last);
            let (mut accepted, mut came) = between(delivered, phase, start, length);
            // Recipients of a phase without its own row count in the last row.
            let others =
                (0..phases.len()).filter(|other| !rows.iter().any(|row| phase_of(row) == Some(*other)));
            for other in others.filter(|_| index + 1 == rows.len()) {
                let more = between(delivered, other, start, length);
                (accepted, came) = (accepted + more.0, came + more.1);
            }
            let known = [accepted, came, queue.at(start + length)];
            let mut cells: Vec<String> = record.iter().map(str::to_owned).collect();
            for (at, count) in filled.iter().zip(known) {
                if let Ok(at) = at {
                    cells[*at] = if is_timed { count.to_string() } else { String::new() };
                }
            }
            out.write_record(cells).map_err(plain)?;
            last = last.max(phase);
        }
        over = over.max(start + length);
    }
    // The seconds after the load get new rows.
    let end = if is_timed { end_of_wait(delivered, waited) } else { 0 };
    while over < Duration::from_secs(end) {
        let length = Duration::from_secs(over.as_secs() + 1) - over;
        for (phase, name) in phases.iter().enumerate() {
            let (awaited, came) = between(delivered, phase, over, length);
            if came + awaited == 0 && phase != last {
                continue;
            }
            let mut tally = Tally::new(phases.len());
            (tally.phases[phase].counts.awaited, tally.phases[phase].counts.delivered) = (awaited, came);
            let gauges = Gauges { queued: Some(queue.at(over + length)), ..Gauges::default() };
            let interval = Interval { start: over, length, tally, transactions: Vec::new(), gauges };
            let tally = &interval.tally.phases[phase];
            let mut cells = row(&interval, name, tally);
            if titles.len() > COLUMNS.len() {
                cells.extend(retries(&interval, tally));
            }
            out.write_record(cells).map_err(plain)?;
        }
        times.push((over, length));
        over += length;
    }
    let text = out.into_inner().map_err(csv::IntoInnerError::into_error)?;
    Ok((String::from_utf8(text).map_err(io::Error::other)?, times))
}

/// Returns the end of the last row, in seconds: the end of the second of the last delivery, or the end of the wait if
/// recipients are missing and this is later.
fn end_of_wait(delivered: &Delivered, waited: Duration) -> u64 {
    let last = delivered.phases.iter().filter_map(|phase| phase.seconds.keys().next_back()).max();
    let came = last.map_or(0, |second| second + 1);
    if delivered.counts().missing > 0 { came.max(next_second(waited)) } else { came }
}

/// Returns the seconds of the run that belong to a row with this start and length: those that begin in it.
pub fn seconds_of_row(start: Duration, length: Duration) -> Range<u64> {
    let (first, end) = (next_second(start), next_second(start + length));
    first..end.max(first)
}

fn next_second(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Returns a time rounded to milliseconds, the precision of the file.
fn millis(time: Duration) -> Duration {
    Duration::from_millis((time.as_secs_f64() * 1e3).round() as u64)
}

/// Returns the numbers of recipients of a phase that were accepted and delivered in a row.
fn between(delivered: &Delivered, phase: usize, start: Duration, length: Duration) -> (u64, u64) {
    let Some(phase) = delivered.phases.get(phase) else { return (0, 0) };
    let seconds = phase.seconds.range(seconds_of_row(start, length));
    seconds.fold((0, 0), |sum, (_, second)| (sum.0 + second.accepted, sum.1 + second.delivered))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collector::delivery::{DeliverySecond, PhaseDelivery};
    use crate::collector::flow::Flow;
    use crate::report::csv::TimeSeries;

    #[test]
    fn the_seconds_of_the_load_are_filled_and_those_of_the_drain_follow() {
        let phases = ["warm".to_owned(), "main".to_owned()];
        let mut series = TimeSeries::new(Vec::new(), phases.to_vec(), false).unwrap();
        for second in 0..2_u64 {
            let mut tally = Tally::new(2);
            tally.phases[second as usize].counts.scheduled = 3;
            let gauges = Gauges { sessions: 5, ..Gauges::default() };
            let (start, length) = (Duration::from_secs(second), Duration::from_millis(1000 - second * 400));
            series.add(&Interval { start, length, tally, transactions: Vec::new(), gauges }).unwrap();
        }
        let written = String::from_utf8(series.into_inner().unwrap()).unwrap();
        let mut delivered = Delivered::default();
        let mut flow = Flow::default();
        let at = |second: u64, ms: u64| Duration::from_millis(second * 1000 + ms);
        for (phase, accepted, came) in
            [(0, at(0, 100), at(1, 100)), (1, at(1, 200), at(1, 300)), (1, at(1, 400), at(3, 700))]
        {
            flow.accepted(accepted);
            flow.settled(came);
            delivered.phases.resize_with(2, PhaseDelivery::default);
            let seconds = &mut delivered.phases[phase].seconds;
            seconds.entry(accepted.as_secs()).or_insert_with(DeliverySecond::default).accepted += 1;
            seconds.entry(came.as_secs()).or_insert_with(DeliverySecond::default).delivered += 1;
        }
        delivered.flow = flow;
        let put = |series: &str, delivered: &Delivered, waited| {
            with_deliveries(series, &phases, delivered, waited).unwrap()
        };
        let (filled, times) = put(&written, &delivered, at(3, 750));
        let rows: Vec<(String, String)> = filled
            .lines()
            .skip(1)
            .map(|line| {
                let cells: Vec<&str> = line.split(',').collect();
                (cells[..3].join(" "), cells[29..].join(" "))
            })
            .collect();
        let row = |head: &str, tail: &str| (head.to_owned(), tail.to_owned());
        assert_eq!(
            rows,
            [
                row("0.000 1.000 warm", "1 0 1"),
                row("1.000 0.600 main", "2 2 1"),
                row("1.600 0.400 main", "0 0 1"),
                row("2.000 1.000 main", "0 0 1"),
                row("3.000 1.000 main", "0 1 0"),
            ]
        );
        let starts: Vec<u128> = times.iter().map(|(start, _)| start.as_millis()).collect();
        assert_eq!(starts, [0, 1_000, 1_600, 2_000, 3_000]);
        assert_eq!(
            put(&filled, &delivered, at(3, 750)),
            (filled.clone(), times),
            "a second time changes nothing"
        );
        // A series with retries has them in each row.
        let series = TimeSeries::new(Vec::new(), phases.to_vec(), true).unwrap();
        let empty = String::from_utf8(series.into_inner().unwrap()).unwrap();
        let (of_drain, _) = put(&empty, &delivered, at(3, 750));
        assert!(
            of_drain.lines().count() > 3 && of_drain.lines().skip(1).all(|row| row.ends_with(",0,0,0,")),
            "{of_drain}"
        );
        // If recipients are missing, the rows last as long as the wait.
        let mut missing = delivered.clone();
        missing.phases[1].counts.missing = 1;
        let (_, times) = put(&written, &missing, at(5, 100));
        assert_eq!(times.last().unwrap(), &(at(5, 0), at(1, 0)));
        let unknown = Delivered { phases: vec![PhaseDelivery::default(); 2], ..Delivered::default() };
        assert_eq!(put(&written, &unknown, at(9, 0)).0, written);
        assert!(with_deliveries("no,series\n1,2\n", &phases, &delivered, at(9, 0)).is_err());
    }
}
