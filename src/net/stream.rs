//! One stream type for every transport of a session.

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

/// The silence after which a watched stream probes the other host, and the interval of further probes in a longer
/// silence. A probe is one empty segment, which the other side's program does not see.
const QUIET: Duration = Duration::from_secs(5);
/// The interval of the probes when no answer comes.
const AGAIN: Duration = Duration::from_secs(1);
/// How long acknowledgements must be missing until the other host counts as gone: longer than a change of routes takes.
pub const GONE: Duration = Duration::from_secs(10);

/// A connected stream.
#[derive(Debug)]
pub enum Stream {
    /// Plain TCP with TCP_NODELAY, so that a message written in two pieces does not wait for a delayed ACK.
    Tcp(TcpStream),
    /// In a TLS handshake. Nothing else is read or written.
    Shaking(Box<Shaking>),
    /// With TLS.
    Tls(Box<Secured>),
    /// The stream was moved out for a handshake.
    Gone,
    /// A unix socket.
    Unix(UnixStream),
}

impl Stream {
    /// Wraps a plain TCP stream and sets TCP_NODELAY. Returns false if a sandbox refuses that: the stream works, but
    /// may be slower.
    pub fn tcp(stream: TcpStream) -> (Stream, bool) {
        let no_delay = stream.set_nodelay(true).is_ok();
        (Stream::Tcp(stream), no_delay)
    }

    /// Makes the next close a reset (RST) instead of an orderly end (FIN).
    pub fn reset_on_close(&self) {
        match self {
            // This fails only if the connection has ended already, which is the effect of a reset too.
            Stream::Tcp(stream) => drop(socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))),
            Stream::Tls(stream) => stream.reset_on_close(),
            Stream::Shaking(_) | Stream::Gone => {}
            // The kernel sends no reset for a unix socket that was read to its end: the other side sees an end of
            // stream.
            Stream::Unix(_) => {}
        }
    }

    /// Lets the kernel watch whether the other host is still there while nothing is sent. The kernel probes after a
    /// silence of [`QUIET`]. After [`GONE`] without an answer, or without an acknowledgement of sent data, the stream
    /// fails. Use `watch` only while no content is being sent: the stream also fails if the other side keeps its window
    /// closed for that long.
    ///
    /// # Errors
    /// The kernel's error; some sandboxes refuse the options.
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

    /// Whether the kernel reports within this time that the other host is gone. Input, which is dropped, means that the
    /// host is not gone.
    pub async fn is_gone(&mut self, within: Duration) -> bool {
        let mut bytes = [0; 512];
        let read = std::future::poll_fn(|cx| self.poll_read(cx, &mut ReadBuf::new(&mut bytes)));
        let read = tokio::time::timeout(within, read).await;
        matches!(read, Ok(Err(error)) if closed_by(&error) == Closed::Gone)
    }

    /// Whether neither input nor an end comes within this time. Input is dropped.
    pub async fn is_silent(&mut self, within: Duration) -> bool {
        let mut bytes = [0; 512];
        let read = std::future::poll_fn(|cx| self.poll_read(cx, &mut ReadBuf::new(&mut bytes)));
        tokio::time::timeout(within, read).await.is_err()
    }

    /// Begins the TLS handshake; see [`Stream::poll_secured`].
    pub(super) fn secure(&mut self, security: &Security) {
        *self = Stream::Shaking(Shaking::new(mem::replace(self, Stream::Gone), security));
    }

    /// Whether the TLS handshake is in progress.
    pub(super) fn is_shaking(&self) -> bool {
        matches!(self, Stream::Shaking(_))
    }

    /// Continues the handshake. After it the stream is secure, or plain as before.
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

    /// Whether an orderly close sends a close_notify first.
    pub(super) fn has_close_notify(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }

    /// Whether the other side ended a secure stream without close_notify (RFC 8446 6.1).
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
            // The kernel nearly always takes bytes at once. Only if it takes none, the write waits through the runtime.
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
