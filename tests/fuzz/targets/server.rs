//! The listener's machine: the same answers and the same content however a client's bytes are cut.

#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use smtpress::smtp::machine::{Machine, Need};
use smtpress::smtp::request::Request;
use smtpress::smtp::server::{PolicyAnswer, Ask, ServerBounds, Policy, Server, Then};
use smtpress::smtp::step::Step;

/// Accepts all but recipients that begin with `no`; ends after some faults.
#[derive(Default)]
struct Plain {
    faults: u32,
    content: Vec<u8>,
    queued: Vec<(Step, u16)>,
    abandoned: u32,
}

impl Policy for Plain {
    fn answer(&mut self, _now: Instant, ask: Ask<'_>) -> PolicyAnswer {
        match ask {
            Ask::Greeting => PolicyAnswer::new("220 hi"),
            Ask::Request(Request::Hello { .. }) => PolicyAnswer::new("250-a\n250 b"),
            Ask::Request(Request::Rcpt { path, .. }) if path.starts_with("no") => PolicyAnswer::new("550 no"),
            Ask::Request(Request::Data) => PolicyAnswer::new("354 go"),
            Ask::Request(Request::Quit) => PolicyAnswer { then: Then::Close, ..PolicyAnswer::new("221 bye") },
            Ask::Request(_) => PolicyAnswer::new("250 ok"),
            Ask::Body(seen) => PolicyAnswer::new(format!("250 {seen:?}")),
            Ask::RequestFault(_) if self.faults > 20 => PolicyAnswer::new("421 too many"),
            Ask::RequestFault(fault) => {
                self.faults += 1;
                PolicyAnswer::new(format!("500 {fault:?}"))
            }
            Ask::Lapse(lapse) => PolicyAnswer::new(format!("421 {lapse:?}")),
            _ => PolicyAnswer::new("250 ok"),
        }
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

/// What a session says, and what it told its policy.
fn session(bytes: &[u8], piece: usize, now: Instant) -> (Vec<u8>, Vec<u8>, Vec<(Step, u16)>, u32, bool) {
    let bounds = ServerBounds { max_line: 200, idle: Some(Duration::from_secs(60)), ..ServerBounds::default() };
    let mut server = Server::new(Plain::default(), bounds);
    let mut said = Vec::new();
    let mut closed = settle(&mut server, now, &mut said);
    for mut input in bytes.chunks(piece) {
        while !input.is_empty() && !closed {
            let taken = server.handle_input(now, input);
            assert!(taken > 0, "all is written: it takes what comes");
            input = &input[taken..];
            closed = settle(&mut server, now, &mut said);
        }
    }
    let policy = server.policy();
    (said, policy.content.clone(), policy.queued.clone(), policy.abandoned, closed)
}

fn settle(server: &mut Server<Plain>, now: Instant, said: &mut Vec<u8>) -> bool {
    loop {
        match server.poll(now, said) {
            Need::Emit(never) => match never {},
            Need::Write => server.handle_written(now),
            Need::Read { .. } => return false,
            Need::Secure { .. } | Need::Wait { .. } | Need::EndWrite | Need::Close(_) => return true,
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    // What may only stand last in a group is answered by where the group ends.
    if [&b"starttls"[..], b"xclient"].iter().any(|verb| bytes.windows(verb.len()).any(|at| at.eq_ignore_ascii_case(verb))) {
        return;
    }
    let now = Instant::now();
    let whole = session(bytes, bytes.len().max(1), now);
    assert_eq!(whole, session(bytes, 1, now));
    assert_eq!(whole, session(bytes, usize::from(*piece) + 1, now));
});
