//! A host that vanishes: it neither refuses nor resets a connection, but no longer answers packets. Each run has its
//! own two network namespaces, and the link between them is cut.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use smtpress::generator::clock;

use super::death::{LOADS, asserted, sum};
use super::stage::{Listening, Running, Stage};

/// An address of the network that is reserved for benchmarks (RFC 2544). It is only visible in the two namespaces.
const LISTENER: &str = "198.18.77.2";
const CLIENT: &str = "198.18.77.1";

/// Runs `ip`, and returns whether it succeeded.
fn ip(arguments: &str) -> bool {
    let status =
        Command::new("ip").args(arguments.split(' ')).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Two hosts with a link between them.
struct Hosts {
    client: String,
    listener: String,
}

impl Hosts {
    /// Returns `None` if this machine cannot make a namespace.
    fn new() -> Option<Hosts> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("smtpress-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let hosts = Hosts { client: format!("{name}-a"), listener: format!("{name}-b") };
        let Hosts { client, listener } = &hosts;
        [
            format!("netns add {client}"),
            format!("netns add {listener}"),
            format!("-n {client} link add link0 type veth peer name link0 netns {listener}"),
            format!("-n {client} addr add {CLIENT}/30 dev link0"),
            format!("-n {listener} addr add {LISTENER}/30 dev link0"),
            format!("-n {client} link set lo up"),
            format!("-n {client} link set link0 up"),
            format!("-n {listener} link set link0 up"),
        ]
        .iter()
        .all(|step| ip(step))
        .then_some(hosts)
    }

    /// Sets the link `down` or `up`.
    fn link(&self, state: &str) {
        assert!(ip(&format!("-n {} link set link0 {state}", self.listener)));
    }

    /// Starts the binary at one of the hosts.
    fn start(host: &str, stage: &Stage, arguments: &[&str]) -> Running {
        let plain = stage.command(arguments);
        let mut command = Command::new("ip");
        command.args(["netns", "exec", host]).arg(plain.get_program()).args(plain.get_args());
        command.current_dir(stage.path("")).stdin(Stdio::null());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Running::new(command)
    }

    /// A listener that the client can reach; it ends with its owner.
    fn listen(&self, stage: &Stage) -> Running {
        let bind = format!("{LISTENER}:2525");
        let settings = ["--set", "listener.allow_remote=true", "--set", "listener.delays.body=20ms"];
        let listen = ["listen", "--bind", &bind, "-z", "2m"];
        let mut listening = Hosts::start(&self.listener, stage, &[&listen[..], &settings].concat());
        listening.hear("listening on");
        listening
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        ip(&format!("netns del {}", self.client));
        ip(&format!("netns del {}", self.listener));
    }
}

/// Whether namespaces can be made here. If not, a message is printed; with `SMTPRESS_REAL=required` the test fails.
fn can_be_made() -> bool {
    let can = Hosts::new().is_some();
    let missing = "no network namespace can be made here (root and iproute2 are needed)";
    assert!(can || std::env::var("SMTPRESS_REAL").as_deref() != Ok("required"), "{missing}");
    #[expect(clippy::print_stdout, reason = "a test that checks less says so")]
    if !can {
        println!("skipped: {missing}");
    }
    can
}

/// A load for about three seconds, with short time-outs or with the default ones.
#[derive(Clone, Copy, Debug)]
struct Load {
    model: &'static str,
    keys: &'static str,
    unit: &'static str,
    session: &'static str,
    short: bool,
}

impl Load {
    fn profile(self) -> String {
        let Load { model, keys, unit, session, short } = self;
        let timeouts = "[timeouts]\nconnect = \"1s\"\ngreeting = \"1s\"\ncommand = \"1s\"\ndata = \"1s\"\nbody = \"1s\"\n";
        let timeouts = if short { timeouts } else { "" };
        format!(
            "schema = 1\nname = \"gone\"\nseed = 7\n[target]\naddress = \"smtp://{LISTENER}:2525\"\n{timeouts}\
             [session]\n{session}\n[[phase]]\nname = \"p\"\nload = \"{model}\"\n{keys}\nunit = \"{unit}\"\n\
             graceful_stop = \"2s\"\n"
        )
    }
}

/// Each load model, and each way to hold sessions.
fn loads() -> Vec<Load> {
    let mut loads: Vec<Load> = LOADS
        .iter()
        .map(|(model, keys, either)| {
            let unit = if *either { "message" } else { "session" };
            Load { model, keys, unit, session: "", short: true }
        })
        .collect();
    let held = ("held-sessions", "sessions = 20\nfor = \"3s\"");
    let session = Load { model: held.0, keys: held.1, unit: "session", session: "", short: false };
    let hold = "quit = \"hold\"\nmessages = 1";
    loads.extend([
        session,
        Load {
            model: "constant-rate",
            keys: "rate = \"20/s\"\nfor = \"3s\"",
            session: hold,
            short: true,
            ..session
        },
        Load { model: "constant-sessions", keys: "sessions = 5\nfor = \"3s\"", session: hold, ..session },
    ]);
    loads
}

/// Runs a load and calls `meanwhile` during its second second. Returns the exit code and the result.
fn run(load: Load, meanwhile: impl FnOnce(&Hosts, Instant)) -> (Option<i32>, Value) {
    let stage = Stage::new();
    let hosts = Hosts::new().expect("they could be made before");
    let listening = hosts.listen(&stage);
    stage.put("gone.toml", load.profile());
    let run = ["run", "gone.toml", "--allow-target", LISTENER, "-o", "r", "--progress", "log"];
    let began = clock::now();
    let mut running = Hosts::start(&hosts.client, &stage, &run);
    running.hear(" 1 s ");
    meanwhile(&hosts, began);
    let said = running.end();
    drop(listening);
    (said.code, stage.json("r/result.json"))
}

/// Runs each load. The host vanishes this long after its first second.
fn vanishes(after: Duration) {
    if !can_be_made() {
        return;
    }
    thread::scope(|scope| {
        for load in loads() {
            scope.spawn(move || {
                let mut in_time = false;
                let (code, result) = run(load, |hosts, began| {
                    thread::sleep(after);
                    hosts.link("down");
                    // A load of three seconds that is cut off in its last moments may have done all.
                    in_time = began.elapsed() < Duration::from_millis(2500);
                });
                let done = asserted(&result, "done rate == 100%");
                #[expect(clippy::print_stdout, reason = "a test that checks less says so")]
                if !in_time {
                    return println!(
                        "{load:?}: not checked: this machine may have cut the link after the end"
                    );
                }
                let phase = &result["phases"][0];
                // The run is invalid on a busy machine.
                assert!(matches!(code, Some(99 | 98)), "{load:?}: {code:?} {done} {phase}");
                assert_eq!(done["status"], "fail", "{load:?}: {done} {phase}");
                let sentence = done["observed"].as_str().unwrap();
                assert!(sentence.contains(" asked for, "), "{load:?}: {sentence}");
                if load.model == "held-sessions" {
                    assert!(sentence.contains("no longer answers"), "{load:?}: {sentence}");
                    assert!(sentence.contains("(host-unreachable at quit)"), "{load:?}: {sentence}");
                    assert_eq!(phase["work"]["done"], 0, "{load:?}: {sentence}");
                }
                assert_eq!(sum(phase, &["scheduled"]), sum(phase, &["shed", "started"]), "{load:?}: {phase}");
            });
        }
    });
}

#[test]
fn no_load_passes_when_the_host_vanishes_in_mid_run() {
    vanishes(Duration::ZERO);
}

#[test]
fn no_load_passes_when_the_host_vanishes_at_the_end() {
    vanishes(Duration::from_millis(1200));
}

/// Runs held sessions. Returns the exit code and the assertion that all of them were held.
fn held(keys: &'static str, meanwhile: impl FnOnce(&Hosts, Instant)) -> (Option<i32>, Value) {
    let load = Load { model: "held-sessions", keys, unit: "session", session: "", short: true };
    let (code, result) = run(load, meanwhile);
    (code, asserted(&result, "done rate == 100%").clone())
}

#[test]
fn held_sessions_whose_host_vanishes_for_long_are_lost_before_their_end_and_after_a_moment_they_are_not() {
    if !can_be_made() {
        return;
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            let (code, done) = held("sessions = 5\nfor = \"20s\"", |hosts, _| hosts.link("down"));
            assert!(matches!(code, Some(99 | 98)), "{code:?} {done}");
            let sentence = done["observed"].as_str().unwrap();
            assert!(sentence.contains("5 held sessions were lost"), "{sentence}");
            assert!(sentence.contains("(host-unreachable at idle)"), "{sentence}");
        });
        scope.spawn(|| {
            let (code, done) = held("sessions = 5\nfor = \"8s\"", |hosts, _| {
                hosts.link("down");
                thread::sleep(Duration::from_secs(2));
                hosts.link("up");
            });
            assert!(matches!(code, Some(0 | 98)), "{code:?} {done}");
            assert_eq!(done["status"], "pass", "{done}");
        });
    });
}

/// The listener's kernel acknowledges QUIT, so the host is there. A missing reply of its program is no failure to hold
/// the session.
#[test]
fn a_listener_that_is_silent_when_they_leave_has_held_its_sessions() {
    let stage = Stage::new();
    let listening = Listening::with(&stage, &[]);
    let url = listening.url();
    stage.put(
        "held.toml",
        format!(
            "schema = 1\nname = \"held\"\nseed = 7\n[target]\naddress = \"{url}\"\n[[phase]]\nname = \"p\"\n\
             load = \"held-sessions\"\nsessions = 20\nfor = \"8s\"\n"
        ),
    );
    let mut running = stage.start(&["run", "held.toml", "-o", "r", "--progress", "log"]);
    running.hear(" 5 s ");
    listening.running.signal(Signal::SIGSTOP);
    running.end().measured();
    let result = stage.json("r/result.json");
    let done = asserted(&result, "done rate == 100%");
    assert_eq!(done["status"], "pass", "{done}");
}
