//! `smtpress selftest`: runs the scenarios of the proof, and stores what this machine can do, for `check`.

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::args::SelftestArgs;
use super::screen::Screen;
use crate::command::output::Output;
use crate::command::selftest::LocalTestbed;
use crate::command::signals::Signals;
use crate::command::{CommandError, machine};
use crate::experiment::selftest::{Ceiling, Check, Figure, LAG_LIMIT, Testbed, ceilings, scenarios};
use crate::generator::{Stop, preflight};
use crate::report::format;
use crate::verdict::ExitCode;

/// The number of descriptors that are reserved for other uses than sessions.
const SPARE: u64 = 200;

/// Runs all scenarios and prints whether each had its required result.
pub fn selftest(args: &SelftestArgs, screen: &Screen) -> Result<ExitCode, CommandError> {
    let limit = preflight::raise_descriptors(0)?;
    let signals = Signals::listen(screen.messages())?;
    let mut testbed = LocalTestbed { stop: signals.stop.clone() };
    let stopped = || *signals.stop.borrow() > Stop::Run;
    let mut checks = Vec::new();
    for scenario in scenarios() {
        if !args.json {
            screen.note(&format!("  {}: {} ...", scenario.name, scenario.shows));
        }
        let observed = testbed.measure(&scenario.plan, &scenario.setting)?;
        if stopped() {
            return Ok(ExitCode::Interrupted);
        }
        let check = scenario.judge(&observed);
        if !args.json {
            show(&check, screen)?;
        }
        checks.push(check);
    }
    let ceiling = if args.proofs_only {
        None
    } else {
        if !args.json {
            screen.note("  ceilings: how fast, and how many at once ...");
        }
        // Both ends of each session are in this process, so each needs two descriptors.
        Some(ceilings(&mut testbed, limit.saturating_sub(SPARE) / 2)?)
    };
    // An interrupted search does not show what this machine can do.
    if stopped() {
        return Ok(ExitCode::Interrupted);
    }
    let held = checks.iter().all(Check::holds);
    let result = to_json(held, &checks, ceiling.as_ref());
    if args.json {
        writeln!(screen.out(), "{result:#}")?;
    } else {
        close(held, ceiling.as_ref(), screen)?;
    }
    if ceiling.is_some()
        && let Some(path) = machine::selftest_file()
    {
        // The file is only for the warning of `check`, so a failure to write it is no failure of the selftest.
        if let Err(CommandError::Failed(_, why)) = store(&path, &result) {
            screen.note(&format!("smtpress: the result is not stored, so `check` cannot use it: {why}"));
        }
    }
    Ok(if held { ExitCode::Success } else { ExitCode::Invalid })
}

/// Stores the result for `check`.
fn store(path: &Path, result: &Value) -> Result<(), CommandError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| {
            let sentence = format!("failed to make {}: {error}", folder.display());
            CommandError::Failed(ExitCode::Preflight, sentence)
        })?;
    }
    Output::open(Some(path))?.write(format!("{result:#}\n").as_bytes())
}

fn show(check: &Check, screen: &Screen) -> Result<(), CommandError> {
    let mut out = screen.out();
    let paint = |code: &str, text: &str| {
        if screen.colour_out() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    };
    let word = if check.holds() { paint("32", "PASS") } else { paint("31", "FAIL") };
    let figures: Vec<String> = check
        .figures
        .iter()
        .filter(|figure| !figure.unit.is_empty() || !figure.holds())
        .map(figure_text)
        .collect();
    let figures = if figures.is_empty() { "all counts agree".to_owned() } else { figures.join(", ") };
    writeln!(out, "{word}  {:<18} {figures}", check.name)?;
    Ok(())
}

fn figure_text(figure: &Figure) -> String {
    let value = |value: f64| match figure.unit {
        "ms" => format::duration(value * 1e6),
        _ => format!("{value}"),
    };
    let bounds = match (figure.at_least, figure.at_most) {
        (Some(low), Some(high)) => format!(" (must be {} to {})", value(low), value(high)),
        (Some(low), None) => format!(" (must be at least {})", value(low)),
        (None, Some(high)) => format!(" (must be at most {})", value(high)),
        (None, None) => String::new(),
    };
    format!("{} {}{bounds}", figure.name, value(figure.value))
}

fn close(held: bool, ceiling: Option<&Ceiling>, screen: &Screen) -> Result<(), CommandError> {
    let mut out = screen.out();
    if let Some(ceiling) = ceiling {
        writeln!(
            out,
            "rate      {} messages a second with 99 % of them started within {LAG_LIMIT} ms (lag p99 {}), listener on the same machine",
            format::count(ceiling.rate_per_s as u64),
            format::duration(ceiling.lag_p99_ms * 1e6),
        )?;
        writeln!(
            out,
            "sessions  {} of {} open at once, {} of resident memory per session, client and listener together",
            format::count(ceiling.sessions),
            format::count(ceiling.sessions_asked),
            format::bytes(ceiling.bytes_per_session),
        )?;
    }
    let verdict = if held {
        "PASS  the measurements are true on this machine"
    } else {
        "FAIL  the measurements of this machine cannot be trusted"
    };
    writeln!(out, "{verdict}")?;
    Ok(())
}

fn to_json(held: bool, checks: &[Check], ceiling: Option<&Ceiling>) -> Value {
    let figure = |figure: &Figure| {
        json!({ "name": figure.name, "value": figure.value, "unit": figure.unit,
                "at_least": figure.at_least, "at_most": figure.at_most, "holds": figure.holds() })
    };
    let check = |check: &Check| {
        json!({ "name": check.name, "shows": check.shows, "status": if check.holds() { "pass" } else { "fail" },
                "figures": check.figures.iter().map(figure).collect::<Vec<_>>() })
    };
    json!({
        "tool": { "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") },
        "status": if held { "pass" } else { "fail" },
        "checks": checks.iter().map(check).collect::<Vec<_>>(),
        "ceiling": ceiling.map(|ceiling| json!({
            "rate_per_s": ceiling.rate_per_s, "lag_p99_ms": ceiling.lag_p99_ms, "sessions": ceiling.sessions,
            "sessions_asked": ceiling.sessions_asked, "bytes_per_session": ceiling.bytes_per_session,
        })),
    })
}
