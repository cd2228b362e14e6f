//! The drive's part in TLS: when a handshake begins, and what its end means for the machine.
//!
//! # Decisions
//! - What is to be written in clear is with the kernel, and all input that came in clear has been offered to the machine,
//!   before the handshake begins: nothing that was sent in clear text can pass for what was sent in secret.

use std::task::{Context, Poll, ready};
use std::time::Instant;

use super::{MachineOwner, Wire, now};
use crate::net::tls::Failed;
use crate::smtp::machine::{Closed, Insecure, Machine};

impl Wire<'_> {
    /// Goes on with the handshake that the machine waits for. `Ready`: it has heard how it ended; poll it.
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

    /// Begins the handshake once all that is clear text is done with. `Ready` without a handshake: it cannot be, and the
    /// machine has heard why.
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
            machine.handle_insecure(now(), Insecure::Broken("no TLS was set up on our side".to_owned()));
        }
        Poll::Ready(())
    }

    /// TLS itself failed on a stream that was secure: nothing more can be read from it.
    pub(super) fn insecure<M: Machine>(&mut self, machine: &mut M, now: Instant, why: Insecure) {
        self.read_closed = true;
        match self.write_failed {
            Some(Closed::Reset) => machine.handle_closed(now, Closed::Reset),
            _ => machine.handle_insecure(now, why),
        }
    }
}
