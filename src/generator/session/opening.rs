//! What of the opening of a session is entered in the books beside its steps: the addresses that were tried, commands that
//! were said again, and the TLS handshake.

use super::{Session, nanos};
use crate::collector::tally::HandshakeKey;
use crate::collector::{Metric, Outcome};
use crate::generator::failure_class;
use crate::net::dial::{Attempt, Dialed};
use crate::smtp::machine::Handshake;
use crate::smtp::{Reply, Step};

impl Session {
    /// Counts what was met at each address of the target.
    pub(super) fn reached(&self, dialed: &Dialed) {
        let mut books = self.worker.books.borrow_mut();
        for Attempt { address, from, to, fault } in &dialed.attempts {
            let took = nanos(to.saturating_duration_since(*from));
            books.address(self.phase, *address, fault.is_none().then_some(took));
        }
        let counts = books.counts(self.phase);
        counts.without_no_delay += u64::from(dialed.refused.no_delay);
        counts.without_late_port += u64::from(dialed.refused.late_port);
    }

    /// A command is said again in an older way.
    pub(super) fn stepped_down(&mut self, step: Step, reply: &Reply) {
        if step == Step::Hello {
            self.worker.books.borrow_mut().counts(self.phase).helo_for_ehlo += 1;
        }
        if let Some(tape) = &mut self.tape {
            tape.note(self.worker.now(), &failure_class::stepped_down(step, reply));
        }
    }

    /// The TLS handshake whose step was told last is complete.
    pub(super) fn secured(&mut self, handshake: &Handshake) {
        let phase = self.current_phase();
        let mut books = self.worker.books.borrow_mut();
        let key = HandshakeKey {
            version: handshake.version.clone(),
            group: handshake.group.clone(),
            resumed: handshake.resumed,
        };
        books.handshake(phase, key);
        books.counts(phase).untrusted += u64::from(handshake.untrusted.is_some());
        if let Some((from, to)) = self.shaken.take() {
            let metric = if handshake.resumed { Metric::TlsResumed } else { Metric::Step(Step::Tls) };
            books.value(phase, metric, Outcome::Accepted, nanos(to.saturating_duration_since(from)));
        }
        drop(books);
        if let Some(tape) = &mut self.tape {
            tape.note(self.worker.now(), &failure_class::secured(handshake));
        }
    }
}
