//! `smtpress run`: from the profile to the exit code.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;

use super::args::{self, RunArgs};
use super::exit::{FAULT, Failure};
use super::look::{self, Screen};
use super::prepare::{Prepared, prepare};
use super::progress::Progress;
use crate::collector::snapshot::{Interval, Measured};
use crate::collector::summary::{PhaseInfo, Summary};
use crate::collector::tally::Tally;
use crate::generator::{Control, Local, Observer, Runner, Stop, clock, preflight};
use crate::listener::Listener;
use crate::load::{self, Load};
use crate::net::target::Target;
use crate::plan::{OnSaturation, Plan};
use crate::report::build::BuildInput;
use crate::report::environment::Environment;
use crate::report::result::RunResult;
use crate::report::run_dir::{Contents, Recording, RunDir};
use crate::report::{json, terminal, words};
use crate::verdict::grammar::Assertion;
use crate::verdict::{Verdict, Windows};

/// Runs the load and says how it went.
pub fn run(args: &RunArgs, screen: &Screen) -> Result<u8, Failure> {
    unsupported(args)?;
    let prepared = prepare(args)?;
    if args.print_profile {
        write!(screen.out(), "{}", prepared.compiled.resolved)?;
        return Ok(0);
    }
    let start_at = args.start_at.as_deref().map(start_time).transpose()?;
    let plan = &prepared.compiled.plan;
    let embedded = plan.target == Target::Embedded;
    preflight::raise_descriptors(preflight::descriptors_needed(plan, embedded))?;
    preflight::check_target(plan)?;
    let directory = RunDir::create(args.common.out.as_deref(), &plan.name, prepared.started_at)?;
    let names: Vec<String> = plan.phases.iter().map(|phase| phase.name.clone()).collect();
    let recording = directory.record(&names, prepared.started_at)?;
    if let Some(at) = start_at {
        wait_until(at);
    }
    let listener = if embedded { Some(start_listener(&prepared)?) } else { None };
    let stop = stop_on_signals(screen)?;
    let date = httpdate(prepared.started_at);
    let mut local = Local::new(stop, date);
    if let Some(listener) = &listener {
        local = local.with_listener(listener.addr());
    }
    let infos = phase_infos(plan);
    let assertions = &prepared.compiled.assertions;
    let mut watcher = Watcher {
        windows: Windows::new(assertions, &infos, &plan.expects),
        assertions,
        recording,
        progress: Progress::new(plan, shown(args), io::stderr().is_terminal(), screen),
    };
    if !args.common.quiet {
        let seed = plan.seed;
        screen.note(&format!(
            "smtpress: {} against {}, seed {seed}, files in {}",
            plan.name,
            plan.target,
            directory.path().display()
        ));
    }
    let measured = local.run(plan, &mut watcher)?;
    let Watcher { windows, recording, progress, .. } = watcher;
    progress.finish();
    let ledger = listener.map(Listener::stop).and_then(|ledger| serde_json::to_value(ledger).ok());
    let result = judge(&prepared, &measured, &infos, &windows, ledger);
    let stored = store(&prepared, &directory, recording, &measured, &result);
    show(args, screen, &directory, &result)?;
    // The result is shown even if it could not be stored, but a caller must not take that for success.
    stored?;
    Ok(result.verdict.exit_code)
}

/// Flags of the contract whose feature this version lacks: refused, never ignored.
fn unsupported(args: &RunArgs) -> Result<(), Failure> {
    let missing = [("--html", args.html.is_some()), ("--junit", args.junit.is_some())];
    match missing.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(Failure::usage(format!(
            "{flag} is not supported yet in this version: use --json or the run directory"
        ))),
        None => Ok(()),
    }
}

fn shown(args: &RunArgs) -> args::Progress {
    if args.common.quiet {
        args::Progress::None
    } else {
        args.common.progress.unwrap_or(args::Progress::Auto)
    }
}

fn start_time(text: &str) -> Result<std::time::SystemTime, Failure> {
    humantime::parse_rfc3339_weak(text).map_err(|error| {
        Failure::usage(format!("{text:?} is no time ({error}): write --start-at 2026-01-31T12:00:00Z"))
    })
}

fn wait_until(at: std::time::SystemTime) {
    if let Ok(left) = at.duration_since(clock::wall()) {
        std::thread::sleep(left);
    }
}

fn start_listener(prepared: &Prepared) -> Result<Listener, Failure> {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    Ok(crate::listener::start(address, prepared.compiled.listener.clone(), prepared.compiled.plan.seed, 1)?)
}

/// The Date of all messages of a run (RFC 5322 3.3), in UTC.
fn httpdate(since_epoch: Duration) -> String {
    let stamp = words::timestamp(since_epoch);
    let days = since_epoch.as_secs() / 86_400;
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][usize::try_from(days % 7).unwrap_or(0)];
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    // RFC 3339: 2026-11-23T12:00:00Z.
    let month = stamp[5..7].parse::<usize>().ok().and_then(|month| months.get(month - 1)).unwrap_or(&"Jan");
    format!("{weekday}, {} {month} {} {} +0000", &stamp[8..10], &stamp[..4], &stamp[11..19])
}

/// First Ctrl-C or SIGTERM: drain; second: stop now.
fn stop_on_signals(screen: &Screen) -> Result<watch::Receiver<Stop>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let (ask, stop) = watch::channel(Stop::Run);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let screen = *screen;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async move {
            let (Ok(mut interrupt), Ok(mut terminate)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return screen.note("smtpress: Ctrl-C cannot be caught here; the run ends by its own time");
            };
            for next in [Stop::Drain, Stop::Now] {
                tokio::select! {
                    heard = interrupt.recv() => if heard.is_none() { return },
                    heard = terminate.recv() => if heard.is_none() { return },
                }
                if next == Stop::Drain {
                    screen.note("smtpress: stopping; what is under way may end. Once more: stop now");
                }
                ask.send_replace(next);
            }
            // The sender must outlive the run: a dropped one would read as a stop.
            std::future::pending::<()>().await;
        });
    })?;
    Ok(stop)
}

/// What must be known of the plan's phases to sum them up.
pub fn phase_infos(plan: &Plan) -> Vec<PhaseInfo> {
    let steady = |load: &Load| match load {
        Load::Rate { curve, .. } | Load::Sessions { curve, .. } => {
            curve.points.windows(2).all(|pair| pair[0].1 == pair[1].1)
        }
        Load::Shared { .. } => true,
        Load::Burst { .. } | Load::Held { .. } => false,
    };
    let info = |phase: &crate::plan::Phase| PhaseInfo {
        name: phase.name.clone(),
        warmup: phase.warmup,
        unit: phase.unit.as_str(),
        steady: steady(&phase.load.load),
        sheds: phase.on_saturation == OnSaturation::Drop,
        max_sessions: phase.max_sessions,
        length: phase.load.length,
    };
    plan.phases.iter().map(info).collect()
}

/// Looks on: the files that grow, the windows, the screen.
struct Watcher<'a> {
    windows: Windows,
    assertions: &'a [Assertion],
    recording: Recording,
    progress: Progress,
}

impl Observer for Watcher<'_> {
    fn interval(&mut self, interval: &Interval, total: &Tally) -> Control {
        self.progress.update(interval, total);
        self.recording.add(interval);
        match self.windows.feed(interval) {
            Some(index) => Control::Stop(self.assertions[index].expr.text.clone()),
            None => Control::Continue,
        }
    }
}

fn judge(
    prepared: &Prepared,
    measured: &Measured,
    infos: &[PhaseInfo],
    windows: &Windows,
    ledger: Option<serde_json::Value>,
) -> RunResult {
    let plan = &prepared.compiled.plan;
    let summary = Summary::new(measured, infos);
    let verdict = Verdict::judge(measured, &summary, &plan.expects, &prepared.compiled.assertions, windows);
    let loads: Vec<load::Phase> = plan.phases.iter().map(|phase| phase.load.clone()).collect();
    let hash = load::fingerprint(&loads, plan.seed);
    RunResult::build(BuildInput {
        plan,
        measured,
        summary: &summary,
        verdict: &verdict,
        profile_path: prepared.path.clone(),
        profile_sha256: prepared.compiled.sha256.clone(),
        schedule_sha256: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        started_at: prepared.started_at,
        ledger,
    })
}

fn store(
    prepared: &Prepared,
    directory: &RunDir,
    recording: Recording,
    measured: &Measured,
    result: &RunResult,
) -> Result<(), Failure> {
    let environment = Environment::read(std::env::args().collect(), prepared.started_at);
    let grown = recording.finish();
    directory.store(Contents {
        result,
        profile: &prepared.compiled.resolved,
        environment: &environment,
        transcripts: &measured.transcripts,
    })?;
    Ok(grown?)
}

/// The report, to wherever it was asked for.
fn show(args: &RunArgs, screen: &Screen, directory: &RunDir, result: &RunResult) -> Result<(), Failure> {
    let to_stdout = args.common.json.as_deref() == Some(Path::new("-"));
    if let Some(path) = &args.common.json {
        let text = format!("{}\n", json::write(result).trim_end());
        if to_stdout {
            screen.out().write_all(text.as_bytes())?;
        } else {
            look::put(path, text.as_bytes())?;
        }
    }
    if to_stdout || args.common.quiet {
        return Ok(());
    }
    let files = directory.path().display().to_string();
    let style = terminal::Style { width: screen.width(), colour: screen.colour_out(), files: Some(&files) };
    let mut text = Vec::new();
    terminal::write(result, style, &mut text).map_err(|error| Failure::Told(FAULT, error.to_string()))?;
    screen.out().write_all(&text)?;
    Ok(())
}
