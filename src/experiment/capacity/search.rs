//! Runs a search: the warm-up, trials and cool-downs, until the controller has no next trial or the time is over.
//!
//! The [`SearchHost`] provides threads, clock, files, the screen and the user's command.

use std::time::Duration;

use super::controller::NextTrial;
use super::goal::{Goal, GoalVerdict};
use super::record::{SearchState, TrialRecord, record};
use super::relayed::IdleTimes;
use super::search_plan::CapacityPlan;
use super::sustained;
use crate::collector::snapshot::{Interval, Measured};
use crate::collector::tally::Tally;
use crate::collector::{Metric, Outcome};
use crate::event::ShellCommand;
use crate::generator::runner::{Control, Observer, RunError, Runner};
use crate::load::{LoadModel, Spacing};
use crate::plan::Plan;

/// The number of probes of the idle listener before the first trial.
const BASE_PROBES: usize = 3;
/// The interval of the probes during a cool-down.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// The listener has recovered when a probe takes at most this factor times the response time of the idle listener, plus
/// [`SLACK`].
const BACK: f64 = 1.2;
const SLACK: Duration = Duration::from_millis(5);

/// The host of a search. A run is one trial, warm-up or probe. With a receiver behind the relay, a run lasts until the
/// relay's queue is empty or the wait for that is over.
pub trait SearchHost: Runner {
    /// Returns how long the search has taken, including the time before an interruption.
    fn elapsed(&self) -> Duration;

    /// Waits for this time, or until the user wants to stop.
    fn wait(&mut self, time: Duration);

    /// Whether the user wants to stop.
    fn stopped(&self) -> bool;

    /// Runs the user's command before the trial of this number.
    ///
    /// # Errors
    /// The command failed; the error is the reason, in a sentence.
    fn between(&mut self, command: &ShellCommand, number: usize) -> Result<(), String>;

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
    /// The search waits until the backlog is worked off.
    CoolDown,
}

/// How a search ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchEnd {
    /// No trial is left to make.
    Complete,
    /// Another trial would not end in time.
    Deadline,
    /// The user stopped the search.
    Interrupted,
    /// The user's command failed.
    Hook(String),
    /// The relay did not deliver what it had accepted, so further trials are useless. The reason is a sentence.
    Undelivered(String),
}

/// Continues a search from `state` to its end. The results are in `state`, for any end.
///
/// # Errors
/// smtpress itself cannot continue.
pub fn search(
    capacity: &CapacityPlan,
    plan: &Plan,
    host: &mut dyn SearchHost,
    state: &mut SearchState,
) -> Result<SearchEnd, RunError> {
    let mut search = Searcher { capacity, plan, host };
    let end = search.run(state);
    state.elapsed_s = search.host.elapsed().as_secs_f64();
    search.host.keep(state);
    end
}

struct Searcher<'a> {
    capacity: &'a CapacityPlan,
    plan: &'a Plan,
    host: &'a mut dyn SearchHost,
}

impl Searcher<'_> {
    fn run(&mut self, state: &mut SearchState) -> Result<SearchEnd, RunError> {
        if state.controller.next().is_some() {
            // Later it would be the time of a loaded listener, and earlier trials would still lack it.
            if state.base_ns.is_none()
                && state.records.is_empty()
                && let Some(undelivered) = self.base(state)?
            {
                return Ok(undelivered);
            }
            if !self.capacity.warmup.is_zero() && !self.host.stopped() {
                self.host.notify(SearchEvent::WarmUp, state);
                let warm_up = self.capacity.warm_up(self.plan, self.capacity.warmup);
                let measured = self.host.run(&warm_up, &mut ())?;
                if let Some(undelivered) = queue_left(&measured, "the warm-up") {
                    return Ok(undelivered);
                }
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
            let Some((record, undelivered)) = self.trial(&ask, number, length, state)? else {
                return Ok(SearchEnd::Interrupted);
            };
            state.add(record);
            state.elapsed_s = self.host.elapsed().as_secs_f64();
            self.host.keep(state);
            let record = state.records.last().expect("it was added");
            self.host.notify(SearchEvent::Ended(record), state);
            if state.controller.next().is_some() {
                // A command between trials may empty the relay's queue.
                if let Some(undelivered) = undelivered.filter(|_| self.capacity.between_trials.is_none()) {
                    return Ok(undelivered);
                }
                let cooled = self.cool_down(state)?;
                let record = state.records.last_mut().expect("it was added");
                (record.cooldown_s, record.backlog_left) = cooled;
                // A search that is killed in the next trial knows its probes and the cool-down.
                state.elapsed_s = self.host.elapsed().as_secs_f64();
                self.host.keep(state);
            }
        }
        Ok(SearchEnd::Complete)
    }

    /// Makes one trial. Returns its record, and the end of the search if the relay still has a queue. `None`: the user
    /// stopped the trial.
    fn trial(
        &mut self,
        ask: &NextTrial,
        number: usize,
        length: Duration,
        state: &SearchState,
    ) -> Result<Option<(TrialRecord, Option<SearchEnd>)>, RunError> {
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
            if let Some(delivery) = &mut record.delivery {
                delivery.hold_to(&self.capacity.deliveries, &measured);
            }
            if let (true, false, Some(ns)) =
                (self.capacity.judges_backlog(), record.ended_early, state.base_ns)
            {
                let delivery = state.base_delivery_ns.map(Duration::from_nanos);
                let idle = IdleTimes { response: Duration::from_nanos(ns), delivery };
                record.backlog = sustained::judge(&measured.backlog, ask.load, length, idle.response);
                if let Some(delivery) = &mut record.delivery {
                    delivery.judge_growths(&measured, ask.load, length, idle);
                }
            }
            record.hold_to_growths_and_deliveries();
        }
        Ok(Some((record, queue_left(&measured, &format!("trial {number}")))))
    }

    /// Measures the times of the idle listener: the medians of [`BASE_PROBES`] probes, as far as they are accepted. Returns
    /// the end of the search if an accepted probe is not delivered.
    fn base(&mut self, state: &mut SearchState) -> Result<Option<SearchEnd>, RunError> {
        let (mut responses, mut deliveries) = (Vec::new(), Vec::new());
        for _ in 0..BASE_PROBES {
            if self.host.stopped() {
                return Ok(None);
            }
            let measured = self.probe(state)?;
            if let Some(delivered) = measured.delivered.as_ref().filter(|_| !measured.interrupted)
                && delivered.counts().missing > 0
            {
                return Ok(Some(SearchEnd::Undelivered(format!(
                    "the relay accepted a message before the first trial, and it did not come out in {:.0} s: let the relay hand on \
                     what it accepts to the address of [receive]",
                    delivered.ended.as_secs_f64()
                ))));
            }
            responses.extend(longest(&measured, Metric::Response));
            deliveries.extend(longest(&measured, Metric::Delivery));
        }
        state.base_ns = median(responses);
        state.base_delivery_ns = median(deliveries);
        Ok(None)
    }

    /// Waits until the listener is as fast as before the search, at most `cooldown_max`. Returns the length of the wait in
    /// seconds (`None`: not measured), and whether the listener was still slower at its end.
    fn cool_down(&mut self, state: &mut SearchState) -> Result<(Option<f64>, bool), RunError> {
        let Some(base_ns) = state.base_ns else { return Ok((None, false)) };
        let allowed = Duration::from_nanos(base_ns).mul_f64(BACK) + SLACK;
        let began = self.host.elapsed();
        let mut is_reported = false;
        loop {
            if self.host.stopped() {
                return Ok((None, false));
            }
            let probed = self.host.elapsed();
            let took = longest(&self.probe(state)?, Metric::Response);
            let waited = self.host.elapsed().saturating_sub(began);
            if took.is_some_and(|ns| Duration::from_nanos(ns) <= allowed) {
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

    /// Runs a single arrival.
    fn probe(&mut self, state: &mut SearchState) -> Result<Measured, RunError> {
        state.probes += 1;
        let plan = self.capacity.probe(self.plan, state.probes);
        self.host.run(&plan, &mut ())
    }
}

/// Returns the end of the search if the relay still had a queue when the wait for deliveries ended.
fn queue_left(measured: &Measured, after: &str) -> Option<SearchEnd> {
    let delivered = measured.delivered.as_ref().filter(|delivered| delivered.is_queue_left)?;
    Some(SearchEnd::Undelivered(format!(
        "after {after} the relay's queue did not become empty: {} recipients were left {:.0} s after the start of the load, and still \
         came out; raise `drain` in [receive], or begin with a lower `start`",
        delivered.counts().missing,
        delivered.ended.as_secs_f64()
    )))
}

fn median(mut times: Vec<u64>) -> Option<u64> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

/// Returns the longest time of this metric among accepted arrivals, in nanoseconds.
fn longest(measured: &Measured, metric: Metric) -> Option<u64> {
    let hist = measured.tally.phases[0].hists.get(&(metric, Outcome::Accepted))?;
    (!hist.is_empty()).then(|| hist.max_ns())
}

/// Returns the largest number of arrivals that a trial can have, if that is known in advance.
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

/// Ends a trial early if it can no longer meet any goal.
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
