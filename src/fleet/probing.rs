//! The probes of a search for limits on an agent's machine: a thread carries out the coordinator's calls one by one.

use std::net::IpAddr;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::message::{ProbeCall, ProbeReport, ProbeValue};
use crate::generator::clock;
use crate::generator::probe::{Probe, ProbeEvent, ProbeOutcome, Probes};
use crate::generator::runner::Stop;

/// The probes of this machine, and its address towards the target, if known.
pub type OwnProbes = (Box<dyn Probes>, Option<IpAddr>);
/// Makes the probes; the given stop ends their search.
pub type MakeProbes = Box<dyn FnOnce(watch::Receiver<Stop>) -> Result<OwnProbes, String> + Send>;

/// How long the thread drives its probes before it reads the next call.
const IDLE: Duration = Duration::from_millis(1);
/// The interval at which a wait checks whether the search is over.
const SLICE: Duration = Duration::from_millis(200);

/// Sends the result of a call to the subject of its reply.
pub(super) type Report = Box<dyn FnMut(String, ProbeReport) + Send>;

/// The handle of the thread.
pub(super) struct Probing {
    calls: Sender<(String, ProbeCall)>,
}

impl Probing {
    /// Starts the thread, which ends at `stop` or when the handle is dropped. `zero` is the zero of the agent's clock.
    /// `over` is called at the end.
    ///
    /// # Errors
    /// No thread or descriptor is left, or the probes cannot be made.
    pub fn start(
        make: MakeProbes,
        zero: Instant,
        stop: watch::Receiver<Stop>,
        report: Report,
        over: impl FnOnce() + Send + 'static,
    ) -> Result<Probing, String> {
        let (calls, to_do) = channel();
        let (ready, is_ready) = channel();
        let body = move || {
            match make(stop.clone()) {
                Ok((probes, address)) => {
                    let began = clock::now().saturating_duration_since(zero).saturating_sub(probes.now());
                    ready.send(Ok(())).ok();
                    AgentProbes { probes, address, began, stop }.serve(&to_do, report);
                }
                Err(why) => drop(ready.send(Err(why))),
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

    /// Passes a call to the thread. `reply`: the subject of the reply.
    ///
    /// # Errors
    /// The thread has ended.
    pub fn call(&self, reply: String, call: ProbeCall) -> Result<(), String> {
        self.calls.send((reply, call)).map_err(|_| "the search is over".to_owned())
    }
}

struct AgentProbes {
    probes: Box<dyn Probes>,
    address: Option<IpAddr>,
    /// When the probes were created, by the agent's clock.
    began: Duration,
    stop: watch::Receiver<Stop>,
}

impl AgentProbes {
    fn serve(mut self, calls: &Receiver<(String, ProbeCall)>, mut report: Report) {
        while *self.stop.borrow() == Stop::Run {
            match calls.try_recv() {
                Ok((reply, call)) => {
                    let value = self.answer(call);
                    let (stalled, spent) = (self.probes.stalled(), self.probes.spent());
                    report(reply, ProbeReport { value, stalled, spent });
                }
                Err(TryRecvError::Empty) => self.probes.pause(IDLE),
                Err(TryRecvError::Disconnected) => return,
            }
        }
    }

    fn answer(&mut self, call: ProbeCall) -> ProbeValue {
        match call {
            ProbeCall::Hosts => ProbeValue::Hosts(self.probes.hosts(), self.address),
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
        }
    }

    /// Waits in short intervals, so that the end of the search ends the wait.
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
}
