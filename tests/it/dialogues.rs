//! Runs the dialogues in `tests/dialogues/*.txt` against the client machine, under a virtual clock.
//!
//! Every dialogue runs with the listener's bytes as they stand, cut once at every byte position, and byte by byte:
//! what is written, what is reported and the close must be the same each time. `tests/dialogues/README.md` has the format.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::panic::catch_unwind;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use smtpress::smtp::Step;
use smtpress::smtp::auth::{Login, Mechanism, Secret};
use smtpress::smtp::client::{Event, Failure, Lacking};
use smtpress::smtp::extensions::{Chunking, DeliverBy, Dsn, Use, Wishes};
use smtpress::smtp::machine::{Close, Closed, Insecure, Machine};
use smtpress::smtp::script::{
    Aside, Hello, Pipelining, Protocol, Quit, Script, SessionIdentity, TlsMode, Verify,
};

use crate::virtual_wire::{Mail, Owner, Wire};

#[derive(Clone, Debug)]
struct Dialogue {
    title: String,
    script: Script,
    identity: SessionIdentity,
    owner: Owner,
    moves: Vec<Move>,
}

#[derive(Clone, Debug)]
enum Move {
    /// The client writes exactly this, in one `Need::Write`.
    Client(String),
    /// The listener sends this.
    Server(Vec<u8>),
    ServerCloses(Closed),
    /// The client reported these events, in this order, after the moves before.
    Events(Vec<String>),
    Pass(Duration),
    /// How the TLS handshake ends; `None`: with success.
    Tls(Option<Insecure>),
    Kernel {
        holds: bool,
    },
    /// The kernel takes some of the bytes, and holds the rest.
    Progress,
    /// Calls of the owner, with no poll between them.
    Owner(Vec<Call>),
    Closes(Close),
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Begin(Mail),
    Finish,
    Abort,
    Pool,
    Hold,
}

/// How the listener's bytes are cut.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Nowhere,
    /// Once, before this byte of all bytes that the listener sends.
    Before(usize),
    Everywhere,
}

#[test]
fn every_dialogue_is_the_same_however_the_bytes_are_cut() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    let mut failures = String::new();
    let mut ran = 0;
    for path in files {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        for dialogue in parse(&std::fs::read_to_string(&path).unwrap(), &file) {
            ran += 1;
            match catch_unwind(|| run_with_all_cuts(&dialogue)) {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => writeln!(failures, "{}: {failure}\n", dialogue.title).unwrap(),
                Err(_) => writeln!(failures, "{}: panicked, see above\n", dialogue.title).unwrap(),
            }
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
    assert!(ran > 50, "only {ran} dialogues found");
}

fn run_with_all_cuts(dialogue: &Dialogue) -> Result<(), String> {
    run(dialogue, Cut::Nowhere)?;
    let bytes: usize =
        dialogue.moves.iter().map(|m| if let Move::Server(bytes) = m { bytes.len() } else { 0 }).sum();
    for cut in (1..bytes).map(Cut::Before).chain([Cut::Everywhere]) {
        run(dialogue, cut).map_err(|failure| format!("only when cut {cut:?}: {failure}"))?;
    }
    Ok(())
}

fn run(dialogue: &Dialogue, cut: Cut) -> Result<(), String> {
    let script = Rc::new(dialogue.script.clone());
    let mut wire = Wire::speaking_as(script, dialogue.identity.clone(), dialogue.owner.clone());
    let (mut written, mut heard, mut sent) = (0, 0, 0);
    for (at, step) in dialogue.moves.iter().enumerate() {
        let fail = |what: String| Err(format!("move {}, {step:?}: {what}", at + 1));
        match step {
            Move::Client(expected) => {
                let write = wire.writes.get(written).map(|bytes| String::from_utf8_lossy(bytes));
                written += 1;
                if write.as_deref() != Some(expected) {
                    return fail(format!("wrote {write:?}; told so far {:?}", told(&wire.events)));
                }
                continue;
            }
            Move::Events(expected) => {
                let events = told(&wire.events[heard..]);
                if events.get(..expected.len()) != Some(expected) {
                    return fail(format!("told {events:?}"));
                }
                heard += expected.len();
                continue;
            }
            Move::Closes(how) if wire.closed != Some(*how) => return fail(format!("{:?}", wire.closed)),
            Move::Closes(_) => continue,
            _ => {}
        }
        if let Some(more) = wire.writes.get(written) {
            return fail(format!("wrote before it {:?}", String::from_utf8_lossy(more)));
        }
        if wire.closed.is_some() {
            return fail(format!("closed before it; told {:?}", told(&wire.events)));
        }
        match step {
            Move::Server(bytes) => {
                match cut {
                    Cut::Before(cut) if cut > sent && cut < sent + bytes.len() => {
                        wire.receive(&bytes[..cut - sent]);
                        wire.receive(&bytes[cut - sent..]);
                    }
                    Cut::Everywhere => bytes.chunks(1).for_each(|byte| wire.receive(byte)),
                    Cut::Nowhere | Cut::Before(_) => wire.receive(bytes),
                }
                sent += bytes.len();
                continue;
            }
            Move::ServerCloses(how) => wire.close(*how),
            Move::Pass(time) => wire.pass(*time),
            Move::Tls(how) => {
                if !wire.secures {
                    return fail("no handshake was asked for".into());
                }
                wire.secured(how.clone());
            }
            Move::Kernel { holds } => {
                wire.holds = *holds;
                if !holds {
                    wire.written();
                }
            }
            Move::Progress => wire.client.handle_progress(wire.now),
            Move::Owner(calls) => {
                for call in calls {
                    match call {
                        Call::Begin(mail) => wire.begin(*mail),
                        Call::Finish => wire.client.finish(),
                        Call::Abort => wire.client.abort(wire.now),
                        Call::Pool => wire.client.retire_when_expired(),
                        Call::Hold => wire.client.hold_open(),
                    }
                }
            }
            Move::Client(_) | Move::Events(_) | Move::Closes(_) => {}
        }
        wire.settle();
    }
    let (writes, events) = (&wire.writes[written..], told(&wire.events[heard..]));
    if !writes.is_empty() || !events.is_empty() {
        let writes: Vec<_> = writes.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect();
        return Err(format!("left over: told {events:?}, wrote {writes:?}"));
    }
    Ok(())
}

/// Returns the events in the notation of the dialogues.
fn told(events: &[Event]) -> Vec<String> {
    events.iter().map(tell).collect()
}

fn tell(event: &Event) -> String {
    match event {
        Event::Step { step, started, ended, failure, in_doubt, .. } => {
            let failure = match failure.as_deref() {
                None => "ok".into(),
                Some(Failure::Reply(reply)) => format!("refused {}", reply.code),
                Some(Failure::Challenged { reply, challenge, understood }) => {
                    let how = if *understood { "refused" } else { "not understood" };
                    format!("{how} {} {challenge:?}", reply.code)
                }
                Some(Failure::Unexpected(reply)) => format!("unexpected {}", reply.code),
                Some(Failure::Surplus(reply)) => format!("surplus {}", reply.code),
                Some(Failure::Missing { came, due, .. }) => format!("missing after {came} of {due}"),
                Some(Failure::TimedOut(evidence)) if evidence.is_empty() => "timed-out".into(),
                Some(Failure::TimedOut(evidence)) => format!("timed-out {evidence:?}"),
                Some(Failure::SessionTimedOut) => "session-timed-out".into(),
                Some(Failure::Closed(how, partial)) if partial.is_empty() => {
                    format!("closed {how:?}").to_lowercase()
                }
                Some(Failure::Closed(how, partial)) => format!("closed {how:?} {partial:?}").to_lowercase(),
                Some(Failure::Malformed(malformed)) => {
                    format!("malformed {:?}", malformed.fault).to_lowercase()
                }
                Some(Failure::NotOffered(Lacking::Extension(keyword))) => format!("lacks {keyword}"),
                Some(Failure::NotOffered(what)) => format!("lacks {what:?}").to_lowercase(),
                Some(Failure::Injected(bytes)) => format!("injected {bytes:?}"),
                Some(Failure::Insecure(Insecure::Alert(alert))) => format!("alert {alert}"),
                Some(Failure::Insecure(_)) => "insecure".into(),
                Some(Failure::Lost(why)) => format!("lost {why}"),
                Some(Failure::Aborted) => "aborted".into(),
            };
            let took = ended.duration_since(*started);
            let took = if took.is_zero() { String::new() } else { format!(" in {}s", took.as_secs_f64()) };
            format!("{step} {failure}{took}{}", if *in_doubt { " in-doubt" } else { "" })
        }
        Event::Mixed(step, reply) => format!("{step} mixed {}", reply.code),
        Event::Secured(_) => "secured".into(),
        Event::SteppedDown { step, reply } => format!("{step} again {}", reply.code),
        Event::Established(_) => "established".into(),
        Event::Ready { early } => if *early { "ready early" } else { "ready" }.into(),
        Event::Started(_) => "started".into(),
        Event::Transaction { accepted, .. } => if *accepted { "accepted" } else { "lost" }.into(),
        Event::Ended { by_peer } => if *by_peer { "ended by peer" } else { "ended" }.into(),
    }
}

/// Reads a file of dialogues.
fn parse(text: &str, file: &str) -> Vec<Dialogue> {
    let mut dialogues: Vec<Dialogue> = Vec::new();
    // Adjacent lines of one kind are one move; any other line between them separates them.
    let mut joins = false;
    for (number, line) in text.lines().enumerate() {
        let at = || format!("{file}:{}: {line:?}", number + 1);
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(title) = line.strip_prefix("== ") {
            dialogues.push(Dialogue {
                title: format!("{file}:{}: {title}", number + 1),
                script: Script {
                    name: "client.test".into(),
                    pipelining: Pipelining::Off,
                    ..Script::default()
                },
                identity: SessionIdentity::default(),
                owner: Owner::default(),
                moves: Vec::new(),
            });
            joins = false;
            continue;
        }
        let dialogue = dialogues.last_mut().unwrap_or_else(|| panic!("{}: no title yet", at()));
        for line in expand(line, dialogue.script.hello) {
            if line == "--" {
                joins = false;
                continue;
            }
            let (key, value) = line.split_once(':').unwrap_or_else(|| panic!("{}: no colon", at()));
            let value = value.trim();
            match (key, dialogue.moves.last_mut()) {
                ("C", Some(Move::Client(text))) if joins => {
                    text.push_str(value);
                    text.push_str("\r\n");
                    continue;
                }
                ("S", Some(Move::Server(bytes))) if joins && !value.starts_with('<') => {
                    bytes.extend(wire_form(value));
                    continue;
                }
                _ => {}
            }
            joins = true;
            let step = match key {
                "script" => {
                    for word in value.split(' ') {
                        dialogue.script(word).unwrap_or_else(|| panic!("{}: script word {word}", at()));
                    }
                    continue;
                }
                "mails" => {
                    let mails = value.split(' ').zip(1..).map(|(word, number)| mail(word, number));
                    dialogue.owner.mails =
                        mails.collect::<Option<VecDeque<_>>>().unwrap_or_else(|| panic!("{}", at()));
                    continue;
                }
                "C" => Move::Client(format!("{value}\r\n")),
                "S" => match value {
                    "<close>" => Move::ServerCloses(Closed::Eof),
                    "<reset>" => Move::ServerCloses(Closed::Reset),
                    _ => Move::Server(wire_form(value)),
                },
                "EVENT" => Move::Events(value.split("; ").map(str::to_owned).collect()),
                "TLS" => Move::Tls(match value.split_once(' ').unwrap_or((value, "")) {
                    ("ok", _) => None,
                    ("alert", alert) => Some(Insecure::Alert(alert.into())),
                    ("clear-text", text) => Some(Insecure::ClearText(wire_form(text))),
                    _ => panic!("{}: unknown end of a handshake", at()),
                }),
                "T" => Move::Pass(
                    value.strip_prefix('+').and_then(duration).unwrap_or_else(|| panic!("{}", at())),
                ),
                "KERNEL" if value == "takes some" => Move::Progress,
                "KERNEL" => Move::Kernel { holds: value == "holds" },
                "OWNER" => {
                    let calls = value.split("; ").map(call).collect::<Option<_>>();
                    Move::Owner(calls.unwrap_or_else(|| panic!("{}: unknown call", at())))
                }
                "CLOSE" => Move::Closes(if value == "reset" { Close::Reset } else { Close::Clean }),
                _ => panic!("{}: unknown", at()),
            };
            dialogue.moves.push(step);
        }
    }
    dialogues
}

/// Every parameter of MAIL and RCPT.
fn everything(wanted: Use) -> Wishes {
    Wishes {
        chunking: Chunking::default(),
        size: wanted,
        eight_bit: wanted,
        binary: Use::Off,
        utf8: wanted,
        require_tls: wanted,
        dsn: Dsn {
            wanted,
            ret: Some("HDRS"),
            envid: true,
            notify: Some("SUCCESS,DELAY".into()),
            orcpt: true,
        },
        deliver_by: DeliverBy { wanted, within: Duration::from_secs(120), ..DeliverBy::default() },
    }
}

/// The lines that a shorthand stands for.
fn expand(line: &str, hello: Hello) -> Vec<&str> {
    let open = |command, reply: &[&'static str]| {
        let mut lines = vec!["S: 220 mx.test ESMTP", command];
        lines.extend(reply);
        lines.push("EVENT: greeting ok; hello ok; established; ready");
        lines
    };
    match (line, hello) {
        ("OPEN", Hello::Helo) => open("C: HELO client.test", &["S: 250 mx.test"]),
        ("OPEN", Hello::Ehlo | Hello::EhloOnly) => {
            open("C: EHLO client.test", &["S: 250-mx.test", "S: 250 8BITMIME"])
        }
        ("OPEN chunking", _) => open("C: EHLO client.test", &["S: 250-mx.test", "S: 250 CHUNKING"]),
        ("OPEN pipelining chunking", _) => {
            open("C: EHLO client.test", &["S: 250-mx.test", "S: 250-PIPELINING", "S: 250 CHUNKING"])
        }
        ("OPEN lmtp", _) => open("C: LHLO client.test", &["S: 250-mx.test", "S: 250 PIPELINING"]),
        ("OPEN pipelining", _) => open("C: EHLO client.test", &["S: 250-mx.test", "S: 250 PIPELINING"]),
        ("AGAIN", _) => vec!["C: EHLO client.test", "S: 250-mx.test", "S: 250 CHUNKING"],
        ("LEAVE", _) => vec!["C: QUIT", "S: 221 bye", "EVENT: quit ok; ended", "CLOSE: clean"],
        _ => vec![line],
    }
}

/// Returns the bytes of a line. A line that ends in `\` has no line end.
fn wire_form(line: &str) -> Vec<u8> {
    match line.strip_suffix('\\') {
        Some(open) => open.as_bytes().to_vec(),
        None => format!("{line}\r\n").into_bytes(),
    }
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let number: u64 = digits.parse().ok()?;
    match &text[digits.len()..] {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(60 * number)),
        _ => None,
    }
}

fn call(text: &str) -> Option<Call> {
    match text.split_once(' ') {
        None if text == "abort" => Some(Call::Abort),
        None if text == "finish" => Some(Call::Finish),
        None if text == "pool" => Some(Call::Pool),
        None if text == "hold" => Some(Call::Hold),
        Some(("begin", word)) => mail(word, 9).map(Call::Begin),
        _ => None,
    }
}

/// `2`: a mail to two recipients, of one piece; `2x3`: of three pieces; `2x3-1`: the last two of the three cannot be
/// read.
fn mail(word: &str, number: u32) -> Option<Mail> {
    let (word, lost_from) = match word.split_once('-') {
        Some((word, had)) => (word, Some(had.parse().ok()?)),
        None => (word, None),
    };
    let (recipients, pieces) = word.split_once('x').unwrap_or((word, "1"));
    Some(Mail { number, recipients: recipients.parse().ok()?, pieces: pieces.parse().ok()?, lost_from })
}

/// The user `u` with the password `p`.
fn login(mechanism: Mechanism) -> Login {
    Login::new(mechanism, "u", Secret::new("p"))
}

impl Dialogue {
    fn script(&mut self, word: &str) -> Option<()> {
        match word {
            "helo" => self.script.hello = Hello::Helo,
            "ehlo" => self.script.hello = Hello::Ehlo,
            "ehlo-only" => self.script.hello = Hello::EhloOnly,
            "lmtp" => self.script.protocol = Protocol::Lmtp,
            "require-bdat" => self.script.wishes.chunking.wanted = Use::Require,
            "noop" => self.script.between.push(Aside::Noop),
            "rset" => self.script.between.push(Aside::Reset),
            _ if word.starts_with("bdat=") => {
                let size = word[5..].parse().ok()?;
                self.script.wishes.chunking = Chunking { wanted: Use::Auto, size };
            }
            _ if word.starts_with("verify=") => {
                let times = word[7..].parse().ok()?;
                let whom = (0..times).map(|n| format!("who{n}@mx.test")).collect();
                self.script.verify = Verify { times, whom };
            }
            "verify-beyond-ascii" => {
                self.script.verify = Verify { times: 1, whom: vec!["\u{e4}@mx.test".to_owned()] };
                self.script.wishes.utf8 = Use::Require;
            }
            "parameters=auto" => self.script.wishes = everything(Use::Auto),
            "parameters=require" => self.script.wishes = everything(Use::Require),
            "off" => self.script.pipelining = Pipelining::Off,
            "auto" => self.script.pipelining = Pipelining::Auto,
            "full" => self.script.pipelining = Pipelining::Full,
            "require" => self.script.pipelining = Pipelining::Require,
            "close" => self.script.quit = Quit::Close,
            "reset" => self.script.quit = Quit::Reset,
            "starttls" => self.script.tls = TlsMode::Starttls,
            "implicit" => self.script.tls = TlsMode::Implicit,
            "clear-text-login" => self.script.clear_text_login = true,
            "garbage" => self.script.manners.garbage = 2,
            "deaf" => self.script.manners.deaf = true,
            "half-close-quit" => self.script.manners.half_close = Some(Step::Quit),
            "half-close-body" => self.script.manners.half_close = Some(Step::Body),
            "half-close-mail" => self.script.manners.half_close = Some(Step::Mail),
            "early-talk" => self.script.manners.early_talk = true,
            "hold" => self.script.quit = Quit::Hold,
            "xclient" => self.identity.xclient = Some("ADDR=192.0.2.1".into()),
            "plain" => self.identity.login = Some(login(Mechanism::Plain)),
            "login" => self.identity.login = Some(login(Mechanism::Login)),
            "cram-md5" => self.identity.login = Some(login(Mechanism::CramMd5)),
            "scram" => self.identity.login = Some(login(Mechanism::ScramSha256)),
            "scram-plus" => self.identity.login = Some(login(Mechanism::ScramSha256Plus)),
            "xoauth2" => self.identity.login = Some(login(Mechanism::Xoauth2)),
            "oauthbearer" => self.identity.login = Some(login(Mechanism::Oauthbearer)),
            "rests" => self.owner.rests = true,
            "declines" => self.owner.declines = true,
            "leaves" => self.owner.leaves = true,
            _ => {
                // `stall-rcpt-7s`
                let (step, length) = word.strip_prefix("stall-")?.split_once('-')?;
                self.script.manners.stall = Some((step.parse().ok()?, duration(length)?));
            }
        }
        Some(())
    }
}
