//! A receiver that is a process of its own: what a run joins from its log is what the relay's own ledger says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::faults_of_relays::{ALL, assert_as_in};
use crate::faulty_relay::{FaultyRelay, expected};
use crate::listener::{self, wait_until};
use crate::smtpress::{self, Outcome};

/// `smtpress receive`.
struct Receiving {
    child: Child,
    folder: TempDir,
}

impl Receiving {
    /// Starts it at this port; `before`: what the shell does first.
    fn start(port: u16, before: &str) -> Receiving {
        let folder = tempfile::tempdir().unwrap();
        let script = format!("{before} exec \"$0\" receive --receive 127.0.0.1:{port} --deliveries log");
        let output = |name: &str| fs::File::create(folder.path().join(name)).unwrap();
        let child = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_smtpress")])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(output("stdout"))
            .stderr(output("stderr"))
            .spawn()
            .unwrap();
        let receiving = Receiving { child, folder };
        assert!(wait_until(|| receiving.said().contains("receiving on")), "{}", receiving.said());
        receiving
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn said(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        read("stdout") + &read("stderr")
    }

    fn signal(&self, signal: &str) {
        let sent =
            Command::new("sh").args(["-c", "kill -s $0 $1", signal, &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Its exit code and what it said.
    fn wait(&mut self) -> (i32, String) {
        let mut code = None;
        assert!(wait_until(|| {
            code = self.child.try_wait().unwrap();
            code.is_some()
        }));
        (code.and_then(|code| code.code()).unwrap_or(-1), self.said())
    }

    fn stop(&mut self) -> (i32, String) {
        self.signal("INT");
        self.wait()
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn run(relay: &FaultyRelay, log: &Path, flags: &str) -> Outcome {
    let flags = format!("--deliveries {} --messages-per-session 0 -c 10 {flags}", log.display());
    let outcome = smtpress::run(relay.port, &flags);
    outcome.assert_counts_reconcile();
    outcome.assert_deliveries_reconcile();
    outcome
}

fn reasons(outcome: &Outcome) -> String {
    outcome.result["validity"]["reasons"].to_string()
}

/// All whole lines of a log; the last has its end.
fn lines(log: &Path) -> Vec<Value> {
    let text = fs::read_to_string(log).unwrap();
    assert!(text.ends_with('\n'), "the last line is cut off");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_log_counts_each_fault_as_the_ledger_has_it() {
    let next = listener::free_port();
    let Some(relay) = FaultyRelay::start(next, &format!("{ALL} --fault split")) else { return };
    let mut receiving = Receiving::start(next, "");
    let outcome =
        run(&relay, &receiving.log(), "-n 1500 --recipients 2 --drain 8s --set message.text=message-{n}");
    let ledgers = relay.ledgers();
    assert_as_in(&ledgers, &outcome);
    assert!(outcome.delivery("missing") > 0 && outcome.delivery("altered") > 20);
    assert_eq!(outcome.exit_code_or_busy(), 99);
    assert_eq!(outcome.result["delivery"]["clock"]["relation"], "same");
    assert!(outcome.percentile_ns("transit", 0.5) > 0);
    let (code, said) = receiving.stop();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("notifications"), "{said}");
    let end = lines(&receiving.log()).pop().unwrap();
    assert!(end["end"]["messages"].as_u64() > Some(1500), "{end}");
}

/// `smtpress` with these arguments, in this folder: its exit code, stdout and stderr.
fn smtpress_in(folder: &Path, arguments: &str) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_smtpress"))
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

#[test]
fn the_seconds_of_a_run_with_a_log_have_what_came_out_and_the_queue() {
    let next = listener::free_port();
    let Some(relay) = FaultyRelay::start(next, "--hold fixed:1.5") else { return };
    let receiving = Receiving::start(next, "");
    let folder = tempfile::tempdir().unwrap();
    let run = format!(
        "run --target 127.0.0.1:{} -r 50/s -z 3s -c 10 --messages-per-session 0 --progress none --drain 20s --deliveries {} --out kept",
        relay.port,
        receiving.log().display()
    );
    let (code, _, said) = smtpress_in(folder.path(), &run);
    assert!(matches!(code, 0 | 98), "{code}: {said}");
    let series = fs::read_to_string(folder.path().join("kept/timeseries.csv")).unwrap();
    let mut rows = csv::Reader::from_reader(series.as_bytes());
    let titles = rows.headers().unwrap().clone();
    let place = |name: &str| titles.iter().position(|title| title == name).unwrap();
    let [accepted, delivered, queued] = ["accepted_recipients", "delivered", "queued"].map(place);
    let rows: Vec<[u64; 3]> = rows
        .records()
        .map(|row| {
            let row = row.unwrap();
            [accepted, delivered, queued].map(|at| row[at].parse().unwrap())
        })
        .collect();
    let sum = |at: usize| rows.iter().map(|row| row[at]).sum::<u64>();
    assert_eq!((sum(0), sum(1)), (150, 150), "{series}");
    // Each is held for a second and a half: some 75 wait, and at the end none.
    assert!(rows.iter().any(|row| row[2] > 50) && rows.last().unwrap()[2] == 0, "{series}");
    let (code, page, said) = smtpress_in(folder.path(), "report kept --format html");
    assert!(code == 0 && page.contains("Accepted and delivered a second"), "{code}: {said}");
}

#[test]
fn a_stored_run_joins_the_log_afterwards() {
    let next = listener::free_port();
    let faults = "--fault drop=30 --fault duplicate=30 --fault rewrite=30 --fault bounce=30 --fault refuse=50 --fault strip-x";
    let Some(relay) = FaultyRelay::start(next, faults) else { return };
    let mut receiving = Receiving::start(next, "");
    let folder = tempfile::tempdir().unwrap();
    let load = format!(
        "run --target 127.0.0.1:{} -n 1000 -c 5 --messages-per-session 0 --progress none",
        relay.port
    );
    let (_, said, _) =
        smtpress_in(folder.path(), &format!("{load} --out kept --set receive.keep_transactions=true"));
    assert!(!said.contains("missing"), "without a receiver nobody knows: {said}");
    let (_, said, _) = smtpress_in(folder.path(), &format!("{load} --out bare"));
    assert!(!said.is_empty());
    // What waits in the relay is lost now, and its ledger says so.
    let ledgers = relay.ledgers();
    receiving.stop();
    let log = receiving.log();
    let join = |run: &str| {
        smtpress_in(folder.path(), &format!("report {run} --format json --deliveries {}", log.display()))
    };
    let (code, json, said) = join("kept");
    let result: Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(result["verdict"]["exit_code"], code, "{said}");
    let outcome = Outcome { result, stored: None };
    outcome.assert_deliveries_reconcile();
    // The ledger is of both runs, of a thousand messages each.
    let accepted = outcome.delivery("accepted_recipients");
    assert!(outcome.delivery("delivered") > 800 && accepted > 900, "{:#}", outcome.result["phases"]);
    for count in ["missing", "duplicated", "altered", "bounced", "unexpected"] {
        let of_both = expected(&ledgers, count);
        assert!(
            (1..of_both).contains(&outcome.delivery(count)),
            "{count}: {}, of both {of_both}",
            outcome.delivery(count)
        );
    }
    assert_eq!(outcome.result["delivery"]["clock"]["relation"], "same");
    assert!(outcome.percentile_ns("transit", 0.5) > 0);
    let failed = outcome.result["assertions"].as_array().unwrap();
    assert!(failed.iter().any(|own| own["expr"] == "missing == 0" && own["status"] == "fail"), "{failed:#?}");
    assert!(matches!(code, 98 | 99), "{code}");

    let (code, _, said) = join("bare");
    assert!(
        code == 2
            && said.contains("did not keep its transactions")
            && said.contains("keep_transactions=true"),
        "{code}: {said}"
    );
    let (code, text, _) =
        smtpress_in(folder.path(), &format!("report kept --deliveries {} --format text", log.display()));
    assert!(matches!(code, 98 | 99) && text.contains("Delivery"), "{code}: {text}");
}

#[test]
fn a_log_that_cannot_grow_makes_the_run_invalid_and_what_it_holds_stands() {
    let next = listener::free_port();
    let Some(relay) = FaultyRelay::start(next, "") else { return };
    // 256 KiB are not enough for a thousand messages.
    let mut receiving = Receiving::start(next, "ulimit -f 512;");
    let outcome = run(&relay, &receiving.log(), "-n 1000 --drain 2s");
    assert!(reasons(&outcome).contains("deliveries-incomplete"), "{}", reasons(&outcome));
    assert_eq!(outcome.result["verdict"]["exit_code"], 98);
    let (code, said) = receiving.wait();
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("failed to write the delivery log log") && said.contains("free some space"),
        "{said}"
    );
    let delivered = lines(&receiving.log()).iter().filter(|line| !line["delivered"].is_null()).count() as u64;
    assert!(delivered > 100, "{delivered}");
    assert_eq!(outcome.delivery("delivered"), delivered);
}

#[test]
fn a_receiver_that_is_killed_makes_the_run_invalid() {
    let next = listener::free_port();
    let Some(relay) = FaultyRelay::start(next, "") else { return };
    let receiving = Receiving::start(next, "");
    let profile = format!(
        "schema = 1\nname = \"killed\"\n[target]\naddress = \"smtp://127.0.0.1:{}\"\n[message]\nsize = \"1k\"\n\
         [receive]\ndeliveries = [\"{}\"]\ndrain = \"3s\"\n[[event]]\nname = \"kill\"\nat = \"1s\"\nrun = \"kill -9 {}\"\n\
         [[phase]]\nname = \"p\"\nload = \"constant-rate\"\nrate = \"200/s\"\nfor = \"2s\"\nmax_sessions = 20\n",
        relay.port,
        receiving.log().display(),
        receiving.child.id()
    );
    let outcome = smtpress::start_profile(&profile).wait();
    outcome.assert_deliveries_reconcile();
    assert!(reasons(&outcome).contains("deliveries-incomplete"), "{}", reasons(&outcome));
    assert!(outcome.delivery("missing") > 50);
    assert!(expected(&relay.ledgers(), "missing") > 0);
}

// What waited meanwhile is not the relay's fault, and what came out counts all the same.
#[test]
fn a_receiver_that_is_stopped_for_two_seconds_makes_the_run_invalid() {
    let next = listener::free_port();
    let Some(relay) = FaultyRelay::start(next, "") else { return };
    let receiving = Receiving::start(next, "");
    let flags = format!("--deliveries {} -r 40/s -z 6s --drain 10s", receiving.log().display());
    let running = smtpress::start(relay.port, &flags);
    thread::sleep(Duration::from_secs(2));
    receiving.signal("STOP");
    thread::sleep(Duration::from_secs(2));
    receiving.signal("CONT");
    let outcome = running.wait();
    outcome.assert_deliveries_reconcile();
    assert_eq!(outcome.result["verdict"]["exit_code"], 98);
    assert!(reasons(&outcome).contains("receiver-overloaded"), "{}", reasons(&outcome));
    assert_eq!((outcome.delivery("missing"), outcome.delivery("delivered")), (0, 240));
    relay.ledgers();
}

#[test]
fn nothing_is_sent_where_nobody_writes_the_log() {
    let next = listener::free_port();
    let Some(relay) = FaultyRelay::start(next, "") else { return };
    let mut receiving = Receiving::start(next, "");
    receiving.stop();
    let refused = |log: &str| smtpress::refused(relay.port, &format!("-n 50 --deliveries {log}"));
    let (code, said) = refused(&receiving.log().display().to_string());
    assert!(code == 3 && said.contains("has ended") && said.contains("smtpress receive"), "{code}: {said}");
    let (code, said) = refused("/nowhere/log");
    assert!(code == 3 && said.contains("/nowhere/log"), "{code}: {said}");
    let (code, said) = refused("/etc/hostname");
    assert!(code == 2 && said.contains("is no delivery log"), "{code}: {said}");
    // An existing log is never written to.
    let again = Command::new(env!("CARGO_BIN_EXE_smtpress"))
        .args(["receive", "--receive", "127.0.0.1:0", "--deliveries"])
        .arg(receiving.log())
        .output()
        .unwrap();
    assert_eq!(again.status.code(), Some(2), "{again:?}");
    assert!(relay.ledgers()[0]["counts"]["messages"].is_null(), "something was sent");
}

#[test]
fn trace_shows_what_came_out_and_what_the_hop_added() {
    let next = listener::free_port();
    let traced = |port: u16, flags: &str| {
        smtpress::traced(&format!("127.0.0.1:{port} --receive 127.0.0.1:{next} {flags}"))
    };
    let Some(relay) = FaultyRelay::start(next, "--fault decorate") else { return };
    let (code, said) = traced(relay.port, "--recipients 2");
    assert_eq!(code, 0, "{said}");
    for part in [
        "came out ",
        " after the start of the session, for user0@",
        "  + Received: ",
        "everything else is as it was sent",
        "  < X-Smtpress-Seq: 0",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let (_, json) = traced(relay.port, "--json");
    // What was said on standard error stands behind it.
    let mut values = serde_json::Deserializer::from_str(&json).into_iter::<Value>();
    let json = values.next().unwrap().unwrap();
    assert_eq!(json["came_out"][0]["differences"].as_array().map(Vec::len), Some(0), "{json:#}");
    drop(relay);
    let Some(relay) = FaultyRelay::start(next, "--fault rewrite") else { return };
    let (code, said) = traced(relay.port, "");
    assert!(code == 99 && said.contains("ALTERED: the body is changed"), "{code}: {said}");
    drop(relay);
    let Some(relay) = FaultyRelay::start(next, "--fault bounce") else { return };
    let (code, said) = traced(relay.port, "");
    assert!(code == 99 && said.contains("a notification came back"), "{code}: {said}");
    drop(relay);
    let Some(relay) = FaultyRelay::start(next, "--fault drop") else { return };
    let (code, said) = traced(relay.port, "--drain 1s");
    assert!(code == 99 && said.contains("nothing came out of the relay within 1 s"), "{code}: {said}");
}
