//! The sessions of one generator thread: passes the dispatcher's decisions to them, and their reports to the
//! dispatcher.
//!
//! Each session waits on a slot for one instruction. `accounting` counts what a session did; `dispatch` decides what it
//! does next.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;

use super::accounting::Accounting;
use super::connector::ThreadConnector;
use super::context::RunContext;
use super::dispatch::{Action, AfterAttempt, AttemptEnd, Dispatch, ScheduledArrival, SessionEnd, SlotId};
use super::start_barrier::BarrierState;
use crate::load::Shard;
use crate::net::drive::Scratch;
use crate::net::tls::TlsError;

/// An instruction for a session.
#[derive(Clone, Copy, Debug)]
pub(super) enum Instruction {
    /// Serve an arrival, which was assigned to the session at this time.
    Serve(ScheduledArrival, Duration),
    /// End as the script says.
    Finish,
    /// End at once.
    Abort {
        /// Whether the session is no longer needed: then its end is no failure.
        needless: bool,
    },
}

/// The slot for one instruction to one session.
#[derive(Default)]
pub(super) struct InstructionSlot {
    instruction: Cell<Option<Instruction>>,
    waker: Cell<Option<Waker>>,
}

impl InstructionSlot {
    /// Gives the session its next instruction. An abort replaces an arrival that the session has not taken yet;
    /// returns that arrival.
    #[must_use]
    fn put(&self, instruction: Instruction) -> Option<ScheduledArrival> {
        let untaken = match self.instruction.get() {
            Some(Instruction::Serve(arrival, _)) => Some(arrival),
            _ => None,
        };
        debug_assert!(untaken.is_none() || !matches!(instruction, Instruction::Serve(..)));
        let aborts = matches!(instruction, Instruction::Abort { .. });
        if untaken.is_none() || aborts {
            self.instruction.set(Some(instruction));
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        untaken.filter(|_| aborts)
    }

    /// Takes the instruction, or registers the waker for the next instruction.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<Instruction> {
        match self.instruction.take() {
            Some(instruction) => Poll::Ready(instruction),
            None => {
                let waker = self.waker.take().filter(|waker| waker.will_wake(cx.waker()));
                self.waker.set(Some(waker.unwrap_or_else(|| cx.waker().clone())));
                Poll::Pending
            }
        }
    }

    /// Takes an instruction that the session has not carried out.
    pub fn take(&self) -> Option<Instruction> {
        self.instruction.take()
    }
}

/// The sessions of one thread, and the state that they share.
pub(super) struct SessionPool {
    pub context: Arc<RunContext>,
    pub connector: ThreadConnector,
    pub scratch: Scratch,
    accounting: Rc<Accounting>,
    dispatch: RefCell<Dispatch>,
    instructions: RefCell<Vec<Rc<InstructionSlot>>>,
    shard: Shard,
    serial: Cell<u64>,
    changed: Notify,
}

impl SessionPool {
    /// Returns the pool of a thread for this shard of the load.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(
        context: Arc<RunContext>,
        accounting: Rc<Accounting>,
        shard: Shard,
    ) -> Result<SessionPool, TlsError> {
        Ok(SessionPool {
            connector: context.connector.on_thread()?,
            scratch: Scratch::new(),
            accounting,
            dispatch: RefCell::new(
                Dispatch::new(context.plan.clone(), shard).with_connect_rates(context.connect_rates.clone()),
            ),
            instructions: RefCell::default(),
            shard,
            serial: Cell::new(u64::from(shard.index)),
            changed: Notify::new(),
            context,
        })
    }

    /// Returns the number of the next session of this thread, unique in the run over all its threads and processes.
    pub fn next_serial(&self) -> u64 {
        let serial = self.serial.get();
        self.serial.set(serial + u64::from(self.shard.of));
        serial
    }

    /// Returns the next arrival for a session that can take one now; `early`: the last arrival of the session is still
    /// in flight.
    pub fn next_message(&self, now: Duration, slot: SlotId, early: bool) -> Option<ScheduledArrival> {
        self.dispatch.borrow_mut().next_message(now, slot, early, &mut self.accounting.recorder())
    }

    /// Notes that a session is idle.
    pub fn rest(&self, now: Duration, slot: SlotId) {
        // The worker is woken only if needed: each wake-up sets a timer again, which would cost a system call for each
        // message of an open load.
        if self.dispatch.borrow_mut().rest(now, slot) {
            self.changed.notify_one();
        }
    }

    /// Notes that a session is ready to send.
    pub fn established(&self, slot: SlotId) {
        self.dispatch.borrow_mut().established(slot);
        self.changed.notify_one();
    }

    /// Notes that the listener served a session: it accepted a message, or refused a message and kept the session open.
    pub fn served(&self, slot: SlotId) {
        self.dispatch.borrow_mut().served(self.context.now(), slot);
    }

    /// Notes the end of an arrival of a session.
    pub fn arrival_ended(&self, slot: SlotId) {
        self.dispatch.borrow_mut().arrival_ended(slot);
    }

    /// Notes the end of an attempt; returns the result for its message.
    pub fn attempt_ended(&self, arrival: &ScheduledArrival, end: AttemptEnd) -> AfterAttempt {
        let now = self.context.now();
        let after =
            self.dispatch.borrow_mut().attempt_ended(now, arrival, end, &mut self.accounting.recorder());
        if after == AfterAttempt::Waits {
            // The worker must wake for the next attempt.
            self.changed.notify_one();
        }
        after
    }

    /// Returns the recipients of an attempt, by index; `None`: all.
    pub fn recipients_left(&self, arrival: &ScheduledArrival) -> Option<Arc<[u32]>> {
        self.dispatch.borrow().recipients_left(arrival)
    }

    /// Notes that an attempt failed because another session could not be opened; returns the result for the message.
    pub fn attempt_charged(&self, arrival: &ScheduledArrival, end: AttemptEnd) -> AfterAttempt {
        let now = self.context.now();
        self.dispatch.borrow_mut().attempt_charged(now, arrival, end, &mut self.accounting.recorder())
    }

    /// Notes that the listener refused a session with a 5yz reply before it was ready.
    pub fn turned_away_for_good(&self, slot: SlotId) {
        self.dispatch.borrow_mut().turned_away_for_good(slot);
    }

    /// Takes back an arrival that a session never started.
    pub fn give_back(&self, slot: SlotId, arrival: ScheduledArrival) {
        self.dispatch.borrow_mut().give_back(slot, arrival, &mut self.accounting.recorder());
        self.changed.notify_one();
    }

    /// Notes the end of a session.
    pub fn session_ended(&self, slot: SlotId, end: SessionEnd) {
        let now = self.context.now();
        self.dispatch.borrow_mut().session_ended(now, slot, end, &mut self.accounting.recorder());
        self.changed.notify_one();
    }

    /// Makes the slot of a new session.
    pub fn open(&self, slot: SlotId) -> Rc<InstructionSlot> {
        let instructions = Rc::new(InstructionSlot::default());
        let mut all = self.instructions.borrow_mut();
        if all.len() <= slot as usize {
            all.resize_with(slot as usize + 1, Rc::default);
        }
        all[slot as usize] = instructions.clone();
        instructions
    }

    /// Gives an instruction to a session. Takes back an arrival that an abort replaces.
    pub fn instruct(&self, slot: SlotId, instruction: Instruction) {
        let place = self.instructions.borrow()[slot as usize].clone();
        if let Some(arrival) = place.put(instruction) {
            self.give_back(slot, arrival);
        }
    }

    /// Decides what is due at `now`. [`SessionPool::action`] returns the decisions.
    pub fn advance(&self, now: Duration) {
        self.dispatch.borrow_mut().advance(now, &mut self.accounting.recorder());
    }

    /// Returns the next decision.
    pub fn action(&self) -> Option<Action> {
        self.dispatch.borrow_mut().action()
    }

    /// Waits for a report of a session that may need a decision.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes over the current states of the start barriers.
    pub fn follow(&self, barriers: &[BarrierState]) {
        let mut dispatch = self.dispatch.borrow_mut();
        for (phase, state) in (0..).zip(barriers) {
            match *state {
                BarrierState::Closed { .. } => {}
                BarrierState::Open(at) => dispatch.open_barrier(phase, at),
                BarrierState::Abandoned => dispatch.abandon(phase),
            }
        }
    }

    /// Starts no further arrivals. Arrivals in flight may take until `by`; `None`: for the grace of the current phase.
    pub fn stop(&self, now: Duration, by: Option<Duration>) {
        let mut dispatch = self.dispatch.borrow_mut();
        let grace = self.context.plan.phases[dispatch.phase_at(now) as usize].graceful_stop;
        dispatch.stop(by.unwrap_or(now + grace), &mut self.accounting.recorder());
    }

    /// Returns the time for the next call of [`SessionPool::advance`], if no session reports anything before.
    pub fn next_wake(&self) -> Option<Duration> {
        self.dispatch.borrow_mut().next_wake()
    }

    /// Whether all arrivals and sessions have ended.
    pub fn is_done(&self, now: Duration) -> bool {
        self.dispatch.borrow_mut().is_done(now)
    }

    /// Returns the phase at `now`.
    pub fn phase_at(&self, now: Duration) -> u32 {
        self.dispatch.borrow().phase_at(now)
    }

    /// Returns the numbers of open sessions, of arrivals in flight, of arrivals that wait for a session, and of
    /// messages that wait for their next attempt.
    pub fn gauges(&self) -> [u64; 4] {
        self.dispatch.borrow().gauges()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collector::Outcome;
    use crate::generator::dispatch::OpenFor;
    use crate::generator::dispatch::tests::{phase, plan};
    use crate::load::{Curve, LoadModel, Spacing};
    use crate::plan::Unit;

    /// Returns the pool of a load of ten messages a second.
    fn pool() -> SessionPool {
        let load = LoadModel::Rate { curve: Curve::constant(10.0), spacing: Spacing::Uniform };
        let plan = plan(vec![phase(load, Some(1000), Unit::Message, 10)]);
        let context = RunContext::of_test(plan, 1);
        let accounting = Rc::new(Accounting::new(context.clone(), 0));
        SessionPool::new(context, accounting, Shard::WHOLE).unwrap()
    }

    #[test]
    fn m10_an_arrival_that_its_session_has_not_taken_when_it_is_aborted_is_shed() {
        let (pool, ms) = (pool(), Duration::from_millis);
        pool.advance(ms(0));
        let Some(Action::Open { slot, purpose: OpenFor::Message(first), .. }) = pool.action() else {
            panic!("no session is opened");
        };
        let instructions = pool.open(slot);
        pool.established(slot);
        let end = AttemptEnd { outcome: Outcome::Accepted, for_good: false, session: 0, left: None };
        pool.attempt_ended(&first, end);
        pool.arrival_ended(slot);
        pool.rest(ms(50), slot);
        pool.advance(ms(100));
        let Some(Action::Serve { arrival, .. }) = pool.action() else { panic!("no arrival is served") };
        pool.instruct(slot, Instruction::Serve(arrival, ms(100)));

        // The run is stopped before the session gets its turn.
        pool.stop(ms(100), Some(ms(100)));
        pool.advance(ms(100));
        let Some(Action::Abort { needless, .. }) = pool.action() else { panic!("no session is aborted") };
        pool.instruct(slot, Instruction::Abort { needless });
        assert!(matches!(instructions.take(), Some(Instruction::Abort { .. })));
        pool.session_ended(slot, SessionEnd::ByClient);

        let counts = *pool.accounting.recorder().counts(0);
        assert_eq!((counts.scheduled, counts.arrivals.of(Outcome::Shed)), (2, 1));
        assert_eq!(pool.gauges(), [0; 4]);
    }
}
