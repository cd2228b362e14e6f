//! The `[capacity]` table: what is varied, how far and how finely, and the goals. `experiment::capacity` performs the
//! search.
//!
//! # Decisions
//! - The load of a trial is the first measured phase of the varied kind (arrivals at a rate, or sessions at a time),
//!   with another rate or number. So a run at the capacity does what its trials did. Without such a phase a trial is
//!   messages at an even rate over at most 1,000 sessions, or sessions that begin again.

use std::time::Duration;

use super::phase::FASTEST;
use super::{event, message, rule, session};
use crate::experiment::capacity::classify::GoalWeights;
use crate::experiment::capacity::goal::GoalError;
use crate::experiment::capacity::{CapacityPlan, Goal, Knob, SearchRules};
use crate::load::{self, Curve, LoadModel, Spacing};
use crate::mail;
use crate::plan::{OnSaturation, Phase, Unit};
use crate::profile::document::{Document, keys};
use crate::profile::error::ProfileFault;
use crate::profile::schema::Profile;
use crate::profile::schema::capacity::Capacity;
use crate::profile::schema::phase::{GRACEFUL_STOP, MAX_SESSIONS};
use crate::profile::table::Word;
use crate::profile::units::{Count, SearchSetting, Size, Time};
use crate::verdict::Assertion;
use crate::verdict::grammar::Subject;

/// Good and bad trials have the same weight (RFC 9971: goal exceed ratio).
const EXCEED: f64 = 0.5;

/// Compiles the search of a profile with its defaults. `phases`, `mail` and `assertions` are those of its plan.
///
/// # Errors
/// The first fault in the table.
pub(super) fn compile(
    document: &Document,
    profile: &Profile,
    written: &Capacity,
    phases: &[Phase],
    mail: &mail::Spec,
    assertions: &[Assertion],
) -> Result<CapacityPlan, ProfileFault> {
    let reader = CapacityReader { document, written, largest: message::largest(mail.dkim.is_some()) };
    let (knob, start, max) = reader.range()?;
    let (phase, of_phase) = reader.phase(profile, phases, knob, mail)?;
    let messages = session::messages(document, &profile.session(), std::slice::from_ref(&phase))?;
    let Time(trial) = written.trial();
    // By default three trials decide.
    let sum = written.duration_sum.map_or(trial * 3, |Time(sum)| sum);
    if sum < trial {
        let remedy = "write at least as much as `trial`, which is three of them by default";
        return Err(reader.error("duration_sum", "less trial time than one trial", remedy));
    }
    let confirm = written.confirm.map_or(trial.max(Duration::from_secs(60)), |Time(confirm)| confirm);
    if !confirm.is_zero() && confirm < trial {
        let remedy = "write at least as much as `trial`, or \"0s\" for no confirmation";
        return Err(reader.error("confirm", "a confirmation shorter than a trial", remedy));
    }
    let goals = reader.goals(phase.unit == Unit::Message && phase.load.model.is_closed())?;
    let is_of_trials = |assertion: &&Assertion| {
        let named = assertion.phase.as_deref();
        matches!(assertion.expr.subject, Subject::Delivery(_))
            && named.is_none_or(|name| name == &*phase.name)
    };
    let deliveries = assertions.iter().filter(is_of_trials).cloned().collect();
    Ok(CapacityPlan {
        knob,
        rules: SearchRules {
            start,
            max,
            width: written.width().0 / 100.0,
            whole: knob != Knob::Rate,
            ceiling: None,
            weights: GoalWeights { full_s: trial.as_secs_f64(), sum_s: sum.as_secs_f64(), exceed: EXCEED },
            confirm_s: confirm.as_secs_f64(),
            goals: goals.len(),
        },
        goals,
        sustained: written.sustained(),
        deliveries,
        phase,
        of_phase,
        messages,
        warmup: written.warmup().0,
        cooldown_max: written.cooldown_max().0,
        deadline: written.deadline().0,
        between_trials: written.between_trials.as_ref().map(|text| event::command(profile, text)),
    })
}

struct CapacityReader<'d> {
    document: &'d Document,
    written: &'d Capacity,
    /// The largest message in bytes.
    largest: u64,
}

impl CapacityReader<'_> {
    fn error(
        &self,
        key: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> ProfileFault {
        self.document.error_at(&keys!["capacity", key], message, remedy)
    }

    /// Returns what is varied, and its range.
    fn range(&self) -> Result<(Knob, f64, f64), ProfileFault> {
        let Word(knob) = self.written.by();
        let (first, last): (f64, f64) = match knob {
            Knob::Rate => (20.0, 5000.0),
            Knob::Sessions => (1.0, 1000.0),
            Knob::Size => (4096.0, 67_108_864.0),
        };
        let start = self.level("start", self.written.start, knob)?;
        // A start beyond the default maximum moves the maximum.
        let max =
            self.level("max", self.written.max, knob)?.unwrap_or_else(|| last.max(start.unwrap_or(first)));
        let start = start.unwrap_or_else(|| first.min(max));
        if start > max {
            return Err(self.error("max", "the search would end below its start", "write more than `start`"));
        }
        Ok((knob, start, max))
    }

    fn level(
        &self,
        key: &'static str,
        level: Option<SearchSetting>,
        knob: Knob,
    ) -> Result<Option<f64>, ProfileFault> {
        let value = match (knob, level) {
            (_, None) => return Ok(None),
            (Knob::Rate, Some(SearchSetting::Rate(rate))) => rate.hertz(),
            (Knob::Sessions, Some(SearchSetting::Sessions(Count(count)))) => count as f64,
            (Knob::Size, Some(SearchSetting::Size(Size(bytes)) | SearchSetting::Sessions(Count(bytes)))) => {
                bytes as f64
            }
            (_, Some(level)) => {
                let (what, example) = match knob {
                    Knob::Rate => ("rate", "\"20/s\""),
                    Knob::Sessions => ("number of sessions", "10"),
                    Knob::Size => ("size", "\"4KiB\""),
                };
                return Err(self.error(
                    key,
                    format!("{level} is no {what}, and `by` is {}", knob.as_str()),
                    format!("write a {what} such as {example}"),
                ));
            }
        };
        if value <= 0.0 {
            return Err(self.error(key, "0 is no load", "write more than 0"));
        }
        let (most, what, remedy) = match knob {
            Knob::Rate => (
                FASTEST,
                "more arrivals a second than can be started",
                "write at most \"10000000/s\"".to_owned(),
            ),
            Knob::Sessions => (
                f64::from(u32::MAX),
                "more sessions than can be counted",
                "write a number below 2^32".to_owned(),
            ),
            Knob::Size => (
                self.largest as f64,
                "more than a message may have",
                format!("write at most \"{}\"", Size(self.largest)),
            ),
        };
        if value > most {
            return Err(self.error(key, what, remedy));
        }
        Ok(Some(value))
    }

    /// Returns the load that is varied, and the index of its phase in the profile.
    fn phase(
        &self,
        profile: &Profile,
        phases: &[Phase],
        knob: Knob,
        mail: &mail::Spec,
    ) -> Result<(Phase, Option<u32>), ProfileFault> {
        let fits = |phase: &&(u32, &Phase)| {
            let load = &phase.1.load.model;
            let of_knob = match knob {
                Knob::Rate => matches!(load, LoadModel::Rate { .. }),
                Knob::Sessions => matches!(load, LoadModel::Sessions { .. }),
                Knob::Size => matches!(load, LoadModel::Rate { .. } | LoadModel::Sessions { .. }),
            };
            of_knob && !phase.1.warmup
        };
        let numbered: Vec<(u32, &Phase)> = (0..).zip(phases).collect();
        let found = numbered.iter().find(fits).map(|(index, phase)| ((*phase).clone(), Some(*index)));
        match (knob, found) {
            (Knob::Size, None) => Err(self.error(
                "by",
                "the size of messages is searched under a load, and no measured phase says which",
                "add [[phase]] with `load = \"constant-rate\"`, `rate = \"20/s\"` and `for = \"10s\"`",
            )),
            (Knob::Size, Some(_))
                if !matches!(mail.body, mail::Body::Words | mail::Body::Text { filled: true, .. }) =>
            {
                Err(self.error(
                    "by",
                    "the messages come from files, and have the size that those have",
                    "remove `files` and `text_file` in [message]",
                ))
            }
            (Knob::Size, Some((phase, index))) => Ok((phase_at_peak(phase), index)),
            (_, Some(found)) => Ok(found),
            (_, None) => Ok((usual(knob, session::think(&profile.session())), None)),
        }
    }

    /// `judges_sessions`: whether a refused session is bad although no arrival failed with it.
    fn goals(&self, judges_sessions: bool) -> Result<Vec<Goal>, ProfileFault> {
        let mut goals: Vec<Goal> = Vec::new();
        for (index, written) in self.written.goals().iter().enumerate() {
            let at = |key: &'static str| keys!["capacity", "goals", index, key];
            let name = written.name.clone().unwrap_or_else(|| format!("goal-{}", index + 1));
            if goals.iter().any(|goal| goal.name == name) {
                let message = format!("a goal before this one is called `{name}` too");
                return Err(self.document.error_at(&at("name"), message, "give each goal a name of its own"));
            }
            let failures = written.failures().0 / 100.0;
            let expression = rule::objective(self.document, index, written)?;
            let goal = Goal::new(&name, &expression.expr, failures).map_err(|error: GoalError| {
                let remedy = "write one such as \"response p99 < 500ms\"; how many may fail says `failures`";
                self.document.error_at(&at("slo"), error.to_string(), remedy)
            })?;
            goals.push(goal.with_sessions(judges_sessions));
        }
        Ok(goals)
    }
}

/// Returns the load of a trial if the profile has no phase of the kind.
fn usual(knob: Knob, think: load::Think) -> Phase {
    let (load, unit, model) = match knob {
        Knob::Sessions => {
            (LoadModel::Sessions { curve: Curve::constant(1.0), think }, Unit::Session, "constant-sessions")
        }
        Knob::Rate | Knob::Size => (
            LoadModel::Rate { curve: Curve::constant(1.0), spacing: Spacing::Uniform },
            Unit::Message,
            "constant-rate",
        ),
    };
    Phase {
        name: "trial".into(),
        load: load::PhaseLoad { model: load, length: None },
        model: model.into(),
        unit,
        warmup: false,
        max_sessions: MAX_SESSIONS as u32,
        connect_rate: None,
        on_saturation: OnSaturation::Queue,
        open_first: false,
        graceful_stop: GRACEFUL_STOP,
    }
}

/// Returns the phase with its peak load for the whole time.
fn phase_at_peak(mut phase: Phase) -> Phase {
    if let Some(curve) = phase.load.model.curve_mut() {
        *curve = Curve::constant(curve.peak());
    }
    phase
}
