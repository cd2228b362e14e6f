//! Listeners with one fault each in how they keep a limit: each is told apart, and none is ever as expected.

use smtpress::experiment::limit::{Ended, Finding, Outcome, Verdict};

use super::faulty::{Fault, Faulty};
use super::stage::{SECOND, bounds, one, request, search_at};

const HOST: &str = "too-many-connections-from-host";

/// What is found of the limit of twelve sessions at a listener with this fault.
fn sessions(fault: Fault) -> Finding {
    let faulty = Faulty::start(12, fault);
    one(search_at(faulty.addr, None, bounds(), &request(&[(HOST, Some(12))])))
}

#[test]
fn without_a_fault_all_is_as_expected() {
    let finding = sessions(Fault::None);
    assert_eq!(
        (finding.verdict, finding.value, finding.repeats),
        (Verdict::AsExpected, Some(12), 3),
        "{finding:?}"
    );
    assert_eq!((finding.inside_alive, finding.closed), (Some(true), Some(true)), "{finding:?}");
}

#[test]
fn m30_places_that_leak_are_never_given_back() {
    let faulty = Faulty::start(12, Fault::LeaksSlots);
    let outcome = search_at(faulty.addr, None, bounds(), &request(&[(HOST, Some(12))]));
    let [finding] = &outcome.findings[..] else { panic!("{outcome:?}") };
    assert_ne!(finding.verdict, Verdict::AsExpected, "{finding:?}");
    assert_eq!(finding.release_ms, None);
    assert!(finding.remarks.iter().any(|remark| remark == "release: never (3 s)"), "{finding:?}");
    // With all places gone nobody is served any more, and the search says so.
    assert!(matches!(outcome.ended, Some(Ended::Lost(HOST, _))), "{outcome:?}");
}

#[test]
fn a_limit_that_is_forgotten_under_load_is_unstable() {
    let finding = sessions(Fault::ForgetsUnderLoad);
    assert!(
        matches!(finding.verdict, Verdict::Unstable | Verdict::NotEnforced | Verdict::Differs),
        "{finding:?}"
    );
    assert!(finding.fails(), "{finding:?}");
}

#[test]
fn a_limit_below_the_configured_one_differs() {
    let finding = sessions(Fault::RefusesBelow);
    assert_eq!((finding.verdict, finding.value), (Verdict::Differs, Some(9)), "{finding:?}");
}

#[test]
fn a_421_without_a_close_is_seen() {
    let finding = sessions(Fault::KeepsOpenAfter421);
    assert_eq!((finding.code, finding.closed), (Some(421), Some(false)), "{finding:?}");
}

#[test]
fn those_inside_who_are_thrown_out_are_missed() {
    let finding = sessions(Fault::KillsThoseInside);
    assert_eq!(finding.inside_alive, Some(false), "{finding:?}");
    assert_eq!(finding.verdict, Verdict::Unsafe, "{finding:?}");
}

#[test]
fn tls_that_is_counted_apart_is_told() {
    let faulty = Faulty::start(6, Fault::CountsTlsApart);
    let request = request(&[("too-many-tls-sessions", Some(6))]);
    let finding = one(search_at(faulty.addr, Some(&faulty.certificate), bounds(), &request));
    assert_eq!(finding.value, Some(6), "{finding:?}");
    assert!(finding.remarks.iter().any(|remark| remark.contains("counted apart")), "{finding:?}");
}

#[test]
fn a_second_message_that_is_smuggled_in_is_unsafe() {
    let faulty = Faulty::start(12, Fault::TakesLfDotLf);
    let names = [("bare-cr-lf.lf-dot-lf", None), ("bare-cr-lf.crlf-dot-cr", None)];
    let outcome = search_at(faulty.addr, None, bounds(), &request(&names));
    let verdicts: Vec<_> = outcome.findings.iter().map(|finding| finding.verdict).collect();
    assert_eq!(verdicts, [Verdict::Unsafe, Verdict::Found], "{outcome:?}");
}

/// What comes of a search for everything that takes no long wait.
fn everything(addr: std::net::SocketAddr) -> Outcome {
    let mut bounds = bounds();
    bounds.release = SECOND;
    search_at(addr, None, bounds, &request(&[(HOST, Some(12)), ("too-many-recipients", Some(100))]))
}

#[test]
fn a_listener_that_is_down_or_dumb_is_never_as_expected() {
    let down = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let outcome = everything(down);
    assert!(outcome.findings.is_empty() && matches!(outcome.ended, Some(Ended::Unserved(_))), "{outcome:?}");
    let dumb = Faulty::start(12, Fault::NeverAnswers);
    let outcome = everything(dumb.addr);
    assert!(outcome.findings.is_empty() && matches!(outcome.ended, Some(Ended::Unserved(_))), "{outcome:?}");
    let full = Faulty::start(0, Fault::None);
    let outcome = everything(full.addr);
    assert!(outcome.findings.is_empty() && matches!(outcome.ended, Some(Ended::Unserved(_))), "{outcome:?}");
}
