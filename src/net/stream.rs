//! One stream type for all that a session may run over.

use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::TcpKeepalive;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::closed::closed_by;
use super::tls::{Failed, Secured, Security, Shaking};
use crate::smtp::machine::{Closed, Handshake};

/// A silence after which a stream that is watched asks whether the other host is there; it is asked for again as often as
/// it lasts. One empty segment: the listener's program does not see it.
const QUIET: Duration = Duration::from_secs(5);
/// How soon it asks again when nothing answers.
const AGAIN: Duration = Duration::from_secs(1);
/// How long nothing may be acknowledged until the other host is gone: longer than routes take to change.
pub const GONE: Duration = Duration::from_secs(10);

/// A connected stream.
#[derive(Debug)]
pub enum Stream {
    /// Plain TCP, with TCP_NODELAY: a message written in two pieces must not wait for a delayed ACK.
    Tcp(TcpStream),
    /// In a TLS handshake: nothing is read or written but that.
    Shaking(Box<Shaking>),
    /// With TLS.
    Tls(Box<Secured>),
    /// Nothing is left of it.
    Gone,
    /// A unix socket.
    Unix(UnixStream),
}

impl Stream {
    /// A plain TCP stream; sets TCP_NODELAY. Some sandboxes refuse it: false, and the stream is as good but for its speed.
    pub fn tcp(stream: TcpStream) -> (Stream, bool) {
        let no_delay = stream.set_nodelay(true).is_ok();
        (Stream::Tcp(stream), no_delay)
    }

    /// Makes the coming close a reset (RST) instead of an orderly end (FIN).
    pub fn reset_on_close(&self) {
        match self {
            // Failing means that the peer is gone already, which a reset would have brought about.
            Stream::Tcp(stream) => drop(socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))),
            Stream::Tls(stream) => stream.reset_on_close(),
            Stream::Shaking(_) | Stream::Gone => {}
            // The kernel knows no reset of a unix socket that was read to its end: the peer sees its end.
            Stream::Unix(_) => {}
        }
    }

    /// Lets the kernel check whether the other host is still there while nothing is sent: it probes after a silence of
    /// [`QUIET`], and after [`GONE`] without an answer, or without an acknowledgement of what was sent, the stream fails.
    /// For streams on which no content is under way: a window that the other side keeps shut for so long ends them too.
    ///
    /// # Errors
    /// What the kernel says; some sandboxes refuse it.
    pub(super) fn watch(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => {
                let socket = socket2::SockRef::from(stream);
                let keepalive = TcpKeepalive::new().with_time(QUIET).with_interval(AGAIN);
                socket.set_tcp_keepalive(&keepalive)?;
                #[cfg(target_os = "linux")]
                socket.set_tcp_user_timeout(Some(GONE))?;
                Ok(())
            }
            Stream::Tls(stream) => stream.watch(),
            // A unix socket has no other host.
            Stream::Shaking(_) | Stream::Gone | Stream::Unix(_) => Ok(()),
        }
    }

    /// Whether the other host turns out to be gone within this time; anything that comes says no, and is thrown away.
    pub async fn is_gone(&mut self, within: Duration) -> bool {
        let mut bytes = [0; 512];
        let read = std::future::poll_fn(|cx| self.poll_read(cx, &mut ReadBuf::new(&mut bytes)));
        let read = tokio::time::timeout(within, read).await;
        matches!(read, Ok(Err(error)) if closed_by(&error) == Closed::Gone)
    }

    /// Whether nothing comes within this time, not even an end; what comes is thrown away.
    pub async fn is_silent(&mut self, within: Duration) -> bool {
        let mut bytes = [0; 512];
        let read = std::future::poll_fn(|cx| self.poll_read(cx, &mut ReadBuf::new(&mut bytes)));
        tokio::time::timeout(within, read).await.is_err()
    }

    /// Begins the TLS handshake; see [`Stream::poll_secured`].
    pub(super) fn secure(&mut self, security: &Security) {
        *self = Stream::Shaking(Shaking::new(mem::replace(self, Stream::Gone), security));
    }

    /// Whether its handshake is under way.
    pub(super) fn is_shaking(&self) -> bool {
        matches!(self, Stream::Shaking(_))
    }

    /// Goes on with the handshake. After it the stream is secure, or plain as before.
    pub(super) fn poll_secured(&mut self, cx: &mut Context<'_>) -> Poll<Result<Handshake, Failed>> {
        let Stream::Shaking(shaking) = self else { return Poll::Pending };
        match ready!(shaking.poll(cx)) {
            Ok((secured, handshake)) => {
                *self = Stream::Tls(secured);
                Poll::Ready(Ok(handshake))
            }
            Err((plain, failed)) => {
                *self = plain;
                Poll::Ready(Err(failed))
            }
        }
    }

    /// Whether an orderly close has something to say before it.
    pub(super) fn has_close_notify(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }

    /// Whether the other side ended a secure stream without saying so (RFC 8446 6.1).
    pub(super) fn is_truncated(&self) -> bool {
        matches!(self, Stream::Tls(stream) if stream.truncated())
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => stream.poll_read(cx, buf),
            Stream::Shaking(_) | Stream::Gone => Poll::Ready(Ok(())),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            // The runtime is asked only when the kernel takes nothing: it nearly always does.
            Stream::Tcp(stream) => match stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    Pin::new(stream).poll_write(cx, bytes)
                }
                done => Poll::Ready(done),
            },
            Stream::Tls(stream) => stream.poll_write(cx, bytes),
            Stream::Shaking(_) | Stream::Gone => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => stream.poll_shutdown(cx),
            Stream::Shaking(_) | Stream::Gone => Poll::Ready(Ok(())),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
