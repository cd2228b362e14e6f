//! A runner with a receiver behind the relay: it adds deliveries to each second of the load, and waits for the last
//! ones before the run is over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::clock_probe::ClockProbe;
use super::remote_receiver::CopiedFarEnd;
use crate::collector::agents::AgentProgress;
use crate::collector::snapshot::{Gauges, Interval, Measured};
use crate::collector::tally::Tally;
use crate::delivery::FarEnd;
use crate::generator::{Control, Observer, RunError, RunStart, Runner, Stop, clock};
use crate::plan::Plan;

/// The interval at which the user's stop is checked.
const LOOK: Duration = Duration::from_millis(50);

/// A runner whose load is delivered to a receiver.
pub struct BehindRelay<R> {
    /// Sends the load to the relay.
    pub inner: R,
    /// The source of deliveries; `None` without a receiver.
    pub receiver: Option<Arc<FarEnd>>,
    /// Asks for the clock of the source of deliveries again after the run.
    pub clock_probe: Option<Arc<ClockProbe>>,
    /// The copy of the deliveries, if the receiver is on an agent of a fleet.
    pub copied: Option<Arc<CopiedFarEnd>>,
    /// How long to wait for deliveries after the load, at most.
    pub drain: Duration,
    /// The Date of all messages.
    pub date: String,
    /// The user's stop; it also ends the wait for deliveries.
    pub stop: watch::Receiver<Stop>,
    /// The number of runs so far.
    pub runs: u32,
    /// Whether the run waits for deliveries even if the observer ends the load: another run follows and must find an
    /// empty queue.
    pub awaits_always: bool,
}

impl<R: Runner> Runner for BehindRelay<R> {
    fn run(&mut self, plan: &Plan, observer: &mut dyn Observer) -> Result<Measured, RunError> {
        let Some(receiver) = self.receiver.clone() else { return self.inner.run(plan, observer) };
        let plan = &self.named_apart(plan);
        let mut relayed = RelayedRun {
            receiver: &receiver,
            wait: self.drain,
            plan,
            date: &self.date,
            observer,
            epoch: None,
            total: Tally::new(plan.phases.len()),
            next: Duration::ZERO,
            awaits_always: self.awaits_always,
            stopped: false,
        };
        let mut measured = self.inner.run(plan, &mut relayed)?;
        relayed.observer.load_over();
        let ended = relayed.drain(&mut measured, &self.stop);
        measured.tally = relayed.total;
        let windows: Vec<(Duration, Duration)> = measured
            .starts
            .iter()
            .zip(&measured.windows)
            .map(|(start, length)| (*start, *start + *length))
            .collect();
        let cut_short = measured.interrupted || (measured.aborted_by.is_some() && !self.awaits_always);
        let mut delivered = receiver.finish(&windows, ended, cut_short, &mut measured.tally);
        if let Some(probe) = &self.clock_probe {
            probe.ask_again(&mut delivered);
        }
        if let Some(copied) = &self.copied {
            copied.cover(&mut delivered);
        }
        measured.delivered = Some(Box::new(delivered));
        Ok(measured)
    }
}

impl<R: Runner + 'static> BehindRelay<R> {
    /// Returns the runner in a form that accepts any runner for the load.
    pub fn boxed(self) -> BehindRelay<Box<dyn Runner>> {
        let BehindRelay { inner, receiver, clock_probe, copied, drain, date, stop, runs, awaits_always } =
            self;
        let inner: Box<dyn Runner> = Box::new(inner);
        BehindRelay { inner, receiver, clock_probe, copied, drain, date, stop, runs, awaits_always }
    }
}

impl<R> BehindRelay<R> {
    /// Returns the plan with a run id of its own, so that late deliveries of one trial do not count for the next.
    fn named_apart(&mut self, plan: &Plan) -> Plan {
        self.runs += 1;
        let run_id = match self.runs {
            1 => plan.run_id.clone(),
            again => format!("{}-{again}", plan.run_id),
        };
        Plan { run_id, ..plan.clone() }
    }
}

/// Observes a run, and adds the deliveries to each of its seconds.
struct RelayedRun<'a> {
    receiver: &'a FarEnd,
    wait: Duration,
    plan: &'a Plan,
    date: &'a str,
    observer: &'a mut dyn Observer,
    epoch: Option<Instant>,
    total: Tally,
    /// The end of the last second that was passed on.
    next: Duration,
    /// Whether a stop by the observer leaves the wait for deliveries in place.
    awaits_always: bool,
    /// Whether the observer asked for a stop.
    stopped: bool,
}

impl RelayedRun<'_> {
    /// Adds the deliveries to a second, and passes the second on to the observer.
    fn second(&mut self, mut interval: Interval) -> Control {
        self.receiver.answered(&interval.transactions);
        self.next = interval.start + interval.length;
        let (came_out, queued) = self.receiver.second(self.next);
        interval.tally += &came_out;
        interval.gauges.queued = queued;
        self.total += &interval.tally;
        self.observer.interval(&interval, &self.total)
    }

    /// Waits for the deliveries that are still missing. Returns when the wait ended, since the run's epoch.
    fn drain(&mut self, measured: &mut Measured, stop: &watch::Receiver<Stop>) -> Duration {
        let Some(epoch) = self.epoch else { return self.next };
        let now = || clock::now().saturating_duration_since(epoch);
        let began = now();
        let until = began + self.wait;
        loop {
            let is_aborted = (measured.aborted_by.is_some() || self.stopped) && !self.awaits_always;
            let is_over = measured.interrupted || is_aborted;
            let now = now();
            let done = is_over || now >= until || self.receiver.is_settled(now);
            let end = self.next + Duration::from_secs(1);
            if done || now >= end {
                let end = end.min(now).max(self.next);
                let length = end - self.next;
                let interval = Interval {
                    start: self.next,
                    length,
                    tally: Tally::new(self.plan.phases.len()),
                    transactions: Vec::new(),
                    gauges: Gauges { peak_sessions: measured.gauges.peak_sessions, ..Gauges::default() },
                };
                if !length.is_zero() && matches!(self.second(interval), Control::Stop(_)) {
                    self.stopped = true;
                }
            }
            if done {
                return now;
            }
            if *stop.borrow() > Stop::Run {
                measured.interrupted = true;
            }
            std::thread::sleep(LOOK.min(end.saturating_sub(now)).max(Duration::from_millis(1)));
        }
    }
}

impl Observer for RelayedRun<'_> {
    fn begins(&mut self, start: &RunStart) {
        let epoch = start.clock.epoch();
        self.epoch = Some(epoch);
        self.receiver.begin(self.plan, self.date, epoch);
        self.observer.begins(start);
    }

    fn interval(&mut self, interval: &Interval, _: &Tally) -> Control {
        self.second(interval.clone())
    }

    fn agents(&mut self, agents: &[AgentProgress]) {
        self.observer.agents(agents);
    }

    fn transcripts(&mut self, transcripts: &[(String, String)]) {
        self.observer.transcripts(transcripts);
    }
}
