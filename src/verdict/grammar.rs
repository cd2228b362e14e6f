//! The language of assertions: `<what> [<aggregate>] <operator> <value with unit>`, such as `response p99 < 800ms`.
//!
//! ```text
//! what      = metric ["[" outcome "]"]      response service lag wait setup session step.NAME; without outcome: accepted
//!           | outcome | unexpected | scheduled | started | done
//!           | attempts | retries | gave_up | pending | possibly_doubled | amplification
//!           | delivered | bounced | missing | duplicated | altered | delivery.unexpected | foreign   behind a relay
//!           | queued max | queued growth | drain                                                    behind a relay
//!           | transactions.attempted | transactions.OUTCOME | condition.NAME | expect.NAME
//!           | event.NAME.outage | event.NAME.recovery     a time of its own, without aggregate
//! aggregate = pNN[.N...] | min | max | mean | count       of a metric; pNN alone means `response pNN`
//!           | count | rate                                of what is counted; count if absent
//! operator  = < <= > >= == !=
//! value     = NUMBER (ns us ms s m h)       with pNN, min, max and mean
//!           | NUMBER [k m]                  with count
//!           | NUMBER (% /s /m /h)           with rate: the share of all, or so many in that time
//! ```
//!
//! This module parses expressions and locates errors. `evidence` finds the value and compares it with the expected one,
//! and `judge` makes the verdict of the run.
//!
//! # Decisions
//! - `done` is only a share: messages, sessions and time are not counted in one number.
//! - `amplification` is a plain number: the attempts divided by the messages that started. It has no aggregate and no
//!   unit.
//! - Lag, wait and setup are before the service of the listener: without an outcome they include all outcomes.
//! - A rate in /s counts only the window (M21), also for conditions and expects.
//! - `m` means minutes after the number of a duration, and a million after a count.

mod parse;

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use crate::collector::{Metric, Outcome};
use crate::condition::Condition;

/// One assertion of a profile or of `--assert`.
#[derive(Clone, Debug, PartialEq)]
pub struct Assertion {
    /// The expression that must hold.
    pub expr: Expr,
    /// The phase in which it must hold; `None` for all measured phases together.
    pub phase: Option<String>,
    /// The length of the sliding window; the assertion must hold in each window. `None`: it must hold over the whole.
    pub window: Option<Duration>,
    /// Whether the run ends as soon as the assertion fails.
    pub abort: bool,
    /// How long after the start of its first phase the assertion is checked for the first time. Only checks during the
    /// run use this.
    pub grace: Duration,
    /// Whether the assertion is built in.
    pub builtin: bool,
}

/// A parsed expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// The text as the user wrote it.
    pub text: String,
    /// The subject.
    pub subject: Subject,
    /// The aggregate.
    pub aggregate: Aggregate,
    /// The operator.
    pub operator: Operator,
    /// The expected value: nanoseconds, a count, a share (0.01 for 1 %) or a number in 1/s, as the aggregate needs.
    pub value: f64,
}

/// The subject of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A distribution of durations, of this outcome; `None` for all outcomes (the default of lag, wait and setup).
    Latency(Metric, Option<Outcome>),
    /// Arrivals that were scheduled.
    Scheduled,
    /// Arrivals that were started.
    Started,
    /// Arrivals that ended with this outcome.
    Arrivals(Outcome),
    /// Arrivals neither accepted nor expected.
    Unexpected,
    /// The share of the work that was done.
    Done,
    /// Attempts that were started, of messages that are tried again; without `[session.retry]` the arrivals that were
    /// started.
    Attempts,
    /// Attempts that were not the first of their message.
    Retries,
    /// Messages that were given up.
    GaveUp,
    /// Messages without an end when the run ended.
    Pending,
    /// Messages that were accepted after an attempt in doubt.
    PossiblyDoubled,
    /// Attempts divided by messages.
    Amplification,
    /// Transactions that were started.
    Attempted,
    /// Transactions that ended with this outcome.
    Transactions(Outcome),
    /// The number of occurrences of a condition.
    Condition(Condition),
    /// Refusals that the `[[expect]]` of this name covered.
    Expect(String),
    /// A time of the event of this name.
    Event(String, EventMeasure),
    /// A count of recipients behind the relay.
    Delivery(DeliveryCount),
    /// The relay's queue.
    Queued(QueueMeasure),
    /// The time from the last accepted message to the last first delivery.
    Drain,
}

/// A count behind the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryCount {
    /// Accepted recipients that were delivered.
    Delivered,
    /// Recipients that were reported as failed.
    Bounced,
    /// Recipients without a delivery or a notification.
    Missing,
    /// Deliveries beyond the first.
    Duplicated,
    /// Recipients whose message was delivered with a change.
    Altered,
    /// Recipients that were delivered although they were refused.
    Unexpected,
    /// Messages of another run.
    Foreign,
}

impl DeliveryCount {
    /// Every count with its name.
    pub const ALL: [(&'static str, DeliveryCount); 7] = [
        ("delivered", DeliveryCount::Delivered),
        ("bounced", DeliveryCount::Bounced),
        ("missing", DeliveryCount::Missing),
        ("duplicated", DeliveryCount::Duplicated),
        ("altered", DeliveryCount::Altered),
        ("delivery.unexpected", DeliveryCount::Unexpected),
        ("foreign", DeliveryCount::Foreign),
    ];
}

/// A measure of the relay's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueMeasure {
    /// The most recipients in the queue.
    Max,
    /// How fast the queue grew.
    Growth,
}

impl Subject {
    /// Whether the subject is known only with a receiver behind the relay, and at the end of the run.
    pub const fn is_behind_relay(&self) -> bool {
        matches!(self, Subject::Delivery(_) | Subject::Queued(_) | Subject::Drain)
    }
}

/// A measure of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventMeasure {
    /// The time from the first to the last failed arrival.
    Outage,
    /// The time from the event until the listener had recovered.
    Recovery,
}

impl EventMeasure {
    /// Every measure with its name.
    pub const ALL: [(&'static str, EventMeasure); 2] =
        [("outage", EventMeasure::Outage), ("recovery", EventMeasure::Recovery)];
}

/// The aggregate of the subject.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aggregate {
    /// The percentile, above 0 and below 1.
    Quantile(f64),
    /// The smallest value.
    Min,
    /// The largest value.
    Max,
    /// The mean.
    Mean,
    /// The only value of the subject.
    Only,
    /// The number of values.
    Count,
    /// The share of all.
    Share,
    /// The number for each second.
    PerSecond,
}

impl Aggregate {
    /// Whether the aggregate is a duration.
    pub const fn is_duration(self) -> bool {
        matches!(
            self,
            Aggregate::Quantile(_) | Aggregate::Min | Aggregate::Max | Aggregate::Mean | Aggregate::Only
        )
    }
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
    /// `==`
    Equal,
    /// `!=`
    Unequal,
}

impl Operator {
    /// Every operator, as the user writes it.
    pub const ALL: [(&'static str, Operator); 6] = [
        ("<", Operator::Less),
        ("<=", Operator::AtMost),
        (">", Operator::Greater),
        (">=", Operator::AtLeast),
        ("==", Operator::Equal),
        ("!=", Operator::Unequal),
    ];

    /// Whether the comparison holds between the observed and the expected value.
    pub fn holds(self, found: f64, asked: f64) -> bool {
        match self {
            Operator::Less => found < asked,
            Operator::AtMost => found <= asked,
            Operator::Greater => found > asked,
            Operator::AtLeast => found >= asked,
            Operator::Equal => found == asked,
            Operator::Unequal => found != asked,
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// Why an expression is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", nearest.as_ref().map(|word| format!("; did you mean `{word}`?")).unwrap_or_default())]
pub struct GrammarError {
    /// The wrong piece, in bytes of the expression. If something is missing, the span is empty and stands at that
    /// place.
    pub span: Range<usize>,
    /// The fault, as a lowercase fragment.
    pub message: String,
    /// The nearest valid word, if one is near.
    pub nearest: Option<String>,
}

impl Assertion {
    /// Parses an expression. The assertion covers all measured phases and has no window, until the caller changes that.
    ///
    /// # Errors
    /// The place of the fault, and the nearest valid word.
    pub fn parse(expr: &str) -> Result<Assertion, GrammarError> {
        Ok(Assertion {
            expr: parse::expr(expr)?,
            phase: None,
            window: None,
            abort: false,
            grace: Duration::ZERO,
            builtin: false,
        })
    }

    /// Returns the assertions that hold unless the profile removes them.
    pub fn builtin() -> Vec<Assertion> {
        let ours = |expr| Assertion {
            builtin: true,
            ..Assertion::parse(expr).expect("our own expressions are well-formed")
        };
        vec![
            ours("accepted > 0"),
            ours("shed == 0"),
            ours("done rate == 100%"),
            ours("unexpected rate <= 1%"),
        ]
    }

    /// Returns the additional built-in assertions for a run with a receiver behind the relay.
    pub fn builtin_behind_relay() -> Vec<Assertion> {
        ["missing == 0", "duplicated == 0", "altered == 0", "delivery.unexpected == 0"]
            .map(|expr| Assertion {
                builtin: true,
                ..Assertion::parse(expr).expect("our own expressions are well-formed")
            })
            .into()
    }
}
