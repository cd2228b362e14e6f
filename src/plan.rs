//! The plan of one trial, in every detail. Profiles, flags and searches are turned into plans; a runner executes them.
//!
//! # Decisions
//! - A plan holds rules that name conditions (`condition::expect`), because the user decides which refusals are expected
//!   and which are failures.

pub mod retry;
mod sharing;
pub mod silence;

use std::fmt;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::collector::summary::PhaseInfo;
use crate::condition::expect::{Expect, UserRule};
use crate::event::PlannedEvent;
use crate::load::{self, PHASE_STRIDE};
use crate::mail;
use crate::net::address::Target;
use crate::net::address::origin::ClientAddress;
use crate::net::address::tls::ClientTls;
use crate::smtp::auth::Login;
use crate::smtp::script::Quit;
use crate::smtp::{Script, script};
use retry::Retry;

/// The unit of an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A session with all its messages, from its connect to its close.
    Session,
    /// A transaction, on a session of the pool.
    Message,
}

impl Unit {
    /// Returns the name of the unit.
    pub const fn as_str(self) -> &'static str {
        match self {
            Unit::Session => "session",
            Unit::Message => "message",
        }
    }
}

/// The largest number of arrivals of open loads that wait at once in one process. Further arrivals are shed. This
/// limits the memory of a run against a listener that does not answer, for a load of any length and rate.
pub const MOST_WAITING: u64 = 1 << 20;

/// What happens to an arrival if no session is free at its scheduled time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSaturation {
    /// The arrival waits, with its intended time.
    Queue,
    /// The arrival is shed.
    Drop,
}

/// How many messages a session carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Messages {
    /// No limit. Only sessions of the pool can have none.
    Unlimited,
    /// Always this number; 0 opens and closes the session.
    Fixed(u32),
    /// A number between `min` and `max`, both included and all equally likely, drawn by seed and session.
    Uniform {
        /// The smallest number.
        min: u32,
        /// The largest number.
        max: u32,
    },
    /// One of these numbers, drawn by weight, seed and session.
    Weighted(Vec<(u32, f64)>),
}

impl Messages {
    /// Returns the number of messages of session number `serial`; `u64::MAX`: no limit.
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
                // With 53 bits, every value is exact in a double.
                let mut left = (random() >> 11) as f64 / (1u64 << 53) as f64 * total;
                let drawn = choices.iter().find(|(_, weight)| {
                    left -= weight;
                    left < 0.0
                });
                drawn.or(choices.last()).map_or(1, |(n, _)| u64::from(*n))
            }
        }
    }

    /// Returns the number of message `index`, from 0, of the session that is the arrival of this number. It is unique in the
    /// run, also where the messages of other phases are arrivals themselves, as long as the sessions of a phase, each with the
    /// most messages, have fewer than [`PHASE_STRIDE`].
    pub fn number(&self, arrival: u64, index: u64) -> u64 {
        let within = arrival % PHASE_STRIDE;
        (arrival - within).saturating_add(within.saturating_mul(self.most())).saturating_add(index)
    }

    /// Returns the largest number of messages of a session that is an arrival itself; at least 1.
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

/// The logins of the sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logins {
    /// The users; empty if no session logs in.
    pub users: Vec<Login>,
    /// Whether users are drawn by seed and session. Otherwise they are used in turn.
    pub random: bool,
}

impl Logins {
    /// Returns the login of session number `serial`; `None`: no session logs in.
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

/// The pauses of a closed load between a failed session and the next session. An open load has no such pauses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reconnect {
    /// The pause after the first failed session.
    pub first: Duration,
    /// The factor from each pause to the next; at least 1.
    pub factor: f64,
    /// The longest pause.
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
            write!(
                f,
                " ({factor} times as long after each further failure, up to {max:?}; a served session resets it)"
            )?;
        }
        f.write_str(", then one session at a time")
    }
}

impl Reconnect {
    /// Returns the pause after a failed session that follows `failures` other failed sessions without a served one.
    pub fn after(&self, failures: i32) -> Duration {
        // The power is bounded, because infinity times zero is not a number.
        let times = self.factor.powi(failures).min(f64::MAX);
        Duration::from_secs_f64((self.first.as_secs_f64() * times).min(self.max.as_secs_f64()))
    }
}

/// A phase: a named part of the run.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// The name, unique in the plan.
    pub name: String,
    /// The load, which determines the scheduled times of arrivals.
    pub load: load::PhaseLoad,
    /// The name of the load model as the user wrote it.
    pub model: String,
    /// The unit of an arrival.
    pub unit: Unit,
    /// Whether the phase is a warm-up, which is never measured.
    pub warmup: bool,
    /// The most sessions open at once.
    pub max_sessions: u32,
    /// The most connections opened a second; `None` for no limit.
    pub connect_rate: Option<f64>,
    /// What happens to an arrival if no session is free.
    pub on_saturation: OnSaturation,
    /// Whether all sessions of the pool are opened before the first message starts (closed loads of messages).
    pub open_first: bool,
    /// How long arrivals may take to end after the end of the phase, before they are interrupted.
    pub graceful_stop: Duration,
}

impl Phase {
    /// Returns the most sessions that the phase has open at once.
    pub fn most_sessions(&self) -> u64 {
        u64::from(self.max_sessions).min(self.load.model.most_sessions().unwrap_or(u64::MAX))
    }
}

/// The part of a profile's request that a plan executes. Another machine makes the same plan from the profile and this
/// part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum PlanPart {
    /// The run.
    #[default]
    Run,
    /// The warm-up of a capacity search.
    WarmUp {
        /// The length.
        length: Duration,
    },
    /// A trial of a capacity search.
    Trial {
        /// The number, from 1.
        number: usize,
        /// The load, in the unit of the search.
        load: f64,
        /// The length.
        length: Duration,
    },
    /// The sessions of a search for limits, which the coordinator of a fleet drives step by step.
    Limits {
        /// The longest wait for a reply.
        patience: Duration,
        /// The most sessions at once.
        sessions: u64,
    },
    /// A single arrival of a capacity search, which measures the idle listener.
    Probe {
        /// The number of the probe, from 1.
        number: usize,
    },
}

/// One trial in every detail.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The profile's name.
    pub name: String,
    /// The seed of all randomness of the run.
    pub seed: u64,
    /// The identifier of the run in its messages (`X-Smtpress-Run`).
    pub run_id: String,
    /// The target of the load.
    pub target: Target,
    /// The client address of each session.
    pub origin: ClientAddress,
    /// Hosts beyond loopback that the user allows.
    pub allow: Vec<String>,
    /// The TLS settings, if the script uses TLS.
    pub tls: ClientTls,
    /// The dialogue.
    pub script: Script,
    /// The logins.
    pub logins: Logins,
    /// The number of messages in a session.
    pub messages: Messages,
    /// The messages.
    pub mail: mail::Spec,
    /// The pauses of closed loads after a failed session.
    pub reconnect: Reconnect,
    /// When messages that were not accepted are tried again; `None`: never. Only phases of messages can have retries.
    pub retry: Option<Retry>,
    /// The phases, in order.
    pub phases: Vec<Phase>,
    /// The refusals that are expected.
    pub expects: Vec<Expect>,
    /// The user's own names for replies.
    pub classify: Vec<UserRule>,
    /// The number of generator threads.
    pub threads: u32,
    /// The part of the whole load that this process sends.
    pub shard: load::Shard,
    /// The events during the load.
    pub events: Vec<PlannedEvent>,
    /// Whether the end of each transaction is recorded, to match transactions with the deliveries of a relay.
    pub lists_transactions: bool,
    /// The part of the profile's request that this plan executes.
    pub part: PlanPart,
}

impl Plan {
    /// Returns the loads of the phases, in order.
    pub fn loads(&self) -> Vec<load::PhaseLoad> {
        self.phases.iter().map(|phase| phase.load.clone()).collect()
    }

    /// Returns the largest number of shards among which every phase can divide its sessions. With more shards, at least
    /// one shard would have no session in a phase.
    pub fn sessions_to_share(&self) -> u64 {
        self.phases.iter().map(Phase::most_sessions).min().unwrap_or(1)
    }

    /// Returns the properties of the phases that a summary of this process needs.
    pub fn phase_infos(&self) -> Vec<PhaseInfo> {
        self.phase_infos_of(self.shard.index, self.shard.of)
    }

    /// Returns the properties of the phases that a summary of shard `index` of `of` needs. A shard may open only its
    /// share of the sessions.
    pub fn phase_infos_of(&self, index: u32, of: u32) -> Vec<PhaseInfo> {
        let shard = load::Shard { index, of };
        let share = |sessions: u32| u32::try_from(shard.share(sessions.into())).unwrap_or(sessions);
        let info = |phase: &Phase| PhaseInfo {
            name: phase.name.clone(),
            warmup: phase.warmup,
            unit: phase.unit.as_str(),
            steady: phase.load.model.is_steady(),
            sheds: phase.on_saturation == OnSaturation::Drop,
            paced: phase.connect_rate.is_some(),
            max_sessions: share(phase.max_sessions),
            length: phase.load.length,
            total: phase.load.model.total().map(|total| shard.share(total)),
        };
        self.phases.iter().map(info).collect()
    }

    /// Whether the sessions are encrypted.
    pub fn speaks_tls(&self) -> bool {
        self.script.tls != script::TlsMode::None
    }

    /// Whether the sessions of a phase stay open until the end of the phase after their last message.
    pub fn holds(&self, phase: u32) -> bool {
        let phase = &self.phases[phase as usize];
        phase.load.model.holds() || self.script.quit == Quit::Hold && phase.unit == Unit::Session
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::auth::{Mechanism, Secret};

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

    #[test]
    fn no_two_messages_of_a_run_have_one_number() {
        let phase_arrivals = |phase: u64| (0..50).map(move |n| phase * PHASE_STRIDE + n);
        let messages = Messages::Uniform { min: 1, max: 3 };
        let mut numbers = std::collections::BTreeSet::new();
        for phase in 0..8 {
            // In one phase the arrivals are sessions, in the next one messages.
            let is_of_sessions = phase % 2 == 1;
            let own = phase_arrivals(phase).flat_map(|arrival| match is_of_sessions {
                true => (0..3).map(|index| messages.number(arrival, index)).collect::<Vec<_>>(),
                false => vec![arrival],
            });
            own.for_each(|number| assert!(numbers.insert(number), "{number} in phase {phase}"));
        }
        assert_eq!(messages.number(0, 2), 2);
        assert_eq!(Messages::Fixed(u32::MAX).number(u64::MAX, 9), u64::MAX, "no overflow");
    }

    /// These numbers come from the library's expansion of a seed. A version that changes them changes what a seeded run
    /// sends.
    #[test]
    fn drawn_numbers_of_messages_and_logins_never_change() {
        let drawn =
            |messages: &Messages, seed| (0..12).map(|serial| messages.draw(seed, serial)).collect::<Vec<_>>();
        let numbers = drawn(&Messages::Uniform { min: 1, max: 1_000_000 }, 42);
        let weighted = drawn(&Messages::Weighted(vec![(1, 3.0), (50, 1.0)]), 7);
        let user = |n: u64| Login::new(Mechanism::Plain, &n.to_string(), Secret::new("secret"));
        let logins = Logins { users: (0..1000).map(user).collect(), random: true };
        let names = (0..12).map(|serial| logins.of(42, serial).unwrap().user.parse().unwrap());
        let names: Vec<u64> = names.collect();
        assert_eq!(
            numbers,
            [
                324_214, 432_992, 663_237, 215_010, 530_097, 484_848, 463_564, 684_804, 299_995, 146_301,
                421_950, 7_474
            ]
        );
        assert_eq!(weighted, [1, 50, 1, 1, 1, 50, 1, 1, 1, 1, 1, 50]);
        assert_eq!(names, [565, 545, 134, 592, 527, 967, 40, 348, 384, 751, 779, 138]);
    }
}
