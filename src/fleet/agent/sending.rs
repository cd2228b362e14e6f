//! Sends the reports of an agent to the bus: those of its shard, and those that earlier agents left on disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::fleet::bus::{Bus, BusError};
use crate::fleet::spool::{self, Spool};
use crate::fleet::subject;

/// The pause before a refused report is sent again.
const AGAIN: Duration = Duration::from_millis(500);

/// The number of failed tries in a row after which the user is warned.
const WARNED_AFTER: u32 = 10;

/// A report on its way to the bus.
pub(super) struct Outgoing {
    pub subject: String,
    pub id: String,
    pub number: u64,
    pub is_last: bool,
    pub bytes: Vec<u8>,
}

/// Stores reports in their order: sends each report until the bus has stored it. Signals when the last one is stored.
pub(super) async fn send(
    bus: Bus,
    mut reports: mpsc::UnboundedReceiver<Outgoing>,
    spool: Option<Arc<Spool>>,
    stored: mpsc::UnboundedSender<()>,
    say: Arc<dyn Fn(&str) + Send + Sync>,
) {
    while let Some(report) = reports.recv().await {
        let mut failures = 0;
        while let Err(error) = bus.store(&report.subject, &report.id, &report.bytes).await {
            failures += 1;
            if failures == WARNED_AFTER {
                say(&format!("warning: {error}; it is sent again until it is stored"));
            }
            tokio::time::sleep(AGAIN).await;
        }
        if let Some(spool) = &spool {
            spool.forget(report.number, report.is_last);
        }
        if report.is_last {
            drop(spool);
            stored.send(()).ok();
            return;
        }
    }
}

/// Stores the reports that earlier agents on this machine left on disk and returns the number of their shards. `own`:
/// only the reports of this agent.
///
/// # Errors
/// The reports cannot be read, or the bus does not take them.
pub async fn deliver_spool(bus: &Bus, root: &Path, own: Option<&str>) -> Result<usize, BusError> {
    let mut shards = spool::waiting(root).map_err(|error| BusError::NotStored(error.to_string()))?;
    shards.retain(|((_, _, agent), _)| own.is_none_or(|own| own == agent));
    let count = shards.iter().filter(|(_, reports)| !reports.is_empty()).count();
    for ((run, shard, agent), reports) in shards {
        for report in reports {
            let subject = if report.is_last {
                subject::last(&run, shard, &agent)
            } else {
                subject::second(&run, shard, &agent)
            };
            bus.store(&subject, &format!("{run}/{shard}/spool/{agent}/{}", report.number), &report.bytes)
                .await?;
        }
        if let Ok(spool) = Spool::open(root, &run, shard, &agent) {
            spool.clear();
        }
    }
    Ok(count)
}
