//! Small listeners with a limit of sessions and one fault each in how they enforce it, for tests of the search that
//! must find the fault.
//!
//! Each runs on plain threads and blocking sockets, without code of the embedded listener, so a fault of that code
//! cannot hide here. A listener ends when it is dropped, or after `MOST` connections.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use smtpress::listener::certificate;

/// The number of connections after which a listener closes its port.
const MOST: usize = 2000;
/// The longest time that a session waits for its client.
const PATIENCE: Duration = Duration::from_secs(200);

/// The fault of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No fault.
    None,
    /// The slot of an ended session is never released.
    LeaksSlots,
    /// A free slot is checked at the greeting, but taken with the hello. If many sessions connect at once, too many are
    /// served.
    ForgetsUnderLoad,
    /// The last three slots are never used.
    RefusesBelow,
    /// A session over the limit gets 421, but its connection stays open.
    KeepsOpenAfter421,
    /// TLS sessions and plain ones have separate slots, each as many as the limit.
    CountsTlsApart,
    /// LF.LF ends the data, as CRLF.CRLF does.
    TakesLfDotLf,
    /// When a session is over the limit, all open sessions lose their connections.
    DropsOpenSessions,
    /// No command is ever answered after the greeting.
    NeverAnswers,
}

/// A running listener.
pub struct Faulty {
    pub addr: SocketAddr,
    /// The certificate of its TLS sessions.
    pub certificate: CertificateDer<'static>,
    house: Arc<House>,
    acceptor: Option<JoinHandle<Vec<JoinHandle<()>>>>,
}

/// The state that all sessions of a listener share.
struct House {
    limit: usize,
    fault: Fault,
    tls: Arc<ServerConfig>,
    places: Mutex<Places>,
    messages: AtomicU64,
    over: AtomicBool,
}

#[derive(Default)]
struct Places {
    plain: usize,
    secured: usize,
    /// Every open connection, and whether it has a slot.
    open: HashMap<usize, (TcpStream, bool)>,
}

impl Faulty {
    /// Starts a listener on a free port that should serve `limit` sessions at once.
    pub fn start(limit: usize, fault: Fault) -> Faulty {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = socket.local_addr().unwrap();
        let credential = certificate::made("mx.faulty.example").unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(credential.chain.clone(), credential.key.clone_key())
            .unwrap();
        let house = Arc::new(House {
            limit,
            fault,
            tls: Arc::new(tls),
            places: Mutex::default(),
            messages: AtomicU64::new(0),
            over: AtomicBool::new(false),
        });
        let kept = house.clone();
        let acceptor = std::thread::spawn(move || accept(&socket, &kept));
        Faulty { addr, certificate: credential.chain[0].clone(), house, acceptor: Some(acceptor) }
    }

    /// Returns the number of messages taken so far.
    pub fn messages(&self) -> u64 {
        self.house.messages.load(Ordering::SeqCst)
    }

    /// Returns the number of sessions that have a slot now.
    pub fn inside(&self) -> usize {
        let places = self.house.places.lock().unwrap();
        places.plain + places.secured
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.house.over.store(true, Ordering::SeqCst);
        // A connection wakes the thread that accepts.
        drop(TcpStream::connect(self.addr));
        let sessions = self.acceptor.take().and_then(|acceptor| acceptor.join().ok()).unwrap_or_default();
        // No more connections are accepted, so these are all.
        if let Ok(places) = self.house.places.lock() {
            for (stream, _) in places.open.values() {
                drop(stream.shutdown(Shutdown::Both));
            }
        }
        for session in sessions {
            drop(session.join());
        }
    }
}

fn accept(socket: &TcpListener, house: &Arc<House>) -> Vec<JoinHandle<()>> {
    let mut sessions = Vec::new();
    for (number, stream) in socket.incoming().take(MOST).enumerate() {
        if house.over.load(Ordering::SeqCst) {
            break;
        }
        let Ok(stream) = stream else { continue };
        let Ok(kept) = stream.try_clone() else { continue };
        house.places.lock().unwrap().open.insert(number, (kept, false));
        let house = house.clone();
        let session = std::thread::Builder::new().stack_size(512 * 1024);
        sessions.push(
            session
                .spawn(move || {
                    let mut session = Session { house: &house, number, has_place: false, secured: false };
                    // Clients may leave at any time, so errors are ignored.
                    drop(session.run(stream));
                    session.leave();
                    house.places.lock().unwrap().open.remove(&number);
                })
                .unwrap(),
        );
    }
    sessions
}

/// One connection.
struct Session<'a> {
    house: &'a House,
    number: usize,
    has_place: bool,
    secured: bool,
}

/// How a dialogue ended.
#[derive(PartialEq, Eq)]
enum Over {
    EndReason,
    /// STARTTLS was granted.
    ToTls,
}

impl Session<'_> {
    fn run(&mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut wire = BufReader::new(stream);
        if !self.enter() {
            return self.refuse(wire.get_mut());
        }
        say(wire.get_mut(), "220 mx.faulty.example ESMTP")?;
        if self.house.fault == Fault::NeverAnswers {
            return drain(wire.get_mut());
        }
        if self.dialogue(&mut wire)? == Over::ToTls {
            let connection = ServerConnection::new(self.house.tls.clone()).map_err(io::Error::other)?;
            let mut secured = BufReader::new(StreamOwned::new(connection, wire.into_inner()));
            let over = self.dialogue(&mut secured);
            secured.get_mut().conn.send_close_notify();
            secured.get_mut().flush()?;
            over?;
        }
        Ok(())
    }

    /// Checks for a free slot, and takes it unless the fault delays that. Returns whether there is one.
    fn enter(&mut self) -> bool {
        let limit = match self.house.fault {
            Fault::RefusesBelow => self.house.limit.saturating_sub(3),
            _ => self.house.limit,
        };
        let mut places = self.house.places.lock().unwrap();
        if places.plain >= limit {
            if self.house.fault == Fault::DropsOpenSessions {
                for (stream, _) in places.open.values().filter(|(_, has_place)| *has_place) {
                    drop(stream.shutdown(Shutdown::Both));
                }
            }
            return false;
        }
        // The slot is taken under the same lock, or every listener would have this fault.
        if self.house.fault != Fault::ForgetsUnderLoad {
            self.take_place(&mut places);
        }
        true
    }

    fn take_place(&mut self, places: &mut Places) {
        if std::mem::replace(&mut self.has_place, true) {
            return;
        }
        places.plain += 1;
        if let Some((_, has_place)) = places.open.get_mut(&self.number) {
            *has_place = true;
        }
    }

    /// Releases the slot, if the session has one.
    fn leave(&mut self) {
        if !std::mem::take(&mut self.has_place) || self.house.fault == Fault::LeaksSlots {
            return;
        }
        let mut places = self.house.places.lock().unwrap();
        *(if self.secured { &mut places.secured } else { &mut places.plain }) -= 1;
    }

    fn refuse(&self, stream: &mut TcpStream) -> io::Result<()> {
        say(stream, "421 4.7.0 mx.faulty.example Error: too many connections from 127.0.0.1")?;
        if self.house.fault != Fault::KeepsOpenAfter421 {
            stream.shutdown(Shutdown::Write)?;
        }
        // The client's bytes are read, because otherwise the close would be a reset and the reply would be lost.
        drain(stream)
    }

    fn dialogue<S: Read + Write>(&mut self, wire: &mut BufReader<S>) -> io::Result<Over> {
        loop {
            let line = line(wire)?;
            let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
            let offers_tls = self.house.fault == Fault::CountsTlsApart && !self.secured;
            match verb.as_slice() {
                b"EHLO" | b"HELO" => {
                    self.take_place(&mut self.house.places.lock().unwrap());
                    let offer = if offers_tls { "\r\n250-STARTTLS" } else { "" };
                    say(wire.get_mut(), &format!("250-mx.faulty.example{offer}\r\n250 8BITMIME"))?;
                }
                b"STAR" if offers_tls => {
                    let mut places = self.house.places.lock().unwrap();
                    let full = places.secured >= self.house.limit;
                    if !full {
                        (places.plain, places.secured) = (places.plain - 1, places.secured + 1);
                        self.secured = true;
                    }
                    drop(places);
                    if full {
                        say(wire.get_mut(), "421 4.7.0 mx.faulty.example Error: too many TLS sessions")?;
                        return Ok(Over::EndReason);
                    }
                    say(wire.get_mut(), "220 2.0.0 Ready to start TLS")?;
                    return Ok(Over::ToTls);
                }
                b"MAIL" | b"RCPT" | b"NOOP" | b"RSET" => say(wire.get_mut(), "250 2.0.0 Ok")?,
                b"DATA" => {
                    say(wire.get_mut(), "354 End data with <CR><LF>.<CR><LF>")?;
                    self.content(wire)?;
                    self.house.messages.fetch_add(1, Ordering::SeqCst);
                    say(wire.get_mut(), "250 2.0.0 Ok: queued")?;
                }
                b"QUIT" => {
                    // The slot is released before the reply, so that it is free when the client has read the reply.
                    self.leave();
                    say(wire.get_mut(), "221 2.0.0 Bye")?;
                    return Ok(Over::EndReason);
                }
                _ => say(wire.get_mut(), "500 5.5.2 Error: command not recognized")?,
            }
        }
    }

    fn content(&self, wire: &mut impl BufRead) -> io::Result<()> {
        let mut after_crlf = true;
        loop {
            let line = line(wire)?;
            match line.as_slice() {
                b".\r\n" if after_crlf => return Ok(()),
                b".\n" if !after_crlf && self.house.fault == Fault::TakesLfDotLf => return Ok(()),
                _ => after_crlf = line.ends_with(b"\r\n"),
            }
        }
    }
}

fn say(wire: &mut impl Write, reply: &str) -> io::Result<()> {
    wire.write_all(format!("{reply}\r\n").as_bytes())?;
    wire.flush()
}

/// Reads a line with its LF. The end of the stream is an error.
fn line(wire: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    // No client of these tests has longer ones.
    wire.take(64 * 1024).read_until(b'\n', &mut line)?;
    if line.ends_with(b"\n") { Ok(line) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Reads until the client is gone.
fn drain(stream: &mut TcpStream) -> io::Result<()> {
    io::copy(stream, &mut io::sink()).map(drop)
}

/// A plain client sees each fault, and does not see it at the other listeners or at one without a fault.
mod shown {
    use std::time::Instant;

    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::super::super::listener::client::{Client, TRANSACTION};
    use super::*;

    const LIMIT: usize = 5;

    fn client(listener: &Faulty) -> Client {
        Client::over(TcpStream::connect(listener.addr).unwrap())
    }

    /// Connects a client. Returns it with the code of the greeting or, if that is 220, of the reply to its hello.
    fn enter(listener: &Faulty) -> (Client, String) {
        let mut client = client(listener);
        let greeting = client.reply();
        let last = if greeting.starts_with("220") { client.say("EHLO client.example") } else { greeting };
        (client, last[..3].to_owned())
    }

    /// Opens `many` sessions one after the other and keeps them. Returns those that are served.
    fn held(listener: &Faulty, many: usize) -> Vec<Client> {
        let came = (0..many).map(|_| enter(listener));
        came.filter(|(_, code)| code == "250").map(|(client, _)| client).collect()
    }

    fn lives(client: &mut Client) -> bool {
        client.say("NOOP").starts_with("250")
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the wait for a place that is given back is bounded by a real clock"
    )]
    fn wait_until(what: &str, is: impl Fn() -> bool) {
        let begin = Instant::now();
        while !is() {
            assert!(begin.elapsed() < Duration::from_secs(60), "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn without_a_fault_the_limit_is_kept_and_released() {
        let listener = Faulty::start(LIMIT, Fault::None);
        let mut inside = held(&listener, LIMIT + 2);
        assert_eq!(inside.len(), LIMIT);
        let (mut refused, code) = enter(&listener);
        assert_eq!(code, "421");
        assert!(refused.is_closed());
        assert!(inside.iter_mut().all(lives), "the open sessions stay usable");
        inside.pop().unwrap().say("QUIT");
        assert_eq!(enter(&listener).1, "250");
        wait_until("a place that was only closed is released", || listener.inside() == LIMIT - 1);
        assert_eq!(held(&listener, LIMIT).len(), 1);
    }

    #[test]
    fn a_place_is_never_given_back() {
        let listener = Faulty::start(LIMIT, Fault::LeaksSlots);
        for _ in 0..LIMIT {
            let (mut client, code) = enter(&listener);
            assert_eq!((code.as_str(), &client.say("QUIT")[..3]), ("250", "221"));
            assert!(client.is_closed());
        }
        assert_eq!(enter(&listener).1, "421", "nobody is inside, and nobody gets in");
    }

    #[test]
    fn more_get_in_when_many_come_at_once() {
        for (fault, more) in [(Fault::None, 0), (Fault::ForgetsUnderLoad, LIMIT)] {
            let listener = Faulty::start(LIMIT, fault);
            // All clients are connected before the first one sends hello.
            let mut came: Vec<_> = (0..2 * LIMIT).map(|_| client(&listener)).collect();
            let greeted: Vec<_> = came.iter_mut().map(|client| client.reply().starts_with("220")).collect();
            let greeted = came.iter_mut().zip(greeted).filter_map(|(client, well)| well.then_some(client));
            let well =
                greeted.filter_map(|client| client.say("EHLO a.example").starts_with("250").then_some(()));
            assert_eq!(well.count(), LIMIT + more, "{fault:?}");
            // If the sessions come one after the other, the limit is enforced.
            let listener = Faulty::start(LIMIT, fault);
            assert_eq!(held(&listener, 2 * LIMIT).len(), LIMIT, "{fault:?}");
        }
    }

    #[test]
    fn three_places_are_never_given() {
        assert_eq!(held(&Faulty::start(LIMIT, Fault::RefusesBelow), 2 * LIMIT).len(), LIMIT - 3);
    }

    #[test]
    fn the_connection_stays_open_after_421() {
        let listener = Faulty::start(0, Fault::KeepsOpenAfter421);
        let (mut refused, code) = enter(&listener);
        assert_eq!(code, "421");
        refused.send("NOOP\r\n");
        assert!(refused.is_silent_for(Duration::from_millis(200)), "neither an answer nor an end");
        assert!(enter(&Faulty::start(0, Fault::None)).0.is_closed());
    }

    #[test]
    fn tls_sessions_and_plain_ones_have_places_of_their_own() {
        let listener = Faulty::start(LIMIT, Fault::CountsTlsApart);
        let mut roots = RootCertStore::empty();
        roots.add(listener.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = Arc::new(config.unwrap().with_root_certificates(roots).with_no_client_auth());
        let secure = || {
            let (mut client, code) = enter(&listener);
            assert_eq!(code, "250");
            let granted = client.say("STARTTLS");
            if !granted.starts_with("220") {
                return Err(granted);
            }
            let connection = ClientConnection::new(config.clone(), "localhost".try_into().unwrap()).unwrap();
            let mut stream = BufReader::new(StreamOwned::new(connection, client.into_stream()));
            say(stream.get_mut(), "NOOP").unwrap();
            assert_eq!(line(&mut stream).unwrap(), b"250 2.0.0 Ok\r\n");
            Ok(stream)
        };
        let secured: Vec<_> = (0..LIMIT).map(|_| secure().unwrap()).collect();
        assert_eq!(secure().unwrap_err()[..3], *"421", "they have a limit of their own");
        wait_until("the place of the refused one is released", || listener.inside() == LIMIT);
        // The same number of plain sessions is served in addition.
        let plain = held(&listener, LIMIT + 2);
        assert_eq!((plain.len(), listener.inside()), (LIMIT, 2 * LIMIT));
        drop(secured);
        wait_until("those with TLS are gone", || listener.inside() == LIMIT);
        assert_eq!(enter(&listener).1, "421", "and have left no place to plain ones");
    }

    #[test]
    fn lf_dot_lf_ends_the_data() {
        for (fault, messages) in [(Fault::None, 1), (Fault::TakesLfDotLf, 2)] {
            let listener = Faulty::start(LIMIT, fault);
            let (mut client, _) = enter(&listener);
            TRANSACTION[..3].iter().for_each(|line| drop(client.say(line)));
            client.send("a\n.\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\nb\r\n.\r\nQUIT\r\n");
            let said = String::from_utf8(client.end().unwrap()).unwrap();
            assert_eq!(said.matches("queued").count(), messages, "{fault:?}: {said}");
            assert_eq!(listener.messages(), messages as u64);
        }
    }

    #[test]
    fn the_open_sessions_lose_their_connections() {
        let listener = Faulty::start(LIMIT, Fault::DropsOpenSessions);
        let mut inside = held(&listener, LIMIT);
        assert!(inside.iter_mut().all(lives));
        let (mut refused, code) = enter(&listener);
        assert_eq!(code, "421");
        assert!(refused.is_closed());
        assert!(inside.iter_mut().all(Client::is_closed));
    }

    #[test]
    fn nothing_is_said_after_the_greeting() {
        let listener = Faulty::start(LIMIT, Fault::NeverAnswers);
        let mut client = client(&listener);
        assert_eq!(client.reply()[..3], *"220");
        client.send("EHLO client.example\r\n");
        assert!(client.is_silent_for(Duration::from_millis(200)));
    }

    #[test]
    fn a_listener_that_is_dropped_leaves_nothing_behind() {
        let listener = Faulty::start(LIMIT, Fault::NeverAnswers);
        let mut clients: Vec<_> = (0..LIMIT + 2).map(|_| client(&listener)).collect();
        clients.iter_mut().for_each(|client| drop(client.reply()));
        let (addr, house) = (listener.addr, Arc::downgrade(&listener.house));
        drop(listener);
        assert!(clients.iter_mut().all(Client::is_closed));
        assert!(TcpStream::connect(addr).is_err());
        assert!(house.upgrade().is_none(), "no thread holds it");
    }
}
