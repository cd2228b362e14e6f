//! The probes of a search, bounded by its time: every open session is closed, however the search ends (M29b), and no wait
//! lasts longer than the search. A stop by the user ends every wait, too.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::generator::probe::{
    AT_ONCE, CloseMode, OpenOutcome, Probe, ProbeEvent, ProbeOptions, ProbeOutcome, Probes, Spent,
};
use crate::smtp::hello::Offer;

/// How much longer than the time of the search the close of a session may take.
const LAST_CLOSE: Duration = Duration::from_secs(1);

/// All sessions of a search.
pub(super) struct BoundedProbes<'a> {
    probes: &'a mut dyn Probes,
    /// The sessions that are still open.
    open: BTreeSet<Probe>,
    /// The time at which the search ends.
    deadline: Duration,
    /// How long the listener may take to close a session after the client closed it.
    close_within: Duration,
    /// Whether the deadline or the user cut a wait short. Then the result of the wait shows nothing about the listener.
    cut_short: bool,
    /// The time at which a session was last closed.
    left_at: Duration,
    /// The number of closed sessions that the listener did not close in time.
    unseen: u64,
}

impl<'a> BoundedProbes<'a> {
    pub(super) fn new(
        probes: &'a mut dyn Probes,
        deadline: Duration,
        close_within: Duration,
    ) -> BoundedProbes<'a> {
        let left_at = Duration::ZERO;
        BoundedProbes {
            probes,
            open: BTreeSet::new(),
            deadline,
            close_within,
            cut_short: false,
            left_at,
            unseen: 0,
        }
    }

    /// Returns the rest of the search's time.
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_sub(self.probes.now())
    }

    /// Whether a wait was cut short since the last call.
    pub(super) fn was_cut_short(&mut self) -> bool {
        std::mem::take(&mut self.cut_short)
    }

    /// Returns when a session was last closed.
    pub(super) fn left_at(&self) -> Duration {
        self.left_at
    }

    /// Returns how many sessions the listener did not close in time since the last call.
    pub(super) fn unseen(&mut self) -> u64 {
        std::mem::take(&mut self.unseen)
    }

    /// Returns `wanted`, or the rest of the search's time if that is less.
    fn bounded(&mut self, wanted: Duration) -> Duration {
        let left = self.left();
        if wanted > left {
            self.cut_short = true;
        }
        wanted.min(left)
    }

    pub(super) fn open(&mut self, ways: &[ProbeOptions]) -> Vec<OpenOutcome> {
        self.open_by(ways, AT_ONCE)
    }

    /// Opens these sessions, `at_once` at a time.
    pub(super) fn open_by(&mut self, ways: &[ProbeOptions], at_once: usize) -> Vec<OpenOutcome> {
        let left = self.left();
        if left.is_zero() {
            self.cut_short = true;
        }
        let opened = self.probes.open(ways, at_once, left);
        self.open.extend(opened.iter().filter_map(|opened| match opened {
            OpenOutcome::Open(session) => Some(*session),
            OpenOutcome::Refused(refusal) => Some(refusal.session),
            OpenOutcome::OwnFailure(_) => None,
        }));
        let unopened = opened.iter().any(|opened| matches!(opened, OpenOutcome::OwnFailure(_)));
        self.cut_short |= self.left().is_zero() || unopened && self.is_stopped();
        opened
    }

    pub(super) fn close(&mut self, sessions: &[Probe], how: CloseMode) {
        for session in sessions {
            self.open.remove(session);
        }
        let within = self.close_within.min(self.left() + LAST_CLOSE);
        self.unseen += self.probes.close(sessions, how, within);
        self.left_at = self.probes.now();
    }

    /// Closes every session that is still open.
    pub(super) fn close_all(&mut self) {
        let open: Vec<Probe> = self.open.iter().copied().collect();
        if !open.is_empty() {
            self.close(&open, CloseMode::Close);
        }
    }

    pub(super) fn offer(&self, session: Probe) -> Offer {
        self.probes.offer(session)
    }

    pub(super) fn send(&mut self, session: Probe, bytes: &[u8]) {
        self.probes.send(session, bytes);
    }

    pub(super) fn receive(&mut self, session: Probe, within: Duration) -> ProbeOutcome {
        let left = self.left();
        let outcome = self.probes.receive(session, within.min(left));
        // A wait that ends with another event than silence was not cut short.
        let cut = within > left || self.is_stopped();
        if matches!(outcome.event, ProbeEvent::Silence) && cut || self.probes.own_failure().is_some() {
            self.cut_short = true;
        }
        outcome
    }

    pub(super) fn exchange(&mut self, session: Probe, bytes: &[u8], within: Duration) -> ProbeOutcome {
        self.send(session, bytes);
        self.receive(session, within)
    }

    pub(super) fn pause(&mut self, length: Duration) {
        let length = self.bounded(length);
        self.probes.pause(length);
        self.cut_short |= self.is_stopped();
    }

    pub(super) fn now(&self) -> Duration {
        self.probes.now()
    }

    pub(super) fn hosts(&self) -> u64 {
        self.probes.hosts()
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.probes.is_stopped()
    }

    pub(super) fn own_failure(&self) -> Option<String> {
        self.probes.own_failure()
    }

    pub(super) fn stalled(&self) -> Duration {
        self.probes.stalled()
    }

    pub(super) fn network(&self, host: u64) -> Option<IpAddr> {
        self.probes.network(host)
    }

    pub(super) fn spent(&self) -> Spent {
        self.probes.spent()
    }
}
