//! The search as a state machine: it takes the results of trials and returns the next trial. It reads no clock and does
//! no I/O.
//!
//! The next trial depends only on the trials so far, so that a stored search can be continued. `classify` classifies
//! loads.
//!
//! # Decisions
//! - For each goal, the gap is between the lowest load that is not good and the highest good load below it. Good loads
//!   above the gap do not count (RFC 9971: the relevant lower bound is below the relevant upper bound). While only good
//!   loads are known, the load is doubled. Then the gap is halved on a logarithmic scale until it is narrow enough.
//! - During the search one good trial is enough to go up. To go down, two bad trials are needed, of at most three. The
//!   reason is that trials often fail for other reasons than their load, but rarely succeed by chance. At the end of the
//!   search both ends of the gap are classified.
//! - For the same reason an upper bound is tried again at the end until its bad trials exceed its good trials by
//!   [`DOUBT`]. So two disturbances do not make the result far too low.
//! - If several goals need a trial, the trial at the lowest load is made (RFC 9971: lower loads first), and it counts for
//!   all goals.
//! - An invalid trial does not count. After [`TRIES`] invalid trials at an undecided load the generator is at its limit,
//!   and the search ends there without an upper bound.

use serde::{Deserialize, Serialize};

use super::classify::{GoalWeights, LoadClass, Sums, TrialVerdict, conditional_throughput};
use crate::experiment::bracket::{Bracket, SearchSteps};

/// The excess of bad over good trials that settles an upper bound, in full-length trials.
pub const DOUBT: f64 = 4.0;
/// The number of invalid trials at a load after which it counts as beyond the generator.
pub const TRIES: usize = 3;
/// The largest number of trials at a load.
const MOST_AT_LOAD: usize = 12;
/// The largest number of trials of a search, as a multiple of the full-length trials that fill `GoalWeights::sum_s`.
const MOST_BY_SUM: f64 = 40.0;
/// The lowest load of a search, as a share of its first load.
const FLOOR: f64 = 1.0 / 64.0;
/// Below the first load, each load is the previous one divided by this number.
const DOWN: u32 = 4;
/// The number of significant digits of loads.
const DIGITS: i32 = 4;

/// The rules of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchRules {
    /// The first load.
    pub start: f64,
    /// The greatest load.
    pub max: f64,
    /// The final gap between the bounds, as a share of the upper one.
    pub width: f64,
    /// Whether loads are whole numbers.
    pub whole: bool,
    /// The highest load at which the generator is trusted; `None`: there is no such bound.
    pub ceiling: Option<f64>,
    /// The rules of classification; a trial lasts `full_s`.
    pub weights: GoalWeights,
    /// The length of the trial that confirms a lower bound, in seconds; 0: no confirmation.
    pub confirm_s: f64,
    /// The number of goals.
    pub goals: usize,
}

impl SearchRules {
    /// Returns the greatest load that is tried.
    pub(super) fn top(&self) -> f64 {
        let top = self.ceiling.map_or(self.max, |ceiling| ceiling.min(self.max));
        if self.whole { top.floor().max(1.0) } else { top }
    }
}

/// A trial that was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialResult {
    /// The load.
    pub load: f64,
    /// The intended length, in seconds.
    pub seconds: f64,
    /// The result for each goal; `None`: the trial is invalid.
    pub judged: Option<Vec<TrialVerdict>>,
}

/// Why a trial is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// The first load.
    Start,
    /// No good load is known yet.
    Down,
    /// No bad load is known yet.
    Double,
    /// The gap between good and bad is halved.
    Bisect,
    /// Another trial classifies a load.
    Classify,
    /// The lower bound is confirmed.
    Confirm,
}

impl Why {
    /// Returns the stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Why::Start => "start",
            Why::Down => "down",
            Why::Double => "double",
            Why::Bisect => "bisect",
            Why::Classify => "classify",
            Why::Confirm => "confirm",
        }
    }
}

/// The next trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NextTrial {
    /// The load.
    pub load: f64,
    /// The length, in seconds.
    pub seconds: f64,
    /// The reason.
    pub why: Why,
}

/// How the search for a goal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GoalEnd {
    /// Both bounds are known, and their gap is narrow enough.
    Found,
    /// The greatest allowed load still meets the goal.
    MaxReached,
    /// The generator is at its limit.
    GeneratorLimited,
    /// Even the lowest load that was tried misses the goal.
    NoneGood,
    /// The search for this goal has not ended.
    Unfinished,
}

/// The result for a goal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GoalBounds {
    /// The relevant lower bound.
    pub lower: Option<f64>,
    /// The relevant upper bound.
    pub upper: Option<f64>,
    /// The conditional throughput at the lower bound.
    pub throughput: Option<f64>,
    /// Whether the lower bound was confirmed by a trial of the confirming length, or needs no confirmation.
    pub confirmed: bool,
    /// Whether a load above the upper bound met the goal.
    pub inverted: bool,
    /// The state of the search.
    pub ending: GoalEnd,
}

/// A search, with its trials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Controller {
    rules: SearchRules,
    trials: Vec<TrialResult>,
}

/// All trials at one load, for one goal.
#[derive(Clone, Debug, Default)]
struct LoadTrials {
    load: f64,
    sums: Sums,
    trials: usize,
    /// The number of invalid trials.
    spoilt: usize,
    /// Whether a trial of the confirming length was good without doubt, or two such trials were good.
    confirmed: bool,
    /// Whether a trial of the confirming length was good and doubtful.
    doubted: bool,
    /// Whether a trial of the confirming length was bad.
    refuted: bool,
}

/// The preliminary class of a load, by which the search goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lean {
    Good,
    Bad,
    /// Another trial at this load must decide.
    Open,
    /// The generator cannot offer this load.
    Beyond,
}

/// The next trial that a goal needs, or the end of its search.
enum Wish {
    Trial(NextTrial),
    SearchEnd(GoalEnd),
}

impl Controller {
    /// Creates a new search.
    pub fn new(rules: SearchRules) -> Controller {
        Controller { rules, trials: Vec::new() }
    }

    /// Returns the rules of the search.
    pub fn rules(&self) -> &SearchRules {
        &self.rules
    }

    /// Returns the trials so far.
    pub fn trials(&self) -> &[TrialResult] {
        &self.trials
    }

    /// Takes the result of a trial.
    pub fn tell(&mut self, trial: TrialResult) {
        self.trials.push(trial);
    }

    /// Returns the next trial; `None`: the search has ended.
    pub fn next(&self) -> Option<NextTrial> {
        if self.trials.len() >= self.most() {
            return None;
        }
        let wishes = (0..self.rules.goals).filter_map(|goal| match self.wish(goal) {
            Wish::Trial(ask) => Some(ask),
            Wish::SearchEnd(_) => None,
        });
        // Of two trials at one load the longer one is made, because it also counts for the goal that needs the shorter one.
        wishes
            .min_by(|one, other| one.load.total_cmp(&other.load).then(other.seconds.total_cmp(&one.seconds)))
    }

    /// Returns the result for a goal (RFC 9971: relevant bounds, conditional throughput).
    pub fn bounds(&self, goal: usize) -> GoalBounds {
        let rows = self.rows(goal);
        let class = |row: &LoadTrials| row.sums.class(&self.rules.weights);
        let upper = rows.iter().position(|row| class(row) == LoadClass::Upper);
        let below = &rows[..upper.unwrap_or(rows.len())];
        let lower = below.iter().rev().find(|row| class(row) == LoadClass::Lower);
        let above = upper.map_or(&[][..], |upper| &rows[upper + 1..]);
        GoalBounds {
            lower: lower.map(|row| row.load),
            upper: upper.map(|upper| rows[upper].load),
            throughput: lower.map(|row| self.throughput(goal, row.load)),
            confirmed: lower.is_some_and(|row| row.confirmed || self.rules.confirm_s == 0.0),
            inverted: above.iter().any(|row| class(row) == LoadClass::Lower || row.sums.excess_s() < 0.0),
            ending: match self.wish(goal) {
                Wish::SearchEnd(ending) => ending,
                Wish::Trial(_) => GoalEnd::Unfinished,
            },
        }
    }

    /// Returns the class of a load for a goal; undecided if the load was not tried.
    pub fn class(&self, goal: usize, load: f64) -> LoadClass {
        let row = self.rows(goal).into_iter().find(|row| row.load == load);
        row.map_or(LoadClass::Undecided, |row| row.sums.class(&self.rules.weights))
    }

    /// Returns the gap of a goal: the least load that does not seem good, and the greatest load below it.
    pub fn gap(&self, goal: usize) -> (Option<f64>, Option<f64>) {
        let rows = self.rows(goal);
        let high = rows.iter().position(|row| self.lean(row) != Lean::Good);
        let low = rows[..high.unwrap_or(rows.len())].last().map(|row| row.load);
        (low, high.map(|high| rows[high].load))
    }

    fn throughput(&self, goal: usize, load: f64) -> f64 {
        let at_load = self.trials.iter().filter(|trial| trial.load == load);
        let heard =
            at_load.filter_map(|trial| Some((trial.seconds, trial.judged.as_ref()?.get(goal)?.ratio)));
        conditional_throughput(&self.rules.weights, load, &heard.collect::<Vec<_>>())
    }

    /// Returns the trials for a goal by load, in rising order.
    fn rows(&self, goal: usize) -> Vec<LoadTrials> {
        let mut rows: Vec<LoadTrials> = Vec::new();
        for trial in &self.trials {
            let at = rows.partition_point(|row| row.load < trial.load);
            if rows.get(at).is_none_or(|row| row.load != trial.load) {
                rows.insert(at, LoadTrials { load: trial.load, ..LoadTrials::default() });
            }
            let row = &mut rows[at];
            match trial.judged.as_ref().and_then(|judged| judged.get(goal)) {
                None => row.spoilt += 1,
                Some(judged) => {
                    row.sums.add(&self.rules.weights, trial.seconds, judged.good);
                    row.trials += 1;
                    let long = trial.seconds >= self.rules.confirm_s;
                    row.confirmed |= long && judged.good && (!judged.doubtful || row.doubted);
                    row.doubted |= long && judged.good && judged.doubtful;
                    row.refuted |= long && !judged.good;
                }
            }
        }
        rows
    }

    fn lean(&self, row: &LoadTrials) -> Lean {
        let excess_s = row.sums.excess_s();
        match row.sums.class(&self.rules.weights) {
            LoadClass::Lower => Lean::Good,
            LoadClass::Upper => Lean::Bad,
            LoadClass::Undecided if row.spoilt >= TRIES => Lean::Beyond,
            LoadClass::Undecided if excess_s < 0.0 => Lean::Good,
            LoadClass::Undecided => Lean::Open,
        }
    }

    fn wish(&self, goal: usize) -> Wish {
        let rows = self.rows(goal);
        let rules = &self.rules;
        let trial = |load: f64, why| Wish::Trial(NextTrial { load, seconds: rules.weights.full_s, why });
        let high = rows.iter().find(|row| self.lean(row) != Lean::Good);
        let low = rows.iter().take_while(|row| self.lean(row) == Lean::Good).last();
        if let Some(open) = high.filter(|row| self.lean(row) == Lean::Open) {
            return trial(open.load, Why::Classify);
        }
        let bracket = Bracket { good: low.map(|row| row.load), bad: high.map(|row| row.load) };
        if let Some(load) = bracket.next(&self.steps()) {
            return trial(
                load,
                match (low, high) {
                    (None, None) => Why::Start,
                    (None, Some(_)) => Why::Down,
                    (Some(_), None) => Why::Double,
                    (Some(_), Some(_)) => Why::Bisect,
                },
            );
        }
        let is_beyond = high.is_some_and(|row| self.lean(row) == Lean::Beyond);
        let is_limited = high.is_none() && rules.ceiling.is_some_and(|ceiling| ceiling < rules.max);
        match (low, high) {
            (None, _) if is_beyond => Wish::SearchEnd(GoalEnd::GeneratorLimited),
            (None, _) => Wish::SearchEnd(GoalEnd::NoneGood),
            (Some(low), _) if is_beyond || is_limited => self.settle(low, None, GoalEnd::GeneratorLimited),
            (Some(low), None) => self.settle(low, None, GoalEnd::MaxReached),
            (Some(low), Some(high)) => self.settle(low, Some(high), GoalEnd::Found),
        }
    }

    /// Classifies the two ends of a gap that is narrow enough, and confirms the lower one.
    fn settle(&self, low: &LoadTrials, high: Option<&LoadTrials>, ending: GoalEnd) -> Wish {
        let rules = &self.rules;
        let full_s = rules.weights.full_s;
        let exhausted = |row: &LoadTrials| row.trials >= MOST_AT_LOAD || row.spoilt >= TRIES + MOST_AT_LOAD;
        let trial = |load, seconds, why| Wish::Trial(NextTrial { load, seconds, why });
        if low.sums.class(&rules.weights) != LoadClass::Lower {
            return trial(low.load, full_s, Why::Classify);
        }
        if let Some(high) = high
            && high.sums.excess_s() < DOUBT * full_s
            && !exhausted(high)
        {
            // After a bad trial of the confirming length, more short trials would not help: the load may fail only in long
            // ones.
            let seconds = if high.refuted { rules.confirm_s.max(full_s) } else { full_s };
            return trial(high.load, seconds, Why::Classify);
        }
        // Only a trial of the confirming length can confirm the lower bound, however many short trials there were.
        let is_spent = exhausted(low) && (low.refuted || low.spoilt >= TRIES + MOST_AT_LOAD);
        if rules.confirm_s > 0.0 && !low.confirmed && !is_spent {
            return trial(low.load, rules.confirm_s.max(full_s), Why::Confirm);
        }
        Wish::SearchEnd(ending)
    }

    /// Returns the largest number of trials. A search that reaches this number has not converged.
    pub fn most(&self) -> usize {
        let GoalWeights { full_s, sum_s, .. } = self.rules.weights;
        (MOST_BY_SUM * (sum_s / full_s).ceil().max(1.0)) as usize
    }

    /// Returns the steps of the loads.
    fn steps(&self) -> SearchSteps<f64> {
        let rules = &self.rules;
        SearchSteps {
            first: rules.start,
            most: rules.top(),
            least: rules.start * FLOOR,
            down: DOWN,
            width: rules.width,
            round: if rules.whole { f64::round } else { rounded },
        }
    }
}

/// Rounds a load to [`DIGITS`] significant digits.
fn rounded(load: f64) -> f64 {
    let unit = 10f64.powi(load.log10().floor() as i32 + 1 - DIGITS);
    // A unit below 1, such as 0.1, is no binary fraction: the whole number is divided by 10 and not multiplied by 0.1, so
    // that the result is the nearest number to the decimal.
    if unit < 1.0 { (load / unit).round() / (1.0 / unit).round() } else { (load / unit).round() * unit }
}

#[cfg(test)]
mod simulated;
#[cfg(test)]
mod simulated_queues;
#[cfg(test)]
mod tests;
