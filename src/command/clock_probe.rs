//! Measures the offset of the clock of a receiver on another machine, with its bound.
//!
//! # Decisions
//! - The bound is half of the shortest of several round trips: the true offset lies within it, whatever the lengths of
//!   the two ways.
//! - The receiver is asked before and after a run. The offset of the start stays, and the bound is widened to cover
//!   both answers.
//! - The times of this machine are one reading of the wall clock plus the monotonic time since then, as the times of a
//!   run are.

use std::time::{Duration, Instant};

use super::error::CommandError;
use crate::collector::delivery::{ClockRelation, Delivered};
use crate::delivery::clock::{CLOCK_QUESTION, ClockReading, clock_answer};
use crate::delivery::settings::ClockOffset;
use crate::experiment::limit::reply_text;
use crate::fleet::clock_offset::{AgentClock, RoundTrip};
use crate::generator::probe::{CloseMode, NetworkProbes, OpenOutcome, ProbeOptions, Probes};
use crate::generator::{Connector, clock, preflight};
use crate::load::Shard;
use crate::plan::Plan;
use crate::profile::overrides::{OverrideOrigin, apply_in_order};
use crate::profile::{Context, Document, Override, Purpose, compile};
use crate::smtp::Step;
use crate::verdict::ExitCode;

/// The number of questions.
const QUESTIONS: usize = 16;
/// The longest wait for the session, and for each answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The means to ask one receiver for its clock.
pub struct ClockProbe {
    plan: Plan,
    began: Instant,
    /// The reading of this machine's wall clock at `began`.
    wall: Duration,
}

impl ClockProbe {
    /// Prepares to ask the receiver at this address. `allow` lists the hosts beyond loopback that the user allows.
    ///
    /// # Errors
    /// `place` is not an address, or the user does not allow it.
    pub fn new(place: &str, allow: &[String]) -> Result<ClockProbe, CommandError> {
        let mut document = Document::parse("--clock-probe", "")?;
        let place = toml::Value::from(place).to_string();
        let change = Override::for_key(OverrideOrigin::Flag, "--clock-probe", "target.address", &place);
        apply_in_order(&mut document, vec![change])?;
        let context = Context {
            purpose: Purpose::Search,
            seed: 0,
            run_id: "clock".to_owned(),
            threads: 1,
            shard: Shard::WHOLE,
        };
        let plan = Plan { allow: allow.to_vec(), ..compile(&document, &context)?.plan };
        preflight::check_before_load(&plan)?;
        let began = clock::now();
        Ok(ClockProbe { plan, began, wall: ClockReading::at(began).wall })
    }

    /// Asks the receiver for its clock before a run.
    ///
    /// # Errors
    /// The peer does not answer, or is not a receiver of smtpress.
    pub fn ask(&self) -> Result<ClockOffset, CommandError> {
        self.asked().map_err(|why| {
            let sentence = format!(
                "{}; give the address of the `smtpress receive` that writes the log, or the offset itself: --clock-offset 1.2ms+-0.3ms",
                self.failure(&why)
            );
            CommandError::Failed(ExitCode::Preflight, sentence)
        })
    }

    fn failure(&self, why: &str) -> String {
        format!("the clock of the receiver at {} could not be asked: {why}", self.plan.target)
    }

    /// Returns the offset by the shortest of the round trips, or the reason why there is none.
    fn asked(&self) -> Result<ClockOffset, String> {
        let connector = Connector::new(&self.plan, None).map_err(|error| error.to_string())?;
        let mut probes = NetworkProbes::new(&connector).map_err(|error| error.to_string())?;
        let session = match probes.open(&[ProbeOptions::default()], 1, PATIENCE).pop() {
            Some(OpenOutcome::Open(session)) => session,
            Some(OpenOutcome::Refused(refusal)) => {
                return Err(reply_text(refusal.step, &refusal.event, None));
            }
            Some(OpenOutcome::OwnFailure(why)) => return Err(why),
            None => return Err("no session was opened".to_owned()),
        };
        let mut trips = Vec::new();
        for _ in 0..QUESTIONS {
            let sent = self.now();
            let outcome = probes.exchange(session, CLOCK_QUESTION, PATIENCE);
            let received = self.now();
            let reply = outcome.reply().filter(|reply| reply.code == 250);
            let Some(theirs) = reply.and_then(|reply| clock_answer(reply.lines.last()?)) else {
                let answer = reply_text(Step::Command, &outcome.event, None);
                return Err(format!("it is no receiver of smtpress, or an older one: it answered {answer}"));
            };
            trips.push(RoundTrip { sent, theirs, received });
        }
        probes.close(&[session], CloseMode::Quit, PATIENCE);
        let found = AgentClock::of(&trips).ok_or("it was not asked")?;
        let ours = self.now();
        Ok(ClockOffset { ahead_ns: found.ahead_of(ours, ours), bound: found.bound })
    }

    /// Asks again after the run, and widens the bound of the deliveries' times to cover both answers.
    pub fn ask_again(&self, delivered: &mut Delivered) {
        let ClockRelation::Offset { ahead_ns, bound } = delivered.clock else { return };
        let first = ClockOffset { ahead_ns, bound };
        match self.asked() {
            Ok(later) => {
                let ClockOffset { ahead_ns, bound } = first.covering(later);
                delivered.clock = ClockRelation::Offset { ahead_ns, bound };
            }
            Err(why) => delivered.remarks.push(format!(
                "{} when the run was over: what the clocks drifted meanwhile is not in the bound of their offset",
                self.failure(&why)
            )),
        }
    }

    fn now(&self) -> Duration {
        self.wall + clock::now().saturating_duration_since(self.began)
    }
}
