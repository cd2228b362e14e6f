//! The display of a load in progress.

use crate::collector::snapshot::Interval;
use crate::collector::tally::Tally;

/// Shows a load in progress; `cli` draws it.
pub trait Display {
    /// The load starts.
    fn begin(&mut self);

    /// A second is over; `total` is everything up to its end.
    fn second(&mut self, interval: &Interval, total: &Tally);

    /// An event began or ended.
    fn event(&mut self, _: &str) {}

    /// The load is over, and the screen is free for the report.
    fn end(&mut self);
}
