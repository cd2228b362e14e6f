//! Memory over a soak (M26): 2,000 messages a second for half an hour, and what is resident meanwhile.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::listeners::Frugal;
use super::{now, program};

/// The load, messages a second.
const RATE: u32 = 2_000;
/// How often memory is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The share of the time after which memory is warm: minute 5 of 30.
const WARM: f64 = 1.0 / 6.0;
/// What memory may grow after that.
const GROWTH: f64 = 0.05;

/// Soaks for so long; a table, and whether memory stayed.
///
/// # Errors
/// A process could not be started, or did not run to its end.
pub fn soak(length: Duration, folder: &Path) -> io::Result<(String, bool)> {
    let frugal = Frugal::start(1)?;
    let mut command = Command::new(program());
    command
        .args([
            "run",
            "--progress",
            "none",
            "--messages-per-session",
            "0",
            "--sessions",
            "100",
            "--size=1KiB",
        ])
        .args([format!("--target=smtp://{}", frugal.address), format!("--rate={RATE}/s")])
        .arg(format!("--for={}s", length.as_secs()))
        .arg("--out")
        .arg(folder.join("soak"));
    let said = folder.join("said");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&said)?);
    let started = now();
    let mut child = command.spawn()?;
    let status_of = format!("/proc/{}/status", child.id());
    let mut seen: Vec<(Duration, u64)> = Vec::new();
    let ended = loop {
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        let status = std::fs::read_to_string(&status_of).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        // The end of the run, with its report, is no part of the load.
        let at = started.elapsed();
        seen.extend(kib.filter(|_| at < length).map(|kib| (at, kib)));
        std::thread::sleep(LOOK);
    };
    // 98: late on a busy machine, which says nothing of its memory.
    if !ended.success() && ended.code() != Some(98) {
        let said = std::fs::read_to_string(said)?;
        return Err(io::Error::other(format!("smtpress ended with {ended}: {}", said.trim())));
    }
    let from = seen.iter().find(|(at, _)| *at >= length.mul_f64(WARM));
    let (Some(&(warm_at, warm)), Some(&(last_at, last))) = (from, seen.last()) else {
        return Err(io::Error::other("too short to see anything"));
    };
    let growth = last as f64 / warm as f64 - 1.0;
    let mut out = format!(
        "{RATE} messages a second for {} s, one thread a core, 100 sessions at most:\n\n",
        length.as_secs()
    );
    let _ = writeln!(out, "| second | resident, KiB |\n|---:|---:|");
    // Thirty lines, however long it was.
    let every = seen.len().div_ceil(30).max(1);
    for (at, kib) in seen.iter().step_by(every) {
        let _ = writeln!(out, "| {} | {kib} |", at.as_secs());
    }
    let _ = writeln!(
        out,
        "\nFrom second {} to second {}: {warm} to {last} KiB, {:+.2} % (less than {:.0} % is allowed, M26).",
        warm_at.as_secs(),
        last_at.as_secs(),
        growth * 100.0,
        GROWTH * 100.0
    );
    Ok((out, growth < GROWTH))
}
