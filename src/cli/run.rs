//! `smtpress run`: from the profile to the exit code.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::args::{self, Format, RunArgs};
use super::exit::{Failure, PREFLIGHT};
use super::live::{Places, Scene};
use super::look::Screen;
use super::output::Output;
use super::prepare::{Prepared, has, prepare};
use super::progress::Progress;
use super::report::{self, Copies};
use super::signals::Signals;
use crate::collector::snapshot::{Interval, Measured};
use crate::collector::summary::{PhaseInfo, Summary};
use crate::collector::tally::Tally;
use crate::generator::{Control, Local, Observer, RunError, Runner, Stop, preflight};
use crate::listener::Listener;
use crate::live::Live;
use crate::load::{self, Load};
use crate::net::target::bind::Bind;
use crate::plan::{OnSaturation, Plan};
use crate::profile::check::{Needs, too_slow};
use crate::report::build::BuildInput;
use crate::report::environment::Environment;
use crate::report::result::RunResult;
use crate::report::run_dir::{Contents, Recording, RunDir, RunDirError};
use crate::report::words;
use crate::verdict::grammar::Assertion;
use crate::verdict::{Verdict, Windows};

/// Runs the load and says how it went.
pub fn run(args: &RunArgs, screen: &Screen) -> Result<u8, Failure> {
    let mut prepared = prepare(args)?;
    if args.print_profile {
        write!(screen.out(), "{}", prepared.compiled.resolved)?;
        return Ok(0);
    }
    let start_at = args.start_at.as_deref().map(start_time).transpose()?;
    let now = prepared.started_at;
    // A start that lies in the past is one that is due.
    prepared.started_at = start_at.unwrap_or(now).max(now);
    let prepared = prepared;
    let plan = &prepared.compiled.plan;
    look_ahead(plan)?;
    let copies = Copies::open(&[
        ("--json", Format::Json, args.common.json.as_deref()),
        ("--html", Format::Html, args.html.as_deref()),
        ("--junit", Format::Junit, args.junit.as_deref()),
    ])?;
    // Their ports are bound before anything is written or sent.
    let places = Places::bind(&args.live)?;
    let ready = Ready::new(&prepared, args.common.out.as_deref())?;
    let progress = Progress::new(plan, shown(args), io::stderr().is_terminal(), screen);
    let voice = progress.voice();
    let signals = Signals::listen(voice.clone())?;
    let tellers = places.tellers(&Scene {
        prepared: &prepared,
        infos: phase_infos(plan),
        directory: ready.directory.path(),
        signals: &signals,
        voice: &voice,
    })?;
    if !args.common.quiet {
        voice.say(&format!(
            "smtpress: {} against {}, seed {}, files in {}",
            plan.name,
            plan.target,
            plan.seed,
            ready.directory.path().display()
        ));
        for sentence in too_slow(plan) {
            voice.say(&format!("smtpress: warning: {sentence}"));
        }
        if let Some(start_at) = start_at {
            voice.say(&start_notice(start_at, now));
        }
    }
    let live = Live::start(tellers)?;
    if let Some(start_at) = start_at {
        signals.wait_until(UNIX_EPOCH + start_at);
    }
    let over = ready.load(&signals, progress, live)?;
    signals.over();
    let Ended { directory, result, stored, live } = over.judge();
    let shown = show(args, screen, &copies, &directory, &result);
    signals.linger();
    // Whoever stopped the run at once, then or now, does not wait for those who listen.
    let remarks = live.over(&result, || *signals.stop.borrow() == Stop::Now);
    remarks.iter().for_each(|remark| voice.say(&format!("smtpress: warning: {remark}")));
    // The result is shown even if it could not be stored, but a caller must not take that for success.
    match shown.and(stored) {
        // Whoever reads the report may stop reading; the verdict stands.
        Ok(()) | Err(Failure::Pipe) => Ok(result.verdict.exit_code),
        Err(failure) => Err(failure),
    }
}

/// Whether the load can be carried, and may go to its target. Whether that can be reached its first session shows.
pub fn look_ahead(plan: &Plan) -> Result<(), Failure> {
    preflight::raise_descriptors(preflight::descriptors_needed(plan, plan.target.is_embedded()))?;
    if let Some(sentence) = Needs::of(plan).lacking_memory(&has()) {
        return Err(Failure::Told(PREFLIGHT, sentence));
    }
    Ok(preflight::check_before_load(plan)?)
}

/// A run before its load: its directory is there, and so is the listener if it is embedded. Nothing was sent.
pub struct Ready<'a> {
    prepared: &'a Prepared,
    pub directory: RunDir,
    recording: Recording,
    listener: Option<Listener>,
}

impl<'a> Ready<'a> {
    /// `out`: the directory that the user names.
    pub fn new(prepared: &'a Prepared, out: Option<&Path>) -> Result<Ready<'a>, Failure> {
        let plan = &prepared.compiled.plan;
        // Whatever is wrong with the directory now, nothing was sent.
        let unwritable = |error: RunDirError| Failure::Told(PREFLIGHT, error.to_string());
        let directory = RunDir::create(out, &plan.name, prepared.started_at).map_err(unwritable)?;
        let names: Vec<String> = plan.phases.iter().map(|phase| phase.name.clone()).collect();
        let recording = directory.record(&names, prepared.started_at).map_err(unwritable)?;
        let listener = if plan.target.is_embedded() { Some(start_listener(prepared)?) } else { None };
        Ok(Ready { prepared, directory, recording, listener })
    }

    /// Puts the load on the target.
    pub fn load(self, signals: &Signals, progress: Progress, live: Live) -> Result<Over<'a>, Failure> {
        let Ready { prepared, directory, recording, listener } = self;
        let plan = &prepared.compiled.plan;
        let infos = phase_infos(plan);
        let assertions = &prepared.compiled.assertions;
        let windows = Windows::new(assertions, &infos, &plan.expects);
        let mut watcher = Watcher { windows, assertions, recording, progress, live };
        let mut local = Local::new(signals.stop.clone(), prepared.date()).with_reachability_check();
        if let Some(listener) = &listener {
            local = local.with_listener(listener.place()).with_certificate(listener.certificate().cloned());
        }
        watcher.progress.begin();
        let measured = match local.run(plan, &mut watcher) {
            Ok(measured) => measured,
            Err(error) => {
                watcher.progress.finish();
                drop(watcher.recording);
                if matches!(error, RunError::Preflight(_)) {
                    directory.discard();
                }
                return Err(error.into());
            }
        };
        Ok(Over { prepared, directory, infos, measured, listener, watcher })
    }
}

/// A run whose load is over.
pub struct Over<'a> {
    prepared: &'a Prepared,
    directory: RunDir,
    infos: Vec<PhaseInfo>,
    measured: Measured,
    listener: Option<Listener>,
    watcher: Watcher<'a>,
}

impl Over<'_> {
    /// Judges the run and stores it.
    pub fn judge(self) -> Ended {
        let Over { prepared, directory, infos, measured, listener, watcher } = self;
        let Watcher { windows, recording, progress, live, .. } = watcher;
        progress.finish();
        let ledger = listener.map(Listener::stop).and_then(|ledger| serde_json::to_value(ledger).ok());
        let result = Arc::new(judge(prepared, &measured, &infos, &windows, ledger));
        let stored = store(prepared, &directory, recording, &measured, &result);
        Ended { directory, result, stored, live }
    }
}

/// A run that is judged.
pub struct Ended {
    pub directory: RunDir,
    pub result: Arc<RunResult>,
    /// Whether its files are written.
    pub stored: Result<(), Failure>,
    pub live: Live,
}

fn shown(args: &RunArgs) -> args::Progress {
    if args.common.quiet {
        args::Progress::None
    } else {
        args.common.progress.unwrap_or(args::Progress::Auto)
    }
}

/// A point in time on the command line, since the Unix epoch.
fn start_time(text: &str) -> Result<Duration, Failure> {
    let time = humantime::parse_rfc3339_weak(text).ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    time.ok_or_else(|| {
        Failure::usage(format!("{text:?} is no time in UTC: write it as in --start-at 2026-01-31T12:00:00Z"))
    })
}

fn start_notice(at: Duration, now: Duration) -> String {
    let stamp = words::timestamp(at);
    match at.checked_sub(now) {
        Some(left) => {
            format!("smtpress: the load starts at {stamp}, in {}", words::duration(left.as_nanos() as f64))
        }
        None => {
            let late = words::duration((now - at).as_nanos() as f64);
            format!(
                "smtpress: warning: {stamp} was {late} ago; the load starts now, other shards may be ahead"
            )
        }
    }
}

/// Starts the embedded listener that a profile asks for.
pub fn start_listener(prepared: &Prepared) -> Result<Listener, Failure> {
    let anywhere = || Bind::Tcp(([127, 0, 0, 1], 0).into());
    let place = prepared.compiled.listen.clone().unwrap_or_else(anywhere);
    let limits = prepared.compiled.listener.clone();
    Ok(crate::listener::start_at(&place, limits, prepared.compiled.plan.seed, 1)?)
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
        paced: phase.connect_rate.is_some(),
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
    live: Live,
}

impl Observer for Watcher<'_> {
    fn interval(&mut self, interval: &Interval, total: &Tally) -> Control {
        self.progress.update(interval, total);
        self.recording.add(interval);
        self.live.second(interval);
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
        load_sha256: prepared.compiled.load_sha256.clone(),
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
    // An argument need not be UTF-8.
    let command_line = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let environment = Environment::read(command_line, prepared.started_at);
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
fn show(
    args: &RunArgs,
    screen: &Screen,
    copies: &Copies,
    directory: &RunDir,
    result: &RunResult,
) -> Result<(), Failure> {
    let mut shown = Ok(());
    if !copies.take_stdout() && !args.common.quiet {
        let files = directory.path().display().to_string();
        let text = report::in_text(result, screen.width(), screen.colour_out(), Some(&files))?;
        shown = Output::Stdout.write(&text, screen);
    }
    // A reader of the text that went away takes nothing from the files.
    copies.write(result, directory.path(), screen).and(shown)
}
