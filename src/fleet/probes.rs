//! The probes of a search for limits on agents: each machine is a client host of its own.
//!
//! # Decisions
//! - The search runs on the coordinator, and agents carry out its calls step by step, so that the search is the same as
//!   on one machine.
//! - The first host is that of the first agent: a limit that needs one host is searched only from that host. Agents
//!   with the same machine name and the same address towards the target are one host.
//! - Times of replies are by the agent's clock. A call takes a round trip to the agent: a delay of the listener that is
//!   shorter than the round trip cannot be measured.
//! - An agent that does not answer ends the search: later results would not be about the listener.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::join_all;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::bus::{ANSWER_WITHIN, BusError};
use super::clock_offset::{AgentClock, RoundTrip};
use super::coordinator::{LOOK, PINGS, RELEASED_WITHIN};
use super::files::FilesToSend;
use super::gathering::{Fleet, FleetError, heartbeat};
use super::message::{
    AgentAnswer, AgentOrder, Heartbeat, Lease, ProbeCall, ProbeReport, ProbeValue, RunSpec, sign,
};
use super::record::Assignment;
use super::silence::AgentSilence;
use super::{HEARTBEAT, LOST_AFTER, subject};
use crate::generator::clock;
use crate::generator::probe::{
    CloseMode, Offer, OpenOutcome, Probe, ProbeEvent, ProbeOptions, ProbeOutcome, ProbeRefusal, Probes, Spent,
};
use crate::generator::runner::Stop;
use crate::plan::PlanPart;

/// The largest number of bytes in one call, if the server accepts messages of four times that. Encoded, the bytes take
/// up to twice that.
const PIECE: usize = 256 * 1024;

/// The longest wait of one call, so that the user can stop the search meanwhile.
const SLICE: Duration = Duration::from_secs(1);

/// The probes of all agents.
pub struct FleetProbes {
    fleet: Fleet,
    run: String,
    stop: watch::Receiver<Stop>,
    agents: Vec<ProbingAgent>,
    /// The sessions by their number: the index of the agent, and the number of the session on that agent.
    sessions: Vec<(usize, Probe)>,
    offers: BTreeMap<Probe, Offer>,
    /// The bytes that are sent with the next call to a session.
    waiting: BTreeMap<Probe, Vec<u8>>,
    calls: u64,
    watch: Watch,
    failure: Option<String>,
}

/// An agent of a search.
struct ProbingAgent {
    agent: Heartbeat,
    clock: AgentClock,
    /// The number of the agent's client addresses.
    hosts: u64,
    address: Option<IpAddr>,
    stalled: Duration,
    spent: Spent,
}

impl FleetProbes {
    /// Prepares the agents for the search `run`. `part`: the longest wait for replies, and the largest number of
    /// sessions.
    ///
    /// # Errors
    /// An agent cannot prepare, or refuses.
    pub fn prepare(
        fleet: Fleet,
        run: &str,
        assignment: &Assignment,
        part: PlanPart,
        stop: watch::Receiver<Stop>,
    ) -> Result<FleetProbes, FleetError> {
        let heartbeats = fleet.runtime.block_on(fleet.bus.client.subscribe(subject::HEARTBEATS));
        let heartbeats = heartbeats.map_err(|error| BusError::NoAnswer(error.to_string()))?;
        let zero = clock::now();
        let silence = AgentSilence::new(0, Duration::ZERO);
        let mut probes = FleetProbes {
            watch: Watch { heartbeats, zero, agents: Vec::new(), silence, number: 0 },
            fleet,
            run: run.to_owned(),
            stop,
            agents: Vec::new(),
            sessions: Vec::new(),
            offers: BTreeMap::new(),
            waiting: BTreeMap::new(),
            calls: 0,
            failure: None,
        };
        let spec = assignment.spec(run, (0, 1), part);
        let agents = probes.fleet.agents.clone();
        for agent in agents {
            let ready = probes.add(agent.clone(), &spec, &assignment.files);
            if let Err(why) = ready {
                probes.release();
                return Err(FleetError::Unable { agent: agent.agent, host: agent.host, why });
            }
        }
        probes.one_of_each_host();
        probes.watch.begin(&probes.agents);
        Ok(probes)
    }

    fn add(&mut self, agent: Heartbeat, spec: &RunSpec, files: &FilesToSend) -> Result<(), String> {
        // Agents that are prepared need leases meanwhile.
        let ask = |probes: &mut FleetProbes, order| {
            let FleetProbes { fleet, watch, run, .. } = probes;
            let asked = fleet.ask(&agent, order, ANSWER_WITHIN);
            match fleet.runtime.block_on(watch.over(fleet, run, asked))? {
                Ok(AgentAnswer::Refused(why)) => Err(why),
                Ok(answer) => Ok(answer),
                Err(error) => Err(error.to_string()),
            }
        };
        for order in files.orders(&spec.run, self.fleet.bus.most()) {
            ask(self, order?)?;
        }
        ask(self, AgentOrder::Prepare(Box::new(spec.clone())))?;
        let mut trips = Vec::new();
        for _ in 0..PINGS {
            let sent = self.now();
            if let AgentAnswer::Pong { at } = ask(self, AgentOrder::Ping)? {
                trips.push(RoundTrip { sent, theirs: at, received: self.now() });
            }
        }
        let clock = AgentClock::of(&trips).ok_or("it did not say what its clock shows")?;
        let (stalled, spent) = (Duration::ZERO, Spent::default());
        self.agents.push(ProbingAgent { agent, clock, hosts: 1, address: None, stalled, spent });
        let index = self.agents.len() - 1;
        match self.call(index, ProbeCall::Hosts, ANSWER_WITHIN) {
            Some(ProbeValue::Hosts(hosts, address)) => {
                (self.agents[index].hosts, self.agents[index].address) = (hosts.max(1), address);
                Ok(())
            }
            _ => Err(self.failure.take().unwrap_or_else(|| "it opens no sessions".to_owned())),
        }
    }

    /// Keeps the first agent of each client host.
    fn one_of_each_host(&mut self) {
        let mut seen = BTreeSet::new();
        let (kept, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.agents)
            .into_iter()
            .partition(|own| seen.insert((own.agent.host.clone(), own.address)));
        self.agents = others;
        self.release();
        self.agents = kept;
    }

    /// Lists the client hosts for a sentence.
    pub fn names(&self) -> Vec<String> {
        let name = |own: &ProbingAgent| {
            let address = own.address.map(|address| format!(", {address}")).unwrap_or_default();
            format!("{} ({}{address})", own.agent.agent, own.agent.host)
        };
        self.agents.iter().map(name).collect()
    }

    /// Sends calls to agents, all at once; `None`: an agent did not answer as expected.
    fn call_all(&mut self, calls: Vec<(usize, ProbeCall, Duration)>) -> Option<Vec<ProbeValue>> {
        if self.failure.is_some() {
            return None;
        }
        let FleetProbes { fleet, agents: known, calls: number, watch, run, .. } = self;
        let agents: Vec<usize> = calls.iter().map(|(index, ..)| *index).collect();
        let (fleet, known) = (&*fleet, &*known);
        let asks = calls.into_iter().map(|(index, call, within)| {
            *number += 1;
            let order = AgentOrder::Probe { number: *number, call };
            fleet.ask(&known[index].agent, order, within + ANSWER_WITHIN)
        });
        let answers = match fleet.runtime.block_on(watch.over(fleet, run, join_all(asks))) {
            Ok(answers) => answers,
            Err(silent) => {
                self.lose(&silent);
                return None;
            }
        };
        let mut values = Vec::new();
        for (answer, index) in answers.into_iter().zip(agents) {
            let own = &mut self.agents[index];
            let why = match answer {
                Ok(AgentAnswer::Probed(report)) => {
                    let ProbeReport { value, stalled, spent } = *report;
                    (own.stalled, own.spent) = (stalled, spent);
                    values.push(value);
                    continue;
                }
                Ok(other) => other.refusal(),
                Err(error) => error.to_string(),
            };
            let sentence = format!("agent {} ({}): {why}", own.agent.agent, own.agent.host);
            self.failure.get_or_insert(sentence);
        }
        self.failure.is_none().then_some(values)
    }

    /// Notes that an agent is lost.
    fn lose(&mut self, name: &str) {
        let host = self.agents.iter().find(|own| own.agent.agent == name).map(|own| own.agent.host.as_str());
        let sentence = format!(
            "agent {name} ({}): it sent no message for {} s",
            host.unwrap_or("?"),
            LOST_AFTER.as_secs()
        );
        self.failure.get_or_insert(sentence);
    }

    fn call(&mut self, agent: usize, call: ProbeCall, within: Duration) -> Option<ProbeValue> {
        self.call_all(vec![(agent, call, within)])?.pop()
    }

    /// Returns the index of the agent of a client host, and the index of the host on that agent.
    fn agent_of(&self, host: u64) -> (usize, u64) {
        let mut left = host % self.hosts();
        for (index, agent) in self.agents.iter().enumerate() {
            if left < agent.hosts {
                return (index, left);
            }
            left -= agent.hosts;
        }
        (0, 0)
    }

    /// Sends the waiting bytes of all sessions, except for the last piece of `keep`, which is returned.
    fn hand_over(&mut self, keep: Option<Probe>) -> Vec<u8> {
        let mut last = Vec::new();
        for (session, bytes) in std::mem::take(&mut self.waiting) {
            let (agent, own) = self.sessions[session.0];
            let mut pieces: Vec<&[u8]> = bytes.chunks(self.piece()).collect();
            if keep == Some(session) {
                last = pieces.pop().unwrap_or_default().to_vec();
            }
            for piece in pieces {
                let call = ProbeCall::Send { session: own, bytes: piece.to_vec() };
                self.call(agent, call, Duration::ZERO);
            }
        }
        last
    }

    /// Returns the largest number of bytes in one call.
    fn piece(&self) -> usize {
        (self.fleet.bus.most() / 4).clamp(1, PIECE)
    }

    /// Makes all agents drop the search.
    fn release(&mut self) {
        let FleetProbes { fleet, agents, run, .. } = self;
        let order = AgentOrder::Release { run: run.clone() };
        let asks = agents.iter().map(|own| fleet.ask(&own.agent, order.clone(), RELEASED_WITHIN));
        fleet.runtime.block_on(join_all(asks));
    }
}

impl Drop for FleetProbes {
    fn drop(&mut self) {
        self.release();
    }
}

/// The heartbeats of the agents, and the leases of the coordinator.
struct Watch {
    heartbeats: async_nats::Subscriber,
    /// The zero of the coordinator's clock.
    zero: Instant,
    /// The agents that are watched.
    agents: Vec<String>,
    silence: AgentSilence,
    /// The number of leases so far.
    number: u64,
}

impl Watch {
    /// Runs `work` while the coordinator sends a lease each second. The error is the name of an agent that sent no
    /// message for [`LOST_AFTER`].
    async fn over<T>(
        &mut self,
        fleet: &Fleet,
        run: &str,
        work: impl Future<Output = T>,
    ) -> Result<T, String> {
        let mut leases = tokio::time::interval(HEARTBEAT);
        leases.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                // All messages that came are read before an agent counts as silent.
                Some(message) = self.heartbeats.next() => {
                    let own = heartbeat(&message.subject, &message.payload);
                    let place = own.and_then(|own| self.agents.iter().position(|name| *name == own.agent));
                    if let Some(place) = place {
                        self.silence.hear(place, self.now());
                    }
                }
                _ = leases.tick() => {
                    self.number += 1;
                    let lease = Lease { run: run.to_owned(), epoch: 1, number: self.number, stop: Stop::Run };
                    fleet.bus.say(subject::control(run), sign(&lease, &fleet.key)).await;
                }
                _ = looks.tick() => {
                    let silent = self.silence.look(self.now());
                    let lost = silent.iter().position(|silent| *silent >= LOST_AFTER);
                    if let Some(name) = lost.and_then(|place| self.agents.get(place)) {
                        return Err(name.clone());
                    }
                }
            }
        }
    }

    fn now(&self) -> Duration {
        clock::now().saturating_duration_since(self.zero)
    }

    /// Starts to watch these agents for silence.
    fn begin(&mut self, agents: &[ProbingAgent]) {
        self.agents = agents.iter().map(|own| own.agent.agent.clone()).collect();
        self.silence = AgentSilence::new(agents.len(), self.now());
    }
}

impl Probes for FleetProbes {
    fn open(&mut self, ways: &[ProbeOptions], at_once: usize, within: Duration) -> Vec<OpenOutcome> {
        self.hand_over(None);
        let until = self.now() + within;
        let mut opened = Vec::new();
        for ways in ways.chunks(self.chunk(ways, at_once)) {
            // The indices of these sessions, by agent.
            let mut places: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            for (place, way) in ways.iter().enumerate() {
                places.entry(self.agent_of(way.host).0).or_default().push(place);
            }
            let left = until.saturating_sub(self.now());
            let calls = places.iter().map(|(agent, places)| {
                let own =
                    |place: &usize| ProbeOptions { host: self.agent_of(ways[*place].host).1, ..ways[*place] };
                let call = ProbeCall::Open { ways: places.iter().map(own).collect(), at_once, within: left };
                (*agent, call, left)
            });
            let calls: Vec<_> = calls.collect();
            let mut found: BTreeMap<usize, OpenOutcome> = BTreeMap::new();
            for (value, (agent, places)) in self.call_all(calls).into_iter().flatten().zip(&places) {
                let ProbeValue::Opened(outcomes) = value else { continue };
                for ((outcome, offer), place) in outcomes.into_iter().zip(places) {
                    found.insert(*place, self.take_opened(*agent, outcome, offer));
                }
            }
            let why = self.failure.clone().unwrap_or_else(|| "the agent did not open it".to_owned());
            opened.extend(
                (0..ways.len())
                    .map(|place| found.remove(&place).unwrap_or(OpenOutcome::OwnFailure(why.clone()))),
            );
        }
        opened
    }

    fn offer(&self, session: Probe) -> Offer {
        self.offers.get(&session).cloned().unwrap_or_default()
    }

    fn send(&mut self, session: Probe, bytes: &[u8]) {
        let most = self.piece();
        let waiting = self.waiting.entry(session).or_default();
        waiting.extend_from_slice(bytes);
        if waiting.len() > most {
            self.hand_over(None);
        }
    }

    fn receive(&mut self, session: Probe, within: Duration) -> ProbeOutcome {
        let mut bytes = self.hand_over(Some(session));
        let (agent, own) = self.sessions[session.0];
        let until = self.now() + within;
        loop {
            let began = self.now();
            let within = until.saturating_sub(began).min(SLICE);
            let call = ProbeCall::Receive { session: own, bytes: std::mem::take(&mut bytes), within };
            let Some(ProbeValue::Received(outcome)) = self.call(agent, call, within) else {
                return ProbeOutcome { event: ProbeEvent::Silence, at: self.now() };
            };
            // A silence that ends early is that of a session that is over.
            let waited = self.now().saturating_sub(began) >= within;
            let waits = outcome.event == ProbeEvent::Silence && waited && began + within < until;
            if !waits || self.is_stopped() {
                return ProbeOutcome { at: self.agents[agent].clock.ours(outcome.at), ..outcome };
            }
        }
    }

    fn close(&mut self, sessions: &[Probe], how: CloseMode, within: Duration) -> u64 {
        self.hand_over(None);
        let mut of_agents: BTreeMap<usize, Vec<Probe>> = BTreeMap::new();
        for session in sessions {
            let (agent, own) = self.sessions[session.0];
            of_agents.entry(agent).or_default().push(own);
            self.offers.remove(session);
        }
        let calls = of_agents
            .into_iter()
            .map(|(agent, sessions)| (agent, ProbeCall::Close { sessions, how, within }, within));
        let calls = calls.collect();
        let closed = self.call_all(calls).into_iter().flatten();
        closed.map(|value| if let ProbeValue::Closed(unseen) = value { unseen } else { 0 }).sum()
    }

    fn pause(&mut self, length: Duration) {
        self.hand_over(None);
        let stopped = Stop::requested(self.stop.clone());
        let FleetProbes { fleet, watch, run, .. } = self;
        let pause = async { tokio::time::timeout(length, stopped).await.ok() };
        if let Err(silent) = fleet.runtime.block_on(watch.over(fleet, run, pause)) {
            self.lose(&silent);
        }
    }

    fn now(&self) -> Duration {
        self.watch.now()
    }

    fn hosts(&self) -> u64 {
        self.agents.iter().map(|agent| agent.hosts).sum::<u64>().max(1)
    }

    fn is_stopped(&self) -> bool {
        *self.stop.borrow() != Stop::Run
    }

    fn own_failure(&self) -> Option<String> {
        self.failure.clone()
    }

    fn stalled(&self) -> Duration {
        self.agents.iter().map(|agent| agent.stalled).sum()
    }

    fn network(&self, host: u64) -> Option<IpAddr> {
        let (agent, own) = self.agent_of(host);
        Some(match self.agents.get(agent).filter(|_| own == 0)?.address? {
            IpAddr::V4(address) => IpAddr::V4((address.to_bits() & !0xff).into()),
            IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        })
    }

    fn spent(&self) -> Spent {
        let spent = self.agents.iter().map(|agent| agent.spent);
        spent.fold(Spent::default(), |sum, own| Spent {
            connections: sum.connections + own.connections,
            bytes: sum.bytes + own.bytes,
        })
    }
}

impl FleetProbes {
    /// Returns the number of sessions opened in one call: all, if they belong to one agent, because that agent obeys
    /// `at_once` itself.
    fn chunk(&self, ways: &[ProbeOptions], at_once: usize) -> usize {
        let agents: BTreeSet<usize> = ways.iter().map(|way| self.agent_of(way.host).0).collect();
        if agents.len() > 1 { at_once.max(1) } else { ways.len().max(1) }
    }

    /// Gives a session of an agent its number on the coordinator.
    fn take_opened(&mut self, agent: usize, outcome: OpenOutcome, offer: Offer) -> OpenOutcome {
        let session = Probe(self.sessions.len());
        match outcome {
            OpenOutcome::Open(own) => {
                self.sessions.push((agent, own));
                self.offers.insert(session, offer);
                OpenOutcome::Open(session)
            }
            OpenOutcome::Refused(refusal) => {
                self.sessions.push((agent, refusal.session));
                OpenOutcome::Refused(ProbeRefusal { session, ..refusal })
            }
            own => own,
        }
    }
}
