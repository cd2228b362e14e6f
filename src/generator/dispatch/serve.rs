//! The serving loop of every load model: starts arrivals on free sessions, or on sessions opened for them.

use std::time::Duration;

use super::throttle::MAX_OPENING;
use super::{Action, Dispatch, OpenFor, ScheduledArrival};
use crate::collector::recorder::Recorder;
use crate::plan::{OnSaturation, Unit};

/// The sources of arrivals, in the order in which they are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArrivalSource {
    /// Open loads: arrivals whose time has come.
    Waiting,
    /// Retries whose time has come; served together with waiting arrivals, in the order of their times.
    Retry,
    /// Closed loads: arrivals whose think time is over, or that a session gave back.
    Resumed,
    /// Closed loads: the schedule has an arrival for each free session.
    Schedule,
}

/// A candidate: an arrival that could start.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    source: ArrivalSource,
    phase: u32,
    unit: Unit,
    /// The largest number of sessions that may be open for it.
    limit: u64,
    /// The number of sessions that the arrivals of its source could use.
    wanted: u64,
}

impl Dispatch {
    /// Starts all arrivals that can start.
    pub(super) fn serve(&mut self, now: Duration, recorder: &mut Recorder) {
        for source in [ArrivalSource::Waiting, ArrivalSource::Resumed, ArrivalSource::Schedule] {
            while let Some(next) = self.candidate(now, source)
                && self.serve_next(now, next, recorder)
            {}
        }
    }

    /// Returns the source of the arrival that has waited longest, among first attempts and retries.
    pub(super) fn longest_waiting(&self) -> Option<ArrivalSource> {
        match (self.waiting.front(), self.retries.first_due()) {
            (None, None) => None,
            (Some(first), Some(retry)) if first.intended <= retry.intended => Some(ArrivalSource::Waiting),
            (Some(_), None) => Some(ArrivalSource::Waiting),
            (_, Some(_)) => Some(ArrivalSource::Retry),
        }
    }

    fn candidate(&mut self, now: Duration, source: ArrivalSource) -> Option<Candidate> {
        let source = match source {
            ArrivalSource::Waiting | ArrivalSource::Retry => self.longest_waiting()?,
            closed => closed,
        };
        let (phase, waiting) = match source {
            ArrivalSource::Waiting => (self.waiting.front()?.phase, self.waiting.len()),
            ArrivalSource::Retry => {
                let (phase, wanted) = (self.phase_at(now), self.retries.due() as u64);
                let limit = self.limit_of_retry(now);
                return Some(Candidate { source, phase, unit: Unit::Message, limit, wanted });
            }
            ArrivalSource::Resumed => (self.resumed.front()?.arrival.phase, self.resumed.len()),
            ArrivalSource::Schedule => {
                let (phase, share) = self.closed_phase(now)?;
                let unit = self.unit(phase);
                let (limit, wanted) = match unit {
                    Unit::Message => (share, self.schedule.remaining().unwrap_or(u64::MAX)),
                    Unit::Session => (self.shares[phase as usize], share.saturating_sub(self.closed_busy)),
                };
                return (wanted > 0).then_some(Candidate { source, phase, unit, limit, wanted });
            }
        };
        let limit = self.shares[phase as usize].min(self.most(now));
        Some(Candidate { source, phase, unit: self.unit(phase), limit, wanted: waiting as u64 })
    }

    /// Serves the next arrival of a source, or opens a session for it; `false`: the arrival must wait.
    fn serve_next(&mut self, now: Duration, next: Candidate, recorder: &mut Recorder) -> bool {
        let Candidate { source, phase, unit, limit, wanted } = next;
        if source == ArrivalSource::Schedule && unit == Unit::Message {
            if self.slots.staying() > limit {
                return self.end_idle();
            }
            if self.is_barrier_closed(phase) {
                return self.fill_pool(now, phase, limit.min(wanted));
            }
        }
        if unit == Unit::Message && self.free_sessions(source) > 0 {
            let (Some(arrival), Some(slot)) = (self.take(now, source, recorder), self.slots.wake()) else {
                return false;
            };
            self.taken(slot, &arrival);
            self.actions.push_back(Action::Serve { slot, arrival });
            return true;
        }
        if self.slots.live() >= limit {
            return self.saturated(next, recorder);
        }
        let opening = self.slots.opening();
        let purpose = match (unit, source) {
            (Unit::Message, _) if self.is_paced(source, phase) => {
                if opening >= wanted || !self.throttle.allows(now, opening) || !self.may_connect(now, phase) {
                    return false;
                }
                OpenFor::Pool
            }
            (Unit::Message | Unit::Session, _) => {
                if !self.may_open(now, source, phase) {
                    return false;
                }
                let Some(arrival) = self.take(now, source, recorder) else { return false };
                if unit == Unit::Message { OpenFor::Message(arrival) } else { OpenFor::Session(arrival) }
            }
        };
        self.open(now, phase, purpose);
        true
    }

    /// Opens sessions of the pool up to `wanted`, for a phase with a start barrier.
    fn fill_pool(&mut self, now: Duration, phase: u32, wanted: u64) -> bool {
        self.check_barrier(phase, wanted);
        let opens = self.slots.live() < wanted
            && self.throttle.allows(now, self.slots.opening())
            && self.may_connect(now, phase);
        if opens {
            self.open(now, phase, OpenFor::Pool);
        }
        opens
    }

    /// Handles an arrival for which no further session may be open: the arrival waits, or is shed if the profile says
    /// so. Returns whether it was shed.
    fn saturated(&mut self, next: Candidate, recorder: &mut Recorder) -> bool {
        let drops = self.plan.phases[next.phase as usize].on_saturation == OnSaturation::Drop;
        if next.source == ArrivalSource::Waiting && drops {
            if let Some(arrival) = self.waiting.pop_front() {
                recorder.shed(next.phase, arrival.intended);
            }
            return true;
        }
        // The arrival keeps waiting. Those behind it find no free session either.
        self.shed_behind(recorder);
        if next.unit == Unit::Session {
            self.make_room(next.wanted);
        }
        false
    }

    /// Sheds the last waiting arrivals, as long as their own phase drops what finds no session.
    fn shed_behind(&mut self, recorder: &mut Recorder) {
        let most = self.most(self.advanced);
        while let Some(last) = self.waiting.back()
            && self.plan.phases[last.phase as usize].on_saturation == OnSaturation::Drop
            && self.slots.live() >= self.shares[last.phase as usize].min(most)
        {
            recorder.shed(last.phase, last.intended);
            self.waiting.pop_back();
        }
    }

    /// Whether sessions for this source are opened for the pool, with pauses after failures, as in closed loads.
    fn is_paced(&self, source: ArrivalSource, phase: u32) -> bool {
        match source {
            ArrivalSource::Waiting => false,
            ArrivalSource::Retry => self.is_closed(phase),
            ArrivalSource::Resumed | ArrivalSource::Schedule => true,
        }
    }

    /// Whether a session may be opened for an arrival. Closed loads pause after failures, open loads do not.
    fn may_open(&mut self, now: Duration, source: ArrivalSource, phase: u32) -> bool {
        let opening = self.slots.opening();
        let is_spared = match source {
            // Held sessions are opened a few at a time, to spare the listener's accept queue.
            ArrivalSource::Waiting => self.is_held(phase) && opening >= MAX_OPENING,
            ArrivalSource::Retry => false,
            ArrivalSource::Resumed | ArrivalSource::Schedule => !self.throttle.allows(now, opening),
        };
        !is_spared && self.may_connect(now, phase)
    }

    /// Returns the number of idle sessions that a source may use: the schedule leaves one for each arrival in its think time.
    fn free_sessions(&self, source: ArrivalSource) -> u64 {
        let kept = if source == ArrivalSource::Schedule { self.thinking.len() as u64 } else { 0 };
        self.slots.idle().saturating_sub(kept)
    }

    /// Ends an idle session, and drops a think time if fewer sessions are idle than are in their think time. Returns
    /// whether a session was idle.
    fn end_idle(&mut self) -> bool {
        let Some(id) = self.slots.wake() else { return false };
        self.finish(id);
        if self.thinking.len() as u64 > self.slots.idle() {
            self.thinking.pop();
        }
        true
    }

    /// Takes the next arrival of a source.
    pub(super) fn take(
        &mut self,
        now: Duration,
        source: ArrivalSource,
        recorder: &mut Recorder,
    ) -> Option<ScheduledArrival> {
        match source {
            ArrivalSource::Waiting => self.waiting.pop_front(),
            ArrivalSource::Retry => self.take_due(now),
            ArrivalSource::Resumed => self.resume(now, recorder),
            ArrivalSource::Schedule => {
                let arrival = self.take_closed(now, false, recorder)?;
                self.closed_busy += u64::from(self.unit(arrival.phase) == Unit::Session);
                // Arrivals behind a barrier are scheduled at the moment at which it opened.
                let intended = self.barrier_opened_at(arrival.phase).unwrap_or(arrival.intended);
                Some(ScheduledArrival { intended, ..arrival })
            }
        }
    }
}
