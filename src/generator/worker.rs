//! One thread of the generator: its shard of the load, its sessions, its books.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use tokio::sync::Notify;
use tokio::sync::watch;
use tokio::task::LocalSet;

use super::clock::Clock;
use super::connector::{Connector, ThreadConnector};
use super::dispatch::{Action, Dispatch, ScheduledArrival, SessionEnd};
use super::host::Host;
use super::loop_watch::LoopWatch;
use super::reachability::Reach;
use super::session;
use super::session_pool::SlotId;
use super::start_barrier::{BarrierState, StartBarriers};
use super::times::Times;
use super::transcript::Tapes;
use super::work::Notes;
use crate::collector::recorder::Recorder;
use crate::collector::snapshot::{Gauges, Hindrance, Snapshot};
use crate::collector::{Metric, Outcome};
use crate::condition::Classifier;
use crate::load::Shard;
use crate::mail::Mailer;
use crate::net::drive::Scratch;
use crate::net::timer::Alarm;
use crate::plan::Plan;

/// How far a run is to be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Not at all.
    Run,
    /// Start nothing more, let what is under way end.
    Drain,
    /// At once.
    Now,
}

/// Faults that a proof puts into the generator itself, to show that its measurements see them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Every thread stands still at this offset for this long (M5).
    pub block: Option<(Duration, Duration)>,
    /// Response times count from when an arrival was begun, not from when it was due: the mistake that M3, M4 and M5 are
    /// there to catch.
    pub anchors_at_start: bool,
}

/// What all workers of a run share.
pub(super) struct RunContext {
    pub plan: Arc<Plan>,
    pub mailer: Arc<Mailer>,
    pub connector: Connector,
    pub clock: Clock,
    /// Sessions open, by worker; each worker writes only its own.
    pub open: Vec<Gauge>,
    pub gates: StartBarriers,
    pub host: Host,
    /// When the run was stopped, if it was: what comes after is in no rate.
    pub stopped_at: OnceLock<Duration>,
    pub faults: Faults,
    pub reach: Reach,
    pub stop: watch::Receiver<Stop>,
}

/// A number of one thread that others read, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Gauge(AtomicU64);

/// What a worker tells the thread that adds up.
#[derive(Debug)]
pub(super) enum WorkerEvent {
    Second(Snapshot),
    /// Sessions that were taped and ended in that second: file stem and text.
    Transcripts(Vec<(String, String)>),
    WorkerReport(Box<WorkerReport>),
}

/// A worker's last words.
#[derive(Debug, Default)]
pub(super) struct WorkerReport {
    pub worker: u32,
    pub transcripts: Vec<(String, String)>,
    pub peaks: Vec<u64>,
    pub cpu: (Duration, Duration),
    /// By phase: when its last arrival ended.
    pub last_ends: Vec<Duration>,
    /// What was done of what was asked.
    pub notes: Notes,
    /// By phase: what kept the thread from running.
    pub hindrances: Vec<Hindrance>,
}

/// What the dispatcher tells a session that waits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Instruction {
    /// An arrival, and when it was decided that this session serves it.
    Serve(ScheduledArrival, Duration),
    Finish,
    Abort {
        /// Nothing needs the session any more.
        needless: bool,
    },
}

/// The letter box of one session.
#[derive(Default)]
pub(super) struct InstructionSlot {
    order: Cell<Option<Instruction>>,
    waker: Cell<Option<Waker>>,
}

impl InstructionSlot {
    fn post(&self, order: Instruction) {
        // An order to leave never waits behind another: what it replaces was not begun and is given back by the session.
        debug_assert!(!matches!(
            (self.order.get(), order),
            (Some(Instruction::Serve(..)), Instruction::Serve(..))
        ));
        if !matches!(self.order.get(), Some(Instruction::Serve(..)))
            || matches!(order, Instruction::Abort { .. })
        {
            self.order.set(Some(order));
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Takes the order, or arranges to be woken by the next.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<Instruction> {
        match self.order.take() {
            Some(order) => Poll::Ready(order),
            None => {
                let waker = self.waker.take().filter(|waker| waker.will_wake(cx.waker()));
                self.waker.set(Some(waker.unwrap_or_else(|| cx.waker().clone())));
                Poll::Pending
            }
        }
    }

    /// Takes an order that was not heard.
    pub fn take(&self) -> Option<Instruction> {
        self.order.take()
    }
}

/// In-flight arrivals of one phase over time (M20).
#[derive(Clone, Copy, Debug, Default)]
struct Occupancy {
    in_flight: u64,
    /// When it became so, within the phase's window.
    since: Duration,
}

/// One worker.
pub(super) struct Worker {
    pub index: u32,
    pub shared: Arc<RunContext>,
    pub connector: ThreadConnector,
    pub classifier: Classifier,
    pub scratch: Scratch,
    pub books: RefCell<Recorder>,
    pub tapes: RefCell<Tapes>,
    dispatch: RefCell<Dispatch>,
    mailboxes: RefCell<Vec<Rc<InstructionSlot>>>,
    occupancy: RefCell<Vec<Occupancy>>,
    peaks: RefCell<Vec<u64>>,
    last_ends: RefCell<Vec<Duration>>,
    pub notes: RefCell<Notes>,
    serial: Cell<u64>,
    woken: Notify,
    sessions: LocalSet,
}

impl Worker {
    /// The run's clock.
    pub fn now(&self) -> Duration {
        self.shared.clock.offset()
    }

    pub fn plan(&self) -> &Plan {
        &self.shared.plan
    }

    /// The number of the next session of this worker, unique in the run.
    pub fn next_serial(&self) -> u64 {
        let serial = self.serial.get();
        self.serial.set(serial + self.shared.open.len() as u64);
        serial
    }

    /// A session opens a socket.
    pub fn session_opened(&self, phase: u32) {
        self.books.borrow_mut().counts(phase).opened += 1;
        self.shared.open[self.index as usize].0.fetch_add(1, Ordering::Relaxed);
        let open = self.open_sessions();
        let mut peaks = self.peaks.borrow_mut();
        let peak = &mut peaks[phase as usize];
        *peak = open.max(*peak);
    }

    /// A session's socket is closed.
    pub fn session_closed(&self) {
        self.shared.open[self.index as usize].0.fetch_sub(1, Ordering::Relaxed);
    }

    /// When a phase ends, if it ends by time.
    pub fn phase_end(&self, phase: u32) -> Option<Duration> {
        self.dispatch.borrow().window(phase).1
    }

    /// Sessions open over all workers.
    pub fn open_sessions(&self) -> u64 {
        self.shared.open.iter().map(|gauge| gauge.0.load(Ordering::Relaxed)).sum()
    }

    /// An arrival begins.
    pub fn begin(&self, phase: u32, at: Duration) {
        self.enter(phase, at);
        self.started(phase, at);
    }

    /// An arrival is under way from now on, and begins if it can: see [`Worker::started`] and [`Worker::failed_to_start`].
    pub fn enter(&self, phase: u32, at: Duration) {
        let area = self.occupy(phase, at, 1);
        self.books.borrow_mut().counts(phase).in_flight_ns += area;
        let open = self.open_sessions();
        let mut peaks = self.peaks.borrow_mut();
        let peak = &mut peaks[phase as usize];
        *peak = open.max(*peak);
    }

    /// An arrival that is under way has begun, at this time.
    pub fn started(&self, phase: u32, at: Duration) {
        let late = self.is_drained(phase, at);
        let mut books = self.books.borrow_mut();
        let counts = books.counts(phase);
        counts.started += 1;
        counts.drained.started += u64::from(late);
    }

    /// A transaction of a phase begins: MAIL was written.
    pub fn transaction_begun(&self, phase: u32, at: Duration) {
        let late = self.is_drained(phase, at);
        let mut books = self.books.borrow_mut();
        let counts = books.counts(phase);
        counts.attempted += 1;
        counts.drained.attempted += u64::from(late);
    }

    /// A transaction of a phase ended so.
    pub fn transaction_over(&self, phase: u32, at: Duration, outcome: Outcome) {
        let late = self.is_drained(phase, at);
        let mut books = self.books.borrow_mut();
        let counts = books.counts(phase);
        counts.transactions.add(outcome);
        if late {
            counts.drained.transactions.add(outcome);
        }
    }

    /// Whether this is after the window of a phase, so that it is in none of its rates (M21).
    pub fn is_drained(&self, phase: u32, at: Duration) -> bool {
        let (_, end) = self.dispatch.borrow().window(phase);
        let stopped = self.shared.stopped_at.get().copied();
        end.into_iter().chain(stopped).any(|end| at > end)
    }

    /// An arrival that is under way could not begin, by a failure of our own: it is shed (M24).
    pub fn failed_to_start(&self, due: ScheduledArrival, entered: Duration) {
        let now = self.now();
        let area = self.occupy(due.phase, now, -1);
        let mut books = self.books.borrow_mut();
        let counts = books.counts(due.phase);
        counts.arrivals.add(Outcome::Shed);
        counts.in_flight_ns += area;
        counts.service_ns += now.saturating_sub(entered).as_nanos();
    }

    /// An arrival that began ends.
    pub fn end(&self, due: ScheduledArrival, times: &Times, outcome: Outcome) {
        let Times { ended, .. } = *times;
        let area = self.occupy(due.phase, ended, -1);
        let late = self.is_drained(due.phase, ended);
        let mut books = self.books.borrow_mut();
        let nanos = |length: Duration| u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        let parts = match self.shared.faults.anchors_at_start {
            true => times.parts(ScheduledArrival { intended: times.begun(), noticed: times.begun(), ..due }),
            false => times.parts(due),
        };
        for (metric, length) in [
            (Metric::Response, parts.response()),
            (Metric::Service, parts.service),
            (Metric::Lag, parts.lag),
            (Metric::Wait, parts.wait),
            (Metric::Setup, parts.setup),
        ] {
            books.value(due.phase, metric, outcome, nanos(length));
        }
        let counts = books.counts(due.phase);
        counts.arrivals.add(outcome);
        if late {
            counts.drained.arrivals.add(outcome);
        }
        counts.service_ns += (parts.setup + parts.service).as_nanos();
        counts.in_flight_ns += area;
        let last = &mut self.last_ends.borrow_mut()[due.phase as usize];
        *last = ended.max(*last);
    }

    /// An arrival ends for which no session could be opened, though one was tried from `tried` on.
    fn charge(&self, due: ScheduledArrival, tried: Duration, outcome: Outcome) {
        if outcome == Outcome::Shed {
            self.books.borrow_mut().counts(due.phase).arrivals.add(Outcome::Shed);
            return;
        }
        let now = self.now();
        self.begin(due.phase, now);
        self.notes.borrow_mut().charged(due.phase, due.intended, outcome);
        self.end(due, &Times { decided: tried, opened: Some(tried), served: None, ended: now }, outcome);
        // It was under way since then, though nobody knew yet which one it would be.
        self.books.borrow_mut().counts(due.phase).in_flight_ns += now.saturating_sub(tried).as_nanos();
    }

    /// Brings the area under the number in flight up to date, within the phase's window; returns what is new, in ns.
    fn occupy(&self, phase: u32, at: Duration, change: i64) -> u128 {
        let (start, end) = self.dispatch.borrow().window(phase);
        let at = at.clamp(start, end.unwrap_or(Duration::MAX).max(start));
        let mut occupancy = self.occupancy.borrow_mut();
        let phase = &mut occupancy[phase as usize];
        let area = at.saturating_sub(phase.since).as_nanos() * u128::from(phase.in_flight);
        phase.since = at.max(phase.since);
        phase.in_flight = phase.in_flight.saturating_add_signed(change);
        area
    }

    /// The next arrival for a session of the pool.
    pub fn next_message(&self, now: Duration, slot: SlotId, early: bool) -> Option<ScheduledArrival> {
        self.dispatch.borrow_mut().next_message(now, slot, early, &mut self.books.borrow_mut())
    }

    pub fn rest(&self, now: Duration, slot: SlotId) {
        // What closed loads or the end of the run have for it is decided by the pump. It is not woken for nothing: that would
        // be a timer set anew, and so a system call, for each message of an open load.
        if self.dispatch.borrow_mut().rest(now, slot) {
            self.woken.notify_one();
        }
    }

    pub fn established(&self, slot: SlotId) {
        self.dispatch.borrow_mut().established(slot);
        self.woken.notify_one();
    }

    pub fn arrival_over(&self, slot: SlotId) {
        self.dispatch.borrow_mut().arrival_over(slot);
    }

    pub fn give_back(&self, slot: SlotId, due: ScheduledArrival) {
        self.dispatch.borrow_mut().give_back(slot, due, &mut self.books.borrow_mut());
        self.woken.notify_one();
    }

    /// The listener has served a session; see [`Dispatch::served`].
    pub fn served(&self, slot: SlotId) {
        self.dispatch.borrow_mut().served(self.now(), slot);
    }

    /// A session is over; see [`Dispatch::over`].
    pub fn session_over(&self, slot: SlotId, end: SessionEnd) {
        self.dispatch.borrow_mut().over(self.now(), slot, end, &mut self.books.borrow_mut());
        self.woken.notify_one();
    }

    /// Does what the dispatcher decides.
    fn pump(self: &Rc<Self>) {
        let now = self.now();
        self.dispatch.borrow_mut().advance(now, &mut self.books.borrow_mut());
        loop {
            let Some(action) = self.dispatch.borrow_mut().action() else { return };
            match action {
                Action::Open { slot, phase, purpose } => {
                    let mailbox = Rc::new(InstructionSlot::default());
                    let mut mailboxes = self.mailboxes.borrow_mut();
                    if mailboxes.len() <= slot as usize {
                        mailboxes.resize_with(slot as usize + 1, Rc::default);
                    }
                    mailboxes[slot as usize] = mailbox.clone();
                    self.sessions.spawn_local(session::run(self.clone(), slot, phase, purpose, now, mailbox));
                }
                Action::Serve { slot, due } => self.post(slot, Instruction::Serve(due, now)),
                Action::Finish(slot) => self.post(slot, Instruction::Finish),
                Action::Abort { slot, needless } => self.post(slot, Instruction::Abort { needless }),
                Action::Charge { due, tried, outcome } => self.charge(due, tried, outcome),
                Action::Ready(phase) => self.shared.gates.ready(phase, now),
                Action::GiveUp { phase, since } => self.notes.borrow_mut().given_up(phase, now, since),
                Action::StoodStill { phase, length } => self.notes.borrow_mut().stood_still(phase, length),
                Action::Forgo(phase) => self.shared.gates.forgo(phase),
            }
        }
    }

    /// Goes by the gates as they are now.
    fn heed(&self, gates: &[BarrierState]) {
        let mut dispatch = self.dispatch.borrow_mut();
        for (phase, state) in (0..).zip(gates) {
            match *state {
                BarrierState::Shut { .. } => {}
                BarrierState::Open(at) => dispatch.open_gate(phase, at),
                BarrierState::Forgone => dispatch.forgo(phase),
            }
        }
    }

    fn post(&self, slot: SlotId, order: Instruction) {
        let mailbox = self.mailboxes.borrow()[slot as usize].clone();
        mailbox.post(order);
    }

    fn gauges(&self) -> Gauges {
        let (sessions, in_flight, waiting) = self.dispatch.borrow().gauges();
        let peak_sessions = self.peaks.borrow().iter().copied().max().unwrap_or(0);
        Gauges { sessions, peak_sessions, in_flight, waiting }
    }

    fn snapshot(&self, second: u64, last: bool) -> Snapshot {
        let gauges = self.gauges();
        let at = Duration::from_secs(second + 1).min(self.now());
        for phase in 0..u32::try_from(self.plan().phases.len()).expect("phases are few") {
            let area = self.occupy(phase, at, 0);
            self.books.borrow_mut().counts(phase).in_flight_ns += area;
        }
        self.books.borrow_mut().snapshot(second, gauges, last)
    }
}

/// Runs one worker on the current thread until its shard is done, telling `tell` once a second.
///
/// # Errors
/// No descriptor is left for the runtime or its timer.
pub(super) fn run(
    index: u32,
    shard: Shard,
    shared: Arc<RunContext>,
    tell: &SyncSender<WorkerEvent>,
    emptied: &std::sync::mpsc::Receiver<Snapshot>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let phases = shared.plan.phases.len();
    let worker = Rc::new(Worker {
        index,
        // It was tried before the threads were started.
        connector: shared.connector.on_thread().map_err(std::io::Error::other)?,
        classifier: Classifier::new(shared.plan.classify.clone()),
        scratch: Scratch::new(),
        books: RefCell::new(Recorder::new(phases, index)),
        tapes: RefCell::default(),
        dispatch: RefCell::new(Dispatch::new(shared.plan.clone(), shard)),
        mailboxes: RefCell::default(),
        occupancy: RefCell::new(vec![Occupancy::default(); phases]),
        peaks: RefCell::new(vec![0; phases]),
        last_ends: RefCell::new(vec![Duration::ZERO; phases]),
        notes: RefCell::new(Notes::new(phases)),
        serial: Cell::new(u64::from(index)),
        woken: Notify::new(),
        sessions: LocalSet::new(),
        shared,
    });
    let usage = || {
        let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("a thread can ask for its own usage");
        let of = |time: nix::sys::time::TimeVal| {
            Duration::new(time.tv_sec().unsigned_abs(), u32::try_from(time.tv_usec()).unwrap_or(0) * 1000)
        };
        (of(usage.user_time()), of(usage.system_time()))
    };
    let paced = runtime.block_on(worker.sessions.run_until(pace(worker.clone(), tell, emptied)));
    let (hindrances, outcome) = match paced {
        Ok(hindrances) => (hindrances, Ok(())),
        Err(error) => (Vec::new(), Err(error)),
    };
    let over = WorkerReport {
        worker: index,
        transcripts: worker.tapes.borrow_mut().take(),
        peaks: worker.peaks.borrow().clone(),
        cpu: usage(),
        last_ends: worker.last_ends.borrow().clone(),
        notes: worker.notes.take(),
        hindrances,
    };
    // The receiver is only gone when the run is given up as a whole.
    tell.send(WorkerEvent::WorkerReport(Box::new(over))).ok();
    outcome
}

/// The worker's own loop: wakes when something is due, when a session is done, at each second, and when the run is stopped;
/// and a hundred times a second, to see whether it still does. Returns what kept it from that, by phase.
async fn pace(
    worker: Rc<Worker>,
    tell: &SyncSender<WorkerEvent>,
    emptied: &std::sync::mpsc::Receiver<Snapshot>,
) -> std::io::Result<Vec<Hindrance>> {
    let mut pacer = Alarm::new()?;
    let mut stop = worker.shared.stop.clone();
    let mut gates = worker.shared.gates.watch();
    // What others told before we listened.
    gates.mark_changed();
    let mut stopped = Stop::Run;
    let mut orphaned = false;
    pacer.sleep(worker.shared.clock.until_epoch()).await?;
    let mut second = 0;
    let mut block = worker.shared.faults.block;
    let host = (worker.index == 0).then(|| worker.shared.host.clone());
    let mut watch = LoopWatch::new(worker.plan().phases.len(), host);
    loop {
        if let Some((_, length)) = block.take_if(|(at, _)| *at <= worker.now()) {
            std::thread::sleep(length);
        }
        watch.turn(worker.now(), |now| worker.dispatch.borrow().phase_at(now));
        // Nobody is left who could ask.
        let asked = if orphaned { Stop::Now } else { *stop.borrow_and_update() };
        if asked > stopped {
            stopped = asked;
            let now = worker.now();
            let phase = worker.dispatch.borrow().phase_at(now);
            let grace = worker.plan().phases[phase as usize].graceful_stop;
            let by = if asked == Stop::Now { now } else { now + grace };
            worker.dispatch.borrow_mut().stop(by, &mut worker.books.borrow_mut());
        }
        if gates.has_changed().unwrap_or(false) {
            worker.heed(&gates.borrow_and_update());
        }
        worker.pump();
        let now = worker.now();
        if now.as_secs() > second {
            let snapshot = worker.snapshot(now.as_secs() - 1, false);
            tell.send(WorkerEvent::Second(snapshot)).ok();
            let transcripts = worker.tapes.borrow_mut().take();
            if !transcripts.is_empty() {
                tell.send(WorkerEvent::Transcripts(transcripts)).ok();
            }
            second = now.as_secs();
            while let Ok(old) = emptied.try_recv() {
                worker.books.borrow_mut().reclaim(old);
            }
        }
        if worker.dispatch.borrow_mut().is_done(now) {
            tell.send(WorkerEvent::Second(worker.snapshot(now.as_secs(), true))).ok();
            return Ok(watch.finish(now));
        }
        let own = watch.due().min(Duration::from_secs(second + 1));
        let wake = worker.dispatch.borrow_mut().next_wake().map_or(own, |wake| wake.min(own));
        tokio::select! {
            biased;
            slept = pacer.sleep(wake.saturating_sub(worker.now())) => slept?,
            () = worker.woken.notified() => {}
            changed = stop.changed(), if !orphaned => orphaned = changed.is_err(),
            Ok(()) = gates.changed() => gates.mark_changed(),
        }
    }
}
