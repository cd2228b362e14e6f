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
    CloseMode, OpenOutcome, Probe, ProbeEvent, ProbeOptions, ProbeOutcome, ProbeRefusal, Probes, Spent,
};
use crate::collector::Outcome;
use crate::condition::{Classifier, Condition};
use crate::generator::Stop;
use crate::generator::clock;
use crate::generator::connector::{Connector, ThreadConnector};
use crate::generator::failure_class::{self, classify, classify_dial};
use crate::generator::runner::RunError;
use crate::net::address::addresses::Addresses;
use crate::net::address::origin::ClientAddress;
use crate::net::dial::ConnectFault;
use crate::net::drive::{MachineOwner, Scratch, drive};
use crate::net::tls::Security;
use crate::plan::silence;
use crate::smtp::auth::Redactor;
use crate::smtp::client::Failure;
use crate::smtp::command::QUIT;
use crate::smtp::hello::Offer;
use crate::smtp::machine::Close;
use crate::smtp::raw_client::{RawClient, RawEvent};
use crate::smtp::{Closed, Step};

/// The longest wait for the reply to QUIT before the client closes its side.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long the listener may take to close its side once the user has stopped the measurement.
const STOPPED_CLOSE: Duration = Duration::from_secs(1);
/// The largest number of events that wait: a listener that never stops sending must not fill the memory.
const MOST_UNREAD: usize = 1000;

/// Probes over the network.
pub struct NetworkProbes {
    runtime: Runtime,
    tasks: LocalSet,
    shared: Rc<ProbeContext>,
    channels: Vec<Rc<Channel>>,
    created: Instant,
    stop: Option<watch::Receiver<Stop>>,
    stalls: Stalls,
}

/// The state that all probes share.
struct ProbeContext {
    connector: ThreadConnector,
    /// The connector without TLS and login.
    clear: ThreadConnector,
    classifier: Classifier,
    scratch: Scratch,
    connections: Cell<u64>,
    bytes: Cell<u64>,
    /// The callback for a first session that gets no reply.
    on_silence: RefCell<Option<OnSilence>>,
}

/// A callback that is called once.
type OnSilence = Box<dyn FnOnce()>;

/// Connects the owner of a probe and its driver.
#[derive(Default)]
struct Channel {
    events: RefCell<VecDeque<(Instant, RawEvent)>>,
    outgoing: RefCell<Vec<u8>>,
    close: Cell<Option<CloseOrder>>,
    /// Whether there was a connection.
    connected: Cell<bool>,
    /// Whether the listener closed or reset the connection, too.
    closed_by_peer: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// Wakes the owner: an event came, or the session is over.
    changed: Notify,
    over: Cell<bool>,
    /// The extensions that the listener offers.
    offer: RefCell<Offer>,
}

/// How a session must end.
#[derive(Clone, Copy, Debug)]
enum CloseOrder {
    /// Close the client's side, and wait for the listener's close until this time.
    Orderly(Instant),
    Reset,
}

impl Channel {
    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Waits for the next event; `None`: the session is over, and all events were taken.
    async fn next(&self) -> Option<(Instant, RawEvent)> {
        loop {
            let changed = self.changed.notified();
            if let Some(event) = self.events.borrow_mut().pop_front() {
                return Some(event);
            }
            if self.over.get() {
                return None;
            }
            changed.await;
        }
    }

    async fn is_over(&self) {
        loop {
            let changed = self.changed.notified();
            if self.over.get() {
                return;
            }
            changed.await;
        }
    }
}

/// The driver's side of a probe.
struct ProbeDriver {
    channel: Rc<Channel>,
    shared: Rc<ProbeContext>,
    clear: bool,
    /// Removes the secret of the login from all that the listener says: any of it may be shown as evidence.
    redactor: Redactor,
}

impl MachineOwner<RawClient> for ProbeDriver {
    fn event(&mut self, client: &mut RawClient, now: Instant, event: RawEvent) {
        let mut events = self.channel.events.borrow_mut();
        if events.len() < MOST_UNREAD {
            events.push_back((now, event.redacted(&self.redactor)));
        } else {
            client.close(Close::Reset);
        }
        drop(events);
        self.channel.changed.notify_waiters();
    }

    fn poll_wake(&mut self, client: &mut RawClient, cx: &mut Context<'_>) -> Poll<()> {
        let outgoing = std::mem::take(&mut *self.channel.outgoing.borrow_mut());
        let close = self.channel.close.take();
        if outgoing.is_empty() && close.is_none() {
            *self.channel.waker.borrow_mut() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        client.send(&outgoing);
        match close {
            Some(CloseOrder::Orderly(until)) => client.close_and_await(until),
            Some(CloseOrder::Reset) => client.close(Close::Reset),
            None => {}
        }
        Poll::Ready(())
    }

    fn pace(&self) -> Option<u32> {
        self.shared.connector.script().manners.trickle
    }

    fn sent(&mut self, _: &RawClient, bytes: &[u8]) {
        self.shared.bytes.set(self.shared.bytes.get() + bytes.len() as u64);
    }

    fn security(&self) -> Option<&Security> {
        if self.clear { None } else { self.shared.connector.security() }
    }
}

impl NetworkProbes {
    /// Returns probes whose sessions `connector` opens.
    ///
    /// # Errors
    /// No descriptor is left for the runtime.
    pub fn new(connector: &Connector) -> Result<NetworkProbes, RunError> {
        let shared = ProbeContext {
            connector: connector.on_thread()?,
            clear: connector.in_clear_text().on_thread()?,
            classifier: Classifier::new(connector.plan().classify.clone()),
            scratch: Scratch::new(),
            connections: Cell::new(0),
            bytes: Cell::new(0),
            on_silence: RefCell::new(None),
        };
        Ok(NetworkProbes {
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            tasks: LocalSet::new(),
            shared: Rc::new(shared),
            channels: Vec::new(),
            created: clock::now(),
            stop: None,
            stalls: Stalls::watch()?,
        })
    }

    /// Sets a callback that is called once if the first session gets no reply for [`silence::PATIENCE`].
    pub fn on_silence(&mut self, tell: impl FnOnce() + 'static) {
        *self.shared.on_silence.borrow_mut() = Some(Box::new(tell));
    }

    /// Sets the stop of the measurement. It ends every wait, and [`Probes::is_stopped`] reads it.
    #[must_use]
    pub fn stopped_by(mut self, stop: watch::Receiver<Stop>) -> NetworkProbes {
        self.stop = Some(stop);
        self
    }

    /// Returns the client addresses, if the plan names them.
    fn addresses(&self) -> Option<&Addresses> {
        match &self.shared.connector.connector().plan().origin {
            ClientAddress::Any => None,
            ClientAddress::Bound(addresses)
            | ClientAddress::Proxied(_, addresses)
            | ClientAddress::Xclient(addresses) => Some(addresses),
        }
    }

    /// Waits until the user stops the measurement.
    fn stopped(&self) -> impl Future<Output = ()> + use<> {
        let stop = self.stop.clone();
        async move {
            match stop {
                Some(stop) => Stop::requested(stop).await,
                None => std::future::pending().await,
            }
        }
    }

    fn since(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.created)
    }
}

/// Opens one session, starts its driver, and returns the outcome of the opening.
async fn open(
    shared: Rc<ProbeContext>,
    channel: Rc<Channel>,
    session: Probe,
    options: ProbeOptions,
) -> OpenOutcome {
    let started = clock::now();
    let took = |at: Instant| at.saturating_duration_since(started);
    let refused =
        |step, event, at| OpenOutcome::Refused(ProbeRefusal { step, event, session, took: took(at) });
    shared.connections.set(shared.connections.get() + 1);
    let connector = if options.clear { &shared.clear } else { &shared.connector };
    let dialed = connector.connect(options.host, &Cell::new(Step::Dns)).await;
    let reason = dialed.result.as_ref().err().map(|(_, fault)| dialed.in_words(*fault));
    let stream = match dialed.result {
        Ok(stream) => stream,
        Err((step, fault)) => {
            channel.over.set(true);
            let class = classify_dial(fault);
            return match fault {
                _ if class.outcome == Outcome::Shed => {
                    OpenOutcome::OwnFailure(format!("{step} failed: {}", reason.unwrap_or_default()))
                }
                ConnectFault::Reset => refused(step, ProbeEvent::Closed(Closed::Reset), clock::now()),
                _ => refused(step, ProbeEvent::NotConnected(class.condition), clock::now()),
            };
        }
    };
    channel.connected.set(true);
    let redactor = connector.redactor(options.host);
    let client = if options.bare { RawClient::bare() } else { connector.raw_client(options.host) };
    tokio::task::spawn_local({
        let (channel, shared) = (channel.clone(), shared.clone());
        async move {
            let (mut stream, mut client) = (stream, client);
            let mut driver = ProbeDriver {
                channel: channel.clone(),
                shared: shared.clone(),
                clear: options.clear,
                redactor,
            };
            drive(&mut stream, &mut client, &mut driver, &shared.scratch).await;
            drop(stream);
            channel.closed_by_peer.set(client.is_closed_by_peer());
            channel.over.set(true);
            channel.changed.notify_waiters();
        }
    });
    if options.bare {
        return OpenOutcome::Open(session);
    }
    let on_silence = shared.on_silence.borrow_mut().take();
    let mut next = std::pin::pin!(channel.next());
    let first = match on_silence {
        None => next.await,
        Some(call) => match tokio::time::timeout(silence::PATIENCE, &mut next).await {
            Ok(first) => first,
            Err(_) => {
                call();
                next.await
            }
        },
    };
    match first {
        Some((_, RawEvent::Established(offer))) => {
            *channel.offer.borrow_mut() = *offer;
            OpenOutcome::Open(session)
        }
        Some((at, RawEvent::Refused(step, failure))) => {
            refused(step, event_of(&shared.classifier, step, *failure), at)
        }
        Some((at, RawEvent::Closed(how))) => refused(Step::Greeting, ProbeEvent::Closed(how), at),
        Some((_, RawEvent::Reply(_) | RawEvent::Surplus(_) | RawEvent::Malformed(_))) | None => {
            OpenOutcome::OwnFailure("the session ended before it was open".to_owned())
        }
    }
}

/// Returns the event of a failed step.
fn event_of(classifier: &Classifier, step: Step, failure: Failure) -> ProbeEvent {
    match failure {
        Failure::Reply(reply)
        | Failure::Unexpected(reply)
        | Failure::Challenged { reply, understood: true, .. } => ProbeEvent::Reply(reply),
        Failure::TimedOut(_) | Failure::SessionTimedOut => ProbeEvent::Silence,
        Failure::Closed(how, _) => ProbeEvent::Closed(how),
        other => {
            let condition = classify(classifier, step, &other, false).condition;
            ProbeEvent::Failed(condition, failure_class::sample(&other))
        }
    }
}

impl Probes for NetworkProbes {
    fn open(&mut self, sessions: &[ProbeOptions], at_once: usize, within: Duration) -> Vec<OpenOutcome> {
        let first = self.channels.len();
        self.channels.extend(sessions.iter().map(|_| Rc::new(Channel::default())));
        let until = clock::now() + within;
        let openings = sessions.iter().enumerate().map(|(index, options)| {
            let channel = self.channels[first + index].clone();
            let (shared, options, stopped) = (self.shared.clone(), *options, self.stopped());
            async move {
                let opening = open(shared, channel.clone(), Probe(first + index), options);
                let why = tokio::select! {
                    biased;
                    opened = tokio::time::timeout_at(until.into(), opening) => match opened {
                        Ok(opened) => return opened,
                        Err(_) => "the session was not open in time",
                    },
                    () = stopped => "the measurement was stopped",
                };
                channel.close.set(Some(CloseOrder::Reset));
                channel.wake();
                OpenOutcome::OwnFailure(why.to_owned())
            }
        });
        let openings = futures::stream::iter(openings).buffered(at_once.max(1));
        self.runtime.block_on(self.tasks.run_until(openings.collect()))
    }

    fn offer(&self, session: Probe) -> Offer {
        self.channels[session.0].offer.borrow().clone()
    }

    fn send(&mut self, session: Probe, bytes: &[u8]) {
        let channel = &self.channels[session.0];
        channel.outgoing.borrow_mut().extend_from_slice(bytes);
        channel.wake();
    }

    fn receive(&mut self, session: Probe, within: Duration) -> ProbeOutcome {
        let channel = self.channels[session.0].clone();
        let stopped = self.stopped();
        // A timer must be made inside the runtime.
        let next = async {
            tokio::select! {
                biased;
                next = tokio::time::timeout(within, channel.next()) => next.ok().flatten(),
                () = stopped => None,
            }
        };
        let next = self.runtime.block_on(self.tasks.run_until(next));
        let silence = || ProbeOutcome { event: ProbeEvent::Silence, at: self.since(clock::now()) };
        let Some((at, event)) = next else { return silence() };
        let event = match event {
            RawEvent::Reply(reply) => ProbeEvent::Reply(reply),
            RawEvent::Surplus(reply) => {
                ProbeEvent::Failed(Condition::SurplusReply, format!("a reply without a command: {reply}"))
            }
            RawEvent::Malformed(malformed) => {
                ProbeEvent::Failed(Condition::MalformedReply, malformed.to_string())
            }
            RawEvent::Closed(how) => ProbeEvent::Closed(how),
            RawEvent::Refused(step, failure) => event_of(&self.shared.classifier, step, *failure),
            RawEvent::Established(_) => return silence(),
        };
        ProbeOutcome { event, at: self.since(at) }
    }

    fn is_over(&self, session: Probe) -> bool {
        let channel = &self.channels[session.0];
        channel.over.get() && channel.events.borrow().is_empty()
    }

    fn close(&mut self, sessions: &[Probe], how: CloseMode, within: Duration) -> u64 {
        let until = clock::now() + within;
        let closes = sessions.iter().map(|session| {
            let channel = self.channels[session.0].clone();
            async move {
                if how == CloseMode::Quit && !channel.over.get() {
                    channel.outgoing.borrow_mut().extend_from_slice(QUIT);
                    channel.wake();
                    // Waits for the reply to QUIT or for the end of the session. Other events are ignored.
                    let farewell = async {
                        while let Some((_, event)) = channel.next().await {
                            if matches!(&event, RawEvent::Reply(reply) if reply.code == 221) {
                                return;
                            }
                        }
                    };
                    tokio::time::timeout(FAREWELL.min(within), farewell).await.ok();
                }
                let order =
                    if how == CloseMode::Reset { CloseOrder::Reset } else { CloseOrder::Orderly(until) };
                channel.close.set(Some(order));
                channel.wake();
                channel.is_over().await;
                // A reset ends the session on both sides.
                how == CloseMode::Reset || channel.closed_by_peer.get() || !channel.connected.get()
            }
        });
        let (closes, stopped) = (futures::future::join_all(closes), self.stopped());
        let seen = async {
            let mut closes = std::pin::pin!(closes);
            let hurried = async {
                stopped.await;
                tokio::time::sleep(STOPPED_CLOSE).await;
            };
            tokio::select! {
                biased;
                seen = &mut closes => return seen,
                () = hurried => {}
            }
            for session in sessions {
                self.channels[session.0].close.set(Some(CloseOrder::Reset));
                self.channels[session.0].wake();
            }
            closes.await
        };
        let seen = self.runtime.block_on(self.tasks.run_until(seen));
        for session in sessions {
            self.channels[session.0].events.borrow_mut().clear();
        }
        seen.iter().filter(|seen| !**seen).count() as u64
    }

    fn pause(&mut self, length: Duration) {
        let stopped = self.stopped();
        let pause = async {
            tokio::select! {
                () = tokio::time::sleep(length) => {}
                () = stopped => {}
            }
        };
        self.runtime.block_on(self.tasks.run_until(pause));
    }

    fn now(&self) -> Duration {
        self.since(clock::now())
    }

    fn hosts(&self) -> u64 {
        self.addresses().map_or(1, |addresses| u64::try_from(addresses.len()).unwrap_or(u64::MAX).max(1))
    }

    fn is_stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| *stop.borrow() != Stop::Run)
    }

    fn stalled(&self) -> Duration {
        self.stalls.so_far()
    }

    fn network(&self, host: u64) -> Option<IpAddr> {
        Some(match self.addresses()?.in_turn(host)? {
            IpAddr::V4(address) => (Ipv4Addr::from_bits(address.to_bits() & !0xff)).into(),
            IpAddr::V6(address) => (Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)).into(),
        })
    }

    fn spent(&self) -> Spent {
        Spent { connections: self.shared.connections.get(), bytes: self.shared.bytes.get() }
    }
}
