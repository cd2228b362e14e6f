//! Agents, coordinators and nats-servers that end or stall: a run that lost something never passes.

use std::fs;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::draw::Draw;
use crate::fleet::{Ended, Fleet, Member, signal_to};
use crate::listener::wait_until;

/// A long load on a listener with a delay.
const LOAD: &str = "--target embedded -r 60/s -z 8s --set listener.delays.body=50ms";

/// Starts a run of three agents, and waits until its load has run for this many seconds.
fn loading(flags: &str, seconds: usize) -> Option<Fleet> {
    let fleet = Fleet::local(3, flags)?;
    fleet.await_seconds(seconds);
    Some(fleet)
}

/// Checks the end of a run with a fault that may have lost nothing: it passes only if nothing is missing.
#[track_caller]
fn assert_no_false_pass(ended: &Ended) {
    if let 1..=4 = ended.code {
        assert_eq!(ended.code, 3, "{}", ended.said);
        assert!(ended.result.is_none(), "{}", ended.said);
        return;
    }
    assert!([0, 98, 99, 105].contains(&ended.code), "{}: {}", ended.code, ended.said);
    ended.assert_adds_up();
    if ended.code == 0 {
        assert!(ended.lost().is_empty(), "{}", ended.said);
        assert_eq!(ended.count("scheduled"), ended.count("accepted"), "{}", ended.said);
        assert_eq!(ended.result()["ledger"]["messages"].as_u64(), Some(ended.count("accepted")));
    }
}

#[test]
fn an_agent_that_is_killed_before_the_load_ends_the_run_before_it() {
    let Some(fleet) = Fleet::local(3, LOAD) else { return };
    let agents = fleet.await_pids(Member::Agent, 3);
    signal_to(agents[1], Signal::SIGKILL);
    let ended = fleet.wait();
    assert_no_false_pass(&ended);
    assert_ne!(ended.code, 0, "{}", ended.said);
    if ended.code == 3 {
        assert!(ended.said.contains("2 of 3 agents are ready") || ended.said.contains("no load was started"));
    }
}

#[test]
fn an_agent_that_is_killed_between_the_start_and_the_first_second_is_named() {
    let Some(fleet) = Fleet::local(3, LOAD) else { return };
    // The run directory is made when all agents are there. Then they get the start time.
    assert!(wait_until(|| fleet.said().contains("files in run")), "{}", fleet.said());
    thread::sleep(Duration::from_millis(700));
    signal_to(fleet.pids(Member::Agent)[2], Signal::SIGKILL);
    let ended = fleet.wait();
    assert_no_false_pass(&ended);
    match ended.code {
        3 => assert!(ended.said.contains("no load was started: agent local-2"), "{}", ended.said),
        _ => ended.assert_invalid_by(1),
    }
}

#[test]
fn an_agent_that_is_killed_in_the_load_is_named_and_the_others_drain() {
    let Some(fleet) = loading(LOAD, 2) else { return };
    signal_to(fleet.pids(Member::Agent)[0], Signal::SIGKILL);
    assert!(wait_until(|| fleet.said().contains("is lost")), "{}", fleet.said());
    let ended = fleet.wait();
    ended.assert_invalid_by(1);
    // An agent sends a heartbeat each second, and is lost after three seconds of silence.
    let silent =
        ended.said.split("sent no message for ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert!((3.0..5.0).contains(&silent.parse::<f64>().unwrap()), "{silent} s: {}", ended.said);
    assert!(ended.count("scheduled") < 480, "the others go on: {}", ended.count("scheduled"));
    // The counts of the two others are in the result.
    assert!(ended.count("accepted") >= 60, "{}", ended.count("accepted"));
    assert!(!ended.reasons().contains(&"counts".to_owned()), "{}", ended.said);
}

#[test]
fn an_agent_that_is_killed_while_it_drains_is_named() {
    let flags =
        "--target embedded -r 20/s -z 3s --set listener.delays.body=6s --set phase.load.max_sessions=300";
    let Some(fleet) = loading(flags, 3) else { return };
    signal_to(fleet.pids(Member::Agent)[1], Signal::SIGKILL);
    fleet.wait().assert_invalid_by(1);
}

#[test]
fn a_server_that_is_killed_loses_all_agents_and_nothing_is_left() {
    let Some(fleet) = loading(LOAD, 2) else { return };
    signal_to(fleet.pids(Member::Server)[0], Signal::SIGKILL);
    fleet.wait().assert_invalid_by(3);
}

#[test]
fn what_stands_still_for_a_moment_loses_nothing_and_what_stands_still_for_long_is_lost() {
    for (member, seconds, lost) in [
        (Member::Agent, 1, Some(0)),
        (Member::Agent, 5, Some(1)),
        (Member::Server, 2, None),
        (Member::Server, 7, Some(3)),
        // A coordinator that stalled reports no agent as lost.
        (Member::Coordinator, 5, Some(0)),
    ] {
        let Some(fleet) = loading(LOAD, 2) else { return };
        let pid = fleet.pids(member)[0];
        signal_to(pid, Signal::SIGSTOP);
        thread::sleep(Duration::from_secs(seconds));
        signal_to(pid, Signal::SIGCONT);
        let ended = fleet.wait();
        assert_no_false_pass(&ended);
        match lost {
            Some(0) => {
                assert!(ended.lost().is_empty(), "{member:?} for {seconds} s: {}", ended.said);
                assert_eq!(ended.count("scheduled"), 480, "{member:?} for {seconds} s: {}", ended.said);
            }
            Some(lost) => ended.assert_invalid_by(lost),
            None => {}
        }
    }
}

#[test]
fn a_server_that_never_goes_on_is_ended_all_the_same() {
    let Some(fleet) = loading(LOAD, 1) else { return };
    signal_to(fleet.pids(Member::Server)[0], Signal::SIGSTOP);
    fleet.wait().assert_invalid_by(3);
}

#[test]
fn ctrl_c_drains_all_agents_and_leaves_nothing() {
    // A terminal sends the signal to all processes of its foreground group.
    let Some(fleet) = loading(LOAD, 2) else { return };
    fleet.signal_group(Signal::SIGINT);
    let ended = fleet.wait();
    assert!([98, 105].contains(&ended.code), "{}: {}", ended.code, ended.said);
    assert!(ended.lost().is_empty(), "{}", ended.said);
    assert_eq!(ended.count("started"), ended.count("accepted"), "what was under way ends: {}", ended.said);
    ended.assert_adds_up();
}

#[test]
fn ctrl_c_before_the_load_starts_none() {
    let Some(fleet) = Fleet::local(3, LOAD) else { return };
    fleet.await_pids(Member::Agent, 3);
    fleet.signal_group(Signal::SIGINT);
    let ended = fleet.wait();
    assert!([3, 98, 105].contains(&ended.code), "{}: {}", ended.code, ended.said);
    if ended.result.is_some() {
        assert!(ended.count("accepted") < 60, "{}", ended.said);
    }
}

#[test]
fn a_second_ctrl_c_stops_at_once() {
    let flags =
        "--target embedded -r 20/s -z 30s --set listener.delays.body=20s --set phase.load.max_sessions=900";
    let Some(fleet) = loading(flags, 2) else { return };
    fleet.signal_group(Signal::SIGINT);
    thread::sleep(Duration::from_millis(500));
    fleet.signal_group(Signal::SIGINT);
    let ended = fleet.wait();
    assert!([98, 105].contains(&ended.code), "{}: {}", ended.code, ended.said);
    assert!(ended.lost().is_empty(), "{}", ended.said);
    assert!(ended.count("interrupted") + ended.count("in_doubt") > 0, "{:?}", ended.counts());
    ended.assert_adds_up();
}

#[test]
fn a_coordinator_that_is_killed_leaves_no_process_and_no_load() {
    let Some(fleet) = loading(LOAD, 1) else { return };
    fleet.signal(Signal::SIGKILL);
    assert!(wait_until(|| fleet.pids(Member::Coordinator).is_empty()));
    // The end of the coordinator closes the standard input of all others, which then end by themselves.
    fleet.assert_nothing_is_left();
}

#[test]
fn a_small_disk_for_temporary_files_is_enough() {
    let Some(server) = crate::fleet_access::nats_server() else { return };
    let words = format!("fleet run {LOAD} --local 2 --nats-server {}", server.display());
    let mut place = None;
    let fleet = Fleet::start(&words, |command| {
        let small = tempfile::tempdir().unwrap();
        let made = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"])
            .arg(small.path())
            .status();
        if made.is_ok_and(|status| status.success()) {
            command.env("TMPDIR", small.path());
            place = Some(small);
        }
    });
    let ended = fleet.wait();
    if let Some(small) = place {
        let left: Vec<_> = fs::read_dir(small.path()).unwrap().flatten().collect();
        std::process::Command::new("umount").arg("-l").arg(small.path()).status().unwrap();
        assert!(left.is_empty(), "{left:?}");
    }
    assert!([0, 98].contains(&ended.code), "{}", ended.said);
    assert_eq!(ended.count("accepted"), 480, "{}", ended.said);
}

/// A fault of a fleet.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill(Member, usize),
    Stop(Member, usize, u64),
    Interrupt,
    None,
}

fn drawn(draw: &mut Draw) -> Fault {
    let agent = draw.any(0, 2) as usize;
    match draw.any(0, 9) {
        0..=2 => Fault::Kill(Member::Agent, agent),
        3 => Fault::Kill(Member::Server, 0),
        4 => Fault::Kill(Member::Coordinator, 0),
        5..=6 => Fault::Stop(Member::Agent, agent, draw.any(200, 6000)),
        7 => Fault::Stop(Member::Server, 0, draw.any(200, 6000)),
        8 => Fault::Interrupt,
        _ => Fault::None,
    }
}

/// Runs a fleet with one fault, which starts this long after the start.
fn suffer(fault: Fault, after: Duration) -> Option<&'static str> {
    let fleet = Fleet::local(3, "--target embedded -r 60/s -z 4s --set listener.delays.body=30ms")?;
    thread::sleep(after);
    let pid = |member, index: usize| fleet.pids(member).get(index).copied();
    match fault {
        Fault::Kill(member, index) => {
            if let Some(pid) = pid(member, index) {
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).ok();
            }
        }
        Fault::Stop(member, index, ms) => {
            if let Some(pid) = pid(member, index) {
                let pid = nix::unistd::Pid::from_raw(pid);
                nix::sys::signal::kill(pid, Signal::SIGSTOP).ok();
                thread::sleep(Duration::from_millis(ms));
                nix::sys::signal::kill(pid, Signal::SIGCONT).ok();
            }
        }
        Fault::Interrupt => {
            if pid(Member::Coordinator, 0).is_some() {
                fleet.signal_group(Signal::SIGINT);
            }
        }
        Fault::None => {}
    }
    let ended = fleet.wait();
    if ended.code == -1 {
        assert!(matches!(fault, Fault::Kill(Member::Coordinator, _) | Fault::Interrupt), "{}", ended.said);
        return Some("ended by the signal");
    }
    assert_no_false_pass(&ended);
    if ended.code == 0 {
        // Three agents share 60 a second for four seconds.
        assert_eq!(ended.count("accepted"), 240, "{fault:?}: {}", ended.said);
    }
    Some(match ended.code {
        0 => "passed",
        3 => "no load",
        98 if !ended.lost().is_empty() => "invalid: lost",
        98 => "invalid: busy",
        _ => "interrupted",
    })
}

fn suffer_many(count: usize) {
    let mut draw = Draw::new();
    let mut ends = std::collections::BTreeMap::<&str, usize>::new();
    for _ in 0..count {
        let (fault, after) = (drawn(&mut draw), Duration::from_millis(draw.any(0, 8000)));
        let Some(end) = suffer(fault, after) else { return };
        *ends.entry(end).or_default() += 1;
    }
    // Written directly, because the test harness captures the output of `eprintln!`.
    std::io::Write::write_fmt(&mut std::io::stderr().lock(), format_args!("{count} faults: {ends:?}\n"))
        .unwrap();
}

#[test]
fn no_drawn_fault_is_called_a_pass() {
    suffer_many(5);
}

#[test]
#[ignore = "forty minutes"]
fn no_drawn_fault_of_two_hundred_is_called_a_pass() {
    suffer_many(200);
}
