//! What an error of a connection says about its end.

use std::io;

use crate::smtp::machine::Closed;

/// Returns how the connection ended that gave this error.
pub(super) fn closed_by(error: &io::Error) -> Closed {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            Closed::Reset
        }
        // Of a connection that was established the kernel says what ICMP said last, and else that time is up (tcp(7)).
        io::ErrorKind::TimedOut
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown => Closed::Gone,
        _ => Closed::Error(error.raw_os_error().unwrap_or(0)),
    }
}
