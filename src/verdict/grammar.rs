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
//! It parses expressions and locates errors; `evidence` finds the number, `judge` compares.
//!
//! # Decisions
//! - `done` is a share and nothing else: messages, sessions and time are not counted in one number.
//! - `amplification` is a plain number, the attempts over the messages that started: it has no aggregate and no unit.
//! - Lag, wait and setup are before the service of the listener: without an outcome they include all outcomes.
//! - A rate in /s counts only the window (M21), also for conditions and expects.
//! - `m` is minutes after a duration's number and a million after a count's.

mod parse;

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use crate::collector::{Metric, Outcome};
use crate::condition::Condition;

/// One assertion of a profile or of `--assert`.
#[derive(Clone, Debug, PartialEq)]
pub struct Assertion {
    /// What must hold.
    pub expr: Expr,
    /// In this phase; in all measured phases together if absent.
    pub phase: Option<String>,
    /// Over every stretch of this length instead of the whole.
    pub window: Option<Duration>,
    /// End the run as soon as it fails.
    pub abort: bool,
    /// Not looked at before the phase is this old.
    pub grace: Duration,
    /// Whether it is built in, and not the user's.
    pub builtin: bool,
}

/// An expression, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// As it was written.
    pub text: String,
    /// The subject.
    pub subject: Subject,
    /// The aggregate.
    pub aggregate: Aggregate,
    /// The operator.
    pub operator: Operator,
    /// The expected value: nanoseconds, a count, a share (0.01 for 1 %) or a number a second, as the aggregate asks.
    pub value: f64,
}

/// The subject of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A distribution of durations; `None`: all outcomes (for lag and wait).
    Latency(Metric, Option<Outcome>),
    /// Arrivals that were scheduled.
    Scheduled,
    /// Arrivals that were started.
    Started,
    /// Arrivals that ended so.
    Arrivals(Outcome),
    /// Arrivals neither accepted nor expected.
    Unexpected,
    /// The share of the work that was done.
    Done,
    /// Attempts that were started, of messages that are tried again; without `[session.retry]` the arrivals that were.
    Attempts,
    /// Those of them that were not the first.
    Retries,
    /// Messages that were given up.
    GaveUp,
    /// Messages without an end when the run ended.
    Pending,
    /// Messages that were accepted after an attempt in doubt.
    PossiblyDoubled,
    /// Attempts over messages.
    Amplification,
    /// Transactions that were started.
    Attempted,
    /// Transactions that ended so.
    Transactions(Outcome),
    /// How often a condition was met.
    Condition(Condition),
    /// Refusals that the `[[expect]]` of this name covered.
    Expect(String),
    /// A time of the event of this name.
    Event(String, EventMeasure),
    /// Recipients behind the relay.
    Delivery(DeliveryCount),
    /// The relay's queue.
    Queued(QueueMeasure),
    /// From the last accepted message to the last first delivery.
    Drain,
}

/// What is counted behind the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryCount {
    /// Accepted recipients that came out.
    Delivered,
    /// Those that were reported as failed.
    Bounced,
    /// Those of which nothing was seen.
    Missing,
    /// Deliveries beyond the first.
    Duplicated,
    /// Recipients that came out with a change.
    Altered,
    /// Recipients that came out although they were refused.
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

/// What is measured of the relay's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueMeasure {
    /// The most recipients in it.
    Max,
    /// How fast it grew.
    Growth,
}

impl Subject {
    /// Whether it is known only with a receiver behind the relay, and at the end of the run.
    pub const fn is_behind_relay(&self) -> bool {
        matches!(self, Subject::Delivery(_) | Subject::Queued(_) | Subject::Drain)
    }
}

/// What is measured of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventMeasure {
    /// From the first to the last failed arrival.
    Outage,
    /// From the event until the listener was as before.
    Recovery,
}

impl EventMeasure {
    /// Every measure with its name.
    pub const ALL: [(&'static str, EventMeasure); 2] =
        [("outage", EventMeasure::Outage), ("recovery", EventMeasure::Recovery)];
}

/// Which number of the subject.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aggregate {
    /// The percentile, above 0 and below 1.
    Quantile(f64),
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// The mean.
    Mean,
    /// The one time that there is.
    Only,
    /// How many.
    Count,
    /// Which share of all.
    Share,
    /// How many a second.
    PerSecond,
}

impl Aggregate {
    /// Whether it is a time.
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
    /// Every operator as it is written.
    pub const ALL: [(&'static str, Operator); 6] = [
        ("<", Operator::Less),
        ("<=", Operator::AtMost),
        (">", Operator::Greater),
        (">=", Operator::AtLeast),
        ("==", Operator::Equal),
        ("!=", Operator::Unequal),
    ];

    /// Whether it holds between what was found and what was asked.
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

/// Why an expression is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", nearest.as_ref().map(|word| format!("; did you mean `{word}`?")).unwrap_or_default())]
pub struct GrammarError {
    /// The offending piece, in bytes of the expression; empty, at its place, when something is missing.
    pub span: Range<usize>,
    /// What is wrong with it, as a lowercase fragment.
    pub message: String,
    /// The nearest valid word, if one is near.
    pub nearest: Option<String>,
}

impl Assertion {
    /// Reads an expression; it holds over all measured phases, without window, until the caller says otherwise.
    ///
    /// # Errors
    /// With the place and the nearest valid word, when it is not understood.
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

    /// They stand unless the profile removes them.
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

    /// They stand as well where there is a receiver behind the relay.
    pub fn builtin_behind_relay() -> Vec<Assertion> {
        ["missing == 0", "duplicated == 0", "altered == 0", "delivery.unexpected == 0"]
            .map(|expr| Assertion {
                builtin: true,
                ..Assertion::parse(expr).expect("our own expressions are well-formed")
            })
            .into()
    }
}
