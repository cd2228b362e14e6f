//! A listener that answers any command with anything: replies of every class, closes, resets, silence or invalid bytes,
//! early or late, and also several at once.

use std::collections::VecDeque;
use std::time::Duration;

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use smtpress::condition::Condition;
use smtpress::generator::probe::{
    CloseMode, OpenOutcome, Probe, ProbeEvent, ProbeOptions, ProbeOutcome, ProbeRefusal, Probes, Spent,
};
use smtpress::smtp::hello::Offer;
use smtpress::smtp::{Closed, Reply, Step};

const CODES: [u16; 16] = [250, 250, 250, 250, 354, 354, 220, 221, 235, 334, 421, 450, 452, 500, 550, 554];

/// The sessions with this listener.
pub struct Chaos {
    die: ChaCha8Rng,
    now: Duration,
    sessions: Vec<(VecDeque<ProbeEvent>, bool)>,
    spent: Spent,
    budget: u64,
}

impl Chaos {
    pub fn new(seed: u64) -> Chaos {
        let die = ChaCha8Rng::seed_from_u64(seed);
        Chaos { die, now: Duration::ZERO, sessions: Vec::new(), spent: Spent::default(), budget: 200_000 }
    }

    pub fn left_open(&self) -> usize {
        self.sessions.iter().filter(|(_, open)| *open).count()
    }

    fn spend(&mut self) {
        self.budget = self.budget.checked_sub(1).expect("the search does not end");
        self.now += Duration::from_micros(self.die.random_range(100..100_000));
    }

    fn met(&mut self) -> ProbeEvent {
        match self.die.random_range(0..40) {
            0 => ProbeEvent::Closed(Closed::Eof),
            1 => ProbeEvent::Closed(Closed::Reset),
            2 => ProbeEvent::Silence,
            3 => ProbeEvent::Failed(Condition::MalformedReply, "no reply: \u{fffd}\0".to_owned()),
            _ => ProbeEvent::Reply(Reply::new(
                *CODES.choose(&mut self.die).unwrap(),
                vec!["x".repeat(self.die.random_range(0..40))],
            )),
        }
    }
}

impl Probes for Chaos {
    fn open(&mut self, ways: &[ProbeOptions], _: usize, _: Duration) -> Vec<OpenOutcome> {
        ways.iter()
            .map(|way| {
                self.spend();
                self.spent.connections += 1;
                let session = Probe(self.sessions.len());
                let out = |step, by| {
                    OpenOutcome::Refused(ProbeRefusal {
                        step,
                        event: by,
                        session,
                        took: Duration::from_millis(1),
                    })
                };
                let served = way.bare || self.die.random_bool(0.9);
                self.sessions.push((VecDeque::new(), true));
                match self.die.random_range(0..4) {
                    _ if served => OpenOutcome::Open(session),
                    0 => out(Step::Connect, ProbeEvent::NotConnected(Condition::ConnectRefused)),
                    1 => out(Step::Greeting, ProbeEvent::Silence),
                    _ => out(Step::Hello, self.met()),
                }
            })
            .collect()
    }

    fn offer(&self, session: Probe) -> Offer {
        let size = [None, Some(0), Some(1), Some(u64::MAX), Some(10_000)][session.0 % 5];
        let auth = if session.0.is_multiple_of(2) { vec!["PLAIN".to_owned()] } else { Vec::new() };
        Offer { pipelining: true, size, auth, ..Offer::default() }
    }

    fn send(&mut self, session: Probe, bytes: &[u8]) {
        self.spend();
        self.spent.bytes += bytes.len() as u64;
        for _ in 0..*[0, 1, 1, 1, 1, 1, 1, 2, 3].choose(&mut self.die).unwrap() {
            let met = self.met();
            self.sessions[session.0].0.push_back(met);
        }
    }

    fn receive(&mut self, session: Probe, within: Duration) -> ProbeOutcome {
        self.spend();
        let what = self.sessions[session.0].0.pop_front().unwrap_or(ProbeEvent::Silence);
        if matches!(what, ProbeEvent::Silence) {
            self.now += within;
        }
        ProbeOutcome { event: what, at: self.now }
    }

    fn close(&mut self, sessions: &[Probe], _: CloseMode, _: Duration) -> u64 {
        self.spend();
        for session in sessions {
            self.sessions[session.0] = (VecDeque::new(), false);
        }
        u64::from(self.die.random_bool(0.05))
    }

    fn pause(&mut self, length: Duration) {
        self.spend();
        self.now += length;
    }

    fn now(&self) -> Duration {
        self.now
    }

    fn hosts(&self) -> u64 {
        8
    }

    fn spent(&self) -> Spent {
        self.spent
    }
}
