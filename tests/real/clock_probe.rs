//! The clock of a receiver on another machine: `--clock-probe` measures the true offset, within the bound that it
//! reports.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ::smtpress::delivery::LoggingReceiver;
use ::smtpress::delivery::clock::HopClock;
use ::smtpress::delivery::settings::ReceiverSettings;
use ::smtpress::listener::Limits;
use serde_json::Value;
use tempfile::TempDir;

use crate::faulty_relay::FaultyRelay;
use crate::listener::{self, wait_until};
use crate::smtpress::{self, Outcome};

/// A receiver whose wall clock is ahead of this process's clock, and whose monotonic clock differs too.
struct FarReceiver {
    port: u16,
    folder: TempDir,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FarReceiver {
    fn start(ahead: i64) -> FarReceiver {
        let (port, folder) = (listener::free_port(), tempfile::tempdir().unwrap());
        let settings = ReceiverSettings {
            agent: None,
            addresses: vec![format!("127.0.0.1:{port}").parse().unwrap()],
            logs: Vec::new(),
            clock_offset: None,
            clock_probe: None,
            keeps_transactions: false,
            limits: Limits::default(),
            drain: Duration::from_secs(1),
            quiet: Duration::from_secs(1),
        };
        let clock = HopClock { name: Some("of another machine".to_owned()), ahead_ns: ahead };
        let log = folder.path().join("log");
        let receiver = LoggingReceiver::start(&settings, 1, Some(&log), "far", clock).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let is_over = Arc::clone(&is_over);
            move || {
                while !is_over.load(Relaxed) {
                    receiver.mark();
                    thread::sleep(Duration::from_millis(500));
                }
                receiver.stop().1.unwrap();
            }
        });
        FarReceiver { port, folder, is_over, thread: Some(thread) }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn stop(&mut self) {
        self.is_over.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for FarReceiver {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Forwards in both directions, and delays the way back by this many milliseconds. Returns the port.
fn slow_way_back(to: u16, held_ms: Arc<AtomicI64>) -> u16 {
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listening.local_addr().unwrap().port();
    thread::spawn(move || {
        for there in listening.incoming() {
            let (there, back) = (there.unwrap(), TcpStream::connect(("127.0.0.1", to)).unwrap());
            there.set_nodelay(true).ok();
            back.set_nodelay(true).ok();
            let (mut from, mut into) = (there.try_clone().unwrap(), back.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut from, &mut into));
            let held_ms = Arc::clone(&held_ms);
            thread::spawn(move || {
                let (mut from, mut into, mut buffer) = (back, there, [0; 4096]);
                while let Ok(length @ 1..) = from.read(&mut buffer) {
                    thread::sleep(Duration::from_millis(held_ms.load(Relaxed).unsigned_abs()));
                    if into.write_all(&buffer[..length]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

/// The measured offset and its bound, in seconds.
fn offset(outcome: &Outcome) -> (f64, f64) {
    let clock = &outcome.result["delivery"]["clock"];
    assert_eq!(clock["relation"], "offset", "{clock}");
    (clock["ahead_s"].as_f64().unwrap(), clock["bound_s"].as_f64().unwrap())
}

#[test]
fn a_clock_that_is_an_hour_off_is_measured_and_the_times_of_the_relay_are_true() {
    for hour in [3_600_i64, -3_600] {
        let receiver = FarReceiver::start(hour * 1_000_000_000);
        let Some(relay) = FaultyRelay::start(receiver.port, "--hold fixed:0.7") else { return };
        let flags = format!(
            "-r 50/s -z 3s -c 10 --messages-per-session 0 --drain 20s --deliveries {} --clock-probe 127.0.0.1:{}",
            receiver.log().display(),
            receiver.port
        );
        let outcome = smtpress::run(relay.port, &flags);
        outcome.assert_deliveries_reconcile();
        assert_eq!((outcome.delivery("delivered"), outcome.delivery("missing")), (150, 0));
        let (ahead, bound) = offset(&outcome);
        assert!((ahead - hour as f64).abs() <= bound && bound < 0.1, "{ahead} +- {bound}");
        // The relay holds each message for 0.7 s, so none came out earlier.
        let metrics = outcome.result["metrics"].as_array().unwrap();
        let delivery = metrics.iter().find(|row| row["name"] == "delivery" && row["outcome"] == "accepted");
        let least = delivery.and_then(|row| row["min_ns"].as_u64()).unwrap();
        let median = outcome.percentile_ns("transit", 0.5);
        let held = (0.7 - bound) * 1e9;
        assert!(least as f64 >= held * 0.999 && (median as f64) < 1.2e9, "{least} {median}");
        relay.ledgers();
    }
}

#[test]
fn the_bound_holds_the_truth_where_one_way_takes_longer_and_where_the_clocks_drift() {
    let receiver = FarReceiver::start(3_000_000);
    let held = Arc::new(AtomicI64::new(12));
    let way = slow_way_back(receiver.port, Arc::clone(&held));
    let flags = format!(
        "-n 50 -c 2 --drain 5s --deliveries {} --clock-probe 127.0.0.1:{way}",
        receiver.log().display()
    );
    // There is no relay, so each message that the receiver accepted has come out.
    let outcome = smtpress::run(receiver.port, &flags);
    let (ahead, bound) = offset(&outcome);
    // The whole delay is on the way back, so the measured offset is wrong by half of the delay.
    assert!((ahead - 0.003).abs() <= bound, "{ahead} +- {bound}");
    assert!(ahead < 0.0 && bound >= 0.006, "the test shows nothing: {ahead} +- {bound}");
    // The way back is quick at the start of the run and slow at its end, and the bound covers both.
    held.store(0, Relaxed);
    let profile = format!(
        "schema = 1\nname = \"drift\"\n[target]\naddress = \"smtp://127.0.0.1:{}\"\n[message]\nsize = \"1k\"\n[receive]\n\
         deliveries = [\"{}\"]\nclock_probe = \"127.0.0.1:{way}\"\ndrain = \"3s\"\n[[phase]]\nname = \"p\"\n\
         load = \"constant-rate\"\nrate = \"20/s\"\nfor = \"4s\"\nmax_sessions = 5\n",
        receiver.port,
        receiver.log().display()
    );
    let running = smtpress::start_profile(&profile);
    thread::sleep(Duration::from_millis(3_500));
    held.store(40, Relaxed);
    let outcome = running.wait();
    let (ahead, bound) = offset(&outcome);
    assert!((ahead - 0.003).abs() <= bound && bound >= 0.039, "{ahead} +- {bound}");
    let notes = outcome.result["delivery"]["clock"].to_string();
    assert!(notes.contains("bound_s"), "{notes}");
}

#[test]
fn a_stored_run_is_joined_with_a_clock_that_is_asked_or_was_asked() {
    let mut receiver = FarReceiver::start(-90_000_000_000);
    let Some(relay) = FaultyRelay::start(receiver.port, "--hold fixed:0.3") else { return };
    let folder = tempfile::tempdir().unwrap();
    let run = format!(
        "run --target 127.0.0.1:{} -n 100 -c 5 --progress none --out kept --set receive.keep_transactions=true",
        relay.port
    );
    let (code, _, said) = smtpress::in_folder(folder.path(), &run);
    assert!(matches!(code, 0 | 98), "{code}: {said}");
    let come = || std::fs::read_to_string(receiver.log()).unwrap().matches("{\"delivered\"").count();
    assert!(wait_until(|| come() == 100), "{}", come());
    let report = |flags: &str| {
        let log = receiver.log();
        let (code, json, said) = smtpress::in_folder(
            folder.path(),
            &format!("report kept --format json --deliveries {} {flags}", log.display()),
        );
        (code, serde_json::from_str::<Value>(&json).unwrap_or_default(), said)
    };
    let (_, unknown, _) = report("");
    assert_eq!(unknown["delivery"]["clock"]["relation"], "unknown", "{unknown:#}");
    let (_, result, said) = report(&format!("--clock-probe 127.0.0.1:{}", receiver.port));
    let outcome = Outcome { result, stored: None };
    let (ahead, bound) = offset(&outcome);
    assert!((ahead + 90.0).abs() <= bound && bound < 0.1, "{ahead} +- {bound}: {said}");
    let median = outcome.percentile_ns("transit", 0.5) as f64;
    assert!((0.29e9..0.8e9).contains(&median), "{median}");
    let warnings = outcome.result["warnings"].to_string();
    assert!(warnings.contains("after the run: what the clocks drifted"), "{warnings}");
    let (code, _, said) = report("--clock-probe 127.0.0.1:1");
    assert!(code == 3 && said.contains("could not be asked"), "{code}: {said}");
    let (code, _, said) = report("--clock-probe 127.0.0.1:1 --clock-offset 1s+-1s");
    assert!(code == 2 && said.contains("cannot be used with"), "{code}: {said}");
    // The result of a run that asked for the clock contains the offset.
    let run = format!(
        "run --target 127.0.0.1:{} -n 50 -c 5 --progress none --out asked --deliveries {} --clock-probe 127.0.0.1:{}",
        relay.port,
        receiver.log().display(),
        receiver.port
    );
    let (code, _, said) = smtpress::in_folder(folder.path(), &run);
    assert!(matches!(code, 0 | 98), "{code}: {said}");
    receiver.stop();
    let flags = format!("report asked --format json --deliveries {}", receiver.log().display());
    let (_, json, said) = smtpress::in_folder(folder.path(), &flags);
    let result = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {said}"));
    let outcome = Outcome { result, stored: None };
    let (ahead, bound) = offset(&outcome);
    assert!((ahead + 90.0).abs() <= bound && bound < 0.1, "{ahead} +- {bound}");
    assert_eq!((outcome.delivery("delivered"), outcome.delivery("missing")), (50, 0));
    relay.ledgers();
}

#[test]
fn nothing_is_sent_where_the_clock_cannot_be_asked() {
    let mut receiver = FarReceiver::start(0);
    let Some(relay) = FaultyRelay::start(receiver.port, "") else { return };
    let refused = |place: &str| {
        let flags = format!("-n 50 --deliveries {} --clock-probe {place}", receiver.log().display());
        smtpress::refused(relay.port, &flags)
    };
    let (code, said) = refused(&format!("127.0.0.1:{}", listener::free_port()));
    assert!(
        code == 3 && said.contains("could not be asked: no connection") && said.contains("--clock-offset"),
        "{code}: {said}"
    );
    // This is a mail server, but no receiver.
    let (code, said) = refused(&format!("127.0.0.1:{}", relay.port));
    assert!(code == 3 && said.contains("it is no receiver of smtpress"), "{code}: {said}");
    // This listener never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (code, said) = refused(&silent.local_addr().unwrap().to_string());
    assert!(code == 3 && said.contains("could not be asked"), "{code}: {said}");
    let (code, said) = refused("192.0.2.7:25");
    assert!(code == 3 && said.contains("--allow-target 192.0.2.7"), "{code}: {said}");
    let (code, said) = refused("embedded");
    assert!(code == 2 && said.contains("the embedded listener is no receiver"), "{code}: {said}");
    let (code, said) = refused("ftp://127.0.0.1:25");
    assert!(code == 2 && said.contains("is no target"), "{code}: {said}");
    let (code, said) = smtpress::refused(relay.port, "-n 50 --clock-probe 127.0.0.1:1 --receive 127.0.0.1:0");
    assert!(code == 2 && said.contains("without a delivery log"), "{code}: {said}");
    assert!(relay.ledgers()[0]["counts"]["messages"].is_null(), "something was sent");
    // The refused command leaves no run directory.
    let folder = tempfile::tempdir().unwrap();
    let run = format!(
        "run --target 127.0.0.1:1 -n 5 --deliveries {} --clock-probe 127.0.0.1:1",
        receiver.log().display()
    );
    let (code, _, said) = smtpress::in_folder(folder.path(), &run);
    assert_eq!((code, std::fs::read_dir(folder.path()).unwrap().count()), (3, 0), "{said}");
    receiver.stop();
}
