//! The search itself: warm-up, trials, cool-downs, until the controller has no more to ask or time is up.
//!
//! Where it happens (threads, clock, files, the screen, the user's command) is the [`Site`]'s business.

use std::time::Duration;

use super::asked::Asked;
use super::controller::Ask;
use super::goal::{Goal, Verdict};
use super::record::{Record, State, record};
use crate::collector::snapshot::{Interval, Measured};
use crate::collector::tally::Tally;
use crate::collector::{Metric, Outcome};
use crate::generator::runner::{Control, Observer, RunError, Runner};
use crate::load::{LoadModel, Spacing};
use crate::plan::Plan;

/// Probes that tell how fast the idle listener is.
const BASE_PROBES: usize = 3;
/// From probe to probe.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// The listener is back when a probe takes no longer than this times the base, and [`SLACK`].
const BACK: f64 = 1.2;
const SLACK: Duration = Duration::from_millis(5);

/// Where a search happens. A run is one trial, warm-up or probe.
pub trait Site: Runner {
    /// How long the search has taken, with what it took before it was broken off.
    fn elapsed(&self) -> Duration;

    /// Lets time pass; less if the user wants to stop.
    fn wait(&mut self, time: Duration);

    /// Whether the user wants to stop.
    fn stopped(&self) -> bool;

    /// Runs the user's command before the trial of this number.
    ///
    /// # Errors
    /// It failed: how, in a sentence.
    fn between(&mut self, command: &str, number: usize) -> Result<(), String>;

    /// Keeps what is known.
    fn keep(&mut self, state: &State);

    /// Tells what happens.
    fn tell(&mut self, news: News<'_>, state: &State);
}

/// What a search tells while it goes on.
#[derive(Clone, Debug)]
pub enum News<'a> {
    /// The listener is warmed up.
    WarmUp,
    /// A trial begins.
    Begins(Ask),
    /// A trial is over and judged.
    Judged(&'a Record),
    /// It is waited until the backlog is gone.
    CoolDown,
}

/// How a search came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// There is nothing more to ask.
    Complete,
    /// Another trial would not end in time.
    Deadline,
    /// The user stopped it.
    Interrupted,
    /// The user's command failed.
    Hook(String),
}

/// Searches on from `state` until the end. What it found is in `state`, whatever the end.
///
/// # Errors
/// smtpress itself cannot go on.
pub fn search(asked: &Asked, plan: &Plan, site: &mut dyn Site, state: &mut State) -> Result<End, RunError> {
    let mut search = Search { asked, plan, site, probes: 0 };
    let end = search.run(state);
    state.elapsed_s = search.site.elapsed().as_secs_f64();
    search.site.keep(state);
    end
}

struct Search<'a> {
    asked: &'a Asked,
    plan: &'a Plan,
    site: &'a mut dyn Site,
    probes: usize,
}

impl Search<'_> {
    fn run(&mut self, state: &mut State) -> Result<End, RunError> {
        if state.controller.next().is_some() {
            if state.base_ns.is_none() {
                state.base_ns = self.base()?;
            }
            if !self.asked.warmup.is_zero() && !self.site.stopped() {
                self.site.tell(News::WarmUp, state);
                let warm_up = self.asked.warm_up(self.plan, self.asked.warmup);
                self.site.run(&warm_up, &mut ())?;
                self.cool_down(state)?;
            }
        }
        while let Some(ask) = state.controller.next() {
            let number = state.records.len() + 1;
            let length = Duration::from_secs_f64(ask.seconds);
            if self.site.stopped() {
                return Ok(End::Interrupted);
            }
            if self.site.elapsed() + length > self.asked.deadline {
                return Ok(End::Deadline);
            }
            if let Some(command) = &self.asked.between_trials
                && number > 1
                && let Err(reason) = self.site.between(command, number)
            {
                return Ok(End::Hook(reason));
            }
            self.site.tell(News::Begins(ask), state);
            let Some(record) = self.trial(&ask, number, length)? else { return Ok(End::Interrupted) };
            state.add(record);
            state.elapsed_s = self.site.elapsed().as_secs_f64();
            self.site.keep(state);
            let record = state.records.last().expect("it was added");
            self.site.tell(News::Judged(record), state);
            if state.controller.next().is_some() {
                let cooled = self.cool_down(state)?;
                let record = state.records.last_mut().expect("it was added");
                (record.cooldown_s, record.backlog_left) = cooled;
            }
        }
        Ok(End::Complete)
    }

    /// Makes one trial; nothing if the user stopped it.
    fn trial(&mut self, ask: &Ask, number: usize, length: Duration) -> Result<Option<Record>, RunError> {
        let plan = self.asked.trial(self.plan, number, ask.load, length);
        let began_s = self.site.elapsed().as_secs_f64();
        let mut watch = Watch { goals: &self.asked.goals, scheduled: most_scheduled(&plan), lost: None };
        let measured = self.site.run(&plan, &mut watch)?;
        if measured.interrupted {
            return Ok(None);
        }
        let mut record = record(ask, number, began_s, &plan.phases[0], &measured);
        if record.invalid.is_empty() {
            let tally = &measured.tally.phases[0];
            record.goals = match watch.lost {
                Some(lost) => lost,
                None => self.asked.goals.iter().map(|goal| goal.judge(tally)).collect(),
            };
        }
        Ok(Some(record))
    }

    /// The response time of an idle listener: the median of a few probes, if they were accepted.
    fn base(&mut self) -> Result<Option<u64>, RunError> {
        let mut times = Vec::new();
        for _ in 0..BASE_PROBES {
            if self.site.stopped() {
                return Ok(None);
            }
            times.extend(self.probe()?);
        }
        times.sort_unstable();
        Ok(times.get(times.len() / 2).copied())
    }

    /// Waits until the listener is as fast as before the search: how long that took, and whether it did not come about.
    fn cool_down(&mut self, state: &State) -> Result<(Option<f64>, bool), RunError> {
        let Some(base_ns) = state.base_ns else { return Ok((None, false)) };
        let allowed = Duration::from_nanos(base_ns).mul_f64(BACK) + SLACK;
        let began = self.site.elapsed();
        let mut told = false;
        loop {
            if self.site.stopped() {
                return Ok((None, false));
            }
            let probed = self.site.elapsed();
            let took = self.probe()?;
            let waited = self.site.elapsed().saturating_sub(began);
            if took.is_some_and(|ns| Duration::from_nanos(ns) <= allowed) {
                return Ok((Some(waited.as_secs_f64()), false));
            }
            if waited >= self.asked.cooldown_max {
                return Ok((Some(waited.as_secs_f64()), true));
            }
            if !std::mem::replace(&mut told, true) {
                self.site.tell(News::CoolDown, state);
            }
            self.site.wait((probed + PROBE_EVERY).saturating_sub(self.site.elapsed()));
        }
    }

    /// The response time of one arrival alone; nothing if it was not accepted.
    fn probe(&mut self) -> Result<Option<u64>, RunError> {
        self.probes += 1;
        let plan = self.asked.probe(self.plan, self.probes);
        let measured = self.site.run(&plan, &mut ())?;
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
    let scheduled = Asked::scheduled(plan)?;
    Some(match &plan.phases[0].load.model {
        // Six standard deviations more than the mean.
        LoadModel::Rate { spacing: Spacing::Poisson, .. } => {
            scheduled + (6.0 * (scheduled as f64).sqrt()) as u64 + 10
        }
        _ => scheduled,
    })
}

/// Ends a trial that cannot meet any goal any more.
struct Watch<'a> {
    goals: &'a [Goal],
    scheduled: Option<u64>,
    lost: Option<Vec<Verdict>>,
}

impl Observer for Watch<'_> {
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
