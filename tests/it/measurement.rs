//! The rules of measurement, and the tests that hold them.
//!
//! Every number that smtpress prints rests on these rules. [`RULES`] says for each what it demands and which tests would turn
//! red if it were broken; the tests below keep the table true. A test of one rule alone begins with the rule's name.
//!
//! `smtpress selftest` proves M1, M3 to M5, M10 and M25 again on the user's own machine; that its scenes can fail is held by
//! `tests/it/selftest.rs`, with a generator that counts from the wrong moment.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A rule: its name, what it demands, and the tests that hold it, each as its file and its name.
type Rule = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const ANCHOR: &str = "tests/it/runs/anchor.rs";
const BOOKS: &str = "tests/it/runs/books.rs";
const TIMELINE: &str = "src/report/html/timeline.rs";
const GROWING_TIMELINE: &str = "src/telemetry/timeline.rs";
const ENDS: &str = "tests/it/runs/ends.rs";
const EVIDENCE: &str = "src/verdict/evidence.rs";
const FAULTS: &str = "tests/it/runs/faults.rs";
const FOUND: &str = "tests/it/limits/found.rs";
const LONG: &str = "tests/it/runs/long.rs";
const MERGE: &str = "src/report/merge/tests.rs";
const OCCUPANCY: &str = "tests/it/runs/occupancy.rs";
const QUANTILE: &str = "src/collector/histogram/quantile.rs";
const REAL_FAULTS: &str = "tests/real/faults.rs";
const SELFTEST: &str = "tests/it/selftest.rs";
const SUMMARY: &str = "src/collector/summary/tests.rs";

const RULES: &[Rule] = &[
    (
        "M1",
        "a stall is in the response time of all that was due in it",
        &[
            (ANCHOR, "m1_a_stall_is_in_the_response_times_of_all_that_were_due_in_it"),
            (LONG, "m1_to_m4_and_m6_at_full_length"),
            (REAL_FAULTS, "a_sink_that_stands_still_for_a_second_loses_nothing_and_the_second_is_seen"),
        ],
    ),
    (
        "M2",
        "a stall of half the time: p90 is four fifths of it",
        &[
            (ANCHOR, "m2_a_stall_of_half_the_time"),
            (LONG, "m1_to_m4_and_m6_at_full_length"),
            (REAL_FAULTS, "m2_a_sink_that_stands_still_for_half_of_the_time"),
            (REAL_FAULTS, "m2_a_postfix_that_stands_still_for_half_of_the_time"),
        ],
    ),
    (
        "M3",
        "a cap on sessions moves the wait into the response, not into the service time",
        &[
            (ANCHOR, "m3_a_cap_on_sessions_does_not_move_the_anchor"),
            (LONG, "m1_to_m4_and_m6_at_full_length"),
            (SELFTEST, "the_capped_stall_catches_an_anchor_at_the_start"),
        ],
    ),
    (
        "M4",
        "a queue with a known answer is measured exactly",
        &[
            (ANCHOR, "m4_a_queue_is_measured_exactly"),
            (LONG, "m1_to_m4_and_m6_at_full_length"),
            (SELFTEST, "the_exact_queue_catches_an_anchor_at_the_start"),
        ],
    ),
    (
        "M5",
        "the generator's own stall is lag, is in the response, and makes the run invalid",
        &[
            (ANCHOR, "m5_our_own_stall_is_not_hidden"),
            ("tests/it/commands/runs.rs", "a_generator_that_stood_still_makes_the_measurement_invalid"),
            (SELFTEST, "the_blocked_generator_catches_an_anchor_at_the_start"),
        ],
    ),
    (
        "M5b",
        "a generator that stood still or was throttled makes any load invalid",
        &[
            (
                "src/collector/summary/validity/hindered.rs",
                "m5b_bounds_of_the_loop_delay_are_50_ms_in_p99_and_250_ms_once",
            ),
            ("src/collector/summary/validity/hindered.rs", "m5b_stopped_for_half_of_the_time_in_short_stops"),
            (
                "src/collector/summary/validity/hindered.rs",
                "m5b_another_process_on_its_core_and_not_a_listener_that_hands_it_back",
            ),
            ("src/collector/summary/validity/hindered.rs", "m5b_throttled_by_its_quota_or_by_the_hypervisor"),
        ],
    ),
    (
        "M6",
        "the k-th start is a closed form of t0: no drift",
        &[
            ("src/load/arrival.rs", "m6_a_constant_rate_does_not_drift"),
            (ANCHOR, "m6_the_number_of_arrivals_is_exact"),
            (LONG, "m1_to_m4_and_m6_at_full_length"),
        ],
    ),
    (
        "M7",
        "a ramp has the arrivals of its area, where the closed form puts them",
        &[("src/load/arrival.rs", "m7_a_ramp_has_its_area_of_arrivals_where_the_closed_form_puts_them")],
    ),
    (
        "M8",
        "a Poisson process is one, and one seed is one schedule for any number of shards",
        &[
            ("src/load/arrival.rs", "m8_poisson_gaps_are_exponential"),
            ("src/load/arrival.rs", "poisson_arrivals_never_change"),
            ("src/load/schedule.rs", "the_union_of_the_shards_is_the_whole"),
            ("src/load/fingerprint.rs", "a_fingerprint_never_changes"),
        ],
    ),
    (
        "M9",
        "the clock starts before name resolution and connect",
        &[
            (ANCHOR, "m9_the_clock_starts_before_the_name_is_looked_up"),
            (ANCHOR, "m9_a_lost_syn_is_in_the_connect_step_and_in_the_response"),
            (ANCHOR, "m9_a_listener_that_is_slow_to_accept_is_slow_in_its_greeting"),
        ],
    ),
    (
        "M10",
        "conservation: every arrival ends once (every whole run is held to it by `stage`)",
        &[
            (SUMMARY, "m10_books_that_do_not_sum_are_a_fault"),
            ("src/generator/dispatch/tests.rs", "every_history_is_accounted_for_and_ends"),
            (BOOKS, "shared_messages_are_all_accepted_once"),
            (SELFTEST, "failing_and_refused_messages_are_in_the_books_once"),
        ],
    ),
    (
        "M10b",
        "the listener's ledger agrees, whatever fault lies between (every whole run is held to it by `stage`)",
        &[
            (FAULTS, "resets_and_closes_at_each_step"),
            (FAULTS, "silence_and_nonsense_at_each_step"),
            (FAULTS, "a_listener_that_dies_in_mid_run"),
            (REAL_FAULTS, "a_sink_that_is_killed_leaves_no_more_in_doubt_than_was_under_way"),
            (REAL_FAULTS, "an_exim_that_is_killed_has_what_was_accepted_in_its_log"),
        ],
    ),
    (
        "M10c",
        "accepted is never above what the listener took, whatever it sends",
        &[
            ("tests/it/odd_listeners.rs", "accepted_is_never_above_what_any_listener_took"),
            ("tests/it/odd_listeners.rs", "nothing_is_in_doubt_with_a_listener_that_answers_each_once"),
            ("tests/it/odd_listeners.rs", "what_was_there_before_a_command_accepts_nothing_after_it"),
        ],
    ),
    (
        "M10d",
        "what a listener does after the final 250 is a finding of its own",
        &[
            ("tests/it/hostile/every_step.rs", "connections_lost"),
            ("tests/it/hostile/every_step.rs", "no_reply_in_time"),
            ("tests/it/hostile/every_step.rs", "what_is_no_reply"),
        ],
    ),
    ("M11", "time-outs are data", &[(ENDS, "m11_time_outs_are_data")]),
    (
        "M12",
        "what is under way at the end is a lower bound, and percentiles among it are told so",
        &[
            (ENDS, "m12_what_is_under_way_at_the_end_counts_as_at_least"),
            (QUANTILE, "m12_a_percentile_among_censored_values_is_at_least"),
            (SUMMARY, "m12_accepted_percentiles_reckon_with_arrivals_without_an_end_and_m22_rows_stay_apart"),
            (EVIDENCE, "m12_lower_bounds_break_upper_limits_and_keep_lower_ones_only"),
            (MERGE, "m12_what_never_ended_in_one_shard_is_censored_in_the_whole"),
            (SUMMARY, "m12_hangs_after_the_dot_are_lower_bounds_as_all_that_had_no_answer"),
            (QUANTILE, "m12_the_true_percentile_lies_between_its_bounds"),
        ],
    ),
    (
        "M12b",
        "what the end of a run cuts off is named with its step and its condition",
        &[
            ("tests/it/runs/cut_off.rs", "at_each_step_of_a_session"),
            ("tests/it/runs/cut_off.rs", "while_the_name_is_looked_up_or_the_connection_made"),
            ("tests/it/runs/cut_off.rs", "sessions_of_a_closed_load_that_are_never_greeted"),
        ],
    ),
    (
        "M13",
        "shed arrivals are shown, and fail the run",
        &[
            (ENDS, "m13_shed_arrivals_are_shown_and_fail_the_run"),
            ("src/verdict/judge.rs", "m13_a_shed_arrival_fails_the_built_in_assertion"),
            ("src/report/terminal.rs", "several_phases"),
        ],
    ),
    (
        "M14",
        "nothing is clipped, or the run is invalid",
        &[("src/collector/histogram.rs", "m14_any_duration_is_filed")],
    ),
    (
        "M15",
        "warm-up and drain never reach a measured phase",
        &[(ENDS, "m15_each_phase_has_its_own_arrivals_and_nobody_elses")],
    ),
    (
        "M16",
        "an error of a thousandth at most; minimum and maximum are exact",
        &[
            (QUANTILE, "m16_error_is_at_most_a_thousandth_and_all_is_in_order"),
            ("src/collector/histogram.rs", "m16_buckets_are_those_of_the_library"),
        ],
    ),
    (
        "M17",
        "merged histograms are the histogram of the union",
        &[
            (QUANTILE, "m17_merged_parts_are_the_union"),
            (MERGE, "m17_the_merged_distribution_is_that_of_the_union"),
        ],
    ),
    (
        "M18",
        "a percentile needs its sample, and an assertion on one without is no-data",
        &[
            (QUANTILE, "m18_names_how_many_values_a_percentile_needs"),
            (TIMELINE, "m18_a_stretch_is_as_long_as_its_quantiles_need_and_no_longer"),
            (GROWING_TIMELINE, "m18_stretches_become_as_long_as_their_quantiles_need"),
            (ENDS, "m18_a_percentile_needs_its_sample"),
            (EVIDENCE, "percentiles_are_of_the_accepted_unless_said_otherwise"),
        ],
    ),
    (
        "M19",
        "each percentile carries a 99 % interval",
        &[
            (QUANTILE, "m19_interval_ranks_are_those_of_the_tables"),
            (QUANTILE, "m19_intervals_hold_the_true_percentile_99_times_in_100"),
        ],
    ),
    (
        "M20",
        "Little's law, in steady phases",
        &[
            (SUMMARY, "m20_littles_law_warns_of_steady_phases_only"),
            (OCCUPANCY, "m20_a_steady_load_obeys_littles_law"),
            (OCCUPANCY, "m20_a_phase_that_ends_before_its_load_has_settled_is_named"),
        ],
    ),
    (
        "M21",
        "offered, started and accepted are three rates over the phase's window",
        &[
            (SUMMARY, "m21_the_three_rates_share_the_window"),
            (OCCUPANCY, "m21_offered_started_and_accepted_are_three_rates_over_the_phases_window"),
            (OCCUPANCY, "m21_what_is_accepted_after_the_window_is_in_no_rate"),
            (OCCUPANCY, "m21_what_is_refused_after_the_window_is_in_no_rate"),
            (EVIDENCE, "m21_what_was_met_after_the_window_is_in_no_rate"),
        ],
    ),
    (
        "M22",
        "outcomes never share a histogram",
        &[
            (ENDS, "m22_refusing_fast_makes_nothing_faster"),
            (SUMMARY, "m12_accepted_percentiles_reckon_with_arrivals_without_an_end_and_m22_rows_stay_apart"),
        ],
    ),
    (
        "M23",
        "a run that says more about us than about the listener is invalid",
        &[
            (SUMMARY, "m23_each_reason_alone_makes_a_run_invalid_and_says_why"),
            (SUMMARY, "m23_lag_is_held_against_5_ms_or_5_percent_of_the_median_service_time"),
            (SUMMARY, "m23_arrivals_not_started_need_a_reason_of_the_profiles"),
            (SUMMARY, "m23_m24_every_other_reason"),
            ("src/generator/meter.rs", "m23_the_share_of_saturated_seconds_is_that_of_each_phase_alone"),
            (OCCUPANCY, "m23_arrivals_that_we_do_not_start_make_the_run_invalid"),
        ],
    ),
    (
        "M24",
        "what our own machine runs out of is never charged to the listener",
        &[
            ("tests/it/runs/own.rs", "m24_descriptors_that_run_out_are_our_own_failure"),
            (
                "tests/it/runs/own.rs",
                "m24_a_message_whose_file_is_gone_is_our_own_failure_and_reaches_nobody",
            ),
            (SUMMARY, "m23_m24_every_other_reason"),
        ],
    ),
    (
        "M25",
        "the highest rate in time is known, and `check` warns near it",
        &[
            (CEILING, "m25_the_highest_rate_in_time_is_found_from_below_and_never_above"),
            (CEILING, "m25_one_hiccup_is_no_ceiling"),
            (
                "tests/it/commands/ceiling.rs",
                "m25_check_warns_of_a_rate_above_four_fifths_of_what_the_machine_can",
            ),
        ],
    ),
    (
        "M26",
        "memory does not grow with the messages sent (for half an hour: `side_by_side -- --soak 30`)",
        &[("tests/it/commands/memory.rs", "m26_memory_does_not_grow_with_the_messages_sent")],
    ),
    (
        "M27",
        "one profile and seed send the same octets in the same order",
        &[
            ("tests/it/runs/same.rs", "m27_any_number_of_threads_sends_the_same_messages"),
            (
                "tests/it/runs/same.rs",
                "m27_two_runs_of_one_seed_send_the_same_octets_in_the_same_order_in_each_session",
            ),
        ],
    ),
    (
        "M28",
        "a limit of N sessions is found as exactly N, with its reply, and the N inside live on",
        &[(FOUND, "m28_sessions_of_a_host_to_the_last_and_those_inside_live_on")],
    ),
    (
        "M29",
        "each way in which a limit shows is a finding of its own",
        &[
            (FOUND, "m29_each_way_of_showing_is_a_finding_of_its_own"),
            ("tests/it/limits/told_apart.rs", "m29_a_listener_that_closes_its_socket_shows_no_connection"),
        ],
    ),
    (
        "M29b",
        "no session of ours counts against the listener but those of the load",
        &[("tests/it/commands/wrong.rs", "no_connection_is_made_but_those_of_the_load")],
    ),
    (
        "M30",
        "after one has left a new one succeeds, and the time is told; of places that leak it is never",
        &[
            (FOUND, "m30_a_place_that_is_given_back_is_timed"),
            ("tests/it/limits/told_apart.rs", "m30_places_that_leak_are_never_given_back"),
        ],
    ),
];

const CEILING: &str = "src/experiment/selftest/ceiling.rs";

/// The tests of a file: what stands after `fn` below a `#[test]`.
fn tests_in(text: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim_start) {
        if line == "#[test]" {
            is_test = true;
        } else if let Some(rest) = line.strip_prefix("fn ").filter(|_| is_test) {
            found.insert(rest.split('(').next().unwrap());
            is_test = false;
        }
    }
    found
}

#[test]
fn every_rule_from_m1_to_m30_is_held_by_tests_that_exist() {
    let named: Vec<&str> = RULES.iter().map(|(rule, ..)| *rule).collect();
    let mut expected: Vec<String> = (1..=30).map(|number| format!("M{number}")).collect();
    expected.extend(["M5b", "M10b", "M10c", "M10d", "M12b", "M29b"].map(str::to_owned));
    // By number, then by letter.
    expected.sort_by_key(|rule| (rule.trim_end_matches(char::is_alphabetic).len(), rule.clone()));
    assert_eq!(named, expected);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lacking: Vec<String> = RULES
        .iter()
        .flat_map(|(rule, _, tests)| tests.iter().map(move |test| (rule, test)))
        .filter(|(_, (file, test))| {
            let text = fs::read_to_string(root.join(file)).unwrap_or_default();
            !tests_in(&text).contains(test)
        })
        .map(|(rule, (file, test))| format!("{rule}: there is no test {test} in {file}"))
        .collect();
    assert!(lacking.is_empty(), "{}", lacking.join("\n"));
    assert!(RULES.iter().all(|(_, says, tests)| !says.is_empty() && !tests.is_empty()));
}

#[test]
fn every_test_named_after_a_rule_is_in_its_row() {
    let mut faults = Vec::new();
    let mut folders =
        ["src", "tests"].map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                faults.extend(not_in_their_row(&fs::read_to_string(path).unwrap()));
            }
        }
    }
    assert!(faults.is_empty(), "tests of rules that the table does not name:\n{}", faults.join("\n"));
    assert_eq!(not_in_their_row("#[test]\nfn m27_that_nobody_names() {}\n"), ["m27_that_nobody_names"]);
}

/// The tests of a file whose name begins with a rule that does not name them.
fn not_in_their_row(text: &str) -> Vec<String> {
    let in_row = |test: &str| {
        let number = test.strip_prefix('m').and_then(|rest| rest.split('_').next()?.parse::<u32>().ok());
        let row = number.and_then(|number| {
            let name = format!("M{number}");
            RULES.iter().find(|(rule, ..)| *rule == name)
        });
        row.is_none_or(|(.., tests)| tests.iter().any(|(_, name)| *name == test))
    };
    tests_in(text).into_iter().filter(|test| !in_row(test)).map(str::to_owned).collect()
}
