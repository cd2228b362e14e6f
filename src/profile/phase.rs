//! The `[[phase]]` tables: load models with their keys, made into phases of the plan.
//!
//! # Decisions
//! - Ramps, staircases and constants are one curve. A key that the load model has no use for is an error, never ignored.

use std::time::Duration;

use super::document::{Document, keys};
use super::error::{ProfileError, choose};
use super::resolved::is_rate;
use super::schema::{Arrival, Load, OnSaturation, Phase, Unit};
use super::units::{Count, Level, Time};
use crate::load;
use crate::load::{Curve, PHASE_STRIDE, Spacing, Think, expected_arrivals};
use crate::plan;

/// Keys that every load model takes.
const COMMON: [&str; 6] = ["name", "load", "unit", "warmup", "connect_rate", "graceful_stop"];
/// Further keys of models whose arrivals come whatever the target does.
const OPEN: [&str; 2] = ["max_sessions", "on_saturation"];
/// The fastest rate of arrivals, a second: a hundred times what one core can start.
const FASTEST: f64 = 1e7;
/// The most steps of a staircase, and stages of a ramp.
const MOST_STEPS: u64 = 10_000;

/// The keys of a load model.
fn keys_of(load: Load, from: Option<Level>) -> Vec<&'static str> {
    let own: &[&str] = match load {
        Load::ConstantRate => &["rate", "for"],
        Load::RampingRate | Load::RampingSessions => &["from", "to", "for", "stages"],
        Load::ConstantSessions => &["sessions", "for", "open_first"],
        Load::SharedMessages => &["messages", "sessions", "for", "open_first"],
        Load::Burst => &["size", "every", "for"],
        Load::Staircase => &["from", "step", "every", "steps"],
        Load::HeldSessions => &["sessions", "rate", "for"],
    };
    let rate = is_rate(load, from);
    let open: &[&str] = if rate || load == Load::Burst { &OPEN } else { &[] };
    let arrival: &[&str] = if rate { &["arrival"] } else { &[] };
    [own, arrival, open, &COMMON].concat()
}

/// The keys that a phase gives.
fn given(phase: &Phase) -> Vec<&'static str> {
    let all = [
        ("for", phase.length.is_some()),
        ("rate", phase.rate.is_some()),
        ("sessions", phase.sessions.is_some()),
        ("messages", phase.messages.is_some()),
        ("size", phase.size.is_some()),
        ("every", phase.every.is_some()),
        ("from", phase.from.is_some()),
        ("to", phase.to.is_some()),
        ("step", phase.step.is_some()),
        ("steps", phase.steps.is_some()),
        ("stages", phase.stages.is_some()),
        ("arrival", phase.arrival.is_some()),
        ("max_sessions", phase.max_sessions.is_some()),
        ("on_saturation", phase.on_saturation.is_some()),
        ("open_first", phase.open_first.is_some()),
    ];
    all.into_iter().filter(|(_, given)| *given).map(|(key, _)| key).collect()
}

/// One phase on its way into the plan.
struct Reader<'d> {
    document: &'d Document,
    phase: &'d Phase,
    index: usize,
    load: Load,
}

/// Makes a phase of the plan; `phase` has its defaults. `last`: no phase comes after it.
///
/// # Errors
/// A key that is missing, superfluous or impossible.
pub(super) fn compile(
    document: &Document,
    phase: &Phase,
    index: usize,
    last: bool,
    think: Think,
) -> Result<plan::Phase, ProfileError> {
    let Some(load) = phase.load else {
        return Err(document.error_at(
            &keys!["phase", index],
            "this phase has no load model",
            "add `load = \"constant-rate\"`, `rate = \"50/s\"` and `for = \"30s\"`",
        ));
    };
    let reader = Reader { document, phase, index, load };
    reader.superfluous()?;
    let length = reader.length(last)?;
    let load = reader.load(length, think)?;
    let most = reader.most_sessions(&load)?;
    let unit = match phase.unit {
        Some(Unit::Message) if matches!(load, load::LoadModel::Held { .. }) => {
            return Err(reader.error("unit", "held-sessions holds sessions, not messages", "remove `unit`"));
        }
        Some(Unit::Message) => plan::Unit::Message,
        Some(Unit::Session) | None => plan::Unit::Session,
    };
    let open_first = phase.open_first.unwrap_or_default();
    if open_first && unit == plan::Unit::Session {
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
        _ => {}
    }
    Ok(plan::Phase {
        name: phase.name.clone().unwrap_or_default(),
        load,
        model: reader.load.as_str().to_owned(),
        unit,
        warmup: phase.warmup.unwrap_or_default(),
        max_sessions: most,
        connect_rate: match phase.connect_rate {
            Some(rate) if rate.amount <= 0.0 => {
                return Err(reader.error(
                    "connect_rate",
                    "at a rate of 0 no session is ever opened",
                    "write a rate such as \"50/s\"",
                ));
            }
            rate => rate.map(|rate| rate.hertz()),
        },
        on_saturation: match phase.on_saturation {
            Some(OnSaturation::Drop) => plan::OnSaturation::Drop,
            Some(OnSaturation::Queue) | None => plan::OnSaturation::Queue,
        },
        open_first,
        graceful_stop: phase.graceful_stop.unwrap_or_default().0,
    })
}

impl Reader<'_> {
    fn error(
        &self,
        key: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> ProfileError {
        self.document.error_at(&keys!["phase", self.index, key], message, remedy)
    }

    fn missing(&self, key: &str, example: &str) -> ProfileError {
        self.document.error_at(
            &keys!["phase", self.index],
            format!("a phase of load `{}` needs the key `{key}`", self.load.as_str()),
            format!("add `{key} = {example}`"),
        )
    }

    /// What no machine could do is refused before it takes all memory and time that there is.
    fn within_reach(&self, phase: &load::PhaseLoad) -> Result<(), ProfileError> {
        let refused = |message: String, remedy: &str| {
            Err(self.document.error_at(&keys!["phase", self.index], message, remedy.to_owned()))
        };
        let peak = |curve: &Curve| curve.points.iter().map(|point| point.1).fold(0.0, f64::max);
        match &phase.model {
            load::LoadModel::Rate { curve, .. } if peak(curve) > FASTEST => refused(
                format!(
                    "{:.0} arrivals a second are more than can be started: {:.0} in {:.3} s, one each {:.2} ns",
                    peak(curve),
                    peak(curve) * phase.length.unwrap_or_default().as_secs_f64(),
                    phase.length.unwrap_or_default().as_secs_f64(),
                    1e9 / peak(curve)
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

    /// Keys of other load models.
    fn superfluous(&self) -> Result<(), ProfileError> {
        let takes = keys_of(self.load, self.phase.from);
        match given(self.phase).into_iter().find(|key| !takes.contains(key)) {
            None => Ok(()),
            Some(key) => Err(self.document.error_at_key(
                &keys!["phase", self.index, key],
                format!("a phase of load `{}` has no use for `{key}`", self.load.as_str()),
                choose("", &takes, "its keys are"),
            )),
        }
    }

    fn length(&self, last: bool) -> Result<Option<Duration>, ProfileError> {
        if let (Some(stages), None) = (&self.phase.stages, self.phase.length) {
            if stages.is_empty() {
                return Err(self.error(
                    "stages",
                    "a ramp without a stage",
                    "write [{ for = \"30s\", rate = \"100/s\" }]",
                ));
            }
            let mut sum = Duration::ZERO;
            for (number, stage) in stages.iter().enumerate() {
                sum += stage
                    .length
                    .ok_or_else(|| {
                        self.stage_error(number, "a stage needs the key `for`", "add `for = \"30s\"`")
                    })?
                    .0;
            }
            return self.some_time("stages", sum).map(Some);
        }
        match self.load {
            Load::Staircase => {
                let Time(every) = self.phase.every.ok_or_else(|| self.missing("every", "\"30s\""))?;
                let every = self.some_time("every", every)?;
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
                self.some_time("for", length).map(Some)
            }
        }
    }

    fn some_time(&self, key: &'static str, time: Duration) -> Result<Duration, ProfileError> {
        if time.is_zero() {
            return Err(self.error(key, "no time at all", "write a duration such as \"30s\""));
        }
        Ok(time)
    }

    fn load(&self, length: Option<Duration>, think: Think) -> Result<load::LoadModel, ProfileError> {
        let spacing = match self.phase.arrival {
            Some(Arrival::Poisson) => Spacing::Poisson,
            Some(Arrival::Uniform) | None => Spacing::Uniform,
        };
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
                if total == 0 {
                    return Err(self.error(
                        "messages",
                        "no messages to share",
                        "write a number such as \"10k\"",
                    ));
                }
                load::LoadModel::Shared { total, sessions: self.sessions()?, think }
            }
            Load::Burst => {
                let Count(size) = self.phase.size.ok_or_else(|| self.missing("size", "100"))?;
                if size == 0 {
                    return Err(self.error("size", "a burst of nothing", "write a number such as 100"));
                }
                let every = self.phase.every.map(|Time(every)| self.some_time("every", every)).transpose()?;
                load::LoadModel::Burst { size, every: every.unwrap_or_default() }
            }
            Load::Staircase => {
                let curve = self.staircase()?;
                if is_rate(self.load, self.phase.from) { rate(curve) } else { sessions(curve) }
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

    fn positive(&self, key: &'static str, value: f64, example: &str) -> Result<f64, ProfileError> {
        if value > 0.0 {
            Ok(value)
        } else {
            Err(self.error(key, "a rate of 0 asks for nothing", format!("write a rate such as {example}")))
        }
    }

    fn sessions(&self) -> Result<u64, ProfileError> {
        match self.phase.sessions {
            None => Err(self.missing("sessions", "50")),
            Some(Count(0)) => Err(self.error("sessions", "no session at all", "write at least 1")),
            Some(Count(sessions)) => Ok(sessions),
        }
    }

    fn steps(&self) -> Result<u64, ProfileError> {
        match self.phase.steps {
            None => Err(self.missing("steps", "10")),
            Some(Count(steps)) if (1..=MOST_STEPS).contains(&steps) => Ok(steps),
            Some(Count(steps)) => Err(self.error(
                "steps",
                format!("{steps} is no possible number of steps"),
                "write 1 to 10000",
            )),
        }
    }

    /// A level as the number it stands for, if it is of the wanted kind; 0 is of both kinds.
    fn level(&self, key: &'static str, level: Option<Level>, rate: bool) -> Result<f64, ProfileError> {
        match (level, rate) {
            (None | Some(Level::Sessions(Count(0))), _) => Ok(0.0),
            (Some(Level::Rate(value)), true) => Ok(value.hertz()),
            (Some(Level::Sessions(Count(value))), false) => Ok(value as f64),
            (Some(level), true) => Err(self.error(
                key,
                format!("{level} does not say per which time"),
                "write a rate such as \"50/s\"",
            )),
            (Some(level), false) => Err(self.error(
                key,
                format!("\"{level}\" is a rate, not a number of sessions"),
                "write a number such as 50",
            )),
        }
    }

    fn ramp(&self, length: Option<Duration>, rate: bool) -> Result<Curve, ProfileError> {
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
            (Some(stages), None) if stages.len() as u64 > MOST_STEPS => {
                return Err(self.error(
                    "stages",
                    format!("{} stages of a ramp", stages.len()),
                    "write at most 10000",
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

    fn stage_error(&self, number: usize, message: &str, remedy: &str) -> ProfileError {
        self.document.error_at(&keys!["phase", self.index, "stages", number], message, remedy)
    }

    fn staircase(&self) -> Result<Curve, ProfileError> {
        let rate = is_rate(self.load, self.phase.from);
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

    /// The most sessions open at once: what the profile says, or what a closed load asks for.
    fn most_sessions(&self, load: &load::LoadModel) -> Result<u32, ProfileError> {
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
