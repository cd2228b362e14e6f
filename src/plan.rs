//! One trial, fully decided: the centre between what is asked (a profile, flags, a search) and what is done.
//!
//! # Decisions
//! - A plan may name conditions (`condition::expect`): the rules that tell an expected refusal from a failure are part of
//!   what is asked, and the vocabulary of conditions is the collector's.

pub mod retry;
pub mod silence;

use std::fmt;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::collector::summary::PhaseInfo;
use crate::condition::expect::{Expect, UserRule};
use crate::event::PlannedEvent;
use crate::load;
use crate::mail;
use crate::net::address::Target;
use crate::net::address::origin::ClientAddress;
use crate::net::address::tls::ClientTls;
use crate::smtp::auth::Login;
use crate::smtp::script::Quit;
use crate::smtp::{Script, script};
use retry::Retry;

/// What one arrival is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A session with all its messages: connect to close.
    Session,
    /// A transaction, on a session of the pool.
    Message,
}

impl Unit {
    /// The unit's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Unit::Session => "session",
            Unit::Message => "message",
        }
    }
}

/// The most arrivals of open loads that wait at once in one process; what comes due beyond them is shed. It bounds the
/// memory of a run against a listener that stands still, however long and fast the load is.
pub const MOST_WAITING: u64 = 1 << 20;

/// What becomes of an arrival that is due when no session is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSaturation {
    /// It waits, with its intended time.
    Queue,
    /// It is shed.
    Drop,
}

/// How many messages a session carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Messages {
    /// As many as there are (only over the pool).
    Unlimited,
    /// Always so many; 0 opens and closes the session.
    Fixed(u32),
    /// Uniform between the two, both included, drawn by seed and session.
    Uniform {
        /// At least.
        min: u32,
        /// At most.
        max: u32,
    },
    /// One of these, by weight.
    Weighted(Vec<(u32, f64)>),
}

impl Messages {
    /// The number of messages of session `serial`, by seed; `u64::MAX`: as many as there are.
    pub fn draw(&self, seed: u64, serial: u64) -> u64 {
        let random = || {
            let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x6d65_7373_6167_6573);
            random.set_stream(serial);
            random.next_u64()
        };
        match self {
            Messages::Unlimited => u64::MAX,
            Messages::Fixed(n) => u64::from(*n),
            Messages::Uniform { min, max } => {
                let width = u128::from(max.saturating_sub(*min)) + 1;
                let drawn = (u128::from(random()) * width) >> 64;
                u64::from(*min) + u64::try_from(drawn).unwrap_or(0)
            }
            Messages::Weighted(choices) => {
                let total: f64 = choices.iter().map(|(_, weight)| weight).sum();
                // 53 bits: every value is exact in a double.
                let mut left = (random() >> 11) as f64 / (1u64 << 53) as f64 * total;
                let drawn = choices.iter().find(|(_, weight)| {
                    left -= weight;
                    left < 0.0
                });
                drawn.or(choices.last()).map_or(1, |(n, _)| u64::from(*n))
            }
        }
    }

    /// The most messages of a session that is an arrival itself; at least 1. Message i of arrival n has the number
    /// n times this plus i.
    pub fn most(&self) -> u64 {
        match self {
            Messages::Unlimited => 1,
            Messages::Fixed(n) => u64::from(*n).max(1),
            Messages::Uniform { max, .. } => u64::from(*max).max(1),
            Messages::Weighted(choices) => {
                choices.iter().map(|(n, _)| u64::from(*n)).max().unwrap_or(1).max(1)
            }
        }
    }
}

/// Who logs in, session by session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logins {
    /// All who do; empty: nobody logs in.
    pub users: Vec<Login>,
    /// Drawn by seed and session; otherwise one after the other.
    pub random: bool,
}

impl Logins {
    /// The login of session `serial`.
    pub fn of(&self, seed: u64, serial: u64) -> Option<&Login> {
        let count = self.users.len() as u64;
        let index = if self.random {
            let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x6c6f_6769_6e73);
            random.set_stream(serial);
            u64::try_from((u128::from(random.next_u64()) * u128::from(count)) >> 64).unwrap_or(0)
        } else {
            serial.checked_rem(count)?
        };
        self.users.get(usize::try_from(index).ok()?)
    }
}

/// The pauses of a closed load before it opens the next session after one failed. An open load has none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reconnect {
    /// After the first failure.
    pub first: Duration,
    /// By how much each further pause is longer; at least 1.
    pub factor: f64,
    /// No pause is longer.
    pub max: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Reconnect { first: Duration::from_millis(50), factor: 2.0, max: Duration::from_secs(1) }
    }
}

impl fmt::Display for Reconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reconnect { first, factor, max } = *self;
        if max.is_zero() {
            return f.write_str("at once after a failed session");
        }
        write!(f, "after a failed session a pause of {first:?}")?;
        if first < max && factor > 1.0 {
            write!(f, ", {factor} times as long after each further one, up to {max:?}")?;
        }
        f.write_str(", then one session at a time")
    }
}

impl Reconnect {
    /// The pause after a failure that follows on `failures` others.
    pub fn after(&self, failures: i32) -> Duration {
        // Beyond all bounds, and none of nothing: infinity times zero is no number.
        let times = self.factor.powi(failures).min(f64::MAX);
        Duration::from_secs_f64((self.first.as_secs_f64() * times).min(self.max.as_secs_f64()))
    }
}

/// A named part of the run.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// Its name, unique in the plan.
    pub name: String,
    /// When arrivals are due.
    pub load: load::PhaseLoad,
    /// The name of the load model as the user wrote it.
    pub model: String,
    /// What an arrival is.
    pub unit: Unit,
    /// Never measured.
    pub warmup: bool,
    /// The most sessions open at once.
    pub max_sessions: u32,
    /// The most connections opened a second; `None`: as the load asks.
    pub connect_rate: Option<f64>,
    /// What becomes of an arrival when no session is free.
    pub on_saturation: OnSaturation,
    /// All sessions of the pool are open before the first message starts (closed loads of messages).
    pub open_first: bool,
    /// How long arrivals may take to end after the phase's end, before they are interrupted.
    pub graceful_stop: Duration,
}

impl Phase {
    /// The most sessions that it has open at once.
    pub fn most_sessions(&self) -> u64 {
        u64::from(self.max_sessions).min(self.load.model.most_sessions().unwrap_or(u64::MAX))
    }
}

/// Which part of what its profile asks for a plan is: from both it can be made again on another machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum PlanPart {
    /// The run.
    #[default]
    Run,
    /// The warm-up of a search for the capacity.
    WarmUp {
        /// How long.
        length: Duration,
    },
    /// A trial of it.
    Trial {
        /// From 1.
        number: usize,
        /// The load, in the unit of the search.
        load: f64,
        /// How long.
        length: Duration,
    },
    /// Sessions of a search for limits, which the coordinator drives step by step.
    Limits {
        /// How long a reply may take.
        patience: Duration,
        /// How many sessions there may be at once.
        sessions: u64,
    },
    /// One arrival between two trials.
    Probe {
        /// From 1.
        number: usize,
    },
}

/// One trial, fully decided.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The profile's name.
    pub name: String,
    /// All randomness of the run.
    pub seed: u64,
    /// Identifies the run in its messages (`X-Smtpress-Run`).
    pub run_id: String,
    /// Where the load goes.
    pub target: Target,
    /// The client address of each session.
    pub origin: ClientAddress,
    /// Hosts beyond loopback that the user allows.
    pub allow: Vec<String>,
    /// How TLS is spoken, if the script asks for it.
    pub tls: ClientTls,
    /// The dialogue.
    pub script: Script,
    /// Who logs in.
    pub logins: Logins,
    /// Messages in a session.
    pub messages: Messages,
    /// What the messages are.
    pub mail: mail::Spec,
    /// The pauses of closed loads after a session failed.
    pub reconnect: Reconnect,
    /// When messages are tried again that were not accepted; `None`: never. Only with phases of messages.
    pub retry: Option<Retry>,
    /// The phases, in order.
    pub phases: Vec<Phase>,
    /// Refusals that are right.
    pub expects: Vec<Expect>,
    /// The user's own names for replies.
    pub classify: Vec<UserRule>,
    /// Generator threads.
    pub threads: u32,
    /// Which part of the whole load this process carries.
    pub shard: load::Shard,
    /// What is done to the listener meanwhile.
    pub events: Vec<PlannedEvent>,
    /// The end of each transaction is wanted, to be matched with what comes out of a relay.
    pub lists_transactions: bool,
    /// Which part of what its profile asks for it is.
    pub part: PlanPart,
}

impl Plan {
    /// The loads of its phases, in order.
    pub fn loads(&self) -> Vec<load::PhaseLoad> {
        self.phases.iter().map(|phase| phase.load.clone()).collect()
    }

    /// The sessions that every phase has for sharing out, over all shards: more shards than that would leave one without any.
    pub fn sessions_to_share(&self) -> u64 {
        self.phases.iter().map(Phase::most_sessions).min().unwrap_or(1)
    }

    /// What a summary needs to know of its phases.
    pub fn phase_infos(&self) -> Vec<PhaseInfo> {
        let info = |phase: &Phase| PhaseInfo {
            name: phase.name.clone(),
            warmup: phase.warmup,
            unit: phase.unit.as_str(),
            steady: phase.load.model.is_steady(),
            sheds: phase.on_saturation == OnSaturation::Drop,
            paced: phase.connect_rate.is_some(),
            max_sessions: phase.max_sessions,
            length: phase.load.length,
        };
        self.phases.iter().map(info).collect()
    }

    /// Whether its sessions are encrypted.
    pub fn speaks_tls(&self) -> bool {
        self.script.tls != script::TlsMode::None
    }

    /// Whether the sessions of a phase stay open to its end when they have nothing more to send.
    pub fn holds(&self, phase: u32) -> bool {
        let phase = &self.phases[phase as usize];
        phase.load.model.holds() || self.script.quit == Quit::Hold && phase.unit == Unit::Session
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_a_session_follow_from_seed_and_number() {
        let drawn = |messages: &Messages| (0..8).map(|serial| messages.draw(42, serial)).collect::<Vec<_>>();
        let uniform = Messages::Uniform { min: 1, max: 10 };
        assert_eq!(drawn(&uniform), drawn(&uniform));
        assert!((0..1000).all(|serial| (1..=10).contains(&uniform.draw(7, serial))));
        let hit: std::collections::BTreeSet<u64> = (0..1000).map(|serial| uniform.draw(7, serial)).collect();
        assert_eq!(hit.len(), 10);
        let weighted = Messages::Weighted(vec![(1, 3.0), (50, 1.0)]);
        let ones = (0..4000).filter(|serial| weighted.draw(7, *serial) == 1).count();
        assert!((2850..3150).contains(&ones), "{ones}");
        assert_eq!((weighted.most(), Messages::Fixed(0).most()), (50, 1));
    }
}
