//! The quantities of a profile as the user writes them: `"10s"`, `"50/s"`, `"4KiB"`, `"20k"`, `"5%"`, `"5ms..40ms"`.
//!
//! Each quantity keeps enough of its text to write it again. `compile` knows what a quantity is for and whether its
//! value makes sense.

use std::fmt;
use std::time::Duration;

/// Why a text is not a quantity: the fault, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}; {remedy}")]
pub struct UnitError {
    /// The fault.
    pub message: String,
    /// The text to write instead, with an example.
    pub remedy: String,
}

impl UnitError {
    pub(super) fn new(message: impl Into<String>, remedy: &str) -> UnitError {
        UnitError { message: message.into(), remedy: remedy.to_owned() }
    }
}

/// Separates a message from its remedy in an error that passes through serde, which carries only one text.
pub(super) const REMEDY: &str = "\u{1f}";

/// A quantity that is written as a text, or as a bare number if it needs no unit.
pub trait Quantity: Sized + fmt::Display {
    /// The type's name in the JSON Schema.
    const NAME: &'static str;
    /// The expected form, to follow "expected ...", with an example.
    const EXPECTED: &'static str;
    /// The form of its text: a regular expression for the JSON Schema.
    const PATTERN: &'static str;
    /// Whether a bare whole number is allowed; such a number is also written without quotes.
    const BARE: bool;

    /// Parses the text.
    ///
    /// # Errors
    /// The fault of the text.
    fn read(text: &str) -> Result<Self, UnitError>;

    /// Converts a bare whole number.
    ///
    /// # Errors
    /// The missing unit.
    fn from_integer(number: u64) -> Result<Self, UnitError> {
        if Self::BARE || number == 0 {
            Self::read(&number.to_string())
        } else {
            Err(UnitError::new(format!("{number} has no unit"), &format!("write {}", Self::EXPECTED)))
        }
    }
}

/// A length of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

/// The longest time that a profile may set. Clocks can add it without overflow.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

impl Time {
    /// Returns a time of this many seconds.
    pub const fn seconds(seconds: u64) -> Time {
        Time(Duration::from_secs(seconds))
    }
}

impl Quantity for Time {
    const NAME: &'static str = "Time";
    const EXPECTED: &'static str =
        "a duration such as \"10s\", \"1m30s\" or \"2ms\" (units: ns, us, ms, s, m, h, d)";
    const PATTERN: &'static str = r"^(0|(\d+(\.\d+)?\s*(ns|us|µs|ms|s|m|min|h|d)\s*)+)$";
    const BARE: bool = false;

    fn read(text: &str) -> Result<Time, UnitError> {
        let wrong =
            |what: &str| UnitError::new(format!("\"{text}\" {what}"), &format!("write {}", Self::EXPECTED));
        let plain = text.trim();
        if plain == "0" {
            return Ok(Time(Duration::ZERO));
        }
        if plain.starts_with('-') {
            return Err(wrong("is negative"));
        }
        if !plain.is_empty() && plain.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err(wrong("has no unit"));
        }
        let mut units = plain.split(|c: char| !c.is_alphabetic()).filter(|unit| !unit.is_empty());
        if let Some(unit) =
            units.find(|u| !matches!(*u, "ns" | "us" | "µs" | "ms" | "s" | "m" | "min" | "h" | "d"))
        {
            return Err(wrong(&format!("has an unknown unit of time: \"{unit}\"")));
        }
        let time = humantime::parse_duration(plain).map_err(|_| wrong("is no duration"))?;
        if time > LONGEST {
            return Err(wrong("is longer than 365 days"));
        }
        Ok(Time(time))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut seconds, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        if self.0.is_zero() {
            return f.write_str("0s");
        }
        for (unit, length) in [("d", 86400), ("h", 3600), ("m", 60), ("s", 1)] {
            if seconds >= length {
                write!(f, "{}{unit}", seconds / length)?;
                seconds %= length;
            }
        }
        for (unit, value) in [("ms", nanos / 1_000_000), ("us", nanos / 1000 % 1000), ("ns", nanos % 1000)] {
            if value > 0 {
                write!(f, "{value}{unit}")?;
            }
        }
        Ok(())
    }
}

/// When a sender tries again: a list of pauses, or the pauses of an MTA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetryTimes {
    /// The pauses of Postfix with its defaults.
    Postfix,
    /// The pauses of Exim's default rule.
    Exim,
    /// These pauses.
    Pauses(Vec<Time>),
}

impl Quantity for RetryTimes {
    const NAME: &'static str = "RetryTimes";
    const EXPECTED: &'static str = "pauses such as \"5m, 15m, 1h\", or \"postfix\" or \"exim\"";
    const PATTERN: &'static str = r"^(postfix|exim|\s*(0|(\d+(\.\d+)?\s*(ns|us|µs|ms|s|m|min|h|d)\s*)+)(,\s*(0|(\d+(\.\d+)?\s*(ns|us|µs|ms|s|m|min|h|d)\s*)+))*)$";
    const BARE: bool = false;

    fn read(text: &str) -> Result<RetryTimes, UnitError> {
        match text.trim() {
            "postfix" => Ok(RetryTimes::Postfix),
            "exim" => Ok(RetryTimes::Exim),
            word if word.chars().all(|c| c.is_ascii_alphabetic()) => Err(UnitError::new(
                format!("no retry schedule is known as \"{word}\""),
                &format!("write {}", RetryTimes::EXPECTED),
            )),
            pauses => pauses.split(',').map(Time::read).collect::<Result<_, _>>().map(RetryTimes::Pauses),
        }
    }
}

impl fmt::Display for RetryTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RetryTimes::Postfix => f.write_str("postfix"),
            RetryTimes::Exim => f.write_str("exim"),
            RetryTimes::Pauses(pauses) => {
                let pauses: Vec<String> = pauses.iter().map(Time::to_string).collect();
                f.write_str(&pauses.join(", "))
            }
        }
    }
}

/// A length of time, or a range of lengths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// The shortest time.
    pub min: Duration,
    /// The longest time.
    pub max: Duration,
}

impl Quantity for TimeRange {
    const NAME: &'static str = "TimeRange";
    const EXPECTED: &'static str = "a duration such as \"2ms\", or a range such as \"5ms..40ms\"";
    const PATTERN: &'static str = r"^(0|(\d+(\.\d+)?\s*(ns|us|µs|ms|s|m|min|h|d)\s*)+)(\.\.(0|(\d+(\.\d+)?\s*(ns|us|µs|ms|s|m|min|h|d)\s*)+))?$";
    const BARE: bool = false;

    fn read(text: &str) -> Result<TimeRange, UnitError> {
        let Some((min, max)) = text.split_once("..") else {
            let Time(time) = Time::read(text)?;
            return Ok(TimeRange { min: time, max: time });
        };
        let (Time(min), Time(max)) = (Time::read(min)?, Time::read(max)?);
        if min > max {
            return Err(UnitError::new(
                format!("\"{text}\" begins after its end"),
                "write the smaller duration first, as in \"5ms..40ms\"",
            ));
        }
        Ok(TimeRange { min, max })
    }
}

impl fmt::Display for TimeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Time(self.min))?;
        if self.min != self.max {
            write!(f, "..{}", Time(self.max))?;
        }
        Ok(())
    }
}

/// The unit of time of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// `/s`
    Second,
    /// `/min`
    Minute,
    /// `/h`
    Hour,
}

/// A number in a unit of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// The number; finite and not negative.
    pub amount: f64,
    /// The unit of time.
    pub per: Per,
}

impl Rate {
    /// Returns a rate of this number each second.
    pub const fn per_second(amount: f64) -> Rate {
        Rate { amount, per: Per::Second }
    }

    /// Returns the rate in 1/s.
    pub fn hertz(self) -> f64 {
        match self.per {
            Per::Second => self.amount,
            Per::Minute => self.amount / 60.0,
            Per::Hour => self.amount / 3600.0,
        }
    }
}

impl Quantity for Rate {
    const NAME: &'static str = "Rate";
    const EXPECTED: &'static str = "a rate such as \"50/s\", \"600/min\" or \"1k/s\"";
    const PATTERN: &'static str = r"^\d+(\.\d+)?[kKm]?/(s|sec|m|min|h)$";
    const BARE: bool = false;

    fn read(text: &str) -> Result<Rate, UnitError> {
        let wrong =
            |what: &str| UnitError::new(format!("\"{text}\" {what}"), &format!("write {}", Self::EXPECTED));
        if text.trim_start().starts_with('-') {
            return Err(wrong("is negative"));
        }
        let Some((amount, per)) = text.split_once('/') else {
            return Err(wrong("has no unit of time"));
        };
        let per = match per.trim() {
            "s" | "sec" => Per::Second,
            "m" | "min" => Per::Minute,
            "h" => Per::Hour,
            other => return Err(wrong(&format!("is per \"{other}\", which is no unit of time"))),
        };
        let amount = amount_of(amount.trim()).ok_or_else(|| wrong("does not begin with a number"))?;
        if amount > 1e9 {
            return Err(wrong("is more than 1000000000"));
        }
        Ok(Rate { amount, per })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = match self.per {
            Per::Second => "s",
            Per::Minute => "min",
            Per::Hour => "h",
        };
        write!(f, "{}/{per}", self.amount)
    }
}

/// Parses a number, with an optional `k` (thousand) or `m` (million); finite and not negative.
fn amount_of(text: &str) -> Option<f64> {
    let (number, factor) = match text.strip_suffix(['k', 'K']) {
        Some(number) => (number, 1e3),
        None => match text.strip_suffix('m') {
            Some(number) => (number, 1e6),
            None => (text, 1.0),
        },
    };
    // `f64` also parses "inf", "nan" and "1e9", which are not meant here.
    let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && number.starts_with(|c: char| c.is_ascii_digit());
    plain.then(|| number.parse::<f64>().ok()).flatten().map(|n| n * factor)
}

/// A number of things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count(pub u64);

impl Count {
    /// Returns the number of a key whose bounds are below 2^32.
    pub fn small(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

impl Quantity for Count {
    const NAME: &'static str = "Count";
    const EXPECTED: &'static str = "a whole number such as 50, \"20k\" (thousand) or \"1m\" (million)";
    const PATTERN: &'static str = r"^\d+(\.\d+)?[kKm]?$";
    const BARE: bool = true;

    fn read(text: &str) -> Result<Count, UnitError> {
        let wrong =
            |what: &str| UnitError::new(format!("\"{text}\" {what}"), &format!("write {}", Self::EXPECTED));
        if let Ok(count) = text.trim().parse::<u64>() {
            return Ok(Count(count));
        }
        if text.trim_start().starts_with('-') {
            return Err(wrong("is negative"));
        }
        if text.contains('/') {
            return Err(wrong("is a rate, not a number"));
        }
        let count = amount_of(text.trim()).ok_or_else(|| wrong("is no number"))?;
        if count.fract() != 0.0 || count > 1e15 {
            return Err(wrong("is no whole number below 10^15"));
        }
        Ok(Count(count as u64))
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Quantity for Size {
    const NAME: &'static str = "Size";
    const EXPECTED: &'static str = "a size such as \"4KiB\", \"20MiB\", \"10MB\", or a plain number of bytes";
    const PATTERN: &'static str = r"^\d+(\.\d+)?\s*([kKmMgG]i?)?[bB]?$";
    const BARE: bool = true;

    fn read(text: &str) -> Result<Size, UnitError> {
        let wrong =
            |what: &str| UnitError::new(format!("\"{text}\" {what}"), &format!("write {}", Self::EXPECTED));
        let plain = text.trim();
        if plain.starts_with('-') {
            return Err(wrong("is negative"));
        }
        let size: bytesize::ByteSize = plain.parse().map_err(|_| wrong("is no size"))?;
        if size.as_u64() > 1 << 40 {
            return Err(wrong("is more than 1 TiB"));
        }
        Ok(Size(size.as_u64()))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n > 0 && n % (1 << 30) == 0 => write!(f, "{}GiB", n >> 30),
            n if n > 0 && n % (1 << 20) == 0 => write!(f, "{}MiB", n >> 20),
            n if n > 0 && n % (1 << 10) == 0 => write!(f, "{}KiB", n >> 10),
            n => write!(f, "{n}"),
        }
    }
}

/// A percentage.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Percent(pub f64);

impl Quantity for Percent {
    const NAME: &'static str = "Percent";
    const EXPECTED: &'static str = "a percentage such as \"5%\"";
    const PATTERN: &'static str = r"^\d+(\.\d+)?\s*%$";
    const BARE: bool = false;

    fn read(text: &str) -> Result<Percent, UnitError> {
        let wrong =
            |what: &str| UnitError::new(format!("\"{text}\" {what}"), &format!("write {}", Self::EXPECTED));
        if text.trim_start().starts_with('-') {
            return Err(wrong("is negative"));
        }
        let number = match text.trim().strip_suffix('%') {
            Some(number) => number.trim(),
            None if text.trim() == "0" => "0",
            None => return Err(wrong("has no % sign")),
        };
        amount_of(number)
            .filter(|_| !number.ends_with(['k', 'K', 'm']))
            .map(Percent)
            .ok_or_else(|| wrong("is no percentage"))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// An amount of load: a rate (`"10/s"`) or a number of sessions (`10`). The form of the text decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Level {
    /// Arrivals in a unit of time.
    Rate(Rate),
    /// Sessions at a time.
    Sessions(Count),
}

impl Quantity for Level {
    const NAME: &'static str = "Level";
    const EXPECTED: &'static str = "a rate such as \"10/s\", or a number of sessions such as 10";
    const PATTERN: &'static str = r"^\d+(\.\d+)?[kKm]?(/(s|sec|m|min|h))?$";
    const BARE: bool = true;

    fn read(text: &str) -> Result<Level, UnitError> {
        if text.contains('/') {
            return Rate::read(text).map(Level::Rate);
        }
        Count::read(text)
            .map(Level::Sessions)
            .map_err(|error| UnitError { remedy: format!("write {}", Self::EXPECTED), ..error })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Level::Rate(rate) => rate.fmt(f),
            Level::Sessions(count) => count.fmt(f),
        }
    }
}

/// The load that a capacity search varies: a rate, a number of sessions, or a size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SearchSetting {
    /// Arrivals in a unit of time.
    Rate(Rate),
    /// Sessions at a time.
    Sessions(Count),
    /// The size of a message in bytes.
    Size(Size),
}

impl Quantity for SearchSetting {
    const NAME: &'static str = "Setting";
    const EXPECTED: &'static str =
        "a rate such as \"10/s\", a number of sessions such as 10, or a size such as \"4KiB\"";
    const PATTERN: &'static str = r"^\d+(\.\d+)?\s*([kKmMgG]i?)?[bB]?(/(s|sec|m|min|h))?$";
    const BARE: bool = true;

    fn read(text: &str) -> Result<SearchSetting, UnitError> {
        let with_all_kinds =
            |error: UnitError| UnitError { remedy: format!("write {}", Self::EXPECTED), ..error };
        if text.contains('/') {
            Rate::read(text).map(SearchSetting::Rate)
        } else if text.contains(['b', 'B', 'i']) {
            Size::read(text).map(SearchSetting::Size).map_err(with_all_kinds)
        } else {
            Count::read(text).map(SearchSetting::Sessions).map_err(with_all_kinds)
        }
    }
}

impl fmt::Display for SearchSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SearchSetting::Rate(rate) => rate.fmt(f),
            SearchSetting::Sessions(count) => count.fmt(f),
            // With a unit, so that it is read as a size again: a number without a unit would be a number of sessions.
            SearchSetting::Size(Size(bytes)) if bytes % 1024 != 0 || *bytes == 0 => write!(f, "{bytes}B"),
            SearchSetting::Size(size) => size.fmt(f),
        }
    }
}

/// The seed of all randomness. TOML's integers end at 2^63 - 1, so a larger seed is written as a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Quantity for Seed {
    const NAME: &'static str = "Seed";
    const EXPECTED: &'static str = "a whole number from 0 to 2^64 - 1 (in quotes from 2^63 on), such as 42";
    const PATTERN: &'static str = r"^\d+$";
    const BARE: bool = true;

    fn read(text: &str) -> Result<Seed, UnitError> {
        text.trim().parse().map(Seed).map_err(|_| {
            UnitError::new(format!("\"{text}\" is no seed"), &format!("write {}", Self::EXPECTED))
        })
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests;
