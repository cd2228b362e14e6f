//! Messages that are tried again, over sockets: a listener that greylists, and one that refuses for a while. Every
//! attempt is compared with the listener's ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use smtpress::collector::{Metric, Outcome};
use smtpress::plan::retry::{Retry, RetrySchedule};
use smtpress::plan::{Messages, Plan, Unit};
use smtpress::smtp::script::Protocol;
use smtpress::verdict::AssertionStatus;

use super::grey_listener::{Answer, GreyListener, Ledger, Moment};
use super::testbed::{SECOND, Told, ms, phase, plan, rate, run_against, shared};

fn retrying(phases: Vec<smtpress::plan::Phase>, millis: &[u64]) -> Plan {
    let schedule = RetrySchedule::listed(millis.iter().map(|at| ms(*at)).collect());
    Plan { retry: Some(Retry { schedule, wait: None }), messages: Messages::Fixed(1), ..plan(phases) }
}

fn run(
    plan: &Plan,
    rule: impl Fn(Moment<'_>, Duration, &Ledger) -> Answer + Send + Sync + 'static,
) -> (Told, Ledger) {
    let listener = GreyListener::start(rule);
    let mut ledger = Ledger::default();
    let addr = listener.addr;
    let told = run_against(plan, addr, || {
        ledger = listener.stop();
        // The listener counts recipients, and the client counts messages.
        (plan.mail.recipients == 1).then(|| ledger.delivered())
    });
    (told, ledger)
}

fn attempts(told: &Told) -> u64 {
    told.counts().started + told.counts().retry.retries
}

#[test]
fn a_greylisted_message_is_accepted_when_its_time_has_come_and_the_time_is_the_listeners() {
    let plan = retrying(vec![phase(rate(60.0), Some(2 * SECOND), Unit::Message)], &[300; 8]);
    let (told, ledger) = run(&plan, |moment, at, ledger| match moment {
        Moment::Recipient(recipient, before) => {
            let first = ledger.recipients.get(recipient).filter(|_| before > 0).map(|seen| seen.named[0]);
            match first {
                Some(first) if at >= first + ms(1000) => Answer::Good,
                _ => Answer::Reply("450 4.2.0 greylisted, come back later"),
            }
        }
        _ => Answer::Good,
    });
    assert_eq!((told.of(Outcome::Accepted), told.counts().scheduled), (120, 120));
    assert_eq!(attempts(&told), ledger.named(), "each attempt is one RCPT");
    // The attempts are 300 ms apart until a second is over: five, or fewer on a late machine.
    let mut of_ledger = BTreeMap::<u32, u64>::new();
    ledger.recipients.values().for_each(|seen| *of_ledger.entry(seen.named.len() as u32).or_default() += 1);
    let by_attempts = told.measured.tally.phases[0].attempts.iter();
    let by_attempts: BTreeMap<u32, u64> =
        by_attempts.map(|(attempts, ends)| (*attempts, ends.of(Outcome::Accepted))).collect();
    assert_eq!(by_attempts, of_ledger);
    assert!(by_attempts.keys().all(|attempts| (2..=5).contains(attempts)), "{by_attempts:?}");
    // The times by the listener's clock, from the first RCPT to the delivery. A message is scheduled before its first
    // RCPT.
    let mut truth: Vec<Duration> =
        ledger.recipients.values().map(|seen| seen.delivered[0] - seen.named[0]).collect();
    truth.sort_unstable();
    let measured = told.hist(Metric::TimeToAccept, Outcome::Accepted);
    assert_eq!(measured.count(), 120);
    assert!(measured.min_ns() as f64 / 1e9 >= truth[0].as_secs_f64(), "from the intended start");
    let p50 = told.quantile(Metric::TimeToAccept, 0.5);
    told.below("time to acceptance beside the listener's", p50, truth[60].as_secs_f64() + 0.1);
    assert!(p50 >= truth[50].as_secs_f64() * 0.999, "{p50} {:?}", truth[50]);
    // The built-in assertions hold, because each deferred message was accepted in the end.
    assert!(!told.fails_by("unexpected rate <= 1%") && !told.fails_by("shed == 0"));
    assert_eq!(told.counts().transactions.of(Outcome::Deferred), ledger.named() - 120);
}

/// A listener that refuses all sessions for a while, and then serves a number of sessions a second, with a burst.
struct Outage {
    from: Duration,
    until: Duration,
    per_second: f64,
    burst: f64,
}

impl Outage {
    /// Whether it refuses all sessions at this time.
    fn holds(&self, at: Duration) -> bool {
        (self.from..self.until).contains(&at)
    }

    /// Runs `plan` against it.
    fn run(self: &Arc<Outage>, plan: &Plan) -> (Told, Ledger) {
        let (outage, budget) = (self.clone(), Mutex::new((self.burst, Duration::ZERO)));
        run(plan, move |moment, at, _| {
            if moment != Moment::Greeting {
                return Answer::Good;
            }
            if outage.holds(at) {
                return Answer::Reply("421 4.3.2 service is shutting down");
            }
            let mut budget = budget.lock().unwrap();
            let earned = at.saturating_sub(budget.1).as_secs_f64() * outage.per_second;
            *budget = ((budget.0 + earned).min(outage.burst), at);
            if budget.0 < 1.0 {
                return Answer::Reply("421 4.7.0 too many connections");
            }
            budget.0 -= 1.0;
            Answer::Good
        })
    }

    /// Checks that each attempt is a connection of the ledger, and each refusal one of its refusals. Returns the
    /// numbers of refusals during the outage and after it.
    fn assert_attempts_are_the_ledgers(&self, told: &Told, ledger: &Ledger) -> (usize, usize) {
        assert_eq!(attempts(told), ledger.connections);
        assert_eq!(told.counts().retry.attempts.of(Outcome::Refused), ledger.turned_away.len() as u64);
        let delivered = told.counts().retry.attempts.of(Outcome::Accepted);
        assert_eq!((told.of(Outcome::Accepted), ledger.delivered()), (delivered, delivered));
        let during = ledger.turned_away.iter().filter(|at| self.holds(**at)).count();
        let after = ledger.turned_away.iter().filter(|at| **at >= self.until).count();
        (during, after)
    }
}

#[test]
fn an_outage_is_made_good_and_the_attempts_are_those_of_the_listeners_ledger() {
    let plan = retrying(vec![phase(rate(200.0), Some(3 * SECOND), Unit::Message)], &[700, 700, 700, 700]);
    let outage = Outage { from: ms(500), until: ms(1500), per_second: 300.0, burst: 100.0 };
    let outage = Arc::new(outage);
    let (told, ledger) = outage.run(&plan);
    assert_eq!(told.counts().scheduled, 600);
    let (during, after) = outage.assert_attempts_are_the_ledgers(&told, &ledger);
    assert!(during >= 100, "{during}");
    assert!(after > 0, "the retries on top of the load are the second outage");
    assert_eq!(told.of(Outcome::Accepted) + told.counts().arrivals.gave_up(), 600);
    assert!(told.of(Outcome::Accepted) >= 500, "{:?}", told.counts());
}

/// 6,000 messages are refused in the outage. After 5 s they come again, as many a second as the load, but the listener
/// serves only half as many more. So it refuses a part of them until all are accepted.
#[test]
#[ignore = "takes two minutes: cargo test --test it -- --ignored at_full_length"]
fn an_outage_of_half_a_minute_at_full_length() {
    let mut plan = retrying(vec![phase(rate(200.0), Some(60 * SECOND), Unit::Message)], &[5000; 20]);
    plan.retry.as_mut().unwrap().wait = Some(60 * SECOND);
    let outage = Outage { from: 10 * SECOND, until: 40 * SECOND, per_second: 300.0, burst: 100.0 };
    let outage = Arc::new(outage);
    let (told, ledger) = outage.run(&plan);
    assert_eq!(told.counts().scheduled, 12_000);
    let (during, after) = outage.assert_attempts_are_the_ledgers(&told, &ledger);
    let last = ledger.turned_away.iter().rfind(|at| at.as_secs() < 110).unwrap();
    let retries = told.counts().retry.retries;
    eprintln!("{during} refused in the outage, {after} after it, the last at {last:?}; {retries} retries");
    // In the outage the attempts accumulate: 200/s first attempts, and as many retries for each 5 s of outage.
    assert!(during > 15_000, "{during}");
    assert!(after > 1000, "the storm of retries is a second outage: {after}");
    assert_eq!(told.of(Outcome::Accepted), 12_000, "{:?}", told.counts());
}

#[test]
fn every_attempt_has_the_same_bytes() {
    let mut plan = retrying(vec![phase(rate(40.0), Some(SECOND), Unit::Message)], &[50, 50, 50]);
    plan.mail.subject = Some("message {n} of session {session}".into());
    let (told, ledger) = run(&plan, |moment, _, _| match moment {
        Moment::Content(_, before) if before < 2 => Answer::Reply("451 4.3.0 try again"),
        _ => Answer::Good,
    });
    assert_eq!((told.of(Outcome::Accepted), attempts(&told)), (40, 120));
    assert_eq!(ledger.recipients.len(), 40);
    let mut all = BTreeSet::new();
    for (recipient, seen) in &ledger.recipients {
        let own: BTreeSet<u64> = seen.contents.iter().copied().collect();
        assert_eq!((seen.contents.len(), own.len()), (3, 1), "{recipient} got other bytes");
        all.extend(own);
    }
    assert_eq!(all.len(), 40, "no two messages are alike");
}

#[test]
fn what_is_in_doubt_is_sent_again_and_counted_as_possibly_doubled() {
    let plan = retrying(vec![phase(rate(40.0), Some(SECOND), Unit::Message)], &[50]);
    let (told, ledger) = run(&plan, |moment, _, _| match moment {
        Moment::Content(_, 0) => Answer::Close,
        _ => Answer::Good,
    });
    assert_eq!((told.of(Outcome::Accepted), ledger.delivered()), (40, 80));
    assert_eq!(told.counts().retry.possibly_doubled, 40);
    assert_eq!(told.counts().retry.attempts.of(Outcome::InDoubt), 40);
}

#[test]
fn a_5yz_reply_is_for_good_wherever_it_comes() {
    for at in ["greeting", "rcpt", "content"] {
        let plan = retrying(vec![phase(rate(40.0), Some(SECOND), Unit::Message)], &[20, 20]);
        let (told, ledger) = run(&plan, move |moment, _, _| match (moment, at) {
            (Moment::Greeting, "greeting") => Answer::Reply("554 5.7.1 not you"),
            (Moment::Recipient(..), "rcpt") => Answer::Reply("550 5.1.1 no such user"),
            (Moment::Content(..), "content") => Answer::Reply("554 5.6.0 not this"),
            _ => Answer::Good,
        });
        assert_eq!((attempts(&told), told.counts().retry.retries), (40, 0), "{at}");
        assert_eq!(told.counts().arrivals.gave_up(), 40, "{at}");
        assert!(told.fails_by("unexpected rate <= 1%"), "{at}");
        assert_eq!(ledger.delivered(), 0);
    }
    // In a closed load, a session that could not be opened is an arrival, which is refused permanently too.
    let mut plan = retrying(vec![phase(shared(5, 2), Some(2 * SECOND), Unit::Message)], &[20, 20]);
    plan.phases[0].max_sessions = 2;
    let (told, _) = run(&plan, |_, _, _| Answer::Reply("554 5.7.1 not you"));
    assert_eq!(told.counts().retry.retries, 0, "{:?}", told.counts());
}

#[test]
fn recipients_that_are_deferred_are_tried_again_and_the_others_are_not() {
    let mut plan = retrying(vec![phase(rate(40.0), Some(SECOND), Unit::Message)], &[20, 20, 20]);
    plan.mail.recipients = 3;
    let number = |recipient: &str| -> u64 {
        recipient.strip_prefix("user").unwrap().split('@').next().unwrap().parse().unwrap()
    };
    let (told, ledger) = run(&plan, move |moment, _, _| match moment {
        Moment::Recipient(recipient, before) => match number(recipient) % 3 {
            1 if before < 2 => Answer::Reply("450 4.2.1 busy"),
            2 => Answer::Reply("550 5.1.1 no such user"),
            _ => Answer::Good,
        },
        _ => Answer::Good,
    });
    assert_eq!(ledger.recipients.len(), 120);
    for (recipient, seen) in &ledger.recipients {
        let expected = [(1, 1), (3, 1), (1, 0)][(number(recipient) % 3) as usize];
        assert_eq!((seen.named.len(), seen.delivered.len()), expected, "{recipient}");
    }
    // The first attempt is accepted for one recipient, the second for none, and the third for the last one.
    let counts = told.counts();
    assert_eq!((told.of(Outcome::Accepted), counts.started, attempts(&told)), (40, 40, 120));
    assert_eq!(
        [Outcome::Accepted, Outcome::Deferred].map(|outcome| counts.retry.attempts.of(outcome)),
        [80, 40]
    );
    assert_eq!((counts.recipients_accepted, counts.recipients_refused), (80, 120));
    assert_eq!(told.measured.tally.phases[0].attempts[&3].of(Outcome::Accepted), 40);
    let bytes = ledger.recipients.iter().filter(|(recipient, _)| number(recipient) % 3 < 2);
    let bytes: BTreeSet<u64> = bytes.flat_map(|(_, seen)| seen.contents.clone()).collect();
    assert_eq!(bytes.len(), 40, "each message has the same bytes for all of its recipients");
    // Both pauses are part of the time until the message was accepted for its last recipient.
    assert!(told.hist(Metric::TimeToAccept, Outcome::Accepted).min_ns() >= 40_000_000);
}

#[test]
fn a_message_that_some_accepted_ends_as_accepted_when_none_is_left_and_pending_when_one_is() {
    let defers = |plan: &Plan, reply: &'static str| {
        run(plan, move |moment, _, _| match moment {
            Moment::Recipient(recipient, 0) if recipient.ends_with("1@recipient.example") => {
                Answer::Reply("450 4.2.1 busy")
            }
            Moment::Recipient(recipient, _) if recipient.ends_with("1@recipient.example") => {
                Answer::Reply(reply)
            }
            _ => Answer::Good,
        })
    };
    // The recipients of a message end in 0 and 1, 2 and 3, and so on. So one message in five has a deferred recipient.
    let mut plan = retrying(vec![phase(rate(20.0), Some(SECOND), Unit::Message)], &[1000]);
    plan.mail.recipients = 2;
    for reply in ["450 4.2.1 busy", "550 5.1.1 no such user"] {
        let (told, _) = defers(&plan, reply);
        assert_eq!((told.of(Outcome::Accepted), told.counts().retry.retries), (20, 4), "{reply}");
        let max = told.hist(Metric::TimeToAccept, Outcome::Accepted).max_ns();
        told.below("it was accepted by the first attempt", max as f64 / 1e9, 1.0);
    }
    plan.phases[0].graceful_stop = 3 * SECOND;
    plan.retry = retrying(Vec::new(), &[60_000]).retry;
    let (told, ledger) = defers(&plan, "450 4.2.1 busy");
    assert_eq!((told.of(Outcome::Accepted), told.of(Outcome::Interrupted)), (16, 4));
    assert_eq!(ledger.delivered(), 36);
}

#[test]
fn lmtp_recipients_are_tried_again_one_by_one_and_none_gets_a_message_twice() {
    let mut plan = retrying(vec![phase(rate(20.0), Some(SECOND), Unit::Message)], &[20, 20]);
    plan.script.protocol = Protocol::Lmtp;
    plan.mail.recipients = 2;
    let (told, ledger) = run(&plan, |moment, _, _| match moment {
        // One mailbox is full permanently, and another one only at first.
        Moment::Content(recipient, _) if recipient.ends_with("1@recipient.example") => {
            Answer::Reply("452 4.2.2 full")
        }
        Moment::Content(recipient, 0) if recipient.ends_with("2@recipient.example") => {
            Answer::Reply("452 4.2.2 full")
        }
        _ => Answer::Good,
    });
    for (recipient, seen) in &ledger.recipients {
        let expected = match recipient.split('@').next().unwrap().chars().last() {
            Some('1') => (3, 0),
            Some('2') => (2, 1),
            _ => (1, 1),
        };
        assert_eq!((seen.contents.len(), seen.delivered.len()), expected, "{recipient}");
    }
    let conditions = &told.measured.tally.phases[0].conditions;
    assert_eq!((told.of(Outcome::Accepted), told.of(Outcome::Deferred)), (16, 4), "{conditions:?}");
    assert_eq!(told.counts().retry.retries, 4 * 2 + 4);
}

#[test]
fn a_closed_load_has_its_total_and_its_attempts_are_the_ledgers() {
    let mut plan = retrying(vec![phase(shared(300, 8), None, Unit::Message)], &[30; 40]);
    plan.messages = Messages::Unlimited;
    // Every third RCPT is deferred, for any recipient, and one message in fifty is lost with its connection.
    let (told, ledger) = run(&plan, |moment, _, ledger| match moment {
        Moment::Recipient(..) if ledger.named() % 3 == 1 => Answer::Reply("450 4.2.1 busy"),
        Moment::Recipient(..) if ledger.named() % 50 == 0 => Answer::Close,
        _ => Answer::Good,
    });
    assert_eq!((told.counts().scheduled, told.of(Outcome::Accepted)), (300, 300));
    assert_eq!(ledger.delivered(), 300);
    assert_eq!(attempts(&told), ledger.named());
    assert!(told.counts().retry.attempts.of(Outcome::Dropped) > 0);
    assert!(told.measured.work[0].is_done(), "{:?}", told.measured.work);
}

#[test]
fn what_still_waits_at_the_end_is_pending_and_fails_the_run() {
    let mut plan = retrying(vec![phase(rate(50.0), Some(SECOND), Unit::Message)], &[60_000]);
    plan.phases[0].graceful_stop = ms(500);
    let (told, _) = run(&plan, |moment, _, _| match moment {
        Moment::Recipient(..) => Answer::Reply("450 4.2.0 greylisted"),
        _ => Answer::Good,
    });
    assert_eq!((told.of(Outcome::Interrupted), attempts(&told)), (50, 50));
    assert!(told.fails_by("unexpected rate <= 1%"));
    let least = told.hist(Metric::TimeToAccept, Outcome::Interrupted).min_ns();
    assert!(least >= 60_000_000_000, "it cannot have been accepted before its next attempt: {least}");
    told.below("the run waits for nothing", told.measured.took.as_secs_f64(), 1.5);
}

#[test]
fn m21_retries_after_the_window_are_in_no_rate() {
    // Each first attempt is deferred, and its retry follows 500 ms later: about half of them within the second of the phase.
    let mut plan = retrying(vec![phase(rate(40.0), Some(SECOND), Unit::Message)], &[500]);
    plan.phases[0].graceful_stop = 10 * SECOND;
    let (told, _) = run(&plan, |moment, _, _| match moment {
        Moment::Recipient(_, 0) => Answer::Reply("450 4.2.0 greylisted, come back later"),
        _ => Answer::Good,
    });
    let counts = told.counts();
    assert_eq!((told.of(Outcome::Accepted), counts.retry.retries), (40, 40));
    // The last twenty messages are scheduled in the second half of the phase.
    assert!(counts.drained.retries >= 20, "{counts:?}");
    assert_eq!(told.verdict_of("retries == 40"), AssertionStatus::Pass);
    let within = 40 - counts.drained.retries;
    assert_eq!(told.verdict_of(&format!("retries rate == {within}/s")), AssertionStatus::Pass);
    let attempts = attempts(&told) - counts.drained.started - counts.drained.retries;
    assert_eq!(told.verdict_of(&format!("attempts rate == {attempts}/s")), AssertionStatus::Pass);
}
