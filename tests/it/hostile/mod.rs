//! Listeners that misbehave at every step, in every way that a socket allows, and clients that misbehave with the
//! embedded listener.
//!
//! Each case is one run of one session against a listener that follows a script. Each case must end without a panic or
//! a hang and with little memory (a client soon leaves a listener that sends without end). The counts reconcile (M10,
//! M10b), the outcome and the conditions are right, and the report contains no control characters.
//!
//! The time-out of a step is less than a second if the case is about this time-out. Otherwise it is longer than any
//! case may take. So no result depends on how busy the machine is.

mod clients;
mod every_step;
mod particular;
mod process;
mod secured;
mod server;

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use smtpress::collector::Outcome;
use smtpress::load::LoadModel;
use smtpress::mail::MessageSize;
use smtpress::plan::{Messages, Plan, Unit};
use smtpress::report::stored::json;
use smtpress::report::{BuildInput, RunResult, terminal};
use smtpress::smtp::Step;
use smtpress::smtp::script::{Pipelining, TlsMode};

use crate::runs::testbed::{Told, ms, phase, plan, run_against, shared};
use server::{Act, Server};

/// The time-out of a step that must not time out.
const PATIENCE: Duration = Duration::from_secs(300);
/// The longest time of a case.
const LONGEST: Duration = Duration::from_secs(60);
/// The most bytes that a listener can send before the client leaves it. The kernel's buffers hold some of them.
const MOST: u64 = 24 << 20;
/// The number of cases that run at the same time. They spend most of their time waiting.
const AT_ONCE: usize = 10;

/// One run of one session.
pub struct Case {
    name: String,
    script: Vec<Act>,
    /// The rows of conditions, `step condition outcome`, separated by `, `. The first row is also the end of the
    /// session.
    expected: String,
    pipelining: Pipelining,
    impatient: Option<(Step, Duration)>,
    messages: u32,
    recipients: u32,
    size: u64,
    narrow: bool,
    rests: bool,
    tls: TlsMode,
    /// The certificates that it trusts; `None`: that of the listener.
    trusts: Option<Vec<CertificateDer<'static>>>,
}

impl Case {
    pub fn new(name: impl Into<String>, script: Vec<Act>, expected: impl Into<String>) -> Case {
        Case {
            name: name.into(),
            script,
            expected: expected.into(),
            pipelining: Pipelining::Off,
            impatient: None,
            messages: 1,
            recipients: 1,
            size: 1024,
            narrow: false,
            rests: false,
            tls: TlsMode::None,
            trusts: None,
        }
    }

    /// Sets a short time-out for the reply to this step.
    pub fn impatient(self, step: Step) -> Case {
        Case { impatient: Some((step, ms(400))), ..self }
    }

    /// The session sends nothing and rests.
    pub fn at_rest(self) -> Case {
        Case { rests: true, ..self }
    }

    /// Sends a message of this size to a listener with the smallest possible receive buffer.
    pub fn narrow(self, size: u64) -> Case {
        Case { narrow: true, size, ..self }
    }

    fn plan(&self) -> Plan {
        let (load, length) = if self.rests {
            (LoadModel::Held { sessions: 1, rate: 1000.0 }, Some(ms(2000)))
        } else {
            (shared(1, 1), None)
        };
        let mut plan = plan(vec![phase(load, length, Unit::Session)]);
        plan.threads = 1;
        plan.messages = Messages::Fixed(if self.rests { 0 } else { self.messages });
        plan.mail.recipients = self.recipients;
        plan.mail.size = MessageSize::Fixed(self.size);
        plan.script.pipelining = self.pipelining;
        plan.script.tls = self.tls;
        plan.tls.authorities = Some(self.trusts.clone().unwrap_or_else(|| server::CREDENTIAL.chain.clone()));
        let timeouts = &mut plan.script.timeouts;
        for timeout in [&mut timeouts.greeting, &mut timeouts.command, &mut timeouts.data, &mut timeouts.body]
        {
            *timeout = PATIENCE;
        }
        if let Some((step, wait)) = self.impatient {
            *match step {
                Step::Greeting => &mut timeouts.greeting,
                Step::Data => &mut timeouts.data,
                Step::Body => &mut timeouts.body,
                _ => &mut timeouts.command,
            } = wait;
        }
        plan
    }

    /// Runs the case. The error says what is wrong with the outcome. With a short time-out, an earlier step may time
    /// out on a busy machine; then the case is run again with a longer time-out. A reset can overtake a reply that was
    /// not read yet, because the kernel drops unread bytes; then the case is run again too.
    fn run(&mut self) -> Result<(), String> {
        let mut overtaken = 0;
        loop {
            let (rows, ended) = self.run_once();
            if rows.contains("reset") && !self.expected.contains("reset") && overtaken < 20 {
                overtaken += 1;
                continue;
            }
            match &mut self.impatient {
                Some((step, wait)) if *wait < ms(3000) && is_late_before(*step, &rows) => *wait *= 2,
                _ => return ended,
            }
        }
    }

    fn run_once(&self) -> (String, Result<(), String>) {
        let plan = self.plan();
        let server = Server::start(self.script.clone(), self.narrow);
        let mut sent = 0;
        let told = run_against(&plan, server.addr, || {
            let (taken, bytes) = server.stop();
            sent = bytes;
            Some(taken)
        });
        let rows = rows(&told);
        let mut wrong = Vec::new();
        if rows != self.expected {
            wrong.push(format!("met {rows:?} instead of {:?}", self.expected));
        }
        let outcome: Outcome = rows
            .split(", ")
            .next()
            .and_then(|row| row.rsplit(' ').next()?.parse().ok())
            .unwrap_or(Outcome::Accepted);
        if (told.of(outcome), told.counts().scheduled) != (1, 1) {
            wrong.push(format!("ended as {:?}", told.counts().arrivals));
        }
        if told.measured.took > LONGEST {
            wrong.push(format!("took {:?}", told.measured.took));
        }
        if sent > MOST {
            wrong.push(format!("the listener got rid of {sent} bytes"));
        }
        if let Some(harm) = harm(&plan, &told) {
            wrong.push(format!("the report does harm: {harm:?}"));
        }
        let ended = match wrong.as_slice() {
            [] => Ok(()),
            wrong => Err(format!("{}: {}", self.name, wrong.join("; "))),
        };
        (rows, ended)
    }
}

/// Whether the only row is that a step before this one timed out.
fn is_late_before(step: Step, rows: &str) -> bool {
    rows.strip_suffix(" reply-timeout timed-out")
        .and_then(|late| late.parse().ok())
        .is_some_and(|late: Step| late < step)
}

/// The rows of conditions of a run, in the order of the counts.
fn rows(told: &Told) -> String {
    let rows = told.measured.tally.phases[0].conditions.iter().flat_map(|(key, row)| {
        let text = format!("{} {} {}", key.step, key.condition, key.outcome);
        (0..row.count).map(move |_| text.clone())
    });
    let rows: Vec<String> = rows.collect();
    if rows.is_empty() { "accepted".to_owned() } else { rows.join(", ") }
}

/// Returns the first line of a run's report with a control character, which a terminal would interpret; `None`: there
/// is none.
fn harm(plan: &Plan, told: &Told) -> Option<String> {
    let result = RunResult::build(BuildInput {
        plan,
        measured: &told.measured,
        summary: &told.summary,
        verdict: &told.verdict,
        profile_path: None,
        profile_sha256: String::new(),
        load_sha256: String::new(),
        schedule_sha256: String::new(),
        started_at: Duration::ZERO,
        ledger: None,
    });
    let mut text = Vec::new();
    terminal::write(&result, terminal::TextStyle { width: 80, colour: false, files: None }, &mut text)
        .unwrap();
    let text = String::from_utf8(text).unwrap();
    let json = json::write(&result);
    assert_eq!(json::read(&json).unwrap(), result);
    let obeyed =
        |text: &str| text.split('\n').find(|line| line.chars().any(char::is_control)).map(str::to_owned);
    obeyed(&text).or_else(|| obeyed(&json))
}

/// Runs the cases, a few at a time, and fails with the names of all that are wrong.
pub fn play(cases: Vec<Case>) {
    let count = cases.len();
    let next = Mutex::new(cases.into_iter());
    let wrong = Mutex::new(Vec::new());
    let take = || next.lock().unwrap().next();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(count) {
            scope.spawn(|| {
                while let Some(mut case) = take() {
                    let name = case.name.clone();
                    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| case.run()));
                    let ended = ended.unwrap_or_else(|_| Err(format!("{name}: panicked, see above")));
                    wrong.lock().unwrap().extend(ended.err());
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {count} cases:\n{}", wrong.len(), wrong.join("\n"));
}
