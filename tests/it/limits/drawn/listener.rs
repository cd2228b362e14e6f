//! A simulated listener on a virtual clock: its extensions, and the value and form of each of its limits are drawn. It
//! implements the trait of probes, so a window of a minute needs no real time. It shares no code with the embedded
//! listener or with the search.

use std::collections::{HashMap, VecDeque};
use std::iter;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use memchr::memmem;
use smtpress::condition::Condition;
use smtpress::generator::probe::{
    CloseMode, OpenOutcome, Probe, ProbeEvent, ProbeOptions, ProbeOutcome, ProbeRefusal, Probes, Spent,
};
use smtpress::smtp::hello::Offer;
use smtpress::smtp::{Closed, Reply, Step};

/// The time until a reply.
const ROUND_TRIP: Duration = Duration::from_micros(200);
/// The time-out of a reply while a session is opened.
const PATIENCE: Duration = Duration::from_secs(10);
const NEVER: Duration = Duration::MAX;

/// How a limit shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shows {
    /// By this reply. The connection is closed this much later; `None`: it stays open.
    Reply(u16, &'static str, Option<Duration>),
    Close,
    Reset,
    /// No command is answered any more.
    Silence,
    /// No connection can be made; only for limits of connections.
    NoConnect,
}

/// The step at which a limit of messages, recipients or bytes shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Own,
    /// One step later.
    Later,
    /// At the final dot.
    Dot,
    /// At no step: the surplus is dropped without a reply.
    Dropped,
}

/// A limit: the largest number that is served, and how the limit shows.
#[derive(Clone, Debug)]
pub struct Limit {
    pub most: u64,
    pub shows: Shows,
    pub at: At,
}

/// How a rate is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    Fixed,
    /// A window of each full minute or ten seconds, whenever the first attempt came.
    Clock,
    Sliding,
    Bucket,
}

/// A limit of a rate.
#[derive(Clone, Debug)]
pub struct Rate {
    pub most: u64,
    pub window: Duration,
    pub kind: Window,
    pub counts_refused: bool,
    pub shows: Shows,
}

/// Replies that are delayed more and more.
#[derive(Clone, Copy, Debug)]
pub struct Tarpit {
    pub from: u64,
    pub step: Duration,
}

/// A listener.
#[derive(Clone, Debug)]
pub struct Drawn {
    pub per_host: Option<Limit>,
    pub per_network: Option<Limit>,
    pub in_all: Option<Limit>,
    /// The time from a close to the release of the slot.
    pub release: Duration,
    pub messages: Option<Limit>,
    pub session_bytes: Option<Limit>,
    pub recipients: Option<Limit>,
    pub size: Option<Limit>,
    pub offers_size: bool,
    /// Whether a line end counts as one byte of a size.
    pub counts_lf: bool,
    pub header: Option<Limit>,
    pub text_line: Option<Limit>,
    pub command_line: Option<Limit>,
    pub path: Option<Limit>,
    pub hops: Option<Limit>,
    pub bare_lf: Option<Limit>,
    pub bare_cr: Option<Limit>,
    pub unknown: Option<Limit>,
    pub syntax: Option<Limit>,
    pub junk: Option<Limit>,
    pub invalid: Option<Limit>,
    pub logins: Option<Limit>,
    /// Whether the close follows the reply to the last error.
    pub closes_after_error: bool,
    pub tarpit: Option<Tarpit>,
    pub connections: Option<Rate>,
    pub rate: Option<Rate>,
    pub idle: Option<Limit>,
    pub lifetime: Option<Limit>,
    /// The endings besides CRLF.CRLF that end the content.
    pub endings: Vec<&'static [u8]>,
    /// The codes of the replies to NOOP with and without an argument; normally 250.
    pub noop_argument: u16,
    pub noop: u16,
    pub unknown_code: u16,
    pub auth: Vec<&'static str>,
    /// Whether AUTH is answered by 538.
    pub encrypts_first: bool,
    /// Whether a command that breaks a rule is answered by 250.
    pub lax: bool,
    /// Whether every recipient is refused.
    pub refuses_recipients: bool,
    pub echoes_path: bool,
    /// The delay of the reply to QUIT and of the close.
    pub slow_quit: Duration,
}

impl Drawn {
    /// A listener without limits.
    pub fn open() -> Drawn {
        Drawn {
            per_host: None,
            per_network: None,
            in_all: None,
            release: Duration::ZERO,
            messages: None,
            session_bytes: None,
            recipients: None,
            size: None,
            offers_size: true,
            counts_lf: false,
            header: None,
            text_line: None,
            command_line: None,
            path: None,
            hops: None,
            bare_lf: None,
            bare_cr: None,
            unknown: None,
            syntax: None,
            junk: None,
            invalid: None,
            logins: None,
            closes_after_error: false,
            tarpit: None,
            connections: None,
            rate: None,
            idle: None,
            lifetime: None,
            endings: Vec::new(),
            noop_argument: 250,
            noop: 250,
            unknown_code: 500,
            auth: vec!["PLAIN"],
            encrypts_first: false,
            lax: false,
            refuses_recipients: false,
            echoes_path: false,
            slow_quit: Duration::ZERO,
        }
    }
}

/// The state of a rate.
#[derive(Default)]
struct Counted {
    times: VecDeque<Duration>,
    tokens: Option<(f64, Duration)>,
    window: Option<(Duration, u64)>,
}

impl Counted {
    /// Counts one more at `now`, and returns whether it is served.
    fn take(&mut self, rate: &Rate, now: Duration) -> bool {
        match rate.kind {
            Window::Sliding => {
                while self.times.front().is_some_and(|at| *at + rate.window <= now) {
                    self.times.pop_front();
                }
                let served = (self.times.len() as u64) < rate.most;
                if served || rate.counts_refused {
                    self.times.push_back(now);
                }
                served
            }
            Window::Fixed | Window::Clock => {
                let begin = match rate.kind {
                    Window::Clock => {
                        now - Duration::from_nanos((now.as_nanos() % rate.window.as_nanos()) as u64)
                    }
                    _ => now,
                };
                let (start, count) =
                    self.window.filter(|(start, _)| now < *start + rate.window).unwrap_or((begin, 0));
                let served = count < rate.most;
                let more = u64::from(served || rate.counts_refused);
                self.window = Some((start, count + more));
                served
            }
            Window::Bucket => {
                let (tokens, at) = self.tokens.unwrap_or((rate.most as f64, now));
                let filled = (now - at).as_secs_f64() * rate.most as f64 / rate.window.as_secs_f64();
                let tokens = (tokens + filled).min(rate.most as f64);
                let served = tokens >= 1.0;
                self.tokens = Some((if served { tokens - 1.0 } else { tokens }, now));
                served
            }
        }
    }
}

#[derive(Default)]
struct One {
    host: u64,
    /// Whether it has a slot.
    inside: bool,
    over: bool,
    /// Whether the listener no longer answers.
    mute: bool,
    greeted: bool,
    refused: Option<Shows>,
    events: VecDeque<(Duration, ProbeEvent)>,
    buffer: Vec<u8>,
    in_data: bool,
    mail: bool,
    challenged: bool,
    recipients: u64,
    surplus: bool,
    messages: u64,
    bytes: u64,
    unknown: u64,
    syntax: u64,
    junk: u64,
    invalid: u64,
    logins: u64,
    errors: u64,
    opened: Duration,
    active: Duration,
    timed_out: bool,
    hello: bool,
}

/// The probes of a simulated listener.
pub struct Simulated {
    drawn: Drawn,
    now: Duration,
    sessions: Vec<One>,
    /// The slots of closed sessions: until when they are taken, and by which host.
    leaving: Vec<(Duration, u64)>,
    connections: HashMap<u64, Counted>,
    messages: HashMap<u64, Counted>,
    sent_bytes: u64,
    opened: u64,
    /// The number of calls that are left. A search that needs more never ends.
    budget: u64,
}

fn reply(code: u16, text: &str) -> ProbeEvent {
    ProbeEvent::Reply(Reply::new(code, text.split('\n').map(str::to_owned).collect()))
}

impl Simulated {
    /// Changes the limits of the listener.
    pub fn become_like(&mut self, drawn: &Drawn) {
        self.drawn = drawn.clone();
    }

    pub fn new(drawn: &Drawn) -> Simulated {
        Simulated {
            drawn: drawn.clone(),
            now: Duration::ZERO,
            sessions: Vec::new(),
            leaving: Vec::new(),
            connections: HashMap::new(),
            messages: HashMap::new(),
            sent_bytes: 0,
            opened: 0,
            budget: 3_000_000,
        }
    }

    /// Returns the number of sessions that the client left open.
    pub fn left_open(&self) -> usize {
        self.sessions.iter().filter(|one| !one.over).count()
    }

    fn network_of(host: u64) -> u64 {
        host / 254
    }

    fn spend(&mut self) {
        self.budget = self.budget.checked_sub(1).expect("the search does not end");
    }

    /// Moves the clock to `to`, and ends the sessions whose time is over.
    fn advance(&mut self, to: Duration) {
        let (idle, life) = (self.drawn.idle.as_ref(), self.drawn.lifetime.as_ref());
        let due = |from: Duration, limit: Option<&Limit>| {
            limit.map_or(NEVER, |limit| from + Duration::from_millis(limit.most))
        };
        for one in &mut self.sessions {
            if one.over || one.timed_out || one.mute || !one.greeted {
                continue;
            }
            let (idle_at, life_at) = (due(one.active, idle), due(one.opened, life));
            let (at, limit) = if idle_at <= life_at { (idle_at, idle) } else { (life_at, life) };
            if let Some(limit) = limit.filter(|_| at <= to) {
                one.timed_out = true;
                one.events.retain(|(due, _)| *due <= at);
                show(one, at, &limit.shows);
                end(one, &mut self.leaving, at, self.drawn.release);
            }
        }
        self.now = self.now.max(to);
        let now = self.now;
        self.leaving.retain(|(until, _)| *until > now);
    }

    fn inside(&self, counts: impl Fn(u64) -> bool) -> u64 {
        let held = self.sessions.iter().filter(|one| one.inside && counts(one.host)).count();
        (held + self.leaving.iter().filter(|(_, host)| counts(*host)).count()) as u64
    }

    /// Returns the limit that refuses a new session of this host, if one does.
    fn turned_away(&mut self, host: u64) -> Option<(Shows, At)> {
        if let Some(rate) = &self.drawn.connections
            && !self.connections.entry(host).or_default().take(rate, self.now)
        {
            return Some((rate.shows.clone(), At::Own));
        }
        let network = Self::network_of(host);
        let limits = [
            (&self.drawn.per_host, self.inside(|other| other == host)),
            (&self.drawn.per_network, self.inside(|other| Self::network_of(other) == network)),
            (&self.drawn.in_all, self.inside(|_| true)),
        ];
        limits
            .into_iter()
            .find_map(|(limit, inside)| limit.as_ref().filter(|limit| inside >= limit.most))
            .map(|limit| (limit.shows.clone(), limit.at))
    }

    fn connect(&mut self, way: ProbeOptions) -> OpenOutcome {
        self.spend();
        self.opened += 1;
        let session = Probe(self.sessions.len());
        self.advance(self.now + ROUND_TRIP);
        let away = self.turned_away(way.host);
        let mut one = One { host: way.host, opened: self.now, active: self.now, ..One::default() };
        let out = |by: ProbeEvent, step| {
            OpenOutcome::Refused(ProbeRefusal { step, event: by, session, took: ROUND_TRIP })
        };
        match away {
            Some((Shows::NoConnect, _)) => {
                one.over = true;
                self.sessions.push(one);
                return out(ProbeEvent::NotConnected(Condition::ConnectRefused), Step::Connect);
            }
            Some((shows, At::Later)) if shows != Shows::NoConnect => {
                one.refused = Some(shows);
                one.greeted = true;
                one.events.push_back((self.now, reply(220, "mx ESMTP")));
            }
            Some((shows, _)) => {
                show(&mut one, self.now, &shows);
                if shows != Shows::Silence && !matches!(shows, Shows::Reply(_, _, None)) {
                    one.over = true;
                } else {
                    one.mute = true;
                }
            }
            None => {
                one.inside = true;
                one.greeted = true;
                one.events.push_back((self.now, reply(220, "mx ESMTP")));
            }
        }
        self.sessions.push(one);
        if way.bare {
            return OpenOutcome::Open(session);
        }
        let greeting = self.receive(session, PATIENCE);
        if greeting.code() != 220 {
            return out(greeting.event, Step::Greeting);
        }
        let hello = self.exchange(session, b"EHLO client\r\n", PATIENCE);
        if hello.code() != 250 {
            return out(hello.event, Step::Hello);
        }
        OpenOutcome::Open(session)
    }

    /// Reads lines and contents from a client.
    fn read(&mut self, number: usize) {
        loop {
            let one = &mut self.sessions[number];
            if one.over || one.mute {
                one.buffer.clear();
                return;
            }
            if one.in_data {
                let mut ends: Vec<&[u8]> = vec![b"\r\n.\r\n"];
                ends.extend(&self.drawn.endings);
                let find = |end: &[u8]| memmem::find(&one.buffer, end).map(|at| (at, end.len()));
                let Some((at, length)) = ends.into_iter().filter_map(find).min() else { return };
                // If the ending ends in a CR and an LF follows, the LF belongs to the ending.
                let length = length
                    + usize::from(
                        one.buffer[at..at + length].ends_with(b"\r")
                            && one.buffer.get(at + length) == Some(&b'\n'),
                    );
                let content = [&one.buffer[..at], b"\r\n"].concat();
                one.buffer.drain(..at + length);
                one.in_data = false;
                self.content(number, &content);
            } else {
                let Some(at) = memchr::memchr(b'\n', &one.buffer) else { return };
                let line: Vec<u8> = one.buffer.drain(..=at).collect();
                self.command(number, &line);
            }
        }
    }

    fn answer(&mut self, number: usize, code: u16, text: &str) {
        let at = self.now + ROUND_TRIP;
        self.sessions[number].events.push_back((at, reply(code, text)));
    }

    /// Answers an error of this session, which is the `count`-th of its kind.
    fn error(&mut self, number: usize, count: u64, limit: Option<Limit>, code: u16, text: &str) {
        let one = &mut self.sessions[number];
        one.errors += 1;
        let at = self.now + ROUND_TRIP;
        let delay =
            self.drawn.tarpit.filter(|tarpit| one.errors > tarpit.from).map_or(Duration::ZERO, |tarpit| {
                tarpit.step * u32::try_from(one.errors - tarpit.from).unwrap()
            });
        match limit {
            Some(limit) if count > limit.most => {
                show(one, at, &limit.shows);
                if limit.shows != Shows::Silence {
                    end(one, &mut self.leaving, at, self.drawn.release);
                }
            }
            Some(limit) if count == limit.most && self.drawn.closes_after_error => {
                one.events.push_back((at + delay, reply(code, text)));
                one.events.push_back((at + delay + ROUND_TRIP, ProbeEvent::Closed(Closed::Eof)));
                end(one, &mut self.leaving, at + delay, self.drawn.release);
            }
            _ => one.events.push_back((at + delay, reply(code, text))),
        }
    }

    /// Shows a limit that a command or a content has reached.
    fn limited(&mut self, number: usize, limit: &Limit) {
        let at = self.now + ROUND_TRIP;
        let one = &mut self.sessions[number];
        show(one, at, &limit.shows);
        if !matches!(limit.shows, Shows::Reply(_, _, None) | Shows::Silence) {
            end(one, &mut self.leaving, at, self.drawn.release);
        }
    }

    fn command(&mut self, number: usize, line: &[u8]) {
        let drawn = self.drawn.clone();
        let text = String::from_utf8_lossy(line).trim_end_matches(['\r', '\n']).to_owned();
        let one = &mut self.sessions[number];
        one.active = self.now;
        if let Some(shows) = one.refused.clone() {
            let limit = Limit { most: 0, shows, at: At::Own };
            self.limited(number, &limit);
            let one = &mut self.sessions[number];
            one.mute = !one.over;
            return;
        }
        if one.challenged {
            one.challenged = false;
            one.logins += 1;
            let count = one.logins;
            return self.error(number, count, drawn.logins, 535, "5.7.8 authentication failed");
        }
        let over = |limit: &Option<Limit>, value: u64| limit.clone().filter(|limit| value > limit.most);
        if let Some(limit) = over(&drawn.command_line, line.len() as u64) {
            return self.limited(number, &limit);
        }
        let verb = text.split([' ', ':']).next().unwrap_or_default().to_uppercase();
        let unknown = (drawn.unknown_code, "5.5.1 what is that");
        let refusal = if drawn.lax { (250, "fine") } else { (503, "5.5.1 bad sequence") };
        match verb.as_str() {
            "EHLO" | "HELO" => {
                one.hello = true;
                one.mail = false;
                let named = text.len() > 5;
                let (code, words) = if named || drawn.lax { (250, "mx") } else { (501, "5.5.4 which name") };
                self.answer(number, code, words);
            }
            "MAIL" if text.contains("<<") => {
                one.syntax += 1;
                let count = one.syntax;
                self.error(number, count, drawn.syntax, 501, "5.5.4 syntax");
            }
            "MAIL" if one.mail => self.answer(number, refusal.0, refusal.1),
            "MAIL" => {
                let declared =
                    text.split("SIZE=").nth(1).and_then(|size| size.parse::<u64>().ok()).unwrap_or(0);
                let count = one.messages + 1;
                let host = one.host;
                if let Some(limit) = over(&drawn.messages, count).filter(|limit| limit.at == At::Own) {
                    return self.limited(number, &limit);
                }
                if let Some(limit) = over(&drawn.size, declared) {
                    return self.limited(number, &limit);
                }
                if let Some(rate) = &drawn.rate
                    && !self.messages.entry(host).or_default().take(rate, self.now)
                {
                    return self.limited(number, &Limit { most: 0, shows: rate.shows.clone(), at: At::Own });
                }
                let one = &mut self.sessions[number];
                (one.mail, one.recipients, one.surplus) = (true, 0, false);
                self.answer(number, 250, "ok");
            }
            "RCPT" if !one.mail => self.answer(number, refusal.0, refusal.1),
            "RCPT" => {
                let path = text.split(['<']).nth(1).map_or(0, |path| path.len() as u64 + 1);
                let count = one.messages + 1;
                if drawn.refuses_recipients || text.contains("nobody") {
                    one.invalid += 1;
                    let count = one.invalid;
                    let limit = drawn.invalid.clone().filter(|_| text.contains("nobody"));
                    return self.error(number, count, limit, 550, "5.1.1 user unknown");
                }
                if let Some(limit) = over(&drawn.messages, count).filter(|limit| limit.at == At::Later) {
                    return self.limited(number, &limit);
                }
                if let Some(limit) = over(&drawn.path, path) {
                    return self.limited(number, &limit);
                }
                one.recipients += 1;
                if let Some(limit) = over(&drawn.recipients, one.recipients) {
                    if limit.at == At::Own {
                        one.recipients -= 1;
                        return self.limited(number, &limit);
                    }
                    one.surplus = true;
                }
                let words = if drawn.echoes_path { format!("{text} ok") } else { "ok".to_owned() };
                if words.len() > 4000 {
                    self.sessions[number].events.push_back((
                        self.now,
                        ProbeEvent::Failed(Condition::MalformedReply, "a reply line too long".into()),
                    ));
                    return;
                }
                self.answer(number, 250, &words);
            }
            "DATA" if !one.mail || one.recipients == 0 => self.answer(number, refusal.0, refusal.1),
            "DATA" => {
                let surplus = one.surplus;
                if let Some(limit) = drawn.recipients.filter(|limit| surplus && limit.at == At::Later) {
                    return self.limited(number, &limit);
                }
                one.in_data = true;
                self.answer(number, 354, "go on");
            }
            "NOOP" => {
                one.junk += 1;
                let count = one.junk;
                let code = if text.len() > 4 { drawn.noop_argument } else { drawn.noop };
                self.error(number, count, drawn.junk, code, "noop");
            }
            "QUIT" => {
                let at = self.now + ROUND_TRIP + drawn.slow_quit;
                let one = &mut self.sessions[number];
                one.events.push_back((at, reply(221, "bye")));
                one.events.push_back((at, ProbeEvent::Closed(Closed::Eof)));
                end(one, &mut self.leaving, at, drawn.release);
            }
            "AUTH" if drawn.encrypts_first => {
                self.answer(number, 538, "5.7.11 Must issue a STARTTLS command first")
            }
            "AUTH" if text.contains("CRAM-MD5") && drawn.auth.contains(&"CRAM-MD5") => {
                one.challenged = true;
                self.answer(number, 334, "PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2U+");
            }
            "AUTH" if drawn.auth.contains(&"PLAIN") => {
                one.logins += 1;
                let count = one.logins;
                self.error(number, count, drawn.logins, 535, "5.7.8 authentication failed");
            }
            "RSET" => {
                one.mail = false;
                self.answer(number, 250, "ok");
            }
            _ => {
                one.unknown += 1;
                let count = one.unknown;
                self.error(number, count, drawn.unknown, unknown.0, unknown.1);
            }
        }
    }

    fn content(&mut self, number: usize, content: &[u8]) {
        let drawn = self.drawn.clone();
        let one = &mut self.sessions[number];
        one.active = self.now;
        one.mail = false;
        // Searched by memchr, because a thousand searches send gigabytes through here, without optimization.
        let lines: Vec<usize> = memchr::memchr_iter(b'\n', content).collect();
        // Stuffed dots do not count.
        let stuffed = memmem::find_iter(content, b"\n..").count() as u64;
        let length = content.len() as u64 - stuffed;
        let size = if drawn.counts_lf { length - lines.len() as u64 } else { length };
        let head = memmem::find(content, b"\r\n\r\n").map_or(content.len(), |at| at + 2);
        let starts = iter::once(0).chain(lines.iter().map(|at| at + 1));
        let ends = lines.iter().copied().chain([content.len()]);
        let longest = starts.zip(ends).map(|(start, end)| (end - start) as u64 + 1).max().unwrap_or(0);
        let hops = lines.iter().filter(|at| **at + 10 <= head && is_received(&content[**at + 1..])).count()
            as u64
            + u64::from(is_received(content));
        let bare_lf = lines.iter().any(|at| *at == 0 || content[at - 1] != b'\r');
        let bare_cr = memchr::memchr_iter(b'\r', content).any(|at| content.get(at + 1) != Some(&b'\n'));
        let bytes = one.bytes + length;
        let (messages, surplus) = (one.messages + 1, one.surplus);
        let none = |limit: &Option<Limit>, is: bool| limit.clone().filter(|_| is);
        let met = [
            none(
                &drawn.recipients,
                surplus && drawn.recipients.as_ref().is_some_and(|limit| limit.at == At::Dot),
            ),
            none(
                &drawn.messages,
                drawn.messages.as_ref().is_some_and(|limit| limit.at == At::Dot && messages > limit.most),
            ),
            none(&drawn.session_bytes, drawn.session_bytes.as_ref().is_some_and(|limit| bytes > limit.most)),
            none(&drawn.size, drawn.size.as_ref().is_some_and(|limit| size > limit.most)),
            none(&drawn.header, drawn.header.as_ref().is_some_and(|limit| head as u64 > limit.most)),
            none(&drawn.text_line, drawn.text_line.as_ref().is_some_and(|limit| longest > limit.most)),
            none(&drawn.hops, drawn.hops.as_ref().is_some_and(|limit| hops > limit.most)),
            none(&drawn.bare_lf, bare_lf),
            none(&drawn.bare_cr, bare_cr),
        ];
        if let Some(limit) = met.into_iter().flatten().next() {
            return self.limited(number, &limit);
        }
        let one = &mut self.sessions[number];
        (one.messages, one.bytes) = (messages, bytes);
        self.answer(number, 250, "queued");
    }
}

/// Whether this text begins with a trace field (RFC 5321 4.4).
fn is_received(text: &[u8]) -> bool {
    text.get(..9).is_some_and(|name| name.eq_ignore_ascii_case(b"Received:"))
}

/// Shows a limit in a session.
fn show(one: &mut One, at: Duration, shows: &Shows) {
    match shows {
        Shows::Reply(code, text, close) => {
            one.events.push_back((at, reply(*code, text)));
            if let Some(later) = close {
                one.events.push_back((at + *later, ProbeEvent::Closed(Closed::Eof)));
            }
        }
        Shows::Close => one.events.push_back((at, ProbeEvent::Closed(Closed::Eof))),
        Shows::Reset => one.events.push_back((at, ProbeEvent::Closed(Closed::Reset))),
        Shows::Silence | Shows::NoConnect => one.mute = true,
    }
}

/// Ends a session on the listener's side.
fn end(one: &mut One, leaving: &mut Vec<(Duration, u64)>, at: Duration, release: Duration) {
    one.over = true;
    if std::mem::take(&mut one.inside) {
        leaving.push((at.saturating_add(release), one.host));
    }
}

impl Probes for Simulated {
    fn open(&mut self, ways: &[ProbeOptions], _: usize, within: Duration) -> Vec<OpenOutcome> {
        let until = self.now.saturating_add(within);
        let start = self.now;
        let mut longest = start;
        let opened = ways
            .iter()
            .map(|way| {
                if self.now >= until {
                    return OpenOutcome::OwnFailure("the session was not open in time".to_owned());
                }
                let opened = self.connect(*way);
                // The sessions open at the same time, so the waits for silent ones overlap.
                longest = longest.max(self.now);
                if self.now - start > PATIENCE {
                    self.now = start + PATIENCE / 2;
                }
                opened
            })
            .collect();
        self.now = self.now.max(longest);
        opened
    }

    fn offer(&self, _: Probe) -> Offer {
        let size = self.drawn.offers_size.then(|| self.drawn.size.as_ref().map_or(0, |limit| limit.most));
        Offer {
            pipelining: true,
            size,
            auth: self.drawn.auth.iter().map(|name| (*name).to_owned()).collect(),
            ..Offer::default()
        }
    }

    fn send(&mut self, session: Probe, bytes: &[u8]) {
        self.spend();
        self.advance(self.now);
        self.sent_bytes += bytes.len() as u64;
        let one = &mut self.sessions[session.0];
        one.active = self.now;
        one.buffer.extend_from_slice(bytes);
        self.read(session.0);
    }

    fn receive(&mut self, session: Probe, within: Duration) -> ProbeOutcome {
        self.spend();
        let until = self.now.saturating_add(within);
        let next = |one: &One| one.events.front().map_or(NEVER, |(at, _)| *at);
        let mut due = next(&self.sessions[session.0]);
        if due > until && !self.sessions[session.0].over {
            // The idle time-out or the lifetime of the session may end first.
            let one = &self.sessions[session.0];
            let own = [(&self.drawn.idle, one.active), (&self.drawn.lifetime, one.opened)];
            let own = own
                .into_iter()
                .filter_map(|(limit, since)| Some(since + Duration::from_millis(limit.as_ref()?.most)));
            let end = own.min().unwrap_or(NEVER).min(until);
            self.advance(end);
            due = next(&self.sessions[session.0]);
        }
        if due > until {
            // At the end of a connection there is nothing to wait for.
            if !(self.sessions[session.0].over && self.sessions[session.0].events.is_empty()) {
                self.advance(until);
            } else {
                self.advance(self.now);
            }
            return ProbeOutcome { event: ProbeEvent::Silence, at: self.now };
        }
        let (_, what) = self.sessions[session.0].events.pop_front().unwrap();
        self.advance(due);
        ProbeOutcome { event: what, at: due }
    }

    fn close(&mut self, sessions: &[Probe], how: CloseMode, within: Duration) -> u64 {
        self.spend();
        let mut unseen = 0;
        let start = self.now;
        let mut last = self.now;
        for session in sessions {
            let one = &mut self.sessions[session.0];
            if !one.over && how == CloseMode::Quit && !one.mute && !one.in_data {
                one.buffer.extend_from_slice(b"QUIT\r\n");
                one.events.clear();
                self.read(session.0);
                let one = &self.sessions[session.0];
                let closed = one.events.back().map_or(start, |(at, _)| *at);
                if closed > start + within {
                    unseen += 1;
                }
                last = last.max(closed.min(start + within));
            }
            let one = &mut self.sessions[session.0];
            one.events.clear();
            one.buffer = Vec::new();
            if !one.over {
                end(one, &mut self.leaving, start + ROUND_TRIP, self.drawn.release);
            }
        }
        self.advance(last + ROUND_TRIP);
        unseen
    }

    fn pause(&mut self, length: Duration) {
        self.spend();
        self.advance(self.now + length);
    }

    fn now(&self) -> Duration {
        self.now
    }

    fn hosts(&self) -> u64 {
        1016
    }

    fn network(&self, host: u64) -> Option<IpAddr> {
        let network = u8::try_from(Self::network_of(host)).unwrap();
        Some(Ipv4Addr::new(127, 0, network, 0).into())
    }

    fn spent(&self) -> Spent {
        Spent { connections: self.opened, bytes: self.sent_bytes }
    }
}
