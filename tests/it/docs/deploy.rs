//! Tests of the files in `deploy/`: the YAML can be read, the numbers agree, and the commands run as the scheduler
//! would run them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use smtpress::generator::clock;

use crate::commands::stage::{FEW, Stage};
use crate::reports::readers;

/// The documents of a YAML file, as JSON.
const READ: &str = r#"
import json, sys, yaml
print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))
"#;

fn deployed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

fn documents(python: &Path, name: &str) -> Vec<Value> {
    let path = deployed(name).display().to_string();
    serde_json::from_str(&readers::run(python, READ, &[&path])).unwrap()
}

/// Makes a folder with smtpress and stand-ins for other programs. Returns a `PATH` that begins with it.
fn programs(stage: &Stage, others: &[(&str, &str)]) -> String {
    let folder = stage.path("bin");
    fs::create_dir_all(&folder).unwrap();
    let own = folder.join("smtpress");
    if !own.exists() {
        symlink(env!("CARGO_BIN_EXE_smtpress"), own).unwrap();
    }
    for (name, script) in others {
        fs::write(folder.join(name), script).unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap())
}

/// A command of a script, in the stage's folder.
fn command(stage: &Stage, program: &str, path: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(stage.path("")).env("PATH", path).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if ["SMTPRESS_", "SLURM_", "PMI_", "JOB_COMPLETION"].iter().any(|start| name.starts_with(start)) {
            command.env_remove(name);
        }
    }
    command
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

/// The number of accepted messages in the merged report of all shards. A busy machine does not change this number.
fn accepted(stage: &Stage, directories: &[String]) -> u64 {
    let mut arguments = vec!["report", "--format", "json", "--max-skew", "1h", "--expect-shards", "3"];
    arguments.extend(directories.iter().map(String::as_str));
    let said = stage.run(&arguments);
    assert!(matches!(said.code, Some(0 | 98 | 99)), "{}", said.err);
    said.json()["phases"][0]["accepted"].as_u64().unwrap()
}

/// A stand-in for `srun`: starts the tasks of a step as Slurm does, and ends with the greatest of their exit codes.
const SRUN: &str = r#"#!/bin/bash
cd "${1#--chdir=}" || exit 1
shift
for i in {TASKS}; do
    SLURM_PROCID=$i SLURM_NTASKS=3 "$@" &
    tasks+=($!)
done
worst=0
for task in "${tasks[@]}"; do
    wait "$task"
    code=$?
    [ $code -le $worst ] || worst=$code
done
exit $worst
"#;

/// A stand-in for `date`, with a start in two seconds. The script allows half a minute, so that nodes can get ready.
const DATE: &str = "#!/bin/sh\nexec /bin/date --utc --date='+2 seconds' +%FT%TZ\n";

#[test]
fn the_batch_script_for_slurm_merges_the_tasks_and_refuses_one_that_is_missing() {
    let stage = Stage::new();
    stage.put("three.toml", FEW.replace("sessions = 2", "sessions = 6"));
    let script = deployed("slurm/smtpress.sbatch").display().to_string();
    let submit = |job: &str, tasks: &str| {
        let path = programs(&stage, &[("srun", &SRUN.replace("{TASKS}", tasks)), ("date", DATE)]);
        let mut command = command(&stage, "bash", &path);
        command.args([&script, "three.toml"]).env("SLURM_JOB_ID", job).env("SLURM_NTASKS", "3");
        command.output().unwrap()
    };
    let whole = submit("7", "0 1 2");
    assert!(matches!(whole.status.code(), Some(0 | 98)), "{}", text(&whole));
    assert!(stage.path("smtpress-7/report.html").exists(), "{}", text(&whole));
    let runs = stage.list("smtpress-7/smtpress-runs");
    let runs: Vec<String> = runs.iter().map(|run| format!("smtpress-7/smtpress-runs/{run}")).collect();
    assert_eq!(accepted(&stage, &runs), 50, "{}", text(&whole));
    let said = text(&whole);
    for task in 0..3 {
        assert!(
            said.contains(&format!("shard {task}/3 of the load, by SLURM_PROCID and SLURM_NTASKS")),
            "{said}"
        );
    }
    let lost = submit("8", "0 2");
    assert_eq!(lost.status.code(), Some(2), "{}", text(&lost));
    assert!(text(&lost).contains("shard 1 of 3 is missing"), "{}", text(&lost));
}

#[test]
fn the_manifests_for_kubernetes_are_read_agree_and_do_what_they_say() {
    let Some(python) = readers::python_with("yaml") else { return };
    let (files, report) =
        (documents(&python, "kubernetes/indexed-job.yaml"), documents(&python, "kubernetes/report.yaml"));
    let of_kind = |kind: &str| files.iter().find(|one| one["kind"] == kind).unwrap();
    let (job, config) = (of_kind("Job"), of_kind("ConfigMap"));
    let container = |job: &Value| job["spec"]["template"]["spec"]["containers"][0].clone();
    let (shard, report) = (container(job), container(&report[0]));
    let spec = &job["spec"];
    assert_eq!(
        (&spec["completionMode"], &spec["template"]["spec"]["restartPolicy"]),
        (&"Indexed".into(), &"Never".into())
    );
    let count = spec["completions"].as_u64().unwrap();
    assert_eq!(spec["parallelism"], count, "all shards run at once");
    let variables = shard["env"].as_array().unwrap();
    let variable = |name: &str| variables.iter().find(|one| one["name"] == name).unwrap()["value"].clone();
    assert_eq!(variable("JOB_COMPLETIONS"), count.to_string());
    let line = |container: &Value| container["args"][0].as_str().unwrap().to_owned();
    assert_eq!(line(&report).matches(&format!("--expect-shards {count}")).count(), 2, "{report}");
    // Each mounted volume is defined.
    let volumes = spec["template"]["spec"]["volumes"].as_array().unwrap();
    for mount in shard["volumeMounts"].as_array().unwrap() {
        assert!(volumes.iter().any(|volume| volume["name"] == mount["name"]), "{mount}");
    }

    let stage = Stage::new();
    let profile = config["data"]["profile.toml"].as_str().unwrap();
    stage.put("as-it-is.toml", profile);
    stage.run(&["check", "as-it-is.toml"]).ended(0);
    // The profile is changed to run on this machine in one second.
    let shorter = [("smtp://mx.example:25", "embedded"), ("600/s", "60/s"), ("60s", "1s"), ("16KiB", "1KiB")];
    for (long, _) in shorter {
        assert!(profile.contains(long), "no {long:?} in {profile}");
    }
    let short = shorter.iter().fold(profile.to_owned(), |text, (long, short)| text.replace(long, short));
    stage.put("profile.toml", short);
    fs::create_dir(stage.path("results")).unwrap();
    let here = |line: String| {
        line.replace("/profile/", &format!("{}/", stage.path("").display()))
            .replace("/results/", &format!("{}/", stage.path("results").display()))
    };
    let path = programs(&stage, &[]);
    let start_at = clock::wall() + Duration::from_secs(2);
    let start_at = humantime::format_rfc3339_millis(start_at).to_string();
    let pod = |index: u64| -> Child {
        let mut command = command(&stage, "sh", &path);
        command.args(["-c", &here(line(&shard))]);
        command.env("JOB_COMPLETION_INDEX", index.to_string()).env("JOB_COMPLETIONS", count.to_string());
        command.env("START_AT", &start_at).spawn().unwrap()
    };
    let pods: Vec<Child> = (0..count).map(pod).collect();
    for pod in pods {
        let ended = pod.wait_with_output().unwrap();
        assert!(ended.status.success(), "{}", text(&ended));
        assert!(text(&ended).contains("by JOB_COMPLETION_INDEX and JOB_COMPLETIONS"), "{}", text(&ended));
    }
    let directories: Vec<String> = (0..count).map(|index| format!("results/shard-{index}")).collect();
    assert_eq!(accepted(&stage, &directories), 60);
    let merge = || command(&stage, "sh", &path).args(["-c", &here(line(&report))]).output().unwrap();
    let merged = merge();
    // Sixty messages are too few for the asserted p99.
    assert!(matches!(merged.status.code(), Some(98 | 99)), "{}", text(&merged));
    assert!(stage.path("results/report.html").exists());
    fs::remove_dir_all(stage.path("results/shard-1")).unwrap();
    let lacking = merge();
    assert_eq!(lacking.status.code(), Some(2), "{}", text(&lacking));
}
