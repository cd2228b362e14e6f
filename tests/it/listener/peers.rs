//! Peers that announce other clients: PROXY headers and XCLIENT, trusted and not trusted. Also clients of a unix
//! socket, which have no address.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use smtpress::net::address::addresses::Addresses;

use super::*;

fn trusting(texts: &[&str], proxy: bool, xclient: bool) -> Limits {
    let trusted = Addresses::parse(texts).unwrap();
    Limits {
        trusted,
        proxy,
        xclient,
        max_connections_per_host: Some(1),
        style: Dialect::Postfix,
        ..Limits::default()
    }
}

/// Connects as a load balancer on this machine, and sends this header for a client.
fn proxied(listener: &Listener, header: &str) -> Client {
    let mut client = Client::connect(listener);
    client.send(header);
    client
}

fn header(client: &str) -> String {
    format!("PROXY TCP4 {client} 127.0.0.1 40000 25\r\n")
}

#[test]
fn a_header_makes_the_client_the_host_that_limits_count() {
    let listener = start(trusting(&["127.0.0.1"], true, false));
    let mut first = proxied(&listener, &header("10.0.0.1"));
    assert_eq!(first.reply()[..3], *"220");
    let mut second = proxied(&listener, &header("10.0.0.2"));
    assert_eq!(second.reply()[..3], *"220");
    let mut again = proxied(&listener, &header("10.0.0.1"));
    assert!(again.reply().contains("too many connections from 10.0.0.1"));
    // Bytes after the header in the same segment belong to the session, although they come before the greeting.
    let mut early = proxied(&listener, &format!("{}EHLO early.example\r\n", header("10.0.0.3")));
    assert_eq!((&early.reply()[..3], &early.reply()[..3]), ("220", "250"));
    // With a header without an address the session has no client host, so no limit for a host applies.
    let mut checks = [0; 3].map(|_| proxied(&listener, "PROXY UNKNOWN\r\n"));
    assert!(checks.iter_mut().all(|check| check.reply().starts_with("220")));
    let ledger = listener.stop();
    assert_eq!((ledger.sessions_peak, ledger.host_sessions_peak), (6, 1));
    assert_eq!((ledger.connections, ledger.refused_connections), (7, 1));
}

#[test]
fn a_header_that_is_none_or_comes_late_closes_the_connection() {
    let limits = Limits { proxy_timeout: Duration::from_millis(50), ..trusting(&["127.0.0.1"], true, false) };
    let listener = start(limits);
    for header in ["EHLO client.example\r\n", "PROXY TCP4 10.0.0.1 10.0.0.2 1\r\n", "PROXY", ""] {
        let mut client = proxied(&listener, header);
        // A close with unread input is a reset.
        assert!(client.end().is_ok_and(|said| said.is_empty()) || !header.is_empty(), "{header:?}");
    }
    let ledger = ledger_when(&listener, |ledger| ledger.refused_connections == 4);
    assert_eq!(ledger.refused.get("proxy-header"), Some(&4), "{ledger:?}");
    assert_eq!((ledger.connections, ledger.sessions_peak), (4, 0));
}

#[test]
fn nobody_is_believed_who_is_not_trusted() {
    let listener = start(trusting(&["127.0.0.9"], true, true));
    let mut client = Client::connect(&listener);
    assert_eq!(client.reply()[..3], *"220", "it is not asked for a header");
    assert!(client.say("PROXY TCP4 10.0.0.1 127.0.0.1 1 2").starts_with("500"));
    assert!(!client.say("EHLO client.example").contains("XCLIENT"));
    assert_eq!(client.say("XCLIENT ADDR=10.0.0.1"), "550 5.7.0 Error: insufficient authorization");
    // An untrusted peer is still counted as its own host.
    assert!(Client::connect(&listener).reply().contains("too many connections from 127.0.0.1"));
    let mut balancer = Client::connect_from("127.0.0.9", &listener);
    balancer.send(&header("10.0.0.1"));
    assert_eq!(balancer.reply()[..3], *"220");
    assert!(balancer.say("EHLO client.example").contains("\n250-XCLIENT NAME ADDR PORT PROTO HELO\n"));
    assert_eq!(listener.stop().refused.get("policy-rejected"), Some(&1));
}

#[test]
fn xclient_begins_the_session_of_another_client() {
    let listener = start(trusting(&["127.0.0.1"], false, true));
    let mut first = Client::greeted(&listener);
    let mut second = Client::greeted(&listener);
    for wrong in
        ["", " ADDR", " ADDR=", " ADDR=client.example", " ADDR=::1", " ADDR=IPV6:10.0.0.1", " COLOUR=red"]
    {
        assert_eq!(first.say(&format!("XCLIENT{wrong}"))[..3], *"500", "{wrong}");
    }
    assert_eq!(first.say("XCLIENT ADDR=10.0.0.1 NAME=[UNAVAILABLE] HELO=a+2Bb")[..3], *"220");
    assert!(first.say("MAIL FROM:<>").contains("send HELO/EHLO first"), "it is a new session");
    assert_eq!(first.say("EHLO client.example")[..3], *"250");
    assert_eq!(first.say("MAIL FROM:<>")[..3], *"250");
    assert_eq!(first.say("XCLIENT ADDR=10.0.0.2")[..3], *"503", "a transaction is under way");
    assert_eq!(first.say("RSET")[..3], *"250");
    let refused = second.say("xclient addr=10.0.0.1");
    assert!(refused.contains("too many connections from 10.0.0.1"), "{refused}");
    assert!(second.is_closed());
    let mut third = Client::greeted(&listener);
    assert_eq!(third.say("XCLIENT ADDR=IPV6:2001:db8::1")[..3], *"220");
    assert_eq!(third.say("XCLIENT NAME=x PORT=[UNAVAILABLE] ADDR=[UNAVAILABLE]")[..3], *"220", "as it was");
    assert_eq!(third.say("XCLIENT ADDR=10.0.0.3")[..3], *"220");
    let ledger = ledger_when(&listener, |ledger| ledger.sessions == 2);
    assert_eq!((ledger.connections, ledger.refused_connections), (3, 1));
    assert_eq!(ledger.host_sessions_peak, 1);
    // The end of a session releases the slot of its host.
    assert_eq!(first.say("QUIT")[..3], *"221");
    let mut fourth = Client::greeted(&listener);
    assert_eq!(fourth.say("XCLIENT ADDR=10.0.0.1")[..3], *"220");
}

#[test]
fn without_the_key_there_is_no_xclient() {
    let listener = start(trusting(&["127.0.0.1"], false, false));
    let mut client = Client::connect(&listener);
    assert_eq!(client.reply()[..3], *"220");
    assert!(!client.say("EHLO client.example").contains("XCLIENT"));
    assert_eq!(client.say("XCLIENT ADDR=10.0.0.1"), "500 5.5.2 Error: command not recognized");
}

#[test]
fn clients_of_a_unix_socket_have_no_address_and_are_one_host_to_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("smtp.sock");
    let place = format!("unix:{}", path.display()).parse().unwrap();
    let limits = Limits { max_connections: Some(2), ..trusting(&[], false, true) };
    let listener = listener::start_at(&place, limits, 7, 2).unwrap();
    let said = |script: &str| {
        let mut client = UnixStream::connect(&path).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client.write_all(script.as_bytes()).unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        said
    };
    let whole = said("EHLO x.example\r\nXCLIENT ADDR=10.0.0.1\r\nEHLO x.example\r\nQUIT\r\n");
    assert!(whole.contains("250-XCLIENT"), "{whole}");
    assert_eq!(whole.matches("220 ").count(), 2, "{whole}");
    assert!(whole.ends_with("221 2.0.0 Bye\r\n"), "{whole}");
    let open: Vec<UnixStream> = (0..2).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let ledger = ledger_when(&listener, |ledger| ledger.sessions == 2);
    assert_eq!((ledger.sessions, ledger.host_sessions_peak), (2, 1), "only the one that the header names");
    assert!(said("").contains("All server ports are busy"));
    drop(open);
    listener.stop();
    assert!(!path.exists());
}
