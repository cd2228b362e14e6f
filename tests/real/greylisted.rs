//! Messages that are tried again against a real greylist: Postfix with Postgrey.

use crate::postfix::Postfix;
use crate::postgrey::Postgrey;
use crate::smtpress;

// The attempts come 2 s apart: after 5 s the fourth is accepted, 6 s after the first.
// Table: Postfix: greylisting
#[test]
fn the_time_to_acceptance_is_that_of_postgrey_to_a_second() {
    let Some(postgrey) = Postgrey::start(5) else { return };
    let policy = format!("check_policy_service inet:127.0.0.1:{}, permit", postgrey.port);
    let Some(postfix) = Postfix::plain().set("smtpd_recipient_restrictions", policy).start() else { return };
    let flags = "-r 20/s --for 5s --set session.retry.schedule=2s,2s,2s,2s,2s,2s";
    let outcome = smtpress::run(postfix.port, flags);
    outcome.assert_counts_reconcile();
    let retry = &outcome.result["phases"][0]["retry"];
    let delays = postgrey.delays();
    assert_eq!((outcome.count("accepted"), delays.len()), (100, 100), "{}", postgrey.log());
    // Postfix asks Postgrey once at each RCPT.
    assert_eq!(retry["attempts"], postgrey.deferred() + 100);
    assert_eq!((&retry["outcomes"]["deferred"], &retry["gave_up"]), (&postgrey.deferred().into(), &0.into()));
    assert_eq!(postfix.lines("Greylisted, see") as u64, postgrey.deferred());
    // Postgrey's times are in whole seconds, from the first attempt.
    let truth = |rank: usize| {
        let mut sorted = delays.clone();
        sorted.sort_unstable();
        sorted[rank - 1] as f64
    };
    for (quantile, rank) in [(0.5, 50), (0.9, 90)] {
        let found = outcome.percentile_ns("time_to_accept", quantile) as f64 / 1e9;
        assert!((found - truth(rank)).abs() <= 1.0, "{quantile}: {found} s, Postgrey says {} s", truth(rank));
    }
    postgrey.stop();
}
