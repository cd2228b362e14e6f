//! The bounds of single keys: the error for a value beyond them, and the remedy.
//!
//! `compile` checks what depends on another key.

use std::fmt::Display;
use std::time::Duration;

use regex::{Regex, RegexBuilder};

use super::table::Word;
use super::units::{Count, Percent, Quantity, Rate, RetryTimes, Size, Time, UnitError};
use super::value::Distribution;
use crate::condition::expect::When;
use crate::condition::{Condition, Group};
use crate::plan::retry::MOST_ATTEMPTS;
use crate::smtp::request::MAX_PATH;
use crate::smtp::{Reply, Step};

type ValueBound = Result<(), UnitError>;

/// The largest number of steps of a staircase, and of stages of a ramp.
const MOST_STEPS: u64 = 10_000;
/// The finest resolution of a search, in percent of the load.
const FINEST_PERCENT: f64 = 0.1;

pub(super) fn hold(holds: bool, message: impl Display, remedy: &str) -> ValueBound {
    if holds { Ok(()) } else { Err(UnitError::new(message.to_string(), remedy)) }
}

fn is_u32(count: u64) -> bool {
    u32::try_from(count).is_ok()
}

// The profile.

pub(super) fn schema(version: &u32) -> ValueBound {
    hold(*version == 1, "this version of smtpress reads profiles of schema 1 only", "write `schema = 1`")
}

pub(super) fn profile_name(name: &str) -> ValueBound {
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    hold(plain, format_args!("{name:?} is no name"), "use letters, digits, `-`, `_` and `.`")
}

pub(super) fn threads(threads: &u32) -> ValueBound {
    hold(*threads > 0, "0 threads do nothing", "write at least 1, or remove the key")?;
    let remedy = "as many as there are cores is best: remove the key";
    hold(*threads <= 1024, "more than 1024 threads", remedy)
}

/// Checks a name that may stand in expressions, file names and tags.
pub(super) fn plain_name(name: &str) -> ValueBound {
    let plain = !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    hold(plain, format_args!("{name:?} is no name"), "use 1 to 64 letters, digits, `-` and `_`")
}

// Sessions.

pub(super) fn timeout(Time(time): &Time) -> ValueBound {
    hold(!time.is_zero(), "a time-out of 0 is over before it begins", "write a duration such as \"30s\"")
}

/// Checks the name for HELO or EHLO. Every word of printable ASCII is allowed, because a wrong name is worth a test;
/// other characters would break the command line.
pub(super) fn hello_name(name: &str) -> ValueBound {
    let sendable = !name.is_empty() && name.len() <= 255 && name.bytes().all(|b| b.is_ascii_graphic());
    let message = format_args!("{name:?} cannot be said with HELO or EHLO");
    hold(sendable, message, "write a host name such as \"load.example\"")
}

pub(super) fn messages(messages: &Distribution<Count>) -> ValueBound {
    let remedy = "write { min, max }, or a list of { value, weight }";
    let is_log_normal = matches!(messages, Distribution::LogNormal(_));
    messages.values().into_iter().try_for_each(|Count(n)| {
        hold(is_u32(n), format_args!("{n} messages in a session"), "write a number below 2^32")
    })?;
    hold(!is_log_normal, "a median and a spread are for sizes only", remedy)
}

pub(super) fn chunk(Size(size): &Size) -> ValueBound {
    hold(*size > 0, "a chunk of nothing carries nothing", "write a size such as \"64KiB\"")
}

pub(super) fn verify(Count(times): &Count) -> ValueBound {
    let message = format_args!("{times} VRFY commands in a session");
    hold(is_u32(*times), message, "write a number below 2^32")
}

pub(super) fn factor(factor: &f64) -> ValueBound {
    let remedy = "write a number such as 2, or 1 for pauses that are all the same";
    hold((1.0..=1000.0).contains(factor), "pauses grow by a factor between 1 and 1000", remedy)
}

pub(super) fn retry_times(times: &RetryTimes) -> ValueBound {
    let pauses = if let RetryTimes::Pauses(pauses) = times { pauses.len() } else { 0 };
    let most = MOST_ATTEMPTS as usize - 1;
    hold(pauses <= most, format_args!("{pauses} pauses"), "write at most 9,999")
}

pub(super) fn attempts(Count(attempts): &Count) -> ValueBound {
    let remedy = "write a number from 2 to 10,000, the first attempt included";
    hold((2..=u64::from(MOST_ATTEMPTS)).contains(attempts), format_args!("{attempts} attempts"), remedy)
}

pub(super) fn time_scale(scale: &f64) -> ValueBound {
    let remedy = "write a number such as 0.01: 5 minutes become 3 seconds";
    hold((1e-6..=1000.0).contains(scale), "times are scaled by 0.000001 to 1000", remedy)
}

pub(super) fn garbage(Count(lines): &Count) -> ValueBound {
    let message = format_args!("{lines} lines of nonsense in a session");
    hold(*lines <= 1_000_000, message, "write at most 1,000,000")
}

pub(super) fn half_close(Word(step): &Word<Step>) -> ValueBound {
    let has_command =
        matches!(step, Step::Hello | Step::Mail | Step::Rcpt | Step::Data | Step::Body | Step::Quit);
    let message = format_args!("the sending side cannot be ended after `{step}`");
    hold(has_command, message, "choose hello, mail, rcpt, data, body or quit")
}

pub(super) fn silent_after(Word(step): &Word<Step>) -> ValueBound {
    let is_last = matches!(step, Step::Dns | Step::Connect | Step::Quit | Step::Idle);
    let message = format_args!("there is nothing to be silent about after `{step}`");
    hold(!is_last, message, "choose greeting, hello, starttls, tls, auth, mail, rcpt, data or body")
}

pub(super) fn trickle(rate: &Rate) -> ValueBound {
    let bytes = rate.hertz().round();
    let message = format_args!("a client that writes {bytes} bytes a second");
    hold((1.0..=1e9).contains(&bytes), message, "write at least 1/s and at most 1000000000/s")
}

// Messages.

pub(super) fn recipients(Count(recipients): &Count) -> ValueBound {
    let message = format_args!("{recipients} is no possible number of recipients");
    hold((1..=1_000_000).contains(recipients), message, "write 1 to 1000000")
}

// Phases.

pub(super) fn some_time(Time(time): &Time) -> ValueBound {
    hold(!time.is_zero(), "no time at all", "write a duration such as \"30s\"")
}

pub(super) fn some_sessions(Count(sessions): &Count) -> ValueBound {
    hold(*sessions > 0, "no session at all", "write at least 1")
}

pub(super) fn some_messages(Count(messages): &Count) -> ValueBound {
    hold(*messages > 0, "no messages to share", "write a number such as \"10k\"")
}

pub(super) fn burst(Count(size): &Count) -> ValueBound {
    hold(*size > 0, "a burst of nothing", "write a number such as 100")
}

pub(super) fn steps(Count(steps): &Count) -> ValueBound {
    let message = format_args!("{steps} is no possible number of steps");
    hold((1..=MOST_STEPS).contains(steps), message, "write 1 to 10000")
}

pub(super) fn stages<T>(stages: &[T]) -> ValueBound {
    hold(!stages.is_empty(), "a ramp without a stage", "write [{ for = \"30s\", rate = \"100/s\" }]")?;
    let message = format_args!("{} stages of a ramp", stages.len());
    hold(stages.len() as u64 <= MOST_STEPS, message, "write at most 10000")
}

pub(super) fn connect_rate(rate: &Rate) -> ValueBound {
    let message = "at a rate of 0 no session is ever opened";
    hold(rate.amount > 0.0, message, "write a rate such as \"50/s\"")
}

// Rules.

pub(super) fn reply_code(code: &u16) -> ValueBound {
    let message = format_args!("{code} is no reply code");
    hold((200..=599).contains(code), message, "write a number from 200 to 599")
}

/// Parses `sessions > 50` or `sessions >= 51`.
pub(super) fn when(text: &str) -> Option<When> {
    let rest = text.trim().strip_prefix("sessions")?.trim_start();
    let number = |text: &str| Count::read(text.trim()).ok().map(|Count(n)| n);
    match rest.strip_prefix(">=") {
        Some(rest) => number(rest).map(When::SessionsFrom),
        None => rest.strip_prefix('>').and_then(number).map(When::SessionsAbove),
    }
}

pub(super) fn on_sessions(text: &str) -> ValueBound {
    let message = format_args!("`{text}` is no condition on sessions");
    hold(when(text).is_some(), message, "write `sessions > 50` or `sessions >= 51`")
}

pub(super) fn window(Time(window): &Time) -> ValueBound {
    let message = "a window shorter than the second that is measured";
    hold(*window >= Duration::from_secs(1), message, "write at least \"1s\"")
}

pub(super) fn condition_of_reply(Word(condition): &Word<Condition>) -> ValueBound {
    let is_reply = !matches!(condition.group(), Group::Transport | Group::Generator);
    let message = format_args!("`{condition}` is no reply, so no reply can mean it");
    hold(is_reply, message, "name a condition of a reply; `smtpress codes` lists them")
}

/// Compiles the pattern of a `[[classify]]`, which ignores case.
pub(super) fn regular_expression(pattern: &str) -> Result<Regex, UnitError> {
    RegexBuilder::new(pattern).case_insensitive(true).build().map_err(|error| {
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let remedy = "write single quotes around it, so that \\ stays as it is";
        UnitError::new(format!("this is no regular expression: {why}"), remedy)
    })
}

pub(super) fn pattern(pattern: &str) -> ValueBound {
    regular_expression(pattern).map(drop)
}

// Capacity.

pub(super) fn trial(Time(trial): &Time) -> ValueBound {
    hold(*trial >= Duration::from_secs(1), "a trial shorter than a second", "write at least \"1s\"")
}

pub(super) fn width(Percent(percent): &Percent) -> ValueBound {
    let is_width = (FINEST_PERCENT..100.0).contains(percent);
    hold(is_width, "no width for two bounds", "write 0.1% to 99%")
}

pub(super) fn command(command: &str) -> ValueBound {
    hold(!command.trim().is_empty(), "a command without words", "write one, or remove the key")
}

pub(super) fn failures(Percent(percent): &Percent) -> ValueBound {
    hold(*percent < 100.0, "a goal that nothing can miss", "write less than 100%")
}

// The listener.

pub(super) fn count(Count(n): &Count) -> ValueBound {
    let message = format_args!("{n} is more than a listener can count");
    hold(is_u32(*n), message, "write a number below 2^32")
}

pub(super) fn line(Size(n): &Size) -> ValueBound {
    count(&Count(*n))
}

pub(super) fn workers(workers: &Count) -> ValueBound {
    hold(workers.0 > 0, "0 workers serve nothing", "write at least 1")?;
    count(workers)
}

pub(super) fn share(percent: &Percent) -> ValueBound {
    hold(percent.0 <= 100.0, format_args!("{percent} is more than 100%"), "write at most 100%")
}

pub(super) fn rate(rate: &Rate) -> ValueBound {
    hold(rate.amount > 0.0, "a rate of 0 lets nothing through", "write a rate such as \"60/min\"")
}

pub(super) fn listener_burst(burst: &Count) -> ValueBound {
    hold(burst.0 > 0, "a burst of 0 lets nothing through", "write at least 1")?;
    count(burst)
}

/// Checks a limit of the path length. A limit above [`MAX_PATH`] could never be reached.
pub(super) fn path(Size(bytes): &Size) -> ValueBound {
    let message =
        format_args!("{bytes} bytes are no limit: no path has more than {MAX_PATH} (RFC 5321 4.5.3.1.3)");
    hold(*bytes <= MAX_PATH as u64, message, &format!("write at most {MAX_PATH}"))
}

pub(super) fn reply_step(Word(step): &Word<Step>) -> ValueBound {
    let message = format_args!("a listener does not reply at the step `{step}`");
    let remedy = super::nearest::choose(step.as_str(), &SPOKEN.map(Step::as_str), "write one of");
    hold(SPOKEN.contains(step), message, &remedy)
}

pub(super) fn reply(text: &str) -> ValueBound {
    let remedy = "write a code and a text: \"452 4.3.1 queue full\"";
    Reply::parse(text).map(drop).map_err(|error| UnitError::new(format!("this is no reply: {error}"), remedy))
}

/// The steps to which a listener replies.
const SPOKEN: [Step; 9] = [
    Step::Greeting,
    Step::Hello,
    Step::Starttls,
    Step::Auth,
    Step::Mail,
    Step::Rcpt,
    Step::Data,
    Step::Body,
    Step::Quit,
];
