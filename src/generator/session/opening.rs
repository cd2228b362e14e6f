//! Reports on the opening of a session beyond its steps: the addresses that were tried, commands that were sent again
//! in an older form, and the TLS handshake.

use super::Session;
use crate::collector::tally::HandshakeKey;
use crate::collector::{Metric, Outcome};
use crate::generator::failure_class;
use crate::net::dial::{Attempt, Dialed};
use crate::smtp::machine::Handshake;
use crate::smtp::{Reply, Step};

impl Session {
    /// Counts the results for each address of the target.
    pub(super) fn reached(&self, dialed: &Dialed) {
        let mut recorder = self.accounting.recorder();
        for Attempt { address, from, to, fault } in &dialed.attempts {
            let took = to.saturating_duration_since(*from);
            recorder.address(self.phase, *address, fault.is_none().then_some(took));
        }
        let counts = recorder.counts(self.phase);
        counts.without_no_delay += u64::from(dialed.refused.no_delay);
        counts.without_late_port += u64::from(dialed.refused.late_port);
    }

    /// Notes that a command is sent again in an older form.
    pub(super) fn stepped_down(&mut self, step: Step, reply: &Reply) {
        if step == Step::Hello {
            self.accounting.count(self.phase, |counts| counts.helo_for_ehlo += 1);
        }
        if let Some(transcript) = &mut self.transcript {
            let reply = self.pool.connector.redactor(self.serial).reply(reply);
            transcript.note(self.pool.context.now(), &failure_class::stepped_down(step, &reply));
        }
    }

    /// Notes that the TLS handshake of the last step is complete.
    pub(super) fn secured(&mut self, handshake: &Handshake) {
        let phase = self.current_phase();
        let mut recorder = self.accounting.recorder();
        let key = HandshakeKey {
            version: handshake.version.clone(),
            group: handshake.group.clone(),
            resumed: handshake.resumed,
        };
        recorder.handshake(phase, key);
        recorder.counts(phase).untrusted += u64::from(handshake.untrusted.is_some());
        if let Some((from, to)) = self.shaken.take() {
            let metric = if handshake.resumed { Metric::TlsResumed } else { Metric::Step(Step::Tls) };
            recorder.value(phase, metric, Outcome::Accepted, to.saturating_duration_since(from));
        }
        drop(recorder);
        if let Some(transcript) = &mut self.transcript {
            transcript.note(self.pool.context.now(), &failure_class::secured(handshake));
        }
    }
}
