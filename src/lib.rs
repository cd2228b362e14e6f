//! smtpress: an SMTP load and concurrency stress tester.
//!
//! A **profile** becomes a **plan**. The **generator** takes times from **load** and messages from **mail**, sends them
//! by **smtp** over **net**, and fills the **collector**. An **experiment** repeats this, a **verdict** judges it, and
//! a **report** shows it.
//!
//! # The map
//!
//! | module | answers for | may import |
//! |---|---|---|
//! | [`plan`] | one trial, completely decided: profiles and searches make plans, runners execute them | smtp, load, mail, net::address, condition, collector, event |
//! | [`smtp`] | the protocol without I/O and clock: replies, commands, the client's and the server's machine | nothing of this crate |
//! | [`load`] | the time of arrivals: curves, schedules, shards | nothing of this crate |
//! | [`mail`] | the content: addresses, envelopes, message bytes | smtp |
//! | [`net`] | the network: target, source, proxy, dial, stream, and the one I/O loop of client and server machine | smtp |
//! | [`condition`] | what a reply or a failure means: rules, lexicon, meaning, remedy | smtp |
//! | [`event`] | commands that run during the load: time, command, result | nothing of this crate |
//! | [`collector`] | the measurements: histograms, outcomes, counts, summary, effects of events | smtp, condition, event |
//! | [`generator`] | the load: threads, the loop of every load model, the pool, sessions | plan and its parts, net, condition, collector |
//! | [`experiment`] | series of trials: the self-test, searches | plan and its parts, generator::Runner, generator::probe, condition, collector, event, verdict |
//! | [`verdict`] | the judgement: expressions, windows, exit code | condition, collector, event |
//! | [`listener`] | the embedded listener: limits, behaviour, reply texts of three products, ledger | smtp, net, condition, collector |
//! | [`profile`] | from TOML to a plan: schema, units, overrides, errors with their place | plan and its parts, collector, event, verdict, experiment, listener::limits, delivery::settings |
//! | [`report`] | output: one result type, one view, and a file for each format | plan, condition, collector, event, verdict, experiment |
//! | [`telemetry`] | exporters of a run in progress: its page, its metrics | plan, condition, collector, event, report |
//! | [`delivery`] | the receiver behind a relay, matching, the counts of deliveries | listener, mail, smtp, net::address, condition, collector, plan |
//! | [`fleet`] | the same trial on many machines: coordinator and agents over NATS | plan, generator::Runner, generator::probe, generator::clock, condition, collector |
//! | [`command`] | the life of a command: open outputs, check, run, store | all but mail and cli |
//! | [`cli`] | parses the command line and prints | all |
//!
//! `tests/it/architecture.rs` checks these imports.
//!
//! # The way of one arrival
//!
//! `profile::document` -> `profile::compile` -> [`plan`] -> `generator::local` (threads) -> `generator::worker` ->
//! `generator::dispatch` (asks `load::Schedule` for the next arrival) -> `generator::session` (`net::dial`, then
//! `net::drive` moves bytes for `smtp::client`, which asks `mail::Message` for them) -> `generator::failure_class`
//! (`condition` names the reply) -> `collector::recorder` -> a snapshot a second -> `generator::local` adds up ->
//! `cli::progress` draws, [`telemetry`] exports -> `collector::summary` -> [`verdict`] -> [`report`] -> exit code.
//!
//! # Three interfaces
//!
//! - `load::Due`: open and closed models differ in this enum. The generator matches it in one place
//!   (`generator::dispatch`).
//! - `smtp::Machine`: a protocol endpoint without I/O and clock. The client and the embedded listener are machines;
//!   `net::drive` is the only loop that moves bytes for a machine.
//! - `generator::Runner`: takes a plan and returns a measurement.
//!
//! Searches that send one command after the other use `generator::probe`: sessions over the same machine and the same
//! I/O loop, driven step by step.
//!
//! # Kept apart
//!
//! - the protocol, and I/O or the clock
//! - intended and actual times
//! - replies and errors: 4yz and 5yz replies are outcomes, and `Err` means that smtpress cannot continue
//! - the slowness of the target and that of the generator
//! - measures of sessions and of transactions
//! - warm-up phases and measured phases
//! - measuring, judging and reporting
//! - what the user wrote and what the generator executes
//! - seeded randomness and that of the system
//! - the parser of the client and that of the listener

// The measuring half is a crate of its own, so that a quick build need not optimize the other half. Unit tests are built with both halves in
// one crate: those of the generator read their plans from profiles.
#[cfg(not(test))]
pub use smtpress_engine::{
    collector, condition, delivery, event, generator, listener, load, mail, net, plan, smtp,
};

#[cfg(test)]
pub mod collector;
#[cfg(test)]
pub mod condition;
#[cfg(test)]
pub mod delivery;
#[cfg(test)]
pub mod event;
#[cfg(test)]
pub mod generator;
#[cfg(test)]
pub mod listener;
#[cfg(test)]
pub mod load;
#[cfg(test)]
pub mod mail;
#[cfg(test)]
pub mod net;
#[cfg(test)]
pub mod plan;
#[cfg(test)]
pub mod smtp;

pub mod cli;
pub mod command;
pub mod experiment;
pub mod fleet;
pub mod profile;
pub mod report;
pub mod telemetry;
pub mod verdict;
