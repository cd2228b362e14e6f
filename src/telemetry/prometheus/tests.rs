//! Tests of the served text, of the form that each client gets, and of the wait after the end of the run.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;

use super::*;
use crate::report::fixtures;
use crate::telemetry::Exporters;
use crate::telemetry::metrics::tests::{info, metrics, second};

/// A time limit that no step of a test reaches.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn the_text_is_openmetrics_with_everything_hostile_escaped() {
    let metrics = metrics([second(0), RunEvent::Over(Arc::new(fixtures::accepted()))]);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(Arc::new(Mutex::new(metrics)))));
    let mut body = String::new();
    text::encode(&mut body, &registry).unwrap();
    // The process's CPU time and its version change from build to build.
    let stable: String = body
        .replace(env!("CARGO_PKG_VERSION"), "VERSION")
        .lines()
        .filter(|line| !line.starts_with("process_cpu_seconds_total"))
        .map(|line| format!("{line}\n"))
        .collect();
    insta::assert_snapshot!(stable);
}

/// Returns the series and values of a text of either form, as lines that are the same for both.
fn series(text: &str) -> Vec<String> {
    let mut all: Vec<String> = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.starts_with("process_cpu_seconds_total"))
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            // The order of labels does not matter: `le` is first in one form and last in the other.
            let behind = labels.strip_prefix("le=\"").or_else(|| labels.split_once(",le=\"").map(|(_, b)| b));
            let bound = behind.map(|rest| rest.split('"').next().unwrap().to_owned());
            let labels = bound.as_ref().map_or(labels.to_owned(), |bound| {
                labels.replace(&format!("le=\"{bound}\","), "").replace(&format!(",le=\"{bound}\""), "")
            });
            let bound = bound.map(|bound| bound.parse::<f64>().unwrap());
            format!("{name} {labels} {bound:?} {}", value.parse::<f64>().unwrap())
        })
        .collect();
    all.sort_unstable();
    all
}

#[test]
fn classic_text_says_what_openmetrics_says() {
    let metrics = metrics([second(0), RunEvent::Over(Arc::new(fixtures::accepted()))]);
    let classic = classic::write(&metrics);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(Arc::new(Mutex::new(metrics)))));
    let mut open = String::new();
    text::encode(&mut open, &registry).unwrap();
    assert_eq!(series(&classic), series(&open));
    // The classic form uses the whole name of a counter, and has only three types.
    assert!(!classic.contains("# EOF") && !classic.contains("# UNIT"));
    assert!(classic.contains("# TYPE smtpress_arrivals_total counter\n"), "{classic}");
    assert!(classic.contains("# TYPE smtpress_run_info gauge\n"));
    for line in classic.lines().filter(|line| line.starts_with("# TYPE")) {
        assert!(["counter", "gauge", "histogram"].contains(&line.rsplit(' ').next().unwrap()), "{line}");
    }
}

#[test]
fn only_names_of_loopback_are_answered_on_loopback() {
    let (live, address, _says) = started(Duration::ZERO);
    let port = address.port();
    for (host, status) in [
        (format!("127.0.0.1:{port}"), 200),
        (format!("localhost:{port}"), 200),
        ("localhost:9999".to_owned(), 200),
        ("[::1]:80".to_owned(), 200),
        ("evil.example".to_owned(), 421),
        (format!("evil.example:{port}"), 421),
        (format!("192.0.2.1:{port}"), 421),
    ] {
        let answer = asking(address, &format!("Host: {host}\r\n"), "/metrics");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
    }
    drop(live);
}

#[test]
fn everybody_gets_the_form_that_is_asked_for() {
    let (live, address, _says) = started(Duration::ZERO);
    let of = |accept: &str| {
        let answer = asking(address, &format!("Host: {address}\r\n{accept}"), "/metrics").to_lowercase();
        answer.lines().find_map(|line| Some(line.strip_prefix("content-type: ")?.to_owned())).unwrap()
    };
    assert_eq!(of(""), "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(of("Accept: text/plain\r\n"), "text/plain; version=0.0.4; charset=utf-8");
    let open = of("Accept: text/plain;q=0.5\r\nAccept: application/openmetrics-text;version=1.0.0\r\n");
    assert_eq!(open, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let protobuf = of(&format!("Accept: {}\r\n", ExpositionFormat::Protobuf.content_type()));
    assert_eq!(protobuf, ExpositionFormat::Protobuf.content_type().to_lowercase());
    drop(live);
}

/// Returns an exporter on a port of its own, and its messages.
fn started(linger: Duration) -> (Exporters, SocketAddr, mpsc::Receiver<String>) {
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (said, says) = mpsc::channel();
    let say = Arc::new(move |line: &str| said.send(line.to_owned()).unwrap());
    let exporter = Prometheus::new(listener, info(), linger, say).unwrap();
    (Exporters::start(vec![Box::new(exporter)]).unwrap(), address, says)
}

/// Returns the whole answer to a request for a path, in OpenMetrics.
fn ask(address: SocketAddr, path: &str) -> String {
    asking(address, &format!("Host: {address}\r\nAccept: application/openmetrics-text\r\n"), path)
}

/// Returns the whole answer to a request with these lines in its head.
fn asking(address: SocketAddr, head: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\n{head}Connection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn over() -> Arc<crate::report::RunResult> {
    Arc::new(fixtures::accepted())
}

#[test]
fn the_end_waits_for_one_scrape_that_sees_the_final_values() {
    let (live, address, says) = started(LONG);
    let before = ask(address, "/metrics");
    assert!(
        before.starts_with("HTTP/1.1 200 OK\r\n") && before.contains("\nsmtpress_run_over 0\n"),
        "{before}"
    );
    assert!(ask(address, "/").starts_with("HTTP/1.1 404 "));
    let end = std::thread::spawn(move || live.over(&over(), || false));
    let waits = says.recv_timeout(LONG).unwrap();
    assert!(waits.contains(&format!("http://{address}/metrics")) && waits.contains("up to 1m"), "{waits}");
    let after = ask(address, "/metrics");
    assert!(after.contains("\nsmtpress_run_over 1\n") && after.ends_with("# EOF\n"), "{after}");
    assert_eq!(end.join().unwrap(), Vec::<String>::new());
    assert!(TcpStream::connect(address).is_err(), "the port is released");
}

#[test]
fn a_wait_that_nobody_ends_is_reported() {
    let (live, address, _says) = started(Duration::from_millis(1));
    ask(address, "/metrics");
    let said = live.over(&over(), || false);
    assert!(said[0].contains("final metrics") && said[0].contains("--linger"), "{said:?}");
    let (live, _, says) = started(Duration::ZERO);
    let said = live.over(&over(), || false);
    assert!(said[0].starts_with("no scrape of http://127.0.0.1:"), "{said:?}");
    assert!(says.try_recv().is_err(), "there was no wait to tell of");
}

#[test]
fn a_scraper_that_does_not_read_holds_nobody() {
    let (live, address, says) = started(LONG);
    let mut idle = TcpStream::connect(address).unwrap();
    idle.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n").unwrap();
    let end = std::thread::spawn(move || live.over(&over(), || false));
    says.recv_timeout(LONG).unwrap();
    ask(address, "/metrics");
    assert_eq!(end.join().unwrap(), Vec::<String>::new());
    drop(idle);
}
