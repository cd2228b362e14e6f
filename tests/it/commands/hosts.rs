//! Many clients from one machine: a limit for one host and a limit of the whole listener are distinguished, however the
//! client's address is announced. Also transports other than TCP over IPv4.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::stage::{FEW, Stage};

/// Sessions that are held open on a listener with 600 slots, at most 5 for each host.
fn held(sessions: u32, target: &str, listener: &str) -> String {
    format!(
        r#"schema = 1
seed = 7
[target]
address = "embedded"
{target}
[timeouts]
connect = "30s"
[session]
messages = 0
[[phase]]
load = "held-sessions"
sessions = {sessions}
for = "2s"
[[expect]]
step = "greeting"
condition = "too-many-connections-to-host"
[[assert]]
expr = "accepted > 0"
remove = true
[listener]
max_connections = 600
max_connections_per_host = 5
{listener}
"#
    )
}

const MANY: &str = "sources = [\"127.0.0.2-127.0.0.101\", \"127.0.1.0-127.0.1.99\"]";
const ONE: &str = "sources = [\"127.0.0.2\"]";
const NO_HEADER: &str = "";
const PROXY: &str = "proxy = true";
const XCLIENT: &str = "xclient = true";

/// Returns the count of each condition.
fn conditions(result: &Value) -> BTreeMap<String, u64> {
    let mut met = BTreeMap::new();
    for condition in result["conditions"].as_array().unwrap() {
        let name = condition["condition"].as_str().unwrap().to_owned();
        *met.entry(name).or_default() += condition["count"].as_u64().unwrap();
    }
    met
}

/// Runs it, and returns the conditions and the ledger.
fn run(sessions: u32, target: &str, listener: &str) -> (BTreeMap<String, u64>, Value) {
    let stage = Stage::new();
    stage.put("held.toml", held(sessions, target, listener));
    let said = stage.run(&["run", "held.toml", "-o", "r", "-q"]);
    assert!(matches!(said.code, Some(0 | 98 | 99)), "{}", said.err);
    let result = stage.json("r/result.json");
    (conditions(&result), result["ledger"].clone())
}

fn of_the_listener(target: &str, listener: &str) {
    let (met, ledger) = run(640, &format!("{MANY}\n{target}"), listener);
    assert_eq!(met.keys().collect::<Vec<_>>(), ["too-many-connections-to-host"], "{target}: {met:?}");
    assert!(met["too-many-connections-to-host"] >= 40, "{target}: {met:?}");
    assert_eq!(ledger["sessions_peak"], 600, "{target}: {ledger}");
    assert!((3..=5).contains(&ledger["host_sessions_peak"].as_u64().unwrap()), "{target}: {ledger}");
}

fn of_one_host(target: &str, listener: &str) {
    let (met, ledger) = run(100, &format!("{ONE}\n{target}"), listener);
    assert_eq!(met.keys().collect::<Vec<_>>(), ["too-many-connections-from-host"], "{target}: {met:?}");
    assert_eq!(ledger["host_sessions_peak"], 5, "{target}: {ledger}");
}

#[test]
fn bound_sources_tell_the_limit_of_the_listener_from_that_of_one_host() {
    of_the_listener("", NO_HEADER);
    of_one_host("", NO_HEADER);
}

#[test]
fn proxy_v1_tells_the_limit_of_the_listener_from_that_of_one_host() {
    of_the_listener("proxy = \"v1\"", PROXY);
    of_one_host("proxy = \"v1\"", PROXY);
}

#[test]
fn proxy_v2_tells_the_limit_of_the_listener_from_that_of_one_host() {
    of_the_listener("proxy = \"v2\"", PROXY);
    of_one_host("proxy = \"v2\"", PROXY);
}

#[test]
fn xclient_tells_the_limit_of_the_listener_from_that_of_one_host() {
    of_the_listener("xclient = true", XCLIENT);
    of_one_host("xclient = true", XCLIENT);
}

/// A profile of a few messages to this target.
fn few(target: &str) -> String {
    FEW.replace("address = \"embedded\"", target)
}

#[test]
fn a_run_over_a_unix_socket() {
    let stage = Stage::new();
    let mut listening = stage.start(&["listen", "--bind", "unix:smtp.sock", "-z", "20s"]);
    assert!(listening.hear("listening on").contains("listening on unix:smtp.sock;"));
    stage.put("unix.toml", few("address = \"smtp+unix:smtp.sock\""));
    stage.run(&["run", "unix.toml", "-o", "r"]).ended(0);
    let result = stage.json("r/result.json");
    assert_eq!(result["phases"][0]["accepted"], 50);
    let trace = stage.run(&["trace", "smtp+unix:smtp.sock"]).ended(0).out;
    assert!(trace.starts_with("smtp+unix:smtp.sock") && trace.contains("EHLO load.example"), "{trace}");
    // For a second listener the address is in use.
    let taken = stage.run(&["listen", "--bind", "unix:smtp.sock", "-z", "1s"]).ended(3).err;
    assert!(taken.contains("another process listens there already"), "{taken}");
    listening.signal(Signal::SIGINT);
    assert_eq!(listening.end().ended(0).json()["messages"], 51);
    assert!(!stage.path("smtp.sock").exists());
    let gone = stage.run(&["run", "unix.toml"]).ended(3).err;
    assert!(gone.contains("smtp.sock cannot be reached (connect-refused): there is no such file"), "{gone}");
    stage.put("smtp.sock", "letters");
    let gone = stage.run(&["run", "unix.toml"]).ended(3).err;
    assert!(gone.contains("(connect-refused): the file is not a socket"), "{gone}");
    let occupied = stage.run(&["listen", "--bind", "unix:smtp.sock", "-z", "1s"]).ended(3).err;
    assert!(occupied.contains("not a socket exists there, which is not replaced"), "{occupied}");
    assert_eq!(stage.read("smtp.sock"), "letters");
}

#[test]
fn the_embedded_listener_on_a_unix_socket_and_on_ipv6() {
    for (place, sources) in [
        ("unix:e.sock", "sources = [\"10.0.0.1\"]\nxclient = true"),
        ("[::1]:0", "sources = [\"::1\"]"),
        ("[::1]:0", "sources = [\"2001:db8::1-2001:db8::9\"]\nproxy = \"v2\""),
        ("127.0.0.1:0", "proxy = \"v1\""),
    ] {
        let stage = Stage::new();
        let (proxy, xclient) = (sources.contains("proxy"), sources.contains("xclient"));
        let listener = format!("\n[listener]\naddress = \"{place}\"\nproxy = {proxy}\nxclient = {xclient}\n");
        stage.put("few.toml", few(&format!("address = \"embedded\"\n{sources}")) + &listener);
        stage.run(&["run", "few.toml", "-o", "r"]).ended(0);
        let result = stage.json("r/result.json");
        assert_eq!(result["phases"][0]["accepted"], 50, "{place} {sources}");
        assert_eq!(result["ledger"]["messages"], 50);
    }
}

#[test]
fn sources_that_are_not_this_machines_end_it_before_anything_is_sent() {
    let stage = Stage::new();
    // No machine has an address of TEST-NET-1 (RFC 5737).
    stage.put("foreign.toml", few("address = \"embedded\"\nsources = [\"127.0.0.2\", \"192.0.2.7\"]"));
    let said = stage.run(&["run", "foreign.toml"]).ended(3).err;
    for part in ["192.0.2.7", "none of this machine's", "sources", "take it out of the list"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!stage.path("smtpress-runs").exists());
    // A PROXY header carries the addresses, so they need not be addresses of this machine.
    stage.put(
        "carried.toml",
        few("address = \"embedded\"\nsources = [\"192.0.2.0/24\"]\nproxy = \"v2\"")
            + "[listener]\nproxy = true\n",
    );
    stage.run(&["run", "carried.toml"]).ended(0);
}

#[test]
fn xclient_that_is_not_offered_is_a_finding() {
    let stage = Stage::new();
    stage.put("x.toml", few("address = \"embedded\"\nsources = [\"10.0.0.1\"]\nxclient = true"));
    let said = stage.run(&["run", "x.toml", "-o", "r", "-q"]);
    assert_eq!(said.code, Some(99), "{}", said.err);
    let result = stage.json("r/result.json");
    assert_eq!(result["phases"][0]["accepted"], 0, "no message goes out under another name");
}

#[test]
fn check_tells_the_ports_of_each_source() {
    let stage = Stage::new();
    stage.put("held.toml", held(600, MANY, NO_HEADER));
    let said = stage.run(&["check", "held.toml"]).ended(0).out;
    assert!(
        said.contains("127.0.0.2-127.0.0.101, 127.0.1.0-127.0.1.99: 200 addresses, bound in turn"),
        "{said}"
    );
    assert!(said.contains("local ports  3 of each of 200 source addresses, 600 in all"), "{said}");
    stage.put("held.toml", held(600, &format!("{MANY}\nproxy = \"v2\""), PROXY));
    let said = stage.run(&["check", "held.toml"]).ended(0).out;
    assert!(said.contains("200 addresses, carried by a PROXY header (version 2) in turn"), "{said}");
    assert!(said.contains("local ports  600\n"), "{said}");
}
