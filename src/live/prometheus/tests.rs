//! What is written, who gets which form, and how the end is waited for.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;

use super::*;
use crate::live::Live;
use crate::live::metrics::tests::{about, books, second};
use crate::report::fixtures;

/// A minute: more than any step of a test takes, and bounded.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn the_text_is_openmetrics_with_everything_hostile_escaped() {
    let books = books([second(0), Heard::Over(Arc::new(fixtures::accepted()))]);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(Arc::new(Mutex::new(books)))));
    let mut body = String::new();
    text::encode(&mut body, &registry).unwrap();
    // What this process used and which version it is change from build to build.
    let stable: String = body
        .replace(env!("CARGO_PKG_VERSION"), "VERSION")
        .lines()
        .filter(|line| !line.starts_with("process_cpu_seconds_total"))
        .map(|line| format!("{line}\n"))
        .collect();
    insta::assert_snapshot!(stable);
}

#[test]
fn spans_hold_every_bucket_once() {
    let filled = [(-40, 3), (-39, 5), (-30, 1), (2, 7), (3, 7)];
    let (spans, deltas) = spans(&filled);
    assert_eq!(spans, [(-40, 2), (8, 1), (31, 2)]);
    assert_eq!(deltas, [3, 2, -4, 6, 0]);
    // Read back as Prometheus does.
    let (mut read, mut index, mut count, mut deltas) = (Vec::new(), 0, 0, deltas.into_iter());
    for (offset, length) in spans {
        index += offset;
        for _ in 0..length {
            count += deltas.next().unwrap();
            read.push((index, count));
            index += 1;
        }
    }
    assert_eq!(read, filled.map(|(index, count)| (index, i64::try_from(count).unwrap_or(0))));
}

#[test]
fn protobuf_is_for_who_likes_it_best() {
    let protobuf =
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
    // As Prometheus 2.42 asks with native histograms, and without.
    assert!(wants_protobuf(&format!(
        "{protobuf},application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    )));
    assert!(!wants_protobuf(
        "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    ));
    assert!(!wants_protobuf(&format!("text/plain, {protobuf};q=0.5")));
    assert!(!wants_protobuf(&format!("{protobuf};q=0")));
    assert!(!wants_protobuf("application/vnd.google.protobuf; proto=other; encoding=text"));
    assert!(!wants_protobuf("*/*") && !wants_protobuf(""));
}

/// A teller on a port of its own, and what it says.
fn started(linger: Duration) -> (Live, SocketAddr, mpsc::Receiver<String>) {
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (said, says) = mpsc::channel();
    let say = Box::new(move |line: &str| said.send(line.to_owned()).unwrap());
    let teller = Prometheus::new(listener, about(), linger, say).unwrap();
    (Live::start(vec![Box::new(teller)]).unwrap(), address, says)
}

/// The whole answer to a request for a path.
fn ask(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
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
    assert!(TcpStream::connect(address).is_err(), "the port is free again");
}

#[test]
fn a_wait_that_nobody_ends_is_told() {
    let (live, address, _says) = started(Duration::from_millis(1));
    ask(address, "/metrics");
    let said = live.over(&over(), || false);
    assert!(said[0].contains("final metrics") && said[0].contains("--linger"), "{said:?}");
    let (live, _, says) = started(Duration::ZERO);
    let said = live.over(&over(), || false);
    assert!(said[0].starts_with("nobody scraped http://127.0.0.1:"), "{said:?}");
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
