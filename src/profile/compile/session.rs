//! The `[timeouts]` and `[session]` tables: the script and the messages of a session.

use std::time::Duration;

use super::faults::Faults;
use super::{Purpose, extensions, misbehave};
use crate::experiment::capacity::Knob;
use crate::load::{PHASE_STRIDE, Think, expected_arrivals};
use crate::plan::retry::{Retry, RetrySchedule};
use crate::plan::{self, Messages, Phase, Unit};
use crate::profile::document::{Document, keys};
use crate::profile::error::ProfileFault;
use crate::profile::schema::Profile;
use crate::profile::schema::capacity::Capacity;
use crate::profile::schema::session::Session;
use crate::profile::table::Word;
use crate::profile::units::{Count, RetryTimes, Time, TimeRange};
use crate::profile::value::{Distribution, RangeTable};
use crate::smtp::script::{Hello, Protocol, Quit, Timeouts, Verify};
use crate::smtp::{Script, Step};

pub(super) fn think(session: &Session) -> Think {
    let TimeRange { min, max } = session.think();
    Think { min, max }
}

/// Checks that the keys of the session fit the phases.
///
/// # Errors
/// A key that fits no phase.
pub(super) fn fits(
    document: &Document,
    session: &Session,
    phases: &[Phase],
    capacity: Option<&Capacity>,
) -> Result<(), ProfileFault> {
    // A search by sessions has a closed load of its own.
    let is_closed = |phase: &Phase| phase.load.model.is_closed();
    let is_by_sessions = capacity.is_some_and(|capacity| capacity.by() == Word(Knob::Sessions));
    let is_open = !phases.is_empty() && !is_by_sessions && !phases.iter().any(is_closed);
    if is_open && think(session).max > Duration::ZERO {
        return Err(document.error_at_key(
            &keys!["session", "think"],
            "`think` is the pause of sessions that begin again, and no phase has such sessions",
            "remove it, or use a load such as constant-sessions",
        ));
    }
    if is_open && session.reconnect.is_some() {
        return Err(document.error_at_key(
            &keys!["session", "reconnect"],
            "`reconnect` is the pause of sessions that begin again, and no phase has such sessions",
            "remove it, or use a load such as constant-sessions",
        ));
    }
    if session.quit().0 == Quit::Hold && phases.iter().any(|phase| phase.unit == Unit::Message) {
        return Err(document.error_at(
            &keys!["session", "quit"],
            "`hold` is for sessions that are arrivals themselves, and a phase's unit is message: its pool is open to the end anyway",
            "give that phase `unit = \"session\"`, or remove the key",
        ));
    }
    let ends_before_mail = session.misbehave().half_close == Some(Word(Step::Hello));
    let endless = |phase: &&Phase| phase.unit == Unit::Message && phase.load.length.is_none();
    if let Some(phase) = phases.iter().find(endless).filter(|_| ends_before_mail) {
        return Err(document.error_at(
            &keys!["session", "misbehave", "half_close"],
            format!(
                "after it a session sends no message, and phase `{}` ends only when all its messages are sent",
                phase.name
            ),
            "give that phase `for` or `unit = \"session\"`, or choose another step",
        ));
    }
    Ok(())
}

/// Returns the pauses of closed loads after a failed session.
pub(super) fn reconnect(document: &Document, session: &Session) -> Result<plan::Reconnect, ProfileFault> {
    let written = session.reconnect();
    let Time(first) = written.first();
    // A first pause above the default maximum is the maximum, too.
    let longest = plan::Reconnect::default().max.max(first);
    let Time(max) = written.max.unwrap_or(Time(longest));
    if max < first {
        return Err(document.error_at(
            &keys!["session", "reconnect", "max"],
            "the longest pause is shorter than the first",
            "write a longer `max`, or a shorter `first`",
        ));
    }
    Ok(plan::Reconnect { first, factor: written.factor(), max })
}

/// Returns when messages are tried again; only for a run.
pub(super) fn retry(
    document: &Document,
    session: &Session,
    phases: &[Phase],
    purpose: Purpose,
) -> Result<Option<Retry>, ProfileFault> {
    let Some(written) = &session.retry else { return Ok(None) };
    if let Some(phase) = phases.iter().find(|phase| phase.unit == Unit::Session) {
        return Err(document.error_at_key(
            &keys!["session", "retry"],
            format!("messages are tried again, and the arrivals of phase `{}` are whole sessions", phase.name),
            "give that phase `unit = \"message\"`; with `messages = 1` in `[session]` each message has a session of its own",
        ));
    }
    let growing = [
        ("first", written.first.is_some()),
        ("factor", written.factor.is_some()),
        ("max", written.max.is_some()),
        ("attempts", written.attempts.is_some()),
    ];
    let given = growing.iter().find(|(_, given)| *given).map(|(key, _)| *key);
    let schedule = match (&written.schedule, given, written.first, written.attempts) {
        (Some(_), Some(key), ..) => {
            return Err(document.error_at_key(
                &keys!["session", "retry", key],
                format!("`{key}` is for pauses that grow, and `schedule` says them all"),
                "remove one of the two",
            ));
        }
        (Some(RetryTimes::Postfix), ..) => RetrySchedule::postfix(),
        (Some(RetryTimes::Exim), ..) => RetrySchedule::exim(),
        (Some(RetryTimes::Pauses(pauses)), ..) => {
            RetrySchedule::listed(pauses.iter().map(|Time(pause)| *pause).collect())
        }
        (None, _, Some(Time(first)), Some(attempts)) => {
            let Time(max) = written.max.unwrap_or(Time(Duration::MAX));
            RetrySchedule::growing(first, written.factor(), max, attempts.small())
        }
        (None, ..) => {
            return Err(document.error_at_key(
                &keys!["session", "retry"],
                "it does not say when a message is tried again",
                "write `schedule = \"5m, 15m, 1h\"`, or `first = \"5m\"` and `attempts = 4`",
            ));
        }
    };
    let schedule = schedule.scaled(written.time_scale());
    let wait = written.wait.map(|Time(wait)| wait);
    Ok((purpose == Purpose::Run).then_some(Retry { schedule, wait }))
}

/// Returns the dialogue, without TLS and logins.
pub(super) fn script(
    document: &Document,
    profile: &Profile,
    protocol: Protocol,
    faults: &mut Faults,
) -> Option<Script> {
    let session = profile.session();
    let hello = hello(document, &session, protocol);
    let hello = faults.keep(&["session", "target", "listener"], hello);
    let wishes = faults.keep(&["session"], extensions::wishes(document, &session));
    let manners = faults.keep(&["session"], misbehave::compile(document, &session));
    let timeouts = profile.timeouts();
    Some(Script {
        protocol,
        hello: hello?,
        name: session.name(),
        pipelining: session.pipelining().0,
        wishes: wishes?,
        verify: Verify {
            times: session.verify().small(),
            // The recipients are known once the messages are compiled.
            whom: Vec::new(),
        },
        between: session.between().into_iter().map(|Word(aside)| aside).collect(),
        quit: session.quit().0,
        timeouts: Timeouts {
            connect: timeouts.connect().0,
            greeting: timeouts.greeting().0,
            command: timeouts.command().0,
            data: timeouts.data().0,
            body: timeouts.body().0,
            quit: timeouts.quit.map(|Time(quit)| quit),
            session: timeouts.session().0,
        },
        manners: manners?,
        ..Script::default()
    })
}

fn hello(document: &Document, session: &Session, protocol: Protocol) -> Result<Hello, ProfileFault> {
    match session.hello().0 {
        Hello::Helo if protocol == Protocol::Lmtp => Err(document.error_at(
            &keys!["session", "hello"],
            "LMTP has neither HELO nor EHLO; its hello is LHLO (RFC 2033 4.1)",
            "remove the key",
        )),
        hello => Ok(hello),
    }
}

/// Returns the messages of a session. 0 means that a session is opened and closed without a message; if the arrivals
/// are messages, 0 means no limit.
pub(super) fn messages(
    document: &Document,
    session: &Session,
    phases: &[Phase],
) -> Result<Messages, ProfileFault> {
    let at = keys!["session", "messages"];
    let written = session.messages();
    let of_messages = phases.iter().find(|phase| phase.unit == Unit::Message);
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
    match of_messages {
        Some(phase) if written.values().contains(&Count(0)) => Err(document.error_at(
            &at,
            format!(
                "a session without a message cannot serve phase `{}`, whose arrivals are messages",
                phase.name
            ),
            "write at least 1",
        )),
        _ => {
            let messages = match written {
                Distribution::Fixed(count) => Messages::Fixed(count.small()),
                Distribution::Range(RangeTable { min, max }) => {
                    Messages::Uniform { min: min.small(), max: max.small() }
                }
                Distribution::Weighted(shares) => {
                    Messages::Weighted(shares.iter().map(|one| (one.value.small(), one.weight)).collect())
                }
                Distribution::LogNormal(_) => unreachable!("the bounds of `messages` refuse it"),
            };
            numbers_differ(document, &messages, phases).map(|()| messages)
        }
    }
}

/// Checks that no message has the number of one of another phase, where the number of sessions is known: see
/// [`Messages::number`].
fn numbers_differ(document: &Document, messages: &Messages, phases: &[Phase]) -> Result<(), ProfileFault> {
    let numbers = |phase: &Phase| match phase.unit {
        Unit::Session => {
            expected_arrivals(&phase.load).map(|sessions| sessions.saturating_mul(messages.most()))
        }
        Unit::Message => None,
    };
    match phases.iter().find(|phase| numbers(phase).is_some_and(|numbers| numbers >= PHASE_STRIDE)) {
        Some(phase) => Err(document.error_at(
            &keys!["session", "messages"],
            format!(
                "the sessions of phase `{}`, of up to {} messages each, have 10^12 messages or more: some would have the numbers of others",
                phase.name,
                messages.most()
            ),
            "lower the most messages of a session, or the rate or the length of the phase",
        )),
        None => Ok(()),
    }
}
