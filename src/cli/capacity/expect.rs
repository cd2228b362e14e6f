//! What the user expects a capacity to be, and the exit code of a search.

use crate::cli::exit::Failure;
use crate::experiment::capacity::{Asked, Bounds, End, Ending, Knob, State};
use crate::profile::units::{Count, Quantity, Rate, Size, UnitError};
use crate::report::stored::{StoredAssertion, StoredAssertionStatus, StoredStatus};

/// The contract's codes of a search that came to no answer, that cannot be believed, that is not as expected, and that was
/// stopped.
const INCONCLUSIVE: u8 = 5;
const INVALID: u8 = 98;
const DIFFERS: u8 = 99;
const INTERRUPTED: u8 = 105;
/// The user's command failed.
const HOOK: u8 = 3;

/// `[NAME:] >= 400/s`
#[derive(Clone, Debug, PartialEq)]
pub struct Expect {
    /// As it was written.
    text: String,
    /// The goal it is about; all of them if absent.
    goal: Option<usize>,
    /// The lower bound that is expected at least.
    least: f64,
}

/// How a search is judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    pub status: StoredStatus,
    pub exit_code: u8,
    /// Why it is not to be believed: a name and a sentence.
    pub invalid: Option<(String, String)>,
    /// The expectations, with what was found.
    pub assertions: Vec<StoredAssertion>,
}

impl Expect {
    /// Reads `--expect`.
    ///
    /// # Errors
    /// Wrong usage.
    pub fn read(text: &str, asked: &Asked) -> Result<Expect, Failure> {
        let example = match asked.knob {
            Knob::Rate => ">= 400/s",
            Knob::Sessions => ">= 50",
            Knob::Size => ">= 4MiB",
        };
        let wrong = |what: &str| {
            Failure::usage(format!(
                "--expect {text:?}: {what}; write --expect '{example}', or '{}: {example}'",
                asked.goals[0].name
            ))
        };
        let (goal, rest) = match text.split_once(':') {
            Some((name, rest)) => {
                let name = name.trim();
                let found = asked.goals.iter().position(|goal| goal.name == name);
                (Some(found.ok_or_else(|| wrong(&format!("no goal is called {name:?}")))?), rest)
            }
            None => (None, text),
        };
        let rest = rest.trim();
        let value = rest
            .strip_prefix(">=")
            .ok_or_else(|| wrong("a capacity is expected to be at least something"))?;
        let told = |error: UnitError| wrong(&error.message);
        let value = value.trim();
        let least = match asked.knob {
            Knob::Rate => Rate::read(value).map_err(told)?.hertz(),
            Knob::Sessions => Count::read(value).map_err(told)?.0 as f64,
            Knob::Size => Size::read(value).map_err(told)?.0 as f64,
        };
        Ok(Expect { text: rest.to_owned(), goal, least })
    }

    /// Whether a goal's bounds are as expected.
    fn holds(&self, bounds: &Bounds) -> StoredAssertionStatus {
        let settled = bounds.ending == Ending::Found && bounds.confirmed;
        match (bounds.lower, bounds.upper) {
            (Some(lower), _) if lower >= self.least => StoredAssertionStatus::Pass,
            // The answer is there, or what is missing of it cannot change it.
            _ if settled || bounds.ending == Ending::NoneGood => StoredAssertionStatus::Fail,
            (_, Some(upper)) if upper <= self.least => StoredAssertionStatus::Fail,
            _ => StoredAssertionStatus::NoData,
        }
    }

    fn judge(&self, asked: &Asked, state: &State) -> Vec<StoredAssertion> {
        let goals = self.goal.map_or(0..asked.goals.len(), |goal| goal..goal + 1);
        let one = |index: usize| {
            let bounds = state.controller.bounds(index);
            let told = |load: Option<f64>| load.map_or("?".to_owned(), |load| asked.told(load));
            StoredAssertion {
                expr: format!("capacity {}", self.text),
                phase: Some(asked.goals[index].name.clone()),
                observed: format!("{} .. {}", told(bounds.lower), told(bounds.upper)),
                status: self.holds(&bounds),
                builtin: false,
                abort: false,
                window_s: None,
            }
        };
        goals.map(one).collect()
    }
}

/// The verdict of a search.
pub fn judge(asked: &Asked, state: &State, end: &End, expects: &[Expect]) -> Judged {
    let assertions: Vec<StoredAssertion> =
        expects.iter().flat_map(|expect| expect.judge(asked, state)).collect();
    let any = |status| assertions.iter().any(|assertion| assertion.status == status);
    let settled = (0..asked.goals.len()).all(|goal| {
        let bounds = state.controller.bounds(goal);
        bounds.ending == Ending::Found && bounds.confirmed
    });
    let spoilt = state.records.iter().all(|record| !record.invalid.is_empty());
    let (status, exit_code) = match end {
        End::Interrupted => (StoredStatus::Interrupted, INTERRUPTED),
        End::Hook(_) => (StoredStatus::NoData, HOOK),
        _ if spoilt && !state.records.is_empty() => (StoredStatus::Invalid, INVALID),
        _ if any(StoredAssertionStatus::Fail) => (StoredStatus::Fail, DIFFERS),
        _ if any(StoredAssertionStatus::NoData) => (StoredStatus::NoData, INCONCLUSIVE),
        _ if settled || !expects.is_empty() => (StoredStatus::Pass, 0),
        _ => (StoredStatus::NoData, INCONCLUSIVE),
    };
    let reason = state.records.iter().flat_map(|record| &record.invalid).next();
    let invalid = reason.filter(|_| status == StoredStatus::Invalid);
    let invalid = invalid.map(|reason| (reason.code.clone(), reason.sentence.clone()));
    Judged { status, exit_code, invalid, assertions }
}
