//! The life of a command that measures: it opens its run directory, starts the embedded listener, stores the result and
//! ends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use tokio::sync::watch;

use super::behind_relay::BehindRelay;
use super::clock_probe::ClockProbe;
use super::error::CommandError;
use super::message_files::message_files;
use super::prepared::{Prepared, embedded};
use super::remote_receiver::{self, CopiedFarEnd};
use crate::delivery::log::DeliveryLogs;
use crate::delivery::settings::ReceiverSettings;
use crate::delivery::{FarEnd, Receiver};
use crate::fleet::coordinator::{CommandOfRun, FleetRunner};
use crate::fleet::gathering::Fleet;
use crate::fleet::message::ListenerOfRun;
use crate::fleet::record::Assignment;
use crate::generator::connector::EmbeddedListener;
use crate::generator::{Local, Stop};
use crate::listener::Listener;
use crate::net::address::bind::Bind;
use crate::plan::Plan;
use crate::report::run_dir::{Contents, RunDir};
use crate::report::stored::RunResult;
use crate::verdict::ExitCode;

/// A running command that measures.
pub struct Life<'a> {
    /// The prepared profile.
    pub prepared: &'a Prepared,
    /// The run directory.
    pub directory: RunDir,
    listener: Option<Listener>,
    receiver: Option<Arc<FarEnd>>,
    clock_probe: Option<Arc<ClockProbe>>,
}

impl<'a> Life<'a> {
    /// Starts the embedded listener if it is the target, and the receiver if the profile has one. Stores a result that
    /// says `interrupted`, in case the command is cut off. Sends nothing.
    ///
    /// # Errors
    /// The listener or the receiver cannot be started, or the directory cannot be written to.
    pub fn begin(
        prepared: &'a Prepared,
        directory: RunDir,
        so_far: &RunResult,
    ) -> Result<Life<'a>, CommandError> {
        let settings = prepared.compiled.receiver.as_ref();
        let is_there =
            |settings: &&ReceiverSettings| !settings.addresses.is_empty() || !settings.logs.is_empty();
        let is_here = |settings: &&ReceiverSettings| settings.agent.is_none();
        let started = prepared.start_listener().and_then(|listener| {
            let opened =
                settings.filter(is_there).filter(is_here).map(|settings| far_end(settings, prepared.plan()));
            Ok((listener, opened.transpose()?))
        });
        let (listener, opened) = match started {
            Ok(started) => started,
            Err(error) => {
                directory.give_back();
                return Err(error);
            }
        };
        let (receiver, clock_probe) = opened.map_or((None, None), |(far_end, probe)| (Some(far_end), probe));
        let (receiver, clock_probe) = (receiver.map(Arc::new), clock_probe.map(Arc::new));
        directory
            .keep(so_far)
            .and_then(|()| directory.put("profile.toml", &prepared.compiled.resolved))
            .map_err(CommandError::unwritable)?;
        Ok(Life { prepared, directory, listener, receiver, clock_probe })
    }

    /// Returns the embedded listener as its clients see it.
    pub fn embedded(&self) -> Option<EmbeddedListener> {
        self.listener.as_ref().map(embedded)
    }

    /// Sets the start of the load, from which the embedded listener counts its outage and its stall.
    pub fn load_begins(&self, at: Instant) {
        self.listener.iter().for_each(|listener| listener.count_from(at));
    }

    /// Whether the times of deliveries will be known.
    pub fn has_times(&self) -> bool {
        self.receiver.as_ref().is_none_or(|receiver| receiver.has_times())
    }

    /// Returns the source of deliveries, if there is one.
    pub fn far_end(&self) -> Option<Arc<FarEnd>> {
        self.receiver.clone()
    }

    /// Returns the generator of this process, with the receiver behind the relay.
    pub fn runner(&self, stop: watch::Receiver<Stop>) -> BehindRelay<Local> {
        let local = Local::new(stop.clone(), self.prepared.date()).with_reachability_check();
        let inner = match &self.listener {
            Some(listener) => {
                local.with_listener(listener.place()).with_certificate(listener.certificate().cloned())
            }
            None => local,
        };
        self.behind_relay(inner, stop)
    }

    /// Returns the agents of a fleet, with the receiver behind the relay.
    ///
    /// # Errors
    /// Agents cannot reach the embedded listener, or no longer wait for work.
    pub fn fleet_runner(
        &self,
        mut fleet: Fleet,
        stop: watch::Receiver<Stop>,
    ) -> Result<BehindRelay<FleetRunner>, CommandError> {
        fleet.renew_after_wait()?;
        let assignment = self.assignment()?;
        let command =
            CommandOfRun { profile_path: self.prepared.path.clone(), began: self.prepared.started_at };
        let settings = self.prepared.compiled.receiver.as_ref();
        let remote = settings.zip(remote_receiver::agent(settings));
        let remote = remote
            .map(|(settings, agent)| CopiedFarEnd::start(&fleet, self.prepared, settings, agent))
            .transpose()?;
        let relayed = self.behind_relay(FleetRunner::new(fleet, stop.clone(), assignment, command), stop);
        Ok(match remote {
            Some((far_end, copied)) => {
                BehindRelay { receiver: Some(Arc::new(far_end)), copied: Some(Arc::new(copied)), ..relayed }
            }
            None => relayed,
        })
    }

    /// Returns the data that agents get about the embedded listener.
    ///
    /// # Errors
    /// Agents cannot reach the embedded listener.
    pub fn assignment(&self) -> Result<Assignment, CommandError> {
        let embedded = self.listener.as_ref().map(|listener| match listener.place() {
            Bind::Tcp(address) => Ok(ListenerOfRun {
                address: on_this_machine(*address),
                certificate: listener.certificate().map(|certificate| certificate.to_vec()),
            }),
            Bind::Unix(_) => Err(CommandError::usage(
                "agents reach the embedded listener over TCP: name an address of loopback as its bind",
            )),
        });
        Ok(Assignment {
            profile: self.prepared.compiled.resolved.clone(),
            date: self.prepared.date(),
            embedded: embedded.transpose()?,
            lists_transactions: self.prepared.plan().lists_transactions,
            files: message_files(&self.prepared.compiled)?,
        })
    }

    fn behind_relay<R>(&self, inner: R, stop: watch::Receiver<Stop>) -> BehindRelay<R> {
        let date = self.prepared.date();
        let drain =
            self.prepared.compiled.receiver.as_ref().map(|settings| settings.drain).unwrap_or_default();
        let (receiver, clock_probe) = (self.receiver.clone(), self.clock_probe.clone());
        BehindRelay {
            inner,
            receiver,
            clock_probe,
            copied: None,
            drain,
            date,
            stop,
            runs: 0,
            awaits_always: false,
        }
    }

    /// Removes the files of a load that could not start.
    pub fn abandon(self) {
        self.directory.abandon();
    }

    /// Ends the listener, and stores the result that `build` makes from its counts.
    pub fn finish(
        mut self,
        transcripts: &[(String, String)],
        build: impl FnOnce(Option<Value>) -> RunResult,
    ) -> Finished {
        let ledger = self.listener.map(Listener::stop).and_then(|ledger| serde_json::to_value(ledger).ok());
        let mut result = build(ledger);
        result.directory = Some(self.directory.path().display().to_string());
        let stored = self.directory.store(Contents {
            result: &result,
            profile: &self.prepared.compiled.resolved,
            environment: &self.prepared.environment(),
            transcripts,
        });
        Finished {
            directory: self.directory,
            result: Arc::new(result),
            stored: stored.map_err(CommandError::from),
        }
    }
}

/// Returns the address by which a client on this machine reaches a listener on `address`: agents refuse the unspecified
/// address, which is not one of loopback.
fn on_this_machine(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Starts the receiver, or opens the delivery logs and asks for the clock of their machine.
fn far_end(settings: &ReceiverSettings, plan: &Plan) -> Result<(FarEnd, Option<ClockProbe>), CommandError> {
    if settings.logs.is_empty() {
        return Ok((FarEnd::Own(Receiver::start(settings, plan.seed)?), None));
    }
    let probe =
        settings.clock_probe.as_deref().map(|place| ClockProbe::new(place, &plan.allow)).transpose()?;
    let asked = probe.as_ref().map(ClockProbe::ask).transpose()?;
    let logs = DeliveryLogs::open(&settings.logs, asked.or(settings.clock_offset), settings.quiet)?;
    logs.check_alive()?;
    Ok((FarEnd::Logs(Box::new(logs)), probe))
}

/// A command with its result.
pub struct Finished {
    /// The run directory.
    pub directory: RunDir,
    /// The result with its verdict.
    pub result: Arc<RunResult>,
    /// `Ok` if all files of the run are written.
    pub stored: Result<(), CommandError>,
}

impl Finished {
    /// Returns the exit code of the result.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::of(self.result.verdict.exit_code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_reach_a_listener_on_all_addresses_by_loopback() {
        for (listens, reached) in [
            ("0.0.0.0:25", "127.0.0.1:25"),
            ("[::]:25", "[::1]:25"),
            ("127.0.0.2:26", "127.0.0.2:26"),
            ("203.0.113.1:25", "203.0.113.1:25"),
        ] {
            assert_eq!(on_this_machine(listens.parse().unwrap()), reached.parse().unwrap());
        }
    }
}
