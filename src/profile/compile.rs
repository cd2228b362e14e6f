//! From a document to a [`Plan`]: every value is checked against every other, and nothing is silently ignored.
//!
//! # Decisions
//! - The first error ends it: later ones often follow from it.
//! - Keys of the contract whose feature this version lacks are refused at their place, with a sentence that says so.

use std::collections::BTreeMap;
use std::net::IpAddr;

use sha2::{Digest, Sha256};

use super::document::{Document, Key, keys};
use super::error::ProfileError;
use super::schema::{self, Profile};
use super::units::{Count, Quantity, Size, Time, TimeRange};
use super::value::Distribution;
use super::{listener, phase, resolved, rule};
use crate::collector::Condition;
use crate::listener::Limits;
use crate::load::{Load, Shard, Think};
use crate::mail;
use crate::net::target::Target;
use crate::plan::{Messages, Plan, Unit};
use crate::smtp::Script;
use crate::smtp::script::{Hello, Pipelining, Quit, Timeouts};
use crate::verdict::grammar::Assertion;

pub use super::rule::Limit;

/// What a profile is compiled for; it decides what must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A run: a target and phases.
    Run,
    /// A search for limits or capacity: a target. Phases, if any, are not run.
    Search,
    /// The embedded listener alone: nothing else.
    Listen,
}

/// What comes from outside the profile.
#[derive(Clone, Debug)]
pub struct Context {
    /// What it is for.
    pub purpose: Purpose,
    /// The seed if the profile has none; drawn by the caller.
    pub seed: u64,
    /// Identifies the run in its messages.
    pub run_id: String,
    /// Threads if the profile does not say; at least 1.
    pub threads: u32,
    /// Which part of the load this process carries.
    pub shard: Shard,
}

/// A profile, decided.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What is done.
    pub plan: Plan,
    /// What must hold: the built-in assertions that are not removed, then the user's.
    pub assertions: Vec<Assertion>,
    /// What the embedded listener enforces.
    pub listener: Limits,
    /// What the administrator configured, for `smtpress limit`.
    pub limits: BTreeMap<Condition, Limit>,
    /// The profile with its defaults; `capacity` is read from here.
    pub profile: Profile,
    /// The same as TOML: the run directory's `profile.toml`.
    pub resolved: String,
    /// SHA-256 of `resolved`, in hexadecimal: `sha256sum profile.toml` gives the same.
    pub sha256: String,
}

/// Compiles a document.
///
/// # Errors
/// The first thing in it that cannot be done, with its place.
pub fn compile(document: &Document, context: &Context) -> Result<Compiled, ProfileError> {
    let written = document.read()?;
    if written.schema.is_some_and(|version| version != 1) {
        return Err(document.error_at(
            &keys!["schema"],
            "this version of smtpress reads profiles of schema 1 only",
            "write `schema = 1`",
        ));
    }
    unsupported(document, &written)?;
    let profile = resolved::fill(written, context.seed, &default_name(document));
    let name = profile.name.clone().unwrap_or_default();
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        return Err(document.error_at(
            &keys!["name"],
            format!("{name:?} is no name"),
            "use letters, digits, `-`, `_` and `.`",
        ));
    }
    let session = profile.session.clone().unwrap_or_default();
    let think = think(&session);
    let phases = phases(document, &profile, context.purpose, think)?;
    if think.max > std::time::Duration::ZERO
        && !phases.is_empty()
        && !phases.iter().any(|phase| is_closed(&phase.load.load))
    {
        return Err(document.error_at_key(
            &keys!["session", "think"],
            "`think` is the pause of sessions that begin again, and no phase has such sessions",
            "remove it, or use a load such as constant-sessions",
        ));
    }
    let plan = Plan {
        name,
        seed: profile.seed.map_or(context.seed, |seed| seed.0),
        run_id: context.run_id.clone(),
        target: target(document, &profile, context.purpose)?,
        allow: allow(document, &profile)?,
        script: script(document, &profile, &session)?,
        messages: messages(document, &session, &phases)?,
        mail: mail(document, &profile)?,
        expects: indexed(&profile.expect, |i, expect| rule::expect(document, &profile.phase, i, expect))?,
        classify: indexed(&profile.classify, |i, classify| rule::classify(document, i, classify))?,
        phases,
        threads: match profile.threads {
            Some(0) => {
                return Err(document.error_at(
                    &keys!["threads"],
                    "0 threads do nothing",
                    "write at least 1, or remove the key",
                ));
            }
            Some(threads) if threads > 1024 => {
                return Err(document.error_at(
                    &keys!["threads"],
                    "more than 1024 threads",
                    "as many as there are cores is best: remove the key",
                ));
            }
            threads => threads.unwrap_or(context.threads),
        },
        shard: context.shard,
    };
    let assertions = rule::assertions(document, &profile.phase, &profile.assert)?;
    let listener = listener::compile(document, &profile.listener.clone().unwrap_or_default())?;
    let limits = rule::limits(document, &profile.limits)?;
    if let Some(capacity) = &profile.capacity {
        rule::goals(document, capacity.goals.as_deref().unwrap_or_default())?;
    }
    let resolved = resolved::render(&profile);
    let sha256 = Sha256::digest(&resolved).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Compiled { plan, assertions, listener, limits, profile, resolved, sha256 })
}

/// What is part of the contract and not of this version.
fn unsupported(document: &Document, profile: &Profile) -> Result<(), ProfileError> {
    let target = profile.target.clone().unwrap_or_default();
    let session = profile.session.clone().unwrap_or_default();
    let message = profile.message.clone().unwrap_or_default();
    let refused: [(bool, [&'static str; 2], &str, &str); 9] = [
        (
            target.tls.is_some_and(|tls| tls != schema::Tls::None),
            ["target", "tls"],
            "TLS is not supported yet in this version",
            "write `tls = \"none\"`",
        ),
        (
            target.tls_options.is_some(),
            ["target", "tls_options"],
            "TLS is not supported yet in this version",
            "remove the table",
        ),
        (
            target.sources.is_some_and(|sources| !sources.is_empty()),
            ["target", "sources"],
            "source addresses are not supported yet in this version",
            "remove the key",
        ),
        (
            target.proxy.is_some_and(|proxy| proxy != schema::Proxy::None),
            ["target", "proxy"],
            "the PROXY protocol is not supported yet in this version",
            "write `proxy = \"none\"`",
        ),
        (
            target.xclient == Some(true),
            ["target", "xclient"],
            "XCLIENT is not supported yet in this version",
            "remove the key",
        ),
        (
            session.auth.is_some(),
            ["session", "auth"],
            "AUTH is not supported yet in this version",
            "remove the key",
        ),
        (
            session.chunking.is_some_and(|chunking| chunking != schema::Chunking::Off),
            ["session", "chunking"],
            "BDAT is not supported yet in this version",
            "write `chunking = \"off\"`",
        ),
        (
            session.quit == Some(schema::Quit::Hold),
            ["session", "quit"],
            "`hold` is not supported yet in this version",
            "a phase of load `held-sessions` holds its sessions open",
        ),
        (
            message.files.is_some(),
            ["message", "files"],
            "messages from files are not supported yet in this version",
            "remove the key, and give `size`",
        ),
    ];
    for (asked, path, message, remedy) in refused {
        if asked {
            return Err(document.error_at(&path.map(Key::from), message, remedy));
        }
    }
    Ok(())
}

/// The file's name, made fit to be a profile's.
fn default_name(document: &Document) -> String {
    let name: String = document
        .stem()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' })
        .collect();
    if name.bytes().any(|b| b.is_ascii_alphanumeric()) { name } else { "profile".to_owned() }
}

fn target(document: &Document, profile: &Profile, purpose: Purpose) -> Result<Target, ProfileError> {
    match profile.target.as_ref().and_then(|target| target.address.as_deref()) {
        Some(address) => address.parse().map_err(|error: crate::net::target::TargetError| {
            document.error_at(&keys!["target", "address"], error.to_string(), "")
        }),
        None if purpose == Purpose::Listen => Ok(Target::Embedded),
        None => Err(document.error_at(
            &keys!["target"],
            "there is no target",
            "add [target] with `address = \"smtp://127.0.0.1:25\"`, or \"embedded\", or give --target",
        )),
    }
}

fn allow(document: &Document, profile: &Profile) -> Result<Vec<String>, ProfileError> {
    let hosts = profile.target.as_ref().and_then(|target| target.allow.clone()).unwrap_or_default();
    for (index, host) in hosts.iter().enumerate() {
        let named = !host.is_empty() && !host.contains([':', '/', '@', ' ', '*']);
        if !named && host.parse::<IpAddr>().is_err() {
            return Err(document.error_at(
                &keys!["target", "allow", index],
                format!("{host:?} is no host"),
                "write a name or an address without a port, as in \"mx.example\"",
            ));
        }
    }
    Ok(hosts)
}

fn phases(
    document: &Document,
    profile: &Profile,
    purpose: Purpose,
    think: Think,
) -> Result<Vec<crate::plan::Phase>, ProfileError> {
    if profile.phase.is_empty() && purpose == Purpose::Run {
        return Err(ProfileError::new(
            "there is no phase, so there is nothing to do",
            "add [[phase]] with `load = \"constant-rate\"`, `rate = \"50/s\"` and `for = \"30s\"`",
            document.end(),
        ));
    }
    let count = profile.phase.len();
    let phases = indexed(&profile.phase, |index, one| {
        let name = one.name.as_deref().unwrap_or_default();
        rule::plain_name(document, &keys!["phase", index, "name"], name)?;
        if let Some(first) =
            profile.phase[..index].iter().position(|other| other.name.as_deref() == Some(name))
        {
            return Err(document.error_at(
                &keys!["phase", index, "name"],
                format!(
                    "a phase before this one is called `{name}` too (the {} in the profile)",
                    ordinal(first)
                ),
                "give each phase a name of its own",
            ));
        }
        phase::compile(document, one, index, index + 1 == count, think)
    })?;
    if purpose == Purpose::Run && phases.iter().all(|phase| phase.warmup) {
        return Err(document.error_at(
            &keys!["phase", 0usize, "warmup"],
            "every phase is a warm-up, so nothing is measured",
            "add a phase without `warmup = true`",
        ));
    }
    Ok(phases)
}

fn ordinal(index: usize) -> String {
    match index {
        0 => "first".to_owned(),
        1 => "second".to_owned(),
        2 => "third".to_owned(),
        _ => format!("{}th", index + 1),
    }
}

fn is_closed(load: &Load) -> bool {
    matches!(load, Load::Sessions { .. } | Load::Shared { .. })
}

fn think(session: &schema::Session) -> Think {
    let TimeRange { min, max } = session.think.unwrap_or_default();
    Think { min, max }
}

fn script(document: &Document, profile: &Profile, session: &schema::Session) -> Result<Script, ProfileError> {
    let name = session.name.clone().unwrap_or_default();
    // Any word is sent: a wrong HELO name is a thing to test. What would break the command line is not.
    if name.is_empty() || name.len() > 255 || !name.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(document.error_at(
            &keys!["session", "name"],
            format!("{name:?} cannot be said with HELO or EHLO"),
            "write a host name such as \"load.example\"",
        ));
    }
    Ok(Script {
        hello: match session.hello {
            Some(schema::Hello::Helo) => Hello::Helo,
            Some(schema::Hello::Ehlo) | None => Hello::Ehlo,
        },
        name,
        pipelining: match session.pipelining {
            Some(schema::Pipelining::Off) => Pipelining::Off,
            Some(schema::Pipelining::Full) => Pipelining::Full,
            Some(schema::Pipelining::Require) => Pipelining::Require,
            Some(schema::Pipelining::Auto) | None => Pipelining::Auto,
        },
        quit: match session.quit {
            Some(schema::Quit::Close) => Quit::Close,
            Some(schema::Quit::Reset) => Quit::Reset,
            // `hold` was refused before.
            Some(schema::Quit::Clean | schema::Quit::Hold) | None => Quit::Clean,
        },
        timeouts: timeouts(document, profile)?,
    })
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
fn messages(
    document: &Document,
    session: &schema::Session,
    phases: &[crate::plan::Phase],
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

fn mail(document: &Document, profile: &Profile) -> Result<mail::Spec, ProfileError> {
    let written = profile.message.clone().unwrap_or_default();
    let Count(recipients) = written.recipients.unwrap_or(Count(1));
    let recipients =
        u32::try_from(recipients).ok().filter(|n| (1..=1_000_000).contains(n)).ok_or_else(|| {
            document.error_at(
                &keys!["message", "recipients"],
                format!("{recipients} is no possible number of recipients"),
                "write 1 to 1000000",
            )
        })?;
    let size = distribution(
        document,
        &keys!["message", "size"],
        &written.size.unwrap_or(Distribution::Fixed(Size(4096))),
        |Size(size)| Ok(size),
    )?;
    let address = |key: &'static str, address: Option<String>, empty: bool| {
        let address = address.unwrap_or_default();
        let plain = address.bytes().all(|b| b.is_ascii_graphic() && !b"<>".contains(&b));
        let whole =
            address.rsplit_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
        if plain && (whole || empty && address.is_empty()) {
            return Ok(address);
        }
        Err(document.error_at(
            &keys!["message", key],
            format!("{address:?} is no mail address"),
            format!(
                "write one such as \"{}\"",
                if empty { "load@sender.example" } else { "user{n}@recipient.example" }
            ),
        ))
    };
    Ok(mail::Spec {
        from: address("from", written.from, true)?,
        to: address("to", written.to, false)?,
        recipients,
        size,
    })
}

/// A kind of distribution of the plan.
trait Chosen<U> {
    fn fixed(value: U) -> Self;
    fn uniform(min: U, max: U) -> Self;
    fn weighted(shares: Vec<(U, f64)>) -> Self;
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
}

fn distribution<T: Quantity + Copy + PartialOrd, U, C: Chosen<U>>(
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

fn indexed<T, U>(
    list: &[T],
    make: impl Fn(usize, &T) -> Result<U, ProfileError>,
) -> Result<Vec<U>, ProfileError> {
    list.iter().enumerate().map(|(index, one)| make(index, one)).collect()
}
