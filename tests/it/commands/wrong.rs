//! Wrong input: a clear sentence with place and remedy, the right exit code, nothing sent, and no partial files.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::stage::{Listening, SMALL, Stage};

/// Runs a command that must be refused. Checks the exit code, all parts of the sentence, and that no file is new.
#[track_caller]
fn refused(stage: &Stage, arguments: &[&str], code: i32, parts: &[&str]) {
    let before = stage.list("");
    let said = stage.run(arguments);
    let text = &said.err;
    for part in parts {
        assert!(text.contains(part), "{arguments:?}: no {part:?} in\n{text}");
    }
    assert_eq!((said.code, said.out.as_str()), (Some(code), ""), "{arguments:?}\n{text}");
    assert_eq!(stage.list(""), before, "{arguments:?}");
}

#[test]
fn profiles_that_are_none() {
    let stage = Stage::new();
    let with = |name: &str, from: &str, to: &str| stage.put(name, SMALL.replace(from, to));
    with("key.toml", "rate =", "rat =");
    with("unit.toml", "50/s", "50 apples");
    with("negative.toml", "50/s", "-5/s");
    with("huge.toml", "\"50/s\"", "\"99999999999999999999999/s\"");
    with("zero.toml", "for = \"1s\"", "for = \"0s\"");
    with("tls.toml", "[target]", "[target]\ntls = \"starttls\"\ntls_options = { ca = \"no.pem\" }");
    with("auth.toml", "[target]", "[session]\nauth = { mechanism = \"plain\" }\n[target]");
    with("warm.toml", "[[phase]]", "[[phase]]\nwarmup = true");
    stage.put("latin.toml", b"schema = 1\nname = \"caf\xe9\"\n");
    stage.put("toml.toml", "schema = 1\n[[[\n");
    for (name, parts) in [
        ("key.toml", &["unknown key `rat`", "key.toml:9:1", "^^^", "did you mean `rate`?"][..]),
        ("unit.toml", &["50 apples", "unit.toml:9:8", "^^^^^^^^^^^", "\"50/s\""]),
        ("negative.toml", &["negative", "negative.toml:9:8"]),
        ("huge.toml", &["huge.toml:9:8", "help"]),
        ("zero.toml", &["zero.toml:10:7", "help"]),
        ("tls.toml", &["failed to read no.pem", "tls.toml:6:22", "named from the directory"]),
        ("auth.toml", &["would go out in clear text", "auth.toml:5:8", "allow_clear_text = true"]),
        ("warm.toml", &["every phase is a warm-up", "warm.toml"]),
        ("latin.toml", &["latin.toml:2:12", "not UTF-8", "save the profile as UTF-8"]),
        ("toml.toml", &["not valid TOML", "toml.toml:2"]),
        ("missing.toml", &["missing.toml", "No such file", "give the path"]),
        (".", &["Is a directory", "give the path"]),
    ] {
        refused(&stage, &["run", name], 2, parts);
        refused(&stage, &["check", name], 2, parts);
    }
}

#[test]
fn flags_that_make_no_sense() {
    let stage = Stage::new();
    for (arguments, parts) in [
        ("run -c 5", &["no target", "--target"][..]),
        (
            "run 127.0.0.1:25",
            &["failed to read the profile", "a listener is given with --target 127.0.0.1:25"],
        ),
        ("run embedded -n 5", &["a listener is given with --target embedded"]),
        ("run --target smtp://127.0.0.1", &["no port", "^^^", "smtp://127.0.0.1:25"]),
        ("run --target http://127.0.0.1:25", &["is no target", "smtp://host:port"]),
        ("run --target embedded -r 5/s -n 10", &["--rate and --messages", "--for"]),
        ("run --target embedded -c 99999999999999999999", &["--sessions", "^^^", "whole number"]),
        ("run --target embedded -c -1", &["-1"]),
        ("run --target embedded -n 1e99", &["--messages 1e99", "whole number"]),
        ("run --target embedded --size 5apples", &["--size 5apples", "^"]),
        ("run small.toml --shard 2/2", &["\"2/2\" is no shard", "--shard 0/4"]),
        ("run small.toml --shard 1", &["is no shard"]),
        (
            "run small.toml --shard env",
            &["SLURM_PROCID and SLURM_NTASKS", "JOB_COMPLETION_INDEX", "--shard I/N"],
        ),
        ("run --target embedded -c 2 -n 9 --shard 0/3", &["3 shards cannot share 2 sessions"]),
        ("run small.toml --set rate", &["--set without a value", "--set key=value"]),
        ("run small.toml --set phase.steady.rtae=5/s", &["unknown key `rtae`", "did you mean `rate`?"]),
        ("run small.toml --set phase.sted.rate=5/s", &["sted", "steady"]),
        ("run small.toml --assert p99<<5", &["unknown operator `<<`", "^^", "response p99 < 800ms"]),
        ("run small.toml --assert p99<5parsec", &["^^^", "a time in"]),
        ("run small.toml --tls startls", &["`startls`", "did you mean `starttls`?"]),
        ("trace embedded --ca no.pem", &["TLS has details here and is not asked for", "tls = \"starttls\""]),
        ("run small.toml --junit - --json -", &["--json - and --junit - both want stdout"]),
        ("run small.toml --start-at tomorrow", &["\"tomorrow\" is no time", "2026-01-31T12:00:00Z"]),
        ("run small.toml -n 5", &["no use", "--messages", "--set"]),
        (
            "limit small.toml --set limits.rate-limited=59/h",
            &[
                "`rate-limited` is a number in a minute, and this is less than one",
                "write at least \"1/min\"",
            ],
        ),
        (
            "run small.toml --set phase.steady.load=held-sessions --set phase.steady.sessions=60",
            &["60 sessions at 50/s take 1s200ms, and the phase lasts 1s", "at most 50 `sessions`"],
        ),
        ("listen --bind 127.0.0.1:0 -z soon", &["\"soon\" is no length of time", "30s"]),
        ("trace embedded --timeout soon", &["soon", "^^^^"]),
        ("trace embedded --recipients 0", &["--recipients 0"]),
        ("trace smtp://127.0.0.1", &["no port"]),
        ("report missing", &["failed to read missing", "give the directory of a run"]),
        ("report .", &["result.json", "give the directory of a run"]),
    ] {
        let parts: Vec<&str> =
            parts.iter().map(|part| if *part == "no use" { "has a use for" } else { part }).collect();
        refused(&stage, &arguments.split(' ').collect::<Vec<_>>(), 2, &parts);
    }
}

#[test]
fn targets_that_may_not_or_cannot_be_loaded() {
    let stage = Stage::new();
    let gone = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap().local_addr().unwrap();
    let gone = format!("smtp://{gone}");
    for (target, parts) in [
        (
            gone.as_str(),
            &["cannot be reached (connect-refused)", "the connection was refused", "start the listener"][..],
        ),
        (
            "smtp://192.0.2.1:25",
            &["192.0.2.1 is not on this machine's loopback", "consent", "--allow-target 192.0.2.1"],
        ),
        ("smtp://no-such-host.invalid:25", &["no-such-host.invalid", "does not resolve (name-not-resolved)"]),
    ] {
        refused(&stage, &["run", "--target", target, "-z", "1s"], 3, parts);
    }
    // A search and a profile with TLS also notice it with their first session, and leave no files.
    let search = ["capacity", "--target", &gone, "--goal", "p50 < 10s", "--set", "capacity.start=5/s"];
    refused(&stage, &search, 3, &["cannot be reached", "start the listener"]);
    let secured = ["run", "--target", &gone, "-n", "5", "--set", "target.tls=starttls", "-o", "r"];
    refused(&stage, &secured, 3, &["cannot be reached"]);
    refused(&stage, &["trace", "smtp://192.0.2.1:25"], 3, &["--allow-target 192.0.2.1"]);
    refused(
        &stage,
        &["run", "--target", "embedded", "-c", "999999999"],
        3,
        &["file descriptors", "fewer sessions"],
    );
}

#[test]
fn nothing_is_sent_when_the_place_of_the_result_is_wrong() {
    let stage = Stage::new();
    let listener = Listening::with(&stage, &[]);
    let url = listener.url();
    stage.put("file", "mine");
    let run =
        |more: &[&'static str]| -> Vec<&str> { [&["run", "--target", &url, "-n", "1"][..], more].concat() };
    refused(
        &stage,
        &run(&["--json", "no/such/x.json"]),
        3,
        &["no/such/x.json", "no such directory", "another file"],
    );
    refused(&stage, &run(&["--json", "."]), 3, &["is a directory"]);
    refused(&stage, &run(&["--out", "file"]), 3, &["a file of that name", "--out"]);
    refused(&stage, &run(&["--out", "/proc/none/r"]), 3, &["/proc/none/r", "--out"]);
    assert_eq!(stage.read("file"), "mine");
    let ledger = listener.ledger();
    assert_eq!((&ledger["messages"], &ledger["received_bytes"]), (&0.into(), &0.into()));
}

#[test]
fn a_device_for_the_result_is_written_to_and_never_replaced() {
    let stage = Stage::new();
    let said = stage.run(&["run", "few.toml", "-o", "r", "--json", "/dev/full"]).ended(1);
    assert!(said.err.contains("failed to write /dev/full"), "{}", said.err);
    assert!(said.out.starts_with("PASS"), "the report is shown all the same");
    assert!(stage.path("r/result.json").is_file());
    stage.run(&["run", "few.toml", "-q", "-o", "s", "--json", "/dev/null"]).ended(0);
    for device in ["/dev/full", "/dev/null"] {
        assert!(!fs::metadata(device).unwrap().is_file(), "{device} was replaced");
    }
    let said = stage.run(&["run", "few.toml", "-q", "-o", "t", "--json", "/dev/stdout"]).ended(0);
    assert_eq!(said.json()["phases"][0]["accepted"], 50);
}

/// A file system of this small size; `None`, with a printed message, if none can be mounted.
struct Full {
    path: std::path::PathBuf,
}

impl Full {
    fn mount(path: &Path, size: &str) -> Option<Full> {
        fs::create_dir(path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(path)
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Full { path: path.to_owned() });
        }
        writeln!(std::io::stderr(), "skipped: no tmpfs can be mounted here").ok();
        None
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        Command::new("umount").arg(&self.path).status().ok();
    }
}

#[test]
fn a_full_disk_is_reported_before_the_run_or_after_it() {
    let stage = Stage::new();
    let Some(_full) = Full::mount(&stage.path("full"), "32k") else { return };
    let said = stage.run(&["run", "small.toml", "-o", "full/r"]).ended(3);
    assert!(said.err.contains("No space left") && said.err.contains("--out"), "{}", said.err);
    assert!(stage.list("full").is_empty(), "nothing is left there");
    // There is room for the trial write before the run, but not for the whole run. The result is printed, and the exit
    // code shows that it was not stored.
    let Some(_small) = Full::mount(&stage.path("small"), "72k") else { return };
    let said = stage.run(&["run", "few.toml", "-o", "small/r", "-n", "20k"]).ended(1);
    assert!(said.err.contains("No space left"), "{}", said.err);
    assert!(said.out.starts_with("PASS"), "{}", said.out);
    assert!(stage.list("small/r").iter().all(|name| !name.ends_with(".part")));
}

#[test]
fn a_run_directory_that_may_not_be_written() {
    let stage = Stage::new();
    let locked = stage.path("locked");
    fs::create_dir(&locked).unwrap();
    let mut permissions = fs::metadata(&locked).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&locked, permissions).unwrap();
    let writable = fs::write(locked.join("probe"), "").map_err(|error| error.kind());
    if writable != Err(ErrorKind::PermissionDenied) {
        writeln!(std::io::stderr(), "skipped: this user may write anywhere").ok();
        return;
    }
    refused(&stage, &["run", "small.toml", "-o", "locked/r"], 3, &["Permission denied", "--out"]);
}

#[test]
fn arguments_that_are_not_text_and_odd_names_are_taken() {
    let stage = Stage::new();
    let mut command = stage.command(&["run", "few.toml", "-q", "-o"]);
    command.arg(std::ffi::OsStr::from_bytes(b"r\xff"));
    assert_eq!(command.output().unwrap().status.code(), Some(0));
    let said = stage.run(&["run", "few.toml", "-o=odd name\n"]);
    assert!(said.code == Some(0) && stage.path("odd name\n/result.json").is_file(), "{said:?}");
}

#[test]
fn no_connection_is_made_but_those_of_the_load() {
    // M29b: a separate check would be one more connection that the listener counts.
    for (arguments, connections) in [
        (&["-n", "5", "-c", "1", "--messages-per-session", "1"][..], 5),
        (&["-n", "50", "-c", "1", "--messages-per-session", "0"], 1),
        (&["-r", "20/s", "-z", "1s", "--messages-per-session", "1"], 20),
    ] {
        let stage = Stage::new();
        let listening = Listening::with(&stage, &[]);
        let url = listening.url();
        stage.run(&[&["run", "--target", &url, "-o", "r"], arguments].concat()).measured();
        let opened = stage.json("r/result.json")["phases"][0]["sessions"]["opened"].clone();
        let ledger = listening.ledger();
        assert_eq!(
            (&opened, &ledger["connections"]),
            (&connections.into(), &connections.into()),
            "{arguments:?}"
        );
    }
}

#[test]
fn a_rate_of_connections_below_that_of_the_load_is_said_by_check_and_at_the_run() {
    let stage = Stage::new();
    stage.put(
        "slow.toml",
        SMALL.replace(
            "rate = \"50/s\"",
            "rate = \"50/s\"\nunit = \"session\"\nconnect_rate = \"10/s\"\ngraceful_stop = \"1s\"",
        ),
    );
    let sentence =
        "offers up to 50 sessions a second: that takes 50 connections a second, and connect_rate allows 10";
    let said = stage.run(&["check", "slow.toml"]).ended(0);
    assert!(said.err.contains("warning") && said.err.contains(sentence), "{}", said.err);
    // The report does not say that arrivals were not started for lack of threads.
    let said = stage.run(&["run", "slow.toml", "-o", "r"]).ended(98);
    assert!(said.err.contains(sentence), "{}", said.err);
    let result = stage.json("r/result.json");
    let reasons = result["validity"]["explanations"].as_array().unwrap();
    let named = |reason: &Value| reason.as_str().unwrap().contains("connect_rate held them back; raise it");
    assert!(reasons.iter().any(named), "{reasons:?}");
}
