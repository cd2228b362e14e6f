//! The source of deliveries of a run: its own receiver, or the delivery logs of other processes.

use std::time::{Duration, Instant};

use super::clock::ClockReading;
use super::log::DeliveryLogs;
use super::receiver::Receiver;
use crate::collector::delivery::{Delivered, Transaction};
use crate::collector::tally::Tally;
use crate::plan::Plan;

/// The source of the deliveries of a run.
#[derive(Debug)]
pub enum FarEnd {
    /// A receiver in this process.
    Own(Receiver),
    /// The logs of receivers in other processes.
    Logs(Box<DeliveryLogs>),
}

impl FarEnd {
    /// Whether the times of deliveries will be known.
    pub fn has_times(&self) -> bool {
        match self {
            FarEnd::Own(_) => true,
            FarEnd::Logs(logs) => logs.has_times(),
        }
    }

    /// Begins a run at this epoch. `date` is the Date of its messages.
    pub fn begin(&self, plan: &Plan, date: &str, epoch: Instant) {
        match self {
            FarEnd::Own(receiver) => receiver.begin(plan, date, epoch),
            FarEnd::Logs(logs) => logs.begin(plan, date, epoch),
        }
    }

    /// Returns the reading of the run's clocks at its epoch, to which the times of logs are related; `None`: there are
    /// no logs, or the run has not started.
    pub fn epoch(&self) -> Option<ClockReading> {
        match self {
            FarEnd::Own(_) => None,
            FarEnd::Logs(logs) => logs.epoch(),
        }
    }

    /// Processes transactions that have ended.
    pub fn answered(&self, transactions: &[Transaction]) {
        match self {
            FarEnd::Own(receiver) => receiver.answered(transactions),
            FarEnd::Logs(logs) => logs.answered(transactions),
        }
    }

    /// Whether deliveries are read from logs, which are behind by up to a second.
    pub fn is_behind(&self) -> bool {
        matches!(self, FarEnd::Logs(_))
    }

    /// Returns the deliveries since the last call, by phase, and the relay's queue at this time of the run. For logs
    /// this covers the lines that were read so far.
    pub fn second(&self, until: Duration) -> (Tally, Option<u64>) {
        match self {
            FarEnd::Own(receiver) => receiver.second(until),
            FarEnd::Logs(logs) => logs.second(),
        }
    }

    /// Whether the wait for deliveries can end at this time since the run's epoch.
    pub fn is_settled(&self, now: Duration) -> bool {
        match self {
            FarEnd::Own(receiver) => receiver.is_settled(now),
            FarEnd::Logs(logs) => logs.is_settled(now),
        }
    }

    /// Closes the account. The run ended at `ended` since its epoch. See
    /// [`RunAccount::finish`](super::account::RunAccount::finish).
    pub fn finish(
        &self,
        windows: &[(Duration, Duration)],
        ended: Duration,
        cut_short: bool,
        tally: &mut Tally,
    ) -> Delivered {
        let (delivered, quiet) = match self {
            FarEnd::Own(receiver) => (receiver.finish(windows, ended, cut_short, tally), receiver.quiet()),
            FarEnd::Logs(logs) => (logs.finish(windows, ended, cut_short, tally), logs.quiet()),
        };
        let is_silent = delivered.silent_for.is_none_or(|silent| silent >= quiet);
        let is_queue_left = !cut_short && !is_silent && delivered.counts().missing > 0;
        Delivered { is_queue_left, ..delivered }
    }
}
