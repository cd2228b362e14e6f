//! `[[phase]]`: the parts of a run, with their load models.

use std::time::Duration;

use crate::load::Spacing;
use crate::plan::{OnSaturation, Unit};
use crate::profile::bounds;
use crate::profile::table::{Word, tables, words};
use crate::profile::units::{Count, Level, Rate, Time};

/// The most open sessions of an open load, unless the profile sets another number.
pub const MAX_SESSIONS: u64 = 1000;
/// How long arrivals may take to end after their phase, unless the profile sets another time.
pub const GRACEFUL_STOP: Duration = Duration::from_secs(30);

words! {
    /// The load model of a phase.
    enum Load {
        /// Arrivals at a rate, whatever the target does: `rate`, `for`.
        ConstantRate = "constant-rate" | "constant-arrival-rate",
        /// Arrivals at a changing rate: `from`, `to`, `for`; or `from` and `stages`.
        RampingRate = "ramping-rate" | "ramping-arrival-rate",
        /// A constant number of sessions at a time, each starting again when it has ended: `sessions`, `for`.
        ConstantSessions = "constant-sessions" | "constant-vus",
        /// A changing number of sessions: `from`, `to`, `for`; or `from` and `stages`.
        RampingSessions = "ramping-sessions" | "ramping-vus",
        /// `messages` in all, shared by `sessions`; `for` is the longest time.
        SharedMessages = "shared-messages" | "shared-iterations",
        /// `size` arrivals at once, at the start and then at intervals of `every`, for the length `for`. Without
        /// `every`: once.
        Burst = "burst",
        /// From `from` up by `step`, at intervals of `every`, `steps` steps in all. Rates or numbers of sessions.
        Staircase = "staircase",
        /// `sessions` opened (at `rate` if given) and held open to the end of the length `for`, in which all are opened.
        HeldSessions = "held-sessions",
    }
    /// How the arrivals of a rate are spaced.
    for Spacing {
        /// Evenly.
        Uniform = "uniform",
        /// As a Poisson process: independent senders.
        Poisson = "poisson",
    }
    /// The unit of an arrival.
    for Unit {
        /// A session with all its messages.
        Session = "session",
        /// A message, on a session of the pool.
        Message = "message",
    }
    /// What happens with an arrival when no session is free.
    for OnSaturation {
        /// It waits, with its intended time. Up to 1048576 arrivals wait at once; further ones are shed.
        Queue = "queue",
        /// It is dropped, and counted as shed.
        Drop = "drop",
    }
}

impl Load {
    /// Whether the load is a rate of arrivals. For a staircase the first value decides.
    pub fn is_rate(self, from: Option<Level>) -> bool {
        match self {
            Load::ConstantRate | Load::RampingRate => true,
            Load::Staircase => !matches!(from, Some(Level::Sessions(_))),
            Load::ConstantSessions
            | Load::RampingSessions
            | Load::SharedMessages
            | Load::Burst
            | Load::HeldSessions => false,
        }
    }

    /// Returns the keys that a phase of this load takes.
    pub fn keys(self, from: Option<Level>) -> Vec<&'static str> {
        let own: &[&str] = match self {
            Load::ConstantRate => &["rate", "for"],
            Load::RampingRate | Load::RampingSessions => &["from", "to", "for", "stages"],
            Load::ConstantSessions => &["sessions", "for", "open_first"],
            Load::SharedMessages => &["messages", "sessions", "for", "open_first"],
            Load::Burst => &["size", "every", "for"],
            Load::Staircase => &["from", "step", "every", "steps"],
            Load::HeldSessions => &["sessions", "rate", "for"],
        };
        let rate = self.is_rate(from);
        let open: &[&str] =
            if rate || self == Load::Burst { &["max_sessions", "on_saturation"] } else { &[] };
        let arrival: &[&str] = if rate { &["arrival"] } else { &[] };
        let common = ["name", "load", "unit", "warmup", "connect_rate", "graceful_stop"];
        [own, arrival, open, &common].concat()
    }
}

tables! {
    /// A part of the run.
    Phase {
        /// The name, unique in the profile: letters, digits, `-` and `_`. Default: `phase-` and its number.
        name: String, if bounds::plain_name;
        /// The load model, which determines the keys that the phase needs. Needed.
        load: Load;
        /// The length; for shared-messages the longest time. A staircase has `every` and `steps` instead.
        length as "for": Time, if bounds::some_time, flag "--for";
        /// Arrivals in a time (constant-rate), or sessions opened in a time (held-sessions). Absent: all sessions at once.
        rate: Rate, flag "--rate";
        /// Sessions at a time.
        sessions: Count, if bounds::some_sessions, flag "--sessions";
        /// Messages in all (shared-messages).
        messages: Count, if bounds::some_messages, flag "--messages";
        /// Arrivals of a burst.
        size: Count, if bounds::burst;
        /// The time from burst to burst, or from step to step.
        every: Time, if bounds::some_time;
        /// The first value of a ramp or staircase: a rate such as "10/s", or a number of sessions.
        from: Level;
        /// The last value of a ramp.
        to: Level;
        /// The height of a staircase's step.
        step: Level;
        /// The number of a staircase's steps, the first included.
        steps: Count, if bounds::steps;
        /// The parts of a ramp, each starting at the value before it.
        stages: Vec<Stage>, if bounds::stages;
        /// How arrivals of a rate are spaced.
        arrival: Word<Spacing>, or Word(Spacing::Uniform);
        /// The unit of an arrival. Default message for rates, bursts and shared-messages, session for the others.
        unit: Word<Unit>;
        /// Whether it is a warm-up, which is not measured.
        warmup: bool, or false;
        /// The largest number of sessions at once. Default: 1000 for rates and bursts, else as many as the load asks
        /// for.
        max_sessions: Count, flag "--sessions";
        /// Open all sessions before the first message starts (constant-sessions and shared-messages of unit message).
        /// The load is measured from then on; the opening is part of `for`.
        open_first: bool, or false, flag "--open-first";
        /// The largest number of connections opened in a time. Default: no limit.
        connect_rate: Rate, if bounds::connect_rate;
        /// What happens with an arrival when no session is free.
        on_saturation: Word<OnSaturation>, or Word(OnSaturation::Queue);
        /// How long arrivals may take to end after the phase.
        graceful_stop: Time, or Time(GRACEFUL_STOP);
    }
    /// A part of a ramp.
    Stage {
        /// The length of the part.
        length as "for": Time;
        /// The rate at its end (ramping-rate).
        rate: Rate;
        /// The sessions at its end (ramping-sessions).
        sessions: Count;
    }
}
