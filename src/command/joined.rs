//! Joins a stored run with delivery logs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::CommandError;
use crate::collector::tally::Tally;
use crate::delivery::log::DeliveryLogs;
use crate::delivery::transactions;
use crate::load::Shard;
use crate::profile::overrides::{OverrideOrigin, apply_in_order};
use crate::profile::{Context, Document, Override, Purpose, compile, input};
use crate::report::joined;
use crate::report::run_dir::TRANSACTIONS;
use crate::report::stored::RunResult;

/// Joins the run of this directory with the logs; `deliveries` and `clock_offset` are TOML values of their keys in `[receive]`.
///
/// # Errors
/// The run stored no transactions or did not end, its messages cannot be reproduced, or a log cannot be read.
pub fn join(
    directory: &Path,
    result: &mut RunResult,
    deliveries: &str,
    clock_offset: Option<&str>,
) -> Result<(), CommandError> {
    let refused = |why: String| {
        CommandError::usage(format!("cannot join {} with deliveries: {why}", directory.display()))
    };
    if result.is_unfinished() {
        return Err(refused(
            "the run did not come to its end, and what it sent last is not known".to_owned(),
        ));
    }
    let path = directory.join(TRANSACTIONS);
    if !path.is_file() {
        return Err(refused(format!(
            "it holds no {TRANSACTIONS}: the run did not keep its transactions. Runs with --deliveries do, and others with \
             --set receive.keep_transactions=true"
        )));
    }
    let (header, answered) = transactions::read(&path)
        .map_err(|why| refused(format!("failed to read {}: {why}", path.display())))?;
    let profile = directory.join("profile.toml");
    let text = input::read(&profile)
        .map_err(|error| refused(format!("failed to read {}: {error}", profile.display())))?;
    let mut document = Document::parse(&profile.display().to_string(), &String::from_utf8_lossy(&text))?;
    let change = |flag, key, value| Override::for_key(OverrideOrigin::Flag, flag, key, value);
    let mut changes = vec![change("--deliveries", "receive.deliveries", deliveries)];
    changes.extend(clock_offset.map(|offset| change("--clock-offset", "receive.clock_offset", offset)));
    apply_in_order(&mut document, changes)?;
    let context = Context {
        purpose: Purpose::Run,
        seed: result.profile.seed,
        run_id: header.run.clone(),
        threads: 1,
        shard: result.shard.map_or(Shard::WHOLE, |shard| Shard { index: shard.index, of: shard.of }),
    };
    let compiled = compile(&document, &context)?;
    let settings = compiled.receiver.as_ref().ok_or_else(|| refused("there is no log".to_owned()))?;
    let logs: &[PathBuf] = &settings.logs;
    let logs = DeliveryLogs::open(logs, settings.clock_offset, settings.quiet)?;
    let took = Duration::try_from_secs_f64(result.took_s).unwrap_or_default();
    logs.begin_stored(&compiled.plan, &header.date, header.at, header.clock.as_deref(), took);
    logs.answered(&answered);
    let mut tally = Tally::new(result.phases.len());
    let delivered = logs.finish(&joined::windows(result), took, false, &mut tally);
    joined::join(result, delivered, tally, &compiled.assertions);
    Ok(())
}
