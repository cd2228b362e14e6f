//! `metrics.hlog`: every distribution, second by second, as an HdrHistogram interval log, version 1.3.
//!
//! A line holds one second of one tag `phase/metric/outcome`: the maximum of the interval in nanoseconds, and the
//! histogram, V2 compressed. HistogramLogProcessor and other readers of such logs accept the file.

mod deliveries;

use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;

use crate::collector::histogram::Encoder;
use crate::collector::snapshot::Interval;

pub use deliveries::with_times;

/// The column titles that readers of version 1.3 expect.
const LEGEND: &str = r#""StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram""#;

/// Writes the interval log of a run.
pub struct IntervalLog<W: Write> {
    out: W,
    encoder: Encoder,
    /// The names of the phases as in tags.
    phases: Vec<String>,
    /// The encoded distribution of a line.
    text: String,
}

impl<W: Write> IntervalLog<W> {
    /// Creates the writer and writes the header. `phases` are the names of the plan's phases, in order; `started_at` is
    /// since the Unix epoch.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(mut out: W, phases: &[String], started_at: Duration) -> io::Result<IntervalLog<W>> {
        IntervalLogWriterBuilder::new()
            .add_comment(concat!("[Logged with smtpress ", env!("CARGO_PKG_VERSION"), "]"))
            .add_comment("[Histogram log format version 1.3]")
            .with_start_time(UNIX_EPOCH + started_at)
            .with_base_time(UNIX_EPOCH + started_at)
            .begin_log_with(&mut out, &mut V2DeflateSerializer::new())?;
        writeln!(out, "{LEGEND}")?;
        Ok(IntervalLog::resumed(out, phases))
    }

    /// Returns a writer that adds to a log that already has its header.
    pub fn resumed(out: W, phases: &[String]) -> IntervalLog<W> {
        let phases = phases.iter().map(|phase| word(phase)).collect();
        IntervalLog { out, encoder: Encoder::default(), phases, text: String::new() }
    }

    /// Writes the lines of an interval.
    ///
    /// # Errors
    /// The output's errors.
    pub fn add(&mut self, interval: &Interval) -> io::Result<()> {
        let (start, length) = (interval.start.as_secs_f64(), interval.length.as_secs_f64());
        for (tally, phase) in interval.tally.phases.iter().zip(&self.phases) {
            for ((metric, outcome), hist) in tally.hists.iter().filter(|(_, hist)| !hist.is_empty()) {
                self.text.clear();
                self.encoder.append(hist, &mut self.text);
                let (max, text) = (hist.max_read(), &self.text);
                writeln!(self.out, "Tag={phase}/{metric}/{outcome},{start:.3},{length:.3},{max}.000,{text}")?;
            }
        }
        Ok(())
    }

    /// Flushes the output.
    ///
    /// # Errors
    /// The output's errors.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Returns the output after everything is written.
    pub fn into_inner(self) -> W {
        self.out
    }
}

/// Returns a phase's name without characters that a tag cannot hold.
pub(super) fn word(name: &str) -> String {
    name.chars()
        .map(|c| if c == ',' || c == '/' || c.is_whitespace() || c.is_control() { '_' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::collector::snapshot::Gauges;
    use crate::collector::tally::Tally;
    use crate::collector::{Metric, Outcome};

    fn second(t: u64, values: &[u64]) -> Interval {
        let mut tally = Tally::new(2);
        for value in values {
            tally.phases[1].hists.entry((Metric::Response, Outcome::TimedOut)).or_default().record(*value);
        }
        tally.phases[0].hists.insert((Metric::Lag, Outcome::Accepted), Default::default());
        let start = Duration::from_secs(t);
        Interval {
            transactions: Vec::new(),
            start,
            length: Duration::from_millis(1000),
            tally,
            gauges: Gauges::default(),
        }
    }

    #[test]
    fn the_log_is_read_back_by_another_reader_value_by_value() {
        let phases = ["warm".to_owned(), "two, and a/half\n".to_owned()];
        let started = Duration::from_secs(1_795_437_000);
        let mut log = IntervalLog::new(Vec::new(), &phases, started).unwrap();
        log.add(&second(0, &[5_000_000, 7_000_000])).unwrap();
        log.add(&second(1, &[])).unwrap();
        log.add(&second(2, &[90_000_000_000])).unwrap();
        let bytes = log.into_inner();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.contains("#[Histogram log format version 1.3]\n"), "{text}");
        assert_eq!(text.matches("StartTimestamp").count(), 1);

        let entries: Vec<LogEntry<'_>> = IntervalLogIterator::new(&bytes).map(Result::unwrap).collect();
        let mut intervals = Vec::new();
        for entry in &entries {
            match entry {
                LogEntry::StartTime(time) | LogEntry::BaseTime(time) => assert_eq!(*time, started),
                LogEntry::Interval(interval) => intervals.push(interval),
            }
        }
        assert_eq!(intervals.len(), 2);
        assert_eq!(intervals[0].tag().unwrap().as_str(), "two__and_a_half_/response/timed-out");
        assert_eq!(intervals[1].start_timestamp(), Duration::from_secs(2));
        let raw = base64::engine::general_purpose::STANDARD.decode(intervals[0].encoded_histogram()).unwrap();
        let hist: Histogram<u64> = Deserializer::new().deserialize(&mut raw.as_slice()).unwrap();
        assert_eq!(hist.len(), 2);
        assert!(hist.equivalent(hist.max(), 7_000_000) && hist.equivalent(hist.min_nz(), 5_000_000));
    }
}
