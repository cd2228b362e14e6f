//! The receiver behind a relay as a process of its own. It writes a delivery log, which runs join.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::clock::{ClockReading, HopClock, clock_question_answer};
use super::integrity::Fingerprint;
use super::kind::MessageKind;
use super::log::{LogCopy, LogEntry, LogError, LogHeader, LogInlet, LogMark, LogWriter, VERSION};
use super::next_hop::{HopHealth, NextHop};
use super::received::Identity;
use super::settings::ReceiverSettings;
use crate::listener::{ListenError, Sink, TakenMessage};
use crate::net::address::bind::Bind;
use crate::smtp::script::Protocol;

/// The largest number of runs that are counted separately.
const RUNS: usize = 1000;
/// The largest length of a reply in a notification, in characters.
const DIAGNOSTIC: usize = 500;

/// Why the receiver cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The receiver cannot listen on an address.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The log cannot be started.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// A receiver that writes a delivery log.
#[derive(Debug)]
pub struct LoggingReceiver {
    next_hop: NextHop,
    sink: Arc<LogSink>,
    log: Option<LogWriter>,
    /// The lateness of the threads since the last mark that was written to the log.
    unreported: Mutex<Lateness>,
}

/// How late the timers of the threads were in an interval: see [`HopHealth`].
#[derive(Clone, Copy, Debug, Default)]
struct Lateness {
    turns: u64,
    late: u64,
    lag_max_ms: f64,
}

/// The counts of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceivedOfRun {
    /// The number of copies of the run's messages.
    pub copies: u64,
    /// The number of recipients of these copies.
    pub recipients: u64,
    /// The number of notifications about the run's messages.
    pub notifications: u64,
}

/// The counts of a receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceivedInAll {
    /// The counts of the first thousand runs, by run id.
    pub runs: BTreeMap<String, ReceivedOfRun>,
    /// The sum of all later runs.
    pub others: ReceivedOfRun,
    /// The number of messages that belong to no run.
    pub foreign: u64,
}

#[derive(Debug)]
struct LogSink {
    inlet: Option<LogInlet>,
    clock: HopClock,
    received: Mutex<ReceivedInAll>,
    /// When the contents of the messages ended that may still come to the log.
    unwritten: Mutex<Vec<(Instant, ClockReading)>>,
}

impl LoggingReceiver {
    /// Starts a receiver on all its addresses. `host` and `clock` are those of the receiver's machine, for the log.
    /// Without a log the receiver only counts.
    ///
    /// # Errors
    /// The log cannot be started, an address cannot be bound, or TLS cannot be set up.
    pub fn start(
        settings: &ReceiverSettings,
        seed: u64,
        log: Option<&Path>,
        host: &str,
        clock: HopClock,
    ) -> Result<LoggingReceiver, ReceiveError> {
        let header = LogHeader {
            smtpress_delivery_log: VERSION,
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            host: host.to_owned(),
            pid: std::process::id(),
            clock: clock.name.clone(),
            at: clock.now(),
            addresses: settings.addresses.iter().map(ToString::to_string).collect(),
            protocol: match settings.limits.protocol {
                Protocol::Smtp => "smtp",
                Protocol::Lmtp => "lmtp",
            }
            .to_owned(),
        };
        let writer = log.map(|path| LogWriter::create(path, &header)).transpose()?;
        let inlet = writer.as_ref().map(LogWriter::inlet);
        let sink = Arc::new(LogSink::new(inlet, clock));
        let shared: Arc<dyn Sink> = sink.clone();
        match NextHop::start(settings, seed, &shared) {
            Ok(next_hop) => Ok(LoggingReceiver { next_hop, sink, log: writer, unreported: Mutex::default() }),
            Err(error) => {
                // An empty log would block the next attempt.
                if let Some(path) = log.filter(|path| path.is_file()) {
                    std::fs::remove_file(path).ok();
                }
                Err(error.into())
            }
        }
    }

    /// Returns the addresses on which the receiver listens, in the given order.
    pub fn places(&self) -> impl Iterator<Item = &Bind> {
        self.next_hop.places()
    }

    /// Whether a write to the log has failed. After a failure nothing more is written.
    pub fn log_has_failed(&self) -> bool {
        self.log.as_ref().is_some_and(LogWriter::has_failed)
    }

    /// Writes a mark to the log. Must be called once a second.
    pub fn mark(&self) {
        let Some(inlet) = &self.sink.inlet else { return };
        let state = self.state();
        if !inlet.offer(&LogEntry::Mark(state)) {
            let HopHealth { turns, late, lag_max_ms, .. } = state.health;
            *lock(&self.unreported) = Lateness { turns, late, lag_max_ms };
        }
    }

    /// Ends the receiver. Returns its counts and the end of the log: after a failure, the error and the number of lines
    /// that are not in the log.
    pub fn stop(self) -> (ReceivedInAll, Result<(), (LogError, u64)>) {
        let state = self.state();
        let LoggingReceiver { next_hop, sink, log, .. } = self;
        next_hop.stop();
        let received = lock(&sink.received).clone();
        let end = LogMark { at: sink.clock.now(), messages: received.messages(), ..state };
        let Some(log) = log else { return (received, Ok(())) };
        if let Some(inlet) = &sink.inlet {
            inlet.add(&LogEntry::End(end));
        }
        let ended = log.finish().map_err(|(error, lost)| (error, lost.saturating_sub(1)));
        (received, ended)
    }

    /// Returns the present state. Its lateness is that since the last call, and that of marks that were not written.
    fn state(&self) -> LogMark {
        let mut health = self.next_hop.health();
        let Lateness { turns, late, lag_max_ms } = std::mem::take(&mut *lock(&self.unreported));
        health.turns += turns;
        health.late += late;
        health.lag_max_ms = health.lag_max_ms.max(lag_max_ms);
        let waited = self.sink.inlet.as_ref().map(LogInlet::waited).unwrap_or_default();
        health.waited_ms = waited.as_secs_f64() * 1e3;
        let messages = lock(&self.sink.received).messages();
        LogMark { at: self.sink.written_until(), messages, health }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ReceivedInAll {
    /// Returns the number of copies, notifications and foreign messages.
    pub fn messages(&self) -> u64 {
        let of = |run: &ReceivedOfRun| run.copies + run.notifications;
        self.runs.values().map(of).sum::<u64>() + of(&self.others) + self.foreign
    }

    fn of_run(&mut self, run: &str) -> &mut ReceivedOfRun {
        if self.runs.len() >= RUNS && !self.runs.contains_key(run) {
            return &mut self.others;
        }
        self.runs.entry(run.to_owned()).or_default()
    }
}

impl LogSink {
    fn new(inlet: Option<LogInlet>, clock: HopClock) -> LogSink {
        LogSink { inlet, clock, received: Mutex::default(), unwritten: Mutex::default() }
    }

    /// Returns the time before which every message that came out has been passed to the log.
    fn written_until(&self) -> ClockReading {
        let now = self.clock.now();
        let unwritten = lock(&self.unwritten);
        unwritten.iter().map(|(_, at)| *at).chain([now]).min_by_key(|at| at.mono).unwrap_or(now)
    }
}

impl Sink for LogSink {
    fn answer(&self, word: &str) -> Option<String> {
        clock_question_answer(word, self.clock.now())
    }

    fn take(&self, taken: TakenMessage<'_>) {
        // The reading that the marks use, so that no mark is a little later than the entry.
        let noted = lock(&self.unwritten).iter().find(|(own, _)| *own == taken.ended).map(|(_, at)| *at);
        let entry = entry(taken, noted.unwrap_or_else(|| self.clock.at(taken.ended)));
        let mut received = lock(&self.received);
        match &entry {
            LogEntry::Delivered(copy) => {
                let run = received.of_run(&copy.run);
                run.copies += 1;
                run.recipients += copy.to.len() as u64;
            }
            LogEntry::Notified { about, .. } => received.of_run(&about.identity.run).notifications += 1,
            _ => received.foreign += 1,
        }
        drop(received);
        if let Some(inlet) = &self.inlet {
            inlet.add(&entry);
        }
    }

    fn ended(&self, at: Instant) {
        let noted = (at, self.clock.at(at));
        lock(&self.unwritten).push(noted);
    }

    fn settled(&self, at: Instant) {
        let mut unwritten = lock(&self.unwritten);
        if let Some(own) = unwritten.iter().position(|(own, _)| *own == at) {
            unwritten.swap_remove(own);
        }
    }
}

/// Returns the log entry of a message that came out at `at`.
fn entry(taken: TakenMessage<'_>, at: ClockReading) -> LogEntry {
    match MessageKind::of(taken.content) {
        MessageKind::Copy(Identity { run, seq }) => {
            let content = Fingerprint::of(taken.content);
            LogEntry::Delivered(LogCopy { run, seq, to: taken.recipients.to_vec(), at, content })
        }
        MessageKind::About(mut about) => {
            for recipient in &mut about.recipients {
                if let Some((end, _)) = recipient.diagnostic.char_indices().nth(DIAGNOSTIC) {
                    recipient.diagnostic.truncate(end);
                }
            }
            LogEntry::Notified { at, about }
        }
        MessageKind::Foreign => LogEntry::Foreign { at },
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpStream;
    use std::sync::mpsc::{self, Receiver};
    use std::time::Duration;

    use super::*;
    use crate::delivery::clock;
    use crate::delivery::log::LogReader;
    use crate::listener::limits::{Delay, Limits};

    /// Returns the settings of a receiver on a free port.
    fn settings(limits: Limits) -> ReceiverSettings {
        ReceiverSettings {
            addresses: vec!["127.0.0.1:0".parse().unwrap()],
            agent: None,
            logs: Vec::new(),
            clock_offset: None,
            clock_probe: None,
            keeps_transactions: false,
            limits,
            drain: Duration::ZERO,
            quiet: Duration::ZERO,
        }
    }

    /// Returns a receiver whose log has room for one line, and the lines.
    fn receiver() -> (LoggingReceiver, Receiver<Option<Vec<u8>>>) {
        let settings = settings(Limits::default());
        let (lines, written) = mpsc::sync_channel(1);
        let mut receiver = LoggingReceiver::start(&settings, 1, None, "h", HopClock::here()).unwrap();
        receiver.sink = Arc::new(LogSink::new(Some(LogInlet::to(lines)), HopClock::here()));
        (receiver, written)
    }

    fn next(written: &Receiver<Option<Vec<u8>>>) -> LogEntry {
        serde_json::from_slice(&written.recv().unwrap().unwrap()).unwrap()
    }

    #[test]
    fn a_mark_says_nothing_of_the_time_since_a_message_that_is_not_written_yet() {
        let (receiver, written) = receiver();
        let take = |at| {
            receiver.sink.ended(at);
            receiver.sink.take(TakenMessage { recipients: &[], content: b"x", ended: at });
            receiver.sink.settled(at);
        };
        take(clock::now());
        std::thread::scope(|scope| {
            // The second message waits for room in the queue.
            scope.spawn(|| take(clock::now()));
            while receiver.state().messages < 2 {
                std::thread::yield_now();
            }
            std::thread::sleep(Duration::from_millis(20));
            let mark = receiver.state();
            assert!(matches!(next(&written), LogEntry::Foreign { .. }));
            let LogEntry::Foreign { at } = next(&written) else { panic!("the second message is lost") };
            assert!(mark.at.mono <= at.mono, "{mark:?} is in front of a message that came out at {at:?}");
        });
        assert!(receiver.sink.unwritten.lock().unwrap().is_empty());
    }

    #[test]
    fn m32_the_lateness_of_a_mark_that_finds_no_room_is_in_the_next_one() {
        let (receiver, written) = receiver();
        receiver.sink.take(TakenMessage { recipients: &[], content: b"x", ended: clock::now() });
        // The queue is full, so no mark finds room. The timer of the listener's thread is due every 50 ms.
        for _ in 0..1_000 {
            receiver.mark();
            if lock(&receiver.unreported).turns >= 3 {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(matches!(next(&written), LogEntry::Foreign { .. }));
        receiver.mark();
        let LogEntry::Mark(mark) = next(&written) else { panic!("no mark is written") };
        assert!(mark.health.turns >= 3, "{mark:?}");
        // What was written does not count again.
        receiver.mark();
        let LogEntry::Mark(again) = next(&written) else { panic!("no mark is written") };
        assert!(again.health.turns < mark.health.turns, "{again:?}");
    }

    #[test]
    fn a_mark_says_nothing_of_the_time_since_a_message_whose_reply_is_delayed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut limits = Limits::default();
        limits.delays.body = Delay::fixed(Duration::from_millis(300));
        let settings = settings(limits);
        let receiver = LoggingReceiver::start(&settings, 1, Some(&path), "h", HopClock::here()).unwrap();
        let Some(Bind::Tcp(address)) = receiver.places().next() else { panic!("no address") };
        let mut client = BufReader::new(TcpStream::connect(address).unwrap());
        let mut said = |lines: &str| {
            client.get_mut().write_all(lines.as_bytes()).unwrap();
            let mut reply = String::new();
            client.read_line(&mut reply).unwrap();
            reply
        };
        for lines in
            ["", "HELO a.example\r\n", "MAIL FROM:<a@b.example>\r\n", "RCPT TO:<c@d.example>\r\n", "DATA\r\n"]
        {
            let reply = said(lines);
            assert!(reply.starts_with(['2', '3']), "{reply}");
        }
        let marks = std::thread::scope(|scope| {
            let sent = scope.spawn(|| said("x\r\n.\r\n"));
            let mut marks = Vec::new();
            while !sent.is_finished() {
                std::thread::sleep(Duration::from_millis(5));
                marks.push(receiver.state());
            }
            assert!(sent.join().unwrap().starts_with("250"));
            marks
        });
        // The message is written, so it holds back no mark.
        let before = clock::now();
        assert!(receiver.state().at.mono >= HopClock::here().at(before).mono);
        receiver.stop().1.unwrap();
        let mut log = LogReader::open(&path).unwrap();
        let Some(LogEntry::Foreign { at }) = log.entry().unwrap() else { panic!("no message in the log") };
        // A mark can be a little later if it comes while the end of the content is being read.
        let latest = at.mono + Duration::from_millis(100);
        let wrong = marks.iter().filter(|mark| mark.messages == 0 && mark.at.mono > latest).count();
        assert_eq!(wrong, 0, "of {} marks in front of a message that came out at {at:?}", marks.len());
    }
}
