//! Turns the reports of one generator thread's sessions into counts and distributions by phase.
//!
//! It decides which failures an `[[expect]]` covers, which events are after the window of their phase (M21), and how
//! many arrivals are in flight (M20).
//!
//! # Decisions
//! - With `[session.retry]` an arrival is a message and ends once: as its last attempt did, or as interrupted if the
//!   run ends before the next attempt. A message of several recipients is accepted if one of its attempts was. Times,
//!   transactions and conditions are counted for each attempt, in the phase of the message; `time_to_accept` is counted
//!   for each message.
//! - The check whether the listener served the load to its end (`work`) uses the scheduled time of the message for each
//!   of its attempts.

use std::cell::{RefCell, RefMut};
use std::sync::Arc;
use std::time::Duration;

use super::context::RunContext;
use super::dispatch::{AfterAttempt, ScheduledArrival};
use super::failure_class::{self, FailureClass};
use super::times::Times;
use super::transcript::{SessionTranscript, Transcripts};
use super::work::Notes;
use crate::collector::recorder::Recorder;
use crate::collector::slices::{ArrivalSpan, Slices};
use crate::collector::snapshot::{Gauges, Snapshot};
use crate::collector::tally::{ConditionKey, Counts};
use crate::collector::{Metric, Outcome};
use crate::condition::expect::Expect;
use crate::condition::{Classifier, Condition};
use crate::load;
use crate::smtp::client::Failure;
use crate::smtp::{Reply, Step};

/// The accounting of one thread.
pub(super) struct Accounting {
    context: Arc<RunContext>,
    worker: u32,
    classifier: Classifier,
    /// The start and the end of each phase; `Duration::MAX`: never.
    spans: Vec<(Duration, Duration)>,
    phases: RefCell<Vec<PhaseState>>,
    recorder: RefCell<Recorder>,
    transcripts: RefCell<Transcripts>,
    notes: RefCell<Notes>,
}

/// The state of one phase on this thread.
#[derive(Clone, Copy, Debug, Default)]
struct PhaseState {
    /// Arrivals in flight (M20).
    in_flight: u64,
    /// The time up to which `in_flight` is integrated over time, limited to the phase's window.
    since: Duration,
    /// The most sessions open at once, over all threads.
    peak_sessions: u64,
    /// When the last arrival ended.
    last_end: Duration,
}

/// The values at the end of a thread that are not in its snapshots.
#[derive(Debug, Default)]
pub(super) struct FinalAccount {
    /// By phase: the most sessions open at once.
    pub peak_sessions: Vec<u64>,
    /// By phase: when its last arrival ended.
    pub last_ends: Vec<Duration>,
    /// The notes on how much of the work was done.
    pub notes: Notes,
    /// The last transcripts: file stem and text.
    pub transcripts: Vec<(String, String)>,
    /// The arrivals in slices, for a plan with events.
    pub slices: Slices,
}

impl Accounting {
    pub fn new(context: Arc<RunContext>, worker: u32) -> Accounting {
        let plan = &context.plan;
        let phases = plan.phases.len();
        let has_events = !plan.events.is_empty();
        let sliced = plan.phases.iter().map(|phase| has_events && !phase.warmup).collect();
        Accounting {
            worker,
            classifier: Classifier::new(plan.classify.clone()),
            spans: load::spans(plan.phases.iter().map(|phase| &phase.load)).collect(),
            phases: RefCell::new(vec![PhaseState::default(); phases]),
            recorder: RefCell::new(Recorder::new(phases, worker).with_slices(sliced)),
            transcripts: RefCell::default(),
            notes: RefCell::new(Notes::new(phases)),
            context,
        }
    }

    /// Returns the recorder, for the counts of the dispatcher.
    pub fn recorder(&self) -> RefMut<'_, Recorder> {
        self.recorder.borrow_mut()
    }

    /// Returns the notes on how much of the work was done.
    pub fn notes(&self) -> RefMut<'_, Notes> {
        self.notes.borrow_mut()
    }

    /// Changes the counts of a phase.
    pub fn count(&self, phase: u32, change: impl FnOnce(&mut Counts)) {
        change(self.recorder().counts(phase));
    }

    /// Records a duration.
    pub fn time(&self, phase: u32, metric: Metric, outcome: Outcome, length: Duration) {
        self.recorder().value(phase, metric, outcome, length);
    }

    /// Counts a session that opens a socket.
    pub fn session_opened(&self, phase: u32) {
        self.count(phase, |counts| counts.opened += 1);
        self.context.open[self.worker as usize].add();
        self.note_peak(phase);
    }

    /// Counts a session whose socket is closed.
    pub fn session_closed(&self) {
        self.context.open[self.worker as usize].remove();
    }

    /// Counts an arrival as in flight. The arrival starts, unless this machine fails: see
    /// [`Accounting::arrival_not_started`].
    pub fn arrival_in_flight(&self, phase: u32, at: Duration) {
        self.occupy(phase, at, 1);
        self.note_peak(phase);
    }

    /// Counts an arrival in flight as started.
    pub fn arrival_started(&self, arrival: &ScheduledArrival, at: Duration) {
        let phase = arrival.phase;
        let drained = self.is_drained(phase, at);
        if arrival.earlier.is_some() {
            return self.count(phase, |counts| {
                counts.retry.retries += 1;
                counts.drained.retries += u64::from(drained);
            });
        }
        self.count(phase, |counts| {
            counts.started += 1;
            counts.drained.started += u64::from(drained);
        });
    }

    /// Sheds an arrival, in flight since `entered`, that could not start because this machine failed (M24).
    pub fn arrival_not_started(&self, arrival: &ScheduledArrival, entered: Duration) {
        let (phase, now) = (arrival.phase, self.context.now());
        self.occupy(phase, now, -1);
        if arrival.earlier.is_some() {
            return self.message_pends(arrival, now);
        }
        self.recorder().shed(phase, arrival.intended);
        self.count(phase, |counts| counts.service_ns += now.saturating_sub(entered).as_nanos());
    }

    /// Ends a started arrival; `cause`: the last condition of its session.
    pub fn arrival_ended(
        &self,
        arrival: ScheduledArrival,
        times: &Times,
        outcome: Outcome,
        cause: Option<Condition>,
        after: AfterAttempt,
    ) {
        self.notes().ended(arrival.phase, arrival.first_intended(), outcome, cause);
        self.record(arrival, times, outcome, after);
    }

    /// Ends an arrival for which no session could be opened. `tried`: the start of the failed opening.
    pub fn arrival_charged(
        &self,
        arrival: ScheduledArrival,
        tried: Duration,
        outcome: Outcome,
        after: AfterAttempt,
    ) {
        let phase = arrival.phase;
        if outcome == Outcome::Shed && arrival.earlier.is_some() {
            return self.message_pends(&arrival, self.context.now());
        }
        if outcome == Outcome::Shed {
            return self.recorder().shed(phase, arrival.intended);
        }
        let now = self.context.now();
        self.arrival_in_flight(phase, now);
        self.arrival_started(&arrival, now);
        self.notes().charged(phase, arrival.first_intended(), outcome);
        let times = Times { decided: tried, opened: Some(tried), served: None, ended: now };
        self.record(arrival, &times, outcome, after);
        // The arrival counts as in flight from `tried` on, although it was assigned later.
        self.count(phase, |counts| counts.in_flight_ns += now.saturating_sub(tried).as_nanos());
    }

    /// Ends a message whose next attempt was scheduled at `due` or later, because the run ends before. No attempt of
    /// the message is in flight.
    pub fn message_pends(&self, retry: &ScheduledArrival, due: Duration) {
        let now = self.context.now();
        let earlier = retry.attempt() - 1;
        self.message_ended(retry, earlier, Outcome::Interrupted, now, due.max(now));
    }

    /// Counts the end of a message. `at_least`: the time of its acceptance, or a lower bound of that time if the
    /// message was not accepted.
    fn message_ended(
        &self,
        arrival: &ScheduledArrival,
        attempts: u32,
        outcome: Outcome,
        ended: Duration,
        at_least: Duration,
    ) {
        let phase = arrival.phase;
        let drained = self.is_drained(phase, ended);
        let length = at_least.saturating_sub(arrival.first_intended());
        let doubled = outcome == Outcome::Accepted && arrival.earlier.is_some_and(|earlier| earlier.in_doubt);
        let mut recorder = self.recorder();
        recorder.value(phase, Metric::TimeToAccept, outcome, length);
        recorder.attempts(phase, attempts, outcome);
        let counts = recorder.counts(phase);
        counts.arrivals.add(outcome);
        if drained {
            counts.drained.arrivals.add(outcome);
        }
        counts.retry.possibly_doubled += u64::from(doubled);
        counts.drained.possibly_doubled += u64::from(doubled && drained);
    }

    /// Counts a transaction that starts: MAIL was written.
    pub fn transaction_started(&self, phase: u32, at: Duration) {
        let drained = self.is_drained(phase, at);
        self.count(phase, |counts| {
            counts.attempted += 1;
            counts.drained.attempted += u64::from(drained);
        });
    }

    /// Counts the end of a transaction.
    pub fn transaction_ended(&self, phase: u32, at: Duration, outcome: Outcome) {
        let drained = self.is_drained(phase, at);
        self.count(phase, |counts| {
            counts.transactions.add(outcome);
            if drained {
                counts.drained.transactions.add(outcome);
            }
        });
    }

    /// Classifies a failed step. `in_doubt`: the listener may have the message.
    pub fn classify(&self, step: Step, failure: &Failure, in_doubt: bool) -> FailureClass {
        failure_class::classify(&self.classifier, step, failure, in_doubt)
    }

    /// Counts the condition of a failed step and returns its outcome: expected, if an `[[expect]]` covers the failure.
    /// `harmless`: the failure fails no arrival.
    pub fn condition(
        &self,
        phase: u32,
        step: Step,
        class: FailureClass,
        harmless: bool,
        reply: Option<&Reply>,
        sample: impl FnOnce() -> String,
    ) -> Outcome {
        let FailureClass { condition, mut outcome } = class;
        let code = reply.map(|reply| reply.code);
        let sessions = self.context.open_sessions();
        let covers = |expect: &Expect| expect.covers(phase, step, condition, code, sessions);
        // A failure of this machine is never expected. A message that the listener may have is not a refusal that a
        // profile can expect.
        let expectable = !matches!(outcome, Outcome::Shed | Outcome::InDoubt | Outcome::Interrupted);
        let expected = self.context.plan.expects.iter().position(|expect| expectable && covers(expect));
        let now = self.context.now();
        let drained = self.is_drained(phase, now);
        let mut recorder = self.recorder();
        if let Some(index) = expected.and_then(|index| u32::try_from(index).ok()) {
            recorder.expect(phase, index, drained);
            outcome = Outcome::Expected;
        }
        let counted = if harmless && outcome != Outcome::Expected { Outcome::Accepted } else { outcome };
        let enhanced = reply.and_then(|reply| reply.enhanced);
        let key = ConditionKey { step, condition, code, enhanced, outcome: counted };
        recorder.condition(phase, key, now, drained, sample);
        drop(recorder);
        self.transcripts.borrow_mut().met(condition);
        if outcome != Outcome::Expected && !harmless {
            self.notes().failed(phase, now, step, condition);
        }
        outcome
    }

    /// Counts a reply whose lines had different codes, which is no failure by itself.
    pub fn mixed_reply(&self, phase: u32, step: Step, reply: &Reply) {
        let key = ConditionKey {
            step,
            condition: Condition::MixedReply,
            code: Some(reply.code),
            enhanced: reply.enhanced,
            outcome: Outcome::Accepted,
        };
        let now = self.context.now();
        let drained = self.is_drained(phase, now);
        self.recorder().condition(phase, key, now, drained, || reply.to_string());
    }

    /// Returns a transcript for a new session, if it is to be recorded.
    pub fn transcript(&self) -> Option<Box<SessionTranscript>> {
        self.transcripts.borrow_mut().start()
    }

    /// Keeps the transcript of a session that ended; `condition`: its first condition.
    pub fn keep_transcript(
        &self,
        now: Duration,
        transcript: &mut SessionTranscript,
        condition: Option<Condition>,
    ) {
        self.transcripts.borrow_mut().over(now, transcript, self.worker, condition);
    }

    /// Returns the transcripts of sessions that ended since the last call.
    pub fn take_transcripts(&self) -> Vec<(String, String)> {
        self.transcripts.borrow_mut().take()
    }

    /// Returns the end of a phase; `None`: no time ends it.
    pub fn phase_end(&self, phase: u32) -> Option<Duration> {
        Some(self.spans[phase as usize].1).filter(|end| *end < Duration::MAX)
    }

    /// Returns the most sessions open at once since the run's start, over all threads.
    pub fn peak_sessions(&self) -> u64 {
        self.phases.borrow().iter().map(|phase| phase.peak_sessions).max().unwrap_or(0)
    }

    /// Returns a snapshot of the counts since the last snapshot.
    pub fn snapshot(&self, second: u64, gauges: Gauges, last: bool) -> Snapshot {
        let at = Duration::from_secs(second + 1).min(self.context.now());
        (0..).take(self.spans.len()).for_each(|phase| self.occupy(phase, at, 0));
        self.recorder().snapshot(second, gauges, last)
    }

    /// Returns the remaining values when the thread ends.
    pub fn finish(&self) -> FinalAccount {
        let phases = self.phases.borrow();
        FinalAccount {
            peak_sessions: phases.iter().map(|phase| phase.peak_sessions).collect(),
            last_ends: phases.iter().map(|phase| phase.last_end).collect(),
            notes: self.notes.take(),
            transcripts: self.take_transcripts(),
            slices: self.recorder().take_slices(),
        }
    }

    /// Records the end of a started arrival or attempt, with the parts of its response time.
    fn record(&self, arrival: ScheduledArrival, times: &Times, outcome: Outcome, after: AfterAttempt) {
        let (phase, ended) = (arrival.phase, times.ended);
        self.occupy(phase, ended, -1);
        let drained = self.is_drained(phase, ended);
        let parts = times.parts(arrival);
        let mut recorder = self.recorder();
        let values = [
            (Metric::Response, parts.response()),
            (Metric::Service, parts.service),
            (Metric::Lag, parts.lag),
            (Metric::Wait, parts.wait),
            (Metric::Setup, parts.setup),
        ];
        recorder.values(phase, outcome, values);
        let (intended, started) = (arrival.intended, times.started());
        let span = ArrivalSpan { intended, started, ended, outcome };
        match self.context.plan.retry {
            None => recorder.ended(phase, &span),
            Some(_) => recorder.attempted(phase, &span),
        }
        let counts = recorder.counts(phase);
        // A retry that starts after the window counts neither as in flight nor as service.
        if arrival.earlier.is_none() || times.started() <= self.spans[phase as usize].1 {
            counts.service_ns += (parts.setup + parts.service).as_nanos();
        }
        if self.context.plan.retry.is_some() {
            counts.retry.attempts.add(outcome);
            drop(recorder);
            match after {
                AfterAttempt::Ends => {
                    self.message_ended(&arrival, arrival.attempt(), outcome, ended, ended);
                }
                AfterAttempt::AcceptedAt(at) => {
                    self.message_ended(&arrival, arrival.attempt(), Outcome::Accepted, ended, at);
                }
                AfterAttempt::Pends(due) => {
                    self.message_ended(&arrival, arrival.attempt(), Outcome::Interrupted, ended, due);
                }
                AfterAttempt::Waits => {}
            }
        } else {
            if drained {
                counts.drained.arrivals.add(outcome);
            }
        }
        let last = &mut self.phases.borrow_mut()[phase as usize].last_end;
        *last = ended.max(*last);
    }

    /// Whether a time is after the window of a phase, and so in none of its rates (M21).
    fn is_drained(&self, phase: u32, at: Duration) -> bool {
        at > self.spans[phase as usize].1
            || self.context.stopped_at.get().is_some_and(|stopped| at > *stopped)
    }

    /// Integrates the number of arrivals in flight over time up to `at`, within the phase's window, and then changes
    /// the number.
    fn occupy(&self, phase: u32, at: Duration, change: i64) {
        let (start, end) = self.spans[phase as usize];
        let at = at.clamp(start, end);
        let state = &mut self.phases.borrow_mut()[phase as usize];
        if at > state.since {
            let area = (at - state.since).as_nanos() * u128::from(state.in_flight);
            self.count(phase, |counts| counts.in_flight_ns += area);
            state.since = at;
        }
        state.in_flight = state.in_flight.saturating_add_signed(change);
    }

    fn note_peak(&self, phase: u32) {
        let peak = &mut self.phases.borrow_mut()[phase as usize].peak_sessions;
        *peak = self.context.open_sessions().max(*peak);
    }
}
