//! `smtpress fleet run --resume RUN`: takes over a run that lost its coordinator.

use std::sync::Arc;

use crate::cli::agent::access;
use crate::cli::args::fleet::FleetRunArgs;
use crate::cli::screen::Screen;
use crate::cli::{prepare, run};
use crate::command::fleet::{GatheredFleet, cannot_be_taken_over};
use crate::command::{CommandError, Prepared};
use crate::fleet::agent::is_name;
use crate::fleet::init::COORDINATOR;
use crate::fleet::record;
use crate::load::Shard;
use crate::profile::{Document, Purpose};
use crate::verdict::ExitCode;

/// Takes the run over, and ends with its report and exit code.
pub fn resume(args: &FleetRunArgs, run: &str, screen: &Screen) -> Result<ExitCode, CommandError> {
    if prepare::asks_for_load(&args.run) || args.run.start_at.is_some() {
        return Err(CommandError::usage(
            "--resume continues the load that agents have already: give no profile, and no flag that changes it",
        ));
    }
    if args.machines.local.is_some() || !args.machines.ssh.is_empty() {
        return Err(CommandError::usage(
            "--local and --ssh end their agents with the coordinator: only a run on agents of --nats can be taken over",
        ));
    }
    if !is_name(run) {
        return Err(CommandError::usage(format!(
            "{run:?} is no run; `smtpress fleet status` shows the runs of the agents"
        )));
    }
    let key = super::secret_key(&args.machines)?;
    let access = access(&args.machines.bus, COORDINATOR)?;
    let note = *screen;
    let say = Arc::new(move |line: &str| note.note(&format!("smtpress: {line}")));
    let (fleet, kept) = record::read(&access, key, run, super::PROGRAM, say)?;
    let document = Document::parse(&format!("the profile of run {run}"), &kept.assignment.profile)?;
    let mut prepared = prepare::finish(&document, Purpose::Run, Shard::WHOLE, None)?;
    prepared.compiled.plan.run_id.clone_from(&kept.run);
    let prepared = Prepared { path: kept.profile_path, started_at: kept.began, ..prepared };
    if let Some(why) = cannot_be_taken_over(kept.part, &prepared.compiled) {
        return Err(CommandError::usage(format!(
            "run {run} cannot be taken over: {why}; its agents end their load by themselves within 10 s, then start it again; `smtpress \
             fleet collect {run}` prints what they counted"
        )));
    }
    run::run_prepared(&args.run, prepared, screen, |_, messages| {
        messages.say(&format!("smtpress: taking over run {run} of {}", super::names(&fleet).join(", ")));
        Ok(Some(GatheredFleet { fleet, processes: Box::new(()) }))
    })
}
