//! A receiver in its own process: the counts that a run joins from its log are those of the relay's ledger.

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

/// A running `smtpress receive`.
struct Receiving {
    child: Child,
    folder: TempDir,
}

impl Receiving {
    /// Starts it at this port. `before` is a command that the shell runs first.
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

    /// Waits for its end. Returns its exit code and its output.
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

/// Returns the lines of a log. The last one must be complete.
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
    let (code, _, said) = smtpress::in_folder(folder.path(), &run);
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
    // The relay holds each message for a second and a half, so about 75 wait, and none at the end.
    assert!(rows.iter().any(|row| row[2] > 50) && rows.last().unwrap()[2] == 0, "{series}");
    let (code, page, said) = smtpress::in_folder(folder.path(), "report kept --format html");
    assert!(code == 0 && page.contains("Accepted and delivered a second"), "{code}: {said}");
    let bands = &chart_data(&page)["timeline"]["bands"]["transit"]["n"];
    let timed: u64 = bands.as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(timed, 150, "{bands}");

    // The same log is joined later, with the files of this run, and with those of a run without a log.
    let stored = |name: &str| fs::read_to_string(folder.path().join("kept").join(name)).unwrap();
    let log = receiving.log();
    fs::create_dir(folder.path().join("bare")).unwrap();
    for name in ["result.json", "profile.toml", "transactions.jsonl", "conditions.csv", "environment.json"] {
        fs::write(folder.path().join("bare").join(name), stored(name)).unwrap();
    }
    let result: Value = serde_json::from_str(&stored("result.json")).unwrap();
    let (series, hlog) = without_deliveries(
        &stored("timeseries.csv"),
        &stored("metrics.hlog"),
        result["took_s"].as_f64().unwrap(),
    );
    assert!(series.len() < stored("timeseries.csv").len() && hlog.len() < stored("metrics.hlog").len());
    fs::write(folder.path().join("bare/timeseries.csv"), series).unwrap();
    fs::write(folder.path().join("bare/metrics.hlog"), hlog).unwrap();
    for run in ["kept", "bare"] {
        let report = |format: &str| {
            let flags = format!("report {run} --deliveries {} --format {format}", log.display());
            let (code, text, said) = smtpress::in_folder(folder.path(), &flags);
            assert!(matches!(code, 0 | 98), "{run}, {format}: {code}: {said}");
            text
        };
        assert_eq!(report("csv"), stored("timeseries.csv"), "{run}");
        assert!(report("hlog") == stored("metrics.hlog"), "{run}: another interval log");
        let joined = report("html");
        assert_eq!(chart_data(&joined), chart_data(&page), "{run}");
        assert!(joined.contains("Accepted and delivered a second"), "{run}");
    }
}

/// The data from which a page draws its charts.
fn chart_data(page: &str) -> Value {
    let (_, data) = page.split_once("id=\"data\">").unwrap();
    serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap()
}

/// The files that a run of this length would have written without a log.
fn without_deliveries(series: &str, hlog: &str, took_s: f64) -> (String, String) {
    let rows = series.lines().enumerate().filter_map(|(number, line)| {
        let cells: Vec<&str> = line.split(',').collect();
        let start: f64 = if number == 0 { 0.0 } else { cells[0].parse().unwrap() };
        // The first second of the wait starts when the last one of the load ends, and there the run ends.
        let blank = |at: usize, cell: &str| {
            if number > 0 && at >= cells.len() - 3 { String::new() } else { cell.to_owned() }
        };
        let cells: Vec<String> = cells.iter().enumerate().map(|(at, cell)| blank(at, cell)).collect();
        (start < took_s - 0.002).then(|| cells.join(",") + "\n")
    });
    let is_of_relay = |line: &&str| line.contains("/transit/") || line.contains("/delivery/");
    let lines = hlog.lines().filter(|line| !is_of_relay(line)).map(|line| line.to_owned() + "\n");
    (rows.collect(), lines.collect())
}

#[test]
fn a_run_with_a_log_says_while_it_goes_on_what_came_out_so_far() {
    let next = listener::free_port();
    let Some(relay) = FaultyRelay::start(next, "--rate 40") else { return };
    let receiving = Receiving::start(next, "");
    let folder = tempfile::tempdir().unwrap();
    let run = format!(
        "run --target 127.0.0.1:{} -r 80/s -z 4s -c 10 --messages-per-session 0 --progress log --drain 20s --deliveries {}",
        relay.port,
        receiving.log().display()
    );
    let (code, _, said) = smtpress::in_folder(folder.path(), &run);
    assert!(matches!(code, 0 | 98), "{code}: {said}");
    let queued: Vec<u64> = said
        .lines()
        .filter_map(|line| line.split_once("in the relay "))
        .map(|(_, rest)| rest.split_whitespace().next().unwrap().replace(',', "").parse().unwrap())
        .collect();
    // The queue grows by 40 messages a second for four seconds.
    assert!(queued.len() >= 2 && queued.iter().any(|queued| (80..=240).contains(queued)), "{said}");
    assert!(said.contains("delivered 4") || said.contains("delivered 3"), "{said}");
}

/// A receiver that is stopped and started again writes a second log. Both together are complete.
#[test]
fn a_receiver_that_was_started_again_has_two_logs_and_both_are_needed() {
    let next = listener::free_port();
    let Some(relay) = FaultyRelay::start(next, "") else { return };
    let mut first = Receiving::start(next, "");
    let folder = tempfile::tempdir().unwrap();
    let run = format!(
        "run --target 127.0.0.1:{} -r 50/s -z 6s -c 10 --messages-per-session 0 --progress none --set receive.keep_transactions=true \
         --out kept",
        relay.port
    );
    let running = thread::spawn({
        let folder = folder.path().to_owned();
        move || smtpress::in_folder(&folder, &run)
    });
    thread::sleep(Duration::from_secs(2));
    assert_eq!(first.stop().0, 0);
    // An existing log is refused, and is not changed.
    let before = fs::read(first.log()).unwrap();
    let again = Command::new(env!("CARGO_BIN_EXE_smtpress"))
        .args(["receive", "--receive", &format!("127.0.0.1:{next}"), "--deliveries"])
        .arg(first.log())
        .output()
        .unwrap();
    assert_eq!((again.status.code(), fs::read(first.log()).unwrap()), (Some(2), before), "{again:?}");
    let mut second = Receiving::start(next, "");
    let (code, _, said) = running.join().unwrap();
    assert!(matches!(code, 0 | 98), "{code}: {said}");
    // The relay retries the messages that it could not deliver in the meantime.
    let come = |log: &Path| fs::read_to_string(log).unwrap().matches("{\"delivered\"").count();
    let is_all = || come(&first.log()) + come(&second.log()) >= 300;
    assert!(wait_until(is_all), "{} and {} of 300", come(&first.log()), come(&second.log()));
    second.stop();
    let join = |logs: &[&Path]| {
        let logs: String = logs.iter().map(|log| format!(" --deliveries {}", log.display())).collect();
        let (code, json, said) =
            smtpress::in_folder(folder.path(), &format!("report kept --format json{logs}"));
        let result: Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {said}"));
        (code, Outcome { result, stored: None })
    };
    let (_, both) = join(&[&first.log(), &second.log()]);
    both.assert_deliveries_reconcile();
    assert_eq!((both.delivery("delivered"), both.delivery("missing")), (300, 0));
    assert!(!reasons(&both).contains("deliveries-incomplete"), "{}", reasons(&both));
    // With only one log, the other deliveries are unknown.
    let (code, one) = join(&[&first.log()]);
    assert!(code == 98 && reasons(&one).contains("deliveries-incomplete"), "{code}: {}", reasons(&one));
    assert!(one.delivery("missing") > 50, "{}", one.delivery("missing"));
}

/// A receiver with LMTP writes a log in the same form.
#[test]
fn a_log_of_lmtp_is_joined_as_one_of_smtp() {
    let port = listener::free_port();
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Command::new(env!("CARGO_BIN_EXE_smtpress"))
        .args(["receive", "--set", "receive.protocol=lmtp", "--deliveries", "log", "--receive"])
        .arg(format!("127.0.0.1:{port}"))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stderr(fs::File::create(folder.path().join("said")).unwrap())
        .spawn()
        .unwrap();
    let said = || fs::read_to_string(folder.path().join("said")).unwrap();
    assert!(wait_until(|| said().contains("receiving on")), "{}", said());
    // There is no relay, so each message that the receiver accepted has come out.
    let run = format!(
        "run --target lmtp://127.0.0.1:{port} -n 200 --recipients 3 -c 5 --progress none --deliveries log --out kept --json -"
    );
    let (code, json, words) = smtpress::in_folder(folder.path(), &run);
    receiver.kill().unwrap();
    receiver.wait().unwrap();
    assert!(matches!(code, 0 | 98), "{code}: {words}");
    let outcome = Outcome { result: serde_json::from_str(&json).unwrap(), stored: None };
    outcome.assert_deliveries_reconcile();
    assert_eq!((outcome.delivery("delivered"), outcome.delivery("duplicated")), (600, 0));
    // With LMTP each recipient has its own copy.
    let copies = lines(&folder.path().join("log"));
    assert_eq!(copies.iter().filter(|line| !line["delivered"].is_null()).count(), 600);
    let (again, joined, words) =
        smtpress::in_folder(folder.path(), "report kept --deliveries log --format json");
    // The receiver was killed after the run, so its log has no end, but it covers the run and nothing is outstanding.
    assert_eq!(again, code, "{words}");
    let joined: Value = serde_json::from_str(&joined).unwrap();
    assert_eq!(joined["phases"][0]["delivery"]["delivered"], 600, "{joined:#}");
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
    let (_, said, _) = smtpress::in_folder(
        folder.path(),
        &format!("{load} --out kept --set receive.keep_transactions=true"),
    );
    assert!(!said.contains("missing"), "without a receiver nobody knows: {said}");
    let (_, said, _) = smtpress::in_folder(folder.path(), &format!("{load} --out bare"));
    assert!(!said.is_empty());
    // Each count has messages of both runs.
    let log = receiving.log();
    let delivered = || {
        let text = fs::read_to_string(&log).unwrap();
        text.lines().filter(|line| line.starts_with("{\"delivered\"")).count()
    };
    assert!(wait_until(|| delivered() > 1_500), "{} were delivered", delivered());
    // The messages that wait in the relay are lost now, and its ledger counts them.
    let ledgers = relay.ledgers();
    receiving.stop();
    let join = |run: &str| {
        smtpress::in_folder(
            folder.path(),
            &format!("report {run} --format json --deliveries {}", log.display()),
        )
    };
    let (code, json, said) = join("kept");
    let result: Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(result["verdict"]["exit_code"], code, "{said}");
    let outcome = Outcome { result, stored: None };
    outcome.assert_deliveries_reconcile();
    // The ledger counts both runs, of a thousand messages each.
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
    let (code, text, _) = smtpress::in_folder(
        folder.path(),
        &format!("report kept --deliveries {} --format text", log.display()),
    );
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

// The wait in the meantime is no fault of the relay, and the deliveries are counted anyway.
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
    // An existing log is never overwritten.
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
    // The output on standard error follows the JSON.
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
