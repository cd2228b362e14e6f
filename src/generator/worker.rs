//! The loop of one generator thread: follows the clock and carries out the dispatcher's decisions.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use tokio::task::LocalSet;

use super::accounting::{Accounting, FinalAccount};
use super::context::RunContext;
use super::dispatch::{Action, AttemptEnd};
use super::loop_watch::LoopWatch;
use super::runner::Stop;
use super::session::Session;
use super::session_pool::{Instruction, SessionPool};
use crate::collector::backlog::BacklogSeries;
use crate::collector::snapshot::{Gauges, Hindrance, Snapshot};
use crate::load::Shard;
use crate::net::timer::Alarm;

/// An event that a worker sends to the thread that adds up the counts of all workers.
#[derive(Debug)]
pub(super) enum WorkerEvent {
    /// The counts of a second.
    Second(Snapshot),
    /// Transcripts of sessions that ended in the second: file stem and text.
    Transcripts(Vec<(String, String)>),
    /// The worker has ended.
    Ended(Box<WorkerReport>),
}

/// The final report of a worker.
#[derive(Debug)]
pub(super) struct WorkerReport {
    pub worker: u32,
    /// User and system time.
    pub cpu: (Duration, Duration),
    /// What kept the thread from running, by phase.
    pub hindrances: Vec<Hindrance>,
    pub backlog: BacklogSeries,
    pub account: FinalAccount,
}

/// Runs worker `index` on the current thread until its shard is done, and sends an event each second. `emptied`:
/// snapshots whose memory can be used again.
///
/// # Errors
/// No descriptor is left for the runtime or its timer.
pub(super) fn run(
    index: u32,
    shard: Shard,
    context: Arc<RunContext>,
    events: &SyncSender<WorkerEvent>,
    emptied: &Receiver<Snapshot>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let accounting = Rc::new(Accounting::new(context.clone(), index));
    // TLS was set up once before the threads were started.
    let pool = SessionPool::new(context.clone(), accounting.clone(), shard).map_err(std::io::Error::other)?;
    let worker = WorkerLoop { index, context, accounting, pool: Rc::new(pool), sessions: LocalSet::new() };
    let looped = runtime.block_on(worker.sessions.run_until(worker.run_loop(events, emptied)));
    let ((hindrances, backlog), ended) = match looped {
        Ok(watched) => (watched, Ok(())),
        Err(error) => (Default::default(), Err(error)),
    };
    let account = worker.accounting.finish();
    let report = WorkerReport { worker: index, cpu: cpu_time(), hindrances, backlog, account };
    // The receiver is dropped only if the whole run is given up.
    events.send(WorkerEvent::Ended(Box::new(report))).ok();
    ended
}

/// One worker.
struct WorkerLoop {
    index: u32,
    context: Arc<RunContext>,
    accounting: Rc<Accounting>,
    pool: Rc<SessionPool>,
    sessions: LocalSet,
}

impl WorkerLoop {
    /// Wakes when an arrival is scheduled, when a session reports something, at each second, when the run is stopped,
    /// and about a hundred times a second to measure the lateness of this loop. Returns what kept the thread from
    /// running, by phase, and the backlog.
    async fn run_loop(
        &self,
        events: &SyncSender<WorkerEvent>,
        emptied: &Receiver<Snapshot>,
    ) -> std::io::Result<(Vec<Hindrance>, BacklogSeries)> {
        let WorkerLoop { context, accounting, pool, .. } = self;
        let mut alarm = Alarm::new()?;
        let mut stop = context.stop.clone();
        let mut barriers = context.barriers.watch();
        // The first turn reads the states: a barrier may have changed before this receiver existed.
        barriers.mark_changed();
        let mut stopped = Stop::Run;
        let mut orphaned = false;
        alarm.sleep(context.clock.until_epoch()).await?;
        let mut second = 0;
        let mut stall = context.stall;
        let host = (self.index == 0).then(|| context.host.clone());
        let mut backlog = BacklogSeries::default();
        let mut watch = LoopWatch::new(context.plan.phases.len(), host);
        loop {
            if let Some((_, length)) = stall.take_if(|(at, _)| *at <= context.now()) {
                std::thread::sleep(length);
            }
            watch.turn(context.now(), |now| pool.phase_at(now));
            // If the sender is gone, no stop can be asked for any more: the worker stops.
            let asked = if orphaned { Stop::Now } else { *stop.borrow_and_update() };
            if asked > stopped {
                stopped = asked;
                let now = context.now();
                pool.stop(now, (asked == Stop::Now).then_some(now));
            }
            if barriers.has_changed().unwrap_or(false) {
                pool.follow(&barriers.borrow_and_update());
            }
            self.act();
            let now = context.now();
            if now >= backlog.due() {
                backlog.take(now, accounting.recorder().backlog());
            }
            if now.as_secs() > second {
                events.send(WorkerEvent::Second(self.snapshot(now.as_secs() - 1, false))).ok();
                let transcripts = accounting.take_transcripts();
                if !transcripts.is_empty() {
                    events.send(WorkerEvent::Transcripts(transcripts)).ok();
                }
                second = now.as_secs();
                emptied.try_iter().for_each(|old| accounting.recorder().reclaim(old));
            }
            if pool.is_done(now) {
                events.send(WorkerEvent::Second(self.snapshot(now.as_secs(), true))).ok();
                return Ok((watch.finish(now), backlog));
            }
            let own = watch.due().min(Duration::from_secs(second + 1));
            let wake = pool.next_wake().map_or(own, |wake| wake.min(own));
            tokio::select! {
                biased;
                slept = alarm.sleep(wake.saturating_sub(context.now())) => slept?,
                () = pool.changed() => {}
                changed = stop.changed(), if !orphaned => orphaned = changed.is_err(),
                Ok(()) = barriers.changed() => barriers.mark_changed(),
            }
        }
    }

    /// Executes the dispatcher's decisions.
    fn act(&self) {
        let WorkerLoop { context, accounting, pool, .. } = self;
        let now = context.now();
        pool.advance(now);
        while let Some(action) = pool.action() {
            match action {
                Action::Open { slot, phase, purpose } => {
                    let instructions = pool.open(slot);
                    let session = Session::new(
                        pool.clone(),
                        accounting.clone(),
                        slot,
                        phase,
                        purpose,
                        now,
                        instructions,
                    );
                    self.sessions.spawn_local(session.run());
                }
                Action::Serve { slot, arrival } => pool.instruct(slot, Instruction::Serve(arrival, now)),
                Action::Finish(slot) => pool.instruct(slot, Instruction::Finish),
                Action::Abort { slot, needless } => pool.instruct(slot, Instruction::Abort { needless }),
                Action::Charge { arrival, tried, outcome, for_good } => {
                    // No session has carried the message yet, so it is rendered for the next session of this thread.
                    let session = pool.next_serial();
                    let after =
                        pool.attempt_charged(&arrival, AttemptEnd { outcome, for_good, session, left: None });
                    accounting.arrival_charged(arrival, tried, outcome, after);
                }
                Action::Pend(retry) => accounting.message_pends(&retry, retry.intended),
                Action::Ready(phase) => context.barriers.ready(phase, now),
                Action::GiveUp { phase, since } => accounting.notes().given_up(phase, now, since),
                Action::StoodStill { phase, since, until } => {
                    accounting.notes().stood_still(phase, since, until)
                }
                Action::AbandonBarrier(phase) => context.barriers.abandon(phase),
            }
        }
    }

    fn snapshot(&self, second: u64, last: bool) -> Snapshot {
        let [sessions, in_flight, waiting, retrying] = self.pool.gauges();
        let peak_sessions = self.accounting.peak_sessions();
        let gauges = Gauges { sessions, peak_sessions, in_flight, waiting, retrying, queued: None };
        self.accounting.snapshot(second, gauges, last)
    }
}

/// Returns the CPU time of the current thread: user and system.
fn cpu_time() -> (Duration, Duration) {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("a thread can ask for its own usage");
    let of = |time: nix::sys::time::TimeVal| {
        Duration::new(time.tv_sec().unsigned_abs(), u32::try_from(time.tv_usec()).unwrap_or(0) * 1000)
    };
    (of(usage.user_time()), of(usage.system_time()))
}
