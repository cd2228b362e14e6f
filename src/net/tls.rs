//! TLS on a stream: the handshake with its result, and the bytes after it. `tls::client` and `tls::server` choose the
//! trusted authorities and the offered versions. The machine decides when a stream is secured.
//!
//! # Decisions
//! - If the other side sends no TLS, its first bytes are kept, so that a refusal in clear text can be read as a reply.
//! - A write is complete when the kernel has taken its records, as on a plain stream. Otherwise the caller would count
//!   bytes in the library's buffers as sent.
//! - An end of the stream without close_notify (RFC 8446 6.1) counts as an ordinary end, because SMTP ends a session
//!   with QUIT. `Secured::truncated` reports it separately.

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

/// The largest number of bytes that are kept of input that is not TLS.
const FIRST: usize = 512;

/// Performs the library's initialization: of the process (its algorithms) and of the thread (the seed of its random
/// numbers, which alone takes tens of milliseconds). Otherwise the initialization would be part of the first handshake
/// of each thread, and would count as the other side's time. The results are dropped.
pub fn warm_up() {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.secure_random.fill(&mut [0; 32]).ok();
    for group in provider.kx_groups {
        // Each group exchanges keys with itself. An error does not matter here.
        if let Ok(own) = group.start() {
            let share = own.pub_key().to_vec();
            own.complete(&share).ok();
        }
    }
}

/// Why TLS cannot be set up. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The system has no readable store of authorities.
    #[error("the system trusts no authority that could be read: name a file of certificates with ca")]
    NoAuthorities,
    /// One of the authorities to trust is not a certificate.
    #[error("a certificate to be trusted cannot be used: {0}")]
    Authority(String),
    /// The certificate and its key cannot be used.
    #[error("the certificate and its key cannot be used: {0}")]
    Credential(String),
    /// The name cannot stand in a certificate.
    #[error("{0:?} is no name that a certificate could have: give the name to ask for with sni")]
    Name(String),
    /// A certificate could not be made.
    #[error("no certificate can be made: {0}")]
    Making(String),
}

/// What a stream needs to be secured.
#[derive(Clone, Debug)]
pub enum Security {
    /// The stream's side is the client.
    Client {
        /// The trusted authorities, and the sessions to resume.
        config: Arc<ClientConfig>,
        /// The name to ask for.
        name: ServerName<'static>,
        /// The faults that a verifier without rejection has noted; `None` if the verifier rejects.
        doubts: Option<Arc<Doubts>>,
    },
    /// The stream's side is the server.
    Server(Arc<ServerConfig>),
}

/// Why there is no secure stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// The handshake failed. Both sides are still connected.
    Insecure(Insecure),
    /// The connection was lost in the handshake.
    Closed(Closed),
}

/// The plain stream beneath TLS. It keeps the first bytes that it reads as long as they do not look like TLS.
#[derive(Debug)]
pub(super) struct Beneath {
    stream: Stream,
    first: First,
    /// The first bytes of the first record.
    head: Vec<u8>,
}

#[derive(Debug)]
enum First {
    /// Nothing was read so far, or only bytes that are not TLS.
    Bytes(Vec<u8>),
    /// The bytes are TLS.
    Tls,
}

/// The number of bytes in the header of a record (5), the header of a handshake message (4), and the version at the
/// start of a ServerHello (2): RFC 8446 5.1, 4, 4.1.3.
const HEAD: usize = 11;

impl Beneath {
    /// Returns which TLS message came from the other side, in words.
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
        // A record begins with its type, 20 to 23 (RFC 8446 5.1). No reply begins with such a byte.
        if bytes.is_empty() && matches!(read.first(), Some(20..=23)) {
            self.first = First::Tls;
            return;
        }
        let room = FIRST.saturating_sub(bytes.len());
        bytes.extend_from_slice(&read[..read.len().min(room)]);
    }

    /// Returns the bytes that came, if they are not TLS.
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

/// The end of a handshake: the secure stream, or the plain one and the reason.
type HandshakeEnd = Result<(Box<Secured>, Handshake), (Stream, Failed)>;

/// A handshake in progress.
pub struct Shaking {
    state: HandshakeState,
    doubts: Option<Arc<Doubts>>,
    doubt: Option<String>,
}

enum HandshakeState {
    Client(FallibleConnect<Beneath>),
    Server(FallibleAccept<Beneath>),
    /// The bytes are not TLS. The rest of their line is being read.
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
        // All sessions of the thread share the verifier. Faults that the verifier noted in this turn belong to this
        // session.
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

/// Reads on until a line is complete, the space is used up, or nothing more comes.
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

/// The label of the channel binding (RFC 9266 2).
const LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// Returns the result of a complete handshake.
fn told(stream: &TlsStream<Beneath>, untrusted: Option<String>) -> Handshake {
    let (_, common) = stream.get_ref();
    let version = common.protocol_version();
    let suite = common.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
    let exported = match stream {
        // Before TLS 1.3 channel binding needs extended master secrets (RFC 9266 4.2), which this library does not
        // report.
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

/// Returns the name of a version that was read from a record.
fn version_of(major: u8, minor: u8) -> String {
    match (major, minor) {
        (3, 0) => "SSLv3".to_owned(),
        (3, minor @ 1..=4) => format!("TLSv1.{}", minor - 1),
        _ => format!("version {major}.{minor}"),
    }
}

/// Returns the meaning of a failed handshake. `came` is what the other side sent.
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

/// Returns the meaning of a failure of TLS itself, in the handshake or after it; `None` for a failure of the
/// connection.
pub(super) fn insecure(error: &io::Error) -> Option<Insecure> {
    Some(match of_tls(error)? {
        rustls::Error::AlertReceived(alert) => Insecure::Alert(registered(&format!("{alert:?}"))),
        rustls::Error::InvalidCertificate(why) => Insecure::Certificate(client::in_words(why)),
        rustls::Error::NoCertificatesPresented => {
            Insecure::Certificate("none was shown, and one is required".to_owned())
        }
        // smtpress offers these schemes when verification is off, so the listener has not misbehaved.
        rustls::Error::PeerMisbehaved(PeerMisbehaved::SignedKxWithWrongAlgorithm) => Insecure::Broken(
            "the certificate's key is of a kind (Ed448, RSASSA-PSS) that the TLS library takes in TLSv1.3 only".to_owned(),
        ),
        other => Insecure::Broken(other.to_string()),
    })
}

/// Returns `HandshakeFailure` in its registered form: `handshake_failure`.
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
    /// The number of bytes that were accepted and whose records the kernel has not taken yet.
    unflushed: usize,
    truncated: bool,
}

impl Secured {
    /// Whether the other side ended the stream without close_notify.
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

    /// Returns `Ready` when the kernel has taken the returned number of bytes. After `Pending` the caller must pass the
    /// same bytes again.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.unflushed == 0 {
            self.unflushed = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        Poll::Ready(Ok(mem::take(&mut self.unflushed)))
    }

    /// Sends close_notify and ends the stream.
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
