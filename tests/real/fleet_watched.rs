//! The progress of a fleet: its metrics, its live page and its lines show the run and each agent.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::fleet::{Fleet, number, signal_to};
use crate::fleet_access::{nats_server, smtpress};
use crate::listener::{self, wait_until};

/// The body of the answer at a path of a loopback port; empty: there is no answer.
fn get(port: u16, path: &str) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok();
        stream.read_to_string(&mut answer).ok();
    }
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

/// The values of a series in Prometheus' text, with its labels.
fn values(text: &str, name: &str) -> Vec<(String, f64)> {
    let line = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        let (own, labels) = series.split_once('{').unwrap_or((series, ""));
        (own == name).then(|| (labels.trim_end_matches('}').to_owned(), value.parse().unwrap()))
    };
    text.lines().filter_map(line).collect()
}

fn sum(text: &str, name: &str) -> f64 {
    values(text, name).iter().map(|(_, value)| value).sum()
}

#[test]
fn metrics_and_page_show_each_agent_beside_the_whole() {
    let (metrics, page) = (listener::free_port(), listener::free_port());
    let flags = format!(
        "--target embedded -r 60/s -z 5s --prometheus 127.0.0.1:{metrics} --linger 30s --dashboard 127.0.0.1:{page}"
    );
    let Some(fleet) = Fleet::local(3, &flags) else { return };
    let mut text = String::new();
    let scrape = |text: &mut String| *text = get(metrics, "/metrics");
    let counts = [
        ("smtpress_agent_arrivals_scheduled_total", "smtpress_arrivals_scheduled_total"),
        ("smtpress_agent_arrivals_started_total", "smtpress_arrivals_started_total"),
    ];
    assert!(wait_until(|| {
        scrape(&mut text);
        sum(&text, counts[0].1) > 100.0
    }));
    for agent in ["agent=\"local-0\"", "agent=\"local-1\"", "agent=\"local-2\""] {
        let own = values(&text, counts[0].0).into_iter().find(|(labels, _)| labels == agent);
        assert!(own.is_some_and(|(_, value)| value > 20.0), "{agent}: {text}");
    }
    // The sums are equal in each second.
    for (of_agents, whole) in counts {
        assert_eq!(sum(&text, of_agents), sum(&text, whole), "{text}");
    }
    assert!(values(&text, "smtpress_arrivals_scheduled_total").len() == 1, "the merged series stay one");
    let live = get(page, "/");
    for word in ["local-0", "local-2", "running"] {
        assert!(live.contains(word), "{word} is not on the page");
    }
    assert!(wait_until(|| {
        scrape(&mut text);
        sum(&text, "smtpress_run_over") == 1.0
    }));
    let ended = fleet.wait();
    assert_eq!(sum(&text, counts[0].0) as u64, ended.count("scheduled"), "{}", ended.said);
    for agent in ended.result()["agents"].as_array().unwrap() {
        let label = format!("agent=\"{}\"", agent["name"].as_str().unwrap());
        let accepted = values(&text, "smtpress_agent_arrivals_accepted_total");
        let own = accepted.iter().find(|(labels, _)| *labels == label).unwrap().1;
        assert_eq!(own as u64, number(agent, "accepted"), "{label}");
    }
}

#[test]
fn the_log_shows_each_agent_and_names_the_one_that_is_lost() {
    if nats_server().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let stderr = folder.path().join("stderr");
    let mut run =
        smtpress(folder.path(), &["fleet", "run", "--target", "embedded", "-r", "40/s", "-z", "60s"]);
    run.args(["--local", "2", "--progress", "log", "--out", "run"]).env("TMPDIR", folder.path());
    run.stdout(Stdio::null()).stderr(fs::File::create(&stderr).unwrap());
    let mut child = run.spawn().unwrap();
    let said_so_far = || fs::read_to_string(&stderr).unwrap();
    let is_shown =
        |word: &str| said_so_far().lines().any(|line| line.contains("agents") && line.contains(word));
    let shown = wait_until(|| is_shown("local-0: started 20") && is_shown("local-1: started 20"));
    // The second agent.
    let mut agents = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let parent = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = parent.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
        if words.windows(7).any(|part| part == b"\0agent\0") && parent == Some(child.id()) {
            agents.push(entry.file_name().to_str().unwrap().parse::<i32>().unwrap());
        }
    }
    agents.sort_unstable();
    if let Some(pid) = agents.last() {
        signal_to(*pid, Signal::SIGKILL);
    }
    let status = child.wait().unwrap();
    assert!(shown && agents.len() == 2, "{agents:?}: {}", said_so_far());
    assert_eq!(status.code(), Some(98), "{}", said_so_far());
}
