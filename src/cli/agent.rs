//! `smtpress agent`: waits for shards until it is asked to end.

use std::io::{self, BufRead, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nkeys::KeyPair;
use tokio::sync::watch;

use super::args::fleet::{AgentArgs, BusArgs};
use super::prepare::drawn;
use super::screen::Screen;
use crate::command::CommandError;
use crate::command::fleet::prepare_shards;
use crate::command::signals::Requests;
use crate::fleet::agent::{self, AgentSettings};
use crate::fleet::local::Invitation;
use crate::fleet::{Bus, BusAccess, BusError, seed};
use crate::verdict::ExitCode;

/// An invited agent ends after this long without a connection: if the coordinator's machine crashes, standard input
/// ends only hours later.
const GONE_WITHOUT_SERVER: Duration = Duration::from_secs(60);

/// Serves until Ctrl-C. An invited agent (`--join`) also ends with its standard input.
pub fn agent(args: &AgentArgs, screen: &Screen) -> Result<ExitCode, CommandError> {
    let host = host();
    let invitation = args.join.then(invitation).transpose()?;
    let name = invitation.as_ref().map(|own| own.name.clone()).or_else(|| args.name.clone());
    let name = name.or_else(|| args.bus.creds.as_deref().and_then(name_of_credentials));
    let has_own_name = name.is_some();
    let name = name.unwrap_or_else(|| format!("{}-{}", subject_word(&host), std::process::id()));
    if !agent::is_name(&name) {
        return Err(CommandError::usage(format!(
            "{name:?} is no name of an agent: write letters, digits, - and _, at most 64 of them"
        )));
    }
    let coordinator =
        invitation.as_ref().map(|own| own.coordinator.clone()).or_else(|| args.coordinator.clone());
    let coordinator = coordinator.ok_or_else(|| {
        CommandError::usage("an agent obeys one coordinator: give its public key with --coordinator")
    })?;
    let coordinator = KeyPair::from_public_key(coordinator.trim()).map_err(|error| {
        CommandError::usage(format!(
            "--coordinator is no public key ({error}): give the line that begins with U"
        ))
    })?;
    let access = match &invitation {
        Some(own) => {
            BusAccess { url: own.url.clone(), token: Some(own.token.clone()), ..BusAccess::default() }
        }
        None => access(&args.bus, &name)?,
    };
    let allow = invitation.as_ref().map_or_else(|| args.allow_target.clone(), |own| own.allow_target.clone());
    let spool = invitation.as_ref().and_then(|own| own.spool.clone()).or_else(|| args.spool.clone());
    let is_invited = invitation.is_some();
    // The server of an invited agent ends with the run, so its unsent reports are removed, too.
    let passing = if is_invited && spool.is_none() { Some(passing_folder()?) } else { None };
    let spool = spool.or_else(|| passing.as_ref().map(|own| own.path().to_owned()));
    let spool = spool.unwrap_or_else(|| std::env::temp_dir().join("smtpress-spool"));
    let (own_name, for_messages) = (name.clone(), *screen);
    let say = move |line: &str| {
        // An invited agent prints problems only: its coordinator prints the rest.
        if !is_invited || line.starts_with("warning") {
            for_messages.note(&format!("smtpress agent {own_name}: {line}"));
        }
    };
    let settings = AgentSettings {
        name: name.clone(),
        host: host.clone(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        coordinator,
        spool: spool.clone(),
        prepare: prepare_shards(allow),
        say: Arc::new(say),
        draw: Arc::new(drawn),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut requests = Requests::register()?;
        let (ask, quit) = watch::channel(false);
        if is_invited {
            let ask = ask.clone();
            std::thread::Builder::new().name("invitation".to_owned()).spawn(move || {
                io::stdin().lock().read_to_end(&mut Vec::new()).ok();
                ask.send_replace(true);
            })?;
        }
        let bus = Bus::connect(&access)
            .await
            .map_err(|error| CommandError::Failed(ExitCode::Preflight, error.to_string()))?;
        if !is_invited {
            // If it cannot be made, each shard prints a warning.
            std::fs::create_dir_all(&spool).ok();
            let keeps = bus.keeps_reports().await.map_err(|error| unable(&name, &error))?;
            // Each agent sends its own old reports. Agents named after a process never return, so their reports are
            // sent, too.
            let own = has_own_name.then_some(name.as_str());
            let delivered = if keeps { agent::deliver_spool(&bus, &spool, own).await } else { Ok(0) };
            match delivered {
                Ok(0) => {}
                Ok(shards) => screen.note(&format!(
                    "smtpress agent {name}: delivered the reports of {shards} earlier shards"
                )),
                Err(error) => screen.note(&format!("smtpress agent {name}: warning: {error}")),
            }
            screen
                .note(&format!("smtpress agent {name}: waiting for work at {}; Ctrl-C ends it", access.url));
        }
        let (denied, own_bus) = (bus.clone(), bus.clone());
        let gone = own_bus.gone_for(GONE_WITHOUT_SERVER);
        tokio::pin!(gone);
        let serving = agent::serve(bus, settings, quit);
        tokio::pin!(serving);
        loop {
            tokio::select! {
                ended = &mut serving => {
                    return match ended {
                        Ok(()) => Ok(ExitCode::Success),
                        Err(error) => Err(CommandError::Failed(ExitCode::Fault, error.to_string())),
                    };
                }
                error = denied.denied() => return Err(unable(&name, &error)),
                () = &mut gone, if is_invited && !*ask.borrow() => { ask.send_replace(true); }
                () = requests.next(), if !is_invited => { ask.send_replace(true); }
            }
        }
    })
}

/// A folder that is removed when this agent ends.
fn passing_folder() -> io::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix("smtpress-spool-").tempdir()
}

/// Adds a hint to the error of an agent that cannot wait for work.
fn unable(name: &str, error: &BusError) -> CommandError {
    let mut sentence = format!("agent {name}: {error}");
    if matches!(error, BusError::Denied(_)) {
        sentence += ", and that --name is the name they were made for";
    }
    CommandError::Failed(ExitCode::Preflight, sentence)
}

/// The address of the NATS server, and the credentials of an agent or coordinator of this name.
pub fn access(args: &BusArgs, name: &str) -> Result<BusAccess, CommandError> {
    let url = args.nats.clone().ok_or_else(|| {
        CommandError::usage("name the NATS server with --nats, as in nats://127.0.0.1:4222")
    })?;
    let (creds, ca) = (args.creds.clone(), args.nats_ca.clone());
    Ok(BusAccess { url, token: None, creds, name: Some(name.to_owned()), ca })
}

/// The agent's name by its credentials: the name of a key file, which belongs to one agent. A JWT may belong to
/// several, so it gives no name.
fn name_of_credentials(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let is_own = !text.contains("BEGIN NATS USER JWT") && seed(&text).is_some();
    is_own.then(|| path.file_stem()?.to_str().map(str::to_owned)).flatten()
}

/// The name of this machine.
pub fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// Makes a text valid as one word of a subject.
fn subject_word(text: &str) -> String {
    let word = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    text.chars().map(word).take(40).collect()
}

fn invitation() -> Result<Invitation, CommandError> {
    let mut line = String::new();
    // A thread reads the rest, under the same lock.
    io::stdin().lock().take(64 * 1024).read_line(&mut line)?;
    serde_json::from_str(&line).map_err(|error| CommandError::usage(format!("no invitation: {error}")))
}
