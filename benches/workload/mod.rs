//! What the benches of the parts run: the same work for wall-clock time, instruction counts and allocations.
//!
//! Nothing here measures. Each part is a value that stands ready and a method that does a fixed amount of work, so that
//! a figure can be divided by it. The clock is virtual: what is measured is our code, not the reading of time.

#![expect(
    dead_code,
    clippy::unwrap_used,
    reason = "each bench that shares these uses a part of them, and what fails here ends it"
)]

mod pair;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use smtpress::collector::recorder::Recorder;
use smtpress::collector::snapshot::Gauges;
use smtpress::collector::tally::Tally;
use smtpress::collector::{Metric, Outcome};
use smtpress::condition::Condition;
use smtpress::condition::classify;
use smtpress::load::{Curve, LoadModel, PhaseLoad, Schedule, Shard, Spacing};
use smtpress::mail::files::HELD;
use smtpress::mail::{
    Body, Corpus, List, Mailboxes, Mailer, Message, MessageSize, Order, Reading, Source, Spec,
};
use smtpress::smtp::reply::Scanner;
use smtpress::smtp::script::{Pipelining, Script, Timeouts};
use smtpress::smtp::{Content, Reply, Step};
use tempfile::TempDir;

pub use pair::Pair;

/// The size of every message, in bytes.
pub const MESSAGE: u64 = 1024;
/// The seed of all that is drawn.
pub const SEED: u64 = 42;
/// The Date of all messages.
pub const DATE: &str = "Thu, 01 Jan 2026 00:00:00 +0000";
/// The steps that a transaction in a session at rest goes through.
const STEPS: [Step; 4] = [Step::Mail, Step::Rcpt, Step::Data, Step::Body];
/// What a listener says to a transaction, as it comes when the client groups: four replies in one read.
const REPLIES: &[u8] =
    b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n250 2.0.0 Ok: queued as 4ZcKp31x2Bz\r\n";
/// The same bytes cut where a network might.
const CUT: [usize; 3] = [7, 30, 71];

/// The scanner of replies.
pub struct Scan {
    scanner: Scanner,
    whole: Vec<&'static [u8]>,
    cut: Vec<&'static [u8]>,
}

impl Scan {
    /// Replies in one piece, and in four.
    pub fn new() -> Scan {
        let edges = [0].into_iter().chain(CUT).zip(CUT.into_iter().chain([REPLIES.len()]));
        let cut = edges.map(|(from, to)| &REPLIES[from..to]).collect();
        Scan { scanner: Scanner::default(), whole: vec![REPLIES], cut }
    }

    /// Reads the four replies of a transaction that came in one read; returns the sum of their codes.
    pub fn whole(&mut self) -> u32 {
        scan(&mut self.scanner, &self.whole)
    }

    /// Reads the same four replies, cut within their lines.
    pub fn cut(&mut self) -> u32 {
        scan(&mut self.scanner, &self.cut)
    }
}

fn scan(scanner: &mut Scanner, pieces: &[&[u8]]) -> u32 {
    let mut sum = 0;
    for piece in pieces {
        let mut input = black_box(*piece);
        while let Some(reply) = scanner.scan(&mut input) {
            sum += u32::from(reply.unwrap().code);
        }
    }
    sum
}

/// The classifier, over refusals of real listeners.
pub struct Classify {
    replies: Vec<(Option<Step>, Reply)>,
}

#[derive(Deserialize)]
struct Known {
    reply: String,
    phase: String,
}

impl Classify {
    /// The replies of the test corpus.
    pub fn new() -> Classify {
        let known = include_str!("../../tests/data/replies.jsonl").lines().map(|line| {
            let Known { reply, phase } = serde_json::from_str(line).unwrap();
            (phase.parse().ok(), Reply::parse(&reply).unwrap())
        });
        Classify { replies: known.collect() }
    }

    /// How many replies one [`run`](Classify::run) names.
    pub fn len(&self) -> u64 {
        self.replies.len() as u64
    }

    /// Names every reply; returns how many have a name of their own.
    pub fn run(&self) -> u64 {
        let vague = [Condition::DeferredUnspecified, Condition::RejectedUnspecified];
        let named = |(step, reply): &&(Option<Step>, Reply)| {
            !vague.contains(&classify(*step, black_box(reply), false))
        };
        self.replies.iter().filter(named).count() as u64
    }
}

/// The schedule of an open load.
pub struct Arrivals {
    schedule: Schedule,
}

impl Arrivals {
    /// 5,000 a second on a ramp that never gets steep, for longer than any bench.
    pub fn new(spacing: Spacing) -> Arrivals {
        let hour = Duration::from_secs(3600);
        let curve = Curve { points: vec![(Duration::ZERO, 4_000.0), (hour, 6_000.0)] };
        let phase = PhaseLoad { model: LoadModel::Rate { curve, spacing }, length: Some(hour * 100) };
        Arrivals { schedule: Schedule::new(&[phase], SEED, Shard::WHOLE) }
    }

    /// The next `n` arrivals; returns the number of the last.
    pub fn run(&mut self, n: u64) -> u64 {
        (0..n).fold(0, |_, _| self.schedule.take(Duration::ZERO).unwrap().seq)
    }
}

/// What the messages are.
pub fn spec() -> Spec {
    Spec {
        from: "load@sender.example".into(),
        to: "user{n}@recipient.example".into(),
        recipients: 1,
        size: MessageSize::Fixed(MESSAGE),
        ..Spec::default()
    }
}

fn mailer() -> Arc<Mailer> {
    Arc::new(Mailer::new(&spec(), SEED, "bench-run", DATE))
}

/// What the sessions say; none grows too old.
pub fn script(pipelining: Pipelining) -> Script {
    let session = Duration::from_secs(u64::from(u32::MAX));
    Script {
        name: "client.example".into(),
        pipelining,
        timeouts: Timeouts { session, ..Timeouts::default() },
        ..Script::default()
    }
}

/// The rendering of messages.
pub struct Render {
    mailer: Arc<Mailer>,
    out: Vec<u8>,
    n: u64,
    /// What it reads from.
    _folder: Option<Arc<TempDir>>,
}

impl Render {
    /// With a buffer that is large enough.
    pub fn new() -> Render {
        Render { mailer: mailer(), out: Vec::with_capacity(4 * MESSAGE as usize), n: 0, _folder: None }
    }

    /// Every other kind of message, by its name.
    pub fn kinds() -> Vec<(&'static str, Render)> {
        let folder = Arc::new(tempfile::tempdir().expect("there is room for a few files"));
        let write = |name: &str, bytes: u64| {
            let path = folder.path().join(name);
            let head = "Subject: a\n\n.line\n".repeat(5000);
            std::fs::write(&path, head)
                .and_then(|()| std::fs::File::options().write(true).open(&path)?.set_len(bytes))
        };
        let corpus =
            |name: &str| Corpus::read(&folder.path().join(name)).map(Arc::new).expect("the files are there");
        write("held.eml", 90_000).expect("there is room");
        let held = corpus("held.eml");
        // Larger than what is held.
        write("large.eml", HELD + 1).expect("there is room");
        let files = |corpus| Body::Files { corpus, order: Order::Random };
        let list = List::parse(b"a@x.example\nb@x.example\n", Reading::default())
            .map(Arc::new)
            .expect("these are mailboxes");
        let text = "{n} {session} {run} {date} {random:20}\n";
        let bodies = [
            ("text", Body::Text { text: text.into(), filled: false }),
            ("text and words", Body::Text { text: text.into(), filled: true }),
            ("attachments", Body::Attached { text: text.into(), attachments: vec![100_000] }),
            ("files held", files(held)),
            ("files read", files(corpus("large.eml"))),
        ];
        let render = |(name, body)| {
            let listed = Mailboxes { source: Source::List(list.clone()), order: Order::Random };
            let spec = Spec {
                from: listed.clone(),
                to: listed,
                headers: vec!["X-A: {session} {n:1..50} {random:8}".into()],
                body,
                size: MessageSize::LogNormal { median: 20_000, sigma: 1.0, min: 1000, max: 200_000 },
                ..Spec::default()
            };
            let mailer = Arc::new(Mailer::new(&spec, SEED, "bench-run", DATE));
            (name, Render { mailer, out: Vec::with_capacity(1 << 20), n: 0, _folder: Some(folder.clone()) })
        };
        bodies.into_iter().map(render).collect()
    }

    /// Envelope and content of the next message as they go over the wire; returns their bytes.
    pub fn run(&mut self) -> usize {
        self.n += 1;
        let message: Message = self.mailer.message(black_box(self.n));
        self.out.clear();
        message.sender(&mut self.out);
        message.recipient(0, &mut self.out);
        let mut offset = 0;
        // Of a message of many megabytes the first pieces are as good as all.
        while offset < message.size().min(500_000) {
            offset = message.body(offset, &mut self.out).expect("made of words, it is always there");
        }
        black_box(&self.out).len()
    }
}

/// The recorder of a generator thread, used as the generator uses it.
pub struct Recording {
    recorder: Recorder,
    total: Tally,
    second: u64,
    draw: u64,
}

impl Recording {
    /// Recording of one phase, their distributions in use.
    pub fn new() -> Recording {
        let mut recording =
            Recording { recorder: Recorder::new(1, 0), total: Tally::new(1), second: 0, draw: SEED };
        recording.message();
        recording.second();
        recording.message();
        recording
    }

    /// What one accepted message enters: four steps, four times of the arrival, and its counts.
    pub fn message(&mut self) {
        for step in STEPS {
            let ns = self.ns();
            self.step(step, ns);
        }
        self.started();
        let ns = self.ns();
        self.over(ns);
    }

    /// One step of a transaction, accepted.
    pub fn step(&mut self, step: Step, ns: u64) {
        self.recorder.value(0, Metric::Step(step), Outcome::Accepted, Duration::from_nanos(ns));
        if step == Step::Rcpt {
            self.recorder.counts(0).recipients_accepted += 1;
        }
    }

    /// An arrival that begins.
    pub fn started(&mut self) {
        let counts = self.recorder.counts(0);
        counts.scheduled += 1;
        counts.started += 1;
        counts.attempted += 1;
    }

    /// An arrival that is accepted, `ns` after it began.
    pub fn over(&mut self, ns: u64) {
        let late = ns / 16;
        for (metric, ns) in
            [(Metric::Response, ns + late), (Metric::Service, ns), (Metric::Lag, late), (Metric::Wait, 0)]
        {
            self.recorder.value(0, metric, Outcome::Accepted, Duration::from_nanos(ns));
        }
        let counts = self.recorder.counts(0);
        counts.arrivals.add(Outcome::Accepted);
        counts.transactions.add(Outcome::Accepted);
        counts.service_ns += u128::from(ns);
    }

    /// The end of a second: a snapshot, added to the total and given back.
    pub fn second(&mut self) {
        let snapshot = self.recorder.snapshot(self.second, Gauges::default(), false);
        self.second += 1;
        self.total += &snapshot.tally;
        self.recorder.reclaim(snapshot);
    }

    /// Arrivals accepted up to the last second's end.
    pub fn accepted(&self) -> u64 {
        self.total.phases[0].counts.arrivals.of(Outcome::Accepted)
    }

    /// A time between 20 us and 1 ms, another each time.
    fn ns(&mut self) -> u64 {
        self.draw = self.draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        20_000 + (self.draw >> 44)
    }
}
