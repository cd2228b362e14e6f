//! Determines from an I/O error how a connection ended.

use std::io;

use crate::smtp::machine::Closed;

/// Returns how a connection with this error ended.
pub(super) fn closed_by(error: &io::Error) -> Closed {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            Closed::Reset
        }
        // The kernel reports the last ICMP error for an established connection, or else a time-out (tcp(7)).
        io::ErrorKind::TimedOut
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown => Closed::Gone,
        _ => Closed::Error(error.raw_os_error().unwrap_or(0)),
    }
}
