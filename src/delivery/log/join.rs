//! Joins delivery logs with a run, while it runs or afterwards.
//!
//! # Decisions
//! - The account is the same as for a receiver in this process; a log is only another source.
//! - A log is known to be complete up to its last mark. After the wait for deliveries, each log must have a mark that
//!   is later than the end of the wait: otherwise the log is incomplete, and the run is invalid.
//! - A log may hold deliveries of other runs. Messages of other runs do not count as foreign if they came out before the
//!   start of this run, or after both its end and its last delivered message.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{LogEntry, LogError, LogMark, LogReader};
use crate::collector::delivery::{ClockRelation, Delivered, ReceiverHealth, Transaction};
use crate::collector::tally::Tally;
use crate::delivery::account::{RunAccount, SeenContent};
use crate::delivery::clock::{self, ClockOffset, ClockReading, TwoClocks};
use crate::delivery::next_hop::HopHealth;
use crate::plan::Plan;

/// How long to wait for a mark. Receivers write a mark every second.
const PATIENCE: Duration = Duration::from_secs(5);
/// The interval at which the logs are read for a mark.
const LOOK: Duration = Duration::from_millis(20);
/// If the last mark is older than this, no receiver writes to the log any more.
const STALE: Duration = Duration::from_secs(5);
/// The health of a receiver is judged until this long after the last message of the run.
const AFTER: Duration = Duration::from_millis(1500);

/// A message whose time is so long after the last mark, or after the run, has a wrong time.
const LATEST: [Duration; 2] = [Duration::from_secs(3600), Duration::from_secs(31 * 24 * 3600)];

/// The delivery logs of one run or of several, one after the other.
#[derive(Debug)]
pub struct DeliveryLogs {
    offset: Option<ClockOffset>,
    quiet: Duration,
    joining: Mutex<Joining>,
}

#[derive(Debug)]
struct Joining {
    logs: Vec<JoinedLog>,
    run: Option<JoinedRun>,
}

/// The run that is joined with the logs.
#[derive(Debug)]
struct JoinedRun {
    account: RunAccount,
    /// The epoch of the run; without meaning for a run that is over.
    began: Instant,
    /// The reading of the run's clocks at its epoch.
    epoch: ClockReading,
    /// How long the run took; `None` while it is in progress.
    took: Option<Duration>,
    /// The times at which messages of other runs came out after the end of this run.
    foreign_after: Vec<Duration>,
}

/// The state of reading one log.
#[derive(Debug)]
struct JoinedLog {
    reader: LogReader,
    clocks: TwoClocks,
    /// Why the log cannot be read further.
    fault: Option<String>,
    /// The last mark, and the number of marks read.
    covered: LogMark,
    marks: u64,
    has_ended: bool,
    /// When the last delivery of the run came.
    last_own: Option<ClockReading>,
    own: u64,
    /// The number of messages of other runs, and the id of the first such run.
    others: u64,
    first_other: Option<String>,
    /// The last mark before the run.
    before: LogMark,
    /// The last mark of the run, and the sums of the values that each mark holds for one second.
    health: LogMark,
    sums: HopHealth,
}

impl DeliveryLogs {
    /// Opens the logs. `quiet` as in [`ReceiverSettings`](crate::delivery::settings::ReceiverSettings).
    ///
    /// # Errors
    /// A log cannot be read, is not a delivery log, or is given twice.
    pub fn open(
        paths: &[PathBuf],
        offset: Option<ClockOffset>,
        quiet: Duration,
    ) -> Result<DeliveryLogs, LogError> {
        let mut logs: Vec<JoinedLog> = Vec::new();
        for path in paths {
            let reader = LogReader::open(path)?;
            if let Some(twin) = logs.iter().find(|log| log.reader.header() == reader.header()) {
                return Err(LogError::Twice(twin.reader.path().to_owned(), path.clone()));
            }
            logs.push(JoinedLog::new(reader));
        }
        Ok(DeliveryLogs { offset, quiet, joining: Mutex::new(Joining { logs, run: None }) })
    }

    /// Returns how long without a delivery the relay counts as silent.
    pub fn quiet(&self) -> Duration {
        self.quiet
    }

    /// Whether the clocks of all logs can be related to those of this process.
    pub fn has_times(&self) -> bool {
        let here = clock::clock_name();
        let is_here = |log: &JoinedLog| here.is_some() && log.reader.header().clock == here;
        self.offset.is_some() || self.lock().logs.iter().all(is_here)
    }

    /// Waits until each log has a new mark, which shows that a receiver writes to it.
    ///
    /// # Errors
    /// A log gets no new mark.
    pub fn check_alive(&self) -> Result<(), LogError> {
        let mut joining = self.lock();
        for log in &mut joining.logs {
            log.read(None);
            let marks = log.marks;
            let until = clock::now() + PATIENCE;
            while log.marks == marks && log.fault.is_none() && !log.has_ended && clock::now() < until {
                std::thread::sleep(LOOK);
                log.read(None);
            }
            let why = match &log.fault {
                Some(fault) => fault.clone(),
                None if log.has_ended => "the receiver that wrote this delivery log has ended".to_owned(),
                None if log.marks == marks => {
                    format!("no receiver has written to this delivery log for {} s", PATIENCE.as_secs())
                }
                None => continue,
            };
            return Err(LogError::NotAlive { path: log.reader.path().to_owned(), why });
        }
        Ok(())
    }

    /// Begins a run at this epoch. `date` is the Date of its messages.
    pub fn begin(&self, plan: &Plan, date: &str, epoch: Instant) {
        let mut joining = self.lock();
        // The messages that the logs hold now came out before the run.
        joining.logs.iter_mut().for_each(|log| log.read(None));
        let reading = ClockReading::at(epoch);
        let is_timed = joining.relate(reading, clock::clock_name().as_deref(), self.offset);
        joining.run = Some(JoinedRun {
            account: RunAccount::new(plan, date, is_timed).with_times_by_second(),
            began: epoch,
            epoch: reading,
            took: None,
            foreign_after: Vec::new(),
        });
    }

    /// Returns the reading of the run's clocks at its epoch; `None`: the run has not started.
    pub fn epoch(&self) -> Option<ClockReading> {
        self.lock().run.as_ref().map(|run| run.epoch)
    }

    /// Joins a run that is over, and took this long, with everything that the logs hold. `epoch` is the reading of the
    /// run's clocks when its load began, and `clock_name` the name of its monotonic clock.
    pub fn begin_stored(
        &self,
        plan: &Plan,
        date: &str,
        epoch: ClockReading,
        clock_name: Option<&str>,
        took: Duration,
    ) {
        let mut joining = self.lock();
        let is_timed = joining.relate(epoch, clock_name, self.offset);
        joining.run = Some(JoinedRun {
            account: RunAccount::new(plan, date, is_timed).with_times_by_second(),
            began: clock::now(),
            epoch,
            took: Some(took),
            foreign_after: Vec::new(),
        });
    }

    /// Processes transactions that have ended.
    pub fn answered(&self, transactions: &[Transaction]) {
        if let Some(run) = &self.lock().run {
            run.account.answered(transactions);
        }
    }

    /// Returns the deliveries in the logs since the last call, by phase, and the relay's queue, as far as the logs have
    /// been read. The logs are behind by up to a second.
    pub fn second(&self) -> (Tally, Option<u64>) {
        let mut joining = self.lock();
        joining.read();
        let Some(run) = &joining.run else { return (Tally::new(0), None) };
        (run.account.second(Duration::ZERO).0, Some(run.account.queued()))
    }

    /// Whether the wait for deliveries can end at this time since the run's epoch.
    pub fn is_settled(&self, now: Duration) -> bool {
        let mut joining = self.lock();
        joining.read();
        let is_over = joining.logs.iter().all(|log| log.has_ended || log.fault.is_some());
        is_over || joining.run.as_ref().is_none_or(|run| run.account.is_settled(now, self.quiet))
    }

    /// Closes the account: see [`RunAccount::finish`]. For a stored run `ended` is the end of its logs.
    pub fn finish(
        &self,
        windows: &[(Duration, Duration)],
        ended: Duration,
        cut_short: bool,
        tally: &mut Tally,
    ) -> Delivered {
        let mut joining = self.lock();
        if !cut_short {
            joining.await_marks(ended);
        }
        joining.read();
        let Some(run) = joining.run.take() else { return Delivered::default() };
        let last_seen = run.account.last_seen();
        let is_late = |at: &&Duration| last_seen.is_some_and(|last| **at <= last);
        run.foreign_after.iter().filter(is_late).for_each(|at| run.account.foreign(*at));
        let is_stored = run.took.is_some();
        let covered = |log: &JoinedLog| log.clocks.roughly_since_epoch(log.covered.at);
        let ended = match run.took {
            Some(took) => joining.logs.iter().map(covered).max().unwrap_or(took).max(took),
            None => ended,
        };
        let outstanding = run.account.outstanding();
        let logs = &joining.logs;
        let incomplete = match cut_short && !is_stored {
            true => Vec::new(),
            false => logs.iter().filter_map(|log| log.incomplete(ended, &run, outstanding, logs)).collect(),
        };
        // Both times are by the clock of the receiver.
        let silence = |log: &JoinedLog| Some(log.covered.at.mono.saturating_sub(log.last_own?.mono));
        Delivered {
            silent_for: logs.iter().filter_map(silence).min(),
            receiver: health(logs),
            clock: relation(logs),
            incomplete,
            remarks: logs.iter().flat_map(|log| log.remarks(run.account.id())).collect(),
            ..run.account.finish(windows, ended, cut_short, tally)
        }
    }

    fn lock(&self) -> MutexGuard<'_, Joining> {
        self.joining.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Joining {
    /// Relates the clocks of all logs to those of a run, and resets the values that were read for other runs. Returns
    /// whether all clocks can be related.
    fn relate(&mut self, epoch: ClockReading, run: Option<&str>, offset: Option<ClockOffset>) -> bool {
        for log in &mut self.logs {
            log.clocks = TwoClocks::new(epoch, run, log.reader.header().clock.as_deref(), offset);
            (log.own, log.others, log.first_other, log.last_own) = (0, 0, None, None);
            (log.before, log.health, log.sums) = (log.covered, log.covered, HopHealth::default());
        }
        self.logs.iter().all(|log| log.clocks.relation() != ClockRelation::Unknown)
    }

    fn read(&mut self) {
        let Joining { logs, run } = self;
        logs.iter_mut().for_each(|log| log.read(run.as_mut()));
    }

    /// Waits until all logs have a mark after the end of the run's wait.
    fn await_marks(&mut self, ended: Duration) {
        if self.run.as_ref().is_none_or(|run| run.took.is_some()) {
            return;
        }
        let marks: Vec<u64> = self.logs.iter().map(|log| log.marks).collect();
        let until = clock::now() + PATIENCE;
        let goes_on = |(log, marks): (&JoinedLog, &u64)| log.covers(ended, *marks);
        while !self.logs.iter().zip(&marks).all(goes_on) && clock::now() < until {
            std::thread::sleep(LOOK);
            self.read();
        }
    }
}

impl JoinedLog {
    fn new(reader: LogReader) -> JoinedLog {
        let started = LogMark { at: reader.header().at, ..LogMark::default() };
        JoinedLog {
            reader,
            clocks: TwoClocks::unrelated(),
            fault: None,
            covered: started,
            marks: 0,
            has_ended: false,
            last_own: None,
            own: 0,
            others: 0,
            first_other: None,
            before: started,
            health: started,
            sums: HopHealth::default(),
        }
    }

    /// Reads all whole lines that are there. Without a run the lines are dropped.
    fn read(&mut self, mut run: Option<&mut JoinedRun>) {
        while self.fault.is_none() && !self.has_ended {
            match self.reader.entry() {
                Ok(Some(entry)) => self.take(entry, run.as_deref_mut()),
                Ok(None) => return,
                Err(error) => self.fault = Some(error.to_string()),
            }
        }
    }

    fn take(&mut self, entry: LogEntry, run: Option<&mut JoinedRun>) {
        match entry {
            LogEntry::Mark(mark) => self.mark(mark, run),
            LogEntry::End(mark) => {
                self.mark(mark, run);
                self.has_ended = true;
            }
            LogEntry::Delivered(copy) => {
                let Some(run) = run else { return };
                if copy.run != run.account.id() {
                    return self.foreign(copy.at, Some(copy.run), run);
                }
                if !self.own(copy.at, run) {
                    return;
                }
                let at = self.time(copy.at, run);
                match &copy.content {
                    Some(content) => {
                        run.account.delivered(copy.seq, &copy.to, SeenContent::Fingerprint(content), at)
                    }
                    None => run.account.delivered(copy.seq, &copy.to, SeenContent::Whole(b""), at),
                }
            }
            LogEntry::Notified { at, about } => {
                let Some(run) = run else { return };
                if about.identity.run != run.account.id() {
                    return self.foreign(at, Some(about.identity.run), run);
                }
                if !self.own(at, run) {
                    return;
                }
                run.account.notified(&about, self.time(at, run));
            }
            LogEntry::Foreign { at } => {
                if let Some(run) = run {
                    self.foreign(at, None, run);
                }
            }
        }
    }

    /// Notes a message of the run. Returns false for a time that cannot be right: the log is not read further.
    fn own(&mut self, at: ClockReading, run: &JoinedRun) -> bool {
        let since_mark = at.mono.saturating_sub(self.covered.at.mono);
        let since_epoch = self.clocks.since_epoch(at).and_then(|nanos| u64::try_from(nanos).ok());
        let ran = run.took.unwrap_or_else(|| clock::now().saturating_duration_since(run.began));
        let late = [since_mark, Duration::from_nanos(since_epoch.unwrap_or(0)).saturating_sub(ran)];
        if late.iter().zip(LATEST).any(|(late, most)| *late > most) {
            let (name, line) = (self.reader.path().display(), self.reader.lines());
            self.fault = Some(format!(
                "line {line} of the delivery log {name}: a message came out at a time that cannot be right"
            ));
            return false;
        }
        self.own += 1;
        self.last_own = Some(at);
        true
    }

    /// Returns the time of a line since the run's epoch; if the clocks are not related, the time at which the line is
    /// read.
    fn time(&self, at: ClockReading, run: &JoinedRun) -> Duration {
        match self.clocks.since_epoch(at) {
            Some(nanos) => Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)),
            None => clock::now().saturating_duration_since(run.began),
        }
    }

    fn foreign(&mut self, at: ClockReading, other: Option<String>, run: &mut JoinedRun) {
        self.others += 1;
        if self.first_other.is_none() {
            self.first_other = other;
        }
        if self.clocks.since_epoch(at).is_some_and(|nanos| nanos < 0) {
            return;
        }
        let at = self.time(at, run);
        match run.took {
            Some(took) if at > took && self.clocks.relation() != ClockRelation::Unknown => {
                run.foreign_after.push(at);
            }
            _ => run.account.foreign(at),
        }
    }

    fn mark(&mut self, mark: LogMark, run: Option<&mut JoinedRun>) {
        self.covered = mark;
        self.marks += 1;
        let Some(run) = run else { return };
        let since = self.clocks.since_epoch(mark.at);
        if since.is_some_and(|nanos| nanos < 0) {
            (self.before, self.health) = (mark, mark);
            return;
        }
        let since = Duration::from_nanos(since.and_then(|nanos| u64::try_from(nanos).ok()).unwrap_or(0));
        let last = run.took.map(|took| run.account.last_seen().map_or(took, |last| last.max(took)));
        if last.is_some_and(|last| since > last + AFTER) {
            return;
        }
        self.health = mark;
        self.sums.turns += mark.health.turns;
        self.sums.late += mark.health.late;
        self.sums.lag_max_ms = self.sums.lag_max_ms.max(mark.health.lag_max_ms);
    }

    /// Whether everything that came out before this time since the epoch has been read. `marks` is the number of marks
    /// that had been read at that time.
    fn covers(&self, time: Duration, marks: u64) -> bool {
        let is_behind = match self.clocks.since_epoch(self.covered.at) {
            Some(nanos) => u64::try_from(nanos).is_ok_and(|nanos| Duration::from_nanos(nanos) >= time),
            // The next mark may have been made before that time; the mark after it was not.
            None => self.marks >= marks + 2,
        };
        is_behind || self.has_ended || self.fault.is_some()
    }

    /// Returns why the log may be incomplete.
    fn incomplete(
        &self,
        ended: Duration,
        run: &JoinedRun,
        outstanding: u64,
        logs: &[JoinedLog],
    ) -> Option<String> {
        const REMEDY: &str = "what is missing may have come out, and copies may be unknown";
        let name = self.reader.path().display();
        if let Some(fault) = &self.fault {
            return Some(format!("{fault}; {REMEDY}"));
        }
        let covered = self.clocks.roughly_since_epoch(self.covered.at);
        let silent = || format!("{:.1} s", ended.saturating_sub(covered).as_secs_f64());
        if self.has_ended {
            let until = run.took.unwrap_or(ended);
            let is_followed = || logs.iter().any(|other| other.follows(self, until));
            let early = outstanding > 0 && covered < until && !is_followed();
            return early.then(|| {
                format!(
                    "the receiver that wrote {name} was stopped {:.1} s before the end of the wait, with {outstanding} recipients \
                     outstanding; leave it on until the run is over, or join the run with a log that is complete",
                    until.saturating_sub(covered).as_secs_f64()
                )
            });
        }
        let is_alive = || self.age().is_some_and(|age| age < STALE);
        let is_enough = match run.took {
            Some(took) => is_alive() || outstanding == 0 && covered >= took,
            None => match self.clocks.relation() {
                ClockRelation::Unknown => is_alive() || self.marks > 0 && outstanding == 0,
                _ => covered >= ended,
            },
        };
        (!is_enough).then(|| match run.took {
            Some(_) => format!(
                "{name} has no end: its receiver was killed, its disk was full, or the copy is not whole; {REMEDY}"
            ),
            None => format!(
                "nothing was written to {name} for the last {} of the wait: its receiver was killed, its disk is full, or the \
                 file reaches this machine too late; {REMEDY}; `smtpress report RUN --deliveries {name}` joins the run again",
                silent()
            ),
        })
    }

    /// Whether this is the log of the same receiver after a restart, and covers this time since the epoch.
    fn follows(&self, earlier: &JoinedLog, until: Duration) -> bool {
        let (own, before) = (self.reader.header(), earlier.reader.header());
        own.host == before.host
            && own.addresses.iter().any(|address| before.addresses.contains(address))
            && own.at.wall >= earlier.covered.at.wall
            && self.clocks.roughly_since_epoch(self.covered.at) >= until
    }

    /// Returns the age of the last mark, if the log's clock is that of this process.
    fn age(&self) -> Option<Duration> {
        let is_same =
            self.reader.header().clock.is_some() && self.reader.header().clock == clock::clock_name();
        is_same.then(|| ClockReading::now().mono.saturating_sub(self.covered.at.mono))
    }

    fn remarks(&self, run: &str) -> Vec<String> {
        let name = self.reader.path().display();
        let mut remarks = Vec::new();
        if self.reader.has_rest() && self.age().is_none_or(|age| age > STALE) {
            remarks.push(format!("the last line of {name} is cut off: it was not counted"));
        }
        if self.own == 0 && self.others > 0 {
            let whose = self
                .first_other
                .as_ref()
                .map_or("of no run".to_owned(), |other| format!("the first of run {other}"));
            remarks.push(format!(
                "{name} holds {} messages of others ({whose}), and none of this run, {run}: it is the log of another run, or the \
                 relay delivers elsewhere",
                self.others
            ));
        }
        remarks
    }
}

/// Returns the health of the receivers during the run: the values of the busiest receiver, and the sums of the counts.
fn health(logs: &[JoinedLog]) -> ReceiverHealth {
    let of_log = |log: &JoinedLog| {
        let after = HopHealth {
            turns: log.sums.turns,
            late: log.sums.late,
            lag_max_ms: log.sums.lag_max_ms,
            ..log.health.health
        };
        after.since(&log.before.health, log.health.at.mono.saturating_sub(log.before.at.mono))
    };
    logs.iter().map(of_log).reduce(ReceiverHealth::and).unwrap_or_default()
}

/// Returns the weakest relation between the run's clocks and those of a log.
fn relation(logs: &[JoinedLog]) -> ClockRelation {
    let worst = |one: ClockRelation, other: ClockRelation| match (one, other) {
        (ClockRelation::Unknown, _) | (_, ClockRelation::Unknown) => ClockRelation::Unknown,
        (offset @ ClockRelation::Offset { .. }, _) | (_, offset) => offset,
    };
    logs.iter().map(|log| log.clocks.relation()).reduce(worst).unwrap_or_default()
}
