//! `smtpress fleet collect`: prints the reports of a run that lost its coordinator.

use std::io::{self, Write};

use crate::cli::agent::access;
use crate::cli::args::fleet::FleetCollectArgs;
use crate::cli::screen::Screen;
use crate::command::CommandError;
use crate::fleet::agent::is_name;
use crate::fleet::collect::{self, CollectedRun};
use crate::fleet::init::COORDINATOR;
use crate::verdict::ExitCode;

/// Prints the runs that have reports, or the counts of one run.
pub fn collect(args: &FleetCollectArgs, screen: &Screen) -> Result<ExitCode, CommandError> {
    let access = access(&args.bus, COORDINATOR)?;
    let Some(run) = &args.of else {
        let runs = collect::runs(&access)?;
        let mut out = screen.out();
        if args.json {
            serde_json::to_writer_pretty(&mut out, &runs).map_err(io::Error::from)?;
            writeln!(out)?;
        } else if runs.is_empty() {
            writeln!(out, "the NATS server keeps no reports")?;
        } else {
            for (run, messages) in runs {
                writeln!(out, "{run}  {messages} messages")?;
            }
        }
        return Ok(ExitCode::Success);
    };
    if !is_name(run) {
        return Err(CommandError::usage(format!("{run:?} is no run; without RUN the runs are listed")));
    }
    let collected = collect::collect(&access, run)?;
    if collected.shards.is_empty() {
        return Err(CommandError::usage(format!(
            "the NATS server keeps no reports of run {run}; without RUN the runs are listed"
        )));
    }
    let mut out = screen.out();
    if args.json {
        let mut stored = serde_json::to_value(&collected).map_err(io::Error::from)?;
        stored["verdict"] = "invalid".into();
        stored["reasons"] = serde_json::json!(["agent-lost"]);
        serde_json::to_writer_pretty(&mut out, &stored).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", text(&collected))?;
    }
    // Always invalid: the coordinator did not watch the run to its end.
    Ok(ExitCode::Invalid)
}

fn text(run: &CollectedRun) -> String {
    let mut lines = vec![format!("run {}: {} shards have reports", run.run, run.shards.len())];
    for shard in &run.shards {
        let row = |&(first, last): &(u64, u64)| {
            if first == last { first.to_string() } else { format!("{first}-{last}") }
        };
        let rows: Vec<String> = shard.seconds.iter().map(row).collect();
        let seconds = if rows.is_empty() { "none".to_owned() } else { rows.join(", ") };
        let missing = shard.missing.as_deref().unwrap_or("nothing");
        lines.push(format!(
            "shard {}  {}  seconds {seconds}  scheduled {}  started {}  accepted {}  missing: {missing}",
            shard.shard, shard.agent, shard.counts.scheduled, shard.counts.started, shard.counts.accepted
        ));
    }
    let counts = run.counts;
    lines.push(format!(
        "together  scheduled {}  started {}  accepted {}",
        counts.scheduled, counts.started, counts.accepted
    ));
    lines.push(
        "INVALID: the coordinator did not end this run; of shards without reports nothing is known"
            .to_owned(),
    );
    lines.join("\n") + "\n"
}
