//! `smtpress trace`: one session with its whole transcript, times and meanings. The document's telnet test, without the telnet.

use std::io::Write;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::args::TraceArgs;
use super::exit::{Failure, PREFLIGHT};
use super::look::Screen;
use super::prepare;
use super::serve::length;
use crate::collector::Condition;
use crate::collector::condition::Classifier;
use crate::generator::{clock, judge, preflight};
use crate::listener::Listener;
use crate::load::Shard;
use crate::mail::{Mailer, Message};
use crate::net::dial::{self, Endpoint, Resolver};
use crate::net::drive::{Host, Scratch, drive};
use crate::net::target::Target;
use crate::plan::Plan;
use crate::profile::overrides::{Origin, apply_in_order};
use crate::profile::{Document, Override, Purpose};
use crate::report::words;
use crate::smtp::client::Event;
use crate::smtp::{Client, Step};

/// The exit code if the dialogue was led and the message was not accepted.
const NOT_ACCEPTED: u8 = 99;

/// Leads one session and shows every line of it.
pub fn trace(args: &TraceArgs, screen: &Screen) -> Result<u8, Failure> {
    let plan = plan(args)?;
    preflight::check_target(&plan)?;
    let listener = match plan.target {
        Target::Embedded => {
            Some(crate::listener::start(([127, 0, 0, 1], 0).into(), Default::default(), plan.seed, 1)?)
        }
        Target::Smtp { .. } => None,
    };
    let endpoint = endpoint(&plan, listener.as_ref().map(Listener::addr));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut out: Box<dyn Write> = if args.json { Box::new(std::io::sink()) } else { Box::new(screen.out()) };
    let ink = Ink { colour: screen.colour_out() };
    writeln!(out, "{}", ink.bold(&format!("{} ({}:{})", plan.target, endpoint.host, endpoint.port)))?;
    let mut session = Session {
        begun: clock::now(),
        classifier: Classifier::new(Vec::new()),
        mailer: Arc::new(Mailer::new(&plan.mail, plan.seed, &plan.run_id, "Thu, 01 Jan 1970 00:00:00 +0000")),
        messages: if args.no_message { 0 } else { 1 },
        out,
        ink,
        steps: Vec::new(),
        lines: Vec::new(),
        accepted: false,
        failed: false,
        broken: None,
    };
    let reached = runtime.block_on(session.lead(&plan, &endpoint));
    if let Some(error) = session.broken.take() {
        return Err(error.into());
    }
    let done = session.accepted || args.no_message && !session.failed;
    if args.json {
        let result = json!({ "target": plan.target.to_string(), "accepted": session.accepted, "steps": session.steps, "lines": session.lines });
        writeln!(screen.out(), "{result:#}")?;
    } else {
        session.close(done)?;
    }
    if let Some(listener) = listener {
        listener.stop();
    }
    Ok(match (reached, done) {
        (false, _) => PREFLIGHT,
        (true, true) => 0,
        (true, false) => NOT_ACCEPTED,
    })
}

/// The plan of one session, made by the same rules as any other.
fn plan(args: &TraceArgs) -> Result<Plan, Failure> {
    let mut document = Document::parse("command line", "")?;
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let hello = if args.helo { "helo" } else { "ehlo" };
    let pipelining = if args.helo { "off" } else { &args.pipelining };
    let mut keys = vec![
        ("URL", "target.address", args.url.clone()),
        ("--helo", "session.hello", hello.into()),
        ("--pipelining", "session.pipelining", pipelining.into()),
        ("--recipients", "message.recipients", args.recipients.clone()),
        ("--size", "message.size", args.size.clone()),
    ];
    length(&args.timeout)?;
    for step in ["connect", "greeting", "command", "data", "body"] {
        keys.push((
            "--timeout",
            match step {
                "connect" => "timeouts.connect",
                "greeting" => "timeouts.greeting",
                "command" => "timeouts.command",
                "data" => "timeouts.data",
                _ => "timeouts.body",
            },
            args.timeout.clone(),
        ));
    }
    for (flag, key, value) in [
        ("--name", "session.name", &args.name),
        ("--from", "message.from", &args.from),
        ("--to", "message.to", &args.to),
    ] {
        if let Some(value) = value {
            keys.push((flag, key, quoted(value)));
        }
    }
    if !args.allow_target.is_empty() {
        let hosts: Vec<String> = args.allow_target.iter().map(|host| quoted(host)).collect();
        keys.push(("--allow-target", "target.allow", format!("[{}]", hosts.join(", "))));
    }
    apply_in_order(
        &mut document,
        keys.into_iter().map(|(flag, key, value)| Override::for_key(Origin::Flag, flag, key, &value)),
    )?;
    Ok(prepare::finish(&document, Purpose::Search, Shard::WHOLE, None)?.compiled.plan)
}

fn endpoint(plan: &Plan, listener: Option<SocketAddr>) -> Endpoint {
    let (host, port) = match (&plan.target, listener) {
        (Target::Smtp { host, port }, _) => (host.as_str().into(), *port),
        (Target::Embedded, listener) => {
            let address = listener.expect("the listener was started for this target");
            (address.ip().to_string().into(), address.port())
        }
    };
    Endpoint { host, port, resolver: Resolver::System, timeout: plan.script.timeouts.connect }
}

/// How text is marked.
#[derive(Clone, Copy)]
struct Ink {
    colour: bool,
}

impl Ink {
    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }
}

/// The session under way, and the paper it is written on.
struct Session {
    begun: Instant,
    classifier: Classifier,
    mailer: Arc<Mailer>,
    messages: u32,
    out: Box<dyn Write>,
    ink: Ink,
    steps: Vec<serde_json::Value>,
    lines: Vec<serde_json::Value>,
    accepted: bool,
    failed: bool,
    /// The paper is gone.
    broken: Option<std::io::Error>,
}

impl Session {
    /// True: the listener was reached.
    async fn lead(&mut self, plan: &Plan, endpoint: &Endpoint) -> bool {
        self.begun = clock::now();
        let dialed = dial::dial(endpoint, clock::now).await;
        for (step, span) in [(Step::Dns, dialed.dns), (Step::Connect, dialed.connect)] {
            let Some((from, to)) = span else { continue };
            let fault = dialed.result.as_ref().err().filter(|(failed, _)| *failed == step);
            let condition = fault.and_then(|(_, fault)| judge::judge_dial(*fault).condition);
            self.step(step, to - from, None, condition);
        }
        let Ok(mut stream) = dialed.result else { return false };
        let mut client = Client::new(Rc::new(plan.script.clone()), clock::now());
        let scratch = Scratch::new();
        drive(&mut stream, &mut client, self, &scratch).await;
        true
    }

    fn write(&mut self, line: &str) {
        if let Err(error) = writeln!(self.out, "{line}") {
            self.broken.get_or_insert(error);
        }
    }

    fn said(&mut self, who: &str, bytes: &[u8]) {
        const SHOWN: usize = 14;
        let at = clock::now() - self.begun;
        let count = bytes.split_inclusive(|b| *b == b'\n').count();
        for (index, line) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
            let text = String::from_utf8_lossy(line);
            let text = words::harmless(text.trim_end_matches(['\r', '\n']));
            self.lines.push(json!({ "at_ns": nanos(at), "from": if who == "C:" { "client" } else { "listener" }, "line": text }));
            // Of a long content the beginning and the end are enough.
            if count > SHOWN + 3 && index >= SHOWN && index + 2 < count {
                if index == SHOWN {
                    let note = format!("{:>10}     ... {} more lines ...", "", count - SHOWN - 2);
                    let note = self.ink.dim(&note);
                    self.write(&note);
                }
                continue;
            }
            let time = if index == 0 { words::duration(at.as_nanos() as f64) } else { String::new() };
            let who = if who == "C:" { self.ink.paint("36", who) } else { self.ink.paint("33", who) };
            let line = format!("{}  {who} {text}", self.ink.dim(&format!("{time:>10}")));
            self.write(&line);
        }
    }

    /// What a step took and what its end means.
    fn step(&mut self, step: Step, took: Duration, code: Option<u16>, condition: Option<Condition>) {
        let took_text = words::duration(took.as_nanos() as f64);
        let text = match condition {
            Some(condition) => {
                self.failed = true;
                self.ink.paint(
                    "31",
                    &format!("{step} failed after {took_text}: {condition} - {}", condition.meaning()),
                )
            }
            None => self.ink.dim(&format!("{step} {took_text}")),
        };
        let line = format!("{:>10}     {text}", "");
        self.write(&line);
        self.steps.push(json!({
            "step": step.as_str(),
            "took_ns": nanos(took),
            "code": code,
            "condition": condition.map(Condition::as_str),
        }));
    }

    fn close(&mut self, done: bool) -> Result<(), Failure> {
        let total = words::duration((clock::now() - self.begun).as_nanos() as f64);
        let text = match (done, self.accepted) {
            (true, true) => self.ink.paint("1;32", "accepted"),
            (true, false) => self.ink.paint("1;32", "done"),
            (false, _) => self.ink.paint("1;31", "not accepted"),
        };
        writeln!(self.out, "{text}, the session took {total}")?;
        Ok(())
    }
}

impl Host<Client<Message>> for Session {
    fn event(&mut self, client: &mut Client<Message>, _now: Instant, event: Event) {
        match event {
            Event::Step { step, started, ended, failure, in_doubt } => {
                let judged =
                    failure.as_deref().map(|failure| judge::judge(&self.classifier, step, failure, in_doubt));
                let code = failure.as_deref().and_then(judge::reply).map(|reply| reply.code);
                self.step(step, ended - started, code, judged.and_then(|judged| judged.condition));
            }
            Event::Ready { early: false } => {
                if self.messages > 0 {
                    self.messages -= 1;
                    client.begin(self.mailer.message(0));
                } else {
                    client.finish();
                }
            }
            Event::Transaction { accepted, .. } => self.accepted |= accepted,
            Event::Ready { early: true } | Event::Established | Event::Begun(_) | Event::Ended { .. } => {}
        }
    }

    fn sent(&mut self, bytes: &[u8]) {
        self.said("C:", bytes);
    }

    fn received(&mut self, bytes: &[u8]) {
        self.said("S:", bytes);
    }
}

fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}
