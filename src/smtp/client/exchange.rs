//! One transaction under way: which of its commands are written and answered, and what that means for it.
//!
//! It renders and counts; time-outs, events and the session around it are the client's.

use std::time::Instant;

use crate::smtp::command;
use crate::smtp::step::Step;
use crate::smtp::transaction::{Content, Lost};

/// How far the content has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// Nothing of it is rendered.
    Ahead,
    /// Rendered up to this offset.
    Partly(u64),
    /// Rendered with its final dot, which the kernel may not have taken yet.
    Rendered,
    /// The kernel has the final dot.
    Out,
}

/// A transaction under way. Its commands are numbered: 0 MAIL, 1..=n RCPT, n+1 DATA; its content follows.
#[derive(Debug)]
pub(super) struct Exchange<C> {
    content: C,
    recipients: u32,
    sent: u32,
    answered: u32,
    accepted_recipients: u32,
    /// Its fate is known to be bad; what is still outstanding of its group is read without more ado.
    failed: bool,
    /// MAIL was accepted: the listener holds a transaction.
    open: bool,
    /// The listener takes SIZE with MAIL (RFC 1870).
    declares_size: bool,
    body: Body,
    /// When what is waited for was written.
    since: Instant,
}

impl<C: Content> Exchange<C> {
    pub(super) fn new(content: C, declares_size: bool, now: Instant) -> Self {
        let recipients = content.recipients();
        debug_assert!(recipients > 0, "a transaction has a recipient");
        Exchange {
            content,
            recipients,
            sent: 0,
            answered: 0,
            accepted_recipients: 0,
            failed: false,
            open: false,
            declares_size,
            body: Body::Ahead,
            since: now,
        }
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    fn data(&self) -> u32 {
        self.recipients + 1
    }

    /// The step that the next reply answers.
    pub(super) fn step(&self) -> Step {
        match self.answered {
            _ if self.sent == 0 => Step::Idle,
            0 => Step::Mail,
            n if n <= self.recipients => Step::Rcpt,
            n if n == self.data() => Step::Data,
            _ => Step::Body,
        }
    }

    /// Whether the listener owes a reply.
    pub(super) fn is_waiting(&self) -> bool {
        self.answered < self.sent || self.body != Body::Ahead
    }

    /// Whether a reply now answers content whose end the listener cannot have seen.
    pub(super) fn is_early(&self) -> bool {
        matches!(self.body, Body::Partly(_) | Body::Rendered)
    }

    /// Whether what the next reply says is a consequence of a failure that was told before: all that follows a failure
    /// in a group, be it a 354 that only asks for the lone dot.
    pub(super) fn is_consequence(&self) -> bool {
        self.failed
    }

    /// Whether the listener may have the message, or get it yet, if no reply says otherwise (RFC 5321 4.2.5).
    /// `cut_short`: no more of what was rendered reaches it than what the kernel took, and the dot was rendered last.
    pub(super) fn in_doubt(&self, cut_short: bool) -> bool {
        !self.failed && (self.body == Body::Out || self.body == Body::Rendered && !cut_short)
    }

    /// Whether only RSET ends what the listener holds of it.
    pub(super) fn needs_reset(&self) -> bool {
        self.open && self.body == Body::Ahead
    }

    pub(super) fn wants_command(&self) -> bool {
        !self.failed && self.sent == self.answered && self.sent <= self.data()
    }

    /// Whether the listener waits for content (or a lone dot) of which nothing is rendered.
    pub(super) fn wants_body(&self) -> bool {
        self.answered > self.data() && self.body == Body::Ahead
    }

    pub(super) fn is_partly_rendered(&self) -> bool {
        matches!(self.body, Body::Partly(_))
    }

    /// Renders the next command: MAIL, RCPT or DATA.
    pub(super) fn write_command(&mut self, now: Instant, out: &mut Vec<u8>) {
        match self.sent {
            0 => {
                let size = self.declares_size.then(|| self.content.size());
                command::mail(out, size, |out| self.content.sender(out));
            }
            n if n <= self.recipients => command::rcpt(out, |out| self.content.recipient(n - 1, out)),
            _ => out.extend_from_slice(command::DATA),
        }
        self.sent += 1;
        self.since = now;
    }

    /// Renders MAIL, all RCPT and DATA.
    pub(super) fn write_group(&mut self, now: Instant, out: &mut Vec<u8>) {
        while self.sent <= self.data() {
            self.write_command(now, out);
        }
    }

    /// Renders the next piece of the content, or the lone dot of a failed transaction. True: its end is rendered.
    ///
    /// # Errors
    /// The content is lost: the session cannot go on, and no end may follow what was rendered of it.
    pub(super) fn write_body(&mut self, now: Instant, out: &mut Vec<u8>) -> Result<bool, Lost> {
        let offset = match self.body {
            Body::Ahead => {
                self.since = now;
                0
            }
            Body::Partly(offset) => offset,
            Body::Rendered | Body::Out => return Ok(true),
        };
        if self.failed {
            // RFC 2920 3.1: the listener asked for content although nobody is to get it.
            out.extend_from_slice(command::EMPTY_CONTENT);
            self.body = Body::Rendered;
            return Ok(true);
        }
        let offset = self.content.body(offset, out)?;
        let ends = offset >= self.content.size();
        self.body = if ends { Body::Rendered } else { Body::Partly(offset) };
        Ok(ends)
    }

    /// All that was rendered is with the kernel.
    pub(super) fn written(&mut self) {
        if self.body == Body::Rendered {
            self.body = Body::Out;
        }
    }

    /// Takes the reply to what is outstanding longest. `Some`: the transaction is over, and whether it was accepted.
    pub(super) fn answer(&mut self, good: bool) -> Option<bool> {
        let step = self.step();
        self.answered += 1;
        match step {
            Step::Mail => {
                self.open = good;
                self.failed = !good;
            }
            Step::Rcpt => {
                self.accepted_recipients += u32::from(good);
                self.failed |= self.answered == self.data() && self.accepted_recipients == 0;
            }
            // Whatever failed before, a 354 asks for a dot.
            Step::Data if good => return None,
            Step::Data => self.failed = true,
            _ => return Some(good && !self.failed),
        }
        (self.failed && self.answered == self.sent).then_some(false)
    }
}
