//! The work of a phase, as requested and as done. A run that did less than requested must not pass.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The unit of a phase's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkUnit {
    /// Messages.
    Messages,
    /// Sessions.
    Sessions,
    /// Time, in nanoseconds: how long the sessions of a closed load are kept busy.
    Time,
}

impl WorkUnit {
    /// Every unit.
    pub const ALL: [WorkUnit; 3] = [WorkUnit::Messages, WorkUnit::Sessions, WorkUnit::Time];

    /// Returns the unit's name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            WorkUnit::Messages => "messages",
            WorkUnit::Sessions => "sessions",
            WorkUnit::Time => "ns",
        }
    }
}

/// The work of one phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// The unit.
    pub unit: WorkUnit,
    /// The amount that was requested.
    pub asked: u64,
    /// The amount that was done, with any outcome.
    pub done: u64,
    /// The time from which on the rest was not done, since the run's epoch.
    pub short_since: Option<Duration>,
    /// Why the rest was not done: a clause to follow a semicolon.
    pub why: Option<String>,
}

impl Work {
    /// Combines the work of several shards; `None`: there is no shard, or the work of a shard is unknown.
    pub fn together(parts: impl IntoIterator<Item = Option<Work>>) -> Option<Work> {
        let parts: Vec<Work> = parts.into_iter().collect::<Option<_>>()?;
        let unit = parts.first()?.unit;
        let (asked, done) =
            parts.iter().fold((0, 0), |(asked, done), part| (asked + part.asked, done + part.done));
        // All shards run at the same time, so their times are averaged.
        let among = if unit == WorkUnit::Time { parts.len() as u64 } else { 1 };
        Some(Work {
            unit,
            asked: asked / among,
            done: done / among,
            short_since: parts.iter().filter_map(|part| part.short_since).min(),
            why: parts.into_iter().find_map(|part| part.why),
        })
    }

    /// Whether all of the work was done.
    pub fn is_done(&self) -> bool {
        self.done >= self.asked
    }

    /// Returns the share of the work that was done, from 0 to 1.
    pub fn share(&self) -> f64 {
        if self.is_done() { 1.0 } else { self.done as f64 / self.asked as f64 }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Work { asked, done, .. } = self;
        match self.unit {
            WorkUnit::Time => {
                let seconds = |ns: u64| seconds(Duration::from_nanos(ns));
                write!(f, "{} of load asked for, {} done", seconds(*asked), seconds(*done))?;
            }
            unit => write!(f, "{asked} {} asked for, {done} done", unit.as_str())?,
        }
        self.why.as_ref().map_or(Ok(()), |why| write!(f, "; {why}"))
    }
}

/// Formats a time of a run for a sentence.
pub fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_says_what_was_asked_what_was_done_and_why_it_is_less() {
        let mut work =
            Work { unit: WorkUnit::Messages, asked: 2000, done: 500, short_since: None, why: None };
        assert_eq!((work.share(), work.is_done()), (0.25, false));
        work.why = Some("given up at 31.00 s".into());
        assert_eq!(work.to_string(), "2000 messages asked for, 500 done; given up at 31.00 s");
        let time = Work { unit: WorkUnit::Time, asked: 10_000_000_000, done: 4_830_000_000, ..work };
        assert_eq!(time.to_string(), "10.00 s of load asked for, 4.83 s done; given up at 31.00 s");
        let nothing = Work { asked: 0, done: 0, ..time };
        assert_eq!((nothing.share(), nothing.is_done()), (1.0, true));
    }
}
