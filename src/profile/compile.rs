//! From a document to a [`Plan`]: every value is checked against every other, and nothing is silently ignored.
//!
//! # Decisions
//! - The first error ends it: later ones often follow from it.
//! - Keys of the contract whose feature this version lacks are refused at their place, with a sentence that says so.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::document::{Document, keys};
use super::error::ProfileError;
use super::schema::{self, Profile};
use super::{auth, capacity, dialogue, listener, message, phase, resolved, rule, target, tls};
use crate::experiment::capacity::CapacityPlan;
use crate::listener::limits::Limits;
use crate::load::{Shard, Think};
use crate::net::address::bind::Bind;
use crate::net::address::{Target, TargetError};
use crate::plan::{Phase, Plan, Unit};
use crate::smtp::extensions::{Use, Wishes};
use crate::smtp::{Script, script};
use crate::verdict::grammar::Assertion;

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
    /// Where it listens, if the profile says so.
    pub listen: Option<Bind>,
    /// What the administrator configured, for `smtpress limit`: by the name of its kind, in its unit.
    pub limits: BTreeMap<String, u64>,
    /// What `smtpress capacity` is to do, if the profile says so.
    pub capacity: Option<CapacityPlan>,
    /// The profile with its defaults.
    pub profile: Profile,
    /// The same as TOML: the run directory's `profile.toml`.
    pub resolved: String,
    /// SHA-256 of `resolved`, in hexadecimal: `sha256sum profile.toml` gives the same.
    pub sha256: String,
    /// SHA-256 of what is asked, whoever it is asked of: of the profile without the address of its target, and without the
    /// hosts that are allowed to be one.
    pub load_sha256: String,
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
    let written_target = written.target.clone().unwrap_or_default();
    let mut profile = resolved::fill(written, context.seed, &default_name(document));
    message::anchor(document, &mut profile, context.purpose);
    let name = profile.name.clone().unwrap_or_default();
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        return Err(document.error_at(
            &keys!["name"],
            format!("{name:?} is no name"),
            "use letters, digits, `-`, `_` and `.`",
        ));
    }
    let session = profile.session.clone().unwrap_or_default();
    let think = dialogue::think(&session);
    let phases = phases(document, &profile, context.purpose, think)?;
    if think.max > Duration::ZERO
        && !phases.is_empty()
        && !phases.iter().any(|phase| phase.load.model.is_closed())
    {
        return Err(document.error_at_key(
            &keys!["session", "think"],
            "`think` is the pause of sessions that begin again, and no phase has such sessions",
            "remove it, or use a load such as constant-sessions",
        ));
    }
    if session.quit == Some(schema::Quit::Hold) && phases.iter().any(|phase| phase.unit == Unit::Message) {
        return Err(document.error_at(
            &keys!["session", "quit"],
            "`hold` is for sessions that are arrivals themselves, and a phase's unit is message: its pool is open to the end anyway",
            "give that phase `unit = \"session\"`, or remove the key",
        ));
    }
    let to = target(document, &profile, context.purpose)?;
    let serves = context.purpose == Purpose::Listen || to.is_embedded();
    let tls = tls::mode(document, &written_target, &to)?;
    let clients = if to.is_embedded() { tls } else { script::Tls::None };
    let listener =
        listener::compile(document, &profile.listener.clone().unwrap_or_default(), clients, serves)?;
    let protocol = if to.is_embedded() { listener.protocol } else { to.protocol() };
    let origin = target::origin(document, &profile, &to)?;
    let script = dialogue::script(document, &profile, &session, protocol)?;
    let script = Script { tls, ..script };
    let (script, logins) = auth::compile(document, &session, script, &to, context.purpose)?;
    let utf8 = script.wishes.utf8 != Use::Off && session.hello != Some(schema::Hello::Helo);
    let mail = message::compile(document, &profile, utf8)?;
    if mail.names_session()
        && let Some(phase) = phases.iter().find(|phase| phase.unit == Unit::Message)
    {
        return Err(document.error_at(
            &keys!["message"],
            format!(
                "a template has `{{session}}`, and the messages of phase `{}` are served by whichever session is free: their octets would differ from run to run",
                phase.name
            ),
            "write `{n}` instead, or give the phase `unit = \"session\"`",
        ));
    }
    // What needs SMTPUTF8 must not go without it (RFC 6531 3.2).
    let script = match mail.needs_utf8() {
        true => Script { wishes: Wishes { utf8: Use::Require, ..script.wishes }, ..script },
        false => script,
    };
    let plan = Plan {
        name,
        seed: profile.seed.map_or(context.seed, |seed| seed.0),
        run_id: context.run_id.clone(),
        origin,
        tls: tls::client(document, &profile, &to, tls)?,
        target: to,
        allow: allow(document, &profile)?,
        script,
        logins,
        messages: dialogue::messages(document, &session, &phases)?,
        mail,
        expects: indexed(&profile.expect, |i, expect| rule::expect(document, &profile.phase, i, expect))?,
        classify: indexed(&profile.classify, |i, classify| rule::classify(document, i, classify))?,
        reconnect: dialogue::reconnect(document, &session)?,
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
    let assertions = rule::assertions(document, &profile.phase, &profile.expect, &profile.assert)?;
    let listen = target::listen(document, &profile)?;
    let limits = rule::limits(document, &profile.limits)?;
    let searched = profile.capacity.is_some();
    let capacity =
        searched.then(|| capacity::compile(document, &profile, &plan.phases, &plan.mail)).transpose()?;
    let footprint = message::footprint(&plan.mail);
    let resolved = resolved::render(&profile) + &footprint;
    let sha256 = hash(&resolved);
    let load_sha256 = hash(&(resolved::render(&resolved::addressless(&profile, &plan.target)) + &footprint));
    Ok(Compiled {
        plan,
        assertions,
        listener,
        listen,
        limits,
        capacity,
        profile,
        resolved,
        sha256,
        load_sha256,
    })
}

fn hash(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
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
        Some(address) => {
            let at = keys!["target", "address"];
            address.parse().map_err(|error: TargetError| document.error_at(&at, error.to_string(), ""))
        }
        None if purpose == Purpose::Listen => Ok(Target::embedded()),
        None => Err(ProfileError::new(
            "there is no target",
            "add [target] with `address = \"smtp://127.0.0.1:25\"`, or \"embedded\", or give --target",
            document.place(&keys!["target"]).or(document.end()),
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
) -> Result<Vec<Phase>, ProfileError> {
    if profile.phase.is_empty() && purpose == Purpose::Run {
        let phase = "add [[phase]] with `load = \"constant-rate\"`, `rate = \"50/s\"` and `for = \"30s\"`";
        let remedy = match profile.limits.is_empty() {
            true => phase.to_owned(),
            false => format!(
                "`smtpress limit` checks its limits, with --plan without a connection; for a run {phase}"
            ),
        };
        return Err(ProfileError::new(
            "there is no phase, so there is nothing to do",
            remedy,
            document.end(),
        ));
    }
    let count = profile.phase.len();
    let mut firsts = HashMap::with_capacity(count);
    for (index, phase) in profile.phase.iter().enumerate() {
        firsts.entry(phase.name.as_deref()).or_insert(index);
    }
    let phases = indexed(&profile.phase, |index, one| {
        let name = one.name.as_deref().unwrap_or_default();
        rule::plain_name(document, &keys!["phase", index, "name"], name)?;
        if let Some(&first) = firsts.get(&Some(name)).filter(|first| **first < index) {
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

fn indexed<T, U>(
    list: &[T],
    make: impl Fn(usize, &T) -> Result<U, ProfileError>,
) -> Result<Vec<U>, ProfileError> {
    list.iter().enumerate().map(|(index, one)| make(index, one)).collect()
}
