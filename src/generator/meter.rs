//! The resources of this process, once a second: CPU, memory, descriptors.

use std::time::Duration;

use nix::unistd::SysconfVar;

use super::clock;
use crate::collector::snapshot::Health;

/// A CPU use above this share of the allowance is saturation (M23).
const SATURATED: f64 = 0.85;

/// Samples the resources of this process.
pub(super) struct ProcessMeter {
    allowance: f64,
    /// The share of the allowance that was used, by second.
    shares: Vec<f64>,
    used: f64,
    at: std::time::Instant,
    peak_rss: u64,
    peak_sessions: u64,
}

impl ProcessMeter {
    /// Creates a meter. `allowance` is the number of cores that the load threads may use.
    pub fn new(allowance: f64) -> ProcessMeter {
        ProcessMeter {
            allowance,
            shares: Vec::new(),
            used: generator_cpu(),
            at: clock::now(),
            peak_rss: 0,
            peak_sessions: 0,
        }
    }

    pub fn second(&mut self, sessions: u64) {
        let (used, at) = (generator_cpu(), clock::now());
        let passed = (at - self.at).as_secs_f64();
        // After a stall of this thread, several seconds may end at once.
        let share = if passed > 0.2 { (used - self.used) / passed / self.allowance } else { 0.0 };
        if passed > 0.2 {
            (self.used, self.at) = (used, at);
        }
        self.shares.push(share);
        self.peak_rss = self.peak_rss.max(resident_bytes());
        self.peak_sessions = self.peak_sessions.max(sessions);
    }

    pub fn health(
        &self,
        starts: &[Duration],
        windows: &[Duration],
        cpu: (Duration, Duration),
        took: Duration,
        ports_used: u64,
    ) -> Health {
        let saturated = |(start, window): (&Duration, &Duration)| {
            let from = start.as_secs() as usize;
            let to = start.saturating_add(*window).as_secs().max(start.as_secs() + 1) as usize;
            let seconds = self.shares.get(from..to.min(self.shares.len())).unwrap_or_default();
            let above = seconds.iter().filter(|share| **share > SATURATED).count();
            if seconds.is_empty() { 0.0 } else { above as f64 / seconds.len() as f64 }
        };
        let (user, system) = (cpu.0.as_secs_f64(), cpu.1.as_secs_f64());
        Health {
            allowed_cores: self.allowance,
            hindrances: Vec::new(),
            cpu_share: (user + system) / took.as_secs_f64().max(1e-9) / self.allowance,
            cpu_saturated: starts.iter().zip(windows).map(saturated).collect(),
            cpu_user_s: user,
            cpu_system_s: system,
            peak_descriptors: self.peak_sessions + super::preflight::open_descriptors(),
            peak_rss_bytes: self.peak_rss.max(resident_bytes()),
            ports_used,
            clock_drift_ns: 0,
            lost_workers: 0,
        }
    }
}

/// Returns the CPU seconds of the generator's threads so far (those named `load-`), without other threads of the process.
fn generator_cpu() -> f64 {
    let ticks = |stat: &str| -> Option<u64> {
        // The name may hold spaces and brackets; the fields after it do not.
        let (head, rest) = stat.rsplit_once(')')?;
        if !head.contains("(load-") {
            return None;
        }
        let mut fields = rest.split_ascii_whitespace().skip(11);
        Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
    };
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0.0 };
    let sum: u64 = tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok())
        .filter_map(|stat| ticks(&stat))
        .sum();
    // The unit of both fields is USER_HZ, which is 100 on Linux.
    sum as f64 / 100.0
}

/// Returns the resident memory of this process in bytes; 0 if unknown.
pub fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|statm| statm.split_ascii_whitespace().nth(1)?.parse::<u64>().ok())
        .unwrap_or(0);
    // A page has 16 or 64 KiB on some machines.
    let page = nix::unistd::sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    pages * page.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resident_memory_is_that_which_the_kernel_names_in_kilobytes() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kilobytes: u64 = line.split_ascii_whitespace().next().unwrap().parse().unwrap();
        let ratio = resident_bytes() as f64 / (kilobytes * 1024) as f64;
        assert!((0.5..2.0).contains(&ratio), "{ratio}");
    }

    #[test]
    fn m23_the_share_of_saturated_seconds_is_that_of_each_phase_alone() {
        let mut meter = ProcessMeter::new(1.0);
        // Five quiet seconds, then twenty of which two are above 85 %.
        meter.shares = [vec![0.2; 5], vec![0.85; 18], vec![0.86, 1.0]].concat();
        let seconds = Duration::from_secs;
        let saturated = |starts: &[u64], windows: &[u64]| {
            let of = |values: &[u64]| values.iter().map(|value| seconds(*value)).collect::<Vec<_>>();
            meter.health(&of(starts), &of(windows), (seconds(3), seconds(2)), seconds(25), 0).cpu_saturated
        };
        assert_eq!(saturated(&[0, 5], &[5, 20]), [0.0, 0.1]);
        assert_eq!(saturated(&[24], &[0]), [1.0], "a phase of less than a second is that second");
        assert_eq!(saturated(&[30], &[5]), [0.0], "of a phase that was never reached nothing is known");
        let health = meter.health(&[], &[], (seconds(3), seconds(2)), seconds(25), 0);
        assert!(
            (health.cpu_share - 0.2).abs() < 1e-9,
            "5 of 25 CPU seconds of one thread: {}",
            health.cpu_share
        );
    }
}
