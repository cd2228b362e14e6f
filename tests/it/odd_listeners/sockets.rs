//! The same odd listeners over loopback, in clear text and over TLS, against whole runs. The report never counts more
//! messages as accepted than the listener took, and each message that it took is accepted or in doubt (M10, M10b).

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{RngSeed, TestRunner};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use smtpress::generator::clock;
use smtpress::mail::MessageSize;
use smtpress::net::address::tls::Credential;
use smtpress::plan::{Messages, Plan, Reconnect, Unit};
use smtpress::smtp::auth::{Login, Mechanism, Secret};
use smtpress::smtp::machine::Closed;
use smtpress::smtp::script::{Pipelining, Script, Timeouts, TlsMode};
use socket2::SockRef;

use super::moody::{Listener, Sent};
use super::{Drawn, drawn, from_environment};
use crate::runs::testbed::{ms, phase, plan, run_against, shared};
use crate::tls::{ALWAYS, credential, server_config};

/// The silence of the client after which the listener continues by itself.
const PATIENCE: Duration = Duration::from_millis(15);
/// The silence after which a client is regarded as lost.
const LOST: Duration = Duration::from_secs(4);

enum Stream {
    Clear(TcpStream),
    Secure(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Stream {
    fn socket(&self) -> &TcpStream {
        match self {
            Stream::Clear(stream) => stream,
            Stream::Secure(stream) => &stream.sock,
        }
    }

    fn secure(self, config: &Arc<ServerConfig>) -> std::io::Result<Stream> {
        let Stream::Clear(mut socket) = self else { return Ok(self) };
        socket.set_read_timeout(Some(LOST))?;
        let mut tls = ServerConnection::new(config.clone()).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut socket)?;
        }
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Stream::Secure(Box::new(StreamOwned::new(tls, socket))))
    }

    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Clear(stream) => stream.read(buffer),
            Stream::Secure(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Stream::Clear(stream) => stream.write_all(bytes),
            Stream::Secure(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }
}

/// Serves one session of this dialogue. Returns the number of messages that the listener took.
fn serve(socket: TcpStream, drawn: &Drawn, config: &Arc<ServerConfig>) -> usize {
    let odd = drawn.odd.clone();
    let mut listener =
        Listener::new(drawn.lmtp, drawn.plain, drawn.chunks, drawn.tls == TlsMode::Starttls, odd);
    // In many dialogues the connection breaks, so errors are ignored.
    drop(speak(socket, drawn, config, &mut listener));
    listener.taken
}

fn speak(
    socket: TcpStream,
    drawn: &Drawn,
    config: &Arc<ServerConfig>,
    listener: &mut Listener,
) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut stream = Stream::Clear(socket);
    if drawn.tls == TlsMode::Implicit {
        stream = stream.secure(config)?;
    }
    listener.greet(0);
    let (mut reads, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    let (mut waited, mut heard, mut open) = (false, clock::now(), true);
    loop {
        while let Some(sent) = listener.next(reads.len(), waited, drawn.joined) {
            match sent {
                Sent::Bytes(bytes) => stream.write(&bytes)?,
                Sent::End(how) => {
                    let socket = stream.socket();
                    if how == Closed::Reset {
                        SockRef::from(socket).set_linger(Some(Duration::ZERO))?;
                    }
                    return Ok(());
                }
            }
        }
        if !open || heard.elapsed() > LOST {
            return Ok(());
        }
        if let Stream::Clear(socket) = &stream {
            let mut first = [0];
            // A handshake starts only if STARTTLS was answered with success.
            if socket.peek(&mut first).is_ok_and(|read| read == 1) && first == [22] {
                stream = stream.secure(config)?;
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) => open = false,
            Ok(read) => {
                (waited, heard) = (false, clock::now());
                reads.push(buffer[..read].to_vec());
                listener.read(&reads);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                waited = true;
            }
            Err(_) => open = false,
        }
    }
}

/// A listener for one dialogue. It serves sessions until it is stopped.
struct Server {
    addr: SocketAddr,
    over: Arc<AtomicBool>,
    taken: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Server {
    fn start(drawn: Drawn, credential: &Credential) -> Server {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = socket.local_addr().unwrap();
        let (over, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ends, sum, config) = (over.clone(), taken.clone(), server_config(credential));
        let thread = std::thread::spawn(move || {
            std::thread::scope(|scope| {
                for stream in socket.incoming().flatten() {
                    if ends.load(Ordering::Relaxed) {
                        return;
                    }
                    let (drawn, config, sum) = (&drawn, &config, &sum);
                    scope.spawn(move || {
                        sum.fetch_add(serve(stream, drawn, config) as u64, Ordering::Relaxed);
                    });
                }
            });
        });
        Server { addr, over, taken, thread }
    }

    /// Waits for its sessions. Returns the number of messages that it took.
    fn stop(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.addr));
        self.thread.join().unwrap();
        self.taken.load(Ordering::Relaxed)
    }
}

/// The plan of a run that repeats this dialogue until its messages are sent.
fn a_plan(drawn: &Drawn) -> Plan {
    let messages = drawn.mails.len() as u64;
    let mut plan = plan(vec![phase(shared(messages, 1), Some(ms(700)), Unit::Message)]);
    let timeouts =
        Timeouts { greeting: ms(300), command: ms(300), data: ms(300), body: ms(300), ..Timeouts::default() };
    plan.script = Script { timeouts, ..drawn.script() };
    plan.messages = if drawn.leaves {
        Messages::Fixed(drawn.mails.len().try_into().unwrap())
    } else {
        Messages::Unlimited
    };
    plan.mail.recipients = drawn.mails[0].0;
    plan.mail.size = MessageSize::Fixed(400);
    plan.tls.verify = false;
    plan.reconnect = Reconnect { first: ms(1), factor: 2.0, max: ms(20) };
    plan.threads = 1;
    if drawn.login {
        plan.logins.users = vec![Login::new(Mechanism::Plain, "u", Secret::new("p"))];
    }
    plan
}

/// Each kind of TLS (none, STARTTLS, implicit) is combined with SMTP and LMTP, and with single commands, groups, full
/// pipelining and chunks.
#[test]
fn accepted_is_never_above_what_any_listener_took_over_sockets() {
    let count = from_environment("ODD_SESSIONS", 300);
    let seed = RngSeed::Fixed(from_environment("ODD_SEED", 5321));
    let mut runner = TestRunner::new(proptest::test_runner::Config { rng_seed: seed, ..Default::default() });
    let tls = [TlsMode::None, TlsMode::Starttls, TlsMode::Implicit];
    let groups = [Pipelining::Off, Pipelining::Auto, Pipelining::Full];
    let strategy = drawn();
    let cases = (0..count as usize).map(|at| {
        let mut drawn = strategy.new_tree(&mut runner).unwrap().current();
        (drawn.tls, drawn.lmtp, drawn.pipelining) = (tls[at % 3], at / 3 % 2 == 1, groups[at / 6 % 3]);
        // 300 bytes in 300 chunks test no more than in three.
        drawn.chunk = drawn.chunk.max(100);
        drawn.keep_to_what_can_be_known();
        (at, drawn)
    });
    let cases = Mutex::new(cases.collect::<Vec<_>>().into_iter());
    let credential = credential(&["mx.test", "127.0.0.1"], ALWAYS);
    let sums: Mutex<[u64; 4]> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                loop {
                    let Some((at, drawn)) = cases.lock().unwrap().next() else { return };
                    let server = Server::start(drawn.clone(), &credential);
                    let addr = server.addr;
                    let mut taken = 0;
                    // The run checks the counts against the ledger. A failure is reported with its dialogue.
                    let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        run_against(&a_plan(&drawn), addr, || {
                            taken = server.stop();
                            Some(taken)
                        })
                    }));
                    let told = held.unwrap_or_else(|_| panic!("case {at}: {drawn:?}"));
                    let counts = &told.counts().transactions;
                    let mut sums = sums.lock().unwrap();
                    for (sum, of) in sums.iter_mut().zip([
                        counts.of(smtpress::collector::Outcome::Accepted),
                        counts.of(smtpress::collector::Outcome::InDoubt),
                        counts.ended(),
                        taken,
                    ]) {
                        *sum += of;
                    }
                }
            });
        }
    });
    let [accepted, in_doubt, ended, taken] = *sums.lock().unwrap();
    println!("{ended} started: {accepted} accepted, {in_doubt} in doubt; {taken} taken");
    assert!(2 * accepted > taken, "{accepted} {in_doubt} {taken}");
    assert!(count < 100 || in_doubt > 0);
}
