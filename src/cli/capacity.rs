//! `smtpress capacity`: from the profile and the flags to a search on this machine, its files and its exit code.

pub mod args;
mod expect;
mod site;

use std::path::Path;
use std::time::Duration;

use super::args::Progress;
use super::prepare;
use super::screen::Screen;
use super::selftest;
use super::show::{conclude, show};
use crate::command::life::Life;
use crate::command::signals::Signals;
use crate::command::{CommandError, Copies, Prepared, machine};
use crate::experiment::capacity::record::VERSION;
use crate::experiment::capacity::{CapacityPlan, Controller, Knob, SearchEnd, SearchState, search};
use crate::generator::{RunError, clock, preflight};
use crate::load::Shard;
use crate::profile::overrides::{Origin, apply_in_order};
use crate::profile::{Document, Override, Purpose};
use crate::report::format;
use crate::report::run_dir::{RunDir, SEARCH};
use crate::report::stored::convert::{self, searched::Searched};
use crate::report::stored::{Capacity, Generator, RunResult};
use crate::verdict::ExitCode;
use args::CapacityArgs;
use expect::Expect;
use site::Here;

/// Beyond this share of what the generator can do, an answer would be its own.
const TRUSTED: f64 = 0.8;
/// Descriptors kept free of sessions.
const SPARE: u64 = 200;

/// Searches the capacity and says what it is.
pub fn capacity(args: &CapacityArgs, screen: &Screen) -> Result<ExitCode, CommandError> {
    let mut prepared = match &args.resume {
        Some(directory) => resumed(args, directory)?,
        None => prepared(args)?,
    };
    let no_goal = "nothing is to be met: give --goal 'response p99 < 500ms', or `goals` in [capacity]";
    let mut asked = prepared.compiled.capacity.clone().ok_or_else(|| CommandError::usage(no_goal))?;
    if asked.goals.is_empty() {
        return Err(CommandError::usage(no_goal));
    }
    let expects =
        args.expects.iter().map(|text| Expect::read(text, &asked)).collect::<Result<Vec<_>, _>>()?;
    let stored = args.resume.as_deref().map(|directory| load(directory, &prepared, &asked)).transpose()?;
    if let Some(state) = &stored {
        prepared.compiled.plan.run_id.clone_from(&state.run_id);
    }
    let prepared = prepared;
    let plan = &prepared.compiled.plan;
    let embedded = plan.target.is_embedded();
    let sessions = sessions_possible(&asked, plan, embedded)?;
    preflight::check_before_load(plan)?;
    let copies = Copies::open(args.common.json.as_deref(), args.html.as_deref(), args.junit.as_deref())?;
    let signals = Signals::listen(screen.messages())?;
    let directory = match &args.resume {
        Some(path) => RunDir::reopen(path).map_err(CommandError::unwritable)?,
        None => args.common.directory(plan, prepared.started_at)?,
    };
    let shown = args.common.shown();
    let say = |line: &str| {
        if shown != Progress::None {
            screen.note(line);
        }
    };
    say(&format!(
        "smtpress: the capacity of {} by {}, seed {}, files in {}",
        plan.target,
        asked.knob.as_str(),
        plan.seed,
        directory.path().display()
    ));
    let mut state = match stored {
        Some(state) => {
            say(&format!("  going on after {}", format::counted(state.records.len() as u64, "trial")));
            // What the generator can do is as it was found at first.
            asked.rules = state.controller.rules().clone();
            state
        }
        None => {
            asked.rules.ceiling = match asked.knob {
                Knob::Rate => trusted_rate(asked.rules.max, &signals, &say)?,
                Knob::Sessions => Some(sessions),
                Knob::Size => None,
            };
            SearchState::new(
                Controller::new(asked.rules.clone()),
                prepared.compiled.sha256.clone(),
                plan.run_id.clone(),
            )
        }
    };
    let so_far =
        |state: &SearchState| judged(&prepared, &asked, state, &SearchEnd::Interrupted, &expects, None);
    // A search that is continued needs what `begin` stores.
    let life = Life::begin(&prepared, directory, &so_far(&state))?;
    copies.clear();
    let mut here = Here {
        local: life.local(signals.stop.clone()),
        stop: signals.stop.clone(),
        screen,
        directory: &life.directory,
        so_far: &so_far,
        asked: &asked,
        shown,
        began: clock::now(),
        before: Duration::from_secs_f64(state.elapsed_s),
        unkept: None,
        transcripts: Vec::new(),
        health: Generator { threads: plan.threads, ..Generator::default() },
        allowed_s: 0.0,
        hindrance: None,
        seen: false,
        silent: false,
    };
    let end = match search(&asked, plan, &mut here, &mut state) {
        Ok(end) => end,
        Err(error) => {
            // Nothing of a search that never began is left.
            if matches!(error, RunError::Preflight(_)) && args.resume.is_none() {
                life.abandon();
            }
            return Err(error.into());
        }
    };
    signals.over();
    let Here { unkept, transcripts, health, hindrance, .. } = here;
    let mut finished = life.finish(&transcripts, |ledger| {
        let result = judged(&prepared, &asked, &state, &end, &expects, ledger);
        RunResult { generator: health.with(hindrance), ..result }
    });
    finished.stored = finished.stored.and(unkept.map_or(Ok(()), |error| Err(error.into())));
    let shown = show(&finished, &copies, args.common.quiet, screen);
    if let SearchEnd::Hook(reason) = &end {
        screen.error(&CommandError::Failed(ExitCode::Preflight, reason.clone()));
    }
    conclude(finished, shown, screen)
}

/// The profile that the arguments make.
fn prepared(args: &CapacityArgs) -> Result<Prepared, CommandError> {
    let path = args.profile.as_deref();
    let mut document = prepare::read(path)?;
    let has_target = path.is_some() || args.common.set.iter().any(|set| set.starts_with("target."));
    if !has_target && args.target.is_none() {
        return Err(CommandError::usage(
            "nothing to load: give a profile, --target smtp://host:port, or --target embedded to try it here",
        ));
    }
    apply_in_order(&mut document, prepare::set(&args.common.set)?)?;
    let flags = [
        ("--target", "target.address", &args.target),
        ("--tls", "target.tls", &args.tls),
        ("--by", "capacity.by", &args.by),
    ];
    let mut changes: Vec<Override> = flags
        .into_iter()
        .filter_map(|(flag, key, value)| {
            Some(Override::for_key(Origin::Flag, flag, key, &prepare::quoted(value.as_ref()?)))
        })
        .collect();
    if !args.goals.is_empty() {
        let goals = args.goals.iter().map(|goal| table(goal)).collect::<Vec<_>>().join(", ");
        changes.push(Override::for_key(Origin::Flag, "--goal", "capacity.goals", &format!("[{goals}]")));
    }
    changes.extend(common(args));
    apply_in_order(&mut document, changes)?;
    prepare::finish(&document, Purpose::Search, Shard::WHOLE, path)
}

fn common(args: &CapacityArgs) -> Vec<Override> {
    let seed = args.common.seed.as_ref();
    let seed = seed.map(|seed| Override::for_key(Origin::Flag, "--seed", "seed", seed));
    let allowed = prepare::allowed(&args.common.allow_target);
    args.login.overrides().into_iter().chain(seed).chain(allowed).collect()
}

/// `[NAME:] EXPRESSION[, failures SHARE]` as a goal's table.
fn table(goal: &str) -> String {
    let (name, rest) = match goal.split_once(':') {
        Some((name, rest)) => (Some(name.trim()), rest),
        None => (None, goal),
    };
    let (slo, failures) = match rest.split_once(',') {
        Some((slo, failures)) => (slo, Some(failures.trim())),
        None => (rest, None),
    };
    let failures = failures
        .map(|text| text.strip_prefix("failures").unwrap_or(text).trim_start_matches([' ', '<', '=']));
    let keys = [("name", name), ("slo", Some(slo.trim())), ("failures", failures)];
    let keys =
        keys.into_iter().filter_map(|(key, value)| Some(format!("{key} = {}", prepare::quoted(value?))));
    format!("{{ {} }}", keys.collect::<Vec<_>>().join(", "))
}

/// The profile of a search that was broken off.
fn resumed(args: &CapacityArgs, directory: &Path) -> Result<Prepared, CommandError> {
    let path = directory.join("profile.toml");
    let document: Document = prepare::read(Some(&path))?;
    // The seed, the login and the target are those of the search.
    if args.target.is_some() || args.common.seed.is_some() {
        return Err(CommandError::usage(
            "--resume goes on with the target and the seed of the search: remove the flag",
        ));
    }
    let mut document = document;
    apply_in_order(&mut document, prepare::allowed(&args.common.allow_target))?;
    prepare::finish(&document, Purpose::Search, Shard::WHOLE, Some(&path))
}

/// What is known of the search that was broken off there.
fn load(directory: &Path, prepared: &Prepared, asked: &CapacityPlan) -> Result<SearchState, CommandError> {
    let path = directory.join(SEARCH);
    let told = |why: String| {
        let path = path.display();
        CommandError::Failed(
            ExitCode::Usage,
            format!("failed to go on with {path}: {why}; begin a search anew without --resume"),
        )
    };
    let text = std::fs::read_to_string(&path).map_err(|error| told(error.to_string()))?;
    let state: SearchState = serde_json::from_str(&text).map_err(|error| told(error.to_string()))?;
    if state.version != VERSION {
        return Err(told(format!("it is of version {}, and this smtpress reads {VERSION}", state.version)));
    }
    if state.profile_sha256 != prepared.compiled.sha256 {
        return Err(told("it belongs to another profile than the one beside it".to_owned()));
    }
    let rules = state.controller.rules();
    if state.records.len() != state.controller.trials().len() || rules.goals != asked.goals.len() {
        return Err(told("its parts do not fit each other".to_owned()));
    }
    Ok(state)
}

/// Raises the descriptor limit: how many sessions there can be at once.
fn sessions_possible(
    asked: &CapacityPlan,
    plan: &crate::plan::Plan,
    embedded: bool,
) -> Result<f64, CommandError> {
    if asked.knob != Knob::Sessions {
        let trial = asked.trial(plan, 1, asked.rules.start, Duration::from_secs(1));
        preflight::raise_descriptors(preflight::descriptors_needed(&trial, embedded))?;
    }
    let limit = preflight::raise_descriptors(0)?;
    let ends = if embedded { 2 } else { 1 };
    Ok((limit.saturating_sub(SPARE) / ends).max(1) as f64)
}

/// The rate up to which this machine's generator is trusted; nothing if that cannot be said.
fn trusted_rate(most: f64, signals: &Signals, say: &dyn Fn(&str)) -> Result<Option<f64>, CommandError> {
    let able = match machine::generator_rate() {
        Some(rate) => rate,
        None => {
            say("  no selftest of this machine is stored: looking how fast its generator is");
            selftest::rate(most / TRUSTED, &signals.stop)?
        }
    };
    if able <= 0.0 {
        say("  this machine is too busy to say how fast its generator is: each trial must show it");
        return Ok(None);
    }
    say(&format!(
        "  this machine's generator is in time up to {}, and trusted up to {}",
        format::rate(able),
        format::rate(TRUSTED * able)
    ));
    Ok(Some(TRUSTED * able))
}

fn judged(
    prepared: &Prepared,
    asked: &CapacityPlan,
    state: &SearchState,
    end: &SearchEnd,
    expects: &[Expect],
    ledger: Option<serde_json::Value>,
) -> RunResult {
    let (verdict, assertions) = expect::judge(asked, state, end, expects);
    let mut result = RunResult::searched(Searched {
        plan: &prepared.compiled.plan,
        profile_path: prepared.path.clone(),
        profile_sha256: prepared.compiled.sha256.clone(),
        started_at: prepared.started_at,
        took: Duration::from_secs_f64(state.elapsed_s),
        verdict,
        ledger,
    });
    result.assertions = assertions.iter().map(convert::assertion).collect();
    result.capacity = Some(Capacity::found(asked, state, end));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_on_the_command_line_is_a_table_of_the_profile() {
        for (goal, expected) in [
            ("response p99 < 500ms", r#"{ slo = "response p99 < 500ms" }"#),
            ("strict: p99 < 1s", r#"{ name = "strict", slo = "p99 < 1s" }"#),
            ("lax: p95 < 2s, failures 1%", r#"{ name = "lax", slo = "p95 < 2s", failures = "1%" }"#),
            ("p95 < 2s, failures <= 0.5%", r#"{ slo = "p95 < 2s", failures = "0.5%" }"#),
        ] {
            assert_eq!(table(goal), expected);
        }
    }
}
