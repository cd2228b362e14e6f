//! The settings of a search for the capacity, and the plans of its trials.

use std::time::Duration;

use super::controller::SearchRules;
use super::goal::Goal;
use crate::event::ShellCommand;
use crate::load::{self, Curve, LoadModel, Shard, Think};
use crate::mail::MessageSize;
use crate::plan::{Messages, Phase, Plan, PlanPart, Unit};
use crate::verdict::Assertion;

/// The longest time of a probe.
const PROBE: Duration = Duration::from_secs(10);
/// How long after the longest limit of the goals the arrivals in flight at the end of a trial are interrupted.
const GRACE: Duration = Duration::from_secs(2);

/// The parameter that is varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knob {
    /// Arrivals a second.
    Rate,
    /// Sessions at a time.
    Sessions,
    /// Bytes of a message.
    Size,
}

impl Knob {
    /// Returns the name in profile and result.
    pub const fn as_str(self) -> &'static str {
        match self {
            Knob::Rate => "rate",
            Knob::Sessions => "sessions",
            Knob::Size => "size",
        }
    }
}

/// The settings of a search, completely decided.
#[derive(Clone, Debug, PartialEq)]
pub struct CapacityPlan {
    /// The parameter that is varied.
    pub knob: Knob,
    /// The rules of the search.
    pub rules: SearchRules,
    /// The goals.
    pub goals: Vec<Goal>,
    /// Whether the user wants a load with a growing backlog to be bad: see [`CapacityPlan::judges_backlog`].
    pub sustained: bool,
    /// The assertions on the deliveries of each trial, if there is a receiver behind the relay.
    pub deliveries: Vec<Assertion>,
    /// The load of a trial, without the varied parameter.
    pub phase: Phase,
    /// The index of the phase of the profile from which `phase` was taken.
    pub of_phase: Option<u32>,
    /// The number of messages in a session.
    pub messages: Messages,
    /// How long the listener is warmed up.
    pub warmup: Duration,
    /// How long a cool-down after a trial may take.
    pub cooldown_max: Duration,
    /// How long the search may take.
    pub deadline: Duration,
    /// The command that is run between two trials.
    pub between_trials: Option<ShellCommand>,
}

impl CapacityPlan {
    /// Whether a trial with a growing backlog is bad. The growth is compared with the arrivals a second, which are given only
    /// in a search by rate.
    pub fn judges_backlog(&self) -> bool {
        self.sustained && self.knob == Knob::Rate
    }

    /// Returns the unit of loads.
    pub fn unit(&self) -> &'static str {
        match (self.knob, self.phase.unit) {
            (Knob::Rate, Unit::Message) => "messages/s",
            (Knob::Rate, Unit::Session) => "sessions/s",
            (Knob::Sessions, _) => "sessions",
            (Knob::Size, _) => "bytes",
        }
    }

    /// Returns a load in words: `640/s`, `24 sessions`, `65536 bytes`.
    pub fn format_load(&self, load: f64) -> String {
        match self.knob {
            Knob::Rate => format!("{load}/s"),
            Knob::Sessions => format!("{load} sessions"),
            Knob::Size => format!("{load} bytes"),
        }
    }

    /// Returns the plan of the trial with this number (from 1) at this load.
    pub fn trial(&self, plan: &Plan, number: usize, load: f64, length: Duration) -> Plan {
        let mut trial = self.at(plan, load, length);
        // Each trial has its own randomness and its own messages.
        trial.seed = plan.seed.wrapping_add(number as u64);
        trial.run_id = format!("{}-{number}", plan.run_id);
        trial.part = PlanPart::Trial { number, load, length };
        let patience = self.goals.iter().map(Goal::limit).max().unwrap_or_default() + GRACE;
        let phase = &mut trial.phases[0];
        phase.name = format!("trial-{number}");
        phase.graceful_stop = phase.graceful_stop.min(patience);
        trial
    }

    /// Returns the plan that warms the listener up.
    pub fn warm_up(&self, plan: &Plan, length: Duration) -> Plan {
        // As in a trial, the generator carries no more than it is trusted with.
        let mut warm_up = self.at(plan, self.rules.start.min(self.rules.top()), length);
        warm_up.run_id = format!("{}-warm-up", plan.run_id);
        warm_up.part = PlanPart::WarmUp { length };
        warm_up.phases[0].name = "warm-up".into();
        warm_up.phases[0].warmup = true;
        warm_up
    }

    /// Returns the plan of a single arrival, to measure the idle listener.
    pub fn probe(&self, plan: &Plan, number: usize) -> Plan {
        let mut probe = self.at(plan, self.rules.start, PROBE);
        probe.run_id = format!("{}-probe-{number}", plan.run_id);
        probe.part = PlanPart::Probe { number };
        let phase = &mut probe.phases[0];
        phase.name = "probe".into();
        phase.load.model = LoadModel::Shared { total: 1, sessions: 1, think: Think::default() };
        phase.max_sessions = 1;
        phase.graceful_stop = Duration::ZERO;
        probe
    }

    /// Returns the plan of a part of the search, equal to the one that [`CapacityPlan::trial`],
    /// [`CapacityPlan::warm_up`] or [`CapacityPlan::probe`] made.
    pub fn part(&self, plan: &Plan, part: PlanPart) -> Plan {
        match part {
            PlanPart::Run | PlanPart::Limits { .. } => plan.clone(),
            PlanPart::WarmUp { length } => self.warm_up(plan, length),
            PlanPart::Trial { number, load, length } => self.trial(plan, number, load, length),
            PlanPart::Probe { number } => self.probe(plan, number),
        }
    }

    fn at(&self, plan: &Plan, load: f64, length: Duration) -> Plan {
        let mut phase = self.phase.clone();
        let mut mail = plan.mail.clone();
        match self.knob {
            Knob::Size => mail.size = MessageSize::Fixed(load as u64),
            Knob::Rate | Knob::Sessions => {
                *phase.load.model.curve_mut().expect("the load that is varied follows a curve") =
                    Curve::constant(load);
            }
        }
        if self.knob == Knob::Sessions {
            phase.max_sessions = load as u32;
        }
        phase.load.length = Some(length);
        phase.warmup = false;
        let mut expects = plan.expects.clone();
        expects.retain(|expect| expect.phase.is_none_or(|phase| Some(phase) == self.of_phase));
        expects.iter_mut().for_each(|expect| expect.phase = expect.phase.map(|_| 0));
        Plan {
            // No message is tried again, so that a refused message counts as refused.
            retry: None,
            phases: vec![phase],
            messages: self.messages.clone(),
            mail,
            expects,
            shard: Shard::WHOLE,
            events: Vec::new(),
            ..plan.clone()
        }
    }

    /// Returns how many arrivals a plan will have, if that is known in advance.
    pub fn scheduled(plan: &Plan) -> Option<u64> {
        load::expected_arrivals(&plan.phases[0].load)
    }
}
