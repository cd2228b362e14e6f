//! `--start-at`: the common start of shards on several machines.

use std::time::{Duration, UNIX_EPOCH};

use crate::command::CommandError;
use crate::report::format;

/// Parses a point in time (RFC 3339, with its zone); returns the time since the Unix epoch.
///
/// # Errors
/// The text is not a time, or has no zone: machines in two zones would start hours apart.
pub fn time(text: &str) -> Result<Duration, CommandError> {
    read(text).ok_or_else(|| {
        let why = if read(&format!("{text}Z")).is_some() { "has no zone" } else { "is no time" };
        CommandError::usage(format!(
            "--start-at {text:?} {why}: write it with its zone, as in 2026-01-31T12:00:00Z or 2026-01-31T13:00:00+01:00"
        ))
    })
}

/// Parses a time in the form of RFC 3339 5.6; a blank may stand in place of the T.
fn read(text: &str) -> Option<Duration> {
    let (local, offset) = match text.strip_suffix(['Z', 'z']) {
        Some(local) => (local, 0),
        // The sign stands six characters before the end.
        None => (text.get(..text.len().checked_sub(6)?)?, seconds_east(text.get(text.len() - 6..)?)?),
    };
    let local = local.to_ascii_uppercase().replacen(' ', "T", 1);
    let at = humantime::parse_rfc3339(&format!("{local}Z")).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let shift = Duration::from_secs(offset.unsigned_abs());
    if offset < 0 { at.checked_add(shift) } else { at.checked_sub(shift) }
}

/// Parses `+02:00`. Returns seconds.
fn seconds_east(offset: &str) -> Option<i64> {
    let sign = match offset.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = offset[1..].split_once(':')?;
    let number = |text: &str, most: i64| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i64>().ok().filter(|number| digits && *number <= most)
    };
    Some(sign * (number(hours, 23)? * 3600 + number(minutes, 59)? * 60))
}

/// Returns a message: how long it is until the start, or how late the start is.
pub fn notice(at: Duration, now: Duration) -> String {
    let stamp = format::timestamp(at);
    match at.checked_sub(now) {
        Some(left) => {
            format!("smtpress: the load starts at {stamp}, in {}", format::duration(left.as_nanos() as f64))
        }
        None => {
            let late = format::duration((now - at).as_nanos() as f64);
            format!(
                "smtpress: warning: {stamp} was {late} ago; the load starts now, other shards may be ahead"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::ExitCode;

    #[test]
    fn one_moment_in_many_zones() {
        let noon = time("2026-01-31T12:00:00Z").unwrap();
        assert_eq!(noon, Duration::from_secs(1_769_860_800));
        for same in [
            "2026-01-31t12:00:00z",
            "2026-01-31 12:00:00Z",
            "2026-01-31T14:00:00+02:00",
            "2026-01-31T12:00:00+00:00",
            "2026-01-31T12:00:00-00:00",
            "2026-01-31T06:30:00-05:30",
            "2026-02-01T02:00:00+14:00",
            "2026-01-30T23:45:00-12:15",
        ] {
            assert_eq!(time(same).unwrap(), noon, "{same}");
        }
        let fine = time("2026-01-31T14:00:00.250+02:00").unwrap();
        assert_eq!(fine, noon + Duration::from_millis(250));
    }

    #[test]
    fn what_has_no_zone_or_is_no_time_is_refused() {
        let said = |text| match time(text) {
            Err(CommandError::Failed(ExitCode::Usage, sentence)) => sentence,
            other => panic!("{text}: {other:?}"),
        };
        for text in ["2026-01-31T12:00:00", "2026-01-31 12:00:00", "2026-01-31T12:00:00.5"] {
            assert!(said(text).contains("has no zone"), "{}", said(text));
        }
        for text in [
            "",
            "Z",
            "+02:00",
            "noon",
            "12:00:00Z",
            "2026-01-31Z",
            "2026-13-31T12:00:00Z",
            "2026-01-31T12:00Z",
            "2026-01-31T12:00:00+0200",
            "2026-01-31T12:00:00+2:00",
            "2026-01-31T12:00:00+24:00",
            "2026-01-31T12:00:00+02:60",
            "2026-01-31T12:00:00+02:00 ",
            "2026-01-31T12:00:00 CET",
            "2026-01-31T12:00:00\u{e9}+02:00",
            "1969-01-31T12:00:00Z",
        ] {
            assert!(said(text).contains("is no time"), "{text}: {}", said(text));
        }
    }
}
