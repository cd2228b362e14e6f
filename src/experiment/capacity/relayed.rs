//! The deliveries of a trial: their counts, the growth of the relay's queue, and the growth of the shortfall.
//!
//! # Decisions
//! - The growths are judged as [`sustained`] judges the backlog of arrivals, but in recipients. The growth of the queue is
//!   compared with the recipients that the relay accepts a second at this load. The shortfall is the number of recipients
//!   that were offered and not accepted; its growth is compared with the recipients that are offered a second.
//! - For the queue, the start of a trial is left out, for three times the delivery time of the idle relay, because every
//!   queue grows until the first deliveries.
//! - Assertions about deliveries (`missing == 0` and the other built-in ones, unless the profile removes them) apply to
//!   each trial. A failed assertion makes the trial bad: the relay does not carry a load at which messages are lost or
//!   duplicated.
//! - If deliveries still came when the wait ended, the missing messages are in the relay's queue, and these assertions are
//!   not judged.

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
    /// Delivered messages that belong to another trial or to no trial.
    pub foreign: u64,
    /// Recipients in the relay's queue at the end of the load.
    pub queued_at_end: u64,
    /// The largest number of recipients in the relay's queue at the end of any tenth of a second.
    pub queued_max: u64,
    /// The time from the last accepted message to the last delivery; `null`: there was no accepted message or no delivery.
    pub drain_s: Option<f64>,
    /// Whether recipients were missing and deliveries still came when the wait ended.
    pub is_queue_left: bool,
    /// The recipients that the relay accepts a second at this load: the load times the accepted recipients of a scheduled
    /// arrival. The growth of the relay's queue is compared with this rate.
    pub accepts_per_s: f64,
    /// The growth of the relay's queue; `null`: it is not judged, for the same reasons as the growth of the backlog.
    pub queue: Option<BacklogGrowth>,
    /// The recipients that are offered a second at this load. The growth of the shortfall is compared with this rate.
    pub offered_per_s: f64,
    /// The growth of the shortfall: of the number of recipients that were offered and not accepted.
    pub shortfall: Option<BacklogGrowth>,
    /// The assertions about the deliveries that failed, each with the observed value.
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
            // The times of deliveries are known, because a search without them does not start.
            queued_max: phase.queued_max.unwrap_or_default(),
            drain_s: phase.drain.map(|drain| drain.as_secs_f64()),
            is_queue_left: delivered.is_queue_left,
            ..TrialDelivery::default()
        })
    }

    /// Judges these assertions about deliveries, and stores those that fail.
    pub(super) fn hold_to(&mut self, assertions: &[Assertion], measured: &Measured) {
        let (Some(delivered), Some(window)) = (&measured.delivered, measured.windows.first()) else { return };
        if self.is_queue_left {
            return;
        }
        let results = judge_deliveries(assertions, delivered, *window).into_iter();
        let failed = results.filter(|result| result.status == AssertionStatus::Fail);
        self.failed = failed.map(|result| format!("{}: {}", result.expr, result.observed)).collect();
    }

    /// Judges the growths of the relay's queue and of the shortfall. `load`: in arrivals a second.
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
    /// The time until the arrival is accepted.
    pub response: Duration,
    /// The time until the arrival is delivered; `None`: unknown.
    pub delivery: Option<Duration>,
}

/// Returns the numbers of offered and accepted recipients over time. `each`: the number of recipients of an arrival.
fn offered_and_accepted(arrivals: &BacklogSeries, queue: &BacklogSeries, each: f64) -> BacklogSeries {
    let mut series = BacklogSeries::default();
    while series.due() <= arrivals.end() {
        let at = series.due();
        let offered = (arrivals.at(at).offered as f64 * each).round() as u64;
        series.take(at, BacklogSample { offered, finished: queue.at(at).offered });
    }
    series
}
