//! A generator that its machine stops or throttles during a closed load: its measurement is invalid (M5b).

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::stage::{Listening, Running, Stage};
use crate::runs::testbed::ms;

/// Closed loads, which have no schedule and so are never late.
const LOADS: [(&str, &str); 2] =
    [("shared-messages", "messages = 10000000\nsessions = 5"), ("constant-sessions", "sessions = 5")];

fn profile(url: &str, (load, keys): (&str, &str), seconds: u32) -> String {
    // The number of messages cannot be reached, and is not checked.
    format!(
        "schema = 1\nname = \"stands\"\nseed = 7\n[target]\naddress = \"{url}\"\n[[phase]]\nname = \"p\"\n\
         load = \"{load}\"\n{keys}\nfor = \"{seconds}s\"\n[[assert]]\nexpr = \"done rate == 100%\"\nremove = true\n"
    )
}

/// The reasons for which the run is invalid.
fn reasons(result: &Value) -> Vec<String> {
    let reasons = result["validity"]["reasons"].as_array().unwrap();
    reasons.iter().map(|reason| reason.as_str().unwrap().to_owned()).collect()
}

/// Stops the run this many times for `stopped`, and lets it run for `awake` in between.
fn stop(run: &Running, times: u32, stopped: Duration, awake: Duration) {
    for _ in 0..times {
        run.signal(Signal::SIGSTOP);
        thread::sleep(stopped);
        run.signal(Signal::SIGCONT);
        thread::sleep(awake);
    }
}

#[test]
fn a_closed_load_that_was_stopped_is_invalid() {
    // Stopped once for two seconds of six, once for 0.3 s, 25 times for half of the time, and 30 times for 30 % of it.
    let stops =
        [(6, 1, ms(2000), ms(0)), (3, 1, ms(320), ms(0)), (3, 25, ms(50), ms(50)), (4, 30, ms(30), ms(70))];
    thread::scope(|scope| {
        for load in LOADS {
            for (seconds, times, stopped, awake) in stops {
                scope.spawn(move || {
                    let what = format!("{load:?} of {seconds} s stopped {times} times for {stopped:?}");
                    let stage = Stage::new();
                    let listening = Listening::with(&stage, &["listener.delays.body=\"20ms\""]);
                    stage.put("stands.toml", profile(&listening.url(), load, seconds));
                    let mut run = stage.start(&["run", "stands.toml", "-o", "r", "--progress", "log"]);
                    run.hear(" 1 s ");
                    stop(&run, times, stopped, awake);
                    let said = run.end().ended(98);
                    let reasons = reasons(&stage.json("r/result.json"));
                    assert!(
                        reasons.iter().any(|reason| reason == "generator-stalled"),
                        "{what}: {reasons:?}"
                    );
                    assert!(said.out.starts_with("INVALID"), "{what}: {}", said.out);
                });
            }
        }
    });
}

/// A control group with a quota of CPU.
struct Quota(PathBuf);

impl Quota {
    /// A quota of `percent` of one core. `None` if this machine cannot make such a group.
    fn new(percent: u32) -> Option<Quota> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("smtpress-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let quota = percent * 1000;
        let files = |root: &str, files: &[(&str, String)]| {
            let group = Quota(PathBuf::from(root).join(&name));
            std::fs::create_dir(&group.0).ok()?;
            let set = files.iter().all(|(file, text)| std::fs::write(group.0.join(file), text).is_ok());
            set.then_some(group)
        };
        let first = [("cpu.cfs_period_us", "100000".to_owned()), ("cpu.cfs_quota_us", quota.to_string())];
        files("/sys/fs/cgroup/cpu", &first)
            .or_else(|| files("/sys/fs/cgroup", &[("cpu.max", format!("{quota} 100000"))]))
    }

    /// Starts the binary within the group.
    fn start(&self, stage: &Stage, arguments: &[&str]) -> Running {
        let plain = stage.command(arguments);
        let mut command = std::process::Command::new("sh");
        command.arg("-c").arg("echo $$ > \"$0\" && exec \"$@\"").arg(self.0.join("cgroup.procs"));
        command.arg(plain.get_program()).args(plain.get_args());
        command.current_dir(stage.path("")).stdin(std::process::Stdio::null());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Running::new(command)
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // A process leaves the group a moment after its end.
        for _ in 0..50 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            thread::sleep(ms(20));
        }
    }
}

/// Returns a group. If none can be made, a message is printed; with `SMTPRESS_REAL=required` the test fails.
fn quota(percent: u32) -> Option<Quota> {
    let quota = Quota::new(percent);
    let missing =
        "no control group with a CPU quota can be made here (root and the cpu controller are needed)";
    assert!(quota.is_some() || std::env::var("SMTPRESS_REAL").as_deref() != Ok("required"), "{missing}");
    #[expect(clippy::print_stdout, reason = "a test that checks less says so")]
    if quota.is_none() {
        println!("skipped: {missing}");
    }
    quota
}

#[test]
fn a_closed_load_that_its_quota_holds_up_is_invalid() {
    thread::scope(|scope| {
        for load in LOADS {
            scope.spawn(move || {
                let Some(quota) = quota(10) else { return };
                let stage = Stage::new();
                let listening = Listening::with(&stage, &[]);
                stage.put("stands.toml", profile(&listening.url(), load, 3));
                // On a busy machine the run may not use up its quota. Then it is started again.
                let mut all = Vec::new();
                for _ in 0..4 {
                    let run = quota.start(&stage, &["run", "stands.toml", "-o", "r", "--overwrite"]);
                    run.end().ended(98);
                    all.push(reasons(&stage.json("r/result.json")));
                    if all.iter().flatten().any(|reason| reason == "generator-throttled") {
                        return;
                    }
                }
                panic!("{load:?}: {all:?}");
            });
        }
    });
}

/// A search in a tenth of a core reaches the bound of the generator long before that of the listener. It reports this,
/// and finds no capacity.
#[test]
fn no_capacity_is_found_by_a_generator_that_its_quota_holds_up() {
    let Some(quota) = quota(10) else { return };
    let stage = Stage::new();
    let listening = Listening::with(&stage, &["listener.delays.body=\"20ms\""]);
    let keys = ["trial=\"2s\"", "confirm=\"2s\"", "warmup=\"1s\"", "start=2", "deadline=\"50s\""];
    let url = listening.url();
    let mut arguments = vec!["capacity", "--target", &url, "--by", "sessions", "-o", "c"];
    arguments.extend(["--goal", "response p99 < 100ms", "--expect", ">= 64"]);
    let keys = keys.map(|key| format!("capacity.{key}"));
    arguments.extend(keys.iter().flat_map(|key| ["--set", key]));
    let said = quota.start(&stage, &arguments).end();
    // The listener can serve more than a thousand messages a second.
    assert!(matches!(said.code, Some(5 | 98)), "{:?} {} {}", said.code, said.out, said.err);
    let result = stage.json("c/result.json");
    let goal = &result["capacity"]["goals"][0];
    assert!(goal.get("upper").is_some_and(Value::is_null), "the listener is at no bound: {goal}");
    assert!(said.err.contains("this trial says nothing about the listener"), "{}", said.err);
}
