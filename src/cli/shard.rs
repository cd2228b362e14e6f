//! `--shard`: the part of the load that a process runs, from `I/N` or from the variables of a scheduler.
//!
//! # Decisions
//! - Three tasks that all run part 0 look like a valid run. So an unclear environment is an error: an incomplete pair,
//!   an invalid number, an index that is not below the count, two schedulers that disagree.
//! - The tasks of a Slurm job array are jobs of one task each: the pair of the step gives 0 of 1, and the pair of the
//!   array is used.

use std::ffi::OsString;

use crate::command::CommandError;
use crate::load::Shard;

/// The part of the load that a process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenShard {
    /// The part.
    pub shard: Shard,
    /// The variables that the part was taken from; `None`: the command line.
    pub variables: Option<[&'static str; 2]>,
}

impl ChosenShard {
    /// Returns a message with the part and its variables; `None` if the user wrote the part.
    pub fn notice(&self) -> Option<String> {
        let [index, count] = self.variables?;
        let Shard { index: own, of } = self.shard;
        Some(format!("smtpress: shard {own}/{of} of the load, by {index} and {count}"))
    }
}

/// Two variables of a scheduler that give the index of a process, from 0, and the number of processes.
#[derive(Clone, Copy, Debug)]
struct VariablePair {
    scheduler: &'static str,
    index: &'static str,
    count: &'static str,
}

/// The values of such a pair.
struct PairContent {
    index: Option<String>,
    count: Option<String>,
}

/// The tasks of a job step.
const TASKS: VariablePair = VariablePair { scheduler: "Slurm", index: "SLURM_PROCID", count: "SLURM_NTASKS" };
/// The jobs of a job array.
const ARRAY: VariablePair = VariablePair {
    scheduler: "a Slurm job array",
    index: "SLURM_ARRAY_TASK_ID",
    count: "SLURM_ARRAY_TASK_COUNT",
};
/// The lowest index of a job array.
const ARRAY_LOWEST: &str = "SLURM_ARRAY_TASK_MIN";
const OTHERS: [VariablePair; 3] = [
    VariablePair {
        scheduler: "a Kubernetes Indexed Job",
        index: "JOB_COMPLETION_INDEX",
        count: "JOB_COMPLETIONS",
    },
    VariablePair { scheduler: "Open MPI", index: "OMPI_COMM_WORLD_RANK", count: "OMPI_COMM_WORLD_SIZE" },
    VariablePair { scheduler: "PMI", index: "PMI_RANK", count: "PMI_SIZE" },
];

/// Returns the value of `--shard`: `i/n` with i from 0, or `env`.
///
/// # Errors
/// The text is not a shard, or the environment is missing or contradictory.
pub fn chosen(text: &str) -> Result<ChosenShard, CommandError> {
    match text {
        "env" => from_environment(|name| std::env::var_os(name)).map_err(CommandError::usage),
        written => {
            let parsed = written
                .split_once('/')
                .and_then(|(index, of)| Some(Shard { index: index.parse().ok()?, of: of.parse().ok()? }));
            let shard = parsed.filter(|shard| shard.index < shard.of).ok_or_else(|| {
                CommandError::usage(format!(
                    "{written:?} is no shard: write i/n with i from 0 to n - 1, such as --shard 0/4, or --shard env for the \
                     variables of a scheduler"
                ))
            })?;
            Ok(ChosenShard { shard, variables: None })
        }
    }
}

/// Returns the part by the scheduler's variables; `variable` looks one up.
fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Result<ChosenShard, String> {
    let variable = |name: &str| variable(name).map(|value| value.to_string_lossy().into_owned());
    let content =
        |pair: VariablePair| PairContent { index: variable(pair.index), count: variable(pair.count) };
    let mut found = Vec::new();
    let mut slurm = content(TASKS);
    if let Some(shard) = read(ARRAY, content(ARRAY), variable(ARRAY_LOWEST).as_deref())? {
        if slurm.count.as_ref().is_some_and(|count| count.trim() != "1") {
            return Err(format!(
                "--shard env: the job is one of a job array ({} is set) and has several tasks itself ({} is not 1): share the \
                 load out over the array or over the tasks, not over both, or give --shard I/N",
                ARRAY.count, TASKS.count
            ));
        }
        slurm = PairContent { index: None, count: None };
        found.push((ARRAY, shard));
    }
    found.extend(read(TASKS, slurm, None)?.map(|shard| (TASKS, shard)));
    for pair in OTHERS {
        found.extend(read(pair, content(pair), None)?.map(|shard| (pair, shard)));
    }
    let Some(&(pair, shard)) = found.first() else {
        let named: Vec<String> = [TASKS, ARRAY]
            .iter()
            .chain(&OTHERS)
            .map(|pair| format!("{} and {} ({})", pair.index, pair.count, pair.scheduler))
            .collect();
        return Err(format!(
            "--shard env: no variable names the part of this process: none of {} is set; start it by the scheduler, set one \
             of the pairs, or give --shard I/N",
            named.join(", ")
        ));
    };
    if let Some((other, differs)) = found.iter().find(|(_, own)| *own != shard) {
        return Err(format!(
            "--shard env: {} and {} say {}/{}, and {} and {} say {}/{}: unset the pair that is not of the scheduler that \
             started this process, or give --shard I/N",
            pair.index,
            pair.count,
            shard.index,
            shard.of,
            other.index,
            other.count,
            differs.index,
            differs.of
        ));
    }
    Ok(ChosenShard { shard, variables: Some([pair.index, pair.count]) })
}

/// Returns the part by one pair, with indices from `lowest` on (absent: from 0); `None` if neither variable is set.
fn read(pair: VariablePair, content: PairContent, lowest: Option<&str>) -> Result<Option<Shard>, String> {
    let VariablePair { scheduler, index, count } = pair;
    let half = |there: &str, missing: &str| {
        Err(format!(
            "--shard env: {there} is set and {missing} is not: {scheduler} needs both; set {missing}, or give --shard I/N"
        ))
    };
    let (own, of) = match (content.index, content.count) {
        (None, None) => return Ok(None),
        (Some(_), None) => return half(index, count),
        (None, Some(_)) => return half(count, index),
        (Some(own), Some(of)) => (own, of),
    };
    let number = |name: &str, text: &str| {
        text.trim().parse::<u32>().map_err(|_| {
            format!("--shard env: {name}={text:?} is no whole number; correct it, unset {index} and {count}, or give --shard I/N")
        })
    };
    let (own, of) = (number(index, &own)?, number(count, &of)?);
    let lowest = lowest.map_or(Ok(0), |lowest| number(ARRAY_LOWEST, lowest))?;
    match own.checked_sub(lowest).filter(|place| *place < of) {
        Some(place) => Ok(Some(Shard { index: place, of })),
        None => Err(format!(
            "--shard env: {index}={own} is none of the {of} that {count} says, counted from {lowest}; number them without gaps, \
             or give --shard I/N"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn of(variables: &[(&str, &str)]) -> Result<ChosenShard, String> {
        let set: BTreeMap<&str, &str> = variables.iter().copied().collect();
        from_environment(|name| set.get(name).map(|value| OsString::from(*value)))
    }

    #[test]
    fn each_scheduler_says_which_part_it_is() {
        for [index, count] in [
            ["SLURM_PROCID", "SLURM_NTASKS"],
            ["SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"],
            ["JOB_COMPLETION_INDEX", "JOB_COMPLETIONS"],
            ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"],
            ["PMI_RANK", "PMI_SIZE"],
        ] {
            let chosen = of(&[(index, "1"), (count, "3"), ("HOME", "/")]).unwrap();
            assert_eq!(chosen.shard, Shard { index: 1, of: 3 });
            assert_eq!(
                chosen.notice().unwrap(),
                format!("smtpress: shard 1/3 of the load, by {index} and {count}")
            );
            assert_eq!(of(&[(index, "0"), (count, "1")]).unwrap().shard, Shard::WHOLE);
            for (set, missing) in [((index, "1"), count), ((count, "3"), index)] {
                let said = of(&[set]).unwrap_err();
                assert!(said.contains(&format!("{} is set and {missing} is not", set.0)), "{said}");
                assert!(said.contains("--shard I/N"), "{said}");
            }
            for junk in ["", "one", "-1", "1.0", "99999999999999999999", "0x1"] {
                let said = of(&[(index, junk), (count, "3")]).unwrap_err();
                assert!(said.contains(&format!("{index}={junk:?} is no whole number")), "{said}");
                let said = of(&[(index, "0"), (count, junk)]).unwrap_err();
                assert!(said.contains(&format!("{count}={junk:?} is no whole number")), "{said}");
            }
            for (own, all) in [("3", "3"), ("4", "3"), ("0", "0")] {
                let said = of(&[(index, own), (count, all)]).unwrap_err();
                assert!(said.contains(&format!("{index}={own} is none of the {all} that {count}")), "{said}");
            }
        }
    }

    #[test]
    fn two_that_agree_are_one_and_two_that_do_not_are_refused() {
        let slurm = [("SLURM_PROCID", "2"), ("SLURM_NTASKS", "3")];
        let both = [&slurm[..], &[("PMI_RANK", "2"), ("PMI_SIZE", "3")]].concat();
        assert_eq!(of(&both).unwrap().variables, Some(["SLURM_PROCID", "SLURM_NTASKS"]));
        for other in [[("PMI_RANK", "1"), ("PMI_SIZE", "3")], [("PMI_RANK", "2"), ("PMI_SIZE", "4")]] {
            let said = of(&[&slurm[..], &other].concat()).unwrap_err();
            let own = format!("PMI_RANK and PMI_SIZE say {}/{}", other[0].1, other[1].1);
            assert!(said.contains("SLURM_PROCID and SLURM_NTASKS say 2/3") && said.contains(&own), "{said}");
            assert!(said.contains("unset the pair") && said.contains("--shard I/N"), "{said}");
        }
        // An incomplete pair is refused even beside a complete one.
        let said = of(&[&slurm[..], &[("JOB_COMPLETION_INDEX", "2")]].concat()).unwrap_err();
        assert!(said.contains("JOB_COMPLETIONS is not"), "{said}");
    }

    #[test]
    fn a_job_array_counts_its_jobs_from_its_lowest_index() {
        let job = |id: &'static str, lowest: &'static str, more: &[(&'static str, &'static str)]| {
            let array = [
                ("SLURM_ARRAY_TASK_ID", id),
                ("SLURM_ARRAY_TASK_COUNT", "3"),
                ("SLURM_ARRAY_TASK_MIN", lowest),
            ];
            of(&[&array[..], more].concat())
        };
        // Each job of an array is one task, whether or not the number of tasks is set.
        let one = [("SLURM_PROCID", "0"), ("SLURM_NTASKS", "1")];
        for more in [&one[..], &one[..1], &[]] {
            let chosen = job("2", "0", more).unwrap();
            assert_eq!(chosen.shard, Shard { index: 2, of: 3 });
            assert_eq!(chosen.variables, Some(["SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"]));
        }
        assert_eq!(job("3", "1", &one).unwrap().shard, Shard { index: 2, of: 3 });
        for (id, lowest) in [("7", "0"), ("4", "1"), ("0", "1")] {
            assert!(job(id, lowest, &one).unwrap_err().contains("without gaps"), "{id} from {lowest}");
        }
        let said = job("1", "0", &[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "2")]).unwrap_err();
        assert!(said.contains("not over both"), "{said}");
    }

    #[test]
    fn without_a_scheduler_all_pairs_are_named() {
        let said = of(&[("HOME", "/"), ("SLURM_JOB_ID", "7")]).unwrap_err();
        for pair in [TASKS, ARRAY].iter().chain(&OTHERS) {
            assert!(said.contains(pair.index) && said.contains(pair.count), "{said}");
        }
        assert!(said.contains("--shard I/N"), "{said}");
    }

    #[test]
    fn what_is_written_is_taken_as_it_is() {
        let written = |text| chosen(text).map(|chosen| (chosen.shard, chosen.notice()));
        assert_eq!(written("2/7").unwrap(), (Shard { index: 2, of: 7 }, None));
        for text in ["", "1", "2/2", "-1/2", "1/0", "ENV", "env/2", "a/b"] {
            assert!(written(text).is_err(), "{text}");
        }
    }
}
