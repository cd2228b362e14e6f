//! Real listeners that die during the run, with each load model. The run never passes. It reports the planned work, the
//! done work and the reason, and the listener has the accepted messages.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::aiosmtpd::Aiosmtpd;
use crate::courier::Courier;
use crate::dovecot::Dovecot;
use crate::exim::Exim;
use crate::haraka::Haraka;
use crate::listener::{Processes, wait_until};
use crate::opensmtpd::Opensmtpd;
use crate::postfix::Postfix;
use crate::qpsmtpd::Qpsmtpd;
use crate::sendmail::Sendmail;
use crate::sink::Sink;
use crate::smtp_server::SmtpServer;
use crate::smtpress;

/// Each load model with its keys and the unit of its arrivals.
const LOADS: [(&str, &str, &str); 11] = [
    ("constant-rate", "rate = \"40/s\"\nfor = \"4s\"", "message"),
    ("constant-rate", "rate = \"20/s\"\nfor = \"4s\"", "session"),
    ("ramping-rate", "from = \"10/s\"\nto = \"60/s\"\nfor = \"4s\"", "message"),
    ("staircase", "from = \"20/s\"\nstep = \"10/s\"\nevery = \"1s\"\nsteps = 4", "session"),
    ("burst", "size = 8\nevery = \"250ms\"\nfor = \"4s\"", "message"),
    ("constant-sessions", "sessions = 4\nfor = \"4s\"", "session"),
    ("constant-sessions", "sessions = 4\nfor = \"4s\"", "message"),
    ("ramping-sessions", "from = 2\nto = 6\nfor = \"4s\"", "message"),
    ("shared-messages", "messages = 200000\nsessions = 4", "message"),
    ("shared-messages", "messages = 200000\nsessions = 4", "session"),
    ("held-sessions", "sessions = 8\nfor = \"4s\"", "session"),
];

/// A listener, the messages that it has taken, and the keys of the message that it needs.
trait Mortal {
    fn target(&self) -> String;
    fn processes(&self) -> &Processes;
    fn taken(&self) -> u64;
    fn message(&self) -> &'static str {
        ""
    }

    /// Whether it may keep a message whose content it refuses with 4yz while it shuts down.
    fn keeps_what_it_defers(&self) -> bool {
        false
    }
}

/// Runs every load against a new listener, which ends by one of `signals` in turn.
fn dies<L: Mortal>(start: impl Fn() -> Option<L>, signals: &[&str]) {
    for ((load, keys, unit), signal) in LOADS.into_iter().zip(signals.iter().cycle()) {
        let Some(listener) = start() else { return };
        let what = format!("{load} of {unit}s, {signal}");
        let run = smtpress::start_profile(&format!(
            "schema = 1\nname = \"dies\"\nseed = 7\n[target]\naddress = \"{}\"\n[message]\nsize = \"1k\"\n{}\n\
             [timeouts]\nconnect = \"1s\"\ngreeting = \"2s\"\ncommand = \"2s\"\ndata = \"2s\"\nbody = \"2s\"\n\
             [[phase]]\nname = \"p\"\nload = \"{load}\"\n{keys}\nunit = \"{unit}\"\ngraceful_stop = \"2s\"\n",
            listener.target(),
            listener.message(),
        ));
        // The signal comes when the listener has some messages, or when the held sessions are open.
        if load == "held-sessions" {
            thread::sleep(Duration::from_millis(1500));
        } else {
            assert!(wait_until(|| listener.taken() >= 3), "{what}: nothing is taken");
            thread::sleep(Duration::from_millis(500));
        }
        listener.processes().signal(signal);
        let outcome = run.wait();
        outcome.assert_counts_reconcile();
        outcome.assert_report_is_written();
        let (status, sentence) = outcome.asserted("done rate == 100%");
        assert_ne!(outcome.result["verdict"]["exit_code"], 0, "{what}: {sentence}");
        assert_eq!(status, "fail", "{what}: {sentence}");
        for part in [" asked for, ", " done; ", " at "] {
            assert!(sentence.contains(part), "{what}: {sentence}");
        }
        // M10b. Processes that were not killed may still write accepted messages.
        let transactions = &outcome.result["phases"][0]["transactions"];
        let [accepted, in_doubt, deferred] =
            ["accepted", "in_doubt", "deferred"].map(|name| transactions[name].as_u64().unwrap());
        let kept = if listener.keeps_what_it_defers() { deferred } else { 0 };
        let within = || (accepted..=accepted + in_doubt + kept).contains(&listener.taken());
        assert!(
            within() || wait_until(within),
            "{what}: {} taken, of {transactions}: {:#}",
            listener.taken(),
            outcome.result["conditions"]
        );
    }
}

impl Mortal for Postfix {
    fn target(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    fn processes(&self) -> &Processes {
        &self.processes
    }

    fn taken(&self) -> u64 {
        self.stored().len() as u64
    }
}

// Table: Postfix: standstill and death
#[test]
fn no_load_passes_when_postfix_dies() {
    dies(|| Postfix::plain().start(), &["KILL", "TERM"]);
}

impl Mortal for Exim {
    fn target(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    fn processes(&self) -> &Processes {
        &self.processes
    }

    fn taken(&self) -> u64 {
        Exim::taken(self)
    }
}

// Table: Exim: standstill and death
#[test]
fn no_load_passes_when_exim_dies() {
    dies(|| Exim::plain().start(), &["TERM", "KILL"]);
}

impl Mortal for Sink {
    fn target(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    fn processes(&self) -> &Processes {
        &self.processes
    }

    fn taken(&self) -> u64 {
        self.messages()
    }
}

// Table: smtp-sink: standstill and death
#[test]
fn no_load_passes_when_a_sink_dies() {
    dies(Sink::start, &["KILL", "TERM"]);
}

impl Mortal for Opensmtpd {
    fn target(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.plain)
    }

    fn processes(&self) -> &Processes {
        &self.processes
    }

    fn taken(&self) -> u64 {
        Opensmtpd::taken(self) as u64
    }
}

// Table: OpenSMTPD: standstill and death
#[test]
fn no_load_passes_when_opensmtpd_dies() {
    dies(|| Opensmtpd::start(""), &["KILL", "TERM"]);
}

impl Mortal for Aiosmtpd {
    fn target(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.starttls)
    }

    fn processes(&self) -> &Processes {
        &self.processes
    }

    fn taken(&self) -> u64 {
        Aiosmtpd::taken(self) as u64
    }
}

// Table: aiosmtpd: standstill and death
#[test]
fn no_load_passes_when_aiosmtpd_dies() {
    dies(Aiosmtpd::start, &["TERM", "KILL"]);
}

impl Mortal for Dovecot {
    fn target(&self) -> String {
        format!("lmtp://127.0.0.1:{}", self.lmtp)
    }

    fn processes(&self) -> &Processes {
        &self.processes
    }

    fn taken(&self) -> u64 {
        self.delivered_to_all() as u64
    }

    fn keeps_what_it_defers(&self) -> bool {
        true
    }

    fn message(&self) -> &'static str {
        "to = \"user{n:0..4}@dovecot.test\""
    }
}

// Table: Dovecot LMTP: standstill and death
#[test]
fn no_load_passes_when_dovecot_dies() {
    dies(|| Dovecot::start(1), &["KILL", "TERM"]);
}

impl Mortal for Sendmail {
    fn target(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    fn processes(&self) -> &Processes {
        &self.processes
    }

    fn taken(&self) -> u64 {
        self.queued()
    }
}

// Table: Sendmail: standstill and death
#[test]
fn no_load_passes_when_sendmail_dies() {
    dies(|| Sendmail::plain().start(), &["KILL", "TERM"]);
}

impl Mortal for Courier {
    fn target(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    fn processes(&self) -> &Processes {
        &self.processes
    }

    fn taken(&self) -> u64 {
        Courier::taken(self)
    }
}

// Table: Courier: standstill and death
#[test]
fn no_load_passes_when_courier_dies() {
    dies(|| Courier::plain().start(), &["TERM", "KILL"]);
}

impl Mortal for Qpsmtpd {
    fn target(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    fn processes(&self) -> &Processes {
        &self.processes
    }

    fn taken(&self) -> u64 {
        self.delivered()
    }
}

// Table: qpsmtpd: standstill and death
#[test]
fn no_load_passes_when_qpsmtpd_dies() {
    dies(|| Qpsmtpd::plain().start(), &["KILL", "TERM"]);
}

impl Mortal for Haraka {
    fn target(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    fn processes(&self) -> &Processes {
        &self.processes
    }

    fn taken(&self) -> u64 {
        self.stored()
    }
}

// Table: Haraka: standstill and death
#[test]
fn no_load_passes_when_haraka_dies() {
    dies(|| Haraka::plain().start(), &["TERM", "KILL"]);
}

impl Mortal for SmtpServer {
    fn target(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    fn processes(&self) -> &Processes {
        &self.processes
    }

    fn taken(&self) -> u64 {
        SmtpServer::taken(self)
    }
}

// Table: smtp-server: standstill and death
#[test]
fn no_load_passes_when_smtp_server_dies() {
    dies(|| SmtpServer::start(&json!({})), &["KILL", "TERM"]);
}
