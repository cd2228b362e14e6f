//! The language of assertions: `<what> <aggregate> <operator> <value with unit>`, such as `response p99 < 800ms`.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use crate::collector::{Condition, Metric, Outcome};

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
    /// One of ours, not the user's.
    pub builtin: bool,
}

/// An expression, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// As it was written.
    pub text: String,
    /// What is looked at.
    pub subject: Subject,
    /// Which number of it.
    pub aggregate: Aggregate,
    /// How it is compared.
    pub operator: Operator,
    /// With what: nanoseconds, a count, a share (0.01 for 1 %) or a number a second, as the aggregate asks.
    pub value: f64,
}

/// What an expression looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A distribution of durations; `None`: whatever the outcome (our own lag and wait).
    Latency(Metric, Option<Outcome>),
    /// Arrivals that became due.
    Scheduled,
    /// Arrivals that were begun.
    Started,
    /// Arrivals that ended so.
    Arrivals(Outcome),
    /// Arrivals neither accepted nor expected.
    Unexpected,
    /// Transactions begun.
    Attempted,
    /// Transactions that ended so.
    Transactions(Outcome),
    /// How often a condition was met.
    Condition(Condition),
    /// Refusals that the `[[expect]]` of this name covered.
    Expect(String),
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
    /// How many.
    Count,
    /// Which share of all.
    Share,
    /// How many a second.
    PerSecond,
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

/// Why an expression is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrammarError {
    /// The offending piece, in bytes of the expression; empty at its end when something is missing.
    pub span: Range<usize>,
    /// What is wrong with it, as a lowercase fragment.
    pub message: String,
    /// The nearest valid word.
    pub nearest: Option<String>,
}

impl fmt::Display for GrammarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.nearest {
            Some(word) => write!(f, ", did you mean `{word}`?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for GrammarError {}

impl Assertion {
    /// Reads an expression; it holds over all measured phases, without window, until the caller says otherwise.
    ///
    /// # Errors
    /// With the place and the nearest valid word, when it is not understood.
    pub fn parse(expr: &str) -> Result<Assertion, GrammarError> {
        todo!()
    }

    /// `accepted > 0` and `shed == 0`: they stand unless the profile removes them.
    pub fn builtin() -> Vec<Assertion> {
        todo!()
    }
}
