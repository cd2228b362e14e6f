//! The times of one arrival, and the parts of its response time.

use std::time::Duration;

use super::dispatch::ScheduledArrival;

/// The times of an arrival that started, since the run's epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// When the arrival was assigned to a session.
    pub decided: Duration,
    /// The start of the opening of a session for the arrival; `None`: the arrival got a free session, or is a session
    /// itself.
    pub opened: Option<Duration>,
    /// The start of the service: MAIL was written, or the session started (unit `session`). `None`: the session failed
    /// before.
    pub served: Option<Duration>,
    /// The end.
    pub ended: Duration,
}

impl Times {
    /// Returns when the arrival started.
    pub fn started(&self) -> Duration {
        self.opened.or(self.served).unwrap_or(self.ended)
    }

    /// Returns the parts of the arrival's response time. Their sum is exactly the response time.
    pub fn parts(&self, arrival: ScheduledArrival) -> ResponseParts {
        // The clock is read at different places, so two readings may cross by a negligible time.
        let noticed = arrival.noticed.max(arrival.intended);
        let started = self.started().max(noticed);
        let decided = self.decided.clamp(noticed, started);
        let ended = self.ended.max(started);
        let served = match self.served {
            Some(served) => served.clamp(started, ended),
            None if self.opened.is_some() => ended,
            None => started,
        };
        ResponseParts {
            lag: (noticed - arrival.intended) + (started - decided),
            wait: decided - noticed,
            setup: served - started,
            service: ended - served,
        }
    }
}

/// The parts of the response time of an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ResponseParts {
    /// The lateness of the generator: until it noticed the time of the arrival, and until it carried out the decision.
    pub lag: Duration,
    /// The wait for a free session.
    pub wait: Duration,
    /// The opening of a session for the arrival.
    pub setup: Duration,
    /// The service by the listener.
    pub service: Duration,
}

impl ResponseParts {
    /// Returns the time from the intended start to the end.
    pub fn response(&self) -> Duration {
        self.lag + self.wait + self.setup + self.service
    }
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    const NONE: Duration = Duration::ZERO;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn arrival(intended: u64, noticed: u64) -> ScheduledArrival {
        ScheduledArrival { seq: 0, phase: 0, intended: ms(intended), noticed: ms(noticed), earlier: None }
    }

    #[test]
    fn each_stretch_of_time_is_charged_to_the_one_who_caused_it() {
        let parts = |decided, opened: Option<u64>, served: Option<u64>, ended| {
            let times = Times {
                decided: ms(decided),
                opened: opened.map(ms),
                served: served.map(ms),
                ended: ms(ended),
            };
            times.parts(arrival(0, 1))
        };
        // The session was opened at once. The half second until MAIL is the listener's, so there is no wait.
        let opened = parts(1, Some(2), Some(502), 510);
        assert_eq!(opened, ResponseParts { lag: ms(2), wait: NONE, setup: ms(500), service: ms(8) });
        // A slot became free after a second, and a session was opened in it.
        let waited = parts(1001, Some(1002), Some(1502), 1510);
        assert_eq!(waited, ResponseParts { lag: ms(2), wait: ms(1000), setup: ms(500), service: ms(8) });
        // An open session became free.
        let free = parts(1001, None, Some(1003), 1010);
        assert_eq!(free, ResponseParts { lag: ms(3), wait: ms(1000), setup: NONE, service: ms(7) });
        // The session was refused at the greeting, so the arrival was never served.
        let refused = parts(1, Some(2), None, 502);
        assert_eq!(refused, ResponseParts { lag: ms(2), wait: NONE, setup: ms(500), service: NONE });
    }

    proptest! {
        #[test]
        fn the_parts_are_the_response_exactly_whatever_the_clock_readings(
            intended in 0_u64..1 << 40,
            noticed in 0_u64..1 << 40,
            decided in 0_u64..1 << 40,
            opened in option::of(0_u64..1 << 40),
            served in option::of(0_u64..1 << 40),
            ended in 0_u64..1 << 40,
        ) {
            let at = Duration::from_nanos;
            let arrival = ScheduledArrival { intended: at(intended), noticed: at(noticed), ..arrival(0, 0) };
            let times = Times { decided: at(decided), opened: opened.map(at), served: served.map(at), ended: at(ended) };
            let parts = times.parts(arrival);
            // The clock is monotonic: the end is the latest reading.
            let end = at(ended).max(times.started()).max(at(noticed)).max(at(intended));
            prop_assert_eq!(parts.lag + parts.wait + parts.setup + parts.service, end - at(intended));
            prop_assert_eq!(parts.response(), end - at(intended));
            prop_assert!(opened.is_some() || parts.setup == NONE, "nothing was opened for it");
        }

        #[test]
        fn readings_in_their_order_are_taken_as_they_are(steps in prop::array::uniform5(0_u64..1 << 40), opens: bool) {
            let [noticed, decided, opened, served, ended] = steps.map(Duration::from_nanos);
            let arrival = ScheduledArrival { noticed: ms(1) + noticed, ..arrival(1, 1) };
            let decided_at = arrival.noticed + decided;
            let started = decided_at + opened;
            let served_at = if opens { started + served } else { started };
            let times = Times {
                decided: decided_at,
                opened: opens.then_some(started),
                served: Some(served_at),
                ended: served_at + ended,
            };
            let setup = if opens { served } else { NONE };
            prop_assert_eq!(times.parts(arrival), ResponseParts { lag: noticed + opened, wait: decided, setup, service: ended });
        }
    }
}
