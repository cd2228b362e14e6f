//! The TLS part of the drive: when a handshake begins, and what its result means for the machine.
//!
//! # Decisions
//! - Before the handshake begins, the kernel has taken all clear text that was to be written, and the machine was
//!   offered all clear text that was read. So bytes sent in clear text cannot pass for bytes sent over TLS.

use std::task::{Context, Poll, ready};
use std::time::Instant;

use super::{MachineOwner, Wire, now};
use crate::net::tls::Failed;
use crate::smtp::machine::{Closed, Insecure, Machine};

impl Wire<'_> {
    /// Continues the handshake that the machine waits for. Returns `Ready` once the machine was given the result and
    /// must be polled.
    pub(super) fn poll_securing<M: Machine, H: MachineOwner<M>>(
        &mut self,
        machine: &mut M,
        host: &H,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if !self.stream.is_shaking() {
            ready!(self.begin(machine, host));
        }
        if self.stream.is_shaking() {
            let ended = ready!(self.stream.poll_secured(cx));
            let now = now();
            match ended {
                Ok(handshake) => machine.handle_secured(now, handshake),
                Err(Failed::Insecure(why)) => machine.handle_insecure(now, why),
                Err(Failed::Closed(how)) => self.closed(machine, now, how),
            }
        }
        self.securing = false;
        Poll::Ready(())
    }

    /// Begins the handshake once all clear text is processed. Returns `Ready` without a handshake if there can be none;
    /// the machine was given the reason.
    fn begin<M: Machine, H: MachineOwner<M>>(&mut self, machine: &mut M, host: &H) -> Poll<()> {
        if let Some(how) = self.write_failed {
            machine.handle_closed(now(), how);
        } else if !self.held.is_empty() {
            machine.handle_insecure(now(), Insecure::ClearText(std::mem::take(&mut self.held)));
        } else if !self.backlog.is_empty() {
            return Poll::Pending;
        } else if let Some(security) = host.security() {
            self.stream.secure(security);
        } else {
            machine.handle_insecure(
                now(),
                Insecure::Broken("smtpress did not configure TLS for this session".to_owned()),
            );
        }
        Poll::Ready(())
    }

    /// Handles a failure of TLS itself on a secure stream. Nothing more can be read from the stream.
    pub(super) fn insecure<M: Machine>(&mut self, machine: &mut M, now: Instant, why: Insecure) {
        self.read_closed = true;
        match self.write_failed {
            Some(Closed::Reset) => machine.handle_closed(now, Closed::Reset),
            _ => machine.handle_insecure(now, why),
        }
    }
}
