//! The recorder of one generator thread, which keeps the counts and durations of the thread.
//!
//! Recording must be cheap: it takes no lock, hashes no string, and allocates nothing once every distribution in use has
//! its memory. The recorder does not read the time, decide outcomes or add up workers.
//!
//! # Decisions
//! - Each phase has a table of slot numbers, through which distributions are found. A distribution is created at its
//!   first value: a run uses a dozen of more than 250 pairs of metric and outcome, and each distribution takes some
//!   100 kB.
//! - A snapshot takes the filled distributions with it, and [`Recorder::reclaim`] returns their memory, so that a steady
//!   run allocates nothing on the path of an arrival.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::backlog::BacklogSample;
use super::delivery::Transaction;
use super::histogram::Hist;
use super::slices::{ArrivalSpan, Slices};
use super::snapshot::{Gauges, Snapshot};
use super::tally::{AddressCount, ConditionKey, Counts, Covered, HandshakeKey, PhaseTally, Tally};
use super::{Metric, Outcome};
use crate::smtp::Step;

/// Emptied distributions by metric and outcome, because values of the same kind fit into the same memory.
type Free = BTreeMap<(Metric, Outcome), Vec<Hist>>;

/// The recorder of one thread, shared within the thread as `Rc<RefCell<Recorder>>`.
#[derive(Debug)]
pub struct Recorder {
    worker: u32,
    phases: Vec<PhaseRecorder>,
    free: Free,
    spare: Vec<Tally>,
    /// Whether the arrivals of a phase are counted in slices, by phase index; empty: those of no phase.
    sliced: Vec<bool>,
    slices: Slices,
    transactions: Vec<Transaction>,
}

impl Recorder {
    /// Returns the recorder of a worker for this many phases.
    pub fn new(phases: usize, worker: u32) -> Recorder {
        Recorder {
            worker,
            phases: (0..phases).map(|_| PhaseRecorder::default()).collect(),
            free: Free::new(),
            spare: Vec::new(),
            sliced: Vec::new(),
            slices: Slices::default(),
            transactions: Vec::new(),
        }
    }

    /// Returns the recorder, which then also counts arrivals in slices: those of each phase whose flag is set.
    #[must_use]
    pub fn with_slices(self, sliced: Vec<bool>) -> Recorder {
        Recorder { sliced, ..self }
    }

    /// Returns the counts of a phase since the last snapshot.
    pub fn counts(&mut self, phase: u32) -> &mut Counts {
        &mut self.phases[phase as usize].rest.counts
    }

    /// Counts a scheduled arrival that never starts.
    pub fn shed(&mut self, phase: u32, intended: Duration) {
        self.counts(phase).arrivals.add(Outcome::Shed);
        if self.is_sliced(phase) {
            self.slices.shed(intended);
        }
    }

    /// Counts the end of a started arrival.
    pub fn ended(&mut self, phase: u32, span: &ArrivalSpan) {
        self.counts(phase).arrivals.add(span.outcome);
        self.attempted(phase, span);
    }

    /// Counts the end of an attempt of a message that may be tried again: in the slices, but not as the end of an arrival.
    pub fn attempted(&mut self, phase: u32, span: &ArrivalSpan) {
        if self.is_sliced(phase) {
            self.slices.ended(span);
        }
    }

    fn is_sliced(&self, phase: u32) -> bool {
        self.sliced.get(phase as usize).is_some_and(|is_sliced| *is_sliced)
    }

    /// Returns the arrivals of the whole run in slices, and forgets them.
    pub fn take_slices(&mut self) -> Slices {
        std::mem::take(&mut self.slices)
    }

    /// Records one duration under metric and outcome.
    pub fn value(&mut self, phase: u32, metric: Metric, outcome: Outcome, length: Duration) {
        self.values(phase, outcome, [(metric, length)]);
    }

    /// Records several durations under one outcome.
    #[inline]
    pub fn values<const N: usize>(&mut self, phase: u32, outcome: Outcome, values: [(Metric, Duration); N]) {
        let Recorder { phases, free, .. } = self;
        let phase = &mut phases[phase as usize];
        for (metric, length) in values {
            phase.hist(metric, outcome, free).time(length);
        }
    }

    /// Counts a condition that occurred `at` this time since the run's epoch; `late`: after the window of the phase. `sample`
    /// is called only for the first condition with this key since the last snapshot.
    pub fn condition(
        &mut self,
        phase: u32,
        key: ConditionKey,
        at: Duration,
        late: bool,
        sample: impl FnOnce() -> String,
    ) {
        self.phases[phase as usize].rest.condition(key, at, late, sample);
    }

    /// Counts a refusal that the `[[expect]]` of this index covered; `late`: after the window of the phase.
    pub fn expect(&mut self, phase: u32, index: u32, late: bool) {
        let covered = Covered { count: 1, drained: u64::from(late) };
        *self.phases[phase as usize].rest.expects.entry(index).or_default() += covered;
    }

    /// Counts the end of a message after this many attempts.
    pub fn attempts(&mut self, phase: u32, attempts: u32, outcome: Outcome) {
        self.phases[phase as usize].rest.attempts.entry(attempts).or_default().add(outcome);
    }

    /// Counts a TLS handshake that was completed.
    pub fn handshake(&mut self, phase: u32, key: HandshakeKey) {
        *self.phases[phase as usize].rest.handshakes.entry(key).or_default() += 1;
    }

    /// Keeps a transaction that ended, for the next snapshot.
    pub fn transaction(&mut self, transaction: Transaction) {
        self.transactions.push(transaction);
    }

    /// Counts a connection to an address of the target. `took`: how long the connection took; `None`: it failed.
    pub fn address(&mut self, phase: u32, address: SocketAddr, took: Option<Duration>) {
        let Recorder { phases, free, .. } = self;
        let row = phases[phase as usize].rest.address(Some(address));
        let row = row.or_insert_with(|| AddressCount {
            connect: free.get_mut(&CONNECT).and_then(Vec::pop).unwrap_or_default(),
            ..AddressCount::default()
        });
        match took {
            Some(took) => {
                row.sessions += 1;
                row.connect.time(took);
            }
            None => row.failures += 1,
        }
    }

    /// Returns everything recorded since the last snapshot, and starts again at zero.
    pub fn snapshot(&mut self, second: u64, gauges: Gauges, last: bool) -> Snapshot {
        let mut tally = self.spare.pop().unwrap_or_else(|| Tally::new(self.phases.len()));
        for (phase, into) in self.phases.iter_mut().zip(&mut tally.phases) {
            phase.hand_over(into);
        }
        let transactions = std::mem::take(&mut self.transactions);
        // The next second will probably have about as many transactions.
        self.transactions.reserve(transactions.len());
        Snapshot { worker: self.worker, second, tally, transactions, gauges, last }
    }

    /// Returns the numbers of arrivals of all phases that were scheduled so far, and that ended or were shed so far.
    pub fn backlog(&self) -> BacklogSample {
        let mut all = BacklogSample::default();
        for phase in &self.phases {
            let counts = &phase.rest.counts;
            all.offered += phase.before.offered + counts.scheduled;
            all.finished += phase.before.finished + finished(counts);
        }
        all
    }

    /// Reuses the memory of a snapshot that is no longer needed. Any recorder may have made it.
    pub fn reclaim(&mut self, snapshot: Snapshot) {
        let mut tally = snapshot.tally;
        for phase in &mut tally.phases {
            for (key, mut hist) in std::mem::take(&mut phase.hists) {
                hist.clear();
                self.free.entry(key).or_default().push(hist);
            }
            for (_, mut count) in std::mem::take(&mut phase.addresses) {
                count.connect.clear();
                self.free.entry(CONNECT).or_default().push(count.connect);
            }
            *phase = PhaseTally::default();
        }
        if tally.phases.len() == self.phases.len() {
            self.spare.push(tally);
        }
    }
}

/// The metric and outcome under which the emptied distributions of an address's connect times are kept.
const CONNECT: (Metric, Outcome) = (Metric::Step(Step::Connect), Outcome::Accepted);

const CELLS: usize = Metric::COUNT * Outcome::ALL.len();
const EMPTY: u16 = u16::MAX;
const _: () = assert!(CELLS < EMPTY as usize, "a slot number must fit beside the mark for none");

/// Returns the number of arrivals of a phase that ended or were shed.
fn finished(counts: &Counts) -> u64 {
    counts.arrivals.ended() + counts.arrivals.of(Outcome::Shed)
}

/// The records of one phase since the last snapshot.
#[derive(Debug)]
struct PhaseRecorder {
    /// The numbers of arrivals until the last snapshot.
    before: BacklogSample,
    /// Everything except the distributions.
    rest: PhaseTally,
    /// By metric and outcome: the index in `filled`, or `EMPTY`.
    slots: [u16; CELLS],
    filled: Vec<((Metric, Outcome), Hist)>,
}

impl Default for PhaseRecorder {
    fn default() -> Self {
        PhaseRecorder {
            before: BacklogSample::default(),
            rest: PhaseTally::default(),
            slots: [EMPTY; CELLS],
            filled: Vec::new(),
        }
    }
}

impl PhaseRecorder {
    #[inline]
    fn hist(&mut self, metric: Metric, outcome: Outcome, free: &mut Free) -> &mut Hist {
        let slot = match self.slots[cell(metric, outcome)] {
            EMPTY => self.begin((metric, outcome), free),
            slot => slot,
        };
        &mut self.filled[usize::from(slot)].1
    }

    /// Adds an empty distribution to `filled` and returns its index.
    #[cold]
    fn begin(&mut self, key: (Metric, Outcome), free: &mut Free) -> u16 {
        let slot = self.filled.len() as u16;
        self.slots[cell(key.0, key.1)] = slot;
        self.filled.push((key, free.get_mut(&key).and_then(Vec::pop).unwrap_or_default()));
        slot
    }

    fn hand_over(&mut self, into: &mut PhaseTally) {
        self.before.offered += self.rest.counts.scheduled;
        self.before.finished += finished(&self.rest.counts);
        *into = std::mem::take(&mut self.rest);
        for ((metric, outcome), hist) in self.filled.drain(..) {
            self.slots[cell(metric, outcome)] = EMPTY;
            into.hists.insert((metric, outcome), hist);
        }
    }
}

const fn cell(metric: Metric, outcome: Outcome) -> usize {
    metric.index() * Outcome::ALL.len() + outcome.index()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition::Condition;

    fn key(outcome: Outcome) -> ConditionKey {
        ConditionKey {
            step: Step::Mail,
            condition: Condition::ResourceLow,
            code: Some(452),
            enhanced: None,
            outcome,
        }
    }

    #[test]
    fn a_snapshot_holds_what_was_counted_since_the_last_and_nothing_else() {
        let mut recorder = Recorder::new(2, 7);
        recorder.counts(1).started += 3;
        recorder.value(1, Metric::Response, Outcome::Accepted, Duration::from_nanos(5_000));
        recorder.value(1, Metric::Response, Outcome::Deferred, Duration::from_nanos(9_000));
        recorder.value(1, Metric::Response, Outcome::Accepted, Duration::from_nanos(7_000));
        recorder.expect(0, 2, false);
        let first = recorder.snapshot(4, Gauges::default(), false);
        assert_eq!((first.worker, first.second, first.last), (7, 4, false));
        assert_eq!(first.tally.phases[1].counts.started, 3);
        assert_eq!(first.tally.phases[0].expects[&2], Covered { count: 1, drained: 0 });
        let hists = &first.tally.phases[1].hists;
        assert_eq!(hists.len(), 2);
        assert_eq!(hists[&(Metric::Response, Outcome::Accepted)].count(), 2);
        assert_eq!(hists[&(Metric::Response, Outcome::Deferred)].min_ns(), 9_000);

        recorder.value(1, Metric::Response, Outcome::Deferred, Duration::from_nanos(1));
        let second = recorder.snapshot(5, Gauges::default(), true);
        assert_eq!(second.tally.phases[1].counts, Counts::default());
        assert_eq!(second.tally.phases[1].hists.len(), 1);
        assert!(second.tally.phases[0].expects.is_empty());
    }

    #[test]
    fn the_backlog_is_counted_over_all_phases_and_no_snapshot_takes_from_it() {
        let mut recorder = Recorder::new(2, 0);
        recorder.counts(0).scheduled += 5;
        recorder.counts(1).scheduled += 2;
        recorder.counts(1).arrivals.add(Outcome::Shed);
        recorder.snapshot(0, Gauges::default(), false);
        recorder.counts(1).arrivals.add(Outcome::Deferred);
        assert_eq!(recorder.backlog(), BacklogSample { offered: 7, finished: 2 });
    }

    #[test]
    fn the_sample_is_made_once_a_snapshot_and_times_are_kept() {
        let mut recorder = Recorder::new(1, 0);
        for second in [3, 4, 5] {
            let sample = || {
                assert_eq!(second, 3, "only the first is written down");
                "452 4.3.1 busy".to_owned()
            };
            recorder.condition(0, key(Outcome::Deferred), Duration::from_secs(second), false, sample);
        }
        recorder.condition(0, key(Outcome::Expected), Duration::ZERO, false, String::new);
        let snapshot = recorder.snapshot(0, Gauges::default(), false);
        let rows = &snapshot.tally.phases[0].conditions;
        assert_eq!(rows.len(), 2);
        let row = &rows[&key(Outcome::Deferred)];
        assert_eq!((row.count, row.first.as_secs(), row.last.as_secs()), (3, 3, 5));
        assert_eq!(row.sample, "452 4.3.1 busy");
    }

    #[test]
    fn reclaimed_memory_comes_back_empty() {
        let mut recorder = Recorder::new(1, 0);
        recorder.value(0, Metric::Lag, Outcome::Accepted, Duration::from_nanos(1_000_000));
        recorder.counts(0).scheduled = 9;
        let old = recorder.snapshot(0, Gauges::default(), false);
        recorder.reclaim(old);
        let free = |recorder: &Recorder| recorder.free.values().map(Vec::len).sum::<usize>();
        assert_eq!((free(&recorder), recorder.spare.len()), (1, 1));
        recorder.value(0, Metric::Service, Outcome::Rejected, Duration::from_nanos(5));
        assert_eq!(free(&recorder), 1, "it is kept for values of the same kind");
        recorder.value(0, Metric::Lag, Outcome::Accepted, Duration::from_nanos(5));
        assert_eq!(free(&recorder), 0, "the memory is used again");
        let new = recorder.snapshot(1, Gauges::default(), true);
        assert!(recorder.spare.is_empty());
        let phase = &new.tally.phases[0];
        assert_eq!(phase.counts, Counts::default());
        assert_eq!(phase.hists.len(), 2);
        let hist = &phase.hists[&(Metric::Lag, Outcome::Accepted)];
        assert_eq!((hist.count(), hist.min_ns(), hist.max_ns()), (1, 5, 5));
    }

    #[test]
    fn every_pair_of_metric_and_outcome_has_a_cell_of_its_own() {
        let mut recorder = Recorder::new(1, 0);
        let pairs: Vec<_> = Metric::all()
            .flat_map(|metric| Outcome::ALL.into_iter().map(move |outcome| (metric, outcome)))
            .collect();
        for (i, (metric, outcome)) in pairs.iter().enumerate() {
            recorder.value(0, *metric, *outcome, Duration::from_nanos(i as u64));
        }
        let snapshot = recorder.snapshot(0, Gauges::default(), true);
        for (i, pair) in pairs.iter().enumerate() {
            assert_eq!(snapshot.tally.phases[0].hists[pair].max_ns(), i as u64);
        }
    }
}
