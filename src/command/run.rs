//! A run: from its run directory to its stored result.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::display::Display;
use super::error::CommandError;
use super::events::EventThreads;
use super::fleet::GatheredFleet;
use super::life::{Finished, Life};
use super::machine;
use super::messages::MessageSink;
use super::prepared::Prepared;
use super::signals::Signals;
use crate::collector::agents::AgentProgress;
use crate::collector::delivery_times::TIMES;
use crate::collector::snapshot::{Interval, Measured};
use crate::collector::summary::{PhaseInfo, Summary};
use crate::collector::tally::Tally;
use crate::delivery::FarEnd;
use crate::delivery::clock::ClockReading;
use crate::delivery::settings::ReceiverSettings;
use crate::delivery::transactions::TransactionFile;
use crate::generator::{Control, Observer, PhaseStarts, RunStart, Runner, Stop, preflight};
use crate::load;
use crate::plan::Plan;
use crate::plan::silence::Lookout;
use crate::profile::check::Needs;
use crate::report::run_dir::{Recording, RunDir, RunDirError, TRANSACTIONS};
use crate::report::stored::RunResult;
use crate::report::stored::convert::BuildInput;
use crate::telemetry::{Exporters, RunInProgress};
use crate::verdict::grammar::Assertion;
use crate::verdict::{ExitCode, Verdict, Windows};

/// Checks that this machine can run the load, and that the load may be sent to its target. The first session shows
/// whether the target can be reached.
///
/// # Errors
/// The load is not allowed, or this machine cannot run it.
pub fn check_before_load(plan: &Plan) -> Result<(), CommandError> {
    preflight::raise_descriptors(preflight::descriptors_needed(plan, plan.target.is_embedded()))?;
    if let Some(sentence) = Needs::of(plan).lacking_memory(&machine::resources()) {
        return Err(CommandError::Failed(ExitCode::Preflight, sentence));
    }
    Ok(preflight::check_before_load(plan)?)
}

/// A run before its load: nothing was sent.
pub struct LoadRun<'a> {
    life: Life<'a>,
    recording: Recording,
    so_far: RunInProgress,
    fleet: Option<GatheredFleet>,
}

impl<'a> LoadRun<'a> {
    /// Begins a run in its directory.
    ///
    /// # Errors
    /// The same as of [`Life::begin`], or the files of the run cannot be opened.
    pub fn begin(prepared: &'a Prepared, directory: RunDir) -> Result<LoadRun<'a>, CommandError> {
        let so_far = RunInProgress::counting(prepared.describe());
        let life = Life::begin(prepared, directory, &so_far.result())?;
        let names: Vec<String> = prepared.plan().phases.iter().map(|phase| phase.name.clone()).collect();
        let has_retries = prepared.plan().retry.is_some();
        let recording = life.directory.record(&names, has_retries, prepared.started_at);
        let recording = recording.map_err(CommandError::unwritable)?;
        Ok(LoadRun { life, recording, so_far, fleet: None })
    }

    /// Uses a fleet in place of this machine.
    #[must_use]
    pub fn with_fleet(self, fleet: Option<GatheredFleet>) -> LoadRun<'a> {
        LoadRun { fleet, ..self }
    }

    /// Returns the run directory.
    pub fn directory(&self) -> &RunDir {
        &self.life.directory
    }

    /// Sends the load to the target.
    ///
    /// # Errors
    /// The load could not start; its files are removed.
    pub fn run(
        self,
        signals: &Signals,
        display: &mut dyn Display,
        messages: &MessageSink,
        exporters: &Exporters,
    ) -> Result<MeasuredRun<'a>, CommandError> {
        let LoadRun { life, recording, so_far, fleet } = self;
        let plan = life.prepared.plan();
        let infos = plan.phase_infos();
        let assertions = &life.prepared.compiled.assertions;
        let mut watcher = RunWatcher {
            life: &life,
            windows: Windows::new(assertions, &infos, &plan.expects),
            assertions,
            recording,
            so_far,
            stop: signals.stop.clone(),
            display,
            messages,
            exporters,
            lookout: Lookout::new(plan),
            plan,
            events: EventThreads::waiting(&plan.events),
            date: life.prepared.date(),
            keeps_transactions: life
                .prepared
                .compiled
                .receiver
                .as_ref()
                .is_some_and(|settings| settings.keeps_transactions),
            transactions: None,
            far_end: life.far_end(),
            is_load_over: false,
            start_of: Arc::new(|_| None),
            ends: load::spans(plan.phases.iter().map(|phase| &phase.load)).map(|(_, end)| end).collect(),
        };
        watcher.display.begin();
        let stop = signals.stop.clone();
        // The processes of the fleet end after the run.
        let mut _kept = None;
        let measured = match fleet {
            None => life.runner(stop).run(plan, &mut watcher).map_err(CommandError::from),
            Some(GatheredFleet { fleet, processes }) => {
                _kept = Some(processes);
                life.fleet_runner(fleet, stop).and_then(|mut runner| {
                    watcher.far_end = runner.receiver.clone();
                    runner.run(plan, &mut watcher).map_err(CommandError::from)
                })
            }
        };
        // Waits after a load that could not start, too, so that no command of an event is left running.
        let events = watcher.events.finish();
        watcher.news();
        watcher.display.end();
        let RunWatcher { windows, recording, transactions, .. } = watcher;
        let kept = transactions.map_or(Ok(()), |file| file.map(drop));
        match measured {
            Ok(measured) => {
                let measured = Measured { events, ..measured };
                Ok(MeasuredRun { life, infos, windows, recording, kept, measured })
            }
            Err(error) => {
                life.abandon();
                Err(error)
            }
        }
    }
}

/// A run whose load is over.
pub struct MeasuredRun<'a> {
    life: Life<'a>,
    infos: Vec<PhaseInfo>,
    windows: Windows,
    recording: Recording,
    /// An error if the profile asks to store the transactions and they could not be stored.
    kept: io::Result<()>,
    measured: Measured,
}

impl MeasuredRun<'_> {
    /// Judges the run and stores it.
    pub fn finish(self) -> Finished {
        let MeasuredRun { life, infos, windows, recording, kept, measured } = self;
        let prepared = life.prepared;
        let recorded = recording.finish().and_then(|()| {
            let is_from_logs = prepared.compiled.receiver.as_ref().is_some_and(ReceiverSettings::reads_logs);
            match measured.delivered.as_deref().filter(|_| is_from_logs) {
                Some(delivered) => {
                    let names: Vec<String> = infos.iter().map(|info| info.name.clone()).collect();
                    life.directory.put_deliveries(&names, delivered)
                }
                None => Ok(()),
            }
        });
        let build = |ledger| judge(prepared, &measured, &infos, &windows, ledger);
        let mut finished = life.finish(&measured.transcripts, build);
        let path = finished.directory.path().join(TRANSACTIONS);
        let kept = kept.map_err(|source| RunDirError::Write { path, source });
        finished.stored = finished.stored.and(recorded.and(kept).map_err(CommandError::from));
        finished
    }
}

fn judge(
    prepared: &Prepared,
    measured: &Measured,
    infos: &[PhaseInfo],
    windows: &Windows,
    ledger: Option<serde_json::Value>,
) -> RunResult {
    let plan = prepared.plan();
    let summary = Summary::new(measured, infos);
    let verdict = Verdict::judge(measured, &summary, &plan.expects, &prepared.compiled.assertions, windows);
    let hash = load::fingerprint(&plan.loads(), plan.seed);
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

/// Passes each second of the load to the files, the windows, the display and the exporters.
struct RunWatcher<'a> {
    windows: Windows,
    assertions: &'a [Assertion],
    life: &'a Life<'a>,
    recording: Recording,
    /// The stored result, in case the run is cut off.
    so_far: RunInProgress,
    stop: watch::Receiver<Stop>,
    display: &'a mut dyn Display,
    messages: &'a MessageSink,
    exporters: &'a Exporters,
    lookout: Lookout,
    plan: &'a Plan,
    events: EventThreads,
    date: String,
    keeps_transactions: bool,
    /// `None`: before the load, or transactions are not stored.
    transactions: Option<io::Result<TransactionFile>>,
    /// The source of deliveries. Deliveries from logs are known only at the end, and are added to the files then.
    far_end: Option<Arc<FarEnd>>,
    /// Whether the load is over and the run only waits for deliveries.
    is_load_over: bool,
    /// Returns when the load of a phase starts, by index; `None`: not known.
    start_of: PhaseStarts,
    /// When the load of each phase ends; `Duration::MAX`: time does not end it.
    ends: Vec<Duration>,
}

impl RunWatcher<'_> {
    /// Shows the starts and ends of events.
    fn news(&mut self) {
        let news = self.events.news();
        news.iter().for_each(|line| self.display.event(line));
        if !news.is_empty() {
            let events = self.events.so_far();
            self.exporters.events(&events);
            self.so_far.set_events(events);
        }
    }
}

/// Returns the interval without its deliveries, as for a run that does not know them yet.
fn without_deliveries(interval: &Interval) -> Interval {
    let (mut tally, mut gauges) = (interval.tally.clone(), interval.gauges);
    for phase in &mut tally.phases {
        (phase.counts.awaited, phase.counts.delivered) = (0, 0);
        phase.hists.retain(|(metric, _), _| !TIMES.contains(metric));
    }
    gauges.queued = None;
    Interval { start: interval.start, length: interval.length, tally, transactions: Vec::new(), gauges }
}

impl Observer for RunWatcher<'_> {
    fn begins(&mut self, run: &RunStart) {
        self.life.load_begins(run.clock.epoch());
        self.start_of = run.phase.clone();
        let log = |name: &str| self.life.directory.event_log(name);
        self.events.start(&self.plan.events, run, &self.stop, log);
        if self.keeps_transactions {
            let path = self.life.directory.files().join(TRANSACTIONS);
            // The file stores the reading that this run uses, so that a later join has the same times.
            let at = self.far_end.as_ref().and_then(|far_end| far_end.epoch());
            let at = at.unwrap_or_else(|| ClockReading::at(run.clock.epoch()));
            self.transactions = Some(TransactionFile::create(&path, &self.plan.run_id, &self.date, at));
        }
    }

    fn agents(&mut self, agents: &[AgentProgress]) {
        self.display.agents(agents);
        self.so_far.set_agents(agents);
        self.exporters.agents(agents);
    }

    fn interval(&mut self, interval: &Interval, total: &Tally) -> Control {
        self.display.second(interval, total);
        self.news();
        if let Some(sentence) = self.lookout.second(interval, total) {
            self.messages.say(&format!("smtpress: {sentence}"));
        }
        let learns_later = self.far_end.as_ref().is_some_and(|far_end| far_end.is_behind());
        match (learns_later, self.is_load_over) {
            (false, _) => self.recording.add(interval),
            (true, false) => self.recording.add(&without_deliveries(interval)),
            // The seconds of the wait are written with the deliveries.
            (true, true) => {}
        }
        if let Some(Ok(file)) = &mut self.transactions
            && let Err(error) = file.add(&interval.transactions)
        {
            self.transactions = Some(Err(error));
        }
        if *self.stop.borrow() > Stop::Run {
            self.so_far.stopping();
        }
        self.so_far.add(interval);
        // If the result cannot be written, the other files cannot be written either; the end of the run reports that.
        self.life.directory.keep(&self.so_far.result()).ok();
        self.exporters.second(interval);
        // A load that is being stopped offers less than it was asked to.
        if *self.stop.borrow() > Stop::Run {
            return Control::Continue;
        }
        match self.windows.feed(interval, &|phase| ((self.start_of)(phase), self.ends[phase])) {
            Some(index) => {
                self.events.abort();
                Control::Stop(self.assertions[index].expr.text.clone())
            }
            None => Control::Continue,
        }
    }

    fn load_over(&mut self) {
        self.is_load_over = true;
    }

    fn transcripts(&mut self, transcripts: &[(String, String)]) {
        // All transcripts are written again at the end; that write reports a failure.
        self.life.directory.keep_transcripts(transcripts).ok();
    }
}
