//! Tests of the order of trials, of several goals, ceilings and stored searches, with expected values computed by hand.

use super::*;

fn rules() -> SearchRules {
    SearchRules {
        start: 20.0,
        max: 5000.0,
        width: 0.05,
        whole: false,
        ceiling: None,
        weights: GoalWeights { full_s: 20.0, sum_s: 60.0, exceed: 0.5 },
        confirm_s: 60.0,
        goals: 1,
    }
}

/// Runs a search to its end. `up_to`: the load up to which each goal is met. Returns the trials as (load, seconds, reason).
fn play(controller: &mut Controller, up_to: &[f64]) -> Vec<(f64, f64, &'static str)> {
    let mut made = Vec::new();
    while let Some(ask) = controller.next() {
        made.push((ask.load, ask.seconds, ask.why.as_str()));
        tell(controller, ask, up_to);
    }
    made
}

fn tell(controller: &mut Controller, ask: NextTrial, up_to: &[f64]) {
    let judge = |limit: &f64| {
        let good = ask.load <= *limit;
        TrialVerdict { good, ratio: if good { 0.0 } else { 0.5 }, doubtful: false }
    };
    let judged = Some(up_to.iter().map(judge).collect());
    controller.tell(TrialResult { load: ask.load, seconds: ask.seconds, judged });
}

#[test]
fn it_doubles_halves_the_gap_classifies_both_ends_and_confirms() {
    let mut controller = Controller::new(rules());
    let made = play(&mut controller, &[400.0]);
    let expected = [
        (20.0, 20.0, "start"),
        (40.0, 20.0, "double"),
        (80.0, 20.0, "double"),
        (160.0, 20.0, "double"),
        (320.0, 20.0, "double"),
        (640.0, 20.0, "double"),
        (640.0, 20.0, "classify"),
        (452.5, 20.0, "bisect"),
        (452.5, 20.0, "classify"),
        (380.5, 20.0, "bisect"),
        (414.9, 20.0, "bisect"),
        (414.9, 20.0, "classify"),
        (397.3, 20.0, "bisect"),
        // Both ends get more trials: the upper end until it is settled, the lower end until it is confirmed.
        (397.3, 20.0, "classify"),
        (414.9, 20.0, "classify"),
        (414.9, 20.0, "classify"),
        (397.3, 60.0, "confirm"),
    ];
    assert_eq!(made, expected);
    let found = controller.bounds(0);
    assert_eq!((found.lower, found.upper), (Some(397.3), Some(414.9)));
    assert_eq!((found.throughput, found.confirmed, found.inverted), (Some(397.3), true, false));
    assert_eq!(found.ending, GoalEnd::Found);
}

#[test]
fn several_goals_share_all_trials_and_the_lowest_load_comes_first() {
    let mut both = Controller::new(SearchRules { goals: 2, ..rules() });
    let made = play(&mut both, &[100.0, 400.0]);
    let single = |limit: f64| {
        let mut one = Controller::new(rules());
        (play(&mut one, &[limit]).len(), one.bounds(0))
    };
    let (strict, loose) = (single(100.0), single(400.0));
    assert_eq!((both.bounds(0), both.bounds(1)), (strict.1, loose.1), "what one finds alone");
    assert!(made.len() < strict.0 + loose.0 - 3, "{} trials, alone {} and {}", made.len(), strict.0, loose.0);
    // The search goes on to higher loads for the loose goal only after the search for the strict goal has ended.
    let confirmed = made.iter().position(|(_, seconds, _)| *seconds == 60.0).unwrap();
    assert!(made[..confirmed].iter().all(|(load, ..)| *load <= 160.0), "{made:?}");
}

#[test]
fn a_start_that_is_too_high_is_left_downwards() {
    let mut controller = Controller::new(rules());
    let made = play(&mut controller, &[3.0]);
    assert_eq!(
        made[..4],
        [(20.0, 20.0, "start"), (20.0, 20.0, "classify"), (5.0, 20.0, "down"), (5.0, 20.0, "classify"),]
    );
    let found = controller.bounds(0);
    assert!(found.lower.unwrap() > 2.8 && found.upper.unwrap() < 3.2, "{found:?}");
    let mut hopeless = Controller::new(rules());
    play(&mut hopeless, &[0.0]);
    let found = hopeless.bounds(0);
    assert_eq!((found.lower, found.upper, found.ending), (None, Some(0.3125), GoalEnd::NoneGood));
}

#[test]
fn a_goal_that_the_greatest_load_meets_has_no_upper_bound() {
    let mut controller = Controller::new(SearchRules { max: 100.0, ..rules() });
    let made = play(&mut controller, &[1e9]);
    let loads: Vec<f64> = made.iter().map(|(load, ..)| *load).collect();
    assert_eq!(loads, [20.0, 40.0, 80.0, 100.0, 100.0, 100.0]);
    let found = controller.bounds(0);
    assert_eq!((found.lower, found.upper, found.ending), (Some(100.0), None, GoalEnd::MaxReached));
}

#[test]
fn the_generators_own_ceiling_is_never_told_as_the_listeners() {
    let mut controller = Controller::new(SearchRules { ceiling: Some(90.0), ..rules() });
    let made = play(&mut controller, &[1e9]);
    assert!(made.iter().all(|(load, ..)| *load <= 90.0));
    let found = controller.bounds(0);
    assert_eq!((found.lower, found.upper, found.ending), (Some(90.0), None, GoalEnd::GeneratorLimited));
    // A ceiling above the maximum load has no effect.
    let mut controller = Controller::new(SearchRules { ceiling: Some(90.0), max: 80.0, ..rules() });
    play(&mut controller, &[1e9]);
    assert_eq!(controller.bounds(0).ending, GoalEnd::MaxReached);
}

#[test]
fn a_trial_that_this_machine_spoilt_is_made_again_and_says_nothing() {
    let mut controller = Controller::new(rules());
    let ask = controller.next().unwrap();
    let spoil = |controller: &mut Controller, ask: NextTrial| {
        controller.tell(TrialResult { load: ask.load, seconds: ask.seconds, judged: None });
    };
    spoil(&mut controller, ask);
    assert_eq!(controller.next().unwrap().load, 20.0);
    spoil(&mut controller, ask);
    let again = controller.next().unwrap();
    assert_eq!(again.load, 20.0);
    tell(&mut controller, again, &[400.0]);
    assert_eq!(controller.next().unwrap().load, 40.0, "two hiccups are no ceiling");
    assert_eq!(controller.class(0, 20.0), LoadClass::Undecided);
    let after = play(&mut controller, &[400.0]);
    assert_eq!(controller.bounds(0).ending, GoalEnd::Found, "{after:?}");
}

#[test]
fn a_lower_bound_that_is_not_confirmed_is_asked_again_or_given_up() {
    let mut controller = Controller::new(rules());
    while let Some(ask) = controller.next() {
        // Long trials are bad above 300, as with a listener that becomes slower over time.
        let limit = if ask.seconds > 20.0 { 300.0 } else { 400.0 };
        tell(&mut controller, ask, &[limit]);
    }
    let found = controller.bounds(0);
    assert!(found.confirmed && found.lower.unwrap() <= 300.0, "{found:?}");
}

#[test]
fn a_stored_search_goes_on_where_it_was_and_repeats_nothing() {
    let mut whole = Controller::new(SearchRules { goals: 2, ..rules() });
    let made = play(&mut whole, &[100.0, 400.0]);
    for stop in 0..made.len() {
        let mut first = Controller::new(SearchRules { goals: 2, ..rules() });
        for _ in 0..stop {
            let ask = first.next().unwrap();
            tell(&mut first, ask, &[100.0, 400.0]);
        }
        let stored = serde_json::to_string(&first).unwrap();
        let mut resumed: Controller = serde_json::from_str(&stored).unwrap();
        assert_eq!(play(&mut resumed, &[100.0, 400.0]), made[stop..], "stopped after {stop}");
        assert_eq!(resumed, whole);
    }
}

#[test]
fn loads_have_few_digits() {
    for (load, expected) in
        [(452.548, "452.5"), (0.312_54, "0.3125"), (123_456.0, "123500"), (99_999.0, "100000")]
    {
        assert_eq!(rounded(load).to_string(), expected);
    }
    let whole = Controller::new(SearchRules { whole: true, ..rules() });
    assert_eq!((whole.steps().round)(17.6), 18.0);
}

#[test]
fn a_doubtful_confirmation_is_asked_a_second_time() {
    let play = |doubtful: &dyn Fn(usize) -> bool| {
        let mut controller = Controller::new(SearchRules { max: 40.0, ..rules() });
        let mut long = 0;
        while let Some(ask) = controller.next() {
            long += usize::from(ask.why == Why::Confirm);
            let doubtful = ask.why == Why::Confirm && doubtful(long);
            let judged = Some(vec![TrialVerdict { good: true, ratio: 0.0, doubtful }]);
            controller.tell(TrialResult { load: ask.load, seconds: ask.seconds, judged });
        }
        (long, controller.bounds(0).confirmed)
    };
    assert_eq!(play(&|_| false), (1, true));
    assert_eq!(play(&|_| true), (2, true));
    assert_eq!(play(&|long| long == 1), (2, true));
}

/// A load gets a trial of the confirming length, also if it had the largest number of trials before.
#[test]
fn a_lower_bound_that_took_all_its_trials_is_still_confirmed() {
    let mut controller = Controller::new(SearchRules { max: 20.0, confirm_s: 60.0, ..rules() });
    for n in 0..20 {
        let judged = Some(vec![TrialVerdict { good: n % 5 < 3, ratio: 0.0, doubtful: false }]);
        controller.tell(TrialResult { load: 20.0, seconds: 20.0, judged });
    }
    let ask = controller.next().unwrap();
    assert_eq!((ask.load, ask.seconds, ask.why), (20.0, 60.0, Why::Confirm));
}
