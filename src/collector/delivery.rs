//! The counts of a relay's deliveries and of its queue. The counts of deliveries reconcile (M31).
//!
//! The times of deliveries are distributions like all others: [`Metric::Transit`](super::Metric::Transit) and
//! [`Metric::Delivery`](super::Metric::Delivery).

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::delivery_times::PackedTimes;
use super::flow::Flow;
use super::growth::Growth;
use crate::condition::Condition;

/// The client's result for a recipient at the end of the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum FinalAnswer {
    /// The final reply accepted the message for this recipient.
    Accepted = 1,
    /// The content was sent and no final reply came (RFC 5321 4.5.3.2.6).
    InDoubt = 2,
    /// The recipient or the message was refused, or the content was not completely sent.
    Refused = 3,
}

/// The answers to the recipients of one message, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answers {
    /// One answer for all recipients.
    All(FinalAnswer),
    /// An answer for each recipient.
    Each(Box<[FinalAnswer]>),
}

impl Answers {
    /// Returns the answer to the recipient with this index. A recipient without an answer counts as refused.
    pub fn of(&self, recipient: u32) -> FinalAnswer {
        match self {
            Answers::All(answer) => *answer,
            Answers::Each(answers) => {
                answers.get(recipient as usize).copied().unwrap_or(FinalAnswer::Refused)
            }
        }
    }
}

/// The end of a transaction, as the client saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// The message's number.
    pub seq: u64,
    /// The index of the phase.
    pub phase: u32,
    /// The intended start of the message, since the run's epoch.
    pub intended: Duration,
    /// When the final reply was read, or the transaction ended without one.
    pub answered: Duration,
    /// The answers to the recipients of the message.
    pub answers: Answers,
}

/// The counts of the recipients of one phase. They reconcile: `accepted = delivered + bounced + missing`, `in_doubt =
/// in_doubt_delivered + in_doubt_bounced + in_doubt_missing`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryCounts {
    /// Recipients that the relay accepted.
    pub accepted: u64,
    /// Recipients that were delivered.
    pub delivered: u64,
    /// Recipients that a notification reported as failed, and that were not delivered.
    pub bounced: u64,
    /// Recipients that were neither delivered nor reported as failed, so far or at the end of the wait.
    pub missing: u64,
    /// Recipients in doubt.
    pub in_doubt: u64,
    /// Recipients in doubt that were delivered.
    pub in_doubt_delivered: u64,
    /// Recipients in doubt that were reported as failed.
    pub in_doubt_bounced: u64,
    /// Recipients in doubt without a delivery or a notification.
    pub in_doubt_missing: u64,
    /// Deliveries beyond the first of a recipient.
    pub duplicated: u64,
    /// Recipients whose message was altered.
    pub altered: u64,
    /// Recipients that were delivered although they were refused.
    pub unexpected: u64,
    /// Recipients that were both delivered and reported as failed.
    pub bounced_and_delivered: u64,
}

impl AddAssign for DeliveryCounts {
    fn add_assign(&mut self, other: DeliveryCounts) {
        self.accepted += other.accepted;
        self.delivered += other.delivered;
        self.bounced += other.bounced;
        self.missing += other.missing;
        self.in_doubt += other.in_doubt;
        self.in_doubt_delivered += other.in_doubt_delivered;
        self.in_doubt_bounced += other.in_doubt_bounced;
        self.in_doubt_missing += other.in_doubt_missing;
        self.duplicated += other.duplicated;
        self.altered += other.altered;
        self.unexpected += other.unexpected;
        self.bounced_and_delivered += other.bounced_and_delivered;
    }
}

/// The deliveries of one phase.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PhaseDelivery {
    /// The counts.
    pub counts: DeliveryCounts,
    /// The largest number of recipients in the relay's queue at the end of any tenth of a second; `None`: the times are
    /// unknown.
    pub queued_max: Option<u64>,
    /// How fast the relay's queue grew in the window of the phase, in recipients a second; `None`: the window is too short
    /// for an estimate, or the times are unknown.
    pub queued_growth: Option<Growth>,
    /// Recipients of any phase whose first delivery was within the window of the phase; `None`: the times are unknown.
    pub delivered_in_window: Option<u64>,
    /// The time from the last acceptance of a message of the phase to the last first delivery of a recipient; `None`: there
    /// was no acceptance or no delivery, or the times are unknown.
    pub drain: Option<Duration>,
    /// The counts by second of the run; empty: the times are unknown.
    pub seconds: BTreeMap<u64, DeliverySecond>,
    /// The transit and delivery times by the second of the delivery, since the run's epoch. They are kept only for a run
    /// that is joined with a log; in other runs the tally of each second holds them.
    pub times: BTreeMap<u64, PackedTimes>,
}

/// The recipients of one phase in one second of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliverySecond {
    /// Recipients that were accepted.
    pub accepted: u64,
    /// Recipients that were delivered for the first time.
    pub delivered: u64,
}

/// A recipient that was accepted and not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingRecipient {
    /// The message's number.
    pub seq: u64,
    /// The index of the recipient.
    pub recipient: u32,
    /// The index of the phase.
    pub phase: u32,
    /// When the message was accepted, since the run's epoch.
    pub answered: Duration,
    /// The intended start of the message.
    pub intended: Duration,
}

/// A message that was delivered with a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Altered {
    /// The message's number.
    pub seq: u64,
    /// The differences, in words.
    pub what: String,
}

/// Notifications of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BounceCount {
    /// The enhanced status code (RFC 3463); empty if none was given; `other` for all kinds after the first hundred.
    pub status: String,
    /// The condition of the reply that the notification quotes; `None`: it quotes no reply.
    pub condition: Option<Condition>,
    /// The number of recipients.
    pub count: u64,
    /// The reply or the reason in the first of these notifications.
    pub sample: String,
}

/// The health of the receiver (M32).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ReceiverHealth {
    /// The used share of the cores of the receiver's threads, from the start of the load to the end of the drain.
    pub cpu_share: f64,
    /// The longest lateness of a timer of the receiver's threads.
    pub lag_max: Duration,
    /// The number of turns of these timers that were late by more than 50 ms.
    pub late: u64,
    /// The number of turns that were measured: one every 50 ms on each thread.
    pub turns: u64,
    /// The number of connections that the relay opened.
    pub connections: u64,
    /// The number of refusing replies of the receiver.
    pub refusals: u64,
    /// The number of connections that failed because no descriptor was left.
    pub accept_errors: u64,
}

impl ReceiverHealth {
    /// Combines the health of two receivers: the larger CPU share and lateness, and the sums of the counts.
    pub fn and(self, other: ReceiverHealth) -> ReceiverHealth {
        ReceiverHealth {
            cpu_share: self.cpu_share.max(other.cpu_share),
            lag_max: self.lag_max.max(other.lag_max),
            late: self.late + other.late,
            turns: self.turns + other.turns,
            connections: self.connections + other.connections,
            refusals: self.refusals + other.refusals,
            accept_errors: self.accept_errors + other.accept_errors,
        }
    }
}

/// The deliveries of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delivered {
    /// By phase index.
    pub phases: Vec<PhaseDelivery>,
    /// The number of delivered messages that belong to another run or to no run.
    pub foreign: u64,
    /// The number of notifications of delay, which settle no recipient.
    pub delayed: u64,
    /// When the wait for deliveries ended, since the run's epoch.
    pub ended: Duration,
    /// The time from the last delivery to the end of the wait; `None`: there was no delivery.
    pub silent_for: Option<Duration>,
    /// Whether the user ended the wait.
    pub cut_short: bool,
    /// Whether recipients were missing and deliveries still came when the wait ended: the relay's queue was not empty.
    pub is_queue_left: bool,
    /// The first recipients that are missing.
    pub missing: Vec<MissingRecipient>,
    /// The first messages that were altered.
    pub altered: Vec<Altered>,
    /// The accepted recipients and the deliveries over time.
    pub flow: Flow,
    /// Bounces, the most frequent first.
    pub bounces: Vec<BounceCount>,
    /// The health of the receiver.
    pub receiver: ReceiverHealth,
    /// The relation of the receiver's clock to the clock of the run.
    pub clock: ClockRelation,
    /// Reasons why the deliveries may be incomplete, in sentences.
    pub incomplete: Vec<String>,
    /// Remarks that do not affect the counts, in sentences.
    pub remarks: Vec<String>,
}

/// The relation of the receiver's clock to the clock of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClockRelation {
    /// The generator and the receiver are one process.
    #[default]
    Own,
    /// The generator and the receiver are two processes with one clock.
    Same,
    /// The generator and the receiver have two clocks with a measured offset.
    Offset {
        /// Nanoseconds by which the receiver's clock is ahead; below zero: behind.
        ahead_ns: i64,
        /// The bound of the error of `ahead_ns`.
        bound: Duration,
    },
    /// The generator and the receiver have two clocks with an unknown offset: there are counts, but no times.
    Unknown,
}

impl Delivered {
    /// Returns the sum of the counts of all phases.
    pub fn counts(&self) -> DeliveryCounts {
        let mut sum = DeliveryCounts::default();
        self.phases.iter().for_each(|phase| sum += phase.counts);
        sum
    }
}
