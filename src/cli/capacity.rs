//! `smtpress capacity`: makes the settings from the arguments, and prints the result.

use std::io::{self, IsTerminal};
use std::path::Path;

use super::args::capacity::CapacityArgs;
use super::args::common::ProgressMode;
use super::overrides::{allowed, flags, quoted, receiver, set};
use super::prepare;
use super::progress::ProgressDisplay;
use super::screen::Screen;
use super::show::{conclude, show};
use crate::command::capacity::{CapacitySearch, CapacityView};
use crate::command::fleet::GatheredFleet;
use crate::command::signals::Signals;
use crate::command::{CommandError, Copies, Display, MessageSink, Prepared};
use crate::experiment::capacity::SearchEnd;
use crate::load::Shard;
use crate::plan::Plan;
use crate::profile::overrides::{OverrideOrigin, apply_in_order};
use crate::profile::{Document, Override, Purpose};
use crate::report::run_dir::RunDir;
use crate::verdict::ExitCode;

/// Runs the search and prints its result.
pub fn capacity(args: &CapacityArgs, screen: &Screen) -> Result<ExitCode, CommandError> {
    capacity_on(args, screen, |_, _| Ok(None))
}

/// Runs the search on the fleet that `gather` returns, or with `None` on this machine.
pub fn capacity_on(
    args: &CapacityArgs,
    screen: &Screen,
    gather: impl FnOnce(&Plan, &MessageSink) -> Result<Option<GatheredFleet>, CommandError>,
) -> Result<ExitCode, CommandError> {
    let prepared = match &args.resume {
        Some(directory) => resumed(args, directory)?,
        None => prepared(args)?,
    };
    let state = args.resume.as_deref();
    let mut search = CapacitySearch::new(prepared, &args.expects, state)?;
    let (json, html, junit) = (&args.common.json, &args.html, &args.junit);
    let copies = Copies::open(json.as_deref(), html.as_deref(), junit.as_deref())?;
    let signals = Signals::listen(screen.messages())?;
    match gather(search.plan(), &screen.messages())? {
        Some(fleet) => search = search.with_fleet(fleet),
        None => search.check()?,
    }
    let directory = match &args.resume {
        Some(path) => RunDir::reopen(path).map_err(CommandError::unwritable)?,
        None => args.common.directory(search.plan(), search.started_at())?,
    };
    let shown = args.common.shown();
    let is_silent = shown == ProgressMode::None;
    let display = |plan: &Plan| -> Option<(Box<dyn Display>, MessageSink)> {
        let bars = ProgressDisplay::new(plan, shown, io::stderr().is_terminal(), screen);
        let messages = bars.messages();
        (!is_silent).then(|| (Box::new(bars) as Box<dyn Display>, messages))
    };
    let view = CapacityView {
        narration: if is_silent { MessageSink::none() } else { screen.messages() },
        display: &display,
    };
    let (finished, end) = search.run(directory, &signals, &copies, &view)?;
    let shown = show(&finished, &copies, args.common.quiet, screen);
    if let SearchEnd::Hook(reason) = end {
        screen.error(&CommandError::Failed(ExitCode::Preflight, reason));
    }
    conclude(finished, shown, screen)
}

/// Returns the profile that the arguments make.
fn prepared(args: &CapacityArgs) -> Result<Prepared, CommandError> {
    let path = args.profile.as_deref();
    let mut document = prepare::read(path)?;
    let has_target = path.is_some() || args.common.set.iter().any(|set| set.starts_with("target."));
    if !has_target && args.target.is_none() {
        return Err(CommandError::usage(prepare::NO_TARGET));
    }
    apply_in_order(&mut document, set(&args.common.set)?)?;
    let mut changes = flags(&[
        ("--target", "target.address", &args.target),
        ("--tls", "target.tls", &args.tls),
        ("--by", "capacity.by", &args.by),
    ]);
    if !args.goals.is_empty() {
        let goals = args.goals.iter().map(|goal| table(goal)).collect::<Vec<_>>().join(", ");
        changes.push(Override::for_key(
            OverrideOrigin::Flag,
            "--goal",
            "capacity.goals",
            &format!("[{goals}]"),
        ));
    }
    changes.extend(receiver(&args.receive, &args.drain));
    changes.extend(common(args));
    apply_in_order(&mut document, changes)?;
    prepare::finish(&document, Purpose::Search, Shard::WHOLE, path)
}

fn common(args: &CapacityArgs) -> Vec<Override> {
    let seed = args.common.seed.as_ref();
    let seed = seed.map(|seed| Override::for_key(OverrideOrigin::Flag, "--seed", "seed", seed));
    let allowed = allowed(&args.common.allow_target);
    args.login.overrides().into_iter().chain(seed).chain(allowed).collect()
}

/// Makes the table of a goal from `[NAME:] EXPRESSION[, failures SHARE]`.
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
    let keys = keys.into_iter().filter_map(|(key, value)| Some(format!("{key} = {}", quoted(value?))));
    format!("{{ {} }}", keys.collect::<Vec<_>>().join(", "))
}

/// Returns the profile of an interrupted search.
fn resumed(args: &CapacityArgs, directory: &Path) -> Result<Prepared, CommandError> {
    let path = directory.join("profile.toml");
    let mut document: Document = prepare::read(Some(&path))?;
    if let Some(flag) = of_the_search(args, |name| std::env::var(name).ok()) {
        return Err(CommandError::usage(format!(
            "--resume goes on with the target, the encryption, the login, the seed and the directory of the search: remove {flag}"
        )));
    }
    apply_in_order(&mut document, allowed(&args.common.allow_target))?;
    prepare::finish(&document, Purpose::Search, Shard::WHOLE, Some(&path))
}

/// Returns the first flag that would change a search that goes on. A value from the environment is no flag: it is for new
/// searches.
fn of_the_search(args: &CapacityArgs, variable: impl Fn(&str) -> Option<String>) -> Option<&'static str> {
    let out = args.common.out.as_ref().map(|out| out.display().to_string());
    let given = [
        ("--target", &args.target, "SMTPRESS_TARGET"),
        ("--tls", &args.tls, "SMTPRESS_TLS"),
        ("--seed", &args.common.seed, "SMTPRESS_SEED"),
        ("--out", &out, "SMTPRESS_OUT"),
    ];
    let is_flag =
        |(_, value, name): &(_, &Option<String>, &str)| value.is_some() && **value != variable(name);
    given.into_iter().find(is_flag).map(|(flag, ..)| flag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::common::CommonArgs;

    #[test]
    fn a_search_that_goes_on_takes_no_flag_that_would_change_it() {
        let some = |text: &str| Some(text.to_owned());
        let in_environment = |name: &str| some(&format!("of {name}"));
        let common = CommonArgs {
            seed: some("of SMTPRESS_SEED"),
            out: Some("of SMTPRESS_OUT".into()),
            ..CommonArgs::default()
        };
        let (target, tls) = (some("of SMTPRESS_TARGET"), some("of SMTPRESS_TLS"));
        let mut args = CapacityArgs { target, tls, common, ..CapacityArgs::default() };
        assert_eq!(of_the_search(&args, in_environment), None);
        assert_eq!(of_the_search(&args, |_| None), Some("--target"));
        args.tls = some("none");
        assert_eq!(of_the_search(&args, in_environment), Some("--tls"));
        args.tls = None;
        args.common.out = Some("elsewhere".into());
        assert_eq!(of_the_search(&args, in_environment), Some("--out"));
    }

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
