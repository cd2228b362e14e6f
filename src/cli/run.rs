//! `smtpress run`: from the profile to the exit code.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::args::RunArgs;
use super::prepare::prepare;
use super::progress::ProgressDisplay;
use super::screen::Screen;
use super::show::{conclude, show};
use super::{shard, start};
use crate::command::fleet::GatheredFleet;
use crate::command::remote_receiver::check_receiver;
use crate::command::run::{LoadRun, check_before_load};
use crate::command::signals::Signals;
use crate::command::{CommandError, Copies, MessageSink, Prepared};
use crate::generator::Stop;
use crate::profile::Compiled;
use crate::profile::check::{never_retried, too_slow};
use crate::telemetry::dashboard::StopControl;
use crate::telemetry::{Endpoints, Exporters, ObservedRun};
use crate::verdict::ExitCode;

/// Runs the load and prints its report.
pub fn run(args: &RunArgs, screen: &Screen) -> Result<ExitCode, CommandError> {
    run_on(args, screen, |compiled, _| check_before_load(&compiled.plan).map(|()| None))
}

/// Runs the load on the fleet that `gather` returns, or with `None` on this machine. Nothing is written or sent before
/// `gather` is called.
pub fn run_on(
    args: &RunArgs,
    screen: &Screen,
    gather: impl FnOnce(&Compiled, &MessageSink) -> Result<Option<GatheredFleet>, CommandError>,
) -> Result<ExitCode, CommandError> {
    run_prepared(args, prepare(args)?, screen, gather)
}

/// Runs a prepared load.
pub fn run_prepared(
    args: &RunArgs,
    mut prepared: Prepared,
    screen: &Screen,
    gather: impl FnOnce(&Compiled, &MessageSink) -> Result<Option<GatheredFleet>, CommandError>,
) -> Result<ExitCode, CommandError> {
    if args.print_profile {
        write!(screen.out(), "{}", prepared.compiled.resolved)?;
        return Ok(ExitCode::Success);
    }
    let chosen = args.shard.as_deref().map(shard::chosen).transpose()?;
    let start_at = args.start_at.as_deref().map(start::time).transpose()?;
    let now = prepared.started_at;
    // A start in the past is a start at once.
    prepared.started_at = start_at.unwrap_or(now).max(now);
    let plan = &prepared.compiled.plan;
    let copies = Copies::open(args.common.json.as_deref(), args.html.as_deref(), args.junit.as_deref())?;
    // The exporters bind their ports before anything is written or sent.
    let endpoints = Endpoints::bind(&args.telemetry.settings())?;
    let mut progress = ProgressDisplay::new(plan, args.common.shown(), io::stderr().is_terminal(), screen);
    let voice = progress.messages();
    let signals = Signals::listen(voice.clone())?;
    let fleet = gather(&prepared.compiled, &voice)?;
    check_receiver(&prepared.compiled, fleet.as_ref().map(|own| &own.fleet))?;
    let directory = args.common.directory(plan, prepared.started_at)?;
    let run = LoadRun::begin(&prepared, directory)?.with_fleet(fleet);
    // From now on a copy of an earlier run must not be taken for the result of this run.
    copies.clear();
    let ((ask, asked), said) = (signals.brake(), voice.clone());
    let exporters = endpoints.exporters(ObservedRun {
        description: prepared.describe(),
        directory: run.directory().path(),
        stop_control: StopControl { ask: Box::new(ask), asked: Box::new(asked) },
        say: Arc::new(move |line| said.say(line)),
    })?;
    if !args.common.quiet {
        voice.say(&format!(
            "smtpress: {} against {}, seed {}, files in {}",
            plan.name,
            plan.target,
            plan.seed,
            run.directory().path().display()
        ));
        if let Some(sentence) = chosen.and_then(|chosen| chosen.notice()) {
            voice.say(&sentence);
        }
        for sentence in too_slow(plan).into_iter().chain(never_retried(plan)) {
            voice.say(&format!("smtpress: warning: {sentence}"));
        }
        if run.directory().replaces() {
            voice.say(&format!(
                "smtpress: the run that is there stays until this one is stored; until then in {}",
                run.directory().files().display()
            ));
        }
        if let Some(start_at) = start_at {
            voice.say(&start::notice(start_at, now));
        }
    }
    let exporters = Exporters::start(exporters)?;
    if let Some(start_at) = start_at {
        signals.wait_until(UNIX_EPOCH + start_at);
    }
    let measured = run.run(&signals, &mut progress, &voice, &exporters)?;
    signals.over();
    let finished = measured.finish();
    let shown = show(&finished, &copies, args.common.quiet, screen);
    signals.linger();
    // A user who asked to stop at once does not wait for a scrape.
    let remarks = exporters.over(&finished.result, || *signals.stop.borrow() == Stop::Now);
    remarks.iter().for_each(|remark| voice.say(&format!("smtpress: warning: {remark}")));
    conclude(finished, shown, screen)
}
