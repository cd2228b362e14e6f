//! The `[[phase]]` tables: load models with their keys become phases of the plan.
//!
//! # Decisions
//! - Ramps, staircases and constants become one type, [`Curve`]. A key that the load model does not use is an error,
//!   and never ignored.

use std::collections::HashMap;
use std::time::Duration;

use super::Purpose;
use super::faults::Faults;
use super::session;
use crate::load::{self, Curve, PHASE_STRIDE, Think, expected_arrivals};
use crate::plan::{self, Unit};
use crate::profile::document::{Document, keys};
use crate::profile::error::ProfileFault;
use crate::profile::nearest::choose;
use crate::profile::schema::Profile;
use crate::profile::schema::phase::{Load, Phase};
use crate::profile::table::{KeyTable, Keyword, Word};
use crate::profile::units::{Count, Level, Time};

/// The fastest rate of arrivals in 1/s: a hundred times what one core can start.
pub(super) const FASTEST: f64 = 1e7;

/// Compiles the phases of the plan; `None` if one of them is invalid.
pub(super) fn compile_all(
    document: &Document,
    profile: &Profile,
    purpose: Purpose,
    faults: &mut Faults,
) -> Option<Vec<plan::Phase>> {
    let phases = profile.phase();
    if phases.is_empty() && purpose == Purpose::Run {
        return faults.keep(&["phase"], Err(nothing_to_do(document, profile)));
    }
    let mut firsts = HashMap::with_capacity(phases.len());
    for (index, phase) in phases.iter().enumerate() {
        firsts.entry(phase.name.as_deref()).or_insert(index);
    }
    let think = session::think(&profile.session());
    let compiled = faults.keep_each("phase", &phases, |index, one| {
        let name = one.name.as_deref().unwrap_or_default();
        if let Some(&first) = firsts.get(&Some(name)).filter(|first| **first < index) {
            return Err(document.error_at(
                &keys!["phase", index, "name"],
                format!(
                    "a phase before this one is called `{name}` too (the {} in the profile)",
                    ordinal(first)
                ),
                "give each phase a name of its own",
            ));
        }
        compile(document, one, index, index + 1 == phases.len(), think)
    })?;
    if purpose == Purpose::Run && compiled.iter().all(|phase| phase.warmup) {
        let fault = document.error_at(
            &keys!["phase", 0usize, "warmup"],
            "every phase is a warm-up, so nothing is measured",
            "add a phase without `warmup = true`",
        );
        return faults.keep(&["phase"], Err(fault));
    }
    Some(compiled)
}

fn nothing_to_do(document: &Document, profile: &Profile) -> ProfileFault {
    let phase = "add [[phase]] with `load = \"constant-rate\"`, `rate = \"50/s\"` and `for = \"30s\"`";
    let remedy = match profile.limits().is_empty() {
        true => phase.to_owned(),
        false => {
            format!(
                "`smtpress limit` tests the limits of this profile (with --plan it opens no connection); for a run {phase}"
            )
        }
    };
    ProfileFault::new("there is no phase, so there is nothing to do", remedy, document.end())
}

fn ordinal(index: usize) -> String {
    match index {
        0 => "first".to_owned(),
        1 => "second".to_owned(),
        2 => "third".to_owned(),
        _ => format!("{}th", index + 1),
    }
}

/// Compiles one phase.
struct PhaseReader<'d> {
    document: &'d Document,
    phase: &'d Phase,
    index: usize,
    load: Load,
}

/// Compiles a phase; `phase` has its defaults. `last` says that no phase comes after it.
///
/// # Errors
/// A key that is missing, superfluous or impossible.
fn compile(
    document: &Document,
    phase: &Phase,
    index: usize,
    last: bool,
    think: Think,
) -> Result<plan::Phase, ProfileFault> {
    let Some(load) = phase.load else {
        return Err(document.error_at(
            &keys!["phase", index],
            "this phase has no load model",
            "add `load = \"constant-rate\"`, `rate = \"50/s\"` and `for = \"30s\"`",
        ));
    };
    let reader = PhaseReader { document, phase, index, load };
    reader.superfluous()?;
    let length = reader.length(last)?;
    let load = reader.load(length, think)?;
    let most = reader.most_sessions(&load)?;
    let unit = phase.unit.map_or(Unit::Session, |Word(unit)| unit);
    if unit == Unit::Message && matches!(load, load::LoadModel::Held { .. }) {
        return Err(reader.error("unit", "held-sessions holds sessions, not messages", "remove `unit`"));
    }
    if phase.open_first() && unit == Unit::Session {
        return Err(reader.error(
            "open_first",
            "sessions that are arrivals themselves cannot be open before the load begins",
            "add `unit = \"message\"`, or remove `open_first`",
        ));
    }
    let load = load::PhaseLoad { model: load, length };
    reader.within_reach(&load)?;
    match expected_arrivals(&load) {
        Some(0) => {
            return Err(document.error_at(
                &keys!["phase", index],
                "not one arrival comes of this phase",
                "raise its rate or its length",
            ));
        }
        Some(arrivals) if arrivals >= PHASE_STRIDE => {
            return Err(document.error_at(
                &keys!["phase", index],
                "more than 10^12 arrivals come of this phase",
                "lower its rate or its length",
            ));
        }
        Some(opened) => reader.opens_all(&load, opened)?,
        None => {}
    }
    Ok(plan::Phase {
        name: phase.name.clone().unwrap_or_default(),
        load,
        model: reader.load.word().to_owned(),
        unit,
        warmup: phase.warmup(),
        max_sessions: most,
        connect_rate: phase.connect_rate.map(|rate| rate.hertz()),
        on_saturation: phase.on_saturation().0,
        open_first: phase.open_first(),
        graceful_stop: phase.graceful_stop().0,
    })
}

impl PhaseReader<'_> {
    fn error(
        &self,
        key: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> ProfileFault {
        self.document.error_at(&keys!["phase", self.index, key], message, remedy)
    }

    fn missing(&self, key: &str, example: &str) -> ProfileFault {
        self.document.error_at(
            &keys!["phase", self.index],
            format!("a phase of load `{}` needs the key `{key}`", self.load.word()),
            format!("add `{key} = {example}`"),
        )
    }

    /// Refuses a load that no machine can carry, before the load takes all memory and time.
    fn within_reach(&self, phase: &load::PhaseLoad) -> Result<(), ProfileFault> {
        let refused = |message: String, remedy: &str| {
            Err(self.document.error_at(&keys!["phase", self.index], message, remedy.to_owned()))
        };
        match &phase.model {
            load::LoadModel::Rate { curve, .. } if curve.peak() > FASTEST => refused(
                format!(
                    "{:.0} arrivals a second are more than can be started: {:.0} in {:.3} s, one each {:.2} ns",
                    curve.peak(),
                    curve.peak() * phase.length.unwrap_or_default().as_secs_f64(),
                    phase.length.unwrap_or_default().as_secs_f64(),
                    1e9 / curve.peak()
                ),
                "write at most \"10000000/s\"; `smtpress selftest` says how many this machine can start",
            ),
            load::LoadModel::Burst { size, every } => {
                let rate = *size as f64 / every.as_secs_f64();
                if *size > plan::MOST_WAITING {
                    refused(
                        format!(
                            "a burst of {size} arrivals at once: at most {} can wait, and a host has fewer than 65536 ports for one address",
                            plan::MOST_WAITING
                        ),
                        "write a smaller `size`",
                    )
                } else if !every.is_zero() && rate > FASTEST {
                    refused(
                        format!("{size} arrivals every {} are {rate:.0} a second", Time(*every)),
                        "write a smaller `size`, or a longer `every`: at most 10000000 a second can be started",
                    )
                } else {
                    Ok(())
                }
            }
            load::LoadModel::Held { sessions, rate } if rate.is_finite() && *rate > FASTEST => refused(
                format!("{sessions} sessions opened at {rate:.0} a second"),
                "write at most \"10000000/s\"",
            ),
            load::LoadModel::Shared { total, .. } => match phase.length {
                Some(length) if *total as f64 / length.as_secs_f64() > FASTEST => refused(
                    format!(
                        "{total} messages in {} are {:.0} a second",
                        Time(length),
                        *total as f64 / length.as_secs_f64()
                    ),
                    "write fewer `messages`, or a longer `for`: at most 10000000 a second can be started",
                ),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Refuses held sessions of which only this many are opened before the phase is over.
    fn opens_all(&self, phase: &load::PhaseLoad, opened: u64) -> Result<(), ProfileFault> {
        let (load::LoadModel::Held { sessions, rate }, Some(written), Some(length)) =
            (&phase.model, self.phase.rate, phase.length)
        else {
            return Ok(());
        };
        if opened >= *sessions {
            return Ok(());
        }
        let takes = Duration::from_millis((*sessions as f64 / rate * 1e3).round() as u64);
        Err(self.document.error_at(
            &keys!["phase", self.index],
            format!(
                "{sessions} sessions at {written} take {}, and the phase lasts {}",
                Time(takes),
                Time(length)
            ),
            format!("write a faster `rate`, a longer `for`, or at most {opened} `sessions`"),
        ))
    }

    /// Refuses keys of other load models.
    fn superfluous(&self) -> Result<(), ProfileFault> {
        let takes = self.load.keys(self.phase.from);
        match self.phase.given().into_iter().find(|key| !takes.contains(key)) {
            None => Ok(()),
            Some(key) => Err(self.document.error_at_key(
                &keys!["phase", self.index, key],
                format!("a phase of load `{}` has no use for `{key}`", self.load.word()),
                choose("", &takes, "its keys are"),
            )),
        }
    }

    fn length(&self, last: bool) -> Result<Option<Duration>, ProfileFault> {
        if let (Some(stages), None) = (&self.phase.stages, self.phase.length) {
            let mut sum = Duration::ZERO;
            for (number, stage) in stages.iter().enumerate() {
                sum += stage
                    .length
                    .ok_or_else(|| {
                        self.stage_error(number, "a stage needs the key `for`", "add `for = \"30s\"`")
                    })?
                    .0;
            }
            if sum.is_zero() {
                return Err(self.error("stages", "no time at all", "write a duration such as \"30s\""));
            }
            return Ok(Some(sum));
        }
        match self.load {
            Load::Staircase => {
                let Time(every) = self.phase.every.ok_or_else(|| self.missing("every", "\"30s\""))?;
                Ok(Some(every * u32::try_from(self.steps()?).expect("steps are bounded")))
            }
            Load::SharedMessages if self.phase.length.is_none() => {
                if last {
                    Ok(None)
                } else {
                    Err(self.document.error_at(
                        &keys!["phase", self.index],
                        "only the last phase may go on until its messages are used up",
                        "add `for = \"5m\"`, the longest it may take",
                    ))
                }
            }
            _ => {
                let Time(length) = self.phase.length.ok_or_else(|| self.missing("for", "\"30s\""))?;
                Ok(Some(length))
            }
        }
    }

    fn load(&self, length: Option<Duration>, think: Think) -> Result<load::LoadModel, ProfileFault> {
        let Word(spacing) = self.phase.arrival();
        let rate = |curve| load::LoadModel::Rate { curve, spacing };
        let sessions = |curve| load::LoadModel::Sessions { curve, think };
        Ok(match self.load {
            Load::ConstantRate => {
                let given = self.phase.rate.ok_or_else(|| self.missing("rate", "\"50/s\""))?;
                rate(Curve::constant(self.positive("rate", given.hertz(), "\"50/s\"")?))
            }
            Load::RampingRate => rate(self.ramp(length, true)?),
            Load::RampingSessions => sessions(self.ramp(length, false)?),
            Load::ConstantSessions => sessions(Curve::constant(self.sessions()? as f64)),
            Load::SharedMessages => {
                let Count(total) = self.phase.messages.ok_or_else(|| self.missing("messages", "\"10k\""))?;
                load::LoadModel::Shared { total, sessions: self.sessions()?, think }
            }
            Load::Burst => {
                let Count(size) = self.phase.size.ok_or_else(|| self.missing("size", "100"))?;
                load::LoadModel::Burst { size, every: self.phase.every.unwrap_or_default().0 }
            }
            Load::Staircase => {
                let curve = self.staircase()?;
                if self.load.is_rate(self.phase.from) { rate(curve) } else { sessions(curve) }
            }
            Load::HeldSessions => {
                let opening = self
                    .phase
                    .rate
                    .map(|rate| self.positive("rate", rate.hertz(), "\"20/s\""))
                    .transpose()?;
                load::LoadModel::Held { sessions: self.sessions()?, rate: opening.unwrap_or(f64::INFINITY) }
            }
        })
    }

    fn positive(&self, key: &'static str, value: f64, example: &str) -> Result<f64, ProfileFault> {
        if value > 0.0 {
            Ok(value)
        } else {
            Err(self.error(key, "a rate of 0 asks for nothing", format!("write a rate such as {example}")))
        }
    }

    fn sessions(&self) -> Result<u64, ProfileFault> {
        self.phase.sessions.map(|Count(sessions)| sessions).ok_or_else(|| self.missing("sessions", "50"))
    }

    fn steps(&self) -> Result<u64, ProfileFault> {
        self.phase.steps.map(|Count(steps)| steps).ok_or_else(|| self.missing("steps", "10"))
    }

    /// Returns the number of a level, if the level is of the wanted kind. 0 is of both kinds.
    fn level(&self, key: &'static str, level: Option<Level>, rate: bool) -> Result<f64, ProfileFault> {
        match (level, rate) {
            (None | Some(Level::Sessions(Count(0))), _) => Ok(0.0),
            (Some(Level::Rate(value)), true) => Ok(value.hertz()),
            (Some(Level::Sessions(Count(value))), false) => Ok(value as f64),
            (Some(level), true) => {
                Err(self.error(key, format!("{level} has no unit of time"), "write a rate such as \"50/s\""))
            }
            (Some(level), false) => Err(self.error(
                key,
                format!("\"{level}\" is a rate, not a number of sessions"),
                "write a number such as 50",
            )),
        }
    }

    fn ramp(&self, length: Option<Duration>, rate: bool) -> Result<Curve, ProfileFault> {
        let from = self.level("from", self.phase.from, rate)?;
        let mut points = vec![(Duration::ZERO, from)];
        match (&self.phase.stages, self.phase.to) {
            (None, None) => return Err(self.missing("to", if rate { "\"100/s\"" } else { "100" })),
            (None, to) => points.push((length.unwrap_or_default(), self.level("to", to, rate)?)),
            (Some(_), Some(_)) => {
                return Err(self.error(
                    "to",
                    "`to` and `stages` both say where the ramp ends",
                    "remove one of the two",
                ));
            }
            (Some(_), None) if self.phase.length.is_some() => {
                return Err(self.error(
                    "for",
                    "`for` and `stages` both say how long the ramp is",
                    "remove `for`",
                ));
            }
            (Some(stages), None) => {
                let mut end = Duration::ZERO;
                for (number, stage) in stages.iter().enumerate() {
                    end += stage.length.unwrap_or_default().0;
                    let value = match (rate, stage.rate, stage.sessions) {
                        (true, Some(value), None) => value.hertz(),
                        (false, None, Some(Count(value))) => value as f64,
                        (true, ..) => {
                            return Err(self.stage_error(
                                number,
                                "a stage of a ramping rate needs `rate` and `for`",
                                "write { for = \"30s\", rate = \"100/s\" }",
                            ));
                        }
                        (false, ..) => {
                            return Err(self.stage_error(
                                number,
                                "a stage of ramping sessions needs `sessions` and `for`",
                                "write { for = \"30s\", sessions = 100 }",
                            ));
                        }
                    };
                    points.push((end, value));
                }
            }
        }
        Ok(Curve { points })
    }

    fn stage_error(&self, number: usize, message: &str, remedy: &str) -> ProfileFault {
        self.document.error_at(&keys!["phase", self.index, "stages", number], message, remedy)
    }

    fn staircase(&self) -> Result<Curve, ProfileFault> {
        let rate = self.load.is_rate(self.phase.from);
        let example = if rate { "\"10/s\"" } else { "10" };
        let from = self.phase.from.ok_or_else(|| self.missing("from", "\"10/s\""))?;
        let step = self.phase.step.ok_or_else(|| self.missing("step", example))?;
        let (from, step) = (self.level("from", Some(from), rate)?, self.level("step", Some(step), rate)?);
        let Time(every) = self.phase.every.unwrap_or_default();
        let mut points = Vec::new();
        for (number, index) in (0..self.steps()?).zip(0u32..) {
            let value = from + step * number as f64;
            points.push((every * index, value));
            points.push((every * (index + 1), value));
        }
        Ok(Curve { points })
    }

    /// Returns the most sessions open at once: the profile's number, or the number that a closed load asks for.
    fn most_sessions(&self, load: &load::LoadModel) -> Result<u32, ProfileFault> {
        let (key, most) = match load {
            load::LoadModel::Rate { .. } | load::LoadModel::Burst { .. } => {
                ("max_sessions", self.phase.max_sessions.map_or(0, |count| count.0))
            }
            load::LoadModel::Held { sessions, .. } | load::LoadModel::Shared { sessions, .. } => {
                ("sessions", *sessions)
            }
            load::LoadModel::Sessions { curve, .. } => {
                let peak = curve.peak();
                (if self.phase.sessions.is_some() { "sessions" } else { "load" }, peak as u64)
            }
        };
        if most == 0 {
            return Err(self.error(key, "0 sessions carry no load", "write at least 1"));
        }
        u32::try_from(most).map_err(|_| {
            self.error(
                key,
                format!("{most} sessions are more than can be counted"),
                "write a number below 2^32",
            )
        })
    }
}
