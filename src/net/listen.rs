//! The listening side of the wire: a bound socket and the connections that come to it.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use super::stream::Stream;

/// A listening socket, not blocking; port 0 takes a free one. `backlog` bounds the kernel's accept queue (the system's
/// `somaxconn` bounds it too).
///
/// # Errors
/// What the kernel says.
pub fn bind(addr: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // A listener that is started again must not wait for the last one's connections to fade.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// The next connection and its client's address (an IPv4 client of an IPv6 socket is its IPv4 address).
///
/// # Errors
/// What the kernel says: of the connection (it is gone already) or of this process (no descriptors left).
pub async fn accept(listener: &tokio::net::TcpListener) -> io::Result<(Stream, IpAddr)> {
    let (stream, peer) = listener.accept().await?;
    Ok((Stream::tcp(stream)?, peer.ip().to_canonical()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_socket_has_a_port_and_takes_connections() {
        let socket = bind("127.0.0.1:0".parse().unwrap(), 16).unwrap();
        let addr = socket.local_addr().unwrap();
        assert_ne!(addr.port(), 0);
        let client = std::net::TcpStream::connect(addr).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let peer = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(socket).unwrap();
            accept(&listener).await.unwrap().1
        });
        assert_eq!(peer, client.local_addr().unwrap().ip());
    }
}
