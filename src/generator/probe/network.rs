//! Probes over the network: a single-threaded runtime that runs while the owner waits, and a channel for each session.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures::StreamExt;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, watch};
use tokio::task::LocalSet;

use super::stalls::Stalls;
use super::{
    CloseMode, ConnectFailure, OpenOutcome, Probe, ProbeEvent, ProbeOptions, ProbeOutcome, Probes, Refusal,
    Spent,
};
use crate::generator::Stop;
use crate::generator::clock;
use crate::generator::failure_class;
use crate::generator::runner::RunError;
use crate::net::address::origin::Origin;
use crate::net::dial::{self, Endpoint, Fault};
use crate::net::drive::{Host, Scratch, drive};
use crate::net::tls::Security;
use crate::plan::{Plan, silence};
use crate::smtp::client::Failure;
use crate::smtp::command::xclient_attributes;
use crate::smtp::hello::Offer;
use crate::smtp::machine::Close;
use crate::smtp::raw_client::{RawClient, RawEvent};
use crate::smtp::script::{Identity, Tls};
use crate::smtp::{Closed, Script, Step};

/// How long the reply to QUIT may take before this side of the connection is ended without it.
const FAREWELL: Duration = Duration::from_secs(2);
/// What a session that nobody asks may have said at the most: a listener that talks without end costs no memory.
const UNHEARD: usize = 1000;
/// QUIT, as it is said.
const QUIT: &[u8] = b"QUIT\r\n";

/// Probes over the network.
pub struct NetworkProbes {
    runtime: Runtime,
    tasks: LocalSet,
    shared: Rc<Shared>,
    lines: Vec<Rc<Line>>,
    hosts: u64,
    begun: Instant,
    stop: Option<watch::Receiver<Stop>>,
    stalls: Stalls,
}

/// What every session needs.
struct Shared {
    endpoint: Endpoint,
    plan: Plan,
    script: Rc<Script>,
    /// The same without TLS.
    clear: Rc<Script>,
    security: Option<Security>,
    scratch: Scratch,
    connections: Cell<u64>,
    bytes: Cell<u64>,
    /// Who is told if a first session is answered nothing.
    on_silence: RefCell<Option<OnSilence>>,
}

/// Is told once.
type OnSilence = Box<dyn FnOnce()>;

/// One session as its owner sees it.
#[derive(Default)]
struct Line {
    heard: RefCell<VecDeque<(Instant, RawEvent)>>,
    says: RefCell<Vec<u8>>,
    close: Cell<Option<Ending>>,
    /// There was a connection.
    connected: Cell<bool>,
    /// The listener closed the connection as well, or reset it.
    closed_by_peer: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// Something was heard, or it is over.
    news: Notify,
    over: Cell<bool>,
    /// What the listener offers.
    offer: RefCell<Offer>,
}

/// How a session is to end.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// This side is ended, and the end of the other is awaited until then.
    Orderly(Instant),
    Reset,
}

impl Line {
    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// The next thing that is heard; `None`: it is over, and all was heard.
    async fn next(&self) -> Option<(Instant, RawEvent)> {
        loop {
            let news = self.news.notified();
            if let Some(heard) = self.heard.borrow_mut().pop_front() {
                return Some(heard);
            }
            if self.over.get() {
                return None;
            }
            news.await;
        }
    }

    async fn is_over(&self) {
        loop {
            let news = self.news.notified();
            if self.over.get() {
                return;
            }
            news.await;
        }
    }
}

/// The driver's side of a session.
struct Desk {
    line: Rc<Line>,
    shared: Rc<Shared>,
}

impl Host<RawClient> for Desk {
    fn event(&mut self, client: &mut RawClient, now: Instant, event: RawEvent) {
        let mut heard = self.line.heard.borrow_mut();
        if heard.len() < UNHEARD {
            heard.push_back((now, event));
        } else {
            client.close(Close::Reset);
        }
        drop(heard);
        self.line.news.notify_waiters();
    }

    fn poll_wake(&mut self, client: &mut RawClient, cx: &mut Context<'_>) -> Poll<()> {
        let says = std::mem::take(&mut *self.line.says.borrow_mut());
        let close = self.line.close.take();
        if says.is_empty() && close.is_none() {
            *self.line.waker.borrow_mut() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        client.send(&says);
        match close {
            Some(Ending::Orderly(until)) => client.close_and_await(until),
            Some(Ending::Reset) => client.close(Close::Reset),
            None => {}
        }
        Poll::Ready(())
    }

    fn pace(&self) -> Option<u32> {
        self.shared.script.manners.trickle
    }

    fn sent(&mut self, _: &RawClient, bytes: &[u8]) {
        self.shared.bytes.set(self.shared.bytes.get() + bytes.len() as u64);
    }

    fn security(&self) -> Option<&Security> {
        self.shared.security.as_ref()
    }
}

impl NetworkProbes {
    /// Probes that open sessions of `plan` at `endpoint`. `security`: if the plan speaks TLS.
    ///
    /// # Errors
    /// No descriptor is left for the runtime.
    pub fn new(
        plan: &Plan,
        endpoint: Endpoint,
        security: Option<Security>,
    ) -> Result<NetworkProbes, RunError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let hosts = match &endpoint.origin {
            Origin::Any => 1,
            Origin::Bound(addresses) | Origin::Proxied(_, addresses) | Origin::Xclient(addresses) => {
                u64::try_from(addresses.len()).unwrap_or(u64::MAX).max(1)
            }
        };
        let clear = Script { tls: Tls::None, ..plan.script.clone() };
        let shared = Shared {
            endpoint,
            plan: plan.clone(),
            script: Rc::new(plan.script.clone()),
            clear: Rc::new(clear),
            security,
            scratch: Scratch::new(),
            connections: Cell::new(0),
            bytes: Cell::new(0),
            on_silence: RefCell::new(None),
        };
        Ok(NetworkProbes {
            runtime,
            tasks: LocalSet::new(),
            shared: Rc::new(shared),
            lines: Vec::new(),
            hosts,
            begun: clock::now(),
            stop: None,
            stalls: Stalls::watch()?,
        })
    }

    /// Calls `tell` once if the first session is answered nothing for [`silence::PATIENCE`].
    pub fn on_silence(&mut self, tell: impl FnOnce() + 'static) {
        *self.shared.on_silence.borrow_mut() = Some(Box::new(tell));
    }

    /// The same, which end their search when `stop` says so.
    #[must_use]
    pub fn stopped_by(mut self, stop: watch::Receiver<Stop>) -> NetworkProbes {
        self.stop = Some(stop);
        self
    }

    fn since(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.begun)
    }
}

/// Opens one session and goes on driving it; what became of the opening.
async fn opening(shared: Rc<Shared>, line: Rc<Line>, session: Probe, way: ProbeOptions) -> OpenOutcome {
    let begun = clock::now();
    shared.connections.set(shared.connections.get() + 1);
    let dialed = dial::dial(&shared.endpoint, way.host, clock::now).await;
    let took = |at: Instant| at.saturating_duration_since(begun);
    let why = dialed.result.as_ref().err().map(|(_, fault)| dialed.in_words(*fault));
    let stream = match dialed.result {
        Ok(stream) => stream,
        Err((step, fault)) => {
            line.over.set(true);
            let by = match fault {
                Fault::Own(_) | Fault::NotAllowed(_) => {
                    return OpenOutcome::OwnFailure(format!("{step} failed: {}", why.unwrap_or_default()));
                }
                Fault::Refused => ProbeEvent::NotConnected(ConnectFailure::Refused),
                Fault::TimedOut => ProbeEvent::NotConnected(ConnectFailure::TimedOut),
                Fault::Unreachable | Fault::NotResolved => {
                    ProbeEvent::NotConnected(ConnectFailure::Unreachable)
                }
                Fault::Reset => ProbeEvent::Closed(Closed::Reset),
            };
            let step = if fault == Fault::Reset { Step::Greeting } else { step };
            return OpenOutcome::Refused(Refusal { step, event: by, session, took: took(clock::now()) });
        }
    };
    line.connected.set(true);
    let identity = Identity {
        login: (!way.clear).then(|| shared.plan.logins.of(shared.plan.seed, way.host).cloned()).flatten(),
        xclient: shared
            .endpoint
            .origin
            .told(way.host)
            .map(|address| xclient_attributes(address, &shared.plan.script.name)),
    };
    let script = if way.clear { shared.clear.clone() } else { shared.script.clone() };
    let driven = {
        let (line, shared) = (line.clone(), shared.clone());
        async move {
            let mut stream = stream;
            let mut client =
                if way.bare { RawClient::bare() } else { RawClient::new(script, identity, clock::now()) };
            let mut desk = Desk { line: line.clone(), shared: shared.clone() };
            drive(&mut stream, &mut client, &mut desk, &shared.scratch).await;
            drop(stream);
            line.closed_by_peer.set(client.is_closed_by_peer());
            line.over.set(true);
            line.news.notify_waiters();
        }
    };
    tokio::task::spawn_local(driven);
    if way.bare {
        return OpenOutcome::Open(session);
    }
    let on_silence = shared.on_silence.borrow_mut().take();
    let mut heard = std::pin::pin!(line.next());
    let first = match on_silence {
        None => heard.await,
        Some(tell) => match tokio::time::timeout(silence::PATIENCE, &mut heard).await {
            Ok(first) => first,
            Err(_) => {
                tell();
                heard.await
            }
        },
    };
    match first {
        Some((_, RawEvent::Established(offer))) => {
            *line.offer.borrow_mut() = *offer;
            OpenOutcome::Open(session)
        }
        Some((at, RawEvent::Refused(step, failure))) => {
            OpenOutcome::Refused(Refusal { step, event: by(*failure), session, took: took(at) })
        }
        Some((at, RawEvent::Closed(how))) => OpenOutcome::Refused(Refusal {
            step: Step::Greeting,
            event: ProbeEvent::Closed(how),
            session,
            took: took(at),
        }),
        Some((_, RawEvent::Reply(_) | RawEvent::Surplus(_) | RawEvent::Malformed(_))) | None => {
            OpenOutcome::OwnFailure("the session ended before its opening did".to_owned())
        }
    }
}

/// What a failed step shows to who looks on.
fn by(failure: Failure) -> ProbeEvent {
    match failure {
        Failure::Reply(reply)
        | Failure::Unexpected(reply)
        | Failure::Challenged { reply, understood: true, .. } => ProbeEvent::Reply(reply),
        Failure::TimedOut(_) | Failure::SessionTimedOut => ProbeEvent::Silence,
        Failure::Closed(how) => ProbeEvent::Closed(how),
        other => ProbeEvent::Other(failure_class::sample(&other)),
    }
}

impl Probes for NetworkProbes {
    fn open(&mut self, ways: &[ProbeOptions], at_once: usize, within: Duration) -> Vec<OpenOutcome> {
        let first = self.lines.len();
        self.lines.extend(ways.iter().map(|_| Rc::new(Line::default())));
        let until = clock::now() + within;
        let openings = ways.iter().enumerate().map(|(index, way)| {
            let line = self.lines[first + index].clone();
            let (shared, way) = (self.shared.clone(), *way);
            async move {
                let opening = opening(shared, line.clone(), Probe(first + index), way);
                match tokio::time::timeout_at(until.into(), opening).await {
                    Ok(opened) => opened,
                    Err(_) => {
                        line.close.set(Some(Ending::Reset));
                        line.wake();
                        OpenOutcome::OwnFailure("the time for it was over".to_owned())
                    }
                }
            }
        });
        let openings = futures::stream::iter(openings).buffered(at_once.max(1));
        self.runtime.block_on(self.tasks.run_until(openings.collect()))
    }

    fn offer(&self, session: Probe) -> Offer {
        self.lines[session.0].offer.borrow().clone()
    }

    fn send(&mut self, session: Probe, bytes: &[u8]) {
        let line = &self.lines[session.0];
        line.says.borrow_mut().extend_from_slice(bytes);
        line.wake();
    }

    fn receive(&mut self, session: Probe, within: Duration) -> ProbeOutcome {
        let line = self.lines[session.0].clone();
        // The timer is made within the runtime.
        let heard = async { tokio::time::timeout(within, line.next()).await };
        let heard = self.runtime.block_on(self.tasks.run_until(heard));
        let silence = || ProbeOutcome { event: ProbeEvent::Silence, at: self.since(clock::now()) };
        let Ok(Some((at, heard))) = heard else { return silence() };
        let what = match heard {
            RawEvent::Reply(reply) => ProbeEvent::Reply(reply),
            RawEvent::Surplus(reply) => {
                ProbeEvent::Other(format!("a reply that nothing was owed for: {reply}"))
            }
            RawEvent::Malformed(malformed) => ProbeEvent::Other(malformed.to_string()),
            RawEvent::Closed(how) => ProbeEvent::Closed(how),
            RawEvent::Refused(_, failure) => by(*failure),
            RawEvent::Established(_) => return silence(),
        };
        ProbeOutcome { event: what, at: self.since(at) }
    }

    fn close(&mut self, sessions: &[Probe], how: CloseMode, within: Duration) -> u64 {
        let until = clock::now() + within;
        let goodbyes = sessions.iter().map(|session| {
            let line = self.lines[session.0].clone();
            async move {
                if how == CloseMode::Quit && !line.over.get() {
                    line.says.borrow_mut().extend_from_slice(QUIT);
                    line.wake();
                    // Its reply, or its end; what else was left unheard is of no interest any more.
                    let farewell = async {
                        while let Some((_, heard)) = line.next().await {
                            if matches!(&heard, RawEvent::Reply(reply) if reply.code == 221) {
                                return;
                            }
                        }
                    };
                    tokio::time::timeout(FAREWELL.min(within), farewell).await.ok();
                }
                let ending = if how == CloseMode::Reset { Ending::Reset } else { Ending::Orderly(until) };
                line.close.set(Some(ending));
                line.wake();
                line.is_over().await;
                // A reset ends the session on both sides.
                how == CloseMode::Reset || line.closed_by_peer.get() || !line.connected.get()
            }
        });
        let seen = futures::future::join_all(goodbyes);
        let seen = self.runtime.block_on(self.tasks.run_until(seen));
        // What they have said is of no interest any more.
        for session in sessions {
            self.lines[session.0].heard.borrow_mut().clear();
        }
        seen.iter().filter(|seen| !**seen).count() as u64
    }

    fn pause(&mut self, length: Duration) {
        self.runtime.block_on(self.tasks.run_until(async { tokio::time::sleep(length).await }));
    }

    fn now(&self) -> Duration {
        self.since(clock::now())
    }

    fn hosts(&self) -> u64 {
        self.hosts
    }

    fn is_stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| *stop.borrow() != Stop::Run)
    }

    fn stalled(&self) -> Duration {
        self.stalls.so_far()
    }

    fn network(&self, host: u64) -> Option<IpAddr> {
        let addresses = match &self.shared.endpoint.origin {
            Origin::Any => return None,
            Origin::Bound(addresses) | Origin::Proxied(_, addresses) | Origin::Xclient(addresses) => {
                addresses
            }
        };
        Some(match addresses.in_turn(host)? {
            IpAddr::V4(address) => (Ipv4Addr::from_bits(address.to_bits() & !0xff)).into(),
            IpAddr::V6(address) => (Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)).into(),
        })
    }

    fn spent(&self) -> Spent {
        Spent { connections: self.shared.connections.get(), bytes: self.shared.bytes.get() }
    }
}
