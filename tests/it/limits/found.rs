//! Every limit of the embedded listener is found exactly, with its reply and in few trials. Its values are drawn by
//! seed.

use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use smtpress::experiment::limit::{LimitResult, LimitVerdict, ShownBy};
use smtpress::listener::limits::{
    Delay, EndOfData, ErrorDelay, Limits, Patterns, RateLimit, RefusalForm as Shows, StepTimeouts,
};
use smtpress::smtp::auth::Secret;
use smtpress::smtp::auth::verify::Users;

use super::stage::{SECOND, bounds, find, request, search, search_at};

/// Numbers from `low` to `high`, drawn by seed.
fn drawn(seed: u64, low: u64, high: u64, count: usize) -> Vec<u64> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| low + random.next_u64() % (high - low + 1)).collect()
}

/// Checks that the value is found exactly, and in no more trials than a search may need.
fn exact(finding: &LimitResult, value: u64) {
    assert_eq!(finding.value, Some(value), "{finding:?}");
    assert_eq!((finding.repeats, finding.verdict), (finding.looked, LimitVerdict::Found), "{finding:?}");
    let most = 2.0 * (value.max(2) as f64).log2() + 10.0;
    assert!(finding.trials as f64 <= most, "{} trials: {finding:?}", finding.trials);
}

#[test]
fn m28_sessions_of_a_host_to_the_last_and_the_open_ones_stay_usable() {
    for max in drawn(1, 2, 120, 6).into_iter().chain([50]) {
        let limits = Limits { max_connections_per_host: Some(max as u32), ..Limits::default() };
        let finding = find(limits, "too-many-connections-from-host", None);
        exact(&finding, max);
        assert_eq!(finding.inside_alive, Some(true));
        assert_eq!(
            (finding.step.as_deref(), finding.code, finding.closed),
            (Some("greeting"), Some(421), Some(true))
        );
        assert_eq!(finding.condition.as_deref(), Some("too-many-connections-from-host"));
        assert!(finding.release_ms.is_some(), "{finding:?}");
    }
}

#[test]
fn m29_each_way_of_showing_is_a_finding_of_its_own() {
    for (shown_by, shows, condition) in [
        (Shows::Reply, ShownBy::Reply, "too-many-connections-from-host"),
        (Shows::Reset, ShownBy::Reset, "reset-before-greeting"),
        (Shows::Close, ShownBy::Close, "closed-before-greeting"),
        (Shows::NoGreeting, ShownBy::NoGreeting, "no-greeting"),
    ] {
        let max = drawn(2, 2, 30, 1)[0];
        let limits = Limits { max_connections_per_host: Some(max as u32), shown_by, ..Limits::default() };
        let finding = find(limits, "too-many-connections-from-host", None);
        exact(&finding, max);
        assert_eq!(
            (finding.shown_by, finding.condition.as_deref()),
            (Some(shows), Some(condition)),
            "{finding:?}"
        );
        assert_eq!(finding.inside_alive, Some(true), "{finding:?}");
        // The limit is distinguished from one of all clients, although the reply does not say which one it is.
        assert!(
            finding.remarks.iter().any(|remark| remark.contains("another address was still served")),
            "{finding:?}"
        );
    }
}

#[test]
fn m30_a_place_that_is_given_back_is_timed() {
    let limits = Limits { max_connections_per_host: Some(5), ..Limits::default() };
    let finding = find(limits, "too-many-connections-from-host", Some(5));
    assert_eq!(finding.verdict, LimitVerdict::AsExpected, "{finding:?}");
    assert!(finding.release_ms.is_some_and(|ms| ms < 3000.0), "{finding:?}");
}

#[test]
fn sessions_of_the_whole_listener() {
    for max in drawn(3, 2, 90, 3) {
        let limits = Limits {
            max_connections_per_listener: Some(max as u32),
            max_connections_per_host: Some(1),
            ..Limits::default()
        };
        let finding = find(limits, "too-many-connections-to-listener", None);
        exact(&finding, max);
        assert_eq!(finding.condition.as_deref(), Some("too-many-connections-to-listener"));
    }
}

#[test]
fn the_limit_of_all_is_not_taken_for_that_of_a_host() {
    let limits = Limits { max_connections: Some(12), ..Limits::default() };
    let finding = find(limits.clone(), "too-many-connections-from-host", None);
    assert_eq!(
        (finding.verdict, finding.value, finding.at_least),
        (LimitVerdict::NotReached, None, Some(12)),
        "{finding:?}"
    );
    let finding = find(limits, "too-many-connections-from-host", Some(12));
    assert_eq!(finding.verdict, LimitVerdict::Obstructed, "never as expected: {finding:?}");
}

#[test]
fn tls_sessions() {
    let limits = Limits {
        tls: smtpress::smtp::script::TlsMode::Starttls,
        max_tls_sessions: Some(9),
        ..Limits::default()
    };
    let finding = find(limits, "too-many-tls-sessions", Some(9));
    assert_eq!((finding.value, finding.verdict), (Some(9), LimitVerdict::AsExpected), "{finding:?}");
    assert!(finding.remarks.iter().any(|remark| remark.contains("counted apart")), "{finding:?}");
}

#[test]
fn limits_of_a_session_and_of_a_message() {
    for seed in 10..14 {
        let value = drawn(seed, 2, 60, 8);
        let bytes = drawn(seed, 80_000, 300_000, 3);
        let limits = Limits {
            max_messages_per_session: Some(value[0] as u32),
            max_recipients: Some(value[1] as u32),
            max_bad_commands: Some(value[2] as u32),
            max_hops: Some(value[3] as u32),
            max_message_size: Some(bytes[0]),
            max_header_size: Some(20_000 + bytes[1] / 20),
            max_line_length: Some(1000 + (bytes[2] / 50) as u32),
            ..Limits::default()
        };
        let expected = [
            ("too-many-messages-per-session", value[0]),
            ("too-many-recipients", value[1]),
            ("message-size-exceeded", bytes[0]),
            ("message-size-exceeded.content", bytes[0]),
            ("header-size-exceeded", 20_000 + bytes[1] / 20),
            ("line-too-long.command", 1000 + bytes[2] / 50),
            ("too-many-hops", value[3]),
            ("bad-command-limit-exceeded", value[2]),
            ("bad-command-limit-exceeded.syntax", value[2]),
        ];
        let names: Vec<(&str, Option<u64>)> = expected.iter().map(|(name, _)| (*name, None)).collect();
        let outcome = search(limits, &names);
        assert_eq!(outcome.ended, None);
        for (finding, (name, value)) in outcome.results.iter().zip(expected) {
            assert_eq!(finding.name, name);
            exact(finding, value);
            let (family, _) = name.split_once('.').unwrap_or((name, ""));
            assert_eq!(finding.condition.as_deref(), Some(family), "{finding:?}");
        }
    }
}

#[test]
fn what_is_expected_is_confirmed_in_two_trials_and_what_differs_is_found_all_the_same() {
    let limits = Limits { max_message_size: Some(123_457), ..Limits::default() };
    let finding = find(limits.clone(), "message-size-exceeded.content", Some(123_457));
    assert_eq!((finding.verdict, finding.trials), (LimitVerdict::AsExpected, 2), "{finding:?}");
    let finding = find(limits, "message-size-exceeded.content", Some(123_400));
    assert_eq!((finding.verdict, finding.value), (LimitVerdict::Differs, Some(123_457)), "{finding:?}");
    let finding = find(Limits::default(), "too-many-recipients", Some(20));
    assert_eq!(
        (finding.verdict, finding.at_least, finding.at_most),
        (LimitVerdict::NotEnforced, Some(50), None),
        "{finding:?}"
    );
}

#[test]
fn times_to_the_second() {
    let limits =
        Limits { idle_timeout: Some(SECOND), max_connection_time: Some(3 * SECOND), ..Limits::default() };
    let names = [
        ("idle-timeout", Some(1000)),
        ("idle-timeout.greeting", None),
        ("idle-timeout.mail", None),
        ("idle-timeout.rcpt", None),
        ("idle-timeout.data", None),
        ("idle-timeout.body", None),
        ("connection-time-exceeded", Some(3000)),
    ];
    for finding in search(limits, &names).results {
        let about = if finding.name == "connection-time-exceeded" { 3000 } else { 1000 };
        let value = finding.value.unwrap_or_else(|| panic!("{finding:?}"));
        // On a busy machine the close is read later. The listener's timer starts a little before the client reads the
        // reply, so the value can also be smaller.
        assert!((about - 100..about + 900).contains(&value), "{finding:?}");
        assert_eq!((finding.code, finding.closed), (Some(421), Some(true)), "{finding:?}");
        assert!(matches!(finding.verdict, LimitVerdict::Found | LimitVerdict::AsExpected), "{finding:?}");
    }
}

/// Finds a rate. If the result says that nothing was learned, because the machine is busy, the search is repeated. A
/// wrong result is never repeated.
fn rate(limits: Limits, name: &str, expected: u64) -> LimitResult {
    let look = || find(limits.clone(), name, Some(expected));
    let is_open =
        |finding: &LimitResult| matches!(finding.verdict, LimitVerdict::Unstable | LimitVerdict::Obstructed);
    (0..5).find_map(|_| Some(look()).filter(|finding| !is_open(finding))).unwrap_or_else(look)
}

#[test]
fn rates_are_brackets_that_hold_the_truth() {
    let connections =
        Limits { connection_rate: Some(RateLimit { per_second: 4.0, burst: 12 }), ..Limits::default() };
    let finding = rate(connections, "connection-rate-limited", 240);
    assert_eq!(finding.verdict, LimitVerdict::AsExpected, "{finding:?}");
    let messages =
        Limits { message_rate: Some(RateLimit { per_second: 5.0, burst: 20 }), ..Limits::default() };
    let finding = rate(messages, "rate-limited", 300);
    assert_eq!(finding.verdict, LimitVerdict::AsExpected, "{finding:?}");
    assert!(finding.inexact.is_some() && finding.at_least < finding.at_most, "{finding:?}");
}

#[test]
fn a_rate_is_not_taken_for_a_limit_of_sessions_at_once() {
    // The search opens so few sessions at once that it does not reach the limit of sessions.
    let limits = Limits { max_connections_per_host: Some(3), ..Limits::default() };
    let finding = find(limits, "connection-rate-limited", None);
    assert_eq!(finding.verdict, LimitVerdict::NotReached, "{finding:?}");
}

#[test]
fn a_slow_listener_is_searched_like_any_other() {
    let mut limits = Limits { max_recipients: Some(7), ..Limits::default() };
    limits.delays.rcpt = Delay::fixed(SECOND / 20);
    limits.delays.greeting = Delay::fixed(SECOND / 4);
    exact(&find(limits, "too-many-recipients", None), 7);
}

#[test]
fn bytes_of_a_session() {
    for max in drawn(20, 40_000, 400_000, 2) {
        let limits = Limits { max_session_bytes: Some(max), ..Limits::default() };
        for expected in [None, Some(max)] {
            let finding = find(limits.clone(), "session-bytes-exceeded", expected);
            assert_eq!(finding.value, Some(max), "{finding:?}");
            assert_eq!(finding.condition.as_deref(), Some("session-bytes-exceeded"), "{finding:?}");
            assert!(finding.release_ms.is_some(), "a new session works: {finding:?}");
        }
    }
}

#[test]
fn what_a_client_may_get_wrong() {
    let value = drawn(21, 2, 40, 3);
    let limits = Limits {
        unknown_recipients: Patterns::parse(&["nobody*@*"]).unwrap(),
        max_invalid_recipients: Some(value[0] as u32),
        max_junk_commands: Some(value[1] as u32),
        max_auth_failures: Some(value[2] as u32),
        users: Some(Arc::new(Users::new([("load".to_owned(), Secret::new("open sesame"))]))),
        max_path_length: Some(100 + value[0] as u32),
        error_delay: Some(ErrorDelay { after: 1, delay: SECOND / 2 }),
        ..Limits::default()
    };
    let expected = [
        ("line-too-long.path", 100 + value[0]),
        ("bad-command-limit-exceeded.junk", value[1]),
        ("too-many-auth-failures", value[2]),
    ];
    let plain = Limits { error_delay: None, ..limits.clone() };
    let names: Vec<(&str, Option<u64>)> = expected.iter().map(|(name, _)| (*name, None)).collect();
    for (finding, (name, value)) in search(plain.clone(), &names).results.iter().zip(expected) {
        assert_eq!((finding.name.as_str(), finding.value), (name, Some(value)), "{finding:?}");
        assert_eq!(finding.verdict, LimitVerdict::Found, "{finding:?}");
    }
    exact(&find(plain, "too-many-invalid-recipients", None), value[0]);
    let held_back = Limits { max_invalid_recipients: Some(2), ..limits };
    let finding = find(held_back, "too-many-invalid-recipients", Some(2));
    assert!(finding.delay_ms.is_some_and(|ms| ms >= 490.0), "{finding:?}");
    assert!(finding.remarks.iter().any(|remark| remark.starts_with("from error 2 on")), "{finding:?}");
}

#[test]
fn smuggling_is_distinguished_from_its_refusal() {
    let names = [
        "bare-cr-lf.lf-dot-lf",
        "bare-cr-lf.lf-dot-crlf",
        "bare-cr-lf.cr-dot-cr",
        "bare-cr-lf.cr-dot-crlf",
        "bare-cr-lf.crlf-dot-cr",
        "bare-cr-lf.crlf-dot-lf",
        "bare-cr-lf.crlf-nul-dot-crlf",
    ]
    .map(|name| (name, None));
    let lenient = Limits { end_of_data: EndOfData::Lenient, ..Limits::default() };
    let verdicts = |limits| search(limits, &names).results.into_iter().map(|finding| finding.verdict);
    assert_eq!(verdicts(lenient).collect::<Vec<_>>(), [LimitVerdict::Unsafe; 7]);
    assert_eq!(verdicts(Limits::default()).collect::<Vec<_>>(), [LimitVerdict::Found; 7]);
    let strict = Limits { reject_bare_cr_lf: true, ..Limits::default() };
    assert_eq!(verdicts(strict).collect::<Vec<_>>(), [LimitVerdict::Found; 7]);
    // The first message is refused for its line ends, and the second one is accepted all the same.
    let both = Limits { end_of_data: EndOfData::Lenient, reject_bare_cr_lf: true, ..Limits::default() };
    assert_eq!(verdicts(both).collect::<Vec<_>>(), [LimitVerdict::Unsafe; 7]);
}

#[test]
fn the_time_out_of_each_step() {
    let times = StepTimeouts {
        greeting: Some(SECOND),
        hello: Some(SECOND * 3 / 2),
        mail: Some(SECOND * 2),
        rcpt: Some(SECOND * 5 / 2),
        body: Some(SECOND * 3),
        ..StepTimeouts::default()
    };
    let limits = Limits { step_timeouts: times, ..Limits::default() };
    let listener = smtpress::listener::start("127.0.0.1:0".parse().unwrap(), limits, 7, 1).unwrap();
    let names = [
        ("idle-timeout", Some(1500)),
        ("idle-timeout.greeting", Some(1000)),
        ("idle-timeout.mail", Some(2000)),
        ("idle-timeout.rcpt", Some(2500)),
        ("idle-timeout.body", Some(3000)),
    ];
    let outcome = search_at(listener.addr(), None, bounds(), &request(&names));
    for finding in outcome.results {
        assert_eq!(finding.verdict, LimitVerdict::AsExpected, "{finding:?}");
    }
}
