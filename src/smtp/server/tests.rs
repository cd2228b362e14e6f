//! Tests of `server`: a client's bytes against the machine under a virtual clock.

mod ends;

use super::*;
use crate::smtp::content::EndOfData;

/// A policy that accepts every step, some of them after a delay, and refuses recipients called `no`.
#[derive(Debug, Default)]
struct PlainPolicy {
    delays: Vec<(Step, Duration)>,
    content: Vec<u8>,
    queued: Vec<(Step, u16)>,
    abandoned: usize,
    lmtp: bool,
    /// How many contents are answered with 250. Later contents are refused.
    good: Option<usize>,
    /// The largest total of chunk bytes. A chunk above it is refused.
    most: Option<u64>,
    end: EndOfData,
    patience: Vec<(Step, Duration)>,
}

impl Policy for PlainPolicy {
    fn protocol(&self) -> Protocol {
        if self.lmtp { Protocol::Lmtp } else { Protocol::Smtp }
    }

    fn takes_chunks(&self) -> bool {
        true
    }

    fn patience(&self, after: Step) -> Option<Duration> {
        self.patience.iter().find(|(at, _)| *at == after).map(|(_, patience)| *patience)
    }

    fn end_of_data(&self) -> EndOfData {
        self.end
    }

    fn answer(&mut self, _now: Instant, ask: Ask<'_>) -> PolicyAnswer {
        let (step, reply) = match ask {
            Ask::Greeting => (Step::Greeting, "220 hi".to_owned()),
            Ask::Request(Request::Hello { .. } | Request::Lhlo { .. }) => {
                (Step::Hello, "250-a\n250 b".to_owned())
            }
            Ask::Request(Request::Mail { .. }) => (Step::Mail, "250 mail".to_owned()),
            Ask::Request(Request::Rcpt { path: "no@b.example", .. }) => (Step::Rcpt, "550 rcpt".to_owned()),
            Ask::Request(Request::Rcpt { .. }) => (Step::Rcpt, "250 rcpt".to_owned()),
            Ask::Request(Request::Data) => (Step::Data, "354 data".to_owned()),
            Ask::Request(Request::Quit) => {
                return PolicyAnswer { then: Then::Close, ..PolicyAnswer::new("221 bye") };
            }
            Ask::Request(Request::Auth("NOW")) => (Step::Auth, "235 in".to_owned()),
            Ask::Request(Request::Auth(_)) => (Step::Auth, "334 ".to_owned()),
            Ask::Response(line) => {
                let reply = match line {
                    b"yes" => "235 in",
                    b"more" => "334 more",
                    _ => "535 out",
                };
                (Step::Auth, reply.to_owned())
            }
            Ask::Request(_) => (Step::Idle, "250 other".to_owned()),
            Ask::Chunk(_, seen) if self.most.is_some_and(|most| seen.size > most) => {
                (Step::Idle, "552 too large".to_owned())
            }
            Ask::Chunk(size, _) => (Step::Idle, format!("250 {size} more")),
            Ask::Body(_) if self.good == Some(0) => (Step::Body, "450 body".to_owned()),
            Ask::Body(seen) => (Step::Body, format!("250 {} bytes", seen.size)),
            Ask::RequestFault(fault) => (Step::Idle, format!("500 {fault:?}")),
            Ask::Lapse(lapse) => (Step::Idle, format!("421 {lapse:?}")),
        };
        if step == Step::Body
            && let Some(good) = &mut self.good
        {
            *good = good.saturating_sub(1);
        }
        let delay =
            self.delays.iter().find(|(at, _)| *at == step).map_or(Duration::ZERO, |(_, delay)| *delay);
        PolicyAnswer { delay, ..PolicyAnswer::new(reply) }
    }

    fn content(&mut self, bytes: &[u8]) {
        self.content.extend_from_slice(bytes);
    }

    fn queued(&mut self, _now: Instant, step: Step, code: u16) {
        self.queued.push((step, code));
    }

    fn abandoned(&mut self) {
        self.abandoned += 1;
    }
}

/// A machine, a clock that only the test moves, and each reply line with its time in milliseconds.
struct Pair {
    server: Server<PlainPolicy>,
    start: Instant,
    now: Instant,
    until: Option<Instant>,
    held: Vec<u8>,
    said: Vec<(u128, String)>,
    /// Whether the client reads nothing, so that the kernel takes no more bytes.
    full: bool,
    closed: Option<Close>,
}

impl Pair {
    #[expect(clippy::disallowed_methods, reason = "the origin of a virtual clock")]
    fn new(policy: PlainPolicy, bounds: ServerBounds) -> Pair {
        let start = Instant::now();
        let server = Server::new(policy, bounds);
        let mut pair = Pair {
            server,
            start,
            now: start,
            until: None,
            held: Vec::new(),
            said: Vec::new(),
            full: false,
            closed: None,
        };
        pair.settle();
        pair
    }

    fn settle(&mut self) {
        while self.closed.is_none() {
            let mut out = Vec::new();
            match self.server.poll(self.now, &mut out) {
                Need::Emit(never) => match never {},
                Need::Write => {
                    let text = String::from_utf8(out).unwrap();
                    assert!(text.ends_with("\r\n"), "{text:?}");
                    let ms = (self.now - self.start).as_millis();
                    self.said.extend(text.split_terminator("\r\n").map(|line| (ms, line.to_owned())));
                    if !self.full {
                        self.server.handle_written(self.now);
                    }
                }
                Need::Secure { .. } => panic!("no TLS here"),
                Need::Wait { .. } | Need::EndWrite => unreachable!("a server has manners"),
                Need::Read { until } => {
                    self.until = until;
                    return;
                }
                Need::Close(how) => self.closed = Some(how),
            }
        }
    }

    fn send(&mut self, wire: &[u8]) {
        self.held.extend_from_slice(wire);
        while !self.held.is_empty() && self.closed.is_none() {
            let taken = self.server.handle_input(self.now, &self.held);
            self.held.drain(..taken);
            self.settle();
            if taken == 0 {
                return;
            }
        }
    }

    fn advance(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while let Some(until) = self.until.filter(|until| *until <= end && self.closed.is_none()) {
            self.now = until;
            self.server.handle_timeout(until);
            self.settle();
            self.send(b"");
        }
        self.now = end;
    }

    fn lines(&self) -> Vec<&str> {
        self.said.iter().map(|(_, line)| line.as_str()).collect()
    }

    fn queued(&self) -> &[(Step, u16)] {
        &self.server.policy().queued
    }
}

fn plain(wire: &[u8]) -> Pair {
    let mut pair = Pair::new(PlainPolicy::default(), ServerBounds::default());
    pair.send(wire);
    pair
}

#[test]
fn a_session_runs_and_closes_however_it_is_cut() {
    let wire = b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<no@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n\
                 x\r\n..y\r\n.\r\nMAIL FROM:<>\r\nRSET\r\nNOOP\r\nFOO\r\nQUIT\r\nNOOP\r\n";
    let whole = plain(wire);
    assert_eq!(
        whole.lines(),
        [
            "220 hi",
            "250-a",
            "250 b",
            "250 mail",
            "550 rcpt",
            "250 rcpt",
            "354 data",
            "250 7 bytes",
            "250 mail",
            "250 other",
            "250 other",
            "500 Unrecognized(\"FOO\")",
            "221 bye"
        ]
    );
    assert_eq!(whole.closed, Some(Close::Linger));
    assert_eq!(whole.server.policy().content, b"x\r\n.y\r\n");
    assert_eq!(whole.server.policy().abandoned, 1);
    for piece in 1..wire.len() {
        let mut pair = Pair::new(PlainPolicy::default(), ServerBounds::default());
        wire.chunks(piece).for_each(|chunk| pair.send(chunk));
        assert_eq!(pair.said, whole.said, "pieces of {piece}");
        assert_eq!(pair.queued(), whole.queued());
        assert_eq!(pair.server.policy().content, whole.server.policy().content);
    }
}

#[test]
fn commands_out_of_order_are_faults() {
    let answers = |wire: &[u8]| plain(wire).lines().last().map(|line| (*line).to_owned()).unwrap();
    assert_eq!(answers(b"MAIL FROM:<>\r\n"), "500 HelloFirst");
    assert_eq!(answers(b"DATA\r\n"), "500 MailFirst");
    assert_eq!(answers(b"HELO a\r\nRCPT TO:<a@b.example>\r\n"), "500 MailFirst");
    assert_eq!(answers(b"HELO a\r\nMAIL FROM:<>\r\nMAIL FROM:<>\r\n"), "500 NestedMail");
    assert_eq!(answers(b"HELO a\r\nMAIL FROM:<>\r\nDATA\r\n"), "500 RcptFirst");
    assert_eq!(answers(b"HELO a\r\nMAIL FROM:<>\r\nAUTH PLAIN\r\n"), "500 InTransaction");
    assert_eq!(
        answers(b"HELO a\r\nMAIL FROM:<>\r\nRCPT TO:<no@b.example>\r\nDATA\r\n"),
        "500 NoValidRecipients"
    );
    // A second HELO ends the transaction (RFC 5321 4.1.4).
    assert_eq!(answers(b"HELO a\r\nMAIL FROM:<>\r\nHELO a\r\nRCPT TO:<a@b.example>\r\n"), "500 MailFirst");
    assert_eq!(answers(b"HELO a\r\nMAIL FROM:<>\r\nRSET\r\nMAIL FROM:<>\r\n"), "250 mail");
    // RSET before HELO does not replace it.
    assert_eq!(answers(b"RSET\r\nMAIL FROM:<>\r\n"), "500 HelloFirst");
}

#[test]
fn a_delayed_answer_delays_those_that_follow() {
    let ms = Duration::from_millis;
    let policy = || PlainPolicy {
        delays: vec![(Step::Greeting, ms(10)), (Step::Mail, ms(100))],
        ..PlainPolicy::default()
    };
    let wire = b"HELO a\r\nMAIL FROM:<>\r\nNOOP\r\nQUIT\r\n";
    let mut pair = Pair::new(policy(), ServerBounds::default());
    pair.send(wire);
    assert!(pair.said.is_empty());
    pair.advance(9);
    assert!(pair.said.is_empty());
    pair.advance(1);
    assert_eq!(pair.lines(), ["220 hi", "250-a", "250 b"]);
    pair.advance(99);
    assert_eq!(pair.said.len(), 3);
    pair.advance(1);
    assert_eq!(pair.said[3..].iter().map(|(ms, _)| *ms).collect::<Vec<_>>(), [110; 3]);
    assert_eq!(pair.lines()[3..], ["250 mail", "250 other", "221 bye"]);
}

#[test]
fn a_message_whose_answer_is_held_back_is_not_accepted_when_the_client_goes() {
    let delays = vec![(Step::Body, Duration::from_secs(1))];
    let mut pair = Pair::new(PlainPolicy { delays, ..PlainPolicy::default() }, ServerBounds::default());
    pair.send(b"HELO a\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\nx\r\n.\r\n");
    pair.advance(500);
    pair.server.handle_closed(pair.now, Closed::Reset);
    pair.settle();
    pair.advance(1000);
    assert_eq!(pair.closed, Some(Close::Clean));
    assert!(!pair.queued().iter().any(|(step, _)| *step == Step::Body), "{:?}", pair.queued());
}

#[test]
fn a_session_at_rest_is_small() {
    let mut pair = plain(b"EHLO c.example\r\nMA");
    pair.send(b"IL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n");
    pair.send(&[b'x'; 100_000]);
    pair.send(b"\r\n.\r\n");
    assert!(size_of::<Server<()>>() <= 512, "{}", size_of::<Server<()>>());
    assert_eq!(pair.server.out.capacity(), 0);
    assert!(format!("{:?}", pair.server.lines).contains("partial: []"));
}

const OPEN: &str = "EHLO c.example\r\nMAIL FROM:<a@b.example> BODY=BINARYMIME\r\nRCPT TO:<c@d.example>\r\n";

/// Returns the replies after greeting and hello, and the content, when the bytes come in pieces of `piece` bytes.
fn chunked(wire: &[u8], piece: usize, policy: PlainPolicy) -> (Vec<String>, Vec<u8>, usize) {
    let mut pair = Pair::new(policy, ServerBounds::default());
    wire.chunks(piece).for_each(|part| pair.send(part));
    let said = pair.lines().into_iter().skip(3).map(str::to_owned).collect();
    let policy = pair.server.policy();
    (said, policy.content.clone(), policy.abandoned)
}

#[test]
fn chunks_are_taken_as_they_are_however_they_are_cut() {
    let wire = format!(
        "{OPEN}BDAT 5\r\n.\r\n.\r\
BDAT 0\r\nbdat 12 last\r\n\nBDAT 9\r\n.\r\nNOOP\r\n\
         MAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nBDAT 0 LAST\r\nQUIT\r\n"
    );
    let wire = wire.as_bytes();
    let whole = chunked(wire, wire.len(), PlainPolicy::default());
    assert_eq!(
        whole.0,
        [
            "250 mail",
            "250 rcpt",
            "250 5 more",
            "250 0 more",
            "250 17 bytes",
            "250 other",
            "250 mail",
            "250 rcpt",
            "250 0 bytes",
            "221 bye"
        ]
    );
    assert_eq!(whole.1, b".\r\n.\r\nBDAT 9\r\n.\r\n");
    for piece in 1..wire.len() {
        assert_eq!(chunked(wire, piece, PlainPolicy::default()), whole, "pieces of {piece}");
    }
}

#[test]
fn chunks_that_are_out_of_order_are_thrown_away_and_refused_after_that() {
    for (wire, said) in [
        ("BDAT 6\r\nNOOP\r\nQUIT\r\n", &["500 HelloFirst", "221 bye"][..]),
        ("EHLO a\r\nBDAT 6 LAST\r\nNOOP\r\nQUIT\r\n", &["250-a", "250 b", "500 MailFirst", "221 bye"]),
        (
            "EHLO a\r\nMAIL FROM:<>\r\nBDAT 6\r\nNOOP\r\nRCPT TO:<no@b.example>\r\nBDAT 6 LAST\r\nNOOP\r\nQUIT\r\n",
            &["250-a", "250 b", "250 mail", "500 RcptFirst", "550 rcpt", "500 NoValidRecipients", "221 bye"],
        ),
        (
            "EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nBDAT 6\r\nNOOP\r\nDATA\r\nRCPT TO:<a@b.example>\r\nMAIL FROM:<>\r\nRSET\r\nQUIT\r\n",
            &[
                "250-a",
                "250 b",
                "250 mail",
                "250 rcpt",
                "250 6 more",
                "500 BdatOnly",
                "500 BdatOnly",
                "500 NestedMail",
                "250 other",
                "221 bye",
            ],
        ),
        (
            "EHLO a\r\nMAIL FROM:<> BODY=BINARYMIME\r\nRCPT TO:<a@b.example>\r\nDATA\r\nBDAT 2 LAST\r\n\r\nQUIT\r\n",
            &["250-a", "250 b", "250 mail", "250 rcpt", "500 BdatOnly", "250 2 bytes", "221 bye"],
        ),
        (
            "EHLO a\r\nBDAT x\r\nLHLO a\r\nQUIT\r\n",
            &["250-a", "250 b", "500 Syntax(\"x\")", "500 Unrecognized(\"LHLO\")", "221 bye"],
        ),
    ] {
        for piece in 1..=wire.len() {
            let mut pair = Pair::new(PlainPolicy::default(), ServerBounds::default());
            wire.as_bytes().chunks(piece).for_each(|part| pair.send(part));
            assert_eq!(pair.lines()[1..], *said, "{wire:?} in pieces of {piece}");
        }
    }
}

#[test]
fn a_refused_chunk_ends_its_transaction_and_what_was_pipelined_is_thrown_away() {
    let wire = format!("{OPEN}BDAT 4\r\nabcdBDAT 4\r\nefghBDAT 4 LAST\r\nijklRSET\r\nMAIL FROM:<>\r\n");
    let policy = || PlainPolicy { most: Some(6), ..PlainPolicy::default() };
    let whole = chunked(wire.as_bytes(), wire.len(), policy());
    assert_eq!(
        whole.0,
        ["250 mail", "250 rcpt", "250 4 more", "552 too large", "500 MailFirst", "250 other", "250 mail"]
    );
    assert_eq!((whole.1.as_slice(), whole.2), (b"abcdefgh".as_slice(), 1));
    for piece in 1..wire.len() {
        assert_eq!(chunked(wire.as_bytes(), piece, policy()), whole, "pieces of {piece}");
    }
}

#[test]
fn lmtp_answers_for_each_accepted_recipient() {
    for (content, bytes) in [("DATA\r\nx\r\n.\r\n", 3), ("BDAT 2\r\nx\rBDAT 1 LAST\r\n\n", 3)] {
        let wire = format!(
            "EHLO a\r\nHELO a\r\nLHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nRCPT TO:<no@b.example>\r\n\
             RCPT TO:<c@b.example>\r\nRCPT TO:<d@b.example>\r\n{content}NOOP\r\nQUIT\r\n"
        );
        for piece in 1..=wire.len() {
            let delays = vec![(Step::Body, Duration::from_millis(10))];
            let policy = PlainPolicy { lmtp: true, good: Some(2), delays, ..PlainPolicy::default() };
            let mut pair = Pair::new(policy, ServerBounds::default());
            wire.as_bytes().chunks(piece).for_each(|part| pair.send(part));
            pair.advance(100);
            let said: Vec<&str> = pair
                .lines()
                .into_iter()
                .filter(|line| *line != "354 data" && !line.ends_with("more"))
                .collect();
            let good = format!("250 {bytes} bytes");
            let expected = [
                "500 Unrecognized(\"HELO\")",
                "500 Unrecognized(\"HELO\")",
                "250-a",
                "250 b",
                "250 mail",
                "250 rcpt",
                "550 rcpt",
                "250 rcpt",
                "250 rcpt",
                &good,
                &good,
                "450 body",
                "250 other",
                "221 bye",
            ];
            assert_eq!(said[1..], expected, "pieces of {piece}");
            let at: Vec<u128> = pair
                .said
                .iter()
                .filter(|(_, line)| line.contains("bytes") || line.contains("body"))
                .map(|(ms, _)| *ms)
                .collect();
            assert_eq!(at, [10, 20, 30]);
            assert_eq!(pair.queued().iter().filter(|(step, _)| *step == Step::Body).count(), 3);
        }
    }
}

#[test]
fn a_client_that_reads_no_reply_is_not_heard_for_ever() {
    let mut pair = plain(b"EHLO c.example\r\n");
    pair.full = true;
    let said = |pair: &Pair| pair.lines().iter().map(|line| line.len() + 2).sum::<usize>();
    for _ in 0..1000 {
        let flood = b"RSET\r\n".repeat(1000);
        pair.send(&flood);
        if !pair.held.is_empty() {
            break;
        }
    }
    let waits = said(&pair);
    assert!((UNREAD..UNREAD + 1000).contains(&waits), "{waits} bytes wait for the client");
    let held = pair.held.len();
    pair.send(b"");
    assert_eq!(pair.held.len(), held, "nothing is taken while nothing is read");
    pair.full = false;
    pair.server.handle_written(pair.now);
    pair.send(b"QUIT\r\n");
    assert_eq!((pair.held.len(), pair.lines().last().copied()), (0, Some("221 bye")));
}
