//! A search for the capacity: from its settings to its stored result.

mod expectation;
mod host;

use std::path::Path;
use std::time::Duration;

use super::behind_relay::BehindRelay;
use super::copies::Copies;
use super::display::Display;
use super::error::CommandError;
use super::fleet::GatheredFleet;
use super::life::{Finished, Life};
use super::machine;
use super::messages::MessageSink;
use super::prepared::Prepared;
use super::remote_receiver::check_receiver;
use super::selftest;
use super::signals::Signals;
use crate::experiment::capacity::record::VERSION;
use crate::experiment::capacity::{CapacityPlan, Controller, Knob, SearchEnd, SearchState, search};
use crate::generator::{RunError, clock, preflight};
use crate::plan::Plan;
use crate::report::format;
use crate::report::run_dir::{RunDir, SEARCH};
use crate::report::stored::convert::{self, searched::Searched};
use crate::report::stored::{Capacity, Generator, RunResult};
use crate::verdict::ExitCode;
use expectation::Expectation;
use host::LocalHost;

/// The largest share of the generator's own ceiling at which a capacity is trusted to be that of the listener.
const TRUSTED: f64 = 0.8;
/// The number of descriptors that are reserved for other uses than sessions.
const SPARE: u64 = 200;

/// Returns the display of one trial's load and the sink of its messages, or `None` if the trial is not shown.
pub type TrialDisplay<'a> = dyn Fn(&Plan) -> Option<(Box<dyn Display>, MessageSink)> + 'a;

/// The display of a search.
pub struct CapacityView<'a> {
    /// Each trial and its outcome.
    pub narration: MessageSink,
    /// Shows the load of a trial.
    pub display: &'a TrialDisplay<'a>,
}

/// A search before its first trial.
pub struct CapacitySearch {
    prepared: Prepared,
    asked: CapacityPlan,
    expectations: Vec<Expectation>,
    /// The stored search to continue.
    stored: Option<SearchState>,
    /// The largest number of sessions at once.
    sessions: f64,
    /// The fleet that sends the load in place of this machine.
    fleet: Option<GatheredFleet>,
}

impl CapacitySearch {
    /// Prepares a search for the goals of a profile; `resumed` is the run directory of the search to continue.
    ///
    /// # Errors
    /// No goal, an expectation that cannot be read, or a stored search that cannot be continued.
    pub fn new(
        mut prepared: Prepared,
        expectations: &[String],
        resumed: Option<&Path>,
    ) -> Result<CapacitySearch, CommandError> {
        let no_goal = "there is no goal: give --goal 'response p99 < 500ms', or `goals` in [capacity]";
        let asked = prepared.compiled.capacity.clone().filter(|asked| !asked.goals.is_empty());
        let asked = asked.ok_or_else(|| CommandError::usage(no_goal))?;
        let expectations =
            expectations.iter().map(|text| Expectation::read(text, &asked)).collect::<Result<Vec<_>, _>>()?;
        let stored = resumed.map(|directory| load(directory, &prepared, &asked)).transpose()?;
        if let Some(state) = &stored {
            prepared.compiled.plan.run_id.clone_from(&state.run_id);
        }
        Ok(CapacitySearch { prepared, asked, expectations, stored, sessions: 0.0, fleet: None })
    }

    /// Returns the plan from which trials are made.
    pub fn plan(&self) -> &Plan {
        self.prepared.plan()
    }

    /// Returns when the command was started, since the Unix epoch.
    pub fn started_at(&self) -> Duration {
        self.prepared.started_at
    }

    /// Checks that this machine can run the trials, and that the load may be sent to its target.
    ///
    /// # Errors
    /// The load is not allowed, or this machine cannot run it.
    pub fn check(&mut self) -> Result<(), CommandError> {
        self.sessions = sessions_possible(&self.asked, self.plan(), self.plan().target.is_embedded())?;
        check_receiver(&self.prepared.compiled, None)?;
        Ok(preflight::check_before_load(self.plan())?)
    }

    /// Uses a fleet in place of this machine; its agents check their own machines.
    #[must_use]
    pub fn with_fleet(self, fleet: GatheredFleet) -> CapacitySearch {
        CapacitySearch { fleet: Some(fleet), sessions: f64::from(u32::MAX), ..self }
    }

    /// Runs the trials, and stores the result.
    ///
    /// # Errors
    /// The search could not start, or this process could not go on.
    pub fn run(
        self,
        directory: RunDir,
        signals: &Signals,
        copies: &Copies,
        view: &CapacityView<'_>,
    ) -> Result<(Finished, SearchEnd), CommandError> {
        let CapacitySearch { prepared, mut asked, expectations, stored, sessions, fleet } = self;
        let plan = prepared.plan();
        let is_resumed = stored.is_some();
        view.narration.say(&format!(
            "smtpress: the capacity of {} by {}, seed {}, files in {}",
            plan.target,
            asked.knob.as_str(),
            plan.seed,
            directory.path().display()
        ));
        let mut state = match stored {
            Some(state) => {
                let trials = format::counted(state.records.len() as u64, "trial");
                view.narration.say(&format!("  continuing after {trials}"));
                // A continued search keeps the ceiling of the generator that was found at its start.
                asked.rules = state.controller.rules().clone();
                state
            }
            None => {
                // The ceiling of a fleet is not measured: each trial judges its agents.
                if fleet.is_none() {
                    asked.rules.ceiling = ceiling(&asked, sessions, signals, &view.narration)?;
                }
                let controller = Controller::new(asked.rules.clone());
                SearchState::new(controller, prepared.compiled.sha256.clone(), plan.run_id.clone())
            }
        };
        if let Some(receiver) = &prepared.compiled.receiver {
            view.narration.say(&format!(
                "  deliveries of the relay are received at {}, and awaited for at most {} after each trial",
                receiver.places(),
                format::seconds(receiver.drain.as_secs_f64())
            ));
        }
        let so_far = |state: &SearchState| {
            judged(&prepared, &asked, state, &SearchEnd::Interrupted, &expectations, None)
        };
        let life = Life::begin(&prepared, directory, &so_far(&state))?;
        if !life.has_times() {
            if !is_resumed {
                life.abandon();
            }
            return Err(CommandError::usage(
                "a search needs the times at which messages come out, and the clock of the delivery log is not this machine's: give clock_probe or clock_offset \
                 in [receive], or receive on this machine",
            ));
        }
        copies.clear();
        life.load_begins(clock::now());
        let stop = signals.stop.clone();
        // The processes of the fleet end after the last trial.
        let mut _kept = None;
        let runner = match fleet {
            None => life.runner(stop).boxed(),
            Some(GatheredFleet { fleet, processes }) => {
                _kept = Some(processes);
                life.fleet_runner(fleet, stop)?.boxed()
            }
        };
        let mut host = LocalHost {
            runner: BehindRelay { awaits_always: true, ..runner },
            stop: signals.stop.clone(),
            view,
            directory: &life.directory,
            so_far: &so_far,
            asked: &asked,
            began: clock::now(),
            before: Duration::from_secs_f64(state.elapsed_s),
            unkept: None,
            transcripts: Vec::new(),
            health: Generator { threads: plan.threads, ..Generator::default() },
            allowed_s: 0.0,
            hindrance: None,
            seen: false,
            silent: false,
            left_over: None,
        };
        let searched = search(&asked, plan, &mut host, &mut state);
        let LocalHost { unkept, transcripts, health, hindrance, .. } = host;
        let end = match searched {
            Ok(end) => end,
            Err(error) => {
                // A search that could not start leaves no files.
                if matches!(error, RunError::Preflight(_)) && !is_resumed {
                    life.abandon();
                }
                return Err(error.into());
            }
        };
        signals.over();
        let mut finished = life.finish(&transcripts, |ledger| {
            let result = judged(&prepared, &asked, &state, &end, &expectations, ledger);
            RunResult { generator: health.with(hindrance), ..result }
        });
        finished.stored = finished.stored.and(unkept.map_or(Ok(()), |error| Err(error.into())));
        Ok((finished, end))
    }
}

/// Returns the highest load that this machine's generator can be trusted with; `None`: unknown, or it has no such limit.
fn ceiling(
    asked: &CapacityPlan,
    sessions: f64,
    signals: &Signals,
    narration: &MessageSink,
) -> Result<Option<f64>, CommandError> {
    match asked.knob {
        Knob::Rate => trusted_rate(asked.rules.max, signals, narration),
        Knob::Sessions => Ok(Some(sessions)),
        Knob::Size => Ok(None),
    }
}

/// Reads the interrupted search of a run directory.
fn load(directory: &Path, prepared: &Prepared, asked: &CapacityPlan) -> Result<SearchState, CommandError> {
    let path = directory.join(SEARCH);
    let observed = |why: String| {
        let path = path.display();
        CommandError::Failed(
            ExitCode::Usage,
            format!("failed to go on with {path}: {why}; begin a search anew without --resume"),
        )
    };
    let text = std::fs::read_to_string(&path).map_err(|error| observed(error.to_string()))?;
    let state: SearchState = serde_json::from_str(&text).map_err(|error| observed(error.to_string()))?;
    if state.version != VERSION {
        return Err(observed(format!(
            "it is of version {}, and this smtpress reads {VERSION}",
            state.version
        )));
    }
    if state.profile_sha256 != prepared.compiled.sha256 {
        return Err(observed("it belongs to another profile than the one beside it".to_owned()));
    }
    let rules = state.controller.rules();
    if state.records.len() != state.controller.trials().len() || rules.goals != asked.goals.len() {
        return Err(observed("its parts do not fit each other".to_owned()));
    }
    Ok(state)
}

/// Raises the descriptor limit. Returns the largest number of sessions at once.
fn sessions_possible(asked: &CapacityPlan, plan: &Plan, embedded: bool) -> Result<f64, CommandError> {
    if asked.knob != Knob::Sessions {
        let trial = asked.trial(plan, 1, asked.rules.start, Duration::from_secs(1));
        preflight::raise_descriptors(preflight::descriptors_needed(&trial, embedded))?;
    }
    let limit = preflight::raise_descriptors(0)?;
    let ends = if embedded { 2 } else { 1 };
    Ok((limit.saturating_sub(SPARE) / ends).max(1) as f64)
}

/// Returns the rate up to which this machine's generator is trusted; `None`: unknown.
fn trusted_rate(most: f64, signals: &Signals, narration: &MessageSink) -> Result<Option<f64>, CommandError> {
    let able = match machine::generator_rate() {
        Some(rate) => rate,
        None => {
            narration.say("  no selftest of this machine is stored: measuring how fast its generator is");
            selftest::rate(most / TRUSTED, &signals.stop)?
        }
    };
    if able <= 0.0 {
        narration.say("  this machine is too busy to say how fast its generator is: each trial must show it");
        return Ok(None);
    }
    narration.say(&format!(
        "  this machine's generator is on time up to {}, and trusted up to {}",
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
    expects: &[Expectation],
    ledger: Option<serde_json::Value>,
) -> RunResult {
    let (verdict, assertions) = expectation::judge(asked, state, end, expects);
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
