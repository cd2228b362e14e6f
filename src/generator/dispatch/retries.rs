//! Messages that are tried again (`[session.retry]`): which messages, when, and until when.
//!
//! # Decisions
//! - A message is tried again if it was deferred (4yz), refused (no session), dropped or timed out, or is in doubt: the
//!   listener may have it, and RFC 5321 4.2.5 asks to send it again. A message is not tried again after a 5yz reply,
//!   after a refusal that the profile expects, or after a protocol error.
//! - A message of several recipients is tried again only for the recipients that may still get it (RFC 5321 4.5.4.1):
//!   not for accepted or permanently refused recipients. The message ends when no recipient is left: as accepted, if an
//!   attempt was accepted, at the time of the last accepted attempt.
//! - A waiting message takes 64 bytes. When [`MOST_WAITING`] messages wait, further messages are not kept and end as
//!   interrupted.
//! - A retry is an arrival in a queue of its own. Retries and first attempts are served in the order of their intended
//!   times, so that neither waits for ever because of the other. A retry is never shed: it waits for a session as with
//!   `on_saturation = "queue"`.
//! - In a closed load, the next free session takes a retry whose time has come rather than a new message. The retry is
//!   scheduled at that moment, as all arrivals of a closed load are.
//! - A retry belongs to a phase only in the counts. It may open as many sessions as the current phase allows.
//! - After the end of the last phase, retries may start for the length of `wait` (default: `graceful_stop`), and may
//!   then take `graceful_stop` to end. A phase without a length ends when all first attempts have ended. A message
//!   whose next attempt would start later ends at once.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::{Action, Dispatch, ScheduledArrival, SlotId};
use crate::collector::Outcome;
use crate::collector::recorder::Recorder;
use crate::plan::MOST_WAITING;

/// The phase of a retry in a slot: no phase's grace ends it.
const NO_PHASE: u32 = u32::MAX;

/// The earlier attempts of a message that is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EarlierAttempts {
    /// The intended start of the first attempt, since the run's epoch.
    pub first: Duration,
    /// The number of the session of the first attempt, for which the message is rendered each time.
    pub session: u64,
    /// The number of earlier attempts.
    pub count: u32,
    /// Whether the listener may have the message from one of these attempts.
    pub in_doubt: bool,
    /// Whether some recipients are not tried again, or an attempt was accepted: see [`Dispatch::recipients_left`].
    pub partly: bool,
}

/// The result of an attempt for its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterAttempt {
    /// The message ends with this attempt, with the same outcome.
    Ends,
    /// The message ends with this attempt, as accepted by an earlier attempt at this time since the run's epoch.
    AcceptedAt(Duration),
    /// The message waits for its next attempt.
    Waits,
    /// The message ends: its next attempt would be after the run, at this time since the run's epoch.
    Pends(Duration),
}

/// The end of an attempt, as far as a retry depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptEnd {
    /// The outcome.
    pub outcome: Outcome,
    /// Whether the listener refused the session with a 5yz reply: another attempt would be refused, too.
    pub for_good: bool,
    /// The number of the attempt's session.
    pub session: u64,
    /// The recipients of the transaction that may still get the message, by index; `None`: all recipients of the
    /// attempt.
    pub left: Option<Arc<[u32]>>,
}

/// A message that is tried again for some recipients, or that was accepted for some.
#[derive(Clone, Debug)]
struct PartlyTried {
    /// The recipients that may still get it, by index.
    left: Arc<[u32]>,
    /// When the last accepted attempt ended.
    accepted: Option<Duration>,
}

/// A message that waits for its next attempt, ordered by the time of that attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct WaitingMessage {
    due: Duration,
    seq: u64,
    phase: u32,
    count: u32,
    first: Duration,
    session: u64,
    in_doubt: bool,
    partly: bool,
}

impl WaitingMessage {
    fn arrival(self, noticed: Duration) -> ScheduledArrival {
        let WaitingMessage { due, seq, phase, count, first, session, in_doubt, partly } = self;
        let earlier = EarlierAttempts { first, session, count, in_doubt, partly };
        ScheduledArrival { seq, phase, intended: due, noticed, earlier: Some(earlier) }
    }
}

/// The messages that are tried again.
#[derive(Debug, Default)]
pub(super) struct Retries {
    waiting: BinaryHeap<Reverse<WaitingMessage>>,
    /// Retries whose time has come.
    due: VecDeque<ScheduledArrival>,
    /// Messages that are tried again for some recipients, or were accepted for some, by number.
    partly: HashMap<u64, PartlyTried>,
    /// The largest number of messages that may wait.
    most: usize,
    /// The number of first attempts in flight.
    firsts: u64,
    /// When the load was over, if the last phase has no length.
    load_ended: Option<Duration>,
    /// Whether retries have ended for the run.
    ended: bool,
}

impl Retries {
    pub fn new(threads: u32) -> Retries {
        let most = usize::try_from(MOST_WAITING / u64::from(threads.max(1))).unwrap_or(usize::MAX).max(1);
        Retries { most, ..Retries::default() }
    }

    /// Returns the number of messages that wait for the time of their next attempt.
    pub fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// Returns the number of retries that wait for a session.
    pub fn due(&self) -> usize {
        self.due.len()
    }

    /// Returns the retry that has waited longest for a session.
    pub fn first_due(&self) -> Option<&ScheduledArrival> {
        self.due.front()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.due.is_empty()
    }

    /// Returns the time of the next retry.
    pub fn next_due(&self) -> Option<Duration> {
        self.waiting.peek().map(|Reverse(message)| message.due)
    }

    /// Moves at most `most` retries whose time has come to the retries that wait for a session. Returns whether the
    /// time of further retries has come.
    pub fn admit(&mut self, now: Duration, most: usize) -> bool {
        for _ in 0..most {
            if self.next_due().is_none_or(|due| due > now) {
                return false;
            }
            self.due.extend(self.waiting.pop().map(|Reverse(message)| message.arrival(now)));
        }
        self.next_due().is_some_and(|due| due <= now)
    }
}

impl Dispatch {
    /// Notes the end of an attempt that had a session or failed to open its own; returns the result for the message.
    pub fn attempt_ended(
        &mut self,
        now: Duration,
        arrival: &ScheduledArrival,
        end: AttemptEnd,
        recorder: &mut Recorder,
    ) -> AfterAttempt {
        self.first_left(arrival);
        self.after_attempt(now, arrival, end, recorder)
    }

    /// As [`Dispatch::attempt_ended`], for an attempt that fails with the opening of another session.
    pub fn attempt_charged(
        &mut self,
        now: Duration,
        arrival: &ScheduledArrival,
        end: AttemptEnd,
        recorder: &mut Recorder,
    ) -> AfterAttempt {
        self.after_attempt(now, arrival, end, recorder)
    }

    fn after_attempt(
        &mut self,
        now: Duration,
        arrival: &ScheduledArrival,
        end: AttemptEnd,
        recorder: &mut Recorder,
    ) -> AfterAttempt {
        let Some(retry) = &self.plan.retry else { return AfterAttempt::Ends };
        let before = arrival
            .earlier
            .filter(|earlier| earlier.partly)
            .and_then(|_| self.retries.partly.remove(&arrival.seq));
        let is_accepted = end.outcome == Outcome::Accepted;
        let accepted =
            if is_accepted { Some(now) } else { before.as_ref().and_then(|before| before.accepted) };
        let pause = retry.schedule.pause_after(arrival.attempt());
        let Some(pause) = pause.filter(|_| is_tried_again(&end)) else {
            // An interrupted attempt leaves the message interrupted, whatever its earlier attempts were.
            let has_end = !is_accepted && end.outcome != Outcome::Interrupted;
            return accepted.filter(|_| has_end).map_or(AfterAttempt::Ends, AfterAttempt::AcceptedAt);
        };
        let due = now.saturating_add(pause);
        if self.retries.ended || self.stop_by.is_some() || self.last_retry().is_some_and(|last| due > last) {
            return AfterAttempt::Pends(due);
        }
        if self.retries.waiting.len() >= self.retries.most {
            recorder.counts(arrival.phase).retry.unkept += 1;
            return AfterAttempt::Pends(due);
        }
        let all = self.plan.mail.recipients as usize;
        let left = end.left.or(before.map(|before| before.left));
        let partly = left
            .filter(|left| left.len() < all || accepted.is_some())
            .map(|left| self.retries.partly.insert(arrival.seq, PartlyTried { left, accepted }))
            .is_some();
        let earlier = arrival.earlier;
        self.retries.waiting.push(Reverse(WaitingMessage {
            due,
            seq: arrival.seq,
            phase: arrival.phase,
            count: arrival.attempt(),
            first: arrival.first_intended(),
            session: earlier.map_or(end.session, |earlier| earlier.session),
            in_doubt: end.outcome == Outcome::InDoubt || earlier.is_some_and(|earlier| earlier.in_doubt),
            partly,
        }));
        AfterAttempt::Waits
    }

    /// Returns the recipients of an attempt, by index; `None`: all.
    pub fn recipients_left(&self, arrival: &ScheduledArrival) -> Option<Arc<[u32]>> {
        arrival.earlier.filter(|earlier| earlier.partly)?;
        self.retries.partly.get(&arrival.seq).map(|message| message.left.clone())
    }

    /// Notes that the listener refused a session with a 5yz reply before it was ready.
    pub fn turned_away_for_good(&mut self, slot: SlotId) {
        self.slots.of_mut(slot).refused_for_good = true;
    }

    /// Notes that a session of the pool takes an arrival.
    pub(super) fn taken(&mut self, slot: SlotId, arrival: &ScheduledArrival) {
        self.attempt_taken(arrival);
        self.slots.take(slot, phase_of_grace(arrival));
    }

    /// Notes that a session takes an attempt.
    pub(super) fn attempt_taken(&mut self, arrival: &ScheduledArrival) {
        self.retries.firsts += u64::from(arrival.earlier.is_none());
    }

    /// Notes that an attempt has left its session.
    pub(super) fn first_left(&mut self, arrival: &ScheduledArrival) {
        let first = u64::from(arrival.earlier.is_none());
        self.retries.firsts = self.retries.firsts.saturating_sub(first);
    }

    /// Takes the retry that has waited longest for a session.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<ScheduledArrival> {
        let retry = self.retries.due.pop_front()?;
        let waited = retry.noticed < now && self.is_closed(self.phase_at(now));
        Some(if waited { ScheduledArrival { intended: now, noticed: now, ..retry } } else { retry })
    }

    /// Takes back a retry that a session never started.
    pub(super) fn give_retry_back(&mut self, retry: ScheduledArrival) {
        if self.retries.ended || self.stop_by.is_some() {
            self.actions.push_back(Action::Pend(retry));
        } else {
            self.retries.due.push_front(retry);
        }
    }

    /// Returns the largest number of sessions that may be open for a retry at `now`.
    pub(super) fn limit_of_retry(&mut self, now: Duration) -> u64 {
        self.closed_phase(now).map_or_else(|| self.most(now), |(_, share)| share)
    }

    /// Stops retries for the rest of the run: waiting messages end as interrupted.
    pub(super) fn end_retries(&mut self) {
        self.retries.ended = true;
        self.pend(|_| true);
        let due = std::mem::take(&mut self.retries.due);
        self.actions.extend(due.into_iter().map(Action::Pend));
    }

    /// Ends the messages whose next attempt would be after the run.
    pub(super) fn expire_retries(&mut self, now: Duration) {
        if self.plan.retry.is_none() {
            return;
        }
        let goes_on = self.last_phase_end().is_none() && self.retries.load_ended.is_none();
        if goes_on && self.retries.firsts == 0 && self.is_load_over(now) {
            self.retries.load_ended = Some(now);
            if let Some(last) = self.last_retry() {
                self.pend(|message| message.due > last);
            }
        }
        if !self.retries.ended && self.last_retry().is_some_and(|last| last < now) {
            self.end_retries();
        }
        if self.retries_aborted_at().is_some_and(|at| at <= now) {
            self.abort(|slot| slot.in_flight > 0);
        }
    }

    /// Returns the time for the next call of [`Dispatch::expire_retries`].
    pub(super) fn next_change_of_retries(&self) -> [Option<Duration>; 3] {
        let waits = !self.retries.is_empty();
        // A retry may still start at exactly that time.
        let ends = self.last_retry().map(|last| last.saturating_add(Duration::from_nanos(1)));
        let aborts = self.retries_aborted_at().filter(|_| self.slots.in_flight() > 0);
        [self.retries.next_due(), ends.filter(|_| waits), aborts]
    }

    /// Returns the latest start of a retry, if it is known.
    fn last_retry(&self) -> Option<Duration> {
        let retry = self.plan.retry.as_ref()?;
        let end = self.last_phase_end().or(self.retries.load_ended)?;
        Some(end.saturating_add(retry.wait.unwrap_or(self.plan.phases.last()?.graceful_stop)))
    }

    /// Returns the time at which retries in flight are aborted.
    fn retries_aborted_at(&self) -> Option<Duration> {
        Some(self.last_retry()?.saturating_add(self.plan.phases.last()?.graceful_stop))
    }

    fn last_phase_end(&self) -> Option<Duration> {
        self.schedule.phase_end(self.schedule_phases().checked_sub(1)?)
    }

    /// Ends waiting messages that will not be tried again.
    fn pend(&mut self, which: impl Fn(&WaitingMessage) -> bool) {
        let all = std::mem::take(&mut self.retries.waiting).into_vec();
        let (gone, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(|Reverse(message)| which(message));
        self.retries.waiting = kept.into();
        let noticed = self.advanced;
        self.actions.extend(gone.into_iter().map(|Reverse(message)| Action::Pend(message.arrival(noticed))));
    }
}

/// Returns the phase whose grace ends the session of this arrival.
pub(super) fn phase_of_grace(arrival: &ScheduledArrival) -> u32 {
    if arrival.earlier.is_some() { NO_PHASE } else { arrival.phase }
}

/// Whether a message is tried again after an attempt with this end.
fn is_tried_again(end: &AttemptEnd) -> bool {
    let ended_for_all = matches!(end.outcome, Outcome::Malformed | Outcome::Interrupted | Outcome::Shed);
    !end.for_good
        && match &end.left {
            Some(left) => !left.is_empty() && !ended_for_all,
            None => may_pass(end.outcome),
        }
}

/// Whether a later attempt may be accepted after this outcome.
pub fn may_pass(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Deferred | Outcome::Refused | Outcome::Dropped | Outcome::TimedOut | Outcome::InDoubt => {
            true
        }
        Outcome::Accepted
        | Outcome::Expected
        | Outcome::Rejected
        | Outcome::Malformed
        | Outcome::Interrupted
        | Outcome::Shed => false,
    }
}
