//! Tests of the conditions under which a phase did not do the work that was asked for.

use proptest::prelude::*;

use super::*;
use crate::generator::dispatch::tests::{phase, plan};
use crate::load::{Curve, Spacing, Think};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const COURSE: PhaseWindow = PhaseWindow {
    start: Duration::ZERO,
    end: Duration::from_secs(10),
    scheduled: 1000,
    held_back: false,
    vanished: false,
};

/// Returns the tail of a phase of ten seconds. `workers`: the arrivals of each worker, with their scheduled time and
/// whether they were answered.
fn tail_of(workers: &[&[(u64, bool)]]) -> Option<(u64, Duration)> {
    let notes: Vec<Notes> = workers
        .iter()
        .map(|arrivals| {
            let mut notes = Notes::new(1);
            for (at, answered) in *arrivals {
                let outcome = if *answered { Outcome::Accepted } else { Outcome::Refused };
                notes.ended(0, ms(*at), outcome, Some(Condition::ConnectRefused));
            }
            notes
        })
        .collect();
    tail(&notes.iter().map(|notes| &notes.0[0]).collect::<Vec<_>>(), COURSE)
}

#[test]
fn the_listener_has_gone_when_the_last_arrivals_met_none() {
    assert_eq!(tail_of(&[&[(9980, true), (9990, false), (9995, false)]]), Some((2, ms(9990))));
    // A single arrival proves nothing, unless it was scheduled before the last 1 % of the time.
    assert_eq!(tail_of(&[&[(9980, true), (9990, false)]]), None);
    assert_eq!(tail_of(&[&[(5000, true), (9900, false)]]), Some((1, ms(9900))));
    // The failed arrivals were scheduled before an answered arrival, in whatever order they ended.
    assert_eq!(tail_of(&[&[(9990, false), (9991, false), (9992, true)]]), None);
    assert_eq!(tail_of(&[&[(9992, true), (9990, false), (9991, false)]]), None);
    // In a burst all arrivals are scheduled at once.
    assert_eq!(tail_of(&[&[(9000, true), (9000, false), (9000, false)]]), None);
    // Another thread was served to the end.
    assert_eq!(tail_of(&[&[(9000, false), (9001, false)], &[(9999, true)]]), None);
    assert_eq!(tail_of(&[&[(9000, false)], &[(8000, true), (9001, false)]]), Some((2, ms(9000))));
    assert_eq!(tail_of(&[&[], &[]]), None);
}

/// More arrivals failed than times are kept, and an arrival that was scheduled between them is answered at last.
#[test]
fn arrivals_that_are_only_counted_are_earlier_or_later_than_the_answered_one() {
    let most = KEPT as u64;
    let failures = |from: u64, count: u64| (0..count).map(move |n| (from + n % 900, false));
    let ended = |order: [(u64, u64); 2], answered: u64| {
        let failed = order.into_iter().flat_map(|(from, count)| failures(from, count));
        tail_of(&[&failed.chain([(answered, true)]).collect::<Vec<_>>()])
    };
    assert_eq!(ended([(9000, most), (1000, 500)], 8000), Some((most, ms(9000))));
    assert_eq!(ended([(1000, 500), (9000, most)], 8000), Some((most, ms(9000))));
    assert_eq!(ended([(9000, most), (1000, 500)], 500), Some((most + 500, ms(1000))));
    assert_eq!(ended([(6000, most), (4000, most)], 3000), Some((2 * most, ms(4000))));
    assert_eq!(ended([(6000, most), (4000, most)], 9990), None);
    // The answered arrival is that of another worker.
    let failed: Vec<_> = failures(9000, most).chain(failures(1000, 500)).collect();
    assert_eq!(tail_of(&[&failed, &[(8000, true)]]), Some((most, ms(9000))));
}

/// The last arrival is not served, and no later arrival shows whether the listener is still there.
#[test]
fn the_last_arrival_alone_leaves_it_open_whether_anybody_listens() {
    let noted = |arrivals: &[(u64, Outcome)]| {
        let mut notes = Notes::new(1);
        for (at, outcome) in arrivals {
            notes.ended(0, ms(*at), *outcome, Some(Condition::ConnectRefused));
        }
        [notes]
    };
    let (served, gone) = (Outcome::Accepted, Outcome::Dropped);
    assert!(is_open_question(0, COURSE, &noted(&[(9980, served), (9990, gone)])));
    for clear in [
        &[(9980, served), (9990, served)][..],
        &[(9980, gone), (9990, served)],
        &[(9980, served), (9990, gone), (9995, gone)],
        &[(5000, served), (9900, gone)],
        &[],
    ] {
        assert!(!is_open_question(0, COURSE, &noted(clear)), "{clear:?}");
    }
    // In a burst all arrivals are scheduled at once, so the last one is unknown.
    for arrivals in [[(9000, served), (9000, gone)], [(9000, gone), (9000, served)]] {
        assert!(is_open_question(0, COURSE, &noted(&arrivals)));
    }
    let load = LoadModel::Rate { curve: Curve::constant(100.0), spacing: Spacing::Uniform };
    let plan = plan(vec![phase(load, Some(10_000), Unit::Message, 10)]);
    let notes = noted(&[(9980, served), (9990, gone)]);
    assert!(work(&plan, 0, COURSE, &notes).is_done(), "a listener answers: it was a hiccup");
    let short = work(&plan, 0, PhaseWindow { vanished: true, ..COURSE }, &notes);
    assert_eq!((short.asked, short.done), (1000, 999));
    assert_eq!(short.why.as_deref(), Some("the last one, from 9.99 s on, was not served"));
}

#[test]
fn a_refusal_in_words_is_an_answer_and_silence_is_none() {
    let ended = |outcome, cause| {
        let mut notes = Notes::new(1);
        notes.ended(0, ms(1), outcome, cause);
        notes.ended(0, ms(2), outcome, cause);
        tail(&[&notes.0[0]], COURSE).map(|(count, _)| count)
    };
    for (outcome, cause) in [
        (Outcome::Refused, Condition::TooManyConnections),
        (Outcome::Refused, Condition::TlsFailure),
        (Outcome::Deferred, Condition::Greylisted),
        (Outcome::Expected, Condition::ConnectRefused),
        (Outcome::Malformed, Condition::MalformedReply),
        (Outcome::Shed, Condition::OutOfPorts),
    ] {
        assert_eq!(ended(outcome, Some(cause)), None, "{outcome} {cause}");
    }
    for (outcome, cause) in [
        (Outcome::Refused, Some(Condition::ConnectRefused)),
        (Outcome::Refused, Some(Condition::ResetBeforeGreeting)),
        (Outcome::TimedOut, Some(Condition::NoGreeting)),
        (Outcome::Dropped, Some(Condition::ConnectionReset)),
        (Outcome::InDoubt, Some(Condition::LostAfterDot)),
        (Outcome::Interrupted, None),
    ] {
        assert_eq!(ended(outcome, cause), Some(2), "{outcome} {cause:?}");
    }
}

#[test]
fn what_a_host_that_is_gone_was_to_hold_is_not_known_to_be_held() {
    let work_of = |load: LoadModel, unheard: &[&[u64]]| {
        let plan = plan(vec![phase(load, Some(10_000), Unit::Session, 50)]);
        let notes: Vec<Notes> = unheard
            .iter()
            .map(|times| {
                let mut notes = Notes::new(1);
                notes.ended(0, ms(9999), Outcome::Accepted, None);
                times.iter().for_each(|since| notes.unheard(0, ms(*since)));
                notes
            })
            .collect();
        work(&plan, 0, COURSE, &notes)
    };
    let curve = || Curve::constant(100.0);
    let loads = [
        (LoadModel::Held { sessions: 1000, rate: f64::INFINITY }, 1000, 998),
        (LoadModel::Rate { curve: curve(), spacing: Spacing::Uniform }, 1000, 998),
        (LoadModel::Shared { total: 1000, sessions: 5, think: Think::default() }, 1000, 998),
        // The work counts up to the last packet.
        (LoadModel::Sessions { curve: curve(), think: Think::default() }, 10_000_000_000, 400_000_000),
    ];
    for (load, asked, done) in loads {
        let held = work_of(load.clone(), &[&[], &[]]);
        assert_eq!((held.done, held.why), (asked, None), "{load:?}");
        for unheard in [&[&[700, 400][..], &[]], &[&[400], &[700]]] {
            let work = work_of(load.clone(), unheard);
            assert_eq!((work.asked, work.done), (asked, done), "{load:?}");
            assert_eq!(work.short_since, Some(ms(400)));
            let why = "the host of 2 held sessions no longer answers: its last packet came at 0.40 s";
            assert_eq!(work.why.as_deref(), Some(why), "{load:?}");
        }
    }
}

/// A listener that serves five of ten sessions does not stand still, on any number of threads.
#[test]
fn a_load_stands_still_while_all_of_its_threads_do() {
    let plan = plan(vec![phase(
        LoadModel::Sessions { curve: Curve::constant(10.0), think: Think::default() },
        Some(10_000),
        Unit::Message,
        10,
    )]);
    let done = |workers: &[(bool, &[(u64, u64)])]| {
        let notes: Vec<Notes> = workers
            .iter()
            .map(|(served, standstills)| {
                let mut notes = Notes::new(1);
                if *served {
                    notes.ended(0, ms(9_999), Outcome::Accepted, None);
                }
                standstills.iter().for_each(|(since, until)| notes.stood_still(0, ms(*since), ms(*until)));
                notes
            })
            .collect();
        let work = work(&plan, 0, COURSE, &notes);
        (work.done / 1_000_000, work.why)
    };
    assert_eq!(done(&[(true, &[]), (true, &[(0, 9_000)])]), (10_000, None), "the other thread is served");
    let (left, why) = done(&[(true, &[(1_000, 4_000)]), (true, &[(2_000, 9_000)])]);
    assert_eq!(left, 8_000);
    assert_eq!(why.as_deref(), Some("for 2.00 s in all no session could be opened"));
    let one = done(&[(true, &[(1_000, 4_000)])]);
    assert_eq!(one.0, 7_000);
    assert_eq!(
        done(&[(true, &[(1_000, 4_000)]), (false, &[])]),
        one,
        "the other thread has no share of the load"
    );
}

proptest! {
    /// The tail holds the arrivals after the last answer, kept or only counted, in whatever order they ended.
    #[test]
    fn the_tail_is_what_is_due_after_the_last_answer(
        mut arrivals in prop::collection::vec((0_u64..9900, any::<bool>()), 0..60),
        seed: u64,
    ) {
        let answered = arrivals.iter().filter(|(_, answered)| *answered).map(|(at, _)| *at).max();
        let gone: Vec<u64> = arrivals
            .iter()
            .filter(|(at, good)| !good && answered.is_none_or(|last| *at > last))
            .map(|(at, _)| *at)
            .collect();
        let must = gone.iter().min().map(|since| (gone.len() as u64, ms(*since)));
        let turn = usize::try_from(seed % 60).unwrap() % arrivals.len().max(1);
        arrivals.rotate_left(turn);
        prop_assert_eq!(tail_of(&[&arrivals]), must);
        let (some, others) = arrivals.split_at(arrivals.len() / 2);
        prop_assert_eq!(tail_of(&[some, others]), must, "whichever worker saw them");
    }
}
