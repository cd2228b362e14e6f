//! Formats numbers for people (durations, counts, rates, shares, bytes) and makes foreign text harmless.
//!
//! Only the display is rounded; files keep every digit.

use std::time::Duration;

use crate::verdict::decimals_for_three_digits;

/// Returns a duration in nanoseconds with three significant digits: `812 us`, `12.4 ms`, `1.02 s`, `2 min 05 s`.
pub fn duration(ns: f64) -> String {
    if ns < 1.0 {
        return "0".to_owned();
    }
    if ns >= 119.95e9 {
        let seconds = (ns / 1e9).round() as u64;
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        return match hours {
            0 => format!("{minutes} min {:02} s", seconds % 60),
            _ => format!("{} h {minutes:02} min", count(hours)),
        };
    }
    // At these limits rounding to three digits would show 1000 of the smaller unit.
    let (value, unit) = match ns {
        _ if ns < 999.5 => return format!("{ns:.0} ns"),
        _ if ns < 999.5e3 => (ns / 1e3, "us"),
        _ if ns < 999.5e6 => (ns / 1e6, "ms"),
        _ => (ns / 1e9, "s"),
    };
    format!("{} {unit}", three_digits(value))
}

/// Returns a length in seconds as [`duration`] does, but a whole number without a fraction: `60 s`.
pub fn seconds(s: f64) -> String {
    if (0.0..119.95).contains(&s) && s.fract() == 0.0 { format!("{s:.0} s") } else { duration(s * 1e9) }
}

/// Returns a whole number with thousands separators.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a count with its noun: `1 session`, `2,000 sessions`.
pub fn counted(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// Returns a rate a second; a small one with three significant digits.
pub fn rate(per_s: f64) -> String {
    match per_s {
        _ if !per_s.is_finite() => "n/a".to_owned(),
        _ if per_s == 0.0 => "0/s".to_owned(),
        _ if (0.0..0.0995).contains(&per_s) => {
            let decimals = decimals_for_three_digits(per_s);
            format!("{per_s:.decimals$}/s")
        }
        _ if per_s < 9.995 => format!("{per_s:.2}/s"),
        _ if per_s < 999.95 => format!("{per_s:.1}/s"),
        _ => format!("{}/s", count(per_s.round() as u64)),
    }
}

/// Returns a share with two decimals. Only zero is shown as `0 %`, and only the whole as `100 %`.
pub fn share(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "0 %".to_owned();
    }
    if part >= whole {
        return "100 %".to_owned();
    }
    exact_percent(part as f64 / whole as f64 * 100.0)
}

/// Returns a percentage with two decimals. Only 0 and 100 are shown as such.
pub fn exact_percent(percent: f64) -> String {
    match percent {
        0.0 => "0 %".to_owned(),
        100.0 => "100 %".to_owned(),
        _ if percent < 0.01 => "<0.01 %".to_owned(),
        _ if (99.995..100.0).contains(&percent) => ">99.99 %".to_owned(),
        _ => format!("{percent:.2} %"),
    }
}

/// Returns a share from 0 to 1 without decimals.
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent > 0.0 && percent < 1.0 => "<1 %".to_owned(),
        percent => format!("{percent:.0} %"),
    }
}

/// Returns a time since the Unix epoch as RFC 3339 in UTC, to the nanosecond.
pub fn exact_timestamp(at: Duration) -> String {
    humantime::format_rfc3339_nanos(std::time::UNIX_EPOCH + at).to_string()
}

/// Returns a ratio: `1.03`.
pub fn ratio(ratio: f64) -> String {
    format!("{ratio:.2}")
}

/// Returns the difference of two shares, in percentage points: `+0.30 pp`.
pub fn points(difference: f64) -> String {
    // The addition turns -0.0 into 0.0.
    format!("{:+.2} pp", (difference * 1e4).round() / 100.0 + 0.0)
}

/// Returns a probability.
pub fn probability(p: f64) -> String {
    if p < 0.001 { "<0.001".to_owned() } else { format!("{p:.3}") }
}

/// Returns a number of bytes in binary multiples.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", three_digits(value), UNITS[unit])
}

/// Returns a quantile's name: `p50`, `p99.9`.
pub fn quantile(q: f64) -> String {
    let percent = (q * 1e8).round() / 1e6;
    format!("p{percent}")
}

/// Returns a text with its numbers written as in tables: times with three digits, rates, counts and percentages as
/// [`rate`], [`count`] and [`exact_percent`].
pub fn numbers_in(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let mut out: Vec<String> = Vec::new();
    let mut i = 0;
    while i < words.len() {
        let (bound, word) = if words[i] == ">=" { (">= ", words.get(i + 1)) } else { ("", Some(&words[i])) };
        let at = if bound.is_empty() { i } else { i + 1 };
        let number = |word: &str| word.parse::<f64>().ok().filter(|number| *number >= 0.0);
        let unit = words.get(at + 1).and_then(|unit| match *unit {
            "ns" => Some(1.0),
            "us" => Some(1e3),
            "ms" => Some(1e6),
            "s" => Some(1e9),
            _ => None,
        });
        let percent = words.get(at + 1).and_then(|unit| unit.strip_prefix('%'));
        let written = word.and_then(|word| match (number(word), unit, word.strip_suffix("/s")) {
            (Some(value), Some(unit), _) => Some((duration(value * unit), at + 2)),
            (Some(value), ..) if percent.is_some() => {
                Some((format!("{}{}", exact_percent(value), percent.unwrap_or_default()), at + 2))
            }
            (_, _, Some(per_s)) => Some((rate(number(per_s)?), at + 1)),
            // Only the last word of the text is written as a count.
            _ if words.len() == at + 1 => Some((count(word.parse().ok()?), at + 1)),
            _ => None,
        });
        match written {
            Some((text, next)) => {
                out.push(format!("{bound}{text}"));
                i = next;
            }
            None => {
                out.push(words[i].to_owned());
                i += 1;
            }
        }
    }
    out.join(" ")
}

/// Returns a bar of at most `width` columns for a share from 0 to 1; a share above zero is always visible.
pub fn bar(share: f64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if share.is_nan() || share <= 0.0 {
        return String::new();
    }
    let eighths = ((share.min(1.0) * width as f64 * 8.0).round() as usize).max(1);
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

/// Escapes all characters that could move the cursor, or colour, hide or reorder text on the display: controls, format
/// characters (bidi, zero width), line separators, combining marks. Replies may be hostile.
pub fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // Quotation marks and backslashes are harmless and stay unchanged.
            '"' | '\'' | '\\' => out.push(c),
            _ => out.extend(c.escape_debug()),
        }
    }
    out
}

/// Returns about how many columns a harmless text takes on a terminal. Characters of the East Asian and emoji ranges count
/// as two columns.
pub fn columns(text: &str) -> usize {
    text.chars().map(|c| if ('\u{1100}'..='\u{115f}').contains(&c) || c >= '\u{2e80}' { 2 } else { 1 }).sum()
}

/// Writes the harmful characters from U+007F on in a JSON text as `\uXXXX`, so that `cat` can show the file safely. The
/// control characters below U+0020 are escaped already. The value of the JSON stays the same.
pub fn harmless_json(json: String) -> String {
    let obeyed = |c: char| c >= '\u{7f}' && c.escape_debug().nth(1).is_some();
    if !json.contains(obeyed) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        if obeyed(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Returns the start of a text that takes at most this many columns.
pub fn prefix(text: &str, width: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += columns(&text[at..at + c.len_utf8()]);
        if used > width {
            return &text[..at];
        }
    }
    text
}

/// Cuts a text to this many columns, with `…` if something was cut.
pub fn cut(text: &str, width: usize) -> String {
    match prefix(text, width) {
        whole if whole.len() == text.len() => text.to_owned(),
        _ => format!("{}…", prefix(text, width.saturating_sub(1))),
    }
}

/// Returns a time since the Unix epoch as RFC 3339 in UTC, to the second.
pub fn timestamp(since_epoch: Duration) -> String {
    humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since_epoch).to_string()
}

/// Returns a value from 1 to below 999.5 with three significant digits.
fn three_digits(value: f64) -> String {
    match value {
        _ if value < 9.995 => format!("{value:.2}"),
        _ if value < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_the_same_to_a_reader_and_harmless_to_a_terminal() {
        let value = serde_json::json!({ "sample": "\u{9b}31m\u{202e}x\u{7f}é\u{e0041}\u{1b}\"\\\n" });
        let json = harmless_json(value.to_string());
        assert_eq!(json, r#"{"sample":"\u009b31m\u202ex\u007fé\udb40\udc41\u001b\"\\\n"}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), value);
    }

    #[test]
    fn durations_keep_three_digits_and_never_show_a_thousand() {
        let cases = [
            (0.0, "0"),
            (7.0, "7 ns"),
            (999.4, "999 ns"),
            (999.6, "1.00 us"),
            (812_000.0, "812 us"),
            (999_499.0, "999 us"),
            (999_500.0, "1.00 ms"),
            (9.996e6, "10.0 ms"),
            (12.44e6, "12.4 ms"),
            (99.96e6, "100 ms"),
            (999.6e6, "1.00 s"),
            (1.024e9, "1.02 s"),
            (59.99e9, "60.0 s"),
            (119.94e9, "120 s"),
            (125.2e9, "2 min 05 s"),
            (3_660e9, "1 h 01 min"),
        ];
        for (ns, text) in cases {
            assert_eq!(duration(ns), text, "{ns}");
        }
    }

    #[test]
    fn counts_rates_and_bytes() {
        let lengths = [0.0, 60.0, 12.34, 0.5, 150.0].map(seconds);
        assert_eq!(lengths, ["0 s", "60 s", "12.3 s", "500 ms", "2 min 30 s"]);
        assert_eq!(
            [0, 999, 1000, 24_000, 1_234_567].map(count),
            ["0", "999", "1,000", "24,000", "1,234,567"]
        );
        assert_eq!(
            [0.0, 0.333, 50.0, 400.04, 999.96, 29_000.4].map(rate),
            ["0/s", "0.33/s", "50.0/s", "400.0/s", "1,000/s", "29,000/s"]
        );
        assert_eq!(
            [0.0996, 0.0167, 0.004, 1.0 / 3600.0].map(rate),
            ["0.10/s", "0.0167/s", "0.00400/s", "0.000278/s"]
        );
        assert_eq!(
            [0, 1023, 1024, 1_048_576, 50_541_000].map(bytes),
            ["0 B", "1023 B", "1.00 KiB", "1.00 MiB", "48.2 MiB"]
        );
        assert_eq!([0.003, -1e-9, -0.02].map(points), ["+0.30 pp", "+0.00 pp", "-2.00 pp"]);
        assert_eq!([0.0004, 0.05, 1.0].map(probability), ["<0.001", "0.050", "1.000"]);
        assert_eq!([0.5, 0.95, 0.999, 0.9999].map(quantile), ["p50", "p95", "p99.9", "p99.99"]);
    }

    #[test]
    fn a_share_is_zero_or_whole_only_when_it_is() {
        assert_eq!(share(0, 10), "0 %");
        assert_eq!(share(1, 1_000_000), "<0.01 %");
        assert_eq!(share(999_999, 1_000_000), ">99.99 %");
        assert_eq!(share(10, 10), "100 %");
        assert_eq!(share(1193, 24_000), "4.97 %");
        assert_eq!(share(22_806, 24_000), "95.03 %");
        assert_eq!(share(99_994, 100_000), "99.99 %");
        assert_eq!([0.0, 0.002, 0.31, 1.0].map(percent), ["0 %", "<1 %", "31 %", "100 %"]);
        assert_eq!(share(0, 0), "0 %");
    }

    #[test]
    fn a_bar_shows_whatever_is_not_zero_and_never_overflows() {
        assert_eq!(bar(0.0, 10), "");
        assert_eq!(bar(f64::NAN, 10), "");
        assert_eq!(bar(1e-9, 10), "▏");
        assert_eq!(bar(0.5, 4), "██");
        assert_eq!(columns(&bar(7.0, 10)), 10);
    }

    #[test]
    fn foreign_text_cannot_touch_the_terminal() {
        let hostile = "421 \u{1b}[31mred\r\n\u{7}\u{9b}2J \u{202e}drow\u{2066} \u{200b}x\u{feff} a\u{301} \u{2028} \"ok\" é 漢";
        let text = harmless(hostile);
        assert!(text.chars().all(|c| c == ' ' || c.is_ascii_graphic() || c == 'é' || c == '漢'), "{text}");
        assert!(text.starts_with("421 \\u{1b}[31mred\\r\\n"), "{text}");
        assert!(text.contains("\"ok\" é 漢"), "{text}");
    }

    #[test]
    fn what_is_harmless_stays_as_it_is() {
        for text in ["DOMAIN\\user", "550 \"a\\b\"", "tab\t and \u{1b}[0m", "é\r\n"] {
            let once = harmless(text);
            assert_eq!(harmless(&once), once);
        }
        assert_eq!(harmless("DOMAIN\\user"), "DOMAIN\\user");
    }

    #[test]
    fn a_cut_text_fits_and_says_so() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(cut("漢漢漢", 4), "漢…");
        assert!(columns(&cut("漢漢漢漢", 6)) <= 6);
    }

    #[test]
    fn numbers_in_a_text_are_written_as_in_tables() {
        let cases = [
            ("9.658 ms", "9.66 ms"),
            (">= 61.2345 ms", ">= 61.2 ms"),
            ("1.5 s to 2.3456 s", "1.50 s to 2.35 s"),
            ("24000", "24,000"),
            ("186.234/s", "186.2/s"),
            ("0.000278/s", "0.000278/s"),
            ("14.6363 %: 1646 refused", "14.64 %: 1646 refused"),
            ("0.0123 %", "0.01 %"),
            ("99.9999 %", ">99.99 %"),
            ("0 %", "0 %"),
            ("250 % more", "250.00 % more"),
            ("n/a (needs 46050, has 1412)", "n/a (needs 46050, has 1412)"),
            ("99.5 %: 3 of 4 messages", "99.50 %: 3 of 4 messages"),
            ("no values", "no values"),
        ];
        for (stored, shown) in cases {
            assert_eq!(numbers_in(stored), shown);
        }
    }

    #[test]
    fn timestamps_are_utc() {
        assert_eq!(timestamp(Duration::from_secs(1_795_437_000)), "2026-11-23T12:30:00Z");
    }
}
