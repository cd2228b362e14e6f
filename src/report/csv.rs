//! `timeseries.csv`: one row for each second of a phase, written during the run.
//!
//! Counts are those of the row's interval. `sessions`, `in_flight` and `waiting` show the state of the whole run at the
//! end of the interval. Times are those of accepted arrivals that ended in the interval; a cell is empty if there are
//! too few values (M18). With a receiver behind the relay, `accepted_recipients` and `delivered` count recipients, and
//! `queued` is the length of the relay's queue; without a receiver these cells are empty. If messages are tried again,
//! there are four more columns. `retries` counts the retries that started. `attempts_failed` counts the attempts that
//! ended neither accepted nor expected. `retrying` is the number of messages that wait for their next attempt.
//! `amplification` is the number of attempts for each message that started; it is empty if no message started.

mod deliveries;

use std::io::{self, Write};

use crate::collector::histogram::{Hist, Quantile, Status};
use crate::collector::snapshot::Interval;
use crate::collector::tally::{PhaseTally, RetryCounts};
use crate::collector::{Metric, Outcome};

pub use deliveries::{seconds_of_row, with_deliveries};

const COLUMNS: [&str; 32] = [
    "t_s",
    "length_s",
    "phase",
    "offered",
    "started",
    "accepted",
    "expected",
    "deferred",
    "rejected",
    "refused",
    "dropped",
    "timed_out",
    "in_doubt",
    "malformed",
    "interrupted",
    "shed",
    "opened",
    "sessions",
    "in_flight",
    "waiting",
    "response_p50_ms",
    "response_p90_ms",
    "response_p99_ms",
    "response_max_ms",
    "service_p50_ms",
    "service_p99_ms",
    "service_max_ms",
    "bytes_sent",
    "bytes_received",
    "accepted_recipients",
    "delivered",
    "queued",
];

/// The additional columns for retries.
const RETRY_COLUMNS: [&str; 4] = ["retries", "attempts_failed", "retrying", "amplification"];

/// Writes the time series of a run.
#[derive(Debug)]
pub struct TimeSeries<W: Write> {
    rows: csv::Writer<W>,
    phases: Vec<String>,
    has_retries: bool,
    /// The last phase in which something was counted. This phase also has rows for seconds without counts, so that a
    /// stall is visible.
    current: Option<usize>,
}

impl<W: Write> TimeSeries<W> {
    /// Creates the writer and writes the titles of the columns. `phases` are the names of the plan's phases, in order.
    /// `has_retries`: messages are tried again.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(out: W, phases: Vec<String>, has_retries: bool) -> io::Result<TimeSeries<W>> {
        let mut rows = csv::Writer::from_writer(out);
        let more: &[&str] = if has_retries { &RETRY_COLUMNS } else { &[] };
        rows.write_record(COLUMNS.iter().chain(more)).map_err(plain)?;
        Ok(TimeSeries { rows, phases, has_retries, current: None })
    }

    /// Writes the rows of an interval.
    ///
    /// # Errors
    /// The output's errors.
    pub fn add(&mut self, interval: &Interval) -> io::Result<()> {
        let phases = &interval.tally.phases;
        self.current = self.current.max(phases.iter().rposition(is_active));
        for (i, tally) in phases.iter().enumerate() {
            if is_active(tally) || self.current == Some(i) {
                let name = self.phases.get(i).map_or("", String::as_str);
                let mut cells = row(interval, name, tally);
                cells.extend(self.has_retries.then(|| retries(interval, tally)).into_iter().flatten());
                self.rows.write_record(cells).map_err(plain)?;
            }
        }
        Ok(())
    }

    /// Flushes the output.
    ///
    /// # Errors
    /// The output's errors.
    pub fn flush(&mut self) -> io::Result<()> {
        self.rows.flush()
    }

    /// Returns the output after everything is written.
    ///
    /// # Errors
    /// The output's errors.
    pub fn into_inner(self) -> io::Result<W> {
        self.rows.into_inner().map_err(csv::IntoInnerError::into_error)
    }
}

impl TimeSeries<Vec<u8>> {
    /// Returns a copy that continues in memory.
    ///
    /// # Errors
    /// Writing to memory does not fail.
    pub fn copy(&mut self) -> io::Result<TimeSeries<Vec<u8>>> {
        self.rows.flush()?;
        let rows = csv::Writer::from_writer(self.rows.get_ref().clone());
        let TimeSeries { has_retries, current, .. } = *self;
        Ok(TimeSeries { rows, phases: self.phases.clone(), has_retries, current })
    }
}

/// Converts an error of the CSV library to an I/O error of the same kind, so that a full disk is still known as one.
pub(super) fn plain(error: csv::Error) -> io::Error {
    let words = error.to_string();
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        _ => io::Error::other(words),
    }
}

fn is_active(tally: &PhaseTally) -> bool {
    let counts = &tally.counts;
    counts.scheduled > 0
        || counts.started > 0
        || counts.arrivals.ended() > 0
        || counts.opened > 0
        || counts.awaited > 0
        || counts.delivered > 0
        || counts.retry.attempts.ended() > 0
}

fn row(interval: &Interval, phase: &str, tally: &PhaseTally) -> Vec<String> {
    let counts = &tally.counts;
    let mut row = vec![
        format!("{:.3}", interval.start.as_secs_f64()),
        format!("{:.3}", interval.length.as_secs_f64()),
        phase.to_owned(),
        counts.scheduled.to_string(),
        counts.started.to_string(),
    ];
    row.extend(Outcome::ALL.map(|outcome| counts.arrivals.of(outcome).to_string()));
    row.push(counts.opened.to_string());
    let gauges = &interval.gauges;
    row.extend([gauges.sessions, gauges.in_flight, gauges.waiting].map(|n| n.to_string()));
    row.extend(times(tally.hists.get(&(Metric::Response, Outcome::Accepted)), &[0.5, 0.9, 0.99]));
    row.extend(times(tally.hists.get(&(Metric::Service, Outcome::Accepted)), &[0.5, 0.99]));
    row.extend([counts.bytes_sent, counts.bytes_received].map(|n| n.to_string()));
    // Without a receiver behind the relay these counts are unknown.
    row.extend(match gauges.queued {
        Some(queued) => [counts.awaited, counts.delivered, queued].map(|n| n.to_string()),
        None => [const { String::new() }; 3],
    });
    row
}

/// Returns the cells for retries.
fn retries(interval: &Interval, tally: &PhaseTally) -> [String; 4] {
    let RetryCounts { retries, attempts, .. } = tally.counts.retry;
    let messages = tally.counts.started;
    let amplification = match messages {
        0 => String::new(),
        _ => format!("{:.3}", (messages + retries) as f64 / messages as f64),
    };
    let failed = attempts.unexpected();
    [retries.to_string(), failed.to_string(), interval.gauges.retrying.to_string(), amplification]
}

/// Returns the quantiles and the maximum in milliseconds; empty if there are too few values.
fn times(hist: Option<&Hist>, qs: &[f64]) -> Vec<String> {
    let Some(hist) = hist.filter(|hist| !hist.is_empty()) else {
        return vec![String::new(); qs.len() + 1];
    };
    let known = |quantile: &Quantile| match quantile.status {
        Status::NotAvailable => String::new(),
        _ => milliseconds(quantile.value_ns),
    };
    hist.quantiles(qs).iter().map(known).chain([milliseconds(hist.max_ns())]).collect()
}

fn milliseconds(ns: u64) -> String {
    format!("{:.3}", ns as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::collector::snapshot::Gauges;
    use crate::collector::tally::Tally;

    /// Returns the second `t`, in which `n` arrivals of phase `phase` are accepted, 1 ms to n ms after their scheduled
    /// time.
    fn second(t: u64, phase: usize, n: u64) -> Interval {
        let mut tally = Tally::new(2);
        let own = &mut tally.phases[phase];
        own.counts.scheduled = n;
        own.counts.started = n;
        for i in 1..=n {
            own.counts.arrivals.add(Outcome::Accepted);
            own.hists.entry((Metric::Response, Outcome::Accepted)).or_default().record(i * 1_000_000);
        }
        Interval {
            transactions: Vec::new(),
            start: Duration::from_secs(t),
            length: Duration::from_secs(1),
            tally,
            gauges: Gauges { sessions: 7, in_flight: 5, waiting: 3, ..Gauges::default() },
        }
    }

    fn written(intervals: &[Interval]) -> String {
        let mut series = TimeSeries::new(Vec::new(), vec!["one, two".into(), "b".into()], false).unwrap();
        for interval in intervals {
            series.add(interval).unwrap();
        }
        String::from_utf8(series.into_inner().unwrap()).unwrap()
    }

    #[test]
    fn rows_hold_the_counts_and_only_the_times_that_can_be_told() {
        let text = written(&[second(0, 0, 100)]);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let titles = reader.headers().unwrap().clone();
        let row = reader.records().next().unwrap().unwrap();
        let cell = |name: &str| &row[titles.iter().position(|title| title == name).unwrap()];
        assert_eq!((cell("phase"), cell("offered"), cell("accepted")), ("one, two", "100", "100"));
        assert_eq!((cell("sessions"), cell("in_flight"), cell("waiting")), ("7", "5", "3"));
        assert!((49.9..50.2).contains(&cell("response_p50_ms").parse::<f64>().unwrap()));
        assert_eq!((cell("response_p99_ms"), cell("response_max_ms")), ("", "100.000"));
        assert_eq!((cell("service_p50_ms"), cell("service_max_ms")), ("", ""));
    }

    #[test]
    fn messages_that_are_tried_again_have_columns_of_their_own() {
        let mut first = second(0, 0, 4);
        let retry = &mut first.tally.phases[0].counts.retry;
        retry.retries = 6;
        retry.attempts.add_many(Outcome::Deferred, 7);
        retry.attempts.add_many(Outcome::Accepted, 3);
        first.gauges.retrying = 9;
        let mut only_retries = second(1, 0, 0);
        only_retries.tally.phases[0].counts.retry = first.tally.phases[0].counts.retry;
        let mut series = TimeSeries::new(Vec::new(), vec!["a".into(), "b".into()], true).unwrap();
        series.add(&first).unwrap();
        series.add(&only_retries).unwrap();
        let text = String::from_utf8(series.into_inner().unwrap()).unwrap();
        let ends: Vec<String> = text
            .lines()
            .map(|line| {
                line.split(',')
                    .rev()
                    .take(4)
                    .collect::<Vec<_>>()
                    .into_iter()
                    .rev()
                    .collect::<Vec<_>>()
                    .join(",")
            })
            .collect();
        assert_eq!(ends, ["retries,attempts_failed,retrying,amplification", "6,7,9,2.500", "6,7,0,"]);
    }

    #[test]
    fn a_full_disk_is_still_known_as_one() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut series = TimeSeries::new(Full, vec!["a".into(), "b".into()], false).unwrap();
        let failed = (0..1000).find_map(|t| series.add(&second(t, 0, 1)).err()).unwrap();
        assert_eq!(failed.kind(), io::ErrorKind::StorageFull);
        assert_eq!(series.into_inner().err().unwrap().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn what_comes_out_in_a_later_phase_has_its_row() {
        let mut later = second(1, 1, 2);
        later.tally.phases[0].counts.delivered = 3;
        later.tally.phases[1].counts.awaited = 2;
        later.gauges.queued = Some(9);
        let text = written(&[second(0, 0, 3), later]);
        let ends: Vec<String> =
            text.lines().map(|line| line.rsplitn(4, ',').take(3).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(ends, ["queued delivered accepted_recipients", "  ", "9 3 0", "9 0 2"]);
    }

    #[test]
    fn a_silent_second_of_the_current_phase_has_its_row() {
        let text =
            written(&[second(0, 0, 1), second(1, 0, 0), second(2, 1, 1), second(3, 1, 0), second(4, 0, 1)]);
        let rows: Vec<&str> =
            text.lines().skip(1).map(|line| line.split(",1.000,").next().unwrap()).collect();
        assert_eq!(rows, ["0.000", "1.000", "2.000", "3.000", "4.000", "4.000"]);
    }
}
