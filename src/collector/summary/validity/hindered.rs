//! Decides whether the load threads could run when they had work (M5b), under any load model.
//!
//! # Decisions
//! - The bounds of M5b: the loop is more than 50 ms late in one turn of a hundred, or more than 250 ms late once. A
//!   generator that in turn is stopped for 50 ms and runs for 50 ms stays just below the first bound. So a phase counts,
//!   too, if stalls of more than 10 ms add up to more than a tenth of its time.
//! - These bounds do not detect another process on the same core, because the kernel switches every few milliseconds. For
//!   that case the bound is that the thread waited for a core for more than a quarter of the time, and for more than a
//!   millisecond at a time on average. A listener on the same machine returns the core much sooner, because it waits for
//!   input after each answer.
//! - A single late turn below 250 ms, or a single throttled period, makes no run invalid. In a phase of few turns one
//!   late turn is more than one of a hundred, so the 99th percentile counts only if [`LATE_TURNS`] turns were late.

use std::time::Duration;

use crate::collector::histogram::least_read_as;
use crate::collector::snapshot::{Hindrance, LATE};

/// The least number of late turns for which the 99th percentile counts: one of a hundred in a phase of five seconds.
const LATE_TURNS: u64 = 5;
/// The lateness of the loop that may not be exceeded even once.
const LOOP_MAX: Duration = Duration::from_millis(250);
/// The share of a phase that stalls may add up to, and the sum that is allowed in a short phase.
const STALLED: f64 = 0.1;
const STALLED_FLOOR: Duration = Duration::from_millis(100);
/// The share of the time for which a thread may wait for a core, and the mean wait up to which any share is allowed.
const WAITING: f64 = 0.25;
const WAIT: Duration = Duration::from_millis(1);
/// The allowed share of throttled periods of the quota.
const THROTTLED: f64 = 0.05;
/// The time that the hypervisor may take, as a share of the time of one core.
const STOLEN: f64 = 0.1;

/// Returns a sentence if the load threads stood still or waited for a core.
pub(super) fn stalled(met: &Hindrance) -> Option<String> {
    let watched = met.watched.as_secs_f64().max(1e-9);
    let (p99, max) =
        (Duration::from_nanos(met.loop_delay_p99_ns), Duration::from_nanos(met.loop_delay_max_ns));
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let wait = met.cpu_wait.checked_div(u32::try_from(met.cpu_waits).unwrap_or(u32::MAX)).unwrap_or_default();
    let what = if max > LOOP_MAX {
        format!("a load thread stood still for {:.0} ms, {:.0} ms are allowed", ms(max), ms(LOOP_MAX))
    } else if Duration::from_nanos(least_read_as(met.loop_delay_p99_ns)) > LATE && met.late >= LATE_TURNS {
        format!(
            "the loop of a load thread was {:.1} ms late or more in 1 % of its turns, {:.0} ms are allowed",
            ms(p99),
            ms(LATE)
        )
    } else if met.stalled > STALLED_FLOOR.max(met.watched.mul_f64(STALLED)) {
        let share = met.stalled.as_secs_f64() / watched * 100.0;
        format!(
            "a load thread stood still for {share:.0} % of the time, {:.0} % are allowed",
            STALLED * 100.0
        )
    } else if met.cpu_wait.as_secs_f64() > WAITING * watched && wait > WAIT && met.watched > STALLED_FLOOR {
        let share = met.cpu_wait.as_secs_f64() / watched * 100.0;
        return Some(format!(
            "a load thread had work and no core for {share:.0} % of the time, {:.1} ms at a time: other processes run on its \
             cores; end them, or give smtpress cores or a machine of its own",
            ms(wait)
        ));
    } else {
        return None;
    };
    Some(format!(
        "{what}: what it measured meanwhile is its own slowness; see what stops the process (a signal, a frozen container, \
         other work on its cores), lower the load, or run it on a machine of its own"
    ))
}

/// Returns a sentence if the machine kept the process from running.
pub(super) fn throttled(met: &Hindrance) -> Option<String> {
    let watched = met.watched.as_secs_f64();
    if met.throttled_periods > 1 && met.throttled_periods as f64 > THROTTLED * met.periods as f64 {
        return Some(format!(
            "the control group of smtpress had used up its CPU quota in {} of {} periods and was held up for {:.2} s, {:.0} % of \
             the periods are allowed; raise the quota (cpu.max, `docker run --cpus`), or lower the load",
            met.throttled_periods,
            met.periods,
            met.throttled.as_secs_f64(),
            THROTTLED * 100.0
        ));
    }
    let stolen = met.stolen.as_secs_f64();
    (stolen > (STOLEN * watched).max(STALLED_FLOOR.as_secs_f64())).then(|| {
        format!(
            "the hypervisor took {stolen:.2} s of CPU from this virtual machine in {watched:.1} s (steal), {:.0} % are allowed; \
             use a machine that is not shared, or run again when its host is idle",
            STOLEN * 100.0
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(seconds: u64) -> Hindrance {
        Hindrance { watched: Duration::from_secs(seconds), ..Hindrance::default() }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn m5b_bounds_of_the_loop_delay_are_50_ms_in_p99_and_250_ms_once() {
        let delay = |p99: u64, max: u64| Hindrance {
            loop_delay_p99_ns: p99 * 1_000_000,
            loop_delay_max_ns: max * 1_000_000,
            late: 10,
            ..over(10)
        };
        assert_eq!(stalled(&delay(50, 250)), None);
        assert!(stalled(&delay(51, 250)).unwrap().contains("51.0 ms late or more in 1 % of its turns"));
        assert!(stalled(&delay(1, 251)).unwrap().starts_with("a load thread stood still for 251 ms, 250 ms"));
    }

    #[test]
    fn m5b_one_late_turn_of_few_is_a_hiccup_and_five_are_none() {
        let late = |late| Hindrance {
            loop_delay_p99_ns: 90_000_000,
            loop_delay_max_ns: 90_000_000,
            late,
            ..Hindrance { watched: ms(800), ..Hindrance::default() }
        };
        assert_eq!((stalled(&late(1)), stalled(&late(4))), (None, None));
        assert!(stalled(&late(5)).unwrap().contains("90.0 ms late or more"));
        // A single long stop makes the run invalid, even a short run.
        let stop = Hindrance { loop_delay_max_ns: 290_000_000, ..late(1) };
        assert!(stalled(&stop).unwrap().contains("stood still for 290 ms"));
        // So do short stops that add up: three stops of 90 ms in 800 ms, of which the longest is left out.
        let stops = Hindrance { stalled: ms(180), ..late(3) };
        assert!(stalled(&stops).unwrap().contains("stood still for 22 % of the time"));
    }

    #[test]
    fn m5b_stopped_for_half_of_the_time_in_short_stops() {
        let half = |seconds| Hindrance {
            stalled: ms(seconds * 450),
            loop_delay_p99_ns: 49_000_000,
            ..over(seconds)
        };
        assert!(stalled(&half(2)).unwrap().contains("stood still for 45 % of the time"));
        assert!(stalled(&half(600)).is_some());
        assert_eq!(stalled(&Hindrance { stalled: ms(1000), ..over(10) }), None, "a tenth is allowed");
        assert_eq!(
            stalled(&Hindrance { stalled: ms(90), ..Hindrance::default() }),
            None,
            "in a run of an instant"
        );
    }

    #[test]
    fn m5b_another_process_on_its_core_and_not_a_listener_that_hands_it_back() {
        let waits = |wait: u64, each_us: u64| Hindrance {
            cpu_wait: ms(wait),
            cpu_waits: wait * 1000 / each_us,
            ..over(4)
        };
        assert!(
            stalled(&waits(1600, 2000)).unwrap().contains("no core for 40 % of the time, 2.0 ms at a time")
        );
        assert_eq!(stalled(&waits(1600, 100)), None);
        assert_eq!(stalled(&waits(800, 2000)), None);
    }

    #[test]
    fn m5b_throttled_by_its_quota_or_by_the_hypervisor() {
        let quota = |throttled, periods| Hindrance { throttled_periods: throttled, periods, ..over(10) };
        assert!(throttled(&quota(95, 100)).unwrap().contains("95 of 100 periods"));
        assert!(throttled(&quota(6, 100)).is_some());
        assert_eq!(throttled(&quota(5, 100)), None);
        assert_eq!(throttled(&quota(1, 2)), None, "one is a hiccup");
        let stolen = |taken| Hindrance { stolen: ms(taken), ..over(10) };
        assert_eq!(throttled(&stolen(1000)), None);
        assert!(throttled(&stolen(1010)).unwrap().contains("(steal)"));
    }
}
