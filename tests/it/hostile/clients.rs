//! Clients that misbehave, against the embedded listener in its own process: its memory stays small, and it serves the
//! other clients.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::commands::stage::{Listening, Stage};

/// The most memory that the listener may need in addition to that at its start, in KiB.
const MOST: u64 = 16 * 1024;

/// Connects a client, which the listener greets.
fn connect(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut greeting = [0; 3];
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"220");
    stream
}

/// The peak of the resident memory, in KiB.
fn peak(listener: &Listening) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", listener.running.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Lets a client misbehave with `offend`. Checks that another client is served then, and returns the ledger.
fn survives(settings: &[&str], offend: impl FnOnce(SocketAddr)) -> serde_json::Value {
    let stage = Stage::new();
    let listener = Listening::with(&stage, settings);
    let before = peak(&listener);
    offend(listener.address);
    // The slot of the first client is released soon.
    let served = (0..300).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        stage.run(&["trace", &listener.url()]).code == Some(0)
    });
    assert!(served, "nobody else is served");
    let grown = peak(&listener) - before;
    assert!(grown < MOST, "{grown} KiB more than before");
    let ledger = listener.ledger();
    assert_eq!((&ledger["messages"], &ledger["sessions"]), (&1.into(), &0.into()), "{ledger}");
    ledger
}

/// Repeats these bytes up to `total` bytes, or until the listener closes. Returns how many were written.
fn pour(mut stream: &TcpStream, bytes: &[u8], total: usize) -> usize {
    let piece = bytes.repeat(1 << 20 >> bytes.len().ilog2());
    let mut sent = 0;
    while sent < total {
        match stream.write(&piece) {
            Ok(n) => sent += n,
            Err(_) => break,
        }
    }
    sent
}

/// Reads everything until the end of the stream.
fn rest(mut stream: TcpStream) -> String {
    let mut said = Vec::new();
    // A reset is an end too.
    stream.read_to_end(&mut said).ok();
    String::from_utf8(said).unwrap()
}

#[test]
fn a_command_of_one_gibibyte_is_one_error() {
    let ledger = survives(&[], |address| {
        let stream = connect(address);
        assert!(pour(&stream, b"a", 1 << 30) >= 1 << 30);
        (&stream).write_all(b"\r\nQUIT\r\n").unwrap();
        let said = rest(stream);
        assert_eq!(said.lines().filter(|line| line.starts_with("500")).count(), 1, "{said}");
        assert!(said.lines().last().unwrap().starts_with("221"), "{said}");
    });
    assert!(ledger["received_bytes"].as_u64().unwrap() > 1 << 30, "{ledger}");
}

#[test]
fn content_without_an_end_is_not_kept() {
    survives(&[], |address| {
        let stream = connect(address);
        (&stream).write_all(b"EHLO a.example\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n").unwrap();
        pour(&stream, b"\0 and so on and on and on\n\r.\r.\n", 24 << 20);
    });
}

#[test]
fn nuls_and_binary_are_errors_until_there_were_too_many() {
    let binary = b"\0\xff\x16\x03\x01\r\n";
    let settings = &["listener.max_bad_commands=20"];
    // Only as many lines as the listener reads are sent. Unread bytes could reset the connection, and the replies would
    // be lost.
    let ledger = survives(settings, |address| {
        let stream = connect(address);
        (&stream).write_all(&binary.repeat(21)).unwrap();
        let said = rest(stream);
        // The first line is the rest of the greeting.
        let lines: Vec<&str> = said.lines().skip(1).collect();
        let (last, errors) = lines.split_last().unwrap();
        assert!(errors.len() == 20 && errors.iter().all(|line| line.starts_with("50")), "{said}");
        assert!(last.starts_with("421"), "{said}");
    });
    assert_eq!(ledger["refused"]["bad-command-limit-exceeded"], 1, "{ledger}");
    let ledger = survives(settings, |address| {
        pour(&connect(address), binary, 1 << 20);
    });
    assert_eq!(ledger["refused"]["bad-command-limit-exceeded"], 1, "{ledger}");
}

#[test]
fn replies_that_nobody_reads_are_not_kept() {
    for command in ["RSET\r\n", "HELP\r\n", "nonsense\r\n", "EHLO a.example\r\n"] {
        survives(&["listener.max_connections=1"], |address| {
            let stream = connect(address);
            stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
            let sent = pour(&stream, command.as_bytes(), 256 << 20);
            assert!(sent < 64 << 20, "{command:?}: it heard {sent} bytes without being heard");
        });
    }
}

#[test]
fn clients_that_trickle_take_a_place_and_no_more() {
    survives(&[], |address| {
        let mut slow: Vec<_> = (0..300).map(|_| connect(address)).collect();
        for byte in b"EHLO slow.exam" {
            for stream in &mut slow {
                stream.write_all(&[*byte]).unwrap();
            }
        }
        let mut quick = connect(address);
        quick.write_all(b"QUIT\r\n").unwrap();
        assert!(rest(quick).contains("221"));
    });
}

#[test]
fn sessions_cut_off_anywhere_leave_nothing_behind() {
    let whole =
        b"EHLO a.example\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\nSubject: x\r\n\r\nbody\r\n";
    survives(&[], |address| {
        for end in 0..whole.len() {
            let stream = connect(address);
            (&stream).write_all(&whole[..end]).unwrap();
            if end % 2 == 0 {
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            }
        }
    });
}
