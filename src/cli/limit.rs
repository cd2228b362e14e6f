//! `smtpress limit`: makes the settings from the arguments, and prints the result.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use super::args::common::ProgressMode;
use super::args::limit::LimitArgs;
use super::overrides::{allowed, flags, quoted, set};
use super::prepare;
use super::screen::Screen;
use super::show::{conclude, show};
use crate::command::fleet::GatheredFleet;
use crate::command::limit::{LimitSearch, Reporting};
use crate::command::signals::Signals;
use crate::command::{CommandError, Copies, MessageSink, Prepared};
use crate::experiment::limit::{
    LimitKind, LimitMeasure, LimitRequest, SearchBudget, Selection, SelectionError,
};
use crate::generator::{preflight, reachability};
use crate::load::Shard;
use crate::net::address::addresses::Addresses;
use crate::net::address::origin::ClientAddress;
use crate::plan::Plan;
use crate::profile::overrides::{OverrideOrigin as From, apply_in_order};
use crate::profile::units::{Count, Quantity, Size, Time};
use crate::profile::{Override, Purpose};
use crate::report::format;
use crate::report::stored::json::MOST_INTEGER;
use crate::smtp::script::TlsMode;
use crate::verdict::ExitCode;

/// The default time for a reply: much shorter than a client's, because a search sends many commands.
const PATIENCE: Duration = Duration::from_secs(10);
/// The client addresses on loopback: all of them belong to this machine.
const LOOPBACK: &str = "127.0.0.1-127.0.63.254";

/// Searches the limits, and prints whether they are as expected.
pub fn limit(args: &LimitArgs, screen: &Screen) -> Result<ExitCode, CommandError> {
    limit_on(args, screen, |_, _| Ok(None))
}

/// Searches the limits with sessions of the fleet that `gather` returns, or with `None` of this machine.
pub fn limit_on(
    args: &LimitArgs,
    screen: &Screen,
    gather: impl FnOnce(&Plan, &MessageSink) -> Result<Option<GatheredFleet>, CommandError>,
) -> Result<ExitCode, CommandError> {
    let mut prepared = prepared(args)?;
    let bounds = bounds(args)?;
    let patience = read::<Time>("--timeout", args.timeout.as_deref())?.map_or(PATIENCE, |time| time.0);
    let plan = &mut prepared.compiled.plan;
    plan.script.timeouts.bound(patience);
    let addresses = preflight::check_allowed(plan)?;
    let embedded = plan.target.is_embedded();
    let loopback = embedded || addresses.iter().all(|address| address.ip().is_loopback());
    if plan.origin == ClientAddress::Any && loopback && embedded | all_v4(&addresses) {
        plan.origin =
            ClientAddress::Bound(Addresses::parse(&[LOOPBACK]).expect("it is a range of addresses"));
    }
    let request = request(args, &prepared, loopback)?;
    if args.plan {
        write!(screen.out(), "{}", outline(&request, &bounds, &prepared.compiled.plan))?;
        return Ok(ExitCode::Success);
    }
    preflight::raise_descriptors(bounds.sessions.saturating_mul(if embedded { 2 } else { 1 }) + 64).ok();
    let plan = &prepared.compiled.plan;
    let copies = Copies::open(args.common.json.as_deref(), args.html.as_deref(), args.junit.as_deref())?;
    let signals = Signals::listen(screen.messages())?;
    let fleet = gather(plan, &screen.messages())?;
    // The agents of a fleet check the target themselves.
    if fleet.is_none() {
        reachability::check_target(plan)?;
    }
    let directory = args.common.directory(plan, prepared.started_at)?;
    let is_silent = args.common.shown() == ProgressMode::None;
    let narration = if is_silent { MessageSink::none() } else { screen.messages() };
    narration.say(outline(&request, &bounds, plan).trim_end());
    let bad_recipient = args.bad_recipient.clone();
    let search = LimitSearch { request, bounds, patience, bad_recipient };
    let reporting = Reporting { narration: &narration, messages: screen.messages() };
    let finished = search.run(&prepared, directory, &signals, &copies, reporting, fleet)?;
    let shown = show(&finished, &copies, args.common.quiet, screen);
    conclude(finished, shown, screen)
}

fn all_v4(addresses: &[SocketAddr]) -> bool {
    !addresses.is_empty() && addresses.iter().all(SocketAddr::is_ipv4)
}

/// Returns the profile that the arguments make.
fn prepared(args: &LimitArgs) -> Result<Prepared, CommandError> {
    let path = args.profile.as_deref();
    let mut document = prepare::read(path)?;
    let has_target = path.is_some() || args.common.set.iter().any(|set| set.starts_with("target."));
    let target = match &args.target {
        None if has_target => None,
        // `--plan` lists the limits and their bounds, and needs no listener.
        None if args.plan => Some("embedded".to_owned()),
        None => return Err(CommandError::usage(prepare::NO_TARGET)),
        given => given.clone(),
    };
    apply_in_order(&mut document, set(&args.common.set)?)?;
    let mut changes = flags(&[
        ("--target", "target.address", &target),
        ("--tls", "target.tls", &args.tls),
        ("--from", "message.from", &args.from),
        ("--to", "message.to", &args.to),
    ]);
    if let Some(seed) = &args.common.seed {
        changes.push(Override::for_key(From::Flag, "--seed", "seed", seed));
    }
    for expect in &args.expect {
        let Some((name, value)) = expect.split_once('=') else {
            return Err(CommandError::usage(format!(
                "{expect:?} expects nothing: write --expect NAME=VALUE, such as too-many-recipients=100"
            )));
        };
        let value = if value.parse::<u64>().is_ok() { value.to_owned() } else { quoted(value) };
        changes.push(Override::for_key(From::Flag, "--expect", &format!("limits.{}", name.trim()), &value));
    }
    changes.extend(args.login.overrides());
    changes.extend(allowed(&args.common.allow_target));
    apply_in_order(&mut document, changes)?;
    prepare::finish(&document, Purpose::Search, Shard::WHOLE, path)
}

fn read<Q: Quantity>(flag: &str, text: Option<&str>) -> Result<Option<Q>, CommandError> {
    let wrong = |error: crate::profile::units::UnitError| {
        CommandError::usage(format!("{flag}: {}; {}", error.message, error.remedy))
    };
    text.map(|text| Q::read(text).map_err(wrong)).transpose()
}

fn bounds(args: &LimitArgs) -> Result<SearchBudget, CommandError> {
    let mut bounds = SearchBudget::default();
    if let Some(Count(sessions)) = read("--max-sessions", args.max_sessions.as_deref())? {
        bounds.sessions = sessions;
        bounds.connections = bounds.connections.max(sessions.saturating_mul(8));
    }
    if let Some(Count(messages)) = read("--max-messages", args.max_messages.as_deref())? {
        bounds.messages = messages;
    }
    if let Some(Size(bytes)) = read("--max-size", args.max_size.as_deref())? {
        bounds.message_bytes = bytes;
    }
    if let Some(Time(wait)) = read("--wait", args.wait.as_deref())? {
        bounds.wait = wait;
    }
    if let Some(Time(time)) = read("--max-time", args.max_time.as_deref())? {
        bounds.time = time;
    }
    Ok(bounds)
}

/// Returns the limits to search.
fn request(args: &LimitArgs, prepared: &Prepared, loopback: bool) -> Result<LimitRequest, CommandError> {
    let plan = &prepared.compiled.plan;
    let expected = prepared.compiled.limits.clone();
    if let Some((kind, value)) = expected.iter().find(|(_, value)| **value > MOST_INTEGER) {
        return Err(CommandError::usage(format!(
            "{kind} = {value}: no limit is searched above {MOST_INTEGER}; leave it out if the listener has none"
        )));
    }
    let selection = Selection {
        find: &args.find,
        skip: &args.skip,
        expected,
        loopback,
        encrypted: plan.script.tls != TlsMode::None,
        logged_in: !plan.logins.users.is_empty(),
    };
    selection.request().map_err(|error| {
        let (SelectionError::UnknownToFind(name) | SelectionError::UnknownToSkip(name)) = &error else {
            return CommandError::usage(error.to_string());
        };
        let names: Vec<&str> = LimitKind::all().map(LimitKind::name).collect();
        let remedy = match crate::profile::error::nearest(name, &names) {
            Some(near) => format!("did you mean {near}?"),
            None => "smtpress limit --plan lists them".to_owned(),
        };
        CommandError::usage(format!("{error}; {remedy}"))
    })
}

/// Returns the plan of the search as text.
fn outline(request: &LimitRequest, bounds: &SearchBudget, plan: &Plan) -> String {
    let mut text = format!(
        "smtpress limit: {} against {}, in this order:\n",
        format::counted(request.kinds.len() as u64, "limit"),
        plan.target
    );
    for &kind in &request.kinds {
        let expected =
            request.expected.get(&kind).map(|value| format!(", expected {}", amount(kind, *value)));
        text.push_str(&format!("  {:36} {}{}\n", kind.name(), kind.how(), expected.unwrap_or_default()));
    }
    text.push_str(&format!(
        "at most {} sessions at once, {} connections, {} messages a session, {} a message, {} in all, {} of wait for a timeout, {} in all\n",
        format::count(bounds.sessions),
        format::count(bounds.connections),
        format::count(bounds.messages),
        format::bytes(bounds.message_bytes),
        format::bytes(bounds.bytes),
        format::duration(bounds.wait.as_nanos() as f64),
        format::duration(bounds.time.as_nanos() as f64),
    ));
    text
}

fn amount(kind: LimitKind, value: u64) -> String {
    match kind.measure() {
        LimitMeasure::Time => format::duration(value as f64 * 1e6),
        _ => format!("{} {}", format::count(value), kind.unit()),
    }
}
