//! A receiver behind the relay on an agent: the coordinator copies its delivery log as it grows.
//!
//! # Decisions
//! - The log is copied byte by byte from where the copy ends, so that nothing is lost or counted twice, however often the
//!   network fails.
//! - The copy has its own connection and thread: deliveries still arrive when the load is over and the coordinator's
//!   loop has ended.
//! - Each answer carries the reading of the agent's wall clock, which relates the times in the log to the clock of this
//!   machine. The bound of the error is half of the shortest round trip.

use std::collections::VecDeque;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, UNIX_EPOCH};

use nkeys::KeyPair;
use tokio::sync::watch;

use super::bus::{ANSWER_WITHIN, Bus, BusAccess, accepted};
use super::clock_offset::{AgentClock, RoundTrip};
use super::coordinator::{PINGS, RELEASED_WITHIN};
use super::gathering::{Fleet, FleetError};
use super::message::{AgentAnswer, AgentOrder, Heartbeat, LogPart, ReceiveOrder};
use crate::generator::clock;

/// The interval at which the coordinator asks for the log.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// How long an answer may take.
const PART_WITHIN: Duration = Duration::from_secs(3);

/// The offset of another machine's wall clock from this machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallOffset {
    /// The offset in nanoseconds; below zero if the other clock is behind.
    pub ahead_ns: i64,
    /// The bound of its error.
    pub bound: Duration,
}

/// The copy of a delivery log. Dropping this value ends the receiver.
#[derive(Debug)]
pub struct CopiedDeliveries {
    quit: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    trips: Arc<Mutex<VecDeque<RoundTrip>>>,
    zero: Instant,
}

impl CopiedDeliveries {
    /// Starts a receiver on the agent of this name, and copies its log into a new file.
    ///
    /// # Errors
    /// There is no such agent, it cannot receive, or the file cannot be written.
    pub fn start(
        fleet: &Fleet,
        agent: &str,
        order: ReceiveOrder,
        copy: &Path,
    ) -> Result<CopiedDeliveries, FleetError> {
        let own = fleet.agents.iter().find(|own| own.agent == agent).cloned();
        let Some(own) = own else {
            let others: Vec<&str> = fleet.agents.iter().map(|own| own.agent.as_str()).collect();
            return Err(FleetError::Nobody { agent: agent.to_owned(), agents: others.join(", ") });
        };
        let (host, zero) = (own.host.clone(), clock::now());
        let (quit, quits) = watch::channel(false);
        let trips = Arc::<Mutex<VecDeque<RoundTrip>>>::default();
        let copying = Copying {
            access: fleet.access.clone(),
            key: fleet.key.clone(),
            agent: own,
            copy: fs::File::create_new(copy)?,
            copied: 0,
            number: 0,
            trips: trips.clone(),
            zero,
            say: fleet.say.clone(),
        };
        let (ready, is_ready) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let body = move || runtime.block_on(copying.go_on(order, quits, &ready));
        let thread = Some(std::thread::Builder::new().name("deliveries".to_owned()).spawn(body)?);
        let copied = CopiedDeliveries { quit, thread, trips, zero };
        match is_ready.recv() {
            Ok(Ok(())) => Ok(copied),
            Ok(Err(why)) => Err(FleetError::Unable { agent: agent.to_owned(), host, why }),
            Err(_) => Err(FleetError::Unable {
                agent: agent.to_owned(),
                host,
                why: "its deliveries cannot be copied".to_owned(),
            }),
        }
    }

    /// Returns the offset of the agent's wall clock, by the shortest of the last round trips; `None`: there was none.
    pub fn offset(&self) -> Option<WallOffset> {
        let trips: Vec<RoundTrip> =
            self.trips.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        let clock = AgentClock::of(&trips)?;
        let now = clock::now().saturating_duration_since(self.zero);
        let wall = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        Some(WallOffset { ahead_ns: clock.ahead_of(wall, now), bound: clock.bound })
    }
}

impl Drop for CopiedDeliveries {
    fn drop(&mut self) {
        self.quit.send_replace(true);
        // A panic of the thread has been printed.
        self.thread.take().map(JoinHandle::join);
    }
}

/// The thread that copies.
struct Copying {
    access: BusAccess,
    key: KeyPair,
    agent: Heartbeat,
    copy: fs::File,
    copied: u64,
    number: u64,
    trips: Arc<Mutex<VecDeque<RoundTrip>>>,
    zero: Instant,
    say: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Copying {
    async fn go_on(
        mut self,
        order: ReceiveOrder,
        mut quits: watch::Receiver<bool>,
        ready: &mpsc::Sender<Result<(), String>>,
    ) {
        let bus = match self.begin(order).await {
            Ok(bus) => bus,
            Err(why) => return drop(ready.send(Err(why))),
        };
        ready.send(Ok(())).ok();
        let mut is_over = false;
        while !*quits.borrow() {
            let more = match is_over {
                true => false,
                false => match self.part(&bus).await {
                    Ok(bytes) => bytes > 0,
                    // The next request asks for the same part; the written part stays.
                    Err(Unread::NoAnswer(_)) => false,
                    Err(Unread::Refused(why)) => {
                        (self.say)(&format!("agent {}: {why}", self.agent.agent));
                        is_over = true;
                        false
                    }
                },
            };
            if !more {
                tokio::time::timeout(ASK_EVERY, quits.wait_for(|quit| *quit)).await.ok();
            }
        }
        bus.ask(&self.agent, AgentOrder::EndReceiver, &self.key, RELEASED_WITHIN).await.ok();
    }

    /// Starts the receiver, and reads the beginning of its log.
    async fn begin(&mut self, order: ReceiveOrder) -> Result<Bus, String> {
        let bus = Bus::connect(&self.access).await.map_err(|error| error.to_string())?;
        let order = AgentOrder::Receive(Box::new(order));
        accepted(bus.ask(&self.agent, order, &self.key, ANSWER_WITHIN).await)?;
        for _ in 0..PINGS {
            self.part(&bus).await.map_err(|unread| match unread {
                Unread::NoAnswer(why) | Unread::Refused(why) => why,
            })?;
        }
        if self.copied == 0 {
            return Err("its delivery log has no beginning".to_owned());
        }
        Ok(bus)
    }

    /// Copies the next part of the log. Returns the number of bytes.
    async fn part(&mut self, bus: &Bus) -> Result<usize, Unread> {
        self.number += 1;
        let order = AgentOrder::Deliveries { number: self.number, from: self.copied };
        let sent = self.now();
        let LogPart { wall, bytes } = match bus.ask(&self.agent, order, &self.key, PART_WITHIN).await {
            Ok(AgentAnswer::Delivered(part)) => part,
            Ok(other) => return Err(Unread::Refused(other.refusal())),
            Err(error) => return Err(Unread::NoAnswer(error.to_string())),
        };
        let mut trips = self.trips.lock().unwrap_or_else(PoisonError::into_inner);
        trips.push_back(RoundTrip { sent, theirs: wall, received: self.now() });
        if trips.len() > PINGS {
            trips.pop_front();
        }
        drop(trips);
        let failed = |error| Unread::Refused(format!("failed to copy its deliveries: {error}"));
        self.copy.write_all(&bytes).map_err(failed)?;
        self.copied += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn now(&self) -> Duration {
        clock::now().saturating_duration_since(self.zero)
    }
}

/// The reason why a part was not read.
enum Unread {
    NoAnswer(String),
    Refused(String),
}
