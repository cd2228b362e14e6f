//! `smtpress compare`: decides which runs may be compared, and the exit code.

mod interleave;

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::args::compare::{CompareArgs, CompareFormat};
use super::screen::Screen;
use crate::command::CommandError;
use crate::command::output::Output;
use crate::report::compared::{self, Compared};
use crate::report::stored::{RunResult, StoredStatus, ValidityStatus};
use crate::report::{RunDir, blocks, format, html};
use crate::verdict::ExitCode;
use crate::verdict::compare::{
    self as statistics, DeliveryFaults, Effort, Measure, PhaseRuns, RunBlocks, measure_name,
};

/// The largest number of runs on a side: the cost of the exact test grows with its fourth power.
const MOST_RUNS: usize = 100;

/// The runs to compare.
struct RunsToCompare {
    base: Vec<PathBuf>,
    candidate: Vec<PathBuf>,
    /// Notes for the reader on how the runs were made.
    notes: Vec<String>,
}

/// Returns the runs that the user names, or makes them (`--interleave`).
fn runs_to_compare(args: &CompareArgs, screen: &Screen) -> Result<RunsToCompare, CommandError> {
    let Some(n) = args.series.interleave else {
        return Ok(RunsToCompare {
            base: args.base.clone(),
            candidate: args.against.clone(),
            notes: Vec::new(),
        });
    };
    let [profile] = args.base.as_slice() else {
        return Err(CommandError::usage(
            "--interleave runs one profile against two targets: give one profile",
        ));
    };
    interleave::carry(profile, n, &args.series, args.force, screen)
}

/// Runs `smtpress compare`.
pub fn compare(args: &CompareArgs, screen: &Screen) -> Result<ExitCode, CommandError> {
    let measures = measures(&args.metrics)?;
    let (output, page) = outputs(args)?;
    let runs = runs_to_compare(args, screen)?;
    let (base, candidate) = (SideRuns::open(&runs.base)?, SideRuns::open(&runs.candidate)?);
    let faults = faults(&base.runs, &candidate.runs);
    if !faults.is_empty() && !args.force {
        return Err(CommandError::usage(format!(
            "these runs are not comparable: {}; compare runs of one profile and seed that are valid, or insist with --force",
            faults.join("; ")
        )));
    }
    let (base_phases, candidate_phases) = (base.phases()?, candidate.phases()?);
    let (phases, left_out) = phases(base_phases, candidate_phases);
    if phases.is_empty() {
        return Err(CommandError::usage(
            "these runs are not comparable: they have no measured phase in common; give runs of one profile",
        ));
    }
    let mut comparison = statistics::compare(&phases, &measures, Effort::default());
    let (of_base, of_candidate) = (deliveries(&base.runs), deliveries(&candidate.runs));
    comparison.add_deliveries(of_base.as_deref(), of_candidate.as_deref());
    let twice = same_runs(&base.runs, &candidate.runs);
    twice.iter().for_each(|note| screen.note(&format!("smtpress: warning: {note}")));
    comparison.notes.extend(twice);
    comparison.notes.extend(runs.notes);
    comparison.notes.extend(
        left_out.iter().map(|phase| format!("phase {phase} left out: not every run has measured it")),
    );
    let compared =
        Compared { comparison: &comparison, base: &base.runs, candidate: &candidate.runs, forced: &faults };
    let text = match args.form() {
        CompareFormat::Json => compared::json(compared).into_bytes(),
        CompareFormat::Markdown => compared::markdown(compared).into_bytes(),
        CompareFormat::Html => html::comparison(compared).into_bytes(),
        CompareFormat::Text => {
            let mut text = Vec::new();
            let colour = output == Output::Stdout && screen.colour_out();
            compared::text(compared, screen.width(), colour, &mut text)?;
            text
        }
    };
    let written = page.map_or(Ok(()), |page| page.write(html::comparison(compared).as_bytes()));
    output.write(&text).and(written)?;
    Ok(comparison.judgement.exit_code())
}

/// Returns the delivery faults of each run; `None` if a run had no receiver.
fn deliveries(runs: &[(String, RunResult)]) -> Option<Vec<DeliveryFaults>> {
    let of_run = |(_, run): &(String, RunResult)| {
        run.delivery.as_ref()?;
        let mut sum = DeliveryFaults::default();
        for own in run.phases.iter().filter_map(|phase| phase.delivery.as_ref()) {
            sum.recipients += own.accepted_recipients;
            sum.missing += own.missing;
            sum.duplicated += own.duplicated;
            sum.altered += own.altered;
            sum.unexpected += own.unexpected;
            sum.bounced += own.bounced;
        }
        Some(sum)
    };
    runs.iter().map(of_run).collect()
}

/// Returns the places of the comparison and of its page.
fn outputs(args: &CompareArgs) -> Result<(Output, Option<Output>), CommandError> {
    let output = Output::open(args.out.as_deref())?;
    let page = args.html.as_deref().map(|path| Output::open(Some(path))).transpose()?;
    if page.as_ref() == Some(&output) {
        return Err(CommandError::usage(
            "--html names the place of the comparison itself: name another file, or use --format html",
        ));
    }
    Ok((output, page))
}

/// Returns the metrics with these names; all metrics if no name is given.
fn measures(names: &[String]) -> Result<Vec<Measure>, CommandError> {
    if names.is_empty() {
        return Ok(Measure::ALL.to_vec());
    }
    let find = |name: &String| {
        let known = |measure: &Measure| {
            let full = measure_name(*measure);
            full == *name || full.strip_prefix("response ") == Some(name)
        };
        Measure::ALL.into_iter().find(known).ok_or_else(|| {
            let all = Measure::ALL.map(|measure| format!("'{}'", measure_name(measure))).join(", ");
            CommandError::usage(format!("there is no metric {name:?}: name one of {all}"))
        })
    };
    names.iter().map(find).collect()
}

/// The runs of one side, with their directories.
struct SideRuns<'a> {
    paths: &'a [PathBuf],
    runs: Vec<(String, RunResult)>,
}

impl SideRuns<'_> {
    fn open(paths: &[PathBuf]) -> Result<SideRuns<'_>, CommandError> {
        if paths.len() > MOST_RUNS {
            return Err(CommandError::usage(format!(
                "{} runs on a side are too many: give at most {MOST_RUNS}",
                paths.len()
            )));
        }
        let mut runs: Vec<(String, RunResult)> = Vec::new();
        for path in paths {
            let name = path.display().to_string();
            if !path.is_dir() {
                return Err(CommandError::usage(format!(
                    "{name} is no directory: a comparison needs the counts of each second; give the whole run directory"
                )));
            }
            let result = RunDir::open(path)?;
            if let Some((other, _)) = runs.iter().find(|(_, other)| other.run_id == result.run_id) {
                return Err(CommandError::usage(format!(
                    "{name} and {other} are the same run: a run counts once on a side"
                )));
            }
            runs.push((name, result));
        }
        Ok(SideRuns { paths, runs })
    }

    /// Returns the measured phases of each run.
    fn phases(&self) -> Result<Vec<Vec<(String, RunBlocks)>>, CommandError> {
        let mut phases = Vec::new();
        for (path, (_, result)) in self.paths.iter().zip(&self.runs) {
            phases.push(blocks::of_phases(path, result)?);
        }
        Ok(phases)
    }
}

/// Returns the phases that every run has, and the names of the others.
fn phases(
    base: Vec<Vec<(String, RunBlocks)>>,
    candidate: Vec<Vec<(String, RunBlocks)>>,
) -> (Vec<PhaseRuns>, Vec<String>) {
    let (of_base, of_candidate) = (base.len(), candidate.len());
    let mut order: Vec<String> = Vec::new();
    let mut found: BTreeMap<String, PhaseRuns> = BTreeMap::new();
    for (is_base, runs) in [(true, base), (false, candidate)] {
        for (name, blocks) in runs.into_iter().flatten() {
            let phase = found.entry(name.clone()).or_insert_with(|| {
                order.push(name.clone());
                PhaseRuns { name, ..PhaseRuns::default() }
            });
            if is_base { phase.base.push(blocks) } else { phase.candidate.push(blocks) }
        }
    }
    let all = order.into_iter().filter_map(|name| found.remove(&name));
    let (whole, others): (Vec<PhaseRuns>, Vec<PhaseRuns>) =
        all.partition(|phase| phase.base.len() == of_base && phase.candidate.len() == of_candidate);
    (whole, others.into_iter().map(|phase| phase.name).collect())
}

/// Returns a warning for each run that is on both sides, even as a copy or a link under another name: comparing a run
/// with itself shows nothing.
fn same_runs(base: &[(String, RunResult)], candidate: &[(String, RunResult)]) -> Vec<String> {
    let twice = candidate.iter().filter_map(|(name, result)| {
        let (other, _) = base.iter().find(|(_, other)| other.run_id == result.run_id)?;
        Some(format!(
            "{other} and {name} are the same run ({}): a run compared with itself shows no difference",
            result.run_id
        ))
    });
    twice.collect()
}

/// Returns why the runs should not be compared.
fn faults(base: &[(String, RunResult)], candidate: &[(String, RunResult)]) -> Vec<String> {
    let mut faults = Vec::new();
    let all = || base.iter().chain(candidate);
    let Some((first_name, first)) = all().next() else { return faults };
    for (name, result) in all() {
        if result.validity.status == ValidityStatus::Invalid {
            faults.push(format!("{name} is invalid ({})", result.validity.reasons.join(", ")));
        }
        if result.verdict.status == StoredStatus::Interrupted {
            faults.push(format!("{name} was interrupted"));
        }
        faults.extend(ended_early(result).map(|why| format!("{name} {why}")));
    }
    let mut differ = |what: &str, remedy: &str, same: fn(&RunResult, &RunResult) -> bool| {
        if let Some((name, _)) = all().find(|(_, result)| !same(first, result)) {
            faults.push(format!("{name} has another {what} than {first_name}{remedy}"));
        }
    };
    differ("seed", " (it is drawn unless --seed gives it)", |one, other| {
        one.profile.seed == other.profile.seed
    });
    differ("profile", "", same_load);
    differ("shard", "", |one, other| one.shard == other.shard);
    for side in [base, candidate] {
        let Some((first_name, first)) = side.first() else { continue };
        if let Some((name, _)) = side.iter().find(|(_, result)| result.target != first.target) {
            faults.push(format!("{name} went to another target than {first_name} of its side"));
        }
    }
    faults
}

/// Returns what an assertion with `abort` did to the run: its phases are shorter than those of other runs.
fn ended_early(result: &RunResult) -> Option<String> {
    let expr = result.verdict.aborted_by.as_deref()?;
    Some(format!("was ended early by an assertion ({})", format::harmless(expr)))
}

/// Whether both runs put the same load on their targets.
fn same_load(one: &RunResult, other: &RunResult) -> bool {
    let (one, other) = (&one.profile, &other.profile);
    // Without a stored hash of the load, runs are alike only if they have the same target, too.
    one.sha256 == other.sha256 || (one.load_sha256.is_some() && one.load_sha256 == other.load_sha256)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;

    #[test]
    fn a_run_that_an_assertion_ended_is_not_comparable() {
        let run = |aborted_by: Option<&str>| {
            let mut run = fixtures::accepted();
            run.verdict.aborted_by = aborted_by.map(str::to_owned);
            run
        };
        let of = |base, candidate| faults(&[("one".to_owned(), base)], &[("two".to_owned(), candidate)]);
        assert_eq!(of(run(None), run(None)), Vec::<String>::new());
        let ended = || run(Some("accepted >= 99 %"));
        assert_eq!(of(run(None), ended()), ["two was ended early by an assertion (accepted >= 99 %)"]);
        assert_eq!(of(ended(), run(None)), ["one was ended early by an assertion (accepted >= 99 %)"]);
    }

    #[test]
    fn the_deliveries_of_each_run_are_compared_with_their_bounces() {
        let run = fixtures::accepted();
        assert_eq!(deliveries(&[("one".to_owned(), run.clone())]), None, "it had no receiver");
        let mut relayed = run;
        relayed.delivery = Some(Default::default());
        let of_phase = relayed.phases[0].delivery.insert(Default::default());
        (of_phase.accepted_recipients, of_phase.bounced) = (9, 3);
        let expected = DeliveryFaults { recipients: 9, bounced: 3, ..DeliveryFaults::default() };
        let runs = [("one".to_owned(), relayed.clone()), ("two".to_owned(), relayed)];
        assert_eq!(deliveries(&runs), Some(vec![expected; 2]));
    }
}
