//! The embedded listener: a mail server with programmable limits, delays and refusals that keeps its own ledger.
//!
//! The listener accepts each message, computes its digest and discards it, unless a [`Sink`] receives it; it never
//! relays. It has its own threads, each with its own runtime, so that its CPU time is measured apart from the
//! generator's.
//!
//! # Decisions
//! - All threads accept from one socket, so that there is a single accept queue, of known length.
//! - A stall blocks the threads: nothing is read, written or accepted, as in a process that SIGSTOP has stopped.
//! - The times of an outage and a stall count from the start of the load, if there is one: with a fleet, or with a
//!   given start time, the load starts seconds after the listener.

mod behaviour;
pub mod certificate;
mod dialects;
mod digest;
mod greylist;
pub mod ledger;
pub mod limits;
mod login;
mod offers;
mod patterns;
mod peer;
mod service_queue;
mod sink;
mod state;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::net::address::bind::Bind;
use crate::net::drive::{MachineOwner, Scratch, drive};
use crate::net::listen::Listening;
use crate::net::proxy;
use crate::net::stream::Stream;
use crate::net::tls::{Security, TlsError};
use crate::smtp::script::TlsMode;
use crate::smtp::server::Server;
use behaviour::Behaviour;
use peer::Peer;
use state::ListenerState;

pub use ledger::LedgerSnapshot;
pub use limits::{Dialect, Limits};
pub use sink::{Sink, TakenMessage};

/// How often a thread publishes its processor time, and checks whether a stall is to end early.
const TICK: Duration = Duration::from_millis(50);

/// Why the listener could not start.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// An address beyond loopback that was not allowed.
    #[error(
        "the listener may not bind {0}: it is no loopback address (set allow_remote = true in [listener] to allow it)"
    )]
    NotLoopback(SocketAddr),
    /// The kernel refused to bind the address or path.
    #[error("cannot listen on {place}: {source}")]
    Bind {
        /// The address or path.
        place: Bind,
        /// The kernel's error.
        source: io::Error,
    },
    /// TLS cannot be set up.
    #[error("the listener cannot set up TLS: {0}")]
    Tls(#[from] TlsError),
    /// The listener's certificate cannot be written.
    #[error("cannot write the listener's certificate to {path}: {source}")]
    CertificateOut {
        /// The path.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// The path of a unix socket is occupied by a file that is not a socket.
    #[error("cannot listen on unix:{}: a file that is not a socket exists there, which is not replaced: remove it or choose another path", .0.display())]
    Occupied(PathBuf),
    /// A thread or its runtime could not be created.
    #[error("cannot start a listener thread: {0}")]
    Thread(io::Error),
}

/// A listener that runs until it is stopped or dropped.
#[derive(Debug)]
pub struct Listener {
    certificate: Option<CertificateDer<'static>>,
    /// The bound socket. If it is dropped, the file of a unix socket is removed.
    socket: Listening,
    place: Bind,
    shared: Arc<ListenerState>,
    stop: watch::Sender<bool>,
    threads: Vec<(Arc<Cpu>, JoinHandle<()>)>,
}

/// Processor time (in microseconds) and timer delays of one thread.
#[derive(Debug, Default)]
struct Cpu {
    user: AtomicU64,
    system: AtomicU64,
    /// Turns of the thread's timer, how many were late by more than [`LATE`], and the longest delay in microseconds.
    turns: AtomicU64,
    late: AtomicU64,
    latest: AtomicU64,
}

/// If a timer is later than this, the thread got no processor time (or the listener was in a configured stall).
const LATE: Duration = Duration::from_millis(50);

/// How late the timers of a listener's threads were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimerDelay {
    /// Turns of the timers: one every 50 ms on each thread.
    pub turns: u64,
    /// How many turns were more than 50 ms late.
    pub late: u64,
    /// The longest delay.
    pub longest: Duration,
}

/// Starts a listener on `addr` (port 0: any free port) with `threads` threads, at least one. `seed` determines its random
/// draws.
///
/// # Errors
/// See [`ListenError`].
pub fn start(addr: SocketAddr, limits: Limits, seed: u64, threads: usize) -> Result<Listener, ListenError> {
    start_at(&Bind::Tcp(addr), limits, seed, threads)
}

/// Starts a listener as [`start`] does, on TCP or a unix socket.
///
/// # Errors
/// See [`ListenError`].
pub fn start_at(place: &Bind, limits: Limits, seed: u64, threads: usize) -> Result<Listener, ListenError> {
    start_with(place, limits, seed, threads, None)
}

/// Starts a listener as [`start_at`] does. It passes the messages that it delivers to `sink`.
///
/// # Errors
/// See [`ListenError`].
pub fn start_with(
    place: &Bind,
    limits: Limits,
    seed: u64,
    threads: usize,
    sink: Option<Arc<dyn Sink>>,
) -> Result<Listener, ListenError> {
    let listener = start_before_load(place, limits, seed, threads, sink)?;
    listener.count_from(now());
    Ok(listener)
}

/// Starts a listener as [`start_with`] does, but before the load: the times of outage and stall begin only with
/// [`Listener::count_from`].
///
/// # Errors
/// See [`ListenError`].
pub fn start_before_load(
    place: &Bind,
    limits: Limits,
    seed: u64,
    threads: usize,
    sink: Option<Arc<dyn Sink>>,
) -> Result<Listener, ListenError> {
    if let Bind::Tcp(addr) = place
        && !addr.ip().is_loopback()
        && !limits.allow_remote
    {
        return Err(ListenError::NotLoopback(*addr));
    }
    let (security, certificate) = match limits.tls {
        TlsMode::None => (None, None),
        TlsMode::Starttls | TlsMode::Implicit => {
            let (security, certificate) = certificate::security(&limits)?;
            (Some(security), Some(certificate))
        }
    };
    let bind = |source: io::Error| match place {
        Bind::Unix(path) if source.kind() == io::ErrorKind::AlreadyExists => {
            ListenError::Occupied(path.clone())
        }
        _ => ListenError::Bind { place: place.clone(), source },
    };
    let socket = Listening::at(place, limits.backlog).map_err(bind)?;
    let bound = socket.place().map_err(bind)?;
    let shared = Arc::new(ListenerState::new(limits, seed, now(), security, sink));
    let stop = watch::Sender::new(false);
    let mut listener = Listener { certificate, socket, place: bound, shared, stop, threads: Vec::new() };
    for n in 0..threads.max(1) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ListenError::Thread)?;
        let cpu = Arc::new(Cpu::default());
        let worker = ListenerThread {
            socket: listener.socket.share().map_err(bind)?,
            shared: Arc::clone(&listener.shared),
            stop: listener.stop.subscribe(),
            cpu: Arc::clone(&cpu),
        };
        let thread = std::thread::Builder::new()
            .name(format!("listener-{n}"))
            .spawn(move || worker.run(&runtime))
            .map_err(ListenError::Thread)?;
        listener.threads.push((cpu, thread));
    }
    Ok(listener)
}

impl Listener {
    /// Returns the address or path on which the listener listens.
    pub fn place(&self) -> &Bind {
        &self.place
    }

    /// Returns the address on which the listener listens.
    ///
    /// # Panics
    /// If the listener was started on a unix socket.
    pub fn addr(&self) -> SocketAddr {
        match &self.place {
            Bind::Tcp(address) => *address,
            Bind::Unix(_) => panic!("a listener on a unix socket has no IP address"),
        }
    }

    /// Sets the time from which outage and stall are counted. Only the first call has an effect.
    pub fn count_from(&self, begin: Instant) {
        self.shared.begin.set(begin).ok();
    }

    /// Returns the certificate, if the listener uses TLS.
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.certificate.as_ref()
    }

    /// Returns the ledger so far.
    pub fn ledger(&self) -> LedgerSnapshot {
        let mut ledger = self.shared.counts.snapshot();
        self.shared.logins.enter(&self.shared.limits, &mut ledger);
        ledger
    }

    /// Returns the processor time of all threads of the listener so far, in seconds: (user, system). The values are at
    /// most 50 ms old.
    pub fn cpu(&self) -> (f64, f64) {
        let sum = |of: fn(&Cpu) -> &AtomicU64| {
            self.threads.iter().map(|(cpu, _)| of(cpu).load(Relaxed)).sum::<u64>() as f64 / 1e6
        };
        (sum(|cpu| &cpu.user), sum(|cpu| &cpu.system))
    }

    /// Returns how late the timers of the listener's threads were since its start or since the last call.
    pub fn timer_delay(&self) -> TimerDelay {
        let mut delay = TimerDelay::default();
        for (cpu, _) in &self.threads {
            delay.turns += cpu.turns.swap(0, Relaxed);
            delay.late += cpu.late.swap(0, Relaxed);
            delay.longest = delay.longest.max(Duration::from_micros(cpu.latest.swap(0, Relaxed)));
        }
        delay
    }

    /// Ends every session and thread; returns the final ledger.
    pub fn stop(mut self) -> LedgerSnapshot {
        self.end();
        self.ledger()
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        for (_, thread) in self.threads.drain(..) {
            // The error needs no report: a thread that panicked has already printed its message.
            drop(thread.join());
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.end();
    }
}

#[expect(clippy::disallowed_methods, reason = "the listener's clock starts here")]
fn now() -> Instant {
    Instant::now()
}

/// A thread of a listener.
struct ListenerThread {
    socket: Listening,
    shared: Arc<ListenerState>,
    stop: watch::Receiver<bool>,
    cpu: Arc<Cpu>,
}

impl ListenerThread {
    fn run(self, runtime: &Runtime) {
        if self.shared.security.is_some() {
            crate::net::tls::warm_up();
        }
        let local = LocalSet::new();
        let cpu = Arc::clone(&self.cpu);
        local.block_on(runtime, self.serve());
        // Drops the open sessions, which add their counts to the ledger.
        drop(local);
        cpu.publish();
    }

    async fn serve(mut self) {
        let Ok(socket) = self.socket.acceptor() else { return };
        // Without a descriptor for precise timers, delays have the runtime's resolution of 1 ms.
        let scratch = Rc::new(Scratch::with_timers().unwrap_or_default());
        let ringing = Rc::clone(&scratch);
        tokio::task::spawn_local(async move { ringing.ring().await });
        tokio::task::spawn_local(publish(Arc::clone(&self.cpu)));
        tokio::task::spawn_local(stall(Arc::clone(&self.shared), self.stop.clone()));
        loop {
            tokio::select! {
                biased;
                _ = self.stop.wait_for(|stop| *stop) => return,
                accepted = socket.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let scratch = Rc::clone(&scratch);
                        tokio::task::spawn_local(session(Arc::clone(&self.shared), stream, peer, scratch));
                    }
                    Err(_) => {
                        // Most likely no descriptors are left. An immediate retry would only waste processor time.
                        self.shared.counts.accept_errors.fetch_add(1, Relaxed);
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                },
            }
        }
    }
}

async fn session(
    shared: Arc<ListenerState>,
    mut stream: Stream,
    address: Option<IpAddr>,
    scratch: Rc<Scratch>,
) {
    let number = shared.number();
    let mut peer = Peer::new(address, &shared.limits);
    if peer.sends_header(&shared.limits) {
        // Boxed, so that the future of a session without a header stays small.
        match Box::pin(proxy::read(&mut stream, shared.limits.proxy_timeout)).await {
            Ok(Some(client)) => peer.speaks_for(client),
            Ok(None) => {}
            Err(_) => return shared.counts.refuse_header(),
        }
    }
    let bounds = shared.bounds(now());
    let mut meter = ByteCounter { shared: Arc::clone(&shared), received: 0, sent: 0 };
    let mut server = Server::new(Behaviour::new(shared, peer, number), bounds);
    drive(&mut stream, &mut server, &mut meter, &scratch).await;
}

/// Counts the bytes of one session.
struct ByteCounter {
    shared: Arc<ListenerState>,
    received: u64,
    sent: u64,
}

impl MachineOwner<Server<Behaviour>> for ByteCounter {
    fn event(&mut self, _machine: &mut Server<Behaviour>, _now: Instant, event: Infallible) {
        match event {}
    }

    fn sent(&mut self, _machine: &Server<Behaviour>, bytes: &[u8]) {
        self.sent += bytes.len() as u64;
    }

    fn received(&mut self, bytes: &[u8]) {
        self.received += bytes.len() as u64;
    }

    fn security(&self) -> Option<&Security> {
        self.shared.security.as_ref()
    }
}

impl Drop for ByteCounter {
    fn drop(&mut self) {
        self.shared.counts.received.fetch_add(self.received, Relaxed);
        self.shared.counts.sent.fetch_add(self.sent, Relaxed);
    }
}

/// Blocks the thread for the time of the configured stall, if there is one.
async fn stall(shared: Arc<ListenerState>, stop: watch::Receiver<bool>) {
    let Some(window) = shared.limits.stall else { return };
    let from = *shared.begin.wait().await + window.from;
    tokio::time::sleep_until(from.into()).await;
    let end = from + window.length;
    while let Some(left) = end.checked_duration_since(now()).filter(|left| !left.is_zero()) {
        if *stop.borrow() {
            return;
        }
        std::thread::sleep(left.min(TICK));
    }
}

async fn publish(cpu: Arc<Cpu>) {
    loop {
        cpu.publish();
        let before = now();
        tokio::time::sleep(TICK).await;
        cpu.turn(now().saturating_duration_since(before).saturating_sub(TICK));
    }
}

impl Cpu {
    /// Notes a turn of the thread's timer that was late by `delay`.
    fn turn(&self, delay: Duration) {
        self.turns.fetch_add(1, Relaxed);
        self.late.fetch_add(u64::from(delay > LATE), Relaxed);
        self.latest.fetch_max(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Stores the processor time that the calling thread has used so far.
    #[cfg(target_os = "linux")]
    fn publish(&self) {
        use nix::sys::resource::{UsageWho, getrusage};
        let micros = |time: nix::sys::time::TimeVal| {
            u64::try_from(time.tv_sec()).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_usec()).unwrap_or(0)
        };
        if let Ok(usage) = getrusage(UsageWho::RUSAGE_THREAD) {
            self.user.store(micros(usage.user_time()), Relaxed);
            self.system.store(micros(usage.system_time()), Relaxed);
        }
    }

    /// Does nothing: only Linux reports the processor time of a single thread.
    #[cfg(not(target_os = "linux"))]
    fn publish(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_at_rest_is_small() {
        let size = size_of::<Server<Behaviour>>();
        assert!(size <= 512, "{size} bytes");
    }
}
