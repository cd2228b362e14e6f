//! Limits that are searched with the sessions of agents.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::fleet::{Ended, Fleet, Member, signal_to};
use crate::fleet_access::nats_server;
use crate::fleet_network::{LISTENER, Network, address};
use crate::listener::{Processes, wait_until};

/// Returns the verdict and the value of a limit in a result.
#[track_caller]
fn found<'a>(ended: &'a Ended, name: &str) -> (&'a str, Option<u64>) {
    let limits = ended.result()["limits"].as_array().unwrap();
    let own = limits.iter().find(|own| own["name"] == name);
    let own = own.unwrap_or_else(|| panic!("no {name}: {limits:#?}"));
    (own["verdict"].as_str().unwrap(), own["value"].as_u64())
}

#[test]
fn three_machines_are_three_hosts_and_the_limit_of_the_whole_listener_is_found() {
    let Some(network) = Network::start() else { return };
    let output = network.folder.path().join("limited.log");
    let mut listen = network.on(LISTENER, env!("CARGO_BIN_EXE_smtpress"));
    listen.args(["listen", "--bind", &format!("{}:2527", address(LISTENER)), "-z", "5m"]);
    for set in ["allow_remote=true", "max_connections_per_host=8", "max_connections=20", "max_recipients=30"]
    {
        listen.args(["--set", &format!("listener.{set}")]);
    }
    let _listener = Processes::start(&mut listen, &output);
    assert!(wait_until(|| fs::read_to_string(&output).unwrap_or_default().contains("listening on")));
    let find = "too-many-recipients,too-many-connections-from-host,too-many-connections-to-host";
    let (search, _) = network.command("limit", 2527, &format!("--find {find}"));
    let ended = network.end(search);
    assert!(matches!(ended.code, 0 | 98), "{}: {}", ended.code, ended.said);
    assert_eq!(found(&ended, "too-many-recipients"), ("found", Some(30)), "{}", ended.said);
    assert_eq!(found(&ended, "too-many-connections-from-host"), ("found", Some(8)), "{}", ended.said);
    assert_eq!(found(&ended, "too-many-connections-to-host"), ("found", Some(20)), "{}", ended.said);
    // The agents wait for work again.
    let (search, _) = network.command("limit", 2527, "--find too-many-recipients");
    assert_eq!(network.end(search).code, 0);
}

/// Starts a search on an agent of this machine that waits for an idle time-out for a minute.
fn long_search() -> Option<Fleet> {
    nats_server()?;
    let words = "fleet limit --target embedded --find too-many-recipients,idle-timeout --wait 60s --local 1 \
                 --set listener.max_recipients=20";
    let search = Fleet::start(words, |_| {});
    let kept =
        || fs::read_to_string(search.tmp().parent().unwrap().join("run/unfinished.json")).unwrap_or_default();
    assert!(wait_until(|| kept().contains("\"too-many-recipients\"")), "{}", search.said());
    Some(search)
}

#[test]
fn an_agent_that_dies_ends_the_search_and_nothing_is_said_of_what_it_measured() {
    let Some(search) = long_search() else { return };
    signal_to(search.await_pids(Member::Agent, 1)[0], Signal::SIGKILL);
    let ended = search.wait();
    assert!(!matches!(ended.code, 0 | 99), "{}: {}", ended.code, ended.said);
    assert_eq!(found(&ended, "too-many-recipients"), ("found", Some(20)));
    let limits: Vec<&Value> = ended.result()["limits"].as_array().unwrap().iter().collect();
    let others = limits.iter().filter(|own| own["name"] != "too-many-recipients");
    for own in others {
        assert_eq!(own["verdict"], "obstructed", "{own:#}");
    }
    let reasons = ended.result()["validity"]["explanations"].to_string();
    assert!(reasons.contains("agent local-0 ("), "{reasons}: {}", ended.said);
}

#[test]
fn ctrl_c_ends_a_search_of_agents_and_keeps_what_was_found() {
    let Some(search) = long_search() else { return };
    search.signal(Signal::SIGINT);
    let ended = search.wait();
    assert_eq!(ended.code, 105, "{}", ended.said);
    assert_eq!(found(&ended, "too-many-recipients"), ("found", Some(20)));
}

#[test]
fn an_agent_that_may_not_reach_the_target_is_named_before_anything_is_sent() {
    if nats_server().is_none() {
        return;
    }
    let search =
        Fleet::start("fleet limit --target 127.0.0.1:1 --find too-many-recipients --local 1", |_| {});
    let ended = search.wait();
    assert_eq!(ended.code, 3, "{}", ended.said);
    assert!(ended.said.contains("agent local-0"), "{}", ended.said);
    let help =
        Command::new(env!("CARGO_BIN_EXE_smtpress")).args(["fleet", "limit", "--help"]).output().unwrap();
    assert!(String::from_utf8_lossy(&help.stdout).contains("--local"));
}
