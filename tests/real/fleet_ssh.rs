//! `smtpress fleet run --ssh` with a real sshd: agents are started, run, and leave nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::fleet_access::{nats_server, said, smtpress};
use crate::listener::wait_until;
use crate::sshd::Sshd;

/// Returns the command of a run on these hosts.
fn run(sshd: &Sshd, hosts: &str, more: &[&str]) -> Command {
    let mut command = smtpress(
        sshd.folder.path(),
        &["fleet", "run", "--target", "embedded", "--progress", "none", "--json", "-"],
    );
    command.args(["--max-start-skew", "1s", "--out", "run", "--overwrite", "--ssh", hosts]).args(more);
    sshd.with_ssh(&mut command);
    command
}

/// Checks that a run left nothing on either side.
#[track_caller]
fn nothing_is_left(sshd: &Sshd) {
    assert!(wait_until(|| sshd.leftovers().is_empty()), "{:?}", sshd.leftovers());
    assert!(wait_until(|| sshd.temporary().is_empty()), "{:?}", sshd.temporary());
}

#[track_caller]
fn refused(sshd: &Sshd, output: &Output, words: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    words.iter().for_each(|word| assert!(said.contains(word), "{word:?}: {said}"));
    assert!(!sshd.folder.path().join("run/result.json").exists(), "{said}");
    nothing_is_left(sshd);
}

fn result(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(output)))
}

#[test]
fn three_hosts_run_a_profile_the_program_is_copied_once_and_nothing_is_left() {
    let (Some(_), Some(sshd)) = (nats_server(), Sshd::start()) else { return };
    // On a busy machine a run may be invalid. Then it is started again. Without a schedule no arrival is late.
    let first = (0..4).map(|_| run(&sshd, "load1,load2,load3", &["-n", "120", "-c", "6"]).output().unwrap());
    let first = { first }.find(|run| run.status.code() != Some(98)).expect("one of four runs is valid");
    assert_eq!(first.status.code(), Some(0), "{}", said(&first));
    let result = result(&first);
    let names: Vec<&str> =
        result["agents"].as_array().unwrap().iter().map(|agent| agent["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["load1", "load2", "load3"]);
    nothing_is_left(&sshd);
    let copies = sshd.copies();
    assert_eq!(copies.len(), 1, "{copies:?}");
    assert_eq!(fs::read(&copies[0]).unwrap(), fs::read(env!("CARGO_BIN_EXE_smtpress")).unwrap());
    let made = fs::metadata(&copies[0]).unwrap().modified().unwrap();
    // The second run uses the copied program, even with --no-copy.
    let second = run(&sshd, "load1,load2", &["-n", "40", "--no-copy"]).output().unwrap();
    assert!(matches!(second.status.code(), Some(0 | 98)), "{}", said(&second));
    assert_eq!(fs::metadata(&sshd.copies()[0]).unwrap().modified().unwrap(), made);
    nothing_is_left(&sshd);
}

#[test]
fn a_host_that_cannot_be_reached_is_named_with_what_ssh_said_and_no_load_runs() {
    let (Some(_), Some(sshd)) = (nats_server(), Sshd::start()) else { return };
    let output = run(&sshd, "load1,refused", &["-n", "40"]).output().unwrap();
    refused(&sshd, &output, &["no agent on refused: ", "Permission denied"]);
    let output = run(&sshd, "closed,load1", &["-n", "40"]).output().unwrap();
    refused(&sshd, &output, &["no agent on closed: ", "onnection refused"]);
    // The host key differs from the known one.
    let known = sshd.folder.path().join("known");
    let other = fs::read_to_string(sshd.folder.path().join("other.pub")).unwrap();
    let right = fs::read_to_string(&known).unwrap();
    fs::write(&known, format!("[127.0.0.1]:{} {other}", sshd.port)).unwrap();
    let output = run(&sshd, "load2", &["-n", "40"]).output().unwrap();
    refused(&sshd, &output, &["no agent on load2: ", "Host key verification failed"]);
    fs::write(&known, right).unwrap();
    let output = run(&sshd, "-oProxyCommand=x", &["-n", "40"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
}

#[test]
fn a_program_that_is_missing_or_another_is_named_where_it_may_not_be_copied() {
    let (Some(_), Some(sshd)) = (nats_server(), Sshd::start()) else { return };
    let output = run(&sshd, "load1", &["-n", "40", "--no-copy"]).output().unwrap();
    refused(&sshd, &output, &["no agent on load1: smtpress is not installed there", "--no-copy"]);
    assert_eq!(sshd.copies().len(), 0);
    // There is an older smtpress on the host's PATH.
    let programs = sshd.folder.path().join("programs");
    fs::create_dir(&programs).unwrap();
    let older = programs.join("smtpress");
    fs::write(&older, "#!/bin/sh\necho smtpress 0.0.1\n").unwrap();
    fs::set_permissions(&older, fs::Permissions::from_mode(0o755)).unwrap();
    sshd.put_on_path(&programs);
    let output = run(&sshd, "load1", &["-n", "40", "--no-copy"]).output().unwrap();
    refused(&sshd, &output, &["no agent on load1: ", "is smtpress 0.0.1, this is smtpress"]);
}

#[test]
fn an_ssh_that_is_killed_in_mid_run_makes_it_invalid_and_names_its_agent() {
    let (Some(_), Some(sshd)) = (nats_server(), Sshd::start()) else { return };
    let mut command = run(&sshd, "load1,load2,load3", &["-r", "30/s", "-z", "20s"]);
    let running = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let files =
        || fs::read_dir(sshd.folder.path()).unwrap().flatten().any(|entry| entry.file_name() == "run");
    assert!(wait_until(|| files() && sshd.ssh_of("load2").is_some()));
    std::thread::sleep(std::time::Duration::from_secs(4));
    let process = sshd.ssh_of("load2").unwrap().to_string();
    let killed = Command::new("sh").args(["-c", "kill -9 \"$0\"", &process]).status().unwrap();
    assert!(killed.success());
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(98), "{}", said(&output));
    let validity = &result(&output)["validity"];
    assert!(validity["reasons"].to_string().contains("agent-lost"), "{validity:#}");
    assert!(validity["explanations"].to_string().contains("load2"), "{validity:#}");
    let said = said(&output);
    let lost: Vec<&str> = said.lines().filter(|line| line.contains(" is lost: ")).collect();
    assert!(lost.len() == 1 && lost[0].contains("agent load2 ("), "{lost:?}");
    nothing_is_left(&sshd);
}
