//! The receiver behind a relay as a process of its own. It writes a delivery log, which runs join.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::clock::{HopClock, clock_question_answer};
use super::integrity::Fingerprint;
use super::kind::MessageKind;
use super::log::{LogCopy, LogEntry, LogError, LogHeader, LogInlet, LogMark, LogWriter, VERSION};
use super::next_hop::NextHop;
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
        let sink = Arc::new(LogSink { inlet, clock, received: Mutex::default() });
        let shared: Arc<dyn Sink> = sink.clone();
        match NextHop::start(settings, seed, &shared) {
            Ok(next_hop) => Ok(LoggingReceiver { next_hop, sink, log: writer }),
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
        if let Some(inlet) = &self.sink.inlet {
            inlet.offer(&LogEntry::Mark(self.state()));
        }
    }

    /// Ends the receiver. Returns its counts and the end of the log: after a failure, the error and the number of lines
    /// that are not in the log.
    pub fn stop(self) -> (ReceivedInAll, Result<(), (LogError, u64)>) {
        let state = self.state();
        let LoggingReceiver { next_hop, sink, log } = self;
        next_hop.stop();
        let received = sink.received.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let end = LogMark { at: sink.clock.now(), messages: received.messages(), ..state };
        let Some(log) = log else { return (received, Ok(())) };
        if let Some(inlet) = &sink.inlet {
            inlet.add(&LogEntry::End(end));
        }
        let ended = log.finish().map_err(|(error, lost)| (error, lost.saturating_sub(1)));
        (received, ended)
    }

    fn state(&self) -> LogMark {
        let mut health = self.next_hop.health();
        let waited = self.sink.inlet.as_ref().map(LogInlet::waited).unwrap_or_default();
        health.waited_ms = waited.as_secs_f64() * 1e3;
        let messages = self.sink.received.lock().unwrap_or_else(PoisonError::into_inner).messages();
        LogMark { at: self.sink.clock.now(), messages, health }
    }
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

impl Sink for LogSink {
    fn answer(&self, word: &str) -> Option<String> {
        clock_question_answer(word, self.clock.now())
    }

    fn take(&self, taken: TakenMessage<'_>) {
        let entry = entry(taken, &self.clock);
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
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
}

/// Returns the log entry of a message.
fn entry(taken: TakenMessage<'_>, clock: &HopClock) -> LogEntry {
    let at = clock.at(taken.ended);
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
