//! The loop that moves bytes for a machine of the client or of the listener. The loop knows no protocol.
//!
//! The loop reads and writes at the same time. Otherwise two pipelining sides would deadlock if both wrote before they
//! read.
//!
//! # Decisions
//! - The buffers belong to the thread ([`Scratch`]), not to the session, so that an idle session holds none. Only bytes
//!   that the kernel did not take, and input that the machine cannot take yet, move to a buffer of the session.
//! - After a write error the loop continues to read, because a reply that explains the close may be in flight (the last
//!   421 before a reset).
//! - The timer is armed lazily: deadlines mostly move later, and an early wake-up is cheaper than a new timer each step.

mod secure;

use std::cell::RefCell;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::ReadBuf;
use tokio::time::Sleep;

use super::closed::closed_by;
use super::stream::Stream;
use super::timer::Timers;
use super::tls::{self, Security};
use crate::smtp::machine::{Close, Closed, Machine, Need};

/// How long an orderly close may take in total: to write its last bytes, and then to see the end of the other side.
const CLOSING: Duration = Duration::from_secs(2);
/// Deadlines nearer than this use the thread's fine timers, if the thread has them: they are finer than the runtime's
/// tick of 1 ms.
const NEAR: Duration = Duration::from_secs(1);
/// The most bytes of one read.
const INPUT: usize = 64 * 1024;

/// The owner of a machine: receives its events and wakes it from outside.
pub trait MachineOwner<M: Machine> {
    /// Processes an event of the machine.
    fn event(&mut self, machine: &mut M, now: Instant, event: M::Event);

    /// Called whenever the loop is about to wait, so that an event from outside (an arrival, a stop) can act on the
    /// machine. Returns `Ready` if the machine must be polled again. Otherwise the implementation must arrange that
    /// `cx` is woken for the next event.
    fn poll_wake(&mut self, machine: &mut M, cx: &mut Context<'_>) -> Poll<()> {
        let _ = (machine, cx);
        Poll::Pending
    }

    /// Returns how many bytes may be written each second; `None` for no limit.
    fn pace(&self) -> Option<u32> {
        None
    }

    /// Notes that these bytes are passed to the kernel, or wait until the kernel can take them.
    fn sent(&mut self, machine: &M, bytes: &[u8]) {
        let _ = (machine, bytes);
    }

    /// Notes that these bytes were read.
    fn received(&mut self, bytes: &[u8]) {
        let _ = bytes;
    }

    /// Returns what the stream needs for [`Need::Secure`]; `None` if no machine of this owner asks for TLS.
    fn security(&self) -> Option<&Security> {
        None
    }

    /// Notes that the other side ended a secure stream without close_notify: the stream may have been cut short.
    fn truncated(&mut self) {}

    /// Whether the session is silent on purpose from now on, so that only the kernel can see whether the other host is
    /// still there.
    fn is_silent(&self) -> bool {
        false
    }

    /// Notes that the kernel refused the socket options for watching the other host.
    fn unwatched(&mut self) {}
}

/// The buffers of one thread, borrowed only while a session is being polled.
#[derive(Debug)]
pub struct Scratch {
    input: RefCell<Vec<u8>>,
    output: RefCell<Vec<u8>>,
    timers: Option<Timers>,
}

impl Scratch {
    /// Creates the buffers for one thread.
    pub fn new() -> Scratch {
        Scratch {
            input: RefCell::new(vec![0; INPUT]),
            output: RefCell::new(Vec::with_capacity(2 * INPUT)),
            timers: None,
        }
    }

    /// Creates buffers for one thread, with fine timers for near deadlines. The thread must poll [`Scratch::ring`].
    ///
    /// # Errors
    /// There is no free descriptor.
    pub fn with_timers() -> io::Result<Scratch> {
        Ok(Scratch { timers: Some(Timers::new(now)?), ..Scratch::new() })
    }

    /// Runs the timers forever.
    ///
    /// # Errors
    /// The kernel's error; not seen in practice.
    pub async fn ring(&self) -> io::Result<()> {
        match &self.timers {
            Some(timers) => timers.run().await,
            None => std::future::pending().await,
        }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch::new()
    }
}

/// Drives `machine` over `stream` until it closes. The stream is shut down as the machine asks. The caller then drops
/// the stream, which closes the connection.
pub async fn drive<M: Machine, H: MachineOwner<M>>(
    stream: &mut Stream,
    machine: &mut M,
    host: &mut H,
    scratch: &Scratch,
) {
    let mut timer = pin!(tokio::time::sleep_until(tokio::time::Instant::from_std(now())));
    let mut wire = Wire {
        stream,
        backlog: Vec::new(),
        written: 0,
        held: Vec::new(),
        write_failed: None,
        read_closed: false,
        deaf: false,
        ends_write: false,
        pace: host.pace().map(Pace::new),
        securing: false,
        started: false,
        closing: None,
        deadline: None,
        armed: None,
        watched: false,
    };
    std::future::poll_fn(|cx| wire.poll(machine, host, scratch, timer.as_mut(), cx)).await;
}

#[expect(clippy::disallowed_methods, reason = "this loop is where time enters the machines")]
fn now() -> Instant {
    Instant::now()
}

/// The time of one turn of a session, read when it is first needed. Most turns begin with input, and use the time of
/// that read.
struct TurnTime(Option<Instant>);

impl TurnTime {
    fn now(&mut self) -> Instant {
        *self.0.get_or_insert_with(now)
    }

    /// Reads the clock again.
    fn anew(&mut self) -> Instant {
        *self.0.insert(now())
    }
}

/// Limits the rate of writing. Each piece has the bytes of a twentieth of a second, at least one.
struct Pace {
    per_second: u32,
    /// When the next piece may be written. Boxed, because few sessions have a limited rate.
    next: Pin<Box<Sleep>>,
}

impl Pace {
    fn new(per_second: u32) -> Pace {
        let next = Box::pin(tokio::time::sleep_until(tokio::time::Instant::from_std(now())));
        Pace { per_second: per_second.max(1), next }
    }

    /// Returns how many bytes may be written now.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        let piece = usize::try_from(self.per_second / 20).unwrap_or(usize::MAX).max(1);
        self.next.as_mut().poll(cx).map(|()| piece)
    }

    fn wrote(&mut self, bytes: usize) {
        let pause = Duration::from_secs_f64(bytes as f64 / f64::from(self.per_second));
        self.next.as_mut().reset(tokio::time::Instant::from_std(now() + pause));
    }
}

/// One connection in progress.
struct Wire<'a> {
    stream: &'a mut Stream,
    /// Bytes that the kernel has not taken yet, from `written` on.
    backlog: Vec<u8>,
    written: usize,
    /// Input that the machine could not take yet. Nothing more is read until the machine takes it.
    held: Vec<u8>,
    write_failed: Option<Closed>,
    read_closed: bool,
    /// Whether the machine asked that nothing is read.
    deaf: bool,
    /// Whether this side of the stream is to be ended when all bytes are written.
    ends_write: bool,
    pace: Option<Pace>,
    /// Whether the machine waits for the handshake.
    securing: bool,
    /// Whether the machine was polled for the first time.
    started: bool,
    /// How to close, and until when.
    closing: Option<(Close, Instant)>,
    deadline: Option<Instant>,
    armed: Option<Instant>,
    /// Whether the kernel probes that the other host is still reachable.
    watched: bool,
}

/// What the machine needs, as of its last poll.
enum Settled {
    Waits,
    Secures,
    Closes,
}

impl Wire<'_> {
    fn poll<M: Machine, H: MachineOwner<M>>(
        &mut self,
        machine: &mut M,
        host: &mut H,
        scratch: &Scratch,
        mut timer: Pin<&mut Sleep>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let mut turn = TurnTime(None);
        if !self.started {
            // Later the machine is polled only after an event for it. A wake-up alone is no such event.
            self.started = true;
            self.settle(machine, host, scratch, turn.now(), cx);
        }
        loop {
            if self.closing.is_some() {
                return self.poll_close(scratch, turn.now(), timer, cx);
            }
            if !self.backlog.is_empty() {
                let before = self.written;
                let whole = self.flush(cx);
                if whole || self.written > before {
                    let now = turn.now();
                    if whole {
                        machine.handle_written(now)
                    } else {
                        machine.handle_progress(now)
                    }
                    self.settle(machine, host, scratch, now, cx);
                    self.offer_held(machine, host, scratch, now, cx);
                    continue;
                }
            }
            if self.ends_write && self.backlog.is_empty() && self.write_failed.is_none() {
                self.ends_write = self.stream.poll_shutdown(cx).is_pending();
            }
            let unheard = self.deaf || !self.held.is_empty();
            if unheard
                && !self.read_closed
                && let Some(how) = self.write_failed
            {
                // The machine waits to write, or holds input back, and nothing else would report the write error to it.
                let now = turn.now();
                self.held = Vec::new();
                self.closed(machine, now, how);
                self.settle(machine, host, scratch, now, cx);
                continue;
            }
            if host.poll_wake(machine, cx).is_ready() {
                self.settle(machine, host, scratch, turn.now(), cx);
                continue;
            }
            if self.securing {
                if self.poll_securing(machine, host, cx).is_ready() {
                    self.settle(machine, host, scratch, turn.anew(), cx);
                    continue;
                }
            } else if self.held.is_empty() && !self.read_closed && !self.deaf {
                let mut input = scratch.input.borrow_mut();
                let mut buf = ReadBuf::new(&mut input);
                if let Poll::Ready(read) = self.stream.poll_read(cx, &mut buf) {
                    let now = turn.anew();
                    match read {
                        Ok(()) if buf.filled().is_empty() => {
                            if self.stream.is_truncated() {
                                host.truncated();
                            }
                            self.closed(machine, now, Closed::Eof);
                        }
                        Ok(()) => {
                            let bytes = buf.filled();
                            host.received(bytes);
                            self.feed(machine, host, scratch, bytes, now, cx);
                            continue;
                        }
                        Err(error) => match tls::insecure(&error) {
                            Some(why) => self.insecure(machine, now, why),
                            None => self.closed(machine, now, closed_by(&error)),
                        },
                    }
                    drop(input);
                    self.settle(machine, host, scratch, now, cx);
                    continue;
                }
            }
            if self.poll_deadline(scratch, turn.now(), timer.as_mut(), cx) {
                // The deadline may have passed after the time was read, and the machine must see a time after it.
                let now = turn.anew();
                machine.handle_timeout(now);
                self.settle(machine, host, scratch, now, cx);
                self.offer_held(machine, host, scratch, now, cx);
                continue;
            }
            return Poll::Pending;
        }
    }

    /// Polls the machine until it waits or closes.
    fn settle<M: Machine, H: MachineOwner<M>>(
        &mut self,
        machine: &mut M,
        host: &mut H,
        scratch: &Scratch,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Settled {
        loop {
            let mut output = scratch.output.borrow_mut();
            output.clear();
            match machine.poll(now, &mut output) {
                Need::Emit(event) => {
                    drop(output);
                    host.event(machine, now, event);
                    if !self.watched && host.is_silent() {
                        self.watched = true;
                        if self.stream.watch().is_err() {
                            host.unwatched();
                        }
                    }
                }
                Need::Write => {
                    host.sent(machine, &output);
                    if self.write(&output, cx) {
                        machine.handle_written(now);
                    }
                }
                Need::Secure { until } => {
                    self.deadline = until;
                    self.securing = true;
                    return Settled::Secures;
                }
                Need::Read { until } => {
                    (self.deadline, self.deaf) = (until, false);
                    return Settled::Waits;
                }
                Need::Wait { until } => {
                    (self.deadline, self.deaf) = (until, true);
                    return Settled::Waits;
                }
                Need::EndWrite => self.ends_write = true,
                Need::Close(how) => {
                    self.closing = Some((how, now + CLOSING));
                    return Settled::Closes;
                }
            }
        }
    }

    /// Gives input to the machine and polls it after each part that it takes. Input that it cannot take yet is held.
    fn feed<M: Machine, H: MachineOwner<M>>(
        &mut self,
        machine: &mut M,
        host: &mut H,
        scratch: &Scratch,
        mut bytes: &[u8],
        now: Instant,
        cx: &mut Context<'_>,
    ) {
        while !bytes.is_empty() {
            let taken = machine.handle_input(now, bytes);
            bytes = &bytes[taken..];
            match self.settle(machine, host, scratch, now, cx) {
                Settled::Closes => return,
                Settled::Waits | Settled::Secures if taken == 0 => {
                    self.held = bytes.to_vec();
                    return;
                }
                Settled::Waits | Settled::Secures => {}
            }
        }
    }

    fn offer_held<M: Machine, H: MachineOwner<M>>(
        &mut self,
        machine: &mut M,
        host: &mut H,
        scratch: &Scratch,
        now: Instant,
        cx: &mut Context<'_>,
    ) {
        if !self.held.is_empty() && self.closing.is_none() {
            let held = std::mem::take(&mut self.held);
            self.feed(machine, host, scratch, &held, now, cx);
        }
    }

    fn closed<M: Machine>(&mut self, machine: &mut M, now: Instant, how: Closed) {
        self.read_closed = true;
        // If a write failed before, its error says more than the end of the stream.
        machine.handle_closed(now, self.write_failed.unwrap_or(how));
    }

    /// Writes bytes, or keeps them for later. Returns true if the kernel has taken all of them.
    fn write(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> bool {
        if self.write_failed.is_some() {
            return false;
        }
        if self.backlog.is_empty() && self.pace.is_none() {
            match self.stream.poll_write(cx, bytes) {
                Poll::Ready(Ok(n)) if n == bytes.len() => return true,
                Poll::Ready(Ok(n)) => self.backlog.extend_from_slice(&bytes[n..]),
                Poll::Ready(Err(error)) => {
                    self.write_failed = Some(closed_by(&error));
                    return false;
                }
                Poll::Pending => self.backlog.extend_from_slice(bytes),
            }
        } else {
            self.backlog.extend_from_slice(bytes);
        }
        self.flush(cx)
    }

    /// Writes the backlog. Returns true if the kernel has taken all of it.
    fn flush(&mut self, cx: &mut Context<'_>) -> bool {
        while self.written < self.backlog.len() {
            let mut end = self.backlog.len();
            if let Some(pace) = &mut self.pace {
                match pace.poll(cx) {
                    Poll::Ready(bytes) => end = end.min(self.written + bytes),
                    Poll::Pending => return false,
                }
            }
            match self.stream.poll_write(cx, &self.backlog[self.written..end]) {
                Poll::Ready(Ok(n)) => {
                    self.written += n;
                    if let Some(pace) = &mut self.pace {
                        pace.wrote(n);
                    }
                }
                Poll::Ready(Err(error)) => {
                    self.write_failed = Some(closed_by(&error));
                    self.backlog = Vec::new();
                    self.written = 0;
                    return false;
                }
                Poll::Pending => return false,
            }
        }
        // The buffer is freed, so that an idle session holds none.
        self.backlog = Vec::new();
        self.written = 0;
        true
    }

    /// Whether the machine's deadline has come. If not, arms the timer.
    fn poll_deadline(
        &mut self,
        scratch: &Scratch,
        now: Instant,
        mut timer: Pin<&mut Sleep>,
        cx: &mut Context<'_>,
    ) -> bool {
        let Some(deadline) = self.deadline else { return false };
        if deadline <= now {
            self.deadline = None;
            return true;
        }
        if self.armed.is_some_and(|armed| now < armed && armed <= deadline) {
            return false;
        }
        self.armed = Some(deadline);
        if let Some(timers) = scratch.timers.as_ref().filter(|_| deadline - now < NEAR) {
            timers.wake_at(deadline, cx.waker());
            return false;
        }
        timer.as_mut().reset(tokio::time::Instant::from_std(deadline));
        // The timer is ready at once only if the deadline passed after `now` was read.
        let due = Future::poll(timer, cx).is_ready();
        if due {
            self.deadline = None;
        }
        if due || !tokio::task::coop::has_budget_remaining() {
            // The timer has ended, or the task has used its budget. In the second case the timer was not polled and
            // will wake no task.
            self.armed = None;
        }
        due
    }

    /// Writes the last bytes and closes as the machine asked. A lingering close waits for the end of the other side.
    fn poll_close(
        &mut self,
        scratch: &Scratch,
        now: Instant,
        timer: Pin<&mut Sleep>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let (how, by) = self.closing.expect("only called when closing");
        if how == Close::Reset {
            self.stream.reset_on_close();
            return Poll::Ready(());
        }
        self.deadline = Some(by);
        let dead = self.write_failed.is_some();
        if !dead && !self.backlog.is_empty() && !self.flush(cx) && self.write_failed.is_none() {
            return if self.poll_deadline(scratch, now, timer, cx) { Poll::Ready(()) } else { Poll::Pending };
        }
        if dead
            || how == Close::Clean && !self.stream.has_close_notify()
            || how == Close::Linger && self.read_closed
        {
            return Poll::Ready(());
        }
        if self.stream.poll_shutdown(cx).is_pending() {
            return if self.poll_deadline(scratch, now, timer, cx) { Poll::Ready(()) } else { Poll::Pending };
        }
        if self.read_closed || how == Close::Clean {
            return Poll::Ready(());
        }
        // Unread input would turn this close into a reset, and the other side could lose the last reply.
        let mut input = scratch.input.borrow_mut();
        loop {
            let mut buf = ReadBuf::new(&mut input);
            match self.stream.poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        if self.poll_deadline(scratch, now, timer, cx) { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests;
