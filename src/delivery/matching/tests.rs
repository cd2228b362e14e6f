//! Compares the counts with a simple account of every recipient, for any order of events.

use proptest::prelude::*;

use super::*;
use crate::collector::delivery::Answers;
use crate::collector::flow::AcceptedStretch;
use crate::collector::snapshot::Gauges;

const ONE: MessageForm = MessageForm { recipients: 1, is_retried: false, phases: 1 };

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn transaction(seq: u64, answers: &[FinalAnswer]) -> Transaction {
    Transaction {
        seq,
        phase: 0,
        intended: ms(10 * seq),
        answered: ms(10 * seq + 4),
        answers: Answers::Each(answers.into()),
    }
}

#[test]
fn each_end_of_a_recipient_is_counted_once() {
    let mut matcher = Matcher::new(ONE);
    for (seq, answer) in [
        (0, FinalAnswer::Accepted),
        (1, FinalAnswer::Accepted),
        (2, FinalAnswer::Accepted),
        (3, FinalAnswer::InDoubt),
        (4, FinalAnswer::InDoubt),
        (5, FinalAnswer::Refused),
        (6, FinalAnswer::Refused),
    ] {
        matcher.answered(&transaction(seq, &[answer]));
    }
    matcher.delivered(0, Some(0), ms(104), false);
    matcher.delivered(0, Some(0), ms(105), false);
    matcher.bounced(1, Some(0), ms(110));
    matcher.delivered(3, Some(0), ms(134), true);
    matcher.delivered(5, Some(0), ms(200), false);
    matcher.foreign(ms(300));
    let counts = DeliveryCounts {
        accepted: 3,
        delivered: 1,
        bounced: 1,
        missing: 1,
        in_doubt: 2,
        in_doubt_delivered: 1,
        in_doubt_missing: 1,
        duplicated: 1,
        altered: 1,
        unexpected: 1,
        ..DeliveryCounts::default()
    };
    assert_eq!(matcher.phase_counts(0), counts);
    assert_eq!((matcher.queued(), matcher.foreign_messages()), (1, 1));
    let missing: Vec<MissingRecipient> = matcher.missing().collect();
    let expected = MissingRecipient { seq: 2, recipient: 0, phase: 0, answered: ms(24), intended: ms(20) };
    assert_eq!((missing.len(), missing[0].seq, missing[0].answered), (1, expected.seq, expected.answered));
    assert!(missing[0].intended.abs_diff(expected.intended) < Duration::from_micros(1), "{missing:?}");
}

#[test]
fn times_run_from_the_answer_and_from_the_intended_start() {
    let mut matcher = Matcher::new(ONE);
    matcher.answered(&transaction(7, &[FinalAnswer::Accepted]));
    matcher.delivered(7, Some(0), ms(174), false);
    // The relay delivers this message before it replies.
    matcher.delivered(8, Some(0), ms(82), false);
    matcher.answered(&transaction(8, &[FinalAnswer::Accepted]));
    assert_eq!(matcher.drain(0), Some(ms(90)));
    let told = matcher.recorder().snapshot(0, Gauges::default(), false).tally;
    let hist = |metric| &told.phases[0].hists[&(metric, Outcome::Accepted)];
    assert_eq!((hist(Metric::Transit).max_ns(), hist(Metric::Transit).min_ns()), (100_000_000, 0));
    let longest = hist(Metric::Delivery).max_ns();
    assert!(longest.abs_diff(104_000_000) < 1_000, "{longest}");
    assert_eq!(told.phases[0].counts.delivered, 2);
}

#[test]
fn a_delivery_and_its_copy_before_the_answer_are_matched_later() {
    let mut matcher = Matcher::new(ONE);
    matcher.delivered(3, None, ms(1), true);
    matcher.delivered(3, Some(0), ms(2), false);
    let counts = matcher.phase_counts(0);
    assert_eq!((counts.unexpected, counts.duplicated), (1, 1), "if it stays so");
    matcher.answered(&transaction(3, &[FinalAnswer::Accepted]));
    let counts = matcher.phase_counts(0);
    assert_eq!((counts.accepted, counts.delivered, counts.duplicated, counts.altered), (1, 1, 1, 1));
}

#[test]
fn recipients_beyond_the_last_are_foreign_and_rewritten_ones_are_found() {
    let mut matcher = Matcher::new(MessageForm { recipients: 2, is_retried: false, phases: 1 });
    matcher.delivered(1, Some(2), ms(1), false);
    matcher.delivered(4, Some(1), ms(1), false);
    matcher.answered(&transaction(4, &[FinalAnswer::Accepted, FinalAnswer::Accepted]));
    assert_eq!(matcher.foreign_messages(), 1);
    assert_eq!(
        matcher.missing().map(|missing| (missing.seq, missing.recipient)).collect::<Vec<_>>(),
        [(4, 0)]
    );
    // A rewritten address counts as the recipient that is missing.
    matcher.delivered(4, None, ms(2), false);
    assert_eq!((matcher.queued(), matcher.phase_counts(0).duplicated), (0, 0));
}

/// What happens to one recipient of a message whose addresses a relay rewrites in part.
#[derive(Clone, Copy, Debug)]
struct Rewritten {
    is_refused: bool,
    is_rewritten: bool,
    bounces: bool,
}

proptest! {
    #[test]
    fn recipients_are_counted_once_whichever_of_them_the_relay_rewrites_and_whenever_they_come_out(
        fates in prop::collection::vec(any::<[bool; 3]>(), 1..6),
        order in Just((0..6_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let fates: Vec<Rewritten> = fates
            .into_iter()
            .map(|[is_refused, is_rewritten, bounces]| Rewritten { is_refused, is_rewritten, bounces })
            .collect();
        let form = MessageForm { recipients: fates.len() as u32, is_retried: false, phases: 1 };
        let mut matcher = Matcher::new(form);
        let answers: Vec<FinalAnswer> = fates
            .iter()
            .map(|fate| if fate.is_refused { FinalAnswer::Refused } else { FinalAnswer::Accepted })
            .collect();
        // The number behind the last recipient stands for the end of the transaction.
        for index in order.into_iter().filter(|index| *index <= fates.len()) {
            let Some(fate) = fates.get(index) else {
                matcher.answered(&transaction(1, &answers));
                continue;
            };
            let recipient = (!fate.is_rewritten).then_some(index as u32);
            match *fate {
                Rewritten { is_refused: true, .. } => {}
                Rewritten { bounces: true, .. } => matcher.bounced(1, recipient, ms(20 + index as u64)),
                Rewritten { .. } => matcher.delivered(1, recipient, ms(20 + index as u64), false),
            }
        }
        let of = |is: &dyn Fn(&Rewritten) -> bool| fates.iter().filter(|fate| !fate.is_refused && is(fate)).count() as u64;
        let counts = DeliveryCounts {
            accepted: of(&|_| true),
            delivered: of(&|fate| !fate.bounces),
            bounced: of(&|fate| fate.bounces),
            ..DeliveryCounts::default()
        };
        prop_assert_eq!(matcher.phase_counts(0), counts);
        prop_assert_eq!((matcher.queued(), matcher.foreign_messages()), (0, 0));
    }
}

#[test]
fn rewritten_recipients_that_a_later_attempt_accepts_are_counted_once_whatever_came_first() {
    use FinalAnswer::{Accepted, Refused};
    enum Step {
        Answers([FinalAnswer; 2]),
        Copy,
    }
    use Step::{Answers, Copy};
    let orders = [
        vec![Answers([Refused, Refused]), Copy, Copy, Answers([Accepted, Accepted])],
        vec![Answers([Accepted, Refused]), Copy, Copy, Answers([Refused, Accepted])],
        vec![
            Copy,
            Answers([Refused, Refused]),
            Answers([Refused, Accepted]),
            Answers([Accepted, Refused]),
            Copy,
        ],
        vec![Copy, Copy, Answers([Refused, Accepted]), Answers([Accepted, Accepted])],
    ];
    for (index, order) in orders.into_iter().enumerate() {
        let mut matcher = Matcher::new(MessageForm { recipients: 2, is_retried: true, phases: 1 });
        for step in order {
            match step {
                Answers(answers) => matcher.answered(&transaction(3, &answers)),
                Copy => matcher.delivered(3, None, ms(90), false),
            }
        }
        let counts = DeliveryCounts { accepted: 2, delivered: 2, ..DeliveryCounts::default() };
        assert_eq!(matcher.phase_counts(0), counts, "{index}");
        assert_eq!(matcher.queued(), 0);
    }
}

#[test]
fn a_recipient_that_a_later_attempt_accepts_has_the_times_of_that_one_and_the_others_keep_theirs() {
    let mut matcher = Matcher::new(MessageForm { recipients: 2, is_retried: true, phases: 1 });
    let of_attempt = |answered, answers: [FinalAnswer; 2]| Transaction {
        answered: ms(answered),
        intended: ms(0),
        ..transaction(3, &answers)
    };
    matcher.answered(&of_attempt(10, [FinalAnswer::Accepted, FinalAnswer::Refused]));
    matcher.answered(&of_attempt(1000, [FinalAnswer::Refused, FinalAnswer::Accepted]));
    let answered: Vec<Duration> = matcher.missing().map(|missing| missing.answered).collect();
    assert_eq!(answered, [ms(10), ms(1000)]);
    matcher.delivered(3, Some(1), ms(1500), false);
    matcher.delivered(3, Some(0), ms(2010), false);
    let counts = matcher.phase_counts(0);
    assert_eq!((counts.accepted, counts.delivered, counts.unexpected, counts.duplicated), (2, 2, 0, 0));
    let told = matcher.recorder().snapshot(0, Gauges::default(), false).tally;
    let hist = |metric| &told.phases[0].hists[&(metric, Outcome::Accepted)];
    assert_eq!(
        (hist(Metric::Transit).min_ns(), hist(Metric::Transit).max_ns()),
        (500_000_000, 2_000_000_000)
    );
    assert!(hist(Metric::Delivery).min_ns().abs_diff(1_500_000_000) < 1_000, "from the first attempt");
}

#[test]
fn a_recipient_that_comes_out_although_it_was_deferred_is_expected_once_a_later_attempt_accepts_it() {
    let mut matcher = Matcher::new(MessageForm { is_retried: true, ..ONE });
    matcher.answered(&transaction(2, &[FinalAnswer::Refused]));
    matcher.delivered(2, Some(0), ms(50), false);
    assert_eq!(matcher.phase_counts(0).unexpected, 1);
    matcher.answered(&transaction(2, &[FinalAnswer::Accepted]));
    matcher.delivered(2, Some(0), ms(90), false);
    let counts = matcher.phase_counts(0);
    assert_eq!((counts.unexpected, counts.delivered, counts.duplicated, counts.missing), (0, 1, 1, 0));
}

#[test]
fn settled_pages_keep_no_times() {
    let mut matcher = Matcher::new(ONE);
    for seq in 0..PAGE {
        matcher.answered(&transaction(seq, &[FinalAnswer::Accepted]));
    }
    assert!(matcher.pages[&0].times.is_some());
    for seq in 0..PAGE {
        matcher.delivered(seq, Some(0), ms(100_000), false);
    }
    assert!(matcher.pages[&0].times.is_none());
    matcher.delivered(5, Some(0), ms(100_000), false);
    assert_eq!(matcher.phase_counts(0).duplicated, 1);
    assert_eq!((size_of::<MessageTimes>(), size_of::<RecipientState>()), (16, 1));
}

#[test]
fn numbers_that_were_never_sent_cost_little_and_are_unexpected() {
    let mut matcher = Matcher::new(ONE);
    for n in 0..10_000_u64 {
        let made_up = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        matcher.delivered(made_up, Some(0), ms(1), false);
        matcher.bounced(!made_up, Some(0), ms(1));
        matcher.delivered(made_up, None, ms(2), false);
    }
    assert_eq!((matcher.pages.len(), matcher.foreign_messages()), (0, 0));
    let counts = matcher.phase_counts(0);
    assert_eq!((counts.unexpected, counts.duplicated, matcher.outstanding()), (10_000, 10_000, 0));
    let room = MOST_EARLY - matcher.early.len();
    for n in 0..room as u64 + 10 {
        matcher.delivered((n + 1) << 32, Some(0), ms(1), false);
    }
    assert_eq!((matcher.early.len(), matcher.foreign_messages()), (MOST_EARLY, 10));
}

#[test]
fn a_recipient_that_bounced_and_is_delivered_later_counts_as_delivered_where_it_was_accepted() {
    let mut matcher = Matcher::new(ONE);
    (0..3).for_each(|seq| matcher.answered(&transaction(seq, &[FinalAnswer::Accepted])));
    matcher.delivered(0, Some(0), ms(1_100), false);
    matcher.bounced(0, Some(0), ms(1_200));
    matcher.bounced(1, Some(0), ms(1_300));
    let at = Duration::from_secs(1);
    let found = |matcher: &Matcher| {
        let stretch = matcher.flow().accepted_in(Duration::ZERO, at);
        (stretch.accepted, stretch.delivered, stretch.bounced, stretch.missing())
    };
    assert_eq!(found(&matcher), (3, 1, 1, 1));
    // The bounced recipient may be the last one of its page.
    matcher.delivered(2, Some(0), ms(1_350), false);
    matcher.delivered(1, Some(0), ms(1_400), false);
    matcher.bounced(1, Some(0), ms(1_500));
    assert_eq!(found(&matcher), (3, 3, 0, 0));
    let counts = matcher.phase_counts(0);
    assert_eq!((counts.delivered, counts.bounced, counts.bounced_and_delivered), (3, 0, 2));
    assert!(matcher.pages[&0].times.is_none());
}

#[test]
fn a_bounce_before_the_answer_is_matched_later() {
    let mut matcher = Matcher::new(ONE);
    matcher.bounced(3, Some(0), ms(5));
    matcher.answered(&transaction(3, &[FinalAnswer::Accepted]));
    let counts = matcher.phase_counts(0);
    assert_eq!((counts.accepted, counts.bounced, counts.missing), (1, 1, 0));
    assert_eq!(matcher.queued(), 0);
}

/// Returns the bytes on the heap, without the overhead of the tree's nodes and of the allocator.
fn heap(matcher: &Matcher) -> usize {
    let page = |page: &Page| {
        size_of_val(&*page.states)
            + size_of_val(&*page.phases)
            + page.times.as_ref().map_or(0, |times| size_of_val(&**times))
    };
    matcher.pages.values().map(page).sum::<usize>() + matcher.early.capacity() * (size_of::<Early>() + 17)
}

// With 24 bytes for each accepted message, ten million messages take 229 MiB.
#[test]
fn a_million_messages_that_are_all_missing_cost_less_than_24_bytes_each() {
    const MILLION: u64 = 1_000_000;
    let mut matcher = Matcher::new(ONE);
    for seq in 0..MILLION {
        matcher.answered(&transaction(seq, &[FinalAnswer::Accepted]));
    }
    assert!(heap(&matcher) < 24 * MILLION as usize, "{}", heap(&matcher));
    for seq in 0..MILLION {
        matcher.delivered(seq, Some(0), ms(100_000), false);
    }
    assert!(heap(&matcher) < 4 * MILLION as usize, "{}", heap(&matcher));
    assert_eq!(matcher.phase_counts(0).delivered, MILLION);
}

/// An event of one recipient.
#[derive(Clone, Debug)]
enum Event {
    Answered(FinalAnswer),
    Delivered(bool),
    Bounced,
}

fn events() -> impl Strategy<Value = Vec<(u64, Event)>> {
    let event = prop_oneof![
        3 => prop_oneof![Just(FinalAnswer::Accepted), Just(FinalAnswer::InDoubt), Just(FinalAnswer::Refused)].prop_map(Event::Answered),
        4 => any::<bool>().prop_map(Event::Delivered),
        1 => Just(Event::Bounced),
    ];
    proptest::collection::vec((0..2 * PAGE, event), 0..60)
        .prop_map(|events| events.into_iter().map(|(seq, event)| (seq / (PAGE / 4), event)).collect())
}

/// The account of one recipient: its answer, its copies (whether each was altered), and whether it bounced.
type Plain = (Option<FinalAnswer>, Vec<bool>, bool);

/// Whether a recipient counts.
type OfOne<'a> = dyn Fn(Option<FinalAnswer>, &[bool], bool) -> bool + 'a;

proptest! {
    /// M31: the counts reconcile and equal those of a simple account, for any order of both sides.
    #[test]
    fn m31_counts_are_those_of_a_plain_account(events in events()) {
        let mut matcher = Matcher::new(ONE);
        let mut account: BTreeMap<u64, Plain> = BTreeMap::new();
        for (seq, event) in &events {
            let own = account.entry(*seq).or_default();
            match event {
                Event::Answered(answer) => {
                    own.0 = Some(own.0.map_or(*answer, |known| if (known as u8) < *answer as u8 { known } else { *answer }));
                    matcher.answered(&transaction(*seq, &[*answer]));
                }
                Event::Delivered(is_altered) => {
                    own.1.push(*is_altered);
                    matcher.delivered(*seq, Some(0), ms(1_000_000), *is_altered);
                }
                Event::Bounced => {
                    own.2 = true;
                    matcher.bounced(*seq, Some(0), ms(1_000_000));
                }
            }
        }
        let counts = matcher.phase_counts(0);
        let number = |of: &OfOne<'_>| {
            account.values().filter(|(answer, copies, bounced)| of(*answer, copies, *bounced)).count() as u64
        };
        for (answer, [all, delivered, bounced, missing]) in [
            (FinalAnswer::Accepted, [counts.accepted, counts.delivered, counts.bounced, counts.missing]),
            (FinalAnswer::InDoubt, [counts.in_doubt, counts.in_doubt_delivered, counts.in_doubt_bounced, counts.in_doubt_missing]),
        ] {
            prop_assert_eq!(all, delivered + bounced + missing);
            prop_assert_eq!(all, number(&|told, _, _| told == Some(answer)));
            prop_assert_eq!(delivered, number(&|told, copies, _| told == Some(answer) && !copies.is_empty()));
            prop_assert_eq!(bounced, number(&|told, copies, bounced| told == Some(answer) && copies.is_empty() && bounced));
        }
        prop_assert_eq!(counts.unexpected, number(&|told, copies, _| !matches!(told, Some(FinalAnswer::Accepted | FinalAnswer::InDoubt)) && !copies.is_empty()));
        prop_assert_eq!(counts.altered, number(&|told, copies, _| told.is_some() && copies.first() == Some(&true)));
        prop_assert_eq!(counts.duplicated, account.values().map(|own| own.1.len().saturating_sub(1) as u64).sum::<u64>());
        prop_assert_eq!(matcher.flow().queued_at(ms(2_000_000)), matcher.queued());
        let AcceptedStretch { accepted, delivered, bounced } = matcher.flow().accepted_in(Duration::ZERO, Duration::MAX);
        prop_assert_eq!((accepted, delivered, bounced), (counts.accepted, counts.delivered, counts.bounced));
        prop_assert_eq!(matcher.queued(), matcher.missing().count() as u64);
    }
}
