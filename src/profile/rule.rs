//! The `[[expect]]`, `[[assert]]`, `[[classify]]` and `[limits]` tables: names of phases, steps and conditions made into
//! rules. What a rule does with a reply or a number is the business of `collector` and `verdict`.

use std::collections::BTreeMap;
use std::time::Duration;

use regex::RegexBuilder;

use super::document::{Document, Key, keys};
use super::error::{ProfileError, choose};
use super::schema::{Assert, Classify, Expect, Goal, Phase};
use super::units::{Count, Quantity, Rate, Size, Time};
use super::value::Plain;
use crate::condition::Condition;
use crate::condition::Group;
use crate::condition::expect::{self, UserRule, When};
use crate::experiment::limit::{KINDS, Kind, Measure};
use crate::smtp::Step;
use crate::verdict::grammar::{Assertion, Subject};

/// The largest limits that are looked for: octets, and a count.
const LARGEST_LIMIT: u64 = 1 << 30;
const MOST_LIMIT: u64 = 1_000_000;

/// The `[[expect]]` of this index.
pub(super) fn expect(
    document: &Document,
    phases: &[Phase],
    index: usize,
    written: &Expect,
) -> Result<expect::Expect, ProfileError> {
    let at = |key: &'static str| keys!["expect", index, key];
    if written.step.is_none() && written.condition.is_none() && written.code.is_none() {
        return Err(document.error_at(
            &keys!["expect", index],
            "this would expect every failure there is",
            "add `condition`, `step` or `code`",
        ));
    }
    if let Some(name) = &written.name {
        plain_name(document, &at("name"), name)?;
    }
    Ok(expect::Expect {
        name: written.name.clone(),
        phase: match &written.phase {
            Some(name) => Some(phase_index(document, phases, &at("phase"), name)?),
            None => None,
        },
        step: written.step.as_deref().map(|name| step(document, &at("step"), name)).transpose()?,
        condition: written
            .condition
            .as_deref()
            .map(|name| condition(document, &at("condition"), name))
            .transpose()?,
        code: written.code.map(|number| code(document, &at("code"), number)).transpose()?,
        when: written.when.as_deref().map_or(Ok(When::Always), |text| when(document, &at("when"), text))?,
    })
}

/// The built-in assertions that are not removed, then the user's.
pub(super) fn assertions(
    document: &Document,
    phases: &[Phase],
    expects: &[Expect],
    written: &[Assert],
) -> Result<Vec<Assertion>, ProfileError> {
    let mut builtin = Assertion::builtin();
    let mut own = Vec::new();
    for (index, assert) in written.iter().enumerate() {
        let at = |key: &'static str| keys!["assert", index, key];
        let Some(expr) = &assert.expr else {
            return Err(document.error_at(
                &keys!["assert", index],
                "this assertion asserts nothing",
                "add `expr = \"response p99 < 800ms\"`",
            ));
        };
        let parsed = expression(document, &at("expr"), expr)?;
        if let Subject::Expect(name) = &parsed.expr.subject {
            known_expect(document, &at("expr"), expects, name)?;
        }
        if assert.remove == Some(true) {
            let before = builtin.len();
            builtin.retain(|one| one.expr.text.split_whitespace().ne(expr.split_whitespace()));
            if builtin.len() == before {
                let known: Vec<String> = Assertion::builtin().into_iter().map(|one| one.expr.text).collect();
                return Err(document.error_at(
                    &at("expr"),
                    "no built-in assertion says this",
                    choose(expr, &known, "those that can be removed are"),
                ));
            }
            continue;
        }
        if let Some(name) = &assert.phase {
            phase_index(document, phases, &at("phase"), name)?;
        }
        if assert.window.is_some_and(|Time(window)| window < Duration::from_secs(1)) {
            return Err(document.error_at(
                &at("window"),
                "a window shorter than the second that is measured",
                "write at least \"1s\"",
            ));
        }
        if parsed.expr.subject == Subject::Done && (assert.window.is_some() || assert.abort == Some(true)) {
            let key = if assert.window.is_some() { "window" } else { "abort" };
            return Err(document.error_at(
                &at(key),
                "what was done of what was asked is known at the end of the run only",
                "remove the key",
            ));
        }
        own.push(Assertion {
            phase: assert.phase.clone(),
            window: assert.window.map(|Time(window)| window),
            abort: assert.abort.unwrap_or_default(),
            grace: assert.grace.unwrap_or_default().0,
            ..parsed
        });
    }
    builtin.extend(own);
    Ok(builtin)
}

/// An expression may name an `[[expect]]` by its name; one without a name by its place in the profile, from 1.
fn known_expect(document: &Document, at: &[Key], expects: &[Expect], name: &str) -> Result<(), ProfileError> {
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

/// The objective of a capacity search's goal, of this index.
pub(super) fn objective(document: &Document, index: usize, goal: &Goal) -> Result<Assertion, ProfileError> {
    let Some(slo) = &goal.slo else {
        return Err(document.error_at(
            &keys!["capacity", "goals", index],
            "this goal has no objective",
            "add `slo = \"response p99 < 500ms\"`",
        ));
    };
    expression(document, &keys!["capacity", "goals", index, "slo"], slo)
}

fn expression(document: &Document, at: &[Key], text: &str) -> Result<Assertion, ProfileError> {
    Assertion::parse(text).map_err(|error| {
        let remedy = match &error.nearest {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => "write an expression such as \"response p99 < 800ms\" or \"unexpected rate < 0.1%\""
                .to_owned(),
        };
        document.error_within(at, text, error.span, error.message, remedy)
    })
}

/// The `[[classify]]` of this index.
pub(super) fn classify(
    document: &Document,
    index: usize,
    written: &Classify,
) -> Result<UserRule, ProfileError> {
    let at = |key: &'static str| keys!["classify", index, key];
    let Some(name) = &written.condition else {
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
    let condition = condition(document, &at("condition"), name)?;
    if matches!(condition.group(), Group::Transport | Group::Generator) {
        return Err(document.error_at(
            &at("condition"),
            format!("`{condition}` is no reply, so no reply can mean it"),
            "name a condition of a reply; `smtpress codes` lists them",
        ));
    }
    let pattern = match &written.pattern {
        None => None,
        Some(pattern) => {
            Some(RegexBuilder::new(pattern).case_insensitive(true).build().map_err(|error| {
                let why = error.to_string();
                let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                document.error_at(
                    &at("pattern"),
                    format!("this is no regular expression: {why}"),
                    "write single quotes around it, so that \\ stays as it is",
                )
            })?)
        }
    };
    Ok(UserRule {
        pattern,
        code: written.code.map(|number| code(document, &at("code"), number)).transpose()?,
        step: written.step.as_deref().map(|name| step(document, &at("step"), name)).transpose()?,
        condition,
    })
}

/// The `[limits]` table: by the name of the limit's kind, in its unit.
pub(super) fn limits(
    document: &Document,
    written: &BTreeMap<String, Plain>,
) -> Result<BTreeMap<String, u64>, ProfileError> {
    let mut limits = BTreeMap::new();
    for (name, value) in written {
        let at = keys!["limits", name.clone()];
        let Some(kind) = Kind::of(name) else {
            let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
            return Err(document.error_at_key(
                &at,
                format!("`{name}` is no limit that can be looked for"),
                choose(name, &known, "those that can are"),
            ));
        };
        let limit =
            limit(kind, value).map_err(|error| document.error_at(&at, error.message, error.remedy))?;
        limits.insert(name.clone(), limit);
    }
    Ok(limits)
}

fn limit(kind: &Kind, value: &Plain) -> Result<u64, super::units::UnitError> {
    fn read<Q: Quantity>(value: &Plain) -> Result<Q, super::units::UnitError> {
        match value {
            Plain::Number(number) => Q::from_integer(*number),
            Plain::Text(text) => Q::read(text),
        }
    }
    let most = |value: u64, most: u64, shown: &str| match value > most {
        true => Err(super::units::UnitError::new(
            format!("`{}` is never looked for as far as that", kind.name),
            &format!("write at most {shown}"),
        )),
        false => Ok(value),
    };
    match kind.measure {
        // A content is held whole while its limit is looked for.
        Measure::Octets => most(read::<Size>(value)?.0, LARGEST_LIMIT, "\"1GiB\""),
        Measure::Time => {
            read::<Time>(value).map(|Time(time)| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
        }
        Measure::Rate => read::<Rate>(value).map(|rate| (rate.hertz() * 60.0).round() as u64),
        Measure::Count | Measure::Rule => most(read::<Count>(value)?.0, MOST_LIMIT, "1000000"),
    }
}

/// A name that may stand in expressions, file names and tags: letters, digits, `-` and `_`.
pub(super) fn plain_name(document: &Document, at: &[Key], name: &str) -> Result<(), ProfileError> {
    let plain = !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if plain {
        return Ok(());
    }
    Err(document.error_at(at, format!("{name:?} is no name"), "use 1 to 64 letters, digits, `-` and `_`"))
}

fn phase_index(document: &Document, phases: &[Phase], at: &[Key], name: &str) -> Result<u32, ProfileError> {
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

pub(super) fn step(document: &Document, at: &[Key], name: &str) -> Result<Step, ProfileError> {
    name.parse().map_err(|()| {
        document.error_at(
            at,
            format!("`{name}` is not a step"),
            choose(name, &Step::ALL.map(Step::as_str), "the steps are"),
        )
    })
}

fn condition(document: &Document, at: &[Key], name: &str) -> Result<Condition, ProfileError> {
    name.parse().map_err(|()| {
        let names: Vec<&str> = Condition::ALL.iter().map(|condition| condition.as_str()).collect();
        let remedy = match super::error::nearest(name, &names) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => "`smtpress codes` lists the conditions".to_owned(),
        };
        document.error_at(at, format!("`{name}` is not a condition"), remedy)
    })
}

fn code(document: &Document, at: &[Key], number: u16) -> Result<u16, ProfileError> {
    if (200..=599).contains(&number) {
        return Ok(number);
    }
    Err(document.error_at(at, format!("{number} is no reply code"), "write a number from 200 to 599"))
}

/// `sessions > 50` or `sessions >= 51`.
fn when(document: &Document, at: &[Key], text: &str) -> Result<When, ProfileError> {
    let parsed = text.trim().strip_prefix("sessions").map(str::trim_start).and_then(|rest| {
        if let Some(number) = rest.strip_prefix(">=") {
            return Count::read(number.trim()).ok().map(|Count(n)| When::SessionsFrom(n));
        }
        rest.strip_prefix('>')
            .and_then(|number| Count::read(number.trim()).ok())
            .map(|Count(n)| When::SessionsAbove(n))
    });
    parsed.ok_or_else(|| {
        document.error_at(
            at,
            format!("`{text}` is no condition on sessions"),
            "write `sessions > 50` or `sessions >= 51`",
        )
    })
}
