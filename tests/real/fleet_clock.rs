//! The start times of the agents of a fleet, as the listener sees them. Wrong clocks do not change them.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use serde_json::Value;
use smtpress::generator::clock;

use crate::fleet::Ended;
use crate::fleet_network::{AGENTS, LISTENER, Network, address, assert_whole};
use crate::listener;

/// The port of the listener of these tests, on the listener's machine.
const PORT: u16 = 2526;
/// The arrivals a second. Arrival k is scheduled k/RATE after the start, and belongs to agent k mod 3.
const RATE: f64 = 60.0;

/// A session: the address of its client, and the time at which it was accepted.
type Opened = (IpAddr, std::time::Instant);

/// Accepts sessions on the listener's machine, and answers every command with 250 or 354. Returns a channel of the
/// sessions that started a message.
fn listen(network: &Network) -> mpsc::Receiver<Opened> {
    let space = fs::File::open(format!("/run/netns/{}", network.space(LISTENER))).unwrap();
    let at: SocketAddr = format!("{}:{PORT}", address(LISTENER)).parse().unwrap();
    let (ready, is_ready) = mpsc::channel();
    let (started, opened) = mpsc::channel();
    thread::spawn(move || {
        // This changes the namespace of this thread only.
        setns(space, CloneFlags::CLONE_NEWNET).unwrap();
        let listener = TcpListener::bind(at).unwrap();
        ready.send(()).unwrap();
        for session in listener.incoming() {
            let accepted = clock::now();
            let started = started.clone();
            thread::spawn(move || serve(&session.unwrap(), accepted, &started).ok());
        }
    });
    is_ready.recv().unwrap();
    opened
}

fn serve(
    session: &TcpStream,
    accepted: std::time::Instant,
    started: &mpsc::Sender<Opened>,
) -> io::Result<()> {
    let (peer, mut replies) = (session.peer_addr()?.ip(), session.try_clone()?);
    replies.write_all(b"220 ready\r\n")?;
    let mut is_content = false;
    for line in BufReader::new(session).lines() {
        let line = line?;
        if is_content && line != "." {
            continue;
        }
        if line.starts_with("MAIL") {
            started.send((peer, accepted)).ok();
        }
        is_content = line == "DATA";
        replies.write_all(if is_content { b"354 go on\r\n" } else { b"250 ok\r\n" })?;
    }
    Ok(())
}

/// The largest difference between the starts of the agents, by their first sessions.
fn apart(opened: &mpsc::Receiver<Opened>) -> Duration {
    let opened: Vec<Opened> = opened.try_iter().collect();
    let begins = AGENTS.iter().zip(0_u32..).map(|(host, index)| {
        let own: IpAddr = address(*host).parse().unwrap();
        let first = opened.iter().filter(|(peer, _)| *peer == own).map(|(_, at)| *at).min().unwrap();
        first - Duration::from_secs_f64(f64::from(index) / RATE)
    });
    let begins: Vec<_> = begins.collect();
    *begins.iter().max().unwrap() - *begins.iter().min().unwrap()
}

/// The sum of the two greatest printed bounds of an agent's start: the largest possible difference of two starts.
fn printed_bound(ended: &Ended) -> Duration {
    let agents = ended.result()["agents"].as_array().unwrap();
    let mut bounds: Vec<f64> =
        agents.iter().filter_map(|agent: &Value| agent["skew_bound_s"].as_f64()).collect();
    bounds.sort_by(f64::total_cmp);
    Duration::from_secs_f64(bounds.iter().rev().take(2).sum())
}

/// The differences between the starts of the agents in this number of runs, with the printed bound and the exit code.
fn starts(network: &Network, runs: usize) -> Vec<(Duration, Duration, i32)> {
    let opened = listen(network);
    let mut starts = Vec::new();
    for _ in 0..runs {
        let (run, _) = network.run_against(PORT, &format!("-r {RATE}/s -z 2s --messages-per-session 1"));
        let ended = network.end(run);
        assert_whole(&ended, 120);
        starts.push((apart(&opened), printed_bound(&ended), ended.code));
    }
    starts
}

/// The allowed lateness of the listener's thread on a busy machine, which is no lateness of the agents.
const SEEN_LATE: Duration = Duration::from_millis(50);

#[track_caller]
fn assert_together(starts: &[(Duration, Duration, i32)]) {
    for (apart, bound, _) in starts {
        assert!(*apart <= *bound + SEEN_LATE, "{apart:?} apart, {bound:?} printed: {starts:?}");
    }
}

#[test]
fn agents_begin_together_within_the_printed_bound() {
    let Some(network) = Network::start() else { return };
    assert_together(&starts(&network, 2));
}

#[test]
#[ignore = "two minutes, and a quiet machine: figures for the documentation"]
fn agents_of_twenty_runs_begin_within_five_milliseconds() {
    let Some(network) = Network::start() else { return };
    let starts = starts(&network, 20);
    let mut out = io::stderr().lock();
    for (apart, bound, code) in &starts {
        writeln!(
            out,
            "{:.2} ms apart, {:.2} ms printed, exit code {code}",
            apart.as_secs_f64() * 1e3,
            bound.as_secs_f64() * 1e3
        )
        .unwrap();
    }
    assert_together(&starts);
    // A run that a busy machine delays is invalid, and shows nothing about the start.
    let valid: Vec<_> = starts.iter().filter(|(.., code)| *code == 0).collect();
    assert!(valid.len() >= 10, "{starts:?}");
    for (apart, ..) in valid {
        assert!(*apart < Duration::from_millis(5), "{starts:?}");
    }
}

/// One agent has a monotonic clock that is an hour ahead, and another one a wall clock that is an hour fast.
#[test]
fn clocks_that_are_an_hour_off_change_nothing() {
    let own =
        Command::new("unshare").args(["-T", "--monotonic", "3600", "--boottime", "3600", "true"]).status();
    if !own.is_ok_and(|status| status.success()) {
        listener::missing::<()>("no time namespace can be made");
        return;
    }
    let library = listener::program(&["/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"])
        .or_else(|| listener::missing("no libfaketime"));
    let Some(library) = library else { return };
    let network = Network::with_agents(|host, mut command| match host {
        host if host == AGENTS[0] => {
            let mut ahead = Command::new("unshare");
            ahead.args(["-T", "--monotonic", "3600", "--boottime", "3600"]).arg(command.get_program());
            ahead.args(command.get_args());
            if let Some(folder) = command.get_current_dir() {
                ahead.current_dir(folder);
            }
            ahead
        }
        host if host == AGENTS[1] => {
            command
                .env("LD_PRELOAD", &library)
                .env("FAKETIME", "+1h")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
            command
        }
        _ => command,
    });
    let Some(network) = network else { return };
    assert_together(&starts(&network, 2));
}
