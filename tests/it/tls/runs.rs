//! Whole runs with TLS: handshakes counted on both sides, certificates that are not trusted, limits.

use smtpress::collector::summary::ConditionRow;
use smtpress::collector::{Metric, Outcome};
use smtpress::listener::certificate;
use smtpress::listener::limits::{Limits, TlsMode};
use smtpress::load::LoadModel;
use smtpress::mail::MessageSize;
use smtpress::net::address::tls::Version;
use smtpress::plan::Unit;
use smtpress::smtp::Step;
use smtpress::smtp::script::Pipelining;

use super::super::runs::testbed::{SECOND, Testbed, Told, phase, plan, run, shared, side_by_side};
use super::{ALWAYS, AUTHORITY, credential, limits, marked, of_a_client, one_by_one};

/// Both kinds of TLS, for the client and for the listener.
const WAYS: [(TlsMode, TlsMode); 2] =
    [(TlsMode::Starttls, TlsMode::Starttls), (TlsMode::Implicit, TlsMode::Implicit)];

/// The full and the resumed handshakes, by the counts of the generator.
fn handshakes(told: &Told) -> (u64, u64) {
    let rows = told.measured.tally.phases.iter().flat_map(|phase| &phase.handshakes);
    rows.fold(
        (0, 0),
        |(full, resumed), (key, count)| {
            if key.resumed { (full, resumed + count) } else { (full + count, resumed) }
        },
    )
}

/// Returns the only condition of a run.
fn only(told: &Told) -> &ConditionRow {
    let [row] = &told.summary.conditions[..] else { panic!("{:?}", told.summary.conditions) };
    row
}

#[test]
fn messages_arrive_as_they_were_sent_and_every_handshake_is_counted() {
    side_by_side([Pipelining::Off, Pipelining::Full], |pipelining| {
        let of = |client, server| {
            let mut plan = plan(vec![phase(shared(200, 10), None, Unit::Message)]);
            plan.script.pipelining = pipelining;
            plan.script.tls = client;
            plan.mail.recipients = 3;
            plan.mail.size = MessageSize::Uniform { min: 600, max: 300_000 };
            run(&plan, limits(server))
        };
        let plain = of(TlsMode::None, TlsMode::None);
        for (client, server) in WAYS {
            let told = of(client, server);
            assert_eq!(told.of(Outcome::Accepted), 200, "{client:?}");
            assert_eq!(told.ledger.digest, plain.ledger.digest, "{client:?}");
            assert_eq!(told.ledger.content_bytes, plain.ledger.content_bytes);
            let (full, resumed) = handshakes(&told);
            assert_eq!(full + resumed, told.counts().opened, "{client:?}");
            assert_eq!((told.ledger.tls_handshakes, told.ledger.tls_resumed), (full + resumed, resumed));
            assert_eq!((told.ledger.tls_failed, told.counts().untrusted), (0, 0));
            assert!(full >= 1, "{full} full, {resumed} resumed");
            let keys: Vec<_> = told.measured.tally.phases[0].handshakes.keys().collect();
            assert!(
                keys.iter()
                    .all(|key| key.version == "TLSv1.3" && key.group.as_deref() == Some("X25519MLKEM768")),
                "{keys:?}"
            );
        }
    });
}

#[test]
fn a_message_that_the_kernel_cannot_take_at_once_arrives_whole() {
    let of = |client, server| {
        let mut plan = plan(vec![phase(shared(3, 1), None, Unit::Message)]);
        plan.script.tls = client;
        plan.script.timeouts.body = 60 * SECOND;
        // The message is larger than the buffers of both sockets.
        plan.mail.size = MessageSize::Fixed(7 << 20);
        run(&plan, limits(server))
    };
    let plain = of(TlsMode::None, TlsMode::None);
    let told = of(TlsMode::Implicit, TlsMode::Implicit);
    assert_eq!(told.of(Outcome::Accepted), 3, "{:?}", told.summary.conditions);
    assert_eq!(
        (told.ledger.digest, told.ledger.content_bytes),
        (plain.ledger.digest, plain.ledger.content_bytes)
    );
}

#[test]
fn a_worker_resumes_its_sessions_or_makes_every_handshake_in_full() {
    for version in [Version::Tls12, Version::Tls13] {
        for (client, server) in WAYS {
            for resumption in [true, false] {
                let mut plan = one_by_one(30, client);
                plan.tls.resumption = resumption;
                let told = run(&plan, Limits { max_tls_version: version, ..limits(server) });
                let what = format!("{version:?} {client:?} {resumption}");
                assert_eq!(told.of(Outcome::Accepted), 30, "{what}");
                let wanted = if resumption { (1, 29) } else { (30, 0) };
                assert_eq!(handshakes(&told), wanted, "{what}");
                let timed = |metric| told.hist(metric, Outcome::Accepted).count();
                let steps = (timed(Metric::Step(Step::Tls)), timed(Metric::TlsResumed));
                assert_eq!(steps, wanted, "{what}: never in one distribution");
                assert_eq!(told.ledger.tls_resumed, wanted.1, "{what}");
            }
        }
    }
}

#[test]
fn each_worker_begins_with_a_full_handshake() {
    let mut plan = one_by_one(60, TlsMode::Implicit);
    plan.phases[0].load.model = shared(60, 2);
    plan.threads = 2;
    let told = run(&plan, limits(TlsMode::Implicit));
    let (full, resumed) = handshakes(&told);
    assert!((1..=2).contains(&full) && full + resumed == 60, "{full} full, {resumed} resumed");
}

#[test]
fn a_certificate_that_is_not_trusted_ends_the_session_and_the_reason_is_reported() {
    let other = certificate::made("mx.recipient.example").unwrap().chain;
    let names = ["mx.recipient.example", "127.0.0.1"];
    for (credential, trusted, reason) in [
        (credential(&names, ALWAYS), Some(other), "none of the trusted authorities issued it"),
        (credential(&names, (2001, 2002)), None, "it expired"),
        (credential(&names, (2900, 3000)), None, "it is not valid for another"),
        (credential(&["other.example"], ALWAYS), None, "it is not for 127.0.0.1: its names are"),
        (of_a_client(&names), None, "does not allow extended key usage for server authentication"),
    ] {
        for (client, server) in WAYS {
            let mut plan = one_by_one(3, client);
            plan.tls.authorities = trusted.clone();
            let told = run(&plan, Limits { credential: Some(credential.clone()), ..limits(server) });
            assert_eq!(told.of(Outcome::Refused), 3, "{:?}", told.counts());
            let row = only(&told);
            assert_eq!((row.key.condition.as_str(), row.key.step), ("tls-failure", Step::Tls));
            assert!(row.sample.starts_with("the certificate is not trusted: "), "{}", row.sample);
            assert!(row.sample.contains(reason), "{}", row.sample);
            assert_eq!((told.ledger.messages, told.ledger.tls_handshakes), (0, 0), "{:?}", told.ledger);
            assert!(told.ledger.connections == 3 && told.ledger.tls_failed == 3, "{:?}", told.ledger);
            assert!(told.fails_by("accepted > 0"));

            plan.tls.verify = false;
            let told = run(&plan, Limits { credential: Some(credential.clone()), ..limits(server) });
            assert_eq!(told.of(Outcome::Accepted), 3, "{:?}", told.summary.conditions);
            assert_eq!(told.counts().untrusted, 1, "one full handshake, the others resume it");
        }
    }
}

#[test]
fn a_name_is_verified_as_it_was_given() {
    let mut plan = one_by_one(2, TlsMode::Implicit);
    plan.tls.name = Some("mx.recipient.example".try_into().unwrap());
    assert_eq!(run(&plan, limits(TlsMode::Implicit)).of(Outcome::Accepted), 2);
    plan.tls.name = Some("mx.other.example".try_into().unwrap());
    let told = run(&plan, limits(TlsMode::Implicit));
    assert!(only(&told).sample.contains("it is not for mx.other.example"), "{}", only(&told).sample);
}

#[test]
fn a_certificate_that_is_named_itself_is_trusted_though_it_is_an_authoritys() {
    let made = marked(&["127.0.0.1"], ALWAYS, AUTHORITY);
    let listener = || Limits { credential: Some(made.clone()), ..limits(TlsMode::Implicit) };
    let mut plan = one_by_one(2, TlsMode::Implicit);
    plan.tls.authorities = Some(made.chain.clone());
    assert_eq!(run(&plan, listener()).of(Outcome::Accepted), 2);
    plan.tls.name = Some("mx.other.example".try_into().unwrap());
    let told = run(&plan, listener());
    assert!(only(&told).sample.contains("it is not for mx.other.example"), "{}", only(&told).sample);
    plan.tls.name = None;
    plan.tls.authorities = Some(marked(&["127.0.0.1"], ALWAYS, AUTHORITY).chain);
    assert_eq!(run(&plan, listener()).of(Outcome::Refused), 2, "another of the same kind is another");
}

#[test]
fn versions_that_do_not_meet() {
    for (client, server) in WAYS {
        let mut plan = one_by_one(2, client);
        plan.tls.min_version = Version::Tls13;
        let told = run(&plan, Limits { max_tls_version: Version::Tls12, ..limits(server) });
        assert_eq!((told.met("tls-failure"), told.of(Outcome::Refused)), (2, 2));
        assert!(only(&told).sample.contains("protocol_version"), "{}", only(&told).sample);
        assert_eq!((told.ledger.messages, told.ledger.tls_failed), (0, 2));
    }
}

#[test]
fn a_client_s_certificate_that_is_required() {
    let ours = credential(&["load.example"], ALWAYS);
    for version in [Version::Tls12, Version::Tls13] {
        for (client, server) in WAYS {
            let listener = || Limits {
                client_authorities: Some(ours.chain.clone()),
                max_tls_version: version,
                ..limits(server)
            };
            let mut plan = one_by_one(2, client);
            let told = run(&plan, listener());
            assert_eq!((told.met("tls-failure"), told.of(Outcome::Refused)), (2, 2), "{:?}", told.counts());
            assert_eq!((told.ledger.messages, told.ledger.tls_failed), (0, 2), "{version:?}");
            plan.tls.credential = Some(ours.clone());
            assert_eq!(run(&plan, listener()).of(Outcome::Accepted), 2, "{version:?} {client:?}");
        }
    }
}

#[test]
fn starttls_that_is_not_offered_sends_nothing_in_clear_text() {
    let told = run(&one_by_one(5, TlsMode::Starttls), Limits::default());
    assert_eq!((told.met("tls-unavailable"), told.of(Outcome::Refused)), (5, 5), "{:?}", told.counts());
    assert_eq!((told.ledger.messages, told.ledger.content_bytes), (0, 0));
    assert_eq!(told.counts().attempted, 0, "not even MAIL");
    assert!(told.fails_by("accepted > 0"));
}

#[test]
fn a_listener_without_tls_on_an_implicit_port_is_no_listener_with_it() {
    // The listener greets in clear text, which is no greeting with implicit TLS.
    let told = run(&one_by_one(3, TlsMode::Implicit), Limits::default());
    assert_eq!((told.met("tls-failure"), told.of(Outcome::Refused)), (3, 3));
    assert!(only(&told).sample.contains("220 mx.recipient.example"), "{}", only(&told).sample);
    assert_eq!(told.ledger.messages, 0);
}

#[test]
fn starttls_on_an_implicit_port_waits_for_a_greeting_that_never_comes() {
    let mut plan = one_by_one(2, TlsMode::Starttls);
    plan.script.timeouts.greeting = SECOND / 5;
    let told = run(&plan, limits(TlsMode::Implicit));
    assert_eq!((told.met("no-greeting"), told.of(Outcome::TimedOut)), (2, 2), "{:?}", told.counts());
}

#[test]
fn a_limit_on_connections_is_read_before_tls_and_after_it() {
    for (before, step) in [(true, Step::Tls), (false, Step::Greeting)] {
        let held = LoadModel::Held { sessions: 12, rate: 400.0 };
        let mut plan = plan(vec![phase(held, Some(SECOND), Unit::Session)]);
        plan.script.tls = TlsMode::Implicit;
        let told = run(
            &plan,
            Limits {
                max_connections_per_host: Some(8),
                refuse_before_tls: before,
                ..limits(TlsMode::Implicit)
            },
        );
        let row = only(&told);
        let seen = (row.key.condition.as_str(), row.key.step, row.key.code, row.count);
        assert_eq!(seen, ("too-many-connections-from-host", step, Some(421), 4), "{before}");
        assert_eq!((told.of(Outcome::Accepted), told.of(Outcome::Refused)), (8, 4));
        let handshakes = if before { 8 } else { 12 };
        assert_eq!((told.ledger.tls_handshakes, told.ledger.tls_sessions_peak), (handshakes, 8), "{before}");
    }
}

#[test]
fn tls_sessions_over_the_limit() {
    for (client, server) in WAYS {
        let held = LoadModel::Held { sessions: 9, rate: 400.0 };
        let mut plan = plan(vec![phase(held, Some(SECOND), Unit::Session)]);
        plan.script.tls = client;
        let told = run(&plan, Limits { max_tls_sessions: Some(5), ..limits(server) });
        let row = only(&told);
        let step = if server == TlsMode::Starttls { Step::Starttls } else { Step::Greeting };
        assert_eq!((row.key.condition.as_str(), row.key.step, row.count), ("too-many-tls-sessions", step, 4));
        assert_eq!(row.sample, "421 #4.4.5 Too many TLS sessions at this time");
        assert_eq!((told.of(Outcome::Accepted), told.ledger.tls_sessions_peak), (5, 5));
    }
    // A released slot can be used again.
    let told = run(
        &one_by_one(20, TlsMode::Starttls),
        Limits { max_tls_sessions: Some(1), ..limits(TlsMode::Starttls) },
    );
    assert_eq!(told.of(Outcome::Accepted), 20, "{:?}", told.summary.conditions);
}

#[test]
fn starttls_that_meets_a_temporary_reason() {
    let mut plan = one_by_one(60, TlsMode::Starttls);
    plan.phases[0].graceful_stop = 20 * SECOND;
    let told = run(&plan, Limits { tls_error_rate: 0.3, ..limits(TlsMode::Starttls) });
    assert!(told.of(Outcome::Accepted) > 0 && told.met("tls-unavailable") > 0, "{:?}", told.counts());
    let row = only(&told);
    assert_eq!((row.key.step, row.key.code), (Step::Starttls, Some(454)));
    assert_eq!(told.ledger.tls_handshakes, told.counts().opened - told.met("tls-unavailable"));
}

#[test]
fn encryption_that_is_required() {
    let required = || Limits { require_starttls: true, ..limits(TlsMode::Starttls) };
    let told = run(&one_by_one(5, TlsMode::None), required());
    assert_eq!((told.met("encryption-required"), told.of(Outcome::Rejected)), (5, 5));
    assert_eq!(run(&one_by_one(5, TlsMode::Starttls), required()).of(Outcome::Accepted), 5);
    let implicit = Limits { require_starttls: true, ..limits(TlsMode::Implicit) };
    assert_eq!(run(&one_by_one(5, TlsMode::Implicit), implicit).of(Outcome::Accepted), 5);
}

#[test]
fn held_tls_sessions_rest_and_leave() {
    for (client, server) in WAYS {
        let held = LoadModel::Held { sessions: 100, rate: 400.0 };
        let mut plan = plan(vec![phase(held, Some(SECOND), Unit::Session)]);
        plan.script.tls = client;
        let told = Testbed { limits: limits(server), ..Testbed::default() }.run(&plan);
        assert_eq!((told.of(Outcome::Accepted), told.ledger.tls_sessions_peak), (100, 100));
        assert_eq!((told.ledger.sessions, told.counts().truncated), (0, 0), "all said goodbye");
    }
}
