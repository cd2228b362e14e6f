//! Limits on the number of hops, also above the number that is tried if no value is expected.

use std::time::Duration;

use smtpress::experiment::limit::{self, LimitVerdict};
use smtpress::generator::probe::{CloseMode, OpenOutcome, Probe, ProbeOptions, ProbeOutcome, Probes, Spent};
use smtpress::listener::limits::Limits;
use smtpress::smtp::hello::Offer;

use super::drawn::listener::{At, Drawn, Limit, Shows, Simulated};
use super::drawn::setting;
use super::stage::{find, request};

const HOPS: &str = "too-many-hops";

#[test]
fn a_limit_above_what_is_tried_is_at_least_that_and_is_found_if_it_is_expected() {
    let limits = Limits { max_hops: Some(250), ..Limits::default() };
    for (expected, verdict, value, at_least) in [
        (None, LimitVerdict::NotReached, None, 200),
        (Some(250), LimitVerdict::AsExpected, Some(250), 250),
        (Some(249), LimitVerdict::Differs, Some(250), 250),
        (Some(150), LimitVerdict::Differs, Some(250), 250),
        // About twice the expected value is tried.
        (Some(60), LimitVerdict::NotEnforced, None, 130),
        (Some(500), LimitVerdict::Differs, Some(250), 250),
    ] {
        let finding = find(limits.clone(), HOPS, expected);
        assert_eq!(
            (finding.verdict, finding.value, finding.at_least),
            (verdict, value, Some(at_least)),
            "{expected:?}: {finding:?}"
        );
        assert!(finding.at_most.is_none_or(|most| most >= at_least), "{finding:?}");
    }
    let exact = find(Limits { max_hops: Some(200), ..Limits::default() }, HOPS, None);
    assert_eq!((exact.verdict, exact.at_least), (LimitVerdict::NotReached, Some(200)), "{exact:?}");
    let below = find(Limits { max_hops: Some(199), ..Limits::default() }, HOPS, None);
    assert_eq!((below.verdict, below.value), (LimitVerdict::Found, Some(199)), "{below:?}");
}

/// A listener that becomes another one after so many sessions.
struct Changing {
    before: Simulated,
    after: Drawn,
    left: usize,
}

impl Probes for Changing {
    fn open(&mut self, ways: &[ProbeOptions], at_once: usize, within: Duration) -> Vec<OpenOutcome> {
        if self.left == 0 {
            self.before.become_like(&self.after);
        }
        self.left = self.left.saturating_sub(ways.len());
        self.before.open(ways, at_once, within)
    }
    fn offer(&self, session: Probe) -> Offer {
        self.before.offer(session)
    }
    fn send(&mut self, session: Probe, bytes: &[u8]) {
        self.before.send(session, bytes);
    }
    fn receive(&mut self, session: Probe, within: Duration) -> ProbeOutcome {
        self.before.receive(session, within)
    }
    fn close(&mut self, sessions: &[Probe], how: CloseMode, within: Duration) -> u64 {
        self.before.close(sessions, how, within)
    }
    fn pause(&mut self, length: Duration) {
        self.before.pause(length);
    }
    fn now(&self) -> Duration {
        self.before.now()
    }
    fn hosts(&self) -> u64 {
        self.before.hosts()
    }
    fn stalled(&self) -> Duration {
        Duration::ZERO
    }
    fn spent(&self) -> Spent {
        self.before.spent()
    }
}

#[test]
fn bounds_of_a_limit_that_changes_hold_what_was_served() {
    let with = |most| {
        let limit = Limit { most, shows: Shows::Reply(554, "5.4.6 too many hops", None), at: At::Own };
        Drawn { hops: Some(limit), ..Drawn::open() }
    };
    let mut seen = 0;
    for left in 1..8 {
        let mut probes = Changing { before: Simulated::new(&with(250)), after: with(240), left };
        let outcome = limit::search(&mut probes, &setting(), &request(&[(HOPS, Some(250))]), &mut ());
        let finding = &outcome.results[0];
        if finding.verdict == LimitVerdict::Unstable {
            seen += 1;
            let (low, high) = (finding.at_least.unwrap(), finding.at_most.unwrap());
            assert!(low <= 240 && high >= 250, "{left}: {finding:?}");
        }
    }
    assert!(seen > 0);
}
