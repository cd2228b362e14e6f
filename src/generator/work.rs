//! How much of its work a phase did: the notes of each worker, and their evaluation.
//!
//! # Decisions
//! - A load at a rate, or a burst, is done if arrivals were served up to the end. It is not done if the last arrivals
//!   by scheduled time found no listener. Arrivals that failed between served ones count in `unexpected rate`.
//! - Two such arrivals prove that the listener is gone, and so does one that was scheduled before the last 1 % of the
//!   phase. If only the last arrival of the run found no listener, the port is tried once more ([`is_open_question`]).
//! - Shared messages (`-n`) are counted: a message that never started was not done.
//! - Sessions for a length of time are done if there was no standstill (no session open, and every opening failed) for
//!   more than 1 % of the time. The load stands still while all its workers stand still: if the sessions of one worker
//!   are refused because those of another are served, the listener is at its limit, but it serves.
//! - A session that was to be held and that ended before its phase was over, without an instruction, was not held.
//! - A session whose host does not acknowledge QUIT was not held, either. It counts up to the last packet from its
//!   host.
//! - A refusal that the profile expects is no failure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use crate::collector::Outcome;
use crate::collector::work::{Work, WorkUnit, seconds};
use crate::condition::Condition;
use crate::load::LoadModel;
use crate::plan::{Plan, Unit};
use crate::smtp::Step;

mod standstill;

use standstill::StandstillTicks;

/// The largest number of arrivals at the end of a phase whose times are kept. Earlier arrivals are counted by second.
const KEPT: usize = 4096;
/// The number of arrivals without a listener at the end of a phase that prove that the listener is gone.
const PROOF: u64 = 2;
/// The share of a phase that may be lost.
const ALLOWED: f64 = 0.01;

/// One worker's view of the end of a phase.
#[derive(Clone, Debug, Default)]
struct LastFailures {
    /// The latest intended time of an arrival that the listener answered.
    answered: Option<Duration>,
    /// The intended times of the latest arrivals that found no listener, at the time of `answered` or later.
    gone: BinaryHeap<Reverse<Duration>>,
    /// The earlier ones of these arrivals, whose times are not kept, by the second of their intended time: their number
    /// and the earliest time.
    earlier: BTreeMap<u64, (u64, Duration)>,
}

impl LastFailures {
    fn answered(&mut self, intended: Duration) {
        if self.answered.is_none_or(|latest| latest < intended) {
            self.answered = Some(intended);
            if !self.gone.is_empty() {
                self.gone.retain(|Reverse(at)| *at >= intended);
                // An arrival of the same second may be earlier than the answered one, and then proves nothing.
                self.earlier.retain(|_, (_, first)| *first >= intended);
            }
        }
    }

    fn gone(&mut self, intended: Duration) {
        if self.answered.is_some_and(|latest| latest > intended) {
            return;
        }
        self.gone.push(Reverse(intended));
        if self.gone.len() > KEPT
            && let Some(Reverse(earliest)) = self.gone.pop()
        {
            let (count, first) = self.earlier.entry(earliest.as_secs()).or_insert((0, earliest));
            *count += 1;
            *first = earliest.min(*first);
        }
    }

    /// Returns the arrivals that found no listener after such a time: their numbers and the earliest time of each.
    fn gone_after(&self, after: impl Fn(Duration) -> bool) -> impl Iterator<Item = (u64, Duration)> {
        let kept = self.gone.iter().map(|Reverse(at)| (1, *at));
        kept.chain(self.earlier.values().copied()).filter(move |(_, first)| after(*first))
    }
}

/// The notes of one worker on one phase.
#[derive(Clone, Debug, Default)]
struct PhaseNotes {
    tail: LastFailures,
    /// Held sessions that ended too early: their number, and the time of the first.
    lost: Option<(u64, Duration)>,
    /// Held sessions whose host was gone when they left: their number, and the time of the last packet of the first.
    unheard: Option<(u64, Duration)>,
    /// The times at which no session was open and none could be opened.
    standstill: StandstillTicks,
    /// When the load was given up, and the time since which no session had been served.
    given_up: Option<(Duration, Duration)>,
    /// The last failure.
    cause: Option<(Duration, Step, Condition)>,
}

impl PhaseNotes {
    /// Whether the notes show that the worker had a share of the load.
    fn had_sessions(&self) -> bool {
        let LastFailures { answered, gone, .. } = &self.tail;
        answered.is_some() || !gone.is_empty() || !self.standstill.is_empty()
    }
}

/// The notes of one worker.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes(Vec<PhaseNotes>);

impl Notes {
    pub fn new(phases: usize) -> Notes {
        Notes(vec![PhaseNotes::default(); phases])
    }

    /// Notes the end of an arrival; `cause`: the last condition of its session.
    pub fn ended(&mut self, phase: u32, intended: Duration, outcome: Outcome, cause: Option<Condition>) {
        let tail = &mut self.0[phase as usize].tail;
        let replied = cause.is_some_and(|cause| cause.group() != crate::condition::Group::Transport);
        match outcome {
            Outcome::Shed => {}
            Outcome::Refused | Outcome::TimedOut if replied => tail.answered(intended),
            Outcome::Refused
            | Outcome::Dropped
            | Outcome::TimedOut
            | Outcome::InDoubt
            | Outcome::Interrupted => tail.gone(intended),
            Outcome::Accepted
            | Outcome::Expected
            | Outcome::Deferred
            | Outcome::Rejected
            | Outcome::Malformed => tail.answered(intended),
        }
    }

    /// Notes an arrival that ended with a failed opening.
    pub fn charged(&mut self, phase: u32, intended: Duration, outcome: Outcome) {
        let cause = self.0[phase as usize].cause.map(|(_, _, condition)| condition);
        self.ended(phase, intended, outcome, cause);
    }

    /// Notes an unexpected failure of a step.
    pub fn failed(&mut self, phase: u32, at: Duration, step: Step, condition: Condition) {
        self.0[phase as usize].cause = Some((at, step, condition));
    }

    /// Notes that a session that was to be held ended too early.
    pub fn lost(&mut self, phase: u32, at: Duration) {
        let lost = &mut self.0[phase as usize].lost;
        *lost = sum(*lost, Some((1, at)));
    }

    /// Notes that the host of a held session is gone. `since`: the time of the host's last packet.
    pub fn unheard(&mut self, phase: u32, since: Duration) {
        let unheard = &mut self.0[phase as usize].unheard;
        *unheard = sum(*unheard, Some((1, since)));
    }

    pub fn stood_still(&mut self, phase: u32, since: Duration, until: Duration) {
        self.0[phase as usize].standstill.add(since, until);
    }

    pub fn given_up(&mut self, phase: u32, at: Duration, since: Duration) {
        self.0[phase as usize].given_up = Some((at, since));
    }
}

/// Adds two counts with the time of their first event.
fn sum(one: Option<(u64, Duration)>, other: Option<(u64, Duration)>) -> Option<(u64, Duration)> {
    match (one, other) {
        (Some((count, first)), Some((more, at))) => Some((count + more, first.min(at))),
        (one, other) => one.or(other),
    }
}

/// The end of a phase, for the evaluation of its work.
#[derive(Clone, Copy, Debug)]
pub(super) struct PhaseWindow {
    pub start: Duration,
    /// The end of its schedule, or the end of its last arrival.
    pub end: Duration,
    pub scheduled: u64,
    /// Whether its start barrier never opened.
    pub held_back: bool,
    /// Whether the port was tried after the phase and no listener answered.
    pub vanished: bool,
}

/// Whether the last arrivals of phase `index` found no listener, but are too few to prove that the listener is gone.
pub(super) fn is_open_question(index: usize, span: PhaseWindow, workers: &[Notes]) -> bool {
    let notes: Vec<&PhaseNotes> = workers.iter().filter_map(|notes| notes.0.get(index)).collect();
    let vanished = PhaseWindow { vanished: true, ..span };
    tail(&notes, span).is_none() && tail(&notes, vanished).is_some()
}

/// Returns the work of phase `index` that was asked for and that was done, by the notes of all workers.
pub(super) fn work(plan: &Plan, index: usize, span: PhaseWindow, workers: &[Notes]) -> Work {
    let phase = &plan.phases[index];
    let notes: Vec<&PhaseNotes> = workers.iter().filter_map(|notes| notes.0.get(index)).collect();
    let cause = notes.iter().filter_map(|notes| notes.cause).max_by_key(|(at, ..)| *at);
    let cause = cause.map(|(_, step, condition)| format!(" ({condition} at {step})")).unwrap_or_default();
    let of_unit = match phase.unit {
        Unit::Message => WorkUnit::Messages,
        Unit::Session => WorkUnit::Sessions,
    };
    let ended = tail(&notes, span);
    let gone = ended.map_or(0, |(count, _)| count);
    let after = |count: u64, since: Duration| {
        let since_when = seconds(since);
        let why = match count {
            1 => format!("the last one, from {since_when} on, was not served{cause}"),
            _ => format!("the last {count}, from {since_when} on, were not served{cause}"),
        };
        (since, why)
    };
    let (unit, asked, done, short) = match &phase.load.model {
        LoadModel::Shared { total, .. } => {
            let asked = plan.shard.share(*total);
            let given_up = notes.iter().filter_map(|notes| notes.given_up).max();
            let done = span.scheduled.saturating_sub(gone);
            let short = match (given_up, ended) {
                _ if span.held_back => Some(never_open(span)),
                (Some((at, since)), _) => Some((since, given_up_at(at, since, &cause))),
                (None, Some((count, since))) => Some(after(count, since)),
                (None, None) if phase.load.length.is_none() => {
                    Some((span.end, "the run was stopped".to_owned()))
                }
                (None, None) => Some((span.end, "the time that it may take was over".to_owned())),
            };
            (of_unit, asked, done, short)
        }
        LoadModel::Sessions { .. } => {
            let length = span.end.saturating_sub(span.start);
            let stood = stood_still(&notes);
            let stood = if stood > length.mul_f64(ALLOWED) { stood } else { Duration::ZERO };
            let nothing = ended.map_or(Duration::ZERO, |(_, since)| span.end.saturating_sub(since));
            let done = length.saturating_sub(stood.max(nothing));
            let short = match ended {
                _ if span.held_back => Some(never_open(span)),
                Some((_, since)) => {
                    Some((since, format!("from {} on no session was served{cause}", seconds(since))))
                }
                None => {
                    let stood = seconds(stood);
                    Some((span.end, format!("for {stood} in all no session could be opened{cause}")))
                }
            };
            (WorkUnit::Time, nanos(length), if span.held_back { 0 } else { nanos(done) }, short)
        }
        LoadModel::Rate { .. } | LoadModel::Burst { .. } | LoadModel::Held { .. } => {
            let lost = notes.iter().map(|notes| notes.lost).fold(None, sum);
            let count = lost.map_or(0, |(count, _)| count);
            let short = match (lost, ended) {
                (Some((count, first)), _) if count >= gone => {
                    let (first, were) = (seconds(first), if count == 1 { "was" } else { "were" });
                    let why = format!("{} {were} lost, the first at {first}{cause}", held(count));
                    Some((lost.map_or(span.end, |(_, first)| first), why))
                }
                (_, ended) => ended.map(|(count, since)| after(count, since)),
            };
            (of_unit, span.scheduled, span.scheduled.saturating_sub(count.max(gone)), short)
        }
    };
    let (done, short) = match notes.iter().map(|notes| notes.unheard).fold(None, sum) {
        None => (done, short),
        Some((count, since)) => {
            let lost = match unit {
                WorkUnit::Time => nanos(span.end.saturating_sub(since)),
                WorkUnit::Messages | WorkUnit::Sessions => count,
            };
            let since_when = seconds(since);
            let why = format!(
                "the host of {} no longer answers: its last packet came at {since_when}{cause}",
                held(count)
            );
            (done.min(asked.saturating_sub(lost)), Some((since, why)))
        }
    };
    let short = short.filter(|_| done < asked);
    let (short_since, why) = short.map_or((None, None), |(since, why)| (Some(since), Some(why)));
    Work { unit, asked, done, short_since, why }
}

/// Returns for how long all workers that had sessions of the phase stood still.
fn stood_still(notes: &[&PhaseNotes]) -> Duration {
    let of_workers = notes.iter().filter(|notes| notes.had_sessions()).map(|notes| notes.standstill.clone());
    of_workers.reduce(|all, one| all.with(&one)).map_or(Duration::ZERO, |all| all.length())
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn held(count: u64) -> String {
    format!("{count} held session{}", if count == 1 { "" } else { "s" })
}

fn never_open(span: PhaseWindow) -> (Duration, String) {
    (span.start, "its sessions were never open all at once".to_owned())
}

fn given_up_at(at: Duration, since: Duration, cause: &str) -> String {
    format!("given up at {}, because no session was served from {} on{cause}", seconds(at), seconds(since))
}

/// Returns the number of arrivals at the end of a phase that found no listener, and the time of the first, if they
/// prove that the listener is gone.
fn tail(notes: &[&PhaseNotes], span: PhaseWindow) -> Option<(u64, Duration)> {
    let answered = notes.iter().filter_map(|notes| notes.tail.answered).max();
    // An arrival scheduled at the same time as an answered one proves nothing.
    let counts = |at: Duration, answered| at > answered || span.vanished && at == answered;
    let after = |at: Duration| answered.is_none_or(|answered| counts(at, answered));
    let gone = notes.iter().flat_map(|notes| notes.tail.gone_after(after));
    let (count, since) = gone.reduce(|(count, since), (more, at)| (count + more, since.min(at)))?;
    let length = span.end.saturating_sub(span.start);
    let shows = span.vanished || count >= PROOF || span.end.saturating_sub(since) >= length.mul_f64(ALLOWED);
    shows.then_some((count, since))
}

#[cfg(test)]
mod tests;
