//! The `[timeouts]` and `[session]` tables, made into the script and the messages of a session.

use super::document::{Document, Key, keys};
use super::error::ProfileError;
use super::extensions;
use super::misbehave;
use super::schema::{self, Profile};
use super::units::{Count, Quantity, Time, TimeRange};
use super::value::{Distribution, LogNormal};
use crate::load::Think;
use crate::mail;
use crate::plan::{Messages, Phase, Reconnect, Unit};
use crate::smtp::Script;
use crate::smtp::script::{Aside, Hello, Pipelining, Protocol, Quit, Timeouts, Verify};

pub(super) fn think(session: &schema::Session) -> Think {
    let TimeRange { min, max } = session.think.unwrap_or_default();
    Think { min, max }
}

/// The pauses of closed loads after a session failed.
pub(super) fn reconnect(document: &Document, session: &schema::Session) -> Result<Reconnect, ProfileError> {
    let written = session.reconnect.clone().unwrap_or_default();
    let default = Reconnect::default();
    let Time(first) = written.first.unwrap_or(Time(default.first));
    // A first pause that is longer than the default's longest is meant.
    let Time(max) = written.max.unwrap_or(Time(default.max.max(first)));
    let factor = written.factor.unwrap_or(default.factor);
    if !(1.0..=1000.0).contains(&factor) {
        return Err(document.error_at(
            &keys!["session", "reconnect", "factor"],
            "pauses grow by a factor between 1 and 1000",
            "write a number such as 2, or 1 for pauses that are all the same",
        ));
    }
    if max < first {
        return Err(document.error_at(
            &keys!["session", "reconnect", "max"],
            "the longest pause is shorter than the first",
            "write a longer `max`, or a shorter `first`",
        ));
    }
    Ok(Reconnect { first, factor, max })
}

pub(super) fn script(
    document: &Document,
    profile: &Profile,
    session: &schema::Session,
    protocol: Protocol,
) -> Result<Script, ProfileError> {
    let name = session.name.clone().unwrap_or_default();
    // Any word is sent: a wrong HELO name is a thing to test. What would break the command line is not.
    if name.is_empty() || name.len() > 255 || !name.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(document.error_at(
            &keys!["session", "name"],
            format!("{name:?} cannot be said with HELO or EHLO"),
            "write a host name such as \"load.example\"",
        ));
    }
    if protocol == Protocol::Lmtp && session.hello == Some(schema::Hello::Helo) {
        return Err(document.error_at(
            &keys!["session", "hello"],
            "LMTP knows neither HELO nor EHLO, and is told LHLO (RFC 2033 4.1)",
            "remove the key",
        ));
    }
    Ok(Script {
        protocol,
        hello: match session.hello {
            Some(schema::Hello::Helo) => Hello::Helo,
            Some(schema::Hello::EhloOnly) => Hello::EhloOnly,
            Some(schema::Hello::Ehlo) | None => Hello::Ehlo,
        },
        name,
        pipelining: match session.pipelining {
            Some(schema::Pipelining::Off) => Pipelining::Off,
            Some(schema::Pipelining::Full) => Pipelining::Full,
            Some(schema::Pipelining::Require) => Pipelining::Require,
            Some(schema::Pipelining::Auto) | None => Pipelining::Auto,
        },
        wishes: extensions::wishes(document, session)?,
        verify: Verify {
            times: verify(document, session)?,
            whom: profile
                .message
                .as_ref()
                .and_then(|message| message.to.as_deref())
                .map(whom)
                .unwrap_or_default(),
        },
        between: session.between.iter().flatten().map(aside).collect(),
        quit: match session.quit {
            Some(schema::Quit::Close) => Quit::Close,
            Some(schema::Quit::Reset) => Quit::Reset,
            Some(schema::Quit::Hold) => Quit::Hold,
            Some(schema::Quit::Clean) | None => Quit::Clean,
        },
        timeouts: timeouts(document, profile)?,
        manners: misbehave::compile(document, session)?,
        ..Script::default()
    })
}

fn aside(written: &schema::Aside) -> Aside {
    match written {
        schema::Aside::Noop => Aside::Noop,
        schema::Aside::Rset => Aside::Reset,
    }
}

fn verify(document: &Document, session: &schema::Session) -> Result<u32, ProfileError> {
    let Count(times) = session.verify.unwrap_or(Count(0));
    u32::try_from(times).map_err(|_| {
        document.error_at(
            &keys!["session", "verify"],
            format!("{times} VRFY commands in a session"),
            "write a number below 2^32",
        )
    })
}

/// The recipients' pattern, cut where the number stands.
fn whom(pattern: &str) -> Vec<String> {
    pattern.split("{n}").map(str::to_owned).collect()
}

fn timeouts(document: &Document, profile: &Profile) -> Result<Timeouts, ProfileError> {
    let written = profile.timeouts.clone().unwrap_or_default();
    let default = Timeouts::default();
    let positive = |key: &'static str, value: Option<Time>, default| match value {
        Some(Time(time)) if time.is_zero() => Err(document.error_at(
            &keys!["timeouts", key],
            "a time-out of 0 is over before it begins",
            "write a duration such as \"30s\"",
        )),
        value => Ok(value.map_or(default, |Time(time)| time)),
    };
    Ok(Timeouts {
        connect: positive("connect", written.connect, default.connect)?,
        greeting: positive("greeting", written.greeting, default.greeting)?,
        command: positive("command", written.command, default.command)?,
        data: positive("data", written.data, default.data)?,
        body: positive("body", written.body, default.body)?,
        session: positive("session", written.session, default.session)?,
    })
}

/// Messages of a session. 0 opens and closes a session; where the arrivals are messages, it is as many as there are.
pub(super) fn messages(
    document: &Document,
    session: &schema::Session,
    phases: &[Phase],
) -> Result<Messages, ProfileError> {
    let at = keys!["session", "messages"];
    let written = session.messages.clone().unwrap_or(Distribution::Fixed(Count(1)));
    let of_messages = phases.iter().find(|phase| phase.unit == Unit::Message);
    let number = |Count(n): Count| {
        u32::try_from(n).map_err(|_| {
            document.error_at(&at, format!("{n} messages in a session"), "write a number below 2^32")
        })
    };
    if written == Distribution::Fixed(Count(0)) {
        let of_sessions = phases.iter().find(|phase| phase.unit == Unit::Session);
        return match (of_messages, of_sessions) {
            (Some(message), Some(session)) => Err(document.error_at(
                &at,
                format!(
                    "0 messages open and close the sessions of phase `{}`, but phase `{}` has messages to send",
                    session.name, message.name
                ),
                "write a number of messages that does for both, or make two profiles",
            )),
            (Some(_), None) => Ok(Messages::Unlimited),
            (None, _) => Ok(Messages::Fixed(0)),
        };
    }
    let chosen = distribution(document, &at, &written, number)?;
    let least = match &chosen {
        Messages::Uniform { min, .. } => *min,
        Messages::Weighted(shares) => shares.iter().map(|share| share.0).min().unwrap_or_default(),
        Messages::Fixed(_) | Messages::Unlimited => 1,
    };
    match of_messages {
        Some(phase) if least == 0 => Err(document.error_at(
            &at,
            format!(
                "a session without a message cannot serve phase `{}`, whose arrivals are messages",
                phase.name
            ),
            "write at least 1",
        )),
        _ => Ok(chosen),
    }
}

/// A kind of distribution of the plan.
pub(super) trait Chosen<U>: Sized {
    fn fixed(value: U) -> Self;
    fn uniform(min: U, max: U) -> Self;
    fn weighted(shares: Vec<(U, f64)>) -> Self;
    /// `None`: there is no such thing of it.
    fn log_normal(median: U, sigma: f64, min: U, max: U) -> Option<Self>;
}

impl Chosen<u32> for Messages {
    fn fixed(value: u32) -> Self {
        Messages::Fixed(value)
    }
    fn uniform(min: u32, max: u32) -> Self {
        Messages::Uniform { min, max }
    }
    fn weighted(shares: Vec<(u32, f64)>) -> Self {
        Messages::Weighted(shares)
    }
    fn log_normal(_: u32, _: f64, _: u32, _: u32) -> Option<Self> {
        None
    }
}

impl Chosen<u64> for mail::Size {
    fn fixed(value: u64) -> Self {
        mail::Size::Fixed(value)
    }
    fn uniform(min: u64, max: u64) -> Self {
        mail::Size::Uniform { min, max }
    }
    fn weighted(shares: Vec<(u64, f64)>) -> Self {
        mail::Size::Weighted(shares)
    }
    fn log_normal(median: u64, sigma: f64, min: u64, max: u64) -> Option<Self> {
        Some(mail::Size::LogNormal { median, sigma, min, max })
    }
}

/// A distribution whose values make sense.
pub(super) fn distribution<T: Quantity + Copy + PartialOrd, U, C: Chosen<U>>(
    document: &Document,
    at: &[Key],
    written: &Distribution<T>,
    convert: impl Fn(T) -> Result<U, ProfileError>,
) -> Result<C, ProfileError> {
    Ok(match written {
        Distribution::Fixed(value) => C::fixed(convert(*value)?),
        Distribution::Range(range) if range.min > range.max => {
            return Err(document.error_at(
                at,
                format!("the range begins at {} and ends at {}", range.min, range.max),
                "write the smaller value as `min`",
            ));
        }
        Distribution::Range(range) => C::uniform(convert(range.min)?, convert(range.max)?),
        Distribution::LogNormal(LogNormal { median, sigma, min, max }) => {
            let smallest = convert(
                min.unwrap_or(T::read("0").expect("0 is a quantity of every kind that has a spread")),
            )?;
            let made = C::log_normal(convert(*median)?, *sigma, smallest, convert(*max)?);
            return made.ok_or_else(|| {
                document.error_at(
                    at,
                    "a median and a spread are for sizes only",
                    "write { min, max }, or a list of { value, weight }",
                )
            });
        }
        Distribution::Weighted(shares) => {
            let sum: f64 = shares.iter().map(|share| share.weight).sum();
            if !(sum > 0.0 && sum.is_finite()) || shares.iter().any(|share| share.weight < 0.0) {
                return Err(document.error_at(
                    at,
                    "the weights must not be negative, and their sum must be above 0",
                    "write a list such as [{ value = 1, weight = 90 }, { value = 10, weight = 10 }]",
                ));
            }
            let shares = shares.iter().map(|share| Ok((convert(share.value)?, share.weight)));
            C::weighted(shares.collect::<Result<_, _>>()?)
        }
    })
}
