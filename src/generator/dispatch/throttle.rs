//! The pauses of closed loads after sessions that could not be opened.

use std::time::Duration;

use crate::plan::Reconnect;

/// The largest number of openings at once on a worker, for closed loads and held sessions. Open loads open sessions as
/// their arrivals come.
pub(super) const MAX_OPENING: u64 = 256;

/// Decides how many sessions of closed loads may be opened. Open loads have no pauses.
///
/// After a failure one session is tried at a time, at growing intervals; each success doubles how many may be tried at
/// once. So a limit of the listener is not hit in a fast loop, and the target concurrency is reached again soon after
/// the limit is lifted.
#[derive(Debug)]
pub(super) struct Throttle {
    pauses: Reconnect,
    probe: u64,
    failures: i32,
    not_before: Duration,
}

impl Throttle {
    pub fn new(pauses: Reconnect) -> Throttle {
        Throttle { pauses, probe: u64::MAX, failures: 0, not_before: Duration::ZERO }
    }

    /// Whether a closed load may open another session. `opening`: the number of sessions that are being opened.
    pub fn allows(&self, now: Duration, opening: u64) -> bool {
        opening < self.probe.min(MAX_OPENING) && now >= self.not_before
    }

    /// Returns the time at which the pause ends, if it is after `now`.
    pub fn next_change(&self, now: Duration) -> Option<Duration> {
        Some(self.not_before).filter(|at| *at > now)
    }

    /// Notes that a session served something.
    pub fn succeeded(&mut self) {
        self.rested();
        self.not_before = Duration::ZERO;
    }

    /// Notes that a session is open and idle. The listener may still close the session before it serves anything, so a
    /// pause goes on.
    pub fn rested(&mut self) {
        self.failures = 0;
        self.probe = self.probe.saturating_mul(2);
    }

    /// Notes a failure; returns whether a pause started with it.
    pub fn failed(&mut self, now: Duration) -> bool {
        self.probe = 1;
        if now < self.not_before {
            return false;
        }
        self.not_before = now.saturating_add(self.pauses.after(self.failures));
        self.failures = self.failures.saturating_add(1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn the_throttle_backs_off_and_recovers() {
        let ms = Duration::from_millis;
        let mut throttle = Throttle::new(Reconnect::default());
        assert!(throttle.allows(ms(0), 200));
        assert!(throttle.failed(ms(0)));
        assert!(!throttle.failed(ms(10)), "failures of one volley are one back-off");
        assert!(!throttle.allows(ms(49), 0));
        assert!(throttle.allows(ms(50), 0) && !throttle.allows(ms(50), 1));
        assert!(throttle.failed(ms(50)));
        assert_eq!(throttle.next_change(ms(50)), Some(ms(150)));
        for n in 0..20 {
            throttle.failed(ms(10_000 * n));
        }
        assert!(throttle.allows(ms(191_000), 0), "never more than a second");
        throttle.succeeded();
        assert!(throttle.allows(ms(191_000), 1) && !throttle.allows(ms(191_000), 2));
    }
}
