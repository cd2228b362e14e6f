//! The whole generator: one thread of it, over loopback, against the listener in a process of its own.

#![expect(clippy::unwrap_used, reason = "what fails here ends the bench")]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use smtpress::collector::Outcome;
use smtpress::generator::{Local, Runner, Stop};
use smtpress::load::{self, LoadModel, Shard, Think};
use smtpress::net::address::Target;
use smtpress::plan::{Messages, OnSaturation, Phase, Plan, Unit};
use smtpress::smtp::script::Pipelining;
use tokio::sync::watch;

use crate::workload::{DATE, SEED, script, spec};

/// Sessions at once.
const SESSIONS: u32 = 20;

/// A listener to send to; it is stopped when this is dropped.
pub struct Whole {
    listener: Child,
    address: SocketAddr,
}

impl Whole {
    /// Starts the listener.
    pub fn new() -> Whole {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smtpress"));
        command.args(["listen", "--bind", "127.0.0.1:0"]).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut listener = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(listener.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split([' ', ';']).find_map(|word| word.parse().ok());
        Whole { listener, address: address.expect("the listener says where it is") }
    }

    /// Sends so many messages over sessions kept open; all are accepted.
    pub fn run(&self, pipelining: Pipelining, messages: u64) {
        let plan = plan(self.address, pipelining, messages);
        let (_run, stop) = watch::channel(Stop::Run);
        let measured = Local::new(stop, DATE.into()).run(&plan, &mut ()).unwrap();
        assert_eq!(measured.tally.phases[0].counts.arrivals.of(Outcome::Accepted), messages);
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        let _ = self.listener.kill();
        let _ = self.listener.wait();
    }
}

fn plan(address: SocketAddr, pipelining: Pipelining, total: u64) -> Plan {
    let load = LoadModel::Shared { total, sessions: SESSIONS.into(), think: Think::default() };
    let phase = Phase {
        name: "bench".into(),
        load: load::PhaseLoad { model: load, length: None },
        model: "shared-messages".into(),
        unit: Unit::Message,
        warmup: false,
        max_sessions: SESSIONS,
        connect_rate: None,
        on_saturation: OnSaturation::Queue,
        open_first: false,
        graceful_stop: Duration::from_secs(30),
    };
    Plan {
        lists_transactions: false,
        part: smtpress::plan::PlanPart::Run,
        name: "bench".into(),
        seed: SEED,
        run_id: "bench-run".into(),
        target: Target::smtp(&address.ip().to_string(), address.port()),
        origin: Default::default(),
        allow: Vec::new(),
        tls: Default::default(),
        script: script(pipelining),
        logins: Default::default(),
        messages: Messages::Unlimited,
        mail: spec(),
        reconnect: Default::default(),
        retry: None,
        phases: vec![phase],
        expects: Vec::new(),
        classify: Vec::new(),
        threads: 1,
        shard: Shard::WHOLE,
        events: Vec::new(),
    }
}
