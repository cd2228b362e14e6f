//! The account of one run: the recipients that its relay accepted, and the deliveries, from a receiver in this process
//! or from delivery logs.
//!
//! # Decisions
//! - The lock is held only for a few additions, by the threads that take deliveries and once a second by the thread
//!   that adds up. It is never taken in the path of an arrival. Contents are compared before the lock is taken.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::integrity::{self, Difference, Fingerprint};
use super::matching::{Matcher, MessageForm};
use super::notification::{DeliveryAction, Notification, RecipientStatus};
use crate::collector::delivery::{Altered, BounceCount, Delivered, PhaseDelivery, Transaction};
use crate::collector::flow::Flow;
use crate::collector::snapshot::Gauges;
use crate::collector::tally::Tally;
use crate::collector::{Metric, Outcome};
use crate::condition::{self, Condition};
use crate::mail::Mailer;
use crate::plan::Plan;
use crate::smtp::{Content, Reply, Step};

/// The largest number of missing recipients and of altered messages that are named.
const NAMED: usize = 20;
/// The largest number of kinds of bounces that are counted separately.
const KINDS: usize = 100;
/// What stands in place of the status code for all further kinds together.
const OTHERS: &str = "other";
/// The largest length of the sample of a bounce, in characters.
const SAMPLE: usize = 500;

/// The content of a message that came out of the relay.
#[derive(Clone, Copy, Debug)]
pub enum SeenContent<'a> {
    /// The whole content, without dot stuffing.
    Whole(&'a [u8]),
    /// The fingerprint by which the content is compared.
    Fingerprint(&'a Fingerprint),
}

/// The account of one run.
#[derive(Debug)]
pub struct RunAccount {
    id: String,
    mailer: Arc<Mailer>,
    recipients: u32,
    /// Whether the times of deliveries are known. If not, there are only counts.
    is_timed: bool,
    state: Mutex<ReceivedSoFar>,
}

/// The deliveries so far.
#[derive(Debug)]
struct ReceivedSoFar {
    matcher: Matcher,
    altered: Vec<Altered>,
    bounces: BTreeMap<(String, String), BounceCount>,
    delayed: u64,
}

impl RunAccount {
    /// Creates the account of a run that begins. `date` is the Date of its messages. `is_timed` says that the times of
    /// deliveries are known. If not, the given times only set their order.
    pub fn new(plan: &Plan, date: &str, is_timed: bool) -> RunAccount {
        RunAccount {
            id: plan.run_id.clone(),
            mailer: Arc::new(Mailer::new(&plan.mail, plan.seed, &plan.run_id, date)),
            recipients: plan.mail.recipients,
            is_timed,
            state: Mutex::new(ReceivedSoFar {
                matcher: Matcher::new(form(plan)),
                altered: Vec::new(),
                bounces: BTreeMap::new(),
                delayed: 0,
            }),
        }
    }

    /// Returns the run id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the account, which also keeps the times by the second of the delivery.
    #[must_use]
    pub fn with_times_by_second(self) -> RunAccount {
        if self.is_timed {
            self.lock().matcher.keep_times_by_second();
        }
        self
    }

    /// Processes transactions that have ended.
    pub fn answered(&self, transactions: &[Transaction]) {
        let mut state = self.lock();
        transactions.iter().for_each(|transaction| state.matcher.answered(transaction));
    }

    /// Returns the number of accepted recipients that were neither delivered nor bounced so far.
    pub fn queued(&self) -> u64 {
        self.lock().matcher.queued()
    }

    /// Returns the deliveries since the last call, by phase, and the relay's queue at this time of the run.
    pub fn second(&self, until: Duration) -> (Tally, Option<u64>) {
        let mut state = self.lock();
        let tally = self.take_tally(&mut state, false);
        (tally, self.is_timed.then(|| state.matcher.flow().queued_at(until)))
    }

    /// Returns the counts and times since the last call.
    fn take_tally(&self, state: &mut ReceivedSoFar, last: bool) -> Tally {
        let mut tally = state.matcher.recorder().snapshot(0, Gauges::default(), last).tally;
        if !self.is_timed {
            tally.phases.iter_mut().for_each(|phase| phase.hists.clear());
        }
        tally
    }

    /// Returns when the last delivery or bounce came, since the run's epoch.
    pub fn last_seen(&self) -> Option<Duration> {
        self.lock().matcher.last_seen()
    }

    /// Returns the number of recipients that are still missing, including those in doubt.
    pub fn outstanding(&self) -> u64 {
        self.lock().matcher.outstanding()
    }

    /// Whether the wait can end at this time since the run's epoch: no accepted recipient is missing, and either no
    /// recipient in doubt is missing or there was no delivery for `quiet`.
    pub fn is_settled(&self, now: Duration, quiet: Duration) -> bool {
        let state = self.lock();
        let is_quiet = || state.matcher.last_seen().is_none_or(|last| now.saturating_sub(last) >= quiet);
        state.matcher.queued() == 0 && (state.matcher.outstanding() == 0 || is_quiet())
    }

    /// Closes the account. The run ended at `ended` since its epoch. `windows` holds the start and the end of each
    /// phase. The times of missing recipients are added to `tally` as `Interrupted`: only a lower bound is known.
    pub fn finish(
        &self,
        windows: &[(Duration, Duration)],
        ended: Duration,
        cut_short: bool,
        tally: &mut Tally,
    ) -> Delivered {
        let mut state = self.lock();
        *tally += &self.take_tally(&mut state, true);
        let late = self.is_timed.then(|| state.matcher.missing()).into_iter().flatten();
        for missing in late {
            let phase = &mut tally.phases[missing.phase as usize];
            for (metric, since) in [(Metric::Transit, missing.answered), (Metric::Delivery, missing.intended)]
            {
                phase
                    .hists
                    .entry((metric, Outcome::Interrupted))
                    .or_default()
                    .time(ended.saturating_sub(since));
            }
        }
        let flow = state.matcher.flow();
        let phase = |(index, (from, to)): (usize, &(Duration, Duration))| PhaseDelivery {
            counts: state.matcher.phase_counts(index),
            queued_max: self.is_timed.then(|| flow.queue(*from, *to).into_iter().max().unwrap_or_default()),
            queued_growth: self.is_timed.then(|| flow.growth(*from, *to)).flatten(),
            delivered_in_window: self.is_timed.then(|| flow.delivered_between(*from, *to)),
            drain: self.is_timed.then(|| state.matcher.drain(index)).flatten(),
            seconds: if self.is_timed { state.matcher.phase_seconds(index).clone() } else { BTreeMap::new() },
            times: state.matcher.phase_times(index),
        };
        let mut bounces: Vec<BounceCount> = state.bounces.values().cloned().collect();
        bounces.sort_by_key(|bounce| std::cmp::Reverse(bounce.count));
        Delivered {
            phases: windows.iter().enumerate().map(phase).collect(),
            foreign: state.matcher.foreign_messages(),
            delayed: state.delayed,
            ended,
            silent_for: state.matcher.last_seen().map(|last| ended.saturating_sub(last)),
            cut_short,
            missing: state.matcher.missing().take(NAMED).collect(),
            altered: state.altered.clone(),
            flow: if self.is_timed { flow.clone() } else { Flow::default() },
            bounces,
            ..Delivered::default()
        }
    }

    /// Counts a message that is not of the run.
    pub fn foreign(&self, at: Duration) {
        self.lock().matcher.foreign(at);
    }

    /// Counts a copy of a message of the run for these recipients.
    pub fn delivered(&self, seq: u64, recipients: &[String], content: SeenContent<'_>, at: Duration) {
        let sent = self.content(seq);
        let compare = |sent: Vec<u8>| match content {
            SeenContent::Whole(content) => integrity::differences(&sent, content),
            SeenContent::Fingerprint(seen) => Fingerprint::of(&sent)
                .map_or(vec![Difference::NoMessage], |sent| integrity::differences_between(&sent, seen)),
        };
        let differences = sent.map(compare).unwrap_or_default();
        let mut recipients: Vec<(Option<u32>, &String)> =
            recipients.iter().map(|address| (self.recipient(seq, address), address)).collect();
        // A rewritten address is one of the recipients that are not named.
        recipients.sort_by_key(|(recipient, _)| recipient.is_none());
        let mut state = self.lock();
        if !differences.is_empty() && state.altered.len() < NAMED {
            let what: Vec<String> = differences.iter().map(ToString::to_string).collect();
            state.altered.push(Altered { seq, what: what.join(", ") });
        }
        for (recipient, address) in recipients {
            let recipient = self.open_recipient(&state.matcher, seq, recipient, address);
            state.matcher.delivered(seq, recipient, at, !differences.is_empty());
        }
    }

    /// Processes a notification about recipients of a message of the run.
    pub fn notified(&self, notification: &Notification, at: Duration) {
        let seq = notification.identity.seq;
        let mut ends: Vec<(Option<u32>, &RecipientStatus)> = notification
            .recipients
            .iter()
            .map(|status| (self.recipient(seq, &status.address), status))
            .collect();
        ends.sort_by_key(|(recipient, _)| recipient.is_none());
        let mut state = self.lock();
        if ends.is_empty() {
            // A notification that names no recipient is about all recipients of the message.
            for recipient in 0..self.recipients {
                state.matcher.bounced(seq, Some(recipient), at);
            }
            state.bounce("", "a notification that names no recipient", u64::from(self.recipients));
        }
        for (recipient, status) in ends {
            match status.action {
                DeliveryAction::Failed => {
                    let recipient = self.open_recipient(&state.matcher, seq, recipient, &status.address);
                    state.matcher.bounced(seq, recipient, at);
                    state.bounce(&status.status, &status.diagnostic, 1);
                }
                DeliveryAction::Delayed => state.delayed += 1,
                DeliveryAction::Delivered | DeliveryAction::Relayed | DeliveryAction::Expanded => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, ReceivedSoFar> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the content of a message as it was sent; `None` if its file cannot be read any more.
    fn content(&self, seq: u64) -> Option<Vec<u8>> {
        self.mailer.message(seq).content().ok()
    }

    /// Returns the first index of this recipient in its message; `None` if the relay rewrote the address.
    fn recipient(&self, seq: u64, address: &str) -> Option<u32> {
        self.recipients_of(seq, address, 0).next()
    }

    /// Returns the index of this recipient of which nothing was seen yet, if there is one: a list can have the address on
    /// several of its lines. `first` is the first index.
    fn open_recipient(&self, matcher: &Matcher, seq: u64, first: Option<u32>, address: &str) -> Option<u32> {
        let first = first?;
        let is_open = |index: &u32| matcher.is_open(seq, *index);
        // The others are rendered only for what came a second time.
        let open = || self.recipients_of(seq, address, first + 1).find(is_open);
        if is_open(&first) { Some(first) } else { open().or(Some(first)) }
    }

    /// Returns the indices of this recipient in its message, from an index on.
    fn recipients_of(&self, seq: u64, address: &str, from: u32) -> impl Iterator<Item = u32> {
        let message = self.mailer.message(seq);
        let mut own = Vec::new();
        (from..self.recipients).filter(move |index| {
            own.clear();
            message.recipient(*index, &mut own);
            own.eq_ignore_ascii_case(address.as_bytes())
        })
    }
}

/// Returns the properties of the run's messages.
pub(super) fn form(plan: &Plan) -> MessageForm {
    MessageForm {
        recipients: plan.mail.recipients,
        is_retried: plan.retry.is_some(),
        phases: u32::try_from(plan.phases.len()).unwrap_or(u32::MAX),
    }
}

impl ReceivedSoFar {
    /// Counts recipients of a bounce, by the status code and the condition of the reply.
    fn bounce(&mut self, status: &str, diagnostic: &str, count: u64) {
        let reply = Reply::parse(diagnostic).ok();
        let condition = reply.as_ref().map(|reply| condition::classify(Some(Step::Rcpt), reply, false));
        let key = |status: &str, condition: Option<Condition>| {
            (status.to_owned(), condition.map_or_else(String::new, |condition| condition.to_string()))
        };
        let is_counted = |key| self.bounces.len() < KINDS || self.bounces.contains_key(&key);
        let (status, condition) =
            if is_counted(key(status, condition)) { (status, condition) } else { (OTHERS, None) };
        let kind = self.bounces.entry(key(status, condition)).or_insert_with(|| BounceCount {
            status: status.to_owned(),
            condition,
            count: 0,
            sample: diagnostic.chars().take(SAMPLE).collect(),
        });
        kind.count += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collector::delivery::{Answers, FinalAnswer};
    use crate::delivery::fixtures;
    use crate::delivery::received::Identity;
    use crate::mail::{List, Mailboxes, Order, Reading, Source};

    /// Returns the account of a run whose messages have these recipients, from a list.
    fn account(list: &str, recipients: u32) -> RunAccount {
        let mut plan = fixtures::plan("");
        let list = List::parse(list.as_bytes(), Reading::default()).unwrap();
        plan.mail.to = Mailboxes { source: Source::List(Arc::new(list)), order: Order::InTurn };
        plan.mail.recipients = recipients;
        RunAccount::new(&plan, "today", true)
    }

    fn answered(answers: &[FinalAnswer]) -> Transaction {
        let answers = Answers::Each(answers.into());
        Transaction {
            seq: 0,
            phase: 0,
            intended: Duration::ZERO,
            answered: Duration::from_millis(1),
            answers,
        }
    }

    fn finished(account: &RunAccount) -> Delivered {
        let second = Duration::from_secs(1);
        account.finish(&[(Duration::ZERO, second)], second, false, &mut Tally::new(1))
    }

    #[test]
    fn kinds_of_bounces_above_the_bound_are_counted_together() {
        let account = account("a@b.example\n", 1);
        let mut state = account.lock();
        for n in 0..KINDS + 20 {
            state.bounce(&format!("5.0.{n}"), "550 no such user", 2);
        }
        state.bounce("5.0.7", "550 no such user", 1);
        drop(state);
        let bounces = finished(&account).bounces;
        assert_eq!(bounces.iter().map(|bounce| bounce.count).sum::<u64>(), 2 * (KINDS as u64 + 20) + 1);
        assert_eq!((bounces.len(), bounces[0].status.as_str(), bounces[0].count), (KINDS + 1, OTHERS, 40));
        assert_eq!((bounces[1].status.as_str(), bounces[1].count), ("5.0.7", 3));
    }

    #[test]
    fn an_address_on_several_lines_of_a_list_counts_once_for_each() {
        let account = account("a@b.example\nc@b.example\nA@B.example\na@b.example\n", 4);
        account.answered(&[answered(&[
            FinalAnswer::Refused,
            FinalAnswer::Accepted,
            FinalAnswer::Accepted,
            FinalAnswer::Accepted,
        ])]);
        let content = account.content(0).unwrap();
        let deliver = |to: &str| {
            let content = SeenContent::Whole(&content);
            account.delivered(0, &[to.to_owned()], content, Duration::from_millis(5));
        };
        deliver("a@b.example");
        deliver("c@b.example");
        let status = RecipientStatus {
            address: "a@b.example".to_owned(),
            action: DeliveryAction::Failed,
            status: "5.1.1".to_owned(),
            diagnostic: String::new(),
        };
        let identity = Identity { run: "run-1".to_owned(), seq: 0 };
        let notification = Notification { identity, recipients: vec![status] };
        account.notified(&notification, Duration::from_millis(6));
        let counts = finished(&account).phases[0].counts;
        assert_eq!((counts.accepted, counts.delivered, counts.bounced), (3, 2, 1), "{counts:?}");
    }
}
