//! `smtpress trace`: one session with its whole transcript, times and meanings.

use std::cell::Cell;
use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde_json::json;

use super::args::TraceArgs;
use super::came_out;
use super::overrides::{allowed, list, quoted};
use super::prepare;
use super::screen::Screen;
use super::transcript::{Speaker, TranscriptWriter};
use crate::command::prepared::embedded;
use crate::command::signals::Requests;
use crate::command::{CommandError, Prepared};
use crate::condition::Classifier;
use crate::condition::Condition;
use crate::delivery::Catcher;
use crate::generator::connector::{Connector, ThreadConnector};
use crate::generator::{clock, failure_class, preflight};
use crate::load::Shard;
use crate::mail::{Mailer, Message};
use crate::net::dial::{Attempt, ConnectFault, Dialed};
use crate::net::drive::{MachineOwner, Scratch, drive};
use crate::net::proxy;
use crate::net::tls::Security;
use crate::plan::silence;
use crate::profile::error::COMMAND_LINE;
use crate::profile::overrides::{OverrideOrigin, apply_in_order};
use crate::profile::{Document, Override, Purpose};
use crate::report::format;
use crate::smtp::auth::LineRedactor;
use crate::smtp::client::{Event, Failure as StepFailure};
use crate::smtp::dialogue::{Dialogue, DialoguePart, without_secret};
use crate::smtp::machine::Handshake;
use crate::smtp::{Client, Reply, Step};
use crate::verdict::ExitCode;

/// Runs one session and shows every line of it.
pub fn trace(args: &TraceArgs, screen: &Screen) -> Result<ExitCode, CommandError> {
    let prepared = prepared(args)?;
    let plan = &prepared.compiled.plan;
    // There is no reachability check before: the listener would see a connection that the transcript does not show.
    preflight::check_allowed(plan)?;
    let listener = if plan.target.is_embedded() {
        let limits = prepared.compiled.listener.clone();
        Some(crate::listener::start(([127, 0, 0, 1], 0).into(), limits, plan.seed, 1)?)
    } else {
        None
    };
    let embedded = listener.as_ref().map(embedded);
    let connector = Connector::new(plan, embedded.as_ref())?.on_thread()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let out: Box<dyn Write> = if args.json { Box::new(std::io::sink()) } else { Box::new(screen.out()) };
    let mailer = Mailer::new(&plan.mail, plan.seed, &plan.run_id, &prepared.date());
    let messages = if args.no_message { 0 } else { 1 };
    let mut session = TracedSession::new(
        TranscriptWriter::new(out, screen.colour_out(), args.full),
        mailer,
        messages,
        connector,
    );
    let receiver = prepared.compiled.receiver.as_ref();
    let start = |settings| Catcher::start(settings, plan.seed, &plan.run_id);
    let catcher = receiver.map(start).transpose()?;
    let longest = receiver.map(|settings| settings.drain).unwrap_or_default();
    session.transcript.title(&plan.target, session.connector.connector().endpoint());
    let reached = runtime.block_on(async {
        let mut requests = Requests::register()?;
        std::io::Result::Ok(tokio::select! {
            reached = session.run(screen) => Some(reached),
            () = requests.next() => None,
        })
    })?;
    let done = session.accepted || args.no_message && !session.failed;
    session.close(reached, done);
    let (began, is_accepted) = (session.started, session.accepted);
    let (caught, given_up) = match &catcher {
        Some(catcher) if is_accepted && reached.is_some() => runtime.block_on(async {
            let mut requests = Requests::register()?;
            std::io::Result::Ok(tokio::select! {
                caught = came_out::wait(catcher, plan.mail.recipients, longest) => (caught, false),
                () = requests.next() => (catcher.caught(), true),
            })
        })?,
        _ => (Vec::new(), false),
    };
    let sent = session.mailer.message(0).content().unwrap_or_default();
    let TracedSession { transcript, steps, tls, lines, addresses, remarks, accepted, .. } = session;
    if let Some(listener) = listener {
        listener.stop();
    }
    // A closed stdout does not change the result.
    let written = transcript.finish();
    if args.json {
        let result = json!({ "target": plan.target.to_string(), "reached": reached.unwrap_or(!lines.is_empty()), "interrupted": reached.is_none() || given_up, "accepted": accepted, "tls": tls, "addresses": addresses, "remarks": remarks, "steps": steps, "lines": lines, "came_out": catcher.as_ref().map(|_| came_out::values(&sent, &caught, began)) });
        writeln!(screen.out(), "{result:#}")?;
    }
    let waited = (!given_up).then_some(longest);
    let is_awaited = catcher.is_some() && is_accepted;
    if is_awaited && !args.json {
        write!(screen.out(), "{}", came_out::text(&sent, &caught, began, waited, args.full))?;
    }
    let done = done && (!is_awaited || came_out::is_whole(&sent, &caught, plan.mail.recipients));
    let code = match (reached, done) {
        (None, _) => ExitCode::Interrupted,
        (Some(true), false) if given_up => ExitCode::Interrupted,
        (Some(false), _) => ExitCode::Preflight,
        (Some(true), true) => ExitCode::Success,
        (Some(true), false) => ExitCode::Failed,
    };
    match written.map_err(CommandError::from) {
        Ok(()) | Err(CommandError::ReaderGone) => Ok(code),
        Err(failure) => Err(failure),
    }
}

/// Returns the plan of one session, compiled like every other plan.
fn prepared(args: &TraceArgs) -> Result<Prepared, CommandError> {
    let mut document = Document::parse(COMMAND_LINE, "")?;
    let hello = if args.helo { "helo" } else { "ehlo" };
    let pipelining = if args.helo { "off" } else { &args.pipelining };
    let mut keys: Vec<(&str, String, String)> = vec![
        ("URL", "target.address".into(), args.url.clone()),
        ("--helo", "session.hello".into(), hello.into()),
        ("--pipelining", "session.pipelining".into(), pipelining.into()),
        ("--recipients", "message.recipients".into(), args.recipients.clone()),
        ("--size", "message.size".into(), args.size.clone()),
    ];
    for step in ["connect", "greeting", "command", "data", "body"].map(|step| ["timeouts.", step].concat()) {
        keys.push(("--timeout", step, args.timeout.clone()));
    }
    for (flag, key, value) in [
        ("--name", "session.name", &args.name),
        ("--from", "message.from", &args.from),
        ("--to", "message.to", &args.to),
        ("--tls", "target.tls", &args.tls),
        ("--ca", "target.tls_options.ca", &args.ca),
        ("--sni", "target.tls_options.sni", &args.sni),
        ("--proxy", "target.proxy", &args.proxy),
    ] {
        if let Some(value) = value {
            keys.push((flag, key.into(), quoted(value)));
        }
    }
    for (flag, given, key, value) in [
        ("--lax-addresses", args.lax_addresses, "message.strict_addresses", "false"),
        ("--smtputf8", args.smtputf8, "session.extensions.smtputf8", "require"),
    ] {
        if given {
            keys.push((flag, key.into(), value.into()));
        }
    }
    if !args.receive.is_empty() {
        keys.push(("--receive", "receive.address".into(), list(&args.receive)));
        keys.push(("--drain", "receive.drain".into(), quoted(&args.drain)));
    }
    if args.no_verify {
        keys.push(("--no-verify", "target.tls_options.verify".into(), "false".into()));
    }
    if let Some(source) = &args.source {
        keys.push(("--source", "target.sources".into(), format!("[{}]", quoted(source))));
    }
    if args.xclient {
        keys.push(("--xclient", "target.xclient".into(), "true".into()));
    }
    // The embedded listener is configured for this session.
    let embedded = args.url == "embedded";
    for (flag, key, given) in
        [("--proxy", "listener.proxy", args.proxy.is_some()), ("--xclient", "listener.xclient", args.xclient)]
    {
        if embedded && given {
            keys.push((flag, key.into(), "true".into()));
        }
    }
    let keys =
        keys.iter().map(|(flag, key, value)| Override::for_key(OverrideOrigin::Flag, flag, key, value));
    let keys = keys.chain(args.login.overrides()).chain(allowed(&args.allow_target));
    apply_in_order(&mut document, keys)?;
    prepare::finish(&document, Purpose::Search, Shard::WHOLE, None)
}

/// Prints the note about a silent listener on stderr.
struct Silence {
    sentence: String,
    patience: Pin<Box<tokio::time::Sleep>>,
    screen: Screen,
}

/// The session in progress, and the state of its transcript.
struct TracedSession {
    started: Instant,
    classifier: Classifier,
    mailer: Arc<Mailer>,
    messages: u32,
    connector: Rc<ThreadConnector>,
    /// The note that is printed if the listener is silent, and the time at which it is printed.
    silence: Option<Silence>,
    transcript: TranscriptWriter,
    /// Completes the lines of the listener, and removes the secret of the login.
    heard: LineRedactor,
    /// Distinguishes content from commands.
    dialogue: Dialogue,
    steps: Vec<serde_json::Value>,
    tls: Option<serde_json::Value>,
    lines: Vec<serde_json::Value>,
    longest: Option<(Duration, Step)>,
    /// Remarks that belong to no step.
    remarks: Vec<String>,
    /// The addresses that were tried, with their results.
    addresses: Vec<serde_json::Value>,
    accepted: bool,
    failed: bool,
}

impl TracedSession {
    fn new(
        transcript: TranscriptWriter,
        mailer: Mailer,
        messages: u32,
        connector: ThreadConnector,
    ) -> TracedSession {
        TracedSession {
            connector: Rc::new(connector),
            silence: None,
            started: clock::now(),
            classifier: Classifier::new(Vec::new()),
            mailer: Arc::new(mailer),
            messages,
            transcript,
            heard: LineRedactor::default(),
            dialogue: Dialogue::default(),
            steps: Vec::new(),
            tls: None,
            lines: Vec::new(),
            longest: None,
            remarks: Vec::new(),
            addresses: Vec::new(),
            accepted: false,
            failed: false,
        }
    }

    /// Runs the session. Returns whether the listener was reached.
    async fn run(&mut self, screen: &Screen) -> bool {
        self.started = clock::now();
        let connector = self.connector.clone();
        let dialed = connector.connect(0, &Cell::new(Step::Dns)).await;
        for (step, from, to, fault) in dialed.steps() {
            let condition = fault.map(|fault| failure_class::classify_dial(fault).condition);
            self.step(step, to - from, None, condition);
        }
        self.reached(&dialed);
        self.line(Speaker::Client, DialoguePart::Command, &proxied(&dialed.header));
        let mut stream = match dialed.result {
            Ok(stream) => stream,
            Err((failed, _)) => return failed == Step::Greeting,
        };
        self.heard = LineRedactor::new(connector.redactor(0));
        let mut client = connector.client(0);
        let plan = connector.connector().plan();
        self.silence = Some(Silence {
            sentence: silence::sentence(&plan.target, silence::first_step(plan)),
            patience: Box::pin(tokio::time::sleep(silence::PATIENCE)),
            screen: *screen,
        });
        let scratch = Scratch::new();
        drive(&mut stream, &mut client, self, &scratch).await;
        let rest = self.heard.rest();
        self.line(Speaker::Listener, DialoguePart::Command, &rest);
        true
    }

    /// Records the result for each address. Writes a remark for each address that failed, unless it is the only one,
    /// and a remark if TCP_NODELAY was refused.
    fn reached(&mut self, dialed: &Dialed) {
        for Attempt { address, from, to, fault } in &dialed.attempts {
            self.addresses.push(json!({
                "address": address.to_string(),
                "took_ns": nanos(*to - *from),
                "failure": fault.map(|fault| fault.to_string()),
            }));
        }
        match dialed.result.as_ref().err() {
            Some((_, fault @ (ConnectFault::Own(_) | ConnectFault::NotAllowed(_)))) => {
                self.remark(&dialed.in_words(*fault), false)
            }
            // For a single address the condition gives the same information.
            Some(_) if dialed.attempts.len() < 2 => {}
            _ => {
                for Attempt { address, fault, .. } in &dialed.attempts {
                    if let Some(fault) = fault {
                        self.remark(&format!("{address}: {fault}"), false);
                    }
                }
            }
        }
        if dialed.refused.no_delay {
            self.remark("this machine refuses TCP_NODELAY: times may hold a delayed acknowledgement", false);
        }
    }

    fn line(&mut self, side: Speaker, part: DialoguePart, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let at = clock::now() - self.started;
        let lines: Vec<String> = bytes.split_inclusive(|byte| *byte == b'\n').map(legible).collect();
        for line in &lines {
            self.lines.push(json!({ "at_ns": nanos(at), "from": side.as_str(), "line": line }));
        }
        self.transcript.said(side, part, at, &lines);
    }

    /// Writes the duration and the meaning of a step.
    fn step(&mut self, step: Step, took: Duration, code: Option<u16>, condition: Option<Condition>) {
        // A failed QUIT does not change what the listener accepted.
        self.failed |= condition.is_some() && step != Step::Quit;
        if self.longest.is_none_or(|(longest, _)| took > longest) {
            self.longest = Some((took, step));
        }
        self.transcript.step(step, took, code, condition);
        self.steps.push(json!({
            "step": step.as_str(),
            "took_ns": nanos(took),
            "code": code,
            "condition": condition.map(Condition::as_str),
        }));
    }

    /// Writes an event that belongs to no step.
    fn remark(&mut self, text: &str, good: bool) {
        let text = format::harmless(text);
        self.transcript.remark(&text, good);
        self.remarks.push(text);
    }

    /// Writes the result of the TLS handshake.
    fn secured(&mut self, handshake: &Handshake) {
        self.transcript.remark(&failure_class::secured(handshake), handshake.untrusted.is_none());
        self.tls = Some(json!({
            "version": handshake.version,
            "suite": handshake.suite,
            "group": handshake.group,
            "resumed": handshake.resumed,
            "untrusted": handshake.untrusted,
        }));
    }

    /// Writes the end of the transcript. `reached` is `None` if the user ended the session.
    fn close(&mut self, reached: Option<bool>, done: bool) {
        let total = clock::now() - self.started;
        let word = match (reached, done, self.accepted) {
            (None, _, true) => "accepted, then interrupted",
            (None, ..) => "interrupted",
            (Some(false), ..) => "not reached",
            (_, true, true) => "accepted",
            (_, true, false) => "done without a message",
            (_, false, _) if self.messages > 0 => "not accepted: the message was never sent",
            (_, false, _) => "not accepted",
        };
        self.transcript.end(word, done, total, self.longest);
    }
}

impl MachineOwner<Client<Message>> for TracedSession {
    fn event(&mut self, client: &mut Client<Message>, _now: Instant, event: Event) {
        match event {
            Event::Step { step, started, ended, code, failure, in_doubt } => {
                self.silence = None;
                let judged = failure
                    .as_deref()
                    .map(|failure| failure_class::classify(&self.classifier, step, failure, in_doubt));
                let code = Some(code).filter(|code| *code > 0);
                self.step(step, ended - started, code, judged.map(|judged| judged.condition));
                let speaks_for_itself = |failure: &&StepFailure| {
                    let is_reply = matches!(failure, StepFailure::Reply(_) | StepFailure::Unexpected(_));
                    is_reply
                        || step != Step::Tls
                            && matches!(failure, StepFailure::Closed(..) | StepFailure::TimedOut(_))
                        || matches!(
                            failure,
                            StepFailure::Aborted
                                | StepFailure::SessionTimedOut
                                | StepFailure::Malformed(_)
                                | StepFailure::Lost(_)
                        )
                };
                if let Some(failure) = failure.as_deref().filter(|failure| !speaks_for_itself(failure)) {
                    self.remark(&self.connector.evidence(0, step, failure), false);
                }
            }
            Event::Ready { early: false } => {
                if self.messages > 0 {
                    self.messages -= 1;
                    client.begin(self.mailer.message(0));
                    if self.messages == 0 {
                        client.finish();
                    }
                } else {
                    client.finish();
                }
            }
            Event::Transaction { accepted, .. } => self.accepted |= accepted,
            Event::Secured(handshake) => self.secured(&handshake),
            Event::SteppedDown { step, reply } => {
                let reply = self.connector.redactor(0).reply(&reply);
                self.remark(&failure_class::stepped_down(step, &reply), false);
            }
            Event::Mixed(_, reply) => {
                self.transcript.remark(&format!("lines with different codes: {}", mixed(&reply)), false);
            }
            Event::Ready { early: true }
            | Event::Established(_)
            | Event::Started(_)
            | Event::Ended { .. } => {}
        }
    }

    fn sent(&mut self, client: &Client<Message>, bytes: &[u8]) {
        if client.is_secret() {
            return self.line(Speaker::Client, DialoguePart::Command, &without_secret(bytes));
        }
        for (part, piece) in run_together(self.dialogue.sent(bytes)) {
            self.line(Speaker::Client, part, &piece);
        }
    }

    fn poll_wake(&mut self, _: &mut Client<Message>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(silence) = self.silence.as_mut()
            && silence.patience.as_mut().poll(cx).is_ready()
        {
            silence.screen.note(&format!("smtpress: {}", silence.sentence));
            self.remarks.push(silence.sentence.clone());
            self.silence = None;
        }
        Poll::Pending
    }

    fn security(&self) -> Option<&Security> {
        self.connector.security()
    }

    fn received(&mut self, bytes: &[u8]) {
        self.dialogue.received(bytes);
        let lines = self.heard.lines(bytes);
        self.line(Speaker::Listener, DialoguePart::Command, &lines);
    }
}

/// Joins neighbouring lines of one kind. The final dot belongs to its content.
fn run_together(pieces: Vec<(DialoguePart, &[u8])>) -> Vec<(DialoguePart, Vec<u8>)> {
    let mut runs: Vec<(DialoguePart, Vec<u8>)> = Vec::new();
    for (part, piece) in pieces {
        let part = if part == DialoguePart::Dot { DialoguePart::Content } else { part };
        match runs.last_mut().filter(|(last, _)| *last == part) {
            Some((_, run)) => run.extend_from_slice(piece),
            None => runs.push((part, piece.to_vec())),
        }
    }
    runs
}

/// Returns the codes of a reply's lines.
fn mixed(reply: &Reply) -> String {
    reply.mixed.iter().map(|code| format!("{code:03}")).collect::<Vec<_>>().join(", ")
}

/// Returns a line without its end and without control characters.
fn legible(line: &[u8]) -> String {
    format::harmless(String::from_utf8_lossy(line).trim_end_matches(['\r', '\n']))
}

/// Returns the PROXY header as a line; empty if there is none.
fn proxied(header: &[u8]) -> Vec<u8> {
    if header.is_empty() { Vec::new() } else { proxy::in_words(header).into_bytes() }
}

fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}
