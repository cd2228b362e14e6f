//! The display of a load in progress.

use crate::collector::agents::AgentProgress;
use crate::collector::snapshot::Interval;
use crate::collector::tally::Tally;

/// Shows a load in progress; `cli` draws it.
pub trait Display {
    /// Notes that the load starts.
    fn begin(&mut self);

    /// Notes that a second is over. `total` is everything up to its end.
    fn second(&mut self, interval: &Interval, total: &Tally);

    /// Shows the state of the agents of a fleet. Called before each second.
    fn agents(&mut self, _: &[AgentProgress]) {}

    /// Notes that an event began or ended.
    fn event(&mut self, _: &str) {}

    /// Notes that the load is over, and the screen is free for the report.
    fn end(&mut self);
}
