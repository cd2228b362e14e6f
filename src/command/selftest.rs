//! The scenarios of the selftest on this machine: its generator against its own listener.

use tokio::sync::watch;

use super::error::CommandError;
use crate::experiment::selftest::{ListenerSetting, ScenarioResult, Testbed, rate_ceiling};
use crate::generator::{Local, RunError, Runner, Stop};
use crate::listener::limits::{Delay, Limits, Stall};
use crate::plan::Plan;

/// The generator and the embedded listener of this process.
#[derive(Debug)]
pub struct LocalTestbed {
    /// The user's stop, which ends a load early.
    pub stop: watch::Receiver<Stop>,
}

impl Testbed for LocalTestbed {
    fn measure(&mut self, plan: &Plan, setting: &ListenerSetting) -> Result<ScenarioResult, RunError> {
        let limits = Limits {
            delays: crate::listener::limits::ReplyDelays {
                body: Delay { min: setting.body, max: setting.body },
                ..Default::default()
            },
            stall: setting.stall.map(|(from, length)| Stall { from, length }),
            temporary_error_rate: setting.errors,
            server_error_rate: setting.errors,
            max_connections_per_host: setting.per_host,
            ..Limits::default()
        };
        let listener = crate::listener::start(([127, 0, 0, 1], 0).into(), limits, plan.seed, 1)
            .map_err(|error| RunError::Thread(std::io::Error::other(error.to_string())))?;
        let mut local = Local::new(self.stop.clone(), "Thu, 01 Jan 1970 00:00:00 +0000".to_owned())
            .with_listener(listener.addr())
            .with_stall(setting.block);
        let measured = local.run(plan, &mut ())?;
        let ledger = listener.stop();
        Ok(ScenarioResult { measured, delivered: ledger.messages })
    }

    fn resident_bytes(&self) -> u64 {
        crate::generator::resident_bytes()
    }
}

/// Finds the highest rate at which this machine's generator is on time, up to `most`, in messages a second.
///
/// # Errors
/// This process cannot go on.
pub fn rate(most: f64, stop: &watch::Receiver<Stop>) -> Result<f64, CommandError> {
    Ok(rate_ceiling(&mut LocalTestbed { stop: stop.clone() }, most)?.rate_per_s)
}
