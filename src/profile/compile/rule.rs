//! The `[[expect]]`, `[[assert]]`, `[[classify]]` and `[limits]` tables: names of phases, steps and conditions become
//! rules. `collector` and `verdict` apply the rules.

use std::collections::BTreeMap;

use super::faults::Faults;
use super::receive::is_behind_relay;
use crate::condition::expect::{self, UserRule, When};
use crate::experiment::limit::{LimitKind, LimitMeasure};
use crate::profile::bounds;
use crate::profile::document::{Document, Key, keys};
use crate::profile::error::ProfileFault;
use crate::profile::nearest::choose;
use crate::profile::schema::Profile;
use crate::profile::schema::capacity::Goal;
use crate::profile::schema::phase::Phase;
use crate::profile::schema::rule::{Assert, Classify, Expect};
use crate::profile::table::Word;
use crate::profile::units::{Count, Quantity, Rate, Size, Time, UnitError};
use crate::profile::value::Plain;
use crate::verdict::grammar::{Assertion, Subject};

/// The largest limits that a search can find: in bytes, and as a count.
const LARGEST_LIMIT: u64 = 1 << 30;
const MOST_LIMIT: u64 = 1_000_000;

/// Compiles the `[[expect]]` of this index.
pub(super) fn expect(
    document: &Document,
    phases: &[Phase],
    index: usize,
    written: &Expect,
) -> Result<expect::Expect, ProfileFault> {
    let at = |key: &'static str| keys!["expect", index, key];
    if written.step.is_none() && written.condition.is_none() && written.code.is_none() {
        return Err(document.error_at(
            &keys!["expect", index],
            "this would expect every failure there is",
            "add `condition`, `step` or `code`",
        ));
    }
    Ok(expect::Expect {
        name: written.name.clone(),
        phase: match &written.phase {
            Some(name) => Some(phase_index(document, phases, &at("phase"), name)?),
            None => None,
        },
        step: written.step.map(|Word(step)| step),
        condition: written.condition.map(|Word(condition)| condition),
        code: written.code,
        when: written.when.as_deref().and_then(bounds::when).unwrap_or(When::Always),
    })
}

/// Returns the assertions: the built-in ones that are not removed, then the user's.
pub(super) fn assertions(document: &Document, profile: &Profile, faults: &mut Faults) -> Vec<Assertion> {
    let mut builtin = Assertion::builtin();
    if is_behind_relay(profile) {
        builtin.extend(Assertion::builtin_behind_relay());
    }
    let mut own = Vec::new();
    for (index, written) in profile.assert().iter().enumerate() {
        let made = assertion(document, profile, index, written, &mut builtin);
        own.extend(faults.keep_element("assert", index, made).flatten());
    }
    builtin.extend(own);
    builtin
}

/// Compiles the assertion of this index; `None` if it removes a built-in one.
fn assertion(
    document: &Document,
    profile: &Profile,
    index: usize,
    written: &Assert,
    builtin: &mut Vec<Assertion>,
) -> Result<Option<Assertion>, ProfileFault> {
    let at = |key: &'static str| keys!["assert", index, key];
    let Some(expr) = &written.expr else {
        return Err(document.error_at(
            &keys!["assert", index],
            "this assertion asserts nothing",
            "add `expr = \"response p99 < 800ms\"`",
        ));
    };
    let parsed = expression(document, &at("expr"), expr)?;
    if let Subject::Expect(name) = &parsed.expr.subject {
        known_expect(document, &at("expr"), &profile.expect(), name)?;
    }
    if parsed.expr.subject.is_behind_relay() {
        if !is_behind_relay(profile) {
            let message = "without a receiver behind the relay the deliveries are unknown";
            let remedy = "add [receive] with the address that the relay delivers to, or with a delivery log";
            return Err(document.error_at(&at("expr"), message, remedy));
        }
        let known_later = [("window", written.window.is_some()), ("abort", written.abort())];
        if let Some((key, _)) = known_later.into_iter().find(|(_, is_given)| *is_given) {
            let message = "what came out of the relay is known at the end of the run only";
            return Err(document.error_at(&at(key), message, "remove the key"));
        }
    }
    if let Subject::Event(name, _) = &parsed.expr.subject {
        known_event(document, &at("expr"), profile, name)?;
        let limits = [
            ("phase", written.phase.is_some()),
            ("window", written.window.is_some()),
            ("abort", written.abort()),
        ];
        if let Some((key, _)) = limits.into_iter().find(|(_, is_given)| *is_given) {
            let message = "what an event did is known at the end of the run only, of the whole run";
            return Err(document.error_at(&at(key), message, "remove the key"));
        }
    }
    if written.remove() {
        let of_own = [
            ("phase", written.phase.is_some()),
            ("window", written.window.is_some()),
            ("abort", written.abort()),
            ("grace", written.grace.is_some()),
        ];
        if let Some((key, _)) = of_own.into_iter().find(|(_, is_given)| *is_given) {
            return Err(document.error_at_key(
                &at(key),
                format!("`remove` removes the built-in assertion of the whole run, and `{key}` changes nothing of that"),
                format!("remove `{key}`; an [[assert]] without `remove` can say what must still hold"),
            ));
        }
        let before = builtin.len();
        builtin.retain(|one| one.expr.text.split_whitespace().ne(expr.split_whitespace()));
        if builtin.len() == before {
            let known: Vec<&str> = builtin.iter().map(|one| &*one.expr.text).collect();
            return Err(document.error_at(
                &at("expr"),
                "no built-in assertion says this",
                choose(expr, &known, "those that can be removed are"),
            ));
        }
        return Ok(None);
    }
    if let Some(name) = &written.phase {
        let phases = profile.phase();
        let index = phase_index(document, &phases, &at("phase"), name)?;
        if phases[index as usize].warmup() {
            return Err(document.error_at(
                &at("phase"),
                format!("phase `{name}` is a warm-up: it is not measured, so no assertion about it can hold"),
                "name a measured phase, or remove `warmup = true` from this one",
            ));
        }
    }
    if parsed.expr.subject == Subject::Done && (written.window.is_some() || written.abort()) {
        let key = if written.window.is_some() { "window" } else { "abort" };
        return Err(document.error_at(
            &at(key),
            "what was done of what was asked is known at the end of the run only",
            "remove the key",
        ));
    }
    if written.grace.is_some() && written.window.is_none() && !written.abort() {
        return Err(document.error_at_key(
            &at("grace"),
            "`grace` is the time before the first check of `window` or `abort`, and this assertion has neither",
            "remove it, or add `window = \"30s\"` or `abort = true`",
        ));
    }
    Ok(Some(Assertion {
        phase: written.phase.clone(),
        window: written.window.map(|Time(window)| window),
        abort: written.abort(),
        grace: written.grace().0,
        ..parsed
    }))
}

/// Checks the `[[expect]]` that an expression names. An `[[expect]]` without a name has its number in the profile, from
/// 1.
fn known_expect(document: &Document, at: &[Key], expects: &[Expect], name: &str) -> Result<(), ProfileFault> {
    let names: Vec<&str> = expects.iter().filter_map(|expect| expect.name.as_deref()).collect();
    let unnamed =
        |place: usize| place.checked_sub(1).and_then(|i| expects.get(i)).is_some_and(|e| e.name.is_none());
    if names.contains(&name) || name.parse().is_ok_and(unnamed) {
        return Ok(());
    }
    let remedy = choose(name, &names, "those with a name are");
    let remedy = if remedy.is_empty() { "give an [[expect]] this `name`".to_owned() } else { remedy };
    Err(document.error_within(at, name, 0..name.len(), format!("no [[expect]] is called `{name}`"), remedy))
}

fn known_event(document: &Document, at: &[Key], profile: &Profile, name: &str) -> Result<(), ProfileFault> {
    let events = profile.event();
    let names: Vec<&str> = events.iter().filter_map(|event| event.name.as_deref()).collect();
    if names.contains(&name) {
        return Ok(());
    }
    let remedy = match names.is_empty() {
        true => "add an [[event]] with this `name`".to_owned(),
        false => choose(name, &names, "the events are"),
    };
    let start = "event.".len();
    let message = format!("no [[event]] is called `{name}`");
    Err(document.error_within(at, &format!("event.{name}"), start..start + name.len(), message, remedy))
}

/// Compiles the objective of a goal of the capacity search, by index.
pub(super) fn objective(document: &Document, index: usize, goal: &Goal) -> Result<Assertion, ProfileFault> {
    let Some(slo) = &goal.slo else {
        return Err(document.error_at(
            &keys!["capacity", "goals", index],
            "this goal has no objective",
            "add `slo = \"response p99 < 500ms\"`",
        ));
    };
    expression(document, &keys!["capacity", "goals", index, "slo"], slo)
}

fn expression(document: &Document, at: &[Key], text: &str) -> Result<Assertion, ProfileFault> {
    Assertion::parse(text).map_err(|error| {
        let remedy = match &error.nearest {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => "write an expression such as \"response p99 < 800ms\" or \"unexpected rate < 0.1%\""
                .to_owned(),
        };
        document.error_within(at, text, error.span, error.message, remedy)
    })
}

/// Compiles the `[[classify]]` of this index.
pub(super) fn classify(
    document: &Document,
    index: usize,
    written: &Classify,
) -> Result<UserRule, ProfileFault> {
    let Some(Word(condition)) = written.condition else {
        return Err(document.error_at(
            &keys!["classify", index],
            "this rule names no condition",
            "add `condition = \"rate-limited\"`",
        ));
    };
    if written.pattern.is_none() && written.code.is_none() && written.step.is_none() {
        return Err(document.error_at(
            &keys!["classify", index],
            "this rule would name every reply there is",
            "add `pattern`, `code` or `step`",
        ));
    }
    Ok(UserRule {
        // The bounds of the key have compiled the pattern already, so there is no error.
        pattern: written.pattern.as_deref().and_then(|pattern| bounds::regular_expression(pattern).ok()),
        code: written.code,
        step: written.step.map(|Word(step)| step),
        condition,
    })
}

/// Compiles the `[limits]` table, each limit in its unit.
pub(super) fn limits(
    document: &Document,
    written: &BTreeMap<String, Plain>,
    faults: &mut Faults,
) -> BTreeMap<LimitKind, u64> {
    let mut limits = BTreeMap::new();
    for (name, value) in written {
        let limit = named_limit(document, name, value);
        limits.extend(faults.keep(&["limits"], limit));
    }
    limits
}

fn named_limit(document: &Document, name: &str, value: &Plain) -> Result<(LimitKind, u64), ProfileFault> {
    let at = keys!["limits", name.to_owned()];
    let Some(kind) = LimitKind::of(name) else {
        let known: Vec<&str> = LimitKind::all().map(LimitKind::name).collect();
        return Err(document.error_at_key(
            &at,
            format!("`{name}` is not a limit that can be searched"),
            choose(name, &known, "those that can are"),
        ));
    };
    let limit = limit(kind, value);
    limit.map(|limit| (kind, limit)).map_err(|error| document.error_at(&at, error.message, error.remedy))
}

fn limit(kind: LimitKind, value: &Plain) -> Result<u64, UnitError> {
    fn read<Q: Quantity>(value: &Plain) -> Result<Q, UnitError> {
        match value {
            Plain::Number(number) => Q::from_integer(*number),
            Plain::Text(text) => Q::read(text),
        }
    }
    let most = |value: u64, most: u64, shown: &str| match value > most {
        true => Err(UnitError::new(
            format!("`{}` is never looked for as far as that", kind.name()),
            &format!("write at most {shown}"),
        )),
        false => Ok(value),
    };
    match kind.measure() {
        // The whole content is held in memory while its limit is searched.
        LimitMeasure::Bytes => most(read::<Size>(value)?.0, LARGEST_LIMIT, "\"1GiB\""),
        LimitMeasure::Time => {
            read::<Time>(value).map(|Time(time)| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
        }
        LimitMeasure::Rate => match read::<Rate>(value)?.hertz() * 60.0 {
            rate if rate < 1.0 => Err(UnitError::new(
                format!("`{}` is a number in a minute, and this is less than one", kind.name()),
                "write at least \"1/min\"",
            )),
            rate => Ok(rate.round() as u64),
        },
        LimitMeasure::Count | LimitMeasure::Rule => most(read::<Count>(value)?.0, MOST_LIMIT, "1000000"),
    }
}

fn phase_index(document: &Document, phases: &[Phase], at: &[Key], name: &str) -> Result<u32, ProfileFault> {
    let names: Vec<&str> = phases.iter().filter_map(|phase| phase.name.as_deref()).collect();
    match (0..).zip(&names).find(|(_, known)| **known == name) {
        Some((index, _)) => Ok(index),
        None => Err(document.error_at(
            at,
            format!("no phase is called `{name}`"),
            choose(name, &names, "the phases are"),
        )),
    }
}
