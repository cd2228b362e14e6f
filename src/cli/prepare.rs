//! Makes a compiled profile from the command line; runs `check`.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Once, OnceLock};
use std::time::UNIX_EPOCH;

use super::args::{CheckArgs, Color, FIRST_STEPS, RunArgs};
use super::overrides::{allowed, list, quoted, set};
use super::screen::Screen;
use super::{shard, variables};
use crate::command::{CommandError, Prepared, machine};
use crate::generator::clock;
use crate::load::Shard;
use crate::profile::check::{self, Needs};
use crate::profile::error::COMMAND_LINE;
use crate::profile::flags::{self, Given};
use crate::profile::input;
use crate::profile::overrides::{OverrideOrigin, apply_in_order};
use crate::profile::{Context, Document, Override, Purpose, compile};
use crate::report::format;
use crate::report::stored::json::MOST_INTEGER;
use crate::verdict::ExitCode;

/// The error if nothing names the listener.
pub const NO_TARGET: &str =
    "no target: give a profile, --target host:port, or --target embedded to try it here";

/// Reads and compiles the profile of `run`.
pub fn prepare(args: &RunArgs) -> Result<Prepared, CommandError> {
    let path = args.profile.as_deref();
    let given = given(args);
    let mut document = match path {
        Some(_) => read(path)?,
        None => from_flags(args, &given)?,
    };
    // Flags depend on the profile as changed by --set.
    apply_in_order(&mut document, set(&args.common.set)?)?;
    let mut changes = flags::overrides(&document, &given)?;
    changes.extend(args.login.overrides());
    changes.extend(allowed(&args.common.allow_target));
    apply_in_order(&mut document, changes)?;
    let shard =
        args.shard.as_deref().map(shard::chosen).transpose()?.map_or(Shard::WHOLE, |chosen| chosen.shard);
    let prepared = finish(&document, Purpose::Run, shard, path)?;
    if shard.of > 1 && !prepared.compiled.plan.events.is_empty() {
        return Err(CommandError::usage(
            "[[event]] and --shard: each shard would run the commands; run the events in a run that is not shared out",
        ));
    }
    let sessions = prepared.compiled.plan.sessions_to_share();
    if u64::from(shard.of) > sessions {
        return Err(CommandError::usage(format!(
            "{} shards cannot share {sessions} sessions: some would have none; use at most {sessions} shards, or allow more sessions",
            shard.of
        )));
    }
    if shard.of > 1
        && let Some(why) = prepared.compiled.plan.uncounted_sessions()
    {
        return Err(CommandError::usage(format!("--shard: {why}")));
    }
    Ok(prepared)
}

/// Whether a profile, or anything that makes or changes a load, was given.
pub fn asks_for_load(args: &RunArgs) -> bool {
    let changes = args.login.overrides().into_iter().chain(allowed(&args.common.allow_target)).count();
    args.profile.is_some() || !given(args).is_empty() || !args.common.set.is_empty() || changes > 0
}

/// Returns the given flags as changes to the profile.
fn given(args: &RunArgs) -> Vec<Given> {
    let load = &args.load;
    let values = [
        ("--target", &load.target),
        ("--sessions", &load.sessions),
        ("--messages", &load.messages),
        ("--for", &load.length),
        ("--rate", &load.rate),
        ("--open-first", &load.open_first),
        ("--size", &load.size),
        ("--recipients", &load.recipients),
        ("--messages-per-session", &load.messages_per_session),
        ("--hello", &load.hello),
        ("--pipelining", &load.pipelining),
        ("--tls", &load.tls),
        ("--threads", &load.threads),
        ("--drain", &load.drain),
        ("--clock-offset", &load.clock_offset),
        ("--clock-probe", &load.clock_probe),
        ("--seed", &args.common.seed),
    ];
    let one = |(flag, value): (&'static str, &Option<String>)| {
        let id = flag.trim_start_matches('-').replace('-', "_");
        let origin = if load.from_environment.contains(&id) {
            OverrideOrigin::Environment
        } else {
            OverrideOrigin::Flag
        };
        value.as_ref().map(|value| Given { flag, origin, value: value.clone() })
    };
    let asserts = args.asserts.iter().map(|expr| Given {
        flag: flags::ASSERT,
        origin: OverrideOrigin::Flag,
        value: quoted(expr),
    });
    let lists = [("--receive", &load.receive), ("--deliveries", &load.deliveries)];
    let listed = |(flag, values): (&'static str, &Vec<String>)| {
        (!values.is_empty()).then(|| Given { flag, origin: OverrideOrigin::Flag, value: list(values) })
    };
    values.into_iter().filter_map(one).chain(lists.into_iter().filter_map(listed)).chain(asserts).collect()
}

/// Returns the profile of a run without one.
fn from_flags(args: &RunArgs, given: &[Given]) -> Result<Document, CommandError> {
    let load = &args.load;
    if load.target.is_none() && args.common.set.iter().all(|set| !set.starts_with("target.")) {
        let is_bare = given.is_empty() && args.common.set.is_empty();
        let first_steps = if is_bare { ["\n\n", FIRST_STEPS].concat() } else { String::new() };
        return Err(CommandError::usage(format!("{NO_TARGET}{first_steps}")));
    }
    if load.rate.is_some() && load.messages.is_some() {
        return Err(CommandError::usage(
            "--rate and --messages say twice how much: use --rate with --for, or --messages with --sessions",
        ));
    }
    let mut document = flags::document(given);
    let closed = load.rate.is_none() && load.messages.is_none();
    // If the arrivals were sessions, `--messages-per-session 0` would send no message, and `--open-first` could not
    // open a session before its scheduled time. So the arrivals are messages.
    let of_pool = [
        ("--messages-per-session", load.messages_per_session.as_deref() == Some("0")),
        ("--open-first", load.open_first.as_deref() == Some("true")),
    ];
    if let Some((flag, _)) = of_pool.iter().find(|(_, given)| *given && closed) {
        document.apply(Override::for_key(OverrideOrigin::Flag, flag, "phase.0.unit", "message"))?;
    }
    Ok(document)
}

/// Compiles a document with a new run id, and with a drawn seed if the document has none.
pub fn finish(
    document: &Document,
    purpose: Purpose,
    shard: Shard,
    path: Option<&Path>,
) -> Result<Prepared, CommandError> {
    let started_at = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    let drawn = drawn();
    let context = Context {
        purpose,
        seed: drawn & MOST_INTEGER,
        run_id: format!("{:x}-{:08x}", started_at.as_secs(), drawn >> 32),
        threads: u32::try_from(std::thread::available_parallelism().map_or(1, usize::from)).unwrap_or(1),
        shard,
    };
    let compiled = compile(document, &context)?;
    let arguments: Vec<_> = std::env::args_os().map(|own| own.to_string_lossy().into_owned()).collect();
    let mentioned =
        |name: &str| compiled.resolved.contains(name) || arguments.iter().any(|own| own.contains(name));
    if let Some(sentence) = variables::unread(mentioned)? {
        // A series prepares many runs, and prints the warning once.
        static SAID: Once = Once::new();
        SAID.call_once(|| Screen::new(Color::Auto).note(&sentence));
    }
    let path = path.filter(|path| *path != Path::new("-")).map(|path| path.display().to_string());
    Ok(Prepared { compiled, path, started_at })
}

/// Draws a seed. This is the only use of the system's randomness for a run.
#[expect(clippy::disallowed_methods, reason = "the seed of a run that names none, and its identity")]
pub fn drawn() -> u64 {
    rand::Rng::next_u64(&mut rand::rng())
}

/// Reads a profile (`-`: from standard input), or makes an empty one.
pub fn read(path: Option<&Path>) -> Result<Document, CommandError> {
    let Some(path) = path else { return Ok(Document::parse(COMMAND_LINE, "")?) };
    let is_stdin = path == Path::new("-");
    let name = if is_stdin { "stdin".to_owned() } else { path.display().to_string() };
    let bytes = if is_stdin { stdin() } else { input::read(path) }.map_err(|error| {
        let remedy = match looks_like_target(&name) {
            true => format!("a listener is given with --target {name}"),
            false => "give the path of a TOML file".to_owned(),
        };
        CommandError::usage(format!("failed to read the profile {name}: {error}; {remedy}"))
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let before =
            String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
        let (line, column) = (
            before.matches('\n').count() + 1,
            before.rsplit('\n').next().map_or(1, |rest| rest.chars().count() + 1),
        );
        CommandError::usage(format!(
            "{name}:{line}:{column}: this is not UTF-8; save the profile as UTF-8 text"
        ))
    })?;
    Ok(Document::parse(&name, &text)?)
}

/// Whether a path that cannot be read was probably meant as a target.
fn looks_like_target(name: &str) -> bool {
    let has_port = name.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    has_port
        || name.contains("://")
        || ["embedded", "localhost"].contains(&name)
        || name.parse::<IpAddr>().is_ok()
}

/// Reads standard input once: a series of runs prepares its profile several times.
fn stdin() -> std::io::Result<Vec<u8>> {
    static CONTENT: OnceLock<Vec<u8>> = OnceLock::new();
    if let Some(content) = CONTENT.get() {
        return Ok(content.clone());
    }
    let content = input::read_stdin()?;
    Ok(CONTENT.get_or_init(|| content).clone())
}

/// Runs `smtpress check`.
pub fn check(args: &CheckArgs, screen: &Screen) -> Result<ExitCode, CommandError> {
    let mut document = read(Some(&args.profile))?;
    let mut changes = set(&args.set)?;
    if let Some(seed) = &args.seed {
        changes.push(Override::for_key(OverrideOrigin::Flag, "--seed", "seed", seed));
    }
    apply_in_order(&mut document, changes)?;
    let prepared = finish(&document, Purpose::Run, Shard::WHOLE, Some(&args.profile))?;
    let mut out = screen.out();
    check::preview(&prepared.compiled, &mut out)?;
    let lacking = Needs::of(&prepared.compiled.plan).lacking(&machine::resources());
    for sentence in &lacking {
        screen.note(&format!("error: {sentence}"));
    }
    let plan = &prepared.compiled.plan;
    for sentence in check::too_slow(plan).into_iter().chain(check::never_retried(plan)).chain(too_fast(plan))
    {
        screen.note(&format!("warning: {sentence}"));
    }
    Ok(if lacking.is_empty() { ExitCode::Success } else { ExitCode::Preflight })
}

/// Returns a warning if the plan asks for more than 80 % of the rate up to which the last selftest found the generator
/// on time (M25).
fn too_fast(plan: &crate::plan::Plan) -> Option<String> {
    let asked = plan.phases.iter().filter_map(|phase| phase.load.model.peak_rate()).reduce(f64::max)?;
    let able = machine::generator_rate()?;
    (asked > 0.8 * able).then(|| {
        format!(
            "the profile asks for {}, and the last selftest found this machine's generator on time up to {} only: expect an invalid run, or use more machines (--shard)",
            format::rate(asked),
            format::rate(able)
        )
    })
}
