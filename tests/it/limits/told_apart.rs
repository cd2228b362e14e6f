//! Listeners with one fault each in how they enforce a limit: each fault is distinguished, and no result is as
//! expected.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use smtpress::experiment::limit::{EndReason, LimitResult, LimitVerdict, SearchOutcome, ShownBy};

use super::faulty::{Fault, Faulty};
use super::stage::{SECOND, bounds, one, request, search_at};

const HOST: &str = "too-many-connections-from-host";

/// Searches the limit of twelve sessions at a listener with this fault.
fn sessions(fault: Fault) -> LimitResult {
    let faulty = Faulty::start(12, fault);
    one(search_at(faulty.addr, None, bounds(), &request(&[(HOST, Some(12))])))
}

#[test]
fn without_a_fault_all_is_as_expected() {
    let finding = sessions(Fault::None);
    assert_eq!(
        (finding.verdict, finding.value, finding.repeats),
        (LimitVerdict::AsExpected, Some(12), 3),
        "{finding:?}"
    );
    assert_eq!((finding.inside_alive, finding.closed), (Some(true), Some(true)), "{finding:?}");
}

#[test]
fn m30_places_that_leak_are_never_given_back() {
    let faulty = Faulty::start(12, Fault::LeaksSlots);
    let outcome = search_at(faulty.addr, None, bounds(), &request(&[(HOST, Some(12))]));
    let [finding] = &outcome.results[..] else { panic!("{outcome:?}") };
    assert_ne!(finding.verdict, LimitVerdict::AsExpected, "{finding:?}");
    assert_eq!(finding.release_ms, None);
    assert!(finding.remarks.iter().any(|remark| remark == "release: never (3 s)"), "{finding:?}");
    // When all slots are lost no session is served any more, and the search reports this.
    assert!(matches!(&outcome.ended, Some(EndReason::Lost(kind, _)) if kind.name() == HOST), "{outcome:?}");
}

#[test]
fn a_limit_that_is_forgotten_under_load_is_unstable() {
    let finding = sessions(Fault::ForgetsUnderLoad);
    assert!(
        matches!(finding.verdict, LimitVerdict::Unstable | LimitVerdict::NotEnforced | LimitVerdict::Differs),
        "{finding:?}"
    );
    assert!(finding.fails(), "{finding:?}");
}

#[test]
fn a_limit_below_the_configured_one_differs() {
    let finding = sessions(Fault::RefusesBelow);
    assert_eq!((finding.verdict, finding.value), (LimitVerdict::Differs, Some(9)), "{finding:?}");
}

#[test]
fn a_421_without_a_close_is_seen() {
    let finding = sessions(Fault::KeepsOpenAfter421);
    assert_eq!((finding.code, finding.closed), (Some(421), Some(false)), "{finding:?}");
}

#[test]
fn open_sessions_that_are_dropped_are_missed() {
    let finding = sessions(Fault::DropsOpenSessions);
    assert_eq!(finding.inside_alive, Some(false), "{finding:?}");
    assert_eq!(finding.verdict, LimitVerdict::Unsafe, "{finding:?}");
}

#[test]
fn tls_that_is_counted_apart_is_reported() {
    let faulty = Faulty::start(6, Fault::CountsTlsApart);
    let request = request(&[("too-many-tls-sessions", Some(6))]);
    let finding = one(search_at(faulty.addr, Some(&faulty.certificate), bounds(), &request));
    assert_eq!(finding.value, Some(6), "{finding:?}");
    assert!(finding.remarks.iter().any(|remark| remark.contains("counted apart")), "{finding:?}");
}

#[test]
fn a_second_message_that_is_smuggled_in_is_unsafe() {
    let faulty = Faulty::start(12, Fault::TakesLfDotLf);
    let names = [("bare-cr-lf.lf-dot-lf", None), ("bare-cr-lf.crlf-dot-cr", None)];
    let outcome = search_at(faulty.addr, None, bounds(), &request(&names));
    let verdicts: Vec<_> = outcome.results.iter().map(|finding| finding.verdict).collect();
    assert_eq!(verdicts, [LimitVerdict::Unsafe, LimitVerdict::Found], "{outcome:?}");
}

/// Searches every limit that needs no long wait.
fn everything(addr: std::net::SocketAddr) -> SearchOutcome {
    let mut bounds = bounds();
    bounds.release = SECOND;
    search_at(addr, None, bounds, &request(&[(HOST, Some(12)), ("too-many-recipients", Some(100))]))
}

#[test]
fn a_listener_that_is_down_or_dumb_is_never_as_expected() {
    let down = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let outcome = everything(down);
    assert!(
        outcome.results.is_empty() && matches!(outcome.ended, Some(EndReason::Unserved(_))),
        "{outcome:?}"
    );
    let dumb = Faulty::start(12, Fault::NeverAnswers);
    let outcome = everything(dumb.addr);
    assert!(
        outcome.results.is_empty() && matches!(outcome.ended, Some(EndReason::Unserved(_))),
        "{outcome:?}"
    );
    let full = Faulty::start(0, Fault::None);
    let outcome = everything(full.addr);
    assert!(
        outcome.results.is_empty() && matches!(outcome.ended, Some(EndReason::Unserved(_))),
        "{outcome:?}"
    );
}

/// A listener that closes its socket while the limit of open sessions is reached, as Sendmail does. So TCP connections
/// are refused.
struct Closing {
    addr: std::net::SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Closing {
    fn start(limit: usize) -> Closing {
        let mut socket = Some(TcpListener::bind("127.0.0.1:0").unwrap());
        let addr = socket.as_ref().unwrap().local_addr().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let ended = over.clone();
        let thread = std::thread::spawn(move || {
            let mut inside: Vec<(TcpStream, Vec<u8>)> = Vec::new();
            while !ended.load(Ordering::SeqCst) {
                // A connection that was not accepted in time has no slot. The port is bound again for each connection.
                if inside.len() >= limit {
                    socket = None;
                } else if socket.is_none() {
                    socket = TcpListener::bind(addr).ok();
                }
                if let Some(socket) = &socket {
                    socket.set_nonblocking(true).unwrap();
                    if let Ok((mut stream, _)) = socket.accept() {
                        stream.set_nonblocking(true).unwrap();
                        stream.write_all(b"220 mx.closing.example\r\n").unwrap();
                        inside.push((stream, Vec::new()));
                    }
                }
                inside.retain_mut(answered);
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
        });
        Closing { addr, over, thread: Some(thread) }
    }
}

/// Answers all lines that have come. Returns false at the end of the session.
fn answered((stream, read): &mut (TcpStream, Vec<u8>)) -> bool {
    let mut bytes = [0; 512];
    match stream.read(&mut bytes) {
        Ok(0) => return false,
        Ok(count) => read.extend_from_slice(&bytes[..count]),
        Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
    }
    while let Some(end) = read.iter().position(|byte| *byte == b'\n') {
        let line: Vec<u8> = read.drain(..=end).collect();
        let leaves = line.starts_with(b"QUIT");
        let said = stream.write_all(if leaves { b"221 bye\r\n" } else { b"250 ok\r\n" });
        if leaves || said.is_err() {
            return false;
        }
    }
    true
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn m29_a_listener_that_closes_its_socket_shows_no_connection() {
    let listener = Closing::start(7);
    let outcome = search_at(listener.addr, None, bounds(), &request(&[(HOST, None)]));
    let finding = outcome.results.first().unwrap_or_else(|| panic!("{outcome:?}"));
    assert_eq!(finding.shown_by, Some(ShownBy::NoConnect), "{finding:?}");
    assert_eq!(finding.condition.as_deref(), Some("connect-refused"), "{finding:?}");
    assert_eq!(finding.step.as_deref(), Some("connect"), "{finding:?}");
}
