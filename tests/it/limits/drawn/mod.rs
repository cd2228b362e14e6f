//! A thousand listeners are drawn from a grammar, and some limits of each are searched. Each result is exact, or a
//! range that contains the true value, or the reason why the value is unknown. No result is wrong.
//!
//! The codes and texts are those of real products, misleading ones included.

pub mod chaos;
pub mod listener;

use std::collections::BTreeMap;
use std::time::Duration;

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use smtpress::condition::Classifier;
use smtpress::experiment::limit::{
    self, LimitKind, LimitMeasure, LimitRequest, LimitResult, LimitSetting, LimitVerdict, SearchBudget,
    SearchOutcome,
};
use smtpress::mail::Spec;
use smtpress::smtp::script::Script;

use listener::{At, Drawn, Limit, Rate, Shows, Simulated, Tarpit, Window};

const SECOND: Duration = Duration::from_secs(1);

/// Replies of real listeners at a limit of connections.
const CONNECTIONS: &[(u16, &str)] = &[
    (421, "4.7.0 mx.example Error: too many connections from 192.0.2.1"),
    (421, "Too many concurrent SMTP connections from this IP address; please try again later."),
    (421, "4.3.2 All server ports are busy"),
    (421, "4.3.2 Connection rate limit exceeded."),
    (421, "Too many connections, try again later"),
    (554, "5.7.1 You are not allowed to connect"),
    (450, "4.7.1 try again later"),
    (421, "Service not available, closing transmission channel"),
    (421, "4.7.0 too many messages in this session"),
    (452, "4.3.1 Insufficient system storage"),
];
const MESSAGES: &[(u16, &str)] = &[
    (421, "4.7.0 Too many messages in this session"),
    (452, "4.7.1 message limit of this session reached"),
    (450, "4.7.1 Error: too much mail from 192.0.2.1"),
    (421, "too many connections from your host"),
    (552, "5.3.4 quota exceeded"),
    (451, "4.7.1 try again later"),
    (550, "no more"),
];
const RECIPIENTS: &[(u16, &str)] = &[
    (452, "4.5.3 Error: too many recipients"),
    (552, "too many recipients"),
    (550, "5.7.1 relaying denied"),
    (451, "4.7.1 greylisted, try again later"),
    (421, "4.7.0 Too many errors"),
];
const SIZES: &[(u16, &str)] = &[
    (552, "5.3.4 Message size exceeds fixed limit"),
    (552, "5.2.2 mailbox full"),
    (554, "5.6.0 Message rejected"),
    (452, "4.3.1 Insufficient system storage"),
    (500, "5.5.2 Error: line too long"),
    (421, "4.3.0 closing"),
];
const ERRORS: &[(u16, &str)] = &[
    (421, "4.7.0 mx.example Error: too many errors"),
    (521, "Closing connection, 6 unrecognized commands"),
    (421, "Too many bad commands"),
    (421, "4.3.2 Service not available"),
    (421, "4.7.0 Too many messages in this session"),
];
const TIMES: &[(u16, &str)] = &[
    (421, "4.4.2 mx.example Error: timeout exceeded"),
    (421, "SMTP command timeout - closing connection"),
    (421, "4.4.1 collect: info=read timeout"),
    (451, "Timeout waiting for client input"),
];

/// The random draws.
struct Die(ChaCha8Rng);

impl Die {
    fn often(&mut self, share: f64) -> bool {
        self.0.random_bool(share)
    }

    fn number(&mut self, low: u64, high: u64) -> u64 {
        self.0.random_range(low..=high)
    }

    fn one<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        of.choose(&mut self.0).unwrap()
    }

    fn shows(&mut self, words: &'static [(u16, &'static str)], closes: Option<bool>) -> Shows {
        let (code, text) = *self.one(words);
        match self.number(0, 9) {
            0 => Shows::Close,
            1 => Shows::Reset,
            2 if closes.is_none() => Shows::Silence,
            _ => {
                let closes = closes.unwrap_or_else(|| self.often(0.6)) || code == 421 && self.often(0.8);
                let later = [0, 0, 3, 40].map(Duration::from_millis);
                Shows::Reply(code, text, closes.then(|| *self.one(&later)))
            }
        }
    }

    fn limit(
        &mut self,
        share: f64,
        low: u64,
        high: u64,
        words: &'static [(u16, &'static str)],
    ) -> Option<Limit> {
        self.often(share).then(|| Limit {
            most: self.number(low, high),
            shows: self.shows(words, None),
            at: At::Own,
        })
    }

    fn places(&mut self, share: f64, low: u64, high: u64) -> Option<Limit> {
        let at = *self.one(&[At::Own, At::Own, At::Later]);
        let mut limit = self.limit(share, low, high, CONNECTIONS).map(|limit| Limit { at, ..limit })?;
        if self.often(0.1) {
            limit.shows = Shows::NoConnect;
            limit.at = At::Own;
        }
        // A refused session that stays open would be another fault.
        if let Shows::Reply(_, _, close @ None) = &mut limit.shows {
            *close = Some(Duration::ZERO);
        }
        Some(limit)
    }

    /// A limit of errors in a session. An error over the limit is answered by a reply, a close, or both.
    fn errors(&mut self, share: f64) -> Option<Limit> {
        self.often(share).then(|| Limit {
            most: self.number(2, 40),
            shows: self.shows(ERRORS, Some(true)),
            at: At::Own,
        })
    }

    fn rate(&mut self, share: f64, words: &'static [(u16, &'static str)]) -> Option<Rate> {
        self.often(share).then(|| Rate {
            most: self.number(2, 40),
            window: Duration::from_millis(*self.one(&[1_000, 3_000, 10_000, 30_000, 60_000, 7_300])),
            kind: *self.one(&[Window::Fixed, Window::Sliding, Window::Bucket]),
            counts_refused: self.often(0.4),
            shows: self.shows(words, Some(true)),
        })
    }
}

fn drawn(die: &mut Die) -> Drawn {
    let noop = *die.one(&[250, 250, 250, 250, 500, 502]);
    let release = [0, 0, 5, 24, 400, 2000].map(Duration::from_millis);
    let mut drawn = Drawn {
        per_host: die.places(0.35, 1, 60),
        per_network: die.places(0.12, 3, 80),
        in_all: die.places(0.2, 4, 120),
        release: *die.one(&release),
        messages: die.limit(0.25, 1, 60, MESSAGES),
        session_bytes: die.limit(0.12, 3_000, 200_000, SIZES),
        recipients: die.limit(0.25, 1, 120, RECIPIENTS),
        size: die.limit(0.25, 8_000, 200_000, SIZES),
        offers_size: die.often(0.7),
        counts_lf: die.often(0.2),
        header: die.limit(0.12, 1_500, 60_000, SIZES),
        text_line: die.limit(0.15, 200, 5_000, SIZES),
        command_line: die.limit(0.2, 120, 3_000, SIZES),
        path: die.limit(0.15, 60, 1_000, RECIPIENTS),
        hops: die.limit(0.15, 1, 120, SIZES),
        bare_lf: die.limit(0.15, 0, 0, SIZES),
        bare_cr: die.limit(0.15, 0, 0, SIZES),
        unknown: die.errors(0.25),
        syntax: die.errors(0.15),
        junk: die.errors(0.15),
        invalid: die.errors(0.2),
        logins: die.errors(0.2),
        closes_after_error: die.often(0.2),
        tarpit: die.often(0.12).then(|| Tarpit {
            from: die.number(1, 12),
            step: Duration::from_millis(*die.one(&[400, 1000, 3000])),
        }),
        connections: die.rate(0.08, CONNECTIONS),
        rate: die.rate(0.08, MESSAGES),
        idle: None,
        lifetime: None,
        endings: Vec::new(),
        noop,
        noop_argument: if noop == 250 { *die.one(&[250, 250, 250, 501]) } else { noop },
        unknown_code: *die.one(&[500, 500, 502, 501]),
        auth: die.one(&[vec!["PLAIN"], vec!["CRAM-MD5"], vec!["LOGIN", "PLAIN"], vec![]]).clone(),
        encrypts_first: die.often(0.1),
        lax: die.often(0.1),
        refuses_recipients: die.often(0.05),
        echoes_path: die.often(0.1),
        slow_quit: Duration::from_millis(*die.one(&[0, 0, 0, 0, 1500, 8000])),
    };
    for limit in [&mut drawn.messages, &mut drawn.recipients].into_iter().flatten() {
        limit.at = *die.one(&[At::Own, At::Own, At::Later, At::Dot]);
    }
    if let Some(limit) = &mut drawn.recipients
        && die.often(0.1)
    {
        limit.at = At::Dropped;
    }
    let timed = |die: &mut Die, low, high| {
        Some(Limit { most: die.number(low, high), shows: die.shows(TIMES, Some(true)), at: At::Own })
    };
    if die.often(0.2) {
        drawn.idle = timed(die, 3_000, 60_000);
    }
    if die.often(0.1) {
        drawn.lifetime = timed(die, 8_000, 90_000);
    }
    if die.often(0.12) {
        drawn.endings = vec![*die.one(ENDINGS.map(|(_, end)| end).as_slice())];
    }
    drawn
}

const ENDINGS: [(&str, &[u8]); 7] = [
    ("lf-dot-lf", b"\n.\n"),
    ("lf-dot-crlf", b"\n.\r\n"),
    ("cr-dot-cr", b"\r.\r"),
    ("cr-dot-crlf", b"\r.\r\n"),
    ("crlf-dot-cr", b"\r\n.\r"),
    ("crlf-dot-lf", b"\r\n.\n"),
    ("crlf-nul-dot-crlf", b"\r\n\0.\r\n"),
];

/// The true value of a limit, in the unit of its kind; `None`: there is no such limit.
fn truth(drawn: &Drawn, kind: LimitKind) -> Option<u64> {
    let most = |limit: &Option<Limit>| limit.as_ref().map(|limit| limit.most);
    let errors = |limit: &Option<Limit>| most(limit).map(|most| most - u64::from(drawn.closes_after_error));
    let rate = |rate: &Option<Rate>| {
        rate.as_ref().map(|rate| (rate.most as f64 * 60.0 / rate.window.as_secs_f64()).round() as u64)
    };
    let least = |limits: &[&Option<Limit>]| limits.iter().filter_map(|limit| most(limit)).min();
    match kind.name() {
        "too-many-connections-from-host" => least(&[&drawn.per_host, &drawn.per_network, &drawn.in_all]),
        "too-many-connections-to-listener" => most(&drawn.in_all),
        "too-many-messages-per-session" => most(&drawn.messages),
        "session-bytes-exceeded" => most(&drawn.session_bytes),
        "too-many-recipients" => most(&drawn.recipients),
        "message-size-exceeded" | "message-size-exceeded.content" => most(&drawn.size),
        "header-size-exceeded" => most(&drawn.header),
        "line-too-long" => most(&drawn.text_line),
        "line-too-long.command" => most(&drawn.command_line),
        "line-too-long.path" => most(&drawn.path),
        "too-many-hops" => most(&drawn.hops),
        "bare-cr-lf" => most(&drawn.bare_lf),
        "bare-cr-lf.cr" => most(&drawn.bare_cr),
        "bad-command-limit-exceeded" => errors(&drawn.unknown),
        "bad-command-limit-exceeded.syntax" => errors(&drawn.syntax),
        "bad-command-limit-exceeded.junk" => errors(&drawn.junk),
        "too-many-invalid-recipients" => errors(&drawn.invalid),
        "too-many-auth-failures" => errors(&drawn.logins),
        "rate-limited" => rate(&drawn.rate),
        "connection-rate-limited" => rate(&drawn.connections),
        "connection-time-exceeded" => most(&drawn.lifetime),
        name if name.starts_with("idle-timeout") => least(&[&drawn.idle, &drawn.lifetime]),
        _ => None,
    }
}

/// Returns what is wrong with a result; `None`: it is right.
fn untrue(drawn: &Drawn, kind: LimitKind, finding: &LimitResult) -> Option<String> {
    let truth = truth(drawn, kind);
    // Times are reported to the second, rates to one a minute; a line end may be one byte of a size.
    let (below, above) = match kind.name() {
        name if name.starts_with("idle") || name == "connection-time-exceeded" => (1000, 1000),
        "rate-limited" | "connection-rate-limited" => (1, 1),
        "message-size-exceeded.content" if drawn.counts_lf => (0, truth.unwrap_or(0) / 20 + 200),
        _ => (0, 0),
    };
    let is_at_least = |low: u64| truth.is_none_or(|truth| low <= truth.saturating_add(above));
    let is_at_most = |high: u64| truth.is_some_and(|truth| high.saturating_add(below) >= truth);
    if let Some(end) = ENDINGS.iter().find(|(name, _)| kind.name().ends_with(&format!("bare-cr-lf.{name}"))) {
        let ends = drawn.endings.contains(&end.1);
        return match finding.verdict {
            LimitVerdict::Unsafe if !ends => Some("called unsafe".to_owned()),
            LimitVerdict::Found
                if ends
                    && finding.value == Some(0)
                    && finding.remarks.iter().any(|r| r.contains("one message")) =>
            {
                Some("a second message was not seen".to_owned())
            }
            _ => None,
        };
    }
    if finding.verdict == LimitVerdict::Unsafe {
        return Some("called unsafe".to_owned());
    }
    if kind.measure() == LimitMeasure::Rule {
        return None;
    }
    let in_silence = kind.name() == "too-many-recipients"
        && drawn.recipients.as_ref().is_some_and(|limit| limit.at == At::Dropped)
        && finding.remarks.iter().any(|remark| remark.contains("does not show in the dialogue"));
    match finding.verdict {
        LimitVerdict::Obstructed | LimitVerdict::Unstable => finding
            .remarks
            .is_empty()
            .then_some(())
            .filter(|()| finding.inexact.is_none())
            .map(|()| "no reason is given".to_owned()),
        _ if in_silence => None,
        LimitVerdict::NotReached => finding
            .at_least
            .filter(|low| !is_at_least(*low))
            .map(|low| format!("{low} are said to be served")),
        LimitVerdict::NotEnforced => {
            let expected = finding.expected.unwrap();
            truth.filter(|truth| *truth <= expected).map(|_| "it is enforced".to_owned())
        }
        LimitVerdict::Found | LimitVerdict::AsExpected | LimitVerdict::Differs => {
            let (low, high) = (finding.at_least.unwrap_or(0), finding.at_most.unwrap_or(u64::MAX));
            if !is_at_least(low) || !is_at_most(high) {
                return Some(format!("{low} to {high} is not where it is"));
            }
            let (truth, expected) = truth.zip(finding.expected)?;
            let wide = high as f64 > low as f64 * 1.05 + 2.0;
            let is_rate = kind.measure() == LimitMeasure::Rate;
            let slack = below.max(above).max(if is_rate { truth / 20 } else { 0 });
            match finding.verdict {
                LimitVerdict::AsExpected if expected.abs_diff(truth) > slack && !wide => {
                    Some("it is not as expected".to_owned())
                }
                LimitVerdict::AsExpected if wide && is_rate => {
                    Some("as expected by a wide bracket".to_owned())
                }
                LimitVerdict::Differs if expected == truth => Some("it does not differ".to_owned()),
                _ => None,
            }
        }
        LimitVerdict::Unsafe => None,
    }
}

pub fn setting() -> LimitSetting {
    LimitSetting {
        mail: Spec::default(),
        seed: 42,
        run_id: "test-run".into(),
        date: "Mon, 23 Nov 2026 12:00:00 +0000".into(),
        script: Script { name: "client.example".into(), ..Script::default() },
        logged_in: false,
        bad_recipient: None,
        classifier: Classifier::default(),
        patience: 10 * SECOND,
        bounds: SearchBudget {
            sessions: 150,
            messages: 150,
            message_bytes: 256 << 10,
            time: 24 * 3600 * SECOND,
            ..SearchBudget::default()
        },
    }
}

/// Draws a request: some kinds of limits, each with no expected value, the true one or a wrong one.
fn asked(die: &mut Die, drawn: &Drawn) -> LimitRequest {
    let mut kinds: Vec<LimitKind> = LimitKind::all()
        .filter(|kind| !matches!(kind.name(), "too-many-tls-sessions" | "too-many-connections-to-host"))
        .collect();
    kinds.shuffle(&mut die.0);
    // Limits that the listener has come first.
    kinds.sort_by_key(|kind| truth(drawn, *kind).is_none());
    kinds.truncate(7);
    let mut expected = BTreeMap::new();
    for &kind in &kinds {
        let truth = truth(drawn, kind);
        let value = match die.number(0, 4) {
            0 | 1 => truth,
            2 => truth.map(|truth| truth + die.number(1, truth.max(3))),
            3 if die.often(0.5) => Some(die.number(1, 30)),
            _ => None,
        };
        if let Some(value) = value.filter(|_| kind.measure() != LimitMeasure::Rule) {
            expected.insert(kind, value);
        }
    }
    kinds.sort_by_key(|kind| LimitKind::all().position(|other| other == *kind));
    LimitRequest { kinds, expected }
}

fn searched(drawn: &Drawn, request: &LimitRequest) -> (SearchOutcome, usize) {
    let mut probes = Simulated::new(drawn);
    let outcome = limit::search(&mut probes, &setting(), request, &mut ());
    let left = probes.left_open();
    (outcome, left)
}

/// A result in one line.
fn short(finding: &LimitResult) -> String {
    format!(
        "{:?} {:?} to {:?}, expected {:?}, by {:?} {:?}, {} of {}, window {:?}, alive {:?}, {:?} {:?}",
        finding.verdict,
        finding.at_least,
        finding.at_most,
        finding.expected,
        finding.shown_by,
        finding.reply,
        finding.repeats,
        finding.looked,
        finding.window_ms,
        finding.inside_alive,
        finding.inexact,
        finding.remarks
    )
}

/// Returns what is wrong with the results for a listener.
fn faults(drawn: &Drawn, request: &LimitRequest, outcome: &SearchOutcome, left: usize) -> Vec<String> {
    let mut faults = Vec::new();
    for finding in &outcome.results {
        let kind = request
            .kinds
            .iter()
            .copied()
            .find(|kind| {
                kind.name() == finding.name
                    || finding.name == "too-many-connections-to-host"
                        && kind.name() == "too-many-connections-to-listener"
            })
            .unwrap();
        if let Some(what) = untrue(drawn, kind, finding) {
            faults.push(format!(
                "{}: {what} (truth {:?}): {}",
                kind.name(),
                truth(drawn, kind),
                short(finding)
            ));
        }
    }
    if outcome.ended.is_some() {
        faults.push(format!("ended: {:?}", outcome.ended));
    }
    if left > 0 {
        faults.push(format!("{left} sessions were left open"));
    }
    faults
}

#[test]
fn nothing_untrue_is_said_of_a_thousand_drawn_listeners() {
    let named: Option<Vec<u64>> = std::env::var("SMTPRESS_DRAWN")
        .ok()
        .map(|seeds| seeds.split(',').filter_map(|seed| seed.parse().ok()).collect());
    let (mut known, mut exact, mut wrong) = (0, 0, Vec::new());
    let mut why: BTreeMap<String, u64> = BTreeMap::new();
    let seeds = named.clone().unwrap_or_else(|| (0..1000).collect());
    for seed in seeds {
        let mut die = Die(ChaCha8Rng::seed_from_u64(seed));
        let drawn = drawn(&mut die);
        let request = asked(&mut die, &drawn);
        let (outcome, left) = searched(&drawn, &request);
        for finding in &outcome.results {
            let kind = request.kinds.iter().copied().find(|kind| kind.name() == finding.name);
            let Some(value) = kind.and_then(|kind| truth(&drawn, kind)) else { continue };
            known += 1;
            if finding.at_most.is_some() && finding.verdict != LimitVerdict::Unstable {
                exact += 1;
            } else {
                let reason = finding.remarks.last().map_or("", |remark| remark.as_str());
                let reason: String = reason.chars().filter(|c| !c.is_ascii_digit()).take(90).collect();
                *why.entry(format!("{} {:?} {reason}", finding.name, finding.verdict)).or_default() += 1;
                if named.is_some() {
                    println!("{value}: {}", short(finding));
                }
            }
        }
        let faults = faults(&drawn, &request, &outcome, left);
        if !faults.is_empty() {
            if named.is_some() {
                println!("{drawn:?}");
            }
            wrong.push(format!("seed {seed}:\n  {}", faults.join("\n  ")));
        }
    }
    println!("{known} limits that are there, {exact} found; of the others:");
    for (what, count) in why {
        println!("  {count} {what}");
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong[..wrong.len().min(200)].join("\n"));
    if named.is_none() {
        assert!(exact as f64 > 0.6 * known as f64, "{exact} of {known}");
    }
}
