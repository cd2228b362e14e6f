//! A run in progress: the same result and the same page as at its end, with the values counted so far. It has no
//! verdict, and values that are unknown before the end are absent.

use std::time::Duration;

use super::page::{self, RelayProgress, RunProgress};
use super::timeline::GrowingTimeline;
use crate::collector::agents::AgentProgress;
use crate::collector::snapshot::{Gauges, Health, Interval, Measured};
use crate::collector::summary::PhaseInfo;
use crate::collector::tally::{Counts, Tally};
use crate::event::EventRun;
use crate::report::html::PageInput;
use crate::report::{RunDescription, RunResult};

/// A run in progress.
#[derive(Debug)]
pub struct RunInProgress {
    description: RunDescription,
    /// The values so far.
    measured: Measured,
    /// The source of the charts; `None` if only counts are kept.
    timeline: Option<GrowingTimeline>,
    /// When the user asked the run to stop; `None` if the user has not.
    stopped: Option<Duration>,
}

impl RunInProgress {
    /// Creates a run without any values yet.
    pub fn new(description: RunDescription) -> RunInProgress {
        let names = description.infos.iter().map(|info| info.name.clone()).collect();
        let has_retries = description.plan.retry.is_some();
        let timeline = GrowingTimeline::new(names, planned(&description.infos), has_retries);
        RunInProgress { timeline: Some(timeline), ..RunInProgress::counting(description) }
    }

    /// Creates a run that keeps only counts, without distributions and charts, so that it is small enough to be stored
    /// each second.
    pub fn counting(description: RunDescription) -> RunInProgress {
        let count = description.infos.len();
        let measured = Measured {
            tally: Tally::new(count),
            windows: vec![Duration::ZERO; count],
            starts: starts(&description.infos),
            held_back: vec![false; count],
            work: Vec::new(),
            drained_for: vec![Duration::ZERO; count],
            began_at: Duration::ZERO,
            gauges: Gauges::default(),
            peak_sessions: vec![0; count],
            health: Health::default(),
            interrupted: false,
            aborted_by: None,
            took: Duration::ZERO,
            events: description.plan.events.iter().map(EventRun::waiting).collect(),
            ..Measured::default()
        };
        RunInProgress { description, measured, timeline: None, stopped: None }
    }

    /// Adds a second.
    pub fn add(&mut self, second: &Interval) {
        let Measured { tally, windows, starts, gauges, peak_sessions, took, .. } = &mut self.measured;
        match &mut self.timeline {
            Some(_) => *tally += &second.tally,
            None => tally.add_counts(&second.tally),
        }
        *took = second.start + second.length;
        // An interval holds only the peak of the run so far. If this peak has grown, it is the peak of this second.
        // Otherwise the number of sessions at the end of the second is used.
        let most = if second.gauges.peak_sessions > gauges.peak_sessions {
            second.gauges.peak_sessions
        } else {
            second.gauges.sessions
        };
        *gauges = second.gauges;
        let until = self.stopped.unwrap_or(*took);
        let mut over = Duration::ZERO;
        for (i, info) in self.description.infos.iter().enumerate() {
            let counts = &second.tally.phases[i].counts;
            let begins = over;
            over = over.saturating_add(info.length.unwrap_or(Duration::MAX));
            // A phase that opens its sessions first starts later than planned.
            if self.description.plan.phases[i].open_first && tally.phases[i].counts.scheduled == 0 {
                starts[i] = second.start.max(begins);
            }
            if counts.opened > 0 || counts.scheduled > 0 {
                peak_sessions[i] = peak_sessions[i].max(most);
            }
            let ends = match info.length {
                Some(_) => over.min(until),
                // A phase without a length lasts until its arrivals are used up.
                None if counts.scheduled > 0 || counts.arrivals.ended() > 0 => until,
                None => starts[i] + windows[i],
            };
            windows[i] = ends.saturating_sub(starts[i]);
        }
        if let Some(timeline) = &mut self.timeline {
            timeline.add(second);
        }
    }

    /// Sets the state of the run's events.
    pub fn set_events(&mut self, events: Vec<EventRun>) {
        self.measured.events = events;
    }

    /// Sets the state of the agents of a fleet.
    pub fn set_agents(&mut self, agents: &[AgentProgress]) {
        self.measured.agents = agents.iter().map(|own| own.run.clone()).collect();
    }

    /// Records that the user has asked the run to stop: no arrivals are scheduled from now on.
    pub fn stopping(&mut self) {
        self.stopped.get_or_insert(self.measured.took);
    }

    /// Returns how long the run has lasted.
    pub fn took(&self) -> Duration {
        self.measured.took
    }

    /// Returns the result so far. It has no verdict.
    pub fn result(&self) -> RunResult {
        RunResult::so_far(&self.description, &self.measured)
    }

    fn relay(&self) -> Option<RelayProgress> {
        let sum =
            |of: fn(&Counts) -> u64| self.measured.tally.phases.iter().map(|phase| of(&phase.counts)).sum();
        Some(RelayProgress {
            accepted: sum(|counts| counts.awaited),
            delivered: sum(|counts| counts.delivered),
            queued: self.measured.gauges.queued?,
        })
    }

    /// Returns the page so far: with `whole` the whole page, otherwise only the parts that change.
    pub fn page(&mut self, whole: bool) -> String {
        let result = self.result();
        let timeline = self.timeline.as_mut().map(GrowingTimeline::so_far);
        let progress = RunProgress {
            planned_s: planned(&self.description.infos).map(|planned| planned.as_secs_f64()),
            stopping: self.stopped.is_some(),
            waiting: self.measured.gauges.waiting,
            in_flight: self.measured.gauges.in_flight,
            relay: self.relay(),
        };
        let input = PageInput {
            result: &result,
            profile: Some(&self.description.profile),
            environment: None,
            timeline: timeline.as_ref().map(|(timeline, series)| (timeline, series.as_str())),
            conditions: None,
            live: Some(page::live_part(whole)),
        };
        page::write(input, progress)
    }
}

/// Returns the planned duration of the whole load, if it is known.
fn planned(infos: &[PhaseInfo]) -> Option<Duration> {
    infos.iter().map(|info| info.length).sum()
}

/// Returns the planned start of each phase.
fn starts(infos: &[PhaseInfo]) -> Vec<Duration> {
    let mut at = Duration::ZERO;
    let begin = |info: &PhaseInfo| {
        let start = at;
        at = at.saturating_add(info.length.unwrap_or(Duration::MAX));
        start
    };
    infos.iter().map(begin).collect()
}
