//! Hands over a real wire: a thread's runtime that runs while its owner waits, and a mailbox for each session.

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
use super::{By, Hands, Leave, Met, Opened, Refusal, Session, Spent, Unconnected, Way};
use crate::generator::Stop;
use crate::generator::clock;
use crate::generator::judge;
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
use crate::smtp::raw_client::{Heard, Led};
use crate::smtp::script::{Identity, Tls};
use crate::smtp::{Closed, Script, Step};

/// How long the reply to QUIT may take before this side of the connection is ended without it.
const FAREWELL: Duration = Duration::from_secs(2);
/// What a session that nobody asks may have said at the most: a listener that talks without end costs no memory.
const UNHEARD: usize = 1000;
/// QUIT, as it is said.
const QUIT: &[u8] = b"QUIT\r\n";

/// The hands of this machine.
pub struct Live {
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
    octets: Cell<u64>,
    /// Who is told if a first session is answered nothing.
    on_silence: RefCell<Option<OnSilence>>,
}

/// Is told once.
type OnSilence = Box<dyn FnOnce()>;

/// One session as its owner sees it.
#[derive(Default)]
struct Line {
    heard: RefCell<VecDeque<(Instant, Heard)>>,
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
    async fn next(&self) -> Option<(Instant, Heard)> {
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

impl Host<Led> for Desk {
    fn event(&mut self, led: &mut Led, now: Instant, event: Heard) {
        let mut heard = self.line.heard.borrow_mut();
        if heard.len() < UNHEARD {
            heard.push_back((now, event));
        } else {
            led.close(Close::Reset);
        }
        drop(heard);
        self.line.news.notify_waiters();
    }

    fn poll_wake(&mut self, led: &mut Led, cx: &mut Context<'_>) -> Poll<()> {
        let says = std::mem::take(&mut *self.line.says.borrow_mut());
        let close = self.line.close.take();
        if says.is_empty() && close.is_none() {
            *self.line.waker.borrow_mut() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        led.say(&says);
        match close {
            Some(Ending::Orderly(until)) => led.close_and_await(until),
            Some(Ending::Reset) => led.close(Close::Reset),
            None => {}
        }
        Poll::Ready(())
    }

    fn pace(&self) -> Option<u32> {
        self.shared.script.manners.trickle
    }

    fn sent(&mut self, _: &Led, bytes: &[u8]) {
        self.shared.octets.set(self.shared.octets.get() + bytes.len() as u64);
    }

    fn security(&self) -> Option<&Security> {
        self.shared.security.as_ref()
    }
}

impl Live {
    /// Hands that open sessions of `plan` at `endpoint`. `security`: if the plan speaks TLS.
    ///
    /// # Errors
    /// No descriptor is left for the runtime.
    pub fn new(plan: &Plan, endpoint: Endpoint, security: Option<Security>) -> Result<Live, RunError> {
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
            octets: Cell::new(0),
            on_silence: RefCell::new(None),
        };
        Ok(Live {
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
    pub fn stopped_by(mut self, stop: watch::Receiver<Stop>) -> Live {
        self.stop = Some(stop);
        self
    }

    fn since(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.begun)
    }
}

/// Opens one session and goes on driving it; what became of the opening.
async fn opening(shared: Rc<Shared>, line: Rc<Line>, session: Session, way: Way) -> Opened {
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
                    return Opened::Own(format!("{step} failed: {}", why.unwrap_or_default()));
                }
                Fault::Refused => By::NoConnect(Unconnected::Refused),
                Fault::TimedOut => By::NoConnect(Unconnected::TimedOut),
                Fault::Unreachable | Fault::NotResolved => By::NoConnect(Unconnected::Unreachable),
                Fault::Reset => By::Closed(Closed::Reset),
            };
            let step = if fault == Fault::Reset { Step::Greeting } else { step };
            return Opened::Out(Refusal { step, by, session, took: took(clock::now()) });
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
            let mut led = if way.bare { Led::bare() } else { Led::new(script, identity, clock::now()) };
            let mut desk = Desk { line: line.clone(), shared: shared.clone() };
            drive(&mut stream, &mut led, &mut desk, &shared.scratch).await;
            drop(stream);
            line.closed_by_peer.set(led.is_closed_by_peer());
            line.over.set(true);
            line.news.notify_waiters();
        }
    };
    tokio::task::spawn_local(driven);
    if way.bare {
        return Opened::In(session);
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
        Some((_, Heard::Established(offer))) => {
            *line.offer.borrow_mut() = *offer;
            Opened::In(session)
        }
        Some((at, Heard::Refused(step, failure))) => {
            Opened::Out(Refusal { step, by: by(*failure), session, took: took(at) })
        }
        Some((at, Heard::Closed(how))) => {
            Opened::Out(Refusal { step: Step::Greeting, by: By::Closed(how), session, took: took(at) })
        }
        Some((_, Heard::Reply(_) | Heard::Surplus(_) | Heard::Malformed(_))) | None => {
            Opened::Own("the session ended before its opening did".to_owned())
        }
    }
}

/// What a failed step shows to who looks on.
fn by(failure: Failure) -> By {
    match failure {
        Failure::Reply(reply)
        | Failure::Unexpected(reply)
        | Failure::Challenged { reply, understood: true, .. } => By::Reply(reply),
        Failure::TimedOut(_) | Failure::SessionTimedOut => By::Silence,
        Failure::Closed(how) => By::Closed(how),
        other => By::Other(judge::sample(&other)),
    }
}

impl Hands for Live {
    fn open(&mut self, ways: &[Way], at_once: usize, within: Duration) -> Vec<Opened> {
        let first = self.lines.len();
        self.lines.extend(ways.iter().map(|_| Rc::new(Line::default())));
        let until = clock::now() + within;
        let openings = ways.iter().enumerate().map(|(index, way)| {
            let line = self.lines[first + index].clone();
            let (shared, way) = (self.shared.clone(), *way);
            async move {
                let opening = opening(shared, line.clone(), Session(first + index), way);
                match tokio::time::timeout_at(until.into(), opening).await {
                    Ok(opened) => opened,
                    Err(_) => {
                        line.close.set(Some(Ending::Reset));
                        line.wake();
                        Opened::Own("the time for it was over".to_owned())
                    }
                }
            }
        });
        let openings = futures::stream::iter(openings).buffered(at_once.max(1));
        self.runtime.block_on(self.tasks.run_until(openings.collect()))
    }

    fn offer(&self, session: Session) -> Offer {
        self.lines[session.0].offer.borrow().clone()
    }

    fn tell(&mut self, session: Session, octets: &[u8]) {
        let line = &self.lines[session.0];
        line.says.borrow_mut().extend_from_slice(octets);
        line.wake();
    }

    fn hear(&mut self, session: Session, within: Duration) -> Met {
        let line = self.lines[session.0].clone();
        // The timer is made within the runtime.
        let heard = async { tokio::time::timeout(within, line.next()).await };
        let heard = self.runtime.block_on(self.tasks.run_until(heard));
        let silence = || Met { what: By::Silence, at: self.since(clock::now()) };
        let Ok(Some((at, heard))) = heard else { return silence() };
        let what = match heard {
            Heard::Reply(reply) => By::Reply(reply),
            Heard::Surplus(reply) => By::Other(format!("a reply that nothing was owed for: {reply}")),
            Heard::Malformed(malformed) => By::Other(malformed.to_string()),
            Heard::Closed(how) => By::Closed(how),
            Heard::Refused(_, failure) => by(*failure),
            Heard::Established(_) => return silence(),
        };
        Met { what, at: self.since(at) }
    }

    fn leave(&mut self, sessions: &[Session], how: Leave, within: Duration) -> u64 {
        let until = clock::now() + within;
        let goodbyes = sessions.iter().map(|session| {
            let line = self.lines[session.0].clone();
            async move {
                if how == Leave::Quit && !line.over.get() {
                    line.says.borrow_mut().extend_from_slice(QUIT);
                    line.wake();
                    // Its reply, or its end; what else was left unheard is of no interest any more.
                    let farewell = async {
                        while let Some((_, heard)) = line.next().await {
                            if matches!(&heard, Heard::Reply(reply) if reply.code == 221) {
                                return;
                            }
                        }
                    };
                    tokio::time::timeout(FAREWELL.min(within), farewell).await.ok();
                }
                let ending = if how == Leave::Reset { Ending::Reset } else { Ending::Orderly(until) };
                line.close.set(Some(ending));
                line.wake();
                line.is_over().await;
                // A reset ends the session on both sides.
                how == Leave::Reset || line.closed_by_peer.get() || !line.connected.get()
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
        Spent { connections: self.shared.connections.get(), octets: self.shared.octets.get() }
    }
}
