//! `compare --interleave N`: runs the same load against two targets in the order A B B A, so that a drift over time
//! affects both.
//!
//! Each run is an ordinary run, with a directory of its own.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{MOST_RUNS, RunsToCompare, ended_early};
use crate::cli::args::common::{CommonArgs, ProgressMode};
use crate::cli::args::compare::SeriesArgs;
use crate::cli::args::{LoadArgs, RunArgs};
use crate::cli::prepare::prepare;
use crate::cli::progress::ProgressDisplay;
use crate::cli::screen::Screen;
use crate::cli::serve::length;
use crate::command::run::{LoadRun, check_before_load};
use crate::command::signals::Signals;
use crate::command::{CommandError, Finished, Prepared};
use crate::generator::{Stop, clock, reachability};
use crate::report::format;
use crate::report::run_dir::RunDir;
use crate::report::stored::{StoredStatus, ValidityStatus};
use crate::telemetry::Exporters;
use crate::verdict::ExitCode;

/// The longest pause between two runs.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// A side of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SeriesSide {
    Base,
    Candidate,
}

impl SeriesSide {
    const fn name(self) -> &'static str {
        match self {
            SeriesSide::Base => "base",
            SeriesSide::Candidate => "candidate",
        }
    }
}

/// Returns the order of `n` runs on each side. If `n` is even, a steady drift over time adds the same to both sides.
fn order(n: usize) -> impl Iterator<Item = SeriesSide> {
    (0..n).flat_map(|pair| match pair % 2 {
        0 => [SeriesSide::Base, SeriesSide::Candidate],
        _ => [SeriesSide::Candidate, SeriesSide::Base],
    })
}

/// The runs so far.
#[derive(Default)]
struct KeptRuns {
    base: Vec<PathBuf>,
    candidate: Vec<PathBuf>,
}

impl KeptRuns {
    fn of(&mut self, side: SeriesSide) -> &mut Vec<PathBuf> {
        match side {
            SeriesSide::Base => &mut self.base,
            SeriesSide::Candidate => &mut self.candidate,
        }
    }

    fn count(&self) -> usize {
        self.base.len() + self.candidate.len()
    }

    /// Returns a hint how to compare the runs so far.
    fn command(&self) -> String {
        let list = |paths: &[PathBuf]| {
            paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
        };
        match (self.base.is_empty(), self.candidate.is_empty()) {
            (true, true) => "there is no run yet".to_owned(),
            (false, false) => {
                format!("smtpress compare {} --against {}", list(&self.base), list(&self.candidate))
            }
            _ => format!("only one side has runs: {}", list(&self.base) + &list(&self.candidate)),
        }
    }
}

/// Runs the profile `n` times on each side, and returns the runs to compare. Invalid runs are left out with a message,
/// unless `forced`.
///
/// # Errors
/// A run could not start its load, or was interrupted; the runs before it are kept.
pub fn carry(
    profile: &Path,
    n: usize,
    args: &SeriesArgs,
    forced: bool,
    screen: &Screen,
) -> Result<RunsToCompare, CommandError> {
    if n == 0 || n > MOST_RUNS {
        return Err(CommandError::usage(format!("--interleave {n}: give 1 to {MOST_RUNS} runs a side")));
    }
    let pause = length(&args.cooldown)?;
    if pause > LONGEST_PAUSE {
        return Err(CommandError::usage(format!("--cooldown {}: rest one hour at most", args.cooldown)));
    }
    let first = prepare(&asked(profile, args, SeriesSide::Base, args.seed.clone()))?;
    // One seed for all runs, drawn if none is given.
    let seed = Some(first.compiled.plan.seed.to_string());
    let prepared = |side: SeriesSide| prepare(&asked(profile, args, side, seed.clone()));
    let other = prepared(SeriesSide::Candidate)?;
    check_sides(&first, &other, forced)?;
    let name = format!("{}-compare", first.compiled.plan.name);
    let voice = screen.messages();
    let signals = Signals::listen(voice.clone())?;
    let mut folder = RunDir::create(args.runs.as_deref(), args.overwrite, &name, first.started_at)
        .map_err(CommandError::unwritable)?;
    let say = |line: &str| {
        if !args.quiet {
            voice.say(line);
        }
    };
    say(&format!(
        "smtpress: {} against {} (base) and {} (candidate), {n} runs a side, seed {}, files in {}",
        first.compiled.plan.name,
        first.compiled.plan.target,
        other.compiled.plan.target,
        first.compiled.plan.seed,
        folder.path().display()
    ));
    let mut kept = KeptRuns::default();
    let mut notes = Vec::new();
    for (at, side) in order(n).enumerate() {
        if at > 0 && !pause.is_zero() {
            say(&format!("smtpress: resting for {}", format::seconds(pause.as_secs_f64())));
            signals.wait_until(clock::wall() + pause);
        }
        if *signals.stop.borrow() > Stop::Run {
            return Err(interrupted(&kept, n));
        }
        let number = kept.of(side).len() + 1 + notes_of(&notes, side);
        let directory =
            folder.member(&format!("{}-{number}", side.name())).map_err(CommandError::unwritable)?;
        let prepared = prepared(side)?;
        say(&format!(
            "smtpress: run {} of {}: {}-{number}, {}",
            at + 1,
            2 * n,
            side.name(),
            prepared.compiled.plan.target
        ));
        let ended =
            one(&prepared, directory, args, &signals, screen).map_err(|failure| lost(failure, &kept))?;
        let path = ended.directory.files().to_owned();
        let result = ended.result;
        if result.verdict.status == StoredStatus::Interrupted {
            voice.say(&format!("smtpress: {} was interrupted; its files are kept", path.display()));
            return Err(interrupted(&kept, n));
        }
        // Without this run the comparison would show only the better runs of its side.
        if let Some(why) = ended_early(&result).filter(|_| !forced) {
            kept.of(side).push(path.clone());
            return Err(CommandError::Failed(
                ExitCode::Usage,
                format!(
                    "{} {why}, so the runs are not comparable: remove `abort`, or insist with --force; the runs are kept: {}",
                    path.display(),
                    kept.command()
                ),
            ));
        }
        if result.validity.status == ValidityStatus::Invalid && !forced {
            let reasons = result.validity.reasons.join(", ");
            let note = format!("{} left out: it is invalid ({reasons})", path.display());
            voice.say(&format!("smtpress: warning: {note}"));
            notes.push((side, note));
            continue;
        }
        kept.of(side).push(path);
    }
    signals.over();
    let mut sides = [SeriesSide::Base, SeriesSide::Candidate].into_iter();
    if let Some(side) = sides.find(|side| kept.of(*side).is_empty()) {
        return Err(CommandError::Failed(
            ExitCode::Invalid,
            format!(
                "no run of the {} is valid, so there is nothing to compare: ask for less load, or use a machine with more to spare; the runs are in {}",
                side.name(),
                folder.path().display()
            ),
        ));
    }
    folder.publish()?;
    let named = |paths: Vec<PathBuf>| {
        paths.iter().filter_map(|path| Some(folder.path().join(path.file_name()?))).collect()
    };
    Ok(RunsToCompare {
        base: named(kept.base),
        candidate: named(kept.candidate),
        notes: notes.into_iter().map(|(_, note)| note).collect(),
    })
}

/// Checks that both sides get the same load, that this machine can send it, and that both targets can be reached.
fn check_sides(base: &Prepared, candidate: &Prepared, forced: bool) -> Result<(), CommandError> {
    let (base, candidate) = (&base.compiled, &candidate.compiled);
    if base.load_sha256 != candidate.load_sha256 && !forced {
        return Err(CommandError::usage(format!(
            "{} and {} would not get the same load (another protocol, TLS on one of them only, or one is embedded): their runs are not comparable; insist with --force",
            base.plan.target, candidate.plan.target
        )));
    }
    check_before_load(&base.plan)?;
    check_before_load(&candidate.plan)?;
    // One connection to each target, so that an unreachable second target is found before the first is loaded.
    reachability::check_target(&base.plan)?;
    reachability::check_target(&candidate.plan)?;
    Ok(())
}

fn notes_of(notes: &[(SeriesSide, String)], side: SeriesSide) -> usize {
    notes.iter().filter(|(of, _)| *of == side).count()
}

/// Returns the arguments of `run` for the profile and one target.
fn asked(profile: &Path, args: &SeriesArgs, side: SeriesSide, seed: Option<String>) -> RunArgs {
    let target = match side {
        SeriesSide::Base => args.target.clone(),
        SeriesSide::Candidate => args.candidate.clone(),
    };
    RunArgs {
        profile: Some(profile.to_owned()),
        load: LoadArgs {
            target,
            receive: args.receive.clone(),
            drain: args.drain.clone(),
            ..LoadArgs::default()
        },
        common: CommonArgs {
            set: args.set.clone(),
            seed,
            allow_target: args.allow_target.clone(),
            ..CommonArgs::default()
        },
        ..RunArgs::default()
    }
}

/// Makes one run, from its directory to its files.
fn one(
    prepared: &Prepared,
    directory: RunDir,
    args: &SeriesArgs,
    signals: &Signals,
    screen: &Screen,
) -> Result<Finished, CommandError> {
    let plan = &prepared.compiled.plan;
    check_before_load(plan)?;
    let shown = match args.quiet {
        true => ProgressMode::None,
        false => args.progress.unwrap_or(ProgressMode::Auto),
    };
    let mut progress = ProgressDisplay::new(plan, shown, io::stderr().is_terminal(), screen);
    let run = LoadRun::begin(prepared, directory)?;
    let messages = progress.messages();
    let finished = run.run(signals, &mut progress, &messages, &Exporters::default())?.finish();
    // A run whose files could not be written cannot be compared.
    match finished.stored {
        Ok(()) => Ok(finished),
        Err(error) => Err(error),
    }
}

/// Adds a hint on the other runs to the failure of a run.
fn lost(failure: CommandError, kept: &KeptRuns) -> CommandError {
    match failure {
        CommandError::Failed(code, sentence) if kept.count() > 0 => CommandError::Failed(
            code,
            format!("{sentence}; {} runs are kept: {}", kept.count(), kept.command()),
        ),
        failure => failure,
    }
}

fn interrupted(kept: &KeptRuns, n: usize) -> CommandError {
    CommandError::Failed(
        ExitCode::Interrupted,
        format!("interrupted after {} of {} runs; they are kept: {}", kept.count(), 2 * n, kept.command()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_a_b_b_a() {
        let letters = |n: usize| order(n).map(|side| side.name()[..1].to_owned()).collect::<String>();
        assert_eq!([1, 2, 3, 4].map(letters), ["bc", "bccb", "bccbbc", "bccbbccb"]);
    }

    #[test]
    fn a_steady_drift_adds_the_same_to_both_sides_of_an_even_number() {
        for n in [2, 4, 6, 100] {
            let sum = |wanted: SeriesSide| {
                order(n).enumerate().filter(|(_, side)| *side == wanted).map(|(at, _)| at).sum::<usize>()
            };
            assert_eq!(sum(SeriesSide::Base), sum(SeriesSide::Candidate), "{n}");
        }
    }
}
