//! A receiver behind the relay on an agent of a fleet: the agent starts it, and the coordinator reads its log.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::CommandError;
use super::prepared::Prepared;
use crate::collector::delivery::{ClockRelation, Delivered};
use crate::delivery::clock::HopClock;
use crate::delivery::log::DeliveryLogs;
use crate::delivery::settings::{ClockOffset, ReceiverSettings};
use crate::delivery::{FarEnd, LoggingReceiver};
use crate::fleet::agent::{DeliverySource, Receive};
use crate::fleet::deliveries::{CopiedDeliveries, WallOffset};
use crate::fleet::files::PrivateFolder;
use crate::fleet::gathering::Fleet;
use crate::fleet::message::ReceiveOrder;
use crate::load::Shard;
use crate::net::address::bind::Bind;
use crate::profile::{Compiled, Context, Document, Purpose, compile};

/// Returns the function by which an agent starts a receiver. `host` is the name of this machine.
pub fn start_receivers(host: String) -> Receive {
    Arc::new(move |order, spool| {
        LoggedHere::start(order, spool, &host).map(|own| Box::new(own) as Box<dyn DeliverySource>)
    })
}

/// A receiver on this machine, and its log.
struct LoggedHere {
    /// The receiver; `None` while it is being dropped.
    receiver: Option<LoggingReceiver>,
    log: PathBuf,
    _folder: PrivateFolder,
}

impl LoggedHere {
    fn start(order: &ReceiveOrder, spool: &Path, host: &str) -> Result<LoggedHere, String> {
        let document = Document::parse("the coordinator's profile", &order.profile)
            .map_err(|error| error.to_string())?;
        let context = Context {
            purpose: Purpose::Receive,
            seed: order.seed,
            run_id: order.run.clone(),
            threads: 1,
            shard: Shard::WHOLE,
        };
        let compiled = compile(&document, &context).map_err(|error| error.to_string())?;
        let settings = compiled.receiver.ok_or("the profile has no receiver")?;
        if settings.addresses.iter().any(|place| matches!(place, Bind::Unix(_))) {
            return Err("a receiver on an agent listens over TCP: name ip:port in [receive]".to_owned());
        }
        // A holder of the coordinator's key must not be able to overwrite a file of this machine.
        if settings.limits.certificate_out.is_some() {
            return Err(
                "a receiver on an agent writes its certificate to no file that a profile names: remove `cert_out` from \
                 [receive.listener]"
                    .to_owned(),
            );
        }
        let folder = PrivateFolder::make(spool)
            .map_err(|error| format!("failed to make a folder for its delivery log: {error}"))?;
        let log = folder.path().join("deliveries.jsonl");
        let receiver = LoggingReceiver::start(&settings, order.seed, Some(&log), host, HopClock::here())
            .map_err(|error| error.to_string())?;
        Ok(LoggedHere { receiver: Some(receiver), log, _folder: folder })
    }
}

impl DeliverySource for LoggedHere {
    fn mark(&mut self) {
        if let Some(receiver) = &self.receiver {
            receiver.mark();
        }
    }

    fn read(&mut self, from: u64, most: usize) -> io::Result<Vec<u8>> {
        if self.receiver.as_ref().is_some_and(LoggingReceiver::log_has_failed) {
            return Err(io::Error::other("it cannot be written any more"));
        }
        let mut file = File::open(&self.log)?;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(most as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Drop for LoggedHere {
    fn drop(&mut self) {
        self.receiver.take().map(LoggingReceiver::stop);
    }
}

/// Checks that the fleet has the agent that the profile names as its receiver. `fleet` has the agents of the run.
///
/// # Errors
/// The fleet does not have it, or the run has no agents.
pub fn check_receiver(compiled: &Compiled, fleet: Option<&Fleet>) -> Result<(), CommandError> {
    let Some(agent) = agent(compiled.receiver.as_ref()) else { return Ok(()) };
    let why = match fleet {
        None => "only `smtpress fleet` has agents: remove `agent`, and this machine receives".to_owned(),
        Some(own) if own.agents().any(|(name, _)| name == agent) => return Ok(()),
        Some(own) => {
            let names: Vec<&str> = own.agents().map(|(name, _)| name).collect();
            format!("the agents of the run are {}", names.join(", "))
        }
    };
    Err(CommandError::usage(format!("[receive] is to listen on agent {agent}: {why}")))
}

/// Returns the name of the agent that listens; `None`: no agent does.
pub(super) fn agent(settings: Option<&ReceiverSettings>) -> Option<&str> {
    settings?.agent.as_deref()
}

/// The copy of an agent's delivery log, which is updated while the run goes on.
pub struct CopiedFarEnd {
    copied: CopiedDeliveries,
    /// The offset of the agent's clock at the start.
    began: Option<WallOffset>,
    _folder: PrivateFolder,
}

impl CopiedFarEnd {
    /// Starts a receiver on an agent of the fleet.
    ///
    /// # Errors
    /// The agent cannot receive.
    pub(super) fn start(
        fleet: &Fleet,
        prepared: &Prepared,
        settings: &ReceiverSettings,
        agent: &str,
    ) -> Result<(FarEnd, CopiedFarEnd), CommandError> {
        let folder = PrivateFolder::make(&std::env::temp_dir())?;
        let log = folder.path().join("deliveries.jsonl");
        let order = ReceiveOrder {
            run: prepared.plan().run_id.clone(),
            profile: prepared.compiled.resolved.clone(),
            seed: prepared.plan().seed,
        };
        let copied = CopiedDeliveries::start(fleet, agent, order, &log)?;
        let began = copied.offset();
        let logs = DeliveryLogs::open(&[log], began.map(offset), settings.quiet)?;
        logs.check_alive()?;
        Ok((FarEnd::Logs(Box::new(logs)), CopiedFarEnd { copied, began, _folder: folder }))
    }

    /// Widens the bound of the clock's offset by its change since the start.
    pub(super) fn cover(&self, delivered: &mut Delivered) {
        let (Some(began), Some(later)) = (self.began, self.copied.offset()) else { return };
        if let ClockRelation::Offset { bound, .. } = &mut delivered.clock {
            *bound = offset(began).covering(offset(later)).bound;
        }
    }
}

fn offset(measured: WallOffset) -> ClockOffset {
    ClockOffset { ahead_ns: measured.ahead_ns, bound: measured.bound }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_on_an_agent_writes_no_file_that_the_profile_names() {
        let spool = tempfile::tempdir().unwrap();
        let victim = spool.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        let profile = format!(
            "schema = 1\n[receive]\naddress = [\"127.0.0.1:2600\"]\n[receive.listener]\ntls = \"starttls\"\ncert_out = \"{}\"\n",
            victim.display()
        );
        let order = ReceiveOrder { run: "6a2-1".to_owned(), profile, seed: 1 };
        let why = LoggedHere::start(&order, spool.path(), "here").err().unwrap();
        assert!(why.contains("remove `cert_out` from [receive.listener]"), "{why}");
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    }
}
