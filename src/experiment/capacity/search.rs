//! The search itself: warm-up, trials and cool-downs, until the controller has no next trial or the time is up.
//!
//! Threads, clock, files, the screen and the user's command belong to the [`SearchHost`].

use std::time::Duration;

use super::controller::NextTrial;
use super::goal::{Goal, GoalVerdict};
use super::record::{SearchState, TrialRecord, record};
use super::search_plan::CapacityPlan;
use super::sustained;
use crate::collector::snapshot::{Interval, Measured};
use crate::collector::tally::Tally;
use crate::collector::{Metric, Outcome};
use crate::event::ShellCommand;
use crate::generator::runner::{Control, Observer, RunError, Runner};
use crate::load::{LoadModel, Spacing};
use crate::plan::Plan;

/// Probes that measure how fast the idle listener is.
const BASE_PROBES: usize = 3;
/// From probe to probe.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// The listener is back when a probe takes no longer than this times the base, and [`SLACK`].
const BACK: f64 = 1.2;
const SLACK: Duration = Duration::from_millis(5);

/// What a search runs on. A run is one trial, warm-up or probe.
pub trait SearchHost: Runner {
    /// How long the search has taken, with the time before an interruption.
    fn elapsed(&self) -> Duration;

    /// Waits; less if the user wants to stop.
    fn wait(&mut self, time: Duration);

    /// Whether the user wants to stop.
    fn stopped(&self) -> bool;

    /// Runs the user's command before the trial of this number.
    ///
    /// # Errors
    /// It failed: how, in a sentence.
    fn between(&mut self, command: &ShellCommand, number: usize) -> Result<(), String>;

    /// What the listener has accepted and not delivered; `None`: that is not known.
    fn queued(&self) -> Option<u64> {
        None
    }

    /// Stores the state.
    fn keep(&mut self, state: &SearchState);

    /// Reports an event.
    fn notify(&mut self, event: SearchEvent<'_>, state: &SearchState);
}

/// An event of a search in progress.
#[derive(Clone, Debug)]
pub enum SearchEvent<'a> {
    /// The warm-up starts.
    WarmUp,
    /// A trial starts.
    Started(NextTrial),
    /// A trial has ended, with its verdicts.
    Ended(&'a TrialRecord),
    /// The search waits until the backlog is gone.
    CoolDown,
}

/// How a search ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchEnd {
    /// No trial is left to make.
    Complete,
    /// Another trial would not end in time.
    Deadline,
    /// The user stopped it.
    Interrupted,
    /// The user's command failed.
    Hook(String),
}

/// Continues a search from `state` to its end. The results are in `state`, whatever the end.
///
/// # Errors
/// smtpress itself cannot go on.
pub fn search(
    capacity: &CapacityPlan,
    plan: &Plan,
    host: &mut dyn SearchHost,
    state: &mut SearchState,
) -> Result<SearchEnd, RunError> {
    let mut search = Searcher { capacity, plan, host, probes: 0 };
    let end = search.run(state);
    state.elapsed_s = search.host.elapsed().as_secs_f64();
    search.host.keep(state);
    end
}

struct Searcher<'a> {
    capacity: &'a CapacityPlan,
    plan: &'a Plan,
    host: &'a mut dyn SearchHost,
    probes: usize,
}

impl Searcher<'_> {
    fn run(&mut self, state: &mut SearchState) -> Result<SearchEnd, RunError> {
        if state.controller.next().is_some() {
            if state.base_ns.is_none() {
                state.base_ns = self.base()?;
            }
            if !self.capacity.warmup.is_zero() && !self.host.stopped() {
                self.host.notify(SearchEvent::WarmUp, state);
                let warm_up = self.capacity.warm_up(self.plan, self.capacity.warmup);
                self.host.run(&warm_up, &mut ())?;
                self.cool_down(state)?;
            }
        }
        while let Some(ask) = state.controller.next() {
            let number = state.records.len() + 1;
            let length = Duration::from_secs_f64(ask.seconds);
            if self.host.stopped() {
                return Ok(SearchEnd::Interrupted);
            }
            if self.host.elapsed() + length > self.capacity.deadline {
                return Ok(SearchEnd::Deadline);
            }
            if let Some(command) = &self.capacity.between_trials
                && number > 1
                && let Err(reason) = self.host.between(command, number)
            {
                return Ok(SearchEnd::Hook(reason));
            }
            self.host.notify(SearchEvent::Started(ask), state);
            let Some(record) = self.trial(&ask, number, length, state.base_ns)? else {
                return Ok(SearchEnd::Interrupted);
            };
            state.add(record);
            state.elapsed_s = self.host.elapsed().as_secs_f64();
            self.host.keep(state);
            let record = state.records.last().expect("it was added");
            self.host.notify(SearchEvent::Ended(record), state);
            if state.controller.next().is_some() {
                let cooled = self.cool_down(state)?;
                let record = state.records.last_mut().expect("it was added");
                (record.cooldown_s, record.backlog_left) = cooled;
            }
        }
        Ok(SearchEnd::Complete)
    }

    /// Makes one trial; `None`: the user stopped it.
    fn trial(
        &mut self,
        ask: &NextTrial,
        number: usize,
        length: Duration,
        base_ns: Option<u64>,
    ) -> Result<Option<TrialRecord>, RunError> {
        let plan = self.capacity.trial(self.plan, number, ask.load, length);
        let began_s = self.host.elapsed().as_secs_f64();
        let mut watch =
            EarlyStop { goals: &self.capacity.goals, scheduled: most_scheduled(&plan), lost: None };
        let measured = self.host.run(&plan, &mut watch)?;
        if measured.interrupted {
            return Ok(None);
        }
        let mut record = record(ask, number, began_s, &plan.phases[0], &measured);
        if record.invalid.is_empty() {
            let tally = &measured.tally.phases[0];
            record.goals = match watch.lost {
                Some(lost) => lost,
                None => self.capacity.goals.iter().map(|goal| goal.judge(tally)).collect(),
            };
            if let (true, false, Some(ns)) = (self.capacity.judges_backlog(), record.ended_early, base_ns) {
                let idle = Duration::from_nanos(ns);
                record.judge_backlog(sustained::judge(&measured.backlog, ask.load, length, idle));
            }
        }
        Ok(Some(record))
    }

    /// The response time of an idle listener: the median of a few probes, if they were accepted.
    fn base(&mut self) -> Result<Option<u64>, RunError> {
        let mut times = Vec::new();
        for _ in 0..BASE_PROBES {
            if self.host.stopped() {
                return Ok(None);
            }
            times.extend(self.probe()?);
        }
        times.sort_unstable();
        Ok(times.get(times.len() / 2).copied())
    }

    /// Waits until the listener is as fast as before the search, and its queue is empty: returns how long that took, and whether it did not happen.
    fn cool_down(&mut self, state: &SearchState) -> Result<(Option<f64>, bool), RunError> {
        let Some(base_ns) = state.base_ns else { return Ok((None, false)) };
        let allowed = Duration::from_nanos(base_ns).mul_f64(BACK) + SLACK;
        let began = self.host.elapsed();
        let mut is_reported = false;
        loop {
            if self.host.stopped() {
                return Ok((None, false));
            }
            let probed = self.host.elapsed();
            let took = self.probe()?;
            let waited = self.host.elapsed().saturating_sub(began);
            let is_empty = self.host.queued().is_none_or(|queued| queued == 0);
            if is_empty && took.is_some_and(|ns| Duration::from_nanos(ns) <= allowed) {
                return Ok((Some(waited.as_secs_f64()), false));
            }
            if waited >= self.capacity.cooldown_max {
                return Ok((Some(waited.as_secs_f64()), true));
            }
            if !std::mem::replace(&mut is_reported, true) {
                self.host.notify(SearchEvent::CoolDown, state);
            }
            self.host.wait((probed + PROBE_EVERY).saturating_sub(self.host.elapsed()));
        }
    }

    /// The response time of one arrival alone; `None`: it was not accepted.
    fn probe(&mut self) -> Result<Option<u64>, RunError> {
        self.probes += 1;
        let plan = self.capacity.probe(self.plan, self.probes);
        let measured = self.host.run(&plan, &mut ())?;
        Ok(response(&measured))
    }
}

/// The response time of the one arrival that was accepted.
fn response(measured: &Measured) -> Option<u64> {
    let hist = measured.tally.phases[0].hists.get(&(Metric::Response, Outcome::Accepted))?;
    (!hist.is_empty()).then(|| hist.max_ns())
}

/// How many arrivals a trial has at most, if that is known before.
fn most_scheduled(plan: &Plan) -> Option<u64> {
    let scheduled = CapacityPlan::scheduled(plan)?;
    Some(match &plan.phases[0].load.model {
        // Six standard deviations more than the mean.
        LoadModel::Rate { spacing: Spacing::Poisson, .. } => {
            scheduled + (6.0 * (scheduled as f64).sqrt()) as u64 + 10
        }
        _ => scheduled,
    })
}

/// Ends a trial that cannot meet any goal any more.
struct EarlyStop<'a> {
    goals: &'a [Goal],
    scheduled: Option<u64>,
    lost: Option<Vec<GoalVerdict>>,
}

impl Observer for EarlyStop<'_> {
    fn interval(&mut self, _: &Interval, total: &Tally) -> Control {
        let Some(scheduled) = self.scheduled else { return Control::Continue };
        if self.lost.is_none() {
            let tally = &total.phases[0];
            self.lost = self.goals.iter().map(|goal| goal.is_lost(tally, scheduled)).collect();
        }
        match self.lost {
            Some(_) => Control::Stop("no goal can be met any more".to_owned()),
            None => Control::Continue,
        }
    }
}

#[cfg(test)]
mod tests;
