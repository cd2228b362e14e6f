//! The listening side of the wire: a bound socket and the connections that come to it.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::address::bind::Bind;
use super::stream::Stream;

/// A listening socket, not blocking; port 0 takes a free one. `backlog` bounds the kernel's accept queue (the system's
/// `somaxconn` bounds it too).
///
/// # Errors
/// What the kernel says.
fn bind(addr: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // A listener that is started again must not wait for the last one's connections to fade.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// A unix socket that listens at `path`, not blocking, for this user only (mode 0600). A socket that a listener left
/// behind is replaced.
///
/// # Errors
/// What the kernel says; `AlreadyExists`: something else is there; `AddrInUse`: another process listens there.
fn bind_unix(path: &Path, backlog: u32) -> io::Result<UnixListener> {
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
        }
        Ok(_) => match socket.connect(&address) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    "another process listens there already",
                ));
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // Another socket: this one may be connected by now. Its mode is given before it has a name, so that nobody can
    // come in between.
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    nix::sys::stat::fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address)?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// A listening socket of either kind, which threads may share.
#[derive(Debug)]
pub struct Listening {
    socket: SocketKind,
    /// What is to be removed at the end: the unix socket and its device and number; none for a clone.
    file: Option<(PathBuf, (u64, u64))>,
}

#[derive(Debug)]
enum SocketKind {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listening {
    /// Binds, and listens.
    ///
    /// # Errors
    /// What the kernel says, or why a path is not taken.
    pub fn at(place: &Bind, backlog: u32) -> io::Result<Listening> {
        match place {
            Bind::Tcp(address) => {
                Ok(Listening { socket: SocketKind::Tcp(bind(*address, backlog)?), file: None })
            }
            Bind::Unix(path) => {
                let socket = SocketKind::Unix(bind_unix(path, backlog)?);
                Ok(Listening { socket, file: Some((path.clone(), identity(path)?)) })
            }
        }
    }

    /// Where it listens, the port that was taken included.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn place(&self) -> io::Result<Bind> {
        match (&self.socket, &self.file) {
            (SocketKind::Tcp(socket), _) => Ok(Bind::Tcp(socket.local_addr()?)),
            (SocketKind::Unix(_), Some((path, _))) => Ok(Bind::Unix(path.clone())),
            (SocketKind::Unix(socket), None) => {
                let address = socket.local_addr()?;
                Ok(Bind::Unix(address.as_pathname().unwrap_or(Path::new("")).to_owned()))
            }
        }
    }

    /// The same socket for another thread; the file stays the first one's.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn share(&self) -> io::Result<Listening> {
        let socket = match &self.socket {
            SocketKind::Tcp(socket) => SocketKind::Tcp(socket.try_clone()?),
            SocketKind::Unix(socket) => SocketKind::Unix(socket.try_clone()?),
        };
        Ok(Listening { socket, file: None })
    }

    /// The same in the current runtime.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn acceptor(&self) -> io::Result<Acceptor> {
        Ok(match &self.socket {
            SocketKind::Tcp(socket) => Acceptor::Tcp(tokio::net::TcpListener::from_std(socket.try_clone()?)?),
            SocketKind::Unix(socket) => {
                Acceptor::Unix(tokio::net::UnixListener::from_std(socket.try_clone()?)?)
            }
        })
    }
}

impl Drop for Listening {
    /// Removes the unix socket, unless another listener has put its own there meanwhile.
    fn drop(&mut self) {
        if let Some((path, made)) = self.file.take()
            && identity(&path).is_ok_and(|there| there == made)
        {
            // Failing leaves a file that the next listener replaces.
            std::fs::remove_file(path).ok();
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let there = std::fs::symlink_metadata(path)?;
    Ok((there.dev(), there.ino()))
}

/// Takes connections.
#[derive(Debug)]
pub enum Acceptor {
    /// Over TCP.
    Tcp(tokio::net::TcpListener),
    /// Over a unix socket.
    Unix(tokio::net::UnixListener),
}

impl Acceptor {
    /// The next connection and its client's address (an IPv4 client of an IPv6 socket is its IPv4 address; a client of a
    /// unix socket has none).
    ///
    /// # Errors
    /// What the kernel says: of the connection (it is gone already) or of this process (no descriptors left).
    pub async fn accept(&self) -> io::Result<(Stream, Option<IpAddr>)> {
        match self {
            Acceptor::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                Ok((Stream::tcp(stream).0, Some(peer.ip().to_canonical())))
            }
            Acceptor::Unix(socket) => Ok((Stream::Unix(socket.accept().await?.0), None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bound_socket_has_a_port_and_takes_connections() {
        let listening = Listening::at(&Bind::Tcp("127.0.0.1:0".parse().unwrap()), 16).unwrap();
        let Bind::Tcp(address) = listening.place().unwrap() else { panic!("not TCP") };
        assert_ne!(address.port(), 0);
        let client = std::net::TcpStream::connect(address).unwrap();
        let peer = listening.acceptor().unwrap().accept().await.unwrap().1;
        assert_eq!(peer, Some(client.local_addr().unwrap().ip()));
    }

    #[tokio::test]
    async fn a_unix_socket_is_its_users_own_and_goes_with_its_listener() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        let place = Bind::Unix(path.clone());
        let listening = Listening::at(&place, 16).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(listening.place().unwrap(), place);
        let other = listening.share().unwrap();
        let client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        assert_eq!(other.acceptor().unwrap().accept().await.unwrap().1, None);
        drop(client);
        drop(other);
        assert!(path.exists(), "the file is the first one's");
        drop(listening);
        assert!(!path.exists());
    }

    #[test]
    fn only_a_socket_that_was_left_behind_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        let place = Bind::Unix(path.clone());
        std::fs::write(&path, "letters").unwrap();
        assert_eq!(Listening::at(&place, 16).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "letters");
        std::fs::remove_file(&path).unwrap();
        // A link is no socket, even if it leads to one.
        let real = directory.path().join("real.sock");
        drop(UnixListener::bind(&real).unwrap());
        std::os::unix::fs::symlink(&real, &path).unwrap();
        assert_eq!(Listening::at(&place, 16).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(real.exists());
        std::fs::rename(&real, &path).unwrap();
        let first = Listening::at(&place, 16).unwrap();
        assert_eq!(Listening::at(&place, 16).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        // What another has put in the place of ours is not ours to remove.
        std::fs::remove_file(&path).unwrap();
        let second = Listening::at(&place, 16).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }
}
