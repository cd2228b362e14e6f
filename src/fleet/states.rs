//! The coordinator's state machine: inputs go in, actions come out. It reads no clock and does no I/O.
//!
//! # Decisions
//! - No load starts before every agent has confirmed that it can run its shard.
//! - Silence of an agent counts only while the coordinator reads: after a standstill of the coordinator, messages may
//!   wait unread.
//! - An agent that is silent before the start ends the run before any load is sent.
//! - An agent that is silent during the load stays lost: reports that it delivers later are counted, and the run stays
//!   invalid. The other agents drain, because their load alone would not be the planned load.
//! - Heartbeats are not enough: an agent whose reports cannot be stored, or whose load hangs, is lost too, or the run would
//!   never end.

use std::time::Duration;

use super::LOST_AFTER;
use super::silence::AgentSilence;
use crate::generator::runner::Stop;

/// How long an agent that sends heartbeats may report nothing new. The generator of an agent waits 30 s for a thread that
/// hangs, and reports no second meanwhile.
const REPORTED_WITHIN: Duration = Duration::from_secs(45);
/// The same, after the agents were asked to stop at once.
const ENDED_WITHIN: Duration = Duration::from_secs(10);

/// The state of a run of a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// The agents check whether they can run their shards.
    Preparing,
    /// All agents can run their shards, and get the time of the start.
    Ready,
    /// All agents have confirmed the time of the start.
    Armed,
    /// The load is on the target.
    Running,
    /// No further arrivals start.
    Draining,
    /// The run is over as planned.
    Done,
    /// The run lost a shard, or a part of its load.
    Degraded,
    /// The run is over because it was stopped.
    Aborted,
    /// An agent could not run its shard, and no load was started.
    Failed,
}

/// An input of the state machine. Shards are given by index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The agent can run its shard.
    Ready(u32),
    /// The agent refuses its shard, for this reason.
    Refused(u32, String),
    /// The agent has confirmed the time of the start.
    Armed(u32),
    /// A heartbeat of the agent.
    Heard(u32),
    /// The report of one second, which was not known before.
    Second(u32),
    /// The last report says that the load of the shard is not the planned one: the agent ended it, or it failed.
    CutShort(u32),
    /// All seconds and the last report have arrived.
    Ended(u32),
    /// The user stops the run.
    Stop(Stop),
    /// Time has passed.
    Tick,
}

/// An action for the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FleetAction {
    /// Send all agents the time of the start.
    ArmAll,
    /// Send all agents this stop.
    Tell(Stop),
    /// The shard is lost: its agent was silent for this long.
    Lost(u32, Duration),
    /// The shard is lost: its agent sends heartbeats, and reported nothing for this long.
    Stalled(u32, Duration),
    /// Make all agents drop the run: it cannot start, because of these shards.
    Release(Vec<(u32, String)>),
    /// The run is over.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ShardState {
    Asked,
    Ready,
    Armed,
    Ended,
    Lost,
}

/// The coordinator's state of a run.
#[derive(Clone, Debug)]
pub struct FleetRun {
    state: RunState,
    shards: Vec<ShardState>,
    silence: AgentSilence,
    /// The times of the last new reports.
    reports: AgentSilence,
    refusals: Vec<(u32, String)>,
    stop: Stop,
    is_over: bool,
}

impl FleetRun {
    /// Returns a run of this many shards whose agents are asked at `now`.
    pub fn new(shards: u32, now: Duration) -> FleetRun {
        FleetRun {
            state: RunState::Preparing,
            shards: vec![ShardState::Asked; shards as usize],
            silence: AgentSilence::new(shards as usize, now),
            reports: AgentSilence::new(shards as usize, now),
            refusals: Vec::new(),
            stop: Stop::Run,
            is_over: false,
        }
    }

    /// Returns a run of this many shards whose agents know when to start, for a coordinator that takes the run over at
    /// `now`.
    pub fn taken_over(shards: u32, now: Duration) -> FleetRun {
        let own = FleetRun::new(shards, now);
        FleetRun { state: RunState::Armed, shards: vec![ShardState::Armed; shards as usize], ..own }
    }

    /// Returns the number of shards.
    pub fn shards(&self) -> u32 {
        u32::try_from(self.shards.len()).unwrap_or(u32::MAX)
    }

    /// Returns the state.
    pub fn state(&self) -> RunState {
        self.state
    }

    /// Returns the stop that agents get.
    pub fn stop(&self) -> Stop {
        self.stop
    }

    /// Whether the shard is lost.
    pub fn is_lost(&self, shard: u32) -> bool {
        self.shards.get(shard as usize) == Some(&ShardState::Lost)
    }

    /// Takes an input at `now`; returns the actions that follow.
    pub fn handle(&mut self, input: Input, now: Duration) -> Vec<FleetAction> {
        if self.is_over {
            return Vec::new();
        }
        if let Input::Ready(shard)
        | Input::Refused(shard, _)
        | Input::Armed(shard)
        | Input::Heard(shard)
        | Input::Second(shard)
        | Input::CutShort(shard)
        | Input::Ended(shard) = &input
        {
            self.silence.hear(*shard as usize, now);
        }
        if let Input::Armed(shard) | Input::Second(shard) | Input::CutShort(shard) | Input::Ended(shard) =
            &input
        {
            self.reports.hear(*shard as usize, now);
        }
        let mut actions = Vec::new();
        match input {
            Input::Ready(shard) if self.state == RunState::Preparing => {
                self.advance(shard, ShardState::Asked, ShardState::Ready);
            }
            Input::Armed(shard) if self.state == RunState::Ready => {
                self.advance(shard, ShardState::Ready, ShardState::Armed);
            }
            Input::Refused(shard, why) if self.is_before_load() && (shard as usize) < self.shards.len() => {
                self.refusals.push((shard, why));
            }
            Input::Second(_) if self.state == RunState::Armed => self.state = RunState::Running,
            Input::CutShort(_) if !self.is_before_load() => self.degrade(&mut actions),
            Input::Ended(shard) if !self.is_before_load() => {
                if let Some(own) = self.shards.get_mut(shard as usize)
                    && *own != ShardState::Lost
                {
                    *own = ShardState::Ended;
                }
            }
            Input::Stop(stop) if stop > self.stop => {
                self.stop = stop;
                actions.push(FleetAction::Tell(stop));
                // The time for the reports of the end begins.
                (0..self.shards.len()).for_each(|shard| self.reports.hear(shard, now));
                if matches!(self.state, RunState::Armed | RunState::Running) {
                    self.state = RunState::Draining;
                }
            }
            Input::Tick => self.look_for_silence(now, &mut actions),
            _ => {}
        }
        self.conclude(&mut actions);
        actions
    }

    /// Whether no agent knows the time of the start yet. An armed agent may already send its load.
    fn is_before_load(&self) -> bool {
        matches!(self.state, RunState::Preparing | RunState::Ready)
    }

    fn advance(&mut self, shard: u32, from: ShardState, to: ShardState) {
        if let Some(own) = self.shards.get_mut(shard as usize).filter(|own| **own == from) {
            *own = to;
        }
    }

    fn look_for_silence(&mut self, now: Duration, actions: &mut Vec<FleetAction>) {
        let patience = if self.stop == Stop::Now { ENDED_WITHIN } else { REPORTED_WITHIN };
        let since = self.silence.look(now).into_iter().zip(self.reports.look(now));
        for (shard, (silent, unreported)) in since.enumerate() {
            let index = u32::try_from(shard).unwrap_or(u32::MAX);
            let is_silent = silent >= LOST_AFTER;
            let is_stalled = unreported >= patience && !self.is_before_load();
            if matches!(self.shards[shard], ShardState::Ended | ShardState::Lost)
                || !(is_silent || is_stalled)
            {
                continue;
            }
            if self.is_before_load() {
                self.refusals.push((index, format!("it sent no message for {:.1} s", silent.as_secs_f64())));
                continue;
            }
            self.shards[shard] = ShardState::Lost;
            actions.push(match is_silent {
                true => FleetAction::Lost(index, silent),
                false => FleetAction::Stalled(index, unreported),
            });
            self.degrade(actions);
        }
    }

    /// Notes that the load is not the planned one, and lets all agents drain.
    fn degrade(&mut self, actions: &mut Vec<FleetAction>) {
        self.state = RunState::Degraded;
        if self.stop < Stop::Drain {
            self.stop = Stop::Drain;
            actions.push(FleetAction::Tell(Stop::Drain));
        }
    }

    /// Adds the actions that follow from the states of all shards.
    fn conclude(&mut self, actions: &mut Vec<FleetAction>) {
        let all = |state| self.shards.iter().all(|shard| *shard == state);
        if self.is_before_load() && (!self.refusals.is_empty() || self.stop > Stop::Run) {
            let stopped = self.refusals.is_empty();
            self.state = if stopped { RunState::Aborted } else { RunState::Failed };
            actions.push(FleetAction::Release(std::mem::take(&mut self.refusals)));
            self.over(actions);
            return;
        }
        if self.state == RunState::Preparing && all(ShardState::Ready) {
            self.state = RunState::Ready;
            actions.push(FleetAction::ArmAll);
        } else if self.state == RunState::Ready && all(ShardState::Armed) {
            self.state = RunState::Armed;
        }
        if self.shards.iter().all(|shard| matches!(shard, ShardState::Ended | ShardState::Lost)) {
            self.state = match self.state {
                RunState::Degraded => RunState::Degraded,
                _ if self.stop > Stop::Run => RunState::Aborted,
                _ => RunState::Done,
            };
            self.over(actions);
        }
    }

    fn over(&mut self, actions: &mut Vec<FleetAction>) {
        self.is_over = true;
        actions.push(FleetAction::Over);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Returns a run of three shards whose load is on the target.
    fn running() -> FleetRun {
        let mut run = FleetRun::new(3, at(0));
        for shard in 0..3 {
            run.handle(Input::Ready(shard), at(10));
        }
        for shard in 0..3 {
            run.handle(Input::Armed(shard), at(20));
        }
        run.handle(Input::Second(1), at(1000));
        assert_eq!(run.state(), RunState::Running);
        run
    }

    /// Checks for silence every 100 ms, as a coordinator does, until an action follows or the time is over.
    fn look(run: &mut FleetRun, from: u64, until: u64) -> Vec<FleetAction> {
        (from..=until)
            .step_by(100)
            .map(|ms| run.handle(Input::Tick, at(ms)))
            .find(|own| !own.is_empty())
            .unwrap_or_default()
    }

    #[test]
    fn no_agent_starts_before_all_can() {
        let mut run = FleetRun::new(2, at(0));
        assert_eq!(run.handle(Input::Ready(0), at(1)), []);
        assert_eq!(run.handle(Input::Ready(0), at(2)), [], "twice is once");
        assert_eq!(run.handle(Input::Ready(1), at(3)), [FleetAction::ArmAll]);
        assert_eq!(run.handle(Input::Ready(1), at(4)), []);
    }

    #[test]
    fn one_that_cannot_names_itself_and_no_load_runs() {
        let mut run = FleetRun::new(2, at(0));
        run.handle(Input::Ready(0), at(1));
        let actions = run.handle(Input::Refused(1, "no descriptors".into()), at(2));
        assert_eq!(actions, [FleetAction::Release(vec![(1, "no descriptors".into())]), FleetAction::Over]);
        assert_eq!(run.state(), RunState::Failed);
        assert_eq!(run.handle(Input::Ready(1), at(3)), []);
        // A silent agent also ends the run.
        let mut run = FleetRun::new(2, at(0));
        assert_eq!(look(&mut run, 100, 2800), []);
        run.handle(Input::Ready(0), at(2900));
        let actions = look(&mut run, 2900, 3100);
        assert!(
            matches!(&actions[..], [FleetAction::Release(who), FleetAction::Over] if who[0].0 == 1),
            "{actions:?}"
        );
    }

    #[test]
    fn a_silent_agent_is_lost_the_others_drain_and_its_return_changes_nothing() {
        let mut run = running();
        assert_eq!(look(&mut run, 100, 1900), []);
        for ms in [2000, 3000] {
            run.handle(Input::Heard(0), at(ms));
            run.handle(Input::Heard(1), at(ms));
            assert_eq!(look(&mut run, ms, ms + 900 - ms / 3000 * 900), []);
        }
        let actions = run.handle(Input::Tick, at(3100));
        assert_eq!(actions, [FleetAction::Lost(2, at(3080)), FleetAction::Tell(Stop::Drain)]);
        assert!(run.is_lost(2) && run.handle(Input::Ended(2), at(3200)).is_empty());
        run.handle(Input::Ended(0), at(3300));
        assert_eq!(run.handle(Input::Ended(1), at(3400)), [FleetAction::Over]);
        assert_eq!(run.state(), RunState::Degraded);
    }

    #[test]
    fn one_that_is_silent_when_it_knows_the_start_is_lost_and_its_load_is_not_denied() {
        let mut run = FleetRun::new(2, at(0));
        for shard in 0..2 {
            run.handle(Input::Ready(shard), at(10));
        }
        for shard in 0..2 {
            run.handle(Input::Armed(shard), at(20));
        }
        assert_eq!(run.handle(Input::Refused(0, "too late".into()), at(30)), []);
        let actions = look(&mut run, 100, 4000);
        let lost = |shard| FleetAction::Lost(shard, at(if shard == 0 { 3070 } else { 3080 }));
        assert_eq!(actions, [lost(0), FleetAction::Tell(Stop::Drain), lost(1), FleetAction::Over]);
        assert_eq!(run.state(), RunState::Degraded);
    }

    #[test]
    fn a_stop_before_the_first_second_waits_for_the_agents_ends() {
        let mut run = FleetRun::new(1, at(0));
        run.handle(Input::Ready(0), at(10));
        run.handle(Input::Armed(0), at(20));
        assert_eq!(run.handle(Input::Stop(Stop::Drain), at(30)), [FleetAction::Tell(Stop::Drain)]);
        assert_eq!(run.state(), RunState::Draining);
        assert_eq!(run.handle(Input::Ended(0), at(40)), [FleetAction::Over]);
        assert_eq!(run.state(), RunState::Aborted);
    }

    /// Checks every 100 ms while all agents send heartbeats, and each of these shards reports a second, until an action
    /// follows or the time is over. Returns the time and the actions.
    fn with_heartbeats(
        run: &mut FleetRun,
        reports: &[u32],
        from: u64,
        until: u64,
    ) -> (u64, Vec<FleetAction>) {
        for ms in (from..=until).step_by(100) {
            (0..run.shards()).for_each(|shard| assert_eq!(run.handle(Input::Heard(shard), at(ms)), []));
            if ms % 1000 == 0 {
                reports.iter().for_each(|shard| assert_eq!(run.handle(Input::Second(*shard), at(ms)), []));
            }
            let actions = run.handle(Input::Tick, at(ms));
            if !actions.is_empty() {
                return (ms, actions);
            }
        }
        (until, Vec::new())
    }

    #[test]
    fn an_agent_that_lives_and_reports_nothing_is_lost_and_the_run_ends() {
        let mut run = running();
        let (ms, actions) = with_heartbeats(&mut run, &[0, 1], 100, 120_000);
        // The shard confirmed the start after 20 ms.
        assert_eq!(actions, [FleetAction::Stalled(2, at(ms - 20)), FleetAction::Tell(Stop::Drain)]);
        assert!((45_000..46_000).contains(&ms) && run.is_lost(2), "{ms}");
        run.handle(Input::Ended(0), at(ms));
        assert_eq!(run.handle(Input::Ended(1), at(ms)), [FleetAction::Over]);
        assert_eq!(run.state(), RunState::Degraded);
        // A load may last for long as long as its seconds come.
        let mut run = running();
        assert_eq!(with_heartbeats(&mut run, &[0, 1, 2], 100, 300_000), (300_000, Vec::new()));
    }

    #[test]
    fn after_a_stop_at_once_an_agent_has_ten_seconds_to_report_its_end() {
        let mut run = running();
        assert_eq!(with_heartbeats(&mut run, &[0, 1, 2], 100, 20_400).1, []);
        run.handle(Input::Stop(Stop::Now), at(20_500));
        run.handle(Input::Ended(0), at(20_550));
        run.handle(Input::Ended(1), at(20_550));
        let (ms, actions) = with_heartbeats(&mut run, &[], 20_600, 60_000);
        assert_eq!(actions, [FleetAction::Stalled(2, at(ms - 20_500)), FleetAction::Over]);
        assert!((30_500..30_700).contains(&ms), "{ms}");
    }

    #[test]
    fn a_shard_whose_agent_ended_its_load_lets_the_others_drain() {
        let mut run = running();
        assert_eq!(run.handle(Input::CutShort(2), at(1100)), [FleetAction::Tell(Stop::Drain)]);
        assert_eq!(run.handle(Input::CutShort(2), at(1150)), [], "once is enough");
        run.handle(Input::Ended(2), at(1200));
        run.handle(Input::Ended(0), at(1300));
        assert!(!run.is_lost(2), "its reports are complete");
        assert_eq!(run.handle(Input::Ended(1), at(1400)), [FleetAction::Over]);
        assert_eq!(run.state(), RunState::Degraded);
        // No load was sent before all agents know the start.
        let mut run = FleetRun::new(1, at(0));
        assert_eq!(run.handle(Input::CutShort(0), at(10)), []);
        assert_eq!(run.state(), RunState::Preparing);
    }

    #[test]
    fn a_coordinator_that_stood_still_calls_nobody_lost_whom_it_has_not_read_yet() {
        let mut run = running();
        assert_eq!(look(&mut run, 100, 1500), []);
        assert_eq!(run.handle(Input::Tick, at(60_000)), []);
        for shard in 0..3 {
            run.handle(Input::Heard(shard), at(60_001));
        }
        assert_eq!(look(&mut run, 60_100, 63_000), []);
        assert!(!look(&mut run, 63_100, 63_200).is_empty());
    }

    #[test]
    fn a_stop_goes_out_once_a_level_and_ends_as_aborted() {
        let mut run = running();
        assert_eq!(run.handle(Input::Stop(Stop::Drain), at(1100)), [FleetAction::Tell(Stop::Drain)]);
        assert_eq!(run.handle(Input::Stop(Stop::Drain), at(1200)), []);
        assert_eq!(run.handle(Input::Stop(Stop::Now), at(1300)), [FleetAction::Tell(Stop::Now)]);
        for shard in 0..3 {
            run.handle(Input::Ended(shard), at(1400));
        }
        assert_eq!(run.state(), RunState::Aborted);
    }

    fn input() -> impl Strategy<Value = Input> {
        let shard = 0..4_u32;
        prop_oneof![
            shard.clone().prop_map(Input::Ready),
            shard.clone().prop_map(Input::Armed),
            shard.clone().prop_map(Input::Heard),
            shard.clone().prop_map(Input::Second),
            shard.clone().prop_map(Input::CutShort),
            shard.clone().prop_map(Input::Ended),
            (shard, Just("no".to_owned())).prop_map(|(shard, why)| Input::Refused(shard, why)),
            prop_oneof![Just(Stop::Drain), Just(Stop::Now)].prop_map(Input::Stop),
            Just(Input::Tick),
        ]
    }

    proptest! {
        /// For any inputs in any order: the run is never `Done` while a shard is lost or has not ended, it is over at
        /// most once, and no agent gets the time of the start before every shard was ready.
        #[test]
        fn no_order_of_inputs_makes_a_false_pass(
            inputs in prop::collection::vec((input(), 0..1500_u64), 0..60),
        ) {
            let mut run = FleetRun::new(3, at(0));
            let (mut now, mut over, mut ready, mut ended) = (0, 0, [false; 3], [false; 3]);
            let mut lost = false;
            for (input, later) in inputs {
                now += later;
                if let Input::Ready(shard @ 0..3) = input { ready[shard as usize] = true; }
                if let Input::Ended(shard @ 0..3) = input { ended[shard as usize] = true; }
                for action in run.handle(input, at(now)) {
                    prop_assert_eq!(over, 0, "nothing after the end");
                    match action {
                        FleetAction::ArmAll => prop_assert!(ready.iter().all(|ready| *ready)),
                        FleetAction::Lost(..) | FleetAction::Stalled(..) => lost = true,
                        FleetAction::Over => over += 1,
                        _ => {}
                    }
                }
                if run.state() == RunState::Done {
                    prop_assert!(!lost && ended.iter().all(|ended| *ended) && over == 1);
                }
                prop_assert!(!lost || run.state() == RunState::Degraded);
            }
        }
    }
}
