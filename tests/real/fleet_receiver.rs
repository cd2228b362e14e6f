//! A fleet whose load passes a relay to the receiver of the coordinator, or of an agent.

use std::fs;
use std::process::Command;

use nkeys::KeyPair;
use serde_json::Value;

use crate::faulty_relay::{FaultyRelay, expected};
use crate::fleet::{Ended, Fleet, number};
use crate::fleet_access::{nats_server, smtpress};
use crate::fleet_messages::OpenServer;
use crate::listener::{self, Processes, wait_until};

#[test]
fn what_a_relay_makes_of_the_messages_of_three_agents_is_counted_as_in_its_ledger() {
    counted_as_in_the_ledger("");
}

#[test]
fn a_receiver_on_an_agent_counts_what_the_ledger_of_the_relay_has() {
    counted_as_in_the_ledger("--set receive.agent=local-1");
}

fn counted_as_in_the_ledger(more: &str) {
    let next = listener::free_port();
    let faults = "--fault drop=30 --fault duplicate=40 --fault rewrite=50 --hold fixed:0.1";
    let Some(relay) = FaultyRelay::start(next, faults) else { return };
    let target = format!("--target smtp://127.0.0.1:{}", relay.port);
    let load = format!(
        "-n 1500 -c 9 --receive 127.0.0.1:{next} --drain 10s --set message.text=message-{{n}} {more}"
    );
    let Some(fleet) = Fleet::local(3, &format!("{target} {load}")) else { return };
    let ended = fleet.wait();
    let ledgers = relay.ledgers();
    // Missing messages fail the run, and on a busy machine it is invalid.
    assert!(matches!(ended.code, 98 | 99), "{}: {}", ended.code, ended.said);
    assert_eq!(ended.agents().len(), 3);
    let delivery = &ended.phases()[0]["delivery"];
    assert_eq!(number(delivery, "accepted_recipients"), 1500, "{delivery:#}");
    for count in ["delivered", "missing", "duplicated", "altered", "unexpected"] {
        assert_eq!(number(delivery, count), expected(&ledgers, count), "{count}: {delivery:#}");
    }
    assert!(number(delivery, "missing") > 10 && number(delivery, "duplicated") > 10, "{delivery:#}");
    // The times of all agents and of the receiver have one zero, so no message came out before the time for which it
    // was held.
    assert!(median_transit(&ended) >= 0.095, "{}", ended.said);
}

/// The median of the time in the relay, in seconds.
#[track_caller]
fn median_transit(ended: &Ended) -> f64 {
    let metrics = ended.result()["metrics"].as_array().unwrap();
    let transit =
        metrics.iter().find(|row| row["name"] == "transit" && row["outcome"] == "accepted").unwrap();
    let p50 = transit["percentiles"].as_array().unwrap().iter().find(|row| row["q"] == 0.5).unwrap();
    p50["value_ns"].as_f64().unwrap() / 1e9
}

/// Starts an agent whose clocks are an hour ahead: the monotonic one by a namespace, and the wall clock by a library.
fn agent_an_hour_ahead(server: &OpenServer, key: &KeyPair) -> Option<Processes> {
    let ahead = ["-T", "--monotonic", "3600", "--boottime", "3600"];
    let own = Command::new("unshare").args(ahead).arg("true").status();
    if !own.is_ok_and(|status| status.success()) {
        return listener::missing("no time namespace can be made");
    }
    let library = listener::program(&["/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"])
        .or_else(|| listener::missing("no libfaketime"))?;
    let output = server.folder.path().join("ahead.log");
    let words = ["agent", "--nats", &server.url(), "--coordinator", &key.public_key(), "--name", "ahead"];
    let agent = smtpress(server.folder.path(), &words);
    let mut command = Command::new("unshare");
    command.args(ahead).arg(agent.get_program()).args(agent.get_args());
    command.arg("--spool").arg(server.folder.path().join("spool")).current_dir(server.folder.path());
    command.env("LD_PRELOAD", library).env("FAKETIME", "+1h").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let processes = Processes::start(&mut command, &output);
    let said = || fs::read_to_string(&output).unwrap_or_default();
    assert!(wait_until(|| said().contains("waiting for work")), "{}", said());
    Some(processes)
}

#[test]
fn the_times_of_a_receiver_with_other_clocks_are_joined_with_the_measured_offset_and_its_bound_is_printed() {
    let Some(server) = OpenServer::start() else { return };
    let (key, spool) = (KeyPair::new_user(), server.folder.path().join("spool"));
    let Some(_ahead) = agent_an_hour_ahead(&server, &key) else { return };
    let _other = server.agent("other", &key, &spool);
    let next = listener::free_port();
    let Some(relay) = FaultyRelay::start(next, "--hold fixed:0.1") else { return };
    let flags = format!("-n 300 -c 6 --receive 127.0.0.1:{next} --drain 10s --set receive.agent=ahead");
    let ended = server.run_against(&format!("smtp://127.0.0.1:{}", relay.port), &key, 2, &flags).wait();
    assert!([0, 98].contains(&ended.code), "{}: {}", ended.code, ended.said);
    let delivery = &ended.result()["delivery"];
    let (ahead, bound) = (delivery["clock"]["ahead_s"].as_f64(), delivery["clock"]["bound_s"].as_f64());
    let (Some(ahead), Some(bound)) = (ahead, bound) else { panic!("{delivery:#}") };
    assert!((ahead - 3600.0).abs() < 0.1 && bound > 0.0 && bound < 0.1, "{ahead} {bound}");
    assert_eq!(number(&ended.phases()[0]["delivery"], "delivered"), 300, "{}", ended.said);
    let transit = median_transit(&ended);
    assert!(transit >= 0.1 - bound - 0.005 && transit < 5.0, "{transit} s: an hour is that of the clock");
    let report = fs::read_to_string(spool.parent().unwrap().join("ahead.log")).unwrap();
    assert!(report.contains("receiving behind the relay"), "{report}");
    // The log is removed with the receiver.
    assert!(wait_until(|| fs::read_dir(&spool).unwrap().count() == 0));
    relay.ledgers();
}

#[test]
fn a_receiver_on_an_agent_that_is_not_there_is_refused_before_any_load() {
    if nats_server().is_none() {
        return;
    }
    let load = "--target smtp://127.0.0.1:9 -n 5 --receive 127.0.0.1:0 --set receive.agent=local-7";
    let alone = Fleet::start(&format!("run {load}"), |_| {}).wait();
    assert_eq!(alone.code, 2, "{}", alone.said);
    assert!(
        alone.said.contains("listen on agent local-7: only `smtpress fleet` has agents"),
        "{}",
        alone.said
    );
    let ended = Fleet::local(2, load).unwrap().wait();
    assert_eq!((ended.code, &ended.stored), (2, &None::<Value>), "{}", ended.said);
    assert!(ended.said.contains("the agents of the run are local-0, local-1"), "{}", ended.said);
}

/// The target is no relay here, so nothing comes out, and the agent with the receiver is killed.
#[test]
fn what_an_agent_that_is_lost_received_is_no_pass() {
    let next = listener::free_port();
    let Some(relay) = FaultyRelay::start(next, "") else { return };
    let target = format!("--target smtp://127.0.0.1:{}", relay.port);
    let load = format!("-r 30/s -z 30s --receive 127.0.0.1:{next} --drain 3s --set receive.agent=local-0");
    let Some(fleet) = Fleet::local(2, &format!("{target} {load}")) else { return };
    fleet.await_seconds(2);
    let agents = fleet.await_pids(crate::fleet::Member::Agent, 2);
    crate::fleet::signal_to(agents[0], nix::sys::signal::Signal::SIGKILL);
    let ended = fleet.wait();
    assert_eq!(ended.code, 98, "{}", ended.said);
    assert!(ended.reasons().contains(&"agent-lost".to_owned()), "{:?}", ended.reasons());
    drop(relay);
}
