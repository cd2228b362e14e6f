//! The report of `smtpress check` on a compiled profile: its needs of this machine, and a preview of its schedule.
//!
//! This module only computes. It opens nothing, and the caller passes in the resources of the machine.

mod pace;

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use super::compile::Compiled;
use super::compile::message;
use super::error::harmless;
use super::units::{Percent, Size, Time};
use crate::event::EventTime;
use crate::event::shell::ShellCommand;
use crate::experiment::capacity::CapacityPlan;
use crate::load;
use crate::load::{Due, LoadModel, Spacing, expected_arrivals, fingerprint};
use crate::net::address::Transport;
use crate::net::address::addresses::Addresses;
use crate::net::address::origin::{ClientAddress, ProxyVersion};
use crate::plan::{MOST_WAITING, Messages, OnSaturation, Phase, Plan, Unit};
use crate::smtp::script::Pipelining;

pub use pace::{never_retried, too_slow};

/// How long the kernel keeps the port of a closed connection (TIME_WAIT on Linux).
const TIME_WAIT: Duration = Duration::from_secs(60);
/// The descriptors that are open without any load: standard streams, files, epoll, timers.
const OWN_DESCRIPTORS: u64 = 64;
/// The descriptors of a thread: its epoll, its wake-up, its channel.
const THREAD_DESCRIPTORS: u64 = 4;
/// The memory without any load: code, histograms, intervals.
const OWN_MEMORY: u64 = 32 << 20;
/// The memory of a thread: its runtime, its stack, its empty histograms.
const THREAD_MEMORY: u64 = 512 << 10;
/// The memory of a phase: its distributions in the report, and those of each thread.
const PHASE_MEMORY: u64 = 256 << 10;
const PHASE_MEMORY_OF_THREAD: u64 = 128 << 10;
/// The memory of an active session: its socket's buffers in the process, its state machine, a piece of content.
const SESSION_MEMORY: u64 = 32 << 10;
/// The memory of a waiting arrival: its numbers and times, with the spare room of a growing queue.
const WAITING_MEMORY: u64 = 96;
/// The additional memory for a session's TLS.
const TLS_MEMORY: u64 = 30 << 10;
/// How many arrivals of each phase are shown.
const SHOWN: usize = 5;

/// The needs of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The most sessions open at once.
    pub sessions_peak: u64,
    /// The most descriptors open at once. With the embedded listener they include both ends of each session.
    pub descriptors: u64,
    /// The most local ports in use at once: those of open sessions, and of connections opened within a minute, which
    /// TIME_WAIT may hold. For closed loads, whose rate the target decides, only the sessions count. Zero for a unix
    /// socket.
    pub ports: u64,
    /// How many addresses share these ports: the sources to which sessions are bound, otherwise 1.
    pub addresses: u64,
    /// The approximate memory in bytes.
    pub memory: u64,
    /// The most arrivals that may wait at once, if the listener serves none.
    pub waiting: u64,
    /// The arrivals of each phase; `None` if time and target decide.
    pub arrivals: Vec<Option<u64>>,
    /// The length of all phases together; `None` if the last one ends when its messages are used up.
    pub duration: Option<Duration>,
}

/// The resources of a machine. `None` means unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Has {
    /// The descriptors that a process may open.
    pub descriptors: Option<u64>,
    /// The local ports for one target address.
    pub ports: Option<u64>,
    /// The free memory in bytes.
    pub memory: Option<u64>,
}

impl Needs {
    /// Returns the needs of a plan.
    pub fn of(plan: &Plan) -> Needs {
        let sessions_peak = plan.phases.iter().map(sessions).max().unwrap_or_default();
        let ends = if plan.target.is_embedded() { 2 } else { 1 };
        let busiest = connections_of_busiest_minute(plan);
        let grouped = plan.script.pipelining != Pipelining::Off;
        let tls = if plan.speaks_tls() { TLS_MEMORY } else { 0 };
        let session = SESSION_MEMORY + tls + plan.mail.memory_of_session(grouped);
        let waiting = plan.phases.iter().map(waiting).max().unwrap_or_default();
        let threads = u64::from(plan.threads);
        let phases = plan.phases.len() as u64 * (PHASE_MEMORY + threads * PHASE_MEMORY_OF_THREAD);
        let own = OWN_MEMORY + threads * THREAD_MEMORY + phases;
        Needs {
            sessions_peak,
            descriptors: sessions_peak * ends
                + OWN_DESCRIPTORS
                + u64::from(plan.threads) * THREAD_DESCRIPTORS,
            ports: if matches!(plan.target.transport, Transport::Unix { .. }) {
                0
            } else {
                sessions_peak.max(busiest)
            },
            addresses: plan.origin.bound().map_or(1, |sources| {
                // If the family of the target is unknown, all addresses may be used.
                let literal = plan.target.host().and_then(|host| host.parse::<IpAddr>().ok());
                let serve = literal.map_or(sources.len(), |target| sources.len_of(target.is_ipv4()));
                u64::try_from(serve).unwrap_or(u64::MAX).max(1)
            }),
            memory: (sessions_peak * ends)
                .saturating_mul(session)
                .saturating_add(own + plan.mail.memory() + waiting * WAITING_MEMORY),
            waiting,
            arrivals: plan.phases.iter().map(|phase| expected_arrivals(&phase.load)).collect(),
            duration: plan.phases.iter().map(|phase| phase.load.length).sum(),
        }
    }

    /// Returns what the machine lacks, one sentence each.
    pub fn lacking(&self, has: &Has) -> Vec<String> {
        let mut lacking = Vec::new();
        if let Some(have) = has.descriptors.filter(|have| *have < self.descriptors) {
            lacking.push(format!(
                "{} descriptors are needed and {have} allowed: raise the limit with `ulimit -n {}`",
                self.descriptors, self.descriptors
            ));
        }
        if let Some(have) = has.ports.filter(|have| *have < self.ports_each()) {
            let enough = self.ports.div_ceil(have.max(1));
            lacking.push(match self.addresses {
                1 => format!(
                    "up to {} local ports may be busy at once and there are {have}: lower the rate of connections, raise `session.messages`, or give {enough} addresses in `target.sources`",
                    self.ports
                ),
                _ => format!(
                    "up to {} local ports of each source address may be busy at once and there are {have}: give {enough} addresses in `target.sources`, lower the rate of connections, or raise `session.messages`",
                    self.ports_each()
                ),
            });
        }
        lacking.extend(self.lacking_memory(has));
        lacking
    }

    /// Returns a sentence if the memory is not enough.
    pub fn lacking_memory(&self, has: &Has) -> Option<String> {
        let have = has.memory.filter(|have| *have < self.memory)?;
        let waiting = match (self.waiting * WAITING_MEMORY) >> 20 {
            0 => String::new(),
            _ => format!(" and {} arrivals that wait", self.waiting),
        };
        Some(format!(
            "about {} of memory are needed and {} are free: {} sessions{waiting}, with the messages that they carry, and {} phases; lower `sessions`, `max_sessions`, `message.recipients`, the sizes, `threads` or the number of phases",
            mebibytes(self.memory),
            mebibytes(have),
            self.sessions_peak,
            self.arrivals.len()
        ))
    }
}

impl Needs {
    /// Returns the most local ports in use at once, for each address.
    pub fn ports_each(&self) -> u64 {
        self.ports.div_ceil(self.addresses)
    }
}

/// Returns the most open sessions of a phase.
fn sessions(phase: &Phase) -> u64 {
    let most = u64::from(phase.max_sessions);
    expected_arrivals(&phase.load).map_or(most, |arrivals| most.min(arrivals))
}

/// Returns the most waiting arrivals of a phase.
fn waiting(phase: &Phase) -> u64 {
    match phase.on_saturation {
        OnSaturation::Queue if !phase.load.model.is_closed() => {
            expected_arrivals(&phase.load).unwrap_or(0).min(MOST_WAITING)
        }
        _ => 0,
    }
}

/// Returns the most connections that are opened within a minute, which may lie in several phases. Connections of loads
/// whose rate the target decides do not count.
fn connections_of_busiest_minute(plan: &Plan) -> u64 {
    let spans: Vec<(Duration, Duration)> = load::spans(plan.phases.iter().map(|phase| &phase.load)).collect();
    let opened =
        |index: usize, from: Duration| connections(&plan.phases[index], &plan.messages, spans[index], from);
    // The sum over all phases before each. A phase longer than a minute counts too few, but no minute holds it whole.
    let mut before = vec![0];
    before.extend(spans.iter().enumerate().scan(0, |all, (index, (start, _))| {
        *all += opened(index, *start);
        Some(*all)
    }));
    let within_minute = |from: Duration| {
        let first = spans.partition_point(|(_, end)| *end <= from);
        let next = spans.partition_point(|(start, _)| *start < from.saturating_add(TIME_WAIT));
        match next.saturating_sub(first) {
            0 => 0,
            1 => opened(first, from),
            _ => opened(first, from) + before[next - 1] - before[first + 1] + opened(next - 1, from),
        }
    };
    // Within a phase the rate counts as constant, so the busiest minute begins or ends with a phase.
    let minutes = spans.iter().flat_map(|(start, end)| [*start, end.saturating_sub(TIME_WAIT)]);
    minutes.map(within_minute).max().unwrap_or_default()
}

/// Returns the most connections that a phase opens within the minute that begins at `from`, rounded up. `span`: the
/// start and end of the phase.
fn connections(phase: &Phase, messages: &Messages, span: (Duration, Duration), from: Duration) -> u64 {
    let (start, end) = (span.0.max(from), span.1.min(from.saturating_add(TIME_WAIT)));
    let within = end.saturating_sub(start).as_secs_f64();
    let busiest = match &phase.load.model {
        _ if within == 0.0 => 0.0,
        LoadModel::Rate { curve, .. } => curve.peak() * within,
        // A single burst is over in a moment.
        LoadModel::Burst { every, .. } if every.is_zero() && start > span.0 => 0.0,
        LoadModel::Burst { size, every } if every.is_zero() => *size as f64,
        LoadModel::Burst { size, every } => *size as f64 * (within / every.as_secs_f64()).ceil(),
        LoadModel::Held { sessions, .. } => *sessions as f64,
        LoadModel::Shared { .. } | LoadModel::Sessions { .. } => 0.0,
    };
    // There are no more connections than arrivals: a ramp is at its peak only for a moment.
    let arrivals = expected_arrivals(&phase.load).map_or(busiest, |arrivals| busiest.min(arrivals as f64));
    let each = match (phase.unit, messages) {
        (Unit::Session, _) => 1.0,
        (Unit::Message, Messages::Unlimited) => return 0,
        (Unit::Message, Messages::Fixed(n)) => f64::from(*n),
        (Unit::Message, Messages::Uniform { min, .. }) => f64::from(*min),
        (Unit::Message, Messages::Weighted(shares)) => {
            shares.iter().map(|share| f64::from(share.0)).fold(f64::INFINITY, f64::min)
        }
    };
    (arrivals / each.max(1.0)).ceil() as u64
}

/// Writes the preview: the phases with their windows, arrivals and first arrival times, and their needs.
///
/// # Errors
/// `out` cannot be written.
pub fn preview(compiled: &Compiled, out: &mut impl io::Write) -> io::Result<()> {
    let plan = &compiled.plan;
    let needs = Needs::of(plan);
    writeln!(out, "profile   {}, sha256 {}", plan.name, compiled.sha256)?;
    writeln!(out, "seed      {}", plan.seed)?;
    writeln!(out, "target    {}", plan.target)?;
    if plan.speaks_tls() {
        writeln!(out, "tls       {}", super::compile::tls_description(plan))?;
    }
    sources(&plan.origin, out)?;
    let schedule = fingerprint(&plan.loads(), plan.seed);
    let hash: String = schedule.iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(out, "schedule  sha256 {hash}")?;
    for (name, value) in message::describe(plan) {
        writeln!(out, "{name:<9} {value}")?;
    }
    writeln!(out)?;
    phases(plan, &needs, out)?;
    events(plan, out)?;
    if let Some(receiver) = &compiled.receiver {
        let drain = Time(receiver.drain);
        writeln!(
            out,
            "receive   {}, deliveries awaited for at most {drain} after the load",
            receiver.places()
        )?;
    }
    certificates(compiled, out)?;
    if let Some(capacity) = &compiled.capacity {
        if !capacity.goals.is_empty() {
            search(capacity, compiled.receiver.is_some(), out)?;
        }
        if let Some(command) = &capacity.between_trials {
            writeln!(out, "between the trials of smtpress capacity")?;
            shell_command(command, out)?;
        }
    }
    if let Some(retry) = &plan.retry {
        writeln!(out, "retry     {}", retry.schedule)?;
    }
    writeln!(out)?;
    requirements(&needs, out)?;
    if plan.speaks_tls() && !plan.tls.verify {
        writeln!(out, "warning: THE LISTENER'S CERTIFICATE WILL NOT BE VERIFIED (verify = false)")?;
    }
    for note in message::notes(plan) {
        writeln!(out, "note: {note}")?;
    }
    Ok(())
}

/// Writes which files get the certificates of this process's listeners.
fn certificates(compiled: &Compiled, out: &mut impl io::Write) -> io::Result<()> {
    let own = compiled.plan.target.is_embedded().then_some(&compiled.listener);
    let receiver = compiled.receiver.as_ref().filter(|receiver| receiver.logs.is_empty());
    let of = [("embedded listener", own), ("receiver", receiver.map(|receiver| &receiver.limits))];
    for (name, limits) in of {
        if let Some(path) = limits.and_then(|limits| limits.certificate_out.as_ref()) {
            writeln!(out, "writes    {}: the certificate of the {name}", path.display())?;
        }
    }
    Ok(())
}

fn sources(origin: &ClientAddress, out: &mut impl io::Write) -> io::Result<()> {
    match origin {
        ClientAddress::Any => Ok(()),
        ClientAddress::Bound(sources) => {
            writeln!(out, "sources   {sources}: {}, bound in turn", count(sources))
        }
        ClientAddress::Xclient(sources) => {
            writeln!(out, "sources   {sources}: {}, sent in turn by XCLIENT", count(sources))
        }
        ClientAddress::Proxied(version, sources) => {
            let version = match version {
                ProxyVersion::V1 => 1,
                ProxyVersion::V2 => 2,
            };
            let carried = format!("carried by a PROXY header (version {version})");
            match sources.is_empty() {
                true => writeln!(out, "sources   this machine's address, {carried}"),
                false => writeln!(out, "sources   {sources}: {}, {carried} in turn", count(sources)),
            }
        }
    }
}

fn phases(plan: &Plan, needs: &Needs, out: &mut impl io::Write) -> io::Result<()> {
    let mut start = Some(Duration::ZERO);
    for (index, phase) in plan.phases.iter().enumerate() {
        let end = start.zip(phase.load.length).map(|(start, length)| start + length);
        let time = |at: Option<Duration>| at.map_or("its end".to_owned(), |at| Time(at).to_string());
        let warmup = if phase.warmup { ", warm-up, not measured" } else { "" };
        writeln!(out, "phase {}: {}, {} to {}{warmup}", phase.name, phase.model, time(start), time(end))?;
        writeln!(out, "  arrivals  {}", arrivals(phase, needs.arrivals[index]))?;
        let first = first(&phase.load, index, start.unwrap_or(Duration::MAX), plan.seed);
        let barrier = if phase.open_first { "once all sessions are open, from " } else { "" };
        writeln!(out, "  first     {barrier}{first}")?;
        writeln!(out, "  sessions  at most {} at once", sessions(phase))?;
        if phase.load.model.is_closed() {
            writeln!(out, "  reconnect {}", plan.reconnect)?;
        }
        start = end;
    }
    Ok(())
}

fn events(plan: &Plan, out: &mut impl io::Write) -> io::Result<()> {
    for event in &plan.events {
        let (when, after) = match &event.at {
            EventTime::Run(after) => ("the start of the run".to_owned(), *after),
            EventTime::Phase { name, after, .. } => (format!("the start of phase {name}"), *after),
        };
        writeln!(out, "event {}: {} after {when}", event.name, Time(after))?;
        shell_command(&event.command, out)?;
        writeln!(out, "  timeout   {}", Time(event.timeout))?;
    }
    Ok(())
}

fn shell_command(command: &ShellCommand, out: &mut impl io::Write) -> io::Result<()> {
    writeln!(out, "  command   {}", indented(&command.text))?;
    writeln!(out, "  folder    {}", harmless(&command.folder.display().to_string()))
}

/// Writes how long the run takes, and its needs of this machine.
fn requirements(needs: &Needs, out: &mut impl io::Write) -> io::Result<()> {
    let duration =
        needs.duration.map_or("until the messages are used up".to_owned(), |d| Time(d).to_string());
    writeln!(out, "duration     {duration}")?;
    writeln!(out, "descriptors  {}", needs.descriptors)?;
    match needs.addresses {
        1 => writeln!(out, "local ports  {}", needs.ports)?,
        addresses => writeln!(
            out,
            "local ports  {} of each of {addresses} source addresses, {} in all",
            needs.ports_each(),
            needs.ports
        )?,
    }
    let waiting = match (needs.waiting * WAITING_MEMORY) >> 20 {
        0 => String::new(),
        _ => format!(
            ", of which {} if {} arrivals wait{}",
            mebibytes(needs.waiting * WAITING_MEMORY),
            needs.waiting,
            if needs.waiting == MOST_WAITING { " (further ones are shed)" } else { "" }
        ),
    };
    writeln!(out, "memory       about {}{waiting}", mebibytes(needs.memory))
}

/// Writes what `smtpress capacity` would search, and when a load is too high.
fn search(capacity: &CapacityPlan, is_behind_relay: bool, out: &mut impl io::Write) -> io::Result<()> {
    let rules = &capacity.rules;
    let length = |seconds: f64| Time(Duration::from_secs_f64(seconds));
    let trials = format!("trials of {}", length(rules.weights.full_s));
    let confirmed = match rules.confirm_s {
        0.0 => String::new(),
        confirm_s => format!(", {} to confirm", length(confirm_s)),
    };
    writeln!(
        out,
        "smtpress capacity: by {} from {} to {}, within {}, {trials}{confirmed}",
        capacity.knob.as_str(),
        capacity.format_load(rules.start),
        capacity.format_load(rules.max),
        Percent(rules.width * 100.0)
    )?;
    for goal in &capacity.goals {
        let failures = Percent(goal.failures * 100.0);
        writeln!(out, "  goal      {}: {}, at most {failures} failed", goal.name, harmless(&goal.objective))?;
    }
    let grows = match (capacity.judges_backlog(), is_behind_relay) {
        (false, _) => "if a goal is missed",
        (true, false) => "if a goal is missed, or the backlog grows by more than 1 % of the load",
        (true, true) => {
            "if a goal is missed, the backlog or the relay's queue grows by more than 1 % of the load, or less than 99 % is accepted"
        }
    };
    writeln!(out, "  too high  {grows}")?;
    let deliveries: Vec<&str> = capacity.deliveries.iter().map(|one| one.expr.text.as_str()).collect();
    if !deliveries.is_empty() {
        writeln!(out, "  delivered {}, of each trial", deliveries.join(", "))?;
    }
    Ok(())
}

/// Indents a command of several lines, so that none of them looks like a line of this report.
fn indented(command: &str) -> String {
    harmless(command).replace('\n', "\n            ")
}

fn count(sources: &Addresses) -> String {
    match sources.len() {
        1 => "1 address".to_owned(),
        n => format!("{n} addresses"),
    }
}

fn arrivals(phase: &Phase, expected: Option<u64>) -> String {
    let unit = phase.unit.as_str();
    match (expected, &phase.load.model) {
        (Some(n), LoadModel::Rate { spacing: Spacing::Poisson, .. }) => {
            format!("about {n} {unit}s (a Poisson process)")
        }
        (Some(1), _) => format!("1 {unit}"),
        (Some(n), _) => format!("{n} {unit}s"),
        (None, _) => format!("{unit}s, as many as the target serves"),
    }
}

/// Returns the first arrival times of a phase, since the start of the run.
fn first(phase: &load::PhaseLoad, index: usize, start: Duration, seed: u64) -> String {
    let index = u32::try_from(index).expect("phases are few");
    let mut times = Vec::new();
    for arrival in load::arrivals(phase, index, start, seed).take(SHOWN) {
        match arrival.due {
            Due::At(at) => times.push(format!("{:.3}s", at.as_secs_f64())),
            Due::WhenIdle { not_before, .. } => {
                return format!("{}, then whenever a session is free", Time(not_before));
            }
        }
    }
    times.join(", ")
}

fn mebibytes(bytes: u64) -> String {
    Size(bytes.div_ceil(1 << 20) << 20).to_string()
}
