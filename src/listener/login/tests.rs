//! Tests of `login`: the client's machine against the listener's, and lines that a client types, without a socket.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::condition::Classifier;
use crate::condition::Condition;
use crate::listener::behaviour::Behaviour;
use crate::listener::limits::{Delay, Dialect, ErrorDelay};
use crate::listener::offers::Offers;
use crate::listener::peer::Peer;
use crate::listener::state::ListenerState;
use crate::net::address::addresses::Addresses;
use crate::smtp::auth::verify::Users;
use crate::smtp::auth::{Login, Secret};
use crate::smtp::client::{Client, Event, Failure};
use crate::smtp::machine::{Machine, Need};
use crate::smtp::script::{Script, SessionIdentity, TlsMode};
use crate::smtp::server::Server;
use crate::smtp::transaction::{Content, Lost};
use crate::smtp::{Reply, Step};

const SECRET: &str = "correct horse battery";

fn limits() -> Limits {
    let users = Users::new([
        ("anna".to_owned(), Secret::new("another secret")),
        ("load".to_owned(), Secret::new(SECRET)),
    ]);
    Limits { users: Some(Arc::new(users)), ..Limits::default() }
}

#[expect(clippy::disallowed_methods, reason = "the origin of a virtual clock")]
fn start() -> Instant {
    Instant::now()
}

fn handshake() -> Handshake {
    Handshake { binding: Some(b"this session".to_vec()), ..Handshake::default() }
}

/// A message that is never sent.
#[derive(Debug)]
struct NoMail;

impl Content for NoMail {
    fn sender(&self, _out: &mut Vec<u8>) {}
    fn recipients(&self) -> u32 {
        0
    }
    fn recipient(&self, _index: u32, _out: &mut Vec<u8>) {}
    fn size(&self) -> u64 {
        0
    }
    fn body(&self, _offset: u64, _out: &mut Vec<u8>) -> Result<u64, Lost> {
        Ok(0)
    }
    fn raw(&self, _offset: u64, _limit: u64, _out: &mut Vec<u8>) -> Result<u64, Lost> {
        Ok(0)
    }
    fn envelope_id(&self, _out: &mut Vec<u8>) {}
}

/// The listener's side of one session.
struct Served {
    shared: Arc<ListenerState>,
    server: Server<Behaviour>,
    now: Instant,
    said: Vec<u8>,
    over: bool,
}

impl Served {
    fn new(limits: Limits, secured: bool) -> Served {
        let now = start();
        let tls = if secured { TlsMode::Implicit } else { limits.tls };
        let shared = Arc::new(ListenerState::new(Limits { tls, ..limits }, 7, now, None, None));
        let peer = Peer::new(Some(Ipv4Addr::LOCALHOST.into()), &shared.limits);
        let policy = Behaviour::new(shared.clone(), peer, shared.number());
        let server = Server::new(policy, shared.bounds(now));
        let mut served = Served { shared, server, now, said: Vec::new(), over: false };
        served.settle();
        served
    }

    fn settle(&mut self) {
        while !self.over {
            match self.server.poll(self.now, &mut self.said) {
                Need::Emit(never) => match never {},
                Need::Write => {}
                Need::Secure { .. } => self.server.handle_secured(self.now, handshake()),
                Need::Wait { .. } | Need::EndWrite => unreachable!("a server has manners"),
                Need::Read { until } => match until {
                    // The listener delays its answer.
                    Some(until) if self.said.is_empty() => self.now = until,
                    _ => return,
                },
                Need::Close(_) => self.over = true,
            }
        }
    }

    fn hear(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.over {
            bytes = &bytes[self.server.handle_input(self.now, bytes)..];
            self.settle();
        }
    }

    /// Sends lines. Returns the reply to the last.
    fn types(&mut self, lines: &[&str]) -> String {
        for line in lines {
            self.said.clear();
            self.hear(format!("{line}\r\n").as_bytes());
        }
        String::from_utf8(std::mem::take(&mut self.said)).unwrap().replace("\r\n", "\n").trim_end().to_owned()
    }

    fn ledger(&self) -> LedgerSnapshot {
        let mut ledger = self.shared.counts.snapshot();
        self.shared.logins.enter(&self.shared.limits, &mut ledger);
        ledger
    }
}

/// The places where the bytes are split into several reads.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Nowhere,
    /// Once: before this byte, counted over both directions.
    Before(usize),
    Everywhere,
}

/// Runs a session of a client that logs in and sends QUIT. Returns the listener's side, the result of each login,
/// whether the session was established, and the number of bytes in both directions.
fn session(login: &Login, limits: Limits, cut: Cut) -> (Served, Vec<Option<Failure>>, bool, usize) {
    let mut served = Served::new(limits, true);
    let script = Script { tls: TlsMode::Implicit, ..Script::default() };
    let identity = SessionIdentity { login: Some(login.clone()), ..SessionIdentity::default() };
    let mut client: Client<NoMail> = Client::new(Rc::new(script), identity, served.now);
    let (mut logins, mut established, mut moved) = (Vec::new(), false, 0);
    let mut coming = VecDeque::new();
    let mut pieces = |bytes: &[u8]| -> Vec<Vec<u8>> {
        if bytes.is_empty() {
            return Vec::new();
        }
        let from = moved;
        moved += bytes.len();
        match cut {
            Cut::Everywhere => bytes.chunks(1).map(<[u8]>::to_vec).collect(),
            Cut::Before(at) if (from + 1..moved).contains(&at) => {
                vec![bytes[..at - from].to_vec(), bytes[at - from..].to_vec()]
            }
            Cut::Nowhere | Cut::Before(_) => vec![bytes.to_vec()],
        }
    };
    for _ in 0..10_000 {
        let mut out = Vec::new();
        match client.poll(served.now, &mut out) {
            Need::Emit(Event::Step { step: Step::Auth, failure, .. }) => logins.push(failure.map(|why| *why)),
            Need::Emit(Event::Established(_)) => established = true,
            Need::Emit(Event::Ready { .. }) => client.finish(),
            Need::Emit(_) => {}
            Need::Write => {
                client.handle_written(served.now);
                pieces(&out).iter().for_each(|piece| served.hear(piece));
            }
            Need::Secure { .. } => client.handle_secured(served.now, handshake()),
            Need::Wait { .. } | Need::EndWrite => unreachable!("the client has manners"),
            Need::Read { .. } => {
                let said = std::mem::take(&mut served.said);
                coming.extend(pieces(&said));
                let piece = coming.pop_front().expect("one side has something to say");
                client.handle_input(served.now, &piece);
            }
            Need::Close(_) => return (served, logins, established, moved),
        }
    }
    panic!("it never ends");
}

#[test]
fn each_mechanism_logs_in_however_its_bytes_are_cut() {
    for mechanism in Mechanism::ALL {
        let login = Login::new(mechanism, "load", Secret::new(SECRET));
        let (_, _, _, bytes) = session(&login, limits(), Cut::Nowhere);
        assert!(bytes > 300);
        // SCRAM is slow: each new listener computes the rounds again.
        let step =
            if matches!(mechanism, Mechanism::ScramSha256 | Mechanism::ScramSha256Plus) { 7 } else { 1 };
        let all = (0..bytes).step_by(step).map(Cut::Before);
        for cut in all.chain([Cut::Nowhere, Cut::Everywhere]) {
            let (served, logins, established, _) = session(&login, limits(), cut);
            assert_eq!((logins, established), (vec![None], true), "{mechanism:?} {cut:?}");
            let ledger = served.ledger();
            assert_eq!((ledger.logins, ledger.failed_logins), (1, 0));
            assert_eq!(ledger.logins_by_user.into_iter().collect::<Vec<_>>(), [("load".to_owned(), 1)]);
        }
    }
}

#[test]
fn a_wrong_password_fails_the_step_by_its_name_in_all_words() {
    let classifier = Classifier::new(Vec::new());
    for style in Dialect::ALL {
        for mechanism in Mechanism::ALL {
            for (user, secret) in [("load", "wrong"), ("nobody", SECRET)] {
                let login = Login::new(mechanism, user, Secret::new(secret));
                let (served, logins, established, _) =
                    session(&login, Limits { style, ..limits() }, Cut::Nowhere);
                let [Some(Failure::Reply(reply) | Failure::Challenged { reply, understood: true, .. })] =
                    &logins[..]
                else {
                    panic!("{mechanism:?} {style:?}: {logins:?}")
                };
                assert_eq!(reply.code, 535, "{mechanism:?}");
                assert_eq!(classifier.classify(Some(Step::Auth), reply, false), Condition::AuthFailed);
                assert!(!established);
                let ledger = served.ledger();
                assert_eq!((ledger.logins, ledger.failed_logins), (0, 1));
                assert_eq!(ledger.refused.get("auth-failed"), Some(&1));
            }
        }
    }
}

/// Checks that the reply to the last of these lines, sent after EHLO, is `says`.
#[track_caller]
fn assert_said(limits: &Limits, lines: &[&str], says: &str) {
    let mut served = Served::new(limits.clone(), false);
    served.types(&["EHLO client.example"]);
    assert_eq!(served.types(lines), says, "{lines:?}");
}

fn plain(user: &str, secret: &str) -> String {
    format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{user}\0{secret}")))
}

#[test]
fn what_is_offered_follows_from_users_mechanisms_and_tls() {
    let hello = |limits: Limits, secured| {
        let said = Served::new(limits, secured).types(&["EHLO client.example"]);
        said.lines().filter(|line| line.contains("AUTH")).collect::<Vec<_>>().join("|")
    };
    let clear = "250-AUTH PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256 XOAUTH2 OAUTHBEARER";
    let tls = "250-AUTH PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256 SCRAM-SHA-256-PLUS XOAUTH2 OAUTHBEARER";
    assert_eq!(hello(limits(), false), clear);
    assert_eq!(hello(limits(), true), tls);
    let mechanisms = vec![Mechanism::Login, Mechanism::ScramSha256Plus];
    assert_eq!(hello(Limits { mechanisms: mechanisms.clone(), ..limits() }, false), "250-AUTH LOGIN");
    assert_eq!(hello(Limits { mechanisms: mechanisms[1..].to_vec(), ..limits() }, false), "");
    assert_eq!(hello(Limits::default(), true), "");
}

#[test]
fn lines_of_a_session_are_offered_after_a_name_alone() {
    for style in [Dialect::Cisco, Dialect::Exim] {
        let trusted = Addresses::parse(&["127.0.0.1"]).unwrap();
        let bare = Limits { style, offers: Offers::NONE, trusted, ..Limits::default() };
        let auth = Limits { users: limits().users, mechanisms: vec![Mechanism::Plain], ..bare.clone() };
        let xclient = "250-XCLIENT NAME ADDR PORT PROTO HELO";
        let name = |end: char| format!("250{end}{}", bare.hostname);
        for (limits, says) in [
            (bare.clone(), name(' ')),
            (auth.clone(), format!("{}\n250 AUTH PLAIN", name('-'))),
            (
                Limits { xclient: true, ..bare.clone() },
                format!("{}\n{}", name('-'), xclient.replace("250-", "250 ")),
            ),
            (
                Limits { xclient: true, ..auth },
                format!("{}\n250-AUTH PLAIN\n{}", name('-'), xclient.replace("250-", "250 ")),
            ),
        ] {
            assert_eq!(Served::new(limits, false).types(&["EHLO client.example"]), says);
        }
    }
}

/// RFC 4954 section 5.
#[test]
fn mail_may_name_the_user_where_auth_is_offered() {
    for (limits, codes) in [(limits(), ["250", "250", "500"]), (Limits::default(), ["555", "555", "500"])] {
        for (parameter, code) in ["AUTH=<>", "AUTH=e+3Dmc2@b.example", "AUTH=a=b"].into_iter().zip(codes) {
            let mut served = Served::new(Limits { style: Dialect::Postfix, ..limits.clone() }, false);
            served.types(&["EHLO client.example"]);
            let said = served.types(&[&format!("MAIL FROM:<a@b.example> {parameter}")]);
            assert!(said.starts_with(code), "{parameter}: {said}");
        }
    }
}

#[test]
fn xclient_forgets_the_login_whether_or_not_it_names_a_client() {
    let trusted = Addresses::parse(&["127.0.0.1"]).unwrap();
    let limits = Limits {
        require_auth: true,
        xclient: true,
        trusted,
        max_junk_commands: Some(0),
        max_auth_failures: Some(1),
        max_messages_per_session: Some(2),
        ..limits()
    };
    let (login, wrong) = (plain("load", SECRET), plain("load", "wrong"));
    for (command, is_same) in
        [("XCLIENT ADDR=10.0.0.1", false), ("XCLIENT ADDR=[UNAVAILABLE]", true), ("XCLIENT NAME=x", true)]
    {
        let mut served = Served::new(limits.clone(), false);
        let mail = |served: &mut Served| served.types(&["MAIL FROM:<a@b.example>"]);
        let rest = ["RCPT TO:<c@d.example>", "DATA", "."];
        assert!(served.types(&["EHLO client.example", &wrong]).starts_with("535"));
        assert!(served.types(&[&login]).starts_with("235"));
        assert!(mail(&mut served).starts_with("250") && served.types(&rest).starts_with("250"));
        assert!(served.types(&[command]).starts_with("220"), "{command}");
        // A hello after the greeting is no junk command.
        assert!(served.types(&["EHLO client.example"]).starts_with("250"), "{command}");
        assert!(mail(&mut served).starts_with("530"), "{command}");
        assert!(served.types(&[&login]).starts_with("235"), "{command}");
        assert!(mail(&mut served).starts_with("250") && served.types(&rest).starts_with("250"));
        // The listener counts messages and failed logins for each client: another client starts with zero.
        assert!(mail(&mut served).starts_with(if is_same { "421" } else { "250" }), "{command}");
        let mut failing = Served::new(limits.clone(), false);
        failing.types(&["EHLO client.example", &wrong, command, "EHLO client.example"]);
        assert!(failing.types(&[&wrong]).starts_with(if is_same { "421" } else { "535" }), "{command}");
    }
}

#[test]
fn a_session_over_the_tls_limit_is_a_refused_connection() {
    for tokens in [None, Some(0)] {
        let limits = Limits { max_tls_sessions: Some(0), max_connections: tokens, ..Limits::default() };
        let served = Served::new(limits, true);
        assert!(served.said.starts_with(b"421") && served.over);
        let ledger = served.ledger();
        assert_eq!((ledger.refused_connections, ledger.sessions_peak, ledger.sessions), (1, 0, 0));
        assert_eq!((ledger.connections, ledger.host_sessions_peak, ledger.tls_sessions_peak), (1, 0, 0));
    }
    // A session that another limit refuses takes no place of a TLS session.
    let served = Served::new(Limits { max_connections: Some(0), ..Limits::default() }, true);
    assert_eq!((served.ledger().refused_connections, served.ledger().tls_sessions_peak), (1, 0));
    let served = Served::new(Limits { max_tls_sessions: Some(1), ..Limits::default() }, true);
    assert_eq!((served.ledger().sessions_peak, served.ledger().tls_sessions_peak), (1, 1));
}

#[test]
fn the_lines_of_an_exchange_mean_what_rfc_4954_says() {
    let (right, wrong) = (plain("load", SECRET), plain("load", "wrong"));
    let response = &right["AUTH PLAIN ".len()..];
    let limits = limits();
    let said = |lines: &[&str], says| assert_said(&limits, lines, says);
    let welcome = "235 #2.0.0 OK Authenticated";
    said(&[&right], welcome);
    said(&["AUTH PLAIN"], "334");
    said(&["auth plain", response], welcome);
    said(&[&wrong], "535 #5.7.8 Authentication failed");
    said(&[&wrong, &right], welcome);
    said(&["AUTH LOGIN"], "334 VXNlcm5hbWU6");
    said(&["AUTH LOGIN", "bG9hZA=="], "334 UGFzc3dvcmQ6");
    said(&["AUTH LOGIN bG9hZA=="], "334 UGFzc3dvcmQ6");
    // An empty response is `=` in the command, and an empty line after the command.
    said(&["AUTH LOGIN ="], "334 UGFzc3dvcmQ6");
    said(&["AUTH PLAIN ="], "501 #5.5.2 Cannot decode AUTH input");
    said(&["AUTH LOGIN", "bG9hZA==", ""], "535 #5.7.8 Authentication failed");
    said(&["AUTH LOGIN", "*"], "501 #5.7.0 Authentication exchange cancelled");
    said(&["AUTH LOGIN", "*", "NOOP"], "250 ok");
    said(&["AUTH LOGIN", "no base64"], "501 #5.5.2 Cannot decode AUTH input");
    said(&["AUTH LOGIN", "QUIT"], "334 UGFzc3dvcmQ6");
    said(&["AUTH PLAIN ???"], "501 #5.5.2 Cannot decode AUTH input");
    said(&["AUTH CRAM-MD5 bG9hZA=="], "501 #5.5.2 Cannot decode AUTH input");
    said(&["AUTH"], "501 #5.5.4 Invalid arguments to AUTH command");
    said(&["AUTH PLAIN bG9hZA== x"], "501 #5.5.4 Invalid arguments to AUTH command");
    said(&["AUTH GSSAPI"], "504 #5.5.1 AUTH mechanism GSSAPI is not available");
    said(&["AUTH SCRAM-SHA-256-PLUS"], "504 #5.5.1 AUTH mechanism SCRAM-SHA-256-PLUS is not available");
    said(&[&right, &right], "503 #5.5.0 Already authenticated");
    said(&[&right, "EHLO client.example", &right], "503 #5.5.0 Already authenticated");
    said(&["MAIL FROM:<a@b.example>", &right], "503 #5.5.0 AUTH not permitted during a mail transaction");
    let long = |length: usize| "A".repeat(length);
    let too_long = "500 #5.5.6 Authentication exchange line too long";
    said(&["AUTH LOGIN", &long(12288 - 2)], "501 #5.5.2 Cannot decode AUTH input");
    said(&["AUTH LOGIN", &long(12288 - 4)], "334 UGFzc3dvcmQ6");
    said(&["AUTH LOGIN", &long(12288)], too_long);
    said(&["AUTH LOGIN", &long(12288), "NOOP"], "250 ok");
    said(&[&format!("AUTH LOGIN {}", long(12276))], too_long);
    said(&[&format!("AUTH LOGIN {}", long(12272))], "334 UGFzc3dvcmQ6");
    said(&[&format!("NOOP {}", long(3000))], "500 Line too long");
    // An invalid line end within an exchange.
    let mut served = Served::new(limits.clone(), false);
    served.types(&["EHLO client.example", "AUTH LOGIN"]);
    served.hear(b"bG9hZA==\n");
    assert_eq!(served.types(&[]), "501 #5.5.2 syntax error");
    assert_eq!(served.types(&["NOOP"]), "250 ok");
    // Before hello there is no AUTH.
    assert_eq!(Served::new(limits.clone(), false).types(&[&right]), "503 Bad sequence of commands");
    // The client acknowledges the error of XOAUTH2 with an empty line.
    let token = STANDARD.encode("user=load\x01auth=Bearer wrong\x01\x01");
    said(&[&format!("AUTH XOAUTH2 {token}")], "334 eyJzdGF0dXMiOiI0MDEifQ==");
    said(&[&format!("AUTH XOAUTH2 {token}"), ""], "535 #5.7.8 Authentication failed");
}

#[test]
fn failures_over_the_limit_end_the_session_in_each_one_s_words() {
    let (right, wrong) = (plain("load", SECRET), plain("load", "wrong"));
    for (style, failed, last) in [
        (
            Dialect::Cisco,
            "535 #5.7.8 Authentication failed",
            "421 #4.7.0 Too many failed authentication attempts, disconnecting",
        ),
        (
            Dialect::Postfix,
            "535 5.7.8 Error: authentication failed: authentication failure",
            "421 4.7.0 mx.recipient.example Error: too many errors",
        ),
        (
            Dialect::Exim,
            "535 Incorrect authentication data",
            "421 mx.recipient.example: Too many failed authentication attempts",
        ),
    ] {
        let limits = Limits { style, max_auth_failures: Some(2), ..limits() };
        assert_said(
            &limits,
            &[&wrong, &wrong, &right],
            match style {
                Dialect::Cisco => "235 #2.0.0 OK Authenticated",
                Dialect::Postfix => "235 2.7.0 Authentication successful",
                Dialect::Exim => "235 Authentication succeeded",
            },
        );
        let mut served = Served::new(limits, false);
        served.types(&["EHLO client.example"]);
        assert_eq!(served.types(&[&wrong, &wrong]), failed);
        // A response that is not base64 counts as a failure too.
        assert_eq!(served.types(&["AUTH PLAIN ???"]), last);
        assert!(served.over);
        let ledger = served.ledger();
        assert_eq!((ledger.failed_logins, ledger.refused["too-many-auth-failures"]), (3, 1));
    }
}

#[test]
fn what_is_required_first_is_said_by_its_code() {
    let right = plain("load", SECRET);
    let mail = "MAIL FROM:<a@b.example>";
    let limits = Limits { require_auth: true, ..limits() };
    assert_said(&limits, &[mail], "530 Authentication required");
    assert_said(&limits, &[&right, mail], "250 sender ok");
    let limits = Limits { auth_requires_encryption: true, ..limits };
    assert_said(&limits, &[&right], "538 #5.7.11 Encryption required");
    let mut secured = Served::new(limits, true);
    assert_eq!(secured.types(&["EHLO client.example", &right, mail]), "250 sender ok");
    // A listener without users still refuses every login.
    assert_said(
        &Limits { require_auth: true, ..Limits::default() },
        &["AUTH PLAIN"],
        "504 #5.5.1 AUTH mechanism PLAIN is not available",
    );
    assert_said(&Limits::default(), &["AUTH PLAIN"], "503 #5.3.3 AUTH not available");
    // The conditions of such replies to AUTH.
    let classifier = Classifier::new(Vec::new());
    for (reply, condition) in [
        ("535 5.7.8 no", Condition::AuthFailed),
        ("454 4.7.0 Temporary authentication failure", Condition::AuthTemporaryFailure),
        ("454", Condition::AuthTemporaryFailure),
        ("538 #5.7.11 Encryption required", Condition::EncryptionRequired),
        ("538", Condition::EncryptionRequired),
        ("530 5.7.0 Must issue a STARTTLS command first", Condition::EncryptionRequired),
        ("534 5.7.9 Authentication mechanism is too weak", Condition::AuthNotAvailable),
        ("504 5.5.4 Unrecognized authentication type", Condition::AuthNotAvailable),
        ("421 4.7.0 Too many failed authentication attempts", Condition::TooManyAuthFailures),
        ("500 5.5.6 Authentication Exchange line is too long", Condition::LineTooLong),
    ] {
        let reply = Reply::parse(reply).unwrap();
        assert_eq!(classifier.classify(Some(Step::Auth), &reply, reply.code == 421), condition, "{reply}");
    }
}

#[test]
fn each_line_of_an_exchange_is_held_back() {
    let mut limits = limits();
    limits.delays.auth = Delay::fixed(Duration::from_secs(2));
    let mut served = Served::new(limits, false);
    let started = served.now;
    served.types(&["EHLO client.example"]);
    assert_eq!(served.now, started);
    let password = STANDARD.encode(SECRET);
    assert_eq!(served.types(&["AUTH LOGIN", "bG9hZA==", &password]), "235 #2.0.0 OK Authenticated");
    assert_eq!(served.now - started, Duration::from_secs(6));
}

#[test]
fn failed_logins_are_held_back_by_the_tarpit_and_good_ones_are_not() {
    let error_delay = Some(ErrorDelay { after: 1, delay: Duration::from_secs(2) });
    let mut served = Served::new(Limits { error_delay, ..limits() }, false);
    let started = served.now;
    let (wrong, right) = (plain("load", "wrong"), plain("load", SECRET));
    served.types(&["EHLO client.example", &wrong]);
    assert_eq!(served.now, started);
    served.types(&[&wrong, "AUTH LOGIN", "*"]);
    assert_eq!(served.now - started, Duration::from_secs(2));
    // A successful login is not delayed. The delay of the step is added to that of the tarpit.
    served.types(&[&right]);
    assert_eq!(served.now - started, Duration::from_secs(2));
    let mut slow = Limits { error_delay, ..limits() };
    slow.delays.auth = Delay::fixed(Duration::from_secs(3));
    let mut served = Served::new(slow, false);
    let started = served.now;
    served.types(&["EHLO client.example", &wrong, &wrong]);
    assert_eq!(served.now - started, Duration::from_secs(3 + 5));
}
