//! A run that lost its coordinator is taken over by another one, and has the result that it would have had.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use nkeys::KeyPair;
use serde_json::Value;

use crate::fleet::{Ended, Fleet, Member};
use crate::fleet_access::{said, smtpress};
use crate::fleet_messages::OpenServer;
use crate::listener::{self, Processes, wait_until};

/// A server, its agents, and a listener that is independent of the coordinators.
struct Stage {
    server: OpenServer,
    key: KeyPair,
    _agents: Vec<Processes>,
    listener: Processes,
    target: String,
}

impl Stage {
    /// Starts them. The profile of the listener has these lines.
    fn start(agents: usize, listener: &str) -> Option<Stage> {
        let server = OpenServer::start()?;
        let (key, port) = (KeyPair::new_user(), listener::free_port());
        let folder = server.folder.path().to_owned();
        fs::write(folder.join("listener.toml"), format!("[listener]\n{listener}")).unwrap();
        let spool = folder.join("spool");
        let started = (0..agents).map(|at| server.agent(&format!("agent-{at}"), &key, &spool).0).collect();
        let output = folder.join("listener.log");
        let bind = format!("127.0.0.1:{port}");
        let mut listen = smtpress(&folder, &["listen", "listener.toml", "--bind", &bind]);
        let mut own = Processes::start(&mut listen, &output);
        own.await_greeting(port, &output);
        Some(Stage { server, key, _agents: started, listener: own, target: bind })
    }

    fn run(&self, agents: usize, flags: &str) -> Fleet {
        self.server.run_against(&self.target, &self.key, agents, flags)
    }

    /// Starts a run, and kills its coordinator after this many seconds. Returns the run's name.
    fn orphaned(&self, agents: usize, flags: &str, seconds: usize) -> String {
        let run = self.run(agents, flags);
        run.await_seconds(seconds);
        let id = run_id(&run);
        run.signal(Signal::SIGKILL);
        id
    }

    fn folder(&self) -> &Path {
        self.server.folder.path()
    }

    /// Starts `fleet run --resume` with these flags.
    fn resume(&self, run: &str, key: &KeyPair, flags: &str) -> Fleet {
        self.resume_as(run, key, flags, |_| {})
    }

    /// Starts it with a command that `more` modifies.
    fn resume_as(&self, run: &str, key: &KeyPair, flags: &str, more: impl FnOnce(&mut Command)) -> Fleet {
        let path = self.folder().join("resume.seed");
        fs::write(&path, key.seed().unwrap()).unwrap();
        let url = self.server.url();
        Fleet::start(&format!("fleet run --resume {run} --nats {url} --key {} {flags}", path.display()), more)
    }

    /// Ends the listener. Returns the number of messages that it took.
    fn taken(self) -> u64 {
        self.listener.signal("INT");
        let log = self.folder().join("listener.log");
        let ledger = || {
            let said = fs::read_to_string(&log).unwrap_or_default();
            said.find("\n{").and_then(|at| serde_json::from_str::<Value>(&said[at..]).ok())
        };
        let mut found = None;
        assert!(wait_until(|| {
            found = ledger();
            found.is_some()
        }));
        found.unwrap()["messages"].as_u64().unwrap()
    }
}

/// The run's name, which the coordinator prints.
#[track_caller]
fn run_id(run: &Fleet) -> String {
    let said = run.said();
    let id = said.split("smtpress: run ").nth(1).and_then(|rest| rest.split(':').next());
    id.unwrap_or_else(|| panic!("no run is named: {said}")).to_owned()
}

/// Checks that a run is complete. On a busy machine it may be invalid because it was late, but never because of a lost
/// agent.
#[track_caller]
fn assert_whole(ended: &Ended, messages: u64) {
    assert!([0, 98].contains(&ended.code), "{} {}", ended.code, ended.said);
    assert_eq!(ended.lost(), [""; 0], "{}", ended.said);
    assert!(!ended.reasons().contains(&"agent-lost".to_owned()), "{}", ended.said);
    assert_eq!(ended.count("accepted"), messages, "{}", ended.said);
    ended.assert_adds_up();
}

#[test]
fn a_run_whose_coordinator_was_killed_ends_with_the_counts_of_one_that_was_not() {
    let Some(stage) = Stage::start(3, "") else { return };
    let id = stage.orphaned(3, "-r 50/s -z 8s", 2);
    let ended = stage.resume(&id, &stage.key, "").wait();
    assert_whole(&ended, 400);
    assert_eq!(ended.agents().len(), 3);
    assert_eq!(stage.taken(), 400);
}

#[test]
fn a_run_is_taken_over_twice_and_after_its_load_is_over() {
    let Some(stage) = Stage::start(2, "") else { return };
    let id = stage.orphaned(2, "-r 50/s -z 4s", 1);
    let second = stage.resume(&id, &stage.key, "");
    second.await_seconds(2);
    second.signal(Signal::SIGKILL);
    // All reports are stored by then, and the agents wait for work again.
    std::thread::sleep(std::time::Duration::from_secs(5));
    let ended = stage.resume(&id, &stage.key, "").wait();
    assert_whole(&ended, 200);
    // The run has ended, so the server keeps no record of it.
    let again = stage.resume(&id, &stage.key, "").wait();
    assert_eq!(again.code, 2, "{}", again.said);
    assert!(again.said.contains(&format!("keeps no record of run {id}")), "{}", again.said);
    assert_eq!(stage.taken(), 200);
}

#[test]
fn a_coordinator_that_lives_ends_when_another_takes_its_run_over() {
    let Some(stage) = Stage::start(2, "") else { return };
    let run = stage.run(2, "-r 50/s -z 6s");
    run.await_seconds(1);
    let id = run_id(&run);
    let second = stage.resume(&id, &stage.key, "");
    let first = run.wait();
    assert_eq!(first.code, 98, "{}", first.said);
    assert!(first.said.contains("another coordinator has taken this run over"), "{}", first.said);
    assert!(first.stored.is_none(), "two results of one run");
    assert_whole(&second.wait(), 300);
    assert_eq!(stage.taken(), 300);
}

#[test]
fn a_run_that_is_taken_over_after_the_lease_is_invalid() {
    let Some(stage) = Stage::start(2, "") else { return };
    let id = stage.orphaned(2, "-r 20/s -z 30s", 2);
    // Agents end their load 10 s after the last message of the coordinator.
    std::thread::sleep(std::time::Duration::from_secs(14));
    let ended = stage.resume(&id, &stage.key, "").wait();
    assert_eq!(ended.code, 98, "{}", ended.said);
    assert_eq!(ended.lost().len(), 2, "{:?}", ended.agents());
    let accepted = ended.count("accepted");
    assert!(accepted > 100 && accepted < 400, "{accepted}");
    ended.assert_adds_up();
    // The end of the lease cuts off messages in flight. The listener may have accepted one whose reply was not read: such
    // a message is in doubt. All others are counted as accepted on both sides.
    let (taken, in_doubt) = (stage.taken(), ended.count("in_doubt"));
    assert!((accepted..=accepted + in_doubt).contains(&taken), "{taken}: {accepted} and {in_doubt} in doubt");
}

#[test]
fn an_agent_that_died_with_its_coordinator_is_lost() {
    let Some(stage) = Stage::start(2, "") else { return };
    let id = stage.orphaned(2, "-r 20/s -z 8s", 2);
    stage._agents[0].signal("KILL");
    stage.resume(&id, &stage.key, "").wait().assert_invalid_by(1);
}

#[test]
fn a_wall_clock_that_is_an_hour_off_moves_no_time_of_a_run_that_is_taken_over() {
    let library = listener::program(&["/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"])
        .or_else(|| listener::missing("no libfaketime"));
    let Some(library) = library else { return };
    let Some(stage) = Stage::start(2, "") else { return };
    let id = stage.orphaned(2, "-r 20/s -z 20s", 2);
    let second = stage.resume_as(&id, &stage.key, "", |command| {
        command.env("LD_PRELOAD", &library).env("FAKETIME", "+1h").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    });
    second.await_seconds(4);
    stage._agents[0].signal("KILL");
    let ended = second.wait();
    ended.assert_invalid_by(1);
    // The time from the start to the last message of the agent. With the wrong clock it would be an hour.
    let took = ended.result()["took_s"].as_f64().unwrap();
    assert!((5.0..60.0).contains(&took), "{took} s: {}", ended.said);
    let why = ended.result()["validity"].to_string();
    let since = why.split("s, from ").nth(1).and_then(|rest| rest.split(" s on").next());
    let since: f64 = since.unwrap_or_else(|| panic!("{why}")).parse().unwrap();
    assert!((3.0..60.0).contains(&since), "{since} s: {}", ended.said);
}

#[test]
fn a_run_that_was_being_stopped_is_no_pass_after_its_coordinator_died() {
    // Each message takes 3 s, so draining takes seconds.
    let Some(stage) = Stage::start(2, "delays = { body = \"3s\" }\n") else { return };
    let run = stage.run(2, "-r 20/s -z 30s -c 200");
    run.await_seconds(4);
    let id = run_id(&run);
    run.signal(Signal::SIGINT);
    assert!(wait_until(|| run.said().contains("stopping")), "{}", run.said());
    std::thread::sleep(std::time::Duration::from_millis(300));
    run.signal(Signal::SIGKILL);
    let ended = stage.resume(&id, &stage.key, "").wait();
    assert_eq!(ended.code, 105, "{}", ended.said);
    ended.assert_adds_up();
    assert_eq!(stage.taken(), ended.count("accepted"));
}

#[test]
fn what_cannot_be_taken_over_is_left_as_it_is() {
    let Some(stage) = Stage::start(1, "") else { return };
    let run = stage.run(1, "-r 20/s -z 6s");
    run.await_seconds(1);
    let id = run_id(&run);
    let refused = |fleet: Fleet, why: &str| {
        let ended = fleet.wait();
        assert_eq!(ended.code, 2, "{}", ended.said);
        assert!(ended.said.contains(why), "{}", ended.said);
    };
    refused(stage.resume("no-such-run", &stage.key, ""), "keeps no record of run no-such-run");
    refused(stage.resume("no.such>run", &stage.key, ""), "is no run");
    refused(stage.resume(&id, &KeyPair::new_user(), ""), "not signed by the coordinator's key");
    for flags in ["--rate 5/s", "--set seed=3", "--allow-target mx.example", "--seed 4", "--target embedded"]
    {
        refused(stage.resume(&id, &stage.key, flags), "give no profile, and no flag that changes it");
    }
    refused(stage.resume(&id, &stage.key, "--local 3"), "only a run on agents of --nats can be taken over");
    assert_whole(&run.wait(), 120);
    // The embedded listener ends with the coordinator.
    let run = stage.server.run(&stage.key, 1, "-r 20/s -z 20s");
    run.await_seconds(1);
    let id = run_id(&run);
    run.signal(Signal::SIGKILL);
    refused(stage.resume(&id, &stage.key, ""), "the embedded listener ends with its coordinator");
    assert!(run.said().contains("no other can take the run over: the embedded listener"), "{}", run.said());
    let url = stage.server.url();
    let collected = Command::new(env!("CARGO_BIN_EXE_smtpress"))
        .args(["fleet", "collect", &id, "--nats", &url])
        .output()
        .unwrap();
    assert_eq!(collected.status.code(), Some(98), "{}", said(&collected));
    assert_eq!(run.pids(Member::Coordinator), [0_i32; 0]);
}

/// A load with an event.
const EVENTS: &str = r#"
[[phase]]
name = "load"
load = "constant-rate"
rate = "20/s"
for = "30s"

[[event]]
name = "one"
at = "1s"
run = "true"
"#;

/// What comes out of a relay, and which events took place, only the coordinator knows.
#[test]
fn a_run_with_a_receiver_or_events_is_not_taken_over_and_says_so_when_it_starts() {
    for (flags, why) in [
        ("--receive 127.0.0.1:0 -r 20/s -z 30s", "the receiver behind the relay ends with its coordinator"),
        (
            "--receive 127.0.0.1:0 --set receive.agent=agent-0 -r 20/s -z 30s",
            "the receiver on its agent ends with its coordinator",
        ),
        ("--deliveries LOG -r 20/s -z 30s", "its deliveries are joined by its coordinator"),
        ("EVENTS", "its events are run by its coordinator"),
    ] {
        let Some(stage) = Stage::start(1, "") else { return };
        let [log, events] = ["deliveries.jsonl", "events.toml"].map(|name| stage.folder().join(name));
        fs::write(&events, EVENTS).unwrap();
        let receive = ["receive", "--receive", "127.0.0.1:0", "--deliveries", "deliveries.jsonl"];
        let _receiver =
            Processes::start(&mut smtpress(stage.folder(), &receive), &stage.folder().join("receive"));
        assert!(wait_until(|| log.exists()));
        let flags = flags.replace("LOG", &log.display().to_string());
        let flags = flags.replace("EVENTS", &events.display().to_string());
        let run = stage.run(1, &flags);
        run.await_seconds(1);
        assert!(run.said().contains(&format!("no other can take the run over: {why}")), "{}", run.said());
        let id = run_id(&run);
        run.signal(Signal::SIGKILL);
        let ended = stage.resume(&id, &stage.key, "").wait();
        assert_eq!((ended.code, &ended.stored), (2, &None), "{}", ended.said);
        assert_eq!(ended.said.trim().lines().count(), 1, "one sentence: {}", ended.said);
        for part in [why, "cannot be taken over", "start it again", "fleet collect"] {
            assert!(ended.said.contains(part), "no {part:?} in {}", ended.said);
        }
    }
}
