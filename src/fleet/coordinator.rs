//! The coordinator: a Runner whose workers are agents on other machines.
//!
//! # Decisions
//! - The agents get the profile as text, and each compiles it. An agent of another version of smtpress is refused,
//!   because it could compile another plan.
//! - The time of the start is so far ahead that each agent can confirm it before. The coordinator sends the first lease
//!   when all agents have confirmed, and an agent starts its load only after that lease: if one agent fails before, no
//!   agent starts.

mod result;
mod takeover;

use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use futures::StreamExt;
use futures::future::join_all;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::bus::{ANSWER_WITHIN, BusError, StoredReport, accepted};
use super::clock_offset::{RoundTrip, clocks_of};
use super::files::FilesToSend;
use super::gathering::{Fleet, heartbeat};
use super::message::{AgentAnswer, AgentOrder, FinalReport, Heartbeat, Lease, SecondReport, decode, sign};
use super::record::{AgentOfRun, Assignment, RunRecord, StoredRecord};
use super::states::{FleetAction, FleetRun, Input};
use super::union::{ShardsInStep, ShownOfShard};
use super::{HEARTBEAT, subject};
use crate::collector::agents::{AgentEnd, AgentProgress, AgentRun};
use crate::collector::snapshot::Measured;
use crate::collector::tally::Tally;
use crate::generator::clock::{self, Clock};
use crate::generator::runner::{Control, Observer, RunError, RunStart, Runner, Stop};
use crate::plan::{Plan, PlanPart};

/// How many times each agent is asked for its time.
pub(super) const PINGS: usize = 16;
/// How far ahead the start is set.
const LEAD: Duration = Duration::from_millis(2000);
/// How long before the start all agents must have confirmed its time: enough for the first lease to reach the agents
/// and for their threads to get ready.
const BEGIN: Duration = Duration::from_millis(700);
/// How long an agent may take to answer with its time.
const PING_WITHIN: Duration = Duration::from_secs(3);
/// How long to wait until the agents have dropped a run that does not start.
pub(super) const RELEASED_WITHIN: Duration = Duration::from_secs(2);
/// The interval at which the coordinator checks for silent agents.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// The data of the command that started the run, for a coordinator that takes the run over.
#[derive(Clone, Debug, Default)]
pub struct CommandOfRun {
    /// The profile's file, if there is one.
    pub profile_path: Option<String>,
    /// When the command began, since the Unix epoch.
    pub began: Duration,
}

/// A fleet that runs plans.
pub struct FleetRunner {
    fleet: Fleet,
    stop: watch::Receiver<Stop>,
    assignment: Assignment,
    command: CommandOfRun,
    /// The number of runs so far.
    runs: u64,
}

impl FleetRunner {
    /// Returns a runner that stops as `stop` asks.
    pub fn new(
        fleet: Fleet,
        stop: watch::Receiver<Stop>,
        assignment: Assignment,
        command: CommandOfRun,
    ) -> FleetRunner {
        FleetRunner { fleet, stop, assignment, command, runs: 0 }
    }
}

impl Runner for FleetRunner {
    fn run(&mut self, plan: &Plan, observer: &mut dyn Observer) -> Result<Measured, RunError> {
        let FleetRunner { fleet, stop, assignment, command, runs } = self;
        *runs += 1;
        if *runs > 1 {
            fleet
                .renew("that took part in the run before")
                .map_err(|error| RunError::Fleet(error.to_string()))?;
        }
        let run = CoordinatedRun::new(fleet, plan, stop.clone());
        fleet.runtime.block_on(run.attend(assignment, command, observer))
    }
}

/// The coordinator's data about a shard.
struct ShardOfRun {
    agent: Heartbeat,
    /// The bound of the difference between the agent's start and the common start; `None`: the agent's clock was not
    /// measured yet.
    clock_bound: Option<Duration>,
    last: Option<FinalReport>,
    /// The end of a shard that is lost.
    lost: Option<AgentEnd>,
}

impl ShardOfRun {
    /// Returns the record of the shard's agent, without the end and the counts.
    fn record(&self, shard: u32, in_step: &ShardsInStep) -> AgentRun {
        AgentRun {
            clock_bound: self.clock_bound.unwrap_or_default(),
            late_start: in_step.first_lag(shard).map(|lag| Duration::from_nanos(lag.max_ns())),
            ..AgentRun::named(&self.agent.agent, &self.agent.host, &self.agent.program, shard)
        }
    }
}

/// A run of the fleet.
struct CoordinatedRun<'a> {
    fleet: &'a Fleet,
    plan: &'a Plan,
    stop: watch::Receiver<Stop>,
    /// The zero of the coordinator's clock.
    zero: Instant,
    machine: FleetRun,
    shards: Vec<ShardOfRun>,
    in_step: ShardsInStep,
    total: Tally,
    epoch: u64,
    lease: u64,
    aborted_by: Option<String>,
}

impl<'a> CoordinatedRun<'a> {
    fn new(fleet: &'a Fleet, plan: &'a Plan, stop: watch::Receiver<Stop>) -> CoordinatedRun<'a> {
        // A part of a search uses at most as many agents as it has sessions. A whole run is given to all agents: they
        // refuse it if it has too few sessions for them.
        let agents = match plan.part {
            PlanPart::Run => &fleet.agents[..],
            _ => {
                let most = usize::try_from(plan.sessions_to_share()).unwrap_or(usize::MAX).max(1);
                &fleet.agents[..fleet.agents.len().min(most)]
            }
        };
        let shards = agents.len();
        let of_agent = |agent: &Heartbeat| ShardOfRun {
            agent: agent.clone(),
            clock_bound: None,
            last: None,
            lost: None,
        };
        CoordinatedRun {
            fleet,
            plan,
            stop,
            zero: clock::now(),
            machine: FleetRun::new(u32::try_from(shards).unwrap_or(u32::MAX), Duration::ZERO),
            shards: agents.iter().map(of_agent).collect(),
            in_step: ShardsInStep::new(shards, plan.phases.len()),
            total: Tally::new(plan.phases.len()),
            epoch: 1,
            lease: 0,
            aborted_by: None,
        }
    }

    fn now(&self) -> Duration {
        clock::now().saturating_duration_since(self.zero)
    }

    async fn attend(
        mut self,
        assignment: &Assignment,
        command: &CommandOfRun,
        observer: &mut dyn Observer,
    ) -> Result<Measured, RunError> {
        let failed = |error: &dyn std::fmt::Display| RunError::Fleet(error.to_string());
        let (bus, run) = (&self.fleet.bus, &self.plan.run_id);
        if self.fleet.taken_over.is_none() {
            bus.forget(run).await;
        }
        let mut reports = bus.follow(run).await.map_err(|error| failed(&error))?;
        let mut heartbeats =
            bus.client.subscribe(subject::HEARTBEATS).await.map_err(|error| failed(&error))?;
        let mut control =
            bus.client.subscribe(subject::control(run)).await.map_err(|error| failed(&error))?;
        let (start, kept) = match &self.fleet.taken_over {
            Some(stored) => self.take_over(stored).await?,
            None => {
                self.prepare(assignment).await.map_err(RunError::Fleet)?;
                self.refresh(&mut heartbeats).await;
                match self.arm(assignment, command).await {
                    Ok(armed) => armed,
                    Err(why) => {
                        bus.forget(run).await;
                        return Err(RunError::Fleet(why));
                    }
                }
            }
        };
        let clock = Clock::new(start);
        let starts = starts(self.plan);
        observer
            .begins(&RunStart { clock, phase: Arc::new(move |phase| starts.get(phase).copied().flatten()) });
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut leases = tokio::time::interval(HEARTBEAT);
        leases.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_over = false;
        while !is_over {
            let mut inputs = Vec::new();
            tokio::select! {
                Some(report) = reports.recv() => inputs.extend(self.report(report, observer)),
                Some(message) = heartbeats.next() => {
                    let shard = heartbeat(&message.subject, &message.payload)
                        .filter(|own| own.run.as_ref() == Some(&self.plan.run_id))
                        .and_then(|own| self.shard_of(&own.agent));
                    inputs.extend(shard.map(Input::Heard));
                }
                Some(word) = control.next() => self.obeys(&word.payload)?,
                _ = looks.tick() => inputs.push(Input::Tick),
                _ = leases.tick() => self.tell(self.machine.stop()).await,
                Ok(()) = self.stop.changed() => {
                    let stop = *self.stop.borrow_and_update();
                    inputs.push(Input::Stop(stop));
                }
            }
            for input in inputs {
                is_over |= self.handle(input, clock).await;
            }
            while let Some(second) = self.in_step.next_second() {
                self.total += &second.tally;
                observer.agents(&self.progress());
                if let Control::Stop(reason) = observer.interval(&second, &self.total) {
                    self.aborted_by.get_or_insert(reason);
                    is_over |= self.handle(Input::Stop(Stop::Drain), clock).await;
                }
            }
        }
        // If another coordinator has taken the run over, that coordinator removes the record.
        if kept.is_latest(bus).await {
            bus.forget(run).await;
        }
        self.finish(clock).map_err(RunError::Fleet)
    }

    fn shard_of(&self, agent: &str) -> Option<u32> {
        let at = self.shards.iter().position(|shard| shard.agent.agent == agent)?;
        u32::try_from(at).ok()
    }

    fn name(&self, shard: u32) -> String {
        let agent = &self.shards[shard as usize].agent;
        format!("agent {} ({})", agent.agent, agent.host)
    }

    /// Sends a command to all agents at once, and returns their answers in the order of the shards.
    async fn ask_all(
        &self,
        order: impl Fn(u32) -> AgentOrder,
        within: Duration,
    ) -> Vec<Result<AgentAnswer, BusError>> {
        let asks = self.shards.iter().zip(0_u32..);
        let asks = asks.map(|(shard, index)| self.fleet.ask(&shard.agent, order(index), within));
        join_all(asks).await
    }

    /// Gives each agent its shard, and waits until each agent has checked whether it can run the shard.
    async fn prepare(&mut self, assignment: &Assignment) -> Result<(), String> {
        self.send_files(&assignment.files).await?;
        let of = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        let (run, part) = (&self.plan.run_id, self.plan.part);
        let spec = |shard: u32| assignment.spec(run, (shard, of), part);
        let answers = self.ask_all(|shard| AgentOrder::Prepare(Box::new(spec(shard))), ANSWER_WITHIN).await;
        self.take(answers, Input::Ready).await
    }

    /// Sends the message files to all agents, part by part.
    async fn send_files(&mut self, files: &FilesToSend) -> Result<(), String> {
        if !files.is_empty() {
            (self.fleet.say)(&format!("sending {} to {} agents", files.in_words(), self.shards.len()));
        }
        for order in files.orders(&self.plan.run_id, self.fleet.bus.most()) {
            let order = match order {
                Ok(_) if *self.stop.borrow() > Stop::Run => {
                    return Err(self.release("the run was stopped").await);
                }
                Ok(order) => order,
                Err(why) => return Err(self.release(&why).await),
            };
            let answers = self.ask_all(|_| order.clone(), ANSWER_WITHIN).await;
            let refused = |(answer, shard): (Result<AgentAnswer, BusError>, u32)| {
                Some(format!("{}: {}", self.name(shard), accepted(answer).err()?))
            };
            let refusals: Vec<String> = answers.into_iter().zip(0..).filter_map(refused).collect();
            if !refusals.is_empty() {
                return Err(self.release(&refusals.join("\n")).await);
            }
        }
        Ok(())
    }

    /// Passes the answers of all agents to the state machine.
    async fn take(
        &mut self,
        answers: Vec<Result<AgentAnswer, BusError>>,
        agreed: fn(u32) -> Input,
    ) -> Result<(), String> {
        let now = self.now();
        let mut inputs = vec![Input::Stop(*self.stop.borrow_and_update())];
        for (answer, shard) in answers.into_iter().zip(0_u32..) {
            inputs.push(match accepted(answer) {
                Ok(()) => agreed(shard),
                Err(why) => Input::Refused(shard, why),
            });
        }
        // Refusals are handled first, so that the error names all of them.
        inputs.sort_by_key(|input| !matches!(input, Input::Refused(..)));
        let mut refusals = Vec::new();
        let mut is_released = false;
        for input in inputs {
            if let Input::Refused(shard, why) = &input {
                refusals.push(format!("{}: {why}", self.name(*shard)));
            }
            let actions = self.machine.handle(input, now);
            is_released |= actions.iter().any(|action| matches!(action, FleetAction::Release(_)));
        }
        if is_released {
            let why =
                if refusals.is_empty() { "the run was stopped".to_owned() } else { refusals.join("\n") };
            return Err(self.release(&why).await);
        }
        Ok(())
    }

    /// Makes the agents drop a run that does not start. Returns the reason.
    async fn release(&self, why: &str) -> String {
        let run = &self.plan.run_id;
        self.ask_all(|_| AgentOrder::Release { run: run.clone() }, RELEASED_WITHIN).await;
        format!("no load was started: {why}")
    }

    /// Reads the heartbeats that came while the coordinator waited, so that no agent counts as silent because of that
    /// wait.
    async fn refresh(&mut self, heartbeats: &mut async_nats::Subscriber) {
        while let Ok(Some(message)) = tokio::time::timeout(Duration::from_millis(1), heartbeats.next()).await
        {
            if let Some(own) = heartbeat(&message.subject, &message.payload)
                && let Some(shard) = self.shard_of(&own.agent)
            {
                let now = self.now();
                self.machine.handle(Input::Heard(shard), now);
            }
        }
    }

    /// Measures each agent's clock, and sends all agents the time of the start. Returns that time and the stored
    /// record.
    async fn arm(
        &mut self,
        assignment: &Assignment,
        command: &CommandOfRun,
    ) -> Result<(Instant, StoredRecord), String> {
        let mut trips: Vec<Vec<RoundTrip>> = self.shards.iter().map(|_| Vec::new()).collect();
        let mut silent = None;
        'pings: for _ in 0..PINGS {
            // The agents are asked one after the other: simultaneous answers would delay each other.
            for ((shard, index), trips) in self.shards.iter().zip(0_u32..).zip(&mut trips) {
                let sent = self.now();
                let why = match self.fleet.ask(&shard.agent, AgentOrder::Ping, PING_WITHIN).await {
                    Ok(AgentAnswer::Pong { at }) => {
                        trips.push(RoundTrip { sent, theirs: at, received: self.now() });
                        continue;
                    }
                    Ok(other) => other.refusal(),
                    Err(error) => error.to_string(),
                };
                // The run cannot start without this agent, so no agent is asked again.
                silent = Some((index, why));
                break 'pings;
            }
        }
        let clocks = match clocks_of(&trips, silent, self.fleet.max_start_skew) {
            Ok(clocks) => clocks,
            Err(faults) => {
                let named = faults.iter().map(|(index, why)| format!("{}: {why}", self.name(*index)));
                let why = named.collect::<Vec<_>>().join("\n");
                return Err(self.release(&why).await);
            }
        };
        for (shard, clock) in self.shards.iter_mut().zip(&clocks) {
            shard.clock_bound = Some(clock.bound);
        }
        let start = self.now() + LEAD;
        let starts = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default() + LEAD;
        let begins = |shard: u32| clocks[shard as usize].theirs(start);
        let record = self.record(assignment, command, starts, begins);
        let kept = match StoredRecord::store(&self.fleet.bus, &self.fleet.key, record, 0).await {
            Ok(kept) => kept,
            Err(error) => return Err(self.release(&error.to_string()).await),
        };
        let answers = self.ask_all(|shard| AgentOrder::Arm { at: begins(shard) }, LEAD - BEGIN).await;
        self.take(answers, Input::Armed).await?;
        if self.now() + BEGIN > start {
            return Err(self.release("it took too long to send all agents the time of the start").await);
        }
        Ok((self.zero + start, kept))
    }

    /// Returns the record of the run. `starts`: the time of the start, since the Unix epoch. `begins`: the time of the
    /// start by the clock of each shard's agent.
    fn record(
        &self,
        assignment: &Assignment,
        command: &CommandOfRun,
        starts: Duration,
        begins: impl Fn(u32) -> Duration,
    ) -> RunRecord {
        let of_shard = |(own, shard): (&ShardOfRun, u32)| AgentOfRun {
            agent: own.agent.clone(),
            clock_bound: own.clock_bound.unwrap_or_default(),
            begins: begins(shard),
        };
        RunRecord {
            run: self.plan.run_id.clone(),
            epoch: self.epoch,
            part: self.plan.part,
            assignment: assignment.clone(),
            profile_path: command.profile_path.clone(),
            began: command.began,
            starts,
            agents: self.shards.iter().zip(0..).map(of_shard).collect(),
        }
    }

    /// Sends the lease to all agents.
    async fn tell(&mut self, stop: Stop) {
        self.lease += 1;
        let lease = Lease { run: self.plan.run_id.clone(), epoch: self.epoch, number: self.lease, stop };
        let subject = subject::control(&self.plan.run_id);
        self.fleet.bus.say(subject, sign(&lease, &self.fleet.key)).await;
    }

    /// Executes the actions of the state machine. Returns whether the run is over.
    async fn handle(&mut self, input: Input, clock: Clock) -> bool {
        let now = self.now();
        let mut is_over = false;
        for action in self.machine.handle(input, now) {
            match action {
                FleetAction::Tell(stop) => self.tell(stop).await,
                FleetAction::Lost(shard, silent) => self.lose(shard, silent, false, clock),
                FleetAction::Stalled(shard, silent) => self.lose(shard, silent, true, clock),
                FleetAction::Over => is_over = true,
                FleetAction::ArmAll | FleetAction::Release(_) => {}
            }
        }
        is_over
    }

    /// Notes that a shard is lost, because nothing came for this long, or only heartbeats.
    fn lose(&mut self, shard: u32, silent: Duration, has_heartbeats: bool, clock: Clock) {
        self.in_step.lose(shard);
        let since = clock.offset().saturating_sub(silent);
        self.shards[shard as usize].lost = Some(AgentEnd::Lost { silent, since, has_heartbeats });
        (self.fleet.say)(&format!(
            "{} is lost: it sent {} for {:.1} s; the run is invalid and the others end",
            self.name(shard),
            if has_heartbeats { "heartbeats and no report of its load" } else { "no message" },
            silent.as_secs_f64()
        ));
    }

    /// Returns the state of each agent at the end of the last second that the observer got.
    fn progress(&self) -> Vec<AgentProgress> {
        let of_shard = |(own, shard): (&ShardOfRun, u32)| {
            let ShownOfShard { scheduled, started, accepted, sessions, lag } = self.in_step.shown(shard);
            let so_far = if self.in_step.has_all(shard) { AgentEnd::Done } else { AgentEnd::Running };
            let end = own.lost.clone().unwrap_or(so_far);
            let run = AgentRun { end, scheduled, started, accepted, ..own.record(shard, &self.in_step) };
            AgentProgress { run, sessions, lag }
        };
        self.shards.iter().zip(0..).map(of_shard).collect()
    }

    /// Processes a report of a shard. A report that came before is no progress of the shard.
    fn report(&mut self, stored: StoredReport, observer: &mut dyn Observer) -> Vec<Input> {
        let StoredReport { shard, agent, is_last, bytes } = stored;
        let is_of_agent = |own: &ShardOfRun| own.agent.agent == agent;
        if !self.shards.get(shard as usize).is_some_and(is_of_agent) {
            return Vec::new();
        }
        let mut inputs = Vec::new();
        if is_last {
            let Ok(last) = decode::<FinalReport>(&bytes) else { return Vec::new() };
            // A report that comes twice counts once.
            if self.shards[shard as usize].last.is_none() {
                inputs.push(self.end_of(shard, &last));
                self.in_step.end(shard, last.seconds);
                self.shards[shard as usize].last = Some(last);
            }
        } else {
            let Ok(SecondReport { number, interval, transcripts }) = decode(&bytes) else {
                return Vec::new();
            };
            if interval.tally.phases.len() != self.plan.phases.len() {
                return Vec::new();
            }
            if !self.in_step.has(shard, number) {
                inputs.push(Input::Second(shard));
                if !transcripts.is_empty() {
                    observer.transcripts(&transcripts);
                }
            }
            self.in_step.add(shard, number, interval, bytes);
        }
        let is_over = self.shards[shard as usize].last.is_some() && self.in_step.has_all(shard);
        inputs.push(if is_over { Input::Ended(shard) } else { Input::Heard(shard) });
        inputs
    }

    /// Returns what the last report of a shard means for the run, and warns the user if the load was cut short.
    fn end_of(&self, shard: u32, last: &FinalReport) -> Input {
        let Some(why) = last.is_cut_short_by() else { return Input::Second(shard) };
        (self.fleet.say)(&format!(
            "{} ended its load: {why}; the run is invalid and the others end",
            self.name(shard)
        ));
        Input::CutShort(shard)
    }
}

/// Returns the start of each phase of a plan; `None`: not known before the run.
fn starts(plan: &Plan) -> Vec<Option<Duration>> {
    let mut at = Some(Duration::ZERO);
    let mut starts = Vec::new();
    for phase in &plan.phases {
        starts.push(at.filter(|_| !phase.open_first));
        at = at.and_then(|at| at.checked_add(phase.load.length?));
    }
    starts
}
