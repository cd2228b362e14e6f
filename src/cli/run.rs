//! `smtpress run`: from the profile to the exit code.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use tokio::sync::watch;

use super::args::{self, Format, RunArgs};
use super::prepare::{Prepared, has, prepare};
use super::progress::Progress;
use super::report::{self, Copies};
use super::screen::Screen;
use super::start;
use crate::collector::snapshot::{Interval, Measured};
use crate::collector::summary::{PhaseInfo, Summary};
use crate::collector::tally::Tally;
use crate::command::CommandError;
use crate::command::output::Output;
use crate::command::signals::Signals;
use crate::generator::connector::EmbeddedListener;
use crate::generator::{Control, Local, Observer, Runner, Stop, preflight};
use crate::listener::Listener;
use crate::load;
use crate::net::address::bind::Bind;
use crate::plan::silence::Lookout;
use crate::plan::{OnSaturation, Plan};
use crate::profile::check::{Needs, too_slow};
use crate::report::RunDescription;
use crate::report::environment::Environment;
use crate::report::run_dir::{Contents, Recording, RunDir};
use crate::report::stored::RunResult;
use crate::report::stored::convert::BuildInput;
use crate::telemetry::dashboard::Brake;
use crate::telemetry::{Endpoints, Exporters, ObservedRun, RunInProgress};
use crate::verdict::ExitCode;
use crate::verdict::grammar::Assertion;
use crate::verdict::{Verdict, Windows};

/// Runs the load and says how it went.
pub fn run(args: &RunArgs, screen: &Screen) -> Result<ExitCode, CommandError> {
    let mut prepared = prepare(args)?;
    if args.print_profile {
        write!(screen.out(), "{}", prepared.compiled.resolved)?;
        return Ok(ExitCode::Success);
    }
    let start_at = args.start_at.as_deref().map(start::time).transpose()?;
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
    let endpoints = Endpoints::bind(&args.telemetry.settings())?;
    let progress = Progress::new(plan, shown(args), io::stderr().is_terminal(), screen);
    let voice = progress.messages();
    let signals = Signals::listen(voice.clone())?;
    let directory = args.common.directory(plan, prepared.started_at)?;
    let ready = Ready::new(&prepared, directory)?;
    // From now on what an earlier run wrote there is no result of this one.
    copies.clear();
    let ((ask, asked), said) = (signals.brake(), voice.clone());
    let exporters = endpoints.exporters(ObservedRun {
        description: describe(&prepared),
        directory: ready.directory.path(),
        brake: Brake { ask: Box::new(ask), asked: Box::new(asked) },
        say: Arc::new(move |line| said.say(line)),
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
        if ready.directory.replaces() {
            voice.say(&format!(
                "smtpress: the run that is there stays until this one is stored; until then in {}",
                ready.directory.files().display()
            ));
        }
        if let Some(start_at) = start_at {
            voice.say(&start::notice(start_at, now));
        }
    }
    let live = Exporters::start(exporters)?;
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
    stored
        .and(shown)
        .or_else(|failure| screen.unless_failed(failure, ExitCode::of(result.verdict.exit_code)))?;
    Ok(ExitCode::of(result.verdict.exit_code))
}

/// Whether the load can be carried, and may go to its target. Whether that can be reached its first session shows.
pub fn look_ahead(plan: &Plan) -> Result<(), CommandError> {
    preflight::raise_descriptors(preflight::descriptors_needed(plan, plan.target.is_embedded()))?;
    if let Some(sentence) = Needs::of(plan).lacking_memory(&has()) {
        return Err(CommandError::Failed(ExitCode::Preflight, sentence));
    }
    Ok(preflight::check_before_load(plan)?)
}

/// A run before its load: its directory is there, and so is the listener if it is embedded. Nothing was sent.
pub struct Ready<'a> {
    prepared: &'a Prepared,
    pub directory: RunDir,
    recording: Recording,
    so_far: RunInProgress,
    listener: Option<Listener>,
}

impl<'a> Ready<'a> {
    /// In a directory that was made for it.
    pub fn new(prepared: &'a Prepared, directory: RunDir) -> Result<Ready<'a>, CommandError> {
        let plan = &prepared.compiled.plan;
        let listener = if plan.target.is_embedded() { Some(start_listener(prepared)?) } else { None };
        let so_far = RunInProgress::counting(describe(prepared));
        let names: Vec<String> = plan.phases.iter().map(|phase| phase.name.clone()).collect();
        let begin = || {
            directory.keep(&so_far.result())?;
            directory.put("profile.toml", &prepared.compiled.resolved)?;
            directory.record(&names, prepared.started_at)
        };
        let recording = begin().map_err(CommandError::unwritable)?;
        Ok(Ready { prepared, directory, recording, so_far, listener })
    }

    /// Puts the load on the target.
    pub fn load(
        self,
        signals: &Signals,
        progress: Progress,
        live: Exporters,
    ) -> Result<Over<'a>, CommandError> {
        let Ready { prepared, directory, recording, so_far, listener } = self;
        let plan = &prepared.compiled.plan;
        let infos = phase_infos(plan);
        let assertions = &prepared.compiled.assertions;
        let windows = Windows::new(assertions, &infos, &plan.expects);
        let stop = signals.stop.clone();
        let lookout = Lookout::new(plan);
        let mut watcher =
            Watcher { windows, assertions, directory, recording, so_far, stop, progress, live, lookout };
        let mut local = Local::new(signals.stop.clone(), prepared.date()).with_reachability_check();
        if let Some(listener) = &listener {
            local = local.with_listener(listener.place()).with_certificate(listener.certificate().cloned());
        }
        watcher.progress.begin();
        let measured = match local.run(plan, &mut watcher) {
            Ok(measured) => measured,
            Err(error) => {
                watcher.progress.finish();
                // Nothing was sent.
                watcher.directory.abandon();
                return Err(error.into());
            }
        };
        Ok(Over { prepared, infos, measured, listener, watcher })
    }
}

/// A run whose load is over.
pub struct Over<'a> {
    prepared: &'a Prepared,
    infos: Vec<PhaseInfo>,
    measured: Measured,
    listener: Option<Listener>,
    watcher: Watcher<'a>,
}

impl Over<'_> {
    /// Judges the run and stores it.
    pub fn judge(self) -> Ended {
        let Over { prepared, infos, measured, listener, watcher } = self;
        let Watcher { windows, mut directory, recording, progress, live, .. } = watcher;
        progress.finish();
        let ledger = listener.map(Listener::stop).and_then(|ledger| serde_json::to_value(ledger).ok());
        let mut result = judge(prepared, &measured, &infos, &windows, ledger);
        result.directory = Some(directory.path().display().to_string());
        let result = Arc::new(result);
        let stored = store(prepared, &mut directory, recording, &measured, &result);
        Ended { directory, result, stored, live }
    }
}

/// A run that is judged.
pub struct Ended {
    pub directory: RunDir,
    pub result: Arc<RunResult>,
    /// Whether its files are written.
    pub stored: Result<(), CommandError>,
    pub live: Exporters,
}

fn shown(args: &RunArgs) -> args::Progress {
    if args.common.quiet {
        args::Progress::None
    } else {
        args.common.progress.unwrap_or(args::Progress::Auto)
    }
}

/// The embedded listener, as its clients see it.
pub(super) fn embedded(listener: &Listener) -> EmbeddedListener {
    EmbeddedListener { place: listener.place().into(), certificate: listener.certificate().cloned() }
}

/// Starts the embedded listener that a profile asks for.
pub fn start_listener(prepared: &Prepared) -> Result<Listener, CommandError> {
    let anywhere = || Bind::Tcp(([127, 0, 0, 1], 0).into());
    let place = prepared.compiled.listen.clone().unwrap_or_else(anywhere);
    let limits = prepared.compiled.listener.clone();
    Ok(crate::listener::start_at(&place, limits, prepared.compiled.plan.seed, 1)?)
}

/// This machine, and the command line; an argument need not be UTF-8.
pub fn environment(prepared: &Prepared) -> Environment {
    let command_line = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    Environment::read(command_line, prepared.started_at)
}

/// What is asked of the run.
fn describe(prepared: &Prepared) -> RunDescription {
    let compiled = &prepared.compiled;
    RunDescription {
        plan: compiled.plan.clone(),
        infos: phase_infos(&compiled.plan),
        assertions: compiled.assertions.clone(),
        profile_path: prepared.path.clone(),
        profile_sha256: compiled.sha256.clone(),
        profile: compiled.resolved.clone(),
        started_at: prepared.started_at,
    }
}

/// What must be known of the plan's phases to sum them up.
pub fn phase_infos(plan: &Plan) -> Vec<PhaseInfo> {
    let info = |phase: &crate::plan::Phase| PhaseInfo {
        name: phase.name.clone(),
        warmup: phase.warmup,
        unit: phase.unit.as_str(),
        steady: phase.load.model.is_steady(),
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
    directory: RunDir,
    recording: Recording,
    /// What is left of the run if it is cut off.
    so_far: RunInProgress,
    stop: watch::Receiver<Stop>,
    progress: Progress,
    live: Exporters,
    lookout: Lookout,
}

impl Observer for Watcher<'_> {
    fn interval(&mut self, interval: &Interval, total: &Tally) -> Control {
        self.progress.update(interval, total);
        if let Some(sentence) = self.lookout.second(interval, total) {
            self.progress.messages().say(&format!("smtpress: {sentence}"));
        }
        self.recording.add(interval);
        if *self.stop.borrow() > Stop::Run {
            self.so_far.stopping();
        }
        self.so_far.add(interval);
        // Where it cannot be written the other files cannot either, and that is told at the end.
        self.directory.keep(&self.so_far.result()).ok();
        self.live.second(interval);
        match self.windows.feed(interval) {
            Some(index) => Control::Stop(self.assertions[index].expr.text.clone()),
            None => Control::Continue,
        }
    }

    fn transcripts(&mut self, transcripts: &[(String, String)]) {
        // They are written again at the end, and it is told if that fails.
        self.directory.keep_transcripts(transcripts).ok();
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
    let loads = plan.loads();
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
    directory: &mut RunDir,
    recording: Recording,
    measured: &Measured,
    result: &RunResult,
) -> Result<(), CommandError> {
    let environment = environment(prepared);
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
) -> Result<(), CommandError> {
    let mut shown = Ok(());
    if !copies.take_stdout() && !args.common.quiet {
        let files = directory.path().display().to_string();
        let text = report::in_text(result, screen.width(), screen.colour_out(), Some(&files))?;
        shown = Output::Stdout.write(&text);
    }
    // A reader of the text that went away takes nothing from the files.
    copies.write(result, directory.path()).and(shown)
}
