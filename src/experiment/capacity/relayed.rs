//! What came out of the relay in a trial: its counts, whether the relay's queue grew, and whether it accepted what was offered.
//!
//! # Decisions
//! - Growths are judged as [`sustained`] judges the backlog of arrivals, in recipients: the queue of what was accepted, against the
//!   recipients that the relay accepts a second at this load; and what was offered and not accepted, against those offered.
//! - That an accepted message takes its time is no growth: the start of a trial, three times the delivery time of the idle relay,
//!   is left out.
//! - Assertions about the counts of what came out (`missing == 0` and the other built-in ones, unless the profile removes them) hold
//!   for each trial. One that does not hold makes the trial bad: a load under which messages are lost or doubled is not carried.
//! - Where the wait for deliveries ended while they still came out, what is missing is queued, and none of these assertions is judged.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sustained::{self, BacklogGrowth};
use crate::collector::Outcome;
use crate::collector::backlog::{BacklogSample, BacklogSeries};
use crate::collector::delivery::Delivered;
use crate::collector::snapshot::Measured;
use crate::verdict::{Assertion, AssertionStatus, judge_deliveries};

/// What came out of the relay in one trial, in recipients.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrialDelivery {
    /// Those that the relay accepted.
    pub accepted: u64,
    /// Those that came out.
    pub delivered: u64,
    /// Those that a notification reported as failed.
    pub bounced: u64,
    /// Those of which nothing was seen when the wait ended.
    pub missing: u64,
    /// Deliveries beyond the first of a recipient.
    pub duplicated: u64,
    /// Those that came out with a change.
    pub altered: u64,
    /// Those that came out although they were refused.
    pub unexpected: u64,
    /// Messages that came out and are of another trial, or of none.
    pub foreign: u64,
    /// Those in the relay's queue when the load ended.
    pub queued_at_end: u64,
    /// The most in its queue at the end of a tenth of a second.
    pub queued_max: u64,
    /// From the last accepted message to the last delivery; `null`: one of both was never seen.
    pub drain_s: Option<f64>,
    /// The wait for deliveries was over, and they still came out.
    pub is_queue_left: bool,
    /// Those that the relay would accept a second at this load: what the growth of its queue is held against.
    pub accepts_per_s: f64,
    /// How the relay's queue grew; `null`: as of the backlog.
    pub queue: Option<BacklogGrowth>,
    /// Those offered a second at this load: what the shortfall is held against.
    pub offered_per_s: f64,
    /// How what was offered and not accepted grew: by how much the relay accepted less than was offered.
    pub shortfall: Option<BacklogGrowth>,
    /// The assertions about these counts that do not hold, with what was found.
    pub failed: Vec<String>,
}

impl TrialDelivery {
    /// The counts of a trial whose load lasted so long; `None`: no receiver stood behind the relay.
    pub(super) fn of(measured: &Measured, length: Duration) -> Option<TrialDelivery> {
        let delivered: &Delivered = measured.delivered.as_deref()?;
        let phase = delivered.phases.first()?;
        let counts = phase.counts;
        Some(TrialDelivery {
            accepted: counts.accepted,
            delivered: counts.delivered,
            bounced: counts.bounced,
            missing: counts.missing,
            duplicated: counts.duplicated,
            altered: counts.altered,
            unexpected: counts.unexpected,
            foreign: delivered.foreign,
            queued_at_end: delivered.flow.queued_at(length),
            // Without times no search begins.
            queued_max: phase.queued_max.unwrap_or_default(),
            drain_s: phase.drain.map(|drain| drain.as_secs_f64()),
            is_queue_left: delivered.is_queue_left,
            ..TrialDelivery::default()
        })
    }

    /// Takes in which of these assertions about what came out do not hold.
    pub(super) fn hold_to(&mut self, assertions: &[Assertion], measured: &Measured) {
        let (Some(delivered), Some(window)) = (&measured.delivered, measured.windows.first()) else { return };
        if self.is_queue_left {
            return;
        }
        let results = judge_deliveries(assertions, delivered, *window).into_iter();
        let failed = results.filter(|result| result.status == AssertionStatus::Fail);
        self.failed = failed.map(|result| format!("{}: {}", result.expr, result.observed)).collect();
    }

    /// Takes in how the relay's queue grew at this load, in arrivals a second, and what was not accepted.
    pub(super) fn judge_growths(
        &mut self,
        measured: &Measured,
        load: f64,
        length: Duration,
        idle: IdleTimes,
    ) {
        let (Some(delivered), Some(tally)) = (&measured.delivered, measured.tally.phases.first()) else {
            return;
        };
        let accepted = tally.counts.arrivals.of(Outcome::Accepted);
        if self.accepted == 0 || accepted == 0 {
            return;
        }
        let each = self.accepted as f64 / accepted as f64;
        self.accepts_per_s = load * self.accepted as f64 / tally.counts.scheduled.max(accepted) as f64;
        self.offered_per_s = load * each;
        let idle_delivery = idle.delivery.unwrap_or(idle.response);
        let queue = delivered.flow.series(length);
        self.queue = sustained::judge(&queue, self.accepts_per_s, length, idle_delivery);
        let offered = offered_and_accepted(&measured.backlog, &queue, each);
        self.shortfall = sustained::judge(&offered, self.offered_per_s, length, idle.response);
    }
}

/// What one arrival takes when the listener has nothing else to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdleTimes {
    /// Until it is accepted.
    pub response: Duration,
    /// Until it has come out of the relay; `None`: that is not known.
    pub delivery: Option<Duration>,
}

/// The recipients offered and accepted over time; `each`: recipients of an arrival.
fn offered_and_accepted(arrivals: &BacklogSeries, queue: &BacklogSeries, each: f64) -> BacklogSeries {
    let mut series = BacklogSeries::default();
    while series.due() <= arrivals.end() {
        let at = series.due();
        let offered = (arrivals.at(at).offered as f64 * each).round() as u64;
        series.take(at, BacklogSample { offered, finished: queue.at(at).offered });
    }
    series
}
