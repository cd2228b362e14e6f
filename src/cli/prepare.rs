//! From the command line to a compiled profile; `check`.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::args::{CheckArgs, CommonArgs, LoadArgs, RunArgs};
use super::exit::Failure;
use super::look::Screen;
use crate::generator::clock;
use crate::load::Shard;
use crate::profile::check::{self, Has, Needs};
use crate::profile::overrides::{Origin, apply_in_order};
use crate::profile::{Compiled, Context, Document, Override, Purpose, compile};

/// A profile with the moment and the identity of its run.
pub struct Prepared {
    pub compiled: Compiled,
    pub path: Option<String>,
    pub started_at: Duration,
}

/// What the profile's text is called when there is no file.
const COMMAND_LINE: &str = "command line";

/// Reads and compiles what `run` was asked for.
pub fn prepare(args: &RunArgs) -> Result<Prepared, Failure> {
    let path = args.profile.as_deref();
    let mut document = read(path)?;
    if path.is_none()
        && args.load.target.is_none()
        && args.common.set.iter().all(|set| !set.starts_with("target."))
    {
        return Err(Failure::usage("nothing to load: give a profile, or --target smtp://host:port"));
    }
    let mut changes = set(&args.common.set)?;
    changes.extend(load_flags(&args.load, path.is_some(), &document)?);
    changes.extend(common_flags(&args.common));
    let asserted = document.read().map_or(0, |profile| profile.assert.len());
    for (index, expr) in (asserted..).zip(&args.asserts) {
        changes.push(flag("--assert", &format!("assert.{index}.expr"), &quoted(expr)));
    }
    apply_in_order(&mut document, changes)?;
    let shard = args.shard.as_deref().map_or(Ok(Shard::WHOLE), shard)?;
    finish(&document, Purpose::Run, shard, path)
}

/// Compiles a document, drawing what it leaves open.
pub fn finish(
    document: &Document,
    purpose: Purpose,
    shard: Shard,
    path: Option<&Path>,
) -> Result<Prepared, Failure> {
    let started_at = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    let drawn = drawn();
    let context = Context {
        purpose,
        seed: drawn & (u64::MAX >> 1),
        run_id: format!("{:x}-{:08x}", started_at.as_secs(), drawn >> 32),
        threads: u32::try_from(std::thread::available_parallelism().map_or(1, usize::from)).unwrap_or(1),
        shard,
    };
    let compiled = compile(document, &context)?;
    Ok(Prepared { compiled, path: path.map(|path| path.display().to_string()), started_at })
}

/// The one place where randomness comes from the system.
#[expect(clippy::disallowed_methods, reason = "the seed of a run that names none, and its identity")]
fn drawn() -> u64 {
    rand::Rng::next_u64(&mut rand::rng())
}

/// Reads a profile, or begins an empty one.
pub fn read(path: Option<&Path>) -> Result<Document, Failure> {
    let Some(path) = path else { return Ok(Document::parse(COMMAND_LINE, "")?) };
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| {
        Failure::usage(format!("failed to read the profile {name}: {error}; give the path of a TOML file"))
    })?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::usage(format!("failed to read the profile {name}: it is not UTF-8 text")))?;
    Ok(Document::parse(&name, &text)?)
}

/// The changes that `--set` asks for.
pub fn set(arguments: &[String]) -> Result<Vec<Override>, Failure> {
    arguments.iter().map(|argument| Ok(Override::set(argument)?)).collect()
}

fn flag(name: &str, path: &str, value: &str) -> Override {
    Override::for_key(Origin::Flag, name, path, value)
}

/// A text as a TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// `i/n`, i from 0.
fn shard(text: &str) -> Result<Shard, Failure> {
    let parsed = text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
    match parsed {
        Some((index, of)) if index < of => Ok(Shard { index, of }),
        _ => Err(Failure::usage(format!(
            "{text:?} is no shard: write i/n with i from 0 to n - 1, such as --shard 0/4"
        ))),
    }
}

fn common_flags(args: &CommonArgs) -> Vec<Override> {
    let mut changes = Vec::new();
    if let Some(seed) = &args.seed {
        changes.push(flag("--seed", "seed", &quoted(seed)));
    }
    if !args.allow_target.is_empty() {
        let hosts: Vec<String> = args.allow_target.iter().map(|host| quoted(host)).collect();
        changes.push(flag("--allow-target", "target.allow", &format!("[{}]", hosts.join(", "))));
    }
    changes
}

/// The flags that stand for keys. With a profile they change its measured phases; without one they make a phase.
fn load_flags(args: &LoadArgs, has_profile: bool, document: &Document) -> Result<Vec<Override>, Failure> {
    let mut changes = Vec::new();
    let keys = [
        ("--target", "target.address", &args.target),
        ("--tls", "target.tls", &args.tls),
        ("--size", "message.size", &args.size),
        ("--recipients", "message.recipients", &args.recipients),
        ("--messages-per-session", "session.messages", &args.messages_per_session),
        ("--hello", "session.hello", &args.hello),
        ("--pipelining", "session.pipelining", &args.pipelining),
        ("--threads", "threads", &args.threads),
    ];
    for (name, path, value) in keys {
        if let Some(value) = value {
            changes.push(flag(name, path, value));
        }
    }
    if has_profile {
        changes.extend(phase_changes(args, document)?);
    } else {
        changes.push(flag("--target", "name", "command-line"));
        changes.extend(new_phase(args)?);
    }
    Ok(changes)
}

fn phase_changes(args: &LoadArgs, document: &Document) -> Result<Vec<Override>, Failure> {
    let wanted = [
        ("--sessions", &args.sessions),
        ("--messages", &args.messages),
        ("--for", &args.length),
        ("--rate", &args.rate),
    ];
    if wanted.iter().all(|(_, value)| value.is_none()) {
        return Ok(Vec::new());
    }
    let profile = document.read()?;
    let measured: Vec<usize> = profile
        .phase
        .iter()
        .enumerate()
        .filter(|(_, phase)| phase.warmup != Some(true))
        .map(|(index, _)| index)
        .collect();
    let &[index] = measured.as_slice() else {
        return Err(Failure::usage(format!(
            "--sessions, --messages, --for and --rate say nothing about which of the profile's {} measured phases they change: use --set phase.NAME.key=value",
            measured.len()
        )));
    };
    let open = profile.phase[index].rate.is_some();
    let keys = wanted.into_iter().filter_map(|(name, value)| {
        let key = match name {
            "--sessions" if open => "max_sessions",
            "--sessions" => "sessions",
            "--messages" => "messages",
            "--for" => "for",
            _ => "rate",
        };
        value.as_ref().map(|value| flag(name, &format!("phase.{index}.{key}"), value))
    });
    Ok(keys.collect())
}

/// The phase that the flags of a run without a profile ask for.
fn new_phase(args: &LoadArgs) -> Result<Vec<Override>, Failure> {
    let sessions = args.sessions.as_deref().unwrap_or("10");
    let mut keys: Vec<(&str, &str, String)> = vec![("--target", "name", "load".into())];
    match (&args.rate, &args.messages) {
        (Some(_), Some(_)) => {
            return Err(Failure::usage(
                "--rate and --messages together say twice how much: use --rate with --for, or --messages with --sessions",
            ));
        }
        (Some(rate), None) => {
            keys.push(("--rate", "load", "constant-rate".into()));
            keys.push(("--rate", "rate", rate.clone()));
            keys.push(("--for", "for", args.length.clone().unwrap_or_else(|| "10s".into())));
            if let Some(sessions) = &args.sessions {
                keys.push(("--sessions", "max_sessions", sessions.clone()));
            }
        }
        (None, Some(messages)) => {
            keys.push(("--messages", "load", "shared-messages".into()));
            keys.push(("--messages", "messages", messages.clone()));
            keys.push(("--sessions", "sessions", sessions.into()));
            if let Some(length) = &args.length {
                keys.push(("--for", "for", length.clone()));
            }
        }
        (None, None) => {
            keys.push(("--sessions", "load", "constant-sessions".into()));
            keys.push(("--sessions", "sessions", sessions.into()));
            keys.push(("--for", "for", args.length.clone().unwrap_or_else(|| "10s".into())));
            // As many messages as there are only makes sense over the pool.
            if args.messages_per_session.as_deref() == Some("0") {
                keys.push(("--messages-per-session", "unit", "message".into()));
            }
        }
    }
    Ok(keys.into_iter().map(|(name, key, value)| flag(name, &format!("phase.0.{key}"), &value)).collect())
}

/// `smtpress check`.
pub fn check(args: &CheckArgs, screen: &Screen) -> Result<u8, Failure> {
    let mut document = read(Some(&args.profile))?;
    let mut changes = set(&args.set)?;
    if let Some(seed) = &args.seed {
        changes.push(flag("--seed", "seed", &quoted(seed)));
    }
    apply_in_order(&mut document, changes)?;
    let prepared = finish(&document, Purpose::Run, Shard::WHOLE, Some(&args.profile))?;
    let mut out = screen.out();
    check::preview(&prepared.compiled, &mut out)?;
    let lacking = Needs::of(&prepared.compiled.plan).lacking(&has());
    for sentence in &lacking {
        screen.note(&format!("smtpress: {sentence}"));
    }
    Ok(if lacking.is_empty() { 0 } else { super::exit::PREFLIGHT })
}

/// What this machine has.
fn has() -> Has {
    use nix::sys::resource::{Resource, getrlimit};
    let ports = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok().and_then(|range| {
        let mut ends = range.split_ascii_whitespace().map(|end| end.parse::<u64>().ok());
        let (low, high) = (ends.next()??, ends.next()??);
        Some(high.saturating_sub(low) + 1)
    });
    let memory = std::fs::read_to_string("/proc/meminfo").ok().and_then(|info| {
        let line = info.lines().find(|line| line.starts_with("MemAvailable:"))?;
        Some(line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
    });
    Has { descriptors: getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(_, hard)| hard), ports, memory }
}
