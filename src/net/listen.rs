//! The listening side: a bound socket and the connections that it accepts.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::address::bind::Bind;
use super::stream::Stream;

/// Returns a non-blocking listening socket. Port 0 takes a free port. `backlog` limits the kernel's accept queue (the
/// system's `somaxconn` limits it too).
///
/// # Errors
/// The kernel's error.
fn bind(addr: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // Without this option, a restarted listener could not bind while old connections are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Returns a non-blocking unix socket that listens at `path`, for this user only (mode 0600). A socket file that a
/// stopped listener left behind is replaced.
///
/// # Errors
/// The kernel's error. `AlreadyExists` if another kind of file is there, and `AddrInUse` if another process listens
/// there.
fn bind_unix(path: &Path, backlog: u32) -> io::Result<UnixListener> {
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A blocking connect would wait while the other listener's accept queue is full.
    socket.set_nonblocking(true)?;
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a file that is not a socket exists there",
            ));
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
    // The check above may have connected its socket, so a new socket is needed. The mode is set before the bind, so
    // that no other user can connect in between.
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    nix::sys::stat::fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address)?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// A listening socket of either kind. Threads can share it.
#[derive(Debug)]
pub struct Listening {
    socket: SocketKind,
    /// The unix socket's file to remove at the end, with its device and inode number; `None` for a shared socket and
    /// for TCP.
    file: Option<(PathBuf, (u64, u64))>,
}

#[derive(Debug)]
enum SocketKind {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listening {
    /// Binds the socket and listens.
    ///
    /// # Errors
    /// The kernel's error, or why the path is refused.
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

    /// Returns the place where the socket listens, with the actual port.
    ///
    /// # Errors
    /// The kernel's error.
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

    /// Returns the socket for another thread. Only the original removes the file.
    ///
    /// # Errors
    /// There is no free descriptor.
    pub fn share(&self) -> io::Result<Listening> {
        let socket = match &self.socket {
            SocketKind::Tcp(socket) => SocketKind::Tcp(socket.try_clone()?),
            SocketKind::Unix(socket) => SocketKind::Unix(socket.try_clone()?),
        };
        Ok(Listening { socket, file: None })
    }

    /// Returns an acceptor for the socket in the current runtime.
    ///
    /// # Errors
    /// The kernel's error.
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
    /// Removes the file of the unix socket, unless another listener has replaced it.
    fn drop(&mut self) {
        if let Some((path, made)) = self.file.take()
            && identity(&path).is_ok_and(|there| there == made)
        {
            // If this fails, the file stays, and the next listener replaces it.
            std::fs::remove_file(path).ok();
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let there = std::fs::symlink_metadata(path)?;
    Ok((there.dev(), there.ino()))
}

/// Accepts connections.
#[derive(Debug)]
pub enum Acceptor {
    /// Over TCP.
    Tcp(tokio::net::TcpListener),
    /// Over a unix socket.
    Unix(tokio::net::UnixListener),
}

impl Acceptor {
    /// Returns the next connection and its client's address. An IPv4 client of an IPv6 socket has its IPv4 address; a
    /// client of a unix socket has none.
    ///
    /// # Errors
    /// The kernel's error, about the connection (it is gone already) or about this process (no free descriptors).
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
    fn a_listener_with_a_full_accept_queue_is_found_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        let first = bind_unix(&path, 0).unwrap();
        let address = SockAddr::unix(&path).unwrap();
        let waiting = std::iter::repeat_with(|| {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket.connect(&address).map(|()| socket)
        });
        let waiting: Vec<Socket> = waiting.take(64).map_while(Result::ok).collect();
        assert!((1..64).contains(&waiting.len()), "{} fit", waiting.len());
        let (sender, receiver) = std::sync::mpsc::channel();
        let place = path.clone();
        std::thread::spawn(move || sender.send(bind_unix(&place, 0).map_err(|error| error.kind())));
        let second = receiver.recv_timeout(std::time::Duration::from_secs(10)).expect("it does not wait");
        assert_eq!(second.unwrap_err(), io::ErrorKind::AddrInUse);
        drop((first, waiting));
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
        // A symbolic link is not a socket, even if it leads to one.
        let real = directory.path().join("real.sock");
        drop(UnixListener::bind(&real).unwrap());
        std::os::unix::fs::symlink(&real, &path).unwrap();
        assert_eq!(Listening::at(&place, 16).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(real.exists());
        std::fs::rename(&real, &path).unwrap();
        let first = Listening::at(&place, 16).unwrap();
        assert_eq!(Listening::at(&place, 16).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        // A file that another process has put in this place must stay.
        std::fs::remove_file(&path).unwrap();
        let second = Listening::at(&place, 16).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }
}
