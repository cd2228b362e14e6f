//! Agents that share a load send the same messages as one process, and have the same counts.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::fleet::{Ended, Fleet, signal_to};
use crate::listener::{self, wait_until};

/// Shortened shipped profiles whose counts do not depend on speed.
pub const PROFILES: [(&str, &str); 8] = [
    ("quickstart", "phase.warm-up.for=1s phase.steady.for=2s"),
    ("steady", "phase.warm-up.for=1s phase.steady.rate=160/s phase.steady.for=4s"),
    ("cisco-listener", "phase.below-limits.for=3s phase.below-limits.max_sessions=40"),
    ("soak", "phase.warm-up.for=2s phase.soak.for=3s"),
    (
        "held-sessions",
        "phase.hold.sessions=90 phase.hold.for=4s listener.max_connections=60 expect.full.when=\"sessions>60\"",
    ),
    (
        "spike",
        "phase.warm-up.for=1s phase.before.for=1s phase.after.for=1s \
         phase.spike.stages=[{for=\"1s\",rate=\"200/s\"},{for=\"1s\",rate=\"50/s\"}]",
    ),
    ("capacity", "phase.load.for=2s"),
    (
        "staircase",
        "phase.warm-up.for=1s phase.stairs.step=20/s phase.stairs.from=20/s phase.stairs.every=1s phase.stairs.steps=3",
    ),
];

/// The flags of a shipped profile with these settings.
pub fn flags(name: &str, sets: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles").join(format!("{name}.toml"));
    let sets: Vec<String> = sets.split_whitespace().map(|set| format!("--set {set}")).collect();
    format!("{} {}", path.display(), sets.join(" "))
}

/// Repeats a run until it is valid, at most four times. Returns the last one.
pub fn measured(mut run: impl FnMut() -> Ended) -> Ended {
    for _ in 0..4 {
        let ended = run();
        if ended.code != 98 {
            return ended;
        }
        assert!(ended.lost().is_empty(), "{}", ended.said);
    }
    run()
}

/// The ledger of the embedded listener, with a digest of all messages that does not depend on their order.
fn taken(ended: &Ended) -> Vec<Value> {
    let ledger = &ended.result()["ledger"];
    ["messages", "recipients", "content_bytes", "digest", "refused"].map(|field| ledger[field].clone()).into()
}

pub fn assert_same(one: &Ended, fleet: &Ended, agents: usize, name: &str) {
    // A load that is too short for an assertion's percentile fails in both runs (99).
    assert!(
        fleet.code == one.code || [fleet.code, one.code].contains(&98),
        "{name}: {} {}",
        fleet.said,
        one.said
    );
    assert!(name != "steady" || [0, 98].contains(&fleet.code), "{name}: {}", fleet.said);
    assert_eq!(fleet.agents().len(), agents, "{name}");
    assert!(fleet.lost().is_empty(), "{name}: {}", fleet.said);
    assert_eq!(fleet.counts(), one.counts(), "{name} of {agents} agents: {}", fleet.said);
    fleet.assert_adds_up();
    for agent in fleet.result()["agents"].as_array().unwrap() {
        assert!(
            fleet.said.contains(agent["name"].as_str().unwrap()),
            "{name}: agents are shown: {}",
            fleet.said
        );
    }
}

#[test]
fn agents_send_what_one_process_sends_of_each_profile() {
    for (name, sets) in PROFILES {
        let flags = flags(name, sets);
        let one = measured(|| Fleet::start(&format!("run {flags}"), |_| {}).wait());
        for agents in [1, 2, 3, 7] {
            // One profile runs with each number of agents, the others with three.
            if name != "steady" && agents != 3 {
                continue;
            }
            if crate::fleet_access::nats_server().is_none() {
                return;
            }
            let fleet = measured(|| Fleet::local(agents, &flags).unwrap().wait());
            assert_same(&one, &fleet, agents, name);
            assert_eq!(taken(&fleet), taken(&one), "{name} of {agents} agents");
        }
    }
}

/// A listener in its own process, which prints its ledger when it ends.
pub struct Listening {
    child: std::process::Child,
    folder: tempfile::TempDir,
    pub port: u16,
}

impl Listening {
    pub fn start() -> Listening {
        let (folder, port) = (tempfile::tempdir().unwrap(), listener::free_port());
        let output = |name: &str| fs::File::create(folder.path().join(name)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_smtpress"))
            .args(["listen", "--bind", &format!("127.0.0.1:{port}"), "-z", "5m"])
            .stdin(Stdio::null())
            .stdout(output("ledger"))
            .stderr(output("said"))
            .spawn()
            .unwrap();
        let said = || fs::read_to_string(folder.path().join("said")).unwrap_or_default();
        assert!(wait_until(|| said().contains("listening on")), "{}", said());
        Listening { child, folder, port }
    }

    pub fn end(mut self) -> Value {
        signal_to(self.child.id().cast_signed(), Signal::SIGINT);
        self.child.wait().unwrap();
        serde_json::from_str(&fs::read_to_string(self.folder.path().join("ledger")).unwrap()).unwrap()
    }
}

#[test]
pub fn a_listener_elsewhere_takes_the_same_messages_of_three_agents_and_of_one_process() {
    let sets = "phase.warm-up.for=2s phase.relay.for=3s phase.warm-up.to=20/s";
    a_listener_takes_the_same_messages("postfix-relay", sets);
}

/// Checks that a listener in its own process takes the same messages of three agents and of one process.
pub fn a_listener_takes_the_same_messages(name: &str, sets: &str) {
    if crate::fleet_access::nats_server().is_none() {
        return;
    }
    let [one, three] = [0, 3].map(|agents| {
        let mut ledger = Value::Null;
        let ended = measured(|| {
            let listening = Listening::start();
            let flags = format!("{} --target smtp://127.0.0.1:{}", flags(name, sets), listening.port);
            let run = match agents {
                0 => Fleet::start(&format!("run {flags}"), |_| {}),
                agents => Fleet::local(agents, &flags).unwrap(),
            };
            let ended = run.wait();
            ledger = listening.end();
            ended
        });
        (ended, ledger)
    });
    assert_same(&one.0, &three.0, 3, name);
    for field in ["messages", "recipients", "content_bytes", "digest"] {
        assert_eq!(three.1[field], one.1[field], "{name}: {field}");
    }
    assert_eq!(three.1["messages"].as_u64(), Some(three.0.count("accepted")));
}

#[test]
fn without_a_nats_server_there_is_one_sentence_and_nothing_is_left() {
    for (place, why) in
        [("--nats-server /nowhere/nats-server", "/nowhere/nats-server is no file"), ("", "install")]
    {
        // Debian installs nats-server where smtpress finds it without PATH.
        if place.is_empty() && Path::new("/usr/sbin/nats-server").exists() {
            continue;
        }
        let words = format!("fleet run --target embedded -r 10/s -z 1s --local 2 {place}");
        let ended = Fleet::start(&words, |command| {
            command.env("PATH", "");
        })
        .wait();
        assert_eq!(ended.code, 3, "{}", ended.said);
        assert_eq!(ended.said.trim().lines().count(), 1, "{}", ended.said);
        assert!(ended.said.contains(why) && ended.said.contains("package nats-server"), "{}", ended.said);
    }
}

#[test]
fn agents_that_cannot_count_the_sessions_of_all_are_refused_and_one_agent_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("burst.toml");
    let text = "schema = 1\nseed = 1\n[target]\naddress = \"embedded\"\n[session]\nmessages = 1\n[[phase]]\nname = \"storm\"\n\
                load = \"burst\"\nunit = \"session\"\nsize = 60\nfor = \"1s\"\nmax_sessions = 60\n[[expect]]\n\
                condition = \"too-many-connections\"\nwhen = \"sessions > 20\"\n[listener]\nmax_connections = 20\n\
                delays = { body = \"300ms\" }\n";
    fs::write(&profile, text).unwrap();
    let flags = profile.display().to_string();
    let Some(fleet) = Fleet::local(3, &flags) else { return };
    let ended = fleet.wait();
    assert_eq!((ended.code, &ended.stored), (2, &None), "{}", ended.said);
    for part in ["expect 1", "phase storm", "remove `when`", "one agent", "no load was started"] {
        assert!(ended.said.contains(part), "no {part:?} in {}", ended.said);
    }
    let ended = measured(|| Fleet::local(1, &flags).unwrap().wait());
    assert!([0, 98].contains(&ended.code), "{}", ended.said);
    assert_eq!((ended.count("accepted"), ended.count("expected")), (20, 40), "{}", ended.said);
}

#[test]
fn more_agents_than_sessions_are_refused_and_named() {
    let Some(fleet) = Fleet::local(7, &flags("messages-per-session", "")) else { return };
    let ended = fleet.wait();
    assert_eq!(ended.code, 3, "{}", ended.said);
    assert!(ended.said.contains("7 agents cannot share 4 sessions"), "{}", ended.said);
    assert!(ended.said.contains("no load was started"), "{}", ended.said);
}
