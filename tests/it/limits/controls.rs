//! The controls of a search: what it tries before it takes a refusal for the limit, and replies that come late.

use std::net::IpAddr;
use std::time::Duration;

use smtpress::experiment::limit::{self, LimitResult, LimitSetting, LimitVerdict};
use smtpress::generator::probe::{
    CloseMode, OpenOutcome, Probe, ProbeEvent, ProbeOptions, ProbeOutcome, Probes, Spent,
};
use smtpress::smtp::Reply;
use smtpress::smtp::hello::Offer;

use super::drawn::listener::{At, Drawn, Limit, Rate, Shows, Simulated, Window};
use super::drawn::setting;
use super::stage::request;

/// A simulated listener behind a program that answers some bytes of the client itself.
struct Fronted<F> {
    listener: Simulated,
    /// Returns the event in place of the next one of the listener. After a silence the listener's own event still comes.
    answer: F,
    next: Option<ProbeEvent>,
    /// Whether the listener sees one client address, whatever the clients have.
    hides_clients: bool,
    /// Whether more bytes are written during each silence, and how many were.
    sends_slowly: bool,
    written: u64,
}

impl<F: FnMut(&[u8]) -> Option<ProbeEvent>> Fronted<F> {
    fn new(drawn: &Drawn, answer: F) -> Fronted<F> {
        let listener = Simulated::new(drawn);
        Fronted { listener, answer, next: None, hides_clients: false, sends_slowly: false, written: 0 }
    }

    fn find_with(&mut self, setting: &LimitSetting, name: &str, expected: Option<u64>) -> LimitResult {
        let outcome = limit::search(self, setting, &request(&[(name, expected)]), &mut ());
        assert_eq!(outcome.ended, None, "{:?}", outcome.results);
        outcome.results.into_iter().next().unwrap()
    }

    fn find(&mut self, name: &str, expected: Option<u64>) -> LimitResult {
        self.find_with(&setting(), name, expected)
    }
}

impl<F: FnMut(&[u8]) -> Option<ProbeEvent>> Probes for Fronted<F> {
    fn open(&mut self, ways: &[ProbeOptions], at_once: usize, within: Duration) -> Vec<OpenOutcome> {
        let hides = self.hides_clients;
        let ways: Vec<_> =
            ways.iter().map(|way| ProbeOptions { host: if hides { 0 } else { way.host }, ..*way }).collect();
        self.listener.open(&ways, at_once, within)
    }
    fn offer(&self, session: Probe) -> Offer {
        self.listener.offer(session)
    }
    fn send(&mut self, session: Probe, bytes: &[u8]) {
        self.next = (self.answer)(bytes);
        self.listener.send(session, bytes);
    }
    fn receive(&mut self, session: Probe, within: Duration) -> ProbeOutcome {
        match self.next.take() {
            None => self.listener.receive(session, within),
            Some(ProbeEvent::Silence) => {
                self.written += u64::from(self.sends_slowly);
                self.listener.pause(within);
                ProbeOutcome { event: ProbeEvent::Silence, at: self.listener.now() }
            }
            Some(event) => ProbeOutcome { event, ..self.listener.receive(session, within) },
        }
    }
    fn close(&mut self, sessions: &[Probe], how: CloseMode, within: Duration) -> u64 {
        self.listener.close(sessions, how, within)
    }
    fn pause(&mut self, length: Duration) {
        self.listener.pause(length);
    }
    fn now(&self) -> Duration {
        self.listener.now()
    }
    fn hosts(&self) -> u64 {
        self.listener.hosts()
    }
    fn network(&self, host: u64) -> Option<IpAddr> {
        self.listener.network(host)
    }
    fn spent(&self) -> Spent {
        let spent = self.listener.spent();
        Spent { bytes: spent.bytes + self.written, ..spent }
    }
}

fn reply(code: u16, text: &str) -> ProbeEvent {
    ProbeEvent::Reply(Reply::new(code, vec![text.to_owned()]))
}

fn limited(most: u64, code: u16, text: &'static str) -> Option<Limit> {
    Some(Limit { most, shows: Shows::Reply(code, text, None), at: At::Own })
}

fn says(finding: &LimitResult, words: &str) -> bool {
    finding.remarks.iter().any(|remark| remark.contains(words))
}

/// Whether these bytes begin with a command and contain a text.
fn is(bytes: &[u8], command: &str, text: &str) -> bool {
    let line = String::from_utf8_lossy(bytes);
    line.starts_with(command) && line.contains(text)
}

const RECIPIENTS: &str = "too-many-recipients";

#[test]
fn an_unknown_recipient_at_the_same_place_of_each_message_is_no_limit_of_recipients() {
    let mut setting = setting();
    setting.mail.to = "user{n:0..9}@recipient.example".into();
    for expected in [None, Some(5)] {
        let mut listener = Fronted::new(&Drawn::open(), |bytes| {
            is(bytes, "RCPT", "user5@").then(|| reply(550, "5.1.1 user unknown"))
        });
        let finding = listener.find_with(&setting, RECIPIENTS, expected);
        assert_eq!(
            (finding.verdict, finding.value, finding.at_least),
            (LimitVerdict::Obstructed, None, Some(5)),
            "{finding:?}"
        );
        let why = "user5@recipient.example is refused alone as well: 550 5.1.1 user unknown";
        assert!(says(&finding, why), "{finding:?}");
    }
}

#[test]
fn a_limit_of_recipients_stands_if_its_control_is_not_served() {
    let drawn = Drawn { recipients: limited(5, 452, "4.5.3 too many recipients"), ..Drawn::open() };
    let mut mails = 0;
    let mut listener = Fronted::new(&drawn, |bytes| {
        mails += u64::from(bytes.starts_with(b"MAIL"));
        // Three messages are measured, and the fourth is the control.
        (mails > 3 && bytes.starts_with(b"MAIL")).then(|| reply(450, "4.7.1 too much mail"))
    });
    let finding = listener.find(RECIPIENTS, Some(5));
    assert_eq!((finding.verdict, finding.value), (LimitVerdict::AsExpected, Some(5)), "{finding:?}");
    assert!(says(&finding, "is accepted alone is not known"), "{finding:?}");
}

#[test]
fn a_limit_of_one_host_behind_a_proxy_is_not_taken_for_one_of_all_clients() {
    let names = [("too-many-connections-from-host", None), ("too-many-connections-to-listener", Some(12))];
    let find = |words| {
        let shows = Shows::Reply(421, words, Some(Duration::ZERO));
        let per_host = Some(Limit { most: 12, shows, at: At::Own });
        let drawn = Drawn { per_host, ..Drawn::open() };
        let mut listener = Fronted { hides_clients: true, ..Fronted::new(&drawn, |_| None) };
        limit::search(&mut listener, &setting(), &request(&names), &mut ()).results
    };
    let [host, all] = &find("4.7.0 too many connections from 192.0.2.1")[..] else { panic!() };
    assert_eq!((host.verdict, host.value), (LimitVerdict::Found, Some(12)), "{host:?}");
    assert_eq!((all.verdict, all.value), (LimitVerdict::Obstructed, None), "{all:?}");
    assert!(says(all, "may see all client addresses as one"), "{all:?}");
    // A reply that names no host may be that of a limit of all clients, so the value stands with a remark.
    let [_, all] = &find("too many connections")[..] else { panic!() };
    assert_eq!((all.verdict, all.value), (LimitVerdict::AsExpected, Some(12)), "{all:?}");
    assert!(says(all, "may see all client addresses as one"), "{all:?}");
}

#[test]
fn an_expected_limit_on_the_bytes_of_a_session_is_confirmed_beyond_the_number_of_messages_of_other_searches()
{
    let drawn = Drawn {
        session_bytes: limited(2_000_000, 552, "5.3.4 too many bytes in this session"),
        ..Drawn::open()
    };
    let mut setting = setting();
    setting.bounds.messages = 10;
    let find =
        |expected| Fronted::new(&drawn, |_| None).find_with(&setting, "session-bytes-exceeded", expected);
    let finding = find(Some(2_000_000));
    assert_eq!((finding.verdict, finding.value), (LimitVerdict::AsExpected, Some(2_000_000)), "{finding:?}");
    let finding = find(None);
    assert_eq!((finding.verdict, finding.value), (LimitVerdict::NotReached, None), "{finding:?}");
}

#[test]
fn a_late_reply_to_a_noop_is_not_that_to_the_message() {
    let drawn = Drawn { recipients: limited(5, 452, "4.5.3 too many recipients"), ..Drawn::open() };
    let mut listener =
        Fronted::new(&drawn, |bytes| bytes.starts_with(b"NOOP").then_some(ProbeEvent::Silence));
    let finding = listener.find(RECIPIENTS, Some(5));
    assert_eq!((finding.verdict, finding.value), (LimitVerdict::AsExpected, Some(5)), "{finding:?}");
    assert_eq!((finding.closed, finding.inside_alive), (Some(false), None), "{finding:?}");
    assert!(says(&finding, "is not known") && !says(&finding, "accepted for no recipient"), "{finding:?}");
}

#[test]
fn content_that_is_written_slowly_is_waited_for() {
    let drawn = Drawn { size: limited(60_000, 552, "5.3.4 too big"), offers_size: false, ..Drawn::open() };
    let find = |sends_slowly| {
        // No reply comes in the first wait after each content.
        let answer = |bytes: &[u8]| bytes.ends_with(b"\r\n.\r\n").then_some(ProbeEvent::Silence);
        let mut listener = Fronted { sends_slowly, ..Fronted::new(&drawn, answer) };
        listener.find("message-size-exceeded.content", Some(60_000))
    };
    let finding = find(true);
    assert_eq!((finding.verdict, finding.value), (LimitVerdict::AsExpected, Some(60_000)), "{finding:?}");
    let finding = find(false);
    assert_eq!((finding.verdict, finding.value), (LimitVerdict::Obstructed, None), "{finding:?}");
}

#[test]
fn a_rate_that_is_reached_in_the_last_control_is_no_limit_on_the_bytes_of_a_session() {
    const LIMIT: &str = "4.7.1 message limit of this session reached";
    let find = |text, code| {
        let rate = Rate {
            most: 18,
            window: Duration::from_secs(3600),
            kind: Window::Fixed,
            counts_refused: false,
            shows: Shows::Reply(code, text, None),
        };
        let messages = limited(5, 452, LIMIT);
        let drawn = Drawn { messages, rate: Some(rate), ..Drawn::open() };
        // Three sessions of five messages and one message alone are measured before the control.
        Fronted::new(&drawn, |_| None).find("too-many-messages-per-session", Some(5))
    };
    let finding = find("4.7.1 too much mail", 450);
    assert_eq!((finding.verdict, finding.value), (LimitVerdict::AsExpected, Some(5)), "{finding:?}");
    assert!(says(&finding, "refused earlier by now") && !says(&finding, "bytes"), "{finding:?}");
    // If both refuse with the same words, nothing tells them apart.
    let finding = find(LIMIT, 452);
    assert_eq!((finding.verdict, finding.value), (LimitVerdict::Unstable, None), "{finding:?}");
}

#[test]
fn a_limit_on_the_bytes_of_a_session_is_none_on_its_messages() {
    let drawn = Drawn { session_bytes: limited(40_000, 552, "5.3.4 too many bytes"), ..Drawn::open() };
    let finding = Fronted::new(&drawn, |_| None).find("too-many-messages-per-session", None);
    assert_eq!((finding.verdict, finding.value), (LimitVerdict::NotReached, None), "{finding:?}");
    assert!(says(&finding, "the session's bytes are limited first"), "{finding:?}");
}

#[test]
fn a_path_grows_without_the_quotes_of_its_recipient() {
    let drawn = Drawn { path: limited(200, 552, "path too long"), ..Drawn::open() };
    let mut setting = setting();
    setting.mail.to = "\"a b\"@recipient.example".into();
    let mut listener = Fronted::new(&drawn, |bytes| {
        let is_mailbox = !is(bytes, "RCPT", "\"") || is(bytes, "RCPT", "\"@");
        (!is_mailbox).then(|| reply(501, "5.1.3 bad recipient address syntax"))
    });
    let finding = listener.find_with(&setting, "line-too-long.path", Some(200));
    assert_eq!((finding.verdict, finding.value), (LimitVerdict::AsExpected, Some(200)), "{finding:?}");
}
