//! A nats-server with the configuration of `smtpress fleet init`, over TLS: what it allows to agents and the
//! coordinator, and what it denies.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::fleet::Fleet;
use crate::fleet_messages;
use crate::listener::{self, Processes, wait_until};

/// A server with the files of a fleet of two agents.
pub struct FleetServer {
    pub folder: TempDir,
    pub port: u16,
    _processes: Processes,
}

/// Returns `smtpress` with these arguments, in this folder.
pub fn smtpress(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smtpress"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command
}

/// The output of both streams.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

/// The nats-server of this machine.
pub fn nats_server() -> Option<PathBuf> {
    listener::program(&["/usr/sbin/nats-server", "/usr/local/bin/nats-server", "/usr/bin/nats-server"])
        .or_else(|| listener::missing("no nats-server"))
}

impl FleetServer {
    /// Makes the files and starts the server; `None` if none is installed.
    pub fn start() -> Option<FleetServer> {
        let program = nats_server()?;
        let (folder, port) = (tempfile::tempdir().unwrap(), listener::free_port());
        let made =
            smtpress(folder.path(), &["fleet", "init", "fleet", "--agents", "2", "--host", "localhost"])
                .args(["--port", &port.to_string()])
                .output()
                .unwrap();
        assert!(made.status.success(), "{}", said(&made));
        let own = folder.path().join("fleet");
        let output = folder.path().join("nats.log");
        let processes = Processes::start(
            Command::new(program).args(["-c", "nats-server.conf"]).current_dir(&own),
            &output,
        );
        let log = || fs::read_to_string(&output).unwrap_or_default();
        assert!(wait_until(|| log().contains("Server is ready")), "{}", log());
        Some(FleetServer { folder, port, _processes: processes })
    }

    /// A file of the fleet.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("fleet").join(name)
    }

    /// The command with these arguments and the flags of the server and of these credentials.
    pub fn command(&self, arguments: &[&str], credentials: &str) -> Command {
        let mut command = smtpress(&self.folder.path().join("fleet"), arguments);
        command.args(["--nats", &format!("tls://localhost:{}", self.port), "--nats-ca", "ca.pem"]);
        if !credentials.is_empty() {
            command.args(["--creds", credentials]);
        }
        command
    }

    /// Starts an agent. Returns it with the file of its output.
    pub fn agent(&self, credentials: &str, more: &[&str]) -> (Processes, PathBuf) {
        let key = fs::read_to_string(self.file("coordinator.pub")).unwrap();
        let output = self.folder.path().join(format!("{credentials}.log"));
        let spool = self.folder.path().join("spool");
        let mut command = self.command(&["agent", "--coordinator", key.trim()], credentials);
        command.arg("--spool").arg(spool).args(more);
        (Processes::start(&mut command, &output), output)
    }

    /// The options and the URL of a connection with these credentials.
    fn opened_with(&self, credentials: &str) -> (ConnectOptions, String) {
        let seed = fs::read_to_string(self.file(credentials)).unwrap().lines().last().unwrap().to_owned();
        let options = ConnectOptions::with_nkey(seed).add_root_certificates(self.file("ca.pem"));
        (options, format!("tls://localhost:{}", self.port))
    }
}

/// Connects a client. Returns it with a channel of the denials of the server.
async fn client((options, url): (ConnectOptions, String)) -> (Client, mpsc::UnboundedReceiver<String>) {
    let (deny, denied) = mpsc::unbounded_channel();
    let options = options.event_callback(move |event| {
        if let Event::ServerError(error) = event {
            deny.send(error.to_string()).ok();
        }
        std::future::ready(())
    });
    (options.connect(url).await.unwrap(), denied)
}

/// An action of a client.
enum Act<'a> {
    Publish(&'a str),
    Subscribe(&'a str),
}

/// Returns the actions that the server denies, in their order.
async fn denied(opened_with: (ConnectOptions, String), acts: &[Act<'_>]) -> Vec<String> {
    let (client, mut denied) = client(opened_with).await;
    let mut subscribers = Vec::new();
    // The last action is denied to every client. When its denial has come, so have all before it.
    for act in acts.iter().chain([&Act::Publish("elsewhere.sentinel")]) {
        match act {
            Act::Publish(subject) => client.publish(subject.to_string(), "x".into()).await.unwrap(),
            Act::Subscribe(subject) => subscribers.push(client.subscribe(subject.to_string()).await.unwrap()),
        }
        client.flush().await.unwrap();
    }
    let mut found = Vec::new();
    loop {
        let text = tokio::time::timeout(Duration::from_secs(20), denied.recv()).await.unwrap().unwrap();
        assert!(text.to_lowercase().contains("permissions violation"), "{text}");
        let subject = text.split('"').nth(1).unwrap().to_owned();
        if subject == "elsewhere.sentinel" {
            return found;
        }
        found.push(subject);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn two_agents_run_a_profile_over_tls_and_the_result_passes() {
    let Some(server) = FleetServer::start() else { return };
    let agents = [server.agent("agent-1.creds", &[]), server.agent("agent-2.creds", &[])];
    for (_, log) in &agents {
        assert!(wait_until(|| fs::read_to_string(log).unwrap().contains("waiting for work")));
    }
    let status = server.command(&["fleet", "status", "--json"], "coordinator.creds").output().unwrap();
    let listed: Value =
        serde_json::from_slice(&status.stdout).unwrap_or_else(|_| panic!("{}", said(&status)));
    assert_eq!((&listed[0]["agent"], &listed[1]["agent"]), (&"agent-1".into(), &"agent-2".into()));
    // On a busy machine a run may be invalid. Then it is started again.
    let ran = (0..4).find_map(|_| {
        let run = server
            .command(
                // The load has no schedule, so it cannot be late on a busy machine.
                &["fleet", "run", "--target", "embedded", "-n", "120", "-c", "6", "--agents", "2"],
                "coordinator.creds",
            )
            .args(["--key", "coordinator.key", "--json", "-", "--progress", "none", "--max-start-skew", "1s"])
            .arg("--out")
            .arg(server.folder.path().join("run"))
            .arg("--overwrite")
            .output()
            .unwrap();
        (run.status.code() != Some(98)).then_some(run)
    });
    let run = ran.expect("one of four runs is valid");
    assert_eq!(run.status.code(), Some(0), "{}", said(&run));
    let result: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(result["agents"].as_array().unwrap().len(), 2, "{result:#}");
}

/// Checks that the agent `own` may use its own subjects, and that those of the agent `other` are denied.
#[track_caller]
fn assert_own_alone(opened_with: impl Fn() -> (ConnectOptions, String), own: &str, other: &str) {
    let of = |subjects: &[&str]| -> Vec<String> {
        subjects.iter().map(|subject| subject.replace("OWN", own).replace("OTHER", other)).collect()
    };
    let (published, subscribed) = (
        of(&[
            "smtpress.v1.agent.OWN.heartbeat",
            "smtpress.v1.run.r.report.interval.0.OWN",
            "smtpress.v1.run.r.report.final.0.OWN",
            "$JS.API.STREAM.INFO.SMTPRESS_RUN",
        ]),
        of(&["smtpress.v1.agent.OWN.command", "smtpress.v1.run.r.control", "_INBOX.OWN.abc"]),
    );
    let acts = |sent: &[String], read: &[String]| -> Vec<String> {
        let acts: Vec<Act<'_>> =
            sent.iter().map(|to| Act::Publish(to)).chain(read.iter().map(|of| Act::Subscribe(of))).collect();
        runtime().block_on(denied(opened_with(), &acts))
    };
    assert_eq!(acts(&published, &subscribed), Vec::<String>::new());
    let sent = of(&[
        "smtpress.v1.agent.OTHER.heartbeat",
        "smtpress.v1.run.r.report.interval.0.OTHER",
        "smtpress.v1.run.r.report.final.1.OTHER",
        "smtpress.v1.run.r.report.interval.0.OWN.more",
        "smtpress.v1.agent.OWN.command",
        "smtpress.v1.agent.OTHER.command",
        "smtpress.v1.run.r.control",
        "smtpress.v1.run.r.record",
        "_INBOX.coordinator.abc",
        "_INBOX.OTHER.abc",
        "$JS.API.STREAM.CREATE.SMTPRESS_RUN",
        "$JS.API.STREAM.PURGE.SMTPRESS_RUN",
        "$JS.API.STREAM.DELETE.SMTPRESS_RUN",
        "$JS.API.STREAM.MSG.GET.SMTPRESS_RUN",
        "$JS.API.CONSUMER.CREATE.SMTPRESS_RUN",
        "$JS.API.CONSUMER.MSG.NEXT.SMTPRESS_RUN.c",
        "$JS.API.INFO",
        "$SYS.REQ.SERVER.PING",
    ]);
    let read = of(&[
        "smtpress.v1.agent.OTHER.command",
        "smtpress.v1.agent.*.command",
        "smtpress.v1.agent.OTHER.heartbeat",
        "smtpress.v1.agent.*.heartbeat",
        "smtpress.v1.run.r.report.>",
        "smtpress.v1.run.r.record",
        "_INBOX.>",
        "_INBOX.coordinator.>",
        "_INBOX.OTHER.>",
        ">",
        "$SYS.>",
    ]);
    assert_eq!(acts(&sent, &read), [sent.clone(), read.clone()].concat());
}

#[test]
fn an_agent_may_send_and_read_what_is_its_own_and_nothing_else() {
    let Some(server) = FleetServer::start() else { return };
    assert_own_alone(|| server.opened_with("agent-1.creds"), "agent-1", "agent-2");
}

#[test]
fn an_agent_that_the_coordinator_started_has_no_more_rights_than_one_of_a_permanent_fleet() {
    let Some(fleet) = Fleet::local(2, "--target embedded -r 20/s -z 20s") else { return };
    let mut found = None;
    assert!(wait_until(|| {
        found = fleet_messages::access(&fleet, "local-0");
        found.is_some()
    }));
    let (url, password) = found.unwrap();
    let with = |name: &str, password: &str| {
        (ConnectOptions::with_user_and_password(name.to_owned(), password.to_owned()), url.clone())
    };
    assert_own_alone(|| with("local-0", &password), "local-0", "local-1");
    // The password is valid for this user only, and without a password the server refuses the connection.
    for (options, url) in
        [with("local-1", &password), with("coordinator", &password), (ConnectOptions::new(), url.clone())]
    {
        let refused = runtime().block_on(options.connect(url)).unwrap_err().to_string();
        assert!(refused.to_lowercase().contains("authorization"), "{refused}");
    }
    fleet.await_seconds(1);
    fleet.signal(Signal::SIGINT);
    let ended = fleet.wait();
    assert_eq!(ended.code, 105, "{}", ended.said);
    assert!(ended.lost().is_empty(), "{}", ended.said);
}

#[test]
fn the_coordinator_speaks_for_no_agent() {
    let Some(server) = FleetServer::start() else { return };
    let sent = [
        "smtpress.v1.agent.agent-1.heartbeat",
        "smtpress.v1.run.r.report.interval.0.agent-1",
        "smtpress.v1.run.r.report.final.0.agent-1",
    ];
    let acts: Vec<Act> = sent.iter().map(|to| Act::Publish(to)).collect();
    assert_eq!(runtime().block_on(denied(server.opened_with("coordinator.creds"), &acts)), sent);
}

#[test]
fn who_has_no_credentials_or_not_the_right_ones_is_named_and_not_let_in() {
    let Some(server) = FleetServer::start() else { return };
    let expect = |output: Output, code: i32, words: &[&str]| {
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        words.iter().for_each(|word| assert!(said.contains(word), "{word:?}: {said}"));
    };
    let status = |credentials: &str| server.command(&["fleet", "status"], credentials).output().unwrap();
    expect(status(""), 3, &["failed to reach the NATS server", "uthorization"]);
    // The server does not know this key.
    fs::write(server.file("other.creds"), nkeys::KeyPair::new_user().seed().unwrap()).unwrap();
    expect(status("other.creds"), 3, &["failed to reach the NATS server", "uthorization"]);
    fs::write(server.file("empty.creds"), "nothing\n").unwrap();
    expect(status("empty.creds"), 3, &["empty.creds holds no credentials"]);
    expect(status("nowhere.creds"), 3, &["nowhere.creds cannot be read"]);
    // An agent's credentials are refused for a coordinator, and those of another agent for this one.
    expect(status("agent-1.creds"), 3, &["denies it", "smtpress.v1.agent.*.heartbeat"]);
    let (_agent, log) = server.agent("agent-1.creds", &[]);
    assert!(wait_until(|| fs::read_to_string(&log).unwrap().contains("waiting for work")));
    let run = server
        .command(&["fleet", "run", "--target", "embedded", "-r", "5/s", "-z", "1s"], "agent-2.creds")
        .args(["--key", "coordinator.key", "--progress", "none", "--agents", "1"])
        .output()
        .unwrap();
    expect(run, 3, &["denies it"]);
    let key = fs::read_to_string(server.file("coordinator.pub")).unwrap();
    let other = server
        .command(&["agent", "--name", "agent-1", "--coordinator", key.trim()], "agent-2.creds")
        .output()
        .unwrap();
    expect(other, 3, &["agent agent-1", "denies it", "--name"]);
    // The server's certificate is not the trusted one.
    let elsewhere = tempfile::tempdir().unwrap();
    assert!(smtpress(elsewhere.path(), &["fleet", "init", "fleet"]).output().unwrap().status.success());
    let mut foreign = smtpress(&elsewhere.path().join("fleet"), &["fleet", "status", "--nats-ca", "ca.pem"]);
    foreign.args(["--nats", &format!("tls://localhost:{}", server.port), "--creds"]);
    foreign.arg(server.file("coordinator.creds"));
    expect(foreign.output().unwrap(), 3, &["certificate"]);
}

#[test]
fn secrets_are_for_their_owner_and_a_folder_with_files_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let made = smtpress(folder.path(), &["fleet", "init", "fleet"]).output().unwrap();
    assert!(made.status.success(), "{}", said(&made));
    let mut modes: Vec<(String, u32)> = fs::read_dir(folder.path().join("fleet"))
        .unwrap()
        .flatten()
        .map(|entry| {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            (entry.file_name().into_string().unwrap(), mode)
        })
        .collect();
    modes.sort();
    let expected = [
        ("README.txt", 0o644),
        ("agent-1.creds", 0o600),
        ("agent-2.creds", 0o600),
        ("agent-3.creds", 0o600),
        ("ca.pem", 0o644),
        ("coordinator.creds", 0o600),
        ("coordinator.key", 0o600),
        ("coordinator.pub", 0o644),
        ("nats-server.conf", 0o644),
        ("server.key", 0o600),
        ("server.pem", 0o644),
    ];
    assert_eq!(modes, expected.map(|(name, mode)| (name.to_owned(), mode)));
    let before = fs::read(folder.path().join("fleet/coordinator.key")).unwrap();
    let again = smtpress(folder.path(), &["fleet", "init", "fleet"]).output().unwrap();
    assert_eq!(again.status.code(), Some(2), "{}", said(&again));
    assert!(said(&again).contains("is not empty"), "{}", said(&again));
    assert_eq!(fs::read(folder.path().join("fleet/coordinator.key")).unwrap(), before);
    fs::create_dir(folder.path().join("empty")).unwrap();
    assert!(smtpress(folder.path(), &["fleet", "init", "empty"]).output().unwrap().status.success());
    let wrong = smtpress(folder.path(), &["fleet", "init", "nowhere/fleet"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2), "{}", said(&wrong));
}

#[test]
fn what_agents_reported_is_collected_when_their_coordinator_was_killed() {
    let Some(server) = FleetServer::start() else { return };
    let agents = [server.agent("agent-1.creds", &[]), server.agent("agent-2.creds", &[])];
    let log = |at: usize| fs::read_to_string(&agents[at].1).unwrap();
    assert!((0..2).all(|at| wait_until(|| log(at).contains("waiting for work"))));
    let collect = |more: &[&str]| {
        let words = [&["fleet", "collect", "--json"], more].concat();
        let output = server.command(&words, "coordinator.creds").output().unwrap();
        let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| said(&output).into());
        (output.status.code(), json)
    };
    assert_eq!(collect(&[]), (Some(0), serde_json::json!({})));
    let (code, why) = collect(&["nothing-1"]);
    assert!(code == Some(2) && why.as_str().unwrap().contains("no reports of run nothing-1"), "{why}");
    let mut coordinator = server
        .command(
            &["fleet", "run", "--target", "embedded", "-r", "30/s", "-z", "120s", "--agents", "2"],
            "coordinator.creds",
        )
        .args(["--key", "coordinator.key", "--progress", "none", "--max-start-skew", "1s"])
        .arg("--out")
        .arg(server.folder.path().join("run"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let messages = || collect(&[]).1.as_object().and_then(|runs| runs.values().next()?.as_u64());
    assert!(wait_until(|| messages().is_some_and(|count| count >= 6)), "{:?}", messages());
    coordinator.kill().unwrap();
    coordinator.wait().unwrap();
    // The agents end their load when no message comes, and report the end.
    let run = collect(&[]).1.as_object().unwrap().keys().next().unwrap().clone();
    let shards = || collect(&[&run]).1["shards"].as_array().cloned().unwrap_or_default();
    let is_over = |shard: &Value| {
        shard["missing"].as_str().is_some_and(|why| why.contains("the coordinator sent no message"))
    };
    assert!(wait_until(|| shards().len() == 2 && shards().iter().all(is_over)), "{:#?}", shards());
    let (code, collected) = collect(&[&run]);
    assert_eq!((code, &collected["verdict"]), (Some(98), &"invalid".into()));
    let sum = |of: &str| shards().iter().map(|shard| shard[of].as_u64().unwrap()).sum::<u64>();
    for of in ["scheduled", "started", "accepted"] {
        assert!(collected[of].as_u64().unwrap() == sum(of) && sum(of) > 0, "{of}: {collected:#}");
    }
    for shard in shards() {
        // There is no gap: one range from the first second to the last that the agent reported.
        let last = shard["seconds_in_all"].as_u64().unwrap() - 1;
        assert_eq!(shard["seconds"], serde_json::json!([[0, last]]), "{shard:#}");
    }
    // `fleet collect` removes nothing.
    assert_eq!(collect(&[&run]).1, collected);
    let text = server.command(&["fleet", "collect", &run], "coordinator.creds").output().unwrap();
    assert!(
        said(&text).contains("2 shards have reports") && said(&text).contains("INVALID"),
        "{}",
        said(&text)
    );
}
