//! Measures how late the loop of a load thread is (M5b), for each phase: the loop should wake every 10 ms, and the
//! delay of each wake-up is recorded.
//!
//! A closed load has no schedule against which it could be late: a generator that is stopped, throttled or starved of
//! CPU only sends less, and its measurements look like those of a slow listener. So each thread measures the lateness
//! of its own loop, and reads the time that the machine took from the thread. `collector::summary` decides what that
//! means for a run.
//!
//! # Decisions
//! - One wake-up counts as one delay of any length: a stop of a second is one delay, not a hundred late timers.
//! - A delay counts in the phase of the wake-up before, in the phase of the late wake-up, and in the phases between.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::host::{Host, Taken};
use crate::collector::histogram::Hist;
use crate::collector::snapshot::{Hindrance, LATE};

/// The interval of the timer.
const EVERY: Duration = Duration::from_millis(10);
/// Stalls up to this length are normal.
const STALL: Duration = Duration::from_millis(10);

/// Watches the loop of one thread.
#[derive(Debug)]
pub(super) struct LoopWatch {
    /// The measurements of each phase.
    phases: Vec<PhaseWatch>,
    phase: usize,
    /// The next scheduled time of the timer.
    due: Duration,
    /// The start of the phase, and the readings at that time.
    since: (Duration, Readings),
    /// The CPU time of the thread at the last wake-up.
    cpu: Duration,
    /// The host whose limits are read; one thread of the process has it.
    host: Option<Host>,
}

#[derive(Debug, Default)]
struct PhaseWatch {
    delays: Hist,
    /// The number of delays above [`LATE`].
    late: u64,
    /// The sum of the stalls: delays without the thread's own work, if longer than [`STALL`].
    stalled: Duration,
    longest: Duration,
    hindrance: Hindrance,
}

#[derive(Clone, Copy, Debug, Default)]
struct Readings {
    waited: Duration,
    waits: u64,
    taken: Taken,
}

impl LoopWatch {
    /// Starts to watch the current thread. `host`: given to one thread of the process only.
    pub fn new(phases: usize, host: Option<Host>) -> LoopWatch {
        LoopWatch {
            phases: (0..phases).map(|_| PhaseWatch::default()).collect(),
            phase: 0,
            due: EVERY,
            since: (Duration::ZERO, Readings::read(host.as_ref())),
            cpu: thread_cpu(),
            host,
        }
    }

    /// Returns the next scheduled time of the timer.
    pub fn due(&self) -> Duration {
        self.due
    }

    /// Notes a wake-up of the loop at `now`. `phase_at` returns the index of the phase at a time.
    pub fn turn(&mut self, now: Duration, phase_at: impl FnOnce(Duration) -> u32) {
        if now < self.due {
            return;
        }
        let delay = now - self.due;
        let cpu = thread_cpu();
        let stall = delay.saturating_sub(cpu.saturating_sub(self.cpu));
        let phase = (phase_at(now) as usize).clamp(self.phase, self.phases.len().saturating_sub(1));
        for met in &mut self.phases[self.phase..=phase] {
            met.delays.time(delay);
            met.late += u64::from(delay > LATE);
            if stall > STALL {
                met.stalled += stall;
                met.longest = met.longest.max(stall);
            }
        }
        if phase > self.phase {
            self.close(now);
            self.phase = phase;
        }
        (self.due, self.cpu) = (now + EVERY, cpu);
    }

    /// Ends the watch; returns what kept the thread from running, by phase.
    pub fn finish(mut self, now: Duration) -> Vec<Hindrance> {
        self.close(now);
        let found = |met: PhaseWatch| Hindrance {
            loop_delay_p99_ns: met.delays.late(),
            loop_delay_max_ns: met.delays.max_ns(),
            late: met.late,
            // The longest stall is left out: a single stall shows in the longest delay above.
            stalled: met.stalled - met.longest,
            ..met.hindrance
        };
        self.phases.into_iter().map(found).collect()
    }

    fn close(&mut self, now: Duration) {
        let (began, before) = self.since;
        let marks = Readings::read(self.host.as_ref());
        let taken = marks.taken.since(before.taken);
        self.phases[self.phase].hindrance = Hindrance {
            watched: now.saturating_sub(began),
            cpu_wait: marks.waited.saturating_sub(before.waited),
            cpu_waits: marks.waits.saturating_sub(before.waits),
            periods: taken.periods,
            throttled_periods: taken.throttled_periods,
            throttled: taken.throttled,
            stolen: taken.stolen,
            ..Hindrance::default()
        };
        self.since = (now, marks);
    }
}

impl Readings {
    fn read(host: Option<&Host>) -> Readings {
        let taken = host.map(Host::taken).unwrap_or_default();
        // Not every kernel has these counters.
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        // Time on a core, time waiting for one, both in nanoseconds, and the number of times on a core.
        let mut fields = stat.split_ascii_whitespace().skip(1).map(|field| field.parse().ok());
        match (fields.next().flatten(), fields.next().flatten()) {
            (Some(waited), Some(waits)) => Readings { waited: Duration::from_nanos(waited), waits, taken },
            _ => Readings { taken, ..Readings::default() },
        }
    }
}

fn thread_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Returns the measurements of a watch that wakes at these times, in milliseconds. The second phase begins at 1 s.
    fn watched(turns: impl IntoIterator<Item = u64>) -> Vec<Hindrance> {
        let mut watch = LoopWatch::new(2, None);
        let mut end = 0;
        for at in turns {
            watch.turn(ms(at), |now| u32::from(now >= ms(1000)));
            end = at;
        }
        watch.finish(ms(end))
    }

    #[test]
    fn a_loop_that_comes_round_in_time_is_late_by_nothing() {
        let found = watched((1..=2000).filter(|at| at % 10 == 0 || at % 7 == 0));
        assert!(found.iter().all(|phase| phase.loop_delay_max_ns < 7_000_000), "{found:?}");
        assert!(found.iter().all(|phase| phase.stalled.is_zero()), "{found:?}");
        assert_eq!((found[0].watched, found[1].watched), (ms(1000), ms(1000)));
    }

    #[test]
    fn a_stop_counts_once_and_in_each_phase_that_it_touches() {
        let awake = |at: &u64| at.is_multiple_of(10) && !(700..1500).contains(at);
        let found = watched((1..=2000).filter(awake));
        // The timer was due at 700 ms, and the loop woke at 1500 ms.
        assert_eq!(found[0].loop_delay_max_ns, 800_000_000);
        assert_eq!(found[1].loop_delay_max_ns, 800_000_000);
        assert!(found.iter().all(|phase| phase.stalled.is_zero()), "one alone is a hiccup: {found:?}");
        assert_eq!((found[0].watched, found[1].watched), (ms(1500), ms(500)));
        assert!(found[0].loop_delay_p99_ns < 1_000_000, "it is one of seventy");
    }

    #[test]
    fn stopped_for_half_of_the_time_is_stalled_for_nearly_half() {
        let found = watched((1..=1000).filter(|at| at % 100 >= 50));
        let stalled = found[0].stalled.as_millis();
        assert!((350..=500).contains(&stalled), "{found:?}");
        assert!((40_000_000..=51_000_000).contains(&found[0].loop_delay_p99_ns), "{found:?}");
        assert_eq!(found[0].late, 0, "none is above 50 ms: {found:?}");
        let found = watched((1..=1000).filter(|at| at % 100 >= 70));
        assert!((9..=10).contains(&found[0].late), "{found:?}");
    }

    #[test]
    fn what_a_thread_works_itself_is_no_stall() {
        let mut watch = LoopWatch::new(1, None);
        let began = thread_cpu();
        while thread_cpu() - began < ms(60) {
            std::hint::black_box(0);
        }
        watch.turn(ms(10 + 60), |_| 0);
        watch.turn(ms(10 + 60 + 10 + 60), |_| 0);
        watch.turn(ms(10 + 60 + 10 + 60 + 10 + 30), |_| 0);
        let found = watch.finish(ms(200));
        assert_eq!(found[0].loop_delay_max_ns, 60_000_000);
        // The first delay is 60 ms of work. The other delays are 60 and 30 ms without work, and the longest stall is
        // left out.
        assert!((ms(25)..=ms(31)).contains(&found[0].stalled), "{found:?}");
    }
}
