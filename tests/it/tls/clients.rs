//! The embedded listener with TLS, and clients without the code of the crate's client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use smtpress::listener::limits::{Forced, Limits, TlsMode};
use smtpress::listener::{self, Listener};

use super::limits;

fn start(limits: Limits) -> Listener {
    listener::start("127.0.0.1:0".parse().unwrap(), limits, 7, 1).unwrap()
}

fn connect(listener: &Listener) -> TcpStream {
    let stream = TcpStream::connect(listener.addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Reads one reply of any number of lines.
fn reply(stream: &mut impl BufRead) -> String {
    let mut reply = String::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        reply.push_str(&line);
        if line.as_bytes().get(3) != Some(&b'-') {
            return reply;
        }
    }
}

fn say<S: Read + Write>(stream: &mut BufReader<S>, line: &str) -> String {
    stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
    stream.get_mut().flush().unwrap();
    reply(stream)
}

/// Connects, reads the greeting and sends EHLO, whose reply must offer STARTTLS.
fn starttls(listener: &Listener) -> BufReader<TcpStream> {
    let mut stream = BufReader::new(connect(listener));
    reply(&mut stream);
    assert!(say(&mut stream, "EHLO client.example").contains("STARTTLS"));
    stream
}

fn secure(listener: &Listener, stream: TcpStream) -> BufReader<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(listener.certificate().unwrap().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    BufReader::new(StreamOwned::new(connection, stream))
}

#[test]
fn after_the_handshake_everything_begins_anew() {
    let listener = start(limits(TlsMode::Starttls));
    let mut plain = starttls(&listener);
    assert!(say(&mut plain, "MAIL FROM:<a@sender.example>").starts_with("250"));
    assert!(say(&mut plain, "STARTTLS").starts_with("220"));
    let mut stream = secure(&listener, plain.into_inner());
    assert!(say(&mut stream, "RCPT TO:<b@recipient.example>").starts_with("503"), "no transaction is left");
    assert!(say(&mut stream, "MAIL FROM:<a@sender.example>").starts_with("503"), "hello comes first again");
    let offer = say(&mut stream, "EHLO client.example");
    assert!(offer.starts_with("250-") && !offer.contains("STARTTLS"), "{offer}");
    assert_eq!(say(&mut stream, "STARTTLS"), "503 #5.5.1 TLS already active\r\n");
    assert!(say(&mut stream, "MAIL FROM:<a@sender.example>").starts_with("250"));
    assert!(say(&mut stream, "QUIT").starts_with("221"));
    assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 0, "it says goodbye (close_notify)");
    let ledger = listener.stop();
    assert_eq!((ledger.tls_handshakes, ledger.tls_failed, ledger.sessions), (1, 0, 0));
    assert_eq!(ledger.refused["bad-sequence"], 3);
}

#[test]
fn what_stands_behind_starttls_is_never_read_as_a_command() {
    let listener = start(limits(TlsMode::Starttls));
    let mut stream = starttls(&listener);
    let refused = say(&mut stream, "STARTTLS\r\nMAIL FROM:<a@sender.example>\r\nNOOP");
    assert!(refused.starts_with("554 "), "{refused}");
    assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 0, "and nothing answers the rest");
    // The clear text comes after the 220 to STARTTLS, in place of the handshake.
    let mut stream = starttls(&listener);
    assert!(say(&mut stream, "STARTTLS").starts_with("220"));
    stream.get_mut().write_all(b"MAIL FROM:<a@sender.example>\r\nRCPT TO:<b@recipient.example>\r\n").unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(!rest.starts_with(b"250"), "{rest:?}");
    let ledger = listener.stop();
    assert_eq!((ledger.refused["protocol-violation"], ledger.tls_failed, ledger.messages), (1, 1, 0));
}

#[test]
fn injection_while_the_go_ahead_is_held_back() {
    let reply = Forced { step: smtpress::smtp::Step::Starttls, reply: "220 go".to_owned(), probability: 1.0 };
    // STARTTLS is in a group with other commands, so clear text follows it.
    let listener = start(Limits { replies: vec![reply], ..limits(TlsMode::Starttls) });
    let mut stream = starttls(&listener);
    let answered = say(&mut stream, "NOOP\r\nSTARTTLS\r\nQUIT");
    assert!(answered.starts_with("250"), "{answered}");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.starts_with("554 ") && !rest.contains("221"), "{rest}");
}

#[test]
fn a_client_that_vanishes_in_the_handshake_leaves_nothing_behind() {
    let listener = start(Limits { max_tls_sessions: Some(1), ..limits(TlsMode::Starttls) });
    for _ in 0..3 {
        let mut stream = starttls(&listener);
        assert!(say(&mut stream, "STARTTLS").starts_with("220"), "the place of the one before is free");
        drop(stream);
        super::super::listener::ledger_when(&listener, |ledger| ledger.sessions == 0);
    }
    let ledger = listener.stop();
    assert_eq!((ledger.tls_failed, ledger.tls_handshakes, ledger.sessions_peak), (3, 0, 1));
}

#[test]
fn a_client_that_never_shakes_hands_is_closed_by_the_idle_limit() {
    for tls in [TlsMode::Starttls, TlsMode::Implicit] {
        let listener = start(Limits { idle_timeout: Some(Duration::from_millis(200)), ..limits(tls) });
        let mut stream = if tls == TlsMode::Starttls {
            let mut stream = starttls(&listener);
            assert!(say(&mut stream, "STARTTLS").starts_with("220"));
            stream
        } else {
            BufReader::new(connect(&listener))
        };
        assert_eq!(
            stream.read_to_end(&mut Vec::new()).unwrap(),
            0,
            "{tls:?}: closed without a word in clear text"
        );
        assert_eq!(listener.stop().tls_failed, 1);
    }
}

#[test]
fn its_certificate_is_written_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("listener.pem");
    let listener = start(Limits { certificate_out: Some(path.clone()), ..limits(TlsMode::Implicit) });
    let read = smtpress::net::address::tls::certificates(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(read[0], *listener.certificate().unwrap());
    let mut stream = secure(&listener, connect(&listener));
    assert!(reply(&mut stream).starts_with("220"));
    let nowhere =
        Limits { certificate_out: Some(directory.path().join("no/file")), ..limits(TlsMode::Implicit) };
    let error = listener::start("127.0.0.1:0".parse().unwrap(), nowhere, 7, 1).unwrap_err().to_string();
    assert!(error.contains("no/file"), "{error}");
}
