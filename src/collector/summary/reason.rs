//! The reasons why a measurement is invalid.

use std::fmt;

/// The kinds of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// The generator started arrivals late.
    GeneratorLag,
    /// The generator did not start arrivals that were scheduled.
    NotStarted,
    /// The generator's machine failed, for example because a resource was exhausted (M24).
    OwnResource,
    /// The generator's threads used nearly all of the CPU that they may use.
    GeneratorCpu,
    /// The generator's threads stood still, or waited for a core (M5b).
    GeneratorStalled,
    /// The quota of its control group, or the hypervisor, kept the process from running (M5b).
    GeneratorThrottled,
    /// The wall clock and the monotonic clock diverged.
    ClockJumped,
    /// A worker or shard did not report its end.
    WorkerLost,
    /// An agent of a fleet was lost, or its reports are incomplete.
    AgentLost,
    /// Shards started a phase at different times.
    ShardsApart,
    /// The command of an event failed, or was not run.
    EventFailed,
    /// The receiver behind the relay was the bottleneck (M32).
    ReceiverOverloaded,
    /// A delivery log may be incomplete.
    DeliveriesIncomplete,
    /// The counts do not reconcile (M10): a fault of smtpress.
    Counts,
}

impl Code {
    /// Every code.
    pub const ALL: [Code; 14] = [
        Code::GeneratorLag,
        Code::NotStarted,
        Code::OwnResource,
        Code::GeneratorCpu,
        Code::GeneratorStalled,
        Code::GeneratorThrottled,
        Code::ClockJumped,
        Code::WorkerLost,
        Code::AgentLost,
        Code::ShardsApart,
        Code::EventFailed,
        Code::ReceiverOverloaded,
        Code::DeliveriesIncomplete,
        Code::Counts,
    ];

    /// Returns the code's name in JSON and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Code::GeneratorLag => "generator-lag",
            Code::NotStarted => "not-started",
            Code::OwnResource => "own-resource",
            Code::GeneratorCpu => "generator-cpu",
            Code::GeneratorStalled => "generator-stalled",
            Code::GeneratorThrottled => "generator-throttled",
            Code::ClockJumped => "clock-jumped",
            Code::WorkerLost => "worker-lost",
            Code::AgentLost => "agent-lost",
            Code::ShardsApart => "shards-apart",
            Code::EventFailed => "event-failed",
            Code::ReceiverOverloaded => "receiver-overloaded",
            Code::DeliveriesIncomplete => "deliveries-incomplete",
            Code::Counts => "books",
        }
    }

    /// Whether the load generator or its machine could not do what the plan asked for.
    pub const fn is_of_generator(self) -> bool {
        matches!(
            self,
            Code::GeneratorLag
                | Code::NotStarted
                | Code::OwnResource
                | Code::GeneratorCpu
                | Code::GeneratorStalled
                | Code::GeneratorThrottled
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A reason why a measurement is invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidityReason {
    /// The kind.
    pub code: Code,
    /// The index of the phase; `None`: the reason is about the whole run.
    pub phase: Option<usize>,
    /// The measured value, the allowed value and the remedy.
    pub sentence: String,
}
