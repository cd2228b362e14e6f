//! Messages that are tried again (`[session.retry]`): which, when, and until when.
//!
//! # Decisions
//! - Tried again is what was deferred (4yz), refused (no session came about), dropped or timed out, and what is in doubt: the
//!   listener may have that already, and RFC 5321 4.2.5 asks to send it again all the same. Never what was refused by a 5yz
//!   reply, nor what the profile expects, nor after a breach of the protocol.
//! - A message of several recipients is tried again for those alone that may still get it (RFC 5321 4.5.4.1): not for those that
//!   accepted it or were refused for good. It has its end when none is left, and ends as accepted if one of its attempts was,
//!   at the time of the last that was.
//! - A message that waits takes 64 bytes here; when as many wait as [`MOST_WAITING`] allows, further ones are not kept and end
//!   as interrupted.
//! - A retry is an arrival in a queue of its own. Retries and first attempts are served in the order of their intended times, so
//!   that neither starves the other. A retry is never shed: it waits for a session as `on_saturation = "queue"` says.
//! - In a closed load the session that is free next takes the retry that is due, before a new message; it is then that the
//!   retry was to start, as with all its arrivals.
//! - A retry belongs to no phase but in the counts. It may open as many sessions as the phase allows that is on.
//! - After the last phase retries are started for `wait`, by default its `graceful_stop`, and may take `graceful_stop` to end. A
//!   load without an end in time is over when none of its first attempts is left. A message whose next attempt lies later has
//!   its end at once: nothing waits for what will not happen.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::{Action, Dispatch, ScheduledArrival, SlotId};
use crate::collector::Outcome;
use crate::collector::recorder::Recorder;
use crate::plan::MOST_WAITING;

/// Stands for the phase of a retry in a slot: the grace of no phase ends it.
const NO_PHASE: u32 = u32::MAX;

/// The earlier attempts of a message that is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EarlierAttempts {
    /// When the first was to start, since the run's epoch.
    pub first: Duration,
    /// The number of the session that carried the first: the message is rendered for it each time.
    pub session: u64,
    /// How many there were.
    pub count: u32,
    /// The listener may have the message from one of them.
    pub in_doubt: bool,
    /// Not all of its recipients are to be tried again, or one of them was accepted: see [`Dispatch::recipients_left`].
    pub partly: bool,
}

/// What follows an attempt that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterAttempt {
    /// The message has ended with it, and as it did.
    Ends,
    /// The message has ended with it, and was accepted by an earlier one at this time since the run's epoch.
    AcceptedAt(Duration),
    /// The message waits for its next attempt.
    Waits,
    /// Its next attempt would lie beyond the run, at this time since the run's epoch.
    Pends(Duration),
}

/// How an attempt ended, as far as another one depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptEnd {
    /// Its outcome.
    pub outcome: Outcome,
    /// The listener refused the session with a 5yz reply: another attempt would be refused too.
    pub for_good: bool,
    /// The number of the session that carried it.
    pub session: u64,
    /// Of a transaction with several recipients: those that may still get the message, by place. `None`: all that were tried.
    pub left: Option<Arc<[u32]>>,
}

/// A message of which some recipients have their end, or that was accepted for some.
#[derive(Clone, Debug)]
struct PartlyTried {
    /// The recipients that may still get it, by place.
    left: Arc<[u32]>,
    /// When an attempt was last accepted.
    accepted: Option<Duration>,
}

/// A message that waits for its next attempt; the one that is due first comes first.
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
    /// Their time has come.
    due: VecDeque<ScheduledArrival>,
    /// Messages of several recipients that wait or are in flight, by number.
    partly: HashMap<u64, PartlyTried>,
    /// The most that may wait.
    most: usize,
    /// First attempts in flight.
    firsts: u64,
    /// When a load without an end in time was over.
    load_ended: Option<Duration>,
    /// Nothing is tried again any more.
    ended: bool,
}

impl Retries {
    pub fn new(threads: u32) -> Retries {
        let most = usize::try_from(MOST_WAITING / u64::from(threads.max(1))).unwrap_or(usize::MAX).max(1);
        Retries { most, ..Retries::default() }
    }

    /// Messages that wait for the time of their next attempt.
    pub fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// Retries that are due and wait for a session.
    pub fn due(&self) -> usize {
        self.due.len()
    }

    /// The retry that waits for a session longest.
    pub fn first_due(&self) -> Option<&ScheduledArrival> {
        self.due.front()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.due.is_empty()
    }

    /// When the next one is due.
    pub fn next_due(&self) -> Option<Duration> {
        self.waiting.peek().map(|Reverse(message)| message.due)
    }

    /// Lets retries wait for a session whose time has come, at most so many. True: there are more.
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
    /// An attempt has ended that took a session, or failed to open one for itself: says what follows.
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

    /// As [`Dispatch::attempt_ended`], of an attempt that was charged with a session that could not be opened.
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
            // One that is cut off has no end, whatever there was before.
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

    /// The recipients that an attempt is for, by place; `None`: all.
    pub fn recipients_left(&self, arrival: &ScheduledArrival) -> Option<Arc<[u32]>> {
        arrival.earlier.filter(|earlier| earlier.partly)?;
        self.retries.partly.get(&arrival.seq).map(|message| message.left.clone())
    }

    /// The listener refuses a session that cannot send yet with a 5yz reply.
    pub fn turned_away_for_good(&mut self, slot: SlotId) {
        self.slots.of_mut(slot).refused_for_good = true;
    }

    /// A session of the pool takes an arrival.
    pub(super) fn taken(&mut self, slot: SlotId, arrival: &ScheduledArrival) {
        self.attempt_taken(arrival);
        self.slots.take(slot, phase_of_grace(arrival));
    }

    /// A session takes an attempt.
    pub(super) fn attempt_taken(&mut self, arrival: &ScheduledArrival) {
        self.retries.firsts += u64::from(arrival.earlier.is_none());
    }

    /// An attempt is on its session no more.
    pub(super) fn first_left(&mut self, arrival: &ScheduledArrival) {
        let first = u64::from(arrival.earlier.is_none());
        self.retries.firsts = self.retries.firsts.saturating_sub(first);
    }

    /// Takes the retry that waits for a session longest.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<ScheduledArrival> {
        let retry = self.retries.due.pop_front()?;
        let waited = retry.noticed < now && self.is_closed(self.phase_at(now));
        Some(if waited { ScheduledArrival { intended: now, noticed: now, ..retry } } else { retry })
    }

    /// A session gives a retry back that it never started.
    pub(super) fn give_retry_back(&mut self, retry: ScheduledArrival) {
        if self.retries.ended || self.stop_by.is_some() {
            self.actions.push_back(Action::Pend(retry));
        } else {
            self.retries.due.push_front(retry);
        }
    }

    /// The most sessions that may be open beside a retry at `now`.
    pub(super) fn limit_of_retry(&mut self, now: Duration) -> u64 {
        self.closed_phase(now).map_or_else(|| self.most(now), |(_, share)| share)
    }

    /// Nothing is tried again any more: what waits has no end.
    pub(super) fn end_retries(&mut self) {
        self.retries.ended = true;
        self.pend(|_| true);
        let due = std::mem::take(&mut self.retries.due);
        self.actions.extend(due.into_iter().map(Action::Pend));
    }

    /// Ends what will not be tried again before the run ends.
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

    /// When [`Dispatch::expire_retries`] has something to do.
    pub(super) fn next_change_of_retries(&self) -> [Option<Duration>; 3] {
        let waits = !self.retries.is_empty();
        // The last retry may still begin at that very time.
        let ends = self.last_retry().map(|last| last.saturating_add(Duration::from_nanos(1)));
        let aborts = self.retries_aborted_at().filter(|_| self.slots.in_flight() > 0);
        [self.retries.next_due(), ends.filter(|_| waits), aborts]
    }

    /// When the last retry may begin, if that is known.
    fn last_retry(&self) -> Option<Duration> {
        let retry = self.plan.retry.as_ref()?;
        let end = self.last_phase_end().or(self.retries.load_ended)?;
        Some(end.saturating_add(retry.wait.unwrap_or(self.plan.phases.last()?.graceful_stop)))
    }

    /// When retries that are in flight are ended.
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

/// The phase whose grace ends a session that carries this arrival.
pub(super) fn phase_of_grace(arrival: &ScheduledArrival) -> u32 {
    if arrival.earlier.is_some() { NO_PHASE } else { arrival.phase }
}

/// Whether a message is tried again after an attempt that ended so.
fn is_tried_again(end: &AttemptEnd) -> bool {
    let ended_for_all = matches!(end.outcome, Outcome::Malformed | Outcome::Interrupted | Outcome::Shed);
    !end.for_good
        && match &end.left {
            Some(left) => !left.is_empty() && !ended_for_all,
            None => may_pass(end.outcome),
        }
}

/// Whether what ended so may be accepted later.
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
