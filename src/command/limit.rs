//! A search for limits: from its settings to its stored result.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::copies::Copies;
use super::error::CommandError;
use super::fleet::GatheredFleet;
use super::life::{Finished, Life};
use super::messages::MessageSink;
use super::prepared::Prepared;
use super::signals::Signals;
use crate::condition::Classifier;
use crate::experiment::limit::{
    self, EndReason, LimitKind, LimitObserver, LimitRequest, LimitResult, LimitSetting, SearchBudget,
    SearchOutcome,
};
use crate::fleet::gathering::Fleet;
use crate::fleet::probes::FleetProbes;
use crate::generator::probe::{NetworkProbes, ProbeEvent, ProbeRefusal, Probes};
use crate::generator::{Connector, Stop, clock};
use crate::plan::{Plan, PlanPart, silence};
use crate::report::run_dir::{RunDir, RunDirError};
use crate::report::stored::RunResult;
use crate::report::stored::convert::searched::Searched;
use crate::verdict::SearchVerdict;

/// The limits to search, and the bounds of the search.
#[derive(Debug)]
pub struct LimitSearch {
    /// The limits, with their expected values.
    pub request: LimitRequest,
    /// The budget of the search.
    pub bounds: SearchBudget,
    /// How long a reply may take.
    pub patience: Duration,
    /// A recipient that the listener refuses.
    pub bad_recipient: Option<String>,
}

/// The display of a search.
pub struct Reporting<'a> {
    /// Gets a line at the start of each limit.
    pub narration: &'a MessageSink,
    /// Gets the message that the listener is silent, which is always shown.
    pub messages: MessageSink,
}

impl LimitSearch {
    /// Searches the limits, and stores the result.
    ///
    /// # Errors
    /// The search could not start.
    pub fn run(
        &self,
        prepared: &Prepared,
        directory: RunDir,
        signals: &Signals,
        copies: &Copies,
        reporting: Reporting<'_>,
        fleet: Option<GatheredFleet>,
    ) -> Result<Finished, CommandError> {
        let plan = prepared.plan();
        let began = clock::now();
        let life = Life::begin(prepared, directory, &so_far(prepared, &[], began))?;
        copies.clear();
        life.load_begins(clock::now());
        // The processes of the fleet end after the search.
        let mut _kept = None;
        let mut probes: Box<dyn Probes> = match fleet {
            None => Box::new(self.own_probes(&life, signals, reporting.messages)?),
            Some(GatheredFleet { fleet, processes }) => {
                _kept = Some(processes);
                Box::new(self.probes_of(fleet, &life, signals, reporting.narration)?)
            }
        };
        let setting = LimitSetting {
            mail: plan.mail.clone().sized(),
            seed: plan.seed,
            run_id: plan.run_id.clone(),
            date: prepared.date(),
            script: plan.script.clone(),
            logged_in: !plan.logins.users.is_empty(),
            bad_recipient: self.bad_recipient.clone(),
            classifier: Classifier::new(plan.classify.clone()),
            patience: self.patience,
            bounds: self.bounds,
        };
        let mut watcher = LimitWatcher {
            narration: reporting.narration,
            found: Vec::new(),
            keep: &|found| life.directory.keep(&so_far(prepared, found, began)),
            stop: signals.stop.clone(),
        };
        let outcome = limit::search(probes.as_mut(), &setting, &self.request, &mut watcher);
        signals.over();
        drop(probes);
        Ok(life.finish(&[], |ledger| judged(prepared, outcome, began, ledger)))
    }

    /// Returns probes whose sessions this machine opens.
    fn own_probes(
        &self,
        life: &Life<'_>,
        signals: &Signals,
        messages: MessageSink,
    ) -> Result<NetworkProbes, CommandError> {
        let plan = life.prepared.plan();
        let connector = Connector::new(plan, life.embedded().as_ref())?;
        let mut probes = NetworkProbes::new(&connector)?.stopped_by(signals.stop.clone());
        let silent = silence::sentence(&plan.target, silence::first_step(plan));
        probes.on_silence(move || messages.say(&format!("smtpress: {silent}")));
        Ok(probes)
    }

    /// Returns probes whose sessions agents open. Each machine is a client host.
    fn probes_of(
        &self,
        fleet: Fleet,
        life: &Life<'_>,
        signals: &Signals,
        narration: &MessageSink,
    ) -> Result<FleetProbes, CommandError> {
        let part = PlanPart::Limits { patience: self.patience, sessions: self.bounds.sessions };
        let run = &life.prepared.plan().run_id;
        let probes = FleetProbes::prepare(fleet, run, &life.assignment()?, part, signals.stop.clone())?;
        narration.say(&format!("smtpress: client hosts: {}", probes.names().join(", ")));
        Ok(probes)
    }
}

/// Returns the result of a search with this outcome.
fn judged(
    prepared: &Prepared,
    outcome: SearchOutcome,
    began: Instant,
    ledger: Option<serde_json::Value>,
) -> RunResult {
    let plan = prepared.plan();
    let mut result = RunResult::searched(Searched {
        plan,
        profile_path: prepared.path.clone(),
        profile_sha256: prepared.compiled.sha256.clone(),
        started_at: prepared.started_at,
        took: clock::now() - began,
        verdict: verdict(&outcome, plan),
        ledger,
    });
    result.limits = outcome.results.into_iter().map(Into::into).collect();
    result
}

fn verdict(outcome: &SearchOutcome, plan: &Plan) -> SearchVerdict {
    let reply = |refusal: &ProbeRefusal| limit::reply_text(refusal.step, &refusal.event, None);
    match &outcome.ended {
        None => SearchVerdict::complete(!outcome.results.iter().any(LimitResult::fails)),
        Some(EndReason::Stopped) => SearchVerdict::stopped(),
        Some(EndReason::Unserved(refusal)) => {
            let silent = matches!(refusal.event, ProbeEvent::Silence);
            let hint = silent.then(|| silence::sentence(&plan.target, refusal.step));
            SearchVerdict::not_served(&reply(refusal), hint.as_deref())
        }
        Some(EndReason::Lost(after, refusal)) => SearchVerdict::listener_lost(after.name(), &reply(refusal)),
        Some(EndReason::Own(why)) => SearchVerdict::own_failure(why),
        Some(EndReason::Fault(kind, why)) => SearchVerdict::fault(kind.name(), why),
        Some(EndReason::Spent(what)) => SearchVerdict::budget_spent(what),
    }
}

/// Returns the result that is stored in case the search is cut off.
fn so_far(prepared: &Prepared, found: &[LimitResult], began: Instant) -> RunResult {
    let outcome = SearchOutcome { results: found.to_vec(), ended: Some(EndReason::Stopped) };
    judged(prepared, outcome, began, None)
}

/// Shows the next limit, and stores the results so far.
struct LimitWatcher<'a> {
    narration: &'a MessageSink,
    found: Vec<LimitResult>,
    keep: &'a dyn Fn(&[LimitResult]) -> Result<(), RunDirError>,
    stop: watch::Receiver<Stop>,
}

impl LimitObserver for LimitWatcher<'_> {
    fn starts(&mut self, kind: LimitKind, index: usize, count: usize) {
        self.narration.say(&format!("  [{}/{count}] {}: {} ...", index + 1, kind.name(), kind.how()));
    }

    fn measured(&mut self, result: &LimitResult) {
        self.found.push(result.clone());
        // A full disk is reported at the end, when the final result is stored.
        (self.keep)(&self.found).ok();
    }

    fn is_stopped(&self) -> bool {
        *self.stop.borrow() != Stop::Run
    }
}
