//! What came out of the relay, in numbers: counts that reconcile (M31), and what is known of the queue.
//!
//! The times of what was delivered stand with all others, as [`Metric::Transit`](super::Metric::Transit) and
//! [`Metric::Delivery`](super::Metric::Delivery).

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::flow::Flow;
use super::growth::Growth;
use crate::condition::Condition;

/// What the client knows of a recipient when the transaction is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum FinalAnswer {
    /// The final reply accepted the message for it.
    Accepted = 1,
    /// The content was sent and no final reply came (RFC 5321 4.5.3.2.6).
    InDoubt = 2,
    /// It was refused, or the content was never sent whole.
    Refused = 3,
}

/// The answers to the recipients of one message, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answers {
    /// The same to all.
    All(FinalAnswer),
    /// To each its own.
    Each(Box<[FinalAnswer]>),
}

impl Answers {
    /// The answer to the recipient at this place; one that has none was refused.
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
    /// The phase by index.
    pub phase: u32,
    /// When the message was to start, since the run's epoch.
    pub intended: Duration,
    /// When its final reply was read, or its end was known.
    pub answered: Duration,
    /// By recipient.
    pub answers: Answers,
}

/// What became of the recipients of one phase. Reconciles: `accepted = delivered + bounced + missing`,
/// `in_doubt = in_doubt_delivered + in_doubt_bounced + in_doubt_missing`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryCounts {
    /// Recipients that the relay accepted.
    pub accepted: u64,
    /// Those that came out.
    pub delivered: u64,
    /// Those that a notification reported as failed, and that did not come out.
    pub bounced: u64,
    /// Those that neither came out nor were reported: so far, or at the end.
    pub missing: u64,
    /// Recipients in doubt.
    pub in_doubt: u64,
    /// Those that came out.
    pub in_doubt_delivered: u64,
    /// Those that were reported as failed.
    pub in_doubt_bounced: u64,
    /// Those of which nothing was seen.
    pub in_doubt_missing: u64,
    /// Deliveries beyond the first of a recipient.
    pub duplicated: u64,
    /// Recipients that came out with a change.
    pub altered: u64,
    /// Recipients that came out although they were refused.
    pub unexpected: u64,
    /// Recipients that came out and were reported as failed.
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

/// What came out of one phase.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PhaseDelivery {
    /// The counts.
    pub counts: DeliveryCounts,
    /// The most recipients in the relay's queue at the end of a tenth of a second; `None`: the times are unknown.
    pub queued_max: Option<u64>,
    /// How fast its queue grew in the window of the phase, in recipients a second; `None`: the window is too short to say, or the
    /// times are unknown.
    pub queued_growth: Option<Growth>,
    /// Recipients that were delivered first within the window of the phase, whichever phase they are of; `None`: the times are
    /// unknown.
    pub delivered_in_window: Option<u64>,
    /// From the last accepted message of the phase to its last first delivery; `None`: one of both was never seen, or the
    /// times are unknown.
    pub drain: Option<Duration>,
    /// By the second of the run; empty: the times are unknown.
    pub seconds: BTreeMap<u64, DeliverySecond>,
}

/// What happened to recipients of one phase in one second of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliverySecond {
    /// They were accepted.
    pub accepted: u64,
    /// They came out for the first time.
    pub delivered: u64,
}

/// A recipient that was accepted and did not come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingRecipient {
    /// The message's number.
    pub seq: u64,
    /// The recipient by its place.
    pub recipient: u32,
    /// The phase by index.
    pub phase: u32,
    /// When the message was accepted, since the run's epoch.
    pub answered: Duration,
    /// When it was to start.
    pub intended: Duration,
}

/// A message that came out changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Altered {
    /// Its number.
    pub seq: u64,
    /// What differs, in words.
    pub what: String,
}

/// Notifications of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BounceCount {
    /// The enhanced status code (RFC 3463); empty if none was given.
    pub status: String,
    /// What the reply in it means; `None`: it holds no reply.
    pub condition: Option<Condition>,
    /// How many recipients.
    pub count: u64,
    /// The reply or the words of the first.
    pub sample: String,
}

/// How the receiver itself fared (M32).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ReceiverHealth {
    /// The share of the time in which its threads used their cores, from the start of the load to the end of the drain.
    pub cpu_share: f64,
    /// How late a timer of its threads was, at most.
    pub lag_max: Duration,
    /// How many turns were late by more than 50 ms, of `turns`.
    pub late: u64,
    /// How many turns were looked at; one each 50 ms on each thread.
    pub turns: u64,
    /// Connections that the relay opened.
    pub connections: u64,
    /// Replies by which the receiver refused something.
    pub refusals: u64,
    /// Connections that failed because no descriptor was left.
    pub accept_errors: u64,
}

impl ReceiverHealth {
    /// Of two receivers: the busier and the later of them, and what both counted.
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

/// What came out of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delivered {
    /// By phase index.
    pub phases: Vec<PhaseDelivery>,
    /// Messages that came out and are of another run, or of none.
    pub foreign: u64,
    /// Notifications of delay; they end nothing.
    pub delayed: u64,
    /// Where the wait for deliveries ended, since the run's epoch.
    pub ended: Duration,
    /// How long nothing had come out by then; `None`: nothing ever did.
    pub silent_for: Option<Duration>,
    /// The wait was ended by the user.
    pub cut_short: bool,
    /// The wait was over, something was missing, and deliveries had not ceased: the relay's queue was not empty.
    pub is_queue_left: bool,
    /// The first recipients that are missing.
    pub missing: Vec<MissingRecipient>,
    /// The first messages that were altered.
    pub altered: Vec<Altered>,
    /// What the relay took in, and what came out of it, by time.
    pub flow: Flow,
    /// Bounces, the most frequent first.
    pub bounces: Vec<BounceCount>,
    /// The receiver's own part.
    pub receiver: ReceiverHealth,
    /// How the clock of the receiver is related to that of the run.
    pub clock: ClockRelation,
    /// Why something may have come out that is not known of, in sentences.
    pub incomplete: Vec<String>,
    /// What is odd and takes nothing from the counts, in sentences.
    pub remarks: Vec<String>,
}

/// How the clock by which deliveries are timed is related to that of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClockRelation {
    /// Both ends are one process.
    #[default]
    Own,
    /// Two processes, one clock.
    Same,
    /// Two clocks with a measured offset.
    Offset {
        /// Nanoseconds that the receiver's clock is ahead of ours; below zero: behind.
        ahead_ns: i64,
        /// How far from the truth that may be.
        bound: Duration,
    },
    /// Two clocks, and nobody knows how far apart: there are counts, and no times.
    Unknown,
}

impl Delivered {
    /// The counts of all phases together.
    pub fn counts(&self) -> DeliveryCounts {
        let mut sum = DeliveryCounts::default();
        self.phases.iter().for_each(|phase| sum += phase.counts);
        sum
    }
}
