//! Whether a measurement can be trusted (M23): every reason why it says more about us than about the listener.

use std::fmt;

use super::PhaseSummary;
use crate::collector::snapshot::Measured;

/// The kinds of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// We started arrivals late.
    GeneratorLag,
    /// We did not start what was due.
    NotStarted,
    /// Our own machine ran out of something (M24).
    OwnResource,
    /// Our threads had no CPU left.
    GeneratorCpu,
    /// Wall clock and monotonic clock parted.
    ClockJumped,
    /// A worker or shard never reported to the end.
    WorkerLost,
    /// Values were lost (M14).
    Clipped,
    /// The counts do not sum (M10): a fault of ours.
    Books,
}

impl Code {
    /// The code's name in JSON and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Code::GeneratorLag => "generator-lag",
            Code::NotStarted => "not-started",
            Code::OwnResource => "own-resource",
            Code::GeneratorCpu => "generator-cpu",
            Code::ClockJumped => "clock-jumped",
            Code::WorkerLost => "worker-lost",
            Code::Clipped => "clipped",
            Code::Books => "books",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One reason why a measurement is invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Its kind.
    pub code: Code,
    /// The index of the phase, if it concerns one.
    pub phase: Option<usize>,
    /// What was found, what is allowed and what to do.
    pub sentence: String,
}

/// Whether a measurement can be trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validity {
    /// Why not, in the order of phases; none: it can.
    pub reasons: Vec<Reason>,
}

impl Validity {
    /// Whether the measurement can be trusted.
    pub fn is_valid(&self) -> bool {
        self.reasons.is_empty()
    }
}
