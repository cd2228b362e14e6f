//! The Runner on this machine: starts the threads, adds up their counts, and measures the resources of this process.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use tokio::sync::watch;

use super::clock::{self, Clock};
use super::connector::{Connector, EmbeddedListener};
use super::context::{OpenSessions, RunContext};
use super::dispatch::ConnectRates;
use super::host::Host;
use super::meter::ProcessMeter;
use super::preflight;
use super::reachability::{self, Reach};
use super::runner::{Control, Observer, RunError, RunStart, Runner, Stop};
use super::start_barrier::StartBarriers;
use super::work::{self, Notes, PhaseWindow};
use super::worker::{self, WorkerEvent, WorkerReport};
use crate::collector::backlog::BacklogSeries;
use crate::collector::slices::Slices;
use crate::collector::snapshot::{Gauges, Hindrance, Interval, Measured, Snapshot};
use crate::collector::tally::Tally;
use crate::collector::work::Work;
use crate::condition;
use crate::load::Shard;
use crate::mail::Mailer;
use crate::net::address::Transport;
use crate::net::dial::{ConnectFault, Destination, Resolve, SystemResolver};
use crate::net::source;
use crate::plan::Plan;

/// The time between the start of a run and its epoch: enough for all threads to start.
const LEAD: Duration = Duration::from_millis(50);
/// The same time if each thread must set up TLS first ([`Connector::on_thread`]).
const LEAD_OF_TLS: Duration = Duration::from_millis(300);
/// The largest number of worker events that wait to be added up.
const MOST_EVENTS: usize = 1024;
/// A worker that has not ended and reports nothing for this long is lost.
const SILENCE: Duration = Duration::from_secs(30);
/// The interval at which the state of the run is checked.
const LOOK: Duration = Duration::from_millis(100);

/// The Runner whose workers are threads of this process.
#[derive(Debug)]
pub struct Local {
    stop: watch::Receiver<Stop>,
    asked: Option<watch::Sender<Stop>>,
    embedded: Option<EmbeddedListener>,
    resolver: Arc<dyn Resolve>,
    stall: Option<(Duration, Duration)>,
    checks: bool,
    date: String,
    starts_at: Option<Instant>,
}

impl Local {
    /// Returns a runner that stops as `stop` asks. `date`: the Date of all messages (RFC 5322).
    pub fn new(stop: watch::Receiver<Stop>, date: String) -> Local {
        Local {
            stop,
            asked: None,
            embedded: None,
            resolver: Arc::new(SystemResolver),
            stall: None,
            checks: false,
            date,
            starts_at: None,
        }
    }

    /// Sets the address of the embedded listener.
    #[must_use]
    pub fn with_listener(mut self, place: impl Into<Destination>) -> Local {
        self.embedded = Some(EmbeddedListener { place: place.into(), certificate: None });
        self
    }

    /// Sets the embedded listener's certificate, which is trusted unless the plan names authorities.
    #[must_use]
    pub fn with_certificate(mut self, certificate: Option<CertificateDer<'static>>) -> Local {
        if let Some(embedded) = &mut self.embedded {
            embedded.certificate = certificate;
        }
        self
    }

    /// Sets the epoch of the next run, for a common start with other processes. An epoch in the past leaves the threads
    /// no time to get ready.
    #[must_use]
    pub fn starting_at(mut self, epoch: Instant) -> Local {
        self.starts_at = Some(epoch);
        self
    }

    /// Sets the resolver of names.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Arc<dyn Resolve>) -> Local {
        self.resolver = resolver;
        self
    }

    /// Makes every thread stand still at an offset and for a length, to prove that the measurements show it (M5).
    #[must_use]
    pub fn with_stall(mut self, stall: Option<(Duration, Duration)>) -> Local {
        self.stall = stall;
        self
    }

    /// Makes a run end at once, with [`super::preflight::PreflightError::Unreachable`], if its first session cannot
    /// reach the target. A runner that has reached the target once does not check later runs.
    #[must_use]
    pub fn with_reachability_check(mut self) -> Local {
        self.checks = true;
        self
    }
}

/// Returns the number of threads for a plan: each thread needs at least one session.
fn threads(plan: &Plan) -> u32 {
    // Each shard has its own part of the sessions.
    let usable = (plan.sessions_to_share() / u64::from(plan.shard.of.max(1))).max(1);
    u32::try_from(u64::from(plan.threads.max(1)).min(usable)).unwrap_or(1)
}

impl Runner for Local {
    fn run(&mut self, plan: &Plan, observer: &mut dyn Observer) -> Result<Measured, RunError> {
        let threads = threads(plan);
        let connector = Connector::new(plan, self.embedded.as_ref())?.with_resolver(self.resolver.clone());
        condition::prepare();
        let lead = if connector.speaks_tls() { LEAD_OF_TLS } else { LEAD };
        let epoch = self.starts_at.take().unwrap_or_else(|| clock::now() + lead);
        let lead = epoch.saturating_duration_since(clock::now());
        let clock = Clock::new(epoch);
        let (ask, stop) = watch::channel(*self.stop.borrow());
        let shared = Arc::new(RunContext {
            plan: connector.plan().clone(),
            mailer: Arc::new(Mailer::new(&plan.mail, plan.seed, &plan.run_id, &self.date)),
            connector,
            clock,
            open: (0..threads).map(|_| OpenSessions::default()).collect(),
            barriers: StartBarriers::new(plan.phases.len(), threads),
            connect_rates: Arc::new(ConnectRates::new(plan)),
            host: Host::find(),
            stopped_at: OnceLock::new(),
            stall: self.stall,
            reach: Reach::new(self.checks && !plan.target.is_embedded(), plan.script.timeouts.connect),
            stop,
        });
        self.asked = Some(ask);
        let phases = shared.clone();
        let mut run = LocalRun::start(shared, plan, clock, lead)?;
        observer.begins(&RunStart { clock, phase: Arc::new(move |index| phases.load_start(index)) });
        run.attend(self, observer);
        if let Some(fault) = run.unreached {
            run.join();
            return Err(preflight::unreachable(plan, fault, fault.to_string()).into());
        }
        self.checks = false;
        Ok(run.finish(plan, *self.stop.borrow() > Stop::Run))
    }
}

/// Abandons the start barriers when a worker ends for any reason, so that no other worker waits for this worker.
struct Leaving(Arc<RunContext>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.barriers.abandon_all();
    }
}

/// A run in progress.
struct LocalRun {
    clock: Clock,
    /// The time between the start of the run and its epoch.
    lead: Duration,
    shared: Arc<RunContext>,
    started_wall: std::time::SystemTime,
    /// The wall-clock time of the epoch, since the Unix epoch.
    began_at: Duration,
    events: Receiver<WorkerEvent>,
    emptied: Vec<Sender<Snapshot>>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    /// Snapshots of seconds that not all workers have reported yet.
    waiting: Vec<Snapshot>,
    /// By worker: the last second that it reported; `u64::MAX` after its last report.
    seconds: Vec<Option<u64>>,
    /// By worker: its final report.
    reports: Vec<Option<WorkerReport>>,
    transcripts: Vec<(String, String)>,
    next_second: u64,
    total: Tally,
    gauges: Gauges,
    aborted_by: Option<String>,
    /// Why the first session could not reach the target, if so.
    unreached: Option<ConnectFault>,
    health: ProcessMeter,
    /// See [`SILENCE`].
    most_silence: Duration,
}

impl LocalRun {
    fn start(
        shared: Arc<RunContext>,
        plan: &Plan,
        clock: Clock,
        lead: Duration,
    ) -> Result<LocalRun, RunError> {
        let count = u32::try_from(shared.open.len()).expect("threads are few");
        let (sender, events) = mpsc::sync_channel(MOST_EVENTS);
        let mut run = LocalRun {
            clock,
            lead,
            shared: shared.clone(),
            started_wall: clock::wall(),
            began_at: clock.wall_of_epoch(),
            events,
            emptied: Vec::new(),
            threads: Vec::new(),
            waiting: Vec::new(),
            seconds: vec![None; count as usize],
            reports: (0..count).map(|_| None).collect(),
            transcripts: Vec::new(),
            next_second: 0,
            total: Tally::new(plan.phases.len()),
            gauges: Gauges::default(),
            aborted_by: None,
            unreached: None,
            health: ProcessMeter::new(f64::from(count).min(shared.host.cores())),
            most_silence: SILENCE,
        };
        for index in 0..count {
            let shard = Shard { index: plan.shard.index + plan.shard.of * index, of: plan.shard.of * count };
            let (sender, shared) = (sender.clone(), shared.clone());
            let (empty, emptied) = mpsc::channel();
            run.emptied.push(empty);
            let body = move || {
                let _leaving = Leaving(shared.clone());
                worker::run(index, shard, shared, &sender, &emptied)
            };
            run.threads.push(std::thread::Builder::new().name(format!("load-{index}")).spawn(body)?);
        }
        Ok(run)
    }

    /// Adds up the counts of the workers until all workers have ended or are lost.
    fn attend(&mut self, local: &mut Local, observer: &mut dyn Observer) {
        let mut silent = vec![Duration::ZERO; self.reports.len()];
        let mut looked = clock::now();
        while self.is_awaited(&silent) {
            self.pass_on_stop(local);
            if self.unreached.is_none() {
                self.unreached = self.shared.reach.failure(self.clock.offset());
                if let (Some(_), Some(ask)) = (self.unreached, &local.asked) {
                    ask.send_replace(Stop::Now);
                }
            }
            match self.events.recv_timeout(LOOK) {
                Ok(WorkerEvent::Second(snapshot)) => {
                    let worker = snapshot.worker as usize;
                    silent[worker] = Duration::ZERO;
                    self.seconds[worker] = Some(snapshot.second);
                    if snapshot.last {
                        self.seconds[worker] = Some(u64::MAX);
                    }
                    self.waiting.push(snapshot);
                    self.close_seconds(local, observer);
                }
                Ok(WorkerEvent::Transcripts(transcripts)) => {
                    observer.transcripts(&transcripts);
                    self.transcripts.extend(transcripts);
                }
                Ok(WorkerEvent::Ended(report)) => {
                    let index = report.worker as usize;
                    self.seconds[index] = Some(u64::MAX);
                    self.reports[index] = Some(*report);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = clock::now();
            // A standstill of this thread is no silence of the workers.
            let passed = (now - looked).min(2 * LOOK);
            looked = now;
            if self.clock.until_epoch().is_zero() {
                silent.iter_mut().for_each(|silent| *silent += passed);
                self.lose_silent(&silent);
                self.close_seconds(local, observer);
            }
        }
        // If a worker is lost, the counts of the other workers are kept.
        self.seconds.fill(Some(u64::MAX));
        self.close_seconds(local, observer);
    }

    /// Whether a worker has not ended and is not lost.
    fn is_awaited(&self, silent: &[Duration]) -> bool {
        let mut workers = self.reports.iter().zip(silent);
        workers.any(|(report, silent)| report.is_none() && *silent < self.most_silence)
    }

    /// Lets the seconds of the other workers end without those of a lost worker.
    fn lose_silent(&mut self, silent: &[Duration]) {
        for (second, silent) in self.seconds.iter_mut().zip(silent) {
            if *silent >= self.most_silence {
                *second = Some(u64::MAX);
            }
        }
    }

    fn pass_on_stop(&mut self, local: &Local) {
        let Some(ask) = &local.asked else { return };
        let asked = *local.stop.borrow();
        if asked > *ask.borrow() {
            self.stopped();
            ask.send_replace(asked);
        }
    }

    /// Notes that the run is stopped now, unless that is noted already.
    fn stopped(&self) {
        self.shared.stopped_at.get_or_init(|| self.clock.offset());
    }

    /// Passes every second that all workers have reported to the observer.
    fn close_seconds(&mut self, local: &Local, observer: &mut dyn Observer) {
        while let Some(all) = self.seconds.iter().copied().min().flatten()
            && self.next_second <= all
            && self.waiting.iter().any(|snapshot| snapshot.second >= self.next_second)
        {
            let second = self.next_second;
            self.next_second += 1;
            let (now, later): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.waiting).into_iter().partition(|snapshot| snapshot.second <= second);
            self.waiting = later;
            let mut tally = Tally::new(self.total.phases.len());
            let mut gauges = Gauges::default();
            let mut transactions = Vec::new();
            for mut snapshot in now {
                transactions.append(&mut snapshot.transactions);
                tally += &snapshot.tally;
                gauges.sessions += snapshot.gauges.sessions;
                gauges.in_flight += snapshot.gauges.in_flight;
                gauges.waiting += snapshot.gauges.waiting;
                gauges.retrying += snapshot.gauges.retrying;
                gauges.peak_sessions = gauges.peak_sessions.max(snapshot.gauges.peak_sessions);
                // The send fails if the worker has ended and needs no memory back.
                self.emptied[snapshot.worker as usize].send(snapshot).ok();
            }
            gauges.peak_sessions = gauges.peak_sessions.max(self.gauges.peak_sessions);
            self.gauges = gauges;
            self.total += &tally;
            let start = Duration::from_secs(second);
            let length = Duration::from_secs(1).min(self.clock.offset().saturating_sub(start));
            self.health.second(gauges.sessions);
            let interval = Interval { start, length, tally, transactions, gauges };
            if let Control::Stop(reason) = observer.interval(&interval, &self.total) {
                self.aborted_by.get_or_insert(reason);
                self.stopped();
                if let Some(ask) = &local.asked {
                    ask.send_if_modified(|stop| {
                        std::mem::replace(stop, (*stop).max(Stop::Drain)) < Stop::Drain
                    });
                }
            }
        }
    }

    /// Waits for the threads of a run whose result is dropped.
    fn join(self) {
        for (thread, report) in self.threads.into_iter().zip(&self.reports) {
            // A lost worker may hang; the end of the process frees what it holds.
            if report.is_some() {
                thread.join().ok();
            }
        }
    }

    /// Returns the times of each phase, and the work that it did.
    fn phase_times(
        &self,
        plan: &Plan,
        reports: &[WorkerReport],
        took: Duration,
        interrupted: bool,
    ) -> PhaseTimes {
        let notes: Vec<Notes> = reports.iter().map(|report| report.account.notes.clone()).collect();
        let mut times = PhaseTimes::default();
        let mut at = Duration::ZERO;
        let end = self.shared.stopped_at.get().copied().unwrap_or(Duration::MAX);
        for (index, phase) in plan.phases.iter().enumerate() {
            let last = greatest(reports, |report| report.account.last_ends.get(index));
            let used_up = phase.load.model.total().is_some();
            let over = at.saturating_add(phase.load.length.unwrap_or(Duration::MAX));
            // With a start barrier the load starts when the barrier opens; if it never opens, there is no window.
            let opened = self.shared.barriers.opened(index);
            let shut = phase.open_first && opened.is_none();
            let start = opened.unwrap_or(at);
            let ended = if used_up { last.max(start) } else { over };
            let mut span = PhaseWindow {
                start,
                end: over.min(ended).min(end).min(took),
                scheduled: self.total.phases[index].counts.scheduled,
                held_back: shut,
                vanished: false,
            };
            let is_last = index + 1 == plan.phases.len() && !interrupted;
            if is_last && work::is_open_question(index, span, &notes) {
                span.vanished = !reachability::still_listens(&self.shared.connector);
            }
            let window = if shut { Duration::ZERO } else { over.min(ended).min(end).saturating_sub(start) };
            times.starts.push(start);
            times.windows.push(window);
            times.held_back.push(shut);
            times.work.push(work::work(plan, index, span, &notes));
            times.drained_for.push(last.saturating_sub(start + window));
            at = over;
        }
        times
    }

    fn finish(mut self, plan: &Plan, interrupted: bool) -> Measured {
        let took = self.clock.offset();
        let wall = clock::wall().duration_since(self.started_wall).unwrap_or_default();
        let lost = self.reports.iter().filter(|report| report.is_none()).count();
        let failed = std::mem::take(&mut self.threads)
            .into_iter()
            // A lost worker may hang; the end of the process frees what it holds.
            .enumerate()
            .filter(|(index, _)| self.reports[*index].is_some())
            .map(|(_, thread)| thread)
            .map(JoinHandle::join)
            .filter(|ended| !matches!(ended, Ok(Ok(()))))
            .count();
        let mut reports: Vec<WorkerReport> = self.reports.iter_mut().filter_map(Option::take).collect();
        let mut backlog = BacklogSeries::default();
        reports.iter_mut().for_each(|report| backlog.add(std::mem::take(&mut report.backlog)));
        let mut slices = Slices::default();
        reports.iter().for_each(|report| slices += &report.account.slices);
        let PhaseTimes { starts, windows, held_back, work, drained_for } =
            self.phase_times(plan, &reports, took, interrupted);
        let peak = |phase: usize| greatest(&reports, |report| report.account.peak_sessions.get(phase));
        let cpu = reports.iter().fold((Duration::ZERO, Duration::ZERO), |sum, report| {
            (sum.0 + report.cpu.0, sum.1 + report.cpu.1)
        });
        let opened = self.total.phases.iter().map(|phase| phase.counts.opened).sum();
        let ports = ports_used(plan, opened);
        let mut health = self.health.health(&starts, &windows, cpu, took, ports);
        // The wall clock was read at the start of the threads, before the epoch.
        health.clock_drift_ns = u64::try_from(wall.abs_diff(took + self.lead).as_nanos()).unwrap_or(u64::MAX);
        health.hindrances = hindrances(&reports, plan.phases.len());
        health.lost_workers = u32::try_from(lost.max(failed)).unwrap_or(u32::MAX);
        Measured {
            peak_sessions: (0..plan.phases.len()).map(peak).collect(),
            gauges: self.gauges,
            backlog,
            tally: self.total,
            windows,
            starts,
            held_back,
            work,
            drained_for,
            began_at: self.began_at,
            health,
            interrupted,
            aborted_by: self.aborted_by,
            took,
            events: Vec::new(),
            slices,
            delivered: None,
            agents: Vec::new(),
            starts_apart: Vec::new(),
            transcripts: self
                .transcripts
                .into_iter()
                .chain(reports.into_iter().flat_map(|report| report.account.transcripts))
                .collect(),
        }
    }
}

/// The times of the phases of a run, by index: see [`Measured`].
#[derive(Default)]
struct PhaseTimes {
    starts: Vec<Duration>,
    windows: Vec<Duration>,
    held_back: Vec<bool>,
    work: Vec<Work>,
    drained_for: Vec<Duration>,
}

fn greatest<T: Ord + Copy + Default>(
    reports: &[WorkerReport],
    value: impl Fn(&WorkerReport) -> Option<&T>,
) -> T {
    reports.iter().filter_map(value).max().copied().unwrap_or_default()
}

/// Returns the largest number of local ports that this many connections can have used.
fn ports_used(plan: &Plan, connections: u64) -> u64 {
    let addresses = plan.origin.bound().map_or(1, |sources| u64::try_from(sources.len()).unwrap_or(u64::MAX));
    match plan.target.transport {
        Transport::Unix { .. } => 0,
        Transport::Tcp { .. } | Transport::Embedded => {
            source::ports_used(connections, addresses, source::ports())
        }
    }
}

/// Returns what kept the worst thread from running, by phase.
fn hindrances(reports: &[WorkerReport], phases: usize) -> Vec<Hindrance> {
    let of = |phase: usize| reports.iter().filter_map(move |report| report.hindrances.get(phase).copied());
    (0..phases).map(|phase| of(phase).reduce(Hindrance::worst).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests;
