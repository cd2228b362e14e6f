//! Listeners that break TLS at each possible place: nothing hangs, each fault has the right condition, and the counts
//! reconcile.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConnection, StreamOwned};
use smtpress::collector::Outcome;
use smtpress::net::address::tls::Credential;
use smtpress::smtp::{Step, script};

use super::super::runs::testbed::{SECOND, Told, ms, run_against};
use super::{ALWAYS, credential, one_by_one, server_config};

/// Starts a listener that calls `serve` with each connection until the process ends.
fn listener(serve: impl Fn(TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in socket.incoming().flatten() {
            let serve = serve.clone();
            // A client that is silent for this long is regarded as lost.
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            std::thread::spawn(move || drop(serve(stream)));
        }
    });
    addr
}

/// Runs the dialogue in clear text until the client sends STARTTLS.
fn until_starttls(stream: &TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    (&mut &*stream).write_all(b"220 rude.example\r\n")?;
    lines.read_line(&mut line)?;
    (&mut &*stream).write_all(b"250-rude.example\r\n250 STARTTLS\r\n")?;
    line.clear();
    lines.read_line(&mut line)?;
    assert_eq!(line, "STARTTLS\r\n");
    Ok(())
}

/// Runs two sessions against a listener. The only condition must be this one, at this step.
#[track_caller]
fn meets(addr: SocketAddr, tls: script::TlsMode, condition: &str, step: Step, outcome: Outcome) -> Told {
    let mut plan = one_by_one(2, tls);
    plan.script.timeouts.command = ms(400);
    plan.script.timeouts.greeting = ms(400);
    told(&plan, addr, condition, step, outcome)
}

#[track_caller]
fn told(
    plan: &smtpress::plan::Plan,
    addr: SocketAddr,
    condition: &str,
    step: Step,
    outcome: Outcome,
) -> Told {
    let told = run_against(plan, addr, || Some(0));
    let [row] = &told.summary.conditions[..] else { panic!("{:?}", told.summary.conditions) };
    assert_eq!((row.key.condition.as_str(), row.key.step), (condition, step), "{}", row.sample);
    assert_eq!((row.count, told.of(outcome)), (2, 2), "{:?}", told.counts());
    assert!(told.measured.took < 5 * SECOND, "{:?}", told.measured.took);
    told
}

#[test]
fn a_reply_injected_before_the_handshake_is_a_finding() {
    let in_one = listener(|mut stream| {
        until_starttls(&stream)?;
        stream.write_all(b"220 go\r\n250 injected.example\r\n")?;
        stream.read_to_end(&mut Vec::new()).map(drop)
    });
    let told = meets(in_one, script::TlsMode::Starttls, "protocol-violation", Step::Tls, Outcome::Malformed);
    assert!(told.summary.conditions[0].sample.contains("250 injected"), "{:?}", told.summary.conditions);
    let apart = listener(|mut stream| {
        until_starttls(&stream)?;
        stream.write_all(b"220 go\r\n")?;
        // The reply comes after the client has started its handshake.
        stream.read_exact(&mut [0])?;
        stream.write_all(b"250 injected.example\r\n")?;
        stream.read_to_end(&mut Vec::new()).map(drop)
    });
    let told = meets(apart, script::TlsMode::Starttls, "tls-failure", Step::Tls, Outcome::Refused);
    assert!(told.summary.conditions[0].sample.contains("250 injected"), "{:?}", told.summary.conditions);
}

#[test]
fn a_refusal_in_clear_text_is_the_reply_it_is_however_it_comes() {
    let at_once = listener(|mut stream| {
        stream.write_all(b"421 mx.example: Too many concurrent SMTP connections; please try again later\r\n")
    });
    let slowly = listener(|mut stream| {
        for byte in b"421 mx.example: Too many concurrent SMTP connections; please try again later\r\n" {
            stream.write_all(&[*byte])?;
            std::thread::sleep(ms(1));
        }
        stream.read_to_end(&mut Vec::new()).map(drop)
    });
    let without_end = listener(|mut stream| {
        stream.read_exact(&mut [0; 5])?;
        stream.write_all(
            b"421-mx.example\r\n421 Too many concurrent SMTP connections; please try again later\r\n",
        )?;
        // The ClientHello was not read, so a full close would be a reset.
        stream.shutdown(std::net::Shutdown::Write)?;
        stream.read_to_end(&mut Vec::new()).map(drop)
    });
    for addr in [at_once, slowly, without_end] {
        let mut plan = one_by_one(2, script::TlsMode::Implicit);
        plan.script.timeouts.command = 3 * SECOND;
        let told = told(&plan, addr, "too-many-connections", Step::Tls, Outcome::Refused);
        assert_eq!(told.summary.conditions[0].key.code, Some(421));
    }
}

#[test]
fn a_handshake_that_hangs_is_timed_out() {
    let silent = listener(|mut stream| stream.read_to_end(&mut Vec::new()).map(drop));
    meets(silent, script::TlsMode::Implicit, "reply-timeout", Step::Tls, Outcome::TimedOut);
    let after_starttls = listener(|mut stream| {
        until_starttls(&stream)?;
        stream.write_all(b"220 go\r\n")?;
        stream.read_to_end(&mut Vec::new()).map(drop)
    });
    meets(after_starttls, script::TlsMode::Starttls, "reply-timeout", Step::Tls, Outcome::TimedOut);
    // The listener sends bytes all the time, but never a whole record.
    let drips = listener(|mut stream| {
        stream.write_all(&[22, 3, 3, 0x40, 0])?;
        loop {
            stream.write_all(&[0])?;
            std::thread::sleep(ms(20));
        }
    });
    meets(drips, script::TlsMode::Implicit, "reply-timeout", Step::Tls, Outcome::TimedOut);
}

#[test]
fn a_handshake_that_is_cut_off() {
    let at_once = listener(|mut stream| stream.read_exact(&mut [0; 5]));
    // Unread bytes turn the close into a reset.
    meets(at_once, script::TlsMode::Implicit, "connection-reset", Step::Tls, Outcome::Dropped);
    let halfway = listener(|mut stream| {
        let mut hello = [0; 4096];
        let _ = stream.read(&mut hello)?;
        stream.write_all(&[22, 3, 3, 0, 122, 2, 0, 0, 118, 3, 3])?;
        stream.shutdown(std::net::Shutdown::Write)?;
        stream.read_to_end(&mut Vec::new()).map(drop)
    });
    meets(halfway, script::TlsMode::Implicit, "connection-closed", Step::Tls, Outcome::Dropped);
}

#[test]
fn an_alert_and_nonsense_in_the_handshake() {
    let alert = listener(|mut stream| {
        let mut hello = [0; 4096];
        let _ = stream.read(&mut hello)?;
        // A fatal alert: handshake_failure (RFC 8446 6).
        stream.write_all(&[21, 3, 3, 0, 2, 2, 40])?;
        stream.read_to_end(&mut Vec::new()).map(drop)
    });
    let told = meets(alert, script::TlsMode::Implicit, "tls-failure", Step::Tls, Outcome::Refused);
    let sample = &told.summary.conditions[0].sample;
    assert!(sample.starts_with("the listener ended the TLS handshake: handshake_failure"), "{sample}");
    assert!(sample.contains("offered were TLSv1.2 and TLSv1.3") && sample.contains("X25519"), "{sample}");
    let nonsense = listener(|mut stream| {
        stream.write_all(&[22, 3, 3, 0, 4, 99, 0, 0, 0])?;
        stream.read_to_end(&mut Vec::new()).map(drop)
    });
    meets(nonsense, script::TlsMode::Implicit, "tls-failure", Step::Tls, Outcome::Refused);
}

/// Starts a listener that greets over TLS and then calls `then` with the connection.
fn after_tls(
    then: impl Fn(StreamOwned<ServerConnection, TcpStream>) -> std::io::Result<()> + Send + Sync + 'static,
) -> (SocketAddr, Credential) {
    let credential = credential(&["127.0.0.1"], ALWAYS);
    let config = server_config(&credential);
    let addr = listener(move |stream| {
        let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
        stream.write_all(b"220 rude.example\r\n")?;
        stream.flush()?;
        // EHLO
        let _ = stream.read(&mut [0; 512])?;
        then(stream)
    });
    (addr, credential)
}

#[test]
fn what_comes_after_tls_must_be_tls() {
    let clear = |mut stream: StreamOwned<ServerConnection, TcpStream>| {
        stream.sock.write_all(b"250 rude.example\r\n")?;
        stream.sock.read_to_end(&mut Vec::new()).map(drop)
    };
    let alert = |mut stream: StreamOwned<ServerConnection, TcpStream>| {
        stream.sock.write_all(&[21, 3, 3, 0, 2, 2, 80])?;
        stream.sock.read_to_end(&mut Vec::new()).map(drop)
    };
    type Then = fn(StreamOwned<ServerConnection, TcpStream>) -> std::io::Result<()>;
    for then in [clear as Then, alert as Then] {
        let (addr, credential) = after_tls(then);
        let mut plan = one_by_one(2, script::TlsMode::Implicit);
        plan.tls.authorities = Some(credential.chain);
        told(&plan, addr, "tls-failure", Step::Hello, Outcome::Refused);
    }
}

#[test]
fn an_end_without_a_goodbye_is_an_end_and_is_counted() {
    type Then = fn(StreamOwned<ServerConnection, TcpStream>) -> std::io::Result<()>;
    let cut: Then = |stream| stream.sock.shutdown(std::net::Shutdown::Write);
    let orderly: Then = |mut stream| {
        stream.conn.send_close_notify();
        stream.flush()?;
        stream.sock.shutdown(std::net::Shutdown::Write)
    };
    for (then, truncated) in [(cut, 2), (orderly, 0)] {
        let (addr, credential) = after_tls(then);
        let mut plan = one_by_one(2, script::TlsMode::Implicit);
        plan.tls.authorities = Some(credential.chain);
        let told = told(&plan, addr, "connection-closed", Step::Hello, Outcome::Dropped);
        assert_eq!(told.counts().truncated, truncated);
    }
}
