//! Dialling over real sockets: several addresses, sources, unix sockets and the safety rule.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::address::addresses::Addresses;
use super::*;

#[test]
fn a_reset_comes_after_the_connect_however_slow_we_were() {
    assert_eq!(failed(ConnectFault::Refused), (Step::Connect, ConnectFault::Refused));
    let (from, to) = (now(), now());
    let dialed = Dialed {
        dns: None,
        connect: Some((from, to)),
        attempts: Vec::new(),
        refused: Refused::default(),
        header: Vec::new(),
        result: Err(failed(ConnectFault::Reset)),
    };
    let steps: Vec<_> = dialed.steps().collect();
    assert_eq!(steps, [(Step::Connect, from, to, None), (Step::Greeting, to, to, Some(ConnectFault::Reset))]);
}

#[expect(clippy::disallowed_methods, reason = "the test's clock")]
fn now() -> Instant {
    Instant::now()
}

async fn dial(endpoint: &Endpoint, serial: u64, now: fn() -> Instant) -> Dialed {
    super::dial(endpoint, serial, now, &Cell::new(Step::Dns)).await
}

/// A resolver: each look-up returns the next answer, and the last one is repeated.
#[derive(Debug)]
struct Answers(Vec<Vec<IpAddr>>, AtomicUsize);

impl Answers {
    fn new(answers: Vec<Vec<IpAddr>>) -> Answers {
        Answers(answers, AtomicUsize::new(0))
    }
}

impl Resolve for Answers {
    fn resolve<'a>(&'a self, _: &'a str, port: u16) -> LocalBoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let asked = self.1.fetch_add(1, Ordering::Relaxed);
        let answer = self.0.get(asked).or(self.0.last()).cloned().unwrap_or_default();
        Box::pin(
            async move { Ok(answer.into_iter().map(|address| SocketAddr::new(address, port)).collect()) },
        )
    }
}

fn endpoint(place: Destination) -> Endpoint {
    Endpoint { timeout: Duration::from_secs(10), ..Endpoint::new(place) }
}

#[tokio::test]
async fn a_unix_socket_is_dialled_by_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("smtp.sock");
    let dialed = dial(&endpoint(Destination::Unix(path.clone())), 0, now).await;
    assert_eq!(dialed.result.unwrap_err(), (Step::Connect, ConnectFault::Refused), "nothing is there");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let dialed = dial(&endpoint(Destination::Unix(path.clone())), 0, now).await;
    assert!(dialed.dns.is_none() && dialed.connect.is_some());
    assert!(matches!(dialed.result, Ok(Stream::Unix(_))));
    drop(listener);
    let dialed = dial(&endpoint(Destination::Unix(path)), 0, now).await;
    assert_eq!(dialed.result.unwrap_err(), (Step::Connect, ConnectFault::Refused), "the listener has gone");
}

#[tokio::test]
async fn a_full_queue_of_a_unix_socket_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("smtp.sock");
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    socket.listen(0).unwrap();
    let first = dial(&endpoint(Destination::Unix(path.clone())), 0, now).await;
    assert!(first.result.is_ok());
    let place = endpoint(Destination::Unix(path));
    let mut second = std::pin::pin!(dial(&place, 1, now));
    assert!(futures::poll!(&mut second).is_pending());
    socket.accept().unwrap();
    assert!(second.await.result.is_ok());
}

fn listener(address: &str) -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn connected(
    addresses: &[SocketAddr],
    origin: ClientAddress,
    serial: u64,
) -> Result<Stream, (Step, ConnectFault)> {
    let endpoint = Endpoint { origin, ..endpoint(Destination::from(addresses[0])) };
    let mut attempts = Vec::new();
    let first = first_of(addresses, &endpoint, serial, now() + endpoint.timeout, now, &mut attempts).await;
    first.map(|connected| connected.stream).map_err(failed)
}

/// Dials a name that has these addresses.
async fn dialed(addresses: &[&str], port: u16, allowed: Allowed) -> Dialed {
    let answer = addresses.iter().map(|address| address.parse().unwrap()).collect();
    let place = Destination::Tcp { host: "mx.example".to_owned(), port };
    let resolver = Arc::new(Answers::new(vec![answer]));
    dial(&Endpoint { resolver, allowed, ..endpoint(place) }, 0, now).await
}

/// Returns a port of 127.0.0.1 without a listener. The returned socket holds the same port of 127.0.0.2, so the kernel
/// is unlikely to assign that port to another socket.
fn dead() -> (std::net::TcpListener, u16) {
    let (held, address) = listener("127.0.0.2:0");
    (held, address.port())
}

#[test]
fn families_take_turns_and_each_address_has_one() {
    let of = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
    for (found, tried) in [
        (
            &["[::1]:1", "[::2]:1", "127.0.0.1:1", "127.0.0.2:1", "127.0.0.3:1"][..],
            &["[::1]:1", "127.0.0.1:1", "[::2]:1", "127.0.0.2:1", "127.0.0.3:1"][..],
        ),
        (&["127.0.0.1:1", "127.0.0.1:1", "[::1]:1", "127.0.0.1:1"], &["127.0.0.1:1", "[::1]:1"]),
        (&["127.0.0.2:1", "127.0.0.1:1"], &["127.0.0.2:1", "127.0.0.1:1"]),
        (&[], &[]),
    ] {
        assert_eq!(in_turn(of(found)), of(tried));
    }
}

#[tokio::test]
async fn the_most_specific_failure_of_all_addresses_is_reported_in_any_order() {
    let (_held, port) = dead();
    // 255.255.255.255 is the broadcast address: the kernel refuses a TCP connect to it and sends nothing.
    let (refused, nowhere) = ("127.0.0.1", "255.255.255.255");
    let any = Allowed::Any;
    let alone = dialed(&[nowhere], port, any.clone()).await.result.unwrap_err().1;
    assert_ne!(alone, ConnectFault::Refused, "a neighbour fails in another way");
    for addresses in [[refused, nowhere], [nowhere, refused]] {
        let dialed = dialed(&addresses, port, any.clone()).await;
        assert_eq!(
            dialed.result.as_ref().unwrap_err(),
            &(Step::Connect, ConnectFault::Refused),
            "{addresses:?}"
        );
        let tried: Vec<String> = dialed.attempts.iter().map(|a| a.address.ip().to_string()).collect();
        assert_eq!(tried, addresses, "each is tried, in order");
        let words = dialed.in_words(ConnectFault::Refused);
        assert!(words.contains(&format!("{refused}:{port}: the connection was refused")), "{words}");
        assert!(words.contains(&format!("{nowhere}:{port}: ")), "{words}");
    }
}

#[test]
fn every_address_is_tried_before_a_run_loses_its_patience() {
    let seconds = Duration::from_secs;
    assert_eq!(share(seconds(30), 0, 1), seconds(30), "one address has the whole time-out");
    assert_eq!((share(seconds(30), 0, 2), share(seconds(25), 1, 2)), (seconds(5), seconds(25)));
    assert_eq!(share(seconds(4), 0, 2), seconds(2), "of a short time-out each has the same");
    for all in 2..20 {
        let (mut left, mut started) = (seconds(30), Vec::new());
        for tried in 0..all {
            started.push(seconds(30) - left);
            left = left.saturating_sub(share(left, tried, all));
        }
        assert!(started[all - 1] < PATIENCE && left.is_zero(), "{all}: {started:?}");
    }
}

/// A black hole: the accept queue of the socket is full, so that the kernel drops each SYN.
#[tokio::test]
async fn an_address_that_never_answers_leaves_time_for_the_next() {
    let (_listening, address) = listener("127.0.0.1:0");
    let hole = SocketAddr::new("127.0.0.2".parse().unwrap(), address.port());
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&hole.into()).unwrap();
    socket.listen(0).unwrap();
    let fill = || std::net::TcpStream::connect_timeout(&hole, Duration::from_millis(300));
    let _filled: Vec<_> = std::iter::from_fn(|| fill().ok()).take(8).collect();
    let addresses = [&hole, &address].map(|address| address.ip());
    let place = Destination::Tcp { host: "mx.example".to_owned(), port: address.port() };
    let resolver = Arc::new(Answers::new(vec![addresses.to_vec()]));
    let dialed =
        dial(&Endpoint { resolver, timeout: Duration::from_secs(30), ..endpoint(place) }, 0, now).await;
    assert!(dialed.result.is_ok());
    let [first, second] = &dialed.attempts[..] else { panic!("{:?}", dialed.attempts) };
    assert_eq!((first.fault, second.fault), (Some(ConnectFault::TimedOut), None));
    assert!(first.to - first.from < PATIENCE, "{:?}", first.to - first.from);
}

#[tokio::test]
async fn an_address_that_cannot_be_reached_does_not_end_the_search() {
    let (_listening, address) = listener("127.0.0.1:0");
    let dialed = dialed(&["255.255.255.255", "127.0.0.1"], address.port(), Allowed::Any).await;
    assert!(dialed.result.is_ok());
    let ended: Vec<bool> = dialed.attempts.iter().map(|attempt| attempt.fault.is_none()).collect();
    assert_eq!(ended, [false, true]);
}

#[tokio::test]
async fn nothing_is_sent_to_a_name_with_an_address_that_is_not_allowed() {
    let (listening, address) = listener("127.0.0.1:0");
    listening.set_nonblocking(true).unwrap();
    let foreign: IpAddr = "192.0.2.1".parse().unwrap();
    for addresses in [&["192.0.2.1"][..], &["127.0.0.1", "192.0.2.1"], &["192.0.2.1", "127.0.0.1"]] {
        let dialed = dialed(addresses, address.port(), Allowed::default()).await;
        assert_eq!(dialed.result.unwrap_err(), (Step::Connect, ConnectFault::NotAllowed(foreign)));
        assert_eq!(dialed.attempts, []);
    }
    assert_eq!(listening.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "nobody came");
    // The rule holds for an address literal too.
    let place = Destination::Tcp { host: "192.0.2.1".to_owned(), port: 25 };
    assert_eq!(dial(&endpoint(place), 0, now).await.result.unwrap_err().1, ConnectFault::NotAllowed(foreign));
}

#[tokio::test]
async fn a_name_is_asked_for_each_connection() {
    let (_listening, address) = listener("127.0.0.1:0");
    let answers = [&["127.0.0.1"][..], &["192.0.2.1"], &["127.0.0.1"], &[]];
    let parsed = answers.iter().map(|answer| answer.iter().map(|text| text.parse().unwrap()).collect());
    let resolver = Arc::new(Answers::new(parsed.collect()));
    let place = Destination::Tcp { host: "mx.example".to_owned(), port: address.port() };
    let endpoint = Endpoint { resolver, ..endpoint(place) };
    let mut ended = Vec::new();
    for serial in 0..5 {
        ended.push(dial(&endpoint, serial, now).await.result.map(drop).map_err(|(_, fault)| fault));
    }
    let foreign = ConnectFault::NotAllowed("192.0.2.1".parse().unwrap());
    assert_eq!(
        ended,
        [Ok(()), Err(foreign), Ok(()), Err(ConnectFault::NotResolved), Err(ConnectFault::NotResolved)]
    );
}

#[tokio::test]
async fn all_addresses_of_a_name_are_tried_in_order() {
    let (first, one) = listener("127.0.0.1:0");
    let (_second, two) = listener("127.0.0.2:0");
    let reached = |stream: Stream| match stream {
        Stream::Tcp(stream) => stream.peer_addr().unwrap(),
        _ => panic!("not TCP"),
    };
    assert_eq!(reached(connected(&[one, two], ClientAddress::Any, 0).await.unwrap()), one);
    drop(first);
    assert_eq!(reached(connected(&[one, two], ClientAddress::Any, 0).await.unwrap()), two);
    assert_eq!(
        connected(&[one], ClientAddress::Any, 0).await.unwrap_err(),
        (Step::Connect, ConnectFault::Refused)
    );
}

#[tokio::test]
async fn sessions_leave_from_the_sources_in_turn_and_by_family() {
    let (listening, address) = listener("127.0.0.1:0");
    let v6: SocketAddr = "[::1]:1".parse().unwrap();
    let sources = Addresses::parse(&["127.0.0.5-127.0.0.6", "::1"]).unwrap();
    for (serial, expected) in [(0, "127.0.0.5"), (1, "127.0.0.6"), (2, "127.0.0.5"), (7, "127.0.0.6")] {
        connected(&[address], ClientAddress::Bound(sources.clone()), serial).await.unwrap();
        assert_eq!(listening.accept().unwrap().1.ip().to_string(), expected);
    }
    // No source address has the family of the first address, so that address is skipped.
    let only_v4 = Addresses::parse(&["127.0.0.9"]).unwrap();
    connected(&[v6, address], ClientAddress::Bound(only_v4.clone()), 0).await.unwrap();
    assert_eq!(listening.accept().unwrap().1.ip().to_string(), "127.0.0.9");
    let own = Err((Step::Connect, ConnectFault::Own(LocalFault::Source)));
    assert_eq!(connected(&[v6], ClientAddress::Bound(only_v4), 0).await.map(drop), own);
    // No machine has an address of TEST-NET-1 (RFC 5737). The failure is this machine's, not the listener's.
    let foreign = ClientAddress::Bound(Addresses::parse(&["192.0.2.1"]).unwrap());
    let ended = connected(&[address], foreign, 0).await.map(drop);
    assert_eq!(ended, own);
}

#[tokio::test]
async fn the_header_goes_out_before_everything() {
    use std::io::Read;
    let (listening, address) = listener("127.0.0.1:0");
    let sources = Addresses::parse(&["10.9.8.7-10.9.8.8"]).unwrap();
    for (origin, client) in [
        (ClientAddress::Proxied(ProxyVersion::V1, sources), "10.9.8.8"),
        (ClientAddress::Proxied(ProxyVersion::V1, Addresses::default()), "127.0.0.1"),
    ] {
        drop(connected(&[address], origin, 3).await.unwrap());
        let (mut stream, peer) = listening.accept().unwrap();
        assert_eq!(peer.ip().to_string(), "127.0.0.1");
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert_eq!(said, format!("PROXY TCP4 {client} 127.0.0.1 {} {}\r\n", peer.port(), address.port()));
    }
}
