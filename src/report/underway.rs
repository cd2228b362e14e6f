//! A run that goes on, as far as it is known: the same result and the same page as at its end, of what has been counted so
//! far. It is never a verdict; what cannot be known before the end is not there.

use std::time::Duration;

use super::BuildInput;
use super::html::{self, Growing, Stage};
use super::stored::{RunResult, StoredStatus};
use crate::collector::snapshot::{Gauges, Health, Interval, Measured};
use crate::collector::summary::{Code, PhaseInfo, Summary};
use crate::collector::tally::Tally;
use crate::plan::Plan;
use crate::verdict::grammar::Assertion;
use crate::verdict::{Verdict, Windows};

/// What was asked of a run.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What is done.
    pub plan: Plan,
    /// Its phases, in its order.
    pub infos: Vec<PhaseInfo>,
    /// What is asserted.
    pub assertions: Vec<Assertion>,
    /// The profile's file, if there is one.
    pub profile_path: Option<String>,
    /// SHA-256 of the resolved profile, in hexadecimal.
    pub profile_sha256: String,
    /// The resolved profile, as TOML.
    pub profile: String,
    /// When the run began, since the Unix epoch.
    pub started_at: Duration,
}

/// A run that goes on.
#[derive(Debug)]
pub struct Underway {
    asked: Asked,
    /// So far.
    measured: Measured,
    /// What its charts are drawn from; `None`: the counts alone are wanted.
    course: Option<Growing>,
    /// The user has asked it to stop; since when.
    stopped: Option<Duration>,
}

impl Underway {
    /// One of which nothing is known yet.
    pub fn new(asked: Asked) -> Underway {
        let names = asked.infos.iter().map(|info| info.name.clone()).collect();
        let course = Growing::new(names, planned(&asked.infos));
        Underway { course: Some(course), ..Underway::counting(asked) }
    }

    /// One of which the counts are kept, and neither distributions nor charts: little enough to be written each second.
    pub fn counting(asked: Asked) -> Underway {
        let count = asked.infos.len();
        let measured = Measured {
            tally: Tally::new(count),
            windows: vec![Duration::ZERO; count],
            starts: starts(&asked.infos),
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
            transcripts: Vec::new(),
        };
        Underway { asked, measured, course: None, stopped: None }
    }

    /// A second is over.
    pub fn add(&mut self, second: &Interval) {
        let Measured { tally, windows, starts, gauges, peak_sessions, took, .. } = &mut self.measured;
        match &mut self.course {
            Some(_) => *tally += &second.tally,
            None => tally.add_counts(&second.tally),
        }
        *took = second.start + second.length;
        // The most that were open within a second is told only where that is the most of the run.
        let most = if second.gauges.peak_sessions > gauges.peak_sessions {
            second.gauges.peak_sessions
        } else {
            second.gauges.sessions
        };
        *gauges = second.gauges;
        let until = self.stopped.unwrap_or(*took);
        let mut over = Duration::ZERO;
        for (i, info) in self.asked.infos.iter().enumerate() {
            let counts = &second.tally.phases[i].counts;
            let begins = over;
            over = over.saturating_add(info.length.unwrap_or(Duration::MAX));
            // Behind a gate a phase begins later than planned.
            if self.asked.plan.phases[i].open_first && tally.phases[i].counts.scheduled == 0 {
                starts[i] = second.start.max(begins);
            }
            if counts.opened > 0 || counts.scheduled > 0 {
                peak_sessions[i] = peak_sessions[i].max(most);
            }
            let ends = match info.length {
                Some(_) => over.min(until),
                // Until it is used up.
                None if counts.scheduled > 0 || counts.arrivals.ended() > 0 => until,
                None => starts[i] + windows[i],
            };
            windows[i] = ends.saturating_sub(starts[i]);
        }
        if let Some(course) = &mut self.course {
            course.add(second);
        }
    }

    /// The user wants it to stop: nothing new is due from now on.
    pub fn stopping(&mut self) {
        self.stopped.get_or_insert(self.measured.took);
    }

    /// How long it has gone on.
    pub fn took(&self) -> Duration {
        self.measured.took
    }

    /// What is known so far. Its verdict is that there is none.
    pub fn result(&self) -> RunResult {
        let Asked { plan, infos, assertions, .. } = &self.asked;
        let mut summary = Summary::new(&self.measured, infos);
        // What is under way makes no books that do not close, and a phase need not be steady before it is over.
        summary.validity.reasons.retain(|why| matches!(why.code, Code::GeneratorLag | Code::OwnResource));
        summary.warnings.clear();
        let verdict =
            Verdict::judge(&self.measured, &summary, &plan.expects, assertions, &Windows::default());
        let mut result = RunResult::build(BuildInput {
            plan,
            measured: &self.measured,
            summary: &summary,
            verdict: &verdict,
            profile_path: self.asked.profile_path.clone(),
            profile_sha256: self.asked.profile_sha256.clone(),
            // Of the whole schedule: that takes its time, and is known at the end.
            schedule_sha256: String::new(),
            load_sha256: String::new(),
            started_at: self.asked.started_at,
            ledger: None,
        });
        result.verdict.status = StoredStatus::NoData;
        result
    }

    /// The page so far: whole, or only what changes of it.
    pub fn page(&mut self, whole: bool) -> String {
        let result = self.result();
        let course = self.course.as_mut().map(Growing::so_far);
        let planned = planned(&self.asked.infos);
        html::write(html::Input {
            result: &result,
            profile: Some(&self.asked.profile),
            environment: None,
            course: course.as_ref().map(|(course, series)| (course, series.as_str())),
            conditions: None,
            stage: Stage::Underway {
                planned_s: planned.map(|planned| planned.as_secs_f64()),
                stopping: self.stopped.is_some(),
                waiting: self.measured.gauges.waiting,
                under_way: self.measured.gauges.in_flight,
                whole,
            },
        })
    }
}

/// How long the whole load is to take, if that is known.
fn planned(infos: &[PhaseInfo]) -> Option<Duration> {
    infos.iter().map(|info| info.length).sum()
}

/// When each phase is to begin.
fn starts(infos: &[PhaseInfo]) -> Vec<Duration> {
    let mut at = Duration::ZERO;
    let begin = |info: &PhaseInfo| {
        let start = at;
        at = at.saturating_add(info.length.unwrap_or(Duration::MAX));
        start
    };
    infos.iter().map(begin).collect()
}
