//! Matches the recipients that the relay accepted with its deliveries, and counts each accepted recipient once (M31).
//!
//! The two sides are reported in any order: a delivery may be seen before the reply that accepted its message.
//!
//! # Decisions
//! - One byte for each recipient and two for each message are kept for the whole run, to recognize a second delivery.
//!   The times of a message are kept until its recipients are delivered, in pages of `PAGE` messages. Ten million
//!   messages of one recipient cost 30 MB if all came out, and 190 MB if all are missing or bounced.
//! - Transit and delivery times exist for accepted recipients only, because a recipient in doubt has no reply to
//!   measure from. A recipient that was delivered before it was accepted, after an attempt in doubt or refused, has no
//!   times either.
//! - Deliveries of messages that were never sent are kept separately up to a limit, so that a faulty relay cannot fill
//!   the memory. They count as unexpected. Deliveries beyond the limit count as foreign.
//! - A recipient that was both delivered and bounced counts as delivered. The bounce is counted separately.
//! - What came out for an address that the relay rewrote counts for a recipient of which nothing was seen: it is a guess
//!   which one. If something comes for the guessed recipient by its own address, the guess moves to another one.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::collector::delivery::{
    Answers, DeliveryCounts, DeliverySecond, FinalAnswer, MissingRecipient, Transaction,
};
use crate::collector::delivery_times::{PackedTimes, TimesBySecond};
use crate::collector::flow::Flow;
use crate::collector::recorder::Recorder;
use crate::collector::{Metric, Outcome};

/// The number of messages of a page.
pub(super) const PAGE: u64 = 4096;
/// The largest number of recipients whose events are kept before the end of their transaction. Normally there are fewer
/// than the recipients of one second.
const MOST_EARLY: usize = 1 << 20;

/// The properties of a run's messages that matching needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageForm {
    /// The number of recipients of each message.
    pub recipients: u32,
    /// Whether a message may be tried again for some of its recipients, which then have times of their own.
    pub is_retried: bool,
    /// The number of phases.
    pub phases: u32,
}

/// Matches the recipients that a relay accepted with its deliveries.
#[derive(Debug)]
pub struct Matcher {
    messages: MessageForm,
    pages: BTreeMap<u64, Page>,
    /// Deliveries and bounces whose transaction is not over yet, by message and recipient.
    early: HashMap<(u64, u32), Early>,
    phases: Vec<PhaseMatch>,
    flow: Flow,
    /// Transit and delivery times since the last snapshot.
    recorder: Recorder,
    foreign: u64,
    last_seen: Option<Duration>,
    /// Whether the times are also kept by second.
    keeps_times: bool,
}

/// The counts of one phase.
#[derive(Clone, Debug, Default)]
struct PhaseMatch {
    counts: DeliveryCounts,
    seconds: BTreeMap<u64, DeliverySecond>,
    times: TimesBySecond,
    last_accepted: Option<Duration>,
    last_delivered: Option<Duration>,
}

/// The state of the messages of one page.
#[derive(Debug)]
struct Page {
    /// The states by message and recipient.
    states: Box<[RecipientState]>,
    /// The index of the phase, by message.
    phases: Box<[u16]>,
    /// The times by message, or by message and recipient if messages are retried. They are dropped while no recipient
    /// of the page is undelivered.
    times: Option<Box<[MessageTimes]>>,
    /// The number of recipients that are accepted or in doubt, and were not delivered yet.
    undelivered: u32,
}

/// The times of a message.
#[derive(Clone, Copy, Debug, Default)]
struct MessageTimes {
    /// The time of the reply, in nanoseconds since the run's epoch.
    answered: u64,
    /// The seconds from the intended start to the reply, precise to one part in ten million.
    response: f32,
}

/// The state of one recipient in one byte: the relay's answer in the two lowest bits, then the events that were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct RecipientState(u8);

impl RecipientState {
    const DELIVERED: u8 = 4;
    const BOUNCED: u8 = 8;
    /// What was seen named another address, and this recipient was guessed.
    const GUESSED: u8 = 16;

    fn answer(self) -> Option<FinalAnswer> {
        [FinalAnswer::Accepted, FinalAnswer::InDoubt, FinalAnswer::Refused]
            .into_iter()
            .find(|answer| *answer as u8 == self.0 & 3)
    }

    fn answered(self, answer: FinalAnswer) -> RecipientState {
        RecipientState(self.0 & !3 | answer as u8)
    }

    /// Returns this answer with the events of another recipient.
    fn with_events_of(self, other: RecipientState) -> RecipientState {
        RecipientState(self.0 & 3 | other.0 & !3)
    }

    fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    /// Whether the recipient is missing: accepted or in doubt, and not seen.
    fn is_missing(self) -> bool {
        self.is_undelivered() && !self.has(RecipientState::BOUNCED)
    }

    /// Whether the recipient is accepted or in doubt, and not delivered.
    fn is_undelivered(self) -> bool {
        matches!(self.answer(), Some(FinalAnswer::Accepted | FinalAnswer::InDoubt))
            && !self.has(RecipientState::DELIVERED)
    }
}

/// The events of a recipient before the end of its transaction.
#[derive(Clone, Copy, Debug, Default)]
struct Early {
    /// The time of the first delivery.
    delivered: Option<Duration>,
    /// The number of further deliveries.
    duplicates: u64,
    is_altered: bool,
    bounced: Option<Duration>,
    /// Whether the recipient was guessed.
    is_guessed: bool,
}

/// The recipient for which an event counts.
#[derive(Clone, Copy, Debug)]
struct Place {
    recipient: u32,
    /// Whether the event named another address, and this recipient is a guess.
    is_guessed: bool,
    /// The recipient that the event named. Its own event was another's, by a wrong guess, and the two are exchanged.
    named: Option<u32>,
}

impl Matcher {
    /// Creates a matcher without any messages.
    pub fn new(messages: MessageForm) -> Matcher {
        Matcher {
            messages,
            pages: BTreeMap::new(),
            early: HashMap::new(),
            phases: vec![PhaseMatch::default(); messages.phases as usize],
            flow: Flow::default(),
            recorder: Recorder::new(messages.phases as usize, 0),
            foreign: 0,
            last_seen: None,
            keeps_times: false,
        }
    }

    /// Makes the matcher also keep the times by the second of the delivery.
    pub fn keep_times_by_second(&mut self) {
        self.keeps_times = true;
    }

    /// Processes a transaction that is over. If a message was tried again, the best answer for each recipient counts,
    /// with the time at which it was first given.
    pub fn answered(&mut self, transaction: &Transaction) {
        let Transaction { seq, phase, intended, answered, ref answers } = *transaction;
        let response = answered.saturating_sub(intended).as_secs_f32();
        let times = MessageTimes { answered: nanos(answered), response };
        self.page(seq).phases[(seq % PAGE) as usize] = phase as u16;
        self.guess_anew(seq, answers);
        for recipient in 0..self.messages.recipients {
            let state = self.state(seq, recipient);
            let answer = answers.of(recipient);
            if state.answer().is_some_and(|known| known as u8 <= answer as u8) {
                continue;
            }
            let before = *state;
            *state = before.answered(answer);
            let after = *state;
            let (form, at) = (self.messages, self.messages.place_of_times(seq, recipient));
            self.page(seq).times.get_or_insert_with(|| form.no_times())[at] = times;
            self.count(seq, before, after);
            if answer == FinalAnswer::Accepted {
                self.flow.accepted(answered);
                self.recorder.counts(phase).awaited += 1;
                let own = &mut self.phases[phase as usize];
                own.seconds.entry(answered.as_secs()).or_default().accepted += 1;
                let last = &mut own.last_accepted;
                *last = (*last).max(Some(answered));
                if !after.is_missing() {
                    self.flow.settled(answered);
                    self.ended(answered, after.has(RecipientState::DELIVERED));
                }
            }
            if let Some(early) = self.early.remove(&(seq, recipient)) {
                if let Some(at) = early.bounced {
                    self.see(seq, recipient, RecipientState::BOUNCED, at);
                }
                if let Some(at) = early.delivered {
                    self.deliver(seq, recipient, at, early.is_altered);
                    self.counts(seq).duplicated += early.duplicates;
                }
                if early.is_guessed {
                    self.state(seq, recipient).0 |= RecipientState::GUESSED;
                }
            }
        }
        self.forget_times(seq);
    }

    /// Moves events from guessed recipients that the relay refused to others that it accepted, and of which nothing was seen.
    fn guess_anew(&mut self, seq: u64, answers: &Answers) {
        for recipient in 0..self.messages.recipients {
            if !self.is_guessed(seq, recipient) || self.best(seq, recipient, answers) != FinalAnswer::Refused
            {
                continue;
            }
            let is_other = |other: &u32| {
                self.best(seq, *other, answers) != FinalAnswer::Refused && self.is_unseen(seq, *other)
            };
            let Some(other) = (0..self.messages.recipients).find(is_other) else { return };
            self.exchange(seq, recipient, other);
        }
    }

    /// Returns the better of the known and the new answer for a recipient.
    fn best(&self, seq: u64, recipient: u32, answers: &Answers) -> FinalAnswer {
        let new = answers.of(recipient);
        self.known(seq, recipient).answer().filter(|known| *known as u8 <= new as u8).unwrap_or(new)
    }

    /// Processes a copy of a message for a recipient at this time since the run's epoch. `None`: the relay rewrote the
    /// address, and the copy counts for a recipient of the message of which nothing was seen yet.
    pub fn delivered(&mut self, seq: u64, recipient: Option<u32>, at: Duration, is_altered: bool) {
        let Some(place) = self.find(seq, recipient) else { return self.foreign(at) };
        let recipient = place.recipient;
        self.last_seen = self.last_seen.max(Some(at));
        let state = self.known(seq, recipient);
        if state.answer().is_none() {
            let Some(early) = self.early(seq, recipient) else { return self.foreign(at) };
            match early.delivered {
                Some(_) => early.duplicates += 1,
                None => (early.delivered, early.is_altered) = (Some(at), is_altered),
            }
        } else if state.has(RecipientState::DELIVERED) {
            self.counts(seq).duplicated += 1;
        } else {
            self.deliver(seq, recipient, at, is_altered);
        }
        self.placed(seq, place);
    }

    /// Processes a bounce of a recipient that arrived at this time; `None` as for a copy.
    pub fn bounced(&mut self, seq: u64, recipient: Option<u32>, at: Duration) {
        let Some(place) = self.find(seq, recipient) else { return self.foreign(at) };
        let recipient = place.recipient;
        self.last_seen = self.last_seen.max(Some(at));
        if self.known(seq, recipient).answer().is_some() {
            self.see(seq, recipient, RecipientState::BOUNCED, at);
        } else if let Some(early) = self.early(seq, recipient) {
            early.bounced = early.bounced.or(Some(at));
        } else {
            return self.foreign(at);
        }
        self.placed(seq, place);
    }

    /// Returns the early state of a recipient; `None` if the limit is reached.
    fn early(&mut self, seq: u64, recipient: u32) -> Option<&mut Early> {
        let is_full = self.early.len() >= MOST_EARLY;
        match self.early.entry((seq, recipient)) {
            Entry::Vacant(_) if is_full => None,
            entry => Some(entry.or_default()),
        }
    }

    /// Counts a message that is not of this run.
    pub fn foreign(&mut self, at: Duration) {
        self.foreign += 1;
        self.last_seen = self.last_seen.max(Some(at));
    }

    /// Returns the number of messages that are not of this run.
    pub fn foreign_messages(&self) -> u64 {
        self.foreign
    }

    /// Returns the number of recipients in the relay's queue: accepted, and neither delivered nor bounced.
    pub fn queued(&self) -> u64 {
        self.phases.iter().map(|phase| phase.counts.missing).sum()
    }

    /// Returns the number of recipients that are still missing, including those in doubt.
    pub fn outstanding(&self) -> u64 {
        self.phases.iter().map(|phase| phase.counts.missing + phase.counts.in_doubt_missing).sum()
    }

    /// Returns the accepted recipients and the deliveries over time.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// Returns the recorder of transit and delivery times.
    pub fn recorder(&mut self) -> &mut Recorder {
        &mut self.recorder
    }

    /// Returns when the last delivery or bounce came, since the run's epoch.
    pub fn last_seen(&self) -> Option<Duration> {
        self.last_seen
    }

    /// Returns the seconds of a phase with an accepted recipient or a first delivery.
    pub fn phase_seconds(&self, phase: usize) -> &BTreeMap<u64, DeliverySecond> {
        &self.phases[phase].seconds
    }

    /// Returns the times of a phase by the second of the delivery; empty unless they are kept.
    pub fn phase_times(&self, phase: usize) -> BTreeMap<u64, PackedTimes> {
        self.phases[phase].times.packed()
    }

    /// Returns the counts of a phase. Deliveries of messages without a transaction count as unexpected, in the first
    /// phase.
    pub fn phase_counts(&self, phase: usize) -> DeliveryCounts {
        let mut counts = self.phases[phase].counts;
        if phase == 0 {
            counts.unexpected += self.early.values().filter(|early| early.delivered.is_some()).count() as u64;
            counts.duplicated += self.early.values().map(|early| early.duplicates).sum::<u64>();
        }
        counts
    }

    /// Returns the time from the last accepted message of a phase to the latest first delivery of a recipient; `None`
    /// if there is no accepted message or no delivery.
    pub fn drain(&self, phase: usize) -> Option<Duration> {
        let PhaseMatch { last_accepted, last_delivered, .. } = self.phases[phase];
        Some(last_delivered?.saturating_sub(last_accepted?))
    }

    /// Returns the recipients that are accepted and missing, by message number.
    pub fn missing(&self) -> impl Iterator<Item = MissingRecipient> + '_ {
        let recipients = u64::from(self.messages.recipients);
        let of_page = move |(number, page): (&u64, &'_ Page)| {
            let number = *number;
            (0..)
                .zip(page.states.iter())
                .filter(|(_, state)| state.is_missing() && state.answer() == Some(FinalAnswer::Accepted))
                .map(move |(at, _): (u64, _)| (number * PAGE + at / recipients, (at % recipients) as u32))
                .collect::<Vec<_>>()
        };
        self.pages.iter().filter(|(_, page)| page.undelivered > 0).flat_map(of_page).map(
            |(seq, recipient)| {
                let page = &self.pages[&(seq / PAGE)];
                let times =
                    page.times.as_ref().map(|times| times[self.messages.place_of_times(seq, recipient)]);
                let (at, times) = ((seq % PAGE) as usize, times.unwrap_or_default());
                MissingRecipient {
                    seq,
                    recipient,
                    phase: u32::from(page.phases[at]),
                    answered: Duration::from_nanos(times.answered),
                    intended: Duration::from_nanos(times.answered)
                        .saturating_sub(Duration::from_secs_f32(times.response)),
                }
            },
        )
    }

    /// Returns the recipient for which an event counts; `None` if the message has no such recipient.
    fn find(&self, seq: u64, recipient: Option<u32>) -> Option<Place> {
        let all = 0..self.messages.recipients;
        let Some(recipient) = recipient else {
            // First an accepted recipient, then one in doubt or without an answer, then one that a later attempt may accept.
            let rank = |recipient: &u32| match self.known(seq, *recipient).answer() {
                Some(FinalAnswer::Accepted) => 0,
                Some(FinalAnswer::InDoubt) | None => 1,
                Some(FinalAnswer::Refused) => 2,
            };
            let unseen = all.clone().filter(|recipient| self.is_unseen(seq, *recipient)).min_by_key(rank);
            let recipient = unseen.or_else(|| all.clone().next())?;
            return Some(Place { recipient, is_guessed: unseen.is_some(), named: None });
        };
        let answer = |recipient: u32| self.known(seq, recipient).answer();
        let is_alike = |other: &u32| answer(*other) == answer(recipient) && self.is_unseen(seq, *other);
        let other = if self.is_guessed(seq, recipient) { all.clone().find(is_alike) } else { None };
        let (named, recipient) = (other.map(|_| recipient), other.unwrap_or(recipient));
        all.contains(&recipient).then_some(Place { recipient, is_guessed: false, named })
    }

    /// Whether nothing was seen of a recipient that the relay did not refuse.
    pub fn is_open(&self, seq: u64, recipient: u32) -> bool {
        self.known(seq, recipient).answer() != Some(FinalAnswer::Refused) && self.is_unseen(seq, recipient)
    }

    /// Whether nothing was seen of a recipient.
    fn is_unseen(&self, seq: u64, recipient: u32) -> bool {
        let state = self.known(seq, recipient);
        let is_seen_early = |early: &Early| early.delivered.is_some() || early.bounced.is_some();
        match state.answer() {
            Some(_) => !state.has(RecipientState::DELIVERED | RecipientState::BOUNCED),
            None => !self.early.get(&(seq, recipient)).is_some_and(is_seen_early),
        }
    }

    /// Whether what was seen of a recipient named another address.
    fn is_guessed(&self, seq: u64, recipient: u32) -> bool {
        self.messages.recipients > 1
            && recipient < self.messages.recipients
            && (self.known(seq, recipient).has(RecipientState::GUESSED)
                || self.early.get(&(seq, recipient)).is_some_and(|early| early.is_guessed))
    }

    /// Notes where an event was counted: as a guess, or in exchange for a wrong guess.
    fn placed(&mut self, seq: u64, place: Place) {
        let Place { recipient, is_guessed, named } = place;
        let is_answered = self.known(seq, recipient).answer().is_some();
        if is_guessed && is_answered {
            self.state(seq, recipient).0 |= RecipientState::GUESSED;
        } else if is_guessed && let Some(early) = self.early.get_mut(&(seq, recipient)) {
            early.is_guessed = true;
        }
        if let Some(named) = named {
            self.exchange(seq, recipient, named);
        }
    }

    /// Exchanges what was seen of two recipients of a message, which are both answered or both not.
    fn exchange(&mut self, seq: u64, one: u32, other: u32) {
        let recipients = [one, other];
        let states = recipients.map(|recipient| self.known(seq, recipient));
        if states[0].answer().is_none() {
            let early = recipients.map(|recipient| self.early.remove(&(seq, recipient)));
            for (recipient, early) in recipients.into_iter().zip(early.into_iter().rev()) {
                if let Some(early) = early {
                    self.early.insert((seq, recipient), early);
                }
            }
            return;
        }
        for ((recipient, before), events) in recipients.into_iter().zip(states).zip(states.into_iter().rev())
        {
            let after = before.with_events_of(events);
            *self.state(seq, recipient) = after;
            self.count(seq, before, after);
        }
    }

    fn page(&mut self, seq: u64) -> &mut Page {
        let states = PAGE as usize * self.messages.recipients as usize;
        self.pages.entry(seq / PAGE).or_insert_with(|| Page {
            states: vec![RecipientState::default(); states].into(),
            phases: vec![0; PAGE as usize].into(),
            times: None,
            undelivered: 0,
        })
    }

    /// Returns the state of a recipient; the empty state for a message without a transaction.
    fn known(&self, seq: u64, recipient: u32) -> RecipientState {
        let at = (seq % PAGE) as usize * self.messages.recipients as usize + recipient as usize;
        self.pages.get(&(seq / PAGE)).map_or(RecipientState::default(), |page| page.states[at])
    }

    fn state(&mut self, seq: u64, recipient: u32) -> &mut RecipientState {
        let at = (seq % PAGE) as usize * self.messages.recipients as usize + recipient as usize;
        &mut self.page(seq).states[at]
    }

    fn times(&mut self, seq: u64, recipient: u32) -> Option<MessageTimes> {
        let place = self.messages.place_of_times(seq, recipient);
        self.page(seq).times.as_ref().map(|times| times[place])
    }

    fn phase(&mut self, seq: u64) -> usize {
        usize::from(self.page(seq).phases[(seq % PAGE) as usize])
    }

    fn counts(&mut self, seq: u64) -> &mut DeliveryCounts {
        let phase = self.phase(seq);
        &mut self.phases[phase].counts
    }

    /// Processes the first delivery of a recipient whose answer is known.
    fn deliver(&mut self, seq: u64, recipient: u32, at: Duration, is_altered: bool) {
        let phase = self.phase(seq);
        let times = self.times(seq, recipient);
        let state = *self.state(seq, recipient);
        self.phases[phase].counts.altered += u64::from(is_altered);
        if state.answer() == Some(FinalAnswer::Accepted) {
            let own = &mut self.phases[phase];
            own.seconds.entry(at.as_secs()).or_default().delivered += 1;
            let last = &mut own.last_delivered;
            *last = (*last).max(Some(at));
            self.flow.delivered(at);
            // The times of a recipient that bounced before may have been dropped.
            if let Some(times) = times.filter(|_| state.is_missing()) {
                let transit = at.saturating_sub(Duration::from_nanos(times.answered));
                let delivery = transit + Duration::from_secs_f32(times.response);
                if self.keeps_times {
                    self.phases[phase].times.add(at, [transit, delivery]);
                }
                let phase = phase as u32;
                self.recorder.value(phase, Metric::Transit, Outcome::Accepted, transit);
                self.recorder.value(phase, Metric::Delivery, Outcome::Accepted, delivery);
                self.recorder.counts(phase).delivered += 1;
            }
        }
        self.see(seq, recipient, RecipientState::DELIVERED, at);
    }

    /// Notes an event of a recipient.
    fn see(&mut self, seq: u64, recipient: u32, what: u8, at: Duration) {
        let state = self.state(seq, recipient);
        let before = *state;
        state.0 |= what;
        let after = *state;
        self.count(seq, before, after);
        if before.is_undelivered() && before.answer() == Some(FinalAnswer::Accepted) {
            let is_delivered = what == RecipientState::DELIVERED;
            let times = self.times(seq, recipient);
            let answered = times.map_or(Duration::ZERO, |times| Duration::from_nanos(times.answered));
            if before.is_missing() {
                // A recipient cannot leave the queue before it entered it.
                self.flow.settled(at.max(answered));
                self.ended(answered, is_delivered);
            } else if is_delivered {
                self.flow.came_out_after_bounce(answered);
            }
        }
        self.forget_times(seq);
    }

    /// Notes the first event of a recipient. `accepted`: the time at which the relay accepted the recipient.
    fn ended(&mut self, accepted: Duration, is_delivered: bool) {
        match is_delivered {
            true => self.flow.came_out(accepted),
            false => self.flow.bounced(accepted),
        }
    }

    /// Moves a recipient from one state to another in all counts.
    fn count(&mut self, seq: u64, before: RecipientState, after: RecipientState) {
        let counts = self.counts(seq);
        add(counts, before, false);
        add(counts, after, true);
        let page = self.page(seq);
        page.undelivered =
            page.undelivered + u32::from(after.is_undelivered()) - u32::from(before.is_undelivered());
    }

    /// Drops the times of a page without undelivered recipients.
    fn forget_times(&mut self, seq: u64) {
        let page = self.page(seq);
        if page.undelivered == 0 {
            page.times = None;
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Adds a recipient in this state to the counts, or removes it.
fn add(counts: &mut DeliveryCounts, state: RecipientState, is_added: bool) {
    let (delivered, bounced) = (state.has(RecipientState::DELIVERED), state.has(RecipientState::BOUNCED));
    let seen = |delivered_count, bounced_count, missing_count| {
        if delivered {
            delivered_count
        } else if bounced {
            bounced_count
        } else {
            missing_count
        }
    };
    let cells: [&mut u64; 2] = match state.answer() {
        None => return,
        Some(FinalAnswer::Accepted) => {
            [&mut counts.accepted, seen(&mut counts.delivered, &mut counts.bounced, &mut counts.missing)]
        }
        Some(FinalAnswer::InDoubt) => {
            let end = seen(
                &mut counts.in_doubt_delivered,
                &mut counts.in_doubt_bounced,
                &mut counts.in_doubt_missing,
            );
            [&mut counts.in_doubt, end]
        }
        Some(FinalAnswer::Refused) if delivered => [&mut counts.unexpected, &mut 0],
        Some(FinalAnswer::Refused) => return,
    };
    for cell in cells {
        *cell = if is_added { *cell + 1 } else { cell.saturating_sub(1) };
    }
    if delivered && bounced {
        let both = &mut counts.bounced_and_delivered;
        *both = if is_added { *both + 1 } else { *both - 1 };
    }
}

impl MessageForm {
    /// Returns the number of times that are kept for a message.
    fn times_of_each(self) -> usize {
        if self.is_retried { self.recipients as usize } else { 1 }
    }

    /// Returns the index of a recipient's times in its page.
    fn place_of_times(self, seq: u64, recipient: u32) -> usize {
        let each = self.times_of_each();
        (seq % PAGE) as usize * each + (recipient as usize).min(each - 1)
    }

    /// Returns the memory of a page with times, in bytes.
    pub(super) fn page_size(self) -> u64 {
        let times = size_of::<MessageTimes>() * self.times_of_each();
        PAGE * (u64::from(self.recipients) + (size_of::<u16>() + times) as u64)
    }

    fn no_times(self) -> Box<[MessageTimes]> {
        vec![MessageTimes::default(); PAGE as usize * self.times_of_each()].into()
    }
}

#[cfg(test)]
mod tests;
