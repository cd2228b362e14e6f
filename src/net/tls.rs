//! TLS on a stream: the handshake with its result, and the bytes after it. What is trusted and offered is
//! decided by `tls::client` and `tls::server`; when a stream is secured, by the machine.
//!
//! # Decisions
//! - What came instead of TLS is kept (its first bytes), so that a refusal in clear text can be read as the reply it is.
//! - A write is complete when its records are with the kernel, as on a plain stream: otherwise a caller that waits for "written"
//!   would take bytes in our buffers for sent.
//! - An end of the stream without close_notify (RFC 8446 6.1) is an end like any other for SMTP, which has its own; it
//!   is noted apart (`Secured::truncated`).

mod certificate;
pub mod client;
pub mod server;

use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind, PeerMisbehaved, ProtocolVersion, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{FallibleAccept, FallibleConnect, TlsAcceptor, TlsConnector, TlsStream};

use self::client::Doubts;
use super::stream::Stream;
use crate::smtp::Closed;
use crate::smtp::machine::{Handshake, Insecure};

/// The most of what came instead of TLS that is kept, in bytes.
const FIRST: usize = 512;

/// Does what the library does once: in a process (its algorithms), and on each thread (the seed of its random numbers, which
/// alone takes tens of milliseconds). Not done before, it would be part of the first handshake of each thread, and would be
/// taken for the other side's time. Nothing that it makes is kept.
pub fn warm_up() {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.secure_random.fill(&mut [0; 32]).ok();
    for group in provider.kx_groups {
        // Each answers itself; what a group cannot do with its own share it would not do for the first time.
        if let Ok(own) = group.start() {
            let share = own.pub_key().to_vec();
            own.complete(&share).ok();
        }
    }
}

/// Why TLS cannot be set up; nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The system has no store of authorities that can be read.
    #[error("the system trusts no authority that could be read: name a file of certificates with ca")]
    NoAuthorities,
    /// One of the certificates to be trusted is none.
    #[error("a certificate to be trusted cannot be used: {0}")]
    Authority(String),
    /// The certificate and its key.
    #[error("the certificate and its key cannot be used: {0}")]
    Credential(String),
    /// The name is none that a certificate could have.
    #[error("{0:?} is no name that a certificate could have: give the name to ask for with sni")]
    Name(String),
    /// A certificate could not be made.
    #[error("no certificate can be made: {0}")]
    Making(String),
}

/// What a stream needs to be secured.
#[derive(Clone, Debug)]
pub enum Security {
    /// We are the client.
    Client {
        /// Whom to trust, and the sessions to resume.
        config: Arc<ClientConfig>,
        /// The name to ask for.
        name: ServerName<'static>,
        /// Where a verifier that accepts all notes its doubts.
        doubts: Option<Arc<Doubts>>,
    },
    /// We are the server.
    Server(Arc<ServerConfig>),
}

/// Why there is no secure stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// The handshake failed; both sides are there.
    Insecure(Insecure),
    /// The connection was lost in it.
    Closed(Closed),
}

/// The plain stream beneath, which remembers what it read while that does not look like TLS.
#[derive(Debug)]
pub(super) struct Beneath {
    stream: Stream,
    first: First,
    /// The first bytes of the first record.
    head: Vec<u8>,
}

#[derive(Debug)]
enum First {
    /// Nothing was read, or nothing but what is no TLS.
    Bytes(Vec<u8>),
    /// It is TLS.
    Tls,
}

/// The header of a record, of a handshake message, and the version that a ServerHello begins with (RFC 8446 5.1, 4, 4.1.3).
const HEAD: usize = 11;

impl Beneath {
    /// The result of the TLS handshake, in words.
    fn came(&self) -> Option<String> {
        match *self.head {
            [22, _, _, _, _, 2, _, _, _, 3, 3] => Some("a ServerHello of TLSv1.2 or later came".to_owned()),
            [22, _, _, _, _, 2, _, _, _, major, minor] => {
                Some(format!("a ServerHello of {} came", version_of(major, minor)))
            }
            [21, major, minor, ..] => {
                Some(format!("the alert came in a record of {}", version_of(major, minor)))
            }
            _ => None,
        }
    }

    fn note(&mut self, read: &[u8]) {
        let room = HEAD.saturating_sub(self.head.len());
        self.head.extend_from_slice(&read[..read.len().min(room)]);
        let First::Bytes(bytes) = &mut self.first else { return };
        // A record begins with its type and the major version 3 (RFC 8446 5.1).
        if bytes.is_empty() && matches!(read.first(), Some(20..=23)) {
            self.first = First::Tls;
            return;
        }
        let room = FIRST.saturating_sub(bytes.len());
        bytes.extend_from_slice(&read[..read.len().min(room)]);
    }

    /// What came, if it is no TLS.
    fn clear_text(&self) -> Option<&Vec<u8>> {
        match &self.first {
            First::Bytes(bytes) if !bytes.is_empty() => Some(bytes),
            First::Bytes(_) | First::Tls => None,
        }
    }
}

impl AsyncRead for Beneath {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(self.stream.poll_read(cx, buf))?;
        if matches!(self.first, First::Bytes(_)) || self.head.len() < HEAD {
            self.note(&buf.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Beneath {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_shutdown(cx)
    }
}

/// What a handshake leaves: the secure stream, or the plain one and why it stays so.
type HandshakeEnd = Result<(Box<Secured>, Handshake), (Stream, Failed)>;

/// A handshake under way.
pub struct Shaking {
    state: HandshakeState,
    doubts: Option<Arc<Doubts>>,
    doubt: Option<String>,
}

enum HandshakeState {
    Client(FallibleConnect<Beneath>),
    Server(FallibleAccept<Beneath>),
    /// It is no TLS: the rest of the line is waited for.
    Clear(Beneath),
    Over,
}

impl std::fmt::Debug for Shaking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shaking")
    }
}

impl Shaking {
    pub(super) fn new(stream: Stream, security: &Security) -> Box<Shaking> {
        let beneath = Beneath { stream, first: First::Bytes(Vec::new()), head: Vec::with_capacity(HEAD) };
        let (state, doubts) = match security {
            Security::Client { config, name, doubts } => {
                let connect = TlsConnector::from(config.clone()).connect(name.clone(), beneath);
                (HandshakeState::Client(connect.into_fallible()), doubts.clone())
            }
            Security::Server(config) => (
                HandshakeState::Server(TlsAcceptor::from(config.clone()).accept(beneath).into_fallible()),
                None,
            ),
        };
        Box::new(Shaking { state, doubts, doubt: None })
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<HandshakeEnd> {
        let ended = match &mut self.state {
            HandshakeState::Client(connect) => Pin::new(connect).poll(cx).map_ok(TlsStream::Client),
            HandshakeState::Server(accept) => Pin::new(accept).poll(cx).map_ok(TlsStream::Server),
            HandshakeState::Clear(beneath) => {
                ready!(poll_line(beneath, cx));
                return Poll::Ready(Err(self.refused_in_clear()));
            }
            HandshakeState::Over => return Poll::Pending,
        };
        // The verifier is shared by all sessions of the thread: what it noted in this turn is of this session.
        if let Some(doubt) = self.doubts.as_ref().and_then(|doubts| doubts.take()) {
            let before = self.doubt.take();
            self.doubt = Some(before.map_or_else(|| doubt.clone(), |before| format!("{before}; {doubt}")));
        }
        match ready!(ended) {
            Ok(mut stream) => {
                self.state = HandshakeState::Over;
                let handshake = told(&stream, self.doubt.take());
                let (beneath, _) = stream.get_mut();
                beneath.first = First::Tls;
                Poll::Ready(Ok((Box::new(Secured { stream, unflushed: 0, truncated: false }), handshake)))
            }
            Err((error, mut beneath)) => {
                if beneath.clear_text().is_some() && !is_alert(&error) {
                    let whole = poll_line(&mut beneath, cx).is_ready();
                    self.state = HandshakeState::Clear(beneath);
                    return if whole { Poll::Ready(Err(self.refused_in_clear())) } else { Poll::Pending };
                }
                self.state = HandshakeState::Over;
                let came = beneath.came();
                Poll::Ready(Err((beneath.stream, failed(&error, came))))
            }
        }
    }

    fn refused_in_clear(&mut self) -> (Stream, Failed) {
        match mem::replace(&mut self.state, HandshakeState::Over) {
            HandshakeState::Clear(beneath) => {
                let bytes = beneath.clear_text().cloned().unwrap_or_default();
                (beneath.stream, Failed::Insecure(Insecure::ClearText(bytes)))
            }
            _ => (Stream::Gone, Failed::Closed(Closed::Eof)),
        }
    }
}

/// Reads on until a line is whole, no more of it is kept, or nothing comes any more.
fn poll_line(beneath: &mut Beneath, cx: &mut Context<'_>) -> Poll<()> {
    let mut space = [0; FIRST];
    loop {
        let kept = beneath.clear_text().map_or(&[][..], Vec::as_slice);
        if kept.len() >= FIRST || kept.last() == Some(&b'\n') {
            return Poll::Ready(());
        }
        let mut buf = ReadBuf::new(&mut space);
        let read = ready!(beneath.stream.poll_read(cx, &mut buf));
        if read.is_err() || buf.filled().is_empty() {
            return Poll::Ready(());
        }
        beneath.note(buf.filled());
    }
}

/// RFC 9266 2.
const LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// What a complete handshake came to.
fn told(stream: &TlsStream<Beneath>, untrusted: Option<String>) -> Handshake {
    let (_, common) = stream.get_ref();
    let version = common.protocol_version();
    let suite = common.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
    let exported = match stream {
        // Before TLS 1.3 it may only be used with extended master secrets (RFC 9266 4.2), which this library does not report.
        _ if version != Some(ProtocolVersion::TLSv1_3) => None,
        TlsStream::Client(stream) => {
            stream.get_ref().1.export_keying_material([0; 32], LABEL, Some(b"")).ok()
        }
        TlsStream::Server(stream) => {
            stream.get_ref().1.export_keying_material([0; 32], LABEL, Some(b"")).ok()
        }
    };
    Handshake {
        version: version.map(version_name).unwrap_or_default(),
        // rustls marks the suites of TLS 1.3; the registry does not.
        suite: suite.map(|suite| suite.replacen("TLS13_", "TLS_", 1)).unwrap_or_default(),
        group: common.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name())),
        resumed: common.handshake_kind() == Some(HandshakeKind::Resumed),
        binding: exported.map(Vec::from),
        untrusted,
    }
}

fn version_name(version: ProtocolVersion) -> String {
    match version {
        ProtocolVersion::TLSv1_2 => "TLSv1.2".to_owned(),
        ProtocolVersion::TLSv1_3 => "TLSv1.3".to_owned(),
        other => format!("{other:?}"),
    }
}

fn of_tls(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn is_alert(error: &io::Error) -> bool {
    matches!(of_tls(error), Some(rustls::Error::AlertReceived(_)))
}

/// A version as it is written on the wire, in words.
fn version_of(major: u8, minor: u8) -> String {
    match (major, minor) {
        (3, 0) => "SSLv3".to_owned(),
        (3, minor @ 1..=4) => format!("TLSv1.{}", minor - 1),
        _ => format!("version {major}.{minor}"),
    }
}

/// What a failed handshake means; `came`: what the other side said.
fn failed(error: &io::Error, came: Option<String>) -> Failed {
    let with = |words: String| came.as_ref().map_or_else(|| words.clone(), |came| format!("{words}; {came}"));
    match insecure(error) {
        Some(Insecure::Alert(alert)) => Failed::Insecure(Insecure::Alert(with(alert))),
        Some(Insecure::Broken(why)) => Failed::Insecure(Insecure::Broken(with(why))),
        Some(why) => Failed::Insecure(why),
        None if error.kind() == io::ErrorKind::UnexpectedEof => Failed::Closed(Closed::Eof),
        None => Failed::Closed(super::closed::closed_by(error)),
    }
}

/// What a failure of TLS itself means, in the handshake or after it; `None`: it is one of the connection.
pub(super) fn insecure(error: &io::Error) -> Option<Insecure> {
    Some(match of_tls(error)? {
        rustls::Error::AlertReceived(alert) => Insecure::Alert(registered(&format!("{alert:?}"))),
        rustls::Error::InvalidCertificate(why) => Insecure::Certificate(client::in_words(why)),
        rustls::Error::NoCertificatesPresented => {
            Insecure::Certificate("none was shown, and one is required".to_owned())
        }
        // What is offered where nothing is verified; the fault is not the other side's.
        rustls::Error::PeerMisbehaved(PeerMisbehaved::SignedKxWithWrongAlgorithm) => Insecure::Broken(
            "the certificate's key is of a kind (Ed448, RSASSA-PSS) that the TLS library takes in TLSv1.3 only".to_owned(),
        ),
        other => Insecure::Broken(other.to_string()),
    })
}

/// `HandshakeFailure` as it is registered: `handshake_failure`.
fn registered(name: &str) -> String {
    let mut registered = String::new();
    let mut before = '_';
    for c in name.chars() {
        if c.is_ascii_uppercase() && before.is_ascii_lowercase() {
            registered.push('_');
        }
        registered.push(c.to_ascii_lowercase());
        before = c;
    }
    registered
}

/// A stream with TLS on it.
#[derive(Debug)]
pub struct Secured {
    stream: TlsStream<Beneath>,
    /// Bytes that are taken, and whose records the kernel has not taken yet.
    unflushed: usize,
    truncated: bool,
}

impl Secured {
    /// The other side ended without close_notify.
    pub(super) fn truncated(&self) -> bool {
        self.truncated
    }

    pub(super) fn reset_on_close(&self) {
        self.stream.get_ref().0.stream.reset_on_close();
    }

    pub(super) fn watch(&self) -> io::Result<()> {
        self.stream.get_ref().0.stream.watch()
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.stream).poll_read(cx, buf)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.truncated = true;
                Poll::Ready(Ok(()))
            }
            read => Poll::Ready(read),
        }
    }

    /// Ready when the kernel has what is returned. After `Pending` it must be called with the same bytes again.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.unflushed == 0 {
            self.unflushed = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        Poll::Ready(Ok(mem::take(&mut self.unflushed)))
    }

    /// Says close_notify and ends the stream.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_have_their_registered_names() {
        assert_eq!(registered("HandshakeFailure"), "handshake_failure");
        assert_eq!(registered("UnknownCA"), "unknown_ca");
        assert_eq!(registered("ProtocolVersion"), "protocol_version");
    }

    #[test]
    fn what_came_is_kept_only_if_it_is_no_tls() {
        let note = |reads: &[&[u8]]| {
            let mut beneath =
                Beneath { stream: Stream::Gone, first: First::Bytes(Vec::new()), head: Vec::new() };
            reads.iter().for_each(|read| beneath.note(read));
            beneath.clear_text().cloned()
        };
        assert_eq!(note(&[b"42", b"1 busy\r\n"]), Some(b"421 busy\r\n".to_vec()));
        assert_eq!(note(&[b"\x16\x03", b"421"]), None);
        assert_eq!(note(&[&[b'x'; 2000]]).unwrap().len(), FIRST);
        assert_eq!(note(&[]), None);
    }
}
