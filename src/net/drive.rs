//! The loop that moves bytes for a machine, client or listener. It knows no protocol.
//!
//! It reads and writes at once: a pipelining pair that both write before they read would deadlock otherwise.
//!
//! # Decisions
//! - The buffers belong to the thread ([`Scratch`]), not to the session: a session at rest holds none. Only bytes that
//!   the kernel did not take, or input that the machine cannot take yet, move to a buffer of the session.
//! - After a write error the loop goes on reading: a reply that explains the close may be in flight (the last 421 before a reset).
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

/// How long an orderly close may take to get its last bytes out, and then to see the peer's end.
const CLOSING: Duration = Duration::from_secs(2);
/// Deadlines nearer than this are kept to better than the runtime's tick of 1 ms, if the thread has timers for it.
const NEAR: Duration = Duration::from_secs(1);
/// What one read takes at the most, in bytes.
const INPUT: usize = 64 * 1024;

/// The owner of a machine: receives its events and wakes it from outside.
pub trait MachineOwner<M: Machine> {
    /// An event of the machine.
    fn event(&mut self, machine: &mut M, now: Instant, event: M::Event);

    /// Something from outside (an arrival, a stop) may call into the machine here. `Ready`: poll the machine again.
    /// Called whenever the loop is about to wait; must arrange its own wake-up.
    fn poll_wake(&mut self, machine: &mut M, cx: &mut Context<'_>) -> Poll<()> {
        let _ = (machine, cx);
        Poll::Pending
    }

    /// How many bytes a second may go out; `None`: as many as the kernel takes.
    fn pace(&self) -> Option<u32> {
        None
    }

    /// These bytes are handed to the kernel, or wait for it.
    fn sent(&mut self, machine: &M, bytes: &[u8]) {
        let _ = (machine, bytes);
    }

    /// These bytes were read.
    fn received(&mut self, bytes: &[u8]) {
        let _ = bytes;
    }

    /// What the stream needs for [`Need::Secure`]; `None`: no TLS is spoken, and no machine of this host asks for it.
    fn security(&self) -> Option<&Security> {
        None
    }

    /// The other side ended a secure stream without close_notify: it may have been cut short.
    fn truncated(&mut self) {}

    /// Whether the session is silent on purpose from now on, so that nothing but the kernel can see whether the other host
    /// is still there.
    fn is_silent(&self) -> bool {
        false
    }

    /// The kernel does not see to that.
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
    /// Buffers for one thread.
    pub fn new() -> Scratch {
        Scratch {
            input: RefCell::new(vec![0; INPUT]),
            output: RefCell::new(Vec::with_capacity(2 * INPUT)),
            timers: None,
        }
    }

    /// The same, with timers for deadlines that are near: the thread must poll [`Scratch::ring`].
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn with_timers() -> io::Result<Scratch> {
        Ok(Scratch { timers: Some(Timers::new(now)?), ..Scratch::new() })
    }

    /// Runs the timers, for ever.
    ///
    /// # Errors
    /// What the kernel says; not seen in practice.
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

/// Drives `machine` over `stream` until it closes. The stream is shut down as the machine asked; dropping it ends it.
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

/// The time of one turn of a session, read when it is first asked for: most turns begin with input, and are of the time at
/// which that was read.
struct TurnTime(Option<Instant>);

impl TurnTime {
    fn now(&mut self) -> Instant {
        *self.0.get_or_insert_with(now)
    }

    /// The time is another by now.
    fn anew(&mut self) -> Instant {
        *self.0.insert(now())
    }
}

/// Lets bytes out at a rate, in pieces of a twentieth of a second and of one byte at the least.
struct Pace {
    per_second: u32,
    /// When the next piece may go; boxed, for nearly every session has none.
    next: Pin<Box<Sleep>>,
}

impl Pace {
    fn new(per_second: u32) -> Pace {
        let next = Box::pin(tokio::time::sleep_until(tokio::time::Instant::from_std(now())));
        Pace { per_second: per_second.max(1), next }
    }

    /// The bytes that may go now.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        let piece = usize::try_from(self.per_second / 20).unwrap_or(usize::MAX).max(1);
        self.next.as_mut().poll(cx).map(|()| piece)
    }

    fn wrote(&mut self, bytes: usize) {
        let pause = Duration::from_secs_f64(bytes as f64 / f64::from(self.per_second));
        self.next.as_mut().reset(tokio::time::Instant::from_std(now() + pause));
    }
}

/// One connection under way.
struct Wire<'a> {
    stream: &'a mut Stream,
    /// What the kernel did not take yet, from `written` on.
    backlog: Vec<u8>,
    written: usize,
    /// Input that the machine could not take yet; nothing more is read meanwhile.
    held: Vec<u8>,
    write_failed: Option<Closed>,
    read_closed: bool,
    /// Nothing is to be read, by the machine's wish.
    deaf: bool,
    /// Our side of the stream is to be ended when all is out.
    ends_write: bool,
    pace: Option<Pace>,
    /// The machine waits for the handshake.
    securing: bool,
    /// The machine was polled for the first time.
    started: bool,
    /// How to close, and by when.
    closing: Option<(Close, Instant)>,
    deadline: Option<Instant>,
    armed: Option<Instant>,
    /// The kernel sees whether the other host is there.
    watched: bool,
}

/// What the machine said last.
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
            // From then on it is polled after each thing that happens to it, and a wake-up alone is none.
            self.started = true;
            self.settle(machine, host, scratch, turn.now(), cx);
        }
        loop {
            if self.closing.is_some() {
                return self.poll_close(scratch, turn.now(), timer, cx);
            }
            if !self.backlog.is_empty() && self.flush(cx) {
                let now = turn.now();
                machine.handle_written(now);
                self.settle(machine, host, scratch, now, cx);
                self.offer_held(machine, host, scratch, now, cx);
                continue;
            }
            if self.ends_write && self.backlog.is_empty() && self.write_failed.is_none() {
                self.ends_write = self.stream.poll_shutdown(cx).is_pending();
            }
            let unheard = self.deaf || !self.held.is_empty();
            if unheard
                && !self.read_closed
                && let Some(how) = self.write_failed
            {
                // It holds back what can no longer be written, perhaps for ever, and nothing else tells it so.
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
                // The deadline may have passed since the time was read, and the machine must see that it has.
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

    /// Gives input to the machine, polling it after each part it takes; what it cannot take yet is held.
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
        // A reset that was seen on writing says more than the end of stream that follows it.
        machine.handle_closed(now, self.write_failed.unwrap_or(how));
    }

    /// Writes, or keeps for later. True: all of it is with the kernel.
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

    /// True: the backlog is with the kernel now.
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
        // Given back, not kept: a session at rest holds no buffer.
        self.backlog = Vec::new();
        self.written = 0;
        true
    }

    /// Whether the machine's deadline has come; arms the timer if not.
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
        // Ready at once only if the deadline passed since `now` was read.
        let due = Future::poll(timer, cx).is_ready();
        if due {
            self.deadline = None;
        }
        if due || !tokio::task::coop::has_budget_remaining() {
            // It is over; or the turn of the task is, and then the timer was not even asked and will wake nobody.
            self.armed = None;
        }
        due
    }

    /// Gets the last bytes out, closes as asked, and for a lingering close waits for the peer's end.
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
        // Unread input would turn our close into a reset, and the peer could lose our last reply by it.
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
