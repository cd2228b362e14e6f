//! The deliveries of a trial: their counts, whether the relay's queue grew, and whether the relay accepted the offered
//! load.
//!
//! # Decisions
//! - Growths are judged as [`sustained`] judges the backlog of arrivals, in recipients: the queue is compared with the
//!   recipients that the relay accepts a second at this load, and the shortfall (offered and not accepted) with those
//!   offered.
//! - The start of a trial is left out, for three times the delivery time of the idle relay: until the first deliveries
//!   every queue grows.
//! - Assertions about deliveries (`missing == 0` and the other built-in ones, unless the profile removes them) apply to
//!   each trial. A failed one makes the trial bad: the relay does not carry a load at which messages are lost or
//!   duplicated.
//! - If deliveries still came when the wait ended, missing messages are queued, and these assertions are not judged.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sustained::{self, BacklogGrowth};
use crate::collector::Outcome;
use crate::collector::backlog::{BacklogSample, BacklogSeries};
use crate::collector::delivery::Delivered;
use crate::collector::snapshot::Measured;
use crate::verdict::{Assertion, AssertionStatus, judge_deliveries};

/// The deliveries of one trial, in recipients.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrialDelivery {
    /// Recipients that the relay accepted.
    pub accepted: u64,
    /// Recipients that were delivered.
    pub delivered: u64,
    /// Recipients that a notification reported as failed.
    pub bounced: u64,
    /// Recipients without a delivery or a notification when the wait ended.
    pub missing: u64,
    /// Deliveries beyond the first of a recipient.
    pub duplicated: u64,
    /// Recipients whose message was altered.
    pub altered: u64,
    /// Recipients that were delivered although they were refused.
    pub unexpected: u64,
    /// Delivered messages of another trial, or of none.
    pub foreign: u64,
    /// Recipients in the relay's queue when the load ended.
    pub queued_at_end: u64,
    /// The most in its queue at the end of a tenth of a second.
    pub queued_max: u64,
    /// From the last accepted message to the last delivery; `null`: one of both was never seen.
    pub drain_s: Option<f64>,
    /// Whether deliveries still came when the wait was over.
    pub is_queue_left: bool,
    /// How many recipients the relay should accept a second at this load. The growth of its queue is compared with this
    /// rate.
    pub accepts_per_s: f64,
    /// How the relay's queue grew; `null`: as of the backlog.
    pub queue: Option<BacklogGrowth>,
    /// How many recipients are offered a second at this load. The shortfall is compared with this rate.
    pub offered_per_s: f64,
    /// The growth of the shortfall: of recipients that were offered and not accepted.
    pub shortfall: Option<BacklogGrowth>,
    /// The assertions about these counts that do not hold, with what was found.
    pub failed: Vec<String>,
}

impl TrialDelivery {
    /// Returns the counts of a trial whose load had this length; `None`: there was no receiver.
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
            // A search without times of deliveries does not start.
            queued_max: phase.queued_max.unwrap_or_default(),
            drain_s: phase.drain.map(|drain| drain.as_secs_f64()),
            is_queue_left: delivered.is_queue_left,
            ..TrialDelivery::default()
        })
    }

    /// Notes which of these assertions about deliveries fail.
    pub(super) fn hold_to(&mut self, assertions: &[Assertion], measured: &Measured) {
        let (Some(delivered), Some(window)) = (&measured.delivered, measured.windows.first()) else { return };
        if self.is_queue_left {
            return;
        }
        let results = judge_deliveries(assertions, delivered, *window).into_iter();
        let failed = results.filter(|result| result.status == AssertionStatus::Fail);
        self.failed = failed.map(|result| format!("{}: {}", result.expr, result.observed)).collect();
    }

    /// Notes the growth of the relay's queue and of the shortfall at this load, in arrivals a second.
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

/// The times of a single arrival on an idle listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdleTimes {
    /// The time until it is accepted.
    pub response: Duration,
    /// The time until it is delivered; `None`: unknown.
    pub delivery: Option<Duration>,
}

/// Returns the recipients offered and accepted over time; `each`: recipients of an arrival.
fn offered_and_accepted(arrivals: &BacklogSeries, queue: &BacklogSeries, each: f64) -> BacklogSeries {
    let mut series = BacklogSeries::default();
    while series.due() <= arrivals.end() {
        let at = series.due();
        let offered = (arrivals.at(at).offered as f64 * each).round() as u64;
        series.take(at, BacklogSample { offered, finished: queue.at(at).offered });
    }
    series
}
