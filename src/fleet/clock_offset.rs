//! The offset between the agent's clock and the coordinator's, measured by the shortest of several round trips.

use std::time::Duration;

/// A request for the time, and its answer.
#[derive(Clone, Copy, Debug)]
pub struct RoundTrip {
    /// The time at which the request was sent, by the coordinator's clock.
    pub sent: Duration,
    /// The reading of the agent's clock when the agent answered.
    pub theirs: Duration,
    /// The time at which the answer came, by the coordinator's clock.
    pub received: Duration,
}

/// The offset of an agent's clock. Both clocks are monotonic: only their differences have a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentClock {
    /// The agent's clock minus the coordinator's, in nanoseconds.
    ns: i128,
    /// The bound of its error: half of the shortest round trip.
    pub bound: Duration,
}

impl AgentClock {
    /// Returns the offset by the shortest of these round trips; `None` if there are none.
    pub fn of(trips: &[RoundTrip]) -> Option<AgentClock> {
        let shortest = trips.iter().min_by_key(|trip| trip.received.saturating_sub(trip.sent))?;
        let took = shortest.received.saturating_sub(shortest.sent);
        let middle = shortest.sent + took / 2;
        Some(AgentClock {
            ns: shortest.theirs.as_nanos() as i128 - middle.as_nanos() as i128,
            // Rounds up: division drops half a nanosecond.
            bound: took / 2 + Duration::from_nanos(1),
        })
    }

    /// Returns the reading of the agent's clock when the coordinator's clock shows `ours`; zero if that is before its start.
    pub fn theirs(&self, ours: Duration) -> Duration {
        let ns = ours.as_nanos() as i128 + self.ns;
        Duration::from_nanos(u64::try_from(ns.max(0)).unwrap_or(u64::MAX))
    }

    /// Returns how far the agent's clock is ahead of another clock, in nanoseconds: that clock shows `other` when the
    /// coordinator's shows `ours`.
    pub fn ahead_of(&self, other: Duration, ours: Duration) -> i64 {
        let ahead = self.theirs(ours).as_nanos() as i128 - other.as_nanos() as i128;
        i64::try_from(ahead).unwrap_or(i64::MAX)
    }

    /// Returns the reading of the coordinator's clock when the agent's clock shows `theirs`; zero if that is before its
    /// start.
    pub fn ours(&self, theirs: Duration) -> Duration {
        let ns = theirs.as_nanos() as i128 - self.ns;
        Duration::from_nanos(u64::try_from(ns.max(0)).unwrap_or(u64::MAX))
    }
}

/// Returns the clocks of all agents by their round trips, in the order of the agents.
///
/// # Errors
/// The clocks that cannot be used, by the index of their agents, and why. `silent`: the agent that did not answer, and
/// why; the others were not asked again.
pub fn clocks_of(
    trips: &[Vec<RoundTrip>],
    silent: Option<(u32, String)>,
    most: Duration,
) -> Result<Vec<AgentClock>, Vec<(u32, String)>> {
    if let Some((agent, why)) = silent {
        return Err(vec![(agent, format!("it did not answer with its time: {why}"))]);
    }
    let (mut clocks, mut faults) = (Vec::new(), Vec::new());
    for (agent, trips) in (0..).zip(trips) {
        match AgentClock::of(trips) {
            Some(clock) if clock.bound <= most => clocks.push(clock),
            Some(clock) => {
                let why = format!(
                    "its clock is known to {:.1} ms only, {:.1} ms are allowed (--max-start-skew): the shortest of {} round trips \
                     took twice that",
                    clock.bound.as_secs_f64() * 1e3,
                    most.as_secs_f64() * 1e3,
                    trips.len()
                );
                faults.push((agent, why));
            }
            None => faults.push((agent, "it was not asked for its time".to_owned())),
        }
    }
    if faults.is_empty() { Ok(clocks) } else { Err(faults) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The error of the offset is at most the bound, however long each direction takes.
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
        // The agent's clock is an hour ahead. The first answer was slow on the way back only.
        let found = AgentClock::of(&[trip(0, 3_600_001, 100), trip(200, 3_600_201, 202)]).unwrap();
        assert_eq!(found.theirs(ms(300)), ms(3_600_300));
        assert_eq!(found.bound, ms(1) + Duration::from_nanos(1));
        assert_eq!(AgentClock::of(&[]), None);
    }

    #[test]
    fn only_the_agent_that_did_not_answer_is_named() {
        let ms = Duration::from_millis;
        let trip = |took: u64| RoundTrip { sent: ms(100), theirs: ms(5), received: ms(100 + took) };
        let trips = [vec![trip(2), trip(4)], vec![trip(2)], vec![trip(2)]];
        let silent = Some((1, "no answer: 3.0 s are over".to_owned()));
        let faults = clocks_of(&trips, silent, ms(10)).unwrap_err();
        assert_eq!(faults, [(1, "it did not answer with its time: no answer: 3.0 s are over".to_owned())]);
        assert_eq!(clocks_of(&trips, None, ms(10)).unwrap().len(), 3);
        let slow = [vec![trip(2)], vec![trip(30)]];
        let faults = clocks_of(&slow, None, ms(10)).unwrap_err();
        assert!(faults.len() == 1 && faults[0].0 == 1 && faults[0].1.contains("15.0 ms only"), "{faults:?}");
    }
}
