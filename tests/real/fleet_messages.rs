//! Foreign messages on the NATS server of a fleet: they start nothing, and are not counted.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{ConnectOptions, HeaderMap};
use futures::StreamExt;
use nkeys::KeyPair;
use smtpress::fleet::agent::{self, AgentSettings};
use smtpress::fleet::gathering::Fleet as Gathered;
use smtpress::fleet::message::{AgentCommand, AgentOrder, Lease, encode, sign};
use smtpress::fleet::server::PrivateServer;
use smtpress::fleet::{Bus, BusAccess};
use smtpress::generator::runner::Stop;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::fleet::Fleet;
use crate::fleet_access::{nats_server, smtpress};
use crate::listener::{self, Processes, wait_until};

/// A nats-server of the test that accepts every client of this machine.
pub struct OpenServer {
    port: u16,
    pub folder: TempDir,
    _processes: Processes,
}

impl OpenServer {
    pub fn start() -> Option<OpenServer> {
        let program = nats_server()?;
        let (folder, port) = (tempfile::tempdir().unwrap(), listener::free_port());
        let output = folder.path().join("nats.log");
        let mut command = Command::new(program);
        command
            .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"])
            .arg(folder.path().join("store"));
        let processes = Processes::start(&mut command, &output);
        let log = || fs::read_to_string(&output).unwrap_or_default();
        assert!(wait_until(|| log().contains("Server is ready")), "{}", log());
        Some(OpenServer { port, folder, _processes: processes })
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Starts an agent that accepts commands signed with `key`. Returns it with the file of its output.
    pub fn agent(&self, name: &str, key: &KeyPair, spool: &Path) -> (Processes, std::path::PathBuf) {
        let output = self.folder.path().join(format!("{name}.log"));
        let key = key.public_key();
        let words = ["agent", "--nats", &self.url(), "--coordinator", &key, "--name", name];
        let mut command = smtpress(self.folder.path(), &words);
        command.arg("--spool").arg(spool);
        let processes = Processes::start(&mut command, &output);
        let said = || fs::read_to_string(&output).unwrap_or_default();
        assert!(wait_until(|| said().contains("waiting for work")), "{}", said());
        (processes, output)
    }

    /// Starts a run of this number of agents, whose commands are signed with `key`.
    pub fn run(&self, key: &KeyPair, agents: usize, flags: &str) -> Fleet {
        self.run_against("embedded", key, agents, flags)
    }

    /// Starts such a run against this target.
    pub fn run_against(&self, target: &str, key: &KeyPair, agents: usize, flags: &str) -> Fleet {
        let path = self.folder.path().join("key.seed");
        fs::write(&path, key.seed().unwrap()).unwrap();
        Fleet::start(
            &format!(
                "fleet run --target {target} {flags} --nats {} --agents {agents} --key {}",
                self.url(),
                path.display()
            ),
            |_| {},
        )
    }
}

/// The URL and the password of one user of a run's private server, from its configuration file.
pub fn access(fleet: &Fleet, user: &str) -> Option<(String, String)> {
    let folder = fs::read_dir(fleet.tmp()).ok()?.flatten().map(|entry| entry.path()).next()?;
    let config = fs::read_to_string(folder.join("server.conf")).ok()?;
    let own = config.split(&format!("user: \"{user}\"")).nth(1)?;
    let password = own.split("password: \"").nth(1)?.split('"').next()?.to_owned();
    let mut files = fs::read_dir(&folder).ok()?.flatten();
    let ports = files.find(|file| file.path().extension().is_some_and(|end| end == "ports"))?;
    let ports: serde_json::Value = serde_json::from_str(&fs::read_to_string(ports.path()).ok()?).ok()?;
    Some((ports["nats"][0].as_str()?.to_owned(), password))
}

#[test]
fn what_is_repeated_forged_or_foreign_on_the_bus_changes_no_count() {
    // The server has no users, so every client may publish everything.
    let Some(server) = OpenServer::start() else { return };
    let (key, spool) = (KeyPair::new_user(), tempfile::tempdir().unwrap());
    let _agents = ["one", "two", "three"].map(|name| server.agent(name, &key, spool.path()));
    let url = server.url();
    let (count, injected) = watch::channel(0_u64);
    let injecting = async move {
        let client = ConnectOptions::new().connect(url).await.unwrap();
        let mut all = client.subscribe("smtpress.v1.>").await.unwrap();
        let foreign = KeyPair::new_user();
        let mut recorded = Vec::new();
        let mut again = 0_u64;
        while let Some(message) = all.next().await {
            let (subject, payload) = (message.subject.to_string(), message.payload.clone());
            // A message of this test itself.
            if message.headers.as_ref().is_some_and(|headers| headers.get("Injected").is_some()) {
                continue;
            }
            let say = |subject: String, id: u64, payload: Vec<u8>| {
                let mut headers = HeaderMap::new();
                headers.insert("Injected", "yes");
                headers.insert("Nats-Msg-Id", format!("again-{id}"));
                headers.insert("Smtpress-Part", format!("0/1 again-{id}"));
                client.publish_with_headers(subject, headers, payload.into())
            };
            recorded.push((subject.clone(), payload.to_vec()));
            count.send_replace(again);
            // The messages so far are sent again, the latest first.
            for (subject, payload) in recorded.iter().rev().take(20) {
                again += 1;
                say(subject.clone(), again, payload.clone()).await.unwrap();
            }
            let words: Vec<&str> = subject.split('.').collect();
            match words[..] {
                [.., "agent", name, "command"] => {
                    let release = AgentOrder::Release { run: "6a2-1".to_owned() };
                    for order in [release, AgentOrder::Arm { at: Duration::from_secs(1) }] {
                        let command = AgentCommand { agent: name.to_owned(), nonce: 7, order };
                        again += 2;
                        say(subject.clone(), again, sign(&command, &foreign)).await.unwrap();
                        say(subject.clone(), again + 1, encode(&command)).await.unwrap();
                    }
                }
                [.., "run", run, "control"] => {
                    let lease = Lease { run: run.to_owned(), epoch: 9, number: 999, stop: Stop::Now };
                    again += 3;
                    say(subject.clone(), again, sign(&lease, &foreign)).await.unwrap();
                    say(subject.clone(), again + 1, encode(&lease)).await.unwrap();
                    // A message of another version.
                    say(subject.clone(), again + 2, [&[2_u8][..], &encode(&lease)[1..]].concat())
                        .await
                        .unwrap();
                }
                [.., "report", kind, shard, agent] => {
                    // A report of another agent, and reports for shards that do not exist.
                    for (shard, name) in [(shard, "nobody"), ("7", agent), ("x", agent)] {
                        again += 1;
                        let place = subject.split(".report.").next().unwrap();
                        let subject = format!("{place}.report.{kind}.{shard}.{name}");
                        say(subject, again, payload.to_vec()).await.unwrap();
                    }
                    let other = if shard == "0" { "1" } else { "0" };
                    again += 2;
                    let place = subject.split(".report.").next().unwrap();
                    say(format!("{place}.report.{kind}.{other}.{agent}"), again, payload.to_vec())
                        .await
                        .unwrap();
                    say(subject.clone(), again + 1, b"nothing".to_vec()).await.unwrap();
                }
                _ => {}
            }
        }
    };
    let (quit, mut asked) = watch::channel(false);
    let injector = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::select! {
                () = injecting => {}
                _ = asked.wait_for(|asked| *asked) => {}
            }
        });
    });
    let ended = server.run(&key, 3, "-r 60/s -z 5s").wait();
    quit.send_replace(true);
    // The injector may fail when the server has ended. This is no fault.
    injector.join().ok();
    let injected = *injected.borrow();
    assert!(injected > 500, "{injected} messages were injected");
    assert!([0, 98].contains(&ended.code), "{}: {}", ended.code, ended.said);
    assert!(ended.lost().is_empty(), "{:?}: {}", ended.agents(), ended.said);
    ended.assert_adds_up();
    assert_eq!(ended.count("accepted"), 300, "{}", ended.said);
    assert_eq!(ended.result()["ledger"]["messages"].as_u64(), Some(300));
    assert!(!ended.reasons().contains(&"agent-lost".to_owned()), "{}", ended.said);
}

#[test]
fn a_coordinator_with_another_key_starts_nothing_and_the_right_one_does_after_it() {
    let Some(server) = OpenServer::start() else { return };
    let (key, other) = (KeyPair::new_user(), KeyPair::new_user());
    let spool = tempfile::tempdir().unwrap();
    let _agents = ["one", "two"].map(|name| server.agent(name, &key, spool.path()));
    let refused = server.run(&other, 2, "-r 20/s -z 1s").wait();
    assert_eq!(refused.code, 3, "{}", refused.said);
    for name in ["one", "two"] {
        let sentence = format!("agent {name} ");
        assert!(refused.said.contains(&sentence), "{}", refused.said);
    }
    assert!(refused.said.contains("not signed by the coordinator's key"), "{}", refused.said);
    assert!(refused.said.contains("no load was started"), "{}", refused.said);
    for _ in 0..2 {
        let ended = server.run(&key, 2, "-r 20/s -z 2s").wait();
        assert!([0, 98].contains(&ended.code), "{}", ended.said);
        assert_eq!(ended.count("accepted"), 40, "{}", ended.said);
        ended.assert_adds_up();
    }
    assert_eq!(fs::read_dir(spool.path()).unwrap().count(), 0, "no report waits");
}

#[test]
fn a_full_disk_of_an_agent_is_a_warning_and_the_run_is_right() {
    let Some(server) = OpenServer::start() else { return };
    let spool = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4k,mode=0700", "tmpfs"])
        .arg(spool.path())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        listener::missing::<()>("no tmpfs can be mounted");
        return;
    }
    fs::write(spool.path().join("full"), [0; 4096]).unwrap();
    let key = KeyPair::new_user();
    let (agent, said) = server.agent("small", &key, spool.path());
    let ended = server.run(&key, 1, "-r 20/s -z 3s").wait();
    drop(agent);
    let said = fs::read_to_string(said).unwrap();
    let left = fs::read_dir(spool.path()).unwrap().count();
    Command::new("umount").arg("-l").arg(spool.path()).status().unwrap();
    assert!([0, 98].contains(&ended.code), "{}", ended.said);
    assert_eq!(ended.count("accepted"), 60, "{}", ended.said);
    ended.assert_adds_up();
    assert_eq!(said.matches("kept in memory only").count(), 1, "{said}");
    assert_eq!(left, 1, "only what filled it");
}

#[test]
fn an_agent_of_another_version_is_refused_and_named() {
    let Some(program) = nats_server() else { return };
    let users = ["old", "coordinator"].map(|name| (name.to_owned(), format!("of-{name}")));
    let server = PrivateServer::start(Some(&program), users.into()).unwrap();
    let key = KeyPair::new_user();
    let public = KeyPair::from_public_key(&key.public_key()).unwrap();
    let access: BusAccess = server.access("coordinator");
    let (quit, asked) = watch::channel(false);
    let of_agent = server.access("old");
    let agent = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let settings = AgentSettings {
                name: "old".to_owned(),
                host: "elsewhere".to_owned(),
                program: "0.0.1".to_owned(),
                coordinator: public,
                spool: std::env::temp_dir().join("never-made"),
                prepare: Arc::new(|_, _| Err("it is never asked".to_owned())),
                receive: Arc::new(|_, _| Err("it is never asked".to_owned())),
                say: Arc::new(|_| {}),
                draw: Arc::new(|| 7),
            };
            agent::serve(Bus::connect(&of_agent).await.unwrap(), settings, asked).await
        })
    });
    let within = Duration::from_secs(3);
    let gathered = Gathered::gather(&access, key, 1, within, "0.1.0", Arc::new(|_| {}));
    let error = gathered.err().map(|error| error.to_string()).unwrap_or_default();
    quit.send_replace(true);
    agent.join().unwrap().unwrap();
    assert!(error.contains("0 of 1 agents"), "{error}");
    assert!(error.contains("agent old on elsewhere is of version 0.0.1, this is 0.1.0"), "{error}");
}
