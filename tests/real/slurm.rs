//! The shards of a load, started by a real Slurm: a private controller and node on this machine, without a service.
//!
//! It has no authentication (`auth/none`), so munged is not needed. Only root can read its folder.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::listener::{self, Processes};

/// The program that prints its version.
pub const PROGRAMS: &[&str] = &["/usr/sbin/slurmctld"];

/// A profile of fifty messages over six sessions.
const FEW: &str = r#"schema = 1
name = "few"
seed = 7
[target]
address = "embedded"
[[phase]]
name = "few"
load = "shared-messages"
messages = 50
sessions = 6
"#;

/// A profile of sixty messages a second for eight seconds.
const LONG: &str = r#"schema = 1
name = "long"
seed = 7
[target]
address = "embedded"
[[phase]]
name = "long"
load = "constant-rate"
rate = "60/s"
for = "8s"
"#;

/// A Slurm whose node has eight processors on any machine. It ends with its jobs when this is dropped.
struct Slurm {
    folder: TempDir,
    _processes: [Processes; 2],
}

impl Slurm {
    /// Starts it; `None` if it is not installed.
    fn start() -> Option<Slurm> {
        let programs = ["/usr/sbin/slurmctld", "/usr/sbin/slurmd", "/usr/bin/srun", "/usr/bin/sbatch"];
        if !programs.iter().all(|program| Path::new(program).exists()) {
            return listener::missing("Slurm is not installed");
        }
        if !listener::is_root() {
            return listener::missing("Slurm needs root");
        }
        let (folder, control, node) = (listener::folder(), listener::free_port(), listener::free_port());
        let path = |name: &str| folder.path().join(name).display().to_string();
        for name in ["state", "spool", "work"] {
            fs::create_dir(path(name)).unwrap();
        }
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let host = host.trim().split('.').next().unwrap();
        let config = format!(
            "ClusterName=test\nSlurmctldHost={host}(127.0.0.1)\nSlurmUser=root\nSlurmdUser=root\n\
             AuthType=auth/none\nCredType=cred/none\nSlurmctldPort={control}\nSlurmdPort={node}\n\
             StateSaveLocation={}\nSlurmdSpoolDir={}\nSlurmctldPidFile={}\nSlurmdPidFile={}\n\
             ProctrackType=proctrack/pgid\nTaskPlugin=task/none\nSwitchType=switch/none\nMpiDefault=none\n\
             SelectType=select/cons_tres\nSelectTypeParameters=CR_CPU\nReturnToService=2\nSlurmdParameters=config_overrides\n\
             NodeName=node0 NodeHostname={host} NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN\n\
             PartitionName=all Nodes=node0 Default=YES MaxTime=10 State=UP\n",
            path("state"),
            path("spool"),
            path("controller.pid"),
            path("node.pid"),
        );
        fs::write(path("slurm.conf"), config).unwrap();
        fs::write(path("work/few.toml"), FEW).unwrap();
        fs::write(path("work/long.toml"), LONG).unwrap();
        let daemon = |program: &str, arguments: &[&str], log: &str| {
            let mut command = Command::new(program);
            command.args(arguments).env("SLURM_CONF", path("slurm.conf"));
            Processes::start(&mut command, &folder.path().join(log))
        };
        let controller = daemon(programs[0], &["-D", "-c"], "controller.log");
        let node = daemon(programs[1], &["-D", "-N", "node0"], "node.log");
        let slurm = Slurm { folder, _processes: [controller, node] };
        let is_idle = || text(&slurm.shell("sinfo --noheader --format=%T")).trim() == "idle";
        assert!(listener::wait_until(is_idle), "{}", text(&slurm.shell("cat ../controller.log ../node.log")));
        Some(slurm)
    }

    /// Runs a script in the folder of the jobs, with this Slurm and smtpress on `PATH`.
    fn shell(&self, script: &str) -> Output {
        let own = Path::new(env!("CARGO_BIN_EXE_smtpress")).parent().unwrap();
        Command::new("bash")
            .args(["-c", script])
            .current_dir(self.folder.path().join("work"))
            .env("SLURM_CONF", self.folder.path().join("slurm.conf"))
            .env("PATH", format!("{}:{}", own.display(), std::env::var("PATH").unwrap()))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// The merged result of the run directories that match, and the exit code of the report.
    fn merged(&self, directories: &str) -> (i32, Value) {
        let said = self.shell(&format!("smtpress report {directories} --expect-shards 3 --format json"));
        let result = serde_json::from_slice(&said.stdout).unwrap_or_else(|_| panic!("{}", text(&said)));
        (said.status.code().unwrap(), result)
    }

    /// Checks that the report refuses the run directories that match, because this shard is missing.
    fn lacks(&self, directories: &str, shard: u32) {
        let said = self.shell(&format!("smtpress report {directories} --expect-shards 3"));
        assert_eq!(said.status.code(), Some(2), "{}", text(&said));
        assert!(text(&said).contains(&format!("shard {shard} of 3 is missing")), "{}", text(&said));
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        // Tasks are no children of the node's daemon, so they are killed here. After a successful test there are none.
        self.shell("timeout 5 scancel --full --signal=KILL --user=root");
    }
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

/// Checks that the result has all of [`FEW`]. On a busy machine it may be invalid, which is no fault of the shards.
fn is_whole((code, result): (i32, Value)) {
    assert!(matches!(code, 0 | 98), "{result:#}");
    let phase = &result["phases"][0];
    assert_eq!((&phase["scheduled"], &phase["accepted"]), (&50.into(), &50.into()), "{phase:#}");
    assert_eq!(result["ledger"]["messages"], 50);
    assert_eq!(result["run_id"].as_str().unwrap().matches('+').count(), 2, "three runs");
}

/// Sets `$start` to a time for the start of all shards.
const START: &str = "start=$(date --utc --date='+4 seconds' +%FT%TZ)";

// Table: Slurm: shards of a load
#[test]
fn the_tasks_of_a_step_are_the_shards_of_a_load() {
    let Some(slurm) = Slurm::start() else { return };
    let said = slurm.shell(&format!(
        "{START}; srun -n 3 smtpress run few.toml --shard env --start-at $start --progress none"
    ));
    assert!(matches!(said.status.code(), Some(0 | 98)), "{}", text(&said));
    for task in 0..3 {
        let notice = format!("shard {task}/3 of the load, by SLURM_PROCID and SLURM_NTASKS");
        assert!(text(&said).contains(&notice), "{}", text(&said));
    }
    is_whole(slurm.merged("smtpress-runs/*"));

    // The shard of a task that is killed before its start is missing.
    let killed = r#"srun -n 3 sh -c '[ $SLURM_PROCID != 1 ] || kill -s KILL $$
        exec smtpress run few.toml --shard env --start-at '$start' -q -o early-$SLURM_PROCID'"#;
    let said = slurm.shell(&format!("{START}; {killed}"));
    assert_ne!(said.status.code(), Some(0), "{}", text(&said));
    slurm.lacks("early-*", 1);

    // A task that is killed during the load has counted only a part, so the merged run is invalid.
    let killed = r#"srun -n 3 sh -c 'smtpress run long.toml --shard env --start-at '$start' -q -o late-$SLURM_PROCID &
        if [ $SLURM_PROCID = 1 ]; then
            until [ "$(cat late-1/timeseries.csv | wc -l)" -gt 1 ]; do sleep 0.1; done
            kill -s KILL $!
        fi
        wait $!'"#;
    let said = slurm.shell(&format!("{START}; {killed}"));
    assert_eq!(said.status.code(), Some(137), "{}", text(&said));
    let (code, result) = slurm.merged("late-*");
    assert_eq!((code, &result["validity"]["status"]), (98, &"invalid".into()));
    let validity = &result["validity"];
    assert!(validity["reasons"].as_array().unwrap().contains(&"cut-off".into()), "{validity:#}");
    assert!(validity["explanations"].to_string().contains("shard 1/3"), "{validity:#}");
}

// Table: Slurm: shards of a load
#[test]
fn the_jobs_of_an_array_are_the_shards_of_a_load() {
    let Some(slurm) = Slurm::start() else { return };
    let submit = |out: &str, first: &str| {
        let job = format!(
            "{first} exec smtpress run few.toml --shard env --start-at $start --progress none -o {out}-\\$SLURM_ARRAY_TASK_ID"
        );
        let said = slurm.shell(&format!(
            "{START}; timeout 120 sbatch -W --array=0-2 --output={out}-%a.log --wrap \"{job}\""
        ));
        assert!(said.status.signal().is_none() && said.status.code() != Some(124), "{}", text(&said));
        text(&slurm.shell(&format!("cat {out}-*.log")))
    };
    let said = submit("all", "");
    for job in 0..3 {
        let notice = format!("shard {job}/3 of the load, by SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT");
        assert!(said.contains(&notice), "{said}");
    }
    is_whole(slurm.merged("all-?"));
    submit("two", "[ \\$SLURM_ARRAY_TASK_ID != 2 ] || kill -s KILL \\$\\$;");
    slurm.lacks("two-?", 2);
}

// Table: Slurm: shards of a load
#[test]
fn the_batch_script_runs_as_it_is_shipped() {
    let Some(slurm) = Slurm::start() else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/slurm/smtpress.sbatch");
    // The script runs on one node instead of three.
    let said = slurm.shell(&format!(
        "timeout 180 sbatch -W --time=5 --nodes=1 --ntasks-per-node=3 --output=log {script} few.toml; code=$?; cat log; exit $code"
    ));
    assert!(matches!(said.status.code(), Some(0 | 98)), "{}", text(&said));
    assert!(text(&said).contains("merged from 3 shards"), "{}", text(&said));
    is_whole(slurm.merged("smtpress-*/smtpress-runs/*"));
    assert!(slurm.shell("grep -q '</html>' smtpress-*/report.html").status.success());
}
