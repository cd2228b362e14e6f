//! `smtpress agent`: waits for shards until it is asked to end.

mod spool_folder;

use std::io::{self, BufRead, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nkeys::KeyPair;
use tokio::sync::watch;

use super::args::fleet::{AgentArgs, BusArgs};
use super::prepare::drawn;
use super::screen::Screen;
use crate::command::CommandError;
use crate::command::fleet::prepare_shards;
use crate::command::remote_receiver::start_receivers;
use crate::command::signals::Requests;
use crate::fleet::agent::{self, AgentSettings};
use crate::fleet::files;
use crate::fleet::local::Invitation;
use crate::fleet::{Bus, BusAccess, BusError, seed};
use crate::verdict::ExitCode;

/// An invited agent ends after this long without a connection: if the coordinator's machine crashes, standard input
/// ends only hours later.
const GONE_WITHOUT_SERVER: Duration = Duration::from_secs(60);

/// Serves until Ctrl-C. An invited agent (`--join`) also ends with its standard input.
pub fn agent(args: &AgentArgs, screen: &Screen) -> Result<ExitCode, CommandError> {
    let host = host();
    let own = match args.join {
        true => Membership::by_invitation(invitation()?, args.spool.clone())?,
        false => Membership::by_arguments(args, &host)?,
    };
    let settings = AgentSettings {
        name: own.name.clone(),
        host: host.clone(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        coordinator: public_key(&own.coordinator)?,
        spool: own.spool.clone(),
        prepare: prepare_shards(own.allow.clone()),
        receive: start_receivers(host.clone()),
        say: Arc::new(lines_of(&own, screen)),
        draw: Arc::new(drawn),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(&own, settings, screen))
}

/// How an agent joins its fleet.
struct Membership {
    name: String,
    /// Whether the user chose the name; otherwise the name is made from host and process.
    has_own_name: bool,
    /// The coordinator's public key.
    coordinator: String,
    access: BusAccess,
    /// The hosts beyond loopback that the agent may load.
    allow: Vec<String>,
    spool: PathBuf,
    /// The coordinator started the agent (`--join`).
    is_invited: bool,
    /// The folder of `spool`, if it is removed when the agent ends.
    _passing: Option<tempfile::TempDir>,
}

impl Membership {
    fn by_arguments(args: &AgentArgs, host: &str) -> Result<Membership, CommandError> {
        let given = args.name.clone().or_else(|| args.bus.creds.as_deref().and_then(name_of_credentials));
        let has_own_name = given.is_some();
        let name = given.unwrap_or_else(|| format!("{}-{}", subject_word(host), std::process::id()));
        check_name(&name)?;
        let coordinator = args.coordinator.clone().ok_or_else(|| {
            CommandError::usage("an agent obeys one coordinator: give its public key with --coordinator")
        })?;
        public_key(&coordinator)?;
        Ok(Membership {
            access: access(&args.bus, &name)?,
            name,
            has_own_name,
            coordinator,
            allow: args.allow_target.clone(),
            spool: args.spool.clone().unwrap_or_else(spool_folder::default),
            is_invited: false,
            _passing: None,
        })
    }

    /// Returns the membership that an invitation gives. `spool` is the folder of unsent reports if the invitation names
    /// none.
    fn by_invitation(invitation: Invitation, spool: Option<PathBuf>) -> Result<Membership, CommandError> {
        let Invitation { url, password, name, coordinator, allow_target, spool: invited_spool } = invitation;
        check_name(&name)?;
        let (spool, passing) = match invited_spool.or(spool) {
            Some(spool) => (spool, None),
            // The private server ends with the run, so reports that the agent could not send are removed, too.
            None => {
                let folder = passing_folder()?;
                (folder.path().to_owned(), Some(folder))
            }
        };
        Ok(Membership {
            access: BusAccess {
                url,
                password: Some(password),
                name: Some(name.clone()),
                ..BusAccess::default()
            },
            name,
            has_own_name: true,
            coordinator,
            allow: allow_target,
            spool,
            is_invited: true,
            _passing: passing,
        })
    }
}

fn check_name(name: &str) -> Result<(), CommandError> {
    if agent::is_name(name) {
        return Ok(());
    }
    Err(CommandError::usage(format!(
        "{name:?} is no name of an agent: write letters, digits, - and _, at most 64 of them"
    )))
}

fn public_key(text: &str) -> Result<KeyPair, CommandError> {
    KeyPair::from_public_key(text.trim()).map_err(|error| {
        CommandError::usage(format!(
            "--coordinator is no public key ({error}): give the line that begins with U"
        ))
    })
}

/// Returns the sink of the agent's messages. An invited agent prints warnings only: its coordinator prints the rest.
fn lines_of(own: &Membership, screen: &Screen) -> impl Fn(&str) + Send + Sync + use<> {
    let (name, is_invited, screen) = (own.name.clone(), own.is_invited, *screen);
    move |line: &str| {
        if !is_invited || line.starts_with("warning") {
            screen.note(&format!("smtpress agent {name}: {line}"));
        }
    }
}

/// Connects to the bus, and serves until the agent is asked to end.
async fn serve(own: &Membership, settings: AgentSettings, screen: &Screen) -> Result<ExitCode, CommandError> {
    let mut requests = Requests::register()?;
    let (ask, quit) = watch::channel(false);
    if own.is_invited {
        end_with_standard_input(ask.clone())?;
    }
    let bus = Bus::connect(&own.access)
        .await
        .map_err(|error| CommandError::Failed(ExitCode::Preflight, error.to_string()))?;
    if !own.is_invited {
        deliver_earlier_reports(own, &bus, screen).await?;
        let Membership { name, access, .. } = own;
        screen.note(&format!("smtpress agent {name}: waiting for work at {}; Ctrl-C ends it", access.url));
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
            error = denied.denied() => return Err(unable(&own.name, &error)),
            () = &mut gone, if own.is_invited && !*ask.borrow() => { ask.send_replace(true); }
            () = requests.next(), if !own.is_invited => { ask.send_replace(true); }
        }
    }
}

/// Starts a thread that asks the agent to end when standard input ends.
fn end_with_standard_input(ask: watch::Sender<bool>) -> io::Result<()> {
    let read = move || {
        io::stdin().lock().read_to_end(&mut Vec::new()).ok();
        ask.send_replace(true);
    };
    std::thread::Builder::new().name("invitation".to_owned()).spawn(read).map(|_| ())
}

/// Sends the reports that earlier agents on this machine could not send.
async fn deliver_earlier_reports(own: &Membership, bus: &Bus, screen: &Screen) -> Result<(), CommandError> {
    let Membership { name, spool, .. } = own;
    spool_folder::make(spool)?;
    files::remove_abandoned(spool);
    if !bus.keeps_reports().await.map_err(|error| unable(name, &error))? {
        return Ok(());
    }
    // An agent with a chosen name sends only its own old reports. An agent without one sends all, because an agent that
    // is named after its process never returns.
    let sender = own.has_own_name.then_some(name.as_str());
    match agent::deliver_spool(bus, spool, sender).await {
        Ok(0) => {}
        Ok(shards) => {
            screen.note(&format!("smtpress agent {name}: delivered the reports of {shards} earlier shards"));
        }
        Err(error) => screen.note(&format!("smtpress agent {name}: warning: {error}")),
    }
    Ok(())
}

/// Returns a folder that is removed when this agent ends.
fn passing_folder() -> io::Result<tempfile::TempDir> {
    let mode = std::fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().prefix("smtpress-spool-").permissions(mode).tempdir()
}

/// Adds a hint to the error of an agent that cannot wait for work.
fn unable(name: &str, error: &BusError) -> CommandError {
    let mut sentence = format!("agent {name}: {error}");
    if matches!(error, BusError::Denied(_)) {
        sentence += ", and the --name for which they were made";
    }
    CommandError::Failed(ExitCode::Preflight, sentence)
}

/// Returns the address of the NATS server, and the credentials of an agent or coordinator of this name.
pub fn access(args: &BusArgs, name: &str) -> Result<BusAccess, CommandError> {
    let url = args.nats.clone().ok_or_else(|| {
        CommandError::usage("name the NATS server with --nats, as in nats://127.0.0.1:4222")
    })?;
    let (creds, ca) = (args.creds.clone(), args.nats_ca.clone());
    Ok(BusAccess { url, password: None, creds, name: Some(name.to_owned()), ca })
}

/// Returns the agent's name by its credentials: the name of a key file, which belongs to one agent. A JWT may belong to
/// several agents, so it gives no name.
fn name_of_credentials(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let is_own = !text.contains("BEGIN NATS USER JWT") && seed(&text).is_some();
    is_own.then(|| path.file_stem()?.to_str().map(str::to_owned)).flatten()
}

/// Returns the name of this machine.
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
    // `end_with_standard_input` reads the rest, through the same buffer.
    io::stdin().lock().take(64 * 1024).read_line(&mut line)?;
    serde_json::from_str(&line).map_err(|error| CommandError::usage(format!("no invitation: {error}")))
}
