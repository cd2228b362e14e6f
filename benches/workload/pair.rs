//! Client and server machine over a wire in memory: all that a transaction costs but for the kernel and the runtime.
//!
//! It turns bytes over as `net::drive` does. The client has an owner that keeps recording as the generator's sessions do.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smtpress::mail::{Mailer, Message};
use smtpress::smtp::client::Event;
use smtpress::smtp::request::Request;
use smtpress::smtp::script::{Pipelining, SessionIdentity};
use smtpress::smtp::server::{Ask, Policy, PolicyAnswer, Server, ServerBounds};
use smtpress::smtp::{Client, Machine, Need, Step};

use super::Recording;

/// What passes between one turn and the next.
const TURN: Duration = Duration::from_micros(20);

/// A session that never ends, and the two ends of its wire.
pub struct Pair {
    client: Client<Message>,
    owner: Owner,
    server: Server<Willing>,
    now: Instant,
    to_client: Vec<u8>,
    to_server: Vec<u8>,
}

impl Pair {
    /// A session that is established.
    pub fn new(pipelining: Pipelining) -> Pair {
        let now = epoch();
        let mut pair = Pair {
            client: Client::new(Rc::new(super::script(pipelining)), SessionIdentity::default(), now),
            owner: Owner {
                mailer: super::mailer(),
                recording: Recording::new(),
                started: [None; 2],
                sent: 0,
                accepted: 0,
            },
            server: Server::new(Willing, ServerBounds::default()),
            now,
            to_client: Vec::new(),
            to_server: Vec::new(),
        };
        pair.run(1);
        pair
    }

    /// Runs until `n` more messages were accepted.
    pub fn run(&mut self, n: u64) -> u64 {
        let goal = self.owner.accepted + n;
        while self.owner.accepted < goal {
            self.server_turn();
            self.client_turn();
        }
        self.owner.accepted
    }

    /// Messages accepted so far.
    pub fn accepted(&self) -> u64 {
        self.owner.accepted
    }

    /// The end of a second.
    pub fn second(&mut self) {
        self.owner.recording.second();
    }

    /// The client reads what has come, and writes until it waits.
    pub fn client_turn(&mut self) {
        let Pair { client, owner, now, to_client, to_server, .. } = self;
        *now += TURN;
        let mut settle = |client: &mut Client<Message>| loop {
            match client.poll(*now, to_server) {
                Need::Emit(event) => owner.hear(client, event),
                Need::Write => client.handle_written(*now),
                Need::Read { .. } => return,
                Need::Secure { .. } | Need::Wait { .. } | Need::EndWrite | Need::Close(_) => {
                    unreachable!("the session goes on, in clear, and well-behaved")
                }
            }
        };
        settle(client);
        let mut input = to_client.as_slice();
        while !input.is_empty() {
            let taken = client.handle_input(*now, input);
            input = &input[taken..];
            settle(client);
        }
        to_client.clear();
    }

    /// The server reads what has come, and answers.
    pub fn server_turn(&mut self) {
        let Pair { server, now, to_client, to_server, .. } = self;
        *now += TURN;
        let mut settle = |server: &mut Server<Willing>| loop {
            match server.poll(*now, to_client) {
                Need::Emit(never) => match never {},
                Need::Write => server.handle_written(*now),
                Need::Read { .. } => return,
                Need::Secure { .. } | Need::Wait { .. } | Need::EndWrite | Need::Close(_) => {
                    unreachable!("the session goes on, in clear, and well-behaved")
                }
            }
        };
        settle(server);
        let mut input = to_server.as_slice();
        while !input.is_empty() {
            let taken = server.handle_input(*now, input);
            input = &input[taken..];
            settle(server);
        }
        to_server.clear();
    }
}

/// The one moment from which virtual time counts.
#[expect(clippy::disallowed_methods, reason = "an Instant has no other source; nothing depends on its value")]
fn epoch() -> Instant {
    Instant::now()
}

/// Gives the client one message after the other and keeps the recording.
struct Owner {
    mailer: Arc<Mailer>,
    recording: Recording,
    /// When the message being answered began, and the one that went out with its content.
    started: [Option<Instant>; 2],
    sent: u64,
    accepted: u64,
}

impl Owner {
    fn hear(&mut self, client: &mut Client<Message>, event: Event) {
        match event {
            Event::Step { failure: Some(failure), step, .. } => panic!("{step} failed: {failure:?}"),
            Event::Step { step, started, ended, .. } => self.recording.step(step, nanos(started, ended)),
            Event::Ready { .. } => {
                client.begin(self.mailer.message(self.sent));
                self.sent += 1;
            }
            Event::Started(at) => {
                let free = usize::from(self.started[0].is_some());
                self.started[free] = Some(at);
                self.recording.started();
            }
            Event::Transaction { accepted, ended } => {
                assert!(accepted, "a transaction failed");
                self.accepted += 1;
                let started = self.started[0].expect("what is answered was started");
                self.started = [self.started[1], None];
                self.recording.over(nanos(started, ended));
            }
            Event::Mixed(..) => panic!("a reply of different codes"),
            Event::Secured(_) | Event::SteppedDown { .. } | Event::Established(_) => {}
            Event::Ended { .. } => panic!("the session ended"),
        }
    }
}

fn nanos(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_nanos()).unwrap_or(u64::MAX)
}

/// Says yes to all.
struct Willing;

impl Policy for Willing {
    fn answer(&mut self, _now: Instant, ask: Ask<'_>) -> PolicyAnswer {
        PolicyAnswer::new(match ask {
            Ask::Greeting => "220 listener.example ESMTP",
            Ask::Request(Request::Hello { .. }) => "250-listener.example\n250-PIPELINING\n250 SIZE 10240000",
            Ask::Request(Request::Mail { .. }) => "250 2.1.0 Ok",
            Ask::Request(Request::Rcpt { .. }) => "250 2.1.5 Ok",
            Ask::Request(Request::Data) => "354 End data with <CR><LF>.<CR><LF>",
            Ask::Body(_) => "250 2.0.0 Ok",
            wrong => panic!("not asked for: {wrong:?}"),
        })
    }

    fn content(&mut self, bytes: &[u8]) {
        std::hint::black_box(bytes);
    }

    fn queued(&mut self, _now: Instant, _step: Step, _code: u16) {}

    fn abandoned(&mut self) {}
}
