//! A run with a receiver behind the relay: the charts of the relay's queue, of its rates and of the time in it.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::browser::{Browser, DESKTOP, installed};
use crate::stage::{Stage, result};

/// `tests/relays/relay.py`, which accepts more than it delivers.
struct SlowRelay(Child);

impl SlowRelay {
    fn start(port: u16, next: u16) -> SlowRelay {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/relays/relay.py");
        let relay = Command::new("python3")
            .args([program, "--listen", &format!("127.0.0.1:{port}"), "--next", &format!("127.0.0.1:{next}")])
            .args(["--rate", "100", "--fault", "drop=40"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let relay = SlowRelay(relay);
        let greeted = (0..600).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            greets(port)
        });
        assert!(greeted, "the relay does not listen");
        relay
    }
}

fn greets(port: u16) -> bool {
    let Ok(stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).is_ok() && line.starts_with("220")
}

impl Drop for SlowRelay {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn the_queue_and_the_time_in_it_are_drawn_from_the_stored_seconds() {
    let Some(program) = installed() else { return };
    let (stage, port, next) = (Stage::new(), free_port(), free_port());
    let _relay = SlowRelay::start(port, next);
    let (target, receiver) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{next}"));
    let load = ["--rate", "150/s", "--for", "6s", "--drain", "8s", "-o", "out", "--progress", "none"];
    let (code, _) =
        stage.smtpress(&[&["run", "--target", &target, "--receive", &receiver], &load[..]].concat());
    assert!([98, 99].contains(&code), "some are missing: {code}");
    let run = stage.path("out");
    let counts = result(&run)["phases"][0]["delivery"].clone();
    assert!(counts["missing"].as_u64() > Some(0), "{counts}");
    let series = std::fs::read_to_string(run.join("timeseries.csv")).unwrap();
    let rows: Vec<Vec<&str>> = series.lines().map(|line| line.split(',').collect()).collect();
    let column = |name: &str| -> Vec<f64> {
        let at = rows[0].iter().position(|title| *title == name).unwrap();
        rows[1..].iter().map(|row| row[at].parse().unwrap()).collect()
    };
    let sum = |name: &str| column(name).iter().sum::<f64>();
    assert_eq!(Some(sum("accepted_recipients")), counts["accepted_recipients"].as_f64());
    assert_eq!(Some(sum("delivered")), counts["delivered"].as_f64());

    let mut browser = Browser::start(&program);
    browser.open(&stage.page(&run), DESKTOP);
    assert_eq!(browser.complaints(), [Value::Null; 0]);
    browser.value(
        "document.querySelectorAll('main > section:not(#delivery)').forEach((e) => { e.hidden = true; })",
    );
    browser.picture("delivery");
    let mut drawn = |name: &str, line: usize| -> Vec<f64> {
        let figure = format!("document.querySelector('[data-chart=\"{name}\"]')");
        let values = browser.value(&format!("charts.drawn.get({figure}).chart.data[{line}]"));
        values.as_array().unwrap().iter().map(|value| value.as_f64().unwrap_or(f64::NAN)).collect()
    };
    assert_eq!(drawn("queue", 1), column("queued"));
    let per_second = |name: &str| -> Vec<f64> {
        column(name).iter().zip(column("length_s")).map(|(count, length)| count / length.max(1.0)).collect()
    };
    assert_eq!(drawn("deliveries", 1), per_second("accepted_recipients"));
    assert_eq!(drawn("deliveries", 2), per_second("delivered"));
    // During the load one message in three waits longer than all before it, so p50 grows.
    let p50: Vec<f64> = drawn("transit", 4).into_iter().filter(|value| !value.is_nan()).collect();
    assert!(p50.len() >= 5 && p50[0] < p50[4], "{p50:?}");
}
