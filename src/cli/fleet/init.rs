//! `smtpress fleet init`: writes the files of a fleet into a folder.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::cli::agent::host;
use crate::cli::args::fleet::FleetInitArgs;
use crate::cli::screen::Screen;
use crate::command::CommandError;
use crate::fleet::init::{FleetSettings, files};
use crate::verdict::ExitCode;

/// The largest number of agents.
const MOST_AGENTS: usize = 10_000;

/// Makes the folder and its files, and prints the next step.
pub fn init(args: &FleetInitArgs, screen: &Screen) -> Result<ExitCode, CommandError> {
    if args.agents == 0 || args.agents > MOST_AGENTS {
        return Err(CommandError::usage(format!("--agents {}: write 1 to {MOST_AGENTS}", args.agents)));
    }
    if args.port == 0 {
        return Err(CommandError::usage("--port 0: write the port that agents connect to, 1 to 65535"));
    }
    let mut hosts = if args.host.is_empty() { vec![host()] } else { args.host.clone() };
    for own in ["localhost", "127.0.0.1", "::1"] {
        if !hosts.iter().any(|host| host == own) {
            hosts.push(own.to_owned());
        }
    }
    let settings = FleetSettings { agents: args.agents, hosts, port: args.port };
    let made = files(&settings).map_err(|error| CommandError::usage(error.to_string()))?;
    make_folder(&args.dir)?;
    for file in &made.files {
        let path = args.dir.join(&file.name);
        let mode = if file.is_secret { 0o600 } else { 0o644 };
        let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        opened.and_then(|mut opened| opened.write_all(file.text.as_bytes())).map_err(|error| {
            CommandError::Failed(ExitCode::Fault, format!("failed to write {}: {error}", path.display()))
        })?;
    }
    let mut out = screen.out();
    writeln!(out, "{}: a fleet of {} agents at {}", args.dir.display(), args.agents, made.url)?;
    writeln!(out, "coordinator's public key: {}", made.coordinator)?;
    writeln!(out, "{} says what each file is for, and how to start", args.dir.join("README.txt").display())?;
    Ok(ExitCode::Success)
}

/// Makes the folder with access for this user only, or uses an empty one.
fn make_folder(dir: &Path) -> Result<(), CommandError> {
    let refused = |why: String| CommandError::usage(format!("{} {why}", dir.display()));
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => match fs::read_dir(dir) {
            Ok(mut entries) => match entries.next() {
                None => Ok(()),
                Some(_) => {
                    Err(refused("is not empty: name a folder that is new, so that no key is lost".to_owned()))
                }
            },
            Err(error) => Err(refused(format!("is no folder to write to: {error}"))),
        },
        Err(error) => Err(refused(format!("cannot be made: {error}"))),
    }
}
