//! A search for the capacity whose trials the whole fleet runs.

use std::fs;
use std::io::{self, Write};

use serde_json::Value;

use crate::fleet::Fleet;
use crate::fleet_access::nats_server;

/// A search by sessions against a listener that serves twelve sessions at once.
const PROFILE: &str = "schema = 1\nname = \"cap\"\nseed = 7\n[target]\naddress = \"embedded\"\n[message]\nsize = \"1KiB\"\n\
    [listener]\nmax_connections_per_host = 12\ndelays = { greeting = \"250ms\" }\n\
    [capacity]\ntrial = \"1s\"\nconfirm = \"2s\"\nwarmup = \"0s\"\nby = \"sessions\"\nstart = 5\nmax = 40\n\
    goals = [{ name = \"none-fails\", slo = \"response p99 < 20s\" }]\n";

#[test]
fn three_agents_find_the_limit_of_twelve_sessions() {
    if nats_server().is_none() {
        return;
    }
    // On a busy machine trials are invalid. Then the search is run again.
    let found = (0..4).find_map(|_| {
        let search = Fleet::start("fleet capacity p.toml --local 3 --max-start-skew 1s", |command| {
            let folder = command.get_current_dir().unwrap().to_owned();
            fs::write(folder.join("p.toml"), PROFILE).unwrap();
        });
        let ended = search.wait();
        assert!([0, 5, 98].contains(&ended.code), "{} {}", ended.code, ended.said);
        let capacity = ended.result()["capacity"].clone();
        let trials = capacity["trials"].as_array().unwrap();
        let trusted = |trial: &Value| trial["invalid"].as_array().unwrap().is_empty();
        trials.iter().all(trusted).then_some((capacity, ended))
    });
    let Some((capacity, ended)) = found else {
        writeln!(io::stderr().lock(), "this machine is too busy: in four searches no trial could be trusted")
            .unwrap();
        return;
    };
    let goal = &capacity["goals"][0];
    assert_eq!((goal["lower"].as_f64(), goal["upper"].as_f64()), (Some(12.0), Some(13.0)), "{goal:#}");
    assert_eq!(goal["status"], "found", "{}", ended.said);
    assert!(goal["bound_by"].as_str().unwrap().contains("421 too-many-connections-from-host"), "{goal:#}");
}
