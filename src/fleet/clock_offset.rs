//! What an agent's clock shows when ours shows this: by the shortest of several round trips.

use std::time::Duration;

/// One question for the time, and its answer.
#[derive(Clone, Copy, Debug)]
pub struct RoundTrip {
    /// When it was sent, by our clock.
    pub sent: Duration,
    /// What the other clock showed when it was answered.
    pub theirs: Duration,
    /// When the answer came, by our clock.
    pub received: Duration,
}

/// How another clock stands to ours. Of both only differences mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentClock {
    /// Theirs less ours, in nanoseconds.
    ns: i128,
    /// How far from the truth that may be, at most: half of the shortest round trip.
    pub bound: Duration,
}

impl AgentClock {
    /// By the shortest of these round trips; `None` without any.
    pub fn of(trips: &[RoundTrip]) -> Option<AgentClock> {
        let shortest = trips.iter().min_by_key(|trip| trip.received.saturating_sub(trip.sent))?;
        let took = shortest.received.saturating_sub(shortest.sent);
        let middle = shortest.sent + took / 2;
        Some(AgentClock {
            ns: shortest.theirs.as_nanos() as i128 - middle.as_nanos() as i128,
            // A nanosecond for the half that division drops.
            bound: took / 2 + Duration::from_nanos(1),
        })
    }

    /// What their clock shows when ours shows `ours`; zero if that was before it began.
    pub fn theirs(&self, ours: Duration) -> Duration {
        let ns = ours.as_nanos() as i128 + self.ns;
        Duration::from_nanos(u64::try_from(ns.max(0)).unwrap_or(u64::MAX))
    }

    /// What our clock shows when theirs shows `theirs`; zero if that was before it began.
    pub fn ours(&self, theirs: Duration) -> Duration {
        let ns = theirs.as_nanos() as i128 - self.ns;
        Duration::from_nanos(u64::try_from(ns.max(0)).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the ways there and back take, the truth lies within the bound.
        #[test]
        fn the_truth_lies_within_the_bound(
            offset in -10_000_000_000_000_i64..10_000_000_000_000,
            ways in prop::collection::vec((0..50_000_000_u64, 0..50_000_000_u64), 1..20),
        ) {
            let mut now = 20_000_000_000_000_u64;
            let at = |ours: u64| Duration::from_nanos(ours.checked_add_signed(offset).unwrap());
            let mut trips = Vec::new();
            for (there, back) in ways {
                let arrived = now + there;
                let received = arrived + back;
                trips.push(RoundTrip {
                    sent: Duration::from_nanos(now), theirs: at(arrived), received: Duration::from_nanos(received),
                });
                now = received + 1_000_000;
            }
            let found = AgentClock::of(&trips).unwrap();
            let (guess, truth) = (found.theirs(Duration::from_nanos(now)), at(now));
            prop_assert!(guess.abs_diff(truth) <= found.bound, "{guess:?} {truth:?} {found:?}");
        }
    }

    #[test]
    fn the_shortest_round_trip_decides() {
        let ms = Duration::from_millis;
        let trip =
            |sent, theirs, received| RoundTrip { sent: ms(sent), theirs: ms(theirs), received: ms(received) };
        // An hour ahead; the first answer was slow, and all on the way back.
        let found = AgentClock::of(&[trip(0, 3_600_001, 100), trip(200, 3_600_201, 202)]).unwrap();
        assert_eq!(found.theirs(ms(300)), ms(3_600_300));
        assert_eq!(found.bound, ms(1) + Duration::from_nanos(1));
        assert_eq!(AgentClock::of(&[]), None);
    }
}
