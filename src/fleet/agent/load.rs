//! The load of a shard on an agent: its start, its reports and its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::sending::{Outgoing, send};
use super::{Agent, AtWork, FromLoad, PreparedShard, next};
use crate::collector::snapshot::{Interval, Measured};
use crate::collector::tally::Tally;
use crate::fleet::message::{AgentState, FinalReport, SecondReport, encode};
use crate::fleet::spool::Spool;
use crate::fleet::subject;
use crate::generator::runner::{Control, Observer, Stop};

/// How long the agent goes on sending reports after it was asked to end.
const LAST_REPORTS: Duration = Duration::from_secs(5);

impl Agent {
    /// Starts the armed load.
    pub(super) fn begin(&mut self) {
        let (now, zero) = (self.now(), self.zero);
        let Some(work) = self.work.as_mut() else { return };
        let (Some(PreparedShard { plan, runner, .. }), Some(at)) = (work.prepared.take(), work.begins) else {
            return;
        };
        work.threads = plan.threads;
        let (events, load) = mpsc::unbounded_channel();
        let (outgoing, to_send) = mpsc::unbounded_channel();
        let stop = work.stop.subscribe();
        let fails = events.clone();
        let body = move || {
            let mut runner = runner(stop, zero + at);
            let mut observer = Reporter { events: events.clone(), transcripts: Vec::new() };
            let measured = runner.run(&plan, &mut observer).map_err(|error| error.to_string());
            events.send(FromLoad::Over(Box::new(measured))).ok();
        };
        let started = match now.checked_sub(at) {
            Some(late) => {
                Err(format!("the first lease came {:.0} ms after the start", late.as_secs_f64() * 1e3))
            }
            None => std::thread::Builder::new()
                .name("shard".to_owned())
                .spawn(body)
                .map(drop)
                .map_err(|error| format!("it cannot start a thread: {error}")),
        };
        if let Err(why) = started {
            fails.send(FromLoad::Over(Box::new(Err(why)))).ok();
        }
        let (run, shard) = (&work.spec.run, work.spec.shard.0);
        match Spool::open(&self.settings.spool, run, shard, &self.settings.name) {
            Ok(spool) => work.spool = Some(Arc::new(spool)),
            Err(error) => (self.settings.say)(&format!("warning: reports are kept in memory only: {error}")),
        }
        let say = self.settings.say.clone();
        tokio::spawn(send(self.bus.clone(), to_send, work.spool.clone(), self.stored.0.clone(), say));
        work.load = Some(load);
        work.outgoing = Some(outgoing);
    }

    /// Reports a message from the load.
    pub(super) async fn report(&mut self, event: FromLoad) {
        let is_search = self.work.as_ref().is_some_and(|work| work.probing.is_some());
        let event = match event {
            FromLoad::Probed(subject, answer) => return self.answer(Some(subject), &answer).await,
            FromLoad::ProbesOver | FromLoad::Gone if is_search => {
                self.free();
                return self.beat().await;
            }
            FromLoad::Gone => {
                let why = "its load ended without a result, which is a fault in smtpress: see what smtpress printed there";
                FromLoad::Over(Box::new(Err(why.to_owned())))
            }
            event => event,
        };
        let Some(work) = &mut self.work else { return };
        let (run, shard, agent) = (&work.spec.run, work.spec.shard.0, &self.settings.name);
        let (number, is_last, bytes) = match event {
            FromLoad::Second(interval, transcripts) => {
                self.state = AgentState::Running;
                let bytes = encode(&SecondReport { number: work.seconds, interval: *interval, transcripts });
                work.digest.add(&bytes);
                work.seconds += 1;
                (work.seconds - 1, false, bytes)
            }
            // Handled above.
            FromLoad::Probed(..) | FromLoad::ProbesOver | FromLoad::Gone => return,
            FromLoad::Over(measured) => {
                self.state = AgentState::Reporting;
                let measured = measured.map(|measured| {
                    // The reports of the seconds hold these counts.
                    Box::new(Measured { tally: Tally::default(), ..measured })
                });
                let report = FinalReport {
                    seconds: work.seconds,
                    digest: work.digest.finish(),
                    measured,
                    threads: work.threads,
                    lease_over: work.lease_over,
                    is_ended_there: work.is_ended_there,
                };
                (work.seconds, true, encode(&report))
            }
        };
        if let Some(Err(error)) = work.spool.as_ref().map(|spool| spool.keep(number, is_last, &bytes))
            && !std::mem::replace(&mut work.warned, true)
        {
            (self.settings.say)(&format!("warning: reports are kept in memory only: {error}"));
        }
        let subject =
            if is_last { subject::last(run, shard, agent) } else { subject::second(run, shard, agent) };
        let id = format!("{run}/{shard}/{:x}/{number}", self.nonce);
        if let Some(outgoing) = &work.outgoing {
            outgoing.send(Outgoing { subject, id, number, is_last, bytes }).ok();
        }
        if is_last {
            work.outgoing = None;
        }
        self.beat().await;
    }

    /// Stops the load at once, because this process was asked to end.
    pub(super) fn stop_here(&mut self) {
        if let Some(work) = &mut self.work {
            // If the coordinator stopped the load at once before, the end of this process changes nothing.
            work.is_ended_there = work.stop.send_replace(Stop::Now) < Stop::Now;
        }
    }

    /// Ends the load, and waits a limited time for the last reports.
    pub(super) async fn end(mut self) {
        self.stop_here();
        let until = tokio::time::Instant::now() + LAST_REPORTS;
        while self.work.as_ref().is_some_and(|work| work.load.is_some()) {
            tokio::select! {
                event = next(&mut self.work) => if let AtWork::Load(event) = event { self.report(event).await },
                Some(()) = self.stored.1.recv() => break,
                () = tokio::time::sleep_until(until) => break,
            }
        }
        tokio::time::timeout_at(until, self.bus.client.flush()).await.ok();
    }
}

/// Hands each second of the load to the agent's loop.
struct Reporter {
    events: mpsc::UnboundedSender<FromLoad>,
    transcripts: Vec<(String, String)>,
}

impl Observer for Reporter {
    fn interval(&mut self, interval: &Interval, _: &Tally) -> Control {
        let transcripts = std::mem::take(&mut self.transcripts);
        self.events.send(FromLoad::Second(Box::new(interval.clone()), transcripts)).ok();
        Control::Continue
    }

    fn transcripts(&mut self, transcripts: &[(String, String)]) {
        self.transcripts.extend_from_slice(transcripts);
    }
}
