//! Relates the clocks of two processes.
//!
//! # Decisions
//! - Processes of one boot and one time namespace share the kernel's monotonic clock, so the times of two processes can
//!   be subtracted.
//! - Between two machines only the wall clocks can be related, by a measured offset with its bound. Without an offset
//!   the times of the other machine are unknown.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::collector::delivery::ClockRelation;

/// A reading of both clocks of a machine at one moment. As JSON `{"wall": "2026-11-28T12:00:00.000001Z", "mono_us":
/// 12}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockReading {
    /// The wall clock, since the Unix epoch.
    #[serde(serialize_with = "write_wall", deserialize_with = "read_wall")]
    pub wall: Duration,
    /// The monotonic clock, since an unspecified moment of the boot.
    #[serde(rename = "mono_us", serialize_with = "write_micros", deserialize_with = "read_micros")]
    pub mono: Duration,
}

impl ClockReading {
    /// Reads the clocks of this machine.
    pub fn now() -> ClockReading {
        ClockReading { wall: read_clock(ClockId::CLOCK_REALTIME), mono: read_clock(ClockId::CLOCK_MONOTONIC) }
    }

    /// Returns the reading of the clocks at another moment, computed from the present one, with the stored precision of
    /// microseconds.
    pub fn at(moment: Instant) -> ClockReading {
        let (here, now) = (now(), ClockReading::now());
        let (ahead, behind) =
            (moment.saturating_duration_since(here), here.saturating_duration_since(moment));
        let moved = |time: Duration| {
            let time = (time + ahead).saturating_sub(behind);
            Duration::new(time.as_secs(), time.subsec_micros() * 1_000)
        };
        ClockReading { wall: moved(now.wall), mono: moved(now.mono) }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the reading that relates a moment to the clocks of the system"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

fn read_clock(clock: ClockId) -> Duration {
    // Every Linux has both clocks.
    clock_gettime(clock).map(Duration::from).unwrap_or_default()
}

/// Returns the name of the monotonic clock of this process, made of the boot and the time namespace; `None` if they
/// cannot be read.
pub fn clock_name() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    // A kernel without time namespaces has one clock for all.
    let namespace = std::fs::read_link("/proc/self/ns/time").unwrap_or_default();
    Some(format!("{} {}", boot.trim(), namespace.display()).trim_end().to_owned())
}

/// The measured offset by which the receiver's wall clock is ahead of the run's wall clock: `1.2ms+-0.3ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockOffset {
    /// The offset in nanoseconds; below zero if the receiver's clock is behind.
    pub ahead_ns: i64,
    /// The bound of its error.
    pub bound: Duration,
}

impl FromStr for ClockOffset {
    type Err = String;

    fn from_str(text: &str) -> Result<ClockOffset, String> {
        let wrong = |why: &str| {
            format!("{text:?} is no clock offset ({why}): write it with its bound, as 1.2ms+-0.3ms")
        };
        let (offset, bound) =
            text.split_once("+-").or_else(|| text.split_once('±')).ok_or_else(|| wrong("no bound"))?;
        let (sign, offset) = match offset.trim().strip_prefix('-') {
            Some(offset) => (-1, offset),
            None => (1, offset.trim().trim_start_matches('+')),
        };
        let length =
            |text: &str| seconds(text.trim()).ok_or_else(|| wrong("a number with s, ms or us is wanted"));
        let ahead = i64::try_from(length(offset)?.as_nanos()).map_err(|_| wrong("too long"))?;
        Ok(ClockOffset { ahead_ns: sign * ahead, bound: length(bound)? })
    }
}

impl fmt::Display for ClockOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}us+-{}us", self.ahead_ns as f64 / 1e3, self.bound.as_nanos() as f64 / 1e3)
    }
}

impl ClockOffset {
    /// Returns this offset with a bound that also covers a later measurement, because the clocks may have drifted in
    /// between.
    #[must_use]
    pub fn covering(self, later: ClockOffset) -> ClockOffset {
        let drifted = Duration::from_nanos(later.ahead_ns.abs_diff(self.ahead_ns));
        ClockOffset { bound: self.bound.max(drifted + later.bound), ..self }
    }
}

/// The clocks of a receiver's machine.
#[derive(Clone, Debug)]
pub struct HopClock {
    /// The name of the monotonic clock; `None`: unknown.
    pub name: Option<String>,
    /// The time by which the wall clock is ahead of this machine's, in nanoseconds; tests use it to simulate another
    /// machine.
    pub ahead_ns: i64,
}

impl HopClock {
    /// Returns the clocks of this machine.
    pub fn here() -> HopClock {
        HopClock { name: clock_name(), ahead_ns: 0 }
    }

    /// Returns the present reading of the clocks.
    pub fn now(&self) -> ClockReading {
        self.shifted(ClockReading::now())
    }

    /// Returns the reading of the clocks at another moment.
    pub fn at(&self, moment: Instant) -> ClockReading {
        self.shifted(ClockReading::at(moment))
    }

    fn shifted(&self, here: ClockReading) -> ClockReading {
        let by = Duration::from_nanos(self.ahead_ns.unsigned_abs());
        let wall = if self.ahead_ns < 0 { here.wall.saturating_sub(by) } else { here.wall + by };
        ClockReading { wall, ..here }
    }
}

/// The command that asks a receiver for its wall clock.
pub const CLOCK_QUESTION: &[u8] = b"NOOP smtpress-clock\r\n";
const CLOCK_WORD: &str = "smtpress-clock";
/// The start of the answer, after the code.
const CLOCK_ANSWER: &str = "2.0.0 smtpress-clock ";

/// Returns the receiver's answer to a NOOP with this word, including the code; `None`: the word does not ask for the
/// clock.
pub(super) fn clock_question_answer(word: &str, now: ClockReading) -> Option<String> {
    let (seconds, nanos) = (now.wall.as_secs(), now.wall.subsec_nanos());
    (word == CLOCK_WORD).then(|| format!("250 {CLOCK_ANSWER}{seconds}.{nanos:09}"))
}

/// Parses the answer without its code. Returns the receiver's wall clock since the Unix epoch; `None`: the answer does
/// not hold a clock.
pub fn clock_answer(text: &str) -> Option<Duration> {
    let (seconds, nanos) = text.strip_prefix(CLOCK_ANSWER)?.split_once('.')?;
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_exact = is_number(seconds) && is_number(nanos) && nanos.len() == 9;
    let (seconds, nanos) = (seconds.parse().ok()?, nanos.parse().ok()?);
    is_exact.then(|| Duration::new(seconds, nanos))
}

/// Parses a length of time with a fraction, such as `1.2ms`. `0` needs no unit.
fn seconds(text: &str) -> Option<Duration> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    let scale = match unit.trim() {
        "s" => 1.0,
        "ms" => 1e-3,
        "us" | "µs" => 1e-6,
        "ns" => 1e-9,
        "" if number == 0.0 => 1.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * scale).ok().filter(|length| length.as_secs() < 1 << 31)
}

/// The relation of another process's clocks to those of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct TwoClocks {
    relation: ClockRelation,
    /// The reading of the run's clocks at its epoch.
    epoch: ClockReading,
}

impl TwoClocks {
    /// Relates two clocks. `run` and `other` are the names of their monotonic clocks.
    pub fn new(
        epoch: ClockReading,
        run: Option<&str>,
        other: Option<&str>,
        offset: Option<ClockOffset>,
    ) -> TwoClocks {
        let relation = match offset {
            _ if run.is_some() && run == other => ClockRelation::Same,
            Some(ClockOffset { ahead_ns, bound }) => ClockRelation::Offset { ahead_ns, bound },
            None => ClockRelation::Unknown,
        };
        TwoClocks { relation, epoch }
    }

    /// Returns an unknown relation.
    pub fn unrelated() -> TwoClocks {
        TwoClocks { relation: ClockRelation::Unknown, epoch: ClockReading::default() }
    }

    pub fn relation(&self) -> ClockRelation {
        self.relation
    }

    /// Returns the nanoseconds from the run's epoch to a reading of the other process; `None` if unknown.
    pub fn since_epoch(&self, reading: ClockReading) -> Option<i64> {
        let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        match self.relation {
            ClockRelation::Own | ClockRelation::Same => Some(nanos(reading.mono) - nanos(self.epoch.mono)),
            ClockRelation::Offset { ahead_ns, .. } => {
                Some(nanos(reading.wall) - nanos(self.epoch.wall) - ahead_ns)
            }
            ClockRelation::Unknown => None,
        }
    }
}

impl TwoClocks {
    /// Returns the time from the run's epoch to a reading, for uses that tolerate an error of a few seconds: without a
    /// known relation, the wall clocks are compared. Zero before the epoch.
    pub fn roughly_since_epoch(&self, reading: ClockReading) -> Duration {
        match self.since_epoch(reading) {
            Some(nanos) => Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)),
            None => reading.wall.saturating_sub(self.epoch.wall),
        }
    }
}

fn write_wall<S: Serializer>(wall: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_micros(UNIX_EPOCH + *wall))
}

fn read_wall<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wall = humantime::parse_rfc3339(&text).map_err(serde::de::Error::custom)?;
    wall.duration_since(UNIX_EPOCH).map_err(serde::de::Error::custom)
}

fn write_micros<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

fn read_micros<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_needs_its_bound() {
        let read =
            |text: &str| text.parse::<ClockOffset>().map(|offset| (offset.ahead_ns, offset.bound.as_nanos()));
        assert_eq!(read("1.2ms+-0.3ms"), Ok((1_200_000, 300_000)));
        assert_eq!(read("-2s ± 15us"), Ok((-2_000_000_000, 15_000)));
        assert_eq!(read("0+-1ms"), Ok((0, 1_000_000)));
        for wrong in ["1.2ms", "", "+-", "1+-1ms", "1ms+--1ms", "nan+-1s", "1e9s+-1s", "99999999999s+-1s"] {
            assert!(read(wrong).unwrap_err().contains("1.2ms+-0.3ms"), "{wrong}");
        }
        let offset: ClockOffset = "-1.5ms+-0.25ms".parse().unwrap();
        assert_eq!(offset.to_string().parse(), Ok(offset));
    }

    #[test]
    fn a_bound_covers_both_ends_of_a_run() {
        let offset = |ahead_us: i64, bound_us| ClockOffset {
            ahead_ns: ahead_us * 1_000,
            bound: Duration::from_micros(bound_us),
        };
        // The later measurement lies within the bound, so nothing changes. A drift of 400 us that is known to 40 us
        // widens the bound.
        assert_eq!(offset(-3_000, 50).covering(offset(-2_990, 30)), offset(-3_000, 50));
        assert_eq!(offset(-3_000, 50).covering(offset(-3_400, 40)), offset(-3_000, 440));
        assert_eq!(offset(200, 10).covering(offset(-100, 20)), offset(200, 320));
    }

    #[test]
    fn the_answer_of_a_receiver_is_read_and_no_other() {
        let at = Duration::new(1_795_976_412, 5_000);
        let answer = |at: Duration| format!("{CLOCK_ANSWER}{}.{:09}", at.as_secs(), at.subsec_nanos());
        assert_eq!(clock_answer(&answer(at)), Some(at));
        for wrong in [
            "2.0.0 Ok",
            "ok",
            "2.0.0 smtpress-clock ",
            "2.0.0 smtpress-clock 12",
            "2.0.0 smtpress-clock 12.5",
            "2.0.0 smtpress-clock -1.000000000",
            "2.0.0 smtpress-clock 1.000000000 ",
            "2.0.0 smtpress-clock 99999999999999999999999.000000000",
        ] {
            assert_eq!(clock_answer(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_reading_survives_its_text() {
        let reading = ClockReading {
            wall: Duration::from_micros(1_700_000_000_000_001),
            mono: Duration::from_micros(7),
        };
        let text = serde_json::to_string(&reading).unwrap();
        assert_eq!(text, r#"{"wall":"2023-11-14T22:13:20.000001Z","mono_us":7}"#);
        assert_eq!(serde_json::from_str::<ClockReading>(&text).unwrap(), reading);
    }

    #[test]
    fn a_moment_is_read_to_the_clocks_of_the_system() {
        let (moment, before) = (now(), ClockReading::now());
        let read = ClockReading::at(moment);
        assert!(read.mono <= before.mono && before.mono - read.mono < Duration::from_secs(1));
    }

    #[test]
    fn times_of_another_clock_are_unknown_without_an_offset() {
        let at = |wall, mono| ClockReading {
            wall: Duration::from_millis(wall),
            mono: Duration::from_millis(mono),
        };
        let epoch = at(5_000, 100);
        let since =
            |run, other, offset| TwoClocks::new(epoch, run, other, offset).since_epoch(at(6_500, 400));
        assert_eq!(since(Some("a"), Some("a"), None), Some(300_000_000));
        assert_eq!(since(Some("a"), Some("b"), None), None);
        assert_eq!(since(None, None, None), None);
        let ahead = Some(ClockOffset { ahead_ns: 500_000_000, bound: Duration::from_millis(1) });
        assert_eq!(since(Some("a"), Some("b"), ahead), Some(1_000_000_000));
        assert_eq!(since(Some("a"), Some("a"), ahead), Some(300_000_000), "one clock needs no offset");
    }
}
