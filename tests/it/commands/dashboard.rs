//! The live page over HTTP: its addresses, and which requests may read it or stop the run. `tests/page` tests the page
//! in a browser.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::stage::{Running, Stage};

/// No step takes this long on any machine.
const LONGEST: Duration = Duration::from_secs(120);

/// Starts a run of a minute with a live page. Returns it with the page's address and URL.
fn running(stage: &Stage, more: &[&str]) -> (Running, SocketAddr, String) {
    let arguments = ["run", "small.toml", "--for", "60s", "-o", "r", "--dashboard"];
    let place = if more.is_empty() { &["127.0.0.1:0"][..] } else { more };
    let mut running = stage.start(&[&arguments[..], place].concat());
    let line = running.hear("live page at ");
    let url = line.trim().rsplit_once("http://").unwrap().1.to_owned();
    let (address, path) = url.split_once('/').unwrap();
    (running, address.parse().unwrap(), format!("/{path}"))
}

/// Returns the answer to a request that closes the connection.
fn ask(address: SocketAddr, method: &str, path: &str, headers: &str) -> String {
    let mut answer = Vec::new();
    send(address, method, path, headers).read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

fn send(address: SocketAddr, method: &str, path: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONGEST)).unwrap();
    let host =
        if headers.to_lowercase().contains("host:") { String::new() } else { format!("Host: {address}\r\n") };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\nContent-Length: 0\r\n\r\n"
    )
    .unwrap();
    stream
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

/// Checks that the run was interrupted and that its counts reconcile.
fn balanced(stage: &Stage) {
    let result = stage.json("r/result.json");
    assert_eq!(result["verdict"]["status"], "interrupted");
    let phase = &result["phases"][0];
    assert_eq!(phase["started"], phase["accepted"], "what was under way was let end: {phase}");
    assert_eq!(phase["accepted"], result["ledger"]["messages"]);
    assert!(phase["accepted"].as_u64() > Some(0), "{phase}");
}

#[test]
fn a_place_that_cannot_be_or_may_not_be_is_said_before_anything_is_sent_or_written() {
    let stage = Stage::new();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let said = stage
        .run(&["run", "few.toml", "-o", "q", "--dashboard", &held.local_addr().unwrap().to_string()])
        .ended(3);
    assert!(said.err.contains("--dashboard") && said.err.contains("name another port"), "{}", said.err);
    for place in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8025"] {
        let said = stage.run(&["run", "few.toml", "-o", "q", "--dashboard", place]).ended(3);
        assert!(said.err.contains("--live-beyond-loopback"), "{}", said.err);
    }
    stage.run(&["run", "few.toml", "-o", "q", "--dashboard", "here"]).ended(2);
    assert!(!stage.path("q").exists());
}

#[test]
fn the_page_stops_the_run_as_ctrl_c_does() {
    let stage = Stage::new();
    let (mut running, address, path) = running(&stage, &[]);
    assert_eq!(path, "/");
    running.hear(" 5 s ");
    let page = ask(address, "GET", "/", "");
    assert_eq!(status(&page), "200");
    for part in [
        "RUNNING",
        "no-store",
        "nosniff",
        "frame-ancestors 'none'",
        "connect-src &#39;self&#39;",
        "Stop the run",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("PASS"));
    // These may not stop the run: a link, another page, another host name.
    let foreign = "Origin: http://evil.example\r\n";
    for (method, path, headers, expected) in [
        ("GET", "/stop", "", "405"),
        ("POST", "/stop", foreign, "403"),
        ("POST", "/stop", "Sec-Fetch-Site: cross-site\r\n", "403"),
        ("POST", "/stop", "Host: evil.example\r\n", "421"),
        ("GET", "/", "Host: evil.example\r\n", "421"),
        ("GET", "/events", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\n", "403"),
        ("GET", "/result.json", "", "404"),
        ("POST", "/", "", "405"),
    ] {
        assert_eq!(status(&ask(address, method, path, headers)), expected, "{method} {path} {headers}");
    }
    // A request head is refused if it has not ended after 16 KiB. The rest of a longer head is never read; this resets
    // the connection and may lose the answer. So there the test only checks that the page is served as before.
    let head = format!("GET / HTTP/1.1\r\nHost: {address}\r\nX-Long: ");
    let long = format!("{head:x<size$}", size = 16 * 1024);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONGEST)).unwrap();
    stream.write_all(long.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(status(&answer), "431", "{answer}");
    TcpStream::connect(address).unwrap().write_all(long.repeat(64).as_bytes()).ok();
    assert_eq!(status(&ask(address, "GET", "/", "")), "200");
    // One client reads to the end, another never reads.
    let mut viewer = send(address, "GET", "/events", "");
    let deaf = send(address, "GET", "/events", "");
    let stopped = ask(
        address,
        "POST",
        "/stop",
        &format!("Origin: http://{address}\r\nSec-Fetch-Site: same-origin\r\n"),
    );
    assert_eq!(status(&stopped), "202", "{stopped}");
    running.hear("stopping, as the live page asks");
    let mut events = String::new();
    viewer.read_to_string(&mut events).unwrap();
    running.end().ended(105);
    drop(deaf);
    balanced(&stage);
    assert!(events.contains("text/event-stream"), "{}", &events[..events.len().min(500)]);
    let last = events.rsplit_once("event: over").unwrap().1;
    assert!(last.contains("INTERRUPTED") && !last.contains("event: "), "the end is the report");
}

#[test]
fn one_ctrl_c_after_the_page_stops_at_once() {
    let stage = Stage::new();
    let (mut running, address, _) = running(&stage, &[]);
    running.hear(" 5 s ");
    assert_eq!(status(&ask(address, "POST", "/stop", "")), "202");
    running.hear("stopping, as the live page asks");
    running.signal(Signal::SIGINT);
    let said = running.end().ended(105);
    assert!(!said.err.contains("given up"), "{}", said.err);
}

#[test]
fn beyond_loopback_a_token_opens_and_nothing_else() {
    let stage = Stage::new();
    let (mut running, address, path) = running(&stage, &["0.0.0.0:0", "--live-beyond-loopback"]);
    let address = SocketAddr::from(([127, 0, 0, 1], address.port()));
    let (_, token) = path.split_once("?token=").unwrap();
    assert!(token.len() >= 43, "{token}");
    running.hear(" 5 s ");
    for path in ["/", "/events", "/?token=", "/?token=wrong"] {
        assert_eq!(status(&ask(address, "GET", path, "")), "403", "{path}");
    }
    assert_eq!(status(&ask(address, "POST", "/stop", "")), "403");
    let host = "Host: press.example\r\n";
    assert_eq!(status(&ask(address, "GET", &format!("/?token={token}"), host)), "200");
    let stop = format!("/stop?token={token}");
    assert_eq!(
        status(&ask(address, "POST", &stop, &format!("{host}Origin: http://evil.example\r\n"))),
        "403"
    );
    assert_eq!(status(&ask(address, "POST", &stop, host)), "202");
    running.end().ended(105);
    balanced(&stage);
    for file in ["result.json", "environment.json", "report.html", "profile.toml"] {
        assert!(!stage.read(&format!("r/{file}")).contains(token), "{file}");
    }
}
