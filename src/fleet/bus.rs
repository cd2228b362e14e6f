//! The connection to NATS: requests, the stream of reports, and messages larger than the server takes at once.
//!
//! # Decisions
//! - A report is cut into parts of `PART` bytes, or less if the server accepts only smaller messages. Each part has its own id (`Nats-Msg-Id`): a part that is sent again
//!   within `DUPLICATES` is stored once.
//! - The stream refuses new messages when it is full and drops none: a report that is not stored is sent again. Its
//!   size is limited by the server alone: a limit of the stream would be reserved at once, and a small disk would
//!   refuse it.
//! - Nothing here calls `flush`: it blocks for as long as the connection is broken.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{Config, DiscardPolicy, LastRawMessageErrorKind, StorageType, Stream};
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions, Event, HeaderMap, ServerError};
use futures::StreamExt;
use nkeys::KeyPair;
use tokio::sync::{mpsc, watch};

use super::message::{AgentAnswer, AgentCommand, AgentOrder, Heartbeat, decode, sign};
use super::subject;
use crate::generator::clock;

/// How long to wait for the answer to a command.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// How long to wait until a part is stored.
const STORED_WITHIN: Duration = Duration::from_secs(5);
/// How long to wait until the reports of a run are removed.
pub(super) const FORGOTTEN_WITHIN: Duration = Duration::from_secs(2);
/// How long to try to reach a server.
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);
/// The largest size of a part of a report, in bytes: below the default limit of a server's messages (1 MiB).
const PART: usize = 512 * 1024;
/// The room that the headers of a part need in a message, in bytes.
const HEADERS: usize = 2048;
/// The largest number of parts of a report that is accepted: some hundred times the largest that occurs.
const MOST_PARTS: u32 = 1024;
/// How long the stream remembers the id of a stored part.
const DUPLICATES: Duration = Duration::from_secs(300);
/// How long the stream keeps reports.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// The interval of pings to the server; after three without an answer the client connects again.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// The pause before the reports are read again after a failure.
const AGAIN: Duration = Duration::from_millis(500);

/// The address of the bus, and the credentials for it.
#[derive(Clone, Debug, Default)]
pub struct BusAccess {
    /// `nats://host:port`, or `tls://`.
    pub url: String,
    /// The password of the user `name` of a private server.
    pub password: Option<String>,
    /// A credentials file: the seed of an nkey, or a JWT with its seed.
    pub creds: Option<PathBuf>,
    /// The name of the client, and of its inbox.
    pub name: Option<String>,
    /// A PEM file of authorities that are trusted in addition to those of the system.
    pub ca: Option<PathBuf>,
}

/// Why the bus cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The client cannot connect.
    #[error(
        "failed to reach the NATS server at {url}: {source}; check that the server runs, and that the address and the credentials are right"
    )]
    Connect {
        /// The URL.
        url: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The credentials file cannot be used.
    #[error("{} {why}; give a file of `smtpress fleet init`, or a .creds file of a NATS account", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// The fault of the file.
        why: String,
    },
    /// The server denies an operation to this user.
    #[error("the NATS server denies it: {0}; use the credentials of the right user")]
    Denied(String),
    /// The server has no JetStream, or denies it.
    #[error(
        "the NATS server cannot keep the reports of a run: {0}; it needs JetStream (`jetstream {{}}` in its configuration, or -js)"
    )]
    Stream(String),
    /// The server did not store a report.
    #[error("the NATS server did not store a report: {0}")]
    NotStored(String),
    /// No answer came.
    #[error("no answer: {0}")]
    NoAnswer(String),
}

/// A connection.
#[derive(Clone, Debug)]
pub struct Bus {
    /// The client, for messages that are not stored.
    pub client: Client,
    stored: Context,
    /// The last denial of the server.
    denial: watch::Receiver<Option<String>>,
}

/// Checks that an agent accepts a command. The error is a sentence.
pub(super) fn accepted(answer: Result<AgentAnswer, BusError>) -> Result<(), String> {
    match answer {
        Ok(AgentAnswer::Done) => Ok(()),
        Ok(other) => Err(other.refusal()),
        Err(error) => Err(error.to_string()),
    }
}

impl Bus {
    /// Connects to the server. The client restores a broken connection by itself.
    ///
    /// # Errors
    /// There is no server, or it refuses the credentials.
    pub async fn connect(access: &BusAccess) -> Result<Bus, BusError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| BusError::Connect {
            url: access.url.clone(),
            source,
        };
        let (deny, denial) = watch::channel(None);
        let mut options = ConnectOptions::new()
            .name("smtpress")
            .event_callback(move |event| {
                if let Event::ServerError(ServerError::Other(text)) = event
                    && text.to_lowercase().starts_with("permissions violation")
                {
                    deny.send_replace(Some(text));
                }
                std::future::ready(())
            })
            .connection_timeout(CONNECTED_WITHIN)
            .ping_interval(ASK_EVERY)
            .request_timeout(Some(ANSWER_WITHIN))
            .max_reconnects(None)
            .reconnect_delay_callback(|attempts| Duration::from_millis(200 * attempts.min(10) as u64));
        if let (Some(name), Some(password)) = (&access.name, &access.password) {
            options = options.user_and_password(name.clone(), password.clone());
        }
        if let Some(path) = &access.creds {
            options = credentials(options, path)?;
        }
        if let Some(name) = &access.name {
            options = options.custom_inbox_prefix(format!("_INBOX.{name}"));
        }
        if let Some(ca) = &access.ca {
            options = options.add_root_certificates(ca.clone()).require_tls(true);
        }
        let client = options.connect(&access.url).await.map_err(|error| failed(error.into()))?;
        let stored = jetstream::new(client.clone());
        Ok(Bus { client, stored, denial })
    }

    /// Returns a bus whose server is never reached.
    #[cfg(test)]
    pub async fn offline() -> Bus {
        let client = ConnectOptions::new().retry_on_initial_connect().connect("nats://127.0.0.1:1").await;
        let client = client.expect("nothing is connected yet");
        Bus { stored: jetstream::new(client.clone()), client, denial: watch::channel(None).1 }
    }

    /// Returns the size of the largest message that the server accepts.
    pub fn most(&self) -> usize {
        self.client.server_info().max_payload
    }

    /// Checks that the server has denied no operation.
    ///
    /// # Errors
    /// The server has denied an operation.
    pub fn allowed(&self) -> Result<(), BusError> {
        self.denial.borrow().clone().map_or(Ok(()), |text| Err(BusError::Denied(text)))
    }

    /// Waits until there has been no connection for this long.
    pub async fn gone_for(&self, long: Duration) {
        let mut seen = clock::now();
        while clock::now().saturating_duration_since(seen) < long {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if self.client.connection_state() == State::Connected {
                seen = clock::now();
            }
        }
    }

    /// Waits until the server denies something.
    pub async fn denied(&self) -> BusError {
        let mut denial = self.denial.clone();
        let text = match denial.wait_for(Option::is_some).await {
            Ok(text) => text.clone(),
            // The connection has been dropped.
            Err(_) => None,
        };
        match text {
            Some(text) => BusError::Denied(text),
            None => std::future::pending().await,
        }
    }

    /// Whether the stream of reports exists; `false`: no coordinator has created it yet. An agent asks before it waits
    /// for work.
    ///
    /// # Errors
    /// The server has no JetStream, or denies it.
    pub async fn keeps_reports(&self) -> Result<bool, BusError> {
        match self.unless_denied(self.stored.get_stream(subject::STREAM)).await? {
            Ok(_) => Ok(true),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(why) if why.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    Ok(false)
                }
                _ => Err(BusError::Stream(error.to_string())),
            },
        }
    }

    /// Waits for a reply, or for the server's denial: a denied request gets no reply.
    async fn unless_denied<T>(&self, asked: impl IntoFuture<Output = T>) -> Result<T, BusError> {
        tokio::select! {
            biased;
            answer = asked.into_future() => Ok(answer),
            error = self.denied() => Err(error),
        }
    }

    /// Sends a command to an agent, signed with the coordinator's key, and waits this long for its answer.
    ///
    /// # Errors
    /// There is no agent of this name, or it does not answer in time.
    pub async fn ask(
        &self,
        agent: &Heartbeat,
        order: AgentOrder,
        key: &KeyPair,
        within: Duration,
    ) -> Result<AgentAnswer, BusError> {
        let Heartbeat { agent, nonce, .. } = agent;
        let command = AgentCommand { agent: agent.clone(), nonce: *nonce, order };
        let request = self.client.request(subject::command(agent), sign(&command, key).into());
        let message = tokio::time::timeout(within, request)
            .await
            .map_err(|_| BusError::NoAnswer(format!("{:.1} s are over", within.as_secs_f64())))?
            .map_err(|error| BusError::NoAnswer(error.to_string()))?;
        decode(&message.payload).map_err(|error| BusError::NoAnswer(error.to_string()))
    }

    /// Sends a message to the agents that are subscribed now. Without a connection it is dropped.
    pub async fn say(&self, subject: String, message: Vec<u8>) {
        if self.client.connection_state() == State::Connected {
            self.client.publish(subject, message.into()).await.ok();
        }
    }

    /// Creates the stream of reports, or opens the one that exists.
    ///
    /// # Errors
    /// The server has no JetStream, or denies it.
    pub async fn stream(&self) -> Result<Stream, BusError> {
        let config = Config {
            name: subject::STREAM.to_owned(),
            subjects: vec![subject::REPORTS.to_owned(), subject::RECORDS.to_owned()],
            discard: DiscardPolicy::New,
            duplicate_window: DUPLICATES,
            storage: StorageType::File,
            max_age: KEPT,
            ..Config::default()
        };
        let failed = |error: &dyn std::fmt::Display| BusError::Stream(error.to_string());
        match self.unless_denied(self.stored.get_stream(subject::STREAM)).await? {
            Ok(stream) if stream.cached_info().config.subjects.contains(&subject::RECORDS.to_owned()) => {
                Ok(stream)
            }
            // The stream is from a version that stored no records.
            Ok(_) => {
                self.unless_denied(self.stored.update_stream(config))
                    .await?
                    .map_err(|error| failed(&error))?;
                let stream = self.unless_denied(self.stored.get_stream(subject::STREAM)).await?;
                stream.map_err(|error| failed(&error))
            }
            Err(_) => {
                let made = self.unless_denied(self.stored.create_stream(config)).await?;
                made.map_err(|error| failed(&error))
            }
        }
    }

    /// Stores a report, in parts. A report that is sent again with the same `id` is stored once.
    ///
    /// # Errors
    /// A part of the report is not stored. The report can safely be sent again.
    pub async fn store(&self, subject: &str, id: &str, report: &[u8]) -> Result<(), BusError> {
        let failed = |error: &dyn std::fmt::Display| BusError::NotStored(error.to_string());
        let (size, id) = parts_for(self.most(), id);
        let parts = report.len().div_ceil(size).max(1);
        let mut acknowledgements = Vec::new();
        for (at, part) in (0..parts).map(|at| (at, &report[at * size..report.len().min((at + 1) * size)])) {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Msg-Id", format!("{id}/{at}"));
            headers.insert("Smtpress-Part", format!("{at}/{parts} {id}"));
            let published = self.stored.publish_with_headers(
                subject.to_owned(),
                headers,
                bytes::Bytes::copy_from_slice(part),
            );
            acknowledgements.push(published.await.map_err(|error| failed(&error))?);
        }
        for acknowledgement in acknowledgements {
            let stored = tokio::time::timeout(STORED_WITHIN, acknowledgement.into_future());
            stored.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    /// Reads the reports of a run from the first one on, until the receiver is dropped. After a failure, reading starts
    /// again at the first report.
    ///
    /// # Errors
    /// The stream cannot be read.
    pub async fn follow(&self, run: &str) -> Result<mpsc::UnboundedReceiver<StoredReport>, BusError> {
        let mut reports = self.reports(run).await?;
        let (sender, receiver) = mpsc::unbounded_channel();
        let (bus, run) = (self.clone(), run.to_owned());
        tokio::spawn(async move {
            loop {
                let next = tokio::select! {
                    next = reports.next() => next,
                    () = sender.closed() => return,
                };
                if let Ok(report) = next {
                    sender.send(report).ok();
                    continue;
                }
                tokio::time::sleep(AGAIN).await;
                if let Ok(again) = bus.reports(&run).await {
                    reports = again;
                }
            }
        });
        Ok(receiver)
    }

    async fn reports(&self, run: &str) -> Result<Reports, BusError> {
        let stream = self.stream().await?;
        let config = OrderedConfig {
            filter_subject: subject::reports(run),
            deliver_policy: DeliverPolicy::All,
            ..OrderedConfig::default()
        };
        let failed = |error: &dyn std::fmt::Display| BusError::Stream(error.to_string());
        let consumer = stream.create_consumer(config).await.map_err(|error| failed(&error))?;
        let messages = consumer.messages().await.map_err(|error| failed(&error))?;
        Ok(Reports { messages, parts: BTreeMap::new(), is_read: false })
    }

    /// Returns all reports of a run that are stored now.
    ///
    /// # Errors
    /// The stream cannot be read.
    pub async fn kept(&self, run: &str) -> Result<Vec<StoredReport>, BusError> {
        let mut kept = Vec::new();
        // A consumer of a run without reports would wait without end.
        if self.kept_runs().await?.contains_key(run) {
            let mut reports = self.reports(run).await?;
            while let Some(report) = reports.next_stored().await? {
                kept.push(report);
            }
        }
        Ok(kept)
    }

    /// Returns the runs whose reports are stored, with the number of their messages.
    ///
    /// # Errors
    /// The stream cannot be read.
    pub async fn kept_runs(&self) -> Result<BTreeMap<String, usize>, BusError> {
        let mut runs = BTreeMap::new();
        if !self.keeps_reports().await? {
            return Ok(runs);
        }
        let failed = |error: &dyn std::fmt::Display| BusError::Stream(error.to_string());
        let stream = self.unless_denied(self.stored.get_stream(subject::STREAM)).await?;
        let stream = stream.map_err(|error| failed(&error))?;
        let mut subjects =
            stream.info_with_subjects(subject::REPORTS).await.map_err(|error| failed(&error))?;
        while let Some(next) = subjects.next().await {
            let (subject, messages) = next.map_err(|error| failed(&error))?;
            if let Some(run) = subject::run_of(&subject) {
                *runs.entry(run.to_owned()).or_default() += messages;
            }
        }
        Ok(runs)
    }

    /// Stores the record of a run in place of the stored record with the number `before`; 0: no record is stored.
    /// Returns the number of the new record.
    ///
    /// # Errors
    /// The record is not stored, or another coordinator stored one first.
    pub async fn keep_record(&self, run: &str, record: Vec<u8>, before: u64) -> Result<u64, BusError> {
        let failed = |error: &dyn std::fmt::Display| BusError::NotStored(error.to_string());
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, before.to_string().as_str());
        let kept = self.stored.publish_with_headers(subject::record(run), headers, record.into());
        let kept = kept.await.map_err(|error| failed(&error))?;
        let kept = tokio::time::timeout(STORED_WITHIN, kept.into_future()).await;
        Ok(kept.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?.sequence)
    }

    /// Returns the stored record of a run, and its number.
    ///
    /// # Errors
    /// The stream cannot be read.
    pub async fn record(&self, run: &str) -> Result<Option<(Vec<u8>, u64)>, BusError> {
        if !self.keeps_reports().await? {
            return Ok(None);
        }
        let stream = self.stream().await?;
        match stream.get_last_raw_message_by_subject(&subject::record(run)).await {
            Ok(message) => Ok(Some((message.payload.to_vec(), message.sequence))),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(BusError::Stream(error.to_string())),
        }
    }

    /// Removes all reports and records of a finished run. Failures are ignored.
    pub async fn forget(&self, run: &str) {
        let purged = async {
            if let Ok(stream) = self.stream().await {
                stream.purge().filter(subject::stored(run)).await.ok();
            }
        };
        tokio::time::timeout(FORGOTTEN_WITHIN, purged).await.ok();
    }
}

/// The reader of the stored reports of a run.
struct Reports {
    messages: Ordered,
    /// The parts that have come, by the id of their report.
    parts: BTreeMap<String, BTreeMap<u32, bytes::Bytes>>,
    /// Whether all reports that were stored at the start have been read.
    is_read: bool,
}

/// A complete report.
#[derive(Debug)]
pub struct StoredReport {
    /// The shard of the report.
    pub shard: u32,
    /// The agent that sent the report.
    pub agent: String,
    /// Whether this is the last report of the shard.
    pub is_last: bool,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Reports {
    /// Waits for the next complete report. Cancel safe.
    async fn next(&mut self) -> Result<StoredReport, BusError> {
        loop {
            let message = self.message().await?;
            if let Some(report) = self.take(&message) {
                return Ok(report);
            }
        }
    }

    /// Returns the next complete report among those that are stored now; `None` if there are no more.
    async fn next_stored(&mut self) -> Result<Option<StoredReport>, BusError> {
        while !self.is_read {
            let message = self.message().await?;
            let info = message.info().map_err(|error| BusError::Stream(error.to_string()))?;
            self.is_read = info.pending == 0;
            if let Some(report) = self.take(&message) {
                return Ok(Some(report));
            }
        }
        Ok(None)
    }

    async fn message(&mut self) -> Result<jetstream::Message, BusError> {
        let next =
            self.messages.next().await.ok_or_else(|| BusError::Stream("the reports ended".to_owned()))?;
        next.map_err(|error| BusError::Stream(error.to_string()))
    }

    /// Takes a part; returns the report that it completes.
    fn take(&mut self, message: &jetstream::Message) -> Option<StoredReport> {
        let header = message.headers.as_ref().and_then(|headers| headers.get("Smtpress-Part"));
        let (at, of, id) = header.and_then(|value| part(value.as_str()))?;
        let (shard, agent) = subject::of_report(message.subject.as_str())?;
        let is_last = message.subject.contains(".final.");
        let report = |bytes| StoredReport { shard, agent: agent.to_owned(), is_last, bytes };
        if of == 1 {
            return Some(report(message.payload.to_vec()));
        }
        let key = format!("{} {id}", message.subject);
        let parts = self.parts.entry(key.clone()).or_default();
        parts.insert(at, message.payload.clone());
        if parts.len() != of as usize {
            return None;
        }
        let bytes = parts.values().flatten().copied().collect();
        self.parts.remove(&key);
        Some(report(bytes))
    }
}

/// Adds the credentials of a file to the options of the connection.
fn credentials(options: ConnectOptions, path: &Path) -> Result<ConnectOptions, BusError> {
    let failed = |why: String| BusError::Credentials { path: path.to_owned(), why };
    let text = std::fs::read_to_string(path).map_err(|error| failed(format!("cannot be read: {error}")))?;
    if text.contains("BEGIN NATS USER JWT") {
        return options.credentials(&text).map_err(|error| failed(format!("holds no usable JWT: {error}")));
    }
    let seed = seed(&text).ok_or_else(|| failed("holds no credentials".to_owned()))?;
    Ok(options.nkey(seed.to_owned()))
}

/// Returns the seed of a user's nkey in a text: the line that begins with SU.
pub fn seed(text: &str) -> Option<&str> {
    let is_seed = |line: &&str| line.starts_with("SU") && KeyPair::from_seed(line).is_ok();
    text.lines().map(str::trim).find(is_seed)
}

/// Returns the size of the parts of the report `id` for a server that accepts messages of this size, and the id of the
/// parts: parts of another size are not parts of the same whole.
fn parts_for(most: usize, id: &str) -> (usize, String) {
    match most.saturating_sub(HEADERS) {
        PART.. => (PART, id.to_owned()),
        left => {
            let size = left.max(HEADERS);
            (size, format!("{id}/{size}"))
        }
    }
}

/// Parses `at/of id`.
fn part(header: &str) -> Option<(u32, u32, &str)> {
    let (place, id) = header.split_once(' ')?;
    let (at, of) = place.split_once('/')?;
    let (at, of) = (at.parse().ok()?, of.parse().ok()?);
    (at < of && of <= MOST_PARTS).then_some((at, of, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_fit_into_the_messages_that_the_server_accepts() {
        assert_eq!(parts_for(1 << 20, "r/0/5"), (PART, "r/0/5".to_owned()));
        assert_eq!(parts_for(PART + HEADERS, "r/0/5"), (PART, "r/0/5".to_owned()));
        for most in [PART, 64 * 1024, 8 * 1024] {
            let (size, id) = parts_for(most, "r/0/5");
            assert_eq!((size, id), (most - HEADERS, format!("r/0/5/{size}")));
        }
        assert_eq!(parts_for(0, "r").0, HEADERS);
    }

    #[test]
    fn a_part_says_which_of_how_many_of_what_it_is() {
        assert_eq!(part("0/1 r/0/5"), Some((0, 1, "r/0/5")));
        for wrong in ["", "0/0 x", "1/1 x", "0/1", "0/5000 x", "a/b c", "-1/2 x"] {
            assert_eq!(part(wrong), None, "{wrong}");
        }
    }
}
