//! The sessions of a search for limits on an agent's machine: a thread that does what the coordinator asks, call by call.

use std::net::{IpAddr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::message::{ProbeCall, ProbeReport, ProbeValue};
use crate::generator::connector::EmbeddedListener;
use crate::generator::probe::{NetworkProbes, Probe, ProbeEvent, ProbeOutcome, Probes};
use crate::generator::runner::{RunError, Stop};
use crate::generator::{Connector, clock, preflight};
use crate::plan::Plan;

/// How long sessions are driven between two looks for a call.
const IDLE: Duration = Duration::from_millis(1);
/// How long a wait lasts before it is looked whether the search is over.
const SLICE: Duration = Duration::from_millis(200);
/// Descriptors that a search for limits may need beside its sessions.
const SPARE: u64 = 64;

/// Tells what came of a call, by the number that it was given.
pub(super) type Report = Box<dyn FnMut(u64, Result<ProbeReport, String>) + Send>;

/// The way to the thread.
pub(super) struct Probing {
    calls: Sender<(u64, ProbeCall)>,
}

impl Probing {
    /// Starts the thread, which ends with `stop` or with this. `sessions`: how many there may be at once. `zero` is that of the
    /// agent's clock. `over` is told last.
    ///
    /// # Errors
    /// No thread or descriptor is left, or TLS cannot be set up.
    pub fn start(
        plan: Plan,
        listener: Option<EmbeddedListener>,
        sessions: u64,
        zero: Instant,
        stop: watch::Receiver<Stop>,
        report: Report,
        over: impl FnOnce() + Send + 'static,
    ) -> Result<Probing, String> {
        preflight::raise_descriptors(sessions + SPARE).ok();
        let (calls, to_do) = channel();
        let (ready, is_ready) = channel();
        let body = move || {
            match probes(&plan, listener.as_ref(), stop.clone()) {
                Ok(probes) => {
                    let began = clock::now().saturating_duration_since(zero);
                    ready.send(Ok(())).ok();
                    AgentProbes { plan, probes, began, stop }.serve(&to_do, report);
                }
                Err(error) => drop(ready.send(Err(error.to_string()))),
            }
            over();
        };
        std::thread::Builder::new()
            .name("probes".to_owned())
            .spawn(body)
            .map_err(|error| format!("it cannot start a thread: {error}"))?;
        is_ready.recv().unwrap_or_else(|_| Err("its sessions cannot be opened".to_owned()))?;
        Ok(Probing { calls })
    }

    /// Hands a call over.
    ///
    /// # Errors
    /// The thread has ended.
    pub fn call(&self, number: u64, call: ProbeCall) -> Result<(), String> {
        self.calls.send((number, call)).map_err(|_| "the search is over".to_owned())
    }
}

fn probes(
    plan: &Plan,
    listener: Option<&EmbeddedListener>,
    stop: watch::Receiver<Stop>,
) -> Result<NetworkProbes, RunError> {
    Ok(NetworkProbes::new(&Connector::new(plan, listener)?)?.stopped_by(stop))
}

struct AgentProbes {
    plan: Plan,
    probes: NetworkProbes,
    /// When the probes were created, by the agent's clock.
    began: Duration,
    stop: watch::Receiver<Stop>,
}

impl AgentProbes {
    fn serve(mut self, calls: &Receiver<(u64, ProbeCall)>, mut report: Report) {
        while *self.stop.borrow() == Stop::Run {
            match calls.try_recv() {
                Ok((number, call)) => {
                    let value = self.answer(call);
                    let (stalled, spent) = (self.probes.stalled(), self.probes.spent());
                    report(number, value.map(|value| ProbeReport { value, stalled, spent }));
                }
                Err(TryRecvError::Empty) => self.probes.pause(IDLE),
                Err(TryRecvError::Disconnected) => return,
            }
        }
    }

    fn answer(&mut self, call: ProbeCall) -> Result<ProbeValue, String> {
        Ok(match call {
            ProbeCall::Hosts => ProbeValue::Hosts(self.probes.hosts(), self.own_address()),
            ProbeCall::Open { ways, at_once, within } => {
                let opened = self.probes.open(&ways, at_once, within).into_iter().map(|opened| {
                    let offer = opened.session().map(|session| self.probes.offer(session));
                    (opened, offer.unwrap_or_default())
                });
                ProbeValue::Opened(opened.collect())
            }
            ProbeCall::Send { session, bytes } => {
                self.probes.send(session, &bytes);
                ProbeValue::Sent
            }
            ProbeCall::Receive { session, bytes, within } => {
                if !bytes.is_empty() {
                    self.probes.send(session, &bytes);
                }
                let outcome = self.receive(session, within);
                ProbeValue::Received(ProbeOutcome { at: self.began + outcome.at, ..outcome })
            }
            ProbeCall::Close { sessions, how, within } => {
                ProbeValue::Closed(self.probes.close(&sessions, how, within))
            }
        })
    }

    /// Waits in slices, so that the end of the search ends the wait.
    fn receive(&mut self, session: Probe, within: Duration) -> ProbeOutcome {
        let until = clock::now() + within;
        loop {
            let left = until.saturating_duration_since(clock::now());
            let outcome = self.probes.receive(session, left.min(SLICE));
            let waits = outcome.event == ProbeEvent::Silence && left > SLICE && !self.probes.is_over(session);
            if !waits || *self.stop.borrow() != Stop::Run {
                return outcome;
            }
        }
    }

    /// The address that this machine has towards the target; no packet is sent for that.
    fn own_address(&self) -> Option<IpAddr> {
        let target = preflight::check_allowed(&self.plan).ok()?.first().copied()?;
        let any: IpAddr = if target.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect(target).ok()?;
        Some(socket.local_addr().ok()?.ip())
    }
}
