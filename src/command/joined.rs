//! Joins a stored run with delivery logs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::clock_probe::ClockProbe;
use super::error::CommandError;
use crate::collector::delivery::{Answers, ClockRelation, FinalAnswer, Transaction};
use crate::collector::tally::Tally;
use crate::delivery::clock::ClockReading;
use crate::delivery::log::DeliveryLogs;
use crate::delivery::settings::ClockOffset;
use crate::delivery::transactions;
use crate::load::Shard;
use crate::profile::overrides::{OverrideOrigin, apply_in_order};
use crate::profile::{Context, Document, Override, Purpose, compile, input};
use crate::report::delivered_seconds::DeliveredSeconds;
use crate::report::format;
use crate::report::joined;
use crate::report::run_dir::TRANSACTIONS;
use crate::report::seconds::{SERIES, SecondsError};
use crate::report::stored::RunResult;
use crate::report::stored::delivery::StoredClock;

/// The delivery logs with which a stored run is joined. Each field is the TOML value of a key.
#[derive(Clone, Debug)]
pub struct JoinedLogs {
    /// `receive.deliveries`.
    pub deliveries: String,
    /// `receive.clock_offset`.
    pub clock_offset: Option<String>,
    /// `receive.clock_probe`.
    pub clock_probe: Option<String>,
    /// `target.allow`, instead of the value of the run.
    pub allow: Option<String>,
}

/// Joins the run of this directory with the logs. Returns its seconds with the deliveries.
///
/// # Errors
/// The run stored no transactions or only some of them, or did not end, its messages cannot be reproduced, or a log or a
/// file of the run cannot be read.
pub fn join(
    directory: &Path,
    result: &mut RunResult,
    told: &JoinedLogs,
) -> Result<Result<DeliveredSeconds, SecondsError>, CommandError> {
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
    let counted = result.phases.iter().map(|phase| phase.transactions.accepted).sum();
    if let Some(why) = lacks_accepted(&answered, counted) {
        return Err(refused(why));
    }
    let profile = directory.join("profile.toml");
    let text = input::read(&profile)
        .map_err(|error| refused(format!("failed to read {}: {error}", profile.display())))?;
    let mut document = Document::parse(&profile.display().to_string(), &String::from_utf8_lossy(&text))?;
    let change = |flag, key, value| Override::for_key(OverrideOrigin::Flag, flag, key, value);
    let mut changes = vec![change("--deliveries", "receive.deliveries", &told.deliveries)];
    for (flag, key, value) in [
        ("--clock-offset", "receive.clock_offset", &told.clock_offset),
        ("--clock-probe", "receive.clock_probe", &told.clock_probe),
        ("--allow-target", "target.allow", &told.allow),
    ] {
        changes.extend(value.as_ref().map(|value| change(flag, key, value)));
    }
    apply_in_order(&mut document, changes)?;
    let context = Context {
        purpose: Purpose::Run,
        seed: result.profile.seed,
        run_id: header.run.clone(),
        threads: 1,
        shard: result.shard.map_or(Shard::WHOLE, |shard| Shard { index: shard.index, of: shard.of }),
    };
    let compiled = compile(&document, &context)?;
    transactions::check(&answered, &compiled.plan)
        .map_err(|why| refused(format!("failed to read {}: {why}", path.display())))?;
    let phases = compiled.plan.phases.len();
    let is_in_result = |answered: &Transaction| (answered.phase as usize) < result.phases.len();
    if result.phases.len() > phases || !answered.iter().all(is_in_result) {
        return Err(refused(format!(
            "its result has {} phases and its profile {phases}: they are not of the same run",
            result.phases.len()
        )));
    }
    let settings = compiled.receiver.as_ref().ok_or_else(|| refused("there is no log".to_owned()))?;
    let logs: &[PathBuf] = &settings.logs;
    let probe = settings.clock_probe.as_deref().filter(|_| told.clock_probe.is_some());
    let probe = probe.map(|place| ClockProbe::new(place, &compiled.plan.allow)).transpose()?;
    let asked = probe.as_ref().map(ClockProbe::ask).transpose()?;
    let known = told.clock_offset.as_ref().map_or_else(|| measured_by(result), |_| settings.clock_offset);
    let offset = asked.or(known).or(settings.clock_offset);
    let logs = DeliveryLogs::open(logs, offset, settings.quiet)?;
    let took = Duration::try_from_secs_f64(result.took_s).unwrap_or_default();
    logs.begin_stored(&compiled.plan, &header.date, header.at, header.clock.as_deref(), took);
    logs.answered(&answered);
    let mut tally = Tally::new(result.phases.len());
    let mut delivered = logs.finish(&joined::windows(result), took, false, &mut tally);
    if let Some(probe) = &probe {
        probe.ask_again(&mut delivered);
        if matches!(delivered.clock, ClockRelation::Offset { .. }) {
            let since = ClockReading::now().wall.saturating_sub(header.at.wall + took);
            delivered.remarks.push(format!(
                "the receiver's clock was asked {} after the run: what the clocks drifted meanwhile is not in the bound of their offset",
                format::seconds(since.as_secs_f64())
            ));
        }
    }
    let names: Vec<String> = result.phases.iter().map(|phase| phase.name.clone()).collect();
    // The rows end where the run's own wait for deliveries would have ended.
    let waited = delivered.ended.min(took + settings.drain);
    let seconds = DeliveredSeconds::of(directory, &names, &delivered, waited)
        .map_err(|source| SecondsError::File { path: directory.join(SERIES), source });
    joined::join(result, delivered, tally, &compiled.assertions);
    Ok(seconds)
}

/// Returns why these transactions cannot be joined: they have fewer accepted messages than the run counted, and deliveries
/// of the others would be taken for those of another run. `None`: they can be joined.
fn lacks_accepted(answered: &[Transaction], counted: u64) -> Option<String> {
    let has_accepted = |own: &&Transaction| match &own.answers {
        Answers::All(answer) => *answer == FinalAnswer::Accepted,
        Answers::Each(answers) => answers.contains(&FinalAnswer::Accepted),
    };
    let listed = answered.iter().filter(has_accepted).count() as u64;
    (listed < counted).then(|| {
        format!(
            "its {TRANSACTIONS} holds {listed} accepted messages, and the run counted {counted}: the deliveries of the others could not \
             be matched; run again"
        )
    })
}

/// Returns the offset that the run itself used, measured or given.
fn measured_by(result: &RunResult) -> Option<ClockOffset> {
    let StoredClock::Offset { ahead_s, bound_s } = result.delivery.as_ref()?.clock? else { return None };
    let bound = Duration::try_from_secs_f64(bound_s).ok()?;
    Some(ClockOffset { ahead_ns: (ahead_s * 1e9).round() as i64, bound })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_with_fewer_accepted_messages_than_the_run_are_refused() {
        let transaction = |answers| Transaction {
            seq: 1,
            phase: 0,
            intended: Duration::ZERO,
            answered: Duration::ZERO,
            answers,
        };
        let all = [
            transaction(Answers::All(FinalAnswer::Accepted)),
            transaction(Answers::All(FinalAnswer::InDoubt)),
            transaction(Answers::Each([FinalAnswer::Refused, FinalAnswer::Accepted].into())),
            transaction(Answers::Each([FinalAnswer::Refused, FinalAnswer::InDoubt].into())),
        ];
        // The other recipients of LMTP may make a message that one recipient has count as refused.
        assert_eq!([0, 1, 2].map(|counted| lacks_accepted(&all, counted)), [None, None, None]);
        let why = lacks_accepted(&all, 3).unwrap();
        assert!(why.contains("holds 2 accepted messages") && why.contains("counted 3"), "{why}");
        assert!(lacks_accepted(&[], 1).is_some(), "a file with its first line alone");
    }
}
